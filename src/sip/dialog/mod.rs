//! Dialogs and legs: Baton as a user agent towards one party (RFC 3261 §12 to §15).
//!
//! A leg is one INVITE and the dialog it makes. On a message's way it stands between the transactions
//! and the call: it knows sequence numbers, route sets, tags, retransmitted 2xx, challenges, glare,
//! session timers and reliable provisional responses, and tells the call only what the call must decide.
//!
//! ```text
//!  invite ──► attempt (targets, DNS) ──► uac, forks (answers) ──┐
//!                                                              ├──► inside (requests out, BYE)
//! incoming ──► uas, reliable (answers of ours, ACK) ────────────┘     asked (requests in)
//! ```
//!
//! What happens is told by [`Legs::next_event`]; nothing calls back.

mod admit;
mod asked;
mod attempt;
mod calling;
mod challenge;
mod driven;
mod ending;
pub mod event;
mod facts;
mod forks;
mod hop;
mod id;
mod inside;
mod leg;
mod moving;
mod offer;
mod outcome;
mod outgoing;
mod reliable;
mod route_set;
pub mod sdp;
mod session_timer;
mod table;
mod uac;
mod uas;
mod write;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use event::{Fork, LegEvent};
pub use facts::{LegFacts, LegState, Supports};
pub use leg::Role;
pub use moving::MovedLeg;
pub use outgoing::{Body, Full, Headers, Incoming, NotNow, Outgoing, Way};
pub(crate) use uas::MOST_FORKS;

use crate::sip::flow::{ConnectionId, Destination, Flow, ListenerId};
use crate::sip::message::write::put_name_addr;
use crate::sip::message::{Message, Ready, Scheme};
use crate::sip::plan::{Credentials, Plan};
use crate::sip::pool::Pool;
use crate::sip::proxy::{Cx, Itself};
use crate::sip::transaction::ServerId;
use calling::{Calling, Cancelled};
use hashbrown::HashMap;
use leg::{Birth, Desk, Leg, Pending, State};
use route_set::Dialog;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;
use uas::Offered;

/// The owner of a transaction that belongs to a leg has this bit; the rest is the leg's slot.
pub const OWNER: u32 = 1 << 31;
/// Timers of owned calls have this bit; bits 56 to 59 say whose they are: 0 is the legs.
pub const OWNED_TIMER: u64 = 1 << 62;

/// A leg of this shard; of no use once it is gone, and harmless then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A request of the party's that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub(crate) server: crate::sip::transaction::ServerId,
    pub(crate) cseq: u32,
}

/// A request of ours inside a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u32);

/// The legs of one shard.
#[derive(Debug)]
pub struct Legs {
    table: Pool<Box<Leg>>,
    desk: Desk,
    generation: u32,
    /// Legs that a party's INVITE made, by what all its copies share (C-082).
    invited: HashMap<u64, u32>,
    /// Legs whose INVITE can be answered over its own connection only.
    bound: HashMap<ConnectionId, Vec<LegId>>,
    key: [u8; 16],
}

impl Legs {
    /// No legs. `key` is for what peers choose.
    pub fn new(plan: &Plan, key: [u8; 16]) -> Legs {
        Legs {
            table: Pool::new(),
            desk: Desk {
                itself: Itself::new(plan),
                scratch: Vec::with_capacity(2_048),
                events: VecDeque::new(),
                index: HashMap::new(),
                resolving: Vec::new(),
                born: Vec::new(),
                again: Vec::new(),
                last_request: 0,
            },
            generation: 0,
            invited: HashMap::new(),
            bound: HashMap::new(),
            key,
        }
    }

    /// Takes over a new configuration.
    pub fn replan(&mut self, plan: &Plan) {
        self.desk.itself = Itself::new(plan);
    }

    /// Legs that are not wholly forgotten; zero when the last timer has fired.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What has happened since, oldest first.
    pub fn next_event(&mut self) -> Option<LegEvent> {
        self.desk.events.pop_front()
    }
}

/// Legs that begin.
impl Legs {
    /// Sends an INVITE. What comes of it is told by events, also when it cannot be sent at all.
    pub fn invite(&mut self, cx: &mut Cx<'_>, out: Outgoing) -> Result<LegId, Full> {
        if self.table.len() >= cx.plan.calls.capacity {
            return Err(Full);
        }
        let mut flow: Destination = Flow::nowhere().into();
        flow.listener = out.preferred.unwrap_or(ListenerId(0));
        let pinned = matches!(out.way, Way::Flow(..));
        let offerless = !out.body.as_ref().is_some_and(Body::is_session);
        let secure = out.uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"));
        let mut leg = Box::new(Leg::new(Birth {
            role: Role::Caller,
            call_id: id::call_id(cx),
            tag: cx.random(),
            local: out.from.clone(),
            remote: out.to.clone(),
            flow,
            options: Incoming { allow_refer: out.allow_refer, session: out.session },
            state: State::Calling(Box::new(Calling::new(out, cx.now))),
        }));
        leg.pinned = pinned;
        leg.secure = secure;
        leg.offerless = offerless;
        let id = self.insert(leg);
        self.with(cx, id, |leg, cx, desk| leg.continue_calling(cx, desk));
        Ok(id)
    }

