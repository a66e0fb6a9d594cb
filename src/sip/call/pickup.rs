//! A ringing leg is picked up by a party on another shard (RFC 3891 §3; R-090, R-091; law 2).
//!
//! What rings cannot move, nor can an INVITE that waits for its answer. So the new party is accepted where it is,
//! then the one that rang is called off where that is; whom it rang for is up then, and moves.
//!
//! ```text
//! the INVITE's shard                  the ringing leg's shard
//!   Claim, by a replacer ──────────►  may it? can they talk to each other?   no: Moved, with the code
//!   200 to the new party ◄── Picks ──
//!   Claim, accepted ───────────────►  200 to the caller, CANCEL to who rang
//!   together             ◄── Moved ──  the caller has acknowledged
//! ```

use super::ending::End;
use super::joining::{JoinFor, Start};
use super::moving::{Claim, Errand, Names, Then, deny};
use super::party::{Phase, Who};
use super::{Calls, media};
use crate::shard::{Output, PeerMessage};
use crate::sip::dialog::{Body, Fork, Headers};
use crate::sip::event::{CallSid, EndedBy};
use crate::sip::proxy::Cx;
use std::sync::Arc;
use std::time::Duration;

/// Who claims a leg to take its place.
#[derive(Debug)]
pub struct Replacer {
    /// The leg.
    pub(super) names: Names,
    /// The new party.
    pub(super) sid: CallSid,
    /// Who that is, as far as Baton knows it.
    pub(super) who: Option<Who>,
    /// Whether that was meant by a Refer-To of ours.
    pub(super) meant: bool,
    /// Only an early leg will do.
    pub(super) early_only: bool,
    /// What it offers.
    pub(super) offer: Option<Body>,
    /// It has been accepted.
    pub(super) accepted: bool,
}

/// A ringing leg is the new party's, once that is accepted.
#[derive(Debug)]
pub struct Picks {
    ticket: u64,
    names: Names,
    /// What the new party is told.
    answer: Body,
    /// Whom it talks to then.
    with: With,
    /// What it has of the leg whose place it takes.
    application: Option<u16>,
    steered: bool,
    account: Option<Arc<str>>,
    limit: Option<Duration>,
}

/// Whom a new party talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// Nobody: the leg was called for no other.
    Nobody,
    /// A caller, each of whom gets the other's offer as the answer.
    Caller,
    /// A party that was up before, and has to be asked.
    Party,
}

/// The INVITE's shard.
impl Calls {
    /// The leg can be had: the new party is accepted first (R-091).
    pub(super) fn picks(&mut self, cx: &mut Cx<'_>, picks: Picks) {
        let Some(Then::Replace { with, early_only, meant }) = self.asked_for(picks.ticket) else { return };
        if self.phase(with) != Phase::Offered {
            // It rings on there.
            return;
        }
        let offer = self.heard_sdp(with);
        let Some(new) = self.party_mut(with) else { return };
        new.application = picks.application;
        new.steered = picks.steered;
        new.account = new.account.take().or(picks.account);
        let who = new.who();
        self.accept(cx, with, Fork(0), &Headers::new(), Some(&picks.answer));
        if let Some(limit) = picks.limit {
            self.limit(cx, with, limit);
        }
        let names = picks.names.clone();
        let errand = Replacer { names, sid: with, who, meant, early_only, offer, accepted: true };
        let then = Then::PickUp { with, talks_to: picks.with };
        self.claim_by(cx, picks.ticket, &picks.names, then, Errand::Replace(Box::new(errand)));
    }

    /// What it was accepted for is here: whom it rang for, `lent`; or the leg itself, which was answered
    /// meanwhile.
    pub(super) fn picked_up(
        &mut self,
        cx: &mut Cx<'_>,
        with: CallSid,
        talks_to: With,
        found: Result<CallSid, u16>,
        lent: bool,
    ) {
        let there = self.phase(with).is_answered();
        match found {
            // The leg is no more.
            Err(481 | 603) if talks_to == With::Nobody => {}
            Err(_) => self.end(cx, with, End::bye(EndedBy::OtherLeg, Headers::new())),
            Ok(leg) if !lent => match self.other(leg).filter(|_| there) {
                Some(other) => self.join(cx, other, with, Start::Up, JoinFor::Replaces(leg)),
                // It has answered for nobody.
                None if there && talks_to == With::Nobody => self.succeed(cx, leg, with),
                None => self.end(cx, with, End::bye(EndedBy::OtherLeg, Headers::new())),
            },
            Ok(caller) if !there => {
                // It has hung up since.
                self.dial_over(cx, caller, with);
                match self.party(caller).is_some_and(|party| party.steered) {
                    true => self.deserted(cx, caller),
                    false => self.end(cx, caller, End::bye(EndedBy::OtherLeg, Headers::new())),
                }
            }
            Ok(caller) => {
                if let Some(party) = self.party_mut(with) {
                    party.parent = Some(caller);
                }
                // It may have been answered otherwise while the new party was accepted.
                match talks_to != With::Party
                    && self.has_answer(caller, with)
                    && self.has_answer(with, caller)
                {
                    true => self.link(cx, caller, with),
                    false => self.join(cx, caller, with, Start::Up, JoinFor::Dial(caller)),
                }
            }
        }
    }

