//! A stage for drivers under paused time: hooks and shards answer at once, waits cost nothing.

use crate::control::engine::{Engine, run};
use crate::control::webhook::{Answer, Boxed, Exchange, Failure, Request};
use crate::control::{Application, Shards};
use crate::io::{Behind, Clock};
use crate::record::CallRecord;
use crate::sip::command::{Action, Command, Order, Party, Place, ReferOrder, Refused};
use crate::sip::event::{
    CallChanged, CallSid, CallStarted, CallStatus, Direction, EndedBy, Event, Offered, ReferRole,
    ReferSnapshot, ReferStatus,
};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The call there is.
pub(super) const CALL: CallSid = CallSid(1 << 16);

/// Answers by path, or a failure after a long while; what begins with `/late` after five seconds.
#[derive(Debug)]
struct Web {
    content_type: &'static str,
    bodies: HashMap<String, String>,
    asked: Arc<Mutex<VecDeque<Request>>>,
}

impl Exchange for Web {
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>> {
        let body = self.bodies.get(request.url.path()).cloned();
        let url = request.url.clone();
        self.asked.lock().expect("nobody failed").push_back(request);
        Box::pin(async move {
            if url.path().starts_with("/late") {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            let Some(body) = body else {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                return Err(Failure::Unreachable);
            };
            let content_type = Some(self.content_type.to_owned());
            Ok(Answer { status: 200, content_type, body: body.into(), url })
        })
    }
}

/// Keeps orders with the moment they came, and takes all of them.
#[derive(Debug)]
struct Kept {
    orders: mpsc::UnboundedSender<(Duration, Order)>,
    events: mpsc::Sender<Event>,
    began: Instant,
    answers: Arc<Mutex<Answers>>,
}

/// What orders are answered, and how long that takes.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    refused: Option<Refused>,
    after: Duration,
}

impl Shards for Kept {
    fn command(&self, _: u16, command: Box<Command>) -> Result<(), Behind> {
        self.orders.send((self.began.elapsed(), command.order)).expect("the test listens");
        let Answers { refused, after } = *self.answers.lock().expect("nobody failed");
        let reply = Event::Reply { ticket: command.ticket, result: refused.map_or(Ok(()), Err) };
        if after.is_zero() {
            self.events.try_send(reply).expect("there is room");
        } else {
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                events.send(reply).await.expect("somebody listens");
            });
        }
        Ok(())
    }

    fn count(&self) -> u16 {
        1
    }
}

/// An engine with one application.
pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    events: mpsc::Sender<Event>,
    pub(super) orders: mpsc::UnboundedReceiver<(Duration, Order)>,
    asked: Arc<Mutex<VecDeque<Request>>>,
    pub(super) recorded: crossbeam::channel::Receiver<Event>,
    answers: Arc<Mutex<Answers>>,
}

impl World {
    /// These paths are answered so; others never are.
    pub(super) fn new(
        application: Application,
        content_type: &'static str,
        bodies: HashMap<String, String>,
    ) -> World {
        let (events, taken) = mpsc::channel(64);
        let (sender, orders) = mpsc::unbounded_channel();
        let answers = Arc::default();
        let shards = Kept {
            orders: sender,
            events: events.clone(),
            began: Instant::now(),
            answers: Arc::clone(&answers),
        };
        let asked = Arc::default();
        let web = Web { content_type, bodies, asked: Arc::clone(&asked) };
        let (store, recorded) = crossbeam::channel::bounded(64);
        let engine = Engine::over(Arc::new(shards), Box::new(web), store, vec![application]);
        tokio::spawn(run(Arc::clone(&engine), taken));
        World { engine, events, orders, asked, recorded, answers }
    }

    /// From now on every order is refused so.
    pub(super) fn refuse(&self, refused: Refused) {
        self.answers.lock().expect("nobody failed").refused = Some(refused);
    }

    /// From now on every order is answered so much later.
    pub(super) fn delay(&self, after: Duration) {
        self.answers.lock().expect("nobody failed").after = after;
    }

