//! One steered call: its task, from the first hook to the end of the call.
//!
//! Everything a verb waits for goes through [`Waits`]: meanwhile the call's events are taken note of,
//! status hooks go out, and words of the API are heard. The end of the call, another application and
//! somebody else who steers end the waiting; verbs pass that on with `?`.

use super::dial::Dialling;
use super::document::{Action as Verbs, Verb, Wrong, answered};
use super::facts::{Facts, Fields};
use super::hook::{Failed, Hook, Post, Signs, ask};
use super::status::{Status, ended_by};
use super::transfer::Report;
use super::{Program, Word};
use crate::control::engine::Engine;
use crate::control::orders::NotTaken;
use crate::control::refer::Referral;
use crate::control::wait::{Heard, Heed, Interrupt, Line, Waits};
use crate::control::webhook::{Lane, Owner, Retry};
use crate::sip::command::{Action, Leave, Order, Refused};
use crate::sip::event::{CallSid, CallStatus, Direction, EndedBy, Event, ReferSid};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

/// Documents of one call at most: one that redirects to itself has an end.
const DOCUMENTS: u32 = 1_000;
/// How long an order to answer or to end may take to show: 64*T1 and a little.
const SHOWS: Duration = Duration::from_secs(40);
/// How often a call that has to end is told so while its shard does not listen, and how long between.
const ENDINGS: u32 = 10;
const BETWEEN_ENDINGS: Duration = Duration::from_secs(1);
/// Transfers of one call whose NOTIFYs are still told.
const TRANSFERS: usize = 8;

/// What follows a verb.
#[derive(Debug)]
pub(super) enum Next {
    /// The next verb.
    Verb,
    /// These verbs, in place of what is left.
    Replace(Vec<Verb>),
    /// The end of the call.
    End,
    /// The application cannot be carried out.
    Failed(String),
}

/// How a call is left.
pub(super) type Leaving = Leave;

/// The task's state.
pub(super) struct Driver {
    pub(super) engine: Arc<Engine>,
    pub(super) call: Facts,
    /// The legs that were dialled for it.
    pub(super) children: Vec<Facts>,
    pub(super) ended: bool,
    /// It was ended by an order, the API's or its own.
    pub(super) ordered_away: bool,
    /// The transfer that is waited for, and what is known of it.
    pub(super) referral: Referral,
    /// The Dial that is waited for, and whether one that another application left behind is not over yet.
    pub(super) dialling: Option<Dialling>,
    pub(super) left_behind: bool,
    /// Whom the outcome of a peer's REFER is reported to.
    pub(super) report: Option<Report>,
    /// Requests inside the dialog that have ended: ticket, code and reason phrase.
    pub(super) responses: VecDeque<(u64, u16, String)>,
    pub(super) line: Line<Word>,
    /// Held here as well, so that the line never ends.
    pub(super) sender: mpsc::Sender<Word>,
    /// Another application, which takes over as soon as this one's verb is interrupted.
    verbs: Option<Vec<Verb>>,
    /// How many hooks were asked for one, and up to which of them answers come too late.
    hooks: u64,
    outdated: u64,
    /// Another face is to steer.
    taken: bool,
    pub(super) base: Url,
    pub(super) signs: Signs,
    status_hook: Option<Hook>,
    statuses: Lane,
    /// Who is told of the NOTIFYs of a transfer.
    event_hooks: VecDeque<(ReferSid, Hook)>,
    events: Option<Lane>,
    documents: u32,
    /// Transfers that were refused before they could be sent.
    pub(super) unsent: u32,
    /// Whether the first status is told.
    begun: bool,
    time_limit: Option<Duration>,
    /// Ends the call at its time limit; it ends with this.
    limiting: JoinSet<()>,
}

