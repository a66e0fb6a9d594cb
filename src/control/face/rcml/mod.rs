//! Calls steered by documents (RCML).
//!
//! Each steered call has one task, its [`driver`], which fetches a document, carries out its verbs by
//! orders to the call's shard, and waits for what comes of them: events of the call, a document, or
//! word from the API ([`Change`]). Whatever it waits for, the end of the call and such word interrupt
//! it. When another face takes the call, the driver stays only to tell of the call's end, if it is to.

mod address;
mod callback;
mod dial;
mod document;
mod driver;
mod fetch;
mod parameters;
mod refer;
mod screen;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;

pub(super) use address::{invite_header, invite_headers, is_reserved, refer_target, split, whole};
pub(super) use callback::{Callback, Kind};
pub(in crate::control) use fetch::Results;

use crate::control::engine::Engine;
use crate::control::orders::NotTaken;
use crate::control::webhook::http_url;
use crate::control::{Application, HttpMethod};
use crate::record::CallRecord;
use crate::sip::command::{Action, Order, Place};
use crate::sip::event::{CallSid, Offered};
use axum::http::Method;
use driver::{Driver, Role};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{self, error::TrySendError};
use transfer::Transfer;
use url::Url;

/// Words of the API that may wait for a driver.
const CHANGES: usize = 16;

/// A URL and how it is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) url: Url,
    pub(super) method: Method,
}

/// What a call is steered by: the first document, and where another is when that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) first: Source,
    pub(super) fallback: Option<Source>,
}

/// What becomes of the leg that was dialled for a leg that gets another document (Calls API, 10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ChildMode {
    /// It is ended.
    #[default]
    Hangup,
    /// It gets the same document.
    Move,
    /// Both stay connected; the new document runs beside the old one.
    StayConnected,
}

/// Word from the API for a call that is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Another document.
    pub(super) program: Option<Program>,
    /// What becomes of the other leg then; `None`: somebody else sees to it.
    pub(super) children: Option<ChildMode>,
    /// Who is told at the end, in place of who was to be.
    pub(super) callback: Option<Source>,
    /// The transfer that the document is about.
    transfer: Option<Transfer>,
}

impl Change {
    /// A new document, what becomes of the other leg then, and who is told of the end.
    pub(super) fn new(program: Option<Program>, children: ChildMode, callback: Option<Source>) -> Change {
        Change { program, children: Some(children), callback, transfer: None }
    }
}

/// The drivers there are, by call.
#[derive(Debug, Default)]
pub(in crate::control) struct Drivers {
    by_call: Mutex<HashMap<CallSid, mpsc::Sender<Change>>>,
    skipped: AtomicU64,
    documents: Results,
}

impl Drivers {
    fn all(&self) -> MutexGuard<'_, HashMap<CallSid, mpsc::Sender<Change>>> {
        self.by_call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self, sid: CallSid) -> Option<mpsc::Sender<Change>> {
        self.all().get(&sid).cloned()
    }

    /// Takes out a driver that has ended; another may have taken its place.
    fn remove_ended(&self, sid: CallSid) {
        let mut all = self.all();
        if all.get(&sid).is_some_and(mpsc::Sender::is_closed) {
            all.remove(&sid);
        }
    }

    fn count_skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// What documents came to.
    pub(in crate::control) fn documents(&self) -> &Results {
        &self.documents
    }

    /// How many calls are steered, and how many verbs were skipped for want of media.
    pub(in crate::control) fn counts(&self) -> (usize, u64) {
        (self.all().len(), self.skipped.load(Relaxed))
    }
}

/// Places a call and steers it: its document is fetched when it is answered. What happens to the call
/// from its first moment on is heard.
pub(super) async fn place(
    engine: &Arc<Engine>,
    record: CallRecord,
    place: Place,
    program: Program,
    callback: Option<Callback>,
) -> Result<(), NotTaken> {
    let sid = place.sid;
    engine.live.expect(record);
    let (sender, changes) = mpsc::channel(CHANGES);
    let driver = Driver::new(engine, sid, callback, changes, Role::AtAnswer);
    engine.rcml.all().insert(sid, sender);
    let engine = Arc::clone(engine);
    // A task of its own: a client that has lost patience must not leave a call without a driver.
    let placing = tokio::spawn(async move {
        let placed = engine.live.place(place).await;
        match (placed, driver) {
            (Ok(()), Some(driver)) => {
                tokio::spawn(driven(engine, sid, driver, Some(program)));
            }
            (_, driver) => {
                drop(driver);
                engine.rcml.remove_ended(sid);
            }
        }
        placed
    });
    placing.await.unwrap_or(Err(NotTaken::Silent))
}

/// A word that was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// The call has ended.
    Over,
    /// So many words wait for the call's driver already.
    Full,
}

/// Gives a call's driver a word; a call without a driver gets one.
pub(super) fn change(engine: &Arc<Engine>, sid: CallSid, change: Change) -> Result<(), Unheard> {
    if let Some(driver) = engine.rcml.sender(sid) {
        match driver.try_send(change.clone()) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => return Err(Unheard::Full),
            // One that is ending steers no longer.
            Err(TrySendError::Closed(_)) => {}
        }
    }
    let started = start(engine, sid, None, Role::Observer, |driver| {
        driver.heed(change);
        None
    });
    started.then_some(()).ok_or(Unheard::Over)
}

/// Runs a document beside another on the same leg, until the sender is dropped.
fn start_beside(engine: &Arc<Engine>, sid: CallSid, program: Program) -> Option<mpsc::Sender<Change>> {
    let (sender, changes) = mpsc::channel(CHANGES);
    let mut driver = Driver::new(engine, sid, None, changes, Role::Beside)?;
    driver.shares = true;
    tokio::spawn(driver.run(Some(program)));
    Some(sender)
}

/// Steers an inbound call by its application.
pub(in crate::control) fn answer(engine: &Arc<Engine>, offered: &Offered, application: &Application) {
    let source = |url: &str| {
        let method = match application.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
        };
        Some(Source { url: http_url(url)?, method })
    };
    let optional = |url: &Option<String>| url.as_deref().and_then(source);
    match source(&application.url) {
        Some(first) => {
            let fallback = optional(&application.fallback_url);
            let callback =
                optional(&application.status_callback).map(|source| Callback::at_end(engine, source));
            let refer = optional(&application.refer_url);
            start(engine, offered.sid, callback, Role::Now, |driver| {
                driver.refer_source = refer;
                Some(Program { first, fallback })
            });
        }
        None => {
            tracing::error!(event = "application.url", application = &*application.name, "no usable URL");
            let hangup = Action::Hangup { status: Some(500), reason: None };
            engine.live.orders().tell(Order::Leg(offered.sid, hangup));
        }
    }
}

/// Starts a call's driver, which `prepare` gives what it needs; `false` when the call has ended.
fn start(
    engine: &Arc<Engine>,
    sid: CallSid,
    callback: Option<Callback>,
    role: Role,
    prepare: impl FnOnce(&mut Driver) -> Option<Program>,
) -> bool {
    let (sender, changes) = mpsc::channel(CHANGES);
    let Some(mut driver) = Driver::new(engine, sid, callback, changes, role) else { return false };
    let program = prepare(&mut driver);
    engine.rcml.all().insert(sid, sender);
    tokio::spawn(driven(Arc::clone(engine), sid, driver, program));
    true
}

async fn driven(engine: Arc<Engine>, sid: CallSid, driver: Driver, program: Option<Program>) {
    driver.run(program).await;
    engine.rcml.remove_ended(sid);
}
