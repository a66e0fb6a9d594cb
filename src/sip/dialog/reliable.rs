//! Reliable provisional responses and PRACK, in both roles (RFC 3262; C-177 to C-179).

use super::event::{Fork, LegEvent};
use super::inside::Purpose;
use super::leg::{Desk, Leg, Pending};
use super::offer::{Carrier, Exchange, Side};
use super::outgoing::{Body, Headers};
use super::uas::Waiting;
use super::{Asked, facts};
use crate::sip::message::{HeaderId, Message};
use crate::sip::proxy::Cx;
use crate::sip::time::Time;
use crate::sip::transaction::ServerId;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// Provisionals that wait for the PRACK of one before.
const MOST_WAITING: usize = 8;

/// A reliable provisional of ours without PRACK.
#[derive(Debug)]
pub(super) struct Reliable {
    pub(super) fork: Fork,
    pub(super) rseq: u32,
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) bytes: Bytes,
    pub(super) next: Time,
    pub(super) pause: Duration,
    pub(super) until: Time,
}

/// What a number of a provisional means to one who has seen `last` (RFC 3262 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The first, or the next.
    Next,
    /// Seen before.
    Again,
    /// Out of order: as if it had not come.
    Gap,
}

/// Where a number stands.
pub(super) fn order(last: u32, rseq: u32) -> Order {
    if last == 0 || rseq == last.wrapping_add(1) {
        Order::Next
    } else if rseq <= last {
        Order::Again
    } else {
        Order::Gap
    }
}

/// The number of a reliable provisional; `None`: it is none.
pub(super) fn rseq(message: &Message) -> Option<u32> {
    if !message.lists(HeaderId::Require, "100rel") {
        return None;
    }
    number(message.header(HeaderId::RSeq)?)
}

