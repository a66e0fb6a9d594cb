//! One leg: what is kept of it, and which of its timers is due next.
//!
//! All timers of a leg are moments kept where they belong; the wheel holds one entry for the earliest.

use super::calling::{Attempt, Calling};
use super::event::{Fork, LegEvent};
use super::inside::{Dropping, Request, Stage};
use super::outgoing::{Body, Incoming};
use super::route_set::Dialog;
use super::session_timer::Session;
use super::uas::{Accepted, Offered};
use super::{Asked, LegId, OWNED_TIMER};
use crate::sip::event::EndedBy;
use crate::sip::flow::{Destination, ListenerId};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::plan::{Credentials, TrunkIx};
use crate::sip::proxy::{Cx, Itself};
use crate::sip::time::Time;
use crate::sip::timer::{TimerId, WAITS_END};
use crate::sip::transaction::ServerId;
use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Header fields of a digest answer.
pub(super) type Authorization = Vec<(HeaderId, Vec<u8>)>;

/// Which side sent the INVITE that made the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Baton called.
    Caller,
    /// Baton was called.
    Callee,
}

/// How far a leg is.
#[derive(Debug)]
pub(super) enum State {
    /// Our INVITE has no final answer.
    Calling(Box<Calling>),
    /// Our INVITE has its 2xx; the call has not said yet what to acknowledge it with.
    Answered(Box<Answered>),
    /// The party's INVITE has no final answer.
    Offered(Box<Offered>),
    /// The dialog is confirmed.
    Up,
    /// It was; late requests are still met until then.
    Ended {
        /// When it is forgotten.
        until: Time,
    },
    /// To be forgotten at once.
    Dead,
}

/// What the ACK to a 2xx needs to know of the INVITE.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) cseq: u32,
    pub(super) authorization: Authorization,
}

/// An ACK of ours to a 2xx: kept for 2xx that come again (RFC 3261 §13.2.2.4).
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) cseq: u32,
    pub(super) authorization: Authorization,
    pub(super) body: Option<Body>,
    /// `None` while the next hop is being looked up.
    pub(super) sent: Option<(Destination, Bytes)>,
    pub(super) until: Time,
}

/// A request of the party's that the call answers.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) asked: Asked,
    pub(super) message: Message,
    pub(super) source: SocketAddr,
    pub(super) fork: Fork,
}

/// Mostly one at a time: grows from one, where a `Vec` would make room for four at once.
type Few<T> = SmallVec<[T; 0]>;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    /// It ends a surplus answer to an INVITE (C-131): nobody is told of it.
    pub(super) silent: bool,
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) call_id: Box<[u8]>,
    /// What the party's INVITE shares with its copies (C-082).
    pub(super) origin: Option<u64>,
    /// Baton's From or To value, without tag.
    pub(super) local: Box<[u8]>,
    /// The party's, without tag.
    pub(super) remote: Box<[u8]>,
    /// Baton's tag, of the first fork when it has several.
    pub(super) tag: u64,
    /// One for each fork, in order; one when confirmed.
    pub(super) dialogs: SmallVec<[Box<Dialog>; 1]>,
    /// Where the party's messages come from or go to.
    pub(super) flow: Destination,
    /// Whether requests go there whatever the Contact says: a party that only its own connection reaches.
    pub(super) pinned: bool,
    /// Whether the dialog is one of `sips:` (RFC 3261 §12.1.1).
    pub(super) secure: bool,
    /// Whether our INVITE asked for an offer (C-174).
    pub(super) offerless: bool,
    /// Whether it stands among those that wait for DNS.
    pub(super) resolving: bool,
    pub(super) trunk: Option<TrunkIx>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) nonces: crate::sip::auth::NonceCounts,
    /// The party's Allow as bits by [`Method::index`], and whether it ever sent one.
    pub(super) allow: u16,
    /// The party's Supported, see [`super::facts`].
    pub(super) supported: u8,
    pub(super) options: Incoming,
    pub(super) session: Option<Session>,
    /// The last session descriptions.
    pub(super) sent: Option<Body>,
    pub(super) received: Option<Body>,
    pub(super) requests: Few<Request>,
    pub(super) asked: Few<Pending>,
    pub(super) accepted: Few<Accepted>,
    pub(super) acks: Few<Ack>,
    /// Attempts at its INVITE that were given up and may be answered yet.
    pub(super) given_up: Few<Attempt>,
    /// Legs that end surplus answers, by the tag of their party.
    pub(super) surplus: Vec<(Box<[u8]>, LegId)>,
    /// BYE waits for the ACK (C-140), with these header fields.
    pub(super) bye: Option<super::outgoing::Headers>,
    alarm: Option<(Time, TimerId)>,
}

