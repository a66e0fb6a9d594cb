//! Re-INVITE and UPDATE without conflict: who answers what, and what stays as it was.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};

const NEWER: &str = "v=0\r\no=alice 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 4002 RTP/AVP 8\r\na=sendonly\r\n";

fn request(bench: &mut Bench, leg: LegId, method: &str, body: Option<&str>) -> RequestId {
    let body = body.map(|sdp| Body::sdp(sdp.as_bytes().to_vec()));
    bench.with(|legs, cx| legs.request(cx, leg, method, Vec::new(), body, None)).expect("taken")
}

/// [C-133] [C-134] Our re-INVITE: answered, acknowledged by the call, the target refreshed, the route set
/// not.
#[test]
fn ours() {
    let mut bench = Bench::new();
    let (leg, _) = bench.outgoing_up();
    let id = request(&mut bench, leg, "INVITE", Some(NEWER));
    let invite = bench.next();
    assert_eq!(invite.start(), "INVITE sip:bob@10.0.0.1:5070");
    assert!(bench.legs.facts(leg).expect("facts").offer_open);
    bench.reply(&invite, 100, "", "", "");
    let moved = "Contact: <sip:bob@10.0.0.1:5099>\nRecord-Route: <sip:new;lr>\n";
    bench.reply(&invite, 200, "", moved, OTHER_SDP);
    assert!(matches!(bench.event(), LegEvent::Responded { request, status: 200, .. } if request == id));
    assert!(bench.sent.is_empty());
    bench.with(|legs, cx| legs.ack_request(cx, leg, id, None));
    let ack = bench.next();
    assert_eq!((ack.start().as_str(), ack.cseq()), ("ACK sip:bob@10.0.0.1:5099", invite.cseq()));
    assert!(ack.header(HeaderId::Route).is_empty());
    bench.reply(&invite, 200, "", moved, OTHER_SDP);
    assert_eq!(bench.starts(), ["ACK sip:bob@10.0.0.1:5099"]);
    let facts = bench.legs.facts(leg).expect("facts");
    assert!(!facts.offer_open);
    assert_eq!(facts.last_sdp_sent.map(|body| &body.bytes[..]), Some(NEWER.as_bytes()));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-174] Our re-INVITE without offer: the peer's offer is answered in the ACK.
#[test]
fn offerless() {
    let mut bench = Bench::new();
    let (leg, _) = bench.outgoing_up();
    let id = request(&mut bench, leg, "INVITE", None);
    let invite = bench.next();
    bench.reply(&invite, 200, "", CONTACT, NEWER);
    assert!(bench.legs.facts(leg).expect("facts").offer_open);
    bench.events();
    bench.with(|legs, cx| legs.ack_request(cx, leg, id, Some(&Body::sdp(SDP.as_bytes()))));
    assert!(bench.next().text().ends_with(SDP));
    let facts = bench.legs.facts(leg).expect("facts");
    assert!(!facts.offer_open);
    assert_eq!(facts.last_sdp_received.map(|body| &body.bytes[..]), Some(NEWER.as_bytes()));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-145] A refused re-INVITE leaves the session as it was; [C-138] a 481 ends it, a 408 with BYE.
#[test]
fn refused() {
    for (status, events, last) in [
        (488, &["responded 488"][..], ""),
        (481, &["responded 481", "ended by Baton"][..], ""),
        (408, &["responded 408", "ended by Baton"][..], "BYE sip:bob@10.0.0.1:5070"),
    ] {
        let mut bench = Bench::new();
        let (leg, _) = bench.outgoing_up();
        request(&mut bench, leg, "INVITE", Some(NEWER));
        let invite = bench.next();
        bench.reply(&invite, status, "", "", "");
        assert_eq!(bench.events(), events);
        bench.next();
        assert_eq!(bench.sent.pop_front().map_or(String::new(), |sent| sent.start()), last);
        if status == 488 {
            let facts = bench.legs.facts(leg).expect("facts");
            assert!(!facts.offer_open);
            assert_eq!(facts.last_sdp_sent.map(|body| &body.bytes[..]), Some(SDP.as_bytes()));
            bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        }
        bench.end();
    }
}

/// A 481 to REFER says that the peer has no such dialog: the call is over, without BYE.
#[test]
fn a_refer_to_nobody() {
    let mut bench = Bench::new();
    let (leg, _) = bench.outgoing_up();
    request(&mut bench, leg, "REFER", None);
    let refer = bench.next();
    bench.reply(&refer, 481, "", "", "");
    assert_eq!(bench.events(), ["responded 481", "ended by Baton"]);
    assert!(bench.sent.is_empty());
    bench.end();
}

