//! Real sockets on loopback: one file a transport.

mod echo;
mod tcp;
mod tls;
mod udp;
