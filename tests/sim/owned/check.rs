//! What must hold: of the events Baton tells, of who talks to whom, and of what is left at the end.

use super::agent::Promise;
use super::dialog::Phase;
use super::world::{BATON, START, World};
use baton::sip::command::{Action, Order};
use baton::sip::event::{CallSid, CallStatus, Event, ReferReason, ReferSid, ReferStatus};
use baton::sip::time::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What comes true is looked for so much later.
const SOON: Duration = Duration::from_millis(1_500);
/// Who did anything so short a time before may have crossed it.
const ACROSS: Duration = Duration::from_millis(12_000);

/// What was told.
#[derive(Default)]
pub struct Record {
    pub faults: Vec<String>,
    calls: BTreeMap<CallSid, CallStatus>,
    /// Their Call-IDs.
    ids: BTreeMap<CallSid, String>,
    /// Who is joined to whom, by Baton's account.
    pairs: BTreeMap<CallSid, CallSid>,
    refers: BTreeMap<ReferSid, (ReferStatus, CallSid)>,
    /// Why those with a result have it.
    reasons: BTreeMap<ReferSid, Option<ReferReason>>,
    /// Orders, and how often each was answered.
    replies: Vec<usize>,
    /// Orders to dial, by ticket: for whom; and how often the result of one for him was told.
    dials: BTreeMap<u64, CallSid>,
    dialled: BTreeMap<CallSid, (usize, usize)>,
    /// When the API last said anything.
    moved: Time,
    promises: Vec<(Time, usize, Promise)>,
}

impl Record {
    pub fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// Calls that have not ended.
    pub fn alive(&self) -> Vec<CallSid> {
        self.calls.iter().filter(|(_, status)| !status.is_final()).map(|(sid, _)| *sid).collect()
    }

    /// A transfer under way, and on which call.
    pub fn open_refer(&self) -> Option<(ReferSid, CallSid)> {
        let open = self.refers.iter().find(|(_, (status, _))| *status == ReferStatus::InProgress);
        open.map(|(refer, (_, call))| (*refer, *call))
    }

    /// How a transfer ended; `None` while it has not.
    pub fn result(&self, refer: ReferSid) -> Option<(ReferStatus, Option<ReferReason>)> {
        let (status, _) = self.refers.get(&refer)?;
        (*status != ReferStatus::InProgress).then(|| (*status, self.reasons.get(&refer).copied().flatten()))
    }

    /// How many calls are up.
    pub fn answered(&self) -> usize {
        self.calls.values().filter(|status| **status == CallStatus::InProgress).count()
    }

    pub fn is_alive(&self, sid: CallSid) -> bool {
        self.calls.get(&sid).is_some_and(|status| !status.is_final())
    }

    /// The API orders something: under this number.
    pub fn ordered(&mut self, now: Time, order: &Order) -> u64 {
        self.moved = now;
        self.replies.push(0);
        let ticket = self.replies.len() as u64;
        if let Order::Leg(sid, Action::Dial(_)) = order {
            self.dials.insert(ticket, *sid);
        }
        ticket
    }

    /// A phone heard that a transfer of its own is done.
    pub fn promised(&mut self, now: Time, by: usize, promise: Promise) {
        self.promises.push((now + SOON, by, promise));
    }

    pub fn next(&self) -> Option<Time> {
        self.promises.iter().map(|(at, ..)| *at).min()
    }
}

impl World {
    /// An event of Baton's.
    pub(super) fn note(&mut self, event: Event) {
        let record = &mut self.record;
        match event {
            Event::CallStarted(started) => {
                record.ids.insert(started.sid, started.call_id.clone());
                if record.calls.insert(started.sid, CallStatus::Queued).is_some() {
                    record.fault(format!("{} began twice", started.sid));
                }
            }
            Event::CallChanged(change) => {
                let Some(status) = record.calls.get_mut(&change.sid) else {
                    return record.fault(format!("{} changed and never began", change.sid));
                };
                let old = std::mem::replace(status, change.status);
                if old.is_final() || old >= change.status {
                    record.fault(format!("{} is {old:?} and became {:?}", change.sid, change.status));
                }
            }
            Event::Refer(refer) => {
                let old = record.refers.insert(refer.sid, (refer.status, refer.call));
                record.reasons.insert(refer.sid, refer.reason);
                if let Some((old, _)) = old.filter(|(old, _)| *old != ReferStatus::InProgress) {
                    record.fault(format!("{} was {old:?} and became {:?}", refer.sid, refer.status));
                }
            }
            Event::Reply { ticket, result } => {
                record.replies[ticket as usize - 1] += 1;
                if let Some(sid) = record.dials.get(&ticket).filter(|_| result.is_ok()) {
                    record.dialled.entry(*sid).or_default().0 += 1;
                }
            }
            Event::DialEnded(dial) => record.dialled.entry(dial.sid).or_default().1 += 1,
            Event::Joined(a, b) => {
                for (one, other) in [(a, b), (b, a)] {
                    if let Some(old) = record.pairs.insert(one, other) {
                        record.fault(format!("{one} is joined to {other} and still to {old}"));
                    }
                }
            }
            Event::Parted(a, b) => {
                // A join that failed is told so, too.
                if record.pairs.get(&a) == Some(&b) {
                    record.pairs.remove(&a);
                    record.pairs.remove(&b);
                }
            }
            Event::ReferAsked(asked) => {
                if let Some(decision) = self.decision() {
                    let at = self.now + self.dice.millis(0, 2_500);
                    self.later.push((at, Order::DecideRefer(asked.sid, asked.call, decision)));
                }
            }
            Event::Offered(_) => self.orders.push(self.now + self.dice.millis(0, 3_000)),
            Event::Headers(_)
            | Event::EarlyMedia(_)
            | Event::ReferNotified(..)
            | Event::Ended(..)
            | Event::RequestEnded { .. } => {}
        }
    }

