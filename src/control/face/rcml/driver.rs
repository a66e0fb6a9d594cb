//! One steered call: its task, from the first document to the end of the call.
//!
//! Everything a verb waits for goes through [`Waits`]: meanwhile the call's events are taken note of,
//! status callbacks go out, and words of the API are heard. The end of the call, a new document and
//! somebody else who steers end the waiting; verbs pass that on with `?`.

use super::callback::{Callback, Kind};
use super::dial::Dialling;
use super::document::{Link, Verb};
use super::fetch::{Document, Failed, fetch};
use super::parameters::{Facts, Form};
use super::transfer::{Report, Transfer};
use super::{Change, ChildMode, Program, Source};
use crate::control::engine::Engine;
use crate::control::orders::NotTaken;
use crate::control::refer::Referral;
use crate::control::wait::{Heard, Heed, Interrupt, Line, Waits};
use crate::control::webhook::Owner;
use crate::sip::command::{Action, Order, Refused};
use crate::sip::event::{CallSid, CallStatus, Direction, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use url::Url;

/// Documents of one call at most (rcml 2.7).
const DOCUMENTS: u32 = 1_000;
/// How long an order to answer or to end may take to show: 64*T1 and a little.
const SHOWS: Duration = Duration::from_secs(40);
/// How often a call that has to end is told so while its shard does not listen, and how long between.
const ENDINGS: u32 = 10;
const BETWEEN_ENDINGS: Duration = Duration::from_secs(1);

/// How a driver stands to its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its first document is fetched at once: an inbound call of an application.
    Now,
    /// Its document is fetched when the call is answered.
    AtAnswer,
    /// Its document runs beside another; its end is not the call's.
    Beside,
    /// It has no document, and does not steer; it tells of the call's end.
    Observer,
}

/// What follows a verb.
#[derive(Debug)]
pub(super) enum Next {
    /// The next verb.
    Verb,
    /// Another document.
    Document(Source),
    /// The document that a verb's result is answered with: the request goes out, whatever happens.
    Action(Source, Form),
    /// The end of the document.
    End,
    /// The document cannot be carried out.
    Failed(Failed),
}

/// The task's state.
pub(super) struct Driver {
    pub(super) engine: Arc<Engine>,
    pub(super) call: Facts,
    pub(super) role: Role,
    /// The call has ended.
    pub(super) ended: bool,
    /// The transfer that is waited for, and what is known of it.
    pub(super) referral: Referral,
    /// The Dial that is waited for.
    pub(super) dialling: Option<Dialling>,
    /// A Dial that a new document left behind is not over yet; its end means nothing any more.
    pub(super) left_behind: bool,
    /// Where a REFER of a peer is decided on, and whom the outcome of one is reported to.
    pub(super) refer_source: Option<Source>,
    pub(super) report: Option<Report>,
    /// Who waits for what a screening comes to: whether this leg may be joined (rcml 5.3).
    pub(super) verdict: Option<oneshot::Sender<bool>>,
    pub(super) line: Line<Change>,
    /// Another driver steers, and runs this one's document beside its own.
    pub(super) shares: bool,
    /// What is to be done next.
    change: Option<Change>,
    /// Nobody wants this one any more.
    abandoned: bool,
    /// Somebody else is to steer.
    taken: bool,
    callback: Option<Callback>,
    beside: Option<mpsc::Sender<Change>>,
    documents: u32,
    /// Transfers that were refused before they could be sent.
    pub(super) unsent: u32,
}

impl Driver {
    /// `None` when the call has ended.
    pub(super) fn new(
        engine: &Arc<Engine>,
        sid: CallSid,
        callback: Option<Callback>,
        changes: mpsc::Receiver<Change>,
        role: Role,
    ) -> Option<Driver> {
        // First the mailbox, then what is known: nothing falls between.
        let watch = engine.live.watch(sid);
        let known = engine.live.call(sid)?;
        let call =
            Facts { record: known.record, headers: known.headers, outbound: None, transfer: Form::new() };
        let engine = Arc::clone(engine);
        Some(Driver {
            engine,
            call,
            role,
            ended: false,
            referral: Referral::default(),
            dialling: None,
            left_behind: false,
            refer_source: None,
            report: None,
            verdict: None,
            line: Line::new(watch, changes),
            shares: false,
            change: None,
            abandoned: false,
            taken: false,
            callback,
            beside: None,
            documents: 0,
            unsent: 0,
        })
    }

