//! Calls that end before they begin, or at a bad moment: CANCEL and BYE and what they cross.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};
use std::time::Duration;

/// [C-084] [C-085] CANCEL waits for a provisional; 487 ends it.
#[test]
fn cancel() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    bench.with(|legs, cx| legs.cancel(cx, leg, Some("SIP;cause=200")));
    assert!(bench.sent.is_empty());
    bench.reply(&invite, 100, "", "", "");
    let cancel = bench.next();
    assert_eq!(cancel.method(), Method::Cancel);
    assert_eq!(cancel.header(HeaderId::Reason), "SIP;cause=200");
    bench.reply(&cancel, 200, "x", "", "");
    bench.reply(&invite, 487, "x", "", "");
    assert_eq!(bench.next().method(), Method::Ack);
    assert_eq!(bench.events(), ["rejected 487", "gone"]);
    bench.end();
}

/// CANCEL crosses the 2xx: the call hears of the answer, and ends it by ACK and BYE.
#[test]
fn cancel_crosses_answer() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    bench.reply(&invite, 180, "bob", CONTACT, "");
    bench.with(|legs, cx| legs.cancel(cx, leg, None));
    bench.next();
    bench.reply(&invite, 200, "bob", CONTACT, OTHER_SDP);
    assert_eq!(bench.events(), ["180 of 0", "answered by 0"]);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    assert_eq!(bench.next().method(), Method::Ack);
    let bye = bench.next();
    assert_eq!(bye.method(), Method::Bye);
    bench.reply(&bye, 200, "", "", "");
    bench.end();
    assert_eq!(bench.events(), ["gone"]);
}

/// [C-083] The caller's CANCEL: 200 to it, 487 to its INVITE.
#[test]
fn cancelled_by_caller() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    bench.with(|legs, cx| legs.ring(cx, leg, Fork(0), 180, &Vec::new(), None));
    bench.next();
    let cancel = request_text_with("CANCEL", 1, "", "Reason: SIP;cause=200\n", "", "invite");
    bench.receive(PEER, &cancel);
    assert_eq!(bench.starts(), ["200 OK", "487 Request Terminated"]);
    assert_eq!(bench.events(), ["canceled", "gone"]);
    bench.receive(PEER, &request_text_with("ACK", 1, "x", "", "", "invite"));
    bench.end();
}

/// [C-083] A CANCEL that comes after the 2xx changes nothing.
#[test]
fn cancelled_too_late() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let tag = Sent::tag_of(&bench.next().header(HeaderId::To));
    bench.receive(PEER, &request_text_with("CANCEL", 1, "", "", "", "invite"));
    assert_eq!(bench.starts(), ["200 OK"]);
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    assert_eq!(bench.events(), ["acknowledged"]);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-140] Our BYE waits for the ACK; theirs is taken the moment our ACK is out.
#[test]
fn bye_waits_for_ack() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let tag = Sent::tag_of(&bench.next().header(HeaderId::To));
    bench.with(|legs, cx| legs.bye(cx, leg, &vec![("Reason".into(), Box::from(&b"Q.850;cause=16"[..]))]));
    assert!(bench.sent.is_empty());
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    let bye = bench.next();
    assert_eq!((bye.method(), bye.header(HeaderId::Reason).as_str()), (Method::Bye, "Q.850;cause=16"));
    bench.reply(&bye, 200, "", "", "");
    assert_eq!(bench.events(), ["acknowledged"]);
    bench.end();

    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    bench.reply(&invite, 200, "bob", CONTACT, OTHER_SDP);
    let ours = Sent::tag_of(&invite.header(HeaderId::From));
    let bye = request_text("BYE", 1, &ours, "", "")
        .replace("call-of-carol", &invite.header(HeaderId::CallId))
        .replace("tag=carol", "tag=bob");
    bench.receive(PEER, &bye);
    let mut starts = bench.starts();
    starts.sort();
    assert_eq!(starts, ["200 OK", "ACK sip:bob@10.0.0.1:5070"]);
    assert_eq!(bench.events(), ["answered by 0", "ended by Peer"]);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    assert!(bench.sent.is_empty());
    bench.end();
}

