//! A shard: everything that belongs to its calls, driven by one call per input.
//!
//! `io` gives a shard its inputs in arrival order and carries out what the [`Outbox`] holds
//! afterwards. Nothing here touches a socket, clock or lock (law 1); two shards share nothing but
//! the immutable plan (law 2).

pub mod counters;
mod input;
mod outbox;
pub mod owner;

pub use counters::{
    AttemptResult, CallResult, ConnectionRole, Counters, Dir, DnsResult, FailoverReason, Phase,
    Queue, Rejection, RetransmissionKind, TlsResult, TransactionKind, Work,
};
pub use input::Input;
pub use outbox::{Outbox, Output, SendTag};