    pub(super) fn sid(&self) -> CallSid {
        self.call.record.sid
    }

    /// Steers until the call has ended, or somebody else does and there is nobody to tell of the end.
    pub(super) async fn run(mut self, program: Option<Program>) {
        self.steer(program).await;
        self.report_none();
        let (sid, engine, ended) = (self.sid(), Arc::clone(&self.engine), self.ended);
        let (words, undone) = (self.line.close(), self.change.take());
        drop(self);
        // Words that came while it went are for the next driver; a transfer that nobody takes over has failed.
        let unheard =
            words.into_iter().filter(|word| ended || super::change(&engine, sid, word.clone()).is_err());
        for word in undone.into_iter().chain(unheard) {
            match word.transfer {
                Some(transfer) => transfer.report.done(&engine, 487),
                None => tracing::debug!(event = "rcml.unheard", call = %sid, "a new document came too late"),
            }
        }
    }

    async fn steer(&mut self, mut program: Option<Program>) {
        if self.call.record.status == CallStatus::Queued
            && let Some(callback) = &mut self.callback
        {
            callback.tell(Kind::Initiated, &self.call, self.engine.live.now());
        }
        let mut children = None;
        loop {
            let outcome = match program.take() {
                Some(program) => self.carry_out(program, children).await,
                None => self.until(std::future::pending()).await,
            };
            match outcome {
                Ok(()) if self.role == Role::Beside => {
                    if !self.observes() {
                        return;
                    }
                }
                // The leg stays, to be joined.
                Ok(()) if self.verdict.is_some() => {
                    let verdict = self.verdict.take();
                    let _ = verdict.map(|verdict| verdict.send(!self.ended));
                    return;
                }
                Ok(()) => {
                    self.report_none();
                    return self.hang_up(None).await;
                }
                Err(Interrupt::Gone) => return,
                Err(Interrupt::Changed) => {
                    self.report_none();
                    self.beside = None;
                    // Who steers it now decides what becomes of it.
                    self.verdict = None;
                    let taken = std::mem::take(&mut self.taken);
                    if taken {
                        self.line.let_go();
                    }
                    match self.change.take() {
                        Some(change) => {
                            self.role = self.role_for(&change);
                            children = change.children;
                            if let Some(transfer) = change.transfer {
                                self.take_over(transfer);
                            }
                            program = change.program;
                        }
                        None if taken && self.observes() => {}
                        None => return,
                    }
                }
            }
        }
    }

    /// From here on it only tells of the call's end; `false` when nobody is to be told.
    fn observes(&mut self) -> bool {
        self.line.let_go();
        self.role = Role::Observer;
        self.callback.is_some()
    }

    /// How this driver stands to its call with a new document.
    fn role_for(&self, change: &Change) -> Role {
        let inbound = self.call.record.direction == Direction::Inbound;
        match self.role {
            role if change.program.is_none() => role,
            _ if change.transfer.is_some() => Role::Now,
            Role::Beside | Role::Observer if self.stays(change) => Role::Beside,
            // Nobody else will answer it.
            Role::Observer if inbound && self.engine.helm.is_steered(self.sid()) => Role::Now,
            Role::Beside | Role::Observer => Role::AtAnswer,
            role => role,
        }
    }

    /// Whether those that the leg talks to stay, and a new document runs beside what there is.
    fn stays(&self, change: &Change) -> bool {
        let stays = change.children == Some(ChildMode::StayConnected);
        stays && !self.engine.live.related(self.sid()).is_empty()
    }

    /// The call is this driver's to steer, and its other legs are as they are to be.
    async fn take_call(&mut self, program: &Program, mode: Option<ChildMode>) -> Result<(), Interrupt> {
        let (helm, sid) = (Arc::clone(&self.engine.helm), self.sid());
        // Whoever steers goes on beside it, and still does when this document has ended (Calls API, 10.12).
        let shares = self.role == Role::Beside && !self.line.steers() && helm.is_steered(sid);
        if self.shares || shares {
            return Ok(());
        }
        let from_another = self.take(&helm, sid).await?;
        if self.role != Role::Beside {
            self.left_behind |= part(&self.engine, sid, mode, program) && from_another;
        }
        Ok(())
    }

