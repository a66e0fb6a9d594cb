//! Pending entries as rows: one statement an entry, whatever became of it.

use super::pending::{Batch, PendingCall, PendingRefer};
use super::schema::{Coded, micros};
use crate::sip::event::{CallSid, Direction, ReferSnapshot, ReferStatus};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a text column at most; the network chooses their content.
const TEXT: usize = 1_024;

const INSERT_CALL: &str = "
INSERT INTO call (account, created, sid, node, direction, status, code, updated, ringing, answered,
  ended, duration, caller, callee, caller_name, forwarded_from, call_id, parent, refer)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
ON CONFLICT (sid) DO NOTHING";

/// What the row knows of the answer counts together with what the change knows.
const UPDATE_CALL: &str = "
UPDATE call SET
  status = CASE WHEN ?2 >= 3 AND (answered IS NOT NULL OR ?5 IS NOT NULL) THEN 3
                ELSE max(status, ?2) END,
  code = CASE WHEN ?3 > 0 THEN ?3 ELSE code END, updated = max(updated, ?4),
  answered = coalesce(answered, ?5), ringing = coalesce(ringing, ?6), ended = ?7,
  duration = CASE WHEN ?7 IS NULL THEN NULL
    WHEN ?2 = 3 OR answered IS NOT NULL OR ?5 IS NOT NULL
    THEN max(0, (?7 - coalesce(answered, ?5, created) + 999999) / 1000000) ELSE 0 END
WHERE sid = ?1 AND status < 3";

const UPSERT_REFER: &str = "
INSERT INTO refer (account, created, sid, node, call, role, seq, status, reason, refer_code,
  notify_code, updated, ended, referrer, target, rule, moved, target_call)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
ON CONFLICT (sid) DO UPDATE SET seq = excluded.seq, status = excluded.status,
  reason = excluded.reason, refer_code = excluded.refer_code, notify_code = excluded.notify_code,
  updated = excluded.updated, ended = excluded.ended, referrer = excluded.referrer,
  target = excluded.target, rule = excluded.rule, moved = excluded.moved,
  target_call = excluded.target_call
WHERE refer.status = 0 AND excluded.seq > refer.seq";

/// Writes a batch in one transaction.
pub(super) fn batch(
    connection: &mut Connection,
    accounts: &mut Accounts,
    node: i64,
    batch: &Batch,
) -> rusqlite::Result<Done> {
    let transaction = connection.transaction()?;
    let mut done = Done::default();
    {
        let mut insert = transaction.prepare_cached(INSERT_CALL)?;
        let mut update = transaction.prepare_cached(UPDATE_CALL)?;
        for call in &batch.calls {
            let row = CallRow { call, account: accounts.id(&transaction, &call.account)?, node };
            done.count(row.write(&mut insert, &mut update), call.status.is_final())?;
        }
        let mut upsert = transaction.prepare_cached(UPSERT_REFER)?;
        let mut visible = transaction.prepare_cached("SELECT 1 FROM refer WHERE sid = ?1")?;
        for PendingRefer { refer, .. } in &batch.refers {
            let row = ReferRow { refer, account: accounts.id(&transaction, &refer.account)?, node };
            let known = visible.exists([&refer.sid.0.to_be_bytes()[..]])?;
            let is_final = refer.status != ReferStatus::InProgress;
            done.count_refer(row.write(&mut upsert), is_final, known)?;
        }
    }
    transaction.commit()?;
    Ok(done)
}

/// What a batch did.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// New rows.
    pub(super) calls: u64,
    /// New rows.
    pub(super) refers: u64,
    /// Records that became final.
    pub(super) finals: u64,
    /// Entries the tables refused.
    pub(super) dropped: u64,
}

/// What writing one entry did.
enum Written {
    New,
    Changed,
    Nothing,
}

impl Done {
    fn count(&mut self, written: rusqlite::Result<Written>, is_final: bool) -> rusqlite::Result<()> {
        match written {
            Ok(Written::New) => {
                self.calls += 1;
                self.finals += u64::from(is_final);
            }
            Ok(Written::Changed) => self.finals += u64::from(is_final),
            Ok(Written::Nothing) => {}
            Err(error) => self.refused(error)?,
        }
        Ok(())
    }

    fn count_refer(
        &mut self,
        written: rusqlite::Result<Written>,
        is_final: bool,
        known: bool,
    ) -> rusqlite::Result<()> {
        match written {
            Ok(Written::New | Written::Changed) => {
                self.refers += u64::from(!known);
                self.finals += u64::from(is_final);
            }
            Ok(Written::Nothing) => {}
            Err(error) => self.refused(error)?,
        }
        Ok(())
    }

