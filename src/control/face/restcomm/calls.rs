//! Calls: the list, one of them, and the empty lists below it (Calls API, sections 5, 8, 9).

use super::call::Call;
use super::page::{Envelope, Paging};
use super::refers::OfCall;
use super::{Asked, list_uri, xml};
use crate::control::auth::Account;
use crate::control::problem::{Format, Problem};
use crate::control::query::Query;
use crate::record::{CallFilter, CallOrder, CallRecord, CallSort, parse_call_sid};
use crate::sip::event::CallStatus;
use axum::http::StatusCode;
use serde::Serialize;

pub(super) async fn list(asked: &Asked<'_>, account: &Account) -> Result<String, Problem> {
    let query = asked.query()?;
    let paging = Paging::with_limit(&query)?;
    let (filter, order) = (filter(&query)?, order(&query)?);
    let owner = account.sid.clone();
    let read =
        move |session: &crate::record::Session| session.calls(&owner, &filter, order, paging.excerpt());
    let page = asked.app.records.read(read).await?;
    let calls: Vec<_> = page.items.into_iter().map(|call| Call::new(call, account)).collect();
    let last = calls.last().map(|call| call.sid.clone());
    let uri = list_uri("", account, "Calls");
    let envelope = paging.envelope(uri, page.total, calls.len(), last)?;
    match asked.format {
        Format::Json => json(&List { envelope, calls }),
        Format::Xml => xml::calls(&envelope, &calls),
    }
}

pub(super) async fn read(asked: &Asked<'_>, account: &Account, sid: &str) -> Result<String, Problem> {
    let record = record(asked, account, sid).await?;
    let refers = match asked.format {
        Format::Json => {
            let call = record.clone();
            asked.app.records.read(move |session| session.refers_of(&call)).await?
        }
        Format::Xml => Vec::new(),
    };
    let refers = refers.into_iter().map(OfCall::new).collect();
    let call = Call { refers, ..Call::new(record, account) };
    match asked.format {
        Format::Json => json(&call),
        Format::Xml => xml::call(&call),
    }
}

/// Notifications and Recordings: every call points at them, and there are none.
pub(super) async fn below(
    asked: &Asked<'_>,
    account: &Account,
    sid: &str,
    what: &str,
) -> Result<String, Problem> {
    record(asked, account, sid).await?;
    Ok(match asked.format {
        Format::Json => format!("{{\"{}\":[]}}", what.to_ascii_lowercase()),
        Format::Xml => format!("<RestcommResponse><{what}></{what}></RestcommResponse>"),
    })
}

/// A call's record: what is written, or what is known of a call that was placed a moment ago.
pub(super) async fn record(asked: &Asked<'_>, account: &Account, sid: &str) -> Result<CallRecord, Problem> {
    let live = parse_call_sid(sid).and_then(|(node, sid)| {
        let live = &asked.app.engine.live;
        live.call(sid).filter(|_| node == live.node())
    });
    let wanted = sid.to_owned();
    let written = asked.app.records.read(move |session| session.call(&wanted)).await?;
    match written.or(live.map(|live| live.record)) {
        None => Err(Problem::bare(StatusCode::NOT_FOUND)),
        Some(call) if call.account != account.sid => Err(Problem::bare(StatusCode::FORBIDDEN)),
        Some(call) => Ok(call),
    }
}

#[derive(Debug, Serialize)]
struct List {
    #[serde(flatten)]
    envelope: Envelope,
    calls: Vec<Call>,
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|_| Problem::internal())
}

fn filter(query: &Query) -> Result<CallFilter, Problem> {
    let text = |name: &str| query.value(name).map(str::to_owned);
    // A plus that was not encoded has become a blank at the front (5.1.5).
    let number =
        |name: &str| query.value(name).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(CallFilter {
        to: number("To"),
        from: number("From"),
        status: query.value("Status").map(CallStatus::from_text),
        started: query.moment("StartTime", "StartTime is not a valid ISO 8601 date.")?,
        ended: query.moment("EndTime", "EndTime is not a valid ISO 8601 date.")?,
        parent: text("ParentCallSid"),
        sid: text("CallSid"),
    })
}

fn order(query: &Query) -> Result<CallOrder, Problem> {
    let Some(sort) = query.value("SortBy") else { return Ok(reverse(query)) };
    let (field, direction) = match sort.split_once(':') {
        Some((field, direction)) => (field, direction),
        None => (sort, "asc"),
    };
    if field.is_empty() {
        return Err(Problem::bad("Error parsing the SortBy parameter: missing field to sort by"));
    }
    let descending = match direction.to_ascii_lowercase().as_str() {
        "asc" => false,
        "desc" => true,
        _ => {
            return Err(Problem::bad(
                "Error parsing the SortBy parameter: sort direction needs to be either ASC or DESC",
            ));
        }
    };
    let by = match field {
        "DateCreated" => CallSort::Created,
        "From" => CallSort::From,
        "To" => CallSort::To,
        "Direction" => CallSort::Direction,
        "Status" => CallSort::Status,
        "Duration" => CallSort::Duration,
        _ => return Ok(CallOrder::default()),
    };
    Ok(CallOrder { by, descending })
}

/// What older clients send instead of SortBy (5.3.6).
fn reverse(query: &Query) -> CallOrder {
    let oldest_first = query.value("Reverse").is_some_and(|v| v.eq_ignore_ascii_case("false"));
    CallOrder { by: CallSort::Created, descending: !oldest_first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(query: &str) -> Result<CallOrder, Problem> {
        order(&Query::parse(query).expect("it is well-formed"))
    }

    /// [restcomm-calls 5.3.1] [restcomm-calls 5.3.2] [restcomm-calls 5.3.3] [restcomm-calls 5.3.6]
    #[test]
    fn sort_by_is_read_as_documented() {
        let order = |by, descending| Ok(CallOrder { by, descending });
        assert_eq!(ordered(""), order(CallSort::Created, true));
        assert_eq!(ordered("SortBy=DateCreated"), order(CallSort::Created, false));
        assert_eq!(ordered("SortBy=Duration:DeSc"), order(CallSort::Duration, true));
        assert_eq!(ordered("SortBy=Nope:asc"), order(CallSort::Created, true));
        assert_eq!(ordered("SortBy=from:asc"), order(CallSort::Created, true));
        assert_eq!(ordered("Reverse=false"), order(CallSort::Created, false));
        assert_eq!(ordered("Reverse=false&SortBy=To:desc"), order(CallSort::To, true));
        for wrong in ["SortBy=:asc", "SortBy=From:up", "SortBy=From:", "SortBy=Nope:up"] {
            assert!(ordered(wrong).is_err(), "{wrong}");
        }
    }

    /// [restcomm-calls 5.1.5]
    #[test]
    fn blanks_around_numbers_are_trimmed() {
        let query = Query::parse("From=+1201&To=+").expect("it is well-formed");
        let filter = filter(&query).expect("it is a filter");
        assert_eq!((filter.from.as_deref(), filter.to), (Some("1201"), None));
    }
}
