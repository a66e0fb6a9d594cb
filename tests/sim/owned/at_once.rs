//! Five hundred calls of the API, and a transfer of each within one second, by phones of every kind.

use super::agent::OnRefer;
use super::plan::ACCOUNT;
use super::world::{BATON, SHARDS, START, World};
use baton::sip::command::{Action, Order, Party, Place, ReferOrder};
use baton::sip::event::{CallSid, ReferReason, ReferSid, ReferStatus};
use std::time::Duration;

const CALLS: u64 = 500;
/// A number that leads nowhere.
const NOBODY: &str = "nobody";

/// What a phone does with a REFER, whom it is sent to, and how that must end by the table of results.
struct Kind {
    /// Where it is among the phones.
    phone: usize,
    refer: OnRefer,
    whom: &'static str,
    status: ReferStatus,
    reason: Option<ReferReason>,
}

const fn kind(
    phone: usize,
    refer: OnRefer,
    whom: &'static str,
    status: ReferStatus,
    reason: Option<ReferReason>,
) -> Kind {
    Kind { phone, refer, whom, status, reason }
}

/// One after another, in turn.
const KINDS: [Kind; 7] = [
    kind(0, OnRefer::Perform, "bob", ReferStatus::Completed, None),
    kind(1, OnRefer::Refuse(405), "alice", ReferStatus::Failed, Some(ReferReason::ReferRejected)),
    kind(2, OnRefer::Silent, "alice", ReferStatus::Failed, Some(ReferReason::NotifyTimeout)),
    kind(3, OnRefer::HangUp, "alice", ReferStatus::Canceled, Some(ReferReason::CallEnded)),
    kind(4, OnRefer::Eager, "bob", ReferStatus::Completed, None),
    kind(0, OnRefer::Perform, NOBODY, ReferStatus::Failed, Some(ReferReason::TargetRejected)),
    kind(4, OnRefer::Eager, NOBODY, ReferStatus::Failed, Some(ReferReason::TargetRejected)),
];

/// [R-001] Each of five hundred transfers has one result, the right one by the
/// table, and nothing is left after the last timer, whatever the phones do.
#[test]
fn five_hundred_transfers_in_one_second() {
    let mut world = World::idle(500);
    for kind in &KINDS {
        let manners = &mut world.agents[kind.phone].manners;
        manners.refer = kind.refer;
        (manners.answer, manners.ring, manners.offerless) = (200, Duration::ZERO, 0);
    }
    let every = Duration::from_secs(1) / CALLS as u32;
    let calls: Vec<(CallSid, &Kind)> = (0..CALLS)
        .map(|n| {
            let kind = &KINDS[n as usize % KINDS.len()];
            let sid = CallSid(world.sid((n % u64::from(SHARDS)) as u16));
            let whom = world.agents[kind.phone].user.clone();
            world.later.push((START + every * n as u32, Order::Place(Box::new(place(sid, whom)))));
            (sid, kind)
        })
        .collect();
    let second = START + Duration::from_secs(10);
    world.run_until(second);
    assert_eq!(world.record.answered() as u64, CALLS);
    let refers: Vec<(ReferSid, &Kind)> = calls
        .into_iter()
        .enumerate()
        .map(|(n, (call, kind))| {
            let refer = ReferSid(world.sid(call.shard()));
            let order = Action::Refer(Box::new(order(refer, kind.whom)));
            world.later.push((second + every * n as u32, Order::Leg(call, order)));
            (refer, kind)
        })
        .collect();
    world.run_until(second + Duration::from_secs(400));
    for (n, (refer, kind)) in refers.iter().enumerate() {
        let result = world.record.result(*refer);
        assert_eq!(result, Some((kind.status, kind.reason)), "{n}: {:?} to {}", kind.refer, kind.whom);
    }
    let faults = world.end();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn place(sid: CallSid, whom: String) -> Place {
    Place {
        sid,
        account: ACCOUNT.into(),
        from: "+31123".into(),
        caller_name: None,
        to: Party::Number(whom),
        headers: Vec::new(),
        credentials: None,
        timeout: Duration::from_secs(30),
        sdp: None,
        by: None,
    }
}

fn order(sid: ReferSid, whom: &str) -> ReferOrder {
    ReferOrder {
        sid,
        to: format!("sip:{whom}@{BATON}"),
        referred_by: None,
        replaces: None,
        headers: Vec::new(),
        credentials: None,
        no_subscription: false,
        bye_after: Some(Duration::from_secs(1)),
        force: true,
        hold: false,
    }
}
