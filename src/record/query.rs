//! Reading records: one, or a page of those that pass a filter.
//!
//! Readers have connections of their own; WAL lets them read while the writer writes.

use super::schema::{self, Coded, micros, time};
use super::writer::Order;
use super::{Stats, ask};
use crate::sip::event::{CallSid, CallStatus, Direction, ReferReason, ReferRole, ReferSid, ReferStatus};
use crate::sip::time::Time;
use crossbeam::channel::Sender;
use rusqlite::types::Value;
use rusqlite::{Connection, InterruptHandle, OptionalExtension, Row, params_from_iter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections kept open for the next reader.
const KEPT: usize = 4;

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It took too long and was called off.
    #[error("reading records took too long")]
    Interrupted,
    /// The database could not be read.
    #[error("records cannot be read")]
    Store(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> QueryError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => QueryError::Interrupted,
            _ => QueryError::Store(error),
        }
    }
}

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

/// Which calls of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// The callee ends so.
    pub to: Option<String>,
    /// The caller ends so.
    pub from: Option<String>,
    /// This status; a word that is none finds nothing.
    pub status: Option<Option<CallStatus>>,
    /// Began at this moment or later.
    pub started: Option<Time>,
    /// Ended at this moment or earlier, to the millisecond that is shown.
    pub ended: Option<Time>,
    /// Legs of this call, by its public identifier.
    pub parent: Option<String>,
    /// This call, by its public identifier.
    pub sid: Option<String>,
}

/// Which Refers of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferFilter {
    /// The target contains this, whatever the case.
    pub to: Option<String>,
    /// The referrer contains this, whatever the case.
    pub from: Option<String>,
    /// One of these statuses, reported by a NOTIFY; an empty list finds nothing.
    pub status: Option<&'static [ReferStatus]>,
    /// Seen at this moment or later.
    pub created: Option<Time>,
    /// On this call, by its public identifier.
    pub call: Option<String>,
}

/// What calls are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallSort {
    /// When they began.
    #[default]
    Created,
    /// Caller.
    From,
    /// Callee.
    To,
    /// Direction, as text.
    Direction,
    /// Status, as text.
    Status,
    /// Duration; without one first.
    Duration,
}

/// In which order calls are listed; newest first among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOrder {
    /// By what.
    pub by: CallSort,
    /// Largest first.
    pub descending: bool,
}

impl Default for CallOrder {
    fn default() -> CallOrder {
        CallOrder { by: CallSort::Created, descending: true }
    }
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Items skipped.
    pub offset: u64,
    /// Items at most.
    pub count: u64,
    /// The list is cut behind this many.
    pub limit: Option<u64>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Items in the whole list, cut at the limit.
    pub total: u64,
    /// The items asked for.
    pub items: Vec<T>,
}

/// Gives connections to those who read.
#[derive(Clone, Debug)]
pub struct Reader {
    path: Arc<PathBuf>,
    orders: Sender<Order>,
    stats: Arc<Stats>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    pub(super) fn new(path: PathBuf, orders: Sender<Order>, stats: Arc<Stats>) -> Reader {
        Reader { path: Arc::new(path), orders, stats, idle: Arc::default() }
    }

    /// Waits until everything sent to the store before is written; false when it could not be, or not
    /// in time.
    pub fn settle(&self) -> bool {
        ask(&self.orders, Order::Flush) && !self.stats.failing()
    }

    /// Whether writing is in trouble; waiting for it would be in vain.
    pub fn failing(&self) -> bool {
        self.stats.failing()
    }

    /// A connection that sees what is written now.
    pub fn session(&self) -> Result<Session, QueryError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_to_read(&self.path)?,
        };
        Ok(Session { connection: Some(connection), idle: self.idle.clone() })
    }
}

/// One reader's use of a connection.
#[derive(Debug)]
pub struct Session {
    /// Always there until it is dropped.
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.extend(self.connection.take());
        }
    }
}

const CALL: &str = "SELECT call.sid, node.bits, account.sid, parent, direction, status, code, created,
  updated, ringing, answered, ended, duration, caller, callee, caller_name, forwarded_from, call_id
FROM call JOIN account ON account.id = call.account JOIN node ON node.id = call.node";

const REFER: &str = "SELECT refer.sid, node.bits, account.sid, call, role, status, reason, refer_code,
  notify_code, created, updated, referrer, target
FROM refer JOIN account ON account.id = refer.account JOIN node ON node.id = refer.node";

