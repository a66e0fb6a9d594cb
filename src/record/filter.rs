//! Which records, in which order: the conditions of a list in SQL. Values are always parameters.

use super::row::{PARENT, parse_call_sid};
use super::schema::{Coded, micros};
use crate::sip::event::{CallStatus, Direction, ReferStatus};
use crate::sip::time::Time;
use rusqlite::types::Value;

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

/// Conditions joined by AND, and the values of their parameters.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    pub(super) fn add<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(condition);
        self.values.extend(values);
    }
}

impl CallFilter {
    /// Adds its conditions; false when nothing can pass.
    pub(super) fn add_to(&self, conditions: &mut Conditions) -> bool {
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
        if self.parent.is_some() {
            // What is not named is not found by its name; the index is by the column itself.
            conditions.add(&format!("{PARENT} IS NOT NULL"), []);
        }
        true
    }
}

impl ReferFilter {
    /// Adds its conditions; false when nothing can pass.
    pub(super) fn add_to(&self, conditions: &mut Conditions) -> bool {
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
    pub(super) fn sql(self) -> String {
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

fn blob(bits: u128) -> Value {
    Value::Blob(bits.to_be_bytes().to_vec())
}
