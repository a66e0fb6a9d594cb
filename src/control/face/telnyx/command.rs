//! Commands on a leg (telnyx 4): read, checked in one order for all, and made into orders.

use super::address::party;
use super::claim::Outcome;
use super::fault::{Entry, Fault};
use super::fields::{Common, Fields};
use super::hooks::Hooks;
use super::leg::{Deciding, Leg, Way};
use super::{Asked, dial, refer};
use crate::control::auth::Account;
use crate::control::engine::Engine;
use crate::control::orders::NotTaken;
use crate::sip::command::{Action, Order, Refused};
use crate::sip::event::{CallSid, CallStatus};
use axum::body::Body;
use axum::http::Method;
use std::sync::Arc;
use std::time::Duration;

/// The commands there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Answer,
    Reject,
    Hangup,
    Transfer,
    Bridge,
    Refer,
    SendSipInfo,
    ClientStateUpdate,
    /// It needs media.
    Unsupported(&'static str),
}

/// Commands that need media, or what Baton has not.
const UNSUPPORTED: &[&str] = &[
    "ai_assistant_add_messages",
    "ai_assistant_join",
    "ai_assistant_start",
    "ai_assistant_stop",
    "enqueue",
    "fork_start",
    "fork_stop",
    "gather",
    "gather_stop",
    "gather_using_ai",
    "gather_using_audio",
    "gather_using_speak",
    "leave_queue",
    "playback_start",
    "playback_stop",
    "record_pause",
    "record_resume",
    "record_start",
    "record_stop",
    "send_dtmf",
    "siprec_start",
    "siprec_stop",
    "speak",
    "streaming_start",
    "streaming_stop",
    "suppression_start",
    "suppression_stop",
    "switch_supervisor_role",
    "transcription_start",
    "transcription_stop",
];

impl Verb {
    /// The command of a name.
    pub(super) fn from_name(name: &str) -> Option<Verb> {
        Some(match name {
            "answer" => Verb::Answer,
            "reject" => Verb::Reject,
            "hangup" => Verb::Hangup,
            "transfer" => Verb::Transfer,
            "bridge" => Verb::Bridge,
            "refer" => Verb::Refer,
            "send_sip_info" => Verb::SendSipInfo,
            "client_state_update" => Verb::ClientStateUpdate,
            _ => Verb::Unsupported(UNSUPPORTED.iter().find(|known| **known == name)?),
        })
    }

    /// How it is sent.
    pub(super) fn method(self) -> Method {
        match self {
            Verb::ClientStateUpdate => Method::PUT,
            _ => Method::POST,
        }
    }

    fn needs_fields(self) -> bool {
        !matches!(self, Verb::Answer | Verb::Hangup | Verb::Unsupported(_))
    }
}

/// A command whose body is fine.
#[derive(Debug)]
enum Wanted {
    Answer { headers: Vec<(String, String)>, hooks: Hooks },
    Reject { status: u16 },
    Hangup { headers: Vec<(String, String)> },
    Transfer(Box<dial::Transfer>),
    Bridge { with: String },
    Refer(refer::Wanted),
    SendSipInfo { content_type: String, body: String },
    ClientStateUpdate,
}

/// What `reject` is answered with.
const CAUSES: &[(&str, u16)] =
    &[("CALL_REJECTED", 603), ("USER_BUSY", 486), ("NOT_FOUND", 404), ("TEMPORARILY_UNAVAILABLE", 480)];

/// Takes a command, in the order of checks of telnyx 1.6.
pub(super) async fn act(
    asked: &Asked<'_>,
    account: &Account,
    id: &str,
    verb: Verb,
    body: Body,
) -> Result<(), Fault> {
    let fields = Fields::read(asked.headers, body, verb.needs_fields()).await?;
    take(&asked.app.engine, &account.sid, id, verb, fields)?.known().await
}

/// Has a command carried out, unless that is being done, or was done already.
pub(super) fn take(
    engine: &Arc<Engine>,
    account: &str,
    id: &str,
    verb: Verb,
    mut fields: Fields,
) -> Result<Outcome<()>, Fault> {
    let (common, wanted) = read(&mut fields, verb)?;
    let leg = engine.telnyx.leg(id, account).ok_or_else(|| Fault::unknown_call("call_control_id"))?;
    let command_id = common.command_id.clone();
    let (engine, of) = (Arc::clone(engine), Arc::clone(&leg));
    let doing = || Outcome::of(async move { in_turn(&engine, &of, common, wanted).await });
    Ok(leg.once(command_id.as_ref(), doing))
}

