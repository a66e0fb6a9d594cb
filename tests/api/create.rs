//! Placing calls, and being told what becomes of them.

use crate::harness::*;
use crate::receiver::{Receiver, Reply};
use crate::shard::public;
use baton::control::Readiness;
use baton::sip::command::{Party, Place, Refused};
use baton::sip::event::{CallHeaders, CallSid, CallStatus, Event};
use std::time::Duration;

/// Places a call with these parameters besides; the order and the identifier.
pub fn place(server: &Server, receiver: &Receiver, more: &str) -> (Place, CallSid) {
    let url = receiver.escaped("/doc");
    let form = format!("From=%2B4930100200&To=sip%3Amaria%40pbx.example.org&Url={url}{more}");
    let answer = server.post("Calls.json", &form);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let place = server.shards.place();
    let sid = place.sid;
    (place, sid)
}

/// [restcomm-calls 1] [restcomm-calls 6] [restcomm-calls 9] [restcomm-calls 6.2] [restcomm-calls 16]
/// [restcomm-calls 6.2.5]
#[test]
fn a_call_is_placed_and_readable_at_once() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let form = format!(
        "From=%2B4930100200&To=sip%3Amaria%40pbx.example.org&Url={}&Timeout=7&Username=u&Password=p",
        receiver.escaped("/doc")
    );
    let answer = server.post("Calls.json", &form);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let call = answer.json();
    let fields = [
        ("status", "queued"),
        ("direction", "outbound-api"),
        ("to", "maria"),
        ("from", "+4930100200"),
        ("account_sid", ACCOUNT),
    ];
    for (name, value) in fields {
        assert_eq!(call[name], value, "{name}");
    }
    assert!(call.get("end_time").is_none() && call.get("duration").is_none());
    assert!(call.as_object().expect("an object").values().all(|value| !value.is_null()));
    let place = server.shards.place();
    let sid = public(place.sid);
    assert_eq!(call["sid"], sid.as_str());
    assert!(sid.starts_with(call["InstanceId"].as_str().expect("a string")));
    assert_eq!(place.to, Party::Uri("sip:maria@pbx.example.org".into()));
    assert_eq!((place.timeout, place.from.as_str()), (Duration::from_secs(7), "+4930100200"));
    assert!(place.credentials.is_some());
    let headers = [
        ("X-RestComm-ApiVersion".to_owned(), "2012-04-24".to_owned()),
        ("X-RestComm-AccountSid".to_owned(), ACCOUNT.to_owned()),
        ("X-RestComm-CallSid".to_owned(), sid.clone()),
    ];
    assert_eq!(place.headers, headers);
    let read = server.json(&format!("Calls/{sid}.json"));
    assert_eq!((&read["sid"], &read["status"]), (&call["sid"], &"queued".into()));
    assert_eq!(receiver.unseen(), 0);
}

/// [restcomm-calls 15] [restcomm-calls 6.1.2] [restcomm-calls 1.6] [restcomm-calls 8.1]
#[test]
fn headers_and_other_forms() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let url = receiver.escaped("/doc");
    let form = format!("From=1&To=client%3Aalice%3FX-A%3D1%26Foo%3D2&Url={url}&From=9&Unknown=x");
    let answer = server.post("Calls", &form);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("<RestcommResponse><Call><Sid>"), "{}", answer.body);
    let place = server.shards.place();
    assert_eq!((place.to, place.from.as_str()), (Party::Client("alice".into()), "1"));
    let own = |(name, _): &&(String, String)| !name.starts_with("X-RestComm");
    let headers: Vec<_> = place.headers.iter().filter(own).collect();
    assert_eq!(headers, [&("X-A".to_owned(), "1".to_owned()), &("X-Foo".to_owned(), "2".to_owned())]);
}

