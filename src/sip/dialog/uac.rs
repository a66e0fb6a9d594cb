//! What is answered to our INVITE (RFC 3261 §13.2.2), and the ACK to a 2xx (§13.2.2.4).

use super::calling::{Calling, Cancelled, Failure, Progress};
use super::event::{Fork, LegEvent};
use super::hop::{Next, next_hop};
use super::leg::{Ack, Answered, Desk, Leg, State};
use super::offer::{Carrier, Exchange, Side};
use super::outgoing::Body;
use super::write::{self, Branch, Parts};
use crate::shard::{AttemptResult, Dir, Output, SendTag};
use crate::sip::message::{Message, Method};
use crate::sip::proxy::Cx;
use crate::sip::transaction::ClientId;

/// ACKs that are kept for repeated 2xx.
const MOST_ACKS: usize = 8;

impl Leg {
    /// A response to the INVITE that makes the leg.
    pub(super) fn invite_response(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        let Some(mut calling) = self.take_calling() else { return };
        match message.status() {
            ..=100 => {
                calling.heard(Progress::Trying, cx);
                self.put_calling(calling);
            }
            101..=199 => {
                calling.heard(Progress::Ringing, cx);
                self.provisional(calling, cx, desk, message);
            }
            200..=299 => self.answered(calling, cx, desk, message),
            _ => self.refused(calling, cx, desk, message),
        }
    }

    fn provisional(
        &mut self,
        mut calling: Box<Calling>,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        message: &Message,
    ) {
        let fork = self.fork_of(&mut calling, message);
        self.put_calling(calling);
        let Some(fork) = fork else { return };
        self.learn(message);
        if !self.take_reliable(fork, cx, desk, message) {
            return;
        }
        self.tell(desk, LegEvent::Provisional { leg: self.id, fork, message: message.detached() });
        self.advance(cx, desk);
    }

    /// The first 2xx: the dialog is confirmed.
    fn answered(&mut self, mut calling: Box<Calling>, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        let Some(fork) = self.fork_of(&mut calling, message) else {
            return self.put_calling(calling);
        };
        if self.trunk.is_some() {
            cx.counters.attempt(self.trunk, AttemptResult::Answered);
        }
        self.drop_forks(cx, desk, Some(fork));
        if let Some(dialog) = self.dialog_mut(fork) {
            dialog.confirm(message);
        }
        self.learn(message);
        self.credentials = calling.out.credentials.take().or(self.credentials.take());
        self.note_answer(fork, message, calling.out.body.as_ref());
        self.begin_session(cx, message);
        self.state =
            State::Answered(Box::new(Answered { cseq: calling.cseq, authorization: calling.authorization }));
        self.tell(desk, LegEvent::Answered { leg: self.id, fork, message: message.detached() });
        if self.silent {
            self.acknowledge(cx, desk, None);
            self.hang_up(cx, desk, Vec::new());
        }
    }

    /// A description in a 2xx to INVITE counts as the answer to ours, or as the offer when there was
    /// none; not as anything when a reliable provisional had it before (RFC 6337 §3.1.1).
    fn note_answer(&mut self, fork: Fork, message: &Message, offered: Option<&Body>) {
        let Some(body) = Body::of(message).filter(Body::is_session) else { return };
        let offered = offered.is_some_and(Body::is_session);
        let Some(dialog) = self.dialog_mut(fork) else { return };
        let counts = if offered { dialog.exchange.is_ours() } else { dialog.exchange == Exchange::Fresh };
        if counts {
            dialog.carried(Side::Theirs, Carrier::Invite);
            self.received = Some(body);
        }
    }

    fn refused(&mut self, mut calling: Box<Calling>, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        let status = message.status();
        if self.correct(&mut calling, cx, message) {
            return self.next_attempt(calling, cx, desk);
        }
        if calling.cancelled.is_none() && cx.plan.routing.retry_on.contains(&status) {
            return self.attempt_failed(calling, cx, desk, Failure::Code, status, Some(message));
        }
        if self.trunk.is_some() {
            cx.counters.attempt(self.trunk, AttemptResult::Rejected);
        }
        let status = match calling.cancelled {
            Some(Cancelled::RangTooLong) if status == 487 => 408,
            Some(_) | None => status,
        };
        self.rejected(calling, cx, desk, status, Some(message.detached()));
    }

