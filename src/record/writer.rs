//! The writer: takes events out of the channel, folds them, writes them down in batches.
//!
//! It wakes every [`TICK`] instead of being woken by each event, so that sending one costs a shard
//! no system call. When writing fails, what was to be written is kept and tried again; the channel
//! then fills and the shards act as they do when the control plane is slow (law 4).

use super::pending::{Batch, Pending};
use super::write::{self, Accounts};
use super::{RecordConfig, Stats, housekeeping};
use crate::sip::event::Event;
use crate::sip::time::Time;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How often events are taken out: what a kill may cost. At 1,000 calls a second the thread spends 9 µs
/// a call with 100 ms, 17 with 25 ms.
const TICK: Duration = Duration::from_millis(50);
/// The least time between two writes that readers ask for.
const READERS_GAP: Duration = Duration::from_millis(10);
/// How long nothing is tried after a write failed.
const RETRY: Duration = Duration::from_millis(500);
/// Entries held at most; past it events stay in the channel.
const HELD: usize = 100_000;
/// Events taken out at most before what is due is written.
const TURN: usize = 50_000;
/// Turns between two looks at what is to be removed: about a second.
const HOUSEKEEPING: u64 = 20;

/// What the writer may be asked; it answers when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// Write down everything that was sent before.
    Flush(Sender<()>),
    /// Remove what is too old or too many, all of it.
    Tidy(Sender<()>),
    /// Close calls that began before and have not ended.
    Expire(Time, Sender<()>),
    /// Write down everything and stop.
    Close(Sender<()>),
}

pub(super) struct Writer {
    config: RecordConfig,
    connection: Connection,
    events: Receiver<Event>,
    orders: Receiver<Order>,
    /// Taken from `orders` already.
    next: Option<Order>,
    stats: Arc<Stats>,
    pending: Pending,
    accounts: Accounts,
    node: i64,
    calls: u64,
    refers: u64,
    turn: u64,
}

impl Writer {
    pub(super) fn new(
        config: RecordConfig,
        connection: Connection,
        events: Receiver<Event>,
        orders: Receiver<Order>,
        stats: Arc<Stats>,
    ) -> rusqlite::Result<Writer> {
        let bits = config.node.to_be_bytes();
        connection.execute("INSERT OR IGNORE INTO node (bits) VALUES (?1)", [&bits[..]])?;
        let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let node =
            connection.query_row("SELECT id FROM node WHERE bits = ?1", [&bits[..]], |row| row.get(0))?;
        housekeeping::close_orphans(&connection, node, (config.clock)())?;
        let calls = count("SELECT count(*) FROM call")?.unsigned_abs();
        let refers = count("SELECT count(*) FROM refer")?.unsigned_abs();
        Ok(Writer {
            config,
            connection,
            events,
            orders,
            next: None,
            stats,
            pending: Pending::default(),
            accounts: Accounts::default(),
            node,
            calls,
            refers,
            turn: 0,
        })
    }

    /// Works until it is told to stop, or until nobody is left to tell it.
    pub(super) fn run(&mut self) {
        loop {
            let order = match self.next.take() {
                Some(order) => Ok(order),
                None => self.orders.recv_timeout(TICK),
            };
            self.turn += 1;
            self.take_events();
            match order {
                Ok(Order::Flush(done)) => {
                    self.write_all();
                    let _ = done.send(());
                    self.answer_other_readers();
                    // Readers in a row share a write instead of each forcing one.
                    std::thread::sleep(READERS_GAP);
                }
                Ok(Order::Tidy(done)) => {
                    self.write_all();
                    while self.remove_excess() {}
                    let _ = done.send(());
                }
                Ok(Order::Expire(older_than, done)) => {
                    self.write_all();
                    self.close_stale(older_than);
                    let _ = done.send(());
                }
                Ok(Order::Close(done)) => {
                    self.finish();
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let batch = self.pending.due(self.turn);
                    self.write(batch);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish();
                    return;
                }
            }
            if self.turn.is_multiple_of(HOUSEKEEPING) {
                self.keep_house();
            }
        }
    }

