//! Joining two parties by third-party call control (RFC 3725; R-094 to R-102).
//!
//! One of them, the *survivor*, is up and gets a re-INVITE with what the other, the *target*, says. The
//! target may have answered our INVITE (with the survivor's description, or offering its own), may be
//! up, or may be waiting for its answer. If what the survivor says to that differs from what the target
//! was told of it, the target is offered again, and so on, two rounds at most (R-097).
//!
//! ```text
//!  Answered ─────────────────────► Offering ─2xx─┬─ agrees ─────────────► joined
//!  Offered (ACK waits) ──────────►    ▲          └─ differs ─► Fitting ─┐   ▲
//!  Up ─► Asking (offerless) ─2xx─►    └────────── differs ◄─2xx─────────┴───┘
//!  Entering with offer ──────────► Offering ─2xx─► its 200 ─────────────► joined
//!  Entering without ─► AskingSurvivor ─2xx─► its 200 ─► Acking ─ACK─────► joined
//! ```
//!
//! Whatever fails leaves the survivor with what it had (R-098, R-099), and tells who began it why.

use super::ending::End;
use super::media;
use super::party::{Phase, Turn};
use super::timers::{Timer, TimerKey};
use super::transfer::TransferId;
use super::{Calls, Purpose};
use crate::sip::dialog::{Body, Fork, Headers, LegId, NotNow, RequestId};
use crate::sip::event::{CallSid, EndedBy, Event};
use crate::sip::message::Message;
use crate::sip::proxy::Cx;
use std::time::Duration;

/// A join of this shard.
pub(super) type JoinId = u32;

/// How long a target waits for its ACK at most (R-100).
const STARVING: Duration = Duration::from_secs(4);

/// Times a side is offered again because the other said something else (R-097).
const ROUNDS: u8 = 2;

/// How far the target is when a join begins.
#[derive(Debug)]
pub(super) enum Start {
    /// It has answered our INVITE, which had an offer, and has its ACK.
    Answered {
        /// What it answered.
        answer: Body,
    },
    /// It has answered our INVITE, which had none, with an offer, and waits for its ACK.
    Offered {
        /// What it offers.
        offer: Body,
    },
    /// It is up.
    Up,
    /// Its own INVITE waits for the answer.
    Entering {
        /// The offer in it.
        offer: Option<Body>,
    },
}

/// Who wants two joined, and hears what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinFor {
    /// The Dial of this party.
    Dial(CallSid),
    /// The control plane.
    Order,
    /// The target's INVITE, which replaces this party.
    Replaces(CallSid),
    /// A transfer.
    Transfer(TransferId),
}

/// What came of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinResult {
    /// They talk to each other.
    Joined,
    /// They could not be brought together; the survivor has what it had. The target is still there.
    Refused {
        /// The code one of them refused with; 488 for want of a common codec.
        code: u16,
    },
    /// The survivor has left.
    SurvivorGone,
    /// The target has left; the survivor has what it had.
    TargetGone,
}

/// A join under way.
#[derive(Debug)]
pub(super) struct Join {
    survivor: CallSid,
    target: CallSid,
    why: JoinFor,
    step: Step,
    rounds: u8,
    starving: Option<TimerKey>,
    /// What the survivor was told before.
    before: Option<Body>,
    /// Whether the survivor has taken something else since.
    moved: bool,
}

/// What a join waits for.
#[derive(Debug)]
enum Step {
    /// The target's offer.
    Asking,
    /// The survivor's offer, for a target whose INVITE had none.
    AskingSurvivor,
    /// The survivor's answer; meanwhile the target waits.
    Offering(Waits),
    /// The target's answer to what the survivor said.
    Fitting,
    /// The ACK of the target, with the answer to this re-INVITE of the survivor.
    Acking(RequestId),
}

