//! Repeated identical warnings: one is written, the rest are counted (T-146).

use super::Entry;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tracing::Level;

/// Different warnings remembered at a time.
const ROOM: usize = 4_096;

/// Fields that say only on which occasion a warning was given, not what is wrong.
const OCCASION: &[&str] = &["call_id", "remote"];

/// Whether a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Write,
    /// An identical one was just written.
    HoldBack,
}

#[derive(Debug)]
struct Silence {
    until: i64,
    held_back: u64,
    last: Option<Entry>,
}

/// The warnings of the last while.
#[derive(Debug)]
pub(super) struct Repeats {
    window: i64,
    seen: HashMap<u64, Silence>,
    /// No silence ends before this.
    next: i64,
}

impl Repeats {
    pub(super) fn new(window: Duration) -> Repeats {
        let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
        Repeats { window, seen: HashMap::new(), next: i64::MAX }
    }

    pub(super) fn see(&mut self, entry: &Entry) -> Verdict {
        if entry.level > Level::WARN || self.window == 0 {
            return Verdict::Write;
        }
        let mut key = key(entry, true);
        if self.seen.len() >= ROOM && !self.seen.contains_key(&key) {
            // A flood of different warnings from one place counts as one warning.
            key = self::key(entry, false);
        }
        match self.seen.get_mut(&key) {
            Some(silence) => {
                silence.held_back += 1;
                silence.last = Some(entry.clone());
                Verdict::HoldBack
            }
            None => {
                let until = entry.at.saturating_add(self.window);
                self.next = self.next.min(until);
                self.seen.insert(key, Silence { until, held_back: 0, last: None });
                Verdict::Write
            }
        }
    }

    /// The warnings whose silence is over and that were held back meanwhile, with how many times.
    pub(super) fn over(&mut self, now: i64) -> Vec<(Entry, u64)> {
        let mut over = Vec::new();
        if now < self.next {
            return over;
        }
        self.seen.retain(|_, silence| {
            if silence.until > now {
                return true;
            }
            if let Some(last) = silence.last.take() {
                over.push((last, silence.held_back));
            }
            false
        });
        self.next = self.seen.values().map(|s| s.until).min().unwrap_or(i64::MAX);
        over.sort_by_key(|(entry, _)| entry.at);
        over
    }
}

fn key(entry: &Entry, with_fields: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entry.level == Level::ERROR, entry.target, &entry.event).hash(&mut hasher);
    if with_fields {
        entry.message.hash(&mut hasher);
        for (name, value) in entry.fields.iter().filter(|(name, _)| !OCCASION.contains(name)) {
            (name, value).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(at: i64, trunk: &str, call: &str) -> Entry {
        Entry {
            at,
            level: Level::WARN,
            target: "t",
            event: Some("e".to_owned()),
            message: "m".to_owned(),
            fields: vec![("trunk", trunk.to_owned()), ("call_id", call.to_owned())],
        }
    }

    /// [T-146] one line, then the number held back.
    #[test]
    fn identical_warnings_are_counted() {
        let mut repeats = Repeats::new(Duration::from_micros(10));
        assert_eq!(repeats.see(&warning(0, "a", "1")), Verdict::Write);
        assert_eq!(repeats.see(&warning(1, "a", "2")), Verdict::HoldBack);
        assert_eq!(repeats.see(&warning(2, "a", "3")), Verdict::HoldBack);
        assert_eq!(repeats.see(&warning(3, "b", "4")), Verdict::Write);
        assert!(repeats.over(9).is_empty());
        let over = repeats.over(10);
        assert_eq!(over.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2]);
        assert_eq!(repeats.see(&warning(11, "a", "5")), Verdict::Write);
    }

    #[test]
    fn other_levels_are_never_held_back() {
        let mut repeats = Repeats::new(Duration::from_secs(10));
        let info = Entry { level: Level::INFO, ..warning(0, "a", "1") };
        assert_eq!(repeats.see(&info), Verdict::Write);
        assert_eq!(repeats.see(&info), Verdict::Write);
    }

    #[test]
    fn a_flood_of_different_warnings_is_bounded() {
        let mut repeats = Repeats::new(Duration::from_secs(10));
        let written =
            (0..20_000).filter(|n| repeats.see(&warning(*n, &n.to_string(), "")) == Verdict::Write).count();
        assert_eq!(written, ROOM + 1);
        assert!(repeats.seen.len() <= ROOM + 1);
    }
}
