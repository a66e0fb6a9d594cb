use super::*;

const T0: Time = Time::from_millis(1_000_000);

fn life(role: ReferRole) -> Life {
    let subject = Subject {
        sid: ReferSid(1),
        call: CallSid(7),
        account: Arc::from("AC00000000000000000000000000000001"),
        role,
        from: "sip:alice@atlanta.example.com".into(),
        to: "sip:carol@chicago.example.com".into(),
        rule: ReferRule::Mode,
        moved: None,
        target: None,
    };
    Life::new(T0, subject, Leniency::default(), Waits::from_t1(Duration::from_millis(500)))
}

fn after(secs: u64) -> Time {
    T0 + Duration::from_secs(secs)
}

/// What a snapshot says, in short.
fn said(snapshot: Option<Box<ReferSnapshot>>) -> Option<(u32, ReferStatus, Option<u16>, Option<u16>)> {
    snapshot.map(|s| (s.seq, s.status, s.refer_code, s.notify_code))
}

/// A transferor's Refer, told step by step, numbered, with one final snapshot.
#[test]
fn a_transferor_from_request_to_result() {
    use ReferStatus::{Completed, InProgress};
    let mut life = life(ReferRole::Transferor);
    assert_eq!(said(life.on(T0, Event::Sent)), None, "nothing is known of it yet");
    assert_eq!(said(life.answered(T0, 202, Event::Answered(202))), Some((0, InProgress, Some(202), None)));
    assert_eq!(said(life.on(T0, Event::Reported(100))), Some((1, InProgress, Some(202), Some(100))));
    assert_eq!(said(life.on(T0, Event::Reported(100))), None, "the same again is not told");
    assert_eq!(said(life.on(T0, Event::Reported(200))), Some((2, Completed, Some(202), Some(200))));
    for event in [Event::Reported(486), Event::CallEnded, Event::CalledOff, Event::SubscriptionEnded] {
        assert_eq!(said(life.on(T0, event)), None, "{event:?}");
    }
    assert_eq!(life.outcome(), Some(Outcome::COMPLETED));
}

/// What comes after the result is recorded as late and changes nothing.
#[test]
fn late_codes() {
    let mut life = life(ReferRole::Transferor);
    life.on(T0, Event::Sent);
    life.answered(T0, 202, Event::Answered(202));
    life.on(T0, Event::Reported(486));
    assert!(life.on(after(1), Event::Reported(200)).is_none());
    assert_eq!((life.notify_code(), life.late_code()), (Some(486), Some(200)));
    assert_eq!(life.outcome().map(|o| o.status), Some(ReferStatus::Busy));
    assert_eq!(life.deadline(), after(32), "a late code does not make it linger longer");
}

/// No NOTIFY within the notify wait; and none with a result within the outcome wait.
#[test]
fn silence() {
    let mut life = life(ReferRole::Transferor);
    life.on(T0, Event::Sent);
    life.answered(T0, 202, Event::Answered(202));
    assert_eq!(life.deadline(), after(32));
    assert_eq!(life.expire(after(31)), (false, None));
    let (gone, last) = life.expire(after(32));
    assert!(!gone);
    assert_eq!(last.map(|s| (s.status, s.reason)), {
        Some((ReferStatus::Failed, Some(ReferReason::NotifyTimeout)))
    });
    // The linger, and then it can be forgotten.
    assert_eq!(life.expire(after(63)), (false, None));
    assert_eq!(life.expire(after(64)), (true, None));

    let mut ringing = super::tests::life(ReferRole::Transferor);
    ringing.on(T0, Event::Sent);
    ringing.answered(T0, 200, Event::Answered(200));
    ringing.on(after(1), Event::Reported(180));
    assert_eq!(ringing.deadline(), after(300));
    ringing.subscription_lasts(after(1), Duration::from_secs(60));
    assert_eq!(ringing.deadline(), after(61));
    ringing.subscription_lasts(after(1), Duration::from_secs(10_000));
    assert_eq!(ringing.deadline(), after(300), "never longer than the outcome wait");
    let (_, last) = ringing.expire(after(300));
    assert_eq!(last.and_then(|s| s.reason), Some(ReferReason::OutcomeUnknown));
}

