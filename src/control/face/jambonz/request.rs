//! `sip:request`: a request inside the call's dialog (jambonz section 7).

use super::document::Request;
use super::driver::{Driver, Next};
use super::facts::Fields;
use crate::control::orders::NotTaken;
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::sip::command::{Action, Order, Refused};
use std::sync::Arc;
use std::time::Duration;

/// What a response may take: 64*T1 and a little.
pub(super) const LONGEST: Duration = Duration::from_secs(35);

impl Driver {
    /// The verb; the call is answered.
    pub(super) async fn request(&mut self, request: &Request, id: Option<&str>) -> Result<Next, Interrupt> {
        let order = Action::Request {
            method: request.method.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
        };
        let (live, order) = (Arc::clone(&self.engine.live), Order::Leg(self.sid(), order));
        let (ticket, taken) = self.until(async move { live.orders().ask_as(order).await }).await?;
        let mut fields = Fields::new();
        match taken {
            Ok(()) => {
                let answered = |driver: &Driver| {
                    let of = |(known, ..): &&(u64, u16, String)| *known == ticket;
                    driver.responses.iter().find(of).map(|(_, code, reason)| (*code, !reason.is_empty()))
                };
                let response = self.until_known(Some(LONGEST), Heed::All, answered).await?;
                match response {
                    // A code without a phrase is one that Baton made: nothing came.
                    Some((code, came)) if came || code < 300 => {
                        fields.insert("result".into(), "success".into());
                        fields.insert("sip_status".into(), code.into());
                    }
                    _ => failed(&mut fields, "no response"),
                }
            }
            Err(NotTaken::Refused(Refused::Malformed)) => failed(&mut fields, "it cannot be sent"),
            Err(error) => {
                tracing::info!(event = "jambonz.request", call = %self.sid(), ?error, "a request was refused");
                failed(&mut fields, "the call cannot be reached");
            }
        }
        self.perform(request.action.clone(), id, fields).await
    }
}

fn failed(fields: &mut Fields, why: &str) {
    fields.insert("result".into(), "failed".into());
    fields.insert("err".into(), why.into());
}
