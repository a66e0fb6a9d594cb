//! A shard's thread: one poll, its sockets, its engine.
//!
//! A turn takes a bounded amount of everything that waits (orders, parcels of other shards, datagrams,
//! streams, timers), gives it to the engine in arrival order, and carries out what the engine wants
//! done. System calls are what a message costs most, so datagrams are received and sent in batches,
//! and a socket that gave less than a full batch is known to be empty and not asked again.

use super::clock::Clock;
use super::counters::Counters;
use super::dns::Asker;
use super::engine::Engine;
use super::events::EventQueue;
use super::handoff::{Handoff, Order, Parcel};
use super::mmsg::{Datagram, Received, Receiver, Sender};
use super::strangers::Strangers;
use super::stun;
use super::tcp::{Outcome, Streams};
use super::udp::{Arrival, UdpEnd};
use crate::shard::counters::Counters as Metrics;
use crate::shard::owner::{self, HashKey};
use crate::shard::{Input, Outbox, Output, SendTag};
use crate::sip::flow::{ConnectionId, Destination, Flow, ListenerId, Transport};
use crate::sip::resolve::{Answer, Outcome as Dns, Query};
use crate::sip::time::Time;
use bytes::{Buf, Bytes};
use mio::event::Event as Readiness;
use mio::{Events, Poll, Token};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// The token of the shard's waker. Listener `n` has token `n + 1`, connections follow.
pub(crate) const WAKER: Token = Token(0);
/// Rounds over all sources before the thread looks for readiness again.
const ROUNDS: usize = 8;
/// How often reports of failed sends may cause new sends within a turn.
const ECHOES: usize = 8;
/// How long a shard waits at most while a ring to another shard is full.
const BACKED_UP: Duration = Duration::from_millis(1);
/// How long it waits at most while final events wait for the control plane, or it is stopping.
const RETRY: Duration = Duration::from_millis(10);
/// How long a question that could not be asked counts as failed.
const REFUSED: Duration = Duration::from_secs(1);
/// Parcels that may wait for one shard's ring before a message for a connection there fails.
const BACKLOG: usize = 16_384;

/// Everything one shard's thread owns.
pub(crate) struct Driver<E> {
    pub(crate) index: u16,
    pub(crate) shards: u16,
    pub(crate) key: HashKey,
    pub(crate) engine: E,
    pub(crate) clock: Clock,
    pub(crate) poll: Poll,
    /// By listener; `None` for stream listeners.
    pub(crate) udp: Vec<Option<UdpEnd>>,
    pub(crate) streams: Streams,
    /// RFC 3261's T1, by which connections are kept (C-053).
    pub(crate) t1: Duration,
    pub(crate) handoff: Handoff,
    pub(crate) events: EventQueue,
    pub(crate) counters: Arc<Counters>,
    pub(crate) metrics: Arc<Metrics>,
}

impl<E: Engine> Driver<E> {
    /// Runs until it is told to stop.
    pub(crate) fn run(self) {
        Running {
            outbox: Outbox::new(),
            receiver: Receiver::new(),
            sender: Sender::new(),
            parcels: Vec::new(),
            reports: Vec::new(),
            arrivals: Vec::new(),
            more: true,
            stop: None,
            asker: None,
            strangers: Strangers::default(),
            d: self,
        }
        .run();
    }
}

/// A driver with the buffers its turns reuse.
struct Running<E> {
    d: Driver<E>,
    outbox: Outbox,
    receiver: Receiver,
    sender: Sender,
    parcels: Vec<Parcel>,
    /// Inputs that carrying out the outbox has caused.
    reports: Vec<Input>,
    /// Messages read from streams.
    arrivals: Vec<(Flow, Bytes)>,
    /// Whether the last round left something that waits.
    more: bool,
    stop: Option<Time>,
    strangers: Strangers,
    /// The way to DNS, once there is one.
    asker: Option<Asker>,
}

impl<E: Engine> Running<E> {
    fn run(&mut self) {
        let mut events = Events::with_capacity(256);
        while !self.is_finished() {
            if let Err(error) = self.wait(&mut events)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(shard = self.d.index, %error, "waiting for readiness failed");
            }
            let now = self.d.clock.now();
            for event in &events {
                self.ready(now, event);
            }
            self.turn();
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        let timeout = if timeout == Some(Duration::ZERO) || self.d.handoff.fall_asleep() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.d.counters.waits.add(1);
        let result = self.d.poll.poll(events, timeout);
        self.d.handoff.wake_up();
        result
    }

