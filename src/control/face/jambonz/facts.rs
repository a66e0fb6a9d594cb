//! What every hook tells of a call (jambonz section 3).

use super::ids;
use super::status::Status;
use crate::record::CallRecord;
use crate::sip::event::{Direction, Offered};
use crate::sip::message::{HeaderId, Limits, Message, NameAddr, default_reason};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Names and values.
pub(super) type Fields = Map<String, Value>;

/// What is known of a call.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) record: CallRecord,
    pub(super) status: Status,
    pub(super) sip_status: u16,
    pub(super) application_sid: Option<String>,
    /// What the application wants to find again.
    pub(super) customer_data: Option<Value>,
    /// Who ended it, once it has ended.
    pub(super) ended_by: Option<&'static str>,
    /// Where an inbound call came from: address and trunk.
    pub(super) origin: Option<(String, Option<String>)>,
}

impl Facts {
    pub(super) fn new(record: CallRecord) -> Facts {
        let (status, sip_status) = Status::of(&record);
        Facts {
            record,
            status,
            sip_status,
            application_sid: None,
            customer_data: None,
            ended_by: None,
            origin: None,
        }
    }

    /// The fields of every hook.
    pub(super) fn fields(&self) -> Fields {
        let record = &self.record;
        let direction = match record.direction {
            Direction::Inbound => "inbound",
            Direction::OutboundApi | Direction::OutboundDial => "outbound",
        };
        let mut fields = Fields::new();
        let mut put = |name: &str, value: Value| {
            fields.insert(name.to_owned(), value);
        };
        put("call_sid", ids::uuid(record.sid.0).into());
        put("direction", direction.into());
        put("from", record.from.as_str().into());
        put("to", record.to.as_str().into());
        put("call_id", record.call_id.as_str().into());
        put("sbc_callid", record.call_id.as_str().into());
        put("sip_status", self.sip_status.into());
        put("sip_reason", default_reason(self.sip_status).into());
        put("call_status", self.status.text().into());
        put("account_sid", ids::account(&record.account).into());
        put("trace_id", format!("{:032x}", record.sid.0).into());
        if record.direction == Direction::Inbound {
            put("caller_id", record.from.as_str().into());
        }
        let optional = [
            ("caller_name", record.caller_name.clone()),
            ("application_sid", self.application_sid.clone()),
            ("parent_call_sid", record.parent.map(|parent| ids::uuid(parent.0))),
            ("originating_sip_ip", self.origin.as_ref().map(|(address, _)| address.clone())),
            ("originating_sip_trunk_name", self.origin.as_ref().and_then(|(_, trunk)| trunk.clone())),
        ];
        for (name, value) in optional {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                put(name, value.into());
            }
        }
        if self.status.is_final()
            && let Some(by) = self.ended_by
        {
            put("call_termination_by", by.into());
        }
        if self.status == Status::Completed {
            put("duration", record.duration.unwrap_or(0).into());
        }
        if let Some(data) = &self.customer_data {
            put("customerData", data.clone());
        }
        fields
    }
}

/// What the first request of a call tells besides.
pub(super) fn first(invite: &[u8]) -> Fields {
    let mut fields = Fields::new();
    let nothing = || json!({});
    fields.insert("defaults".into(), json!({ "synthesizer": nothing(), "recognizer": nothing() }));
    if let Ok(message) = Message::parse(bytes::Bytes::copy_from_slice(invite), &Limits::default()) {
        fields.insert("sip".into(), sip(&message));
    }
    fields
}

/// An INVITE; header fields of one name are parted by commas, as one list.
fn sip(message: &Message) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for line in message.headers() {
        let name = match line.id {
            HeaderId::Other => text(line.name).to_ascii_lowercase(),
            id => id.as_str().to_ascii_lowercase(),
        };
        let value = text(line.value).replace("\r\n", "");
        headers.entry(name).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
    }
    json!({
        "headers": headers,
        "body": text(message.body()),
        "method": "INVITE",
        "version": "2.0",
        "uri": text(message.request_uri()),
    })
}

/// The trunk and address an inbound call came by.
pub(super) fn origin(offered: &Offered) -> (String, Option<String>) {
    (offered.source.ip().to_string(), offered.trunk.clone())
}

/// What is told of a REFER that came (8.1).
pub(super) struct Referred<'a> {
    pub(super) to: &'a str,
    pub(super) by: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) referring: &'a CallRecord,
    pub(super) referred: Option<&'a CallRecord>,
}

impl Referred<'_> {
    pub(super) fn fields(&self) -> Fields {
        let mut details = Fields::new();
        let mut put = |name: &str, value: String| {
            details.insert(name.to_owned(), value.into());
        };
        put("sip_refer_to", format!("<{}>", self.to));
        put("refer_to_user", user(self.to));
        put("sip_referred_by", format!("<{}>", self.by));
        put("referred_by_user", user(self.by));
        put("referring_call_sid", ids::uuid(self.referring.sid.0));
        if let Some(referred) = self.referred {
            put("referred_call_sid", ids::uuid(referred.sid.0));
        }
        for (name, value) in self.headers {
            let own = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
            if name.eq_ignore_ascii_case("User-Agent") {
                put("sip_user_agent", value.clone());
            } else if own {
                put(name, value.clone());
            }
        }
        Fields::from_iter([("refer_details".to_owned(), Value::Object(details))])
    }
}

/// The user part of a URI or of a name and an address, else its host.
pub(super) fn user(text: &str) -> String {
    let address = NameAddr::parse(text.as_bytes()).ok();
    let raw = address.as_ref().map_or(text.as_bytes(), |address| address.uri);
    let parsed = crate::sip::message::Uri::parse(raw).ok();
    let user = parsed.map(|uri| String::from_utf8_lossy(uri.user.unwrap_or(uri.host)).into_owned());
    user.unwrap_or_default()
}

/// Whether header fields of a verb may hold one of this name: what makes the request cannot be given
/// (6.1.4).
pub(super) fn may_be_given(name: &str) -> bool {
    !matches!(
        HeaderId::from_bytes(name.as_bytes()),
        HeaderId::From
            | HeaderId::To
            | HeaderId::Via
            | HeaderId::CallId
            | HeaderId::CSeq
            | HeaderId::Contact
            | HeaderId::Route
            | HeaderId::RecordRoute
            | HeaderId::MaxForwards
            | HeaderId::ContentLength
            | HeaderId::ContentType
            | HeaderId::Authorization
            | HeaderId::ProxyAuthorization
            | HeaderId::SessionExpires
            | HeaderId::MinSe
            | HeaderId::RSeq
            | HeaderId::RAck
            | HeaderId::Allow
            | HeaderId::Supported
            | HeaderId::Require
            | HeaderId::ReferTo
            | HeaderId::ReferredBy
    )
}
