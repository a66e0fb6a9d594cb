//! Session timers on a leg.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::SessionTimer;
use std::time::Duration;

const EXPIRES: &str = "Session-Expires: 600;refresher=uac\nRequire: timer\n";

fn up(bench: &mut Bench, headers: &str) -> LegId {
    let session = SessionTimer { interval: 1_800, min: 90 };
    let leg = bench.invite(Outgoing { session, ..Bench::outgoing() });
    let invite = bench.next();
    assert_eq!(invite.header(HeaderId::SessionExpires), "1800");
    bench.reply(&invite, 200, "bob", &format!("{CONTACT}{headers}"), OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    bench.next();
    bench.events();
    leg
}

/// [C-181] [C-184] Baton refreshes at half the interval, by UPDATE where the peer allows it.
#[test]
fn refreshes_by_update() {
    let mut bench = Bench::new();
    let leg = up(&mut bench, &format!("{EXPIRES}Allow: INVITE, UPDATE, BYE\n"));
    for _ in 0..2 {
        bench.pass(Duration::from_secs(299));
        assert!(bench.sent.is_empty());
        bench.pass(Duration::from_secs(1));
        let update = bench.next();
        assert_eq!(update.method(), Method::Update);
        assert_eq!(update.header(HeaderId::SessionExpires), "600;refresher=uac");
        assert!(update.message.body().is_empty());
        bench.reply(&update, 200, "", EXPIRES, "");
        bench.sent.clear();
    }
    assert!(bench.events().is_empty(), "the call is not bothered");
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-184] [C-172] Else by INVITE with what was sent last, unchanged; the ACK is the leg's own.
#[test]
fn refreshes_by_invite() {
    let mut bench = Bench::new();
    let leg = up(&mut bench, EXPIRES);
    bench.pass(Duration::from_secs(300));
    let invite = bench.next();
    assert_eq!(invite.method(), Method::Invite);
    assert!(invite.text().ends_with(SDP));
    bench.reply(&invite, 200, "", &format!("{CONTACT}{EXPIRES}"), OTHER_SDP);
    assert_eq!(bench.next().method(), Method::Ack);
    assert!(bench.events().is_empty());
    assert!(!bench.legs.facts(leg).expect("facts").offer_open);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-181] Nobody answers the refresh: the call is ended. So it is when the peer should refresh and does
/// not.
#[test]
fn not_refreshed() {
    for (headers, seconds) in [(EXPIRES, 333), ("Session-Expires: 600;refresher=uas\n", 568)] {
        let mut bench = Bench::new();
        up(&mut bench, headers);
        bench.pass(Duration::from_secs(seconds - 2));
        assert!(bench.events().is_empty());
        bench.pass(Duration::from_secs(3));
        assert_eq!(bench.events(), ["ended by Baton"]);
        assert!(bench.sent.iter().any(|sent| sent.method() == Method::Bye));
        bench.end();
    }
}

/// [C-181] The peer's refresh is answered by the leg itself; a change is the call's.
#[test]
fn refreshed_by_peer() {
    let mut bench = Bench::new();
    let headers = "Supported: timer\nSession-Expires: 600;refresher=uac\n";
    let leg = bench.receive(PEER, &invite_text(headers)).expect("a leg");
    let body = Body::sdp(OTHER_SDP.as_bytes());
    bench.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
    let ok = bench.next();
    assert_eq!(ok.header(HeaderId::SessionExpires), "600;refresher=uac");
    assert_eq!(ok.header(HeaderId::Require), "timer");
    let tag = Sent::tag_of(&ok.header(HeaderId::To));
    bench.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
    bench.events();
    bench.pass(Duration::from_secs(500));
    bench.receive(PEER, &request_text("UPDATE", 2, &tag, headers, ""));
    assert_eq!(bench.next().header(HeaderId::SessionExpires), "600;refresher=uac");
    bench.pass(Duration::from_secs(500));
    bench.receive(PEER, &request_text("INVITE", 3, &tag, headers, SDP));
    assert!(bench.next().text().ends_with(OTHER_SDP));
    bench.receive(PEER, &request_text("ACK", 3, &tag, "", ""));
    assert!(bench.events().is_empty());
    bench.receive(PEER, &request_text("INVITE", 4, &tag, headers, OTHER_SDP));
    assert_eq!(bench.events(), ["asked INVITE"]);
    bench.receive(PEER, &request_text("BYE", 5, &tag, "", ""));
    bench.end();
}

/// A peer that does not know the timer: Baton refreshes by itself.
#[test]
fn ignorant_peer() {
    let mut bench = Bench::new();
    let (leg, _) = bench.incoming_up();
    bench.starts();
    bench.pass(Duration::from_secs(900));
    assert_eq!(bench.next().method(), Method::Invite);
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    bench.end();
}

/// [C-181] [C-184] A refresh that is refused is tried again before the session is over: one overloaded proxy does
/// not end a call (RFC 4028 §10).
#[test]
fn a_refused_refresh_is_repeated() {
    for status in [503, 500, 488] {
        let mut bench = Bench::new();
        let leg = up(&mut bench, &format!("{EXPIRES}Allow: INVITE, UPDATE, BYE\n"));
        bench.pass(Duration::from_secs(300));
        let update = bench.next();
        bench.reply(&update, status, "", "", "");
        bench.pass(Duration::from_secs(130));
        assert!(bench.sent.is_empty(), "not at once");
        bench.pass(Duration::from_secs(10));
        let update = bench.next();
        assert_eq!(update.method(), Method::Update);
        bench.reply(&update, 200, "", EXPIRES, "");
        bench.pass(Duration::from_secs(200));
        assert!(bench.events().is_empty(), "{status}");
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-184] [C-181] An UPDATE that does not pass is followed by a re-INVITE at once, and the next time, too. A
/// session that nobody refreshes ends all the same.
#[test]
fn refreshes_by_invite_after_update() {
    for status in [405, 501] {
        let mut bench = Bench::new();
        up(&mut bench, &format!("{EXPIRES}Allow: INVITE, UPDATE, BYE\n"));
        bench.pass(Duration::from_secs(300));
        let update = bench.next();
        bench.reply(&update, status, "", "", "");
        for _ in 0..2 {
            let invite = bench.next();
            assert_eq!(invite.method(), Method::Invite);
            bench.reply(&invite, 200, "", &format!("{CONTACT}{EXPIRES}"), OTHER_SDP);
            assert_eq!(bench.next().method(), Method::Ack);
            bench.pass(Duration::from_secs(300));
        }
        while let Some(invite) = bench.sent.pop_front().filter(|sent| sent.method() == Method::Invite) {
            bench.reply(&invite, 500, "", "", "");
            bench.next();
            bench.pass(Duration::from_secs(140));
        }
        assert_eq!(bench.events().first().map(String::as_str), Some("ended by Baton"));
        bench.end();
    }
}
