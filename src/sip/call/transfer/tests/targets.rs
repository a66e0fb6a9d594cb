//! The target's leg: called as a dialled party is, timed as its trunk wishes, and free to leave at any moment; and what
//! the survivor's session timer makes of it all.

use super::stage::{Stage, text};
use crate::sip::event::{ReferReason, ReferStatus};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::plan::{ReferMode, SessionTimer};
use std::time::Duration;

/// The INVITEs that called a phone, each once.
fn calls<'s>(stage: &'s Stage, name: &str) -> Vec<&'s Message> {
    let mut invites = stage.sent(name, Method::Invite);
    invites.retain(|m| m.to().expect("To").tag().is_none());
    invites.dedup_by_key(|m| (text(m, HeaderId::CallId), text(m, HeaderId::CSeq)));
    invites
}

/// The names of a message's header fields, without those that a REFER brings.
fn fields(message: &Message) -> Vec<String> {
    let name = |line: crate::sip::message::HeaderLine<'_>| String::from_utf8_lossy(line.name).to_lowercase();
    let mut names: Vec<String> = message.headers().map(name).collect();
    names.retain(|name| !matches!(name.as_str(), "referred-by" | "p-asserted-identity"));
    names.sort();
    names
}

/// The target is called just as if the referrer had dialled it: the number as the trunk's target
/// shapes it, by the same way, with the trunk's session timer, and with no field more or less but who refers.
#[test]
fn as_if_dialled() {
    for (refer_to, dialled) in [
        ("<sip:300@example.com>", "sip:300@127.0.0.1"),
        ("<sip:+31600@example.com;user=phone>", "sip:+31600@127.0.0.1;user=phone"),
        ("<tel:+31600>", "tel:+31600"),
        ("<tel:+31-600;x=y>", "tel:+31600;x=y"),
    ] {
        for user in [None, Some("gateway")] {
            let (mut stage, _, _) = Stage::talking();
            let charlie = &mut stage.plan.trunks[2];
            charlie.targets[0].user = user.map(Into::into);
            charlie.targets[0].port = Some(5080);
            charlie.owned.session = SessionTimer { interval: 720, min: 120 };
            stage.calls("dials", dialled);
            stage.refers("alice", refer_to);
            let [by_dialling, by_refer] = calls(&stage, "carol")[..] else { panic!("{:#?}", stage.log) };
            let line = |m: &Message| String::from_utf8_lossy(m.request_uri()).into_owned();
            assert_eq!(line(by_refer), line(by_dialling), "{refer_to} {user:?}");
            assert_eq!(line(by_refer).starts_with("sip:gateway@10.0.2.1:5080"), user.is_some());
            assert_eq!(fields(by_refer), fields(by_dialling), "{refer_to}");
            for id in [
                HeaderId::Contact,
                HeaderId::Supported,
                HeaderId::Allow,
                HeaderId::SessionExpires,
                HeaderId::MinSe,
                HeaderId::MaxForwards,
                HeaderId::ContentType,
                HeaderId::Route,
            ] {
                assert_eq!(text(by_refer, id), text(by_dialling, id), "{refer_to} {id:?}");
            }
            assert_eq!(
                (&*text(by_refer, HeaderId::SessionExpires), &*text(by_refer, HeaderId::MinSe)),
                ("720", "120")
            );
            // RFC 3261 §19.1.1: To names who was meant, with neither port nor headers.
            assert!(!text(by_refer, HeaderId::To).contains("5080"));
            assert_eq!(stage.ended().0, ReferStatus::Completed);
            stage.end();
        }
    }
}

/// The target hangs up as soon as it has its ACK, while the survivor is asked still: 200, the survivor
/// is given back to the referrer, who hears 480 and may try again.
#[test]
fn a_target_that_leaves_at_once() {
    for answers in [200, 491] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(2);
        stage.manner("bob").reinvite = 0;
        stage.picks_up("carol");
        assert!(stage.at("carol ACK") < stage.at("bob INVITE"));
        stage.request("carol", "BYE", "", "");
        assert_eq!(stage.count("carol BYE 200"), 1, "{:#?}", stage.log);
        assert_eq!(stage.count("alice NOTIFY 480 "), 1, "{:#?}", stage.log);
        assert_eq!(
            stage.ended(),
            (ReferStatus::Failed, Some(ReferReason::BridgeFailed), Some(202), Some(480))
        );
        stage.manner("bob").reinvite = 200;
        match answers {
            200 => stage.picks_up("bob"),
            code => stage.refuses("bob", code),
        }
        stage.pass_s(5);
        assert!(stage.together(alice, bob), "{:#?}", stage.log);
        let last = stage.sent("bob", Method::Invite).last().copied().expect("an INVITE");
        if answers == 200 {
            let told = String::from_utf8_lossy(last.body()).into_owned();
            assert!(told.contains("c=IN IP4 10.0.0.1"), "he is with Alice again: {told}");
        }
        assert_eq!((stage.count("alice BYE"), stage.count("bob BYE")), (0, 0));
        stage.manner("carol").invite = Some(200);
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(1);
        assert_eq!(stage.ended().0, ReferStatus::Completed, "{:#?}", stage.log);
        stage.end();
    }
}

