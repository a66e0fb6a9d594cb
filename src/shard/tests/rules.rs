//! What RFC 3261 §16 and its companions ask of a proxy, each rule by a message of its own.

use super::edges::{BY_BOB, over_streams, requests, status, stream};
use super::guessing::{clients, tries};
use super::*;

const TARGET: &str = "sip:bob@10.0.1.1:5060";

/// Bravo and charlie at once.
fn both() -> Stage {
    Stage::with(|plan| {
        plan.trunks.push(trunk("charlie", vec![target("10.0.2.1", 0, 1)]));
        let Some(Action::Trunks { to, fork, .. }) = plan.routes.first_mut().map(|r| &mut r.action) else {
            return;
        };
        (*to, *fork) = (vec![TrunkIx(1), TrunkIx(2)], Fork::Parallel);
    })
}

/// The route set of a call that is up, as Alice has it.
fn route(stage: &mut Stage) -> String {
    let (invite, _) = answered(stage);
    header(&invite, "Record-Route")[0].to_owned()
}

/// [C-048] What is too large for UDP goes by TCP, and says so; when that is refused, by UDP.
#[test]
fn a_large_request_prefers_a_stream() {
    let mut stage = over_streams();
    let padding = format!("X-Padding: {}\n", "x".repeat(1_300));
    let route = format!("Route: {}\n{padding}", route(&mut stage));
    let info = request("INFO", "sip:bob@10.0.1.1;transport=udp", &route, ";tag=bt", 2);
    assert_eq!(stage.receive(ALICE, &info)[0].over, Transport::Udp, "what is asked for is done");
    let info = request("INFO", TARGET, &route, ";tag=bt", 3);
    let first = stage.receive(ALICE, &info).remove(0);
    assert_eq!((first.over, first.to.to_string().as_str()), (Transport::Tcp, BOB));
    assert!(header(&first.text, "Via")[0].starts_with("SIP/2.0/TCP 127.0.0.1;"), "{}", first.text);
    stage.shard.handle(stage.now, Input::SendFailed { tag: first.tag }, &mut stage.out);
    let again = stage.sent().remove(0);
    assert_eq!((again.over, again.to.to_string().as_str()), (Transport::Udp, BOB));
    assert!(header(&again.text, "Via")[0].starts_with("SIP/2.0/UDP 127.0.0.1;"), "{}", again.text);
}

/// [C-050] A response whose top Via is not ours is nobody's.
#[test]
fn a_response_to_another_is_dropped() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    let ok = response(&first.text, "200 OK", ";tag=bt", "");
    for other in ["SIP/2.0/UDP 127.0.0.2;", "SIP/2.0/UDP 127.0.0.1:5999;", "SIP/2.0/UDP baton.example;"] {
        let stray = ok.replacen("SIP/2.0/UDP 127.0.0.1;", other, 1);
        assert!(stage.receive(BOB, &stray).is_empty(), "{other}");
    }
    assert_eq!(status(&stage.receive(BOB, &ok)), Some("200"));
}

/// [C-089] The checks in the order of §16.3: of several faults the first counts.
#[test]
fn checks_have_an_order() {
    let mut stage = Stage::new();
    let all = request("INVITE", "soap:1000", "Proxy-Require: foo\n", "", 1);
    let all = all.replace("Max-Forwards: 70", "Max-Forwards: 0");
    let scheme = all.replace("soap:1000", "sip:1000@x").replace("aINVITE1", "b");
    let hops = scheme.replace("Max-Forwards: 0", "Max-Forwards: 70").replace("z9hG4bKb", "z9hG4bKc");
    let syntax = all.replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    for (text, wanted) in [(syntax, "400"), (all, "416"), (scheme, "483"), (hops, "420")] {
        assert_eq!(status(&stage.receive(ALICE, &text)), Some(wanted), "{text}");
    }
}

