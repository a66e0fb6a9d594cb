//! The classic back-to-back call.

use crate::sip::call::testing::*;
use crate::sip::event::{CallStatus, EndedBy, Event};
use crate::sip::message::{HeaderId, Method};
use crate::sip::proxy::Owned;
use crate::sip::registrar::Contact;
use std::time::Duration;

fn pair() -> (Bench, Phone, Phone) {
    (Bench::new(), Phone::new(A, "alice"), Phone::new(B, "bob"))
}

/// [C-148] [C-149] [C-153] A call from INVITE to BYE: the offer goes on and the answer comes
/// back, nothing of one dialog shows in the other, a hop is counted, B is acknowledged at once, Reason
/// crosses.
#[test]
fn a_whole_call() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, to_trunk(1), "X-Ticket: 9\nSubject: tea\n", &sdp("alice", 4_000, "0 8"));
    let invite = bench.invited(&mut bob);
    assert_eq!(invite.header(HeaderId::MaxForwards), "69");
    assert!(invite.header(HeaderId::From).starts_with("\"alice\" <sip:alice@phones.example>;tag="));
    assert!(invite.text().ends_with(&sdp("alice", 4_000, "0 8")));
    assert!(invite.text().contains("X-Ticket: 9\r\n") && invite.text().contains("Subject: tea\r\n"));
    assert!(!invite.text().contains("call-of-alice") && !invite.text().contains("tag=alice"));
    assert!(!invite.text().contains("10.0.0.1"), "{}", invite.text());
    bench.reply(&bob, &invite, 180, "", "");
    let ringing = bench.at_phone(&alice);
    assert_eq!(ringing.start(), "180 Ringing");
    bench.reply(&bob, &invite, 200, "User-to-User: aa\n", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let ok = bench.at_phone(&alice);
    assert_eq!(ok.header(HeaderId::To), ringing.header(HeaderId::To));
    assert!(ok.text().ends_with(&sdp("bob", 5_000, "0")) && ok.text().contains("User-to-User: aa"));
    assert!(!ok.text().contains("tag=bob") && !ok.text().contains("10.0.1.1"));
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.silent();
    bench.request(&mut alice, "BYE", "Reason: Q.850;cause=16\n", "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    assert_eq!(bench.hung_up(&bob), "Q.850;cause=16");
    let [a, b] = bench.started()[..] else { panic!("two calls") };
    let whole = [(CallStatus::Ringing, 0), (CallStatus::InProgress, 200), (CallStatus::Completed, 0)];
    assert_eq!(bench.life(a), whole);
    assert_eq!(bench.life(b), whole);
    assert!(bench.has(&Event::Joined(a, b)) && bench.has(&Event::Parted(a, b)));
    assert!(bench.has(&Event::Ended(a, EndedBy::Peer)) && bench.has(&Event::Ended(b, EndedBy::OtherLeg)));
    bench.end();
}

/// [C-174] An INVITE without an offer: B's offer goes to A in the 200, A's answer to B in the ACK.
#[test]
fn without_an_offer() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, to_trunk(1), "", "");
    let invite = bench.invited(&mut bob);
    assert!(invite.message.body().is_empty());
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0 8"));
    let ok = bench.at_phone(&alice);
    bench.silent();
    assert!(ok.text().ends_with(&sdp("bob", 5_000, "0 8")));
    alice.heard(&ok);
    bench.ack(&mut alice, &sdp("alice", 4_000, "8"));
    let ack = bench.at_phone(&bob);
    assert_eq!(ack.method(), Method::Ack);
    assert!(ack.text().ends_with(&sdp("alice", 4_000, "8")));
    bench.request(&mut bob, "BYE", "", "");
    bench.at_phone(&bob);
    bench.hung_up(&alice);
    bench.end();
}

