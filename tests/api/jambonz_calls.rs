//! The jambonz-compatible API: calls are placed, read, steered while they live, and deleted.

use crate::harness::*;
use crate::jambonz::*;
use crate::receiver::{Receiver, Reply};
use baton::sip::command::{Action, Party, Refused};
use baton::sip::event::{CallSid, CallStatus, EndedBy, Event};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// A request with the first account's token.
pub fn v1(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let path = format!("/v1/Accounts/{UUID}/{path}");
    raw(server, method, &path, &format!("Bearer {TOKEN}"), &body)
}

fn raw(server: &Server, method: &str, path: &str, credentials: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {credentials}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = server.connect();
    stream.write_all(text.as_bytes()).expect("the server reads");
    Answer::read(stream)
}

fn msg(answer: &Answer) -> String {
    answer.json()["msg"].as_str().expect("a message").to_owned()
}

fn wanted(receiver: &Receiver, more: &Value) -> Value {
    let mut body = json!({
        "from": "+4930100200", "to": {"type": "sip", "sipUri": "sip:maria@pbx.example.org"},
        "call_hook": receiver.url("/app/start"), "call_status_hook": receiver.url("/status"),
    });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// A call that was placed with these fields besides, and answered, and runs these verbs.
fn placed(verbs: &Value, more: &Value) -> (Server, Receiver, CallSid) {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.verbs("/app/start", verbs);
    let answer = v1(&server, "POST", "Calls", &wanted(&receiver, more));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let sid = server.shards.place().sid;
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.change_by(sid, CallStatus::InProgress, 200);
    until(&receiver, "/app/start");
    (server, receiver, sid)
}

/// [jambonz 32] [jambonz 9.3] [jambonz 1.3] What is ordered, and what is answered; the hook is asked when the
/// callee answers.
#[test]
fn a_call_is_placed() {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.verbs("/app/start", &json!([{"verb": "hangup"}]));
    let more = json!({"timeout": 7, "callerName": "Desk", "headers": {"X-Job": 7, "Via": "x"}, "tag": {"jobId": 7},
        "speech_synthesis_vendor": "none", "to": {"type": "sip", "sipUri": "sip:maria@pbx.example.org",
        "auth": {"username": "u", "password": "p"}}});
    let answer = v1(&server, "POST", "Calls/", &wanted(&receiver, &more));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let place = server.shards.place();
    assert_eq!(answer.json(), json!({"sid": uuid(place.sid), "callId": "id@b"}));
    assert_eq!(place.to, Party::Uri("sip:maria@pbx.example.org".into()));
    assert_eq!((place.from.as_str(), place.caller_name.as_deref()), ("+4930100200", Some("Desk")));
    assert_eq!(
        (place.timeout, place.headers),
        (Duration::from_secs(7), vec![("X-Job".to_owned(), "7".to_owned())])
    );
    assert!(place.credentials.is_some());
    let told = receiver.expect("/status").json();
    assert_eq!((&told["call_status"], &told["sip_status"]), (&json!("trying"), &json!(100)));
    assert_eq!(told["call_id"], "id@b");
    assert_eq!(receiver.unseen(), 0);
    server.shards.change_by(place.sid, CallStatus::InProgress, 200);
    let asked = until(&receiver, "/app/start");
    assert!(asked.header("jambonz-signature").is_some());
    let asked = asked.json();
    assert_eq!((&asked["customerData"], &asked["direction"]), (&json!({"jobId": 7}), &json!("outbound")));
    assert_eq!((&asked["from"], &asked["to"]), (&json!("+4930100200"), &json!("maria")));
    assert!(asked.get("sip").is_none() && asked.get("application_sid").is_none());
    assert_eq!(server.shards.leave(place.sid).status, None);
    for (to, party) in [
        (json!({"type": "phone", "number": "+4930"}), Party::Number("+4930".into())),
        (json!({"type": "user", "name": "alice@x"}), Party::Client("alice".into())),
    ] {
        assert_eq!(v1(&server, "POST", "Calls", &wanted(&receiver, &json!({"to": to}))).status, 201);
        assert_eq!(server.shards.place().to, party);
    }
    server.shards.refuse(Some(Refused::Full));
    assert_eq!(v1(&server, "POST", "Calls", &wanted(&receiver, &json!({}))).status, 503);
}

/// [jambonz 33] [jambonz 9.1] [jambonz 9.3] [jambonz 1.6] What is wrong is told.
#[test]
fn what_cannot_be_placed() {
    let (server, receiver) = (Server::start(), Receiver::start());
    for (more, told) in [
        (json!({"from": null}), "missing from parameter"),
        (json!({"to": null}), "missing or invalid to property"),
        (json!({"to": {"type": "phone"}}), "missing or invalid to property: number"),
        (json!({"to": {"type": "fax", "number": "1"}}), "missing or invalid to property: type"),
        (json!({"to": {"type": "teams", "number": "1"}}), "teams"),
        (json!({"to": {"type": "sip", "sipUri": "sip:"}}), "missing or invalid to property: sipUri"),
        (json!({"call_hook": null}), "either call_hook or application_sid required"),
        (json!({"call_hook": "/start"}), "call_hook url be an absolute url"),
        (json!({"call_hook": "ws://h/start"}), "call_hook"),
        (json!({"call_hook": 7}), "call_hook"),
        (json!({"application_sid": "none"}), "application_sid not found none"),
        (json!({"tag": "x"}), "tag"),
        (json!({"timeout": "x"}), "timeout"),
        (json!({"headers": {"X-A": "1\r\nVia: x"}}), "headers"),
        (json!({"app_json": "[{\"verb\":\"fly\"}]"}), "unknown verb"),
    ] {
        let answer = v1(&server, "POST", "Calls", &wanted(&receiver, &more));
        assert_eq!(answer.status, 400, "{more}");
        assert!(msg(&answer).contains(told), "{more}: {}", answer.body);
    }
    for body in ["[]", "{", "7"] {
        let answer =
            raw(&server, "POST", &format!("/v1/Accounts/{UUID}/Calls"), &format!("Bearer {TOKEN}"), body);
        assert_eq!(answer.status, 400, "{body}");
    }
    let long = json!({"x": "y".repeat(70_000)});
    assert_eq!(v1(&server, "POST", "Calls", &long).status, 413);
    let calls = |account: &str| format!("/v1/Accounts/{account}/Calls");
    for (account, credentials, status) in [
        (UUID, "Bearer wrong", 401),
        (UUID, "", 401),
        ("abc", "Bearer wrong", 401),
        ("abc", "Bearer change-me", 400),
        ("00000000-0000-0000-0000-0000000000ff", "Bearer change-me", 403),
        (ACCOUNT, "Bearer change-me", 200),
        ("00000000-0000-0000-0000-000000000002", "Bearer change-me", 403),
        ("00000000-0000-0000-0000-000000000002", "Bearer change-me-too", 200),
    ] {
        let answer = raw(&server, "GET", &calls(account), credentials, "");
        assert_eq!(answer.status, status, "{account} {credentials}: {}", answer.body);
        match status {
            401 => assert_eq!(answer.body, "Unauthorized"),
            400 => assert_eq!(msg(&answer), "Bad request"),
            403 => assert_eq!(msg(&answer), "insufficient permissions"),
            _ => assert_eq!(answer.json(), json!([])),
        }
    }
    assert_eq!(v1(&server, "GET", "Calls/abc", &Value::Null).status, 400);
    assert_eq!(v1(&server, "DELETE", "Calls", &Value::Null).status, 405);
    assert_eq!(v1(&server, "GET", "Nothing", &Value::Null).status, 404);
    assert_eq!(server.shards.rest(), []);
}

/// [jambonz 7] [jambonz 9.3] [jambonz 9.5] What an application keeps with a call has a bound, wherever it
/// comes from.
#[test]
fn tags_have_a_bound() {
    // `{"a":"…"}`
    let tag = |length: usize| json!({"a": "x".repeat(length - 8)});
    let (server, receiver, sid) = placed(&json!([{"verb": "pause", "length": 600}]), &json!({}));
    let path = format!("Calls/{}", uuid(sid));
    for (length, created, updated, declined) in [(4_096, 201, 202, 404), (4_097, 400, 400, 480)] {
        let wanted = wanted(&receiver, &json!({"tag": tag(length)}));
        let answer = v1(&server, "POST", "Calls", &wanted);
        assert_eq!(answer.status, created);
        assert!(created == 201 || msg(&answer).contains("tag"), "{}", answer.body);
        assert_eq!(v1(&server, "PUT", &path, &json!({"tag": tag(length)})).status, updated);
        let verbs = json!([{"verb": "tag", "data": tag(length)}, {"verb": "sip:decline", "status": 404}]);
        let (server, _receiver) = answering(&verbs);
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.leave(call(1)).status, Some(declined));
    }
}

