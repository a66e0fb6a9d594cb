//! `sip:refer` of jambonz applications: what is sent, and what hooks are told of it.

use crate::harness::*;
use crate::receiver::{Received, Receiver, Reply};
use crate::shard::Referred;
use baton::config::Secret;
use baton::control::{Application, ApplicationKind};
use baton::sip::command::{Action, Order, ReferOrder};
use baton::sip::event::{CallSid, CallStatus, EndedBy, Event, ReferStatus};
use serde_json::{Value, json};
use std::time::Duration;

pub const SECRET: &str = "s3cret";
/// The UUIDs of the first account and of the application.
pub const UUID: &str = "00000000-0000-0000-0000-000000000001";

pub fn call(n: u128) -> CallSid {
    CallSid(n << 16 | 1)
}

pub fn uuid(sid: CallSid) -> String {
    let text = format!("{:032x}", sid.0);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

pub fn application(receiver: &Receiver) -> Application {
    Application {
        account: Some(ACCOUNT.into()),
        status_url: Some("/status".into()),
        webhook_secret: Some(Secret::new(SECRET)),
        ..Application::new("agent", ApplicationKind::Jambonz, receiver.url("/app/start"))
    }
}

/// A server whose application answers its first request so.
pub fn answering(verbs: &Value) -> (Server, Receiver) {
    answering_for(PATIENCE, verbs)
}

/// The same; who is silent for so long does not answer.
pub fn answering_for(silence: Duration, verbs: &Value) -> (Server, Receiver) {
    let receiver = Receiver::start();
    receiver.verbs("/app/start", verbs);
    (Server::adjusted(vec![application(&receiver)], impatient(silence)), receiver)
}

/// A call that was answered by its application, and then runs these verbs.
pub fn running(verbs: &[Value]) -> (Server, Receiver, CallSid) {
    running_for(PATIENCE, verbs)
}

/// The same; who is silent for so long does not answer.
pub fn running_for(silence: Duration, verbs: &[Value]) -> (Server, Receiver, CallSid) {
    let all: Vec<Value> = [json!({"verb": "answer"})].iter().chain(verbs).cloned().collect();
    let (server, receiver) = answering_for(silence, &Value::Array(all));
    let sid = call(1);
    up(&server, &receiver, sid);
    (server, receiver, sid)
}

/// A call comes in, is asked for and answered.
pub fn up(server: &Server, receiver: &Receiver, sid: CallSid) {
    server.shards.offer(sid, &[]);
    until(receiver, "/app/start");
    assert!(matches!(server.shards.action(sid), Action::Answer { .. }));
    server.shards.change_by(sid, CallStatus::InProgress, 200);
}

/// The next request for this path; status hooks go their own way.
pub fn until(receiver: &Receiver, path: &str) -> Received {
    loop {
        let next = receiver.next();
        if next.path == path {
            return next;
        }
        assert_eq!(next.path, "/status", "{next:?}");
    }
}

/// The statuses told until the call has ended.
pub fn statuses(receiver: &Receiver) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let told = receiver.next();
        if told.path != "/status" {
            continue;
        }
        let told = told.json();
        let done =
            matches!(told["call_status"].as_str(), Some("completed" | "failed" | "busy" | "no-answer"));
        all.push(told);
        if done {
            return all;
        }
    }
}

fn refer(more: &Value) -> Value {
    let mut verb = json!({"verb": "sip:refer", "referTo": "+4930100300", "actionHook": "/done",
        "eventHook": "/progress"});
    for (name, value) in more.as_object().expect("an object") {
        verb[name] = value.clone();
    }
    verb
}

fn snapshot(refer_code: Option<u16>, notify_code: Option<u16>, status: ReferStatus) -> Referred {
    Referred { refer_code, notify_code, status }
}

