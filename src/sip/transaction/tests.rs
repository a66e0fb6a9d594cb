//! The table as a whole: messages in, effects out, time by hand.

use super::*;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::message::{HeaderId, Limits, Message, Method};
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

const START: Time = Time::from_millis(1_000_000);

/// A table, its effects, and a clock.
struct Bench {
    table: Transactions,
    fx: Effects,
    now: Time,
}

impl Bench {
    fn new() -> Bench {
        Bench { table: Transactions::new([3; 16], Timings::default(), 1_000), fx: Effects::new(), now: START }
    }

    fn receive(&mut self, text: &str, transport: Transport) -> Received {
        let message = parse(text);
        let ready = message.ready().unwrap();
        self.table.receive_request(self.now, &message, &ready, &flow(transport), &mut self.fx)
    }

    fn answer(&mut self, text: &str) -> Option<(ClientId, u32)> {
        let message = parse(text);
        let ready = message.ready().unwrap();
        self.table.receive_response(self.now, &message, &ready, &mut self.fx)
    }

    fn respond(&mut self, id: ServerId, status: u16) {
        let bytes = Bytes::from(format!("SIP/2.0 {status} x\r\n\r\n"));
        self.table.respond(self.now, id, status, bytes, &mut self.fx);
    }

    /// Sends a request and answers its branch.
    fn call(&mut self, method: Method, transport: Transport) -> (ClientId, String) {
        let id = self.table.reserve_client(0xfeed).unwrap();
        let mut branch = Vec::new();
        self.table.write_branch(id, b"sfx", &mut branch);
        let branch = String::from_utf8(branch).unwrap();
        let text = format!(
            "{} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP p:5060;branch={branch}\r\n\
             Via: SIP/2.0/UDP u:5060;branch=z9hG4bKup\r\nMax-Forwards: 69\r\nRoute: <sip:r;lr>\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 5 {}\r\n\
             Content-Length: 0\r\n\r\n",
            method.as_str(),
            method.as_str()
        );
        self.table.start_client(self.now, id, method, text.into(), flow(transport).into(), 7, &mut self.fx);
        (id, branch)
    }

    /// Lets time pass, timer by timer; what was sent, and when after the start of the waiting.
    fn wait(&mut self, span: Duration) -> Vec<(u128, Effect)> {
        let (begin, end) = (self.now, self.now + span);
        let mut seen = Vec::new();
        while let Some(at) = self.table.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            while self.table.expire(self.now, &mut self.fx) {
                let after = self.now.since(begin).as_millis();
                seen.extend(self.drain().into_iter().map(|effect| (after, effect)));
            }
        }
        self.now = end;
        seen
    }

    fn drain(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.fx.pop()).collect()
    }

    fn sent(&mut self) -> Vec<String> {
        self.drain().iter().filter_map(text_of).collect()
    }

    /// [C-087] Nothing is left, in no table.
    fn assert_empty(&self) {
        assert_eq!(self.table.len(), 0);
        assert_eq!(self.table.timers(), 0);
        assert_eq!(self.table.active(), Active::default());
        assert!(self.table.index.is_empty() && self.table.outgoing.is_empty());
    }
}

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn flow(transport: Transport) -> Flow {
    Flow { listener: ListenerId(2), transport, remote: "192.0.2.9:5060".parse().unwrap(), connection: None }
}

