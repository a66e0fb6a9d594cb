//! What time does to a connection; the clock is the test's.

use super::*;
use std::net::TcpListener;

/// A connection that a peer has made, and the peer's end of it.
fn accepted(now: Time) -> (Connection, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let there = std::net::TcpStream::connect(listener.local_addr().expect("its address")).expect("a peer");
    let (here, remote) = listener.accept().expect("a connection");
    here.set_nonblocking(true).expect("it can be told");
    let peer = Peer { listener: ListenerId(0), transport: Transport::Tcp, remote, domain: None };
    let socket = TcpStream::from_std(here);
    (Connection::new(now, peer, Role::Accepted, socket, None, &Limits::default()), there)
}

/// [C-053] [C-055] A peer's pings are answered and are a use of its connection, however long no message comes;
/// without them it is closed when its time is over.
#[test]
fn pings_keep_a_connection() {
    let options = StreamOptions::default();
    let longest = Duration::from_secs(32);
    let mut now = Time::from_millis(1_700_000_000_000);
    let (mut connection, mut there) = accepted(now);
    let mut messages = Vec::new();
    for _ in 0..30 {
        now += Duration::from_secs(120);
        connection.cut(now, b"\r\n\r\n", &mut messages).expect("a ping");
        connection.write(now).expect("there is room");
        connection.check(now, &options, longest).expect("it is alive");
    }
    assert!(messages.is_empty());
    let mut pongs = [0; 60];
    there.read_exact(&mut pongs).expect("as many answers");
    assert_eq!(pongs, *b"\r\n".repeat(30));
    now += options.idle;
    assert!(matches!(connection.check(now, &options, longest), Err(Cause::Idle)));
}

/// [C-066] Who sends pings and takes no answers gets one for all of them, and fills nothing.
#[test]
fn pongs_that_wait_are_one() {
    let now = Time::from_millis(1_700_000_000_000);
    let (mut connection, mut there) = accepted(now);
    let mut messages = Vec::new();
    for _ in 0..10_000 {
        connection.cut(now, b"\r\n\r\n", &mut messages).expect("a ping");
    }
    assert_eq!((connection.queue.len(), messages.len()), (1, 0));
    connection
        .push(now, Bytes::from_static(b"a message"), 0, SendTag::NONE, usize::MAX)
        .expect("there is room");
    connection.cut(now, b"\r\n\r\n", &mut messages).expect("a ping");
    connection.write(now).expect("there is room");
    assert_eq!(connection.queued, 0);
    let mut got = [0; 13];
    there.read_exact(&mut got).expect("pong, message, pong");
    assert_eq!(got, *b"\r\na message\r\n");
}

/// [C-066] Bounds count what a message takes up, not only its bytes.
#[test]
fn small_messages_fill_a_queue() {
    let now = Time::from_millis(1_700_000_000_000);
    let (mut connection, _there) = accepted(now);
    let small = |connection: &mut Connection| {
        connection.enqueue(Bytes::from_static(b"\x8a\0"), 0, SendTag::NONE, 10_000)
    };
    let fitted = (0..10_000).take_while(|_| small(&mut connection).is_ok()).count();
    assert!((100..1_000).contains(&fitted), "{fitted}");
}
