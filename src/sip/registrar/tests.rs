//! A registrar by its answers.

use super::*;
use crate::sip::flow::{ListenerId, Transport};
use crate::sip::message::Limits;
use crate::sip::plan::{Client, Credentials, Secret};
use crate::sip::proxy::testing::plan_with;
use std::sync::Arc;

fn at(seconds: u64) -> Time {
    Time::from_millis((1_289_690_940 + seconds) * 1_000)
}

fn plan() -> Plan {
    let mut plan = plan_with(Vec::new());
    plan.calls.registrar.domains = vec!["example.com".into()];
    for user in ["alice", "bob"] {
        let secret = Secret::Password("p".into());
        let credentials = Arc::new(Credentials { user: user.into(), secret });
        plan.calls.clients.insert(user.into(), Client { credentials, account: None });
    }
    plan
}

fn udp() -> Flow {
    Flow { remote: "10.1.2.3:5062".parse().unwrap(), ..Flow::nowhere() }
}

fn tcp(n: u64) -> Flow {
    Flow {
        listener: ListenerId(1),
        transport: Transport::Tcp,
        remote: "10.1.2.3:40000".parse().unwrap(),
        connection: Some(ConnectionId::new(0, n)),
    }
}

fn message(user: &str, call_id: &str, cseq: u32, more: &str) -> Message {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.0.9;branch=z9hG4bK{cseq}\r\n\
         From: <sip:{user}@example.com>;tag=1\r\nTo: <sip:{user}@example.com>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n{more}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

struct World {
    plan: Plan,
    registrar: Registrar,
}

impl World {
    fn new() -> World {
        let plan = plan();
        World { registrar: Registrar::new(&plan), plan }
    }

    fn register(&mut self, now: Time, message: &Message, flow: &Flow) -> Answer {
        let ready = message.ready().unwrap();
        let user = match self.registrar.admit(&self.plan.calls.registrar, message, &ready) {
            Ok(user) => user,
            Err(answer) => return answer,
        };
        self.registrar.register(now, &self.plan.calls.registrar, &user, message, &ready, flow)
    }

    /// Registers alice over UDP.
    fn alice(&mut self, seconds: u64, cseq: u32, more: &str) -> Answer {
        self.register(at(seconds), &message("alice", "a", cseq, more), &udp())
    }

    fn uris(&self, seconds: u64) -> Vec<String> {
        let contacts = self.registrar.lookup(at(seconds), "alice");
        contacts.iter().map(|c| String::from_utf8(c.uri.to_vec()).unwrap()).collect()
    }
}

fn field<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let of = answer.headers.iter().filter(|(n, _)| *n == name);
    of.map(|(_, value)| std::str::from_utf8(value).unwrap()).collect()
}

/// [C-156] Domain, then Require, then who one is, then the contacts.
#[test]
fn the_order_of_checks() {
    let mut world = World::new();
    let text = |uri: &str, to: &str, more: &str| {
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <{to}>;tag=1\r\n\
             To: <{to}>\r\nCall-ID: a\r\nCSeq: 1 REGISTER\r\nContact: nonsense\r\n{more}\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    };
    let (here, alice, require) = ("sip:example.com", "sip:alice@example.com", "Require: path, gruu, x\r\n");
    let elsewhere = text("sip:example.net", alice, require);
    assert_eq!(world.register(at(0), &elsewhere, &udp()).status, 404);
    let required = world.register(at(0), &text(here, "sip:alice@example.net", require), &udp());
    assert_eq!((required.status, field(&required, "Unsupported")), (420, vec!["gruu, x"]));
    assert_eq!(world.register(at(0), &text(here, "sip:alice@example.net", ""), &udp()).status, 404);
    assert_eq!(world.register(at(0), &text(here, "sip:example.com", ""), &udp()).status, 404);
    // Authenticated as somebody else.
    let request = text(here, alice, "");
    let ready = request.ready().unwrap();
    let plan = &world.plan.calls.registrar;
    assert_eq!(world.registrar.register(at(0), plan, "bob", &request, &ready, &udp()).status, 403);
    assert_eq!(world.register(at(0), &request, &udp()).status, 400);
    assert!(world.registrar.is_empty());
}

