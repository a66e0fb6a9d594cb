//! `recvmmsg`, `sendmmsg`, the socket error queue, the scheduler's policy: the crate's only unsafe code.
//!
//! Many datagrams cross in one system call. Received ones lie in slots that are reused as soon as
//! the message they held is done with; sent ones are read where they lie.

#![allow(unsafe_code, reason = "no safe wrapper of recvmmsg and sendmmsg exists among the dependencies")]

use crate::shard::SendTag;
use bytes::{Bytes, BytesMut};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams received or sent by one call at most.
pub(crate) const BATCH: usize = 64;
/// Bytes of a slot: the largest UDP payload fits (C-027).
const SLOT: usize = 65_535;

/// A datagram to be sent.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: Bytes,
    pub(crate) tag: SendTag,
}

/// A received datagram.
#[derive(Debug)]
pub(crate) enum Received {
    Datagram {
        remote: SocketAddr,
        bytes: Bytes,
    },
    /// Longer than a slot, or from an address of no known family.
    Unusable,
}

/// Slots for received datagrams. Each is handed out without copying and taken back, without
/// allocation, once nothing refers to the bytes handed out; else a new slot takes its place.
pub(crate) struct Receiver {
    slots: Vec<BytesMut>,
    names: Vec<libc::sockaddr_storage>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Slots from the front that the last batch used.
    used: usize,
    /// Of those, how many have been handed out.
    next: usize,
}

impl Receiver {
    pub(crate) fn new() -> Receiver {
        Receiver {
            slots: (0..BATCH).map(|_| BytesMut::with_capacity(SLOT)).collect(),
            names: vec![blank_name(); BATCH],
            vectors: vec![blank_vector(); BATCH],
            headers: vec![blank_header(); BATCH],
            used: BATCH,
            next: BATCH,
        }
    }

    /// Receives what waits, [`BATCH`] datagrams at most. Fewer than that means that the socket was
    /// empty at that moment.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.rearm();
        // SAFETY: every header points to one name, one vector and through it to the spare room of
        // one slot, of the lengths written beside; `rearm` just made them so, and none of the four
        // vectors has been resized since. A null timeout is allowed.
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        self.used = n.min(BATCH);
        self.next = 0;
        Ok(self.used)
    }

    /// The next datagram of the last batch, in arrival order.
    pub(crate) fn take(&mut self) -> Option<Received> {
        if self.next >= self.used {
            return None;
        }
        let at = self.next;
        self.next += 1;
        let header = &self.headers[at];
        let remote = address(&self.names[at]);
        let len = (header.msg_len as usize).min(SLOT);
        let slot = &mut self.slots[at];
        // SAFETY: the kernel wrote `msg_len` bytes from the slot's start, which had room for `SLOT`
        // (`rearm` cleared and reserved it).
        unsafe { slot.set_len(len) };
        let bytes = slot.split().freeze();
        match remote {
            Some(remote) if header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0 => {
                Some(Received::Datagram { remote, bytes })
            }
            _ => Some(Received::Unusable),
        }
    }

    /// Makes the slots that the last batch used ready again.
    fn rearm(&mut self) {
        for at in 0..self.used {
            let slot = &mut self.slots[at];
            slot.clear();
            slot.reserve(SLOT);
            self.vectors[at] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT };
            let header = &mut self.headers[at];
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[at]).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = ptr::from_mut(&mut self.vectors[at]);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_flags = 0;
        }
        self.used = 0;
        self.next = 0;
    }
}

