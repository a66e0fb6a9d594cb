//! Joining, its failures, and INVITE with Replaces.

use crate::sip::call::testing::*;
use crate::sip::command::{Action, Dial, DialParty, Order, Party, Place, Refused};
use crate::sip::dialog::testing::Sent;
use crate::sip::event::{CallSid, CallStatus, EndedBy, Event};
use crate::sip::message::{HeaderId, Method};
use crate::sip::proxy::Owned;
use std::time::Duration;

pub(super) fn placed(bench: &mut Bench, sid: u128, number: &str, phone: &mut Phone) -> CallSid {
    let invite = called(bench, sid, number, phone);
    bench.reply(phone, &invite, 200, "", &sdp(phone.name, 5_000, "0 8"));
    bench.at_phone(phone);
    CallSid(sid)
}

/// A phone is called by an order; its INVITE.
pub(super) fn called(bench: &mut Bench, sid: u128, number: &str, phone: &mut Phone) -> Sent {
    let place = Place {
        sid: CallSid(sid),
        account: "AC1".into(),
        from: "4930".into(),
        caller_name: None,
        to: Party::Number(number.into()),
        headers: Vec::new(),
        credentials: None,
        timeout: Duration::from_secs(20),
        sdp: None,
        by: None,
    };
    bench.order(Order::Place(Box::new(place))).expect("taken");
    bench.invited(phone)
}

pub(super) fn dial(sid: u128, number: &str) -> Action {
    let to = Party::Number(number.into());
    let parties = vec![DialParty { sid: CallSid(sid), to, headers: Vec::new(), credentials: None }];
    Action::Dial(Box::new(Dial {
        parties,
        from: None,
        timeout: Duration::from_secs(30),
        time_limit: None,
        join: true,
    }))
}

pub(super) fn hangup() -> Action {
    Action::Hangup { status: None, reason: None }
}

/// An inbound call that its application has answered.
pub(super) fn answered(bench: &mut Bench, phone: &mut Phone, body: &str) -> CallSid {
    bench.call(phone, Owned::Application(0), "", body);
    let sid = *bench.started().last().expect("a call");
    bench.act(sid, Action::Answer { sdp: None, headers: Vec::new() }).expect("taken");
    let ok = bench.at_phone(phone);
    phone.heard(&ok);
    bench.ack(phone, "");
    sid
}

