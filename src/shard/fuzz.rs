//! The body of a fuzz target: anything the network, DNS and time may do to a shard, in any order.
//!
//! Four bytes are a step. Peers of four trunks, and one that no trunk knows, send requests, answer
//! what reached them, carry on dialogs, cancel, and repeat what they have seen with bytes changed.
//! After each step what is kept and what was sent is bounded; after the last timer nothing is left, and
//! no call or transfer is still open in the records.

use super::{Counters, Input, Outbox, Output, Place, SendTag, Shard};
use crate::sip::event::{CallStatus, Event, ReferStatus};
use crate::sip::flow::{ConnectionId, Destination, Flow, ListenerId, Transport};
use crate::sip::message::{HeaderId, Limits, Message, Method, write};
use crate::sip::plan::{Action, Fork, Mode, Plan, ReferMode, Route, TrunkIx, UnknownSource, UserMatch};
use crate::sip::proxy::testing::{listener, plan_with, target, trunk};
use crate::sip::resolve::{Answer, Naptr, Outcome, Query, QueryKind, Records, Srv};
use crate::sip::time::Time;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const TRANSACTIONS: usize = 40;
const REFERS: usize = 4;
/// Messages that one input, or one timer, may make leave.
const BURST: usize = 64;
/// Messages remembered on each side.
const MEMORY: usize = 48;
/// Timers after the last input; far more than can run.
const TIMERS: usize = 100_000;

const SOURCES: [&str; 6] =
    ["10.0.0.5:5060", "10.0.1.1:5060", "10.0.1.2:5060", "10.0.2.1:5060", "10.0.3.1:5061", "10.9.9.9:5060"];
const METHODS: [Method; 10] = [
    Method::Invite,
    Method::Refer,
    Method::Notify,
    Method::Bye,
    Method::Subscribe,
    Method::Options,
    Method::Ack,
    Method::Cancel,
    Method::Message,
    Method::Other,
];
const STATUSES: [u16; 14] = [100, 180, 183, 200, 200, 202, 302, 401, 407, 408, 486, 487, 503, 603];
const USERS: [&str; 8] = ["1000", "2000", "3000", "4000", "5000", "9000", "%31", "0"];

struct Play {
    shard: Shard,
    now: Time,
    out: Outbox,
    sent: VecDeque<Sent>,
    received: VecDeque<(Flow, Bytes)>,
    questions: VecDeque<Query>,
    calls: HashMap<u128, CallStatus>,
    refers: HashMap<u128, ReferStatus>,
}

struct Sent {
    to: Destination,
    bytes: Bytes,
    tag: SendTag,
}

/// Plays the steps that the bytes name.
pub fn proxy(data: &[u8]) {
    let mut play = Play {
        shard: Shard::new(Arc::new(plan(0)), Place::alone(), [3; 32], [4; 16], Arc::new(Counters::new(4))),
        now: Time::from_millis(1_700_000_000_000),
        out: Outbox::new(),
        sent: VecDeque::new(),
        received: VecDeque::new(),
        questions: VecDeque::new(),
        calls: HashMap::new(),
        refers: HashMap::new(),
    };
    for (n, step) in data.chunks_exact(4).enumerate() {
        if let &[what, a, b, c] = step {
            play.step(data.get(n * 4 + 4..).unwrap_or_default(), what, a, b, c);
        }
    }
    play.finish();
}

/// Trunk alpha calls bravo (1…), bravo and charlie at once (2…), charlie by name, then bravo (3…), nobody
/// (4…), and delta, over TLS (5…); the others call alpha.
fn plan(variant: u8) -> Plan {
    let by_name = |host, priority| target(host, priority, 1);
    let mut secure = target("10.0.3.1", 0, 1);
    (secure.secure, secure.transport) = (true, Some(Transport::Tls));
    let mut plan = plan_with(vec![
        trunk("alpha", vec![target("10.0.0.5", 0, 1)]),
        trunk("bravo", vec![target("10.0.1.1", 0, 1), target("10.0.1.2", 1, 1)]),
        trunk("charlie", vec![by_name("carol.example", 0), by_name("10.0.2.1", 1)]),
        trunk("delta", vec![secure]),
    ]);
    plan.listeners.push(listener(Transport::Tcp, "127.0.0.1:5060"));
    plan.listeners.push(listener(Transport::Tls, "127.0.0.1:5061"));
    plan.trunks[3].refer = ReferMode::Reject(603);
    plan.trunks[1].udp_max = if variant & 1 == 0 { 1_300 } else { 200 };
    let to =
        |prefix: &str, action| Route { from: Vec::new(), user: UserMatch::Prefix(prefix.into()), action };
    let trunks = |to: &[u16], fork| Action::Trunks {
        to: to.iter().map(|n| TrunkIx(*n)).collect(),
        fork,
        mode: Mode::Auto,
    };
    plan.routes = vec![
        to("1", trunks(&[1], Fork::Serial)),
        to("2", trunks(&[1, 2], Fork::Parallel)),
        to("3", trunks(&[2, 1], Fork::Serial)),
        to("4", Action::Reject { code: 480, reason: "".into() }),
        to("5", trunks(&[3], Fork::Serial)),
        to("9", trunks(&[0], Fork::Serial)),
    ];
    plan.capacity.transactions = if variant & 2 == 0 { TRANSACTIONS } else { TRANSACTIONS / 4 };
    plan.capacity.refers = REFERS;
    plan.record_proxied = variant & 4 == 0;
    plan.unknown_source = match variant & 24 {
        0 => UnknownSource::DropUdp,
        8 => UnknownSource::Drop,
        _ => UnknownSource::Reject,
    };
    plan
}

