//! Corners of the proxy: where a request may not go, which way an answer takes, what is counted.

use super::*;
use crate::shard::counters::tests::seen;
use crate::sip::proxy::testing::listener;
use crate::sip::refer::policy::OutOfDialog;

/// Alice's and Bob's connections, to the second listener of [`over_streams`].
const BY_ALICE: u64 = 1;
pub(super) const BY_BOB: u64 = 2;

/// UDP and TCP on the same address, bravo at its first target by TCP.
pub(super) fn over_streams() -> Stage {
    Stage::with(|plan| {
        plan.listeners.push(listener(Transport::Tcp, "127.0.0.1:5060"));
        plan.trunks[1].targets[0].transport = Some(Transport::Tcp);
    })
}

pub(super) fn stream(remote: &str, n: u64) -> Flow {
    Flow {
        listener: ListenerId(1),
        transport: Transport::Tcp,
        remote: remote.parse().expect("an address"),
        connection: Some(ConnectionId::new(0, n)),
    }
}

pub(super) fn requests<'s>(sent: &'s [Sent], method: &str) -> Vec<&'s Sent> {
    sent.iter().filter(|s| s.text.starts_with(&format!("{method} "))).collect()
}

pub(super) fn status(sent: &[Sent]) -> Option<&str> {
    sent.iter().find_map(|s| s.text.strip_prefix("SIP/2.0 ")?.get(..3))
}

/// [C-039] A telephone number crosses as the user of a SIP URI: with its parameters, but nothing that a user part
/// cannot hold.
#[test]
fn a_number_becomes_a_user() {
    for mode in [Mode::Proxy, Mode::B2bua] {
        let mut stage = Stage::with(|plan| {
            let Action::Trunks { mode: of, .. } = &mut plan.routes[0].action else { panic!("trunks") };
            *of = mode;
        });
        let sent = stage.receive(ALICE, &request("INVITE", "tel:1-0#;x=[1]:%7e", "", "", 1));
        let line = requests(&sent, "INVITE")[0].text.lines().next().expect("a line").to_owned();
        assert_eq!(line, "INVITE sip:1-0%23;x=%5B1%5D%3A%7e@10.0.1.1;user=phone SIP/2.0");
    }
}

/// [C-060] [C-096] A sips request goes to no target without TLS, and never comes down to sip.
#[test]
fn sips_stays_on_tls() {
    let sips = request("INVITE", "sips:1000@127.0.0.1:5061", "", "", 1);
    let mut stage = Stage::new();
    assert_eq!(status(&stage.receive(ALICE, &sips)), Some("503"), "bravo has no TLS");

    let mut stage = Stage::with(|plan| {
        plan.listeners.push(listener(Transport::Tls, "127.0.0.1:5061"));
        plan.trunks[1].targets[1].secure = true;
    });
    let sent = stage.receive(ALICE, &sips);
    let [invite] = &requests(&sent, "INVITE")[..] else { panic!("one INVITE") };
    assert_eq!((invite.to.to_string(), invite.over), ("10.0.1.2:5061".to_owned(), Transport::Tls));
    assert!(invite.text.starts_with("INVITE sips:1000@10.0.1.2 "), "{}", invite.text);
    let route = header(&invite.text, "Record-Route")[0];
    assert!(route.starts_with("<sips:127.0.0.1:5061;transport=tls;lr;b="), "{route}");
}

/// [C-060] [C-061] A target that is reached by TLS under a `sip:` address is none for a sips request, whoever
/// carries the call: there it would come down to sip.
#[test]
fn sips_is_no_choice_of_transport() {
    for mode in [Mode::Proxy, Mode::B2bua] {
        let mut stage = Stage::with(|plan| {
            plan.listeners.push(listener(Transport::Tls, "127.0.0.1:5061"));
            plan.trunks[1].targets[0].transport = Some(Transport::Tls);
            let Action::Trunks { mode: of, .. } = &mut plan.routes[0].action else { panic!("trunks") };
            *of = mode;
        });
        let sent = stage.receive(ALICE, &request("INVITE", "sips:1000@127.0.0.1:5061", "", "", 1));
        assert_eq!((status(&sent), requests(&sent, "INVITE").len()), (Some("503"), 0));
        let sent = stage.receive(ALICE, &invite().replace("z9hG4bKa", "z9hG4bKplain"));
        assert_eq!(requests(&sent, "INVITE")[0].over, Transport::Tls);
    }
}

