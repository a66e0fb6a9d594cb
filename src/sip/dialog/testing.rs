//! A shard's legs without the shard: messages as text in and out, virtual time.

use super::*;
use crate::shard::{Counters, Outbox, Output, Place};
use crate::sip::flow::Transport;
use crate::sip::message::{HeaderId, Limits, Method};
use crate::sip::plan::TrunkIx;
use crate::sip::proxy::target::Candidate;
use crate::sip::proxy::testing::{plan_with, target, trunk};
use crate::sip::refer::{Observer, Waits};
use crate::sip::resolve::{self, Offer, Query, Resolver};
use crate::sip::time::Time;
use crate::sip::transaction::{Effect, Effects, Received, Transactions};
use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::net::SocketAddr;
use std::time::Duration;

/// A session description to begin with.
pub(crate) const SDP: &str =
    "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
/// Another one.
pub(crate) const OTHER_SDP: &str =
    "v=0\r\no=bob 7 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 5000 RTP/AVP 8\r\n";
/// Trunk alpha's first target, as it sends.
pub(crate) const PEER: &str = "10.0.0.1:5060";

/// A message that left.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) to: SocketAddr,
    pub(crate) message: Message,
}

impl Sent {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.message.bytes()).into_owned()
    }

    /// The start line without the version.
    pub(crate) fn start(&self) -> String {
        let text = self.text();
        let line = text.lines().next().unwrap_or("");
        line.trim_start_matches("SIP/2.0 ").trim_end_matches(" SIP/2.0").to_string()
    }

    pub(crate) fn header(&self, id: HeaderId) -> String {
        self.message.header(id).map_or(String::new(), |value| String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) fn method(&self) -> Method {
        self.message.method()
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.message.cseq().expect("CSeq").number
    }

    pub(crate) fn tag_of(value: &str) -> String {
        value.split(";tag=").nth(1).unwrap_or("").to_string()
    }
}

/// Legs, and everything they stand on.
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) legs: Legs,
    pub(crate) now: Time,
    pub(crate) transactions: Transactions,
    fx: Effects,
    pub(crate) resolver: Resolver,
    observer: Observer,
    rng: ChaCha12Rng,
    counters: Counters,
    out: Outbox,
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) asked: Vec<Query>,
    /// Messages towards this address get lost.
    pub(crate) deaf: Option<SocketAddr>,
}

impl Bench {
    /// Trunk alpha has the targets 10.0.0.1 and 10.0.0.2, bravo has 10.0.1.1.
    pub(crate) fn new() -> Bench {
        let plan = plan_with(vec![
            trunk("alpha", vec![target("10.0.0.1", 0, 1), target("10.0.0.2", 1, 1)]),
            trunk("bravo", vec![target("10.0.1.1", 0, 1)]),
        ]);
        Bench::with_plan(plan)
    }

    pub(crate) fn with_plan(plan: Plan) -> Bench {
        Bench {
            legs: Legs::new(&plan, [7; 16]),
            now: Time::from_millis(1_700_000_000_000),
            transactions: Transactions::new([1; 16], plan.timings, 10_000),
            fx: Effects::new(),
            resolver: Resolver::new(Offer::new(&plan.listeners), Duration::from_secs(3_600)),
            observer: Observer::new(10, Waits::from_t1(plan.timings.t1)),
            rng: ChaCha12Rng::from_seed([9; 32]),
            counters: Counters::new(2),
            out: Outbox::new(),
            sent: VecDeque::new(),
            asked: Vec::new(),
            deaf: None,
            plan,
        }
    }

    /// Works with the legs.
    pub(crate) fn with<T>(&mut self, work: impl FnOnce(&mut Legs, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: self.now,
            plan: &self.plan,
            place: Place::alone(),
            transactions: &mut self.transactions,
            fx: &mut self.fx,
            resolver: &mut self.resolver,
            observer: &mut self.observer,
            rng: &mut self.rng,
            counters: &self.counters,
            out: &mut self.out,
        };
        let result = work(&mut self.legs, &mut cx);
        self.settle();
        result
    }

    fn settle(&mut self) {
        loop {
            let outputs: Vec<Output> = self.out.drain().collect();
            for output in outputs {
                match output {
                    Output::Send { to, bytes, .. } => self.note(to.remote, bytes),
                    Output::Resolve(query) => self.asked.push(query),
                    Output::Close(_)
                    | Output::Event(_)
                    | Output::Control(_)
                    | Output::Peer(..)
                    | Output::Stranger(_)
                    | Output::Banned(_)
                    | Output::Returned { .. } => {}
                }
            }
            let Some(effect) = self.fx.pop() else { return };
            match effect {
                Effect::Send { to, bytes, .. } => self.note(to.remote, bytes),
                Effect::ClientTimedOut { id, owner } => self.with(|legs, cx| legs.timed_out(cx, id, owner)),
                Effect::ClientFailed { id, owner } => self.with(|legs, cx| legs.unsendable(cx, id, owner)),
                Effect::ClientEnded { owner, .. } => self.legs.client_ended(owner),
                Effect::ServerEnded { owner, .. } => self.legs.server_ended(owner),
                Effect::TuTimer(key) => {
                    assert_eq!(key & OWNED_TIMER, OWNED_TIMER);
                    self.with(|legs, cx| legs.timer(cx, key));
                }
            }
        }
    }

