//! Calls of the Telnyx-compatible interface: dialled, answered, bridged, ended.

use crate::harness::*;
use crate::telnyx::{Stage, error, errors};
use baton::sip::command::{Action, Party};
use baton::sip::event::{CallSid, CallStatus, EndedBy, Event};
use serde_json::json;
use std::time::Duration;

fn call(n: u128) -> CallSid {
    CallSid(n << 16 | 1)
}

/// A call that came in: its id.
fn parked(stage: &Stage, sid: CallSid) -> String {
    stage.server.shards.offer(sid, &[("X-Foo", "1"), ("User-to-User", "56;encoding=hex")]);
    assert!(matches!(stage.server.shards.action(sid), Action::Ring { status: 180, .. }));
    let payload = stage.expect("call.initiated");
    for (name, value) in
        [("direction", "incoming"), ("state", "parked"), ("from", "sip:bob@a.example"), ("to", "+1111")]
    {
        assert_eq!(payload[name], value, "{name}");
    }
    assert_eq!(payload["custom_headers"], json!([{ "name": "X-Foo", "value": "1" }]));
    assert_eq!(payload["sip_headers"], json!([{ "name": "User-to-User", "value": "56;encoding=hex" }]));
    payload["call_control_id"].as_str().expect("an id").to_owned()
}

/// [telnyx 31] [telnyx 4] A call is dialled, answered and over; it can be read meanwhile.
#[test]
fn a_call_is_dialled() {
    let stage = Stage::new();
    let (id, place) = stage.dial(json!({
        "timeout_secs": 7,
        "from_display_name": "Flow",
        "privacy": "id",
        "custom_headers": [{ "name": "X-A", "value": "1" }],
        "sip_headers": [{ "name": "User-to-User", "value": "2" }],
        "sip_auth_username": "u", "sip_auth_password": "p",
        "sip_transport_protocol": "TCP",
    }));
    assert_eq!(place.to, Party::Uri("sip:flow@pbx.example.org;transport=tcp".into()));
    assert_eq!((place.from.as_str(), place.caller_name.as_deref()), ("+4930100200", Some("Flow")));
    assert_eq!((&*place.account, place.timeout), (ACCOUNT, Duration::from_secs(7)));
    let headers: Vec<_> = place.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["X-A: 1", "User-to-User: 2", "Privacy: id"]);
    assert!(place.credentials.is_some());
    let read = || stage.get(&format!("/v2/calls/{id}")).json()["data"].clone();
    stage.server.shards.change(place.sid, CallStatus::InProgress);
    let initiated = stage.expect("call.initiated");
    let answered = stage.expect("call.answered");
    assert_eq!(
        (&answered["state"], &answered["call_leg_id"]),
        (&json!("answered"), &initiated["call_leg_id"])
    );
    let alive = read();
    assert_eq!((&alive["is_alive"], &alive["record_type"]), (&json!(true), &json!("call")));
    assert!(
        alive["start_time"].is_string()
            && alive.get("end_time").is_none()
            && alive.get("client_state").is_none()
    );
    assert_eq!(alive["call_session_id"], initiated["call_session_id"]);
    stage.server.shards.end(place.sid, CallStatus::Completed);
    let hangup = stage.expect("call.hangup");
    for (name, value) in [
        ("hangup_cause", "normal_clearing"),
        ("hangup_source", "callee"),
        ("sip_hangup_cause", "unspecified"),
        ("state", "hangup"),
    ] {
        assert_eq!(hangup[name], value, "{name}");
    }
    let over = read();
    assert_eq!(over["is_alive"], json!(false));
    assert!(over["end_time"].is_string() && over["call_duration"].is_u64());
}

