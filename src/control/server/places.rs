//! Places for connections, and turns for what is asked on them. When all places are taken, the connection that has
//! said nothing for longest gives up its own: whoever opens connections and says nothing keeps nobody else out. Those
//! whose request waits for a turn leave last, the newest first.
//!
//! Who asks has a turn until the answer is written, and cannot be told to leave. There are fewer turns than places,
//! so that there is always a connection that can, and a health probe, which needs no turn, is always heard. A client's
//! address may have another turn while more are free than it has: half of all when it is alone, and something is
//! left for an address that has none. Who finds none waits, and is refused if its place is needed meanwhile.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};

/// How long a connection may take to leave before another one has to, too: it may have begun to ask.
const TO_LEAVE: Duration = Duration::from_secs(1);
/// How long nobody who has just come, or waits for a turn, is told to leave for a new connection.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a request may wait for its turn.
const TO_WAIT: Duration = Duration::from_secs(15);

/// All of them.
#[derive(Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    /// Connections for which nothing is being done, the longest silent one first.
    silent: Mutex<BTreeMap<u64, Told>>,
    fell_silent: Notify,
    count: AtomicU64,
    turns: Mutex<Turns>,
}

/// Since when a connection is silent, and how it is told to leave.
type Told = (Instant, Arc<Notify>);

/// The turns, and who waits for one.
#[derive(Debug)]
struct Turns {
    free: usize,
    taken: HashMap<Client, usize>,
    waiting: VecDeque<(Client, oneshot::Sender<Turn>)>,
}

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(IpAddr);

impl Client {
    /// An IPv6 host has a whole /64 to itself.
    fn at(address: IpAddr) -> Client {
        Client(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
            v4 => v4,
        })
    }
}

impl Places {
    /// Places, and turns, of which there are fewer.
    pub(super) fn new(all: usize, turns: usize) -> Arc<Places> {
        Arc::new(Places {
            room: Arc::new(Semaphore::new(all)),
            silent: Mutex::default(),
            fell_silent: Notify::new(),
            count: AtomicU64::new(0),
            turns: Mutex::new(Turns { free: turns, taken: HashMap::new(), waiting: VecDeque::new() }),
        })
    }

    /// A place for a connection, which is silent at first; somebody else's, when there is no other.
    pub(super) async fn take(self: &Arc<Places>, from: IpAddr) -> Arc<Seat> {
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
            client: Client::at(from),
            leave: Arc::default(),
            silent: AtomicU64::new(BUSY),
            waits: AtomicBool::new(false),
            refused: Notify::new(),
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
        let mut patient = true;
        loop {
            let (leaves, none) = {
                let mut silent = self.silent();
                let waiting = silent.last_key_value().is_some_and(|(number, _)| *number >= WAITING);
                let idle = silent
                    .first_key_value()
                    .is_some_and(|(number, (since, _))| *number < WAITING && since.elapsed() >= PATIENCE);
                let leaves = match (idle, waiting) {
                    (true, _) => silent.pop_first(),
                    (false, _) if patient => None,
                    // Who came last would be served last.
                    (false, true) => silent.pop_last(),
                    (false, false) => silent.pop_first(),
                };
                (leaves, silent.is_empty())
            };
            match leaves {
                Some((_, (_, leave))) => return leave.notify_one(),
                None if none => self.fell_silent.notified().await,
                // Who has just come may be about to ask, and turns may go on fast.
                None => {
                    patient = false;
                    sleep(PATIENCE).await;
                }
            }
        }
    }

    fn silent(&self) -> MutexGuard<'_, BTreeMap<u64, Told>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, or where it comes when the client may have one.
    fn turn(self: &Arc<Places>, client: Client) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut turns = self.turns();
        if turns.take(client) {
            return Ok(Turn { places: Arc::clone(self), client });
        }
        let (sender, turn) = oneshot::channel();
        turns.waiting.retain(|(_, waiting)| !waiting.is_closed());
        turns.waiting.push_back((client, sender));
        Err(turn)
    }
}