impl Driver {
    /// `None` when the call has ended.
    pub(super) fn new(
        engine: &Arc<Engine>,
        sid: CallSid,
        program: &Program,
        (sender, words): (mpsc::Sender<Word>, mpsc::Receiver<Word>),
    ) -> Option<Driver> {
        // First the mailbox, then what is known: nothing falls between.
        let watch = engine.live.watch(sid);
        let known = engine.live.call(sid)?;
        let mut call = Facts::new(known.record);
        call.application_sid.clone_from(&program.application_sid);
        call.customer_data.clone_from(&program.customer_data);
        call.origin.clone_from(&program.origin);
        Some(Driver {
            engine: Arc::clone(engine),
            call,
            children: Vec::new(),
            ended: false,
            ordered_away: false,
            referral: Referral::default(),
            dialling: None,
            left_behind: false,
            report: program.report,
            responses: VecDeque::new(),
            line: Line::new(watch, words),
            sender,
            verbs: None,
            hooks: 0,
            outdated: 0,
            taken: false,
            base: program.hook.url.clone(),
            signs: program.signs.clone(),
            status_hook: program.status.clone(),
            statuses: Lane::new(&engine.webhooks, Retry::NEVER),
            event_hooks: VecDeque::new(),
            events: None,
            documents: 0,
            unsent: 0,
            begun: false,
            time_limit: program.time_limit,
            limiting: JoinSet::new(),
        })
    }

    pub(super) fn sid(&self) -> CallSid {
        self.call.record.sid
    }

    /// Steers until the call has ended; while another face steers it, statuses are told all the same.
    pub(super) async fn run(mut self, program: Program) {
        self.steer(program).await;
        self.report_none();
    }

    async fn steer(&mut self, program: Program) {
        if !self.call.record.call_id.is_empty() {
            self.tell_begin();
        }
        let mut outcome = self.begin(program).await;
        loop {
            match outcome {
                Ok(Next::Verb | Next::End) => {
                    self.report_none();
                    return self.hang_up(Leaving::default()).await;
                }
                Ok(Next::Failed(why)) => {
                    self.report_none();
                    let leaving =
                        if self.is_unanswered_inbound() { refused(&why) } else { Leaving::default() };
                    return self.hang_up(leaving).await;
                }
                Ok(Next::Replace(verbs)) => outcome = self.execute(verbs).await,
                Err(Interrupt::Gone) => return,
                Err(Interrupt::Changed) => {
                    if std::mem::take(&mut self.taken) {
                        self.gives_way();
                    }
                    outcome = match self.verbs.take() {
                        Some(verbs) => self.replace(verbs).await,
                        None => self.until(std::future::pending()).await,
                    };
                }
            }
        }
    }

    /// Another face steers from here on, without a word to this application.
    fn gives_way(&mut self) {
        self.report_none();
        self.limiting.abort_all();
        self.time_limit = None;
        self.line.let_go();
    }

    /// These verbs are what the call is steered by, whatever it was until now.
    async fn replace(&mut self, verbs: Vec<Verb>) -> Result<Next, Interrupt> {
        match self.take_call().await? {
            true => {
                let kept = self.report.map(Report::transferor);
                self.left_behind |= self.engine.part(self.sid(), kept);
            }
            false => self.part(),
        }
        Ok(Next::Replace(verbs))
    }

    /// The call is this driver's to steer; `true` when it was another's.
    async fn take_call(&mut self) -> Result<bool, Interrupt> {
        let (helm, sid) = (Arc::clone(&self.engine.helm), self.sid());
        self.take(&helm, sid).await
    }

    /// The first hook: at once for an inbound call, else when the callee has answered (1.2, 1.3).
    async fn begin(&mut self, program: Program) -> Result<Next, Interrupt> {
        if program.beside {
            // Until its verbs are there, whoever steers goes on.
            self.fetch_beside(program.hook);
            return self.until(std::future::pending()).await;
        }
        self.take_call().await?;
        self.until_up().await?;
        if let Some(verbs) = program.verbs {
            return Ok(Next::Replace(verbs));
        }
        let mut fields = self.call.fields();
        fields.extend(program.first);
        let fetched = self.fetch(program.hook, fields).await?;
        Ok(match fetched {
            Ok(Some(verbs)) => Next::Replace(verbs),
            Ok(None) => Next::End,
            Err(why) => Next::Failed(why),
        })
    }

