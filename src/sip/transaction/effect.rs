//! What the transactions of a shard want done, in order.

use super::{ClientId, ServerId};
use crate::shard::SendTag;
use crate::sip::flow::Destination;
use bytes::Bytes;
use std::collections::VecDeque;

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a message; a failure comes back as [`super::Transactions::send_failed`].
    Send {
        /// Where to.
        to: Destination,
        /// The message.
        bytes: Bytes,
        /// For the report of a failure.
        tag: SendTag,
    },
    /// Nobody answered: Timer B or F, or no final within 64*T1 of a CANCEL (C-086).
    ClientTimedOut {
        /// The transaction; it ends with this.
        id: ClientId,
        /// What its user knows it by.
        owner: u32,
    },
    /// The request could not be sent (C-064).
    ClientFailed {
        /// The transaction; it ends with this.
        id: ClientId,
        /// What its user knows it by.
        owner: u32,
    },
    /// The transaction is gone; nothing more comes of it.
    ClientEnded {
        /// The transaction that was.
        id: ClientId,
        /// What its user knew it by.
        owner: u32,
    },
    /// The transaction is gone; nothing more can be sent through it.
    ServerEnded {
        /// The transaction that was.
        id: ServerId,
        /// What its user knew it by.
        owner: u32,
    },
    /// A timer that was set with [`super::Transactions::set_tu_timer`].
    TuTimer(u64),
}

/// Effects in the order in which they are to be carried out: one reused buffer per shard.
#[derive(Debug, Default)]
pub struct Effects(VecDeque<Effect>);

impl Effects {
    /// None yet.
    pub const fn new() -> Effects {
        Effects(VecDeque::new())
    }

    /// Adds one behind the others.
    pub fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }

    /// Takes out the first.
    pub fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