/// [C-153] [C-194] What a BYE says passes: why, and what the users say to each other.
#[test]
fn last_words() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.connected(&mut alice, &mut bob, 1);
    let words = "Reason: Q.850;cause=16\nUser-to-User: 56;encoding=hex\nUser-to-User: 57\nX-Rated: 5\n";
    bench.request(&mut bob, "BYE", &format!("{words}P-Asserted-Identity: <sip:b@x>\n"), "");
    bench.at_phone(&bob);
    let bye = bench.at_phone(&alice);
    assert!(bye.text().contains(&words.replace('\n', "\r\n")), "{}", bye.text());
    assert!(!bye.message.has(HeaderId::PAssertedIdentity));
    bench.reply(&alice, &bye, 200, "", "");
    bench.end();
}

/// [C-153] [C-083] The caller gives up: the callee is cancelled with the same Reason.
#[test]
fn caller_gives_up() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    bench.at_phone(&alice);
    let cancel = alice.cancel("Reason: Q.850;cause=17\n");
    bench.receive(A, &cancel);
    let cancel = bench.at_phone(&bob);
    assert_eq!(cancel.method(), Method::Cancel);
    assert!(cancel.header(HeaderId::Reason).starts_with("Q.850;cause=17"));
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &invite, 487, "", "");
    let [a, b] = bench.started()[..] else { panic!("two calls") };
    assert_eq!(bench.life(a).last(), Some(&(CallStatus::Canceled, 487)));
    assert_eq!(bench.life(b).last(), Some(&(CallStatus::Canceled, 487)));
    assert!(bench.waiting().iter().any(|line| line.contains("487 Request Terminated")));
    bench.end();
}

/// The callee's 200 crosses our CANCEL: acknowledged and ended; the result stays.
#[test]
fn a_200_crosses_the_cancel() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    let cancel = alice.cancel("");
    bench.receive(A, &cancel);
    assert_eq!(bench.at_phone(&bob).method(), Method::Cancel);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    bench.hung_up(&bob);
    let [_, b] = bench.started()[..] else { panic!("two calls") };
    assert_eq!(bench.life(b), [(CallStatus::Ringing, 0), (CallStatus::Canceled, 487)]);
    bench.end();
}

/// [C-153] A refusal comes back with its code and Reason.
#[test]
fn refusals_come_back() {
    for (code, status) in [(486, CallStatus::Busy), (404, CallStatus::Failed), (480, CallStatus::Failed)] {
        let (mut bench, mut alice, mut bob) = pair();
        bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
        let invite = bench.invited(&mut bob);
        bench.reply(&bob, &invite, code, "Reason: Q.850;cause=17\n", "");
        assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        let refusal = bench.at_phone(&alice);
        assert!(refusal.start().starts_with(&code.to_string()));
        assert_eq!(refusal.header(HeaderId::Reason), "Q.850;cause=17");
        for sid in bench.started() {
            assert_eq!(bench.life(sid).last(), Some(&(status, code)));
            assert!(bench.has(&Event::Ended(
                sid,
                if sid == bench.started()[1] { EndedBy::Peer } else { EndedBy::Baton }
            )));
        }
        let ack = alice.ack("").replace(&format!("alice{}", 2), "alice1");
        bench.receive(A, &ack);
        bench.end();
    }
}

/// [C-155] Forks and early media: each fork of B's has an early dialog of its own at A, with a tag that stays.
#[test]
fn forks_keep_their_tags() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, to_trunk(1), "", &sdp("alice", 4_000, "0"));
    let invite = bench.invited(&mut bob);
    let other = Phone { name: "bert", ..bob.clone() };
    bench.reply(&bob, &invite, 183, "", &sdp("bob", 5_000, "0"));
    let one = bench.at_phone(&alice);
    assert!(one.text().ends_with(&sdp("bob", 5_000, "0")));
    bench.reply(&other, &invite, 180, "", "");
    let two = bench.at_phone(&alice);
    assert_ne!(one.header(HeaderId::To), two.header(HeaderId::To));
    bench.reply(&bob, &invite, 180, "", "");
    assert_eq!(bench.at_phone(&alice).header(HeaderId::To), one.header(HeaderId::To));
    bench.reply(&other, &invite, 200, "", &sdp("bert", 6_000, "0"));
    let ok = bench.at_phone(&alice);
    assert_eq!(ok.header(HeaderId::To), two.header(HeaderId::To));
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.at_phone(&bob);
    bench.request(&mut alice, "BYE", "", "");
    bench.at_phone(&alice);
    bench.hung_up(&other);
    bench.end();
}

