//! Edits by what is written.

use super::*;
use crate::sip::message::Limits;
use bytes::Bytes;

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn written(message: &Message, edit: impl FnOnce(&mut Edits)) -> String {
    let mut edits = Edits::new();
    edit(&mut edits);
    let mut out = Vec::new();
    edits.write(message, &mut out);
    assert_eq!(out.len(), edits.written_len(message));
    String::from_utf8(out).unwrap()
}

const INVITE: &str = "INVITE sip:b@c SIP/2.0\r\n\
    Via: SIP/2.0/UDP a;branch=z9hG4bK1;rport, SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
    v:SIP/2.0/UDP d\r\n\
    X-Odd  :  kept \t\r\n\
    Max-Forwards:70\r\n\
    Route: <sip:r1;lr> , <sip:r2;lr>\r\n\
    Route: <sip:r3;lr>\r\n\
    Content-Length: 3\r\n\r\nabc";

/// [C-010] Without edits nothing changes.
#[test]
fn nothing() {
    assert_eq!(written(&message(INVITE), |_| {}), INVITE);
}

/// [C-010] What a proxy does to a request, and nothing else.
#[test]
fn request() {
    let m = message(INVITE);
    let got = written(&m, |e| {
        e.set_request_uri(&m, b"sip:x@y");
        e.set_max_forwards(&m, 69);
        e.pop_route(&m, 1);
        e.push_record_route(&m, b"<sip:in;lr>");
        e.push_record_route(&m, b"<sip:out;lr>");
        e.set_via_received(&m, Some("192.0.2.9".parse().unwrap()), Some(5062));
        e.push_via(&m, b"SIP/2.0/UDP me;branch=z9hG4bK0");
        e.insert(&m, "Max-Breadth", b"60");
    });
    assert_eq!(
        got,
        "INVITE sip:x@y SIP/2.0\r\n\
         Via: SIP/2.0/UDP me;branch=z9hG4bK0\r\n\
         Via: SIP/2.0/UDP a;branch=z9hG4bK1;rport=5062;received=192.0.2.9, SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
         v:SIP/2.0/UDP d\r\n\
         Record-Route: <sip:out;lr>\r\n\
         Record-Route: <sip:in;lr>\r\n\
         X-Odd  :  kept \t\r\n\
         Max-Forwards:69\r\n\
         Route: <sip:r2;lr>\r\n\
         Route: <sip:r3;lr>\r\n\
         Max-Breadth: 60\r\n\
         Content-Length: 3\r\n\r\nabc"
    );
}

/// [C-112] Exactly one Via value goes.
#[test]
fn vias() {
    let m = message(INVITE);
    let first = message(&written(&m, |e| e.pop_via(&m)));
    let vias: Vec<_> = first.values(HeaderId::Via).collect();
    assert_eq!(vias, [&b"SIP/2.0/TCP b;branch=z9hG4bK2"[..], b"SIP/2.0/UDP d"]);
    let second = message(&written(&first, |e| e.pop_via(&first)));
    assert_eq!(second.values(HeaderId::Via).collect::<Vec<_>>(), [&b"SIP/2.0/UDP d"[..]]);
    let none = written(&second, |e| e.pop_via(&second));
    assert!(!none.contains("SIP/2.0/UDP") && none.contains("X-Odd  :  kept \t\r\n"));
}

#[test]
fn received_and_rport_are_overwritten() {
    let ip = Some("2001:db8::1".parse().unwrap());
    for (before, after) in [
        ("SIP/2.0/UDP a", "SIP/2.0/UDP a;rport=7;received=2001:db8::1"),
        ("SIP/2.0/UDP a;rport=1;received=9.9.9.9;x", "SIP/2.0/UDP a;rport=7;received=2001:db8::1;x"),
        ("SIP/2.0/UDP a ; RPORT = ;x", "SIP/2.0/UDP a ; rport=7 ;x;received=2001:db8::1"),
        ("SIP/2.0/UDP a;rport=", "SIP/2.0/UDP a;rport=7;received=2001:db8::1"),
        ("SIP/2.0/UDP a;received=\"\"", "SIP/2.0/UDP a;received=2001:db8::1;rport=7"),
    ] {
        let m = message(&format!("ACK sip:b SIP/2.0\r\nVia: {before}\r\n\r\n"));
        let got = message(&written(&m, |e| e.set_via_received(&m, ip, Some(7))));
        assert_eq!(got.header(HeaderId::Via), Some(after.as_bytes()));
    }
}

