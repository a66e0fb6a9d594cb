//! The client half of the table: requests that were sent, and who waits for the answer.

use super::action::{Action, Actions};
use super::{Alarm, ClientId, Effect, Effects, NONE, Reset, TimerKey, Transactions};
use super::{branch, client, invite_client, tag_of};
use crate::sip::flow::Destination;
use crate::sip::message::{Limits, Message, Method, Ready, write};
use crate::sip::time::Time;
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::SocketAddr;

/// One client transaction.
#[derive(Debug)]
pub(super) struct Client {
    /// What a response must know besides the slot.
    secret: u64,
    alarm: Alarm,
    generation: u32,
    owner: u32,
    /// What it holds in the other pool; [`NONE`] once nothing can be sent any more.
    outgoing: u32,
    /// Of an INVITE: the slot of its CANCEL; of a CANCEL: that of its INVITE; else [`NONE`].
    partner: u32,
    machine: Machine,
    method: Method,
    reliable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    /// It has a branch and nothing else yet.
    Reserved,
    Invite(invite_client::State),
    Other(client::State),
}

/// What a client holds while it may have to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    client: u32,
    to: Destination,
    /// The request; once a non-2xx final came, the ACK.
    bytes: Bytes,
    /// The Reason of a CANCEL that waits (C-106).
    reason: Option<&'static str>,
}

impl Transactions {
    /// Makes room for a request to be sent. `secret` are 64 unpredictable bits.
    ///
    /// Refused a quarter beyond the table's capacity, so that requests which were let in can also
    /// be sent on.
    pub fn reserve_client(&mut self, secret: u64) -> Option<ClientId> {
        if self.len() >= self.capacity.saturating_add(self.capacity / 4) {
            return None;
        }
        Some(self.add_client(secret))
    }

    /// Appends the branch for a reserved client's request, with a suffix of the user's: tokens only,
    /// as it goes into Via (RFC 5393 §4.2.1 puts loop detection there).
    pub fn write_branch(&self, id: ClientId, suffix: &[u8], out: &mut Vec<u8>) {
        if let Some(client) = self.client(id) {
            branch::write(id.slot, client.secret, suffix, out);
        }
    }

    /// Sends a request through a client that was reserved; its top Via carries that client's branch.
    pub fn start_client(
        &mut self,
        now: Time,
        id: ClientId,
        method: Method,
        request: Bytes,
        to: Destination,
        owner: u32,
        fx: &mut Effects,
    ) {
        self.now = now;
        let reserved = |client: &&Client| client.machine == Machine::Reserved;
        if self.client(id).filter(reserved).is_none() {
            return;
        }
        self.start(id.slot, method, request, to, owner, fx);
    }

    /// What the user knows the transaction by that a response is for; nothing is changed.
    pub fn response_owner(&self, ready: &Ready<'_>) -> Option<u32> {
        let (slot, secret) = branch::read(ready.via.branch?)?;
        self.clients.get(slot).filter(|client| client.secret == secret).map(|client| client.owner)
    }

    /// Takes a response; answers whose it is, unless it is a stray, a repetition or not the user's
    /// (C-071, C-072, C-074).
    pub fn receive_response(
        &mut self,
        now: Time,
        message: &Message,
        ready: &Ready<'_>,
        fx: &mut Effects,
    ) -> Option<(ClientId, u32)> {
        self.now = now;
        let (slot, secret) = branch::read(ready.via.branch?)?;
        let mut slot = slot;
        let mut client = self.clients.get(slot).filter(|client| client.secret == secret)?;
        if ready.cseq.method == Method::Cancel && client.method == Method::Invite {
            // §9.1: a CANCEL has its INVITE's branch.
            slot = client.partner;
            client = self.clients.get(slot)?;
        }
        if client.method != ready.cseq.method {
            return None;
        }
        let (id, owner) = (ClientId { slot, generation: client.generation }, client.owner);
        let mut actions = Actions::default();
        let status = message.status();
        let next = match client.machine {
            Machine::Reserved => return None,
            Machine::Invite(state) => {
                let event = match status {
                    ..200 => invite_client::Event::Provisional,
                    200..300 => invite_client::Event::Success,
                    300.. => invite_client::Event::Failure,
                };
                Machine::Invite(invite_client::step(state, event, client.reliable, &mut actions))
            }
            Machine::Other(state) => {
                let event = match status {
                    ..200 => client::Event::Provisional,
                    200.. => client::Event::Final,
                };
                Machine::Other(client::step(state, event, client.reliable, &mut actions))
            }
        };
        let passed = actions.contains(Action::Pass);
        if !passed && status >= 200 {
            self.repeats.responses_in += 1;
        }
        let own_cancel = client.method == Method::Cancel && client.partner != NONE;
        self.step_client(slot, next, &actions, Some(message), fx);
        (passed && !own_cancel).then_some((id, owner))
    }

