//! One shard, played message by message.

mod claims;
mod edges;
mod guessing;
mod moved;
mod named;
mod outside;
mod owned;
mod replaced;
mod returning;
mod rules;
mod streams;
mod transfers;

use super::*;
use crate::sip::event::{CallStatus, Event, ReferReason, ReferSnapshot, ReferStatus};
use crate::sip::flow::{ConnectionId, Flow, ListenerId, Transport};
use crate::sip::plan::{Action, Fork, Mode, Origin, ReferMode, Route, TrunkIx, UserMatch};
use crate::sip::proxy::testing::{plan_with, target, trunk};
use bytes::Bytes;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;

/// A shard between trunk alpha (10.0.0.0/24) and trunk bravo (10.0.1.0/24), and what it sent.
struct Stage {
    shard: Shard,
    counters: Arc<Counters>,
    now: Time,
    out: Outbox,
}

/// A message that left.
struct Sent {
    to: SocketAddr,
    over: Transport,
    by: Option<ConnectionId>,
    tag: SendTag,
    text: String,
}

impl Stage {
    fn new() -> Stage {
        Stage::with_refer(ReferMode::Relay)
    }

    /// Alpha's REFERs are treated so.
    fn with_refer(refer: ReferMode) -> Stage {
        Stage::with(|plan| plan.trunks[0].refer = refer)
    }

    /// The plan is changed before it is used.
    fn with(change: impl FnOnce(&mut Plan)) -> Stage {
        let mut plan = plan_with(vec![
            trunk("alpha", vec![target("10.0.0.9", 0, 1)]),
            trunk("bravo", vec![target("10.0.1.1", 0, 1), target("10.0.1.2", 1, 1)]),
        ]);
        plan.routes = vec![Route {
            from: vec![Origin::Trunk(TrunkIx(0))],
            user: UserMatch::Prefix("1".into()),
            action: Action::Trunks { to: vec![TrunkIx(1)], fork: Fork::Serial, mode: Mode::Auto },
        }];
        change(&mut plan);
        let counters = Arc::new(Counters::new(2));
        Stage {
            shard: Shard::new(Arc::new(plan), Place::alone(), [3; 32], [4; 16], Arc::clone(&counters)),
            counters,
            now: Time::from_millis(1_700_000_000_000),
            out: Outbox::new(),
        }
    }

    fn receive(&mut self, from: &str, text: &str) -> Vec<Sent> {
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: from.parse().expect("an address"),
            connection: None,
        };
        self.receive_by(flow, text)
    }

    fn receive_by(&mut self, flow: Flow, text: &str) -> Vec<Sent> {
        let bytes = Bytes::from(text.replace('\n', "\r\n").into_bytes());
        self.shard.handle(self.now, Input::Message { flow, bytes }, &mut self.out);
        self.sent()
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut events = Outbox::new();
        for output in self.out.drain() {
            match output {
                Output::Send { to, bytes, tag } => sent.push(Sent {
                    tag,
                    to: to.remote,
                    over: to.transport,
                    by: to.connection,
                    text: String::from_utf8_lossy(&bytes).replace("\r\n", "\n"),
                }),
                other => events.push(other),
            }
        }
        self.out = events;
        sent
    }

    fn events(&mut self) -> Vec<Event> {
        let take = |output| if let Output::Event(event) = output { Some(event) } else { None };
        self.out.drain().filter_map(take).collect()
    }

    fn pass(&mut self, time: Duration) -> Vec<Sent> {
        let until = self.now + time;
        while let Some(deadline) = self.shard.next_deadline().filter(|d| *d <= until) {
            self.now = self.now.max(deadline);
            self.shard.expire(self.now, &mut self.out);
        }
        self.now = until;
        self.sent()
    }
}

fn header<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).collect()
}

const ALICE: &str = "10.0.0.5:5060";
const BOB: &str = "10.0.1.1:5060";