/// [restcomm-calls 4] [restcomm-calls 5] [restcomm-calls 51] [restcomm-calls 6.1.6] [restcomm-calls 12]
#[test]
fn what_is_wrong_is_refused_and_leaves_nothing() {
    let server = Server::start();
    let right = "From=1&To=2&Url=http%3A%2F%2F192.0.2.1%2F";
    for (form, message) in [
        ("", "From can not be null."),
        ("From=1&Url=x", "To can not be null."),
        ("From=1&To=2", "Url can not be null."),
        (&format!("{right}&Method=PUT"), "Method must be GET or POST."),
    ] {
        let answer = server.post("Calls.json", form);
        assert_eq!((answer.status, answer.message().as_str()), (400, message), "{form}");
    }
    let xml = server.post("Calls", "");
    let body = "<RestcommResponse><Message>From can not be null.</Message></RestcommResponse>";
    assert_eq!((xml.status, xml.body.as_str()), (400, body));
    assert_eq!(server.post("Calls.json", "From=%zz").status, 400);
    assert_eq!(server.post_as("application/json", "Calls.json", "{}").status, 415);
    assert_eq!(server.post("Calls.json", &"x".repeat(70_000)).status, 413);
    server.readiness.not_ready(Readiness::DRAINING, "a test");
    let draining = server.post("Calls.json", right);
    assert_eq!((draining.status, draining.header("retry-after")), (503, Some("5")));
    server.readiness.ready(Readiness::DRAINING);
    for (refused, status) in [(Refused::Full, 503), (Refused::Malformed, 400)] {
        server.shards.refuse(Some(refused));
        assert_eq!(server.post("Calls.json", right).status, status);
        let place = server.shards.place();
        let read = server.get(&path(&format!("Calls/{}.json", public(place.sid))));
        assert_eq!(read.status, 404);
    }
    assert_eq!(server.json("Calls.json")["total"], 0);
    assert!(server.shards.rest().is_empty());
}

/// [restcomm-calls 17] [rcml 1] [rcml 10] The document is asked for when the call is answered, and its
/// end is the call's.
#[test]
fn the_document_waits_for_the_answer() {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.rcml("/doc", "");
    let (_, sid) = place(&server, &receiver, "");
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.change(sid, CallStatus::InProgress);
    let request = receiver.expect("/doc");
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.value("CallSid"), Some(public(sid)));
    assert_eq!(request.value("CallStatus").as_deref(), Some("in-progress"));
    assert_eq!(request.value("Direction").as_deref(), Some("outbound-api"));
    assert_eq!(server.shards.hang_up(sid), None);
}

/// [restcomm-calls 24] [restcomm-calls 27] [restcomm-calls 23] Without a list only the end is told.
#[test]
fn one_callback_at_the_end() {
    let (server, receiver) = (Server::start(), Receiver::start());
    for (status, word) in [
        (CallStatus::Busy, "busy"),
        (CallStatus::Failed, "failed"),
        (CallStatus::NoAnswer, "no-answer"),
        (CallStatus::Canceled, "canceled"),
    ] {
        let more = format!("&StatusCallback={}", receiver.escaped("/cb"));
        let (_, sid) = place(&server, &receiver, &more);
        server.shards.change(sid, CallStatus::Ringing);
        server.shards.end(sid, status);
        let told = receiver.expect("/cb");
        assert_eq!(told.value("CallStatus").as_deref(), Some(word));
        assert_eq!(told.value("SequenceNumber").as_deref(), Some("0"));
        assert_eq!(told.value("CallDuration").as_deref(), Some("0"));
    }
    assert_eq!(receiver.unseen(), 0);
}

