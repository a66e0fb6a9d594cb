//! One driver at most steers a call, whatever interface its application speaks.

use crate::create::place;
use crate::harness::*;
use crate::jambonz::*;
use crate::jambonz_calls::v1;
use crate::receiver::{Receiver, Reply};
use crate::shard::{Referred, public};
use crate::telnyx::{Stage, error};
use baton::sip::command::{Action, Order};
use baton::sip::event::{CallHeaders, CallSid, CallStatus, DialEnded, EndedBy, Event, ReferStatus};
use serde_json::{Value, json};
use std::collections::HashSet;

const WAITING: Referred =
    Referred { refer_code: Some(202), notify_code: Some(180), status: ReferStatus::InProgress };
const DONE: Referred =
    Referred { refer_code: Some(202), notify_code: Some(200), status: ReferStatus::Completed };

/// Until the control plane knows what it was told so far: the store may know it before.
pub fn heard(server: &Server) {
    let inbound = || v1(server, "GET", "CallCount", &Value::Null).json()["inbound"].as_u64();
    let before = inbound();
    let last = u128::from(before.expect("a number")) + 0xdead;
    server.shards.tell(started(start(last << 16, 0)));
    wait_until("the control plane knows of the call", || inbound() != before);
}

/// A call that is answered, and steered by this document.
fn documented(verbs: &str, more: &str) -> (Server, Receiver, CallSid) {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.rcml("/doc", verbs);
    let (_, sid) = place(&server, &receiver, more);
    server.shards.change(sid, CallStatus::InProgress);
    receiver.expect("/doc");
    (server, receiver, sid)
}

/// How a Dial ends: its party had answered, or was busy.
fn dial_ended(sid: CallSid, first: CallSid, answered: bool) -> Event {
    let (status, code) = if answered { (CallStatus::Completed, 200) } else { (CallStatus::Busy, 486) };
    Event::DialEnded(Box::new(DialEnded { sid, first, winner: answered.then_some(first), status, code }))
}

/// Gives it to the application behind this URL.
fn to_application(server: &Server, receiver: &Receiver, sid: CallSid, path: &str) {
    let hook = json!({"call_hook": receiver.url(path)});
    assert_eq!(v1(server, "PUT", &format!("Calls/{}", uuid(sid)), &hook).status, 202);
}