    fn timeout(&mut self) -> Option<Duration> {
        if self.more {
            return Some(Duration::ZERO);
        }
        let engine = self.d.engine.next_deadline();
        let streams = self.d.streams.next_sweep();
        let now = self.d.clock.now();
        let mut timeout = engine.into_iter().chain(streams).min().map(|at| at.since(now));
        let mut at_most = |limit| timeout = Some(timeout.map_or(limit, |t: Duration| t.min(limit)));
        if self.d.handoff.is_backed_up() {
            at_most(BACKED_UP);
        }
        if self.d.streams.has_unread() {
            at_most(BACKED_UP);
        }
        if !self.d.events.is_empty() || self.stop.is_some() {
            at_most(RETRY);
        }
        timeout
    }

    fn ready(&mut self, now: Time, event: &Readiness) {
        let Some(listener) = event.token().0.checked_sub(1) else { return };
        let Some(Some(end)) = self.d.udp.get_mut(listener) else {
            return self.d.streams.ready(now, event);
        };
        end.readable |= event.is_readable();
        if event.is_writable() {
            end.unblock(self.d.poll.registry());
        }
        if event.is_error() {
            self.unreachable(listener);
        }
    }

    fn turn(&mut self) {
        for _ in 0..ROUNDS {
            let now = self.d.clock.now();
            self.more = false;
            self.take_orders(now);
            self.take_parcels(now);
            self.receive(now);
            self.read(now);
            self.d.streams.sweep(now, self.d.t1);
            if self.d.engine.next_deadline().is_some_and(|at| at <= now) {
                self.guarded(|engine, out| engine.expire(now, out));
            }
            self.d.handoff.announce();
            self.carry_out(now);
            self.d.handoff.announce();
            if !self.more {
                break;
            }
        }
        if !self.d.events.is_empty() {
            self.d.events.retry();
        }
    }

    fn take_orders(&mut self, now: Time) {
        while let Some(order) = self.d.handoff.order() {
            match order {
                Order::Input(input) => {
                    if let Input::Plan(plan) = &input {
                        self.d.events.set_room(plan.capacity.events);
                        self.d.streams.set_limits(plan.limits);
                        self.d.t1 = plan.timings.t1;
                    }
                    self.feed(now, input);
                }
                Order::Resolved { query, answer, took } => {
                    self.d.metrics.dns(query.kind, &answer.outcome, took);
                    self.feed(now, Input::Resolved { query, answer });
                }
                Order::Dns(asker) => self.asker = Some(asker),
                Order::Tls(tls) => self.d.streams.set_tls(tls),
                Order::Stop(by) => self.stop = Some(by),
            }
        }
    }

    fn take_parcels(&mut self, now: Time) {
        let mut parcels = std::mem::take(&mut self.parcels);
        self.more |= self.d.handoff.take(&mut parcels);
        for parcel in parcels.drain(..) {
            match parcel {
                Parcel::Message { flow, bytes } => self.feed(now, Input::Message { flow, bytes }),
                Parcel::Report(input) => self.feed(now, input),
                Parcel::Send { to, bytes, tag, from } => {
                    self.stream(now, to, bytes, (from, tag), true);
                }
                Parcel::Close(connection) => self.d.streams.close(now, connection),
                Parcel::Accepted { peer, connection } => self.d.streams.learn(peer, connection),
                Parcel::Lost { peer, connection } => self.d.streams.forget(&peer, connection),
            }
        }
        self.parcels = parcels;
    }

    /// Receives one batch from every socket that has something.
    fn receive(&mut self, now: Time) {
        for listener in 0..self.d.udp.len() {
            let Some(Some(end)) = self.d.udp.get_mut(listener) else { continue };
            if !end.readable {
                continue;
            }
            match end.receive(&mut self.receiver, &self.d.counters) {
                Arrival::Some => {
                    self.more |= end.readable;
                    while let Some(received) = self.receiver.take() {
                        self.arrived(now, listener, received);
                    }
                    // What this batch caused leaves before the next one takes its slots.
                    self.d.handoff.announce();
                    self.carry_out(now);
                }
                Arrival::None => {}
                Arrival::Error => {
                    self.more = true;
                    self.unreachable(listener);
                }
            }
        }
    }

    /// Accepts connections, and reads those that have something.
    fn read(&mut self, now: Time) {
        self.more |= self.d.streams.accept(now, self.d.poll.registry());
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let handoff = &self.d.handoff;
        self.more |= self.d.streams.read(now, |shard| handoff.backlog(shard) == 0, &mut arrivals);
        // A connection is known to the other shards before its first message.
        self.settle();
        for (flow, bytes) in arrivals.drain(..) {
            match self.owner(&bytes) {
                None => self.feed(now, Input::Message { flow, bytes }),
                Some(owner) => {
                    self.d.handoff.post(owner, Parcel::Message { flow, bytes });
                    if let Some(connection) = flow.connection
                        && self.d.handoff.backlog(owner) > 0
                    {
                        self.d.streams.hold(connection, owner);
                    }
                }
            }
        }
        self.arrivals = arrivals;
    }