/// [jambonz 34] [jambonz 4] The statuses of a call that is answered.
#[test]
fn statuses_of_an_answered_call() {
    let (server, receiver, sid) = placed(&json!([{"verb": "pause", "length": 600}]), &json!({}));
    server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Peer);
    // The first three have been looked at, or come in between.
    let told = statuses(&receiver);
    let last = told.last().expect("an end");
    assert_eq!((&last["call_status"], &last["call_termination_by"]), (&json!("completed"), &json!("caller")));
    assert!(last["duration"].is_u64());
    let (server, receiver) = (Server::start(), Receiver::start());
    v1(
        &server,
        "POST",
        "Calls",
        &wanted(&receiver, &json!({"app_json": "[{\"verb\":\"pause\",\"length\":600}]"})),
    );
    let sid = server.shards.place().sid;
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.tell(Event::EarlyMedia(sid));
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.change_by(sid, CallStatus::InProgress, 200);
    server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Control);
    let told = statuses(&receiver);
    let words: Vec<(&str, u64)> = told
        .iter()
        .filter_map(|told| Some((told["call_status"].as_str()?, told["sip_status"].as_u64()?)))
        .collect();
    let expected =
        [("trying", 100), ("ringing", 180), ("early-media", 183), ("in-progress", 200), ("completed", 200)];
    assert_eq!(words, expected);
    assert_eq!(told[4]["call_termination_by"], "jambonz");
    assert!(told[..4].iter().all(|told| told.get("duration").is_none()));
    assert_eq!(receiver.unseen(), 0);
}

