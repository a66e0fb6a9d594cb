//! Drivers under paused time: documents and shards answer at once, waits cost nothing.

use super::*;
use crate::control::engine::{Engine, run};
use crate::control::webhook::{Answer, Boxed, Exchange, Failure, Request};
use crate::control::{ApplicationKind, Shards};
use crate::io::{Behind, Clock};
use crate::sip::command::Command;
use crate::sip::event::{CallChanged, CallStarted, CallStatus, Direction, EndedBy, Event, Offered};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

const CALL: CallSid = CallSid(1 << 16);

/// Answers by path: the verbs of a document, or a failure after a while.
#[derive(Debug, Default)]
struct Web(Mutex<HashMap<String, &'static str>>, Arc<Mutex<VecDeque<Request>>>);

impl Exchange for Web {
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>> {
        let verbs = self.0.lock().expect("nobody failed").get(request.url.path()).copied();
        let url = request.url.clone();
        self.1.lock().expect("nobody failed").push_back(request);
        Box::pin(async move {
            let Some(verbs) = verbs else {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                return Err(Failure::Unreachable);
            };
            let body = format!("<Response>{verbs}</Response>").into();
            Ok(Answer { status: 200, content_type: Some("text/xml".into()), body, url })
        })
    }
}

/// Keeps orders with the moment they came, and takes all of them.
#[derive(Debug)]
struct Kept {
    orders: mpsc::UnboundedSender<(Duration, Order)>,
    events: mpsc::Sender<Event>,
    began: Instant,
}

impl Shards for Kept {
    fn command(&self, _: u16, command: Box<Command>) -> Result<(), Behind> {
        self.orders.send((self.began.elapsed(), command.order)).expect("the test listens");
        let reply = Event::Reply { ticket: command.ticket, result: Ok(()) };
        self.events.try_send(reply).expect("there is room");
        Ok(())
    }

    fn count(&self) -> u16 {
        1
    }
}

struct World {
    engine: Arc<Engine>,
    events: mpsc::Sender<Event>,
    orders: mpsc::UnboundedReceiver<(Duration, Order)>,
    asked: Arc<Mutex<VecDeque<Request>>>,
    recorded: crossbeam::channel::Receiver<Event>,
}

impl World {
    /// One application, and these documents.
    fn new(documents: &[(&str, &'static str)]) -> World {
        let (events, taken) = mpsc::channel(64);
        let (sender, orders) = mpsc::unbounded_channel();
        let shards = Kept { orders: sender, events: events.clone(), began: Instant::now() };
        let documents = documents.iter().map(|(path, verbs)| ((*path).to_owned(), *verbs)).collect();
        let web = Web(Mutex::new(documents), Arc::default());
        let asked = Arc::clone(&web.1);
        let (store, recorded) = crossbeam::channel::bounded(64);
        let application = Application {
            fallback_url: Some("http://a.example/fallback".into()),
            ..Application::new("ivr", ApplicationKind::Rcml, "http://a.example/doc")
        };
        let engine = Engine::over(Arc::new(shards), Box::new(web), store, vec![application]);
        tokio::spawn(run(Arc::clone(&engine), taken));
        World { engine, events, orders, asked, recorded }
    }

    async fn tell(&self, event: Event) {
        self.events.send(event).await.expect("somebody listens");
    }

    /// A call comes in for the application.
    async fn offer(&self) {
        self.tell(Event::CallStarted(Arc::new(CallStarted {
            sid: CALL,
            account: "AC1".into(),
            at: Clock::new().now(),
            from: "bob".into(),
            to: "100".into(),
            caller_name: None,
            forwarded_from: None,
            direction: Direction::Inbound,
            call_id: "x".into(),
            parent: None,
        })))
        .await;
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

    async fn change(&self, status: CallStatus) {
        let now = Clock::new().now();
        let change = CallChanged { sid: CALL, account: "AC1".into(), started: now, at: now, status, code: 0 };
        self.tell(Event::CallChanged(change)).await;
        if status.is_final() {
            self.tell(Event::Ended(CALL, EndedBy::Peer)).await;
        }
    }

    /// The next order for the call, and when it came.
    async fn action(&mut self) -> (u64, Action) {
        match self.orders.recv().await.expect("an order comes") {
            (at, Order::Leg(CALL, action)) => (at.as_secs(), action),
            (_, other) => panic!("unexpected: {other:?}"),
        }
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("nobody failed");
        asked.iter().map(|request| request.url.path().to_owned()).collect()
    }
}

fn hangup(status: Option<u16>) -> Action {
    Action::Hangup { status, reason: None }
}

const ANSWER: Action = Action::Answer { sdp: None, headers: Vec::new() };

/// [rcml 12] A pause in front delays everything, and answers nothing; one that is not in front answers.
#[tokio::test(start_paused = true)]
async fn a_pause_in_front_delays_the_answer() {
    let mut world = World::new(&[("/doc", "<Pause length='2'/><Reject/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (2, hangup(Some(603))));
    let mut world = World::new(&[("/doc", "<Pause/><Pause length='3'/><Reject/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (1, ANSWER));
    world.change(CallStatus::InProgress).await;
    // Answered, Reject does nothing; the end of the document ends the call.
    assert_eq!(world.action().await, (4, hangup(None)));
}

/// [rcml 5] [rcml 1.7] A document that does not come in six seconds has failed.
#[tokio::test(start_paused = true)]
async fn a_document_has_six_seconds() {
    let mut world = World::new(&[("/fallback", "<Reject reason='busy'/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (6, hangup(Some(486))));
    assert_eq!(world.asked(), ["/doc", "/fallback"]);
}

/// [rcml 1.11] [rcml 31] Only the first document has a fallback; another that fails ends the call.
#[tokio::test(start_paused = true)]
async fn later_documents_have_no_fallback() {
    let mut world = World::new(&[("/doc", "<Redirect>gone</Redirect>"), ("/fallback", "<Reject/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (6, hangup(Some(500))));
    assert_eq!(world.asked(), ["/doc", "/gone"]);
}

/// [rcml 1.13] [rcml 4.2] The caller hangs up: nothing more happens, and nobody is left.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_call_ends_everything() {
    let mut world = World::new(&[("/doc", "<Pause length='600'/><Hold/>")]);
    world.offer().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.engine.rcml.counts().0, 1);
    world.change(CallStatus::Canceled).await;
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert!(world.orders.try_recv().is_err());
    assert_eq!((world.engine.rcml.counts().0, world.engine.live.counts().0), (0, 0));
    assert!(world.recorded.is_empty());
}

/// [rcml 2.7] A document that leads back to itself is stopped.
#[tokio::test(start_paused = true)]
async fn documents_in_a_circle_end() {
    let mut world = World::new(&[("/doc", "<Redirect>doc</Redirect>")]);
    world.offer().await;
    assert_eq!(world.action().await.1, hangup(None));
    assert_eq!(world.asked().len(), 1_001);
}

/// [restcomm-calls 10.13] [rcml 36] Word of a new document while another is fetched: the last one wins.
#[tokio::test(start_paused = true)]
async fn the_last_word_wins() {
    let mut world = World::new(&[("/doc", "<Pause length='600'/>"), ("/c", "<Reject/>")]);
    world.offer().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for path in ["b", "c"] {
        let url = format!("http://a.example/{path}").parse().expect("a URL");
        let program = Program { first: Source { url, method: Method::POST }, fallback: None };
        let word = Change::new(Some(program), ChildMode::Hangup, None);
        assert!(change(&world.engine, CALL, word));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.action().await, (2, hangup(Some(603))));
    assert_eq!(world.asked(), ["/doc", "/b", "/c"]);
}

/// A transfer of which nothing is heard any more does not hold the call for ever.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_never_decided() {
    let mut world = World::new(&[("/doc", "<Refer><Sip>sip:x@y</Sip></Refer>")]);
    world.offer().await;
    assert_eq!(world.action().await.1, ANSWER);
    world.change(CallStatus::InProgress).await;
    assert!(matches!(world.action().await.1, Action::Refer(_)));
    assert_eq!(world.action().await, (900, hangup(None)));
}
