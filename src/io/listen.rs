//! Opens the listening sockets: for each listener one socket a shard, all on one address.
//!
//! SO_REUSEPORT lets the kernel spread peers over the shards' sockets; all messages of one source
//! address and port, or of one connection, come to one socket, so they keep their order.

use super::mmsg;
use crate::sip::flow::Transport;
use crate::sip::plan::Listener;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use thiserror::Error;

/// Connections the kernel keeps for a shard that has not accepted them yet.
const BACKLOG: i32 = 1_024;

/// How a listener's sockets are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes asked for as receive and send buffer of a datagram socket; the kernel may give less.
    pub buffer: usize,
    /// Differentiated services code point, 0 to 63 (C-068).
    pub dscp: Option<u8>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions { buffer: 8 << 20, dscp: None }
    }
}

/// A listener that could not be opened.
#[derive(Debug, Error)]
#[error("listener \"{name}\": {transport} {address}: {problem}")]
pub struct ListenError {
    /// The listener's name.
    pub name: String,
    /// Its transport, as in `bind`.
    pub transport: &'static str,
    /// The address wanted.
    pub address: SocketAddr,
    /// What went wrong, and what would help.
    pub problem: ListenProblem,
}

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum ListenProblem {
    /// EADDRINUSE.
    #[error("address in use: is another server running?")]
    InUse,
    /// EADDRNOTAVAIL.
    #[error("no interface of this machine has this address: bind one that `ip address` shows")]
    NotLocal,
    /// EACCES, EPERM.
    #[error("not permitted: ports below 1024 need root or CAP_NET_BIND_SERVICE")]
    NotPermitted,
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

impl From<io::Error> for ListenProblem {
    fn from(error: io::Error) -> ListenProblem {
        match error.kind() {
            io::ErrorKind::AddrInUse => ListenProblem::InUse,
            io::ErrorKind::AddrNotAvailable => ListenProblem::NotLocal,
            io::ErrorKind::PermissionDenied => ListenProblem::NotPermitted,
            _ => ListenProblem::Other(error),
        }
    }
}

/// One listener's sockets, one a shard.
#[derive(Debug)]
pub(crate) enum Sockets {
    Udp(Vec<UdpSocket>),
    Stream(Vec<TcpListener>),
}

/// A listener that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) transport: Transport,
    /// The real address: with the port the kernel chose where 0 was asked for.
    pub(crate) local: SocketAddr,
    pub(crate) sockets: Sockets,
}

/// Opens all sockets of a listener.
pub(crate) fn open(listener: &Listener, shards: u16, options: SocketOptions) -> Result<Opened, ListenError> {
    let transport = listener.transport;
    open_all(transport, listener.bind, shards, options).map_err(|problem| ListenError {
        name: listener.name.to_string(),
        transport: transport.param(),
        address: listener.bind,
        problem,
    })
}

fn open_all(
    transport: Transport,
    bind: SocketAddr,
    shards: u16,
    options: SocketOptions,
) -> Result<Opened, ListenProblem> {
    let datagram = match transport {
        Transport::Udp => true,
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => false,
    };
    if bind.port() != 0 {
        // With SO_REUSEPORT a second server would silently share the port: look for it first.
        let probe = socket(bind, datagram)?;
        probe.set_reuse_address(!datagram)?;
        probe.bind(&SockAddr::from(bind))?;
    }
    let mut local = bind;
    let mut sockets = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards.max(1) {
        let socket = socket(local, datagram)?;
        // For datagrams, the kernel may choose a port that others share already, of those who would share this one: the
        // first socket is given a port of its own, and shares it from then on.
        let choice = datagram && local.port() == 0;
        socket.set_reuse_port(!choice)?;
        // A restarted server must not wait for old connections in TIME-WAIT.
        socket.set_reuse_address(!datagram)?;
        if datagram {
            enlarge(&socket, options.buffer);
            mmsg::keep_errors(socket.as_fd(), bind.is_ipv6())?;
        }
        mark(&socket, bind.is_ipv6(), options.dscp)?;
        socket.bind(&SockAddr::from(local))?;
        socket.set_reuse_port(true)?;
        if !datagram {
            socket.listen(BACKLOG)?;
        }
        local = socket.local_addr()?.as_socket().unwrap_or(local);
        sockets.push(socket);
    }
    let sockets = if datagram {
        Sockets::Udp(sockets.into_iter().map(UdpSocket::from).collect())
    } else {
        Sockets::Stream(sockets.into_iter().map(TcpListener::from).collect())
    };
    Ok(Opened { transport, local, sockets })
}

