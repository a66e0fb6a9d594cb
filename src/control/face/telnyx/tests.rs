//! Legs under paused time: shards and programs answer at once, waits cost nothing.

mod commands;
mod guards;

use super::driver::follow;
use super::hooks::Hooks;
use super::leg::{Leg, NewLeg, Way, control_id};
use crate::control::engine::{Engine, run};
use crate::control::webhook::{Answer, Boxed, Content, Exchange, Failure, Request};
use crate::control::{Application, ApplicationKind, Shards};
use crate::io::{Behind, Clock};
use crate::sip::command::{Action, Command, Order};
use crate::sip::event::{CallChanged, CallSid, CallStarted, CallStatus, Direction, EndedBy, Event};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

const CALL: CallSid = CallSid(1 << 16);
/// How often a test looks for what has to come, each time after 10 ms.
const LOOKS: usize = 20_000;

/// What was told: when, where, and the event.
type Told = Arc<Mutex<Vec<(u64, String, Value)>>>;

/// Takes events, except at `/bad`.
#[derive(Debug)]
struct Web {
    told: Told,
    began: Instant,
}

impl Exchange for Web {
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>> {
        let Content::Json(body) = &request.content else { panic!("events are JSON") };
        let event = serde_json::from_slice(body).expect("JSON");
        let path = request.url.path().to_owned();
        let status = if path == "/bad" { 500 } else { 200 };
        self.told.lock().expect("nobody failed").push((self.began.elapsed().as_secs(), path, event));
        let answer = Answer { status, content_type: None, body: Default::default(), url: request.url };
        Box::pin(async move { Ok(answer) })
    }
}

/// Keeps orders with the second they came in, while there is room.
#[derive(Debug)]
struct Kept {
    orders: mpsc::UnboundedSender<(u64, Command)>,
    began: Instant,
    full: Arc<AtomicBool>,
}

impl Shards for Kept {
    fn command(&self, shard: u16, command: Box<Command>) -> Result<(), Behind> {
        if self.full.load(Relaxed) {
            return Err(Behind(shard));
        }
        self.orders.send((self.began.elapsed().as_secs(), *command)).expect("the test listens");
        Ok(())
    }

    fn count(&self) -> u16 {
        1
    }
}

struct World {
    engine: Arc<Engine>,
    events: mpsc::Sender<Event>,
    orders: Mutex<mpsc::UnboundedReceiver<(u64, Command)>>,
    told: Told,
    /// No shard takes an order.
    full: Arc<AtomicBool>,
    began: Instant,
}

impl World {
    /// An application that is told at this path, and at `/failover`.
    fn new(path: &str) -> World {
        let began = Instant::now();
        let (events, taken) = mpsc::channel(64);
        let (sender, orders) = mpsc::unbounded_channel();
        let told = Told::default();
        let web = Web { told: Arc::clone(&told), began };
        let application = Application {
            failover_url: Some("http://a.example/failover".into()),
            ..Application::new("flow", ApplicationKind::Telnyx, format!("http://a.example{path}"))
        };
        let (store, _) = crossbeam::channel::bounded(64);
        let full = Arc::new(AtomicBool::new(false));
        let kept = Kept { orders: sender, began, full: Arc::clone(&full) };
        let engine = Engine::over(Arc::new(kept), Box::new(web), store, vec![application]);
        tokio::spawn(run(Arc::clone(&engine), taken));
        World { engine, events, orders: Mutex::new(orders), told, full, began }
    }

    /// With a leg.
    async fn with(path: &str, way: Way, limit: Option<u64>) -> World {
        let world = World::new(path);
        world.leg(CALL, way, limit).await;
        world
    }

    /// A leg that begins.
    async fn leg(&self, sid: CallSid, way: Way, limit: Option<u64>) {
        let leg = Leg::new(NewLeg {
            sid,
            account: "AC1".into(),
            connection: self.engine.telnyx.connection_at(0).expect("a connection"),
            way,
            from: "1".into(),
            to: "2".into(),
            ring: None,
            limit: limit.map(Duration::from_secs),
            session: None,
            client_state: None,
            command_id: None,
            hooks: Hooks::default(),
            at: Clock::new().now(),
        });
        let watch = self.engine.live.watch(sid);
        self.engine.telnyx.insert(&leg);
        self.tell(started(sid)).await;
        while self.engine.live.call(sid).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        follow(&self.engine, leg, watch, &[], None);
    }

