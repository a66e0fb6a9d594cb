//! Real sockets on loopback: one file a transport, and one for DNS.

mod dns;
mod echo;
#[path = "../port/mod.rs"]
mod port;
mod tcp;
mod tls;
mod udp;
mod ws;
