//! Orders of the control plane.

use crate::sip::call::testing::*;
use crate::sip::command::{Action, Dial, DialParty, Leave, Order, Party, Place, Refused};
use crate::sip::event::{CallSid, CallStatus, Direction, EndedBy, Event};
use crate::sip::message::{HeaderId, Method};
use crate::sip::proxy::Owned;
use crate::sip::registrar::Contact;
use crate::sip::time::Time;
use std::time::Duration;

fn place(sid: u128, to: Party) -> Order {
    Order::Place(Box::new(Place {
        sid: CallSid(sid),
        account: "AC1".into(),
        from: "4930".into(),
        caller_name: Some("Desk \"1\"".into()),
        to,
        headers: vec![("X-RestComm-CallSid".into(), "ID".into())],
        credentials: None,
        timeout: Duration::from_secs(20),
        sdp: None,
        by: None,
    }))
}

fn party(sid: u128, to: &str) -> DialParty {
    DialParty { sid: CallSid(sid), to: Party::Number(to.into()), headers: Vec::new(), credentials: None }
}

fn dial(parties: Vec<DialParty>, join: bool) -> Action {
    Action::Dial(Box::new(Dial {
        parties,
        from: None,
        timeout: Duration::from_secs(30),
        time_limit: None,
        join,
    }))
}

fn hangup() -> Action {
    Action::Hangup { status: None, reason: None }
}

/// A call that the control plane has placed, answered by this phone.
fn placed(bench: &mut Bench, sid: u128, number: &str, phone: &mut Phone) -> CallSid {
    bench.order(place(sid, Party::Number(number.into()))).expect("taken");
    let invite = bench.invited(phone);
    bench.reply(phone, &invite, 200, "", &sdp(phone.name, 5_000, "0 8"));
    assert_eq!(bench.at_phone(phone).method(), Method::Ack);
    CallSid(sid)
}

/// [C-166] An order's client is called where it is, by the name it registers under: a phone takes its own address
/// from To.
#[test]
fn a_client_is_called_by_its_address_of_record() {
    for (domains, address) in
        [(vec![], "<sip:carol@127.0.0.1>"), (vec!["example.com".into()], "<sip:carol@example.com>")]
    {
        let mut bench = Bench::new();
        bench.plan.calls.registrar.domains = domains;
        bench.order(place(1, Party::Client("carol".into()))).expect("taken");
        let (ticket, user) = bench.calls.next_lookup().expect("a question");
        assert_eq!(&*user, "carol");
        let flow = crate::sip::flow::Flow {
            remote: C.parse().expect("an address"),
            ..crate::sip::flow::Flow::nowhere()
        };
        let uri = bytes::Bytes::from_static(b"sip:c0ffee@10.0.2.1:5060");
        bench.with(|calls, cx| {
            calls.bindings(cx, ticket, vec![Contact { uri, destination: flow.into(), route: None }])
        });
        let invite = bench.invited(&mut Phone::new(C, "carol"));
        assert_eq!(invite.start(), "INVITE sip:c0ffee@10.0.2.1:5060");
        assert!(invite.text().contains(&format!("To: {address}\r\n")), "{}", invite.text());
    }
}

/// An inbound call that its application has answered.
fn answered(bench: &mut Bench, phone: &mut Phone) -> CallSid {
    bench.call(phone, Owned::Application(0), "", &sdp(phone.name, 4_000, "0 8"));
    let sid = *bench.started().last().expect("a call");
    bench.act(sid, Action::Answer { sdp: None, headers: Vec::new() }).expect("taken");
    let ok = bench.at_phone(phone);
    assert!(ok.start() == "200 OK" && ok.text().contains("a=inactive"), "{}", ok.text());
    phone.heard(&ok);
    bench.ack(phone, "");
    sid
}