/// [C-141] A 2xx that nobody acknowledges: BYE after 64*T1.
#[test]
fn no_ack() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    bench.pass(Duration::from_secs(31));
    assert!(bench.starts().iter().all(|start| start == "200 OK"));
    bench.pass(Duration::from_secs(1));
    let bye = bench.sent.iter().find(|sent| sent.method() == Method::Bye).cloned().expect("a BYE");
    assert_eq!(bench.events(), ["ended by Baton"]);
    bench.reply(&bye, 481, "", "", "");
    bench.end();
    assert_eq!(bench.events(), ["gone"]);
}

/// Both sides hang up at once: 200 to theirs; whatever is said to ours ends it as well.
#[test]
fn both_hang_up() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    bench.receive(PEER, &request_text("BYE", 2, &tag, "", ""));
    assert_eq!(bench.starts(), ["200 OK"]);
    bench.reply(&bye, 481, "", "", "");
    assert!(bench.events().is_empty());
    bench.end();
    assert_eq!(bench.events(), ["gone"]);
}

/// After the end a NOTIFY is still offered to the call, anything else gets 481; after
/// 64*T1 nobody is there.
#[test]
fn lingering() {
    let mut bench = Bench::new();
    let (_, tag) = bench.incoming_up();
    bench.receive(PEER, &request_text("BYE", 2, &tag, "", ""));
    bench.starts();
    bench.receive(PEER, &request_text("NOTIFY", 3, &tag, "Event: refer\n", ""));
    assert_eq!(bench.events(), ["ended by Peer", "asked NOTIFY"]);
    bench.receive(PEER, &request_text("INFO", 4, &tag, "", ""));
    assert_eq!(bench.starts(), ["481 Call/Transaction Does Not Exist"]);
    bench.pass(Duration::from_secs(33));
    assert_eq!(bench.events(), ["gone"]);
    bench.end();
}

/// [C-139] BYE ends what is open: our requests and theirs get 487.
#[test]
fn open_requests_end() {
    let mut bench = Bench::new();
    let (leg, tag) = bench.incoming_up();
    bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None)).expect("sent");
    bench.next();
    bench.receive(PEER, &request_text("MESSAGE", 2, &tag, "", ""));
    bench.events();
    bench.receive(PEER, &request_text("BYE", 3, &tag, "", ""));
    assert_eq!(bench.starts(), ["200 OK", "487 Request Terminated"]);
    assert_eq!(bench.events(), ["responded 487", "ended by Peer"]);
    let refused = bench.with(|legs, cx| legs.request(cx, leg, "INFO", Vec::new(), None, None));
    assert_eq!(refused, Err(NotNow::Ended));
    bench.end();
}

/// Refusals carry what the call says, and the leg is gone.
#[test]
fn reject() {
    let mut bench = Bench::new();
    let leg = bench.receive(PEER, &invite_text("")).expect("a leg");
    let headers = vec![("Warning".into(), Box::from(&b"304 baton \"no\""[..]))];
    bench.with(|legs, cx| legs.reject(cx, leg, 488, "", &headers));
    let refusal = bench.next();
    assert_eq!(refusal.start(), "488 Not Acceptable Here");
    assert!(refusal.text().contains("Warning: 304"));
    assert_eq!(bench.events(), ["gone"]);
    assert!(bench.legs.facts(leg).is_none());
    bench.end();
}

/// [C-146] What an INVITE requires and Baton does not know: 420 with Unsupported. [C-182] too short: 422.
#[test]
fn not_taken() {
    let mut bench = Bench::new();
    assert!(bench.receive(PEER, &invite_text("Require: timer, foo\nRequire: bar\n")).is_none());
    let refusal = bench.next();
    assert_eq!(refusal.start(), "420 Bad Extension");
    assert_eq!(refusal.header(HeaderId::Unsupported), "foo, bar");
    let short = invite_text("Supported: timer\nSession-Expires: 30\n").replace("invite", "other");
    assert!(bench.receive(PEER, &short).is_none());
    let refusal = bench.next();
    assert_eq!(refusal.start(), "422 Session Interval Too Small");
    assert_eq!(refusal.header(HeaderId::MinSe), "90");
    assert!(bench.legs.is_empty());
    bench.end();
}
