//! Tells the operator whose requests are not listened to (T-016, T-025, R-027), which a counter alone does
//! not: a peer whose address is not in the configuration hears nothing, and nobody else would know why.
//!
//! Anybody can send as many as they like, so there is a line for one of them now and then, which says
//! how many others there were.

use crate::sip::event::ReferSid;
use crate::sip::flow::Flow;
use crate::sip::time::Time;
use std::time::Duration;

/// From one line to the next, at least.
const PAUSE: Duration = Duration::from_secs(10);

/// Those whom one shard does not listen to.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    unknown: Pace,
    banned: Pace,
    spent: Pace,
}

/// A line now and then.
#[derive(Debug, Default)]
struct Pace {
    quiet_until: Option<Time>,
    untold: u64,
}

impl Strangers {
    /// A request was not listened to.
    pub(crate) fn met(&mut self, now: Time, flow: &Flow) {
        if let Some(others) = self.unknown.due(now) {
            tracing::info!(
                event = "acl.unknown",
                source = %flow.remote,
                transport = ?flow.transport,
                others,
                "a request is refused: its source is no trunk's and no registered client's"
            );
        }
    }

    /// Passwords are guessed.
    pub(crate) fn banned(&mut self, now: Time, flow: &Flow) {
        if let Some(others) = self.banned.due(now) {
            tracing::warn!(
                event = "acl.ban",
                source = %flow.remote,
                transport = ?flow.transport,
                others,
                "passwords are guessed: credentials of this source are not looked at for a while, or fewer for the user it tried"
            );
        }
    }

    /// A call brought the token of a transfer that another had come back by.
    pub(crate) fn spent(&mut self, now: Time, refer: ReferSid, call_id: &[u8]) {
        if let Some(others) = self.spent.due(now) {
            let call_id = call_id.escape_ascii();
            tracing::info!(event = "refer.return_refused", %refer, %call_id, others, "it has come back before");
        }
    }
}

impl Pace {
    /// Whether a line is due, and how many there were since the last that it did not tell of.
    fn due(&mut self, now: Time) -> Option<u64> {
        if self.quiet_until.is_some_and(|until| now < until) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.quiet_until = Some(now + PAUSE);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// [T-016] [T-145] The first is told at once; a flood is one line in ten seconds, with its number.
    #[test]
    fn a_flood_is_a_line_now_and_then() {
        let mut strangers = Pace::default();
        let at = |millis: u64| Time::from_millis(1_000_000 + millis);
        assert_eq!(strangers.due(at(0)), Some(0));
        let told: Vec<u64> = (1..=25_000).filter_map(|millis| strangers.due(at(millis))).collect();
        assert_eq!(told, [9_999, 9_999]);
        assert_eq!(strangers.due(at(60_000)), Some(5_000));
        assert_eq!(strangers.due(at(90_000)), Some(0));
    }

    /// Takes what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// [R-027] [T-145] One token that is brought again and again does not write the log full.
    #[test]
    fn a_spent_token_is_a_line_now_and_then() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut strangers = Strangers::default();
            for millis in 0..=10_000 {
                strangers.spent(Time::from_millis(1_000_000 + millis), ReferSid(7), b"again@example.com");
            }
        });
        let text = String::from_utf8(log.0.lock().expect("one thread").clone()).expect("text");
        assert_eq!(text.matches("refer.return_refused").count(), 2, "{text}");
        assert!(text.contains("others=9999") && text.contains("again@example.com"), "{text}");
    }
}
