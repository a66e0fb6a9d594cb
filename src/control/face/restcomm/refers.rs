//! Refers: the list and one of them, in JSON only (Refers API).

use super::calls::json;
use super::date::iso8601;
use super::page::{Envelope, Paging};
use super::{API_VERSION, Asked, list_uri};
use crate::control::auth::Account;
use crate::control::problem::Problem;
use crate::control::query::Query;
use crate::control::refer::call_status;
use crate::record::{ReferFilter, ReferRecord, call_sid_text};
use crate::shard::counters::Label;
use crate::sip::event::ReferStatus;
use axum::http::StatusCode;
use serde::Serialize;

pub(super) async fn list(asked: &Asked<'_>, account: &Account) -> Result<String, Problem> {
    let query = asked.query()?;
    let paging = Paging::without_limit(&query)?;
    let filter = filter(&query)?;
    let owner = account.sid.clone();
    let read = move |session: &crate::record::Session| session.refers(&owner, &filter, paging.excerpt());
    let page = asked.app.records.read(read).await?;
    let refers: Vec<_> = page.items.into_iter().map(|refer| Refer::new(refer, account)).collect();
    let last = refers.last().map(|refer| refer.sid.clone());
    // The documented samples have `/api` in the links of this list.
    let uri = list_uri("/api", account, "Refers");
    let envelope = paging.envelope(uri, page.total, refers.len(), last)?;
    json(&List { envelope, refers })
}

/// One answer for what does not exist and for what belongs to others: it hides foreign records.
pub(super) async fn read(asked: &Asked<'_>, account: &Account, sid: &str) -> Result<String, Problem> {
    let wanted = sid.to_owned();
    let record = asked.app.records.read(move |session| session.refer(&wanted)).await?;
    match record.filter(|refer| refer.account == account.sid) {
        Some(refer) => json(&Refer::new(refer, account)),
        None => Err(Problem::told(StatusCode::NOT_FOUND, "Refer not found.")),
    }
}

#[derive(Debug, Serialize)]
struct List {
    #[serde(flatten)]
    envelope: Envelope,
    refers: Vec<Refer>,
}

/// The members in their order; what is not known is absent, never null. Codes are strings.
#[derive(Debug, Serialize)]
struct Refer {
    sid: String,
    date_created: String,
    account_sid: String,
    org_sid: String,
    call_sid: String,
    to: String,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_status: Option<&'static str>,
    refer_sip_response_code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_sip_response_code: Option<String>,
    api_version: &'static str,
    uri: String,
    #[serde(flatten)]
    ties: Ties,
}

/// What was decided about a transfer, and which calls it ties together: additions to the API.
#[derive(Debug, Serialize)]
struct Ties {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    /// The party that is to talk to the target, where that is not the call that was referred.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_call_sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_call_sid: Option<String>,
}

#[derive(Debug, Serialize)]
struct Decision {
    allowed: bool,
    /// The key of the configuration that says so, or a word for what no key changes.
    rule: String,
    /// Who performs it.
    role: &'static str,
}

impl Ties {
    fn of(record: &ReferRecord) -> Ties {
        let call = |sid| call_sid_text(record.node, sid);
        let decision = |rule: &String| Decision {
            allowed: record.is_allowed(),
            rule: rule.clone(),
            role: record.role.name(),
        };
        Ties {
            decision: record.rule.as_ref().map(decision),
            moved_call_sid: record.moved.map(call),
            target_call_sid: record.target.map(call),
        }
    }
}

/// A transfer as it stands in the record of a call that takes part in it.
#[derive(Debug, Serialize)]
pub(super) struct OfCall {
    sid: String,
    call_sid: String,
    to: String,
    #[serde(flatten)]
    ties: Ties,
}

impl OfCall {
    pub(super) fn new(record: ReferRecord) -> OfCall {
        OfCall {
            sid: record.sid.to_string(),
            call_sid: call_sid_text(record.node, record.call),
            ties: Ties::of(&record),
            to: record.to,
        }
    }
}

impl Refer {
    fn new(record: ReferRecord, account: &Account) -> Refer {
        let sid = record.sid.to_string();
        Refer {
            date_created: iso8601(record.created),
            org_sid: account.organisation().to_owned(),
            call_sid: call_sid_text(record.node, record.call),
            call_status: record.notify_code.map(|_| call_status(record.status)),
            refer_sip_response_code: record.refer_code.to_string(),
            notify_sip_response_code: record.notify_code.map(|code| code.to_string()),
            api_version: API_VERSION,
            uri: format!("{}/{sid}.json", list_uri("", account, "Refers")),
            ties: Ties::of(&record),
            account_sid: record.account,
            to: record.to,
            from: record.from,
            sid,
        }
    }
}

fn filter(query: &Query) -> Result<ReferFilter, Problem> {
    let text = |name: &str| query.value(name).map(str::to_owned);
    let status: Option<&'static [ReferStatus]> = query.value("ReferCallStatus").map(|word| match word {
        "in-progress" => &[ReferStatus::InProgress, ReferStatus::Completed][..],
        "busy" => &[ReferStatus::Busy],
        "no-answer" => &[ReferStatus::NoAnswer],
        "failed" => &[ReferStatus::Failed],
        "canceled" => &[ReferStatus::Canceled],
        _ => &[],
    });
    Ok(ReferFilter {
        to: text("ReferTo"),
        from: text("ReferFrom"),
        status,
        created: query.moment("DateCreated", "DateCreated is not a valid ISO 8601 date.")?,
        call: text("CallSid"),
    })
}
