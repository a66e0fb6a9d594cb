use super::*;

const IN_PROGRESS: [State; 8] = [
    State::Pending,
    State::Requested,
    State::Challenged,
    State::Accepted,
    State::Trying,
    State::Ringing,
    State::Bridging,
    State::Ending,
];

const EVENTS: [Event; 26] = [
    Event::Sent,
    Event::Admitted,
    Event::Denied,
    Event::Unmonitored,
    Event::TargetAnswered,
    Event::Joined,
    Event::JoinFailed,
    Event::RingOver,
    Event::Cut,
    Event::PartyLeft,
    Event::CalledOff,
    Event::Repeated,
    Event::Answered(100),
    Event::Answered(202),
    Event::Answered(401),
    Event::Answered(603),
    Event::Unanswered,
    Event::Reported(100),
    Event::Reported(180),
    Event::Reported(200),
    Event::Reported(486),
    Event::Notified,
    Event::SubscriptionEnded,
    Event::CallEnded,
    Event::Deadline,
    Event::Abandoned,
];

fn failed(reason: ReferReason) -> State {
    State::Over(Outcome::failed(reason))
}

/// A final state stays what it is under everything that can still happen.
#[test]
fn a_result_never_changes() {
    for outcome in [
        Outcome::COMPLETED,
        Outcome::failed(ReferReason::NotifyTimeout),
        Outcome::canceled(ReferReason::CallEnded),
    ] {
        for event in EVENTS {
            assert_eq!(State::Over(outcome).on(event), State::Over(outcome), "{event:?}");
        }
    }
}

/// Whatever the state, its deadlines alone lead to a result.
#[test]
fn waiting_always_ends() {
    for state in IN_PROGRESS {
        assert!(matches!(state.on(Event::Deadline), State::Over(_)), "{state:?}");
        assert!(matches!(state.on(Event::Abandoned), State::Over(_)), "{state:?}");
    }
}

/// Acceptance is not success.
#[test]
fn a_2xx_to_refer_is_no_result() {
    for code in 200..=299 {
        assert_eq!(State::Requested.on(Event::Answered(code)), State::Accepted);
    }
    assert_eq!(State::Accepted.status(), ReferStatus::InProgress);
}

/// Every final code but a challenge refuses, whatever it is.
#[test]
fn every_other_final_answer_refuses() {
    for code in 300..=699 {
        let next = State::Requested.on(Event::Answered(code));
        if matches!(code, 401 | 407) {
            assert_eq!(next, State::Challenged);
        } else {
            assert_eq!(next, failed(ReferReason::ReferRejected), "{code}");
        }
    }
}

/// A report that overtakes the answer is taken as acceptance.
#[test]
fn a_report_stands_for_the_answer() {
    assert_eq!(State::Requested.on(Event::Reported(100)), State::Trying);
    assert_eq!(State::Requested.on(Event::Reported(183)), State::Ringing);
    assert_eq!(State::Requested.on(Event::Reported(200)), State::Over(Outcome::COMPLETED));
    // the answer may be lost for good then.
    assert_eq!(State::Trying.on(Event::Unanswered), State::Trying);
    assert_eq!(State::Ringing.on(Event::Answered(408)), State::Ringing);
}

/// The end of the call is not the end of the transfer, while its grace lasts.
#[test]
fn a_bye_waits_for_the_result() {
    for state in [State::Accepted, State::Trying, State::Ringing] {
        let ending = state.on(Event::CallEnded);
        assert_eq!(ending, State::Ending);
        assert_eq!(ending.on(Event::Reported(180)), State::Ending);
        assert_eq!(ending.on(Event::SubscriptionEnded), State::Ending);
        assert_eq!(ending.on(Event::Reported(200)), State::Over(Outcome::COMPLETED));
        let over = ending.on(Event::Deadline);
        assert_eq!(over, State::Over(Outcome::canceled(ReferReason::CallEnded)));
    }
}

/// A challenged attempt decides nothing; what comes for it is ignored.
#[test]
fn a_challenge_waits_for_the_retry() {
    for event in [Event::Reported(200), Event::SubscriptionEnded, Event::Answered(202)] {
        assert_eq!(State::Challenged.on(event), State::Challenged);
    }
    assert_eq!(State::Challenged.on(Event::Repeated), State::Requested);
    assert_eq!(State::Challenged.on(Event::Deadline), failed(ReferReason::ReferRejected));
    assert_eq!(State::Challenged.on(Event::CallEnded), failed(ReferReason::ReferRejected));
}

/// Timeouts name what was waited for.
#[test]
fn deadlines_name_what_was_missing() {
    assert_eq!(State::Requested.on(Event::Deadline), failed(ReferReason::ReferTimeout));
    assert_eq!(State::Accepted.on(Event::Deadline), failed(ReferReason::NotifyTimeout));
    assert_eq!(State::Trying.on(Event::Deadline), failed(ReferReason::OutcomeUnknown));
    assert_eq!(State::Ringing.on(Event::Deadline), failed(ReferReason::OutcomeUnknown));
}

/// Progress does not run backwards when NOTIFYs are reordered.
#[test]
fn progress_does_not_go_back() {
    assert_eq!(State::Ringing.on(Event::Reported(100)), State::Ringing);
    assert_eq!(State::Ringing.on(Event::Reported(700)), State::Ringing);
}