/// Room to describe a batch of datagrams to the kernel.
pub(crate) struct Sender {
    names: Vec<libc::sockaddr_storage>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Sender {
    pub(crate) fn new() -> Sender {
        Sender {
            names: vec![blank_name(); BATCH],
            vectors: vec![blank_vector(); BATCH],
            headers: vec![blank_header(); BATCH],
        }
    }

    /// Sends datagrams in order, [`BATCH`] at most; answers how many left. An error is that of the
    /// first one: those before it would have been counted.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = &'a Datagram>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for datagram in datagrams.take(BATCH) {
            let len = write_address(datagram.remote, &mut self.names[count]);
            self.vectors[count] = libc::iovec {
                iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
                iov_len: datagram.bytes.len(),
            };
            let header = &mut self.headers[count].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[count]).cast();
            header.msg_namelen = len;
            header.msg_iov = ptr::from_mut(&mut self.vectors[count]);
            header.msg_iovlen = 1;
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers were just written; each points to one initialised name
        // and to a vector over bytes that the datagrams keep alive for `'a`, longer than this call.
        // The kernel only reads through the vectors.
        let n = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

/// Asks for ICMP errors to be kept for [`next_error`] (C-065).
pub(crate) fn keep_errors(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, name) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that outlives the call, with its size beside it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tells the scheduler that the calling thread need not push others aside when it wakes (SCHED_BATCH).
///
/// A peer on this machine, or the kernel's packet work, then ends its burst before the shard runs, and the
/// shard finds a batch where it would have been woken for each datagram. An idle core is used at once, as ever.
pub(crate) fn wait_for_bursts() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sched_param; 0 is the only priority that the policy knows.
    let param: libc::sched_param = unsafe { mem::zeroed() };
    // SAFETY: the parameter outlives the call, which only reads it; 0 names the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const param) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for the control messages of one queued error.
#[repr(C, align(16))]
struct Control([u8; 512]);

/// The next error kept for a socket: the destination that cannot be reached, `None` inside for an
/// error that says nothing of that kind. `Ok(None)` when there is none left.
pub(crate) fn next_error(socket: BorrowedFd<'_>) -> io::Result<Option<Option<SocketAddr>>> {
    let mut name = blank_name();
    let mut control = Control([0; 512]);
    let mut header = blank_header().msg_hdr;
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    // SAFETY: name and control buffers live on this stack frame with their sizes in the header; no
    // vector is given, so the datagram's bytes are discarded.
    let n = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if n < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    Ok(Some(if is_unreachable(&header) { address(&name) } else { None }))
}

/// Whether a control message of the error queue reports an unreachable destination.
fn is_unreachable(header: &libc::msghdr) -> bool {
    // SAFETY: `header` was filled by a successful recvmsg, so its control buffer holds
    // `msg_controllen` bytes of well-formed control messages.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR answer null or a whole header inside the buffer.
        let head = unsafe { message.read_unaligned() };
        let is_error = matches!(
            (head.cmsg_level, head.cmsg_type),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if is_error {
            // SAFETY: for these types the kernel puts a sock_extended_err at the data's start.
            let error =
                unsafe { libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned() };
            return matches!(
                i32::try_from(error.ee_errno).unwrap_or(0),
                libc::ECONNREFUSED
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::ENOPROTOOPT
                    | libc::EPROTO
                    | libc::EACCES
            );
        }
        // SAFETY: `message` is a control message inside the buffer that `header` describes.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    false
}

fn blank_name() -> libc::sockaddr_storage {
    // SAFETY: all-zero bytes are a valid sockaddr_storage (AF_UNSPEC).
    unsafe { mem::zeroed() }
}

fn blank_vector() -> libc::iovec {
    libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }
}

fn blank_header() -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
    unsafe { mem::zeroed() }
}

