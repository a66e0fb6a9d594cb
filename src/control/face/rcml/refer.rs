//! `<Refer>` (rcml section 6): the transfer is the shard's; here it is asked for and waited for.

use super::address::{Target, refer_target};
use super::document::{Refer, Sip};
use super::driver::{Driver, Next, Role};
use super::fetch::Failed;
use super::parameters::{Form, pair};
use crate::control::engine::Engine;
use crate::control::refer::{self, Followed, Referral, Refers, UNSENT, call_status};
use crate::control::wait::Interrupt;
use crate::record::CallRecord;
use crate::sip::command::ReferOrder;
use crate::sip::event::ReferSnapshot;
use crate::sip::plan::{Credentials, Secret};
use std::sync::Arc;
use url::Url;

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
        let order = ReferOrder {
            sid: self.engine.live.new_refer(),
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
        Ok(match self.follow(order).await? {
            Followed::Unsent(code) => self.refused(&target.address, code),
            Followed::Silent => vec![pair("ReferSipResponseCode", "503")],
            Followed::Told(refer) => parameters(refer.as_deref()),
        })
    }

    /// A transfer that was never sent: it has a record all the same, and a code (restcomm-refers 2.2).
    fn refused(&mut self, address: &str, code: u16) -> Form {
        self.unsent += 1;
        self.engine.record_unsent(&self.call.record, address, code);
        vec![pair("ReferSipResponseCode", code.to_string())]
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
}

/// The result as the action is told (rcml 6.4); nothing at all is known when no event came.
fn parameters(refer: Option<&ReferSnapshot>) -> Form {
    let notify = refer.and_then(|refer| refer.notify_code.map(|code| (refer.status, code)));
    let mut form = Form::new();
    if let Some((status, _)) = notify {
        form.push(pair("ReferCallStatus", call_status(status)));
    }
    form.push(pair("ReferSipResponseCode", refer::answer(refer).to_string()));
    if let Some((_, code)) = notify {
        form.push(pair("NotifySipResponseCode", code.to_string()));
    }
    form
}

/// For a challenge, when both halves are given.
pub(super) fn credentials(sip: &Sip) -> Option<Arc<Credentials>> {
    let user = sip.username.as_deref()?;
    let password = sip.password.as_deref().unwrap_or("");
    Some(Arc::new(Credentials { user: user.into(), secret: Secret::Password(password.into()) }))
}
