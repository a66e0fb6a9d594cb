//! Turns and places, shared out among the servers that are asked: one that is dead leaves enough to the others.
//!
//! A server may take another one while more are free than it has. So one alone may have half of all,
//! two that take what they can get have a third each, and there is always something left for a server
//! that has none yet; nothing is set aside for servers that nobody asks.
//!
//! Shares are the server's, not the application's: it is the server that does not answer, whoever asks it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use url::Url;

/// Who is asked: host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server(Arc<str>);

impl Server {
    /// Whom a URL names.
    pub(super) fn of(url: &Url) -> Server {
        let (host, port) = (url.host_str().unwrap_or(""), url.port_or_known_default().unwrap_or(0));
        Server(format!("{host}:{port}").into())
    }
}

/// What is shared out: how much is free, and how much of it each server has. One that has none is not here.
#[derive(Debug)]
struct Shares {
    all: usize,
    free: usize,
    taken: HashMap<Server, usize>,
}

impl Shares {
    fn of(all: usize) -> Shares {
        Shares { all, free: all, taken: HashMap::new() }
    }

    fn take(&mut self, server: &Server) -> bool {
        let may = self.taken.get(server).copied().unwrap_or(0) < self.free;
        if may {
            self.free -= 1;
            *self.taken.entry(server.clone()).or_default() += 1;
        }
        may
    }

    fn give_back(&mut self, server: &Server) {
        self.free += 1;
        if let Some(taken) = self.taken.get_mut(server) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(server);
            }
        }
    }

    fn all_taken(&self) -> usize {
        self.all - self.free
    }
}

/// Places for what waits to be told. Who finds none goes without.
#[derive(Debug)]
pub(super) struct Room(Mutex<Shares>);

impl Room {
    pub(super) fn of(all: usize) -> Arc<Room> {
        Arc::new(Room(Mutex::new(Shares::of(all))))
    }

    /// A place, when the server may have one more.
    pub(super) fn enter(self: &Arc<Room>, server: Server) -> Option<Place> {
        let may = self.shares().take(&server);
        may.then(|| Place { room: Arc::clone(self), server })
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
    server: Server,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.shares().give_back(&self.server);
    }
}

/// Turns for one kind of exchange. Who finds none waits, behind those who wait for the same server.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Line>);

#[derive(Debug)]
struct Line {
    shares: Shares,
    waiting: HashMap<Server, VecDeque<oneshot::Sender<Turn>>>,
    /// The servers in `waiting`; the one whose next turn comes first is in front.
    order: VecDeque<Server>,
}

impl Turns {
    pub(super) fn of(all: usize) -> Arc<Turns> {
        let line = Line { shares: Shares::of(all), waiting: HashMap::new(), order: VecDeque::new() };
        Arc::new(Turns(Mutex::new(line)))
    }