/// [C-092] [C-099] A strict router before us has moved our Record-Route to the Request-URI; one behind us gets
/// what it expects.
#[test]
fn strict_routers_on_both_sides() {
    let mut stage = Stage::new();
    let ours = route(&mut stage);
    let bare = ours.trim_matches(['<', '>']);
    let sent = stage.receive(ALICE, &request("INFO", bare, &format!("Route: <{TARGET}>\n"), ";tag=bt", 2));
    assert!(sent[0].text.starts_with(&format!("INFO {TARGET} SIP/2.0\n")), "{}", sent[0].text);
    assert!(header(&sent[0].text, "Route").is_empty());
    assert_eq!(sent[0].to.to_string(), BOB);

    let route = format!("Route: {ours}, <sip:10.0.1.9>, <sip:10.0.1.8;lr>\n");
    let sent = stage.receive(ALICE, &request("INFO", TARGET, &route, ";tag=bt", 3));
    assert_eq!(sent[0].to.to_string(), "10.0.1.9:5060");
    assert!(sent[0].text.starts_with("INFO sip:10.0.1.9 SIP/2.0\n"), "{}", sent[0].text);
    assert_eq!(header(&sent[0].text, "Route").join(", "), format!("<sip:10.0.1.8;lr>, <{TARGET}>"));
}

/// [C-093] Baton knows itself by address, advertised name and alias, with and without port.
#[test]
fn it_knows_its_names() {
    let mut stage = Stage::with(|plan| {
        plan.listeners[0].host = "baton.example".into();
        plan.aliases.push("pbx.example".into());
    });
    let names = [
        "127.0.0.1",
        "127.0.0.1:5060",
        "Baton.Example",
        "baton.example:5060",
        "PBX.example",
        "pbx.example:5060",
    ];
    for (n, name) in (1..).zip(names) {
        let sent = stage.receive(ALICE, &request("OPTIONS", &format!("sip:{name}"), "", "", n));
        assert_eq!(status(&sent), Some("200"), "{name}");
    }
    for (n, name) in (10..).zip(["127.0.0.1:5999", "127.0.0.2", "other.example", "pbx.example:5999"]) {
        let sent = stage.receive(ALICE, &request("OPTIONS", &format!("sip:{name}"), "", "", n));
        assert_eq!(status(&sent), Some("404"), "{name}");
    }
}

/// [R-014] [C-118] REFER and what goes with it are told only to those whose REFERs are taken.
#[test]
fn what_it_says_it_can() {
    for mode in [ReferMode::Relay, ReferMode::Terminate, ReferMode::Reject(405), ReferMode::Reject(603)] {
        let refers = !matches!(mode, ReferMode::Reject(_));
        let mut stage = Stage::with(|plan| plan.trunks[0].refer = mode);
        let told = stage.receive(ALICE, &request("OPTIONS", "sip:127.0.0.1:5060", "", "", 1)).remove(0).text;
        assert_eq!(header(&told, "Allow")[0].contains("REFER"), refers, "{mode:?}");
        assert_eq!(header(&told, "Supported").len(), usize::from(refers), "{mode:?}");
        let told = stage.receive(ALICE, &request("PUBLISH", "sip:127.0.0.1:5060", "", "", 2)).remove(0).text;
        assert!(told.starts_with("SIP/2.0 405"));
        assert_eq!(header(&told, "Allow")[0].contains("REFER"), refers, "{mode:?}");
    }
}

/// A client is told so by what holds for clients, whatever trunks may.
#[test]
fn what_it_says_to_clients() {
    for (mode, refers) in [(ReferMode::Terminate, true), (ReferMode::Reject(603), false)] {
        let mut stage = Stage::with(|plan| {
            clients(plan);
            plan.calls.registrar.refer = mode;
        });
        let told = tries(&mut stage, "192.0.2.1:5060", "OPTIONS", "carol", "right", 1);
        assert!(told.starts_with("SIP/2.0 200 "), "{told}");
        assert_eq!(header(&told, "Allow")[0].contains("REFER"), refers, "{mode:?}");
        assert_eq!(header(&told, "Supported").len(), usize::from(refers), "{mode:?}");
    }
}

