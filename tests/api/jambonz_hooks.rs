//! Hooks of jambonz applications: how they are sent, signed, repeated, and what they tell.

use crate::harness::*;
use crate::jambonz::*;
use crate::receiver::{Receiver, Reply};
use baton::config::Secret;
use baton::control::HttpMethod;
use baton::sip::event::{CallStatus, EndedBy, Event};
use ring::hmac;
use serde_json::{Value, json};
use std::time::Duration;

fn signed(signature: &str, secret: &str, body: &str) -> bool {
    let Some((time, mac)) = signature.split_once(',') else { return false };
    let (Some(time), Some(mac)) = (time.strip_prefix("t="), mac.strip_prefix("v1=")) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let expected = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    let hex: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    time.len() == 10 && mac == hex
}

/// [jambonz 26] [jambonz 3] [jambonz 2.9] [jambonz 1.2] What the first request tells.
#[test]
fn the_first_request() {
    let (server, receiver) = answering(&json!([]));
    server.shards.offer(call(1), &[]);
    let request = until(&receiver, "/app/start");
    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
    let told = request.json();
    let expected = json!({
        "account_sid": UUID, "call_sid": uuid(call(1)), "direction": "inbound", "from": "bob", "to": "+1111",
        "call_status": "trying", "sip_status": 100, "sip_reason": "Trying", "caller_id": "bob",
        "call_id": "x", "sbc_callid": "x", "originating_sip_ip": "192.0.2.10",
        "defaults": {"synthesizer": {}, "recognizer": {}},
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&told[name], value, "{name}");
    }
    let sip = &told["sip"];
    assert_eq!(
        (&sip["method"], &sip["uri"], &sip["body"]),
        (&json!("INVITE"), &json!("sip:+1111@b.example"), &json!("hi"))
    );
    assert_eq!(sip["headers"]["x-foo"], "1");
    assert_eq!(sip["headers"]["call-id"], "id@b");
    let names: Vec<&String> = told.as_object().expect("an object").keys().collect();
    assert!(names.iter().all(|name| !name.contains(char::is_uppercase)), "{names:?}");
    let application = told["application_sid"].as_str().expect("a sid");
    assert_eq!((application.len(), told["trace_id"].as_str().map(str::len)), (36, Some(32)));
    assert!(!request.body.contains(": ") || request.body.contains("\"sip\""), "{}", request.body);
}

/// [jambonz 27] [jambonz 2.5] Signed with the application's secret; without one, with none.
#[test]
fn signatures() {
    let (server, receiver) = answering(&json!([]));
    server.shards.offer(call(1), &[]);
    let request = until(&receiver, "/app/start");
    let signature = request.header("jambonz-signature").expect("a signature");
    assert!(signed(signature, SECRET, &request.body), "{signature}");
    assert!(!signed(signature, "another", &request.body));
    assert!(!signed(signature, SECRET, &format!("{} ", request.body)));
    // Printed again, as the vendor's SDK does before it verifies, it is the same text.
    assert_eq!(request.json().to_string(), request.body);
    let receiver = Receiver::start();
    let mut another = application(&receiver);
    another.webhook_secret = Some(Secret::new("another"));
    let server = Server::steering(vec![another], true);
    server.shards.offer(call(1), &[]);
    let request = until(&receiver, "/app/start");
    let signature = request.header("jambonz-signature").expect("a signature");
    assert!(signed(signature, "another", &request.body) && !signed(signature, SECRET, &request.body));
    let receiver = Receiver::start();
    let mut unsigned = application(&receiver);
    unsigned.webhook_secret = None;
    let server = Server::steering(vec![unsigned], true);
    server.shards.offer(call(1), &[]);
    assert_eq!(until(&receiver, "/app/start").header("jambonz-signature"), None);
}

/// [jambonz 30] [jambonz 1.5] [jambonz 29] [jambonz 2.6] [jambonz 2.7] An application that cannot be had:
/// redirects are not followed, and silence has an end.
#[test]
fn a_call_hook_that_fails() {
    let moved = Reply::Other(301, vec![("Location", "/elsewhere".into())], String::new());
    let broken = Reply::Other(500, vec![("Content-Type", "application/json".into())], "[]".into());
    let created = Reply::Other(201, vec![("Content-Type", "application/json".into())], "[]".into());
    for (reply, why) in [(moved, "301"), (broken, "500"), (created, "201"), (Reply::Never, "no answer")] {
        let silence = if matches!(reply, Reply::Never) { Duration::from_secs(2) } else { PATIENCE };
        let (server, receiver) = answering_for(silence, &json!([]));
        receiver.reply("/app/start", reply);
        server.shards.offer(call(1), &[]);
        let leave = server.shards.leave(call(1));
        assert_eq!(leave.status, Some(480));
        let reason = &leave.headers[0];
        assert!(reason.0 == "X-Reason" && reason.1.contains(why), "{reason:?}");
        let ended = statuses(&receiver);
        let ended = ended.last().expect("an end");
        assert_eq!((&ended["call_status"], &ended["sip_status"]), (&json!("failed"), &json!(480)));
        assert_eq!(ended["call_termination_by"], "jambonz");
    }
}

