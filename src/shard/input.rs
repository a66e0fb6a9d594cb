//! What a shard is told, besides the time.

use crate::shard::{PeerMessage, SendTag};
use crate::sip::command::Command;
use crate::sip::flow::{ConnectionId, Flow};
use crate::sip::plan::Plan;
use crate::sip::resolve::{Answer, Query};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// One input of a shard.
#[derive(Debug)]
pub enum Input {
    /// A whole message: a datagram, or what the framer cut from a stream.
    Message {
        /// The path it came by.
        flow: Flow,
        /// The bytes as received, nothing before the start line.
        bytes: Bytes,
    },
    /// A send failed for good: connection refused or lost, no route, queue overflow (C-064).
    SendFailed {
        /// What the shard gave with the message.
        tag: SendTag,
    },
    /// An ICMP error came back for datagrams to this address (C-065).
    Unreachable {
        /// The destination that cannot be reached.
        remote: SocketAddr,
    },
    /// A connection is gone; flows that name it no longer work.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// What this shard sent by it lately: what of that is unanswered, nobody will answer there.
        sent: Vec<SendTag>,
    },
    /// DNS answered (or gave up: then `answer` says so).
    Resolved {
        /// What was asked.
        query: Query,
        /// What came back.
        answer: Answer,
    },
    /// A new configuration.
    Plan(Arc<Plan>),
    /// An order of the control plane.
    Command(Box<Command>),
    /// Another shard says something.
    Peer(Box<PeerMessage>),
}
