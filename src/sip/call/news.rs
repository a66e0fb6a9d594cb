//! What the control plane is told: each party is one call to it (Calls API, section 7).
//!
//! Nothing here decides anything. A party without an account leaves no record, but an order that
//! concerns it is answered, and an application that steers it hears of it.

use super::Calls;
use super::headers::shown;
use crate::shard::{CallResult, Output, Phase as Counted};
use crate::sip::event::{
    CallChanged, CallHeaders, CallSid, CallStarted, CallStatus, Cause, Direction, EndedBy, Event,
};
use crate::sip::message::{HeaderId, Message, NameAddr, Uri, unquote, uri};
use crate::sip::proxy::Cx;
use std::sync::Arc;

/// Longest text taken from a message into a record, in bytes.
const MAX_TEXT: usize = 1_024;

/// The status that a final code to an INVITE ends a call with (Calls API 7).
pub(super) const fn status_of(code: u16) -> CallStatus {
    match code {
        486 | 600 | 603 => CallStatus::Busy,
        408 | 487 => CallStatus::NoAnswer,
        _ => CallStatus::Failed,
    }
}

/// Who is shown as caller and callee of a call.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The caller, from From's value.
    pub(super) from: String,
    /// From's display name.
    pub(super) caller_name: Option<String>,
    /// The callee, from a URI.
    pub(super) to: String,
    /// The party that diverted the call.
    pub(super) forwarded_from: Option<String>,
    /// The transfer by whose Refer-To it has come back.
    pub(super) cause: Option<Cause>,
}

impl Shown {
    /// Of an INVITE that came.
    pub(super) fn of(message: &Message) -> Shown {
        let diversion = message.values(HeaderId::Diversion).next().and_then(|v| NameAddr::parse(v).ok());
        Shown {
            forwarded_from: diversion.map(|d| user_of(d.uri)),
            ..Shown::calling(message.header(HeaderId::From).unwrap_or_default(), message.request_uri())
        }
    }

    /// Of an INVITE with this From and this Request-URI.
    pub(super) fn calling(from: &[u8], to: &[u8]) -> Shown {
        let from = NameAddr::parse(from).ok();
        Shown {
            from: from.as_ref().map(|f| user_of(f.uri)).unwrap_or_default(),
            caller_name: from.map(|f| text(unquote(f.display))).filter(|name| !name.is_empty()),
            to: user_of(to),
            forwarded_from: None,
            cause: None,
        }
    }
}

