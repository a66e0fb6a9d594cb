use super::stage::{Stage, text};
use crate::sip::command::{Order, ReferOrder, Refused};
use crate::sip::event::{Event, ReferReason, ReferSid, ReferStatus};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::plan::ReferMode;
use std::time::Duration;

/// [R-029] [R-037] REFER, its NOTIFYs, success, BYE on both legs. Section
/// 5.1.
#[test]
fn a_transfer_by_refer() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    let refer = stage.sent("alice", Method::Refer)[0].clone();
    assert_eq!(text(&refer, HeaderId::ReferTo), "<sip:300@example.com>");
    assert!(text(&refer, HeaderId::ReferredBy).starts_with("<sip:"));
    assert_eq!(text(&refer, HeaderId::Accept), "message/sipfrag");
    for option in ["norefersub", "replaces"] {
        assert!(refer.lists(HeaderId::Supported, option), "{option}");
    }
    assert!(refer.lists(HeaderId::Allow, "NOTIFY"));
    assert_eq!(stage.ended(), (ReferStatus::InProgress, None, Some(202), None));
    stage.notifies("alice", 100, "active;expires=60");
    stage.notifies("alice", 180, "active;expires=60");
    assert_eq!(stage.count("alice BYE") + stage.count("bob BYE"), 0);
    stage.notifies("alice", 200, "terminated;reason=noresource");
    assert_eq!(stage.count("alice NOTIFY 200"), 3);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    assert_eq!((stage.count("alice BYE"), stage.count("bob BYE")), (1, 1));
    stage.end();
}

/// A bare user stands at the host of the party's Contact, with the display name that it is given.
#[test]
fn users_without_a_host() {
    let (mut stage, alice, _) = Stage::talking();
    let by = |order: &mut ReferOrder, text: &str| order.referred_by = Some(text.into());
    for (n, given, expected) in [
        (1, "desk", "<sip:desk@HOST>"),
        (2, "\"The \\\"desk\\\"\" <desk>", "\"The \\\"desk\\\"\" <sip:desk@HOST>"),
        (3, "Desk <sip:d@h>", "\"Desk\" <sip:d@h>"),
    ] {
        stage
            .refer(alice, |order| {
                (order.sid, order.to) = (ReferSid(n), "+4930100300".into());
                by(order, given);
            })
            .expect("taken");
        let refer = stage.sent("alice", Method::Refer).last().cloned().expect("a REFER");
        let to = text(refer, HeaderId::ReferTo);
        let host = to.strip_prefix("<sip:+4930100300@").and_then(|rest| rest.strip_suffix('>'));
        let host = host.expect("a host").to_owned();
        assert!(!host.is_empty() && !host.contains(':'), "{host}");
        assert_eq!(text(refer, HeaderId::ReferredBy), expected.replace("HOST", &host));
        stage.notifies("alice", 486, "terminated;reason=noresource");
    }
    for wrong in ["x\r\ny", "sip:"] {
        let taken = stage.refer(alice, |order| (order.sid, order.to) = (ReferSid(9), wrong.into()));
        assert_eq!(taken, Err(Refused::Malformed), "{wrong:?}");
        assert_eq!(stage.refer(alice, |order| by(order, wrong)), Err(Refused::Malformed), "{wrong:?}");
    }
    stage.end();
}

/// [jambonz 2] [jambonz 5] The same at a host that is an IPv6 address: it stands in brackets.
#[test]
fn users_at_an_ipv6_host() {
    let mut stage = Stage::new(ReferMode::Terminate);
    // What is sent to her goes by her proxy, whatever her Contact says.
    stage.manner("alice").allow = "Allow: INVITE, ACK, BYE, REFER\nRecord-Route: <sip:10.0.0.1;lr>\n";
    let alice = stage.calls("alice", "200");
    let contact = "Contact: <sip:alice@[2001:db8::1]:5070>\n";
    stage.request("alice", "INVITE", contact, &stage.sdp("alice"));
    stage
        .refer(alice, |order| {
            order.to = "+4930100300".into();
            order.referred_by = Some("desk".into());
        })
        .expect("taken");
    let refer = stage.sent("alice", Method::Refer)[0].clone();
    assert_eq!(text(&refer, HeaderId::ReferTo), "<sip:+4930100300@[2001:db8::1]>");
    assert_eq!(text(&refer, HeaderId::ReferredBy), "<sip:desk@[2001:db8::1]>");
    stage.notifies("alice", 486, "terminated;reason=noresource");
    stage.end();
}

