//! `…/actions/refer` of the Telnyx-compatible interface, and the events of it.

use crate::harness::*;
use crate::telnyx::{Stage, error, result};
use baton::sip::command::ReferOrder;
use baton::sip::event::{
    CallSid, CallStatus, EndedBy, Event, ReferReason, ReferRole, ReferSnapshot, ReferStatus,
};
use serde_json::{Value, json};
use std::time::Duration;

const TARGET: &str = "sip:desk2@pbx.example.org";
const IN_PROGRESS: ReferStatus = ReferStatus::InProgress;

/// Refers a call; the order.
fn refer(stage: &Stage, id: &str, sid: CallSid, more: Value) -> ReferOrder {
    let mut body = json!({ "sip_address": TARGET });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    stage.done(id, "refer", body);
    stage.server.shards.refer(sid)
}

/// Tells what is known of a transfer.
fn tell(
    stage: &Stage,
    order: &ReferOrder,
    sid: CallSid,
    codes: (Option<u16>, Option<u16>),
    end: (ReferStatus, Option<ReferReason>),
) {
    let now = at(0);
    stage.server.shards.tell(Event::Refer(Box::new(ReferSnapshot {
        sid: order.sid,
        call: sid,
        account: ACCOUNT.into(),
        role: ReferRole::Transferor,
        created: now,
        at: now,
        seq: 0,
        from: "sip:a@b".into(),
        to: TARGET.into(),
        refer_code: codes.0,
        notify_code: codes.1,
        status: end.0,
        reason: end.1,
        rule: None,
        moved: None,
        target: None,
    })));
}

/// [telnyx 1] [telnyx 2] [telnyx 11] [telnyx 12] [telnyx 26] [telnyx 22] [telnyx 40] A transfer: taken at
/// once, told when it is accepted and when it is done, and recorded as one Refer of the account.
#[test]
fn a_transfer_is_told_from_start_to_end() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({ "client_state": "c3RlcCAx" }));
    let order = refer(&stage, &id, sid, json!({ "client_state": "c3RlcCAy" }));
    assert_eq!((order.to.as_str(), order.replaces, order.headers.len()), (TARGET, None, 0));
    assert!(order.credentials.is_none() && !order.no_subscription && order.bye_after.is_some());
    assert!(stage.server.shards.rest().is_empty());
    assert_eq!(stage.receiver.unseen(), 0);
    let shards = &stage.server.shards;
    shards.referred(&order, sid, 0, result(Some(202), None, IN_PROGRESS));
    shards.referred(&order, sid, 1, result(Some(202), Some(100), IN_PROGRESS));
    shards.referred(&order, sid, 2, result(Some(202), Some(180), IN_PROGRESS));
    shards.referred(&order, sid, 3, result(Some(202), Some(200), ReferStatus::Completed));
    let started = stage.expect("call.refer.started");
    let mut names: Vec<&String> = started.as_object().expect("an object").keys().collect();
    names.sort();
    let expected =
        "call_control_id call_leg_id call_session_id client_state connection_id from sip_notify_response to";
    assert_eq!(names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" "), expected);
    assert_eq!((&started["sip_notify_response"], &started["call_control_id"]), (&json!(100), &json!(id)));
    assert_eq!(
        (&started["from"], &started["to"]),
        (&json!("+4930100200"), &json!("sip:flow@pbx.example.org"))
    );
    assert_eq!((&started["connection_id"], &started["client_state"]), (&json!("12"), &json!("c3RlcCAy")));
    let completed = stage.expect("call.refer.completed");
    assert_eq!(
        (&completed["sip_notify_response"], &completed["client_state"]),
        (&json!(200), &json!("c3RlcCAy"))
    );
    let refers = stage.server.json("Refers");
    assert_eq!((&refers["total"], &refers["refers"][0]["to"]), (&json!(1), &json!(TARGET)));
}

