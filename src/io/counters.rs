//! What the I/O of one shard has done, counted by its thread and read by whoever scrapes.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer: an increment is a plain load and store, never a locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the owning shard's thread may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Subtracts `n`, for gauges. Only the owning shard's thread may call it.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The counters of one shard's I/O. Gauges say so.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: Count,)+
        }

        impl Counters {
            /// Every counter's name and value.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Messages given to this shard's engine.
    messages,
    /// Datagrams received on this shard's sockets, keep-alives included.
    datagrams_received,
    /// Datagrams handed to the kernel.
    datagrams_sent,
    /// Calls of `recvmmsg` that returned datagrams.
    receive_batches,
    /// Calls of `sendmmsg` that sent datagrams.
    send_batches,
    /// Waits for readiness.
    waits,
    /// Datagrams longer than a slot: dropped.
    datagrams_truncated,
    /// Empty and CRLF-only datagrams.
    keepalives,
    /// STUN binding requests answered (C-056).
    stun,
    /// Datagrams refused by the kernel, or for want of room in the send queue.
    datagrams_failed,
    /// ICMP errors received.
    unreachable,
    /// Messages handed to another shard.
    handed_over,
    /// Datagrams dropped because the other shard's ring was full.
    handover_dropped,
    /// Wake-ups sent to other shards.
    wakes,
    /// Stream connections open now (gauge).
    connections,
    /// Stream connections accepted.
    accepted,
    /// Stream connections opened, or tried.
    connects,
    /// Attempts to connect that failed or timed out.
    connect_failed,
    /// TLS handshakes that failed or timed out.
    handshake_failed,
    /// Requests for a WebSocket that were refused or timed out (C-062, C-214).
    upgrade_failed,
    /// Connections closed for a framing error (C-052).
    framing_errors,
    /// Connections closed because their write queue was full (C-066).
    write_overflows,
    /// Connections closed because a message remained unfinished, or a peer took nothing (C-214).
    stalled,
    /// Connections closed for idleness (C-053).
    idle_closed,
    /// Connections refused for want of room.
    connections_refused,
    /// Messages that failed to leave on a stream (C-064).
    stream_sends_failed,
    /// Observation events dropped because the control plane was behind.
    events_dropped,
    /// Final events waiting for the control plane (gauge).
    events_waiting,
    /// Final events lost: the waiting room was full as well.
    events_lost,
    /// Faults caught while a message or timer was handled (C-219).
    faults,
    /// DNS questions asked.
    dns_queries,
    /// DNS questions refused because the resolver was behind.
    dns_refused,
}
