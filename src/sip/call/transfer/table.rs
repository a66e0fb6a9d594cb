//! The transfers of a shard: one Refer each, the parties it involves, and its waits.

use super::super::Calls;
use super::super::dial::DialFor;
use super::super::timers::{Timer, TimerKey};
use super::outside::Outside;
use super::relay::Relay;
use super::substitute::Substitute;
use super::transferor::Transferor;
use crate::sip::dialog::{Asked, LegId};
use crate::sip::event::{CallSid, Cause, Event as Told, ReferRole, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::plan::{Plan, TrunkIx};
use crate::sip::proxy::Cx;
use crate::sip::refer::life::{Life, Subject};
use crate::sip::refer::policy::Policy;
use crate::sip::refer::state::Leniency;
use crate::sip::refer::subscriber::Candidate;
use crate::sip::refer::{Outcome, Waits};
use crate::sip::time::Time;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::time::Duration;

/// A transfer of this shard.
pub(in crate::sip::call) type TransferId = u32;

/// The transfers under way, and those that linger.
#[derive(Debug, Default)]
pub(in crate::sip::call) struct Transfers {
    table: HashMap<TransferId, Transfer>,
    /// The transfers of a party, oldest first.
    parties: HashMap<CallSid, SmallVec<[TransferId; 2]>>,
    /// Dialogs of REFERs that came outside the one they are about.
    pub(super) outside: HashMap<LegId, Outside>,
    /// Those REFERs, while they wait for their answer.
    pub(super) asked_outside: HashMap<Asked, LegId>,
    last: TransferId,
}

/// One of them.
#[derive(Debug)]
pub(in crate::sip::call) struct Transfer {
    /// The Refer.
    pub(super) life: Life,
    /// What is particular to its role.
    pub(super) role: Role,
    /// The trunk of the leg that the REFER goes or came on.
    pub(super) trunk: Option<TrunkIx>,
    parties: SmallVec<[CallSid; 4]>,
    timers: SmallVec<[(Kind, TimerKey); 2]>,
    /// For when the life's timer is set.
    armed: Time,
}

/// Who performs it.
#[derive(Debug)]
pub(super) enum Role {
    /// Baton sends REFER.
    Transferor(Box<Transferor>),
    /// Baton calls the target.
    Substitute(Box<Substitute>),
    /// The other party does, told by a REFER of its own.
    Relay(Box<Relay>),
}

/// What a transfer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The deadline of its state.
    Life,
    /// REFER is sent once more.
    Again,
    /// BYE after success.
    Bye,
    /// A NOTIFY that may go now.
    Notify,
    /// A subscription to be refreshed.
    Refresh,
    /// The referrer is ended.
    Release,
    /// What an unfinished exchange holds up.
    Start,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Life, Kind::Again, Kind::Bye, Kind::Notify, Kind::Refresh, Kind::Release, Kind::Start];

    /// The kind behind the number that a timer brings.
    pub(super) fn of(number: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(number)).copied()
    }
}

impl Transfers {
    /// How many there are; zero when all is over.
    pub(in crate::sip::call) fn len(&self) -> usize {
        self.table.len() + self.parties.len() + self.outside.len() + self.asked_outside.len()
    }

