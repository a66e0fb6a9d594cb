//! Drivers under paused time: hooks and shards answer at once, waits cost nothing.

use super::*;
use crate::control::ApplicationKind;
use crate::control::face::stage::{CALL, World};
use crate::control::webhook::Content;
use crate::sip::command::{ReferOrder, Refused};
use crate::sip::event::{CallStatus, ReferStatus};
use serde_json::json;

/// One application, and what hooks are answered with.
fn steered(answers: &[(&str, Value)]) -> World {
    let application = Application::new("agent", ApplicationKind::Jambonz, "http://a.example/start");
    let text = |(path, value): &(&str, Value)| ((*path).to_owned(), value.to_string());
    World::new(application, "application/json", answers.iter().map(text).collect())
}

/// A call that is answered and then transferred; the application is told of it there.
async fn transferred(answers: &[(&str, Value)]) -> (World, ReferOrder) {
    let refer = json!({"verb": "sip:refer", "referTo": "1", "actionHook": "/done", "eventHook": "/event"});
    let start = json!([{"verb": "answer"}, refer, {"verb": "hangup"}]);
    let all: Vec<_> = [("/start", start)].iter().chain(answers).cloned().collect();
    let mut world = steered(&all);
    world.offer().await;
    assert!(matches!(world.action().await.1, Action::Answer { .. }));
    world.change(CallStatus::InProgress).await;
    match world.action().await {
        (_, Action::Refer(order)) => (world, *order),
        other => panic!("no transfer: {other:?}"),
    }
}

/// What a hook was told.
fn told(world: &World, path: &str) -> Value {
    match world.sent(path).map(|request| request.content) {
        Some(Content::Json(text)) => serde_json::from_slice(&text).expect("JSON"),
        other => panic!("no JSON: {other:?}"),
    }
}

/// When the call is left, and with which status.
async fn left(world: &mut World) -> (u64, Option<u16>) {
    match world.action().await {
        (at, Action::Leave(leave)) => (at, leave.status),
        other => panic!("no end: {other:?}"),
    }
}

/// [jambonz 16] [jambonz 6.2] A transfer that rings for long is waited for: no fifteen seconds.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_rings_for_long() {
    for (seconds, last) in [(20, 200), (600, 486)] {
        let (mut world, order) = transferred(&[("/done", json!({}))]).await;
        world.referred(&order, Some(180), ReferStatus::InProgress).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert!(!world.asked().contains(&"/done".to_owned()), "{seconds}");
        world.referred(&order, Some(last), ReferStatus::Completed).await;
        assert_eq!(left(&mut world).await, (seconds, None));
        let told = told(&world, "/done");
        assert_eq!((&told["refer_status"], &told["final_referred_call_status"]), (&json!(202), &json!(last)));
    }
}

/// [jambonz 15] Nothing is reported in time: the action hook is told of the acceptance alone, under both
/// names, and no event hook of anything.
#[tokio::test(start_paused = true)]
async fn a_transfer_of_which_nothing_is_reported() {
    let (mut world, order) = transferred(&[("/done", json!([{"verb": "pause", "length": 5}]))]).await;
    world.referred(&order, None, ReferStatus::InProgress).await;
    tokio::time::sleep(Duration::from_secs(32)).await;
    world.referred(&order, None, ReferStatus::Failed).await;
    assert_eq!(left(&mut world).await, (37, None));
    let told = told(&world, "/done");
    assert_eq!((&told["referStatus"], &told["refer_status"]), (&json!(202), &json!(202)));
    assert!(told.get("final_referred_call_status").is_none());
    assert_eq!(world.asked(), ["/start", "/done"]);
}

/// [jambonz 29] [jambonz 2.7] Ten seconds of silence are a failure: of the first hook, and of a later one.
#[tokio::test(start_paused = true)]
async fn ten_seconds_of_silence() {
    let mut silent = steered(&[]);
    silent.offer().await;
    assert_eq!(left(&mut silent).await, (10, Some(480)));
    let (mut world, order) = transferred(&[]).await;
    world.referred(&order, Some(404), ReferStatus::Failed).await;
    assert_eq!(left(&mut world).await, (10, None));
    assert_eq!(world.asked(), ["/start", "/done"]);
}

/// Transfers that are refused here have an end: each leaves a record, and nothing is waited for.
#[tokio::test(start_paused = true)]
async fn transfers_that_cannot_be_sent() {
    let refers = vec![json!({"verb": "sip:refer", "referTo": "1"}); 20];
    let again = [refers.as_slice(), &[json!({"verb": "redirect", "actionHook": "/again"})]].concat();
    let start = [&[json!({"verb": "answer"})], again.as_slice()].concat();
    let mut world = steered(&[("/start", json!(start)), ("/again", json!(again))]);
    world.offer().await;
    assert!(matches!(world.action().await.1, Action::Answer { .. }));
    world.change(CallStatus::InProgress).await;
    world.refuse(Refused::Malformed);
    let mut asked = 0;
    while let (_, Action::Refer(_)) = world.action().await {
        asked += 1;
    }
    assert_eq!((asked, world.recorded.len()), (32, 32));
}

/// More words than a driver hears are not the end of the call.
#[tokio::test(start_paused = true)]
async fn words_that_wait() {
    let world = steered(&[("/start", json!([{"verb": "pause", "length": 600}]))]);
    assert_eq!(world.engine.jambonz.say(CALL, Word::Tag(json!({}))), Err(Unheard::Nobody));
    world.offer().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..WORDS {
        assert_eq!(world.engine.jambonz.say(CALL, Word::Tag(json!({}))), Ok(()));
    }
    assert_eq!(world.engine.jambonz.say(CALL, Word::Tag(json!({}))), Err(Unheard::Full));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.engine.jambonz.say(CALL, Word::Tag(json!({}))), Ok(()));
    world.change(CallStatus::Canceled).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.engine.jambonz.say(CALL, Word::Tag(json!({}))), Err(Unheard::Nobody));
}
