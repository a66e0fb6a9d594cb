//! What can be seen of a transfer afterwards, and the end of the stage.

use super::*;

impl Stage {
    /// What was told of the Refers.
    pub(in super::super) fn told(&self) -> Vec<&ReferSnapshot> {
        self.events.iter().filter_map(|e| if let Event::Refer(r) = e { Some(&**r) } else { None }).collect()
    }

    /// The last word about the last Refer.
    pub(in super::super) fn ended(&self) -> Ended {
        let last = *self.told().last().expect("a Refer");
        (last.status, last.reason, last.refer_code, last.notify_code)
    }

    /// The codes that NOTIFYs told of our own Refers.
    pub(in super::super) fn notified(&self) -> Vec<u16> {
        self.events
            .iter()
            .filter_map(|e| if let Event::ReferNotified(_, _, n) = e { Some(*n) } else { None })
            .collect()
    }

    /// The requests of a method that left for a phone.
    pub(in super::super) fn sent(&self, name: &str, method: Method) -> Vec<&Message> {
        self.requests.iter().filter(|(to, m)| to == name && m.method() == method).map(|(_, m)| m).collect()
    }

    /// Where in the log a line stands.
    pub(in super::super) fn at(&self, line: &str) -> usize {
        self.log
            .iter()
            .position(|l| l.starts_with(line))
            .unwrap_or_else(|| panic!("no {line}: {:#?}", self.log))
    }

    pub(in super::super) fn count(&self, line: &str) -> usize {
        self.log.iter().filter(|l| l.starts_with(line)).count()
    }

    /// Everybody hangs up; each Refer has had one result, in sequence, and nothing is left.
    pub(in super::super) fn end(mut self) {
        let mut sids: Vec<ReferSid> = self.told().iter().map(|r| r.sid).collect();
        sids.dedup();
        let legs: Vec<CallSid> = self.sids();
        for leg in legs {
            let hangup = Action::Hangup { status: None, reason: None };
            let _ = self.order(Order::Leg(leg, hangup));
        }
        self.pass_s(1_000);
        for sid in sids {
            let of: Vec<&ReferSnapshot> = self.told().into_iter().filter(|r| r.sid == sid).collect();
            let finals = of.iter().filter(|r| r.status != ReferStatus::InProgress).count();
            assert_eq!(finals, 1, "{sid}: {of:#?}");
            assert!(of.iter().map(|r| r.seq).eq(0..of.len() as u32), "{sid}: {of:#?}");
        }
        assert!(self.unanswered.is_empty(), "nobody answered {:?}: {:#?}", self.unanswered, self.log);
        assert_eq!(self.calls.len(), 0, "something is left: {:#?}", self.calls);
        assert_eq!(self.transactions.timers(), 0, "timers remain");
    }
}
