//! New legs: dialled for an account (`POST /v2/calls`), or for another leg (`transfer`).

use super::address::caller;
use super::claim::Outcome;
use super::command::{callee, order, refused};
use super::fault::{Entry, Fault};
use super::fields::{Common, Fields};
use super::hooks::{Connection, Hooks};
use super::leg::{Leg, NewLeg, Way};
use super::{Asked, driver, payload};
use crate::control::auth::Account;
use crate::control::engine::Engine;
use crate::control::health::Readiness;
use crate::control::orders::NotTaken;
use crate::record::CallRecord;
use crate::sip::command::{Action, Dial, DialParty, Leave, Party, Place, Refused};
use crate::sip::event::Direction;
use crate::sip::plan::Credentials;
use axum::body::Body;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Seconds of ringing (telnyx 4).
const RING: (u64, u64) = (5, 600);
const DEFAULT_RING: u64 = 30;
/// Seconds of a call.
const LIMIT: (u64, u64) = (30, 14_400);
const DEFAULT_LIMIT: u64 = 14_400;

/// What `dial` and `transfer` have in common.
#[derive(Debug)]
struct Callee {
    /// `None` when it could not be read, which is told.
    to: Option<(Party, String)>,
    from: Option<String>,
    name: Option<String>,
    headers: Vec<(String, String)>,
    credentials: Option<Arc<Credentials>>,
    ring: Duration,
    limit: Duration,
    hooks: Hooks,
}

impl Callee {
    fn read(fields: &mut Fields, to: Option<String>, from: Option<String>) -> Callee {
        let transport = fields.word("sip_transport_protocol", &["UDP", "TCP", "TLS"]);
        let from = from.and_then(|text| {
            let from = caller(&text);
            if from.is_none() {
                fields.fault(Entry::unusable("/from", "A number or a SIP URI is needed here."));
            }
            from
        });
        let name = fields.text("from_display_name");
        if name.as_ref().is_some_and(|name| name.chars().any(char::is_control)) {
            fields.fault(Entry::unusable("/from_display_name", "The name does not stay within its line."));
        }
        let mut headers = fields.custom_headers();
        headers.extend(fields.sip_headers());
        if fields.word("privacy", &["id", "none"]) == Some("id") {
            headers.push(("Privacy".to_owned(), "id".to_owned()));
        }
        Callee {
            to: callee(fields, to, transport),
            from,
            name,
            headers,
            credentials: fields.credentials(),
            ring: fields.seconds("timeout_secs", DEFAULT_RING, RING),
            limit: fields.seconds("time_limit_secs", DEFAULT_LIMIT, LIMIT),
            hooks: Hooks::read(fields),
        }
    }
}

/// `POST /v2/calls`. The answer does not wait for the callee.
pub(super) async fn dial(asked: &Asked<'_>, account: &Account, body: Body) -> Result<Value, Fault> {
    let fields = Fields::read(asked.headers, body, true).await?;
    let engine = &asked.app.engine;
    let draining = asked.app.readiness.stands(Readiness::DRAINING);
    let leg = take(engine, &account.sid, fields, draining)?.known().await?;
    Ok(answer(engine, &leg))
}

/// Has a call placed, unless that is being done, or was done already.
pub(super) fn take(
    engine: &Arc<Engine>,
    account: &str,
    mut fields: Fields,
    draining: bool,
) -> Result<Outcome<Arc<Leg>>, Fault> {
    let connection_id = fields.required("connection_id");
    let from = fields.required("from");
    let to = fields.required_one("to");
    let common = fields.common();
    let called = Callee::read(&mut fields, to, from);
    let link_to = fields.text("link_to");
    let connection = connection_id.and_then(|id| {
        let connection = engine.telnyx.connection(&id, account);
        if connection.is_none() {
            fields.fault(Entry::unusable("/connection_id", "There is no connection of this id."));
        }
        connection
    });
    fields.finish()?;
    let Some(connection) = connection else { return Err(Fault::no_object()) };
    let command_id = common.command_id.clone();
    let (of, owner) = (Arc::clone(engine), account.to_owned());
    let doing = || {
        Outcome::of(async move {
            let command_id = common.command_id.clone();
            let placed = match draining {
                true => Err(Fault::unavailable("This node takes no new calls now.")),
                false => place(&of, &owner, connection, called, link_to, common).await,
            };
            if let (Err(_), Some(id)) = (&placed, &command_id) {
                of.telnyx.free(&owner, id);
            }
            placed
        })
    };
    Ok(engine.telnyx.once(account, command_id.as_ref(), doing))
}

