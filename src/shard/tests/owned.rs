//! Calls of Baton's own, and clients: what the shard does with a message before anybody else sees it.

use super::edges::{requests, status};
use super::*;
use crate::sip::plan::{Client, Credentials, Secret};

/// Calls from alpha are Baton's own.
pub(super) fn own(plan: &mut Plan) {
    let Some(Action::Trunks { mode, .. }) = plan.routes.first_mut().map(|route| &mut route.action) else {
        return;
    };
    *mode = Mode::B2bua;
}

/// [C-082] The same INVITE by another way, while the first one is under way or answered: 482, and nobody is
/// called twice. One with another CSeq, tag or Call-ID is another call.
#[test]
fn a_merged_request() {
    let mut stage = Stage::with(own);
    assert_eq!(requests(&stage.receive(ALICE, &invite()), "INVITE").len(), 1);
    let copy = invite().replace("z9hG4bKaINVITE1", "z9hG4bKother");
    let sent = stage.receive("10.0.0.6:5060", &copy);
    assert_eq!((status(&sent), requests(&sent, "INVITE").len()), (Some("482"), 0));
    for other in [
        copy.replace("CSeq: 1 ", "CSeq: 2 ").replace("z9hG4bKother", "z9hG4bKb"),
        copy.replace("tag=at", "tag=an").replace("z9hG4bKother", "z9hG4bKc"),
        copy.replace("c1@10.0.0.5", "c2@10.0.0.5").replace("z9hG4bKother", "z9hG4bKd"),
    ] {
        assert_eq!(requests(&stage.receive(ALICE, &other), "INVITE").len(), 1, "{other}");
    }
    stage.pass(Duration::from_secs(400));
    assert_eq!(stage.shard.remains(), 0);
    // It is forgotten with its call.
    assert_eq!(requests(&stage.receive(ALICE, &copy), "INVITE").len(), 1);
}

/// [C-108] A redirection is told to the caller as it came, from proxied calls and Baton's own: nobody is called
/// whom the rules were not asked about.
#[test]
fn a_redirection_is_not_followed() {
    for mut stage in [Stage::new(), Stage::with(own)] {
        let invited = stage
            .receive(ALICE, &invite())
            .iter()
            .find(|s| s.text.starts_with("INVITE"))
            .expect("one")
            .text
            .clone();
        let moved = response(&invited, "302 Moved Temporarily", ";tag=bt", "Contact: <sip:0900@10.0.1.9>\n");
        let sent = stage.receive(BOB, &moved);
        assert!(requests(&sent, "INVITE").is_empty());
        let last = sent.iter().find(|s| s.to.to_string() == ALICE).expect("an answer");
        assert!(last.text.starts_with("SIP/2.0 302 "), "{}", last.text);
    }
}

/// A client called carol of the domain `127.0.0.1`.
fn clients(plan: &mut Plan) {
    let secret = Secret::Password("secret".into());
    let credentials = Arc::new(Credentials { user: "carol".into(), secret });
    plan.calls.clients.insert("carol".into(), Client { credentials, account: None });
}

/// [C-199] A client is challenged with 401 where it registers and with 407 where its requests pass on; ACK and
/// CANCEL never are.
#[test]
fn challenges() {
    let mut stage = Stage::with(clients);
    let from = "10.7.7.7:5060";
    let mut ask = |method: &str, cseq| {
        let text = request(method, "sip:1000@127.0.0.1:5060", "", "", cseq)
            .replace("\"Alice\" <sip:alice@10.0.0.5>", "<sip:carol@127.0.0.1>")
            .replace("To: <sip:1000@example.com>", "To: <sip:carol@127.0.0.1>");
        stage.receive(from, &text)
    };
    for (method, code, field, other) in [
        ("REGISTER", "401", "WWW-Authenticate", "Proxy-Authenticate"),
        ("INVITE", "407", "Proxy-Authenticate", "WWW-Authenticate"),
        ("MESSAGE", "407", "Proxy-Authenticate", "WWW-Authenticate"),
    ] {
        let sent = ask(method, 1);
        assert_eq!(status(&sent), Some(code), "{method}");
        assert!(!header(&sent[0].text, field).is_empty() && header(&sent[0].text, other).is_empty());
    }
    for method in ["ACK", "CANCEL"] {
        for cseq in [1, 7] {
            let sent = ask(method, cseq);
            assert!(!matches!(status(&sent), Some("401" | "407")), "{method}");
        }
    }
}

const SDP: &str = "v=0\no=x 1 1 IN IP4 10.0.0.5\ns=-\nc=IN IP4 10.0.0.5\nt=0 0\nm=audio 4000 RTP/AVP 0\n";

/// The same text with a session description.
pub(super) fn with_sdp(text: &str) -> String {
    let length = SDP.replace('\n', "\r\n").len();
    let ending = format!("Content-Type: application/sdp\nContent-Length: {length}\n\n{SDP}");
    text.replace("Content-Length: 0\n\n", &ending)
}

