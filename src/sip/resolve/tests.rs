//! The order of RFC 3263, with DNS played by a table.

use super::*;
use std::collections::BTreeMap;

const HOUR: Duration = Duration::from_secs(3_600);

/// A DNS that answers from a table, and remembers what it was asked.
#[derive(Default)]
struct Dns {
    records: BTreeMap<(&'static str, &'static str), Records>,
    down: bool,
    asked: Vec<(QueryKind, String)>,
}

impl Dns {
    fn new() -> Dns {
        Dns::default()
    }

    fn naptr(mut self, name: &'static str, list: &[(u16, u16, &str, &str)]) -> Dns {
        let list = list.iter().map(|&(order, preference, service, replacement)| Naptr {
            order,
            preference,
            flags: "s".into(),
            service: service.into(),
            replacement: replacement.into(),
        });
        self.records.insert(("Naptr", name), Records::Naptr(list.collect()));
        self
    }

    fn srv(mut self, name: &'static str, list: &[(u16, u16, u16, &str)]) -> Dns {
        let list = list.iter().map(|&(priority, weight, port, target)| Srv {
            priority,
            weight,
            port,
            target: target.into(),
        });
        self.records.insert(("Srv", name), Records::Srv(list.collect()));
        self
    }

    fn host(mut self, name: &'static str, list: &[&str]) -> Dns {
        let list = list.iter().map(|ip| ip.parse().unwrap()).collect();
        self.records.insert(("Address", name), Records::Address(list));
        self
    }

    fn answer(&mut self, query: &Query) -> Answer {
        self.asked.push((query.kind, query.name.to_string()));
        let kind = format!("{:?}", query.kind);
        let found = self.records.iter().find(|((k, n), _)| *k == kind && **n == *query.name);
        let outcome = match found {
            _ if self.down => Outcome::Failed,
            Some((_, records)) => Outcome::Found(records.clone()),
            None => Outcome::Absent,
        };
        Answer { outcome, ttl: Duration::from_secs(60) }
    }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(1_000_000 + seconds * 1_000)
}

fn hop(uri: &str) -> Hop<'_> {
    let (scheme, rest) = uri.split_once(':').unwrap();
    let (address, transport) = match rest.split_once(";transport=") {
        None => (rest, None),
        Some((address, transport)) => (address, Transport::from_token(transport.as_bytes())),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (address, None),
    };
    Hop { host: host.as_bytes(), port, transport, secure: scheme == "sips" }
}

/// Locates with DNS at hand: asks until there is an answer.
fn locate(resolver: &mut Resolver, dns: &mut Dns, now: Time, uri: &str, random: u64) -> Vec<String> {
    for _ in 0..10 {
        let mut queries = Vec::new();
        match resolver.locate(now, &hop(uri), random, &mut queries) {
            Located::Ready(list) => {
                assert!(queries.is_empty() || dns.down, "{queries:?}");
                return list.iter().map(|(t, a)| format!("{} {a}", t.param())).collect();
            }
            Located::Failed => return Vec::new(),
            Located::Wait => {
                assert!(!queries.is_empty(), "somebody must be asked");
                for query in queries {
                    let answer = dns.answer(&query);
                    resolver.answer(now, query, answer);
                }
            }
        }
    }
    panic!("no end: {:?}", dns.asked);
}

fn once(dns: &mut Dns, uri: &str) -> Vec<String> {
    locate(&mut Resolver::new(Offer::ALL, HOUR), dns, at(0), uri, 1)
}

/// [C-120] Addresses are used as they are, and nobody is asked.
#[test]
fn addresses_are_not_asked_about() {
    let mut dns = Dns::new();
    for (uri, expected) in [
        ("sip:192.0.2.1", "udp 192.0.2.1:5060"),
        ("sip:192.0.2.1:5070", "udp 192.0.2.1:5070"),
        ("sip:192.0.2.1;transport=tcp", "tcp 192.0.2.1:5060"),
        ("sip:192.0.2.1;transport=tls", "tls 192.0.2.1:5061"),
        ("sip:2001:db8::1", "udp [2001:db8::1]:5060"),
        ("sip:[2001:db8::1]", "udp [2001:db8::1]:5060"),
        ("sips:192.0.2.1", "tls 192.0.2.1:5061"),
        ("sips:192.0.2.1:5070", "tls 192.0.2.1:5070"),
    ] {
        assert_eq!(once(&mut dns, uri), [expected], "{uri}");
    }
    assert!(dns.asked.is_empty());
}

