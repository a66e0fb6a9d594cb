//! Anything at any time: orders, messages and silence in random order. Nothing panics, every request is
//! answered for exactly once, nothing is heard of a leg that is gone, and nothing is left at the end.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::message::HeaderId;
use crate::sip::plan::{Secret, SessionTimer};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const METHODS: [&str; 9] =
    ["INVITE", "UPDATE", "INFO", "REFER", "NOTIFY", "OPTIONS", "BYE", "PRACK", "DANCE"];
const STATUSES: [u16; 16] = [100, 180, 183, 199, 200, 200, 202, 302, 401, 407, 408, 422, 481, 486, 491, 500];
const HEADERS: [&str; 8] = [
    "",
    "Contact: <sip:x@10.0.0.1:5066>\n",
    "Require: 100rel\nRSeq: 1\nContact: <sip:x@10.0.0.1>\n",
    "Require: 100rel\nRSeq: 2\n",
    "Retry-After: 1\nMin-SE: 200\n",
    "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", stale=true\n",
    "Session-Expires: 90;refresher=uac\nAllow: INVITE, UPDATE\nSupported: timer, 100rel\n",
    "RAck: 1 1 INVITE\nRecord-Route: <sip:strict>, <sip:10.0.9.9;lr>\n",
];

struct Storm {
    bench: Bench,
    rng: ChaCha12Rng,
    legs: BTreeSet<LegId>,
    gone: BTreeSet<LegId>,
    /// Requests, and how often each was answered for.
    requests: BTreeMap<RequestId, u32>,
    asked: Vec<(LegId, Asked)>,
    /// Requests that left and may be answered, and tags of Baton's for the party's.
    sent: Vec<Sent>,
    tags: Vec<String>,
    cseq: u32,
    branch: u32,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Storm {
            bench: Bench::new(),
            rng: ChaCha12Rng::from_seed(bytes),
            legs: BTreeSet::new(),
            gone: BTreeSet::new(),
            requests: BTreeMap::new(),
            asked: Vec::new(),
            sent: Vec::new(),
            tags: Vec::new(),
            cseq: 1,
            branch: 0,
        }
    }

    fn roll(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n as u64) as usize
    }

    fn body(&mut self) -> &'static str {
        [SDP, OTHER_SDP, "", "nonsense"][self.roll(4)]
    }

    fn leg(&mut self) -> Option<LegId> {
        let at = self.roll(self.legs.len().max(1));
        self.legs.iter().nth(at).copied()
    }

    fn step(&mut self) {
        match self.roll(20) {
            0 => self.call(),
            1 => self.called(),
            2..=6 => self.answered(),
            7..=9 => self.asked(),
            10 => {
                let millis = [10, 600, 3_100, 40_000][self.roll(4)];
                self.bench.pass_ms(millis);
            }
            _ => self.order(),
        }
        self.look();
    }

    fn call(&mut self) {
        let body = self.body();
        let secret = Secret::Password("x".into());
        let out = Outgoing {
            body: Some(Body::sdp(body.as_bytes())).filter(|_| !body.is_empty()),
            credentials: Some(Arc::new(Credentials { user: "u".into(), secret })),
            session: SessionTimer { interval: 100, min: 90 },
            ..Bench::outgoing()
        };
        let leg = self.bench.invite(out);
        self.legs.insert(leg);
    }

    fn called(&mut self) {
        self.branch += 1;
        let supported = ["", "Supported: 100rel, timer\n", "Require: 100rel\n"][self.roll(3)];
        let body = self.body();
        let headers = format!("Contact: <sip:c@10.0.0.1>\n{supported}");
        let branch = format!("storm{}", self.branch);
        let text = request_text_with("INVITE", 1, "", &headers, body, &branch);
        if let Some(leg) = self.bench.receive(PEER, &text) {
            self.legs.insert(leg);
        }
    }

    /// The peer answers something it got.
    fn answered(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.roll(self.sent.len());
        let request = self.sent[at].clone();
        let status = STATUSES[self.roll(STATUSES.len())];
        let (tag, headers) = (["a", "b", ""][self.roll(3)], HEADERS[self.roll(HEADERS.len())]);
        let body = self.body();
        self.bench.reply(&request, status, tag, headers, body);
    }

    /// The peer asks for something in a dialog it knows.
    fn asked(&mut self) {
        if self.tags.is_empty() {
            return;
        }
        let at = self.roll(self.tags.len());
        let tag = self.tags[at].clone();
        let leg = self.bench.legs.desk.index.get(&id::tag(tag.as_bytes()).unwrap_or(0)).copied();
        let facts = leg.and_then(|slot| self.bench.legs.table.get(slot)).map(|leg| {
            let remote = leg.dialogs.first().map(|dialog| dialog.remote_tag.clone()).unwrap_or_default();
            (
                String::from_utf8_lossy(&leg.call_id).into_owned(),
                String::from_utf8_lossy(&remote).into_owned(),
            )
        });
        let (call_id, remote) = facts.unwrap_or_default();
        self.cseq += self.roll(3) as u32;
        let method = if self.roll(4) == 0 { "ACK" } else { METHODS[self.roll(METHODS.len())] };
        let headers = HEADERS[self.roll(HEADERS.len())];
        let body = self.body();
        let number = if method == "ACK" { self.roll(4) as u32 } else { self.cseq };
        let remote = if remote.is_empty() { String::new() } else { format!(";tag={remote}") };
        let text = request_text(method, number, &tag, headers, body)
            .replace("call-of-carol", if call_id.is_empty() { "x" } else { &call_id })
            .replace(";tag=carol", &remote);
        if let Some(leg) = self.bench.receive(PEER, &text) {
            self.legs.insert(leg);
        }
    }

    /// The call orders something, fitting or not.
    fn order(&mut self) {
        let Some(leg) = self.leg() else { return };
        let none = Vec::new();
        let body = self.body();
        let body = Some(Body::sdp(body.as_bytes())).filter(|body| !body.bytes.is_empty());
        let fork = Fork(self.roll(3) as u8);
        let status = [180, 183, 199][self.roll(3)];
        let method = METHODS[self.roll(METHODS.len())];
        let choice = self.roll(12);
        let asked = self.asked.pop();
        let known: Vec<RequestId> = self.requests.keys().copied().collect();
        let result = self.bench.with(|legs, cx| {
            match choice {
                0 => legs.ring(cx, leg, fork, status, &none, body.as_ref()),
                1 | 2 => legs.answer(cx, leg, fork, &none, body.as_ref()),
                3 => legs.reject(cx, leg, 486, "", &none),
                4 | 5 => legs.ack(cx, leg, body.as_ref()),
                6 => legs.cancel(cx, leg, None),
                7 => legs.prack(cx, leg, fork, body.as_ref()),
                8 => {
                    for id in known {
                        legs.ack_request(cx, leg, id, body.as_ref());
                    }
                }
                9 => legs.bye(cx, leg, &none),
                10 => {
                    if let Some(moved) = legs.take(cx, leg) {
                        return Some(Err(legs.put(cx, moved)));
                    }
                }
                _ => return legs.request(cx, leg, method, none.clone(), body.clone(), None).ok().map(Ok),
            }
            if let Some((leg, asked)) = asked {
                legs.respond(cx, leg, asked, [200, 202, 488, 180][usize::from(fork.0)], &none, body.as_ref());
            }
            None
        });
        match result {
            Some(Ok(id)) => assert!(self.requests.insert(id, 0).is_none(), "a number twice"),
            Some(Err(moved)) => {
                self.legs.remove(&leg);
                self.gone.insert(leg);
                self.legs.insert(moved);
            }
            None => {}
        }
    }

    fn look(&mut self) {
        while let Some(event) = self.bench.legs.next_event() {
            let leg = match &event {
                LegEvent::Provisional { leg, .. }
                | LegEvent::Answered { leg, .. }
                | LegEvent::Rejected { leg, .. }
                | LegEvent::Canceled { leg, .. }
                | LegEvent::Left { leg, .. }
                | LegEvent::Acknowledged { leg, .. }
                | LegEvent::Withdrawn { leg, .. }
                | LegEvent::Requested { leg, .. }
                | LegEvent::Responded { leg, .. }
                | LegEvent::Ended { leg, .. }
                | LegEvent::Gone { leg } => *leg,
            };
            assert!(!self.gone.contains(&leg), "{event:?} of a leg that is gone");
            match event {
                LegEvent::Requested { leg, asked, .. } => self.asked.push((leg, asked)),
                LegEvent::Responded { request, .. } => *self.requests.entry(request).or_default() += 1,
                LegEvent::Gone { leg } => {
                    assert!(self.legs.remove(&leg), "an unknown leg");
                    self.gone.insert(leg);
                }
                LegEvent::Provisional { .. }
                | LegEvent::Answered { .. }
                | LegEvent::Rejected { .. }
                | LegEvent::Canceled { .. }
                | LegEvent::Left { .. }
                | LegEvent::Acknowledged { .. }
                | LegEvent::Withdrawn { .. }
                | LegEvent::Ended { .. } => {}
            }
        }
        for sent in self.bench.sent.drain(..) {
            if sent.message.is_request() {
                self.tags.push(Sent::tag_of(&sent.header(HeaderId::From)));
                if self.sent.len() < 30 {
                    self.sent.push(sent);
                }
            } else {
                self.tags.push(Sent::tag_of(&sent.header(HeaderId::To)));
            }
        }
        let surplus = self.tags.len().saturating_sub(20);
        self.tags.drain(..surplus);
    }

    fn end(mut self) {
        for leg in std::mem::take(&mut self.legs) {
            self.legs.insert(leg);
            self.bench.with(|legs, cx| {
                let early = legs.facts(leg).is_some_and(|facts| facts.state == LegState::Early);
                match early {
                    true => legs.cancel(cx, leg, None),
                    false => legs.bye(cx, leg, &Vec::new()),
                }
                legs.reject(cx, leg, 480, "", &Vec::new());
            });
        }
        // Peers are silent from here on; calls that were answered on the way are hung up, too.
        for _ in 0..4 {
            self.bench.pass(Duration::from_secs(70));
            self.look();
            for leg in self.legs.clone() {
                self.bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
            }
        }
        self.look();
        self.bench.end();
        self.look();
        assert!(self.legs.is_empty(), "never told: {:?}", self.legs);
        for (request, answers) in self.requests {
            assert_eq!(answers, 1, "{request:?}");
        }
    }
}

/// [C-087] [C-135] [C-139] See the module's page; the same seeds every time.
#[test]
fn storms() {
    for seed in 0..100 {
        let mut storm = Storm::new(seed);
        for _ in 0..120 {
            storm.step();
        }
        storm.end();
    }
}
