//! Pages of both lists: counts, links, ends.

use crate::harness::*;
use baton::sip::event::ReferStatus;
use serde_json::{Value, json};

fn calls(server: &Server, count: u128) {
    server.send((1..=count).map(|n| started(start(n, u64::try_from(n).unwrap_or(0)))));
}

fn numbers(list: &Value) -> Value {
    json!([list["page"], list["num_pages"], list["total"], list["start"], list["end"]])
}

/// [restcomm-calls 31] [restcomm-calls 5.2]
#[test]
fn a_short_list_is_one_page() {
    let server = Server::start();
    calls(&server, 3);
    let text = server.get(&path("Calls.json")).body;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["calls"].as_array().map(Vec::len), Some(3));
    let envelope = text.split("\"calls\"").next().expect("an envelope");
    let uri = format!("/2012-04-24/Accounts/{ACCOUNT}/Calls");
    assert_eq!(
        envelope,
        format!(
            "{{\"page\":0,\"num_pages\":0,\"page_size\":50,\"total\":3,\"limit\":10000,\"start\":\"0\",\
             \"end\":\"3\",\"uri\":\"{uri}\",\"first_page_uri\":\"{uri}?Page=0&PageSize=50&Limit=10000\",\
             \"previous_page_uri\":\"null\",\"next_page_uri\":\"null\",\
             \"last_page_uri\":\"{uri}?Page=0&PageSize=50&Limit=10000\","
        )
    );
}

/// [restcomm-calls 5.2.3] [restcomm-calls 5.2.2]
#[test]
fn an_empty_list_is_a_page() {
    let server = Server::start();
    let list = server.json("Calls.json");
    assert_eq!(numbers(&list), json!([0, 0, 0, "0", "0"]));
    assert_eq!(list["calls"], json!([]));
}

/// [restcomm-calls 32]
#[test]
fn pages_of_one() {
    let server = Server::start();
    calls(&server, 75);
    let list = server.json("Calls.json?PageSize=1");
    assert_eq!(numbers(&list), json!([0, 75, 75, "0", "0"]));
    let uri = format!("/2012-04-24/Accounts/{ACCOUNT}/Calls");
    assert_eq!(list["last_page_uri"], format!("{uri}?Page=75&PageSize=1&Limit=10000"));
    let shown = list["calls"][0]["sid"].as_str().expect("a sid");
    assert_eq!(shown, call_sid(75));
    assert_eq!(list["next_page_uri"], format!("{uri}?Page=1&PageSize=1&AfterSid={shown}&Limit=10000"));
    let next = server
        .get(list["next_page_uri"].as_str().expect("a path").replace("/Calls?", "/Calls.json?").as_str());
    assert_eq!(next.json()["calls"][0]["sid"], call_sid(74));
}

/// [restcomm-calls 33]
#[test]
fn the_last_page_is_not_full() {
    let server = Server::start();
    calls(&server, 442);
    let list = server.json("Calls.json?PageSize=10&Limit=500");
    assert_eq!(numbers(&list), json!([0, 44, 442, "0", "9"]));
    let last = server.json("Calls.json?PageSize=10&Limit=500&Page=44");
    assert_eq!(numbers(&last), json!([44, 44, 442, "440", "442"]));
    assert_eq!(last["calls"].as_array().map(Vec::len), Some(2));
    assert_eq!(last["next_page_uri"], "null");
    let before = format!("/2012-04-24/Accounts/{ACCOUNT}/Calls?Page=43&PageSize=10&Limit=500");
    assert_eq!(last["previous_page_uri"], before);
}

/// [restcomm-calls 34] [restcomm-calls 35] The worked example of the contract.
#[test]
fn an_exact_multiple_ends_with_an_empty_page() {
    let server = Server::start();
    calls(&server, 6);
    let last = server.json("Calls.json?PageSize=3&Page=2");
    assert_eq!(numbers(&last), json!([2, 2, 6, "6", "6"]));
    assert_eq!((&last["calls"], &last["next_page_uri"]), (&json!([]), &json!("null")));
    let behind = server.get(&path("Calls.json?PageSize=3&Page=3"));
    assert_eq!((behind.status, behind.body.as_str()), (400, ""));
    for wrong in [
        "Page=-1",
        "Page=x",
        "Page=1.5",
        "PageSize=0",
        "PageSize=-5",
        "PageSize=many",
        "PageSize=1001",
        "Limit=0",
        "Limit=x",
        "Page=%2B1",
        "Page=99999999999999999999",
    ] {
        assert_eq!(server.get(&path(&format!("Calls.json?{wrong}"))).status, 400, "{wrong}");
    }
    calls(&server, 7);
    let pages: Vec<_> = (0..3)
        .map(|page| {
            let list = server.json(&format!("Calls.json?PageSize=3&Page={page}"));
            json!([list["start"], list["end"], list["calls"].as_array().map(Vec::len)])
        })
        .collect();
    assert_eq!(pages, [json!(["0", "2", 3]), json!(["3", "5", 3]), json!(["6", "7", 1])]);
}