    fn note(&mut self, to: SocketAddr, bytes: Bytes) {
        if self.deaf == Some(to) {
            return;
        }
        let message = Message::parse(bytes, &Limits::default()).expect("a message");
        message.ready().expect("a sound message");
        self.sent.push_back(Sent { to, message });
    }

    /// Lets time go by, firing what is due.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.transactions.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while self.transactions.expire(self.now, &mut self.fx) {
                self.settle();
            }
        }
        self.now = end;
        while self.transactions.expire(self.now, &mut self.fx) {
            self.settle();
        }
    }

    pub(crate) fn pass_ms(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// A message comes; answers whether it was for a leg, or became one.
    pub(crate) fn receive(&mut self, from: &str, text: &str) -> Option<LegId> {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: from.parse().expect("an address"),
            connection: None,
        };
        let message = Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).expect("a message");
        let ready = message.ready().expect("a sound message");
        if !message.is_request() {
            let (now, transactions, fx) = (self.now, &mut self.transactions, &mut self.fx);
            let (client, owner) = transactions.receive_response(now, &message, &ready, fx)?;
            self.with(|legs, cx| legs.response_in(cx, client, owner, &message, &ready));
            return None;
        }
        if message.method() != Method::Cancel && self.legs.owns(&message, &ready) {
            self.with(|legs, cx| legs.request_in(cx, &message, &ready, &flow));
            return None;
        }
        let (now, transactions, fx) = (self.now, &mut self.transactions, &mut self.fx);
        let received = transactions.receive_request(now, &message, &ready, &flow, fx);
        let result = match received {
            Received::New(server) if message.method() == Method::Cancel => {
                let invite = self.transactions.find_invite(&ready).expect("an INVITE to cancel");
                self.with(|legs, cx| legs.cancel_in(cx, server, invite, &message, &flow));
                None
            }
            Received::New(server) if message.method() != Method::Invite || ready.to_tag.is_some() => {
                self.transactions.forget_server(server, &mut self.fx);
                None
            }
            Received::New(server) => {
                let options = Incoming { allow_refer: true, ..Incoming::default() };
                self.with(|legs, cx| legs.incoming(cx, server, &message, &ready, &flow, options)).ok()
            }
            Received::Absorbed | Received::Ack2xx | Received::Full => None,
        };
        self.settle();
        result
    }

    /// What left first of what is not looked at yet.
    pub(crate) fn next(&mut self) -> Sent {
        self.sent.pop_front().expect("a message")
    }

    /// The start lines of all that left.
    pub(crate) fn starts(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|sent| sent.start()).collect()
    }

    /// What happened, as short words.
    pub(crate) fn events(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(event) = self.legs.next_event() {
            words.push(word(&event));
        }
        words
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> LegEvent {
        self.legs.next_event().expect("an event")
    }

    /// Nothing is left after the longest timer.
    pub(crate) fn end(&mut self) {
        self.pass(Duration::from_secs(200));
        let remain: Vec<_> =
            self.legs.table.iter().map(|(_, leg)| (leg.id, leg.silent, &leg.state)).collect();
        assert!(remain.is_empty(), "legs remain: {remain:?}");
        assert_eq!(self.legs.desk.index.len(), 0, "tags remain");
        assert_eq!(self.transactions.len(), 0, "transactions remain");
        assert_eq!(self.transactions.timers(), 0, "timers remain");
    }

    /// An INVITE to trunk alpha.
    pub(crate) fn outgoing() -> Outgoing {
        let candidate = |target| Candidate { trunk: TrunkIx(0), target, group: 0 };
        Outgoing {
            way: Way::Trunks([candidate(0), candidate(1)].into_iter().collect()),
            uri: Box::from(&b"sip:100@example.com"[..]),
            from: Box::from(&b"\"Alice\" <sip:alice@example.com>"[..]),
            to: Box::from(&b"<sip:100@example.com>"[..]),
            headers: Vec::new(),
            body: Some(Body::sdp(SDP.as_bytes())),
            credentials: None,
            max_forwards: 69,
            max_breadth: None,
            ring: Duration::from_secs(60),
            allow_refer: true,
            session: crate::sip::plan::SessionTimer { interval: 0, min: 90 },
            preferred: None,
        }
    }

    pub(crate) fn invite(&mut self, out: Outgoing) -> LegId {
        self.with(|legs, cx| legs.invite(cx, out)).expect("room")
    }

    /// A response of the peer's to a request that left.
    pub(crate) fn reply(&mut self, request: &Sent, status: u16, tag: &str, headers: &str, body: &str) {
        let text = reply(&request.message, status, tag, headers, body);
        let from = request.to.to_string();
        self.receive(&from, &text);
    }

    /// An outgoing leg that is up, offered and answered; the INVITE, and the ACK is taken.
    pub(crate) fn outgoing_up(&mut self) -> (LegId, Sent) {
        let leg = self.invite(Bench::outgoing());
        let invite = self.next();
        self.reply(&invite, 200, "bob", CONTACT, OTHER_SDP);
        self.with(|legs, cx| legs.ack(cx, leg, None));
        assert_eq!(self.next().method(), Method::Ack);
        self.events();
        (leg, invite)
    }

    /// An incoming leg that is up, with the tag of Baton's side.
    pub(crate) fn incoming_up(&mut self) -> (LegId, String) {
        let leg = self.receive(PEER, &invite_text("")).expect("a leg");
        let body = Body::sdp(OTHER_SDP.as_bytes());
        self.with(|legs, cx| legs.answer(cx, leg, Fork(0), &Vec::new(), Some(&body)));
        let ok = self.next();
        let tag = Sent::tag_of(&ok.header(HeaderId::To));
        self.receive(PEER, &request_text("ACK", 1, &tag, "", ""));
        self.events();
        (leg, tag)
    }
}