/// Gives it to the document at this URL.
fn to_document(server: &Server, receiver: &Receiver, sid: CallSid, path: &str, more: &str) {
    let form = format!("Url={}{more}", receiver.escaped(path));
    let answer = server.post(&format!("Calls/{}.json", public(sid)), &form);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn refer_verb() -> Value {
    json!({"verb": "sip:refer", "referTo": "+4930", "actionHook": "/done"})
}

/// [jambonz 9.5] [rcml 36] A document's call gets an application in the middle of a transfer: the document
/// ends without a word, and only the application ends the call. Who is told of the end is told.
#[test]
fn an_application_in_place_of_a_document() {
    let verbs = "<Refer action='/after'><Sip>sip:x@h</Sip></Refer><Hangup/>";
    let receiver = Receiver::start();
    let callback = format!("&StatusCallback={}", receiver.escaped("/ended"));
    let (server, documents, sid) = documented(verbs, &callback);
    let first = server.shards.refer(sid);
    server.shards.referred(&first, sid, 0, WAITING);
    receiver.verbs("/app", &json!([refer_verb(), {"verb": "hangup"}]));
    to_application(&server, &receiver, sid, "/app");
    assert_eq!(receiver.expect("/app").json()["call_sid"], uuid(sid));
    assert_eq!(server.shards.order(), Order::CancelRefer(first.sid, sid));
    let second = server.shards.refer(sid);
    assert_eq!(second.to, "+4930");
    // What becomes of the first means nothing to anybody any more.
    server.shards.referred(&first, sid, 1, DONE);
    server.shards.referred(&second, sid, 0, DONE);
    receiver.expect("/done");
    assert_eq!(server.shards.leave(sid).status, None);
    assert_eq!(receiver.expect("/ended").value("CallStatus").as_deref(), Some("completed"));
    assert_eq!((documents.unseen(), receiver.unseen(), server.shards.rest()), (0, 0, vec![]));
}

/// [jambonz 9.5] A hook that gives no verbs changes nothing: the document goes on.
#[test]
fn an_application_that_cannot_be_had() {
    let (server, receiver, sid) = documented("<Refer action='/after'><Sip>sip:x@h</Sip></Refer>", "");
    let order = server.shards.refer(sid);
    receiver.reply("/broken", Reply::Other(500, Vec::new(), String::new()));
    to_application(&server, &receiver, sid, "/broken");
    receiver.expect("/broken");
    server.shards.referred(&order, sid, 0, DONE);
    receiver.expect("/after");
    assert_eq!(server.shards.hang_up(sid), None);
}

/// [restcomm-calls 10] [restcomm-calls 10.10] [jambonz 4.1] An application's call gets a document in the
/// middle of a transfer: no action hook, and the application does not end the call; its statuses are told.
#[test]
fn a_document_in_place_of_an_application() {
    let (server, receiver, sid) = running(&[refer_verb(), json!({"verb": "hangup"})]);
    let first = server.shards.refer(sid);
    server.shards.referred(&first, sid, 0, WAITING);
    receiver.rcml("/doc", "<Refer action='/after'><Sip>sip:x@h</Sip></Refer>");
    receiver.rcml("/after", "<Pause length='600'/>");
    to_document(&server, &receiver, sid, "/doc", "");
    assert_eq!(server.shards.order(), Order::CancelRefer(first.sid, sid));
    assert_eq!(until(&receiver, "/doc").value("CallSid"), Some(public(sid)));
    let second = server.shards.refer(sid);
    server.shards.referred(&first, sid, 1, DONE);
    server.shards.referred(&second, sid, 0, DONE);
    until(&receiver, "/after");
    // The application takes it back, and loses it again.
    receiver.verbs("/app", &json!([{"verb": "sip:request", "method": "INFO"}]));
    to_application(&server, &receiver, sid, "/app");
    until(&receiver, "/app");
    assert!(matches!(server.shards.action(sid), Action::Request { .. }));
    receiver.rcml("/last", "<Hangup/>");
    to_document(&server, &receiver, sid, "/last", "");
    until(&receiver, "/last");
    let hangup = server.shards.action(sid);
    assert!(matches!(hangup, Action::Hangup { status: None, .. }), "{hangup:?}");
    server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Control);
    assert_eq!(statuses(&receiver).last().expect("an end")["call_status"], "completed");
    assert_eq!((receiver.unseen(), server.shards.rest()), (0, vec![]));
}

/// The next order, which dials for this leg: whom.
fn dials(server: &Server, sid: CallSid) -> CallSid {
    let Action::Dial(dial) = server.shards.action(sid) else { panic!("no Dial") };
    dial.parties[0].sid
}

/// The same; they talk to each other.
fn talks(server: &Server, sid: CallSid) -> CallSid {
    let child = dials(server, sid);
    server.shards.dialled(child, sid);
    server.shards.change(child, CallStatus::InProgress);
    server.shards.tell(Event::Joined(sid, child));
    heard(server);
    child
}

fn dial_verb() -> Value {
    json!({"verb": "dial", "target": [{"type": "phone", "number": "2"}], "actionHook": "/done"})
}

/// [restcomm-calls 10.12] [jambonz 9.5] Legs that were dialled have nothing to do with another application,
/// and who dialled them is not told how that ended.
#[test]
fn the_legs_that_were_dialled() {
    let parted = |server: &Server, sid: CallSid, child: CallSid| {
        assert_eq!(server.shards.action(sid), Action::Part);
        assert_eq!(server.shards.hang_up(child), None);
        server.shards.tell(dial_ended(sid, child, true));
    };
    let (server, receiver, sid) = documented("<Dial action='/after'>100</Dial>", "");
    let child = talks(&server, sid);
    receiver.verbs("/app", &json!([dial_verb()]));
    to_application(&server, &receiver, sid, "/app");
    receiver.expect("/app");
    parted(&server, sid, child);
    // The end of the first is not taken for that of the second.
    let second = talks(&server, sid);
    receiver.rcml("/doc", "<Dial action='/after'>300</Dial>");
    to_document(&server, &receiver, sid, "/doc", "");
    parted(&server, sid, second);
    receiver.expect("/doc");
    talks(&server, sid);
    assert_eq!((receiver.unseen(), server.shards.rest()), (0, vec![]));
}

