//! One stream connection: what is read is cut into messages, what is sent waits in a bounded queue.
//!
//! The socket never blocks; a connection that cannot go on ends with a [`Cause`], and its owner
//! ([`super::tcp::Streams`]) reports what it had not sent.

use super::tcp::StreamOptions;
use super::tls::Session;
use super::ws::{End, Taken, WebSocket};
use crate::shard::SendTag;
use crate::sip::flow::{Destination, Flow, ListenerId, Transport};
use crate::sip::message::{Frame, Framer, Limits};
use crate::sip::time::Time;
use bytes::Bytes;
use mio::net::TcpStream;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Messages given to the kernel by one call at most.
const GATHER: usize = 64;
/// Bytes encrypted before they are given to the kernel.
const SEAL: usize = 64 * 1_024;
/// Requests that left, remembered at most: what is older waits for its timer if the connection is lost.
const WATCHED: usize = 4_096;
/// Bytes that may wait before an answer to a WebSocket's ping.
const REPLIES: usize = 1 << 20;
/// The answer to a ping (RFC 5626 section 3.5.1).
const PONG: &[u8] = b"\r\n";
/// How long a connection that is being closed waits for its last answer and for the peer.
const LINGER: Duration = Duration::from_secs(2);

/// A peer as connections are reused for it: same listener, transport, address and TLS identity
/// (C-053).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) listener: ListenerId,
    pub(crate) transport: Transport,
    pub(crate) remote: SocketAddr,
    /// The SIP domain its certificate was checked against.
    pub(crate) domain: Option<Arc<str>>,
}

impl From<&Destination> for Peer {
    fn from(to: &Destination) -> Peer {
        // Who came by WebSocket showed no certificate: the address alone tells browsers apart.
        let domain = if to.transport.is_websocket() { None } else { to.domain.clone() };
        Peer { listener: to.listener, transport: to.transport, remote: to.remote, domain }
    }
}

impl Peer {
    /// The flow of messages that come by a connection of this peer.
    pub(crate) fn flow(&self, connection: crate::sip::flow::ConnectionId) -> Flow {
        Flow {
            listener: self.listener,
            transport: self.transport,
            remote: self.remote,
            connection: Some(connection),
        }
    }
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Accepted,
    Opened,
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The peer closed it.
    Peer,
    /// The operating system or the TLS layer says so.
    Error(io::Error),
    /// It did not come about.
    Connect(Option<io::Error>),
    /// TLS could not be agreed upon (C-057, C-214).
    Handshake(Option<io::Error>),
    /// No WebSocket came about in time (C-214).
    Upgrade,
    /// What came was no SIP (C-052).
    Framing,
    /// The peer takes less than it is sent (C-066).
    Overflow,
    /// A message stayed unfinished, a ping unanswered, or nothing could be sent (C-214, C-055).
    Stalled,
    /// Nobody used it (C-053).
    Idle,
    /// The engine closed it.
    Asked,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error) = match self {
            Cause::Peer => ("the peer closed it", None),
            Cause::Error(error) => ("it broke", Some(error)),
            Cause::Connect(error) => ("it could not be established", error.as_ref()),
            Cause::Handshake(error) => ("TLS could not be agreed upon", error.as_ref()),
            Cause::Upgrade => ("it did not become a WebSocket", None),
            Cause::Framing => ("what came is no SIP", None),
            Cause::Overflow => ("the peer takes less than it is sent", None),
            Cause::Stalled => ("the peer stopped midway", None),
            Cause::Idle => ("nobody used it", None),
            Cause::Asked => ("it was done with", None),
        };
        match error {
            Some(error) => write!(f, "{what}: {error}"),
            None => f.write_str(what),
        }
    }
}

impl Cause {
    /// Whether time ran out, rather than something going wrong.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Cause::Connect(Some(error)) | Cause::Handshake(Some(error)) => {
                error.kind() == io::ErrorKind::TimedOut
            }
            Cause::Connect(None)
            | Cause::Handshake(None)
            | Cause::Peer
            | Cause::Error(_)
            | Cause::Upgrade
            | Cause::Framing
            | Cause::Overflow
            | Cause::Stalled
            | Cause::Idle
            | Cause::Asked => false,
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Handshaking,
    /// The client of a WebSocket has not yet asked for it, or not to the end.
    Upgrading,
    Open,
    /// Nothing more is read. The last messages leave, then the peer has until `by` to close.
    Closing {
        by: Time,
        why: Closing,
    },
}