fn request(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch={branch}\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 5 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn response(status: u16, method: &str, branch: &str) -> String {
    format!(
        "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP p:5060;branch={branch}\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>;tag=far\r\nCall-ID: c\r\nCSeq: 5 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn text_of(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Send { bytes, .. } => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        _ => None,
    }
}

fn new(received: Received) -> ServerId {
    match received {
        Received::New(id) => id,
        other => panic!("{other:?}"),
    }
}

/// The moments at which something was sent, rounded to the tick before.
fn times(seen: &[(u128, Effect)]) -> Vec<u128> {
    seen.iter().filter(|(_, e)| matches!(e, Effect::Send { .. })).map(|(at, _)| at / 10 * 10).collect()
}

/// [C-069] Seven INVITEs over 32 seconds, then the time-out.
#[test]
fn timer_a_and_b() {
    let mut bench = Bench::new();
    let (id, _) = bench.call(Method::Invite, Transport::Udp);
    assert_eq!(bench.sent().len(), 1);
    let seen = bench.wait(Duration::from_secs(40));
    assert_eq!(times(&seen), [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(seen[6], (32_000, Effect::ClientTimedOut { id, owner: 7 }));
    assert_eq!(seen[7].1, Effect::ClientEnded { id, owner: 7 });
    assert_eq!(bench.table.repeats().requests_out, 6);
    bench.assert_empty();
}

/// [C-069] Eleven requests over 32 seconds, then the time-out; every 4 s after a provisional.
#[test]
fn timer_e_and_f() {
    let mut bench = Bench::new();
    let (id, _) = bench.call(Method::Bye, Transport::Udp);
    bench.drain();
    let seen = bench.wait(Duration::from_secs(40));
    assert_eq!(times(&seen), [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(seen[10], (32_000, Effect::ClientTimedOut { id, owner: 7 }));
    bench.assert_empty();

    let (_, branch) = bench.call(Method::Refer, Transport::Udp);
    bench.drain();
    assert!(bench.answer(&response(100, "REFER", &branch)).is_some());
    let seen = bench.wait(Duration::from_secs(40));
    assert_eq!(times(&seen), [500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500]);
    bench.assert_empty();
}

/// [C-075] Nothing is sent twice over streams, by either side.
#[test]
fn streams_repeat_nothing() {
    let mut bench = Bench::new();
    bench.call(Method::Invite, Transport::Tcp);
    bench.call(Method::Bye, Transport::Tls);
    let server = new(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Tcp));
    bench.respond(server, 486);
    assert_eq!(bench.sent().len(), 3);
    assert_eq!(times(&bench.wait(Duration::from_secs(60))), []);
    bench.assert_empty();
}

/// [C-075] Timers D, I, J and K are zero over streams: the transactions end at once.
#[test]
fn streams_linger_only_where_they_must() {
    let mut bench = Bench::new();
    let (_, invite) = bench.call(Method::Invite, Transport::Tcp);
    let (_, bye) = bench.call(Method::Bye, Transport::Tcp);
    let call = new(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Tcp));
    let hang_up = new(bench.receive(&request("BYE", "z9hG4bKb"), Transport::Tcp));
    assert!(bench.answer(&response(486, "INVITE", &invite)).is_some());
    assert!(bench.answer(&response(200, "BYE", &bye)).is_some());
    bench.respond(hang_up, 200);
    bench.respond(call, 603);
    assert_eq!(bench.receive(&request("ACK", "z9hG4bKa"), Transport::Tcp), Received::Absorbed);
    bench.assert_empty();
}

/// [C-081] A repeated request is answered with what was sent last and is not new again.
#[test]
fn repeated_requests_are_answered_from_the_transaction() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa");
    let id = new(bench.receive(&invite, Transport::Udp));
    assert_eq!(bench.receive(&invite, Transport::Udp), Received::Absorbed);
    assert_eq!(bench.sent().len(), 0);
    bench.respond(id, 180);
    assert_eq!(bench.receive(&invite, Transport::Udp), Received::Absorbed);
    assert_eq!(bench.sent(), ["SIP/2.0 180 x\r\n\r\n", "SIP/2.0 180 x\r\n\r\n"]);
    bench.respond(id, 404);
    bench.respond(id, 200);
    assert_eq!(bench.receive(&invite, Transport::Udp), Received::Absorbed);
    assert_eq!(bench.sent(), ["SIP/2.0 404 x\r\n\r\n", "SIP/2.0 404 x\r\n\r\n"]);

    let bye = request("BYE", "z9hG4bKb");
    let id = new(bench.receive(&bye, Transport::Udp));
    bench.respond(id, 200);
    assert_eq!(bench.receive(&bye, Transport::Udp), Received::Absorbed);
    assert_eq!(bench.sent().len(), 2);
    assert_eq!(bench.table.repeats().requests_in, 4);
    assert_eq!(bench.table.repeats().responses_out, 3);
}

/// [C-069] A non-2xx final is sent again until the ACK comes, which goes no further.
#[test]
fn timer_g_h_and_i() {
    let mut bench = Bench::new();
    let id = new(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Udp));
    bench.respond(id, 486);
    bench.drain();
    assert_eq!(times(&bench.wait(Duration::from_secs(8))), [500, 1_500, 3_500, 7_500]);
    assert_eq!(bench.receive(&request("ACK", "z9hG4bKa"), Transport::Udp), Received::Absorbed);
    assert_eq!(bench.receive(&request("ACK", "z9hG4bKa"), Transport::Udp), Received::Absorbed);
    assert_eq!(times(&bench.wait(Duration::from_millis(4_900))), []);
    assert_eq!(bench.table.len(), 1);
    bench.wait(Duration::from_millis(200));
    bench.assert_empty();

    let id = new(bench.receive(&request("INVITE", "z9hG4bKb"), Transport::Udp));
    bench.table.set_server_owner(id, 4);
    bench.respond(id, 486);
    bench.drain();
    let seen = bench.wait(Duration::from_secs(33));
    assert_eq!(times(&seen).len(), 10);
    assert_eq!(seen.last(), Some(&(32_000, Effect::ServerEnded { id, owner: 4 })));
    bench.assert_empty();
}

/// [C-076] A 100 after 150 ms, with the request's fields, unless something else was sent.
#[test]
fn trying_only_when_the_user_is_slow() {
    let mut bench = Bench::new();
    new(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Udp));
    let quick = new(bench.receive(&request("INVITE", "z9hG4bKb"), Transport::Udp));
    bench.respond(quick, 183);
    bench.drain();
    let seen = bench.wait(Duration::from_millis(200));
    assert_eq!(times(&seen), [150]);
    let trying = parse(&text_of(&seen[0].1).unwrap());
    assert_eq!(trying.status(), 100);
    assert_eq!(trying.via().unwrap().branch, Some(&b"z9hG4bKa"[..]));
    assert_eq!(trying.header(HeaderId::To), Some(&b"<sip:b@x>"[..]));
    assert_eq!(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Udp), Received::Absorbed);
    assert_eq!(bench.sent().len(), 1);
}

