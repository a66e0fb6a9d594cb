//! What rules, other parties and unfinished exchanges have to say about a transfer.

use super::stage::{Stage, text};
use crate::sip::event::{ReferReason, ReferSid, ReferStatus};
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Credentials, ReferMode, Secret};
use crate::sip::proxy::testing::target;
use crate::sip::refer::Policy;
use crate::sip::refer::policy::TargetRouting;
use std::sync::Arc;

/// A Refer-To that names the dialog of that name, as its phone knows it.
fn replacing(stage: &Stage, name: &str) -> String {
    let dialog = stage.dialog(name);
    format!(
        "<sip:300@example.com?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
        dialog.call_id, dialog.baton, dialog.tag
    )
}

/// A REFER that is redirected is not sent elsewhere.
#[test]
fn a_redirected_refer() {
    let (mut stage, alice, bob) = Stage::talking();
    let manner = stage.manner("alice");
    (manner.refer, manner.refer_headers) = (Some(302), "Contact: <sip:other@10.0.2.1>\n");
    stage.refer(alice, |_| {}).expect("taken");
    stage.pass_s(5);
    assert_eq!(stage.count("alice REFER"), 1);
    assert_eq!(stage.count("carol") + stage.count("bob"), 0);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::ReferRejected), Some(302), None));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// The target's challenge is answered with what its own trunk has, never with the
/// referrer's; its redirection leads nowhere that the rules were not asked about.
#[test]
fn the_target_makes_conditions() {
    const CHALLENGE: &str =
        "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\n";
    let keys = |name: &str| {
        Some(Arc::new(Credentials { user: name.into(), secret: Secret::Password("secret".into()) }))
    };
    for theirs in [true, false] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.plan.trunks[0].owned.credentials = keys("alpha");
        stage.plan.trunks[1].owned.credentials = keys("bravo");
        stage.plan.trunks[2].owned.credentials = keys("charlie").filter(|_| theirs);
        let manner = stage.manner("carol");
        (manner.invite, manner.invite_headers) = (Some(401), CHALLENGE);
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(1);
        let invites = stage.sent("carol", Method::Invite);
        let answers: Vec<String> = invites.iter().map(|m| text(m, HeaderId::Authorization)).collect();
        if theirs {
            assert!(answers[0].is_empty() && answers[1].contains("username=\"charlie\""), "{answers:?}");
            assert_eq!(stage.ended().0, ReferStatus::Completed);
        } else {
            assert_eq!(answers, [""]);
            let rejected = Some(ReferReason::TargetRejected);
            assert_eq!(stage.ended(), (ReferStatus::Failed, rejected, Some(202), Some(401)));
            assert!(stage.together(alice, bob));
        }
        stage.end();
    }
    let (mut stage, alice, bob) = Stage::talking();
    let manner = stage.manner("carol");
    (manner.invite, manner.invite_headers) = (Some(302), "Contact: <sip:900@10.0.1.1>\n");
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!((stage.count("carol INVITE"), stage.count("bob")), (1, 0));
    assert_eq!(stage.count("alice NOTIFY 302"), 1);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::TargetRejected), Some(202), Some(302)));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// A target that is out of service is followed by the next one of its trunk.
#[test]
fn the_next_target() {
    let (mut stage, _, _) = Stage::talking();
    // Nobody lives at the first address.
    stage.plan.trunks[2].targets = vec![target("10.0.7.7", 0, 1), target("10.0.2.1", 1, 1)];
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("carol INVITE"), 0);
    stage.pass_s(4);
    assert_eq!(stage.count("carol INVITE"), 1);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// Back to the peer that sent the REFER, whatever host Refer-To names.