/// [C-138] A notification that meets 481, and a transfer that is not answered, end themselves only (RFC
/// 5057 §5.2).
#[test]
fn usages() {
    let mut bench = Bench::new();
    let (leg, _) = bench.outgoing_up();
    for (method, status) in [("NOTIFY", 481), ("REFER", 408), ("REFER", 405), ("MESSAGE", 404)] {
        request(&mut bench, leg, method, None);
        let sent = bench.next();
        bench.reply(&sent, status, "", "", "");
        assert_eq!(bench.events(), [format!("responded {status}")]);
    }
    assert_eq!(bench.legs.facts(leg).expect("facts").state, LegState::Confirmed);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// The party's re-INVITE goes to the call; its 200 is sent until the ACK, which the call hears of.
#[test]
fn theirs() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    let contact = "Contact: <sip:carol@10.0.0.1:6000>\n";
    bench.receive(PEER, &request_text("INVITE", 2, &tag, contact, NEWER));
    let LegEvent::Requested { asked, .. } = bench.event() else { panic!("a request") };
    bench.with(|legs, cx| {
        legs.respond(cx, leg, asked, 200, &Vec::new(), Some(&Body::sdp(OTHER_SDP.as_bytes())))
    });
    let ok = bench.next();
    assert!(ok.text().ends_with(OTHER_SDP) && !ok.header(HeaderId::Contact).is_empty());
    bench.pass_ms(500);
    assert_eq!(bench.starts(), ["200 OK"]);
    bench.receive(PEER, &request_text("ACK", 2, &tag, "", ""));
    assert_eq!(bench.events(), ["re-INVITE acknowledged"]);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    assert_eq!(bench.next().start(), "BYE sip:carol@10.0.0.1:6000");
    bench.end();
}

/// [C-174] Their re-INVITE without offer: ours in the 200, their answer in the ACK. [C-175] A refusal
/// changes nothing.
#[test]
fn theirs_offerless() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("INVITE", 2, &tag, "", ""));
    let LegEvent::Requested { asked, .. } = bench.event() else { panic!("a request") };
    bench.with(|legs, cx| {
        legs.respond(cx, leg, asked, 200, &Vec::new(), Some(&Body::sdp(OTHER_SDP.as_bytes())))
    });
    assert!(bench.legs.facts(leg).expect("facts").offer_open);
    bench.receive(PEER, &request_text("ACK", 2, &tag, "", NEWER));
    let facts = bench.legs.facts(leg).expect("facts");
    assert!(!facts.offer_open);
    assert_eq!(facts.last_sdp_received.map(|body| &body.bytes[..]), Some(NEWER.as_bytes()));
    bench.events();
    bench.starts();
    bench.receive(PEER, &request_text("INVITE", 3, &tag, "", SDP));
    let LegEvent::Requested { asked, .. } = bench.event() else { panic!("a request") };
    bench.with(|legs, cx| legs.respond(cx, leg, asked, 488, &Vec::new(), None));
    bench.receive(PEER, &request_text("ACK", 3, &tag, "", ""));
    let facts = bench.legs.facts(leg).expect("facts");
    assert!(!facts.offer_open);
    assert_eq!(facts.last_sdp_received.map(|body| &body.bytes[..]), Some(NEWER.as_bytes()));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// A REFER waits for the ACK, and for an exchange that runs; it is told of the end.
#[test]
fn refer_waits() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    request(&mut bench, leg, "REFER", None);
    bench.reply(&invite, 180, "bob", CONTACT, "");
    bench.reply(&invite, 200, "bob", CONTACT, OTHER_SDP);
    assert!(bench.sent.is_empty());
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    assert_eq!(bench.next().method(), Method::Ack);
    let refer = bench.next();
    assert_eq!(refer.method(), Method::Refer);
    bench.reply(&refer, 202, "", "", "");
    let id = request(&mut bench, leg, "INVITE", Some(NEWER));
    let invite = bench.next();
    request(&mut bench, leg, "REFER", None);
    assert!(bench.sent.is_empty());
    bench.reply(&invite, 200, "", CONTACT, OTHER_SDP);
    assert!(bench.sent.is_empty(), "not before the ACK");
    bench.with(|legs, cx| legs.ack_request(cx, leg, id, None));
    assert_eq!(bench.next().method(), Method::Ack);
    assert_eq!(bench.next().method(), Method::Refer);
    bench.events();
    let id = request(&mut bench, leg, "INVITE", Some(SDP));
    request(&mut bench, leg, "REFER", None);
    let invite = bench.next();
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let LegEvent::Responded { status: 487, .. } = bench.event() else { panic!("told of the end") };
    // The re-INVITE's 2xx after the end is still acknowledged.
    bench.starts();
    bench.reply(&invite, 200, "", CONTACT, OTHER_SDP);
    assert_eq!(bench.starts().first().map(|start| &start[..3]), Some("ACK"));
    let _ = id;
    bench.end();
}