/// One command, when those before it are done; the end of a call waits for none of them. Its client state
/// counts in whatever comes of it, so it is taken before the command is known to be.
async fn in_turn(engine: &Arc<Engine>, leg: &Arc<Leg>, common: Common, wanted: Wanted) -> Result<(), Fault> {
    let _turn = match wanted {
        Wanted::Hangup { .. } | Wanted::Reject { .. } => None,
        _ => Some(leg.turn.lock().await),
    };
    let given = common.client_state;
    let former = given.clone().map(|given| leg.state().client_state.replace(given));
    let done = carry_out(engine, leg, wanted).await;
    if done.is_err() {
        if let Some(former) = former {
            // Unless one that did not wait has given another meanwhile.
            let mut state = leg.state();
            if state.client_state == given {
                state.client_state = former;
            }
        }
        if let Some(id) = &common.command_id {
            leg.free(id);
        }
    }
    done
}

fn read(fields: &mut Fields, verb: Verb) -> Result<(Common, Wanted), Fault> {
    if verb == Verb::Refer {
        let (common, wanted) = refer::wanted(fields)?;
        return Ok((common, Wanted::Refer(wanted)));
    }
    if verb == Verb::ClientStateUpdate {
        let common =
            Common { client_state: fields.required_state("client_state"), command_id: fields.command_id() };
        fields.finish()?;
        return Ok((common, Wanted::ClientStateUpdate));
    }
    let wanted = match verb {
        Verb::Answer => {
            let hooks = Hooks::read(fields);
            let headers = [fields.custom_headers(), fields.sip_headers()].concat();
            Wanted::Answer { headers, hooks }
        }
        Verb::Reject => {
            let words: Vec<&'static str> = CAUSES.iter().map(|(word, _)| *word).collect();
            let cause = fields.required_word("cause", &words);
            let status = CAUSES.iter().find(|(word, _)| Some(*word) == cause);
            Wanted::Reject { status: status.map_or(603, |(_, status)| *status) }
        }
        Verb::Hangup => Wanted::Hangup { headers: fields.custom_headers() },
        Verb::Transfer => Wanted::Transfer(Box::new(dial::Transfer::read(fields))),
        Verb::Bridge => Wanted::Bridge { with: fields.required("call_control_id").unwrap_or_default() },
        Verb::SendSipInfo => {
            let content_type = fields.required("content_type").unwrap_or_default();
            let body = fields.required("body").unwrap_or_default();
            if content_type.bytes().any(|b| b.is_ascii_control()) {
                fields.fault(Entry::unusable("/content_type", "This is no content type."));
            }
            Wanted::SendSipInfo { content_type, body }
        }
        Verb::Refer | Verb::ClientStateUpdate => Wanted::ClientStateUpdate,
        Verb::Unsupported(name) => {
            let detail = format!("The command {name} is not supported: there is no media here.");
            return Err(Fault::unusable(detail));
        }
    };
    let common = fields.common();
    fields.finish()?;
    Ok((common, wanted))
}

