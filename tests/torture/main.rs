//! The torture messages of RFC 4475 and RFC 5118, each with what must come of it in a file beside it.
//!
//! `NAME.dat` holds the bytes of a datagram, `NAME.expect` lines of a key and a value:
//!
//! ```text
//! kind request METHOD | response STATUS    what it is (OTHER for a method without a name here)
//! ready ok | LABEL                         what reading it gives: fine, or the fault's label
//! live forward                             a server treats it as any other of its kind
//! live answer CODE …                       a server answers one of these
//! live drop                                a server says nothing
//! KEY VALUE                                a field as it must be read; no value: it is not there
//! ```
//!
//! Here the parser is held against them; the `live` line is for those who send them to a server.

mod expect;

use baton::sip::message::{Answer, Edits, HeaderId, Limits, Message, Scheme, Uri, write};
use bytes::Bytes;
use expect::{Case, cases};

fn parse(case: &Case) -> Message {
    Message::parse(Bytes::copy_from_slice(&case.bytes), &Limits::default())
        .unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// [C-001] [C-002] [C-003] RFC 4475: every message is read, or found faulty, as the RFC says.
#[test]
fn rfc4475() {
    let cases = cases("rfc4475");
    assert_eq!(cases.len(), 49);
    cases.iter().for_each(check);
}

/// [C-004] [C-041] RFC 5118: the same for IPv6.
#[test]
fn rfc5118() {
    let cases = cases("rfc5118");
    assert_eq!(cases.len(), 12);
    cases.iter().for_each(check);
}

fn check(case: &Case) {
    let message = parse(case);
    for (key, value) in &case.fields {
        assert_eq!(read(case, &message, key, value), *value, "{}: {key}", case.name);
    }
}

/// What the message says for a key, in the form in which the expectation is written.
fn read(case: &Case, message: &Message, key: &str, value: &str) -> String {
    let ready = message.ready();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let maybe = |bytes: Option<&[u8]>| bytes.map(text).unwrap_or_default();
    let good = || ready.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let uri = || good().uri.expect("a request has a URI");
    let word = value.split(' ').next().unwrap_or_default();
    match key {
        "kind" if message.is_request() => format!("request {}", message.method().as_str()),
        "kind" => format!("response {}", message.status()),
        "ready" => ready.map_or_else(|e| e.kind.label().to_owned(), |_| "ok".to_owned()),
        "live" => live(message, value),
        "method" => text(message.method_bytes()),
        "uri" => text(message.request_uri()),
        "scheme" => match uri().scheme {
            Scheme::Sip => "sip".to_owned(),
            Scheme::Sips => "sips".to_owned(),
            Scheme::Tel => "tel".to_owned(),
            Scheme::Other => "other".to_owned(),
        },
        "user" => maybe(uri().user),
        "host" => text(uri().host),
        "host-ip" => {
            assert_eq!(uri().host_ip(), value.parse().ok(), "{}", case.name);
            value.to_owned()
        }
        "port" => uri().port.map(|p| p.to_string()).unwrap_or_default(),
        "via-host" => text(good().via.host),
        "via-port" => good().via.port.map(|p| p.to_string()).unwrap_or_default(),
        "branch" => maybe(good().via.branch),
        "branches" => {
            let all: Vec<_> = message.vias().map(|v| maybe(v.expect("a good Via").branch)).collect();
            all.join(" ")
        }
        "received" => good().via.received_ip().map(|ip| ip.to_string()).unwrap_or_default(),
        "from-tag" => maybe(good().from_tag),
        "to-tag" => maybe(good().to_tag),
        "from-uri" => text(message.from().expect("a good From").uri),
        "to-uri" => text(message.to().expect("a good To").uri),
        "from-display" => text(message.from().expect("a good From").display),
        "call-id" => text(good().call_id),
        "cseq" => format!("{} {}", good().cseq.number, text(message.method_bytes())),
        "max-forwards" => good().max_forwards.map(|n| n.to_string()).unwrap_or_default(),
        "route" => maybe(message.top_route().expect("a good Route").map(|r| r.uri)),
        "contact" => text(message.contacts().next().expect("a Contact").expect("a good one").uri),
        "contact-params" => {
            text(message.contacts().next().expect("a Contact").expect("a good one").params.as_bytes())
        }
        "contact-error" => {
            message.contacts().find_map(Result::err).expect("a bad Contact").kind.label().to_owned()
        }
        "count" => format!("{word} {}", message.count(HeaderId::from_bytes(word.as_bytes()))),
        "header" => {
            let name = word.trim_end_matches(':').as_bytes();
            let line = message.headers().find(|h| {
                h.name.eq_ignore_ascii_case(name)
                    || h.id != HeaderId::Other && h.id == HeaderId::from_bytes(name)
            });
            format!("{word} {}", text(line.expect("the header line").value)).trim_end().to_owned()
        }
        "body" => message.body().len().to_string(),
        "trimmed" => {
            assert!(message.bytes().len() < case.bytes.len(), "{}", case.name);
            String::new()
        }
        "same" | "differ" => {
            let (a, b) = value.split_once(' ').expect("two URIs");
            let parse = |uri: &'_ str| {
                Uri::parse(uri.as_bytes()).map(|u| u.same_as(&Uri::parse(b.as_bytes()).expect("a URI")))
            };
            assert_eq!(parse(a).expect("a URI"), key == "same", "{}", case.name);
            value.to_owned()
        }
        other => panic!("{}: no such key: {other}", case.name),
    }
}

