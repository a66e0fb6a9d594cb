//! Calls steered by documents.

use crate::create::place;
use crate::harness::*;
use crate::receiver::{Receiver, Reply};
use crate::shard::{Referred, public};
use baton::control::{Application, ApplicationKind};
use baton::sip::command::{Action, Decision, Order, Party};
use baton::sip::event::{CallSid, CallStatus, DialEnded, Event, ReferAsked, ReferSid, ReferStatus};
use std::time::Duration;

/// An application whose documents are the receiver's.
pub fn application(receiver: &Receiver) -> Application {
    Application::new("ivr", ApplicationKind::Rcml, receiver.url("/a/b"))
}

pub fn with_application(adjust: impl FnOnce(&mut Application, &Receiver)) -> (Server, Receiver) {
    with_application_for(PATIENCE, adjust)
}

/// The same; who is silent for so long does not answer.
pub fn with_application_for(
    silence: Duration,
    adjust: impl FnOnce(&mut Application, &Receiver),
) -> (Server, Receiver) {
    let receiver = Receiver::start();
    let mut application = application(&receiver);
    adjust(&mut application, &receiver);
    (Server::adjusted(vec![application], impatient(silence)), receiver)
}

pub fn call(n: u128) -> CallSid {
    CallSid(n << 16 | 1)
}

/// An answered call that runs these verbs.
pub fn running(verbs: &str) -> (Server, Receiver, CallSid) {
    running_with(verbs, "")
}

/// The same; the action's document has these verbs.
pub fn running_with(verbs: &str, after: &str) -> (Server, Receiver, CallSid) {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.rcml("/doc", verbs);
    receiver.rcml("/after", after);
    let (_, sid) = place(&server, &receiver, "");
    server.shards.change(sid, CallStatus::InProgress);
    receiver.expect("/doc");
    (server, receiver, sid)
}

fn result(refer_code: Option<u16>, notify_code: Option<u16>, status: ReferStatus) -> Referred {
    Referred { refer_code, notify_code, status }
}

/// [rcml 3] [rcml 4] [rcml 2] [restcomm-calls 29] [rcml 11]
#[test]
fn an_inbound_call_is_asked_for_and_rejected() {
    for (verbs, status) in [("<Reject/>", 603), ("<Reject reason='busy'/>", 486)] {
        let (server, receiver) = with_application(|_, _| {});
        receiver.rcml("/a/b", verbs);
        server
            .shards
            .offer(call(1), &[("X-Foo", "1"), ("Diversion", "<sip:2@h>"), ("Diversion", "<sip:1@h>")]);
        let request = receiver.expect("/a/b");
        assert_eq!(request.value("CallStatus").as_deref(), Some("ringing"));
        assert_eq!(request.value("Direction").as_deref(), Some("inbound"));
        assert_eq!(request.value("CallerName").as_deref(), Some("null"));
        assert_eq!(request.value("From").as_deref(), Some("bob"));
        let names = request.names();
        let expected = "CallSid InstanceId AccountSid From To CallStatus ApiVersion Direction CallerName \
                        ForwardedFrom CallTimestamp SipHeader_X-Foo SipHeader_Diversion SipHeader_Diversion";
        assert_eq!(names.join(" "), expected);
        assert_eq!(request.value("SipHeader_Diversion").as_deref(), Some("<sip:2@h>"));
        assert_eq!(server.shards.hang_up(call(1)), Some(status));
    }
}

