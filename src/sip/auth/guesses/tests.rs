//! Guessing, as a realm sees it.

use super::*;
use crate::sip::auth::{Challenge, Heard, NonceCounts, Realm, Verdict, answer};
use crate::sip::plan::{Auth, Credentials, Secret};

const URI: &[u8] = b"sip:example.com";
const RIGHT: &str = "right";

/// What the addresses are called here: the NAT with the attacker behind it, and others.
const NAT: Sender = Sender::Source(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const HOTEL: Sender = Sender::Source(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)));

fn at(seconds: u64) -> Time {
    Time::from_millis(1_700_000_000_000 + seconds * 1_000)
}

fn from(n: u32) -> Sender {
    Sender::Source(std::net::Ipv4Addr::from(0xcb00_0000 + n).into())
}

struct World {
    realm: Realm,
    users: Vec<Credentials>,
    now: u64,
    /// Makes every guess another.
    guesses: u32,
}

impl World {
    /// Alice and Bob may register; 20 failures in 60 s end it for 300 s.
    fn new() -> World {
        let user = |name: &str| Credentials { user: name.into(), secret: Secret::Password(RIGHT.into()) };
        let users = vec![user("alice"), user("bob")];
        let realm = Realm::new("r", &Auth::default(), [1; 32], [2; 16], users.iter());
        World { realm, users, now: 0, guesses: 0 }
    }

    fn tries(&mut self, sender: Sender, user: &str, password: &str) -> &'static str {
        let challenge = self.realm.challenge(at(self.now), sender, None).remove(0);
        self.answers(sender, &challenge, user, password)
    }

    fn answers(&mut self, sender: Sender, challenge: &[u8], user: &str, password: &str) -> &'static str {
        self.judged(sender, challenge, user, password).0
    }

    /// The verdict, and what the next challenge is told of a nonce that is stale.
    fn judged(
        &mut self,
        sender: Sender,
        challenge: &[u8],
        user: &str,
        password: &str,
    ) -> (&'static str, Option<Heard>) {
        let challenges = [Challenge::parse(challenge, false).unwrap()];
        let who = Credentials { user: user.into(), secret: Secret::Password(password.into()) };
        let values =
            answer(&challenges, &who, b"REGISTER", URI, b"", 1, &mut NonceCounts::default()).unwrap();
        let users = &self.users;
        let lookup = |name: &str| users.iter().find(|user| *user.user == *name);
        let values = values.iter().map(|(_, value)| value.as_slice());
        match self.realm.check(at(self.now), sender, values, b"REGISTER", URI, lookup) {
            Verdict::Ok { .. } => ("ok", None),
            Verdict::Stale(heard) => ("stale", Some(heard)),
            Verdict::Refused => ("refused", None),
            Verdict::Banned => ("banned", None),
            Verdict::Missing => ("missing", None),
        }
    }

    fn guess(&mut self, sender: Sender, user: &str) -> &'static str {
        self.guesses += 1;
        self.tries(sender, user, &format!("wrong{}", self.guesses))
    }

    fn banned(&mut self) -> usize {
        self.realm.lessons().iter().filter(|lesson| matches!(lesson, Lesson::Banned { .. })).count()
    }
}

/// [T-025] [C-209] One address that tries many users gets twenty answers, and then none for five minutes; the
/// right password gets none either.
#[test]
fn one_address() {
    let mut world = World::new();
    for n in 0..20 {
        assert_eq!(world.banned(), 0);
        assert_eq!(world.guess(NAT, &format!("user{n}")), "refused");
    }
    assert_eq!(world.banned(), 1);
    for second in 0..300 {
        world.now = second;
        assert_eq!(world.tries(NAT, "alice", RIGHT), "banned", "{second}");
    }
    // What was refused has not prolonged it.
    world.now = 300;
    assert_eq!(world.tries(NAT, "alice", RIGHT), "ok");
    assert_eq!(world.guess(NAT, "user1"), "refused");
    assert_eq!(world.tries(HOTEL, "bob", RIGHT), "ok");
}