    pub(super) fn get(&self, id: TransferId) -> Option<&Transfer> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: TransferId) -> Option<&mut Transfer> {
        self.table.get_mut(&id)
    }

    pub(super) fn role(&self, id: TransferId) -> Option<&Role> {
        self.table.get(&id).map(|transfer| &transfer.role)
    }

    pub(super) fn transferor(&mut self, id: TransferId) -> Option<&mut Transferor> {
        match &mut self.table.get_mut(&id)?.role {
            Role::Transferor(role) => Some(role),
            Role::Substitute(_) | Role::Relay(_) => None,
        }
    }

    pub(super) fn substitute(&mut self, id: TransferId) -> Option<&mut Substitute> {
        match &mut self.table.get_mut(&id)?.role {
            Role::Substitute(role) => Some(role),
            Role::Transferor(_) | Role::Relay(_) => None,
        }
    }

    pub(super) fn relay(&mut self, id: TransferId) -> Option<&mut Relay> {
        match &mut self.table.get_mut(&id)?.role {
            Role::Relay(role) => Some(role),
            Role::Transferor(_) | Role::Substitute(_) => None,
        }
    }

    /// The transfers of a party, oldest first.
    pub(super) fn of(&self, party: CallSid) -> SmallVec<[TransferId; 2]> {
        self.parties.get(&party).cloned().unwrap_or_default()
    }

    /// Whether a party takes part in one that has no result yet.
    pub(in crate::sip::call) fn active(&self, party: CallSid) -> bool {
        self.of(party).iter().any(|id| self.table.get(id).is_some_and(|t| !t.life.is_over()))
    }

    /// The Refer with this identifier.
    pub(super) fn find(&self, refer: ReferSid) -> Option<TransferId> {
        self.table.iter().find(|(_, t)| t.life.subject.sid == refer).map(|(id, _)| *id)
    }

    /// The Refers about which a party may notify, oldest first.
    pub(super) fn subscribed(&self, party: CallSid) -> Vec<(TransferId, Candidate)> {
        let mut found = Vec::new();
        for id in self.of(party) {
            let Some(transfer) = self.table.get(&id) else { continue };
            let (cseq, earlier) = match &transfer.role {
                Role::Transferor(role) if role.at == party => {
                    (role.subscriber.cseq(), role.subscriber.earlier())
                }
                Role::Relay(role) if role.far == party => (role.far_cseq, &[][..]),
                Role::Transferor(_) | Role::Relay(_) | Role::Substitute(_) => continue,
            };
            found.push((id, Candidate { cseq, active: !transfer.life.is_over(), past: false }));
            let past = |cseq: &u32| (id, Candidate { cseq: Some(*cseq), active: false, past: true });
            found.extend(earlier.iter().map(past));
        }
        found
    }

    /// Whether something is still to be done about a party, though its transfer may have its result: a
    /// referrer to be released, a BYE to be sent.
    pub(in crate::sip::call) fn busy_with(&self, party: CallSid) -> bool {
        self.of(party).iter().any(|id| {
            let timers = self.table.get(id).map(|transfer| &transfer.timers);
            timers.is_some_and(|timers| timers.iter().any(|(kind, _)| *kind != Kind::Life))
        })
    }

    /// Whether something is still to be done about a transfer, though it has its result: the result to be told,
    /// or somebody to be ended.
    pub(super) fn is_unfinished(&self, id: TransferId) -> bool {
        let Some(transfer) = self.table.get(&id) else { return false };
        let told = match &transfer.role {
            Role::Substitute(role) => role.notifier.is_over(),
            Role::Transferor(_) | Role::Relay(_) => true,
        };
        !told || transfer.timers.iter().any(|(kind, _)| *kind != Kind::Life)
    }

    /// The finished ones that began on these legs leave with them, for what may still be said about them.
    /// One that has a dialog of its own stays where that is.
    fn take_finished(&mut self, calls: &[CallSid]) -> Vec<Transfer> {
        let goes = |transfer: &Transfer| {
            let outside = matches!(&transfer.role, Role::Substitute(role) if role.outside.is_some());
            transfer.life.is_over() && !outside && calls.contains(&transfer.life.subject.call)
        };
        let ids: Vec<TransferId> = calls.iter().flat_map(|sid| self.of(*sid)).collect();
        let mut taken = Vec::new();
        for id in ids {
            if self.table.get(&id).is_some_and(goes)
                && let Some(transfer) = self.table.remove(&id)
            {
                self.unlist(id, &transfer.parties);
                taken.push(transfer);
            }
        }
        taken
    }

    fn unlist(&mut self, id: TransferId, parties: &[CallSid]) {
        for sid in parties {
            if let Some(ids) = self.parties.get_mut(sid) {
                ids.retain(|known| *known != id);
                if ids.is_empty() {
                    self.parties.remove(sid);
                }
            }
        }
    }

    /// A timer has fired: it runs no more.
    pub(super) fn fired(&mut self, id: TransferId, kind: Kind) {
        if let Some(transfer) = self.table.get_mut(&id) {
            transfer.timers.retain(|(running, _)| *running != kind);
            if kind == Kind::Life {
                transfer.armed = Time::ZERO;
            }
        }
    }
}