/// [C-060] [C-061] Within a dialog too: what is addressed to sips goes by TLS, while `transport=tls` in a sip
/// URI only names the transport.
#[test]
fn sips_stays_on_tls_within_a_dialog() {
    let tls = |plan: &mut Plan| plan.listeners.push(listener(Transport::Tls, "127.0.0.1:5061"));
    let mut stage = Stage::with(tls);
    let (invite, _) = answered(&mut stage);
    let route = format!("Route: {}\n", header(&invite, "Record-Route")[0]);
    for (n, uri, port) in [(2, "sips:bob@10.0.1.1", 5061), (3, "sip:bob@10.0.1.1:6000;transport=tls", 6000)] {
        let sent = stage.receive(ALICE, &request("INFO", uri, &route, ";tag=bt", n));
        let [info] = &requests(&sent, "INFO")[..] else { panic!("one INFO to {uri}") };
        assert_eq!((info.to.port(), info.over), (port, Transport::Tls), "{uri}");
    }
    // The ACK as well.
    let sent = stage.receive(ALICE, &request("ACK", "sips:bob@10.0.1.1", &route, ";tag=bt", 1));
    assert_eq!(sent[0].over, Transport::Tls);
}

/// A NOTIFY is record-routed, To tag or not: it may be what forms its subscription's dialog.
#[test]
fn notifies_are_record_routed() {
    let mut stage = Stage::new();
    let (invite, _) = answered(&mut stage);
    let record_route = header(&invite, "Record-Route")[0].to_owned();
    let extra = format!("Route: {record_route}\nEvent: refer\nSubscription-State: active\n");
    let sent = stage.receive(ALICE, &request("NOTIFY", "sip:bob@10.0.1.1:5060", &extra, ";tag=bt", 2));
    assert_eq!(header(&sent[0].text, "Record-Route"), [record_route], "with the token of its dialog");
    let sent = stage.receive(ALICE, &request("INFO", "sip:bob@10.0.1.1:5060", &extra, ";tag=bt", 3));
    assert!(header(&sent[0].text, "Record-Route").is_empty(), "a request of no dialog's making is not");
}

/// [C-045] [C-046] An answer goes to the source's port when `rport` asks for it, else to the one Via names;
/// always to the address it came from.
#[test]
fn answers_go_where_via_says() {
    let unroutable = request("INVITE", "sip:2000@127.0.0.1:5060", "", "", 1);
    for (via, to, noted) in [
        ("10.0.0.5:5060;rport", "10.0.0.5:7777", "rport=7777"),
        ("10.0.0.5:6000", "10.0.0.5:6000", ""),
        ("10.0.0.5", "10.0.0.5:5060", ""),
        ("10.0.0.99:6000", "10.0.0.5:6000", "received=10.0.0.5"),
        ("phone.example;rport", "10.0.0.5:7777", "received=10.0.0.5"),
    ] {
        let mut stage = Stage::new();
        let (host, rport) = via.split_once(';').unwrap_or((via, ""));
        let wanted = format!("{host};branch=z9hG4bKx;{rport}");
        let text =
            unroutable.replace("10.0.0.5:5060;branch=z9hG4bKaINVITE1;rport", wanted.trim_end_matches(';'));
        let sent = stage.receive("10.0.0.5:7777", &text);
        assert_eq!((status(&sent), sent[0].to.to_string().as_str()), (Some("404"), to), "{via}");
        assert!(header(&sent[0].text, "Via")[0].contains(noted), "{via}: {}", sent[0].text);
        // What cannot be read is answered the same way.
        let sent = stage.receive("10.0.0.5:7777", &text.replace("CSeq: 1 INVITE", "CSeq: x INVITE"));
        assert_eq!((status(&sent), sent[0].to.to_string().as_str()), (Some("400"), to), "{via}");
    }
}

