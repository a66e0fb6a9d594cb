//! What steers calls: the live table, outgoing HTTP, the applications, and the one task that takes
//! the shards' events.
//!
//! A face (REST, documents) gets all of it by reference and keeps no other state of calls than its
//! own drivers'.

use super::face::{jambonz, rcml, telnyx};
use super::live::Live;
use super::orders::Orders;
use super::reins::Helm;
use super::webhook::{Client, ClientOptions, Webhooks};
use super::{Application, ApplicationKind, Steering};
use crate::record::{CallRecord, call_sid_text};
use crate::sip::command::{Action, Order};
use crate::sip::event::{
    CallChanged, CallSid, CallStarted, CallStatus, EndedBy, Event, Offered, ReferSnapshot,
};
use crossbeam::channel::Sender;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// For how long events gather under load. Each would else wake this task by itself, which takes more
/// CPU than the shards need for the event's call; nobody who waits for an HTTP answer notices.
const GATHER: Duration = Duration::from_millis(4);
/// The same while nobody follows a call: only the live table and answers to orders wait for them.
const GATHER_UNFOLLOWED: Duration = Duration::from_millis(10);
/// More events than this within [`WINDOW`] are load: some 150 calls a second.
const LOAD: usize = 100;
/// How often the load is looked at.
const WINDOW: Duration = Duration::from_millis(50);
/// Events taken at one time at most.
const BATCH: usize = 256;

/// What the faces work with.
#[derive(Debug)]
pub(super) struct Engine {
    /// Owned calls that are alive, and the way to the shards.
    pub(super) live: Arc<Live>,
    /// Who steers which call.
    pub(super) helm: Arc<Helm>,
    /// Outgoing HTTP.
    pub(super) webhooks: Arc<Webhooks>,
    /// The drivers of documents.
    pub(super) rcml: rcml::Drivers,
    /// The legs that commands steer.
    pub(super) telnyx: telnyx::Legs,
    /// The drivers of arrays of verbs.
    pub(super) jambonz: jambonz::Drivers,
    /// The host by which Baton names itself where a call does not say.
    pub(super) host: Box<str>,
    /// Whether a verb that needs media fails its document; else it is skipped (rcml 8).
    pub(super) media_fails: bool,
    applications: Vec<Application>,
    store: Sender<Event>,
}

impl Engine {
    /// To be called on the runtime. The events are to be given to [`run`].
    pub(super) fn new(steering: Steering) -> (Arc<Engine>, Receiver<Event>) {
        let Steering {
            node,
            shards,
            events,
            store,
            applications,
            webhook,
            host,
            media_fails,
            webhook_key,
            jambonz,
        } = steering;
        let options = ClientOptions { allow_private: webhook.allow_private, dns: webhook.dns };
        let client = Client::new(&options);
        let engine = Engine {
            live: Live::new(node, Orders::new(shards)),
            helm: Arc::default(),
            webhooks: Webhooks::new(Box::new(client), webhook.limits),
            rcml: rcml::Drivers::default(),
            telnyx: telnyx::Legs::new(&webhook_key, &applications),
            jambonz: jambonz::Drivers::new(jambonz),
            host,
            media_fails,
            applications,
            store,
        };
        (Arc::new(engine), events)
    }

    /// The applications, in the order of the configuration.
    pub(super) fn applications(&self) -> &[Application] {
        &self.applications
    }

    /// A call's public identifier.
    pub(super) fn sid_text(&self, sid: CallSid) -> String {
        call_sid_text(self.live.node(), sid)
    }

    /// Records a Refer that no shard knows of: it failed before it could be sent (restcomm-refers 2.2).
    pub(super) fn record_refer(&self, refer: ReferSnapshot) {
        if self.store.try_send(Event::Refer(Box::new(refer))).is_err() {
            tracing::warn!(event = "records.lost", "a Refer that was refused here is not recorded");
        }
    }