/// [C-098] [C-117] Any method passes within a dialog, and header fields of others' business pass with it.
#[test]
fn what_is_not_ours_passes() {
    let mut stage = Stage::new();
    let fields = [
        "Replaces: 1@x;to-tag=a;from-tag=b",
        "Join: 2@x;to-tag=a;from-tag=b",
        "Target-Dialog: 3@x;local-tag=a;remote-tag=b",
        "Refer-To: <sip:c@10.0.1.7?Replaces=4%40x>",
        "Referred-By:  <sip:d@x>",
        "Refer-Sub: false",
        "Event: refer;id=7",
    ];
    let extra = format!("Route: {}\n{}\n", route(&mut stage), fields.join("\n"));
    let sent = stage.receive(ALICE, &request("FROBNICATE", TARGET, &extra, ";tag=bt", 2));
    assert_eq!(requests(&sent, "FROBNICATE").len(), 1);
    for field in fields {
        assert!(sent[0].text.contains(&format!("\n{field}\n")), "{field}: {}", sent[0].text);
    }
}

/// [C-102] Provisional responses pass at once, but a 100 does not.
#[test]
fn provisionals_pass() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    assert!(stage.receive(BOB, &response(&first.text, "100 Trying", "", "")).is_empty());
    for ring in ["180 Ringing", "183 Session Progress", "180 Ringing"] {
        let sent = stage.receive(BOB, &response(&first.text, ring, ";tag=bt", ""));
        assert_eq!((sent.len(), status(&sent)), (1, ring.get(..3)), "{ring}");
    }
}

/// [C-104] A challenge carries those of all branches.
#[test]
fn challenges_are_gathered() {
    let mut stage = both();
    let sent = stage.receive(ALICE, &invite());
    let [one, other] = &requests(&sent, "INVITE")[..] else { panic!("two INVITEs") };
    let challenge = |realm| format!("Digest realm=\"{realm}\", nonce=\"n\"");
    let extra = format!("WWW-Authenticate: {}\n", challenge("one"));
    stage.receive(BOB, &response(&one.text, "401 Unauthorized", ";tag=b1", &extra));
    let extra = format!("Proxy-Authenticate: {}\n", challenge("other"));
    let answer = response(&other.text, "407 Proxy Authentication Required", ";tag=b2", &extra);
    let sent = stage.receive("10.0.2.1:5060", &answer);
    let last = sent.iter().find(|s| s.to.to_string() == ALICE).expect("an answer");
    assert!(last.text.starts_with("SIP/2.0 401 "), "{}", last.text);
    assert_eq!(header(&last.text, "WWW-Authenticate"), [challenge("one")]);
    assert_eq!(header(&last.text, "Proxy-Authenticate"), [challenge("other")]);
}

/// [C-114] [C-115] The same request again by way of others is a loop; to another user it is a spiral.
#[test]
fn loops_end_and_spirals_pass() {
    for mut stage in [Stage::new(), both()] {
        let first = stage.receive(ALICE, &invite()).remove(0);
        let back = |uri| first.text.replacen("sip:1000@10.0.1.1 ", &format!("{uri} "), 1);
        let spiral =
            stage.receive(ALICE, &back("sip:1001@127.0.0.1:5060").replacen("z9hG4bK", "z9hG4bKx", 1));
        assert!(!requests(&spiral, "INVITE").is_empty(), "a spiral");
        assert_eq!(status(&stage.receive(ALICE, &back("sip:1000@127.0.0.1:5060"))), Some("482"));
    }
}

/// [C-116] Parallel branches share Max-Breadth: 60 where nothing is said; with too little nobody is called.
#[test]
fn breadth_is_shared() {
    for (said, wanted) in [("", Some("30")), ("Max-Breadth: 5\n", Some("2")), ("Max-Breadth: 1\n", None)] {
        let mut stage = both();
        let sent = stage.receive(ALICE, &request("INVITE", "sip:1000@127.0.0.1:5060", said, "", 1));
        let shares: Vec<&str> = sent.iter().flat_map(|s| header(&s.text, "Max-Breadth")).collect();
        match wanted {
            Some(share) => assert_eq!(shares, [share, share], "{said}"),
            None => assert_eq!((sent.len(), status(&sent)), (1, Some("440"))),
        }
    }
}

