//! Stream connections of one shard (placeholder until the transports below are in place).

use crate::sip::flow::{Destination, ListenerId, Transport};
use std::net::SocketAddr;
use std::sync::Arc;

/// A peer as connections are reused for it: same listener, transport, address and TLS identity
/// (C-053).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) listener: ListenerId,
    pub(crate) transport: Transport,
    pub(crate) remote: SocketAddr,
    /// The SIP domain its certificate was checked against.
    pub(crate) domain: Option<Arc<str>>,
}

impl From<&Destination> for Peer {
    fn from(to: &Destination) -> Peer {
        Peer {
            listener: to.listener,
            transport: to.transport,
            remote: to.remote,
            domain: to.domain.clone(),
        }
    }
}
