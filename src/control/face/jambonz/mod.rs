//! Calls steered by arrays of verbs, as jambonz has them.
//!
//! Each steered call has one task, its [`driver`], which asks a hook for verbs, carries them out by orders
//! to the call's shard, and waits for what comes of them: events of the call, a hook's answer, or word
//! from the API ([`Word`]). Whatever it waits for, the end of the call and another application interrupt
//! it. When another face takes the call, the driver stays to tell of statuses. The API under `/v1` is in
//! [`rest`].

mod dial;
mod document;
mod driver;
mod facts;
mod hook;
mod ids;
mod refer;
mod request;
mod rest;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod transfer;

pub(in crate::control) use rest::answer as rest;

use crate::control::engine::Engine;
use crate::control::orders::NotTaken;
use crate::control::{Application, HttpMethod, JambonzOptions};
use crate::record::CallRecord;
use crate::sip::command::{Action, Leave, Order, Place};
use crate::sip::event::{CallSid, Offered};
use axum::http::Method;
use document::Verb;
use driver::Driver;
use facts::Fields;
use hook::{Hook, Signs};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use transfer::Report;
use url::Url;

/// Words of the API that may wait for a driver.
const WORDS: usize = 16;
/// Calls that were deleted and are not shown any more; the oldest are forgotten.
const DELETED: usize = 10_000;

/// What a call is steered by.
#[derive(Clone, Debug)]
struct Program {
    /// Asked for the first verbs; relative hooks are at its host.
    hook: Hook,
    /// The first verbs, if they are known already.
    verbs: Option<Vec<Verb>>,
    /// Whether the hook is asked while somebody else steers, until its verbs are there.
    beside: bool,
    /// Told of the call's statuses.
    status: Option<Hook>,
    signs: Signs,
    application_sid: Option<String>,
    customer_data: Option<Value>,
    /// It is ended when it has been up for so long.
    time_limit: Option<Duration>,
    /// What only the first request tells.
    first: Fields,
    /// Where an inbound call came from.
    origin: Option<(String, Option<String>)>,
    /// Whom the outcome of a transfer is reported to.
    report: Option<Report>,
}

impl Program {
    fn new(hook: Hook) -> Program {
        Program {
            hook,
            verbs: None,
            beside: false,
            status: None,
            signs: None,
            application_sid: None,
            customer_data: None,
            time_limit: None,
            first: Fields::new(),
            origin: None,
            report: None,
        }
    }

    fn at(url: Url) -> Program {
        Program::new(Hook::to(url))
    }
}

/// Word for a driver.
#[derive(Debug)]
enum Word {
    /// Another hook, and who is told of statuses from now on.
    Hook(Hook, Option<Hook>),
    /// Verbs in place of those that run: what the hook of this number has answered, unless a later one has, too.
    Verbs(u64, Vec<Verb>),
    /// The same, because a party asked for a transfer.
    Transfer(Vec<Verb>, Report),
    /// What the application wants to find again.
    Tag(Value),
    /// A leg that was dialled has an application of its own.
    Release(CallSid),
}

/// A word that was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unheard {
    /// The call has no driver, or one that is ending.
    Nobody,
    /// So many words wait for it already.
    Full,
}

/// A driver as others see it.
#[derive(Debug)]
struct Known {
    sender: mpsc::Sender<Word>,
    customer_data: Option<Value>,
    application_sid: Option<String>,
    base: Url,
    signs: Signs,
}

/// The drivers there are, by call.
#[derive(Debug, Default)]
pub(in crate::control) struct Drivers {
    by_call: Mutex<HashMap<CallSid, Known>>,
    deleted: Mutex<(HashSet<String>, VecDeque<String>)>,
    skipped: AtomicU64,
    options: JambonzOptions,
}