    /// Readers who asked while others were answered: a second, usually empty, batch serves them all.
    fn answer_other_readers(&mut self) {
        let mut waiting = Vec::new();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Flush(done) => waiting.push(done),
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        if !waiting.is_empty() {
            self.take_events();
            self.write_all();
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    fn take_events(&mut self) {
        for _ in 0..TURN {
            if self.pending.len() >= HELD {
                return;
            }
            match self.events.try_recv() {
                Ok(event) => self.pending.apply(event, self.turn),
                Err(_) => return,
            }
        }
    }

    /// Writes everything held, and everything that was in the channel when this began.
    fn write_all(&mut self) {
        let mut waiting = self.events.len();
        loop {
            let batch = self.pending.all();
            if !self.write(batch) || waiting == 0 {
                return;
            }
            waiting = waiting.saturating_sub(TURN);
            self.take_events();
        }
    }

    /// Writes everything for the last time; what cannot be written now is lost.
    fn finish(&mut self) {
        self.write_all();
        let lost = self.pending.len() as u64;
        if lost > 0 {
            self.stats.dropped.fetch_add(lost, Relaxed);
            tracing::error!(event = "records.lost", lost, "records could not be written at the end");
        }
        // Leaves one file behind instead of three; SQLite would recover them all the same.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    /// Writes a batch in one transaction; false when it could not be written and is held again.
    fn write(&mut self, batch: Batch) -> bool {
        if batch.is_empty() {
            return true;
        }
        match write::batch(&mut self.connection, &mut self.accounts, self.node, &batch) {
            Ok(done) => {
                self.calls += done.calls;
                self.refers += done.refers;
                self.stats.written.fetch_add(done.finals, Relaxed);
                self.stats.dropped.fetch_add(done.dropped, Relaxed);
                if self.stats.failing.swap(false, Relaxed) {
                    tracing::info!(event = "records.writing_again", "the record store works again");
                }
                true
            }
            Err(error) => {
                if !self.stats.failing.swap(true, Relaxed) {
                    tracing::error!(
                        event = "records.write_failed",
                        %error,
                        "records cannot be written; they are kept and tried again"
                    );
                }
                self.accounts.forget();
                self.pending.put_back(batch);
                std::thread::sleep(RETRY);
                false
            }
        }
    }

    fn keep_house(&mut self) {
        if let Some(longest) = self.config.max_duration {
            let now = (self.config.clock)();
            let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
            self.close_stale(Time::from_micros(now.micros().saturating_sub(longest)));
        }
        // A few steps a second keep up with any load without holding the writer up.
        for _ in 0..4 {
            if !self.remove_excess() {
                return;
            }
        }
    }

    fn close_stale(&mut self, older_than: Time) {
        let now = (self.config.clock)();
        let longest = self.config.max_duration.unwrap_or(Duration::ZERO);
        match housekeeping::close_stale(&mut self.connection, older_than, now, longest) {
            Ok(closed) => {
                self.stats.written.fetch_add(closed, Relaxed);
            }
            Err(error) => {
                tracing::warn!(event = "records.close_failed", %error, "open calls cannot be closed");
            }
        }
    }

    /// One step of removal; whether there is more to remove.
    fn remove_excess(&mut self) -> bool {
        let now = (self.config.clock)();
        let oldest = self.config.max_age.map(|age| {
            let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
            Time::from_micros(now.micros().saturating_sub(age))
        });
        let limit = self.config.max_count;
        let excess = |kept: u64| limit.map_or(0, |max| kept.saturating_sub(max));
        let (calls, refers) = (excess(self.calls), excess(self.refers));
        match housekeeping::remove_excess(&mut self.connection, oldest, calls, refers) {
            Ok(removed) => {
                self.calls = self.calls.saturating_sub(removed.calls);
                self.refers = self.refers.saturating_sub(removed.refers);
                removed.more
            }
            Err(error) => {
                tracing::warn!(event = "records.removal_failed", %error, "old records cannot be removed");
                false
            }
        }
    }
}
