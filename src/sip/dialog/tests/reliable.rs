//! Reliable provisional responses, as caller and as callee.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};
use std::time::Duration;

fn rel(rseq: u32) -> String {
    format!("{CONTACT}Require: 100rel\nRSeq: {rseq}\n")
}

/// [C-177] As caller: each is acknowledged once and in order, on its own fork's dialog.
#[test]
fn as_caller() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    assert!(invite.header(HeaderId::Supported).contains("100rel"));
    bench.reply(&invite, 183, "bob", &rel(10), OTHER_SDP);
    let prack = bench.next();
    assert_eq!(prack.start(), "PRACK sip:bob@10.0.0.1:5070");
    assert_eq!(prack.header(HeaderId::RAck), format!("10 {} INVITE", invite.cseq()));
    assert_eq!(prack.cseq(), invite.cseq() + 1);
    bench.reply(&invite, 183, "bob", &rel(10), OTHER_SDP);
    bench.reply(&invite, 180, "bob", &rel(12), "");
    assert_eq!(bench.events(), ["183 of 0"], "no repetition, and none out of order");
    bench.reply(&prack, 200, "", "", "");
    bench.reply(&invite, 180, "bob", &rel(11), "");
    assert_eq!(bench.next().header(HeaderId::RAck), format!("11 {} INVITE", invite.cseq()));
    bench.reply(&invite, 180, "eve", &rel(700), "");
    let other = bench.next();
    assert_eq!(other.header(HeaderId::RAck), format!("700 {} INVITE", invite.cseq()));
    assert!(other.header(HeaderId::To).ends_with("tag=eve"));
    assert!(!bench.legs.facts(leg).expect("facts").offer_open, "answered in the 183");
    bench.reply(&invite, 200, "bob", CONTACT, OTHER_SDP);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-213] [C-218] One PRACK of a fork's at a time: who numbers on without waiting for it is not heard, and
/// is once it is answered (RFC 3262 §3).
#[test]
fn one_prack_at_a_time() {
    let mut bench = Bench::new();
    bench.invite(Bench::outgoing());
    let invite = bench.next();
    bench.reply(&invite, 183, "bob", &rel(1), OTHER_SDP);
    let prack = bench.next();
    for rseq in 2..100 {
        bench.reply(&invite, 180, "bob", &rel(rseq), "");
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.starts());
    assert_eq!(bench.events(), ["183 of 0"]);
    bench.reply(&prack, 200, "", "", "");
    bench.reply(&invite, 180, "bob", &rel(2), "");
    assert_eq!(bench.next().header(HeaderId::RAck), format!("2 {} INVITE", invite.cseq()));
    assert_eq!(bench.events(), ["180 of 0"]);
    bench.reply(&invite, 486, "bob", "", "");
    bench.end();
}

/// [C-177] [C-174] An offer in a reliable provisional is answered by the call, in the PRACK.
#[test]
fn offer_in_provisional() {
    let mut bench = Bench::new();
    let leg = bench.invite(Outgoing { body: None, ..Bench::outgoing() });
    let invite = bench.next();
    bench.reply(&invite, 183, "bob", &rel(1), OTHER_SDP);
    assert!(bench.sent.is_empty());
    bench.with(|legs, cx| legs.prack(cx, leg, Fork(0), Some(&Body::sdp(SDP.as_bytes()))));
    let prack = bench.next();
    assert!(prack.text().ends_with(SDP));
    bench.reply(&prack, 200, "", "", "");
    assert!(!bench.legs.facts(leg).expect("facts").offer_open);
    bench.reply(&invite, 200, "bob", CONTACT, "");
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    assert!(bench.next().message.body().is_empty());
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-177] [C-178] [C-179] As callee: reliable where the caller can and a description is at stake; the next
/// one and the 2xx wait for the PRACK; an unknown RAck gets 481.
#[test]
fn as_callee() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("Supported: 100rel\n")).expect("a leg");
    let none = Vec::new();
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 180, &none, None));
    assert!(bench.next().header(HeaderId::RSeq).is_empty());
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 183, &none, Some(&body)));
    let first = bench.next();
    assert_eq!(first.header(HeaderId::Require), "100rel");
    let rseq: u32 = first.header(HeaderId::RSeq).parse().expect("a number");
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 183, &none, Some(&body)));
    bench.pass_ms(500);
    assert_eq!(bench.next().header(HeaderId::RSeq), rseq.to_string(), "the first again, not the second");
    let tag = Sent::tag_of(&first.header(HeaderId::To));
    bench.receive(PEER, &request_text("PRACK", 2, &tag, &format!("RAck: {} 1 INVITE\n", rseq + 9), ""));
    assert_eq!(bench.starts(), ["481 Call/Transaction Does Not Exist"]);
    bench.receive(PEER, &request_text("PRACK", 3, &tag, &format!("RAck: {rseq} 1 INVITE\n"), ""));
    assert_eq!(bench.next().start(), "200 OK");
    let second = bench.next();
    assert_eq!(second.header(HeaderId::RSeq), (rseq + 1).to_string());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &none, None));
    assert!(bench.sent.is_empty(), "the 2xx waits");
    bench.receive(PEER, &request_text("PRACK", 4, &tag, &format!("RAck: {} 1 INVITE\n", rseq + 1), ""));
    assert_eq!(bench.starts(), ["200 OK", "200 OK"]);
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    assert_eq!(bench.events(), ["acknowledged"]);
    bench.receive(PEER, &request_text("BYE", 5, &tag, "", ""));
    bench.end();
}