/// [restcomm-calls 7] A call placed by the API: queued, ringing, in-progress, completed; it offers no
/// media, says who calls, and the party's BYE ends it.
#[test]
fn placing() {
    let mut bench = Bench::new();
    let mut bob = Phone::new(B, "bob");
    bench.order(place(5, Party::Number("200".into()))).expect("taken");
    let invite = bench.invited(&mut bob);
    assert_eq!(invite.start(), "INVITE sip:200@10.0.1.1");
    assert!(invite.header(HeaderId::From).starts_with("\"Desk \\\"1\\\"\" <sip:4930@127.0.0.1>;tag="));
    assert!(invite.text().contains("a=inactive") && invite.text().contains("X-RestComm-CallSid: ID"));
    bench.reply(&bob, &invite, 100, "", "");
    assert!(bench.life(CallSid(5)).is_empty());
    bench.reply(&bob, &invite, 180, "", "");
    bench.reply(&bob, &invite, 200, "X-Seen: yes\n", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    assert!(bench.events.iter().any(|e| matches!(e, Event::CallStarted(s) if s.direction == Direction::OutboundApi && s.to == "200" && s.from == "4930")));
    assert!(bench.events.iter().any(|e| matches!(e, Event::Headers(h) if h.code == 200 && h.headers == [("X-Seen".to_owned(), "yes".to_owned())])));
    bench.request(&mut bob, "BYE", "", "");
    assert_eq!(
        bench.life(CallSid(5)),
        [(CallStatus::Ringing, 0), (CallStatus::InProgress, 200), (CallStatus::Completed, 0)]
    );
    assert_eq!(bench.act(CallSid(5), hangup()), Err(Refused::Ended));
    bench.end();
    assert_eq!(bench.act(CallSid(5), hangup()), Err(Refused::Unknown));
}

/// [restcomm-calls 7] The ways in which a placed call comes to nothing.
#[test]
fn placing_in_vain() {
    let mut bench = Bench::new();
    // No route takes the number.
    bench.order(place(1, Party::Number("900".into()))).expect("taken");
    assert_eq!(bench.life(CallSid(1)), [(CallStatus::Failed, 404)]);
    // Nobody answers in time.
    let mut bob = Phone::new(B, "bob");
    bench.order(place(2, Party::Number("200".into()))).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    bench.pass(Duration::from_secs(21));
    let cancel = bench.at_phone(&bob);
    assert_eq!(cancel.method(), Method::Cancel);
    bench.reply(&bob, &cancel, 200, "", "");
    bench.reply(&bob, &invite, 487, "", "");
    assert_eq!(bench.life(CallSid(2)).last(), Some(&(CallStatus::NoAnswer, 408)));
    bench.sent.clear();
    // The API gives up.
    bench.order(place(3, Party::Number("200".into()))).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    bench.act(CallSid(3), Action::Cancel).expect("taken");
    bench.reply(&bob, &invite, 487, "", "");
    assert_eq!(bench.life(CallSid(3)).last(), Some(&(CallStatus::Canceled, 487)));
    assert!(bench.has(&Event::Ended(CallSid(3), EndedBy::Control)));
    // What cannot be put into a message.
    for to in
        [Party::Uri("sip:a@b?Route=x".into()), Party::Uri("x y".into()), Party::Number("1\r\nVia: x".into())]
    {
        assert_eq!(bench.order(place(4, to)), Err(Refused::Malformed));
    }
    bench.sent.clear();
    bench.end();
}

/// [restcomm-calls 4] A call that no INVITE was sent for is shown with whom it was to reach.
#[test]
fn placed_in_vain_but_to_somebody() {
    let mut bench = Bench::new();
    for (sid, to, shown) in [
        (1, Party::Number("900".into()), "900"),
        (2, Party::Uri("sip:900@b.example".into()), "900"),
        (3, Party::Client("carol".into()), "carol"),
    ] {
        bench.plan.calls.direct_calls = false;
        bench.order(place(sid, to)).expect("taken");
        if let Some((ticket, _)) = bench.calls.next_lookup() {
            bench.with(|calls, cx| calls.bindings(cx, ticket, Vec::new()));
        }
        assert_eq!(bench.life(CallSid(sid)).last().map(|(status, _)| *status), Some(CallStatus::Failed));
        let told = |event: &Event| matches!(event, Event::CallStarted(s) if s.sid.0 == sid && s.to == shown);
        assert!(bench.events.iter().any(told), "{shown}: {:?}", bench.events);
    }
    bench.silent();
}

/// [telnyx 1.2] What waits for its application says whose call it is: the application's account's.
#[test]
fn an_offer_names_its_account() {
    let mut bench = Bench::new();
    answered(&mut bench, &mut Phone::new(A, "alice"));
    let told = |event: &Event| matches!(event, Event::Offered(offered) if &*offered.account == "AC1");
    assert!(bench.events.iter().any(told), "{:?}", bench.events);
}

/// [restcomm-calls 19] [restcomm-calls 7] What a final answer makes of a placed call.
#[test]
fn placed_calls_end_as_they_are_answered() {
    use CallStatus::{Busy, Failed};
    let cases = [
        (486, Busy),
        (600, Busy),
        (603, Busy),
        (404, Failed),
        (480, Failed),
        (488, Failed),
        (500, Failed),
        (503, Failed),
    ];
    for (code, status) in cases {
        let mut bench = Bench::new();
        let mut bob = Phone::new(B, "bob");
        bench.order(place(1, Party::Number("200".into()))).expect("taken");
        let invite = bench.invited(&mut bob);
        bench.reply(&bob, &invite, code, "", "");
        assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        assert_eq!(bench.life(CallSid(1)), [(status, code)]);
        bench.silent();
        bench.end();
    }
}

/// [restcomm-calls 20] A name that stands for nothing: the call has failed, and nothing was sent.
#[test]
fn placed_to_an_unknown_name() {
    let mut bench = Bench::new();
    bench.order(place(1, Party::Uri("sip:bob@nowhere.example".into()))).expect("taken");
    assert!(bench.life(CallSid(1)).is_empty());
    bench.names_are_unknown();
    assert_eq!(bench.life(CallSid(1)).last().map(|(status, _)| *status), Some(CallStatus::Failed));
    bench.silent();
    bench.end();
}

/// [restcomm-calls 4] A call whose client has been told that there is none is not placed.
#[test]
fn placed_too_late() {
    let mut bench = Bench::new();
    let ago = Time::from_micros(bench.now.micros() - 1);
    for (by, taken) in [(ago, Err(Refused::Late)), (bench.now, Ok(()))] {
        let mut order = place(1, Party::Number("200".into()));
        if let Order::Place(place) = &mut order {
            place.by = Some(by);
        }
        assert_eq!(bench.order(order), taken);
        assert_eq!(bench.started().is_empty(), taken.is_err());
    }
}

/// [restcomm-calls 21] A challenge is met once, with what the order gave; without that it is the answer.
#[test]
fn placed_calls_meet_a_challenge() {
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\n";
    for known in [true, false] {
        let mut bench = Bench::new();
        let mut bob = Phone::new(B, "bob");
        let mut order = place(1, Party::Number("200".into()));
        if let (Order::Place(place), true) = (&mut order, known) {
            let secret = crate::sip::plan::Secret::Password("p".into());
            place.credentials =
                Some(std::sync::Arc::new(crate::sip::plan::Credentials { user: "u".into(), secret }));
        }
        bench.order(order).expect("taken");
        let invite = bench.invited(&mut bob);
        bench.reply(&bob, &invite, 401, challenge, "");
        assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        if known {
            let again = bench.at_phone(&bob);
            assert!(
                again.text().contains("Authorization: Digest username=\"u\", realm=\"r\""),
                "{}",
                again.text()
            );
            bench.reply(&bob, &again, 401, challenge, "");
            assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
        }
        assert_eq!(bench.life(CallSid(1)), [(CallStatus::Failed, 401)]);
        bench.silent();
        bench.end();
    }
}

/// An application that says nothing: 500 after its time; one that refuses, with its code.
#[test]
fn undecided_and_refused() {
    let mut bench = Bench::new();
    let mut alice = Phone::new(A, "alice");
    bench.call(&mut alice, Owned::Application(0), "X-A: 1\n", &sdp("alice", 4_000, "0"));
    assert!(
        bench.events.iter().any(
            |e| matches!(e, Event::Offered(o) if o.sdp.is_some() && o.trunk.as_deref() == Some("alpha"))
        )
    );
    bench.pass(Duration::from_secs(31));
    assert!(bench.waiting().iter().any(|line| line.contains("500 ")), "{:?}", bench.waiting());
    bench.sent.clear();
    let mut dave = Phone::new(A, "dave");
    bench.call(&mut dave, Owned::Application(0), "", "");
    let sid = *bench.started().last().expect("a call");
    assert_eq!(bench.act(sid, Action::Hold), Err(Refused::NotAnswered));
    bench
        .act(sid, Action::Hangup { status: Some(486), reason: Some("Q.850;cause=17".into()) })
        .expect("taken");
    let refusal = bench.at_phone(&dave);
    assert!(refusal.start().starts_with("486") && refusal.header(HeaderId::Reason) == "Q.850;cause=17");
    assert_eq!(bench.life(sid).last(), Some(&(CallStatus::Busy, 486)));
    bench.sent.clear();
    let mut erin = Phone::new(A, "erin");
    bench.call(&mut erin, Owned::Application(0), "", "");
    let sid = *bench.started().last().expect("a call");
    let leave = |phrase: &str, name: &str| {
        let headers = vec![(name.to_owned(), "no verbs".to_owned())];
        Action::Leave(Box::new(Leave { status: Some(480), phrase: Some(phrase.into()), headers }))
    };
    for wrong in [leave("Not\r\nnow", "X-Reason"), leave("Not now", "Via")] {
        assert_eq!(bench.act(sid, wrong), Err(Refused::Malformed));
    }
    bench.act(sid, leave("Not now", "X-Reason")).expect("taken");
    let refusal = bench.at_phone(&erin);
    assert!(
        refusal.start().starts_with("480 Not now") && refusal.text().contains("\r\nX-Reason: no verbs\r\n")
    );
    assert_eq!(bench.life(sid).last(), Some(&(CallStatus::Failed, 480)));
    bench.end();
}

/// [rcml 8.1] A Dial from an answered leg: the winner is called with the leg's offer, both are joined by
/// re-INVITE, the other party is cancelled, and the leg outlives the winner.
#[test]
fn dialling() {
    let mut bench = Bench::new();
    let (mut alice, mut bob, mut carol) =
        (Phone::new(A, "alice"), Phone::new(B, "bob"), Phone::new(C, "carol"));
    let sid = answered(&mut bench, &mut alice);
    bench.act(sid, dial(vec![party(21, "200"), party(31, "300")], true)).expect("taken");
    assert_eq!(bench.act(sid, dial(vec![party(22, "200")], true)), Err(Refused::Busy));
    let (to_bob, to_carol) = (bench.invited(&mut bob), bench.invited(&mut carol));
    assert!(to_bob.text().ends_with(&sdp("alice", 4_000, "0 8")), "{}", to_bob.text());
    bench.reply(&bob, &to_bob, 180, "", "");
    bench.reply(&carol, &to_carol, 180, "", "");
    bench.reply(&bob, &to_bob, 200, "", &sdp("bob", 5_000, "0"));
    assert_eq!(bench.at_phone(&bob).method(), Method::Ack);
    let cancel = bench.at_phone(&carol);
    assert_eq!(cancel.method(), Method::Cancel);
    bench.reply(&carol, &to_carol, 487, "", "");
    bench.at_phone(&carol);
    // What Bob said, as an offer in Alice's session.
    let (invite, _) = bench.reinvited(&mut alice, &sdp("alice", 4_000, "0"));
    assert!(invite.text().contains("m=audio 5000 RTP/AVP 0") && invite.text().contains("o=baton "));
    bench.silent();
    assert!(bench.has(&Event::Joined(sid, CallSid(21))));
    bench.request(&mut bob, "BYE", "", "");
    assert!(bench.events.iter().any(|e| matches!(e, Event::DialEnded(d) if d.sid == sid && d.winner == Some(CallSid(21)) && d.status == CallStatus::Completed)));
    bench.at_phone(&bob);
    bench.silent();
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.end();
}

/// A Dial that nobody answers tells the best code; one from an unanswered leg passes ringing and answer on.
#[test]
fn dialling_unanswered() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    bench.call(&mut alice, Owned::Application(0), "", &sdp("alice", 4_000, "0"));
    let sid = bench.started()[0];
    bench.act(sid, dial(vec![party(21, "200")], true)).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 486, "", "");
    assert!(bench.events.iter().any(|e| matches!(e, Event::DialEnded(d) if d.winner.is_none() && d.code == 486 && d.status == CallStatus::Busy)));
    bench.sent.clear();
    bench.act(sid, dial(vec![party(22, "200")], true)).expect("taken");
    let invite = bench.invited(&mut bob);
    bench.reply(&bob, &invite, 180, "", "");
    assert_eq!(bench.at_phone(&alice).start(), "180 Ringing");
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0"));
    let ok = bench.at_phone(&alice);
    assert!(ok.text().ends_with(&sdp("bob", 5_000, "0")));
    alice.heard(&ok);
    bench.ack(&mut alice, "");
    assert!(bench.has(&Event::Joined(sid, CallSid(22))));
    bench.sent.clear();
    bench.request(&mut alice, "BYE", "", "");
    bench.at_phone(&alice);
    bench.hung_up(&bob);
    bench.end();
}

