//! Live call modification.

use crate::create::place;
use crate::harness::*;
use crate::jambonz::{call, uuid};
use crate::jambonz_calls::v1;
use crate::receiver::Receiver;
use crate::shard::{Referred, public};
use crate::steering::heard;
use baton::sip::command::{Action, Order, Refused};
use baton::sip::event::{CallSid, CallStarted, CallStatus, Event, ReferStatus};
use serde_json::Value;

fn resource(sid: CallSid) -> String {
    format!("Calls/{}.json", public(sid))
}

/// An answered call that waits in its first document.
fn answered(server: &Server, receiver: &Receiver, more: &str) -> CallSid {
    receiver.rcml("/doc", "<Pause length='600'/><Refer><Sip>sip:never@h</Sip></Refer>");
    let (_, sid) = place(server, receiver, more);
    server.shards.change(sid, CallStatus::InProgress);
    receiver.expect("/doc");
    sid
}

/// [restcomm-calls 44] [restcomm-calls 10.6] [restcomm-calls 10.9]
#[test]
fn a_ringing_call_is_canceled() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let (_, sid) = place(&server, &receiver, "");
    server.shards.change(sid, CallStatus::Ringing);
    heard(&server);
    let answer = server.post(&resource(sid), "Status=canceled");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"ringing".into()));
    assert_eq!(server.shards.action(sid), Action::Cancel);
    server.shards.end(sid, CallStatus::Canceled);
    assert_eq!(server.json(&resource(sid))["status"], "canceled");
    assert_eq!(receiver.unseen(), 0);
}

/// [restcomm-calls 45] [restcomm-calls 46] [restcomm-calls 10.7] An answered call is only completed.
#[test]
fn an_answered_call_is_completed_but_not_canceled() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let sid = answered(&server, &receiver, "");
    let canceled = server.post(&resource(sid), "Status=Canceled");
    assert_eq!((canceled.status, &canceled.json()["status"]), (200, &"in-progress".into()));
    assert!(server.shards.rest().is_empty());
    assert_eq!(server.post(&resource(sid), "Status=COMPLETED").status, 200);
    assert_eq!(server.shards.hang_up(sid), None);
    assert_eq!(server.json(&resource(sid))["status"], "completed");
}

/// [restcomm-calls 47] [restcomm-calls 50] [restcomm-calls 10.2] Another document, by any path, at once.
#[test]
fn another_document_takes_over() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let sid = answered(&server, &receiver, "");
    receiver.rcml("/new", "<Pause length='600'/>");
    let form = format!("From=1&To=2&Method=GET&Url={}", receiver.escaped("/new?a=b"));
    for path in [
        format!("Calls/{}", public(sid)),
        format!("Calls/{}.json", public(sid)),
        format!("Calls.json/{}", public(sid)),
    ] {
        assert_eq!(server.post(&path, &form).status, 200);
        let request = receiver.expect("/new");
        assert!(request.query.starts_with("a=b&CallSid="));
        assert_eq!(request.value("CallSid"), Some(public(sid)));
    }
    assert!(server.shards.rest().is_empty());
}

/// [restcomm-calls 48] [restcomm-calls 10.3] [restcomm-calls 10.4] [restcomm-calls 10.10]
#[test]
fn what_cannot_be_modified() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let sid = answered(&server, &receiver, "");
    let status = |form: &str| server.post(&resource(sid), form).status;
    assert_eq!(status(""), 409);
    assert_eq!(status("FallbackUrl=http%3A%2F%2Fh"), 409);
    assert_eq!(status("Status=x"), 400);
    assert_eq!(status("Url=x"), 400);
    assert_eq!(status("Mute=true&ChildCallMode=Foo"), 400);
    assert_eq!(status("Mute=true"), 200);
    let foreign = format!("/2012-04-24/Accounts/{OTHER}/{}", resource(sid));
    assert_eq!(server.get_as(OTHER, &foreign, &[]).status, 403);
    server.shards.end(sid, CallStatus::Completed);
    heard(&server);
    let over = server.post(&resource(sid), "Status=completed");
    assert_eq!((over.status, over.message().as_str()), (410, "Call is already completed."));
    assert_eq!(server.post("Calls/ID1-CA2.json", "Status=completed").status, 404);
    assert_eq!(server.post(&format!("Calls/{}.json", call_sid(77)), "Mute=true").status, 404);
    server.send([started(start(5, 0))]);
    let proxied = server.post(&format!("Calls/{}.json", call_sid(5)), "Status=completed");
    assert_eq!(proxied.status, 409);
    assert!(proxied.message().contains("mode = \"b2bua\""));
    assert!(server.shards.rest().is_empty());
}

