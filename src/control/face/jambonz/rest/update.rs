//! Live call control (9.5), and the end of calls that are deleted.

use super::create::absolute;
use super::error::Error;
use super::read::record;
use super::{empty, json};
use crate::control::App;
use crate::control::auth::Account;
use crate::control::engine::Engine;
use crate::control::face::jambonz::document::headers_of;
use crate::control::face::jambonz::request::LONGEST;
use crate::control::face::jambonz::text::is_tag;
use crate::control::face::jambonz::{Program, Unheard, Word, start};
use crate::control::orders::NotTaken;
use crate::record::CallRecord;
use crate::sip::command::{Action, Leave, Order, Refused};
use crate::sip::event::{CallSid, CallStatus, Direction, Event};
use crate::sip::message::default_reason;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What can be asked for; `call_hook` and `child_call_hook` go together.
const OPTIONS: &[&str] = &["call_hook", "call_status", "sip_request", "tag"];
/// Accepted, without effect: there is no media here.
const MEDIA: &[&str] = &[
    "conferenceParticipantAction",
    "conf_hold_status",
    "conf_mute_status",
    "conf_status",
    "dtmf",
    "dub",
    "listen_status",
    "llm_tool_output",
    "llm_update",
    "media_path",
    "mute_status",
    "record",
    "stream_status",
    "transcribe_status",
    "whisper",
    "boostAudioSignal",
];

pub(super) async fn update(
    app: &App,
    account: &Account,
    named: &(String, CallSid),
    members: &Map<String, Value>,
) -> Result<Response<Body>, Error> {
    let record = record(app, account, named).await?;
    let has = |name: &&&str| members.get(**name).is_some_and(|value| !value.is_null());
    let mut asked: Vec<&str> = OPTIONS.iter().chain(MEDIA).filter(has).copied().collect();
    if has(&&"child_call_hook") && !asked.contains(&"call_hook") {
        asked.push("call_hook");
    }
    let what = match asked.as_slice() {
        [] => return Err(Error::bad("no valid options supplied to updateCall")),
        [one] => *one,
        _ => return Err(Error::bad("multiple options are not allowed in updateCall")),
    };
    let change = Change::read(what, members)?;
    if record.status.is_final() {
        return Err(Error::gone());
    }
    change.carry_out(app, account, &record).await
}

