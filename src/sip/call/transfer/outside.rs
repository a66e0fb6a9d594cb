//! Role S: a REFER that comes outside the dialog it is about, which its Target-Dialog names (RFC 4538,
//!
//!
//! It makes a dialog of its own, for the NOTIFYs alone; everything else is as if it had come in the dialog
//! that it names. The leg of its own dialog belongs to no party: it ends with the subscription.

use super::super::Calls;
use super::super::arrival::Arrival;
use super::super::moving::{Errand, Then};
use super::table::TransferId;
use crate::sip::dialog::{Asked, Headers, LegId};
use crate::sip::event::{CallSid, ReferReason, ReferRole, ReferStatus};
use crate::sip::message::{Message, Method};
use crate::sip::plan::TrunkIx;
use crate::sip::proxy::Cx;
use crate::sip::refer::decide::Refusal;
use crate::sip::refer::replaces::Named;
use crate::sip::refer::{Notifier, ReferRule};

/// There is no such leg.
const GONE: u16 = 481;
/// REFERs of others about one call that its record tells of.
const MOST_STRANGERS: u8 = 16;

/// The dialog of such a REFER.
#[derive(Debug)]
pub(super) struct Outside {
    asked: Asked,
    /// The REFER, until the leg that it is about is found.
    waiting: Option<Referral>,
    /// Whom the NOTIFYs tell about.
    pub(super) transfer: Option<TransferId>,
}

/// Such a REFER, and whose it is.
#[derive(Clone, Debug)]
pub struct Referral {
    trunk: Option<TrunkIx>,
    message: Box<Message>,
}

impl Calls {
    /// Takes the REFER. `Err` is a code for the caller to refuse it with; no leg was made then.
    pub(in crate::sip::call) fn referred(
        &mut self,
        cx: &mut Cx<'_>,
        arrival: &Arrival<'_>,
    ) -> Result<(), u16> {
        let named = Named::target_dialog(arrival.message).ok().flatten().ok_or(400_u16)?;
        let found = self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag);
        if found.is_none() && self.shard_of(cx, &named.call_id) == cx.place.index {
            return Err(GONE);
        }
        let Some((leg, asked)) =
            self.legs.referred(cx, arrival.server, arrival.message, arrival.ready, arrival.flow)
        else {
            return Err(503);
        };
        let referral = Referral { trunk: arrival.trunk(), message: Box::new(arrival.message.detached()) };
        let outside = Outside { asked, waiting: Some(referral.clone()), transfer: None };
        self.transfers.outside.insert(leg, outside);
        self.transfers.asked_outside.insert(asked, leg);
        match found {
            Some(at) => self.referred_leg(cx, leg, Ok(at)),
            None => {
                let (then, errand) = (Then::Refer(leg), Errand::Refer(Box::new(referral)));
                self.claim(cx, &named.call_id, &named.to_tag, &named.from_tag, then, errand);
            }
        }
        Ok(())
    }

    /// The leg that it is about is here; or there is none, or none for its sender, who hears that by this code.
    pub(in crate::sip::call) fn referred_leg(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        found: Result<CallSid, u16>,
    ) {
        let Some(outside) = self.transfers.outside.get_mut(&leg) else { return };
        let asked = outside.asked;
        let Some(referral) = outside.waiting.take() else { return };
        match found.and_then(|at| self.may_refer(cx, at, &referral).map(|()| at)) {
            Ok(at) => self.refer_came(cx, at, asked, &referral.message),
            Err(code) => self.answer_outside(cx, leg, asked, code),
        }
    }

    /// only the peer of a dialog may move its other party. That is judged where the leg is, before it goes
    /// anywhere for such a REFER.
    pub(in crate::sip::call) fn may_refer(
        &mut self,
        cx: &mut Cx<'_>,
        at: CallSid,
        referral: &Referral,
    ) -> Result<(), u16> {
        let Some(trunk) = self.party(at).map(|party| party.trunk) else { return Err(GONE) };
        if !self.phase(at).is_answered() {
            return Err(GONE);
        }
        if referral.trunk.is_some() && referral.trunk == trunk {
            return Ok(());
        }
        let refusal = Refusal::by(ReferRule::Peer, 403);
        match self.refer_subject(cx, at, &referral.message) {
            Some(subject) if self.worth_telling(at) => self.told_of_refusal(cx, subject, &refusal),
            Some(_) | None => {
                let policy = Some(ReferReason::Policy);
                cx.counters.refer(referral.trunk, ReferRole::Substitute, ReferStatus::Failed, policy);
            }
        }
        Err(refusal.code)
    }

    /// A stranger wants to move a call, and its record says so; but strangers do not fill it.
    fn worth_telling(&mut self, at: CallSid) -> bool {
        self.party_mut(at).is_some_and(|party| {
            party.strangers = party.strangers.saturating_add(1);
            party.strangers <= MOST_STRANGERS
        })
    }

    fn answer_outside(&mut self, cx: &mut Cx<'_>, leg: LegId, asked: Asked, status: u16) {
        self.transfers.asked_outside.remove(&asked);
        self.legs.respond(cx, leg, asked, status, &Headers::new(), None);
        self.end_outside(cx, leg);
    }

    /// The leg on which a request waits for its answer, when that is not its party's: with a refusal its
    /// dialog is over.
    pub(in crate::sip::call) fn respond_outside(
        &mut self,
        cx: &mut Cx<'_>,
        asked: Asked,
        status: u16,
        headers: &Headers,
    ) -> bool {
        if status < 200 {
            return false;
        }
        let Some(leg) = self.transfers.asked_outside.remove(&asked) else { return false };
        self.legs.respond(cx, leg, asked, status, headers, None);
        if status >= 300 {
            self.end_outside(cx, leg);
        }
        true
    }

    /// A request came in such a dialog: SUBSCRIBE may, nothing else.
    pub(in crate::sip::call) fn requested_outside(
        &mut self,
        cx: &mut Cx<'_>,
        leg: LegId,
        asked: Asked,
        message: &Message,
    ) {
        let refer = message.event().ok().flatten().is_some_and(|event| event.is("refer"));
        let known = self.transfers.outside.get(&leg).and_then(|outside| outside.transfer);
        let Some(id) = known.filter(|_| refer && message.method() == Method::Subscribe) else {
            return self.legs.respond(cx, leg, asked, 481, &Headers::new(), None);
        };
        let expires = message.expires().ok().flatten();
        let now = cx.now;
        let most = self.transfers.get(id).map(|t| Notifier::lasting(t.life.waits()));
        let role = self.transfers.substitute(id).zip(most);
        match role.and_then(|(role, most)| role.notifier.subscribe(now, None, expires, most)) {
            Some(granted) => {
                let value = granted.as_secs().to_string().into_bytes();
                self.legs.respond(cx, leg, asked, 200, &vec![("Expires".into(), value.into())], None);
                self.pump(cx, id);
            }
            None => self.legs.respond(cx, leg, asked, 403, &Headers::new(), None),
        }
    }

    /// The subscription is over, and with it the dialog.
    pub(super) fn end_outside(&mut self, cx: &mut Cx<'_>, leg: LegId) {
        if self.transfers.outside.remove(&leg).is_some() {
            self.legs.finish(cx, leg);
        }
    }
}
