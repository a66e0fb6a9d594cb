//! One party of a call: the record behind a CallSid, and how far its leg is.

use super::joining::JoinId;
use super::timers::TimerKey;
use super::transfer::TransferId;
use crate::sip::dialog::{Body, LegId, RequestId};
use crate::sip::event::{CallSid, CallStatus, Direction};
use crate::sip::plan::TrunkIx;
use crate::sip::time::Time;
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// A party. It is known by its CallSid everywhere, since that outlives a move to another shard.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) sid: CallSid,
    /// The owner of its record; without one nothing is recorded.
    pub(super) account: Option<Arc<str>>,
    pub(super) direction: Direction,
    /// The leg it was called for.
    pub(super) parent: Option<CallSid>,
    pub(super) started: Time,
    /// `None` until it is called, and once its leg is gone.
    pub(super) leg: Option<LegId>,
    pub(super) phase: Phase,
    pub(super) status: CallStatus,
    pub(super) talks_to: Option<CallSid>,
    /// The application it waits for or belongs to.
    pub(super) application: Option<u16>,
    /// Whether the control plane decides what becomes of it when its other party leaves.
    pub(super) steered: bool,
    /// The trunk it came by or is called over, for counters and policies.
    pub(super) trunk: Option<TrunkIx>,
    /// The registered client that it is.
    pub(super) client: Option<Arc<str>>,
    /// What it wanted kept private (RFC 3323 §4.2).
    pub(super) privacy: Option<Box<[u8]>>,
    /// Who it is by the word of its trunk, or as it was called.
    pub(super) asserted: Option<Box<[u8]>>,
    /// Until when a REFER of its own has named its dialog to be replaced.
    pub(super) named_until: Time,
    /// The last offer it made: it says more than answers do.
    pub(super) made: Option<Body>,
    /// The join it takes part in.
    pub(super) join: Option<JoinId>,
    /// The transfer it takes part in.
    pub(super) transfer: Option<TransferId>,
    /// It answered REFER with 405 or 501.
    pub(super) deaf: bool,
    /// It has sent a REFER in its dialog.
    pub(super) served: bool,
    /// Its last REFER is counted in its trunk's rate.
    pub(super) counted: bool,
    /// REFERs about its dialog that were others'.
    pub(super) strangers: u8,
    /// Requests that the transfers have carried out for its peer, for the bound on their number.
    pub(super) transfers: u8,
    /// A wait of its own: for the application, for the end of its time.
    pub(super) timer: Option<TimerKey>,
    /// It talks to nobody any more, and has not been put on hold yet.
    pub(super) deserted: bool,
    /// The wait before it is.
    pub(super) rest: Option<TimerKey>,
    /// The last re-INVITE to it that nobody waits for the answer of.
    pub(super) quiet: Option<RequestId>,
    /// That one is its hold.
    pub(super) hold: bool,
    /// One gave way to a join, and is due again unless that succeeds.
    pub(super) untold: bool,
    /// When its call must be over.
    pub(super) limit: Option<Time>,
    /// Further places where a client may be, tried when the one before did not answer.
    pub(super) elsewhere: Option<Box<super::place::Elsewhere>>,
    /// Shards that keep a redirect to it, and its Call-ID, see [`super::moving`].
    pub(super) homes: Option<Box<(Bytes, SmallVec<[u16; 2]>)>>,
}

/// Who is at the other end of a leg, as far as Baton knows its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A trunk.
    Trunk(TrunkIx),
    /// A registered client.
    Client(Arc<str>),
}

/// How far a party's leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its INVITE waits for our final response.
    Offered,
    /// Our 2xx waits for its ACK.
    Accepting,
    /// We ask where it is.
    Locating,
    /// Our INVITE waits for its final response.
    Calling,
    /// Its 2xx came with an offer: it waits for our ACK with the answer.
    Accepted,
    /// The dialog is confirmed.
    Up,
    /// Our CANCEL, or a BYE that must wait, is on its way: nothing but the end can come.
    Leaving,
    /// It has ended; late requests may still come.
    Over,
}

/// What can happen to a party's leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// We answer its INVITE.
    Answer,
    /// Its ACK came.
    Acknowledged,
    /// Its place is known and our INVITE went out.
    Found,
    /// Its 2xx came, with the answer to our offer.
    Answered,
    /// Its 2xx came, with an offer.
    AnsweredWithOffer,
    /// We acknowledge that.
    Acknowledge,
    /// We end it, or it ends.
    End,
    /// Nothing more will come of it.
    Gone,
}