impl Play {
    fn step(&mut self, rest: &[u8], what: u8, a: u8, b: u8, c: u8) {
        match what % 14 {
            0 => self.receive(flow(a, b), Bytes::copy_from_slice(rest.get(..2_048).unwrap_or(rest))),
            1 | 2 => self.request(a, b, c),
            3..=5 => self.respond(a, b, c),
            6 | 7 => self.within_a_dialog(a, b, c),
            8 => self.again_as(a, if b & 1 == 0 { Method::Cancel } else { Method::Ack }, c),
            9 => self.fail(a, b),
            10 => self.resolve(a, b, c),
            11 => self.bend(rest, a, b, c),
            12 if c == 0 => self.handle(Input::Plan(Arc::new(plan(a)))),
            _ => self.pass(Duration::from_millis(u64::from(a) * u64::from(b) * u64::from(c % 8 + 1))),
        }
    }

    fn receive(&mut self, flow: Flow, bytes: Bytes) {
        remember(&mut self.received, (flow, bytes.clone()));
        self.handle(Input::Message { flow, bytes });
    }

    /// A request that begins something.
    fn request(&mut self, a: u8, b: u8, c: u8) {
        let method = METHODS[usize::from(b) % METHODS.len()].as_str();
        let user = USERS[usize::from(c) % USERS.len()];
        let scheme = if a & 0x80 == 0 { "sip" } else { "sips" };
        let (call, branch) = (b / 10 % 4, a % 16);
        let name = ["Refer-To", "Route", "Max-Breadth", "Proxy-Require"][usize::from(c >> 6)];
        let value =
            ["<sip:x@10.0.1.1>", "<sip:127.0.0.1;lr>", "1", "<sip:10.0.1.1>"][usize::from(c >> 4) & 3];
        let text = format!(
            "{method} {scheme}:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: {}\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\nCall-ID: c{call}\r\n\
             CSeq: 5 {method}\r\n{name}: {value}\r\nContact: <sip:a@10.0.0.5>\r\nContent-Length: 0\r\n\r\n",
            a >> 4,
        );
        self.receive(flow(c >> 3, a >> 6), Bytes::from(text));
    }

    /// What a peer makes of a request that reached it.
    fn respond(&mut self, a: u8, b: u8, c: u8) {
        let Some(sent) = pick(&self.sent, a) else { return };
        let Ok(request) = Message::parse(sent.bytes.clone(), &roomy()) else { return };
        if !request.is_request() {
            return;
        }
        let status = STATUSES[usize::from(b) % STATUSES.len()];
        let routes: Vec<u8> = join(&request, HeaderId::RecordRoute);
        let mut extra: Vec<(&str, &[u8])> = Vec::new();
        if !routes.is_empty() && c & 1 == 0 {
            extra.push(("Record-Route", &routes));
        }
        if c & 2 == 0 {
            extra.push(("Contact", b"<sip:b@10.0.1.1>"));
        }
        if matches!(status, 401 | 407) {
            let name = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
            extra.push((name, b"Digest realm=\"x\", nonce=\"y\""));
        }
        let tag: &[u8] = if c & 4 == 0 { b"t1" } else { b"t2" };
        let mut out = Vec::new();
        write::response(&mut out, &request, None, status, "", Some(tag), &extra);
        if c & 8 != 0 && request.method() == Method::Invite {
            let text = String::from_utf8_lossy(&out).replace("5 INVITE", "5 CANCEL");
            out = text.into_bytes();
        }
        let flow = back(&sent.to);
        self.receive(flow, Bytes::from(out));
    }