/// [C-077] No provisional to other requests but a 100 once the peer's Timer E has reached T2.
#[test]
fn late_trying() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut bench = Bench::new();
        let id = new(bench.receive(&request("REFER", "z9hG4bKa"), transport));
        bench.respond(id, 100);
        bench.respond(id, 183);
        let seen = bench.wait(Duration::from_secs(30));
        assert_eq!(times(&seen), [3_500]);
        assert!(text_of(&seen[0].1).unwrap().starts_with("SIP/2.0 100 "));
        let quick = new(bench.receive(&request("REFER", "z9hG4bKb"), transport));
        bench.respond(quick, 202);
        bench.drain();
        assert_eq!(times(&bench.wait(Duration::from_secs(5))), []);
    }
}

/// [C-078] No 408 to other requests than INVITE, no final after the peer has given up, and no late
/// final from our own peer either.
#[test]
fn no_late_finals() {
    let mut bench = Bench::new();
    let id = new(bench.receive(&request("BYE", "z9hG4bKa"), Transport::Udp));
    bench.respond(id, 408);
    assert_eq!(bench.receive(&request("BYE", "z9hG4bKa"), Transport::Udp), Received::Absorbed);
    bench.respond(id, 200);
    let forgotten = new(bench.receive(&request("BYE", "z9hG4bKb"), Transport::Udp));
    bench.table.forget_server(forgotten, &mut bench.fx);
    assert_eq!(bench.sent().len(), 0);

    let late = new(bench.receive(&request("INFO", "z9hG4bKc"), Transport::Udp));
    let (_, branch) = bench.call(Method::Info, Transport::Udp);
    bench.wait(Duration::from_secs(38));
    bench.assert_empty();
    bench.respond(late, 200);
    assert_eq!(bench.answer(&response(200, "INFO", &branch)), None);
    assert_eq!(bench.sent().len(), 0);
}

