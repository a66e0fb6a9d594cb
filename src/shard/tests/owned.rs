//! Calls of Baton's own, and clients: what the shard does with a message before anybody else sees it.

use super::edges::{requests, status};
use super::*;
use crate::sip::auth::{Challenge, NonceCounts, answer};
use crate::sip::plan::{Client, Credentials, Secret};
use crate::sip::refer::policy::OutOfDialog;

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
pub(super) fn clients(plan: &mut Plan) {
    let secret = Secret::Password("secret".into());
    let credentials = Arc::new(Credentials { user: "carol".into(), secret });
    plan.calls.clients.insert("carol".into(), Client { credentials, account: None });
}

/// Carol's answer to the challenge in this response.
pub(super) fn authorized(challenge: &str, method: &str, uri: &str) -> String {
    authorized_as("carol", challenge, method, uri)
}

/// The same of a client with the same password.
pub(super) fn authorized_as(user: &str, challenge: &str, method: &str, uri: &str) -> String {
    let challenge = header(challenge, "Proxy-Authenticate")[0];
    let challenge = Challenge::parse(challenge.as_bytes(), true).expect("a challenge");
    let secret = Secret::Password("secret".into());
    let credentials = Credentials { user: user.into(), secret };
    let (method, uri, mut counts) = (method.as_bytes(), uri.as_bytes(), NonceCounts::default());
    let answer = answer(&[challenge], &credentials, method, uri, b"", 1, &mut counts).expect("an answer");
    format!("Proxy-Authorization: {}\n", String::from_utf8_lossy(&answer[0].1))
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

/// [C-210] [C-204] What comes without the right credentials leaves nothing behind, however much of it comes.
#[test]
fn challenges_cost_no_memory() {
    let mut stage = Stage::with(clients);
    for n in 1..=200 {
        let text =
            request("REGISTER", "sip:127.0.0.1", "", "", n).replace("z9hG4bK", &format!("z9hG4bKr{n}"));
        let text = text.replace("To: <sip:1000@example.com>", "To: <sip:carol@127.0.0.1>");
        assert_eq!(status(&stage.receive("10.7.7.7:5060", &text)), Some("401"));
    }
    assert_eq!(stage.shard.transactions.len(), 0);
}

const SDP: &str = "v=0\no=x 1 1 IN IP4 10.0.0.5\ns=-\nc=IN IP4 10.0.0.5\nt=0 0\nm=audio 4000 RTP/AVP 0\n";

/// The same text with a session description.
pub(super) fn with_sdp(text: &str) -> String {
    let length = SDP.replace('\n', "\r\n").len();
    let ending = format!("Content-Type: application/sdp\nContent-Length: {length}\n\n{SDP}");
    text.replace("Content-Length: 0\n\n", &ending)
}

/// Alice's call of Baton's own to Bob, up: Baton's tag in her dialog, and its Contact.
pub(super) fn talking(stage: &mut Stage) -> (String, String) {
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

/// [C-141] [C-070] An ACK to a 2xx that repeats the INVITE's branch is the user's like any other (RFC 6026
/// §7.1): the answer is sent no more, and the call lives.
#[test]
fn an_ack_with_the_branch_of_its_invite() {
    let mut stage = Stage::with(own);
    let invited = requests(&stage.receive(ALICE, &with_sdp(&invite())), "INVITE")[0].text.clone();
    let contact = "Contact: <sip:bob@10.0.1.1:5060>\n";
    let sent = stage.receive(BOB, &with_sdp(&response(&invited, "200 OK", ";tag=bt", contact)));
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer").text.clone();
    let tag = header(&answer, "To")[0].split(";tag=").nth(1).expect("a tag").to_owned();
    let uri = header(&answer, "Contact")[0].trim_matches(['<', '>']).to_owned();
    let ack = request("ACK", &uri, "", &format!(";tag={tag}"), 1).replace("aACK1", "aINVITE1");
    for _ in 0..2 {
        assert!(stage.receive(ALICE, &ack).is_empty());
    }
    let sent = stage.pass(Duration::from_secs(40));
    assert!(sent.is_empty(), "{}", sent[0].text);
    let info = request("INFO", &uri, "", &format!(";tag={tag}"), 2);
    assert_eq!(requests(&stage.receive(ALICE, &info), "INFO").len(), 1, "the call is up");
    // One of nobody's dialog has no effect.
    let strange = ack.replace(&tag, "0123456789abcdef");
    assert!(stage.receive(ALICE, &strange).is_empty());
}

/// [C-083] A CANCEL that crosses the refusal of its INVITE is answered, with that one's tag; also when another
/// call is there by then.
#[test]
fn a_cancel_crosses_a_refusal() {
    for another in [false, true] {
        let mut stage = Stage::with(own);
        let invited = requests(&stage.receive(ALICE, &with_sdp(&invite())), "INVITE")[0].text.clone();
        let sent = stage.receive(BOB, &response(&invited, "486 Busy Here", ";tag=bt", ""));
        let refusal =
            sent.iter().find(|s| s.text.starts_with("SIP/2.0 486")).expect("a refusal").text.clone();
        if another {
            let other = with_sdp(&invite()).replace("c1@", "c2@").replace("aINVITE1", "other");
            assert_eq!(requests(&stage.receive(ALICE, &other), "INVITE").len(), 1);
        }
        let cancel = request("CANCEL", "sip:1000@127.0.0.1:5060", "", "", 1);
        let cancel = cancel.replace("aCANCEL1", "aINVITE1");
        let sent = stage.receive(ALICE, &cancel);
        assert_eq!((status(&sent), sent.len()), (Some("200"), 1));
        assert_eq!(header(&sent[0].text, "To"), header(&refusal, "To"));
        assert_eq!(stage.receive(ALICE, &cancel).len(), 1, "and again");
        stage.pass(Duration::from_secs(400));
        assert_eq!(stage.shard.remains(), 0);
    }
}

/// [C-088] [C-084] A browser's connection ends while its call rings: nothing can be told it any more, and whoever
/// rings for it stops ringing. Another connection's end, and one after the answer, change nothing.
#[test]
fn the_connection_of_a_caller_ends() {
    let flow = |n| Flow {
        listener: ListenerId(0),
        transport: Transport::Ws,
        remote: "10.7.7.7:40000".parse().expect("an address"),
        connection: Some(ConnectionId::new(0, n)),
    };
    for answered in [false, true] {
        let mut stage = Stage::with(|plan| {
            clients(plan);
            let action = Action::Trunks { to: vec![TrunkIx(1)], fork: Fork::Serial, mode: Mode::B2bua };
            plan.routes = vec![Route { from: vec![Origin::Clients], user: UserMatch::Any, action }];
        });
        let call = with_sdp(&invite()).replace("\"Alice\" <sip:alice@10.0.0.5>", "<sip:carol@127.0.0.1>");
        let sent = stage.receive_by(flow(7), &call);
        let answer = authorized(&sent[0].text, "INVITE", "sip:1000@127.0.0.1:5060");
        let call = call.replace("Max-Forwards", &format!("{answer}Max-Forwards"));
        let sent = stage.receive_by(flow(7), &call.replace("aINVITE1", "again"));
        let invited = requests(&sent, "INVITE")[0].text.clone();
        stage.receive(BOB, &response(&invited, "180 Ringing", ";tag=bt", ""));
        let closed = |stage: &mut Stage, n| {
            let input = Input::Closed { connection: ConnectionId::new(0, n), sent: Vec::new() };
            stage.shard.handle(stage.now, input, &mut stage.out);
            stage.sent()
        };
        assert!(closed(&mut stage, 8).is_empty());
        if answered {
            let contact = "Contact: <sip:bob@10.0.1.1:5060>\n";
            stage.receive(BOB, &with_sdp(&response(&invited, "200 OK", ";tag=bt", contact)));
        }
        let sent = closed(&mut stage, 7);
        assert_eq!(requests(&sent, "CANCEL").len(), usize::from(!answered));
        assert!(closed(&mut stage, 7).is_empty());
        stage.pass(Duration::from_secs(600));
        assert_eq!(stage.shard.remains(), 0);
    }
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

/// Every trunk may refer from outside a dialog, by naming it.
pub(super) fn by_name(plan: &mut Plan) {
    rules(plan);
    for trunk in &mut plan.trunks {
        trunk.refer = ReferMode::Terminate;
        trunk.owned.policy.out_of_dialog = OutOfDialog::TargetDialog;
    }
}

/// A REFER outside any dialog.
pub(super) fn outside(extra: &str, cseq: u32) -> String {
    request("REFER", "sip:127.0.0.1:5060", extra, "", cseq)
        .replace("Call-ID: c1@", "Call-ID: r1@")
        .replace(";tag=at", ";tag=rt")
}

/// A REFER outside the dialog that its Target-Dialog names, with the recipient's tags (RFC 4538
/// §3): as if it had come in it, but the NOTIFYs go in the dialog that it has made, which ends with them.
#[test]
fn a_refer_names_its_dialog() {
    let mut stage = Stage::with(by_name);
    let (tag, _) = talking(&mut stage);
    let named = format!(
        "Target-Dialog: c1@10.0.0.5;local-tag={tag};remote-tag=at\nRequire: tdialog\n\
         Record-Route: <sip:10.0.0.5:5060;lr>\nRefer-To: <sip:1001@127.0.0.1>\n"
    );
    let sent = stage.receive(ALICE, &outside(&named, 1));
    assert!(sent[0].text.starts_with("SIP/2.0 202 "), "{}", sent[0].text);
    assert_eq!(header(&sent[0].text, "Record-Route"), ["<sip:10.0.0.5:5060;lr>"]);
    let ours = header(&sent[0].text, "To")[0].split(";tag=").nth(1).expect("a tag").to_owned();
    assert_eq!(header(&sent[0].text, "Contact").len(), 1);
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let notify = |sent: &[Sent]| requests(sent, "NOTIFY").first().map(|s| s.text.clone());
    let first = notify(&sent).expect("a NOTIFY");
    assert_eq!(header(&first, "Call-ID"), ["r1@10.0.0.5"]);
    assert!(header(&first, "From")[0].ends_with(&ours) && header(&first, "To")[0].ends_with(";tag=rt"));
    assert_eq!(header(&first, "Route"), ["<sip:10.0.0.5:5060;lr>"]);
    assert!(first.ends_with("SIP/2.0 100 Trying\n"), "{first}");
    stage.receive(ALICE, &response(&first, "200 OK", "", ""));
    // One at a time, wherever it comes from.
    let again = outside(&named, 1).replace("r1@", "r2@").replace("aREFER1", "again");
    assert_eq!(status(&stage.receive(ALICE, &again)), Some("491"));
    // It can be refreshed, and nothing else is there.
    let inside = |method: &str, extra: &str, cseq| {
        let text = request(method, "sip:127.0.0.1:5060", extra, &format!(";tag={ours}"), cseq);
        text.replace("Call-ID: c1@", "Call-ID: r1@").replace(";tag=at", ";tag=rt")
    };
    let sent = stage.receive(ALICE, &inside("SUBSCRIBE", "Event: refer\nExpires: 50\n", 2));
    assert_eq!(status(&sent), Some("200"));
    assert_eq!(status(&stage.receive(ALICE, &inside("INFO", "", 3))), Some("481"));
    let sent: Vec<Sent> = sent.into_iter().chain(stage.pass(Duration::from_millis(1_200))).collect();
    let refreshed = notify(&sent).expect("a NOTIFY");
    stage.receive(ALICE, &response(&refreshed, "200 OK", "", ""));

    let sent = stage.receive(BOB, &response(&invited, "486 Busy Here", ";tag=ct", ""));
    let last = notify(&sent).expect("a NOTIFY");
    assert_eq!(header(&last, "Subscription-State"), ["terminated;reason=noresource"]);
    assert!(last.ends_with("SIP/2.0 486 Busy Here\n"), "{last}");
    stage.receive(ALICE, &response(&last, "200 OK", "", ""));
    let sent = stage.receive(ALICE, &inside("SUBSCRIBE", "Event: refer\nExpires: 50\n", 4));
    assert_eq!(status(&sent), Some("481"), "the dialog is over");
    // The call is as it was, and in the end nothing is left.
    let bye = request("BYE", "sip:127.0.0.1:5060", "", &format!(";tag={tag}"), 9);
    let sent = stage.receive(ALICE, &bye);
    let other = requests(&sent, "BYE")[0].text.clone();
    stage.receive(BOB, &response(&other, "200 OK", "", ""));
    stage.pass(Duration::from_secs(400));
    assert_eq!(stage.shard.remains(), 0);
}

/// A stranger who tries to move a call by its Target-Dialog stands in its record, but fills it with no more
/// than a few of his REFERs.
#[test]
fn strangers_fill_no_record() {
    let mut stage = Stage::with(by_name);
    let (tag, _) = talking(&mut stage);
    let named =
        format!("Target-Dialog: c1@10.0.0.5;local-tag={tag};remote-tag=at\nRefer-To: <sip:1@127.0.0.1>\n");
    for n in 0..40 {
        let refer = outside(&named, 1).replace("r1@", &format!("r{n}@")).replace("aREFER1", &format!("r{n}"));
        assert_eq!(status(&stage.receive(BOB, &refer)), Some("403"));
    }
    let told = stage.out.drain().filter(|output| matches!(output, Output::Control(Event::Refer(_)))).count();
    assert_eq!(told, 16);
    let own = outside(&named, 1).replace("r1@", "own@").replace("aREFER1", "own");
    assert_eq!(status(&stage.receive(ALICE, &own)), Some("202"), "the call's own party still may");
}

/// A REFER outside any dialog is refused unless it names one by call and both tags, the
/// right way round, and comes from the peer of that one; and where the trunk does not want it.
#[test]
fn a_refer_outside_is_refused() {
    for (name, from, code, policy) in [
        ("c1@10.0.0.5;local-tag={};remote-tag=at", ALICE, "403", false),
        ("", ALICE, "403", true),
        ("c1@10.0.0.5;local-tag={};remote-tag=other", ALICE, "481", true),
        ("c1@10.0.0.5;local-tag=at;remote-tag={}", ALICE, "481", true),
        ("c9@10.0.0.5;local-tag={};remote-tag=at", ALICE, "481", true),
        ("c1@10.0.0.5;local-tag={}", ALICE, "400", true),
        ("c1@10.0.0.5;local-tag={};remote-tag=at", BOB, "403", true),
    ] {
        let mut stage = Stage::with(if policy { by_name } else { rules });
        let (tag, contact) = talking(&mut stage);
        let mut extra = String::from("Refer-To: <sip:1001@127.0.0.1>\n");
        if !name.is_empty() {
            extra = format!("Target-Dialog: {}\n{extra}", name.replace("{}", &tag));
        }
        let sent = stage.receive(from, &outside(&extra, 1));
        assert_eq!((status(&sent), sent.len()), (Some(code), 1), "{name} from {from}");
        let info = request("INFO", &contact, "", &format!(";tag={tag}"), 3);
        assert_eq!(requests(&stage.receive(ALICE, &info), "INFO").len(), 1, "the call is up");
        // Only what is about a call that there is stands in its record.
        let rules: Vec<String> = stage
            .out
            .drain()
            .filter_map(|output| match output {
                Output::Control(Event::Refer(refer)) => Some(refer.rule.expect("a rule").to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(rules, if from == BOB { vec!["peer"] } else { vec![] }, "{name} from {from}");
    }
}