    /// A request in a dialog that the peers know of, from either side.
    fn within_a_dialog(&mut self, a: u8, b: u8, c: u8) {
        let Some(sent) = pick(&self.sent, a) else { return };
        let Ok(seen) = Message::parse(sent.bytes.clone(), &roomy()) else { return };
        let route = join(&seen, HeaderId::RecordRoute);
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let (mut from, mut to) = (text(seen.header(HeaderId::From)), text(seen.header(HeaderId::To)));
        if !to.contains("tag=") {
            to += ";tag=t1";
        }
        let callee = c & 1 != 0;
        if callee {
            std::mem::swap(&mut from, &mut to);
        }
        let method = METHODS[usize::from(b) % METHODS.len()].as_str();
        let extra = match c >> 5 {
            0 => "Refer-To: <sip:carol@10.0.2.1?Replaces=x>\r\n",
            1 => "Refer-To: <sip:carol@10.0.2.1>\r\nRefer-Sub: false\r\n",
            2 => "Event: refer\r\nSubscription-State: active;expires=4294967295\r\n",
            3 => "Event: refer;id=5\r\nSubscription-State: terminated;reason=noresource\r\n",
            4 => "Event: refer\r\nSubscription-State: pending\r\n",
            _ => "",
        };
        let (status, kind) = (STATUSES[usize::from(b / 10) % STATUSES.len()], "message/sipfrag;version=2.0");
        let body = if c & 2 == 0 { format!("SIP/2.0 {status} x\r\n") } else { String::new() };
        let number = 5 + (c >> 2 & 3);
        let uri = if callee { "sip:a@10.0.0.5" } else { "sip:b@10.0.1.1" };
        let message = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKd{b}{c}\r\nRoute: {}\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n{extra}Content-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            String::from_utf8_lossy(&route),
            text(seen.header(HeaderId::CallId)),
            body.len(),
        );
        let source = if callee { back(&sent.to) } else { flow(c >> 4 & 1, 0) };
        self.receive(source, Bytes::from(message));
    }

    /// The CANCEL, or the ACK, of a request that came.
    fn again_as(&mut self, a: u8, method: Method, c: u8) {
        let Some((flow, bytes)) = pick(&self.received, a) else { return };
        let (flow, text) = (*flow, String::from_utf8_lossy(bytes).into_owned());
        let Some((first, _)) = text.split_once(' ') else { return };
        let mut text = text.replacen(first, method.as_str(), 1);
        text = text.replace(&format!(" {first}\r\n"), &format!(" {}\r\n", method.as_str()));
        if c & 1 != 0 {
            text = text.replace("To: <sip:b@x>\r\n", "To: <sip:b@x>;tag=t1\r\n");
        }
        self.receive(flow, Bytes::from(text));
    }

    fn fail(&mut self, a: u8, b: u8) {
        let Some(sent) = pick(&self.sent, a) else { return };
        let input = match b % 3 {
            0 => Input::SendFailed { tag: sent.tag },
            1 => Input::Unreachable { remote: sent.to.remote },
            _ => Input::Closed { connection: ConnectionId(u64::from(b)), sent: vec![sent.tag] },
        };
        self.handle(input);
    }

    fn resolve(&mut self, a: u8, b: u8, c: u8) {
        let Some(query) = pick(&self.questions, a).cloned() else { return };
        let records = match query.kind {
            QueryKind::Naptr => Records::Naptr(vec![Naptr {
                order: 1,
                preference: 1,
                flags: "s".into(),
                service: ["SIP+D2U", "SIP+D2T", "SIPS+D2T", "x"][usize::from(b) & 3].into(),
                replacement: "_sip._udp.carol.example".into(),
            }]),
            QueryKind::Srv => Records::Srv(
                (0..b & 3)
                    .map(|n| Srv {
                        priority: n.into(),
                        weight: 1,
                        port: 5060,
                        target: format!("h{n}.example").into(),
                    })
                    .collect(),
            ),
            QueryKind::Address => Records::Address((1..=1 + (b & 3)).map(|n| [10, 0, 2, n].into()).collect()),
        };
        let outcome = match c & 3 {
            0 => Outcome::Failed,
            1 => Outcome::Absent,
            _ => Outcome::Found(records),
        };
        self.handle(Input::Resolved {
            query,
            answer: Answer { outcome, ttl: Duration::from_secs(c.into()) },
        });
    }

    /// Something that was on the wire, with bytes changed, from anywhere.
    fn bend(&mut self, rest: &[u8], a: u8, b: u8, c: u8) {
        let (source, bytes) = if a & 1 == 0 {
            let Some(sent) = pick(&self.sent, a >> 1) else { return };
            (back(&sent.to), sent.bytes.clone())
        } else {
            let Some(received) = pick(&self.received, a >> 1) else { return };
            received.clone()
        };
        let mut bytes = bytes.to_vec();
        let at = usize::from(b) * 256 + usize::from(c);
        for (n, &byte) in rest.iter().take(usize::from(c & 3)).enumerate() {
            if let Some(place) = at.checked_rem(bytes.len()).and_then(|at| bytes.get_mut(at + n)) {
                *place = byte;
            }
        }
        let source = if b & 0x80 == 0 { source } else { flow(b, c) };
        self.receive(source, Bytes::from(bytes));
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.shard.next_deadline().filter(|at| *at <= until) {
            self.expire(deadline);
        }
        self.now = until;
    }

    fn expire(&mut self, deadline: Time) {
        self.now = self.now.max(deadline);
        self.shard.expire(self.now, &mut self.out);
        // All timers of a moment fire at once: so many transactions may send.
        self.look(BURST + 4 * TRANSACTIONS);
    }

    fn handle(&mut self, input: Input) {
        // An answer of DNS, or an address out of reach, moves all that wait for it.
        let burst = if let Input::Message { .. } = input { BURST } else { BURST + 4 * TRANSACTIONS };
        self.shard.handle(self.now, input, &mut self.out);
        self.look(burst);
    }

    /// What was sent and what is kept.
    fn look(&mut self, burst: usize) {
        assert!(self.out.len() <= burst, "{} effects of one input", self.out.len());
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain() {
            match output {
                Output::Send { to, bytes, tag } => {
                    let message = Message::parse(bytes.clone(), &roomy());
                    assert!(message.is_ok(), "what was sent is no message: {:?}", bytes);
                    remember(&mut self.sent, Sent { to, bytes, tag });
                }
                Output::Resolve(query) => remember(&mut self.questions, query),
                Output::Event(event) | Output::Control(event) => self.note(event),
                Output::Close(_)
                | Output::Peer(..)
                | Output::Stranger(_)
                | Output::Banned(_)
                | Output::Returned { .. } => {}
            }
        }
        self.out = out;
        let Shard { transactions, proxy, observer, .. } = &self.shard;
        // Each INVITE that is sent on may have a CANCEL beside it.
        assert!(transactions.len() <= TRANSACTIONS * 3, "{} transactions", transactions.len());
        assert!(proxy.len() <= TRANSACTIONS * 3, "{} requests", proxy.len());
        assert!(observer.len() <= REFERS, "{} Refers", observer.len());
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::CallStarted(call) => {
                let before = self.calls.insert(call.sid.0, CallStatus::Queued);
                assert_eq!(before, None, "a call begins once");
            }
            Event::CallChanged(call) => {
                self.calls.insert(call.sid.0, call.status);
            }
            Event::Refer(refer) => {
                let before = self.refers.insert(refer.sid.0, refer.status);
                assert!(before.is_none_or(|s| s == ReferStatus::InProgress), "a Refer ends once");
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        let mut fired = 0;
        while let Some(deadline) = self.shard.next_deadline() {
            self.expire(deadline);
            fired += 1;
            assert!(fired < TIMERS, "no end of timers");
        }
        assert_eq!(self.shard.remains(), 0, "something is left");
        assert_eq!(self.shard.transactions.timers(), 0);
        let open = |status: &&CallStatus| matches!(status, CallStatus::Queued | CallStatus::Ringing);
        assert_eq!(self.calls.values().filter(open).count(), 0, "a call was left ringing");
        let open = self.refers.values().filter(|status| **status == ReferStatus::InProgress);
        assert_eq!(open.count(), 0, "a transfer was left open");
    }
}