/// What the target waits for while the survivor is asked.
#[derive(Debug)]
enum Waits {
    /// Nothing.
    Nothing,
    /// The ACK to its 2xx, with the answer to this offer.
    Ack(Body),
    /// The same, of a re-INVITE.
    AckRequest(RequestId, Body),
    /// The final response to its INVITE, with the answer to this offer.
    Answer(Body),
}

impl Calls {
    /// Joins two parties. The result goes by `why`, possibly at once.
    pub(super) fn join(
        &mut self,
        cx: &mut Cx<'_>,
        survivor: CallSid,
        target: CallSid,
        start: Start,
        why: JoinFor,
    ) {
        let id = self.fresh() as JoinId;
        let busy = |sid: CallSid| self.party(sid).is_none_or(|party| party.join.is_some());
        let both = busy(survivor) || busy(target) || survivor == target;
        let before = self.had(survivor);
        let join = Join {
            survivor,
            target,
            why,
            step: Step::Asking,
            rounds: 0,
            starving: None,
            before,
            moved: false,
        };
        self.joins.insert(id, join);
        if both {
            self.release(cx, id, start);
            return self.concluded(cx, id, JoinResult::Refused { code: 491 });
        }
        for sid in [survivor, target] {
            if let Some(party) = self.party_mut(sid) {
                party.join = Some(id);
            }
            self.outdone(cx, sid);
        }
        match start {
            Start::Answered { answer } => self.offer_survivor(cx, id, &answer, Waits::Nothing),
            Start::Offered { offer } => {
                self.offered_by(target, &offer);
                self.offer_survivor(cx, id, &offer.clone(), Waits::Ack(offer));
            }
            Start::Up => self.ask(cx, id, target, Step::Asking),
            Start::Entering { offer: Some(offer) } => {
                self.offer_survivor(cx, id, &offer.clone(), Waits::Answer(offer));
            }
            Start::Entering { offer: None } => self.ask(cx, id, survivor, Step::AskingSurvivor),
        }
    }

    /// A target that is not joined after all must not wait for its ACK for ever.
    fn release(&mut self, cx: &mut Cx<'_>, id: JoinId, start: Start) {
        match start {
            Start::Offered { offer } => self.let_go(cx, id, Waits::Ack(offer)),
            Start::Answered { .. } | Start::Up | Start::Entering { .. } => {}
        }
    }

    /// A re-INVITE without an offer (C-174).
    fn ask(&mut self, cx: &mut Cx<'_>, id: JoinId, whom: CallSid, step: Step) {
        let purpose = Purpose::Join { join: id, offerless: true };
        let headers = self.told_who(cx, id, whom);
        let sent = self.send(cx, whom, "INVITE", headers, None, None, purpose);
        self.stepped(cx, id, whom, sent, step);
    }

    /// A re-INVITE to the survivor with what the target says (R-096).
    fn offer_survivor(&mut self, cx: &mut Cx<'_>, id: JoinId, said: &Body, waits: Waits) {
        let Some(survivor) = self.joins.get(&id).map(|join| join.survivor) else { return };
        let offer = media::as_offer(said, self.told_sdp(survivor).as_ref());
        if matches!(waits, Waits::Ack(_) | Waits::AckRequest(..)) {
            let timer = self.wait(cx, STARVING, Timer::Starved(id));
            if let Some(join) = self.joins.get_mut(&id) {
                join.starving = Some(timer);
            }
        }
        let purpose = Purpose::Join { join: id, offerless: false };
        let headers = self.told_who(cx, id, survivor);
        let sent = self.send(cx, survivor, "INVITE", headers, Some(offer), None, purpose);
        self.stepped(cx, id, survivor, sent, Step::Offering(waits));
    }

    /// A re-INVITE to the target with what the survivor says (R-097).
    fn offer_target(&mut self, cx: &mut Cx<'_>, id: JoinId, said: &Body) {
        let Some(target) = self.joins.get(&id).map(|join| join.target) else { return };
        let offer = media::as_offer(said, self.told_sdp(target).as_ref());
        let purpose = Purpose::Join { join: id, offerless: false };
        let headers = self.told_who(cx, id, target);
        let sent = self.send(cx, target, "INVITE", headers, Some(offer), None, purpose);
        self.stepped(cx, id, target, sent, Step::Fitting);
    }

