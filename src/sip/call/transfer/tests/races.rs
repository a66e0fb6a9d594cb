//! What crosses: hang-ups, answers and orders that meet each other.

use super::stage::Stage;
use crate::sip::command::Order;
use crate::sip::event::{CallSid, Event, ReferReason, ReferStatus};
use crate::sip::message::Method;
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;

const OVER: &str = "terminated;reason=noresource";

/// Alice has referred Bob to Carol, whose phone rings.
fn ringing() -> (Stage, CallSid, CallSid) {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(2);
    (stage, alice, bob)
}

/// The same; she has picked up, and Bob does not answer the re-INVITE that tells him so.
fn bridging() -> (Stage, CallSid, CallSid) {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("bob").reinvite = 0;
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!((stage.count("carol ACK"), stage.count("bob INVITE")), (1, 1), "{:#?}", stage.log);
    (stage, alice, bob)
}

fn endings(stage: &Stage, sid: CallSid) -> usize {
    stage.events.iter().filter(|event| matches!(event, Event::Ended(of, _) if *of == sid)).count()
}

/// The last Refer's call is off, by the API.
fn cancels(stage: &mut Stage) {
    let (sid, call) = stage.told().last().map(|refer| (refer.sid, refer.call)).expect("a Refer");
    assert_eq!(stage.order(Order::CancelRefer(sid, call)), Ok(()));
}

/// The BYEs of Baton's to a phone, repeated ones once.
fn byes(stage: &Stage, name: &str) -> usize {
    let mut numbers: Vec<u32> =
        stage.sent(name, Method::Bye).iter().map(|bye| bye.cseq().expect("CSeq").number).collect();
    numbers.dedup();
    numbers.len()
}

/// The referrer, or the party that was transferred, hangs up while Baton's own BYE is
/// under way: it has its 200; that it knows nothing of ours any more, or says nothing, ends the leg as well, once.
#[test]
fn both_hang_up() {
    for answer in [None, Some(200), Some(408), Some(481)] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("alice").bye = None;
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(6);
        assert_eq!(byes(&stage, "alice"), 1);
        stage.request("alice", "BYE", "", "");
        assert_eq!(stage.count("alice BYE 200"), 1);
        if let Some(code) = answer {
            stage.answers("alice", Method::Bye, code);
        }
        stage.pass_s(40);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{answer:?}: {:#?}", stage.log);
        assert_eq!((byes(&stage, "alice"), endings(&stage, alice)), (1, 1), "{answer:?}");
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        stage.end();

        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("alice").bye = None;
        stage.refer(alice, |_| {}).expect("taken");
        stage.notifies("alice", 200, OVER);
        assert_eq!((byes(&stage, "alice"), byes(&stage, "bob")), (1, 1));
        stage.request("alice", "BYE", "", "");
        assert_eq!(stage.count("alice BYE 200"), 1);
        if let Some(code) = answer {
            stage.answers("alice", Method::Bye, code);
        }
        stage.pass_s(40);
        assert_eq!((byes(&stage, "alice"), byes(&stage, "bob")), (1, 1), "{answer:?}");
        assert_eq!((endings(&stage, alice), endings(&stage, bob)), (1, 1), "{answer:?}");
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        stage.end();
    }
}

/// The survivor hangs up just as the target answers: that is acknowledged and ended, the referrer is
/// told 487 and ended.
#[test]
fn a_survivor_that_goes_as_the_target_answers() {
    let (mut stage, alice, _) = ringing();
    stage.manner("carol").crosses = true;
    stage.request("bob", "BYE", "", "");
    assert_eq!((stage.count("bob BYE 200"), stage.count("carol CANCEL")), (1, 1));
    stage.picks_up("carol");
    assert!(stage.at("carol ACK") < stage.at("carol BYE"), "{:#?}", stage.log);
    assert_eq!((stage.count("carol ACK"), byes(&stage, "carol")), (1, 1));
    assert_eq!(stage.count("bob INVITE"), 0);
    assert!(stage.at("alice NOTIFY 487 Request Terminated terminated") < stage.at("alice BYE"));
    assert_eq!((stage.count("alice NOTIFY 487"), byes(&stage, "alice")), (1, 1));
    assert_eq!(endings(&stage, alice), 1);
    assert_eq!(stage.ended(), (ReferStatus::Canceled, Some(ReferReason::CallEnded), Some(202), Some(487)));
    stage.end();
}

