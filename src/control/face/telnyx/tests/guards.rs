//! What ends a call that nobody ends: the minute of an inbound call, and the time a call may last.

use super::{CALL, World};
use crate::control::face::telnyx::leg::{Way, control_id};
use crate::sip::command::{Action, Order, Refused};
use crate::sip::event::{CallSid, CallStatus, DialEnded, Event, Offered};
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const OTHER: CallSid = CallSid(2 << 16);

impl World {
    /// Gives a command that the shard refuses after so many seconds.
    async fn refused(&self, name: &str, body: Value, after: u64, with: Refused) -> u16 {
        let shard = async {
            let (_, order) = self.order().await;
            tokio::time::sleep(Duration::from_secs(after)).await;
            self.answer(&order, Err(with)).await;
        };
        tokio::join!(self.give(CALL, name, body), shard).0
    }
}

/// [telnyx 24] [telnyx 2.5] [telnyx 4] A command that was refused decides nothing about an inbound call:
/// it is still refused after its minute.
#[tokio::test(start_paused = true)]
async fn a_refused_command_decides_nothing() {
    for (name, body) in [
        ("answer", json!({ "custom_headers": [{ "name": "X-A", "value": "1" }] })),
        ("reject", json!({ "cause": "USER_BUSY" })),
        ("transfer", json!({ "to": "sip:carol@b" })),
        ("bridge", json!({ "call_control_id": control_id(OTHER) })),
    ] {
        let world = World::with("/ev", Way::Incoming, None).await;
        world.leg(OTHER, Way::Incoming, None).await;
        assert_eq!(world.refused(name, body, 0, Refused::Malformed).await, 422, "{name}");
        let mut ended = Vec::new();
        for _ in 0..2 {
            let (at, order) = world.order().await;
            let Order::Leg(sid, Action::Hangup { status: Some(480), .. }) = order.order else {
                panic!("{name}: {order:?}")
            };
            assert!((60..=61).contains(&at), "{name}: {at}");
            ended.push(sid);
        }
        ended.sort();
        assert_eq!(ended, [CALL, OTHER], "{name}");
    }
}

/// [telnyx 4] A command that is on its way when the minute is over is waited for.
#[tokio::test(start_paused = true)]
async fn a_command_on_its_way_is_waited_for() {
    for (result, ends) in [(Err(Refused::Full), true), (Ok(()), false)] {
        let world = World::with("/ev", Way::Incoming, None).await;
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(world.give(CALL, "answer", json!({})).await, 503);
        let (_, order) = world.order().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(world.given().is_none());
        world.answer(&order, result).await;
        if ends {
            assert!((65..=67).contains(&world.hung_up().await.0));
        } else {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert!(world.given().is_none());
        }
    }
}

/// [telnyx 4] An order to end a call that finds no room is given again, until the call has ended.
#[tokio::test(start_paused = true)]
async fn the_end_is_ordered_until_it_comes() {
    for (way, limit, at, status) in
        [(Way::Incoming, None, 60, Some(480)), (Way::Outgoing, Some(90), 90, None)]
    {
        let world = World::with("/ev", way, limit).await;
        if way == Way::Outgoing {
            world.change(CallStatus::InProgress, 200).await;
        }
        world.full.store(true, Relaxed);
        tokio::time::sleep(Duration::from_secs(at + 5)).await;
        world.full.store(false, Relaxed);
        let (when, how) = world.hung_up().await;
        assert!((at + 5..=at + 7).contains(&when) && how == status, "{when} {how:?}");
        world.change(CallStatus::Completed, 0).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        while world.given().is_some() {}
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(world.given().is_none());
    }
}

/// [telnyx 4] [telnyx 35] A transfer that comes to nothing leaves an inbound call waiting for another
/// command, as long as at first; while it is under way nothing ends the call.
#[tokio::test(start_paused = true)]
async fn a_failed_transfer_leaves_a_call_waiting() {
    let world = World::with("/ev", Way::Incoming, None).await;
    let shard = async {
        let (_, order) = world.order().await;
        assert!(matches!(order.order, Order::Leg(CALL, Action::Dial(_))), "{order:?}");
        world.answer(&order, Ok(())).await;
    };
    assert_eq!(tokio::join!(world.give(CALL, "transfer", json!({ "to": "sip:carol@b" })), shard).0, 200);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(world.given().is_none());
    let ended = DialEnded { sid: CALL, first: CallSid(9), winner: None, status: CallStatus::Busy, code: 486 };
    world.tell(Event::DialEnded(Box::new(ended))).await;
    assert_eq!(world.hung_up().await, (160, Some(480)));
}

/// [telnyx 35] Two that talk end together, also when there is no room for the order at first.
#[tokio::test(start_paused = true)]
async fn who_is_left_is_ended_when_there_is_room() {
    let world = World::with("/ev", Way::Outgoing, None).await;
    world.leg(OTHER, Way::Outgoing, None).await;
    world.tell(Event::Joined(CALL, OTHER)).await;
    world.told(4).await;
    world.full.store(true, Relaxed);
    world.change(CallStatus::Completed, 0).await;
    world.told(5).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.full.store(false, Relaxed);
    let (_, order) = world.order().await;
    assert!(matches!(order.order, Order::Leg(OTHER, Action::Hangup { status: None, .. })), "{order:?}");
    world.answer(&order, Ok(())).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(world.given().is_none());
}

/// [telnyx 4] [telnyx 31] An inbound call whose beginning is told late, or never, is its account's from
/// the moment it waits for a command.
#[tokio::test(start_paused = true)]
async fn a_call_is_commanded_before_its_beginning_is_told() {
    for late in [true, false] {
        let world = World::new("/ev");
        world
            .tell(Event::Offered(Box::new(Offered {
                sid: CALL,
                account: "AC1".into(),
                application: 0,
                trunk: None,
                from_uri: "sip:bob@a".into(),
                to_uri: "sip:100@b".into(),
                sdp: None,
                invite: Default::default(),
                source: ([127, 0, 0, 1], 5060).into(),
            })))
            .await;
        let (_, ring) = world.order().await;
        assert!(matches!(ring.order, Order::Leg(CALL, Action::Ring { status: 180, .. })), "{ring:?}");
        if late {
            world.tell(super::started(CALL)).await;
        }
        world.told(1).await;
        let shard = async {
            let (_, order) = world.order().await;
            world.answer(&order, Ok(())).await;
        };
        assert_eq!(tokio::join!(world.give(CALL, "answer", json!({})), shard).0, 200);
        world.change(CallStatus::InProgress, 200).await;
        assert_eq!(world.told(2).await.last().map(|told| told.2.as_str()), Some("call.answered"));
        assert_eq!(
            (world.last()["from"].as_str(), world.last()["to"].as_str()),
            (Some("sip:bob@a"), Some("100"))
        );
    }
}