/// [C-120] NAPTR, then SRV, then addresses, when a name has neither port nor transport.
#[test]
fn a_bare_name_goes_through_all_three() {
    let mut dns = Dns::new()
        .naptr(
            "example.com",
            &[
                (90, 50, "SIP+D2T", "_sip._tcp.example.com"),
                (100, 50, "SIP+D2U", "_sip._udp.example.com"),
                (10, 1, "SIP+D2S", "_sip._sctp.example.com"),
                (10, 2, "SIPS+D2U", "_sips._udp.example.com"),
            ],
        )
        .srv("_sip._tcp.example.com", &[(0, 1, 5070, "one.example.com"), (1, 1, 5060, "two.example.com")])
        .host("one.example.com", &["192.0.2.1", "192.0.2.2"])
        .host("two.example.com", &["192.0.2.3"]);
    assert_eq!(
        once(&mut dns, "sip:Example.COM."),
        ["tcp 192.0.2.1:5070", "tcp 192.0.2.2:5070", "tcp 192.0.2.3:5060"]
    );
    let kinds: Vec<QueryKind> = dns.asked.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [QueryKind::Naptr, QueryKind::Srv, QueryKind::Address, QueryKind::Address]);
}

/// [C-120] A port makes SRV and NAPTR superfluous; a transport makes NAPTR so.
#[test]
fn ports_and_transports_shorten_the_way() {
    let dns = || {
        Dns::new()
            .naptr("example.com", &[(1, 1, "SIP+D2T", "_sip._tcp.example.com")])
            .srv("_sip._tcp.example.com", &[(0, 0, 5099, "host.example.com")])
            .srv("_sips._tcp.example.com", &[(0, 0, 5098, "host.example.com")])
            .host("host.example.com", &["192.0.2.1"])
            .host("example.com", &["192.0.2.9"])
    };
    for (uri, expected, questions) in [
        ("sip:example.com:5060", "udp 192.0.2.9:5060", 1),
        ("sip:example.com:5060;transport=tcp", "tcp 192.0.2.9:5060", 1),
        ("sip:example.com;transport=tcp", "tcp 192.0.2.1:5099", 2),
        ("sip:example.com;transport=tls", "tls 192.0.2.1:5098", 2),
        ("sips:example.com;transport=tcp", "tls 192.0.2.1:5098", 2),
        ("sip:example.com;transport=udp", "udp 192.0.2.9:5060", 2),
    ] {
        let mut dns = dns();
        assert_eq!(once(&mut dns, uri), [expected], "{uri}");
        assert_eq!(dns.asked.len(), questions, "{uri}: {:?}", dns.asked);
    }
}

/// [C-120] Without NAPTR the transports' SRV records are asked for, and then the name itself.
#[test]
fn without_naptr_srv_decides() {
    let mut dns = Dns::new()
        .srv("_sip._tcp.example.com", &[(0, 0, 5070, "host.example.com")])
        .host("host.example.com", &["192.0.2.1"]);
    assert_eq!(once(&mut dns, "sip:example.com"), ["tcp 192.0.2.1:5070"]);
    let mut dns = Dns::new().host("example.com", &["192.0.2.9"]);
    assert_eq!(once(&mut dns, "sip:example.com"), ["udp 192.0.2.9:5060"]);
    assert_eq!(once(&mut dns, "sips:example.com"), ["tls 192.0.2.9:5061"]);
}

