//! What operators use: metrics, health, readiness, the description; and that clients who behave
//! badly are their own problem.

use crate::harness::*;
use baton::control::Readiness;
use baton::shard::{CallResult, Dir, Phase};
use baton::sip::event::Direction;
use baton::sip::flow::Transport;
use baton::sip::message::Method;
use baton::sip::plan::TrunkIx;
use std::collections::HashSet;
use std::io::{Read, Write};

/// [T-148] Alive from the start; ready when no reason is left.
#[test]
fn health_and_readiness_are_two_things() {
    let server = Server::start();
    let alive = server.request("GET", "/healthz", &[]);
    assert_eq!((alive.status, &alive.json()["status"]), (200, &"alive".into()));
    let starting = server.request("GET", "/readyz", &[]);
    assert_eq!((starting.status, &starting.json()["ready"]), (503, &false.into()));
    assert_eq!(starting.json()["reasons"][0]["reason"], "starting");
    server.readiness.ready(Readiness::STARTING);
    let ready = server.request("GET", "/readyz", &[]);
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &true.into()));
    server.readiness.not_ready(Readiness::DRAINING, "asked to end");
    let draining = server.request("GET", "/readyz", &[]);
    assert_eq!(draining.status, 503);
    assert_eq!(
        draining.json()["reasons"],
        serde_json::json!([{ "reason": "draining", "detail": "asked to end" }])
    );
    assert_eq!(server.request("GET", "/healthz", &[]).status, 200);
}

/// Lost events are a warning, not a reason to take no calls.
#[test]
fn what_was_lost_is_said() {
    let server = Server::start();
    server.readiness.ready(Readiness::STARTING);
    server.io[1].events_lost.add(3);
    let ready = server.request("GET", "/readyz", &[]);
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["warnings"][0]["reason"], "records_lost");
}

/// [T-130] [T-131] [T-136] [C-214] Every family has HELP and TYPE; what the shards and their sockets counted is
/// added up.
#[test]
fn metrics_show_what_was_counted() {
    let server = Server::start();
    let alpha = Some(TrunkIx(0));
    for shard in &server.counters {
        shard.request(Dir::In, Method::Invite, Transport::Udp, alpha);
        shard.response(Dir::Out, Method::Invite, 200, alpha);
        shard.call_phase(alpha, Direction::Inbound, Phase::Up, 1);
        shard.call_result(alpha, Direction::Inbound, CallResult::Answered);
        shard.message();
    }
    server.io[0].handed_over.add(7);
    for io in &server.io {
        io.upgrade_failed.add(2);
    }
    server.send(completed(start(1, 0), 0, 1_000));
    assert_eq!(server.sids("Calls.json").len(), 1);
    let answer = server.request("GET", "/metrics", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.body;
    for line in [
        "baton_sip_requests_total{direction=\"in\",method=\"INVITE\",transport=\"udp\",trunk=\"alpha\"} 2",
        "baton_sip_responses_total{direction=\"out\",method=\"INVITE\",code=\"200\",trunk=\"alpha\"} 2",
        "baton_calls_active{trunk=\"alpha\",direction=\"inbound\",phase=\"up\"} 2",
        "baton_calls_active{trunk=\"alpha\",direction=\"inbound\",phase=\"setup\"} 0",
        "baton_calls_total{trunk=\"alpha\",direction=\"inbound\",result=\"answered\"} 2",
        "baton_shard_messages_total{shard=\"0\"} 1",
        "baton_shard_messages_total{shard=\"1\"} 1",
        "baton_shard_handoffs_total{shard=\"0\"} 7",
        "baton_cdr_written_total{sink=\"sqlite\"} 1",
        "baton_cdr_dropped_total{sink=\"sqlite\"} 0",
        "baton_process_start_time_seconds 1586253600",
        "baton_draining 0",
        "baton_io_total{what=\"upgrade_failed\"} 4",
        "baton_transactions_active{kind=\"invite_client\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.contains("baton_build_info{version="), "{text}");
    let described = |what: &str| -> HashSet<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.split(' ').next()).collect()
    };
    let (helped, typed) = (described("# HELP "), described("# TYPE "));
    assert_eq!(helped, typed);
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(typed.contains(name) || family.is_some_and(|f| typed.contains(f)), "{line} has no family");
        assert_eq!(line.rsplit(' ').next().map(|v| v.parse::<f64>().is_ok()), Some(true));
    }
}

/// [T-130] OpenMetrics for those who ask.
#[test]
fn metrics_speak_open_metrics() {
    let server = Server::start();
    let accept = ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let answer = server.request("GET", "/metrics", &[accept]);
    let content_type = answer.header("content-type").expect("a content type");
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(answer.body.ends_with("# EOF\n"));
    assert!(answer.body.contains("# TYPE baton_cdr_written counter\n"));
    assert!(!answer.body.contains("# TYPE baton_cdr_written_total"));
}

