//! What shards tell each other (law 2): calls that meet may live on two of them, and registrations
//! belong to the shard of their address of record.
//!
//! `io` carries these over the same rings as handed-over messages, in order.

use crate::shard::owner::{HashKey, owner_of};
use crate::sip::auth::Lesson;
use crate::sip::call::{Errand, MovedCall, Picks, Who};
use crate::sip::event::{CallSid, ReferSid};
use crate::sip::flow::Flow;
use crate::sip::refer::replaces::Named;
use crate::sip::refer::returning::{Caller, Worth};
use crate::sip::registrar::Contact;
use bytes::Bytes;

/// Where a shard stands among the others.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number, from 0.
    pub index: u16,
    /// How many there are; at least 1.
    pub shards: u16,
    /// How Call-IDs are spread over them.
    pub key: HashKey,
}

impl Place {
    /// The only shard there is, for tests.
    pub const fn alone() -> Place {
        Place { index: 0, shards: 1, key: HashKey::new([0; 16]) }
    }

    /// The shard that a Call-ID, or an address of record, belongs to.
    pub fn owner_of(&self, name: &[u8]) -> u16 {
        owner_of(name, &self.key, self.shards)
    }

    /// Whether it belongs here.
    pub fn owns(&self, name: &[u8]) -> bool {
        self.owner_of(name) == self.index
    }
}

/// One message from shard to shard.
#[derive(Debug)]
pub enum PeerMessage {
    /// A SIP message for a call that moved, or a REGISTER for the shard of its address of record.
    Sip {
        /// The path it came by.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// A 2xx to an INVITE of a call that moved, whose transaction is where it was: what comes again, or from
    /// another callee than the one that has answered.
    Answer {
        /// The message.
        bytes: Bytes,
    },
    /// An order for a call that moved.
    Command(Box<crate::sip::command::Command>),
    /// Where is this client? Answered with [`PeerMessage::Bindings`].
    Locate {
        /// Who asks.
        from: u16,
        /// Comes back in the answer.
        ticket: u64,
        /// The user.
        user: Box<str>,
    },
    /// Where a client is.
    Bindings {
        /// The question's.
        ticket: u64,
        /// Its contacts, best first.
        contacts: Vec<Contact>,
    },
    /// Give me the call that has this dialog (Call-ID, tag of Baton's side, tag of the party).
    Claim {
        /// Who asks.
        from: u16,
        /// Comes back in the answer.
        ticket: u64,
        /// Call-ID.
        call_id: Bytes,
        /// The tag on Baton's side.
        local_tag: Bytes,
        /// The tag on the party's side.
        remote_tag: Bytes,
        /// What for.
        errand: Errand,
    },
    /// The call that was claimed for a transfer still rings: who is called for it is called for the transfer's
    /// survivor now, goes there with [`PeerMessage::Moved`] on answering, and this is how far it is.
    Rings {
        /// Who tells.
        from: u16,
        /// The claim's.
        ticket: u64,
        /// For whom.
        survivor: CallSid,
        /// The call that was claimed.
        consultation: CallSid,
        /// It rings, it has failed, or cannot be had.
        code: u16,
    },
    /// The transfer is over, and has no use any more for who rings, nor for the call that was claimed for it.
    Unwanted {
        /// For whom it rang.
        survivor: CallSid,
        /// The call that was claimed.
        consultation: CallSid,
        /// How the transfer failed.
        code: Option<u16>,
    },
    /// A REFER from this peer has named a dialog that belongs to the other shard: should it be a leg of the
    /// same peer's, it may be replaced.
    Named {
        /// Who sent the REFER.
        who: Who,
        /// The dialog.
        dialog: Box<Named>,
    },
    /// The leg that was claimed to be replaced rings: its place is the new party's, once that is accepted and
    /// claims it again.
    Picks(Box<Picks>),
    /// The call that was claimed, whole; or why there is none: the code for who wants it.
    Moved {
        /// The question's.
        ticket: u64,
        /// The call's state.
        call: Result<Box<MovedCall>, u16>,
    },
    /// A call has come to the other shard by the Refer-To of a Refer that began here: may it? Answered with
    /// [`PeerMessage::Worth`].
    Returns {
        /// Who asks.
        from: u16,
        /// Comes back in the answer.
        ticket: u32,
        /// The Refer.
        refer: ReferSid,
        /// The call.
        caller: Caller,
    },
    /// What the token of a call that came back is worth.
    Worth {
        /// The question's.
        ticket: u32,
        /// The Refer, and the call: the ticket may be another's by now.
        refer: ReferSid,
        /// The call.
        caller: Caller,
        /// The answer.
        worth: Worth,
    },
    /// Who is at home where, or guesses passwords.
    Lesson(Lesson),
    /// A call that moved here has ended: its Call-IDs need no redirect any more.
    Forget {
        /// The Call-IDs.
        call_ids: Vec<Bytes>,
    },
}