    fn arrived(&mut self, now: Time, listener: usize, received: Received) {
        let Received::Datagram { remote, mut bytes } = received else {
            self.d.counters.datagrams_truncated.add(1);
            return;
        };
        if stun::is_stun(&bytes) {
            return self.stun(listener, remote, &bytes);
        }
        // Nothing stands before the start line (RFC 3261 §7.5); CRLFs alone keep a NAT binding open.
        let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n' | 0)).count();
        bytes.advance(blank);
        if bytes.is_empty() {
            self.d.counters.keepalives.add(1);
            return;
        }
        let flow = Flow {
            listener: ListenerId(listener as u16),
            transport: Transport::Udp,
            remote,
            connection: None,
        };
        match self.owner(&bytes) {
            Some(owner) => {
                // A copy of its own size: the slot stays with this shard.
                self.d.handoff.datagram(owner, flow, Bytes::copy_from_slice(&bytes));
            }
            None => self.feed(now, Input::Message { flow, bytes }),
        }
    }

    /// Tells a phone the address it is seen at.
    fn stun(&mut self, listener: usize, remote: SocketAddr, request: &[u8]) {
        if let Some(bytes) = stun::answer(request, remote)
            && let Some(Some(end)) = self.d.udp.get_mut(listener)
            && end.push(Datagram { remote, bytes, tag: SendTag::NONE })
        {
            self.d.counters.stun.add(1);
        }
    }

    /// The shard a message belongs to, when it is another one.
    fn owner(&self, bytes: &[u8]) -> Option<u16> {
        if self.d.shards < 2 {
            return None;
        }
        owner::owner(bytes, &self.d.key, self.d.shards).filter(|&owner| owner != self.d.index)
    }

    /// Tells all shards which destinations ICMP errors name: the kernel gives them to any one of
    /// the sockets that share the address.
    fn unreachable(&mut self, listener: usize) {
        let Some(Some(end)) = self.d.udp.get_mut(listener) else { return };
        let (handoff, reports, counters) = (&mut self.d.handoff, &mut self.reports, &self.d.counters);
        end.errors(|remote| {
            counters.unreachable.add(1);
            handoff.broadcast(|| Parcel::Report(Input::Unreachable { remote }));
            reports.push(Input::Unreachable { remote });
        });
        self.more |= !self.reports.is_empty();
    }

    fn feed(&mut self, now: Time, input: Input) {
        if matches!(input, Input::Message { .. }) {
            self.d.counters.messages.add(1);
        }
        self.guarded(|engine, out| engine.handle(now, input, out));
    }

    /// Calls the engine; a fault in one message must not end the others' calls (C-219).
    fn guarded(&mut self, call: impl FnOnce(&mut E, &mut Outbox)) {
        let (engine, outbox) = (&mut self.d.engine, &mut self.outbox);
        if catch_unwind(AssertUnwindSafe(|| call(engine, outbox))).is_err() {
            self.d.counters.faults.add(1);
            tracing::error!(shard = self.d.index, "a fault was caught; what caused it is dropped");
        }
    }

    /// Does what the outbox asks for, and what the reports of that cause.
    fn carry_out(&mut self, now: Time) {
        for _ in 0..ECHOES {
            self.dispatch(now);
            self.flush(now);
            self.settle();
            if self.reports.is_empty() {
                break;
            }
            let mut reports = std::mem::take(&mut self.reports);
            for report in reports.drain(..) {
                self.feed(now, report);
            }
            self.reports = reports;
        }
        self.more |= !self.reports.is_empty() || !self.outbox.is_empty();
    }

    fn dispatch(&mut self, now: Time) {
        let mut outbox = std::mem::take(&mut self.outbox);
        for output in outbox.drain() {
            match output {
                Output::Send { to, bytes, tag } => self.send(now, to, bytes, tag),
                Output::Resolve(query) => self.ask(now, query),
                Output::Close(connection) if connection.shard() == self.d.index => {
                    self.d.streams.close(now, connection);
                }
                Output::Close(connection) => {
                    self.d.handoff.post(connection.shard(), Parcel::Close(connection));
                }
                Output::Event(event) => self.d.events.record(event),
                Output::Control(event) => self.d.events.control(event),
                Output::Peer(shard, message) if shard == self.d.index => {
                    self.reports.push(Input::Peer(message));
                }
                Output::Peer(shard, message) => {
                    self.d.handoff.post(shard, Parcel::Report(Input::Peer(message)));
                }
                Output::Stranger(flow) => self.strangers.met(now, &flow),
                Output::Banned(flow) => self.strangers.banned(now, &flow),
                Output::Returned { refer, call_id, admitted: true } => {
                    let call_id = call_id.escape_ascii();
                    tracing::info!(event = "refer.returned", %refer, %call_id, "a transfer's call came back")
                }
                Output::Returned { refer, call_id, admitted: false } => {
                    self.strangers.spent(now, refer, &call_id)
                }
            }
        }
        self.outbox = outbox;
    }

