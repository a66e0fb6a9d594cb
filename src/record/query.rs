//! Reading records: one, or a page of those that pass a filter.
//!
//! Readers have connections of their own; WAL lets them read while the writer writes.

use super::filter::{CallFilter, CallOrder, Conditions, ReferFilter};
use super::row::{
    CALL, CallRecord, REFER, ReferRecord, call_from_row, parse_call_sid, parse_refer_sid, refer_from_row,
};
use super::writer::Order;
use super::{Stats, ask, schema};
use crossbeam::channel::Sender;
use rusqlite::types::Value;
use rusqlite::{Connection, InterruptHandle, OptionalExtension, Row, params, params_from_iter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections kept open for the next reader.
const KEPT: usize = 4;

/// Refers shown with one call at most; the rest is in the list of Refers.
const MOST_REFERS: usize = 100;

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

    /// The Refers that a call takes part in, as the one that is transferred, moved, or reached, oldest first.
    pub fn refers_of(&self, call: &CallRecord) -> Result<Vec<ReferRecord>, QueryError> {
        // Each of the three has an index of its own, which one condition would not use.
        let sql = format!(
            "{REFER} WHERE refer.sid IN (SELECT sid FROM refer WHERE call = ?1
               UNION SELECT sid FROM refer WHERE moved = ?1
               UNION SELECT sid FROM refer WHERE target_call = ?1
               UNION SELECT refer FROM call WHERE sid = ?1 AND refer IS NOT NULL)
             AND refer.account = (SELECT id FROM account WHERE sid = ?2)
             ORDER BY refer.created, refer.sid LIMIT {MOST_REFERS}"
        );
        let mut statement = self.connection()?.prepare_cached(&sql)?;
        let sid = call.sid.0.to_be_bytes();
        let rows = statement.query_map(params![&sid[..], call.account], refer_from_row)?;
        Ok(rows.collect::<rusqlite::Result<Vec<ReferRecord>>>()?)
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
