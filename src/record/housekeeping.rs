//! What keeps the store bounded and true: old records go, calls whose BYE never came are closed, and
//! so are Refers that a process before this one followed.
//!
//! In small steps, each a transaction of its own, so that writing is never held up for long.

use super::schema::{Coded, micros};
use crate::sip::event::{ReferReason, ReferStatus};
use crate::sip::time::Time;
use rusqlite::{Connection, Transaction, params, params_from_iter};
use std::time::Duration;

/// Rows removed or closed at most by one step.
const STEP: i64 = 500;

/// By which columns rows name others: of which table, and where that stands.
const NAMED: [(&str, &str, &str); 4] = [
    ("call", "call", "parent"),
    ("call", "refer", "moved"),
    ("call", "refer", "target_call"),
    ("refer", "call", "refer"),
];

/// What a step removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) calls: u64,
    pub(super) refers: u64,
    /// Whether another step would remove more.
    pub(super) more: bool,
}

/// Removes records that ended before `oldest`, and as many of the oldest ended as there are too many.
pub(super) fn remove_excess(
    connection: &mut Connection,
    oldest: Option<Time>,
    calls: u64,
    refers: u64,
) -> rusqlite::Result<Removed> {
    if oldest.is_none() && calls == 0 && refers == 0 {
        return Ok(Removed::default());
    }
    let transaction = connection.transaction()?;
    let removed_calls = remove(&transaction, "call", oldest, calls)?;
    let removed_refers = remove(&transaction, "refer", oldest, refers)?;
    transaction.commit()?;
    let full = STEP.unsigned_abs();
    Ok(Removed {
        calls: removed_calls,
        refers: removed_refers,
        more: removed_calls >= full || removed_refers >= full,
    })
}

fn remove(
    transaction: &Transaction<'_>,
    table: &str,
    oldest: Option<Time>,
    excess: u64,
) -> rusqlite::Result<u64> {
    let too_many = i64::try_from(excess).unwrap_or(STEP).min(STEP);
    let mut removed = 0;
    if too_many > 0 {
        let gone = format!("SELECT sid FROM {table} WHERE ended IS NOT NULL ORDER BY ended LIMIT ?1");
        removed += delete(transaction, table, &gone, &[too_many])?;
    }
    if let Some(oldest) = oldest {
        let gone = format!("SELECT sid FROM {table} WHERE ended < ?1 ORDER BY ended LIMIT ?2");
        removed += delete(transaction, table, &gone, &[micros(oldest), STEP])?;
    }
    Ok(removed as u64)
}

/// Removes those chosen, first from the rows of other accounts that name them: whose they were is known no
/// longer, and [`super::row::CALL`] would name them.
fn delete(
    transaction: &Transaction<'_>,
    table: &str,
    gone: &str,
    parameters: &[i64],
) -> rusqlite::Result<usize> {
    for (_, names, column) in NAMED.iter().filter(|(of, ..)| *of == table) {
        let sql = format!(
            "UPDATE {names} SET {column} = NULL WHERE {column} IN ({gone})
             AND account <> (SELECT account FROM {table} AS named WHERE named.sid = {names}.{column})"
        );
        transaction.prepare_cached(&sql)?.execute(params_from_iter(parameters))?;
    }
    let sql = format!("DELETE FROM {table} WHERE sid IN ({gone})");
    transaction.prepare_cached(&sql)?.execute(params_from_iter(parameters))
}

/// Closes calls that began before `older_than` and have not ended: at `longest` after their start,
/// which is when they would have been closed had nothing been in the way.
pub(super) fn close_stale(
    connection: &mut Connection,
    older_than: Time,
    now: Time,
    longest: Duration,
) -> rusqlite::Result<u64> {
    let longest = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    // One that was never answered came to nothing; the end of an answered one is its duration.
    let mut close = connection.prepare_cached(
        "UPDATE call SET
           ended = max(updated, CASE WHEN ?3 > 0 THEN min(?2, created + ?3) ELSE ?2 END),
           updated = ?2,
           status = CASE WHEN answered IS NOT NULL OR status = 2 THEN 3 ELSE 7 END,
           duration = CASE WHEN answered IS NOT NULL OR status = 2 THEN (max(updated,
             CASE WHEN ?3 > 0 THEN min(?2, created + ?3) ELSE ?2 END)
             - coalesce(answered, created) + 999999) / 1000000 ELSE 0 END
         WHERE sid IN (SELECT sid FROM call WHERE ended IS NULL AND created < ?1
           ORDER BY created LIMIT ?4)",
    )?;
    let mut closed = 0;
    loop {
        let step = close.execute(params![micros(older_than), micros(now), longest, STEP])?;
        closed += step as u64;
        if (step as i64) < STEP {
            return Ok(closed);
        }
    }
}

/// Ends the Refers of this node that are still open when a process begins: nobody follows them any
/// more, so their outcome stays unknown.
pub(super) fn close_orphans(connection: &Connection, node: i64, now: Time) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE refer SET status = ?1, reason = ?2, updated = max(updated, ?3), ended = max(updated, ?3)
         WHERE ended IS NULL AND node = ?4",
        params![ReferStatus::Failed.code(), ReferReason::OutcomeUnknown.code(), micros(now), node],
    )
}