/// RAck taken apart: RSeq, CSeq number, whether the method is INVITE.
pub(super) fn rack(message: &Message) -> Option<(u32, u32, bool)> {
    let mut words = message.header(HeaderId::RAck)?.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
    Some((number(rseq)?, number(cseq)?, method == b"INVITE"))
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

impl Leg {
    /// A provisional to our INVITE: whether the call is to hear of it. A reliable one is acknowledged,
    /// unless it carries an offer, which the call must answer.
    pub(super) fn take_reliable(
        &mut self,
        fork: Fork,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        message: &Message,
    ) -> bool {
        let Some(rseq) = rseq(message) else { return true };
        let Ok(invite) = message.cseq() else { return false };
        // RFC 3262 §3: the next one waits for our PRACK, and comes again if it did not. Else each of them
        // would have a PRACK sent wherever its Contact points (C-213).
        if self.acknowledges_provisional(fork) {
            return false;
        }
        let Some(dialog) = self.dialog_mut(fork) else { return false };
        match order(dialog.rseq, rseq) {
            Order::Next => dialog.rseq = rseq,
            Order::Again | Order::Gap => return false,
        }
        let mut waits = false;
        if let Some(body) = Body::of(message).filter(Body::is_session) {
            waits = dialog.exchange == Exchange::Fresh;
            if waits || dialog.exchange.is_ours() {
                dialog.carried(Side::Theirs, Carrier::Invite);
                self.received = Some(body);
            }
        }
        if !waits {
            self.push_prack(desk, fork, rseq, invite.number, None);
        } else if let Some(dialog) = self.dialog_mut(fork) {
            dialog.prack_due = Some(invite.number);
        }
        let _ = cx;
        true
    }

    /// Acknowledges the reliable provisional whose offer the call has looked at.
    pub(super) fn acknowledge_provisional(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        fork: Fork,
        body: Option<&Body>,
    ) {
        let Some(dialog) = self.dialog_mut(fork) else { return };
        let Some(cseq) = dialog.prack_due.take() else { return };
        let rseq = dialog.rseq;
        if let Some(body) = body.filter(|body| body.is_session()) {
            dialog.carried(Side::Ours, Carrier::Prack);
            self.sent = Some(body.clone());
        }
        self.push_prack(desk, fork, rseq, cseq, body.cloned());
        self.advance(cx, desk);
    }

    /// Whether a PRACK in a fork's dialog is due or without its answer.
    fn acknowledges_provisional(&self, fork: Fork) -> bool {
        self.dialog(fork).is_some_and(|dialog| dialog.prack_due.is_some())
            || self.requests.iter().any(|one| one.purpose == Purpose::Prack && one.fork == fork)
    }

    fn push_prack(&mut self, desk: &mut Desk, fork: Fork, rseq: u32, cseq: u32, body: Option<Body>) {
        let rack = format!("{rseq} {cseq} INVITE").into_bytes();
        let headers: Headers = vec![("RAck".into(), rack.into())];
        self.push_request(desk, Purpose::Prack, fork, "PRACK", headers, body, None);
    }

    /// Whether a provisional of ours must or should be reliable: when the caller demands it always,
    /// when it only can do it, where a description is at stake (C-178).
    pub(super) fn wants_reliable(&self, describes: bool) -> bool {
        let demanded =
            self.offered().is_some_and(|offered| offered.request.lists(HeaderId::Require, "100rel"));
        demanded || describes && self.supported & facts::RELIABLE != 0
    }

    /// Sends a reliable provisional, or keeps it until the one before is acknowledged.
    pub(super) fn send_reliable(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, answer: Waiting) {
        let Some(offered) = self.offered_mut() else { return };
        if offered.reliable.is_some() {
            if offered.waiting.len() < MOST_WAITING {
                offered.waiting.push_back(answer);
            }
            return;
        }
        offered.kept = None;
        let offers = offered.offers;
        // RFC 3262 §3: from somewhere on, each early dialog for itself (C-130).
        let first = (cx.random() & 0xffff) as u32 + 1;
        let Some(dialog) = self.dialog_mut(answer.fork) else { return };
        dialog.rseq = if dialog.rseq == 0 { first } else { dialog.rseq + 1 };
        let rseq = dialog.rseq;
        let Waiting { fork, status, headers, body } = answer;
        let body = self.spoken(fork, body.as_ref());
        let own = [("Require", b"100rel".to_vec()), ("RSeq", rseq.to_string().into_bytes())];
        let Some(bytes) = self.write_answer(desk, fork, status, "", &headers, &own, body.as_ref()) else {
            return;
        };
        self.send_answer(cx, status, bytes.clone());
        if body.is_some() {
            self.answered_with(fork, offers, body.as_ref());
        }
        let t1 = cx.plan.timings.t1;
        let (next, until) = (cx.now + t1, cx.now + t1 * 64);
        if let Some(offered) = self.offered_mut() {
            offered.reliable = Some(Reliable { fork, rseq, status, headers, bytes, next, pause: t1, until });
        }
    }

    /// Sends it again, or gives the INVITE up (RFC 3262 §3).
    pub(super) fn reliable_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let Some(reliable) = self.offered_mut().and_then(|offered| offered.reliable.as_mut()) else { return };
        if reliable.until <= cx.now {
            let message = self.offered().map(|offered| offered.request.clone());
            self.refuse_unheard(cx, desk, message);
        } else if reliable.next <= cx.now {
            reliable.pause *= 2;
            reliable.next = cx.now + reliable.pause;
            let (status, bytes) = (reliable.status, reliable.bytes.clone());
            self.send_answer(cx, status, bytes);
        }
    }

    /// The caller acknowledges nothing: 504, and for the call it is as if it had cancelled.
    fn refuse_unheard(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: Option<Message>) {
        let fork = self.dialogs.first().map_or(Fork(0), |dialog| dialog.fork);
        if let Some(bytes) = self.write_answer(desk, fork, 504, "", &Headers::new(), &[], None) {
            self.send_answer(cx, 504, bytes);
        }
        self.refuse_asked(cx, desk, 487);
        if let Some(message) = message {
            self.tell(desk, LegEvent::Canceled { leg: self.id, message });
        }
        self.forget(cx, desk);
    }

    /// A PRACK came (C-177).
    pub(super) fn prack_in(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        server: ServerId,
        message: &Message,
        source: SocketAddr,
        fork: Fork,
    ) {
        let invite = self.offered().and_then(|offered| offered.request.cseq().ok()).map(|cseq| cseq.number);
        let matches = self.offered().and_then(|offered| offered.reliable.as_ref()).is_some_and(|reliable| {
            reliable.fork == fork
                && rack(message).is_some_and(|(rseq, cseq, of_invite)| {
                    rseq == reliable.rseq && Some(cseq) == invite && of_invite
                })
        });
        if !matches {
            return self.answer_request(cx, desk, server, message, source, fork, 481, &[]);
        }
        let now = cx.now;
        if let Some(offered) = self.offered_mut()
            && let Some(said) = offered.reliable.take()
        {
            offered.keep(now, said);
        }
        match Body::of(message).filter(Body::is_session) {
            Some(body) => {
                if let Some(dialog) = self.dialog_mut(fork) {
                    dialog.carried(Side::Theirs, Carrier::Prack);
                }
                self.received = Some(body);
                let cseq = message.cseq().map_or(0, |cseq| cseq.number);
                let asked = Asked { server, cseq };
                self.asked.push(Pending { asked, message: message.detached(), source, fork });
                self.tell(desk, LegEvent::Requested { leg: self.id, asked, message: message.detached() });
            }
            None => self.answer_request(cx, desk, server, message, source, fork, 200, &[]),
        }
        self.send_waiting(cx, desk);
    }

    /// The next of the answers that waited.
    pub(super) fn send_waiting(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let Some(next) = self.offered_mut().and_then(|offered| offered.waiting.pop_front()) else { return };
        if next.status >= 200 {
            self.accept_fork(cx, desk, next.fork, &next.headers, next.body.as_ref());
        } else {
            self.send_reliable(cx, desk, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-177] In the order of RSeq, each once.
    #[test]
    fn numbers_in_order() {
        assert_eq!(order(0, 988_789), Order::Next);
        assert_eq!(order(5, 6), Order::Next);
        assert_eq!(order(5, 5), Order::Again);
        assert_eq!(order(5, 2), Order::Again);
        assert_eq!(order(5, 7), Order::Gap);
    }
}