/// What all legs of a shard share while one of them is worked with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) itself: Itself,
    pub(super) scratch: Vec<u8>,
    pub(super) events: VecDeque<LegEvent>,
    /// Legs by Baton's tags.
    pub(super) index: HashMap<u64, u32>,
    /// Legs that wait for DNS.
    pub(super) resolving: Vec<LegId>,
    /// Legs that end surplus answers, to be put into the table.
    pub(super) born: Vec<Leg>,
    /// Repeated 2xx that belong to other legs of ours.
    pub(super) again: Vec<LegId>,
    pub(super) last_request: u32,
}

/// What a leg begins with.
pub(super) struct Birth {
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) call_id: Box<[u8]>,
    pub(super) tag: u64,
    pub(super) local: Box<[u8]>,
    pub(super) remote: Box<[u8]>,
    pub(super) flow: Destination,
    pub(super) options: Incoming,
}

impl Leg {
    pub(super) fn new(birth: Birth) -> Leg {
        Leg {
            id: LegId { slot: u32::MAX, generation: 0 },
            silent: false,
            role: birth.role,
            state: birth.state,
            call_id: birth.call_id,
            origin: None,
            local: birth.local,
            remote: birth.remote,
            tag: birth.tag,
            dialogs: SmallVec::new(),
            flow: birth.flow,
            pinned: false,
            secure: false,
            offerless: false,
            resolving: false,
            trunk: None,
            credentials: None,
            nonces: crate::sip::auth::NonceCounts::default(),
            allow: 0,
            supported: 0,
            options: birth.options,
            session: None,
            sent: None,
            received: None,
            requests: Few::new(),
            asked: Few::new(),
            accepted: Few::new(),
            acks: Few::new(),
            given_up: Few::new(),
            surplus: Vec::new(),
            bye: None,
            alarm: None,
        }
    }

    pub(super) fn listener(&self) -> ListenerId {
        self.flow.listener
    }

    /// The owner that the leg's transactions carry.
    pub(super) fn owner(&self) -> u32 {
        super::OWNER | self.id.slot
    }

    /// The dialog of a fork.
    pub(super) fn dialog(&self, fork: Fork) -> Option<&Dialog> {
        self.dialogs.iter().find(|dialog| dialog.fork == fork).map(|dialog| &**dialog)
    }

    pub(super) fn dialog_mut(&mut self, fork: Fork) -> Option<&mut Dialog> {
        self.dialogs.iter_mut().find(|dialog| dialog.fork == fork).map(|dialog| &mut **dialog)
    }

    /// A body as it goes out in a fork's dialog.
    pub(super) fn spoken(&mut self, fork: Fork, body: Option<&Body>) -> Option<Body> {
        let body = body?.clone();
        Some(match self.dialog_mut(fork) {
            Some(dialog) => dialog.describe(body),
            None => body,
        })
    }