#[test]
fn back_to_the_referrer() {
    let policy = Policy { routing: TargetRouting::BackToReferrer, ..Policy::default() };
    let (mut stage, _, bob) = Stage::talking_with(ReferMode::Terminate, policy);
    let (call, baton) = (stage.dialog("alice").call_id, stage.dialog("alice").baton);
    stage.refers("alice", "<sip:+15550100@pstn.example.net;user=phone;x-token=aZ%7e>");
    let invite = stage.sent("alice", Method::Invite)[0].clone();
    let uri = String::from_utf8_lossy(invite.request_uri()).into_owned();
    assert!(uri.starts_with("sip:+15550100@") && uri.ends_with(";user=phone;x-token=aZ%7e"), "{uri}");
    assert_ne!(text(&invite, HeaderId::CallId), call);
    assert!(!text(&invite, HeaderId::From).contains(&baton));
    assert_eq!(stage.count("carol"), 0);
    let new = stage.leg(&text(&invite, HeaderId::CallId));
    assert!(stage.together(bob, new));
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// A party cannot move others into a call that is not its own, though it knows its identifiers.
#[test]
fn a_consultation_of_somebody_else() {
    let (mut stage, alice, bob) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    let to = replacing(&stage, "consult");
    stage.refers("bob", &to);
    assert_eq!(stage.count("bob REFER 403"), 1, "{:#?}", stage.log);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::Policy), Some(403), None));
    assert!(stage.together(alice, bob) && stage.together(consultation, carol));
    stage.end();
}

/// What a REFER says about who wants it opens no door and proves nothing further
/// on: neither an identity, nor a signature made for another destination, nor credentials.
#[test]
fn claims_of_the_referrer() {
    const CLAIMS: &str = "Referred-By: <sip:admin@example.com>\nP-Asserted-Identity: <sip:admin@example.com>\n\
         Identity: \"eyJh\";info=<https://cert.example.com/a>\nAuthorization: Digest username=\"a\"\n\
         Proxy-Authorization: Digest username=\"a\"\nPrivacy: none\nP-Charge-Info: <sip:admin@example.com>\n";
    let (mut stage, alice, bob) = Stage::talking();
    stage.request("alice", "REFER", &format!("Refer-To: <sip:900@example.com>\n{CLAIMS}"), "");
    assert_eq!(stage.count("alice REFER 404"), 1);
    assert_eq!(stage.count("carol"), 0);
    assert!(stage.together(alice, bob));
    stage.end();
    let allow_headers = ["Identity", "P-Asserted-Identity", "Authorization", "Privacy", "P-Charge-Info"];
    let policy = Policy { allow_headers: allow_headers.map(Into::into).into(), ..Policy::default() };
    let (mut stage, _, _) = Stage::talking_with(ReferMode::Terminate, policy);
    let to = "<sip:300@example.com?Identity=x&P-Asserted-Identity=%3Csip%3Aa%40x%3E&Privacy=none\
              &Authorization=Digest&Proxy-Authorization=Digest>";
    stage.request("alice", "REFER", &format!("Refer-To: {to}\n{CLAIMS}"), "");
    let invite = stage.sent("carol", Method::Invite)[0].clone();
    assert_eq!(text(&invite, HeaderId::ReferredBy), "<sip:admin@example.com>");
    for id in [HeaderId::Identity, HeaderId::Authorization, HeaderId::ProxyAuthorization, HeaderId::Privacy] {
        assert!(!invite.has(id), "{id:?}");
    }
    // Who is asserted is Bob, whom Baton has called.
    assert_eq!(text(&invite, HeaderId::PAssertedIdentity), "<sip:200@127.0.0.1>");
    assert!(invite.other_header("P-Charge-Info").is_none());
    stage.end();
}

/// Refers are counted by trunk and role: those in progress, and their results with the time they
/// took. The trunk is the one whose party sent the REFER, or was sent it.
#[test]
fn counted() {
    for (mode, role, by, trunk) in [
        (ReferMode::Terminate, "substitute", Some("alice"), 0),
        (ReferMode::Terminate, "substitute", Some("bob"), 1),
        (ReferMode::Relay, "relay", Some("alice"), 0),
        (ReferMode::Relay, "relay", Some("bob"), 1),
        (ReferMode::Terminate, "transferor", None, 0),
    ] {
        let (mut stage, alice, _) = Stage::talking_with(mode, Policy::default());
        stage.manner("carol").invite = None;
        match by {
            Some(phone) => stage.refers(phone, "<sip:300@example.com>"),
            None => stage.refer(alice, |_| {}).expect("taken"),
        }
        let active = format!("baton_refer_active trunk={trunk} role={role} 1");
        assert_eq!(stage.counted(), [active], "{role} {by:?}");
        match (mode, by) {
            (ReferMode::Terminate, Some(_)) => stage.refuses("carol", 486),
            (_, Some("alice")) => stage.notifies("bob", 486, "terminated;reason=noresource"),
            (_, _) => stage.notifies("alice", 486, "terminated;reason=noresource"),
        }
        let busy = format!("baton_refer_total trunk={trunk} role={role} result=busy reason=target-busy 1");
        let took = format!("baton_refer_seconds role={role} result=busy 1");
        assert_eq!(stage.counted(), [busy, took], "{role} {by:?}");
        stage.end();
    }
}

