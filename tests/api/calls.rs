//! The Call resource and its list: members, filters, order.

use crate::harness::*;
use baton::sip::event::{CallChanged, CallSid, CallStarted, CallStatus, Direction, Event};
use serde_json::Value;

fn members(value: &Value, text: &str) -> Vec<String> {
    // serde_json's map is sorted; the order on the wire is what stands in the text.
    let mut members: Vec<_> = value.as_object().expect("an object").keys().map(String::clone).collect();
    members.sort_by_key(|name| text.find(&format!("\"{name}\":")));
    members
}

/// [restcomm-calls 7] [restcomm-calls 8] [restcomm-calls 9] [restcomm-calls 4.1] [restcomm-calls 4.3]
#[test]
fn a_live_call_has_its_members_in_order() {
    let server = Server::start();
    let call = CallStarted {
        caller_name: Some("Jane \"J\" Doe".into()),
        forwarded_from: Some("+4930555".into()),
        ..start(1, 5_250)
    };
    server.send([changed(&call, 9_000, CallStatus::InProgress)]);
    server.send([started(call)]);
    let text = server.get(&path(&format!("Calls/{}.json", call_sid(1)))).body;
    let call: Value = serde_json::from_str(&text).expect("JSON");
    let sid = call_sid(1);
    let base = format!("/2012-04-24/Accounts/{ACCOUNT}/Calls/{sid}");
    let expected = serde_json::json!({
        "sid": sid,
        "InstanceId": format!("ID{NODE:032x}"),
        "date_created": "Tue, 7 Apr 2020 10:00:05 +0000",
        "date_updated": "Tue, 7 Apr 2020 10:00:09 +0000",
        "account_sid": ACCOUNT,
        "to": "maria",
        "from": "+4930100200",
        "status": "in-progress",
        "start_time": "2020-04-07T10:00:05.250Z",
        "direction": "inbound",
        "api_version": "2012-04-24",
        "forwarded_from": "+4930555",
        "caller_name": "Jane \"J\" Doe",
        "uri": format!("{base}.json"),
        "subresource_uris": {
            "notifications": format!("{base}/Notifications.json"),
            "recordings": format!("{base}/Recordings.json"),
        },
    });
    assert_eq!(call, expected);
    let order = [
        "sid",
        "InstanceId",
        "date_created",
        "date_updated",
        "account_sid",
        "to",
        "from",
        "status",
        "start_time",
        "direction",
        "api_version",
        "forwarded_from",
        "caller_name",
        "uri",
        "subresource_uris",
    ];
    assert_eq!(members(&call, &text), order);
    assert!(!text.contains("null"));
    assert!(sid.starts_with(call["InstanceId"].as_str().expect("a text")));
}

/// [restcomm-calls 22] [restcomm-calls 23] [restcomm-calls 4.4] [restcomm-calls 7.2] [restcomm-calls 9.2]
#[test]
fn ended_calls_have_their_end_and_duration() {
    let server = Server::start();
    let rang = start(1, 0);
    server.send([
        changed(&rang, 1_000, CallStatus::Ringing),
        changed(&rang, 4_000, CallStatus::InProgress),
        changed(&rang, 14_100, CallStatus::Completed),
        changed(&rang, 15_000, CallStatus::Failed),
    ]);
    server.send([started(rang)]);
    let call = server.json(&format!("Calls/{}.json", call_sid(1)));
    assert_eq!(call["status"], "completed");
    assert_eq!(call["end_time"], "2020-04-07T10:00:14.100Z");
    assert_eq!((&call["duration"], &call["ring_duration"]), (&11.into(), &3.into()));
    for (n, status) in
        [(2, CallStatus::Busy), (3, CallStatus::NoAnswer), (4, CallStatus::Canceled), (5, CallStatus::Failed)]
    {
        let call = start(n, 0);
        server.send([changed(&call, 30_000, status)]);
        server.send([started(call)]);
        let call = server.json(&format!("Calls/{}.json", call_sid(n)));
        assert_eq!((&call["status"], &call["duration"]), (&status.text().into(), &0.into()));
        assert!(call["end_time"].is_string());
    }
}