/// What a connection that is being closed still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The answer to what could not be read (C-012).
    Answer,
    /// The queue to become empty.
    Queue,
    /// The peer to close its side.
    Peer,
}

/// A message that waits to be sent, and who wants to know if it is not.
struct Outgoing {
    bytes: Bytes,
    from: u16,
    tag: SendTag,
}

impl Outgoing {
    /// Bytes of memory that it takes up: many small ones are much, too.
    fn size(&self) -> usize {
        self.bytes.len() + size_of::<Outgoing>()
    }
}

enum Layer {
    Plain,
    Tls(Session),
}

/// A stream connection.
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) role: Role,
    /// Whether there may be something to read.
    pub(crate) readable: bool,
    /// Whether it stands in the list of those to be read.
    pub(crate) listed: bool,
    /// Whether it stands in the list of those to be written.
    pub(crate) dirty: bool,
    /// The shard for whose ring a message of it waits: not read until that has room.
    pub(crate) held: Option<u16>,
    /// The peer has sent its last byte: a short read says nothing about the end.
    pub(crate) ending: bool,
    socket: TcpStream,
    layer: Layer,
    /// What stands between stream and messages, on WebSocket connections.
    websocket: Option<WebSocket>,
    /// How its WebSocket ended, until somebody asks.
    over: Option<End>,
    /// A message has come by it.
    spoke: bool,
    phase: Phase,
    since: Time,
    used: Time,
    framer: Framer,
    partial_since: Option<Time>,
    queue: VecDeque<Outgoing>,
    /// Bytes that the queue takes up.
    queued: usize,
    /// Bytes of the first message that have left.
    offset: usize,
    /// Messages encrypted, but not yet taken by the socket.
    sealed: Vec<(u16, SendTag)>,
    /// Whose messages have left lately, and when.
    watched: VecDeque<(Time, u16, SendTag)>,
    blocked_since: Option<Time>,
    pinged: Time,
    ping_open: bool,
}

impl Connection {
    /// A connection that was accepted, or that has begun to connect.
    pub(crate) fn new(
        now: Time,
        peer: Peer,
        role: Role,
        socket: TcpStream,
        session: Option<Session>,
        limits: &Limits,
    ) -> Connection {
        let phase = match (role, &session) {
            (Role::Opened, _) => Phase::Connecting,
            (Role::Accepted, Some(_)) => Phase::Handshaking,
            (Role::Accepted, None) if peer.transport.is_websocket() => Phase::Upgrading,
            (Role::Accepted, None) => Phase::Open,
        };
        let websocket = peer.transport.is_websocket().then(|| WebSocket::new(limits.message));
        Connection {
            peer,
            role,
            readable: role == Role::Accepted,
            listed: false,
            dirty: false,
            held: None,
            ending: false,
            socket,
            layer: session.map_or(Layer::Plain, Layer::Tls),
            websocket,
            over: None,
            spoke: false,
            phase,
            since: now,
            used: now,
            framer: Framer::new(limits),
            partial_since: None,
            queue: VecDeque::new(),
            queued: 0,
            offset: 0,
            sealed: Vec::new(),
            watched: VecDeque::new(),
            blocked_since: None,
            pinged: now,
            ping_open: false,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether messages can be sent on it, now or once it is connected.
    pub(crate) fn is_usable(&self) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Handshaking => self.websocket.is_none(),
            // Before its answer nothing may stand.
            Phase::Upgrading | Phase::Closing { why: Closing::Queue | Closing::Peer, .. } => false,
            Phase::Open | Phase::Closing { why: Closing::Answer, .. } => true,
        }
    }

