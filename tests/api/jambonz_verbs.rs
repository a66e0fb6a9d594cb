//! The other verbs of jambonz applications.

use crate::harness::*;
use crate::jambonz::*;
use crate::receiver::{Receiver, Reply};
use baton::sip::command::{Action, Decision, Dial, Order, Party};
use baton::sip::event::{CallSid, CallStatus, DialEnded, EndedBy, Event, ReferAsked, ReferSid};
use serde_json::{Value, json};
use std::time::Duration;

fn dial_of(server: &Server, sid: CallSid) -> Dial {
    match server.shards.action(sid) {
        Action::Dial(dial) => *dial,
        other => panic!("no dial: {other:?}"),
    }
}

fn ended(sid: CallSid, dial: &Dial, winner: Option<CallSid>, status: CallStatus, code: u16) -> Event {
    let first = dial.parties[0].sid;
    Event::DialEnded(Box::new(DialEnded { sid, first, winner, status, code }))
}

/// [jambonz 43] [jambonz 7] An unanswered call is refused as the verb says.
#[test]
fn decline() {
    let verb = json!({"verb": "sip:decline", "status": 486, "reason": "Not now", "headers": {"X-A": 1}});
    let (server, receiver) = answering(&json!([verb]));
    server.shards.offer(call(1), &[]);
    let leave = server.shards.leave(call(1));
    assert_eq!((leave.status, leave.phrase.as_deref()), (Some(486), Some("Not now")));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(leave.headers, [pair("X-A", "1"), pair("X-Reason", "SIP Decline Verb")]);
    let told = statuses(&receiver);
    let last = told.last().expect("an end");
    assert_eq!((&last["call_status"], &last["sip_status"]), (&json!("failed"), &json!(486)));
    for wrong in [200, 302, 700] {
        let (server, _receiver) = answering(&json!([{"verb": "sip:decline", "status": wrong}]));
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.leave(call(1)).status, Some(480));
    }
    // An answered call is not refused any more.
    let (server, _receiver, sid) = running(&[json!({"verb": "sip:decline", "status": 486})]);
    assert_eq!(server.shards.leave(sid).status, None);
}

/// [jambonz 7] A request in the dialog, and what its hook is told.
#[test]
fn requests() {
    let verb = |more: Value| {
        let mut verb = json!({"verb": "sip:request", "method": "info", "actionHook": "/done",
            "headers": {"Content-Type": "application/dtmf-relay", "X-A": "1"}, "body": "Signal=5"});
        for (name, value) in more.as_object().expect("an object") {
            verb[name] = value.clone();
        }
        verb
    };
    let (server, receiver, sid) = running(&[verb(json!({})), verb(json!({"id": "second"}))]);
    for (code, reason, expected) in [(200, "OK", json!("success")), (408, "", json!("failed"))] {
        let expected_order = Action::Request {
            method: "INFO".into(),
            headers: vec![("X-A".into(), "1".into())],
            body: Some(("application/dtmf-relay".into(), "Signal=5".into())),
        };
        assert_eq!(server.shards.action(sid), expected_order);
        let ticket = server.shards.ticket();
        server.shards.tell(Event::RequestEnded { sid, ticket, code, reason: reason.into() });
        let told = until(&receiver, "/done").json();
        assert_eq!(told["result"], expected);
        assert_eq!(told.get("sip_status"), (code == 200).then_some(&json!(200)).or(told.get("sip_status")));
        assert_eq!(told.get("err").is_some(), code != 200);
    }
    for method in ["BYE", "invite", "REFER", "a b"] {
        let (server, _receiver) = answering(&json!([verb(json!({"method": method}))]));
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.leave(call(1)).status, Some(480), "{method}");
    }
}

/// [jambonz 7] [jambonz 5.5] Redirect replaces what is left; what it is answered with runs.
#[test]
fn redirect_tag_and_hangup() {
    let (server, receiver) = answering(&json!([
        {"verb": "tag", "data": {"jobId": 7}},
        {"verb": "redirect", "actionHook": "/next", "statusHook": "/status2"},
        {"verb": "sip:decline", "status": 404},
    ]));
    receiver.verbs("/next", &json!([{"verb": "answer"}, {"verb": "hangup", "headers": {"X-A": "b"}}]));
    server.shards.offer(call(1), &[]);
    until(&receiver, "/app/start");
    assert_eq!(until(&receiver, "/next").json()["customerData"], json!({"jobId": 7}));
    assert!(matches!(server.shards.action(call(1)), Action::Answer { .. }));
    server.shards.change_by(call(1), CallStatus::InProgress, 200);
    assert_eq!(server.shards.leave(call(1)).headers, [("X-A".to_owned(), "b".to_owned())]);
    for word in ["in-progress", "completed"] {
        assert_eq!(until(&receiver, "/status2").json()["call_status"], word);
    }
}