fn request(method: &str, uri: &str, extra: &str, to_tag: &str, cseq: u32) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKa{method}{cseq};rport\n\
         {extra}Max-Forwards: 70\nFrom: \"Alice\" <sip:alice@10.0.0.5>;tag=at\n\
         To: <sip:1000@example.com>{to_tag}\nCall-ID: c1@10.0.0.5\nCSeq: {cseq} {method}\n\
         Contact: <sip:alice@10.0.0.5:5060>\nX-Thing:  kept  as is\nContent-Length: 0\n\n"
    )
}

fn invite() -> String {
    request("INVITE", "sip:1000@127.0.0.1:5060", "", "", 1)
}

/// A response to a request as its receiver saw it.
fn response(request: &str, status: &str, to_tag: &str, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for line in request.lines().skip(1) {
        if ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"].iter().any(|h| line.starts_with(h)) {
            text += &format!("{line}\n");
        } else if line.starts_with("To:") {
            text += &format!("{line}{to_tag}\n");
        }
    }
    text + extra + "Content-Length: 0\n\n"
}

fn answered(stage: &mut Stage) -> (String, String) {
    let invite = stage.receive(ALICE, &invite()).remove(0).text;
    let ok = response(&invite, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
    let ok = stage.receive(BOB, &ok).remove(0).text;
    (invite, ok)
}

/// [C-090] [C-094] [C-010] [C-100] [C-112] [C-111] [C-097] A call there and back.
#[test]
fn a_call_crosses() {
    let mut stage = Stage::new();
    let sent = stage.receive(ALICE, &invite());
    assert_eq!(sent.len(), 1, "no 100 yet: {}", sent[0].text);
    let forwarded = &sent[0];
    assert_eq!(forwarded.to, BOB.parse().expect("an address"));
    assert!(forwarded.text.starts_with("INVITE sip:1000@10.0.1.1 SIP/2.0\n"), "{}", forwarded.text);
    assert_eq!(header(&forwarded.text, "Max-Forwards"), ["69"]);
    let vias = header(&forwarded.text, "Via");
    assert!(vias[0].starts_with("SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK"), "{}", vias[0]);
    assert!(vias[1].contains("received=10.0.0.5") && vias[1].contains("rport=5060"), "{}", vias[1]);
    assert!(forwarded.text.contains("X-Thing:  kept  as is\n"));
    let record_route = header(&forwarded.text, "Record-Route")[0].to_owned();
    assert!(record_route.starts_with("<sip:127.0.0.1:5060;lr;b="), "{record_route}");

    let ringing = response(&forwarded.text, "180 Ringing", ";tag=bt", "");
    let back = stage.receive(BOB, &ringing);
    assert_eq!(back[0].to, ALICE.parse().expect("an address"));
    assert_eq!(header(&back[0].text, "Via").len(), 1);
    let ok = response(&forwarded.text, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
    assert!(stage.receive(BOB, &ok)[0].text.starts_with("SIP/2.0 200 OK\n"));

    let route = format!("Route: {record_route}\n");
    let ack = request("ACK", "sip:bob@10.0.1.1:5060", &route, ";tag=bt", 1);
    let sent = stage.receive(ALICE, &ack);
    assert_eq!(sent[0].to, BOB.parse().expect("an address"));
    assert!(header(&sent[0].text, "Route").is_empty());
    stage.pass(Duration::from_secs(2));
    let bye = stage.receive(ALICE, &request("BYE", "sip:bob@10.0.1.1:5060", &route, ";tag=bt", 2));
    let ok = response(&bye[0].text, "200 OK", "", "");
    assert!(stage.receive(BOB, &ok)[0].text.starts_with("SIP/2.0 200"));

    let statuses: Vec<CallStatus> = stage
        .events()
        .into_iter()
        .filter_map(|e| if let Event::CallChanged(c) = e { Some(c.status) } else { None })
        .collect();
    assert_eq!(statuses, [CallStatus::Ringing, CallStatus::InProgress, CallStatus::Completed]);
    stage.pass(Duration::from_secs(40));
    assert_eq!(stage.shard.remains(), 0);
}

/// [C-097] Another process, with the same key, carries on with a call it never saw.
#[test]
fn a_restart_keeps_calls() {
    let mut first = Stage::new();
    let (invite, _) = answered(&mut first);
    let record_route = header(&invite, "Record-Route")[0];
    let mut second = Stage::new();
    second.now = first.now + Duration::from_secs(7);
    let route = format!("Route: {record_route}\n");
    let bye = request("BYE", "sip:bob@10.0.1.1:5060", &route, ";tag=bt", 2);
    let sent = second.receive(ALICE, &bye);
    assert_eq!(sent[0].to, BOB.parse().expect("an address"));
    second.receive(BOB, &response(&sent[0].text, "200 OK", "", ""));
    let events = second.events();
    let Some(Event::CallChanged(change)) = events.first() else { panic!("{events:?}") };
    assert_eq!(change.status, CallStatus::Completed);
    assert_eq!(change.at.since(change.started), Duration::from_secs(7));
}

/// [C-123] [T-061] Nothing heard: the next target, in a transaction of its own.
#[test]
fn silence_is_overcome() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    let sent = stage.pass(Duration::from_millis(3_100));
    let next = sent.iter().find(|s| s.to.to_string() == "10.0.1.2:5060").expect("a second attempt");
    assert!(next.text.starts_with("INVITE sip:1000@10.0.1.2 "));
    assert_ne!(header(&first.text, "Via")[0], header(&next.text, "Via")[0]);
    let busy = response(&next.text, "486 Busy Here", ";tag=ct", "");
    let sent = stage.receive("10.0.1.2:5060", &busy);
    assert!(sent.iter().any(|s| s.text.starts_with("ACK ")), "the peer's 486 is acknowledged");
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 486") && s.to == ALICE.parse().unwrap()));
    stage.pass(Duration::from_secs(80));
    assert_eq!(stage.shard.remains(), 0);
}

/// [C-103] [C-205] [T-040] A 503 moves on; the last one goes upstream as 500.
#[test]
fn a_503_is_not_relayed() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    let sent = stage.receive(BOB, &response(&first.text, "503 Service Unavailable", ";tag=x", ""));
    let next = sent.iter().find(|s| s.text.starts_with("INVITE")).expect("a second attempt");
    let sent = stage.receive("10.0.1.2:5060", &response(&next.text, "503 Service Unavailable", ";tag=y", ""));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 500")));
}

