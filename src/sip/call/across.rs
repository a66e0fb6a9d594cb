//! Requests inside a dialog, passed to the other party, with the answer from there (C-151).

use super::headers::{cause, credentials, passing};
use super::media;
use super::party::{Phase, Turn};
use super::refusal::Refusal;
use super::{Calls, Purpose};
use crate::sip::dialog::{Asked, Body, Fork, Headers, LegId, NotNow, RequestId};
use crate::sip::event::{CallSid, Event};
use crate::sip::message::{Message, Method};
use crate::sip::proxy::Cx;

/// What was sent on for a party's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The same method, not an INVITE.
    Plain,
    /// A re-INVITE with an offer.
    Offer,
    /// A re-INVITE without one: its ACK is to carry the answer (C-174).
    Offerless,
    /// A re-INVITE in place of an UPDATE, whose offer the other party could not take otherwise.
    ForUpdate,
    /// An UPDATE in place of a PRACK with an offer: PRACK itself is between Baton and who sends it.
    ForPrack,
}

impl Calls {
    /// A request came in a party's dialog and waits for its answer.
    pub(super) fn requested(&mut self, cx: &mut Cx<'_>, sid: CallSid, asked: Asked, message: &Message) {
        match message.method() {
            Method::Refer => self.on_refer(cx, sid, asked, message),
            Method::Notify => self.on_notify(cx, sid, asked, message),
            Method::Subscribe => self.on_subscribe(cx, sid, asked, message),
            Method::Invite
            | Method::Update
            | Method::Info
            | Method::Message
            | Method::Options
            | Method::Prack
            | Method::Publish
            | Method::Register
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Other => self.cross(cx, sid, asked, message),
        }
    }

    /// What a party offers by a request that is acted on (C-145).
    fn offers(&mut self, sid: CallSid, method: Method, body: Option<&Body>) {
        if matches!(method, Method::Invite | Method::Update | Method::Prack)
            && let Some(offer) = body.filter(|body| body.is_session())
        {
            self.offered_by(sid, offer);
        }
    }

    /// Passes a request to the other party; answers it here where there is none.
    pub(super) fn cross(&mut self, cx: &mut Cx<'_>, sid: CallSid, asked: Asked, message: &Message) {
        let method = message.method();
        let body = Body::of(message);
        let session = body.as_ref().is_some_and(Body::is_session);
        let negotiates = method == Method::Invite || (method == Method::Update && session);
        if negotiates && self.party(sid).is_some_and(|party| party.join.is_some()) {
            // our own exchange goes first.
            return self.respond(cx, sid, asked, 491, &Headers::new(), None);
        }
        let other = self.other(sid).filter(|other| self.phase(*other).is_answered());
        let found = match other {
            Some(other) => Some((other, None)),
            None => self.early(sid, asked).map(|(other, fork)| (other, Some(fork))),
        };
        let Some((other, fork)) = found else {
            if negotiates && self.meets(sid) {
                // Whom it is about to talk to hears of it then.
                return self.respond(cx, sid, asked, 491, &Headers::new(), None);
            }
            self.offers(sid, method, body.as_ref());
            return self.alone(cx, sid, asked, message, body);
        };
        if negotiates && self.party(other).is_some_and(|party| party.join.is_some()) {
            return self.respond(cx, sid, asked, 491, &Headers::new(), None);
        }
        self.offers(sid, method, body.as_ref());
        if negotiates {
            self.gives_way(cx, sid);
        }
        let updates = self.facts(other).is_some_and(|facts| facts.allows(Method::Update) == Some(true));
        let agreed = |fork| self.leg_of(other).is_some_and(|leg| self.legs.has_agreed(leg, fork));
        let updatable = updates && fork.is_none_or(agreed);
        let (name, sent) = match method {
            Method::Prack if updatable => ("UPDATE", Sent::ForPrack),
            Method::Prack => return self.answer_prack(cx, sid, asked),
            // C-180: it would have to wait for a user.
            Method::Update if session && fork.is_some() && !updatable => {
                return self.respond(cx, sid, asked, 504, &Headers::new(), None);
            }
            Method::Invite if session => ("INVITE", Sent::Offer),
            Method::Invite => ("INVITE", Sent::Offerless),
            Method::Update if !updates && !session => {
                return self.respond(cx, sid, asked, 200, &Headers::new(), None);
            }
            Method::Update if !updates => ("INVITE", Sent::ForUpdate),
            Method::Update
            | Method::Info
            | Method::Message
            | Method::Options
            | Method::Publish
            | Method::Register
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Other => {
                (std::str::from_utf8(message.method_bytes()).unwrap_or("OPTIONS"), Sent::Plain)
            }
        };
        let mut headers = self.seen_by(other, sid, message);
        headers.append(&mut credentials(message, &cx.plan.calls.registrar.realm));
        let purpose = Purpose::Across { from: sid, asked, sent };
        let leg = self.leg_of(other).ok_or(NotNow::Unknown);
        let sent = leg.and_then(|leg| {
            let request = self.legs.request_in_fork(cx, leg, fork, name, headers, body, None)?;
            if method != Method::Invite {
                self.legs.once(leg, request);
            }
            self.open.insert((leg, request), purpose);
            Ok(())
        });
        match sent {
            Ok(()) => {}
            Err(_) if method == Method::Prack => self.answer_prack(cx, sid, asked),
            Err(_) => {
                let code = if negotiates { 491 } else { 480 };
                self.respond(cx, sid, asked, code, &Headers::new(), None);
            }
        }
    }

