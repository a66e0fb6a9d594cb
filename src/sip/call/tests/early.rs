//! What both sides say to each other before the call is answered.

use crate::sip::call::testing::*;
use crate::sip::dialog::testing::Sent;
use crate::sip::message::{HeaderId, Method};
use crate::sip::proxy::Owned;
use std::time::Duration;

/// Alice hears early media of Bob's, reliably; his INVITE is given back.
fn early(bench: &mut Bench, alice: &mut Phone, bob: &mut Phone) -> Sent {
    bench.call(alice, to_trunk(1), "Supported: 100rel\n", &sdp("alice", 4_000, "0 8"));
    let invite = bench.invited(bob);
    bench.reply(bob, &invite, 183, "Require: 100rel\nRSeq: 1\n", &sdp("bob", 5_000, "0"));
    let prack = bench.at_phone(bob);
    assert_eq!(prack.method().as_str(), "PRACK");
    bench.reply(bob, &prack, 200, "", "");
    invite
}

/// Alice acknowledges what she heard.
fn prack(bench: &mut Bench, alice: &mut Phone, body: &str) {
    let said = bench.at_phone(alice);
    assert!(said.start().starts_with("183") && said.message.has(HeaderId::RSeq), "{}", said.text());
    alice.heard(&said);
    let rack = format!("RAck: {} 1 INVITE\n", said.header(HeaderId::RSeq));
    bench.request(alice, "PRACK", &rack, body);
}

/// Bob answers, and Alice hangs up.
fn finish(bench: &mut Bench, alice: &mut Phone, bob: &Phone, invite: &Sent) {
    bench.reply(bob, invite, 200, "", "");
    assert_eq!(bench.at_phone(bob).method(), Method::Ack);
    let ok = bench.at_phone(alice);
    assert!(ok.start() == "200 OK" && ok.header(HeaderId::CSeq) == "1 INVITE", "{}", ok.text());
    let ack = alice.ack("").replace(&format!("CSeq: {} ACK", alice.cseq), "CSeq: 1 ACK");
    bench.receive(A, &ack);
    bench.request(alice, "BYE", "", "");
    assert_eq!(bench.at_phone(alice).start(), "200 OK");
    bench.hung_up(bob);
    bench.silent();
    bench.end();
}

/// [C-171] [C-151] A PRACK with an offer is answered by the other party (RFC 3262 §5).
#[test]
fn offers_in_prack() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    let invite = early(&mut bench, &mut alice, &mut bob);
    prack(&mut bench, &mut alice, &sdp("alice", 4_002, "0"));
    let update = bench.at_phone(&bob);
    assert!(update.method() == Method::Update && update.text().contains("m=audio 4002"), "{}", update.text());
    bench.silent();
    bench.reply(&bob, &update, 200, "", &sdp("bob", 5_002, "0"));
    let ok = bench.at_phone(&alice);
    assert!(
        ok.header(HeaderId::CSeq).ends_with("PRACK") && ok.text().contains("m=audio 5002"),
        "{}",
        ok.text()
    );
    finish(&mut bench, &mut alice, &bob, &invite);
}