/// [C-178] A caller that demands it gets every provisional reliably; one that cannot, none.
#[test]
fn demanded_or_unknown() {
    for (headers, reliable) in [("Require: 100rel\n", true), ("", false)] {
        let mut bench = Bench::new();
        let leg = bench.receive(PEER, &invite_text(headers)).expect("a leg");
        let body = Body::sdp(OTHER_SDP.as_bytes());
        let body = Some(&body).filter(|_| !reliable);
        bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 183, &Vec::new(), body));
        assert_eq!(!bench.next().header(HeaderId::RSeq).is_empty(), reliable);
        bench.with(|legs, cx| legs.reject(cx, leg, 486, "", &Vec::new()));
        bench.end();
    }
}

/// [C-177] Without PRACK for 64*T1 the INVITE is refused with a 5xx.
#[test]
fn never_acknowledged() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("Require: 100rel\n")).expect("a leg");
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 180, &Vec::new(), None));
    bench.pass(Duration::from_secs(33));
    let starts = bench.starts();
    assert!(starts.len() >= 7 && starts.iter().any(|start| start == "504 Server Time-out"), "{starts:?}");
    assert_eq!(bench.events(), ["canceled", "gone"]);
    bench.end();
}

/// [C-179] [C-174] Our offer in a reliable provisional is answered in the PRACK, which the call answers.
#[test]
fn answer_in_prack() {
    let mut bench = Bench::new();
    let text = request_text_with(
        "INVITE",
        1,
        "",
        "Contact: <sip:carol@10.0.0.1>\nSupported: 100rel\n",
        "",
        "invite",
    );
    let leg = bench.receive(PEER, &text).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 183, &Vec::new(), Some(&body)));
    let first = bench.next();
    let (tag, rseq) = (Sent::tag_of(&first.header(HeaderId::To)), first.header(HeaderId::RSeq));
    bench.receive(PEER, &request_text("PRACK", 2, &tag, &format!("RAck: {rseq} 1 INVITE\n"), SDP));
    let LegEvent::Requested { asked, message, .. } = bench.event() else { panic!("a request") };
    assert_eq!(message.method(), Method::Prack);
    bench.with(|legs, cx| legs.respond(cx, leg, asked, 200, &Vec::new(), None));
    assert_eq!(bench.starts(), ["200 OK"]);
    let facts = bench.legs.facts(leg).expect("facts");
    assert!(!facts.offer_open);
    assert_eq!(facts.last_sdp_received.map(|body| &body.bytes[..]), Some(SDP.as_bytes()));
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), None));
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    bench.receive(PEER, &request_text("BYE", 3, &tag, "", ""));
    bench.end();
}

/// A provisional is repeated every minute, for the proxies on the way.
#[test]
fn keeps_ringing() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 180, &Vec::new(), None));
    bench.next();
    bench.pass(Duration::from_secs(121));
    assert_eq!(bench.starts(), ["180 Ringing", "180 Ringing"]);
    bench.with(|legs, cx| legs.reject(cx, leg, 486, "", &Vec::new()));
    bench.end();
}

/// [C-130] [C-177] [C-155] Each early dialog towards a caller has numbers of its own: to one who keeps the forks
/// apart, as it must, there is no gap in any of them.
#[test]
fn each_fork_counts_its_own() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("Require: 100rel\n")).expect("a leg");
    let mut last = [0, 0];
    for (n, fork) in [0, 1, 0, 1, 1, 0].into_iter().enumerate() {
        bench.with(|legs, cx| legs.ring(cx, leg, Fork(fork), 180, &Vec::new(), None));
        let ringing = bench.next();
        let rseq: u32 = ringing.header(HeaderId::RSeq).parse().expect("a number");
        let last = &mut last[usize::from(fork)];
        assert!(*last == 0 && rseq > 0 || rseq == *last + 1, "{rseq} after {last}");
        *last = rseq;
        let tag = Sent::tag_of(&ringing.header(HeaderId::To));
        let rack = format!("RAck: {rseq} 1 INVITE\n");
        bench.receive(PEER, &request_text("PRACK", 2 + n as u32, &tag, &rack, ""));
        assert_eq!(bench.starts(), ["200 OK"]);
    }
    bench.with(|legs, cx| legs.reject(cx, leg, 486, "", &Vec::new()));
    bench.end();
}

/// [C-178] Reliable ones, too, are repeated while it rings, as news each time: proxies on the way would give up
/// (RFC 3262 §3, RFC 3261 §13.3.1.1).
#[test]
fn keeps_ringing_reliably() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("Require: 100rel\n")).expect("a leg");
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 180, &Vec::new(), None));
    let mut last = 0;
    for cseq in 2..6 {
        let ringing = bench.next();
        assert_eq!(ringing.start(), "180 Ringing");
        let rseq: u32 = ringing.header(HeaderId::RSeq).parse().expect("a number");
        assert!(last == 0 || rseq == last + 1, "{rseq} after {last}");
        last = rseq;
        let tag = Sent::tag_of(&ringing.header(HeaderId::To));
        let rack = format!("RAck: {rseq} 1 INVITE\n");
        bench.receive(PEER, &request_text("PRACK", cseq, &tag, &rack, ""));
        assert_eq!(bench.starts(), ["200 OK"]);
        bench.pass(Duration::from_secs(150));
    }
    bench.sent.clear();
    bench.with(|legs, cx| legs.reject(cx, leg, 486, "", &Vec::new()));
    bench.end();
}
