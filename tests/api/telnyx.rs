//! The Telnyx-compatible interface: what its tests share, and what a command must look like.

use crate::harness::*;
use crate::receiver::{Received, Receiver};
use crate::shard::Referred;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton::control::{Application, ApplicationKind, Readiness};
use baton::sip::command::{Place, Refused};
use baton::sip::event::{CallSid, CallStatus, ReferStatus};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

/// A server with one connection, and the program behind it.
pub struct Stage {
    pub server: Server,
    pub receiver: Receiver,
}

impl Stage {
    pub fn new() -> Stage {
        Stage::with(|_, _| {})
    }

    pub fn with(adjust: impl FnOnce(&mut Application, &Receiver)) -> Stage {
        let receiver = Receiver::start();
        let mut application = Application {
            account: Some(ACCOUNT.into()),
            connection_id: Some("12".into()),
            ..Application::new("flow", ApplicationKind::Telnyx, receiver.url("/ev"))
        };
        adjust(&mut application, &receiver);
        Stage { server: Server::steering(vec![application], true), receiver }
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        self.server.send_body(method, path, &headers, &body.to_string())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.server.request("GET", path, &[("Authorization", &format!("Bearer {TOKEN}"))])
    }

    pub fn command(&self, id: &str, name: &str, body: Value) -> Answer {
        self.send("POST", &format!("/v2/calls/{id}/actions/{name}"), &body)
    }

