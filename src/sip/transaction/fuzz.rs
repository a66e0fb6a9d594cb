//! The body of a fuzz target: any sequence of things that may happen to the table, in any order.
//!
//! Four bytes are a step. When all are done, every INVITE is answered or given up, and after the last
//! timer nothing may be left; each client has said exactly once that it ended.

use super::{ClientId, Effect, Effects, Received, ServerId, Transactions};
use crate::shard::SendTag;
use crate::sip::flow::{Flow, Transport};
use crate::sip::message::{Limits, Message, Method};
use crate::sip::plan::Timings;
use crate::sip::time::Time;
use bytes::Bytes;
use std::time::Duration;

const METHODS: [Method; 6] =
    [Method::Invite, Method::Ack, Method::Bye, Method::Cancel, Method::Refer, Method::Other];
const STATUSES: [u16; 8] = [100, 180, 199, 200, 302, 408, 487, 603];

struct Play {
    table: Transactions,
    fx: Effects,
    now: Time,
    servers: Vec<ServerId>,
    clients: Vec<(ClientId, String, Method)>,
    tags: Vec<SendTag>,
    ended: Vec<ClientId>,
}

/// Plays the steps that the bytes name.
pub fn transaction(data: &[u8]) {
    let mut play = Play {
        table: Transactions::new([1; 16], Timings::default(), 40),
        fx: Effects::new(),
        now: Time::from_millis(1_000_000),
        servers: Vec::new(),
        clients: Vec::new(),
        tags: Vec::new(),
        ended: Vec::new(),
    };
    for (n, step) in data.chunks_exact(4).enumerate() {
        if let &[what, a, b, c] = step {
            play.step(data.get(n * 4 + 4..).unwrap_or_default(), what, a, b, c);
        }
        play.settle();
    }
    play.finish();
}

impl Play {
    fn step(&mut self, rest: &[u8], what: u8, a: u8, b: u8, c: u8) {
        let transport = if c & 1 == 0 { Transport::Udp } else { Transport::Tcp };
        let flow = Flow { transport, ..Flow::nowhere() };
        let method = METHODS[usize::from(b) % METHODS.len()];
        let status = STATUSES[usize::from(b) % STATUSES.len()];
        match what % 9 {
            0 => self.message(rest, &flow),
            1 | 2 => {
                let cookie = if c & 2 == 0 { "z9hG4bK" } else { "" };
                let text = request(method, &format!("{cookie}{}", a % 16));
                self.message(text.as_bytes(), &flow);
            }
            3 => self.call(method, flow),
            4 | 5 => {
                let Some((_, branch, sent)) = self.clients.get(pick(a, self.clients.len())) else { return };
                let method = if c & 4 == 0 { *sent } else { Method::Cancel };
                let text = response(status, method, branch);
                self.message(text.as_bytes(), &flow);
            }
            6 => {
                let Some(&id) = self.servers.get(pick(a, self.servers.len())) else { return };
                let bytes = Bytes::from_static(b"response");
                self.table.respond(self.now, id, status, bytes, &mut self.fx);
                if c & 8 != 0 {
                    self.table.forget_server(id, &mut self.fx);
                }
            }
            7 => {
                if let Some(&(id, ..)) = self.clients.get(pick(a, self.clients.len())) {
                    self.table.cancel_client(self.now, id, None, &mut self.fx);
                }
                if c & 8 != 0
                    && let Some(&tag) = self.tags.get(pick(b, self.tags.len()))
                {
                    if c & 32 == 0 {
                        self.table.send_failed(self.now, tag, &mut self.fx);
                    } else {
                        self.table.connection_lost(self.now, tag, &mut self.fx);
                    }
                }
                if c & 16 != 0 {
                    self.table.unreachable(self.now, flow.remote, &mut self.fx);
                }
            }
            _ => self.wait(Duration::from_millis(u64::from(a) * u64::from(b))),
        }
    }

    fn message(&mut self, bytes: &[u8], flow: &Flow) {
        let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes), &Limits::default()) else { return };
        let Ok(ready) = message.ready() else { return };
        if !message.is_request() {
            self.table.receive_response(self.now, &message, &ready, &mut self.fx);
            return;
        }
        if let Received::New(id) = self.table.receive_request(self.now, &message, &ready, flow, &mut self.fx)
        {
            self.table.set_server_owner(id, 1);
            self.servers.push(id);
        }
        if let Some(id) = self.table.find_invite(&ready) {
            assert!(self.servers.contains(&id), "an INVITE that nobody saw");
        }
    }

    fn call(&mut self, method: Method, flow: Flow) {
        if method == Method::Ack {
            return;
        }
        let Some(id) = self.table.reserve_client(0x5eed) else { return };
        let mut branch = Vec::new();
        self.table.write_branch(id, b"s", &mut branch);
        let branch = String::from_utf8_lossy(&branch).into_owned();
        let bytes = Bytes::from(request(method, &branch));
        self.table.start_client(self.now, id, method, bytes, flow.into(), 1, &mut self.fx);
        self.clients.push((id, branch, method));
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.table.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            while self.table.expire(self.now, &mut self.fx) {
                self.settle();
            }
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(effect) = self.fx.pop() {
            match effect {
                Effect::Send { bytes, tag, .. } => {
                    assert!(!bytes.is_empty(), "nothing was sent");
                    self.tags.push(tag);
                }
                Effect::ClientEnded { id, .. } => self.ended.push(id),
                Effect::ClientTimedOut { .. }
                | Effect::ClientFailed { .. }
                | Effect::ServerEnded { .. }
                | Effect::TuTimer(_) => {}
            }
        }
    }

    /// What Timer C and the users would do in the end.
    fn finish(&mut self) {
        for n in 0..self.clients.len() {
            if let Some(&(id, ..)) = self.clients.get(n) {
                self.table.cancel_client(self.now, id, None, &mut self.fx);
            }
        }
        for n in 0..self.servers.len() {
            if let Some(&id) = self.servers.get(n) {
                self.table.respond(self.now, id, 500, Bytes::from_static(b"500"), &mut self.fx);
            }
        }
        self.settle();
        self.wait(Duration::from_secs(200));
        assert_eq!((self.table.len(), self.table.timers()), (0, 0), "something is left");
        assert_eq!(self.table.active(), super::Active::default());
        assert!(self.table.index.is_empty() && self.table.outgoing.is_empty());
        let mut clients: Vec<ClientId> = self.clients.iter().map(|client| client.0).collect();
        clients.sort_by_key(|id| id.generation);
        self.ended.sort_by_key(|id| id.generation);
        assert_eq!(self.ended, clients, "each client ends once");
    }
}

fn pick(n: u8, of: usize) -> usize {
    usize::from(n) % of.max(1)
}

fn request(method: Method, branch: &str) -> String {
    let method = method.as_str();
    format!(
        "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 5 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn response(status: u16, method: Method, branch: &str) -> String {
    format!(
        "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>;tag=2\r\nCall-ID: c\r\nCSeq: 5 {}\r\nContent-Length: 0\r\n\r\n",
        method.as_str()
    )
}
