//! A REFER that came in on a call of Baton's own, read once and as a whole (role S).

use super::decide::Refusal;
use super::policy::{MissingReferredBy, Policy};
use super::rule::ReferRule;
use super::target::Target;
use crate::sip::message::{HeaderId, Message, NameAddr};

/// Option tags that a REFER may require.
const KNOWN: &[&str] = &["norefersub", "nosub", "replaces", "tdialog"];

/// Which subscription the referrer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The usual, implicit one.
    Implicit,
    /// None: `Refer-Sub: false` (RFC 4488).
    ReferSub,
    /// None: `Require: nosub` (RFC 7614).
    NoSub,
}

/// What a REFER says, for the call it asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// Which subscription goes with it.
    pub wish: Wish,
    /// Whether it names `nosub` or `explicitsub` at all: then 200 is the code that accepts.
    pub modern: bool,
    /// Its CSeq, the `id` of the subscription.
    pub cseq: u32,
    /// Hops that are left to it.
    pub hops: u8,
    /// Its Max-Breadth.
    pub breadth: Option<u32>,
    /// Header fields that the INVITE takes over: those of Refer-To's header part, Referred-By byte
    /// for byte, User-to-User, Resource-Priority, and what the trunk lists.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
}

impl Request {
    /// Reads a REFER. What is answered when it cannot be acted on comes as the error.
    pub fn read(refer: &Message, policy: &Policy) -> Result<Request, Refusal> {
        // RFC 3515 §2.4.2, RFC 3892 §2.2: exactly one Refer-To, at most one Referred-By.
        if refer.count(HeaderId::ReferTo) != 1 || refer.count(HeaderId::ReferredBy) > 1 {
            return Err(Refusal::by(ReferRule::Request, 400));
        }
        let unsupported: Vec<Box<str>> = refer
            .values(HeaderId::Require)
            .filter(|tag| !KNOWN.iter().any(|k| tag.eq_ignore_ascii_case(k.as_bytes())))
            .map(|tag| String::from_utf8_lossy(tag).into())
            .collect();
        if !unsupported.is_empty() {
            return Err(Refusal { unsupported, ..Refusal::by(ReferRule::Request, 420) });
        }
        let refer_to = refer.refer_to().ok().flatten().ok_or(Refusal::by(ReferRule::Request, 400))?;
        let target =
            Target::read(&refer_to, policy).map_err(|fault| Refusal::by(ReferRule::Request, fault.code()))?;
        let referred_by = refer.header(HeaderId::ReferredBy);
        if referred_by.is_some_and(|value| NameAddr::parse(value).is_err()) {
            return Err(Refusal::by(ReferRule::Request, 400));
        }
        if referred_by.is_none() && policy.referred_by == MissingReferredBy::Refuse {
            return Err(Refusal::by(ReferRule::ReferredBy, 429));
        }
        let hops = refer.header(HeaderId::MaxForwards).map_or(70, hops_of);
        let lists =
            |name: &str| refer.lists(HeaderId::Require, name) || refer.lists(HeaderId::Supported, name);
        let modern = lists("nosub") || lists("explicitsub");
        let wish = if refer.lists(HeaderId::Require, "nosub") {
            Wish::NoSub
        } else if refer.header(HeaderId::ReferSub).is_some_and(is_false) {
            Wish::ReferSub
        } else {
            Wish::Implicit
        };
        let cseq = refer.cseq().map_err(|_| Refusal::by(ReferRule::Request, 400))?.number;
        let headers = carried(refer, &target, policy);
        let breadth = refer.max_breadth().ok().flatten();
        Ok(Request { target, wish, modern, cseq, hops, breadth, headers })
    }

    /// Adds who refers, when the REFER does not say so and the trunk wants it said.
    pub fn add_referrer(&mut self, identity: &[u8], policy: &Policy) {
        let named = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Referred-By"));
        if !named && policy.referred_by == MissingReferredBy::Add {
            let value = [b"<", identity, b">"].concat();
            self.headers.push(("Referred-By".into(), value.into()));
        }
    }
}

/// Max-Forwards, never above 70 (RFC 7332 §5).
fn hops_of(value: &[u8]) -> u8 {
    std::str::from_utf8(value).ok().and_then(|v| v.parse::<u8>().ok()).unwrap_or(70).min(70)
}

/// `false` of Refer-Sub, parameters aside (RFC 4488 §4).
pub fn is_false(value: &[u8]) -> bool {
    let value = value.split(|b| *b == b';').next().unwrap_or_default();
    value.trim_ascii().eq_ignore_ascii_case(b"false")
}

/// What the INVITE takes over. Of Refer-To and REFER the REFER's own field counts; Referred-By is of
/// this REFER only.
fn carried(refer: &Message, target: &Target, policy: &Policy) -> Vec<(Box<str>, Box<[u8]>)> {
    let mut headers: Vec<(Box<str>, Box<[u8]>)> = Vec::new();
    for line in refer.headers() {
        let name = String::from_utf8_lossy(line.name);
        let listed = policy.allow_headers.iter().any(|n| n.eq_ignore_ascii_case(&name));
        let taken = match line.id {
            HeaderId::ReferredBy => Some("Referred-By"),
            HeaderId::UserToUser => Some("User-to-User"),
            HeaderId::ResourcePriority => Some("Resource-Priority"),
            id if listed && !super::target::is_reserved(id, &name) => Some(&*name),
            _ => None,
        };
        if let Some(name) = taken {
            headers.push((name.into(), unfolded(line.value)));
        }
    }
    for (name, value) in &target.headers {
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
            headers.push((name.clone(), value.clone()));
        }
    }
    headers
}