/// [C-083] [C-084] [C-110] The caller gives up.
#[test]
fn cancel_is_answered_and_passed() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    stage.receive(BOB, &response(&first.text, "180 Ringing", ";tag=bt", ""));
    let cancel =
        request("CANCEL", "sip:1000@127.0.0.1:5060", "", "", 1).replace("z9hG4bKaCANCEL1", "z9hG4bKaINVITE1");
    let sent = stage.receive(ALICE, &cancel);
    assert!(sent[0].text.starts_with("SIP/2.0 200"), "{}", sent[0].text);
    let passed = sent.iter().find(|s| s.text.starts_with("CANCEL ")).expect("a CANCEL");
    assert_eq!(header(&passed.text, "Via"), [header(&first.text, "Via")[0]]);
    stage.receive(BOB, &response(&passed.text, "200 OK", ";tag=bt", ""));
    let gone = stage.receive(BOB, &response(&first.text, "487 Request Terminated", ";tag=bt", ""));
    assert!(gone.iter().any(|s| s.text.starts_with("SIP/2.0 487")));
    let last = stage.events().pop();
    assert!(matches!(&last, Some(Event::CallChanged(c)) if c.status == CallStatus::Canceled), "{last:?}");
}

/// [T-016] [T-034] [C-137] [C-091] [C-040] [C-210] [C-213] Local answers; none to strangers, whatever they send.
#[test]
fn what_is_refused_here() {
    let mut stage = Stage::new();
    let broken = invite().replace("CSeq: 1 INVITE", "CSeq: x INVITE");
    let options = request("OPTIONS", "sip:127.0.0.1:5060", "", "", 2);
    for text in [invite(), broken, options, request("BYE", "sip:1000@x", "", ";tag=zz", 3)] {
        assert!(stage.receive("10.9.9.9:5060", &text).is_empty(), "an unknown source hears nothing");
    }
    assert!(stage.shard.next_deadline().is_none(), "nor is anything kept of it");
    let told = |output: &Output| matches!(output, Output::Stranger(flow) if flow.remote.port() == 5060);
    assert_eq!(stage.out.drain().filter(told).count(), 3, "but the operator is told");
    let mut answer = |text: String| stage.receive(ALICE, &text).remove(0).text;
    assert!(answer(request("INVITE", "sip:2000@127.0.0.1", "", "", 3)).starts_with("SIP/2.0 404"));
    assert!(answer(request("BYE", "sip:1000@x", "", ";tag=zz", 4)).starts_with("SIP/2.0 481"));
    assert!(answer(request("INVITE", "soap:1000", "", "", 5)).starts_with("SIP/2.0 416"));
    let needs = request("INVITE", "sip:1000@x", "Proxy-Require: foo, bar\n", "", 6);
    let refused = answer(needs);
    assert!(refused.starts_with("SIP/2.0 420"));
    assert_eq!(header(&refused, "Unsupported"), ["foo, bar"]);
    let options = answer(request("OPTIONS", "sip:127.0.0.1:5060", "", "", 7));
    assert!(options.starts_with("SIP/2.0 200") && options.contains("Allow: INVITE"));
    let last = request("INVITE", "sip:1000@x", "", "", 8).replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert!(answer(last).starts_with("SIP/2.0 483"));
}

