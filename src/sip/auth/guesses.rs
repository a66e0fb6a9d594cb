//! Who guesses passwords, and is no longer listened to for a while (T-025).
//!
//! Where it stands on a message's way: a [`Realm`](super::Realm) asks here before it looks at
//! credentials, and tells what came of it. Failures are counted by where they come from and by whom
//! they are about, so that neither one address trying many users nor many addresses trying one get far.
//!
//! Many phones may share an address (a NAT), and anybody may fail in somebody's name. So whoever has
//! proved who he is from an address is at home there: for him and that address failures are counted
//! apart, and those of others do not keep him out. Whoever is not waits until the time is over;
//! what is refused meanwhile does not prolong it.
//!
//! Addresses and users are kept as keyed hashes, in two generations, and never more than a bound.

use crate::sip::plan::Ban;
use crate::sip::time::Time;
use hashbrown::HashMap;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses, users and pairs of them whose failures are known, in one generation.
const COUNTED: usize = 16_384;

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
    /// Too many failures: nothing of this address, about this user, or of this pair is looked at until then.
    Banned {
        /// Which.
        what: u64,
        /// Until when.
        until: Time,
    },
}

/// An attempt by the hashes of what it is counted under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    source: Option<u64>,
    user: u64,
    pair: u64,
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
            guess: self.hash(4, nonce, response),
        }
    }

    /// Whether it is refused without a look.
    pub(super) fn banned(&mut self, now: Time, attempt: &Attempt) -> bool {
        self.at_home.turn(now);
        self.failures.turn(now);
        let banned = |what| self.failures.get(what).is_some_and(|failures| now < failures.banned_until);
        self.counted(attempt).into_iter().flatten().any(banned)
    }

    /// It was wrong.
    pub(super) fn failed(&mut self, now: Time, attempt: &Attempt) {
        for what in self.counted(attempt).into_iter().flatten() {
            let failures = self.failures.entry(now, what);
            if failures.last == attempt.guess {
                continue;
            }
            if failures.count == 0 || now.since(failures.since) > self.ban.window {
                (failures.since, failures.count) = (now, 0);
            }
            failures.last = attempt.guess;
            failures.count += 1;
            if failures.count >= self.ban.threshold {
                let until = now + self.ban.duration;
                (failures.count, failures.banned_until) = (0, until);
                self.lessons.push(Lesson::Banned { what, until });
            }
        }
    }

    /// It was right.
    pub(super) fn proved(&mut self, now: Time, attempt: &Attempt) {
        if !self.at_home.is_young(now, attempt.pair) {
            self.at_home.entry(now, attempt.pair);
            self.lessons.push(Lesson::AtHome(attempt.pair));
        }
        if let Some(failures) = self.failures.get_mut(attempt.pair) {
            failures.count = 0;
        }
    }

    /// What is new since the last call.
    pub(super) fn lessons(&mut self) -> Vec<Lesson> {
        std::mem::take(&mut self.lessons)
    }

    /// What another shard has found out.
    pub(super) fn learn(&mut self, now: Time, lesson: Lesson) {
        match lesson {
            Lesson::AtHome(pair) => *self.at_home.entry(now, pair) = (),
            Lesson::Banned { what, until } => self.failures.entry(now, what).banned_until = until,
        }
    }

    /// Under what it counts: who is at home answers for himself alone.
    fn counted(&self, attempt: &Attempt) -> [Option<u64>; 2] {
        match self.at_home.get(attempt.pair) {
            Some(()) => [Some(attempt.pair), None],
            None => [attempt.source, Some(attempt.user)],
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
