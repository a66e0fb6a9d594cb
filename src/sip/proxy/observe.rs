//! What the records are told on a message's way: calls begun, ringing, answered, ended, and REFERs
//! with their NOTIFYs. Nothing here can delay or change a message.

use crate::shard::{CallResult, Output, Phase};
use crate::sip::event::{
    CallChanged, CallSid, CallStarted, CallStatus, Cause, Direction, Event, ReferReason, ReferRole, ReferSid,
    ReferStatus,
};
use crate::sip::message::{HeaderId, Message, Method, NameAddr, Ready, Uri, unquote, uri};
use crate::sip::plan::{Plan, TrunkIx};
use crate::sip::proxy::context::{Bye, Context, Setup, Subject};
use crate::sip::proxy::request::Way;
use crate::sip::proxy::route::Path;
use crate::sip::proxy::token::{DialogToken, name_hash};
use crate::sip::proxy::{Answers, Cx, Proxy};
use crate::sip::refer::{
    Dialog, Fate, NotifyFacts, Observer, ReferEffect, ReferFacts, ReferHandle, ReferRule,
};
use crate::sip::time::Time;

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use std::hash::Hasher;
use std::sync::Arc;

impl Proxy {
    /// What a request about to be forwarded means to the records.
    pub(super) fn subject(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        trunk_in: Option<TrunkIx>,
        way: &Way,
    ) -> Subject {
        match (message.method(), path.token.filter(|_| way.in_dialog)) {
            (Method::Invite, None) => self.call_begins(cx, message, ready, path, trunk_in, way),
            (Method::Bye, Some(token)) => {
                let account = self.account_of(cx.plan, &token);
                let (key, dialog) = (self.call_key(ready, &token), Dialog::of(message, token.call));
                let callee = if token.from_caller(ready.from_tag) { ready.to_tag } else { ready.from_tag };
                let callee = name_hash(callee.unwrap_or_default());
                Subject::Bye(Box::new(Bye { token, account, key, callee, dialog }))
            }
            (Method::Refer, Some(token)) => match self.account_of(cx.plan, &token) {
                Some(account) if recorded(cx.plan, &token) => {
                    let trunk = self.sender(cx.plan, &token, ready);
                    refer_begins(cx, message, &token, account, trunk)
                }
                _ => Subject::None,
            },
            (Method::Notify, Some(token)) if recorded(cx.plan, &token) => {
                notified(cx, message, &token);
                Subject::None
            }
            _ => Subject::None,
        }
    }

    fn call_begins(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        trunk_in: Option<TrunkIx>,
        way: &Way,
    ) -> Subject {
        let inbound = trunk_in.and_then(|ix| cx.plan.trunk(ix));
        let outbound = way.candidates.first().and_then(|c| cx.plan.trunk(c.trunk));
        // The trunk it came from, else the one it goes to.
        let account = inbound
            .and_then(|t| t.account.clone())
            .or_else(|| outbound.and_then(|t| t.account.clone()))
            .filter(|_| cx.plan.record_proxied);
        let token = DialogToken {
            call: if account.is_some() { CallSid(cx.new_sid()) } else { CallSid(0) },
            started: cx.now,
            trunk_in: inbound.map_or(0, |t| name_hash(t.name.as_bytes())),
            trunk_out: 0,
            caller_tag: name_hash(ready.from_tag.unwrap_or(b"")),
        };
        cx.counters.call_phase(trunk_in, Direction::Inbound, Phase::Setup, 1);
        if let Some(account) = &account {
            let started = call_started(message, path, &token, account.clone(), way.cause);
            cx.out.push(Output::Event(Event::CallStarted(Arc::new(started))));
        }
        let key = self.call_key(ready, &token);
        Subject::Call(Box::new(Setup { token, account, key, ringing: false, trunk_out: None }))
    }

