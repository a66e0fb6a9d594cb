//! INVITE with Replaces for a leg of a call on another shard.

use super::joins::{answered, dial, replaces};
use super::moves::{pass, place, talk};
use crate::sip::call::testing::*;
use crate::sip::command::{Action, Dial};
use crate::sip::dialog::testing::Sent;
use crate::sip::event::{CallStatus, Event};
use crate::sip::message::{HeaderId, Method};
use crate::sip::proxy::Owned;
use std::time::Duration;

/// Two shards; Alice calls Bob on the first, who rings: his INVITE, and what she hears.
fn ringing() -> ([Bench; 2], Phone, Phone, Sent, Sent) {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    alice.call_id = (0..).map(|n| format!("alice-{n}")).find(|id| place(0).owns(id.as_bytes())).expect("one");
    shards[0].call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0 8"));
    let invite = shards[0].invited(&mut bob);
    shards[0].reply(&bob, &invite, 180, "", "");
    let heard = shards[0].at_phone(&alice);
    alice.heard(&heard);
    (shards, alice, bob, invite, heard)
}

/// Carol's INVITE on the second, in the place of a leg of the first.
fn wants(shards: &mut [Bench; 2], phone: &Phone, tag: &str, more: &str, codecs: &str) -> Phone {
    let n = shards[1].started().len() as u32;
    let mut carol = Phone { call_id: format!("carol-{n}"), branch: n * 10, ..Phone::new(C, "carol") };
    let headers = replaces(phone, tag).replace('\n', &format!("{more}\n"));
    shards[1].call(&mut carol, Owned::Replaces, &headers, &sdp("carol", 6_000, codecs));
    assert_eq!(shards[1].refused, None);
    carol
}

/// Bob wants her to.
fn named(shards: &mut [Bench; 2], bob: &Phone) {
    shards[0].named(bob, &bob.tag());
}

/// One shard hears what the other says, once.
fn hears(shards: &mut [Bench; 2], at: usize) {
    for (to, message) in std::mem::take(&mut shards[1 - at].peers) {
        assert_eq!(usize::from(to), at);
        shards[at].with(|calls, cx| calls.peer(cx, message));
    }
}

/// Bob's phone stops ringing.
fn called_off(shards: &mut [Bench; 2], bob: &Phone, invite: &Sent) {
    let cancel = shards[0].at_phone(bob);
    assert_eq!(cancel.method(), Method::Cancel, "{}", cancel.text());
    shards[0].reply(bob, &cancel, 200, "", "");
    shards[0].reply(bob, invite, 487, "", "");
    assert_eq!(shards[0].at_phone(bob).method(), Method::Ack);
}

/// A phone acknowledges that its last INVITE was refused.
fn refuses(bench: &mut Bench, phone: &Phone) {
    let ack = Phone { branch: phone.branch - 1, ..phone.clone() }.ack("");
    bench.receive(phone.at, &ack);
}

/// Nothing is left on either.
fn end(shards: &mut [Bench; 2]) {
    pass(shards, Duration::from_secs(300));
    for bench in shards {
        assert_eq!((bench.calls.len(), bench.transactions.len(), bench.transactions.timers()), (0, 0, 0));
    }
}

/// A leg that rings on another shard is picked up: first the new party is accepted, then the ringing
/// one is cancelled, and the caller, who has the new party's description as the answer, comes to where that is.
#[test]
fn a_ringing_leg_elsewhere() {
    let (mut shards, mut alice, bob, invite, heard) = ringing();
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "8");
    hears(&mut shards, 0);
    shards[0].silent();
    hears(&mut shards, 1);
    let ok = shards[1].at_phone(&carol);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 4000"), "{}", ok.text());
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    talk(&mut shards);
    called_off(&mut shards, &bob, &invite);
    let ok = shards[0].at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 6000"), "{}", ok.text());
    assert_eq!(ok.header(HeaderId::To), heard.header(HeaderId::To));
    alice.heard(&ok);
    shards[0].ack(&mut alice, "");
    pass(&mut shards, Duration::from_millis(200));
    assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), Some(1));
    let (a, c) = (shards[0].started()[0], shards[1].started()[0]);
    assert!(shards[1].has(&Event::Joined(a, c)), "{:?}", shards[1].events);
    shards.iter().for_each(Bench::silent);
    shards[1].request(&mut carol, "BYE", "", "");
    shards[1].at_phone(&carol);
    shards[1].hung_up(&alice);
    end(&mut shards);
}

