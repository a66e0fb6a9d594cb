//! The back-to-back call: legs, joining, and moving between parties.
//!
//! Stands above [`crate::sip::dialog`], which speaks to one party, and decides what one party's doing
//! means for the others. Everybody in a call is a [`party`](party), known by its CallSid; two of them talk
//! to each other, at most. A message's way:
//!
//! ```text
//! INVITE ─► arrival ─► dial ─► Legs          what the legs tell ─► settle ─┬─ dial      they ring, answer, refuse
//! order  ─► orders ─┬► place ─► dial                                      ├─ across    requests, passed to the other
//!                   ├► joining (RFC 3725)                                 ├─ joining   answers to our re-INVITEs
//!                   └► transfer                                           ├─ transfer  REFER, NOTIFY
//! INVITE with Replaces ─► replaces ─► joining                             └─ ending    CANCEL, BYE ─► alone
//! another shard ─► moving                                                    news tells the control plane
//! ```
//!
//! No call waits for another; every table is bounded by [`CallPlan::capacity`] and empty at the end.
//!
//! [`CallPlan::capacity`]: crate::sip::plan::CallPlan::capacity

mod across;
mod admit;
mod alone;
mod arrival;
mod dial;
mod ending;
mod headers;
mod joining;
mod media;
mod moving;
mod news;
mod orders;
mod party;
mod pickup;
mod place;
mod presented;
mod refusal;
mod replaces;
mod timers;
mod transfer;

pub use arrival::Arrival;
pub use moving::{Claimant, Errand, MovedCall};
pub use party::Who;
pub use pickup::Picks;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::sip::command::Refused;
use crate::sip::dialog::{Asked, Body, Headers, LegEvent, LegFacts, LegId, Legs, NotNow, RequestId};
use crate::sip::event::CallSid;
use crate::sip::flow::{ConnectionId, Flow};
use crate::sip::message::{Message, Ready};
use crate::sip::plan::{Credentials, Plan};
use crate::sip::proxy::Cx;
use crate::sip::transaction::{ClientId, ServerId};
use dial::Dialing;
use hashbrown::HashMap;
use joining::{Join, JoinId};
use moving::Moving;
use party::{Party, Phase};
use place::Locating;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timers::{Timer, TimerKey, Timers};
use transfer::{TransferId, Transfers};

/// The calls of one shard that Baton owns.
#[derive(Debug)]
pub struct Calls {
    legs: Legs,
    /// The host that Baton calls itself by in addresses it makes.
    host: Box<str>,
    parties: HashMap<CallSid, Party>,
    by_leg: HashMap<LegId, CallSid>,
    /// By the party for whom others are called.
    dials: HashMap<CallSid, Dialing>,
    joins: HashMap<JoinId, Join>,
    /// Requests of ours inside dialogs that wait for their final response.
    open: HashMap<(LegId, RequestId), Purpose>,
    /// 2xx to an offerless re-INVITE, passed across: whose ACK is to carry the answer to whom (C-174).
    owed: HashMap<(LegId, Asked), (CallSid, RequestId)>,
    timers: Timers,
    /// Clients that are looked for.
    locating: HashMap<u64, Locating>,
    /// Those among them that this shard's registrar is to answer.
    lookups: VecDeque<(u64, Box<str>)>,
    moving: Moving,
    transfers: Transfers,
    /// Counts joins and questions.
    last: u64,
}

/// What a request of ours inside a dialog is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// It was passed across.
    Across {
        /// From this party.
        from: CallSid,
        /// Who waits for the answer to this.
        asked: Asked,
        /// What the party sent.
        sent: across::Sent,
    },
    /// It belongs to a join.
    Join {
        /// This one.
        join: JoinId,
        /// Whether it asked for an offer.
        offerless: bool,
    },
    /// The control plane wants to know how it ended.
    Order {
        /// Under this number.
        ticket: u64,
    },
    /// Holding, resuming, parting: what comes of it changes nothing.
    Quiet,
    /// It belongs to a transfer.
    Transfer(TransferId),
}