/// [telnyx 38] [telnyx 22] After it, Baton ends the leg (the shard does, when asked to); told once, and last.
#[test]
fn a_transferred_leg_ends() {
    let stage = Stage::with(|application, _| application.bye_after = Some(Duration::from_millis(300)));
    let (id, sid) = stage.talking(json!({}));
    let order = refer(&stage, &id, sid, json!({ "client_state": "c3RlcCAy" }));
    assert_eq!(order.bye_after, Some(Duration::from_millis(300)));
    stage.server.shards.referred(&order, sid, 0, result(Some(202), Some(200), ReferStatus::Completed));
    stage.server.shards.end_by(sid, CallStatus::Completed, 0, EndedBy::Baton);
    stage.expect("call.refer.started");
    stage.expect("call.refer.completed");
    let hangup = stage.expect("call.hangup");
    assert_eq!(
        (&hangup["hangup_cause"], &hangup["client_state"]),
        (&json!("normal_clearing"), &json!("c3RlcCAy"))
    );
    assert_eq!(error(&stage.command(&id, "refer", json!({ "sip_address": TARGET }))).1, "90018");
    // Nothing more was told of it: the next events are those of another call.
    stage.talking(json!({}));
    assert_eq!(stage.receiver.unseen(), 0);
}

/// [telnyx 19] [telnyx 20] [telnyx 21] [telnyx 2.1] Where header fields and credentials go.
#[test]
fn headers_go_where_they_belong() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    let order = refer(
        &stage,
        &id,
        sid,
        json!({
            "custom_headers": [{ "name": "X-Ticket", "value": "9/10" }],
            "sip_headers": [{ "name": "User-to-User", "value": "56;encoding=hex" }],
            "sip_auth_username": "u",
            "sip_auth_password": "p",
        }),
    );
    assert_eq!(order.to, format!("{TARGET}?X-Ticket=9%2F10&User-to-User=56%3Bencoding%3Dhex"));
    assert_eq!(order.headers, [("User-to-User".to_owned(), "56;encoding=hex".to_owned())]);
    assert_eq!(order.credentials.map(|c| c.user.to_string()).as_deref(), Some("u"));
}

/// [telnyx 13] [telnyx 14] [telnyx 15] [telnyx 16] [telnyx 18] [telnyx 2.9] [telnyx 21] What a failure is
/// told as, and whether it was told as started. The call goes on, and may be referred again.
#[test]
fn failures_have_codes() {
    use ReferReason::*;
    use ReferStatus::{Busy, Canceled, Failed, NoAnswer};
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    for (codes, status, reason, started, code) in [
        ((Some(202), Some(486)), Busy, TargetBusy, Some(100), 486),
        ((Some(202), Some(603)), Failed, TargetRejected, Some(100), 603),
        ((Some(202), Some(480)), NoAnswer, TargetNoAnswer, Some(100), 480),
        ((Some(405), None), Failed, ReferRejected, None, 405),
        ((Some(407), None), Failed, ReferRejected, None, 407),
        ((Some(408), None), Failed, ReferTimeout, None, 408),
        ((Some(503), None), Failed, ReferTimeout, None, 503),
        ((Some(202), None), Failed, NotifyTimeout, Some(100), 408),
        ((Some(202), Some(180)), Failed, OutcomeUnknown, Some(100), 408),
        ((Some(202), None), Canceled, CallEnded, Some(100), 487),
        ((None, Some(180)), Failed, OutcomeUnknown, Some(180), 408),
    ] {
        let order = refer(&stage, &id, sid, json!({}));
        tell(&stage, &order, sid, codes, (status, Some(reason)));
        if let Some(first) = started {
            assert_eq!(stage.expect("call.refer.started")["sip_notify_response"], first, "{reason:?}");
        }
        assert_eq!(stage.expect("call.refer.failed")["sip_notify_response"], code, "{reason:?}");
        // A straggler changes nothing.
        tell(&stage, &order, sid, codes, (status, Some(reason)));
    }
    stage.done(&id, "hangup", json!({}));
    stage.server.shards.hang_up(sid);
    stage.expect("call.hangup");
}

/// [telnyx 18] A NOTIFY before the 202 starts it, once.
#[test]
fn a_notify_may_come_first() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    let order = refer(&stage, &id, sid, json!({}));
    for (n, codes) in
        [(None, Some(100)), (Some(202), Some(100)), (Some(202), Some(180))].into_iter().enumerate()
    {
        let seq = u32::try_from(n).expect("small");
        stage.server.shards.referred(&order, sid, seq, result(codes.0, codes.1, IN_PROGRESS));
    }
    stage.server.shards.referred(&order, sid, 9, result(Some(202), Some(200), ReferStatus::Completed));
    assert_eq!(stage.expect("call.refer.started")["sip_notify_response"], 100);
    assert_eq!(stage.expect("call.refer.completed")["sip_notify_response"], 200);
}

