//! Requests of ours inside a dialog: when each may go, where, and what its answer means (RFC 3261
//! §12.2.1, §14.1; RFC 3311; RFC 5057).

use super::RequestId;
use super::attempt::DNS_PATIENCE;
use super::event::{Fork, LegEvent};
use super::hop::{Next, Places, next_hop};
use super::leg::{Authorization, Desk, Leg, State};
use super::offer::{Carrier, Side};
use super::outgoing::{Body, Headers, NotNow};
use super::write::{self, Branch, Parts};
use crate::shard::Dir;
use crate::sip::auth::Challenge;
use crate::sip::flow::Destination;
use crate::sip::message::Method;
use crate::sip::plan::Credentials;
use crate::sip::proxy::Cx;
use crate::sip::time::Time;
use crate::sip::transaction::ClientId;
use std::sync::Arc;

/// Requests of one leg that wait or are unanswered.
const MOST_REQUESTS: usize = 32;

/// Whom a request's answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The call.
    Call(RequestId),
    /// The session timer.
    Refresh,
    /// A provisional's acknowledgement.
    Prack,
    /// The end.
    Bye,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for its turn.
    Queued,
    /// It waits for DNS, but not for ever.
    Locating(Time),
    /// It met glare and waits (C-144).
    Glare(Time),
    /// It was sent.
    Sent(ClientId),
    /// An INVITE that has its 2xx and waits for what to acknowledge it with.
    Accepted,
}

impl Stage {
    /// Whether the party has the request, and no final answer of the party's says otherwise.
    pub(super) const fn is_out(self) -> bool {
        match self {
            Stage::Sent(_) | Stage::Accepted => true,
            Stage::Queued | Stage::Locating(_) | Stage::Glare(_) => false,
        }
    }
}

/// Which open requests nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropping {
    /// Those that have not gone out; a BYE is on its way.
    Unsent,
    /// Those of the call, which is over.
    Call,
    /// All of them.
    All,
}

/// A request of ours.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    pub(super) method: Method,
    pub(super) fork: Fork,
    pub(super) name: Box<str>,
    pub(super) headers: Headers,
    pub(super) body: Option<Body>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) authorization: Authorization,
    pub(super) challenges: u8,
    /// The challenges met.
    pub(super) known: Vec<Challenge>,
    pub(super) glares: u8,
    pub(super) min_se: u32,
    pub(super) cseq: u32,
    pub(super) places: Places,
    /// Where it went last, the highest provisional status heard from there, and how often it went anywhere.
    pub(super) place: Option<Destination>,
    pub(super) heard: u16,
    pub(super) tries: usize,
    /// Nobody wants it any more: it is not sent again, for whatever reason.
    pub(super) given_up: bool,
    /// It is for this early dialog and for no other that the call may go on in.
    pub(super) bound: bool,
    /// Somebody's own request waits for this one, and for no longer than one address may be silent.
    pub(super) once: bool,
    /// Silence refuses it, and no more: the dialog stays.
    pub(super) spared: bool,
    /// When an INVITE without final answer is cancelled, and what waits for its turn has waited enough.
    pub(super) until: Option<Time>,
}

impl Request {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        match self.stage {
            Stage::Locating(at) | Stage::Glare(at) => Some(at),
            Stage::Sent(_) | Stage::Queued => self.until,
            Stage::Accepted => None,
        }
    }

    pub(super) fn offers(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_session)
    }

    /// Whether it would change the session: of these there can be one at a time.
    pub(super) fn negotiates(&self) -> bool {
        self.method == Method::Invite || self.method == Method::Update && self.offers()
    }

    pub(super) fn carrier(&self) -> Option<Carrier> {
        match self.method {
            Method::Invite => Some(Carrier::Invite),
            Method::Update => Some(Carrier::Update),
            Method::Prack => Some(Carrier::Prack),
            _ => None,
        }
    }
}

impl Leg {
    /// A request of the call's.
    pub(super) fn request(
        &mut self,
        desk: &mut Desk,
        fork: Option<Fork>,
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
    ) -> Result<RequestId, NotNow> {
        // RFC 5057 §4: the subscription of a REFER outlives the call, while the leg lingers.
        let late = matches!(self.state, State::Ended { .. }) && method == "NOTIFY";
        if !late && (self.has_ended() || self.bye.is_some()) {
            return Err(NotNow::Ended);
        }
        match Method::from_bytes(method.as_bytes()) {
            Method::Ack | Method::Bye | Method::Cancel | Method::Prack => return Err(NotNow::Method),
            _ if self.requests.len() >= MOST_REQUESTS => return Err(NotNow::Full),
            _ => {}
        }
        desk.last_request = desk.last_request.wrapping_add(1);
        let id = RequestId(desk.last_request);
        // Early requests go to the fork that was heard last.
        let last = self.dialogs.last().map_or(Fork(0), |dialog| dialog.fork);
        let bound = fork.is_some();
        let fork = fork.unwrap_or(last);
        self.push_request(desk, Purpose::Call(id), fork, method, headers, body, credentials);
        if let Some(request) = self.requests.last_mut() {
            request.bound = bound;
        }
        Ok(id)
    }