#[test]
fn routes() {
    let m = message(INVITE);
    let routes = |text: &str| -> Vec<String> {
        let m = message(text);
        m.values(HeaderId::Route).map(|v| String::from_utf8(v.to_vec()).unwrap()).collect()
    };
    assert_eq!(routes(&written(&m, |e| e.pop_route(&m, 2))), ["<sip:r3;lr>"]);
    assert_eq!(routes(&written(&m, |e| e.pop_route(&m, 9))), Vec::<String>::new());
    assert_eq!(routes(&written(&m, |e| e.pop_last_route(&m))), ["<sip:r1;lr>", "<sip:r2;lr>"]);
    let strict = written(&m, |e| {
        e.pop_route(&m, 1);
        e.push_route(&m, b"<sip:1>");
        e.push_route(&m, b"<sip:0>");
        e.append_route(&m, b"<sip:8>");
        e.append_route(&m, b"<sip:9>");
    });
    assert_eq!(routes(&strict), ["<sip:0>", "<sip:1>", "<sip:r2;lr>", "<sip:r3;lr>", "<sip:8>", "<sip:9>"]);
    let all = written(&m, |e| {
        e.pop_route(&m, 3);
        e.pop_last_route(&m);
        e.append_route(&m, b"<sip:9>");
    });
    assert_eq!(routes(&all), ["<sip:9>"]);
    let two = message("ACK sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nRoute: <sip:a>,<sip:b>\r\n\r\n");
    assert_eq!(routes(&written(&two, |e| e.pop_last_route(&two))), ["<sip:a>"]);
    let none = message("ACK sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\n");
    let both = written(&none, |e| {
        e.append_route(&none, b"<sip:2>");
        e.push_route(&none, b"<sip:1>");
        e.push_record_route(&none, b"<sip:me;lr>");
    });
    assert_eq!(routes(&both), ["<sip:1>", "<sip:2>"]);
}

#[test]
fn missing_fields_are_added() {
    let m = message("ACK sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nTo: x\r\n\r\n");
    let got = written(&m, |e| {
        e.set_max_forwards(&m, 70);
        e.set_max_forwards(&m, 70);
        e.set_body(&m, b"abc");
    });
    assert!(got.starts_with("ACK sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nMax-Forwards: 70\r\n"));
    assert!(got.ends_with("To: x\r\nContent-Length: 3\r\n\r\nabc"));
    let m = message(INVITE);
    assert!(written(&m, |e| e.set_body(&m, b"longer")).ends_with("Content-Length: 6\r\n\r\nlonger"));
}

/// [C-212] No line break or NUL comes out of a value.
#[test]
fn values_are_cleaned() {
    let m = message(INVITE);
    let got = written(&m, |e| {
        e.insert(&m, "X-New", b"a\r\nRoute: <sip:evil>\0b");
        e.set_request_uri(&m, b"sip:a\nb");
        e.replace_value(&m, 2, b"a\rb");
    });
    assert!(got.contains("X-New: a  Route: <sip:evil> b\r\n"));
    assert!(got.starts_with("INVITE sip:a b SIP/2.0\r\n"));
    assert!(got.contains("X-Odd  :  a b \t\r\n"));
}

#[test]
fn removal() {
    let m = message(INVITE);
    let got = written(&m, |e| {
        e.remove(&m, HeaderId::Route);
        e.remove_line(&m, 2);
    });
    assert!(
        !got.contains("Route") && !got.contains("X-Odd") && got.contains("Max-Forwards:70\r\nContent-Length")
    );
}
