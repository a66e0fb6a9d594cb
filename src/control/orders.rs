//! Orders to the shards, and the answers to them.
//!
//! An order goes to the shard of its call and is answered under its ticket ([`Event::Reply`]). Who
//! asks waits for a bounded time; what comes of the order is told by events.
//!
//! [`Event::Reply`]: crate::sip::event::Event::Reply

use crate::io::{self, Behind};
use crate::sip::command::{Command, Order, Refused};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a shard may take to answer, unless who asks can wait longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long one may take to place a new call, for whomever it is placed. What it comes to later is refused
/// ([`Place::by`]): the client has been told that there is no call. Longer than a shard is ever away that is to come
/// back, shorter than clients wait for an answer.
///
/// [`Place::by`]: crate::sip::command::Place::by
pub(super) const PLACING: Duration = Duration::from_secs(10);

/// The shards, as far as orders are concerned.
pub trait Shards: Send + Sync + fmt::Debug {
    /// Gives one shard an order.
    ///
    /// # Errors
    ///
    /// When there is no such shard, or it is so far behind that it takes no orders.
    fn command(&self, shard: u16, command: Box<Command>) -> Result<(), Behind>;

    /// How many there are; at least 1.
    fn count(&self) -> u16;
}

impl Shards for io::Orders {
    fn command(&self, shard: u16, command: Box<Command>) -> Result<(), Behind> {
        self.command(shard, command)
    }

    fn count(&self) -> u16 {
        self.shards()
    }
}

/// Why an order came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The shard said why.
    Refused(Refused),
    /// The shard's queue of orders is full.
    Behind,
    /// The shard did not answer in time.
    Silent,
}

/// Who gives orders.
#[derive(Debug)]
pub(super) struct Orders {
    shards: Arc<dyn Shards>,
    tickets: AtomicU64,
    turn: AtomicU16,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<(), Refused>>>>,
    stats: Stats,
}

/// What became of orders, counted.
#[derive(Debug, Default)]
pub(super) struct Stats {
    taken: AtomicU64,
    refused: AtomicU64,
    behind: AtomicU64,
    silent: AtomicU64,
}

impl Stats {
    /// Counts with their names in metrics.
    pub(super) fn all(&self) -> [(&'static str, u64); 4] {
        let count = |n: &AtomicU64| n.load(Relaxed);
        [
            ("taken", count(&self.taken)),
            ("refused", count(&self.refused)),
            ("behind", count(&self.behind)),
            ("silent", count(&self.silent)),
        ]
    }
}

impl Orders {
    pub(super) fn new(shards: Arc<dyn Shards>) -> Orders {
        Orders {
            shards,
            // 0 asks for no answer.
            tickets: AtomicU64::new(1),
            turn: AtomicU16::new(0),
            waiting: Mutex::default(),
            stats: Stats::default(),
        }
    }

    /// What became of orders.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The shard for the next new call: each in its turn.
    pub(super) fn next_shard(&self) -> u16 {
        self.turn.fetch_add(1, Relaxed) % self.shards.count().max(1)
    }

    /// Gives an order and waits for its answer.
    pub(super) async fn ask(&self, order: Order) -> Result<(), NotTaken> {
        self.ask_as(order).await.1
    }

    /// The same, for those who can wait longer.
    pub(super) async fn ask_within(&self, order: Order, patience: Duration) -> Result<(), NotTaken> {
        self.answer(self.tickets.fetch_add(1, Relaxed), order, patience).await
    }

    /// The same; tells the ticket under which more may be told of the order.
    pub(super) async fn ask_as(&self, order: Order) -> (u64, Result<(), NotTaken>) {
        let ticket = self.tickets.fetch_add(1, Relaxed);
        (ticket, self.answer(ticket, order, PATIENCE).await)
    }

