//! Calling others for a party: one or several at once, the first who answers wins.
//!
//! Used for every outgoing leg that belongs to another: the second leg of a routed call, a Dial of the
//! control plane, the target of a transfer. As long as the party itself is unanswered, what the called
//! ones ring and answer is passed to it (early media, C-155); once it is up, the winner is joined to it.

use super::Calls;
use super::ending::End;
use super::headers::ELSEWHERE;
use super::joining::{JoinFor, Start};
use super::media;
use super::news::status_of;
use super::party::{Party, Phase, Turn};
use super::place::Target;
use super::refusal::Refusal;
use super::timers::Timer;
use super::transfer::TransferId;
use crate::sip::dialog::{Body, Fork, Headers, MOST_FORKS};
use crate::sip::event::{CallSid, CallStatus, DialEnded, EndedBy, Event};
use crate::sip::flow::ListenerId;
use crate::sip::message::Message;
use crate::sip::plan::Credentials;
use crate::sip::proxy::Cx;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Others to be called for a party.
#[derive(Debug)]
pub(super) struct Ask {
    /// For whom.
    pub(super) parent: CallSid,
    /// Who; at least one.
    pub(super) parties: Vec<Wanted>,
    /// What their INVITEs have in common.
    pub(super) template: Template,
    /// Who wants it.
    pub(super) why: DialFor,
    /// A call longer than this is ended.
    pub(super) limit: Option<Duration>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) sid: CallSid,
    pub(super) target: Target,
    pub(super) headers: Headers,
    pub(super) credentials: Option<Arc<Credentials>>,
}

/// What the INVITEs of one call have in common.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// From's value, without tag.
    pub(super) from: Box<[u8]>,
    /// To's value; `None`: the Request-URI.
    pub(super) to: Option<Box<[u8]>>,
    pub(super) offer: Offer,
    pub(super) ring: Duration,
    pub(super) max_forwards: u8,
    pub(super) max_breadth: Option<u32>,
    pub(super) preferred: Option<ListenerId>,
    /// The owner of the records.
    pub(super) account: Option<Arc<str>>,
}

/// Who makes the offer to a party that is called.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    /// We do, with this.
    Given(Body),
    /// It does, in its 2xx (C-174).
    TheirsToMake,
}

/// Who wants others called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialFor {
    /// A route: when nobody answers, the party is refused with their best answer.
    Route,
    /// The control plane: it hears what comes of it.
    Order {
        /// Whether the winner is joined at once.
        join: bool,
    },
    /// A transfer: it hears what comes of it, and joins.
    Transfer(TransferId),
    /// A transfer on another shard, which has claimed them by this ticket: who answers goes there.
    Afar {
        /// The shard.
        to: u16,
        /// The claim's.
        ticket: u64,
        /// Whom they were called for before.
        consultation: CallSid,
    },
}

/// What a transfer hears of the target that it has called.
#[derive(Debug)]
pub(super) enum DialNews {
    /// A provisional response, 101 to 199.
    Progress {
        /// The code.
        code: u16,
    },
    /// It has answered; the dialling is over, the leg waits to be joined.
    Answered {
        /// The leg.
        target: CallSid,
        /// For [`Calls::join`].
        start: Start,
    },
    /// Nobody answered; their best code.
    Failed {
        /// The code.
        code: u16,
    },
}

/// A dialling under way, or whose winner still talks.
#[derive(Debug)]
pub(super) struct Dialing {
    pub(super) why: DialFor,
    /// The first of its parties, whatever becomes of it.
    pub(super) first: CallSid,
    /// Those still in play.
    pub(super) children: SmallVec<[CallSid; 2]>,
    pub(super) winner: Option<CallSid>,
    /// Whether the called ones make the offer.
    pub(super) offerless: bool,
    /// Early dialogs by their place: what the n-th is for the party itself (C-155).
    forks: SmallVec<[(CallSid, Fork); 1]>,
    best: Option<Refusal>,
    pub(super) limit: Option<Duration>,
}