    /// Joined pairs talk to each other, and to nobody else.
    pub(super) fn check_connections(&mut self) {
        let baton: IpAddr = BATON.parse::<std::net::SocketAddr>().expect("an address").ip();
        let mut faults = Vec::new();
        let place = |sid: CallSid| {
            let id = self.record.ids.get(&sid)?;
            self.agents.iter().enumerate().find_map(|(n, agent)| {
                let at = agent.up().into_iter().find(|&at| agent.dialogs[at].call_id == *id)?;
                Some((n, at))
            })
        };
        for (a, b) in &self.record.pairs {
            let (Some(one), Some(other)) = (place(*a), place(*b)) else { continue };
            let (dialog, ip) = (&self.agents[one.0].dialogs[one.1], self.agents[other.0].addr.ip());
            if dialog.media.as_ref().map(|media| media.ip) != Some(ip) {
                let user = &self.agents[one.0].user;
                let media = &dialog.media;
                faults.push(format!("{user} (dialog {}) is joined to {ip}, and has {media:?}", one.1));
            }
        }
        for agent in &self.agents {
            for at in agent.up() {
                let Some(ip) = agent.dialogs[at].talks_to().filter(|ip| *ip != baton) else { continue };
                // Whom nobody is joined to has nobody to send to: even where the API has nothing in mind.
                let id = &agent.dialogs[at].call_id;
                let call = self.record.ids.iter().find(|(_, known)| *known == id).map(|(sid, _)| *sid);
                if call.is_some_and(|sid| !self.record.pairs.contains_key(&sid)) {
                    faults.push(format!(
                        "{} (dialog {at}) talks to {ip}, and nobody is joined to it",
                        agent.user
                    ));
                    continue;
                }
                let mine = Some(agent.addr.ip());
                let talks = |to: &super::agent::Agent| {
                    to.up().iter().any(|&d| to.dialogs[d].media.as_ref().map(|media| media.ip) == mine)
                };
                if !self.agents.iter().any(|other| other.addr.ip() == ip && talks(other)) {
                    faults
                        .push(format!("{} (dialog {at}) talks to {ip}, who does not talk back", agent.user));
                }
            }
        }
        self.record.faults.extend(faults);
    }

    /// Transfers that were told to be done are, unless somebody has done something since.
    pub(super) fn check_promises(&mut self) {
        let now = self.now;
        let due = self.record.promises.iter().position(|(at, ..)| *at <= now);
        let Some((at, by, promise)) = due.map(|n| self.record.promises.remove(n)) else { return };
        let since = Time::from_millis(at.millis().saturating_sub((SOON + ACROSS).as_millis() as u64));
        let moved = |n: usize| n != by && self.agents[n].moved >= since;
        if !self.fine || self.record.moved >= since || (0..self.agents.len()).any(moved) {
            return;
        }
        let named =
            |name: &str| self.agents.iter().position(|a| a.user == name || a.addr.ip().to_string() == name);
        let (Some(who), Some(whom)) = (named(&promise.who.to_string()), named(&promise.whom)) else { return };
        for (one, other) in [(who, whom), (whom, who)] {
            let ip = self.agents[other].addr.ip();
            let agent = &self.agents[one];
            if !agent.up().iter().any(|&at| agent.dialogs[at].talks_to() == Some(ip)) {
                let (a, b) = (&agent.user, &self.agents[other].user);
                let by = &self.agents[by].user;
                let at = now.since(START).as_millis();
                self.record.faults.push(format!("{at}: {by} transferred {a} to {b}, and it is not so"));
            }
        }
    }

    /// Everything has ended, and nothing is left of it.
    pub(super) fn check_end(&mut self) {
        let mut faults = Vec::new();
        for (sid, status) in self.record.calls.iter().filter(|(_, status)| !status.is_final()) {
            faults.push(format!("{sid} is still {status:?}"));
        }
        for (sid, _) in self.record.refers.iter().filter(|(_, s)| s.0 == ReferStatus::InProgress) {
            faults.push(format!("{sid} has no result"));
        }
        for (a, b) in &self.record.pairs {
            faults.push(format!("{a} is still joined to {b}"));
        }
        for (n, replies) in self.record.replies.iter().enumerate().filter(|(_, replies)| **replies != 1) {
            faults.push(format!("order {} was answered {replies} times", n + 1));
        }
        for (sid, (taken, told)) in self.record.dialled.iter().filter(|(_, (taken, told))| taken != told) {
            faults.push(format!("{sid} dialled {taken} times and heard of it {told} times"));
        }
        for (n, shard) in self.shards.iter().enumerate() {
            if shard.remains() > 0 || shard.next_deadline().is_some() {
                let next = shard.next_deadline().map(|at| at.since(START));
                faults.push(format!("shard {n} keeps {} things, next at {next:?}", shard.remains()));
            }
        }
        for agent in &self.agents {
            for (n, dialog) in agent.dialogs.iter().enumerate() {
                let faulty = dialog.faults.iter().map(|fault| format!("{}, dialog {n}: {fault}", agent.user));
                faults.extend(faulty);
                if dialog.phase == Phase::Up {
                    faults.push(format!("{}: dialog {n} is still up", agent.user));
                }
            }
        }
        self.record.faults.extend(faults);
    }
}