/// [C-169] The number of contacts is looked at before they are: those beyond it cost nothing, and change nothing.
#[test]
fn too_many_contacts_are_not_read() {
    let mut world = World::new();
    world.plan.calls.registrar.max_bindings = 3;
    let contacts = |n: usize| (0..n).map(|n| format!("Contact: <sip:c{n}@h>\r\n")).collect::<String>();
    // As many as there may be are replaced by as many.
    let gone = contacts(3).replace(">\r", ">;expires=0\r");
    assert_eq!(world.alice(0, 1, &contacts(3)).status, 200);
    assert_eq!(world.alice(0, 2, &(gone + &contacts(6)[contacts(3).len()..])).status, 200);
    assert_eq!(world.uris(0).len(), 3);
    // One more is one too many, whatever it is.
    let gone = contacts(6).replace(">\r", ">;expires=0\r");
    assert_eq!(world.alice(0, 3, &format!("{gone}Contact: \"nonsense\r\n")).status, 403);
    assert_eq!(world.uris(0).len(), 3);
    assert_eq!(world.alice(0, 4, &gone).status, 200);
    assert!(world.uris(0).is_empty());
}

/// [C-161] The 200 lists every binding with the seconds it has left, and the date.
#[test]
fn the_answer_lists_all_bindings() {
    let mut world = World::new();
    let first = world.alice(0, 1, "Contact: \"A\" <sip:alice@192.168.0.9:5062;x=y>;q=0.5;expires=600\r\n");
    assert_eq!(first.status, 200);
    assert_eq!(field(&first, "Contact"), ["<sip:alice@192.168.0.9:5062;x=y>;q=0.500;expires=600"]);
    assert_eq!(field(&first, "Date"), ["Sat, 13 Nov 2010 23:29:00 GMT"]);
    world.alice(100, 2, "Contact: <sip:alice@192.168.0.10>\r\nExpires: 300\r\n");
    let asked = world.alice(150, 3, "");
    assert_eq!(
        field(&asked, "Contact"),
        ["<sip:alice@192.168.0.9:5062;x=y>;q=0.500;expires=450", "<sip:alice@192.168.0.10>;expires=250"]
    );
    assert_eq!(world.registrar.len(), 2);
    // A query changes nothing, and somebody else's bindings are not shown.
    let bob = world.register(at(150), &message("bob", "b", 1, ""), &udp());
    assert_eq!((bob.status, field(&bob, "Contact").len()), (200, 0));
}

/// [C-160] The contact's own life, else Expires, else the default; never longer than the maximum,
/// and 423 below the minimum.
#[test]
fn how_long_a_binding_lives() {
    for (more, life) in [
        ("Contact: <sip:a@h>;expires=100\r\nExpires: 200\r\n", 100),
        ("Contact: <sip:a@h>\r\nExpires: 200\r\n", 200),
        ("Contact: <sip:a@h>\r\n", 3_600),
        ("Contact: <sip:a@h>;expires=4294967295\r\n", 3_600),
        ("Contact: <sip:a@h>;expires=99999999999\r\n", 3_600),
        ("Contact: <sip:a@h>;expires=\"x\"\r\n", 3_600),
        ("Contact: <sip:a@h>\r\nExpires: never\r\n", 3_600),
        ("Contact: <sip:a@h>;expires=60\r\n", 60),
    ] {
        let answer = World::new().alice(0, 1, more);
        assert_eq!(field(&answer, "Contact"), [format!("<sip:a@h>;expires={life}")], "{more}");
    }
    let mut world = World::new();
    let brief = world.alice(0, 1, "Contact: <sip:a@h>, <sip:b@h>;expires=59\r\n");
    assert_eq!((brief.status, field(&brief, "Min-Expires")), (423, vec!["60"]));
    assert!(world.registrar.is_empty());
}

/// [C-158] The same Call-ID must count up; another one may start anywhere.
#[test]
fn requests_in_order() {
    let mut world = World::new();
    let contact = "Contact: <sip:a@h>\r\n";
    assert_eq!(world.alice(0, 5, contact).status, 200);
    assert_eq!(world.alice(1, 5, contact).status, 500);
    assert_eq!(world.alice(1, 4, "Contact: <sip:a@h>;expires=0\r\n").status, 500);
    assert_eq!(world.alice(1, 4, "Contact: *\r\nExpires: 0\r\n").status, 500);
    assert_eq!(world.uris(2), ["sip:a@h"]);
    assert_eq!(world.alice(1, 6, contact).status, 200);
    let other = message("alice", "other", 1, "Contact: <sip:a@h>;expires=0\r\n");
    assert_eq!(world.register(at(2), &other, &udp()).status, 200);
    assert!(world.registrar.is_empty());
}