/// [restcomm-calls 4] A call that was refused says with which code; one that was answered, or has not
/// ended, or was given up by its caller, says nothing of the kind.
#[test]
fn refused_calls_have_their_code() {
    let server = Server::start();
    let by = |start: &CallStarted, status: CallStatus, code: u16| match changed(start, 9_000, status) {
        Event::CallChanged(change) => Event::CallChanged(CallChanged { code, ..change }),
        other => other,
    };
    for (n, first, last, told) in [
        (1, None, Some((CallStatus::Failed, 404)), Some("404")),
        (2, None, Some((CallStatus::Busy, 603)), Some("603")),
        (3, Some((CallStatus::InProgress, 200)), Some((CallStatus::Completed, 0)), None),
        (4, Some((CallStatus::InProgress, 200)), None, None),
        (5, Some((CallStatus::Ringing, 180)), None, None),
    ] {
        let call = start(n, 0);
        server.send(first.into_iter().chain(last).map(|(status, code)| by(&call, status, code)));
        server.send([started(call)]);
        let call = server.json(&format!("Calls/{}.json", call_sid(n)));
        assert_eq!(call.get("sip_response_code").and_then(Value::as_str), told, "{n}");
    }
}

/// [restcomm-calls 4.4] A difference that is exactly whole is not rounded up.
#[test]
fn whole_seconds_stay() {
    let server = Server::start();
    server.send(completed(start(1, 0), 500, 10_500));
    assert_eq!(server.json(&format!("Calls/{}.json", call_sid(1)))["duration"], 10);
}

/// [restcomm-calls 14] [restcomm-calls 9.1] [restcomm-calls 3.2] Unknown sids of any shape: 404, empty.
#[test]
fn unknown_calls_are_not_found() {
    let server = Server::start();
    server.send([started(start(1, 0))]);
    let shapes = [
        call_sid(2),
        "CA00000000000000000000000000000001".to_owned(),
        format!("{}@sip.example.com", call_sid(1)),
        call_sid(1).to_uppercase(),
        "x".to_owned(),
    ];
    for sid in shapes {
        let answer = server.get(&path(&format!("Calls/{sid}.json")));
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{sid}");
    }
}

/// [restcomm-calls 8.1] [restcomm-calls 8.2]
#[test]
fn xml_has_every_child_and_escapes_text() {
    let server = Server::start();
    let call = CallStarted { caller_name: Some("<Tom> & \u{1}\"J\"".into()), ..start(1, 0) };
    server.send(completed(call, 0, 2_000));
    let body = server.get(&path(&format!("Calls/{}", call_sid(1)))).body;
    let base = format!("/2012-04-24/Accounts/{ACCOUNT}/Calls/{}", call_sid(1));
    let expected = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><RestcommResponse><Call><Sid>{sid}</Sid>\
         <InstanceId>ID{NODE:032x}</InstanceId>\
         <DateCreated>Tue, 7 Apr 2020 10:00:00 +0000</DateCreated>\
         <DateUpdated>Tue, 7 Apr 2020 10:00:02 +0000</DateUpdated>\
         <ParentCallSid></ParentCallSid><AccountSid>{ACCOUNT}</AccountSid><To>maria</To>\
         <From>+4930100200</From><PhoneNumberSid></PhoneNumberSid><Status>completed</Status>\
         <StartTime>2020-04-07T10:00:00.000Z</StartTime><EndTime>2020-04-07T10:00:02.000Z</EndTime>\
         <Duration>2</Duration><Price></Price><PriceUnit></PriceUnit><Direction>inbound</Direction>\
         <AnsweredBy></AnsweredBy><ApiVersion>2012-04-24</ApiVersion><ForwardedFrom></ForwardedFrom>\
         <CallerName>NAME</CallerName><Uri>{base}</Uri>\
         <SubresourceUris><Notifications>{base}/Notifications</Notifications>\
         <Recordings>{base}/Recordings</Recordings></SubresourceUris>\
         <Ring_duration></Ring_duration></Call></RestcommResponse>",
        sid = call_sid(1),
    );
    let (before, after) = body.split_once("<CallerName>").expect("a name");
    let (name, after) = after.split_once("</CallerName>").expect("its end");
    assert_eq!(format!("{before}<CallerName>NAME</CallerName>{after}"), expected);
    assert_eq!(quick_xml::escape::unescape(name).as_deref(), Ok("<Tom> & \"J\""));
}