    /// Whom a request in an early dialog is for, and in which of his.
    fn early(&self, sid: CallSid, asked: Asked) -> Option<(CallSid, Fork)> {
        let fork = self.legs.fork_of(self.leg_of(sid)?, asked)?;
        self.early_other(sid, fork)
    }

    /// An offer in a PRACK cannot be refused (RFC 3262 §5): when nobody can be asked, it is answered with what
    /// the party was told last, as far as that goes.
    fn answer_prack(&mut self, cx: &mut Cx<'_>, sid: CallSid, asked: Asked) {
        let told = self.told_sdp(sid);
        let answer = self.heard_sdp(sid).and_then(|offer| {
            let still = told.as_ref().and_then(|told| media::as_answer(told, &offer, Some(told)));
            still.or_else(|| media::refuse_media(&offer))
        });
        self.respond(cx, sid, asked, 200, &Headers::new(), answer.as_ref());
    }

    /// A party wants its session changed while a change that its other party wants has not reached it: that
    /// one gives way. Each would wait for the other else, for ever (C-142, C-144).
    fn gives_way(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let Some(leg) = self.leg_of(sid) else { return };
        for request in self.legs.unsent(leg) {
            let Some(Purpose::Across { from, asked, sent }) = self.open.get(&(leg, request)).copied() else {
                continue;
            };
            if self.legs.forgo(cx, leg, request) {
                self.open.remove(&(leg, request));
                match sent {
                    Sent::ForPrack => self.answer_prack(cx, from, asked),
                    Sent::Plain | Sent::Offer | Sent::Offerless | Sent::ForUpdate => {
                        self.respond(cx, from, asked, 491, &Headers::new(), None);
                    }
                }
            }
        }
    }

    /// A party has cancelled its re-INVITE: so is what was made of it. If that has reached the other party, its
    /// answer is still the answer, as it may have been given already (RFC 3261 §9.2).
    pub(super) fn withdrawn(&mut self, cx: &mut Cx<'_>, sid: CallSid, of: Asked, message: &Message) {
        let made = self.open.iter().find(|(_, purpose)| match purpose {
            Purpose::Across { from, asked, .. } => *from == sid && *asked == of,
            Purpose::Join { .. } | Purpose::Order { .. } | Purpose::Quiet | Purpose::Transfer(_) => false,
        });
        let Some((leg, request)) = made.map(|(key, _)| *key) else { return };
        if self.legs.call_off(cx, leg, request, cause(message)) {
            self.open.remove(&(leg, request));
            self.respond(cx, sid, of, 487, &Headers::new(), None);
        }
    }

