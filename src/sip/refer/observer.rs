//! The REFERs under way through this shard, followed by watching what the proxy forwards.
//!
//! The shard tells what crossed: a REFER forwarded and how it was answered, NOTIFYs, the BYE. What
//! became of each REFER leaves as snapshots of the whole Refer, the first one once the fate of the
//! REFER itself is known, the last one with the result. The table is bounded: past its capacity a
//! REFER is relayed unobserved ([`Observer::refer_sent`] answers `None`, for a counter).
//!
//! Each Refer has one deadline at a time. The observer asks for a call of [`Observer::expire`] with
//! [`ReferEffect::Timer`]; a deadline that moves later lets the timer fire and asks again, so timers
//! need no cancelling, and a spurious call does nothing.

mod entry;

use self::entry::Refer;
use super::facts::{Dialog, Fate, NotifyFacts, ReferFacts};
use super::outcome::progress;
use super::returning::Returns;
use super::rule::ReferRule;
use super::state::{Event, State};
use super::waits::Waits;
use crate::sip::event::{CallSid, ReferReason, ReferRole, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::plan::TrunkIx;
use crate::sip::proxy::token::TokenKey;
use crate::sip::time::Time;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

/// Refers of one call that are watched at once; more in one call are relayed unobserved.
const PER_CALL: usize = 16;

/// One Refer in the table; names nothing once that Refer is forgotten or its REFER was repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReferHandle(u64);

impl ReferHandle {
    fn new(slot: usize, generation: u32) -> ReferHandle {
        // A slab of more than 2^32 entries cannot come to be: the capacity forbids it.
        ReferHandle(((generation as u64) << 32) | (slot as u64 & 0xffff_ffff))
    }

    fn slot(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The handle as a number, for the key of a timer.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The handle behind a number; any number is safe.
    pub const fn from_bits(bits: u64) -> ReferHandle {
        ReferHandle(bits)
    }
}

/// What the observer wants done.
#[derive(Clone, Debug)]
pub enum ReferEffect {
    /// Tell the control plane; for the counters, the trunk that the REFER came by.
    Emit(Box<ReferSnapshot>, Option<TrunkIx>),
    /// One of that trunk's begins (1), or has its result (-1).
    Active(Option<TrunkIx>, i64),
    /// Call [`Observer::expire`] with this handle at this time.
    Timer {
        /// The Refer.
        refer: ReferHandle,
        /// When.
        at: Time,
    },
}

/// The bounded table of Refers, owned by a shard.
#[derive(Debug)]
pub struct Observer {
    refers: Slab<Refer>,
    /// The Refers of a call, in the order in which they were sent.
    calls: HashMap<CallSid, SmallVec<[usize; 2]>>,
    capacity: usize,
    waits: Waits,
    generation: u32,
    /// Targets that lead back here.
    pub returns: Returns,
}

impl Observer {
    /// An empty table for at most `capacity` Refers.
    pub fn new(capacity: usize, waits: Waits) -> Observer {
        Observer {
            refers: Slab::new(),
            calls: HashMap::new(),
            capacity: capacity.min(u32::MAX as usize),
            waits,
            generation: 0,
            returns: Returns::default(),
        }
    }

    /// Other bounds and waits, from a new configuration; what is in the table stays.
    pub fn configure(&mut self, capacity: usize, waits: Waits) {
        self.capacity = capacity.min(u32::MAX as usize);
        self.waits = waits;
        self.returns.configure(capacity);
    }

    /// The same, with a key for targets that lead back here.
    pub fn returning(mut self, key: &TokenKey) -> Observer {
        self.returns = Returns::new(key, self.waits.outcome, self.capacity);
        self
    }

    /// The Refer behind a handle.
    pub fn sid_of(&self, handle: ReferHandle) -> Option<ReferSid> {
        let refer = self.refers.get(handle.slot())?;
        (refer.handle(handle.slot()) == handle).then_some(refer.sid)
    }

    /// Refers in the table, finished ones that linger included.
    pub fn len(&self) -> usize {
        self.refers.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.refers.is_empty()
    }

    /// An in-dialog REFER was forwarded. A repetition of a challenged one is the same Refer under a
    /// new handle. `None` when it cannot be observed: the table, or the call's share of it, is full.
    pub fn refer_sent(
        &mut self,
        now: Time,
        facts: ReferFacts,
        fx: &mut Vec<ReferEffect>,
    ) -> Option<ReferHandle> {
        let generation = self.next_generation();
        if let Some(slot) = self.challenged(&facts) {
            let refer = self.refers.get_mut(slot)?;
            refer.repeat(now, &self.waits, facts.cseq, generation);
            refer.arm(slot, fx);
            return Some(refer.handle(slot));
        }
        if !self.make_room(facts.dialog.call) {
            return None;
        }
        let mut refer = Refer::new(now, &self.waits, facts, generation);
        let entry = self.refers.vacant_entry();
        let slot = entry.key();
        refer.arm(slot, fx);
        let handle = refer.handle(slot);
        fx.push(ReferEffect::Active(refer.trunk, 1));
        self.calls.entry(refer.dialog.call).or_default().push(slot);
        entry.insert(refer);
        Some(handle)
    }

    /// A REFER was refused here, by policy, and never forwarded: its only snapshot.
    pub fn refer_denied(
        &mut self,
        now: Time,
        facts: ReferFacts,
        (code, rule): (u16, ReferRule),
        fx: &mut Vec<ReferEffect>,
    ) {
        let trunk = facts.trunk;
        let snapshot = Box::new(ReferSnapshot {
            sid: facts.sid,
            call: facts.dialog.call,
            account: facts.account,
            role: ReferRole::Relay,
            created: now,
            at: now,
            seq: 0,
            from: facts.from,
            to: facts.to,
            refer_code: Some(code),
            notify_code: None,
            status: ReferStatus::Failed,
            reason: Some(ReferReason::Policy),
            rule: Some(rule),
            moved: None,
            target: None,
        });
        fx.push(ReferEffect::Emit(snapshot, trunk));
    }

    /// The Refer whose REFER had this CSeq in this dialog, seen from the referrer.
    pub fn find(&self, dialog: &Dialog, cseq: u32) -> Option<ReferHandle> {
        self.in_dialog(*dialog).find(|(_, refer)| refer.cseq == cseq).map(|(slot, refer)| refer.handle(slot))
    }

    /// The fate of a REFER became known: its final response, or that there will be none.
    pub fn refer_answered(&mut self, now: Time, handle: ReferHandle, fate: Fate, fx: &mut Vec<ReferEffect>) {
        let Some(refer) = self.entry(handle) else { return };
        let (code, event) = match fate {
            Fate::Response(code) => (code, Event::Answered(code)),
            Fate::Timeout => (408, Event::Unanswered),
            Fate::TransportFailure => (503, Event::Unanswered),
        };
        // provisional answers say nothing; and a fate is known once.
        if code < 200 || refer.refer_code.is_some() {
            return;
        }
        refer.refer_code = Some(code);
        self.feed(now, handle.slot(), event, fx);
    }

    /// A NOTIFY of the refer package crossed, in a dialog seen from its sender.
    pub fn notified(&mut self, now: Time, dialog: &Dialog, facts: &NotifyFacts, fx: &mut Vec<ReferEffect>) {
        let Some(slot) = self.notified_refer(dialog.reversed(), facts.id) else { return };
        let waits = self.waits;
        let Some(refer) = self.refers.get_mut(slot) else { return };
        if !refer.state.is_active() {
            return; // late, or of an attempt that was refused
        }
        let code = facts.code.filter(|code| progress(*code).is_some());
        if let Some(code) = code {
            refer.notify_code = Some(code);
            refer.apply(now, &waits, Event::Reported(code));
        }
        if facts.code.is_none() && !facts.terminated {
            // RFC 6665 §4.1.2.4: one without a body is the first, too.
            refer.apply(now, &waits, Event::Notified);
        }
        if facts.terminated {
            refer.apply(now, &waits, Event::SubscriptionEnded);
        } else if let Some(expires) = facts.expires {
            refer.subscription_lasts(now, expires);
        }
        self.tell(now, slot, fx);
    }

    /// A BYE crossed, in a dialog seen from either side.
    pub fn call_ended(&mut self, now: Time, dialog: &Dialog, fx: &mut Vec<ReferEffect>) {
        let slots = self.calls.get(&dialog.call).cloned().unwrap_or_default();
        for slot in slots {
            let Some(refer) = self.refers.get_mut(slot) else { continue };
            if refer.dialog == *dialog || refer.dialog == dialog.reversed() {
                refer.call_over = true;
                self.feed(now, slot, Event::CallEnded, fx);
            }
        }
    }

    /// A timer fired that [`ReferEffect::Timer`] asked for.
    pub fn expire(&mut self, now: Time, handle: ReferHandle, fx: &mut Vec<ReferEffect>) {
        let slot = handle.slot();
        let Some(refer) = self.entry(handle) else { return };
        if now < refer.armed {
            return;
        }
        refer.armed = Time::ZERO;
        if now < refer.deadline {
            refer.arm(slot, fx);
            return;
        }
        match refer.state {
            State::Over(_) if refer.refer_code.is_some() => self.forget(slot),
            State::Over(_) | State::Requested => {
                // Nobody told the REFER's fate in all this time, so there was no answer.
                refer.refer_code = Some(408);
                self.feed(now, slot, Event::Unanswered, fx);
            }
            State::Pending
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ringing
            | State::Bridging
            | State::Ending => {
                self.feed(now, slot, Event::Deadline, fx);
            }
        }
    }

    /// Baton stops: what is in progress ends as unknown, and the table is empty.
    pub fn close(&mut self, now: Time, fx: &mut Vec<ReferEffect>) {
        let slots: Vec<usize> = self.refers.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(refer) = self.refers.get_mut(slot) else { continue };
            if !refer.is_done() {
                fx.push(ReferEffect::Active(refer.trunk, -1));
            }
            refer.apply(now, &self.waits, Event::Abandoned);
            let trunk = refer.trunk;
            fx.extend(refer.snapshot(now).map(|snapshot| ReferEffect::Emit(snapshot, trunk)));
        }
        self.refers.clear();
        self.calls.clear();
    }

    /// by `id`, and without one the only active Refer of the dialog, else the first sent on it.
    fn notified_refer(&self, dialog: Dialog, id: Option<u32>) -> Option<usize> {
        if let Some(id) = id {
            // the CSeq of the attempt that was accepted; `refer_sent` keeps the last one.
            return self.in_dialog(dialog).find(|(_, r)| r.cseq == id).map(|(slot, _)| slot);
        }
        let mut active = self.in_dialog(dialog).filter(|(_, r)| r.state.is_active());
        match (active.next(), active.next()) {
            (Some((only, _)), None) => Some(only),
            (Some(_), Some(_)) | (None, _) => self.in_dialog(dialog).next().map(|(slot, _)| slot),
        }
    }

    /// The challenged Refer that a REFER repeats: same sender, same target, a later CSeq.
    fn challenged(&self, facts: &ReferFacts) -> Option<usize> {
        self.in_dialog(facts.dialog)
            .find(|(_, r)| r.state == State::Challenged && r.cseq < facts.cseq && r.to == facts.to)
            .map(|(slot, _)| slot)
    }

    /// The Refers sent in a dialog, seen from the referrer, oldest first.
    fn in_dialog(&self, dialog: Dialog) -> impl Iterator<Item = (usize, &Refer)> {
        let slots = self.calls.get(&dialog.call).map(SmallVec::as_slice).unwrap_or_default();
        slots
            .iter()
            .filter_map(|&slot| Some((slot, self.refers.get(slot)?)))
            .filter(move |(_, refer)| refer.dialog == dialog)
    }

    fn entry(&mut self, handle: ReferHandle) -> Option<&mut Refer> {
        self.refers.get_mut(handle.slot()).filter(|r| r.generation == handle.generation())
    }

    /// Whether there is room for one more Refer of a call; a finished one of the same call gives way.
    fn make_room(&mut self, call: CallSid) -> bool {
        let slots = self.calls.get(&call).map(SmallVec::as_slice).unwrap_or_default();
        if slots.len() >= PER_CALL {
            let over = |slot: &usize| self.refers.get(*slot).is_some_and(Refer::is_done);
            let Some(slot) = slots.iter().copied().find(over) else { return false };
            self.forget(slot);
        }
        self.refers.len() < self.capacity
    }

    fn forget(&mut self, slot: usize) {
        let Some(refer) = self.refers.try_remove(slot) else { return };
        if let Some(slots) = self.calls.get_mut(&refer.dialog.call) {
            slots.retain(|s| *s != slot);
            if slots.is_empty() {
                self.calls.remove(&refer.dialog.call);
            }
        }
    }

    fn next_generation(&mut self) -> u32 {
        // 30 bits: the shard's wheel tells its users apart by the two top bits of a timer's key.
        self.generation = self.generation.wrapping_add(1) & 0x3fff_ffff;
        self.generation
    }

    fn feed(&mut self, now: Time, slot: usize, event: Event, fx: &mut Vec<ReferEffect>) {
        let waits = self.waits;
        if let Some(refer) = self.refers.get_mut(slot) {
            refer.apply(now, &waits, event);
        }
        self.tell(now, slot, fx);
    }

    /// Emits what changed, and asks for the timer the Refer needs now.
    fn tell(&mut self, now: Time, slot: usize, fx: &mut Vec<ReferEffect>) {
        let linger = self.waits.linger;
        let Some(refer) = self.refers.get_mut(slot) else { return };
        if let Some(snapshot) = refer.snapshot(now) {
            if snapshot.status != ReferStatus::InProgress {
                refer.deadline = now + linger;
                fx.push(ReferEffect::Active(refer.trunk, -1));
            }
            fx.push(ReferEffect::Emit(snapshot, refer.trunk));
        }
        refer.arm(slot, fx);
    }
}

#[cfg(test)]
mod tests;