    /// Asks DNS; when that cannot be, says so at once.
    fn ask(&mut self, now: Time, query: Query) {
        let asker = self.asker.as_ref();
        if asker.is_some_and(|asker| asker.ask(now, self.d.index, query.clone())) {
            self.d.counters.dns_queries.add(1);
        } else {
            self.d.counters.dns_refused.add(1);
            let answer = Answer { outcome: Dns::Failed, ttl: REFUSED };
            self.reports.push(Input::Resolved { query, answer });
        }
    }

    fn send(&mut self, now: Time, to: Destination, bytes: Bytes, tag: SendTag) {
        match to.transport {
            Transport::Udp => {
                let remote = to.remote;
                let end = self.d.udp.get_mut(usize::from(to.listener.0)).and_then(Option::as_mut);
                if !end.is_some_and(|end| end.push(Datagram { remote, bytes, tag })) {
                    self.d.counters.datagrams_failed.add(1);
                    self.failed(tag);
                }
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                let elsewhere = to.connection.map(ConnectionId::shard).filter(|&shard| shard != self.d.index);
                match elsewhere {
                    None => self.stream(now, to, bytes, (self.d.index, tag), false),
                    Some(shard) => self.post(shard, to, bytes, tag),
                }
            }
        }
    }

    /// Sends on a stream connection, of this shard or of the one that has the peer's.
    fn stream(&mut self, now: Time, to: Destination, bytes: Bytes, (from, tag): (u16, SendTag), here: bool) {
        let registry = self.d.poll.registry();
        let elsewhere = self.d.streams.send(now, registry, to, bytes, (from, tag), here);
        if let Some((connection, to, bytes)) = elsewhere {
            let to = Destination { connection: Some(connection), ..to };
            self.post(connection.shard(), to, bytes, tag);
        }
    }

    /// Hands a message to the shard that holds the connection.
    fn post(&mut self, shard: u16, to: Destination, bytes: Bytes, tag: SendTag) {
        if shard >= self.d.shards || self.d.handoff.backlog(shard) >= BACKLOG {
            self.d.counters.stream_sends_failed.add(1);
            return self.failed(tag);
        }
        self.d.handoff.post(shard, Parcel::Send { to, bytes, tag, from: self.d.index });
    }

    fn failed(&mut self, tag: SendTag) {
        if tag != SendTag::NONE {
            self.reports.push(Input::SendFailed { tag });
        }
    }

    fn flush(&mut self, now: Time) {
        let reports = &mut self.reports;
        for end in self.d.udp.iter_mut().flatten() {
            if !end.is_idle() {
                end.flush(&mut self.sender, self.d.poll.registry(), &self.d.counters, |tag| {
                    if tag != SendTag::NONE {
                        reports.push(Input::SendFailed { tag });
                    }
                });
            }
        }
        self.d.streams.flush(now);
    }

    /// Tells whoever has to know what became of connections and of what waited on them.
    fn settle(&mut self) {
        let handoff = &mut self.d.handoff;
        for outcome in self.d.streams.outcomes().drain(..) {
            match outcome {
                Outcome::Failed { from, tag } if from == self.d.index => {
                    self.reports.push(Input::SendFailed { tag });
                }
                Outcome::Failed { from, tag } => {
                    handoff.post(from, Parcel::Report(Input::SendFailed { tag }));
                }
                Outcome::Closed { connection, sent } => {
                    let sent_by = |shard| {
                        let by = sent.iter().filter(|(from, _)| *from == shard);
                        Input::Closed { connection, sent: by.map(|(_, tag)| *tag).collect() }
                    };
                    self.reports.push(sent_by(self.d.index));
                    for shard in (0..self.d.shards).filter(|shard| *shard != self.d.index) {
                        handoff.post(shard, Parcel::Report(sent_by(shard)));
                    }
                }
                Outcome::Accepted { peer, connection } => {
                    handoff.broadcast(|| Parcel::Accepted { peer: peer.clone(), connection });
                }
                Outcome::Lost { peer, connection } => {
                    handoff.broadcast(|| Parcel::Lost { peer: peer.clone(), connection });
                }
            }
        }
    }

    /// Whether the shard was told to stop and nothing is left to be sent, or time is up.
    fn is_finished(&self) -> bool {
        let Some(by) = self.stop else { return false };
        let idle = !self.more
            && self.d.udp.iter().flatten().all(UdpEnd::is_idle)
            && self.d.streams.is_idle()
            && self.d.events.is_empty()
            && !self.d.handoff.is_backed_up();
        idle || self.d.clock.now() >= by
    }
}