    /// The INVITE's transaction ended without an answer.
    pub(super) fn invite_failed(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        client: ClientId,
        failure: Failure,
    ) {
        let Some(mut calling) = self.take_calling() else { return };
        if calling.client != Some(client) {
            return self.put_calling(calling);
        }
        calling.client = None;
        let status = if failure == Failure::Transport { 503 } else { 408 };
        self.attempt_failed(calling, cx, desk, failure, status, None);
    }

    /// Acknowledges the 2xx that made the leg.
    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, body: Option<Body>) {
        let State::Answered(answered) = &mut self.state else { return };
        let cseq = answered.cseq;
        let authorization = std::mem::take(&mut answered.authorization);
        self.state = State::Up;
        self.push_ack(cx, cseq, authorization, body);
        self.advance(cx, desk);
    }

    /// An ACK is wanted; it goes with the next [`Leg::send_acks`].
    pub(super) fn push_ack(
        &mut self,
        cx: &Cx<'_>,
        cseq: u32,
        authorization: super::leg::Authorization,
        body: Option<Body>,
    ) {
        // RFC 3264 §4: an answer goes only where an offer waits for it.
        let wanted = self.dialogs.first().is_some_and(|dialog| dialog.exchange.is_theirs());
        let body = body.filter(|body| wanted || !body.is_session());
        let body = match self.dialogs.first_mut() {
            Some(dialog) => body.map(|body| dialog.describe(body)),
            None => body,
        };
        if let Some(body) = body.as_ref().filter(|body| body.is_session()) {
            self.sent = Some(body.clone());
            if let Some(dialog) = self.dialogs.first_mut() {
                dialog.carried(Side::Ours, Carrier::Invite);
            }
        } else if let Some(dialog) = self.dialogs.first_mut() {
            // Their offer stays without an answer: as if it had not been made.
            dialog.refused(Carrier::Invite);
        }
        if self.acks.len() >= MOST_ACKS {
            self.acks.remove(0);
        }
        let until = cx.now + cx.plan.timings.t1 * 64;
        self.acks.push(Ack { cseq, authorization, body, sent: None, until });
    }

    /// Sends ACKs that have not gone yet.
    pub(super) fn send_acks(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        for at in 0..self.acks.len() {
            let Some(dialog) = self.dialogs.first() else { return };
            let Some(ack) = self.acks.get(at).filter(|ack| ack.sent.is_none()) else { continue };
            let size = 600 + ack.body.as_ref().map_or(0, |body| body.bytes.len());
            let place = match next_hop(self, dialog, cx, desk, size) {
                Next::Found(places) => places.into_iter().next(),
                Next::Nowhere => Some(self.flow.clone()),
                Next::Wait => {
                    self.await_dns(desk);
                    continue;
                }
            };
            let Some(place) = place else { continue };
            let random = cx.random();
            let none = Leg::nothing();
            let parts = Parts {
                authorization: &ack.authorization,
                body: ack.body.as_ref(),
                ..Parts::within(dialog, "ACK", ack.cseq, &none)
            };
            let bytes = write::request(self, cx, desk, place.listener, &Branch::Loose(random), &parts);
            if let Some(ack) = self.acks.get_mut(at) {
                ack.body = None;
                ack.sent = Some((place, bytes));
            }
            self.send_ack(cx, at);
        }
    }

    fn send_ack(&self, cx: &mut Cx<'_>, at: usize) {
        let Some((to, bytes)) = self.acks.get(at).and_then(|ack| ack.sent.as_ref()) else { return };
        cx.counters.request(Dir::Out, Method::Ack, to.transport, self.trunk);
        cx.out.push(Output::Send { to: to.clone(), bytes: bytes.clone(), tag: SendTag::NONE });
    }

    /// Sends what was sent, of a leg that has one ACK only.
    pub(super) fn repeat_any_ack(&self, cx: &mut Cx<'_>) {
        self.send_ack(cx, 0);
    }

    /// A 2xx came again: so does its ACK.
    pub(super) fn repeat_ack(&self, cx: &mut Cx<'_>, cseq: u32) {
        if let Some(at) = self.acks.iter().position(|ack| ack.cseq == cseq) {
            self.send_ack(cx, at);
        }
    }
}
