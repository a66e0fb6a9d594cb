//! What the referrer says to the NOTIFYs of a transfer that Baton performs, and what its REFER asks of them.

use super::stage::{Stage, text};
use crate::sip::event::ReferStatus;
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Credentials, Secret};
use std::sync::Arc;

/// Alice has referred Bob to Carol; her phone answers the first NOTIFY so.
fn answered(code: u16) -> Stage {
    let (mut stage, _, _) = Stage::talking();
    stage.manner("alice").notify = Some(code);
    stage.manner("carol").invite = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.manner("alice").notify = Some(200);
    stage.pass_s(2);
    stage
}

/// Which answers end the subscription, and which are about that one NOTIFY only (RFC 6665 §4.2.2); the
/// transfer goes on in any case, and the referrer is let go in the end.
#[test]
fn answers_that_end_the_subscription() {
    let ending = [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604];
    for code in ending.into_iter().chain([400, 403, 500, 600]) {
        let mut stage = answered(code);
        let ends = ending.contains(&code);
        assert_eq!(stage.count("alice NOTIFY 180"), usize::from(!ends), "{code}: {:#?}", stage.log);
        stage.picks_up("carol");
        assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), usize::from(!ends), "{code}");
        let (bob, carol) = (stage.dialog("bob").call_id, stage.dialog("carol").call_id);
        assert!(stage.together(stage.leg(&bob), stage.leg(&carol)), "{code}");
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)), "{code}");
        stage.pass_s(6);
        assert_eq!(stage.count("alice BYE"), 1, "{code}");
        stage.end();
    }
}

/// [C-200] A challenge is answered with what Baton has for the referrer's trunk, by the next NOTIFY in number;
/// without credentials that one is lost, and nothing else.
#[test]
fn a_notify_that_is_challenged() {
    const CHALLENGE: &str =
        "WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\n";
    for knows in [true, false] {
        let (mut stage, _, _) = Stage::talking();
        let secret = Secret::Password("secret".into());
        let credentials = Arc::new(Credentials { user: "alpha".into(), secret });
        stage.plan.trunks[0].owned.credentials = Some(credentials).filter(|_| knows);
        stage.manner("alice").notify = None;
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        stage.answers_with("alice", Method::Notify, 401, CHALLENGE);
        let sent = stage.sent("alice", Method::Notify);
        if knows {
            assert_eq!(sent.len(), 2, "{:#?}", stage.log);
            assert!(text(sent[1], HeaderId::Authorization).contains("username=\"alpha\""));
            assert_eq!(sent[0].body(), sent[1].body());
            let number = |n: usize| sent[n].cseq().expect("CSeq").number;
            assert_eq!(number(1), number(0) + 1);
            stage.answers("alice", Method::Notify, 200);
        }
        stage.manner("alice").notify = Some(200);
        stage.pass_s(2);
        assert_eq!(stage.count("alice NOTIFY 180"), 1, "{:#?}", stage.log);
        stage.picks_up("carol");
        assert_eq!(stage.count("alice NOTIFY 200 OK terminated"), 1);
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// What a REFER lists as supported decides the code only: there is a subscription as ever.
#[test]
fn who_knows_of_other_subscriptions() {
    for (supported, code) in [("replaces", 202), ("nosub", 200), ("replaces, explicitsub", 200)] {
        let (mut stage, _, _) = Stage::talking();
        let fields = format!("Refer-To: <sip:300@example.com>\nSupported: {supported}\n");
        stage.request("alice", "REFER", &fields, "");
        assert_eq!(stage.count(&format!("alice REFER {code}")), 1, "{supported}");
        assert_eq!(stage.count("alice NOTIFY 100 Trying active"), 1, "{supported}");
        let (_, answer) =
            stage.responses.iter().rfind(|(_, m)| m.method() == Method::Refer).expect("an answer");
        assert!(answer.other_header("Refer-Events-At").is_none());
        assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(code), Some(200)));
        stage.end();
    }
}
