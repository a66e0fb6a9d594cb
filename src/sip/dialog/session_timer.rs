//! Session timers, each leg for itself (RFC 4028; C-181, C-182, C-184).
//!
//! The machine is a value: when to refresh, when to give up. What it leads to stands at the end.

use super::facts;
use super::inside::Purpose;
use super::leg::{Desk, Leg, State};
use super::outgoing::Headers;
use crate::sip::event::EndedBy;
use crate::sip::message::{HeaderId, Message, Method, Params};
use crate::sip::plan::SessionTimer;
use crate::sip::proxy::Cx;
use crate::sip::time::Time;
use std::time::Duration;

/// The shortest interval there may be (RFC 4028 §4).
const FLOOR: u32 = 90;
/// The longest that is kept; what peers write beyond is cut.
const CEILING: u32 = 86_400;

/// A refusal this near to the end is the last word.
const SHORTEST_RETRY: Duration = Duration::from_secs(4);

/// A session that must be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    interval: u32,
    /// Whether Baton refreshes.
    ours: bool,
    /// When Baton does; `None`: it is under way, or the party's business.
    refresh_at: Option<Time>,
    /// When the call is ended for want of a refresh.
    end_at: Time,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Refresh,
    End,
}

impl Session {
    /// A session refreshed just now.
    pub(super) fn new(now: Time, interval: u32, ours: bool) -> Session {
        let interval = interval.clamp(FLOOR, CEILING);
        // §10: BYE a little before the interval is over.
        let spare = (interval / 3).min(32);
        Session {
            interval,
            ours,
            refresh_at: ours.then(|| now + Duration::from_secs(u64::from(interval / 2))),
            end_at: now + Duration::from_secs(u64::from(interval - spare)),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        Some(self.refresh_at.map_or(self.end_at, |at| at.min(self.end_at)))
    }

    /// A refresh was refused: once more, at half of the time that is left.
    fn retry(&mut self, now: Time) {
        let left = self.end_at.since(now);
        if left > SHORTEST_RETRY {
            self.refresh_at = Some(now + left / 2);
        }
    }

    /// Says once what is due.
    pub(super) fn due(&mut self, now: Time) -> Due {
        if self.end_at <= now {
            Due::End
        } else if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            Due::Refresh
        } else {
            Due::Nothing
        }
    }
}

/// Session-Expires, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expires {
    interval: u32,
    /// Whether the sender of the request refreshes, where it says.
    requester: Option<bool>,
}

fn expires(message: &Message) -> Option<Expires> {
    let value = message.header(HeaderId::SessionExpires)?;
    let (digits, params) = value.split_at(value.iter().position(|b| *b == b';').unwrap_or(value.len()));
    let interval = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
    let requester = Params::new(params).value(b"refresher").and_then(|who| {
        if who.eq_ignore_ascii_case(b"uac") {
            Some(true)
        } else if who.eq_ignore_ascii_case(b"uas") {
            Some(false)
        } else {
            None
        }
    });
    Some(Expires { interval, requester })
}

/// Min-SE of a message, bounded.
pub(super) fn min_se(message: &Message) -> Option<u32> {
    let value = message.header(HeaderId::MinSe)?;
    let digits = value.split(|b| *b == b';').next()?;
    let seconds: u32 = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
    (seconds <= CEILING).then_some(seconds)
}

/// The Min-SE to demand of a request whose interval is too short (C-182).
pub(super) fn too_short(message: &Message, wishes: SessionTimer) -> Option<u32> {
    let min = wishes.min.max(FLOOR);
    let supports = message.lists(HeaderId::Supported, "timer") || message.lists(HeaderId::Require, "timer");
    // §9: one who cannot know what 422 means is not sent one.
    (supports && expires(message)?.interval < min).then_some(min)
}

/// What becomes of a request's wish in its 2xx (RFC 4028 §9, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Agreed {
    interval: u32,
    /// Whether the sender of the request refreshes.
    requester: bool,
    /// Whether the 2xx requires `timer`.
    require: bool,
}