    /// A REFER within a recorded call was refused here with this code, by a rule of its sender's trunk.
    pub(super) fn saw_refer_denied(
        &self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        token: &DialogToken,
        denied: (u16, ReferRule),
    ) {
        let Some(account) = self.account_of(cx.plan, token).filter(|_| recorded(cx.plan, token)) else {
            return;
        };
        let sid = ReferSid(cx.new_sid());
        if let Some(facts) = ReferFacts::read(message, sid, token.call, account) {
            let facts = ReferFacts { trunk: self.sender(cx.plan, token, ready), ..facts };
            cx.refers(|observer, now, fx| observer.refer_denied(now, facts, denied, fx));
        }
    }

    /// A 101 to 199 passed: the call rings with the first 180 or 183.
    pub(super) fn saw_ringing(&mut self, cx: &mut Cx<'_>, context: &mut Context, at: usize, status: u16) {
        let trunk = context.branches.get(at).and_then(|b| b.trunk);
        let Subject::Call(setup) = &mut context.subject else { return };
        if setup.ringing || !matches!(status, 180 | 183) {
            return;
        }
        setup.ringing = true;
        setup.trunk_out = trunk;
        cx.counters.post_dial_delay(trunk, cx.now.since(context.at));
        changed(cx, &setup.token, setup.account.as_ref(), CallStatus::Ringing, 0);
    }

    /// The final answer passed.
    pub(super) fn saw_final(
        &mut self,
        cx: &mut Cx<'_>,
        context: &Context,
        at: usize,
        status: u16,
        to_tag: Option<&[u8]>,
    ) {
        if matches!(status, 401 | 407)
            && let Some(sender) = context.counted.and_then(|ix| cx.plan.trunk(ix))
        {
            sender.refer_challenged();
        }
        match &context.subject {
            Subject::None => {}
            Subject::Refer(handle) => {
                // An answer made here says what became of the REFER, not what the referee thinks.
                let fate = match (status, at) {
                    (408, usize::MAX) => Fate::Timeout,
                    (503, usize::MAX) => Fate::TransportFailure,
                    _ => Fate::Response(status),
                };
                cx.refers(|observer, now, fx| observer.refer_answered(now, *handle, fate, fx));
            }
            Subject::Bye(bye) => {
                // A challenged BYE has ended nothing (RFC 3261 §15.1.1 takes the rest as the end).
                if !matches!(status, 401 | 407) {
                    call_ended(cx, self, bye, context);
                }
            }
            Subject::Call(setup) => {
                let trunk_out = context.branches.get(at).and_then(|b| b.trunk).or(setup.trunk_out);
                let (result, call_status) = outcome(status, context.cancelled);
                cx.counters.call_phase(context.trunk_in, Direction::Inbound, Phase::Setup, -1);
                cx.counters.call_result(context.trunk_in, Direction::Inbound, result);
                if result == CallResult::Answered {
                    self.call_is_up(cx, setup.key, context.trunk_in, to_tag);
                    cx.counters.call_setup(trunk_out, cx.now.since(context.at));
                }
                changed(cx, &setup.token, setup.account.as_ref(), call_status, status);
            }
        }
    }

    /// A call by its Call-ID and its caller, for the gauge of calls that are up.
    fn call_key(&self, ready: &Ready<'_>, token: &DialogToken) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.keys.local);
        hasher.write(ready.call_id);
        hasher.write_u32(token.caller_tag);
        hasher.finish()
    }

    fn call_is_up(&mut self, cx: &mut Cx<'_>, key: u64, trunk: Option<TrunkIx>, to_tag: Option<&[u8]>) {
        let open = SmallVec::from_elem(name_hash(to_tag.unwrap_or_default()), 1);
        let answers = Answers { open, several: false };
        if self.up.len() < cx.plan.capacity.transactions && self.up.insert(key, answers).is_none() {
            cx.counters.call_phase(trunk, Direction::Inbound, Phase::Up, 1);
        }
    }