    pub(super) fn push_request(
        &mut self,
        _desk: &mut Desk,
        purpose: Purpose,
        fork: Fork,
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
    ) {
        self.requests.push(Request {
            purpose,
            stage: Stage::Queued,
            method: Method::from_bytes(method.as_bytes()),
            fork,
            name: method.into(),
            headers,
            body,
            credentials,
            authorization: Vec::new(),
            challenges: 0,
            known: Vec::new(),
            glares: 0,
            min_se: 0,
            cseq: 0,
            places: Places::new(),
            place: None,
            heard: 0,
            tries: 0,
            given_up: false,
            bound: false,
            once: false,
            spared: false,
            until: None,
        });
    }

    /// Sends what may go now.
    pub(super) fn send_requests(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        // What a change of the session waits for ends by itself, unless two wait for each other.
        let patience = cx.plan.timings.c + cx.plan.timings.t1 * 64;
        for request in &mut self.requests {
            if request.stage == Stage::Queued && request.until.is_none() && request.negotiates() {
                request.until = Some(cx.now + patience);
            }
        }
        let mut at = 0;
        while at < self.requests.len() {
            let waits = self.requests.get(at).is_some_and(|request| {
                matches!(request.stage, Stage::Queued | Stage::Locating(_)) && self.may_go(request)
            });
            if waits && !self.send_request(at, cx, desk) {
                self.finish(at, cx, desk, 503, None);
                at = 0;
            } else {
                at += 1;
            }
        }
    }

    /// C-140, C-171: what a request has to wait for.
    fn may_go(&self, request: &Request) -> bool {
        let fork = match request.purpose {
            Purpose::Call(_) | Purpose::Refresh if self.is_up() => self.dialogs.first().map(|d| d.fork),
            Purpose::Call(_) | Purpose::Refresh | Purpose::Prack | Purpose::Bye => Some(request.fork),
        };
        let Some(dialog) = fork.and_then(|fork| self.dialog(fork)) else { return false };
        let confirmed = matches!(self.state, State::Up) && self.accepted.is_empty();
        let acknowledged = self.acks.iter().all(|ack| ack.sent.is_some());
        let other = |method| {
            self.requests.iter().any(|other| other.method == method && matches!(other.stage, Stage::Sent(_)))
        };
        match request.method {
            Method::Bye => acknowledged,
            Method::Prack => true,
            Method::Invite => confirmed && acknowledged && !self.inviting() && !dialog.exchange.is_open(),
            Method::Update if request.offers() => {
                acknowledged && !other(Method::Update) && !self.inviting_now() && !dialog.exchange.is_open()
            }
            Method::Update => acknowledged && !other(Method::Update),
            Method::Refer => confirmed && acknowledged && !self.inviting() && !dialog.exchange.is_open(),
            _ => acknowledged && !matches!(self.state, State::Answered(_)),
        }
    }

    /// Whether a re-INVITE keeps an UPDATE from making an offer; the INVITE that makes the leg does not,
    /// once its own exchange is over (RFC 3311 §5.1).
    fn inviting_now(&self) -> bool {
        self.is_up() && self.inviting()
    }

    /// Sends one request, or lets it wait for DNS. False when it cannot be sent at all.
    fn send_request(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk) -> bool {
        let up = self.is_up();
        let first = self.dialogs.first().map(|dialog| dialog.fork);
        let Some(request) = self.requests.get_mut(at) else { return true };
        if up && let Some(fork) = first {
            request.fork = fork;
        }
        let fork = request.fork;
        if request.places.is_empty() {
            let size = 800 + request.body.as_ref().map_or(0, |body| body.bytes.len());
            let stage = request.stage;
            let Some(dialog) = self.dialog(fork) else { return false };
            match next_hop(self, dialog, cx, desk, size) {
                Next::Found(places) => {
                    if let Some(request) = self.requests.get_mut(at) {
                        request.places = places;
                    }
                }
                Next::Nowhere => return false,
                Next::Wait => {
                    self.await_dns(desk);
                    if let Some(request) = self.requests.get_mut(at)
                        && stage == Stage::Queued
                    {
                        request.stage = Stage::Locating(cx.now + DNS_PATIENCE);
                    }
                    return true;
                }
            }
        }
        self.transmit(at, cx, desk)
    }