    /// Nothing can be done with a callee that has not answered.
    async fn until_up(&mut self) -> Result<(), Interrupt> {
        let ready = |driver: &Driver| {
            let inbound = driver.call.record.direction == Direction::Inbound;
            (inbound || driver.is_answered()).then_some(())
        };
        self.until_known(None, Heed::All, ready).await.map(|_| ())
    }

    /// Asks a hook for verbs; `None` when its answer holds none.
    async fn fetch(
        &mut self,
        hook: Hook,
        fields: Fields,
    ) -> Result<Result<Option<Vec<Verb>>, String>, Interrupt> {
        self.documents += 1;
        if self.documents > DOCUMENTS {
            tracing::warn!(event = "jambonz.loop", call = %self.sid(), "too many documents");
            return Ok(Err("too many documents".into()));
        }
        let asking = ask(Arc::clone(&self.engine.webhooks), self.post(hook, fields));
        let answer = self.until(asking).await?;
        Ok(match answer {
            Ok(value) => self.document(value.as_ref()).map_err(|wrong| wrong.to_string()),
            Err(failed) => Err(failed.to_string()),
        })
    }

    /// The verbs of an answer.
    pub(super) fn document(&self, value: Option<&Value>) -> Result<Option<Vec<Verb>>, Wrong> {
        let document = value.and_then(|value| answered(value, Some(&self.base))).transpose();
        if let Err(wrong) = &document {
            tracing::warn!(event = "jambonz.malformed", call = %self.sid(), error = %wrong, "verbs are rejected");
        }
        document
    }

    pub(super) fn post(&self, hook: Hook, fields: Fields) -> Post {
        let owner = Owner::of(&self.call.record.account);
        Post::new(owner, hook, fields, self.signs.clone(), self.engine.jambonz.options.timeout)
    }

    async fn execute(&mut self, verbs: Vec<Verb>) -> Result<Next, Interrupt> {
        self.until_up().await?;
        for Verb { id, action } in verbs {
            let id = id.as_deref();
            let next = match action {
                Verbs::Answer => {
                    self.answer().await?;
                    Next::Verb
                }
                Verbs::Decline { status, reason, headers } if self.is_unanswered_inbound() => {
                    let mut leaving = Leaving { status: Some(status), phrase: reason, headers };
                    leaving.headers.push(("X-Reason".into(), "SIP Decline Verb".into()));
                    self.hang_up(leaving).await;
                    Next::End
                }
                Verbs::Hangup { headers } => {
                    self.report_none();
                    self.hang_up(Leaving { headers, ..Leaving::default() }).await;
                    Next::End
                }
                Verbs::Pause(length) => {
                    self.until(tokio::time::sleep(length)).await?;
                    Next::Verb
                }
                Verbs::Redirect { hook, status } => {
                    if status.is_some() {
                        self.status_hook = status;
                    }
                    self.perform(Some(hook), id, Fields::new()).await?
                }
                Verbs::Tag(data) => {
                    self.tag(data);
                    Next::Verb
                }
                Verbs::Media(verb, answers) => self.without_media(verb, answers).await?,
                Verbs::Dial(dial) => self.dial(&dial, id).await?,
                // 5.4: what is for a call that is up is passed over while it is not.
                Verbs::Decline { .. } => self.skipped("sip:decline"),
                Verbs::Refer(_) if !self.is_answered() => self.skipped("sip:refer"),
                Verbs::Request(_) if !self.is_answered() => self.skipped("sip:request"),
                Verbs::Refer(refer) => self.refer(&refer, id).await?,
                Verbs::Request(request) => self.request(&request, id).await?,
            };
            match next {
                Next::Verb => {}
                next => return Ok(next),
            }
        }
        Ok(Next::End)
    }