/// A party as the Calls API shows it: the user part, else the host.
fn user_of(raw: &[u8]) -> String {
    match Uri::parse(raw) {
        Ok(parsed) => {
            let shown = parsed.user.unwrap_or(parsed.host);
            if shown.contains(&b'%') { text(&uri::decode(shown)) } else { text(shown) }
        }
        Err(_) => text(raw),
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..MAX_TEXT).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

impl Calls {
    /// An event for the control plane.
    pub(super) fn tell(&self, cx: &mut Cx<'_>, event: Event) {
        cx.out.push(Output::Control(event));
    }

    /// A call begins.
    pub(super) fn announce(&self, cx: &mut Cx<'_>, sid: CallSid, shown: Shown) {
        let Some(party) = self.party(sid) else { return };
        cx.counters.call_phase(party.trunk, party.direction, Counted::Setup, 1);
        let Some(account) = party.account.clone() else { return };
        let call_id = self.facts(sid).map(|facts| text(facts.call_id)).unwrap_or_default();
        let started = CallStarted {
            sid,
            account,
            at: party.started,
            from: shown.from,
            to: shown.to,
            caller_name: shown.caller_name,
            forwarded_from: shown.forwarded_from,
            direction: party.direction,
            call_id,
            parent: party.parent,
            cause: shown.cause.filter(Cause::is_recorded).or_else(|| self.dialled_by_transfer(party.parent?)),
        };
        self.tell(cx, Event::CallStarted(Arc::new(started)));
    }

    /// A call rings or is answered. A status never goes back, and a final one never changes (7.2).
    pub(super) fn progress(&mut self, cx: &mut Cx<'_>, sid: CallSid, status: CallStatus, code: u16) {
        let now = cx.now;
        let Some(party) = self.party_mut(sid).filter(|party| party.status < status && !status.is_final())
        else {
            return;
        };
        party.status = status;
        let (trunk, direction) = (party.trunk, party.direction);
        let took = now.since(party.started);
        match status {
            CallStatus::InProgress => {
                cx.counters.call_phase(trunk, direction, Counted::Setup, -1);
                cx.counters.call_phase(trunk, direction, Counted::Up, 1);
                cx.counters.call_result(trunk, direction, CallResult::Answered);
                if direction != Direction::Inbound {
                    cx.counters.call_setup(trunk, took);
                }
            }
            CallStatus::Ringing if direction != Direction::Inbound => {
                cx.counters.post_dial_delay(trunk, took)
            }
            CallStatus::Ringing
            | CallStatus::Queued
            | CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Canceled
            | CallStatus::Failed => {}
        }
        self.tell_status(cx, sid, code);
    }

    /// A call has ended: its final status, then who ended it. Tells once.
    pub(super) fn finish(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        status: CallStatus,
        code: u16,
        by: EndedBy,
    ) {
        let now = cx.now;
        let Some(party) = self.party_mut(sid).filter(|party| !party.status.is_final()) else { return };
        let was = std::mem::replace(&mut party.status, status);
        let (trunk, direction, took) = (party.trunk, party.direction, now.since(party.started));
        match was {
            CallStatus::InProgress => {
                cx.counters.call_phase(trunk, direction, Counted::Up, -1);
                cx.counters.call_duration(trunk, took);
            }
            CallStatus::Queued
            | CallStatus::Ringing
            | CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Canceled
            | CallStatus::Failed => {
                cx.counters.call_phase(trunk, direction, Counted::Setup, -1);
                cx.counters.call_result(trunk, direction, result_of(status, code));
            }
        }
        self.tell_status(cx, sid, code);
        self.tell(cx, Event::Ended(sid, by));
    }

    fn tell_status(&self, cx: &mut Cx<'_>, sid: CallSid, code: u16) {
        let Some(party) = self.party(sid) else { return };
        let Some(account) = party.account.clone() else { return };
        let (status, started, at) = (party.status, party.started, cx.now);
        self.tell(cx, Event::CallChanged(CallChanged { sid, account, started, at, status, code }));
    }

    /// What interfaces show of an INVITE that came, or of the final response to one of ours.
    pub(super) fn tell_headers(&self, cx: &mut Cx<'_>, sid: CallSid, message: &Message) {
        if !self.is_followed(sid) {
            return;
        }
        let headers = CallHeaders {
            sid,
            headers: shown(message),
            call_id: text(message.header(HeaderId::CallId).unwrap_or_default()),
            code: message.status(),
        };
        self.tell(cx, Event::Headers(Box::new(headers)));
    }

    /// Whether the control plane steers this party, or the one that it was called for.
    pub(super) fn is_followed(&self, sid: CallSid) -> bool {
        let steered = |sid: CallSid| self.party(sid).is_some_and(|party| party.steered);
        steered(sid) || self.party(sid).and_then(|party| party.parent).is_some_and(steered)
    }

    /// Two parties talk to each other from now on, and to nobody else.
    pub(super) fn link(&mut self, cx: &mut Cx<'_>, a: CallSid, b: CallSid) {
        if self.other(a) == Some(b) {
            return;
        }
        self.unlink(cx, a);
        self.unlink(cx, b);
        for (one, other) in [(a, b), (b, a)] {
            if let Some(party) = self.party_mut(one) {
                party.talks_to = Some(other);
                party.deserted = false;
            }
        }
        self.tell(cx, Event::Joined(a, b));
    }

    /// A party talks to nobody any more; answers whom it talked to.
    pub(super) fn unlink(&mut self, cx: &mut Cx<'_>, a: CallSid) -> Option<CallSid> {
        let b = self.party_mut(a)?.talks_to.take()?;
        if let Some(party) = self.party_mut(b).filter(|party| party.talks_to == Some(a)) {
            party.talks_to = None;
        }
        self.tell(cx, Event::Parted(a, b));
        Some(b)
    }
}

const fn result_of(status: CallStatus, code: u16) -> CallResult {
    match status {
        CallStatus::Busy => CallResult::Busy,
        CallStatus::NoAnswer => CallResult::NoAnswer,
        CallStatus::Canceled => CallResult::Canceled,
        CallStatus::Failed if code < 500 => CallResult::Rejected,
        CallStatus::Failed
        | CallStatus::Queued
        | CallStatus::Ringing
        | CallStatus::InProgress
        | CallStatus::Completed => CallResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [restcomm-calls 7] The table of final statuses.
    #[test]
    fn final_statuses() {
        for (code, status) in [
            (486, CallStatus::Busy),
            (600, CallStatus::Busy),
            (603, CallStatus::Busy),
            (408, CallStatus::NoAnswer),
            (487, CallStatus::NoAnswer),
            (404, CallStatus::Failed),
            (480, CallStatus::Failed),
            (488, CallStatus::Failed),
            (503, CallStatus::Failed),
            (401, CallStatus::Failed),
            (407, CallStatus::Failed),
        ] {
            assert_eq!(status_of(code), status, "{code}");
        }
    }
}
