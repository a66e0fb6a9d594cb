//! What the nouns of a Dial may ask for besides: a document before the parties are joined, and word of
//! what becomes of the leg.

use crate::documents::{call, with_application};
use crate::harness::*;
use crate::receiver::{Receiver, Reply};
use crate::shard::public;
use baton::sip::command::{Action, Dial};
use baton::sip::event::{CallHeaders, CallSid, CallStatus, DialEnded, Event};

/// An inbound call whose document dials so; a Hold follows.
fn dialling(dial: &str) -> (Server, Receiver, Dial) {
    let (server, receiver) = with_application(|_, _| {});
    receiver.rcml("/a/b", &format!("{dial}<Hold/>"));
    receiver.rcml("/after", "<Hangup/>");
    server.shards.offer(call(1), &[]);
    receiver.expect("/a/b");
    let Action::Dial(dial) = server.shards.action(call(1)) else { panic!("no Dial") };
    (server, receiver, *dial)
}

/// The called leg begins and is answered.
fn answers(server: &Server, sid: CallSid) {
    server.shards.dialled(sid, call(1));
    server.shards.change(sid, CallStatus::Ringing);
    server.shards.change(sid, CallStatus::InProgress);
    let headers = vec![("X-Desk".to_owned(), "7".to_owned())];
    server.shards.tell(Event::Headers(Box::new(CallHeaders {
        sid,
        headers,
        call_id: "y".into(),
        code: 200,
    })));
}

/// Whom the Dial had reached has left.
fn ends(server: &Server, dial: &Dial, winner: CallSid) {
    let (sid, first, status) = (call(1), dial.parties[0].sid, CallStatus::Completed);
    server.shards.tell(Event::DialEnded(Box::new(DialEnded {
        sid,
        first,
        winner: Some(winner),
        status,
        code: 200,
    })));
}

const SCREENED: &str =
    "<Dial action='/after'><Number>100</Number><Sip url='/screen?a=b' method='GET'>sip:x@y</Sip></Dial>";

/// [rcml 5.3] [rcml 3.1] Who answers first runs its document, then the two are joined; a noun without one
/// is joined at once.
#[test]
fn a_leg_is_screened_before_it_is_joined() {
    let (server, receiver, dial) = dialling(SCREENED);
    receiver.rcml("/screen", "<Say>Press 1</Say><Pause length='0'/>");
    assert!(!dial.join);
    let winner = dial.parties[1].sid;
    answers(&server, winner);
    let asked = receiver.expect("/screen");
    assert!(asked.query.starts_with("a=b&CallSid="));
    assert_eq!(asked.value("CallSid"), Some(public(winner)));
    assert_eq!(asked.value("Direction").as_deref(), Some("outbound-dial"));
    assert_eq!(asked.value("CallStatus").as_deref(), Some("in-progress"));
    assert_eq!(asked.value("SipHeader_X-Desk").as_deref(), Some("7"));
    assert_eq!(server.shards.action(call(1)), Action::Join(winner));
    server.shards.change(call(1), CallStatus::InProgress);
    server.shards.tell(Event::Joined(call(1), winner));
    server.shards.end(winner, CallStatus::Completed);
    ends(&server, &dial, winner);
    let told = receiver.expect("/after");
    assert_eq!(told.value("DialCallStatus").as_deref(), Some("completed"));
    assert_eq!(told.value("DialCallSid"), Some(public(winner)));
    assert_eq!(told.value("DialSipHeader_X-Desk").as_deref(), Some("7"));
    assert_eq!(server.shards.hang_up(call(1)), None);
    assert_eq!((server.shards.rest().len(), receiver.unseen()), (0, 0));

    let (server, receiver, dial) = dialling(SCREENED);
    answers(&server, dial.parties[0].sid);
    assert_eq!(server.shards.action(call(1)), Action::Join(dial.parties[0].sid));
    assert_eq!(receiver.unseen(), 0);
}

/// [rcml 5.3] [rcml 1.11] A document that ends the leg, or that cannot be had: nobody is joined.
#[test]
fn a_screening_may_end_it() {
    let failing = Reply::Other(500, Vec::new(), String::new());
    for (reply, status) in [(None, None), (Some(failing), Some(500))] {
        let (server, receiver, dial) = dialling(SCREENED);
        receiver.rcml("/screen", "<Hangup/>");
        if let Some(reply) = reply {
            receiver.reply("/screen", reply);
        }
        let winner = dial.parties[1].sid;
        answers(&server, winner);
        receiver.expect("/screen");
        assert_eq!(server.shards.hang_up(winner), status);
        ends(&server, &dial, winner);
        receiver.expect("/after");
        assert!(server.shards.rest().iter().all(|order| !format!("{order:?}").contains("Join")));
    }
}

/// [rcml 5.6] The caller hangs up while the other is being asked: that one's leg is ended, too.
#[test]
fn the_caller_does_not_wait() {
    let (server, receiver, dial) = dialling(SCREENED);
    receiver.rcml("/screen", "<Pause length='600'/>");
    let winner = dial.parties[1].sid;
    answers(&server, winner);
    receiver.expect("/screen");
    server.shards.end(call(1), CallStatus::Canceled);
    ends(&server, &dial, winner);
    assert_eq!(server.shards.hang_up(winner), None);
    let told = receiver.expect("/after");
    assert_eq!(told.value("CallStatus").as_deref(), Some("canceled"));
    assert_eq!((server.shards.rest().len(), receiver.unseen()), (0, 0));
}

/// [rcml 5.3] The two cannot be joined: the Dial has failed, and the other's leg is ended.
#[test]
fn they_cannot_be_joined() {
    let (server, receiver, dial) = dialling(SCREENED);
    receiver.rcml("/screen", "");
    let winner = dial.parties[1].sid;
    answers(&server, winner);
    receiver.expect("/screen");
    assert_eq!(server.shards.action(call(1)), Action::Join(winner));
    server.shards.tell(Event::Parted(call(1), winner));
    assert_eq!(server.shards.hang_up(winner), None);
    assert_eq!(receiver.expect("/after").value("DialCallStatus").as_deref(), Some("failed"));
}

/// [rcml 5.2] [restcomm-calls 11.4] A Sip noun's own callback is told of its leg, in order.
#[test]
fn a_called_leg_is_told_of() {
    let (server, receiver, dial) = dialling(
        "<Dial><Sip statusCallback='cb?k=1' statusCallbackMethod='GET' \
         statusCallbackEvent='initiated, ringing, answered, completed'>sip:x@y</Sip></Dial>",
    );
    assert!(dial.join);
    let sid = dial.parties[0].sid;
    answers(&server, sid);
    server.shards.end(sid, CallStatus::Completed);
    for (n, status) in ["queued", "ringing", "in-progress", "completed"].into_iter().enumerate() {
        let told = receiver.expect("/a/cb");
        assert!(told.query.starts_with("k=1&CallSid="), "{}", told.query);
        let is = |name, value: &str| assert_eq!(told.value(name).as_deref(), Some(value), "{name}");
        is("CallSid", &public(sid));
        is("CallStatus", status);
        is("ParentCallSid", &public(call(1)));
        is("SequenceNumber", &n.to_string());
        is("Direction", "outbound-dial");
        is("From", "bob");
        is("To", "x");
    }
    ends(&server, &dial, sid);
    // What comes next is the next verb, which answers the caller first.
    assert!(matches!(server.shards.action(call(1)), Action::Answer { .. }));
}
