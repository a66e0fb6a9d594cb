//! A message arrives: whose it is.
//!
//! Everything is the proxy's unless a call of Baton's own or the registrar claims it. In this order:
//!
//! ```text
//! request ─► moved to another shard? ─► its INVITE or its dialog is a call's own? ─► REGISTER?
//!         ─► a client, or who claims to be one? ─► proxy ─► what begins a call of Baton's own: calls
//! response ─► by its transaction's owner: calls or proxy; without one, after a call that moved
//! ```

use super::{Output, PeerMessage, Shard};
use crate::shard::Outbox;
use crate::shard::counters::Dir;
use crate::sip::call::{Arrival, Who};
use crate::sip::event::ReferSid;
use crate::sip::flow::Flow;
use crate::sip::message::{Answer, Message, Method, ParseError, Ready};
use crate::sip::proxy::{Concern, Handed};
use crate::sip::refer::returning::{Caller, Worth};
use crate::sip::time::Time;
use crate::sip::transaction::Received;
use bytes::Bytes;

impl Shard {
    pub(super) fn arrived(&mut self, now: Time, flow: Flow, bytes: Bytes, out: &mut Outbox) {
        self.counters.message();
        self.counters.bytes(Dir::In, bytes.len());
        let message = match Message::parse(bytes, &self.plan.limits) {
            Ok(message) => message,
            Err(error) => return self.counters.malformed(flow.transport, error.kind),
        };
        match message.ready() {
            Ok(ready) if message.is_request() => self.request(now, &flow, &message, &ready, out),
            Ok(ready) => self.response(now, &flow, &message, &ready, out),
            Err(error) => self.unsound(now, &flow, &message, error, out),
        }
    }

    fn request(&mut self, now: Time, flow: &Flow, message: &Message, ready: &Ready<'_>, out: &mut Outbox) {
        // Without a call of our own, a proxied message pays nothing for there being such; but a CANCEL may be for
        // one that is over.
        let concerned = !self.calls.is_empty() || message.method() == Method::Cancel;
        if concerned && self.owned(now, flow, message, ready, out) {
            return;
        }
        if message.method() == Method::Register && !self.plan.calls.clients.is_empty() {
            return self.register(now, flow, message, ready, out);
        }
        let client = match self.client(now, flow, message, ready, out) {
            Ok(client) => client,
            // It was challenged.
            Err(()) => return,
        };
        let mut concern = None;
        self.with_proxy(now, out, |proxy, cx| {
            concern = proxy.request(cx, message, ready, flow, client.as_deref());
        });
        match concern {
            None => {}
            Some(Concern::Begins(handed)) => {
                self.begins(now, handed, message, ready, flow, client.as_deref(), out);
            }
            // Only what is new and admitted says whose it is: a repeat is not asked for credentials.
            Some(Concern::Referred(trunk)) => {
                self.with_calls(now, out, |calls, cx| calls.names(cx, &Who::Trunk(trunk), message));
            }
        }
    }

    /// Another shard has said what the token of a call is worth that waits for that (R-027).
    pub(super) fn returned(
        &mut self,
        now: Time,
        ticket: u32,
        call: (ReferSid, Caller),
        worth: Worth,
        out: &mut Outbox,
    ) {
        let mut found = None;
        self.with_proxy(now, out, |proxy, cx| found = proxy.judged(cx, ticket, call, worth));
        if let Some((handed, waited)) = found
            && let Ok(ready) = waited.message.ready()
        {
            self.begins(now, handed, &waited.message, &ready, &waited.flow, waited.client.as_deref(), out);
        }
    }

    /// What begins a call of Baton's own.
    fn begins(
        &mut self,
        now: Time,
        handed: Handed,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
        client: Option<&str>,
        out: &mut Outbox,
    ) {
        let (server, origin) = (handed.server, handed.origin);
        // One that came back by a Refer-To of ours is meant for somebody else.
        let again = handed.restored.as_ref().and_then(|(message, _)| Some((message, message.ready().ok()?)));
        let (message, ready) = again.as_ref().map_or((message, ready), |(message, ready)| (message, ready));
        let mut refused = None;
        self.with_calls(now, out, |calls, cx| {
            let returned = handed.restored.as_ref().map(|(_, returned)| returned);
            let to = handed.to;
            let arrival = Arrival { server, message, ready, flow, origin, client, to, returned };
            refused = calls.incoming(cx, arrival).err();
        });
        if let Some(status) = refused {
            self.with_proxy(now, out, |proxy, cx| proxy.decline(cx, server, message, flow, status));
        }
    }