/// The peer takes the REFER and reports these codes, the last of which ends it.
fn course(server: &Server, order: &ReferOrder, sid: CallSid, accepted: u16, codes: &[u16]) {
    let tell = |seq, what| server.shards.referred(order, sid, seq, what);
    tell(0, snapshot(Some(accepted), None, ReferStatus::InProgress));
    for (n, code) in (1..).zip(codes) {
        server.shards.tell(Event::ReferNotified(order.sid, sid, *code));
        let status = match code {
            100..=199 => ReferStatus::InProgress,
            200..=299 => ReferStatus::Completed,
            486 => ReferStatus::Busy,
            _ => ReferStatus::Failed,
        };
        tell(n, snapshot(Some(accepted), Some(*code), status));
    }
}

/// [jambonz 8] [jambonz 9] [jambonz 11] [jambonz 16] [jambonz 12] [jambonz 5] [jambonz 6.3] [jambonz 6.4]
/// [jambonz 45] Every NOTIFY is told, then the result; what event hooks answer is not run.
#[test]
fn the_course_of_a_transfer() {
    let (server, receiver, sid) = running(&[refer(&json!({"id": "r1"})), json!({"verb": "hangup"})]);
    receiver.verbs("/progress", &json!([{"verb": "pause", "length": 60}]));
    receiver.reply("/done", Reply::Other(204, Vec::new(), String::new()));
    let order = server.shards.refer(sid);
    assert_eq!((order.to.as_str(), order.referred_by.as_deref()), ("+4930100300", Some("bob")));
    assert_eq!((order.bye_after, order.force, order.hold), (None, false, false));
    course(&server, &order, sid, 202, &[100, 180, 180, 200]);
    for code in ["100", "180", "180", "200"] {
        let told = until(&receiver, "/progress").json();
        assert_eq!(told, json!({"event": "transfer-status", "call_status": code}));
    }
    let told = until(&receiver, "/done").json();
    let expected = [
        ("referStatus", json!(202)),
        ("refer_status", json!(202)),
        ("final_referred_call_status", json!(200)),
        ("call_status", json!("in-progress")),
        ("direction", json!("inbound")),
        ("call_sid", json!(uuid(sid))),
        ("account_sid", json!(UUID)),
        ("verb_id", json!("r1")),
    ];
    for (name, value) in expected {
        assert_eq!(told[name], value, "{name}");
    }
    assert_eq!(server.shards.leave(sid).status, None);
    let refers = server.json("Refers");
    assert_eq!(
        (&refers["total"], &refers["refers"][0]["refer_sip_response_code"]),
        (&json!(1), &json!("202"))
    );
    assert_eq!(statuses(&receiver).last().expect("an end")["call_termination_by"], "jambonz");
    assert_eq!(receiver.unseen(), 0);
}

