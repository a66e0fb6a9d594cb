//! Next hops that are names: what waits for DNS, and which of a name's addresses a request goes to.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::Secret;
use std::time::Duration;

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

/// A leg whose requests go to a name with two addresses; the ACK has gone to the first.
fn routed(bench: &mut Bench) -> LegId {
    let secret = Secret::Password("zanzibar".into());
    let credentials = Some(Arc::new(Credentials { user: "alice".into(), secret }));
    let leg = bench.invite(Outgoing { credentials, ..Bench::outgoing() });
    let invite = bench.next();
    let route = "Record-Route: <sip:proxy.example;lr;transport=udp>\n";
    bench.reply(&invite, 200, "bob", &format!("{CONTACT}{route}"), OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    while !bench.asked.is_empty() {
        addresses(bench, &[FIRST, SECOND]);
    }
    assert_eq!(bench.next().to.ip().to_string(), FIRST);
    bench.events();
    leg
}

const FIRST: &str = "10.0.9.1";
const SECOND: &str = "10.0.9.2";

/// [C-122] [C-154] [C-144] [C-182] What a server asked for goes to that server: the next one knows neither the
/// nonce nor, maybe, the dialog.
#[test]
fn back_to_who_asked() {
    let challenge = "Proxy-Authenticate: Digest realm=\"biloxi\", nonce=\"n1\", qop=\"auth\"\n";
    for (method, status, headers) in [
        ("INFO", 407, challenge),
        ("INVITE", 407, challenge),
        ("INVITE", 491, ""),
        ("INVITE", 500, "Retry-After: 2\n"),
        ("UPDATE", 422, "Min-SE: 900\n"),
        ("BYE", 407, challenge),
    ] {
        let mut bench = Bench::new();
        let leg = routed(&mut bench);
        if method == "BYE" {
            bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        } else {
            let body = (method == "INVITE").then(|| Body::sdp(SDP.as_bytes()));
            bench.with(|legs, cx| legs.request(cx, leg, method, Vec::new(), body, None)).expect("taken");
        }
        let first = bench.next();
        assert_eq!(first.to.ip().to_string(), FIRST);
        bench.reply(&first, status, "", headers, "");
        bench.pass_ms(4_500);
        let again = bench.sent.iter().find(|sent| sent.method() == first.method()).expect("once more");
        assert_eq!(again.to.ip().to_string(), FIRST, "{method} after {status}");
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-122] A server that says nothing, or 503, has another beside it: the request goes there, and the call lives.
#[test]
fn the_next_address() {
    for (method, silent) in [("INFO", true), ("INVITE", true), ("INFO", false), ("BYE", true), ("BYE", false)]
    {
        let mut bench = Bench::new();
        let leg = routed(&mut bench);
        bench.deaf = format!("{FIRST}:5060").parse().ok().filter(|_| silent);
        if method == "BYE" {
            bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        } else {
            let body = (method == "INVITE").then(|| Body::sdp(SDP.as_bytes()));
            bench.with(|legs, cx| legs.request(cx, leg, method, Vec::new(), body, None)).expect("taken");
        }
        if silent {
            bench.pass(Duration::from_secs(33));
        } else {
            let first = bench.next();
            assert_eq!(first.to.ip().to_string(), FIRST);
            bench.reply(&first, 503, "", "", "");
        }
        let second = bench.sent.pop_front().unwrap_or_else(|| panic!("{method} ends with the first address"));
        assert_eq!((second.to.ip().to_string().as_str(), second.method().as_str()), (SECOND, method));
        assert!(bench.events().is_empty());
        bench.reply(&second, 200, "", CONTACT, if method == "INVITE" { OTHER_SDP } else { "" });
        if method != "BYE" {
            assert_eq!(bench.events(), ["responded 200"]);
            bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        }
        bench.end();
    }
}

/// [C-122] Who has said anything has the request; and there is an end to it.
#[test]
fn no_next_address() {
    let mut bench = Bench::new();
    let leg = routed(&mut bench);
    bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None)).expect("taken");
    let info = bench.next();
    bench.reply(&info, 100, "", "", "");
    bench.pass(Duration::from_secs(33));
    assert_eq!(bench.events(), ["responded 408", "ended by Baton"]);
    assert!(bench.sent.iter().all(|sent| sent.method() != Method::Info || sent.to == info.to));
    bench.end();
}