impl Calls {
    /// Room for one more.
    pub(super) fn transfers_full(&self, plan: &Plan) -> bool {
        self.transfers.table.len() >= plan.capacity.refers
    }

    /// A new transfer.
    pub(super) fn begin_transfer(
        &mut self,
        cx: &mut Cx<'_>,
        subject: Subject,
        trunk: Option<TrunkIx>,
        role: Role,
    ) -> TransferId {
        let policy = policy_of(cx.plan, trunk);
        let lenient = match subject.role {
            ReferRole::Transferor => {
                Leniency { bye: policy.bye_is_success, silence: policy.silence_is_success }
            }
            ReferRole::Relay | ReferRole::Substitute => Leniency::default(),
        };
        let waits = Waits::from_t1(cx.plan.timings.t1).ringing(cx.plan.calls.ring_time);
        let who = subject.role;
        let at = subject.call;
        self.transfers.last = self.transfers.last.wrapping_add(1);
        let id = self.transfers.last;
        let life = Life::new(cx.now, subject, lenient, waits);
        let transfer = Transfer {
            life,
            role,
            trunk,
            parties: SmallVec::new(),
            timers: SmallVec::new(),
            armed: Time::ZERO,
        };
        self.transfers.table.insert(id, transfer);
        cx.counters.refer_active(trunk, who, 1);
        self.involve(id, at);
        self.arm(cx, id);
        id
    }

    /// The transfer for which others are being called in the name of a party.
    pub(in crate::sip::call) fn dialled_by_transfer(&self, parent: CallSid) -> Option<Cause> {
        let DialFor::Transfer(id) = self.dials.get(&parent)?.why else { return None };
        let subject = &self.transfers.get(id)?.life.subject;
        Some(Cause { refer: subject.sid, call: subject.call })
    }

    /// Whether a party takes part in a transfer.
    pub(in crate::sip::call) fn takes_part(&self, sid: CallSid, id: TransferId) -> bool {
        self.transfers.of(sid).contains(&id)
    }

    /// A party takes part in a transfer.
    pub(super) fn involve(&mut self, id: TransferId, sid: CallSid) {
        let Some(transfer) = self.transfers.table.get_mut(&id) else { return };
        if transfer.parties.contains(&sid) {
            return;
        }
        transfer.parties.push(sid);
        self.transfers.parties.entry(sid).or_default().push(id);
        if let Some(party) = self.party_mut(sid) {
            party.transfer = Some(id);
        }
    }

    /// What is known of a Refer beside how it goes: told with what happens to it next.
    pub(super) fn tie(&mut self, id: TransferId, note: impl FnOnce(&mut Subject)) {
        if let Some(transfer) = self.transfers.get_mut(id) {
            note(&mut transfer.life.subject);
        }
    }

    /// Something happened to a Refer: told, timed, and, with a result, acted upon.
    pub(super) fn live(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        step: impl FnOnce(&mut Life, Time) -> Option<Box<ReferSnapshot>>,
    ) {
        let now = cx.now;
        let Some(transfer) = self.transfers.table.get_mut(&id) else { return };
        let before = transfer.life.is_over();
        let snapshot = step(&mut transfer.life, now);
        let outcome = transfer.life.outcome().filter(|_| !before);
        if let Some(snapshot) = snapshot {
            self.tell(cx, Told::Refer(snapshot));
        }
        self.arm(cx, id);
        if let Some(outcome) = outcome {
            self.has_result(cx, id, outcome);
        }
    }

    /// A Refer has its result.
    fn has_result(&mut self, cx: &mut Cx<'_>, id: TransferId, outcome: Outcome) {
        let Some(transfer) = self.transfers.table.get(&id) else { return };
        let (role, trunk) = (transfer.life.subject.role, transfer.trunk);
        let took = cx.now.since(transfer.life.created());
        cx.counters.refer_active(trunk, role, -1);
        cx.counters.refer(trunk, role, outcome.status, outcome.reason);
        cx.counters.refer_seconds(role, outcome.status, took);
        let parties = transfer.parties.clone();
        for &sid in &parties {
            if let Some(party) = self.party_mut(sid).filter(|party| party.transfer == Some(id)) {
                party.transfer = None;
            }
        }
        let success = outcome.status == ReferStatus::Completed;
        match self.transfers.role(id) {
            Some(Role::Transferor(_)) => self.transferor_done(cx, id, success),
            Some(Role::Substitute(_)) => self.substitute_done(cx, id, success),
            Some(Role::Relay(_)) => self.stop_timer(cx, id, Kind::Start),
            None => {}
        }
        for sid in parties {
            self.rest_soon(cx, sid);
        }
    }