/// [rcml 5] [rcml 6] [rcml 1.10] A first document that cannot be had has a fallback, asked once.
#[test]
fn a_first_document_has_a_fallback() {
    let broken =
        |status: u16| Reply::Other(status, vec![("Content-Type", "text/xml".into())], "<Response>".into());
    for (reply, code) in [(broken(500), "500"), (broken(200), "12100"), (Reply::Never, "11200")] {
        let silence = if matches!(reply, Reply::Never) { SILENCE } else { PATIENCE };
        let (server, receiver) =
            with_application_for(silence, |a, r| a.fallback_url = Some(r.url("/fallback")));
        receiver.reply("/a/b", reply);
        receiver.rcml("/fallback", "<Reject/>");
        server.shards.offer(call(1), &[]);
        receiver.expect("/a/b");
        let request = receiver.expect("/fallback");
        assert_eq!(request.value("ErrorCode").as_deref(), Some(code));
        assert_eq!(request.value("ErrorUrl"), Some(receiver.url("/a/b")));
        assert_eq!(server.shards.hang_up(call(1)), Some(603));
    }
    for (status, sip) in [(404, 404), (500, 500)] {
        let (server, receiver) = with_application(|_, _| {});
        receiver.reply("/a/b", broken(status));
        server.shards.offer(call(1), &[]);
        assert_eq!(server.shards.hang_up(call(1)), Some(sip));
    }
    let (server, receiver) = with_application(|a, r| a.fallback_url = Some(r.url("/fallback")));
    receiver.reply("/fallback", broken(404));
    receiver.reply("/a/b", broken(500));
    server.shards.offer(call(1), &[]);
    assert_eq!(server.shards.hang_up(call(1)), Some(404));
}

/// [rcml 13] [rcml 1.4] [rcml 1.5] [rcml 1.6] Where documents are, and who may read them.
#[test]
fn urls_are_relative_and_may_redirect() {
    let (server, receiver) =
        with_application(|a, r| a.url = r.url("/a/b").replace("//", "//us%20er:pa%3Ass@"));
    receiver.rcml("/a/b", "<Redirect>next</Redirect><Reject/>");
    let redirect = |status, to: String| Reply::Other(status, vec![("Location", to)], String::new());
    receiver.reply("/a/next", redirect(307, "/moved".into()));
    receiver.reply("/moved", redirect(303, receiver.url("/c/d")));
    receiver.rcml("/c/d", "<Redirect method='GET'>e?f=g</Redirect>");
    receiver.reply("/c/e", redirect(302, "/c/e".into()));
    server.shards.offer(call(1), &[]);
    assert_eq!(receiver.expect("/a/b").credentials().as_deref(), Some("us er:pa:ss"));
    let next = receiver.expect("/a/next");
    assert_eq!((next.method.as_str(), next.credentials().as_deref()), ("POST", Some("us er:pa:ss")));
    let moved = receiver.expect("/moved");
    assert_eq!((moved.method.as_str(), moved.body), ("POST", next.body));
    let got = receiver.expect("/c/d");
    assert_eq!((got.method.as_str(), got.body.as_str(), got.credentials()), ("GET", "", None));
    assert!(receiver.expect("/c/e").query.starts_with("f=g&CallSid="));
    // Round and round: five times, then it fails, and the call with it.
    for _ in 0..5 {
        receiver.expect("/c/e");
    }
    assert_eq!(server.shards.hang_up(call(1)), Some(500));
    assert_eq!(receiver.unseen(), 0);
}

/// [rcml 15] [rcml 4.1] [rcml 6.2.3] An inbound call is answered before its transfer.
#[test]
fn an_inbound_call_is_answered_first() {
    let (server, receiver) = with_application(|a, r| a.status_callback = Some(r.url("/cb")));
    receiver.rcml("/a/b", "<Refer><Sip>sip:x@y</Sip></Refer>");
    server.shards.offer(call(1), &[]);
    receiver.expect("/a/b");
    assert_eq!(server.shards.action(call(1)), Action::Answer { sdp: None, headers: Vec::new() });
    assert!(server.shards.rest().is_empty());
    server.shards.change(call(1), CallStatus::InProgress);
    let order = server.shards.refer(call(1));
    assert_eq!((order.to.as_str(), order.bye_after, order.replaces), ("sip:x@y", None, None));
    server.shards.referred(&order, call(1), 0, result(Some(202), Some(200), ReferStatus::Completed));
    assert_eq!(server.shards.hang_up(call(1)), None);
    let told = receiver.expect("/cb");
    assert_eq!(told.value("CallStatus").as_deref(), Some("completed"));
}

