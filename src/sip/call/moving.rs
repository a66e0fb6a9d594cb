//! Calls that meet may live on two shards: then one of them moves (law 2).
//!
//! The shard that needs a call claims it by one of its dialogs. When nothing is under way on it, the
//! call goes as one message; its Call-IDs leave a redirect behind, and what arrives for them follows in
//! order, until the call is over.

use super::Calls;
use super::dial::Dialing;
use super::ending::End;
use super::party::{Party, Phase, Who};
use super::pickup::{Replacer, With};
use super::timers::{Timer, TimerKey};
use super::transfer::{Afar, Referral, Transfer, TransferId, give_back};
use crate::shard::{Output, PeerMessage};
use crate::sip::dialog::{Headers, LegId, MovedLeg};
use crate::sip::event::{CallSid, EndedBy};
use crate::sip::message::Message;
use crate::sip::proxy::Cx;
use bytes::Bytes;
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

/// How often a claimed call that is not quiet is looked at again, and how many times: 4 s in all.
const AGAIN: Duration = Duration::from_millis(50);
const TIMES: u8 = 80;
/// How many times for a transfer, whose REFER waits for its answer: 1.5 s in all.
const TIMES_REFERRED: u8 = 30;
/// How long the one who claims waits.
const PATIENCE: Duration = Duration::from_secs(6);
/// Parties that belong together at most.
const MOST: usize = 16;
/// What it means that a claimed call is not there, or never comes to rest.
const GONE: u16 = 481;
const BUSY: u16 = 491;

/// A call on its way from one shard to another: all its legs and what is under way between them.
#[derive(Debug)]
pub struct MovedCall {
    parties: Vec<(Party, MovedLeg)>,
    dials: Vec<(CallSid, Dialing)>,
    /// Transfers that are over, about which something may still be said.
    transfers: Vec<Transfer>,
    /// The one whose dialog was named.
    wanted: CallSid,
    /// It is for who claimed it, and nobody else's.
    lent: bool,
}

/// A dialog as both its sides know it.
#[derive(Clone, Debug)]
pub struct Names {
    pub(super) call_id: Bytes,
    /// The tag on Baton's side.
    pub(super) local_tag: Bytes,
    /// The tag on the party's side.
    pub(super) remote_tag: Bytes,
}

impl Names {
    pub(super) fn new(call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> Names {
        let copy = Bytes::copy_from_slice;
        Names { call_id: copy(call_id), local_tag: copy(local_tag), remote_tag: copy(remote_tag) }
    }
}

/// What a call is claimed for.
#[derive(Debug)]
pub enum Errand {
    /// To be where it is wanted, no more.
    Whole,
    /// A transfer.
    Transfer(Box<Claimant>),
    /// A new party in the place of one of its legs.
    Replace(Box<Replacer>),
    /// A REFER outside its dialog.
    Refer(Box<Referral>),
}

/// Who claims a call for a transfer, and for whom: should it still ring, who is called for it rings for this
/// survivor from then on.
#[derive(Debug)]
pub struct Claimant {
    /// The party to be moved.
    pub(super) survivor: CallSid,
    /// The referrer, as far as Baton knows it.
    pub(super) who: Option<Who>,
    /// Where it is.
    pub(super) address: Option<IpAddr>,
}

/// What is to happen when a claimed call is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The leg is replaced.
    Replace {
        /// By this party.
        with: CallSid,
        /// Only if it is an early one.
        early_only: bool,
        /// Whether that was meant by a Refer-To of ours.
        meant: bool,
    },
    /// A party that has picked it up, and is accepted, talks to it.
    PickUp {
        /// This party.
        with: CallSid,
        /// Whom it talks to.
        talks_to: With,
    },
    /// A transfer goes on.
    Transfer(TransferId),
    /// It is what a REFER outside any dialog is about, whose own is this.
    Refer(LegId),
}

/// A claim of another shard that waits for its call to become quiet.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) from: u16,
    pub(super) ticket: u64,
    pub(super) sid: CallSid,
    pub(super) times: u8,
    pub(super) errand: Errand,
    /// It is nobody else's: the target of the claimant's transfer, which has answered, or who was picked up.
    pub(super) lent: bool,
}