/// The grace after a BYE: two seconds, and a result inside it wins.
#[test]
fn the_grace() {
    for (code, status) in [(None, ReferStatus::Canceled), (Some(200), ReferStatus::Completed)] {
        let mut life = life(ReferRole::Transferor);
        life.on(T0, Event::Sent);
        life.answered(T0, 202, Event::Answered(202));
        life.on(T0, Event::Reported(180));
        life.on(after(5), Event::CallEnded);
        assert_eq!(life.deadline(), after(7));
        let last = match code {
            Some(code) => life.on(after(6), Event::Reported(code)),
            None => life.expire(after(7)).1,
        };
        assert_eq!(last.map(|s| s.status), Some(status));
    }
}

/// The ring time of a substitute counts from the INVITE, not from each 18x; 487 is what is told.
#[test]
fn the_ring_time() {
    let mut life = life(ReferRole::Substitute);
    life.answered(T0, 202, Event::Admitted);
    life.on(after(1), Event::Reported(100));
    assert_eq!(life.deadline(), after(61));
    life.on(after(40), Event::Reported(180));
    life.on(after(50), Event::Reported(183));
    assert_eq!(life.deadline(), after(61));
    let (_, last) = life.expire(after(61));
    let last = last.expect("a result");
    assert_eq!((last.status, last.reason), (ReferStatus::NoAnswer, Some(ReferReason::TargetNoAnswer)));
    assert_eq!((last.refer_code, last.notify_code), (Some(202), Some(487)));
}

/// A substitute that could not join what it called in the bridge time.
#[test]
fn the_bridge_time() {
    let mut life = life(ReferRole::Substitute);
    life.answered(T0, 202, Event::Admitted);
    life.on(T0, Event::Reported(180));
    life.on(after(3), Event::TargetAnswered);
    assert_eq!(life.deadline(), after(35));
    let (_, last) = life.expire(after(35));
    assert_eq!(last.and_then(|s| s.reason), Some(ReferReason::BridgeFailed));
}

/// No final response, no NOTIFY: 408 is what the record shows; a refusal forgets the progress.
#[test]
fn no_answer_to_the_refer() {
    let mut silent = life(ReferRole::Transferor);
    silent.on(T0, Event::Sent);
    let (_, last) = silent.expire(after(64));
    assert_eq!(last.map(|s| (s.reason, s.refer_code)), {
        Some((Some(ReferReason::ReferTimeout), Some(408)))
    });
    let mut refused = life(ReferRole::Transferor);
    refused.on(T0, Event::Sent);
    refused.on(T0, Event::Reported(100));
    let last = refused.answered(T0, 603, Event::Answered(603)).expect("a result");
    assert_eq!((last.refer_code, last.notify_code), (Some(603), None));
}

/// Attempts are counted; they are one Refer.
#[test]
fn attempts() {
    let mut life = life(ReferRole::Transferor);
    life.on(T0, Event::Sent);
    life.on(T0, Event::Repeated);
    assert_eq!((life.attempts(), life.state()), (2, State::Requested));
}

/// Called off: told at once, even before the REFER's fate is known; the first result stays.
#[test]
fn called_off() {
    let mut early = life(ReferRole::Transferor);
    early.on(T0, Event::Sent);
    let last = early.on(T0, Event::CalledOff).expect("a result");
    assert_eq!((last.status, last.reason), (ReferStatus::Canceled, Some(ReferReason::ApiCancel)));
    assert!(early.on(T0, Event::Reported(200)).is_none());
    assert_eq!(early.late_code(), Some(200));
    let mut late = life(ReferRole::Transferor);
    late.on(T0, Event::Sent);
    late.on(T0, Event::Reported(200));
    assert!(late.on(T0, Event::CalledOff).is_none());
    assert_eq!(late.outcome(), Some(Outcome::COMPLETED));
}