/// [jambonz 1] [jambonz 2] [jambonz 5] [jambonz 6] [jambonz 6.1.4] Both spellings say the same, and what
/// the verb gives stands on the REFER.
#[test]
fn what_is_sent() {
    let inner = json!({"referTo": "sip:x@y;p=1?X-A=1", "referredBy": "desk", "headers":
        {"X-Job": 7, "X-Text": "a", "Refer-To": "sip:z@z", "Call-ID": "1", "referred-by": "sip:z@z"}});
    let mut flat = inner.clone();
    flat["verb"] = json!("sip:refer");
    let mut orders = Vec::new();
    for verb in [flat, json!({"sip:refer": inner})] {
        let (server, _receiver, sid) = running(&[verb]);
        let mut order = server.shards.refer(sid);
        order.sid = baton::sip::event::ReferSid(0);
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    assert_eq!(
        (orders[0].to.as_str(), orders[0].referred_by.as_deref()),
        ("sip:x@y;p=1?X-A=1", Some("desk"))
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(orders[0].headers, [pair("X-Job", "7"), pair("X-Text", "a")]);
    for (verb, expected) in [
        (json!({"referredBy": "sip:desk@h"}), "sip:desk@h"),
        (json!({"referredBy": "desk", "referredByDisplayName": "The \"Desk\""}), "\"The Desk\" <desk>"),
        (json!({"referredByDisplayName": "Bob"}), "\"Bob\" <bob>"),
    ] {
        let (server, _receiver, sid) = running(&[refer(&verb)]);
        assert_eq!(server.shards.refer(sid).referred_by.as_deref(), Some(expected));
    }
}

/// [jambonz 3] [jambonz 4] [jambonz 5.6] A document with anything wrong in it is not begun: the caller is
/// refused, or let go when it was answered.
#[test]
fn wrong_documents() {
    let right = refer(&json!({}));
    let wrong = [
        json!({"verb": "sip:refer", "referTo": 15083084809_u64}),
        json!({"verb": "sip:refer"}),
        json!({"verb": "sip:refer", "referTo": "1", "headers": "X-A: 1"}),
        json!({"verb": "sip:refer", "referTo": "1", "headers": {"X-A": "1\r\nVia: x"}}),
        json!({"verb": "sip:transfer", "referTo": "1"}),
        json!("answer"),
    ];
    for verb in wrong {
        let (server, receiver) = answering(&json!([{"verb": "answer"}, right.clone(), verb.clone()]));
        server.shards.offer(call(1), &[]);
        until(&receiver, "/app/start");
        let leave = server.shards.leave(call(1));
        assert_eq!(leave.status, Some(480), "{verb}");
        assert_eq!(leave.headers[0].0, "X-Reason");
    }
    let unquoted = r#"[{"verb": "sip:refer", "referTo": +15083084809, "actionHook": "/action"}]"#;
    let reply = Reply::Other(200, vec![("Content-Type", "application/json".into())], unquoted.into());
    let (server, receiver) = answering(&json!([]));
    receiver.reply("/app/start", reply.clone());
    server.shards.offer(call(1), &[]);
    assert_eq!(server.shards.leave(call(1)).status, Some(480));
    let (server, receiver) =
        answering(&json!([{"verb": "answer"}, {"verb": "redirect", "actionHook": "/next"},
        {"verb": "pause", "length": 600}]));
    receiver.reply("/next", reply);
    up(&server, &receiver, call(1));
    until(&receiver, "/next");
    assert_eq!(server.shards.leave(call(1)).status, None);
}

/// [jambonz 7] [jambonz 22] A REFER that is refused is told once, without a word about a call that never was.
#[test]
fn a_refused_refer() {
    let (server, receiver, sid) = running(&[refer(&json!({})), refer(&json!({"actionHook": null}))]);
    let order = server.shards.refer(sid);
    server.shards.referred(&order, sid, 0, snapshot(Some(405), None, ReferStatus::Failed));
    let told = until(&receiver, "/done").json();
    assert_eq!((&told["referStatus"], &told["refer_status"]), (&json!(405), &json!(405)));
    assert!(told.get("final_referred_call_status").is_none());
    // Without hooks nothing is asked, and it goes on all the same.
    let order = server.shards.refer(sid);
    server.shards.referred(&order, sid, 0, snapshot(Some(603), None, ReferStatus::Failed));
    assert_eq!(server.shards.leave(sid).status, None);
    let told: Vec<_> = statuses(&receiver);
    assert_eq!(told.last().expect("an end")["call_status"], "completed");
    assert_eq!(receiver.unseen(), 0);
}

/// [jambonz 10] [jambonz 13] [jambonz 14] [jambonz 15] [jambonz 17] [jambonz 5.5] What the result is, and
/// what follows the hook that is told.
#[test]
fn results_and_what_follows() {
    use ReferStatus::{Busy, Completed, Failed};
    let json_type = || vec![("Content-Type", "application/json".to_owned())];
    let replaced = Reply::Other(200, json_type(), r#"[{"verb":"hangup","headers":{"X-By":"hook"}}]"#.into());
    let single = Reply::Other(200, json_type(), r#"{"verb":"hangup","headers":{"X-By":"hook"}}"#.into());
    let cases = [
        ((Some(202), Some(486), Busy), Some(486), Reply::Other(204, Vec::new(), String::new()), "verb"),
        ((Some(202), Some(404), Failed), Some(404), Reply::Other(200, json_type(), "{}".into()), "verb"),
        ((Some(200), Some(200), Completed), Some(200), Reply::Other(500, Vec::new(), String::new()), "verb"),
        ((Some(202), None, Failed), None, replaced, "hook"),
        ((Some(202), Some(180), Failed), None, single, "hook"),
    ];
    for ((refer_code, notify_code, status), last, reply, next) in cases {
        let (server, receiver, sid) =
            running(&[refer(&json!({})), json!({"verb": "hangup", "headers": {"X-By": "verb"}})]);
        receiver.reply("/done", reply);
        let order = server.shards.refer(sid);
        server.shards.referred(&order, sid, 0, snapshot(refer_code, notify_code, status));
        let told = until(&receiver, "/done").json();
        assert_eq!(told["refer_status"], 202);
        assert_eq!(told.get("final_referred_call_status").cloned(), last.map(Value::from));
        assert_eq!(told["call_status"], "in-progress");
        let by = ("X-By".to_owned(), next.to_owned());
        assert_eq!(server.shards.leave(sid).headers, [by]);
    }
}

/// [jambonz 18] [jambonz 5.4] What is for a call that is up is passed over while it is not.
#[test]
fn a_call_that_is_not_answered() {
    let (server, receiver) =
        answering(&json!([refer(&json!({})), {"verb": "sip:request", "method": "INFO"}]));
    server.shards.offer(call(1), &[]);
    until(&receiver, "/app/start");
    assert_eq!(server.shards.leave(call(1)).status, None);
    assert_eq!(server.shards.rest(), []);
    statuses(&receiver);
    assert_eq!(receiver.unseen(), 0);
}

/// [jambonz 6.2] The API ends the call while a transfer waits for its result: no hook is told of that.
#[test]
fn the_api_hangs_up() {
    let (server, receiver, sid) = running(&[refer(&json!({}))]);
    let order = server.shards.refer(sid);
    server.shards.referred(&order, sid, 0, snapshot(Some(202), None, ReferStatus::InProgress));
    server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Control);
    let ended = statuses(&receiver);
    assert_eq!(ended.last().expect("an end")["call_termination_by"], "jambonz");
    server.shards.referred(&order, sid, 1, snapshot(Some(202), Some(200), ReferStatus::Completed));
    // While another call comes and goes, nothing but statuses is told.
    up(&server, &receiver, call(2));
    server.shards.refer(call(2));
    server.shards.end_by(call(2), CallStatus::Completed, 0, EndedBy::Control);
    while until(&receiver, "/status").json()["call_status"] != "completed" {}
    assert_eq!(receiver.unseen(), 0);
}

/// [jambonz 6.2] Nor when all of that is known before the driver has heard that the transfer was taken.
#[test]
fn the_api_hangs_up_at_once() {
    let (server, receiver) = answering(&json!([{"verb": "answer"}, refer(&json!({}))]));
    let sid = call(1);
    server.shards.offer(sid, &[]);
    until(&receiver, "/app/start");
    assert!(matches!(server.shards.action(sid), Action::Answer { .. }));
    server.shards.fall_silent();
    server.shards.change_by(sid, CallStatus::InProgress, 200);
    let order = server.shards.refer(sid);
    server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Control);
    statuses(&receiver);
    server.shards.referred(&order, sid, 0, snapshot(Some(202), Some(200), ReferStatus::Completed));
    server.shards.speak_again();
    // While another call comes and goes, nothing but statuses is told.
    up(&server, &receiver, call(2));
    server.shards.refer(call(2));
    server.shards.end_by(call(2), CallStatus::Completed, 0, EndedBy::Control);
    while until(&receiver, "/status").json()["call_status"] != "completed" {}
    assert_eq!(receiver.unseen(), 0);
}

/// [jambonz 19] [jambonz 20] The peer hangs up: what is known in the end is told, once, and its answer is
/// not run.
#[test]
fn the_peer_hangs_up() {
    for last in [Some(200), None] {
        let (server, receiver, sid) = running(&[refer(&json!({})), json!({"verb": "tag", "data": {}})]);
        receiver.verbs("/done", &json!([{"verb": "dial", "target": [{"type": "phone", "number": "1"}]}]));
        let order = server.shards.refer(sid);
        server.shards.referred(&order, sid, 0, snapshot(Some(202), None, ReferStatus::InProgress));
        server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Peer);
        let ended = statuses(&receiver);
        let ended = ended.last().expect("an end");
        assert_eq!(
            (&ended["call_status"], &ended["call_termination_by"]),
            (&json!("completed"), &json!("caller"))
        );
        assert!(ended["duration"].is_u64());
        assert_eq!(receiver.unseen(), 0);
        match last {
            Some(code) => {
                server.shards.tell(Event::ReferNotified(order.sid, sid, code));
                server.shards.referred(
                    &order,
                    sid,
                    1,
                    snapshot(Some(202), Some(code), ReferStatus::Completed),
                );
                until(&receiver, "/progress");
            }
            None => server.shards.referred(&order, sid, 1, snapshot(Some(202), None, ReferStatus::Canceled)),
        }
        let told = receiver.expect("/done").json();
        assert_eq!((&told["refer_status"], &told["call_status"]), (&json!(202), &json!("completed")));
        assert_eq!(told.get("final_referred_call_status").cloned(), last.map(Value::from));
        assert_eq!(server.shards.rest(), []);
    }
}

/// [jambonz 23] [jambonz 6.2.2] Event hooks that fail harm nothing; a code that comes late is told as an
/// event and is nothing else.
#[test]
fn event_hooks_that_fail() {
    let verbs = [refer(&json!({})), json!({"verb": "pause", "length": 600})];
    let (server, receiver, sid) = running_for(SILENCE, &verbs);
    receiver.reply("/progress", Reply::Never);
    let order = server.shards.refer(sid);
    course(&server, &order, sid, 202, &[200]);
    until(&receiver, "/progress");
    assert_eq!(until(&receiver, "/done").json()["final_referred_call_status"], 200);
    receiver.reply("/progress", Reply::Other(500, Vec::new(), String::new()));
    server.shards.tell(Event::ReferNotified(order.sid, sid, 200));
    assert_eq!(until(&receiver, "/progress").json()["call_status"], "200");
    assert_eq!((receiver.unseen(), server.shards.rest()), (0, Vec::<Order>::new()));
}

/// [jambonz 44] [jambonz 6.4] A setting makes the code a number.
#[test]
fn codes_as_numbers() {
    let receiver = Receiver::start();
    receiver.verbs("/app/start", &json!([{"verb": "answer"}, refer(&json!({}))]));
    let server = Server::adjusted(vec![application(&receiver)], |steering| {
        steering.jambonz.integer_event_status = true
    });
    up(&server, &receiver, call(1));
    let order = server.shards.refer(call(1));
    course(&server, &order, call(1), 202, &[200]);
    let told = until(&receiver, "/progress").json();
    assert_eq!(told, json!({"event": "transfer-status", "call_status": 200}));
    // What the vendor's schema of this hook demands, and allows besides.
    let told = until(&receiver, "/done").json();
    assert!(told["refer_status"].is_u64() && told["final_referred_call_status"].is_u64());
    for name in [
        "call_sid",
        "direction",
        "from",
        "to",
        "call_id",
        "sbc_callid",
        "call_status",
        "account_sid",
        "trace_id",
        "sip_reason",
    ] {
        assert!(told[name].is_string(), "{name}");
    }
    assert!(told["sip_status"].is_u64());
}
