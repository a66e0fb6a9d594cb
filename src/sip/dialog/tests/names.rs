//! Next hops that are names: what waits for DNS, and which of a name's addresses a request goes to.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::HeaderId;

/// [C-087] [C-127] [C-219] However many requests of a leg wait for DNS, and whoever's answer comes, the leg
/// stands in the list once.
#[test]
fn waits_once() {
    let mut bench = Bench::new();
    let contact = "Contact: <sip:carol@phone.example;transport=udp>\n";
    let text = invite_text("").replace("Contact: <sip:carol@10.0.0.1:5080>\n", contact);
    let leg = bench.receive(PEER, &text).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let tag = Sent::tag_of(&bench.next().header(HeaderId::To));
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    for _ in 0..3 {
        bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None)).expect("taken");
    }
    for _ in 0..6 {
        assert_eq!(bench.legs.desk.resolving.len(), 1);
        // Somebody else's answer.
        bench.with(|legs, cx| legs.resolved(cx));
    }
    assert!(bench.sent.is_empty());
    while !bench.asked.is_empty() {
        addresses(&mut bench, &["10.0.9.1"]);
    }
    assert_eq!(bench.starts(), ["INFO sip:carol@phone.example;transport=udp"; 3]);
    assert!(bench.legs.desk.resolving.is_empty());
    bench.receive(PEER, &request_text("BYE", 2, &tag, "", ""));
    bench.events();
    bench.end();
}

/// [C-127] The same for an INVITE that waits, whatever else happens on its leg, and for a leg that waits again.
#[test]
fn an_invite_waits_once() {
    let mut bench = Bench::new();
    let uri = Box::from(&b"sip:bob@peer.example;transport=udp"[..]);
    let leg = bench.invite(Outgoing { way: Way::Uri, uri, ..Bench::outgoing() });
    for _ in 0..4 {
        let _ = bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None));
        assert_eq!(bench.legs.desk.resolving.len(), 1);
    }
    while !bench.asked.is_empty() {
        addresses(&mut bench, &["10.0.9.1"]);
    }
    assert_eq!(bench.starts().len(), 1);
    bench.with(|legs, cx| legs.cancel(cx, leg, None));
    bench.end();
}
