//! An INVITE that came and its answers: provisional, final, cancelled; and the 2xx that is sent until
//! its ACK comes (RFC 3261 §13.3.1, §9.2; C-140, C-141).

use super::event::{Fork, LegEvent};
use super::leg::{Desk, Leg, State};
use super::offer::{Carrier, Exchange, Side};
use super::outgoing::{Body, Headers};
use super::reliable::Reliable;
use super::route_set::Dialog;
use super::{Asked, write};
use crate::shard::Dir;
use crate::sip::event::EndedBy;
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::proxy::Cx;
use crate::sip::time::Time;
use crate::sip::transaction::ServerId;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A provisional is repeated so often, or proxies on the way give up (RFC 3261 §13.3.1.1).
const KEEP_RINGING: Duration = Duration::from_secs(60);
/// And so often where each needs a PRACK (RFC 3262 §3).
const KEEP_RELIABLY: Duration = Duration::from_secs(150);
/// Early dialogs towards one caller.
pub(crate) const MOST_FORKS: usize = 16;

/// An INVITE that came and has no final answer.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) server: ServerId,
    pub(super) request: Message,
    pub(super) source: SocketAddr,
    /// Whether it carried an offer.
    pub(super) offers: bool,
    /// The reliable provisional that waits for its PRACK.
    pub(super) reliable: Option<Reliable>,
    /// What is to be sent once it has come.
    pub(super) waiting: VecDeque<Waiting>,
    /// The last unreliable provisional, to be sent again.
    ringing: Option<Ringing>,
    /// The last reliable one, to be said again where nothing else is.
    pub(super) kept: Option<(Time, Waiting)>,
}

/// An unreliable provisional that was sent.
#[derive(Debug)]
struct Ringing {
    fork: Fork,
    status: u16,
    bytes: Bytes,
    /// When it is sent again.
    next: Time,
}

/// An answer that waits for the PRACK of the one before (RFC 3262 §3).
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) fork: Fork,
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Option<Body>,
}

/// A 2xx of ours that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) server: ServerId,
    /// The re-INVITE it answers; `None`: the INVITE that made the leg.
    pub(super) asked: Option<Asked>,
    pub(super) cseq: u32,
    /// It answers a refresh: nobody waits for its ACK.
    pub(super) quiet: bool,
    /// It has our offer: the answer is in the ACK.
    pub(super) offered: bool,
    pub(super) bytes: Bytes,
    pub(super) next: Time,
    pub(super) pause: Duration,
    pub(super) until: Time,
}

impl Offered {
    pub(super) fn new(server: ServerId, request: Message, source: SocketAddr) -> Offered {
        let offers = Body::of(&request).is_some_and(|body| body.is_session());
        Offered {
            server,
            request,
            source,
            offers,
            reliable: None,
            waiting: VecDeque::new(),
            ringing: None,
            kept: None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let reliable = self.reliable.as_ref().map(|reliable| reliable.next.min(reliable.until));
        let ringing = self.ringing.as_ref().map(|ringing| ringing.next);
        let kept = self.kept.as_ref().map(|(at, _)| *at);
        reliable.into_iter().chain(ringing).chain(kept).min()
    }

    /// A reliable provisional has its PRACK. It is said again in time, unless an unreliable one is.
    pub(super) fn keep(&mut self, now: Time, said: Reliable) {
        let Reliable { fork, status, headers, .. } = said;
        if self.ringing.is_none() {
            self.kept = Some((now + KEEP_RELIABLY, Waiting { fork, status, headers, body: None }));
        }
    }
}

impl Leg {
    pub(super) fn offered(&self) -> Option<&Offered> {
        match &self.state {
            State::Offered(offered) => Some(offered),
            State::Calling(_) | State::Answered(_) | State::Up | State::Ended { .. } | State::Dead => None,
        }
    }

