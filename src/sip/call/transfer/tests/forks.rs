//! Targets that are several: the trunks of a route at once, and phones behind the target that all ring.

use super::stage::{Stage, text};
use crate::sip::event::ReferStatus;
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Action, Fork, Mode, Origin, Route, TrunkIx, UserMatch};

/// Numbers beginning with 4 go to Carol and Dave at once.
fn both_ring(stage: &mut Stage) {
    let to = Action::Trunks { to: vec![TrunkIx(2), TrunkIx(3)], fork: Fork::Parallel, mode: Mode::B2bua };
    let from = [0, 1].map(|n| Origin::Trunk(TrunkIx(n))).to_vec();
    stage.plan.routes.push(Route { from, user: UserMatch::Prefix("4".into()), action: to });
    stage.manner("carol").invite = None;
    stage.manner("dave").invite = None;
}

/// The tags of a phone's dialogs that requests of this method went to.
fn tags(stage: &Stage, name: &str, method: Method) -> Vec<String> {
    let tag = |m: &&crate::sip::message::Message| {
        text(m, HeaderId::To).split(";tag=").nth(1).unwrap_or_default().to_owned()
    };
    stage.sent(name, method).iter().map(tag).collect()
}

/// Two are called at once: whoever picks up first is joined, the other is called off; one that
/// picks up all the same is acknowledged and ended. One result.
#[test]
fn two_targets() {
    for crosses in [false, true] {
        let (mut stage, _, bob) = Stage::talking();
        both_ring(&mut stage);
        stage.refers("alice", "<sip:400@example.com>");
        assert_eq!((stage.count("carol INVITE"), stage.count("dave INVITE")), (1, 1), "{:#?}", stage.log);
        stage.pass_s(2);
        assert_eq!(stage.count("alice NOTIFY 180 "), 1, "it rings, whoever does");
        if crosses {
            stage.manner("dave").crosses = true;
            stage.picks_up("carol");
            stage.picks_up("dave");
            assert_eq!((stage.count("dave ACK"), stage.count("dave BYE")), (1, 1), "{:#?}", stage.log);
        } else {
            stage.picks_up("carol");
        }
        assert_eq!(stage.count("dave CANCEL"), 1);
        stage.pass_s(2);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1);
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        stage.end();
    }
}

/// One of two refuses: the other may still answer. When both have, the better answer is told, and the
/// original call stays.
#[test]
fn two_targets_refuse() {
    for answers in [true, false] {
        let (mut stage, alice, bob) = Stage::talking();
        both_ring(&mut stage);
        stage.refers("alice", "<sip:400@example.com>");
        stage.refuses("carol", 503);
        assert_eq!(stage.ended().0, ReferStatus::InProgress);
        assert_eq!(stage.count("dave CANCEL"), 0);
        if answers {
            stage.picks_up("dave");
            stage.pass_s(2);
            let dave = stage.leg(&stage.dialog("dave").call_id);
            assert!(stage.together(bob, dave), "{:#?}", stage.log);
            assert_eq!(stage.ended().0, ReferStatus::Completed);
        } else {
            stage.refuses("dave", 486);
            assert_eq!(stage.count("alice NOTIFY 486 "), 1);
            assert_eq!((stage.ended().0, stage.ended().3), (ReferStatus::Busy, Some(486)));
            assert!(stage.together(alice, bob));
        }
        stage.end();
    }
}

/// The survivor leaves, or the time is over: both are called off, and one that picks up
/// all the same is ended. The result stays.
#[test]
fn two_targets_are_called_off() {
    for leaves in [true, false] {
        let (mut stage, alice, bob) = Stage::talking();
        both_ring(&mut stage);
        stage.refers("alice", "<sip:400@example.com>");
        stage.manner("carol").crosses = true;
        match leaves {
            true => stage.request("bob", "BYE", "", ""),
            false => stage.pass_s(61),
        }
        assert_eq!((stage.count("carol CANCEL"), stage.count("dave CANCEL")), (1, 1), "{:#?}", stage.log);
        stage.picks_up("carol");
        assert_eq!((stage.count("carol ACK"), stage.count("carol BYE")), (1, 1), "{:#?}", stage.log);
        stage.pass_s(2);
        assert_eq!(stage.count("alice NOTIFY 487 "), 1, "{:#?}", stage.log);
        let (status, left) = if leaves { (ReferStatus::Canceled, 1) } else { (ReferStatus::NoAnswer, 0) };
        assert_eq!((stage.ended().0, stage.count("alice BYE")), (status, left));
        assert_eq!(stage.together(alice, bob), !leaves);
        stage.end();
    }
}

