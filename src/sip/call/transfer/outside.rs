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
use crate::sip::refer::Notifier;
use crate::sip::refer::replaces::Named;

/// REFERs of others about one call that its record tells of.
const MOST_STRANGERS: u8 = 16;

/// The dialog of such a REFER.
#[derive(Debug)]
pub(super) struct Outside {
    trunk: Option<TrunkIx>,
    asked: Asked,
    /// The REFER, until the leg that it is about is found.
    waiting: Option<Box<Message>>,
    /// Whom the NOTIFYs tell about.
    pub(super) transfer: Option<TransferId>,
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
            return Err(481);
        }
        let Some((leg, asked)) =
            self.legs.referred(cx, arrival.server, arrival.message, arrival.ready, arrival.flow)
        else {
            return Err(503);
        };
        let waiting = Some(Box::new(arrival.message.detached()));
        let outside = Outside { trunk: arrival.trunk(), asked, waiting, transfer: None };
        self.transfers.outside.insert(leg, outside);
        self.transfers.asked_outside.insert(asked, leg);
        match found {
            Some(_) => self.referred_leg(cx, leg, found),
            None => {
                let then = Then::Refer(leg);
                self.claim(cx, &named.call_id, &named.to_tag, &named.from_tag, then, Errand::Whole);
            }
        }
        Ok(())
    }

    /// The leg that it is about is here, or there is none.
    pub(in crate::sip::call) fn referred_leg(&mut self, cx: &mut Cx<'_>, leg: LegId, found: Option<CallSid>) {
        let Some(outside) = self.transfers.outside.get_mut(&leg) else { return };
        let (trunk, asked) = (outside.trunk, outside.asked);
        let Some(message) = outside.waiting.take() else { return };
        let found = found.filter(|at| self.phase(*at).is_answered());
        match found {
            // only the peer of that dialog may move its other party.
            Some(at) => {
                let own = trunk.is_some() && self.party(at).is_some_and(|party| party.trunk == trunk);
                if own || self.worth_telling(at) {
                    return self.refer_came(cx, at, asked, &message, own);
                }
                let policy = Some(ReferReason::Policy);
                cx.counters.refer(trunk, ReferRole::Substitute, ReferStatus::Failed, policy);
                self.answer_outside(cx, leg, asked, 403);
            }
            None => self.answer_outside(cx, leg, asked, 481),
        }
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