    pub(super) fn offered_mut(&mut self) -> Option<&mut Offered> {
        match &mut self.state {
            State::Offered(offered) => Some(offered),
            State::Calling(_) | State::Answered(_) | State::Up | State::Ended { .. } | State::Dead => None,
        }
    }

    /// A provisional answer for one fork (C-155).
    pub(super) fn ring_fork(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        fork: Fork,
        status: u16,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        let left = self.dialog(fork).is_some_and(|dialog| dialog.left);
        if left || !(101..200).contains(&status) || !self.begin_fork(cx, desk, fork) {
            return;
        }
        if let Some(dialog) = self.dialog_mut(fork) {
            dialog.silent = false;
        }
        if self.wants_reliable(body.is_some()) {
            let (headers, body) = (headers.clone(), body.cloned());
            return self.send_reliable(cx, desk, Waiting { fork, status, headers, body });
        }
        let body = self.spoken(fork, body);
        let Some(bytes) = self.write_answer(desk, fork, status, "", headers, &[], body.as_ref()) else {
            return;
        };
        self.send_answer(cx, status, bytes.clone());
        if let Some(offered) = self.offered_mut() {
            offered.ringing = Some(Ringing { fork, status, bytes, next: cx.now + KEEP_RINGING });
            offered.kept = None;
        }
    }

    /// Gives a fork its dialog and tag; false when there is no room.
    pub(super) fn begin_fork(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, fork: Fork) -> bool {
        if self.dialog(fork).is_some() {
            return true;
        }
        let Some(offered) = self.offered().filter(|_| self.dialogs.len() < MOST_FORKS) else { return false };
        let tag = if self.dialogs.is_empty() { self.tag } else { cx.random() };
        let mut dialog = Dialog::of_request(&offered.request, fork, tag);
        if offered.offers {
            dialog.carried(Side::Theirs, Carrier::Invite);
        }
        self.dialogs.push(Box::new(dialog));
        desk.index.insert(tag, self.id.slot);
        true
    }

    /// The fork that answers takes the place of an early dialog where there is no other: the oldest that
    /// no PRACK is to come for.
    fn make_room(&mut self, desk: &mut Desk, fork: Fork) {
        if self.dialog(fork).is_some() || self.dialogs.len() < MOST_FORKS {
            return;
        }
        let waits = self.offered().and_then(|offered| offered.reliable.as_ref()).map(|one| one.fork);
        let Some(at) = self.dialogs.iter().position(|dialog| Some(dialog.fork) != waits) else { return };
        let dialog = self.dialogs.remove(at);
        if dialog.local_tag != self.tag {
            desk.index.remove(&dialog.local_tag);
        }
    }

    /// A response to the INVITE that made the leg, with the fork's tag.
    pub(super) fn write_answer(
        &self,
        desk: &mut Desk,
        fork: Fork,
        status: u16,
        reason: &str,
        headers: &Headers,
        own: &[(&str, Vec<u8>)],
        body: Option<&Body>,
    ) -> Option<Bytes> {
        let offered = self.offered()?;
        let tag = self.dialog(fork).map_or(self.tag, |dialog| dialog.local_tag);
        Some(write::response(
            self,
            desk,
            &offered.request,
            offered.source,
            tag,
            status,
            reason,
            headers,
            own,
            body,
        ))
    }

    pub(super) fn send_answer(&self, cx: &mut Cx<'_>, status: u16, bytes: Bytes) {
        let Some(offered) = self.offered() else { return };
        cx.counters.response(Dir::Out, Method::Invite, status, self.trunk);
        cx.transactions.respond(cx.now, offered.server, status, bytes, cx.fx);
    }

