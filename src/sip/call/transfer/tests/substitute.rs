use super::stage::{Stage, text};
use crate::sip::command::Decision;
use crate::sip::event::{Event, ReferReason, ReferStatus};
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;
use std::time::Duration;

/// [R-001] [R-002] [R-052] [R-053] [R-056] [R-061] A blind transfer,
/// from REFER to the released referrer.
#[test]
fn a_blind_transfer() {
    let (mut stage, _, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    assert!(stage.at("alice REFER 202") < stage.at("alice NOTIFY 100 Trying active"));
    assert_eq!(stage.count("carol INVITE"), 1);
    assert_eq!(stage.count("bob INVITE"), 0, "the original call is not touched while it rings");
    stage.pass_s(2);
    stage.picks_up("carol");
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol));
    assert!(stage.at("carol ACK") < stage.at("bob INVITE"));
    assert_eq!(stage.count("alice NOTIFY 180"), 1);
    assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1);
    assert_eq!(stage.count("alice BYE"), 0);
    stage.pass_s(6);
    assert_eq!(stage.count("alice BYE"), 1, "it did not go by itself");
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    assert!(stage.together(bob, carol));
    stage.end();
}

/// A target that refuses: told, the original call stays, and another REFER is taken.
#[test]
fn a_target_that_refuses() {
    for (code, status, reason) in [
        (486, ReferStatus::Busy, ReferReason::TargetBusy),
        (600, ReferStatus::Busy, ReferReason::TargetBusy),
        (480, ReferStatus::NoAnswer, ReferReason::TargetNoAnswer),
        (404, ReferStatus::Failed, ReferReason::TargetRejected),
        (603, ReferStatus::Failed, ReferReason::TargetRejected),
    ] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("carol").invite = Some(code);
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!(stage.ended(), (status, Some(reason), Some(202), Some(code)));
        assert_eq!(stage.count(&format!("alice NOTIFY {code}")), 1);
        assert_eq!(stage.count("bob INVITE"), 0);
        assert!(stage.together(alice, bob));
        // The second REFER's NOTIFYs name it.
        stage.manner("carol").invite = Some(200);
        stage.refers("alice", "<sip:300@example.com>");
        let cseq = stage.dialog("alice").cseq;
        let notifies = stage.sent("alice", Method::Notify);
        assert_eq!(text(notifies[0], HeaderId::Event), "refer");
        assert_eq!(text(notifies.last().expect("one"), HeaderId::Event), format!("refer;id={cseq}"));
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// The second REFER of a dialog is the second, whatever became of the first.
#[test]
fn a_refer_after_one_that_was_refused() {
    let (mut stage, _, _) = Stage::talking();
    stage.refers("alice", "<sip:900@example.com>");
    assert_eq!(stage.count("alice REFER 404"), 1);
    stage.refers("alice", "<sip:300@example.com>");
    let expected = format!("refer;id={}", stage.dialog("alice").cseq);
    for notify in stage.sent("alice", Method::Notify) {
        assert_eq!(text(notify, HeaderId::Event), expected);
    }
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// The subscription that a REFER really makes outlasts the target's ring time, whatever that is: the last
/// moment's answer is still told.
#[test]
fn the_subscription_outlasts_the_ringing() {
    for ring in [60, 170] {
        let mut stage = Stage::new(ReferMode::Terminate);
        stage.plan.calls.ring_time = Duration::from_secs(ring);
        stage.calls("alice", "200");
        stage.manner("carol").invite = None;
        stage.log.clear();
        stage.refers("alice", "<sip:300@example.com>");
        let state = text(stage.sent("alice", Method::Notify)[0], HeaderId::SubscriptionState);
        let expires = state.strip_prefix("active;expires=").and_then(|left| left.parse::<u64>().ok());
        assert!(expires.is_some_and(|expires| expires > ring), "{state}");
        stage.pass_s(ring - 1);
        assert_eq!(stage.count("carol CANCEL"), 0);
        assert_eq!(stage.sent("alice", Method::Notify).len(), 2, "100 and 180: {:#?}", stage.log);
        stage.picks_up("carol");
        assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1, "{:#?}", stage.log);
        stage.end();
    }
}

/// What the trunk could not call by INVITE it cannot reach by REFER:
/// refused in the response, told once, nothing called.
#[test]
fn toll_control() {
    for (to, code) in [
        ("<sip:900@example.com>", 404),
        ("<sip:%39%30%30@127.0.0.1>", 404),
        ("<tel:900>", 404),
        ("<mailto:x@y>", 416),
        ("<sip:300@example.com;method=BYE>", 403),
        ("<sip:300@example.com?X=%0d%0aRoute%3A%20y>", 400),
        ("<sip:bob@10.0.1.1:5060>", 482),
    ] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.refers("alice", to);
        assert_eq!(stage.count(&format!("alice REFER {code}")), 1, "{to}: {:?}", stage.log);
        assert_eq!(stage.count("carol") + stage.count("bob") + stage.count("alice NOTIFY"), 0);
        assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::Policy), Some(code), None));
        assert!(stage.together(alice, bob));
        stage.end();
    }
}

