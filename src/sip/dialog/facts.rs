//! What is known of a leg, for those who decide about its call.

use super::LegId;
use super::leg::{Leg, Role, State};
use super::outgoing::Body;
use crate::sip::flow::Destination;
use crate::sip::message::{HeaderId, Message, Method, NameAddr};
use crate::sip::plan::TrunkIx;

/// Bits of the party's Supported.
pub(super) const RELIABLE: u8 = 1;
pub(super) const TIMER: u8 = 2;
const REPLACES: u8 = 4;
const NOREFERSUB: u8 = 8;
const TARGET_DIALOG: u8 = 16;
/// That there was a Supported at all.
const LISTED: u8 = 128;

const TAGS: [(&str, u8); 5] = [
    ("100rel", RELIABLE),
    ("timer", TIMER),
    ("replaces", REPLACES),
    ("norefersub", NOREFERSUB),
    ("tdialog", TARGET_DIALOG),
];

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    /// No final answer to the INVITE yet.
    Early,
    /// A 2xx was sent or came.
    Confirmed,
    /// The call is over; late requests are still met.
    Ended,
}

/// What a leg's party can do, by its Supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supports {
    /// Whether the party has ever said what it supports.
    pub known: bool,
    /// Reliable provisional responses.
    pub reliable: bool,
    /// Session timers.
    pub timer: bool,
    /// INVITE with Replaces.
    pub replaces: bool,
    /// REFER without subscription.
    pub norefersub: bool,
    /// Target-Dialog.
    pub target_dialog: bool,
}

/// What is known of a leg.
#[derive(Clone, Copy, Debug)]
pub struct LegFacts<'a> {
    /// The leg.
    pub id: LegId,
    /// How far it is.
    pub state: LegState,
    /// Who called.
    pub role: Role,
    /// Call-ID.
    pub call_id: &'a [u8],
    tag: u64,
    /// The party's tag; empty while no dialog is there.
    pub remote_tag: &'a [u8],
    /// Where the party's requests go at last: its Contact.
    pub remote_target: &'a [u8],
    /// Baton's From or To value, without tag.
    pub local: &'a [u8],
    /// The party's From or To value, without tag.
    pub remote: &'a [u8],
    /// The last session description of ours that counts.
    pub last_sdp_sent: Option<&'a Body>,
    /// The last of the party's that counts.
    pub last_sdp_received: Option<&'a Body>,
    /// Where the party's messages come from or go to.
    pub flow: &'a Destination,
    /// The trunk the party belongs to.
    pub trunk: Option<TrunkIx>,
    /// Whether an offer of either side waits for its answer, or an INVITE for its end.
    pub offer_open: bool,
    /// Whether an offer of the party's waits for our answer.
    pub owes_answer: bool,
    /// Whether the dialog is one of `sips:`.
    pub secure: bool,
    /// What the party supports.
    pub supports: Supports,
    allow: u16,
}

impl<'a> LegFacts<'a> {
    /// Baton's tag, as it stands in messages.
    pub fn local_tag(&self) -> [u8; 16] {
        super::id::hex16(self.tag)
    }

    /// The URI in [`LegFacts::local`].
    pub fn local_uri(&self) -> &'a [u8] {
        uri_of(self.local)
    }

    /// The URI in [`LegFacts::remote`].
    pub fn remote_uri(&self) -> &'a [u8] {
        uri_of(self.remote)
    }

    /// Whether the party's Allow lists a method; `None` when it never sent one.
    pub fn allows(&self, method: Method) -> Option<bool> {
        (self.allow != 0).then_some(self.allow & (1 << method.index()) != 0)
    }
}

impl Leg {
    /// Notes what a message of the party's says it can do.
    pub(super) fn learn(&mut self, message: &Message) {
        if message.has(HeaderId::Allow) {
            self.allow = message
                .values(HeaderId::Allow)
                .fold(0, |allow, name| allow | 1 << Method::from_bytes(name).index());
        }
        if message.has(HeaderId::Supported) {
            self.supported = LISTED | listed(message, HeaderId::Supported);
        }
        self.supported |= listed(message, HeaderId::Require);
    }

    pub(super) fn facts(&self) -> LegFacts<'_> {
        let dialog = self.dialogs.first();
        let has = |bit| self.supported & bit != 0;
        LegFacts {
            id: self.id,
            state: match self.state {
                State::Calling(_) | State::Offered(_) => LegState::Early,
                State::Answered(_) | State::Up => LegState::Confirmed,
                State::Ended { .. } | State::Dead => LegState::Ended,
            },
            role: self.role,
            call_id: &self.call_id,
            tag: dialog.map_or(self.tag, |dialog| dialog.local_tag),
            remote_tag: dialog.map_or(&[], |dialog| &dialog.remote_tag),
            remote_target: dialog.map_or(&[], |dialog| &dialog.target),
            local: &self.local,
            remote: &self.remote,
            last_sdp_sent: self.sent.as_ref(),
            last_sdp_received: self.received.as_ref(),
            flow: &self.flow,
            trunk: self.trunk,
            offer_open: self.inviting()
                || self.unacknowledged()
                || dialog.is_some_and(|dialog| dialog.exchange.is_open()),
            owes_answer: dialog.is_some_and(|dialog| dialog.exchange.is_theirs()),
            secure: self.secure,
            supports: Supports {
                known: has(LISTED),
                reliable: has(RELIABLE),
                timer: has(TIMER),
                replaces: has(REPLACES),
                norefersub: has(NOREFERSUB),
                target_dialog: has(TARGET_DIALOG),
            },
            allow: self.allow,
        }
    }
}

/// The option tags of a field, as bits.
fn listed(message: &Message, id: HeaderId) -> u8 {
    let bits = |name: &[u8]| {
        let known = TAGS.iter().find(|(tag, _)| name.eq_ignore_ascii_case(tag.as_bytes()));
        known.map_or(0, |(_, bit)| *bit)
    };
    message.values(id).fold(0, |all, name| all | bits(name))
}

fn uri_of(value: &[u8]) -> &[u8] {
    NameAddr::parse(value).map_or(value, |address| address.uri)
}
