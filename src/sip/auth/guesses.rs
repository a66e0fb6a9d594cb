//! Who guesses passwords, and is no longer listened to for a while (T-025).
//!
//! Where it stands on a message's way: a [`Realm`](super::Realm) asks here before it looks at
//! credentials, and tells what came of it. Failures are counted by where they come from: an address with
//! too many is banned. What is refused meanwhile does not prolong it.
//!
//! Many phones may share an address (a NAT). So whoever has proved who he is from an address is at home
//! there: for him and that address failures are counted apart, and those of others do not keep him out.
//!
//! Anybody may fail in somebody's name, so a user is never banned for it: guessing at one from many
//! addresses is slowed down. After so many failures about him in a window the rest of it has one look
//! for each network from which nobody has failed about him in it, and so for himself wherever he is.
//!
//! Addresses and users are kept as keyed hashes, in two generations, and never more than a bound.

use crate::sip::plan::Ban;
use crate::sip::time::Time;
use hashbrown::HashMap;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses, users, and pairs of them whose failures are known, in one generation.
const COUNTED: usize = 32_768;

/// Who is at home where, in one generation; nobody gets in without a password.
const HOMES: usize = 65_536;

/// How long one is at home without proving it again: a registration lasts for hours, a phone may be off
/// for a night.
const AT_HOME: Duration = Duration::from_secs(86_400);

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An address that anybody might have. Of IPv6 its /64 counts, which one customer has whole.
    Source(IpAddr),
    /// One that stands for many, and is never banned: a trunk's (T-026), or in `acl.never_ban`.
    Exempt,
}

/// What was found out here and holds on every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// This pair of address and user has proved itself.
    AtHome(u64),
    /// A password was wrong: every shard counts it, as requests of one source come to all of them.
    Failed(Failure),
    /// Too many failures: nothing of this address or of this pair is looked at until then, or little about this
    /// user.
    Banned {
        /// Which.
        what: u64,
        /// Until when.
        until: Time,
    },
}

/// A failure, by the hashes of what it is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where it came from, or the pair of it and the user who is at home there.
    place: u64,
    /// The user it was about, unless at home, and the pair of him and the network it came from.
    about: Option<(u64, u64)>,
    guess: u64,
}

/// An attempt by the hashes of what it may be counted under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// `None`: it is exempt, and counts nowhere.
    source: Option<u64>,
    user: u64,
    pair: u64,
    /// The user and the network of the source.
    network: u64,
    /// The guess itself: a retransmission is none of its own.
    guess: u64,
}

#[derive(Debug)]
pub(super) struct Guesses {
    key: [u8; 16],
    ban: Ban,
    failures: Recent<Failures>,
    at_home: Recent<()>,
    lessons: Vec<Lesson>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    since: Time,
    count: u32,
    /// The guess that failed last.
    last: u64,
    banned_until: Time,
}

impl Sender {
    /// Of which kind it is, and its address as far as that counts.
    pub(super) fn net(self) -> [u8; 9] {
        let (kind, bits) = match self {
            Sender::Exempt => (0, 0),
            Sender::Source(ip) => match ip.to_canonical() {
                IpAddr::V4(v4) => (4, u64::from(v4.to_bits())),
                IpAddr::V6(v6) => (6, (v6.to_bits() >> 64) as u64),
            },
        };
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        [kind, a, b, c, d, e, f, g, h]
    }

    /// The network it is in, of those that one owner has whole: a /24 of IPv4, a /48 of IPv6.
    fn network(self) -> [u8; 9] {
        let [kind, a, b, c, d, e, f, g, _] = self.net();
        match self {
            Sender::Source(ip) if ip.to_canonical().is_ipv4() => [kind, a, b, c, d, e, f, g, 0],
            Sender::Source(_) | Sender::Exempt => [kind, a, b, c, d, e, f, 0, 0],
        }
    }
}

impl Failures {
    fn ban_at(&mut self, threshold: u32, what: u64, until: Time) -> Option<Lesson> {
        if self.count < threshold {
            return None;
        }
        (self.count, self.banned_until) = (0, until);
        Some(Lesson::Banned { what, until })
    }
}

impl Guesses {
    /// `key` is the same on all shards.
    pub(super) fn new(key: [u8; 16], ban: Ban) -> Guesses {
        Guesses {
            key,
            failures: Recent::new(ban.window.max(ban.duration), COUNTED),
            ban,
            at_home: Recent::new(AT_HOME, HOMES),
            lessons: Vec::new(),
        }
    }

    pub(super) fn replan(&mut self, ban: Ban) {
        self.failures.lasts = ban.window.max(ban.duration);
        self.ban = ban;
    }

    /// An attempt at the password of `user`, who may exist or not (C-203).
    pub(super) fn attempt(&self, sender: Sender, user: &[u8], nonce: &[u8], response: &[u8]) -> Attempt {
        let net = sender.net();
        Attempt {
            source: (sender != Sender::Exempt).then(|| self.hash(1, &net, b"")),
            user: self.hash(2, b"", user),
            pair: self.hash(3, &net, user),
            network: self.hash(5, &sender.network(), user),
            guess: self.hash(4, nonce, response),
        }
    }

