//! URIs as the standards' examples have them.

use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn parts() {
    let u = uri("sip:alice:secret@Atlanta.example.com:5061;transport=tcp;lr?subject=a%20b&to=x");
    assert_eq!((u.scheme, u.user, u.password), (Scheme::Sip, Some(&b"alice"[..]), Some(&b"secret"[..])));
    assert_eq!((u.host, u.port), (&b"Atlanta.example.com"[..], Some(5061)));
    assert_eq!(u.transport(), Some(&b"tcp"[..]));
    assert!(u.is_loose());
    let fields: Vec<_> = u.header_fields().collect();
    assert_eq!(fields, [(&b"subject"[..], &b"a%20b"[..]), (b"to", b"x")]);
}

#[test]
fn user_parts_with_everything_allowed() {
    let u = uri(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(u.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
    assert_eq!(u.host, b"example.com");
    let u = uri("sip:user;par=u%40example.net@example.com");
    assert_eq!((u.user, u.host), (Some(&b"user;par=u%40example.net"[..]), &b"example.com"[..]));
    assert_eq!(uri("sip:example.com").user, None);
    assert_eq!(uri("SIPS:%6Aoe@example.com").scheme, Scheme::Sips);
}

/// [C-041] IPv6 hosts stand in brackets.
#[test]
fn ipv6() {
    let u = uri("sip:[2001:db8::10:5070]");
    assert_eq!((u.host, u.port, u.host_is_v6()), (&b"2001:db8::10:5070"[..], None, true));
    assert_eq!(uri("sip:a@[2001:db8::10]:5070").port, Some(5070));
    // RFC 5118 §4.10, and no further.
    let bug = uri("sip:a@[2001:db8:::192.0.2.1]");
    assert_eq!(bug.host_ip(), Some("2001:db8::192.0.2.1".parse().unwrap()));
    assert!(bug.same_as(&uri("sip:a@[2001:db8::192.0.2.1]")));
    for bad in ["sip:[2001:db8:::1]", "sip:[2001:db8::::192.0.2.1]", "sip:[2001::db8:::192.0.2.1]"] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for bad in [
        "sip:2001:db8::10",
        "sip:a@2001:db8::10",
        "sip:[2001:db8::10",
        "sip:[1.2.3.4]",
        "sip:[]",
        "sip:[::1]x",
    ] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn faults() {
    for bad in [
        "",
        "sip:",
        "sip",
        ":a",
        "sip:@host",
        "sip:a@",
        "sip:a b@host",
        "sip:a@host:",
        "sip:a@host:65536",
        "sip:a%4@host",
        "sip:a%zz@host",
        "sip:a@host?x=<",
        "sip:a@ho st",
        "<sip:a@b>",
        "1x:y",
        "sip:a@b@c",
        "tel:",
        "tel:+",
        "tel:abc-xyz",
        "tel:+1;x=\"y\"",
        "mailto:",
        "sip:a@host x",
    ] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme, Scheme::Other);
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other);
}

/// [C-032] [C-033] The examples of RFC 3261 §19.1.4.
#[test]
fn equality() {
    let same = |a: &str, b: &str| {
        let forth = uri(a).same_as(&uri(b));
        assert_eq!(forth, uri(b).same_as(&uri(a)), "not symmetric: {a} {b}");
        forth
    };
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:[2001:db8::1]", "sip:[2001:DB8:0::1]"),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a%3Bb@c", "sip:a;b@c"),
        ("sip:a@c", "sips:a@c"),
        ("sip:a@c", "sip:a:@c"),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
}

/// [C-038] Numbers with separators, contexts and extensions.
#[test]
fn tel() {
    let u = uri("tel:+1-201-555-0123;ext=12-3;isub=7");
    assert_eq!((u.scheme, u.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
    assert_eq!(u.params.value(b"ext"), Some(&b"12-3"[..]));
    assert!(u.same_as(&uri("TEL:+1(201)5550123;isub=7;ext=123")));
    assert!(!u.same_as(&uri("tel:+12015550123")));
    assert!(!uri("tel:7042;phone-context=example.com").same_as(&uri("tel:7042;phone-context=example.org")));
    assert!(uri("tel:7042;phone-context=+1-201").same_as(&uri("tel:70-42;phone-context=+1201")));
    assert!(!uri("tel:+7042").same_as(&uri("tel:7042")));
}

/// [C-039] The subscriber part is kept whole, in the order of RFC 3261 §19.1.6.
#[test]
fn tel_becomes_sip() {
    let mut out = Vec::new();
    tel_to_sip(&mut out, &uri("tel:+358-555-1234567;postd=pp22;isub=1411"), b"foo.com");
    assert_eq!(out, b"sip:+3585551234567;isub=1411;postd=pp22@foo.com;user=phone");
    assert!(Uri::parse(&out).is_ok());
}