/// [C-180] UPDATE: an offer goes and is answered without a call being asked twice; early, too.
#[test]
fn update() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    request(&mut bench, leg, "UPDATE", Some(NEWER));
    let update = bench.next();
    bench.reply(&update, 200, "", "Contact: <sip:carol@10.0.0.1:7000>\n", OTHER_SDP);
    assert_eq!(bench.events(), ["responded 200"]);
    assert!(!bench.legs.facts(leg).expect("facts").offer_open);
    bench.receive(PEER, &request_text("UPDATE", 2, &tag, "", NEWER));
    let LegEvent::Requested { asked, .. } = bench.event() else { panic!("a request") };
    bench.with(|legs, cx| legs.respond(cx, leg, asked, 200, &Vec::new(), Some(&Body::sdp(SDP.as_bytes()))));
    let answer = bench.next().text();
    assert!(answer.ends_with(SDP.split_once("m=").expect("a stream").1), "{answer}");
    assert!(!bench.legs.facts(leg).expect("facts").offer_open);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    assert_eq!(bench.next().start(), "BYE sip:carol@10.0.0.1:7000");
    bench.end();
}

/// A leg moves to another shard and goes on there, but not while something is under way.
#[test]
fn moves() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    request(&mut bench, leg, "INFO", None);
    assert!(bench.with(|legs, cx| legs.take(cx, leg)).is_none());
    let info = bench.next();
    bench.reply(&info, 200, "", "", "");
    let moved = bench.with(|legs, cx| legs.take(cx, leg)).expect("nothing is under way");
    assert_eq!(moved.call_id(), b"call-of-carol");
    assert!(bench.legs.is_empty() && bench.legs.find(b"call-of-carol", tag.as_bytes(), b"carol").is_none());
    let mut other = Bench::new();
    let leg = other.with(|legs, cx| legs.put(cx, moved));
    assert_eq!(other.legs.find(b"call-of-carol", tag.as_bytes(), b"carol"), Some(leg));
    request(&mut other, leg, "INFO", None);
    assert_eq!(other.next().cseq(), info.cseq() + 1);
    other.receive(PEER, &request_text("BYE", 2, &tag, "", ""));
    other.end();
    bench.end();
}

/// [C-172] To the party it is one session, whoever speaks: the origin stays, and each change is a
/// version of its own, also when the one before was refused.
#[test]
fn one_session_whoever_speaks() {
    let mut bench = Bench::new();
    let (leg, _) = bench.outgoing_up();
    let origin = |text: &str| text.lines().find(|line| line.starts_with("o=")).map(str::to_owned);
    let first = bench.legs.facts(leg).expect("facts").last_sdp_sent.expect("a description").clone();
    let first = origin(std::str::from_utf8(&first.bytes).expect("text")).expect("an origin");
    let version = |n: u64| {
        let words: Vec<&str> = first.split(' ').collect();
        let old: u64 = words[2].parse().expect("a version");
        Some(format!("{} {} {} {}", words[0], words[1], old + n, words[3..].join(" ")))
    };
    let mut offered = |sdp: &str, status: u16| {
        let id = request(&mut bench, leg, "INVITE", Some(sdp));
        let invite = bench.next();
        bench.reply(&invite, status, "", CONTACT, if status < 300 { OTHER_SDP } else { "" });
        bench.events();
        bench.with(|legs, cx| legs.ack_request(cx, leg, id, None));
        bench.sent.clear();
        origin(&invite.text())
    };
    let strange = NEWER.replace("alice 1 2", "stranger 77 9");
    assert_eq!(offered(&strange, 488), version(1));
    assert_eq!(offered(&strange.replace("4002", "4004"), 200), version(2));
    assert_eq!(offered(&strange.replace("4002", "4004"), 200), version(2));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-171] The ACK to the party's own re-INVITE, or to a refresh of its, leaves an offer of ours as
/// it is: the answer to that is what counts.
#[test]
fn an_ack_of_theirs_and_an_offer_of_ours() {
    for offer in [NEWER, SDP] {
        let mut bench = Bench::new();
        let (leg, tag) = bench.incoming_up();
        bench.receive(PEER, &request_text("INVITE", 2, &tag, "", offer));
        let asked = match bench.legs.next_event() {
            Some(LegEvent::Requested { asked, .. }) => Some(asked),
            _ => None,
        };
        request(&mut bench, leg, "INVITE", Some(OTHER_SDP));
        if let Some(asked) = asked {
            let body = Body::sdp(OTHER_SDP.as_bytes());
            bench.with(|legs, cx| legs.respond(cx, leg, asked, 200, &Vec::new(), Some(&body)));
        }
        bench.receive(PEER, &request_text("ACK", 2, &tag, "", ""));
        let invite =
            bench.sent.iter().find(|sent| sent.method() == Method::Invite && sent.message.is_request());
        let invite = invite.expect("ours").clone();
        assert!(bench.legs.facts(leg).expect("facts").offer_open);
        let latest = NEWER.replace("4002", "4444");
        bench.reply(&invite, 200, "", CONTACT, &latest);
        let facts = bench.legs.facts(leg).expect("facts");
        assert_eq!(facts.last_sdp_received.map(|body| &body.bytes[..]), Some(latest.as_bytes()));
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}
