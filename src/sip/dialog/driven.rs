//! What the shard drives the legs with: requests and responses that came, timers, failures, DNS.

use super::calling::Failure;
use super::event::{Fork, LegEvent};
use super::leg::State;
use super::outgoing::Headers;
use super::{LegId, Legs, OWNER, write};
use crate::shard::{Dir, Output, SendTag};
use crate::sip::flow::{ConnectionId, Flow, Transport};
use crate::sip::message::write::{Builder, response_head};
use crate::sip::message::{HeaderId, Message, Method, Ready};
use crate::sip::proxy::{Cx, reply_flow};
use crate::sip::transaction::{ClientId, Received, ServerId};
use std::net::SocketAddr;

impl Legs {
    /// A request inside a dialog for which [`Legs::owns`] said yes.
    pub fn request_in(&mut self, cx: &mut Cx<'_>, message: &Message, ready: &Ready<'_>, flow: &Flow) {
        let Some(id) = self.leg_of(ready) else { return };
        let reply = reply_flow(flow, &ready.via);
        let received = cx.transactions.receive_request(cx.now, message, ready, &reply, cx.fx);
        let source = flow.remote;
        match received {
            Received::Absorbed => {}
            Received::Ack2xx => self.with(cx, id, |leg, cx, desk| {
                leg.ack_in(cx, desk, message, ready.cseq.number);
            }),
            Received::Full => self.refuse_statelessly(cx, id, message, &reply, source),
            Received::New(server) if message.method() == Method::Cancel => {
                match cx.transactions.find_invite(ready) {
                    Some(invite) => self.cancel_in(cx, server, invite, message, flow),
                    None => self.with(cx, id, |leg, cx, desk| {
                        leg.answer_request(cx, desk, server, message, source, Fork(0), 481, &[]);
                    }),
                }
            }
            Received::New(server) if message.method() == Method::Refer && self.is_strange(cx, id, flow) => {
                // RFC 3515 §5.2, R-103: only the party of a dialog may move its other party.
                self.with(cx, id, |leg, cx, desk| {
                    leg.answer_request(cx, desk, server, message, source, Fork(0), 403, &[]);
                });
            }
            Received::New(server) => {
                cx.transactions.set_server_owner(server, OWNER | id.slot);
                self.with(cx, id, |leg, cx, desk| {
                    leg.request_came(cx, desk, server, message, ready, flow);
                });
            }
        }
    }

    /// Whether a path is neither that of the leg's party nor one of its trunk.
    fn is_strange(&self, cx: &Cx<'_>, id: LegId, flow: &Flow) -> bool {
        let Some(leg) = self.table.get(id.slot).filter(|leg| leg.id == id) else { return true };
        let trunk = leg.trunk.is_some() && cx.plan.sources.find(flow) == leg.trunk;
        !trunk && leg.flow.remote.ip().to_canonical() != flow.remote.ip().to_canonical()
    }

    /// A CANCEL for an INVITE that belongs to a leg.
    pub fn cancel_in(
        &mut self,
        cx: &mut Cx<'_>,
        cancel: ServerId,
        invite: ServerId,
        message: &Message,
        flow: &Flow,
    ) {
        let Some(slot) = cx.transactions.server_owner(invite).and_then(super::table::slot_of) else { return };
        let source = flow.remote;
        let call_id = message.header(HeaderId::CallId).unwrap_or_default();
        // Its place may be another's by now.
        let leg = self.table.get(slot).filter(|leg| *leg.call_id == *call_id);
        let Some(id) = leg.map(|leg| leg.id) else {
            return self.cancelled_late(cx, cancel, invite, message, source);
        };
        self.with(cx, id, |leg, cx, desk| {
            leg.answer_request(cx, desk, cancel, message, source, Fork(0), 200, &[]);
            if leg.offered().is_some_and(|offered| offered.server == invite) {
                leg.cancelled(cx, desk, message);
            } else if let Some(asked) = leg.asked_by(invite) {
                leg.tell(desk, LegEvent::Withdrawn { leg: leg.id, asked, message: message.detached() });
            }
        });
    }

    /// The INVITE is refused and its leg gone: its transaction still knows the tag (C-083).
    fn cancelled_late(
        &mut self,
        cx: &mut Cx<'_>,
        cancel: ServerId,
        invite: ServerId,
        message: &Message,
        source: SocketAddr,
    ) {
        let last = cx.transactions.last_response(invite).cloned();
        let last = last.and_then(|bytes| Message::parse(bytes, &cx.plan.limits).ok());
        let tag = last.as_ref().and_then(|last| last.to().ok()?.tag());
        let mut bytes = Vec::with_capacity(512);
        response_head(&mut bytes, message, Some(source), 200, "", tag);
        Builder::resume(&mut bytes).finish();
        cx.counters.response(Dir::Out, Method::Cancel, 200, None);
        cx.transactions.respond(cx.now, cancel, 200, bytes.into(), cx.fx);
    }