pub(super) async fn delete(
    app: &App,
    account: &Account,
    named: &(String, CallSid),
) -> Result<Response<Body>, Error> {
    let record = record(app, account, named).await?;
    if !record.status.is_final() {
        let leave = Order::Leg(record.sid, Action::Leave(Box::default()));
        match app.engine.live.orders().ask(leave).await {
            Ok(()) | Err(NotTaken::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    app.engine.jambonz.delete(&named.0);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// What is to be done with a call.
enum Change {
    /// Hooks of the call, of its statuses, and of the leg that was dialled for it.
    Hooks {
        own: Option<Value>,
        status: Option<Value>,
        child: Option<Value>,
    },
    Completed,
    NoAnswer,
    Request {
        method: String,
        headers: Vec<(String, String)>,
        body: Option<(String, String)>,
    },
    Tag(Value),
    /// It needs media.
    Nothing,
}

impl Change {
    fn read(what: &str, members: &Map<String, Value>) -> Result<Change, Error> {
        let get = |name: &str| members.get(name).filter(|value| !value.is_null()).cloned();
        Ok(match what {
            "call_hook" => {
                let (own, status) = (get("call_hook"), get("call_status_hook"));
                Change::Hooks { own, status, child: get("child_call_hook") }
            }
            "call_status" => match members.get("call_status").and_then(Value::as_str) {
                Some("completed") => Change::Completed,
                Some("no-answer") => Change::NoAnswer,
                _ => return Err(Error::bad("invalid call_status")),
            },
            "sip_request" => request(members.get("sip_request").unwrap_or(&Value::Null))?,
            "tag" => match get("tag") {
                Some(data) if is_tag(&data) => Change::Tag(data),
                _ => return Err(Error::bad("tag must be an object of at most 4 KiB")),
            },
            _ => Change::Nothing,
        })
    }

    async fn carry_out(
        self,
        app: &App,
        account: &Account,
        record: &CallRecord,
    ) -> Result<Response<Body>, Error> {
        let engine = &app.engine;
        let sid = record.sid;
        let answered = record.status >= CallStatus::InProgress;
        let leave = |leave: Leave| engine.live.orders().ask(Order::Leg(sid, Action::Leave(Box::new(leave))));
        match self {
            Change::Hooks { own, status, child } => {
                hooks(app, account, sid, own, status, child).await?;
            }
            Change::Completed => leave(Leave::default()).await?,
            Change::NoAnswer if answered => return Err(Error::state()),
            Change::NoAnswer if record.direction == Direction::Inbound => {
                leave(Leave { status: Some(503), ..Leave::default() }).await?;
            }
            Change::NoAnswer => engine.live.orders().ask(Order::Leg(sid, Action::Cancel)).await?,
            Change::Request { method, headers, body } => {
                let order = Action::Request { method, headers, body };
                return sent(app, sid, order).await;
            }
            Change::Tag(data) => tag(engine, sid, data)?,
            Change::Nothing => {
                tracing::info!(event = "jambonz.skipped", call = %sid, "an update that needs media");
                engine.jambonz.count_skipped();
            }
        }
        Ok(empty(StatusCode::ACCEPTED))
    }
}

/// Another application for a call, and one for the leg that was dialled for it.
async fn hooks(
    app: &App,
    account: &Account,
    sid: CallSid,
    own: Option<Value>,
    status: Option<Value>,
    child: Option<Value>,
) -> Result<(), Error> {
    let engine = &app.engine;
    let base = engine.jambonz.base(sid);
    let read =
        |value: Option<Value>, name| value.map(|value| absolute(&value, name, base.as_ref())).transpose();
    let own = read(own, "call_hook")?;
    let child = read(child, "child_call_hook")?;
    let status = read(status, "call_status_hook")?;
    let program = |hook| Program {
        status: status.clone(),
        signs: engine.jambonz.signs(sid).or_else(|| account.webhook_secret.clone().map(Into::into)),
        application_sid: engine.jambonz.known(sid).1,
        ..Program::new(hook)
    };
    if let Some(hook) = child {
        let other = engine.live.related(sid).into_iter().find(|leg| leg.parent() == Some(sid));
        let other = other.filter(|leg| leg.record.status == CallStatus::InProgress).ok_or(Error::state())?;
        let other = other.record.sid;
        match engine.live.orders().ask(Order::Leg(other, Action::Part)).await {
            Ok(()) | Err(NotTaken::Refused(Refused::NotAnswered)) => {}
            Err(error) => return Err(error.into()),
        }
        engine.live.release(other, sid);
        let _ = engine.jambonz.say(sid, Word::Release(other));
        // It may have an application of its own since a word like this: that is replaced (9.5).
        replace(engine, other, program(hook))?;
    }
    if let Some(hook) = own {
        // What steers the call goes on until there are verbs in its place.
        replace(engine, sid, Program { beside: true, ..program(hook) })?;
    }
    Ok(())
}

/// Gives a call's driver another hook; a call without a driver gets one.
fn replace(engine: &Arc<Engine>, sid: CallSid, program: Program) -> Result<(), Error> {
    let word = Word::Hook(program.hook.clone(), program.status.clone());
    match engine.jambonz.say(sid, word) {
        Ok(()) => Ok(()),
        Err(Unheard::Full) => Err(Error::unavailable()),
        Err(Unheard::Nobody) => start(engine, sid, program).then_some(()).ok_or(Error::gone()),
    }
}

/// Gives a call's driver what its application wants to find again.
fn tag(engine: &Engine, sid: CallSid, data: Value) -> Result<(), Error> {
    engine.jambonz.say(sid, Word::Tag(data)).map_err(|unheard| match unheard {
        Unheard::Nobody => Error::state(),
        Unheard::Full => Error::unavailable(),
    })
}

fn request(value: &Value) -> Result<Change, Error> {
    let members = value.as_object().ok_or(Error::bad("sip_request must be an object"))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let method = text("method").ok_or(Error::bad("sip_request: method is missing"))?.to_ascii_uppercase();
    let token = method.bytes().all(|b| b.is_ascii_alphanumeric());
    if !token || matches!(method.as_str(), "BYE" | "INVITE" | "REFER" | "CANCEL" | "ACK") {
        return Err(Error::bad("sip_request: this method cannot be sent so"));
    }
    let headers = match members.get("headers").filter(|value| !value.is_null()) {
        None => Vec::new(),
        Some(headers) => headers_of(headers).ok_or(Error::bad("sip_request: headers cannot be sent"))?,
    };
    let content_type = text("content_type").unwrap_or("text/plain").to_owned();
    let body = text("content").filter(|text| !text.is_empty()).map(|text| (content_type, text.to_owned()));
    Ok(Change::Request { method, headers, body })
}

/// Sends a request inside the dialog and waits for its response.
async fn sent(app: &App, sid: CallSid, order: Action) -> Result<Response<Body>, Error> {
    let live = &app.engine.live;
    let mut watch = live.watch(sid);
    let (ticket, taken) = live.orders().ask_as(Order::Leg(sid, order)).await;
    taken?;
    let response = async {
        loop {
            match watch.next().await {
                Some(Event::RequestEnded { ticket: of, code, reason, .. }) if of == ticket => {
                    return Some((code, reason));
                }
                Some(Event::Ended(ended, _)) if ended == sid => return None,
                Some(_) => {}
                None => return None,
            }
        }
    };
    let (code, reason) = match tokio::time::timeout(LONGEST, response).await {
        Ok(Some(response)) => response,
        Ok(None) => return Err(Error::gone()),
        Err(_) => (408, String::new()),
    };
    let reason = if reason.is_empty() { default_reason(code).to_owned() } else { reason };
    Ok(json(StatusCode::OK, &json!({ "status": code, "reason": reason })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::face::jambonz::hook::Hook;
    use crate::control::face::stage::{CALL, World};
    use crate::control::{Application, ApplicationKind};
    use std::collections::HashMap;
    use std::time::Duration;

    fn status(result: Result<(), Error>) -> u16 {
        result.err().map_or(202, |error| error.response().status().as_u16())
    }

    /// [jambonz 9.5] [jambonz 38] A call whose driver can hear no more words now is not gone: 503.
    #[tokio::test(start_paused = true)]
    async fn words_that_are_not_heard() {
        let application = Application::new("agent", ApplicationKind::Jambonz, "http://a.example/start");
        let pause = r#"[{"verb": "pause", "length": 600}]"#.to_owned();
        let bodies = HashMap::from([("/start".to_owned(), pause)]);
        let world = World::new(application, "application/json", bodies);
        let engine = &world.engine;
        let another = || Program::new(Hook::read(&json!("http://a.example/more"), None).expect("a hook"));
        assert_eq!(status(tag(engine, CALL, json!({}))), 422);
        assert_eq!(status(replace(engine, CALL, another())), 422);
        world.offer().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        while engine.jambonz.say(CALL, Word::Tag(json!({}))).is_ok() {}
        assert_eq!(status(tag(engine, CALL, json!({}))), 503);
        assert_eq!(status(replace(engine, CALL, another())), 503);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(status(tag(engine, CALL, json!({}))), 202);
        assert_eq!(status(replace(engine, CALL, another())), 202);
    }
}
