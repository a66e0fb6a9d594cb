//! The owned calls and transfers that are alive, as the shards' events tell of them.
//!
//! The record store knows them as well, a little later; this table serves those who steer: a call is
//! known here from the moment it is ordered, and whoever follows a call gets its events, in order, in
//! a mailbox of its own ([`Watch`]). A mailbox is bounded, like everything that events go through.

mod index;
mod table;

pub(super) use table::LiveCall;

use super::orders::{NotTaken, Orders, PLACING};
use crate::io::Clock;
use crate::io::entropy;
use crate::record::CallRecord;
use crate::sip::command::{Action, Order, Place, ReferOrder};
use crate::sip::event::{CallSid, Event, ReferSid};
use crate::sip::time::Time;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::Table;
use tokio::sync::mpsc;

/// Events of one call that may wait for who follows it.
const MAILBOX: usize = 256;

/// The table, and the way to the shards.
#[derive(Debug)]
pub(super) struct Live {
    node: u128,
    orders: Orders,
    table: Mutex<Table>,
    /// Events that a full mailbox did not take.
    lost: AtomicU64,
    watches: AtomicU64,
}

impl Live {
    pub(super) fn new(node: u128, orders: Orders) -> Arc<Live> {
        Arc::new(Live {
            node,
            orders,
            table: Mutex::default(),
            lost: AtomicU64::new(0),
            watches: AtomicU64::new(0),
        })
    }

    /// This node's half of call identifiers.
    pub(super) fn node(&self) -> u128 {
        self.node
    }

    /// The way to the shards.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The time now.
    pub(super) fn now(&self) -> Time {
        Clock::new().now()
    }

    /// Calls alive, and events lost on the way to who follows them.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.table().calls(), self.lost.load(Relaxed))
    }

    /// A call that is alive.
    pub(super) fn call(&self, sid: CallSid) -> Option<LiveCall> {
        let call = self.table().call(sid).cloned();
        // It is copied when events can go on.
        call.map(Arc::unwrap_or_clone)
    }

    /// The calls of an account that are alive.
    pub(super) fn of_account(&self, account: &str) -> Vec<Arc<LiveCall>> {
        self.table().of_account(account)
    }

    /// How many calls of an account that are alive came in, and how many did not.
    pub(super) fn count(&self, account: &str) -> (usize, usize) {
        self.table().count(account)
    }

    /// The legs that belong to a leg: whom it talks to, then those dialled for it, in their order.
    pub(super) fn related(&self, sid: CallSid) -> Vec<Arc<LiveCall>> {
        self.table().related(sid)
    }

    /// A leg is steered by itself from now on, and no longer belongs to the one for which it was dialled.
    pub(super) fn release(&self, sid: CallSid, parent: CallSid) {
        self.table().release(sid, parent);
    }

    /// A call is about to be placed: it can be read from here on.
    pub(super) fn expect(&self, record: CallRecord) {
        self.table().insert(record);
    }

    /// A call that was expected is not placed after all.
    pub(super) fn forget(&self, sid: CallSid) {
        self.table().forget(sid);
    }

    /// Places a call that is expected; refused, it leaves nothing. The shard that does not answer in time does not
    /// place it when it comes to it.
    pub(super) async fn place(&self, place: Place) -> Result<(), NotTaken> {
        let sid = place.sid;
        let place = Place { by: Some(self.now() + PLACING), ..place };
        let placed = self.orders.ask_within(Order::Place(Box::new(place)), PLACING).await;
        if let Err(error) = placed {
            self.forget(sid);
            if error == NotTaken::Silent {
                // It may have been placed in the last moment, for somebody who is told that it is not.
                self.orders.tell(Order::Leg(sid, Action::Hangup { status: None, reason: None }));
            }
        }
        placed
    }

    /// Orders a transfer, under an idempotency key if there is one: the same key means the same Refer
    /// . A second one on a leg, or one on a leg that cannot have it, is refused at once.
    pub(super) async fn refer(
        &self,
        call: CallSid,
        order: ReferOrder,
        key: Option<&str>,
    ) -> Result<ReferSid, NotTaken> {
        let sid = order.sid;
        if let Some(key) = key
            && let Some(known) = self.table().claim(key, sid)
        {
            return Ok(known);
        }
        let taken = self.orders.ask(Order::Leg(call, Action::Refer(Box::new(order)))).await;
        if taken.is_err()
            && let Some(key) = key
        {
            self.table().unclaim(key);
        }
        taken.map(|()| sid)
    }

    /// A new identifier on a shard.
    pub(super) fn new_call(&self, shard: u16) -> CallSid {
        CallSid(random() & !0xffff | u128::from(shard))
    }

    /// A new identifier.
    pub(super) fn new_refer(&self) -> ReferSid {
        ReferSid(random())
    }

    /// Follows a call: what happens to it from now on comes in the mailbox.
    pub(super) fn watch(self: &Arc<Live>, sid: CallSid) -> Watch {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let id = self.watches.fetch_add(1, Relaxed);
        self.table().watch(sid, id, sender);
        Watch { live: Arc::clone(self), sid, id, mailbox }
    }

    /// Takes an event of a shard: the table first, then those who follow the call.
    pub(super) fn take(&self, event: &Event) {
        if let Event::Reply { ticket, result } = event {
            self.orders.reply(*ticket, *result);
            return;
        }
        let mut table = self.table();
        let mut lost = 0;
        for follower in table.followers(event) {
            lost += u64::from(follower.try_send(event.clone()).is_err());
        }
        table.apply(event, self.node);
        drop(table);
        if lost > 0 {
            self.lost.fetch_add(lost, Relaxed);
            tracing::warn!(event = "control.events_lost", lost, "who steers a call did not take its events");
        }
    }

    /// Whether anybody follows a call.
    pub(super) fn is_followed(&self) -> bool {
        self.table().is_followed()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unpredictable bits. The operating system has none only when nothing works any more; then two
/// identifiers of one moment would meet.
pub(super) fn random() -> u128 {
    match entropy::bytes::<16>() {
        Ok(bytes) => u128::from_be_bytes(bytes),
        Err(_) => u128::from(Clock::new().now().micros()) << 64,
    }
}

/// Who follows a call.
#[derive(Debug)]
pub(super) struct Watch {
    live: Arc<Live>,
    sid: CallSid,
    id: u64,
    mailbox: mpsc::Receiver<Event>,
}

impl Watch {
    /// The next event; `None` when there will be none.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.mailbox.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.live.table().unwatch(self.sid, self.id);
    }
}
