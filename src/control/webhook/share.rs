//! Turns and places, shared out among those who ask and those who are asked: a server that is dead leaves enough
//! to the others, and so does an account that asks as many of them as it can name.
//!
//! For one server, an account may take another one while more are free than it has there. So one alone may have
//! half of all, and nothing is set aside for those who ask nothing.
//!
//! Names cost nothing: whoever writes URLs can write a thousand that lead nowhere. So an account may have three
//! times as many as are free: three quarters when it is alone, which leaves its sound servers turns beside a dead
//! one. For a server the same holds, whoever asks it: many accounts may have one provider, whose outage leaves
//! turns to all others, and at which none of them can use up what the others may have there. Servers are told
//! apart by host and port, for a dead port of a host is no reason to keep from another one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use url::Url;

/// For each that is free, an owner may have so many, and so may a server.
const EACH: usize = 3;

/// On whose behalf somebody is asked: the account of the call. It is who writes URLs and holds the token; an
/// application is one of several that it may have, and many a URL belongs to none. Those of calls without an
/// account stand in the configuration, and are one owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::control) struct Owner(Arc<str>);

impl Owner {
    /// The account of that name.
    pub(in crate::control) fn of(account: &str) -> Owner {
        Owner(account.into())
    }
}

/// Who is asked: host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server(Arc<str>);

impl Server {
    fn of(url: &Url) -> Server {
        // With a dot at its end, a name is the same name.
        let host = url.host_str().unwrap_or("").trim_end_matches('.');
        Server(format!("{host}:{}", url.port_or_known_default().unwrap_or(0)).into())
    }
}

/// Whose shares a turn or a place comes out of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Charged {
    owner: Owner,
    server: Server,
}

impl Charged {
    /// The owner's, and that of the server that a URL names.
    pub(super) fn to(owner: &Owner, url: &Url) -> Charged {
        Charged { owner: owner.clone(), server: Server::of(url) }
    }
}

/// What is shared out: how much is free, and how much of it each has. Who has none is not here.
#[derive(Debug)]
struct Shares {
    all: usize,
    free: usize,
    owners: HashMap<Owner, usize>,
    servers: HashMap<Server, usize>,
    /// What an owner has at a server.
    both: HashMap<Charged, usize>,
}

impl Shares {
    fn of(all: usize) -> Shares {
        let (owners, servers, both) = (HashMap::new(), HashMap::new(), HashMap::new());
        Shares { all, free: all, owners, servers, both }
    }

    /// What an owner may have at any one server, before it is known at which.
    fn bound(&self, owner: &Owner) -> usize {
        self.left(taken(&self.owners, owner))
    }

    /// What an owner may have at one server, when it has, or the server has, so many already. There is always
    /// one for an owner that has none at a server that has none.
    fn left(&self, taken: usize) -> usize {
        // With each that is taken, one more is taken and one less is free.
        let left = (EACH * self.free).saturating_sub(taken).div_ceil(EACH + 1);
        // Twice: else an owner that is alone could not have half of all at its only server.
        self.free.min(2 * left)
    }

    fn take(&mut self, charged: &Charged) -> bool {
        let at_server = self.left(taken(&self.servers, &charged.server));
        let may = taken(&self.both, charged) < self.bound(&charged.owner).min(at_server);
        if may {
            self.free -= 1;
            *self.owners.entry(charged.owner.clone()).or_default() += 1;
            *self.servers.entry(charged.server.clone()).or_default() += 1;
            *self.both.entry(charged.clone()).or_default() += 1;
        }
        may
    }

    fn give_back(&mut self, charged: &Charged) {
        self.free += 1;
        one_less(&mut self.owners, &charged.owner);
        one_less(&mut self.servers, &charged.server);
        one_less(&mut self.both, charged);
    }

    fn all_taken(&self) -> usize {
        self.all - self.free
    }
}

fn taken<K: std::hash::Hash + Eq>(taken: &HashMap<K, usize>, by: &K) -> usize {
    taken.get(by).copied().unwrap_or(0)
}

fn one_less<K: std::hash::Hash + Eq>(taken: &mut HashMap<K, usize>, by: &K) {
    if let Some(count) = taken.get_mut(by) {
        *count -= 1;
        if *count == 0 {
            taken.remove(by);
        }
    }
}

/// Places for what waits to be told. Who finds none goes without.
#[derive(Debug)]
pub(super) struct Room(Mutex<Shares>);

impl Room {
    pub(super) fn of(all: usize) -> Arc<Room> {
        Arc::new(Room(Mutex::new(Shares::of(all))))
    }