    /// Whether the dialog is confirmed and has not ended.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up | State::Answered(_))
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. } | State::Dead)
    }

    /// Whether the 2xx that made the leg waits for its ACK.
    pub(super) fn unacknowledged(&self) -> bool {
        self.accepted.iter().any(|accepted| accepted.asked.is_none())
    }

    /// Whether an INVITE of either side inside the dialog is under way.
    pub(super) fn inviting(&self) -> bool {
        matches!(self.state, State::Answered(_)) || self.own_invite() || self.asked_for(Method::Invite)
    }

    /// Whether a re-INVITE of ours is under way.
    pub(super) fn own_invite(&self) -> bool {
        self.requests.iter().any(|request| {
            request.method == Method::Invite && matches!(request.stage, Stage::Sent(_) | Stage::Accepted)
        })
    }

    /// Whether the party waits for our answer to a request with this method.
    pub(super) fn asked_for(&self, method: Method) -> bool {
        self.asked.iter().any(|pending| pending.message.method() == method)
    }

    /// The request of the party's that came by this transaction and waits for the call's answer.
    pub(super) fn asked_by(&self, server: ServerId) -> Option<Asked> {
        self.asked.iter().map(|pending| pending.asked).find(|asked| asked.server == server)
    }

    pub(super) fn tell(&self, desk: &mut Desk, event: LegEvent) {
        if !self.silent {
            desk.events.push_back(event);
        }
    }

    /// Looks again when DNS has answered: one entry, however much of the leg's waits (C-127).
    pub(super) fn await_dns(&mut self, desk: &mut Desk) {
        if !self.resolving {
            self.resolving = true;
            desk.resolving.push(self.id);
        }
    }

    /// When [`Leg::timer`] has something to do next.
    fn next_deadline(&self) -> Option<Time> {
        let state = match &self.state {
            State::Calling(calling) => calling.next_deadline(),
            State::Offered(offered) => offered.next_deadline(),
            State::Ended { until } => Some(*until),
            State::Answered(_) | State::Up | State::Dead => None,
        };
        let session = self
            .session
            .as_ref()
            .filter(|_| matches!(self.state, State::Up))
            .and_then(Session::next_deadline);
        let requests = self.requests.iter().filter_map(|request| request.next_deadline());
        let accepted = self.accepted.iter().map(|accepted| accepted.next.min(accepted.until));
        let acks = self.acks.iter().map(|ack| ack.until);
        requests.chain(accepted).chain(acks).chain(state).chain(session).min()
    }

    /// Brings the wheel in line with the leg's moments. An entry that is too early stays: it looks again.
    pub(super) fn rearm(&mut self, cx: &mut Cx<'_>) {
        match (self.next_deadline(), self.alarm) {
            (Some(next), Some((at, _))) if at <= next => {}
            (Some(next), alarm) => {
                if let Some((_, timer)) = alarm {
                    cx.transactions.cancel_timer(timer);
                }
                let key =
                    OWNED_TIMER | u64::from(self.id.slot) << 24 | u64::from(self.id.generation) & 0xff_ffff;
                // Never at once: a moment that nobody attends to must not stop all others.
                let at = next.max(cx.now + crate::sip::timer::TICK);
                self.alarm = Some((next, cx.transactions.set_tu_timer(cx.now, at, key)));
            }
            (None, Some((_, timer))) => {
                cx.transactions.cancel_timer(timer);
                self.alarm = None;
            }
            (None, None) => {}
        }
    }

    /// Takes the leg's entry off the wheel.
    pub(super) fn disarm(&mut self, cx: &mut Cx<'_>) {
        if let Some((_, timer)) = self.alarm.take() {
            cx.transactions.cancel_timer(timer);
        }
    }

    /// The wheel's entry fired: does what is due.
    pub(super) fn timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        self.alarm = None;
        let now = cx.now;
        self.acks.retain(|ack| ack.until > now);
        self.calling_timer(cx, desk);
        self.offered_timer(cx, desk);
        self.accepted_timer(cx, desk);
        self.requests_timer(cx, desk);
        self.session_timer(cx, desk);
        if let State::Ended { until } = self.state
            && until <= now
        {
            self.forget(cx, desk);
        }
    }

    /// DNS has answered, or something that was waited for has happened: what can go now, goes.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        self.continue_calling(cx, desk);
        self.send_acks(cx, desk);
        self.send_requests(cx, desk);
    }

    /// The call is over: open requests are told, late ones met for 64*T1.
    pub(super) fn end(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        by: Option<EndedBy>,
        message: Option<Message>,
    ) {
        if self.has_ended() {
            return;
        }
        self.refuse_asked(cx, desk, 487);
        self.drop_requests(cx, desk, if by.is_some() { Dropping::Call } else { Dropping::Unsent });
        self.accepted.clear();
        self.bye = None;
        self.session = None;
        self.sent = None;
        self.received = None;
        self.state = State::Ended { until: (cx.now + cx.plan.timings.t1 * 64).rounded_up(WAITS_END) };
        if let Some(by) = by {
            self.tell(desk, LegEvent::Ended { leg: self.id, by, message });
        }
    }

    /// What an ended leg does not need for late requests it gives back: at any time there are those of the
    /// last 64*T1, many more than are up. What it has said stays: an offer that crossed the end is answered in
    /// the same session.
    pub(super) fn slim(&mut self) {
        if self.asked.is_empty() {
            self.asked = Few::new();
        }
        if self.requests.is_empty() {
            self.requests = Few::new();
        }
        if self.accepted.is_empty() {
            self.accepted = Few::new();
        }
    }

    /// Nothing more will come of it.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        self.drop_requests(cx, desk, Dropping::All);
        self.state = State::Dead;
    }
}
