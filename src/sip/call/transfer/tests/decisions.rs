//! What is told of a decision about a transfer: that it was taken, by which rule, and which calls it ties
//! together.

use super::stage::Stage;
use crate::sip::command::Decision;
use crate::sip::event::{CallSid, CallStarted, Cause, Event, ReferReason, ReferSid};
use crate::sip::plan::ReferMode;
use crate::sip::refer::policy::{MissingReferredBy, TargetRule};
use crate::sip::refer::{Policy, ReferRule};

fn rule(allow: bool, domain: &str, prefix: &str) -> TargetRule {
    TargetRule { allow, domain: domain.into(), prefix: prefix.into() }
}

/// Every snapshot says the same of it: the rule, and whether that has denied it.
fn decided(stage: &Stage) -> (String, bool) {
    let rules: Vec<Option<ReferRule>> = stage.told().iter().map(|refer| refer.rule).collect();
    assert!(!rules.is_empty() && rules.iter().all(|rule| *rule == rules[0]), "{rules:?}");
    let denied = stage.told().iter().any(|refer| refer.reason == Some(ReferReason::Policy));
    (rules[0].expect("a rule").to_string(), denied)
}

/// The call and its two ties, as they were told last.
fn ties(stage: &Stage) -> (CallSid, Option<CallSid>, Option<CallSid>) {
    let last = *stage.told().last().expect("a Refer");
    (last.call, last.moved, last.target)
}

/// The calls that began because of a Refer.
fn caused(stage: &Stage) -> Vec<(CallSid, Option<CallSid>, Cause)> {
    let of = |started: &CallStarted| Some((started.sid, started.parent, started.cause?));
    let started = stage.events.iter().filter_map(|event| match event {
        Event::CallStarted(started) => of(started),
        _ => None,
    });
    started.collect()
}

fn refer_of(stage: &Stage) -> ReferSid {
    stage.told().last().expect("a Refer").sid
}

/// Performed by Baton: allowed by the trunk's mode, or by the entry of its list; the new leg names the
/// Refer, the call it comes of, and the party it was called for, and the Refer names them all.
#[test]
fn performed() {
    let listed = vec![rule(false, "", "9"), rule(true, "nowhere", ""), rule(true, "example.com", "")];
    for (targets, name) in [(vec![], "refer.mode"), (listed, "refer.allow[1]")] {
        let policy = Policy { targets, ..Policy::default() };
        let (mut stage, alice, bob) = Stage::talking_with(ReferMode::Terminate, policy);
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!(decided(&stage), (name.to_owned(), false));
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert_eq!(ties(&stage), (alice, Some(bob), Some(carol)));
        let cause = Cause { refer: refer_of(&stage), call: alice };
        assert_eq!(caused(&stage), [(carol, Some(bob), cause)]);
        stage.end();
    }
}

/// A target that refuses is tied to the call all the same; the parties' own call is of no transfer.
#[test]
fn performed_in_vain() {
    let (mut stage, alice, bob) = Stage::talking();
    assert_eq!(caused(&stage), []);
    stage.manner("carol").invite = Some(486);
    stage.refers("alice", "<sip:300@example.com>");
    let began = caused(&stage);
    assert_eq!(ties(&stage), (alice, Some(bob), Some(began[0].0)));
    assert_eq!((began.len(), began[0].2.refer), (1, refer_of(&stage)));
    stage.end();
}

/// A consultation that is taken over: its far half is the target.
#[test]
fn taken_over() {
    let (mut stage, alice, bob) = Stage::talking();
    let consultation = stage.calls("consult", "300");
    let carol = stage.other(consultation);
    let dialog = stage.dialog("consult");
    let (call_id, baton, tag) = (dialog.call_id, dialog.baton, dialog.tag);
    let replaces = format!("?Replaces={call_id}%3Bto-tag%3D{baton}%3Bfrom-tag%3D{tag}");
    stage.refers("alice", &format!("<sip:300@example.com{replaces}>"));
    assert_eq!(ties(&stage), (alice, Some(bob), Some(carol)));
    assert_eq!(caused(&stage), []);
    stage.pass_s(6);
    stage.end();
}

/// Refused: one event, with the rule that says so.
#[test]
fn refused() {
    let lists =
        vec![rule(false, "", "8"), rule(false, "example.com", "9"), rule(true, "", "3"), rule(false, "", "")];
    let listed = || Policy { targets: lists.clone(), ..Policy::default() };
    let plain = Policy::default;
    let mode = ReferMode::Terminate;
    for (mode, policy, to, name) in [
        (mode, listed(), "<sip:900@example.com>", "refer.deny[1]"),
        (mode, listed(), "<sip:700@example.com>", "refer.allow"),
        (ReferMode::Relay, listed(), "<sip:900@example.com>", "refer.deny[1]"),
        (mode, Policy { max_transfers: 0, ..plain() }, "<sip:300@example.com>", "refer.max_transfers"),
        (mode, plain(), "<sip:900@example.com>", "route"),
        (mode, plain(), "<mailto:x@y>", "request"),
        (mode, plain(), "<sip:bob@10.0.1.1:5060>", "loop"),
    ] {
        let (mut stage, alice, bob) = Stage::talking_with(mode, policy);
        stage.refers("alice", to);
        assert_eq!((decided(&stage), stage.told().len()), ((name.to_owned(), true), 1), "{to}");
        assert_eq!(ties(&stage), (alice, Some(bob), None));
        stage.end();
    }
    let demanding = Policy { referred_by: MissingReferredBy::Refuse, ..plain() };
    let (mut stage, _, _) = Stage::talking_with(mode, demanding);
    stage.request("alice", "REFER", "Refer-To: <sip:300@example.com>\n", "");
    assert_eq!(decided(&stage), ("refer.referred_by".to_owned(), true));
    stage.end();
    let (mut stage, _, _) = Stage::talking();
    stage.plan.trunks[0].refer = ReferMode::Reject(603);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(decided(&stage), ("refer.mode".to_owned(), true));
    stage.end();
}

/// The application's word is a rule of its own; without it, the trunk's mode is.
#[test]
fn by_the_application() {
    for (decision, name, denied) in [
        (Some(Decision::Accept), "application", false),
        (Some(Decision::Redirect("sip:300@example.com".into())), "application", false),
        (Some(Decision::Reject(603)), "application", true),
        (Some(Decision::Redirect("sip:900@example.com".into())), "route", true),
        (None, "refer.mode", false),
    ] {
        let (mut stage, ..) = Stage::steered(ReferMode::Terminate);
        stage.refers("alice", "<sip:300@example.com>");
        match decision {
            Some(decision) => stage.decides(decision).expect("taken"),
            None => stage.pass_s(3),
        }
        assert_eq!(decided(&stage), (name.to_owned(), denied));
        stage.end();
    }
}

/// Passed on, and asked for by the API.
#[test]
fn relayed_or_ordered() {
    let (mut stage, alice, bob) = Stage::talking_with(ReferMode::Relay, Policy::default());
    stage.refers("alice", "<sip:300@example.com>");
    stage.notifies("bob", 200, "terminated;reason=noresource");
    assert_eq!(decided(&stage), ("refer.mode".to_owned(), false));
    assert_eq!(ties(&stage), (alice, Some(bob), None));
    stage.end();

    let (mut stage, alice, _) = Stage::talking();
    stage.refer(alice, |_| {}).expect("taken");
    stage.notifies("alice", 200, "terminated;reason=noresource");
    assert_eq!(decided(&stage), ("api".to_owned(), false));
    assert_eq!(ties(&stage), (alice, None, None));
    stage.end();
}
