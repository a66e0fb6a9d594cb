//! What a status code means for a transfer: one table, used by all roles alike.

use crate::sip::event::{ReferReason, ReferStatus};

/// How a Refer ended; never changes once reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The public status; never [`ReferStatus::InProgress`].
    pub status: ReferStatus,
    /// Why; `None` for a plain success.
    pub reason: Option<ReferReason>,
}

impl Outcome {
    /// The target answered.
    pub const COMPLETED: Outcome = Outcome { status: ReferStatus::Completed, reason: None };

    /// It did not come about, for this reason.
    pub const fn failed(reason: ReferReason) -> Outcome {
        Outcome { status: ReferStatus::Failed, reason: Some(reason) }
    }

    /// It was overtaken by the end of the call or called off.
    pub const fn canceled(reason: ReferReason) -> Outcome {
        Outcome { status: ReferStatus::Canceled, reason: Some(reason) }
    }
}

/// What the target has answered so far, in the words of a Refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// 100: the target is being called.
    Trying,
    /// 101 to 199: it is being alerted.
    Ringing,
    /// A final answer.
    Over(Outcome),
}

/// The status code of the target, from a NOTIFY's sipfrag or from its own answer, as progress of the
/// transfer. `None` for a number that is no SIP status code.
pub const fn progress(code: u16) -> Option<Progress> {
    use ReferReason::{TargetBusy, TargetNoAnswer, TargetRejected};
    use ReferStatus::{Busy, NoAnswer};
    Some(match code {
        100 => Progress::Trying,
        101..=199 => Progress::Ringing,
        200..=299 => Progress::Over(Outcome::COMPLETED),
        486 | 600 => Progress::Over(Outcome { status: Busy, reason: Some(TargetBusy) }),
        408 | 480 | 487 => Progress::Over(Outcome { status: NoAnswer, reason: Some(TargetNoAnswer) }),
        300..=699 => Progress::Over(Outcome::failed(TargetRejected)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(code: u16) -> Option<(ReferStatus, Option<ReferReason>)> {
        match progress(code) {
            Some(Progress::Over(outcome)) => Some((outcome.status, outcome.reason)),
            _ => None,
        }
    }

    /// Every code there is falls under exactly the row that names it.
    #[test]
    fn every_code_has_its_row() {
        for code in 0..=u16::MAX {
            let expected = match code {
                200..=299 => Some((ReferStatus::Completed, None)),
                486 | 600 => Some((ReferStatus::Busy, Some(ReferReason::TargetBusy))),
                408 | 480 | 487 => Some((ReferStatus::NoAnswer, Some(ReferReason::TargetNoAnswer))),
                300..=699 => Some((ReferStatus::Failed, Some(ReferReason::TargetRejected))),
                _ => None,
            };
            assert_eq!(over(code), expected, "{code}");
        }
    }

    /// 603 is a failure here, whatever other interfaces make of it.
    #[test]
    fn decline_is_a_failure() {
        assert_eq!(over(603), Some((ReferStatus::Failed, Some(ReferReason::TargetRejected))));
    }

    /// Provisional codes are progress; numbers outside 100 to 699 mean nothing.
    #[test]
    fn provisional_codes_are_progress() {
        assert_eq!(progress(100), Some(Progress::Trying));
        assert_eq!(progress(101), Some(Progress::Ringing));
        assert_eq!(progress(199), Some(Progress::Ringing));
        assert_eq!(progress(99), None);
        assert_eq!(progress(700), None);
        assert_eq!(progress(0), None);
    }
}
