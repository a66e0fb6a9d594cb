//! Between the shards' threads: bounded rings, one for each ordered pair of shards.
//!
//! What arrives at the wrong shard goes to its owner here, between the socket and the parser. A ring
//! is first in, first out, and all messages of one source come to one shard's socket, so they reach
//! their owner in the order in which they arrived (law 2). A consumer is woken only when it sleeps.
//!
//! When a ring is full, datagrams are dropped and counted: their senders repeat them. What must not
//! be lost (stream messages, reports) waits in a backlog before the ring, and the connection it came
//! by is not read until the backlog is gone.

use super::connection::Peer;
use super::counters::Counters;
use super::dns::Asker;
use super::tls::TlsContext;
use crate::shard::{Input, SendTag};
use crate::sip::flow::{ConnectionId, Destination, Flow};
use crate::sip::resolve::{Answer, Query};
use crate::sip::time::Time;
use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use mio::Waker;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Orders that may wait for a shard.
const ORDERS: usize = 4_096;
/// Parcels taken from one ring at a time.
const TAKE: usize = 128;

/// Something one shard passes to another.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A message of a call that the other shard owns.
    Message { flow: Flow, bytes: Bytes },
    /// A message for a connection whose socket the other shard holds.
    Send { to: Destination, bytes: Bytes, tag: SendTag, from: u16 },
    /// Close a connection whose socket the other shard holds.
    Close(ConnectionId),
    /// What became of something: a failed send, a lost connection, an unreachable address.
    Report(Input),
    /// A peer opened a connection that requests to it can use (C-053).
    Accepted { peer: Peer, connection: ConnectionId },
    /// That connection is gone.
    Lost { peer: Peer, connection: ConnectionId },
}

/// Something the control plane tells a shard.
#[derive(Debug)]
pub(crate) enum Order {
    /// An input of the engine: a new plan, a DNS answer.
    Input(Input),
    /// What DNS said, and how long it took.
    Resolved { query: Query, answer: Answer, took: Duration },
    /// Names can be resolved from now on.
    Dns(Asker),
    /// New certificates and keys for connections made from now on (C-059).
    Tls(Arc<TlsContext>),
    /// Send what is queued, then end; not later than this.
    Stop(Time),
}

/// What all shards of a process share: the rings between them, and a way to wake each.
pub(crate) struct Exchange {
    shards: usize,
    /// Ring `from * shards + to`.
    rings: Vec<ArrayQueue<Parcel>>,
    inboxes: Vec<CachePadded<Inbox>>,
}

struct Inbox {
    orders: ArrayQueue<Order>,
    sleeping: AtomicBool,
    waker: Waker,
}

impl Exchange {
    pub(crate) fn new(wakers: Vec<Waker>) -> Exchange {
        let shards = wakers.len();
        // Many shards make many rings, and each of them carries less.
        let room = (8_192 / shards.max(1)).clamp(256, 4_096);
        let ring = |n: usize| {
            let same = n / shards == n % shards;
            ArrayQueue::new(if same { 1 } else { room })
        };
        Exchange {
            shards,
            rings: (0..shards * shards).map(ring).collect(),
            inboxes: wakers
                .into_iter()
                .map(|waker| Inbox {
                    orders: ArrayQueue::new(ORDERS),
                    sleeping: AtomicBool::new(false),
                    waker,
                })
                .map(CachePadded::new)
                .collect(),
        }
    }

    /// Gives a shard an order; gives it back when the shard is far behind or does not exist.
    pub(crate) fn order(&self, shard: u16, order: Order) -> Result<(), Order> {
        let Some(inbox) = self.inboxes.get(usize::from(shard)) else { return Err(order) };
        inbox.orders.push(order)?;
        inbox.wake();
        Ok(())
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.shards).unwrap_or(u16::MAX)
    }
}

