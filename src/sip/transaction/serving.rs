//! The server half of the table: requests that came, and what was answered.

use super::action::{Action, Actions};
use super::key::ServerKey;
use super::{Alarm, Effect, Effects, NONE, Received, Reset, ServerId, TimerKey, Transactions};
use super::{invite_server, server};
use crate::shard::SendTag;
use crate::sip::flow::{ConnectionId, Destination, Flow, ListenerId, Transport};
use crate::sip::message::{Limits, Message, Method, Ready, write};
use crate::sip::time::Time;
use bytes::Bytes;
use std::net::SocketAddr;

/// One server transaction.
#[derive(Debug)]
pub(super) struct Server {
    key: ServerKey,
    way: Way,
    machine: Machine,
    /// The last response; before the first one the request, for a 100 (C-076). Empty when there is
    /// nothing to send again.
    held: Bytes,
    alarm: Alarm,
    generation: u32,
    owner: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Invite(invite_server::State),
    Other(server::State),
}

/// A [`Flow`], packed: it is kept as long as the transaction lingers.
#[derive(Clone, Copy, Debug)]
struct Way {
    remote: SocketAddr,
    /// `u64::MAX` for datagrams.
    connection: u64,
    listener: ListenerId,
    transport: Transport,
}

impl Transactions {
    /// Takes a request. `reply` is the path its responses go by (RFC 3261 §18.2.2, RFC 3581 §4).
    ///
    /// New requests are refused when the table has reached its capacity; those inside a dialog and
    /// CANCELs, which end what is there, may go an eighth beyond.
    pub fn receive_request(
        &mut self,
        now: Time,
        message: &Message,
        ready: &Ready<'_>,
        reply: &Flow,
        fx: &mut Effects,
    ) -> Received {
        self.now = now;
        let method = message.method();
        let key = self.keyring.of(message, ready);
        if let Some(slot) = self.find(key) {
            return self.seen_before(slot, method, fx);
        }
        if method == Method::Ack {
            return Received::Ack2xx;
        }
        let ends_something = ready.to_tag.is_some() || method == Method::Cancel;
        let spare = if ends_something { self.capacity / 8 } else { 0 };
        if self.len() >= self.capacity.saturating_add(spare) {
            return Received::Full;
        }
        let mut actions = Actions::default();
        let machine = if method == Method::Invite {
            self.active.invite_servers += 1;
            Machine::Invite(invite_server::State::start(&mut actions))
        } else {
            self.active.servers += 1;
            Machine::Other(server::State::start(&mut actions))
        };
        let generation = self.next_generation();
        let slot = self.servers.insert(Server {
            key,
            way: Way::from(reply),
            machine,
            held: message.bytes().clone(),
            alarm: Alarm::NONE,
            generation,
            owner: NONE,
        });
        let servers = &self.servers;
        self.index
            .insert_unique(key.hash(), slot, |&slot| servers.get(slot).map_or(0, |server| server.key.hash()));
        self.carry_out_server(slot, &actions, None, fx);
        Received::New(ServerId { slot, generation })
    }

    /// The INVITE transaction that a CANCEL is for (C-083).
    pub fn find_invite(&self, cancel: &Ready<'_>) -> Option<ServerId> {
        let slot = self.find(self.keyring.of_invite(cancel))?;
        self.servers.get(slot).map(|server| ServerId { slot, generation: server.generation })
    }

    /// Whether a request was seen before, and its transaction is still there.
    pub fn has_server(&self, message: &Message, ready: &Ready<'_>) -> bool {
        self.find(self.keyring.of(message, ready)).is_some()
    }

    /// Sends the user's response, as far as the state allows it. `bytes` are kept as they are where
    /// they may be sent again, so they should not be a part of something larger.
    pub fn respond(&mut self, now: Time, id: ServerId, status: u16, bytes: Bytes, fx: &mut Effects) {
        self.now = now;
        let Some(machine) = self.server(id).map(|server| server.machine) else { return };
        let mut actions = Actions::default();
        let reliable = self.server(id).is_some_and(|server| server.way.transport.is_reliable());
        let next = match machine {
            Machine::Invite(state) => {
                let event = match status {
                    ..200 => invite_server::Event::Provisional,
                    200..300 => invite_server::Event::Success,
                    300.. => invite_server::Event::Failure,
                };
                Machine::Invite(invite_server::step(state, event, reliable, &mut actions))
            }
            Machine::Other(state) => {
                let event = match status {
                    ..200 => server::Event::Provisional,
                    // C-078
                    408 => server::Event::NoAnswer,
                    200.. => server::Event::Final,
                };
                Machine::Other(server::step(state, event, reliable, &mut actions))
            }
        };
        self.step_server(id.slot, next, &actions, Some(bytes), fx);
    }

