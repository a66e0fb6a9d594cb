//! Holds and transfers: the referrer's hold of the party it refers, and Baton's own before it refers one.

use super::stage::{Stage, text};
use crate::sip::event::ReferStatus;
use crate::sip::message::{HeaderId, Method};
use std::time::Duration;

/// The descriptions in a phone's INVITEs, each once.
fn offers(stage: &Stage, name: &str) -> Vec<String> {
    let mut invites = stage.sent(name, Method::Invite);
    invites.dedup_by_key(|m| m.cseq().expect("CSeq").number);
    invites.iter().map(|m| String::from_utf8_lossy(m.body()).into_owned()).collect()
}

fn live(sdp: &str) -> bool {
    ["sendonly", "recvonly", "inactive", "IP4 0.0.0.0"].iter().all(|hold| !sdp.contains(hold))
}

/// One puts the other on hold: by direction, or by an address that is none (RFC 3264 §8.4).
fn holds(stage: &mut Stage, name: &str, manner: &str) {
    let (ip, sdp) = (stage.dialog(name).address, stage.sdp(name).replace(" 1 ", " 2 "));
    let host = ip.split(':').next().expect("a host");
    let sdp = match manner {
        "0.0.0.0" => sdp.replace(&format!("c=IN IP4 {host}"), "c=IN IP4 0.0.0.0"),
        direction => format!("{sdp}a={direction}\n"),
    };
    stage.request(name, "INVITE", &format!("Contact: <sip:{name}@{ip}>\n"), &sdp);
}

/// The referrer has put the party that it refers on hold, as phones do, by real re-INVITEs: the target
/// is offered what that party can do, and the party is taken back when the two are joined.
#[test]
fn a_survivor_on_hold() {
    for (referrer, survivor, ip) in [("alice", "bob", "10.0.1.1"), ("bob", "alice", "10.0.0.1")] {
        for manner in ["sendonly", "inactive", "0.0.0.0"] {
            let (mut stage, alice, bob) = Stage::talking();
            holds(&mut stage, referrer, manner);
            let held = offers(&stage, survivor);
            assert!(held.len() == 1 && !live(&held[0]), "{held:?}");
            stage.refers(referrer, "<sip:300@example.com>");
            stage.pass_s(1);
            let asked = offers(&stage, "carol");
            assert!(asked.len() == 1 && asked[0].contains(&format!("c=IN IP4 {ip}")), "{asked:?}");
            assert!(live(&asked[0]), "{referrer} {manner}: {}", asked[0]);
            let told = offers(&stage, survivor);
            assert!(told.len() == 2 && told[1].contains("c=IN IP4 10.0.2.1"), "{told:?}");
            assert!(live(&told[1]), "{referrer} {manner}: {}", told[1]);
            let carol = stage.leg(&stage.dialog("carol").call_id);
            let moved = if survivor == "bob" { bob } else { alice };
            assert!(stage.together(moved, carol), "{:#?}", stage.log);
            assert_eq!(stage.ended().0, ReferStatus::Completed);
            stage.end();
        }
    }
}

/// The target refuses: the survivor is not touched, and stays on the hold that is the referrer's to
/// undo.
#[test]
fn a_hold_outlasts_a_failure() {
    let (mut stage, alice, bob) = Stage::talking();
    holds(&mut stage, "alice", "sendonly");
    stage.manner("carol").invite = Some(486);
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(2);
    assert_eq!(stage.ended().0, ReferStatus::Busy);
    assert_eq!(offers(&stage, "bob").len(), 1, "{:#?}", stage.log);
    assert!(stage.together(alice, bob));
    holds(&mut stage, "alice", "sendrecv");
    let told = offers(&stage, "bob");
    assert!(told.len() == 2 && live(&told[1]), "{told:?}");
    stage.end();
}

/// The survivor holds the referrer itself, for reasons of its own: what it is able to do is what it says.
#[test]
fn a_survivor_that_holds() {
    let (mut stage, _, _) = Stage::talking();
    holds(&mut stage, "bob", "sendonly");
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(1);
    let asked = offers(&stage, "carol");
    assert!(asked[0].contains("a=sendonly") && asked[0].contains("c=IN IP4 10.0.1.1"), "{asked:?}");
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// Held first: the REFER goes out when the exchange is complete, its ACK with it, however long the
/// party takes to answer; and a Refer that fails gives the party back what it had.
#[test]
fn the_hold_is_complete_first() {
    for answer in [200, 488] {
        let (mut stage, alice, _) = Stage::talking();
        stage.manner("alice").reinvite = 0;
        stage.refer(alice, |order| order.hold = true).expect("taken");
        stage.pass_s(3);
        let held = offers(&stage, "alice");
        assert_eq!((held.len(), stage.count("alice REFER")), (1, 0), "{:#?}", stage.log);
        assert!(held[0].contains("a=sendonly") && held[0].contains("c=IN IP4 10.0.1.1"), "{held:?}");
        stage.manner("alice").reinvite = 200;
        match answer {
            200 => stage.picks_up("alice"),
            code => stage.refuses("alice", code),
        }
        stage.pass(Duration::from_millis(10));
        assert_eq!(stage.count("alice REFER"), 1, "{:#?}", stage.log);
        assert!(stage.at("alice ACK") < stage.at("alice REFER"), "{:#?}", stage.log);
        stage.notifies("alice", 486, "terminated;reason=noresource");
        stage.pass_s(1);
        assert_eq!(stage.ended().0, ReferStatus::Busy);
        let all = offers(&stage, "alice");
        let last = all.last().expect("an offer");
        // RFC 3264 §5.1: without a word about it, media flows both ways. A hold that was refused is none.
        if answer == 200 {
            assert!(all.len() == 2 && live(last) && last.contains("c=IN IP4 10.0.1.1"), "{all:?}");
        } else {
            assert!(all.len() == 1 || live(last), "{all:?}");
        }
        assert_eq!(stage.count("bob"), 0, "the other party is not bothered: {:#?}", stage.log);
        stage.end();
    }
}

/// What is held stays so when the transfer has succeeded: the party talks to somebody else.
#[test]
fn a_hold_is_not_undone_by_success() {
    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |order| (order.hold, order.bye_after) = (true, None)).expect("taken");
    assert!(stage.at("alice ACK") < stage.at("alice REFER"), "{:#?}", stage.log);
    let refer = stage.sent("alice", Method::Refer)[0].cseq().expect("CSeq").number;
    let hold = stage.sent("alice", Method::Invite)[0].cseq().expect("CSeq").number;
    assert_eq!(refer, hold + 1);
    assert_eq!(text(stage.sent("alice", Method::Ack)[0], HeaderId::CSeq), format!("{hold} ACK"));
    stage.notifies("alice", 200, "terminated;reason=noresource");
    stage.pass_s(2);
    assert_eq!((stage.ended().0, stage.count("alice INVITE")), (ReferStatus::Completed, 1));
    stage.end();
}