    /// What of a message from one party the other may see.
    pub(super) fn seen_by(&self, to: CallSid, from: CallSid, message: &Message) -> Headers {
        let client = |sid: CallSid| self.party(sid).is_some_and(|party| party.client.is_some());
        passing(message, !client(from), !client(to))
    }

    /// There is nobody to pass a request to: Baton is the other party.
    fn alone(&mut self, cx: &mut Cx<'_>, sid: CallSid, asked: Asked, message: &Message, body: Option<Body>) {
        let early = matches!(self.phase(sid), Phase::Offered | Phase::Calling);
        match message.method() {
            // C-180: nobody can be asked for an answer yet.
            Method::Update if early && body.is_some() => {
                self.respond(cx, sid, asked, 504, &Headers::new(), None);
            }
            Method::Invite | Method::Update => {
                let answer = match body.filter(Body::is_session) {
                    // on its way to somebody else, it has what the one before has said.
                    Some(offer) if self.transfers.active(sid) => self
                        .told_sdp(sid)
                        .and_then(|told| media::as_answer(&told, &offer, Some(&told)))
                        .or_else(|| media::refuse_media(&offer)),
                    Some(offer) => media::refuse_media(&offer),
                    None if message.method() == Method::Update => None,
                    None => self.told_sdp(sid).or_else(|| Some(media::nothing(cx.random()))),
                };
                self.respond(cx, sid, asked, 200, &Headers::new(), answer.as_ref());
            }
            Method::Prack => self.answer_prack(cx, sid, asked),
            Method::Info | Method::Options => {
                self.respond(cx, sid, asked, 200, &Headers::new(), None);
            }
            Method::Notify | Method::Subscribe => {
                let known = vec![("Allow-Events".into(), b"refer".as_slice().into())];
                self.respond(cx, sid, asked, 489, &known, None);
            }
            // One on a call with no other leg has nobody to move.
            Method::Refer => self.respond(cx, sid, asked, 603, &Headers::new(), None),
            // C-146
            Method::Message
            | Method::Publish
            | Method::Register
            | Method::Ack
            | Method::Bye
            | Method::Cancel => {
                self.respond(cx, sid, asked, 405, &Headers::new(), None);
            }
            Method::Other => self.respond(cx, sid, asked, 501, &Headers::new(), None),
        }
    }

    /// A request of ours inside a dialog has its final response.
    pub(super) fn responded(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        request: RequestId,
        status: u16,
        message: Option<&Message>,
    ) {
        let Some(purpose) = self.open.remove(&(leg, request)) else { return };
        let invite = message.is_some_and(|m| m.method() == Method::Invite) && (200..300).contains(&status);
        let at = self.by_leg.get(&leg).copied();
        match purpose {
            Purpose::Across { from, asked, sent } => {
                self.back_across(cx, leg, at, request, from, asked, sent, status, message);
            }
            Purpose::Join { join, offerless } => {
                self.join_answered(cx, join, leg, request, offerless, status, message);
            }
            Purpose::Order { ticket } => {
                if invite {
                    self.legs.ack_request(cx, leg, request, None);
                }
                if let Some(sid) = at {
                    let reason = message.map(|m| String::from_utf8_lossy(m.reason()).into_owned());
                    let reason = reason.unwrap_or_default();
                    self.tell(cx, Event::RequestEnded { sid, ticket, code: status, reason });
                }
            }
            Purpose::Quiet => {
                if invite {
                    self.legs.ack_request(cx, leg, request, None);
                }
                if let Some(sid) = at {
                    self.said_quietly(sid, request);
                }
            }
            Purpose::Transfer(transfer) => {
                self.on_transfer_response(cx, transfer, at, request, status, message);
            }
        }
    }