/// [T-025] Who fails now and then, as a phone with an old password does, is never banned.
#[test]
fn slowly() {
    let mut world = World::new();
    for n in 0..200 {
        world.now = n * 4;
        assert_eq!(world.guess(NAT, "alice"), "refused");
    }
    assert_eq!(world.banned(), 0);
}

/// [T-025] [C-209] Many addresses that try one user are slowed down; he himself is not kept out by them, and
/// other users feel nothing of it.
#[test]
fn many_addresses() {
    let mut world = World::new();
    for n in 0..20 {
        assert_eq!(world.guess(from(n), "alice"), "refused");
    }
    assert_eq!(world.guess(from(100), "alice"), "banned");
    assert_eq!(world.tries(HOTEL, "alice", RIGHT), "ok");
    assert_eq!(world.tries(HOTEL, "bob", RIGHT), "ok");
    assert_eq!(world.tries(from(1), "bob", RIGHT), "ok");
}

/// [T-025] A user who is guessed at for ever from many networks, in which nobody has been before, comes in from
/// wherever he is, at once; each network has one look in a minute.
#[test]
fn a_user_is_not_locked_out() {
    let mut world = World::new();
    let mut looks = 0;
    for n in 0..3_000u32 {
        world.now = u64::from(n / 10);
        // Twenty networks of five addresses each.
        let attacker = from((n % 20) * 256 + n / 20 % 5);
        looks += u32::from(world.guess(attacker, "alice") == "refused");
    }
    assert!((100..=300).contains(&looks), "{looks} in five minutes");
    assert_eq!(world.tries(HOTEL, "alice", RIGHT), "ok");
    // Who shares a network with one that guesses waits for the next minute, not for five.
    let neighbour = from(200);
    assert_eq!(world.tries(neighbour, "alice", RIGHT), "banned");
    world.now += 61;
    assert_eq!(world.tries(neighbour, "alice", RIGHT), "ok");
}

/// [T-025] Who is at home at an address stays in, whatever others do there or in his name; who is new there
/// waits until it is over, and is not locked out for ever.
#[test]
fn behind_a_nat() {
    let mut world = World::new();
    assert_eq!(world.tries(NAT, "alice", RIGHT), "ok");
    for n in 0..25 {
        world.guess(NAT, &format!("user{n}"));
        world.guess(from(n), "alice");
    }
    assert_eq!(world.tries(NAT, "alice", RIGHT), "ok");
    assert_eq!(world.tries(HOTEL, "alice", RIGHT), "ok");
    assert_eq!(world.tries(NAT, "bob", RIGHT), "banned");
    world.now = 301;
    assert_eq!(world.tries(NAT, "bob", RIGHT), "ok");
    // A night later, too, unless it lasts for more than a day or two.
    world.now += 80_000;
    for n in 0..25 {
        world.guess(NAT, &format!("user{n}"));
    }
    assert_eq!(world.tries(NAT, "bob", RIGHT), "ok");
    world.now += 200_000;
    for n in 0..25 {
        world.guess(NAT, &format!("user{n}"));
    }
    assert_eq!(world.tries(NAT, "bob", RIGHT), "banned");
}

/// [T-025] At home one may not guess either, but it is one's own affair.
#[test]
fn at_home() {
    let mut world = World::new();
    for user in ["alice", "bob"] {
        assert_eq!(world.tries(NAT, user, RIGHT), "ok");
    }
    for _ in 0..20 {
        assert_eq!(world.guess(NAT, "alice"), "refused");
    }
    assert_eq!(world.tries(NAT, "alice", RIGHT), "banned");
    assert_eq!(world.tries(HOTEL, "alice", RIGHT), "ok");
    assert_eq!(world.tries(NAT, "bob", RIGHT), "ok");
    world.now = 300;
    assert_eq!(world.tries(NAT, "alice", RIGHT), "ok");
    // The right password makes what was mistyped forgotten.
    for _ in 0..10 {
        for _ in 0..19 {
            assert_eq!(world.guess(NAT, "alice"), "refused");
        }
        assert_eq!(world.tries(NAT, "alice", RIGHT), "ok");
    }
}