    /// The 200, at once or when a reliable provisional with a description has its PRACK (C-179).
    pub(super) fn accept_fork(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        fork: Fork,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        self.make_room(desk, fork);
        if !self.begin_fork(cx, desk, fork) {
            return;
        }
        if let Some(offered) = self.offered_mut()
            && offered.reliable.is_some()
        {
            let (headers, body) = (headers.clone(), body.cloned());
            // Provisionals that still wait have nothing to say any more.
            offered.waiting.clear();
            offered.waiting.push_back(Waiting { fork, status: 200, headers, body });
            return;
        }
        let Some(offered) = self.offered() else { return };
        let (server, offers, request) = (offered.server, offered.offers, offered.request.clone());
        let own = self.accept_session(cx, &request);
        let body = self.spoken(fork, body);
        let body = body.as_ref();
        let Some(bytes) = self.write_answer(desk, fork, 200, "", headers, &own, body) else { return };
        self.send_answer(cx, 200, bytes.clone());
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        self.state = State::Up;
        self.drop_forks(cx, desk, Some(fork));
        self.answered_with(fork, offers, body);
        self.await_ack(cx, server, None, cseq, bytes);
    }

    /// A description in our 2xx to INVITE: the answer, or the offer when there was none.
    pub(super) fn answered_with(&mut self, fork: Fork, offers: bool, body: Option<&Body>) {
        let body = body.filter(|body| body.is_session());
        let Some(dialog) = self.dialog_mut(fork) else { return };
        match body {
            Some(body) => {
                let counts = if offers { dialog.exchange.is_theirs() } else { !dialog.exchange.is_open() };
                if counts {
                    dialog.carried(Side::Ours, Carrier::Invite);
                    self.sent = Some(body.clone());
                }
            }
            None => dialog.refused(Carrier::Invite),
        }
    }

    /// C-141: over all transports, as a proxy in between may lose it.
    pub(super) fn await_ack(
        &mut self,
        cx: &Cx<'_>,
        server: ServerId,
        asked: Option<Asked>,
        cseq: u32,
        bytes: Bytes,
    ) {
        let t1 = cx.plan.timings.t1;
        let ours = Exchange::Open(Side::Ours, Carrier::Invite);
        let offered = self.dialogs.first().is_some_and(|dialog| dialog.exchange == ours);
        self.accepted.push(Accepted {
            server,
            asked,
            cseq,
            quiet: false,
            offered,
            bytes,
            next: cx.now + t1,
            pause: t1,
            until: cx.now + t1 * 64,
        });
    }

    /// Sends each 2xx again whose time has come; gives up on those nobody acknowledges.
    pub(super) fn accepted_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let mut lost = false;
        for accepted in &mut self.accepted {
            if accepted.until <= cx.now {
                lost = true;
            } else if accepted.next <= cx.now {
                accepted.pause = (accepted.pause * 2).min(cx.plan.timings.t2);
                accepted.next = cx.now + accepted.pause;
                cx.counters.retransmission(Dir::Out, crate::shard::RetransmissionKind::Response);
                cx.transactions.respond(cx.now, accepted.server, 200, accepted.bytes.clone(), cx.fx);
            }
        }
        if lost {
            // §13.3.1.4: the dialog is confirmed, and should be ended.
            self.accepted.clear();
            let told = self.bye.is_some();
            self.send_bye(cx, desk, if told { None } else { Some(EndedBy::Baton) }, None);
        }
    }

    /// An ACK to a 2xx of ours.
    pub(super) fn ack_in(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message, cseq: u32) {
        let Some(at) = self.accepted.iter().position(|accepted| accepted.cseq == cseq) else { return };
        let accepted = self.accepted.remove(at);
        if let Some(dialog) = self.dialogs.first_mut().filter(|_| accepted.offered) {
            match Body::of(message).filter(Body::is_session) {
                Some(body) => {
                    dialog.carried(Side::Theirs, Carrier::Invite);
                    self.received = Some(body);
                }
                // Our offer in the 2xx stays without an answer.
                None => dialog.refused(Carrier::Invite),
            }
        }
        if !self.has_ended() && !accepted.quiet {
            self.tell(
                desk,
                LegEvent::Acknowledged { leg: self.id, asked: accepted.asked, message: message.detached() },
            );
        }
        if self.accepted.is_empty() && self.bye.is_some() {
            return self.send_bye(cx, desk, None, None);
        }
        self.advance(cx, desk);
    }