/// The same a moment later: the target's answer is taken, the survivor has not heard of it.
#[test]
fn a_survivor_that_goes_before_it_is_joined() {
    let (mut stage, _, _) = bridging();
    stage.request("bob", "BYE", "", "");
    assert_eq!(stage.count("bob BYE 200"), 1);
    assert!(stage.at("carol ACK") < stage.at("carol BYE"), "{:#?}", stage.log);
    assert_eq!((stage.count("carol CANCEL"), byes(&stage, "carol")), (0, 1));
    stage.pass_s(1);
    assert_eq!(stage.count("alice NOTIFY 200"), 0);
    assert!(stage.at("alice NOTIFY 487 Request Terminated terminated") < stage.at("alice BYE"));
    assert_eq!(stage.ended(), (ReferStatus::Canceled, Some(ReferReason::CallEnded), Some(202), Some(487)));
    stage.end();
}

/// A CANCEL crosses the target's answer: that is acknowledged and ended, and the result stays
/// what the CANCEL was sent for. The original call goes on.
#[test]
fn a_target_that_answers_too_late() {
    for by_api in [true, false] {
        let (mut stage, alice, bob) = ringing();
        stage.manner("carol").crosses = true;
        if by_api {
            cancels(&mut stage);
        } else {
            stage.pass_s(60);
        }
        assert_eq!(stage.count("carol CANCEL"), 1);
        let result = match by_api {
            true => (ReferStatus::Canceled, Some(ReferReason::ApiCancel), Some(202), Some(487)),
            false => (ReferStatus::NoAnswer, Some(ReferReason::TargetNoAnswer), Some(202), Some(487)),
        };
        assert_eq!(stage.ended(), result);
        stage.picks_up("carol");
        assert!(stage.at("carol ACK") < stage.at("carol BYE"), "{:#?}", stage.log);
        stage.pass_s(10);
        assert_eq!((stage.count("bob INVITE"), stage.count("alice NOTIFY 200")), (0, 0));
        assert_eq!(stage.count("alice NOTIFY 487 Request Terminated terminated"), 1);
        assert!(stage.together(alice, bob));
        assert_eq!((stage.ended(), byes(&stage, "alice"), byes(&stage, "bob")), (result, 0, 0));
        stage.end();
    }
}

/// The target hangs up before it is joined: it has its 200, the referrer is told 480, and the survivor
/// is given back what it had of the referrer; both stay.
#[test]
fn a_target_that_goes_before_it_is_joined() {
    let (mut stage, alice, bob) = bridging();
    stage.request("carol", "BYE", "", "");
    assert_eq!((stage.count("carol BYE 200"), byes(&stage, "carol")), (1, 0));
    stage.manner("bob").reinvite = 200;
    stage.picks_up("bob");
    stage.pass_s(3);
    assert_eq!(stage.count("alice NOTIFY 480 Temporarily Unavailable terminated"), 1, "{:#?}", stage.log);
    assert_eq!(stage.count("alice NOTIFY 200"), 0);
    let told: Vec<String> = stage
        .sent("bob", Method::Invite)
        .iter()
        .map(|invite| String::from_utf8_lossy(invite.body()).into_owned())
        .collect();
    assert!(told[0].contains("c=IN IP4 10.0.2.1") && told.len() == 2, "{told:#?}");
    assert!(told[1].contains("c=IN IP4 10.0.0.1") && told[1].contains("m=audio 4000 "), "{told:#?}");
    let failed = Some(ReferReason::BridgeFailed);
    assert_eq!(stage.ended(), (ReferStatus::Failed, failed, Some(202), Some(480)));
    stage.pass_s(10);
    assert!(stage.together(alice, bob));
    assert_eq!((byes(&stage, "alice"), byes(&stage, "bob")), (0, 0));
    stage.end();
}

