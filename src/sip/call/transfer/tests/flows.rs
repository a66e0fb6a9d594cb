//! Whole flows of the call-transfer documents (RFC 5359 §2.4, §2.5; RFC 5589 §6, §7, §8, §10), with each party on
//! each side of the call, where Baton performs the transfer and where it passes the REFER on.

use super::stage::{Stage, text};
use crate::sip::event::{CallSid, ReferReason, ReferStatus};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::plan::{Action, Fork, Mode, Origin, ReferMode, Route, TrunkIx, UserMatch};
use crate::sip::refer::Policy;

const MODES: [ReferMode; 2] = [ReferMode::Terminate, ReferMode::Relay];

/// Who refers whom: the caller the callee, and the callee the caller.
const SIDES: [(&str, &str); 2] = [("alice", "bob"), ("bob", "alice")];

const DONE: (ReferStatus, Option<ReferReason>, Option<u16>, Option<u16>) =
    (ReferStatus::Completed, None, Some(202), Some(200));

/// Alice talks to Bob; the leg of the one who is referred.
fn talking(mode: ReferMode, referee: &str) -> (Stage, CallSid) {
    let (stage, alice, bob) = Stage::talking_with(mode, Policy::default());
    (stage, if referee == "alice" { alice } else { bob })
}

/// A phone puts the other party of its dialog on hold.
fn holds(stage: &mut Stage, name: &str) {
    let address = stage.dialog(name).address;
    let phone = if address.starts_with("10.0.0.") { "alice" } else { "bob" };
    let sdp = format!("{}a=sendonly\n", stage.sdp(phone).replace("1 IN IP4", "2 IN IP4"));
    stage.request(name, "INVITE", &format!("Contact: <sip:{name}@{address}>\n"), &sdp);
}

/// Who was referred does what it was asked to, as a phone does: it tells that it tries, and calls by its proxy.
fn acts(stage: &mut Stage, referee: &str) -> CallSid {
    acts_as(stage, referee, "moved", "300")
}

fn acts_as(stage: &mut Stage, referee: &str, name: &str, number: &str) -> CallSid {
    let refer = (*stage.sent(referee, Method::Refer).last().expect("a REFER")).clone();
    stage.notifies(referee, 100, "active;expires=60");
    let to = text(&refer, HeaderId::ReferTo);
    let mut extra = format!("Referred-By: {}\n", text(&refer, HeaderId::ReferredBy));
    if let Some((_, named)) = to.trim_end_matches('>').split_once("?Replaces=") {
        let named = named.replace("%3B", ";").replace("%3D", "=").replace("%40", "@");
        extra += &format!("Replaces: {named}\n");
    }
    let address = stage.dialog(referee).address;
    stage.calls_with(name, &address, number, &extra)
}

/// What a leg's phone was last told of the session: in an INVITE, or in the ACK to its own offer.
fn session(stage: &Stage, call_id: &str) -> String {
    let told = |m: &&Message| {
        matches!(m.method(), Method::Invite | Method::Ack)
            && text(m, HeaderId::CallId) == call_id
            && !m.body().is_empty()
    };
    let last = stage.requests.iter().map(|(_, m)| m).rfind(told).expect("a description");
    String::from_utf8_lossy(last.body()).into_owned()
}

/// The two hear each other: each sends to where the other is, and neither is on hold.
fn talk(stage: &mut Stage, one: &str, ip: &str, other: &str, other_ip: &str) {
    for (call_id, ip) in [(one, other_ip), (other, ip)] {
        let told = session(stage, call_id);
        assert!(told.contains(&format!("c=IN IP4 {ip}")), "{call_id}: {told}");
        assert!(["sendonly", "recvonly", "inactive"].iter().all(|hold| !told.contains(hold)), "{told}");
    }
    let known = stage.requests.len();
    stage.request_in(one, "INFO", "", "");
    let (_, info) = stage.requests.get(known).expect("an INFO");
    assert_eq!((info.method(), text(info, HeaderId::CallId)), (Method::Info, other.to_owned()));
}