/// Whatever the state: the party's leaving and a call-off end it at once.
#[test]
fn leaving_and_calling_off() {
    for state in IN_PROGRESS {
        assert_eq!(
            state.on(Event::PartyLeft),
            State::Over(Outcome::canceled(ReferReason::CallEnded)),
            "{state:?}"
        );
        assert_eq!(
            state.on(Event::CalledOff),
            State::Over(Outcome::canceled(ReferReason::ApiCancel)),
            "{state:?}"
        );
    }
}

/// No state is left by an event of another role than to a result, and none goes backwards.
#[test]
fn progress_never_goes_backwards() {
    let rank = |state: State| match state {
        State::Pending => 0,
        State::Challenged | State::Requested => 1,
        State::Accepted => 2,
        State::Trying => 3,
        State::Ringing => 4,
        State::Bridging => 5,
        State::Ending => 6,
        State::Over(_) => 7,
    };
    for state in IN_PROGRESS {
        for event in EVENTS {
            assert!(rank(state.on(event)) >= rank(state), "{state:?} {event:?}");
        }
    }
}

/// In role S the target's answer is not yet the result; the join is.
#[test]
fn a_substitute_joins_the_parties() {
    let ringing = State::Pending.on(Event::Admitted).on(Event::Reported(100)).on(Event::Reported(180));
    assert_eq!(ringing, State::Ringing);
    let bridging = ringing.on(Event::TargetAnswered);
    assert_eq!((bridging, bridging.status()), (State::Bridging, ReferStatus::InProgress));
    assert_eq!(bridging.on(Event::Joined), State::Over(Outcome::COMPLETED));
    assert_eq!(bridging.on(Event::JoinFailed), failed(ReferReason::BridgeFailed));
    assert_eq!(bridging.on(Event::Deadline), failed(ReferReason::BridgeFailed));
    // neither the end of the subscription nor a late 180 undoes it.
    assert_eq!(bridging.on(Event::SubscriptionEnded), State::Bridging);
    assert_eq!(bridging.on(Event::Reported(180)), State::Bridging);
}

/// Ring time over is no answer, and a 200 that crosses the CANCEL changes nothing.
#[test]
fn ring_time_over() {
    for state in [State::Accepted, State::Trying, State::Ringing] {
        let over = state.on(Event::RingOver);
        assert_eq!(over.status(), ReferStatus::NoAnswer);
        assert_eq!(over.on(Event::TargetAnswered).on(Event::Joined), over);
    }
}

/// Reporting switched off and the REFER accepted: completed, unmonitored.
#[test]
fn nothing_will_be_reported() {
    let over = State::Requested.on(Event::Unmonitored);
    let outcome = Outcome { status: ReferStatus::Completed, reason: Some(ReferReason::Unmonitored) };
    assert_eq!(over, State::Over(outcome));
}

/// A NOTIFY that says nothing about the target accepts the REFER, and ends the wait for the first one;
/// it takes nothing back.
#[test]
fn a_notify_that_says_nothing() {
    for state in [State::Requested, State::Accepted, State::Trying] {
        let notified = state.on(Event::Notified);
        assert_eq!(notified, State::Trying);
        assert_eq!(notified.on(Event::Unanswered), State::Trying);
        assert_eq!(notified.on(Event::Deadline), failed(ReferReason::OutcomeUnknown));
    }
    for state in [State::Pending, State::Challenged, State::Ringing, State::Bridging, State::Ending] {
        assert_eq!(state.on(Event::Notified), state);
    }
}

/// A REFER refused here: policy; one that was never sent: refused, or timed out.
#[test]
fn refused_before_it_went() {
    assert_eq!(State::Pending.on(Event::Denied), failed(ReferReason::Policy));
    assert_eq!(State::Pending.on(Event::Answered(405)), failed(ReferReason::ReferRejected));
    assert_eq!(State::Pending.on(Event::Unanswered), failed(ReferReason::ReferTimeout));
    assert_eq!(State::Accepted.on(Event::Denied), State::Accepted);
}

/// What a trunk may make of a BYE and of silence; never of a refusal.
#[test]
fn leniency() {
    let lenient = Leniency { bye: true, silence: true };
    let status = |state: State, event| state.on_with(event, lenient).status();
    assert_eq!(status(State::Ending, Event::Deadline), ReferStatus::Completed);
    assert_eq!(status(State::Accepted, Event::Deadline), ReferStatus::Completed);
    assert_eq!(status(State::Trying, Event::SubscriptionEnded), ReferStatus::Completed);
    assert_eq!(status(State::Ringing, Event::Reported(486)), ReferStatus::Busy);
    assert_eq!(status(State::Requested, Event::Answered(603)), ReferStatus::Failed);
    assert_eq!(status(State::Requested, Event::Deadline), ReferStatus::Failed);
    assert_eq!(status(State::Ringing, Event::PartyLeft), ReferStatus::Canceled);
    assert_eq!(status(State::Ringing, Event::Abandoned), ReferStatus::Failed);
    let strict = Leniency::default();
    assert_eq!(State::Ending.on_with(Event::Deadline, strict).status(), ReferStatus::Canceled);
    assert_eq!(State::Accepted.on_with(Event::Deadline, strict).status(), ReferStatus::Failed);
}
