//! Role S: parties leave while a transfer is under way, or are let go when it is over (R-058 to R-060,
//!

use super::super::Calls;
use super::super::ending::End;
use super::super::party::Phase;
use super::table::{Kind, Role, TransferId};
use crate::sip::dialog::Headers;
use crate::sip::event::{CallSid, EndedBy, ReferStatus};
use crate::sip::proxy::Cx;
use crate::sip::refer::policy::Release;
use crate::sip::refer::state::{Event, State};

impl Calls {
    /// The party to be moved has left.
    pub(super) fn survivor_left(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let over = self.transfers.get(id).is_none_or(|transfer| transfer.life.is_over());
        if let Some(role) = self.transfers.substitute(id) {
            // With a result, or before the REFER is answered, the call is what it was: who is left behind is
            // ended as ever.
            role.closing |= !over && role.asked.is_none();
        }
        self.call_off(cx, id, 487, Event::PartyLeft);
    }

    /// A party of the transfer has left; true keeps whom it talked to.
    pub(super) fn substitute_left(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        at: CallSid,
        by: EndedBy,
    ) -> bool {
        let Some(transfer) = self.transfers.get_mut(id) else { return false };
        let over = transfer.life.is_over();
        let pending = transfer.life.state() == State::Pending;
        let Role::Substitute(role) = &mut transfer.role else { return false };
        if role.referrer == at {
            // it may go, and may still be told the result.
            role.gone = true;
            if pending {
                // Its leg has answered the REFER with its end.
                role.asked = None;
            }
            match role.policy.notify_after_bye {
                true => role.notifier.only_result(),
                false => role.notifier.drop_it(),
            }
            self.stop_timer(cx, id, Kind::Release);
            if pending {
                self.live(cx, id, |life, now| life.on(now, Event::CallEnded));
                return false;
            }
            return !over;
        }
        if role.survivor == at {
            let taken = role.taken;
            if !over {
                self.survivor_left(cx, id);
            }
            if !self.transfers.substitute(id).is_some_and(|role| role.closing) {
                return false;
            }
            match taken {
                true => self.dial_lost(cx, at, by, None),
                false => self.own_dial_lost(cx, at, None),
            }
            return true;
        }
        if role.consultation == Some(at) && !over && role.target.is_some() && self.other_is_target(id) {
            // its far half is on its way to somebody else.
            self.dial_lost(cx, at, by, None);
            return true;
        }
        false
    }

    /// Whether the target is the far half of the consultation, answered.
    fn other_is_target(&self, id: TransferId) -> bool {
        let Some(Role::Substitute(role)) = self.transfers.role(id) else { return false };
        role.target.is_some_and(|target| self.phase(target).is_answered())
    }

    /// The Refer has its result.
    pub(super) fn substitute_done(&mut self, cx: &mut Cx<'_>, id: TransferId, success: bool) {
        self.stop_timer(cx, id, Kind::Start);
        let code = self.transfers.get(id).and_then(|t| t.life.notify_code()).unwrap_or(480);
        self.done_afar(cx, id, (!success).then_some(code));
        let Some(role) = self.transfers.substitute(id) else { return };
        let (survivor, gone, closing) = (role.survivor, role.gone, role.closing);
        let (consultation, target) = (role.consultation, role.target);
        if let Some(consultation) = consultation.filter(|_| success) {
            // what the referrer has of it is not needed any more.
            self.end(cx, consultation, End::bye(EndedBy::Baton, Headers::new()));
        } else if let Some(consultation) = consultation.filter(|_| target.is_some())
            && self.phase(consultation) == Phase::Offered
            && !self.party(consultation).is_some_and(|party| party.steered)
            && !self.dials.contains_key(&consultation)
        {
            // C-088: the branch that rang for it was taken over; a program knows, and goes on with it.
            self.end(cx, consultation, End::refused(code));
        }
        if !gone {
            return;
        }
        let alone = self.party(survivor).is_some_and(|party| party.talks_to.is_none() && !party.steered);
        if !success && !closing && alone {
            //
            let reason = vec![("Reason".into(), format!("SIP;cause={code}").into_bytes().into())];
            self.end(cx, survivor, End::bye(EndedBy::OtherLeg, reason));
        }
        self.winner_gone(cx, survivor);
    }

    /// The last NOTIFY is answered: the referrer's leg, by the trunk's wish.
    pub(super) fn release_referrer(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let outcome = transfer.life.outcome();
        let Role::Substitute(role) = &mut transfer.role else { return };
        let Some(outcome) = outcome else { return };
        if role.gone || std::mem::replace(&mut role.released, true) {
            return;
        }
        let success = outcome.status == ReferStatus::Completed;
        match (role.closing, success, role.policy.release) {
            (true, _, _) | (false, true, Release::AtOnce) => self.end_referrer(cx, id),
            (false, true, Release::Wait) => {
                let after = role.policy.release_after;
                self.transfer_timer(cx, id, Kind::Release, after);
            }
            (false, true, Release::Never) | (false, false, _) => {}
        }
    }

    /// The referrer is ended by Baton.
    pub(super) fn end_referrer(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        if let Some(at) = self.transfers.substitute(id).map(|role| role.referrer) {
            self.end(cx, at, End::bye(EndedBy::Baton, Headers::new()));
        }
    }
}