impl Calls {
    /// No calls yet. `key` keys the hash of what peers choose.
    pub fn new(plan: &Plan, key: [u8; 16]) -> Calls {
        Calls {
            legs: Legs::new(plan, key),
            host: place::host_of(plan),
            parties: HashMap::new(),
            by_leg: HashMap::new(),
            dials: HashMap::new(),
            joins: HashMap::new(),
            open: HashMap::new(),
            owed: HashMap::new(),
            timers: Timers::default(),
            locating: HashMap::new(),
            lookups: VecDeque::new(),
            moving: Moving::new(key),
            transfers: Transfers::default(),
            last: 0,
        }
    }

    /// Takes over a new configuration; calls go on with what they began with.
    pub fn replan(&mut self, plan: &Plan) {
        self.legs.replan(plan);
        self.host = place::host_of(plan);
    }

    /// Everything that is kept: parties, legs, and all that is under way between them. Zero when all
    /// calls are over and the last timer has fired.
    pub fn len(&self) -> usize {
        self.parties.len()
            + self.legs.len()
            + self.dials.len()
            + self.joins.len()
            + self.open.len()
            + self.owed.len()
            + self.timers.len()
            + self.locating.len()
            + self.moving.len()
            + self.transfers.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Legs there are, for the gauge.
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Carries out what the legs have told since the last input. To be called after each.
    pub fn settle(&mut self, cx: &mut Cx<'_>) {
        while let Some(event) = self.legs.next_event() {
            self.heard(cx, event);
        }
    }

    fn heard(&mut self, cx: &mut Cx<'_>, event: LegEvent) {
        match event {
            LegEvent::Provisional { leg, fork, message } => {
                self.with(leg, |calls, sid| {
                    calls.goes_over(sid, leg);
                    calls.rings(cx, sid, fork, &message);
                });
            }
            LegEvent::Answered { leg, fork, message } => {
                self.with(leg, |calls, sid| {
                    calls.goes_over(sid, leg);
                    calls.answered(cx, sid, fork, &message);
                });
            }
            LegEvent::Rejected { leg, status, message } => {
                self.with(leg, |calls, sid| calls.rejected(cx, sid, status, message.as_ref()));
            }
            LegEvent::Canceled { leg, message } => {
                self.with(leg, |calls, sid| calls.canceled(cx, sid, &message));
            }
            LegEvent::Left { leg, fork } => {
                self.with(leg, |calls, sid| calls.fork_left(cx, sid, fork));
            }
            LegEvent::Acknowledged { leg, asked, message } => {
                self.with(leg, |calls, sid| calls.acknowledged(cx, sid, leg, asked, &message));
            }
            LegEvent::Requested { leg, asked, message } => match self.by_leg.get(&leg).copied() {
                Some(sid) => self.requested(cx, sid, asked, &message),
                None => self.requested_outside(cx, leg, asked, &message),
            },
            LegEvent::Withdrawn { leg, asked, message } => {
                self.with(leg, |calls, sid| calls.withdrawn(cx, sid, asked, &message));
            }
            LegEvent::Responded { leg, request, status, message } => {
                self.responded(cx, leg, request, status, message.as_ref());
            }
            LegEvent::Ended { leg, by, message } => {
                self.with(leg, |calls, sid| calls.left(cx, sid, by, message.as_ref()));
            }
            LegEvent::Gone { leg } => self.gone(cx, leg),
        }
    }

    fn with(&mut self, leg: LegId, work: impl FnOnce(&mut Calls, CallSid)) {
        if let Some(sid) = self.by_leg.get(&leg).copied() {
            work(self, sid);
        }
    }

    /// Of several trunks that were tried, the one that answers is the party's: its policy holds for what the
    /// party asks, and its routes (R-055).
    fn goes_over(&mut self, sid: CallSid, leg: LegId) {
        let Some(trunk) = self.legs.facts(leg).and_then(|facts| facts.trunk) else { return };
        if let Some(party) = self.party_mut(sid) {
            party.trunk = Some(trunk);
        }
    }

    fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// What the parts of this folder, and transfers, build on.
impl Calls {
    fn party(&self, sid: CallSid) -> Option<&Party> {
        self.parties.get(&sid)
    }

    fn party_mut(&mut self, sid: CallSid) -> Option<&mut Party> {
        self.parties.get_mut(&sid)
    }

    fn leg_of(&self, sid: CallSid) -> Option<LegId> {
        self.parties.get(&sid)?.leg
    }

    fn phase(&self, sid: CallSid) -> Phase {
        self.parties.get(&sid).map_or(Phase::Over, |party| party.phase)
    }

    /// What the dialog of a party is like.
    fn facts(&self, sid: CallSid) -> Option<LegFacts<'_>> {
        self.legs.facts(self.leg_of(sid)?)
    }

    /// Whom a party talks to, if that one is still there.
    fn other(&self, sid: CallSid) -> Option<CallSid> {
        let other = self.parties.get(&sid)?.talks_to?;
        self.parties.contains_key(&other).then_some(other)
    }

    /// The last description a party has sent.
    fn heard_sdp(&self, sid: CallSid) -> Option<Body> {
        self.facts(sid)?.last_sdp_received.cloned()
    }

    /// The last description a party was sent.
    fn told_sdp(&self, sid: CallSid) -> Option<Body> {
        self.facts(sid)?.last_sdp_sent.cloned()
    }

    /// Sends a request inside a party's dialog, or has it wait until it may go (R-029, R-030). The
    /// final response goes by `purpose`.
    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        to: CallSid,
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
        purpose: Purpose,
    ) -> Result<RequestId, NotNow> {
        let leg = self.leg_of(to).ok_or(NotNow::Unknown)?;
        self.send_on(cx, leg, method, headers, body, credentials, purpose)
    }