/// [C-203] Users who exist and users who do not are banned after the same failures.
#[test]
fn nobody_learns_who_exists() {
    let seen = |user: &str| {
        let mut world = World::new();
        (0..50).map(|n| world.guess(from(n % 30), user)).collect::<Vec<_>>()
    };
    let known = seen("alice");
    assert_eq!(known, seen("mallory"));
    assert_eq!(known.iter().filter(|verdict| **verdict == "banned").count(), 30);
}

/// [T-025] A guess that is sent again, as over UDP everything is, counts once.
#[test]
fn the_same_guess() {
    let mut world = World::new();
    let challenge = world.realm.challenge(at(0), NAT, None).remove(0);
    for _ in 0..100 {
        assert_eq!(world.answers(NAT, &challenge, "alice", "wrong"), "refused");
    }
    assert_eq!(world.banned(), 0);
}

/// [T-026] An address that stands for many is not banned, whoever was tried from it or from elsewhere, and
/// nobody else is for what comes from it.
#[test]
fn exempt() {
    let mut world = World::new();
    assert_eq!(world.tries(Sender::Exempt, "bob", RIGHT), "ok");
    for n in 0..200 {
        assert_eq!(world.guess(Sender::Exempt, &format!("user{n}")), "refused");
    }
    for n in 0..100 {
        assert_eq!(world.guess(Sender::Exempt, "alice"), "refused");
        assert_eq!(world.guess(Sender::Exempt, "bob"), "refused");
        world.guess(from(n), "bob");
    }
    for user in ["alice", "bob"] {
        assert_eq!(world.tries(Sender::Exempt, user, RIGHT), "ok");
    }
    assert_eq!(world.tries(HOTEL, "alice", RIGHT), "ok");
}

/// [T-025] [C-198] Nobody is banned by what others send in his name: a nonce serves where it was heard.
#[test]
fn a_forged_source() {
    let mut world = World::new();
    for n in 0..100 {
        let challenge = world.realm.challenge(at(0), HOTEL, None).remove(0);
        assert_eq!(world.answers(NAT, &challenge, "alice", &format!("wrong{n}")), "stale");
        let made_up = b"Digest realm=\"r\", nonce=\"made-up\", algorithm=SHA-256, qop=\"auth\"";
        assert_eq!(world.answers(NAT, made_up, "alice", &format!("wrong{n}")), "stale");
    }
    assert_eq!(world.banned(), 0);
    assert_eq!(world.tries(NAT, "alice", RIGHT), "ok");
}

/// A client that sends as long as it is challenged, by one address and the next in turn; what became of each.
fn in_turn(world: &mut World, addresses: &[Sender], user: &str, password: &str) -> Vec<&'static str> {
    let mut challenge = world.realm.challenge(at(world.now), addresses[0], None).remove(0);
    let mut verdicts = Vec::new();
    for &sender in addresses.iter().cycle().skip(1).take(9) {
        let (verdict, heard) = world.judged(sender, &challenge, user, password);
        verdicts.push(verdict);
        if verdict != "stale" {
            break;
        }
        challenge = world.realm.challenge(at(world.now), sender, heard).remove(0);
        assert!(String::from_utf8_lossy(&challenge).contains(", stale=true"));
    }
    verdicts
}