/// [C-149] A hop count of zero ends here; so does a breadth that does not reach.
#[test]
fn hops_and_breadth() {
    let (mut bench, mut alice, _) = pair();
    bench.route = Some(to_trunk(1));
    let invite = alice.request("INVITE", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    bench.receive(A, &invite);
    assert_eq!(bench.refused, Some(483));
    let mut carol = Phone::new(C, "carol");
    bench.call(&mut carol, to_both(0, 1), "Max-Breadth: 1\n", "");
    assert_eq!(bench.refused, Some(440));
    bench.call(&mut carol, to_both(0, 1), "Max-Breadth: 7\n", "");
    let breadths: Vec<String> = bench.sent.iter().map(|sent| sent.header(HeaderId::MaxBreadth)).collect();
    assert!(breadths.iter().filter(|breadth| *breadth == "3").count() == 2, "{breadths:?}");
}

/// [C-151] What either side sends inside the call goes to the other, and the answer comes from there.
#[test]
fn requests_cross() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.connected(&mut alice, &mut bob, 1);
    for method in ["INFO", "MESSAGE", "OPTIONS", "FOO"] {
        bench.request(&mut alice, method, "X-One: 1\nInfo-Package: p\n", "");
        let there = bench.at_phone(&bob);
        assert!(there.start().starts_with(method), "{}", there.start());
        assert!(there.text().contains("X-One: 1") && !there.text().contains("call-of-alice"));
        bench.silent();
        bench.reply(&bob, &there, 299, "X-Two: 2\n", "");
        let back = bench.at_phone(&alice);
        assert!(back.start().starts_with("299") && back.text().contains("X-Two: 2"), "{}", back.text());
    }
    // A re-INVITE with an offer; B is acknowledged at once.
    bench.request(&mut bob, "INVITE", "", &sdp("bob", 5_002, "0"));
    let there = bench.at_phone(&alice);
    assert!(there.text().contains("m=audio 5002"));
    bench.reply(&alice, &there, 200, "", &sdp("alice", 4_002, "0"));
    assert_eq!(bench.at_phone(&alice).method(), Method::Ack);
    let ok = bench.at_phone(&bob);
    assert!(ok.text().contains("m=audio 4002"));
    bench.ack(&mut bob, "");
    // One without: the answer comes in the ACK.
    bench.request(&mut alice, "INVITE", "", "");
    let there = bench.at_phone(&bob);
    assert!(there.message.body().is_empty());
    bench.reply(&bob, &there, 200, "", &sdp("bob", 5_004, "0"));
    assert!(bench.at_phone(&alice).text().contains("m=audio 5004"));
    bench.silent();
    bench.ack(&mut alice, &sdp("alice", 4_004, "0"));
    let ack = bench.at_phone(&bob);
    assert!(ack.method() == Method::Ack && ack.text().contains("m=audio 4004"));
    // [C-145] A refused one changes nothing.
    bench.request(&mut alice, "INVITE", "", &sdp("alice", 4_006, "18"));
    let there = bench.at_phone(&bob);
    bench.reply(&bob, &there, 488, "Warning: 304 x \"no\"\n", "");
    bench.at_phone(&bob);
    let refusal = bench.at_phone(&alice);
    assert!(refusal.start().starts_with("488") && refusal.text().contains("Warning: 304"));
    let ack = alice.ack("");
    bench.receive(
        A,
        &ack.replace(&format!("alice{}", ack_branch(&ack)), &format!("alice{}", ack_branch(&ack) - 1)),
    );
    bench.request(&mut bob, "BYE", "", "");
    bench.at_phone(&bob);
    bench.hung_up(&alice);
    bench.end();
}