    /// A further 2xx of an answered call passed: of another callee, or the same once more.
    pub(super) fn saw_another_answer(&mut self, key: u64, to_tag: Option<&[u8]>) {
        let Some(answers) = self.up.get_mut(&key) else { return };
        let callee = name_hash(to_tag.unwrap_or_default());
        if !answers.open.contains(&callee) && answers.open.len() < MOST_ANSWERS {
            answers.open.push(callee);
            answers.several = true;
        }
    }

    /// The trunk that a request within a dialog comes by.
    pub(super) fn sender(&self, plan: &Plan, token: &DialogToken, ready: &Ready<'_>) -> Option<TrunkIx> {
        let sender = if token.from_caller(ready.from_tag) { token.trunk_in } else { token.trunk_out };
        self.trunk_named(plan, sender)
    }

    /// The account of a dialog: of the trunk it came from, else of the one it went to.
    fn account_of(&self, plan: &Plan, token: &DialogToken) -> Option<Arc<str>> {
        [token.trunk_in, token.trunk_out]
            .into_iter()
            .filter_map(|hash| self.trunk_named(plan, hash))
            .find_map(|ix| plan.trunk(ix)?.account.clone())
    }
}

/// A REFER outside any call was refused: that belongs to no record, and is counted.
pub(super) fn saw_refer_denied_outside(cx: &mut Cx<'_>, trunk: Option<TrunkIx>) {
    let policy = Some(ReferReason::Policy);
    cx.counters.refer(trunk, ReferRole::Relay, ReferStatus::Failed, policy);
}

/// A REFER within a recorded call: watched until its one result is known.
fn refer_begins(
    cx: &mut Cx<'_>,
    message: &Message,
    token: &DialogToken,
    account: Arc<str>,
    trunk: Option<TrunkIx>,
) -> Subject {
    let sid = ReferSid(cx.new_sid());
    let Some(facts) = ReferFacts::read(message, sid, token.call, account) else {
        return Subject::None;
    };
    let facts = ReferFacts { trunk, ..facts };
    let mut handle = None;
    cx.refers(|observer, now, fx| handle = observer.refer_sent(now, facts, fx));
    handle.map_or(Subject::None, Subject::Refer)
}

/// A NOTIFY within a recorded call: it may overtake the answer to the REFER.
fn notified(cx: &mut Cx<'_>, message: &Message, token: &DialogToken) {
    if let Some(facts) = NotifyFacts::read(message) {
        let dialog = Dialog::of(message, token.call);
        cx.refers(|observer, now, fx| observer.notified(now, &dialog, &facts, fx));
    }
}

impl Cx<'_> {
    /// Tells the observer something and carries out what it asks for.
    pub(super) fn refers(&mut self, tell: impl FnOnce(&mut Observer, Time, &mut Vec<ReferEffect>)) {
        let mut fx = Vec::new();
        tell(self.observer, self.now, &mut fx);
        for effect in fx {
            match effect {
                ReferEffect::Active(trunk, delta) => {
                    self.counters.refer_active(trunk, ReferRole::Relay, delta);
                }
                ReferEffect::Emit(snapshot, trunk) => {
                    if snapshot.status != ReferStatus::InProgress {
                        self.counters.refer(trunk, snapshot.role, snapshot.status, snapshot.reason);
                        let took = snapshot.at.since(snapshot.created);
                        self.counters.refer_seconds(snapshot.role, snapshot.status, took);
                    }
                    self.out.push(Output::Event(Event::Refer(snapshot)));
                }
                ReferEffect::Timer { at, refer: handle } => {
                    self.transactions.set_tu_timer(self.now, at, handle.to_bits());
                }
            }
        }
    }

    /// One of the observer's timers fired.
    pub fn refer_expired(&mut self, handle: ReferHandle) {
        self.refers(|observer, now, fx| observer.expire(now, handle, fx));
    }
}