fn unfolded(value: &[u8]) -> Box<[u8]> {
    value.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sip::message::Limits;
    use bytes::Bytes;

    /// A REFER with these further lines.
    pub fn refer(fields: &str) -> Message {
        let text = format!(
            "REFER sip:baton@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.101;branch=z9hG4bK1\r\n\
             From: Alice <sip:alice@x>;tag=a\r\nTo: <sip:bob@x>;tag=b\r\nCall-ID: 1@x\r\nCSeq: 93809824 REFER\r\n\
             {fields}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).expect("a message")
    }

    fn read(fields: &str) -> Result<Request, u16> {
        Request::read(&refer(fields), &Policy::default()).map_err(|refusal| refusal.code)
    }

    const TO: &str = "Refer-To: <sip:carol@chicago.example.com>\r\n";

    /// Each fault has its code.
    #[test]
    fn faults() {
        let mut cases = vec![
            (String::new(), 400),
            (format!("{TO}{TO}"), 400),
            ("Refer-To: <sip:a@b>, <sip:c@d>\r\n".into(), 400),
            (format!("{TO}Referred-By: <sip:a@b>\r\nb: <sip:a@b>\r\n"), 400),
            (format!("{TO}Referred-By: <\r\n"), 400),
            ("Refer-To: <mailto:a@b>\r\n".into(), 416),
            ("Refer-To: <sip:a@b;method=BYE>\r\n".into(), 403),
            (format!("{TO}Require: replaces, foo\r\nRequire: explicitsub\r\n"), 420),
        ];
        for (fields, code) in cases.drain(..) {
            assert_eq!(read(&fields).map(|_| ()), Err(code), "{fields}");
        }
        let strict = Policy { referred_by: MissingReferredBy::Refuse, ..Policy::default() };
        let refusal = Request::read(&refer(TO), &strict).map(|_| ()).expect_err("no token");
        assert_eq!(refusal.code, 429);
    }

    /// What is not supported is named.
    #[test]
    fn unsupported() {
        let fields = format!("{TO}Require: explicitsub, norefersub, x\r\n");
        let refusal = Request::read(&refer(&fields), &Policy::default()).map(|_| ()).expect_err("420");
        assert_eq!(refusal.unsupported, ["explicitsub".into(), "x".into()]);
    }

    /// The subscription that was asked for.
    #[test]
    fn wishes() {
        let wish = |fields: &str| read(&format!("{TO}{fields}")).map(|r| (r.wish, r.modern));
        assert_eq!(wish(""), Ok((Wish::Implicit, false)));
        assert_eq!(wish("Refer-Sub: false\r\nSupported: norefersub\r\n"), Ok((Wish::ReferSub, false)));
        assert_eq!(wish("Refer-Sub: FALSE ;x=y\r\n"), Ok((Wish::ReferSub, false)));
        assert_eq!(wish("Refer-Sub: true\r\n"), Ok((Wish::Implicit, false)));
        assert_eq!(wish("Require: nosub\r\n"), Ok((Wish::NoSub, true)));
        assert_eq!(wish("Supported: explicitsub, nosub\r\n"), Ok((Wish::Implicit, true)));
    }

    /// What the INVITE takes over: Referred-By byte for byte, once; long values whole.
    #[test]
    fn carried_over() {
        let long = "x".repeat(2_000);
        let by = format!("\"Boss\" <sip:boss@x;p={long}>;cid=\"2UWQFN309shb3@x\";q=%7e");
        let request = read(&format!(
            "Refer-To: <sip:c@x?User-to-User=aa&Referred-By=%3Csip%3Aold%40x%3E>\r\nReferred-By: {by}\r\n\
             Resource-Priority: dsn.flash\r\nX-Secret: 1\r\nPrivacy: id\r\nSubject: a\r\n"
        ))
        .expect("a request");
        let headers: Vec<_> =
            request.headers.iter().map(|(n, v)| (&**n, String::from_utf8_lossy(v).into_owned())).collect();
        assert_eq!(
            headers,
            [("Referred-By", by), ("Resource-Priority", "dsn.flash".into()), ("User-to-User", "aa".into()),]
        );
        let listed = Policy { allow_headers: vec!["X-Case".into(), "Route".into()], ..Policy::default() };
        let request = Request::read(&refer(&format!("{TO}x-case: 7\r\nRoute: <sip:e>\r\n")), &listed);
        let headers = request.expect("a request").headers;
        assert_eq!(headers, [("x-case".into(), b"7".as_slice().into())]);
    }

    /// Section 4: who refers is said when the REFER does not, by knob.
    #[test]
    fn a_missing_referred_by() {
        let mut request = read(TO).expect("a request");
        request.add_referrer(b"sip:alice@x", &Policy::default());
        request.add_referrer(b"sip:other@x", &Policy::default());
        assert_eq!(request.headers, [("Referred-By".into(), b"<sip:alice@x>".as_slice().into())]);
        let mut silent = read(TO).expect("a request");
        let policy = Policy { referred_by: MissingReferredBy::LeaveOut, ..Policy::default() };
        silent.add_referrer(b"sip:alice@x", &policy);
        assert!(silent.headers.is_empty());
    }

    /// Hops and breadth, never above 70.
    #[test]
    fn hops() {
        assert_eq!(read(&format!("{TO}Max-Forwards: 0\r\n")).map(|r| r.hops), Ok(0));
        assert_eq!(read(&format!("{TO}Max-Forwards: 255\r\n")).map(|r| r.hops), Ok(70));
        assert_eq!(read(TO).map(|r| r.hops), Ok(70));
        assert_eq!(read(&format!("{TO}Max-Breadth: 5\r\n")).map(|r| r.breadth), Ok(Some(5)));
    }
}
