//! The store: Call and Refer records, written beside the message's way and read by the API.
//!
//! Shards put events into a bounded channel ([`Store::sender`]) and never wait. One writer takes
//! them out, folds what happened to a call into one pending entry, and writes entries in batches: a
//! call that is over within moments costs one row. A [`Reader`] asks the writer to write down
//! what it holds before it reads, so that it sees everything sent before; shards notice nothing.
//!
//! The database is SQLite in WAL mode with `synchronous = NORMAL`: a killed process loses at most
//! the moments that were not yet written (and [`crate::sip::event::CallChanged`] carries enough to
//! write a lost row anew); a power failure may lose the last commits but never harms the file. A
//! full sync per batch would buy little for that price.

mod filter;
mod housekeeping;
mod pending;
mod query;
mod row;
mod schema;
#[cfg(test)]
mod tests;
mod write;
mod writer;

pub use filter::{CallFilter, CallOrder, CallSort, ReferFilter};
pub use query::{Excerpt, Page, QueryError, Reader, Session};
pub use row::{CallRecord, ReferRecord, call_sid_text, parse_call_sid, parse_refer_sid};

use crate::sip::event::Event;
use crate::sip::time::Time;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use writer::{Order, Writer};

/// How long [`Store::close`] and readers wait for the writer.
const WRITER_WAIT: Duration = Duration::from_secs(5);

/// Where records go and how long they stay.
#[derive(Clone)]
pub struct RecordConfig {
    /// The database file; its folder is made when it is not there.
    pub path: PathBuf,
    /// This node's 128 bits, the `ID…` half of call identifiers.
    pub node: u128,
    /// Records that ended longer ago are removed.
    pub max_age: Option<Duration>,
    /// Calls, and Refers, kept at most; the oldest ended go first.
    pub max_count: Option<u64>,
    /// A call that began longer ago and has not ended is closed: its BYE will not come any more.
    pub max_duration: Option<Duration>,
    /// Events that may wait for the writer.
    pub queue: usize,
    /// Tells the time.
    pub clock: Clock,
}

/// Tells the time; on a thread of its own, the store cannot be told.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

impl RecordConfig {
    /// A store in `path` that keeps everything.
    pub fn new(path: impl Into<PathBuf>, node: u128, clock: Clock) -> RecordConfig {
        RecordConfig {
            path: path.into(),
            node,
            max_age: None,
            max_count: None,
            max_duration: None,
            queue: 65_536,
            clock,
        }
    }
}

impl fmt::Debug for RecordConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordConfig")
            .field("path", &self.path)
            .field("max_age", &self.max_age)
            .field("max_count", &self.max_count)
            .field("max_duration", &self.max_duration)
            .finish_non_exhaustive()
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folder could not be made.
    #[error("the folder {} cannot be made", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refuses: no permission, not a database, locked by another process.
    #[error("the record store {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A later version of Baton wrote it.
    #[error("the record store {} has format {found}; this version of Baton knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: i64,
        /// The newest format known.
        known: i64,
    },
    /// The operating system gave no thread.
    #[error("the writer of the record store cannot be started")]
    Thread(#[source] std::io::Error),
}

/// What the store did so far.
#[derive(Debug, Default)]
pub struct Stats {
    written: AtomicU64,
    dropped: AtomicU64,
    failing: AtomicBool,
}

impl Stats {
    /// Records of ended calls and Refers written.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Events and records the store lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Whether the last attempt to write failed; what could not be written is kept and tried again.
    pub fn failing(&self) -> bool {
        self.failing.load(Relaxed)
    }
}

/// An open store with its writer.
#[derive(Debug)]
pub struct Store {
    events: Sender<Event>,
    orders: Sender<Order>,
    stats: Arc<Stats>,
    reader: Reader,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens or makes the database and starts the writer.
    pub fn open(config: RecordConfig) -> Result<Store, StoreError> {
        if let Some(folder) = config.path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        }
        let connection = schema::open(&config.path)?;
        let (events, events_out) = bounded(config.queue.max(1));
        let (orders, orders_out) = bounded(64);
        let stats = Arc::new(Stats::default());
        let reader = Reader::new(config.path.clone(), orders.clone(), stats.clone());
        let writer = start(config, connection, events_out, orders_out, stats.clone())?;
        Ok(Store { events, orders, stats, reader, writer: Some(writer) })
    }

    /// Where shards put their events. They must not wait for room: `try_send`.
    pub fn sender(&self) -> Sender<Event> {
        self.events.clone()
    }

    /// For those who read records.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What the store did so far.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Waits until everything sent before is written; false when it could not be, or not in time.
    pub fn flush(&self) -> bool {
        self.reader.settle()
    }

    /// Removes all records that are too old or too many, now instead of in passing.
    pub fn tidy(&self) -> bool {
        ask(&self.orders, Order::Tidy)
    }

    /// Closes calls that began before `older_than` and have not ended.
    pub fn expire_stale(&self, older_than: Time) -> bool {
        ask(&self.orders, |done| Order::Expire(older_than, done))
    }

    /// Writes down what is left and stops the writer.
    pub fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if ask(&self.orders, Order::Close) && writer.join().is_err() {
            tracing::error!(event = "records.writer_failed", "the writer of the record store failed");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(
    config: RecordConfig,
    connection: rusqlite::Connection,
    events: Receiver<Event>,
    orders: Receiver<Order>,
    stats: Arc<Stats>,
) -> Result<JoinHandle<()>, StoreError> {
    let path = config.path.clone();
    let open = |source| StoreError::Open { path, source };
    let mut writer = Writer::new(config, connection, events, orders, stats).map_err(open)?;
    let builder = std::thread::Builder::new().name("baton-records".into());
    builder.spawn(move || writer.run()).map_err(StoreError::Thread)
}

/// Gives the writer an order and waits until it is carried out.
fn ask(orders: &Sender<Order>, order: impl FnOnce(Sender<()>) -> Order) -> bool {
    let (done, carried_out) = bounded(1);
    orders.send_timeout(order(done), WRITER_WAIT).is_ok() && carried_out.recv_timeout(WRITER_WAIT).is_ok()
}

/// Shows where a store is, for logs.
impl fmt::Display for RecordConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: &Path = &self.path;
        write!(f, "sqlite:{}", path.display())
    }
}
