//! The stream listeners and connections of one shard: accepting, opening, reusing, closing.
//!
//! A connection belongs to the shard whose thread accepted or opened it. Those that peers opened
//! are made known to all shards, so that a request to such a peer goes back on its connection
//! (C-053); each shard opens its own for what it sends elsewhere. What becomes of messages and
//! connections is left in a list of [`Outcome`]s for the driver.

use super::connection::{Cause, Connection, Peer, Role};
use super::counters::Counters;
use super::listen;
use super::tls::{Session, TlsContext};
use super::ws::End;
use crate::shard::SendTag;
use crate::shard::counters::{ConnectionRole, Counters as Metrics, TlsResult};
use crate::sip::flow::{ConnectionId, Destination, Flow, ListenerId, Transport};
use crate::sip::message::Limits;
use crate::sip::time::Time;
use bytes::Bytes;
use hashbrown::HashMap;
use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Tokens of connections begin here, above those of listeners.
const FIRST_CONNECTION: usize = 1 << 17;
/// Connections accepted at one listener in one round.
const ACCEPTS: usize = 64;
/// Connections read in one round.
const READS: usize = 64;
/// Bytes read from a connection at a time.
const READ: usize = 64 * 1_024;
/// How often connections are looked over.
const SWEEP: Duration = Duration::from_millis(250);

/// Bounds on stream connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// A connection that is not established by then has failed; 4 s.
    pub connect: Duration,
    /// A TLS handshake that is not done by then has failed, and so has the request for a WebSocket;
    /// 10 s.
    pub handshake: Duration,
    /// A message that is not complete by then ends its connection; 10 s.
    pub partial: Duration,
    /// A peer that takes nothing for so long loses its connection; 30 s.
    pub stall: Duration,
    /// A connection without messages for so long is closed; 10 min, never below 64*T1 (C-053).
    pub idle: Duration,
    /// How often an own idle connection is pinged (RFC 5626 §3.5.1); `None`: never.
    pub ping: Option<Duration>,
    /// A ping that is not answered by then ends the connection; 10 s (C-055).
    pub pong: Duration,
    /// How often the client of a quiet WebSocket is pinged: browsers cannot be made to do it; 30 s.
    pub websocket_ping: Option<Duration>,
    /// The web origins whose pages may open a WebSocket; empty: all (C-063).
    pub origins: Vec<Box<str>>,
    /// Connections of one shard; further ones are refused.
    pub connections: usize,
    /// Bytes that may wait for one peer; more end its connection (C-066).
    pub write_queue: usize,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions {
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(10),
            partial: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            ping: None,
            pong: Duration::from_secs(10),
            websocket_ping: Some(Duration::from_secs(30)),
            origins: Vec::new(),
            connections: 16_384,
            write_queue: 1 << 20,
        }
    }
}

/// What became of a message or a connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A message of this shard did not leave (C-064).
    Failed { from: u16, tag: SendTag },
    /// A connection is gone, and by it these have been sent lately: shard and tag.
    Closed { connection: ConnectionId, sent: Vec<(u16, SendTag)> },
    /// A peer's connection can be used by all shards.
    Accepted { peer: Peer, connection: ConnectionId },
    /// It cannot any more.
    Lost { peer: Peer, connection: ConnectionId },
}

/// A stream listener's part in one shard.
pub(crate) struct StreamListener {
    socket: TcpListener,
    transport: Transport,
    local: SocketAddr,
    profiles: Arc<[Box<str>]>,
    readable: bool,
}

