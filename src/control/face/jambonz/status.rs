//! How far a call is, in jambonz' words (jambonz section 4).

use crate::record::CallRecord;
use crate::sip::event::{CallStatus, Direction, EndedBy};

/// The words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Trying,
    Ringing,
    EarlyMedia,
    InProgress,
    Completed,
    Failed,
    Busy,
    NoAnswer,
}

impl Status {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Status::Trying => "trying",
            Status::Ringing => "ringing",
            Status::EarlyMedia => "early-media",
            Status::InProgress => "in-progress",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Busy => "busy",
            Status::NoAnswer => "no-answer",
        }
    }

    /// Statuses go one way only (4.2).
    pub(super) const fn rank(self) -> u8 {
        match self {
            Status::Trying => 0,
            Status::Ringing => 1,
            Status::EarlyMedia => 2,
            Status::InProgress => 3,
            Status::Completed | Status::Failed | Status::Busy | Status::NoAnswer => 4,
        }
    }

    pub(super) const fn is_final(self) -> bool {
        self.rank() == 4
    }

    /// The status of a record, and the code that goes with it.
    pub(super) fn of(record: &CallRecord) -> (Status, u16) {
        let code = |usual: u16| if record.code == 0 { usual } else { record.code };
        match (record.status, record.direction) {
            (CallStatus::Queued, _) | (CallStatus::Ringing, Direction::Inbound) => (Status::Trying, 100),
            (CallStatus::Ringing, _) => (Status::Ringing, 180),
            (CallStatus::InProgress, _) => (Status::InProgress, 200),
            (CallStatus::Completed, _) => (Status::Completed, 200),
            (CallStatus::Canceled, _) => (Status::NoAnswer, 487),
            // What an inbound call is refused with is a failure, whatever the code (section 4).
            (CallStatus::Busy | CallStatus::NoAnswer | CallStatus::Failed, Direction::Inbound) => {
                (Status::Failed, code(480))
            }
            // 4.3: 486, 600 and 603 are busy, for all outgoing calls alike.
            (CallStatus::Busy, _) => (Status::Busy, code(486)),
            (CallStatus::NoAnswer, _) => (Status::NoAnswer, code(487)),
            (CallStatus::Failed, _) => (Status::Failed, code(500)),
        }
    }
}

/// `call_termination_by`.
pub(super) const fn ended_by(by: EndedBy) -> &'static str {
    match by {
        EndedBy::Peer => "caller",
        EndedBy::Control | EndedBy::OtherLeg | EndedBy::Baton => "jambonz",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::event::CallSid;
    use crate::sip::time::Time;

    /// [jambonz 4] [jambonz 4.3] [jambonz 35] [jambonz 43] The table.
    #[test]
    fn statuses_of_records() {
        let of = |status, direction, code| {
            let at = Time::from_millis(1);
            let record = CallRecord { status, code, ..CallRecord::begun(CallSid(1), 1, "AC", direction, at) };
            let (status, code) = Status::of(&record);
            (status.text(), code)
        };
        use Direction::{Inbound, OutboundApi, OutboundDial};
        assert_eq!(of(CallStatus::Ringing, Inbound, 0), ("trying", 100));
        assert_eq!(of(CallStatus::Canceled, Inbound, 487), ("no-answer", 487));
        assert_eq!(of(CallStatus::Busy, Inbound, 486), ("failed", 486));
        for direction in [OutboundApi, OutboundDial] {
            assert_eq!(of(CallStatus::Queued, direction, 0), ("trying", 100));
            assert_eq!(of(CallStatus::Ringing, direction, 0), ("ringing", 180));
            assert_eq!(of(CallStatus::InProgress, direction, 200), ("in-progress", 200));
            assert_eq!(of(CallStatus::Busy, direction, 603), ("busy", 603));
            assert_eq!(of(CallStatus::NoAnswer, direction, 408), ("no-answer", 408));
            assert_eq!(of(CallStatus::Canceled, direction, 487), ("no-answer", 487));
            assert_eq!(of(CallStatus::Failed, direction, 404), ("failed", 404));
        }
    }
}
