//! DNS: what shards ask, a name server on loopback answers.

use crate::echo::{PATIENCE, Server, message, server};
use baton::io::{Clock, DnsOptions};
use baton::shard::Input;
use baton::sip::flow::Transport;
use baton::sip::resolve::{Answer, Naptr, Outcome, Records, Srv};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

const UDP: &[(Transport, &str)] = &[(Transport::Udp, "127.0.0.1:0")];
const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// A name server that knows `example.test`, is silent about `silent.test` and broken at `broken.test`; about
/// `held.test`, which is broken too, it says so only when it is told to.
struct NameServer {
    addr: SocketAddr,
    held: Arc<Held>,
}

/// What was asked about `held.test`.
struct Held {
    socket: UdpSocket,
    count: AtomicUsize,
    /// Answers that wait, and to whom they go; `None` when they wait no longer.
    waiting: Mutex<Option<Vec<Waiting>>>,
}

type Waiting = (Vec<u8>, SocketAddr);

impl NameServer {
    fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let held = Arc::new(Held {
            socket: socket.try_clone().unwrap(),
            count: AtomicUsize::new(0),
            waiting: Mutex::new(Some(Vec::new())),
        });
        let holding = Arc::clone(&held);
        std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while let Ok((n, peer)) = socket.recv_from(&mut buffer) {
                let (name, answer) = reply(&buffer[..n]);
                let Some(answer) = answer else { continue };
                if name == "held.test" {
                    holding.count.fetch_add(1, Ordering::Relaxed);
                    if let Some(waiting) = &mut *holding.waiting.lock().unwrap() {
                        waiting.push((answer, peer));
                        continue;
                    }
                }
                let _ = socket.send_to(&answer, peer);
            }
        });
        NameServer { addr, held }
    }

    /// From now on, `held.test` is answered.
    fn let_go(&self) {
        for (answer, peer) in self.held.waiting.lock().unwrap().take().unwrap_or_default() {
            self.held.socket.send_to(&answer, peer).unwrap();
        }
    }
}

/// Whom a query of one question is about, and the reply to it (RFC 1035 §4.1).
fn reply(query: &[u8]) -> (String, Option<Vec<u8>>) {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + len]).to_lowercase());
        at += len + 1;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let name = labels.join(".");
    let code = match name.as_str() {
        "silent.test" => return (name, None),
        "broken.test" | "held.test" => 2,
        "example.test" | "_sip._udp.example.test" => 0,
        _ => 3,
    };
    let data: Vec<Vec<u8>> = match (name.as_str(), kind) {
        ("example.test", A) => vec![vec![127, 0, 0, 1], vec![127, 0, 0, 2]],
        ("_sip._udp.example.test", SRV) => {
            let mut data = vec![0, 10, 0, 20, 0x13, 0xc4];
            data.extend(encoded("host.example.test"));
            vec![data]
        }
        ("example.test", NAPTR) => {
            let mut data = vec![0, 1, 0, 2];
            for text in ["s", "SIP+D2U", ""] {
                data.push(text.len() as u8);
                data.extend(text.as_bytes());
            }
            data.extend(encoded("_sip._udp.example.test"));
            vec![data]
        }
        _ => Vec::new(),
    };
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1, 0, data.len() as u8, 0, 0, 0, 0]);
    out.extend(question);
    for data in data {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 99]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    (name, Some(out))
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes()));
    labels.chain(std::iter::once(0)).collect()
}

/// A server whose two shards have a way to ask this name server, with so long for an answer.
fn with_dns(addr: SocketAddr, timeout: Duration) -> (Server, Runtime) {
    let server = server(2, UDP);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = DnsOptions { servers: vec![addr], timeout, ..DnsOptions::default() };
    server.running.resolve_names(runtime.handle(), &options).unwrap();
    // A shard takes what it is told at the beginning of a round: one more message, and it has begun another.
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut begun = [false; 2];
    for n in 0.. {
        phone.send_to(message(&format!("begun-{n}"), 1, 0).as_bytes(), server.addr(0)).unwrap();
        phone.recv(&mut [0; 1_500]).unwrap();
        begun[usize::from(server.next().0)] = true;
        if begun == [true; 2] {
            break;
        }
    }
    (server, runtime)
}