    /// Whom one of the two is joined with (R-070).
    fn told_who(&self, cx: &Cx<'_>, id: JoinId, whom: CallSid) -> Headers {
        let Some(join) = self.joins.get(&id) else { return Headers::new() };
        let other = if join.survivor == whom { join.target } else { join.survivor };
        self.presented(cx.plan, whom, other)
    }

    fn stepped(
        &mut self,
        cx: &mut Cx<'_>,
        id: JoinId,
        whom: CallSid,
        sent: Result<RequestId, NotNow>,
        step: Step,
    ) {
        let Some(join) = self.joins.get_mut(&id) else { return };
        join.step = step;
        if sent.is_err() {
            let survivor = join.survivor == whom;
            let result = if survivor { JoinResult::SurvivorGone } else { JoinResult::TargetGone };
            self.failed(cx, id, result);
        }
    }

    /// A re-INVITE of a join has its final response.
    pub(super) fn join_answered(
        &mut self,
        cx: &mut Cx<'_>,
        id: JoinId,
        leg: LegId,
        request: RequestId,
        offerless: bool,
        status: u16,
        message: Option<&Message>,
    ) {
        let body = message.and_then(Body::of).filter(Body::is_session);
        let success = (200..300).contains(&status);
        let Some(join) = self.joins.get_mut(&id) else {
            // The join is over: what was asked for is not wanted any more, and has changed the party's
            // session.
            if success {
                let answer = body.filter(|_| offerless).and_then(|offer| media::refuse_media(&offer));
                self.legs.ack_request(cx, leg, request, answer.as_ref());
                if let Some(sid) = self.by_leg.get(&leg).copied() {
                    self.remind(cx, sid);
                }
            }
            return;
        };
        let (survivor, target) = (join.survivor, join.target);
        if !success {
            // R-099: by these two it says that it is no more, as its leg will (RFC 5057 §5.1). X-09, X-11: what
            // its end has left without an answer is told before that end.
            let gone = match message {
                Some(_) => matches!(status, 408 | 481),
                None => status == 487,
            };
            let result = match gone {
                true if self.by_leg.get(&leg) == Some(&survivor) => JoinResult::SurvivorGone,
                true => JoinResult::TargetGone,
                false => JoinResult::Refused { code: status },
            };
            return self.failed(cx, id, result);
        }
        let step = std::mem::replace(&mut join.step, Step::Asking);
        match (step, body) {
            // RFC 3725 §4.4, the target's side.
            (Step::Asking, Some(offer)) => {
                self.offered_by(target, &offer);
                self.offer_survivor(cx, id, &offer.clone(), Waits::AckRequest(request, offer));
            }
            // RFC 3261 §13.2.1: the caller's answer comes in its ACK.
            (Step::AskingSurvivor, Some(offer)) => {
                join.step = Step::Acking(request);
                self.offered_by(survivor, &offer);
                let headers = self.presented(cx.plan, target, survivor);
                self.accept(cx, target, Fork(0), &headers, Some(&offer));
            }
            (Step::Offering(waits), answer) => {
                self.legs.ack_request(cx, leg, request, None);
                join.moved = true;
                match answer {
                    Some(answer) if media::has_media(&answer) => self.survivor_said(cx, id, waits, answer),
                    Some(_) | None => {
                        join.step = Step::Offering(waits);
                        self.failed(cx, id, JoinResult::Refused { code: 488 });
                    }
                }
            }
            (Step::Fitting, answer) => {
                self.legs.ack_request(cx, leg, request, None);
                match answer {
                    Some(answer) if media::has_media(&answer) => self.target_said(cx, id, answer),
                    Some(_) | None => self.failed(cx, id, JoinResult::Refused { code: 488 }),
                }
            }
            (Step::Asking | Step::AskingSurvivor, None) => {
                self.legs.ack_request(cx, leg, request, None);
                self.failed(cx, id, JoinResult::Refused { code: 488 });
            }
            // Nothing is under way here.
            (step @ Step::Acking(_), _) => join.step = step,
        }
    }