fn agree(message: &Message, wishes: SessionTimer, supports: bool) -> Option<Agreed> {
    let min = min_se(message).unwrap_or(0).max(wishes.min).max(FLOOR);
    let (interval, wished) = match expires(message) {
        Some(Expires { interval, requester }) => {
            // Shorter on our wish, never below what somebody on the way has set.
            let ours = if wishes.interval > 0 { wishes.interval.max(min) } else { u32::MAX };
            (interval.min(ours).max(min), requester)
        }
        None if wishes.interval > 0 => (wishes.interval.max(min), None),
        None => return None,
    };
    // One who does not know the timer cannot be made to refresh.
    let requester = supports && wished.unwrap_or(true);
    Some(Agreed { interval: interval.min(CEILING), requester, require: requester })
}

impl Leg {
    /// What an INVITE or UPDATE of ours says about the timer.
    pub(super) fn session_headers(&self, min_se: u32) -> Vec<(&'static str, Vec<u8>)> {
        let min = self.options.session.min.max(min_se);
        let value = match &self.session {
            Some(session) => {
                let refresher = if session.ours { "uac" } else { "uas" };
                format!("{};refresher={refresher}", session.interval.max(min_se))
            }
            None if self.options.session.interval > 0 && !self.is_up() => {
                self.options.session.interval.max(min).max(FLOOR).to_string()
            }
            None => return Vec::new(),
        };
        let mut headers = vec![("Session-Expires", value.into_bytes())];
        if min > FLOOR {
            headers.push(("Min-SE", min.to_string().into_bytes()));
        }
        headers
    }

    /// A 2xx to an INVITE or UPDATE of ours: what it says holds, and saying nothing means no timer (§7.2).
    pub(super) fn begin_session(&mut self, cx: &Cx<'_>, message: &Message) {
        self.session = expires(message)
            .map(|expires| Session::new(cx.now, expires.interval, expires.requester.unwrap_or(true)));
    }

    /// An INVITE or UPDATE that is accepted: the timer begins anew; what the 2xx says of it.
    pub(super) fn accept_session(&mut self, cx: &Cx<'_>, request: &Message) -> Vec<(&'static str, Vec<u8>)> {
        let supports = self.supported & facts::TIMER != 0;
        let Some(agreed) = agree(request, self.options.session, supports) else {
            self.session = None;
            return Vec::new();
        };
        self.session = Some(Session::new(cx.now, agreed.interval, !agreed.requester));
        let refresher = if agreed.requester { "uac" } else { "uas" };
        let mut headers =
            vec![("Session-Expires", format!("{};refresher={refresher}", agreed.interval).into_bytes())];
        if agreed.require {
            headers.push(("Require", b"timer".to_vec()));
        }
        headers
    }

    pub(super) fn session_timer(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        if !matches!(self.state, State::Up) {
            return;
        }
        let now = cx.now;
        match self.session.as_mut().map_or(Due::Nothing, |session| session.due(now)) {
            Due::Nothing => {}
            Due::Refresh => self.refresh_session(cx, desk),
            Due::End => self.send_bye(
                cx,
                desk,
                Some(EndedBy::Baton),
                Some(vec![(
                    "Reason".into(),
                    Box::from(&b"SIP;cause=408;text=\"Session timer expired\""[..]),
                )]),
            ),
        }
    }

    /// A refresh was refused (RFC 4028 §10: only 408 and 481 end the session). Where UPDATE does not pass,
    /// INVITE will.
    pub(super) fn refresh_refused(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, method: Method, status: u16) {
        if method == Method::Update && matches!(status, 405 | 501) {
            self.allow &= !(1 << Method::Update.index());
            return self.refresh_session(cx, desk);
        }
        if let Some(session) = &mut self.session {
            session.retry(cx.now);
        }
    }