/// The `live` line as far as the message alone decides it: what is faulty is answered, or dropped,
/// as the table of faults says; what is fine is for the proxy to decide.
fn live(message: &Message, expected: &str) -> String {
    match message.ready().map_err(|e| message.answer(e)) {
        Err(Answer::Drop) => "drop".to_owned(),
        Err(Answer::Status(code, _)) => {
            let code = code.to_string();
            assert!(expected.split(' ').any(|c| c == code), "{expected}: {code}");
            expected.to_owned()
        }
        Ok(_) => expected.to_owned(),
    }
}

/// [C-001] [C-010] What is fine is forwarded with its meaning: every line but those a proxy adds or
/// changes is there again, byte for byte, in the same order.
#[test]
fn forwarded_as_received() {
    for case in cases("rfc4475").iter().chain(&cases("rfc5118")) {
        let message = parse(case);
        let Ok(before) = message.ready() else { continue };
        let mut edits = Edits::new();
        edits.push_via(&message, b"SIP/2.0/UDP proxy.example.com;branch=z9hG4bKproxy");
        if message.is_request() {
            edits.set_max_forwards(&message, before.max_forwards.unwrap_or(70).saturating_sub(1));
            edits.push_record_route(&message, b"<sip:proxy.example.com;lr>");
        }
        let mut out = Vec::new();
        edits.write(&message, &mut out);
        let forwarded = Message::parse(Bytes::from(out), &Limits::default()).expect("a message");
        let ready = forwarded.ready().unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!((ready.from_tag, ready.to_tag), (before.from_tag, before.to_tag));
        assert_eq!((ready.call_id, ready.cseq), (before.call_id, before.cseq));
        assert_eq!(forwarded.body(), message.body(), "{}", case.name);
        assert_eq!(forwarded.count(HeaderId::Via), message.count(HeaderId::Via) + 1);
        let untouched = |m: &Message| -> Vec<(Vec<u8>, Vec<u8>)> {
            m.headers()
                .filter(|h| !matches!(h.id, HeaderId::Via | HeaderId::MaxForwards | HeaderId::RecordRoute))
                .map(|h| (h.name.to_vec(), h.value.to_vec()))
                .collect()
        };
        assert_eq!(untouched(&forwarded), untouched(&message), "{}", case.name);
    }
}

/// [C-017] What is faulty is answered with what the answer must repeat, as far as it is there.
#[test]
fn faulty_requests_can_be_answered() {
    for case in cases("rfc4475").iter().chain(&cases("rfc5118")) {
        let message = parse(case);
        let Err(error) = message.ready() else { continue };
        let Answer::Status(code, reason) = message.answer(error) else { continue };
        let mut out = Vec::new();
        write::response(
            &mut out,
            &message,
            Some(([192, 0, 2, 77], 5060).into()),
            code,
            reason,
            Some(b"t"),
            &[],
        );
        let answer = Message::parse(Bytes::from(out), &Limits::default()).expect("a message");
        assert_eq!((answer.status(), answer.reason()), (code, reason.as_bytes()), "{}", case.name);
        for id in [HeaderId::Via, HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq] {
            assert_eq!(answer.has(id), message.has(id), "{}: {}", case.name, id.as_str());
        }
    }
}