    /// A connection has ended. No WebSocket can be opened from here (RFC 7118 §5): a caller behind it cannot be
    /// told anything any more, and has not the means to cancel.
    pub fn closed(&mut self, cx: &mut Cx<'_>, connection: ConnectionId) {
        for id in self.bound.remove(&connection).unwrap_or_default() {
            self.with(cx, id, |leg, cx, desk| {
                if let Some(invite) = leg.offered().map(|offered| offered.request.clone()) {
                    leg.cancelled(cx, desk, &invite);
                }
            });
        }
    }

    /// Notes that an INVITE can be answered along the way it came only.
    pub(super) fn bind(&mut self, id: LegId, flow: &Flow) {
        let web = matches!(flow.transport, Transport::Ws | Transport::Wss);
        let Some(connection) = flow.connection.filter(|_| web) else { return };
        let bound = self.bound.entry(connection).or_default();
        let table = &self.table;
        bound.retain(|id| table.get(id.slot).is_some_and(|leg| leg.id == *id && leg.offered().is_some()));
        bound.push(id);
    }

    /// A response to a request of a leg's.
    pub fn response_in(
        &mut self,
        cx: &mut Cx<'_>,
        client: ClientId,
        owner: u32,
        message: &Message,
        ready: &Ready<'_>,
    ) {
        self.with_owner(cx, owner, |leg, cx, desk| {
            if *leg.call_id != *ready.call_id {
                return;
            }
            cx.counters.response(Dir::In, message.method(), message.status(), leg.trunk);
            if matches!(&leg.state, State::Calling(calling) if calling.client == Some(client)) {
                leg.invite_response(cx, desk, message);
            } else if let Some(at) = leg.request_of(client) {
                leg.response_inside(at, cx, desk, message);
            } else if message.method() == Method::Invite && (200..300).contains(&message.status()) {
                leg.late_answer(cx, desk, message, ready.cseq.number);
            }
        });
    }

    /// A 2xx to an INVITE that a leg has sent from another shard: whether there is such a leg.
    /// With `proven`, one from another fork too, which is ended (C-131).
    pub fn answered_again(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        proven: bool,
    ) -> bool {
        let (Some(ours), Some(theirs)) = (ready.from_tag, ready.to_tag) else { return false };
        let Some(id) = self.leg_with(ours, ready.call_id) else { return false };
        let mut known = false;
        self.with(cx, id, |leg, cx, desk| {
            known = proven || leg.has_dialog_with(theirs);
            if known {
                leg.late_answer(cx, desk, message, ready.cseq.number);
            }
        });
        known
    }

    /// A request of a leg's was not answered in time.
    pub fn timed_out(&mut self, cx: &mut Cx<'_>, client: ClientId, owner: u32) {
        self.failed(cx, client, owner, Failure::NoResponse);
    }

    /// A request of a leg's could not be sent.
    pub fn unsendable(&mut self, cx: &mut Cx<'_>, client: ClientId, owner: u32) {
        self.failed(cx, client, owner, Failure::Transport);
    }

    /// A client transaction of a leg's is over. Nothing hangs on it: what a leg keeps has its own time.
    pub fn client_ended(&mut self, _owner: u32) {}

    /// A server transaction of a leg's is over.
    pub fn server_ended(&mut self, _owner: u32) {}

    /// A timer with [`OWNED_TIMER`] and layer 0 fired.
    pub fn timer(&mut self, cx: &mut Cx<'_>, key: u64) {
        let slot = (key >> 24) as u32;
        let generation = (key & 0xff_ffff) as u32;
        let found = self.table.get(slot).map(|leg| leg.id);
        if let Some(id) = found.filter(|id| id.generation & 0xff_ffff == generation) {
            self.with(cx, id, |leg, cx, desk| leg.timer(cx, desk));
        }
    }

    /// DNS has answered something.
    pub fn resolved(&mut self, cx: &mut Cx<'_>) {
        for id in std::mem::take(&mut self.desk.resolving) {
            self.with(cx, id, |leg, cx, desk| {
                leg.resolving = false;
                leg.advance(cx, desk);
            });
        }
    }

    fn failed(&mut self, cx: &mut Cx<'_>, client: ClientId, owner: u32, failure: Failure) {
        self.with_owner(cx, owner, |leg, cx, desk| {
            if matches!(&leg.state, State::Calling(calling) if calling.client == Some(client)) {
                leg.invite_failed(cx, desk, client, failure);
            } else if let Some(at) = leg.request_of(client) {
                let status = if failure == Failure::Transport { 503 } else { 408 };
                leg.request_failed(at, cx, desk, status);
            }
        });
    }

    /// No room for a transaction: answered without one (C-213).
    fn refuse_statelessly(
        &mut self,
        cx: &mut Cx<'_>,
        id: LegId,
        message: &Message,
        reply: &Flow,
        source: SocketAddr,
    ) {
        let Some(leg) = self.table.get(id.slot) else { return };
        let after = cx.plan.routing.retry_after.max(1).to_string().into_bytes();
        let own = [("Retry-After", after)];
        let none = Headers::new();
        let bytes =
            write::response(leg, &mut self.desk, message, source, leg.tag, 503, "", &none, &own, None);
        cx.out.push(Output::Send { to: (*reply).into(), bytes, tag: SendTag::NONE });
    }
}
