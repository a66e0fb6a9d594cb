//! Drivers under paused time: documents and shards answer at once, waits cost nothing.

use super::*;
use crate::control::ApplicationKind;
use crate::control::face::stage::{CALL, World};
use crate::control::orders::PLACING;
use crate::control::webhook::Content;
use crate::sip::command::Refused;
use crate::sip::event::CallStatus;
use std::time::Duration;

/// One application, and these documents.
fn steered(documents: &[(&str, &str)]) -> World {
    let application = Application {
        fallback_url: Some("http://a.example/fallback".into()),
        ..Application::new("ivr", ApplicationKind::Rcml, "http://a.example/doc")
    };
    let whole = |(path, verbs): &(&str, &str)| ((*path).to_owned(), format!("<Response>{verbs}</Response>"));
    World::new(application, "text/xml", documents.iter().map(whole).collect())
}

fn hangup(status: Option<u16>) -> Action {
    Action::Hangup { status, reason: None }
}

/// Another document.
fn another(path: &str) -> Change {
    let url = format!("http://a.example/{path}").parse().expect("a URL");
    let program = Program { first: Source { url, method: Method::POST }, fallback: None };
    Change::new(Some(program), ChildMode::Hangup, None)
}

const ANSWER: Action = Action::Answer { sdp: None, headers: Vec::new() };