/// Every NOTIFY is told, also one that says nothing new or comes after the result.
#[test]
fn every_notify_is_told() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |order| order.bye_after = None).expect("taken");
    for code in [100, 180, 180, 200, 200] {
        stage.notifies("alice", code, "active;expires=60");
    }
    assert_eq!(stage.notified(), [100, 180, 180, 200, 200]);
    stage.end();
}

/// Any other result keeps the call.
#[test]
fn results_that_keep_the_call() {
    for (code, status, reason) in [
        (486, ReferStatus::Busy, ReferReason::TargetBusy),
        (480, ReferStatus::NoAnswer, ReferReason::TargetNoAnswer),
        (404, ReferStatus::Failed, ReferReason::TargetRejected),
    ] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.refer(alice, |_| {}).expect("taken");
        stage.notifies("alice", code, "terminated;reason=noresource");
        assert_eq!(stage.ended(), (status, Some(reason), Some(202), Some(code)));
        assert!(stage.together(alice, bob));
        stage.end();
    }
}

/// The REFER itself is refused: its code, and the call stays. A peer that does not know
/// REFER is not asked again, unless it is forced.
#[test]
fn a_refer_that_is_refused() {
    for code in [405, 603, 400] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("alice").refer = Some(code);
        stage.refer(alice, |_| {}).expect("taken");
        let rejected = Some(ReferReason::ReferRejected);
        assert_eq!(stage.ended(), (ReferStatus::Failed, rejected, Some(code), None));
        assert!(stage.together(alice, bob));
        stage.manner("alice").refer = Some(202);
        stage.refer(alice, |order| order.sid = ReferSid(78)).expect("taken");
        assert_eq!(stage.count("alice REFER"), if code == 405 { 1 } else { 2 });
        if code == 405 {
            assert_eq!(stage.ended(), (ReferStatus::Failed, rejected, Some(405), None));
            stage.refer(alice, |order| (order.sid, order.force) = (ReferSid(79), true)).expect("taken");
            assert_eq!(stage.count("alice REFER"), 2);
        }
        stage.end();
    }
}

/// [telnyx 38] The BYE after a transfer waits as long as the order says; none is sent when the
/// party ends the call itself meanwhile.
#[test]
fn the_transferred_leg_is_ended_after_a_while() {
    for leaves in [false, true] {
        let (mut stage, alice, _) = Stage::talking();
        stage.refer(alice, |order| order.bye_after = Some(Duration::from_secs(3))).expect("taken");
        stage.notifies("alice", 200, "terminated;reason=noresource");
        stage.pass(Duration::from_millis(2_900));
        assert_eq!(stage.sent("alice", Method::Bye).len(), 0);
        if leaves {
            stage.request("alice", "BYE", "", "");
        }
        stage.pass_s(2);
        assert_eq!(stage.sent("alice", Method::Bye).len(), usize::from(!leaves));
        let ends = stage.events.iter().filter(|event| matches!(event, Event::Ended(sid, _) if *sid == alice));
        assert_eq!(ends.count(), 1);
        stage.end();
    }
}

/// [telnyx 21] Challenged, the REFER goes once more with the order's credentials, as one
/// Refer; without any it has failed.
#[test]
fn a_refer_that_is_challenged() {
    let credentials = || {
        let secret = crate::sip::plan::Secret::Password("zanzibar".into());
        Some(std::sync::Arc::new(crate::sip::plan::Credentials { user: "desk".into(), secret }))
    };
    for (given, sent, ended) in [
        (credentials(), 2, (ReferStatus::InProgress, None, Some(202), None)),
        (None, 1, (ReferStatus::Failed, Some(ReferReason::ReferRejected), Some(407), None)),
    ] {
        let (mut stage, alice, _) = Stage::talking();
        stage.manner("alice").refer = Some(407);
        stage.manner("alice").refer_headers =
            "Proxy-Authenticate: Digest realm=\"biloxi\", nonce=\"n1\", qop=\"auth\"\n";
        stage.refer(alice, |order| order.credentials = given).expect("taken");
        let refers: Vec<_> = stage.sent("alice", Method::Refer).into_iter().cloned().collect();
        assert_eq!((refers.len(), stage.ended()), (sent, ended));
        if let [first, second] = refers.as_slice() {
            let cseq = |message: &Message| message.cseq().expect("CSeq").number;
            assert_eq!(cseq(second), cseq(first) + 1);
            assert_eq!(text(first, HeaderId::ProxyAuthorization), "");
            assert!(text(second, HeaderId::ProxyAuthorization).contains("username=\"desk\""));
            assert_eq!(text(second, HeaderId::ReferTo), text(first, HeaderId::ReferTo));
            stage.notifies("alice", 200, "terminated;reason=noresource");
        }
        stage.end();
    }
}