/// [restcomm-calls 10.12] With StayConnected the other leg stays, and so does who steers: when the document
/// beside has ended, the application goes on.
#[test]
fn a_document_beside_an_application() {
    let (server, receiver, sid) = running(&[dial_verb(), json!({"verb": "hangup"})]);
    let child = talks(&server, sid);
    receiver.rcml("/beside", "<Refer action='/after'><Sip>sip:x@h?</Sip></Refer>");
    to_document(&server, &receiver, sid, "/beside", "&ChildCallMode=StayConnected");
    until(&receiver, "/beside");
    let order = server.shards.refer(sid);
    assert_eq!(order.replaces, Some(child));
    server.shards.referred(&order, sid, 0, DONE);
    until(&receiver, "/after");
    assert_eq!(server.shards.rest(), []);
    server.shards.end(child, CallStatus::Completed);
    server.shards.tell(dial_ended(sid, child, true));
    until(&receiver, "/done");
    assert_eq!(server.shards.leave(sid).status, None);
}

/// [restcomm-calls 10.12] [telnyx 1.8] A document that runs beside commands leaves them where they are.
#[test]
fn a_document_beside_commands() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    let other = call(7);
    stage.server.shards.dialled(other, sid);
    stage.server.shards.tell(Event::Joined(sid, other));
    stage.expect("call.bridged");
    let documents = Receiver::start();
    documents.rcml("/beside", "");
    to_document(&stage.server, &documents, sid, "/beside", "&ChildCallMode=StayConnected");
    documents.expect("/beside");
    stage.done(&id, "hangup", json!({}));
    assert_eq!(stage.server.shards.hang_up(sid), None);
    stage.expect("call.hangup");
}

/// [jambonz 7] [jambonz 9.5] A document's Dial whose party was still being screened gives way to an application:
/// its end is not that of the application's dial, which is told its own.
#[test]
fn a_screening_gives_way() {
    let (server, receiver, sid) = documented("<Dial><Number url='/screen'>100</Number></Dial>", "");
    receiver.rcml("/screen", "<Pause length='600'/>");
    let former = dials(&server, sid);
    server.shards.dialled(former, sid);
    server.shards.change(former, CallStatus::InProgress);
    let answer = CallHeaders { sid: former, headers: Vec::new(), call_id: "y".into(), code: 200 };
    server.shards.tell(Event::Headers(Box::new(answer)));
    receiver.expect("/screen");
    receiver.verbs("/app", &json!([dial_verb(), {"verb": "hangup"}]));
    to_application(&server, &receiver, sid, "/app");
    receiver.expect("/app");
    assert_eq!(server.shards.hang_up(former), None);
    server.shards.tell(dial_ended(sid, former, true));
    let second = loop {
        match server.shards.order() {
            Order::Leg(of, Action::Dial(dial)) if of == sid => break dial.parties[0].sid,
            // Told once more by who takes the call.
            other => {
                assert!(matches!(other, Order::Leg(of, Action::Hangup { .. }) if of == former), "{other:?}")
            }
        }
    };
    server.shards.tell(dial_ended(sid, second, false));
    assert_eq!(until(&receiver, "/done").json()["dial_call_status"], "busy");
    assert_eq!(server.shards.leave(sid).status, None);
}