/// [restcomm-calls 10.11] A document given before the answer replaces the one to be run then.
#[test]
fn a_document_before_the_answer() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let (_, sid) = place(&server, &receiver, "");
    let form = format!("Url={}", receiver.escaped("/new"));
    assert_eq!(server.post(&resource(sid), &form).status, 200);
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.change(sid, CallStatus::InProgress);
    receiver.expect("/new");
    server.shards.hang_up(sid);
}

/// [restcomm-calls 11.10] A new callback is told of the end in place of the old one.
#[test]
fn the_end_is_told_to_somebody_else() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let more = format!("&StatusCallback={}", receiver.escaped("/cb"));
    let sid = answered(&server, &receiver, &more);
    let form = format!("Status=completed&StatusCallback={}", receiver.escaped("/other"));
    assert_eq!(server.post(&resource(sid), &form).status, 200);
    server.shards.hang_up(sid);
    let told = receiver.expect("/other");
    assert_eq!(told.value("CallStatus").as_deref(), Some("completed"));
    assert_eq!(receiver.unseen(), 0);
}

/// [restcomm-calls 49] [restcomm-calls 10.12] What becomes of the leg that was dialled.
#[test]
fn the_other_leg_ends_moves_or_stays() {
    for (mode, ends) in [("", true), ("&ChildCallMode=Move", false), ("&ChildCallMode=StayConnected", false)]
    {
        let (server, receiver) = (Server::start(), Receiver::start());
        receiver.rcml("/doc", "<Dial>100</Dial>");
        receiver.rcml("/new", "<Pause length='600'/>");
        let (_, sid) = place(&server, &receiver, "");
        server.shards.change(sid, CallStatus::InProgress);
        receiver.expect("/doc");
        let Action::Dial(dial) = server.shards.action(sid) else { panic!("no Dial") };
        let child = dial.parties[0].sid;
        server.shards.dialled(child, sid);
        server.shards.change(child, CallStatus::InProgress);
        server.shards.tell(Event::Joined(sid, child));
        heard(&server);
        let form = format!("Url={}{mode}", receiver.escaped("/new"));
        assert_eq!(server.post(&resource(sid), &form).status, 200);
        let mut sids = vec![receiver.expect("/new").value("CallSid").expect("a call")];
        if mode.ends_with("StayConnected") {
            assert_eq!(sids, [public(sid)]);
            assert!(server.shards.rest().is_empty());
            continue;
        }
        assert_eq!(server.shards.action(sid), Action::Part);
        if ends {
            assert_eq!(server.shards.hang_up(child), None);
            assert_eq!(sids, [public(sid)]);
        } else {
            sids.push(receiver.expect("/new").value("CallSid").expect("a call"));
            sids.sort();
            let mut both = [public(sid), public(child)];
            both.sort();
            assert_eq!(sids, both);
        }
        assert!(server.shards.rest().is_empty());
    }
}

/// [restcomm-calls 49] The end of a document that runs beside another is not the call's.
#[test]
fn a_document_beside_another_ends_alone() {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.rcml("/doc", "<Dial>100</Dial>");
    receiver.rcml("/new", "<Refer action='/after'><Sip>sip:x@h?</Sip></Refer>");
    let (_, sid) = place(&server, &receiver, "");
    server.shards.change(sid, CallStatus::InProgress);
    receiver.expect("/doc");
    let Action::Dial(dial) = server.shards.action(sid) else { panic!("no Dial") };
    let child = dial.parties[0].sid;
    server.shards.dialled(child, sid);
    server.shards.tell(Event::Joined(sid, child));
    heard(&server);
    let form = format!("Url={}&ChildCallMode=StayConnected", receiver.escaped("/new"));
    assert_eq!(server.post(&resource(sid), &form).status, 200);
    receiver.expect("/new");
    let order = server.shards.refer(sid);
    assert_eq!((order.to.as_str(), order.replaces), ("sip:x@h", Some(child)));
    let failed = Referred { refer_code: Some(405), notify_code: None, status: ReferStatus::Failed };
    server.shards.referred(&order, sid, 0, failed);
    receiver.expect("/after");
    assert!(server.shards.rest().is_empty());
}

