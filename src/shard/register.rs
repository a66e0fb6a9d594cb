//! Clients: who registers, and who says to be one (RFC 3261 §10, §22).
//!
//! Bindings belong to the shard of their user, to which a REGISTER is handed whole. Another request
//! from no trunk, whose From names a domain of ours, is a client's if its credentials say so.

use super::Shard;
use super::arrive::passed_on;
use super::{Output, PeerMessage};
use crate::shard::Outbox;
use crate::shard::Rejection;
use crate::sip::auth::{Heard, Lesson, Sender, Verdict};
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
            match self.registrant(now, flow, message, ready, out) {
                Ok(registrant) => user = Some(registrant),
                Err(answer) => return self.turn_away(now, flow, message, &answer, out),
            }
        }
        let reply = reply_flow(flow, &ready.via);
        let received = self.transactions.receive_request(now, message, ready, &reply, &mut self.fx);
        let (Received::New(server), Some(user)) = (received, user) else { return };
        let answer = self.registrar.register(now, &self.plan.calls.registrar, &user, message, ready, flow);
        let tag = hex16(self.rng.next_u64());
        let mut text = Vec::with_capacity(512);
        let (source, fields) = (Some(flow.remote), answer.fields());
        write::response(&mut text, message, source, answer.status, answer.reason, Some(&tag), &fields);
        self.transactions.respond(now, server, answer.status, Bytes::from(text), &mut self.fx);
    }

    /// Who registers: RFC 3261 §10.3, in its order (C-156).
    fn registrant(
        &mut self,
        now: Time,
        flow: &Flow,
        message: &Message,
        ready: &Ready<'_>,
        out: &mut Outbox,
    ) -> Result<Box<str>, Answer> {
        self.registrar.admit(&self.plan.calls.registrar, message, ready)?;
        self.proved(now, flow, message, HeaderId::Authorization, out)
            .map_err(|stale| self.challenge(now, flow, 401, stale))
    }

    /// Who has sent a request, by its credentials in this field. `Err`: it must be challenged, as one whose
    /// nonce is stale or not.
    fn proved(
        &mut self,
        now: Time,
        flow: &Flow,
        message: &Message,
        field: HeaderId,
        out: &mut Outbox,
    ) -> Result<Box<str>, Option<Heard>> {
        let plan = &*self.plan;
        let (method, uri) = (message.method_bytes(), message.request_uri());
        let (values, sender) = (lines(message, field), sender(plan, flow));
        let verdict = self.realm.check(now, sender, values, method, uri, |user| known(plan, user));
        let proved = match verdict {
            Verdict::Ok { user } => Ok(user.into()),
            Verdict::Stale(heard) => Err(Some(heard)),
            Verdict::Missing => Err(None),
            Verdict::Refused => {
                self.counters.rejected(None, Rejection::Auth);
                Err(None)
            }
            Verdict::Banned => {
                self.counters.rejected(None, Rejection::Banned);
                Err(None)
            }
        };
        for lesson in self.realm.lessons() {
            if matches!(lesson, Lesson::Banned { .. }) {
                out.push(Output::Banned(*flow));
            }
            for shard in (0..self.place.shards).filter(|&shard| shard != self.place.index) {
                out.push(Output::Peer(shard, Box::new(PeerMessage::Lesson(lesson))));
            }
        }
        proved
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
        match self.proved(now, flow, message, HeaderId::ProxyAuthorization, out) {
            Ok(user) if user.as_bytes() == &*named => Ok(Some(user)),
            proved => {
                let challenge = self.challenge(now, flow, 407, proved.err().flatten());
                self.turn_away(now, flow, message, &challenge, out);
                Err(())
            }
        }
    }

    /// What asks the sender of a request to prove who he is, as a registrar (401) or as a proxy (407).
    fn challenge(&mut self, now: Time, flow: &Flow, status: u16, stale: Option<Heard>) -> Answer {
        let field = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let values = self.realm.challenge(now, sender(&self.plan, flow), stale);
        let headers = values.into_iter().map(|value| (field, value)).collect();
        Answer { status, reason: "", headers }
    }

    /// Answers, and keeps nothing of it.
    fn turn_away(&mut self, now: Time, flow: &Flow, message: &Message, answer: &Answer, out: &mut Outbox) {
        self.with_proxy(now, out, |proxy, cx| {
            proxy.answer_with(cx, message, flow, answer.status, &answer.fields());
        });
    }
}

/// Whole header lines: the commas in credentials part no values.
fn lines(message: &Message, id: HeaderId) -> impl Iterator<Item = &[u8]> {
    message.headers().filter(move |line| line.id == id).map(|line| line.value)
}

/// Where credentials come from: T-026 has trunks exempt, as many may call through one.
fn sender(plan: &Plan, flow: &Flow) -> Sender {
    let (auth, ip) = (&plan.calls.auth, flow.remote.ip().to_canonical());
    let trunk = !auth.ban.include_trunks && plan.sources.find(flow).is_some();
    if trunk || auth.never_ban.iter().any(|net| net.contains(&ip)) {
        Sender::Exempt
    } else {
        Sender::Source(ip)
    }
}

fn known<'p>(plan: &'p Plan, user: &str) -> Option<&'p Credentials> {
    plan.calls.clients.get(user).map(|client| &*client.credentials)
}
