//! Nobody waits for ever: each INVITE has its final answer, each 2xx its ACK.

use super::joins::{answered, dial, hangup};
use crate::sip::call::testing::*;
use crate::sip::flow::Flow;
use crate::sip::message::Method;
use crate::sip::proxy::Owned;
use crate::sip::registrar::Contact;

/// [C-080] [C-174] Who asks for an offer and hangs up before it has answered that: the one who made it has
/// its ACK all the same, and can be asked again.
#[test]
fn an_offer_that_nobody_answers() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
    bench.act(sid, dial(21, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    bench.at_phone(&bob);
    bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    bench.request(&mut bob, "INVITE", "", "");
    let there = bench.at_phone(&alice);
    bench.reply(&alice, &there, 200, "", &sdp("alice", 4_200, "0"));
    assert_eq!(bench.at_phone(&bob).start(), "200 OK");
    bench.silent();
    bench.request(&mut bob, "BYE", "", "");
    let ack = bench.at_phone(&alice);
    assert!(ack.method() == Method::Ack && ack.text().contains("a=inactive"), "{}", ack.text());
    bench.act(sid, crate::sip::command::Action::Hold).expect("taken");
    bench.reinvited(&mut alice, &sdp("alice", 4_200, "0"));
    bench.act(sid, hangup()).expect("taken");
    bench.sent.retain(|sent| sent.method() == Method::Bye);
    bench.hung_up(&alice);
    bench.end();
}

/// [C-088] [C-155] A callee with more early dialogs than are told apart: the caller is answered.
#[test]
fn more_forks_than_are_told_apart() {
    const TAGS: [&str; 17] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    for name in TAGS {
        bench.reply(&Phone { name, ..bob.clone() }, &invite, 180, "", "");
    }
    let last = Phone { name: "last", ..bob.clone() };
    bench.reply(&last, &invite, 200, "", &sdp("last", 6_000, "0"));
    bench.sent.retain(|sent| sent.start() == "200 OK");
    let ok = bench.at_phone(&alice);
    assert!(ok.text().contains("m=audio 6000"));
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.request(&mut alice, "BYE", "", "");
    bench.at_phone(&alice);
    bench.hung_up(&last);
    bench.end();
}

/// [C-088] A client with more contacts than there is room for: who is called decides, nobody is waited for
/// who is not.
#[test]
fn more_contacts_than_room() {
    let mut bench = Bench::new();
    bench.plan.calls.capacity = 2;
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, Owned::Client("carol".into()), "", &sdp("alice", 4_000, "0"));
    let (ticket, _) = bench.calls.next_lookup().expect("a question");
    let contact = |at: &str| Contact {
        uri: bytes::Bytes::from(format!("sip:carol@{at}")),
        destination: Flow { remote: at.parse().expect("an address"), ..Flow::nowhere() }.into(),
        route: None,
    };
    bench.with(|calls, cx| calls.bindings(cx, ticket, vec![contact(B), contact(C)]));
    let invite = bench.invited(&mut bob);
    bench.silent();
    bench.reply(&bob, &invite, 486, "", "");
    assert!(bench.at_phone(&bob).method() == Method::Ack);
    assert!(bench.at_phone(&alice).start().starts_with("486"));
    let ack = alice.ack("").replace("alice2", "alice1");
    bench.receive(A, &ack);
    bench.end();
}

/// [C-080] [C-171] The offer that a party makes when it has left already, its 2xx having crossed its BYE, is
/// answered in the session that there was.
#[test]
fn an_offer_behind_a_bye() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.connected(&mut alice, &mut bob, 1);
    bench.request(&mut bob, "INVITE", "", "");
    let ask = bench.at_phone(&alice);
    bench.request(&mut alice, "BYE", "", "");
    bench.reply(&alice, &ask, 200, "", &sdp("alice", 4_200, "0"));
    bench.sent.retain(|sent| sent.method() == Method::Ack && sent.to.to_string() == A);
    let ack = bench.at_phone(&alice).text();
    assert!(ack.contains("o=bob 1 ") && ack.contains("a=inactive"), "{ack}");
}
