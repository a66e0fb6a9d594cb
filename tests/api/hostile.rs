//! Receivers that mean harm, or are broken as if they did: the call is handled as when its document
//! cannot be had, and what happened is counted.

use crate::create::place;
use crate::documents::{call, running, with_application, with_application_for};
use crate::harness::*;
use crate::receiver::{Receiver, Reply};
use crate::shard::public;
use baton::sip::command::Action;
use baton::sip::event::CallStatus;
use std::time::Duration;

/// Documents that would grow, or take for ever, in a reader without bounds.
fn bombs() -> Vec<(&'static str, String)> {
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let attributes: String = (0..60_000).map(|n| format!("a{n}='' ")).collect();
    vec![
        (
            "entities of entities",
            format!("<!DOCTYPE Response [<!ENTITY l0 \"ha\">{laughs}]><Response>&l9;</Response>"),
        ),
        (
            "a file of ours",
            "<!DOCTYPE Response [<!ENTITY f SYSTEM \"file:///etc/passwd\">]>\
             <Response><Dial>&f;</Dial></Response>"
                .into(),
        ),
        ("depth", format!("<Response>{}", "<a>".repeat(100_000))),
        ("elements", format!("<Response>{}</Response>", "<Pause/>".repeat(100_000))),
        ("attributes", format!("<Response {attributes}/>")),
        ("an element without end", format!("<Response {}", "x".repeat(1_000_000))),
        ("CDATA without end", format!("<Response>{}", "<![CDATA[".repeat(100_000))),
        ("no text", "\u{0}\u{1}".repeat(400_000)),
    ]
}

/// [rcml 8] [rcml 2.3] [rcml 2.6] [rcml 1.10] XML bombs: the caller hears 500, a fallback is asked, and the
/// metrics say why.
#[test]
fn xml_bombs_are_documents_that_failed() {
    let (server, receiver) = with_application(|_, _| {});
    for (n, (what, bomb)) in (1..).zip(bombs()) {
        receiver.reply("/a/b", Reply::Other(200, vec![("Content-Type", "text/xml".into())], bomb));
        server.shards.offer(call(n), &[]);
        receiver.expect("/a/b");
        assert_eq!(server.shards.hang_up(call(n)), Some(500), "{what}");
        assert_eq!(server.metric("baton_documents_total{result=\"malformed\"}"), n as u64, "{what}");
    }
    let (server, receiver) = with_application(|a, r| a.fallback_url = Some(r.url("/fallback")));
    let (_, bomb) = bombs().swap_remove(0);
    receiver.reply("/a/b", Reply::Other(200, vec![("Content-Type", "text/xml".into())], bomb));
    receiver.rcml("/fallback", "<Reject reason='busy'/>");
    server.shards.offer(call(1), &[]);
    receiver.expect("/a/b");
    assert_eq!(receiver.expect("/fallback").value("ErrorCode").as_deref(), Some("12100"));
    assert_eq!(server.shards.hang_up(call(1)), Some(486));
    assert_eq!(server.metric("baton_documents_total{result=\"done\"}"), 1);
}

/// [rcml 1.12] More than 1 MiB, announced or not: no more than that is read.
#[test]
fn a_document_has_a_length() {
    let xml = |body: String| Reply::Other(200, vec![("Content-Type", "text/xml".into())], body);
    let padded = |size: usize| format!("<Response>{}<Reject/></Response>", " ".repeat(size));
    let (server, receiver) = with_application(|_, _| {});
    for (n, reply) in (1..).zip([xml(padded(1_100_000)), Reply::Endless(b' ', Duration::ZERO)]) {
        receiver.reply("/a/b", reply);
        server.shards.offer(call(n), &[]);
        assert_eq!(server.shards.hang_up(call(n)), Some(500));
        assert_eq!(server.metric("baton_webhook_deliveries_total{result=\"too-long\"}"), n as u64);
    }
    receiver.reply("/a/b", xml(padded(1_000_000)));
    server.shards.offer(call(9), &[]);
    assert_eq!(server.shards.hang_up(call(9)), Some(603));
}