/// [C-124] sips takes nothing but TLS, and NAPTR records without it are passed over.
#[test]
fn sips_never_leaves_tls() {
    let mut dns = Dns::new()
        .naptr(
            "example.com",
            &[(1, 1, "SIP+D2U", "_sip._udp.example.com"), (2, 1, "SIPS+D2T", "_sips._tcp.example.com")],
        )
        .srv("_sips._tcp.example.com", &[(0, 0, 5061, "host.example.com")])
        .host("host.example.com", &["192.0.2.1"]);
    assert_eq!(once(&mut dns, "sips:example.com"), ["tls 192.0.2.1:5061"]);
    // [C-060] UDP for sips is no choice.
    assert!(once(&mut Dns::new(), "sips:192.0.2.1;transport=udp").is_empty());
}

/// A record for a transport or family that no listener has is passed over (RFC 3263 §4.1).
#[test]
fn what_cannot_be_used_is_passed_over() {
    let listener = Listener {
        name: "lan".into(),
        transport: Transport::Udp,
        bind: "127.0.0.1:5060".parse().unwrap(),
        host: "127.0.0.1".into(),
        port: 5060,
        tls_profiles: Vec::new(),
    };
    let mut dns = Dns::new()
        .naptr(
            "example.com",
            &[(1, 1, "SIPS+D2T", "_sips._tcp.example.com"), (2, 1, "SIP+D2U", "_sip._udp.example.com")],
        )
        .srv("_sip._udp.example.com", &[(0, 0, 5060, "host.example.com")])
        .host("host.example.com", &["2001:db8::1", "192.0.2.1"]);
    let mut resolver = Resolver::new(Offer::new(&[listener]), HOUR);
    let found = locate(&mut resolver, &mut dns, at(0), "sip:example.com", 1);
    assert_eq!(found, ["udp 192.0.2.1:5060"]);
}

/// [C-062] Browsers name themselves by hosts that exist nowhere: nobody is asked about them.
#[test]
fn nobody_is_asked_about_invalid_hosts() {
    let mut resolver = Resolver::new(Offer::ALL, HOUR);
    for host in ["df7jal23ls0d.invalid", "A.INVALID.", "invalid"] {
        for transport in [None, Some(Transport::Ws), Some(Transport::Udp)] {
            let hop = Hop { host: host.as_bytes(), port: None, transport, secure: false };
            let mut queries = Vec::new();
            assert_eq!(resolver.locate(at(0), &hop, 1, &mut queries), Located::Failed, "{host}");
            assert!(queries.is_empty(), "{host}: {queries:?}");
        }
    }
}

/// [C-121] Priority decides first; within a priority, weight decides the share of first places.
#[test]
fn srv_priority_and_weight() {
    let mut dns = Dns::new()
        .srv(
            "_sip._udp.example.com",
            &[
                (20, 100, 5060, "last.example.com"),
                (10, 30, 5060, "a.example.com"),
                (10, 10, 5060, "b.example.com"),
                (10, 0, 5060, "c.example.com"),
            ],
        )
        .host("a.example.com", &["192.0.2.1"])
        .host("b.example.com", &["192.0.2.2"])
        .host("c.example.com", &["192.0.2.3"])
        .host("last.example.com", &["192.0.2.9"]);
    let mut resolver = Resolver::new(Offer::ALL, HOUR);
    let mut first: BTreeMap<String, u32> = BTreeMap::new();
    for random in 0..4_000_u64 {
        let seed = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let found = locate(&mut resolver, &mut dns, at(0), "sip:example.com;transport=udp", seed);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], "udp 192.0.2.9:5060");
        *first.entry(found[0].clone()).or_default() += 1;
    }
    let share = |ip: &str| first.get(&format!("udp {ip}:5060")).copied().unwrap_or(0);
    assert!((2_700..3_200).contains(&share("192.0.2.1")), "{first:?}");
    assert!((850..1_150).contains(&share("192.0.2.2")), "{first:?}");
    // Weight 0 has a chance, but a small one.
    assert!((1..250).contains(&share("192.0.2.3")), "{first:?}");
}

/// A target of "." says that there is no such service (RFC 2782).
#[test]
fn a_dot_means_no_service() {
    let mut dns = Dns::new().srv("_sip._udp.example.com", &[(0, 0, 0, ".")]);
    assert!(once(&mut dns, "sip:example.com;transport=udp").is_empty());
}

