//! Calls, as they are shown (9.4).

use super::error::Error;
use super::json;
use crate::control::App;
use crate::control::auth::Account;
use crate::control::face::jambonz::facts::Facts;
use crate::control::query::Query;
use crate::record::{CallFilter, CallOrder, CallRecord, CallSort, Excerpt};
use crate::sip::event::CallSid;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// How long a call that has ended is shown.
const SHOWN: Duration = Duration::from_secs(3_600);
/// Calls that are looked at for a list, the newest first.
const LOOKED_AT: u64 = 1_000;

pub(super) async fn list(app: &App, account: &Account, query: &str) -> Result<Response<Body>, Error> {
    let query = Query::parse(query).map_err(|_| Error::bad("the query cannot be read"))?;
    let owner = account.sid.clone();
    let order = CallOrder { by: CallSort::Created, descending: true };
    let excerpt = Excerpt { offset: 0, count: LOOKED_AT, limit: None };
    let page = app.records.read(move |session| session.calls(&owner, &CallFilter::default(), order, excerpt));
    let mut records = page.await?.items;
    // Calls that were placed a moment ago.
    let written: HashSet<CallSid> = records.iter().map(|record| record.sid).collect();
    let live = app.engine.live.of_account(&account.sid);
    records.extend(live.iter().map(|call| &call.record).filter(|call| !written.contains(&call.sid)).cloned());
    let now = app.engine.live.now();
    let wanted = |fields: &serde_json::Map<String, Value>| {
        let is = |asked: &str, field: &str, same: fn(&str, &str) -> bool| {
            let shown = fields.get(field).and_then(Value::as_str).unwrap_or("");
            query.trimmed(asked).is_none_or(|asked| same(asked, shown))
        };
        is("direction", "direction", str::eq)
            && is("callStatus", "call_status", str::eq)
            && is("from", "from", is_number)
            && is("to", "to", is_number)
    };
    let shown = records
        .into_iter()
        .filter(|record| record.ended.is_none_or(|ended| now.since(ended) < SHOWN))
        .map(|record| fields(app, record))
        .filter(wanted)
        .map(Value::Object)
        .collect();
    Ok(json(StatusCode::OK, &Value::Array(shown)))
}

/// Whether two are one number: a plus that was not encoded has become a blank.
fn is_number(asked: &str, shown: &str) -> bool {
    asked.strip_prefix('+').unwrap_or(asked) == shown.strip_prefix('+').unwrap_or(shown)
}

pub(super) async fn one(
    app: &App,
    account: &Account,
    named: &(String, CallSid),
) -> Result<Response<Body>, Error> {
    let record = record(app, account, named).await?;
    Ok(json(StatusCode::OK, &Value::Object(fields(app, record))))
}

pub(super) fn count(app: &App, account: &Account) -> Response<Body> {
    let (inbound, outbound) = app.engine.live.count(&account.sid);
    json(StatusCode::OK, &json!({ "inbound": inbound, "outbound": outbound }))
}

/// A call's record: what is known of one that is alive, or what is written. Whose call it is, is told to
/// its owner only.
pub(super) async fn record(
    app: &App,
    account: &Account,
    (text, sid): &(String, CallSid),
) -> Result<CallRecord, Error> {
    if app.engine.jambonz.is_deleted(text) {
        return Err(Error::not_found());
    }
    let live = app.engine.live.call(*sid).filter(|_| *text == app.engine.sid_text(*sid));
    let record = match live {
        Some(live) => live.record,
        None => {
            let wanted = text.clone();
            let read = app.records.read(move |session| session.call(&wanted)).await?;
            read.ok_or(Error::not_found())?
        }
    };
    match record.account == account.sid {
        true => Ok(record),
        false => Err(Error::not_found()),
    }
}

fn fields(app: &App, record: CallRecord) -> serde_json::Map<String, Value> {
    let (customer_data, application_sid) = app.engine.jambonz.known(record.sid);
    Facts { customer_data, application_sid, ..Facts::new(record) }.fields()
}