    /// The answer of the other party goes back to the one who asked.
    fn back_across(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        at: Option<CallSid>,
        request: RequestId,
        from: CallSid,
        asked: Asked,
        sent: Sent,
        status: u16,
        message: Option<&Message>,
    ) {
        let success = (200..300).contains(&status);
        let body = message.and_then(Body::of);
        let asker = self.leg_of(from).filter(|_| self.phase(from).is_answered());
        match sent {
            Sent::Plain => {}
            Sent::Offer | Sent::ForUpdate => {
                if success {
                    self.legs.ack_request(cx, leg, request, None);
                }
            }
            Sent::Offerless if success => match (asker, at) {
                (Some(asker), Some(at)) => {
                    self.owed.insert((asker, asked), (at, request));
                    if let Some(offer) = &body {
                        self.offered_by(at, offer);
                    }
                }
                (None, _) | (_, None) => {
                    let answer = body.as_ref().and_then(media::refuse_media);
                    self.legs.ack_request(cx, leg, request, answer.as_ref());
                }
            },
            Sent::Offerless => {}
            Sent::ForPrack if success && body.is_some() => {}
            Sent::ForPrack => return self.answer_prack(cx, from, asked),
        }
        let headers = match (message, at) {
            (Some(message), Some(at)) => self.seen_by(from, at, message),
            (Some(_) | None, _) => Headers::new(),
        };
        // C-200: whose challenge Baton answers itself, its own credentials were refused.
        let answer = Refusal::new(cx, at.and_then(|at| self.party(at)), status, headers, message.is_some());
        self.respond(cx, from, asked, answer.code, &answer.headers, body.as_ref());
    }

    /// The ACK to a 2xx of ours came; it may carry an answer that somebody waits for (C-174).
    pub(super) fn acknowledged(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        leg: LegId,
        asked: Option<Asked>,
        message: &Message,
    ) {
        let answer = Body::of(message).filter(Body::is_session);
        let Some(asked) = asked else {
            if let Some(party) = self.party_mut(sid) {
                party.turn(Turn::Acknowledged);
            }
            return self.answer_passes(cx, sid, answer);
        };
        if let Some((to, request)) = self.owed.remove(&(leg, asked)) {
            self.pay(cx, to, request, answer);
        }
    }

    /// Who has made an offer in a 2xx gets its ACK, without media if nobody has answered.
    fn pay(&mut self, cx: &mut Cx<'_>, to: CallSid, request: RequestId, answer: Option<Body>) {
        let answer = answer.or_else(|| self.heard_sdp(to).and_then(|offer| media::refuse_media(&offer)));
        if let Some(leg) = self.leg_of(to) {
            self.legs.ack_request(cx, leg, request, answer.as_ref());
        }
    }

    /// A party leaves: what it owes an answer for gets none from it any more.
    pub(super) fn leaves_owing(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let Some(leg) = self.leg_of(sid) else { return };
        let owed: Vec<_> = self.owed.extract_if(|(owing, _), _| *owing == leg).collect();
        for (_, (to, request)) in owed {
            self.pay(cx, to, request, None);
        }
    }

    /// The caller's ACK came: the callee gets its own, if it still waits.
    fn answer_passes(&mut self, cx: &mut Cx<'_>, sid: CallSid, answer: Option<Body>) {
        if let Some(join) = self.party(sid).and_then(|party| party.join) {
            return self.join_acknowledged(cx, join, answer);
        }
        let Some(other) = self.other(sid) else { return };
        if self.phase(other) == Phase::Up
            && let Some(answer) = &answer
            && let Some(told) = self.told_sdp(other).filter(|told| !media::agrees(told, answer))
        {
            // It was given an answer without media while it rang.
            return self.quietly(cx, other, media::as_offer(answer, Some(&told)));
        }
        if self.phase(other) != Phase::Accepted {
            return;
        }
        let answer = answer.or_else(|| self.heard_sdp(other).and_then(|offer| media::refuse_media(&offer)));
        if let Some(leg) = self.leg_of(other) {
            self.legs.ack(cx, leg, answer.as_ref());
        }
        if let Some(party) = self.party_mut(other) {
            party.turn(Turn::Acknowledge);
        }
    }
}