impl Session {
    /// Calls off what this session reads, from elsewhere.
    pub fn interrupt_handle(&self) -> Option<InterruptHandle> {
        self.connection.as_ref().map(Connection::get_interrupt_handle)
    }

    fn connection(&self) -> Result<&Connection, QueryError> {
        self.connection.as_ref().ok_or(QueryError::Interrupted)
    }

    /// One call by its public identifier, whoever owns it.
    pub fn call(&self, sid: &str) -> Result<Option<CallRecord>, QueryError> {
        let Some((node, bits)) = parse_call_sid(sid) else { return Ok(None) };
        let sql = format!("{CALL} WHERE call.sid = ?1");
        let mut statement = self.connection()?.prepare_cached(&sql)?;
        let record = statement.query_row([&bits.0.to_be_bytes()[..]], call_from_row).optional()?;
        Ok(record.filter(|record| record.node == node))
    }

    /// One Refer by its public identifier, whoever owns it.
    pub fn refer(&self, sid: &str) -> Result<Option<ReferRecord>, QueryError> {
        let Some(bits) = parse_refer_sid(sid) else { return Ok(None) };
        let sql = format!("{REFER} WHERE refer.sid = ?1");
        let mut statement = self.connection()?.prepare_cached(&sql)?;
        Ok(statement.query_row([&bits.0.to_be_bytes()[..]], refer_from_row).optional()?)
    }

    /// Calls of an account.
    pub fn calls(
        &self,
        account: &str,
        filter: &CallFilter,
        order: CallOrder,
        excerpt: Excerpt,
    ) -> Result<Page<CallRecord>, QueryError> {
        let Some(mut conditions) = self.of_account("call", account)? else { return Ok(Page::none()) };
        if !filter.add_to(&mut conditions) {
            return Ok(Page::none());
        }
        self.page("call", CALL, &conditions, &order.sql(), excerpt, call_from_row)
    }

    /// Refers of an account, newest first.
    pub fn refers(
        &self,
        account: &str,
        filter: &ReferFilter,
        excerpt: Excerpt,
    ) -> Result<Page<ReferRecord>, QueryError> {
        let Some(mut conditions) = self.of_account("refer", account)? else {
            return Ok(Page::none());
        };
        if !filter.add_to(&mut conditions) {
            return Ok(Page::none());
        }
        let order = "refer.created DESC, refer.sid DESC";
        self.page("refer", REFER, &conditions, order, excerpt, refer_from_row)
    }

    fn of_account(&self, table: &str, account: &str) -> Result<Option<Conditions>, QueryError> {
        let sql = "SELECT id FROM account WHERE sid = ?1";
        let mut statement = self.connection()?.prepare_cached(sql)?;
        let id: Option<i64> = statement.query_row([account], |row| row.get(0)).optional()?;
        Ok(id.map(|id| {
            let mut conditions = Conditions::default();
            conditions.add(&format!("{table}.account = ?"), [Value::Integer(id)]);
            conditions
        }))
    }

    fn page<T>(
        &self,
        table: &str,
        select: &str,
        conditions: &Conditions,
        order: &str,
        excerpt: Excerpt,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>, QueryError> {
        // One read transaction, so that the total and the items are of one moment.
        let transaction = self.connection()?.unchecked_transaction()?;
        let limit = excerpt.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let text = &conditions.text;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {text} LIMIT {limit})");
        let parameters = || params_from_iter(conditions.values.iter());
        let mut statement = transaction.prepare_cached(&sql)?;
        let total: i64 = statement.query_row(parameters(), |row| row.get(0))?;
        let total = total.unsigned_abs();
        let count = excerpt.count.min(total.saturating_sub(excerpt.offset));
        let mut items = Vec::new();
        if count > 0 {
            let offset = excerpt.offset;
            let sql = format!("{select} WHERE {text} ORDER BY {order} LIMIT {count} OFFSET {offset}");
            let mut statement = transaction.prepare_cached(&sql)?;
            let rows = statement.query_map(parameters(), read)?;
            items = rows.collect::<rusqlite::Result<Vec<T>>>()?;
        }
        Ok(Page { total, items })
    }
}

impl<T> Page<T> {
    fn none() -> Page<T> {
        Page { total: 0, items: Vec::new() }
    }
}

/// Conditions joined by AND, and the values of their parameters.
#[derive(Debug, Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    fn add<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(condition);
        self.values.extend(values);
    }
}