/// [C-119] CANCEL and later requests go where their INVITE went, though it was not the first choice.
#[test]
fn a_call_stays_with_its_target() {
    let mut stage = Stage::new();
    stage.receive(ALICE, &invite());
    let sent = stage.pass(Duration::from_millis(3_100));
    let second = "10.0.1.2:5060";
    let next = sent.iter().find(|s| s.to.to_string() == second).expect("a second attempt").text.clone();
    stage.receive(second, &response(&next, "180 Ringing", ";tag=ct", ""));
    let cancel = request("CANCEL", "sip:1000@127.0.0.1:5060", "", "", 1).replace("aCANCEL1", "aINVITE1");
    let sent = stage.receive(ALICE, &cancel);
    let to: Vec<String> = requests(&sent, "CANCEL").iter().map(|s| s.to.to_string()).collect();
    assert_eq!(to, [second]);
}

/// [C-131] [C-071] Two branches answer: the caller ends the one it has no use for, whichever that is, in its
/// dialog, and the call is over in the records only when the other is ended too.
#[test]
fn a_surplus_answer_ends_no_call() {
    for surplus in [0, 1] {
        let mut stage = both();
        let sent = stage.receive(ALICE, &invite());
        let invites: Vec<String> = requests(&sent, "INVITE").iter().map(|s| s.text.clone()).collect();
        let callees = [(BOB, "b1"), ("10.0.2.1:5060", "b2")];
        for (invite, (from, tag)) in invites.iter().zip(callees) {
            let contact = format!("Contact: <sip:callee@{from}>\n");
            let ok = response(invite, "200 OK", &format!(";tag={tag}"), &contact);
            assert_eq!(status(&stage.receive(from, &ok)), Some("200"));
            // Once more, as its ACK is late.
            stage.receive(from, &ok);
        }
        let mut ends = |at: usize, cseq| {
            let (from, tag) = callees[at];
            let route = format!("Route: {}\n", header(&invites[at], "Record-Route")[0]);
            let uri = format!("sip:callee@{from}");
            let bye = request("BYE", &uri, &route, &format!(";tag={tag}"), cseq);
            let bye = stage.receive(ALICE, &bye).remove(0).text;
            stage.receive(from, &response(&bye, "200 OK", "", ""));
            let over = |e: &Event| matches!(e, Event::CallChanged(c) if c.status == CallStatus::Completed);
            stage.events().iter().filter(|e| over(e)).count()
        };
        assert_eq!((ends(surplus, 2), ends(surplus, 3)), (0, 0));
        assert_eq!(ends(1 - surplus, 4), 1);
    }
}

/// A REFER goes by its route set, whatever the rules say about its target, to the other side;
/// the code that accepts it passes as it is.
#[test]
fn a_refer_goes_by_its_route_set() {
    for (n, accepted) in [(2, "202 Accepted"), (3, "200 OK")] {
        let mut stage = over_streams();
        let ours = route(&mut stage);
        let extra = format!("Route: {ours}\nRefer-To: <sip:2000@10.0.0.77>\n");
        let refer = request("REFER", "sip:nobody@10.0.1.1;transport=tcp", &extra, ";tag=bt", n);
        let sent = stage.receive(ALICE, &refer);
        let [refer] = &requests(&sent, "REFER")[..] else { panic!("one REFER") };
        assert_eq!(refer.to.to_string(), BOB, "not back to where it came from");
        let sent = stage.receive_by(stream(BOB, BY_BOB), &response(&refer.text, accepted, "", ""));
        assert_eq!((status(&sent), sent[0].to.to_string().as_str()), (accepted.get(..3), ALICE));
    }
}