    /// Takes an INVITE as a leg of its own. When it fails the INVITE has its answer already.
    pub fn incoming(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
        options: Incoming,
    ) -> Result<LegId, Full> {
        let offered = Offered::new(server, message.detached(), flow.remote);
        let mut leg = Box::new(Leg::new(Birth {
            role: Role::Callee,
            call_id: ready.call_id.into(),
            tag: cx.random(),
            local: address(message.to().ok()),
            remote: address(message.from().ok()),
            flow: (*flow).into(),
            options,
            state: State::Offered(Box::new(offered)),
        }));
        leg.trunk = cx.plan.sources.find(flow);
        leg.pinned = leg.trunk.is_none();
        leg.secure = ready.uri.is_some_and(|uri| uri.scheme == Scheme::Sips);
        leg.learn(message);
        leg.received = Body::of(message).filter(Body::is_session);
        leg.origin = Some(self.origin_of(ready));
        let refusal = if self.is_merged(&leg) {
            // RFC 3261 §8.2.2.2: the same request by another way (C-082).
            Some((482, None))
        } else if self.table.len() >= cx.plan.calls.capacity {
            let after = u64::from(cx.plan.routing.retry_after.max(1));
            let after = after + cx.random() % (after / 2 + 1);
            Some((503, Some(("Retry-After", after.to_string().into_bytes()))))
        } else if let Some(unsupported) = Leg::not_understood(message) {
            Some((420, Some(("Unsupported", unsupported))))
        } else {
            session_timer::too_short(message, options.session)
                .map(|min| (422, Some(("Min-SE", min.to_string().into_bytes()))))
        };
        if let Some((status, own)) = refusal {
            let own = own.as_slice();
            leg.answer_request(cx, &mut self.desk, server, message, flow.remote, Fork(0), status, own);
            return Err(Full);
        }
        let id = self.insert(leg);
        self.bind(id, flow);
        cx.transactions.set_server_owner(server, OWNER | id.slot);
        Ok(id)
    }

    /// Takes a REFER outside any dialog: it makes one, for the NOTIFYs that follow. `None`: there is no room.
    pub fn referred(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
    ) -> Option<(LegId, Asked)> {
        if self.table.len() >= cx.plan.calls.capacity {
            return None;
        }
        let mut leg = Box::new(Leg::new(Birth {
            role: Role::Callee,
            call_id: ready.call_id.into(),
            tag: cx.random(),
            local: address(message.to().ok()),
            remote: address(message.from().ok()),
            flow: (*flow).into(),
            options: Incoming { allow_refer: true, ..Incoming::default() },
            state: State::Up,
        }));
        leg.trunk = cx.plan.sources.find(flow);
        leg.pinned = leg.trunk.is_none();
        leg.secure = ready.uri.is_some_and(|uri| uri.scheme == Scheme::Sips);
        leg.learn(message);
        leg.dialogs.push(Box::new(Dialog::of_request(message, Fork(0), leg.tag)));
        let asked = Asked { server, cseq: ready.cseq.number };
        leg.asked.push(Pending { asked, message: message.detached(), source: flow.remote, fork: Fork(0) });
        let id = self.insert(leg);
        cx.transactions.set_server_owner(server, OWNER | id.slot);
        Some((id, asked))
    }

    /// A dialog that no call is in is over.
    pub fn finish(&mut self, cx: &mut Cx<'_>, leg: LegId) {
        self.with(cx, leg, |leg, cx, desk| leg.end(cx, desk, None, None));
    }

    /// Answers an INVITE with a provisional, 101 to 199; reliably where that is needed.
    pub fn ring(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        fork: Fork,
        status: u16,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        self.with(cx, leg, |leg, cx, desk| leg.ring_fork(cx, desk, fork, status, headers, body));
    }

    /// Who rang in one of its early dialogs does so no more: a BYE in the last where somebody does is the
    /// caller's farewell.
    pub fn silence_fork(&mut self, leg: LegId, fork: Fork) {
        if let Some(leg) = self.table.get_mut(leg.slot).filter(|found| found.id == leg) {
            leg.silence_fork(fork);
        }
    }