    /// The survivor has answered: the target hears it.
    fn survivor_said(&mut self, cx: &mut Cx<'_>, id: JoinId, waits: Waits, said: Body) {
        let Some(join) = self.joins.get_mut(&id) else { return };
        let (target, survivor) = (join.target, join.survivor);
        let told = self.told_sdp(target);
        match waits {
            Waits::Nothing => {
                if told.is_none_or(|told| media::agrees(&told, &said)) || self.round_over(id) {
                    return self.joined(cx, id);
                }
                self.offer_target(cx, id, &said);
            }
            Waits::Ack(offer) => match media::as_answer(&said, &offer, told.as_ref()) {
                Some(answer) => {
                    self.acknowledge(cx, target, &answer);
                    self.joined(cx, id);
                }
                None => self.unfit(cx, id, Waits::Ack(offer)),
            },
            Waits::AckRequest(request, offer) => match media::as_answer(&said, &offer, told.as_ref()) {
                Some(answer) => {
                    if let Some(leg) = self.leg_of(target) {
                        self.legs.ack_request(cx, leg, request, Some(&answer));
                    }
                    self.joined(cx, id);
                }
                None => self.unfit(cx, id, Waits::AckRequest(request, offer)),
            },
            Waits::Answer(offer) => match media::as_answer(&said, &offer, told.as_ref()) {
                Some(answer) => {
                    let headers = self.presented(cx.plan, target, survivor);
                    self.accept(cx, target, Fork(0), &headers, Some(&answer));
                    self.joined(cx, id);
                }
                None => self.unfit(cx, id, Waits::Answer(offer)),
            },
        }
    }

    fn unfit(&mut self, cx: &mut Cx<'_>, id: JoinId, waits: Waits) {
        if let Some(join) = self.joins.get_mut(&id) {
            join.step = Step::Offering(waits);
        }
        self.failed(cx, id, JoinResult::Refused { code: 488 });
    }

    /// The target has answered what the survivor said.
    fn target_said(&mut self, cx: &mut Cx<'_>, id: JoinId, said: Body) {
        let Some(survivor) = self.joins.get(&id).map(|join| join.survivor) else { return };
        let told = self.told_sdp(survivor);
        if told.is_none_or(|told| media::agrees(&told, &said)) || self.round_over(id) {
            return self.joined(cx, id);
        }
        self.offer_survivor(cx, id, &said, Waits::Nothing);
    }

    /// Counts a round; true when there was enough of them (R-097).
    fn round_over(&mut self, id: JoinId) -> bool {
        self.joins.get_mut(&id).is_none_or(|join| {
            join.rounds += 1;
            join.rounds > ROUNDS
        })
    }

    fn acknowledge(&mut self, cx: &mut Cx<'_>, sid: CallSid, answer: &Body) {
        if let Some(leg) = self.leg_of(sid) {
            self.legs.ack(cx, leg, Some(answer));
        }
        if let Some(party) = self.party_mut(sid) {
            party.turn(Turn::Acknowledge);
        }
    }

    /// The target has waited long enough: it gets an answer without media, and is offered again when
    /// the survivor has spoken (R-100).
    pub(super) fn starved(&mut self, cx: &mut Cx<'_>, id: JoinId) {
        let Some(join) = self.joins.get_mut(&id) else { return };
        join.starving = None;
        match std::mem::replace(&mut join.step, Step::Asking) {
            Step::Offering(waits) => {
                join.step = Step::Offering(Waits::Nothing);
                self.let_go(cx, id, waits);
            }
            step @ (Step::Asking | Step::AskingSurvivor | Step::Fitting | Step::Acking(_)) => {
                join.step = step
            }
        }
    }