    /// Whether it is refused without a look.
    pub(super) fn banned(&mut self, now: Time, attempt: &Attempt) -> bool {
        self.at_home.turn(now);
        self.failures.turn(now);
        let banned = |what| self.failures.get(what).is_some_and(|failures| now < failures.banned_until);
        let Some(failure) = self.counted(attempt) else { return false };
        banned(failure.place)
            || failure.about.is_some_and(|(user, network)| {
                let failed = |failures: &Failures| now.since(failures.since) <= self.ban.window;
                banned(user) && self.failures.get(network).is_some_and(failed)
            })
    }

    /// It was wrong.
    pub(super) fn failed(&mut self, now: Time, attempt: &Attempt) {
        let Some(failure) = self.counted(attempt) else { return };
        if self.failures.get(failure.place).is_some_and(|failures| failures.last == failure.guess) {
            return;
        }
        self.lessons.push(Lesson::Failed(failure));
        let bans = self.count(now, failure);
        self.lessons.extend(bans.into_iter().flatten());
    }

    /// It was right.
    pub(super) fn proved(&mut self, now: Time, attempt: &Attempt) {
        let mistyped = self.failures.get(attempt.pair).is_some_and(|failures| failures.count > 0);
        if mistyped || !self.at_home.is_young(now, attempt.pair) {
            self.settle(now, attempt.pair);
            self.lessons.push(Lesson::AtHome(attempt.pair));
        }
    }

    /// What is new since the last call.
    pub(super) fn lessons(&mut self) -> Vec<Lesson> {
        std::mem::take(&mut self.lessons)
    }

    /// What another shard has found out.
    pub(super) fn learn(&mut self, now: Time, lesson: Lesson) {
        match lesson {
            Lesson::AtHome(pair) => self.settle(now, pair),
            // The shard that saw it tells of the ban.
            Lesson::Failed(failure) => _ = self.count(now, failure),
            Lesson::Banned { what, until } => self.failures.entry(now, what).banned_until = until,
        }
    }

    /// Under what it counts: who is at home answers for himself alone.
    fn counted(&self, attempt: &Attempt) -> Option<Failure> {
        let source = attempt.source?;
        let (place, about) = match self.at_home.get(attempt.pair) {
            Some(()) => (attempt.pair, None),
            None => (source, Some((attempt.user, attempt.network))),
        };
        Some(Failure { place, about, guess: attempt.guess })
    }

    /// Counts a failure; the bans that begin with it.
    fn count(&mut self, now: Time, failure: Failure) -> [Option<Lesson>; 2] {
        let Failure { place, about, guess } = failure;
        let ban = self.ban;
        let counted = self.one_more(now, place);
        counted.last = guess;
        let of_place = counted.ban_at(ban.threshold, place, now + ban.duration);
        let of_user = about.and_then(|(user, network)| {
            self.one_more(now, network);
            let counted = self.one_more(now, user);
            counted.ban_at(ban.threshold, user, counted.since + ban.window)
        });
        [of_place, of_user]
    }

    fn one_more(&mut self, now: Time, what: u64) -> &mut Failures {
        let window = self.ban.window;
        let failures = self.failures.entry(now, what);
        if failures.count == 0 || now.since(failures.since) > window {
            (failures.since, failures.count) = (now, 0);
        }
        failures.count = failures.count.saturating_add(1);
        failures
    }

    fn settle(&mut self, now: Time, pair: u64) {
        *self.at_home.entry(now, pair) = ();
        if let Some(failures) = self.failures.get_mut(pair) {
            failures.count = 0;
        }
    }

    fn hash(&self, kind: u8, first: &[u8], second: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(kind);
        hasher.write_usize(first.len());
        hasher.write(first);
        hasher.write(second);
        hasher.finish()
    }
}

/// What was touched lately: kept for one to two generations. One that is full ends early, so that who
/// fills it makes the oldest forgotten, and nothing grows.
#[derive(Debug)]
struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    /// When the young ones' time began.
    since: Time,
    lasts: Duration,
    most: usize,
}

impl<V: Copy + Default> Recent<V> {
    fn new(lasts: Duration, most: usize) -> Recent<V> {
        Recent { young: HashMap::new(), old: HashMap::new(), since: Time::default(), lasts, most }
    }

    fn get(&self, key: u64) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        match self.young.get_mut(&key) {
            Some(value) => Some(value),
            None => self.old.get_mut(&key),
        }
    }

    fn is_young(&mut self, now: Time, key: u64) -> bool {
        self.turn(now);
        self.young.contains_key(&key)
    }

    /// What is kept under a key, which is a young one from now on.
    fn entry(&mut self, now: Time, key: u64) -> &mut V {
        self.turn(now);
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.remove(&key);
        self.young.entry(key).or_insert(before.unwrap_or_default())
    }

    fn turn(&mut self, now: Time) {
        let age = now.since(self.since);
        if age > self.lasts {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
            if age > self.lasts * 2 {
                self.old.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests;