    /// A final answer that is no 2xx.
    pub(super) fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        status: u16,
        reason: &str,
        headers: &Headers,
    ) {
        let fork = self.dialogs.first().map_or(Fork(0), |dialog| dialog.fork);
        let Some(bytes) = self.write_answer(desk, fork, status, reason, headers, &[], None) else { return };
        self.send_answer(cx, status, bytes);
        self.refuse_asked(cx, desk, 487);
        self.forget(cx, desk);
    }

    /// The caller gave up, by CANCEL or by BYE on its early dialog.
    pub(super) fn cancelled(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        if self.offered().is_none() {
            return;
        }
        let fork = self.dialogs.first().map_or(Fork(0), |dialog| dialog.fork);
        if let Some(bytes) = self.write_answer(desk, fork, 487, "", &Headers::new(), &[], None) {
            self.send_answer(cx, 487, bytes);
        }
        self.refuse_asked(cx, desk, 487);
        self.tell(desk, LegEvent::Canceled { leg: self.id, message: message.detached() });
        self.forget(cx, desk);
    }

    /// Whether an INVITE of the party's has an early dialog beside this one in which somebody rings.
    pub(super) fn rings_elsewhere(&self, fork: Fork) -> bool {
        self.dialogs.iter().any(|dialog| dialog.fork != fork && !dialog.left && !dialog.silent)
    }

    /// Who rang in an early dialog does so no more.
    pub(super) fn silence_fork(&mut self, fork: Fork) {
        if self.offered().is_some()
            && let Some(dialog) = self.dialog_mut(fork)
        {
            dialog.silent = true;
        }
    }

    /// The caller has ended one of several early dialogs. It stays known: an answer may be on its way, and is of
    /// this dialog then.
    pub(super) fn leave_fork(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, fork: Fork) {
        if let Some(dialog) = self.dialog_mut(fork) {
            dialog.left = true;
        }
        let (gone, stay): (Vec<_>, Vec<_>) = self.asked.drain(..).partition(|pending| pending.fork == fork);
        self.asked.extend(gone);
        self.refuse_asked(cx, desk, 487);
        self.asked.extend(stay);
        self.tell(desk, LegEvent::Left { leg: self.id, fork });
        let Some(offered) = self.offered_mut() else { return };
        offered.waiting.retain(|waiting| waiting.fork != fork || waiting.status >= 200);
        offered.ringing.take_if(|ringing| ringing.fork == fork);
        offered.kept.take_if(|(_, answer)| answer.fork == fork);
        if offered.reliable.take_if(|reliable| reliable.fork == fork).is_some() {
            self.send_waiting(cx, desk);
        }
    }

    pub(super) fn offered_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        self.reliable_timer(cx, desk);
        let Some(offered) = self.offered_mut() else { return };
        if let Some(ringing) = &mut offered.ringing
            && ringing.next <= cx.now
        {
            ringing.next = cx.now + KEEP_RINGING;
            let (status, bytes) = (ringing.status, ringing.bytes.clone());
            self.send_answer(cx, status, bytes);
        }
        let now = cx.now;
        let kept = self.offered_mut().and_then(|offered| offered.kept.take_if(|(at, _)| *at <= now));
        if let Some((_, answer)) = kept {
            self.send_reliable(cx, desk, answer);
        }
    }

    /// Whether a request's options are all understood; those that are not, as Unsupported lists them.
    pub(super) fn not_understood(message: &Message) -> Option<Vec<u8>> {
        let mut list: Vec<&[u8]> = Vec::new();
        for tag in message.values(HeaderId::Require) {
            if !write::UNDERSTOOD.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes())) {
                list.push(tag);
            }
        }
        (!list.is_empty()).then(|| list.join(&b", "[..]))
    }
}
