//! Parties that nobody talks to any more, though they stay: they are put on hold, or their phones would go
//! on sending to an address where nobody listens (RFC 3725 §7).
//!
//! The control plane, which they stay for, is given a moment first: one that calls somebody else at once, or
//! hangs up, spares the phone a re-INVITE. Whatever is under way with such a party comes before its hold:
//! one that has not gone out yet when the party is joined to another never does, unless the join fails.

use super::party::Party;
use super::timers::Timer;
use super::{Calls, Purpose, media};
use crate::sip::dialog::{Body, Headers};
use crate::sip::event::CallSid;
use crate::sip::proxy::Cx;
use std::time::Duration;

/// The moment that the control plane has.
const MOMENT: Duration = Duration::from_millis(500);

impl Calls {
    /// Who a party talked to has left it, and the control plane decides what becomes of it.
    pub(super) fn deserted(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let stays = |party: &&mut Party| party.steered && !party.phase.is_over();
        if let Some(party) = self.party_mut(sid).filter(stays) {
            party.deserted = true;
            self.rest_soon(cx, sid);
        }
    }

    /// What was under way with a party is over: if it is still alone, it is put on hold.
    pub(super) fn rest_soon(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        if !self.party(sid).is_some_and(|party| party.deserted && party.rest.is_none()) {
            return;
        }
        let timer = self.wait(cx, MOMENT, Timer::Rest(sid));
        if let Some(party) = self.party_mut(sid) {
            party.rest = Some(timer);
        }
    }

    /// The moment is over. What keeps the party from its hold now calls [`Calls::rest_soon`] at its end.
    pub(super) fn rest(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let dialling = self.dials.get(&sid).is_some_and(|dialing| !dialing.children.is_empty());
        let busy = dialling || self.transfers.active(sid);
        let silent = self.told_sdp(sid).is_none_or(|told| media::is_silent(&told));
        let Some(party) = self.party_mut(sid) else { return };
        party.rest = None;
        if !party.deserted || busy || party.join.is_some() {
            return;
        }
        if silent || party.talks_to.is_some() {
            party.deserted = false;
            return;
        }
        if party.hold && party.quiet.is_some() {
            return;
        }
        self.silence(cx, sid);
    }

    /// What a party was told, or is as good as told, when it is on its way to another one.
    pub(super) fn had(&self, sid: CallSid) -> Option<Body> {
        let told = self.told_sdp(sid)?;
        let deserted = self.party(sid).is_some_and(|party| party.deserted);
        if deserted { media::inactive(&told) } else { Some(told) }
    }

    /// Both of two that talked stay, but not with each other: they are put on hold. The Dial that brought
    /// them together is over, and from now on the control plane decides for either.
    pub(super) fn part(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let Some(other) = self.unlink(cx, sid) else { return };
        for (one, with) in [(sid, other), (other, sid)] {
            self.dial_over(cx, one, with);
            if let Some(party) = self.party_mut(one) {
                party.steered = true;
            }
            self.silence(cx, one);
        }
    }

    /// A party that talks to nobody hears and says nothing.
    pub(super) fn silence(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let Some(told) = self.told_sdp(sid).filter(|_| self.phase(sid).is_answered()) else { return };
        let Some(offer) = media::inactive(&told) else { return };
        self.quietly(cx, sid, offer);
        if let Some(party) = self.party_mut(sid) {
            (party.deserted, party.hold) = (true, true);
        }
    }

    /// A re-INVITE of which nobody wants to know what came; one before it that has not gone out is not
    /// needed any more.
    pub(super) fn quietly(&mut self, cx: &mut Cx<'_>, sid: CallSid, offer: Body) {
        self.quietly_from(cx, sid, offer, None);
    }

    /// The same, which also says whom the party talks to, as it may have been told otherwise.
    pub(super) fn quietly_from(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        offer: Body,
        other: Option<CallSid>,
    ) {
        self.unsaid(cx, sid);
        let headers = other.map_or_else(Headers::new, |other| self.presented(cx.plan, sid, other));
        let sent = self.send(cx, sid, "INVITE", headers, Some(offer), None, Purpose::Quiet);
        if let (Ok(request), Some(party)) = (sent, self.party_mut(sid)) {
            (party.quiet, party.hold) = (Some(request), false);
        }
    }

    /// What a party was to be told quietly, and has not been, it is not told any more; whether there was such.
    fn unsaid(&mut self, cx: &mut Cx<'_>, sid: CallSid) -> bool {
        let quiet = self.party_mut(sid).and_then(|party| party.quiet.take());
        quiet.is_some_and(|request| self.forgo(cx, sid, request))
    }

    /// A join tells a party something better.
    pub(super) fn outdone(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        if self.unsaid(cx, sid)
            && let Some(party) = self.party_mut(sid).filter(|party| !party.deserted)
        {
            party.untold = true;
        }
    }

    /// The join has told it that, or has come to nothing.
    pub(super) fn after_join(&mut self, cx: &mut Cx<'_>, sid: CallSid, joined: bool) {
        let untold = self.party_mut(sid).is_some_and(|party| std::mem::take(&mut party.untold));
        if untold && !joined {
            self.remind(cx, sid);
        }
        self.rest_soon(cx, sid);
    }

    /// A party is told again what the other one says, or that there is none.
    pub(super) fn remind(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let other = self.other(sid).filter(|other| self.phase(*other).is_answered());
        match other.and_then(|other| self.heard_sdp(other)) {
            Some(said) => {
                let offer = media::as_offer(&said, self.told_sdp(sid).as_ref());
                self.quietly_from(cx, sid, offer, self.other(sid));
            }
            None => self.silence(cx, sid),
        }
    }

    /// A party has been told something quietly, or does not want to hear it.
    pub(super) fn said_quietly(&mut self, sid: CallSid, request: crate::sip::dialog::RequestId) {
        if let Some(party) = self.party_mut(sid).filter(|party| party.quiet == Some(request)) {
            party.quiet = None;
            party.deserted = false;
        }
    }
}
