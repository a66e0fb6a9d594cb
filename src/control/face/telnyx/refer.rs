//! `…/actions/refer` (telnyx 2): the transfer is the shard's; here it is asked for.

use super::address::{Unusable, refer_to};
use super::command::{self, refused};
use super::fault::{Entry, Fault};
use super::fields::{Common, Fields};
use super::leg::{Leg, Referring};
use crate::control::engine::Engine;
use crate::control::orders::NotTaken;
use crate::sip::command::{Action, ReferOrder, Refused};
use crate::sip::plan::Credentials;
use std::sync::Arc;
use tokio::time::Instant;

/// What is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    to: String,
    headers: Vec<(String, String)>,
    credentials: Option<Arc<Credentials>>,
}

/// Reads the command; all that is wrong with it is told at once.
pub(super) fn wanted(fields: &mut Fields) -> Result<(Common, Wanted), Fault> {
    let address = fields.required("sip_address");
    let common = fields.common();
    let custom = fields.custom_headers();
    let headers = fields.sip_headers();
    let credentials = fields.credentials();
    let to = address.map(|address| {
        // The referred party's INVITE carries both; the REFER itself User-to-User alone (telnyx 2.1).
        let tel = address.trim().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:"));
        let own: &[(String, String)] = if tel { &[] } else { &headers };
        refer_to(&address, &[&custom, own].concat())
    });
    let to = match to {
        Some(Ok(to)) => to,
        Some(Err(Unusable::Address)) => {
            fields.fault(Entry::unusable("/sip_address", "A SIP URI is needed here."));
            String::new()
        }
        Some(Err(Unusable::Headers)) => {
            let detail = "A tel URI has no place for header fields.";
            fields.fault(Entry::unusable("/custom_headers", detail));
            String::new()
        }
        None => String::new(),
    };
    fields.finish()?;
    Ok((common, Wanted { to, headers, credentials }))
}

/// Orders the transfer.
pub(super) async fn refer(engine: &Arc<Engine>, leg: &Leg, wanted: Wanted) -> Result<(), Fault> {
    const BUSY: &str = "A refer is already in progress on this call.";
    let sid = engine.live.new_refer();
    {
        // Whoever follows the leg must know the transfer before its first event.
        let mut state = leg.state();
        if state.refer.is_some() {
            return Err(Fault::unusable(BUSY));
        }
        state.refer = Some(Referring { sid, since: Instant::now(), started: false });
    }
    let order = ReferOrder {
        sid,
        to: wanted.to,
        referred_by: None,
        replaces: None,
        headers: wanted.headers,
        credentials: wanted.credentials,
        no_subscription: false,
        // The leg has done its part then (telnyx 2.8).
        bye_after: Some(leg.connection.bye_after),
        force: false,
        hold: false,
    };
    let taken = command::order(engine, leg.sid, Action::Refer(Box::new(order))).await;
    if taken.is_err() {
        leg.state().refer.take_if(|refer| refer.sid == sid);
        leg.changed.notify_one();
    }
    taken.map_err(|error| match error {
        NotTaken::Refused(Refused::Busy) => Fault::unusable(BUSY),
        NotTaken::Refused(Refused::Malformed) => {
            Fault::of(vec![Entry::unusable("/sip_address", "This address cannot be referred to.")])
        }
        error => refused(error),
    })
}