impl StreamListener {
    pub(crate) fn new(
        socket: std::net::TcpListener,
        transport: Transport,
        local: SocketAddr,
        profiles: Arc<[Box<str>]>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<StreamListener> {
        let mut socket = TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(StreamListener { socket, transport, local, profiles, readable: true })
    }
}

/// All stream connections of one shard.
pub(crate) struct Streams {
    index: u16,
    listeners: Vec<Option<StreamListener>>,
    connections: HashMap<u64, Connection>,
    /// Connections that can be used for a peer: own ones, and those other shards have accepted.
    peers: HashMap<Peer, ConnectionId>,
    next: u64,
    ready: VecDeque<u64>,
    dirty: Vec<u64>,
    scratch: Box<[u8]>,
    tls: Arc<TlsContext>,
    options: StreamOptions,
    limits: Limits,
    dscp: Option<u8>,
    swept: Time,
    outcomes: Vec<Outcome>,
    counters: Arc<Counters>,
    metrics: Arc<Metrics>,
}

impl Streams {
    pub(crate) fn new(
        index: u16,
        listeners: Vec<Option<StreamListener>>,
        tls: Arc<TlsContext>,
        options: StreamOptions,
        limits: Limits,
        dscp: Option<u8>,
        counters: Arc<Counters>,
        metrics: Arc<Metrics>,
    ) -> Streams {
        Streams {
            index,
            scratch: vec![0; READ].into(),
            listeners,
            connections: HashMap::new(),
            peers: HashMap::new(),
            next: 0,
            ready: VecDeque::new(),
            dirty: Vec::new(),
            tls,
            options,
            limits,
            dscp,
            swept: Time::ZERO,
            outcomes: Vec::new(),
            counters,
            metrics,
        }
    }

    /// Uses other certificates and keys from now on (C-059).
    pub(crate) fn set_tls(&mut self, tls: Arc<TlsContext>) {
        self.tls = tls;
    }

    /// Uses other bounds on messages from now on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Notes that a socket is ready.
    pub(crate) fn ready(&mut self, now: Time, event: &Readiness) {
        let token = event.token().0;
        let Some(n) = token.checked_sub(FIRST_CONNECTION) else {
            if let Some(Some(listener)) =
                token.checked_sub(1).and_then(|listener| self.listeners.get_mut(listener))
            {
                listener.readable = true;
            }
            return;
        };
        let n = n as u64;
        let Some(connection) = self.connections.get_mut(&n) else { return };
        if let Err(cause) = connection.progress(now) {
            return self.end(n, cause);
        }
        connection.readable |= event.is_readable() || event.is_error();
        connection.ending |= event.is_read_closed() || event.is_error();
        if connection.readable && !connection.listed {
            connection.listed = true;
            self.ready.push_back(n);
        }
        if event.is_writable() {
            self.mark_dirty(n);
        }
    }

    /// Accepts a bounded number of connections; answers whether more may wait.
    pub(crate) fn accept(&mut self, now: Time, registry: &Registry) -> bool {
        let mut more = false;
        for listener in 0..self.listeners.len() {
            let mut accepts = ACCEPTS;
            while let Some(Some(end)) = self.listeners.get_mut(listener)
                && end.readable
            {
                if accepts == 0 {
                    more = true;
                    break;
                }
                accepts -= 1;
                match end.socket.accept() {
                    Ok((socket, remote)) => {
                        self.accepted(now, listener, socket, remote, registry);
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                        io::ErrorKind::WouldBlock => end.readable = false,
                        _ => {
                            // Out of file descriptors, most likely: tried again at the next sweep.
                            tracing::warn!(local = %end.local, %error, "no connection can be accepted");
                            end.readable = false;
                        }
                    },
                }
            }
        }
        more
    }

    fn accepted(
        &mut self,
        now: Time,
        listener: usize,
        socket: TcpStream,
        remote: SocketAddr,
        registry: &Registry,
    ) {
        let Some(Some(end)) = self.listeners.get(listener) else { return };
        if self.connections.len() >= self.options.connections {
            self.counters.connections_refused.add(1);
            return;
        }
        let session = match end.transport {
            Transport::Tls | Transport::Wss => {
                Some(Session::server(Arc::clone(&self.tls), Arc::clone(&end.profiles)))
            }
            Transport::Udp | Transport::Tcp | Transport::Ws => None,
        };
        let peer =
            Peer { listener: ListenerId(listener as u16), transport: end.transport, remote, domain: None };
        let connection = Connection::new(now, peer, Role::Accepted, socket, session, &self.limits);
        self.counters.accepted.add(1);
        if let Ok(n) = self.add(connection, registry) {
            self.announce(n);
        }
    }

