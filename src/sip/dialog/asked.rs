//! Requests of the party's inside a dialog: what the leg answers by itself, what the call answers, and
//! what comes at the wrong moment (RFC 3261 §12.2.2, §14.2; RFC 3311 §5.2).

use super::event::{Fork, LegEvent};
use super::leg::{Desk, Leg, Pending, State};
use super::offer::{Carrier, Side};
use super::outgoing::{Body, Headers};
use super::{Asked, session_timer, write};
use crate::shard::Dir;
use crate::sip::flow::Flow;
use crate::sip::message::{HeaderId, Message, Method, Ready};
use crate::sip::proxy::Cx;
use crate::sip::transaction::ServerId;
use bytes::Bytes;
use std::net::SocketAddr;

/// Requests of a party's that wait for the call's answer.
const MOST_ASKED: usize = 16;

/// What is to become of a request.
enum Verdict {
    /// The call answers it.
    Call,
    /// The leg does, at once.
    Answer(u16, Vec<(&'static str, Vec<u8>)>),
    /// A refresh without change.
    Refresh,
    /// PRACK.
    Prack,
    /// BYE.
    Bye,
}

impl Leg {
    /// The dialog that a request of the party's belongs to.
    pub(super) fn dialog_of(&self, ready: &Ready<'_>) -> Option<Fork> {
        let tag = super::id::tag(ready.to_tag?)?;
        let remote = ready.from_tag.unwrap_or_default();
        if *self.call_id != *ready.call_id {
            return None;
        }
        self.dialogs
            .iter()
            .find(|dialog| dialog.local_tag == tag && *dialog.remote_tag == *remote)
            .map(|dialog| dialog.fork)
    }

    /// A request that was not seen before.
    pub(super) fn request_came(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
    ) {
        let source = flow.remote;
        let fork = self.dialog_of(ready);
        let Some(fork) = fork else {
            return self.answer_request(cx, desk, server, message, source, Fork(0), 481, &[]);
        };
        // C-135, C-136: a gap is nothing to mind, a step back is.
        let late = self.dialog_mut(fork).is_some_and(|dialog| {
            let late = dialog.remote_cseq.is_some_and(|last| ready.cseq.number < last);
            dialog.remote_cseq = dialog.remote_cseq.max(Some(ready.cseq.number));
            late
        });
        if late {
            return self.answer_request(cx, desk, server, message, source, fork, 500, &[]);
        }
        // A party that only its own connection reaches may have made a new one; this is in its dialog, and
        // in order (C-211).
        if self.pinned {
            self.flow = (*flow).into();
        }
        match self.judge(cx, message, fork) {
            Verdict::Answer(status, own) => {
                self.answer_request(cx, desk, server, message, source, fork, status, &own);
            }
            Verdict::Prack => self.prack_in(cx, desk, server, message, source, fork),
            Verdict::Bye => {
                self.answer_request(cx, desk, server, message, source, fork, 200, &[]);
                self.bye_in(cx, desk, message, fork);
            }
            Verdict::Refresh => self.refresh_in(cx, desk, server, message, source, fork),
            Verdict::Call => {
                if let Some(dialog) = self.dialog_mut(fork)
                    && let Some(carrier) = carrier(message)
                    && describes(message)
                {
                    dialog.carried(Side::Theirs, carrier);
                }
                if matches!(message.method(), Method::Invite | Method::Update) {
                    self.learn(message);
                }
                let asked = Asked { server, cseq: ready.cseq.number };
                self.asked.push(Pending { asked, message: message.detached(), source, fork });
                self.tell(desk, LegEvent::Requested { leg: self.id, asked, message: message.detached() });
            }
        }
    }

    fn judge(&self, cx: &mut Cx<'_>, message: &Message, fork: Fork) -> Verdict {
        let answer = |status| Verdict::Answer(status, Vec::new());
        let method = message.method();
        match (&self.state, method) {
            (State::Calling(_), Method::Bye) => return answer(481),
            (_, Method::Bye) => return Verdict::Bye,
            // a notification may be late. Everything else is too late.
            (State::Ended { .. } | State::Dead, Method::Notify) if !self.silent => {}
            (State::Ended { .. } | State::Dead, _) => return answer(481),
            (State::Calling(_) | State::Answered(_) | State::Offered(_) | State::Up, _) => {}
        }
        if let Some(unsupported) = Leg::not_understood(message) {
            return Verdict::Answer(420, vec![("Unsupported", unsupported)]);
        }
        let exchange = self.dialog(fork).map(|dialog| dialog.exchange).unwrap_or_default();
        let full = self.asked.len() >= MOST_ASKED;
        match method {
            Method::Prack => Verdict::Prack,
            // Nothing of these belongs inside a dialog.
            Method::Register | Method::Publish => answer(405),
            Method::Invite => {
                if !self.is_up() || self.asked_for(Method::Invite) {
                    // C-142
                    return retry_later(cx);
                }
                // C-143, X-13
                let own = matches!(self.state, State::Answered(_)) || self.own_invite();
                if own || exchange.is_ours() {
                    return answer(491);
                }
                if exchange.is_theirs() {
                    return retry_later(cx);
                }
                self.judge_refresh(message)
            }
            Method::Update => {
                // C-180
                if self.asked_for(Method::Update) {
                    return retry_later(cx);
                }
                if describes(message) {
                    if exchange.is_ours() || self.own_invite() {
                        return answer(491);
                    }
                    if exchange.is_theirs() || self.asked_for(Method::Invite) {
                        return retry_later(cx);
                    }
                }
                self.judge_refresh(message)
            }
            _ if full => answer(503),
            _ => Verdict::Call,
        }
    }

    /// An INVITE or UPDATE at the right moment: whether it changes anything.
    fn judge_refresh(&self, message: &Message) -> Verdict {
        if let Some(min) = session_timer::too_short(message, self.options.session) {
            return Verdict::Answer(422, vec![("Min-SE", min.to_string().into_bytes())]);
        }
        let same = match Body::of(message) {
            None => message.method() == Method::Update,
            Some(body) => {
                message.method() == Method::Invite
                    && self.sent.is_some()
                    && self.received.as_ref().is_some_and(|last| last.bytes == body.bytes)
            }
        };
        if same { Verdict::Refresh } else { Verdict::Call }
    }

    /// A refresh of the session: answered with what is known (RFC 4028 §7.4, C-172).
    fn refresh_in(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        server: ServerId,
        message: &Message,
        source: SocketAddr,
        fork: Fork,
    ) {
        self.learn(message);
        self.refresh(fork, message);
        let own = if self.is_up() { self.accept_session(cx, message) } else { Vec::new() };
        let invite = message.method() == Method::Invite;
        let body = self.sent.clone().filter(|_| invite);
        let body = self.spoken(fork, body.as_ref());
        let tag = self.dialog(fork).map_or(self.tag, |dialog| dialog.local_tag);
        let none = Headers::new();
        let bytes = write::response(self, desk, message, source, tag, 200, "", &none, &own, body.as_ref());
        self.send_response(cx, server, message.method(), 200, bytes.clone());
        if invite {
            let cseq = message.cseq().map_or(0, |cseq| cseq.number);
            self.await_ack(cx, server, Some(Asked { server, cseq }), cseq, bytes);
            if let Some(accepted) = self.accepted.last_mut() {
                accepted.quiet = true;
            }
        }
    }

    /// Answers a request without the call.
    pub(super) fn answer_request(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        server: ServerId,
        message: &Message,
        source: SocketAddr,
        fork: Fork,
        status: u16,
        own: &[(&str, Vec<u8>)],
    ) {
        let tag = self.dialog(fork).map_or(self.tag, |dialog| dialog.local_tag);
        let bytes = write::response(self, desk, message, source, tag, status, "", &Headers::new(), own, None);
        self.send_response(cx, server, message.method(), status, bytes);
    }

    fn send_response(&self, cx: &mut Cx<'_>, server: ServerId, method: Method, status: u16, bytes: Bytes) {
        cx.counters.response(Dir::Out, method, status, self.trunk);
        cx.transactions.respond(cx.now, server, status, bytes, cx.fx);
    }

    /// The call's answer to a request of the party's.
    pub(super) fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        asked: Asked,
        status: u16,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        let Some(at) = self.asked.iter().position(|pending| pending.asked == asked) else { return };
        let Some(pending) = self.asked.get(at) else { return };
        let (fork, source, message) = (pending.fork, pending.source, pending.message.clone());
        let method = message.method();
        let offers = describes(&message);
        let accepted = (200..300).contains(&status);
        let own = if accepted && self.is_up() && matches!(method, Method::Invite | Method::Update) {
            self.accept_session(cx, &message)
        } else {
            Vec::new()
        };
        let tag = self.dialog(fork).map_or(self.tag, |dialog| dialog.local_tag);
        let body = if status < 300 { self.spoken(fork, body) } else { body.cloned() };
        let body = body.as_ref();
        let bytes = write::response(self, desk, &message, source, tag, status, "", headers, &own, body);
        self.send_response(cx, asked.server, method, status, bytes.clone());
        if status < 200 {
            return;
        }
        self.asked.remove(at);
        if accepted {
            self.accepted_request(&message, fork, offers, body);
            if method == Method::Invite {
                self.await_ack(cx, asked.server, Some(asked), asked.cseq, bytes);
            }
        } else if let Some(carrier) = carrier(&message)
            && let Some(dialog) = self.dialog_mut(fork)
        {
            // C-145: the session is as it was.
            dialog.refused(carrier);
        }
        self.advance(cx, desk);
    }

    fn accepted_request(&mut self, message: &Message, fork: Fork, offers: bool, body: Option<&Body>) {
        let method = message.method();
        if offers && matches!(method, Method::Invite | Method::Update) {
            self.received = Body::of(message);
        }
        // C-133
        if matches!(
            method,
            Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
        ) {
            self.refresh(fork, message);
        }
        let Some(dialog) = self.dialog_mut(fork) else { return };
        match method {
            Method::Invite => self.answered_with(fork, offers, body),
            Method::Update | Method::Prack => match body.filter(|body| body.is_session()) {
                Some(body) if dialog.exchange.is_theirs() => {
                    dialog.carried(Side::Ours, Carrier::Update);
                    self.sent = Some(body.clone());
                }
                Some(_) => {}
                None => {
                    dialog.refused(if method == Method::Update { Carrier::Update } else { Carrier::Prack })
                }
            },
            _ => {}
        }
    }

    /// The dialog's call is over: requests that wait are refused (C-139).
    pub(super) fn refuse_asked(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, status: u16) {
        for pending in std::mem::take(&mut self.asked) {
            let server = pending.asked.server;
            self.answer_request(
                cx,
                desk,
                server,
                &pending.message,
                pending.source,
                pending.fork,
                status,
                &[],
            );
        }
    }
}

/// 500, and when to come again (RFC 3261 §14.2).
fn retry_later(cx: &mut Cx<'_>) -> Verdict {
    let seconds = cx.random() % 11;
    Verdict::Answer(500, vec![("Retry-After", seconds.to_string().into_bytes())])
}

/// Whether a message carries a session description.
fn describes(message: &Message) -> bool {
    !message.body().is_empty()
        && match message.header(HeaderId::ContentType) {
            None => true,
            Some(_) => Body::of(message).is_some_and(|body| body.is_session()),
        }
}

fn carrier(message: &Message) -> Option<Carrier> {
    match message.method() {
        Method::Invite => Some(Carrier::Invite),
        Method::Update => Some(Carrier::Update),
        Method::Prack => Some(Carrier::Prack),
        _ => None,
    }
}