/// [C-171] When the other party cannot be asked, or does not want to, the answer is what it has said before.
#[test]
fn offers_in_prack_that_nobody_takes() {
    for refuses in [true, false] {
        let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
        bench.call(&mut alice, to_trunk(1), "Supported: 100rel\n", &sdp("alice", 4_000, "0 8"));
        let invite = bench.invited(&mut bob);
        // Not reliably where it does not refuse: its answer does not count yet, and it can take no offer.
        let reliable = if refuses { "Require: 100rel\nRSeq: 1\n" } else { "" };
        bench.reply(&bob, &invite, 183, reliable, &sdp("bob", 5_000, "0"));
        if refuses {
            let to_bob = bench.at_phone(&bob);
            bench.reply(&bob, &to_bob, 200, "", "");
        }
        prack(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
        if refuses {
            let update = bench.at_phone(&bob);
            bench.reply(&bob, &update, 488, "", "");
        }
        let ok = bench.at_phone(&alice);
        assert!(ok.start() == "200 OK" && ok.header(HeaderId::CSeq).ends_with("PRACK"), "{}", ok.text());
        assert!(ok.text().contains("m=audio 5000"), "{}", ok.text());
        bench.reply(&bob, &invite, 486, "", "");
        bench.at_phone(&bob);
        assert!(bench.at_phone(&alice).start().starts_with("486"));
        bench.end();
    }
}

/// [C-151] DTMF during early media reaches who plays it, from either side; so does what nobody knows.
#[test]
fn requests_cross_early() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    let invite = early(&mut bench, &mut alice, &mut bob);
    prack(&mut bench, &mut alice, "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    for method in ["INFO", "MESSAGE", "OPTIONS", "FOO"] {
        bench.request(&mut alice, method, "X-One: 1\n", "");
        let there = bench.at_phone(&bob);
        assert!(there.start().starts_with(method) && there.text().contains("X-One: 1"), "{}", there.text());
        bench.silent();
        bench.reply(&bob, &there, 299, "", "");
        assert!(bench.at_phone(&alice).start().starts_with("299"));
        bench.request(&mut bob, method, "X-Two: 1\n", "");
        let there = bench.at_phone(&alice);
        assert!(there.start().starts_with(method) && there.text().contains("X-Two: 1"), "{}", there.text());
        bench.reply(&alice, &there, 299, "", "");
        assert!(bench.at_phone(&bob).start().starts_with("299"));
    }
    finish(&mut bench, &mut alice, &bob, &invite);
}

/// [C-151] [C-180] An UPDATE of an early session goes to the other party where that can answer at once.
#[test]
fn updates_cross_early() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    let invite = early(&mut bench, &mut alice, &mut bob);
    prack(&mut bench, &mut alice, "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    bench.request(&mut alice, "UPDATE", "", &sdp("alice", 4_002, "0"));
    let update = bench.at_phone(&bob);
    assert!(update.method() == Method::Update && update.text().contains("m=audio 4002"), "{}", update.text());
    bench.reply(&bob, &update, 200, "", &sdp("bob", 5_002, "0"));
    assert!(bench.at_phone(&alice).text().contains("m=audio 5002"));
    bench.request(&mut bob, "UPDATE", "", &sdp("bob", 5_004, "0"));
    let update = bench.at_phone(&alice);
    assert!(update.method() == Method::Update && update.text().contains("m=audio 5004"), "{}", update.text());
    bench.reply(&alice, &update, 200, "", &sdp("alice", 4_004, "0"));
    assert!(bench.at_phone(&bob).text().contains("m=audio 4004"));
    finish(&mut bench, &mut alice, &bob, &invite);
}

/// [C-155] [C-130] With several callees what one early dialog says goes to the one it belongs to.
#[test]
fn each_fork_for_itself() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    let mut carol = Phone::new(C, "carol");
    bench.call(&mut alice, to_both(1, 2), "", &sdp("alice", 4_000, "0"));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    let mut early = Vec::new();
    for (phone, invite) in [(&bob, &to_bob), (&carol, &to_carol)] {
        bench.reply(phone, invite, 183, "", &sdp(phone.name, 5_000, "0"));
        early.push(bench.at_phone(&alice));
    }
    for (said, phone) in [(&early[0], &bob), (&early[1], &carol)] {
        alice.heard(said);
        bench.request(&mut alice, "INFO", "", "");
        let info = bench.at_phone(phone);
        assert_eq!(info.method(), Method::Info);
        bench.silent();
        bench.reply(phone, &info, 200, "", "");
        assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    }
    bench.request(&mut carol, "INFO", "", "");
    let info = bench.at_phone(&alice);
    assert!(early[1].header(HeaderId::To).ends_with(
        &info.header(HeaderId::From)[info.header(HeaderId::From).find(";tag=").expect("a tag")..]
    ));
    bench.reply(&alice, &info, 200, "", "");
    bench.at_phone(&carol);
    let cancel =
        Phone { cseq: 1, branch: 1, remote: "<sip:100@baton.example>".into(), ..alice.clone() }.cancel("");
    bench.receive(A, &cancel);
    bench.pass(Duration::from_secs(40));
    bench.end();
}

