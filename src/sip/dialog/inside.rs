//! Requests of ours inside a dialog: when each may go, where, and what its answer means (RFC 3261
//! §12.2.1, §14.1; RFC 3311; RFC 5057).

use super::attempt::DNS_PATIENCE;
use super::event::{Fork, LegEvent};
use super::hop::{Next, Places, next_hop};
use super::leg::{Authorization, Desk, Leg, Role, State};
use super::offer::{Carrier, Side};
use super::outgoing::{Body, Headers, NotNow};
use super::write::{self, Branch, Parts};
use super::{RequestId, challenge};
use crate::shard::Dir;
use crate::sip::auth::Challenge;
use crate::sip::event::EndedBy;
use crate::sip::message::{Message, Method};
use crate::sip::plan::Credentials;
use crate::sip::proxy::Cx;
use crate::sip::time::Time;
use crate::sip::transaction::ClientId;
use std::sync::Arc;
use std::time::Duration;

/// Requests of one leg that wait or are unanswered.
const MOST_REQUESTS: usize = 32;
/// Glare is met so often.
const MOST_GLARES: u8 = 3;
/// Challenges that one request follows.
const MOST_CHALLENGES: u8 = 3;

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

/// A request of ours.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    pub(super) method: Method,
    pub(super) fork: Fork,
    name: Box<str>,
    headers: Headers,
    body: Option<Body>,
    credentials: Option<Arc<Credentials>>,
    authorization: Authorization,
    challenges: u8,
    /// The challenges met.
    known: Vec<Challenge>,
    glares: u8,
    min_se: u32,
    pub(super) cseq: u32,
    places: Places,
}