/// [telnyx 16] [telnyx 17] [telnyx 30] The party hangs up before the result: it is waited for, and the
/// end is told after it.
#[test]
fn the_end_is_told_last() {
    for (codes, status, reason, kind, code) in [
        (
            (Some(202), Some(100)),
            ReferStatus::Canceled,
            Some(ReferReason::CallEnded),
            "call.refer.failed",
            487,
        ),
        ((Some(202), Some(200)), ReferStatus::Completed, None, "call.refer.completed", 200),
    ] {
        let stage = Stage::new();
        let (id, sid) = stage.talking(json!({}));
        let order = refer(&stage, &id, sid, json!({}));
        stage.server.shards.referred(&order, sid, 0, result(Some(202), None, IN_PROGRESS));
        stage.server.shards.end(sid, CallStatus::Completed);
        assert_eq!(stage.expect("call.refer.started")["sip_notify_response"], 100);
        let alive = || stage.get(&format!("/v2/calls/{id}")).json()["data"]["is_alive"] == true;
        wait_until("its end is known", || !alive());
        assert_eq!(error(&stage.command(&id, "hangup", json!({}))).1, "90018");
        assert_eq!(stage.receiver.unseen(), 0);
        tell(&stage, &order, sid, codes, (status, reason));
        assert_eq!(stage.expect(kind)["sip_notify_response"], code);
        assert_eq!(stage.expect("call.hangup")["hangup_cause"], "normal_clearing");
    }
}

/// [telnyx 23] [telnyx 24] [telnyx 2.4] [telnyx 2.5] A command is executed once; one that was refused was
/// not executed. A second transfer waits for the end of the first.
#[test]
fn commands_are_executed_once() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    let body = |more: &str| json!({ "sip_address": TARGET, "command_id": more });
    assert_eq!(
        error(&stage.command(&id, "refer", json!({ "sip_address": "", "command_id": "job-7" }))).1,
        "10004"
    );
    stage.server.shards.refuse(Some(baton::sip::command::Refused::NotAnswered));
    assert_eq!(error(&stage.command(&id, "refer", body("job-7"))).1, "90034");
    stage.server.shards.refer(sid);
    stage.server.shards.refuse(None);
    stage.done(&id, "refer", body("job-7"));
    let order = stage.server.shards.refer(sid);
    stage.done(&id, "refer", body("job-7"));
    stage.done(&id, "refer", json!({ "sip_address": "sip:other@b", "command_id": "job-7" }));
    let busy = stage.command(&id, "refer", body("job-8"));
    assert_eq!((busy.status, error(&busy).1.as_str()), (422, "10015"));
    assert!(busy.body.contains("A refer is already in progress on this call."));
    assert!(stage.server.shards.rest().is_empty());
    stage.server.shards.referred(&order, sid, 0, result(Some(405), None, ReferStatus::Failed));
    stage.expect("call.refer.failed");
    stage.done(&id, "refer", body("job-8"));
    // Also when the call has ended: it was executed.
    stage.server.shards.end(sid, CallStatus::Completed);
    stage.done(&id, "refer", body("job-8"));
}

/// [telnyx 22] [telnyx 2.6] [telnyx 3.6] Client states replace each other; a refused command's does not.
#[test]
fn client_states() {
    let stage = Stage::new();
    let (id, sid) = stage.talking(json!({}));
    let order = refer(&stage, &id, sid, json!({}));
    stage.server.shards.referred(&order, sid, 0, result(Some(202), None, IN_PROGRESS));
    assert_eq!(stage.expect("call.refer.started")["client_state"], Value::Null);
    let refused = json!({ "sip_address": TARGET, "client_state": "cmVmdXNlZA==" });
    assert_eq!(stage.command(&id, "refer", refused).status, 422);
    let update = stage.send(
        "PUT",
        &format!("/v2/calls/{id}/actions/client_state_update"),
        &json!({ "client_state": "bmV3" }),
    );
    assert_eq!(update.status, 200, "{}", update.body);
    stage.server.shards.referred(&order, sid, 1, result(Some(202), Some(486), ReferStatus::Busy));
    assert_eq!(stage.expect("call.refer.failed")["client_state"], "bmV3");
    let (id, sid) = stage.talking(json!({ "client_state": "ZGlhbA==" }));
    let order = refer(&stage, &id, sid, json!({}));
    stage.server.shards.referred(&order, sid, 0, result(Some(405), None, ReferStatus::Failed));
    assert_eq!(stage.expect("call.refer.failed")["client_state"], "ZGlhbA==");
    assert_eq!(stage.get(&format!("/v2/calls/{id}")).json()["data"]["client_state"], "ZGlhbA==");
}
