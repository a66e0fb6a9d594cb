//! An INVITE with Replaces takes the place of a leg of ours (RFC 3891; ), and the names of
//! dialogs in requests that pass through (C-152).

use super::Calls;
use super::arrival::Arrival;
use super::dial::DialFor;
use super::ending::End;
use super::headers::ELSEWHERE;
use super::joining::{JoinFor, JoinResult, Start};
use super::media;
use super::moving::{Errand, Names, Then};
use super::party::{Party, Phase, Who};
use super::pickup::Replacer;
use crate::shard::{Output, PeerMessage};
use crate::sip::dialog::{Fork, Headers};
use crate::sip::event::{CallSid, EndedBy};
use crate::sip::message::uri::decode;
use crate::sip::message::{HeaderId, Message, Replaces};
use crate::sip::proxy::Cx;
use crate::sip::refer::replaces::Named;
use std::time::Duration;

/// How long a dialog that a REFER named may be replaced by who was referred.
const NAMED: Duration = Duration::from_secs(60);

impl Calls {
    /// Takes an INVITE that is to replace a leg. `Err` is a code for the caller to refuse it with.
    pub(super) fn replacing(&mut self, cx: &mut Cx<'_>, arrival: &Arrival<'_>) -> Result<(), u16> {
        let message = arrival.message;
        let several = message.headers().filter(|line| line.id == HeaderId::Replaces).count() > 1;
        if several || message.has(HeaderId::Join) {
            return Err(400);
        }
        let replaces = message.replaces().ok().flatten().ok_or(400_u16)?;
        // the token says which dialog was named.
        let named = arrival.returned.and_then(|returned| returned.named.as_ref()).filter(|named| {
            *named.call_id == *replaces.call_id
                && *named.to_tag == *replaces.to_tag
                && *named.from_tag == *replaces.from_tag
        });
        let meant = named.is_some();
        // What was meant for an early dialog is not good for a confirmed one.
        let early_only = replaces.early_only || named.is_some_and(|named| named.early_only);
        let found = self.find_dialog(replaces.call_id, replaces.to_tag, replaces.from_tag);
        let elsewhere = match found {
            Some(replaced) => {
                self.permitted(cx, replaced, arrival.who().as_ref(), meant)?;
                self.replaceable(replaced, early_only)?;
                if self.is_awaited(replaced) {
                    return Err(491);
                }
                false
            }
            None => self.shard_of(cx, replaces.call_id) != cx.place.index,
        };
        if found.is_none() && !elsewhere {
            return Err(481);
        }
        let mut party = self.arrived(cx, arrival);
        if let Some(replaced) = found.and_then(|sid| self.party(sid)) {
            party.account = replaced.account.clone().or(party.account);
        }
        let sid = party.sid;
        let Some(leg) = self.answering_leg(cx, arrival) else { return Ok(()) };
        self.begin(cx, party, leg, arrival);
        match found {
            Some(replaced) => self.take_place(cx, sid, replaced),
            None => {
                let then = Then::Replace { with: sid, early_only, meant };
                let names = Names::new(replaces.call_id, replaces.to_tag, replaces.from_tag);
                let (who, offer) = (arrival.who(), self.heard_sdp(sid));
                let replacer = Replacer { names, sid, who, meant, early_only, offer, accepted: false };
                let errand = Errand::Replace(Box::new(replacer));
                self.claim(cx, replaces.call_id, replaces.to_tag, replaces.from_tag, then, errand);
            }
        }
        Ok(())
    }

    /// Whether who asks may take a leg's place: whoever has it, the call that a Refer-To of ours has `meant`
    /// for it, or anybody when the leg's own party has named it in a REFER just now. Its identifiers alone
    /// prove nothing (R-090; RFC 3891 §5).
    fn permitted(&self, cx: &Cx<'_>, sid: CallSid, who: Option<&Who>, meant: bool) -> Result<(), u16> {
        let Some(party) = self.party(sid) else { return Err(481) };
        let own = who.is_some() && party.who().as_ref() == who;
        if own || meant || cx.now < party.named_until { Ok(()) } else { Err(403) }
    }

    /// A REFER passes whose Refer-To names a dialog to be replaced: if that is a leg of the referrer's own,
    /// whoever is referred may take its place for a while.
    pub fn names(&mut self, cx: &mut Cx<'_>, who: &Who, message: &Message) {
        let Some(uri) = message.refer_to().ok().flatten() else { return };
        let Ok(uri) = uri.uri() else { return };
        let replaces = |name: &[u8]| HeaderId::from_bytes(&decode(name)) == HeaderId::Replaces;
        let value = uri.header_fields().find(|(name, _)| replaces(name)).map(|(_, value)| decode(value));
        let Some(named) = value.and_then(|value| Named::parse(&value)) else { return };
        if self.named(cx, who, &named) {
            return;
        }
        let home = self.shard_of(cx, &named.call_id);
        if home != cx.place.index {
            let named = PeerMessage::Named { who: who.clone(), dialog: Box::new(named) };
            cx.out.push(Output::Peer(home, Box::new(named)));
        }
    }

