//! Passwords are guessed (T-025): what a shard answers, counts, and tells the others and the operator.

use super::edges::status;
use super::*;
use crate::shard::counters::tests::seen;
use crate::sip::auth::{Challenge, NonceCounts, answer};
use crate::sip::plan::{Client, Secret};

const STRANGER: &str = "192.0.2.1:5060";

pub(super) fn clients(plan: &mut Plan) {
    let credentials = Arc::new(credentials("carol", "right"));
    plan.calls.clients.insert("carol".into(), Client { credentials, account: None });
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials { user: user.into(), secret: Secret::Password(password.into()) }
}

/// A stage whose shard is one of three.
fn one_of_three(seed: u8) -> Stage {
    let mut stage = Stage::with(clients);
    let place = Place { index: 0, shards: 3, ..Place::alone() };
    stage.shard =
        Shard::new(stage.shard.plan.clone(), place, [seed; 32], [4; 16], Arc::clone(&stage.counters));
    stage
}

fn rejected(stage: &Stage, reason: &str) -> u64 {
    let key = format!("baton_rejected_total trunk=none reason={reason}");
    seen(&[&stage.counters]).samples.get(&key).copied().unwrap_or_default()
}

const URI: &str = "sip:127.0.0.1";

/// A request of a user's, with this field more.
fn asks(method: &str, user: &str, more: &str, call_id: &str, n: u32) -> String {
    request(method, URI, more, "", n)
        .replace("<sip:alice@10.0.0.5>;tag", &format!("<sip:{user}@127.0.0.1>;tag"))
        .replace("To: <sip:1000@example.com>", &format!("To: <sip:{user}@127.0.0.1>"))
        .replace("c1@10.0.0.5", call_id)
}

/// The field that answers a challenge.
fn proof(method: &str, challenged: &[Sent], user: &str, password: &str, n: u32) -> String {
    let (field, code, answers) = match method {
        "REGISTER" => ("WWW-Authenticate", "401", "Authorization"),
        _ => ("Proxy-Authenticate", "407", "Proxy-Authorization"),
    };
    assert_eq!(status(challenged), Some(code), "{}", challenged[0].text);
    let challenge = Challenge::parse(header(&challenged[0].text, field)[0].as_bytes(), false).expect("one");
    let values = answer(
        &[challenge],
        &credentials(user, password),
        method.as_bytes(),
        URI.as_bytes(),
        b"",
        n.into(),
        &mut NonceCounts::default(),
    );
    let value = String::from_utf8(values.expect("an answer").remove(0).1).expect("text");
    format!("{answers}: {value}\n")
}

/// Asks for a challenge and answers it; the last answer.
pub(super) fn tries(
    stage: &mut Stage,
    from: &str,
    method: &str,
    user: &str,
    password: &str,
    n: u32,
) -> String {
    let call_id = format!("{n}@{from}");
    let asked = stage.receive(from, &asks(method, user, "", &call_id, 2 * n));
    let proof = proof(method, &asked, user, password, n);
    let sent = stage.receive(from, &asks(method, user, &proof, &call_id, 2 * n + 1));
    sent.first().map(|sent| sent.text.clone()).unwrap_or_default()
}

