//! Placing a call (9.3).

use super::error::Error;
use super::json;
use crate::control::App;
use crate::control::auth::Account;
use crate::control::face::jambonz::document::{WrongTarget, headers_of, parse, target};
use crate::control::face::jambonz::hook::{Hook, Signs, Unusable};
use crate::control::face::jambonz::text::is_tag;
use crate::control::face::jambonz::{Program, ids};
use crate::control::health::Readiness;
use crate::control::{Application, ApplicationKind, HttpMethod};
use crate::record::CallRecord;
use crate::sip::command::Place;
use crate::sip::event::{CallSid, Direction, Event};
use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Seconds of ringing.
const RING: u64 = 60;
const LONGEST_RING: u64 = 600;
/// How long the Call-ID of a call that was taken may take to be told.
const CALL_ID: Duration = Duration::from_secs(2);

pub(super) async fn create(
    app: &App,
    account: &Account,
    members: &Map<String, Value>,
) -> Result<Response<Body>, Error> {
    let wanted = Wanted::read(app, account, members)?;
    if app.readiness.stands(Readiness::DRAINING) {
        return Err(Error::unavailable());
    }
    let engine = &app.engine;
    let sid = engine.live.new_call(engine.live.orders().next_shard());
    let record = CallRecord {
        from: wanted.from.clone(),
        to: wanted.shown,
        caller_name: wanted.caller_name.clone(),
        ..CallRecord::begun(sid, engine.live.node(), &account.sid, Direction::OutboundApi, engine.live.now())
    };
    let place = Place {
        sid,
        account: account.sid.as_str().into(),
        from: wanted.from,
        caller_name: wanted.caller_name,
        ..wanted.place
    };
    let mut watch = engine.live.watch(sid);
    super::super::place(engine, record, place, wanted.program).await?;
    let begun = async {
        loop {
            match watch.next().await {
                Some(Event::CallStarted(started)) if started.sid == sid => return started.call_id.clone(),
                Some(Event::Ended(ended, _)) if ended == sid => return String::new(),
                Some(_) => {}
                None => return String::new(),
            }
        }
    };
    let call_id = tokio::time::timeout(CALL_ID, begun).await.unwrap_or_default();
    Ok(json(StatusCode::CREATED, &json!({ "sid": ids::uuid(sid.0), "callId": call_id })))
}

/// What is wanted, checked in the order of the API's table.
struct Wanted {
    from: String,
    caller_name: Option<String>,
    shown: String,
    place: Place,
    program: Program,
}

impl Wanted {
    fn read(app: &App, account: &Account, members: &Map<String, Value>) -> Result<Wanted, Error> {
        let get = |name: &str| members.get(name).filter(|value| !value.is_null());
        let line = |name: &'static str| match get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.chars().any(char::is_control) => {
                Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(Error::bad(format!("{name} has a value that it cannot have"))),
        };
        let from = line("from")?.ok_or(Error::bad("missing from parameter"))?;
        let to = get("to").and_then(Value::as_object).ok_or(Error::bad("missing or invalid to property"))?;
        let to = target(to).map_err(|wrong| {
            Error::bad(match wrong {
                WrongTarget::Type => "missing or invalid to property: type must be phone, sip or user",
                WrongTarget::Number => "missing or invalid to property: number",
                WrongTarget::SipUri => "missing or invalid to property: sipUri",
                WrongTarget::Name => "missing or invalid to property: name",
                WrongTarget::Unsupported => {
                    "missing or invalid to property: type teams is not supported here"
                }
            })
        })?;
        let mut program = program(app, account, members)?;
        if let Some(text) = get("app_json") {
            let verbs = match text {
                Value::String(text) => serde_json::from_str(text).ok(),
                other => Some(other.clone()),
            };
            let verbs = verbs.ok_or(Error::bad("app_json is not JSON"))?;
            let verbs = parse(&verbs, Some(&program.hook.url));
            program.verbs = Some(verbs.map_err(|wrong| Error::bad(wrong.to_string()))?);
        }
        program.customer_data = match get("tag") {
            None => None,
            Some(data) if is_tag(data) => Some(data.clone()),
            Some(_) => return Err(Error::bad("tag must be an object of at most 4 KiB")),
        };
        let timeout = seconds(get("timeout"), "timeout")?.unwrap_or(RING).clamp(1, LONGEST_RING);
        program.time_limit =
            seconds(get("timeLimit"), "timeLimit")?.filter(|n| *n > 0).map(Duration::from_secs);
        let headers = match get("headers") {
            None => Vec::new(),
            Some(headers) => headers_of(headers).ok_or(Error::bad("headers cannot be sent"))?,
        };
        let caller_name = line("callerName")?;
        let place = Place {
            sid: CallSid::default(),
            account: "".into(),
            from: String::new(),
            caller_name: None,
            to: to.party,
            headers,
            credentials: to.credentials,
            timeout: Duration::from_secs(timeout),
            sdp: None,
            by: None,
        };
        Ok(Wanted { from, caller_name, shown: to.shown, place, program })
    }
}

