//! Challenges, 422, failover, silence: what happens to an INVITE before it makes a call.

use crate::sip::dialog::testing::*;
use crate::sip::dialog::*;
use crate::sip::flow::Transport;
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::{Secret, SessionTimer, TrunkIx};
use crate::sip::proxy::target::Candidate;
use std::time::Duration;

const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"biloxi\", nonce=\"n1\", qop=\"auth\", \
    algorithm=SHA-256\nProxy-Authenticate: Digest realm=\"biloxi\", nonce=\"n1\", qop=\"auth\"\n";

fn credentials() -> Option<Arc<Credentials>> {
    Some(Arc::new(Credentials { user: "alice".into(), secret: Secret::Password("zanzibar".into()) }))
}

fn with_credentials() -> Outgoing {
    Outgoing { credentials: credentials(), ..Bench::outgoing() }
}

/// [C-154] [C-196] [C-200] A challenge is answered with the same Call-ID and tags and the next number; so
/// is one to BYE. A second refusal ends it.
#[test]
fn challenged() {
    let mut bench = Bench::new();
    let leg = bench.invite(with_credentials());
    let first = bench.next();
    bench.reply(&first, 407, "x", CHALLENGE, "");
    assert_eq!(bench.next().method(), Method::Ack);
    let second = bench.next();
    assert_eq!(second.start(), first.start());
    assert_eq!(second.cseq(), first.cseq() + 1);
    for id in [HeaderId::CallId, HeaderId::From, HeaderId::To] {
        assert_eq!(second.header(id), first.header(id));
    }
    let answer = second.header(HeaderId::ProxyAuthorization);
    assert!(answer.contains("algorithm=SHA-256") && answer.contains("nc=00000001"), "{answer}");
    bench.reply(&second, 200, "bob", CONTACT, OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    let ack = bench.next();
    assert_eq!(ack.cseq(), second.cseq());
    assert_eq!(ack.header(HeaderId::ProxyAuthorization), answer, "RFC 3261 §22.1: the ACK repeats it");
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    bench.reply(&bye, 407, "", &CHALLENGE.replace("n1", "n2"), "");
    let again = bench.next();
    assert_eq!((again.method(), again.cseq()), (Method::Bye, bye.cseq() + 1));
    bench.reply(&again, 200, "", "", "");
    bench.events();
    bench.end();
}

/// [C-200] The second challenge of the same realm is the end, unless it says stale.
#[test]
fn refused_credentials() {
    let mut bench = Bench::new();
    bench.invite(with_credentials());
    let first = bench.next();
    bench.reply(&first, 407, "x", CHALLENGE, "");
    bench.next();
    let second = bench.next();
    bench.reply(&second, 407, "x", &CHALLENGE.replace("qop", "stale=true, qop"), "");
    bench.next();
    let third = bench.next();
    assert_eq!(third.cseq(), 3);
    bench.reply(&third, 407, "x", CHALLENGE, "");
    assert_eq!(bench.starts().len(), 1, "the ACK only");
    assert_eq!(bench.events(), ["rejected 407", "gone"]);
    bench.end();
}

/// [C-122] [C-200] [T-040] Another server's challenge is not the refusal of what the first was told: it is
/// answered, and nothing that the first was told goes there before (RFC 3261 §22.3).
#[test]
fn another_server_challenges_anew() {
    for silent in [false, true] {
        let mut bench = Bench::new();
        let leg = bench.invite(with_credentials());
        let first = bench.next();
        bench.reply(&first, 407, "x", CHALLENGE, "");
        bench.next();
        let second = bench.next();
        if silent {
            bench.pass_ms(3_100);
            bench.sent.retain(|sent| sent.to != second.to);
        } else {
            bench.reply(&second, 503, "x", "", "");
            bench.next();
        }
        let third = bench.next();
        assert_eq!(third.start(), "INVITE sip:100@10.0.0.2");
        assert_eq!(third.header(HeaderId::ProxyAuthorization), "");
        bench.reply(&third, 407, "y", &CHALLENGE.replace("n1", "n9"), "");
        bench.next();
        let fourth = bench.next();
        assert_eq!(fourth.to, third.to);
        let answer = fourth.header(HeaderId::ProxyAuthorization);
        assert!(answer.contains("nonce=\"n9\"") && answer.contains("nc=00000001"), "{answer}");
        bench.reply(&fourth, 200, "bob", CONTACT, OTHER_SDP);
        assert_eq!(bench.events(), ["answered by 0"]);
        bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
        bench.end();
    }
}

/// [C-200] [C-122] The credentials of one trunk are not for the next.
#[test]
fn each_trunk_its_own_credentials() {
    let of = |user: &str| {
        Some(Arc::new(Credentials { user: user.into(), secret: Secret::Password("zanzibar".into()) }))
    };
    let mut plan = Bench::new().plan;
    plan.trunks[0].owned.credentials = of("first");
    plan.trunks[1].owned.credentials = of("second");
    let mut bench = Bench::with_plan(plan);
    let candidate = |trunk| Candidate { trunk: TrunkIx(trunk), target: 0, group: 0 };
    let way = Way::Trunks([candidate(0), candidate(1)].into_iter().collect());
    let leg = bench.invite(Outgoing { way, ..Bench::outgoing() });
    let first = bench.next();
    bench.reply(&first, 407, "x", CHALLENGE, "");
    bench.next();
    let second = bench.next();
    assert!(second.header(HeaderId::ProxyAuthorization).contains("username=\"first\""));
    bench.reply(&second, 503, "x", "", "");
    bench.next();
    let third = bench.next();
    assert_eq!(
        (third.start().as_str(), third.header(HeaderId::ProxyAuthorization)),
        ("INVITE sip:100@10.0.1.1", String::new())
    );
    bench.reply(&third, 200, "bob", CONTACT, OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    bench.next();
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    bench.reply(&bye, 407, "", CHALLENGE, "");
    assert!(bench.next().header(HeaderId::ProxyAuthorization).contains("username=\"second\""));
    bench.events();
    bench.end();
}

/// [C-131] [C-200] A 2xx that comes when its trunk was given up is acknowledged and ended with what that trunk was
/// told, not with what the next was.
#[test]
fn a_late_answer_of_another_trunk() {
    let of = |user: &str| {
        Some(Arc::new(Credentials { user: user.into(), secret: Secret::Password("zanzibar".into()) }))
    };
    let mut plan = Bench::new().plan;
    plan.trunks[0].owned.credentials = of("first");
    plan.trunks[1].owned.credentials = of("second");
    let mut bench = Bench::with_plan(plan);
    let candidate = |trunk| Candidate { trunk: TrunkIx(trunk), target: 0, group: 0 };
    let way = Way::Trunks([candidate(0), candidate(1)].into_iter().collect());
    let leg = bench.invite(Outgoing { way, ..Bench::outgoing() });
    let first = bench.next();
    bench.reply(&first, 407, "x", CHALLENGE, "");
    bench.next();
    let late = bench.next();
    bench.pass_ms(3_100);
    bench.sent.retain(|sent| sent.to != late.to);
    let other = bench.next();
    bench.reply(&other, 200, "bob", "Contact: <sip:bob@10.0.1.1>\n", OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    bench.next();
    for _ in 0..2 {
        bench.reply(&late, 200, "late", CONTACT, OTHER_SDP);
        let ack = bench.next();
        assert_eq!((ack.method(), ack.cseq()), (Method::Ack, late.cseq()));
        assert_eq!(ack.header(HeaderId::ProxyAuthorization), late.header(HeaderId::ProxyAuthorization));
        if let Some(bye) = bench.sent.pop_front() {
            assert_eq!(bye.start(), "BYE sip:bob@10.0.0.1:5070");
            bench.reply(&bye, 407, "", &CHALLENGE.replace("n1", "n2"), "");
            let bye = bench.next();
            assert!(bye.header(HeaderId::ProxyAuthorization).contains("username=\"first\""));
            bench.reply(&bye, 200, "", "", "");
        }
    }
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    let bye = bench.next();
    assert_eq!(bye.start(), "BYE sip:bob@10.0.1.1");
    bench.reply(&bye, 200, "", "", "");
    bench.events();
    bench.end();
}

/// Without credentials, and with nonsense, a challenge is a refusal like any other.
#[test]
fn no_credentials() {
    for (out, headers) in
        [(Bench::outgoing(), CHALLENGE), (with_credentials(), "WWW-Authenticate: Basic x\n")]
    {
        let mut bench = Bench::new();
        bench.invite(out);
        let first = bench.next();
        bench.reply(&first, 401, "x", headers, "");
        assert_eq!(bench.events(), ["rejected 401", "gone"]);
        bench.end();
    }
}

/// [C-182] Upon 422 the INVITE goes again with the interval its Min-SE demands.
#[test]
fn interval_too_small() {
    let mut bench = Bench::new();
    bench.invite(Outgoing { session: SessionTimer { interval: 300, min: 90 }, ..Bench::outgoing() });
    let first = bench.next();
    assert_eq!(first.header(HeaderId::SessionExpires), "300");
    bench.reply(&first, 422, "x", "Min-SE: 900\n", "");
    bench.next();
    let second = bench.next();
    assert_eq!(second.header(HeaderId::SessionExpires), "900");
    assert_eq!(second.header(HeaderId::MinSe), "900");
    assert_eq!(second.to, first.to);
    bench.reply(&second, 422, "x", "Min-SE: 900\n", "");
    assert_eq!(bench.events(), ["rejected 422", "gone"]);
    bench.end();
}

/// [T-061] [T-040] A silent target makes room for the next after the trunk's time; so does a 503. What
/// was given up is cancelled, and its late 2xx ended.
#[test]
fn failover() {
    let mut bench = Bench::new();
    bench.invite(Bench::outgoing());
    let first = bench.next();
    bench.pass(Duration::from_secs(3));
    let all: Vec<Sent> = bench.sent.drain(..).collect();
    let second = all.last().expect("the next target").clone();
    assert_eq!(second.start(), "INVITE sip:100@10.0.0.2");
    assert!(all.iter().rev().skip(1).all(|sent| sent.to == first.to));
    // The first one wakes up: its provisional lets the CANCEL go, its 2xx is acknowledged and ended.
    bench.reply(&first, 180, "late", CONTACT, "");
    assert_eq!(bench.next().start(), "CANCEL sip:100@10.0.0.1");
    bench.reply(&first, 200, "late", CONTACT, OTHER_SDP);
    assert_eq!(bench.next().method(), Method::Ack);
    let bye = bench.next();
    assert_eq!(bye.method(), Method::Bye);
    bench.reply(&bye, 200, "", "", "");
    assert!(bench.events().is_empty());
    bench.reply(&second, 503, "x", "", "");
    assert_eq!(bench.events(), ["rejected 408", "gone"], "no target is left; silence is the better answer");
    bench.end();
}

/// [C-123] Who rang keeps the call: no failover after a 180.
#[test]
fn no_failover_after_ringing() {
    let mut bench = Bench::new();
    bench.invite(Bench::outgoing());
    let first = bench.next();
    bench.reply(&first, 180, "bob", CONTACT, "");
    bench.reply(&first, 503, "bob", "", "");
    assert_eq!(bench.events(), ["180 of 0", "rejected 503", "gone"]);
    assert_eq!(bench.starts().len(), 1);
    bench.end();
}

/// [T-067] Nobody answers in the time there is: CANCEL, and 408 for the call.
#[test]
fn rings_too_long() {
    let mut bench = Bench::new();
    bench.invite(Outgoing { ring: Duration::from_secs(20), ..Bench::outgoing() });
    let invite = bench.next();
    bench.reply(&invite, 180, "bob", CONTACT, "");
    bench.pass(Duration::from_secs(20));
    let cancel = bench.next();
    assert_eq!(cancel.method(), Method::Cancel);
    bench.reply(&cancel, 200, "bob", "", "");
    bench.reply(&invite, 487, "bob", "", "");
    assert_eq!(bench.events(), ["180 of 0", "rejected 408", "gone"]);
    bench.end();
}

/// [C-086] A peer that says nothing after the CANCEL: it counts as cancelled.
#[test]
fn silence_after_cancel() {
    let mut bench = Bench::new();
    let leg = bench.invite(Bench::outgoing());
    let invite = bench.next();
    bench.reply(&invite, 180, "bob", CONTACT, "");
    bench.with(|legs, cx| legs.cancel(cx, leg, None));
    bench.pass(Duration::from_secs(33));
    assert_eq!(bench.events(), ["180 of 0", "rejected 487", "gone"]);
    bench.end();
}

/// DNS is waited for, but not for ever; the addresses found are tried in order.
#[test]
fn names() {
    let mut bench = Bench::new();
    let out = Outgoing {
        way: Way::Uri,
        uri: Box::from(&b"sip:bob@peer.example;transport=udp"[..]),
        ..Bench::outgoing()
    };
    bench.invite(out.clone());
    assert!(bench.sent.is_empty());
    for _ in 0..3 {
        addresses(&mut bench, &["10.0.9.1", "10.0.9.2"]);
    }
    let invite = bench.next();
    assert_eq!(invite.to, "10.0.9.1:5060".parse().expect("an address"));
    assert_eq!(invite.start(), "INVITE sip:bob@peer.example;transport=udp");
    bench.reply(&invite, 503, "x", "", "");
    bench.next();
    assert_eq!(bench.next().to, "10.0.9.2:5060".parse().expect("an address"));
    bench.pass(Duration::from_secs(40));
    bench.sent.clear();
    assert_eq!(bench.events(), ["rejected 408", "gone"]);
    let other = Box::from(&b"sip:bob@nowhere.example"[..]);
    bench.invite(Outgoing { uri: other, ..out });
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.events(), ["rejected 503", "gone"]);
    bench.end();
}

/// A registered contact is reached by its flow, whatever its URI says; later requests go there, too.
#[test]
fn by_flow() {
    let mut bench = Bench::new();
    let flow = Destination {
        listener: ListenerId(0),
        transport: Transport::Udp,
        remote: "203.0.113.5:40000".parse().expect("an address"),
        connection: None,
        domain: None,
    };
    let uri = Box::from(&b"sip:bob@192.168.1.5:5060"[..]);
    let leg = bench.invite(Outgoing { way: Way::Flow(flow.clone(), None), uri, ..Bench::outgoing() });
    let invite = bench.next();
    assert_eq!((invite.to, invite.start().as_str()), (flow.remote, "INVITE sip:bob@192.168.1.5:5060"));
    bench.reply(&invite, 200, "bob", "Contact: <sip:bob@df7jal23ls0d.invalid;transport=ws>\n", OTHER_SDP);
    bench.with(|legs, cx| legs.ack(cx, leg, None));
    let ack = bench.next();
    assert_eq!((ack.to, ack.method()), (flow.remote, Method::Ack));
    bench.with(|legs, cx| legs.bye(cx, leg, &Vec::new()));
    assert_eq!(bench.next().to, flow.remote);
    bench.events();
    bench.end();
}