/// [rcml 20] [rcml 21] [rcml 22] [rcml 23] [rcml 24] [rcml 29] [rcml 30] [rcml 31] [rcml 38] [rcml 39]
/// The action is told the same three values that the record has, and nothing behind it runs.
#[test]
fn the_result_of_a_transfer() {
    use ReferStatus::{Busy, Completed, Failed, NoAnswer};
    let cases = [
        (Some(202), Some(200), Completed, Some("in-progress")),
        (Some(200), Some(200), Completed, Some("in-progress")),
        (Some(202), Some(486), Busy, Some("busy")),
        (Some(202), Some(404), Failed, Some("failed")),
        (Some(202), Some(480), NoAnswer, Some("no-answer")),
        (Some(405), None, Failed, None),
        (Some(408), None, Failed, None),
        (Some(202), None, Failed, None),
    ];
    for (refer_code, notify_code, status, word) in cases {
        let (server, receiver, sid) =
            running("<Refer action='flows/after?job=7' method='GET'><Sip>sip:x@y?A=1</Sip></Refer><Hold/>");
        let order = server.shards.refer(sid);
        assert_eq!(order.to, "sip:x@y?A=1");
        server.shards.referred(&order, sid, 0, result(refer_code, None, ReferStatus::InProgress));
        server.shards.referred(&order, sid, 1, result(refer_code, notify_code, status));
        let told = receiver.expect("/flows/after");
        assert!(told.query.starts_with("job=7&CallSid="));
        let code = |code: Option<u16>| code.map(|code| code.to_string());
        assert_eq!(told.value("ReferCallStatus").as_deref(), word);
        assert_eq!(told.value("ReferSipResponseCode"), code(refer_code));
        assert_eq!(told.value("NotifySipResponseCode"), code(notify_code));
        assert_eq!(told.value("CallStatus").as_deref(), Some("in-progress"));
        assert_eq!(server.shards.hang_up(sid), None);
        let refers = server.json(&format!("Refers?CallSid={}", public(sid)));
        let refer = &refers["refers"][0];
        assert_eq!(refers["total"], 1);
        assert_eq!(refer["refer_sip_response_code"].as_str().map(str::to_owned), code(refer_code));
        assert_eq!(refer["notify_sip_response_code"].as_str().map(str::to_owned), code(notify_code));
        assert_eq!(refer["call_status"].as_str(), word);
        assert_eq!(receiver.unseen(), 0);
    }
}

/// [rcml 18] [rcml 6.5.1] [restcomm-refers 15] A reserved header: no REFER, 400, and the call goes on.
#[test]
fn reserved_headers_are_not_sent() {
    let (server, receiver, sid) =
        running_with("<Refer action='/after'><Sip>sip:x@y?Call-ID=1</Sip></Refer>", "<Refer/><Hold/>");
    let told = receiver.expect("/after");
    assert_eq!(told.value("ReferSipResponseCode").as_deref(), Some("400"));
    assert_eq!((told.value("ReferCallStatus"), told.value("NotifySipResponseCode")), (None, None));
    assert_eq!(server.shards.action(sid), Action::Hold);
    assert_eq!(server.shards.hang_up(sid), None);
    let refers = server.json(&format!("Refers?CallSid={}", public(sid)));
    assert_eq!(refers["total"], 2);
    let to: Vec<_> = (0..2).map(|n| refers["refers"][n]["to"].clone()).collect();
    assert!(to.contains(&"sip:x@y".into()), "{to:?}");
    assert_eq!(refers["refers"][0]["refer_sip_response_code"], "400");
    assert!(refers["refers"][0].get("call_status").is_none());
}

/// [rcml 25] [rcml 26] [rcml 34] [rcml 6.8] The call ends first: the result is told once, and not acted on.
#[test]
fn the_call_ends_during_a_transfer() {
    for (notify, status, word) in
        [(Some(180), ReferStatus::Canceled, "canceled"), (Some(200), ReferStatus::Completed, "in-progress")]
    {
        let (server, receiver, sid) =
            running_with("<Refer action='/after'><Sip>sip:x@y</Sip></Refer><Hold/>", "<Hold/>");
        let order = server.shards.refer(sid);
        server.shards.referred(&order, sid, 0, result(Some(202), Some(180), ReferStatus::InProgress));
        server.shards.end(sid, CallStatus::Completed);
        server.shards.referred(&order, sid, 1, result(Some(202), notify, status));
        let told = receiver.expect("/after");
        assert_eq!(told.value("CallStatus").as_deref(), Some("completed"));
        assert_eq!(told.value("ReferCallStatus").as_deref(), Some(word));
        assert_eq!(told.value("ReferSipResponseCode").as_deref(), Some("202"));
        assert_eq!((server.shards.rest().len(), receiver.unseen()), (0, 0));
    }
}