/// [C-047] Over a stream the answer takes the connection; the port of Via is for when that is gone.
#[test]
fn answers_on_streams_name_the_connection() {
    let mut stage = over_streams();
    let text = request("INVITE", "sip:2000@127.0.0.1:5060", "", "", 1).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let bytes = Bytes::from(text.replace('\n', "\r\n"));
    let flow = stream("10.0.0.5:40001", BY_ALICE);
    stage.shard.handle(stage.now, Input::Message { flow, bytes }, &mut stage.out);
    let Some(Output::Send { to, .. }) = stage.out.drain().next() else { panic!("an answer") };
    assert_eq!((to.connection, to.remote.to_string()), (flow.connection, "10.0.0.5:5060".to_owned()));
}

/// [C-090] [C-118] At Max-Forwards 0 only an OPTIONS for Baton itself is answered as if it were for us.
#[test]
fn options_at_the_last_hop() {
    let last = |uri: &str, extra: &str, to_tag: &str, n| {
        request("OPTIONS", uri, extra, to_tag, n).replace("Max-Forwards: 70", "Max-Forwards: 0")
    };
    let mut stage = Stage::new();
    for (n, uri, extra, to_tag, wanted) in [
        (1, "sip:127.0.0.1:5060", "", "", "200"),
        (2, "sip:1000@127.0.0.1:5060", "", "", "483"),
        (3, "sip:elsewhere.example", "", "", "483"),
        (4, "sip:127.0.0.1:5060", "Route: <sip:10.0.1.1;lr>\n", "", "483"),
        (5, "sip:127.0.0.1:5060", "", ";tag=bt", "483"),
    ] {
        let sent = stage.receive(ALICE, &last(uri, extra, to_tag, n));
        assert_eq!((sent.len(), status(&sent)), (1, Some(wanted)), "{uri} {extra}{to_tag}");
    }
}

/// A trunk whose transfers are refused cannot begin one outside a call either.
#[test]
fn a_refused_transfer_outside_a_dialog() {
    let extra = "Refer-To: <sip:carol@10.0.1.7>\n";
    let refer = request("REFER", "sip:1000@127.0.0.1:5060", extra, "", 1);
    for code in [603, 403, 405] {
        let mut stage = Stage::with_refer(ReferMode::Reject(code));
        let sent = stage.receive(ALICE, &refer);
        assert_eq!(sent.len(), 1);
        assert_eq!(status(&sent), Some(code.to_string().as_str()));
        let allowed = header(&sent[0].text, "Allow").concat();
        assert_eq!((allowed.is_empty(), allowed.contains("REFER")), (code != 405, false), "{allowed}");
    }
}

/// Who is in no call moves nobody, by default and from a client: 403. Where the trunk wants such
/// REFERs relayed they go by its rules, and those that form a dialog come back this way.
#[test]
fn a_transfer_outside_a_dialog() {
    let extra = "Refer-To: <sip:carol@10.0.1.7>\nTarget-Dialog: c1;local-tag=1;remote-tag=2\n";
    let refer = |uri| request("REFER", uri, extra, "", 1);
    for outside in [OutOfDialog::Reject, OutOfDialog::TargetDialog, OutOfDialog::Relay] {
        let mut stage = Stage::with(|plan| plan.trunks[0].owned.policy.out_of_dialog = outside);
        let sent = stage.receive(ALICE, &refer("sip:1000@127.0.0.1:5060"));
        let passed = requests(&sent, "REFER");
        if outside == OutOfDialog::Relay {
            assert_eq!(passed.len(), 1);
            let route = header(&passed[0].text, "Record-Route")[0].to_owned();
            assert!(route.contains(";b="), "{route}");
            // Its NOTIFY comes this way, too, and says so to the other side.
            let notify = format!("Route: {route}\nEvent: refer\nSubscription-State: active\n");
            let notify = request("NOTIFY", "sip:alice@10.0.0.5:5060", &notify, ";tag=at", 8).replace(
                "From: \"Alice\" <sip:alice@10.0.0.5>;tag=at",
                "From: <sip:1000@example.com>;tag=bt",
            );
            let sent = stage.receive(BOB, &notify);
            let [told] = &requests(&sent, "NOTIFY")[..] else { panic!("one NOTIFY: {:?}", status(&sent)) };
            assert_eq!(told.to.to_string(), ALICE);
            assert!(header(&told.text, "Record-Route")[0].contains(";b="), "{}", told.text);
            let sent = stage.receive(ALICE, &refer("sip:9000@127.0.0.1:5060").replace("REFER1", "REFER2"));
            assert_eq!((status(&sent), sent.len()), (Some("404"), 1), "no route leads there");
        } else {
            assert_eq!((status(&sent), sent.len()), (Some("403"), 1), "{outside:?}");
        }
    }
}