async fn place(
    engine: &Arc<Engine>,
    account: &str,
    connection: Arc<Connection>,
    called: Callee,
    link_to: Option<String>,
    common: Common,
) -> Result<Arc<Leg>, Fault> {
    let (Some(from), Some((to, shown))) = (called.from, called.to) else { return Err(Fault::no_object()) };
    let session = match link_to {
        Some(id) => {
            let linked = engine.telnyx.leg(&id, account);
            Some(linked.ok_or_else(|| Fault::unknown_call("link_to"))?.state().session.clone())
        }
        None => None,
    };
    let sid = engine.live.new_call(engine.live.orders().next_shard());
    let now = engine.live.now();
    engine.live.expect(CallRecord {
        from: from.clone(),
        to: shown.clone(),
        ..CallRecord::begun(sid, engine.live.node(), account, Direction::OutboundApi, now)
    });
    let place = Place {
        sid,
        account: account.into(),
        from: from.clone(),
        caller_name: called.name.clone(),
        to,
        headers: called.headers.clone(),
        credentials: called.credentials,
        timeout: called.ring,
        sdp: None,
        by: None,
    };
    let leg = Leg::new(NewLeg {
        sid,
        account: account.to_owned(),
        connection,
        way: Way::Outgoing,
        from,
        to: shown,
        ring: Some(called.ring),
        limit: Some(called.limit),
        session,
        client_state: common.client_state,
        command_id: common.command_id,
        hooks: called.hooks,
        at: now,
    });
    let watch = engine.live.watch(sid);
    engine.telnyx.insert(&leg);
    match engine.live.place(place).await {
        Ok(()) => {
            driver::follow(engine, Arc::clone(&leg), watch, &called.headers, called.name.as_deref());
            Ok(leg)
        }
        Err(error) => {
            engine.telnyx.remove(sid);
            Err(match error {
                NotTaken::Refused(Refused::Malformed) => {
                    Fault::unusable("The call cannot be placed with these values.")
                }
                error => refused(error),
            })
        }
    }
}

/// A call that was dialled: for this command it is never alive yet (telnyx 4).
fn answer(engine: &Engine, leg: &Leg) -> Value {
    Value::Object(payload::record(leg, &leg.state(), false, engine.live.now()))
}

/// `transfer`: another leg for this one.
#[derive(Debug)]
pub(super) struct Transfer {
    called: Callee,
    client_state: Option<String>,
}

impl Transfer {
    /// Reads the command; what is wrong is told by `fields`.
    pub(super) fn read(fields: &mut Fields) -> Transfer {
        let to = fields.required("to");
        let from = fields.text("from");
        Transfer {
            called: Callee::read(fields, to, from),
            client_state: fields.state("target_leg_client_state"),
        }
    }

    /// Calls the other, and joins it when it answers.
    pub(super) async fn carry_out(self, engine: &Arc<Engine>, leg: &Arc<Leg>) -> Result<(), Fault> {
        let called = self.called;
        let Some((party, shown)) = called.to else { return Err(Fault::no_object()) };
        let sid = engine.live.new_call(leg.sid.shard());
        // Shown to the callee is who is transferred, unless the command says otherwise.
        let from = called.from.clone().unwrap_or_else(|| match leg.way {
            Way::Incoming => leg.from.clone(),
            Way::Outgoing => leg.to.clone(),
        });
        let (session, hooks) = {
            let state = leg.state();
            let mut hooks = state.hooks.clone();
            hooks.merge(called.hooks);
            (state.session.clone(), hooks)
        };
        let new = Leg::new(NewLeg {
            sid,
            account: leg.account.clone(),
            connection: Arc::clone(&leg.connection),
            way: Way::Outgoing,
            from,
            to: shown,
            ring: Some(called.ring),
            limit: Some(called.limit),
            session: Some(session),
            client_state: self.client_state,
            command_id: None,
            hooks,
            at: engine.live.now(),
        });
        let dial = Dial {
            parties: vec![DialParty {
                sid,
                to: party,
                headers: called.headers.clone(),
                credentials: called.credentials,
            }],
            from: called.from,
            timeout: called.ring,
            // The leg's own driver sees to it, and says so.
            time_limit: None,
            join: true,
        };
        let watch = engine.live.watch(sid);
        engine.telnyx.insert(&new);
        match order(engine, leg.sid, Action::Dial(Box::new(dial))).await {
            Ok(()) => {
                driver::follow(engine, new, watch, &called.headers, called.name.as_deref());
                Ok(())
            }
            Err(error) => {
                engine.telnyx.remove(sid);
                Err(refused(error))
            }
        }
    }
}

/// The end of a leg by command, with header fields for its BYE or final response.
pub(super) fn leaving(headers: Vec<(String, String)>) -> Action {
    match headers.is_empty() {
        true => Action::Hangup { status: None, reason: None },
        false => Action::Leave(Box::new(Leave { status: None, phrase: None, headers })),
    }
}