/// [C-070] [C-071] [C-081] For 64*T1 every 2xx passes down and up, INVITEs are absorbed, and an ACK
/// is the user's; then all is forgotten.
#[test]
fn accepted() {
    let mut bench = Bench::new();
    let server = new(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Udp));
    let (client, branch) = bench.call(Method::Invite, Transport::Udp);
    bench.drain();
    for _ in 0..3 {
        assert_eq!(bench.answer(&response(200, "INVITE", &branch)), Some((client, 7)));
        bench.respond(server, 200);
        assert_eq!(bench.sent().len(), 1);
    }
    assert_eq!(bench.answer(&response(180, "INVITE", &branch)), None);
    assert_eq!(bench.answer(&response(486, "INVITE", &branch)), None);
    assert_eq!(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Udp), Received::Absorbed);
    assert_eq!(bench.receive(&request("ACK", "z9hG4bKa"), Transport::Udp), Received::Ack2xx);
    assert_eq!(bench.receive(&request("ACK", "z9hG4bKnew"), Transport::Udp), Received::Ack2xx);
    assert_eq!(bench.table.outgoing.len(), 0, "a client in Accepted holds nothing");
    assert_eq!(times(&bench.wait(Duration::from_millis(31_900))), []);
    assert_eq!(bench.answer(&response(200, "INVITE", &branch)), Some((client, 7)));
    bench.wait(Duration::from_secs(1));
    bench.assert_empty();
}

/// [C-072] [C-074] Responses are matched by branch, secret and method; others match nothing.
#[test]
fn strays() {
    let mut bench = Bench::new();
    let (_, branch) = bench.call(Method::Invite, Transport::Udp);
    assert_eq!(bench.answer(&response(200, "BYE", &branch)), None);
    assert_eq!(bench.answer(&response(200, "CANCEL", &branch)), None);
    let guessed = branch.replace("feed", "feee");
    assert_eq!(bench.answer(&response(200, "INVITE", &guessed)), None);
    assert_eq!(bench.answer(&response(200, "INVITE", "z9hG4bKother")), None);
    assert!(
        bench
            .answer(&response(200, "INVITE", &branch.to_uppercase().replace("Z9HG4BK", "z9hG4bK")))
            .is_some()
    );
    let reserved = bench.table.reserve_client(1).unwrap();
    let mut branch = Vec::new();
    bench.table.write_branch(reserved, b"", &mut branch);
    assert_eq!(bench.answer(&response(200, "INVITE", std::str::from_utf8(&branch).unwrap())), None);
    bench.table.forget_client(reserved);
    bench.wait(Duration::from_secs(33));
    bench.assert_empty();
}

/// [C-079] The ACK to a non-2xx: same branch, Request-URI and Route, the response's To; one for each
/// time the final comes.
#[test]
fn ack_to_a_failure() {
    let mut bench = Bench::new();
    let (client, branch) = bench.call(Method::Invite, Transport::Udp);
    bench.drain();
    assert_eq!(bench.answer(&response(486, "INVITE", &branch)), Some((client, 7)));
    let first = bench.sent();
    assert_eq!(bench.answer(&response(486, "INVITE", &branch)), None);
    assert_eq!(bench.sent(), first);
    let ack = parse(&first[0]);
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(ack.request_uri(), b"sip:b@h");
    assert_eq!(ack.count(HeaderId::Via), 1);
    assert_eq!(ack.via().unwrap().branch, Some(branch.as_bytes()));
    assert_eq!(ack.header(HeaderId::To), Some(&b"<sip:b@x>;tag=far"[..]));
    assert_eq!(ack.header(HeaderId::Route), Some(&b"<sip:r;lr>"[..]));
    assert_eq!(ack.header(HeaderId::CSeq), Some(&b"5 ACK"[..]));
    assert_eq!(times(&bench.wait(Duration::from_secs(33))), []);
    bench.assert_empty();
}

