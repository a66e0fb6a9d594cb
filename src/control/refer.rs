//! Transfers for which a program asks in the middle of a call, in whatever face's words: given to the shard,
//! waited for, and recorded when the shard never heard of them.

use super::engine::Engine;
use super::orders::NotTaken;
use super::wait::{Heed, Interrupt, Waits};
use crate::record::CallRecord;
use crate::sip::command::{Order, ReferOrder, Refused};
use crate::sip::event::{Direction, ReferReason, ReferRole, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::message::NameAddr;
use crate::sip::message::uri::{Component, encode_into};
use crate::sip::refer::ReferRule;
use std::sync::Arc;
use std::time::Duration;

/// What a transfer may take at most; the shard decides long before.
const LONGEST: Duration = Duration::from_secs(900);
/// What it may take when the call has ended: the bye grace and more.
const AFTER_THE_END: Duration = Duration::from_secs(60);
/// Characters of a record's target.
const TARGET: usize = 255;

/// Transfers of one call that are refused here at most: each leaves a record, and costs nothing to ask for.
pub(super) const UNSENT: u32 = 32;

/// What a driver waits for, and what it knows of it.
#[derive(Debug, Default)]
pub(super) struct Referral {
    sid: Option<ReferSid>,
    known: Option<Box<ReferSnapshot>>,
}

/// What came of a transfer.
#[derive(Debug)]
pub(super) enum Followed {
    /// It was not sent, for a reason with this code.
    Unsent(u16),
    /// Whether it was sent is not known; if it was, the shard records it.
    Silent,
    /// The last that was told of it, if anything was.
    Told(Option<Box<ReferSnapshot>>),
}

impl Referral {
    /// Something is told of one.
    pub(super) fn told(&mut self, refer: Box<ReferSnapshot>) {
        if self.sid == Some(refer.sid) {
            self.known = Some(refer);
        }
    }

    fn decided(&self) -> Option<Box<ReferSnapshot>> {
        self.known.clone().filter(|refer| refer.status != ReferStatus::InProgress)
    }
}

/// A driver that asks for transfers.
pub(super) trait Refers: Waits {
    /// What it gives orders by.
    fn engine(&self) -> &Arc<Engine>;

    /// Its call.
    fn record(&self) -> &CallRecord;

    /// The transfer that it waits for.
    fn referral(&self) -> &Referral;

    /// The same, to be changed.
    fn referral_mut(&mut self) -> &mut Referral;

    /// Whether the result is waited for though the call has ended.
    fn outwaits_the_call(&self) -> bool {
        true
    }

    /// Asks for it and waits for its result, also when the call ends meanwhile. Something else that is to be
    /// done calls it off.
    async fn follow(&mut self, order: ReferOrder) -> Result<Followed, Interrupt> {
        let (sid, call) = (order.sid, self.record().sid);
        *self.referral_mut() = Referral { sid: Some(sid), known: None };
        let followed = followed(self, order).await;
        *self.referral_mut() = Referral::default();
        if matches!(followed, Err(Interrupt::Changed)) {
            self.engine().live.orders().tell(Order::CancelRefer(sid, call));
        }
        followed
    }
}

async fn followed<D: Refers>(driver: &mut D, order: ReferOrder) -> Result<Followed, Interrupt> {
    let (live, call) = (Arc::clone(&driver.engine().live), driver.record().sid);
    let asking = async move { live.refer(call, order, None).await };
    match driver.wait(asking, Heed::Changes).await? {
        Ok(_) => {}
        // The end has overtaken it, and who has ordered that hears of no result.
        Err(_) if driver.has_ended() && !driver.outwaits_the_call() => return Err(Interrupt::Gone),
        Err(NotTaken::Refused(refused)) => return Ok(Followed::Unsent(code(refused))),
        Err(NotTaken::Behind) => return Ok(Followed::Unsent(503)),
        Err(NotTaken::Silent) => return Ok(Followed::Silent),
    }
    let decided = |driver: &D| driver.referral().decided();
    let result = match driver.until_known(Some(LONGEST), Heed::All, decided).await {
        Err(Interrupt::Gone) if driver.outwaits_the_call() => {
            driver.until_known(Some(AFTER_THE_END), Heed::Changes, decided).await?
        }
        result => result?,
    };
    Ok(Followed::Told(result.or_else(|| driver.referral_mut().known.take())))
}

impl Engine {
    /// A transfer that was never sent has a record all the same (restcomm-refers 2.2).
    pub(super) fn record_unsent(&self, call: &CallRecord, to: &str, code: u16) {
        let now = self.live.now();
        let own = match call.direction {
            Direction::Inbound => &call.to,
            Direction::OutboundApi | Direction::OutboundDial => &call.from,
        };
        self.record_refer(ReferSnapshot {
            sid: self.live.new_refer(),
            call: call.sid,
            account: call.account.as_str().into(),
            role: ReferRole::Transferor,
            created: now,
            at: now,
            seq: 0,
            from: own_uri(own, &self.host),
            to: to.trim().split('?').next().unwrap_or("").chars().take(TARGET).collect(),
            refer_code: Some(code),
            notify_code: None,
            status: ReferStatus::Failed,
            reason: Some(ReferReason::ReferRejected),
            rule: Some(ReferRule::Api),
            moved: None,
            target: None,
        });
    }
}

/// The code of the answer to a REFER, as far as it is known; nothing at all is when no event came.
pub(super) fn answer(refer: Option<&ReferSnapshot>) -> u16 {
    // A NOTIFY that came first was taken as acceptance (refer-core R-037).
    let notified = refer.is_some_and(|refer| refer.notify_code.is_some());
    refer.and_then(|refer| refer.refer_code).unwrap_or(if notified { 202 } else { 408 })
}

/// A status in the words of the Refers API, which knows neither `completed` nor `ringing`: the new call is up,
/// and goes on (restcomm-refers 4).
pub(super) const fn call_status(status: ReferStatus) -> &'static str {
    match status {
        ReferStatus::InProgress | ReferStatus::Completed => "in-progress",
        ReferStatus::Busy => "busy",
        ReferStatus::NoAnswer => "no-answer",
        ReferStatus::Failed => "failed",
        ReferStatus::Canceled => "canceled",
    }
}

/// A user part, escaped.
pub(super) fn escaped(user: &str) -> String {
    let mut out = Vec::new();
    encode_into(&mut out, Component::User, user.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

/// A party as a URI: the one that it is, or a user here.
fn own_uri(party: &str, host: &str) -> String {
    match NameAddr::parse(party.as_bytes()) {
        Ok(address) if party.contains('@') => String::from_utf8_lossy(address.uri).into_owned(),
        _ => format!("sip:{}@{host}", escaped(party)),
    }
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

    /// [restcomm-refers 2.2] [jambonz 6.1.3] Who refers, in the record of a transfer that was never sent.
    #[test]
    fn parties() {
        for (party, uri) in [
            ("+4930100300", "sip:+4930100300@pbx.example"),
            ("desk two", "sip:desk%20two@pbx.example"),
            ("sip:x@y", "sip:x@y"),
            ("\"Desk\" <sip:x@y;a=b>;tag=1", "sip:x@y;a=b"),
            ("", "sip:@pbx.example"),
        ] {
            assert_eq!(own_uri(party, "pbx.example"), uri);
        }
    }
}