    /// Takes up a connection: watches it and counts it.
    fn add(&mut self, mut connection: Connection, registry: &Registry) -> io::Result<u64> {
        let n = self.next;
        self.next += 1;
        let socket = connection.socket();
        let _ = socket.set_nodelay(true);
        let token = Token(FIRST_CONNECTION + n as usize);
        registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)?;
        if connection.readable {
            connection.listed = true;
            self.ready.push_back(n);
        }
        self.metrics.connection(connection.peer.transport, side(connection.role), 1);
        self.counters.connections.add(1);
        self.connections.insert(n, connection);
        Ok(n)
    }

    /// Lets all shards use a connection that a peer has opened, once it is open.
    fn announce(&mut self, n: u64) {
        let id = ConnectionId::new(self.index, n);
        let Some(connection) = self.connections.get(&n) else { return };
        if connection.role == Role::Accepted && connection.is_open() {
            let peer = connection.peer.clone();
            self.peers.insert(peer.clone(), id);
            self.outcomes.push(Outcome::Accepted { peer, connection: id });
        }
    }

    /// Another shard has accepted a connection.
    pub(crate) fn learn(&mut self, peer: Peer, connection: ConnectionId) {
        self.peers.entry(peer).or_insert(connection);
    }

    /// Another shard has lost a connection that it had accepted.
    pub(crate) fn forget(&mut self, peer: &Peer, connection: ConnectionId) {
        if self.peers.get(peer) == Some(&connection) {
            self.peers.remove(peer);
        }
    }

    /// Reads from connections that have something; `room` says whether a shard's ring takes more.
    /// Answers whether some were left over.
    pub(crate) fn read(
        &mut self,
        now: Time,
        room: impl Fn(u16) -> bool,
        arrivals: &mut Vec<(Flow, Bytes)>,
    ) -> bool {
        let mut more = false;
        let mut messages = Vec::new();
        for _ in 0..self.ready.len().min(READS) {
            let Some(n) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(&n) else { continue };
            if connection.held.is_some_and(|shard| !room(shard)) {
                self.ready.push_back(n);
                continue;
            }
            connection.held = None;
            let (was_open, was_broken) = (connection.is_open(), connection.is_broken());
            let result = connection.read(now, &mut self.scratch, &self.options.origins, &mut messages);
            let (opened, broken) = (connection.is_open() && !was_open, connection.is_broken() && !was_broken);
            let over = connection.take_end();
            let flow = connection.peer.flow(ConnectionId::new(self.index, n));
            arrivals.extend(messages.drain(..).map(|message| (flow, message)));
            connection.listed = connection.readable && result.is_ok();
            let again = connection.listed;
            if opened {
                if let Some(profile) = connection.profile() {
                    let role = side(connection.role);
                    self.metrics.tls_handshake(profile, role, TlsResult::Ok);
                }
                self.announce(n);
            }
            if broken {
                self.counters.framing_errors.add(1);
                self.unlink(n);
            }
            if let Some(end) = over {
                match end {
                    End::Refused => self.counters.upgrade_failed.add(1),
                    End::Fault => self.counters.framing_errors.add(1),
                    End::Closed => {}
                }
                self.unlink(n);
            }
            match result {
                Ok(()) => {
                    if again {
                        self.ready.push_back(n);
                        more = true;
                    }
                    // Answers to pings, and what TLS has to say.
                    self.mark_dirty(n);
                }
                Err(cause) => self.end(n, cause),
            }
        }
        more || self.ready.len() > READS
    }

    /// Reads a connection no more until the ring to `shard` has room.
    pub(crate) fn hold(&mut self, connection: ConnectionId, shard: u16) {
        if let Some(connection) = self.connections.get_mut(&(connection.0 & 0xffff_ffff_ffff)) {
            connection.held = Some(shard);
        }
    }