/// [C-083] A CANCEL finds its INVITE and nothing else, and has a transaction of its own.
#[test]
fn cancel_received() {
    let mut bench = Bench::new();
    let invite = new(bench.receive(&request("INVITE", "z9hG4bKa"), Transport::Udp));
    bench.table.set_server_owner(invite, 11);
    let text = request("CANCEL", "z9hG4bKa");
    let cancel = new(bench.receive(&text, Transport::Udp));
    assert_ne!(invite, cancel);
    let message = parse(&text);
    let found = bench.table.find_invite(&message.ready().unwrap());
    assert_eq!(found, Some(invite));
    assert_eq!(bench.table.server_owner(invite), Some(11));
    let other = parse(&request("CANCEL", "z9hG4bKb"));
    assert_eq!(bench.table.find_invite(&other.ready().unwrap()), None);
}

/// [C-084] [C-085] A CANCEL waits for a provisional, goes once, and is repeated and answered in a
/// transaction that its user never hears of.
#[test]
fn cancel_sent() {
    let mut bench = Bench::new();
    let (client, branch) = bench.call(Method::Invite, Transport::Udp);
    bench.drain();
    bench.table.cancel_client(bench.now, client, Some("SIP;cause=200"), &mut bench.fx);
    assert_eq!(bench.sent().len(), 0);
    assert_eq!(bench.answer(&response(100, "INVITE", &branch)), Some((client, 7)));
    let sent = bench.sent();
    bench.table.cancel_client(bench.now, client, None, &mut bench.fx);
    assert_eq!((sent.len(), bench.fx.len()), (1, 0));
    let cancel = parse(&sent[0]);
    assert_eq!(cancel.method(), Method::Cancel);
    assert_eq!(cancel.request_uri(), b"sip:b@h");
    assert_eq!(cancel.via().unwrap().branch, Some(branch.as_bytes()));
    assert_eq!(cancel.header(HeaderId::CSeq), Some(&b"5 CANCEL"[..]));
    assert_eq!(cancel.header(HeaderId::Reason), Some(&b"SIP;cause=200"[..]));
    assert_eq!(times(&bench.wait(Duration::from_secs(1))), [500]);
    assert_eq!(bench.answer(&response(200, "CANCEL", &branch)), None);
    assert_eq!(times(&bench.wait(Duration::from_secs(2))), []);
    assert_eq!(bench.answer(&response(487, "INVITE", &branch)), Some((client, 7)));
    assert!(bench.sent()[0].starts_with("ACK "));
    let seen = bench.wait(Duration::from_secs(33));
    assert_eq!(seen.last().map(|e| &e.1), Some(&Effect::ClientEnded { id: client, owner: 7 }));
    bench.assert_empty();
}

/// [C-084] A CANCEL that waited is dropped when a final comes first.
#[test]
fn cancel_dropped() {
    for status in [200, 486] {
        let mut bench = Bench::new();
        let (client, branch) = bench.call(Method::Invite, Transport::Udp);
        bench.table.cancel_client(bench.now, client, None, &mut bench.fx);
        bench.answer(&response(status, "INVITE", &branch));
        bench.answer(&response(180, "INVITE", &branch));
        bench.table.cancel_client(bench.now, client, None, &mut bench.fx);
        assert!(bench.sent().iter().all(|text| !text.starts_with("CANCEL")));
        bench.wait(Duration::from_secs(33));
        bench.assert_empty();
    }
}

