//! Who is joined is told whom it talks to now.

use super::stage::{Stage, text};
use crate::sip::event::ReferStatus;
use crate::sip::flow::{Flow, Transport};
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Action, Origin, ReferMode, Route, TrunkIx, UserMatch};
use crate::sip::refer::Policy;
use crate::sip::registrar::Contact;

const NAMED: &str = "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY\nP-Asserted-Identity: \"Carol\" <sip:+31300@nl.example>\n";
const PRIVATE: &str = "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY\nP-Asserted-Identity: <sip:+31200@nl.example>\nPrivacy: id\n";

fn identities(stage: &Stage, name: &str) -> Vec<(String, String)> {
    let both = |m: &&crate::sip::message::Message| {
        (text(m, HeaderId::PAssertedIdentity), text(m, HeaderId::Privacy))
    };
    stage.sent(name, Method::Invite).iter().map(both).collect()
}

fn pair(identity: &str, privacy: &str) -> (String, String) {
    (identity.to_owned(), privacy.to_owned())
}

/// A blind transfer: the survivor's re-INVITE names the target as that has named itself, else as it was
/// called; the target's INVITE names the survivor.
#[test]
fn blind() {
    for (allow, identity) in
        [(None, "<sip:300@example.com>"), (Some(NAMED), "\"Carol\" <sip:+31300@nl.example>")]
    {
        let (mut stage, _, _) = Stage::talking();
        if let Some(allow) = allow {
            stage.manner("carol").allow = allow;
        }
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!(identities(&stage, "bob"), [pair(identity, "")]);
        assert_eq!(identities(&stage, "carol"), [pair("<sip:200@127.0.0.1>", "")]);
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// An attended one: each of the two is told of the other.
#[test]
fn attended() {
    let (mut stage, _, _) = Stage::talking();
    stage.calls("consult", "300");
    stage.log.clear();
    stage.requests.clear();
    let dialog = stage.dialog("consult");
    let (call_id, tag, baton) = (dialog.call_id, dialog.tag, dialog.baton);
    let to = format!("<sip:300@example.com?Replaces={call_id}%3Bto-tag%3D{baton}%3Bfrom-tag%3D{tag}>");
    stage.refers("alice", &to);
    assert_eq!(identities(&stage, "bob"), [pair("<sip:300@127.0.0.1>", "")]);
    assert_eq!(identities(&stage, "carol")[0], pair("<sip:200@127.0.0.1>", ""));
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// [R-070] [C-186] Who wished to stay unknown does: a trunk is told so, a client nothing at all.
#[test]
fn private() {
    for client in [false, true] {
        let mut stage = Stage::with_policy(ReferMode::Terminate, Policy::default());
        stage.manner("bob").allow = PRIVATE;
        stage.calls("alice", "200");
        stage.requests.clear();
        let from = vec![Origin::Trunk(TrunkIx(0))];
        let user = UserMatch::Prefix("4".into());
        stage.plan.routes.push(Route { from, user, action: Action::Clients });
        stage.refers("alice", if client { "<sip:400@example.com>" } else { "<sip:300@example.com>" });
        if client {
            let (ticket, _) = stage.calls.next_lookup().expect("a question");
            let remote = "10.0.2.1:5070".parse().expect("an address");
            let destination = Flow { transport: Transport::Udp, remote, ..Flow::nowhere() }.into();
            let contact = Contact { uri: "sip:carol@10.0.2.1:5070".into(), destination, route: None };
            stage.with(|calls, cx| calls.bindings(cx, ticket, vec![contact]));
        }
        let told = if client { pair("", "id") } else { pair("<sip:+31200@nl.example>", "id") };
        assert_eq!(identities(&stage, "carol"), [told]);
        // He is told of a client as it has proved to be, at the domain that it registers for.
        let other = if client { "<sip:400@127.0.0.1>" } else { "<sip:300@example.com>" };
        assert_eq!(identities(&stage, "bob"), [pair(other, "")]);
        stage.pass_s(1);
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// [R-070] [C-185] A caller's From is nobody's word: it is not told as if it were.
#[test]
fn a_from_is_no_identity() {
    let (mut stage, _, _) = Stage::talking();
    stage.refers("bob", "<sip:300@example.com>");
    assert_eq!(identities(&stage, "carol"), [pair("", "")]);
    assert_eq!(identities(&stage, "alice"), [pair("<sip:300@example.com>", "")]);
    stage.end();
}
