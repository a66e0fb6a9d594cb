//! The notifier's side of the subscription that a REFER makes (role S; RFC 3515 §2.4, RFC 6665).
//!
//! It decides when a NOTIFY goes and what it says; whoever holds the leg sends it and tells how it was
//! answered. One NOTIFY is in flight at a time, one a second goes at most except the final one, a
//! later state replaces an unsent earlier one, and exactly one is final.

use super::policy::NotifyDetail;
use super::waits::Waits;
use crate::sip::time::Time;
use std::time::Duration;

/// RFC 3515 §3.10: no more than one NOTIFY in this time.
const APART: Duration = Duration::from_secs(1);

/// Why a subscription is over, as Subscription-State says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The final status was told (RFC 3515 §2.4.7).
    NoResource,
    /// Its time ran out, or the subscriber ended it.
    Timeout,
}

/// One NOTIFY to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The `id` of its Event header.
    pub id: Option<u32>,
    /// The code of its sipfrag.
    pub code: u16,
    /// How long the subscription still lasts, or why it is over.
    pub state: Result<Duration, Ended>,
}

impl Notify {
    /// The value of Event.
    pub fn event(&self) -> String {
        match self.id {
            Some(id) => format!("refer;id={id}"),
            None => "refer".to_owned(),
        }
    }

    /// The value of Subscription-State.
    pub fn subscription_state(&self) -> String {
        match self.state {
            Ok(left) => format!("active;expires={}", left.as_secs()),
            Err(Ended::NoResource) => "terminated;reason=noresource".to_owned(),
            Err(Ended::Timeout) => "terminated;reason=timeout".to_owned(),
        }
    }

    /// The body: a status line and nothing more.
    pub fn sipfrag(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(40);
        let reason = crate::sip::message::default_reason(self.code);
        crate::sip::message::sipfrag::write(&mut body, self.code, reason.as_bytes());
        body
    }

    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        self.state.is_err()
    }
}

/// How far the subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It lasts.
    Active,
    /// It is to be ended by a NOTIFY that was not sent yet.
    Ending(Ended),
    /// That NOTIFY is in flight.
    Closing,
    /// Nothing more goes out.
    Over,
}

/// The subscription to one Refer.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// CSeq of the REFER, by which a SUBSCRIBE may name it whether or not the NOTIFYs do.
    cseq: u32,
    named: bool,
    detail: NotifyDetail,
    phase: Phase,
    expires_at: Time,
    /// The state as the subscriber should know it.
    code: u16,
    /// Whether that is to be sent.
    due: bool,
    /// The highest class of progress that was taken up: 100 and 18x are told once each.
    heard: u16,
    in_flight: bool,
    last_sent: Option<Time>,
}

impl Notifier {
    /// A subscription just made by a REFER that was answered 2xx; its first NOTIFY, 100, is due at
    /// once. `cseq` is the REFER's; `named`: its NOTIFYs say so, as they must from the second of a
    /// dialog on.
    pub fn new(now: Time, cseq: u32, named: bool, detail: NotifyDetail, expires: Duration) -> Notifier {
        Notifier {
            cseq,
            named,
            detail,
            phase: Phase::Active,
            expires_at: now + expires,
            code: 100,
            due: true,
            heard: 100,
            in_flight: false,
            last_sent: None,
        }
    }

    /// No subscription: the REFER asked for none, and that was granted.
    pub fn silent(now: Time) -> Notifier {
        let mut notifier = Notifier::new(now, 0, false, NotifyDetail::Final, Duration::ZERO);
        notifier.phase = Phase::Over;
        notifier.due = false;
        notifier
    }

    /// How long a subscription must last so that it outlives what it reports on.
    pub fn lasting(waits: &Waits) -> Duration {
        waits.ring + waits.bridge + Duration::from_secs(30)
    }

    /// The `id` its NOTIFYs carry.
    pub fn id(&self) -> Option<u32> {
        self.named.then_some(self.cseq)
    }

