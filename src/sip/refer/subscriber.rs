//! The subscriber's side of the subscription that a REFER makes (roles T and R on owned calls).
//!
//! First [`judge`]: what a NOTIFY in a dialog is answered with, and which Refer it belongs to
//! . Then one [`Subscriber`] per Refer: how long its subscription lasts, and when
//! a SUBSCRIBE must refresh or end it.

use super::facts::NotifyFacts;
use crate::sip::message::{HeaderId, Message};
use crate::sip::time::Time;
use std::time::Duration;

/// A Refer of a dialog, as far as NOTIFYs are told apart by it; in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// CSeq of the REFER that was answered; `None` until then.
    pub cseq: Option<u32>,
    /// Whether it is not final yet.
    pub active: bool,
    /// Whether this names an attempt that another one has followed.
    pub past: bool,
}

/// What becomes of a NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// 200, and it is for the Refer at this place.
    Take(usize, NotifyFacts),
    /// 489, with `Allow-Events: refer`: another package.
    BadEvent,
    /// 400: it cannot be read; the Refer is not touched.
    Malformed,
    /// 481: no such subscription.
    Unmatched,
}

/// Judges a NOTIFY in a dialog with these Refers.
pub fn judge(notify: &Message, refers: &[Candidate]) -> Judgement {
    // RFC 6665 §4.1.3: one without a readable Event is malformed, another package is 489.
    let event = match notify.event() {
        Ok(Some(event)) => event,
        Ok(None) | Err(_) => return Judgement::Malformed,
    };
    if !event.is("refer") {
        return Judgement::BadEvent;
    }
    if !matches!(notify.subscription_state(), Ok(Some(_))) || notify.count(HeaderId::SubscriptionState) != 1 {
        return Judgement::Malformed;
    }
    // An id that is no number names no REFER.
    let Some(facts) = NotifyFacts::read(notify) else { return Judgement::Unmatched };
    let Some(at) = matched(refers, facts.id) else { return Judgement::Unmatched };
    if facts.code.is_none() && !notify.body().is_empty() {
        return Judgement::Malformed;
    }
    Judgement::Take(at, facts)
}

/// by `id`; without one the only active Refer of the dialog, else the first sent on it.
fn matched(refers: &[Candidate], id: Option<u32>) -> Option<usize> {
    if let Some(id) = id {
        // a NOTIFY may be here before the response that tells the CSeq.
        let answered = refers.iter().position(|r| r.cseq == Some(id));
        return answered.or_else(|| refers.iter().position(|r| r.cseq.is_none() && r.active && !r.past));
    }
    let mut active = refers.iter().enumerate().filter(|(_, r)| r.active);
    match (active.next(), active.next()) {
        (Some((only, _)), None) => Some(only),
        (Some(_), Some(_)) | (None, _) => (!refers.is_empty()).then_some(0),
    }
}

/// A SUBSCRIBE to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The `id` of its Event: CSeq of the accepted REFER, when it is known.
    pub id: Option<u32>,
    /// Its Expires.
    pub expires: u32,
}

impl Subscribe {
    /// The value of Event.
    pub fn event(&self) -> String {
        match self.id {
            Some(id) => format!("refer;id={id}"),
            None => "refer".to_owned(),
        }
    }
}

/// The subscription of one Refer, seen from its subscriber.
#[derive(Clone, Debug, Default)]
pub struct Subscriber {
    cseq: Option<u32>,
    /// CSeqs of earlier attempts, as far as they are known; few, as attempts are.
    earlier: Vec<u32>,
    /// The code by which the earlier attempt failed, when its subscription has not been ended yet.
    untold: Option<u16>,
    /// When it runs out, once a NOTIFY has said so.
    expires_at: Option<Time>,
    /// When it is to be refreshed.
    refresh_at: Option<Time>,
    terminated: bool,
    in_flight: bool,
    unsubscribed: bool,
}