impl Request {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        match self.stage {
            Stage::Locating(at) | Stage::Glare(at) => Some(at),
            Stage::Queued | Stage::Sent(_) | Stage::Accepted => None,
        }
    }

    fn offers(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_session)
    }

    fn carrier(&self) -> Option<Carrier> {
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
        method: &str,
        headers: Headers,
        body: Option<Body>,
        credentials: Option<Arc<Credentials>>,
    ) -> Result<RequestId, NotNow> {
        if self.has_ended() || self.bye.is_some() {
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
        let fork = self.dialogs.last().map_or(Fork(0), |dialog| dialog.fork);
        self.push_request(desk, Purpose::Call(id), fork, method, headers, body, credentials);
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
        self.requests.push(Box::new(Request {
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
        }));
    }

    /// Sends what may go now.
    pub(super) fn send_requests(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
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
        let confirmed = matches!(self.state, State::Up) && !self.unacknowledged();
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
                    desk.resolving.push(self.id);
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

    fn transmit(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk) -> bool {
        let secret = cx.random();
        let Some(client) = cx.transactions.reserve_client(secret) else { return false };
        let Some(request) = self.requests.get_mut(at) else { return false };
        let (fork, method) = (request.fork, request.method);
        if request.places.is_empty() {
            return false;
        }
        let place = request.places.remove(0);
        let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.fork == fork) else { return false };
        request.cseq = dialog.next_cseq();
        request.stage = Stage::Sent(client);
        if request.offers()
            && let Some(carrier) = request.carrier()
            && method != Method::Prack
        {
            dialog.carried(Side::Ours, carrier);
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

    pub(super) fn request_of(&self, client: ClientId) -> Option<usize> {
        self.requests.iter().position(|request| request.stage == Stage::Sent(client))
    }

    /// A response to a request of ours.
    pub(super) fn response_inside(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        let status = message.status();
        if status < 200 {
            return;
        }
        if status < 300 {
            return self.succeeded(at, cx, desk, message);
        }
        if self.challenged(at, cx, desk, message) || self.glared(at, cx, message) {
            return self.advance(cx, desk);
        }
        self.finish(at, cx, desk, status, Some(message));
    }

    fn succeeded(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        let Some(request) = self.requests.get_mut(at) else { return };
        let (method, fork, offered) = (request.method, request.fork, request.offers());
        let carrier = request.carrier();
        if method == Method::Invite {
            request.stage = Stage::Accepted;
        }
        let body = Body::of(message).filter(Body::is_session);
        let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.fork == fork) else {
            return self.finish(at, cx, desk, message.status(), Some(message));
        };
        // C-133: the 2xx to a target refresh refreshes it, too.
        if matches!(
            method,
            Method::Invite | Method::Update | Method::Refer | Method::Notify | Method::Subscribe
        ) {
            dialog.refresh(message);
        }
        if let Some(carrier) = carrier {
            match body {
                Some(body) if dialog.exchange.is_ours() || !offered && method == Method::Invite => {
                    dialog.carried(Side::Theirs, carrier);
                    self.received = Some(body);
                }
                Some(_) | None => dialog.refused(carrier),
            }
        }
        if matches!(method, Method::Invite | Method::Update) {
            if offered && let Some(request) = self.requests.get(at) {
                self.sent = request.body.clone();
            }
            self.learn(message);
            if !self.has_ended() {
                self.begin_session(cx, message);
            }
        }
        self.finish(at, cx, desk, message.status(), Some(message));
    }

    /// A 401, 407 or 422 that can be met: the request goes again with the next number (C-154, C-200).
    fn challenged(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) -> bool {
        let _ = desk;
        let trunk = self.trunk.and_then(|ix| cx.plan.trunk(ix)).and_then(|t| t.owned.credentials.clone());
        let own = self.credentials.clone();
        let random = cx.random();
        let Some(request) = self.requests.get_mut(at) else { return false };
        if request.challenges >= MOST_CHALLENGES {
            return false;
        }
        match message.status() {
            401 | 407 => {
                let Some(credentials) = request.credentials.clone().or(own).or(trunk) else { return false };
                let fork = request.fork;
                let Some(dialog) = self.dialogs.iter().find(|dialog| dialog.fork == fork) else {
                    return false;
                };
                let sent = challenge::Sent {
                    method: &request.name,
                    uri: dialog.strict().unwrap_or(&dialog.target),
                    body: request.body.as_ref().map_or(&b""[..], |body| &body.bytes),
                    cnonce: random,
                };
                let known = &mut request.known;
                let answer = challenge::answer(message, &credentials, &sent, known, &mut self.nonces);
                let Some(answer) = answer else { return false };
                request.authorization = answer;
            }
            422 => match super::session_timer::min_se(message) {
                Some(min) if min > request.min_se => request.min_se = min,
                Some(_) | None => return false,
            },
            _ => return false,
        }
        request.challenges += 1;
        request.stage = Stage::Queued;
        self.withdraw(at);
        true
    }

    /// 491, or 500 with Retry-After: both sides wanted the same at once (C-142, C-144).
    fn glared(&mut self, at: usize, cx: &mut Cx<'_>, message: &Message) -> bool {
        let owner = self.role == Role::Caller;
        let ended = self.has_ended() || self.bye.is_some();
        let random = cx.random();
        let Some(request) = self.requests.get_mut(at) else { return false };
        let twice = matches!(request.method, Method::Invite | Method::Update);
        if !twice || ended || request.glares >= MOST_GLARES {
            return false;
        }
        let wait = match message.status() {
            // §14.1: in units of 10 ms; who owns the Call-ID waits longer.
            491 if owner => Duration::from_millis(2_100 + random % 191 * 10),
            491 => Duration::from_millis(random % 201 * 10),
            500 => match message.retry_after() {
                Ok(Some(seconds)) if seconds <= 10 => Duration::from_secs(u64::from(seconds)),
                Ok(_) | Err(_) => return false,
            },
            _ => return false,
        };
        request.glares += 1;
        request.stage = Stage::Glare(cx.now + wait);
        self.withdraw(at);
        true
    }

    /// The offer a request made is as if it had not been made.
    fn withdraw(&mut self, at: usize) {
        let Some(request) = self.requests.get(at) else { return };
        let (carrier, fork) = (request.carrier(), request.fork);
        if let Some(carrier) = carrier
            && let Some(dialog) = self.dialog_mut(fork)
        {
            dialog.refused(carrier);
        }
    }

    /// A request has its final answer, or gets none: the call hears of it, and the dialog lives or not
    /// (C-138, RFC 5057 §5.1).
    fn finish(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        status: u16,
        message: Option<&Message>,
    ) {
        let accepted = self.requests.get(at).is_some_and(|request| request.stage == Stage::Accepted);
        if !accepted {
            if status >= 300 {
                self.withdraw(at);
            }
        }
        let Some(request) = self.requests.get(at) else { return };
        let (purpose, method, cseq) = (request.purpose, request.method, request.cseq);
        match purpose {
            Purpose::Call(request) => self.tell(
                desk,
                LegEvent::Responded {
                    leg: self.id,
                    request,
                    status,
                    message: message.map(Message::detached),
                },
            ),
            Purpose::Refresh | Purpose::Prack | Purpose::Bye => {}
        }
        // A re-INVITE that was accepted waits for its ACK; nobody will order that of the leg's own, or
        // of one that has ended.
        let keep = accepted && matches!(purpose, Purpose::Call(_)) && !self.has_ended();
        if !keep && at < self.requests.len() {
            let request = self.requests.remove(at);
            if accepted {
                let body = self.still_answer();
                self.push_ack(cx, cseq, request.authorization, body);
            }
        }
        if self.ends_dialog(purpose, method, status) {
            let by = EndedBy::Baton;
            return match status {
                // The other side knows nothing of the dialog: no BYE is due (RFC 5057 §5.1).
                481 => self.end(cx, desk, Some(by), None),
                _ => self.send_bye(cx, desk, Some(by), None),
            };
        }
        self.advance(cx, desk);
    }

    /// RFC 5057 §5.1, C-138: 481 and 408 end the dialog's INVITE usage when they answer one of its
    /// requests; a transfer's or a notification's subscription ends by itself, the call goes on.
    fn ends_dialog(&self, purpose: Purpose, method: Method, status: u16) -> bool {
        let of_call = matches!(method, Method::Invite | Method::Update | Method::Info | Method::Prack);
        let refresh = purpose == Purpose::Refresh;
        self.is_up()
            && purpose != Purpose::Bye
            && match status {
                481 => of_call,
                408 => of_call || refresh,
                // RFC 4028 §10 treats only silence and 481 as the end; RFC 5057 §5.1 adds these.
                404 | 410 | 416 | 482 | 483 | 484 | 485 | 502 | 604 => of_call && method != Method::Info,
                _ => false,
            }
    }

    /// A request's transaction ended without an answer: another address, or the end.
    pub(super) fn request_failed(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk, status: u16) {
        let Some(request) = self.requests.get(at) else { return };
        if !request.places.is_empty() && status == 503 {
            self.withdraw(at);
            if self.transmit(at, cx, desk) {
                return;
            }
        }
        self.finish(at, cx, desk, status, None);
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
        let Some(at) = self.requests.iter().position(|request| wanted(request)) else { return };
        let request = self.requests.remove(at);
        self.push_ack(cx, request.cseq, request.authorization, body.cloned());
        self.advance(cx, desk);
    }

    pub(super) fn requests_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let now = cx.now;
        let due = |request: &Request| request.next_deadline().is_some_and(|at| at <= now);
        while let Some(at) = self.requests.iter().position(|request| due(request)) {
            let Some(request) = self.requests.get_mut(at) else { return };
            match request.stage {
                Stage::Locating(_) => {
                    request.stage = Stage::Queued;
                    self.finish(at, cx, desk, 503, None);
                }
                Stage::Glare(_) | Stage::Queued | Stage::Sent(_) | Stage::Accepted => {
                    request.stage = Stage::Queued;
                }
            }
        }
        if !self.requests.is_empty() {
            self.send_requests(cx, desk);
        }
    }

    /// What is still open ends with 487; with `sent`, also what was sent: nobody waits for it any more.
    pub(super) fn drop_requests(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, sent: bool) {
        let mut at = 0;
        while let Some(request) = self.requests.get(at) {
            let stays = match request.stage {
                Stage::Sent(_) => !sent || request.purpose == Purpose::Bye,
                Stage::Queued | Stage::Locating(_) | Stage::Glare(_) => {
                    request.purpose == Purpose::Bye && !sent
                }
                Stage::Accepted => false,
            };
            if stays {
                at += 1;
                continue;
            }
            let request = self.requests.remove(at);
            self.dropped(*request, cx, desk);
        }
    }

    /// The same for requests on early dialogs that are no more.
    pub(super) fn drop_fork_requests(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, keep: Option<Fork>) {
        let mut at = 0;
        while let Some(request) = self.requests.get(at) {
            let waits = matches!(request.stage, Stage::Queued) && request.method != Method::Prack;
            if Some(request.fork) == keep || waits {
                at += 1;
                continue;
            }
            let request = self.requests.remove(at);
            self.dropped(*request, cx, desk);
        }
    }

    fn dropped(&mut self, request: Request, cx: &mut Cx<'_>, desk: &mut Desk) {
        match request.stage {
            // An INVITE's 2xx must still be acknowledged: its transaction keeps its owner.
            Stage::Sent(client) if request.method != Method::Invite => cx.transactions.forget_client(client),
            Stage::Sent(_) | Stage::Queued | Stage::Locating(_) | Stage::Glare(_) => {}
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
