//! Own messages by what is written.

use super::*;
use crate::sip::message::Limits;
use bytes::Bytes;

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

const INVITE: &str = "INVITE sip:b@c SIP/2.0\r\n\
    v: SIP / 2.0/UDP a.example.com:5070 ;branch=z9hG4bK1;rport, SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
    Via: SIP/2.0/UDP d\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:r1;lr>,\r\n <sip:r2;lr>\r\n\
    From: A\r\n <sip:a@c>;tag=1\r\n\
    t: <sip:b@c>\r\n\
    i: x@y\r\n\
    Timestamp: 5\r\n\
    CSeq: 007 INVITE\r\n\r\n";

/// [C-045] [C-046] The source is noted in the topmost Via.
#[test]
fn responses() {
    let m = message(INVITE);
    let source = Some("192.0.2.9:6000".parse().unwrap());
    assert_eq!(
        text(|out| response(out, &m, source, 486, "", Some(b"tt"), &[("Retry-After", b"9")])),
        "SIP/2.0 486 Busy Here\r\n\
         Via: SIP/2.0/UDP a.example.com:5070;branch=z9hG4bK1;rport=6000;received=192.0.2.9, SIP/2.0/TCP b;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP d\r\n\
         From: A   <sip:a@c>;tag=1\r\n\
         To: <sip:b@c>;tag=tt\r\n\
         Call-ID: x@y\r\n\
         CSeq: 007 INVITE\r\n\
         Retry-After: 9\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let trying = text(|out| response(out, &m, None, 100, "", Some(b"tt"), &[]));
    assert!(trying.starts_with("SIP/2.0 100 Trying\r\nVia: SIP / 2.0/UDP"));
    assert!(trying.contains("Timestamp: 5\r\n") && !trying.contains("tag=tt"));
}

#[test]
fn response_to_a_broken_request() {
    let m = message("INVITE  sip:b@c SIP/2.0\r\nVia: nonsense\r\nTo: \"open\r\n\r\n");
    assert!(m.ready().is_err());
    assert_eq!(
        text(|out| response(out, &m, Some("[::1]:5060".parse().unwrap()), 400, "Bad", Some(b"t"), &[])),
        "SIP/2.0 400 Bad\r\nVia: nonsense\r\nTo: \"open;tag=t\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn received_only_where_it_tells_something() {
    let via = |value: &'static str| Via::parse(value.as_bytes()).unwrap();
    let source = "192.0.2.9:6000".parse().unwrap();
    assert_eq!(noted_source(&via("SIP/2.0/UDP 192.0.2.9"), source), (None, None));
    assert_eq!(noted_source(&via("SIP/2.0/UDP 192.0.2.8"), source).0, Some(source.ip()));
    assert_eq!(noted_source(&via("SIP/2.0/UDP name"), source).0, Some(source.ip()));
    assert_eq!(noted_source(&via("SIP/2.0/UDP 192.0.2.9;rport"), source), (Some(source.ip()), Some(6000)));
    let v6 = "[2001:db8::1]:5060".parse().unwrap();
    assert_eq!(noted_source(&via("SIP/2.0/UDP [2001:DB8:0::1]"), v6), (None, None));
}

/// [C-079] ACK in the INVITE's transaction.
#[test]
fn ack() {
    let m = message(INVITE);
    let r = message("SIP/2.0 486 Busy\r\nVia: x\r\nTo: <sip:b@c>;tag=9\r\n\r\n");
    assert_eq!(
        text(|out| ack_non2xx(out, &m, &r)),
        "ACK sip:b@c SIP/2.0\r\n\
         Via: SIP / 2.0/UDP a.example.com:5070 ;branch=z9hG4bK1;rport\r\n\
         Max-Forwards: 70\r\n\
         Route: <sip:r1;lr>,   <sip:r2;lr>\r\n\
         From: A   <sip:a@c>;tag=1\r\n\
         To: <sip:b@c>;tag=9\r\n\
         Call-ID: x@y\r\n\
         CSeq: 7 ACK\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

/// [C-085] [C-106] CANCEL in the INVITE's transaction, with its reason.
#[test]
fn cancels() {
    let m = message(INVITE);
    let got = text(|out| cancel(out, &m, Some("SIP;cause=200;text=\"Call completed elsewhere\"")));
    let c = message(&got);
    assert!(c.ready().is_ok());
    assert_eq!(c.count(HeaderId::Via), 1);
    assert_eq!(c.to().unwrap().tag(), None);
    assert_eq!(c.count(HeaderId::Route), 2);
    assert!(got.contains("CSeq: 7 CANCEL\r\nReason: SIP;cause=200"));
}

#[test]
fn builder() {
    let got = text(|out| {
        Builder::request(out, "OPTIONS", b"sip:a\r\nb")
            .cseq(1, "OPTIONS")
            .number("Max-Forwards", 70)
            .body("text/plain", b"a\r\nb");
    });
    assert_eq!(
        got,
        "OPTIONS sip:a  b SIP/2.0\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\na\r\nb"
    );
}

/// [C-018] [C-024] Addresses in brackets, display names quoted, nothing breaks out.
#[test]
fn addresses() {
    let put = |display: &str, uri: &str| text(|out| put_name_addr(out, display.as_bytes(), uri.as_bytes()));
    assert_eq!(put("", "sip:a@b;x?y=z,1"), "<sip:a@b;x?y=z,1>");
    assert_eq!(put(r#"Anna "A" \"#, "sip:a@b"), r#""Anna \"A\" \\" <sip:a@b>"#);
    assert_eq!(put(r#""Bell, A""#, "sip:a@b"), r#""Bell, A" <sip:a@b>"#);
    assert_eq!(put(r#""a" <sip:x>, "b""#, "sip:a@b"), r#""\"a\" <sip:x>, \"b\"" <sip:a@b>"#);
    assert_eq!(put("x\r\ny", "sip:a@b>;tag=1\r\n"), "\"x  y\" <sip:a@b>");
    let value = put("Ю, <x>", "sip:a@b");
    let back = NameAddr::parse(value.as_bytes()).unwrap();
    assert_eq!((back.uri, back.display), (&b"sip:a@b"[..], "\"Ю, <x>\"".as_bytes()));
}

#[test]
fn numbers() {
    for n in [0, 7, 10, 4_294_967_295] {
        assert_eq!(text(|out| put_number(out, n)), n.to_string());
    }
}