impl Inbox {
    /// Wakes the shard if it sleeps; answers whether that was needed.
    ///
    /// The fence orders what was pushed before against the look at `sleeping`; the consumer does
    /// the reverse in [`Handoff::fall_asleep`], so one of the two always sees the other.
    fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        if !self.sleeping.load(Ordering::Relaxed) || !self.sleeping.swap(false, Ordering::Relaxed) {
            return false;
        }
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a shard cannot be woken");
        }
        true
    }
}

/// One shard's side of the exchange.
pub(crate) struct Handoff {
    index: usize,
    exchange: Arc<Exchange>,
    /// By shard: what waits for room in the ring to it.
    backlogs: Vec<VecDeque<Parcel>>,
    /// By shard: whether something was put into the ring to it since it was last told.
    news: Vec<bool>,
    any_news: bool,
    counters: Arc<Counters>,
}

impl Handoff {
    pub(crate) fn new(index: u16, exchange: Arc<Exchange>, counters: Arc<Counters>) -> Handoff {
        let shards = exchange.shards;
        Handoff {
            index: usize::from(index),
            exchange,
            backlogs: (0..shards).map(|_| VecDeque::new()).collect(),
            news: vec![false; shards],
            any_news: false,
            counters,
        }
    }

    /// Hands over a datagram, or drops it when the ring is full.
    pub(crate) fn datagram(&mut self, to: u16, flow: Flow, bytes: Bytes) {
        let to = usize::from(to);
        let full = self.backlogs.get(to).is_none_or(|b| !b.is_empty())
            || self.push(to, Parcel::Message { flow, bytes }).is_some();
        if full {
            self.counters.handover_dropped.add(1);
        } else {
            self.counters.handed_over.add(1);
        }
    }

    /// Hands over what must not be lost.
    pub(crate) fn post(&mut self, to: u16, parcel: Parcel) {
        let to = usize::from(to);
        if matches!(parcel, Parcel::Message { .. }) {
            self.counters.handed_over.add(1);
        }
        let waits = match self.backlogs.get(to) {
            None => return,
            Some(backlog) if backlog.is_empty() => self.push(to, parcel),
            Some(_) => Some(parcel),
        };
        if let (Some(parcel), Some(backlog)) = (waits, self.backlogs.get_mut(to)) {
            backlog.push_back(parcel);
        }
    }

    /// Hands a copy to every other shard.
    pub(crate) fn broadcast(&mut self, parcel: impl Fn() -> Parcel) {
        for to in 0..self.exchange.shards {
            if to != self.index {
                self.post(to as u16, parcel());
            }
        }
    }

    /// How many parcels wait for room in the ring to a shard.
    pub(crate) fn backlog(&self, to: u16) -> usize {
        self.backlogs.get(usize::from(to)).map_or(0, VecDeque::len)
    }