/// [restcomm-calls 36] [restcomm-calls 43] [restcomm-calls 5.2.4] Limit cuts the list; links carry neither filters nor order;
/// AfterSid is taken and ignored.
#[test]
fn limit_cuts_and_links_forget_filters() {
    let server = Server::start();
    calls(&server, 5);
    let list = server.json("Calls.json?Limit=2&PageSize=1&SortBy=DateCreated&To=maria&AfterSid=x");
    assert_eq!(numbers(&list), json!([0, 2, 2, "0", "0"]));
    assert_eq!(list["limit"], 2);
    for link in ["uri", "first_page_uri", "next_page_uri", "last_page_uri"] {
        let link = list[link].as_str().expect("a link");
        assert!(!link.contains("SortBy") && !link.contains("To="), "{link}");
    }
    assert_eq!(server.sids("Calls.json?Limit=2&PageSize=5"), [call_sid(5), call_sid(4)]);
    assert_eq!(server.sids("Calls.json?Limit=2&SortBy=DateCreated"), [call_sid(1), call_sid(2)]);
}

/// [restcomm-refers 1] [restcomm-refers 5.2]
#[test]
fn no_refers_are_a_page_too() {
    let server = Server::start();
    let list = server.json("Refers");
    assert_eq!(numbers(&list), json!([0, 0, 0, "0", "0"]));
    assert_eq!(list["refers"], json!([]));
}

/// [restcomm-refers 29] [restcomm-refers 30] [restcomm-refers 31] [restcomm-refers 32] The example of the contract.
#[test]
fn refers_are_paged_without_a_limit() {
    let server = Server::start();
    server.send((1..=2).map(|n| referred(refer(n, ReferStatus::Completed, 202, Some(200)))));
    let text = server.get(&path("Refers?PageSize=1&Limit=1&SortBy=x")).body;
    let uri = format!("/api/2012-04-24/Accounts/{ACCOUNT}/Refers");
    assert_eq!(
        text.split("\"refers\"").next().expect("an envelope"),
        format!(
            "{{\"page\":0,\"num_pages\":2,\"page_size\":1,\"total\":2,\"start\":\"0\",\"end\":\"0\",\
             \"uri\":\"{uri}\",\"first_page_uri\":\"{uri}?Page=0&PageSize=1\",\
             \"previous_page_uri\":\"null\",\
             \"next_page_uri\":\"{uri}?Page=1&PageSize=1&AfterSid={newest}\",\
             \"last_page_uri\":\"{uri}?Page=2&PageSize=1\",",
            newest = refer_sid(2),
        )
    );
    assert!(!text.contains("limit") && !text.contains("Limit"));
    let list: Value = serde_json::from_str(&text).expect("JSON");
    for link in ["uri", "first_page_uri", "next_page_uri", "last_page_uri"] {
        let answer = server.get(list[link].as_str().expect("a link"));
        assert_eq!(answer.status, 200, "{link}");
    }
    let second = server.json("Refers?PageSize=1&Page=1");
    assert_eq!(numbers(&second), json!([1, 2, 2, "1", "1"]));
    assert_eq!(second["refers"][0]["sid"], refer_sid(1));
    let third = server.json("Refers?PageSize=1&Page=2");
    assert_eq!(numbers(&third), json!([2, 2, 2, "2", "2"]));
    assert_eq!((&third["refers"], &third["next_page_uri"]), (&json!([]), &json!("null")));
    assert_eq!(server.get(&path("Refers?PageSize=1&Page=3")).status, 400);
    for wrong in ["Page=-1", "Page=x", "PageSize=0", "PageSize=1001"] {
        assert_eq!(server.get(&path(&format!("Refers?{wrong}"))).status, 400, "{wrong}");
    }
}

/// [restcomm-refers 32] [restcomm-refers 5.2.3] Newest first; of one moment, the larger sid first.
#[test]
fn refers_of_one_moment_go_by_sid() {
    let server = Server::start();
    let all = [3, 1, 2].map(|n| {
        let mut refer = refer(n, ReferStatus::Completed, 202, Some(200));
        refer.created = at(if n == 1 { 9_000 } else { 5_000 });
        referred(refer)
    });
    server.send(all);
    assert_eq!(server.sids("Refers"), [refer_sid(1), refer_sid(3), refer_sid(2)]);
}