/// [jambonz 7] Verbs that need media are passed over, visibly, and their hooks not asked; those before which
/// a call is answered answer it.
#[test]
fn verbs_without_media() {
    let (server, receiver) = answering(&json!([
        {"verb": "config", "recognizer": {}},
        {"verb": "say", "text": "hi", "earlyMedia": true},
        {"verb": "gather", "actionHook": "/gathered", "input": ["digits"]},
        {"verb": "conference", "name": "x", "actionHook": "/gathered"},
    ]));
    server.shards.offer(call(1), &[]);
    assert!(matches!(server.shards.action(call(1)), Action::Answer { .. }));
    server.shards.change_by(call(1), CallStatus::InProgress, 200);
    assert_eq!(server.shards.leave(call(1)).status, None);
    statuses(&receiver);
    assert_eq!(receiver.unseen(), 0);
    assert!(server.get("/metrics").body.contains("baton_media_verbs_skipped_total 4\n"));
}

/// [jambonz 7] Targets, and what the hook of a dial is told.
#[test]
fn dialling() {
    let verb = json!({
        "verb": "dial", "callerId": "+4930", "timeout": 7, "timeLimit": 90, "headers": {"X-A": 1},
        "actionHook": "/done", "target": [
            {"type": "phone", "number": "+49 (30) 1"},
            {"type": "sip", "sipUri": "sip:desk@pbx.example.org", "auth": {"username": "u", "password": "p"}},
            {"type": "user", "name": "alice@example.org"},
        ],
    });
    for (answered, status, code, word) in [
        (true, CallStatus::Completed, 200, "completed"),
        (false, CallStatus::Busy, 486, "busy"),
        (false, CallStatus::NoAnswer, 487, "no-answer"),
        (false, CallStatus::Failed, 404, "failed"),
    ] {
        let (server, receiver, sid) = running(std::slice::from_ref(&verb));
        let dial = dial_of(&server, sid);
        assert_eq!((dial.timeout, dial.time_limit), (Duration::from_secs(7), Some(Duration::from_secs(90))));
        assert_eq!((dial.from.as_deref(), dial.join), (Some("+4930"), true));
        let parties: Vec<&Party> = dial.parties.iter().map(|party| &party.to).collect();
        let expected = [
            Party::Number("+49301".into()),
            Party::Uri("sip:desk@pbx.example.org".into()),
            Party::Client("alice".into()),
        ];
        assert_eq!(parties, expected.iter().collect::<Vec<_>>());
        assert!(dial.parties[1].credentials.is_some());
        assert_eq!(dial.parties[2].headers, [("X-A".to_owned(), "1".to_owned())]);
        let child = dial.parties[1].sid;
        server.shards.dialled(child, sid);
        if answered {
            server.shards.change_by(child, CallStatus::InProgress, 200);
            server.shards.tell(Event::Joined(sid, child));
            server.shards.end_by(child, CallStatus::Completed, 0, EndedBy::Peer);
        } else {
            server.shards.end_by(child, status, code, EndedBy::Peer);
        }
        server.shards.tell(ended(sid, &dial, answered.then_some(child), status, code));
        let mut of_child = Vec::new();
        let told = loop {
            let next = receiver.next();
            let told = next.json();
            match next.path.as_str() {
                "/done" => break told,
                _ if told["call_sid"] == uuid(child) => of_child.push(told),
                _ => {}
            }
        };
        assert_eq!((&told["dial_call_status"], &told["dial_sip_status"]), (&json!(word), &json!(code)));
        if answered {
            assert_eq!(told["dial_call_sid"], uuid(child));
            assert_eq!(told["dial_sbc_callid"], "id@b");
        }
        // The leg has statuses of its own, told to the same hook.
        while of_child.last().is_none_or(|told| told["call_status"] != word) {
            let next = receiver.expect("/status").json();
            if next["call_sid"] == uuid(child) {
                of_child.push(next);
            }
        }
        assert!(of_child.iter().all(|told| told["parent_call_sid"] == uuid(sid)), "{of_child:?}");
        assert_eq!(of_child[0]["call_status"], "trying");
        server.shards.leave(sid);
    }
}

/// [jambonz 7] Without answerOnBridge the caller is answered first; a dial with nobody in it is no document.
#[test]
fn dialling_for_a_caller_who_waits() {
    for bridge in [true, false] {
        let target = json!([{"type": "phone", "number": "1"}]);
        let (server, _receiver) =
            answering(&json!([{"verb": "dial", "answerOnBridge": bridge, "target": target}]));
        server.shards.offer(call(1), &[]);
        if !bridge {
            assert!(matches!(server.shards.action(call(1)), Action::Answer { .. }));
            server.shards.change_by(call(1), CallStatus::InProgress, 200);
        }
        assert_eq!(dial_of(&server, call(1)).timeout, Duration::from_secs(60));
    }
    let eleven: Vec<Value> = (0..11).map(|n| json!({"type": "phone", "number": n.to_string()})).collect();
    for wrong in
        [json!([]), json!(eleven), json!([{"type": "teams"}]), json!([{"type": "sip", "sipUri": "http://x"}])]
    {
        let (server, _receiver) = answering(&json!([{"verb": "dial", "target": wrong}]));
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.leave(call(1)).status, Some(480), "{wrong}");
    }
}