/// [rcml 12] A pause in front delays everything, and answers nothing; one that is not in front answers.
#[tokio::test(start_paused = true)]
async fn a_pause_in_front_delays_the_answer() {
    let mut world = steered(&[("/doc", "<Pause length='2'/><Reject/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (2, hangup(Some(603))));
    let mut world = steered(&[("/doc", "<Pause/><Pause length='3'/><Reject/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (1, ANSWER));
    world.change(CallStatus::InProgress).await;
    // Answered, Reject does nothing; the end of the document ends the call.
    assert_eq!(world.action().await, (4, hangup(None)));
}

/// [rcml 5] [rcml 1.7] A document that does not come in six seconds has failed.
#[tokio::test(start_paused = true)]
async fn a_document_has_six_seconds() {
    let mut world = steered(&[("/fallback", "<Reject reason='busy'/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (6, hangup(Some(486))));
    assert_eq!(world.asked(), ["/doc", "/fallback"]);
}

/// [rcml 1.11] [rcml 31] Only the first document has a fallback; another that fails ends the call.
#[tokio::test(start_paused = true)]
async fn later_documents_have_no_fallback() {
    let mut world = steered(&[("/doc", "<Redirect>gone</Redirect>"), ("/fallback", "<Reject/>")]);
    world.offer().await;
    assert_eq!(world.action().await, (6, hangup(Some(500))));
    assert_eq!(world.asked(), ["/doc", "/gone"]);
}

/// [rcml 1.13] [rcml 4.2] The caller hangs up: nothing more happens, and nobody is left.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_call_ends_everything() {
    let mut world = steered(&[("/doc", "<Pause length='600'/><Hold/>")]);
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
    let mut world = steered(&[("/doc", "<Redirect>doc</Redirect>")]);
    world.offer().await;
    assert_eq!(world.action().await.1, hangup(None));
    assert_eq!(world.asked().len(), 1_001);
}

/// [restcomm-calls 10.13] [rcml 36] Word of a new document while another is fetched: the last one wins.
#[tokio::test(start_paused = true)]
async fn the_last_word_wins() {
    let mut world = steered(&[("/doc", "<Pause length='600'/>"), ("/c", "<Reject/>")]);
    world.offer().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for path in ["b", "c"] {
        assert_eq!(change(&world.engine, CALL, another(path)), Ok(()));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.action().await, (2, hangup(Some(603))));
    assert_eq!(world.asked(), ["/doc", "/b", "/c"]);
}

/// [restcomm-calls 10.12] A Dial gives way to another document before anything is told of its legs: they end.
#[tokio::test(start_paused = true)]
async fn a_dial_that_has_only_just_begun() {
    let mut world = steered(&[("/doc", "<Dial>100</Dial>"), ("/c", "<Reject/>")]);
    world.offer().await;
    let (_, Action::Dial(dial)) = world.action().await else { panic!("no Dial") };
    assert_eq!(change(&world.engine, CALL, another("c")), Ok(()));
    let (_, order) = world.orders.recv().await.expect("an order comes");
    assert_eq!(order, Order::Leg(dial.parties[0].sid, hangup(None)));
    assert_eq!(world.action().await, (0, hangup(Some(603))));
}

/// A Dial of one number, of whose end is told.
const DIAL: &str = "<Dial><Number statusCallback='told' statusCallbackEvent='completed'>100</Number></Dial>";

/// What was told of the leg of [`DIAL`].
fn told(world: &World) -> Option<String> {
    let Content::Form(form) = world.sent("/told")?.content else { panic!("not a form") };
    form.into_iter().find(|(name, _)| name == "CallStatus").map(|(_, value)| value)
}

/// [restcomm-calls 10.12] [rcml 5.2] A Dial that gives way before its order is given calls nobody: its leg, which could be read already,
/// ends, and who is to be told of its end is.
#[tokio::test(start_paused = true)]
async fn a_dial_that_never_begins() {
    let document = format!("{}{DIAL}", "<Say>x</Say>".repeat(50));
    let mut world = steered(&[("/doc", &document), ("/c", "<Pause/>"), ("/told", "")]);
    world.offer().await;
    assert_eq!(world.action().await.1, ANSWER);
    world.change(CallStatus::InProgress).await;
    while world.engine.rcml.counts().1 == 0 {
        tokio::task::yield_now().await;
    }
    // It is heard by what waits next, and that is the Dial.
    assert_eq!(change(&world.engine, CALL, another("c")), Ok(()));
    assert_eq!(world.action().await, (1, hangup(None)));
    let ended = world.ended();
    assert!(matches!(ended[..], [(_, CallStatus::Canceled)]), "{ended:?}");
    assert_eq!(told(&world).as_deref(), Some("canceled"));
    assert_eq!(world.engine.live.counts().0, 1);
}

/// [rcml 5.2] [rcml 5.4] A Dial that the shard refuses has failed: the leg that its result names can be read.
#[tokio::test(start_paused = true)]
async fn a_dial_that_is_refused() {
    for at in [0, 3] {
        let document = format!("{DIAL}<Pause length='9'/>");
        let mut world = steered(&[("/doc", &document), ("/told", "")]);
        world.refuse(Refused::Full);
        world.delay(Duration::from_secs(at));
        world.offer().await;
        let (_, Action::Dial(dial)) = world.action().await else { panic!("no Dial") };
        let leg = dial.parties[0].sid;
        if at > 0 {
            // The document goes on: nobody is to be called for it later.
            let order = Order::Leg(leg, hangup(None));
            assert_eq!(world.orders.recv().await, Some((Duration::from_secs(2), order)));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.ended(), [(leg, CallStatus::Failed)], "{at}");
        assert_eq!(told(&world).as_deref(), Some("failed"));
        assert_eq!(world.engine.live.counts().0, 1);
    }
}

/// [restcomm-calls 4] A shard that answers late has placed the call; one that does not answer in time is not to, and
/// nothing is left of the call.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_placed_late() {
    for (after, answer) in [(9, Ok(())), (11, Err(NotTaken::Silent))] {
        let mut world = steered(&[]);
        world.delay(Duration::from_secs(after));
        let (record, wanted) = world.placed();
        let program = another("doc").program.expect("it has one");
        let before = world.engine.live.now();
        assert_eq!(place(&world.engine, record, wanted, program, None).await, answer, "{after}");
        let Some((_, Order::Place(ordered))) = world.orders.recv().await else { panic!("no call") };
        let wait = ordered.by.expect("it has an end").since(before);
        assert!((PLACING..2 * PLACING).contains(&wait), "{wait:?}");
        let placed = usize::from(answer.is_ok());
        assert_eq!((world.engine.live.counts().0, world.engine.rcml.counts().0), (placed, placed));
        let end = (PLACING, Order::Leg(CALL, hangup(None)));
        assert_eq!(world.orders.try_recv().ok(), answer.is_err().then_some(end));
    }
}

/// [restcomm-calls 10.4] More words than a driver hears are not the end of the call.
#[tokio::test(start_paused = true)]
async fn words_that_wait() {
    let world = steered(&[("/doc", "<Pause length='600'/>")]);
    world.offer().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let word = || Change::new(None, ChildMode::Hangup, None);
    for _ in 0..CHANGES {
        assert_eq!(change(&world.engine, CALL, word()), Ok(()));
    }
    assert_eq!(change(&world.engine, CALL, word()), Err(Unheard::Full));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(change(&world.engine, CALL, word()), Ok(()));
    world.change(CallStatus::Canceled).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(change(&world.engine, CALL, word()), Err(Unheard::Over));
}

/// [rcml 6.5] Transfers that are refused here have an end: each leaves a record, and nothing is waited for.
#[tokio::test(start_paused = true)]
async fn transfers_that_cannot_be_sent() {
    let verbs = "<Refer/><Refer><Sip>sip:x@y?Call-ID=1</Sip></Refer><Redirect>doc</Redirect>";
    let mut world = steered(&[("/doc", verbs)]);
    world.offer().await;
    assert_eq!(world.action().await.1, ANSWER);
    world.change(CallStatus::InProgress).await;
    assert_eq!(world.action().await.1, hangup(Some(500)));
    assert_eq!((world.recorded.len(), world.asked().len()), (32, 16));
}

/// A document is read up to a number of verbs.
#[tokio::test(start_paused = true)]
async fn documents_of_many_verbs() {
    for (many, at) in [(200, 200), (201, 0)] {
        let mut world = steered(&[("/doc", &"<Pause/>".repeat(many)), ("/fallback", "<Reject/>")]);
        world.offer().await;
        if at > 0 {
            assert_eq!(world.action().await, (1, ANSWER));
            world.change(CallStatus::InProgress).await;
        }
        let end = if at > 0 { hangup(None) } else { hangup(Some(603)) };
        assert_eq!(world.action().await, (at, end), "{many}");
    }
}

/// A transfer of which nothing is heard any more does not hold the call for ever.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_never_decided() {
    let mut world = steered(&[("/doc", "<Refer><Sip>sip:x@y</Sip></Refer>")]);
    world.offer().await;
    assert_eq!(world.action().await.1, ANSWER);
    world.change(CallStatus::InProgress).await;
    assert!(matches!(world.action().await.1, Action::Refer(_)));
    assert_eq!(world.action().await, (900, hangup(None)));
}