    async fn tell(&self, event: Event) {
        self.events.send(event).await.expect("somebody listens");
    }

    async fn change(&self, status: CallStatus, code: u16) {
        self.change_of(CALL, status, code).await;
    }

    async fn change_of(&self, sid: CallSid, status: CallStatus, code: u16) {
        let now = Clock::new().now();
        let change = CallChanged { sid, account: "AC1".into(), started: now, at: now, status, code };
        self.tell(Event::CallChanged(change)).await;
        if status.is_final() {
            self.tell(Event::Ended(sid, EndedBy::Control)).await;
        }
    }

    /// The next order, and the second it came in.
    async fn order(&self) -> (u64, Command) {
        for _ in 0..LOOKS {
            if let Some(order) = self.given() {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no order comes");
    }

    /// An order that nobody has looked at.
    fn given(&self) -> Option<(u64, Command)> {
        self.orders.lock().expect("nobody failed").try_recv().ok()
    }

    /// When the leg was ended by order, and how.
    async fn hung_up(&self) -> (u64, Option<u16>) {
        match self.order().await {
            (at, Command { order: Order::Leg(CALL, Action::Hangup { status, .. }), .. }) => (at, status),
            (_, other) => panic!("unexpected: {other:?}"),
        }
    }

    /// What was told, once there is so much of it: second, path, type.
    async fn told(&self, count: usize) -> Vec<(u64, String, String)> {
        for _ in 0..LOOKS {
            let told = self.told.lock().expect("nobody failed").clone();
            if told.len() >= count {
                let kind = |event: &Value| event["data"]["event_type"].as_str().unwrap_or("").to_owned();
                return told.iter().map(|(at, path, event)| (*at, path.clone(), kind(event))).collect();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no more is told");
    }

    fn last(&self) -> Value {
        let told = self.told.lock().expect("nobody failed");
        told.last().map(|(_, _, event)| event["data"]["payload"].clone()).unwrap_or_default()
    }
}

fn started(sid: CallSid) -> Event {
    Event::CallStarted(Arc::new(CallStarted {
        sid,
        account: "AC1".into(),
        at: Clock::new().now(),
        from: "1".into(),
        to: "2".into(),
        caller_name: None,
        forwarded_from: None,
        direction: Direction::OutboundApi,
        call_id: "x".into(),
        parent: None,
        cause: None,
    }))
}

/// [telnyx 4] An inbound call that nobody commands is refused after a minute.
#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_minute() {
    let world = World::with("/ev", Way::Incoming, None).await;
    assert_eq!(world.hung_up().await, (60, Some(480)));
    world.change(CallStatus::Failed, 480).await;
    assert_eq!(world.told(2).await.last().map(|(_, _, kind)| kind.as_str()), Some("call.hangup"));
    let payload = world.last();
    assert_eq!((&payload["hangup_cause"], &payload["sip_hangup_cause"]), (&"timeout".into(), &"480".into()));
    assert!(world.engine.telnyx.leg(&control_id(CALL), "AC1").is_some());
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert!(world.engine.telnyx.leg(&control_id(CALL), "AC1").is_none());
}

/// [telnyx 4] A call lasts as long as dial said, from its answer on.
#[tokio::test(start_paused = true)]
async fn a_call_has_its_limit() {
    let world = World::with("/ev", Way::Outgoing, Some(90)).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.change(CallStatus::InProgress, 200).await;
    assert_eq!(world.hung_up().await, (100, None));
    world.change(CallStatus::Completed, 0).await;
    world.told(3).await;
    assert_eq!(world.last()["hangup_cause"], "time_limit");
}

/// [telnyx 28] [telnyx 30] [telnyx 3.4] Attempts after 0, 1 and 3 seconds at each URL; the next event waits.
#[tokio::test(start_paused = true)]
async fn attempts_have_their_times() {
    let world = World::with("/bad", Way::Outgoing, None).await;
    world.change(CallStatus::InProgress, 200).await;
    let told = world.told(8).await;
    let expected = [
        (0, "/bad", "call.initiated"),
        (1, "/bad", "call.initiated"),
        (4, "/bad", "call.initiated"),
        (4, "/failover", "call.initiated"),
        (4, "/bad", "call.answered"),
        (5, "/bad", "call.answered"),
        (8, "/bad", "call.answered"),
        (8, "/failover", "call.answered"),
    ];
    assert_eq!(told, expected.map(|(at, path, kind)| (at, path.to_owned(), kind.to_owned())));
}
