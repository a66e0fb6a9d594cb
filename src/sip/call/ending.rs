//! How parties leave, and what that means for those they leave behind.

use super::Calls;
use super::headers::{cause, reasons};
use super::media;
use super::news::status_of;
use super::party::{Phase, Turn};
use crate::sip::dialog::{Headers, LegId};
use crate::sip::event::{CallSid, CallStatus, EndedBy};
use crate::sip::message::Message;
use crate::sip::proxy::Cx;

/// How a party is to be ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Who wants it.
    pub(super) by: EndedBy,
    /// The final response to an INVITE of its own that is unanswered.
    pub(super) code: u16,
    /// The status of the call, if it was unanswered; `None`: by `code`.
    pub(super) status: Option<CallStatus>,
    /// The reason phrase of the final response; empty: the usual one.
    pub(super) phrase: Box<str>,
    /// Reason, and what else an order gives, for BYE and the final response (C-153).
    pub(super) reason: Headers,
    /// Reason, for CANCEL.
    pub(super) cause: Option<&'static str>,
}

impl End {
    /// Its INVITE is refused with this code.
    pub(super) fn refused(code: u16) -> End {
        let (by, phrase, reason) = (EndedBy::Baton, "".into(), Headers::new());
        End { by, code, status: None, phrase, reason, cause: None }
    }

    /// It is called off before it answered; BYE if that is too late.
    pub(super) fn canceled(by: EndedBy, cause: Option<&'static str>) -> End {
        let reason = cause.map(super::headers::reason).unwrap_or_default();
        End { by, code: 487, status: Some(CallStatus::Canceled), phrase: "".into(), reason, cause }
    }

    /// It is ended, however far it is.
    pub(super) fn bye(by: EndedBy, reason: Headers) -> End {
        let status = Some(CallStatus::Canceled);
        End { by, code: 480, status, phrase: "".into(), reason, cause: None }
    }
}

impl Calls {
    /// Ends a party: BYE when it is answered, CANCEL or a final response when not. Does nothing when
    /// it has ended already. Those left behind are dealt with.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>, sid: CallSid, end: End) {
        let Some(party) = self.party_mut(sid) else { return };
        let (phase, leg) = (party.phase, party.leg);
        party.turn(Turn::End);
        let unanswered = end.status.unwrap_or(status_of(end.code));
        let (status, code) = match phase {
            Phase::Leaving | Phase::Over => return,
            Phase::Locating => (unanswered, end.code),
            Phase::Offered => {
                if let Some(leg) = leg {
                    self.legs.reject(cx, leg, end.code, &end.phrase, &end.reason);
                }
                (unanswered, end.code)
            }
            Phase::Calling => {
                if let Some(leg) = leg {
                    self.legs.cancel(cx, leg, end.cause);
                }
                (unanswered, 487)
            }
            Phase::Accepted => {
                if let Some(leg) = leg {
                    let answer = self.heard_sdp(sid).and_then(|offer| media::refuse_media(&offer));
                    self.legs.ack(cx, leg, answer.as_ref());
                    self.legs.bye(cx, leg, &end.reason);
                }
                (CallStatus::Completed, 0)
            }
            Phase::Accepting | Phase::Up => {
                if let Some(leg) = leg {
                    self.legs.bye(cx, leg, &end.reason);
                }
                (CallStatus::Completed, 0)
            }
        };
        self.finish(cx, sid, status, code, end.by);
        // What an order says to this party is not for the others.
        let reason = end.reason.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("Reason")).collect();
        self.left_behind(cx, sid, end.by, reason, end.cause);
        if leg.is_none() {
            self.forget(cx, sid);
        }
    }

    /// A party has hung up, or its dialog is no more.
    pub(super) fn left(&mut self, cx: &mut Cx<'_>, sid: CallSid, by: EndedBy, message: Option<&Message>) {
        let Some(party) = self.party_mut(sid) else { return };
        if party.phase.is_over() {
            return;
        }
        party.turn(Turn::End);
        // What was Calling until now cannot have had a dialog to end: a fork's BYE came with its 2xx.
        party.turn(Turn::Gone);
        self.finish(cx, sid, CallStatus::Completed, 0, by);
        self.left_behind(cx, sid, by, reasons(message), message.and_then(cause));
    }

    /// A party has cancelled its INVITE; its leg is gone.
    pub(super) fn canceled(&mut self, cx: &mut Cx<'_>, sid: CallSid, message: &Message) {
        self.detach(sid);
        if let Some(party) = self.party_mut(sid) {
            party.turn(Turn::Gone);
        }
        self.finish(cx, sid, CallStatus::Canceled, 487, EndedBy::Peer);
        self.left_behind(cx, sid, EndedBy::Peer, reasons(Some(message)), cause(message));
        self.forget(cx, sid);
    }

    /// What the end of a party means for those it called or talked to.
    fn left_behind(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        by: EndedBy,
        reason: Headers,
        cause: Option<&'static str>,
    ) {
        let Some(party) = self.party_mut(sid) else { return };
        let (timer, rest) = (party.timer.take(), party.rest.take());
        let join = party.join;
        // Its leg lingers, and nobody asks for these any more.
        party.made = None;
        party.privacy = None;
        party.asserted = None;
        for timer in timer.into_iter().chain(rest) {
            self.timers.cancel(cx, timer);
        }
        self.leaves_owing(cx, sid);
        if let Some(join) = join {
            self.join_lost(cx, join, sid);
        }
        let other = self.unlink(cx, sid);
        if self.on_party_ended(cx, sid, other, by) {
            if let Some(other) = other {
                self.deserted(cx, other);
            }
            return;
        }
        self.dial_lost(cx, sid, by, cause);
        let Some(other) = other else { return };
        let Some(left) = self.party(other) else { return };
        // The control plane decides for a leg that it steers, unless that was called for this one.
        let stays = left.steered && left.parent != Some(sid);
        match stays {
            true => self.deserted(cx, other),
            false => self.end(cx, other, End { cause, ..End::bye(EndedBy::OtherLeg, reason) }),
        }
    }

    /// Nothing more will come of a leg.
    pub(super) fn gone(&mut self, cx: &mut Cx<'_>, leg: LegId) {
        let Some(sid) = self.by_leg.get(&leg).copied() else { return };
        self.left(cx, sid, EndedBy::Baton, None);
        self.detach(sid);
        self.forget(cx, sid);
    }

    /// A party has no leg any more.
    pub(super) fn detach(&mut self, sid: CallSid) {
        if let Some(leg) = self.party_mut(sid).and_then(|party| party.leg.take()) {
            self.by_leg.remove(&leg);
        }
    }

    /// A party is no more.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let Some(party) = self.parties.remove(&sid) else { return };
        for timer in party.timer.into_iter().chain(party.rest) {
            self.timers.cancel(cx, timer);
        }
        self.went_home(cx, &party);
    }
}