    /// A command that is taken.
    pub fn done(&self, id: &str, name: &str, body: Value) {
        let answer = self.command(id, name, body);
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"data":{"result":"ok"}}"#), "{name}");
    }

    /// Dials with these fields besides; the call's id and the order.
    pub fn dial(&self, more: Value) -> (String, Place) {
        let mut body =
            json!({ "connection_id": "12", "from": "+4930100200", "to": "sip:flow@pbx.example.org" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let answer = self.send("POST", "/v2/calls", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = answer.json()["data"].clone();
        assert_eq!((&data["record_type"], &data["is_alive"]), (&json!("call"), &json!(false)));
        let id = data["call_control_id"].as_str().expect("an id").to_owned();
        (id, self.server.shards.place())
    }

    /// An answered call: its two first events are seen.
    pub fn talking(&self, more: Value) -> (String, CallSid) {
        let (id, place) = self.dial(more);
        self.server.shards.change(place.sid, CallStatus::InProgress);
        self.expect("call.initiated");
        self.expect("call.answered");
        (id, place.sid)
    }

    /// The next event, with a good signature.
    pub fn event(&self) -> Value {
        let received = self.receiver.next();
        self.verify(&received).expect("the signature is good");
        serde_json::from_str(&received.body).expect("the body is JSON")
    }

    /// The payload of the next event, which is of this type.
    pub fn expect(&self, kind: &str) -> Value {
        let event = self.event();
        assert_eq!(event["data"]["event_type"], kind, "{event}");
        event["data"]["payload"].clone()
    }

    pub fn verify(&self, received: &Received) -> Result<(), String> {
        let key = self.get("/v2/public_key").json()["data"]["public"].clone();
        let key = STANDARD.decode(key.as_str().expect("a key")).expect("Base64");
        verify(received, &key)
    }
}

/// The signature over time and body, by this key.
pub fn verify(received: &Received, key: &[u8]) -> Result<(), String> {
    let header = |name| received.header(name).ok_or(format!("no {name}"));
    let signature = STANDARD.decode(header("telnyx-signature-ed25519")?).map_err(|e| e.to_string())?;
    let signed = format!("{}|{}", header("telnyx-timestamp")?, received.body);
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(signed.as_bytes(), &signature).map_err(|e| e.to_string())
}

/// Status, and code and pointer of each error; each code is a string (1.5).
pub fn errors(answer: &Answer) -> (u16, Vec<(String, Option<String>)>) {
    let json = answer.json();
    let entries = json["errors"].as_array().expect("errors").iter().map(|entry| {
        let code = entry["code"].as_str().expect("code is a string").to_owned();
        assert!(code.bytes().all(|b| b.is_ascii_digit()), "{code}");
        assert!(entry["title"].is_string() && entry["detail"].is_string(), "{entry}");
        assert!(entry.as_object().expect("an object").values().all(|v| !v.is_null()), "{entry}");
        (code, entry["source"]["pointer"].as_str().map(str::to_owned))
    });
    (answer.status, entries.collect())
}

/// The one error of an answer.
pub fn error(answer: &Answer) -> (u16, String, String) {
    let (status, mut all) = errors(answer);
    assert_eq!(all.len(), 1, "{}", answer.body);
    let (code, pointer) = all.remove(0);
    (status, code, pointer.unwrap_or_default())
}

fn is(status: u16, code: &str, pointer: &str) -> (u16, String, String) {
    (status, code.to_owned(), pointer.to_owned())
}

pub fn result(refer_code: Option<u16>, notify_code: Option<u16>, status: ReferStatus) -> Referred {
    Referred { refer_code, notify_code, status }
}

/// [telnyx 3] [telnyx 9] [telnyx 1.2] Credentials come before everything else.
#[test]
fn a_token_is_needed() {
    let stage = Stage::new();
    let basic = basic(ACCOUNT, TOKEN);
    let path = "/v2/calls/v3:x/actions/refer";
    for credentials in [None, Some("Bearer wrong"), Some(basic.as_str()), Some("Bearer")] {
        let headers: Vec<(&str, &str)> = credentials.map(|c| ("Authorization", c)).into_iter().collect();
        for path in [path, "/v2/nothing", "/v2/calls", "/v2/public_key"] {
            let answer = stage.server.send_body("POST", path, &headers, "{");
            assert_eq!(error(&answer), is(401, "10009", ""), "{credentials:?} {path}");
            let entry = answer.json()["errors"][0].clone();
            assert_eq!(entry["title"], "Authentication failed");
            assert!(entry["meta"]["url"].is_string());
        }
    }
}

/// [telnyx 8] [telnyx 9] [telnyx 1.8] What is not there, and what cannot be done here.
#[test]
fn unknown_paths_and_commands() {
    let stage = Stage::new();
    let (id, _) = stage.talking(json!({}));
    for path in ["/v2/nothing", "/v2/calls/x/y", "/v2/calls/x/actions/unheard_of", "/v2/calls/x/actions"] {
        assert_eq!(error(&stage.send("POST", path, &json!({}))), is(404, "10005", ""), "{path}");
    }
    let answer = stage.command(&id, "speak", json!({ "payload": "hello" }));
    assert_eq!(error(&answer), is(422, "10015", ""));
    assert!(answer.body.contains("speak"), "{}", answer.body);
    let answer = stage.get(&format!("/v2/calls/{id}/actions/refer"));
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

/// [telnyx 4] [telnyx 5] [telnyx 19] [telnyx 20] [telnyx 9] [telnyx 2.2] Every fault of a body, with its
/// place; all of them are told, and nothing is sent.
#[test]
fn a_refer_is_checked() {
    let stage = Stage::new();
    let (id, _) = stage.talking(json!({}));
    let pair = |name: &str, value: &str| json!([{ "name": name, "value": value }]);
    let good = "sip:desk2@pbx.example.org";
    for (body, code, pointer) in [
        (json!({}), "10004", "/sip_address"),
        (json!({ "sip_address": null }), "10004", "/sip_address"),
        (json!({ "sip_address": " " }), "10004", "/sip_address"),
        (json!({ "sip_address": 7 }), "10026", "/sip_address"),
        (json!({ "sip_address": "not a uri" }), "10015", "/sip_address"),
        (json!({ "sip_address": good, "client_state": "%%%" }), "10015", "/client_state"),
        (json!({ "sip_address": good, "client_state": "YQ" }), "10015", "/client_state"),
        (json!({ "sip_address": good, "client_state": 1 }), "10026", "/client_state"),
        (json!({ "sip_address": good, "sip_auth_username": "u" }), "10004", "/sip_auth_password"),
        (json!({ "sip_address": good, "sip_auth_password": "p" }), "10004", "/sip_auth_username"),
        (
            json!({ "sip_address": good, "custom_headers": pair("Call-ID", "1") }),
            "10015",
            "/custom_headers/0/name",
        ),
        (
            json!({ "sip_address": good, "custom_headers": pair("X A", "1") }),
            "10015",
            "/custom_headers/0/name",
        ),
        (
            json!({ "sip_address": good, "custom_headers": pair("X-A", "1\r\nB: 2") }),
            "10015",
            "/custom_headers/0/name",
        ),
        (
            json!({ "sip_address": good, "custom_headers": [{ "name": "X-A" }] }),
            "10004",
            "/custom_headers/0/value",
        ),
        (json!({ "sip_address": good, "custom_headers": {} }), "10026", "/custom_headers"),
        (json!({ "sip_address": good, "sip_headers": pair("X-A", "1") }), "10032", "/sip_headers/0/name"),
    ] {
        assert_eq!(error(&stage.command(&id, "refer", body.clone())), is(422, code, pointer), "{body}");
    }
    let answer = stage.command(&id, "refer", json!({ "client_state": "%", "sip_headers": 1 }));
    assert_eq!(errors(&answer).1.len(), 3, "{}", answer.body);
    let missing = stage.command(&id, "refer", json!({}));
    let expected = json!({ "errors": [{
        "code": "10004",
        "title": "Missing required parameter",
        "detail": "The 'sip_address' parameter is required and cannot be blank.",
        "source": { "pointer": "/sip_address" },
    }] });
    assert_eq!(missing.json(), expected);
    assert!(stage.server.shards.rest().is_empty());
    // What is not known means nothing (1.7).
    stage.done(&id, "refer", json!({ "sip_address": good, "unheard_of": [1] }));
}

/// [telnyx 6] [telnyx 34] [telnyx 1.8] Bodies that are no JSON object, or say that they are something else.
#[test]
fn bodies_are_json_objects() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    let bearer = format!("Bearer {TOKEN}");
    let send = |name: &str, content_type: Option<&str>, body: &str| {
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(content_type.map(|text| ("Content-Type", text)));
        stage.server.send_body("POST", &format!("/v2/calls/{id}/actions/{name}"), &headers, body)
    };
    let json = Some("application/json");
    let nested = format!("{{\"sip_address\":{}", "[".repeat(30_000));
    for body in ["{", "[]", "\"x\"", "", nested.as_str()] {
        assert_eq!(error(&send("refer", json, body)), is(400, "10015", ""));
    }
    assert_eq!(error(&send("refer", Some("text/plain"), "{}")), is(415, "10014", ""));
    assert_eq!(error(&send("refer", None, "")), is(415, "10014", ""));
    assert_eq!(error(&send("hangup", None, "{}")), is(415, "10014", ""));
    assert_eq!(send("refer", json, &"x".repeat(70_000)).status, 413);
    assert_eq!(
        error(&send("refer", Some("application/json; charset=utf-8"), "{}")),
        is(422, "10004", "/sip_address")
    );
    assert_eq!(send("hangup", None, "").status, 200);
    stage.server.shards.hang_up(sid);
}

/// [telnyx 7] [telnyx 10] [telnyx 37] [telnyx 39] [telnyx 1.2] [telnyx 1.6] The call is looked for when the
/// body is fine; faults of the caller are 422, and only a node without room is 503.
#[test]
fn calls_are_known_alive_and_answered() {
    let stage = Stage::new();
    let body = json!({ "sip_address": "sip:a@b" });
    let unknown = is(422, "90015", "/call_control_id");
    assert_eq!(error(&stage.command("v3:AAAAAAAAAAAAAAAAAAAAAA", "refer", body.clone())), unknown);
    assert_eq!(error(&stage.command("x", "refer", body.clone())), unknown);
    assert_eq!(error(&stage.get("/v2/calls/v3:x")), unknown);
    let (id, place) = stage.dial(json!({}));
    assert_eq!(error(&stage.command(&id, "refer", body.clone())), is(422, "90034", ""));
    let foreign = format!("Bearer {OTHER_TOKEN}");
    let answer = stage.server.request("GET", &format!("/v2/calls/{id}"), &[("Authorization", &foreign)]);
    assert_eq!(error(&answer), unknown);
    assert!(stage.server.shards.rest().is_empty());
    stage.server.shards.change(place.sid, CallStatus::InProgress);
    stage.expect("call.initiated");
    stage.expect("call.answered");
    stage.done(&id.replace(':', "%3A"), "send_sip_info", json!({ "content_type": "a/b", "body": "x" }));
    stage.server.shards.action(place.sid);
    for (refused, expected) in [
        (Refused::NotAnswered, is(422, "90034", "")),
        (Refused::Ended, is(422, "90018", "")),
        (Refused::Malformed, is(422, "10015", "/sip_address")),
        (Refused::Full, is(503, "10007", "")),
    ] {
        stage.server.shards.refuse(Some(refused));
        let answer = stage.command(&id, "refer", body.clone());
        assert_eq!(error(&answer), expected);
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
    }
    stage.server.shards.refuse(None);
    stage.server.shards.end(place.sid, CallStatus::Completed);
    stage.expect("call.hangup");
    assert_eq!(error(&stage.command(&id, "refer", body.clone())), is(422, "90018", ""));
    let (status, code, _) = error(&stage.command(&id, "refer", json!({})));
    assert_eq!((status, code.as_str()), (422, "10004"));
    stage.server.readiness.not_ready(Readiness::DRAINING, "a test");
    let body = json!({ "connection_id": "12", "from": "1", "to": "2" });
    let answer = stage.send("POST", "/v2/calls", &body);
    assert_eq!((error(&answer), answer.header("retry-after").is_some()), (is(503, "10007", ""), true));
}