/// [jambonz 35] [jambonz 4] [jambonz 4.3] The ends of a call that nobody answers.
#[test]
fn statuses_of_calls_that_fail() {
    for (status, code, word) in [
        (CallStatus::Busy, 486, "busy"),
        (CallStatus::Busy, 603, "busy"),
        (CallStatus::NoAnswer, 487, "no-answer"),
        (CallStatus::Canceled, 487, "no-answer"),
        (CallStatus::Failed, 404, "failed"),
    ] {
        let (server, receiver) = (Server::start(), Receiver::start());
        v1(&server, "POST", "Calls", &wanted(&receiver, &json!({})));
        let sid = server.shards.place().sid;
        server.shards.end_by(sid, status, code, EndedBy::Peer);
        let told = statuses(&receiver);
        let last = told.last().expect("an end");
        assert_eq!((&last["call_status"], &last["sip_status"]), (&json!(word), &json!(code)));
        assert!(last.get("duration").is_none());
        assert_eq!(receiver.unseen(), 0);
    }
}

/// [jambonz 36] [jambonz 40] [jambonz 9.5] A running call gets another application: its verbs take over when
/// they are there, also in the middle of a verb.
#[test]
fn another_application() {
    for method in ["PUT", "POST"] {
        let (server, receiver, sid) = placed(&json!([{"verb": "pause", "length": 600}]), &json!({}));
        receiver.verbs("/more", &json!([{"verb": "sip:refer", "referTo": "+4930"}]));
        let path = format!("Calls/{}", uuid(sid));
        // A hook that fails changes nothing.
        receiver.reply("/broken", Reply::Other(500, Vec::new(), String::new()));
        assert_eq!(v1(&server, method, &path, &json!({"call_hook": "/broken"})).status, 202);
        until(&receiver, "/broken");
        let change = json!({"call_hook": {"url": receiver.url("/more"), "method": "POST"},
            "call_status_hook": "/status2"});
        let answer = v1(&server, method, &path, &change);
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
        assert_eq!(until(&receiver, "/more").json()["call_sid"], uuid(sid));
        assert_eq!(server.shards.refer(sid).to, "+4930");
        server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Peer);
        assert_eq!(until(&receiver, "/status2").json()["call_status"], "completed");
    }
}

