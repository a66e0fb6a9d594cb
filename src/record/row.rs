//! A record as it is read: from a row of the tables, under its public identifier.

use super::schema::{Coded, time};
use crate::sip::event::{
    CallChanged, CallSid, CallStatus, Direction, ReferReason, ReferRole, ReferSid, ReferStatus,
};
use crate::sip::time::Time;
use rusqlite::Row;

/// The record of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// The call.
    pub sid: CallSid,
    /// The node that wrote it, the other half of its public identifier.
    pub node: u128,
    /// The account that owns it.
    pub account: String,
    /// The call it belongs to.
    pub parent: Option<CallSid>,
    /// Which side it began on.
    pub direction: Direction,
    /// How far it is, or how it ended.
    pub status: CallStatus,
    /// The final code of its INVITE, 0 when there is none.
    pub code: u16,
    /// When it began.
    pub created: Time,
    /// When its status last changed.
    pub updated: Time,
    /// When it first rang.
    pub ringing: Option<Time>,
    /// When it was answered.
    pub answered: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Seconds from answer to end, once ended.
    pub duration: Option<u64>,
    /// Caller.
    pub from: String,
    /// Callee.
    pub to: String,
    /// The caller's display name.
    pub caller_name: Option<String>,
    /// Who diverted it.
    pub forwarded_from: Option<String>,
    /// The SIP Call-ID.
    pub call_id: String,
    /// The Refer that has brought it about.
    pub refer: Option<ReferSid>,
}

/// The record of a Refer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferRecord {
    /// The Refer.
    pub sid: ReferSid,
    /// The account that owns it.
    pub account: String,
    /// The call on whose dialog the REFER went.
    pub call: CallSid,
    /// The node that wrote it.
    pub node: u128,
    /// Who performed it.
    pub role: ReferRole,
    /// Its status.
    pub status: ReferStatus,
    /// Why it ended so.
    pub reason: Option<ReferReason>,
    /// Final response to the REFER.
    pub refer_code: u16,
    /// The last code a NOTIFY reported.
    pub notify_code: Option<u16>,
    /// When the REFER was seen or sent.
    pub created: Time,
    /// When it last changed.
    pub updated: Time,
    /// Who transferred.
    pub from: String,
    /// To whom.
    pub to: String,
    /// By which rule it was allowed or denied.
    pub rule: Option<String>,
    /// The call of the party that was to be moved, where it is another.
    pub moved: Option<CallSid>,
    /// The call of the target.
    pub target: Option<CallSid>,
}

impl ReferRecord {
    /// Whether a rule let it pass.
    pub fn is_allowed(&self) -> bool {
        self.reason != Some(ReferReason::Policy)
    }
}

impl CallRecord {
    /// The record of a call that has just begun: one that came in is being worked on, one of ours
    /// still has to be answered (Calls API, section 7).
    pub fn begun(sid: CallSid, node: u128, account: &str, direction: Direction, at: Time) -> CallRecord {
        CallRecord {
            sid,
            node,
            account: account.to_owned(),
            parent: None,
            direction,
            status: match direction {
                Direction::Inbound => CallStatus::Ringing,
                Direction::OutboundApi | Direction::OutboundDial => CallStatus::Queued,
            },
            code: 0,
            created: at,
            updated: at,
            ringing: None,
            answered: None,
            ended: None,
            duration: None,
            from: String::new(),
            to: String::new(),
            caller_name: None,
            forwarded_from: None,
            call_id: String::new(),
            refer: None,
        }
    }

    /// What a change makes of it. Statuses only go forward, a final one never changes, and what was
    /// answered can only be completed.
    pub fn change(&mut self, change: &CallChanged) {
        if self.status.is_final() || change.status < self.status {
            return;
        }
        let final_now = change.status.is_final();
        match change.status {
            CallStatus::Ringing => self.ringing = self.ringing.or(Some(change.at)),
            CallStatus::InProgress => self.answered = self.answered.or(Some(change.at)),
            _ => {}
        }
        self.status =
            if final_now && self.answered.is_some() { CallStatus::Completed } else { change.status };
        if final_now {
            self.ended = Some(change.at);
            let from = match self.status {
                CallStatus::Completed => self.answered.unwrap_or(self.created),
                _ => change.at,
            };
            self.duration = Some(change.at.since(from).as_micros().div_ceil(1_000_000) as u64);
        }
        if change.code != 0 {
            self.code = change.code;
        }
        self.updated = change.at;
    }
}

/// A call's public identifier.
pub fn call_sid_text(node: u128, sid: CallSid) -> String {
    format!("ID{node:032x}-{sid}")
}

/// The parts of a call's public identifier; `None` for what Baton never gave out.
pub fn parse_call_sid(text: &str) -> Option<(u128, CallSid)> {
    let (node, sid) = text.strip_prefix("ID")?.split_once("-CA")?;
    Some((hex(node)?, CallSid(hex(sid)?)))
}

/// The bits of a Refer's public identifier; `None` for what Baton never gave out.
pub fn parse_refer_sid(text: &str) -> Option<ReferSid> {
    hex(text.strip_prefix("RF")?).map(ReferSid)
}

