//! What a caller hears when nobody answers.

use crate::sip::call::testing::*;
use crate::sip::dialog::testing::Sent;
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Credentials, Secret};
use std::sync::Arc;

/// Alice's call to one trunk is refused so; what she hears.
fn refused(bench: &mut Bench, status: u16, headers: &str) -> Sent {
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, status, headers, "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let refusal = bench.at_phone(&alice);
    bench.silent();
    bench.end();
    refusal
}

/// [C-103] [C-153] A final response that means nothing without a field of its own keeps it (RFC 3261 §21); what
/// names the callee's way to itself does not pass with others.
#[test]
fn what_a_refusal_needs() {
    for (code, fields) in [
        (302, "Contact: <sip:other@example.com>\n"),
        (300, "Contact: <sip:one@example.com>, <sip:two@example.com>;q=0.1\n"),
        (401, "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\"\n"),
        (407, "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n\"\n"),
        (415, "Accept: application/sdp\nAccept-Encoding: identity\n"),
        (420, "Unsupported: foo, bar\n"),
        (421, "Require: 100rel\n"),
        (488, "Warning: 304 x \"no\"\n"),
        (480, "Retry-After: 60\n"),
        (486, "Retry-After: 60\n"),
        (603, "Retry-After: 60\n"),
    ] {
        let heard = refused(&mut Bench::new(), code, &format!("{fields}Reason: Q.850;cause=21\n"));
        assert!(heard.start().starts_with(&code.to_string()), "{}", heard.start());
        for field in fields.lines() {
            assert!(heard.text().contains(&format!("{field}\r\n")), "{code}: {}", heard.text());
        }
        assert_eq!(heard.header(HeaderId::Reason), "Q.850;cause=21");
        assert!(!heard.text().contains(B.trim_end_matches(":5060")) || code < 400, "{}", heard.text());
    }
    let heard = refused(&mut Bench::new(), 404, "WWW-Authenticate: Digest realm=\"x\"\nUnsupported: foo\n");
    for id in [HeaderId::WwwAuthenticate, HeaderId::Unsupported, HeaderId::Contact] {
        assert!(!heard.message.has(id), "{}", heard.text());
    }
}

/// [C-103] [C-205] That a trunk is out of service does not put Baton out of service for its callers.
#[test]
fn out_of_service() {
    let heard = refused(&mut Bench::new(), 503, "Retry-After: 3600\nReason: Q.850;cause=42\n");
    assert!(heard.start().starts_with("500"), "{}", heard.start());
    assert!(!heard.message.has(HeaderId::RetryAfter));
    assert_eq!(heard.header(HeaderId::Reason), "Q.850;cause=42");
}

/// [C-200] A trunk that does not take Baton's own credentials asks for none of the caller's.
#[test]
fn credentials_of_our_own() {
    let mut bench = Bench::new();
    let secret = Secret::Password("wrong".into());
    bench.plan.trunks[1].owned.credentials = Some(Arc::new(Credentials { user: "baton".into(), secret }));
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    for nonce in ["one", "two"] {
        let invite = bench.invited(&mut bob);
        let challenge = format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"{nonce}\"\n");
        bench.reply(&bob, &invite, 401, &challenge, "");
        assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    }
    let heard = bench.at_phone(&alice);
    assert!(heard.start().starts_with("403"), "{}", heard.start());
    assert!(!heard.message.has(HeaderId::WwwAuthenticate));
    bench.end();
}

/// [C-104] Two trunks that both ask for credentials: the caller hears of both.
#[test]
fn challenges_of_all() {
    let mut bench = Bench::new();
    let (mut alice, mut bob, mut carol) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(C, "carol"));
    bench.call(&mut alice, to_both(1, 2), "", &sdp("alice", 4_000, "0"));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    bench.reply(&bob, &to_bob, 407, "Proxy-Authenticate: Digest realm=\"b\", nonce=\"n\"\n", "");
    bench.reply(&carol, &to_carol, 401, "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\"\n", "");
    let heard = bench.at_phone(&alice);
    assert!(heard.start().starts_with("407"), "{}", heard.start());
    assert!(heard.message.has(HeaderId::WwwAuthenticate) && heard.message.has(HeaderId::ProxyAuthenticate));
    bench.end();
}

/// [C-105] Who declines for everybody stops the others, too.
#[test]
fn declined_everywhere() {
    let mut bench = Bench::new();
    let (mut alice, mut bob, mut carol) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(C, "carol"));
    bench.call(&mut alice, to_both(1, 2), "", &sdp("alice", 4_000, "0"));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    bench.reply(&bob, &to_bob, 180, "", "");
    bench.at_phone(&alice);
    bench.reply(&carol, &to_carol, 603, "", "");
    assert_eq!(bench.at_phone(&carol).method(), Method::Ack);
    let cancel = bench.at_phone(&bob);
    assert_eq!(cancel.method(), Method::Cancel);
    let heard = bench.at_phone(&alice);
    assert!(heard.start().starts_with("603"), "{}", heard.start());
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &to_bob, 487, "", "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    bench.silent();
    bench.end();
}

/// [C-104] [C-200] Who answers a challenge that came from further on is heard there; what answers one of Baton's
/// own goes no further.
#[test]
fn credentials_for_others() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let digest = |name: &str, realm: &str| {
        format!(
            "{name}: Digest username=\"u\", realm=\"{realm}\", nonce=\"n\", uri=\"sip:a\", response=\"0\"\n"
        )
    };
    let given = digest("Authorization", "pbx")
        + &digest("Proxy-Authorization", "edge")
        + &digest("Proxy-Authorization", &bench.plan.calls.registrar.realm)
        + "Authorization: Basic dTpw\n";
    bench.call(&mut alice, to_trunk(1), &given, &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    assert_eq!(invite.message.count(HeaderId::Authorization), 1);
    assert_eq!(invite.message.count(HeaderId::ProxyAuthorization), 1);
    assert!(invite.text().contains("realm=\"pbx\"") && invite.text().contains("realm=\"edge\""));
    bench.reply(&bob, &invite, 486, "", "");
    bench.at_phone(&bob);
    bench.at_phone(&alice);
    bench.end();
}
