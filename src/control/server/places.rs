//! Places for connections. When all are taken, the connection that has been silent for longest gives up its
//! own: whoever opens connections and says nothing keeps nobody else out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a connection may take to leave before another one has to, too: it may have begun to ask.
const TO_LEAVE: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    /// Connections for which nothing is being done, the longest silent one first.
    silent: Mutex<BTreeMap<u64, Arc<Notify>>>,
    fell_silent: Notify,
    count: AtomicU64,
}

impl Places {
    pub(super) fn new(all: usize) -> Arc<Places> {
        Arc::new(Places {
            room: Arc::new(Semaphore::new(all)),
            silent: Mutex::default(),
            fell_silent: Notify::new(),
            count: AtomicU64::new(0),
        })
    }

    /// A place for a connection, which is silent at first; somebody else's, when there is no other.
    pub(super) async fn take(self: &Arc<Places>) -> Arc<Seat> {
        let permit = loop {
            tokio::select! {
                biased;
                permit = self.permit() => break permit,
                () = self.dismiss() => {}
            }
            if let Ok(permit) = timeout(TO_LEAVE, self.permit()).await {
                break permit;
            }
        };
        let seat = Seat {
            places: Arc::clone(self),
            leave: Arc::default(),
            silent: AtomicU64::new(BUSY),
            _permit: permit,
        };
        seat.fall_silent();
        Arc::new(seat)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Tells one connection to leave, as soon as one is silent.
    async fn dismiss(&self) {
        loop {
            let next = self.silent().pop_first();
            match next {
                Some((_, leave)) => return leave.notify_one(),
                None => self.fell_silent.notified().await,
            }
        }
    }

    fn silent(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands where the number of a silent connection would.
const BUSY: u64 = u64::MAX;

/// A connection's place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    leave: Arc<Notify>,
    /// Its number among those that are silent, or [`BUSY`].
    silent: AtomicU64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Seat {
    /// A request is being answered, until what is returned is dropped.
    pub(super) fn busy(self: &Arc<Seat>) -> Busy {
        self.speak_up();
        Busy(Arc::clone(self))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.silent.load(Relaxed) == BUSY
    }

    /// Returns when somebody else needs the place more.
    pub(super) async fn dismissed(&self) {
        self.leave.notified().await;
    }

    fn speak_up(&self) {
        let number = self.silent.swap(BUSY, Relaxed);
        self.places.silent().remove(&number);
    }

    fn fall_silent(&self) {
        let number = self.places.count.fetch_add(1, Relaxed);
        self.silent.store(number, Relaxed);
        self.places.silent().insert(number, Arc::clone(&self.leave));
        self.places.fell_silent.notify_one();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.speak_up();
    }
}

/// While this is there, a request is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fall_silent();
    }
}
