//! Calls that go well: out, in, and what follows inside.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::HeaderId;

/// [C-129] [C-135] An outgoing call from INVITE to BYE: the dialog is made by the 2xx, numbers grow by one.
#[test]
fn outgoing() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    assert_eq!(invite.start(), "INVITE sip:100@10.0.0.1");
    assert_eq!(invite.to, "10.0.0.1:5060".parse().expect("an address"));
    assert_eq!(invite.header(HeaderId::MaxForwards), "69");
    assert!(invite.text().ends_with(SDP));
    bench.reply(&invite, 180, "bob", CONTACT, "");
    bench.reply(&invite, 200, "bob", CONTACT, OTHER_SDP);
    assert_eq!(bench.events(), ["180 of 0", "answered by 0"]);
    assert!(bench.sent.is_empty(), "nothing is acknowledged before the call says so");
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    let ack = bench.next();
    assert_eq!(ack.start(), "ACK sip:bob@10.0.0.1:5070");
    assert_eq!(ack.cseq(), invite.cseq());
    let facts = bench.legs.facts(leg).expect("facts");
    assert_eq!((facts.state, facts.remote_tag), (LegState::Confirmed, &b"bob"[..]));
    assert!(!facts.offer_open);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    assert_eq!(bye.start(), "BYE sip:bob@10.0.0.1:5070");
    assert_eq!(bye.cseq(), invite.cseq() + 1);
    bench.reply(&bye, 200, "", "", "");
    assert!(bench.events().is_empty());
    bench.end();
    assert_eq!(bench.events(), ["gone"]);
}

/// [C-132] [C-141] An incoming call: the 2xx copies Record-Route, is sent until the ACK comes, and the
/// party's BYE gets its 200.
#[test]
fn incoming() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("Record-Route: <sip:p1;lr>\nRecord-Route: <sip:p2;lr>\n"));
    let leg = leg.expect("a leg");
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 180, &Vec::new(), None));
    let ringing = bench.next();
    assert_eq!(ringing.start(), "180 Ringing");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let ok = bench.next();
    assert_eq!(ok.header(HeaderId::To), ringing.header(HeaderId::To));
    let routes: Vec<&[u8]> = ok.message.values(HeaderId::RecordRoute).collect();
    assert_eq!(routes, [b"<sip:p1;lr>", b"<sip:p2;lr>"]);
    assert!(ok.header(HeaderId::Allow).contains("REFER"));
    bench.pass_ms(500);
    assert_eq!(bench.starts(), ["200 OK"]);
    bench.pass_ms(3_000);
    assert_eq!(bench.starts(), ["200 OK", "200 OK"]);
    let tag = Sent::tag_of(&ok.header(HeaderId::To));
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    bench.pass_ms(10_000);
    assert!(bench.sent.is_empty());
    assert_eq!(bench.events(), ["acknowledged"]);
    bench.receive(PEER, &request_text("BYE", 2, &tag, "", ""));
    assert_eq!(bench.starts(), ["200 OK"]);
    assert_eq!(bench.events(), ["ended by Peer"]);
    bench.end();
    assert_eq!(bench.events(), ["gone"]);
}

/// [C-151] Requests inside the dialog, in both directions.
#[test]
fn inside() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    let id = bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None)).expect("sent");
    let info = bench.next();
    assert_eq!(info.start(), "INFO sip:carol@10.0.0.1:5080");
    bench.reply(&info, 200, "", "", "");
    assert!(matches!(bench.event(), LegEvent::Responded { request, status: 200, .. } if request == id));
    bench.receive(PEER, &request_text("MESSAGE", 2, &tag, "", ""));
    let LegEvent::Requested { asked, .. } = bench.event() else { panic!("a request") };
    bench.with(|legs, cx| legs.respond(cx, leg, asked, 202, &Vec::new(), None));
    assert_eq!(bench.starts(), ["202 Accepted"]);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    assert_eq!(bye.cseq(), info.cseq() + 1);
    bench.reply(&bye, 200, "", "", "");
    bench.end();
}