/// Allow without REFER: refused early, 405, nothing sent.
#[test]
fn a_peer_without_refer() {
    let mut stage = Stage::new(crate::sip::plan::ReferMode::Terminate);
    stage.manner("alice").allow = "Allow: INVITE, ACK, BYE, CANCEL\n";
    let alice = stage.calls("alice", "200");
    stage.refer(alice, |_| {}).expect("taken");
    assert_eq!(stage.count("alice REFER"), 0);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::ReferRejected), Some(405), None));
    stage.end();
}

/// Glare is met again after a while, three times at most; Retry-After once.
#[test]
fn retries() {
    let (mut stage, alice, _) = Stage::talking();
    stage.manner("alice").refer = Some(491);
    stage.refer(alice, |_| {}).expect("taken");
    assert_eq!(stage.count("alice REFER"), 1);
    stage.pass_s(20);
    assert_eq!(stage.count("alice REFER"), 4);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::ReferRejected), Some(491), None));
    stage.end();
    for (headers, sent) in [("Retry-After: 5\n", 2), ("Retry-After: 60\n", 1), ("", 1)] {
        let (mut stage, alice, _) = Stage::talking();
        let manner = stage.manner("alice");
        (manner.refer, manner.refer_headers) = (Some(503), headers);
        stage.refer(alice, |_| {}).expect("taken");
        stage.pass_s(30);
        assert_eq!(stage.count("alice REFER"), sent);
        assert_eq!(stage.ended().2, Some(503));
        stage.end();
    }
}

/// NOTIFYs before the answer, which comes late, or never: they are answered, the first one
/// accepts, and they decide.
#[test]
fn notifies_overtake_the_answer() {
    for late in [true, false] {
        let (mut stage, alice, _) = Stage::talking();
        stage.manner("alice").refer = None;
        stage.refer(alice, |order| order.bye_after = None).expect("taken");
        stage.notifies("alice", 100, "active;expires=300");
        assert_eq!(stage.count("alice NOTIFY 200"), 1);
        stage.pass_s(if late { 3 } else { 40 });
        if late {
            stage.answers("alice", Method::Refer, 202);
            stage.pass_s(40);
        }
        let code = if late { 202 } else { 408 };
        assert_eq!(stage.ended(), (ReferStatus::InProgress, None, Some(code), Some(100)));
        stage.notifies("alice", 200, "terminated;reason=noresource");
        assert_eq!(stage.count("alice NOTIFY 200"), 2);
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(code), Some(200)));
        stage.end();
    }
}

/// No answer and no NOTIFY: 408. An answer and no NOTIFY: the notify wait.
#[test]
fn silence() {
    let (mut stage, alice, _) = Stage::talking();
    stage.manner("alice").refer = None;
    stage.refer(alice, |_| {}).expect("taken");
    stage.pass_s(33);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::ReferTimeout), Some(408), None));
    stage.end();
    let (mut stage, alice, bob) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.pass_s(33);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::NotifyTimeout), Some(202), None));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// Terminated without a result: unknown, at once.
#[test]
fn terminated_without_a_result() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.notifies("alice", 180, "terminated;reason=timeout");
    let unknown = Some(ReferReason::OutcomeUnknown);
    assert_eq!(stage.ended(), (ReferStatus::Failed, unknown, Some(202), Some(180)));
    stage.end();
}

/// [R-038] [R-039] [jambonz 21] Other packages, other ids, and what cannot be read: nobody is told of it.
#[test]
fn other_notifies() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.request(
        "alice",
        "NOTIFY",
        "Event: refer\nSubscription-State: terminated\nContent-Type: message/sipfrag\n",
        "junk\n",
    );
    assert_eq!(stage.count("alice NOTIFY 400"), 1);
    stage.request("alice", "NOTIFY", "Event: refer;id=9999\nSubscription-State: active\n", "");
    assert_eq!(stage.count("alice NOTIFY 481"), 1);
    stage.request("alice", "NOTIFY", "Event: refer\nSubscription-State: active\n", "");
    assert_eq!(stage.count("alice NOTIFY 200"), 1);
    assert!(stage.notified().is_empty());
    assert_eq!(stage.ended(), (ReferStatus::InProgress, None, Some(202), None));
    stage.end();
}