fn recorded(plan: &Plan, token: &DialogToken) -> bool {
    plan.record_proxied && token.call != CallSid(0)
}

fn call_ended(cx: &mut Cx<'_>, proxy: &mut Proxy, bye: &Bye, context: &Context) {
    let token = &bye.token;
    if let Some(answers) = proxy.up.get_mut(&bye.key).filter(|answers| answers.several) {
        answers.open.retain(|callee| *callee != bye.callee);
        if !answers.open.is_empty() {
            // The caller lets go of whom it has no use for, and talks to another (C-131).
            return cx.refers(|observer, now, fx| observer.call_ended(now, &bye.dialog, fx));
        }
    }
    if proxy.up.remove(&bye.key).is_some() {
        let trunk = proxy.trunk_named(cx.plan, token.trunk_in);
        cx.counters.call_phase(trunk, Direction::Inbound, Phase::Up, -1);
        cx.counters.call_duration(trunk, cx.now.since(token.started));
    }
    if !recorded(cx.plan, token) {
        return;
    }
    cx.refers(|observer, now, fx| observer.call_ended(now, &bye.dialog, fx));
    if let Some(account) = &bye.account {
        cx.out.push(Output::Event(Event::CallChanged(CallChanged {
            sid: token.call,
            account: account.clone(),
            started: token.started,
            // The call ended when the BYE came, not when somebody answered it.
            at: context.at,
            status: CallStatus::Completed,
            code: 0,
        })));
    }
}

fn changed(cx: &mut Cx<'_>, token: &DialogToken, account: Option<&Arc<str>>, status: CallStatus, code: u16) {
    if let Some(account) = account {
        cx.out.push(Output::Event(Event::CallChanged(CallChanged {
            sid: token.call,
            account: account.clone(),
            started: token.started,
            at: cx.now,
            status,
            code,
        })));
    }
}

/// How a call ended, or that it was answered, by the final code (Calls API: status).
fn outcome(status: u16, cancelled: bool) -> (CallResult, CallStatus) {
    match status {
        200..=299 => (CallResult::Answered, CallStatus::InProgress),
        _ if cancelled => (CallResult::Canceled, CallStatus::Canceled),
        486 | 600 | 603 => (CallResult::Busy, CallStatus::Busy),
        408 | 487 => (CallResult::NoAnswer, CallStatus::NoAnswer),
        500.. => (CallResult::Failed, CallStatus::Failed),
        _ => (CallResult::Rejected, CallStatus::Failed),
    }
}

fn call_started(
    message: &Message,
    path: &Path<'_>,
    token: &DialogToken,
    account: Arc<str>,
    cause: Option<Cause>,
) -> CallStarted {
    let from = message.header(HeaderId::From).and_then(|v| NameAddr::parse(v).ok());
    let diversion = message.values(HeaderId::Diversion).next().and_then(|v| NameAddr::parse(v).ok());
    CallStarted {
        sid: token.call,
        account,
        at: token.started,
        from: from.as_ref().map(|f| party(f.uri)).unwrap_or_default(),
        to: party(path.request_uri),
        caller_name: from.map(|f| text(unquote(f.display))).filter(|name| !name.is_empty()),
        forwarded_from: diversion.map(|d| party(d.uri)),
        direction: Direction::Inbound,
        call_id: text(message.header(HeaderId::CallId).unwrap_or(b"")),
        parent: None,
        cause: cause.filter(Cause::is_recorded),
    }
}

/// A party as the Calls API shows it: the user part, else the host.
fn party(uri: &[u8]) -> String {
    match Uri::parse(uri) {
        Ok(parsed) => text(&uri::decode(parsed.user.unwrap_or(parsed.host))),
        Err(_) => text(uri),
    }
}

/// Answers of one call that are told apart.
const MOST_ANSWERS: usize = 16;

/// Longest text taken from a message into a record, in bytes.
const MAX_TEXT: usize = 1_024;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)).into_owned()
}
