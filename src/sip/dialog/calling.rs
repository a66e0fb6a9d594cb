//! An INVITE of ours on its way: what is kept of it until its final answer.

use super::hop::Places;
use super::leg::Authorization;
use super::outgoing::{Outgoing, Way};
use crate::sip::auth::Challenge;
use crate::sip::flow::Destination;
use crate::sip::message::Message;
use crate::sip::plan::{Credentials, TrunkIx};
use crate::sip::proxy::Cx;
use crate::sip::proxy::context::rank;
use crate::sip::proxy::target::Candidate;
use crate::sip::time::Time;
use crate::sip::transaction::ClientId;
use std::sync::Arc;

/// How far the current attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// DNS is being asked.
    Locating,
    /// Sent, nothing heard.
    Sent,
    /// 100 heard.
    Trying,
    /// 101 to 199 heard: no failover any more (C-123).
    Ringing,
}

/// Why it is being cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The call wants it.
    Ordered,
    /// Nobody answered in time.
    RangTooLong,
}

/// Why an attempt came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No address, no listener, or the peer cannot be reached.
    Transport,
    /// Nothing heard in time.
    NoResponse,
    /// A final answer that the next target may overcome.
    Code,
}

/// What an attempt went by: a 2xx that comes when it was given up, or a second one, is acknowledged and ended by
/// that (C-131).
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) cseq: u32,
    pub(super) flow: Destination,
    pub(super) secure: bool,
    pub(super) trunk: Option<TrunkIx>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) authorization: Authorization,
}

/// An INVITE of ours without a final answer.
#[derive(Debug)]
pub(super) struct Calling {
    pub(super) out: Outgoing,
    pub(super) cseq: u32,
    pub(super) client: Option<ClientId>,
    pub(super) progress: Progress,
    pub(super) cancelled: Option<Cancelled>,
    pub(super) authorization: Authorization,
    /// Forks met so far.
    pub(super) forks: u8,
    /// The Request-URI in use.
    pub(super) uri: Box<[u8]>,
    /// The shortest session interval the peer takes, from its 422.
    pub(super) min_se: u32,
    pub(super) candidate: Option<Candidate>,
    /// A hop is chosen and its places are wanted.
    pub(super) locating: bool,
    /// The one hop there is has been tried.
    pub(super) tried: bool,
    pub(super) places: Places,
    pub(super) attempts: usize,
    pub(super) corrections: u8,
    /// Met so far.
    pub(super) challenges: Vec<Challenge>,
    pub(super) began: Time,
    /// When DNS, or a peer's silence, has taken too long.
    pub(super) patience: Option<Time>,
    pub(super) ring_until: Time,
    /// Transactions given up that may still be answered.
    pub(super) given_up: u8,
    /// The best failure so far (C-109).
    pub(super) failure: Option<(u16, Option<Message>)>,
}

impl Calling {
    pub(super) fn new(out: Outgoing, now: Time) -> Calling {
        Calling {
            uri: out.uri.clone(),
            ring_until: now + out.ring,
            out,
            cseq: 0,
            client: None,
            progress: Progress::Locating,
            cancelled: None,
            authorization: Vec::new(),
            forks: 0,
            min_se: 0,
            candidate: None,
            locating: false,
            tried: false,
            places: Places::new(),
            attempts: 0,
            corrections: 0,
            challenges: Vec::new(),
            began: now,
            patience: None,
            given_up: 0,
            failure: None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let ring = Some(self.ring_until).filter(|_| self.cancelled.is_none());
        self.patience.into_iter().chain(ring).min()
    }

    /// A provisional came: somebody is there.
    pub(super) fn heard(&mut self, progress: Progress, cx: &Cx<'_>) {
        self.patience = None;
        if progress == Progress::Ringing && self.progress < Progress::Ringing {
            // T-067: a trunk's ring time runs from the first ring.
            let ring = self.trunk().and_then(|ix| cx.plan.trunk(ix)).map(|trunk| trunk.ring_timeout);
            if let Some(ring) = ring {
                self.ring_until = self.ring_until.min(cx.now + ring);
            }
        }
        self.progress = self.progress.max(progress);
    }

    /// What one server has asked for and was told is not the next one's (RFC 3261 §22.3, C-200).
    pub(super) fn forget_challenges(&mut self) {
        self.authorization.clear();
        self.challenges.clear();
        self.corrections = 0;
    }

    pub(super) fn trunk(&self) -> Option<TrunkIx> {
        self.candidate.map(|candidate| candidate.trunk)
    }

    pub(super) fn has_more(&self) -> bool {
        let candidates = match &self.out.way {
            Way::Trunks(candidates) => !candidates.is_empty(),
            Way::Uri | Way::Flow(..) => false,
        };
        candidates || !self.places.is_empty()
    }

    pub(super) fn offer_failure(&mut self, status: u16, message: Option<&Message>) {
        if self.failure.as_ref().is_none_or(|(best, _)| rank(status) <= rank(*best)) {
            self.failure = Some((status, message.map(Message::detached)));
        }
    }
}