/// A socket that is to be connected to `remote`, leaving from `local`'s address with any port.
pub(crate) fn outgoing(local: SocketAddr, remote: SocketAddr, dscp: Option<u8>) -> io::Result<Socket> {
    let socket = socket(remote, false)?;
    mark(&socket, remote.is_ipv6(), dscp)?;
    if !local.ip().is_unspecified() && local.is_ipv4() == remote.is_ipv4() {
        socket.bind(&SockAddr::from(SocketAddr::new(local.ip(), 0)))?;
    }
    Ok(socket)
}

fn socket(address: SocketAddr, datagram: bool) -> io::Result<Socket> {
    let (kind, protocol) =
        if datagram { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // An IPv6 listener takes IPv6 only: an IPv4 peer would appear under a mapped address.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Asks for large buffers and says so when the kernel gives much less.
fn enlarge(socket: &Socket, wanted: usize) {
    let refused =
        socket.set_recv_buffer_size(wanted).is_err() || socket.set_send_buffer_size(wanted).is_err();
    let got = socket.recv_buffer_size().unwrap_or(0);
    if refused || got < wanted {
        tracing::info!(
            wanted,
            got,
            "the kernel limits socket buffers: net.core.rmem_max and net.core.wmem_max raise them"
        );
    }
}

/// Marks what leaves (C-068). The code point is the upper six bits of the byte.
fn mark(socket: &Socket, ipv6: bool, dscp: Option<u8>) -> io::Result<()> {
    match dscp {
        None => Ok(()),
        Some(dscp) if ipv6 => socket.set_tclass_v6(u32::from(dscp & 0x3f) << 2),
        Some(dscp) => socket.set_tos_v4(u32::from(dscp & 0x3f) << 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Servers at once: so many that, of all ports, two would likely be the same by chance.
    const MANY: usize = 300;

    fn listener(transport: Transport, bind: SocketAddr) -> Listener {
        Listener {
            name: "lan".into(),
            transport,
            bind,
            host: "127.0.0.1".into(),
            port: bind.port(),
            tls_profiles: Vec::new(),
        }
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// [C-043] Port 0 takes one free port for all shards and tells which.
    #[test]
    fn all_shards_share_the_port_that_the_kernel_chose() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let opened = open(&listener(transport, any()), 3, SocketOptions::default()).unwrap();
            assert_ne!(opened.local.port(), 0);
            let locals: Vec<SocketAddr> = match &opened.sockets {
                Sockets::Udp(all) => all.iter().map(|s| s.local_addr().unwrap()).collect(),
                Sockets::Stream(all) => all.iter().map(|s| s.local_addr().unwrap()).collect(),
            };
            assert_eq!(locals, vec![opened.local; 3]);
        }
    }

    /// [C-049] UDP and TCP can have the same address and port.
    #[test]
    fn udp_and_tcp_share_a_port() {
        let options = SocketOptions::default();
        // One that is no other program's for UDP.
        let (_tcp, udp) = std::iter::repeat_with(|| {
            let tcp = open(&listener(Transport::Tcp, any()), 1, options).unwrap();
            let udp = open(&listener(Transport::Udp, tcp.local), 1, options);
            (udp.is_ok() || UdpSocket::bind(tcp.local).is_ok()).then_some((tcp, udp))
        })
        .flatten()
        .next()
        .unwrap();
        assert!(udp.is_ok(), "{udp:?}");
    }

    /// A port that the kernel chooses is no other server's.
    #[test]
    fn chosen_ports_differ() {
        let options = SocketOptions::default();
        let all = (0..MANY).map(|_| open(&listener(Transport::Udp, any()), 1, options).unwrap());
        let all: Vec<Opened> = all.collect();
        let ports: HashSet<u16> = all.iter().map(|opened| opened.local.port()).collect();
        assert_eq!(ports.len(), all.len());
    }

    #[test]
    fn a_second_server_on_the_same_address_is_refused() {
        let options = SocketOptions::default();
        for transport in [Transport::Udp, Transport::Tcp] {
            let first = open(&listener(transport, any()), 2, options).unwrap();
            let error = open(&listener(transport, first.local), 2, options).unwrap_err();
            assert!(matches!(error.problem, ListenProblem::InUse), "{error}");
            assert_eq!(
                error.to_string(),
                format!(
                    "listener \"lan\": {} {}: address in use: is another server running?",
                    transport.param(),
                    first.local
                )
            );
        }
    }

    /// [C-068] The code point is set on what leaves.
    #[test]
    fn the_code_point_is_set() {
        let options = SocketOptions { dscp: Some(24), ..SocketOptions::default() };
        let opened = open(&listener(Transport::Udp, any()), 1, options).unwrap();
        let Sockets::Udp(sockets) = opened.sockets else { panic!("datagrams") };
        let socket = Socket::from(sockets.into_iter().next().unwrap());
        assert_eq!(socket.tos_v4().unwrap(), 24 << 2);
    }
}
