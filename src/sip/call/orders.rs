//! Orders of the control plane: each is taken or refused at once; what comes of it is told by events.

use super::dial::{Ask, DialFor, Offer, Template, Wanted};
use super::ending::End;
use super::headers::{given, reason};
use super::joining::{JoinFor, Start};
use super::media;
use super::party::Phase;
use super::{Calls, Purpose};
use crate::shard::{Output, PeerMessage};
use crate::sip::command::{Action, Command, Dial, Leave, Order, Refused};
use crate::sip::dialog::{Body, Fork, Headers};
use crate::sip::event::{CallSid, CallStatus, EndedBy, Event};
use crate::sip::message::Method;
use crate::sip::proxy::Cx;

impl Calls {
    /// Takes an order.
    pub fn command(&mut self, cx: &mut Cx<'_>, command: Command) {
        let ticket = command.ticket;
        let about = match &command.order {
            Order::Place(_) => None,
            Order::Leg(sid, _) | Order::CancelRefer(_, sid) | Order::DecideRefer(_, sid, _) => Some(*sid),
        };
        if let Some(shard) = about.and_then(|sid| self.moving.whereabouts(sid)) {
            // The call went there, and its orders follow.
            return cx.out.push(Output::Peer(shard, Box::new(PeerMessage::Command(Box::new(command)))));
        }
        let result = match command.order {
            Order::Place(place) => {
                // The reply comes before the call's own events.
                let ready = self.prepare(cx, *place);
                let taken = ready.as_ref().map(|_| ()).map_err(|refused| *refused);
                self.reply(cx, ticket, taken);
                if let Ok((wanted, template)) = ready {
                    self.place(cx, None, wanted, template);
                }
                return;
            }
            Order::Leg(sid, action) => self.act(cx, ticket, sid, action),
            Order::CancelRefer(refer, sid) => self.cancel_refer(cx, refer, sid),
            Order::DecideRefer(refer, sid, decision) => self.decide_refer(cx, refer, sid, decision),
        };
        self.reply(cx, ticket, result);
    }

    fn reply(&self, cx: &mut Cx<'_>, ticket: u64, result: Result<(), Refused>) {
        if ticket != 0 {
            self.tell(cx, Event::Reply { ticket, result });
        }
    }

    fn act(&mut self, cx: &mut Cx<'_>, ticket: u64, sid: CallSid, action: Action) -> Result<(), Refused> {
        let phase = self.party(sid).ok_or(Refused::Unknown)?.phase;
        if phase.is_over() {
            return Err(Refused::Ended);
        }
        match action {
            Action::Hangup { status, reason: why } => self.hang_up(cx, sid, status, why.as_deref()),
            Action::Leave(leave) => self.leave(cx, sid, &leave),
            Action::Cancel => {
                if !phase.is_answered() {
                    self.end(cx, sid, End { code: 603, ..End::canceled(EndedBy::Control, None) });
                }
                Ok(())
            }
            Action::Ring { status, sdp } => self.ring(cx, sid, status, sdp),
            Action::Answer { sdp, headers } => self.answer_order(cx, sid, sdp, &headers),
            Action::Dial(dial) => self.dial_order(cx, sid, &dial),
            Action::Join(other) => self.join_order(cx, sid, other),
            Action::Part => {
                self.answered_only(sid)?;
                self.part(cx, sid);
                Ok(())
            }
            Action::Refer(order) => {
                self.answered_only(sid)?;
                self.refer(cx, sid, *order)
            }
            Action::Hold => self.hold(cx, sid),
            Action::Resume => self.resume(cx, sid),
            Action::Request { method, headers, body } => {
                self.request_order(cx, ticket, sid, &method, &headers, body)
            }
        }
    }

    /// only what is answered can be worked with.
    fn answered_only(&self, sid: CallSid) -> Result<(), Refused> {
        let phase = self.party(sid).ok_or(Refused::Unknown)?.phase;
        if phase.is_answered() {
            Ok(())
        } else if phase.is_over() {
            Err(Refused::Ended)
        } else {
            Err(Refused::NotAnswered)
        }
    }

