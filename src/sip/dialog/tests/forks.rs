//! Several callees behind one INVITE, and several answers towards one caller.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};
use std::time::Duration;

/// [C-130] [C-131] Each To tag is a fork of its own; the first 2xx wins, further ones are
/// acknowledged and ended, also when they come again.
#[test]
fn several_answers() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    bench.reply(&invite, 180, "one", "Contact: <sip:one@10.0.0.1>\n", "");
    bench.reply(&invite, 180, "two", "Contact: <sip:two@10.0.0.1>\n", "");
    bench.reply(&invite, 183, "one", "Contact: <sip:one@10.0.0.1>\n", OTHER_SDP);
    assert_eq!(bench.events(), ["180 of 0", "180 of 1", "183 of 0"]);
    bench.reply(&invite, 200, "two", "Contact: <sip:two@10.0.0.1>\n", OTHER_SDP);
    assert_eq!(bench.events(), ["answered by 1"]);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    assert_eq!(bench.next().start(), "ACK sip:two@10.0.0.1");
    bench.reply(&invite, 200, "one", "Contact: <sip:one@10.0.0.1>\n", OTHER_SDP);
    assert_eq!(bench.next().start(), "ACK sip:one@10.0.0.1");
    let bye = bench.next();
    assert_eq!(bye.start(), "BYE sip:one@10.0.0.1");
    assert!(bye.header(HeaderId::To).ends_with("tag=one"));
    // Again: their ACKs were lost.
    bench.reply(&invite, 200, "one", "Contact: <sip:one@10.0.0.1>\n", OTHER_SDP);
    bench.reply(&invite, 200, "two", "Contact: <sip:two@10.0.0.1>\n", OTHER_SDP);
    assert_eq!(bench.starts(), ["ACK sip:one@10.0.0.1", "ACK sip:two@10.0.0.1"]);
    bench.reply(&bye, 200, "", "", "");
    assert!(bench.events().is_empty(), "nobody hears of it");
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    assert_eq!(bye.start(), "BYE sip:two@10.0.0.1");
    bench.reply(&bye, 200, "", "", "");
    bench.end();
    assert_eq!(bench.events(), ["gone"]);
}

/// [C-131] [C-174] A surplus answer to an INVITE without offer is one: its ACK carries an answer.
#[test]
fn surplus_offer() {
    let mut bench = Bench::new();
    let leg = bench.invite(Outgoing { body: None, ..Bench::outgoing() });
    let invite = bench.next();
    bench.reply(&invite, 200, "one", CONTACT, OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, Some(&Body::sdp(SDP.as_bytes()))));
    assert!(bench.next().text().ends_with(SDP));
    bench.reply(&invite, 200, "two", CONTACT, OTHER_SDP);
    let ack = bench.next();
    assert_eq!(ack.method(), Method::Ack);
    assert!(ack.text().contains("a=inactive"), "{}", ack.text());
    assert_eq!(bench.next().method(), Method::Bye);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.events();
    bench.end();
}

/// [C-155] Towards a caller each fork keeps its To tag; the final answer has that of the fork that
/// answered, and the other early dialogs are no more.
#[test]
fn relayed_forks() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    let mut tags = Vec::new();
    for fork in [0, 1, 0] {
        bench.with(|legs, cx| legs.ring(cx, leg, Fork(fork), 180, &Vec::new(), None));
        tags.push(Sent::tag_of(&bench.next().header(HeaderId::To)));
    }
    assert_eq!(tags[0], tags[2]);
    assert_ne!(tags[0], tags[1]);
    assert!(bench.legs.find(b"call-of-carol", tags[1].as_bytes(), b"carol").is_some());
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(1), &Vec::new(), Some(&body)));
    assert_eq!(Sent::tag_of(&bench.next().header(HeaderId::To)), tags[1]);
    assert_eq!(bench.legs.find(b"call-of-carol", tags[1].as_bytes(), b"carol"), Some(leg));
    assert_eq!(bench.legs.find(b"call-of-carol", tags[1].as_bytes(), b"other"), None);
    bench.receive(PEER, &request_text("ACK", 1, &tags[1], "", ""));
    bench.receive(PEER, &request_text("BYE", 2, &tags[1], "", ""));
    bench.events();
    bench.end();
}

/// [C-088] [C-218] Towards a caller, too, forks are bounded; the one that answers always finds room, and no
/// provisional that waits for its PRACK loses its dialog for it.
#[test]
fn room_for_the_answer() {
    for headers in ["", "Require: 100rel\n"] {
        let mut bench = Bench::new();
        let leg = bench.receive(PEER, &invite_text(headers)).expect("a leg");
        let ring = |bench: &mut Bench, fork| {
            bench.with(|legs, cx| legs.ring(cx, leg, Fork(fork), 180, &Vec::new(), None));
        };
        ring(&mut bench, 0);
        let first = bench.next();
        (1..40).for_each(|fork| ring(&mut bench, fork));
        assert!(bench.legs.desk.index.len() <= 17, "{}", bench.legs.desk.index.len());
        bench.sent.clear();
        let body = Body::sdp(OTHER_SDP.as_bytes());
        bench.with(|legs, cx| legs.answer(cx, leg, Fork(40), &Vec::new(), Some(&body)));
        if !headers.is_empty() {
            assert!(bench.sent.is_empty(), "it waits for the PRACK");
            let (tag, rseq) = (Sent::tag_of(&first.header(HeaderId::To)), first.header(HeaderId::RSeq));
            bench.receive(PEER, &request_text("PRACK", 2, &tag, &format!("RAck: {rseq} 1 INVITE\n"), ""));
            assert_eq!(bench.next().start(), "200 OK");
        }
        let ok = bench.next();
        assert_eq!((ok.start().as_str(), ok.cseq()), ("200 OK", 1));
        let tag = Sent::tag_of(&ok.header(HeaderId::To));
        bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
        assert_eq!(bench.events(), ["acknowledged"]);
        bench.receive(PEER, &request_text("BYE", 3, &tag, "", ""));
        bench.events();
        bench.end();
    }
}