/// [telnyx 32] [telnyx 1.5] [telnyx 1.8] What dial needs, and what it cannot use.
#[test]
fn dial_is_checked() {
    let stage = Stage::new();
    let missing = stage.send("POST", "/v2/calls", &json!({}));
    let pointers: Vec<_> = errors(&missing)
        .1
        .into_iter()
        .map(|(code, pointer)| {
            assert_eq!(code, "10004");
            pointer.unwrap_or_default()
        })
        .collect();
    assert_eq!(pointers, ["/connection_id", "/from", "/to"]);
    for (more, code, pointer) in [
        (json!({ "timeout_secs": 4 }), "10033", "/timeout_secs"),
        (json!({ "timeout_secs": 601 }), "10033", "/timeout_secs"),
        (json!({ "timeout_secs": "7" }), "10026", "/timeout_secs"),
        (json!({ "time_limit_secs": 29 }), "10033", "/time_limit_secs"),
        (json!({ "connection_id": "13" }), "10015", "/connection_id"),
        (json!({ "to": "nobody" }), "10015", "/to"),
        (json!({ "to": ["1", "2"] }), "10015", "/to"),
        (json!({ "from": "a b" }), "10015", "/from"),
        (json!({ "sip_transport_protocol": "SCTP" }), "10032", "/sip_transport_protocol"),
        (json!({ "link_to": "v3:x" }), "90015", "/link_to"),
    ] {
        let mut body = json!({ "connection_id": "12", "from": "1", "to": "2" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let (status, found, at) = error(&stage.send("POST", "/v2/calls", &body));
        assert_eq!((status, found.as_str(), at.as_str()), (422, code, pointer), "{body}");
    }
    assert!(stage.server.shards.rest().is_empty());
    let (_, place) = stage.dial(json!({ "to": ["+49 30 1"] }));
    assert_eq!(place.to, Party::Number("+49301".into()));
}

/// [telnyx 2.5] [telnyx 1.3] A dial with a command's id is executed once; linked calls share a session.
#[test]
fn dials_are_executed_once() {
    let stage = Stage::new();
    let (id, place) = stage.dial(json!({ "command_id": "c1" }));
    let body = json!({ "connection_id": "12", "from": "1", "to": "2", "command_id": "c1" });
    let again = stage.send("POST", "/v2/calls", &body);
    assert_eq!(again.json()["data"]["call_control_id"], id.as_str());
    assert!(stage.server.shards.rest().is_empty());
    let first = stage.expect("call.initiated");
    stage.dial(json!({ "link_to": id }));
    let second = stage.expect("call.initiated");
    assert_eq!(first["call_session_id"], second["call_session_id"]);
    assert_ne!(first["call_leg_id"], second["call_leg_id"]);
    stage.server.shards.end(place.sid, CallStatus::Failed);
}

/// [telnyx 33] [telnyx 4] Reject, with each cause.
#[test]
fn calls_are_rejected() {
    let stage = Stage::new();
    for (n, cause, status, told) in [
        (1, "CALL_REJECTED", 603, "call_rejected"),
        (2, "USER_BUSY", 486, "user_busy"),
        (3, "NOT_FOUND", 404, "not_found"),
        (4, "TEMPORARILY_UNAVAILABLE", 480, "no_answer"),
    ] {
        let id = parked(&stage, call(n));
        assert_eq!(error(&stage.command(&id, "reject", json!({ "cause": "FOO" }))).1, "10032");
        assert_eq!(error(&stage.command(&id, "reject", json!({}))).1, "10004");
        stage.done(&id, "reject", json!({ "cause": cause }));
        match stage.server.shards.action(call(n)) {
            Action::Hangup { status: Some(sent), .. } => assert_eq!(sent, status),
            other => panic!("{other:?}"),
        }
        stage.server.shards.end_by(call(n), CallStatus::Failed, status, EndedBy::Control);
        let hangup = stage.expect("call.hangup");
        assert_eq!(
            (&hangup["hangup_cause"], &hangup["hangup_source"]),
            (&json!(told), &json!("callee")),
            "{cause}"
        );
        assert_eq!(hangup["sip_hangup_cause"], status.to_string());
    }
}

/// [telnyx 4] [telnyx 34] An inbound call is answered, and may then not be answered or rejected again.
#[test]
fn calls_are_answered() {
    let stage = Stage::new();
    let id = parked(&stage, call(1));
    assert_eq!(error(&stage.command(&id, "refer", json!({ "sip_address": "sip:a@b" }))).1, "90034");
    stage.done(
        &id,
        "answer",
        json!({ "client_state": "YQ==", "custom_headers": [{ "name": "X-B", "value": "2" }] }),
    );
    match stage.server.shards.action(call(1)) {
        Action::Answer { sdp: None, headers } => assert_eq!(headers, [("X-B".to_owned(), "2".to_owned())]),
        other => panic!("{other:?}"),
    }
    stage.server.shards.change(call(1), CallStatus::InProgress);
    assert_eq!(stage.expect("call.answered")["client_state"], "YQ==");
    for name in ["answer", "reject"] {
        let answer = stage.command(&id, name, json!({ "cause": "USER_BUSY" }));
        assert_eq!((answer.status, error(&answer).1.as_str()), (422, "10015"), "{name}");
    }
    stage.done(&id, "hangup", json!({ "custom_headers": [{ "name": "Reason", "value": "Q.850;cause=16" }] }));
    match stage.server.shards.action(call(1)) {
        Action::Leave(leave) => {
            assert_eq!(leave.headers, [("Reason".to_owned(), "Q.850;cause=16".to_owned())])
        }
        other => panic!("{other:?}"),
    }
    stage.server.shards.end_by(call(1), CallStatus::Completed, 0, EndedBy::Control);
    assert_eq!(stage.expect("call.hangup")["hangup_cause"], "normal_clearing");
}

/// [telnyx 4] Ends that come before the answer, and their causes.
#[test]
fn ends_have_causes() {
    let stage = Stage::new();
    for (status, code, by, cause, source) in [
        (CallStatus::Busy, 486, EndedBy::Peer, "user_busy", "callee"),
        (CallStatus::Busy, 600, EndedBy::Peer, "user_busy", "callee"),
        (CallStatus::Busy, 603, EndedBy::Peer, "call_rejected", "callee"),
        (CallStatus::Failed, 403, EndedBy::Peer, "call_rejected", "callee"),
        (CallStatus::Failed, 404, EndedBy::Peer, "not_found", "callee"),
        (CallStatus::Failed, 480, EndedBy::Peer, "no_answer", "callee"),
        (CallStatus::NoAnswer, 408, EndedBy::Peer, "no_answer", "callee"),
        (CallStatus::Failed, 500, EndedBy::Peer, "unspecified", "callee"),
        (CallStatus::Failed, 503, EndedBy::Baton, "unspecified", "unknown"),
    ] {
        let (_, place) = stage.dial(json!({}));
        stage.expect("call.initiated");
        stage.server.shards.end_by(place.sid, status, code, by);
        let hangup = stage.expect("call.hangup");
        assert_eq!(
            (&hangup["hangup_cause"], &hangup["hangup_source"]),
            (&json!(cause), &json!(source)),
            "{code}"
        );
        assert_eq!(hangup["sip_hangup_cause"], code.to_string());
    }
    let (id, place) = stage.dial(json!({}));
    stage.expect("call.initiated");
    stage.done(&id, "hangup", json!({}));
    stage.server.shards.action(place.sid);
    stage.server.shards.end_by(place.sid, CallStatus::Canceled, 487, EndedBy::Control);
    let hangup = stage.expect("call.hangup");
    assert_eq!(
        (&hangup["hangup_cause"], &hangup["hangup_source"]),
        (&json!("originator_cancel"), &json!("caller"))
    );
    parked(&stage, call(9));
    stage.server.shards.end_by(call(9), CallStatus::Canceled, 487, EndedBy::Peer);
    assert_eq!(stage.expect("call.hangup")["hangup_cause"], "originator_cancel");
}

/// [telnyx 35] A transfer calls another leg, which is bridged when it answers.
#[test]
fn calls_are_transferred() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({ "client_state": "b25l" }));
    let transfer = || {
        stage.done(
            &id,
            "transfer",
            json!({ "to": "sip:carol@pbx.example.org", "target_leg_client_state": "dHdv" }),
        );
        let dial = match stage.server.shards.action(sid) {
            Action::Dial(dial) => *dial,
            other => panic!("{other:?}"),
        };
        assert!(dial.join && dial.parties.len() == 1 && dial.timeout == Duration::from_secs(30));
        assert_eq!(dial.parties[0].to, Party::Uri("sip:carol@pbx.example.org".into()));
        let new = stage.expect("call.initiated");
        assert_eq!((&new["direction"], &new["client_state"]), (&json!("outgoing"), &json!("dHdv")));
        (dial.parties[0].sid, new)
    };
    let (child, _) = transfer();
    stage.server.shards.dialled(child, sid);
    stage.server.shards.end_by(child, CallStatus::Busy, 486, EndedBy::Peer);
    let hangup = stage.expect("call.hangup");
    assert_eq!((&hangup["hangup_cause"], &hangup["client_state"]), (&json!("user_busy"), &json!("dHdv")));
    assert_eq!(stage.get(&format!("/v2/calls/{id}")).json()["data"]["is_alive"], true);
    let (child, new) = transfer();
    stage.server.shards.dialled(child, sid);
    stage.server.shards.change(child, CallStatus::InProgress);
    assert_eq!(stage.expect("call.answered")["call_leg_id"], new["call_leg_id"]);
    stage.server.shards.tell(Event::Joined(sid, child));
    let (one, other) = (stage.expect("call.bridged"), stage.expect("call.bridged"));
    assert_ne!(one["call_control_id"], other["call_control_id"]);
    assert_eq!(one["call_session_id"], other["call_session_id"]);
    // Two that talk end together.
    stage.server.shards.end(child, CallStatus::Completed);
    stage.expect("call.hangup");
    stage.server.shards.hang_up(sid);
    stage.expect("call.hangup");
}