    async fn answer(&self, ticket: u64, order: Order, patience: Duration) -> Result<(), NotTaken> {
        let (reply, answer) = oneshot::channel();
        self.waiting().insert(ticket, reply);
        // However this ends, also when who asks is no longer interested.
        let _forget = Forget { orders: self, ticket };
        let shard = home(&order);
        if self.shards.command(shard, Box::new(Command { ticket, order })).is_err() {
            self.stats.behind.fetch_add(1, Relaxed);
            return Err(NotTaken::Behind);
        }
        let answer = tokio::time::timeout(patience, answer).await;
        let (count, result) = match answer {
            Ok(Ok(Ok(()))) => (&self.stats.taken, Ok(())),
            Ok(Ok(Err(refused))) => (&self.stats.refused, Err(NotTaken::Refused(refused))),
            Ok(Err(_)) | Err(_) => (&self.stats.silent, Err(NotTaken::Silent)),
        };
        count.fetch_add(1, Relaxed);
        result
    }

    /// Gives an order whose answer nobody waits for.
    pub(super) fn tell(&self, order: Order) {
        let shard = home(&order);
        let count = match self.shards.command(shard, Box::new(Command { ticket: 0, order })) {
            Ok(()) => &self.stats.taken,
            Err(_) => &self.stats.behind,
        };
        count.fetch_add(1, Relaxed);
    }

    /// An answer came.
    pub(super) fn reply(&self, ticket: u64, result: Result<(), Refused>) {
        if let Some(waiting) = self.waiting().remove(&ticket) {
            let _ = waiting.send(result);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<(), Refused>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forget<'a> {
    orders: &'a Orders,
    ticket: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.orders.waiting().remove(&self.ticket);
    }
}

/// The shard that an order is for.
fn home(order: &Order) -> u16 {
    match order {
        Order::Place(place) => place.sid.shard(),
        Order::Leg(sid, _) | Order::CancelRefer(_, sid) | Order::DecideRefer(_, sid, _) => sid.shard(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::command::Action;
    use crate::sip::event::CallSid;

    /// Keeps orders; shard 1 takes none.
    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<(u16, Command)>>);

    impl Shards for Kept {
        fn command(&self, shard: u16, command: Box<Command>) -> Result<(), Behind> {
            if shard == 1 {
                return Err(Behind(1));
            }
            self.0.lock().expect("nobody failed").push((shard, *command));
            Ok(())
        }

        fn count(&self) -> u16 {
            3
        }
    }

    fn hold(sid: u128) -> Order {
        Order::Leg(CallSid(sid), Action::Hold)
    }

    #[tokio::test(start_paused = true)]
    async fn answers_find_who_asked() {
        let kept = Arc::new(Kept::default());
        let orders = Orders::new(kept.clone());
        let answer = async {
            while kept.0.lock().expect("nobody failed").len() < 2 {
                tokio::task::yield_now().await;
            }
            let tickets: Vec<_> =
                kept.0.lock().expect("nobody failed").iter().map(|(_, c)| c.ticket).collect();
            orders.reply(tickets[1], Ok(()));
            orders.reply(tickets[0], Err(Refused::Busy));
            orders.reply(99, Ok(()));
        };
        let (first, second, ()) = tokio::join!(orders.ask(hold(0x10002)), orders.ask(hold(0)), answer);
        assert_eq!((first, second), (Err(NotTaken::Refused(Refused::Busy)), Ok(())));
        assert_eq!(kept.0.lock().expect("nobody failed")[0].0, 2);
        // Nobody answers: two seconds, and nothing is left behind.
        assert_eq!(orders.ask(hold(0)).await, Err(NotTaken::Silent));
        assert_eq!(orders.ask(hold(1)).await, Err(NotTaken::Behind));
        assert!(orders.waiting().is_empty());
        assert_eq!(orders.stats().all().map(|(_, n)| n), [1, 1, 1, 1]);
        assert_eq!([0, 1, 2, 0], [(); 4].map(|()| orders.next_shard()));
    }
}