/// A call's time is limited: the winner is ended when it is over.
#[test]
fn time_limit() {
    let mut bench = Bench::new();
    let (mut alice, mut bob) = (Phone::new(A, "alice"), Phone::new(B, "bob"));
    let sid = answered(&mut bench, &mut alice);
    let mut dial = Dial {
        parties: vec![party(21, "200")],
        from: Some("77".into()),
        timeout: Duration::from_secs(30),
        time_limit: Some(Duration::from_secs(60)),
        join: true,
    };
    dial.parties[0].to = Party::Uri("sip:200@elsewhere.example".into());
    bench.act(sid, Action::Dial(Box::new(dial))).expect("taken");
    let invite = bench.invited(&mut bob);
    assert!(invite.header(HeaderId::From).contains("<sip:77@127.0.0.1>"));
    bench.reply(&bob, &invite, 200, "", &sdp("bob", 5_000, "0 8"));
    bench.at_phone(&bob);
    bench.reinvited(&mut alice, &sdp("alice", 4_000, "0 8"));
    bench.pass(Duration::from_secs(59));
    bench.silent();
    bench.pass(Duration::from_millis(1_200));
    bench.hung_up(&bob);
    assert!(bench.has(&Event::Ended(CallSid(21), EndedBy::Baton)));
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.end();
}