    /// Whether any ring had no room for something that must not be lost.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.backlogs.iter().any(|backlog| !backlog.is_empty())
    }

    /// Moves backlogs into rings that have room again, and wakes shards that sleep over news.
    pub(crate) fn announce(&mut self) {
        for to in 0..self.backlogs.len() {
            while let Some(parcel) = self.backlogs[to].pop_front() {
                if let Some(parcel) = self.push(to, parcel) {
                    self.backlogs[to].push_front(parcel);
                    break;
                }
            }
        }
        if !self.any_news {
            return;
        }
        self.any_news = false;
        for (news, inbox) in self.news.iter_mut().zip(&self.exchange.inboxes) {
            if std::mem::take(news) && inbox.wake() {
                self.counters.wakes.add(1);
            }
        }
    }

    /// Takes what other shards have handed over, a bounded number from each; answers whether a
    /// ring had more.
    pub(crate) fn take(&self, into: &mut Vec<Parcel>) -> bool {
        let mut more = false;
        for from in 0..self.exchange.shards {
            let Some(ring) = self.ring(from, self.index) else { continue };
            let mut room = TAKE;
            while room > 0
                && let Some(parcel) = ring.pop()
            {
                into.push(parcel);
                room -= 1;
            }
            more |= room == 0;
        }
        more
    }

    /// The next order of the control plane.
    pub(crate) fn order(&self) -> Option<Order> {
        self.exchange.inboxes.get(self.index)?.orders.pop()
    }

    /// Declares that this shard is about to wait; `false` when something came in meanwhile.
    pub(crate) fn fall_asleep(&self) -> bool {
        let Some(inbox) = self.exchange.inboxes.get(self.index) else { return true };
        inbox.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let quiet = inbox.orders.is_empty()
            && (0..self.exchange.shards)
                .all(|from| self.ring(from, self.index).is_none_or(ArrayQueue::is_empty));
        if !quiet {
            self.wake_up();
        }
        quiet
    }

    /// Declares that this shard waits no longer.
    pub(crate) fn wake_up(&self) {
        if let Some(inbox) = self.exchange.inboxes.get(self.index) {
            inbox.sleeping.store(false, Ordering::Relaxed);
        }
    }

    /// Puts a parcel into the ring to a shard; gives it back when there is no room.
    fn push(&mut self, to: usize, parcel: Parcel) -> Option<Parcel> {
        // There is a ring to every shard: ids come from the exchange itself.
        match self.ring(self.index, to)?.push(parcel) {
            Ok(()) => {
                self.any_news = true;
                if let Some(news) = self.news.get_mut(to) {
                    *news = true;
                }
                None
            }
            Err(parcel) => Some(parcel),
        }
    }

    fn ring(&self, from: usize, to: usize) -> Option<&ArrayQueue<Parcel>> {
        self.exchange.rings.get(from * self.exchange.shards + to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    fn two() -> (Handoff, Handoff, Vec<Poll>) {
        let polls: Vec<Poll> = (0..2).map(|_| Poll::new().unwrap()).collect();
        let wakers = polls.iter().map(|p| Waker::new(p.registry(), Token(0)).unwrap()).collect();
        let exchange = Arc::new(Exchange::new(wakers));
        let side = |n| Handoff::new(n, Arc::clone(&exchange), Arc::new(Counters::default()));
        (side(0), side(1), polls)
    }

    fn failed(n: u64) -> Parcel {
        Parcel::Report(Input::SendFailed { tag: SendTag(n) })
    }

    fn tags(parcels: &[Parcel]) -> Vec<u64> {
        parcels
            .iter()
            .map(|parcel| match parcel {
                Parcel::Report(Input::SendFailed { tag }) => tag.0,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// [C-067] Nothing is lost or reordered when a ring is full.
    #[test]
    fn a_full_ring_delays_what_must_not_be_lost() {
        let (mut a, b, _polls) = two();
        for n in 0..10_000 {
            a.post(1, failed(n));
        }
        assert!(a.is_backed_up());
        let mut got = Vec::new();
        while got.len() < 10_000 {
            b.take(&mut got);
            a.announce();
        }
        assert_eq!(tags(&got), (0..10_000).collect::<Vec<_>>());
        assert!(!a.is_backed_up());
    }

    #[test]
    fn a_full_ring_drops_datagrams_and_counts_them() {
        let (mut a, b, _polls) = two();
        for _ in 0..5_000 {
            a.datagram(1, Flow::nowhere(), Bytes::new());
        }
        assert_eq!(a.counters.handed_over.get() + a.counters.handover_dropped.get(), 5_000);
        assert!(a.counters.handover_dropped.get() > 0);
        assert!(!a.is_backed_up());
        let mut got = Vec::new();
        while b.take(&mut got) {}
        assert_eq!(got.len() as u64, a.counters.handed_over.get());
    }

    #[test]
    fn only_a_sleeper_is_woken() {
        let (mut a, b, _polls) = two();
        a.post(1, failed(1));
        a.announce();
        assert_eq!(a.counters.wakes.get(), 0);
        assert!(!b.fall_asleep(), "something waits");
        b.take(&mut Vec::new());
        assert!(b.fall_asleep());
        a.post(1, failed(2));
        a.announce();
        a.post(1, failed(3));
        a.announce();
        assert_eq!(a.counters.wakes.get(), 1);
    }
}
