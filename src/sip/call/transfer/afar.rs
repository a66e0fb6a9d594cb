//! Role S, attended, over two shards: the consultation still rings, and lives on another shard than the
//! REFER's call (R-087).
//!
//! What is not answered yet cannot move. So those who ring stay where they are, but from now on ring for
//! the survivor; whoever answers moves to it then (law 2). Until then the shards tell each other:
//!
//! ```text
//! REFER's shard                        consultation's shard
//!   Claim, by a claimant ───────────►  lend: the same peer's? then those who ring are taken over
//!   202, NOTIFY 100, 180 ◄── Rings ──
//!   NOTIFY 18x           ◄── Rings ──  they ring
//!   joined               ◄── Moved ──  one answers           or   failed ◄── Rings ── they do not
//!   the result           ── Unwanted ─►  the rest of it ends
//! ```

use super::super::Calls;
use super::super::dial::{DialFor, DialNews};
use super::super::ending::End;
use super::super::joining::Start;
use super::super::media;
use super::super::moving::{Claim, Claimant, Errand};
use super::super::party::{Phase, Turn};
use super::attended::GONE;
use super::substitute::{Choice, Deed};
use super::table::TransferId;
use crate::shard::{Output, PeerMessage};
use crate::sip::dialog::Headers;
use crate::sip::event::{CallSid, EndedBy};
use crate::sip::proxy::Cx;
use crate::sip::refer::ReferRule;
use crate::sip::refer::decide::Refusal;

/// Reason of the CANCEL to those who are not wanted any more.
const NOT_WANTED: &str = "SIP;cause=487;text=\"Request Terminated\"";

/// A ringing consultation on another shard.
#[derive(Clone, Copy, Debug)]
pub(in crate::sip::call) struct Afar {
    /// That shard.
    pub(in crate::sip::call) shard: u16,
    /// The claim's.
    pub(in crate::sip::call) ticket: u64,
    /// For whom they ring now.
    pub(in crate::sip::call) survivor: CallSid,
    /// The referrer's leg of it.
    pub(in crate::sip::call) consultation: CallSid,
}

/// The other shard may do with it what it likes.
pub(in crate::sip::call) fn give_back(cx: &mut Cx<'_>, afar: &Afar, code: Option<u16>) {
    let Afar { shard, survivor, consultation, .. } = *afar;
    cx.out.push(Output::Peer(shard, Box::new(PeerMessage::Unwanted { survivor, consultation, code })));
}

impl Claimant {
    /// Whether a leg is the same peer's: one trunk, one client, or one address where neither is known (R-089).
    pub(super) fn has(&self, calls: &Calls, sid: CallSid) -> bool {
        let Some(who) = calls.party(sid).map(|party| party.who()) else { return false };
        let address = calls.facts(sid).map(|facts| facts.flow.remote.ip());
        who == self.who && (who.is_some() || address == self.address)
    }
}

/// The REFER's shard.
impl Calls {
    /// Who asks for a consultation.
    pub(super) fn claimant(&self, referrer: CallSid, survivor: CallSid) -> Claimant {
        let who = self.party(referrer).and_then(|party| party.who());
        Claimant { survivor, who, address: self.facts(referrer).map(|facts| facts.flow.remote.ip()) }
    }

    /// The consultation rings, or not any more; or it cannot be had.
    pub(in crate::sip::call) fn rings_afar(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        afar: Afar,
        code: u16,
    ) {
        let failed = code >= 300;
        if failed {
            self.unclaim(afar.ticket);
        }
        let role = self.transfers.substitute(id);
        let Some(role) = role.filter(|role| role.afar.is_some() || role.claiming && role.asked.is_some())
        else {
            self.unclaim(afar.ticket);
            if !failed {
                give_back(cx, &afar, Some(480));
            }
            return;
        };
        if role.afar.is_some() {
            let news = if failed { DialNews::Failed { code } } else { DialNews::Progress { code } };
            return self.target_news(cx, id, news);
        }
        role.claiming = false;
        let choice = match code {
            100..=299 => {
                role.afar = Some(afar);
                Choice::Do(Deed::Await)
            }
            GONE => Choice::Do(Deed::Fail(GONE)),
            403 => Choice::Refuse(Refusal::by(ReferRule::Peer, 403)),
            _ => Choice::Refuse(Refusal::by(ReferRule::Glare, code)),
        };
        self.chosen(cx, id, choice);
    }

    /// One of them has answered and is here; or could not come.
    pub(super) fn answered_afar(&mut self, cx: &mut Cx<'_>, id: TransferId, found: Option<CallSid>) {
        let Some(role) = self.transfers.substitute(id) else { return };
        match (found, matches!(role.deed, Deed::Await)) {
            // X-15: an exchange is waited for. Until then it is the transfer's, which alone knows what to do with it.
            (Some(target), true) => {
                role.deed = Deed::Join(target);
                self.found(cx, id, target);
            }
            (Some(target), false) => {
                self.target_news(cx, id, DialNews::Answered { target, start: Start::Up });
            }
            (None, _) => self.target_news(cx, id, DialNews::Failed { code: 480 }),
        }
    }

