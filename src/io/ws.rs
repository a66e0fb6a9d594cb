//! WebSocket as a transport of SIP (RFC 7118): the layer of one connection between its stream and
//! its messages.
//!
//! Baton is the server only: nobody can connect to a browser. A connection begins with an HTTP
//! request ([`upgrade`]); afterwards each WebSocket message is one SIP message ([`frame`]).

mod frame;
mod upgrade;

use bytes::Bytes;
use frame::{Decoder, Fault, Item, Opcode, frame};
use upgrade::Upgrade;

/// RFC 6455 §7.4.1: the server goes away, or has no more use for the connection.
const GOING_AWAY: u16 = 1001;
/// A WebSocket message that is a keep-alive (RFC 7118 §6 with RFC 5626 §3.5.1), and its answer.
const PING: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";

/// One connection's WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    stage: Stage,
    /// The longest message.
    limit: usize,
}

#[derive(Debug)]
enum Stage {
    /// The client has connected and not yet asked, or not to the end.
    Upgrading(Vec<u8>),
    Open(Decoder),
    /// Nothing more is read.
    Over,
}

/// What came of bytes, beside messages.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// To be sent as it is.
    pub(crate) replies: Vec<Bytes>,
    /// Messages came.
    pub(crate) messages: bool,
    /// The client gave a sign of life that is no message.
    pub(crate) alive: bool,
    /// It is over: nothing more is read, and the connection closes once the replies have left.
    pub(crate) end: Option<End>,
}

/// Why a WebSocket is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The request for it was refused.
    Refused,
    /// The client closed it.
    Closed,
    /// What the client sent cannot be understood, or is too long.
    Fault,
}

impl WebSocket {
    /// A WebSocket whose client has just connected.
    pub(crate) fn new(limit: usize) -> WebSocket {
        WebSocket { stage: Stage::Upgrading(Vec::new()), limit }
    }

    /// Whether messages can be exchanged.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        match &self.stage {
            Stage::Open(decoder) => decoder.is_partial(),
            // The request has a time limit of its own.
            Stage::Upgrading(_) | Stage::Over => false,
        }
    }

    /// Takes what was read and appends the whole messages in it to `messages`.
    pub(crate) fn take(&mut self, bytes: &[u8], origins: &[Box<str>], messages: &mut Vec<Bytes>) -> Taken {
        let mut taken = Taken::default();
        match &mut self.stage {
            Stage::Upgrading(request) => {
                request.extend_from_slice(bytes);
                match upgrade::answer(request, origins) {
                    Upgrade::More => {}
                    Upgrade::Refused { response } => {
                        taken.replies.push(response);
                        self.over(&mut taken, End::Refused);
                    }
                    Upgrade::Accepted { response, head } => {
                        taken.replies.push(response);
                        let mut decoder = Decoder::new(self.limit);
                        decoder.push(request.get(head..).unwrap_or_default());
                        self.stage = Stage::Open(decoder);
                        self.read(&mut taken, messages);
                    }
                }
            }
            Stage::Open(decoder) => {
                decoder.push(bytes);
                self.read(&mut taken, messages);
            }
            Stage::Over => {}
        }
        taken
    }

    fn read(&mut self, taken: &mut Taken, messages: &mut Vec<Bytes>) {
        let Stage::Open(decoder) = &mut self.stage else { return };
        let end = loop {
            match decoder.next() {
                Ok(None) => return,
                Ok(Some(Item::Message(message))) if message[..] == *PING => {
                    taken.alive = true;
                    taken.replies.push(frame(Opcode::Text, PONG));
                }
                Ok(Some(Item::Message(message))) if message.iter().all(|b| b"\r\n".contains(b)) => {
                    taken.alive = true;
                }
                Ok(Some(Item::Message(message))) => {
                    taken.messages = true;
                    messages.push(message);
                }
                Ok(Some(Item::Ping(payload))) => {
                    taken.alive = true;
                    taken.replies.push(frame(Opcode::Pong, &payload));
                }
                Ok(Some(Item::Pong)) => taken.alive = true,
                Ok(Some(Item::Close(status))) => {
                    // RFC 6455 §5.5.1: answered with the same status.
                    let status = status.map(u16::to_be_bytes);
                    let payload = status.as_ref().map_or(&[][..], |status| &status[..]);
                    taken.replies.push(frame(Opcode::Close, payload));
                    break End::Closed;
                }
                Err(fault) => {
                    taken.replies.push(closing(fault));
                    break End::Fault;
                }
            }
        };
        self.over(taken, end);
    }

    fn over(&mut self, taken: &mut Taken, end: End) {
        self.stage = Stage::Over;
        taken.end = Some(end);
    }

    /// One message as it goes to the client (RFC 7118 §5): as text, unless it is none.
    pub(crate) fn message(bytes: &[u8]) -> Bytes {
        let opcode = if std::str::from_utf8(bytes).is_ok() { Opcode::Text } else { Opcode::Binary };
        frame(opcode, bytes)
    }

    /// Asks for a sign of life.
    pub(crate) fn ping() -> Bytes {
        frame(Opcode::Ping, b"")
    }

    /// What tells the client that the connection is being closed.
    pub(crate) fn farewell(&mut self) -> Option<Bytes> {
        let open = self.is_open();
        self.stage = Stage::Over;
        open.then(|| frame(Opcode::Close, &GOING_AWAY.to_be_bytes()))
    }
}

fn closing(fault: Fault) -> Bytes {
    frame(Opcode::Close, &fault.status().to_be_bytes())
}
