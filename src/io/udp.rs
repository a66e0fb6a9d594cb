//! A datagram socket of one shard: batches in, batches out.
//!
//! A message's way begins and ends here. What the kernel does not take at once waits in a bounded
//! queue, in order (C-067).

use super::counters::Counters;
use super::mmsg::{self, Datagram, Receiver, Sender};
use crate::shard::SendTag;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams that may wait for the kernel; past it they fail.
const QUEUE: usize = 16_384;
/// How often a datagram is tried again when an error may be another's.
const TRIES: u32 = 3;
/// Queued errors read at one time at most.
const ERRORS: usize = 256;

/// One listener's socket in one shard.
pub(crate) struct UdpEnd {
    socket: UdpSocket,
    token: Token,
    queue: VecDeque<Datagram>,
    /// Whether the kernel had no room: nothing is tried until it says it has.
    blocked: bool,
    /// Whether there may be something to receive.
    pub(crate) readable: bool,
}

/// What became of a batch that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Datagrams lie in the receiver.
    Some,
    /// None waited.
    None,
    /// The socket has errors to be read with [`UdpEnd::errors`].
    Error,
}

impl UdpEnd {
    pub(crate) fn new(socket: UdpSocket, token: Token, registry: &Registry) -> io::Result<UdpEnd> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(UdpEnd { socket, token, queue: VecDeque::new(), blocked: false, readable: true })
    }

    /// Receives one batch.
    pub(crate) fn receive(&mut self, into: &mut Receiver, counters: &Counters) -> Arrival {
        match into.receive(self.socket.as_fd()) {
            Ok(n) => {
                // Readiness is edge-triggered: a batch that is not full has emptied the socket, and
                // whatever comes later is announced anew.
                self.readable = n == mmsg::BATCH;
                counters.receive_batches.add(1);
                counters.datagrams_received.add(n as u64);
                if n == 0 { Arrival::None } else { Arrival::Some }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Arrival::None
            }
            // An ICMP error is announced in place of data; the data is still there.
            Err(_) => Arrival::Error,
        }
    }

    /// Appends a datagram to those that [`UdpEnd::flush`] sends; `false` when the queue is full.
    pub(crate) fn push(&mut self, datagram: Datagram) -> bool {
        if self.queue.len() >= QUEUE {
            return false;
        }
        self.queue.push_back(datagram);
        true
    }

    /// Sends what waits, as far as the kernel takes it. Datagrams it refuses are passed to `failed`.
    pub(crate) fn flush(
        &mut self,
        with: &mut Sender,
        registry: &Registry,
        counters: &Counters,
        mut failed: impl FnMut(SendTag),
    ) {
        // An error may be that of an earlier datagram, reported late: the same datagram is tried
        // again before it is given up.
        let mut tries = TRIES;
        while !self.blocked && !self.queue.is_empty() {
            match with.send(self.socket.as_fd(), self.queue.iter()) {
                Ok(0) => return,
                Ok(n) => {
                    counters.send_batches.add(1);
                    counters.datagrams_sent.add(n as u64);
                    self.queue.drain(..n.min(self.queue.len()));
                    tries = TRIES;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => self.block(registry),
                    Some(libc::EINTR) => {}
                    // The interface's queue was full: as good as lost on the way.
                    Some(libc::ENOBUFS) => {
                        self.queue.pop_front();
                        counters.datagrams_failed.add(1);
                    }
                    Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) if tries > 0 => {
                        tries -= 1;
                    }
                    _ => {
                        tries = TRIES;
                        counters.datagrams_failed.add(1);
                        if let Some(datagram) = self.queue.pop_front() {
                            tracing::debug!(remote = %datagram.remote, %error, "a datagram cannot be sent");
                            failed(datagram.tag);
                        }
                    }
                },
            }
        }
    }

    /// The kernel has room again.
    pub(crate) fn unblock(&mut self, registry: &Registry) {
        if self.blocked {
            self.blocked = false;
            self.watch(registry, Interest::READABLE);
        }
    }

    /// Whether datagrams wait for room.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// The destinations that ICMP errors name, each once (C-065).
    pub(crate) fn errors(&mut self, mut unreachable: impl FnMut(SocketAddr)) {
        let mut last = None;
        for _ in 0..ERRORS {
            match mmsg::next_error(self.socket.as_fd()) {
                Ok(Some(Some(remote))) if last != Some(remote) => {
                    last = Some(remote);
                    unreachable(remote);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn block(&mut self, registry: &Registry) {
        self.blocked = true;
        // Writability is watched only while it is waited for: else every datagram that leaves
        // would wake the shard.
        self.watch(registry, Interest::READABLE | Interest::WRITABLE);
    }

    fn watch(&self, registry: &Registry, interest: Interest) {
        let fd = self.socket.as_raw_fd();
        if let Err(error) = registry.reregister(&mut SourceFd(&fd), self.token, interest) {
            tracing::error!(%error, "a datagram socket cannot be watched");
        }
    }
}
