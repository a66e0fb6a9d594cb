use super::*;
use crate::sip::refer::policy::TargetRule;

fn read_with(value: &str, policy: &Policy) -> Result<Target, Fault> {
    let address = NameAddr::parse(value.as_bytes()).map_err(|_| Fault::Malformed)?;
    Target::read(&address, policy)
}

fn read(value: &str) -> Result<Target, Fault> {
    read_with(value, &Policy::default())
}

fn uri(value: &str) -> String {
    let target = read(value).unwrap_or_else(|fault| panic!("{value}: {fault:?}"));
    String::from_utf8_lossy(&target.uri).into_owned()
}

/// With brackets and without, with display name and header parameters.
#[test]
fn forms() {
    for (value, expected) in [
        ("<sip:carol@chicago.example.com>", "sip:carol@chicago.example.com"),
        ("sip:carol@chicago.example.com", "sip:carol@chicago.example.com"),
        ("sip:carol@chicago.example.com;x=y", "sip:carol@chicago.example.com"),
        ("\"Carol, C.\" <sip:carol@x;transport=tcp>;x=y", "sip:carol@x;transport=tcp"),
        ("Carol <sips:carol@x:5061?Subject=hi>", "sips:carol@x:5061"),
        ("<tel:+1-201-555-0123>", "tel:+12015550123"),
        ("<sip:x.example.com>", "sip:x.example.com"),
        ("<sip:c@[2001:DB8:0::1]:5070>", "sip:c@[2001:db8::1]:5070"),
    ] {
        assert_eq!(uri(value), expected, "{value}");
    }
    for bad in [
        "<sip:a@b>, <sip:c@d>",
        "sip:a@b?Replaces=x",
        "<>",
        "carol",
        "<sip:a b@c>",
        "<sip:c%00@x>",
        "<sip:c%0d%0aVia@x>",
    ] {
        assert_eq!(read(bad), Err(Fault::Malformed), "{bad}");
    }
}

/// sip, sips and tel; others 416.
#[test]
fn schemes() {
    for bad in ["<mailto:carol@x>", "<http://x/y>", "<xmpp:c@x>", "<urn:service:sos>"] {
        assert_eq!(read(bad), Err(Fault::Scheme), "{bad}");
    }
    assert_eq!(Fault::Scheme.code(), 416);
}

/// A method other than INVITE: 403, however it is written.
#[test]
fn methods() {
    assert_eq!(uri("<sip:c@x;method=INVITE;a=b>"), "sip:c@x;a=b");
    for bad in
        ["<sip:c@x;method=BYE>", "<sip:c@x;Method=invite>", "<sip:c@x;m%65thod=REFER>", "<sip:c@x;method>"]
    {
        assert_eq!(read(bad), Err(Fault::Method), "{bad}");
    }
    assert_eq!(Fault::Method.code(), 403);
}

/// Equal targets look alike, and what is judged is what is called.
#[test]
fn canonical_forms() {
    for same in [
        "<sip:+88111@EXAMPLE.com>",
        "<SIP:%2B88111@example.COM.>",
        "<sip:+8-81(11)@example.com>",
        "<sip:%2b%38811%31@example.com>",
    ] {
        assert_eq!(uri(same), "sip:+88111@example.com", "{same}");
    }
    assert_eq!(uri("<sip:88-11@x;user=phone>"), "sip:8811@x;user=phone");
    assert_eq!(uri("<sip:carol.smith@x>"), "sip:carol.smith@x");
    assert_eq!(uri("<sip:100-200@x>"), "sip:100-200@x");
    assert_eq!(uri("<sip:a%3bb%40@x>"), "sip:a%3Bb%40@x");
    assert_eq!(uri("<sip:+1-2;ext=3-4@x>"), "sip:+12;ext=3-4@x");
}

/// Rules by domain and prefix; the first that matches decides, on the canonical form.
#[test]
fn rules() {
    let rule = |allow, domain: &str, prefix: &str| TargetRule {
        allow,
        domain: domain.into(),
        prefix: prefix.into(),
    };
    let policy = Policy {
        targets: vec![rule(false, "", "+881"), rule(true, "example.com", ""), rule(false, "", "")],
        ..Policy::default()
    };
    let judge = |value: &str| read_with(value, &policy).expect("a target").judge(&policy);
    assert_eq!(judge("<sip:%2B8-81@example.com>"), Verdict::Denied(0));
    assert_eq!(judge("<tel:+8(81)1>"), Verdict::Denied(0));
    assert_eq!(judge("<sip:carol@EXAMPLE.COM.>"), Verdict::Allowed(1));
    assert_eq!(judge("<sip:carol@a.example.com>"), Verdict::Allowed(1));
    assert_eq!(judge("<sip:carol@badexample.com>"), Verdict::Denied(2));
    assert_eq!(judge("<sip:carol@example.com.evil.net>"), Verdict::Denied(2));
    let target = read("<sip:c@x>").expect("a target");
    assert_eq!(target.judge(&Policy::default()), Verdict::Routes);
}

/// Replaces is decoded once; Require may only say replaces.
#[test]
fn what_may_be_brought() {
    let target = read(
        "<sip:c@x?Replaces=a%2540b%40h%3Bto-tag%3D1%3Bfrom-tag%3D2&Require=replaces&User-to-User=56a3%3Bencoding%3Dhex\
         &Referred-By=%3Csip%3Aa%40b%3E>",
    )
    .expect("a target");
    let named = target.replaces.expect("a dialog");
    assert_eq!(&*named.call_id, b"a%40b@h");
    assert!(target.require_replaces);
    let headers: Vec<_> = target.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(headers, [("User-to-User", &b"56a3;encoding=hex"[..]), ("Referred-By", b"<sip:a@b>")]);
    let other = read("<sip:c@x?Require=100rel>").expect("a target");
    assert!(!other.require_replaces && other.headers.is_empty());
    for bad in [
        "<sip:c@x?Replaces=a>",
        "<sip:c@x?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&r%65places=b%3Bto-tag%3D1%3Bfrom-tag%3D2>",
    ] {
        assert_eq!(read(bad), Err(Fault::Malformed), "{bad}");
    }
}

