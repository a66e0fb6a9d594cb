//! What follows a leg: one task, which tells its connection what the shard's events say of it.
//!
//! The last event of a leg is `call.hangup`: while the result of a transfer is awaited, a call that
//! has ended is not yet told as ended, though it takes no command any more.

use super::hooks::{Connection, Hooks};
use super::leg::{Leg, NewLeg, Referring, Stage, State, Way, uuid};
use super::payload::{self, Ending, Payload};
use super::webhook::Webhook;
use super::{address, leg};
use crate::control::engine::Engine;
use crate::control::live::Watch;
use crate::control::orders::NotTaken;
use crate::control::reins::Reins;
use crate::control::webhook::{Lane, Owner, Retry};
use crate::sip::command::{Action, Order};
use crate::sip::event::{
    CallChanged, CallSid, CallStatus, EndedBy, Event, Offered, ReferReason, ReferSnapshot, ReferStatus,
};
use crate::sip::time::Time;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an inbound call waits for a command (telnyx 4).
const PARKED: Duration = Duration::from_secs(60);
/// When what must end and has not is ended again: the order to it may have been lost.
const AGAIN: Duration = Duration::from_secs(1);
/// How often whom a call talked to is told to end with it.
const MOST_TRIES: usize = 10;
/// How often it is looked after what no event told.
const LOOK: Duration = Duration::from_secs(30);
/// What a transfer may take at most; the shard decides long before.
const LONGEST_REFER: Duration = Duration::from_secs(900);
/// What it may take when the call has ended: the bye grace and more.
const AFTER_THE_END: Duration = Duration::from_secs(60);

/// An inbound call waits for commands of its application.
pub(in crate::control) fn offered(engine: &Arc<Engine>, offered: &Offered) {
    let orders = engine.live.orders();
    let watch = engine.live.watch(offered.sid);
    let connection = engine.telnyx.connection_at(offered.application);
    let known = engine.live.call(offered.sid);
    let (Some(connection), Some(known)) = (connection, known) else {
        tracing::error!(event = "application.url", "no usable URL");
        return orders.tell(Order::Leg(offered.sid, Action::Hangup { status: Some(500), reason: None }));
    };
    if known.record.account.is_empty() {
        // Nobody may command it.
        tracing::error!(event = "application.account", "a call without an account cannot be commanded");
        return orders.tell(Order::Leg(offered.sid, Action::Hangup { status: Some(500), reason: None }));
    }
    // Whoever waits for a command lets the caller hear so; the shard waits no longer for a decision.
    orders.tell(Order::Leg(offered.sid, Action::Ring { status: 180, sdp: None }));
    let leg = Leg::new(NewLeg {
        sid: offered.sid,
        account: known.record.account.clone(),
        connection,
        way: Way::Incoming,
        from: address::shown(&offered.from_uri),
        to: address::shown(&offered.to_uri),
        ring: None,
        limit: None,
        session: None,
        client_state: None,
        command_id: None,
        hooks: Hooks::default(),
        at: known.record.created,
    });
    engine.telnyx.insert(&leg);
    follow(engine, leg, watch, &known.headers, known.record.caller_name.as_deref());
}

/// Follows a leg from its first moment on; `watch` was there before it.
pub(super) fn follow(
    engine: &Arc<Engine>,
    leg: Arc<Leg>,
    watch: Watch,
    headers: &[(String, String)],
    caller_name: Option<&str>,
) {
    let driver = Driver {
        engine: Arc::clone(engine),
        lane: Lane::new(&engine.webhooks, Retry::NEVER),
        reins: Some(engine.helm.take(leg.sid)),
        gives_way: false,
        parked_until: (leg.way == Way::Incoming).then(|| Instant::now() + PARKED),
        unheard_until: leg.ring.map(|ring| Instant::now() + ring + LOOK),
        leg,
        watch,
        limit_at: None,
        last: None,
        ended: None,
        partner: None,
        over: None,
    };
    let payload = payload::initiated(&driver.leg, &driver.leg.state(), headers, caller_name);
    let at = driver.leg.state().started;
    driver.tell("call.initiated", payload, at);
    tokio::spawn(driver.run());
}