/// The survivor's re-INVITE meets glare: it goes again, three times at most, while the target waits;
/// then all is as it was.
#[test]
fn glare_as_they_are_joined() {
    for ends in [true, false] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("bob").reinvite = 491;
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!((stage.count("carol ACK"), stage.count("bob INVITE")), (1, 1));
        assert_eq!((stage.count("carol BYE"), stage.count("alice NOTIFY 4")), (0, 0), "the target waits");
        if ends {
            stage.manner("bob").reinvite = 200;
        }
        stage.pass_s(20);
        if ends {
            let carol = stage.leg(&stage.dialog("carol").call_id);
            assert!(stage.together(bob, carol), "{:#?}", stage.log);
            assert_eq!((stage.count("bob INVITE"), byes(&stage, "carol")), (2, 0));
            assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        } else {
            assert_eq!((stage.count("bob INVITE"), byes(&stage, "carol")), (4, 1), "{:#?}", stage.log);
            assert_eq!(stage.count("alice NOTIFY 488 Not Acceptable Here terminated"), 1);
            let bridge = Some(ReferReason::BridgeFailed);
            assert_eq!(stage.ended(), (ReferStatus::Failed, bridge, Some(202), Some(488)));
            assert!(stage.together(alice, bob));
        }
        stage.end();
    }
}

/// Called off when it has its result: that stays, in every role, and nobody hears anything new; who
/// asks is told that it is done.
#[test]
fn called_off_too_late() {
    let performed = || {
        let (mut stage, _, _) = Stage::talking();
        stage.refers("alice", "<sip:300@example.com>");
        stage
    };
    let passed_on = || {
        let (mut stage, _, _) = Stage::talking_with(ReferMode::Relay, Policy::default());
        stage.refers("alice", "<sip:300@example.com>");
        stage.notifies("bob", 200, OVER);
        stage
    };
    let ordered = || {
        let (mut stage, alice, _) = Stage::talking();
        stage.refer(alice, |order| order.bye_after = None).expect("taken");
        stage.notifies("alice", 200, OVER);
        stage
    };
    for mut stage in [performed(), passed_on(), ordered()] {
        let completed = (ReferStatus::Completed, None, Some(202), Some(200));
        assert_eq!(stage.ended(), completed);
        let before = (stage.told().len(), stage.requests.len());
        cancels(&mut stage);
        assert_eq!((stage.told().len(), stage.requests.len()), before, "{:#?}", stage.log);
        assert_eq!(stage.ended(), completed);
        stage.end();
    }
}

/// Called off just before its result: that comes too late, in every role, and whoever brings it is
/// answered all the same.
#[test]
fn called_off_in_time() {
    let canceled = |code| (ReferStatus::Canceled, Some(ReferReason::ApiCancel), Some(202), code);
    let (mut stage, alice, bob) = bridging();
    cancels(&mut stage);
    stage.manner("bob").reinvite = 200;
    stage.picks_up("bob");
    stage.pass_s(10);
    assert_eq!((byes(&stage, "carol"), stage.count("alice NOTIFY 200")), (1, 0));
    assert!(stage.together(alice, bob), "{:#?}", stage.log);
    assert_eq!(stage.ended(), canceled(Some(487)));
    stage.end();

    let (mut stage, _, _) = Stage::talking_with(ReferMode::Relay, Policy::default());
    stage.refers("alice", "<sip:300@example.com>");
    cancels(&mut stage);
    stage.notifies("bob", 200, OVER);
    assert_eq!((stage.count("alice NOTIFY 200"), stage.count("bob NOTIFY 200")), (1, 1));
    assert_eq!((stage.ended().0, stage.ended().1), (ReferStatus::Canceled, Some(ReferReason::ApiCancel)));
    stage.end();
}
