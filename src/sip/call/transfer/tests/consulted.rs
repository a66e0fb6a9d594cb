//! Attended transfers by REFER (role T): the consultation while its Refer is under way, and the second attempt.

use super::stage::{Stage, text};
use crate::sip::event::{CallSid, ReferReason, ReferSid, ReferStatus};
use crate::sip::message::{HeaderId, Method};

const OVER: &str = "terminated;reason=noresource";

/// Alice is referred to Carol, to whom she has no call: somebody else of hers has.
fn referred() -> (Stage, CallSid, CallSid, CallSid) {
    let (mut stage, alice, _) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    stage.refer(alice, |order| (order.to, order.replaces) = (String::new(), Some(carol))).expect("taken");
    (stage, alice, consultation, carol)
}

/// The consultation is kept for as long as the result is not known, and stays when the transfer has failed:
/// whatever is reported, nobody in it is hung up on.
#[test]
fn a_consultation_is_kept() {
    let (mut stage, alice, consultation, carol) = referred();
    for code in [100, 180] {
        stage.notifies("alice", code, "active;expires=200");
        stage.pass_s(30);
        assert!(stage.together(consultation, carol), "{:#?}", stage.log);
        assert_eq!((stage.count("carol BYE"), stage.count("consult BYE")), (0, 0));
    }
    stage.notifies("alice", 486, OVER);
    assert_eq!(stage.ended().0, ReferStatus::Busy);
    stage.pass_s(10);
    assert!(stage.together(consultation, carol));
    assert_eq!((stage.count("carol BYE"), stage.count("consult BYE"), stage.count("alice BYE")), (0, 0, 0));
    assert_eq!(stage.other(alice), stage.leg(&stage.dialog("bob").call_id));
    stage.end();
}

/// Its far end hangs up, as it does when it is replaced: that is no result, and the REFER's own NOTIFYs
/// still decide.
#[test]
fn a_consultation_that_ends_meanwhile() {
    let (mut stage, _, _, _) = referred();
    stage.notifies("alice", 180, "active;expires=200");
    stage.request("carol", "BYE", "", "");
    assert_eq!(stage.count("carol BYE 200"), 1);
    stage.pass_s(10);
    assert_eq!(stage.ended(), (ReferStatus::InProgress, None, Some(202), Some(180)));
    assert_eq!(stage.count("alice BYE"), 0);
    stage.notifies("alice", 200, OVER);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    assert_eq!(stage.count("alice BYE"), 1);
    stage.end();
}

/// A Contact that is refused, unknown or silent is tried once more, by the address of record and with the
/// same Replaces; with any other code there is nothing to be tried.
#[test]
fn once_more_by_the_address_of_record() {
    for (code, again) in [
        (403, true),
        (404, true),
        (408, true),
        (420, false),
        (480, false),
        (481, false),
        (486, false),
        (603, false),
    ] {
        let (mut stage, _, _, _) = referred();
        stage.notifies("alice", code, OVER);
        let refers = stage.sent("alice", Method::Refer);
        assert_eq!(refers.len(), 1 + usize::from(again), "{code}: {:#?}", stage.log);
        let first = text(refers[0], HeaderId::ReferTo);
        let (contact, replaces) = first.split_once('?').expect("a header part");
        assert!(contact.starts_with("<sip:carol@10.0.2.1:5060"), "{contact}");
        if again {
            let second = text(refers[1], HeaderId::ReferTo);
            let record = stage.sent("carol", Method::Invite)[0].to().expect("To").uri.to_vec();
            let record = String::from_utf8_lossy(&record).into_owned();
            assert_eq!(second, format!("<{record}?{replaces}"));
            assert_eq!(stage.ended().0, ReferStatus::InProgress);
            stage.notifies("alice", 200, OVER);
            assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
            assert!(stage.told().iter().all(|refer| refer.sid == ReferSid(77)), "one Refer, two attempts");
        } else {
            let (status, reason, _, notified) = stage.ended();
            assert!(status != ReferStatus::InProgress && notified == Some(code), "{status:?}");
            assert_ne!(reason, Some(ReferReason::OutcomeUnknown));
        }
        stage.end();
    }
}
