//! An INVITE finds its way: targets one after another, their addresses, DNS, and when an attempt is
//! given up (RFC 3263 §4.3, T-039, T-040, T-061, T-067).

use super::calling::{Attempt, Calling, Cancelled, Failure, Progress};
use super::challenge;
use super::event::LegEvent;
use super::hop::{Next, Places, UDP_MAX, locate};
use super::inside::Dropping;
use super::leg::{Authorization, Desk, Leg, State};
use super::outgoing::{Headers, Way};
use super::write::{self, Branch, Parts};
use crate::shard::{AttemptResult, Dir, FailoverReason};
use crate::sip::flow::Destination;
use crate::sip::message::{Message, Method, Uri};
use crate::sip::plan::Credentials;
use crate::sip::proxy::target;
use crate::sip::proxy::{Cx, hop_of, hop_to, retarget};
use std::sync::Arc;
use std::time::Duration;

/// How long an INVITE waits for DNS at most.
pub(super) const DNS_PATIENCE: Duration = Duration::from_secs(10);
/// Challenges and 422 that one attempt follows.
const MOST_CORRECTIONS: u8 = 4;

impl Leg {
    /// Takes the INVITE's state out; [`Leg::put_calling`] must follow.
    pub(super) fn take_calling(&mut self) -> Option<Box<Calling>> {
        match std::mem::replace(&mut self.state, State::Dead) {
            State::Calling(calling) => Some(calling),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(super) fn put_calling(&mut self, calling: Box<Calling>) {
        self.state = State::Calling(calling);
    }

    /// Goes on where DNS had to be asked, or begins.
    pub(super) fn continue_calling(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let Some(calling) = self.take_calling() else { return };
        if calling.client.is_some() {
            return self.put_calling(calling);
        }
        self.next_attempt(calling, cx, desk);
    }

    /// Tries places and targets until one attempt is under way or none is left.
    pub(super) fn next_attempt(&mut self, mut calling: Box<Calling>, cx: &mut Cx<'_>, desk: &mut Desk) {
        loop {
            let trunks = matches!(calling.out.way, Way::Trunks(_));
            let spent = calling.attempts >= cx.plan.routing.max_attempts
                || trunks && cx.now.since(calling.began) > cx.plan.routing.max_setup;
            if calling.cancelled.is_some() || spent {
                return self.exhausted(calling, cx, desk);
            }
            if !calling.places.is_empty() {
                let place = calling.places.remove(0);
                if self.send_invite(&mut calling, place, cx, desk) {
                    return self.put_calling(calling);
                }
                continue;
            }
            if !calling.locating && !self.choose(&mut calling, cx) {
                return self.exhausted(calling, cx, desk);
            }
            match self.places_of(&calling, cx, desk) {
                Next::Found(places) => {
                    calling.places = places;
                    calling.locating = false;
                }
                Next::Nowhere => {
                    calling.locating = false;
                    calling.offer_failure(503, None);
                }
                Next::Wait => {
                    calling.progress = Progress::Locating;
                    calling.patience.get_or_insert(cx.now + DNS_PATIENCE);
                    self.await_dns(desk);
                    return self.put_calling(calling);
                }
            }
        }
    }

    /// Chooses the next target; false when there is none.
    fn choose(&mut self, calling: &mut Calling, cx: &Cx<'_>) -> bool {
        match &mut calling.out.way {
            Way::Trunks(candidates) => {
                if candidates.is_empty() {
                    return false;
                }
                let candidate = candidates.remove(0);
                calling.candidate = Some(candidate);
                self.trunk = Some(candidate.trunk);
                if let Some(target) = target::of(cx.plan, candidate.trunk, candidate.target) {
                    let mut uri = Vec::with_capacity(64);
                    retarget(&calling.out.uri, target, &mut uri);
                    self.secure = target.secure;
                    calling.uri = uri.into();
                }
            }
            Way::Uri | Way::Flow(..) if calling.tried => return false,
            Way::Uri | Way::Flow(..) => {}
        }
        calling.tried = true;
        calling.locating = true;
        calling.patience = None;
        true
    }

    fn places_of(&self, calling: &Calling, cx: &mut Cx<'_>, desk: &Desk) -> Next {
        let size = 900 + calling.out.body.as_ref().map_or(0, |body| body.bytes.len());
        match &calling.out.way {
            Way::Flow(destination, _) => Next::Found(Places::from_elem(destination.clone(), 1)),
            Way::Uri => match Uri::parse(&calling.out.uri) {
                Ok(uri) => locate(cx, desk, &hop_of(&uri), size, UDP_MAX, self),
                Err(_) => Next::Nowhere,
            },
            Way::Trunks(_) => {
                let plan = cx.plan;
                let found = calling.candidate.and_then(|candidate| {
                    Some((target::of(plan, candidate.trunk, candidate.target)?, plan.trunk(candidate.trunk)?))
                });
                let Some((target, trunk)) = found else { return Next::Nowhere };
                locate(cx, desk, &hop_to(target), size, trunk.udp_max, self)
            }
        }
    }

    /// Sends the INVITE to one place. False when there is no room.
    fn send_invite(
        &mut self,
        calling: &mut Calling,
        place: Destination,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
    ) -> bool {
        let secret = cx.random();
        let Some(client) = cx.transactions.reserve_client(secret) else { return false };
        calling.cseq += 1;
        // What a refused INVITE began has ended with it.
        self.drop_forks(cx, desk, None);
        let mut own = self.session_headers(calling.min_se);
        if let Some(breadth) = calling.out.max_breadth {
            own.push(("Max-Breadth", breadth.to_string().into_bytes()));
        }
        let path: Option<Box<[u8]>> = match &calling.out.way {
            Way::Flow(_, Some(path)) => Some((**path).into()),
            Way::Flow(_, None) | Way::Trunks(_) | Way::Uri => None,
        };
        let bytes = write::request(
            self,
            cx,
            desk,
            place.listener,
            &Branch::Client(client),
            &Parts {
                method: "INVITE",
                uri: &calling.uri,
                routes: path.as_slice(),
                strict: None,
                local_tag: self.tag,
                remote_tag: b"",
                cseq: calling.cseq,
                max_forwards: calling.out.max_forwards,
                headers: &calling.out.headers,
                authorization: &calling.authorization,
                own: &own,
                body: calling.out.body.as_ref(),
            },
        );
        cx.counters.request(Dir::Out, Method::Invite, place.transport, self.trunk);
        let trunk = calling.trunk().and_then(|ix| cx.plan.trunk(ix));
        calling.patience = trunk.map(|trunk| cx.now + trunk.no_response_timeout);
        calling.client = Some(client);
        calling.progress = Progress::Sent;
        calling.attempts += 1;
        self.flow = place.clone();
        self.sent = calling.out.body.clone().filter(super::outgoing::Body::is_session);
        cx.transactions.start_client(cx.now, client, Method::Invite, bytes, place, self.owner(), cx.fx);
        true
    }

    /// The same request once more, to the same peer, with what a final response asked for: an answer to
    /// its challenge, or a longer session interval. False when that cannot help.
    pub(super) fn correct(&mut self, calling: &mut Calling, cx: &mut Cx<'_>, message: &Message) -> bool {
        if calling.corrections >= MOST_CORRECTIONS || calling.cancelled.is_some() {
            return false;
        }
        calling.corrections += 1;
        match message.status() {
            401 | 407 => {
                let Some(credentials) = self.credentials_for(calling, cx) else { return false };
                let sent = challenge::Sent {
                    method: "INVITE",
                    uri: &calling.uri,
                    body: calling.out.body.as_ref().map_or(&b""[..], |body| &body.bytes),
                    cnonce: cx.random(),
                };
                let counts = &mut self.nonces;
                let known = &mut calling.challenges;
                let answer = challenge::answer(message, &credentials, &sent, known, counts);
                let Some(answer) = answer else { return false };
                calling.authorization = answer;
                self.credentials = Some(credentials);
            }
            // C-182 (RFC 4028 §7.3)
            422 => match super::session_timer::min_se(message) {
                Some(min) if min > calling.min_se => calling.min_se = min,
                Some(_) | None => return false,
            },
            _ => return false,
        }
        calling.places.insert(0, self.flow.clone());
        calling.attempts = calling.attempts.saturating_sub(1);
        calling.client = None;
        true
    }

    fn credentials_for(&self, calling: &Calling, cx: &Cx<'_>) -> Option<Arc<Credentials>> {
        let trunk = || self.trunk.and_then(|ix| cx.plan.trunk(ix)).and_then(|t| t.owned.credentials.clone());
        calling.out.credentials.clone().or_else(trunk)
    }

    /// The attempt came to nothing: the next, or the end.
    pub(super) fn attempt_failed(
        &mut self,
        mut calling: Box<Calling>,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        failure: Failure,
        status: u16,
        message: Option<&Message>,
    ) {
        let (result, reason) = match failure {
            Failure::Transport => (AttemptResult::Transport, FailoverReason::Transport),
            Failure::NoResponse => (AttemptResult::NoResponse, FailoverReason::NoResponse),
            Failure::Code => (AttemptResult::Rejected, FailoverReason::Code),
        };
        if let Some(trunk) = calling.trunk() {
            cx.counters.attempt(Some(trunk), result);
        }
        calling.offer_failure(status, message);
        // C-123: who rang keeps the call.
        if calling.progress == Progress::Ringing || !calling.has_more() {
            return self.exhausted(calling, cx, desk);
        }
        if let Some(trunk) = calling.trunk() {
            cx.counters.failover(Some(trunk), reason);
        }
        calling.client = None;
        calling.forget_challenges();
        self.credentials = None;
        self.next_attempt(calling, cx, desk);
    }

    /// Nothing is left to try.
    fn exhausted(&mut self, mut calling: Box<Calling>, cx: &mut Cx<'_>, desk: &mut Desk) {
        let (status, message) = match calling.cancelled {
            Some(Cancelled::Ordered) => (487, calling.failure.take().and_then(|(_, message)| message)),
            Some(Cancelled::RangTooLong) => (408, None),
            None => calling.failure.take().unwrap_or((503, None)),
        };
        self.rejected(calling, cx, desk, status, message);
    }

    /// The INVITE has come to its end without a call.
    pub(super) fn rejected(
        &mut self,
        calling: Box<Calling>,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        status: u16,
        message: Option<Message>,
    ) {
        self.drop_requests(cx, desk, Dropping::All);
        self.refuse_asked(cx, desk, 487);
        self.tell(desk, LegEvent::Rejected { leg: self.id, status, message });
        if calling.given_up > 0 {
            // An attempt that was given up may still be answered: that call is ended (C-131).
            self.tell(desk, LegEvent::Gone { leg: self.id });
            self.silent = true;
            self.state = State::Ended { until: cx.now + cx.plan.timings.t1 * 128 };
        } else {
            self.forget(cx, desk);
        }
    }

    /// The call wants it cancelled, or it rang for too long.
    pub(super) fn cancel_calling(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        why: Cancelled,
        reason: Option<&'static str>,
    ) {
        let Some(mut calling) = self.take_calling() else { return };
        calling.cancelled = calling.cancelled.or(Some(why));
        match calling.client {
            Some(client) => {
                cx.transactions.cancel_client(cx.now, client, reason, cx.fx);
                self.put_calling(calling);
            }
            // Nothing was sent.
            None => self.exhausted(calling, cx, desk),
        }
    }

    pub(super) fn calling_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let Some(mut calling) = self.take_calling() else { return };
        if calling.patience.is_some_and(|at| at <= cx.now) {
            calling.patience = None;
            calling.locating = false;
            let failure = match calling.client {
                // T-061: its 2xx, should one come, is ended.
                Some(client) => {
                    cx.transactions.cancel_client(cx.now, client, None, cx.fx);
                    calling.given_up = calling.given_up.saturating_add(1);
                    self.given_up.push(self.attempt(calling.cseq, &calling.authorization));
                    Failure::NoResponse
                }
                None => Failure::Transport,
            };
            let status = if failure == Failure::NoResponse { 408 } else { 503 };
            return self.attempt_failed(calling, cx, desk, failure, status, None);
        }
        let rang = calling.cancelled.is_none() && calling.ring_until <= cx.now;
        self.put_calling(calling);
        if rang {
            self.cancel_calling(cx, desk, Cancelled::RangTooLong, None);
        }
    }

    /// What the attempt with this number goes by.
    pub(super) fn attempt(&self, cseq: u32, authorization: &Authorization) -> Attempt {
        Attempt {
            cseq,
            flow: self.flow.clone(),
            secure: self.secure,
            trunk: self.trunk,
            credentials: self.credentials.clone(),
            authorization: authorization.clone(),
        }
    }

    /// No header fields and no authorization.
    pub(super) fn nothing() -> (Headers, Authorization) {
        (Headers::new(), Authorization::new())
    }
}
