//! Both sides want the same at once.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};
use std::time::Duration;

fn reinvite(bench: &mut Bench, leg: LegId) -> Sent {
    let body = Some(Body::sdp(OTHER_SDP.as_bytes()));
    bench.with(|legs, cx| legs.request(cx, leg, "INVITE", Vec::new(), body, None)).expect("taken");
    bench.next()
}

/// [C-143] Their INVITE or UPDATE while ours is open: 491.
#[test]
fn ours_first() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    let invite = reinvite(&mut bench, leg);
    bench.receive(PEER, &request_text("INVITE", 2, &tag, "", SDP));
    assert_eq!(bench.starts(), ["491 Request Pending"]);
    bench.receive(PEER, &request_text("ACK", 2, &tag, "", ""));
    bench.receive(PEER, &request_text("UPDATE", 3, &tag, "", SDP));
    assert_eq!(bench.starts(), ["491 Request Pending"]);
    assert!(bench.events().is_empty());
    bench.reply(&invite, 200, "", "", SDP);
    // Answered, but not acknowledged: still ours.
    bench.receive(PEER, &request_text("INVITE", 4, &tag, "", SDP));
    assert_eq!(bench.starts(), ["491 Request Pending"]);
    bench.receive(PEER, &request_text("ACK", 4, &tag, "", ""));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.events();
    bench.end();
}

/// [C-142] [C-180] A second INVITE or UPDATE of theirs while the first is open: 500 with Retry-After.
#[test]
fn theirs_twice() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("INVITE", 2, &tag, "", OTHER_SDP));
    for (method, cseq) in [("INVITE", 3), ("UPDATE", 4)] {
        bench.receive(PEER, &request_text(method, cseq, &tag, "", OTHER_SDP));
        let refusal = bench.next();
        assert_eq!(refusal.start(), "500 Server Internal Error");
        let after: u32 = refusal.header(HeaderId::RetryAfter).parse().expect("a number");
        assert!(after <= 10);
    }
    assert_eq!(bench.events(), ["asked INVITE"]);
    // Ours waits meanwhile.
    let body = Some(Body::sdp(OTHER_SDP.as_bytes()));
    bench.with(|legs, cx| legs.request(cx, leg, "INVITE", Vec::new(), body, None)).expect("taken");
    assert!(bench.sent.is_empty());
    bench.receive(PEER, &request_text("BYE", 5, &tag, "", ""));
    assert_eq!(bench.events(), ["responded 487", "ended by Peer"]);
    bench.end();
}

/// [C-088] What would change the session does not wait for ever for a request of the party's that nobody
/// answers.
#[test]
fn patience() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("INVITE", 2, &tag, "", OTHER_SDP));
    let body = Some(Body::sdp(OTHER_SDP.as_bytes()));
    bench.with(|legs, cx| legs.request(cx, leg, "INVITE", Vec::new(), body, None)).expect("taken");
    bench.pass_ms(200_000);
    assert_eq!(bench.events(), ["asked INVITE"]);
    bench.pass_ms(60_000);
    assert_eq!(bench.events(), ["responded 504"]);
    assert!(!bench.sent.iter().any(|sent| sent.message.is_request()));
    bench.receive(PEER, &request_text("BYE", 5, &tag, "", ""));
    bench.end();
}