/// A party whose description belongs to keys or address checks is not shown to others: the
/// target makes the offer, the survivor answers it by re-INVITE, the target gets that in its ACK.
#[test]
fn a_description_that_cannot_be_reused() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let ice = format!("{}a=ice-ufrag:x\r\n", sdp("alice", 4_000, "0"));
    let sid = answered(&mut bench, &mut alice, &ice);
    bench.act(sid, dial(21, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    assert!(invite.message.body().is_empty());
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0 8"));
    let (offer, _) = bench.reinvited(&mut alice, &sdp("alice", 4_100, "0"));
    assert!(offer.text().contains("m=audio 5000"));
    let ack = bench.at_phone(&bob);
    assert!(ack.method() == Method::Ack && ack.text().contains("m=audio 4100"));
    assert!(bench.has(&Event::Joined(sid, CallSid(21))));
    bench.silent();
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// The survivor lets the target wait: after 4 s the target has its ACK, without media, and is
/// offered again when the survivor has spoken.
#[test]
fn a_target_does_not_starve() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let ice = format!("{}a=fingerprint:x\r\n", sdp("alice", 4_000, "0"));
    let sid = answered(&mut bench, &mut alice, &ice);
    bench.act(sid, dial(21, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    let offer = bench.at_phone(&alice);
    bench.pass(Duration::from_millis(4_100));
    bench.sent.retain(|sent| sent.to.to_string() == B);
    let ack = bench.at_phone(&bob);
    assert!(ack.method() == Method::Ack && ack.text().contains("a=inactive"));
    bench.reply(&alice, &offer, 200, "", &sdp("alice", 4_100, "0"));
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    let (again, _) = bench.reinvited(&mut bob, &sdp("bob", 5_000, "0"));
    assert!(again.text().contains("m=audio 4100"));
    assert!(bench.has(&Event::Joined(sid, CallSid(21))));
    bench.silent();
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// The survivor answers from another port than the target was told: the target is offered again;
/// one that changes its mind each time is given up on after two rounds.
#[test]
fn offered_again() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
    bench.act(sid, dial(21, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    bench.at_phone(&bob);
    bench.reinvited(&mut alice, &sdp("alice", 4_002, "0"));
    let (again, _) = bench.reinvited(&mut bob, &sdp("bob", 5_002, "0"));
    assert!(again.text().contains("m=audio 4002"));
    let (again, _) = bench.reinvited(&mut alice, &sdp("alice", 4_004, "0"));
    assert!(again.text().contains("m=audio 5002"));
    bench.silent();
    assert!(bench.has(&Event::Joined(sid, CallSid(21))));
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// No common codec, or a refusal: the winner is ended, the leg keeps what it had.
#[test]
fn not_to_be_joined() {
    for refused in [true, false] {
        let mut bench = Bench::new();
        let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
        let ice = format!("{}a=ice-ufrag:x\r\n", sdp("alice", 4_000, "0"));
        let sid = answered(&mut bench, &mut alice, &ice);
        bench.act(sid, dial(21, "200")).expect("taken");
        let invite = bench.invited(&mut bob);
        bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "18"));
        let offer = bench.at_phone(&alice);
        if refused {
            bench.reply(&alice, &offer, 488, "", "");
            assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
        } else {
            bench.reply(&alice, &offer, 200, "", &sdp("alice", 4_000, "8"));
            assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
            // It has taken something else meanwhile: it is given back what it had.
            let (back, _) = bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
            assert!(back.text().contains("a=inactive"));
        }
        assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        bench.hung_up(&bob);
        assert!(
            bench
                .events
                .iter()
                .any(|e| matches!(e, Event::DialEnded(d) if d.winner.is_none() && d.code == 488))
        );
        assert!(!bench.has(&Event::Joined(sid, CallSid(21))));
        bench.act(sid, hangup()).expect("taken");
        bench.hung_up(&alice);
        bench.end();
    }
}

/// One of the two leaves while they are being joined.
#[test]
fn leaving_mid_join() {
    for survivor_leaves in [true, false] {
        let mut bench = Bench::new();
        let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
        let sid = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
        bench.act(sid, dial(21, "200")).expect("taken");
        let invite = bench.invited(&mut bob);
        bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
        bench.at_phone(&bob);
        let offer = bench.at_phone(&alice);
        if survivor_leaves {
            bench.request(&mut alice, "BYE", "", "");
            bench.at_phone(&alice);
            bench.hung_up(&bob);
            bench.reply(&alice, &offer, 487, "", "");
        } else {
            bench.request(&mut bob, "BYE", "", "");
            bench.at_phone(&bob);
            bench.reply(&alice, &offer, 200, "", &sdp("alice", 4_000, "0"));
            assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
            // She was told of somebody who is not there.
            let (still, _) = bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
            assert!(still.text().contains("a=inactive") && still.text().contains("c=IN IP4 0.0.0.0"));
            bench.silent();
            bench.act(sid, hangup()).expect("taken");
            bench.hung_up(&alice);
        }
        bench.sent.clear();
        bench.end();
    }
}

/// What a party offers while it is being joined must wait.
#[test]
fn offers_mid_join() {
    let mut bench = Bench::new();
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    let (one, two) = (placed(&mut bench, 1, "200", &mut bob), placed(&mut bench, 2, "300", &mut carol));
    bench.act(one, Action::Join(two)).expect("taken");
    let ask = bench.at_phone(&carol);
    bench.request(&mut bob, "INVITE", "", &sdp("bob", 5_008, "0"));
    assert!(bench.at_phone(&bob).start().starts_with("491"));
    let ack = bob.ack("");
    let branch = ack.find("z9hG4bKbob").map(|at| at + "z9hG4bKbob".len()).expect("a branch");
    let (head, tail) = ack.split_at(branch);
    let number: u32 = tail.split('\n').next().and_then(|n| n.parse().ok()).expect("a number");
    bench.receive(B, &format!("{head}{}{}", number - 1, &tail[number.to_string().len()..]));
    bench.reply(&carol, &ask, 200, "", &sdp("carol", 6_000, "0"));
    bench.reinvited(&mut bob, &sdp("bob", 5_000, "0"));
    bench.at_phone(&carol);
    assert!(bench.has(&Event::Joined(one, two)));
    for (sid, phone) in [(one, &bob), (two, &carol)] {
        bench.act(sid, hangup()).expect("taken");
        bench.hung_up(phone);
    }
    bench.end();
}

/// An unanswered leg is joined with one that is up: it is answered with what that one says.
#[test]
fn joining_while_answering() {
    for offer in [true, false] {
        let mut bench = Bench::new();
        let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
        let one = placed(&mut bench, 1, "200", &mut bob);
        let body = if offer { sdp("alice", 4_000, "0") } else { String::new() };
        bench.call(&mut alice, Owned::Application(0), "", &body);
        let two = *bench.started().last().expect("a call");
        bench.act(two, Action::Join(one)).expect("taken");
        let ask = bench.at_phone(&bob);
        assert_eq!(ask.message.body().is_empty(), !offer);
        bench.reply(&bob, &ask, 200, "", &sdp("bob", 5_000, "0 8"));
        if offer {
            assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        }
        let ok = bench.at_phone(&alice);
        assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 5000"));
        alice.heard(&ok);
        bench.ack(&mut alice, if offer { "" } else { "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n" });
        if !offer {
            assert!(bench.at_phone(&bob).text().contains("m=audio 4000"));
        }
        bench.silent();
        assert!(bench.has(&Event::Joined(one, two)), "{:?}", bench.events);
        assert_eq!(bench.act(two, Action::Answer { sdp: None, headers: Vec::new() }), Err(Refused::Answered));
        for (sid, phone) in [(one, &bob), (two, &alice)] {
            bench.act(sid, hangup()).expect("taken");
            bench.hung_up(phone);
        }
        bench.end();
    }
}

/// Replaces for the dialog that a phone has with Baton, as that phone would tell it to others.
pub(super) fn replaces(phone: &Phone, baton_tag: &str) -> String {
    format!("Replaces: {};to-tag={baton_tag};from-tag={}\n", phone.call_id, phone.name)
}

/// [R-090] [R-091] [C-152] A confirmed leg is replaced: the new party is accepted, the other party's
/// media moves to it, then the old one gets BYE.
#[test]
fn a_leg_is_replaced() {
    let mut bench = Bench::new();
    let (mut alice, mut bob, mut carol) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(C, "carol"));
    bench.connected(&mut alice, &mut bob, 1);
    let tag = bob.tag();
    bench.named(&bob, &tag);
    bench.call(&mut carol, Owned::Replaces, &replaces(&bob, &tag), &sdp("carol", 6_000, "0"));
    assert_eq!(bench.refused, None);
    let (offer, _) = bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(offer.text().contains("m=audio 6000"));
    let ok = bench.at_phone(&carol);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 4000"));
    carol.heard(&ok);
    bench.ack(&mut carol, "");
    bench.hung_up(&bob);
    bench.silent();
    let [a, b, c] = bench.started()[..] else { panic!("three calls") };
    assert!(bench.has(&Event::Joined(a, c)));
    assert!(bench.has(&Event::Ended(b, EndedBy::Baton)));
    bench.request(&mut alice, "BYE", "", "");
    bench.at_phone(&alice);
    bench.hung_up(&carol);
    bench.end();
}

/// The codes with which a replacement is refused; the old dialog is untouched. Knowing a
/// dialog's names is no permission: its party gives it, by a REFER.
#[test]
fn replacements_refused() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    let ringing = bench.at_phone(&alice);
    let at_alice = ringing.header(HeaderId::To).split(";tag=").nth(1).expect("a tag").to_owned();
    let mut n: u32 = 0;
    let mut attempt = |bench: &mut Bench, headers: &str| {
        n += 1;
        let mut carol = Phone { call_id: format!("carol-{n}"), branch: n * 10, ..Phone::new(C, "carol") };
        bench.refused = None;
        bench.call(&mut carol, Owned::Replaces, headers, &sdp("carol", 6_000, "0"));
        bench.refused
    };
    let early = replaces(&alice, &at_alice);
    assert_eq!(attempt(&mut bench, &early), Some(403), "whoever knows the dialog's names");
    bench.named(&alice, &at_alice);
    assert_eq!(attempt(&mut bench, &early), Some(481), "an early dialog that Baton did not begin");
    let unknown = "Replaces: x;to-tag=1;from-tag=2\n";
    assert_eq!(attempt(&mut bench, unknown), Some(481));
    assert_eq!(attempt(&mut bench, &format!("{unknown}{unknown}")), Some(400));
    assert_eq!(attempt(&mut bench, &format!("{unknown}Join: x;to-tag=1;from-tag=2\n")), Some(400));
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    bench.at_phone(&bob);
    let ok = bench.at_phone(&alice);
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    let confirmed = replaces(&bob, &bob.tag());
    bench.named(&Phone { at: A, ..bob.clone() }, &bob.tag());
    assert_eq!(attempt(&mut bench, &confirmed), Some(403), "named by somebody else");
    bench.named(&bob, &bob.tag());
    bench.pass(Duration::from_secs(61));
    assert_eq!(attempt(&mut bench, &confirmed), Some(403), "named too long ago");
    bench.named(&bob, &bob.tag());
    assert_eq!(attempt(&mut bench, &confirmed.replace('\n', ";early-only\n")), Some(486));
    // Not acceptable to the other party: nothing has changed.
    let mut carol = Phone { branch: 900, ..Phone::new(C, "carol") };
    bench.call(&mut carol, Owned::Replaces, &confirmed, &sdp("carol", 6_000, "18"));
    let offer = bench.at_phone(&alice);
    bench.reply(&alice, &offer, 488, "", "");
    bench.at_phone(&alice);
    assert!(bench.at_phone(&carol).start().starts_with("488"));
    bench.silent();
    bench.request(&mut alice, "BYE", "", "");
    bench.at_phone(&alice);
    bench.hung_up(&bob);
    assert_eq!(attempt(&mut bench, &confirmed), Some(603));
    bench.sent.clear();
    bench.end();
}

/// An early leg that Baton began is replaced, that is, picked up: the caller is answered with the
/// new party's description, and the ringing one is cancelled.
#[test]
fn picked_up() {
    let mut bench = Bench::new();
    let (mut alice, mut bob, mut carol) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(C, "carol"));
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0 8"));
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    let ringing = bench.at_phone(&alice);
    let headers = replaces(&bob, &bob.tag());
    bench.named(&bob, &bob.tag());
    bench.call(&mut carol, Owned::Replaces, &headers, &sdp("carol", 6_000, "8"));
    assert_eq!(bench.refused, None);
    let ok = bench.at_phone(&carol);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 4000"));
    carol.heard(&ok);
    let ok = bench.at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.text().contains("m=audio 6000"), "{}", ok.text());
    assert_eq!(ok.header(HeaderId::To), ringing.header(HeaderId::To));
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.ack(&mut carol, "");
    let cancel = bench.at_phone(&bob);
    assert_eq!(cancel.method(), Method::Cancel);
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &invite, 487, "", "");
    bench.sent.clear();
    let [a, _, c] = bench.started()[..] else { panic!("three calls") };
    assert!(bench.has(&Event::Joined(a, c)));
    assert_eq!(bench.life(a).last(), Some(&(CallStatus::InProgress, 200)));
    bench.request(&mut alice, "BYE", "", "");
    bench.at_phone(&alice);
    bench.hung_up(&carol);
    bench.end();
}
