use super::stage::Stage;
use crate::shard::PeerMessage;
use crate::sip::command::{Action, Decision, Dial, DialParty, Order, Party, ReferOrder};
use crate::sip::event::{CallSid, CallStatus, Event, ReferReason, ReferStatus};
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Action as RouteAction, Fork, Mode, Origin, ReferMode, Route, TrunkIx, UserMatch};
use crate::sip::refer::Policy;
use crate::sip::refer::policy::ReplacesMode;

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

/// Two calls through Baton become one: no INVITE, both of the referrer's legs go.
#[test]
fn a_consultation_is_joined() {
    let (mut stage, _, bob) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    stage.log.clear();
    stage.requests.clear();
    let to = replacing(&stage, "consult");
    stage.refers("alice", &to);
    stage.pass_s(1);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    assert!(stage.sent("carol", Method::Invite).iter().all(|m| m.to().expect("To").tag().is_some()));
    assert_eq!(stage.count("alice NOTIFY 200"), 1);
    assert_eq!(stage.count("consult BYE"), 1);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.pass_s(6);
    assert_eq!(stage.count("alice BYE"), 1);
    assert!(stage.together(bob, carol));
    stage.end();
}

/// The consultation still rings: its ringing branch becomes the target.
#[test]
fn a_ringing_consultation() {
    let (mut stage, _, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.calls("consult", "300");
    let to = replacing(&stage, "consult");
    stage.refers("alice", &to);
    assert_eq!(stage.count("carol INVITE"), 1, "no second INVITE");
    stage.cancels("consult");
    assert_eq!(stage.count("carol CANCEL"), 0);
    stage.picks_up("carol");
    stage.pass_s(2);
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol), "{:#?}", stage.log);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// The consultation rings at two at once: both become targets, and whoever picks up is joined,
/// whatever becomes of the other, and of the consultation.
#[test]
fn a_consultation_that_rings_at_two() {
    for leaves in [true, false] {
        let (mut stage, _, bob) = Stage::talking();
        let to =
            RouteAction::Trunks { to: vec![TrunkIx(1), TrunkIx(2)], fork: Fork::Parallel, mode: Mode::B2bua };
        let user = UserMatch::Prefix("4".into());
        stage.plan.routes.push(Route { from: vec![Origin::Trunk(TrunkIx(0))], user, action: to });
        stage.manner("bob").invite = None;
        stage.manner("carol").invite = None;
        stage.calls("consult", "400");
        let to = replacing(&stage, "consult");
        stage.refers("alice", &to);
        stage.cancels("consult");
        assert_eq!((stage.count("bob CANCEL"), stage.count("carol CANCEL")), (0, 0), "{:#?}", stage.log);
        if leaves {
            stage.refuses("bob", 486);
            assert_eq!(stage.count("alice NOTIFY 486"), 0, "{:#?}", stage.log);
        }
        stage.picks_up("carol");
        stage.pass_s(2);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        assert_eq!(stage.count("bob CANCEL"), usize::from(!leaves));
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// [R-057] [C-088] The branch that was taken over comes to nothing: the referrer is told, and its own INVITE,
/// for which nobody rings any more, has its answer.
#[test]
fn a_ringing_consultation_that_fails() {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("carol").invite = None;
    stage.calls("consult", "300");
    let to = replacing(&stage, "consult");
    stage.refers("alice", &to);
    stage.refuses("carol", 486);
    assert_eq!(stage.count("alice NOTIFY 486"), 1);
    assert_eq!(stage.count("consult INVITE 486"), 1);
    assert!(stage.together(alice, bob));
    stage.end();
}

/// So does one for a party that a program has called somebody for: its Dial has its winner, and
/// waits.
#[test]
fn a_ringing_consultation_for_a_dialled_party() {
    for busy in [false, true] {
        let (mut stage, alice, bob) = Stage::steered(ReferMode::Terminate);
        stage.manner("carol").invite = None;
        stage.calls_from("consult", "10.0.1.1:5060", "300");
        let to = replacing(&stage, "consult");
        stage.refers("bob", &to);
        stage.decides(Decision::Accept).expect("taken");
        assert_eq!(stage.count("carol INVITE"), 1, "no second INVITE");
        if busy {
            stage.refuses("carol", 486);
            assert!(stage.together(alice, bob));
            assert_eq!(stage.ended().0, ReferStatus::Busy);
            stage.request("bob", "BYE", "", "");
            let over = |e: &Event| matches!(e, Event::DialEnded(ended) if ended.winner == Some(bob));
            assert_eq!(stage.events.iter().filter(|e| over(e)).count(), 1);
        } else {
            stage.picks_up("carol");
            stage.pass_s(2);
            let carol = stage.leg(&stage.dialog("carol").call_id);
            assert!(stage.together(alice, carol), "{:#?}", stage.log);
            assert_eq!(stage.ended().0, ReferStatus::Completed);
        }
        stage.end();
    }
}

/// The far half of the consultation turns out to be no more.
#[test]
fn a_consultation_whose_far_half_is_gone() {
    for code in [481, 408] {
        let (mut stage, alice, bob) = Stage::talking();
        stage.calls("consult", "300");
        stage.manner("carol").reinvite = code;
        let to = replacing(&stage, "consult");
        stage.refers("alice", &to);
        stage.pass_s(1);
        assert_eq!(stage.count("alice NOTIFY 480"), 1, "{:#?}", stage.log);
        assert_eq!(stage.ended().0, ReferStatus::Failed);
        assert!(stage.together(alice, bob));
        stage.end();
    }
}

/// The consultation is no more: accepted, and the final NOTIFY says 481.
#[test]
fn a_consultation_that_is_no_more() {
    let policy = Policy { replaces: ReplacesMode::LocalOnly, ..Policy::default() };
    let (mut stage, alice, bob) = Stage::talking_with(ReferMode::Terminate, policy);
    stage.calls("consult", "300");
    let to = replacing(&stage, "consult");
    stage.request("consult", "BYE", "", "");
    stage.refers("alice", &to);
    assert_eq!(stage.count("alice REFER 202"), 1);
    assert_eq!(stage.count("alice NOTIFY 481"), 1);
    let rejected = Some(ReferReason::TargetRejected);
    assert_eq!(stage.ended(), (ReferStatus::Failed, rejected, Some(202), Some(481)));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// A dialog that is not Baton's: INVITE with Replaces, decoded once.
#[test]
fn a_dialog_of_somebody_else() {
    let (mut stage, _, _) = Stage::talking();
    stage.refers(
        "alice",
        "<sip:300@example.com?Replaces=x%2540y%40host%3Bto-tag%3D1%3Bfrom-tag%3D2&Require=replaces>",
    );
    let invite = stage.sent("carol", Method::Invite)[0];
    assert_eq!(invite.header(HeaderId::Replaces), Some(&b"x%40y@host;to-tag=1;from-tag=2"[..]));
    assert!(invite.lists(HeaderId::Require, "replaces"));
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// Replaces that names the very call: 482.
#[test]
fn the_call_itself() {
    let (mut stage, alice, bob) = Stage::talking();
    let to = replacing(&stage, "alice");
    stage.refers("alice", &to);
    assert_eq!(stage.count("alice REFER 482"), 1);
    assert!(stage.together(alice, bob));
    stage.end();
}

/// Role T: Refer-To names the consultation's far party and its dialog; by its Contact,
/// then by its address of record.
#[test]
fn a_refer_with_replaces() {
    let (mut stage, alice, _) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    stage
        .refer(alice, |order| {
            order.to = String::new();
            order.replaces = Some(carol);
        })
        .expect("taken");
    let dialog = stage.dialog("carol");
    let refer = stage.sent("alice", Method::Refer)[0];
    let to = String::from_utf8_lossy(refer.header(HeaderId::ReferTo).expect("Refer-To")).into_owned();
    let expected = format!(
        "<sip:carol@{}?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
        dialog.address,
        dialog.call_id.replace('@', "%40"),
        dialog.tag,
        dialog.baton
    );
    assert_eq!(to, expected);
    // the Contact cannot be reached: once more by the address of record.
    stage.notifies("alice", 404, "terminated;reason=noresource");
    assert_eq!(stage.count("alice REFER"), 2);
    assert_eq!(stage.ended().0, ReferStatus::InProgress);
    stage.notifies("alice", 404, "terminated;reason=noresource");
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::TargetRejected), Some(202), Some(404)));
    stage.end();
}

/// [R-087] [jambonz 15] A program called somebody for the referrer, and a transfer takes that branch over while it
/// rings: the program is told that its Dial is over, once, and what becomes of the leg stays its business.
#[test]
fn a_programs_consultation_is_taken_over() {
    for busy in [false, true] {
        let (mut stage, alice, bob) = Stage::steered(ReferMode::Terminate);
        let to = RouteAction::Trunks { to: vec![TrunkIx(2)], fork: Fork::Serial, mode: Mode::B2bua };
        let user = UserMatch::Prefix("3".into());
        stage.plan.routes.insert(0, Route { from: vec![Origin::Api], user, action: to });
        stage.manner("carol").invite = None;
        let consult = stage.calls("consult", "500");
        let carol = DialParty {
            sid: CallSid(0xca201),
            to: Party::Number("300".into()),
            headers: Vec::new(),
            credentials: None,
        };
        let timeout = std::time::Duration::from_secs(30);
        let dial = Dial { parties: vec![carol], from: None, timeout, time_limit: None, join: true };
        stage.order(Order::Leg(consult, Action::Dial(Box::new(dial)))).expect("taken");
        let to = replacing(&stage, "consult");
        stage.refers("alice", &to);
        stage.decides(Decision::Accept).expect("taken");
        let ended = |stage: &Stage| {
            let of = |e: &&Event| matches!(e, Event::DialEnded(ended) if ended.sid == consult);
            let told = |e: &Event| match e {
                Event::DialEnded(ended) => (ended.winner, ended.status, ended.code),
                other => panic!("{other:?}"),
            };
            stage.events.iter().filter(of).map(told).collect::<Vec<_>>()
        };
        assert_eq!(ended(&stage), [(None, CallStatus::Canceled, 487)], "{:#?}", stage.log);
        assert_eq!((stage.count("carol INVITE"), stage.count("carol CANCEL")), (1, 0));
        if busy {
            stage.refuses("carol", 486);
            assert!(stage.together(alice, bob));
            assert_eq!(stage.count("consult INVITE"), 1, "it rang; the program may call somebody else");
        } else {
            stage.picks_up("carol");
            stage.pass_s(2);
            assert!(stage.together(bob, CallSid(0xca201)), "{:#?}", stage.log);
            assert_eq!(stage.ended().0, ReferStatus::Completed);
        }
        assert_eq!(ended(&stage).len(), 1);
        stage.end();
    }
}

/// Who must understand Replaces is the party that is transferred as well as the one it is sent to; of
/// one that has never said what it supports, nothing is known, and it is tried, as with any whom the
/// order forces.
#[test]
fn who_must_know_replaces() {
    const SILENT: &str = "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY, OPTIONS\n";
    const WITHOUT: &str = "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY, OPTIONS\nSupported: timer\n";
    for (phone, says, force, sent) in [
        ("alice", WITHOUT, false, false),
        ("carol", WITHOUT, false, false),
        ("carol", WITHOUT, true, true),
        ("alice", SILENT, false, true),
        ("carol", SILENT, false, true),
    ] {
        let mut stage = Stage::new(ReferMode::Terminate);
        stage.manner(phone).allow = says;
        let alice = stage.calls("alice", "200");
        let consultation = stage.calls("consult", "300");
        let carol = stage.other(consultation);
        let order = |order: &mut ReferOrder| {
            (order.to, order.replaces, order.force) = (String::new(), Some(carol), force);
        };
        stage.refer(alice, order).expect("taken");
        assert_eq!(stage.count("alice REFER"), usize::from(sent), "{phone} {says:?}");
        if !sent {
            let rejected = Some(ReferReason::ReferRejected);
            assert_eq!(stage.ended(), (ReferStatus::Failed, rejected, Some(420), None));
        }
        stage.end();
    }
}

/// The consultation is sought on another shard, and the referrer hangs up meanwhile: its REFER
/// is answered, and what is found then is of no use to anybody.
#[test]
fn sought_in_vain() {
    let (mut stage, _, _) = Stage::talking();
    stage.place = crate::shard::Place { shards: 2, ..stage.place };
    let elsewhere = (0..).map(|n| format!("{n}x")).find(|id| stage.place.owner_of(id.as_bytes()) == 1);
    let elsewhere = elsewhere.expect("one in two");
    stage.refers("alice", &format!("<sip:300@127.0.0.1?Replaces={elsewhere}%3Bto-tag%3D1%3Bfrom-tag%3D2>"));
    let asked = |message: &PeerMessage| match message {
        PeerMessage::Claim { ticket, .. } => Some(*ticket),
        _ => None,
    };
    let ticket = stage.peers.iter().find_map(asked).expect("a claim");
    stage.request("alice", "BYE", "", "");
    assert_eq!((stage.count("alice REFER 487"), stage.ended().0), (1, ReferStatus::Canceled));
    stage.with(|calls, cx| calls.peer(cx, PeerMessage::Moved { ticket, call: Err(481) }));
    assert_eq!((stage.count("alice NOTIFY"), stage.count("alice REFER")), (0, 1), "{:#?}", stage.log);
    assert_eq!(stage.count("bob BYE"), 1);
    stage.end();
}
