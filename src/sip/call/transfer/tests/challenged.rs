//! REFERs of Baton's that are challenged, and what is said about an attempt that was.

use super::stage::{Stage, text};
use crate::sip::event::{CallSid, ReferReason, ReferStatus};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::plan::{Credentials, Secret};
use std::sync::Arc;

const OVER: &str = "terminated;reason=noresource";

/// Baton has sent Alice's phone a REFER, for which it has credentials; her phone answers nothing by itself.
fn sent() -> (Stage, CallSid, CallSid) {
    let (mut stage, alice, bob) = Stage::talking();
    stage.manner("alice").refer = None;
    let secret = Secret::Password("zanzibar".into());
    let credentials = Some(Arc::new(Credentials { user: "desk".into(), secret }));
    stage.refer(alice, |order| order.credentials = credentials).expect("taken");
    (stage, alice, bob)
}

fn challenges(stage: &mut Stage, code: u16, realm: &str, nonce: &str, stale: bool) {
    let field = if code == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
    let stale = if stale { ", stale=true" } else { "" };
    let challenge = format!("{field}: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{stale}\n");
    stage.answers_with("alice", Method::Refer, code, &challenge);
}

fn refers(stage: &Stage) -> Vec<Message> {
    stage.sent("alice", Method::Refer).into_iter().cloned().collect()
}

fn cseq(message: &Message) -> u32 {
    message.cseq().expect("CSeq").number
}

/// The nonces that a REFER answers, each with whom it answers them to.
fn answers(refer: &Message) -> Vec<(HeaderId, String)> {
    let nonce = |value: &[u8]| {
        let text = String::from_utf8_lossy(value).into_owned();
        text.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    };
    let lines = refer
        .headers()
        .filter(|line| matches!(line.id, HeaderId::Authorization | HeaderId::ProxyAuthorization));
    lines.map(|line| (line.id, nonce(line.value))).collect()
}

fn rejected(code: u16) -> super::stage::Ended {
    (ReferStatus::Failed, Some(ReferReason::ReferRejected), Some(code), None)
}

/// Each realm that asks for it is answered, those before again with it, as one Refer; each attempt
/// has the next CSeq.
#[test]
fn two_realms() {
    let (mut stage, alice, bob) = sent();
    challenges(&mut stage, 407, "proxy", "p1", false);
    challenges(&mut stage, 401, "phone", "u1", false);
    let sent = refers(&stage);
    let [first, second, third] = sent.as_slice() else { panic!("{:#?}", stage.log) };
    assert_eq!((cseq(second), cseq(third)), (cseq(first) + 1, cseq(first) + 2));
    assert_eq!(answers(first), []);
    assert_eq!(answers(second), [(HeaderId::ProxyAuthorization, "p1".to_owned())]);
    let mut both = answers(third);
    both.sort_by(|a, b| a.1.cmp(&b.1));
    let expected = [(HeaderId::ProxyAuthorization, "p1"), (HeaderId::Authorization, "u1")];
    assert_eq!(both, expected.map(|(id, nonce)| (id, nonce.to_owned())));
    assert_eq!(text(third, HeaderId::ReferTo), text(first, HeaderId::ReferTo));
    stage.answers("alice", Method::Refer, 202);
    stage.notifies("alice", 486, OVER);
    assert_eq!(stage.ended(), (ReferStatus::Busy, Some(ReferReason::TargetBusy), Some(202), Some(486)));
    assert!(stage.together(alice, bob));
    stage.end();
}

/// A realm that refuses the answer itself is not asked again.
#[test]
fn once_per_realm() {
    let (mut stage, alice, bob) = sent();
    challenges(&mut stage, 407, "proxy", "p1", false);
    challenges(&mut stage, 407, "proxy", "p2", false);
    assert_eq!((refers(&stage).len(), stage.ended()), (2, rejected(407)), "{:#?}", stage.log);
    stage.pass_s(40);
    assert_eq!(refers(&stage).len(), 2);
    assert!(stage.together(alice, bob), "the call stays");
    stage.end();
}

/// One whose nonce is only too old is; to what it refuses then there is no further answer.
#[test]
fn again_when_stale() {
    let (mut stage, alice, bob) = sent();
    challenges(&mut stage, 407, "proxy", "p1", false);
    challenges(&mut stage, 407, "proxy", "p2", true);
    let sent = refers(&stage);
    assert_eq!(answers(&sent[2]), [(HeaderId::ProxyAuthorization, "p2".to_owned())]);
    assert_eq!(cseq(&sent[2]), cseq(&sent[0]) + 2);
    assert!(stage.told().iter().all(|refer| refer.status == ReferStatus::InProgress));
    challenges(&mut stage, 407, "proxy", "p3", false);
    assert_eq!((refers(&stage).len(), stage.ended()), (3, rejected(407)));
    assert!(stage.together(alice, bob), "the call stays");
    stage.end();
}

/// Who says for ever that a nonce is too old is given up on as well.
#[test]
fn stale_for_ever() {
    let (mut stage, _, _) = sent();
    for n in 1..=40 {
        let before = refers(&stage).len();
        challenges(&mut stage, 401, "phone", &format!("u{n}"), n > 1);
        if refers(&stage).len() == before {
            break;
        }
    }
    assert!(refers(&stage).len() <= 10, "{}", refers(&stage).len());
    assert_eq!(stage.ended(), rejected(401));
    stage.end();
}

/// A NOTIFY means the REFER that was accepted: one that names the challenged attempt belongs to
/// nothing, and the result is what is said of the other.
#[test]
fn the_id_is_that_of_the_accepted_one() {
    let (mut stage, _, _) = sent();
    challenges(&mut stage, 401, "phone", "u1", false);
    stage.answers("alice", Method::Refer, 202);
    let sent = refers(&stage);
    let about = |stage: &mut Stage, id: u32, code: u16| {
        let fields = format!(
            "Event: refer;id={id}\nSubscription-State: {OVER}\nContent-Type: message/sipfrag;version=2.0\n"
        );
        stage.request("alice", "NOTIFY", &fields, &format!("SIP/2.0 {code} Whatever\n"));
    };
    about(&mut stage, cseq(&sent[0]), 486);
    assert_eq!(stage.count("alice NOTIFY 481"), 1, "{:#?}", stage.log);
    assert_eq!(stage.ended(), (ReferStatus::InProgress, None, Some(202), None));
    about(&mut stage, cseq(&sent[1]), 200);
    assert_eq!(stage.count("alice NOTIFY 200"), 1);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.end();
}

/// Nor can what was refused with 491 decide what follows it.
#[test]
fn the_id_is_not_that_of_one_that_met_glare() {
    let (mut stage, alice, _) = Stage::talking();
    stage.manner("alice").refer = Some(491);
    stage.refer(alice, |_| {}).expect("taken");
    stage.manner("alice").refer = Some(202);
    stage.pass_s(5);
    let sent = refers(&stage);
    assert_eq!(sent.len(), 2);
    let late = format!(
        "Event: refer;id={}\nSubscription-State: {OVER}\nContent-Type: message/sipfrag\n",
        cseq(&sent[0])
    );
    stage.request("alice", "NOTIFY", &late, "SIP/2.0 603 Decline\n");
    assert_eq!(stage.ended(), (ReferStatus::InProgress, None, Some(202), None), "{:#?}", stage.log);
    stage.notifies("alice", 200, OVER);
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.end();
}
