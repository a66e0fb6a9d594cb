//! What the answers to our requests inside a dialog mean: success, challenges, glare, and which
//! refusals end the dialog (RFC 3261 §12.2.1.2, §14.1; RFC 5057).

use super::RequestId;
use super::challenge;
use super::event::{Fork, LegEvent};
use super::inside::{Purpose, Request, Stage};
use super::leg::{Desk, Leg, Role};
use super::offer::Side;
use super::outgoing::Body;
use crate::sip::event::EndedBy;
use crate::sip::message::{Message, Method};
use crate::sip::proxy::Cx;
use crate::sip::transaction::ClientId;
use smallvec::SmallVec;
use std::time::Duration;

/// Glare is met so often.
const MOST_GLARES: u8 = 3;
/// Challenges that one request follows.
const MOST_CHALLENGES: u8 = 3;

impl Leg {
    pub(super) fn request_of(&self, client: ClientId) -> Option<usize> {
        self.requests.iter().position(|request| request.stage == Stage::Sent(client))
    }

    /// The transaction of a request of the call's that has gone out.
    pub(super) fn client_of(&self, id: RequestId) -> Option<ClientId> {
        let found = self.requests.iter().find(|request| request.purpose == Purpose::Call(id))?;
        match found.stage {
            Stage::Sent(client) => Some(client),
            Stage::Queued | Stage::Locating(_) | Stage::Glare(_) | Stage::Accepted => None,
        }
    }

    /// A response to a request of ours.
    pub(super) fn response_inside(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message) {
        let status = message.status();
        if status < 200 {
            if let Some(request) = self.requests.get_mut(at) {
                request.heard = request.heard.max(status);
            }
            return;
        }
        if status < 300 {
            return self.succeeded(at, cx, desk, message);
        }
        // C-123: but who rings or works on it has not left it to another.
        let ringing = self.requests.get(at).is_some_and(|request| request.heard > 100);
        if status == 503 && !ringing && self.try_next_place(at, cx, desk) {
            return;
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
        // C-133: the 2xx to a target refresh refreshes it, too.
        if matches!(
            method,
            Method::Invite | Method::Update | Method::Refer | Method::Notify | Method::Subscribe
        ) {
            self.refresh(fork, message);
        }
        let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.fork == fork) else {
            return self.finish(at, cx, desk, message.status(), Some(message));
        };
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
        if request.given_up || request.challenges >= MOST_CHALLENGES {
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
        request.until = None;
        request.stage = Stage::Queued;
        self.withdraw(at);
        self.keep_place(at);
        true
    }

    /// What is repeated goes to who asked for that: another of a name's servers may know neither the nonce nor
    /// the dialog.
    fn keep_place(&mut self, at: usize) {
        let Some(request) = self.requests.get_mut(at) else { return };
        let Some(place) = request.place.take() else { return };
        let fork = request.fork;
        let dialog = self.dialogs.iter().find(|dialog| dialog.fork == fork);
        // The party's own connection may be another one by then.
        if !self.pinned || dialog.is_some_and(|dialog| !dialog.routes.is_empty()) {
            request.places.insert(0, place);
        }
    }

    /// 491, or 500 with Retry-After: both sides wanted the same at once (C-142, C-144).
    fn glared(&mut self, at: usize, cx: &mut Cx<'_>, message: &Message) -> bool {
        let owner = self.role == Role::Caller;
        let ended = self.has_ended() || self.bye.is_some();
        let random = cx.random();
        let Some(request) = self.requests.get_mut(at) else { return false };
        let twice = matches!(request.method, Method::Invite | Method::Update);
        if !twice || ended || request.given_up || request.glares >= MOST_GLARES {
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
        request.until = None;
        request.stage = Stage::Glare(cx.now + wait);
        self.withdraw(at);
        self.keep_place(at);
        true
    }

    /// Whether a request of the call's has gone out, and is not waiting to be repeated.
    pub(super) fn is_out(&self, id: RequestId) -> bool {
        let found = self.requests.iter().find(|request| request.purpose == Purpose::Call(id));
        found.is_some_and(|request| request.stage.is_out())
    }

    /// Nobody wants a request any more: true when it has not gone out, and never will; one that has is not
    /// sent again after glare, nor with credentials, nor to another address.
    pub(super) fn forgo(&mut self, id: RequestId) -> bool {
        let Some(at) = self.requests.iter().position(|request| request.purpose == Purpose::Call(id)) else {
            return false;
        };
        match self.requests.get_mut(at) {
            Some(request) if !request.stage.is_out() => {
                self.requests.remove(at);
                true
            }
            Some(request) => {
                request.given_up = true;
                false
            }
            None => false,
        }
    }

    /// Who waits for a request's answer does not wait until a second address has been silent, too.
    pub(super) fn once(&mut self, id: RequestId) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.purpose == Purpose::Call(id)) {
            request.once = true;
        }
    }

