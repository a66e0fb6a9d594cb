//! Commands that are given twice, at once, or to a shard that answers late.

use super::{CALL, World};
use crate::control::face::telnyx::command::{self, Verb};
use crate::control::face::telnyx::dial;
use crate::control::face::telnyx::fault::Fault;
use crate::control::face::telnyx::fields::Fields;
use crate::control::face::telnyx::leg::{Leg, Way, control_id};
use crate::control::orders::PLACING;
use crate::sip::command::{Action, Command, Order, Refused};
use crate::sip::event::{CallSid, CallStatus, Event};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn fields(body: Value) -> Fields {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Fields::read(&headers, Body::from(body.to_string()), true).await.expect("an object")
}

/// The status of an answer. [telnyx 39] Only 503 is tried again by clients, and says when.
fn status(answer: Result<(), Fault>) -> u16 {
    let Err(fault) = answer else { return 200 };
    let response = fault.response();
    let status = response.status().as_u16();
    assert!(matches!(status, 422 | 503), "{status}");
    assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
    status
}

impl World {
    /// A leg that is up.
    pub(super) async fn talking() -> World {
        let world = World::with("/ev", Way::Outgoing, None).await;
        world.change(CallStatus::InProgress, 200).await;
        world.told(2).await;
        world
    }

    /// Gives a command; the status of its answer.
    pub(super) async fn give(&self, sid: CallSid, name: &str, body: Value) -> u16 {
        let verb = Verb::from_name(name).expect("a command");
        match command::take(&self.engine, "AC1", &control_id(sid), verb, fields(body).await) {
            Ok(outcome) => status(outcome.known().await),
            Err(fault) => status(Err(fault)),
        }
    }

    /// Dials; the leg, or the status of the answer.
    async fn dial(&self, body: Value) -> Result<Arc<Leg>, u16> {
        let outcome = dial::take(&self.engine, "AC1", fields(body).await, false).expect("the body is fine");
        outcome.known().await.map_err(|fault| status(Err(fault)))
    }

    /// Answers an order.
    pub(super) async fn answer(&self, command: &Command, result: Result<(), Refused>) {
        self.tell(Event::Reply { ticket: command.ticket, result }).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn refer(id: &str) -> Value {
    json!({ "sip_address": "sip:desk2@pbx.example.org", "command_id": id })
}

/// [telnyx 23] [telnyx 2.5] While nobody knows whether a command is taken, it is not given again; its
/// client is told to come later, and learns then what became of it.
#[tokio::test(start_paused = true)]
async fn a_late_answer_counts() {
    let world = World::talking().await;
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 503);
    let (_, order) = world.order().await;
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 503);
    world.answer(&order, Ok(())).await;
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 200);
    assert!(world.given().is_none());
}

/// [telnyx 24] [telnyx 2.5] A command that is refused late was not executed either: its id is free.
#[tokio::test(start_paused = true)]
async fn a_late_refusal_counts() {
    let world = World::talking().await;
    let info = || json!({ "content_type": "a/b", "body": "x", "command_id": "c" });
    assert_eq!(world.give(CALL, "send_sip_info", info()).await, 503);
    let (_, order) = world.order().await;
    world.answer(&order, Err(Refused::Full)).await;
    let again = async {
        let (_, order) = world.order().await;
        world.answer(&order, Ok(())).await;
    };
    assert_eq!(tokio::join!(world.give(CALL, "send_sip_info", info()), again).0, 200);
}

