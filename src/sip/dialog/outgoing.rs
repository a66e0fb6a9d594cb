//! What the call layer hands to the legs: calls to be made, bodies, further header fields.

use crate::sip::flow::{Destination, ListenerId};
use crate::sip::message::{HeaderId, Message};
use crate::sip::plan::{Credentials, SessionTimer};
use crate::sip::proxy::target::Candidates;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A message body and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The value of Content-Type.
    pub content_type: Box<str>,
    /// The body.
    pub bytes: Bytes,
}

impl Body {
    /// A session description.
    pub fn sdp(bytes: impl Into<Bytes>) -> Body {
        Body { content_type: "application/sdp".into(), bytes: bytes.into() }
    }

    /// The body of a message, in bytes of its own; `None` when it has none. What does not say its
    /// type counts as a session description, as old peers mean it.
    pub fn of(message: &Message) -> Option<Body> {
        let body = message.body();
        if body.is_empty() {
            return None;
        }
        // What cannot be read is no description: only what is not said at all counts as one.
        let named = message.header(HeaderId::ContentType).map(String::from_utf8_lossy);
        Some(Body {
            content_type: named.as_deref().unwrap_or("application/sdp").into(),
            bytes: Bytes::copy_from_slice(body),
        })
    }

    /// Whether it describes a session, alone or among parts: whether it takes part in offer and answer.
    pub fn is_session(&self) -> bool {
        let kind = self.content_type.split(';').next().unwrap_or("").trim();
        kind.eq_ignore_ascii_case("application/sdp")
            || kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
    }
}

/// Further header fields, already checked.
pub type Headers = Vec<(Box<str>, Box<[u8]>)>;

/// Where a new INVITE goes.
#[derive(Clone, Debug)]
pub enum Way {
    /// To trunks' targets, one after another: failover happens within the leg (T-061, T-039, T-040).
    Trunks(Candidates),
    /// To the Request-URI's own host (RFC 3263).
    Uri,
    /// To a registered contact by the path it registered with, and the value of Route that goes with it
    /// (C-162).
    Flow(Destination, Option<Bytes>),
}

/// An INVITE to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where it goes.
    pub way: Way,
    /// The Request-URI; retargeted to each target of a trunk.
    pub uri: Box<[u8]>,
    /// From's value without tag.
    pub from: Box<[u8]>,
    /// To's value without tag.
    pub to: Box<[u8]>,
    /// Further header fields.
    pub headers: Headers,
    /// The offer; `None`: the other side is to make one (C-174).
    pub body: Option<Body>,
    /// For a challenge; `None`: those of the trunk.
    pub credentials: Option<Arc<Credentials>>,
    /// Max-Forwards (C-149).
    pub max_forwards: u8,
    /// Max-Breadth, when there is one (C-149).
    pub max_breadth: Option<u32>,
    /// Without a final response in this time it is cancelled and counts as 408.
    pub ring: Duration,
    /// Whether the peer may send REFER: then Allow and Supported say so.
    pub allow_refer: bool,
    /// Wishes about session timers.
    pub session: SessionTimer,
    /// The listener to send from, where it fits.
    pub preferred: Option<ListenerId>,
}

/// What an INVITE that came is told about Baton.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Whether the peer may send REFER: then Allow and Supported say so.
    pub allow_refer: bool,
    /// Wishes about session timers.
    pub session: SessionTimer,
}

/// No leg was made. For an INVITE that came, it has been answered already: 503 with Retry-After for
/// want of room, 420, 422 or 481 where it cannot be taken (C-146, C-182).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a request cannot be sent in a dialog. What only has to wait (an offer that is open, a dialog not
/// confirmed yet) is no reason: it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// There is no such leg.
    Unknown,
    /// The dialog has ended.
    Ended,
    /// Too many requests wait already.
    Full,
    /// ACK, BYE, CANCEL and PRACK have functions of their own.
    Method,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Limits;

    /// [C-171] What does not say its type is a session description; what says something that cannot be read is
    /// none.
    #[test]
    fn types_of_bodies() {
        for (field, session) in [
            (&b""[..], true),
            (b"Content-Type: application/sdp\r\n", true),
            (b"c: application/SDP; x=y\r\n", true),
            (b"Content-Type: text/\xe9\r\n", false),
            (b"Content-Type: \xff\xfe\r\n", false),
            (b"Content-Type: application/dtmf-relay\r\n", false),
        ] {
            let text = [b"INFO sip:a@b SIP/2.0\r\n", field, b"Content-Length: 3\r\n\r\nv=0"].concat();
            let message = Message::parse(text.into(), &Limits::default()).expect("a message");
            let body = Body::of(&message).expect("a body");
            assert_eq!(body.is_session(), session, "{}", body.content_type);
        }
    }
}
