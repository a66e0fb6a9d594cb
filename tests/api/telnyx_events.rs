//! Delivery of the Telnyx-compatible interface's events.

use crate::harness::*;
use crate::receiver::Reply;
use crate::telnyx::{Stage, verify};
use baton::io::Clock;
use baton::sip::event::CallStatus;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// [telnyx 25] [telnyx 27] [telnyx 3.1] [telnyx 3.3] The envelope, and a signature that one changed byte or
/// another key breaks.
#[test]
fn events_are_signed() {
    let stage = Stage::new();
    stage.dial(json!({}));
    let mut received = stage.receiver.expect("/ev");
    assert_eq!(
        (received.method.as_str(), received.header("content-type")),
        ("POST", Some("application/json"))
    );
    let event: Value = serde_json::from_str(&received.body).expect("JSON");
    assert_eq!(
        (&event["data"]["record_type"], &event["data"]["event_type"]),
        (&json!("event"), &json!("call.initiated"))
    );
    let id = event["data"]["id"].as_str().expect("an id");
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let at = event["data"]["occurred_at"].as_str().expect("a time");
    let decimals = at.strip_suffix('Z').and_then(|at| at.split_once('.')).expect("decimals").1;
    assert!(decimals.len() == 6 && decimals.bytes().all(|b| b.is_ascii_digit()), "{at}");
    assert_eq!(event["meta"], json!({ "attempt": 1, "delivered_to": stage.receiver.url("/ev") }));
    let payload = &event["data"]["payload"];
    for (name, value) in [("direction", "outgoing"), ("state", "bridging"), ("connection_id", "12")] {
        assert_eq!(payload[name], value, "{name}");
    }
    stage.verify(&received).expect("the signature is good");
    assert!(verify(&received, &[3; 32]).is_err());
    let timestamp: u64 = received.header("telnyx-timestamp").and_then(|t| t.parse().ok()).expect("seconds");
    assert!((Clock::new().now().millis() / 1_000).abs_diff(timestamp) < 300);
    received.body = received.body.replace("bridging", "Bridging");
    assert!(stage.verify(&received).is_err());
}

/// [telnyx 28] [telnyx 30] [telnyx 3.4] [telnyx 3.5] Three attempts at each URL, each signed anew, with one
/// id; the next event waits.
#[test]
#[allow(clippy::disallowed_methods, reason = "pauses are not counted by a clock that follows the wall's")]
fn events_are_tried_again() {
    let stage =
        Stage::with(|application, receiver| application.failover_url = Some(receiver.url("/failover")));
    stage.receiver.reply("/ev", Reply::Other(500, Vec::new(), String::new()));
    let began = Instant::now();
    let (_, place) = stage.dial(json!({}));
    stage.server.shards.change(place.sid, CallStatus::InProgress);
    let mut ids = Vec::new();
    for (attempt, path) in [(1, "/ev"), (2, "/ev"), (3, "/ev"), (4, "/failover")] {
        let received = stage.receiver.expect(path);
        stage.verify(&received).expect("the signature is good");
        let event: Value = serde_json::from_str(&received.body).expect("JSON");
        assert_eq!(event["data"]["event_type"], "call.initiated");
        assert_eq!(event["meta"], json!({ "attempt": attempt, "delivered_to": stage.receiver.url(path) }));
        ids.push(event["data"]["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert!(began.elapsed() >= Duration::from_secs(4));
    let received = stage.receiver.expect("/ev");
    assert!(received.body.contains("call.answered"));
}

/// [telnyx 29] Who takes an event slowly holds up neither commands nor other calls.
#[test]
fn a_slow_receiver_is_nobody_elses_business() {
    // It is not asked again while the test runs.
    let stage = Stage::with(|application, _| application.timeout = Some(Duration::from_secs(60)));
    stage.receiver.reply("/slow", Reply::Never);
    let (slow, place) = stage.dial(json!({ "webhook_url": stage.receiver.url("/slow") }));
    stage.server.shards.change(place.sid, CallStatus::InProgress);
    stage.receiver.expect("/slow");
    // No event says when the answer is known, since all wait behind the first.
    let refer = || stage.command(&slow, "refer", json!({ "sip_address": "sip:a@b" })).status;
    wait_until("it is answered", || refer() == 200);
    stage.server.shards.refer(place.sid);
    stage.talking(json!({}));
}

/// [telnyx 3.2] Commands say where events go: all, or some, or by GET.
#[test]
fn events_go_where_they_are_wanted() {
    let stage = Stage::new();
    let url = |path| stage.receiver.url(path);
    let (_, place) = stage.dial(json!({
        "webhook_url": url("/mine"),
        "webhook_urls": { "call.answered": url("/answered") },
    }));
    stage.server.shards.change(place.sid, CallStatus::InProgress);
    stage.server.shards.end(place.sid, CallStatus::Completed);
    for path in ["/mine", "/answered", "/mine"] {
        stage.receiver.expect(path);
    }
    let (_, place) = stage.dial(json!({ "webhook_url": url("/get"), "webhook_url_method": "GET" }));
    let received = stage.receiver.expect("/get");
    assert_eq!((received.method.as_str(), received.body.as_str()), ("GET", ""));
    assert_eq!(received.value("event_type").as_deref(), Some("call.initiated"));
    assert_eq!(received.value("connection_id").as_deref(), Some("12"));
    assert_eq!(received.value("attempt").as_deref(), Some("1"));
    stage.verify(&received).expect("the signature is good");
    stage.server.shards.end(place.sid, CallStatus::Failed);
    let wrong = json!({ "connection_id": "12", "from": "1", "to": "2", "webhook_url": "ftp://h/" });
    let answer = stage.send("POST", "/v2/calls", &wrong);
    assert!(answer.status == 422 && answer.body.contains("/webhook_url"), "{}", answer.body);
}

/// [telnyx 3.3] Who is allowed to see it, may have the key.
#[test]
fn the_key_is_published() {
    let stage = Stage::new();
    let key = stage.get("/v2/public_key").json();
    assert_eq!(key["data"]["public"].as_str().map(str::len), Some(44));
    assert_eq!(stage.server.request("GET", "/v2/public_key", &[]).status, 401);
    assert_eq!(WEBHOOK_KEY.len(), 32);
}
