//! Where a message came from and where one goes: transports, listeners, connections.
//!
//! These are names, not sockets: `io` maps them to sockets and back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A SIP transport as it stands in Via (RFC 3261 §18, RFC 7118 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; the only unreliable one.
    Udp,
    /// A plain stream.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// All transports, in the order of their index in counters.
    pub const ALL: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

    /// Whether retransmission is the transport's business (RFC 3261 §17).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// Whether the transport is protected by TLS (RFC 3261 §26.2.2).
    pub const fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// Whether messages are WebSocket messages, and connections come from clients only (RFC 7118).
    pub const fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }

    /// The token of the Via sent-protocol.
    pub const fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter. RFC 7118 §5.2 has none of its own for a WebSocket
    /// over TLS.
    pub const fn param_in_uri(self) -> &'static str {
        match self {
            Transport::Wss => Transport::Ws.param(),
            other => other.param(),
        }
    }

    /// The name in the configuration and in metric labels; in URIs it is taken as well.
    pub const fn param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// The transport a token names, whatever its case.
    pub fn from_token(token: &[u8]) -> Option<Transport> {
        Transport::ALL.into_iter().find(|t| token.eq_ignore_ascii_case(t.param().as_bytes()))
    }

    /// The port meant when none is written (RFC 3261 §19.1.2, RFC 7118 §5.2.3).
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }
}

/// A listener by its place in the plan's list ([`crate::sip::plan::Plan::listeners`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

/// A stream connection. The top 16 bits are the shard that owns its socket; never reused in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The `n`-th connection of `shard`.
    pub const fn new(shard: u16, n: u64) -> ConnectionId {
        ConnectionId(((shard as u64) << 48) | (n & 0xffff_ffff_ffff))
    }

    /// The shard whose thread holds the socket.
    pub const fn shard(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// The path a received message came by; an answer goes back along it (RFC 3261 §18.2.2, RFC 3581 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The listener whose socket received it.
    pub listener: ListenerId,
    /// That listener's transport.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection it came on; `None` for datagrams.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// A flow that names nothing, for tests and defaults.
    pub const fn nowhere() -> Flow {
        Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            connection: None,
        }
    }
}

/// Where a message is to go. `io` uses `connection` while it lives, else opens or reuses one from
/// `listener`'s address to `remote` with the same transport and TLS identity (C-047, C-053).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The listener whose address the message names in its Via; its socket sends it (C-043).
    pub listener: ListenerId,
    /// The transport to use.
    pub transport: Transport,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection to prefer.
    pub connection: Option<ConnectionId>,
    /// For TLS: the SIP domain the certificate must name (RFC 5922 §7.1).
    pub domain: Option<Arc<str>>,
}

impl From<Flow> for Destination {
    fn from(flow: Flow) -> Destination {
        Destination {
            listener: flow.listener,
            transport: flow.transport,
            remote: flow.remote,
            connection: flow.connection,
            domain: None,
        }
    }
}