/// Why Baton ended a call by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Nobody commanded an inbound call.
    Parked,
    /// It lasted as long as it may.
    Limit,
}

struct Driver {
    engine: Arc<Engine>,
    leg: Arc<Leg>,
    watch: Watch,
    /// `None` when another face steers: it is still told what becomes of the call.
    reins: Option<Reins>,
    /// Another is to: as soon as the command under way is done.
    gives_way: bool,
    /// By which its events go, one after the other.
    lane: Lane,
    parked_until: Option<Instant>,
    limit_at: Option<Instant>,
    /// When a call of which nothing was ever told counts as never placed.
    unheard_until: Option<Instant>,
    /// The last that was heard of its status.
    last: Option<CallChanged>,
    ended: Option<EndedBy>,
    /// Whom it talks to.
    partner: Option<CallSid>,
    over: Option<Over>,
}

impl Driver {
    async fn run(mut self) {
        loop {
            if let Some(by) = self.ended
                && self.leg.state().refer.is_none()
            {
                return self.hung_up(by).await;
            }
            let leg = Arc::clone(&self.leg);
            let wake = [self.parked_until, self.limit_at, Some(Instant::now() + LOOK)];
            let taken = async {
                match &mut self.reins {
                    Some(reins) => reins.lost().await,
                    None => std::future::pending().await,
                }
            };
            let wake = wake.into_iter().flatten().min().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                event = self.watch.next() => match event {
                    Some(event) => self.note(event),
                    None => self.end(EndedBy::Baton),
                },
                () = leg.changed.notified() => {}
                () = taken => self.taken(),
                _done = leg.turn.lock(), if self.gives_way => self.gave_way(),
                () = tokio::time::sleep_until(wake) => self.woken(),
            }
        }
    }

    /// Another face is to steer: no command is taken any more.
    fn taken(&mut self) {
        self.leg.state().taken = true;
        (self.parked_until, self.limit_at) = (None, None);
        self.gives_way = true;
    }

    /// What a command has begun does not go on; from here on the other one steers.
    fn gave_way(&mut self) {
        let refer = self.leg.state().refer.take();
        if let Some(refer) = refer {
            self.engine.live.orders().tell(Order::CancelRefer(refer.sid, self.leg.sid));
            self.tell_refer("call.refer.failed", 487, self.engine.live.now());
        }
        self.gives_way = false;
        self.reins = None;
    }

    fn steers(&self) -> bool {
        self.reins.is_some() && !self.gives_way
    }

    fn note(&mut self, event: Event) {
        let own = self.leg.sid;
        self.unheard_until = None;
        match event {
            Event::CallChanged(change) if change.sid == own => {
                if change.status == CallStatus::InProgress {
                    self.answered(change.at);
                }
                self.last = Some(change);
            }
            Event::Ended(sid, by) if sid == own => self.end(by),
            Event::Joined(one, other) if one == own || other == own => {
                self.bridged(if one == own { other } else { one });
            }
            Event::Parted(one, other) if one == own || other == own => self.partner = None,
            Event::DialEnded(ended) if ended.sid == own => self.transferred(),
            Event::Refer(refer) => self.referred(&refer),
            // Of other legs, or nothing that this interface tells.
            _ => {}
        }
    }

    fn answered(&mut self, at: Time) {
        let payload = {
            let mut state = self.leg.state();
            if state.stage == Stage::Ended || state.answered.is_some() {
                return;
            }
            state.stage = Stage::Answered;
            state.answered = Some(at);
            payload::up(&self.leg, &state, Some("answered"))
        };
        self.limit_at = self.leg.limit.filter(|_| self.steers()).map(|limit| Instant::now() + limit);
        self.tell("call.answered", payload, at);
    }

    fn bridged(&mut self, with: CallSid) {
        if self.partner.replace(with) == Some(with) {
            return;
        }
        let payload = payload::up(&self.leg, &self.leg.state(), Some("bridged"));
        self.tell("call.bridged", payload, self.engine.live.now());
    }

    /// A transfer is over. An inbound call that was not answered by it waits for a command again.
    fn transferred(&mut self) {
        self.leg.state().transfers -= 1;
        self.parked_until = self.parked_until.map(|_| Instant::now() + PARKED);
    }

    /// It has ended: no command is taken any more.
    fn end(&mut self, by: EndedBy) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(by);
        (self.parked_until, self.limit_at) = (None, None);
        let at = self.last.as_ref().map_or_else(|| self.engine.live.now(), |last| last.at);
        let mut state = self.leg.state();
        state.stage = Stage::Ended;
        state.ended = Some(at);
        drop(state);
        self.engine.telnyx.retire(self.leg.sid);
    }

    /// What becomes of a transfer (telnyx 2.9): at most one `started`, then one result.
    fn referred(&mut self, refer: &ReferSnapshot) {
        let accepted = refer.refer_code.is_some_and(|code| (200..300).contains(&code));
        let known = accepted || refer.notify_code.is_some();
        let over = refer.status != ReferStatus::InProgress;
        let start = {
            let mut state = self.leg.state();
            let Some(pending) = state.refer.as_mut().filter(|pending| pending.sid == refer.sid) else {
                return;
            };
            let start = known && !pending.started;
            pending.started |= start;
            if over {
                state.refer = None;
            }
            start
        };
        if start {
            let code = if accepted { 100 } else { refer.notify_code.unwrap_or(100) };
            self.tell_refer("call.refer.started", code, refer.at);
        }
        match (over, refer.status) {
            (false, _) => {}
            (true, ReferStatus::Completed) => {
                let code = refer.notify_code.filter(|code| (200..300).contains(code)).unwrap_or(200);
                self.tell_refer("call.refer.completed", code, refer.at);
            }
            (true, _) => self.tell_refer("call.refer.failed", failure(refer), refer.at),
        }
    }

    fn tell_refer(&self, event: &'static str, code: u16, at: Time) {
        let payload = payload::refer(&self.leg, &self.leg.state(), code);
        self.tell(event, payload, at);
    }

    fn woken(&mut self) {
        let now = Instant::now();
        if self.parked_until.is_some_and(|until| until <= now) {
            let waits = self.leg.state().waits();
            // While a command is under way nobody knows, and an order may be lost: it is looked again.
            self.parked_until = (waits != Some(false)).then_some(now + AGAIN);
            if waits == Some(true) {
                self.over = Some(Over::Parked);
                self.order(Action::Hangup { status: Some(480), reason: None });
            }
        }
        if self.limit_at.is_some_and(|at| at <= now) {
            self.limit_at = Some(now + AGAIN);
            self.over = Some(Over::Limit);
            self.order(Action::Hangup { status: None, reason: None });
        }
        if self.unheard_until.take_if(|until| *until <= now).is_some() {
            self.order(Action::Hangup { status: None, reason: None });
            self.engine.live.forget(self.leg.sid);
        }
        if self.ended.is_none() && self.engine.live.call(self.leg.sid).is_none() {
            // Its end was lost on the way here.
            self.end(EndedBy::Baton);
        }
        self.give_up_refer(now);
    }

    /// No event came that would have told the result.
    fn give_up_refer(&mut self, now: Instant) {
        let patience = if self.ended.is_some() { AFTER_THE_END } else { LONGEST_REFER };
        let late = |refer: &mut Referring| now.duration_since(refer.since) > patience;
        let late = self.leg.state().refer.take_if(late).is_some();
        if late {
            let code = if self.ended.is_some() { 487 } else { 408 };
            self.tell_refer("call.refer.failed", code, self.engine.live.now());
        }
    }

    fn order(&self, action: Action) {
        self.engine.live.orders().tell(Order::Leg(self.leg.sid, action));
    }

    async fn hung_up(self, by: EndedBy) {
        let payload = {
            let state = self.leg.state();
            payload::hangup(&self.leg, &state, self.ending(by, &state))
        };
        let at = self.leg.state().ended.unwrap_or_else(|| self.engine.live.now());
        self.tell("call.hangup", payload, at);
        if let Some(partner) = self.partner.filter(|_| self.steers()) {
            // Two that talk end together.
            for _ in 0..MOST_TRIES {
                let hangup = Order::Leg(partner, Action::Hangup { status: None, reason: None });
                match self.engine.live.orders().ask(hangup).await {
                    Err(NotTaken::Behind | NotTaken::Silent) => tokio::time::sleep(AGAIN).await,
                    Ok(()) | Err(NotTaken::Refused(_)) => return,
                }
            }
        }
    }

    /// The table of causes (telnyx 4).
    fn ending(&self, by: EndedBy, state: &State) -> Ending {
        let last = self.last.as_ref().filter(|last| last.status.is_final());
        let code = last.map_or(0, |last| last.code);
        let incoming = self.leg.way == Way::Incoming;
        let source = match by {
            EndedBy::Peer if incoming => "caller",
            EndedBy::Peer => "callee",
            EndedBy::Control if incoming => "callee",
            EndedBy::Control => "caller",
            EndedBy::OtherLeg | EndedBy::Baton => "unknown",
        };
        let rang = self.leg.ring.is_some_and(|ring| {
            state.ended.is_some_and(|ended| ended.since(state.started) + Duration::from_millis(100) >= ring)
        });
        let canceled = last.is_some_and(|last| last.status == CallStatus::Canceled);
        let cause = match code {
            _ if state.answered.is_some() && self.over == Some(Over::Limit) => "time_limit",
            _ if state.answered.is_some() => "normal_clearing",
            _ if state.hung_up => "originator_cancel",
            _ if self.over == Some(Over::Parked) => "timeout",
            486 | 600 => "user_busy",
            403 | 603 => "call_rejected",
            404 => "not_found",
            408 | 480 | 487 if rang && !canceled => "timeout",
            408 | 480 => "no_answer",
            _ if canceled => "originator_cancel",
            _ => "unspecified",
        };
        Ending { cause, source, code }
    }

    fn tell(&self, event: &'static str, payload: Payload, at: Time) {
        let connection: &Connection = &self.leg.connection;
        self.lane.notify(Box::new(Webhook {
            owner: Owner::of(&self.leg.account),
            signer: Arc::clone(&self.engine.telnyx.signer),
            event,
            id: uuid(),
            at,
            payload,
            targets: self.leg.state().hooks.targets(event, connection),
            timeout: connection.timeout,
        }));
        tracing::debug!(event = "telnyx.event", call = leg::control_id(self.leg.sid), kind = event, "told");
    }
}

/// The code that says why a transfer failed (telnyx 2.9).
fn failure(refer: &ReferSnapshot) -> u16 {
    match refer.reason {
        Some(ReferReason::TargetBusy | ReferReason::TargetNoAnswer | ReferReason::TargetRejected) => {
            refer.notify_code.unwrap_or(408)
        }
        Some(ReferReason::ReferRejected | ReferReason::Policy) => refer.refer_code.unwrap_or(403),
        Some(ReferReason::ReferTimeout) => refer.refer_code.filter(|code| *code >= 300).unwrap_or(408),
        Some(ReferReason::NotifyTimeout | ReferReason::OutcomeUnknown | ReferReason::Unmonitored) => 408,
        Some(ReferReason::CallEnded | ReferReason::ApiCancel) => 487,
        Some(ReferReason::BridgeFailed) => 500,
        None => refer.notify_code.unwrap_or(408),
    }
}