/// [R-121] RFC 5359 §2.4, RFC 5589 §6.1: an unattended transfer, by the caller and by
/// the callee; the referrer hangs up when it hears of the result, or as soon as the REFER is accepted.
#[test]
fn unattended() {
    for mode in MODES {
        for (referrer, referee) in SIDES {
            for at_once in [false, true] {
                let (mut stage, leg) = talking(mode, referee);
                stage.manner("carol").invite = None;
                let old = stage.dialog(referee).call_id;
                stage.refers(referrer, "<sip:300@example.com>");
                assert_eq!(stage.count(&format!("{referrer} REFER 202")), 1);
                let passed_on = mode == ReferMode::Relay;
                let moved = if passed_on { acts(&mut stage, referee) } else { leg };
                assert!(
                    stage.at(&format!("{referrer} REFER 202")) < stage.at(&format!("{referrer} NOTIFY 100 "))
                );
                if at_once {
                    stage.request(referrer, "BYE", "", "");
                    assert_eq!(stage.count(&format!("{referrer} BYE 200")), 1);
                    assert_eq!(stage.count(&format!("{referee} BYE")), usize::from(passed_on));
                }
                let invite = stage.sent("carol", Method::Invite)[0];
                assert_eq!(text(invite, HeaderId::ReferredBy), format!("<sip:{referrer}@example.com>"));
                stage.pass(std::time::Duration::from_millis(1_500));
                stage.picks_up("carol");
                if passed_on {
                    let fields = "Event: refer\nSubscription-State: terminated;reason=noresource\n\
                                  Content-Type: message/sipfrag\n";
                    stage.request_in(&old, "NOTIFY", fields, "SIP/2.0 200 OK\n");
                }
                assert_eq!(stage.count(&format!("{referrer} NOTIFY 200 OK terminated")), 1);
                if !at_once {
                    assert_eq!(stage.count(&format!("{referrer} BYE")), 0);
                    stage.request(referrer, "BYE", "", "");
                }
                assert_eq!(stage.ended(), DONE);
                let carol = stage.dialog("carol").call_id;
                assert!(stage.together(moved, stage.leg(&carol)), "{mode:?} {referrer}: {:#?}", stage.log);
                stage.request_in(&carol, "INFO", "", "");
                let talks = if passed_on { "moved" } else { referee };
                assert_eq!(stage.count(&format!("{talks} INFO")), 1, "{:#?}", stage.log);
                stage.request_in(&carol, "BYE", "", "");
                assert_eq!(stage.count(&format!("{talks} BYE")), 1, "{:#?}", stage.log);
                stage.end();
            }
        }
    }
}

/// RFC 5359 §2.5, RFC 5589 §7.3: an attended transfer, both parties on hold, by the
/// caller and by the callee. Whoever is left talks to the other, and nobody stays on hold.
#[test]
fn attended() {
    for (referrer, referee) in SIDES {
        let (mut stage, survivor) = talking(ReferMode::Terminate, referee);
        let address = stage.dialog(referrer).address;
        holds(&mut stage, referrer);
        assert!(session(&stage, &stage.dialog(referee).call_id).contains("a=sendonly"));
        let consultation = stage.calls_from("consult", &address, "300");
        let carol = stage.other(consultation);
        holds(&mut stage, "consult");
        assert!(session(&stage, &stage.dialog("carol").call_id).contains("a=sendonly"));
        stage.refers(referrer, &replacing(&stage, "consult"));
        stage.pass_s(1);
        assert!(stage.together(survivor, carol), "{referrer}: {:#?}", stage.log);
        assert_eq!(stage.ended(), DONE);
        assert_eq!(stage.count("consult BYE"), 1, "{:#?}", stage.log);
        stage.request(referrer, "BYE", "", "");
        let (one, other) = (stage.dialog(referee).call_id, stage.dialog("carol").call_id);
        let ip = if referee == "alice" { "10.0.0.1" } else { "10.0.1.1" };
        talk(&mut stage, &one, ip, &other, "10.0.2.1");
        stage.end();
    }
}