fn ack_branch(ack: &str) -> u32 {
    let at = ack.find("branch=z9hG4bKalice").expect("a branch") + "branch=z9hG4bKalice".len();
    ack[at..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

/// [C-153] Several trunks at once: the first who answers wins, the others hear that the call is taken elsewhere.
#[test]
fn first_answer_wins() {
    let (mut bench, mut alice, mut bob) = pair();
    let mut carol = Phone::new(C, "carol");
    bench.call(&mut alice, to_both(1, 2), "", &sdp("alice", 4_000, "0"));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    bench.reply(&bob, &to_bob, 180, "", "");
    bench.reply(&carol, &to_carol, 180, "", "");
    bench.reply(&carol, &to_carol, 200, "", &sdp("carol", 6_000, "0"));
    let cancel = bench.at_phone(&bob);
    assert_eq!(cancel.header(HeaderId::Reason), "SIP;cause=200;text=\"Call completed elsewhere\"");
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &to_bob, 487, "", "");
    bench.at_phone(&alice);
    bench.at_phone(&alice);
    let ok = bench.at_phone(&alice);
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.request(&mut carol, "BYE", "", "");
    bench.sent.retain(|sent| sent.method() == Method::Bye);
    bench.hung_up(&alice);
    bench.end();
}

/// [C-139] [C-155] The caller ends one of its early dialogs by BYE: who rings there is called off, the other goes
/// on and answers.
#[test]
fn the_caller_wants_one_no_more() {
    let (mut bench, mut alice, mut bob) = pair();
    let mut carol = Phone::new(C, "carol");
    bench.call(&mut alice, to_both(1, 2), "", &sdp("alice", 4_000, "0"));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    bench.reply(&carol, &to_carol, 180, "", "");
    bench.at_phone(&alice);
    bench.reply(&bob, &to_bob, 180, "", "");
    let mut aside = alice.clone();
    aside.heard(&bench.at_phone(&alice));
    bench.request(&mut aside, "BYE", "", "");
    assert_eq!(bench.at_phone(&alice).start(), "200 OK");
    let cancel = bench.at_phone(&bob);
    assert_eq!(cancel.method(), Method::Cancel);
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &to_bob, 487, "", "");
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    bench.silent();
    bench.reply(&carol, &to_carol, 200, "", &sdp("carol", 6_000, "0"));
    let ok = bench.at_phone(&alice);
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    bench.request(&mut carol, "BYE", "", "");
    bench.sent.retain(|sent| sent.method() == Method::Bye);
    bench.hung_up(&alice);
    bench.end();
}

/// A caller who never acknowledges: both are ended.
#[test]
fn no_ack() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, to_trunk(1), "", "");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    bench.pass(Duration::from_secs(33));
    let to_bob: Vec<Method> =
        bench.sent.iter().filter(|s| s.to.to_string() == B).map(|s| s.method()).collect();
    assert_eq!(&to_bob[..2], [Method::Ack, Method::Bye]);
    bench.end();
}

/// [C-218] Past its capacity a shard takes no more calls.
#[test]
fn no_room() {
    let (mut bench, mut alice, _) = pair();
    bench.plan.calls.capacity = 0;
    bench.call(&mut alice, to_trunk(1), "", "");
    assert_eq!(bench.refused, Some(503));
}