    /// Document after document, until one ends without another.
    async fn carry_out(&mut self, program: Program, mode: Option<ChildMode>) -> Result<(), Interrupt> {
        self.take_call(&program, mode).await?;
        if self.role == Role::AtAnswer {
            self.until_known(None, Heed::All, |driver| driver.is_answered().then_some(())).await?;
        }
        let mut fallback = program.fallback;
        let mut next = Next::Document(program.first);
        loop {
            let fetched = match next {
                Next::Document(source) => self.fetch(source, Form::new()).await?,
                Next::Action(source, form) => self.fetch_surely(source, form).await?,
                Next::Failed(failed) => match fallback.take() {
                    Some(source) => self.fetch(source, failed.parameters()).await?,
                    None => {
                        self.report_none();
                        if self.role != Role::Beside {
                            self.hang_up(Some(failed.sip_status())).await;
                        }
                        return Ok(());
                    }
                },
                Next::Verb | Next::End => return Ok(()),
            };
            if self.documents > DOCUMENTS {
                tracing::warn!(event = "rcml.loop", call = %self.sid(), "too many documents");
                return Ok(());
            }
            next = match fetched {
                Ok(document) => self.execute(&document).await?,
                Err(failed) => Next::Failed(failed),
            };
            // Only the first document has a fallback (rcml 1.10, 1.11).
            if matches!(next, Next::Document(_) | Next::Action(..)) {
                fallback = None;
            }
        }
    }

    /// Out of whose share its documents are fetched.
    fn owner(&self) -> Owner {
        Owner::of(&self.call.record.account)
    }

    async fn fetch(&mut self, source: Source, more: Form) -> Result<Result<Document, Failed>, Interrupt> {
        self.documents += 1;
        let form = self.call.request(more);
        self.until(fetch(Arc::clone(&self.engine), self.owner(), source, form)).await
    }

    /// As `fetch`; the request goes out even when the call ends in this moment.
    async fn fetch_surely(
        &mut self,
        source: Source,
        more: Form,
    ) -> Result<Result<Document, Failed>, Interrupt> {
        self.documents += 1;
        let form = self.call.request(more);
        let fallback = Failed::executing(&source.url);
        let fetching = tokio::spawn(fetch(Arc::clone(&self.engine), self.owner(), source, form));
        let fetched = self.until(fetching).await?;
        Ok(fetched.unwrap_or(Err(fallback)))
    }

    async fn execute(&mut self, document: &Document) -> Result<Next, Interrupt> {
        for (place, verb) in document.verbs.iter().enumerate() {
            // Others' turn: not every verb waits for something.
            tokio::task::yield_now().await;
            let next = match verb {
                Verb::Hangup => {
                    self.report_none();
                    self.hang_up(None).await;
                    Next::End
                }
                Verb::Reject { busy } if self.is_unanswered_inbound() => {
                    self.hang_up(Some(if *busy { 486 } else { 603 })).await;
                    Next::End
                }
                Verb::Reject { .. } => Next::Verb,
                Verb::Pause(length) => {
                    // In front it delays the answer (rcml 4).
                    if place > 0 {
                        self.answer().await?;
                    }
                    self.until(tokio::time::sleep(*length)).await?;
                    Next::Verb
                }
                Verb::Redirect(link) => match self.source(link, &document.base) {
                    Ok(source) => Next::Document(source),
                    Err(failed) => Next::Failed(failed),
                },
                Verb::Dial(dial) => self.dial(dial, &document.base).await?,
                Verb::Refer(refer) => self.refer(refer, &document.base).await?,
                Verb::Hold => self.hold(Action::Hold).await?,
                Verb::Resume => self.hold(Action::Resume).await?,
                Verb::Media(name) => self.without_media(name, &document.base).await?,
            };
            match next {
                Next::Verb => {}
                next => return Ok(next),
            }
        }
        Ok(Next::End)
    }