    /// A call of which a program was told, or that could be read, is not called after all: it ends here, and leaves
    /// a record. A call without an account has none.
    pub(super) fn not_called(&self, record: &CallRecord, status: CallStatus) {
        let account: Arc<str> = record.account.as_str().into();
        let started = Event::CallStarted(Arc::new(CallStarted {
            sid: record.sid,
            account: Arc::clone(&account),
            at: record.created,
            from: record.from.clone(),
            to: record.to.clone(),
            caller_name: record.caller_name.clone(),
            forwarded_from: record.forwarded_from.clone(),
            direction: record.direction,
            call_id: String::new(),
            parent: record.parent,
            cause: None,
        }));
        let (started_at, at) = (record.created, self.live.now());
        let changed = CallChanged { sid: record.sid, account, started: started_at, at, status, code: 0 };
        for event in [started, Event::CallChanged(changed)].into_iter().filter(|_| !record.account.is_empty())
        {
            self.live.take(&event);
            if self.store.try_send(event).is_err() {
                tracing::warn!(event = "records.lost", "a call that was not called is not recorded");
            }
        }
        self.live.take(&Event::Ended(record.sid, EndedBy::Control));
    }

    /// A leg gets something else to be steered by, with which those it talks to have nothing to do: they are
    /// parted, legs that were dialled for it end, and so does another that nobody steers. `kept` is seen to
    /// by who asks. `true` when a Dial is over with that, whose end is still to be told.
    pub(super) fn part(&self, sid: CallSid, kept: Option<CallSid>) -> bool {
        let orders = self.live.orders();
        if self.live.call(sid).is_some_and(|call| call.joined.is_some()) {
            orders.tell(Order::Leg(sid, Action::Part));
        }
        let mut parted = false;
        for other in self.live.related(sid) {
            let its = other.record.sid;
            let dialled = other.parent() == Some(sid);
            parted |= dialled;
            // A leg that dialled this one goes on as it is steered.
            if Some(its) != kept && (dialled || !self.helm.is_steered(its)) {
                orders.tell(Order::Leg(its, Action::Hangup { status: None, reason: None }));
            }
        }
        parted
    }

    /// An inbound call waits for its application.
    fn offered(self: &Arc<Engine>, offered: &Offered) {
        let application = self.applications.get(usize::from(offered.application));
        match application.map(|application| (application.kind, application)) {
            Some((ApplicationKind::Rcml, application)) => rcml::answer(self, offered, application),
            Some((ApplicationKind::Telnyx, _)) => telnyx::offered(self, offered),
            Some((ApplicationKind::Jambonz, application)) => jambonz::offered(self, offered, application),
            None => {
                // The configuration has changed meanwhile.
                tracing::warn!(event = "application.unknown", "an inbound call has no application");
                let hangup = Action::Hangup { status: Some(500), reason: None };
                self.live.orders().tell(Order::Leg(offered.sid, hangup));
            }
        }
    }
}

/// Takes the shards' events until the shards are gone.
pub(super) async fn run(engine: Arc<Engine>, mut events: Receiver<Event>) {
    let mut taken = Vec::with_capacity(BATCH);
    let (mut count, mut since, mut loaded) = (0, Instant::now(), false);
    while events.recv_many(&mut taken, BATCH).await > 0 {
        count += taken.len();
        for event in taken.drain(..) {
            engine.live.take(&event);
            // Whoever is started here follows the call from the next event on.
            if let Event::Offered(offered) = &event {
                engine.offered(offered);
            }
        }
        let now = Instant::now();
        if now.duration_since(since) >= WINDOW {
            (loaded, count, since) = (count > LOAD, 0, now);
        }
        if loaded && events.is_empty() {
            let followed = engine.live.is_followed();
            tokio::time::sleep(if followed { GATHER } else { GATHER_UNFOLLOWED }).await;
        }
    }
}

#[cfg(test)]
impl Engine {
    /// An engine over other HTTP than the real one.
    pub(super) fn over(
        shards: Arc<dyn super::Shards>,
        exchange: Box<dyn super::webhook::Exchange>,
        store: Sender<Event>,
        applications: Vec<Application>,
    ) -> Arc<Engine> {
        Arc::new(Engine {
            live: Live::new(7, Orders::new(shards)),
            helm: Arc::default(),
            webhooks: Webhooks::new(exchange, super::WebhookLimits::default()),
            rcml: rcml::Drivers::default(),
            telnyx: telnyx::Legs::new(&[7; 32], &applications),
            jambonz: jambonz::Drivers::default(),
            host: "baton.example.net".into(),
            media_fails: false,
            applications,
            store,
        })
    }
}
