//! What DNS has said, for as long as it may be used.
//!
//! An answer serves for its time to live. When a later question fails, what was known before serves
//! on for a bounded time, while DNS is asked again in the background (C-127).

use super::{Answer, Outcome, Query, QueryKind, Records};
use crate::sip::time::Time;
use hashbrown::{Equivalent, HashMap};
use std::time::Duration;

/// Names kept at most: peers' URIs bring them.
const MOST_NAMES: usize = 16_384;
/// An answer is used at least so long: a search takes several questions.
const SHORTEST: Duration = Duration::from_secs(10);
/// That a name is absent is believed at least so long.
const BRIEF: Duration = Duration::from_secs(5);
/// An answer is used no longer than this, whatever it says.
const LONGEST: Duration = Duration::from_secs(86_400);
/// How often a failed question is asked again while a stale answer serves.
const RETRY: Duration = Duration::from_secs(30);
/// A question without any answer for so long is asked anew.
const LOST: Duration = Duration::from_secs(10);

/// What the cache says about a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<'a> {
    /// These records.
    Found(&'a Records),
    /// There are none.
    Absent,
    /// Nobody could say.
    Failed,
    /// DNS is being asked.
    Wait,
}

#[derive(Debug)]
pub(super) struct Cache {
    /// How long beyond its end an answer may serve when DNS fails.
    stale: Duration,
    entries: HashMap<Query, Entry>,
}

/// What is known about one question.
#[derive(Debug)]
struct Entry {
    /// The last answer; `None` before the first.
    outcome: Option<Outcome>,
    /// Until when it is used without asking again.
    fresh: Time,
    /// Until when it may serve if DNS fails.
    stale: Time,
    /// Whether the last question failed, so that the answer is an old one.
    failing: bool,
    /// When the question that is open now was asked.
    asked: Option<Time>,
}

/// A question by reference, so that looking needs no allocation.
#[derive(Hash)]
struct Key<'a> {
    kind: QueryKind,
    name: &'a str,
}

impl Equivalent<Query> for Key<'_> {
    fn equivalent(&self, query: &Query) -> bool {
        self.kind == query.kind && *self.name == *query.name
    }
}

impl Cache {
    pub(super) fn new(stale: Duration) -> Cache {
        Cache { stale, entries: HashMap::new() }
    }

    pub(super) fn set_stale(&mut self, stale: Duration) {
        self.stale = stale;
    }

    /// What is known; asks when that is too little or too old.
    pub(super) fn look(
        &mut self,
        now: Time,
        kind: QueryKind,
        name: &str,
        queries: &mut Vec<Query>,
    ) -> Look<'_> {
        let key = Key { kind, name };
        if !self.entries.contains_key(&key) {
            self.make_room(now);
            let entry =
                Entry { outcome: None, fresh: Time::ZERO, stale: Time::ZERO, failing: false, asked: None };
            self.entries.insert(Query { kind, name: name.into() }, entry);
        }
        let Some(entry) = self.entries.get_mut(&key) else { return Look::Failed };
        let usable = entry.fresh > now || (entry.failing && entry.stale > now);
        if entry.fresh <= now && entry.asked.is_none_or(|at| now.since(at) >= LOST) {
            entry.asked = Some(now);
            queries.push(Query { kind, name: name.into() });
        }
        match &entry.outcome {
            Some(Outcome::Found(records)) if usable => Look::Found(records),
            Some(Outcome::Absent) if usable => Look::Absent,
            Some(Outcome::Failed) if entry.fresh > now => Look::Failed,
            Some(_) | None => Look::Wait,
        }
    }

    /// Takes an answer. One that nobody asked for is not kept.
    pub(super) fn answer(&mut self, now: Time, query: Query, answer: Answer) {
        let Some(entry) = self.entries.get_mut(&query) else { return };
        entry.asked = None;
        let known = matches!(entry.outcome, Some(Outcome::Found(_) | Outcome::Absent));
        if answer.outcome == Outcome::Failed && known && entry.stale > now {
            entry.failing = true;
            entry.fresh = now + RETRY;
            return;
        }
        let ttl = match answer.outcome {
            Outcome::Found(_) => answer.ttl.clamp(SHORTEST, LONGEST),
            Outcome::Absent => answer.ttl.clamp(BRIEF, LONGEST),
            // A failure is asked about again as soon as it says.
            Outcome::Failed => answer.ttl.min(SHORTEST),
        };
        entry.failing = false;
        entry.fresh = now + ttl;
        entry.stale = now + ttl + self.stale;
        entry.outcome = Some(answer.outcome);
    }

    /// Drops what is of no use any more when the cache is full; if all of it is, drops half.
    fn make_room(&mut self, now: Time) {
        if self.entries.len() < MOST_NAMES {
            return;
        }
        self.entries.retain(|_, entry| entry.fresh > now || entry.asked.is_some());
        if self.entries.len() >= MOST_NAMES {
            let mut keep = false;
            self.entries.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
