//! Several answers to one INVITE: a dialog for each To tag, and the end of those that came too late
//! (RFC 3261 §12.1.2, §13.2.2.4; C-130, C-131).

use super::calling::{Attempt, Calling};
use super::event::Fork;
use super::leg::{Answered, Birth, Desk, Leg, Role, State};
use super::offer::{Carrier, Side};
use super::outgoing::Body;
use super::route_set::Dialog;
use super::sdp;
use crate::sip::message::Message;
use crate::sip::proxy::Cx;

/// Forks of one INVITE that are told apart.
const MOST_FORKS: usize = 16;
/// Surplus answers that are ended for one INVITE.
const MOST_SURPLUS: usize = 16;

impl Leg {
    /// Which fork a response to our INVITE belongs to; a new To tag makes a new one.
    pub(super) fn fork_of(&mut self, calling: &mut Calling, message: &Message) -> Option<Fork> {
        let tag = message.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        if let Some(dialog) = self.dialogs.iter_mut().find(|dialog| *dialog.remote_tag == *tag) {
            dialog.refresh(message);
            return Some(dialog.fork);
        }
        if self.dialogs.len() >= MOST_FORKS {
            if message.status() < 200 {
                return None;
            }
            self.dialogs.pop();
        }
        let fork = Fork(calling.forks);
        calling.forks = calling.forks.saturating_add(1);
        let mut dialog = Dialog::of_response(message, fork, self.tag, calling.cseq, &calling.uri);
        if let Some(offer) = calling.out.body.as_ref().filter(|body| body.is_session()) {
            dialog.carried(Side::Ours, Carrier::Invite);
            dialog.said = Some(offer.bytes.clone());
        }
        self.dialogs.push(Box::new(dialog));
        Some(fork)
    }

    /// Drops all early dialogs but one.
    pub(super) fn drop_forks(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, keep: Option<Fork>) {
        for dialog in self.dialogs.iter().filter(|dialog| Some(dialog.fork) != keep) {
            if dialog.local_tag != self.tag {
                desk.index.remove(&dialog.local_tag);
            }
        }
        self.dialogs.retain(|dialog| Some(dialog.fork) == keep);
        self.drop_fork_requests(cx, desk, keep);
    }

    /// A 2xx to an INVITE that has its answer, or was given up: a repetition is acknowledged again,
    /// another fork's is acknowledged and ended.
    pub(super) fn late_answer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message, cseq: u32) {
        let tag = message.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        if self.has_dialog_with(tag) {
            return self.repeated_answer(cx, desk, message, cseq);
        }
        if let Some((_, other)) = self.surplus.iter().find(|(known, _)| **known == *tag) {
            desk.again.push(*other);
            return;
        }
        if self.surplus.len() >= MOST_SURPLUS {
            return;
        }
        let attempt = self.attempt_with(cseq);
        let authorization = attempt.authorization;
        let mut leg = Leg::new(Birth {
            role: Role::Caller,
            state: State::Answered(Box::new(Answered { cseq, authorization })),
            call_id: self.call_id.clone(),
            tag: self.tag,
            local: self.local.clone(),
            remote: self.remote.clone(),
            flow: attempt.flow,
            options: self.options,
        });
        leg.silent = true;
        leg.secure = attempt.secure;
        leg.pinned = self.pinned;
        leg.trunk = attempt.trunk;
        leg.credentials = attempt.credentials;
        let target = message.to().map(|to| to.uri).unwrap_or_default();
        let mut dialog = Dialog::of_response(message, Fork(0), self.tag, cseq, target);
        // Its offer must be answered before it is ended.
        if self.offerless && Body::of(message).is_some_and(|body| body.is_session()) {
            dialog.carried(Side::Theirs, Carrier::Invite);
            leg.received = Body::of(message);
        }
        leg.dialogs.push(Box::new(dialog));
        // The place is taken at once; the table gives it its name.
        self.surplus.push((tag.into(), super::LegId { slot: u32::MAX, generation: 0 }));
        leg.surplus.push((tag.into(), self.id));
        desk.born.push(leg);
    }

    /// What the INVITE with this number went by.
    fn attempt_with(&self, cseq: u32) -> Attempt {
        if let Some(attempt) = self.given_up.iter().find(|attempt| attempt.cseq == cseq) {
            return attempt.clone();
        }
        if let State::Answered(answered) = &self.state
            && answered.cseq == cseq
        {
            return self.attempt(cseq, &answered.authorization);
        }
        let ack = self.acks.iter().find(|ack| ack.cseq == cseq);
        self.attempt(cseq, ack.map_or(&Vec::new(), |ack| &ack.authorization))
    }

    /// Whether one of its dialogs has this remote tag.
    pub(super) fn has_dialog_with(&self, tag: &[u8]) -> bool {
        self.dialogs.iter().any(|dialog| *dialog.remote_tag == *tag)
    }

    /// A 2xx of the party's that came again, or to a re-INVITE whose leg has ended since.
    fn repeated_answer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message, cseq: u32) {
        if self.acks.iter().any(|ack| ack.cseq == cseq) {
            return self.repeat_ack(cx, cseq);
        }
        if self.has_ended() {
            if let Some(body) = Body::of(message).filter(Body::is_session)
                && let Some(dialog) = self.dialogs.first_mut()
                && !dialog.exchange.is_open()
            {
                dialog.carried(Side::Theirs, Carrier::Invite);
                self.received = Some(body);
            }
            let answer = self.still_answer();
            self.push_ack(cx, cseq, Vec::new(), answer);
            self.send_acks(cx, desk);
        }
    }

    /// An answer to the party's open offer that keeps its streams and sends nothing.
    pub(super) fn still_answer(&self) -> Option<Body> {
        let open = self.dialogs.first().is_some_and(|dialog| dialog.exchange.is_theirs());
        let offer = self.received.as_ref().filter(|_| open)?;
        sdp::inactive_answer(&offer.bytes).map(Body::sdp)
    }
}
