//! The floor under every proxy's figures: a bare UDP forwarder. One thread a listening port, one blocking `recv` and one
//! `send` a message, nothing read but the source address: what comes from the target goes to the last other peer heard,
//! the rest goes to the target. No SIP, no state, no batch.
//!
//! `floor TARGET LISTEN…` (addresses as 127.0.0.1:5060). Compiled by `perf/run` with `rustc -O`.

use std::net::{SocketAddr, UdpSocket};
use std::thread;

fn forward(listen: SocketAddr, target: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    let mut buffer = [0u8; 65_536];
    let mut caller = None;
    loop {
        // An ICMP "port unreachable" of an earlier send comes back as an error here; it ends nothing.
        let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
        if length == 0 {
            continue;
        }
        let destination = if source == target {
            caller
        } else {
            caller = Some(source);
            Some(target)
        };
        if let Some(destination) = destination {
            let _ = socket.send_to(&buffer[..length], destination);
        }
    }
}

fn main() {
    let addresses: Vec<SocketAddr> =
        std::env::args().skip(1).map(|text| text.parse().expect("an address like 127.0.0.1:5060")).collect();
    let (target, listens) = addresses.split_first().expect("floor TARGET LISTEN…");
    let threads: Vec<_> = listens
        .iter()
        .map(|&listen| {
            let target = *target;
            thread::spawn(move || forward(listen, target).expect("bind"))
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
}