/// No number of forks grows a leg without bound.
#[test]
fn bounded() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    for n in 0..200 {
        bench.reply(&invite, 180, &format!("t{n}"), CONTACT, "");
    }
    assert_eq!(bench.events().len(), 16);
    bench.reply(&invite, 200, "last", CONTACT, OTHER_SDP);
    assert_eq!(bench.events().len(), 1);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    for n in 0..200 {
        bench.reply(&invite, 200, &format!("t{n}"), CONTACT, OTHER_SDP);
    }
    assert!(bench.legs.len() <= 17, "{}", bench.legs.len());
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-139] [C-130] A caller may end one of several early dialogs by BYE (RFC 3261 §15): its requests there are
/// refused, the others go on, and the INVITE ends with the last of them.
#[test]
fn one_fork_is_left() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("Require: 100rel\n")).expect("a leg");
    let mut tags = Vec::new();
    for fork in 0..3 {
        bench.with(|legs, cx| legs.ring(cx, leg, Fork(fork), 180, &Vec::new(), None));
        let ringing = bench.next();
        tags.push(Sent::tag_of(&ringing.header(HeaderId::To)));
        if fork < 2 {
            let rack = format!("RAck: {} 1 INVITE\n", ringing.header(HeaderId::RSeq));
            bench.receive(
                PEER,
                &request_text("PRACK", 2 + u32::from(fork), &tags[usize::from(fork)], &rack, ""),
            );
        }
        bench.starts();
    }
    bench.receive(PEER, &request_text("INFO", 4, &tags[2], "", ""));
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 181, &Vec::new(), None));
    assert!(bench.sent.is_empty(), "it waits for the PRACK");
    bench.receive(PEER, &request_text("BYE", 5, &tags[2], "", ""));
    assert_eq!(
        bench.starts(),
        ["200 OK", "487 Request Terminated", "181 Call Is Being Forwarded"],
        "no PRACK is waited for any more"
    );
    assert_eq!(bench.events(), ["asked INFO", "left 2"]);
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(2), 180, &Vec::new(), None));
    bench.pass(Duration::from_secs(3));
    assert!(bench.sent.iter().all(|sent| Sent::tag_of(&sent.header(HeaderId::To)) == tags[0]));
    bench.sent.clear();
    bench.receive(PEER, &request_text("BYE", 6, &tags[0], "", ""));
    assert_eq!(bench.starts(), ["200 OK"]);
    assert_eq!(bench.events(), ["left 0"]);
    bench.receive(PEER, &request_text("BYE", 7, &tags[1], "", ""));
    assert_eq!(bench.starts(), ["200 OK", "487 Request Terminated"]);
    assert_eq!(bench.events(), ["canceled", "gone"]);
    bench.end();
}

/// [C-139] [C-140] An answer that crosses the BYE has the tag of that dialog: to the caller it is the one it has
/// ended.
#[test]
fn an_answer_from_the_fork_that_was_left() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    let mut tags = Vec::new();
    for fork in 0..2 {
        bench.with(|legs, cx| legs.ring(cx, leg, Fork(fork), 180, &Vec::new(), None));
        tags.push(Sent::tag_of(&bench.next().header(HeaderId::To)));
    }
    bench.receive(PEER, &request_text("BYE", 2, &tags[1], "", ""));
    bench.starts();
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(1), &Vec::new(), Some(&body)));
    assert_eq!(Sent::tag_of(&bench.next().header(HeaderId::To)), tags[1]);
    bench.receive(PEER, &request_text("ACK", 1, &tags[1], "", ""));
    bench.receive(PEER, &request_text("BYE", 3, &tags[1], "", ""));
    assert_eq!(bench.events(), ["left 1", "acknowledged", "ended by Peer"]);
    bench.end();
}

/// [C-130] [C-151] What was for one of several callees does not reach another that answers; what is for whoever
/// answers does.
#[test]
fn for_this_fork_alone() {
    for fork in [Some(Fork(0)), None] {
        let mut bench = Bench::new();
        let leg = bench.invite(Bench::outgoing());
        let invite = bench.next();
        bench.reply(&invite, 180, "one", "Contact: <sip:one@10.0.0.1>\n", "");
        bench.reply(&invite, 180, "two", "Contact: <sip:two@10.0.0.1>\n", "");
        bench.events();
        // It waits: the INVITE's own offer is unanswered.
        let body = Some(Body::sdp(OTHER_SDP.as_bytes()));
        let taken = bench
            .with(|legs, cx| legs.request_in_fork(cx, leg, fork, "UPDATE", Vec::new(), body.clone(), None));
        taken.expect("taken");
        assert!(bench.sent.is_empty());
        bench.reply(&invite, 200, "two", "Contact: <sip:two@10.0.0.1>\n", OTHER_SDP);
        let events = bench.events();
        assert_eq!(events.contains(&"responded 487".to_string()), fork.is_some(), "{events:?}");
        bench.with(|legs, cx| legs.ack(cx, leg, None));
        let starts = bench.starts();
        assert_eq!(starts.iter().any(|start| start.starts_with("UPDATE")), fork.is_none(), "{starts:?}");
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}
