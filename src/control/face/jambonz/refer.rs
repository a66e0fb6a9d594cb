//! `sip:refer` (jambonz section 6): the transfer is the shard's; here it is asked for and waited for.

use super::document::Refer;
use super::driver::{Driver, Next};
use super::facts::Fields;
use super::hook::Post;
use crate::control::engine::Engine;
use crate::control::refer::{self, Followed, Referral, Refers, UNSENT, escaped};
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::record::CallRecord;
use crate::sip::command::ReferOrder;
use crate::sip::event::{Direction, ReferSid, ReferSnapshot};
use serde_json::{Value, json};
use std::sync::Arc;

impl Driver {
    /// The verb; the call is answered.
    pub(super) async fn refer(&mut self, refer: &Refer, id: Option<&str>) -> Result<Next, Interrupt> {
        let sid = self.engine.live.new_refer();
        if let Some(hook) = &refer.event {
            self.listens(sid, hook.clone());
        }
        let order = ReferOrder {
            sid,
            to: address(&refer.to),
            referred_by: self.referred_by(refer),
            replaces: None,
            headers: refer.headers.clone(),
            credentials: None,
            no_subscription: false,
            // The far end is to hang up, or the verbs do (6.2.3).
            bye_after: None,
            force: false,
            hold: false,
        };
        let (answer, reported) = match self.follow(order).await? {
            Followed::Unsent(code) => {
                self.unsent += 1;
                self.engine.record_unsent(&self.call.record, &refer.to, code);
                (code, None)
            }
            Followed::Silent => (503, None),
            Followed::Told(refer) => codes(refer.as_deref()),
        };
        if self.unsent >= UNSENT {
            return Ok(Next::Failed("too many transfers that cannot be sent".into()));
        }
        // What the NOTIFYs told is told first.
        self.events_are_told().await;
        let mut fields = Fields::new();
        // The name in the documentation, and the one in the vendor's code (6.3).
        fields.insert("referStatus".into(), answer.into());
        fields.insert("refer_status".into(), answer.into());
        if let Some(code) = reported.filter(|code| *code >= 200) {
            fields.insert("final_referred_call_status".into(), code.into());
        }
        self.perform(refer.action.clone(), id, fields).await
    }

    /// The verb's own, else the caller's number; of a call that Baton placed, its own side (6.1.3).
    fn referred_by(&self, refer: &Refer) -> Option<String> {
        let (by, name) = match (&refer.by, &refer.by_name) {
            (Some(by), name) => (address(by), name.as_deref()),
            (None, name) if self.call.record.direction == Direction::Inbound => {
                (address(&self.call.record.from), name.as_deref())
            }
            (None, _) => return None,
        };
        // The name belongs to a bare user.
        match name.filter(|_| !by.contains([':', '<'])) {
            Some(name) => {
                let name: String = name.chars().filter(|c| !matches!(c, '"' | '\\' | '<' | '>')).collect();
                Some(format!("\"{name}\" <{by}>"))
            }
            None => Some(by),
        }
    }

    /// A NOTIFY has reported a code (6.4).
    pub(super) fn notified(&mut self, refer: ReferSid, code: u16) {
        let Some(hook) = self.event_hook(refer) else { return };
        let status: Value = match self.engine.jambonz.options.integer_event_status {
            true => code.into(),
            false => code.to_string().into(),
        };
        let fields = [("event", json!("transfer-status")), ("call_status", status)];
        let fields = Fields::from_iter(fields.map(|(name, value)| (name.to_owned(), value)));
        let post: Post = self.post(hook, fields);
        self.event_lane().notify(Box::new(post));
    }

    /// Waits until the event hooks so far have been told, for as long as one of them may take.
    async fn events_are_told(&mut self) {
        if !self.has_event_lane() {
            return;
        }
        let lane = self.event_lane();
        let longest = self.engine.jambonz.options.timeout;
        let _ = self.wait(tokio::time::timeout(longest, lane.flushed()), Heed::Nothing).await;
    }
}

impl Refers for Driver {
    fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    fn record(&self) -> &CallRecord {
        &self.call.record
    }

    fn referral(&self) -> &Referral {
        &self.referral
    }

    fn referral_mut(&mut self) -> &mut Referral {
        &mut self.referral
    }

    /// Who has ended the call itself does not wait for the result (6.2).
    fn outwaits_the_call(&self) -> bool {
        !self.ordered_away
    }
}

/// How the REFER was answered, and what was last reported of the target.
fn codes(refer: Option<&ReferSnapshot>) -> (u16, Option<u16>) {
    let (code, reported) = (refer::answer(refer), refer.and_then(|refer| refer.notify_code));
    // 200 is treated as 202 (6.2).
    (if (200..300).contains(&code) { 202 } else { code }, reported)
}

/// A URI as it stands (without a display name, which has no place in a header part), or a bare user (6.1.1).
fn address(text: &str) -> String {
    let schemed = |scheme: &str| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    if ["sip:", "sips:", "tel:"].into_iter().any(schemed) {
        return text.to_owned();
    }
    if text.starts_with(['<', '"']) {
        let inner = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        return inner.map_or(text, |(uri, _)| uri).to_owned();
    }
    // `user@host` without a scheme is a SIP URI as well.
    match text.contains('@') {
        true => format!("sip:{text}"),
        false => escaped(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [jambonz 2] [jambonz 6.1.1]
    #[test]
    fn addresses() {
        for (given, expected) in [
            ("+4930100300", "+4930100300"),
            ("sip:x@y;p=1?X-A=1", "sip:x@y;p=1?X-A=1"),
            ("SIPS:x@y", "SIPS:x@y"),
            ("tel:+49", "tel:+49"),
            ("<sip:x@y>", "sip:x@y"),
            ("\"Desk\" <sip:x@y>;a=b", "sip:x@y"),
            ("desk two:1", "desk%20two%3A1"),
            ("x@y", "sip:x@y"),
        ] {
            assert_eq!(address(given), expected);
        }
    }
}
