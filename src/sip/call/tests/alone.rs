//! Who is left alone, and steered, is put on hold, unless something better comes.

use super::joins::{answered, dial, hangup, placed};
use crate::sip::call::testing::*;
use crate::sip::command::Action;
use crate::sip::event::{CallSid, CallStatus, DialEnded, Event};
use crate::sip::message::Method;
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(600);

/// Alice, whom an application steers, talks to Bob; Bob hangs up.
fn deserted(bench: &mut Bench, alice: &mut Phone, bob: &mut Phone) -> CallSid {
    let sid = answered(bench, alice, &sdp("alice", 4_000, "0"));
    joined(bench, sid, 21, alice, bob);
    bench.request(bob, "BYE", "", "");
    assert_eq!(bench.at_phone(bob).start(), "200 OK");
    bench.silent();
    sid
}

/// The application calls somebody at Bob's for Alice, who answers.
fn joined(bench: &mut Bench, sid: CallSid, other: u128, alice: &mut Phone, bob: &mut Phone) {
    bench.act(sid, dial(other, "200")).expect("taken");
    let invite = bench.invited(bob);
    bench.reply(bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(bob).method(), Method::Ack);
    bench.reinvited(alice, &sdp("alice", 4_000, "0"));
    assert!(bench.has(&Event::Joined(sid, CallSid(other))));
    bench.silent();
}

fn held(bench: &mut Bench, phone: &mut Phone) {
    let (hold, _) = bench.reinvited(phone, &sdp(phone.name, 4_000, "0").replace("a=sendrecv", "a=inactive"));
    assert!(
        hold.text().contains("a=inactive") && hold.text().contains("c=IN IP4 0.0.0.0"),
        "{}",
        hold.text()
    );
}

fn over(bench: &mut Bench, sid: CallSid, alice: &Phone) {
    bench.pass(MOMENT);
    bench.silent();
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(alice);
}

/// Whom an application keeps when the other party hangs up must not go on sending there: it is put on
/// hold, once.
#[test]
fn nobody_left_to_talk_to() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = deserted(&mut bench, &mut alice, &mut bob);
    bench.pass(MOMENT);
    held(&mut bench, &mut alice);
    over(&mut bench, sid, &alice);
    bench.end();
}

