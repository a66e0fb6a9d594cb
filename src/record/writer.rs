//! The writer: takes events out of the channel, folds them, writes them down in batches.
//!
//! It wakes every [`TICK`] instead of being woken by each event, so that sending one costs a shard
//! no system call. When writing fails, what was to be written is kept and tried again; the channel
//! then fills and the shards act as they do when the control plane is slow (law 4).

use super::housekeeping;
use super::pending::{Batch, Pending, PendingCall, PendingRefer};
use super::schema::{Coded, micros};
use super::{RecordConfig, Stats};
use crate::sip::event::{Direction, Event, ReferStatus};
use crate::sip::time::Time;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How often events are taken out.
const TICK: Duration = Duration::from_millis(100);
/// The least time between two writes that readers ask for.
const READERS_GAP: Duration = Duration::from_millis(10);
/// How long nothing is tried after a write failed.
const RETRY: Duration = Duration::from_millis(500);
/// Entries held at most; past it events stay in the channel.
const HELD: usize = 100_000;
/// Events taken out at most before what is due is written.
const TURN: usize = 50_000;
/// Turns between two looks at what is to be removed: about a second.
const HOUSEKEEPING: u64 = 10;
/// Bytes of a text column at most; the network chooses their content.
const TEXT: usize = 1_024;

const INSERT_CALL: &str = "
INSERT INTO call (account, created, sid, node, direction, status, code, updated, ringing, answered,
  ended, duration, caller, callee, caller_name, forwarded_from, call_id, parent)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
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
  notify_code, updated, ended, referrer, target)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT (sid) DO UPDATE SET seq = excluded.seq, status = excluded.status,
  reason = excluded.reason, refer_code = excluded.refer_code, notify_code = excluded.notify_code,
  updated = excluded.updated, ended = excluded.ended, referrer = excluded.referrer,
  target = excluded.target
WHERE refer.status = 0 AND excluded.seq > refer.seq";

/// What the writer may be asked; it answers when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// Write down everything that was sent before.
    Flush(Sender<()>),
    /// Remove what is too old or too many, all of it.
    Tidy(Sender<()>),
    /// Close calls that began before and have not ended.
    Expire(Time, Sender<()>),
    /// Write down everything and stop.
    Close(Sender<()>),
}

pub(super) struct Writer {
    config: RecordConfig,
    connection: Connection,
    events: Receiver<Event>,
    orders: Receiver<Order>,
    /// Taken from `orders` already.
    next: Option<Order>,
    stats: Arc<Stats>,
    pending: Pending,
    accounts: Accounts,
    node: i64,
    calls: u64,
    refers: u64,
    turn: u64,
}

impl Writer {
    pub(super) fn new(
        config: RecordConfig,
        connection: Connection,
        events: Receiver<Event>,
        orders: Receiver<Order>,
        stats: Arc<Stats>,
    ) -> rusqlite::Result<Writer> {
        let bits = config.node.to_be_bytes();
        connection.execute("INSERT OR IGNORE INTO node (bits) VALUES (?1)", [&bits[..]])?;
        let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let node =
            connection.query_row("SELECT id FROM node WHERE bits = ?1", [&bits[..]], |row| row.get(0))?;
        let calls = count("SELECT count(*) FROM call")?.unsigned_abs();
        let refers = count("SELECT count(*) FROM refer")?.unsigned_abs();
        Ok(Writer {
            config,
            connection,
            events,
            orders,
            next: None,
            stats,
            pending: Pending::default(),
            accounts: Accounts::default(),
            node,
            calls,
            refers,
            turn: 0,
        })
    }

    /// Works until it is told to stop, or until nobody is left to tell it.
    pub(super) fn run(&mut self) {
        loop {
            let order = match self.next.take() {
                Some(order) => Ok(order),
                None => self.orders.recv_timeout(TICK),
            };
            self.turn += 1;
            self.take_events();
            match order {
                Ok(Order::Flush(done)) => {
                    self.write_all();
                    let _ = done.send(());
                    self.answer_other_readers();
                    // Readers in a row share a write instead of each forcing one.
                    std::thread::sleep(READERS_GAP);
                }
                Ok(Order::Tidy(done)) => {
                    self.write_all();
                    while self.remove_excess() {}
                    let _ = done.send(());
                }
                Ok(Order::Expire(older_than, done)) => {
                    self.write_all();
                    self.close_stale(older_than);
                    let _ = done.send(());
                }
                Ok(Order::Close(done)) => {
                    self.finish();
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let batch = self.pending.due(self.turn);
                    self.write(batch);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish();
                    return;
                }
            }
            if self.turn.is_multiple_of(HOUSEKEEPING) {
                self.keep_house();
            }
        }
    }