    fn skipped(&self, verb: &'static str) -> Next {
        tracing::debug!(event = "jambonz.skipped", call = %self.sid(), verb, "not for a call in this state");
        Next::Verb
    }

    /// There is no media here: the verb is over at once, visibly, and its hook is not asked.
    async fn without_media(&mut self, verb: &'static str, answers: bool) -> Result<Next, Interrupt> {
        if answers {
            self.answer().await?;
        }
        tracing::debug!(event = "jambonz.skipped", call = %self.sid(), verb, "a verb that needs media");
        self.engine.jambonz.count_skipped();
        Ok(match self.engine.media_fails {
            true => Next::Failed(format!("{verb} needs media")),
            false => Next::Verb,
        })
    }

    /// A verb has its result: its hook is told, and may answer with other verbs (5.5). When the call has
    /// ended, the hook is told all the same, and its answer not run.
    pub(super) async fn perform(
        &mut self,
        hook: Option<Hook>,
        id: Option<&str>,
        result: Fields,
    ) -> Result<Next, Interrupt> {
        let Some(hook) = hook else {
            return if self.ended { Err(Interrupt::Gone) } else { Ok(Next::Verb) };
        };
        let mut fields = self.call.fields();
        fields.extend(result);
        if let Some(id) = id {
            fields.insert("verb_id".into(), id.into());
        }
        // A task of its own: it is told whatever becomes of the call meanwhile.
        let asking = tokio::spawn(ask(Arc::clone(&self.engine.webhooks), self.post(hook, fields)));
        self.documents += 1;
        if self.documents > DOCUMENTS {
            return Ok(Next::End);
        }
        if self.ended {
            let _ = self.wait(asking, Heed::Nothing).await;
            return Err(Interrupt::Gone);
        }
        let answer = self.until(asking).await?;
        Ok(match answer {
            Ok(Ok(value)) => match self.document(value.as_ref()) {
                Ok(Some(verbs)) => Next::Replace(verbs),
                Ok(None) => Next::Verb,
                Err(wrong) => Next::Failed(wrong.to_string()),
            },
            Ok(Err(Failed::Malformed)) => Next::Failed("the answer is not JSON".into()),
            // It is logged already, and the next verb runs.
            Ok(Err(Failed::Status(_) | Failed::Failure(_))) | Err(_) => Next::Verb,
        })
    }

