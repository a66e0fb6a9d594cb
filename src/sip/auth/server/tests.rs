//! A realm against the client half.

use super::*;
use crate::sip::auth::{Challenge, NonceCounts, answer};
use std::net::{IpAddr, Ipv4Addr};

const URI: &[u8] = b"sip:example.com";

const USUAL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];
const ALL: [Algorithm; 3] = Algorithm::ALL;

const HERE: Sender = from(7);

/// An address that anybody might have.
const fn from(last: u8) -> Sender {
    Sender::Source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
}

fn offering(algorithms: &[Algorithm]) -> plan::Auth {
    plan::Auth { algorithms: algorithms.into(), ..plan::Auth::default() }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(1_700_000_000_000 + seconds * 1_000)
}

fn user(name: &str, secret: Secret) -> Credentials {
    Credentials { user: name.into(), secret }
}

fn alice() -> Credentials {
    user("alice", Secret::Password("secret".into()))
}

fn realm() -> Realm {
    Realm::new("example.com", &offering(&USUAL), [7; 32], [5; 16], [alice()].iter())
}

/// What a client sends for these challenges.
fn credentials(values: &[Vec<u8>], who: &Credentials, uri: &[u8], nc: &mut NonceCounts) -> Vec<u8> {
    let challenges: Vec<_> = values.iter().filter_map(|v| Challenge::parse(v, false).ok()).collect();
    answer(&challenges, who, b"REGISTER", uri, b"", 99, nc).unwrap().remove(0).1
}

fn check(realm: &mut Realm, now: Time, value: &[u8]) -> &'static str {
    check_as(realm, now, value, b"REGISTER", URI)
}

fn check_as(realm: &mut Realm, now: Time, value: &[u8], method: &[u8], uri: &[u8]) -> &'static str {
    let known = alice();
    let verdict =
        realm.check(now, HERE, [value].into_iter(), method, uri, |name| (name == "alice").then_some(&known));
    match verdict {
        Verdict::Ok { user: "alice" } => "ok",
        Verdict::Ok { .. } => "someone else",
        Verdict::Stale(_) => "stale",
        Verdict::Refused => "refused",
        Verdict::Banned => "banned",
        Verdict::Missing => "missing",
    }
}

/// [C-196] [T-021] Challenges in the order that was asked for; the answer to each is taken.
#[test]
fn every_algorithm() {
    let mut reversed = ALL;
    reversed.reverse();
    for order in [&ALL[..], &USUAL[..], &reversed[..], &[Algorithm::Md5][..]] {
        let mut realm = Realm::new("example.com", &offering(order), [7; 32], [5; 16], [alice()].iter());
        let values = realm.challenge(at(0), HERE, None);
        let text: Vec<_> = values.iter().map(|v| String::from_utf8(v.clone()).unwrap()).collect();
        assert_eq!(text.len(), order.len());
        for (text, algorithm) in text.iter().zip(order) {
            assert!(text.contains(&format!(", algorithm={}, qop=\"auth\"", algorithm.token())), "{text}");
            assert!(text.starts_with("Digest realm=\"example.com\", nonce=\""), "{text}");
        }
        let mut nc = NonceCounts::default();
        for value in values {
            let value = credentials(&[value], &alice(), URI, &mut nc);
            assert_eq!(check(&mut realm, at(1), &value), "ok", "{}", String::from_utf8_lossy(&value));
        }
    }
}

/// [C-196] [C-203] What is not offered is not taken either, though its response would be right.
#[test]
fn what_is_not_offered() {
    let mut whole = Realm::new("example.com", &offering(&ALL), [7; 32], [5; 16], [alice()].iter());
    let values = whole.challenge(at(0), HERE, None);
    for (value, algorithm) in values.iter().zip(ALL) {
        let rest: Vec<_> = ALL.into_iter().filter(|a| *a != algorithm).collect();
        let mut realm = Realm::new("example.com", &offering(&rest), [7; 32], [5; 16], [alice()].iter());
        let value = credentials(std::slice::from_ref(value), &alice(), URI, &mut NonceCounts::default());
        assert_eq!(check(&mut realm, at(1), &value), "refused", "{algorithm:?}");
        assert_eq!(check(&mut whole, at(1), &value), "ok", "{algorithm:?}");
        whole.used.clear();
    }
}

