//! Role S, attended: Refer-To names a dialog to be replaced.
//!
//! A dialog of Baton's own is the referrer's leg of a consultation call: the far half of it is what the
//! survivor is joined with, and no INVITE is needed. The call may live on another shard; then it moves
//! here first (law 2). A dialog of somebody else's is replaced by an INVITE with Replaces.

use super::super::Calls;
use super::super::moving::{Errand, Then};
use super::super::party::Phase;
use super::substitute::{Choice, Deed};
use super::table::TransferId;
use crate::sip::event::CallSid;
use crate::sip::message::Uri;
use crate::sip::proxy::{Cx, Itself};
use crate::sip::refer::ReferRule;
use crate::sip::refer::decide::Refusal;
use crate::sip::refer::policy::ReplacesMode;
use crate::sip::refer::replaces::Named;

/// What a transfer of a dialog that is no more is told.
pub(super) const GONE: u16 = 481;

impl Calls {
    /// What is to be done for a Refer-To with Replaces.
    pub(super) fn choose_attended(&mut self, cx: &mut Cx<'_>, id: TransferId, named: &Named) -> Choice {
        let Some(role) = self.transfers.substitute(id) else { return Choice::Wait };
        if role.policy.replaces == ReplacesMode::AlwaysSend {
            return self.choose_call(cx, id);
        }
        if let Some(consultation) = self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag) {
            return self.consulted(cx, id, consultation, named.early_only);
        }
        let home = self.shard_of(cx, &named.call_id);
        if home == cx.place.index {
            return self.not_here(cx, id);
        }
        let Some(role) = self.transfers.substitute(id) else { return Choice::Wait };
        role.claiming = true;
        let (referrer, survivor) = (role.referrer, role.survivor);
        let errand = Errand::Transfer(Box::new(self.claimant(referrer, survivor)));
        self.claim(cx, &named.call_id, &named.to_tag, &named.from_tag, Then::Transfer(id), errand);
        Choice::Wait
    }

    /// Another shard has given the call away, or has none such.
    pub(super) fn consultation_found(&mut self, cx: &mut Cx<'_>, id: TransferId, found: Option<CallSid>) {
        let over = self.transfers.get(id).is_none_or(|transfer| transfer.life.is_over());
        let Some(role) = self.transfers.substitute(id) else { return };
        if role.afar.is_some() {
            return self.answered_afar(cx, id, found);
        }
        // An answer that comes after the time for it changes nothing.
        if !std::mem::replace(&mut role.claiming, false) || role.asked.is_none() || over {
            return;
        }
        let early = role.request.target.replaces.as_ref().is_some_and(|named| named.early_only);
        let choice = match found {
            Some(consultation) => self.consulted(cx, id, consultation, early),
            None => self.not_here(cx, id),
        };
        self.chosen(cx, id, choice);
    }

    /// The consultation is here: its far half is joined, or taken over while it rings.
    fn consulted(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        consultation: CallSid,
        early_only: bool,
    ) -> Choice {
        let Some(role) = self.transfers.substitute(id) else { return Choice::Wait };
        let referrer = role.referrer;
        // both calls must be the same peer's.
        if !self.claimant(referrer, referrer).has(self, consultation) {
            return Choice::Refuse(Refusal::by(ReferRule::Peer, 403));
        }
        if consultation == referrer {
            return Choice::Refuse(Refusal::by(ReferRule::Loop, 482));
        }
        // who is on the way to somebody else already is not to be had.
        let far = self.other(consultation);
        if self.transfers.active(consultation) || far.is_some_and(|far| self.transfers.active(far)) {
            return Choice::Refuse(Refusal::by(ReferRule::Glare, 491));
        }
        if let Some(role) = self.transfers.substitute(id) {
            role.consultation = Some(consultation);
        }
        self.involve(id, consultation);
        let deed = match self.phase(consultation) {
            Phase::Accepting | Phase::Accepted | Phase::Up if early_only => Deed::Fail(486),
            Phase::Accepting | Phase::Accepted | Phase::Up => {
                match self.other(consultation).filter(|far| self.phase(*far).is_answered()) {
                    // from now on it is kept for the join, whatever becomes of the consultation.
                    Some(far) => {
                        self.found(cx, id, far);
                        Deed::Join(far)
                    }
                    None => Deed::Fail(GONE),
                }
            }
            Phase::Offered => match self.ringing_for(consultation) {
                Some(_) => Deed::Adopt(consultation),
                None => Deed::Fail(GONE),
            },
            // RFC 3891 §3: an early dialog that Baton's own INVITE made is not the referrer's to give.
            Phase::Locating | Phase::Calling => Deed::Fail(GONE),
            Phase::Leaving | Phase::Over => Deed::Fail(GONE),
        };
        Choice::Do(deed)
    }

    /// Nobody here has such a dialog: it is somebody else's, or is no more.
    fn not_here(&mut self, cx: &mut Cx<'_>, id: TransferId) -> Choice {
        let Some(role) = self.transfers.substitute(id) else { return Choice::Wait };
        let local_only = role.policy.replaces == ReplacesMode::LocalOnly;
        let uri = role.request.target.uri.clone();
        let ours = Uri::parse(&uri).is_ok_and(|uri| Itself::new(cx.plan).is(&uri));
        if local_only || ours {
            return Choice::Do(Deed::Fail(GONE));
        }
        self.choose_call(cx, id)
    }
}