    async fn hold(&mut self, action: Action) -> Result<Next, Interrupt> {
        self.answer().await?;
        if let Err(error) = self.order(action).await? {
            tracing::info!(event = "rcml.hold", call = %self.sid(), ?error, "hold or resume was refused");
        }
        Ok(Next::Verb)
    }

    /// There is no media here: the verb is over at once, visibly (rcml 8.2, 8.3).
    async fn without_media(&mut self, verb: &'static str, base: &Url) -> Result<Next, Interrupt> {
        self.answer().await?;
        tracing::debug!(event = "rcml.skipped", call = %self.sid(), verb, "a verb that needs media");
        self.engine.rcml.count_skipped();
        match self.engine.media_fails {
            true => Ok(Next::Failed(Failed::executing(base))),
            false => Ok(Next::Verb),
        }
    }

    /// Answers an inbound call that is not answered yet.
    pub(super) async fn answer(&mut self) -> Result<(), Interrupt> {
        if !self.is_unanswered_inbound() {
            return Ok(());
        }
        let taken = self.order(Action::Answer { sdp: None, headers: Vec::new() }).await?;
        let wrong = match taken {
            Ok(()) | Err(NotTaken::Refused(Refused::Answered)) => {
                if self.is_unrecorded() {
                    self.call.record.status = CallStatus::InProgress;
                }
                let answered = |driver: &Driver| driver.is_answered().then_some(());
                self.until_known(Some(SHOWS), Heed::All, answered).await?.is_none()
            }
            Err(_) => true,
        };
        if wrong {
            tracing::warn!(event = "rcml.unanswerable", call = %self.sid(), ?taken, "a call cannot be answered");
            self.hang_up(Some(500)).await;
            return Err(Interrupt::Gone);
        }
        Ok(())
    }

    /// Gives an order to the call's own leg.
    pub(super) async fn order(&mut self, action: Action) -> Result<Result<(), NotTaken>, Interrupt> {
        let (live, order) = (Arc::clone(&self.engine.live), Order::Leg(self.sid(), action));
        self.until(async move { live.orders().ask(order).await }).await
    }

    /// Ends the call and waits for its end.
    pub(super) async fn hang_up(&mut self, status: Option<u16>) {
        self.verdict = None;
        if self.ended {
            return;
        }
        for _ in 0..ENDINGS {
            let action = Action::Hangup { status, reason: None };
            let (live, order) = (Arc::clone(&self.engine.live), Order::Leg(self.sid(), action));
            let asking = async move { live.orders().ask(order).await };
            match self.wait(asking, Heed::Nothing).await {
                Ok(Ok(()) | Err(NotTaken::Refused(_))) => break,
                _ if self.ended => break,
                // A call that nobody ends stays for ever: it is worth another attempt.
                _ => {
                    let _ = self.wait(tokio::time::sleep(BETWEEN_ENDINGS), Heed::Nothing).await;
                }
            }
        }
        let ended = |driver: &Driver| driver.ended.then_some(());
        let _ = self.until_known(Some(SHOWS), Heed::Nothing, ended).await;
    }

    /// Where a link in a document leads.
    pub(super) fn source(&self, link: &Link, base: &Url) -> Result<Source, Failed> {
        let url = base.join(&link.url).ok();
        match url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            Some(url) => Ok(Source { url, method: link.method.clone() }),
            None => Err(Failed::executing(base)),
        }
    }

    /// What follows a verb that has a result: its action's document or the next verb (rcml 6.7). When
    /// the call has ended, the action is still told, and its answer not run (rcml 4.2, 6.8).
    pub(super) async fn result(
        &mut self,
        action: Option<&Link>,
        base: &Url,
        result: Form,
    ) -> Result<Next, Interrupt> {
        let Some(link) = action else { return Ok(Next::Verb) };
        let source = match self.source(link, base) {
            Ok(source) => source,
            Err(failed) => return Ok(Next::Failed(failed)),
        };
        if self.ended {
            let form = self.call.request(result);
            let telling = fetch(Arc::clone(&self.engine), self.owner(), source, form);
            let _ = self.wait(telling, Heed::Nothing).await;
            return Err(Interrupt::Gone);
        }
        Ok(Next::Action(source, result))
    }

    pub(super) fn is_answered(&self) -> bool {
        self.call.record.status >= CallStatus::InProgress
    }

    /// A call without an account has no record, and no status is told of it.
    pub(super) fn is_unrecorded(&self) -> bool {
        self.call.record.account.is_empty()
    }

    fn is_unanswered_inbound(&self) -> bool {
        self.call.record.direction == Direction::Inbound && !self.is_answered()
    }
}

