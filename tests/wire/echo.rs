//! An engine that sends every message back along its flow, and remembers what it was told.

use baton::io::{Engine, IoConfig, Running, start};
use baton::shard::owner::HashKey;
use baton::shard::{Input, Outbox, Output, SendTag};
use baton::sip::event::Event;
use baton::sip::flow::{Destination, ListenerId, Transport};
use baton::sip::plan::{Capacity, Listener, Plan};
use baton::sip::resolve::{Query, QueryKind};
use baton::sip::time::Time;
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits for what must come; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What an engine was told, with its shard.
pub type Told = (u16, Input);

pub struct Echo {
    shard: u16,
    told: Sender<Told>,
}

impl Engine for Echo {
    fn handle(&mut self, _now: Time, input: Input, out: &mut Outbox) {
        let copy = match &input {
            Input::Message { flow, bytes } => {
                if bytes.starts_with(b"GOTO ") {
                    out.push(forward(bytes, flow.listener, self.shard));
                    return;
                }
                if bytes.starts_with(b"RESOLVE ") {
                    out.push(Output::Resolve(question(bytes)));
                    return;
                }
                // `POISON` stands for a message that the engine cannot digest.
                assert!(!bytes.starts_with(b"POISON"));
                out.push(Output::Send {
                    to: (*flow).into(),
                    bytes: bytes.clone(),
                    tag: SendTag(u64::from(self.shard)),
                });
                // Slots are taken back: what is kept is copied.
                Input::Message { flow: *flow, bytes: Bytes::copy_from_slice(bytes) }
            }
            Input::Closed { connection, sent } => {
                Input::Closed { connection: *connection, sent: sent.clone() }
            }
            Input::SendFailed { tag } => Input::SendFailed { tag: *tag },
            Input::Unreachable { remote } => Input::Unreachable { remote: *remote },
            Input::Resolved { query, answer } => {
                Input::Resolved { query: query.clone(), answer: answer.clone() }
            }
            _ => return,
        };
        let _ = self.told.send((self.shard, copy));
    }

    fn next_deadline(&mut self) -> Option<Time> {
        None
    }

    fn expire(&mut self, _now: Time, _out: &mut Outbox) {}
}

/// What `GOTO transport address domain CRLF message` asks for: the message, sent there.
fn forward(bytes: &Bytes, listener: ListenerId, shard: u16) -> Output {
    let text = std::str::from_utf8(bytes).unwrap();
    let (order, _) = text.split_once("\r\n").unwrap();
    let words: Vec<&str> = order.split(' ').collect();
    let to = Destination {
        listener,
        transport: Transport::from_token(words[1].as_bytes()).unwrap(),
        remote: words[2].parse().unwrap(),
        connection: None,
        domain: Some(words[3]).filter(|domain| *domain != "-").map(Arc::from),
    };
    let bytes = Bytes::copy_from_slice(bytes);
    Output::Send { to, bytes, tag: SendTag(1_000 + u64::from(shard)) }
}

/// What `RESOLVE kind name CRLF …` asks for.
fn question(bytes: &Bytes) -> Query {
    let text = std::str::from_utf8(bytes).unwrap();
    let words: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
    let kind = match words[1] {
        "naptr" => QueryKind::Naptr,
        "srv" => QueryKind::Srv,
        _ => QueryKind::Address,
    };
    Query { kind, name: words[2].into() }
}

/// A server with echo engines, and what they were told.
pub struct Server {
    pub running: Running,
    pub told: Receiver<Told>,
    /// Open, so that events have somewhere to go.
    _events: Receiver<Event>,
}

impl Server {
    pub fn addr(&self, listener: usize) -> SocketAddr {
        self.running.local_addrs()[listener]
    }

    /// The next thing any engine was told.
    pub fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("an engine is told something")
    }

    /// The sum of a counter over all shards.
    pub fn count(&self, name: &str) -> u64 {
        self.running
            .counters()
            .iter()
            .flat_map(|c| c.all())
            .filter(|(n, _)| *n == name)
            .map(|(_, value)| value)
            .sum()
    }
}

pub fn server(shards: u16, listeners: &[(Transport, &str)]) -> Server {
    server_with(shards, listeners, |_| {})
}

pub fn server_with(
    shards: u16,
    listeners: &[(Transport, &str)],
    adjust: impl FnOnce(&mut IoConfig),
) -> Server {
    let (events, events_received) = crossbeam::channel::bounded(1_000);
    let (told_sender, told) = unbounded();
    let key = HashKey::new([42; 16]);
    let mut config = IoConfig::new(Arc::new(plan(listeners)), shards, key, events);
    adjust(&mut config);
    let running = start(config, |shard| Echo { shard, told: told_sender.clone() }).unwrap();
    Server { running, told, _events: events_received }
}

pub fn plan(listeners: &[(Transport, &str)]) -> Plan {
    let listener = |(n, (transport, bind)): (usize, &(Transport, &str))| {
        let bind: SocketAddr = bind.parse().unwrap();
        Listener {
            name: format!("{}-{n}", transport.param()).into(),
            transport: *transport,
            bind,
            host: bind.ip().to_string().into(),
            port: bind.port(),
            tls_profiles: if transport.is_secure() {
                vec!["default".into(), "other".into()]
            } else {
                Vec::new()
            },
        }
    };
    Plan {
        node: 1,
        listeners: listeners.iter().enumerate().map(listener).collect(),
        aliases: Vec::new(),
        trunks: Vec::new(),
        sources: Default::default(),
        routes: Vec::new(),
        timings: Default::default(),
        limits: Default::default(),
        capacity: Capacity::default(),
        routing: Default::default(),
        record_proxied: false,
        unknown_source: Default::default(),
        calls: Default::default(),
    }
}

/// A message that makes the server send it on.
pub fn go_to(transport: &str, remote: SocketAddr, domain: &str, call_id: &str) -> String {
    let message = message(call_id, 1, 0);
    let (_, rest) = message.split_once("\r\n").unwrap();
    format!("GOTO {transport} {remote} {domain} SIP/2.0\r\n{rest}")
}

/// A whole message, with a body of the given length.
pub fn message(call_id: &str, cseq: u32, body: usize) -> String {
    format!(
        "OPTIONS sip:bob@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{cseq}\r\n\
         From: <sip:alice@127.0.0.1>;tag=1\r\n\
         To: <sip:bob@127.0.0.1>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {cseq} OPTIONS\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: {body}\r\n\r\n{}",
        "x".repeat(body)
    )
}

/// The value of a header in a message.
pub fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).expect("the header is there")
}