    /// Whether it is open: connected, and TLS and WebSocket agreed upon.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The TLS profile in use, by its place in the configuration.
    pub(crate) fn profile(&self) -> Option<usize> {
        match &self.layer {
            Layer::Plain => None,
            Layer::Tls(session) => session.profile(),
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sealed.is_empty()
    }

    /// Appends a message; gives it back as overflow when the queue would exceed `room` bytes.
    pub(crate) fn push(
        &mut self,
        now: Time,
        bytes: Bytes,
        from: u16,
        tag: SendTag,
        room: usize,
    ) -> Result<(), Cause> {
        let bytes = match &self.websocket {
            Some(_) => WebSocket::message(&bytes),
            None => bytes,
        };
        self.used = now;
        self.enqueue(bytes, from, tag, room)
    }

    /// Appends bytes as they are to leave.
    fn enqueue(&mut self, bytes: Bytes, from: u16, tag: SendTag, room: usize) -> Result<(), Cause> {
        let message = Outgoing { bytes, from, tag };
        let over = self.queued.saturating_add(message.size()) > room && !self.queue.is_empty();
        self.queued += message.size();
        self.queue.push_back(message);
        if over { Err(Cause::Overflow) } else { Ok(()) }
    }

    /// Goes on connecting, when the socket says that something happened.
    pub(crate) fn progress(&mut self, now: Time) -> Result<(), Cause> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(Cause::Connect(Some(error))),
        }
        match self.socket.peer_addr() {
            Ok(_) => {
                self.phase = match self.layer {
                    Layer::Plain => Phase::Open,
                    Layer::Tls(_) => Phase::Handshaking,
                };
                self.since = now;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(Cause::Connect(Some(error))),
        }
    }

    /// Reads once and appends the whole messages that came to `messages`.
    pub(crate) fn read(
        &mut self,
        now: Time,
        scratch: &mut [u8],
        origins: &[Box<str>],
        messages: &mut Vec<Bytes>,
    ) -> Result<(), Cause> {
        if self.phase == Phase::Connecting {
            self.readable = false;
            return Ok(());
        }
        let result = match &mut self.layer {
            Layer::Plain => self.socket.read(scratch),
            Layer::Tls(session) => session.read(&mut self.socket, scratch),
        };
        if let Layer::Tls(session) = &self.layer
            && self.phase == Phase::Handshaking
            && !session.is_handshaking()
            && result.as_ref().err().is_none_or(|e| e.kind() == io::ErrorKind::WouldBlock)
        {
            self.phase = if self.websocket.is_some() { Phase::Upgrading } else { Phase::Open };
            self.since = now;
        }
        match result {
            Ok(0) => Err(self.ended(None)),
            Ok(n) => {
                // Readiness is edge-triggered; a short read has emptied a plain socket.
                if matches!(self.layer, Layer::Plain) && n < scratch.len() && !self.ending {
                    self.readable = false;
                }
                let bytes = scratch.get(..n).unwrap_or_default();
                match self.phase {
                    Phase::Closing { .. } => Ok(()),
                    Phase::Connecting | Phase::Handshaking | Phase::Upgrading | Phase::Open => {
                        match &mut self.websocket {
                            Some(websocket) => {
                                let taken = websocket.take(bytes, origins, messages);
                                self.taken(now, taken)
                            }
                            None => self.cut(now, bytes, messages),
                        }
                    }
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Ok(())
                }
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(self.ended(Some(error))),
            },
        }
    }

    /// Acts on what the client of a WebSocket has sent, beside its messages.
    fn taken(&mut self, now: Time, taken: Taken) -> Result<(), Cause> {
        self.ping_open = false;
        for reply in taken.replies {
            // Who sends pings and takes no answers is not to fill the memory.
            self.enqueue(reply, 0, SendTag::NONE, REPLIES)?;
        }
        self.spoke |= taken.messages;
        // A browser's keep-alives say that it wants to be called; but only a phone's are believed.
        if taken.messages || (taken.alive && self.spoke) {
            self.used = now;
        }
        let Some(websocket) = &self.websocket else { return Ok(()) };
        if !websocket.is_partial() {
            self.partial_since = None;
        } else if taken.messages || self.partial_since.is_none() {
            self.partial_since = Some(now);
        }
        if self.phase == Phase::Upgrading && websocket.is_open() {
            self.phase = Phase::Open;
            self.since = now;
        }
        if taken.end.is_some() {
            self.over = taken.end;
            self.partial_since = None;
            self.phase = Phase::Closing { by: now + LINGER, why: Closing::Queue };
        }
        Ok(())
    }

