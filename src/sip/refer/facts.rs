//! What a REFER or NOTIFY says, as far as a Refer is concerned.

use crate::sip::event::{CallSid, ReferSid};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

/// A From or To tag, as eight bytes whatever its length. Two tags that collide can only confuse the
/// call they stand in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// The tag written so; an absent one is an empty one (RFC 3261 §12.2.1.1).
    pub fn of(tag: &[u8]) -> Tag {
        let mut hasher = SipHasher13::new();
        hasher.write(tag);
        Tag(hasher.finish())
    }
}

/// The dialog a request belongs to, seen from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// The call, as the authenticated dialog token names it.
    pub call: CallSid,
    /// The sender's tag: that of From.
    pub from: Tag,
    /// The receiver's tag: that of To.
    pub to: Tag,
}

impl Dialog {
    /// The same dialog seen from the other side.
    pub const fn reversed(self) -> Dialog {
        Dialog { call: self.call, from: self.to, to: self.from }
    }
}

/// What a REFER says, and what it belongs to.
#[derive(Clone, Debug)]
pub struct ReferFacts {
    /// The identifier it gets, should it be a new Refer.
    pub sid: ReferSid,
    /// The dialog it was sent in, seen from the referrer.
    pub dialog: Dialog,
    /// The account of the call.
    pub account: Arc<str>,
    /// The number of its CSeq.
    pub cseq: u32,
    /// Referred-By's URI, else From's.
    pub from: String,
    /// Refer-To's URI without its header part.
    pub to: String,
}

/// How the REFER itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With this response; a provisional one changes nothing.
    Response(u16),
    /// With none in time: Timer F.
    Timeout,
    /// It could not be sent.
    TransportFailure,
}

/// What a NOTIFY of the refer package says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFacts {
    /// The `id` of its Event header.
    pub id: Option<u32>,
    /// Whether Subscription-State says `terminated`.
    pub terminated: bool,
    /// How much longer the subscription lasts, where it says so.
    pub expires: Option<Duration>,
    /// The status code of its sipfrag; `None` when there is no usable status line.
    pub code: Option<u16>,
}
