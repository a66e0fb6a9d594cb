//! The Refer resource: what became of a transfer, and how transfers are found.

use crate::harness::*;
use baton::sip::event::{
    CallSid, CallStarted, CallStatus, Cause, ReferReason, ReferRole, ReferSid, ReferSnapshot, ReferStatus,
};
use baton::sip::refer::ReferRule;
use serde_json::{Value, json};

/// [restcomm-refers 2] [restcomm-refers 3] [restcomm-refers 4] [restcomm-refers 5] [restcomm-refers 6] [restcomm-refers 7]
#[test]
fn a_successful_transfer_has_its_members_in_order() {
    let server = Server::start();
    server.send(completed(start(1, 0), 0, 60_000));
    let mut snapshot = refer(0x5d5d, ReferStatus::Completed, 202, Some(200));
    snapshot.created = at(432_004);
    server.send([referred(snapshot)]);
    let sid = refer_sid(0x5d5d);
    let answer = server.get(&path(&format!("Refers/{sid}")));
    let expected = format!(
        "{{\"sid\":\"{sid}\",\"date_created\":\"2020-04-07T10:07:12.004Z\",\
         \"account_sid\":\"{ACCOUNT}\",\"org_sid\":\"{ORGANISATION}\",\"call_sid\":\"{call}\",\
         \"to\":\"sip:desk2@pbx.example.org\",\"from\":\"sip:+4930100200@baton.example.net\",\
         \"call_status\":\"in-progress\",\"refer_sip_response_code\":\"202\",\
         \"notify_sip_response_code\":\"200\",\"api_version\":\"2012-04-24\",\
         \"uri\":\"/2012-04-24/Accounts/{ACCOUNT}/Refers/{sid}.json\"}}",
        call = call_sid(1),
    );
    assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()));
    let record = answer.json();
    let again = server.get(&format!("/restcomm{}", record["uri"].as_str().expect("a path")));
    assert_eq!(again.json(), record);
    let call = record["call_sid"].as_str().expect("a sid");
    assert_eq!(server.json(&format!("Calls/{call}.json"))["sid"], call);
    let list = server.json("Refers");
    assert_eq!((&list["total"], &list["refers"][0]), (&1.into(), &record));
}