    fn send_on(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
        purpose: Purpose,
    ) -> Result<RequestId, NotNow> {
        let request = self.legs.request(cx, leg, method, headers, body, credentials)?;
        if let Purpose::Join { .. } = purpose {
            // R-099: who does not answer it keeps what it has.
            self.legs.spare(leg, request);
        }
        self.open.insert((leg, request), purpose);
        Ok(request)
    }

    /// Nobody wants to know any more what comes of a request: true when it has not gone out, and never will.
    fn forgo(&mut self, cx: &mut Cx<'_>, to: CallSid, request: RequestId) -> bool {
        let Some(leg) = self.leg_of(to) else { return false };
        let never = self.legs.forgo(cx, leg, request);
        if never {
            self.open.remove(&(leg, request));
        }
        never
    }

    /// Answers a request that came in a party's dialog.
    fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        at: CallSid,
        asked: Asked,
        status: u16,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        if self.respond_outside(cx, asked, status, headers) {
            return;
        }
        if let Some(leg) = self.leg_of(at) {
            self.legs.respond(cx, leg, asked, status, headers, body);
        }
    }

    /// Begins a wait.
    fn wait(&mut self, cx: &mut Cx<'_>, after: Duration, timer: Timer) -> TimerKey {
        self.timers.set(cx, after, timer)
    }

    /// The party of the dialog with these identifiers, as Replaces and Target-Dialog name it (R-085).
    fn find_dialog(&self, call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> Option<CallSid> {
        let leg = self.legs.find(call_id, local_tag, remote_tag)?;
        self.by_leg.get(&leg).copied()
    }

    /// Whether there is no room for another party.
    fn is_full(&self, plan: &Plan) -> bool {
        self.parties.len() >= plan.calls.capacity
    }

    /// A new party, with its leg.
    fn enter(&mut self, party: Party) {
        if let Some(leg) = party.leg {
            self.by_leg.insert(leg, party.sid);
        }
        self.parties.insert(party.sid, party);
    }

    /// A party that was looked for has its leg now.
    fn attach(&mut self, sid: CallSid, leg: LegId) {
        if let Some(party) = self.parties.get_mut(&sid) {
            party.leg = Some(leg);
            self.by_leg.insert(leg, sid);
        }
    }
}