/// Each way to end is counted as what it was, and nothing stays in progress.
#[test]
fn counted_by_reason() {
    let results = |stage: &Stage| -> Vec<String> {
        let lines = stage.counted().into_iter().filter(|line| !line.starts_with("baton_refer_seconds"));
        lines.map(|line| line.replace("baton_refer_total trunk=0 role=", "")).collect()
    };
    let (mut stage, alice, _) = Stage::talking();
    stage.refers("alice", "<sip:900@example.com>");
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(70);
    let mut expected = vec![
        "substitute result=no-answer reason=target-no-answer 1".to_owned(),
        "substitute result=failed reason=policy 1".to_owned(),
    ];
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(results(&stage)), sorted(expected.clone()));
    stage.refer(alice, |order| order.bye_after = None).expect("taken");
    stage.pass_s(40);
    expected.push("transferor result=failed reason=notify-timeout 1".to_owned());
    assert_eq!(sorted(results(&stage)), sorted(expected.clone()));
    stage.refer(alice, |order| order.sid = ReferSid(78)).expect("taken");
    stage.notifies("alice", 200, "terminated;reason=noresource");
    expected.push("transferor result=completed reason= 1".to_owned());
    assert_eq!(sorted(results(&stage)), sorted(expected));
    stage.end();
}

/// What REFER says about hops and breadth goes on: one hop less, and never more than 70; without a hop left
/// there is no call.
#[test]
fn hops_that_are_left() {
    for (given, passed) in [(0, None), (1, Some("0")), (9, Some("8")), (70, Some("69")), (255, Some("69"))] {
        let (mut stage, alice, bob) = Stage::talking();
        let fields = format!("Refer-To: <sip:300@example.com>\nMax-Forwards: {given}\nMax-Breadth: 7\n");
        stage.request("alice", "REFER", &fields, "");
        match passed {
            Some(hops) => {
                let invite = stage.sent("carol", Method::Invite)[0];
                assert_eq!(text(invite, HeaderId::MaxForwards), hops);
                assert_eq!(text(invite, HeaderId::MaxBreadth), "7");
                assert_eq!(stage.ended().0, ReferStatus::Completed);
            }
            None => {
                assert_eq!((stage.count("alice REFER 483"), stage.count("carol")), (1, 0));
                let policy = Some(ReferReason::Policy);
                assert_eq!(stage.ended(), (ReferStatus::Failed, policy, Some(483), None));
                assert!(stage.together(alice, bob));
            }
        }
        stage.end();
    }
}

/// A REFER while the same side's re-INVITE is unfinished: accepted at once, begun when that
/// has ended, or after 4 s.
#[test]
fn an_unfinished_exchange() {
    for ends in [true, false] {
        let (mut stage, _, bob) = Stage::talking();
        stage.manner("bob").reinvite = 0;
        let sdp =
            "v=0\no=alice 1 9 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\nm=audio 4002 RTP/AVP 0 8\n";
        stage.request("alice", "INVITE", "Contact: <sip:alice@10.0.0.1:5060>\n", sdp);
        assert_eq!(stage.count("bob INVITE"), 1);
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!((stage.count("alice REFER 202"), stage.count("alice NOTIFY 100")), (1, 1));
        stage.pass_s(1);
        assert_eq!(stage.count("carol"), 0, "{:#?}", stage.log);
        if ends {
            stage.manner("bob").reinvite = 200;
            stage.picks_up("bob");
            stage.pass_s(1);
            assert_eq!(stage.count("alice INVITE 200"), 1);
            let carol = stage.leg(&stage.dialog("carol").call_id);
            assert!(stage.together(bob, carol), "{:#?}", stage.log);
        } else {
            stage.pass_s(4);
            assert_eq!(stage.count("carol INVITE"), 1, "{:#?}", stage.log);
        }
        stage.end();
    }
}