/// [rcml 32] [rcml 33] [rcml 40] [rcml 6.7.2] Without an action the next verb runs, whatever the result.
#[test]
fn without_an_action_the_next_verb_runs() {
    let (server, _receiver, sid) = running(
        "<Refer><Sip username='u' password='p'>sip:x@y</Sip></Refer><Refer><Sip>sip:z@y?</Sip></Refer>",
    );
    let first = server.shards.refer(sid);
    assert!(first.credentials.is_some());
    server.shards.referred(&first, sid, 0, result(Some(603), None, ReferStatus::Failed));
    let second = server.shards.refer(sid);
    // [rcml 17] Alone, a bare `?` means nothing.
    assert_eq!((second.to.as_str(), second.replaces), ("sip:z@y", None));
    server.shards.referred(&second, sid, 0, result(Some(202), Some(200), ReferStatus::Completed));
    assert_eq!(server.shards.hang_up(sid), None);
}

/// [rcml 9] [rcml 42] [rcml 8.2] What is unknown or needs media is passed over.
#[test]
fn media_is_skipped_visibly() {
    let (server, _receiver, sid) =
        running("<Say>hi</Say><Foo/><Play>x</Play><Gather><Say>1</Say></Gather><Record/><Hold/><Resume/>");
    assert_eq!(server.shards.action(sid), Action::Hold);
    assert_eq!(server.shards.action(sid), Action::Resume);
    assert_eq!(server.shards.hang_up(sid), None);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("baton_media_verbs_skipped_total 4"), "{metrics}");
}

/// [rcml 8.3] [rcml 1.10] An installation may prefer that such a document fails: then its fallback is asked.
#[test]
fn media_may_fail_a_document() {
    let receiver = Receiver::start();
    let ivr = Application { fallback_url: Some(receiver.url("/fallback")), ..application(&receiver) };
    let server = Server::adjusted(vec![ivr], |steering| steering.media_fails = true);
    receiver.rcml("/a/b", "<Pause length='0'/><Play>x.wav</Play><Hold/>");
    receiver.rcml("/fallback", "<Hangup/>");
    server.shards.offer(call(1), &[]);
    receiver.expect("/a/b");
    assert!(matches!(server.shards.action(call(1)), Action::Answer { .. }));
    server.shards.change(call(1), CallStatus::InProgress);
    assert_eq!(receiver.expect("/fallback").value("ErrorCode").as_deref(), Some("12200"));
    assert_eq!(server.shards.hang_up(call(1)), None);
}

/// [rcml 5] [restcomm-calls 6.1] The fallback of a call that the API places is asked by its own method.
#[test]
fn a_fallback_has_a_method() {
    let (server, receiver) = (Server::start(), Receiver::start());
    receiver.reply("/doc", Reply::Other(500, Vec::new(), String::new()));
    receiver.rcml("/fallback", "");
    let more = format!("&FallbackUrl={}&FallbackMethod=get", receiver.escaped("/fallback?x=y"));
    let (_, sid) = place(&server, &receiver, &more);
    server.shards.change(sid, CallStatus::InProgress);
    assert_eq!(receiver.expect("/doc").method, "POST");
    let asked = receiver.expect("/fallback");
    assert!(asked.method == "GET" && asked.query.starts_with("x=y&CallSid="), "{asked:?}");
    assert_eq!(server.shards.hang_up(sid), None);
    assert_eq!(receiver.unseen(), 0);
}

