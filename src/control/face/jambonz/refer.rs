//! `sip:refer` (jambonz section 6): the transfer is the shard's; here it is asked for and waited for.

use super::document::Refer;
use super::driver::{Driver, Next};
use super::facts::{Fields, user};
use super::hook::Post;
use crate::control::orders::NotTaken;
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::sip::command::{Order, ReferOrder, Refused};
use crate::sip::event::{Direction, ReferReason, ReferRole, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::message::uri::{Component, encode_into};
use crate::sip::refer::ReferRule;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What a transfer may take at most; the shard decides long before.
const LONGEST: Duration = Duration::from_secs(900);
/// What it may take when the call has ended: the bye grace and more.
const AFTER_THE_END: Duration = Duration::from_secs(60);

/// Transfers of one call that are refused here at most: each leaves a record, and costs nothing to ask for.
const UNSENT: u32 = 32;

/// What is known of a transfer in the end.
struct Outcome {
    refer: Option<u16>,
    last: Option<u16>,
}

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
        self.refer = Some(sid);
        self.referred = None;
        let outcome = self.followed(order, &refer.to).await;
        self.refer = None;
        if matches!(outcome, Err(Interrupt::Changed)) {
            self.engine.live.orders().tell(Order::CancelRefer(sid, self.sid()));
        }
        let outcome = outcome?;
        if self.unsent >= UNSENT {
            return Ok(Next::Failed("too many transfers that cannot be sent".into()));
        }
        // What the NOTIFYs told is told first.
        self.events_are_told().await;
        let mut fields = Fields::new();
        if let Some(code) = outcome.refer {
            // The name in the documentation, and the one in the vendor's code (6.3).
            fields.insert("referStatus".into(), code.into());
            fields.insert("refer_status".into(), code.into());
        }
        if let Some(code) = outcome.last.filter(|code| *code >= 200) {
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

    /// Asks for it and waits for its result, also when the call ends meanwhile.
    async fn followed(&mut self, order: ReferOrder, address: &str) -> Result<Outcome, Interrupt> {
        let (live, call) = (Arc::clone(&self.engine.live), self.sid());
        let asking = async move { live.refer(call, order, None).await };
        match self.wait(asking, Heed::Changes).await? {
            Ok(_) => {}
            Err(NotTaken::Refused(refused)) => return Ok(self.unsent(address, code(refused))),
            Err(NotTaken::Behind) => return Ok(self.unsent(address, 503)),
            // Whether it was sent is not known; if it was, the shard records it.
            Err(NotTaken::Silent) => return Ok(Outcome { refer: Some(503), last: None }),
        }
        let decided = |driver: &Driver| {
            let refer = driver.referred.as_ref()?;
            (refer.status != ReferStatus::InProgress).then(|| refer.clone())
        };
        let result = match self.until_known(Some(LONGEST), Heed::All, decided).await {
            // Who has ended the call itself does not wait for the result (jambonz 6.2).
            Err(Interrupt::Gone) if self.ordered_away => return Err(Interrupt::Gone),
            Err(Interrupt::Gone) => self.until_known(Some(AFTER_THE_END), Heed::Changes, decided).await?,
            result => result?,
        };
        Ok(Outcome::of(result.or(self.referred.take()).as_deref()))
    }

    /// A transfer that was never sent: it has a record all the same, and a code.
    fn unsent(&mut self, address: &str, code: u16) -> Outcome {
        self.unsent += 1;
        let live = &self.engine.live;
        let record = &self.call.record;
        let now = live.now();
        let own = match record.direction {
            Direction::Inbound => &record.to,
            Direction::OutboundApi | Direction::OutboundDial => &record.from,
        };
        self.engine.record_refer(ReferSnapshot {
            sid: live.new_refer(),
            call: record.sid,
            account: record.account.as_str().into(),
            role: ReferRole::Transferor,
            created: now,
            at: now,
            seq: 0,
            from: format!("sip:{}@{}", escaped(&user(own)), self.engine.host),
            to: address.split('?').next().unwrap_or("").chars().take(255).collect(),
            refer_code: Some(code),
            notify_code: None,
            status: ReferStatus::Failed,
            reason: Some(ReferReason::ReferRejected),
            rule: Some(ReferRule::Api),
            moved: None,
            target: None,
        });
        Outcome { refer: Some(code), last: None }
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

impl Outcome {
    /// Nothing at all is known when no event came.
    fn of(refer: Option<&ReferSnapshot>) -> Outcome {
        let last = refer.and_then(|refer| refer.notify_code);
        // A NOTIFY that came first was taken as acceptance (refer-core R-037).
        let unanswered = if last.is_some() { 202 } else { 408 };
        let code = refer.and_then(|refer| refer.refer_code).unwrap_or(unanswered);
        // 200 is treated as 202 (6.2).
        Outcome { refer: Some(if (200..300).contains(&code) { 202 } else { code }), last }
    }
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

fn escaped(user: &str) -> String {
    let mut out = Vec::new();
    encode_into(&mut out, Component::User, user.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

/// The code that tells best why the shard did not send it.
const fn code(refused: Refused) -> u16 {
    match refused {
        Refused::Malformed => 400,
        Refused::Busy => 491,
        Refused::Unknown
        | Refused::Ended
        | Refused::NotAnswered
        | Refused::Answered
        | Refused::Full
        | Refused::Late => 503,
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