/// [C-076] A 100 goes out when nothing else has for 150 ms.
#[test]
fn trying_when_it_takes_long() {
    let mut stage = Stage::new();
    stage.receive(ALICE, &invite());
    let sent = stage.pass(Duration::from_millis(180));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 100")), "{}", sent.len());
}

/// [R-017] [R-019] [R-023] [restcomm-refers 34] A relayed REFER and its NOTIFYs become one Refer, if the
/// call is somebody's.
#[test]
fn a_transfer_is_seen() {
    let refers = relayed(|_| {});
    assert!(refers.iter().all(|refer| refer.sid == refers[0].sid));
    let last = refers.last().expect("a Refer");
    assert_eq!(last.status, ReferStatus::Completed);
    assert_eq!((last.refer_code, last.notify_code), (Some(202), Some(200)));
    assert_eq!(last.to, "sip:carol@10.0.1.7");
    assert_eq!(last.from, "sip:alice@10.0.0.5");
    let nobodys = relayed(|plan| plan.trunks.iter_mut().for_each(|trunk| trunk.account = None));
    assert!(nobodys.is_empty(), "{nobodys:?}");
}

/// What is told of a transfer that succeeds.
fn relayed(change: impl FnOnce(&mut Plan)) -> Vec<ReferSnapshot> {
    let mut stage = Stage::with(change);
    let (invite, _) = answered(&mut stage);
    let route = format!("Route: {}\n", header(&invite, "Record-Route")[0]);
    let refer = request(
        "REFER",
        "sip:bob@10.0.1.1:5060",
        &format!("{route}Refer-To: <sip:carol@10.0.1.7?X=1>\n"),
        ";tag=bt",
        2,
    );
    let sent = stage.receive(ALICE, &refer).remove(0);
    stage.receive(BOB, &response(&sent.text, "202 Accepted", "", ""));
    for (n, frag) in [(1, "SIP/2.0 100 Trying"), (2, "SIP/2.0 200 OK")] {
        let notify = format!(
            "NOTIFY sip:alice@10.0.0.5:5060 SIP/2.0\nVia: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bKn{n}\n\
             {route}Max-Forwards: 70\nFrom: <sip:1000@example.com>;tag=bt\n\
             To: \"Alice\" <sip:alice@10.0.0.5>;tag=at\nCall-ID: c1@10.0.0.5\nCSeq: {n} NOTIFY\n\
             Event: refer;id=2\nSubscription-State: {}\nContent-Type: message/sipfrag;version=2.0\n\
             Content-Length: {}\n\n{frag}\n",
            if n == 2 { "terminated;reason=noresource" } else { "active;expires=60" },
            frag.len() + 2,
        );
        let sent = stage.receive(BOB, &notify);
        assert_eq!(sent[0].to, ALICE.parse().expect("an address"));
        stage.receive(ALICE, &response(&sent[0].text, "200 OK", "", ""));
    }
    let refers: Vec<_> = stage
        .events()
        .into_iter()
        .filter_map(|e| if let Event::Refer(r) = e { Some(*r) } else { None })
        .collect();
    stage.pass(Duration::from_secs(400));
    assert_eq!(stage.shard.remains(), 0);
    refers
}