    /// A place, when there may be one more for these.
    pub(super) fn enter(self: &Arc<Room>, charged: Charged) -> Option<Place> {
        let may = self.shares().take(&charged);
        may.then(|| Place { room: Arc::clone(self), charged })
    }

    /// Places taken now.
    pub(super) fn taken(&self) -> usize {
        self.shares().all_taken()
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    charged: Charged,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.shares().give_back(&self.charged);
    }
}

/// Turns for one kind of exchange. Who finds none waits, behind those of the same owner who wait for the same server.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Line>);

#[derive(Debug)]
struct Line {
    shares: Shares,
    waiting: HashMap<Owner, Waiting>,
    /// The owners in `waiting`; the one whose next turn comes first is in front.
    order: VecDeque<Owner>,
}

/// Those who wait on one owner's behalf.
#[derive(Debug, Default)]
struct Waiting {
    servers: HashMap<Server, VecDeque<oneshot::Sender<Turn>>>,
    /// The servers in `servers`, in the same way.
    order: VecDeque<Server>,
}

impl Turns {
    pub(super) fn of(all: usize) -> Arc<Turns> {
        let line = Line { shares: Shares::of(all), waiting: HashMap::new(), order: VecDeque::new() };
        Arc::new(Turns(Mutex::new(line)))
    }

    /// A turn, as soon as there may be one for these. Whoever waits no longer just drops this.
    pub(super) async fn take(self: &Arc<Turns>, charged: &Charged) -> Turn {
        loop {
            let waiting = match self.line().take(charged) {
                None => return self.turn(charged.clone()),
                Some(waiting) => waiting,
            };
            // The other end is kept until there is a turn: it cannot fail.
            if let Ok(turn) = waiting.await {
                return turn;
            }
        }
    }

    /// Turns taken now.
    pub(super) fn taken(&self) -> usize {
        self.line().shares.all_taken()
    }

    /// Owners and servers that have turns or are waited for.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        let line = self.line();
        let waiting: usize = line.waiting.values().map(|own| own.servers.len() + own.order.len()).sum();
        let Shares { owners, servers, both, .. } = &line.shares;
        owners.len() + servers.len() + both.len() + line.waiting.len() + line.order.len() + waiting
    }

    fn turn(self: &Arc<Turns>, charged: Charged) -> Turn {
        Turn { turns: Arc::clone(self), charged }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// `None`: the turn is taken.
    fn take(&mut self, charged: &Charged) -> Option<oneshot::Receiver<Turn>> {
        let Charged { owner, server } = charged;
        let own = self.waiting.get_mut(owner).and_then(|own| own.servers.get_mut(server));
        if !own.is_some_and(anybody) && self.shares.take(charged) {
            return None;
        }
        let own = self.waiting.entry(owner.clone()).or_insert_with(|| {
            self.order.push_back(owner.clone());
            Waiting::default()
        });
        let queue = own.servers.entry(server.clone()).or_insert_with(|| {
            own.order.push_back(server.clone());
            VecDeque::new()
        });
        let (sender, receiver) = oneshot::channel();
        queue.push_back(sender);
        Some(receiver)
    }

    /// Finds turns for those who wait and may have one now, going around the owners.
    fn serve(&mut self) -> Vec<(Charged, oneshot::Sender<Turn>)> {
        let mut served = Vec::new();
        let mut passed = 0;
        while passed < self.order.len() {
            let Some(owner) = self.order.pop_front() else { break };
            let Some(own) = self.waiting.get_mut(&owner) else { continue };
            let next = own.next(&owner, &mut self.shares);
            if own.order.is_empty() {
                self.waiting.remove(&owner);
            } else {
                self.order.push_back(owner);
                passed += 1;
            }
            if next.is_some() {
                passed = 0;
            }
            served.extend(next);
        }
        served
    }
}

impl Waiting {
    /// A turn for the next one who may have one, going around the servers. This passes those only that have turns
    /// already: however many names there are, it takes no longer.
    fn next(&mut self, owner: &Owner, shares: &mut Shares) -> Option<(Charged, oneshot::Sender<Turn>)> {
        let mut passed = 0;
        while passed < self.order.len() && shares.bound(owner) > 0 {
            let server = self.order.pop_front()?;
            let Some(queue) = self.servers.get_mut(&server) else { continue };
            if !anybody(queue) {
                self.servers.remove(&server);
                continue;
            }
            self.order.push_back(server.clone());
            let charged = Charged { owner: owner.clone(), server };
            if shares.take(&charged) {
                return queue.pop_front().map(|next| (charged, next));
            }
            passed += 1;
        }
        None
    }
}