/// The organisation of an account without one matches the documented form too.
#[test]
fn every_account_has_an_organisation() {
    let server = Server::start();
    let mut snapshot = refer(1, ReferStatus::Completed, 202, Some(200));
    snapshot.account = OTHER.into();
    server.send([referred(snapshot)]);
    let list = server.get_as(OTHER, &format!("/2012-04-24/Accounts/{OTHER}/Refers"), &[]).json();
    let organisation = list["refers"][0]["org_sid"].as_str().expect("a sid").to_owned();
    let digits = organisation.strip_prefix("OR").expect("its letters");
    assert!(digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
}

/// [restcomm-refers 8] [restcomm-refers 9] [restcomm-refers 10] [restcomm-refers 11] [restcomm-refers 12] [restcomm-refers 13]
/// [restcomm-refers 4.3] Every line of the table of section 4.
#[test]
fn codes_and_status_tell_what_happened() {
    use ReferStatus::{Busy, Canceled, Completed, Failed, InProgress, NoAnswer};
    let server = Server::start();
    let table = [
        (Failed, 405, None, None),
        (Failed, 603, None, None),
        (Failed, 500, None, None),
        (Failed, 408, None, None),
        (Failed, 503, None, None),
        (Failed, 400, None, None),
        (Failed, 202, None, None),
        (InProgress, 202, None, None),
        (InProgress, 200, Some(100), Some("in-progress")),
        (InProgress, 202, Some(180), Some("in-progress")),
        (Completed, 202, Some(200), Some("in-progress")),
        (Busy, 202, Some(486), Some("busy")),
        (Busy, 202, Some(600), Some("busy")),
        (NoAnswer, 202, Some(408), Some("no-answer")),
        (NoAnswer, 202, Some(480), Some("no-answer")),
        (NoAnswer, 202, Some(487), Some("no-answer")),
        (Failed, 202, Some(404), Some("failed")),
        (Failed, 202, Some(603), Some("failed")),
        (Canceled, 202, Some(180), Some("canceled")),
        (Failed, 202, Some(100), Some("failed")),
    ];
    for (n, (status, refer_code, notify_code, shown)) in (1..).zip(table) {
        server.send([referred(refer(n, status, refer_code, notify_code))]);
        let record = server.json(&format!("Refers/{}", refer_sid(n)));
        assert_eq!(record["refer_sip_response_code"], refer_code.to_string());
        assert_eq!(record.get("call_status").and_then(Value::as_str), shown, "{status:?}");
        assert_eq!(
            record.get("notify_sip_response_code").cloned(),
            notify_code.map(|code| json!(code.to_string()))
        );
    }
}

/// [restcomm-refers 2.2] [restcomm-refers 14] One record for one REFER, from its first answer to its
/// final result, and no further.
#[test]
fn a_record_follows_its_transfer() {
    let server = Server::start();
    let snapshot = |seq, status, refer_code, notify_code| {
        let mut snapshot = refer(1, status, 0, notify_code);
        (snapshot.seq, snapshot.refer_code) = (seq, refer_code);
        referred(snapshot)
    };
    server.send([snapshot(0, ReferStatus::InProgress, None, None)]);
    assert_eq!(server.get(&path(&format!("Refers/{}", refer_sid(1)))).status, 404);
    let record = |server: &Server| server.json(&format!("Refers/{}", refer_sid(1)));
    server.send([snapshot(1, ReferStatus::InProgress, Some(202), None)]);
    assert_eq!(record(&server)["refer_sip_response_code"], "202");
    server.send([snapshot(2, ReferStatus::InProgress, Some(202), Some(180))]);
    assert_eq!(record(&server)["notify_sip_response_code"], "180");
    server.send([snapshot(3, ReferStatus::Busy, Some(202), Some(486))]);
    let last = record(&server);
    assert_eq!((&last["call_status"], &last["notify_sip_response_code"]), (&"busy".into(), &"486".into()));
    server.send([snapshot(4, ReferStatus::Completed, Some(202), Some(200))]);
    assert_eq!(record(&server), last);
    assert_eq!(server.json("Refers")["total"], 1);
}

/// After a restart a transfer that was under way has failed, and stays so; one with its result keeps it. The
/// calls that were alive are nobody's to steer: nothing is ordered of a shard that never had them.
#[test]
fn transfers_do_not_outlast_their_process() {
    let mut server = Server::start();
    let alive = CallSid(0x11_0000);
    server.shards.dialled(alive, CallSid(0x12_0000));
    server.shards.change(alive, CallStatus::InProgress);
    server.send([
        referred(refer(1, ReferStatus::InProgress, 202, Some(180))),
        referred(refer(2, ReferStatus::Completed, 202, Some(200))),
    ]);
    let call = format!("Calls/{}.json", call_sid(0x11_0000));
    while server.json(&call)["status"] != "in-progress" {}
    assert_eq!(server.post(&call, "Status=completed").status, 200);
    assert!(!server.shards.rest().is_empty());
    let shown = |server: &Server, n| server.json(&format!("Refers/{}", refer_sid(n)))["call_status"].clone();
    assert_eq!((shown(&server, 1), shown(&server, 2)), ("in-progress".into(), "in-progress".into()));
    for _ in 0..2 {
        server = server.restarted();
        assert_eq!((shown(&server, 1), shown(&server, 2)), ("failed".into(), "in-progress".into()));
        let last = server.json(&format!("Refers/{}", refer_sid(1)));
        assert_eq!(
            (&last["refer_sip_response_code"], &last["notify_sip_response_code"]),
            (&"202".into(), &"180".into())
        );
        // What the process before told late, or its shard: a result is a result.
        server.send([referred(ReferSnapshot { seq: 9, ..refer(1, ReferStatus::Completed, 202, Some(200)) })]);
        assert_eq!(server.json(&format!("Refers/{}", refer_sid(1))), last);
        assert_eq!(server.post(&call, "Status=completed").status, 409);
        assert!(server.shards.rest().is_empty());
    }
}

/// [restcomm-refers 21] [restcomm-refers 1.5] [restcomm-refers 1.6]
#[test]
fn unknown_refers_are_not_found() {
    let server = Server::start();
    for sid in [refer_sid(9), "RFx".into(), "x".into(), refer_sid(9).to_lowercase()] {
        let answer = server.get(&path(&format!("Refers/{sid}.json")));
        assert_eq!((answer.status, answer.message().as_str()), (404, "Refer not found."));
    }
}

/// [restcomm-refers 22] [restcomm-refers 23] [restcomm-refers 26] [restcomm-refers 27] [restcomm-refers 28]
#[test]
fn refers_are_filtered() {
    let server = Server::start();
    let sent = |n, status, notify_code, from: &str, to: &str| {
        let snapshot = refer(n, status, 202, notify_code);
        referred(ReferSnapshot { from: from.into(), to: to.into(), call: CallSid(100 + n), ..snapshot })
    };
    server.send([
        sent(1, ReferStatus::Completed, Some(200), "sip:50_x@b.example", "sip:alice@a.example"),
        sent(2, ReferStatus::Busy, Some(486), "sip:carol@b.example", "sip:Alice2@a.example"),
        sent(3, ReferStatus::Failed, None, "sip:carol@b.example", "sip:dave@a.example"),
        sent(4, ReferStatus::InProgress, Some(100), "sip:erin@b.example", "sip:dave@a.example"),
    ]);
    let found = |query: &str| server.sids(&format!("Refers?{query}"));
    let all = [4, 3, 2, 1].map(refer_sid);
    assert_eq!(found("ReferTo=ALICE"), [2, 1].map(refer_sid));
    assert_eq!(found("ReferFrom=Carol@B"), [3, 2].map(refer_sid));
    assert_eq!(found("ReferFrom=%25"), [""; 0]);
    assert_eq!(found("ReferFrom=_"), [refer_sid(1)]);
    assert_eq!(found("ReferCallStatus=busy"), [refer_sid(2)]);
    assert_eq!(found("ReferCallStatus=in-progress"), [4, 1].map(refer_sid));
    assert_eq!(found("ReferCallStatus=failed"), [""; 0], "a refused REFER has no call status");
    assert_eq!(found("ReferCallStatus=completed"), [""; 0]);
    assert_eq!(found(&format!("CallSid={}", call_sid(103))), [refer_sid(3)]);
    assert_eq!(found(&format!("CallSid={}", call_sid(1))), [""; 0]);
    assert_eq!(found("CallSid=CAx"), [""; 0]);
    assert_eq!(found("ReferTo=alice&ReferFrom=carol"), [refer_sid(2)]);
    assert_eq!(found("ReferTo=alice&ReferCallStatus=failed"), [""; 0]);
    assert_eq!(found("refercallstatus=busy"), all);
    assert_eq!(found("ReferTo="), all);
}

/// [restcomm-refers 24] [restcomm-refers 25]
#[test]
fn the_day_and_second_of_creation_filter() {
    let server = Server::start();
    let mut snapshot = refer(1, ReferStatus::Completed, 202, Some(200));
    snapshot.created = at(12_345);
    server.send([referred(snapshot)]);
    let total = |value: &str| server.json(&format!("Refers?DateCreated={value}"))["total"].clone();
    assert_eq!(total("2020-04-07T10:00:12"), 1);
    assert_eq!(total("2020-04-07T10:00:13"), 0);
    assert_eq!(total("2020-04-07T10:00:12.345Z"), 1);
    assert_eq!(total("2020-04-07"), 1);
    assert_eq!(total("2020-04-08"), 0);
    for wrong in ["yesterday", "2021-3-9", "2021-02-30"] {
        let answer = server.get(&path(&format!("Refers?DateCreated={wrong}")));
        assert_eq!(answer.status, 400, "{wrong}");
        assert_eq!(answer.message(), "DateCreated is not a valid ISO 8601 date.");
    }
}

/// What was decided, by which rule, and the calls that a transfer ties together, in the record of the
/// transfer and in that of each call that takes part in it.
#[test]
fn decisions_and_ties_are_shown() {
    let server = Server::start();
    let of_refer = Some(Cause { refer: ReferSid(9), call: CallSid(1) });
    let target = CallStarted { cause: of_refer, parent: Some(CallSid(2)), ..start(3, 0) };
    server.send([started(start(1, 0)), started(start(2, 0)), started(target), started(start(4, 0))]);
    let allowed = ReferSnapshot {
        rule: Some(ReferRule::Allow(0)),
        role: ReferRole::Substitute,
        moved: Some(CallSid(2)),
        target: Some(CallSid(3)),
        ..refer(9, ReferStatus::Completed, 202, Some(200))
    };
    let denied = ReferSnapshot {
        rule: Some(ReferRule::MaxRate),
        reason: Some(ReferReason::Policy),
        call: CallSid(4),
        ..refer(10, ReferStatus::Failed, 503, None)
    };
    server.send([referred(allowed), referred(denied)]);

    let decision = json!({ "allowed": true, "rule": "refer.allow[0]", "role": "substitute" });
    let record = server.json(&format!("Refers/{}", refer_sid(9)));
    assert_eq!(record["decision"], decision);
    assert_eq!(
        (&record["moved_call_sid"], &record["target_call_sid"]),
        (&json!(call_sid(2)), &json!(call_sid(3)))
    );
    let record = server.json(&format!("Refers/{}", refer_sid(10)));
    assert_eq!(record["decision"], json!({ "allowed": false, "rule": "refer.max_rate", "role": "relay" }));
    assert_eq!((record.get("moved_call_sid"), record.get("target_call_sid")), (None, None));

    for n in 1..=3 {
        let call = server.json(&format!("Calls/{}.json", call_sid(n)));
        let expected = json!([{
            "sid": refer_sid(9), "call_sid": call_sid(1), "to": "sip:desk2@pbx.example.org",
            "decision": decision, "moved_call_sid": call_sid(2), "target_call_sid": call_sid(3),
        }]);
        assert_eq!(call["refers"], expected, "{n}");
        assert_eq!(call.get("refer_sid"), (n == 3).then(|| json!(refer_sid(9))).as_ref());
    }
    let leg = server.json(&format!("Calls/{}.json", call_sid(3)));
    assert_eq!(leg["parent_call_sid"], call_sid(2));
    let refused = server.json(&format!("Calls/{}.json", call_sid(4)));
    assert_eq!(refused["refers"][0]["decision"]["allowed"], false);
    // In a list, a call says no more than which transfer it comes of.
    assert_eq!(server.json("Calls.json")["calls"][0].get("refers"), None);
}