    /// The Refer has its result.
    pub(super) fn done_afar(&mut self, cx: &mut Cx<'_>, id: TransferId, code: Option<u16>) {
        let Some(afar) = self.transfers.substitute(id).and_then(|role| role.afar.take()) else { return };
        self.unclaim(afar.ticket);
        give_back(cx, &afar, code);
    }
}

/// The consultation's shard.
impl Calls {
    /// A call that cannot move is claimed for a transfer: those who ring for it ring for the survivor, if it is
    /// the referrer's (R-089).
    pub(in crate::sip::call) fn lend(&mut self, cx: &mut Cx<'_>, claim: &Claim, claimant: &Claimant) {
        let (to, ticket, consultation) = (claim.from, claim.ticket, claim.sid);
        let why = DialFor::Afar { to, ticket, consultation };
        let code = match self.phase(consultation) {
            _ if !claimant.has(self, consultation) => 403,
            // X-16
            _ if self.transfers.active(consultation) => 491,
            Phase::Offered if self.adopt(cx, consultation, claimant.survivor, why) => 180,
            Phase::Offered | Phase::Locating | Phase::Calling | Phase::Leaving | Phase::Over => GONE,
            // Its time is over, and something is still under way on it.
            Phase::Accepting | Phase::Accepted | Phase::Up => 491,
        };
        self.tell_afar(cx, to, ticket, claimant.survivor, consultation, code);
    }

    /// How far they are.
    pub(in crate::sip::call) fn tell_afar(
        &self,
        cx: &mut Cx<'_>,
        to: u16,
        ticket: u64,
        survivor: CallSid,
        consultation: CallSid,
        code: u16,
    ) {
        let from = cx.place.index;
        let rings = PeerMessage::Rings { from, ticket, survivor, consultation, code };
        cx.out.push(Output::Peer(to, Box::new(rings)));
    }

    /// One of them has answered: it goes where it is wanted.
    pub(in crate::sip::call) fn answered_for_afar(
        &mut self,
        cx: &mut Cx<'_>,
        from: u16,
        ticket: u64,
        sid: CallSid,
        start: &Start,
    ) {
        if let (Start::Offered { offer }, Some(leg)) = (start, self.leg_of(sid)) {
            // What it is to hear comes with the join.
            let answer = media::refuse_media(offer);
            self.legs.ack(cx, leg, answer.as_ref());
            if let Some(party) = self.party_mut(sid) {
                party.turn(Turn::Acknowledge);
            }
        }
        self.try_to_move(cx, Claim { from, ticket, sid, times: 0, errand: Errand::Whole, lent: true });
    }

    /// One of them could not go there.
    pub(in crate::sip::call) fn end_lent(&mut self, cx: &mut Cx<'_>, claim: &Claim) {
        if claim.lent {
            let winner = self.dials.get(&claim.sid).and_then(|dialing| dialing.winner);
            if self.phase(claim.sid).is_answered()
                && let Some(winner) = winner
                && self.party(claim.sid).is_some_and(|party| party.steered)
            {
                // Whom somebody was picked up for stays, as after any other who leaves it.
                self.dial_over(cx, claim.sid, winner);
                return self.deserted(cx, claim.sid);
            }
            self.end(cx, claim.sid, End::bye(EndedBy::Baton, Headers::new()));
        }
    }

    /// The transfer is over: those who still ring for it are called off, and the referrer's own leg, for which
    /// nobody rings any more, has its answer (R-086, C-088).
    pub(in crate::sip::call) fn unwanted(
        &mut self,
        cx: &mut Cx<'_>,
        survivor: CallSid,
        consultation: CallSid,
        code: Option<u16>,
    ) {
        let lent = |why: DialFor| matches!(why, DialFor::Afar { .. });
        if self.dials.get(&survivor).is_some_and(|dialing| lent(dialing.why)) {
            self.cancel_dial(cx, survivor, EndedBy::Baton, Some(NOT_WANTED));
        }
        if let Some(target) = self.leaving_for(survivor) {
            self.end(cx, target, End::bye(EndedBy::Baton, Headers::new()));
        }
        let Some(party) = self.party(consultation).filter(|party| party.phase == Phase::Offered) else {
            return;
        };
        match code {
            None => self.end(cx, consultation, End::bye(EndedBy::Baton, Headers::new())),
            Some(_) if party.steered || self.dials.contains_key(&consultation) => {}
            Some(code) => self.end(cx, consultation, End::refused(code)),
        }
    }
}