/// [C-197] [C-198] A client whose requests leave by one address and another in turn gets in, though a nonce serves
/// only where it was heard: each address is asked once.
#[test]
fn two_ways_out() {
    let addresses = [NAT, HOTEL, from(1), from(2)];
    for (ways, stale) in [(1, 0), (2, 1), (3, 2)] {
        let verdicts = in_turn(&mut World::new(), &addresses[..ways], "alice", RIGHT);
        assert_eq!(verdicts.len(), stale + 1, "{ways}");
        assert_eq!(verdicts.last(), Some(&"ok"), "{ways}");
    }
    // Four are too many, and cost no more than challenges.
    assert_eq!(in_turn(&mut World::new(), &addresses, "alice", RIGHT), ["stale"; 9]);
}

/// [T-025] Several addresses are no way to guess more: what is wrong counts where it comes from.
#[test]
fn guessing_by_two_ways() {
    let mut world = World::new();
    let mut looks = 0;
    for n in 0..60 {
        // One fails at the NAT, the other at the hotel.
        let ways = if n % 2 == 0 { [NAT, HOTEL] } else { [HOTEL, NAT] };
        let verdicts = in_turn(&mut world, &ways, &format!("user{n}"), &format!("wrong{n}"));
        looks += verdicts.iter().filter(|verdict| **verdict == "refused").count();
    }
    assert_eq!((looks, world.banned()), (40, 2));
    assert_eq!(world.tries(from(1), "alice", RIGHT), "ok");
}

/// [T-025] [C-198] What was heard elsewhere long ago serves nobody who comes from there now: addresses change
/// hands. Nor do credentials serve twice because they are sent from somewhere else.
#[test]
fn heard_long_ago() {
    let mut world = World::new();
    let old = world.realm.challenge(at(0), NAT, None).remove(0);
    world.now = 301;
    let (verdict, heard) = world.judged(HOTEL, &old, "alice", RIGHT);
    assert_eq!(verdict, "stale");
    let new = world.realm.challenge(at(301), HOTEL, heard).remove(0);
    assert_eq!(world.answers(NAT, &new, "alice", RIGHT), "stale");
    assert_eq!(world.answers(HOTEL, &new, "alice", RIGHT), "ok");
    for again in [HOTEL, NAT] {
        assert_eq!(world.answers(again, &new, "alice", RIGHT), "stale");
    }
}

/// [T-025] [C-198] Where a challenge was heard, what came of it serves for five minutes: carrying it on from one
/// address to the next, as he may who has overheard it, makes that no longer.
#[test]
fn carried_on() {
    for (seconds, sender, verdict) in
        [(300, HOTEL, "ok"), (301, HOTEL, "stale"), (550, NAT, "ok"), (551, NAT, "stale")]
    {
        let mut world = World::new();
        let mut challenge = world.realm.challenge(at(0), HOTEL, None).remove(0);
        for (now, sender) in [(200, from(1)), (250, NAT)] {
            world.now = now;
            let (verdict, heard) = world.judged(sender, &challenge, "alice", RIGHT);
            assert_eq!(verdict, "stale");
            challenge = world.realm.challenge(at(now), sender, heard).remove(0);
        }
        world.now = seconds;
        let (judged, heard) = world.judged(sender, &challenge, "alice", RIGHT);
        assert_eq!(judged, verdict, "{seconds}");
        if judged == "stale" {
            // Who is there himself is asked once more.
            let again = world.realm.challenge(at(seconds), sender, heard).remove(0);
            assert_eq!(world.answers(sender, &again, "alice", RIGHT), "ok");
        }
    }
    let mut world = World::new();
    let mut challenge = world.realm.challenge(at(0), HOTEL, None).remove(0);
    for (now, sender) in [(299, NAT), (598, from(1)), (897, NAT)] {
        world.now = now;
        let (verdict, heard) = world.judged(sender, &challenge, "alice", RIGHT);
        assert_eq!(verdict, "stale", "{now}");
        challenge = world.realm.challenge(at(now), sender, heard).remove(0);
        if now > 300 {
            assert_eq!(world.answers(HOTEL, &challenge, "alice", RIGHT), "stale", "{now}");
        }
    }
}