/// [C-086] Without a final 64*T1 after the CANCEL, the INVITE is given up, and the CANCEL with it.
#[test]
fn cancel_without_final() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut bench = Bench::new();
        let (client, branch) = bench.call(Method::Invite, transport);
        bench.answer(&response(180, "INVITE", &branch));
        bench.table.cancel_client(bench.now, client, None, &mut bench.fx);
        bench.drain();
        bench.answer(&response(200, "CANCEL", &branch));
        let seen = bench.wait(Duration::from_secs(40));
        assert_eq!(seen[0], (32_000, Effect::ClientTimedOut { id: client, owner: 7 }));
        bench.assert_empty();
    }
}

/// [C-064] A request that cannot be sent fails at once; a tag of the past harms nobody.
#[test]
fn send_failed() {
    let mut bench = Bench::new();
    for method in [Method::Invite, Method::Bye] {
        let (id, _) = bench.call(method, Transport::Tcp);
        let tag = match &bench.drain()[0] {
            Effect::Send { tag, .. } => *tag,
            other => panic!("{other:?}"),
        };
        bench.table.send_failed(bench.now, tag, &mut bench.fx);
        assert_eq!(
            bench.drain(),
            [Effect::ClientFailed { id, owner: 7 }, Effect::ClientEnded { id, owner: 7 }]
        );
        bench.assert_empty();
        let (_, _) = bench.call(Method::Info, Transport::Tcp);
        bench.drain();
        bench.table.send_failed(bench.now, tag, &mut bench.fx);
        bench.table.send_failed(bench.now, SendTag::NONE, &mut bench.fx);
        assert!(bench.fx.is_empty());
        bench.wait(Duration::from_secs(33));
    }
}

/// [C-065] An unreachable address fails what was sent there in datagrams and not answered.
#[test]
fn unreachable() {
    let mut bench = Bench::new();
    let (id, _) = bench.call(Method::Invite, Transport::Udp);
    let (_, ringing) = bench.call(Method::Invite, Transport::Udp);
    bench.call(Method::Invite, Transport::Tcp);
    bench.answer(&response(180, "INVITE", &ringing));
    bench.drain();
    let remote = flow(Transport::Udp).remote;
    bench.table.unreachable(bench.now, "192.0.2.1:5060".parse().unwrap(), &mut bench.fx);
    assert!(bench.fx.is_empty());
    bench.table.unreachable(bench.now, remote, &mut bench.fx);
    assert_eq!(bench.drain(), [Effect::ClientFailed { id, owner: 7 }, Effect::ClientEnded { id, owner: 7 }]);
}

/// The table takes no more new requests than it may; what ends something has a little more room.
#[test]
fn full() {
    let mut bench = Bench::new();
    bench.table.configure(Timings::default(), 8);
    for n in 0..8 {
        new(bench.receive(&request("INVITE", &format!("z9hG4bK{n}")), Transport::Udp));
    }
    assert_eq!(bench.receive(&request("INVITE", "z9hG4bKx"), Transport::Udp), Received::Full);
    assert_eq!(bench.receive(&request("ACK", "z9hG4bKx"), Transport::Udp), Received::Ack2xx);
    new(bench.receive(&request("CANCEL", "z9hG4bK1"), Transport::Udp));
    assert_eq!(bench.receive(&request("CANCEL", "z9hG4bK2"), Transport::Udp), Received::Full);
    assert!(bench.table.reserve_client(1).is_some());
    assert!(bench.table.reserve_client(1).is_none());
}

/// The user's timers come back, unless they were taken back, even by what another one led to.
#[test]
fn timers_of_the_user() {
    let mut bench = Bench::new();
    bench.table.set_tu_timer(START, START + Duration::from_secs(1), 1);
    let second = bench.table.set_tu_timer(START, START + Duration::from_secs(1), 2);
    bench.now = START + Duration::from_secs(2);
    assert!(bench.table.expire(bench.now, &mut bench.fx));
    assert_eq!(bench.drain(), [Effect::TuTimer(1)]);
    bench.table.cancel_timer(second);
    assert!(!bench.table.expire(bench.now, &mut bench.fx));
    bench.assert_empty();
}

