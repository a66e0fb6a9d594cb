//! A Call as the API shows it: JSON members in their order (Calls API, section 4).

use super::date::{iso8601, rfc2822};
use super::refers::OfCall;
use super::{API_VERSION, list_uri};
use crate::control::auth::Account;
use crate::record::{CallRecord, call_sid_text};
use serde::Serialize;

/// The members; what is not known is absent, never null.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    pub(super) sid: String,
    #[serde(rename = "InstanceId")]
    pub(super) instance_id: String,
    pub(super) date_created: String,
    pub(super) date_updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_call_sid: Option<String>,
    pub(super) account_sid: String,
    pub(super) to: String,
    pub(super) from: String,
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    pub(super) direction: &'static str,
    pub(super) api_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forwarded_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caller_name: Option<String>,
    pub(super) uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ring_duration: Option<u64>,
    pub(super) subresource_uris: Below,
    /// Why it was not answered, in SIP's words; an addition to the API, as its Refers have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sip_response_code: Option<String>,
    /// The transfer that has brought it about; another addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refer_sid: Option<String>,
    /// The transfers that it takes part in, and what was decided about them; where one call is read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) refers: Vec<OfCall>,
}

/// What stands below a call.
#[derive(Debug, Serialize)]
pub(super) struct Below {
    pub(super) notifications: String,
    pub(super) recordings: String,
}

impl Call {
    pub(super) fn new(record: CallRecord, account: &Account) -> Call {
        let sid = call_sid_text(record.node, record.sid);
        let base = format!("{}/{sid}", list_uri("", account, "Calls"));
        // An INVITE came or went the moment the record begins (4.3).
        let start_time = Some(iso8601(record.created));
        let rang_until = record.answered.or(record.ended);
        let ring_duration = record.ringing.zip(rang_until).map(|(from, to)| to.since(from).as_secs());
        let refused = record.answered.is_none() && record.ended.is_some() && record.code >= 300;
        Call {
            refer_sid: record.refer.map(|refer| refer.to_string()),
            refers: Vec::new(),
            sip_response_code: refused.then(|| record.code.to_string()),
            instance_id: format!("ID{:032x}", record.node),
            date_created: rfc2822(record.created),
            date_updated: rfc2822(record.updated),
            parent_call_sid: record.parent.map(|parent| call_sid_text(record.node, parent)),
            account_sid: record.account,
            to: record.to,
            from: record.from,
            status: record.status.text(),
            start_time,
            end_time: record.ended.map(iso8601),
            duration: record.duration,
            direction: record.direction.text(),
            api_version: API_VERSION,
            forwarded_from: record.forwarded_from,
            caller_name: record.caller_name,
            uri: format!("{base}.json"),
            ring_duration,
            subresource_uris: Below {
                notifications: format!("{base}/Notifications.json"),
                recordings: format!("{base}/Recordings.json"),
            },
            sid,
        }
    }
}
