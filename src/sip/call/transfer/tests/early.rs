//! A REFER in a dialog whose first ACK has not come yet: it may have been overtaken, or be lost for good.

use super::stage::{Stage, text};
use crate::sip::event::{CallSid, ReferReason, ReferStatus};
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Credentials, ReferMode, Secret};
use std::sync::Arc;

/// Alice has called Bob, and is answered, but her ACK has not come.
fn unacknowledged(mode: ReferMode) -> (Stage, CallSid, CallSid) {
    let mut stage = Stage::new(mode);
    stage.acknowledging = false;
    let alice = stage.calls("alice", "200");
    let bob = stage.other(alice);
    stage.log.clear();
    stage.requests.clear();
    (stage, alice, bob)
}

/// [R-052] [R-056] [C-140] [C-141] The caller's REFER overtakes its ACK: performed as ever. The ACK that comes late is
/// no matter; one that never comes ends the referrer's leg, and not the call of the two who talk by then.
#[test]
fn the_callers_refer_overtakes_its_ack() {
    for comes in [true, false] {
        let (mut stage, _, bob) = unacknowledged(ReferMode::Terminate);
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!(stage.count("alice REFER 202"), 1, "{:#?}", stage.log);
        // the exchange is waited for, as long as that is of use.
        stage.pass_s(5);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        if comes {
            stage.acknowledges("alice");
            stage.pass_s(6);
            assert_eq!(stage.count("alice BYE"), 1, "{:#?}", stage.log);
        } else {
            // RFC 3261 §15: no BYE before the ACK, or the end of the waiting for it.
            stage.pass_s(10);
            assert_eq!(stage.count("alice BYE"), 0, "{:#?}", stage.log);
            stage.pass_s(25);
            assert_eq!(stage.count("alice BYE"), 1, "{:#?}", stage.log);
        }
        stage.pass_s(60);
        assert_eq!((stage.count("bob BYE"), stage.count("carol BYE")), (0, 0), "{:#?}", stage.log);
        assert!(stage.together(bob, carol));
        stage.end();
    }
}

/// [R-057] [C-141] The caller's REFER comes to nothing: the call is as it was, and its ACK is still waited for.
#[test]
fn the_callers_refer_comes_to_nothing() {
    for comes in [true, false] {
        let (mut stage, alice, bob) = unacknowledged(ReferMode::Terminate);
        stage.manner("carol").invite = Some(486);
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(5);
        assert_eq!(stage.ended().0, ReferStatus::Busy);
        if comes {
            stage.acknowledges("alice");
        }
        stage.pass_s(60);
        assert_eq!(stage.together(alice, bob), comes, "{:#?}", stage.log);
        assert_eq!(stage.count("bob BYE"), usize::from(!comes));
        stage.end();
    }
}

/// [R-056] [R-060] [C-141] The callee refers a caller whose ACK has not come: no re-INVITE goes to the caller before it
/// does (RFC 3261 §14.1), then the two are joined. If it never comes, there is nobody to be moved.
#[test]
fn the_survivors_ack_is_late() {
    for comes in [true, false] {
        let (mut stage, alice, _) = unacknowledged(ReferMode::Terminate);
        stage.refers("bob", "<sip:300@example.com>");
        assert_eq!(stage.count("bob REFER 202"), 1, "{:#?}", stage.log);
        stage.pass_s(10);
        assert_eq!((stage.count("carol INVITE"), stage.count("alice INVITE 200") > 0), (1, true));
        assert!(stage.sent("alice", Method::Invite).is_empty(), "{:#?}", stage.log);
        if comes {
            stage.acknowledges("alice");
            stage.pass_s(1);
            let carol = stage.leg(&stage.dialog("carol").call_id);
            assert!(stage.together(alice, carol), "{:#?}", stage.log);
            assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        } else {
            stage.pass_s(30);
            assert_eq!((stage.count("alice BYE"), stage.count("carol BYE")), (1, 1), "{:#?}", stage.log);
            assert_eq!(stage.count("bob NOTIFY 487 "), 1, "{:?} {:#?}", stage.ended(), stage.log);
            assert!(stage.at("bob NOTIFY 487 ") < stage.at("bob BYE"));
            let ended = Some(ReferReason::CallEnded);
            assert_eq!(stage.ended(), (ReferStatus::Canceled, ended, Some(202), Some(487)));
        }
        stage.end();
    }
}

/// Passed on, either way; to a party whose ACK has not come when that is there.
#[test]
fn passed_on_before_the_ack() {
    for (referrer, referee) in [("alice", "bob"), ("bob", "alice")] {
        let (mut stage, _, _) = unacknowledged(ReferMode::Relay);
        stage.refers(referrer, "<sip:300@example.com>");
        let passed = format!("{referee} REFER");
        assert_eq!(stage.count(&passed), usize::from(referee == "bob"), "{:#?}", stage.log);
        stage.acknowledges("alice");
        assert_eq!(stage.count(&passed), 1, "{referrer}: {:#?}", stage.log);
        assert_eq!(stage.count(&format!("{referrer} REFER 202")), 1);
        stage.notifies(referee, 200, "terminated;reason=noresource");
        assert_eq!(stage.count(&format!("{referrer} NOTIFY 200 ")), 1);
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// [R-079] [R-012] [C-200] A NOTIFY is challenged: it is sent once more with the credentials that the referrer's trunk
/// has, as one more request of the dialog. Without any it counts as said: the subscription lives (RFC 5057 §5.1, RFC
/// 6665 §4.2.2), the next ones are sent, each once, and the transfer goes on.
#[test]
fn a_notify_that_is_challenged() {
    for keys in [true, false] {
        let (mut stage, _, bob) = Stage::talking();
        stage.plan.trunks[0].owned.credentials = keys.then(|| {
            Arc::new(Credentials { user: "alpha".into(), secret: Secret::Password("secret".into()) })
        });
        stage.plan.trunks[2].owned.credentials =
            Some(Arc::new(Credentials { user: "charlie".into(), secret: Secret::Password("secret".into()) }));
        stage.manner("alice").notify = Some(401);
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(3);
        stage.picks_up("carol");
        stage.pass_s(1);
        let notifies = stage.sent("alice", Method::Notify);
        let said: Vec<(String, bool)> = notifies
            .iter()
            .map(|m| {
                let body = String::from_utf8_lossy(m.body()).trim().to_owned();
                (body, text(m, HeaderId::Authorization).contains("username=\"alpha\""))
            })
            .collect();
        let numbers: Vec<u32> = notifies.iter().map(|m| m.cseq().expect("CSeq").number).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] > pair[0]), "{numbers:?}");
        assert_eq!(said[0], ("SIP/2.0 100 Trying".to_owned(), false));
        if keys {
            assert_eq!(said[1], ("SIP/2.0 100 Trying".to_owned(), true));
            assert_eq!(said.last().expect("one"), &("SIP/2.0 200 OK".to_owned(), true), "{said:?}");
        } else {
            let each: Vec<_> = said.iter().map(|(said, signed)| (&said[8..11], *signed)).collect();
            assert_eq!(each, [("100", false), ("180", false), ("200", false)]);
        }
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.pass_s(10);
        assert_eq!(stage.count("alice BYE"), 1, "{:#?}", stage.log);
        stage.end();
    }
}
