//! What a trunk may make of a peer that says nothing more (role T): its BYE, and its silence.

use super::stage::{Ended, Stage};
use crate::sip::event::{ReferReason, ReferStatus};
use crate::sip::message::Method;
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;

/// Alice's trunk makes this of a BYE and of silence.
fn referred(bye: bool, silence: bool) -> Stage {
    let policy = Policy { bye_is_success: bye, silence_is_success: silence, ..Policy::default() };
    let (mut stage, alice, _) = Stage::talking_with(ReferMode::Terminate, policy);
    stage.refer(alice, |_| {}).expect("taken");
    stage
}

fn result(success: bool, otherwise: ReferStatus, reason: ReferReason, code: Option<u16>) -> Ended {
    (if success { ReferStatus::Completed } else { otherwise }, Some(reason), Some(202), code)
}

/// The REFER is accepted, and no NOTIFY ever comes: after the notify wait, not before it, the knob
/// decides; with success the leg is ended, else the call stays.
#[test]
fn no_notify() {
    for success in [false, true] {
        let mut stage = referred(!success, success);
        stage.pass_s(31);
        assert_eq!(stage.ended().0, ReferStatus::InProgress);
        stage.pass_s(2);
        assert_eq!(stage.ended(), result(success, ReferStatus::Failed, ReferReason::NotifyTimeout, None));
        let ended = usize::from(success);
        assert_eq!((stage.count("alice BYE"), stage.count("bob BYE")), (ended, ended), "{:#?}", stage.log);
        stage.end();
    }
}

/// The subscription ends, or runs out, without a result: the same knob.
#[test]
fn no_final_notify() {
    for (success, told) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut stage = referred(!success, success);
        if told {
            stage.notifies("alice", 180, "terminated;reason=timeout");
        } else {
            stage.notifies("alice", 180, "active;expires=60");
            // Nobody renews it.
            stage.pass_s(400);
        }
        let expected = result(success, ReferStatus::Failed, ReferReason::OutcomeUnknown, Some(180));
        assert_eq!(stage.ended(), expected, "{told}");
        assert_eq!(stage.sent("alice", Method::Bye).len(), usize::from(success), "{told}");
        stage.end();
    }
}

/// The peer hangs up before the result: its 200 at once, and after the grace the knob decides; a
/// result that comes within the grace is the result, whatever the knob says.
#[test]
fn the_peer_hangs_up() {
    for success in [false, true] {
        let mut stage = referred(success, !success);
        stage.notifies("alice", 180, "active;expires=60");
        stage.request("alice", "BYE", "", "");
        assert_eq!(stage.count("alice BYE 200"), 1);
        stage.pass_s(1);
        assert_eq!((stage.ended().0, stage.count("bob BYE")), (ReferStatus::InProgress, 0));
        stage.pass_s(2);
        let expected = result(success, ReferStatus::Canceled, ReferReason::CallEnded, Some(180));
        assert_eq!((stage.ended(), stage.count("bob BYE")), (expected, 1));
        stage.end();

        let mut stage = referred(success, !success);
        stage.request("alice", "BYE", "", "");
        stage.pass_s(1);
        stage.notifies("alice", 486, "terminated;reason=noresource");
        let busy = (ReferStatus::Busy, Some(ReferReason::TargetBusy), Some(202), Some(486));
        assert_eq!(stage.ended(), busy, "{success}");
        stage.end();
    }
}

/// What is refused, or never heard of again before it was accepted, is no success on any trunk; nor
/// is the end of the party that is to be moved where Baton performs the transfer.
#[test]
fn no_leniency_without_acceptance() {
    let policy = Policy { bye_is_success: true, silence_is_success: true, ..Policy::default() };
    for (answer, reason, code) in
        [(Some(603), ReferReason::ReferRejected, 603), (None, ReferReason::ReferTimeout, 408)]
    {
        let (mut stage, alice, bob) = Stage::talking_with(ReferMode::Terminate, policy.clone());
        stage.manner("alice").refer = answer;
        stage.refer(alice, |_| {}).expect("taken");
        stage.pass_s(40);
        assert_eq!(stage.ended(), (ReferStatus::Failed, Some(reason), Some(code), None));
        assert!(stage.together(alice, bob));
        stage.end();
    }
    let (mut stage, _, _) = Stage::talking_with(ReferMode::Terminate, policy);
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.request("bob", "BYE", "", "");
    assert_eq!(stage.ended().0, ReferStatus::Canceled);
    stage.end();
}