/// Relayed Refers are counted by the trunk that sent them, whichever side of the call it is: those in
/// progress, their results, and those that policy refuses, in a call or outside.
#[test]
fn relayed_transfers_are_counted() {
    let count = |stage: &Stage| {
        let samples = seen(&[&stage.counters]).samples;
        let refers = samples.iter().filter(|(name, n)| name.contains("role=relay") && **n > 0);
        let mut refers: Vec<_> = refers.map(|(name, n)| format!("{name} {n}")).collect();
        refers.retain(|line| !line.starts_with("baton_refer_seconds"));
        refers.sort();
        refers
    };
    let by_bob = |text: String| {
        let text = text
            .replace("From: \"Alice\" <sip:alice@10.0.0.5>;tag=at", "From: <sip:1000@example.com>;tag=bt");
        text.replace("To: <sip:1000@example.com>;tag=at", "To: <sip:alice@10.0.0.5>;tag=at")
    };
    let account = |plan: &mut Plan| plan.trunks[0].account = Some("AC1".into());
    let mut stage = Stage::with(account);
    let (invite, _) = answered(&mut stage);
    let extra = format!("Route: {}\nRefer-To: <sip:c@x>\n", header(&invite, "Record-Route")[0]);
    let refer = request("REFER", "sip:alice@10.0.0.5", &extra, ";tag=at", 2);
    let passed = one(&stage.receive(BOB, &by_bob(refer)), "REFER");
    assert_eq!(count(&stage), ["baton_refer_active trunk=1 role=relay 1"]);
    stage.receive("10.0.0.5:5060", &response(&passed, "486 Busy Here", "", ""));
    let rejected = "baton_refer_total trunk=1 role=relay result=failed reason=refer-rejected 1";
    assert_eq!(count(&stage), [rejected]);

    let mut stage = Stage::with(|plan| {
        account(plan);
        plan.trunks[0].refer = ReferMode::Reject(603);
    });
    let (invite, _) = answered(&mut stage);
    let extra = format!("Route: {}\nRefer-To: <sip:c@x>\n", header(&invite, "Record-Route")[0]);
    assert_eq!(
        status(&stage.receive(ALICE, &request("REFER", "sip:bob@10.0.1.1", &extra, ";tag=bt", 2))),
        Some("603")
    );
    let denied = |n| [format!("baton_refer_total trunk=0 role=relay result=failed reason=policy {n}")];
    assert_eq!(count(&stage), denied(1));
    stage.receive(ALICE, &request("REFER", "sip:1000@127.0.0.1:5060", "Refer-To: <sip:c@x>\n", "", 3));
    assert_eq!(count(&stage), denied(2));
}