/// [T-025] One customer has a /64 of IPv6 whole; and an IPv4 address is the same however it is written.
#[test]
fn addresses() {
    let net = |text: &str| Sender::Source(text.parse().unwrap()).net();
    assert_eq!(net("2001:db8:1:2::3"), net("2001:db8:1:2:ffff::9"));
    assert_ne!(net("2001:db8:1:2::3"), net("2001:db8:1:3::3"));
    assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
    assert_ne!(net("192.0.2.2"), net("192.0.2.1"));
    assert_ne!(net("::"), Sender::Exempt.net());
}

/// [C-210] [T-025] However many guess, what is kept of them is bounded.
#[test]
fn memory_is_bounded() {
    let mut guesses = Guesses::new([0; 16], Ban::default());
    for n in 0..100_000u32 {
        let attempt = guesses.attempt(from(n), &n.to_be_bytes(), b"", &n.to_be_bytes());
        guesses.failed(at(0), &attempt);
        guesses.proved(at(0), &attempt);
    }
    let sizes = |young: usize, old: usize| (young, old);
    let failures = sizes(guesses.failures.young.len(), guesses.failures.old.len());
    assert!(failures.0 <= COUNTED && failures.1 <= COUNTED, "{failures:?}");
    let homes = sizes(guesses.at_home.young.len(), guesses.at_home.old.len());
    assert!(homes.0 <= HOMES && homes.1 <= HOMES, "{homes:?}");
}

/// [T-025] What one shard finds out the others know, as addresses and users come to all of them.
#[test]
fn shards_learn_from_each_other() {
    let (mut here, mut there) = (World::new(), World::new());
    assert_eq!(here.tries(NAT, "alice", RIGHT), "ok");
    assert_eq!(here.tries(NAT, "alice", RIGHT), "ok");
    for n in 0..20 {
        here.guess(NAT, &format!("user{n}"));
    }
    let lessons = here.realm.lessons();
    let failed = lessons.iter().filter(|lesson| matches!(lesson, Lesson::Failed(_))).count();
    assert_eq!((failed, lessons.len()), (20, 22), "each once: {lessons:?}");
    for lesson in lessons {
        there.realm.learn(at(0), lesson);
    }
    assert_eq!(there.tries(NAT, "bob", RIGHT), "banned");
    assert_eq!(there.tries(NAT, "alice", RIGHT), "ok");
    assert!(there.realm.lessons().is_empty(), "it was known");
}

/// [T-025] Who spreads his guesses over the shards, which every Call-ID of his does, gets no more of them.
#[test]
fn spread_over_the_shards() {
    let mut shards = [World::new(), World::new(), World::new()];
    let (mut looks, mut bans) = (0, 0);
    for n in 0..60 {
        let here = n % 3;
        shards[here].guesses = n as u32;
        looks += u32::from(shards[here].guess(NAT, &format!("user{n}")) == "refused");
        for lesson in shards[here].realm.lessons() {
            bans += u32::from(matches!(lesson, Lesson::Banned { .. }));
            for there in (0..3).filter(|&there| there != here) {
                shards[there].realm.learn(at(0), lesson);
            }
        }
    }
    assert_eq!((looks, bans), (20, 1));
    // What was mistyped at home is forgotten on all of them, too.
    let mut shards = [World::new(), World::new()];
    for n in 0..100 {
        let right = n % 10 == 0;
        let verdict =
            if right { shards[0].tries(HOTEL, "bob", RIGHT) } else { shards[0].guess(HOTEL, "bob") };
        assert_eq!(verdict, if right { "ok" } else { "refused" });
        for lesson in shards[0].realm.lessons() {
            shards[1].realm.learn(at(0), lesson);
        }
        let there = shards[1].realm.challenge(at(0), HOTEL, None).remove(0);
        assert_eq!(shards[1].answers(HOTEL, &there, "bob", RIGHT), "ok");
    }
}