/// [restcomm-calls 8.3]
#[test]
fn the_xml_list_has_its_attributes() {
    let server = Server::start();
    server.send((1..=3).map(|n| started(start(n, 0))));
    let body = server.get(&path("Calls.xml?PageSize=2")).body;
    let uri = format!("/2012-04-24/Accounts/{ACCOUNT}/Calls");
    let links = |page: u32| format!("{uri}?Page={page}&amp;PageSize=2&amp;Limit=10000");
    let open = format!(
        "<Calls page=\"0\" numpages=\"1\" pagesize=\"2\" total=\"3\" start=\"0\" end=\"1\" \
         uri=\"{uri}\" firstpageuri=\"{first}\" previouspageuri=\"null\" \
         nextpageuri=\"{uri}?Page=1&amp;PageSize=2&amp;AfterSid={after}&amp;Limit=10000\" \
         lastpageuri=\"{last}\"><Call>",
        first = links(0),
        last = links(1),
        after = call_sid(2),
    );
    assert!(body.contains(&open), "{body}");
    assert_eq!(body.matches("<Call>").count(), 2);
}

/// Notifications and Recordings are there, and empty.
#[test]
fn lists_below_a_call_are_empty() {
    let server = Server::start();
    server.send([started(start(1, 0))]);
    for below in ["Notifications", "Recordings"] {
        let json = server.json(&format!("Calls/{}/{below}.json", call_sid(1)));
        assert_eq!(json, serde_json::json!({ below.to_lowercase(): [] }));
        let xml = server.get(&path(&format!("Calls/{}/{below}", call_sid(1))));
        assert_eq!(xml.header("content-type"), Some("application/xml"));
        assert_eq!(server.get(&path(&format!("Calls/{}/{below}", call_sid(2)))).status, 404);
    }
}

/// [restcomm-calls 37] [restcomm-calls 38] [restcomm-calls 5.1.1] [restcomm-calls 5.1.2] [restcomm-calls 5.1.5]
#[test]
fn to_from_and_status_filter() {
    let server = Server::start();
    let call = |n, from: &str, to: &str| CallStarted { from: from.into(), to: to.into(), ..start(n, 0) };
    server.send([
        started(call(1, "+12015550100", "alice")),
        started(call(2, "+12015550101", "malice")),
        started(call(3, "50%_x", "bob")),
    ]);
    let busy = start(2, 0);
    server.send([changed(&busy, 1_000, CallStatus::Busy)]);
    let found = |query: &str| {
        let mut sids = server.sids(&format!("Calls.json?{query}"));
        sids.sort();
        sids
    };
    let all = [call_sid(1), call_sid(2), call_sid(3)];
    assert_eq!(found("Status=busy"), [call_sid(2)]);
    assert_eq!(found("Status=nonsense"), [""; 0]);
    assert_eq!(found("Status=BUSY"), [""; 0]);
    assert_eq!(found("To=alice"), [call_sid(1), call_sid(2)]);
    assert_eq!(found("To=ALICE"), [""; 0]);
    assert_eq!(found("From=+12015550100"), [call_sid(1)]);
    assert_eq!(found("From=%2B12015550100"), [call_sid(1)]);
    assert_eq!(found("From=0100"), [call_sid(1)]);
    assert_eq!(found("From=%25_x"), [call_sid(3)]);
    assert_eq!(found("From=%25"), [""; 0]);
    assert_eq!(found("from=0100"), all);
    assert_eq!(found("From="), all);
    assert_eq!(found("To=alice&Status=busy"), [call_sid(2)]);
    assert_eq!(found("To=alice&From=_x"), [""; 0]);
    assert_eq!(found("Unknown=1"), all);
    assert_eq!(found("To=bob&To=alice"), [call_sid(3)]);
}

/// [restcomm-calls 39] [restcomm-calls 40] [restcomm-calls 5.1.3] [restcomm-calls 5.1.4]
#[test]
fn times_filter_inclusively() {
    let server = Server::start();
    server.send(completed(start(1, 15_123), 15_500, 75_900));
    server.send([started(start(2, 20_000))]);
    let total = |query: &str| server.json(&format!("Calls.json?{query}"))["total"].clone();
    assert_eq!(total("StartTime=2020-04-07T10:00:15"), 2);
    assert_eq!(total("StartTime=2020-04-07T10:00:15.123Z"), 2);
    assert_eq!(total("StartTime=2020-04-07T12:00:15.123%2B02:00"), 2);
    assert_eq!(total("StartTime=2020-04-07T10:00:16"), 1);
    assert_eq!(total("StartTime=2020-04-07"), 2);
    assert_eq!(total("StartTime=2020-04-08"), 0);
    assert_eq!(total("EndTime=2020-04-07"), 0);
    assert_eq!(total("EndTime=2020-04-08"), 1);
    assert_eq!(total("EndTime=2020-04-07T10:01:15.900"), 1);
    assert_eq!(total("EndTime=2020-04-07T10:01:15"), 0);
    for wrong in ["2018-13-01", "05/10/2018", "2018-10-05T22:45", "garbage"] {
        for name in ["StartTime", "EndTime"] {
            let answer = server.get(&path(&format!("Calls.json?{name}={wrong}")));
            assert_eq!(answer.status, 400);
            assert!(answer.message().contains(name));
        }
    }
}