/// [telnyx 4] [telnyx 36] Bridge, INFO, and what they are told when they cannot be.
#[test]
fn legs_are_bridged_and_informed() {
    let stage = Stage::new();
    let (one, sid) = stage.talking(json!({}));
    let (two, other) = stage.talking(json!({}));
    assert_eq!(error(&stage.command(&one, "bridge", json!({}))).1, "10004");
    assert_eq!(error(&stage.command(&one, "bridge", json!({ "call_control_id": "v3:x" }))).1, "90015");
    assert_eq!(error(&stage.command(&one, "bridge", json!({ "call_control_id": one }))).1, "10015");
    stage.done(&one, "bridge", json!({ "call_control_id": two }));
    match stage.server.shards.action(sid) {
        Action::Join(with) => assert_eq!(with, other),
        action => panic!("{action:?}"),
    }
    stage.server.shards.tell(Event::Joined(sid, other));
    let (a, b) = (stage.expect("call.bridged"), stage.expect("call.bridged"));
    assert_eq!(a["call_session_id"], b["call_session_id"]);
    stage.done(
        &one,
        "send_sip_info",
        json!({ "content_type": "application/dtmf-relay", "body": "Signal=5" }),
    );
    match stage.server.shards.action(sid) {
        Action::Request { method, body, .. } => {
            assert_eq!(method, "INFO");
            assert_eq!(body, Some(("application/dtmf-relay".to_owned(), "Signal=5".to_owned())));
        }
        action => panic!("{action:?}"),
    }
    let missing = stage.command(&one, "send_sip_info", json!({}));
    assert_eq!(errors(&missing).1.len(), 2);
}