/// [rcml 43] [rcml 44] [rcml 45] [rcml 5.4] All at once; the caller is not answered before; the result is told.
#[test]
fn a_dial_and_its_result() {
    let (server, receiver) = with_application(|_, _| {});
    receiver.rcml(
        "/a/b",
        "<Dial action='/after' callerId='7'><Number>100</Number><Client>al</Client><Sip>sip:x@y?A=1&B=2</Sip></Dial>",
    );
    receiver.rcml("/after", "<Hangup/>");
    server.shards.offer(call(1), &[]);
    receiver.expect("/a/b");
    let Action::Dial(dial) = server.shards.action(call(1)) else { panic!("no Dial") };
    assert_eq!((dial.timeout, dial.join), (Duration::from_secs(30), true));
    assert_eq!(dial.from.as_deref(), Some("7"));
    let to: Vec<_> = dial.parties.iter().map(|party| party.to.clone()).collect();
    let expected = [Party::Number("100".into()), Party::Client("al".into()), Party::Uri("sip:x@y".into())];
    assert_eq!(to, expected);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(dial.parties[2].headers, [header("X-A", "1"), header("X-B", "2")]);
    assert!(dial.parties.iter().all(|party| party.sid.shard() == call(1).shard()));
    let winner = dial.parties[2].sid;
    for party in &dial.parties {
        server.shards.dialled(party.sid, call(1));
    }
    server.shards.change(winner, CallStatus::Ringing);
    server.shards.change(winner, CallStatus::InProgress);
    server.shards.change(call(1), CallStatus::InProgress);
    server.shards.tell(Event::Joined(call(1), winner));
    // [restcomm-calls 41] They are calls of their own.
    let children = server.sids(&format!("Calls.json?ParentCallSid={}", public(call(1))));
    assert_eq!(children.len(), 3);
    server.shards.end(winner, CallStatus::Completed);
    server.shards.tell(Event::DialEnded(Box::new(DialEnded {
        sid: call(1),
        first: dial.parties[0].sid,
        winner: Some(winner),
        status: CallStatus::Completed,
        code: 200,
    })));
    let told = receiver.expect("/after");
    assert_eq!(told.value("DialCallStatus").as_deref(), Some("completed"));
    assert_eq!(told.value("DialCallSid"), Some(public(winner)));
    assert_eq!(told.value("OutboundCallSid"), Some(public(winner)));
    assert_eq!(told.value("DialSipResponseCode").as_deref(), Some("200"));
    assert_eq!(server.shards.hang_up(call(1)), None);
}

/// [rcml 5.6] [rcml 4.2] The caller hangs up first: the action is told, its answer not run.
#[test]
fn the_caller_hangs_up_during_a_dial() {
    let (server, receiver, sid) = running_with("<Dial action='/after'>100</Dial><Hold/>", "<Hold/>");
    let Action::Dial(dial) = server.shards.action(sid) else { panic!("no Dial") };
    let child = dial.parties[0].sid;
    server.shards.dialled(child, sid);
    server.shards.end(sid, CallStatus::Completed);
    server.shards.end(child, CallStatus::Canceled);
    server.shards.tell(Event::DialEnded(Box::new(DialEnded {
        sid,
        first: child,
        winner: None,
        status: CallStatus::Canceled,
        code: 487,
    })));
    let told = receiver.expect("/after");
    assert_eq!(told.value("DialCallStatus").as_deref(), Some("canceled"));
    assert_eq!(told.value("CallStatus").as_deref(), Some("completed"));
    assert_eq!((server.shards.rest().len(), receiver.unseen()), (0, 0));
}

/// Two who talk to each other: an inbound call of an application with a refer document, and whom it dialled.
fn talking() -> (Server, Receiver, CallSid, CallSid) {
    let (server, receiver) = with_application(|a, r| a.refer_url = Some(r.url("/refer")));
    receiver.rcml("/a/b", "<Dial action='/never'>100</Dial>");
    server.shards.offer(call(1), &[]);
    receiver.expect("/a/b");
    let Action::Dial(dial) = server.shards.action(call(1)) else { panic!("no Dial") };
    let child = dial.parties[0].sid;
    server.shards.dialled(child, call(1));
    server.shards.change(child, CallStatus::InProgress);
    server.shards.change(call(1), CallStatus::InProgress);
    server.shards.tell(Event::Joined(call(1), child));
    (server, receiver, call(1), child)
}

