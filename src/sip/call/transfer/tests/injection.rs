//! What people, programs and peers write cannot leave the place that it was written for.

use super::stage::{Stage, text};
use crate::sip::command::{Action, Decision, Dial, DialParty, Order, Party, Place, Refused};
use crate::sip::event::CallSid;
use crate::sip::message::{HeaderId, Message};
use crate::sip::plan::{Credentials, Origin, ReferMode, Secret};
use crate::sip::refer::Policy;
use std::sync::Arc;
use std::time::Duration;

/// Line ends as they may be smuggled in: as they are, alone, folded, with a NUL before.
const BREAKS: [&str; 6] = ["\r\n", "\n", "\r", "\r\n ", "\0\r\n", "\r\n\r\n"];

/// No message has a field, a route or a dialog that was smuggled in.
fn clean(messages: &[(String, Message)], what: &str) {
    for (to, message) in messages {
        let injected = message.other_header("X-Injected").is_some() || message.has(HeaderId::Route);
        assert!(!injected, "{what}: {to} got {}", String::from_utf8_lossy(message.bytes()));
        let values = |id| message.headers().filter(|line| line.id == id).count();
        for id in [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::ReferTo, HeaderId::ReferredBy] {
            assert!(values(id) <= 1, "{what}: two of {id:?}");
        }
    }
}

fn place() -> Place {
    Place {
        sid: CallSid(4712 << 16),
        account: "AC00000000000000000000000000000001".into(),
        from: "100".into(),
        caller_name: None,
        to: Party::Number("300".into()),
        headers: Vec::new(),
        credentials: None,
        timeout: Duration::from_secs(30),
        sdp: None,
        by: None,
    }
}

/// [C-212] [R-107] Orders of the control plane: every text in them, with line ends in it.
#[test]
fn orders() {
    const CHALLENGE: &str =
        "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\n";
    type Change = fn(&mut Place, String);
    let places: [(&str, Change); 6] = [
        ("from", |place, bad| place.from = format!("100{bad}")),
        ("caller name", |place, bad| place.caller_name = Some(format!("Me{bad}"))),
        ("number", |place, bad| place.to = Party::Number(format!("300{bad}"))),
        ("uri", |place, bad| place.to = Party::Uri(format!("sip:300@example.com{bad}"))),
        ("header value", |place, bad| place.headers = vec![("X-A".into(), format!("1{bad}"))]),
        ("header name", |place, bad| place.headers = vec![(format!("X-A: 1{bad}"), "1".into())]),
    ];
    for line in BREAKS.map(|end| format!("{end}X-Injected: 1")) {
        for (what, change) in places {
            let mut stage = stage();
            let mut order = place();
            change(&mut order, line.clone());
            assert_eq!(
                stage.order(Order::Place(Box::new(order))),
                Err(Refused::Malformed),
                "{what} {line:?}"
            );
            assert!(stage.requests.is_empty(), "{what}");
        }
        // A user name may be anything; it is quoted, in its line.
        let mut stage = stage();
        let manner = stage.manner("carol");
        (manner.invite, manner.invite_headers) = (Some(401), CHALLENGE);
        let secret = Secret::Password("x".into());
        let credentials = Some(Arc::new(Credentials { user: format!("a\"{line}").into(), secret }));
        stage.order(Order::Place(Box::new(Place { credentials, ..place() }))).expect("taken");
        assert_eq!(stage.count("carol INVITE"), 2);
        clean(&stage.requests, "credentials");
        stage.end();

        let (mut stage, alice, bob) = Stage::talking();
        for (what, result) in [
            ("Refer-To", stage.refer(alice, |order| order.to += &line)),
            ("Refer-To's header part", stage.refer(alice, |order| order.to += "?X=%0D%0AX-Injected:%201")),
            ("Referred-By", stage.refer(alice, |order| order.referred_by = Some(format!("sip:a@b{line}")))),
            ("Referred-By", stage.refer(alice, |o| o.referred_by = Some("sip:a@b>;cid=\"x\"".into()))),
            ("header", stage.refer(alice, |order| order.headers = vec![("X-A".into(), line.clone())])),
            ("header", stage.refer(alice, |o| o.headers = vec![("Route".into(), "<sip:x;lr>".into())])),
        ] {
            assert_eq!(result, Err(Refused::Malformed), "{what} {line:?}");
        }
        for (what, headers, body) in [
            ("header", vec![("X-A".to_owned(), line.clone())], None),
            ("body's type", Vec::new(), Some((format!("text/plain{line}"), String::new()))),
        ] {
            let action = Action::Request { method: "INFO".into(), headers, body };
            assert_eq!(stage.order(Order::Leg(bob, action)), Err(Refused::Malformed), "{what}");
        }
        let party = DialParty {
            sid: CallSid(4713 << 16),
            to: Party::Number("300".into()),
            headers: vec![("X-A".into(), line.clone())],
            credentials: None,
        };
        let dial = Dial {
            parties: vec![party],
            from: Some(format!("100{line}")),
            timeout: Duration::from_secs(30),
            time_limit: None,
            join: true,
        };
        assert_eq!(stage.order(Order::Leg(alice, Action::Dial(Box::new(dial)))), Err(Refused::Malformed));
        let reason = Some(format!("SIP;cause=480{line}"));
        stage.order(Order::Leg(alice, Action::Hangup { status: None, reason })).expect("taken");
        assert_eq!(stage.count("alice BYE"), 1);
        clean(&stage.requests, "Reason");
        stage.end();
    }
}