    /// The user has no answer for a request and never will: nothing is sent any more (C-078).
    pub fn forget_server(&mut self, id: ServerId, fx: &mut Effects) {
        let Some(server) = self.server(id) else { return };
        let reliable = server.way.transport.is_reliable();
        let mut actions = Actions::default();
        match server.machine {
            Machine::Other(state) => {
                let next = server::step(state, server::Event::NoAnswer, reliable, &mut actions);
                self.step_server(id.slot, Machine::Other(next), &actions, None, fx);
            }
            // An INVITE that is answered has timers of its own; an unanswered one has none.
            Machine::Invite(invite_server::State::Fresh | invite_server::State::Proceeding) => {
                self.end_server(id.slot, fx);
            }
            Machine::Invite(
                invite_server::State::Completed { .. }
                | invite_server::State::Confirmed
                | invite_server::State::Accepted
                | invite_server::State::Terminated,
            ) => {}
        }
    }

    /// The user's last response, while it may have to be sent again.
    pub fn last_response(&self, id: ServerId) -> Option<&Bytes> {
        self.server(id).map(|server| &server.held).filter(|held| held.starts_with(b"SIP/"))
    }

    /// What the user knows a transaction by; it stands in [`Effect::ServerEnded`].
    pub fn set_server_owner(&mut self, id: ServerId, owner: u32) {
        if let Some(server) = self.servers.get_mut(id.slot)
            && server.generation == id.generation
        {
            server.owner = owner;
        }
    }

    /// What the user knows a transaction by; `None` when it has not said.
    pub fn server_owner(&self, id: ServerId) -> Option<u32> {
        self.server(id).map(|server| server.owner).filter(|&owner| owner != NONE)
    }

    fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.slot).filter(|server| server.generation == id.generation)
    }

    fn find(&self, key: ServerKey) -> Option<u32> {
        let same = |&slot: &u32| self.servers.get(slot).is_some_and(|server| server.key == key);
        self.index.find(key.hash(), same).copied()
    }

    /// A request whose transaction is there: repeated, or the ACK of an INVITE.
    fn seen_before(&mut self, slot: u32, method: Method, fx: &mut Effects) -> Received {
        let Some(server) = self.servers.get(slot) else { return Received::Absorbed };
        let reliable = server.way.transport.is_reliable();
        let mut actions = Actions::default();
        let next = match server.machine {
            Machine::Invite(state) => {
                let event = match method {
                    Method::Ack => invite_server::Event::Ack,
                    _ => invite_server::Event::Request,
                };
                Machine::Invite(invite_server::step(state, event, reliable, &mut actions))
            }
            Machine::Other(state) => {
                Machine::Other(server::step(state, server::Event::Request, reliable, &mut actions))
            }
        };
        if method != Method::Ack {
            self.repeats.requests_in += 1;
        }
        let passed = actions.contains(Action::Pass);
        self.step_server(slot, next, &actions, None, fx);
        if passed { Received::Ack2xx } else { Received::Absorbed }
    }

    pub(super) fn server_timer(&mut self, slot: u32, fx: &mut Effects) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(slot) else { return };
        let reliable = server.way.transport.is_reliable();
        let end = server.alarm.fired(now);
        let mut actions = Actions::default();
        let next = match server.machine {
            Machine::Invite(state) => {
                let event = if end { state.ending() } else { state.repeating() };
                Machine::Invite(
                    event.map_or(state, |event| invite_server::step(state, event, reliable, &mut actions)),
                )
            }
            Machine::Other(state) => {
                let event = if end { state.ending() } else { state.repeating() };
                Machine::Other(
                    event.map_or(state, |event| server::step(state, event, reliable, &mut actions)),
                )
            }
        };
        self.step_server(slot, next, &actions, None, fx);
    }

    fn step_server(
        &mut self,
        slot: u32,
        next: Machine,
        actions: &Actions,
        response: Option<Bytes>,
        fx: &mut Effects,
    ) {
        if let Some(server) = self.servers.get_mut(slot) {
            server.machine = next;
        }
        self.carry_out_server(slot, actions, response, fx);
    }

    fn carry_out_server(&mut self, slot: u32, actions: &Actions, response: Option<Bytes>, fx: &mut Effects) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(slot) else { return };
        let reliable = server.way.transport.is_reliable();
        let mut reset = Reset::default();
        let mut ended = false;
        for action in actions.iter() {
            server.alarm.note(&mut reset, action, now, &self.timings, reliable);
            match action {
                Action::Respond | Action::Relay => {
                    if let Some(bytes) = response.clone() {
                        fx.push(server.way.send(bytes));
                    }
                    if action == Action::Respond {
                        server.held = response.clone().unwrap_or_default();
                    }
                }
                Action::Trying => {
                    server.held = trying(&server.held, server.way.remote);
                    if !server.held.is_empty() {
                        fx.push(server.way.send(server.held.clone()));
                    }
                }
                Action::Send if !server.held.is_empty() => {
                    self.repeats.responses_out += 1;
                    fx.push(server.way.send(server.held.clone()));
                }
                Action::Forget => server.held = Bytes::new(),
                Action::End => ended = true,
                // Nothing is held, or the caller or the alarm has seen to it, or it is a client's.
                Action::Send
                | Action::Pass
                | Action::Repeat(..)
                | Action::Until(_)
                | Action::Still
                | Action::Acknowledge
                | Action::Cancel
                | Action::TimedOut
                | Action::Failed => {}
            }
        }
        if ended {
            self.end_server(slot, fx);
        } else {
            server.alarm.set(reset, &mut self.wheel, now, TimerKey::Server(slot));
        }
    }

    fn end_server(&mut self, slot: u32, fx: &mut Effects) {
        let Some(server) = self.servers.remove(slot) else { return };
        self.wheel.cancel(server.alarm.timer);
        if let Ok(entry) = self.index.find_entry(server.key.hash(), |&other| other == slot) {
            entry.remove();
        }
        // Memory follows the load (C-087), with room to breathe.
        let (len, room) = (self.index.len(), self.index.capacity());
        if room > 4_096 && len < room / 8 {
            let servers = &self.servers;
            self.index.shrink_to(room / 4, |&slot| servers.get(slot).map_or(0, |server| server.key.hash()));
        }
        match server.machine {
            Machine::Invite(_) => self.active.invite_servers -= 1,
            Machine::Other(_) => self.active.servers -= 1,
        }
        if server.owner != NONE {
            let id = ServerId { slot, generation: server.generation };
            fx.push(Effect::ServerEnded { id, owner: server.owner });
        }
    }
}

/// A 100 to a request (RFC 3261 §8.2.6.1). `source` is where its responses go, which is what
/// `received` and `rport` would say.
fn trying(request: &Bytes, source: SocketAddr) -> Bytes {
    let Ok(request) = Message::parse(request.clone(), &Limits::default()) else {
        return Bytes::new();
    };
    let mut out = Vec::with_capacity(512);
    write::response(&mut out, &request, Some(source), 100, "", None, &[]);
    Bytes::copy_from_slice(&out)
}

impl From<&Flow> for Way {
    fn from(flow: &Flow) -> Way {
        Way {
            remote: flow.remote,
            connection: flow.connection.map_or(u64::MAX, |connection| connection.0),
            listener: flow.listener,
            transport: flow.transport,
        }
    }
}

impl Way {
    fn send(&self, bytes: Bytes) -> Effect {
        let to = Destination {
            listener: self.listener,
            transport: self.transport,
            remote: self.remote,
            connection: Some(ConnectionId(self.connection)).filter(|_| self.connection != u64::MAX),
            domain: None,
        };
        Effect::Send { to, bytes, tag: SendTag::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lingers_is_small() {
        assert!(size_of::<Option<Server>>() <= 128, "{}", size_of::<Option<Server>>());
    }
}