/// Phones behind the target ring, each under a tag of its own, and two of them pick up: the first is joined,
/// the others are acknowledged and ended, each in its own dialog, before and after the join.
#[test]
fn phones_behind_the_target() {
    for joined in [true, false] {
        let (mut stage, _, bob) = Stage::talking();
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        stage.forks("carol", "desk", 180);
        stage.forks("carol", "cell", 183);
        stage.pass_s(2);
        assert_eq!(stage.count("alice NOTIFY 180 ") + stage.count("alice NOTIFY 183 "), 1);
        if !joined {
            stage.manner("bob").reinvite = 0;
        }
        stage.forks("carol", "cell", 200);
        stage.forks("carol", "desk", 200);
        stage.forks("carol", "third", 200);
        stage.forks("carol", "desk", 200);
        assert_eq!(tags(&stage, "carol", Method::Bye), ["desk", "third"], "{:#?}", stage.log);
        assert_eq!(tags(&stage, "carol", Method::Ack), ["cell", "desk", "third", "desk"]);
        if !joined {
            stage.manner("bob").reinvite = 200;
            stage.picks_up("bob");
        }
        stage.pass_s(2);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1);
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
        stage.request("bob", "INFO", "", "");
        assert_eq!(tags(&stage, "carol", Method::Info), ["cell"]);
        stage.end();
    }
}

/// The target makes the offer, and several answer: the one is joined by the answer in its ACK,
/// the others get one without media in theirs.
#[test]
fn phones_behind_a_target_that_offers() {
    let mut stage = Stage::new(crate::sip::plan::ReferMode::Terminate);
    stage.manner("bob").codecs = "0 8\na=candidate:1 1 UDP 1 10.0.1.1 4000 typ host\na=ice-ufrag:x";
    let alice = stage.calls("alice", "200");
    let bob = stage.other(alice);
    stage.log.clear();
    stage.requests.clear();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.forks("carol", "desk", 180);
    stage.forks("carol", "cell", 200);
    stage.forks("carol", "desk", 200);
    stage.pass_s(1);
    let acks = stage.sent("carol", Method::Ack);
    let bodies: Vec<String> =
        acks.iter().map(|ack| String::from_utf8_lossy(ack.body()).into_owned()).collect();
    assert_eq!(tags(&stage, "carol", Method::Ack), ["cell", "desk"], "{:#?}", stage.log);
    assert!(bodies[0].contains("m=audio 4000 ") && !bodies[1].contains("m=audio 4000 "), "{bodies:?}");
    assert_eq!(tags(&stage, "carol", Method::Bye), ["desk"]);
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// A consultation that rings at several phones behind one address: the referrer sees each as an early
/// dialog of its own, names the one or the other, hangs up, and whoever picks up is joined.
#[test]
fn a_consultation_that_forks() {
    for named in [0, 1] {
        for picks_up in ["desk", "cell"] {
            let (mut stage, _, bob) = Stage::talking();
            stage.manner("carol").invite = None;
            stage.calls("consult", "300");
            stage.forks("carol", "desk", 180);
            stage.forks("carol", "cell", 180);
            let ours: Vec<String> = stage
                .responses
                .iter()
                .filter(|(name, m)| name == "consult" && m.status() == 180)
                .map(|(_, m)| text(m, HeaderId::To).split(";tag=").nth(1).expect("a tag").to_owned())
                .collect();
            // The phone itself has rung, too.
            assert_eq!(ours.len(), 3);
            assert!(ours[1] != ours[2]);
            let dialog = stage.dialog("consult");
            let (call_id, to_tag, from_tag) = (dialog.call_id, &ours[1 + named], dialog.tag);
            let to = format!("<sip:300@x?Replaces={call_id}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}>");
            stage.log.clear();
            stage.refers("alice", &to);
            assert_eq!(stage.count("alice REFER 202"), 1, "{:#?}", stage.log);
            stage.cancels("consult");
            assert_eq!((stage.count("carol INVITE"), stage.count("carol CANCEL")), (0, 0));
            stage.forks("carol", picks_up, 200);
            let other = if picks_up == "desk" { "cell" } else { "desk" };
            stage.forks("carol", other, 200);
            stage.pass_s(2);
            let carol = stage.leg(&stage.dialog("carol").call_id);
            assert!(stage.together(bob, carol), "{named} {picks_up}: {:#?}", stage.log);
            assert_eq!(tags(&stage, "carol", Method::Bye), [other]);
            assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
            stage.end();
        }
    }
}