impl Turns {
    fn take(&mut self, client: Client) -> bool {
        let may = self.taken.get(&client).copied().unwrap_or(0) < self.free;
        if may {
            self.free -= 1;
            *self.taken.entry(client).or_default() += 1;
        }
        may
    }

    fn give_back(&mut self, client: Client) {
        self.free += 1;
        if let Some(taken) = self.taken.get_mut(&client) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&client);
            }
        }
    }

    /// Those who waited, first come, and may have a turn now: no more than there are places.
    fn serve(&mut self) -> Vec<(Client, oneshot::Sender<Turn>)> {
        let mut served = Vec::new();
        for (client, waiting) in std::mem::take(&mut self.waiting) {
            if waiting.is_closed() {
                continue;
            }
            if self.take(client) {
                served.push((client, waiting));
            } else {
                self.waiting.push_back((client, waiting));
            }
        }
        served
    }
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
struct Turn {
    places: Arc<Places>,
    client: Client,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let served = {
            let mut turns = self.places.turns();
            turns.give_back(self.client);
            turns.serve()
        };
        for (client, waiting) in served {
            // Who gave up in this moment does not take it; then it is given back at once.
            let _ = waiting.send(Turn { places: Arc::clone(&self.places), client });
        }
    }
}

/// Stands where the number of a silent connection would.
const BUSY: u64 = u64::MAX;
/// Set in the number of one whose request waits for its turn: it is not told to leave before those that ask nothing.
const WAITING: u64 = 1 << 63;

/// A connection's place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    client: Client,
    leave: Arc<Notify>,
    /// Its number among those that are silent, or [`BUSY`].
    silent: AtomicU64,
    /// Whether a request waits for its turn.
    waits: AtomicBool,
    refused: Notify,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What is done for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Silent,
    /// Its request waits for a turn.
    Waiting,
    /// Its request is answered.
    Busy,
}

impl Seat {
    /// A request is being answered, until what is returned is dropped. It may have to wait for its turn, and is one of
    /// those meanwhile that can be told to leave; `None`: it is refused.
    pub(super) async fn busy(self: &Arc<Seat>) -> Option<Busy> {
        let turn = match self.places.turn(self.client) {
            Ok(turn) => turn,
            Err(turn) => self.wait(turn).await?,
        };
        self.speak_up();
        Some(Busy { seat: Arc::clone(self), _turn: turn })
    }

    /// Something was asked that needs no turn.
    pub(super) fn spoke(&self) {
        if self.standing() == Standing::Busy {
            return;
        }
        self.speak_up();
        self.fall_silent();
    }

    async fn wait(&self, turn: oneshot::Receiver<Turn>) -> Option<Turn> {
        self.speak_up();
        self.waits.store(true, Relaxed);
        self.fall_silent();
        let turn = tokio::select! {
            biased;
            // Its connection is closing already.
            () = self.refused.notified() => None,
            turn = timeout(TO_WAIT, turn) => turn.ok().and_then(Result::ok),
        };
        self.waits.store(false, Relaxed);
        if turn.is_none() {
            self.spoke();
        }
        turn
    }

    /// Whoever waits for a turn has none.
    pub(super) fn refuse(&self) {
        self.refused.notify_one();
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.silent.load(Relaxed), self.waits.load(Relaxed)) {
            (BUSY, _) => Standing::Busy,
            (_, true) => Standing::Waiting,
            (_, false) => Standing::Silent,
        }
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
        let number = if self.waits.load(Relaxed) { number | WAITING } else { number };
        self.silent.store(number, Relaxed);
        self.places.silent().insert(number, (Instant::now(), Arc::clone(&self.leave)));
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
pub(super) struct Busy {
    seat: Arc<Seat>,
    _turn: Turn,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.seat.fall_silent();
    }
}