    /// Sends a message: on the connection it names, on one that the peer can be reached by, or on a
    /// new one. Gives it back when the connection to use belongs to another shard; with `here` it
    /// never does.
    pub(crate) fn send(
        &mut self,
        now: Time,
        registry: &Registry,
        to: Destination,
        bytes: Bytes,
        (from, tag): (u16, SendTag),
        here: bool,
    ) -> Option<(ConnectionId, Destination, Bytes)> {
        let named = to.connection.filter(|id| self.usable(*id));
        let known = || self.peers.get(&Peer::from(&to)).copied();
        match named.or_else(known) {
            Some(id) if id.shard() == self.index => {
                self.push(now, id.0 & 0xffff_ffff_ffff, bytes, from, tag);
            }
            Some(id) if !here => return Some((id, to, bytes)),
            Some(_) | None => match self.open(now, registry, Peer::from(&to)) {
                Ok(n) => self.push(now, n, bytes, from, tag),
                Err(error) => {
                    tracing::debug!(remote = %to.remote, %error, "no connection can be opened");
                    self.counters.connect_failed.add(1);
                    self.fail(from, tag);
                }
            },
        }
        None
    }

    /// Whether a message that names this connection can be sent on it. Another shard's connection
    /// is that shard's to judge.
    fn usable(&self, id: ConnectionId) -> bool {
        id.shard() != self.index
            || self.connections.get(&(id.0 & 0xffff_ffff_ffff)).is_some_and(Connection::is_usable)
    }

    fn push(&mut self, now: Time, n: u64, bytes: Bytes, from: u16, tag: SendTag) {
        let Some(connection) = self.connections.get_mut(&n) else {
            return self.fail(from, tag);
        };
        match connection.push(now, bytes, from, tag, self.options.write_queue) {
            Ok(()) => self.mark_dirty(n),
            Err(cause) => self.end(n, cause),
        }
    }

    /// Begins to open a connection.
    fn open(&mut self, now: Time, registry: &Registry, peer: Peer) -> io::Result<u64> {
        if peer.transport.is_websocket() {
            // A browser cannot be connected to: it is reached by the connection it has opened.
            return Err(io::ErrorKind::NotConnected.into());
        }
        let listener = match self.listeners.get(usize::from(peer.listener.0)) {
            Some(Some(listener)) if listener.transport == peer.transport => listener,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        if self.connections.len() >= self.options.connections {
            self.counters.connections_refused.add(1);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let session = match peer.transport {
            Transport::Tls => {
                let domain = peer.domain.as_deref();
                let address = peer.remote.ip();
                Some(Session::client(&self.tls, &listener.profiles, domain, address)?)
            }
            Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => None,
        };
        self.counters.connects.add(1);
        let socket = listen::outgoing(listener.local, peer.remote, self.dscp)?;
        match socket.connect(&peer.remote.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = TcpStream::from_std(socket.into());
        let connection = Connection::new(now, peer.clone(), Role::Opened, socket, session, &self.limits);
        let n = self.add(connection, registry)?;
        self.peers.insert(peer, ConnectionId::new(self.index, n));
        Ok(n)
    }

    /// Closes a connection once what waits on it has left.
    pub(crate) fn close(&mut self, now: Time, id: ConnectionId) {
        let n = id.0 & 0xffff_ffff_ffff;
        self.unlink(n);
        if let Some(connection) = self.connections.get_mut(&n)
            && let Err(cause) = connection.close(now)
        {
            self.end(n, cause);
        }
    }

    /// Writes to all connections that have something to be sent.
    pub(crate) fn flush(&mut self, now: Time) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for n in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(&n) else { continue };
            connection.dirty = false;
            if let Err(cause) = connection.write(now) {
                self.end(n, cause);
            }
        }
        self.dirty = dirty;
    }

    /// Ends what has lasted too long; when it is called again is [`Streams::next_sweep`].
    pub(crate) fn sweep(&mut self, now: Time, t1: Duration) {
        if now.since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        for listener in self.listeners.iter_mut().flatten() {
            listener.readable = true;
        }
        let mut options = self.options.clone();
        options.idle = options.idle.max(t1 * 64);
        let mut ended = Vec::new();
        for (n, connection) in &mut self.connections {
            if let Err(cause) = connection.check(now, &options, t1 * 64) {
                ended.push((*n, cause));
            }
        }
        for (n, cause) in ended {
            self.end(n, cause);
        }
    }

    /// When connections want to be looked over; `None` when there are none.
    pub(crate) fn next_sweep(&self) -> Option<Time> {
        if self.connections.is_empty() { None } else { Some(self.swept + SWEEP) }
    }

    /// Whether a connection has something to be read that had to be left.
    pub(crate) fn has_unread(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What has happened since the last call, in order.
    pub(crate) fn outcomes(&mut self) -> &mut Vec<Outcome> {
        &mut self.outcomes
    }

    /// Whether nothing waits to be sent on any connection.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.values().all(Connection::is_idle)
    }

    fn mark_dirty(&mut self, n: u64) {
        if let Some(connection) = self.connections.get_mut(&n)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(n);
        }
    }