    /// Ends what the target waits for, without media, or with what it was told before.
    fn let_go(&mut self, cx: &mut Cx<'_>, id: JoinId, waits: Waits) {
        let Some(target) = self.joins.get(&id).map(|join| join.target) else { return };
        match waits {
            Waits::Nothing | Waits::Answer(_) => {}
            Waits::Ack(offer) => {
                if self.phase(target) == Phase::Accepted
                    && let Some(answer) = media::refuse_media(&offer)
                {
                    self.acknowledge(cx, target, &answer);
                }
            }
            Waits::AckRequest(request, offer) => {
                let told = self.told_sdp(target);
                let answer = told
                    .as_ref()
                    .and_then(|told| media::as_answer(told, &offer, Some(told)))
                    .or_else(|| media::refuse_media(&offer));
                if let Some(leg) = self.leg_of(target) {
                    self.legs.ack_request(cx, leg, request, answer.as_ref());
                }
            }
        }
    }

    /// The ACK of a target came that the survivor's offer went to.
    pub(super) fn join_acknowledged(&mut self, cx: &mut Cx<'_>, id: JoinId, answer: Option<Body>) {
        let Some(join) = self.joins.get(&id) else { return };
        let Step::Acking(request) = join.step else { return };
        let survivor = join.survivor;
        let answer =
            answer.or_else(|| self.heard_sdp(survivor).and_then(|offer| media::refuse_media(&offer)));
        if let Some(leg) = self.leg_of(survivor) {
            self.legs.ack_request(cx, leg, request, answer.as_ref());
        }
        self.joined(cx, id);
    }

    /// Who wanted two joined does so no more.
    pub(super) fn abandon(&mut self, cx: &mut Cx<'_>, survivor: CallSid, why: JoinFor) {
        let join = self.party(survivor).and_then(|party| party.join);
        if let Some(id) = join.filter(|id| self.joins.get(id).is_some_and(|join| join.why == why)) {
            self.failed(cx, id, JoinResult::Refused { code: 487 });
        }
    }

    /// One of the two has left.
    pub(super) fn join_lost(&mut self, cx: &mut Cx<'_>, id: JoinId, sid: CallSid) {
        let Some(join) = self.joins.get(&id) else { return };
        let result = if join.survivor == sid { JoinResult::SurvivorGone } else { JoinResult::TargetGone };
        self.failed(cx, id, result);
    }

    /// It has come to nothing: both are given back what they had (R-098, R-099).
    fn failed(&mut self, cx: &mut Cx<'_>, id: JoinId, result: JoinResult) {
        let Some(join) = self.joins.get_mut(&id) else { return };
        let survivor = join.survivor;
        let before = join.before.take().filter(|_| join.moved);
        match std::mem::replace(&mut join.step, Step::Fitting) {
            Step::Offering(waits) => self.let_go(cx, id, waits),
            Step::Acking(request) => {
                let answer =
                    before.clone().or_else(|| self.heard_sdp(survivor).and_then(|o| media::refuse_media(&o)));
                if let Some(leg) = self.leg_of(survivor) {
                    self.legs.ack_request(cx, leg, request, answer.as_ref());
                }
            }
            Step::Asking | Step::AskingSurvivor | Step::Fitting => {}
        }
        let untold = self.party(survivor).is_some_and(|party| party.untold);
        if let Some(before) = before.filter(|_| !untold && self.phase(survivor).is_answered()) {
            let offer = media::as_offer(&before, self.told_sdp(survivor).as_ref());
            self.quietly_from(cx, survivor, offer, self.other(survivor));
        }
        self.concluded(cx, id, result);
    }

    fn joined(&mut self, cx: &mut Cx<'_>, id: JoinId) {
        self.concluded(cx, id, JoinResult::Joined);
    }

