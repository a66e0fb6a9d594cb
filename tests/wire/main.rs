//! Real sockets on loopback: one file a transport.

mod echo;
mod udp;