    /// A row that the tables refuse must not hold all others up; any other failure ends the batch.
    fn refused(&mut self, error: rusqlite::Error) -> rusqlite::Result<()> {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                self.dropped += 1;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

struct CallRow<'a> {
    call: &'a PendingCall,
    account: i64,
    node: i64,
}

impl CallRow<'_> {
    fn write(
        &self,
        insert: &mut CachedStatement<'_>,
        update: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Written> {
        if self.call.started.is_none() && self.update(update)? {
            return Ok(Written::Changed);
        }
        Ok(if self.insert(insert)? { Written::New } else { Written::Nothing })
    }

    fn update(&self, update: &mut CachedStatement<'_>) -> rusqlite::Result<bool> {
        let call = self.call;
        let changed = update.execute(params![
            &call.sid.0.to_be_bytes()[..],
            call.status.code(),
            call.code,
            micros(call.updated),
            call.answered.map(micros),
            call.ringing.map(micros),
            call.ended.map(micros),
        ])?;
        Ok(changed > 0)
    }

    fn insert(&self, insert: &mut CachedStatement<'_>) -> rusqlite::Result<bool> {
        let call = self.call;
        let started = call.started.as_deref();
        let cause = started.and_then(|s| s.cause);
        let text = |value: Option<&String>| value.map(|v| clip(v).to_owned());
        let inserted = insert.execute(params![
            self.account,
            micros(call.created),
            &call.sid.0.to_be_bytes()[..],
            self.node,
            started.map_or(Direction::Inbound, |s| s.direction).code(),
            call.status.code(),
            call.code,
            micros(call.updated),
            call.ringing.map(micros),
            call.answered.map(micros),
            call.ended.map(micros),
            call.duration().and_then(|seconds| i64::try_from(seconds).ok()),
            started.map_or("", |s| clip(&s.from)),
            started.map_or("", |s| clip(&s.to)),
            text(started.and_then(|s| s.caller_name.as_ref())),
            text(started.and_then(|s| s.forwarded_from.as_ref())),
            started.map_or("", |s| clip(&s.call_id)),
            // One that came back is nobody's leg: the call that it comes of stands in for that.
            started.and_then(|s| s.parent.or(cause.map(|cause| cause.call))).map(bits),
            cause.map(|cause| cause.refer.0.to_be_bytes()),
        ])?;
        Ok(inserted > 0)
    }
}

struct ReferRow<'a> {
    refer: &'a ReferSnapshot,
    account: i64,
    node: i64,
}

impl ReferRow<'_> {
    fn write(&self, upsert: &mut CachedStatement<'_>) -> rusqlite::Result<Written> {
        let refer = self.refer;
        let is_final = refer.status != ReferStatus::InProgress;
        // Before the REFER's fate is known there is no record (Refers API, 2.2); one that ends
        // without an answer had none.
        let Some(code) = refer.refer_code.or(is_final.then_some(408)) else {
            return Ok(Written::Nothing);
        };
        let written = upsert.execute(params![
            self.account,
            micros(refer.created),
            &refer.sid.0.to_be_bytes()[..],
            self.node,
            &refer.call.0.to_be_bytes()[..],
            refer.role.code(),
            refer.seq,
            refer.status.code(),
            refer.reason.map(Coded::code),
            code,
            refer.notify_code,
            micros(refer.at),
            is_final.then(|| micros(refer.at)),
            clip(&refer.from),
            clip(&refer.to),
            refer.rule.map(|rule| rule.to_string()),
            refer.moved.map(bits),
            refer.target.map(bits),
        ])?;
        Ok(if written > 0 { Written::Changed } else { Written::Nothing })
    }
}

/// The numbers that accounts have in this database.
#[derive(Debug, Default)]
pub(super) struct Accounts(HashMap<Arc<str>, i64>);

impl Accounts {
    fn id(&mut self, connection: &Connection, account: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(id) = self.0.get(account) {
            return Ok(*id);
        }
        let find = |connection: &Connection| {
            connection
                .query_row("SELECT id FROM account WHERE sid = ?1", [&**account], |row| row.get(0))
                .optional()
        };
        let id = match find(connection)? {
            Some(id) => id,
            None => {
                connection.execute("INSERT INTO account (sid) VALUES (?1)", [&**account])?;
                connection.last_insert_rowid()
            }
        };
        self.0.insert(account.clone(), id);
        Ok(id)
    }

    /// A transaction that failed may have taken new numbers back.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A call's identifier as it stands in a row.
fn bits(sid: CallSid) -> [u8; 16] {
    sid.0.to_be_bytes()
}

/// The beginning of a text, cut between characters.
fn clip(text: &str) -> &str {
    if text.len() <= TEXT { text } else { &text[..text.floor_char_boundary(TEXT)] }
}