/// The bound on a trunk's REFERs holds for relayed ones, too: within a call and outside; the other side of
/// the call has its own.
#[test]
fn relayed_transfers_have_a_rate() {
    let mut stage = Stage::with(|plan| {
        plan.trunks[0].owned.policy.max_rate = 2;
        plan.trunks[0].owned.policy.out_of_dialog = OutOfDialog::Relay;
    });
    let (invite, _) = answered(&mut stage);
    let extra = format!("Route: {}\nRefer-To: <sip:c@x>\n", header(&invite, "Record-Route")[0]);
    let inside = |n| request("REFER", "sip:bob@10.0.1.1", &extra, ";tag=bt", n);
    let outside = |n| request("REFER", "sip:1000@127.0.0.1:5060", "Refer-To: <sip:c@x>\n", "", n);
    one(&stage.receive(ALICE, &inside(2)), "REFER");
    one(&stage.receive(ALICE, &outside(3)), "REFER");
    for refer in [inside(4), outside(5)] {
        let sent = stage.receive(ALICE, &refer);
        assert_eq!((status(&sent), sent.len()), (Some("503"), 1));
        assert!(!header(&sent[0].text, "Retry-After").is_empty());
    }
    let bobs = request("REFER", "sip:alice@10.0.0.5", &extra, ";tag=at", 8)
        .replace("From: \"Alice\" <sip:alice@10.0.0.5>;tag=at", "From: <sip:1000@example.com>;tag=bt");
    one(&stage.receive(BOB, &bobs), "REFER");
    stage.pass(Duration::from_millis(500));
    one(&stage.receive(ALICE, &inside(6)), "REFER");
}

/// What answers a challenge is the REFER that was challenged, and counted: once more, however often it is
/// challenged.
#[test]
fn a_challenged_transfer_is_counted_once() {
    let mut stage = Stage::with(|plan| {
        plan.trunks[0].owned.policy.max_rate = 1;
        plan.trunks[0].owned.policy.out_of_dialog = OutOfDialog::Relay;
    });
    let (invite, _) = answered(&mut stage);
    let extra = format!("Route: {}\nRefer-To: <sip:c@x>\n", header(&invite, "Record-Route")[0]);
    let answers =
        "Proxy-Authorization: Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"0\"\n";
    let inside = |extra: &str, n| request("REFER", "sip:bob@10.0.1.1", extra, ";tag=bt", n);
    let outside = |extra: &str, n| request("REFER", "sip:1000@127.0.0.1:5060", extra, "", n);
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\n";
    let mut n = 2;
    for (refer, to) in
        [(&inside as &dyn Fn(&str, u32) -> String, &*extra), (&outside, "Refer-To: <sip:c@x>\n")]
    {
        for (extra, code) in [(to.to_owned(), "407"), (format!("{to}{answers}"), "407")] {
            n += 1;
            let passed = one(&stage.receive(ALICE, &refer(&extra, n)), "REFER");
            let challenged = response(&passed, &format!("{code} Who"), ";tag=bt", challenge);
            assert_eq!(status(&stage.receive(BOB, &challenged)), Some(code));
        }
        n += 1;
        let sent = stage.receive(ALICE, &refer(&format!("{to}{answers}"), n));
        assert_eq!((status(&sent), sent.len()), (Some("503"), 1));
        stage.pass(Duration::from_secs(40));
    }
}

fn one(sent: &[Sent], method: &str) -> String {
    let [only] = &requests(sent, method)[..] else { panic!("one {method}: {:?}", status(sent)) };
    only.text.clone()
}