/// A dial that talks, with these properties besides.
fn talking(more: &Value) -> (Server, Receiver, CallSid, CallSid) {
    talking_for(PATIENCE, more)
}

/// The same; who is silent for so long does not answer.
fn talking_for(silence: Duration, more: &Value) -> (Server, Receiver, CallSid, CallSid) {
    let mut verb = json!({"verb": "dial", "target": [{"type": "phone", "number": "1"}]});
    for (name, value) in more.as_object().expect("an object") {
        verb[name] = value.clone();
    }
    let (server, receiver, sid) = running_for(silence, &[verb, json!({"verb": "pause", "length": 600})]);
    let child = dial_of(&server, sid).parties[0].sid;
    server.shards.dialled(child, sid);
    server.shards.change_by(child, CallStatus::InProgress, 200);
    server.shards.tell(Event::Joined(sid, child));
    (server, receiver, sid, child)
}

fn asked(call: CallSid, other: CallSid) -> Event {
    Event::ReferAsked(Box::new(ReferAsked {
        sid: ReferSid(9),
        call,
        other: Some(other),
        to: "sip:carol@c.example?X=1".into(),
        by: "sip:bob@a.example".into(),
        replaces: false,
        headers: vec![("X-Job".into(), "7".into()), ("User-Agent".into(), "Phone/1".into())],
    }))
}

fn decided(server: &Server, decision: Decision, call: CallSid) {
    assert_eq!(server.shards.order(), Order::DecideRefer(ReferSid(9), call, decision));
}

/// [jambonz 42] [jambonz 8.1] [jambonz 8.2] [jambonz 8.3] Either party may ask for a transfer: the hook is
/// told of it, its verbs run on the other one's leg, and what comes of them is reported.
#[test]
fn a_party_asks_for_a_transfer() {
    for caller_asks in [false, true] {
        let (server, receiver, sid, child) = talking(&json!({"referHook": "/refer"}));
        let (referring, other) = if caller_asks { (sid, child) } else { (child, sid) };
        receiver.verbs("/refer", &json!([{"verb": "dial", "target": [{"type": "phone", "number": "2"}]}]));
        server.shards.tell(asked(referring, other));
        let told = until(&receiver, "/refer").json();
        let expected = json!({
            "sip_refer_to": "<sip:carol@c.example?X=1>", "refer_to_user": "carol",
            "sip_referred_by": "<sip:bob@a.example>", "referred_by_user": "bob", "sip_user_agent": "Phone/1",
            "referring_call_sid": uuid(referring), "referred_call_sid": uuid(other), "X-Job": "7",
        });
        assert_eq!((&told["refer_details"], &told["call_sid"]), (&expected, &json!(uuid(sid))));
        decided(&server, Decision::Take, referring);
        assert_eq!(server.shards.action(sid), Action::Part);
        let dial = dial_of(&server, other);
        let third = dial.parties[0].sid;
        server.shards.dialled(third, other);
        server.shards.change_by(third, CallStatus::InProgress, 200);
        server.shards.tell(Event::Joined(other, third));
        decided(&server, Decision::Report(200), referring);
        assert!(matches!(server.shards.action(referring), Action::Hangup { status: None, .. }));
    }
}

/// [jambonz 42] [jambonz 8.1] [jambonz 8.2] Without a hook a REFER is refused; a hook that fails refuses it
/// with its own status where that is one.
#[test]
fn transfers_that_are_refused() {
    let (server, _receiver, sid, child) = talking(&json!({}));
    server.shards.tell(asked(child, sid));
    decided(&server, Decision::Reject(501), child);
    for (status, code) in [(403, 403), (503, 503), (302, 501)] {
        let (server, receiver, sid, child) = talking(&json!({"referHook": "/refer"}));
        receiver.reply("/refer", Reply::Other(status, Vec::new(), String::new()));
        server.shards.tell(asked(child, sid));
        decided(&server, Decision::Reject(code), child);
    }
    // Nobody answers: the REFER is taken in time, and its failure reported. The one is long before the other: both are
    // due at once otherwise when the machine has stood still.
    let (server, receiver, sid, child) =
        talking_for(Duration::from_secs(10), &json!({"referHook": "/refer"}));
    receiver.reply("/refer", Reply::Never);
    server.shards.tell(asked(child, sid));
    decided(&server, Decision::Take, child);
    decided(&server, Decision::Report(501), child);
}