/// Two legs that are up are joined, parted, held and resumed.
#[test]
fn joining_and_parting() {
    let mut bench = Bench::new();
    let (mut bob, mut carol) = (Phone::new(B, "bob"), Phone::new(C, "carol"));
    let (one, two) = (placed(&mut bench, 1, "200", &mut bob), placed(&mut bench, 2, "300", &mut carol));
    bench.act(one, Action::Join(two)).expect("taken");
    assert_eq!(bench.act(two, Action::Join(one)), Err(Refused::Busy));
    // Carol is asked for an offer, Bob gets it, Carol gets Bob's answer.
    let ask = bench.at_phone(&carol);
    assert!(ask.method() == Method::Invite && ask.message.body().is_empty());
    bench.reply(&carol, &ask, 200, "", &sdp("carol", 6_000, "0 8"));
    let (offer, _) = bench.reinvited(&mut bob, &sdp("bob", 5_000, "8"));
    assert!(offer.text().contains("m=audio 6000 RTP/AVP 0 8"));
    let ack = bench.at_phone(&carol);
    assert!(ack.method() == Method::Ack && ack.text().contains("m=audio 5000 RTP/AVP 8"), "{}", ack.text());
    assert!(bench.has(&Event::Joined(one, two)));
    bench.silent();
    bench.act(one, Action::Hold).expect("taken");
    let (hold, _) = bench.reinvited(&mut bob, &sdp("bob", 5_000, "8"));
    assert!(hold.text().contains("a=sendonly"));
    bench.act(one, Action::Resume).expect("taken");
    let (resume, _) = bench.reinvited(&mut bob, &sdp("bob", 5_000, "8"));
    assert!(resume.text().contains("a=sendrecv"));
    bench.act(one, Action::Part).expect("taken");
    for phone in [&mut bob, &mut carol] {
        let (part, _) = bench.reinvited(phone, &sdp(phone.name, 5_000, "8"));
        assert!(part.text().contains("a=inactive"));
    }
    assert!(bench.has(&Event::Parted(one, two)));
    // Steered legs outlive each other.
    bench.act(one, hangup()).expect("taken");
    bench.hung_up(&bob);
    bench.silent();
    bench.act(two, hangup()).expect("taken");
    bench.hung_up(&carol);
    bench.end();
}

