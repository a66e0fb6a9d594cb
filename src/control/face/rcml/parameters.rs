//! What every request for a document and every status callback tells of a call (rcml section 3).

use crate::record::{CallRecord, call_sid_text};
use crate::sip::event::{CallHeaders, CallSid};
use crate::sip::time::Time;
use jiff::Timestamp;

/// The version that stands in requests.
const API_VERSION: &str = "2012-04-24";

/// Names and values, in order.
pub(super) type Form = Vec<(String, String)>;

/// What a driver knows of its call.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) record: CallRecord,
    /// Header fields of its INVITE, or of the final response to it.
    pub(super) headers: Vec<(String, String)>,
    /// The leg dialled for it.
    pub(super) outbound: Option<CallSid>,
    /// ReferTarget, Transferor, Transferee after a REFER of a peer.
    pub(super) transfer: Form,
}

impl Facts {
    /// The parameters of a document's request; `more` is what its occasion adds.
    pub(super) fn request(&self, more: Form) -> Form {
        let mut form = self.call();
        form.extend(self.transfer.iter().cloned());
        form.extend(sip_headers(&self.headers, true));
        form.extend(more);
        form
    }

    /// The parameters of a status callback (Calls API, 11.6).
    pub(super) fn callback(&self, more: Form) -> Form {
        let mut form = self.call();
        form.extend(more);
        form.extend(sip_headers(&self.headers, false));
        form
    }

    /// A new set of header fields.
    pub(super) fn headers(&mut self, headers: &CallHeaders) {
        self.headers.clone_from(&headers.headers);
        self.record.call_id.clone_from(&headers.call_id);
    }

    fn call(&self) -> Form {
        let record = &self.record;
        let sid = |sid| call_sid_text(record.node, sid);
        let unknown = || "null".to_owned();
        let mut form =
            vec![pair("CallSid", sid(record.sid)), pair("InstanceId", format!("ID{:032x}", record.node))];
        form.extend(self.outbound.map(|outbound| pair("OutboundCallSid", sid(outbound))));
        form.extend([
            pair("AccountSid", record.account.as_str()),
            pair("From", record.from.as_str()),
            pair("To", record.to.as_str()),
            pair("CallStatus", record.status.text()),
            pair("ApiVersion", API_VERSION),
            pair("Direction", record.direction.text()),
            pair("CallerName", record.caller_name.clone().unwrap_or_else(unknown)),
            pair("ForwardedFrom", record.forwarded_from.clone().unwrap_or_else(unknown)),
            pair("CallTimestamp", offset(record.created)),
        ]);
        form
    }
}

/// A name and a value.
pub(super) fn pair(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// Each header field that is shown, the custom ones first; names as received, those that have one
/// name here in their order from the top.
fn sip_headers(headers: &[(String, String)], custom: bool) -> Form {
    let is_custom = |name: &str| name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    let mut form = Form::new();
    if custom {
        let custom = headers.iter().filter(|(name, _)| is_custom(name));
        form.extend(custom.map(|(name, value)| (format!("SipHeader_{name}"), value.clone())));
    }
    for known in ["Diversion", "History-Info"] {
        let of = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(known));
        form.extend(of.map(|(_, value)| (format!("SipHeader_{known}"), value.clone())));
    }
    form
}

/// `2021-12-15T10:29:28.539+00:00`.
fn offset(time: Time) -> String {
    let millis = time.millis() % 1_000;
    format!("{}.{millis:03}+00:00", timestamp(time).strftime("%Y-%m-%dT%H:%M:%S"))
}

/// `Tue, 07 Apr 2020 11:10:26 +0000`: here the day is padded.
pub(super) fn rfc2822(time: Time) -> String {
    timestamp(time).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

fn timestamp(time: Time) -> Timestamp {
    let micros = i64::try_from(time.micros()).ok();
    micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::event::Direction;

    fn facts() -> Facts {
        let at = Time::from_micros(1_586_257_815_999_999);
        let record = CallRecord {
            from: "bob".into(),
            to: "+1111".into(),
            ..CallRecord::begun(CallSid(2), 1, "AC1", Direction::Inbound, at)
        };
        Facts { record, headers: Vec::new(), outbound: None, transfer: Vec::new() }
    }

    fn names(form: &Form) -> Vec<&str> {
        form.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// [rcml 2] [rcml 3] [rcml 4] [restcomm-calls 29] Names, order, and what stands for the unknown.
    #[test]
    fn parameters_in_their_order() {
        let mut facts = facts();
        let base = "CallSid InstanceId AccountSid From To CallStatus ApiVersion Direction CallerName \
                    ForwardedFrom CallTimestamp";
        assert_eq!(names(&facts.request(Form::new())).join(" "), base);
        let value = |facts: &Facts, name: &str| {
            facts.request(Form::new()).into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
        };
        let is = |name, expected: &str| assert_eq!(value(&facts, name).as_deref(), Some(expected), "{name}");
        is("CallSid", "ID00000000000000000000000000000001-CA00000000000000000000000000000002");
        is("CallStatus", "ringing");
        is("Direction", "inbound");
        is("CallerName", "null");
        is("ForwardedFrom", "null");
        is("CallTimestamp", "2020-04-07T11:10:15.999+00:00");
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        facts.headers = vec![
            header("diversion", "<tel:2>"),
            header("X-Foo", "1"),
            header("Diversion", "<tel:1>"),
            header("History-Info", "h"),
            header("User-to-User", "u"),
        ];
        facts.outbound = Some(CallSid(3));
        let form = facts.request(vec![pair("ReferSipResponseCode", "202")]);
        assert_eq!(names(&form)[..3], ["CallSid", "InstanceId", "OutboundCallSid"]);
        let tail = [
            header("SipHeader_X-Foo", "1"),
            header("SipHeader_Diversion", "<tel:2>"),
            header("SipHeader_Diversion", "<tel:1>"),
            header("SipHeader_History-Info", "h"),
            header("ReferSipResponseCode", "202"),
        ];
        assert_eq!(form[12..], tail);
        let callback = facts.callback(vec![pair("SequenceNumber", "0")]);
        assert_eq!(
            names(&callback)[12..],
            ["SequenceNumber", "SipHeader_Diversion", "SipHeader_Diversion", "SipHeader_History-Info"]
        );
    }

    /// [restcomm-calls 26]
    #[test]
    fn timestamps_are_padded() {
        assert_eq!(rfc2822(Time::from_micros(1_586_257_826_000_000)), "Tue, 07 Apr 2020 11:10:26 +0000");
    }
}