/// A Contact of the peer's.
pub(crate) const CONTACT: &str = "Contact: <sip:bob@10.0.0.1:5070>\n";

/// An INVITE of the peer's with an offer.
pub(crate) fn invite_text(headers: &str) -> String {
    request_text_with(
        "INVITE",
        1,
        "",
        &format!("Contact: <sip:carol@10.0.0.1:5080>\n{headers}"),
        SDP,
        "invite",
    )
}

/// A request of the peer's in the dialog of [`invite_text`], `tag` being Baton's.
pub(crate) fn request_text(method: &str, cseq: u32, tag: &str, headers: &str, body: &str) -> String {
    request_text_with(method, cseq, tag, headers, body, &format!("{method}{cseq}"))
}

pub(crate) fn request_text_with(
    method: &str,
    cseq: u32,
    tag: &str,
    headers: &str,
    body: &str,
    branch: &str,
) -> String {
    let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    format!(
        "{method} sip:100@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK{branch}\n\
         Max-Forwards: 70\nFrom: Carol <sip:carol@example.net>;tag=carol\n\
         To: <sip:100@example.com>{tag}\nCall-ID: call-of-carol\nCSeq: {cseq} {method}\n{headers}{kind}\
         Content-Length: {}\n\n{body}",
        body.replace("\r\n", "\n").replace('\n', "\r\n").len()
    )
}

/// A response to a request of Baton's.
pub(crate) fn reply(request: &Message, status: u16, tag: &str, headers: &str, body: &str) -> String {
    let get = |id| String::from_utf8_lossy(request.header(id).unwrap_or_default()).into_owned();
    let to = get(HeaderId::To);
    let to = if to.contains(";tag=") || tag.is_empty() { to } else { format!("{to};tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    format!(
        "SIP/2.0 {status} Whatever\nVia: {}\nFrom: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n{headers}{kind}\
         Content-Length: {}\n\n{body}",
        get(HeaderId::Via),
        get(HeaderId::From),
        get(HeaderId::CallId),
        get(HeaderId::CSeq),
        body.replace("\r\n", "\n").replace('\n', "\r\n").len()
    )
}

fn word(event: &LegEvent) -> String {
    match event {
        LegEvent::Provisional { fork, message, .. } => format!("{} of {}", message.status(), fork.0),
        LegEvent::Answered { fork, .. } => format!("answered by {}", fork.0),
        LegEvent::Rejected { status, .. } => format!("rejected {status}"),
        LegEvent::Canceled { .. } => "canceled".into(),
        LegEvent::Left { fork, .. } => format!("left {}", fork.0),
        LegEvent::Withdrawn { .. } => "withdrawn".into(),
        LegEvent::Acknowledged { asked, .. } if asked.is_some() => "re-INVITE acknowledged".into(),
        LegEvent::Acknowledged { .. } => "acknowledged".into(),
        LegEvent::Requested { message, .. } => format!("asked {}", message.method().as_str()),
        LegEvent::Responded { status, .. } => format!("responded {status}"),
        LegEvent::Ended { by, .. } => format!("ended by {by:?}"),
        LegEvent::Gone { .. } => "gone".into(),
    }
}

/// Gives the resolver what DNS would say.
pub(crate) fn addresses(bench: &mut Bench, list: &[&str]) {
    for query in std::mem::take(&mut bench.asked) {
        let outcome = match query.kind {
            resolve::QueryKind::Address => resolve::Outcome::Found(resolve::Records::Address(
                list.iter().map(|ip| ip.parse().expect("an address")).collect(),
            )),
            resolve::QueryKind::Naptr | resolve::QueryKind::Srv => resolve::Outcome::Absent,
        };
        let answer = resolve::Answer { outcome, ttl: Duration::from_secs(60) };
        bench.resolver.answer(bench.now, query, answer);
        bench.with(|legs, cx| legs.resolved(cx));
    }
}