/// A target that hangs up as soon as it is joined ends an ordinary call: 200, BYE to the survivor, and
/// the transfer stays a success. So with one that leaves when the referrer has gone, before the join.
#[test]
fn a_target_that_leaves_when_joined() {
    let (mut stage, _, _) = Stage::talking();
    stage.refers("alice", "<sip:300@example.com>");
    stage.request("carol", "BYE", "", "");
    assert_eq!((stage.count("carol BYE 200"), stage.count("bob BYE")), (1, 1), "{:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.pass_s(10);
    stage.end();

    let (mut stage, _, _) = Stage::talking();
    stage.manner("bob").reinvite = 0;
    stage.refers("alice", "<sip:300@example.com>");
    stage.request("alice", "BYE", "", "");
    stage.request("carol", "BYE", "", "");
    assert_eq!(stage.count("carol BYE 200"), 1);
    stage.manner("bob").reinvite = 200;
    stage.picks_up("bob");
    stage.pass_s(5);
    assert_eq!(stage.count("bob BYE"), 1, "[R-058] nobody is left: {:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Failed);
    stage.end();
}

const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY, UPDATE\n";
const BY_BATON: &str = "Session-Expires: 1000;refresher=uac\nRequire: timer\n";
const BY_PHONE: &str = "Session-Expires: 1000;refresher=uas\nRequire: timer\n";

/// Alice talks to Bob, who answers so about session timers; trunks ask for half an hour.
fn timed(bobs: &str) -> Stage {
    let mut stage = Stage::new(ReferMode::Terminate);
    for trunk in &mut stage.plan.trunks {
        trunk.owned.session = SessionTimer { interval: 1_800, min: 90 };
    }
    stage.manner("bob").allow = Box::leak(format!("{ALLOW}{bobs}").into_boxed_str());
    stage.calls("alice", "200");
    stage.log.clear();
    stage.requests.clear();
    stage
}

/// The target's leg has a session of its own, agreed with the target: what it says to the trunk's wish holds,
/// a shortest interval that it insists on too, and it is refreshed at half of it.
#[test]
fn the_targets_session() {
    let mut stage = timed("");
    let carol = stage.manner("carol");
    (carol.invite, carol.invite_headers) = (Some(422), "Min-SE: 3600\n");
    carol.allow =
        "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\nSession-Expires: 3600;refresher=uac\nRequire: timer\n";
    stage.refers("alice", "<sip:300@example.com>");
    let asked: Vec<_> = calls(&stage, "carol")
        .iter()
        .map(|m| (text(m, HeaderId::SessionExpires), text(m, HeaderId::MinSe)))
        .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(asked[..2], [pair("1800", ""), pair("3600", "3600")], "{:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Failed, "it says so again: {:#?}", stage.log);

    stage.manner("carol").invite = Some(200);
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(7);
    assert_eq!(stage.ended().0, ReferStatus::Completed, "{:#?}", stage.log);
    stage.pass_s(1_790);
    assert_eq!(stage.count("carol UPDATE"), 0);
    stage.pass_s(10);
    let update = stage.sent("carol", Method::Update);
    assert_eq!(update.len(), 1, "{:#?}", stage.log);
    assert_eq!(text(update[0], HeaderId::SessionExpires), "3600;refresher=uac");
    stage.end();
}

/// The survivor's session is the one that it has agreed to with its first call: what joins it to the target
/// refreshes it, unchanged, and it goes on being refreshed by who did so.
#[test]
fn the_survivors_session() {
    let mut stage = timed(BY_BATON);
    stage.pass_s(200);
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(7);
    assert_eq!(stage.ended().0, ReferStatus::Completed, "{:#?}", stage.log);
    let joining = stage.sent("bob", Method::Invite);
    assert_eq!(joining.len(), 1);
    assert_eq!(text(joining[0], HeaderId::SessionExpires), "1000;refresher=uac");
    // Half of it after the latest refresh, which the re-INVITE was.
    stage.pass_s(490);
    assert_eq!(stage.count("bob UPDATE"), 0, "{:#?}", stage.log);
    stage.pass_s(5);
    let update = stage.sent("bob", Method::Update);
    assert_eq!(update.len(), 1, "{:#?}", stage.log);
    assert_eq!(text(update[0], HeaderId::SessionExpires), "1000;refresher=uac");
    stage.end();
}

/// While the target rings, and when it refuses, the survivor is refreshed when it was due.
#[test]
fn a_refresh_while_the_target_rings() {
    for refuses in [true, false] {
        let mut stage = timed(BY_BATON);
        stage.manner("carol").invite = None;
        stage.pass_s(480);
        stage.refers("alice", "<sip:300@example.com>");
        if refuses {
            stage.refuses("carol", 486);
        }
        stage.pass_s(19);
        assert_eq!(stage.count("bob"), 0, "{:#?}", stage.log);
        stage.pass_s(2);
        assert_eq!((stage.count("bob UPDATE"), stage.count("bob INVITE")), (1, 0), "{:#?}", stage.log);
        if !refuses {
            stage.picks_up("carol");
            assert_eq!(stage.ended().0, ReferStatus::Completed);
        }
        stage.end();
    }
}

/// A survivor that refreshes by itself goes on doing so, the target hears nothing of it; one that stops is
/// gone after the time that was agreed, and the target is let go.
#[test]
fn the_survivor_refreshes() {
    for refreshes in [true, false] {
        let mut stage = timed(BY_PHONE);
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(7);
        let joining = stage.sent("bob", Method::Invite)[0];
        assert_eq!(text(joining, HeaderId::SessionExpires), "1000;refresher=uas");
        stage.pass(Duration::from_secs(600));
        if refreshes {
            stage.log.clear();
            let fields =
                "Contact: <sip:bob@10.0.1.1:5060>\nSupported: timer\nSession-Expires: 1000;refresher=uac\n";
            stage.request("bob", "UPDATE", fields, "");
            let (_, answer) = stage.heard.last().expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(text(answer, HeaderId::SessionExpires), "1000;refresher=uac");
            assert_eq!(stage.count("carol"), 0, "{:#?}", stage.log);
        }
        stage.pass_s(390);
        let (bob, carol) = (stage.count("bob BYE"), stage.count("carol BYE"));
        assert_eq!((bob, carol), if refreshes { (0, 0) } else { (1, 1) }, "{:#?}", stage.log);
        stage.end();
    }
}

/// The survivor hangs up while it is asked to talk to the target, which has answered: as when it rang.
#[test]
fn a_survivor_that_leaves_mid_join() {
    let (mut stage, _, _) = Stage::talking();
    stage.manner("bob").reinvite = 0;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(1);
    assert_eq!(stage.ended().0, ReferStatus::InProgress);
    stage.request("bob", "BYE", "", "");
    assert_eq!(stage.count("carol BYE"), 1, "{:#?}", stage.log);
    assert_eq!(stage.count("alice NOTIFY 487 "), 1, "{:?} {:#?}", stage.ended(), stage.log);
    assert!(stage.at("alice NOTIFY 487 ") < stage.at("alice BYE"));
    let ended = Some(ReferReason::CallEnded);
    assert_eq!(stage.ended(), (ReferStatus::Canceled, ended, Some(202), Some(487)));
    stage.end();
}

/// The target of an attended transfer hangs up while it is asked: 480, and the survivor stays.
#[test]
fn a_consultation_that_leaves_mid_join() {
    for asked_again in [false, true] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.calls("consult", "300");
        let dialog = stage.dialog("consult");
        stage.manner("carol").reinvite = if asked_again { 200 } else { 0 };
        stage.manner("bob").reinvite = if asked_again { 0 } else { 200 };
        let to = format!(
            "<sip:300@x?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
            dialog.call_id, dialog.baton, dialog.tag
        );
        stage.refers("alice", &to);
        stage.pass_s(2);
        stage.request("carol", "BYE", "", "");
        assert_eq!(stage.count("carol BYE 200"), 1);
        stage.manner("bob").reinvite = 200;
        if asked_again {
            stage.picks_up("bob");
        }
        stage.pass_s(2);
        assert_eq!(stage.count("alice NOTIFY 480 "), 1, "{:?} {:#?}", stage.ended(), stage.log);
        assert_eq!(
            stage.ended(),
            (ReferStatus::Failed, Some(ReferReason::BridgeFailed), Some(202), Some(480))
        );
        assert!(stage.together(alice, bob), "{:#?}", stage.log);
        stage.end();
    }
}