/// What the shard hands through.
impl Calls {
    /// Whether a request inside a dialog belongs to a leg of ours.
    pub fn owns(&self, message: &Message, ready: &Ready<'_>) -> bool {
        self.legs.owns(message, ready)
    }

    /// A request for which [`Calls::owns`] said yes.
    pub fn request_in(&mut self, cx: &mut Cx<'_>, message: &Message, ready: &Ready<'_>, flow: &Flow) {
        self.legs.request_in(cx, message, ready, flow);
    }

    /// A CANCEL, whose own transaction is `server`, for an INVITE of ours.
    pub fn cancel_in(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        invite: ServerId,
        message: &Message,
        flow: &Flow,
    ) {
        self.legs.cancel_in(cx, server, invite, message, flow);
    }

    /// A connection has ended.
    pub fn closed(&mut self, cx: &mut Cx<'_>, connection: ConnectionId) {
        self.legs.closed(cx, connection);
    }

    /// A response to a request of ours.
    pub fn response_in(
        &mut self,
        cx: &mut Cx<'_>,
        client: ClientId,
        owner: u32,
        message: &Message,
        ready: &Ready<'_>,
    ) {
        self.legs.response_in(cx, client, owner, message, ready);
    }

    /// A 2xx to an INVITE of ours that no transaction here knows: whether it belongs to a call that has
    /// moved here; it has its ACK then. `proven`: it does answer our INVITE, whoever it is from.
    pub fn answered_again(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        proven: bool,
    ) -> bool {
        self.legs.answered_again(cx, message, ready, proven)
    }

    /// Nobody answered a request of ours.
    pub fn timed_out(&mut self, cx: &mut Cx<'_>, client: ClientId, owner: u32) {
        self.legs.timed_out(cx, client, owner);
    }

    /// A request of ours could not be sent.
    pub fn unsendable(&mut self, cx: &mut Cx<'_>, client: ClientId, owner: u32) {
        self.legs.unsendable(cx, client, owner);
    }

    /// A client transaction of ours is gone.
    pub fn client_ended(&mut self, owner: u32) {
        self.legs.client_ended(owner);
    }

    /// A server transaction of ours is gone.
    pub fn server_ended(&mut self, owner: u32) {
        self.legs.server_ended(owner);
    }

    /// DNS has answered.
    pub fn resolved(&mut self, cx: &mut Cx<'_>) {
        self.legs.resolved(cx);
    }

    /// A timer of the legs' or of this layer's has fired.
    pub fn timer(&mut self, cx: &mut Cx<'_>, key: u64) {
        if (key >> 56) & 0xf == 0 {
            return self.legs.timer(cx, key);
        }
        match self.timers.fired(key) {
            None => {}
            Some(Timer::Application(sid)) => self.undecided(cx, sid),
            Some(Timer::Ringing(sid)) => self.still_ringing(cx, sid),
            Some(Timer::Limit(sid)) => self.out_of_time(cx, sid),
            Some(Timer::Rest(sid)) => self.rest(cx, sid),
            Some(Timer::Starved(join)) => self.starved(cx, join),
            Some(Timer::Claimed(claim)) => self.claim_again(cx, claim),
            Some(Timer::Asked(ticket)) => self.unanswered(cx, ticket),
            Some(Timer::Transfer(transfer, kind)) => self.on_transfer_timer(cx, transfer, kind),
        }
    }

    /// A client that this shard's registrar is to look up, until there is none; the answer goes to
    /// [`Calls::bindings`].
    pub fn next_lookup(&mut self) -> Option<(u64, Box<str>)> {
        self.lookups.pop_front()
    }
}

impl From<NotNow> for Refused {
    fn from(reason: NotNow) -> Refused {
        match reason {
            NotNow::Unknown => Refused::Unknown,
            NotNow::Ended => Refused::Ended,
            NotNow::Full => Refused::Full,
            NotNow::Method => Refused::Malformed,
        }
    }
}