impl Dialing {
    /// Which of our early dialogs stands for a fork of theirs; `None`: there are too many of them.
    fn early(&mut self, child: CallSid, fork: Fork) -> Option<Fork> {
        let known = self.forks.iter().position(|known| *known == (child, fork));
        if known.is_none() && self.forks.len() < MOST_FORKS {
            self.forks.push((child, fork));
            return Some(Fork((self.forks.len() - 1) as u8));
        }
        known.map(|at| Fork(at as u8))
    }

    /// Whether its early dialogs are the party's own: what happens in one happens in the other.
    fn shares_early(&self) -> bool {
        match self.why {
            DialFor::Route | DialFor::Order { join: true } => true,
            DialFor::Order { join: false } | DialFor::Transfer(_) | DialFor::Afar { .. } => false,
        }
    }

    /// Whether it is in play, or has answered.
    pub(super) fn has(&self, sid: CallSid) -> bool {
        self.winner == Some(sid) || self.children.contains(&sid)
    }

    /// Which dialog of ours answers for theirs: one of its own beside all the early ones, if need be.
    fn confirmed(&mut self, child: CallSid, fork: Fork) -> Fork {
        self.early(child, fork).unwrap_or(Fork(MOST_FORKS as u8))
    }
}

impl Calls {
    /// Calls others for a party. What comes of it goes by `ask.why`.
    pub(super) fn dial(&mut self, cx: &mut Cx<'_>, ask: Ask) {
        // One that calls nobody has no end to be told.
        let Some(first) = ask.parties.first().map(|wanted| wanted.sid) else { return };
        let dialing = Dialing {
            why: ask.why,
            first,
            children: ask.parties.iter().map(|wanted| wanted.sid).collect(),
            winner: None,
            offerless: matches!(ask.template.offer, Offer::TheirsToMake),
            forks: SmallVec::new(),
            best: None,
            limit: ask.limit,
        };
        self.dials.insert(ask.parent, dialing);
        for wanted in ask.parties {
            self.place(cx, Some(ask.parent), wanted, ask.template.clone());
        }
    }

    /// A called party rings (or its early media comes).
    pub(super) fn rings(&mut self, cx: &mut Cx<'_>, sid: CallSid, fork: Fork, message: &Message) {
        let code = message.status();
        if self.phase(sid) != Phase::Calling {
            return;
        }
        // Only these two count (Calls API 7).
        if matches!(code, 180 | 183) {
            self.progress(cx, sid, CallStatus::Ringing, 0);
        }
        if self.is_followed(sid) && Body::of(message).is_some_and(|body| body.is_session()) {
            self.tell(cx, Event::EarlyMedia(sid));
        }
        let Some(parent) = self.party(sid).and_then(|party| party.parent) else { return };
        let Some(dialing) = self.dials.get_mut(&parent) else { return };
        let (why, offerless) = (dialing.why, dialing.offerless);
        let fork_there = dialing.early(sid, fork);
        let mut body = Body::of(message);
        if offerless && body.as_ref().is_some_and(Body::is_session) {
            // Its offer comes too early for a party that cannot be asked yet: it is put on hold.
            let held = body.take().and_then(|offer| media::refuse_media(&offer));
            if let Some(leg) = self.leg_of(sid) {
                self.legs.prack(cx, leg, fork, held.as_ref());
            }
        }
        match why {
            DialFor::Transfer(transfer) => self.on_dial(cx, transfer, DialNews::Progress { code }),
            DialFor::Afar { to, ticket, consultation } => {
                self.tell_afar(cx, to, ticket, parent, consultation, code);
            }
            DialFor::Route | DialFor::Order { join: true } => {
                let Some(leg) = self.leg_of(parent).filter(|_| self.phase(parent) == Phase::Offered) else {
                    return;
                };
                let headers = self.seen_by(parent, sid, message);
                if let Some(fork) = fork_there {
                    self.legs.ring(cx, leg, fork, code, &headers, body.as_ref());
                }
            }
            DialFor::Order { join: false } => {}
        }
    }