/// The new leg is charged as a call of the referrer's trunk: whichever side of the call that is; without
/// an account of its own, to the party's that is moved.
#[test]
fn the_referrers_trunk_pays() {
    for (who, bravos, payer) in
        [("alice", Some("AC2"), "AC1"), ("bob", Some("AC2"), "AC2"), ("bob", None, "AC1")]
    {
        let mut stage = Stage::new(ReferMode::Terminate);
        stage.plan.trunks[0].account = Some("AC1".into());
        stage.plan.trunks[1].account = bravos.map(Into::into);
        stage.plan.trunks[2].account = Some("AC3".into());
        stage.calls("alice", "200");
        stage.events.clear();
        stage.refers(who, "<sip:300@example.com>");
        let accounts = stage.events.iter().filter_map(|event| match event {
            Event::CallStarted(started) => Some(&*started.account),
            _ => None,
        });
        assert_eq!(accounts.collect::<Vec<_>>(), [payer], "{who} {bravos:?}");
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// [R-016] Section 5.4: what the new INVITE says.
#[test]
fn the_new_invite() {
    let (mut stage, _, _) = Stage::talking();
    let long = "x".repeat(1_200);
    let to = format!(
        "<sip:300@example.com;a={long}?User-to-User=77%3Bencoding%3Dhex&Route=%3Csip%3Aevil%3E&X-Y=1>"
    );
    let by = format!("<sip:alice@example.com;p={long}>;cid=\"1@x\"");
    stage.request("alice", "REFER", &format!("Refer-To: {to}\nReferred-By: {by}\nX-Secret: 1\n"), "");
    let invite = stage.sent("carol", Method::Invite)[0].clone();
    let uri = String::from_utf8_lossy(invite.request_uri()).into_owned();
    assert!(uri.starts_with("sip:300@") && uri.ends_with(&format!(";a={long}")), "{uri}");
    assert_eq!(text(&invite, HeaderId::ReferredBy), by);
    assert_eq!(text(&invite, HeaderId::UserToUser), "77;encoding=hex");
    assert_eq!(text(&invite, HeaderId::MaxForwards), "69");
    assert!(text(&invite, HeaderId::To).starts_with("<sip:300@example.com"));
    assert!(text(&invite, HeaderId::From).contains("baton") || text(&invite, HeaderId::From).contains("200"));
    assert!(!invite.has(HeaderId::Route) && invite.other_header("X-Y").is_none());
    assert!(invite.other_header("X-Secret").is_none());
    stage.end();
}

/// The referrer hangs up right after the 202: it gets its 200, the transfer goes on.
#[test]
fn the_referrer_goes_at_once() {
    for told in [true, false] {
        the_referrer_goes(Policy { notify_after_bye: told, ..Policy::default() }, told);
    }
}

fn the_referrer_goes(policy: Policy, told: bool) {
    let (mut stage, _, bob) = Stage::talking_with(ReferMode::Terminate, policy);
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.request("alice", "BYE", "", "");
    assert_eq!(stage.count("alice BYE 200"), 1);
    assert_eq!(stage.count("bob BYE"), 0);
    stage.pass_s(2);
    assert_eq!(stage.count("alice NOTIFY 180"), 0);
    stage.picks_up("carol");
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol));
    assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), usize::from(told));
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// A REFER that comes from elsewhere moves nobody, whatever tags it knows: 403.
#[test]
fn a_refer_of_a_stranger() {
    let (mut stage, alice, bob) = Stage::talking();
    stage.moves("alice", "10.9.9.9:5060");
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("10.9.9.9:5060 REFER 403"), 1, "{:#?}", stage.log);
    stage.moves("alice", "10.0.0.1:5060");
    assert_eq!(stage.count("carol") + stage.count("alice"), 0);
    assert!(stage.told().is_empty());
    assert!(stage.together(alice, bob));
    // Another address of its trunk is as good (section 13).
    stage.moves("alice", "10.0.0.9:5060");
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// The referrer has left and the target fails: the survivor is ended, with the reason.
#[test]
fn nobody_left_to_talk_to() {
    let (mut stage, _, _) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.request("alice", "BYE", "", "");
    stage.refuses("carol", 486);
    let bye = stage.sent("bob", Method::Bye)[0];
    assert!(text(bye, HeaderId::Reason).contains("cause=486"));
    assert_eq!(stage.ended(), (ReferStatus::Busy, Some(ReferReason::TargetBusy), Some(202), Some(486)));
    stage.end();
}