/// Whether anybody waits here. Those in front who have given up are forgotten, so that a dead server's queue holds no
/// more than what came while the first in it waited.
fn anybody(queue: &mut VecDeque<oneshot::Sender<Turn>>) -> bool {
    while queue.front().is_some_and(oneshot::Sender::is_closed) {
        queue.pop_front();
    }
    !queue.is_empty()
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    charged: Charged,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let served = {
            let mut line = self.turns.line();
            line.shares.give_back(&self.charged);
            line.serve()
        };
        for (charged, next) in served {
            // Who gave up in this moment does not take it; then it is given back at once.
            let _ = next.send(self.turns.turn(charged));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    /// A server of an owner, two owners in turn.
    fn charged(n: usize) -> Charged {
        of(n % 2, &format!("http://h{n}/"))
    }

    /// Three servers, each asked by two owners.
    fn shared(n: usize) -> Charged {
        of(n % 2, &format!("http://h{}/", n / 2))
    }

    fn of(owner: usize, url: &str) -> Charged {
        Charged::to(&Owner::of(&format!("AC{owner}")), &Url::parse(url).expect("a URL"))
    }

    /// Somebody who waits, or has a turn.
    enum Asking {
        Waits(usize, Pin<Box<dyn Future<Output = Turn>>>),
        Has(usize, #[allow(dead_code, reason = "it is held")] Turn),
    }

    impl Asking {
        fn of(turns: &Arc<Turns>, n: usize) -> Asking {
            Asking::to(turns, n, charged(n))
        }

        fn to(turns: &Arc<Turns>, n: usize, charged: Charged) -> Asking {
            let turns = Arc::clone(turns);
            Asking::Waits(n, Box::pin(async move { turns.take(&charged).await })).look()
        }

        fn look(self) -> Asking {
            match self {
                Asking::Waits(n, mut waiting) => {
                    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(turn) => Asking::Has(n, turn),
                        Poll::Pending => Asking::Waits(n, waiting),
                    }
                }
                has @ Asking::Has(..) => has,
            }
        }

        fn has(&self, n: usize) -> bool {
            matches!(self, Asking::Has(m, _) if *m == n)
        }

        fn waits(&self) -> Option<usize> {
            match self {
                Asking::Waits(n, _) => Some(*n),
                Asking::Has(..) => None,
            }
        }
    }

    /// Host and port make a server, however they are written.
    #[test]
    fn who_is_asked() {
        let of = |text: &str| of(0, text).server;
        assert_eq!(of("http://u:p@H.example/x?y"), of("HTTP://h.example:80/z"));
        assert_eq!(of("http://h.example./"), of("http://h.example/"));
        assert_ne!(of("http://h.example/"), of("https://h.example/"));
        assert_ne!(of("http://h.example/"), of("http://h.example:8080/"));
        assert_eq!(of("https://[2001:db8::1]/"), of("http://[2001:DB8:0::1]:443/"));
    }

    /// One has half at most, a second one half of the rest; who has none finds one as long as there is any.
    #[test]
    fn places_are_shared() {
        let room = Room::of(8);
        let mut taken: Vec<Place> = std::iter::from_fn(|| room.enter(charged(0))).collect();
        assert_eq!(taken.len(), 4);
        taken.extend(std::iter::from_fn(|| room.enter(charged(1))));
        assert_eq!(taken.len(), 6);
        taken.extend((2..9).filter_map(|n| room.enter(of(n, &format!("http://h{n}/")))));
        assert_eq!((taken.len(), room.taken()), (8, 8));
        taken.clear();
        let shares = room.shares();
        assert!(shares.owners.is_empty() && shares.servers.is_empty() && shares.both.is_empty());
        assert_eq!(shares.all_taken(), 0);
        // The only place there is may be had.
        assert!(Room::of(1).enter(charged(0)).is_some());
    }

    /// However many names one owner has, it leaves a quarter of what it found to others; so as long as any is free,
    /// one who has none finds something.
    #[test]
    fn owners_leave_something() {
        let room = Room::of(1_024);
        let named = |owner, n| room.enter(of(owner, &format!("http://h{owner}-{n}/")));
        let mut taken = Vec::new();
        for owner in 0..8 {
            let free = 1_024 - room.taken();
            let before = taken.len();
            taken.extend((0..1_024).filter_map(|n| named(owner, n)));
            assert_eq!(1_024 - room.taken(), free / 4, "{owner}");
            assert_eq!(taken.len() > before, free > 0, "{owner}");
        }
        // What one gives back, the next may have.
        assert!(named(8, 0).is_none());
        taken.pop();
        assert!(named(8, 0).is_some());
    }

    /// A server of an owner that has taken half leaves turns for another one of the same owner.
    #[test]
    fn servers_of_one_owner_share() {
        let room = Room::of(1_024);
        let all = |url| -> Vec<Place> { std::iter::from_fn(|| room.enter(of(0, url))).collect() };
        let dead = all("http://dead/");
        assert_eq!((dead.len(), all("http://sound/").len()), (512, 171));
    }

    /// [T-069] However many owners ask one server, each of them finds something there; together they leave a quarter
    /// to other servers.
    #[test]
    fn owners_of_one_server_share() {
        let room = Room::of(1_024);
        let all = |owner, url| -> Vec<Place> { std::iter::from_fn(|| room.enter(of(owner, url))).collect() };
        let slow: Vec<Vec<Place>> = (0..5).map(|owner| all(owner, "http://slow/")).collect();
        let shares: Vec<usize> = slow.iter().map(Vec::len).collect();
        assert!(shares[0] == 512 && shares.iter().all(|share| *share > 0), "{shares:?}");
        assert!(room.taken() <= 768, "{shares:?}");
        assert!(all(5, "http://sound/").len() >= 128);
        drop(slow);
        assert_eq!(room.taken(), 0);
    }

    /// First come, first served, and who went away is passed over.
    #[test]
    fn those_who_wait_keep_their_order() {
        let turns = Turns::of(2);
        let first = Asking::of(&turns, 0);
        let mut waiting: Vec<Asking> = (0..4).map(|_| Asking::of(&turns, 0)).collect();
        assert!(first.has(0) && waiting.iter().all(|asking| asking.waits().is_some()));
        waiting.remove(0);
        let mut has = first;
        for _ in 0..3 {
            drop(has);
            waiting = waiting.into_iter().map(Asking::look).collect();
            assert!(waiting[0].has(0) && waiting[1..].iter().all(|asking| asking.waits().is_some()));
            has = waiting.remove(0);
        }
        // Who went away with a turn on its way gives it back.
        let late = Asking::of(&turns, 0);
        drop(has);
        assert_eq!(turns.taken(), 1);
        drop(late);
        assert_eq!((turns.taken(), turns.known()), (0, 0));
    }

    /// Those who give up are not kept, however long the server is dead.
    #[test]
    fn who_gave_up_is_forgotten() {
        let turns = Turns::of(1);
        let has = Asking::of(&turns, 0);
        let queue = |turns: &Turns| {
            let Charged { owner, server } = charged(0);
            turns.line().waiting[&owner].servers[&server].len()
        };
        for _ in 0..100 {
            let waiting = Asking::of(&turns, 0);
            assert_eq!((waiting.waits(), queue(&turns)), (Some(0), 1));
        }
        drop(has);
        assert_eq!(turns.known(), 0);
    }

    proptest! {
        /// Whatever is asked, given up and given back: no turn is lost or made up, nobody waits who may have one,
        /// and in the end nothing is left.
        #[test]
        fn turns_are_kept_count_of(all in 1_usize..9, steps in proptest::collection::vec((0_u8..3, 0_usize..6), 1..200)) {
            let turns = Turns::of(all);
            let mut asking: Vec<Asking> = Vec::new();
            for (step, n) in steps {
                if step == 0 || asking.is_empty() {
                    asking.push(Asking::to(&turns, n, shared(n)));
                } else {
                    // Waiting or not, it goes away.
                    drop(asking.remove((n * 7 + usize::from(step)) % asking.len()));
                }
                asking = asking.into_iter().map(Asking::look).collect();
                let has = |n: usize| asking.iter().filter(|asking| asking.has(n)).count();
                let taken: usize = (0..6).map(has).sum();
                prop_assert_eq!(turns.taken(), taken);
                let free = all - taken;
                for n in asking.iter().filter_map(Asking::waits) {
                    let owner: usize = (0..6).filter(|m| m % 2 == n % 2).map(has).sum();
                    let server: usize = (0..6).filter(|m| m / 2 == n / 2).map(has).sum();
                    // Of what it could still have, less than half: its share, or its server's, is used up.
                    let used_up = |taken| 2 * (3 * free).saturating_sub(taken).div_ceil(4) <= has(n);
                    prop_assert!(has(n) >= free || used_up(owner) || used_up(server));
                }
            }
            asking.clear();
            prop_assert_eq!((turns.taken(), turns.known()), (0, 0));
        }
    }
}