impl Drivers {
    pub(in crate::control) fn new(options: JambonzOptions) -> Drivers {
        Drivers { options, ..Drivers::default() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<CallSid, Known>> {
        self.by_call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a call's driver a word.
    fn say(&self, sid: CallSid, word: Word) -> Result<(), Unheard> {
        let sender = self.all().get(&sid).map(|known| known.sender.clone());
        let sender = sender.ok_or(Unheard::Nobody)?;
        sender.try_send(word).map_err(|error| match error {
            TrySendError::Full(_) => Unheard::Full,
            TrySendError::Closed(_) => Unheard::Nobody,
        })
    }

    fn tag(&self, sid: CallSid, data: &Value) {
        if let Some(known) = self.all().get_mut(&sid) {
            known.customer_data = Some(data.clone());
        }
    }

    /// What is known of a call besides its record: customerData and application_sid.
    fn known(&self, sid: CallSid) -> (Option<Value>, Option<String>) {
        let all = self.all();
        let known = all.get(&sid);
        known.map_or((None, None), |known| (known.customer_data.clone(), known.application_sid.clone()))
    }

    /// What a call's relative hooks are relative to.
    fn base(&self, sid: CallSid) -> Option<Url> {
        self.all().get(&sid).map(|known| known.base.clone())
    }

    /// What signs a call's hooks.
    fn signs(&self, sid: CallSid) -> Signs {
        self.all().get(&sid).and_then(|known| known.signs.clone())
    }

    /// Takes out a driver that has ended; another may have taken its place.
    fn remove_ended(&self, sid: CallSid) {
        let mut all = self.all();
        if all.get(&sid).is_some_and(|known| known.sender.is_closed()) {
            all.remove(&sid);
        }
    }

    /// Notes that a call is not shown any more.
    fn delete(&self, sid: &str) {
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, oldest) = &mut *deleted;
        if set.insert(sid.to_owned()) {
            oldest.push_back(sid.to_owned());
        }
        if oldest.len() > DELETED
            && let Some(oldest) = oldest.pop_front()
        {
            set.remove(&oldest);
        }
    }

    fn is_deleted(&self, sid: &str) -> bool {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).0.contains(sid)
    }

    fn count_skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// How many calls are steered, and how many verbs were skipped for want of media.
    pub(in crate::control) fn counts(&self) -> (usize, u64) {
        (self.all().len(), self.skipped.load(Relaxed))
    }
}

/// Places a call and steers it when it is answered.
async fn place(
    engine: &Arc<Engine>,
    record: CallRecord,
    place: Place,
    program: Program,
) -> Result<(), NotTaken> {
    let sid = place.sid;
    engine.live.expect(record);
    let driver = enter(engine, sid, &program);
    let engine = Arc::clone(engine);
    // A task of its own: a client that has lost patience must not leave a call without a driver.
    let placing = tokio::spawn(async move {
        let placed = engine.live.place(place).await;
        match (placed, driver) {
            (Ok(()), Some(driver)) => {
                tokio::spawn(driven(engine, sid, driver, program));
            }
            (_, driver) => {
                drop(driver);
                engine.jambonz.remove_ended(sid);
            }
        }
        placed
    });
    placing.await.unwrap_or(Err(NotTaken::Silent))
}

/// Steers an inbound call by its application.
pub(in crate::control) fn offered(engine: &Arc<Engine>, offered: &Offered, application: &Application) {
    let method = match application.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
    };
    let Ok(hook) = Hook::at(&application.url, method.clone(), None) else {
        tracing::error!(event = "application.url", application = &*application.name, "no usable URL");
        let headers = vec![("X-Reason".to_owned(), "the application has no usable URL".to_owned())];
        let leave = Leave { status: Some(480), phrase: None, headers };
        return engine.live.orders().tell(Order::Leg(offered.sid, Action::Leave(Box::new(leave))));
    };
    let status = application.status_url.as_deref();
    let program = Program {
        status: status.and_then(|url| Hook::at(url, method, Some(&hook.url)).ok()),
        signs: application.webhook_secret.clone().map(Arc::new),
        application_sid: Some(ids::application(&application.name)),
        first: facts::first(&offered.invite),
        origin: Some(facts::origin(offered)),
        ..Program::new(hook)
    };
    start(engine, offered.sid, program);
}

/// Starts a call's driver; `false` when the call has ended.
fn start(engine: &Arc<Engine>, sid: CallSid, program: Program) -> bool {
    let Some(driver) = enter(engine, sid, &program) else { return false };
    tokio::spawn(driven(Arc::clone(engine), sid, driver, program));
    true
}

/// A driver that is known from here on.
fn enter(engine: &Arc<Engine>, sid: CallSid, program: &Program) -> Option<Driver> {
    let (sender, words) = mpsc::channel(WORDS);
    let driver = Driver::new(engine, sid, program, (sender.clone(), words))?;
    let known = Known {
        sender,
        customer_data: program.customer_data.clone(),
        application_sid: program.application_sid.clone(),
        base: program.hook.url.clone(),
        signs: program.signs.clone(),
    };
    engine.jambonz.all().insert(sid, known);
    Some(driver)
}

async fn driven(engine: Arc<Engine>, sid: CallSid, driver: Driver, program: Program) {
    driver.run(program).await;
    engine.jambonz.remove_ended(sid);
}
