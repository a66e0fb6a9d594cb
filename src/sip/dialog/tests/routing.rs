//! Route sets, strict routers, secure dialogs, who is who in From and To.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};

fn routes(sent: &Sent) -> Vec<String> {
    sent.message.values(HeaderId::Route).map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}

/// [C-132] The caller takes Record-Route reversed, and goes by it.
#[test]
fn caller_reverses() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    let set = "Record-Route: <sip:10.0.9.2;lr>, <sip:10.0.9.1:5062;lr>\n";
    bench.reply(&invite, 180, "bob", &format!("{CONTACT}Record-Route: <sip:early;lr>\n"), "");
    bench.reply(&invite, 200, "bob", &format!("{CONTACT}{set}"), OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    let ack = bench.next();
    assert_eq!(routes(&ack), ["<sip:10.0.9.1:5062;lr>", "<sip:10.0.9.2;lr>"]);
    assert_eq!(ack.to, "10.0.9.1:5062".parse().expect("an address"));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    assert_eq!(routes(&bench.next()).len(), 2);
    bench.end();
}

/// [C-132] The callee takes it in order; a strict router gets the request for itself, the target comes last.
#[test]
fn callee_and_strict_router() {
    let mut bench = Bench::new();
    let text = invite_text("Record-Route: <sip:10.0.9.7>, <sip:10.0.9.8;lr>\n");
    let leg = bench.receive(PEER, &text).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let tag = Sent::tag_of(&bench.next().header(HeaderId::To));
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    assert_eq!(bye.start(), "BYE sip:10.0.9.7");
    assert_eq!(routes(&bye), ["<sip:10.0.9.8;lr>", "<sip:carol@10.0.0.1:5080>"]);
    assert_eq!(bye.to, "10.0.9.7:5060".parse().expect("an address"));
    bench.events();
    bench.end();
}

/// [C-148] Each side keeps its name and tag; [C-129] the callee's requests turn From and To around.
#[test]
fn names() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    let facts = bench.legs.facts(leg).expect("facts");
    assert_eq!(facts.local_uri(), b"sip:100@example.com");
    assert_eq!(facts.remote_uri(), b"sip:carol@example.net");
    assert_eq!(facts.remote_target, b"sip:carol@10.0.0.1:5080");
    assert_eq!(facts.local_tag(), tag.as_bytes());
    assert_eq!((facts.role, facts.trunk), (Role::Callee, Some(crate::sip::plan::TrunkIx(0))));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    assert_eq!(bye.header(HeaderId::From), format!("<sip:100@example.com>;tag={tag}"));
    assert_eq!(bye.header(HeaderId::To), "\"Carol\" <sip:carol@example.net>;tag=carol");
    assert_eq!(bye.header(HeaderId::CallId), "call-of-carol");
    bench.events();
    bench.end();
}

/// [C-147] Allow and Supported say what the leg does, in INVITE and 2xx.
#[test]
fn abilities() {
    for allow_refer in [true, false] {
        let mut bench = Bench::new();
        bench.invite(Outgoing { allow_refer, ..Bench::outgoing() });
        let invite = bench.next();
        let (allow, supported) = (invite.header(HeaderId::Allow), invite.header(HeaderId::Supported));
        for method in ["REFER", "NOTIFY"] {
            assert_eq!(allow.contains(method), allow_refer);
        }
        for tag in ["replaces", "norefersub"] {
            assert_eq!(supported.contains(tag), allow_refer);
        }
        assert!(allow.contains("UPDATE") && allow.contains("PRACK") && supported.contains("timer"));
    }
}

/// What a peer says of itself is known, and nothing when it is silent.
#[test]
fn facts_of_peer() {
    let mut bench = Bench::new();
    let headers = "Allow: INVITE, ACK, BYE, REFER\nSupported: replaces, timer\n";
    let leg = bench.receive(PEER, &invite_text(headers)).expect("a leg");
    let facts = bench.legs.facts(leg).expect("facts");
    assert_eq!(facts.allows(Method::Refer), Some(true));
    assert_eq!(facts.allows(Method::Update), Some(false));
    assert!(facts.supports.replaces && facts.supports.timer && !facts.supports.norefersub);
    assert_eq!(facts.state, LegState::Early);
    bench.with(|legs, cx| legs.reject(cx, leg, 486, "", &Vec::new()));
    let other = invite_text("").replace("branch=z9hG4bKinvite", "branch=z9hG4bKother");
    let leg = bench.receive(PEER, &other).expect("a leg");
    assert_eq!(bench.legs.facts(leg).expect("facts").allows(Method::Refer), None);
    bench.with(|legs, cx| legs.reject(cx, leg, 486, "", &Vec::new()));
    bench.end();
}

/// What a leg that is up takes: a few kilobytes at most, descriptions included.
#[test]
fn small() {
    assert!(size_of::<super::super::leg::Leg>() <= 1_024, "{}", size_of::<super::super::leg::Leg>());
}