/// [T-132] Neither codes, methods nor anything else of a message becomes a label.
#[test]
fn labels_come_from_closed_lists() {
    let server = Server::start();
    for code in [0, 1_000, 299] {
        server.counters[0].response(Dir::In, Method::Other, code, None);
    }
    let text = server.request("GET", "/metrics", &[]).body;
    let series = |code: &str, n: u32| {
        format!(
            "baton_sip_responses_total{{direction=\"in\",method=\"other\",code=\"{code}\",\
             trunk=\"none\"}} {n}"
        )
    };
    assert!(text.contains(&series("other", 2)), "{text}");
    assert!(text.contains(&series("299", 1)));
}

/// Every path that the description names is answered, and none of them with 404; a command whose body
/// lacks what it needs, or that names no call, with 422.
#[test]
fn the_description_is_true() {
    let server = Server::start();
    server.readiness.ready(Readiness::STARTING);
    server.send(completed(start(1, 0), 0, 1_000));
    server.send([referred(refer(1, baton::sip::event::ReferStatus::Busy, 202, Some(486)))]);
    let document = server.request("GET", "/openapi.json", &[]).json();
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")));
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 22);
    for (template, item) in paths {
        let path = template
            .replace("{AccountSid}", ACCOUNT)
            .replace("{account_sid}", ACCOUNT)
            .replace("{call_sid}", &call_sid(1))
            .replace("{CallSid}", &call_sid(1))
            .replace("{ReferSid}", &refer_sid(1));
        if path.starts_with("/v2/") {
            for method in item.as_object().expect("operations").keys() {
                let bearer = format!("Bearer {TOKEN}");
                let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
                let ask =
                    |headers: &[_]| server.send_body(&method.to_uppercase(), &path, headers, "{}").status;
                assert!(matches!(ask(&headers), 200 | 422), "{method} {path}");
                assert_eq!(ask(&[]), 401, "{method} {path}");
            }
            continue;
        }
        let security = item["get"]["security"].as_array();
        let credentials = match security.is_some_and(|all| all.iter().any(|one| one.get("token").is_some())) {
            true => format!("Bearer {TOKEN}"),
            false => basic(ACCOUNT, TOKEN),
        };
        let shown = server.request("GET", &path, &[("Authorization", &credentials)]);
        assert_eq!(shown.status, 200, "{path}");
        let open = security.is_some_and(Vec::is_empty);
        let without = server.request("GET", &path, &[]).status;
        assert_eq!(without, if open { 200 } else { 401 }, "{path}");
    }
    // What is shown has exactly the members that are described.
    for (schema, resource) in [("CallList", "Calls.json"), ("ReferList", "Refers")] {
        let described = document["components"]["schemas"][schema]["properties"].as_object();
        let described: HashSet<_> = described.expect("a schema").keys().cloned().collect();
        let shown = server.json(resource);
        let shown: HashSet<_> = shown.as_object().expect("a list").keys().cloned().collect();
        assert_eq!(described, shown);
    }
}

/// Clients that send nothing, half a request, or far too much hold nobody up.
#[test]
fn bad_clients_disturb_no_one() {
    let server = Server::start();
    let mut silent: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut silent {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").expect("the server reads");
    }
    assert_eq!(server.request("GET", "/healthz", &[]).status, 200);
    let large = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let mut stream = server.connect();
    let _ = stream.write_all(large.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01 no HTTP at all\r\n\r\n").expect("the server reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
    assert_eq!(server.request("GET", "/healthz", &[]).status, 200);
}

/// Connections are kept for further requests; at the end they are closed in order.
#[test]
fn connections_are_reused_and_closed_in_order() {
    let mut server = Server::start();
    let mut stream = server.connect();
    let status = |stream: &mut std::net::TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is read");
        let mut answer = [0; 4_096];
        let n = stream.read(&mut answer).expect("it is answered");
        String::from_utf8_lossy(&answer[..n]).starts_with("HTTP/1.1 200")
    };
    assert!(status(&mut stream) && status(&mut stream));
    server.shutdown();
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).ok(), Some(0), "the idle connection is closed");
}

/// No answer repeats a token.
#[test]
fn tokens_are_not_repeated() {
    let server = Server::start();
    server.send(completed(start(1, 0), 0, 1_000));
    for path in
        [path("Calls.json"), path("Refers"), path("Nothing"), "/openapi.json".into(), "/metrics".into()]
    {
        let answer = server.get(&path);
        assert!(!format!("{answer:?}").contains(TOKEN), "{path}");
    }
}