    /// Whether what a party was told last is what another one says to it.
    fn has_answer(&self, sid: CallSid, from: CallSid) -> bool {
        let both = self.heard_sdp(from).zip(self.heard_sdp(sid)).zip(self.told_sdp(sid));
        both.is_some_and(|((said, offer), told)| {
            media::as_answer(&said, &offer, Some(&told)).is_some_and(|answer| media::agrees(&told, &answer))
        })
    }
}

/// The ringing leg's shard.
impl Calls {
    /// A leg that rings is claimed by who is to take its place.
    pub(super) fn pick_up_afar(&mut self, cx: &mut Cx<'_>, claim: &Claim, replacer: &Replacer) {
        let Some(ringing) = self.party(claim.sid) else { return deny(cx, claim.from, claim.ticket, 481) };
        let caller = ringing.parent.filter(|caller| !self.phase(*caller).is_over());
        let (application, steered) = (ringing.application, ringing.steered);
        let account = ringing.account.clone();
        let with = match caller {
            None => With::Nobody,
            Some(caller) if self.phase(caller) == Phase::Offered => With::Caller,
            Some(_) => With::Party,
        };
        if with == With::Party && !replacer.accepted && !self.rings_for_quiet(claim.sid) {
            return deny(cx, claim.from, claim.ticket, 491);
        }
        let Some(answer) = self.said_to(cx, caller, with, replacer.offer.as_ref()) else {
            return deny(cx, claim.from, claim.ticket, 488);
        };
        if replacer.accepted {
            return self.taken(cx, claim, replacer, caller, with);
        }
        let (ticket, names) = (claim.ticket, replacer.names.clone());
        let limit = self.limit_of(cx, claim.sid);
        let picks = Picks { ticket, names, answer, with, application, steered, account, limit };
        cx.out.push(Output::Peer(claim.from, Box::new(PeerMessage::Picks(Box::new(picks)))));
    }

    /// What the new party is told; `None`: they have nothing in common (R-098).
    fn said_to(
        &self,
        cx: &mut Cx<'_>,
        caller: Option<CallSid>,
        with: With,
        offer: Option<&Body>,
    ) -> Option<Body> {
        match (caller, with) {
            (Some(caller), With::Caller) => {
                let offer = offer?;
                self.told_caller(caller, offer)?;
                media::as_answer(&self.heard_sdp(caller)?, offer, None)
            }
            (Some(caller), With::Party | With::Nobody) => {
                let said = self.current_offer(caller).or_else(|| self.heard_sdp(caller))?;
                offer.map_or(Some(said.clone()), |offer| media::as_answer(&said, offer, None))
            }
            (None, _) => match offer {
                Some(offer) => media::refuse_media(offer),
                None => Some(media::nothing(cx.random())),
            },
        }
    }

    /// What the caller is told then.
    fn told_caller(&self, caller: CallSid, offer: &Body) -> Option<Body> {
        media::as_answer(offer, &self.heard_sdp(caller)?, self.told_sdp(caller).as_ref())
    }

    /// The new party is accepted: so is the caller, and who rang is called off. Whom it rang for goes there as
    /// soon as it can.
    fn taken(
        &mut self,
        cx: &mut Cx<'_>,
        claim: &Claim,
        replacer: &Replacer,
        caller: Option<CallSid>,
        with: With,
    ) {
        let Some(caller) = caller else {
            self.end(cx, claim.sid, End::bye(EndedBy::Baton, Headers::new()));
            return deny(cx, claim.from, claim.ticket, 481);
        };
        if with == With::Caller {
            let answer = replacer.offer.as_ref().and_then(|offer| self.told_caller(caller, offer));
            let fork = self.fork_for(caller, replacer.sid);
            self.accept(cx, caller, fork, &Headers::new(), answer.as_ref());
        }
        self.succeed(cx, claim.sid, replacer.sid);
        let (from, ticket, errand) = (claim.from, claim.ticket, Errand::Whole);
        self.try_to_move(cx, Claim { from, ticket, sid: caller, times: 0, errand, lent: true });
    }
}