async fn carry_out(engine: &Arc<Engine>, leg: &Arc<Leg>, wanted: Wanted) -> Result<(), Fault> {
    let live = engine.live.call(leg.sid).filter(|live| !live.record.status.is_final());
    // A call that another face has taken is over for this one.
    let live = live.filter(|_| !leg.state().taken);
    let answered = live.ok_or_else(Fault::ended)?.record.status == CallStatus::InProgress;
    let order = |action| async { order(engine, leg.sid, action).await.map_err(refused) };
    let parked = leg.way == Way::Incoming && !answered;
    match wanted {
        Wanted::Refer(_) | Wanted::SendSipInfo { .. } if !answered => Err(Fault::not_answered()),
        Wanted::Transfer(_) | Wanted::Bridge { .. } if !answered && !parked => Err(Fault::not_answered()),
        Wanted::Answer { .. } | Wanted::Reject { .. } if !parked => Err(Fault::unusable(match leg.way {
            Way::Incoming => "This call has already been answered.",
            Way::Outgoing => "This command is for inbound calls only.",
        })),
        Wanted::Answer { headers, hooks } => {
            let deciding = leg.deciding();
            let former = {
                let mut state = leg.state();
                let former = state.hooks.clone();
                state.hooks.merge(hooks);
                former
            };
            let done = order(Action::Answer { sdp: None, headers }).await;
            match done {
                Ok(()) => deciding.decided(),
                Err(_) => leg.state().hooks = former,
            }
            done
        }
        Wanted::Reject { status } => {
            let deciding = leg.deciding();
            order(Action::Hangup { status: Some(status), reason: None }).await?;
            deciding.decided();
            Ok(())
        }
        Wanted::Hangup { headers } => {
            leg.state().hung_up = true;
            let done = order(dial::leaving(headers)).await;
            if done.is_err() {
                leg.state().hung_up = false;
            }
            done
        }
        Wanted::Transfer(transfer) => {
            let _deciding = leg.deciding();
            transfer.carry_out(engine, leg).await?;
            leg.state().transfers += 1;
            Ok(())
        }
        Wanted::Bridge { with } => bridge(engine, leg, &with).await,
        Wanted::Refer(wanted) => refer::refer(engine, leg, wanted).await,
        Wanted::SendSipInfo { content_type, body } => {
            let body = Some((content_type, body));
            order(Action::Request { method: "INFO".to_owned(), headers: Vec::new(), body }).await
        }
        Wanted::ClientStateUpdate => Ok(()),
    }
}

/// Joins two legs; from then on they are of one session.
async fn bridge(engine: &Engine, leg: &Leg, with: &str) -> Result<(), Fault> {
    let other = engine.telnyx.leg(with, &leg.account);
    let other = other.ok_or_else(|| Fault::unknown_call("call_control_id"))?;
    if other.sid == leg.sid {
        return Err(Fault::of(vec![Entry::unusable("/call_control_id", "This is the call itself.")]));
    }
    if engine.live.call(other.sid).is_none() || other.state().taken {
        return Err(Fault::ended());
    }
    let deciding = [leg.deciding(), other.deciding()];
    let session = leg.state().session.clone();
    let former = std::mem::replace(&mut other.state().session, session.clone());
    let done = order(engine, leg.sid, Action::Join(other.sid)).await.map_err(refused);
    match done {
        Ok(()) => deciding.iter().for_each(Deciding::decided),
        Err(_) => {
            // Unless a command on the other leg has changed it meanwhile.
            let mut state = other.state();
            if state.session == session {
                state.session = former;
            }
        }
    }
    done
}

/// How long it is waited for a shard's answer, when no client waits any more.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// Gives an order for a leg. The shard that has it and does not answer will carry it out when it comes
/// to it, for all that can be known: the order counts as taken, and events tell what comes of it.
pub(super) async fn order(engine: &Engine, sid: CallSid, action: Action) -> Result<(), NotTaken> {
    match engine.live.orders().ask_within(Order::Leg(sid, action), LONGEST).await {
        Err(NotTaken::Silent) => Ok(()),
        answer => answer,
    }
}

/// Why an order was not taken, as the client is told.
pub(super) fn refused(error: NotTaken) -> Fault {
    match error {
        NotTaken::Refused(Refused::Unknown | Refused::Ended) => Fault::ended(),
        NotTaken::Refused(Refused::NotAnswered) => Fault::not_answered(),
        NotTaken::Refused(Refused::Answered) => Fault::unusable("This call has already been answered."),
        NotTaken::Refused(Refused::Busy) => Fault::unusable("Another command is at work on this call."),
        NotTaken::Refused(Refused::Malformed) => {
            Fault::unusable("The values given cannot be put into a message.")
        }
        NotTaken::Refused(Refused::Full | Refused::Late) | NotTaken::Behind | NotTaken::Silent => {
            Fault::unavailable("The call could not be reached now.")
        }
    }
}

/// A callee, when the field can be read.
pub(super) fn callee(
    fields: &mut Fields,
    text: Option<String>,
    transport: Option<&str>,
) -> Option<(crate::sip::command::Party, String)> {
    let text = text?;
    let callee = party(&text, transport);
    if callee.is_none() {
        fields.fault(Entry::unusable("/to", "A number or a SIP URI is needed here."));
    }
    callee
}