    /// Whether a request concerns a call of Baton's own that there is; it has it then.
    fn owned(
        &mut self,
        now: Time,
        flow: &Flow,
        message: &Message,
        ready: &Ready<'_>,
        out: &mut Outbox,
    ) -> bool {
        // What repeats or ends the setting up of such a call: the branch is proof enough, only the
        // sender of the INVITE knows it.
        let invite = self
            .transactions
            .find_invite(ready)
            .filter(|&invite| self.transactions.server_owner(invite).is_some_and(super::is_owned));
        if let Some(invite) = invite
            && matches!(message.method(), Method::Invite | Method::Ack | Method::Cancel)
        {
            let reply = crate::sip::proxy::reply_flow(flow, &ready.via);
            match self.transactions.receive_request(now, message, ready, &reply, &mut self.fx) {
                Received::New(server) if message.method() == Method::Cancel => {
                    self.with_calls(now, out, |calls, cx| calls.cancel_in(cx, server, invite, message, flow));
                    return true;
                }
                // RFC 6026 §7.1: to a 2xx it is the user's, also where it repeats the INVITE's branch.
                Received::Ack2xx if self.calls.owns(message, ready) => {}
                Received::New(_) | Received::Absorbed | Received::Ack2xx | Received::Full => return true,
            }
        }
        if let Some(shard) = self.calls.redirect(ready.call_id) {
            // What this shard has answered it goes on answering; the rest follows the call, in order.
            if self.transactions.has_server(message, ready) {
                return false;
            }
            passed_on(shard, flow, message, out);
            return true;
        }
        if !self.calls.owns(message, ready) {
            return false;
        }
        // C-211: a dialog's identifiers alone are no pass.
        if !self.calls.admits(&self.plan, ready, flow) {
            self.counters.rejected(None, crate::shard::Rejection::Acl);
            out.push(Output::Stranger(*flow));
            return true;
        }
        self.counters.request(Dir::In, message.method(), flow.transport, self.plan.sources.find(flow));
        self.with_calls(now, out, |calls, cx| calls.request_in(cx, message, ready, flow));
        true
    }

    fn response(&mut self, now: Time, flow: &Flow, message: &Message, ready: &Ready<'_>, out: &mut Outbox) {
        let owner = self.transactions.response_owner(ready);
        let answer = message.method() == Method::Invite && (200..300).contains(&message.status());
        // A call that went to another shard has its transactions there, but its Call-IDs still lead here.
        if owner.is_none()
            && let Some(shard) = self.calls.redirect(ready.call_id)
        {
            return passed_on(shard, flow, message, out);
        }
        if owner.is_some_and(super::is_owned) {
            let received = self.transactions.receive_response(now, message, ready, &mut self.fx);
            if let Some((client, owner)) = received {
                if let Some(shard) = self.calls.redirect(ready.call_id).filter(|_| answer) {
                    // C-080, C-131: it comes again, as its ACK was lost, or another callee has picked up, too. What
                    // that needs is where the call has gone.
                    let answer = PeerMessage::Answer { bytes: message.bytes().clone() };
                    return out.push(Output::Peer(shard, Box::new(answer)));
                }
                self.counters.response(Dir::In, message.method(), message.status(), None);
                self.with_calls(now, out, |calls, cx| calls.response_in(cx, client, owner, message, ready));
            }
            return;
        }
        if owner.is_none() && answer && !self.calls.is_empty() {
            // Its transaction is on the shard that the call has come from.
            let mut taken = false;
            self.with_calls(now, out, |calls, cx| taken = calls.answered_again(cx, message, ready, false));
            if taken {
                return;
            }
        }
        self.with_proxy(now, out, |proxy, cx| proxy.response(cx, message, ready));
    }

    /// A message that cannot be worked with: answered where that can help, and only to known
    /// sources (C-213).
    fn unsound(&mut self, now: Time, flow: &Flow, message: &Message, error: ParseError, out: &mut Outbox) {
        self.counters.malformed(flow.transport, error.kind);
        if !message.is_request() {
            return;
        }
        match error.kind.answer() {
            Answer::Drop => {}
            Answer::Status(status, reason) => self.with_proxy(now, out, |proxy, cx| {
                if cx.plan.sources.find(flow).is_some() {
                    proxy.answer_malformed(cx, message, flow, status, reason);
                }
            }),
        }
    }
}

/// Hands a message to the shard that has its call, or its address of record.
pub(super) fn passed_on(shard: u16, flow: &Flow, message: &Message, out: &mut Outbox) {
    let sip = PeerMessage::Sip { flow: *flow, bytes: message.bytes().clone() };
    out.push(Output::Peer(shard, Box::new(sip)));
}