/// The referrer hangs its consultation up right after the REFER: its far half is kept for the join.
#[test]
fn a_consultation_hung_up_at_once() {
    let (mut stage, _, bob) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    let to = replacing(&stage, "consult");
    stage.manner("bob").reinvite = 0;
    stage.refers("alice", &to);
    assert_eq!(stage.count("alice REFER 202"), 1);
    stage.request("consult", "BYE", "", "");
    assert_eq!(stage.count("consult BYE 200"), 1);
    assert_eq!(stage.count("carol BYE"), 0, "{:#?}", stage.log);
    stage.manner("bob").reinvite = 200;
    stage.picks_up("bob");
    stage.pass_s(1);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    assert_eq!(stage.count("carol BYE"), 0);
    stage.end();
}

/// The same while an exchange on the original call holds the join up; whoever is not joined after
/// all does not stay.
#[test]
fn a_consultation_hung_up_before_the_join_begins() {
    for joins in [true, false] {
        let (mut stage, _, bob) = Stage::talking();
        let consultation = stage.calls("consult", "300");
        let carol = stage.other(consultation);
        let to = replacing(&stage, "consult");
        unfinished(&mut stage);
        stage.refers("alice", &to);
        stage.request("consult", "BYE", "", "");
        assert_eq!(stage.count("consult BYE 200"), 1);
        stage.pass_s(1);
        assert_eq!(stage.count("carol"), 0, "{:#?}", stage.log);
        stage.manner("bob").reinvite = 200;
        if joins {
            stage.picks_up("bob");
            stage.pass_s(2);
            assert!(stage.together(bob, carol), "{:#?}", stage.log);
            assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
            assert_eq!(stage.count("carol BYE"), 0);
        } else {
            stage.request("bob", "BYE", "", "");
            assert_eq!(stage.count("carol BYE"), 1, "{:#?}", stage.log);
            assert_eq!(stage.ended().0, ReferStatus::Canceled);
        }
        stage.end();
    }
}

/// And when the consultation still rings: it is taken over at once, or there would be nobody
/// left to take.
#[test]
fn a_ringing_consultation_given_up_before_the_join_begins() {
    let (mut stage, _, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.calls("consult", "300");
    let to = replacing(&stage, "consult");
    unfinished(&mut stage);
    stage.refers("alice", &to);
    stage.cancels("consult");
    stage.pass_s(1);
    assert_eq!(stage.count("carol CANCEL"), 0, "{:#?}", stage.log);
    stage.manner("bob").reinvite = 200;
    stage.picks_up("bob");
    stage.pass_s(1);
    stage.picks_up("carol");
    stage.pass_s(2);
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// Alice has sent a re-INVITE, which Bob does not answer yet.
fn unfinished(stage: &mut Stage) {
    stage.manner("bob").reinvite = 0;
    let sdp = stage.sdp("alice").replace("4000", "4002");
    stage.request("alice", "INVITE", "Contact: <sip:alice@10.0.0.1:5060>\n", &sdp);
    assert!(stage.rings("bob"));
    stage.log.clear();
}

/// A target that sends early media reliably: it has its PRACK, the survivor hears nothing of it, and the
/// two are joined when it answers.
#[test]
fn a_target_with_early_media() {
    let (mut stage, _, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.plays("carol");
    assert_eq!(text(stage.sent("carol", Method::Prack)[0], HeaderId::RAck), "7 1 INVITE");
    stage.pass_s(2);
    assert_eq!(stage.count("alice NOTIFY 180"), 1, "{:#?}", stage.log);
    assert_eq!(stage.count("bob"), 0);
    stage.picks_up("carol");
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// A survivor whose description is of use to nobody else: the target makes the offer, its ACK
/// carries the answer, and media flows between the two.
#[test]
fn an_offer_of_the_target() {
    let mut stage = Stage::new(ReferMode::Terminate);
    stage.manner("bob").codecs = "0 8\na=candidate:1 1 UDP 1 10.0.1.1 4000 typ host\na=ice-ufrag:x";
    let alice = stage.calls("alice", "200");
    let bob = stage.other(alice);
    stage.log.clear();
    stage.requests.clear();
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(1);
    assert!(stage.sent("carol", Method::Invite)[0].body().is_empty());
    let ack = stage.sent("carol", Method::Ack)[0];
    assert!(String::from_utf8_lossy(ack.body()).contains("m=audio 4000"), "{ack:?}");
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    stage.end();
}
