//! Calls of applications that ring.

use crate::sip::call::testing::*;
use crate::sip::command::{Action, Dial, DialParty, Party};
use crate::sip::event::{CallSid, CallStatus};
use crate::sip::message::Method;
use crate::sip::proxy::Owned;
use std::time::Duration;

fn ringing(bench: &mut Bench) -> (Phone, CallSid) {
    let mut alice = Phone::new(A, "alice");
    bench.call(&mut alice, Owned::Application(0), "", &sdp("alice", 4_000, "0"));
    let sid = bench.started()[0];
    bench.act(sid, Action::Ring { status: 180, sdp: None }).expect("taken");
    assert!(bench.at_phone(&alice).start().starts_with("180"));
    (alice, sid)
}

fn finals(bench: &Bench, phone: &Phone) -> Vec<String> {
    let to_phone = |line: &String| line.starts_with(phone.at) && !line.contains(" 180 ");
    bench.waiting().into_iter().filter(to_phone).collect()
}

/// [C-088] An application that has its call ring and then does nothing at all does not have it ring for ever.
#[test]
fn nobody_acts_any_more() {
    let mut bench = Bench::new();
    let (alice, sid) = ringing(&mut bench);
    bench.pass(Duration::from_secs(150));
    assert!(finals(&bench, &alice).is_empty(), "too early");
    // It has time again whenever it does something.
    bench.act(sid, Action::Ring { status: 180, sdp: None }).expect("taken");
    bench.pass(Duration::from_secs(150));
    assert!(finals(&bench, &alice).is_empty(), "too early");
    bench.pass(Duration::from_secs(60));
    assert!(finals(&bench, &alice)[0].contains(" 480 "), "{:?}", bench.waiting());
    assert_eq!(bench.life(sid).last(), Some(&(CallStatus::Failed, 480)));
    bench.end();
}

/// [C-088] What others ring for is theirs to bound, as long as they do; an answer ends the wait.
#[test]
fn others_ring_for_it() {
    let mut bench = Bench::new();
    bench.plan.timings.c = Duration::from_secs(90);
    let (mut alice, sid) = ringing(&mut bench);
    let mut bob = Phone::new(B, "bob");
    let called = DialParty {
        sid: CallSid(9),
        to: Party::Number("200".into()),
        headers: Vec::new(),
        credentials: None,
    };
    let timeout = Duration::from_secs(150);
    let dial = Dial { parties: vec![called], from: None, timeout, time_limit: None, join: true };
    bench.act(sid, Action::Dial(Box::new(dial))).expect("taken");
    let invite = bench.invited(&mut bob);
    for _ in 0..2 {
        bench.reply(&bob, &invite, 180, "", "");
        bench.pass(Duration::from_secs(60));
    }
    bench.sent.retain(|sent| sent.start() != "180 Ringing");
    bench.silent();
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    bench.at_phone(&bob);
    let ok = bench.at_phone(&alice);
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.pass(Duration::from_secs(400));
    bench.silent();
    bench.request(&mut alice, "BYE", "", "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    assert_eq!(bench.at_phone(&bob).method(), Method::Bye);
    bench.end();
}

/// [C-130] [C-139] The caller hangs up by BYE in the only early dialog in which anybody still rings: those of callees
/// that have failed before do not make it one of several, and nobody is called for it any more.
#[test]
fn an_early_farewell() {
    let mut bench = Bench::new();
    let mut alice = Phone::new(A, "alice");
    bench.call(&mut alice, Owned::Application(0), "", &sdp("alice", 4_000, "0"));
    let sid = bench.started()[0];
    let party = |sid: u128, to: &str| DialParty {
        sid: CallSid(sid),
        to: Party::Number(to.into()),
        headers: Vec::new(),
        credentials: None,
    };
    let dial = |parties| {
        let timeout = Duration::from_secs(60);
        Action::Dial(Box::new(Dial { parties, from: None, timeout, time_limit: None, join: true }))
    };
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    bench.act(sid, dial(vec![party(9, "200"), party(10, "300")])).expect("taken");
    let invites = [bench.invited(&mut bob), bench.invited(&mut carol)];
    for (phone, invite) in [&bob, &carol].into_iter().zip(&invites) {
        bench.reply(phone, invite, 180, "", "");
        bench.at_phone(&alice);
    }
    for (phone, invite) in [&bob, &carol].into_iter().zip(&invites) {
        bench.reply(phone, invite, 486, "", "");
        assert_eq!(bench.at_phone(phone).method(), Method::Ack);
    }
    bench.act(sid, dial(vec![party(11, "200")])).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    let ringing = bench.at_phone(&alice);
    alice.heard(&ringing);
    bench.request(&mut alice, "BYE", "", "");
    let said: Vec<String> = bench.waiting().into_iter().filter(|line| line.starts_with(alice.at)).collect();
    assert!(said.iter().any(|line| line.contains(" 487 ")), "{said:?}");
    assert!(bench.waiting().iter().any(|line| line.starts_with(bob.at) && line.contains("CANCEL")));
    assert_eq!(bench.life(sid).last(), Some(&(CallStatus::Canceled, 487)));
    bench.pass(Duration::from_secs(40));
}