/// Whole seconds; a fraction is cut off.
fn seconds(value: Option<&Value>, name: &'static str) -> Result<Option<u64>, Error> {
    let Some(value) = value else { return Ok(None) };
    let number = value.as_f64().filter(|n| (0.0..=86_400.0).contains(n));
    number.map(|n| Some(n as u64)).ok_or(Error::bad(format!("{name} must be a number of seconds")))
}

/// By what it is steered: a hook of its own, else an application's.
fn program(app: &App, account: &Account, members: &Map<String, Value>) -> Result<Program, Error> {
    let get = |name: &str| members.get(name).filter(|value| !value.is_null());
    let own: Signs = account.webhook_secret.clone().map(Arc::new);
    let (mut program, base) = match (get("application_sid"), get("call_hook")) {
        (None, None) => return Err(Error::bad("either call_hook or application_sid required")),
        (named, hook) => {
            let application = named.map(|named| application(app, account, named)).transpose()?;
            let base = application.as_ref().map(|program| program.hook.url.clone());
            let hook = hook.map(|hook| absolute(hook, "call_hook", base.as_ref())).transpose()?;
            let program = match (application, hook) {
                (Some(program), Some(hook)) => Program { hook, ..program },
                (Some(program), None) => program,
                (None, Some(hook)) => Program { signs: own.clone(), ..Program::new(hook) },
                (None, None) => return Err(Error::bad("either call_hook or application_sid required")),
            };
            (program, base)
        }
    };
    let base = base.unwrap_or_else(|| program.hook.url.clone());
    if let Some(hook) = get("call_status_hook") {
        program.status = Some(absolute(hook, "call_status_hook", Some(&base))?);
    }
    program.signs = program.signs.or(own);
    Ok(program)
}

/// A hook of a request to the API.
pub(super) fn absolute(value: &Value, name: &'static str, base: Option<&url::Url>) -> Result<Hook, Error> {
    Hook::read(value, base).map_err(|wrong| match wrong {
        Unusable::Relative => Error::bad(format!("{name} url be an absolute url")),
        Unusable::WebSocket => Error::bad(format!("{name}: only http and https are supported here")),
        Unusable::Malformed => Error::bad(format!("{name} is no usable hook")),
    })
}

/// An application of the configuration, by its UUID or its name.
fn application(app: &App, account: &Account, named: &Value) -> Result<Program, Error> {
    let text = named.as_str().unwrap_or("");
    let is = |application: &&Application| {
        application.kind == ApplicationKind::Jambonz
            && (&*application.name == text || ids::application(&application.name).eq_ignore_ascii_case(text))
            && application.account.as_deref().is_none_or(|owner| owner == account.sid)
    };
    let found = app.engine.applications().iter().find(is);
    let found = found.ok_or_else(|| Error::bad(format!("application_sid not found {text}")))?;
    let method = match found.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
    };
    let hook = Hook::at(&found.url, method.clone(), None);
    let hook = hook.map_err(|_| Error::bad("the application has no usable url"))?;
    let status = found.status_url.as_deref();
    Ok(Program {
        status: status.and_then(|url| Hook::at(url, method, Some(&hook.url)).ok()),
        signs: found.webhook_secret.clone().map(Arc::new),
        application_sid: Some(ids::application(&found.name)),
        ..Program::new(hook)
    })
}
