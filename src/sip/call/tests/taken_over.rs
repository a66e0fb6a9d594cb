//! INVITE with Replaces for a leg that something else is under way with, or that has more than one other party.

use super::joins::{answered, dial, hangup, placed, replaces};
use crate::sip::call::testing::*;
use crate::sip::command::{Action, Dial};
use crate::sip::event::{CallSid, Event};
use crate::sip::message::Method;
use crate::sip::plan::{Action as RouteAction, Fork, Mode, Origin, ReferMode, Route, TrunkIx, UserMatch};
use crate::sip::proxy::Owned;
use std::time::Duration;

/// Somebody's INVITE, from Carol's trunk, for a leg that its party wants to be replaced; the code it is refused with.
fn attempt(bench: &mut Bench, phone: &Phone, name: &'static str) -> Option<u16> {
    bench.named(phone, &phone.tag());
    bench.refused = None;
    let mut new = Phone::new(C, name);
    bench.call(&mut new, Owned::Replaces, &replaces(phone, &phone.tag()), &sdp(name, 6_000, "0"));
    bench.refused
}

/// Who rings for a transfer is not to be had by others: the transfer goes on as it was.
#[test]
fn a_target_that_rings() {
    let mut bench = Bench::new();
    for trunk in &mut bench.plan.trunks {
        trunk.refer = ReferMode::Terminate;
    }
    bench.plan.routes.push(Route {
        from: vec![Origin::Trunk(TrunkIx(1))],
        user: UserMatch::Prefix("3".into()),
        action: RouteAction::Trunks { to: vec![TrunkIx(2)], fork: Fork::Serial, mode: Mode::B2bua },
    });
    let (mut alice, mut bob, mut carol) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(C, "carol"));
    bench.connected(&mut alice, &mut bob, 1);
    bench.request(&mut bob, "REFER", "Refer-To: <sip:300@example.com>\n", "");
    bench.sent.retain(|sent| sent.to.to_string() == C);
    let invite = bench.invited(&mut carol);
    bench.reply(&carol, &invite, 180, "", "");
    bench.sent.clear();
    assert_eq!(attempt(&mut bench, &carol, "dave"), Some(491));
    bench.silent();
    bench.reply(&carol, &invite, 200, "", &sdp("carol", 6_000, "0"));
    assert_eq!(bench.at_phone(&carol).method(), Method::Ack);
    let (offer, _) = bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(offer.text().contains("m=audio 6000"));
    let [a, _, c] = bench.started()[..] else { panic!("three calls") };
    assert!(bench.has(&Event::Joined(a, c)));
    bench.sent.clear();
    bench.request(&mut alice, "BYE", "", "");
    bench.sent.clear();
    bench.end();
}

/// A leg that has answered and is being joined has a place, though it talks to nobody yet: it keeps that.
#[test]
fn one_that_is_being_joined() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let a = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
    bench.act(a, dial(21, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let offer = bench.at_phone(&alice);
    assert_eq!(attempt(&mut bench, &bob, "carol"), Some(491));
    bench.silent();
    bench.reply(&alice, &offer, 200, "", &sdp("alice", 4_000, "0"));
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    assert!(bench.has(&Event::Joined(a, CallSid(21))), "{:?}", bench.events);
    bench.act(a, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// Whom the survivor has talked to before, beside the one who is replaced, is not left sending to nobody.
#[test]
fn whom_the_survivor_leaves() {
    let mut bench = Bench::new();
    let (mut alice, mut bob, mut dave) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(B, "dave"));
    let a = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
    let b = placed(&mut bench, 31, "200", &mut bob);
    bench.act(b, Action::Join(a)).expect("taken");
    let ask = bench.at_phone(&alice);
    bench.reply(&alice, &ask, 200, "", &sdp("alice", 4_000, "0"));
    bench.reinvited(&mut bob, &sdp("bob", 5_000, "0"));
    bench.at_phone(&alice);
    assert!(bench.has(&Event::Joined(b, a)), "{:?}", bench.events);
    bench.sent.clear();
    bench.act(a, dial(21, "200")).expect("taken");
    let invite = bench.invited(&mut dave);
    bench.reply(&dave, &invite, 180, "", "");
    assert_eq!(attempt(&mut bench, &dave, "carol"), None);
    bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    let to_bob = |sent: &crate::sip::dialog::testing::Sent| {
        sent.to.to_string() == B && sent.method() == Method::Invite && sent.text().contains("a=inactive")
    };
    assert!(bench.sent.iter().any(to_bob), "{:?}", bench.waiting());
    bench.sent.clear();
    for sid in bench.started() {
        let _ = bench.act(sid, hangup());
    }
    bench.sent.clear();
    bench.end();
}

/// Who takes a leg's place has it as long as that might have had it, whether the leg rang or was up.
#[test]
fn the_time_limit_stays() {
    let limited = |action| match action {
        Action::Dial(dial) => {
            Action::Dial(Box::new(Dial { time_limit: Some(Duration::from_secs(60)), ..*dial }))
        }
        other => other,
    };
    for rings in [true, false] {
        let mut bench = Bench::new();
        let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
        let a = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
        bench.act(a, limited(dial(21, "200"))).expect("taken");
        let invite = bench.invited(&mut bob);
        if rings {
            bench.reply(&bob, &invite, 180, "", "");
        } else {
            bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
            bench.at_phone(&bob);
            bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
        }
        bench.pass(Duration::from_secs(20));
        assert_eq!(attempt(&mut bench, &bob, "carol"), None);
        bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
        let mut carol = Phone { cseq: 1, branch: 1, ..Phone::new(C, "carol") };
        let ok = bench.at_phone(&carol);
        carol.heard(&ok);
        bench.ack(&mut carol, "");
        bench.sent.clear();
        bench.pass(Duration::from_secs(if rings { 59 } else { 39 }));
        bench.sent.retain(|sent| sent.to.to_string() == C);
        bench.silent();
        bench.pass(Duration::from_secs(2));
        bench.hung_up(&carol);
        bench.act(a, hangup()).expect("taken");
        bench.sent.clear();
        bench.end();
    }
}