/// What is heard while it waits.
impl Driver {
    pub(super) fn heed(&mut self, change: Change) {
        if let Some(source) = &change.callback {
            match &mut self.callback {
                Some(callback) => callback.replace_end(source.clone()),
                None => self.callback = Some(Callback::at_end(&self.engine, source.clone())),
            }
        }
        if change.program.is_none() {
            return;
        }
        let beside = self.line.steers() && self.stays(&change);
        match change.program {
            // The one that runs beside already ends, if there is one: its sender is dropped.
            Some(program) if beside => {
                self.beside = super::start_beside(&self.engine, self.sid(), program);
            }
            _ => self.change = Some(change),
        }
    }

    /// What runs now gives way to this.
    pub(super) fn replace(&mut self, change: Change) {
        self.change = Some(change);
    }

    /// The next document is about a transfer that a peer asked for.
    pub(super) fn take_over(&mut self, transfer: Transfer) {
        self.call.transfer = transfer.form;
        self.report = Some(transfer.report);
    }

    pub(super) fn note(&mut self, event: Event) {
        let own = self.sid();
        match event {
            Event::CallStarted(started) if started.sid == own => {
                self.call.record.created = started.at;
                self.call.record.call_id.clone_from(&started.call_id);
            }
            Event::CallChanged(change) if change.sid == own => {
                self.call.record.change(&change);
                self.ended = self.call.record.status.is_final();
                if let Some(callback) = &mut self.callback {
                    callback.reached(&self.call, self.engine.live.now());
                }
            }
            Event::Headers(headers) if headers.sid == own => self.call.headers(&headers),
            Event::Ended(sid, _) if sid == own => self.ended = true,
            Event::ReferAsked(asked) => self.asked(&asked),
            Event::Refer(refer) => self.referral.told(refer),
            Event::DialEnded(ended) if ended.sid == own => match &mut self.dialling {
                Some(dialling) if dialling.is_meant(&ended) => dialling.end(*ended),
                _ => self.left_behind = false,
            },
            other => {
                if let Some(dialling) = &mut self.dialling
                    && let Some(outbound) = dialling.note(own, &other)
                {
                    self.call.outbound = Some(outbound);
                    if self.is_unrecorded() {
                        self.call.record.status = CallStatus::InProgress;
                    }
                    self.report_dial(CallStatus::Completed, 200);
                }
            }
        }
    }
}

/// What becomes of the other leg when one gets another document (Calls API, 10.12).
fn part(engine: &Arc<Engine>, sid: CallSid, mode: Option<ChildMode>, program: &Program) -> bool {
    let Some(mode) = mode else { return false };
    let moves = mode == ChildMode::Move;
    let moved = engine.live.call(sid).and_then(|call| call.joined).filter(|_| moves);
    let parted = engine.part(sid, moved);
    if let Some(moved) = moved {
        engine.live.release(moved, sid);
        let change = Change { program: Some(program.clone()), ..Change::default() };
        let _ = super::change(engine, moved, change);
    }
    parted
}

impl Waits for Driver {
    type Word = Change;

    fn line(&mut self) -> &mut Line<Change> {
        &mut self.line
    }

    fn heard(&mut self, heard: Heard<Change>) {
        match heard {
            Heard::Event(event) => self.note(event),
            Heard::Over => self.ended = true,
            Heard::Word(change) => self.heed(change),
            Heard::Abandoned => self.abandoned = true,
            Heard::Taken => {
                self.taken = true;
                let transfer = self.change.take().and_then(|change| change.transfer);
                if let Some(transfer) = transfer {
                    transfer.report.done(&self.engine, 603);
                }
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn has_changed(&self) -> bool {
        self.change.is_some() || self.abandoned || self.taken
    }
}