/// [C-122] [C-151] What nobody wants any more goes to no second address, whether the first was silent or would
/// not; the call lives, as nobody has said otherwise.
#[test]
fn given_up_everywhere() {
    for (method, silent) in [("INVITE", true), ("INVITE", false), ("REFER", true), ("REFER", false)] {
        let mut bench = Bench::new();
        let leg = routed(&mut bench);
        bench.deaf = format!("{FIRST}:5060").parse().ok().filter(|_| silent);
        let body = (method == "INVITE").then(|| Body::sdp(SDP.as_bytes()));
        let sent = bench.with(|legs, cx| legs.request(cx, leg, method, Vec::new(), body, None));
        let request = sent.expect("taken");
        let never = bench.with(|legs, cx| match method {
            "INVITE" => legs.call_off(cx, leg, request, None),
            _ => legs.forgo(cx, leg, request),
        });
        assert!(!never);
        if silent {
            bench.pass(Duration::from_secs(33));
            assert_eq!(bench.events(), ["responded 408"]);
        } else {
            let first = bench.next();
            bench.reply(&first, 503, "", "", "");
            assert_eq!(bench.events(), ["responded 503"]);
        }
        assert!(bench.sent.iter().all(|sent| sent.to.ip().to_string() == FIRST), "{method}");
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-078] [C-122] Whose own request is over when one address has been silent gets nothing done at the next;
/// where the first could not be reached, there is time.
#[test]
fn once_for_who_waits() {
    for silent in [true, false] {
        let mut bench = Bench::new();
        let leg = routed(&mut bench);
        bench.deaf = format!("{FIRST}:5060").parse().ok().filter(|_| silent);
        let sent = bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None));
        bench.legs.once(leg, sent.expect("taken"));
        if silent {
            bench.pass(Duration::from_secs(33));
            assert!(bench.sent.is_empty());
            assert_eq!(bench.events(), ["responded 408"]);
        } else {
            let first = bench.next();
            bench.reply(&first, 503, "", "", "");
            let second = bench.next();
            assert_eq!(second.to.ip().to_string(), SECOND);
            bench.reply(&second, 200, "", "", "");
        }
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-123] Who works on a re-INVITE and refuses it then has not left it to another address.
#[test]
fn no_next_address_after_progress() {
    for (said, goes_on) in [(100, true), (183, false)] {
        let mut bench = Bench::new();
        let leg = routed(&mut bench);
        let body = Some(Body::sdp(SDP.as_bytes()));
        bench.with(|legs, cx| legs.request(cx, leg, "INVITE", Vec::new(), body, None)).expect("taken");
        let invite = bench.next();
        bench.reply(&invite, said, "", "", "");
        bench.reply(&invite, 503, "", "", "");
        let second = bench.sent.iter().find(|sent| sent.method() == Method::Invite).cloned();
        assert_eq!(second.is_some(), goes_on);
        if let Some(second) = second {
            bench.reply(&second, 488, "", "", "");
        } else {
            assert_eq!(bench.events(), ["responded 503"]);
        }
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-133] [C-144] The party moves by the request that met ours: ours is repeated to where it is now.
#[test]
fn repeated_where_the_party_is() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    let body = Some(Body::sdp(SDP.as_bytes()));
    bench.with(|legs, cx| legs.request(cx, leg, "INVITE", Vec::new(), body, None)).expect("taken");
    let first = bench.next();
    bench.reply(&first, 491, "", "", "");
    let moved = "Contact: <sip:carol@10.0.0.7:5090>\n";
    bench.receive(PEER, &request_text("UPDATE", 2, &tag, moved, ""));
    while let Some(event) = bench.legs.next_event() {
        if let LegEvent::Requested { asked, .. } = event {
            bench.with(|legs, cx| legs.respond(cx, leg, asked, 200, &Vec::new(), None));
        }
    }
    bench.sent.clear();
    bench.pass_ms(2_020);
    let again = bench.sent.iter().find(|sent| sent.method() == Method::Invite).cloned().expect("again");
    assert_eq!(again.start(), "INVITE sip:carol@10.0.0.7:5090");
    assert_eq!(again.to.to_string(), "10.0.0.7:5090");
    bench.reply(&again, 488, "", "", "");
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}