/// [jambonz 37] [jambonz 38] [jambonz 41] [jambonz 9.4] [jambonz 9.5] Ends, errors, and what is shown.
#[test]
fn calls_are_read_ended_and_deleted() {
    let (server, _receiver, sid) =
        placed(&json!([{"verb": "pause", "length": 600}]), &json!({"tag": {"a": 1}}));
    let path = format!("Calls/{}", uuid(sid));
    let call = v1(&server, "GET", &path, &Value::Null).json();
    assert_eq!((&call["call_status"], &call["customerData"]), (&json!("in-progress"), &json!({"a": 1})));
    let sids = |query: &str| {
        let list = v1(&server, "GET", &format!("Calls{query}"), &Value::Null).json();
        list.as_array().expect("a list").iter().map(|call| call["call_sid"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(sids("?callStatus=in-progress&direction=outbound&from=%2B4930100200"), [uuid(sid)]);
    assert!(sids("?callStatus=completed").is_empty() && sids("?to=nobody").is_empty());
    // A plus that is not encoded has become a blank.
    for from in ["+4930100200", "4930100200", "%204930100200%20"] {
        assert_eq!(sids(&format!("?from={from}")), [uuid(sid)], "{from}");
    }
    assert!(sids("?from=930100200").is_empty() && sids("?from=%2B%2B4930100200").is_empty());
    assert_eq!(v1(&server, "GET", "CallCount", &Value::Null).json(), json!({"inbound": 0, "outbound": 1}));
    for (body, told) in [
        (json!({}), "no valid options supplied to updateCall"),
        (json!({"call_status": "completed", "tag": {}}), "multiple options are not allowed in updateCall"),
        (json!({"call_status": "busy"}), "invalid call_status"),
        (json!({"call_hook": "ws://h/x"}), "call_hook"),
        (json!({"sip_request": {"method": "BYE"}}), "sip_request"),
    ] {
        let answer = v1(&server, "PUT", &path, &body);
        assert_eq!((answer.status, msg(&answer).contains(told)), (400, true), "{body}: {}", answer.body);
    }
    assert_eq!(v1(&server, "POST", &path, &json!({"tag": {"b": 2}})).status, 202);
    assert_eq!(v1(&server, "POST", &path, &json!({"mute_status": "mute"})).status, 202);
    assert_eq!(v1(&server, "POST", &path, &json!({"call_status": "no-answer"})).status, 422);
    assert_eq!(v1(&server, "POST", &path, &json!({"child_call_hook": "/x"})).status, 422);
    let unknown = format!("Calls/{}", uuid(call_of(99)));
    for method in ["GET", "PUT", "DELETE"] {
        let body = if method == "PUT" { json!({"call_status": "completed"}) } else { Value::Null };
        let answer = v1(&server, method, &unknown, &body);
        assert_eq!((answer.status, answer.body.as_str()), (404, "Not Found"), "{method}");
    }
    assert_eq!(v1(&server, "PUT", &path, &json!({"call_status": "completed"})).status, 202);
    assert_eq!(server.shards.leave(sid).status, None);
    // What is told of an end is known a moment later.
    let ended = || v1(&server, "GET", &path, &Value::Null).json()["call_status"] == "completed";
    wait_until("it has ended", ended);
    // The status of an end is known before the end is.
    let count = || v1(&server, "GET", "CallCount", &Value::Null).json();
    let none = json!({"inbound": 0, "outbound": 0});
    wait_until("no call is counted", || count() == none);
    let answer = v1(&server, "PUT", &path, &json!({"call_status": "completed"}));
    assert_eq!((answer.status, msg(&answer).starts_with("call session is gone")), (422, true));
    let answer = v1(&server, "DELETE", &path, &Value::Null);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(v1(&server, "GET", &path, &Value::Null).status, 404);
    assert_eq!(count(), none);
    // A call that is deleted while it lives is ended.
    let (server, _receiver, sid) = placed(&json!([{"verb": "pause", "length": 600}]), &json!({}));
    assert_eq!(v1(&server, "DELETE", &format!("Calls/{}", uuid(sid)), &Value::Null).status, 204);
    assert_eq!(server.shards.leave(sid).status, None);
}

fn call_of(n: u128) -> CallSid {
    CallSid(n << 16)
}

/// [jambonz 9.5] A call that is not answered is refused, or called off.
#[test]
fn no_answer() {
    let (server, receiver) = answering(&json!([{"verb": "pause", "length": 600}]));
    server.shards.offer(call(1), &[]);
    until(&receiver, "/app/start");
    let path = |sid| format!("Calls/{}", uuid(sid));
    assert_eq!(v1(&server, "PUT", &path(call(1)), &json!({"call_status": "no-answer"})).status, 202);
    assert_eq!(server.shards.leave(call(1)).status, Some(503));
    let (server, receiver) = (Server::start(), Receiver::start());
    v1(&server, "POST", "Calls", &wanted(&receiver, &json!({})));
    let sid = server.shards.place().sid;
    assert_eq!(v1(&server, "PUT", &path(sid), &json!({"call_status": "no-answer"})).status, 202);
    assert_eq!(server.shards.action(sid), Action::Cancel);
}

/// [jambonz 39] [jambonz 9.5] A request in the dialog, answered with what the peer said.
#[test]
fn a_request_in_the_dialog() {
    let (server, _receiver, sid) = placed(&json!([{"verb": "pause", "length": 600}]), &json!({}));
    let request = json!({"sip_request": {"method": "INFO", "content_type": "application/x", "content": "hi",
        "headers": {"X-A": "1"}}});
    let path = format!("Calls/{}", uuid(sid));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| v1(&server, "PUT", &path, &request));
        let expected = Action::Request {
            method: "INFO".into(),
            headers: vec![("X-A".into(), "1".into())],
            body: Some(("application/x".into(), "hi".into())),
        };
        assert_eq!(server.shards.action(sid), expected);
        let ticket = server.shards.ticket();
        server.shards.tell(Event::RequestEnded { sid, ticket, code: 415, reason: "Not that".into() });
        asking.join().expect("it is answered")
    });
    assert_eq!((answer.status, answer.json()), (200, json!({"status": 415, "reason": "Not that"})));
}

/// [jambonz 9.3] [jambonz 2.2] A call for an application of the configuration, by its UUID or its name; a time
/// limit ends it.
#[test]
fn calls_for_an_application() {
    let receiver = Receiver::start();
    receiver.verbs("/app/start", &json!([{"verb": "pause", "length": 600}]));
    let server = Server::steering(vec![application(&receiver)], true);
    server.shards.offer(call(1), &[]);
    let sid = until(&receiver, "/app/start").json()["application_sid"].clone();
    for named in [sid.clone(), json!("agent")] {
        let body = json!({"from": "1", "to": {"type": "phone", "number": "2"}, "application_sid": named,
            "timeLimit": 1});
        let answer = v1(&server, "POST", "Calls", &body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        let placed = server.shards.place().sid;
        server.shards.change_by(placed, CallStatus::InProgress, 200);
        assert_eq!(until(&receiver, "/app/start").json()["application_sid"], sid);
        assert!(matches!(server.shards.action(placed), Action::Hangup { status: None, .. }));
    }
}