/// [jambonz 31] [jambonz 1.4] Nothing to do is the end: a refusal, or a BYE.
#[test]
fn no_verbs() {
    let text =
        Reply::Other(200, vec![("Content-Type", "text/html".into())], "[{\"verb\":\"answer\"}]".into());
    let none = Reply::Other(204, Vec::new(), String::new());
    for reply in [text, none] {
        let (server, receiver) = answering(&json!([]));
        receiver.reply("/app/start", reply);
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.leave(call(1)).status, None);
        drop(server);
    }
    let (server, _receiver, sid) = running(&[]);
    assert_eq!(server.shards.leave(sid).status, None);
}

/// [jambonz 28] [jambonz 2.8] Retries stand in the fragment, which is not sent.
#[test]
fn retries() {
    for (fragment, status, attempts) in [
        ("#rc=2&rp=5xx", 500, 3),
        ("#rc=2&rp=5xx", 404, 1),
        ("#rc=1&rp=all", 404, 2),
        ("#rc=1", 500, 1),
        ("", 500, 1),
    ] {
        let receiver = Receiver::start();
        receiver.reply("/app/start", Reply::Other(status, Vec::new(), String::new()));
        let mut application = application(&receiver);
        (application.url, application.status_url) = (format!("{}{fragment}", application.url), None);
        let server = Server::steering(vec![application], true);
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.leave(call(1)).status, Some(480));
        for _ in 0..attempts {
            receiver.expect("/app/start");
        }
        assert_eq!(receiver.unseen(), 0, "{fragment} {status}");
    }
}

/// [jambonz 24] [jambonz 25] [jambonz 2.1] [jambonz 2.2] [jambonz 2.3] Hooks as objects, with GET and
/// credentials, and at the host of the call hook.
#[test]
fn hooks_as_objects() {
    let hook = json!({"url": "/done?a=1", "method": "GET", "username": "us er", "password": "p:w"});
    let refer = json!({"verb": "sip:refer", "referTo": "1", "actionHook": hook});
    let tag = json!({"verb": "tag", "data": {"camelCase": {"innerKey": [1.0, "ä/b"]}}});
    let (server, receiver, sid) = running(&[tag, refer]);
    let order = server.shards.refer(sid);
    let failed = baton::sip::event::ReferStatus::Failed;
    server.shards.referred(
        &order,
        sid,
        0,
        crate::shard::Referred { refer_code: Some(405), notify_code: None, status: failed },
    );
    let told = until(&receiver, "/done");
    assert_eq!((told.method.as_str(), told.body.as_str()), ("GET", ""));
    assert!(told.query.starts_with("a=1&"), "{}", told.query);
    assert_eq!(told.credentials().as_deref(), Some("us er:p:w"));
    assert_eq!((told.value("refer_status").as_deref(), told.value("customerData")), (Some("405"), None));
    server.shards.leave(sid);
    let ended = statuses(&receiver);
    let data = &ended.last().expect("an end")["customerData"];
    assert_eq!(data, &json!({"camelCase": {"innerKey": [1, "ä/b"]}}));
    let receiver = Receiver::start();
    let mut get = application(&receiver);
    get.method = HttpMethod::Get;
    let server = Server::steering(vec![get], true);
    server.shards.offer(call(1), &[]);
    let asked = until(&receiver, "/app/start");
    assert_eq!((asked.method.as_str(), asked.value("call_status").as_deref()), ("GET", Some("trying")));
}

/// [jambonz 4] [jambonz 4.1] [jambonz 4.2] [jambonz 2.10] Statuses of an inbound call, in their order, each
/// once; nobody waits for who is told of them.
#[test]
fn statuses_of_an_inbound_call() {
    let (server, receiver, sid) = running(&[json!({"verb": "pause", "length": 600})]);
    server.shards.change_by(sid, CallStatus::InProgress, 200);
    server.shards.tell(Event::EarlyMedia(sid));
    server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Peer);
    let told = statuses(&receiver);
    let words: Vec<&Value> = told.iter().map(|told| &told["call_status"]).collect();
    assert!(words.ends_with(&[&json!("in-progress"), &json!("completed")]), "{words:?}");
    assert!(
        told.iter()
            .all(|told| told.get("call_termination_by").is_some() == (told["call_status"] == "completed"))
    );
    let (server, receiver) = answering_for(SILENCE, &json!([{"verb": "pause", "length": 600}]));
    receiver.reply("/status", Reply::Never);
    server.shards.offer(call(1), &[]);
    until(&receiver, "/app/start");
    server.shards.end_by(call(1), CallStatus::Canceled, 487, EndedBy::Peer);
    let told = statuses(&receiver);
    let last = told.last().expect("an end");
    assert_eq!((&last["call_status"], &last["sip_status"]), (&json!("no-answer"), &json!(487)));
}