/// The same of a leg that is called for a party which is up: that is asked again, with the new party's
/// description.
#[test]
fn a_leg_that_rings_for_one_who_is_up() {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let a = answered(&mut shards[0], &mut alice, &sdp("alice", 4_000, "0"));
    let Action::Dial(limited) = dial(21, "200") else { panic!("a dial") };
    let limited = Dial { time_limit: Some(Duration::from_secs(60)), ..*limited };
    shards[0].act(a, Action::Dial(Box::new(limited))).expect("taken");
    let invite = shards[0].invited(&mut bob);
    shards[0].reply(&bob, &invite, 180, "", "");
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    talk(&mut shards);
    let ok = shards[1].at_phone(&carol);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 4000"), "{}", ok.text());
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    called_off(&mut shards, &bob, &invite);
    pass(&mut shards, Duration::from_millis(200));
    let asked = shards[1].at_phone(&carol);
    assert_eq!(asked.method(), Method::Invite);
    shards[1].reply(&carol, &asked, 200, "", &sdp("carol", 6_000, "0"));
    let (offer, _) = shards[1].reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(offer.text().contains("m=audio 6000"), "{}", offer.text());
    assert_eq!(shards[1].at_phone(&carol).method(), Method::Ack);
    let c = shards[1].started()[0];
    assert!(shards[1].has(&Event::Joined(a, c)));
    // She is who the dial has reached, and may talk as long as it allows.
    pass(&mut shards, Duration::from_secs(59));
    shards.iter().for_each(Bench::silent);
    pass(&mut shards, Duration::from_secs(1));
    shards[1].hung_up(&carol);
    let over = |event: &Event| matches!(event, Event::DialEnded(told) if told.sid == a && told.winner == Some(c) && told.status == CallStatus::Completed);
    assert!(shards[1].events.iter().any(over), "{:?}", shards[1].events);
    shards[1].act(a, super::joins::hangup()).expect("taken");
    shards[1].hung_up(&alice);
    end(&mut shards);
}