    /// What a request asks for is not worth the dialog: no answer to it is a refusal.
    pub(super) fn spare(&mut self, id: RequestId) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.purpose == Purpose::Call(id)) {
            request.spared = true;
        }
    }

    /// The party has said where it is reached (C-133): what waits to be repeated goes there, not where its
    /// first try went.
    pub(super) fn refresh(&mut self, fork: Fork, message: &Message) {
        let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.fork == fork) else { return };
        let before = dialog.target.clone();
        dialog.refresh(message);
        if dialog.target == before || !dialog.routes.is_empty() {
            return;
        }
        let waits = |request: &&mut Request| request.fork == fork && !request.stage.is_out();
        for request in self.requests.iter_mut().filter(waits) {
            request.places.clear();
        }
    }

    /// What the call wants changed and the party has not heard of, or has refused for now.
    pub(super) fn unsent(&self) -> SmallVec<[RequestId; 1]> {
        let waits = |request: &Request| match request.purpose {
            Purpose::Call(id) => (request.negotiates() && !request.stage.is_out()).then_some(id),
            Purpose::Refresh | Purpose::Prack | Purpose::Bye => None,
        };
        self.requests.iter().filter_map(waits).collect()
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
    pub(super) fn finish(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        status: u16,
        message: Option<&Message>,
    ) {
        let accepted = self.requests.get(at).is_some_and(|request| request.stage == Stage::Accepted);
        if !accepted && status >= 300 {
            self.withdraw(at);
        }
        let Some(request) = self.requests.get(at) else { return };
        let (purpose, method, cseq) = (request.purpose, request.method, request.cseq);
        // One of its addresses is silent, and it was not for this request to try the next.
        let untried = message.is_none() && (request.once || request.given_up) && !request.places.is_empty();
        let spared = message.is_none() && request.spared;
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
        if !untried && !spared && self.ends_dialog(purpose, method, status) {
            let by = EndedBy::Baton;
            return match status {
                // The other side knows nothing of the dialog: no BYE is due (RFC 5057 §5.1).
                481 => self.end(cx, desk, Some(by), None),
                _ => self.send_bye(cx, desk, Some(by), None),
            };
        }
        if purpose == Purpose::Refresh && status >= 300 && self.is_up() {
            self.refresh_refused(cx, desk, method, status);
        }
        self.advance(cx, desk);
    }

    /// RFC 5057 §5.1, C-138: 481 and 408 end the dialog's INVITE usage when they answer one of its
    /// requests; a transfer's or a notification's subscription ends by itself, the call goes on. But a
    /// REFER, which begins one, meets 481 where the dialog itself is not known.
    fn ends_dialog(&self, purpose: Purpose, method: Method, status: u16) -> bool {
        let of_call = matches!(method, Method::Invite | Method::Update | Method::Info | Method::Prack);
        let refresh = purpose == Purpose::Refresh;
        self.is_up()
            && purpose != Purpose::Bye
            && match status {
                481 => of_call || method == Method::Refer,
                408 => of_call || refresh,
                // The whole dialog is gone or cannot be reached. C-145 excepts INVITE.
                404 | 410 | 416 | 482 | 483 | 484 | 485 | 502 | 604 => {
                    matches!(method, Method::Update | Method::Prack)
                }
                _ => false,
            }
    }

    /// A request's transaction ended without an answer: another address, or the end.
    pub(super) fn request_failed(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk, status: u16) {
        let Some(request) = self.requests.get(at) else { return };
        let stays = request.heard > 0 || request.once && status == 408;
        if stays || !self.try_next_place(at, cx, desk) {
            self.finish(at, cx, desk, status, None);
        }
    }

    /// C-122: the next address, unless somebody has the request already.
    fn try_next_place(&mut self, at: usize, cx: &mut Cx<'_>, desk: &mut Desk) -> bool {
        let Some(request) = self.requests.get(at) else { return false };
        let may = !request.places.is_empty() && request.tries < cx.plan.routing.max_attempts;
        if !may || request.given_up {
            return false;
        }
        self.withdraw(at);
        self.transmit(at, cx, desk)
    }
}