/// Alice's call of Baton's own to Bob, up: Baton's tag in her dialog, and its Contact.
fn talking(stage: &mut Stage) -> (String, String) {
    let sent = stage.receive(ALICE, &with_sdp(&invite()));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let contact = "Contact: <sip:bob@10.0.1.1:5060>\n";
    let sent = stage.receive(BOB, &with_sdp(&response(&invited, "200 OK", ";tag=bt", contact)));
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer");
    let tag = header(&answer.text, "To")[0].split(";tag=").nth(1).expect("a tag").to_owned();
    let contact = header(&answer.text, "Contact")[0].trim_matches(['<', '>']).to_owned();
    stage.receive(ALICE, &request("ACK", &contact, "", &format!(";tag={tag}"), 1));
    (tag, contact)
}

/// Alpha's transfers are performed here; what it may call is said by three routes.
fn rules(plan: &mut Plan) {
    plan.trunks[0].refer = ReferMode::Terminate;
    plan.trunks.push(trunk("charlie", vec![target("10.0.2.1", 0, 1)]));
    let route = |from: u16, user: UserMatch, action: Action| Route {
        from: vec![Origin::Trunk(TrunkIx(from))],
        user,
        action,
    };
    let to = |n| Action::Trunks { to: vec![TrunkIx(n)], fork: Fork::Serial, mode: Mode::Auto };
    plan.routes = vec![
        route(0, UserMatch::Exact("1900".into()), Action::Reject { code: 403, reason: "No".into() }),
        route(0, UserMatch::Prefix("1".into()), to(1)),
        // Bravo may call more than alpha.
        route(1, UserMatch::Any, to(2)),
    ];
}

/// [R-054] [R-055] [R-105] [C-108] Toll control: however a target is written, a REFER of a trunk is answered with
/// what an INVITE of that trunk to it is, and calls nobody whom that INVITE would not have called. That the other
/// party's trunk may call more helps nobody.
#[test]
fn a_refer_reaches_what_an_invite_would() {
    let targets = [
        "sip:1001@127.0.0.1",
        "sip:1900@127.0.0.1",
        "sip:%31900@127.0.0.1",
        "sip:1%3900@127.0.0.1;user=phone",
        "sip:0900123@127.0.0.1",
        "sip:%30900123@127.0.0.1",
        "sip:0900123@10.0.2.1:5060",
        "sip:0900123@elsewhere.example;lr;maddr=10.0.2.1",
        "tel:0900123",
        "tel:+900-123",
        "sip:+900123@127.0.0.1",
        "sip:10.0.2.1",
        "sip:@127.0.0.1",
        "sips:1001@127.0.0.1",
        "mailto:1001@127.0.0.1",
    ];
    for target in targets {
        let mut stage = Stage::with(rules);
        let (tag, contact) = talking(&mut stage);
        let call =
            with_sdp(&request("INVITE", target, "", "", 1)).replace("c1@", "c9@").replace("aINVITE1", "x");
        let by_invite = stage.receive(ALICE, &call);
        let called = requests(&by_invite, "INVITE").len();
        let extra = format!("Refer-To: <{target}>\n");
        let refer = request("REFER", &contact, &extra, &format!(";tag={tag}"), 2);
        let sent = stage.receive(ALICE, &refer);
        let reached = requests(&sent, "INVITE");
        assert!(reached.len() <= called, "{target} reached {}", reached[0].text);
        assert!(reached.iter().all(|s| s.to.to_string() == BOB), "{target}");
        match called {
            0 => assert_eq!(status(&sent), status(&by_invite), "{target}"),
            _ => assert_eq!(status(&sent), Some("202"), "{target}"),
        }
    }
}

/// [R-107] [C-212] Line ends smuggled into a REFER: it is refused, and the call stays as it is.
#[test]
fn smuggled_line_ends() {
    for field in [
        "Refer-To: <tel:1%0D%0A001>",
        "Refer-To: <sip:1001@127.0.0.1?X=%0D%0AX-Injected:%201>",
        "r: <sip:1001@127.0.0.1?User-to-User=a%0AX-Injected:%201>",
        "Refer-To: <sip:1001%0D%0A@127.0.0.1>",
        "Refer-To: <sip:1001@127.0.0.1>\nReferred-By: <sip:a%0D%0AX-Injected:%201@x",
        "Refer-To: <sip:1001@127.0.0.1>\nb: <sip:a@x>, <sip:b@x>\nReferred-By: <sip:c@x>",
    ] {
        let mut stage = Stage::with(rules);
        let (tag, contact) = talking(&mut stage);
        let refer = request("REFER", &contact, &format!("{field}\n"), &format!(";tag={tag}"), 2);
        let sent = stage.receive(ALICE, &refer);
        assert_eq!((status(&sent), sent.len()), (Some("400"), 1), "{field}");
        assert!(!sent[0].text.contains("\nX-Injected"), "{}", sent[0].text);
        let info = request("INFO", &contact, "", &format!(";tag={tag}"), 3);
        assert_eq!(requests(&stage.receive(ALICE, &info), "INFO").len(), 1, "the call is up");
    }
}