/// A REFER that the trunk's policy refuses goes no further, and has one record that
/// says so.
#[test]
fn a_refused_transfer_is_seen() {
    for code in [603, 403, 405] {
        let mut stage = Stage::with_refer(ReferMode::Reject(code));
        let (invite, _) = answered(&mut stage);
        stage.events();
        let extra =
            format!("Route: {}\nRefer-To: <sip:carol@10.0.1.7>\n", header(&invite, "Record-Route")[0]);
        let refer = request("REFER", "sip:bob@10.0.1.1:5060", &extra, ";tag=bt", 2);
        let sent = stage.receive(ALICE, &refer);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].text.starts_with(&format!("SIP/2.0 {code} ")), "{}", sent[0].text);
        assert_eq!(sent[0].to, ALICE.parse().expect("an address"));
        let events = stage.events();
        let [Event::Refer(refer)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((refer.status, refer.reason), (ReferStatus::Failed, Some(ReferReason::Policy)));
        assert_eq!((refer.refer_code, refer.notify_code), (Some(code), None));
        stage.pass(Duration::from_secs(400));
        assert_eq!(stage.shard.remains(), 0);
    }
}

/// [C-110] A CANCEL that crosses the final answer does not hit the request that has taken its place.
#[test]
fn a_late_cancel_harms_nobody_else() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    stage.receive(BOB, &response(&first.text, "486 Busy Here", ";tag=bt", ""));
    stage.pass(Duration::from_secs(33));
    let other = invite().replace("c1@10.0.0.5", "c2@10.0.0.5").replace("z9hG4bKaINVITE1", "z9hG4bKother");
    let second = stage.receive(ALICE, &other).remove(0);
    stage.receive(BOB, &response(&second.text, "180 Ringing", ";tag=bt", ""));
    let cancel =
        request("CANCEL", "sip:1000@127.0.0.1:5060", "", "", 1).replace("z9hG4bKaCANCEL1", "z9hG4bKaINVITE1");
    let sent = stage.receive(ALICE, &cancel);
    assert!(!sent.iter().any(|s| s.text.starts_with("CANCEL ")));
}

/// [C-211] A dialog's token is no pass for strangers.
#[test]
fn a_token_alone_admits_nobody() {
    let mut stage = Stage::new();
    let (invite, _) = answered(&mut stage);
    let route = format!("Route: {}\n", header(&invite, "Record-Route")[0]);
    let stolen = request("INVITE", "sip:0900@10.0.1.1:5060", &route, ";tag=bt", 9);
    assert!(stage.receive("10.66.6.6:5060", &stolen).is_empty());
    assert_eq!(stage.receive(BOB, &stolen).len(), 1, "a party of the call may");
}

