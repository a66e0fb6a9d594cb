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