/// [C-157] One change that cannot be made leaves all as it was.
#[test]
fn all_or_nothing() {
    let mut world = World::new();
    world.alice(0, 1, "Contact: <sip:a@h>, <sip:b@h>\r\n");
    for bad in [
        "Contact: <sip:a@h>;expires=0, <sip:c@h>;expires=5\r\n",
        "Contact: <sip:a@h>;expires=0, <mailto:x@y>\r\n",
        "Contact: <sip:a@h>;expires=0, <sip:c d>\r\n",
        "Contact: <sip:a@h>;expires=0\r\nPath: nonsense\r\n",
        "Contact: <sip:a@h>;expires=0, <sip:1@h>, <sip:2@h>, <sip:3@h>, <sip:4@h>, <sip:5@h>, \
         <sip:6@h>, <sip:7@h>, <sip:8@h>, <sip:9@h>, <sip:10@h>\r\n",
    ] {
        assert!(world.alice(1, 2, bad).status >= 400, "{bad}");
        assert_eq!(world.uris(1).len(), 2, "{bad}");
    }
    let order = message("alice", "a", 1, "Contact: <sip:c@h>, <sip:a@h>;expires=0\r\n");
    assert_eq!(world.register(at(1), &order, &udp()).status, 500);
    assert_eq!(world.uris(1).len(), 2);
    // The same contact twice in one request: the last one counts.
    let twice =
        world.alice(1, 2, "Contact: <sip:a@h>;expires=100, <sip:a@H>;expires=200, <sip:b@h>;expires=0\r\n");
    assert_eq!(field(&twice, "Contact"), ["<sip:a@H>;expires=200"]);
}

/// [C-159] The star stands alone and means to leave.
#[test]
fn the_star() {
    let mut world = World::new();
    world.alice(0, 1, "Contact: <sip:a@h>, <sip:b@h>\r\n");
    for bad in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *, <sip:a@h>\r\nExpires: 0\r\n",
        "Contact: *, *\r\nExpires: 0\r\n",
        "Contact: *;expires=0\r\nExpires: 0\r\n",
    ] {
        assert_eq!(world.alice(1, 2, bad).status, 400, "{bad}");
    }
    let gone = world.alice(1, 2, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((gone.status, field(&gone, "Contact").len()), (200, 0));
    assert!(world.registrar.is_empty() && world.registrar.deadline().is_none());
}

/// [C-162] Path is kept, shown, and goes with the contact.
#[test]
fn path() {
    let mut world = World::new();
    let path = "Path: <sip:p1;lr>, <sip:p2;lr>\r\nPath: <sip:p3;lr>\r\n";
    let answer = world.alice(0, 1, &format!("Contact: <sip:a@h>\r\n{path}Supported: path\r\n"));
    let stored = "<sip:p1;lr>, <sip:p2;lr>, <sip:p3;lr>";
    assert_eq!(field(&answer, "Path"), [stored]);
    assert_eq!(world.registrar.lookup(at(1), "alice")[0].route.as_deref(), Some(stored.as_bytes()));
    assert_eq!(world.alice(0, 2, "Contact: <sip:a@h>\r\nPath: <sip:strict>\r\n").status, 400);
}