fn hex(text: &str) -> Option<u128> {
    let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

impl CallStatus {
    /// The word of the Calls API (its section 7).
    pub const fn text(self) -> &'static str {
        match self {
            CallStatus::Queued => "queued",
            CallStatus::Ringing => "ringing",
            CallStatus::InProgress => "in-progress",
            CallStatus::Completed => "completed",
            CallStatus::Busy => "busy",
            CallStatus::NoAnswer => "no-answer",
            CallStatus::Canceled => "canceled",
            CallStatus::Failed => "failed",
        }
    }

    /// The status a word of the Calls API means.
    pub fn from_text(text: &str) -> Option<CallStatus> {
        CallStatus::CODES.iter().map(|(_, status)| *status).find(|status| status.text() == text)
    }
}

impl Direction {
    /// The word of the Calls API (its section 4).
    pub const fn text(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::OutboundApi => "outbound-api",
            Direction::OutboundDial => "outbound-dial",
        }
    }
}

/// The identifier in this column, unless what it names is recorded for another account than the row is: that is
/// nobody else's business. What has no record has no account, and is named.
macro_rules! own {
    ($row:literal, $column:literal, $of:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT 1 FROM ",
            $of,
            " AS other WHERE other.sid = ",
            $row,
            ".",
            $column,
            " AND other.account <> ",
            $row,
            ".account) THEN NULL ELSE ",
            $row,
            ".",
            $column,
            " END"
        )
    };
}

/// The leg that a call belongs to, as far as it is named.
pub(super) const PARENT: &str = own!("call", "parent", "call");

/// What [`call_from_row`] reads.
pub(super) const CALL: &str = concat!(
    "SELECT call.sid, node.bits, account.sid, ",
    own!("call", "parent", "call"),
    ", direction, status, code, created, updated, ringing, answered, ended, duration, caller, callee,
  caller_name, forwarded_from, call_id, ",
    own!("call", "refer", "refer"),
    " FROM call JOIN account ON account.id = call.account JOIN node ON node.id = call.node"
);

/// What [`refer_from_row`] reads. A target that called itself, by the Refer-To that led it back, is known by
/// its own record alone.
pub(super) const REFER: &str = concat!(
    "SELECT refer.sid, node.bits, account.sid, call, role, status, reason, refer_code,
  notify_code, created, updated, referrer, target, rule, ",
    own!("refer", "moved", "call"),
    ", coalesce(",
    own!("refer", "target_call", "call"),
    ", (SELECT came.sid FROM call AS came
    WHERE came.refer = refer.sid AND came.account = refer.account ORDER BY came.created LIMIT 1))
FROM refer JOIN account ON account.id = refer.account JOIN node ON node.id = refer.node"
);

fn bits(row: &Row<'_>, column: usize) -> rusqlite::Result<u128> {
    row.get::<_, [u8; 16]>(column).map(u128::from_be_bytes)
}

fn call_sid(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<CallSid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|sid| CallSid(u128::from_be_bytes(sid))))
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Time>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(time))
}

fn coded<T: Coded>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let code: i64 = row.get(column)?;
    T::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

/// A row of [`CALL`].
pub(super) fn call_from_row(row: &Row<'_>) -> rusqlite::Result<CallRecord> {
    Ok(CallRecord {
        sid: CallSid(bits(row, 0)?),
        node: bits(row, 1)?,
        account: row.get(2)?,
        parent: call_sid(row, 3)?,
        direction: coded(row, 4)?,
        status: coded(row, 5)?,
        code: row.get(6)?,
        created: time(row.get(7)?),
        updated: time(row.get(8)?),
        ringing: moment(row, 9)?,
        answered: moment(row, 10)?,
        ended: moment(row, 11)?,
        duration: row.get::<_, Option<i64>>(12)?.map(i64::unsigned_abs),
        from: row.get(13)?,
        to: row.get(14)?,
        caller_name: row.get(15)?,
        forwarded_from: row.get(16)?,
        call_id: row.get(17)?,
        refer: row.get::<_, Option<[u8; 16]>>(18)?.map(|sid| ReferSid(u128::from_be_bytes(sid))),
    })
}

/// A row of [`REFER`].
pub(super) fn refer_from_row(row: &Row<'_>) -> rusqlite::Result<ReferRecord> {
    let reason: Option<i64> = row.get(6)?;
    Ok(ReferRecord {
        sid: ReferSid(bits(row, 0)?),
        node: bits(row, 1)?,
        account: row.get(2)?,
        call: CallSid(bits(row, 3)?),
        role: coded(row, 4)?,
        status: coded(row, 5)?,
        reason: reason.and_then(ReferReason::from_code),
        refer_code: row.get(7)?,
        notify_code: row.get(8)?,
        created: time(row.get(9)?),
        updated: time(row.get(10)?),
        from: row.get(11)?,
        to: row.get(12)?,
        rule: row.get(13)?,
        moved: call_sid(row, 14)?,
        target: call_sid(row, 15)?,
    })
}