/// [C-144] On 491 the re-INVITE goes again: after 2.1 to 4 s for the owner of the Call-ID, within 2 s
/// for the other; three times, then the call hears of it.
#[test]
fn retries() {
    for owner in [true, false] {
        let mut bench = Bench::new();
        let leg = if owner { bench.outgoing_up().0 } else { bench.incoming_up().0 };
        let mut invite = reinvite(&mut bench, leg);
        for _ in 0..3 {
            bench.reply(&invite, 491, "", "", "");
            bench.starts();
            if owner {
                bench.pass_ms(2_090);
                assert!(bench.sent.is_empty(), "too early");
                bench.pass_ms(1_930);
            } else {
                bench.pass_ms(2_020);
            }
            let again =
                bench.sent.iter().find(|sent| sent.method() == Method::Invite).expect("again").clone();
            assert_eq!(again.cseq(), invite.cseq() + 1);
            assert!(bench.legs.facts(leg).expect("facts").offer_open);
            invite = again;
            bench.sent.clear();
        }
        bench.reply(&invite, 491, "", "", "");
        assert_eq!(bench.events(), ["responded 491"]);
        bench.pass(Duration::from_secs(5));
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-142] Their 500 with Retry-After is obeyed as well.
#[test]
fn later() {
    let mut bench = Bench::new();
    let (leg, _) = bench.outgoing_up();
    let invite = reinvite(&mut bench, leg);
    bench.reply(&invite, 500, "", "Retry-After: 3\n", "");
    bench.starts();
    bench.pass_ms(2_900);
    assert!(bench.sent.is_empty());
    bench.pass_ms(200);
    let again = bench.next();
    assert_eq!(again.method(), Method::Invite);
    bench.reply(&again, 500, "", "", "");
    assert_eq!(bench.events(), ["responded 500"]);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// A retry that is not wanted any more does not go: the call has ended.
#[test]
fn no_retry_after_the_end() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    let invite = reinvite(&mut bench, leg);
    bench.reply(&invite, 491, "", "", "");
    bench.starts();
    bench.receive(PEER, &request_text("BYE", 2, &tag, "", ""));
    assert_eq!(bench.events(), ["responded 487", "ended by Peer"]);
    assert_eq!(bench.starts(), ["200 OK"]);
    bench.pass(Duration::from_secs(5));
    assert!(bench.sent.is_empty());
    bench.end();
}

/// [C-135] [C-136] A number below the last gets 500, a gap is accepted.
#[test]
fn numbers() {
    let mut bench = Bench::new();
    let (_, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("INFO", 50, &tag, "", ""));
    assert_eq!(bench.events(), ["asked INFO"]);
    bench.receive(PEER, &request_text("MESSAGE", 49, &tag, "", ""));
    assert_eq!(bench.starts(), ["500 Server Internal Error"]);
    bench.receive(PEER, &request_text("BYE", 51, &tag, "", ""));
    bench.end();
}

/// [C-137] A request with our tag but another party's gets 481, an ACK nothing.
#[test]
fn wrong_tags() {
    let mut bench = Bench::new();
    let (_, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("BYE", 2, &tag, "", "").replace("tag=carol", "tag=mallory"));
    assert_eq!(bench.starts(), ["481 Call/Transaction Does Not Exist"]);
    bench.receive(PEER, &request_text("ACK", 9, &tag, "", ""));
    assert!(bench.sent.is_empty() && bench.events().is_empty());
    bench.receive(PEER, &request_text("BYE", 3, &tag, "", ""));
    bench.end();
}

/// [C-211] A party that only its own connection reaches may have made a new one; but only what is in its
/// dialog and in order shows that, not what anybody may send who knows one of the tags.
#[test]
fn who_may_move_a_leg() {
    const NEAR: &str = "10.9.9.9:5060";
    let mut bench = Bench::new();
    let leg = bench.receive(NEAR, &invite_text("")).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let tag = Sent::tag_of(&bench.next().header(HeaderId::To));
    bench.receive(NEAR, &request_text("ACK", 1, &tag, "", ""));
    let whereto = |bench: &mut Bench| {
        bench.sent.clear();
        bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None)).expect("sent");
        let info = bench.next();
        bench.reply(&info, 200, "", "", "");
        info.to.to_string()
    };
    bench.receive(NEAR, &request_text("OPTIONS", 5, &tag, "", ""));
    let strange = request_text("OPTIONS", 6, &tag, "", "").replace("tag=carol", "tag=mallory");
    bench.receive("10.9.9.9:7777", &strange);
    assert_eq!(whereto(&mut bench), NEAR);
    bench.receive("10.9.9.9:7777", &request_text("OPTIONS", 2, &tag, "", ""));
    assert_eq!(whereto(&mut bench), NEAR);
    bench.receive("10.9.9.9:6000", &request_text("OPTIONS", 7, &tag, "", ""));
    assert_eq!(whereto(&mut bench), "10.9.9.9:6000");
    bench.receive(NEAR, &request_text("BYE", 8, &tag, "", ""));
    bench.events();
    bench.end();
}

/// [C-146] What is not understood or not allowed inside a dialog.
#[test]
fn not_allowed() {
    let mut bench = Bench::new();
    let (_, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("INFO", 2, &tag, "Require: magic\n", ""));
    let refusal = bench.next();
    assert_eq!(
        (refusal.start().as_str(), refusal.header(HeaderId::Unsupported).as_str()),
        ("420 Bad Extension", "magic")
    );
    bench.receive(PEER, &request_text("PUBLISH", 3, &tag, "", ""));
    let refusal = bench.next();
    assert_eq!(refusal.start(), "405 Method Not Allowed");
    assert!(refusal.header(HeaderId::Allow).contains("UPDATE"));
    bench.receive(PEER, &request_text("DANCE", 4, &tag, "", ""));
    assert_eq!(bench.events(), ["asked OTHER"]);
    bench.receive(PEER, &request_text("BYE", 5, &tag, "", ""));
    bench.end();
}