/// A request inside a dialog, by order, and its result.
#[test]
fn requests_by_order() {
    let mut bench = Bench::new();
    let mut bob = Phone::new(B, "bob");
    let one = placed(&mut bench, 1, "200", &mut bob);
    let request = |method: &str| Action::Request {
        method: method.into(),
        headers: vec![("X-A".into(), "1".into())],
        body: Some(("application/dtmf-relay".into(), "Signal=5".into())),
    };
    assert_eq!(bench.act(one, request("BYE")), Err(Refused::Malformed));
    bench.act(one, request("INFO")).expect("taken");
    let info = bench.at_phone(&bob);
    assert!(info.method() == Method::Info && info.text().ends_with("\r\n\r\nSignal=5"));
    bench.reply(&bob, &info, 415, "", "");
    assert!(bench.has(&Event::RequestEnded { sid: one, ticket: 77, code: 415, reason: "Whatever".into() }));
    bench.act(one, hangup()).expect("taken");
    bench.hung_up(&bob);
    bench.end();
}

/// What a party asks while it talks to nobody is answered here.
#[test]
fn alone() {
    let mut bench = Bench::new();
    let mut alice = Phone::new(A, "alice");
    let sid = answered(&mut bench, &mut alice);
    for (method, answer) in [
        ("INFO", "200"),
        ("OPTIONS", "200"),
        ("MESSAGE", "405"),
        ("FOO", "501"),
        ("REFER", "603"),
        ("NOTIFY", "489"),
    ] {
        bench.request(&mut alice, method, "Refer-To: <sip:x@y>\nEvent: z\n", "");
        let response = bench.at_phone(&alice);
        assert!(response.start().starts_with(answer), "{method}: {}", response.start());
    }
    bench.request(&mut alice, "INVITE", "", &sdp("alice", 4_002, "8"));
    let ok = bench.at_phone(&alice);
    assert!(ok.start() == "200 OK" && ok.text().contains("a=inactive"));
    bench.ack(&mut alice, "");
    bench.act(sid, hangup()).expect("taken");
    bench.hung_up(&alice);
    bench.end();
}