    fn offered_only(&self, sid: CallSid) -> Result<(), Refused> {
        match self.party(sid).ok_or(Refused::Unknown)?.phase {
            Phase::Offered => Ok(()),
            Phase::Accepting | Phase::Accepted | Phase::Up => Err(Refused::Answered),
            Phase::Locating | Phase::Calling => Err(Refused::NotAnswered),
            Phase::Leaving | Phase::Over => Err(Refused::Ended),
        }
    }

    fn hang_up(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        status: Option<u16>,
        why: Option<&str>,
    ) -> Result<(), Refused> {
        self.ended_by_order(cx, sid, status, "", why.map(reason).unwrap_or_default())
    }

    fn leave(&mut self, cx: &mut Cx<'_>, sid: CallSid, leave: &Leave) -> Result<(), Refused> {
        let phrase = leave.phrase.as_deref().unwrap_or("");
        if phrase.bytes().any(|b| b.is_ascii_control()) {
            return Err(Refused::Malformed);
        }
        self.ended_by_order(cx, sid, leave.status, phrase, given(&leave.headers)?)
    }

    fn ended_by_order(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        status: Option<u16>,
        phrase: &str,
        headers: Headers,
    ) -> Result<(), Refused> {
        if status.is_some_and(|code| !(300..=699).contains(&code)) {
            return Err(Refused::Malformed);
        }
        let end = End {
            by: EndedBy::Control,
            code: status.unwrap_or(603),
            // A refusal with a code of its own counts as that; any other end before the answer is the
            // API's giving up (Calls API 7).
            status: match (status, self.phase(sid)) {
                (Some(_), Phase::Offered) => None,
                (_, _) => Some(CallStatus::Canceled),
            },
            phrase: phrase.into(),
            reason: headers,
            cause: None,
        };
        self.end(cx, sid, end);
        Ok(())
    }

    fn ring(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        status: u16,
        sdp: Option<String>,
    ) -> Result<(), Refused> {
        self.offered_only(sid)?;
        if !(180..=183).contains(&status) {
            return Err(Refused::Malformed);
        }
        self.decided(cx, sid);
        if let Some(leg) = self.leg_of(sid) {
            let status = if sdp.is_some() { 183 } else { status };
            self.legs.ring(cx, leg, Fork(0), status, &Headers::new(), sdp.map(Body::sdp).as_ref());
        }
        Ok(())
    }

    fn answer_order(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        sdp: Option<String>,
        headers: &[(String, String)],
    ) -> Result<(), Refused> {
        self.offered_only(sid)?;
        let headers = given(headers)?;
        let body = match (sdp, self.heard_sdp(sid)) {
            (Some(sdp), _) => Some(Body::sdp(sdp)),
            (None, Some(offer)) => media::refuse_media(&offer),
            (None, None) => Some(media::nothing(cx.random())),
        };
        self.accept(cx, sid, Fork(0), &headers, body.as_ref());
        Ok(())
    }