/// [C-060] Who calls a client by `sips:` reaches it where its connection is secured, and nowhere else.
#[test]
fn clients_of_a_secured_call() {
    use crate::sip::flow::{Flow, Transport};
    for places in [vec![(B, Transport::Udp)], vec![(B, Transport::Tcp), (C, Transport::Wss)]] {
        let (mut bench, mut alice, bob) = pair();
        let mut carol = Phone::new(C, "carol");
        let invite = alice.request("INVITE", "", &sdp("alice", 4_000, "0")).replacen("sip:", "sips:", 1);
        bench.route = Some(Owned::Client("carol".into()));
        bench.receive(A, &invite);
        let (ticket, _) = bench.calls.next_lookup().expect("a question");
        let contact = |(at, transport): &(&str, Transport)| {
            let remote = at.parse().expect("an address");
            let destination = Flow { remote, transport: *transport, ..Flow::nowhere() }.into();
            Contact { uri: bytes::Bytes::from(format!("sip:carol@{at}")), destination, route: None }
        };
        let contacts: Vec<Contact> = places.iter().map(contact).collect();
        bench.with(|calls, cx| calls.bindings(cx, ticket, contacts));
        assert!(!bench.waiting().iter().any(|sent| sent.starts_with(bob.at)), "{:?}", bench.waiting());
        if places.len() > 1 {
            let invite = bench.invited(&mut carol);
            bench.reply(&carol, &invite, 480, "", "");
            assert_eq!(bench.at_phone(&carol).method(), Method::Ack);
        }
        assert!(bench.at_phone(&alice).start().starts_with("480"));
        let ack = alice.ack("").replace("alice2", "alice1");
        bench.receive(A, &ack);
        bench.end();
    }
}

/// [C-162] A client without contacts: 480. With two: both ring, each by the path that it registered with.
#[test]
fn clients() {
    let (mut bench, mut alice, mut bob) = pair();
    bench.call(&mut alice, Owned::Client("carol".into()), "", &sdp("alice", 4_000, "0"));
    let (ticket, user) = bench.calls.next_lookup().expect("a question");
    assert_eq!(&*user, "carol");
    bench.with(|calls, cx| calls.bindings(cx, ticket, Vec::new()));
    assert!(bench.at_phone(&alice).start().starts_with("480"));
    let mut again = Phone::new(A, "again");
    bench.call(&mut again, Owned::Client("carol".into()), "", &sdp("alice", 4_000, "0"));
    let (ticket, _) = bench.calls.next_lookup().expect("a question");
    let contact = |at: &str| {
        let flow = crate::sip::flow::Flow {
            remote: at.parse().expect("an address"),
            ..crate::sip::flow::Flow::nowhere()
        };
        // Only the second came by way of a proxy.
        let route =
            (at == C).then(|| bytes::Bytes::from_static(b"<sip:edge@10.0.2.1;lr>, <sip:in.example;lr>"));
        Contact { uri: bytes::Bytes::from(format!("sip:carol@{at}")), destination: flow.into(), route }
    };
    bench.with(|calls, cx| calls.bindings(cx, ticket, vec![contact(B), contact(C)]));
    let mut carol = Phone::new(C, "carol");
    let (one, two) = (bench.invited(&mut bob), bench.invited(&mut carol));
    assert_eq!(one.start(), "INVITE sip:carol@10.0.1.1:5060");
    assert_eq!(one.message.count(HeaderId::Route), 0);
    assert_eq!(two.header(HeaderId::Route), "<sip:edge@10.0.2.1;lr>, <sip:in.example;lr>");
    bench.reply(&bob, &one, 486, "", "");
    bench.reply(&carol, &two, 200, "", &sdp("carol", 6_000, "0"));
    bench.sent.retain(|sent| sent.start() == "200 OK");
    let ok = bench.at_phone(&again);
    again.heard(&ok);
    bench.ack(&mut again, "");
    bench.request(&mut again, "BYE", "", "");
    bench.at_phone(&again);
    bench.sent.retain(|sent| sent.method() == Method::Bye);
    bench.hung_up(&carol);
    let ack = alice.ack("").replace("alice2", "alice1");
    bench.receive(A, &ack);
    bench.end();
}
