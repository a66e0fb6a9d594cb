//! UDP: batches, both families, hand-over between shards, errors.

use crate::echo::{PATIENCE, header, message, server};
use crate::port::free_port;
use baton::shard::Input;
use baton::sip::flow::Transport;
use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::Duration;

const V4: &str = "127.0.0.1:0";

fn phone(bind: &str) -> UdpSocket {
    let phone = UdpSocket::bind(bind).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone
}

fn receive(phone: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_535];
    let (n, _) = phone.recv_from(&mut buffer).expect("an answer");
    String::from_utf8(buffer[..n].to_vec()).unwrap()
}

/// [C-042, C-043] Each listener answers from its own address, over IPv4 and IPv6.
#[test]
fn an_answer_comes_from_the_socket_that_was_asked() {
    let server = server(2, &[(Transport::Udp, V4), (Transport::Udp, "[::1]:0")]);
    for (listener, bind) in [(0, V4), (1, "[::1]:0")] {
        let phone = phone(bind);
        phone.connect(server.addr(listener)).unwrap();
        for n in 0..10 {
            let sent = message(&format!("call-{n}"), n, 0);
            phone.send(sent.as_bytes()).unwrap();
            assert_eq!(receive(&phone), sent);
        }
    }
}

/// [C-027] The largest datagram that IPv4 carries comes through, also by way of another shard.
#[test]
fn the_largest_datagram_comes_through() {
    let server = server(2, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    for n in 0..4 {
        let call = format!("big-{n}");
        let sent = message(&call, 1, 65_507 - message(&call, 1, 60_000).len() + 60_000);
        assert_eq!(sent.len(), 65_507);
        phone.send_to(sent.as_bytes(), server.addr(0)).unwrap();
        assert_eq!(receive(&phone), sent);
    }
}

/// Law 2: one source with many calls spreads over the shards, a call stays on one shard, and its
/// messages keep their order.
#[test]
fn one_source_spreads_over_shards_in_order() {
    const CALLS: u32 = 200;
    const EACH: u32 = 20;
    let server = server(2, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    let mut last: HashMap<String, u32> = HashMap::new();
    for cseq in 1..=EACH {
        // In small bursts, so that no buffer overflows on any machine.
        for burst in 0..CALLS / 50 {
            for call in 0..50 {
                let call = format!("{}-1@127.0.0.1", burst * 50 + call);
                phone.send_to(message(&call, cseq, 0).as_bytes(), server.addr(0)).unwrap();
            }
            for _ in 0..50 {
                receive(&phone);
            }
        }
    }
    let mut shards: HashMap<String, u16> = HashMap::new();
    let mut counts = [0_u32; 2];
    for _ in 0..CALLS * EACH {
        let (shard, Input::Message { bytes, .. }) = server.next() else { panic!("a message") };
        let text = std::str::from_utf8(&bytes).unwrap();
        let call = header(text, "Call-ID").to_owned();
        let cseq: u32 = header(text, "CSeq").split(' ').next().unwrap().parse().unwrap();
        assert_eq!(*shards.entry(call.clone()).or_insert(shard), shard);
        assert_eq!(last.insert(call, cseq).unwrap_or(0) + 1, cseq);
        counts[usize::from(shard)] += 1;
    }
    let share = f64::from(counts[0]) / f64::from(CALLS * EACH);
    assert!((0.35..=0.65).contains(&share), "{counts:?}");
    assert!(server.count("handed_over") > 0);
}

/// [C-067] Messages over one flow leave in the order in which they were asked for, also when they
/// come in faster than one at a time.
#[test]
fn bursts_keep_their_order() {
    let server = server(2, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    for round in 0..20 {
        for n in 0..100 {
            phone.send_to(message("one-call", round * 100 + n, 0).as_bytes(), server.addr(0)).unwrap();
        }
        for n in 0..100 {
            assert_eq!(header(&receive(&phone), "CSeq"), format!("{} OPTIONS", round * 100 + n));
        }
    }
}

/// [C-065] What is sent to a closed port is reported to every shard.
#[test]
fn an_unreachable_peer_is_reported() {
    let server = server(2, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    let gone = phone.local_addr().unwrap();
    // What comes from anybody else finds no socket then, and yet nobody else is given the port.
    phone.connect(gone).unwrap();
    phone.send_to(message("gone", 1, 0).as_bytes(), server.addr(0)).unwrap();
    let mut told = [false; 2];
    let mut n = 1;
    while told != [true; 2] {
        match server.told.recv_timeout(Duration::from_millis(100)) {
            Ok((shard, Input::Unreachable { remote })) => {
                assert_eq!(remote, gone);
                told[usize::from(shard)] = true;
            }
            Ok(_) => {}
            // The kernel need not tell of every datagram.
            Err(_) => {
                n += 1;
                assert!(n < 200, "nobody is told");
                phone.send_to(message("gone", n, 0).as_bytes(), server.addr(0)).unwrap();
            }
        }
    }
}

/// Keep-alives are no messages, and CRLFs before a start line are no part of one.
#[test]
fn line_breaks_before_a_message_are_skipped() {
    let server = server(1, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    let sent = message("call", 1, 0);
    for datagram in ["", "\r\n\r\n", "\0\0\0\0", &format!("\r\n\r\n{sent}")] {
        phone.send_to(datagram.as_bytes(), server.addr(0)).unwrap();
    }
    assert_eq!(receive(&phone), sent);
    assert_eq!(server.count("keepalives"), 3);
}

/// [C-219] A fault in one message leaves the others alone.
#[test]
fn a_fault_is_contained() {
    let server = server(1, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    phone.send_to(b"POISON", server.addr(0)).unwrap();
    let sent = message("call", 1, 0);
    phone.send_to(sent.as_bytes(), server.addr(0)).unwrap();
    assert_eq!(receive(&phone), sent);
    assert_eq!(server.count("faults"), 1);
}

#[test]
fn shutting_down_ends_the_threads_and_frees_the_port() {
    // One that nobody else is given in between.
    let addr = format!("127.0.0.1:{}", free_port());
    let first = server(2, &[(Transport::Udp, &addr)]);
    first.running.shutdown(Duration::from_secs(5));
    let again = server(2, &[(Transport::Udp, &addr)]);
    assert_eq!(again.addr(0).to_string(), addr);
}

/// [C-056] A STUN binding request on the SIP socket is answered with the address it came from.
#[test]
fn a_stun_request_is_answered() {
    let server = server(2, &[(Transport::Udp, V4)]);
    let phone = phone(V4);
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([9; 12]);
    phone.send_to(&request, server.addr(0)).unwrap();
    let mut answer = [0; 64];
    let n = phone.recv(&mut answer).unwrap();
    let port = phone.local_addr().unwrap().port() ^ 0x2112;
    let mut expected = vec![1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    expected.extend([9; 12]);
    expected.extend([0, 0x20, 0, 8, 0, 1]);
    expected.extend(port.to_be_bytes());
    expected.extend([127 ^ 0x21, 0x12, 0xa4, 1 ^ 0x42]);
    assert_eq!(&answer[..n], expected);
    assert!(server.told.is_empty());
}