/// The survivor hangs up while the target rings: CANCEL, NOTIFY 487, BYE to the referrer.
#[test]
fn the_survivor_goes_while_the_target_rings() {
    let (mut stage, _, _) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(2);
    stage.request("bob", "BYE", "", "");
    assert_eq!(stage.count("carol CANCEL"), 1);
    assert!(stage.at("alice NOTIFY 487 Request Terminated terminated") < stage.at("alice BYE"));
    assert_eq!(stage.ended(), (ReferStatus::Canceled, Some(ReferReason::CallEnded), Some(202), Some(487)));
    stage.end();
}

/// Ring time over: CANCEL, 487 to the referrer, no answer; the original call stays.
#[test]
fn ring_time_over() {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(59);
    assert_eq!(stage.count("carol CANCEL"), 0);
    stage.pass_s(2);
    assert_eq!(stage.count("carol CANCEL"), 1);
    assert_eq!(stage.count("alice NOTIFY 487"), 1);
    assert!(stage.together(alice, bob));
    let no_answer = Some(ReferReason::TargetNoAnswer);
    assert_eq!(stage.ended(), (ReferStatus::NoAnswer, no_answer, Some(202), Some(487)));
    stage.end();
}

/// The survivor's answer to the re-INVITE says that it is no more: as if it had left.
#[test]
fn a_survivor_that_is_no_more() {
    for code in [481, 408] {
        let (mut stage, _, _) = Stage::talking();
        stage.manner("bob").reinvite = code;
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(1);
        assert_eq!(stage.count("carol BYE"), 1);
        assert!(stage.at("alice NOTIFY 487 Request Terminated terminated") < stage.at("alice BYE"));
        let ended = Some(ReferReason::CallEnded);
        assert_eq!(stage.ended(), (ReferStatus::Canceled, ended, Some(202), Some(487)));
        stage.end();
    }
}