    /// Answers it with 200, which is sent until the ACK comes.
    pub fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        fork: Fork,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        self.with(cx, leg, |leg, cx, desk| leg.accept_fork(cx, desk, fork, headers, body));
    }

    /// Refuses it. The leg is gone.
    pub fn reject(&mut self, cx: &mut Cx<'_>, leg: LegId, status: u16, reason: &str, headers: &Headers) {
        self.with(cx, leg, |leg, cx, desk| leg.refuse(cx, desk, status.clamp(300, 699), reason, headers));
    }

    /// Acknowledges the 2xx that made the leg, with the answer where the 2xx had the offer.
    pub fn ack(&mut self, cx: &mut Cx<'_>, leg: LegId, body: Option<&Body>) {
        self.with(cx, leg, |leg, cx, desk| leg.acknowledge(cx, desk, body.cloned()));
    }

    /// Gives an INVITE of ours up: [`LegEvent::Rejected`] with 487 follows, or [`LegEvent::Answered`] when
    /// that was on its way (X-10).
    pub fn cancel(&mut self, cx: &mut Cx<'_>, leg: LegId, reason: Option<&'static str>) {
        self.with(cx, leg, |leg, cx, desk| leg.cancel_calling(cx, desk, Cancelled::Ordered, reason));
    }

    /// Acknowledges a reliable provisional that carried an offer, with the answer.
    pub fn prack(&mut self, cx: &mut Cx<'_>, leg: LegId, fork: Fork, body: Option<&Body>) {
        self.with(cx, leg, |leg, cx, desk| leg.acknowledge_provisional(cx, desk, fork, body));
    }
}