    /// Readers who asked while others were answered: a second, usually empty, batch serves them all.
    fn answer_other_readers(&mut self) {
        let mut waiting = Vec::new();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Flush(done) => waiting.push(done),
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        if !waiting.is_empty() {
            self.take_events();
            self.write_all();
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    fn take_events(&mut self) {
        for _ in 0..TURN {
            if self.pending.len() >= HELD {
                return;
            }
            match self.events.try_recv() {
                Ok(event) => self.pending.apply(event, self.turn),
                Err(_) => return,
            }
        }
    }

    /// Writes everything held, and everything that was in the channel when this began.
    fn write_all(&mut self) {
        let mut waiting = self.events.len();
        loop {
            let batch = self.pending.all();
            if !self.write(batch) || waiting == 0 {
                return;
            }
            waiting = waiting.saturating_sub(TURN);
            self.take_events();
        }
    }

    /// Writes everything for the last time; what cannot be written now is lost.
    fn finish(&mut self) {
        self.write_all();
        let lost = self.pending.len() as u64;
        if lost > 0 {
            self.stats.dropped.fetch_add(lost, Relaxed);
            tracing::error!(event = "records.lost", lost, "records could not be written at the end");
        }
        // Leaves one file behind instead of three; SQLite would recover them all the same.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    /// Writes a batch in one transaction; false when it could not be written and is held again.
    fn write(&mut self, batch: Batch) -> bool {
        if batch.is_empty() {
            return true;
        }
        match self.write_rows(&batch) {
            Ok(done) => {
                self.calls += done.calls;
                self.refers += done.refers;
                self.stats.written.fetch_add(done.finals, Relaxed);
                self.stats.dropped.fetch_add(done.dropped, Relaxed);
                if self.stats.failing.swap(false, Relaxed) {
                    tracing::info!(event = "records.writing_again", "the record store works again");
                }
                true
            }
            Err(error) => {
                if !self.stats.failing.swap(true, Relaxed) {
                    tracing::error!(
                        event = "records.write_failed",
                        %error,
                        "records cannot be written; they are kept and tried again"
                    );
                }
                self.accounts.forget();
                self.pending.put_back(batch);
                std::thread::sleep(RETRY);
                false
            }
        }
    }

    fn write_rows(&mut self, batch: &Batch) -> rusqlite::Result<Done> {
        let transaction = self.connection.transaction()?;
        let mut done = Done::default();
        {
            let mut insert = transaction.prepare_cached(INSERT_CALL)?;
            let mut update = transaction.prepare_cached(UPDATE_CALL)?;
            let mut upsert = transaction.prepare_cached(UPSERT_REFER)?;
            for call in &batch.calls {
                let account = self.accounts.id(&transaction, &call.account)?;
                let row = CallRow { call, account, node: self.node };
                done.count(row.write(&mut insert, &mut update), call.status.is_final())?;
            }
            let mut visible = transaction.prepare_cached("SELECT 1 FROM refer WHERE sid = ?1")?;
            for refer in &batch.refers {
                let account = self.accounts.id(&transaction, &refer.refer.account)?;
                let row = ReferRow { refer, account, node: self.node };
                let known = visible.exists([&refer.refer.sid.0.to_be_bytes()[..]])?;
                let is_final = refer.refer.status != ReferStatus::InProgress;
                done.count_refer(row.write(&mut upsert), is_final, known)?;
            }
        }
        transaction.commit()?;
        Ok(done)
    }

    fn keep_house(&mut self) {
        if let Some(longest) = self.config.max_duration {
            let now = (self.config.clock)();
            let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
            self.close_stale(Time::from_micros(now.micros().saturating_sub(longest)));
        }
        // A few steps a second keep up with any load without holding the writer up.
        for _ in 0..4 {
            if !self.remove_excess() {
                return;
            }
        }
    }

    fn close_stale(&mut self, older_than: Time) {
        let now = (self.config.clock)();
        let longest = self.config.max_duration.unwrap_or(Duration::ZERO);
        match housekeeping::close_stale(&mut self.connection, older_than, now, longest) {
            Ok(closed) => {
                self.stats.written.fetch_add(closed, Relaxed);
            }
            Err(error) => {
                tracing::warn!(event = "records.close_failed", %error, "open calls cannot be closed");
            }
        }
    }

    /// One step of removal; whether there is more to remove.
    fn remove_excess(&mut self) -> bool {
        let now = (self.config.clock)();
        let oldest = self.config.max_age.map(|age| {
            let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
            Time::from_micros(now.micros().saturating_sub(age))
        });
        let limit = self.config.max_count;
        let excess = |kept: u64| limit.map_or(0, |max| kept.saturating_sub(max));
        let (calls, refers) = (excess(self.calls), excess(self.refers));
        match housekeeping::remove_excess(&mut self.connection, oldest, calls, refers) {
            Ok(removed) => {
                self.calls = self.calls.saturating_sub(removed.calls);
                self.refers = self.refers.saturating_sub(removed.refers);
                removed.more
            }
            Err(error) => {
                tracing::warn!(event = "records.removal_failed", %error, "old records cannot be removed");
                false
            }
        }
    }
}

/// What a batch did.
#[derive(Debug, Default)]
struct Done {
    calls: u64,
    refers: u64,
    finals: u64,
    dropped: u64,
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
        insert: &mut rusqlite::CachedStatement<'_>,
        update: &mut rusqlite::CachedStatement<'_>,
    ) -> rusqlite::Result<Written> {
        if self.call.started.is_none() && self.update(update)? {
            return Ok(Written::Changed);
        }
        Ok(if self.insert(insert)? { Written::New } else { Written::Nothing })
    }

    fn update(&self, update: &mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<bool> {
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

    fn insert(&self, insert: &mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<bool> {
        let call = self.call;
        let started = call.started.as_deref();
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
            started.and_then(|s| s.parent).map(|parent| parent.0.to_be_bytes().to_vec()),
        ])?;
        Ok(inserted > 0)
    }
}

struct ReferRow<'a> {
    refer: &'a PendingRefer,
    account: i64,
    node: i64,
}

impl ReferRow<'_> {
    fn write(&self, upsert: &mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<Written> {
        let refer = &self.refer.refer;
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
        ])?;
        Ok(if written > 0 { Written::Changed } else { Written::Nothing })
    }
}

/// The numbers that accounts have in this database.
#[derive(Debug, Default)]
struct Accounts(HashMap<Arc<str>, i64>);

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
    fn forget(&mut self) {
        self.0.clear();
    }
}

/// The beginning of a text, cut between characters.
fn clip(text: &str) -> &str {
    if text.len() <= TEXT { text } else { &text[..text.floor_char_boundary(TEXT)] }
}