/// [telnyx 23] [telnyx 35] The leg that a transfer calls is followed, however late the transfer is
/// taken: its events are told, and it lasts as long as it may.
#[tokio::test(start_paused = true)]
async fn the_leg_of_a_late_transfer_is_followed() {
    let world = World::talking().await;
    let transfer = || json!({ "to": "sip:carol@b", "time_limit_secs": 30, "command_id": "c" });
    assert_eq!(world.give(CALL, "transfer", transfer()).await, 503);
    let (_, order) = world.order().await;
    let Order::Leg(CALL, Action::Dial(dial)) = &order.order else { panic!("{order:?}") };
    let new = dial.parties[0].sid;
    world.answer(&order, Ok(())).await;
    world.tell(super::started(new)).await;
    world.change_of(new, CallStatus::InProgress, 200).await;
    let kinds: Vec<String> = world.told(4).await.into_iter().map(|(_, _, kind)| kind).collect();
    assert_eq!(kinds[2..], ["call.initiated", "call.answered"]);
    assert_eq!(world.give(CALL, "transfer", transfer()).await, 200);
    let answered = world.began.elapsed().as_secs();
    let (at, order) = world.order().await;
    assert!(matches!(order.order, Order::Leg(leg, Action::Hangup { .. }) if leg == new), "{order:?}");
    assert!(at.abs_diff(answered + 30) <= 1, "{at}");
}

/// [telnyx 24] [telnyx 35] The leg of a transfer that is refused late is forgotten.
#[tokio::test(start_paused = true)]
async fn the_leg_of_a_refused_transfer_is_forgotten() {
    let world = World::talking().await;
    assert_eq!(world.give(CALL, "transfer", json!({ "to": "sip:carol@b" })).await, 503);
    let (_, order) = world.order().await;
    let Order::Leg(CALL, Action::Dial(dial)) = &order.order else { panic!("{order:?}") };
    let new = control_id(dial.parties[0].sid);
    assert!(world.engine.telnyx.leg(&new, "AC1").is_some());
    world.answer(&order, Err(Refused::Busy)).await;
    assert!(world.engine.telnyx.leg(&new, "AC1").is_none());
    assert_eq!(world.told(2).await.len(), 2);
}

/// [telnyx 2.5] The order of a shard that never answers counts as taken: it has it.
#[tokio::test(start_paused = true)]
async fn no_answer_counts_as_taken() {
    let world = World::talking().await;
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 503);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 200);
    assert_eq!(world.give(CALL, "refer", refer("d")).await, 422);
    world.order().await;
    assert!(world.given().is_none());
}

/// [telnyx 1.8] Who takes a call from its commands waits for the one under way: what comes of it is known then.
#[tokio::test(start_paused = true)]
async fn a_command_under_way_is_waited_for() {
    let world = World::talking().await;
    assert_eq!(world.give(CALL, "transfer", json!({ "to": "sip:carol@b" })).await, 503);
    let (_, order) = world.order().await;
    let another = world.engine.helm.take(CALL);
    let free = another.free();
    tokio::pin!(free);
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut free).await.is_err());
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 503);
    world.answer(&order, Ok(())).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), free).await.is_ok());
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 422);
    assert!(world.given().is_none());
}

/// [telnyx 23] [telnyx 24] Two of the same command at once are one command, and are told the same.
#[tokio::test(start_paused = true)]
async fn the_same_command_at_once() {
    let world = World::talking().await;
    for (result, told) in [(Err(Refused::NotAnswered), 422), (Ok(()), 200)] {
        let shard = async {
            let (_, order) = world.order().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.answer(&order, result).await;
        };
        let both =
            tokio::join!(world.give(CALL, "refer", refer("c")), world.give(CALL, "refer", refer("c")), shard);
        assert_eq!((both.0, both.1), (told, told));
        assert!(world.given().is_none());
    }
}

/// [telnyx 23] [telnyx 24] [telnyx 2.5] Dialled twice at once under one id: one call, or the same
/// refusal, after which the id is free.
#[tokio::test(start_paused = true)]
async fn dialled_twice_at_once() {
    let world = World::new("/ev");
    let body = || json!({ "connection_id": "flow", "from": "1", "to": "2", "command_id": "c" });
    let world = &world;
    let shard = |result| async move {
        let (_, order) = world.order().await;
        assert!(matches!(order.order, Order::Place(_)), "{order:?}");
        world.answer(&order, result).await;
    };
    let refused = tokio::join!(world.dial(body()), world.dial(body()), shard(Err(Refused::Malformed)));
    assert_eq!((refused.0.err(), refused.1.err()), (Some(422), Some(422)));
    let taken = tokio::join!(world.dial(body()), world.dial(body()), shard(Ok(())));
    let [one, other] = [taken.0, taken.1].map(|leg| leg.expect("it is placed"));
    assert_eq!(one.sid, other.sid);
    assert_eq!(world.dial(body()).await.expect("it was placed").sid, one.sid);
    assert!(world.given().is_none());
}

