//! Drivers under paused time: hooks and shards answer at once, waits cost nothing.

use super::*;
use crate::control::ApplicationKind;
use crate::control::face::stage::{CALL, World};
use crate::control::orders::PLACING;
use crate::control::webhook::Content;
use crate::sip::command::{Decision, Dial, ReferOrder, Refused};
use crate::sip::event::{CallStatus, EndedBy, Event, ReferAsked, ReferSid, ReferStatus};
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

/// [jambonz 36] A shard that answers late has placed the call; one that does not answer in time is not to, and nothing is
/// left of the call. A dial that is not taken in time is not to go on behind the application's back.
#[tokio::test(start_paused = true)]
async fn a_shard_that_answers_late() {
    let end = |sid| Order::Leg(sid, Action::Hangup { status: None, reason: None });
    for (after, answer) in [(9, Ok(())), (11, Err(NotTaken::Silent))] {
        let mut world = steered(&[]);
        world.delay(Duration::from_secs(after));
        let (record, wanted) = world.placed();
        let program = Program::new(Hook::at("http://a.example/start", Method::POST, None).expect("a URL"));
        assert_eq!(place(&world.engine, record, wanted, program).await, answer, "{after}");
        let Some((_, Order::Place(ordered))) = world.orders.recv().await else { panic!("no call") };
        assert!(ordered.by.is_some());
        let placed = usize::from(answer.is_ok());
        assert_eq!((world.engine.live.counts().0, world.engine.jambonz.counts().0), (placed, placed));
        assert_eq!(world.orders.try_recv().ok(), answer.is_err().then_some((PLACING, end(CALL))));
    }
    let dial = json!({"verb": "dial", "answerOnBridge": true, "target": [{"type": "phone", "number": "1"}],
        "actionHook": "/done"});
    let mut world = steered(&[("/start", json!([dial])), ("/done", json!([{"verb": "hangup"}]))]);
    world.delay(Duration::from_secs(3));
    world.offer().await;
    let (_, Action::Dial(dial)) = world.action().await else { panic!("no Dial") };
    let (at, order) = world.orders.recv().await.expect("an order comes");
    assert_eq!((at.as_secs(), order), (2, end(dial.parties[0].sid)));
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

/// [jambonz 6.2] The API ends the call before the shard has the transfer, which it then does not take, or of which
/// it says nothing: no hook is told, and nothing was transferred. Of the end by the peer it is told.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_comes_behind_the_end() {
    for (after, refused, by) in [
        (1, Some(Refused::Ended), EndedBy::Control),
        (1, Some(Refused::Unknown), EndedBy::Control),
        (3_600, None, EndedBy::Control),
        (1, Some(Refused::Ended), EndedBy::Peer),
    ] {
        let refer = json!({"verb": "sip:refer", "referTo": "1", "actionHook": "/done"});
        let mut world = steered(&[("/start", json!([{"verb": "answer"}, refer])), ("/done", json!([]))]);
        world.offer().await;
        assert!(matches!(world.action().await.1, Action::Answer { .. }));
        world.delay(Duration::from_secs(after));
        if let Some(refused) = refused {
            world.refuse(refused);
        }
        world.change(CallStatus::InProgress).await;
        assert!(matches!(world.action().await.1, Action::Refer(_)));
        world.end_by(CallStatus::Completed, by).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let recorded = world.recorded.try_iter().filter(|event| matches!(event, Event::Refer(_))).count();
        let told = world.asked().contains(&"/done".to_owned());
        assert_eq!((told, recorded), if by == EndedBy::Peer { (true, 1) } else { (false, 0) }, "{refused:?}");
        assert_eq!(world.engine.jambonz.counts().0, 0, "nobody steers it");
    }
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
    // [jambonz 6.1.3] By the callee, whose call this is.
    for event in world.recorded.try_iter() {
        let Event::Refer(refer) = event else { panic!("a Refer: {event:?}") };
        assert_eq!((&*refer.from, &*refer.to), ("sip:100@baton.example.net", "1"));
    }
}

/// A call whose application dials.
async fn dialling() -> (World, Dial) {
    let target = json!([{"type": "phone", "number": "1"}]);
    let dial = json!({"verb": "dial", "answerOnBridge": true, "referHook": "/refer", "target": target});
    let mut world = steered(&[("/start", dial), ("/refer", json!([{"verb": "hangup"}]))]);
    world.offer().await;
    match world.action().await {
        (_, Action::Dial(dial)) => (world, *dial),
        other => panic!("no dial: {other:?}"),
    }
}

/// [jambonz 9.5] A dial gives way to other verbs before anything is told of its legs: they end.
#[tokio::test(start_paused = true)]
async fn a_dial_that_has_only_just_begun() {
    let (mut world, dial) = dialling().await;
    let verbs = document::parse(&json!([{"verb": "hangup"}]), None).expect("verbs");
    assert_eq!(world.engine.jambonz.say(CALL, Word::Verbs(1, verbs)), Ok(()));
    let (_, order) = world.orders.recv().await.expect("an order comes");
    let hangup = Action::Hangup { status: None, reason: None };
    assert_eq!(order, Order::Leg(dial.parties[0].sid, hangup));
    assert_eq!(left(&mut world).await, (0, None));
}

/// [jambonz 36] [jambonz 9.5] Two hooks one after the other, and the first is the slower: the last word counts, unless its hook
/// fails.
#[tokio::test(start_paused = true)]
async fn the_last_hook_wins() {
    let pause = || json!([{"verb": "pause", "length": 600}]);
    let answers = [("/start", pause()), ("/late", json!([{"verb": "hangup"}])), ("/second", pause())];
    for (known, ended) in [(&answers[..], None), (&answers[..2], Some((6, None)))] {
        let mut world = steered(known);
        world.offer().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        for path in ["late", "second"] {
            let hook = Hook::at(&format!("http://a.example/{path}"), Method::POST, None).expect("a URL");
            assert_eq!(world.engine.jambonz.say(CALL, Word::Hook(hook, None)), Ok(()));
        }
        let left = tokio::time::timeout(Duration::from_secs(300), left(&mut world)).await;
        assert_eq!(left.ok(), ended);
    }
}

/// [jambonz 8] The party to be moved can hear no more words now: the transfer has failed, and its driver
/// stays the only one.
#[tokio::test(start_paused = true)]
async fn a_party_that_hears_no_more_words() {
    let (mut world, dial) = dialling().await;
    let other = dial.parties[0].sid;
    world.dialled(other).await;
    let (sender, _words) = mpsc::channel(1);
    sender.try_send(Word::Tag(json!({}))).expect("there is room");
    let base = Url::parse("http://a.example/other").expect("a URL");
    let known = Known { sender, customer_data: None, application_sid: None, base, signs: None };
    world.engine.jambonz.all().insert(other, known);
    let (sid, to, by) = (ReferSid(9), "sip:c@d".into(), "sip:bob@a".into());
    let headers = Vec::new();
    let asked = ReferAsked { sid, call: CALL, other: Some(other), to, by, replaces: false, headers };
    world.tell(Event::ReferAsked(Box::new(asked))).await;
    let hangup = Action::Hangup { status: None, reason: None };
    for expected in [
        Order::DecideRefer(sid, CALL, Decision::Take),
        Order::Leg(CALL, Action::Part),
        Order::DecideRefer(sid, CALL, Decision::Report(503)),
        Order::Leg(CALL, hangup),
    ] {
        assert_eq!(world.orders.recv().await.map(|(_, order)| order), Some(expected));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(world.orders.try_recv().is_err() && !world.engine.helm.is_steered(other));
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