/// [C-196] No algorithm is offered that a configured user could not answer.
#[test]
fn stored_hashes_decide_what_is_offered() {
    let hex = |digits| Some("0".repeat(digits).into());
    let md5 = user("bob", Secret::Ha1 { md5: hex(32), sha256: None, sha512_256: None });
    let sha = user("carol", Secret::Ha1 { md5: None, sha256: hex(64), sha512_256: hex(64) });
    let offered =
        |users: &[Credentials]| Realm::new("r", &offering(&ALL), [0; 32], [5; 16], users.iter()).offered;
    assert_eq!(offered(&[alice()]), ALL);
    assert_eq!(offered(&[alice(), md5.clone()]), [Algorithm::Md5]);
    assert_eq!(offered(std::slice::from_ref(&sha)), [Algorithm::Sha512_256, Algorithm::Sha256]);
    assert_eq!(offered(&[sha, md5]), ALL);
}

/// [C-196] A stored HA1 serves as well as the password it was made from.
#[test]
fn a_stored_hash_checks_a_password() {
    let text = |a: Algorithm| {
        let hash = ha1(&alice().secret, a, b"alice", b"example.com").unwrap();
        Some(String::from_utf8(hash.as_bytes().to_vec()).unwrap().into())
    };
    let [sha512_256, sha256, md5] = ALL.map(text);
    let stored = user("alice", Secret::Ha1 { md5, sha256, sha512_256 });
    let mut realm = Realm::new("example.com", &offering(&ALL), [1; 32], [5; 16], [stored.clone()].iter());
    for value in realm.challenge(at(0), HERE, None) {
        let value = credentials(&[value], &alice(), URI, &mut NonceCounts::default());
        // All were counted 1 on the same nonce.
        realm.used.clear();
        let verdict = realm.check(at(1), HERE, [&value[..]].into_iter(), b"REGISTER", URI, |_| Some(&stored));
        assert_eq!(verdict, Verdict::Ok { user: "alice" });
    }
}

/// [C-197] [C-198] A nonce serves with growing counts, each once, until it expires; then the
/// challenge says `stale`, and only to who knows the password.
#[test]
fn counts_and_expiry() {
    let mut realm = realm();
    let values = realm.challenge(at(0), HERE, None);
    let mut nc = NonceCounts::default();
    let first = credentials(&values, &alice(), URI, &mut nc);
    let second = credentials(&values, &alice(), URI, &mut nc);
    // Overtaken on the way is no fault.
    assert_eq!(check(&mut realm, at(1), &second), "ok");
    assert_eq!(check(&mut realm, at(1), &first), "ok");
    assert_eq!(check(&mut realm, at(1), &first), "stale");
    assert_eq!(check(&mut realm, at(1), &second), "stale");
    assert_eq!(realm.len(), 1);
    let third = credentials(&values, &alice(), URI, &mut nc);
    assert_eq!(check(&mut realm, at(301), &third), "stale");
    let wrong = user("alice", Secret::Password("wrong".into()));
    let fourth = credentials(&values, &wrong, URI, &mut nc);
    assert_eq!(check(&mut realm, at(301), &fourth), "refused");
    let again = realm.challenge(at(301), HERE, Some(Heard::default()));
    assert!(String::from_utf8_lossy(&again[0]).contains(", stale=true"));
    let fresh = credentials(&again, &alice(), URI, &mut nc);
    assert_eq!(check(&mut realm, at(302), &fresh), "ok");
    realm.expire(at(700));
    assert!(realm.is_empty());
}

/// [C-198] The table of nonces is bounded, and what falls out of it cannot be replayed.
#[test]
fn the_window_is_bounded() {
    let mut realm = realm();
    let nonce = |number| Nonce { made: at(0), number };
    for number in 0..REMEMBERED as u64 + 10 {
        assert!(realm.counts(at(0), nonce(number), 1));
    }
    assert_eq!(realm.len(), REMEMBERED);
    assert!(!realm.counts(at(0), nonce(3), 1));
    let mut window = Window::default();
    assert!(window.take(100) && window.take(37) && !window.take(37));
    assert!(!window.take(36), "older than the window");
    assert!(window.take(u32::MAX) && !window.take(100));
    // The form without a count serves once.
    let mut once = Window::default();
    assert!(once.take(0) && !once.take(0));
}