/// A result while the subscription is active ends it by SUBSCRIBE; one that runs out is
/// refreshed, with the REFER's CSeq.
#[test]
fn subscriptions() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |order| order.bye_after = None).expect("taken");
    let cseq = stage.sent("alice", Method::Refer)[0].cseq().expect("CSeq").number;
    stage.notifies("alice", 100, "active;expires=60");
    stage.pass_s(50);
    let refresh = stage.sent("alice", Method::Subscribe)[0];
    assert_eq!(text(refresh, HeaderId::Event), format!("refer;id={cseq}"));
    stage.notifies("alice", 200, "active;expires=60");
    let last = *stage.sent("alice", Method::Subscribe).last().expect("one");
    assert_eq!(text(last, HeaderId::Expires), "0");
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// The peer hangs up before the result: the grace, and who it talked to waits with it.
#[test]
fn the_peer_hangs_up() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.notifies("alice", 180, "active;expires=60");
    stage.request("alice", "BYE", "", "");
    assert_eq!(stage.count("alice BYE 200"), 1);
    assert_eq!(stage.count("bob BYE"), 0, "R-051");
    stage.pass_s(3);
    assert_eq!(stage.count("bob BYE"), 1);
    assert_eq!(stage.ended(), (ReferStatus::Canceled, Some(ReferReason::CallEnded), Some(202), Some(180)));
    stage.end();
    // A result inside the grace wins; NOTIFYs after the BYE are answered 200.
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.request("alice", "BYE", "", "");
    stage.pass_s(1);
    stage.notifies("alice", 200, "terminated;reason=noresource");
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.notifies("alice", 486, "terminated;reason=noresource");
    assert_eq!(stage.count("alice NOTIFY 200"), 2);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// Called off: canceled at once, and late NOTIFYs get their 200.
#[test]
fn called_off() {
    let (mut stage, alice, bob) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    assert_eq!(stage.order(Order::CancelRefer(ReferSid(77), alice)), Ok(()));
    assert_eq!(stage.ended(), (ReferStatus::Canceled, Some(ReferReason::ApiCancel), Some(202), None));
    stage.notifies("alice", 200, "terminated;reason=noresource");
    assert_eq!(stage.count("alice NOTIFY 200"), 1);
    assert_eq!(stage.order(Order::CancelRefer(ReferSid(77), alice)), Ok(()));
    assert_eq!(stage.ended().0, ReferStatus::Canceled);
    assert!(stage.together(alice, bob));
    stage.end();
}

/// Reporting switched off: the 2xx that confirms it is the result; one that does not is none.
#[test]
fn unmonitored() {
    for (headers, status) in [("Refer-Sub: false\n", ReferStatus::Completed), ("", ReferStatus::InProgress)] {
        let (mut stage, alice, _) = Stage::talking();
        stage.manner("alice").refer_headers = headers;
        stage.refer(alice, |order| order.no_subscription = true).expect("taken");
        assert_eq!(text(stage.sent("alice", Method::Refer)[0], HeaderId::ReferSub), "false");
        assert_eq!(stage.ended().0, status);
        stage.end();
    }
}

/// Refused at once: a leg with an active Refer, unknown, ended, or not a URI.
#[test]
fn refused_at_once() {
    let (mut stage, alice, bob) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    assert_eq!(stage.refer(alice, |order| order.sid = ReferSid(78)), Err(Refused::Busy));
    assert_eq!(stage.refer(bob, |order| order.to = "mailto:c@x".into()), Err(Refused::Malformed));
    assert_eq!(stage.refer(bob, |order| order.to = "sip:c@x?X=%0a".into()), Err(Refused::Malformed));
    let unknown = crate::sip::event::CallSid(12345 << 16);
    assert_eq!(stage.refer(unknown, |_| {}), Err(Refused::Unknown));
    stage.request("bob", "BYE", "", "");
    assert!(stage.refer(bob, |_| {}).is_err());
    stage.end();
}

/// Held first, then referred; resumed when it failed.
#[test]
fn held_first() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |order| order.hold = true).expect("taken");
    assert!(stage.at("alice INVITE") < stage.at("alice REFER"));
    stage.notifies("alice", 486, "terminated;reason=noresource");
    stage.pass_s(1);
    assert_eq!(stage.count("alice INVITE"), 2);
    stage.end();
}