/// [rcml 5] [rcml 1.7] Who answers a little at a time has no more time than others, in header or body.
#[test]
fn a_slow_answer_is_none() {
    let (server, receiver) = with_application_for(Duration::from_secs(2), |_, _| {});
    for (n, reply) in (1..).zip([Reply::Drip, Reply::Endless(b' ', Duration::from_millis(50))]) {
        receiver.reply("/a/b", reply);
        server.shards.offer(call(n), &[]);
        assert_eq!(server.shards.hang_up(call(n)), Some(500));
        assert_eq!(server.metric("baton_webhook_deliveries_total{result=\"timeout\"}"), n as u64);
        assert_eq!(server.metric("baton_documents_total{result=\"unreachable\"}"), n as u64);
    }
}

/// [rcml 7] What is no document is not looked into, however deep it is.
#[test]
fn json_is_no_document() {
    let (server, receiver) = with_application(|_, _| {});
    let json = Reply::Other(200, vec![("Content-Type", "application/json".into())], "[".repeat(900_000));
    receiver.reply("/a/b", json);
    server.shards.offer(call(1), &[]);
    assert_eq!(server.shards.hang_up(call(1)), Some(500));
    assert_eq!(server.metric("baton_documents_total{result=\"content-type\"}"), 1);
}

/// [restcomm-calls 51] [restcomm-calls 12] JSON bombs: forms are all that is read, and not much of them.
#[test]
fn json_bombs_are_refused() {
    let server = Server::start();
    let deep = "[".repeat(30_000);
    let refused = server.post_as("application/json", "Calls.json", &deep);
    assert_eq!(refused.status, 415);
    assert!(!refused.message().is_empty());
    let long = server.post_as("application/json", "Calls.json", &"[".repeat(70_000));
    assert!(matches!(long.status, 413 | 415), "{}", long.status);
    let pairs = server.post("Calls.json", &"a=&".repeat(20_000));
    assert_eq!((pairs.status, pairs.message().as_str()), (400, "From can not be null."));
    assert_eq!(server.post("Calls.json", &"a=&".repeat(30_000)).status, 413);
    assert!(server.shards.rest().is_empty());
}

/// [rcml 6] [rcml 1.10] The same in a call that is answered: it is ended, by BYE.
#[test]
fn a_bomb_ends_an_answered_call() {
    let (server, receiver, sid) = running("<Pause length='600'/>");
    let (_, bomb) = bombs().swap_remove(0);
    receiver.reply("/new", Reply::Other(200, vec![("Content-Type", "text/xml".into())], bomb));
    let form = format!("Url={}", receiver.escaped("/new"));
    assert_eq!(server.post(&format!("Calls/{}.json", public(sid)), &form).status, 200);
    receiver.expect("/new");
    assert!(matches!(server.shards.action(sid), Action::Hangup { .. }));
}

/// A status callback that is a trap holds up nothing but itself.
#[test]
fn a_trap_for_callbacks() {
    let (server, receiver) = (Server::adjusted(Vec::new(), impatient(SILENCE)), Receiver::start());
    receiver.reply("/cb", Reply::Drip);
    let more = format!("&StatusCallback={}&StatusCallbackEvent=ringing,completed", receiver.escaped("/cb"));
    let (_, sid) = place(&server, &receiver, &more);
    server.shards.change(sid, CallStatus::Ringing);
    receiver.expect("/cb");
    receiver.reply("/cb", Reply::Endless(b'x', Duration::ZERO));
    server.shards.change(sid, CallStatus::Busy);
    assert_eq!(receiver.expect("/cb").value("CallStatus").as_deref(), Some("busy"));
    let waiting = || server.metric("baton_queue_depth{queue=\"webhook\"}");
    wait_until("both are over", || waiting() == 0);
    assert_eq!(server.metric("baton_webhook_deliveries_total{result=\"timeout\"}"), 1);
    assert_eq!(server.metric("baton_webhook_deliveries_total{result=\"too-long\"}"), 1);
}
