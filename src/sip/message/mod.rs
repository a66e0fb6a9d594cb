//! SIP messages: received bytes and an index over them.
//!
//! Where it stands on a message's way: `io` hands over a datagram, or what [`Framer`] cut from a
//! stream; [`Message::parse`] indexes it in one pass without copying; [`Message::ready`] reads and
//! checks what every decision needs; other fields are read when first asked for. A message that is
//! passed on is its own bytes with a few [`Edits`], written once; a message of our own comes from
//! [`write`].

mod token;

mod error;
mod method;
mod name;
mod start_line;

mod index;
mod ready;
mod values;
mod view;

pub mod header;
pub mod uri;

mod edit;
mod frame;
pub mod multipart;
mod reason;
pub mod sipfrag;
pub mod write;

#[cfg(feature = "fuzzing")]
pub mod fuzz;

pub use edit::Edits;
pub use error::{Answer, ParseError, ParseErrorKind};
pub use frame::{Frame, Framer};
pub use header::{
    CSeq, Event, MediaType, NameAddr, Param, ParamIter, Params, Replaces, SubscriptionState, Via, unquote,
};
pub use method::Method;
pub use name::HeaderId;
pub use ready::Ready;
pub use reason::default_reason;
pub use uri::{Scheme, Uri};
pub use values::{Split, Values};
pub use view::{HeaderLine, Message};

/// Bounds on what a message may contain (C-026).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message; at least 65 535.
    pub message: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of one header line, folded parts included; 65 535 at most.
    pub header_line: usize,
    /// Bytes of a URI.
    pub uri: usize,
    /// Via values.
    pub vias: usize,
    /// Route values, and Record-Route values.
    pub routes: usize,
    /// Levels of multipart nesting.
    pub multipart_depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 65_535,
            headers: 256,
            header_line: 16_384,
            uri: 4_096,
            vias: 70,
            routes: 70,
            multipart_depth: 5,
        }
    }
}

#[cfg(test)]
mod tests;
