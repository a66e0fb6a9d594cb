//! REFERs of Baton's that have not gone out yet, or go out again; and what still comes of the earlier ones.

use super::stage::Stage;
use crate::sip::command::Order;
use crate::sip::event::{CallSid, ReferReason, ReferSid, ReferStatus};
use crate::sip::message::Method;
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;

const OVER: &str = "terminated;reason=noresource";

/// Alice's phone has not answered a re-INVITE, and the REFER waits for that.
fn waiting() -> (Stage, CallSid, CallSid) {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("alice").reinvite = 0;
    stage.refer(alice, |order| order.hold = true).expect("taken");
    assert_eq!((stage.count("alice INVITE"), stage.count("alice REFER")), (1, 0));
    (stage, alice, bob)
}

/// Called off before it was sent, it is not sent any more; another one may be.
#[test]
fn called_off_before_it_was_sent() {
    for again in [false, true] {
        let (mut stage, alice, bob) = waiting();
        assert_eq!(stage.order(Order::CancelRefer(ReferSid(77), alice)), Ok(()));
        assert_eq!(stage.ended().1, Some(ReferReason::ApiCancel));
        if again {
            stage.refer(alice, |order| order.sid = ReferSid(78)).expect("taken");
        }
        stage.manner("alice").reinvite = 200;
        stage.picks_up("alice");
        stage.pass_s(5);
        assert_eq!(stage.count("alice REFER"), usize::from(again), "{:#?}", stage.log);
        assert!(stage.together(alice, bob));
        stage.end();
    }
}

/// Called off while it waits to be sent once more.
#[test]
fn called_off_between_attempts() {
    for (code, headers) in [(491, ""), (503, "Retry-After: 5\n")] {
        let (mut stage, alice, _) = Stage::talking();
        let manner = stage.manner("alice");
        (manner.refer, manner.refer_headers) = (Some(code), headers);
        stage.refer(alice, |_| {}).expect("taken");
        assert_eq!(stage.order(Order::CancelRefer(ReferSid(77), alice)), Ok(()));
        stage.pass_s(30);
        assert_eq!(stage.count("alice REFER"), 1);
        assert_eq!(stage.ended().0, ReferStatus::Canceled);
        stage.end();
    }
}

/// Called off while it is on its way, it cannot be recalled; but it is not sent once more with the
/// credentials that its answer asks for.
#[test]
fn called_off_before_it_was_challenged() {
    let secret = crate::sip::plan::Secret::Password("zanzibar".into());
    let credentials = std::sync::Arc::new(crate::sip::plan::Credentials { user: "desk".into(), secret });
    let (mut stage, alice, _) = Stage::talking();
    stage.manner("alice").refer = None;
    stage.refer(alice, |order| order.credentials = Some(credentials)).expect("taken");
    assert_eq!(stage.order(Order::CancelRefer(ReferSid(77), alice)), Ok(()));
    let manner = stage.manner("alice");
    (manner.refer, manner.refer_headers) =
        (Some(407), "Proxy-Authenticate: Digest realm=\"biloxi\", nonce=\"n1\", qop=\"auth\"\n");
    stage.pass_s(5);
    let first = last_refer(&stage);
    let refers = stage.sent("alice", Method::Refer);
    assert!(refers.len() > 1, "it was repeated until it was answered");
    assert!(refers.iter().all(|refer| refer.cseq().expect("CSeq").number == first), "{:#?}", stage.log);
    assert_eq!(refers[0].cseq().expect("CSeq").number, first);
    stage.end();
}

/// It could not be sent for too long: given up, and not sent any more.
#[test]
fn given_up_before_it_was_sent() {
    let (mut stage, alice, bob) = waiting();
    stage.answers("alice", Method::Invite, 180);
    stage.pass_s(70);
    let late = Some(ReferReason::ReferTimeout);
    assert_eq!(stage.ended(), (ReferStatus::Failed, late, Some(408), None));
    stage.manner("alice").reinvite = 200;
    stage.picks_up("alice");
    stage.pass_s(5);
    assert_eq!(stage.count("alice REFER"), 0);
    assert!(stage.together(alice, bob));
    stage.end();
}

/// A REFER cannot be passed on while the other party's exchange is unfinished: who sent it
/// is answered while that can still reach it, and nothing goes out later.
#[test]
fn a_relayed_one_is_not_kept_for_ever() {
    let (mut stage, alice, bob) = Stage::talking_with(ReferMode::Relay, Policy::default());
    stage.manner("bob").reinvite = 0;
    let sdp = stage.sdp("alice");
    stage.request("alice", "INVITE", "Contact: <sip:alice@10.0.0.1:5060>\n", &sdp);
    stage.answers("bob", Method::Invite, 180);
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(30);
    assert_eq!(stage.count("alice REFER 491"), 1, "{:#?}", stage.log);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::ReferTimeout), Some(491), None));
    stage.manner("bob").reinvite = 200;
    stage.picks_up("bob");
    stage.pass_s(5);
    assert_eq!((stage.count("bob REFER"), stage.count("alice REFER")), (0, 1));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// A NOTIFY of Alice's about the REFER with this CSeq, or about one that it does not name.