impl CallFilter {
    /// Adds its conditions; false when nothing can pass.
    fn add_to(&self, conditions: &mut Conditions) -> bool {
        for (column, end) in [("callee", &self.to), ("caller", &self.from)] {
            if let Some(end) = end {
                let characters = end.chars().count();
                conditions.add(&format!("substr({column}, -{characters}) = ?"), [Value::Text(end.clone())]);
            }
        }
        match self.status {
            None => {}
            Some(None) => return false,
            Some(Some(status)) => conditions.add("status = ?", [Value::Integer(status.code())]),
        }
        if let Some(started) = self.started {
            conditions.add("created >= ?", [Value::Integer(micros(started))]);
        }
        if let Some(ended) = self.ended {
            // Ends are shown to the millisecond; what is shown must be found (Calls API, 5.1).
            let behind = micros(Time::from_millis(ended.millis().saturating_add(1)));
            conditions.add("ended < ?", [Value::Integer(behind)]);
        }
        for (column, sid) in [("parent", &self.parent), ("sid", &self.sid)] {
            if let Some(sid) = sid {
                let Some((node, sid)) = parse_call_sid(sid) else { return false };
                conditions.add(&format!("call.{column} = ?"), [blob(sid.0)]);
                let of_node = "call.node = (SELECT id FROM node WHERE bits = ?)";
                conditions.add(of_node, [blob(node)]);
            }
        }
        true
    }
}

impl ReferFilter {
    /// Adds its conditions; false when nothing can pass.
    fn add_to(&self, conditions: &mut Conditions) -> bool {
        for (column, part) in [("target", &self.to), ("referrer", &self.from)] {
            if let Some(part) = part {
                conditions.add(&format!("instr(lower({column}), lower(?)) > 0"), [Value::Text(part.clone())]);
            }
        }
        if let Some(statuses) = self.status {
            let codes: Vec<_> = statuses.iter().map(|status| status.code().to_string()).collect();
            let of = format!("status IN ({}) AND notify_code IS NOT NULL", codes.join(", "));
            conditions.add(&of, []);
        }
        if let Some(created) = self.created {
            conditions.add("created >= ?", [Value::Integer(micros(created))]);
        }
        if let Some(call) = &self.call {
            let Some((node, sid)) = parse_call_sid(call) else { return false };
            conditions.add("call = ?", [blob(sid.0)]);
            conditions.add("refer.node = (SELECT id FROM node WHERE bits = ?)", [blob(node)]);
        }
        true
    }
}

impl CallOrder {
    fn sql(self) -> String {
        let key = match self.by {
            CallSort::Created => None,
            CallSort::From => Some("caller".to_owned()),
            CallSort::To => Some("callee".to_owned()),
            CallSort::Duration => Some("duration".to_owned()),
            CallSort::Direction => Some(as_text::<Direction>("direction", |d| d.text())),
            CallSort::Status => Some(as_text::<CallStatus>("status", |s| s.text())),
        };
        let way = if self.descending { "DESC" } else { "ASC" };
        match key {
            None => format!("call.created {way}, call.sid {way}"),
            Some(key) => format!("{key} {way}, call.created DESC, call.sid DESC"),
        }
    }
}

/// An enum's column as the text that is shown.
fn as_text<T: Coded>(column: &str, text: fn(T) -> &'static str) -> String {
    let mut sql = format!("CASE {column}");
    for (code, value) in T::CODES {
        sql.push_str(&format!(" WHEN {code} THEN '{}'", text(*value)));
    }
    sql.push_str(" END");
    sql
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

fn blob(bits: u128) -> Value {
    Value::Blob(bits.to_be_bytes().to_vec())
}

fn bits(row: &Row<'_>, column: usize) -> rusqlite::Result<u128> {
    row.get::<_, [u8; 16]>(column).map(u128::from_be_bytes)
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Time>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(time))
}

fn coded<T: Coded>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let code: i64 = row.get(column)?;
    T::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

fn call_from_row(row: &Row<'_>) -> rusqlite::Result<CallRecord> {
    Ok(CallRecord {
        sid: CallSid(bits(row, 0)?),
        node: bits(row, 1)?,
        account: row.get(2)?,
        parent: row.get::<_, Option<[u8; 16]>>(3)?.map(|sid| CallSid(u128::from_be_bytes(sid))),
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
    })
}

fn refer_from_row(row: &Row<'_>) -> rusqlite::Result<ReferRecord> {
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
    })
}