    /// Whom a party can talk to before there is an answer, and in which early dialog, when a request came to it in
    /// this one.
    pub(super) fn early_other(&self, sid: CallSid, fork: Fork) -> Option<(CallSid, Fork)> {
        let shared = |parent: &CallSid| self.dials.get(parent).filter(|dialing| dialing.shares_early());
        match self.phase(sid) {
            Phase::Offered => {
                let child = shared(&sid)?.forks.get(usize::from(fork.0)).copied()?;
                (self.phase(child.0) == Phase::Calling).then_some(child)
            }
            Phase::Calling => {
                let parent =
                    self.party(sid)?.parent.filter(|parent| self.phase(*parent) == Phase::Offered)?;
                let at = shared(&parent)?.forks.iter().position(|known| *known == (sid, fork))?;
                Some((parent, Fork(at as u8)))
            }
            Phase::Accepting
            | Phase::Locating
            | Phase::Accepted
            | Phase::Up
            | Phase::Leaving
            | Phase::Over => None,
        }
    }

    /// A called party has answered.
    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, sid: CallSid, fork: Fork, message: &Message) {
        let Some(leg) = self.leg_of(sid) else { return };
        let Some(party) = self.party(sid) else { return };
        let parent = party.parent;
        let over = party.phase.is_over();
        let dialing = parent.and_then(|parent| self.dials.get(&parent));
        let offerless = dialing.is_some_and(|dialing| dialing.offerless);
        let body = Body::of(message).filter(Body::is_session);
        if over {
            // the 200 crossed our CANCEL. It is taken, and ended; the result stays.
            let answer = body.filter(|_| offerless).and_then(|offer| media::refuse_media(&offer));
            self.legs.ack(cx, leg, answer.as_ref());
            self.legs.bye(cx, leg, &super::headers::reason("SIP;cause=487"));
            return;
        }
        // RFC 6337 §3.1: what a reliable provisional has offered, PRACK has answered.
        let owed = self.facts(sid).is_some_and(|facts| facts.owes_answer);
        let with_offer = offerless && owed && body.is_some();
        if let Some(party) = self.party_mut(sid) {
            party.turn(if with_offer { Turn::AnsweredWithOffer } else { Turn::Answered });
            party.elsewhere = None;
        }
        self.introduces(sid, message);
        if !with_offer {
            // nothing more is needed for the ACK.
            self.legs.ack(cx, leg, None);
        }
        self.progress(cx, sid, CallStatus::InProgress, message.status());
        self.tell_headers(cx, sid, message);
        let body = body.or_else(|| self.heard_sdp(sid));
        let start = match (body, with_offer) {
            (Some(offer), true) => Start::Offered { offer },
            (Some(answer), false) => Start::Answered { answer },
            (None, _) => Start::Up,
        };
        if let Some(parent) = parent.filter(|parent| self.dials.contains_key(parent)) {
            self.won(cx, parent, sid, fork, message, start);
        }
    }

    /// The first who answers wins; the others are called off (RFC 3261 §16.7 step 10).
    fn won(
        &mut self,
        cx: &mut Cx<'_>,
        parent: CallSid,
        sid: CallSid,
        fork: Fork,
        message: &Message,
        start: Start,
    ) {
        let Some(dialing) = self.dials.get_mut(&parent) else { return };
        let others = std::mem::take(&mut dialing.children);
        dialing.winner = Some(sid);
        let fork = dialing.confirmed(sid, fork);
        let (why, limit) = (dialing.why, dialing.limit);
        for other in others.into_iter().filter(|other| *other != sid) {
            self.end(cx, other, End::canceled(EndedBy::OtherLeg, Some(ELSEWHERE)));
        }
        if let Some(limit) = limit {
            self.limit(cx, sid, limit);
        }
        match why {
            DialFor::Order { join: true } => {}
            DialFor::Order { join: false } => return,
            DialFor::Route => {
                self.dials.remove(&parent);
            }
            DialFor::Transfer(transfer) => {
                self.dials.remove(&parent);
                return self.on_dial(cx, transfer, DialNews::Answered { target: sid, start });
            }
            DialFor::Afar { to, ticket, .. } => {
                self.dials.remove(&parent);
                return self.answered_for_afar(cx, to, ticket, sid, &start);
            }
        }
        match self.phase(parent) {
            Phase::Offered => {
                let body = match start {
                    Start::Answered { answer: body } | Start::Offered { offer: body } => Some(body),
                    Start::Up | Start::Entering { .. } => None,
                };
                let headers = self.seen_by(parent, sid, message);
                self.accept(cx, parent, fork, &headers, body.as_ref());
                self.link(cx, parent, sid);
            }
            Phase::Accepting | Phase::Up | Phase::Accepted => {
                self.join(cx, parent, sid, start, JoinFor::Dial(parent));
            }
            Phase::Locating | Phase::Calling | Phase::Leaving | Phase::Over => {
                self.end(cx, sid, End::bye(EndedBy::OtherLeg, Headers::new()));
            }
        }
    }

    /// The caller wants no more of one of its early dialogs: who rings there alone is called off.
    pub(super) fn fork_left(&mut self, cx: &mut Cx<'_>, parent: CallSid, fork: Fork) {
        let Some(dialing) = self.dials.get(&parent) else { return };
        let Some(&(child, _)) = dialing.forks.get(usize::from(fork.0)) else { return };
        let alone = dialing.forks.iter().filter(|(other, _)| *other == child).count() == 1;
        if alone && dialing.children.contains(&child) {
            self.end(cx, child, End::canceled(EndedBy::OtherLeg, None));
        }
    }

    /// In which of its dialogs a caller is answered for somebody who has not rung for it: the first, unless it knows
    /// that as another's (RFC 3261 §13.2.1), or has ended it.
    pub(super) fn fork_for(&mut self, caller: CallSid, new: CallSid) -> Fork {
        let blank = self.leg_of(caller).is_none_or(|leg| self.legs.is_blank(leg, Fork(0)));
        let dialing = self.dials.get_mut(&caller).filter(|_| !blank);
        dialing.map_or(Fork(0), |dialing| dialing.confirmed(new, Fork(0)))
    }

    /// Those who rang for a party do so no more, in early dialogs that it may have had with each of them.
    fn silence_forks(&mut self, parent: CallSid, children: &[CallSid]) {
        let Some(leg) = self.leg_of(parent).filter(|_| self.phase(parent) == Phase::Offered) else { return };
        let Some(dialing) = self.dials.get(&parent).filter(|dialing| dialing.shares_early()) else { return };
        let forks = dialing.forks.iter().zip(0..).filter(|((child, _), _)| children.contains(child));
        for (_, at) in forks {
            self.legs.silence_fork(leg, Fork(at));
        }
    }

    /// A called party did not answer, or was never reached; its own end is told already.
    pub(super) fn child_failed(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        code: u16,
        message: Option<&Message>,
    ) {
        let Some(parent) = self.party(sid).and_then(|party| party.parent) else { return };
        let headers = message.map(|message| self.seen_by(parent, sid, message)).unwrap_or_default();
        let route = self.dials.get(&parent).is_some_and(|dialing| dialing.why == DialFor::Route);
        let party = self.party(sid).filter(|_| route);
        let refusal = Refusal::new(cx, party, code, headers, message.is_some());
        self.silence_forks(parent, &[sid]);
        let Some(dialing) = self.dials.get_mut(&parent) else { return };
        dialing.children.retain(|child| *child != sid);
        dialing.best = Some(match dialing.best.take() {
            Some(best) => best.or(refusal),
            None => refusal,
        });
        // C-105: who declines for everybody does so for all that the caller's one INVITE has reached.
        let declined = route && matches!(code, 600..=699);
        let others = if declined { std::mem::take(&mut dialing.children) } else { SmallVec::new() };
        let over = dialing.children.is_empty() && dialing.winner.is_none();
        for other in others {
            self.end(cx, other, End::canceled(EndedBy::OtherLeg, None));
        }
        if over {
            self.nobody_answered(cx, parent);
        }
    }

    fn nobody_answered(&mut self, cx: &mut Cx<'_>, parent: CallSid) {
        let Some(dialing) = self.dials.remove(&parent) else { return };
        let nobody = Refusal { code: 480, headers: Headers::new(), heard: false };
        let best = dialing.best.unwrap_or(nobody);
        let code = best.code;
        match dialing.why {
            DialFor::Route => {
                let (code, headers) = best.told(cx);
                self.end(cx, parent, End { reason: headers, ..End::refused(code) });
            }
            DialFor::Order { .. } => {
                self.tell_dial(cx, parent, dialing.first, None, status_of(code), code);
            }
            DialFor::Transfer(transfer) => self.on_dial(cx, transfer, DialNews::Failed { code }),
            DialFor::Afar { to, ticket, consultation } => {
                self.tell_afar(cx, to, ticket, parent, consultation, code);
            }
        }
    }

    /// Calls off whom a party has called and nobody has answered yet. Nothing is told about the
    /// dialling as a whole.
    pub(super) fn cancel_dial(
        &mut self,
        cx: &mut Cx<'_>,
        parent: CallSid,
        by: EndedBy,
        cause: Option<&'static str>,
    ) {
        let Some(dialing) = self.dials.get_mut(&parent) else { return };
        let children = std::mem::take(&mut dialing.children);
        self.silence_forks(parent, &children);
        let Some(dialing) = self.dials.get(&parent) else { return };
        if dialing.winner.is_none() {
            self.dials.remove(&parent);
        }
        for child in children {
            self.end(cx, child, End::canceled(by, cause));
        }
    }

    /// A party has ended: what that means for the dialling it made, or belongs to.
    pub(super) fn dial_lost(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        by: EndedBy,
        cause: Option<&'static str>,
    ) {
        self.own_dial_lost(cx, sid, cause);
        let Some(parent) = self.party(sid).and_then(|party| party.parent) else { return };
        let called_off = self.dials.get(&parent).is_some_and(|dialing| dialing.children.contains(&sid));
        if !self.dial_over(cx, parent, sid) && called_off {
            // By itself.
            let code = if by == EndedBy::Control { 487 } else { 480 };
            self.child_failed(cx, sid, code, None);
        }
    }

    /// Who was called for a party and had answered has left while a transfer kept that to itself: now it is
    /// told.
    pub(super) fn winner_gone(&mut self, cx: &mut Cx<'_>, parent: CallSid) {
        let winner = self.dials.get(&parent).and_then(|dialing| dialing.winner);
        if let Some(winner) = winner.filter(|winner| self.phase(*winner).is_over()) {
            self.dial_over(cx, parent, winner);
        }
    }

    /// A party talks no more to the one who had answered its dialling, if that is who `winner` is.
    pub(super) fn dial_over(&mut self, cx: &mut Cx<'_>, parent: CallSid, winner: CallSid) -> bool {
        let Some(dialing) = self.dials.get(&parent).filter(|dialing| dialing.winner == Some(winner)) else {
            return false;
        };
        let first = dialing.first;
        self.dials.remove(&parent);
        self.tell_dial(cx, parent, first, Some(winner), CallStatus::Completed, 200);
        true
    }

    /// What it means for the dialling it made.
    pub(super) fn own_dial_lost(&mut self, cx: &mut Cx<'_>, sid: CallSid, cause: Option<&'static str>) {
        let Some(dialing) = self.dials.get(&sid) else { return };
        let (why, first, winner) = (dialing.why, dialing.first, dialing.winner);
        self.cancel_dial(cx, sid, EndedBy::OtherLeg, cause);
        self.dials.remove(&sid);
        if let DialFor::Order { .. } = why {
            match winner {
                Some(_) => self.tell_dial(cx, sid, first, winner, CallStatus::Completed, 200),
                None => self.tell_dial(cx, sid, first, None, CallStatus::Canceled, 487),
            }
        }
    }

    /// The winner of a Dial could not be joined.
    pub(super) fn dial_unjoined(&mut self, cx: &mut Cx<'_>, parent: CallSid, code: u16) {
        if let Some(dialing) = self.dials.remove(&parent) {
            self.tell_dial(cx, parent, dialing.first, None, status_of(code), code);
        }
    }

    fn tell_dial(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        first: CallSid,
        winner: Option<CallSid>,
        status: CallStatus,
        code: u16,
    ) {
        self.tell(cx, Event::DialEnded(Box::new(DialEnded { sid, first, winner, status, code })));
        self.decided(cx, sid);
        self.rest_soon(cx, sid);
    }

    /// Those who were called for one party now ring for another: all of them, as whoever picks up is
    /// whom that party was calling. False when nobody rings.
    pub(super) fn adopt(&mut self, cx: &mut Cx<'_>, from: CallSid, survivor: CallSid, why: DialFor) -> bool {
        if self.dials.contains_key(&survivor) || self.ringing_for(from).is_none() {
            return false;
        }
        let children = self.dials.get(&from).map(|dialing| dialing.children.clone()).unwrap_or_default();
        self.silence_forks(from, &children);
        let Some(mut dialing) = self.dials.remove(&from) else { return false };
        for child in &dialing.children {
            if let Some(party) = self.party_mut(*child) {
                party.parent = Some(survivor);
            }
        }
        let (was, first) = (dialing.why, dialing.first);
        dialing.why = why;
        dialing.forks.clear();
        dialing.limit = None;
        self.dials.insert(survivor, dialing);
        if let DialFor::Order { .. } = was {
            // Nobody rings for it any more: as if who was called had been called off.
            self.tell_dial(cx, from, first, None, CallStatus::Canceled, 487);
        }
        true
    }

    /// The first leg that rings for an unanswered one.
    pub(super) fn ringing_for(&self, sid: CallSid) -> Option<CallSid> {
        let dialing = self.dials.get(&sid)?;
        dialing.children.iter().copied().find(|child| self.phase(*child) == Phase::Calling)
    }

    /// A call must be over after this long.
    pub(super) fn limit(&mut self, cx: &mut Cx<'_>, sid: CallSid, limit: Duration) {
        let timer = self.wait(cx, limit, Timer::Limit(sid));
        let at = cx.now + limit;
        let old = self.party_mut(sid).and_then(|party| {
            party.limit = Some(at);
            party.timer.replace(timer)
        });
        if let Some(old) = old {
            self.timers.cancel(cx, old);
        }
    }

    /// It is.
    pub(super) fn out_of_time(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        if let Some(party) = self.party_mut(sid) {
            party.timer = None;
        }
        self.end(cx, sid, End::bye(EndedBy::Baton, Headers::new()));
    }

    /// Our INVITE to a party came to nothing; its leg is gone.
    pub(super) fn rejected(&mut self, cx: &mut Cx<'_>, sid: CallSid, status: u16, message: Option<&Message>) {
        self.detach(sid);
        if self.phase(sid) == Phase::Leaving {
            return self.forget(cx, sid);
        }
        if self.elsewhere(cx, sid, status) {
            return;
        }
        if let Some(message) = message {
            self.tell_headers(cx, sid, message);
        }
        self.unreached(cx, sid, status, message);
    }

    /// A party cannot be reached: told, counted, forgotten.
    pub(super) fn unreached(&mut self, cx: &mut Cx<'_>, sid: CallSid, code: u16, message: Option<&Message>) {
        let by = if message.is_some() { EndedBy::Peer } else { EndedBy::Baton };
        if let Some(party) = self.party_mut(sid) {
            party.turn(Turn::Gone);
        }
        self.finish(cx, sid, status_of(code), code, by);
        self.child_failed(cx, sid, code, message);
        self.forget(cx, sid);
    }

    /// A party that is called for another one.
    pub(super) fn child(&self, sid: CallSid, parent: CallSid, cx: &Cx<'_>) -> Party {
        let mut party = Party::new(sid, crate::sip::event::Direction::OutboundDial, Phase::Locating, cx.now);
        party.parent = Some(parent);
        party
    }
}
