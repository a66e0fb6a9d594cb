//! What a shard wants done. One reused buffer per shard; `io` drains it after each batch of inputs.

use crate::shard::PeerMessage;
use crate::sip::event::{Event, ReferSid};
use crate::sip::flow::{ConnectionId, Destination, Flow};
use crate::sip::resolve::Query;
use bytes::Bytes;

/// Comes back in [`crate::shard::Input::SendFailed`]; `SendTag::NONE` asks for no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendTag(pub u64);

impl SendTag {
    /// A message whose fate interests nobody.
    pub const NONE: SendTag = SendTag(u64::MAX);
}

/// One thing to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send a message. Two sends over one flow leave in this order (C-067).
    Send {
        /// Where to.
        to: Destination,
        /// The message; shared with the transaction where it may be sent again.
        bytes: Bytes,
        /// For the report of a failure.
        tag: SendTag,
    },
    /// Ask DNS.
    Resolve(Query),
    /// Close a connection, once what was sent on it before has left.
    Close(ConnectionId),
    /// Tell the records.
    Event(Event),
    /// Tell the control plane, which steers this call, and the records.
    Control(Event),
    /// Tell another shard, behind what it was told before.
    Peer(u16, Box<PeerMessage>),
    /// Tell the operator that somebody was not listened to: a request came on this flow, whose source
    /// is no trunk's and no client's (T-016).
    Stranger(Flow),
    /// Tell the operator that passwords are guessed (T-025): the last one came on this flow.
    Banned(Flow),
    /// Tell the operator which transfer a call comes of that has come back by its Refer-To, and whether it was let in
    ///
    Returned {
        /// The Refer.
        refer: ReferSid,
        /// The call.
        call_id: Box<[u8]>,
        /// Whether it is the one call that may.
        admitted: bool,
    },
}

/// The effects of one or more inputs, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Adds an effect behind the others.
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Takes all effects out, in order; the buffer stays for reuse.
    pub fn drain(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.outputs.drain(..)
    }

    /// How many effects wait.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
}