/// The same passed on: the referee's INVITE names the dialog that the target knows, which then
/// hangs that one up.
#[test]
fn attended_by_the_phones() {
    for (referrer, referee) in SIDES {
        let (mut stage, _) = talking(ReferMode::Relay, referee);
        let address = stage.dialog(referrer).address;
        holds(&mut stage, referrer);
        stage.calls_from("consult", &address, "300");
        holds(&mut stage, "consult");
        let replaced = stage.dialog("carol");
        stage.requests.clear();
        stage.refers(referrer, &replacing(&stage, "consult"));
        let refer = stage.sent(referee, Method::Refer)[0];
        let to = text(refer, HeaderId::ReferTo);
        assert!(to.starts_with(&format!("<sip:carol@{}?", replaced.address)), "{to}");
        let moved = acts(&mut stage, referee);
        let invite = stage.sent("carol", Method::Invite)[0];
        let named = format!("{};to-tag={};from-tag={}", replaced.call_id, replaced.tag, replaced.baton);
        assert_eq!(text(invite, HeaderId::Replaces), named);
        let carols = text(invite, HeaderId::CallId);
        stage.request_in(&replaced.call_id, "BYE", "", "");
        assert_eq!(stage.count("consult BYE"), 1);
        stage.notifies(referee, 200, "terminated;reason=noresource");
        stage.request(referrer, "BYE", "", "");
        assert_eq!(stage.ended(), DONE);
        assert!(stage.together(moved, stage.leg(&carols)));
        stage.end();
    }
}

/// A Refer-To that names the dialog of that name, as its phone knows it.
fn replacing(stage: &Stage, name: &str) -> String {
    let dialog = stage.dialog(name);
    format!(
        "<sip:300@example.com?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
        dialog.call_id.replace('@', "%40"),
        dialog.baton,
        dialog.tag
    )
}

/// RFC 5589 §8: the target is told who refers, in the words of the REFER, whichever side that
/// is; one that wants proof says so by 429, which the referrer hears of, and may try again with more.
#[test]
fn referred_by() {
    for (referrer, referee) in SIDES {
        let (mut stage, survivor) = talking(ReferMode::Terminate, referee);
        stage.manner("carol").invite = Some(429);
        let told = |stage: &Stage| {
            let invites = stage.sent("carol", Method::Invite);
            text(invites.last().expect("an INVITE"), HeaderId::ReferredBy)
        };
        let refer = |stage: &mut Stage, by: &str| {
            let fields = format!("Refer-To: <sip:300@example.com>\nReferred-By: {by}\n");
            stage.request(referrer, "REFER", &fields, "");
        };
        let by = format!("\"The {referrer}\" <sip:{referrer}@atlanta.example.com;x=%7e>;y=z");
        refer(&mut stage, &by);
        assert_eq!(told(&stage), by);
        assert_eq!(stage.count(&format!("{referrer} NOTIFY 429 ")), 1);
        let rejected = Some(ReferReason::TargetRejected);
        assert_eq!(stage.ended(), (ReferStatus::Failed, rejected, Some(202), Some(429)));
        let other = stage.other(survivor);
        assert!(stage.together(survivor, other));
        stage.manner("carol").invite = Some(200);
        refer(&mut stage, "<sip:boss@atlanta.example.com>");
        assert_eq!(told(&stage), "<sip:boss@atlanta.example.com>");
        assert_eq!(stage.ended(), DONE);
        stage.end();
    }
}

/// RFC 5589 §10: Alice, the originator, calls Bob, who asks Carol to find Dave. Carol refers Bob to
/// Dave, then Bob refers Alice to him: anew, or by the call that he has with him by then.
#[test]
fn several_parties() {
    for replaces in [false, true] {
        let (mut stage, alice, _) = Stage::talking_with(ReferMode::Terminate, Policy::default());
        let first = stage.dialog("bob").call_id;
        dave_is_there(&mut stage);
        holds(&mut stage, "bob");
        let asking = stage.calls_from("asking", "10.0.1.1:5060", "300");
        stage.refers("carol", "<sip:400@example.com>");
        stage.pass_s(1);
        let dave = stage.dialog("dave").call_id;
        assert!(stage.together(asking, stage.leg(&dave)), "{:#?}", stage.log);
        stage.pass_s(6);
        assert_eq!(stage.count("carol BYE"), 1);

        stage.requests.clear();
        let to = if replaces { replacing(&stage, "asking") } else { "<sip:400@example.com>".to_owned() };
        let fields = format!("Refer-To: {to}\nReferred-By: <sip:bob@example.com>\n");
        stage.request_in(&first, "REFER", &fields, "");
        stage.pass_s(1);
        let new: Vec<_> = stage.sent("dave", Method::Invite);
        let new = new.into_iter().find(|m| m.to().expect("To").tag().is_none());
        assert_eq!(new.is_none(), replaces, "{:#?}", stage.log);
        let reached = new.map_or(dave.clone(), |invite| text(invite, HeaderId::CallId));
        assert!(stage.together(alice, stage.leg(&reached)), "{:#?}", stage.log);
        assert_eq!(stage.ended(), DONE);
        stage.request_in(&first, "BYE", "", "");
        if !replaces {
            let own = stage.dialog("asking").call_id;
            stage.request_in(&own, "BYE", "", "");
        }
        let ended: Vec<_> =
            stage.sent("dave", Method::Bye).iter().map(|m| text(m, HeaderId::CallId)).collect();
        assert_eq!(ended, if replaces { vec![] } else { vec![dave] });
        let caller = stage.dialog("alice").call_id;
        talk(&mut stage, &caller, "10.0.0.1", &reached, "10.0.3.1");
        stage.end();
    }
}

