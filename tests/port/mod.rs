//! Ports for tests that must name one before it is bound.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;

/// Below the kernel's ephemeral range, so that no bind to port 0 is given one of them.
const RANGE: std::ops::Range<u16> = 10_000..20_000;

/// Names that are held until the process ends: another process that looks for a port passes over them.
static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// A port that is free for UDP and TCP on 127.0.0.1, given out once: in this process, and in all others that look for
/// one in this way while it lives.
pub fn free_port() -> u16 {
    let mut claims = CLAIMS.lock().expect("nobody failed");
    // Processes begin in different places, so that they seldom meet.
    let begin = std::process::id() as usize * 16;
    let place = |n: usize| RANGE.start + ((begin + n) % RANGE.len()) as u16;
    let (port, claim) = (0..RANGE.len())
        .map(place)
        .find_map(|port| {
            // The interop tests claim theirs by the same name.
            let name = SocketAddr::from_abstract_name(format!("baton-test-port-{port}")).ok()?;
            let claim = UnixDatagram::bind_addr(&name).ok()?;
            UdpSocket::bind(("127.0.0.1", port)).ok()?;
            TcpListener::bind(("127.0.0.1", port)).ok()?;
            Some((port, claim))
        })
        .expect("a port is free");
    claims.push(claim);
    port
}
