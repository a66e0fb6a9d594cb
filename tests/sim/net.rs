//! The network: what is on its way, and what becomes of it.

use baton::sip::flow::Transport;
use baton::sip::time::Time;
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

/// The faults of a path, in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Datagrams lost, in per mille.
    pub loss: u64,
    /// Datagrams delivered twice, in per mille.
    pub repeat: u64,
    /// Every message needs this long,
    pub delay: Duration,
    /// and up to this much more, each for itself: so they overtake one another.
    pub jitter: Duration,
}

impl Link {
    /// Any link that the contract asks for: up to 30 % loss, up to 20 % repeated, reordering.
    pub fn any(rng: &mut Dice) -> Link {
        Link {
            loss: rng.below(301),
            repeat: rng.below(201),
            delay: rng.millis(1, 60),
            jitter: rng.millis(0, 400),
        }
    }

    /// A link without faults.
    pub fn clean(rng: &mut Dice) -> Link {
        Link { delay: rng.millis(1, 20), ..Link::default() }
    }
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parcel {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub stream: bool,
    pub bytes: Bytes,
}

#[derive(Debug, Default)]
pub struct Net {
    links: HashMap<(SocketAddr, SocketAddr), Link>,
    /// When the last byte of a stream arrives: nothing on it overtakes.
    streams: HashMap<(SocketAddr, SocketAddr), Time>,
    under_way: BinaryHeap<Reverse<(Time, u64, Parcel)>>,
    sent: u64,
}

impl Net {
    /// Sets the faults between two places, each way for itself.
    pub fn join(&mut self, a: SocketAddr, b: SocketAddr, there: Link, back: Link) {
        self.links.insert((a, b), there);
        self.links.insert((b, a), back);
    }

    pub fn send(&mut self, now: Time, transport: Transport, parcel: Parcel, rng: &mut Dice) {
        let path = (parcel.from, parcel.to);
        let link = self.links.get(&path).copied().unwrap_or_default();
        if transport.is_reliable() {
            let last = self.streams.entry(path).or_default();
            *last = (*last).max(now + link.delay + rng.upto(link.jitter));
            let at = *last;
            return self.put(at, parcel);
        }
        let copies = if rng.chance(link.repeat) { 2 } else { 1 };
        for _ in 0..copies {
            if !rng.chance(link.loss) {
                self.put(now + link.delay + rng.upto(link.jitter), parcel.clone());
            }
        }
    }

    fn put(&mut self, at: Time, parcel: Parcel) {
        self.sent += 1;
        self.under_way.push(Reverse((at, self.sent, parcel)));
    }

    /// When the next message arrives.
    pub fn next(&self) -> Option<Time> {
        self.under_way.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next message that has arrived.
    pub fn arrived(&mut self, now: Time) -> Option<Parcel> {
        self.next().filter(|&at| at <= now)?;
        self.under_way.pop().map(|Reverse((_, _, parcel))| parcel)
    }
}

/// Chance, from a seed.
#[derive(Debug)]
pub struct Dice(pub ChaCha8Rng);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }

    fn upto(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(span.as_micros() as u64 + 1))
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
