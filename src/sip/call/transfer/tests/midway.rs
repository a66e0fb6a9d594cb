//! What the party that is moved says while its new target rings.

use super::stage::Stage;
use crate::sip::event::ReferStatus;
use crate::sip::message::Method;

/// It wants its session changed: answered by what it has of the one it talked to, whether that
/// one is still there or has left; what it says now is what the target is told next.
#[test]
fn a_survivors_offer() {
    for (method, leaves) in [("INVITE", false), ("INVITE", true), ("UPDATE", false), ("UPDATE", true)] {
        let (mut stage, _, bob) = Stage::talking();
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        if leaves {
            stage.request("alice", "BYE", "", "");
        }
        stage.manner("bob").port = 4010;
        let sdp = stage.sdp("bob").replace("o=bob 1 ", "o=bob 2 ");
        stage.request("bob", method, "Contact: <sip:bob@10.0.1.1:5060>\n", &sdp);
        let (_, answer) = stage.heard.last().expect("an answer");
        let said = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!((answer.status(), answer.method().as_str()), (200, method), "{leaves}");
        assert!(
            said.contains("c=IN IP4 10.0.0.1") && said.contains("m=audio 4000 "),
            "{method} {leaves}: {said}"
        );
        stage.picks_up("carol");
        stage.pass_s(2);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        let told = stage.sent("carol", Method::Invite);
        let told = String::from_utf8_lossy(told.last().expect("an INVITE").body()).into_owned();
        assert!(
            told.contains("c=IN IP4 10.0.1.1") && told.contains("m=audio 4010 "),
            "{method} {leaves}: {told}"
        );
        assert_eq!(stage.ended().0, ReferStatus::Completed);
        stage.end();
    }
}

/// It asks whether the call is still there, or refreshes it: answered as ever, and the transfer goes on.
#[test]
fn a_survivors_question() {
    for leaves in [false, true] {
        let (mut stage, _, bob) = Stage::talking();
        stage.manner("carol").invite = None;
        stage.refers("alice", "<sip:300@example.com>");
        if leaves {
            stage.request("alice", "BYE", "", "");
        }
        let contact = "Contact: <sip:bob@10.0.1.1:5060>\n";
        let sdp = stage.sdp("bob");
        for (method, headers, body) in [
            ("OPTIONS", "", ""),
            ("UPDATE", contact, ""),
            ("INVITE", contact, &*sdp),
            ("INVITE", contact, ""),
        ] {
            stage.heard.clear();
            stage.request("bob", method, headers, body);
            let [(who, answer)] = &stage.heard[..] else { panic!("{method}: {:#?}", stage.log) };
            assert_eq!((who.as_str(), answer.method().as_str(), answer.status()), ("bob", method, 200));
        }
        stage.picks_up("carol");
        stage.pass_s(2);
        let carol = stage.leg(&stage.dialog("carol").call_id);
        assert!(stage.together(bob, carol), "{:#?}", stage.log);
        stage.end();
    }
}