/// Refusals are those of a leg on the INVITE's own shard, and nothing has changed by them.
#[test]
fn refused_as_here() {
    let (mut shards, mut alice, bob, invite, heard) = ringing();
    let at_alice = Sent::tag_of(&heard.header(HeaderId::To)).to_owned();
    let attempt = |shards: &mut [Bench; 2], phone: &Phone, tag: &str, more: &str, codecs: &str| {
        let carol = wants(shards, phone, tag, more, codecs);
        talk(shards);
        let answer = shards[1].at_phone(&carol).start();
        answer.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(attempt(&mut shards, &bob, &bob.tag(), "", "0"), "403", "whoever knows the dialog's names");
    shards[0].named(&alice, &at_alice);
    assert_eq!(attempt(&mut shards, &alice, &at_alice, "", "0"), "481", "one that Baton did not begin");
    named(&mut shards, &bob);
    assert_eq!(attempt(&mut shards, &bob, &bob.tag(), "", "18"), "488", "nothing in common");
    shards[0].silent();
    shards[0].reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    shards[0].at_phone(&bob);
    let ok = shards[0].at_phone(&alice);
    alice.heard(&ok);
    shards[0].ack(&mut alice, "");
    // Something is under way, and it cannot come: nor need it.
    shards[0].request(&mut alice, "INFO", "", "");
    let info = shards[0].at_phone(&bob);
    assert_eq!(attempt(&mut shards, &bob, &bob.tag(), ";early-only", "0"), "486");
    shards[0].reply(&bob, &info, 200, "", "");
    shards[0].request(&mut alice, "BYE", "", "");
    shards[0].sent.retain(|sent| sent.method() == Method::Bye);
    shards[0].hung_up(&bob);
    assert_eq!(attempt(&mut shards, &bob, &bob.tag(), "", "0"), "603");
    shards.iter_mut().for_each(|bench| bench.sent.clear());
    end(&mut shards);
}

/// The new party gives up before it is accepted: the leg rings on. Who was to talk to it leaves just
/// after that, or is answered by the leg itself.
#[test]
fn picked_up_too_late() {
    let (mut shards, mut alice, bob, invite, _) = ringing();
    named(&mut shards, &bob);
    let carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    hears(&mut shards, 0);
    let cancel = carol.cancel("");
    shards[1].receive(C, &cancel);
    shards[1].sent.clear();
    talk(&mut shards);
    shards.iter().for_each(Bench::silent);

    // Bob picks up himself, as Carol has been accepted: he is replaced then.
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    hears(&mut shards, 0);
    hears(&mut shards, 1);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    shards[0].reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    shards[0].at_phone(&bob);
    let ok = shards[0].at_phone(&alice);
    alice.heard(&ok);
    shards[0].ack(&mut alice, "");
    talk(&mut shards);
    let asked = shards[1].at_phone(&carol);
    shards[1].reply(&carol, &asked, 200, "", &sdp("carol", 6_000, "0"));
    shards[1].reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert_eq!(shards[1].at_phone(&carol).method(), Method::Ack);
    shards[1].hung_up(&bob);
    shards[1].request(&mut alice, "BYE", "", "");
    shards[1].at_phone(&alice);
    shards[1].hung_up(&carol);
    end(&mut shards);

    // Alice gives up.
    let (mut shards, alice, bob, invite, _) = ringing();
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    hears(&mut shards, 0);
    hears(&mut shards, 1);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    let cancel =
        Phone { cseq: 1, branch: 1, remote: "<sip:100@baton.example>".into(), ..alice.clone() }.cancel("");
    shards[0].receive(A, &cancel);
    shards[0].sent.retain(|sent| sent.to.to_string() == B);
    called_off(&mut shards, &bob, &invite);
    talk(&mut shards);
    shards[1].hung_up(&carol);
    end(&mut shards);
}

/// Neither of the two, who wants its session changed before they are together, is told that it is alone:
/// it is to ask again.
#[test]
fn changes_wait_until_they_are_together() {
    let (mut shards, mut alice, bob, invite, _) = ringing();
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    talk(&mut shards);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    shards[1].request(&mut carol, "INVITE", "", &sdp("carol", 6_002, "0"));
    let refused = shards[1].at_phone(&carol);
    assert!(refused.start().starts_with("491"), "{}", refused.text());
    refuses(&mut shards[1], &carol);
    called_off(&mut shards, &bob, &invite);
    let ok = shards[0].at_phone(&alice);
    alice.heard(&ok);
    shards[0].ack(&mut alice, "");
    shards[0].request(&mut alice, "INVITE", "", &sdp("alice", 4_002, "0"));
    let refused = shards[0].at_phone(&alice);
    assert!(refused.start().starts_with("491"), "{}", refused.text());
    refuses(&mut shards[0], &alice);
    pass(&mut shards, Duration::from_millis(200));
    let (a, c) = (shards[0].started()[0], shards[1].started()[0]);
    assert!(shards[1].has(&Event::Joined(a, c)), "{:?}", shards[1].events);
    shards.iter().for_each(Bench::silent);
    shards[1].request(&mut carol, "INVITE", "", &sdp("carol", 6_002, "0"));
    let asked = shards[1].at_phone(&alice);
    assert!(asked.text().contains("m=audio 6002"), "{}", asked.text());
    shards[1].reply(&alice, &asked, 200, "", &sdp("alice", 4_002, "0"));
    shards[1].sent.clear();
    shards[1].ack(&mut carol, "");
    shards[1].request(&mut carol, "BYE", "", "");
    shards[1].at_phone(&carol);
    shards[1].hung_up(&alice);
    end(&mut shards);
}

/// Its application answers the caller just before the pick-up does: what it was told then is not what
/// the new party says, so they are asked.
#[test]
fn a_caller_answered_otherwise() {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    alice.call_id = (0..).map(|n| format!("alice-{n}")).find(|id| place(0).owns(id.as_bytes())).expect("one");
    shards[0].call(&mut alice, Owned::Application(0), "", &sdp("alice", 4_000, "0"));
    let a = shards[0].started()[0];
    shards[0].act(a, dial(21, "200")).expect("taken");
    let invite = shards[0].invited(&mut bob);
    shards[0].reply(&bob, &invite, 180, "", "");
    shards[0].sent.clear();
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    hears(&mut shards, 0);
    hears(&mut shards, 1);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    shards[0].act(a, Action::Answer { sdp: None, headers: Vec::new() }).expect("taken");
    let ok = shards[0].at_phone(&alice);
    alice.heard(&ok);
    shards[0].ack(&mut alice, "");
    talk(&mut shards);
    called_off(&mut shards, &bob, &invite);
    pass(&mut shards, Duration::from_millis(200));
    let asked = shards[1].at_phone(&carol);
    shards[1].reply(&carol, &asked, 200, "", &sdp("carol", 6_000, "0"));
    let (offer, _) = shards[1].reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(offer.text().contains("m=audio 6000"), "{}", offer.text());
    assert_eq!(shards[1].at_phone(&carol).method(), Method::Ack);
    assert!(shards[1].has(&Event::Joined(a, shards[1].started()[0])));
    shards[1].request(&mut carol, "BYE", "", "");
    shards[1].at_phone(&carol);
    shards[1].act(a, super::joins::hangup()).expect("taken");
    shards[1].hung_up(&alice);
    end(&mut shards);
}

/// [C-141] Whom the leg rang for has all its time to acknowledge its answer; only if it never does are both ended.
#[test]
fn a_late_acknowledgement() {
    for comes in [true, false] {
        let (mut shards, mut alice, bob, invite, _) = ringing();
        named(&mut shards, &bob);
        let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
        talk(&mut shards);
        let ok = shards[1].at_phone(&carol);
        carol.heard(&ok);
        shards[1].ack(&mut carol, "");
        called_off(&mut shards, &bob, &invite);
        let ok = shards[0].at_phone(&alice);
        alice.heard(&ok);
        pass(&mut shards, Duration::from_secs(25));
        shards[1].silent();
        assert!(shards[0].sent.drain(..).all(|sent| sent.start() == "200 OK"));
        if comes {
            shards[0].ack(&mut alice, "");
            pass(&mut shards, Duration::from_millis(200));
            shards.iter().for_each(Bench::silent);
            let (a, c) = (shards[0].started()[0], shards[1].started()[0]);
            assert!(shards[1].has(&Event::Joined(a, c)), "{:?}", shards[1].events);
            shards[1].request(&mut carol, "BYE", "", "");
            shards[1].at_phone(&carol);
            shards[1].hung_up(&alice);
        } else {
            pass(&mut shards, Duration::from_secs(10));
            shards[0].sent.retain(|sent| sent.method() == Method::Bye);
            shards[0].hung_up(&alice);
            shards[1].hung_up(&carol);
        }
        end(&mut shards);
    }
}

/// Who waits for the one that it is to talk to goes to no third shard meanwhile.
#[test]
fn who_waits_is_not_moved() {
    let (mut shards, mut alice, bob, invite, _) = ringing();
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    talk(&mut shards);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    called_off(&mut shards, &bob, &invite);
    let ok = shards[0].at_phone(&alice);
    alice.heard(&ok);
    shards[1].named(&carol, &carol.tag());
    let mut dave = Phone { call_id: "dave-1".into(), branch: 70, ..Phone::new(C, "dave") };
    let headers = replaces(&carol, &carol.tag());
    shards[0].call(&mut dave, Owned::Replaces, &headers, &sdp("dave", 8_000, "0"));
    pass(&mut shards, Duration::from_secs(6));
    shards[0].sent.retain(|sent| sent.start() != "200 OK" && sent.start() != "100 Trying");
    let refused = shards[0].at_phone(&dave);
    assert_eq!(refused.start().split(' ').next(), Some("491"), "{}", refused.text());
    refuses(&mut shards[0], &dave);
    shards[0].ack(&mut alice, "");
    pass(&mut shards, Duration::from_millis(200));
    let a = shards[0].started()[0];
    assert!(shards[1].events.iter().any(|event| matches!(event, Event::Joined(caller, _) if *caller == a)));
    shards[1].request(&mut carol, "BYE", "", "");
    shards[1].at_phone(&carol);
    shards[1].hung_up(&alice);
    end(&mut shards);
}

/// Who is up and has something under way is left to that: the new party is accepted when that is over, or not
/// at all.
#[test]
fn whom_it_rings_for_is_busy() {
    for over in [true, false] {
        let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
        let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
        let a = answered(&mut shards[0], &mut alice, &sdp("alice", 4_000, "0"));
        shards[0].act(a, dial(21, "200")).expect("taken");
        let invite = shards[0].invited(&mut bob);
        shards[0].reply(&bob, &invite, 180, "", "");
        let info = Action::Request { method: "INFO".into(), headers: Vec::new(), body: None };
        shards[0].act(a, info).expect("taken");
        let info = shards[0].at_phone(&alice);
        named(&mut shards, &bob);
        let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
        pass(&mut shards, Duration::from_secs(1));
        shards[1].sent.retain(|sent| !sent.start().starts_with("100"));
        shards[1].silent();
        if over {
            shards[0].reply(&alice, &info, 200, "", "");
            pass(&mut shards, Duration::from_millis(200));
            let ok = shards[1].at_phone(&carol);
            assert_eq!(ok.start(), "200 OK");
            carol.heard(&ok);
            shards[1].ack(&mut carol, "");
            shards[0].sent.retain(|sent| sent.to.to_string() == B);
            called_off(&mut shards, &bob, &invite);
            pass(&mut shards, Duration::from_millis(200));
            assert_eq!(shards[0].calls.redirect(alice.call_id.as_bytes()), Some(1));
            shards[1].sent.clear();
            shards[1].request(&mut carol, "BYE", "", "");
            shards[1].act(a, super::joins::hangup()).expect("taken");
        } else {
            pass(&mut shards, Duration::from_secs(4));
            let refused = shards[1].at_phone(&carol);
            assert!(refused.start().starts_with("491"), "{}", refused.text());
            shards[0].sent.retain(|sent| sent.to.to_string() == B);
            shards[0].silent();
            shards[0].act(a, super::joins::hangup()).expect("taken");
        }
        shards.iter_mut().for_each(|bench| bench.sent.clear());
        end(&mut shards);
    }
}

/// It has become busy just after that, and does not come: it stays, as its control plane decides for it, and the new
/// party is released.
#[test]
fn whom_it_rings_for_does_not_come() {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let a = answered(&mut shards[0], &mut alice, &sdp("alice", 4_000, "0"));
    shards[0].act(a, dial(21, "200")).expect("taken");
    let invite = shards[0].invited(&mut bob);
    shards[0].reply(&bob, &invite, 180, "", "");
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    hears(&mut shards, 0);
    hears(&mut shards, 1);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    let info = Action::Request { method: "INFO".into(), headers: Vec::new(), body: None };
    shards[0].act(a, info).expect("taken");
    let info = shards[0].at_phone(&alice);
    talk(&mut shards);
    called_off(&mut shards, &bob, &invite);
    pass(&mut shards, Duration::from_secs(5));
    shards[1].hung_up(&carol);
    shards[0].reply(&alice, &info, 200, "", "");
    shards[0].sent.retain(|sent| sent.method() == Method::Bye);
    shards[0].silent();
    let over = |event: &Event| matches!(event, Event::DialEnded(told) if told.sid == a);
    assert!(shards[0].events.iter().any(over), "{:?}", shards[0].events);
    shards[0].act(a, super::joins::hangup()).expect("taken");
    shards[0].hung_up(&alice);
    end(&mut shards);
}

/// A leg that was called for nobody answers while the new party is accepted: that takes its place all the same.
#[test]
fn one_that_rings_for_nobody() {
    let mut shards = [Bench::at(place(0)), Bench::at(place(1))];
    let mut bob = Phone::new(B, "bob");
    let invite = super::joins::called(&mut shards[0], 1, "200", &mut bob);
    shards[0].reply(&bob, &invite, 180, "", "");
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    hears(&mut shards, 0);
    hears(&mut shards, 1);
    let ok = shards[1].at_phone(&carol);
    assert_eq!(ok.start(), "200 OK");
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    shards[0].reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(shards[0].at_phone(&bob).method(), Method::Ack);
    pass(&mut shards, Duration::from_millis(200));
    shards[1].hung_up(&bob);
    shards.iter().for_each(Bench::silent);
    shards[1].request(&mut carol, "BYE", "", "");
    shards[1].at_phone(&carol);
    end(&mut shards);
}

/// [R-091] [C-155] A caller that has heard the ringing one is answered in a dialog of its own.
#[test]
fn a_caller_that_has_heard_who_rings() {
    let (mut shards, mut alice, bob, invite, heard) = ringing();
    shards[0].reply(&bob, &invite, 183, "", &sdp("bob", 5_000, "0"));
    assert!(shards[0].at_phone(&alice).text().contains("m=audio 5000"));
    named(&mut shards, &bob);
    let mut carol = wants(&mut shards, &bob, &bob.tag(), "", "0");
    talk(&mut shards);
    let ok = shards[1].at_phone(&carol);
    carol.heard(&ok);
    shards[1].ack(&mut carol, "");
    called_off(&mut shards, &bob, &invite);
    let ok = shards[0].at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 6000"), "{}", ok.text());
    assert_ne!(ok.header(HeaderId::To), heard.header(HeaderId::To));
    alice.heard(&ok);
    shards[0].ack(&mut alice, "");
    pass(&mut shards, Duration::from_millis(200));
    let (a, c) = (shards[0].started()[0], shards[1].started()[0]);
    assert!(shards[1].has(&Event::Joined(a, c)), "{:?}", shards[1].events);
    shards[1].request(&mut carol, "BYE", "", "");
    shards[1].at_phone(&carol);
    shards[1].hung_up(&alice);
    end(&mut shards);
}