    /// Tells who began it.
    fn concluded(&mut self, cx: &mut Cx<'_>, id: JoinId, result: JoinResult) {
        let Some(join) = self.joins.remove(&id) else { return };
        if let Some(timer) = join.starving {
            self.timers.cancel(cx, timer);
        }
        let (survivor, target) = (join.survivor, join.target);
        for sid in [survivor, target] {
            if let Some(party) = self.party_mut(sid).filter(|party| party.join == Some(id)) {
                party.join = None;
            }
        }
        let left: Vec<CallSid> = [survivor, target].into_iter().filter_map(|sid| self.other(sid)).collect();
        if result == JoinResult::Joined {
            self.link(cx, survivor, target);
        }
        for sid in [survivor, target] {
            self.after_join(cx, sid, result == JoinResult::Joined);
        }
        match join.why {
            JoinFor::Dial(parent) => match result {
                JoinResult::Joined => self.left_alone(cx, &left),
                JoinResult::Refused { code } => {
                    self.dial_unjoined(cx, parent, code);
                    self.end(cx, target, End::bye(EndedBy::Baton, Headers::new()));
                    self.stranded(cx, survivor);
                }
                JoinResult::SurvivorGone => {
                    self.end(cx, target, End::bye(EndedBy::OtherLeg, Headers::new()));
                }
                JoinResult::TargetGone => self.stranded(cx, survivor),
            },
            JoinFor::Order => match result {
                JoinResult::Joined => self.left_alone(cx, &left),
                JoinResult::Refused { .. } | JoinResult::SurvivorGone | JoinResult::TargetGone => {
                    self.tell(cx, Event::Parted(survivor, target));
                }
            },
            JoinFor::Replaces(replaced) => {
                self.replaced(cx, replaced, survivor, target, result);
                if result == JoinResult::Joined {
                    // The replaced one is let go already, if it is not needed for something else.
                    let others: Vec<CallSid> = left.into_iter().filter(|sid| *sid != replaced).collect();
                    self.left_alone(cx, &others);
                }
            }
            JoinFor::Transfer(transfer) => {
                self.on_joined(cx, transfer, result);
                if result == JoinResult::Joined {
                    // The transfer lets its own parties go by itself.
                    let others: Vec<CallSid> =
                        left.into_iter().filter(|sid| !self.takes_part(*sid, transfer)).collect();
                    self.left_alone(cx, &others);
                }
            }
        }
    }

    /// Nobody would ever end a caller whose routes have done their part, and who talks to nobody.
    fn stranded(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let alone = |party: &super::Party| !party.steered && party.talks_to.is_none() && party.join.is_none();
        if self.party(sid).is_some_and(alone) && !self.dials.contains_key(&sid) {
            self.end(cx, sid, End::bye(EndedBy::OtherLeg, Headers::new()));
        }
    }

    /// Those whom two talked to before they were joined: who is steered, or belongs to one who is, waits
    /// in silence; nobody would ever end the others.
    fn left_alone(&mut self, cx: &mut Cx<'_>, left: &[CallSid]) {
        for &sid in left {
            match self.party(sid) {
                Some(party) if party.talks_to.is_some() => {}
                Some(party) if party.steered || party.parent.is_some() => self.silence(cx, sid),
                Some(_) => self.end(cx, sid, End::bye(EndedBy::Baton, Headers::new())),
                None => {}
            }
        }
    }

    /// A party has made an offer: it says more than its answers do (R-095).
    pub(super) fn offered_by(&mut self, sid: CallSid, offer: &Body) {
        if let Some(party) = self.party_mut(sid) {
            party.made = offer.is_session().then(|| offer.clone());
        }
    }

    /// The offer with which others are called for a party that is up (R-094, R-095).
    pub(super) fn current_offer(&self, sid: CallSid) -> Option<Body> {
        let made = self.party(sid)?.made.as_ref();
        media::current(made, self.heard_sdp(sid).as_ref(), self.told_sdp(sid).as_ref())
    }
}