/// Legs that are there.
impl Legs {
    /// Sends a request inside the dialog, as soon as it may go (R-029, R-030).
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
    ) -> Result<RequestId, NotNow> {
        self.request_in_fork(cx, leg, None, method, headers, body, credentials)
    }

    /// The same in one of several early dialogs; `None`: the one that was heard last.
    pub fn request_in_fork(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        fork: Option<Fork>,
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
    ) -> Result<RequestId, NotNow> {
        let mut result = Err(NotNow::Unknown);
        self.with(cx, leg, |leg, cx, desk| {
            result = leg.request(desk, fork, method, headers, body, credentials);
            leg.advance(cx, desk);
        });
        result
    }

    /// In which dialog a request came that waits for its answer.
    pub fn fork_of(&self, leg: LegId, asked: Asked) -> Option<Fork> {
        let leg = self.table.get(leg.slot).filter(|found| found.id == leg)?;
        leg.asked.iter().find(|pending| pending.asked == asked).map(|pending| pending.fork)
    }

    /// Whether both sides of a dialog have agreed on a session and neither wants another: an early one can take
    /// a new offer then (RFC 3311 §5.1).
    pub fn has_agreed(&self, leg: LegId, fork: Fork) -> bool {
        let leg = self.table.get(leg.slot).filter(|found| found.id == leg);
        leg.and_then(|leg| leg.dialog(fork)).is_some_and(|dialog| dialog.exchange == offer::Exchange::Agreed)
    }

    /// A request passed on for somebody whose own is not there for longer than one address may be silent: it
    /// does not go to another then.
    pub fn once(&mut self, leg: LegId, request: RequestId) {
        if let Some(leg) = self.table.get_mut(leg.slot).filter(|found| found.id == leg) {
            leg.once(request);
        }
    }

    /// Whether the party has a request, as far as is known.
    pub fn is_out(&self, leg: LegId, request: RequestId) -> bool {
        let leg = self.table.get(leg.slot).filter(|found| found.id == leg);
        leg.is_some_and(|leg| leg.is_out(request))
    }

    /// Silence refuses a request, and ends nothing: the dialog stays as it was (R-099).
    pub fn spare(&mut self, leg: LegId, request: RequestId) {
        if let Some(leg) = self.table.get_mut(leg.slot).filter(|found| found.id == leg) {
            leg.spare(request);
        }
    }

    /// A request that nobody wants any more is not sent, or not once more; true when it never has been, and
    /// nothing will be told of it.
    pub fn forgo(&mut self, cx: &mut Cx<'_>, leg: LegId, request: RequestId) -> bool {
        let mut never = false;
        self.with(cx, leg, |leg, cx, desk| {
            never = leg.forgo(request);
            leg.advance(cx, desk);
        });
        never
    }

    /// The same for a re-INVITE that has gone out: it is cancelled, and its final response still comes.
    pub fn call_off(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        request: RequestId,
        reason: Option<&'static str>,
    ) -> bool {
        let mut never = false;
        self.with(cx, leg, |leg, cx, desk| {
            let client = leg.client_of(request);
            never = leg.forgo(request);
            if let Some(client) = client {
                cx.transactions.cancel_client(cx.now, client, reason, cx.fx);
            }
            leg.advance(cx, desk);
        });
        never
    }

    /// The requests of the call's that would change the session and have not gone out, or met glare: they wait
    /// for what the party wants.
    pub fn unsent(&self, leg: LegId) -> SmallVec<[RequestId; 1]> {
        self.table.get(leg.slot).filter(|found| found.id == leg).map(|leg| leg.unsent()).unwrap_or_default()
    }

    /// Acknowledges the 2xx to a re-INVITE of ours.
    pub fn ack_request(&mut self, cx: &mut Cx<'_>, leg: LegId, request: RequestId, body: Option<&Body>) {
        self.with(cx, leg, |leg, cx, desk| leg.acknowledge_request(cx, desk, request, body));
    }

    /// Answers a request of the party's.
    pub fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        asked: Asked,
        status: u16,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        self.with(cx, leg, |leg, cx, desk| leg.respond(cx, desk, asked, status, headers, body));
    }

    /// Ends the leg, however far it is: BYE once it may go (C-140), CANCEL, or 480.
    pub fn bye(&mut self, cx: &mut Cx<'_>, leg: LegId, headers: &Headers) {
        self.with(cx, leg, |leg, cx, desk| leg.hang_up(cx, desk, headers.clone()));
    }

    /// The leg that has this dialog, for Replaces and Target-Dialog; `local_tag` is Baton's.
    pub fn find(&self, call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> Option<LegId> {
        let tag = id::tag(local_tag)?;
        let leg = self.table.get(*self.desk.index.get(&tag)?)?;
        let same = *leg.call_id == *call_id
            && leg.dialogs.iter().any(|d| d.local_tag == tag && *d.remote_tag == *remote_tag);
        same.then_some(leg.id)
    }

    /// Whether a request inside a dialog belongs to a leg, or to one that lingers.
    pub fn owns(&self, _message: &Message, ready: &Ready<'_>) -> bool {
        self.leg_of(ready).is_some()
    }

    /// What is known of a leg.
    pub fn facts(&self, leg: LegId) -> Option<LegFacts<'_>> {
        Some(self.table.get(leg.slot).filter(|found| found.id == leg)?.facts())
    }

    /// Whether nothing is under way on a leg.
    pub fn can_move(&self, leg: LegId) -> bool {
        self.table.get(leg.slot).is_some_and(|found| found.id == leg && found.can_move())
    }

    /// Whether nothing of ours has been described in a dialog yet, and the party has not ended it.
    pub fn is_blank(&self, leg: LegId, fork: Fork) -> bool {
        let leg = self.table.get(leg.slot).filter(|found| found.id == leg);
        let dialog = leg.and_then(|leg| leg.dialog(fork));
        dialog.is_none_or(|dialog| !dialog.left && dialog.said.is_none())
    }

    /// Takes a leg out, to be put into another shard's; `None` while something is under way on it.
    pub fn take(&mut self, cx: &mut Cx<'_>, leg: LegId) -> Option<MovedLeg> {
        let found = self.table.get(leg.slot).filter(|found| found.id == leg)?;
        if !found.can_move() {
            return None;
        }
        let mut leg = self.table.remove(leg.slot)?;
        leg.disarm(cx);
        leg.resolving = false;
        leg.surplus.clear();
        self.unlist(&leg);
        Some(MovedLeg { leg })
    }

    /// Takes a leg in that came from another shard.
    pub fn put(&mut self, cx: &mut Cx<'_>, moved: MovedLeg) -> LegId {
        let id = self.insert(moved.leg);
        self.with(cx, id, |leg, cx, desk| leg.advance(cx, desk));
        id
    }

    fn leg_of(&self, ready: &Ready<'_>) -> Option<LegId> {
        self.leg_with(ready.to_tag?, ready.call_id)
    }

    /// What all copies of an INVITE share, wherever they have forked.
    fn origin_of(&self, ready: &Ready<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        for part in [ready.call_id, ready.from_tag.unwrap_or_default()] {
            hasher.write(part);
            hasher.write_u8(0);
        }
        hasher.write_u32(ready.cseq.number);
        hasher.finish()
    }

    /// Whether the INVITE of a new leg has made another one already.
    fn is_merged(&self, new: &Leg) -> bool {
        let other = new.origin.and_then(|origin| self.invited.get(&origin));
        other.and_then(|slot| self.table.get(*slot)).is_some_and(|leg| leg.call_id == new.call_id)
    }

    /// The leg with this tag of ours and this Call-ID.
    fn leg_with(&self, tag: &[u8], call_id: &[u8]) -> Option<LegId> {
        let tag = id::tag(tag)?;
        let leg = self.table.get(*self.desk.index.get(&tag)?)?;
        (*leg.call_id == *call_id).then_some(leg.id)
    }
}

/// An address as From and To of later requests repeat it, without tag.
fn address(value: Option<crate::sip::message::NameAddr<'_>>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(64);
    if let Some(value) = value {
        put_name_addr(&mut out, value.display, value.uri);
    }
    out.into()
}