/// [C-171] [C-142] What was made of a PRACK with an offer meets a request of the other party's and gives way:
/// the PRACK itself cannot be refused (RFC 3262 §5).
#[test]
fn an_offer_in_prack_gives_way() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    let invite = early(&mut bench, &mut alice, &mut bob);
    prack(&mut bench, &mut alice, &sdp("alice", 4_002, "0"));
    let update = bench.at_phone(&bob);
    assert_eq!(update.method(), Method::Update);
    bench.reply(&bob, &update, 491, "", "");
    bench.request(&mut bob, "UPDATE", "", &sdp("bob", 5_004, "0"));
    let ok = bench.at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.header(HeaderId::CSeq).ends_with("PRACK"), "{}", ok.text());
    assert!(ok.text().contains("m=audio 5000"), "{}", ok.text());
    let theirs = bench.at_phone(&alice);
    assert!(theirs.method() == Method::Update && theirs.text().contains("m=audio 5004"), "{}", theirs.text());
    bench.reply(&alice, &theirs, 200, "", &sdp("alice", 4_002, "0"));
    assert_eq!(bench.at_phone(&bob).start(), "200 OK");
    finish(&mut bench, &mut alice, &bob, &invite);
}

/// A phone of Carol's trunk picks up for who rings.
fn picks_up(bench: &mut Bench, ringing: &Phone) -> Phone {
    let mut new = Phone::new(C, "new");
    bench.named(ringing, &ringing.tag());
    let headers = super::joins::replaces(ringing, &ringing.tag());
    bench.call(&mut new, Owned::Replaces, &headers, &sdp("new", 6_000, "0"));
    assert_eq!(bench.refused, None);
    bench.sent.retain(|sent| sent.to.to_string() != C || sent.start() == "200 OK");
    let ok = bench.at_phone(&new);
    new.heard(&ok);
    bench.ack(&mut new, "");
    new
}

/// [R-091] [C-155] Who has heard the ringing one, whether reliably or not, is answered in a dialog of its own by who picks
/// the call up: in that one, another answer would not count (RFC 3261 §13.2.1).
#[test]
fn picked_up_after_early_media() {
    for reliably in [true, false] {
        let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
        let invite = if reliably {
            let invite = early(&mut bench, &mut alice, &mut bob);
            prack(&mut bench, &mut alice, "");
            assert_eq!(bench.at_phone(&alice).start(), "200 OK");
            invite
        } else {
            bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0 8"));
            let invite = bench.invited(&mut bob);
            bench.reply(&bob, &invite, 183, "", &sdp("bob", 5_000, "0"));
            let said = bench.at_phone(&alice);
            alice.heard(&said);
            invite
        };
        let early = alice.tag();
        let new = picks_up(&mut bench, &bob);
        let ok = bench.at_phone(&alice);
        assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 6000"), "{}", ok.text());
        alice.heard(&ok);
        assert_ne!(alice.tag(), early);
        let ack = alice.ack("").replace(&format!("CSeq: {} ACK", alice.cseq), "CSeq: 1 ACK");
        bench.receive(A, &ack);
        let cancel = bench.at_phone(&bob);
        bench.reply(&bob, &cancel, 200, "", "");
        bench.reply(&bob, &invite, 487, "", "");
        bench.at_phone(&bob);
        bench.silent();
        // What one of them wants now reaches the other.
        bench.request(&mut alice, "INVITE", "", &sdp("alice", 4_002, "0"));
        assert!(bench.at_phone(&new).text().contains("m=audio 4002"));
        bench.sent.clear();
        bench.request(&mut alice, "BYE", "", "");
        bench.sent.clear();
        bench.end();
    }
}

/// [R-091] [C-155] Nor is an early dialog of use that the caller has ended.
#[test]
fn picked_up_after_a_fork_was_left() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    let mut carol = Phone::new(C, "carol");
    bench.call(&mut alice, to_both(1, 2), "", &sdp("alice", 4_000, "0 8"));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    bench.reply(&bob, &to_bob, 180, "", "");
    let first = bench.at_phone(&alice);
    bench.reply(&carol, &to_carol, 180, "", "");
    let second = bench.at_phone(&alice);
    alice.heard(&first);
    bench.request(&mut alice, "BYE", "", "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    assert_eq!(bench.at_phone(&bob).method(), Method::Cancel);
    bench.silent();
    picks_up(&mut bench, &carol);
    let ok = bench.at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 6000"), "{}", ok.text());
    assert!(ok.header(HeaderId::To) != first.header(HeaderId::To));
    assert!(ok.header(HeaderId::To) != second.header(HeaderId::To));
}