    /// What is recorded of calls since this was asked last: which, and how they ended.
    pub(super) fn ended(&self) -> Vec<(CallSid, CallStatus)> {
        let ended = |event| match event {
            Event::CallChanged(change) if change.status.is_final() => Some((change.sid, change.status)),
            _ => None,
        };
        self.recorded.try_iter().filter_map(ended).collect()
    }

    /// A call to be placed, and its record.
    pub(super) fn placed(&self) -> (CallRecord, Place) {
        let live = &self.engine.live;
        let record = CallRecord::begun(CALL, live.node(), "AC1", Direction::OutboundApi, live.now());
        let place = Place {
            sid: CALL,
            account: "AC1".into(),
            from: "1".into(),
            caller_name: None,
            to: Party::Number("2".into()),
            headers: Vec::new(),
            credentials: None,
            timeout: Duration::from_secs(60),
            sdp: None,
            by: None,
        };
        (record, place)
    }

    pub(super) async fn tell(&self, event: Event) {
        self.events.send(event).await.expect("somebody listens");
    }

    /// The call comes in for the application.
    pub(super) async fn offer(&self) {
        self.begin(CALL, Direction::Inbound, None).await;
        self.tell(Event::Offered(Box::new(Offered {
            sid: CALL,
            account: "AC1".into(),
            application: 0,
            trunk: None,
            from_uri: "sip:bob@a".into(),
            to_uri: "sip:100@b".into(),
            sdp: None,
            invite: Bytes::new(),
            source: ([127, 0, 0, 1], 5060).into(),
        })))
        .await;
    }

    async fn begin(&self, sid: CallSid, direction: Direction, parent: Option<CallSid>) {
        self.tell(Event::CallStarted(Arc::new(CallStarted {
            sid,
            account: "AC1".into(),
            at: Clock::new().now(),
            from: "bob".into(),
            to: "100".into(),
            caller_name: None,
            forwarded_from: None,
            direction,
            call_id: "x".into(),
            parent,
            cause: None,
        })))
        .await;
    }

    /// A leg that was dialled for the call begins.
    pub(super) async fn dialled(&self, sid: CallSid) {
        self.begin(sid, Direction::OutboundDial, Some(CALL)).await;
    }

    pub(super) async fn change(&self, status: CallStatus) {
        self.end_by(status, EndedBy::Peer).await;
    }

    /// The status changes; when that is the end, this is who ended the call.
    pub(super) async fn end_by(&self, status: CallStatus, by: EndedBy) {
        let now = Clock::new().now();
        let change = CallChanged { sid: CALL, account: "AC1".into(), started: now, at: now, status, code: 0 };
        self.tell(Event::CallChanged(change)).await;
        if status.is_final() {
            self.tell(Event::Ended(CALL, by)).await;
        }
    }

    /// What is known of a transfer.
    pub(super) async fn referred(&self, order: &ReferOrder, notify_code: Option<u16>, status: ReferStatus) {
        let now = Clock::new().now();
        self.tell(Event::Refer(Box::new(ReferSnapshot {
            sid: order.sid,
            call: CALL,
            account: "AC1".into(),
            role: ReferRole::Transferor,
            created: now,
            at: now,
            seq: 0,
            from: "sip:a@b".into(),
            to: order.to.clone(),
            refer_code: Some(202),
            notify_code,
            status,
            reason: None,
            rule: None,
            moved: None,
            target: None,
        })))
        .await;
    }

    /// The next order for the call, and when it came.
    pub(super) async fn action(&mut self) -> (u64, Action) {
        match self.orders.recv().await.expect("an order comes") {
            (at, Order::Leg(CALL, action)) => (at.as_secs(), action),
            (_, other) => panic!("unexpected: {other:?}"),
        }
    }

    /// What was asked for, by its path.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("nobody failed");
        asked.iter().map(|request| request.url.path().to_owned()).collect()
    }

    /// What was sent there the last time.
    pub(super) fn sent(&self, path: &str) -> Option<Request> {
        let asked = self.asked.lock().expect("nobody failed");
        asked.iter().rev().find(|request| request.url.path() == path).cloned()
    }
}