    /// How the WebSocket of it ended, once.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        self.over.take()
    }

    /// Cuts what was read into messages; answers pings (C-055).
    fn cut(&mut self, now: Time, bytes: &[u8], messages: &mut Vec<Bytes>) -> Result<(), Cause> {
        self.ping_open = false;
        self.framer.push(bytes);
        let mut whole = false;
        loop {
            match self.framer.next() {
                Ok(None) => break,
                Ok(Some(Frame::Pong)) => {}
                Ok(Some(Frame::Ping)) => {
                    self.used = now;
                    // One that waits answers all pings before it: who takes no answers fills nothing.
                    if self.queue.back().is_none_or(|last| last.bytes != PONG) {
                        self.enqueue(Bytes::from_static(PONG), 0, SendTag::NONE, usize::MAX)?;
                    }
                }
                Ok(Some(Frame::Message(message))) => {
                    whole = true;
                    messages.push(message);
                }
                Err(_) => {
                    // A request whose head can be read deserves its answer (C-012); then the
                    // connection is closed (C-052).
                    let head = self.framer.take_head().ok_or(Cause::Framing)?;
                    messages.push(head);
                    self.phase = Phase::Closing { by: now + LINGER, why: Closing::Answer };
                    self.partial_since = None;
                    return Ok(());
                }
            }
        }
        if whole {
            self.used = now;
        }
        if self.framer.buffered() == 0 {
            self.partial_since = None;
        } else if whole || self.partial_since.is_none() {
            self.partial_since = Some(now);
        }
        Ok(())
    }

    /// Whether a framing error has just begun to close it.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.phase, Phase::Closing { why: Closing::Answer, .. })
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn write(&mut self, now: Time) -> Result<(), Cause> {
        if self.phase == Phase::Connecting {
            return Ok(());
        }
        let before = self.queued;
        let result = match &mut self.layer {
            Layer::Plain => self.write_plain(now),
            Layer::Tls(_) => self.write_tls(now),
        };
        match result {
            Ok(()) => {
                self.blocked_since = None;
                self.written(before != 0);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Something left: the peer is slow, not dead.
                if self.blocked_since.is_none() || self.queued < before {
                    self.blocked_since = Some(now);
                }
                Ok(())
            }
            Err(error) => Err(self.ended(Some(error))),
        }
    }

    fn write_plain(&mut self, now: Time) -> io::Result<()> {
        while !self.queue.is_empty() {
            let slices: SmallVec<[IoSlice<'_>; GATHER]> = self
                .queue
                .iter()
                .take(GATHER)
                .enumerate()
                .map(|(n, message)| {
                    let skip = if n == 0 { self.offset } else { 0 };
                    IoSlice::new(message.bytes.get(skip..).unwrap_or_default())
                })
                .collect();
            let result = self.socket.write_vectored(&slices);
            drop(slices);
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(now, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops the messages that have left, and remembers how much of the next one has.
    fn advance(&mut self, now: Time, written: usize) {
        self.offset += written;
        while let Some(first) = self.queue.front() {
            let len = first.bytes.len();
            if self.offset < len {
                return;
            }
            self.offset -= len;
            self.queued -= first.size();
            let (from, tag) = (first.from, first.tag);
            self.queue.pop_front();
            watch(&mut self.watched, now, from, tag);
        }
    }

    fn write_tls(&mut self, now: Time) -> io::Result<()> {
        let Layer::Tls(session) = &mut self.layer else { return Ok(()) };
        loop {
            session.flush(&mut self.socket)?;
            for (from, tag) in self.sealed.drain(..) {
                watch(&mut self.watched, now, from, tag);
            }
            if session.is_handshaking() || self.queue.is_empty() {
                return Ok(());
            }
            let mut room = SEAL;
            while room > 0
                && let Some(message) = self.queue.pop_front()
            {
                self.queued -= message.size();
                self.sealed.push((message.from, message.tag));
                session.write(&message.bytes)?;
                room = room.saturating_sub(message.size());
            }
        }
    }

    /// The queue is empty: a connection that is being closed says so to its peer.
    fn written(&mut self, something: bool) {
        let Phase::Closing { by, why } = self.phase else { return };
        match why {
            Closing::Answer if !something => {}
            Closing::Answer | Closing::Queue => {
                if let Layer::Tls(session) = &mut self.layer {
                    session.close(&mut self.socket);
                }
                let _ = self.socket.shutdown(Shutdown::Write);
                self.phase = Phase::Closing { by, why: Closing::Peer };
            }
            Closing::Peer => {}
        }
    }

    /// Begins to close it, once what waits has left.
    pub(crate) fn close(&mut self, now: Time) -> Result<(), Cause> {
        match self.phase {
            Phase::Connecting | Phase::Handshaking | Phase::Upgrading if self.is_idle() => Err(Cause::Asked),
            Phase::Closing { why: Closing::Queue | Closing::Peer, .. } => Ok(()),
            Phase::Connecting
            | Phase::Handshaking
            | Phase::Upgrading
            | Phase::Open
            | Phase::Closing { .. } => {
                if let Some(farewell) = self.websocket.as_mut().and_then(WebSocket::farewell) {
                    self.enqueue(farewell, 0, SendTag::NONE, usize::MAX)?;
                }
                self.phase = Phase::Closing { by: now + LINGER, why: Closing::Queue };
                self.write(now)
            }
        }
    }

    /// Ends what has lasted too long, and sends a ping when one is due. `longest` is how long a request
    /// can stay unanswered.
    pub(crate) fn check(
        &mut self,
        now: Time,
        options: &StreamOptions,
        longest: Duration,
    ) -> Result<(), Cause> {
        while self.watched.front().is_some_and(|(at, ..)| now.since(*at) > longest) {
            self.watched.pop_front();
        }
        match self.phase {
            Phase::Connecting if now.since(self.since) >= options.connect => {
                return Err(Cause::Connect(Some(io::ErrorKind::TimedOut.into())));
            }
            Phase::Handshaking if now.since(self.since) >= options.handshake => {
                return Err(Cause::Handshake(Some(io::ErrorKind::TimedOut.into())));
            }
            Phase::Upgrading if now.since(self.since) >= options.handshake => {
                return Err(Cause::Upgrade);
            }
            Phase::Closing { by, .. } if now >= by => return Err(Cause::Asked),
            Phase::Connecting
            | Phase::Handshaking
            | Phase::Upgrading
            | Phase::Open
            | Phase::Closing { .. } => {}
        }
        let lasted = |since: Option<Time>, limit| since.is_some_and(|s| now.since(s) >= limit);
        if lasted(self.partial_since, options.partial)
            || lasted(self.blocked_since, options.stall)
            || (self.ping_open && now.since(self.pinged) >= options.pong)
        {
            return Err(Cause::Stalled);
        }
        if self.phase != Phase::Open {
            return Ok(());
        }
        if now.since(self.used) >= options.idle && self.is_idle() {
            return Err(Cause::Idle);
        }
        let (every, ping) = match (&self.websocket, self.role) {
            (Some(_), _) => (options.websocket_ping, WebSocket::ping()),
            (None, Role::Opened) => (options.ping, Bytes::from_static(b"\r\n\r\n")),
            (None, Role::Accepted) => return Ok(()),
        };
        if let (Some(every), false) = (every, self.ping_open)
            && now.since(self.used.max(self.pinged)) >= every
        {
            // A ping is no use of the connection: else it would never become idle.
            self.enqueue(ping, 0, SendTag::NONE, usize::MAX)?;
            self.pinged = now;
            self.ping_open = true;
            return self.write(now);
        }
        Ok(())
    }

    /// Who has to be told that a message did not leave.
    pub(crate) fn unsent(&mut self) -> impl Iterator<Item = (u16, SendTag)> + '_ {
        let queued = self.queue.drain(..).map(|message| (message.from, message.tag));
        self.sealed.drain(..).chain(queued).filter(|(_, tag)| *tag != SendTag::NONE)
    }

    /// Whose messages have left lately, which may be unanswered.
    pub(crate) fn sent(&mut self) -> Vec<(u16, SendTag)> {
        self.watched.drain(..).map(|(_, from, tag)| (from, tag)).collect()
    }

    fn ended(&self, error: Option<io::Error>) -> Cause {
        match (self.phase, error) {
            (Phase::Connecting, error) => Cause::Connect(error),
            (Phase::Handshaking, error) => Cause::Handshake(error),
            (Phase::Upgrading, _) => Cause::Upgrade,
            (Phase::Open | Phase::Closing { .. }, None) => Cause::Peer,
            (Phase::Open | Phase::Closing { .. }, Some(error)) => Cause::Error(error),
        }
    }
}

/// Remembers a message that left, if its sender wants to hear of it.
fn watch(watched: &mut VecDeque<(Time, u16, SendTag)>, now: Time, from: u16, tag: SendTag) {
    if tag == SendTag::NONE {
        return;
    }
    if watched.len() == WATCHED {
        watched.pop_front();
    }
    watched.push_back((now, from, tag));
}

#[cfg(test)]
mod tests;