/// Not before its time, though the table has had nothing to do since it was made.
#[test]
fn a_timer_of_the_user_on_an_idle_table() {
    let mut bench = Bench::new();
    let now = Time::from_millis(1_700_000_000_000);
    bench.table.set_tu_timer(now, now + Duration::from_secs(4), 1);
    assert!(!bench.table.expire(now + Duration::from_secs(1), &mut bench.fx));
    assert!(bench.table.expire(now + Duration::from_secs(5), &mut bench.fx));
    assert_eq!(bench.drain(), [Effect::TuTimer(1)]);
    bench.assert_empty();
}

/// Ids of transactions that have ended do nothing, though their slots are used again.
#[test]
fn stale_ids() {
    let mut bench = Bench::new();
    let old = new(bench.receive(&request("BYE", "z9hG4bKa"), Transport::Tcp));
    bench.respond(old, 200);
    let young = new(bench.receive(&request("BYE", "z9hG4bKb"), Transport::Tcp));
    bench.drain();
    bench.respond(old, 200);
    bench.table.set_server_owner(old, 3);
    bench.table.forget_server(old, &mut bench.fx);
    assert_eq!(bench.table.server_owner(old), None);
    assert_eq!(bench.table.server_owner(young), None);
    assert!(bench.fx.is_empty());
    assert_eq!(bench.table.len(), 1);
}

/// [C-087] Twenty thousand calls linger, their clients holding nothing, and leave no memory behind.
#[test]
fn memory_follows_the_load() {
    let mut bench = Bench::new();
    bench.table.configure(Timings::default(), usize::MAX / 2);
    for n in 0..20_000 {
        let id = new(bench.receive(&request("INVITE", &format!("z9hG4bK{n}")), Transport::Udp));
        let (_, branch) = bench.call(Method::Invite, Transport::Udp);
        bench.answer(&response(200, "INVITE", &branch));
        bench.respond(id, 200);
        bench.drain();
    }
    assert_eq!(bench.table.len(), 40_000);
    assert_eq!(bench.table.outgoing.len(), 0);
    bench.wait(Duration::from_secs(33));
    bench.assert_empty();
    assert!(bench.table.servers.pages() <= 1 && bench.table.clients.pages() <= 1);
    assert!(bench.table.index.capacity() < 8_192);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// [C-078] [C-086] [C-087] Whatever happens in whatever order: each client says exactly once that
    /// it ended, and when all INVITEs are answered or given up, the last timer leaves nothing.
    #[test]
    fn everything_ends(data in proptest::collection::vec(any::<u8>(), 4..800)) {
        fuzz::transaction(&data);
    }
}

/// What only waits for repetitions ends at whole tenths of a second, so that many end at one wake-up.
#[test]
fn what_only_waits_ends_together() {
    let mut bench = Bench::new();
    let begin = bench.now;
    for n in 0..30 {
        let id = new(bench.receive(&request("BYE", &format!("z9hG4bK{n}")), Transport::Udp));
        bench.respond(id, 200);
        bench.wait(Duration::from_millis(7));
    }
    let mut wakes = 0;
    while let Some(at) = bench.table.next_deadline() {
        bench.now = at;
        wakes += usize::from(bench.table.expire(at, &mut bench.fx));
        while bench.table.expire(at, &mut bench.fx) {}
        let after = at.since(begin);
        assert!(bench.table.len() == 30 || after >= Duration::from_secs(32), "{after:?}");
    }
    assert!(wakes <= 4, "{wakes} wake-ups for what ended within 210 ms");
    assert!(bench.now.since(begin) <= Duration::from_millis(32_310));
    bench.assert_empty();
}