/// [C-121] An answer serves for its time to live and is asked for again afterwards; several
/// requests at once ask once.
#[test]
fn answers_are_cached_by_their_time_to_live() {
    let mut dns = Dns::new().host("example.com", &["192.0.2.1"]);
    let mut resolver = Resolver::new(Offer::ALL, HOUR);
    let uri = "sip:example.com:5060";
    let mut queries = Vec::new();
    for _ in 0..3 {
        assert_eq!(resolver.locate(at(0), &hop(uri), 1, &mut queries), Located::Wait);
    }
    assert_eq!(queries.len(), 1);
    // A question that got lost is asked again, after a while.
    assert_eq!(resolver.locate(at(11), &hop(uri), 1, &mut queries), Located::Wait);
    assert_eq!(queries.len(), 2);
    let query = queries.remove(0);
    let answer = dns.answer(&query);
    resolver.answer(at(11), query, answer);
    assert_eq!(dns.asked.len(), 1);
    locate(&mut resolver, &mut dns, at(70), uri, 1);
    assert_eq!(dns.asked.len(), 1);
    locate(&mut resolver, &mut dns, at(72), uri, 1);
    assert_eq!(dns.asked.len(), 2);
}

/// [C-127] When DNS fails, what was known serves on for an hour, without waiting, and not longer.
#[test]
fn stale_answers_serve_when_dns_fails() {
    let mut dns = Dns::new().host("example.com", &["192.0.2.1"]);
    let mut resolver = Resolver::new(Offer::ALL, HOUR);
    let uri = "sip:example.com:5060";
    let good = locate(&mut resolver, &mut dns, at(0), uri, 1);
    dns.down = true;
    assert_eq!(locate(&mut resolver, &mut dns, at(61), uri, 1), good);
    // The next question waits for nobody: it is asked beside the old answer.
    let mut queries = Vec::new();
    assert!(matches!(resolver.locate(at(100), &hop(uri), 1, &mut queries), Located::Ready(_)));
    assert_eq!(queries.len(), 1);
    let late = locate(&mut resolver, &mut dns, at(60 + 3_600 + 1), uri, 1);
    assert!(late.is_empty(), "{late:?}");
    // A name never known fails at once, and is asked about again soon.
    assert!(locate(&mut resolver, &mut dns, at(0), "sip:other.example:5060", 1).is_empty());
    dns.down = false;
    assert_eq!(locate(&mut resolver, &mut dns, at(60 + 3_600 + 20), uri, 1), good);
}

/// [C-128] The families take turns.
#[test]
fn families_take_turns() {
    let mut dns = Dns::new().host("example.com", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(
        once(&mut dns, "sip:example.com:5060"),
        ["udp [2001:db8::1]:5060", "udp 192.0.2.1:5060", "udp 192.0.2.2:5060"]
    );
}

/// [C-218] The cache is bounded, and a flood of names does not stop it from working.
#[test]
fn the_cache_is_bounded() {
    let mut dns = Dns::new().host("example.com", &["192.0.2.1"]);
    let mut resolver = Resolver::new(Offer::ALL, HOUR);
    for n in 0..40_000 {
        let uri = format!("sip:host-{n}.example:5060");
        resolver.locate(at(0), &hop(&uri), 1, &mut Vec::new());
    }
    assert!(resolver.cache.len() <= 16_384);
    assert_eq!(locate(&mut resolver, &mut dns, at(1), "sip:example.com:5060", 1).len(), 1);
}

/// What can be no name is not asked about.
#[test]
fn impossible_names_fail_at_once() {
    let long = format!("sip:{}", "a.".repeat(130));
    for uri in ["sip:", "sip:a b", "sip:%41", "sip:caf\u{e9}", &long] {
        let mut queries = Vec::new();
        assert_eq!(
            Resolver::new(Offer::ALL, HOUR).locate(at(0), &hop(uri), 1, &mut queries),
            Located::Failed,
            "{uri}"
        );
        assert!(queries.is_empty());
    }
}