    fn dial_order(&mut self, cx: &mut Cx<'_>, sid: CallSid, dial: &Dial) -> Result<(), Refused> {
        let party = self.party(sid).ok_or(Refused::Unknown)?;
        if matches!(party.phase, Phase::Locating | Phase::Calling) {
            return Err(Refused::NotAnswered);
        }
        if self.dials.contains_key(&sid) || party.join.is_some() {
            return Err(Refused::Busy);
        }
        if dial.parties.is_empty() || dial.parties.iter().any(|called| self.parties.contains_key(&called.sid))
        {
            return Err(Refused::Malformed);
        }
        if self.parties.len() + dial.parties.len() > cx.plan.calls.capacity {
            return Err(Refused::Full);
        }
        let account = party.account.clone();
        let unanswered = party.phase == Phase::Offered;
        let from = match &dial.from {
            Some(from) => self.caller_value(from, None)?,
            None => self.facts(sid).map(|facts| facts.remote.into()).ok_or(Refused::Unknown)?,
        };
        let offer = if dial.join {
            let current = if unanswered { self.heard_sdp(sid) } else { self.current_offer(sid) };
            current.map_or(Offer::TheirsToMake, Offer::Given)
        } else {
            Offer::Given(media::nothing(cx.random()))
        };
        let mut parties = Vec::with_capacity(dial.parties.len());
        for called in &dial.parties {
            let headers = given(&called.headers)?;
            let targets = self.locate(cx, &called.to)?;
            for (n, target) in targets.into_iter().enumerate() {
                // A party called over trunks at once has further legs, which have names of their own.
                let sid = if n == 0 { called.sid } else { CallSid(cx.new_sid()) };
                let credentials = called.credentials.clone();
                parties.push(Wanted { sid, target, headers: headers.clone(), credentials });
            }
        }
        self.decided(cx, sid);
        let template = Template {
            from,
            to: None,
            offer,
            ring: dial.timeout,
            max_forwards: super::arrival::MAX_FORWARDS,
            max_breadth: None,
            preferred: None,
            account,
        };
        let why = DialFor::Order { join: dial.join };
        self.dial(cx, Ask { parent: sid, parties, template, why, limit: dial.time_limit });
        Ok(())
    }

    fn join_order(&mut self, cx: &mut Cx<'_>, a: CallSid, b: CallSid) -> Result<(), Refused> {
        let (one, other) = (self.party(a).ok_or(Refused::Unknown)?, self.party(b).ok_or(Refused::Unknown)?);
        if one.join.is_some() || other.join.is_some() || one.transfer.is_some() || other.transfer.is_some() {
            return Err(Refused::Busy);
        }
        if a == b {
            return Err(Refused::Malformed);
        }
        // One that is up and one that is being answered, or two that are up.
        let (survivor, target) = if one.phase == Phase::Offered { (b, a) } else { (a, b) };
        self.answered_only(survivor)?;
        let start = if self.phase(target) == Phase::Offered {
            self.decided(cx, target);
            Start::Entering { offer: self.heard_sdp(target) }
        } else {
            self.answered_only(target)?;
            Start::Up
        };
        self.join(cx, survivor, target, start, JoinFor::Order);
        Ok(())
    }

    /// Puts a party on hold.
    pub(super) fn hold(&mut self, cx: &mut Cx<'_>, sid: CallSid) -> Result<(), Refused> {
        self.redirected(cx, sid, media::held)
    }

    /// Takes a party back.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>, sid: CallSid) -> Result<(), Refused> {
        self.redirected(cx, sid, media::resumed)
    }

    fn redirected(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        turned: fn(&Body) -> Option<Body>,
    ) -> Result<(), Refused> {
        self.answered_only(sid)?;
        if self.party(sid).is_some_and(|party| party.join.is_some()) {
            return Err(Refused::Busy);
        }
        let told = self.told_sdp(sid).ok_or(Refused::NotAnswered)?;
        if let Some(offer) = turned(&told) {
            self.quietly(cx, sid, offer);
        }
        Ok(())
    }

    fn request_order(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: u64,
        sid: CallSid,
        method: &str,
        headers: &[(String, String)],
        body: Option<(String, String)>,
    ) -> Result<(), Refused> {
        self.answered_only(sid)?;
        // What changes the session or the dialog has orders of its own.
        if !matches!(
            Method::from_bytes(method.as_bytes()),
            Method::Info | Method::Message | Method::Options | Method::Notify
        ) {
            return Err(Refused::Malformed);
        }
        let headers = given(headers)?;
        let body = match body {
            Some((content_type, _)) if content_type.bytes().any(|b| b.is_ascii_control()) => {
                return Err(Refused::Malformed);
            }
            Some((content_type, text)) => {
                Some(Body { content_type: content_type.into(), bytes: text.into() })
            }
            None => None,
        };
        self.send(cx, sid, method, headers, body, None, Purpose::Order { ticket })?;
        Ok(())
    }
}