    fn fail(&mut self, from: u16, tag: SendTag) {
        self.counters.stream_sends_failed.add(1);
        if tag != SendTag::NONE {
            self.outcomes.push(Outcome::Failed { from, tag });
        }
    }

    /// Lets nobody find a connection for new requests.
    fn unlink(&mut self, n: u64) {
        let id = ConnectionId::new(self.index, n);
        let Some(connection) = self.connections.get(&n) else { return };
        if self.peers.get(&connection.peer) == Some(&id) {
            self.peers.remove(&connection.peer);
        }
        if connection.role == Role::Accepted {
            let peer = connection.peer.clone();
            self.outcomes.push(Outcome::Lost { peer, connection: id });
        }
    }

    /// A connection has ended: whoever waited for it is told.
    fn end(&mut self, n: u64, cause: Cause) {
        self.unlink(n);
        let Some(mut connection) = self.connections.remove(&n) else { return };
        let counters = &self.counters;
        counters.connections.sub(1);
        self.metrics.connection(connection.peer.transport, side(connection.role), -1);
        if let Cause::Handshake(_) = cause {
            let result = if cause.is_timeout() { TlsResult::Timeout } else { TlsResult::Failed };
            // A client that was never heard counts for the last place, which holds the others.
            let profile = connection.profile().unwrap_or(usize::MAX);
            self.metrics.tls_handshake(profile, side(connection.role), result);
        }
        let count = match &cause {
            Cause::Connect(_) => Some(&counters.connect_failed),
            Cause::Handshake(_) => Some(&counters.handshake_failed),
            Cause::Upgrade => Some(&counters.upgrade_failed),
            Cause::Framing => Some(&counters.framing_errors),
            Cause::Overflow => Some(&counters.write_overflows),
            Cause::Stalled => Some(&counters.stalled),
            Cause::Idle => Some(&counters.idle_closed),
            Cause::Peer | Cause::Error(_) | Cause::Asked => None,
        };
        if let Some(count) = count {
            count.add(1);
        }
        tracing::debug!(
            remote = %connection.peer.remote,
            transport = connection.peer.transport.param(),
            %cause,
            "a connection ended"
        );
        for (from, tag) in connection.unsent() {
            counters.stream_sends_failed.add(1);
            self.outcomes.push(Outcome::Failed { from, tag });
        }
        let sent = connection.sent();
        self.outcomes.push(Outcome::Closed { connection: ConnectionId::new(self.index, n), sent });
    }
}

fn side(role: Role) -> ConnectionRole {
    match role {
        Role::Accepted => ConnectionRole::Server,
        Role::Opened => ConnectionRole::Client,
    }
}