/// A stage where the control plane may call.
fn stage() -> Stage {
    let mut stage = Stage::new(ReferMode::Terminate);
    for route in &mut stage.plan.routes {
        route.from.push(Origin::Api);
    }
    stage
}

/// [C-212] [R-107] A program that sends a transfer elsewhere.
#[test]
fn decisions() {
    for end in BREAKS {
        let (mut stage, _, _) = Stage::steered(ReferMode::Terminate);
        stage.refers("alice", "<sip:300@example.com>");
        for to in [
            format!("sip:300@example.com{end}X-Injected: 1"),
            format!("sip:300{end}X-Injected: 1@example.com"),
            "sip:300@example.com?X=%0D%0AX-Injected:%201".into(),
            "sip:3%0D%0AX-Injected%3A%2000@example.com".into(),
        ] {
            assert_eq!(stage.decides(Decision::Redirect(to)), Err(Refused::Malformed));
        }
        assert_eq!(stage.decides(Decision::Accept), Ok(()));
        clean(&stage.requests, "decision");
        stage.end();
    }
}

/// [R-107] [C-212] [C-036] Refer-To of a peer: escaped line ends refuse the REFER wherever they stand, and what
/// names a dialog or a way is dropped, or refuses it.
#[test]
fn refer_to() {
    for (to, code) in [
        ("<sip:300@example.com?X=%0d%0aX-Injected:%201>", 400),
        ("<sip:300@example.com?User-to-User=aa%0D%0AX-Injected:%201>", 400),
        ("<sip:300@example.com?User-to-User=aa%0AX-Injected:%201>", 400),
        ("<sip:300@example.com?User-to-User=aa%00>", 400),
        ("<sip:300@example.com?%0D%0AX-Injected=1>", 400),
        ("<sip:300@example.com?Replaces=a%0D%0AX-Injected:%201%3Bto-tag%3D1%3Bfrom-tag%3D2>", 400),
        ("<sip:3%0D%0AX-Injected%3A%2000@example.com>", 400),
        ("<sip:300@example.com;x=%0D%0AX-Injected%3A%201>", 400),
        ("<sip:300@example.com?Route=%3Csip:evil.example;lr%3E&X-Injected=1&f=x&To=y&Call-ID=z>", 202),
        ("<sip:300@example.com?Content-Type=text/plain&Content-Length=9&body=hello>", 202),
    ] {
        let (mut stage, _, _) = Stage::talking();
        stage.refers("alice", to);
        assert_eq!(stage.count(&format!("alice REFER {code}")), 1, "{to}: {:?}", stage.log);
        assert_eq!(stage.count("carol INVITE"), usize::from(code == 202), "{to}");
        clean(&stage.requests, to);
        stage.end();
    }
    let policy = Policy { strict_headers: true, allow_headers: vec!["X-Case".into()], ..Policy::default() };
    for (part, code) in [("Route=%3Csip:e%3E", 400), ("X-Other=1", 400), ("body=x", 400), ("X-Case=7", 202)] {
        let (mut stage, _, _) = Stage::talking_with(ReferMode::Terminate, policy.clone());
        stage.refers("alice", &format!("<sip:300@example.com?{part}>"));
        assert_eq!(stage.count(&format!("alice REFER {code}")), 1, "{part}");
        stage.end();
    }
}

/// [C-212] [R-107] Referred-By and what else is copied out of a REFER, folded over lines or with a bare CR.
#[test]
fn what_is_copied() {
    let policy = Policy { allow_headers: vec!["X-Case".into()], ..Policy::default() };
    for bad in ["\n X-Injected: 1", "\n\tRoute: <sip:evil.example;lr>"] {
        for name in ["Referred-By: <sip:alice@example.com>;x=\"{}\"", "User-to-User: aa{}", "X-Case: 7{}"] {
            let (mut stage, _, _) = Stage::talking_with(ReferMode::Terminate, policy.clone());
            let field = name.replace("{}", bad);
            stage.request("alice", "REFER", &format!("Refer-To: <sip:300@example.com>\n{field}\n"), "");
            clean(&stage.requests, &field);
            for (_, message) in stage.requests.iter().filter(|(to, _)| to == "carol") {
                let copied = text(message, HeaderId::ReferredBy) + &text(message, HeaderId::UserToUser);
                assert!(!copied.contains(['\r', '\n']), "{copied:?}");
            }
            stage.end();
        }
    }
}