/// [rcml 35] [rcml 36] [rcml 37] A transfer that waits gives way to a document, and to the call's end.
#[test]
fn a_waiting_transfer_gives_way() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let sid = answered(&server, &receiver, "");
    receiver.rcml("/refer", "<Refer action='/after'><Sip>sip:x@h</Sip></Refer>");
    receiver.rcml("/new", "<Refer action='/after2'><Sip>sip:y@h</Sip></Refer>");
    let form = |path: &str| format!("Url={}", receiver.escaped(path));
    assert_eq!(server.post(&resource(sid), &form("/refer")).status, 200);
    receiver.expect("/refer");
    let first = server.shards.refer(sid);
    let waiting = Referred { refer_code: Some(202), notify_code: Some(180), status: ReferStatus::InProgress };
    server.shards.referred(&first, sid, 0, waiting);
    assert_eq!(server.post(&resource(sid), &form("/new")).status, 200);
    assert_eq!(server.shards.order(), Order::CancelRefer(first.sid, sid));
    receiver.expect("/new");
    let second = server.shards.refer(sid);
    server.shards.referred(&second, sid, 0, waiting);
    assert_eq!(server.post(&resource(sid), "Status=completed").status, 200);
    server.shards.hang_up(sid);
    let canceled = Referred { status: ReferStatus::Canceled, ..waiting };
    server.shards.referred(&second, sid, 1, canceled);
    let told = receiver.expect("/after2");
    let value = |name| told.value(name).unwrap_or_default();
    assert_eq!(value("CallStatus"), "completed");
    assert_eq!(value("ReferCallStatus"), "canceled");
    assert_eq!((value("ReferSipResponseCode"), value("NotifySipResponseCode")), ("202".into(), "180".into()));
    assert_eq!(receiver.unseen(), 0);
}

/// A shard that says nothing costs the client ten seconds, and is ended should it have placed the call.
#[test]
fn a_silent_shard_is_503() {
    let server = Server::start();
    server.shards.fall_silent();
    let form = "From=1&To=2&Url=http%3A%2F%2F192.0.2.1%2F";
    assert_eq!(server.post("Calls.json", form).status, 503);
    let sid = server.shards.place().sid;
    assert!(matches!(server.shards.action(sid), Action::Hangup { .. }));
}

/// A call that ends while it is being modified is over.
#[test]
fn a_call_that_ends_meanwhile_is_over() {
    let (server, receiver) = (Server::start(), Receiver::start());
    let sid = answered(&server, &receiver, "");
    server.shards.refuse(Some(Refused::Ended));
    assert_eq!(server.post(&resource(sid), "Status=completed").status, 410);
}

/// A leg that lives names the call that it was dialled for, unless that is another account's: neither to who
/// reads it nor to who modifies it, in either of the APIs that know it before the store does.
#[test]
fn a_live_leg_does_not_name_another_account() {
    let server = Server::start();
    for (first, account) in [(1, ACCOUNT), (3, OTHER)] {
        let (parent, leg) = (call(first), call(first + 1));
        server.shards.tell(started(CallStarted { account: account.into(), sid: parent, ..start(0, 0) }));
        server.shards.dialled(leg, parent);
        heard(&server);
        let read = v1(&server, "GET", &format!("Calls/{}", uuid(leg)), &Value::Null).json();
        assert_eq!(read["call_sid"], uuid(leg));
        let modified = server.post(&resource(leg), "Status=completed").json();
        assert_eq!(modified["sid"], public(leg));
        assert_eq!(server.shards.action(leg), Action::Cancel);
        let named = (account == ACCOUNT).then_some(parent);
        assert_eq!(
            (read["parent_call_sid"].as_str(), modified["parent_call_sid"].as_str()),
            (named.map(uuid).as_deref(), named.map(public).as_deref())
        );
    }
}