    /// Answers an inbound call that is not answered yet.
    pub(super) async fn answer(&mut self) -> Result<(), Interrupt> {
        if !self.is_unanswered_inbound() {
            return Ok(());
        }
        let taken = self.order(Action::Answer { sdp: None, headers: Vec::new() }).await?;
        let wrong = match taken {
            Ok(()) | Err(NotTaken::Refused(Refused::Answered)) => {
                if self.call.record.account.is_empty() {
                    // Of a call without an account no status is told.
                    self.call.record.status = CallStatus::InProgress;
                    self.reach(Status::InProgress, 200);
                }
                let answered = |driver: &Driver| driver.is_answered().then_some(());
                self.until_known(Some(SHOWS), Heed::All, answered).await?.is_none()
            }
            Err(_) => true,
        };
        if wrong {
            tracing::warn!(event = "jambonz.unanswerable", call = %self.sid(), ?taken, "a call cannot be answered");
            self.hang_up(Leaving { status: Some(500), ..Leaving::default() }).await;
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
    pub(super) async fn hang_up(&mut self, leaving: Leaving) {
        if self.ended {
            return;
        }
        for _ in 0..ENDINGS {
            let action = Action::Leave(Box::new(leaving.clone()));
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

    pub(super) fn is_answered(&self) -> bool {
        self.call.record.status >= CallStatus::InProgress
    }

    pub(super) fn is_unanswered_inbound(&self) -> bool {
        self.call.record.direction == Direction::Inbound && !self.is_answered()
    }

    fn tag(&mut self, data: Value) {
        self.engine.jambonz.tag(self.sid(), &data);
        self.call.customer_data = Some(data);
    }

    /// The legs that were dialled for it have nothing to do with another application.
    fn part(&self) {
        let orders = self.engine.live.orders();
        let asked = self.report.map(Report::transferor);
        let left = |child: &&Facts| !child.status.is_final() && Some(child.record.sid) != asked;
        for child in self.children.iter().filter(left) {
            orders.tell(Order::Leg(child.record.sid, Action::Hangup { status: None, reason: None }));
        }
    }
}

/// What an inbound caller is told when its application cannot be carried out (1.5).
fn refused(why: &str) -> Leaving {
    let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
    Leaving { status: Some(480), phrase: None, headers: vec![("X-Reason".into(), why)] }
}

impl Waits for Driver {
    type Word = Word;

    fn line(&mut self) -> &mut Line<Word> {
        &mut self.line
    }

    fn heard(&mut self, heard: Heard<Word>) {
        match heard {
            Heard::Event(event) => self.note(event),
            Heard::Over => self.ended = true,
            Heard::Word(word) => self.heed(word),
            Heard::Abandoned => {}
            Heard::Taken => {
                self.taken = true;
                self.verbs = None;
                self.outdated = self.hooks;
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn has_changed(&self) -> bool {
        self.verbs.is_some() || self.taken
    }
}

/// What is heard while it waits.
impl Driver {
    fn heed(&mut self, word: Word) {
        match word {
            Word::Tag(data) => self.tag(data),
            Word::Verbs(hook, _) if hook <= self.outdated => {
                tracing::debug!(event = "jambonz.outdated", call = %self.sid(), "verbs came too late");
            }
            Word::Verbs(hook, verbs) => {
                self.outdated = hook;
                self.verbs = Some(verbs);
            }
            Word::Transfer(verbs, report) => {
                self.outdated = self.hooks;
                self.report_none();
                self.report = Some(report);
                self.verbs = Some(verbs);
            }
            Word::Release(child) => self.released(child),
            Word::Hook(hook, status) => {
                if status.is_some() {
                    self.status_hook = status;
                }
                self.fetch_beside(hook);
            }
        }
    }

    /// The verbs there take over when they have come; until then, those that run go on.
    fn fetch_beside(&mut self, hook: Hook) {
        let asking = ask(Arc::clone(&self.engine.webhooks), self.post(hook, self.call.fields()));
        let (sender, base) = (self.sender.clone(), self.base.clone());
        self.hooks += 1;
        let hook = self.hooks;
        tokio::spawn(async move {
            let Ok(Some(value)) = asking.await else { return };
            match answered(&value, Some(&base)) {
                Some(Ok(verbs)) => {
                    let _ = sender.send(Word::Verbs(hook, verbs)).await;
                }
                Some(Err(wrong)) => {
                    tracing::warn!(event = "jambonz.malformed", error = %wrong, "verbs are rejected");
                }
                None => {}
            }
        });
    }

    fn note(&mut self, event: Event) {
        let own = self.sid();
        match event {
            Event::CallStarted(started) if started.sid == own => {
                self.call.record.created = started.at;
                self.call.record.call_id.clone_from(&started.call_id);
                self.tell_begin();
            }
            Event::CallStarted(started) if started.parent == Some(own) => self.child_began(&started),
            Event::CallChanged(change) => {
                let Some(facts) = self.facts_of(change.sid) else { return };
                facts.record.change(&change);
                let (status, code) = Status::of(&facts.record);
                // Who has ended it is told a moment later.
                if !status.is_final() {
                    self.reached(change.sid, status, code);
                }
            }
            Event::EarlyMedia(sid) => self.reached(sid, Status::EarlyMedia, 183),
            Event::Headers(headers) => {
                if let Some(facts) = self.facts_of(headers.sid) {
                    facts.record.call_id.clone_from(&headers.call_id);
                }
            }
            Event::Ended(sid, by) => self.has_ended(sid, by),
            // Who has ended the call itself is told of no result that comes after that (jambonz 6.2).
            Event::Refer(_) if self.ordered_away => {}
            Event::Refer(refer) => self.referral.told(refer),
            Event::ReferNotified(refer, _, code) => self.notified(refer, code),
            Event::ReferAsked(asked) => self.asked(&asked),
            Event::RequestEnded { sid, ticket, code, reason } if sid == own => {
                self.responses.push_back((ticket, code, reason));
                if self.responses.len() > TRANSFERS {
                    self.responses.pop_front();
                }
            }
            Event::DialEnded(ended) if ended.sid == own => self.dial_ended(*ended),
            Event::Joined(one, other) if one == own || other == own => {
                self.joined(if one == own { other } else { one });
            }
            _ => {}
        }
    }

    fn facts_of(&mut self, sid: CallSid) -> Option<&mut Facts> {
        match sid == self.sid() {
            true => Some(&mut self.call),
            false => self.children.iter_mut().find(|child| child.record.sid == sid),
        }
    }

    fn reach(&mut self, status: Status, code: u16) {
        self.reached(self.sid(), status, code);
    }

    /// A status is told once, and never after a later one (4.2).
    pub(super) fn reached(&mut self, sid: CallSid, status: Status, code: u16) {
        let Some(facts) = self.facts_of(sid) else { return };
        if facts.status.rank() >= status.rank() {
            return;
        }
        (facts.status, facts.sip_status) = (status, code);
        let fields = facts.fields();
        self.tell(fields);
        if sid == self.sid()
            && status == Status::InProgress
            && let Some(limit) = self.time_limit.take()
        {
            self.limit(limit);
        }
    }

    /// A call that lasts longer is ended.
    fn limit(&mut self, limit: Duration) {
        let (engine, sid) = (Arc::clone(&self.engine), self.sid());
        self.limiting.spawn(async move {
            tokio::time::sleep(limit).await;
            engine.live.orders().tell(Order::Leg(sid, Action::Hangup { status: None, reason: None }));
        });
    }

    fn has_ended(&mut self, sid: CallSid, by: EndedBy) {
        let own = sid == self.sid();
        let Some(facts) = self.facts_of(sid) else { return };
        if !facts.record.status.is_final() {
            facts.record.status = match facts.record.status {
                CallStatus::InProgress => CallStatus::Completed,
                _ => CallStatus::Canceled,
            };
        }
        facts.ended_by = Some(ended_by(by));
        let (status, code) = Status::of(&facts.record);
        self.reached(sid, status, code);
        self.ended |= own;
        self.ordered_away |= own && by == EndedBy::Control;
    }

    /// The first status, `trying`, as soon as the call has a Call-ID to be named by.
    fn tell_begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) || self.call.status != Status::Trying {
            return;
        }
        let fields = self.call.fields();
        self.tell(fields);
    }

    pub(super) fn tell(&self, fields: Fields) {
        if let Some(hook) = self.status_hook.clone() {
            self.statuses.notify(Box::new(self.post(hook, fields)));
        }
    }

    /// Who is told of the NOTIFYs of a transfer.
    pub(super) fn listens(&mut self, refer: ReferSid, hook: Hook) {
        self.event_hooks.push_back((refer, hook));
        if self.event_hooks.len() > TRANSFERS {
            self.event_hooks.pop_front();
        }
    }

    /// The lane of event hooks, once there is something to tell.
    pub(super) fn event_lane(&mut self) -> Lane {
        self.events.get_or_insert_with(|| Lane::new(&self.engine.webhooks, Retry::NEVER)).clone()
    }

    pub(super) fn event_hook(&self, refer: ReferSid) -> Option<Hook> {
        self.event_hooks.iter().find(|(of, _)| *of == refer).map(|(_, hook)| hook.clone())
    }

    pub(super) fn status_hook(&self) -> Option<&Hook> {
        self.status_hook.as_ref()
    }

    pub(super) fn has_event_lane(&self) -> bool {
        self.events.is_some()
    }
}