    /// The state told last, or to be told next.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether nothing more will go out and nothing is awaited.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The target answered provisionally: told once per class, as far as the trunk wishes.
    pub fn progress(&mut self, code: u16) {
        let class = if code == 100 { 100 } else { 180 };
        if self.phase != Phase::Active || class <= self.heard {
            return;
        }
        self.heard = class;
        self.code = code;
        match self.detail {
            NotifyDetail::All => self.due = true,
            NotifyDetail::Initial | NotifyDetail::Final => {}
        }
    }

    /// The result: told once, with the end of the subscription.
    pub fn result(&mut self, code: u16) {
        if self.phase == Phase::Active {
            self.code = code;
            self.phase = Phase::Ending(Ended::NoResource);
        }
    }

    /// SUBSCRIBE for this subscription: refreshed, or ended when `expires` is zero; either way
    /// a NOTIFY follows. The granted time, for the 200; `None`: there is no such subscription, 403.
    pub fn subscribe(
        &mut self,
        now: Time,
        id: Option<u32>,
        expires: Option<u32>,
        most: Duration,
    ) -> Option<Duration> {
        let mine = id.is_none_or(|id| id == self.cseq);
        if !mine || !matches!(self.phase, Phase::Active | Phase::Ending(_)) {
            return None;
        }
        let granted = expires.map_or(most, |asked| Duration::from_secs(asked.into()).min(most));
        if granted.is_zero() {
            if self.phase == Phase::Active {
                self.phase = Phase::Ending(Ended::Timeout);
            }
        } else {
            self.expires_at = now + granted;
            self.due = true;
        }
        Some(granted)
    }

    /// A NOTIFY of ours got its final response, 408 when none came.
    pub fn answered(&mut self, code: u16) {
        self.in_flight = false;
        // RFC 6665 §4.2.2: these say that the subscriber has no such subscription; others are a
        // matter of that NOTIFY alone. None of them touches the transfer.
        let dead = matches!(code, 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 503 | 604);
        if dead || self.phase == Phase::Closing {
            self.drop_it();
        }
    }

    /// The subscriber's call has ended: it is told the result, and nothing before it.
    pub fn only_result(&mut self) {
        self.detail = NotifyDetail::Final;
        if self.last_sent.is_some() {
            self.due = false;
        }
    }

    /// There is no way to send any more: the dialog is gone.
    pub fn drop_it(&mut self) {
        self.phase = Phase::Over;
        self.due = false;
        self.in_flight = false;
    }

    /// The NOTIFY to be sent now, if any; it counts as sent.
    pub fn poll(&mut self, now: Time) -> Option<Notify> {
        if self.in_flight {
            return None;
        }
        // the time ran out before the result.
        if self.phase == Phase::Active && now >= self.expires_at {
            self.phase = Phase::Ending(Ended::Timeout);
        }
        let notify = match self.phase {
            Phase::Active if self.due && self.last_sent.is_none_or(|last| now >= last + APART) => {
                let left = self.expires_at.since(now).max(Duration::from_secs(1));
                Notify { id: self.id(), code: self.code, state: Ok(left) }
            }
            // RFC 3515 §2.4.4: a subscription begins with a NOTIFY of its own, even when the result
            // is there already.
            Phase::Ending(_) if self.last_sent.is_none() => {
                let left = self.expires_at.since(now).max(Duration::from_secs(1));
                Notify { id: self.id(), code: 100, state: Ok(left) }
            }
            Phase::Ending(why) => {
                self.phase = Phase::Closing;
                Notify { id: self.id(), code: self.code, state: Err(why) }
            }
            Phase::Active | Phase::Closing | Phase::Over => return None,
        };
        self.due = false;
        self.in_flight = true;
        self.last_sent = Some(now);
        Some(notify)
    }