impl Subscriber {
    /// The subscription that a REFER will make, if it is accepted.
    pub fn new() -> Subscriber {
        Subscriber {
            cseq: None,
            earlier: Vec::new(),
            untold: None,
            expires_at: None,
            refresh_at: None,
            terminated: false,
            in_flight: false,
            unsubscribed: false,
        }
    }

    /// The REFER was sent, perhaps again (glare): only the last attempt counts.
    pub fn attempt(&mut self) {
        let mut earlier = std::mem::take(&mut self.earlier);
        earlier.extend(self.cseq);
        *self = Subscriber { earlier, untold: self.untold, ..Subscriber::new() };
    }

    /// A NOTIFY says that this attempt has failed, and there is another one to make.
    pub fn failed(&mut self, facts: &NotifyFacts) {
        self.cseq = self.cseq.or(facts.id);
        self.untold = facts.code.filter(|_| !facts.terminated);
    }

    /// Whether a NOTIFY that names no REFER ends the subscription of the attempt before, whose failure it
    /// repeats: from the second REFER on they are named, though not by everybody.
    pub fn ends_earlier(&mut self, facts: &NotifyFacts) -> bool {
        let ends =
            facts.id.is_none() && facts.terminated && facts.code.is_some() && self.untold == facts.code;
        if ends {
            self.untold = None;
        }
        ends
    }

    /// An attempt that another one has followed was answered after all.
    pub fn answered_earlier(&mut self, cseq: u32) {
        if !self.earlier.contains(&cseq) {
            self.earlier.push(cseq);
        }
    }

    /// CSeqs of earlier attempts.
    pub fn earlier(&self) -> &[u32] {
        &self.earlier
    }

    /// The REFER with this CSeq was answered: the last of those that its leg sent.
    pub fn answered_refer(&mut self, cseq: u32) {
        self.cseq = Some(cseq);
    }

    /// CSeq of the REFER that was answered.
    pub fn cseq(&self) -> Option<u32> {
        self.cseq
    }

    /// A NOTIFY came. It may ask for a refresh in time when it lasts shorter than the outcome is
    /// waited for.
    pub fn notified(&mut self, now: Time, facts: &NotifyFacts, outcome_by: Time) {
        if facts.terminated {
            self.terminated = true;
            self.refresh_at = None;
            return;
        }
        let Some(expires) = facts.expires.filter(|e| !e.is_zero()) else { return };
        let until = now + expires;
        self.expires_at = Some(until);
        // RFC 6665 §4.1.2.1: in good time, but not again and again for a short one.
        let early = (expires / 4).clamp(Duration::from_secs(2), Duration::from_secs(32));
        let lead = if early < expires { expires - early } else { expires / 2 };
        self.refresh_at = (until < outcome_by && !self.unsubscribed).then(|| now + lead);
    }

    /// When the subscription runs out, as far as is known.
    pub fn expires_at(&self) -> Option<Time> {
        self.expires_at
    }

    /// When [`Subscriber::poll`] has something to send.
    pub fn wakes_at(&self) -> Option<Time> {
        self.refresh_at.filter(|_| !self.in_flight)
    }

    /// The refresh that is due.
    pub fn poll(&mut self, now: Time, outcome_by: Time) -> Option<Subscribe> {
        let due = self.wakes_at().is_some_and(|at| now >= at) && !self.terminated;
        if !due || outcome_by <= now {
            return None;
        }
        self.refresh_at = None;
        self.in_flight = true;
        let left = outcome_by.since(now).as_secs().saturating_add(1);
        Some(Subscribe { id: self.cseq, expires: u32::try_from(left).unwrap_or(u32::MAX) })
    }

    /// The result is known though the subscription lasts: the SUBSCRIBE that ends it. Once.
    pub fn end(&mut self) -> Option<Subscribe> {
        self.refresh_at = None;
        if self.terminated || self.unsubscribed || self.expires_at.is_none() {
            return None;
        }
        self.unsubscribed = true;
        Some(Subscribe { id: self.cseq, expires: 0 })
    }

