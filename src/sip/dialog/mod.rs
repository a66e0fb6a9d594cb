//! Dialogs and legs: Baton as a user agent towards one party (RFC 3261 §12 to §15).
//!
//! A leg is one INVITE and the dialog it makes. On a message's way it stands between the transactions
//! and the call: it knows sequence numbers, route sets, tags, retransmitted 2xx, challenges, glare,
//! session timers and reliable provisional responses, and tells the call only what the call must decide.

pub mod event;

pub use event::{Fork, LegEvent};

/// A leg of this shard; of no use once it is gone, and harmless then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A request of the party's that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub(crate) server: crate::sip::transaction::ServerId,
    pub(crate) cseq: u32,
}

/// A request of ours inside a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u32);