    /// Sets the timer of a Refer's present state, unless it runs already.
    pub(super) fn arm(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(transfer) = self.transfers.table.get(&id) else { return };
        let at = transfer.life.deadline();
        if transfer.armed != at {
            self.transfer_timer(cx, id, Kind::Life, at.since(cx.now));
            if let Some(transfer) = self.transfers.table.get_mut(&id) {
                transfer.armed = at;
            }
        }
    }

    /// Sets one of a transfer's timers anew.
    pub(super) fn transfer_timer(&mut self, cx: &mut Cx<'_>, id: TransferId, kind: Kind, after: Duration) {
        self.stop_timer(cx, id, kind);
        if !self.transfers.table.contains_key(&id) {
            return;
        }
        let key = self.wait(cx, after, Timer::Transfer(id, kind as u8));
        if let Some(transfer) = self.transfers.table.get_mut(&id) {
            transfer.timers.push((kind, key));
        }
    }

    /// Whether one runs.
    pub(super) fn waits_for(&self, id: TransferId, kind: Kind) -> bool {
        let timers = self.transfers.table.get(&id).map(|transfer| &transfer.timers);
        timers.is_some_and(|timers| timers.iter().any(|(running, _)| *running == kind))
    }

    /// Stops one.
    pub(super) fn stop_timer(&mut self, cx: &mut Cx<'_>, id: TransferId, kind: Kind) {
        let Some(transfer) = self.transfers.table.get_mut(&id) else { return };
        let Some(at) = transfer.timers.iter().position(|(running, _)| *running == kind) else { return };
        let (_, key) = transfer.timers.remove(at);
        self.timers.cancel(cx, key);
    }

    /// A finished Refer has lingered long enough.
    pub(super) fn forget_transfer(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(transfer) = self.transfers.table.remove(&id) else { return };
        if let Role::Substitute(role) = &transfer.role
            && let Some(leg) = role.outside
        {
            self.end_outside(cx, leg);
        }
        for (_, key) in transfer.timers {
            self.timers.cancel(cx, key);
        }
        self.transfers.unlist(id, &transfer.parties);
        for sid in transfer.parties {
            if let Some(party) = self.party_mut(sid).filter(|party| party.transfer == Some(id)) {
                party.transfer = None;
            }
        }
    }

    /// Those that are over leave with their call.
    pub(in crate::sip::call) fn transfers_leave(
        &mut self,
        cx: &mut Cx<'_>,
        calls: &[CallSid],
    ) -> Vec<Transfer> {
        let mut taken = self.transfers.take_finished(calls);
        for transfer in &mut taken {
            for (_, key) in transfer.timers.drain(..) {
                self.timers.cancel(cx, key);
            }
            transfer.armed = Time::ZERO;
        }
        taken
    }

    /// They are here, with their call.
    pub(in crate::sip::call) fn transfers_enter(&mut self, cx: &mut Cx<'_>, transfers: Vec<Transfer>) {
        for transfer in transfers {
            self.transfers.last = self.transfers.last.wrapping_add(1);
            let id = self.transfers.last;
            for sid in &transfer.parties {
                self.transfers.parties.entry(*sid).or_default().push(id);
            }
            self.transfers.table.insert(id, transfer);
            self.arm(cx, id);
        }
    }
}

/// The knobs of a trunk; those of nobody in particular are the defaults.
pub(super) fn policy_of(plan: &Plan, trunk: Option<TrunkIx>) -> Policy {
    trunk.and_then(|ix| plan.trunk(ix)).map(|trunk| trunk.owned.policy.clone()).unwrap_or_default()
}
