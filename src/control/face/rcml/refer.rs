//! `<Refer>` (rcml section 6): the transfer is the shard's; here it is asked for and waited for.

use super::address::{Target, refer_target};
use super::document::{Refer, Sip};
use super::driver::{Driver, Next, Role};
use super::fetch::Failed;
use super::parameters::{Form, pair};
use crate::control::orders::NotTaken;
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::sip::command::{Order, ReferOrder, Refused};
use crate::sip::event::{Direction, ReferReason, ReferRole, ReferSnapshot, ReferStatus};
use crate::sip::message::uri::{Component, encode_into};
use crate::sip::plan::{Credentials, Secret};
use crate::sip::refer::ReferRule;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What a transfer may take at most; the shard decides long before.
const LONGEST: Duration = Duration::from_secs(900);
/// What it may take when the call has ended: the bye grace and more.
const AFTER_THE_END: Duration = Duration::from_secs(60);
/// Transfers of one call that are refused here at most: each leaves a record, and costs nothing to ask for.
const UNSENT: u32 = 32;

impl Driver {
    /// The verb; what follows depends on whether it has an action (rcml 6.7).
    pub(super) async fn refer(&mut self, refer: &Refer, base: &Url) -> Result<Next, Interrupt> {
        self.answer().await?;
        let text = refer.target.as_ref().map_or("", |sip| sip.address.as_str());
        let result = match (&refer.target, refer_target(text)) {
            (Some(sip), Ok(target)) => self.transfer(sip, target).await?,
            (None, _) | (_, Err(_)) => self.refused(text, 400),
        };
        if self.unsent >= UNSENT {
            tracing::warn!(event = "rcml.loop", call = %self.sid(), "too many transfers that cannot be sent");
            return Ok(Next::Failed(Failed::executing(base)));
        }
        self.result(refer.action.as_ref(), base, result).await
    }

    async fn transfer(&mut self, sip: &Sip, target: Target) -> Result<Form, Interrupt> {
        let sid = self.engine.live.new_refer();
        let order = ReferOrder {
            sid,
            to: target.uri,
            referred_by: None,
            // Two calls at once: the transferee is to take over the other one (rcml 6.6).
            replaces: match target.bare && self.role == Role::Beside {
                true => self.engine.live.related(self.sid()).first().map(|leg| leg.record.sid),
                false => None,
            },
            headers: Vec::new(),
            credentials: credentials(sip),
            no_subscription: false,
            // The document decides what follows success (rcml 6.7.4).
            bye_after: None,
            force: false,
            hold: false,
        };
        self.refer = Some(sid);
        self.referred = None;
        let result = self.followed(order, &target.address).await;
        if result == Err(Interrupt::Changed) {
            self.engine.live.orders().tell(Order::CancelRefer(sid, self.sid()));
        }
        self.refer = None;
        result
    }

    /// Asks for it and waits for its result, also when the call ends meanwhile.
    async fn followed(&mut self, order: ReferOrder, address: &str) -> Result<Form, Interrupt> {
        let (live, call) = (Arc::clone(&self.engine.live), self.sid());
        let asking = async move { live.refer(call, order, None).await };
        match self.wait(asking, Heed::Changes).await? {
            Ok(_) => {}
            Err(NotTaken::Refused(refused)) => return Ok(self.refused(address, code(refused))),
            Err(NotTaken::Behind) => return Ok(self.refused(address, 503)),
            // Whether it was sent is not known; if it was, the shard records it.
            Err(NotTaken::Silent) => return Ok(vec![pair("ReferSipResponseCode", "503")]),
        }
        let decided = |driver: &Driver| {
            let refer = driver.referred.as_ref()?;
            (refer.status != ReferStatus::InProgress).then(|| refer.clone())
        };
        let result = match self.until_known(Some(LONGEST), Heed::All, decided).await {
            Err(Interrupt::Gone) => self.until_known(Some(AFTER_THE_END), Heed::Changes, decided).await?,
            result => result?,
        };
        Ok(parameters(result.as_deref()))
    }

    /// A transfer that was never sent: it has a record all the same, and a code (restcomm-refers 2.2).
    fn refused(&mut self, address: &str, code: u16) -> Form {
        self.unsent += 1;
        let live = &self.engine.live;
        let record = &self.call.record;
        let now = live.now();
        let own = match record.direction {
            Direction::Inbound => &record.to,
            Direction::OutboundApi | Direction::OutboundDial => &record.from,
        };
        let to = address.trim().split('?').next().unwrap_or("");
        self.engine.record_refer(ReferSnapshot {
            sid: live.new_refer(),
            call: record.sid,
            account: record.account.as_str().into(),
            role: ReferRole::Transferor,
            created: now,
            at: now,
            seq: 0,
            from: own_uri(own, &self.engine.host),
            to: to.chars().take(255).collect(),
            refer_code: Some(code),
            notify_code: None,
            status: ReferStatus::Failed,
            reason: Some(ReferReason::ReferRejected),
            rule: Some(ReferRule::Api),
            moved: None,
            target: None,
        });
        vec![pair("ReferSipResponseCode", code.to_string())]
    }
}

/// The result as the action is told (rcml 6.4); nothing at all is known when no event came.
fn parameters(refer: Option<&ReferSnapshot>) -> Form {
    let notify = refer.and_then(|refer| refer.notify_code.map(|code| (refer.status, code)));
    // A NOTIFY that came first was taken as acceptance (refer-core R-037).
    let unanswered = if notify.is_some() { 202 } else { 408 };
    let code = refer.and_then(|refer| refer.refer_code).unwrap_or(unanswered);
    let mut form = Form::new();
    if let Some((status, _)) = notify {
        form.push(pair("ReferCallStatus", call_status(status)));
    }
    form.push(pair("ReferSipResponseCode", code.to_string()));
    if let Some((_, code)) = notify {
        form.push(pair("NotifySipResponseCode", code.to_string()));
    }
    form
}

/// The API knows no `completed`: the new call is up, and goes on (restcomm-refers 4).
const fn call_status(status: ReferStatus) -> &'static str {
    match status {
        ReferStatus::InProgress | ReferStatus::Completed => "in-progress",
        ReferStatus::Busy => "busy",
        ReferStatus::NoAnswer => "no-answer",
        ReferStatus::Failed => "failed",
        ReferStatus::Canceled => "canceled",
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

/// For a challenge, when both halves are given.
pub(super) fn credentials(sip: &Sip) -> Option<Arc<Credentials>> {
    let user = sip.username.as_deref()?;
    let password = sip.password.as_deref().unwrap_or("");
    Some(Arc::new(Credentials { user: user.into(), secret: Secret::Password(password.into()) }))
}

/// A user as a SIP URI.
fn own_uri(user: &str, host: &str) -> String {
    if user.contains('@') {
        return user.to_owned();
    }
    let mut escaped = Vec::new();
    encode_into(&mut escaped, Component::User, user.as_bytes());
    format!("sip:{}@{host}", String::from_utf8_lossy(&escaped))
}