    /// A turn, as soon as the server may have one. Whoever waits no longer just drops this.
    pub(super) async fn take(self: &Arc<Turns>, server: &Server) -> Turn {
        loop {
            let waiting = match self.line().take(server) {
                None => return self.turn(server.clone()),
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

    /// Servers that have turns or are waited for.
    #[cfg(test)]
    pub(super) fn servers(&self) -> usize {
        let line = self.line();
        line.shares.taken.len() + line.waiting.len() + line.order.len()
    }

    fn turn(self: &Arc<Turns>, server: Server) -> Turn {
        Turn { turns: Arc::clone(self), server }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// `None`: the turn is taken.
    fn take(&mut self, server: &Server) -> Option<oneshot::Receiver<Turn>> {
        let listed = self.waiting.contains_key(server);
        if !self.is_waited_for(server) && self.shares.take(server) {
            if listed {
                self.order.retain(|other| other != server);
            }
            return None;
        }
        if !listed {
            self.order.push_back(server.clone());
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.entry(server.clone()).or_default().push_back(sender);
        Some(receiver)
    }

    /// Whether anybody waits for the server. Those in front who have given up are forgotten here, so that a dead
    /// server's line holds no more than what came while the first in it waited.
    fn is_waited_for(&mut self, server: &Server) -> bool {
        let Some(waiting) = self.waiting.get_mut(server) else { return false };
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        let any = !waiting.is_empty();
        if !any {
            self.waiting.remove(server);
        }
        any
    }

    /// Finds turns for those who wait and may have one now, going around the servers.
    fn serve(&mut self) -> Vec<(Server, oneshot::Sender<Turn>)> {
        let mut served = Vec::new();
        let mut passed = 0;
        while passed < self.order.len() {
            let Some(server) = self.order.pop_front() else { break };
            if !self.is_waited_for(&server) {
                continue;
            }
            if self.shares.take(&server) {
                let next = self.waiting.get_mut(&server).and_then(VecDeque::pop_front);
                served.extend(next.map(|next| (server.clone(), next)));
            } else {
                passed += 1;
            }
            if self.is_waited_for(&server) {
                self.order.push_back(server);
            }
        }
        served
    }
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    server: Server,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let served = {
            let mut line = self.turns.line();
            line.shares.give_back(&self.server);
            line.serve()
        };
        for (server, next) in served {
            // Who gave up in this moment does not take it; then it is given back at once.
            let _ = next.send(self.turns.turn(server));
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

    fn server(n: usize) -> Server {
        Server::of(&Url::parse(&format!("http://h{n}/")).expect("a URL"))
    }

    /// Somebody who waits, or has a turn.
    enum Asking {
        Waits(usize, Pin<Box<dyn Future<Output = Turn>>>),
        Has(usize, #[allow(dead_code, reason = "it is held")] Turn),
    }

    impl Asking {
        fn of(turns: &Arc<Turns>, n: usize) -> Asking {
            let turns = Arc::clone(turns);
            Asking::Waits(n, Box::pin(async move { turns.take(&server(n)).await })).look()
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
        let of = |text: &str| Server::of(&Url::parse(text).expect("a URL"));
        assert_eq!(of("http://u:p@H.example/x?y"), of("HTTP://h.example:80/z"));
        assert_ne!(of("http://h.example/"), of("https://h.example/"));
        assert_ne!(of("http://h.example/"), of("http://h.example:8080/"));
        assert_eq!(of("https://[2001:db8::1]/"), of("http://[2001:DB8:0::1]:443/"));
    }

    /// One has half at most, a second one half of the rest; who has none finds one as long as there is any.
    #[test]
    fn places_are_shared() {
        let room = Room::of(8);
        let mut taken: Vec<Place> = std::iter::from_fn(|| room.enter(server(0))).collect();
        assert_eq!(taken.len(), 4);
        taken.extend(std::iter::from_fn(|| room.enter(server(1))));
        assert_eq!(taken.len(), 6);
        taken.extend((2..9).filter_map(|n| room.enter(server(n))));
        assert_eq!((taken.len(), room.taken()), (8, 8));
        taken.clear();
        assert_eq!((room.taken(), room.shares().taken.len()), (0, 0));
        // The only place there is may be had.
        assert!(Room::of(1).enter(server(0)).is_some());
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
        assert_eq!((turns.taken(), turns.servers()), (0, 0));
    }

    /// Those who give up are not kept, however long the server is dead.
    #[test]
    fn who_gave_up_is_forgotten() {
        let turns = Turns::of(1);
        let has = Asking::of(&turns, 0);
        for _ in 0..100 {
            let waiting = Asking::of(&turns, 0);
            assert_eq!((waiting.waits(), turns.line().waiting[&server(0)].len()), (Some(0), 1));
        }
        drop(has);
        assert_eq!(turns.servers(), 0);
    }

    proptest! {
        /// Whatever is asked, given up and given back: no turn is lost or made up, nobody waits who may have one,
        /// and in the end nothing is left.
        #[test]
        fn turns_are_kept_count_of(all in 1_usize..9, steps in proptest::collection::vec((0_u8..3, 0_usize..5), 1..200)) {
            let turns = Turns::of(all);
            let mut asking: Vec<Asking> = Vec::new();
            for (step, n) in steps {
                if step == 0 || asking.is_empty() {
                    asking.push(Asking::of(&turns, n));
                } else {
                    // Waiting or not, it goes away.
                    drop(asking.remove((n * 7 + usize::from(step)) % asking.len()));
                }
                asking = asking.into_iter().map(Asking::look).collect();
                let has = |n: usize| asking.iter().filter(|asking| asking.has(n)).count();
                let taken: usize = (0..5).map(has).sum();
                prop_assert_eq!(turns.taken(), taken);
                for n in asking.iter().filter_map(Asking::waits) {
                    prop_assert!(has(n) >= all - taken);
                }
            }
            asking.clear();
            prop_assert_eq!((turns.taken(), turns.servers()), (0, 0));
        }
    }
}