/// [C-043] [C-095] Two listeners on one address and port are told apart by the transport in Record-Route: the
/// later requests of a dialog leave by the side their Route names.
#[test]
fn the_listener_is_the_one_route_names() {
    let mut stage = over_streams();
    let sent = stage.receive(ALICE, &invite());
    let invite = requests(&sent, "INVITE")[0].text.clone();
    let routes = header(&invite, "Record-Route")[0].to_owned();
    let (top, bottom) = routes.split_once(", ").expect("both sides");
    assert!(top.starts_with("<sip:127.0.0.1:5060;transport=tcp;lr;"), "{top}");
    assert!(bottom.starts_with("<sip:127.0.0.1:5060;lr;"), "{bottom}");
    let ok = response(&invite, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1;transport=tcp>\n");
    stage.receive_by(stream(BOB, BY_BOB), &ok);
    // From Bob, over TCP, to Alice, over UDP: his route set is the Record-Route as it stands.
    let bye = format!(
        "BYE sip:alice@10.0.0.5:5060 SIP/2.0\nVia: SIP/2.0/TCP 10.0.1.1:5060;branch=z9hG4bKbye\n\
         Route: {routes}\nFrom: <sip:1000@example.com>;tag=bt\nTo: \"Alice\" <sip:alice@10.0.0.5>;tag=at\n\
         Call-ID: c1@10.0.0.5\nCSeq: 1 BYE\nContent-Length: 0\n\n"
    );
    let sent = stage.receive_by(stream(BOB, BY_BOB), &bye);
    let [bye] = &requests(&sent, "BYE")[..] else { panic!("one BYE") };
    assert_eq!((bye.to.to_string().as_str(), bye.over), (ALICE, Transport::Udp));
    assert!(header(&bye.text, "Via")[0].starts_with("SIP/2.0/UDP 127.0.0.1;"), "{}", bye.text);
    assert!(header(&bye.text, "Route").is_empty());
}

/// [T-131] The gauge counts each call that is up once: a BYE sent twice, or crossed by another, ends it once,
/// and a BYE for a call of a process before ends none of ours.
#[test]
fn the_gauge_of_calls_that_are_up() {
    let mut stage = Stage::new();
    let up = |stage: &Stage| {
        let samples = seen(&[&stage.counters]).samples;
        samples.get("baton_calls_active trunk=0 direction=inbound phase=up").copied().unwrap_or(0)
    };
    let (invite, _) = answered(&mut stage);
    assert_eq!(up(&stage), 1);
    let second_ok = response(&invite, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
    stage.receive(BOB, &second_ok);
    assert_eq!(up(&stage), 1, "a repeated 200 is no second call");
    let route = format!("Route: {}\n", header(&invite, "Record-Route")[0]);
    for n in 2..5 {
        let bye = request("BYE", "sip:bob@10.0.1.1:5060", &route, ";tag=bt", n);
        let sent = stage.receive(ALICE, &bye);
        stage.receive(BOB, &response(&sent[0].text, "200 OK", "", ""));
        assert_eq!(up(&stage), 0, "BYE {n}");
    }
    let mut later = Stage::new();
    let other = self::invite().replace("c1@10.0.0.5", "c2@10.0.0.5").replace("aINVITE1", "other");
    let sent = later.receive(ALICE, &other);
    later.receive(BOB, &response(&sent[0].text, "200 OK", ";tag=bt", ""));
    let bye = request("BYE", "sip:bob@10.0.1.1:5060", &route, ";tag=bt", 9);
    let sent = later.receive(ALICE, &bye);
    later.receive(BOB, &response(&sent[0].text, "200 OK", "", ""));
    assert_eq!(up(&later), 1);
}

/// [C-109] [C-110] The caller gives up while nobody has said a word, after one target was given up as silent:
/// it hears 487, not what the silence counts as.
#[test]
fn a_cancelled_silence_is_487() {
    let mut stage = Stage::new();
    stage.receive(ALICE, &invite());
    let sent = stage.pass(Duration::from_millis(3_100));
    assert_eq!(requests(&sent, "INVITE").iter().filter(|s| s.to.to_string() != BOB).count(), 1);
    let sent = stage.receive(ALICE, &cancel());
    assert_eq!(status(&sent), Some("200"));
    let sent = stage.pass(Duration::from_secs(40));
    let finals: Vec<&Sent> =
        sent.iter().filter(|s| s.text.starts_with("SIP/2.0 ") && s.text.contains("INVITE\n")).collect();
    assert!(!finals.is_empty());
    assert!(finals.iter().all(|s| s.text.starts_with("SIP/2.0 487 ")), "{}", finals[0].text);
    stage.pass(Duration::from_secs(80));
    assert_eq!(stage.shard.remains(), 0);
}

fn cancel() -> String {
    request("CANCEL", "sip:1000@127.0.0.1:5060", "", "", 1).replace("z9hG4bKaCANCEL1", "z9hG4bKaINVITE1")
}

/// [C-110] On streams a refused INVITE is forgotten at once, while its server transaction waits for the ACK: the
/// next INVITE takes its place, and the CANCEL that crossed the refusal must not hit that one.
#[test]
fn a_late_cancel_harms_nobody_else_over_tcp() {
    let mut stage = over_streams();
    let by_alice = stream("10.0.0.5:40001", BY_ALICE);
    let tcp = |text: String| text.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let first = stage.receive_by(by_alice, &tcp(invite())).remove(0);
    stage.receive_by(stream(BOB, BY_BOB), &response(&first.text, "486 Busy Here", ";tag=bt", ""));
    let other = invite().replace("c1@10.0.0.5", "c2@10.0.0.5").replace("z9hG4bKaINVITE1", "z9hG4bKother");
    let second = stage.receive_by(by_alice, &tcp(other)).remove(0);
    stage.receive_by(stream(BOB, BY_BOB), &response(&second.text, "180 Ringing", ";tag=bt", ""));
    let sent = stage.receive_by(by_alice, &tcp(cancel()));
    assert_eq!(status(&sent), Some("200"), "its INVITE is still known");
    assert_eq!(requests(&sent, "CANCEL").len(), 0, "but nothing of it is left to be cancelled");
    let ok = response(&second.text, "200 OK", ";tag=bt", "");
    assert_eq!(status(&stage.receive_by(stream(BOB, BY_BOB), &ok)), Some("200"));
}

fn lost(stage: &mut Stage, sent: &[SendTag]) -> Vec<Sent> {
    let input = Input::Closed { connection: ConnectionId::new(0, BY_BOB), sent: sent.to_vec() };
    stage.shard.handle(stage.now, input, &mut stage.out);
    stage.sent()
}

/// [C-064] [C-109] [C-123] The connection is gone before a word was heard: the next target at once, and when there
/// is none the caller is told.
#[test]
fn a_lost_connection_is_a_failed_attempt() {
    let mut stage = over_streams();
    let first = stage.receive(ALICE, &invite()).remove(0);
    let sent = lost(&mut stage, &[first.tag]);
    let [next] = &requests(&sent, "INVITE")[..] else { panic!("one INVITE") };
    assert_eq!((next.to.to_string().as_str(), next.over), ("10.0.1.2:5060", Transport::Udp));
    stage.receive("10.0.1.2:5060", &response(&next.text, "486 Busy Here", ";tag=ct", ""));
    stage.pass(Duration::from_secs(80));
    assert_eq!(stage.shard.remains(), 0);

    let mut stage = over_streams();
    let (invite, _) = answered(&mut stage);
    let route = format!("Route: {}\n", header(&invite, "Record-Route")[0]);
    let bye = request("BYE", "sip:bob@10.0.1.1;transport=tcp", &route, ";tag=bt", 2);
    let bye = stage.receive(ALICE, &bye).remove(0);
    assert_eq!(status(&lost(&mut stage, &[bye.tag])), Some("500"), "long before Timer F");
}

/// [C-064] A peer that has said something has the request: its final may come by another connection. The request
/// that was answered, and those of other connections, are not touched.
#[test]
fn a_lost_connection_ends_nothing_else() {
    let mut stage = over_streams();
    let first = stage.receive(ALICE, &invite()).remove(0);
    assert_eq!(lost(&mut stage, &[]).len(), 0);
    stage.receive_by(stream(BOB, BY_BOB), &response(&first.text, "180 Ringing", ";tag=bt", ""));
    assert_eq!(lost(&mut stage, &[first.tag, SendTag::NONE, SendTag(7)]).len(), 0);
    let ok = response(&first.text, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1;transport=tcp>\n");
    assert_eq!(status(&stage.receive_by(stream(BOB, 9), &ok)), Some("200"));
    assert_eq!(lost(&mut stage, &[first.tag]).len(), 0);
}