/// [restcomm-calls 41] Legs are found by the call they belong to; a call by its own sid.
#[test]
fn legs_are_found_by_their_parent() {
    let server = Server::start();
    let leg = |n, parent| CallStarted {
        parent: Some(CallSid(parent)),
        direction: Direction::OutboundDial,
        ..start(n, 0)
    };
    server.send([started(start(1, 0)), started(leg(2, 1)), started(leg(3, 2))]);
    assert_eq!(server.sids(&format!("Calls.json?ParentCallSid={}", call_sid(1))), [call_sid(2)]);
    let leg = server.json(&format!("Calls/{}.json", call_sid(2)));
    assert_eq!(leg["parent_call_sid"], call_sid(1));
    assert_eq!((&leg["direction"], &leg["status"]), (&"outbound-dial".into(), &"queued".into()));
    assert_eq!(server.sids("Calls.json?ParentCallSid=CAx"), [""; 0]);
    assert_eq!(server.sids(&format!("Calls.json?CallSid={}", call_sid(3))), [call_sid(3)]);
    assert_eq!(server.sids("Calls.json?CallSid=CAx"), [""; 0]);
}

/// [restcomm-calls 42] [restcomm-calls 5.3.1] [restcomm-calls 5.3.2] [restcomm-calls 5.3.3] [restcomm-calls 5.3.4] [restcomm-calls 5.3.5]
/// [restcomm-calls 5.3.6]
#[test]
fn lists_are_sorted() {
    let server = Server::start();
    let call = |n: u64, from: &str, to: &str, direction| CallStarted {
        from: from.into(),
        to: to.into(),
        direction,
        ..start(n.into(), n * 1_000)
    };
    server.send(completed(call(1, "b", "x", Direction::OutboundApi), 1_000, 11_000));
    server.send(completed(call(2, "a", "z", Direction::Inbound), 2_000, 32_000));
    server.send([started(call(3, "c", "y", Direction::Inbound))]);
    server.send(completed(call(4, "a", "w", Direction::OutboundDial), 4_000, 9_000));
    let sorted = |query: &str| -> Vec<u32> {
        let sids = server.sids(&format!("Calls.json?{query}"));
        sids.iter().map(|sid| (1..=4).find(|n| *sid == call_sid((*n).into())).unwrap_or(0)).collect()
    };
    assert_eq!(sorted(""), [4, 3, 2, 1]);
    assert_eq!(sorted("SortBy=DateCreated"), [1, 2, 3, 4]);
    assert_eq!(sorted("SortBy=DateCreated:DESC"), [4, 3, 2, 1]);
    assert_eq!(sorted("SortBy=Duration:desc"), [2, 1, 4, 3]);
    assert_eq!(sorted("SortBy=Duration"), [3, 4, 1, 2]);
    assert_eq!(sorted("SortBy=From:asc"), [4, 2, 1, 3]);
    assert_eq!(sorted("SortBy=To"), [4, 1, 3, 2]);
    assert_eq!(sorted("SortBy=Direction"), [3, 2, 1, 4]);
    assert_eq!(sorted("SortBy=Status:desc"), [3, 4, 2, 1]);
    assert_eq!(sorted("SortBy=Nope:asc"), [4, 3, 2, 1]);
    assert_eq!(sorted("SortBy=from"), [4, 3, 2, 1]);
    assert_eq!(sorted("Reverse=false"), [1, 2, 3, 4]);
    for (query, message) in [
        ("SortBy=:asc", "Error parsing the SortBy parameter: missing field to sort by"),
        (
            "SortBy=From:up",
            "Error parsing the SortBy parameter: sort direction needs to be either ASC or DESC",
        ),
    ] {
        let answer = server.get(&path(&format!("Calls.json?{query}")));
        assert_eq!((answer.status, answer.message().as_str()), (400, message));
    }
}