/// Numbers beginning with 4 go to Dave.
fn dave_is_there(stage: &mut Stage) {
    let action = Action::Trunks { to: vec![TrunkIx(3)], fork: Fork::Serial, mode: Mode::B2bua };
    let from = [0, 1, 2].map(|n| Origin::Trunk(TrunkIx(n))).to_vec();
    stage.plan.routes.push(Route { from, user: UserMatch::Prefix("4".into()), action });
}

/// The same where the phones do it all, and Baton passes on what they say: the second REFER
/// names a call that the first has made.
#[test]
fn several_parties_by_the_phones() {
    for replaces in [false, true] {
        let (mut stage, _, _) = Stage::talking_with(ReferMode::Relay, Policy::default());
        let first = stage.dialog("bob").call_id;
        dave_is_there(&mut stage);
        holds(&mut stage, "bob");
        stage.calls_from("asking", "10.0.1.1:5060", "300");
        stage.refers("carol", "<sip:400@example.com>");
        let facilitates = acts_as(&mut stage, "asking", "facilitates", "400");
        stage.notifies("asking", 200, "terminated;reason=noresource");
        assert_eq!(stage.count("carol NOTIFY 200 "), 1, "{:#?}", stage.log);
        assert_eq!(stage.ended(), DONE);
        stage.request("carol", "BYE", "", "");
        assert_eq!(stage.count("asking BYE"), 1);
        let dave = stage.dialog("dave");
        assert!(stage.together(facilitates, stage.leg(&dave.call_id)));

        stage.requests.clear();
        let to = if replaces { replacing(&stage, "facilitates") } else { "<sip:400@example.com>".to_owned() };
        let fields = format!("Refer-To: {to}\nReferred-By: <sip:bob@example.com>\n");
        stage.request_in(&first, "REFER", &fields, "");
        let moved = acts_as(&mut stage, "alice", "moved", "400");
        let invite = stage.sent("dave", Method::Invite)[0];
        assert_eq!(text(invite, HeaderId::ReferredBy), "<sip:bob@example.com>");
        let named = format!("{};to-tag={};from-tag={}", dave.call_id, dave.tag, dave.baton);
        assert_eq!(text(invite, HeaderId::Replaces), if replaces { named } else { String::new() });
        let reached = text(invite, HeaderId::CallId);
        stage.notifies("alice", 200, "terminated;reason=noresource");
        assert_eq!(stage.count("bob NOTIFY 200 "), 1, "{:#?}", stage.log);
        assert_eq!(stage.ended(), DONE);
        let (who, over) = if replaces {
            (dave.call_id, "facilitates BYE")
        } else {
            (stage.dialog("facilitates").call_id, "dave BYE")
        };
        stage.request_in(&who, "BYE", "", "");
        assert_eq!(stage.count(over), 1, "{:#?}", stage.log);
        stage.request_in(&first, "BYE", "", "");
        assert_eq!(stage.count("alice BYE"), 1);
        assert!(stage.together(moved, stage.leg(&reached)));
        stage.request_in(&reached, "INFO", "", "");
        assert_eq!(stage.count("moved INFO"), 1, "{:#?}", stage.log);
        stage.end();
    }
}
