//! Both parties of a call want to change it at once.

use crate::sip::call::testing::*;
use crate::sip::message::{HeaderId, Method};
use std::time::Duration;

/// Alice's request is on its way to Bob when Bob sends one of his: both of those between Bob and Baton are
/// refused. Whether Bob called, who need not own the Call-ID then, is for the caller of this to say.
fn crossing(bench: &mut Bench, alice: &mut Phone, bob: &mut Phone, method: &str) {
    bench.request(alice, method, "", &sdp("alice", 4_002, "0"));
    let there = bench.at_phone(bob);
    assert!(there.text().contains("m=audio 4002"));
    bench.request(bob, "INVITE", "", &sdp("bob", 5_002, "0"));
    assert!(bench.at_phone(bob).start().starts_with("491"));
    bench.reply(bob, &there, 491, "", "");
    if there.method() == Method::Invite {
        assert_eq!(bench.at_phone(bob).method(), Method::Ack);
    }
    bench.silent();
}

/// A phone's re-INVITE goes through to the other.
fn passes(bench: &mut Bench, from: &mut Phone, to: &mut Phone, port: u16) {
    bench.request(from, "INVITE", "", &sdp(from.name, port, "0"));
    arrives(bench, from, to, port);
}

fn arrives(bench: &mut Bench, from: &mut Phone, to: &mut Phone, port: u16) {
    let (invite, _) = bench.reinvited(to, &sdp(to.name, port + 1, "0"));
    assert!(invite.text().contains(&format!("m=audio {port}")), "{}", invite.text());
    let ok = bench.at_phone(from);
    assert!(ok.text().contains(&format!("m=audio {}", port + 1)), "{}", ok.text());
    bench.ack(from, "");
}

/// [C-142] [C-144] [C-151] Two re-INVITEs meet, and one or the other side tries again first: its request goes
/// through to the other, whose own is refused with 491, and nobody waits for anybody.
#[test]
fn the_first_to_retry_wins() {
    for method in ["INVITE", "UPDATE"] {
        for caller_first in [true, false] {
            let (mut bench, mut alice, mut bob) =
                (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
            let (mut alice, mut bob) = match caller_first {
                true => {
                    bench.connected(&mut alice, &mut bob, 1);
                    (alice, bob)
                }
                // Bob called: the retry that Baton owes him comes within two seconds.
                false => {
                    bench.connected(&mut bob, &mut alice, 0);
                    (alice, bob)
                }
            };
            crossing(&mut bench, &mut alice, &mut bob, method);
            bench.request(&mut bob, "INVITE", "", &sdp("bob", 5_004, "0"));
            let refusal = bench.at_phone(&alice);
            assert!(refusal.start().starts_with("491"), "{}", refusal.start());
            assert!(refusal.header(HeaderId::CSeq).ends_with(method));
            arrives(&mut bench, &mut bob, &mut alice, 5_004);
            // Nothing of the one that was refused is left to go.
            bench.pass(Duration::from_secs(5));
            assert!(
                !bench.sent.iter().any(|sent| sent.method() == Method::Invite && sent.message.is_request())
            );
            bench.sent.clear();
            passes(&mut bench, &mut alice, &mut bob, 4_010);
            passes(&mut bench, &mut bob, &mut alice, 5_010);
            bench.request(&mut bob, "BYE", "", "");
            bench.at_phone(&bob);
            bench.hung_up(&alice);
            bench.end();
        }
    }
}

/// [C-144] Nobody else wants anything: the request that met another one goes again by itself.
#[test]
fn goes_again_by_itself() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.connected(&mut alice, &mut bob, 1);
    crossing(&mut bench, &mut alice, &mut bob, "INVITE");
    for _ in 0..42 {
        bench.sent.retain(|sent| sent.method() == Method::Invite && sent.message.is_request());
        if bench.sent.is_empty() {
            bench.pass(Duration::from_millis(100));
        }
    }
    arrives(&mut bench, &mut alice, &mut bob, 4_002);
    bench.request(&mut bob, "BYE", "", "");
    bench.at_phone(&bob);
    bench.hung_up(&alice);
    bench.end();
}

/// [C-140] [C-142] The ACK of the caller is late, so the callee's re-INVITE waits; the caller's own comes
/// before its ACK does, and goes first.
#[test]
fn what_waits_for_an_ack_gives_way() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let ok = bench.at_phone(&alice);
    alice.heard(&ok);
    bench.request(&mut bob, "INVITE", "", &sdp("bob", 5_002, "0"));
    bench.silent();
    let ack = alice.ack("");
    bench.request(&mut alice, "INVITE", "", &sdp("alice", 4_002, "0"));
    assert!(bench.at_phone(&bob).start().starts_with("491"));
    arrives(&mut bench, &mut alice, &mut bob, 4_002);
    bench.receive(A, &ack);
    bench.sent.clear();
    passes(&mut bench, &mut bob, &mut alice, 5_004);
    bench.request(&mut bob, "BYE", "", "");
    bench.at_phone(&bob);
    bench.hung_up(&alice);
    bench.end();
}

/// [C-151] [C-153] Who gives up a re-INVITE gives up what was made of it, Reason included: the other party is
/// not asked any more, and its answer is the answer.
#[test]
fn a_reinvite_is_given_up() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.connected(&mut alice, &mut bob, 1);
    bench.request(&mut alice, "INVITE", "", &sdp("alice", 4_002, "0"));
    let invite = bench.at_phone(&bob);
    bench.reply(&bob, &invite, 180, "", "");
    let cancel = alice.cancel("Reason: Q.850;cause=34\n");
    bench.receive(A, &cancel);
    let ok = bench.at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.header(HeaderId::CSeq).ends_with("CANCEL"), "{}", ok.text());
    let cancel = bench.at_phone(&bob);
    assert!(cancel.method() == Method::Cancel && cancel.header(HeaderId::Reason) == "Q.850;cause=34");
    bench.silent();
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &invite, 487, "", "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    assert!(bench.at_phone(&alice).start().starts_with("487"));
    bench.sent.clear();
    passes(&mut bench, &mut alice, &mut bob, 4_010);
    passes(&mut bench, &mut bob, &mut alice, 5_010);
    bench.request(&mut bob, "BYE", "", "");
    bench.at_phone(&bob);
    bench.hung_up(&alice);
    bench.end();
}

/// [C-151] One that has not reached the other party never does.
#[test]
fn a_reinvite_that_waits_is_given_up() {
    let (mut bench, mut alice, mut bob) = (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.connected(&mut alice, &mut bob, 1);
    crossing(&mut bench, &mut alice, &mut bob, "INVITE");
    let cancel = alice.cancel("");
    bench.receive(A, &cancel);
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    assert!(bench.at_phone(&alice).start().starts_with("487"));
    bench.pass(Duration::from_secs(5));
    assert!(!bench.sent.iter().any(|sent| sent.method() == Method::Invite && sent.message.is_request()));
    bench.sent.clear();
    bench.request(&mut bob, "BYE", "", "");
    bench.at_phone(&bob);
    bench.hung_up(&alice);
    bench.end();
}