fn about(stage: &mut Stage, cseq: Option<u32>, code: u16, state: &str) {
    let id = cseq.map_or_else(String::new, |cseq| format!(";id={cseq}"));
    let fields =
        format!("Event: refer{id}\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\n");
    stage.request("alice", "NOTIFY", &fields, &format!("SIP/2.0 {code} Whatever\n"));
}

fn last_refer(stage: &Stage) -> u32 {
    stage.sent("alice", Method::Refer).last().expect("a REFER").cseq().expect("CSeq").number
}

/// What a NOTIFY says about the first attempt does not decide the second, be that answered
/// or not; it has its 200 nevertheless.
#[test]
fn a_late_notify_of_the_first_attempt() {
    for (named, answered) in [(true, false), (true, true), (false, false), (false, true)] {
        let (mut stage, alice, _) = Stage::talking();
        let consultation = stage.calls("consult", "300");
        let carol = stage.other(consultation);
        stage.refer(alice, |order| (order.replaces, order.to) = (Some(carol), String::new())).expect("taken");
        let first = Some(last_refer(&stage)).filter(|_| named);
        stage.manner("alice").refer = Some(202).filter(|_| answered);
        about(&mut stage, first, 404, "active;expires=60");
        assert_eq!(stage.count("alice REFER"), 2);
        about(&mut stage, first, 404, OVER);
        assert_eq!(stage.count("alice NOTIFY 200"), 2, "{named} {answered}: {:#?}", stage.log);
        assert_eq!(stage.ended().0, ReferStatus::InProgress, "{named} {answered}");
        if !answered {
            stage.answers("alice", Method::Refer, 202);
        }
        let second = Some(last_refer(&stage)).filter(|_| named);
        about(&mut stage, second, 100, "active;expires=60");
        about(&mut stage, second, 200, OVER);
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)), "{named} {answered}");
        stage.end();
    }
}

/// Nor when the first attempt was never answered.
#[test]
fn a_first_attempt_without_an_answer() {
    let (mut stage, alice, _) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    stage.manner("alice").refer = None;
    stage.refer(alice, |order| (order.replaces, order.to) = (Some(carol), String::new())).expect("taken");
    let first = last_refer(&stage);
    about(&mut stage, Some(first), 404, "active;expires=60");
    assert_eq!(stage.count("alice REFER"), 2);
    about(&mut stage, Some(first), 404, OVER);
    assert_eq!(stage.count("alice REFER"), 2);
    stage.answers("alice", Method::Refer, 202);
    let second = last_refer(&stage);
    about(&mut stage, Some(second), 486, OVER);
    assert_eq!(stage.ended(), (ReferStatus::Busy, Some(ReferReason::TargetBusy), Some(202), Some(486)));
    stage.end();
}

/// The party hangs up while a REFER waits to be sent once more: there will be no result, which is said as
/// what it is.
#[test]
fn a_party_that_goes_between_attempts() {
    let (mut stage, alice, _) = Stage::talking();
    stage.manner("alice").refer = Some(491);
    stage.refer(alice, |_| {}).expect("taken");
    stage.request("alice", "BYE", "", "");
    stage.pass_s(8);
    assert_eq!(stage.count("alice REFER"), 1);
    assert_eq!(stage.ended(), (ReferStatus::Canceled, Some(ReferReason::CallEnded), Some(491), None));
    stage.end();
}

/// A refresh that is granted tells how long the result may take, whether or not its NOTIFY comes through.
#[test]
fn a_refresh_whose_notify_is_lost() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.notifies("alice", 100, "active;expires=60");
    stage.pass_s(50);
    assert_eq!(stage.sent("alice", Method::Subscribe).len(), 1);
    stage.pass_s(50);
    assert_eq!(stage.ended().0, ReferStatus::InProgress);
    stage.notifies("alice", 200, OVER);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// A NOTIFY without a body is one all the same: it stands for the answer that was lost, and the
/// result has the time that it has after any NOTIFY.
#[test]
fn a_notify_without_a_body() {
    for answer in [None, Some(202)] {
        let (mut stage, alice, _) = Stage::talking();
        stage.manner("alice").refer = answer;
        stage.refer(alice, |_| {}).expect("taken");
        stage.request("alice", "NOTIFY", "Event: refer\nSubscription-State: active;expires=250\n", "");
        stage.pass_s(40);
        assert!(stage.told().iter().all(|refer| refer.status == ReferStatus::InProgress), "{answer:?}");
        stage.notifies("alice", 200, OVER);
        let code = answer.or(Some(408));
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, code, Some(200)));
        stage.end();
    }
    // None with a result ever comes: that it is unknown is the result, when the subscription is over.
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.request("alice", "NOTIFY", "Event: refer\nSubscription-State: active;expires=250\n", "");
    stage.pass_s(249);
    assert_eq!(stage.ended().0, ReferStatus::InProgress);
    stage.pass_s(60);
    let unknown = Some(ReferReason::OutcomeUnknown);
    assert_eq!(stage.ended(), (ReferStatus::Failed, unknown, Some(202), None));
    stage.end();
}