/// No common codec, or a survivor that refuses: 488, and all is as it was.
#[test]
fn a_join_that_fails() {
    for refusal in [488, 500] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("bob").reinvite = refusal;
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(1);
        assert_eq!(stage.count("carol BYE"), 1);
        assert_eq!(stage.count("alice NOTIFY 488"), 1);
        let bridge = Some(ReferReason::BridgeFailed);
        assert_eq!(stage.ended(), (ReferStatus::Failed, bridge, Some(202), Some(488)));
        assert!(stage.together(alice, bob));
        stage.end();
    }
}

/// The survivor does not answer the re-INVITE at all: that is a refusal, too, and what is told is what happens:
/// the target is let go, and the others talk on.
#[test]
fn a_survivor_that_is_silent() {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("bob").reinvite = 0;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(120);
    assert_eq!((stage.count("carol BYE"), stage.count("alice NOTIFY 488")), (1, 1), "{:#?}", stage.log);
    let bridge = Some(ReferReason::BridgeFailed);
    assert_eq!(stage.ended(), (ReferStatus::Failed, bridge, Some(202), Some(488)));
    assert_eq!((stage.count("alice BYE"), stage.count("bob BYE")), (0, 0), "{:#?}", stage.log);
    assert!(stage.together(alice, bob));
    stage.manner("bob").reinvite = 200;
    let body = stage.sdp("alice");
    stage.request("alice", "INVITE", "", &body);
    assert_eq!(stage.count("alice INVITE 200"), 1, "the session can be changed again");
    stage.end();
}

/// NOTIFYs that nobody answers, or that get 481, end the subscription only.
#[test]
fn notifies_that_fail() {
    for answer in [None, Some(481)] {
        let (mut stage, _, bob) = Stage::talking();
        stage.manner("alice").notify = answer;
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(40);
        assert!(stage.count("alice NOTIFY 180") == 0);
        stage.picks_up("carol");
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol));
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// Refer-Sub: false is granted: no NOTIFY, and every change is told all the same.
#[test]
fn no_subscription() {
    let (mut stage, _, _) = Stage::talking();
    stage.request("alice", "REFER", "Refer-To: <sip:300@example.com>\nRefer-Sub: false\n", "");
    assert_eq!(stage.count("alice REFER 202"), 1);
    assert_eq!(stage.count("alice NOTIFY"), 0);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.pass_s(6);
    assert_eq!(stage.count("alice BYE"), 1);
    stage.end();
}

/// A REFER that demands that there be no subscription: 200 and no NOTIFY. One that demands that one be
/// made apart is refused.
#[test]
fn no_implicit_subscription() {
    let (mut stage, _, _) = Stage::talking();
    let refer = |stage: &mut Stage, require: &str| {
        let fields = format!("Refer-To: <sip:300@example.com>\nRequire: {require}\n");
        stage.request("alice", "REFER", &fields, "");
    };
    refer(&mut stage, "explicitsub");
    assert_eq!(stage.count("alice REFER 420"), 1);
    let (_, refusal) = stage.responses.last().expect("a response");
    assert!(refusal.lists(HeaderId::Unsupported, "explicitsub"));
    refer(&mut stage, "nosub");
    assert_eq!(stage.count("alice REFER 200"), 1, "{:#?}", stage.log);
    assert_eq!(stage.count("alice NOTIFY"), 0);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(200), Some(200)));
    stage.end();
}

