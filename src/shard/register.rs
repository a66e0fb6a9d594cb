//! Clients: who registers, and who says to be one (RFC 3261 §10, §22).
//!
//! Bindings belong to the shard of their user, to which a REGISTER is handed whole. Another request
//! from no trunk, whose From names a domain of ours, is a client's if its credentials say so.

use super::Shard;
use super::arrive::passed_on;
use crate::shard::Outbox;
use crate::sip::auth::Verdict;
use crate::sip::flow::Flow;
use crate::sip::message::{HeaderId, Message, Method, Ready, Scheme, uri, write};
use crate::sip::plan::{Credentials, Plan};
use crate::sip::proxy::{hex16, reply_flow};
use crate::sip::registrar::{Answer, aor_of};
use crate::sip::time::Time;
use crate::sip::transaction::Received;
use bytes::Bytes;
use rand_core::Rng;

impl Shard {
    /// A REGISTER, on whichever shard its Call-ID has brought it to.
    pub(super) fn register(
        &mut self,
        now: Time,
        flow: &Flow,
        message: &Message,
        ready: &Ready<'_>,
        out: &mut Outbox,
    ) {
        let owner = aor_of(message).map(|(user, _)| self.place.owner_of(user.as_bytes()));
        if let Some(owner) = owner.filter(|&owner| owner != self.place.index) {
            return passed_on(owner, flow, message, out);
        }
        // Nothing is kept of one without the right credentials: it costs its sender as much (C-210).
        let mut user = None;
        if !self.transactions.has_server(message, ready) {
            match self.registrant(now, message, ready) {
                Ok(registrant) => user = Some(registrant),
                Err(answer) => {
                    let headers: Vec<(&str, &[u8])> =
                        answer.headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
                    return self.with_proxy(now, out, |proxy, cx| {
                        proxy.answer_with(cx, message, flow, answer.status, &headers);
                    });
                }
            }
        }
        let reply = reply_flow(flow, &ready.via);
        let received = self.transactions.receive_request(now, message, ready, &reply, &mut self.fx);
        let (Received::New(server), Some(user)) = (received, user) else { return };
        let answer = self.registrar.register(now, &self.plan.calls.registrar, &user, message, ready, flow);
        let tag = hex16(self.rng.next_u64());
        let headers: Vec<(&str, &[u8])> =
            answer.headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let mut text = Vec::with_capacity(512);
        let source = Some(flow.remote);
        write::response(&mut text, message, source, answer.status, answer.reason, Some(&tag), &headers);
        self.transactions.respond(now, server, answer.status, Bytes::from(text), &mut self.fx);
    }

    /// Who registers: RFC 3261 §10.3, in its order (C-156).
    fn registrant(&mut self, now: Time, message: &Message, ready: &Ready<'_>) -> Result<Box<str>, Answer> {
        let plan = &*self.plan;
        self.registrar.admit(&plan.calls.registrar, message, ready)?;
        let credentials = lines(message, HeaderId::Authorization);
        let (method, uri) = (message.method_bytes(), message.request_uri());
        let verdict = self.realm.check(now, credentials, method, uri, |user| known(plan, user));
        match verdict {
            Verdict::Ok { user } => Ok(user.into()),
            Verdict::Stale | Verdict::Refused | Verdict::Missing => {
                let values = self.realm.challenge(now, verdict == Verdict::Stale);
                let headers = values.into_iter().map(|value| ("WWW-Authenticate", value)).collect();
                Err(Answer { status: 401, reason: "", headers })
            }
        }
    }

    /// The client that sent a request, if it is one's. `Err`: it was challenged (C-199).
    pub(super) fn client(
        &mut self,
        now: Time,
        flow: &Flow,
        message: &Message,
        ready: &Ready<'_>,
        out: &mut Outbox,
    ) -> Result<Option<Box<str>>, ()> {
        let plan = &*self.plan;
        let asked = plan.calls.clients.is_empty()
            || matches!(message.method(), Method::Ack | Method::Cancel)
            || ready.to_tag.is_some()
            || plan.sources.find(flow).is_some();
        if asked {
            return Ok(None);
        }
        let Ok(from) = message.from_uri() else { return Ok(None) };
        if !matches!(from.scheme, Scheme::Sip | Scheme::Sips) || !self.registrar.serves(from.host) {
            return Ok(None);
        }
        let named = uri::decode(from.user.unwrap_or_default());
        // One that comes again was let in; its credentials serve once (RFC 3261 §17.2.2, C-081).
        if self.transactions.has_server(message, ready) {
            return Ok(Some(String::from_utf8_lossy(&named).into()));
        }
        let credentials = lines(message, HeaderId::ProxyAuthorization);
        let (method, target) = (message.method_bytes(), message.request_uri());
        let verdict = self.realm.check(now, credentials, method, target, |user| known(plan, user));
        match verdict {
            Verdict::Ok { user } if user.as_bytes() == &*named => Ok(Some(user.into())),
            Verdict::Ok { .. } | Verdict::Stale | Verdict::Refused | Verdict::Missing => {
                let values = self.realm.challenge(now, verdict == Verdict::Stale);
                let headers: Vec<(&str, &[u8])> =
                    values.iter().map(|value| ("Proxy-Authenticate", value.as_slice())).collect();
                self.with_proxy(now, out, |proxy, cx| {
                    proxy.answer_with(cx, message, flow, 407, &headers);
                });
                Err(())
            }
        }
    }
}

/// Whole header lines: the commas in credentials part no values.
fn lines(message: &Message, id: HeaderId) -> impl Iterator<Item = &[u8]> {
    message.headers().filter(move |line| line.id == id).map(|line| line.value)
}

fn known<'p>(plan: &'p Plan, user: &str) -> Option<&'p Credentials> {
    plan.calls.clients.get(user).map(|client| &*client.credentials)
}