/// [C-201] The signed URI must be the Request-URI, but for what proxies change.
#[test]
fn the_uri_is_checked() {
    for (signed, received, verdict) in [
        ("sip:example.com", "sip:EXAMPLE.com", "ok"),
        ("sip:example.com", "sip:example.com:5060;transport=tcp", "ok"),
        ("sip:bob@example.com;transport=udp", "sip:bob@example.com", "ok"),
        ("sip:b%6fb@example.com", "sip:bob@example.com", "ok"),
        ("sip:bob@example.com", "sip:carol@example.com", "refused"),
        ("sip:example.com", "sip:example.net", "refused"),
        ("sip:bob@example.com", "sip:example.com", "refused"),
        ("tel:+1", "tel:+2", "refused"),
    ] {
        let mut realm = realm();
        let values = realm.challenge(at(0), HERE, None);
        let value = credentials(&values, &alice(), signed.as_bytes(), &mut NonceCounts::default());
        let got = check_as(&mut realm, at(1), &value, b"REGISTER", received.as_bytes());
        assert_eq!(got, verdict, "{signed} {received}");
    }
    // And the method.
    let mut realm = realm();
    let value = credentials(&realm.challenge(at(0), HERE, None), &alice(), URI, &mut NonceCounts::default());
    assert_eq!(check_as(&mut realm, at(1), &value, b"INVITE", URI), "refused");
}

/// [C-203] An unknown user is answered as a wrong password is; nothing is remembered of either.
#[test]
fn nobody_learns_who_exists() {
    let mut realm = realm();
    let values = realm.challenge(at(0), HERE, None);
    for who in [
        user("mallory", alice().secret),
        user("alice", Secret::Password("x".into())),
        user("", alice().secret),
    ] {
        let value = credentials(&values, &who, URI, &mut NonceCounts::default());
        assert_eq!(check(&mut realm, at(1), &value), "refused");
    }
    // Not even the secret that stands for nobody opens anything.
    let nobody = user("mallory", Secret::Password("stored".into()));
    let value = credentials(&values, &nobody, URI, &mut NonceCounts::default());
    assert_eq!(check(&mut realm, at(1), &value), "refused");
    assert!(realm.is_empty());
}

/// [C-197] A hashed user name is found; without `userhash` it is but an unknown name.
#[test]
fn userhash() {
    let mut realm = realm();
    let values = realm.challenge(at(0), HERE, None);
    let value = credentials(&values[..1], &alice(), URI, &mut NonceCounts::default());
    let text = String::from_utf8(value).unwrap();
    assert!(text.contains("userhash=true") && !text.contains("alice"));
    assert_eq!(check(&mut realm, at(1), text.replace(", userhash=true", "").as_bytes()), "refused");
    assert_eq!(check(&mut realm, at(1), text.as_bytes()), "ok");
}

/// [C-197] Credentials for others are passed over; those for us must be whole.
#[test]
fn which_value_counts() {
    let mut realm = realm();
    assert_eq!(check(&mut realm, at(0), b"Bearer x"), "missing");
    assert_eq!(
        check(&mut realm, at(0), b"Digest realm=\"other\", nonce=\"n\", username=\"alice\""),
        "missing"
    );
    assert_eq!(check(&mut realm, at(0), b"Digest realm=\"example.com\""), "refused");
    assert_eq!(check(&mut realm, at(0), b"Digest realm"), "refused");
    let value = credentials(&realm.challenge(at(0), HERE, None), &alice(), URI, &mut NonceCounts::default());
    let text = String::from_utf8(value).unwrap();
    for (from, to) in [
        ("nc=00000001", "nc=00000000"),
        ("nc=00000001", "nc=1"),
        ("qop=auth", "qop=auth-int"),
        ("algorithm=SHA-256", "algorithm=SHA-512-256"),
        ("algorithm=SHA-256", "algorithm=SHA-256-sess"),
        ("algorithm=SHA-256, ", ""),
        ("cnonce=", "xnonce="),
    ] {
        assert_eq!(check(&mut realm, at(0), text.replace(from, to).as_bytes()), "refused", "{from}");
    }
    assert_eq!(check(&mut realm, at(0), text.as_bytes()), "ok");
}

/// [C-196] A peer that knows no qop is let in, once per nonce.
#[test]
fn the_old_form() {
    let mut realm = realm();
    let value = String::from_utf8(realm.challenge(at(0), HERE, None).remove(1)).unwrap();
    let value = value.replace(", qop=\"auth\"", "");
    let value = credentials(&[value.into_bytes()], &alice(), URI, &mut NonceCounts::default());
    assert_eq!(check(&mut realm, at(0), &value), "ok");
    assert_eq!(check(&mut realm, at(0), &value), "stale");
}

/// A new configuration does not send everybody away.
#[test]
fn replan_keeps_nonces() {
    let mut realm = realm();
    let values = realm.challenge(at(0), HERE, None);
    realm.replan("example.com", &offering(&USUAL), [alice(), user("bob", alice().secret)].iter());
    let value = credentials(&values, &alice(), URI, &mut NonceCounts::default());
    assert_eq!(check(&mut realm, at(0), &value), "ok");
    assert!(!format!("{realm:?}").contains('7'), "no key in debug output");
}