/// Peers choose Call-IDs: their hash has a key.
#[derive(Clone, Debug)]
struct Keyed([u8; 16]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// Calls that came, went, or are wanted.
#[derive(Debug)]
pub(super) struct Moving {
    /// Where calls went, by Call-ID.
    redirects: HashMap<Bytes, (u16, CallSid), Keyed>,
    /// The same, by CallSid.
    went: HashMap<CallSid, u16>,
    claims: HashMap<u64, Claim>,
    /// What was asked of other shards.
    asked: HashMap<u64, (Then, TimerKey)>,
}

impl Moving {
    pub(super) fn new(key: [u8; 16]) -> Moving {
        Moving {
            redirects: HashMap::with_hasher(Keyed(key)),
            went: HashMap::new(),
            claims: HashMap::new(),
            asked: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.redirects.len() + self.went.len() + self.claims.len() + self.asked.len()
    }

    /// Where a leg went.
    pub(super) fn whereabouts(&self, sid: CallSid) -> Option<u16> {
        self.went.get(&sid).copied()
    }
}

impl Calls {
    /// The shard that a call went to: its messages follow it, before anything else is done with them.
    pub fn redirect(&self, call_id: &[u8]) -> Option<u16> {
        self.moving.redirects.get(call_id).map(|(shard, _)| *shard)
    }

    /// Where the dialogs with a Call-ID are.
    pub(super) fn shard_of(&self, cx: &Cx<'_>, call_id: &[u8]) -> u16 {
        self.redirect(call_id).unwrap_or_else(|| cx.place.owner_of(call_id))
    }

    /// Wants the call with this dialog here; the answer goes by `then`.
    pub(super) fn claim(
        &mut self,
        cx: &mut Cx<'_>,
        call_id: &[u8],
        local_tag: &[u8],
        remote_tag: &[u8],
        then: Then,
        errand: Errand,
    ) {
        let ticket = self.fresh();
        self.claim_by(cx, ticket, &Names::new(call_id, local_tag, remote_tag), then, errand);
    }

    /// The same by a ticket that there is, maybe.
    pub(super) fn claim_by(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: u64,
        names: &Names,
        then: Then,
        errand: Errand,
    ) {
        let patience = match then {
            // C-141: whom it was accepted for has as long for the PRACK that its answer may wait for, and for its ACK.
            Then::PickUp { .. } => PATIENCE + cx.plan.timings.t1 * 128,
            Then::Replace { .. } | Then::Transfer(_) | Then::Refer(_) => PATIENCE,
        };
        let timer = self.wait(cx, patience, Timer::Asked(ticket));
        if let Some((_, before)) = self.moving.asked.insert(ticket, (then, timer)) {
            self.timers.cancel(cx, before);
        }
        let home = self.shard_of(cx, &names.call_id);
        let (from, Names { call_id, local_tag, remote_tag }) = (cx.place.index, names.clone());
        let claim = PeerMessage::Claim { from, ticket, call_id, local_tag, remote_tag, errand };
        cx.out.push(Output::Peer(home, Box::new(claim)));
    }

    /// What a ticket was asked for, if it still is.
    pub(super) fn asked_for(&self, ticket: u64) -> Option<Then> {
        self.moving.asked.get(&ticket).map(|(then, _)| *then)
    }

    /// What another shard says. SIP messages and questions about clients are the shard's own business.
    pub fn peer(&mut self, cx: &mut Cx<'_>, message: PeerMessage) {
        match message {
            PeerMessage::Command(command) => self.command(cx, *command),
            PeerMessage::Bindings { ticket, contacts } => self.bindings(cx, ticket, contacts),
            PeerMessage::Claim { from, ticket, call_id, local_tag, remote_tag, errand } => {
                if let Some(shard) = self.redirect(&call_id) {
                    // It went on from here.
                    let claim = PeerMessage::Claim { from, ticket, call_id, local_tag, remote_tag, errand };
                    return cx.out.push(Output::Peer(shard, Box::new(claim)));
                }
                match self.find_dialog(&call_id, &local_tag, &remote_tag) {
                    Some(sid) => {
                        self.try_to_move(cx, Claim { from, ticket, sid, times: 0, errand, lent: false })
                    }
                    None => deny(cx, from, ticket, GONE),
                }
            }
            PeerMessage::Named { who, dialog } => self.named_elsewhere(cx, who, dialog),
            PeerMessage::Moved { ticket, call } => {
                let lent = call.as_ref().is_ok_and(|call| call.lent);
                let found = call.map(|call| self.moved_in(cx, *call));
                match found {
                    // The transfer was over when it answered.
                    Ok(target) if lent && !self.moving.asked.contains_key(&ticket) => {
                        self.end(cx, target, End::bye(EndedBy::Baton, Headers::new()));
                    }
                    found => self.claimed(cx, ticket, found, lent),
                }
            }
            PeerMessage::Picks(picks) => self.picks(cx, *picks),
            PeerMessage::Forget { call_ids } => {
                for call_id in call_ids {
                    if let Some((_, sid)) = self.moving.redirects.remove(&call_id) {
                        self.moving.went.remove(&sid);
                    }
                }
            }
            PeerMessage::Answer { bytes } => self.answered_elsewhere(cx, bytes),
            PeerMessage::Rings { from, ticket, survivor, consultation, code } => {
                let afar = Afar { shard: from, ticket, survivor, consultation };
                match self.moving.asked.get(&ticket).copied() {
                    Some((Then::Transfer(transfer), timer)) => {
                        self.timers.cancel(cx, timer);
                        self.rings_afar(cx, transfer, afar, code);
                    }
                    Some((Then::Replace { .. } | Then::PickUp { .. } | Then::Refer(_), _)) | None => {
                        if code < 300 {
                            give_back(cx, &afar, Some(480));
                        }
                    }
                }
            }
            PeerMessage::Unwanted { survivor, consultation, code } => {
                self.unwanted(cx, survivor, consultation, code);
            }
            PeerMessage::Sip { .. }
            | PeerMessage::Locate { .. }
            | PeerMessage::Returns { .. }
            | PeerMessage::Worth { .. }
            | PeerMessage::Lesson(_) => {}
        }
    }

    /// A 2xx to an INVITE of ours came to the shard that it left; the call is here, or has gone on.
    fn answered_elsewhere(&mut self, cx: &mut Cx<'_>, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes.clone(), &cx.plan.limits) else { return };
        let Ok(ready) = message.ready() else { return };
        match self.redirect(ready.call_id) {
            Some(shard) => cx.out.push(Output::Peer(shard, Box::new(PeerMessage::Answer { bytes }))),
            None => {
                self.answered_again(cx, &message, &ready, true);
            }
        }
    }

    /// What was claimed is here, nobody else's if `lent`; or is not to be had, for this reason.
    pub(super) fn claimed(&mut self, cx: &mut Cx<'_>, ticket: u64, found: Result<CallSid, u16>, lent: bool) {
        let Some((then, timer)) = self.moving.asked.remove(&ticket) else { return };
        self.timers.cancel(cx, timer);
        match then {
            Then::Replace { with, early_only, meant } => {
                self.replace_claimed(cx, with, early_only, meant, found);
            }
            Then::PickUp { with, talks_to } => self.picked_up(cx, with, talks_to, found, lent),
            Then::Transfer(transfer) => self.on_claimed(cx, transfer, found.ok()),
            Then::Refer(leg) => self.referred_leg(cx, leg, found),
        }
    }

    /// What was claimed is not waited for any more.
    pub(super) fn unclaim(&mut self, ticket: u64) {
        self.moving.asked.remove(&ticket);
    }

    /// Those called for a party on another shard who have answered, and are about to go there.
    pub(super) fn leaving_for(&self, survivor: CallSid) -> Option<CallSid> {
        let mut lent = self.moving.claims.values().filter(|claim| claim.lent).map(|claim| claim.sid);
        lent.find(|sid| self.party(*sid).is_some_and(|party| party.parent == Some(survivor)))
    }

    /// Whether a party is to meet one of another shard: it is lent there, or one that is lent comes to it.
    pub(super) fn meets(&self, sid: CallSid) -> bool {
        let comes = |then: &Then| matches!(then, Then::PickUp { with, .. } if *with == sid);
        self.moving.claims.values().any(|claim| claim.lent && claim.sid == sid)
            || self.moving.asked.values().any(|(then, _)| comes(then))
    }

    /// A claimed call is looked at again.
    pub(super) fn claim_again(&mut self, cx: &mut Cx<'_>, number: u64) {
        if let Some(claim) = self.moving.claims.remove(&number) {
            self.try_to_move(cx, claim);
        }
    }

    pub(super) fn try_to_move(&mut self, cx: &mut Cx<'_>, claim: Claim) {
        let late = claim.times >= TIMES_REFERRED;
        match &claim.errand {
            Errand::Transfer(claimant) if late || !self.phase(claim.sid).is_answered() => {
                return self.lend(cx, &claim, claimant);
            }
            Errand::Replace(replacer) => match self.may_replace(cx, claim.sid, replacer) {
                Err(code) => return deny(cx, claim.from, claim.ticket, code),
                Ok(()) if self.phase(claim.sid) == Phase::Calling => {
                    return match replacer.accepted || claim.times >= TIMES || self.rings_for_quiet(claim.sid)
                    {
                        true => self.pick_up_afar(cx, &claim, replacer),
                        false => self.try_again(cx, claim),
                    };
                }
                Ok(()) => {}
            },
            Errand::Refer(referral) => {
                if let Err(code) = self.may_refer(cx, claim.sid, referral) {
                    return deny(cx, claim.from, claim.ticket, code);
                }
            }
            Errand::Whole | Errand::Transfer(_) => {}
        }
        let over = self.phase(claim.sid).is_over();
        if over || claim.times >= TIMES {
            self.end_lent(cx, &claim);
            return deny(cx, claim.from, claim.ticket, if over { GONE } else { BUSY });
        }
        // who is about to meet another shard's party goes nowhere else meanwhile.
        if !claim.lent && self.members(claim.sid).iter().any(|sid| self.meets(*sid)) {
            return self.try_again(cx, claim);
        }
        match self.moved_out(cx, claim.sid, claim.from) {
            Some(mut call) => {
                call.lent = claim.lent;
                let moved = PeerMessage::Moved { ticket: claim.ticket, call: Ok(Box::new(call)) };
                cx.out.push(Output::Peer(claim.from, Box::new(moved)));
            }
            None => self.try_again(cx, claim),
        }
    }

    /// It is not to be had yet.
    fn try_again(&mut self, cx: &mut Cx<'_>, claim: Claim) {
        // C-141: the ACK of who was picked up has its own time, and ends it by itself.
        let answering = claim.lent && self.phase(claim.sid) == Phase::Accepting;
        let number = self.fresh();
        self.moving.claims.insert(number, Claim { times: claim.times + u8::from(!answering), ..claim });
        self.wait(cx, AGAIN, Timer::Claimed(number));
    }

    /// Everybody who belongs to a call.
    fn members(&self, sid: CallSid) -> Vec<CallSid> {
        let mut members = vec![sid];
        let mut at = 0;
        while let Some(&member) = members.get(at) {
            at += 1;
            let party = self.party(member);
            let around = [
                self.other(member),
                party.and_then(|party| party.parent).filter(|sid| self.parties.contains_key(sid)),
                self.dials.get(&member).and_then(|dialing| dialing.winner),
            ];
            for next in around.into_iter().flatten() {
                if !members.contains(&next) && !self.phase(next).is_over() && members.len() < MOST {
                    members.push(next);
                }
            }
        }
        members
    }

    fn is_quiet(&self, sid: CallSid) -> bool {
        let calling = self.dials.get(&sid).is_some_and(|dialing| !dialing.children.is_empty());
        !calling && self.is_settled(sid)
    }

    fn is_settled(&self, sid: CallSid) -> bool {
        let settled = |party: &Party| {
            party.phase == Phase::Up
                && party.join.is_none()
                && party.transfer.is_none()
                && !self.transfers.busy_with(sid)
                && party.leg.is_some()
        };
        self.party(sid).is_some_and(settled)
    }

    /// Whether nothing is under way on the call of whom a leg rings for, if that is up, but this.
    pub(super) fn rings_for_quiet(&self, ringing: CallSid) -> bool {
        let parent = self.party(ringing).and_then(|party| party.parent);
        let Some(caller) = parent.filter(|caller| self.phase(*caller).is_answered()) else { return true };
        let still = |sid: &CallSid| {
            self.is_settled(*sid) && self.leg_of(*sid).is_some_and(|leg| self.legs.can_move(leg))
        };
        self.members(caller).iter().all(still)
    }

    /// Takes a whole call out; `None` while something is under way on it.
    fn moved_out(&mut self, cx: &mut Cx<'_>, wanted: CallSid, to: u16) -> Option<MovedCall> {
        let members = self.members(wanted);
        if !members.iter().all(|sid| self.is_quiet(*sid)) {
            return None;
        }
        let mut legs = Vec::with_capacity(members.len());
        for sid in &members {
            let leg = self.leg_of(*sid)?;
            match self.legs.take(cx, leg) {
                Some(moved) => {
                    self.by_leg.remove(&leg);
                    legs.push((*sid, moved));
                }
                None => {
                    for (sid, moved) in legs {
                        let leg = self.legs.put(cx, moved);
                        self.attach(sid, leg);
                    }
                    return None;
                }
            }
        }
        let transfers = self.transfers_leave(cx, &members);
        let mut call = MovedCall { parties: Vec::new(), dials: Vec::new(), transfers, wanted, lent: false };
        for (sid, leg) in legs {
            if let Some(dialing) = self.dials.remove(&sid) {
                call.dials.push((sid, dialing));
            }
            let Some(mut party) = self.parties.remove(&sid) else { continue };
            for timer in [party.timer.take(), party.rest.take()].into_iter().flatten() {
                self.timers.cancel(cx, timer);
            }
            party.leg = None;
            party.quiet = None;
            let call_id = Bytes::copy_from_slice(leg.call_id());
            self.moving.redirects.insert(call_id.clone(), (to, sid));
            self.moving.went.insert(sid, to);
            let homes = party.homes.get_or_insert_with(|| Box::new((call_id, smallvec::SmallVec::new())));
            homes.1.push(cx.place.index);
            call.parties.push((party, leg));
        }
        Some(call)
    }

    fn moved_in(&mut self, cx: &mut Cx<'_>, call: MovedCall) -> CallSid {
        for (mut party, leg) in call.parties {
            // It may have been here before.
            self.moving.redirects.remove(leg.call_id());
            self.moving.went.remove(&party.sid);
            if let Some(homes) = &mut party.homes {
                homes.1.retain(|home| *home != cx.place.index);
            }
            let (sid, limit) = (party.sid, party.limit);
            party.leg = Some(self.legs.put(cx, leg));
            self.enter(party);
            if let Some(limit) = limit {
                self.limit(cx, sid, limit.since(cx.now));
            }
            self.rest_soon(cx, sid);
        }
        self.dials.extend(call.dials);
        self.transfers_enter(cx, call.transfers);
        call.wanted
    }

    /// A party that came from other shards is no more: they need no redirect to it any longer.
    pub(super) fn went_home(&mut self, cx: &mut Cx<'_>, party: &Party) {
        let Some(homes) = &party.homes else { return };
        for home in &homes.1 {
            let forget = PeerMessage::Forget { call_ids: vec![homes.0.clone()] };
            cx.out.push(Output::Peer(*home, Box::new(forget)));
        }
    }
}

/// It is not to be had, for this reason.
pub(super) fn deny(cx: &mut Cx<'_>, to: u16, ticket: u64, code: u16) {
    cx.out.push(Output::Peer(to, Box::new(PeerMessage::Moved { ticket, call: Err(code) })));
}
