//! Whole messages: the index, what is remembered as a fault, and what a proxy reads.

use super::*;
use bytes::Bytes;

fn parse_with(text: &[u8], limits: &Limits) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text), limits)
}

fn message(text: &str) -> Message {
    parse_with(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn fault(text: &str) -> ParseErrorKind {
    message(text).ready().map(|_| ()).expect_err(text).kind
}

/// A request with everything it needs, its head ended; `extra` stands above Content-Length.
fn request(extra: &str) -> String {
    format!(
        "OPTIONS sip:b@c SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:b@c>\r\nCall-ID: x@y\r\nCSeq: 1 OPTIONS\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// As [`request`], with one line taken out.
fn without(name: &str) -> String {
    request("").split_inclusive("\r\n").filter(|l| !l.starts_with(name)).collect()
}

#[test]
fn the_parts_of_a_request() {
    let m = message(&request("Max-Forwards: 7\r\nSupported: a, b\r\nk: c\r\n"));
    let ready = m.ready().unwrap();
    assert!(m.is_request());
    assert_eq!((m.method(), m.method_bytes(), m.status()), (Method::Options, &b"OPTIONS"[..], 0));
    assert_eq!((ready.from_tag, ready.to_tag), (Some(&b"1"[..]), None));
    assert_eq!((ready.call_id, ready.cseq.number, ready.max_forwards), (&b"x@y"[..], 1, Some(7)));
    assert_eq!(ready.uri.unwrap().host, b"c");
    assert_eq!(m.values(HeaderId::Supported).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    assert!(m.lists(HeaderId::Supported, "C") && !m.lists(HeaderId::Supported, "d"));
    assert_eq!(m.count(HeaderId::Require), 0);
    assert_eq!(m.headers().map(|h| h.index).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
}

#[test]
fn the_parts_of_a_response() {
    let m = message(
        "SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@b>;tag=1\r\nt: <sip:b@c>;tag=2\r\ni: x\r\nCSeq: 7 INVITE\r\n\r\n",
    );
    let ready = m.ready().unwrap();
    assert!(!m.is_request());
    assert_eq!((m.status(), m.reason(), m.method()), (180, &b"Ringing"[..], Method::Invite));
    assert_eq!((ready.to_tag, ready.cseq), (Some(&b"2"[..]), CSeq { number: 7, method: Method::Invite }));
    assert_eq!(m.request_uri(), b"");
}

/// [C-023] Call-ID and tags are handed out byte for byte as they came.
#[test]
fn identifiers_keep_their_case() {
    let m = message(&request("").replace("x@y", "aB%41@Y").replace("tag=1", "TAG=xY%41"));
    let ready = m.ready().unwrap();
    assert_eq!((ready.call_id, ready.from_tag), (&b"aB%41@Y"[..], Some(&b"xY%41"[..])));
}

/// [C-017] What must be there is missed by its name; without Via nothing can be answered.
#[test]
fn missing_fields() {
    assert_eq!(fault(&without("Via")), ParseErrorKind::ViaMissing);
    assert_eq!(ParseErrorKind::ViaMissing.answer(), Answer::Drop);
    assert_eq!(fault(&without("From")), ParseErrorKind::FromMissing);
    assert_eq!(fault(&without("To")), ParseErrorKind::ToMissing);
    assert_eq!(fault(&without("Call-ID")), ParseErrorKind::CallIdMissing);
    assert_eq!(fault(&without("CSeq")), ParseErrorKind::CSeqMissing);
    let m = message(&without("Max-Forwards"));
    assert_eq!(m.ready().unwrap().max_forwards, None);
}

/// [C-016] [C-021] Fields that cannot be read, or do not fit.
#[test]
fn bad_fields() {
    let bad = |from: &str, to: &str| fault(&request("").replace(from, to));
    assert_eq!(bad("1 OPTIONS", "1 INVITE"), ParseErrorKind::CSeqMethod);
    assert_eq!(bad("1 OPTIONS", "1 options"), ParseErrorKind::CSeqMethod);
    assert_eq!(bad("1 OPTIONS", "4294967296 OPTIONS"), ParseErrorKind::CSeq);
    assert_eq!(bad("x@y", "x y"), ParseErrorKind::CallId);
    assert_eq!(bad("x@y", ""), ParseErrorKind::CallId);
    assert_eq!(bad("<sip:a@b>;tag=1", "<sip:a@b>;tag="), ParseErrorKind::From);
    assert_eq!(bad("<sip:b@c>", "\"open <sip:b@c>"), ParseErrorKind::To);
    assert_eq!(bad("UDP a", "UDP"), ParseErrorKind::Via);
    assert_eq!(bad("bK1", "bK"), ParseErrorKind::Branch);
    assert_eq!(bad("sip:b@c SIP", "sip:b@c:99999 SIP"), ParseErrorKind::RequestUri);
    for hops in ["256", "-1", "", "7x", "4294967366"] {
        assert_eq!(fault(&request(&format!("Max-Forwards: {hops}\r\n"))), ParseErrorKind::MaxForwards);
    }
    assert_eq!(fault(&request("Refer-To: sip:a@b?x=y\r\n")), ParseErrorKind::ReferTo);
    assert_eq!(fault(&request("Refer-To: <nonsense>\r\n")), ParseErrorKind::ReferTo);
    assert_eq!(fault(&request("To: <sip:b@d>\r\n")), ParseErrorKind::Duplicate);
    assert_eq!(fault(&request("no colon\r\n")), ParseErrorKind::HeaderLine);
    assert_eq!(fault(&request(": no name\r\n")), ParseErrorKind::HeaderLine);
    assert_eq!(fault(&request("two words: x\r\n")), ParseErrorKind::HeaderLine);
}

/// [C-022] A fault in a field nobody needs here is nobody's fault here.
#[test]
fn other_fields_are_not_looked_at() {
    let m = message(&request(
        "Date: nonsense\r\nWarning: x\r\nRetry-After: x\r\nContact: <\r\nExpires: x\r\nRoute: <sip:\r\nEvent: ;\r\n",
    ));
    assert!(m.ready().is_ok());
    assert_eq!(m.expires().unwrap_err().kind, ParseErrorKind::Field);
    assert_eq!(m.event().unwrap_err().kind, ParseErrorKind::Event);
    assert_eq!(m.top_route().unwrap_err().kind, ParseErrorKind::Route);
    let error = m.contacts().next().unwrap().unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::Contact);
    assert!(m.bytes().get(error.at as usize..).unwrap().starts_with(b"<\r\nExpires"));
}

/// [C-005] [C-006] [C-007] [C-008] Any case, compact forms, folding anywhere, white space at will.
#[test]
fn liberal_writing() {
    let m = message(
        "INVITE sip:b@c sip/2.0\r\nvIA  :\r\n SIP / 2.0\r\n\t/UDP a\r\n ; branch = z9hG4bK1\r\nFROM\t: <sip:a@b> ; TAG = 1\r\n\
         t:<sip:b@c>\r\nI:\r\n x\r\ncseq:  0001\r\n INVITE\r\nSubject:\r\nX-Long-Name-That-Is-Longer-Than-Any-Known: y \t\r\n\r\n",
    );
    let ready = m.ready().unwrap();
    assert_eq!((ready.via.transport, ready.via.branch), (&b"UDP"[..], Some(&b"z9hG4bK1"[..])));
    assert_eq!((ready.from_tag, ready.call_id, ready.cseq.number), (Some(&b"1"[..]), &b"x"[..], 1));
    assert_eq!(m.header(HeaderId::Subject), Some(&b""[..]));
    assert_eq!(m.other_header("x-long-name-that-is-longer-than-any-known"), Some(&b"y"[..]));
    assert!(m.headers().find(|h| h.id == HeaderId::Via).unwrap().folded);
}

/// [C-013] [C-014] The body ends where Content-Length says, or the message is faulty.
#[test]
fn content_length() {
    let with =
        |length: &str| request("").replace("Content-Length: 0\r\n\r\n", &format!("{length}\r\n\r\nabcdef"));
    let m = message(&with("Content-Length: 3"));
    assert_eq!((m.body(), m.ready().is_ok()), (&b"abc"[..], true));
    assert!(m.bytes().ends_with(b"\r\n\r\nabc"));
    let m = message(&with("X: y"));
    assert_eq!((m.body(), m.ready().is_ok()), (&b"abcdef"[..], true));
    assert!(message(&with("l: 6\r\nContent-Length: 6")).ready().is_ok());
    assert_eq!(fault(&with("l: 7")), ParseErrorKind::BodyShort);
    assert_eq!(fault(&with("l: -1")), ParseErrorKind::ContentLength);
    assert_eq!(fault(&with("l: five")), ParseErrorKind::ContentLength);
    assert_eq!(fault(&with("l:")), ParseErrorKind::ContentLength);
    assert_eq!(fault(&with("l: 99999999999")), ParseErrorKind::ContentLength);
    assert_eq!(fault(&with("l: 5\r\nl: 6")), ParseErrorKind::ContentLengthConflict);
}

/// [C-026] [C-027] Limits hold, with the answer that fits.
#[test]
fn limits() {
    let limits = Limits {
        message: 2_000,
        headers: 20,
        header_line: 200,
        uri: 50,
        vias: 3,
        routes: 3,
        ..Limits::default()
    };
    let kind =
        |text: &str| parse_with(text.as_bytes(), &limits).unwrap().ready().map(|_| ()).map_err(|e| e.kind);
    let code = |kind: ParseErrorKind| match kind.answer() {
        Answer::Status(code, _) => code,
        Answer::Drop => 0,
    };
    assert_eq!(kind(&request("")), Ok(()));
    let large = request("").replace("Content-Length: 0\r\n\r\n", &format!("\r\n{}", "x".repeat(2_000)));
    assert_eq!(kind(&large), Err(ParseErrorKind::TooLarge));
    assert_eq!(code(ParseErrorKind::TooLarge), 513);
    assert_eq!(
        kind(&request("").replace("sip:b@c SIP", &format!("sip:{}@c SIP", "u".repeat(50)))),
        Err(ParseErrorKind::UriTooLong)
    );
    assert_eq!(code(ParseErrorKind::UriTooLong), 414);
    assert_eq!(kind(&request(&"X: y\r\n".repeat(15))), Err(ParseErrorKind::TooManyHeaders));
    assert_eq!(kind(&request(&"X: y\r\n".repeat(14))), Ok(()));
    assert_eq!(kind(&request(&format!("X: {}\r\n", "y".repeat(200)))), Err(ParseErrorKind::HeaderTooLong));
    assert_eq!(kind(&request("v: SIP/2.0/UDP b, SIP/2.0/UDP c\r\n")), Ok(()));
    assert_eq!(
        kind(&request("v: SIP/2.0/UDP b, SIP/2.0/UDP c,SIP/2.0/UDP d\r\n")),
        Err(ParseErrorKind::TooManyVias)
    );
    assert_eq!(kind(&request("Route: <sip:a>,<sip:b>\r\nRoute: <sip:c>\r\n")), Ok(()));
    assert_eq!(
        kind(&request("Route: <sip:a>,<sip:b>\r\nRoute: <sip:c>,<sip:d>\r\n")),
        Err(ParseErrorKind::TooManyRoutes)
    );
    let whole = request(&format!("X: {}\r\n", "y".repeat(10_000)).repeat(6));
    assert!(whole.len() > 60_000 && message(&whole).ready().is_ok());
}

/// [C-012] CR without LF ends no line and is no part of one; LF alone ends a line.
#[test]
fn line_ends() {
    assert_eq!(fault(&request("X: a\rRoute: <sip:evil>\r\n")), ParseErrorKind::LineEnd);
    let bare = request("Max-Forwards: 9\r\n").replace("\r\n", "\n");
    assert_eq!(message(&bare).ready().unwrap().max_forwards, Some(9));
    let cut = request("").replace("\r\n\r\n", "\r\n");
    assert_eq!(fault(&cut), ParseErrorKind::Unterminated);
    let cut = request("").replace("Content-Length: 0\r\n\r\n", "X");
    assert_eq!(fault(&cut), ParseErrorKind::HeaderLine);
    // What looks like a line end in the body is none of the head's business.
    assert!(message(&request("").replace("0\r\n\r\n", "3\r\n\r\na\rb")).ready().is_ok());
}

/// [C-011] [C-031] Line ends in front are nothing; what is no message at all says so.
#[test]
fn no_message() {
    let kind = |text: &[u8]| parse_with(text, &Limits::default()).map(|_| ()).unwrap_err().kind;
    assert_eq!(kind(b""), ParseErrorKind::Empty);
    assert_eq!(kind(b"\r\n\r\n"), ParseErrorKind::Empty);
    assert_eq!(kind(b"\0\0\0\0"), ParseErrorKind::StartLine);
    assert_eq!(kind(b"hello\r\n\r\n"), ParseErrorKind::StartLine);
    assert!(message(&format!("\r\n\n{}", request(""))).ready().is_ok());
}

/// A fault in a response, or in an ACK, is never answered.
#[test]
fn answers() {
    let error = ParseErrorKind::CSeq.at(0);
    assert_eq!(message("SIP/2.0 200 OK\r\n\r\n").answer(error), Answer::Drop);
    assert_eq!(message("ACK sip:a SIP/2.0\r\n\r\n").answer(error), Answer::Drop);
    assert_eq!(message("BYE sip:a SIP/2.0\r\n\r\n").answer(error), Answer::Status(400, "Bad CSeq"));
    assert_eq!(
        message("BYE sip:a SIP/9.0\r\nVia: x\r\n\r\n").ready().unwrap_err().kind,
        ParseErrorKind::Version
    );
}

/// [C-009] List fields are lists over all lines; authentication fields are not.
#[test]
fn lists() {
    let m = message(&request(
        "Contact: \"a, b\" <sip:x,y@z>;q=1, <sip:c>\r\nm: *\r\nAuthorization: Digest a=\"b\", c=d\r\nAuthorization: Basic x\r\n",
    ));
    assert_eq!(m.count(HeaderId::Contact), 3);
    assert_eq!(
        m.contacts().filter_map(Result::ok).map(|c| c.uri).collect::<Vec<_>>(),
        [&b"sip:x,y@z"[..], b"sip:c"]
    );
    assert!(m.contact_is_star());
    assert_eq!(
        m.values(HeaderId::Authorization).collect::<Vec<_>>(),
        [&b"Digest a=\"b\", c=d"[..], b"Basic x"]
    );
}

/// [C-030] What costs a great deal per byte would show here: 64 KiB of the worst there is.
#[test]
fn hostile_sizes() {
    let head = request("").replace("Content-Length: 0\r\n\r\n", "");
    for filler in [
        "a\r\n",
        ":\r\n",
        "\"",
        "<",
        ",",
        ";",
        "Route: <sip:a>,\r\n ",
        "v:,,,,\r\n",
        "\r",
        " \r\n ",
        "X\r\n :",
    ] {
        for front in ["", "Via: ", "Contact: ", "Route: ", "Supported: "] {
            let text = format!("{head}{front}{}", filler.repeat(60_000 / filler.len()));
            let m = message(&text);
            let _ = m.ready();
            for id in [HeaderId::Via, HeaderId::Contact, HeaderId::Route, HeaderId::Supported] {
                let _ = m.values(id).count();
            }
            let _ = (m.contacts().count(), m.vias().count(), m.routes().count());
        }
    }
}

/// The typed fields of REFER and NOTIFY.
#[test]
fn refer_fields() {
    let m = message(&request(
        "r: \"C\" <sip:carol@c?Replaces=12%40h%3Bto-tag%3D1>;method=INVITE\r\nb: <sip:a@b>\r\no: refer;id=2\r\n\
         Subscription-State: terminated;reason=noresource\r\nc: message/sipfrag;version=2.0\r\nExpires: 60\r\n\
         Replaces: 12@h;to-tag=1;from-tag=2\r\nTarget-Dialog: x;local-tag=1;remote-tag=2\r\nRetry-After: 18 (busy);duration=5\r\n",
    ));
    let refer_to = m.refer_to().unwrap().unwrap();
    assert_eq!(refer_to.params.value(b"method"), Some(&b"INVITE"[..]));
    let uri = refer_to.uri().unwrap();
    let (name, value) = uri.header_fields().next().unwrap();
    assert_eq!((name, &*uri::decode(value)), (&b"Replaces"[..], &b"12@h;to-tag=1"[..]));
    assert_eq!(m.referred_by().unwrap().unwrap().uri, b"sip:a@b");
    assert_eq!(m.event().unwrap().unwrap().id, Some(&b"2"[..]));
    assert!(m.subscription_state().unwrap().unwrap().is_terminated());
    assert!(m.content_type().unwrap().unwrap().is("message", "sipfrag"));
    assert_eq!(m.expires().unwrap(), Some(60));
    assert_eq!(m.replaces().unwrap().unwrap().call_id, b"12@h");
    assert_eq!(m.target_dialog().unwrap().unwrap().to_tag, b"1");
    assert_eq!(m.retry_after().unwrap(), Some(18));
    assert_eq!(m.max_breadth().unwrap(), None);
}