/// [telnyx 2.5] [telnyx 23] A call whose shard is slow is placed once, whoever asks again, and is followed.
#[tokio::test(start_paused = true)]
async fn a_late_call_is_one_call() {
    let world = World::new("/ev");
    assert_eq!(world.dial(call()).await.err(), Some(503));
    let (_, order) = world.order().await;
    let Order::Place(place) = &order.order else { panic!("{order:?}") };
    assert_eq!(world.dial(call()).await.err(), Some(503));
    world.tell(super::started(place.sid)).await;
    world.answer(&order, Ok(())).await;
    assert_eq!(world.dial(call()).await.expect("it is placed").sid, place.sid);
    assert_eq!(world.told(1).await[0].2, "call.initiated");
    assert!(world.given().is_none());
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(world.engine.live.call(place.sid).is_some());
    assert_eq!(world.told.lock().expect("nobody failed").len(), 1);
}

/// [telnyx 2.5] [telnyx 24] A call that its shard does not take in time is not placed, nothing is told of it, and whoever asks again
/// has another one placed.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_late_is_none() {
    let world = World::new("/ev");
    assert_eq!(world.dial(call()).await.err(), Some(503));
    let (_, order) = world.order().await;
    let Order::Place(late) = &order.order else { panic!("{order:?}") };
    assert!(late.by.is_some());
    tokio::time::sleep(PLACING).await;
    let (at, end) = world.order().await;
    assert!(matches!(end.order, Order::Leg(sid, Action::Hangup { .. }) if sid == late.sid), "{end:?}");
    assert_eq!(at, PLACING.as_secs());
    assert!(world.engine.live.call(late.sid).is_none());
    assert!(world.engine.telnyx.leg(&control_id(late.sid), "AC1").is_none());
    let shard = async {
        let (_, order) = world.order().await;
        world.answer(&order, Ok(())).await;
    };
    let (another, ()) = tokio::join!(world.dial(call()), shard);
    assert_ne!(another.expect("it is placed").sid, late.sid);
    assert_eq!(world.told(1).await.len(), 1);
}

fn call() -> Value {
    json!({ "connection_id": "flow", "from": "1", "to": "2", "command_id": "c" })
}

/// [telnyx 1.8] Who ends a call does not wait for a command of which nothing is known yet.
#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait() {
    let world = World::talking().await;
    assert_eq!(world.give(CALL, "refer", refer("c")).await, 503);
    let (_, refer) = world.order().await;
    let shard = async {
        let (_, order) = world.order().await;
        assert!(matches!(order.order, Order::Leg(CALL, Action::Hangup { .. })), "{order:?}");
        world.answer(&order, Ok(())).await;
    };
    let hangup = json!({ "client_state": "Qg==" });
    assert_eq!(tokio::join!(world.give(CALL, "hangup", hangup), shard).0, 200);
    world.answer(&refer, Err(Refused::Ended)).await;
    world.change(CallStatus::Completed, 0).await;
    world.told(3).await;
    assert_eq!(world.last()["client_state"], "Qg==");
}

/// [telnyx 22] [telnyx 24] [telnyx 2.6] A refused command takes back its own client state, not that of a
/// command after it.
#[tokio::test(start_paused = true)]
async fn a_refused_command_takes_back_its_own_state() {
    let world = World::talking().await;
    let first = json!({ "sip_address": "sip:a@b", "client_state": "QQ==" });
    let shard = async {
        let (_, order) = world.order().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.answer(&order, Err(Refused::Busy)).await;
    };
    let second = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.give(CALL, "client_state_update", json!({ "client_state": "Qg==" })).await
    };
    let given = tokio::join!(world.give(CALL, "refer", first), second, shard);
    assert_eq!((given.0, given.1), (422, 200));
    world.change(CallStatus::Completed, 0).await;
    world.told(3).await;
    assert_eq!(world.last()["client_state"], "Qg==");
}