    /// C-184: by UPDATE where the party allows it, else by INVITE with what it has seen last.
    fn refresh_session(&mut self, cx: &mut Cx<'_>, desk: &mut Desk) {
        let Some(fork) = self.dialogs.first().map(|dialog| dialog.fork) else { return };
        let (method, body) = if self.allow & (1 << Method::Update.index()) != 0 {
            ("UPDATE", None)
        } else {
            ("INVITE", self.sent.clone())
        };
        self.push_request(desk, Purpose::Refresh, fork, method, Headers::new(), body, None);
        self.advance(cx, desk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Limits;

    const START: Time = Time::from_millis(1_000_000);

    fn message(lines: &str) -> Message {
        let text = format!("INVITE sip:a@b SIP/2.0\r\n{lines}\r\n\r\n");
        Message::parse(text.into_bytes().into(), &Limits::default()).expect("a message")
    }

    fn at(seconds: u64) -> Time {
        START + Duration::from_secs(seconds)
    }

    /// [C-181] The refresher refreshes at half the interval; without success the call ends shortly
    /// before the interval does.
    #[test]
    fn refresher() {
        let mut session = Session::new(START, 1_800, true);
        assert_eq!(session.next_deadline(), Some(at(900)));
        assert_eq!(session.due(at(899)), Due::Nothing);
        assert_eq!(session.due(at(900)), Due::Refresh);
        assert_eq!(session.due(at(901)), Due::Nothing);
        assert_eq!(session.next_deadline(), Some(at(1_768)));
        assert_eq!(session.due(at(1_768)), Due::End);
    }

    /// [C-181] The other side waits for the interval less min(32 s, a third).
    #[test]
    fn not_refresher() {
        assert_eq!(Session::new(START, 1_800, false).next_deadline(), Some(at(1_768)));
        assert_eq!(Session::new(START, 90, false).next_deadline(), Some(at(60)));
    }

    /// [C-182] Below the minimum: 422 with Min-SE, to those who know the timer.
    #[test]
    fn minimum() {
        let wishes = SessionTimer { interval: 1_800, min: 120 };
        let short = message("Supported: timer\r\nSession-Expires: 100");
        assert_eq!(too_short(&short, wishes), Some(120));
        assert_eq!(too_short(&short, SessionTimer { interval: 0, min: 0 }), None);
        assert_eq!(too_short(&message("Supported: timer\r\nx: 60"), SessionTimer::default()), Some(90));
        assert_eq!(too_short(&message("Session-Expires: 60"), wishes), None);
        assert_eq!(too_short(&message("Session-Expires: many"), wishes), None);
    }

    /// [C-181] Who refreshes, by what both sides can and want (RFC 4028 §9).
    #[test]
    fn agreement() {
        let wishes = SessionTimer { interval: 1_800, min: 90 };
        let silent = SessionTimer { interval: 0, min: 90 };
        let asks = message("Session-Expires: 600;refresher=uas");
        let agreed = |m: &Message, w, s| agree(m, w, s).map(|a| (a.interval, a.requester, a.require));
        assert_eq!(agreed(&asks, wishes, true), Some((600, false, false)));
        assert_eq!(agreed(&message("Session-Expires: 600"), wishes, true), Some((600, true, true)));
        assert_eq!(agreed(&message("Session-Expires: 600"), wishes, false), Some((600, false, false)));
        assert_eq!(agreed(&message("Session-Expires: 7200"), wishes, true), Some((1_800, true, true)));
        assert_eq!(
            agreed(&message("Session-Expires: 7200\r\nMin-SE: 3600"), wishes, true),
            Some((3_600, true, true))
        );
        assert_eq!(agreed(&message("Session-Expires: 7200"), silent, true), Some((7_200, true, true)));
        assert_eq!(agreed(&message("Subject: x"), silent, true), None);
        assert_eq!(agreed(&message("Subject: x"), wishes, false), Some((1_800, false, false)));
    }

    /// Garbage is nothing, and nothing grows beyond its bound.
    #[test]
    fn garbage() {
        for value in ["", ";", "x;refresher=uac", "99999999999999", "-1", ";refresher=uac"] {
            assert_eq!(expires(&message(&format!("Session-Expires: {value}"))), None, "{value}");
        }
        assert_eq!(min_se(&message("Min-SE: 4000000000")), None);
        assert!(Session::new(START, u32::MAX, true).next_deadline() <= Some(at(86_400)));
    }
}