    /// A SUBSCRIBE of ours got its final response. Whatever it says, the Refer lives on: its result
    /// may come by the NOTIFYs that the subscription still has.
    pub fn answered(&mut self, now: Time, code: u16, expires: Option<u32>) {
        self.in_flight = false;
        if (200..300).contains(&code)
            && let Some(expires) = expires.filter(|e| *e > 0)
        {
            self.expires_at = Some(now + Duration::from_secs(expires.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Limits;
    use bytes::Bytes;

    const T0: Time = Time::from_millis(1_000_000);

    fn notify(fields: &str, body: &str) -> Message {
        let text = format!(
            "NOTIFY sip:baton@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.101;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@x>;tag=b\r\nTo: <sip:alice@x>;tag=a\r\nCall-ID: 1@x\r\nCSeq: 7 NOTIFY\r\n{fields}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).expect("a message")
    }

    fn active(cseq: u32) -> Candidate {
        Candidate { cseq: Some(cseq), active: true, past: false }
    }

    fn done(cseq: u32) -> Candidate {
        Candidate { cseq: Some(cseq), active: false, past: false }
    }

    fn taken(fields: &str, body: &str, refers: &[Candidate]) -> Option<(usize, Option<u16>, bool)> {
        match judge(&notify(fields, body), refers) {
            Judgement::Take(at, facts) => Some((at, facts.code, facts.terminated)),
            _ => None,
        }
    }

    const ACTIVE: &str = "Subscription-State: active;expires=60\r\n";
    const OVER: &str = "Subscription-State: terminated;reason=noresource\r\n";

    /// By id; without one the only active Refer, else the first.
    #[test]
    fn which_refer() {
        let at = |event: &str, refers: &[Candidate]| {
            taken(&format!("Event: {event}\r\n{ACTIVE}"), "SIP/2.0 100 Trying\r\n", refers).map(|t| t.0)
        };
        assert_eq!(at("refer", &[active(5)]), Some(0));
        assert_eq!(at("refer;id=5", &[active(5)]), Some(0));
        assert_eq!(at("refer;id=4", &[active(5)]), None, "an attempt that was challenged (X-24)");
        assert_eq!(at("refer", &[done(5), active(9)]), Some(1));
        assert_eq!(at("refer", &[active(5), active(9)]), Some(0));
        assert_eq!(at("refer;id=9", &[active(5), active(9)]), Some(1));
        assert_eq!(at("refer", &[done(5), done(9)]), Some(0));
        assert_eq!(at("refer", &[]), None);
        // not answered yet.
        let open = Candidate { cseq: None, active: true, past: false };
        assert_eq!(at("refer;id=9", &[open]), Some(0));
        assert_eq!(at("refer;id=5", &[done(5), open]), Some(0));
        assert_eq!(at("refer;id=9", &[done(5), open]), Some(1));
        // an earlier attempt of the same Refer has its own, and no part in what is not named.
        let past = Candidate { past: true, ..done(5) };
        assert_eq!(at("refer;id=5", &[open, past]), Some(1));
        assert_eq!(at("refer;id=9", &[open, past]), Some(0));
        assert_eq!(at("refer", &[open, past]), Some(0));
        assert_eq!(at("refer", &[done(9), past]), Some(0));
    }

    /// 200, 481, 489 and 400, each for its kind.
    #[test]
    fn answers() {
        let one = [active(5)];
        let judged = |fields: &str, body: &str| judge(&notify(fields, body), &one);
        assert!(matches!(
            judged(&format!("Event: refer\r\n{ACTIVE}"), "SIP/2.0 180 Ringing"),
            Judgement::Take(0, _)
        ));
        assert_eq!(judged(&format!("o: refer;id=6\r\n{ACTIVE}"), ""), Judgement::Unmatched);
        assert_eq!(judged(&format!("Event: refer;id=abc\r\n{ACTIVE}"), ""), Judgement::Unmatched);
        assert_eq!(judged(&format!("Event: dialog\r\n{ACTIVE}"), ""), Judgement::BadEvent);
        assert_eq!(judged(ACTIVE, ""), Judgement::Malformed);
        assert_eq!(judged("Event: refer\r\n", ""), Judgement::Malformed);
        assert_eq!(judged("Event: refer\r\nSubscription-State: ;;\r\n", ""), Judgement::Malformed);
        // a body that is no status line says nothing, least of all that it is over.
        assert_eq!(judged(&format!("Event: refer\r\n{OVER}"), "garbage"), Judgement::Malformed);
    }

    /// The first line decides; media type, line ends and phrase do not.
    #[test]
    fn bodies() {
        let one = [active(5)];
        for (kind, body) in [
            ("message/sipfrag;version=2.0", "SIP/2.0 200 OK\r\n"),
            ("message/sipfrag", "SIP/2.0 200 OK\n"),
            ("Message/SipFrag ; Version=\"2.0\"", "SIP/2.0 200"),
            (
                "message/sipfrag;version=2.0",
                "\r\nSIP/2.0 200 Alles klar, ja\r\nTo: <sip:c@x>\r\nContent-Length: 0\r\n\r\n",
            ),
        ] {
            let fields = format!("Event: refer\r\n{OVER}Content-Type: {kind}\r\n");
            assert_eq!(taken(&fields, body, &one), Some((0, Some(200), true)), "{kind} {body:?}");
        }
        // terminated without a body is taken, and brings no code.
        assert_eq!(taken(&format!("Event: refer\r\n{OVER}"), "", &one), Some((0, None, true)));
    }

    fn facts(expires: Option<u64>, terminated: bool) -> NotifyFacts {
        NotifyFacts { expires: expires.map(Duration::from_secs), terminated, ..NotifyFacts::default() }
    }

    fn known(cseq: u32) -> Subscriber {
        let mut subscriber = Subscriber::new();
        subscriber.answered_refer(cseq);
        subscriber
    }

    fn after(secs: u64) -> Time {
        T0 + Duration::from_secs(secs)
    }

    /// Refreshed by SUBSCRIBE with the REFER's CSeq, only when it would run out too early.
    #[test]
    fn refreshes() {
        let mut s = known(31863);
        s.notified(T0, &facts(Some(600), false), after(300));
        assert_eq!(s.wakes_at(), None, "it lasts long enough");
        s.notified(T0, &facts(Some(60), false), after(300));
        assert_eq!(s.wakes_at(), Some(after(45)));
        assert_eq!(s.poll(after(44), after(300)), None);
        let subscribe = s.poll(after(45), after(300)).expect("a refresh");
        assert_eq!((subscribe.event().as_str(), subscribe.expires), ("refer;id=31863", 256));
        assert_eq!(s.poll(after(46), after(300)), None, "once");
        s.answered(after(45), 200, Some(255));
        assert_eq!(s.expires_at(), Some(after(300)));
        s.notified(after(46), &facts(None, true), after(300));
        assert_eq!((s.wakes_at(), s.end()), (None, None));
    }

    /// A result while the subscription is active: ended by SUBSCRIBE with Expires 0, once.
    #[test]
    fn ended_early() {
        let mut s = known(2);
        s.notified(T0, &facts(Some(60), false), after(300));
        assert_eq!(s.end(), Some(Subscribe { id: Some(2), expires: 0 }));
        assert_eq!(s.end(), None);
        s.notified(T0, &facts(Some(60), false), after(300));
        assert_eq!(s.wakes_at(), None, "not refreshed any more");
        assert_eq!(known(3).end(), None, "there was none");
    }

    /// A new attempt forgets what the one before had.
    #[test]
    fn another_attempt() {
        let mut s = known(2);
        s.notified(T0, &facts(Some(60), false), after(300));
        s.attempt();
        assert_eq!((s.cseq(), s.expires_at(), s.wakes_at()), (None, None, None));
    }
}