/// [T-025] [C-203] After twenty failures the answer is the same, whoever is asked for and whatever the password;
/// it is counted apart, and the operator is told once.
#[test]
fn a_source_is_banned() {
    let mut stage = Stage::with(clients);
    for n in 0..20 {
        let user = if n == 7 { "carol".to_owned() } else { format!("user{n}") };
        let answer = tries(&mut stage, STRANGER, "REGISTER", &user, "wrong", n);
        assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
    }
    assert_eq!((rejected(&stage, "auth"), rejected(&stage, "banned")), (20, 0));
    let told = stage.out.drain().filter(|o| matches!(o, Output::Banned(flow) if flow.remote.port() == 5060));
    assert_eq!(told.count(), 1);
    for (n, user) in (20..).zip(["carol", "mallory"]) {
        let refused = tries(&mut stage, STRANGER, "REGISTER", user, "right", n);
        assert!(refused.starts_with("SIP/2.0 401 ") && !refused.contains("stale"), "{refused}");
    }
    assert_eq!((rejected(&stage, "auth"), rejected(&stage, "banned")), (20, 2));
    assert!(stage.out.drain().next().is_none());
    let elsewhere = tries(&mut stage, "192.0.2.2:5060", "REGISTER", "carol", "right", 30);
    assert!(elsewhere.starts_with("SIP/2.0 200 "), "{elsewhere}");
    stage.now += Duration::from_secs(300);
    let again = tries(&mut stage, STRANGER, "REGISTER", "carol", "right", 31);
    assert!(again.starts_with("SIP/2.0 200 "), "{again}");
}

/// [T-026] A trunk's address is exempt, and so are those of `acl.never_ban`, unless the operator says otherwise.
#[test]
fn who_is_exempt() {
    for (from, include_trunks, banned) in [
        (ALICE, false, false),
        (ALICE, true, true),
        ("198.51.100.9:5060", true, false),
        ("198.51.101.9:5060", false, true),
    ] {
        let mut stage = Stage::with(|plan| {
            clients(plan);
            plan.calls.auth.ban.include_trunks = include_trunks;
            plan.calls.auth.never_ban = vec!["198.51.100.0/24".parse().expect("a prefix")];
        });
        for n in 0..20 {
            tries(&mut stage, from, "REGISTER", &format!("user{n}"), "wrong", n);
        }
        let answer = tries(&mut stage, from, "REGISTER", "carol", "right", 20);
        let expected = if banned { "SIP/2.0 401 " } else { "SIP/2.0 200 " };
        assert!(answer.starts_with(expected), "{from}: {answer}");
    }
}

/// [T-025] The other shards are told, and do as this one does: a call of the same client's may come to any.
#[test]
fn all_shards_know() {
    let (mut here, mut there) = (one_of_three(1), one_of_three(2));
    for n in 0..20 {
        let answer = tries(&mut here, STRANGER, "MESSAGE", "carol", "wrong", n);
        assert!(answer.starts_with("SIP/2.0 407 "), "{answer}");
    }
    let mut told: Vec<(u16, Box<PeerMessage>)> = Vec::new();
    for output in here.out.drain() {
        if let Output::Peer(shard, message) = output {
            told.push((shard, message));
        }
    }
    let shards: Vec<_> = told.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(shards, [1, 2].repeat(22), "each failure; and the bans, the source's and the user's");
    for (_, message) in told.into_iter().filter(|(shard, _)| *shard == 1) {
        there.shard.handle(there.now, Input::Peer(message), &mut there.out);
    }
    for from in [STRANGER, "192.0.2.200:5060"] {
        let answer = tries(&mut there, from, "MESSAGE", "carol", "right", 30);
        assert!(answer.starts_with("SIP/2.0 407 "), "{answer}");
    }
    assert_eq!(rejected(&there, "banned"), 2);
}

/// [C-197] [C-198] A client whose requests leave by two addresses in turn is challenged at each of them, and then
/// known at both.
#[test]
fn two_ways_out() {
    for method in ["REGISTER", "MESSAGE"] {
        let mut stage = Stage::with(clients);
        let mut answers = stage.receive(STRANGER, &asks(method, "carol", "", "c7@uplinks", 1));
        for (n, from) in (2..).zip(["192.0.2.2:5060", STRANGER]) {
            let stale = n == 3;
            assert_eq!(answers[0].text.contains(", stale=true"), stale, "{}", answers[0].text);
            let proof = proof(method, &answers, "carol", "right", n);
            answers = stage.receive(from, &asks(method, "carol", &proof, "c7@uplinks", n));
        }
        let status = status(&answers);
        assert!(status.is_some_and(|code| !["401", "407"].contains(&code)), "{method} {status:?}");
    }
}