fn ask(server: &Server, phone: &UdpSocket, question: &str, call_id: &str) {
    let text = message(call_id, 1, 0);
    let (_, rest) = text.split_once("\r\n").unwrap();
    let text = format!("RESOLVE {question} SIP/2.0\r\n{rest}");
    phone.send_to(text.as_bytes(), server.addr(0)).unwrap();
}

fn answer(server: &Server) -> (u16, Answer) {
    match server.next() {
        (shard, Input::Resolved { answer, .. }) => (shard, answer),
        other => panic!("{other:?}"),
    }
}

/// [C-120] All three kinds of records come to the shard that asked.
#[test]
fn records_come_to_the_shard_that_asked() {
    let names = NameServer::start();
    let (server, _runtime) = with_dns(names.addr, PATIENCE);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (question, expected) in [
        (
            "address example.test",
            Records::Address(vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()]),
        ),
        (
            "srv _sip._udp.example.test",
            Records::Srv(vec![Srv {
                priority: 10,
                weight: 20,
                port: 5_060,
                target: "host.example.test".into(),
            }]),
        ),
        (
            "naptr example.test",
            Records::Naptr(vec![Naptr {
                order: 1,
                preference: 2,
                flags: "s".into(),
                service: "SIP+D2U".into(),
                replacement: "_sip._udp.example.test".into(),
            }]),
        ),
    ] {
        ask(&server, &phone, question, "call");
        let (_, answer) = answer(&server);
        assert_eq!(answer.outcome, Outcome::Found(expected), "{question}");
        assert_eq!(answer.ttl, Duration::from_secs(99));
    }
}

/// [C-127] Silence and trouble of the name server are told as failure, absence as absence, and
/// meanwhile messages flow.
#[test]
fn failure_and_absence_differ_and_delay_nothing() {
    let names = NameServer::start();
    let (server, _runtime) = with_dns(names.addr, PATIENCE);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&server, &phone, "address held.test", "call");
    let sent = message("call", 2, 0);
    phone.send_to(sent.as_bytes(), server.addr(0)).unwrap();
    let mut buffer = [0; 1_500];
    let n = phone.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], sent.as_bytes());
    assert!(matches!(server.next().1, Input::Message { .. }), "the message overtakes DNS");
    names.let_go();
    assert_eq!(answer(&server).1.outcome, Outcome::Failed);
    for (name, outcome) in [("broken.test", Outcome::Failed), ("nowhere.test", Outcome::Absent)] {
        ask(&server, &phone, &format!("address {name}"), "call");
        assert_eq!(answer(&server).1.outcome, outcome, "{name}");
    }
    let (server, _runtime) = with_dns(names.addr, Duration::from_millis(200));
    ask(&server, &phone, "address silent.test", "call");
    assert_eq!(answer(&server).1.outcome, Outcome::Failed);
}

/// Questions of several shards about one name are asked once.
#[test]
fn the_same_question_is_asked_once() {
    let names = NameServer::start();
    let (server, _runtime) = with_dns(names.addr, PATIENCE);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..20 {
        ask(&server, &phone, "srv held.test", &format!("call-{n}"));
    }
    let clock = Clock::new();
    let begin = clock.now();
    while server.count("dns_queries") < 20 {
        assert!(clock.now().since(begin) < PATIENCE, "not all shards ask");
        std::thread::yield_now();
    }
    // Questions are taken in their order: when this one is answered, all before it have been taken.
    ask(&server, &phone, "address nowhere.test", "call");
    assert_eq!(answer(&server).1.outcome, Outcome::Absent);
    names.let_go();
    let mut shards = [0; 2];
    for _ in 0..20 {
        shards[usize::from(answer(&server).0)] += 1;
    }
    assert!(shards.iter().all(|&n| n > 0), "{shards:?}");
    // Two attempts, each perhaps repeated over TCP, not forty.
    let asked = names.held.count.load(Ordering::Relaxed);
    assert!(asked <= 4, "{asked}");
}

/// Without DNS a question fails at once.
#[test]
fn without_dns_names_fail_at_once() {
    let server = server(1, UDP);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    ask(&server, &phone, "address example.test", "call");
    assert_eq!(answer(&server).1.outcome, Outcome::Failed);
    assert_eq!(server.count("dns_refused"), 1);
}