/// SUBSCRIBE refreshes or ends a subscription there is; one there is not gets 403.
#[test]
fn subscribes() {
    let (mut stage, _, _) = Stage::talking();
    stage.request("alice", "SUBSCRIBE", "Event: refer\nExpires: 60\n", "");
    assert_eq!(stage.count("alice SUBSCRIBE 403"), 1);
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    let cseq = stage.dialog("alice").cseq;
    stage.pass_s(3);
    stage.request("alice", "SUBSCRIBE", "Event: refer\nExpires: 70\n", "");
    assert_eq!(stage.count("alice SUBSCRIBE 200"), 1);
    assert_eq!(stage.count("alice NOTIFY 180"), 2);
    // RFC 3515 §2.4.6: its REFER's CSeq names it, whether or not the NOTIFYs say so.
    stage.pass_s(2);
    stage.request("alice", "SUBSCRIBE", &format!("Event: refer;id={cseq}\nExpires: 80\n"), "");
    assert_eq!(stage.count("alice SUBSCRIBE 200"), 2, "{:#?}", stage.log);
    let notify = *stage.sent("alice", Method::Notify).last().expect("one");
    assert_eq!(text(notify, HeaderId::SubscriptionState), "active;expires=80");
    stage.request("alice", "SUBSCRIBE", &format!("Event: refer;id={}\nExpires: 80\n", cseq + 1), "");
    assert_eq!(stage.count("alice SUBSCRIBE 403"), 2);
    stage.pass_s(2);
    stage.request("alice", "SUBSCRIBE", &format!("Event: refer;id={cseq}\nExpires: 0\n"), "");
    assert_eq!(stage.count("alice SUBSCRIBE 200"), 3);
    stage.pass_s(2);
    assert_eq!(stage.count("alice NOTIFY 180 Ringing terminated"), 1);
    assert_eq!(stage.count("carol CANCEL"), 0);
    stage.picks_up("carol");
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// A second REFER while one is active: 491. Too many transfers of one call: 403.
#[test]
fn too_many() {
    let (mut stage, _, _) =
        Stage::talking_with(ReferMode::Terminate, Policy { max_transfers: 0, ..Policy::default() });
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("alice REFER 403"), 1);
    stage.end();
    let (mut stage, _, _) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("alice REFER 491"), 1);
    stage.end();
}

/// The trunk's mode is to refuse.
#[test]
fn refused_by_mode() {
    let (mut stage, _, _) = Stage::talking_with(ReferMode::Reject(405), Policy::default());
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("alice REFER 405"), 1);
    allows_something_else(&stage);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::Policy), Some(405), None));
    stage.end();
}

/// The last response says, once, what may be sent in place of REFER (RFC 3261 §21.4.6).
fn allows_something_else(stage: &Stage) {
    let (_, refusal) = stage.responses.last().expect("a response");
    let listed =
        |method: &str| refusal.values(HeaderId::Allow).filter(|one| *one == method.as_bytes()).count();
    assert_eq!((listed("INVITE"), listed("REFER")), (1, 0), "{refusal:?}");
}

/// A program refuses by 405 where the trunk's mode would have taken the REFER.
#[test]
fn refused_by_a_program() {
    let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
    stage.refers("alice", "<sip:300@example.com>");
    stage.decides(Decision::Reject(405)).expect("taken");
    assert_eq!(stage.count("alice REFER 405"), 1);
    allows_something_else(&stage);
    stage.end();
}

/// After a transfer the two are an ordinary call, and either may transfer again.
#[test]
fn another_transfer_after_one() {
    let (mut stage, _, bob) = Stage::talking();
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(6);
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol));
    stage.request("bob", "INFO", "", "");
    assert_eq!(stage.count("carol INFO"), 1);
    stage.refers("bob", "<sip:200@example.com>");
    stage.pass_s(6);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.request("carol", "BYE", "", "");
    stage.end();
}

/// [C-186] A caller who wished to stay unknown is so towards the target of a transfer, too.
#[test]
fn privacy_goes_along() {
    let (mut stage, alice, _) = Stage::talking();
    stage.with(|calls, _| {
        let party = calls.party_mut(alice).expect("she is there");
        party.privacy = Some(b"id".as_slice().into());
    });
    stage.refers("bob", "<sip:300@example.com>");
    let invite = stage.sent("carol", Method::Invite)[0];
    assert_eq!(text(invite, HeaderId::Privacy), "id");
    stage.pass_s(10);
    stage.end();
}
