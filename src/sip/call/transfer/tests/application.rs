use super::stage::Stage;
use crate::sip::command::{Decision, Refused};
use crate::sip::event::{Event, ReferReason, ReferStatus};
use crate::sip::message::Method;
use crate::sip::plan::ReferMode;

fn asked(stage: &Stage) -> usize {
    stage.events.iter().filter(|e| matches!(e, Event::ReferAsked(_))).count()
}

/// The program is asked before anything is answered, and accepts; the only answer to the
/// REFER is the final one.
#[test]
fn accepted() {
    let (mut stage, _, bob) = Stage::steered(ReferMode::Relay);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(asked(&stage), 1);
    stage.pass_s(1);
    assert_eq!(stage.count("alice REFER") + stage.count("carol"), 0);
    assert_eq!(stage.decides(Decision::Report(180)), Err(Refused::NotAnswered));
    assert_eq!(stage.decides(Decision::Accept), Ok(()));
    assert_eq!((stage.count("alice REFER 202"), stage.count("alice REFER")), (1, 1));
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    let carol = stage.leg(&stage.dialog("carol").call_id);
    assert!(stage.together(bob, carol));
    assert_eq!(stage.decides(Decision::Accept), Err(Refused::Answered));
    stage.end();
}

/// Another target; the rules are asked about that one, too.
#[test]
fn redirected() {
    let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
    stage.refers("alice", "<sip:900@example.com>");
    assert_eq!(stage.decides(Decision::Redirect("nonsense".into())), Err(Refused::Malformed));
    assert_eq!(stage.decides(Decision::Redirect("sip:300@example.com".into())), Ok(()));
    assert_eq!(stage.count("carol INVITE"), 1);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
    let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.decides(Decision::Redirect("sip:900@example.com".into())), Ok(()));
    assert_eq!(stage.count("alice REFER 404"), 1);
    stage.end();
}

/// Declined, with a code.
#[test]
fn declined() {
    let (mut stage, alice, bob) = Stage::steered(ReferMode::Terminate);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.decides(Decision::Reject(200)), Err(Refused::Malformed));
    assert_eq!(stage.decides(Decision::Reject(603)), Ok(()));
    assert_eq!(stage.count("alice REFER 603"), 1);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::Policy), Some(603), None));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// Silence for two seconds: the trunk's mode does what it does.
#[test]
fn silence() {
    for (mode, line) in [(ReferMode::Terminate, "carol INVITE"), (ReferMode::Relay, "bob REFER")] {
        let (mut stage, _, _) = Stage::steered(mode);
        stage.refers("alice", "<sip:300@example.com>");
        stage.pass_s(1);
        assert_eq!(stage.count(line), 0);
        stage.pass_s(2);
        assert_eq!(stage.count(line), 1, "{:#?}", stage.log);
        assert_eq!(stage.count("alice REFER 202"), 1);
        if mode == ReferMode::Relay {
            stage.notifies("bob", 200, "terminated;reason=noresource");
        }
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// [R-119] [rcml 7.2] The program performs it itself: 202, NOTIFY 100 at once, then what it reports.
#[test]
fn taken() {
    for (code, status) in [(200, ReferStatus::Completed), (486, ReferStatus::Busy)] {
        let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!(stage.decides(Decision::Take), Ok(()));
        assert_eq!(stage.count("alice NOTIFY 100"), 1);
        assert_eq!(stage.sent("carol", Method::Invite).len(), 0);
        stage.pass_s(100);
        assert_eq!(stage.decides(Decision::Report(180)), Ok(()));
        assert_eq!(stage.count("alice NOTIFY 180"), 1);
        assert_eq!(stage.decides(Decision::Report(code)), Ok(()));
        assert_eq!(stage.count(&format!("alice NOTIFY {code}")), 1);
        assert_eq!(stage.ended().0, status);
        stage.pass_s(6);
        assert_eq!(stage.count("alice BYE"), usize::from(code == 200));
        stage.end();
    }
}

/// It may take its time: the subscription lasts as long as its result is waited for.
#[test]
fn taken_for_long() {
    let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.decides(Decision::Take), Ok(()));
    stage.pass_s(1);
    assert_eq!(stage.decides(Decision::Report(180)), Ok(()));
    stage.pass_s(280);
    assert_eq!(stage.count("alice NOTIFY 180"), 1, "{:#?}", stage.log);
    assert_eq!(stage.decides(Decision::Report(200)), Ok(()));
    assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1, "{:#?}", stage.log);
    stage.end();
}

/// The referrer, or the party to be moved, goes while the program thinks.
#[test]
fn gone_while_thinking() {
    for name in ["alice", "bob"] {
        let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
        stage.refers("alice", "<sip:300@example.com>");
        stage.request(name, "BYE", "", "");
        stage.pass_s(3);
        assert_eq!(stage.ended().0, ReferStatus::Canceled);
        assert_eq!(stage.count("carol"), 0);
        stage.end();
    }
}
