//! What events tell of a leg.

use super::leg::{Leg, Stage, State, Way, control_id};
use crate::sip::time::Time;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The members of an event's payload.
pub(super) type Payload = Map<String, Value>;

/// `2020-03-30T13:29:42.130013Z`.
pub(super) fn timestamp(time: Time) -> String {
    let micros = i64::try_from(time.micros()).ok();
    let moment = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    moment.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// What all events tell (telnyx 2.9).
pub(super) fn base(leg: &Leg, state: &State) -> Payload {
    let mut payload = Payload::new();
    payload.insert("call_control_id".into(), control_id(leg.sid).into());
    payload.insert("call_leg_id".into(), leg.leg_id.clone().into());
    payload.insert("call_session_id".into(), state.session.clone().into());
    // `null` when it was never set (telnyx 3.6).
    payload.insert("client_state".into(), state.client_state.clone().into());
    payload.insert("connection_id".into(), leg.connection.id.clone().into());
    payload.insert("from".into(), leg.from.clone().into());
    payload.insert("to".into(), leg.to.clone().into());
    payload
}

/// `call.initiated` tells what is known of the INVITE as well.
pub(super) fn initiated(
    leg: &Leg,
    state: &State,
    headers: &[(String, String)],
    caller_name: Option<&str>,
) -> Payload {
    let (direction, word) = match leg.way {
        Way::Incoming => ("incoming", "parked"),
        Way::Outgoing => ("outgoing", "bridging"),
    };
    let list = |own: bool| -> Vec<Value> {
        let is_own = |name: &str| name.eq_ignore_ascii_case("User-to-User");
        let of = headers.iter().filter(|(name, _)| is_own(name) == own);
        of.map(|(name, value)| json!({ "name": name, "value": value })).collect()
    };
    let mut payload = base(leg, state);
    payload.insert("direction".into(), direction.into());
    payload.insert("state".into(), word.into());
    payload.insert("start_time".into(), timestamp(state.started).into());
    payload.insert("custom_headers".into(), list(false).into());
    payload.insert("sip_headers".into(), list(true).into());
    payload.insert("caller_id_name".into(), caller_name.into());
    payload
}

/// `call.answered` and `call.bridged` tell since when it is up.
pub(super) fn up(leg: &Leg, state: &State, word: Option<&str>) -> Payload {
    let mut payload = base(leg, state);
    payload.insert("start_time".into(), timestamp(state.started).into());
    if let Some(word) = word {
        payload.insert("state".into(), word.into());
    }
    payload
}

/// `call.refer.…`: eight members.
pub(super) fn refer(leg: &Leg, state: &State, code: u16) -> Payload {
    let mut payload = base(leg, state);
    payload.insert("sip_notify_response".into(), code.into());
    payload
}

/// How a call ended, in the words of `call.hangup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) cause: &'static str,
    pub(super) source: &'static str,
    /// A final code, 0 when there is none.
    pub(super) code: u16,
}

/// `call.hangup`.
pub(super) fn hangup(leg: &Leg, state: &State, ending: Ending) -> Payload {
    let mut payload = base(leg, state);
    let code = match ending.code {
        0 => "unspecified".to_owned(),
        code => code.to_string(),
    };
    payload.insert("hangup_cause".into(), ending.cause.into());
    payload.insert("hangup_source".into(), ending.source.into());
    payload.insert("sip_hangup_cause".into(), code.into());
    payload.insert("start_time".into(), timestamp(state.started).into());
    payload.insert("end_time".into(), state.ended.map(timestamp).into());
    payload.insert("state".into(), "hangup".into());
    payload
}

/// A call as it is read.
pub(super) fn record(leg: &Leg, state: &State, alive: bool, now: Time) -> Payload {
    let mut call = Payload::new();
    call.insert("record_type".into(), "call".into());
    call.insert("call_control_id".into(), control_id(leg.sid).into());
    call.insert("call_leg_id".into(), leg.leg_id.clone().into());
    call.insert("call_session_id".into(), state.session.clone().into());
    if let Some(client_state) = &state.client_state {
        call.insert("client_state".into(), client_state.clone().into());
    }
    call.insert("is_alive".into(), alive.into());
    if alive || state.stage == Stage::Ended {
        let until = state.ended.unwrap_or(now);
        let seconds = state.answered.map_or(0, |from| until.since(from).as_micros().div_ceil(1_000_000));
        call.insert("call_duration".into(), u64::try_from(seconds).unwrap_or(u64::MAX).into());
        call.insert("start_time".into(), timestamp(state.started).into());
    }
    if let Some(ended) = state.ended {
        call.insert("end_time".into(), timestamp(ended).into());
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [telnyx 25] [telnyx 3.1] Six decimals, UTC.
    #[test]
    fn moments() {
        let text = timestamp(Time::from_micros(1_585_574_982_130_013));
        assert_eq!(text, "2020-03-30T13:29:42.130013Z");
        assert_eq!(timestamp(Time::from_millis(1_000)), "1970-01-01T00:00:01.000000Z");
    }
}
