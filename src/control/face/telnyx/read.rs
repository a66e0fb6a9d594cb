//! `GET /v2/calls/{id}`: whether a call is alive (telnyx 4).

use super::Asked;
use super::fault::Fault;
use super::leg::Stage;
use super::payload;
use crate::control::auth::Account;
use serde_json::Value;

pub(super) fn read(asked: &Asked<'_>, account: &Account, id: &str) -> Result<Value, Fault> {
    let engine = &asked.app.engine;
    let unknown = || Fault::unknown_call("call_control_id");
    let leg = engine.telnyx.leg(id, &account.sid).ok_or_else(unknown)?;
    let state = leg.state();
    let alive = state.stage != Stage::Ended;
    Ok(Value::Object(payload::record(&leg, &state, alive, engine.live.now())))
}