/// [C-166] What was registered over a connection is reached over it and ends with it; over UDP the
/// source is the way, whatever Contact says.
#[test]
fn ways_to_a_binding() {
    let mut world = World::new();
    world.alice(0, 1, "Contact: <sip:a@192.168.0.9?x=y>\r\n");
    for (n, user) in [(1, "alice"), (2, "alice"), (1, "bob")] {
        let request = message(
            user,
            &format!("{user}{n}"),
            1,
            &format!("Contact: <sip:c{n}@x.invalid;transport=ws>\r\n"),
        );
        assert_eq!(world.register(at(n), &request, &tcp(n)).status, 200);
    }
    let contacts = world.registrar.lookup(at(3), "alice");
    assert_eq!(contacts[0].destination.connection, Some(ConnectionId::new(0, 2)));
    assert_eq!(contacts[1].destination.connection, Some(ConnectionId::new(0, 1)));
    assert_eq!(
        (&contacts[2].uri[..], contacts[2].destination.remote),
        (&b"sip:a@192.168.0.9"[..], udp().remote)
    );
    assert_eq!(world.registrar.closed(ConnectionId::new(0, 1)), 2);
    assert_eq!(world.uris(3), ["sip:c2@x.invalid;transport=ws", "sip:a@192.168.0.9"]);
    assert!(world.registrar.lookup(at(3), "bob").is_empty());
    assert_eq!(world.registrar.closed(ConnectionId::new(0, 1)), 0);
    // Registered anew over another connection: the old one takes nothing with it.
    let moved = message("alice", "alice2", 2, "Contact: <sip:c2@x.invalid;transport=ws>\r\n");
    assert_eq!(world.register(at(4), &moved, &tcp(9)).status, 200);
    assert_eq!(world.registrar.closed(ConnectionId::new(0, 2)), 0);
    assert_eq!(world.uris(4).len(), 2);
}

/// [C-160] Bindings end by themselves, each at its time; nothing is left at the end.
#[test]
fn expiry() {
    let mut world = World::new();
    world.alice(0, 1, "Contact: <sip:a@h>;q=0.1;expires=100, <sip:b@h>;q=0.9;expires=200\r\n");
    assert_eq!(world.uris(99), ["sip:b@h", "sip:a@h"]);
    assert_eq!(world.uris(100), ["sip:b@h"]);
    assert_eq!(world.registrar.deadline(), Some(at(100)));
    assert_eq!(world.registrar.expire(at(99)), 0);
    assert_eq!(world.registrar.expire(at(100)), 1);
    // A refresh moves the deadline.
    world.alice(150, 2, "Contact: <sip:b@h>;expires=600\r\n");
    assert_eq!(world.registrar.deadline(), Some(at(750)));
    assert_eq!(world.registrar.expire(at(1_000)), 1);
    assert!(world.registrar.is_empty() && world.registrar.deadline().is_none());
    assert!(world.registrar.users.is_empty() && world.registrar.connections.is_empty());
}

/// [C-169] Too many bindings, too large a request: refused, and the limits are the configuration's.
#[test]
fn limits() {
    let mut world = World::new();
    world.plan.calls.registrar.max_bindings = 2;
    assert_eq!(world.alice(0, 1, "Contact: <sip:a@h>, <sip:b@h>\r\n").status, 200);
    assert_eq!(world.alice(0, 2, "Contact: <sip:c@h>\r\n").status, 403);
    // A refresh is no new binding; one for another is none too many.
    assert_eq!(world.alice(0, 2, "Contact: <sip:a@h>\r\n").status, 200);
    assert_eq!(world.alice(0, 3, "Contact: <sip:c@h>, <sip:b@h>;expires=0\r\n").status, 200);
    let padding = format!("X-Padding: {}\r\n", "x".repeat(8_000));
    assert_eq!(world.alice(0, 4, &padding).status, 513);
}

/// Without configured domains every name of Baton's own is served.
#[test]
fn domains_by_default() {
    let mut plan = plan();
    plan.calls.registrar.domains.clear();
    plan.aliases.push("Sip.Example.org".into());
    let registrar = Registrar::new(&plan);
    assert!(registrar.serves(b"127.0.0.1") && registrar.serves(b"SIP.example.ORG"));
    assert!(!registrar.serves(b"example.com"));
}

/// A client that is taken out of the configuration can no longer be reached.
#[test]
fn replan() {
    let mut world = World::new();
    world.alice(0, 1, "Contact: <sip:a@h>\r\n");
    let mut plan = plan();
    world.registrar.replan(&plan);
    assert_eq!(world.registrar.len(), 1);
    plan.calls.clients.remove("alice");
    world.registrar.replan(&plan);
    assert!(world.registrar.is_empty());
}

/// The address of record is To's user, decoded.
#[test]
fn address_of_record() {
    let request = message("%61lice", "a", 1, "");
    assert_eq!(aor_of(&request), Some(("alice".into(), (*b"example.com").into())));
}