/// [C-112] A response with our Via alone goes nowhere and costs nothing.
#[test]
fn a_response_for_nobody_is_dropped() {
    let mut stage = Stage::new();
    let first = stage.receive(ALICE, &invite()).remove(0);
    let ok = response(&first.text, "200 OK", ";tag=bt", "");
    let second_via = ok.lines().filter(|l| l.starts_with("Via:")).nth(1).expect("two Vias").to_owned();
    assert!(stage.receive(BOB, &ok.replace(&format!("{second_via}\n"), "")).is_empty());
    assert_eq!(stage.receive(BOB, &ok).len(), 1);
}

/// [C-109] A peer out of reach is our 500, not our 503.
#[test]
fn a_dead_peer_is_not_our_overload() {
    let mut stage = Stage::new();
    stage.receive(ALICE, &invite());
    for peer in ["10.0.1.1:5060", "10.0.1.2:5060"] {
        let remote = peer.parse().expect("an address");
        stage.shard.handle(stage.now, Input::Unreachable { remote }, &mut stage.out);
    }
    let sent = stage.sent();
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 500")), "{}", sent.len());
    assert!(!sent.iter().any(|s| s.text.contains("Retry-After")));
}

/// [C-077] A MESSAGE whose only peer is slow keeps waiting for it.
#[test]
fn a_slow_answer_to_a_message_arrives() {
    let mut stage = Stage::new();
    let text = request("MESSAGE", "sip:1000@127.0.0.1:5060", "", "", 1);
    let first = stage.receive(ALICE, &text).remove(0);
    assert!(
        !stage
            .pass(Duration::from_millis(6_900))
            .iter()
            .any(|s| s.to != first.to && s.to.port() == 5060 && s.text.starts_with("MESSAGE"))
    );
    let sent = stage.receive(BOB, &response(&first.text, "200 OK", ";tag=bt", ""));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 200")));
}

/// [C-120] [C-123] A name that DNS says nothing about costs ten seconds, not the call.
#[test]
fn a_silent_dns_is_overcome() {
    let mut stage = Stage::with(|plan| plan.trunks[1].targets[0] = target("bravo.example", 0, 1));
    assert!(stage.receive(ALICE, &invite()).is_empty());
    let sent = stage.pass(Duration::from_millis(10_100));
    let next = sent.iter().find(|s| s.text.starts_with("INVITE ")).expect("an attempt at the other target");
    assert_eq!(next.to.to_string(), "10.0.1.2:5060");
    stage.receive("10.0.1.2:5060", &response(&next.text, "486 Busy Here", ";tag=ct", ""));
    stage.pass(Duration::from_secs(80));
    assert_eq!(stage.shard.remains(), 0);
}

/// [C-120] When nothing else is left to try, waiting for DNS ends with an answer.
#[test]
fn nobody_waits_for_dns_for_ever() {
    let name = |plan: &mut Plan| plan.trunks[1].targets = vec![target("bravo.example", 0, 1)];
    let mut stage = Stage::with(name);
    stage.receive(ALICE, &invite());
    let sent = stage.pass(Duration::from_millis(10_100));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 408")), "{}", sent.len());
    stage.pass(Duration::from_secs(40));
    assert_eq!(stage.shard.remains(), 0);
    let events = stage.events();
    let Some(Event::CallChanged(last)) = events.last() else { panic!("{events:?}") };
    assert_eq!(last.status, CallStatus::NoAnswer);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// [C-087] [C-218] Whatever the network, DNS and time do: what is kept is bounded, and after the last
    /// timer nothing is left, nor is any call or transfer open in the records.
    #[test]
    fn everything_ends(data in proptest::collection::vec(any::<u8>(), 4..1_200)) {
        fuzz::proxy(&data);
    }
}