/// The address in a name that the kernel wrote.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is large and aligned enough for a sockaddr_in, which the
            // family says it is; every byte pattern is valid for it.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            // The flow label is no part of a peer's identity; the scope is.
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// Writes an address as the kernel wants it; answers its length.
fn write_address(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address.ip() {
        IpAddr::V4(ip) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is large and aligned enough for a sockaddr_in.
            unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in>().write(v4) };
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        IpAddr::V6(ip) => {
            let scope = match address {
                SocketAddr::V6(v6) => v6.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                sin6_scope_id: scope,
            };
            // SAFETY: a sockaddr_storage is large and aligned enough for a sockaddr_in6.
            unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in6>().write(v6) };
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn pair(bind: &str) -> (UdpSocket, UdpSocket) {
        (UdpSocket::bind(bind).unwrap(), UdpSocket::bind(bind).unwrap())
    }

    fn datagram(remote: SocketAddr, bytes: Bytes) -> Datagram {
        Datagram { remote, bytes, tag: SendTag::NONE }
    }

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// So many datagrams, which need not be there yet.
    fn receive_all(receiver: &mut Receiver, socket: &UdpSocket, count: usize) -> Vec<(SocketAddr, Bytes)> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut all = Vec::new();
        while all.len() < count {
            socket.peek(&mut [0]).expect("there is another one");
            receiver.receive(socket.as_fd()).unwrap();
            all.extend(std::iter::from_fn(|| receiver.take()).map(|received| match received {
                Received::Datagram { remote, bytes } => (remote, bytes),
                Received::Unusable => panic!("unusable"),
            }));
        }
        all
    }

    /// [C-042] Both address families carry datagrams, in order, with their sources.
    #[test]
    fn batches_cross_in_order() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = pair(bind);
            let remote = b.local_addr().unwrap();
            let batch: Vec<Datagram> =
                (0..10_u8).map(|n| datagram(remote, Bytes::from(vec![n; 10]))).collect();
            let mut sender = Sender::new();
            assert_eq!(sender.send(a.as_fd(), batch.iter()).unwrap(), 10);
            let got = receive_all(&mut Receiver::new(), &b, 10);
            assert_eq!(got.len(), 10);
            for (n, (source, bytes)) in got.iter().enumerate() {
                assert_eq!(*source, a.local_addr().unwrap());
                assert_eq!(&bytes[..], &[n as u8; 10]);
            }
        }
    }

    /// [C-027] The largest datagram there is arrives whole.
    #[test]
    fn the_largest_datagram_fits() {
        let (a, b) = pair("127.0.0.1:0");
        let big = Bytes::from(vec![b'x'; 65_507]);
        let batch = [datagram(b.local_addr().unwrap(), big.clone())];
        assert_eq!(Sender::new().send(a.as_fd(), batch.iter()).unwrap(), 1);
        assert_eq!(receive_all(&mut Receiver::new(), &b, 1)[0].1, big);
    }

    #[test]
    fn slots_are_reused_when_free_and_left_alone_when_not() {
        let (a, b) = pair("127.0.0.1:0");
        let mut receiver = Receiver::new();
        let remote = b.local_addr().unwrap();
        let mut addresses = Vec::new();
        let mut kept = Vec::new();
        for n in 0..4_u8 {
            a.send_to(&[n; 100], remote).unwrap();
            let (_, bytes) = receive_all(&mut receiver, &b, 1).remove(0);
            addresses.push(bytes.as_ptr());
            if n == 2 {
                kept.push(bytes);
            }
        }
        assert_eq!(addresses[0], addresses[1]);
        assert_eq!(addresses[1], addresses[2]);
        assert_ne!(addresses[2], addresses[3]);
        assert_eq!(&kept[0][..], &[2; 100]);
    }

    /// [C-065] A closed port is reported with its address.
    #[test]
    fn a_refused_datagram_is_reported() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = pair(bind);
            let gone = b.local_addr().unwrap();
            // What comes from anybody else finds no socket then, and yet nobody else is given the port.
            b.connect(gone).unwrap();
            keep_errors(a.as_fd(), gone.is_ipv6()).unwrap();
            let batch = [datagram(gone, Bytes::from_static(b"hello"))];
            assert_eq!(Sender::new().send(a.as_fd(), batch.iter()).unwrap(), 1);
            // The error may come a moment after the send has returned.
            let clock = Clock::new();
            let begin = clock.now();
            let error = std::iter::repeat_with(|| next_error(a.as_fd()).unwrap())
                .find(|error| error.is_some() || clock.now().since(begin) > PATIENCE);
            assert_eq!(error, Some(Some(Some(gone))));
            assert_eq!(next_error(a.as_fd()).unwrap(), None);
        }
    }

    #[test]
    fn an_empty_socket_would_block() {
        let (a, _b) = pair("127.0.0.1:0");
        let error = Receiver::new().receive(a.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_thread_can_let_bursts_end() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 41st field; the second, in brackets, is a name that may hold spaces.
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().parse::<i32>().unwrap()
        };
        let other = std::thread::spawn(move || {
            wait_for_bursts().unwrap();
            policy()
        });
        assert_eq!(other.join().unwrap(), libc::SCHED_BATCH);
        assert_ne!(policy(), libc::SCHED_BATCH);
    }
}
