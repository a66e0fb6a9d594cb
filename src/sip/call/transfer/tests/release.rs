//! When Baton ends the leg of a referrer, or of a party that it has transferred.

use super::stage::Stage;
use crate::sip::event::{ReferReason, ReferStatus};
use crate::sip::message::Method;
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;
use crate::sip::refer::policy::Release;
use std::time::Duration;

/// Alice has referred Bob to Carol, who answers; of the last NOTIFY nothing is heard.
fn told_the_result(policy: Policy) -> Stage {
    let (mut stage, _, _) = Stage::talking_with(ReferMode::Terminate, policy);
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(2);
    stage.manner("alice").notify = None;
    stage.picks_up("carol");
    assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1);
    stage
}

fn byes(stage: &Stage, name: &str) -> usize {
    stage.sent(name, Method::Bye).len()
}

/// A referrer that never answers the last NOTIFY: it is ended after Timer F and the release time, though
/// its Refer has long had its result.
#[test]
fn a_referrer_that_answers_nothing() {
    let mut stage = told_the_result(Policy::default());
    stage.pass_s(36);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.pass_s(2);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
}

/// One that answers it late is given the release time from then on.
#[test]
fn a_referrer_that_answers_late() {
    let mut stage = told_the_result(Policy::default());
    stage.pass_s(29);
    stage.answers("alice", Method::Notify, 200);
    stage.pass_s(4);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.pass_s(2);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
}

/// The release time may be longer than a finished Refer is kept for its own sake.
#[test]
fn a_long_release_time() {
    let policy = Policy { release_after: Duration::from_secs(100), ..Policy::default() };
    let mut stage = told_the_result(policy);
    stage.answers("alice", Method::Notify, 200);
    stage.pass_s(99);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.pass_s(2);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
}

/// The trunk may wish to have it ended as soon as the NOTIFY is answered, and not before; or never.
#[test]
fn at_once_or_never() {
    let mut stage = told_the_result(Policy { release: Release::AtOnce, ..Policy::default() });
    stage.pass_s(3);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.answers("alice", Method::Notify, 200);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
    let mut stage = told_the_result(Policy { release: Release::Never, ..Policy::default() });
    stage.answers("alice", Method::Notify, 200);
    stage.pass_s(100);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.end();
}

/// Whoever has sent a BYE gets none, be it before or after the last NOTIFY is answered.
#[test]
fn a_referrer_that_goes_by_itself() {
    for answers in [true, false] {
        let mut stage = told_the_result(Policy::default());
        if answers {
            stage.answers("alice", Method::Notify, 200);
        }
        stage.request("alice", "BYE", "", "");
        stage.pass_s(60);
        assert_eq!(byes(&stage, "alice"), 0);
        stage.end();
    }
}

/// The BYE of a referrer ends the call and not the subscription: a result that was lost on its way
/// is repeated until it has its answer.
#[test]
fn the_result_is_repeated_after_a_bye() {
    let mut stage = told_the_result(Policy::default());
    stage.request("alice", "BYE", "", "");
    stage.manner("alice").notify = Some(200);
    stage.pass_s(3);
    assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 2, "{:#?}", stage.log);
    stage.pass_s(40);
    assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 2);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.end();
}

/// Nobody is left to be moved, and the referrer does not answer the NOTIFY that says so: it is
/// ended all the same.
#[test]
fn nobody_left_to_be_moved() {
    let (mut stage, _, _) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(2);
    stage.manner("alice").notify = None;
    stage.request("bob", "BYE", "", "");
    assert_eq!(stage.count("alice NOTIFY 487"), 1);
    assert_eq!(stage.ended().1, Some(ReferReason::CallEnded));
    stage.pass_s(31);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.pass_s(2);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
}

/// The BYE after success waits as long as the order says, be that longer than a finished Refer is kept
/// for its own sake.
#[test]
fn a_long_wait_before_the_bye() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |order| order.bye_after = Some(Duration::from_secs(60))).expect("taken");
    stage.notifies("alice", 200, "terminated;reason=noresource");
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.pass_s(59);
    assert_eq!(byes(&stage, "alice"), 0);
    stage.pass_s(2);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
}

/// The far end of the consultation hangs up, as it must when it is replaced: whose leg is to be
/// ended is the party that was transferred.
#[test]
fn the_consultation_ends_first() {
    let (mut stage, alice, _) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    let wait = Some(Duration::from_secs(2));
    stage.refer(alice, |order| (order.replaces, order.bye_after) = (Some(carol), wait)).expect("taken");
    stage.notifies("alice", 200, "terminated;reason=noresource");
    stage.request("carol", "BYE", "", "");
    assert_eq!(byes(&stage, "alice"), 0);
    stage.pass_s(3);
    assert_eq!(byes(&stage, "alice"), 1);
    stage.end();
}