fn remember<T>(memory: &mut VecDeque<T>, thing: T) {
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(thing);
}

/// One of the last, counted from the newest.
fn pick<T>(memory: &VecDeque<T>, n: u8) -> Option<&T> {
    memory.iter().rev().nth(usize::from(n).checked_rem(memory.len())?)
}

fn flow(source: u8, way: u8) -> Flow {
    let remote = SOURCES[usize::from(source) % SOURCES.len()].parse().expect("an address");
    match way % 4 {
        0 | 1 => Flow { remote, ..Flow::nowhere() },
        2 => stream(1, Transport::Tcp, remote),
        _ => stream(2, Transport::Tls, remote),
    }
}

/// The way an answer to what was sent comes.
fn back(to: &Destination) -> Flow {
    if to.transport.is_reliable() {
        stream(to.listener.0, to.transport, to.remote)
    } else {
        Flow { listener: to.listener, transport: to.transport, remote: to.remote, connection: None }
    }
}

fn stream(listener: u16, transport: Transport, remote: std::net::SocketAddr) -> Flow {
    let connection = Some(ConnectionId::new(0, u64::from(remote.port())));
    Flow { listener: ListenerId(listener), transport, remote, connection }
}

fn join(message: &Message, id: HeaderId) -> Vec<u8> {
    message.values(id).collect::<Vec<_>>().join(&b", "[..])
}

/// Room for what a proxy adds.
fn roomy() -> Limits {
    let limits = Limits::default();
    Limits {
        message: limits.message + 4_000,
        headers: limits.headers + 16,
        header_line: usize::MAX,
        vias: limits.vias + 1,
        routes: limits.routes + 4,
        ..limits
    }
}