/// One who is called for it at once spares it that, unless nobody answers.
#[test]
fn somebody_else_is_called_at_once() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = deserted(&mut bench, &mut alice, &mut bob);
    bench.act(sid, dial(22, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    bench.pass(MOMENT * 3);
    bench.silent();
    bench.reply(&bob, &invite, 486, "", "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    bench.pass(MOMENT);
    held(&mut bench, &mut alice);
    // From the hold it is taken back by the next one who answers.
    joined(&mut bench, sid, 23, &mut alice, &mut bob);
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// A hold that is under way when somebody else answers does no harm: the join comes behind it, and
/// a hold that met glare is not repeated.
#[test]
fn a_join_beside_a_hold() {
    for status in [200, 491] {
        let mut bench = Bench::new();
        let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
        let sid = deserted(&mut bench, &mut alice, &mut bob);
        bench.pass(MOMENT);
        let hold = bench.at_phone(&alice);
        assert!(hold.text().contains("a=inactive"), "{}", hold.text());
        bench.act(sid, dial(22, "200")).expect("taken");
        let invite = bench.invited(&mut bob);
        bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
        assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        bench.silent();
        let answer = if status == 200 { sdp("alice", 4_000, "0") } else { String::new() };
        bench.reply(&alice, &hold, status, "", &answer);
        assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
        let (join, _) = bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
        assert!(join.text().contains("m=audio 5000") && !join.text().contains("a=inactive"));
        bench.pass(Duration::from_secs(6));
        bench.silent();
        bench.act(sid, hangup()).expect("taken");
        bench.hung_up(&alice);
        bench.hung_up(&bob);
        bench.end();
    }
}

/// A hold that met glare and waits for its next turn gives way to a join.
#[test]
fn a_join_before_the_hold_could_go() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = deserted(&mut bench, &mut alice, &mut bob);
    bench.pass(MOMENT);
    let hold = bench.at_phone(&alice);
    bench.reply(&alice, &hold, 491, "", "");
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    joined(&mut bench, sid, 22, &mut alice, &mut bob);
    bench.pass(Duration::from_secs(6));
    bench.silent();
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// Who was left alone and cannot be joined to the next one either is on hold in the end, not told
/// again of the one who has left.
#[test]
fn a_join_that_fails() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = deserted(&mut bench, &mut alice, &mut bob);
    bench.act(sid, dial(22, "200")).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_002, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let join = bench.at_phone(&alice);
    bench.request(&mut bob, "BYE", "", "");
    assert_eq!(bench.at_phone(&bob).start(), "200 OK");
    bench.reply(&alice, &join, 200, "", &sdp("alice", 4_000, "0"));
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    held(&mut bench, &mut alice);
    over(&mut bench, sid, &alice);
    bench.end();
}

/// Bob and Carol, both called by the program, talk to each other.
fn talking(bench: &mut Bench, bob: &mut Phone, carol: &mut Phone) -> (CallSid, CallSid) {
    let (one, two) = (placed(bench, 1, "200", bob), placed(bench, 2, "300", carol));
    bench.act(one, Action::Join(two)).expect("taken");
    let ask = bench.at_phone(carol);
    bench.reply(carol, &ask, 200, "", &sdp("carol", 6_000, "0"));
    bench.reinvited(bob, &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(carol).method(), Method::Ack);
    bench.silent();
    (one, two)
}

fn all_hang_up(bench: &mut Bench, calls: &[(CallSid, &Phone)]) {
    bench.pass(Duration::from_secs(6));
    bench.silent();
    for (sid, phone) in calls {
        bench.act(*sid, hangup()).expect("taken");
        bench.hung_up(phone);
    }
    bench.end();
}

/// A hold that gave way to a join is made up for when the join fails.
#[test]
fn a_hold_is_owed_while_it_has_not_been_said() {
    let mut bench = Bench::new();
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    let (one, two) = talking(&mut bench, &mut bob, &mut carol);
    let mut alice = Phone::new(A, "alice");
    let three = placed(&mut bench, 3, "100", &mut alice);
    bench.act(one, Action::Part).expect("taken");
    let hold = bench.at_phone(&bob);
    held(&mut bench, &mut carol);
    bench.reply(&bob, &hold, 491, "", "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    bench.act(one, Action::Join(three)).expect("taken");
    let ask = bench.at_phone(&alice);
    bench.reply(&alice, &ask, 488, "", "");
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    bench.pass(MOMENT);
    held(&mut bench, &mut bob);
    all_hang_up(&mut bench, &[(one, &bob), (two, &carol), (three, &alice)]);
}

/// A hold that waits for its next turn after glare is not hurried by the end of something else.
#[test]
fn a_hold_waits_for_its_turn() {
    let mut bench = Bench::new();
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    let (one, two) = talking(&mut bench, &mut bob, &mut carol);
    bench.act(one, Action::Part).expect("taken");
    let hold = bench.at_phone(&bob);
    held(&mut bench, &mut carol);
    bench.act(one, dial(22, "100")).expect("taken");
    let mut alice = Phone::new(A, "alice");
    let invite = bench.invited(&mut alice);
    bench.reply(&alice, &invite, 486, "", "");
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    bench.pass(MOMENT * 2);
    bench.sent.retain(|sent| sent.text() != hold.text());
    bench.reply(&bob, &hold, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    all_hang_up(&mut bench, &[(one, &bob), (two, &carol)]);
}

/// Who was parted from one, and loses the next while they are brought together, is not sent back to
/// the first.
#[test]
fn not_back_to_whom_it_was_parted_from() {
    let mut bench = Bench::new();
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    let (one, two) = talking(&mut bench, &mut bob, &mut carol);
    bench.act(one, Action::Part).expect("taken");
    let hold = bench.at_phone(&bob);
    held(&mut bench, &mut carol);
    bench.act(one, dial(22, "100")).expect("taken");
    let mut alice = Phone::new(A, "alice");
    let invite = bench.invited(&mut alice);
    bench.reply(&alice, &invite, 200, "", &sdp("alice", 7_000, "0"));
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    bench.reply(&bob, &hold, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    // He takes her offer, from another port: she is asked again, and leaves.
    bench.reinvited(&mut bob, &sdp("bob", 5_002, "0"));
    let again = bench.at_phone(&alice);
    assert_eq!(again.method(), Method::Invite);
    bench.request(&mut alice, "BYE", "", "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    bench.reply(&alice, &again, 487, "", "");
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    held(&mut bench, &mut bob);
    all_hang_up(&mut bench, &[(one, &bob), (two, &carol)]);
}

/// What a party was to be told after one join that failed, it is told after the next.
#[test]
fn a_reminder_is_owed_too() {
    let mut bench = Bench::new();
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    let (one, two) = talking(&mut bench, &mut bob, &mut carol);
    let mut alice = Phone::new(A, "alice");
    let three = placed(&mut bench, 3, "100", &mut alice);
    bench.act(one, Action::Join(three)).expect("taken");
    let ask = bench.at_phone(&alice);
    bench.reply(&alice, &ask, 200, "", &sdp("alice", 7_000, "0"));
    let offer = bench.at_phone(&bob);
    bench.request(&mut alice, "BYE", "", "");
    bench.sent.clear();
    bench.reply(&bob, &offer, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let reminder = bench.at_phone(&bob);
    assert!(reminder.text().contains("m=audio 6000"), "{}", reminder.text());
    bench.reply(&bob, &reminder, 491, "", "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let mut anna = Phone::new(A, "anna");
    let four = placed(&mut bench, 4, "100", &mut anna);
    bench.act(one, Action::Join(four)).expect("taken");
    let ask = bench.at_phone(&anna);
    bench.reply(&anna, &ask, 488, "", "");
    assert_eq!(bench.at_phone(&anna).method(), Method::Ack);
    let (reminder, _) = bench.reinvited(&mut bob, &sdp("bob", 5_000, "0"));
    assert!(reminder.text().contains("m=audio 6000"), "{}", reminder.text());
    bench.pass(Duration::from_secs(6));
    bench.silent();
    bench.act(one, hangup()).expect("taken");
    bench.hung_up(&bob);
    bench.pass(MOMENT);
    held(&mut bench, &mut carol);
    all_hang_up(&mut bench, &[(two, &carol), (four, &anna)]);
}

/// [rcml 7] [jambonz 7] Two that are parted are done with the Dial that joined them: either may be joined
/// to somebody else, and stays when that one hangs up, until the program says otherwise.
#[test]
fn parted_for_good() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = answered(&mut bench, &mut alice, &sdp("alice", 4_000, "0"));
    joined(&mut bench, sid, 21, &mut alice, &mut bob);
    bench.act(sid, Action::Part).expect("taken");
    held(&mut bench, &mut alice);
    held(&mut bench, &mut bob);
    let (winner, code) = (Some(CallSid(21)), 200);
    let ended = DialEnded { sid, first: CallSid(21), winner, status: CallStatus::Completed, code };
    assert!(bench.has(&Event::DialEnded(Box::new(ended))));
    for party in [sid, CallSid(21)] {
        let mut carol = Phone::new(C, "carol");
        bench.act(party, dial(30 + party.0, "300")).expect("taken");
        let invite = bench.invited(&mut carol);
        bench.reply(&carol, &invite, 486, "", "");
        assert_eq!(bench.at_phone(&carol).method(), Method::Ack);
    }
    bench.pass(MOMENT);
    bench.silent();
    for (party, phone) in [(sid, &alice), (CallSid(21), &bob)] {
        bench.act(party, hangup()).expect("taken");
        bench.hung_up(phone);
    }
    bench.end();
}