impl Phase {
    /// The phase after an event; one that cannot happen changes nothing.
    pub(super) const fn after(self, turn: Turn) -> Phase {
        use Phase::*;
        match (self, turn) {
            // RFC 3261 §13.3.1
            (Offered, Turn::Answer) => Accepting,
            (Accepting, Turn::Acknowledged) => Up,
            (Locating, Turn::Found) => Calling,
            // RFC 3261 §13.2.2.4
            (Calling, Turn::Answered) => Up,
            (Calling, Turn::AnsweredWithOffer) => Accepted,
            (Accepted, Turn::Acknowledge) => Up,
            // RFC 3261 §9.1: a CANCEL may cross the 2xx.
            (Calling | Leaving, Turn::End) => Leaving,
            (Offered | Accepting | Locating | Accepted | Up | Over, Turn::End) => Over,
            (Offered | Accepting | Locating | Calling | Accepted | Up | Leaving | Over, Turn::Gone) => Over,
            (Leaving, Turn::Answered | Turn::AnsweredWithOffer) => Over,
            (
                Offered,
                Turn::Acknowledged
                | Turn::Found
                | Turn::Answered
                | Turn::AnsweredWithOffer
                | Turn::Acknowledge,
            )
            | (
                Accepting,
                Turn::Answer | Turn::Found | Turn::Answered | Turn::AnsweredWithOffer | Turn::Acknowledge,
            )
            | (
                Locating,
                Turn::Answer
                | Turn::Acknowledged
                | Turn::Answered
                | Turn::AnsweredWithOffer
                | Turn::Acknowledge,
            )
            | (Calling, Turn::Answer | Turn::Acknowledged | Turn::Found | Turn::Acknowledge)
            | (
                Accepted,
                Turn::Answer | Turn::Acknowledged | Turn::Found | Turn::Answered | Turn::AnsweredWithOffer,
            )
            | (
                Up | Over,
                Turn::Answer
                | Turn::Acknowledged
                | Turn::Found
                | Turn::Answered
                | Turn::AnsweredWithOffer
                | Turn::Acknowledge,
            )
            | (Leaving, Turn::Answer | Turn::Acknowledged | Turn::Found | Turn::Acknowledge) => self,
        }
    }

    /// Whether the party has been answered, or has answered, and has not left.
    pub(super) const fn is_answered(self) -> bool {
        match self {
            Phase::Accepting | Phase::Accepted | Phase::Up => true,
            Phase::Offered | Phase::Locating | Phase::Calling | Phase::Leaving | Phase::Over => false,
        }
    }

    /// Whether it has ended or is about to.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Phase::Leaving | Phase::Over)
    }
}

impl Party {
    /// A party that nothing has happened to.
    pub(super) fn new(sid: CallSid, direction: Direction, phase: Phase, started: Time) -> Party {
        Party {
            sid,
            account: None,
            direction,
            parent: None,
            started,
            leg: None,
            phase,
            status: CallStatus::Queued,
            talks_to: None,
            application: None,
            steered: false,
            trunk: None,
            client: None,
            privacy: None,
            asserted: None,
            named_until: Time::ZERO,
            made: None,
            join: None,
            transfer: None,
            deaf: false,
            served: false,
            counted: false,
            strangers: 0,
            transfers: 0,
            timer: None,
            deserted: false,
            rest: None,
            quiet: None,
            hold: false,
            untold: false,
            limit: None,
            elsewhere: None,
            homes: None,
        }
    }

    /// Whose it is.
    pub(super) fn who(&self) -> Option<Who> {
        self.trunk.map(Who::Trunk).or_else(|| self.client.clone().map(Who::Client))
    }

    /// Takes a step.
    pub(super) fn turn(&mut self, turn: Turn) {
        self.phase = self.phase.after(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives() {
        let walk = |from: Phase, turns: &[Turn]| turns.iter().fold(from, |phase, turn| phase.after(*turn));
        assert_eq!(walk(Phase::Offered, &[Turn::Answer, Turn::Acknowledged]), Phase::Up);
        assert_eq!(walk(Phase::Locating, &[Turn::Found, Turn::Answered]), Phase::Up);
        assert_eq!(walk(Phase::Calling, &[Turn::AnsweredWithOffer, Turn::Acknowledge]), Phase::Up);
        assert_eq!(walk(Phase::Calling, &[Turn::End]), Phase::Leaving);
        assert_eq!(walk(Phase::Calling, &[Turn::End, Turn::Answered]), Phase::Over);
        assert_eq!(walk(Phase::Up, &[Turn::End, Turn::Acknowledged, Turn::Answer]), Phase::Over);
    }
}