/// [restcomm-calls 25] [restcomm-calls 26] [restcomm-calls 28] [restcomm-calls 11] [restcomm-calls 11.6]
#[test]
fn all_callbacks_in_order() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let more = format!(
        "&StatusCallback={}&StatusCallbackMethod=GET&StatusCallbackEvent=initiated%2C+ringing%2Canswered+completed",
        receiver.escaped("/cb?k=1")
    );
    let (_, sid) = place(&server, &receiver, &more);
    receiver.rcml("/doc", "<Pause length='600'/>");
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.change(sid, CallStatus::Ringing);
    let headers = [("Diversion", "<tel:2>"), ("Diversion", "<tel:1>"), ("X-A", "1")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    server.shards.tell(Event::Headers(Box::new(CallHeaders {
        sid,
        headers,
        call_id: "x".into(),
        code: 200,
    })));
    server.shards.change(sid, CallStatus::InProgress);
    server.shards.end(sid, CallStatus::Completed);
    let mut told = Vec::new();
    while told.len() < 4 {
        let request = receiver.next();
        if request.path == "/cb" {
            told.push(request);
        }
    }
    let statuses: Vec<_> = told.iter().filter_map(|request| request.value("CallStatus")).collect();
    assert_eq!(statuses, ["queued", "ringing", "in-progress", "completed"]);
    for (n, request) in told.iter().enumerate() {
        assert_eq!((request.method.as_str(), request.body.as_str()), ("GET", ""));
        assert!(request.query.starts_with("k=1&CallSid="), "{}", request.query);
        assert_eq!(request.value("SequenceNumber"), Some(n.to_string()));
        assert_eq!(request.value("CallbackSource").as_deref(), Some("call-progress-events"));
        let stamp = request.value("Timestamp").expect("a time");
        assert!(stamp.ends_with(" +0000") && stamp.len() == 31, "{stamp}");
        assert_eq!(request.value("CallDuration").is_some(), n == 3);
    }
    let last = &told[3].names()[11..];
    let expected = [
        "CallTimestamp",
        "CallDuration",
        "Timestamp",
        "CallbackSource",
        "SequenceNumber",
        "SipHeader_Diversion",
        "SipHeader_Diversion",
    ];
    assert_eq!(last, expected);
    assert!(told[3].query.contains("From=%2B4930100200&"), "{}", told[3].query);
}

/// [restcomm-calls 30] [restcomm-calls 11.8] [restcomm-calls 11.9] Who takes no callbacks disturbs
/// nothing, and is given up.
#[test]
fn a_deaf_receiver_disturbs_nothing() {
    let (server, receiver) = (Server::adjusted(Vec::new(), impatient(SILENCE)), Receiver::start());
    receiver.reply("/cb", Reply::Never);
    let more = format!("&StatusCallback={}&StatusCallbackEvent=ringing,completed", receiver.escaped("/cb"));
    let (_, sid) = place(&server, &receiver, &more);
    server.shards.change(sid, CallStatus::Ringing);
    assert_eq!(receiver.expect("/cb").value("CallStatus").as_deref(), Some("ringing"));
    receiver.reply("/cb", Reply::Other(500, Vec::new(), String::new()));
    server.shards.change(sid, CallStatus::InProgress);
    receiver.expect("/doc");
    server.shards.hang_up(sid);
    // Behind the first one's end, and only once.
    assert_eq!(receiver.expect("/cb").value("CallStatus").as_deref(), Some("completed"));
    let read = server.json(&format!("Calls/{}.json", public(sid)));
    assert_eq!(read["status"], "completed");
    assert_eq!(receiver.unseen(), 0);
}

/// [restcomm-calls 18] [restcomm-calls 7.2] What the shard tells is what can be read.
#[test]
fn statuses_are_read_as_they_are_told() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let (_, sid) = place(&server, &receiver, "");
    let resource = format!("Calls/{}.json", public(sid));
    for (status, word) in [(CallStatus::Ringing, "ringing"), (CallStatus::Busy, "busy")] {
        server.shards.change(sid, status);
        assert_eq!(server.json(&resource)["status"], word);
    }
}

/// A destination inside is not reached unless that is allowed: the call has no document, and ends.
#[test]
fn private_destinations_are_refused() {
    let (server, receiver) = (Server::steering(Vec::new(), false), Receiver::start());
    let (_, sid) = place(&server, &receiver, "");
    server.shards.change(sid, CallStatus::InProgress);
    assert_eq!(server.shards.hang_up(sid), Some(500));
    assert_eq!(receiver.unseen(), 0);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("baton_webhook_deliveries_total{result=\"private\"} 1"), "{metrics}");
}
