//! Calls on two shards that meet (law 2).

use crate::shard::owner::HashKey;
use crate::shard::{PeerMessage, Place};
use crate::sip::call::Errand;
use crate::sip::call::testing::*;
use crate::sip::command::{Action, Command, Order, ReferOrder};
use crate::sip::event::{Event, ReferSid};
use crate::sip::message::Method;
use crate::sip::proxy::Owned;
use std::time::Duration;

pub(super) fn place(index: u16) -> Place {
    Place { index, shards: 2, key: HashKey::new([3; 16]) }
}

/// Gives each shard what the other says, until both are quiet.
pub(super) fn talk(shards: &mut [Bench; 2]) {
    loop {
        let said: Vec<(u16, PeerMessage)> =
            shards.iter_mut().flat_map(|bench| std::mem::take(&mut bench.peers)).collect();
        if said.is_empty() {
            return;
        }
        for (to, message) in said {
            shards[usize::from(to)].with(|calls, cx| calls.peer(cx, message));
        }
    }
}

/// Two shards; Alice talks to Bob on the first.
fn talking() -> ([Bench; 2], Phone, Phone) {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    alice.call_id = (0..).map(|n| format!("alice-{n}")).find(|id| place(0).owns(id.as_bytes())).expect("one");
    shards[0].connected(&mut alice, &mut bob, 1);
    assert!(place(0).owns(bob.call_id.as_bytes()), "its legs have Call-IDs that come here");
    (shards, alice, bob)
}

/// Carol's INVITE, which replaces Bob's leg, comes to the second.
fn replacing(shards: &mut [Bench; 2], bob: &Phone) -> Phone {
    let mut carol = Phone::new(C, "carol");
    // Bob's REFER may come to either shard.
    shards[1].named(bob, &bob.tag());
    talk(shards);
    let headers = super::joins::replaces(bob, &bob.tag());
    shards[1].call(&mut carol, Owned::Replaces, &headers, &sdp("carol", 6_000, "0"));
    assert_eq!(shards[1].refused, None);
    carol
}

fn apart() -> ([Bench; 2], Phone, Phone, Phone) {
    let (mut shards, alice, bob) = talking();
    let carol = replacing(&mut shards, &bob);
    (shards, alice, bob, carol)
}

/// An order to transfer the party of a leg; after a success the leg has three seconds.
fn refer(sid: u128) -> Action {
    Action::Refer(Box::new(ReferOrder {
        sid: ReferSid(sid),
        to: "sip:300@example.com".into(),
        referred_by: None,
        replaces: None,
        headers: Vec::new(),
        credentials: None,
        no_subscription: false,
        bye_after: Some(Duration::from_secs(3)),
        force: false,
        hold: false,
    }))
}

/// Lets time go by on both.
pub(super) fn pass(shards: &mut [Bench; 2], span: Duration) {
    let step = Duration::from_millis(100);
    for _ in 0..span.as_millis() / step.as_millis() {
        shards.iter_mut().for_each(|bench| bench.pass(step));
        talk(shards);
    }
}

/// The call moves whole, goes on there, and its old shard sends after it what comes for it, orders too,
/// until it is over.
#[test]
fn a_call_moves() {
    let (mut shards, mut alice, bob, mut carol) = apart();
    talk(&mut shards);
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), Some(1));
    assert_eq!(shards[0].calls.redirect(bob.call_id.as_bytes()), Some(1));
    assert_eq!(shards[0].calls.legs(), 0);
    let there = &mut shards[1];
    let (offer, _) = there.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(offer.text().contains("m=audio 6000"));
    let ok = there.at_phone(&carol);
    carol.heard(&ok);
    there.ack(&mut carol, "");
    there.hung_up(&bob);
    let a = shards[0].started()[0];
    assert!(shards[1].events.iter().any(|e| matches!(e, Event::Joined(joined, _) if *joined == a)));
    let order = Order::Leg(a, Action::Hangup { status: None, reason: None });
    shards[0].with(|calls, cx| calls.command(cx, Command { ticket: 5, order }));
    talk(&mut shards);
    assert!(shards[1].has(&Event::Reply { ticket: 5, result: Ok(()) }));
    shards[1].hung_up(&alice);
    shards[1].hung_up(&carol);
    shards[1].pass(Duration::from_secs(300));
    talk(&mut shards);
    for bench in &mut shards {
        bench.pass(Duration::from_secs(300));
        assert_eq!(bench.calls.len(), 0);
        assert_eq!(bench.transactions.len(), 0);
        assert_eq!(bench.transactions.timers(), 0);
    }
}

/// A call with something under way stays until that is over; one that never comes to rest stays for good, and is
/// as busy as one that is here.
#[test]
fn only_a_quiet_call_moves() {
    let (mut shards, mut alice, bob, carol) = apart();
    shards[0].request(&mut alice, "INFO", "", "");
    let info = shards[0].at_phone(&bob);
    talk(&mut shards);
    shards[0].pass(Duration::from_millis(200));
    talk(&mut shards);
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), None);
    shards[0].reply(&bob, &info, 200, "", "");
    shards[0].pass(Duration::from_millis(60));
    talk(&mut shards);
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), Some(1));
    assert_eq!(shards[1].at_phone(&alice).method(), Method::Invite);
    drop(carol);

    let (mut shards, mut alice, mut bob, carol) = apart();
    shards[0].request(&mut alice, "INFO", "", "");
    shards[0].at_phone(&bob);
    talk(&mut shards);
    for _ in 0..50 {
        for bench in &mut shards {
            bench.pass(Duration::from_millis(100));
        }
        talk(&mut shards);
    }
    assert!(shards[1].waiting().iter().any(|line| line.contains(" 491 ")), "{}", carol.name);
    shards[1].sent.clear();
    shards[0].request(&mut bob, "BYE", "", "");
    shards[0].sent.retain(|sent| sent.method() == Method::Bye);
    shards[0].hung_up(&alice);
    shards[0].sent.clear();
    shards[0].end();
    shards[1].end();
}