    pub(super) fn transmit(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk) -> bool {
        let secret = cx.random();
        let Some(request) = self.requests.get_mut(at) else { return false };
        let (fork, method) = (request.fork, request.method);
        if request.places.is_empty() {
            return false;
        }
        let place = request.places.remove(0);
        let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.fork == fork) else { return false };
        let Some(client) = cx.transactions.reserve_client(secret) else { return false };
        // A re-INVITE that only ever gets provisionals must not keep its offer open for ever.
        request.until = (method == Method::Invite).then_some(cx.now + cx.plan.timings.c);
        request.cseq = dialog.next_cseq();
        request.stage = Stage::Sent(client);
        request.place = Some(place.clone());
        request.heard = 0;
        request.tries += 1;
        if request.purpose == Purpose::Bye
            && let State::Ended { until } = &mut self.state
        {
            // The leg is there yet when this address turns out to be silent.
            *until = (*until).max(cx.now + cx.plan.timings.t1 * 65);
        }
        if request.offers()
            && let Some(carrier) = request.carrier()
        {
            request.body = request.body.take().map(|body| dialog.describe(body));
            if method != Method::Prack {
                dialog.carried(Side::Ours, carrier);
            }
        }
        let Some(request) = self.requests.get(at) else { return false };
        let Some(dialog) = self.dialog(fork) else { return false };
        let own = match method {
            Method::Invite | Method::Update => self.session_headers(request.min_se),
            _ => Vec::new(),
        };
        let none = Leg::nothing();
        let parts = Parts {
            headers: &request.headers,
            authorization: &request.authorization,
            own: &own,
            body: request.body.as_ref(),
            ..Parts::within(dialog, &request.name, request.cseq, &none)
        };
        let bytes = write::request(self, cx, desk, place.listener, &Branch::Client(client), &parts);
        cx.counters.request(Dir::Out, method, place.transport, self.trunk);
        cx.transactions.start_client(cx.now, client, method, bytes, place, self.owner(), cx.fx);
        true
    }

    /// Acknowledges a re-INVITE's 2xx.
    pub(super) fn acknowledge_request(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        id: RequestId,
        body: Option<&Body>,
    ) {
        let wanted =
            |request: &Request| request.purpose == Purpose::Call(id) && request.stage == Stage::Accepted;
        let Some(at) = self.requests.iter().position(wanted) else { return };
        let request = self.requests.remove(at);
        self.push_ack(cx, request.cseq, request.authorization, body.cloned());
        self.advance(cx, desk);
    }

    pub(super) fn requests_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let now = cx.now;
        let due = |request: &Request| request.next_deadline().is_some_and(|at| at <= now);
        while let Some(at) = self.requests.iter().position(due) {
            let Some(request) = self.requests.get_mut(at) else { return };
            match request.stage {
                Stage::Locating(_) => {
                    request.stage = Stage::Queued;
                    self.finish(at, cx, desk, 503, None);
                }
                Stage::Sent(client) => {
                    request.until = None;
                    cx.transactions.cancel_client(now, client, None, cx.fx);
                }
                Stage::Queued => self.finish(at, cx, desk, 504, None),
                Stage::Glare(_) | Stage::Accepted => request.stage = Stage::Queued,
            }
        }
        if !self.requests.is_empty() {
            self.send_requests(cx, desk);
        }
    }

    /// What is still open, as far as that goes, ends with 487.
    pub(super) fn drop_requests(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, what: Dropping) {
        let mut at = 0;
        while let Some(request) = self.requests.get(at) {
            let stays = match request.stage {
                Stage::Sent(_) if request.purpose == Purpose::Bye => true,
                Stage::Sent(_) => match what {
                    Dropping::Unsent => true,
                    // RFC 5057 §4: a subscription outlives the call, and what it tells is repeated until answered.
                    Dropping::Call => request.method == Method::Notify,
                    Dropping::All => false,
                },
                Stage::Queued | Stage::Locating(_) | Stage::Glare(_) => {
                    request.purpose == Purpose::Bye && what == Dropping::Unsent
                }
                Stage::Accepted => false,
            };
            if stays {
                at += 1;
                continue;
            }
            let request = self.requests.remove(at);
            self.dropped(request, cx, desk);
        }
    }

    /// The same for requests on early dialogs that are no more.
    pub(super) fn drop_fork_requests(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, keep: Option<Fork>) {
        let mut at = 0;
        while let Some(request) = self.requests.get(at) {
            let anywhere = request.method != Method::Prack && !request.bound;
            let waits = matches!(request.stage, Stage::Queued) && anywhere;
            if Some(request.fork) == keep || waits {
                at += 1;
                continue;
            }
            let request = self.requests.remove(at);
            self.dropped(request, cx, desk);
        }
    }

    fn dropped(&mut self, request: Request, cx: &mut Cx<'_>, desk: &mut Desk) {
        match request.stage {
            // An INVITE's 2xx must still be acknowledged: its transaction keeps its owner.
            Stage::Sent(client) if request.method != Method::Invite => cx.transactions.forget_client(client),
            Stage::Sent(client) => cx.transactions.cancel_client(cx.now, client, None, cx.fx),
            Stage::Queued | Stage::Locating(_) | Stage::Glare(_) => {}
            Stage::Accepted => {
                let body = self.still_answer();
                self.push_ack(cx, request.cseq, request.authorization, body);
                self.send_acks(cx, desk);
                return;
            }
        }
        if let Purpose::Call(id) = request.purpose {
            let event = LegEvent::Responded { leg: self.id, request: id, status: 487, message: None };
            self.tell(desk, event);
        }
    }
}