fn asked(call: CallSid, other: Option<CallSid>, replaces: bool) -> Event {
    Event::ReferAsked(Box::new(ReferAsked {
        sid: ReferSid(9),
        call,
        other,
        to: "sip:carol@c.example?X=1".into(),
        by: "sip:bob@a.example".into(),
        replaces,
        headers: Vec::new(),
    }))
}

/// [rcml 41] [rcml 7.1] [rcml 7.2] Either party may ask for a transfer; the other one's leg runs the refer
/// document, and what comes of its Dial is reported before the one that asked is let go.
#[test]
fn a_peer_asks_for_a_transfer() {
    for caller_asks in [true, false] {
        let (server, receiver, parent, child) = talking();
        let (transferor, transferee) = if caller_asks { (parent, child) } else { (child, parent) };
        receiver.rcml("/refer", "<Dial timeout='9'>200</Dial><Hold/>");
        server.shards.tell(asked(transferor, Some(transferee), false));
        let decided = |decision| Order::DecideRefer(ReferSid(9), transferor, decision);
        assert_eq!(server.shards.order(), decided(Decision::Take));
        assert_eq!(server.shards.action(transferor), Action::Part);
        let (winner, status) = (Some(child), CallStatus::Completed);
        let parted = DialEnded { sid: parent, first: child, winner, status, code: 200 };
        server.shards.tell(Event::DialEnded(Box::new(parted)));
        let request = receiver.expect("/refer");
        assert_eq!(request.value("CallSid"), Some(public(transferee)));
        let value = |name| request.value(name).unwrap_or_default();
        assert_eq!(value("ReferTarget"), "carol");
        let (by, whom) = if caller_asks { ("bob", "+1111") } else { ("+1111", "bob") };
        assert_eq!((value("Transferor").as_str(), value("Transferee").as_str()), (by, whom));
        let Action::Dial(dial) = server.shards.action(transferee) else { panic!("no Dial") };
        let target = dial.parties[0].sid;
        server.shards.dialled(target, transferee);
        server.shards.change(target, CallStatus::InProgress);
        server.shards.tell(Event::Joined(transferee, target));
        assert_eq!(server.shards.order(), decided(Decision::Report(200)));
        assert_eq!(server.shards.hang_up(transferor), None);
        assert_eq!((server.shards.rest().len(), receiver.unseen()), (0, 0));
    }
}

/// [rcml 7.2] [rcml 7.4] What else may come of it.
#[test]
fn transfers_that_come_to_nothing() {
    let busy = "<Dial>200</Dial><Hold/>";
    for (verbs, code) in [(busy, 486), ("<Hold/>", 603)] {
        let (server, receiver, parent, child) = talking();
        receiver.rcml("/refer", verbs);
        server.shards.tell(asked(child, Some(parent), false));
        server.shards.order();
        server.shards.order();
        receiver.expect("/refer");
        if code == 486 {
            // The Dial that was left behind ends first; it means nothing.
            let end = |first, winner, status, code| {
                let ended = DialEnded { sid: parent, first, winner, status, code };
                server.shards.tell(Event::DialEnded(Box::new(ended)));
            };
            end(child, Some(child), CallStatus::Completed, 200);
            let Action::Dial(dial) = server.shards.action(parent) else { panic!("no Dial") };
            end(dial.parties[0].sid, None, CallStatus::Busy, 486);
        } else {
            assert_eq!(server.shards.action(parent), Action::Hold);
        }
        let decided = Order::DecideRefer(ReferSid(9), child, Decision::Report(code));
        assert_eq!(server.shards.order(), decided);
        assert_eq!(server.shards.hang_up(child), None);
    }
    let (server, _receiver, parent, child) = talking();
    server.shards.tell(asked(parent, Some(child), true));
    assert_eq!(server.shards.order(), Order::DecideRefer(ReferSid(9), parent, Decision::Accept));
    server.shards.tell(asked(parent, None, false));
    assert_eq!(server.shards.order(), Order::DecideRefer(ReferSid(9), parent, Decision::Reject(404)));
}