/// [jambonz 9.5] [restcomm-calls 10.12] A leg that is detached is nobody's child: who dialled it may get
/// something else to do, and it goes on.
#[test]
fn a_leg_that_is_detached() {
    let (server, receiver, sid) = running(&[dial_verb(), json!({"verb": "pause", "length": 600})]);
    let child = talks(&server, sid);
    receiver.verbs("/child", &json!([{"verb": "pause", "length": 600}]));
    let call = format!("Calls/{}", uuid(sid));
    let hook = json!({"child_call_hook": receiver.url("/child")});
    assert_eq!(v1(&server, "PUT", &call, &hook).status, 202);
    assert_eq!(server.shards.action(child), Action::Part);
    server.shards.tell(Event::Parted(sid, child));
    heard(&server);
    let mut hooks = HashSet::new();
    while hooks.len() < 2 {
        let next = receiver.next().path;
        if next != "/status" {
            hooks.insert(next);
        }
    }
    assert!(hooks.contains("/child") && hooks.contains("/done"), "{hooks:?}");
    receiver.rcml("/doc", "<Dial>300</Dial>");
    to_document(&server, &receiver, sid, "/doc", "");
    until(&receiver, "/doc");
    let ringing = dials(&server, sid);
    server.shards.dialled(ringing, sid);
    assert_eq!(v1(&server, "PUT", &call, &hook).status, 422);
    assert_eq!(server.shards.rest(), []);
}

/// [restcomm-calls 10] [telnyx 2.9] [telnyx 1.8] A commanded call gets a document: it takes no command any
/// more, what went on has failed, and its end is told.
#[test]
fn a_document_in_place_of_commands() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    stage.done(&id, "refer", json!({"sip_address": "sip:x@h"}));
    let first = stage.server.shards.refer(sid);
    stage.server.shards.referred(&first, sid, 0, WAITING);
    stage.expect("call.refer.started");
    let documents = Receiver::start();
    documents.rcml("/doc", "<Refer action='/after'><Sip>sip:y@h</Sip></Refer>");
    to_document(&stage.server, &documents, sid, "/doc", "");
    assert_eq!(stage.server.shards.order(), Order::CancelRefer(first.sid, sid));
    assert_eq!(stage.expect("call.refer.failed")["sip_notify_response"], 487);
    documents.expect("/doc");
    let second = stage.server.shards.refer(sid);
    assert_eq!(second.to, "sip:y@h");
    for (name, body) in [
        ("hangup", json!({})),
        ("refer", json!({"sip_address": "sip:z@h"})),
        ("transfer", json!({"to": "+4930"})),
    ] {
        let (status, code, _) = error(&stage.command(&id, name, body));
        assert_eq!((status, code.as_str()), (422, "90018"), "{name}");
    }
    assert_eq!(stage.get(&format!("/v2/calls/{id}")).json()["data"]["is_alive"], true);
    stage.server.shards.referred(&second, sid, 0, DONE);
    documents.expect("/after");
    assert_eq!(stage.server.shards.hang_up(sid), None);
    stage.expect("call.hangup");
    assert_eq!((stage.receiver.unseen(), stage.server.shards.rest()), (0, vec![]));
}

/// [jambonz 9.5] A call that waits for a command gets an application: nobody else decides about it.
#[test]
fn an_application_in_place_of_commands() {
    let stage = Stage::new();
    let sid = call(1);
    stage.server.shards.offer(sid, &[]);
    assert!(matches!(stage.server.shards.action(sid), Action::Ring { status: 180, .. }));
    let id = stage.expect("call.initiated")["call_control_id"].as_str().expect("an id").to_owned();
    let receiver = Receiver::start();
    receiver.verbs("/app", &json!([{"verb": "answer"}, {"verb": "pause", "length": 600}]));
    to_application(&stage.server, &receiver, sid, "/app");
    receiver.expect("/app");
    assert!(matches!(stage.server.shards.action(sid), Action::Answer { .. }));
    stage.server.shards.change_by(sid, CallStatus::InProgress, 200);
    stage.expect("call.answered");
    assert_eq!(error(&stage.command(&id, "hangup", json!({}))).1, "90018");
    assert_eq!(stage.server.shards.rest(), []);
}