    /// Cancels an INVITE: at once if a provisional came, as soon as one comes if none did, not at all
    /// after a final (C-084 to C-086). Other methods cannot be cancelled.
    pub fn cancel_client(&mut self, now: Time, id: ClientId, reason: Option<&'static str>, fx: &mut Effects) {
        self.now = now;
        let Some(client) = self.client(id) else { return };
        let Machine::Invite(state) = client.machine else { return };
        let (outgoing, reliable) = (client.outgoing, client.reliable);
        let mut actions = Actions::default();
        let next = invite_client::step(state, invite_client::Event::Cancel, reliable, &mut actions);
        if let Some(outgoing) = self.outgoing.get_mut(outgoing) {
            outgoing.reason = outgoing.reason.or(reason);
        }
        self.step_client(id.slot, Machine::Invite(next), &actions, None, fx);
    }

    /// The user wants to hear no more of a transaction; one that was only reserved is freed, others
    /// end in their time.
    pub fn forget_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id.slot) else { return };
        if client.generation != id.generation {
            return;
        }
        if client.machine == Machine::Reserved {
            self.clients.remove(id.slot);
        } else {
            client.owner = NONE;
        }
    }

    /// Datagrams to an address come back undelivered: requests sent there and not answered yet have
    /// failed (C-065).
    pub fn unreachable(&mut self, now: Time, remote: SocketAddr, fx: &mut Effects) {
        self.now = now;
        let there =
            |outgoing: &Outgoing| outgoing.to.remote == remote && !outgoing.to.transport.is_reliable();
        let slots: SmallVec<[u32; 16]> = self
            .outgoing
            .iter()
            .filter(|(_, outgoing)| there(outgoing))
            .map(|(_, outgoing)| outgoing.client)
            .collect();
        for slot in slots {
            let unanswered = self.clients.get(slot).filter(|client| client.machine.is_unanswered());
            if let Some(generation) = unanswered.map(|client| client.generation) {
                self.client_unsent(ClientId { slot, generation }, fx);
            }
        }
    }

    pub(super) fn is_unanswered(&self, id: ClientId) -> bool {
        self.client(id).is_some_and(|client| client.machine.is_unanswered())
    }

    pub(super) fn client_unsent(&mut self, id: ClientId, fx: &mut Effects) {
        let Some(client) = self.client(id) else { return };
        let mut actions = Actions::default();
        let next = match client.machine {
            Machine::Reserved => return,
            Machine::Invite(state) => {
                let event = invite_client::Event::SendFailed;
                Machine::Invite(invite_client::step(state, event, client.reliable, &mut actions))
            }
            Machine::Other(state) => {
                let event = client::Event::SendFailed;
                Machine::Other(client::step(state, event, client.reliable, &mut actions))
            }
        };
        self.step_client(id.slot, next, &actions, None, fx);
    }

    pub(super) fn client_timer(&mut self, slot: u32, fx: &mut Effects) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let end = client.alarm.fired(now);
        let mut actions = Actions::default();
        let next = match client.machine {
            Machine::Reserved => return,
            Machine::Invite(state) => {
                let event = if end { state.ending() } else { state.repeating() };
                Machine::Invite(
                    event.map_or(state, |event| {
                        invite_client::step(state, event, client.reliable, &mut actions)
                    }),
                )
            }
            Machine::Other(state) => {
                let event = if end { state.ending() } else { state.repeating() };
                Machine::Other(
                    event.map_or(state, |event| client::step(state, event, client.reliable, &mut actions)),
                )
            }
        };
        self.step_client(slot, next, &actions, None, fx);
    }

    fn client(&self, id: ClientId) -> Option<&Client> {
        // Tags carry 31 bits of the generation.
        let same = |client: &&Client| (client.generation ^ id.generation) & 0x7fff_ffff == 0;
        self.clients.get(id.slot).filter(same)
    }

    fn add_client(&mut self, secret: u64) -> ClientId {
        let generation = self.next_generation();
        let slot = self.clients.insert(Client {
            secret,
            alarm: Alarm::NONE,
            generation,
            owner: NONE,
            outgoing: NONE,
            partner: NONE,
            machine: Machine::Reserved,
            method: Method::Other,
            reliable: false,
        });
        ClientId { slot, generation }
    }

    fn start(
        &mut self,
        slot: u32,
        method: Method,
        bytes: Bytes,
        to: Destination,
        owner: u32,
        fx: &mut Effects,
    ) {
        let reliable = to.transport.is_reliable();
        let outgoing = self.outgoing.insert(Outgoing { client: slot, to, bytes, reason: None });
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.method = method;
        client.reliable = reliable;
        client.owner = owner;
        client.outgoing = outgoing;
        let mut actions = Actions::default();
        let machine = if method == Method::Invite {
            self.active.invite_clients += 1;
            Machine::Invite(invite_client::State::start(reliable, &mut actions))
        } else {
            self.active.clients += 1;
            Machine::Other(client::State::start(reliable, &mut actions))
        };
        self.step_client(slot, machine, &actions, None, fx);
    }

    fn step_client(
        &mut self,
        slot: u32,
        next: Machine,
        actions: &Actions,
        response: Option<&Message>,
        fx: &mut Effects,
    ) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.machine = next;
        let id = ClientId { slot, generation: client.generation };
        let owner = client.owner;
        // Only what was started has an end; its first sending is no repetition.
        let repeated = client.alarm.end != Time::ZERO;
        let mut reset = Reset::default();
        let (mut ended, mut cancel) = (false, false);
        for action in actions.iter() {
            client.alarm.note(&mut reset, action, now, &self.timings, client.reliable);
            match action {
                Action::Send => {
                    if let Some(outgoing) = self.outgoing.get(client.outgoing) {
                        self.repeats.requests_out += u64::from(repeated);
                        outgoing.send(id, fx);
                    }
                }
                Action::Acknowledge => {
                    if let Some(outgoing) = self.outgoing.get_mut(client.outgoing) {
                        outgoing.bytes =
                            response.map_or_else(Bytes::new, |r| acknowledge(&outgoing.bytes, r));
                        outgoing.send(id, fx);
                    }
                }
                Action::Cancel => cancel = true,
                Action::Forget => {
                    self.outgoing.remove(client.outgoing);
                    client.outgoing = NONE;
                }
                Action::TimedOut if owner != NONE => fx.push(Effect::ClientTimedOut { id, owner }),
                Action::Failed if owner != NONE => fx.push(Effect::ClientFailed { id, owner }),
                Action::End => ended = true,
                // Nobody to tell, or the caller or the alarm has seen to it, or it is a server's.
                Action::TimedOut
                | Action::Failed
                | Action::Pass
                | Action::Repeat(..)
                | Action::Until(_)
                | Action::Still
                | Action::Trying
                | Action::Respond
                | Action::Relay => {}
            }
        }
        if ended {
            return self.end_client(slot, fx);
        }
        client.alarm.set(reset, &mut self.wheel, now, TimerKey::Client(slot));
        if cancel {
            self.send_cancel(slot, fx);
        }
    }

    /// The CANCEL of an INVITE: a transaction of its own, which nobody but its INVITE knows (§9.1).
    fn send_cancel(&mut self, invite: u32, fx: &mut Effects) {
        let Some(client) = self.clients.get(invite) else { return };
        let (secret, Some(outgoing)) = (client.secret, self.outgoing.get(client.outgoing)) else {
            return;
        };
        let Ok(message) = Message::parse(outgoing.bytes.clone(), &Limits::default()) else { return };
        let to = outgoing.to.clone();
        let mut out = Vec::with_capacity(512);
        write::cancel(&mut out, &message, outgoing.reason);
        let bytes = Bytes::from(out.into_boxed_slice());
        let slot = self.add_client(secret).slot;
        for (one, other) in [(invite, slot), (slot, invite)] {
            if let Some(client) = self.clients.get_mut(one) {
                client.partner = other;
            }
        }
        self.start(slot, Method::Cancel, bytes, to, NONE, fx);
    }

    fn end_client(&mut self, slot: u32, fx: &mut Effects) {
        let Some(client) = self.clients.remove(slot) else { return };
        self.wheel.cancel(client.alarm.timer);
        self.outgoing.remove(client.outgoing);
        match client.machine {
            Machine::Invite(_) => self.active.invite_clients -= 1,
            Machine::Other(_) => self.active.clients -= 1,
            Machine::Reserved => {}
        }
        if let Some(partner) = self.clients.get_mut(client.partner) {
            partner.partner = NONE;
            if client.method == Method::Invite {
                // Its branch is gone: no answer to the CANCEL can be matched any more.
                self.end_client(client.partner, fx);
            }
        }
        if client.owner != NONE {
            let id = ClientId { slot, generation: client.generation };
            fx.push(Effect::ClientEnded { id, owner: client.owner });
        }
    }
}

/// The ACK to a non-2xx final (C-079).
fn acknowledge(invite: &Bytes, response: &Message) -> Bytes {
    let Ok(invite) = Message::parse(invite.clone(), &Limits::default()) else {
        return Bytes::new();
    };
    let mut out = Vec::with_capacity(512);
    write::ack_non2xx(&mut out, &invite, response);
    Bytes::from(out.into_boxed_slice())
}

impl Machine {
    const fn is_unanswered(self) -> bool {
        matches!(
            self,
            Machine::Invite(invite_client::State::Calling { .. })
                | Machine::Other(client::State::Trying { .. })
        )
    }
}

impl Outgoing {
    fn send(&self, id: ClientId, fx: &mut Effects) {
        if !self.bytes.is_empty() {
            fx.push(Effect::Send { to: self.to.clone(), bytes: self.bytes.clone(), tag: tag_of(id) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lingers_is_small() {
        assert!(size_of::<Option<Client>>() <= 48, "{}", size_of::<Option<Client>>());
        assert!(size_of::<Outgoing>() <= 128, "{}", size_of::<Outgoing>());
    }
}