/// What is still to be done about a party after its transfer keeps its call where it is: the BYE
/// that its order asked for goes out.
#[test]
fn an_order_is_carried_out_before_a_call_moves() {
    let (mut shards, mut alice, bob) = talking();
    let a = shards[0].started()[0];
    shards[0].act(a, refer(1)).expect("taken");
    let sent = shards[0].at_phone(&alice);
    assert_eq!(sent.method(), Method::Refer);
    shards[0].reply(&alice, &sent, 202, "", "");
    let notify = alice.request(
        "NOTIFY",
        "Event: refer\nSubscription-State: terminated;reason=noresource\n",
        "SIP/2.0 200 OK\r\n",
    );
    shards[0].receive(A, &notify.replace("application/sdp", "message/sipfrag"));
    assert_eq!(shards[0].at_phone(&alice).start(), "200 OK");
    let carol = replacing(&mut shards, &bob);
    pass(&mut shards, Duration::from_millis(2_500));
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), None);
    pass(&mut shards, Duration::from_millis(1_000));
    shards[0].hung_up(&alice);
    shards[0].sent.retain(|sent| sent.method() == Method::Bye);
    shards[0].hung_up(&bob);
    pass(&mut shards, Duration::from_secs(10));
    assert!(shards[1].waiting().iter().any(|line| line.contains(" 603 ")), "{}", carol.name);
    shards[1].sent.clear();
    shards.iter_mut().for_each(Bench::end);
}

/// [R-036] [C-218] What is known of a party moves with it, and stays nowhere: one that does not know REFER
/// is asked for none.
#[test]
fn what_is_known_moves_too() {
    let (mut shards, mut alice, bob) = talking();
    let a = shards[0].started()[0];
    shards[0].act(a, refer(1)).expect("taken");
    let sent = shards[0].at_phone(&alice);
    shards[0].reply(&alice, &sent, 405, "", "");
    pass(&mut shards, Duration::from_secs(120));
    let mut carol = replacing(&mut shards, &bob);
    talk(&mut shards);
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), Some(1));
    let there = &mut shards[1];
    there.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    let ok = there.at_phone(&carol);
    carol.heard(&ok);
    there.ack(&mut carol, "");
    there.hung_up(&bob);
    there.act(a, refer(2)).expect("taken");
    there.silent();
    let known = |event: &Event| matches!(event, Event::Refer(told) if told.sid == ReferSid(2) && told.refer_code == Some(405));
    assert!(there.events.iter().any(known));
    there.act(a, Action::Hangup { status: None, reason: None }).expect("taken");
    there.hung_up(&alice);
    there.hung_up(&carol);
    pass(&mut shards, Duration::from_secs(300));
    for bench in &mut shards {
        assert_eq!((bench.calls.len(), bench.transactions.len(), bench.transactions.timers()), (0, 0, 0));
    }
}

/// A dialog that nobody has.
#[test]
fn nothing_to_move() {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let elsewhere = (0..).map(|n| format!("x-{n}")).find(|id| place(0).owns(id.as_bytes())).expect("one");
    let mut carol = Phone::new(C, "carol");
    let headers = format!("Replaces: {elsewhere};to-tag=1;from-tag=2\n");
    shards[1].call(&mut carol, Owned::Replaces, &headers, &sdp("carol", 6_000, "0"));
    talk(&mut shards);
    assert!(shards[1].at_phone(&carol).start().starts_with("481"));
    shards[1].end();
}

/// A party that was left alone just before it moved is put on hold where it is now.
#[test]
fn who_is_left_alone_moves() {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = super::joins::answered(&mut shards[0], &mut alice, &sdp("alice", 4_000, "0"));
    shards[0].act(sid, super::joins::dial(21, "200")).expect("taken");
    let invite = shards[0].invited(&mut bob);
    shards[0].reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    shards[0].at_phone(&bob);
    shards[0].reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    shards[0].request(&mut bob, "BYE", "", "");
    shards[0].at_phone(&bob);
    let bytes = |text: &str| bytes::Bytes::copy_from_slice(text.as_bytes());
    let (call_id, local_tag) = (bytes(&alice.call_id), bytes(&alice.tag()));
    let claim = PeerMessage::Claim {
        from: 1,
        ticket: 1,
        call_id,
        local_tag,
        remote_tag: bytes(alice.name),
        errand: Errand::Whole,
    };
    shards[0].with(|calls, cx| calls.peer(cx, claim));
    talk(&mut shards);
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), Some(1));
    pass(&mut shards, Duration::from_millis(600));
    shards[0].silent();
    let (hold, _) = shards[1].reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(hold.text().contains("a=inactive"), "{}", hold.text());
    shards[1].act(sid, super::joins::hangup()).expect("taken");
    shards[1].hung_up(&alice);
    pass(&mut shards, Duration::from_secs(200));
    assert!(shards.iter().all(|bench| bench.calls.is_empty()));
}