    /// When [`Notifier::poll`] may have something to send, should nothing else happen before.
    pub fn wakes_at(&self) -> Option<Time> {
        match self.phase {
            Phase::Active if self.due && !self.in_flight => {
                Some(self.last_sent.map_or(Time::ZERO, |last| last + APART).min(self.expires_at))
            }
            // Whose answer is awaited, ends it when that has come.
            Phase::Active if self.in_flight => None,
            Phase::Active => Some(self.expires_at),
            Phase::Ending(_) | Phase::Closing | Phase::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time::from_millis(1_000_000);

    fn notifier() -> Notifier {
        Notifier::new(T0, 7, false, NotifyDetail::All, Duration::from_secs(120))
    }

    fn at(millis: u64) -> Time {
        T0 + Duration::from_millis(millis)
    }

    fn said(notify: Option<Notify>) -> Option<(u16, bool)> {
        notify.map(|n| (n.code, n.is_last()))
    }

    /// 100 at once, 180, then exactly one final.
    #[test]
    fn a_transfer_that_succeeds() {
        let mut n = notifier();
        let first = n.poll(T0).expect("at once");
        assert_eq!(first.event(), "refer");
        assert_eq!(first.subscription_state(), "active;expires=120");
        assert_eq!(first.sipfrag(), b"SIP/2.0 100 Trying\r\n");
        n.answered(200);
        n.progress(100);
        assert_eq!(n.poll(at(2_000)), None, "100 was told");
        n.progress(180);
        assert_eq!(said(n.poll(at(2_000))), Some((180, false)));
        n.answered(200);
        n.progress(183);
        assert_eq!(n.poll(at(9_000)), None, "one per class");
        n.result(200);
        let last = n.poll(at(9_000)).expect("the final one");
        assert_eq!(last.subscription_state(), "terminated;reason=noresource");
        assert_eq!(last.sipfrag(), b"SIP/2.0 200 OK\r\n");
        assert!(!n.is_over(), "it waits for the answer (R-065)");
        n.result(486);
        assert_eq!(n.poll(at(20_000)), None);
        n.answered(200);
        assert!(n.is_over());
        assert_eq!((n.poll(at(20_000)), n.wakes_at()), (None, None));
    }

    /// [R-076] [C-218] A subscription that runs out while a NOTIFY is unanswered waits for the answer, not for
    /// a time that has passed.
    #[test]
    fn the_end_waits_for_the_answer() {
        let mut n = notifier();
        n.poll(T0).expect("100");
        assert_eq!(n.wakes_at(), None);
        n.answered(200);
        assert_eq!(n.wakes_at(), Some(at(120_000)));
    }

    /// One a second except the final; a later state replaces an unsent one; one in flight.
    #[test]
    fn pace() {
        let mut n = notifier();
        n.poll(T0);
        n.progress(180);
        assert_eq!(n.poll(at(5_000)), None, "the first is unanswered");
        n.answered(200);
        assert_eq!(said(n.poll(at(5_000))), Some((180, false)));
        n.answered(200);

        let mut n = notifier();
        n.poll(T0);
        n.answered(200);
        n.progress(183);
        assert_eq!(n.poll(at(300)), None);
        assert_eq!(n.wakes_at(), Some(at(1_000)));
        n.result(486);
        assert_eq!(said(n.poll(at(300))), Some((486, true)), "the final one waits for nothing but its turn");

        let mut n = notifier();
        n.poll(T0);
        n.result(200);
        assert_eq!(n.poll(at(100)), None, "never two in flight");
        n.answered(200);
        assert_eq!(said(n.poll(at(100))), Some((200, true)));
    }

    /// The result may be there before the first NOTIFY: 100 still comes first.
    #[test]
    fn a_result_at_once() {
        let mut n = notifier();
        n.result(481);
        assert_eq!(said(n.poll(T0)), Some((100, false)));
        n.answered(200);
        assert_eq!(said(n.poll(T0)), Some((481, true)));
    }

    /// The knob on detail.
    #[test]
    fn detail() {
        for detail in [NotifyDetail::Initial, NotifyDetail::Final] {
            let mut n = Notifier::new(T0, 7, true, detail, Duration::from_secs(60));
            assert_eq!(said(n.poll(T0)), Some((100, false)));
            n.answered(200);
            n.progress(180);
            assert_eq!(n.poll(at(5_000)), None);
            n.result(603);
            assert_eq!(said(n.poll(at(5_000))), Some((603, true)));
        }
    }

    /// [R-078] `id` where there is one.
    #[test]
    fn ids() {
        let mut n = Notifier::new(T0, 93809824, true, NotifyDetail::All, Duration::from_secs(60));
        assert_eq!(n.poll(T0).expect("a NOTIFY").event(), "refer;id=93809824");
    }

    /// A NOTIFY that fails ends the subscription; one that is merely refused does not.
    #[test]
    fn failures() {
        for code in [408, 481, 404, 489] {
            let mut n = notifier();
            n.poll(T0);
            n.answered(code);
            assert!(n.is_over(), "{code}");
            n.result(200);
            assert_eq!(n.poll(at(9_000)), None);
        }
        for code in [200, 202, 491, 500] {
            let mut n = notifier();
            n.poll(T0);
            n.answered(code);
            assert!(!n.is_over(), "{code}");
        }
    }

    /// SUBSCRIBE refreshes or ends, and is answered by a NOTIFY either way.
    #[test]
    fn subscribed_again() {
        let most = Duration::from_secs(150);
        let mut n = notifier();
        n.poll(T0);
        n.answered(200);
        assert_eq!(n.subscribe(at(60_000), None, Some(60), most), Some(Duration::from_secs(60)));
        let notify = n.poll(at(60_000)).expect("a NOTIFY");
        assert_eq!((notify.code, notify.subscription_state()), (100, "active;expires=60".into()));
        n.answered(200);
        assert_eq!(n.subscribe(at(61_000), None, None, most), Some(most));
        assert_eq!(n.subscribe(at(61_000), Some(9), Some(60), most), None, "another id");
        assert_eq!(
            n.subscribe(at(61_000), Some(7), None, most),
            Some(most),
            "its own, though it was never said"
        );
        assert_eq!(n.subscribe(at(61_000), None, Some(9_999), most), Some(most));
        assert_eq!(n.subscribe(at(62_000), None, Some(0), most), Some(Duration::ZERO));
        let last = n.poll(at(62_000)).expect("the last NOTIFY");
        assert_eq!(last.subscription_state(), "terminated;reason=timeout");
        n.answered(200);
        assert_eq!(n.subscribe(at(63_000), None, Some(60), most), None, "it is over: 403");
    }

    /// The subscription runs out before the result: told with the last state.
    #[test]
    fn expiry() {
        let mut n = notifier();
        n.poll(T0);
        n.answered(200);
        n.progress(180);
        n.poll(at(1_000));
        n.answered(200);
        assert_eq!(n.wakes_at(), Some(at(120_000)));
        let last = n.poll(at(120_000)).expect("the last NOTIFY");
        assert_eq!((last.code, last.subscription_state()), (180, "terminated;reason=timeout".into()));
        n.answered(200);
        n.result(200);
        assert!(n.is_over() && n.poll(at(130_000)).is_none());
    }

    /// It outlasts ring time and bridge time: at their end nothing is told but the result.
    #[test]
    fn lasts_long_enough() {
        for (ring, bridge) in [(60, 32), (5, 1), (3_600, 32)] {
            let waits = Waits::from_t1(Duration::from_secs(1)).ringing(Duration::from_secs(ring));
            let lasting = Notifier::lasting(&Waits { bridge: Duration::from_secs(bridge), ..waits });
            let mut n = Notifier::new(T0, 7, false, NotifyDetail::All, lasting);
            n.poll(T0);
            n.answered(200);
            let end = at(1_000 * (ring + bridge));
            assert_eq!(n.poll(end), None);
            n.result(200);
            assert_eq!(said(n.poll(end)), Some((200, true)));
        }
    }

    /// Suppressed: nothing ever goes out.
    #[test]
    fn suppressed() {
        let mut n = Notifier::silent(T0);
        n.progress(180);
        n.result(200);
        assert!(n.is_over() && n.poll(at(9_000)).is_none());
    }

    /// After the subscriber's BYE only the result is told.
    #[test]
    fn only_the_result() {
        let mut n = notifier();
        n.poll(T0);
        n.answered(200);
        n.progress(180);
        n.only_result();
        n.progress(183);
        assert_eq!(n.poll(at(5_000)), None);
        n.result(200);
        assert_eq!(said(n.poll(at(5_000))), Some((200, true)));
    }

    /// Nothing but the status line.
    #[test]
    fn nothing_but_the_status_line() {
        let notify = Notify { id: None, code: 486, state: Err(Ended::NoResource) };
        assert_eq!(notify.sipfrag(), b"SIP/2.0 486 Busy Here\r\n");
    }
}