    /// Another shard has passed on such a REFER.
    pub(super) fn named_elsewhere(&mut self, cx: &mut Cx<'_>, who: Who, dialog: Box<Named>) {
        if !self.named(cx, &who, &dialog)
            && let Some(shard) = self.redirect(&dialog.call_id)
        {
            cx.out.push(Output::Peer(shard, Box::new(PeerMessage::Named { who, dialog })));
        }
    }

    fn named(&mut self, cx: &Cx<'_>, who: &Who, named: &Named) -> bool {
        let Some(sid) = self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag) else {
            return false;
        };
        if let Some(party) = self.party_mut(sid).filter(|party| party.who().as_ref() == Some(who)) {
            party.named_until = cx.now + NAMED;
        }
        true
    }

    /// Whether a leg may be replaced by who claims it on another shard.
    pub(super) fn may_replace(&self, cx: &Cx<'_>, sid: CallSid, replacer: &Replacer) -> Result<(), u16> {
        // One that is accepted had leave to, and gets whom the leg talks to, however that stands now.
        if !replacer.accepted {
            self.permitted(cx, sid, replacer.who.as_ref(), replacer.meant)?;
        }
        self.replaceable(sid, replacer.early_only)
    }

    /// Whether a leg may be replaced.
    fn replaceable(&self, sid: CallSid, early_only: bool) -> Result<(), u16> {
        match self.phase(sid) {
            // RFC 3891 §3: an early dialog only if we began it.
            Phase::Offered | Phase::Locating => Err(481),
            // who rings for a transfer is not to be had.
            Phase::Calling if self.rings_for_transfer(sid) => Err(491),
            Phase::Calling => Ok(()),
            Phase::Accepting | Phase::Accepted | Phase::Up if early_only => Err(486),
            Phase::Accepting | Phase::Accepted | Phase::Up => Ok(()),
            Phase::Leaving | Phase::Over => Err(603),
        }
    }

    fn rings_for_transfer(&self, sid: CallSid) -> bool {
        let dialing = self.party(sid).and_then(|party| self.dials.get(&party.parent?));
        dialing.is_some_and(|dialing| matches!(dialing.why, DialFor::Transfer(_) | DialFor::Afar { .. }))
    }

    /// Whether a leg that talks to nobody does so because it is only on its way to somebody: it is being joined, or
    /// belongs to what another shard has, or has asked for.
    pub(super) fn is_awaited(&self, sid: CallSid) -> bool {
        self.party(sid).is_some_and(|party| party.join.is_some()) || self.meets(sid)
    }

    /// The call with the leg to be replaced has come from another shard, or there is none.
    pub(super) fn replace_claimed(
        &mut self,
        cx: &mut Cx<'_>,
        with: CallSid,
        early_only: bool,
        meant: bool,
        found: Result<CallSid, u16>,
    ) {
        if self.phase(with) != Phase::Offered {
            return;
        }
        let who = self.party(with).and_then(Party::who);
        let allowed = found.and_then(|replaced| {
            self.permitted(cx, replaced, who.as_ref(), meant)?;
            self.replaceable(replaced, early_only).map(|()| replaced)
        });
        match allowed {
            Ok(replaced) => self.take_place(cx, with, replaced),
            Err(code) => self.end(cx, with, End::refused(code)),
        }
    }

    /// A new party takes the place of another: it is accepted, then the other is released.
    fn take_place(&mut self, cx: &mut Cx<'_>, with: CallSid, replaced: CallSid) {
        let Some(old) = self.party(replaced) else { return };
        let (application, steered, account) = (old.application, old.steered, old.account.clone());
        let other = match old.phase {
            Phase::Calling => old.parent,
            Phase::Offered
            | Phase::Accepting
            | Phase::Locating
            | Phase::Accepted
            | Phase::Up
            | Phase::Leaving
            | Phase::Over => self.other(replaced),
        };
        if let Some(new) = self.party_mut(with) {
            new.application = application;
            new.steered = steered;
            new.account = new.account.take().or(account);
        }
        let offer = self.heard_sdp(with);
        match other {
            None => {
                let answer = match &offer {
                    Some(offer) => media::refuse_media(offer),
                    None => Some(media::nothing(cx.random())),
                };
                self.accept(cx, with, Fork(0), &Headers::new(), answer.as_ref());
                self.limit_as(cx, with, replaced);
                self.end(cx, replaced, End::bye(EndedBy::Baton, Headers::new()));
            }
            Some(other) if self.phase(other) == Phase::Offered => self.pick_up(cx, with, replaced, other),
            Some(other) => self.join(cx, other, with, Start::Entering { offer }, JoinFor::Replaces(replaced)),
        }
    }

    /// A ringing leg is picked up by another party: caller and new callee have both made an offer, and
    /// each is the answer to the other.
    fn pick_up(&mut self, cx: &mut Cx<'_>, with: CallSid, ringing: CallSid, caller: CallSid) {
        let both = self.heard_sdp(caller).zip(self.heard_sdp(with)).and_then(|(caller_says, new_says)| {
            let to_new = media::as_answer(&caller_says, &new_says, None)?;
            let to_caller = media::as_answer(&new_says, &caller_says, self.told_sdp(caller).as_ref())?;
            Some((to_new, to_caller))
        });
        let Some((to_new, to_caller)) = both else { return self.end(cx, with, End::refused(488)) };
        self.accept(cx, with, Fork(0), &Headers::new(), Some(&to_new));
        let fork = self.fork_for(caller, with);
        self.accept(cx, caller, fork, &Headers::new(), Some(&to_caller));
        self.link(cx, caller, with);
        self.succeed(cx, ringing, with);
    }

    /// What came of the join of a new party with the one that the replaced leg talked to.
    pub(super) fn replaced(
        &mut self,
        cx: &mut Cx<'_>,
        replaced: CallSid,
        _survivor: CallSid,
        with: CallSid,
        result: JoinResult,
    ) {
        match result {
            JoinResult::Joined => self.succeed(cx, replaced, with),
            // The old dialog is untouched.
            JoinResult::Refused { code: 491 } => self.end(cx, with, End::refused(491)),
            JoinResult::Refused { .. } => self.end(cx, with, End::refused(488)),
            JoinResult::SurvivorGone => self.end(cx, with, End::refused(481)),
            JoinResult::TargetGone => {}
        }
    }

    /// The new party stands where the old one stood, which is released.
    pub(super) fn succeed(&mut self, cx: &mut Cx<'_>, old: CallSid, new: CallSid) {
        let parent = self.party(old).and_then(|party| party.parent);
        self.limit_as(cx, new, old);
        let mut others = Vec::new();
        if let Some(parent) = parent
            && let Some(dialing) = self.dials.get_mut(&parent).filter(|dialing| dialing.has(old))
        {
            others.extend(std::mem::take(&mut dialing.children));
            dialing.winner = Some(new);
            if dialing.why == DialFor::Route {
                self.dials.remove(&parent);
            }
        }
        if let Some(party) = self.party_mut(new) {
            party.parent = parent;
        }
        others.retain(|sid| *sid != old);
        others.push(old);
        for sid in others {
            self.end(cx, sid, End::canceled(EndedBy::Baton, Some(ELSEWHERE)));
        }
    }

    /// The new party's call must be over when the old one's had to be.
    fn limit_as(&mut self, cx: &mut Cx<'_>, new: CallSid, old: CallSid) {
        if let Some(limit) = self.limit_of(cx, old).filter(|_| self.parties.contains_key(&new)) {
            self.limit(cx, new, limit);
        }
    }

    /// How long a party's call may still last; that of one who rings, from its answer on.
    pub(super) fn limit_of(&self, cx: &Cx<'_>, sid: CallSid) -> Option<Duration> {
        let party = self.party(sid)?;
        let to_come = || self.dials.get(&party.parent?).filter(|dialing| dialing.has(sid))?.limit;
        party.limit.map(|limit| limit.since(cx.now)).or_else(to_come)
    }

    /// A Replaces that passes through, in the identifiers that the one who gets it knows (C-152). One
    /// that names no leg of ours passes as it is.
    pub(super) fn translate_replaces(&self, message: &Message, headers: &mut Headers) {
        let Some(value) = message.header(HeaderId::Replaces) else { return };
        let translated = Replaces::parse(value).ok().and_then(|replaces| self.translated(&replaces));
        headers.push(("Replaces".into(), translated.unwrap_or_else(|| value.into())));
    }

    /// The dialog that the other half of a call has, for one that names a leg of ours; as the value of
    /// Replaces. `None` when it names none, or one with no other half.
    pub(super) fn translated(&self, replaces: &Replaces<'_>) -> Option<Box<[u8]>> {
        let named = self.find_dialog(replaces.call_id, replaces.to_tag, replaces.from_tag)?;
        let facts = self.facts(self.other(named)?)?;
        let mut out = Vec::with_capacity(128);
        for part in [facts.call_id, b";to-tag=", facts.remote_tag, b";from-tag=", &facts.local_tag()] {
            out.extend_from_slice(part);
        }
        if replaces.early_only {
            out.extend_from_slice(b";early-only");
        }
        Some(out.into())
    }
}