/// [R-107] [C-036] Header injection: what is forbidden is dropped, or refuses the REFER; a listed name
/// does not open the door to what no list can open.
#[test]
fn injection() {
    let forbidden = [
        "From",
        "f",
        "To",
        "Call-ID",
        "i",
        "CSeq",
        "Via",
        "v",
        "Record-Route",
        "Route",
        "Contact",
        "m",
        "Max-Forwards",
        "Content-Length",
        "l",
        "Content-Type",
        "Content-Disposition",
        "body",
        "Body",
        "Authorization",
        "Proxy-Authorization",
        "Privacy",
        "P-Asserted-Identity",
        "P-Anything",
        "p-x",
        "Identity",
        "y",
        "X-Other",
        "Proxy-Require",
        "Refer-To",
        "Supported",
        "Session-Expires",
        "X%20Y",
        "X%3AY",
        "",
    ];
    let listed: Vec<Box<str>> =
        ["X-Case", "From", "Route", "P-Anything", "body", "Content-Foo", "X Y"].map(Box::from).into();
    let lax = Policy { allow_headers: listed, ..Policy::default() };
    let strict = Policy { strict_headers: true, ..lax.clone() };
    for name in forbidden {
        let value = format!("<sip:c@x?{name}=evil>");
        let target = read_with(&value, &lax).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(target.headers, [], "{name}");
        assert_eq!(read_with(&value, &strict), Err(Fault::Header), "{name}");
    }
    let passed = read_with("<sip:c@x?x-case=7>", &strict).expect("a target");
    assert_eq!(passed.headers, [("x-case".into(), b"7".as_slice().into())]);
    // control characters are a fault whatever field they stand in, listed or not.
    for bad in ["X-Case=a%0D%0ARoute%3A%20x", "Foo=a%0a", "Foo=%00", "F%0do=x", "Subject=%7f"] {
        assert_eq!(read_with(&format!("<sip:c@x?{bad}>"), &lax), Err(Fault::Malformed), "{bad}");
    }
}

/// Join is refused.
#[test]
fn join() {
    assert_eq!(read("<sip:c@x?Join=a%3Bto-tag%3D1%3Bfrom-tag%3D2>"), Err(Fault::Join));
}

/// A kilobyte of parameters survives byte for byte, whatever case and escapes it has.
#[test]
fn long_parameters() {
    let long: String = (0..400).map(|n| format!("%aB{}", n % 10)).collect();
    let value = format!("sip:c@x;x-m={long};X-Y=%7e");
    assert_eq!(uri(&format!("<{value}>")), value);
}

/// Section 5.4: To has neither port, transport, maddr, ttl nor lr.
#[test]
fn the_to_of_the_new_call() {
    let target =
        read("<sip:c@x:5070;transport=tcp;maddr=m;ttl=1;lr;user=phone?Subject=a>").expect("a target");
    assert_eq!(String::from_utf8_lossy(&target.to()), "<sip:c@x;user=phone>");
}

/// A secured call stays secured.
#[test]
fn sips() {
    let mut target = read("<sip:c@x;a=b>").expect("a target");
    target.secure();
    assert_eq!(&*target.uri, b"sips:c@x;a=b");
    target.secure();
    assert_eq!(&*target.uri, b"sips:c@x;a=b");
}

/// The survivor's own address is no target.
#[test]
fn the_survivor_itself() {
    let target = read("<sip:bob@192.0.2.7>").expect("a target");
    for same in ["sip:bob@192.0.2.7:5060", "sip:bob@192.0.2.7;transport=udp", "sip:b%6fb@192.0.2.7"] {
        assert!(target.is_at(same.as_bytes()), "{same}");
    }
    for other in ["sip:carol@192.0.2.7", "sip:bob@192.0.2.8", "sip:bob@192.0.2.7:5070", "junk"] {
        assert!(!target.is_at(other.as_bytes()), "{other}");
    }
}

/// A Refer-To of the control plane: kept, escaped where it must be, never broken.
#[test]
fn going_out() {
    let text = |to: &str| outgoing(to).map(|uri| String::from_utf8_lossy(&uri).into_owned());
    assert_eq!(text("sip:c@x;a=b?X-A=1&X-B=%20").as_deref(), Ok("sip:c@x;a=b?X-A=1&X-B=%20"));
    assert_eq!(text("sip:c@x?X-A=a b\"c").as_deref(), Ok("sip:c@x?X-A=a%20b%22c"));
    assert_eq!(text("sip:c@x?").as_deref(), Ok("sip:c@x"));
    assert_eq!(text("tel:+12015550123").as_deref(), Ok("tel:+12015550123"));
    assert_eq!(text("sip:c@x\r\nVia: y"), Err(Fault::Malformed));
    assert_eq!(text("sip:c@x?X=%0d%0a"), Err(Fault::Malformed));
    assert_eq!(text("http://x"), Err(Fault::Scheme));
    assert_eq!(text("sip:c@x;method=BYE"), Err(Fault::Method));
    assert_eq!(text("carol"), Err(Fault::Malformed));
}
