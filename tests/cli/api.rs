//! `baton calls` and `baton refers`, against a server that answers what a test tells it to.

use super::{baton, stderr, stdout};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const CALLS: &str = "/restcomm/2012-04-24/Accounts/AC00000000000000000000000000000001/Calls";
const REFERS: &str = "/restcomm/2012-04-24/Accounts/AC00000000000000000000000000000001/Refers";

/// What was asked: the request line, the Authorization, and the body.
#[derive(Debug)]
struct Asked {
    line: String,
    authorization: String,
    body: String,
}

/// An HTTP server that gives these answers, status and body, one after the other.
struct Server {
    url: String,
    asked: Receiver<Asked>,
}

impl Server {
    fn new(answers: Vec<(u16, String)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, asked) = channel();
        thread::spawn(move || {
            let mut answers = answers.into_iter();
            while let Ok((stream, _)) = listener.accept() {
                let mut reader = BufReader::new(stream);
                while let Some(request) = read(&mut reader) {
                    let (status, body) = answers.next().unwrap_or((500, String::new()));
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = sender.send(request);
                    let _ = reader.get_mut().write_all(answer.as_bytes());
                }
            }
        });
        Server { url, asked }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = baton();
        command
            .args(args)
            .env("BATON_URL", &self.url)
            .env("BATON_ACCOUNT", ACCOUNT)
            .env("BATON_TOKEN", "secret");
        command.output().expect("the command runs")
    }

    fn asked(&self) -> Asked {
        self.asked.try_recv().expect("a request")
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut asked = Asked { line: String::new(), authorization: String::new(), body: String::new() };
    reader.read_line(&mut asked.line).ok().filter(|&n| n > 0)?;
    asked.line = asked.line.trim_end().to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => asked.authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

fn call(n: u32, status: &str) -> String {
    format!(
        "{{\"sid\":\"ID1-CA{n}\",\"status\":\"{status}\",\"direction\":\"inbound\",\"from\":\"+3120\",\"to\":\"1000\",\
         \"start_time\":\"2020-04-07T11:10:15.000Z\",\"duration\":{n}}}"
    )
}

fn page(member: &str, items: &[String], last: u32) -> (u16, String) {
    (
        200,
        format!(
            "{{\"page\":0,\"num_pages\":{last},\"total\":{},\"{member}\":[{}]}}",
            items.len(),
            items.join(",")
        ),
    )
}

/// A table by default, with the filters in the query and the account in the header.
#[test]
fn calls_are_listed() {
    for args in [
        &["calls", "--status", "in-progress", "--from", "+3120"][..],
        &["calls", "list", "--status", "in-progress", "--from", "+3120"],
    ] {
        let server = Server::new(vec![page("calls", &[call(7, "in-progress"), call(12, "in-progress")], 0)]);
        let output = server.run(args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let asked = server.asked();
        assert_eq!(
            asked.line,
            format!("GET {CALLS}.json?Status=in-progress&From=%2B3120&PageSize=50&Page=0 HTTP/1.1")
        );
        assert_eq!(asked.authorization, "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpzZWNyZXQ=");
        assert_eq!(
            stdout(&output),
            "STARTED (UTC)        STATUS       DIRECTION  FROM   TO    SECONDS  SID\n\
             2020-04-07 11:10:15  in-progress  inbound    +3120  1000  7        ID1-CA7\n\
             2020-04-07 11:10:15  in-progress  inbound    +3120  1000  12       ID1-CA12\n"
        );
    }
}

/// JSON when asked for; more than one page when needed; no more than wanted.
#[test]
fn json_is_whole() {
    let full: Vec<String> = (0..1_000).map(|n| call(n, "completed")).collect();
    let server = Server::new(vec![page("calls", &full, 1), page("calls", &full, 1)]);
    let output = server.run(&["calls", "--json", "--limit", "1500"]);
    let calls: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(calls.as_array().map(Vec::len), Some(1_500));
    assert_eq!(calls[3]["sid"], "ID1-CA3");
    assert!(server.asked().line.contains("PageSize=1000&Page=0 "));
    assert!(server.asked().line.contains("PageSize=1000&Page=1 "));
}

#[test]
fn an_empty_list_says_so() {
    let server = Server::new(vec![page("calls", &[], 0), page("calls", &[], 0), page("refers", &[], 0)]);
    assert_eq!(stdout(&server.run(&["calls"])), "no calls\n");
    assert_eq!(stdout(&server.run(&["calls", "--json"])), "[]\n");
    assert_eq!(stdout(&server.run(&["refers"])), "no transfers\n");
}

/// What the network says cannot command a terminal.
#[test]
fn one_call_is_shown() {
    let body = r#"{"sid":"ID1-CA7","status":"busy","from":"\u001b[2Jbob","to":"1000","duration":0}"#;
    let server = Server::new(vec![(200, body.into()), (200, body.into())]);
    let output = server.run(&["calls", "show", "ID1-CA7"]);
    assert_eq!(server.asked().line, format!("GET {CALLS}/ID1-CA7.json HTTP/1.1"));
    assert_eq!(
        stdout(&output),
        "Sid             ID1-CA7\nStatus          busy\nFrom            \u{fffd}[2Jbob\nTo              1000\n\
         Seconds         0\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&server.run(&["calls", "show", "x", "--json"]))).expect("JSON");
    assert_eq!(json["status"], "busy");
}

/// [restcomm-calls 10] Acting is the API's create and modify.
#[test]
fn calls_are_placed_ended_and_redirected() {
    let place = [
        "calls",
        "place",
        "--from",
        "+3120",
        "--to",
        "sip:bob@a?X-A=1",
        "--document",
        "http://h/d.xml?a=b&c",
    ];
    let more = [
        "--method",
        "get",
        "--timeout",
        "20",
        "--status-callback",
        "http://h/cb",
        "--status-events",
        "ringing,completed",
    ];
    for (args, line, body, says) in [
        (
            [&place[..], &more].concat(),
            format!("POST {CALLS}.json HTTP/1.1"),
            "From=%2B3120&To=sip%3Abob%40a%3FX-A%3D1&Url=http%3A%2F%2Fh%2Fd.xml%3Fa%3Db%26c&Method=GET\
             &StatusCallback=http%3A%2F%2Fh%2Fcb&StatusCallbackEvent=ringing%2Ccompleted&Timeout=20",
            "ID1-CA7 is queued; `baton calls show ID1-CA7` says what becomes of it\n",
        ),
        (
            vec!["calls", "hangup", "ID1-CA7"],
            format!("POST {CALLS}/ID1-CA7.json HTTP/1.1"),
            "Status=completed",
            "ID1-CA7 is being ended; it was queued\n",
        ),
        (
            vec!["calls", "cancel", "ID1-CA7"],
            format!("POST {CALLS}/ID1-CA7.json HTTP/1.1"),
            "Status=canceled",
            "ID1-CA7 is being canceled; it was queued\n",
        ),
        (
            vec!["calls", "redirect", "ID1-CA7", "--document", "http://h/d.xml", "--child", "stay"],
            format!("POST {CALLS}/ID1-CA7.json HTTP/1.1"),
            "Url=http%3A%2F%2Fh%2Fd.xml&ChildCallMode=StayConnected",
            "ID1-CA7 gets the document; it was queued\n",
        ),
    ] {
        let server = Server::new(vec![(200, call(7, "queued"))]);
        let output = server.run(&args);
        assert_eq!(stdout(&output), says, "{}", stderr(&output));
        let asked = server.asked();
        assert_eq!((asked.line, &*asked.body), (line, body));
    }
}

/// [restcomm-calls 45] Only a call that is not answered yet is canceled: of another it is said that it
/// goes on, and how it is ended.
#[test]
fn an_answered_call_is_not_said_to_be_canceled() {
    let server = Server::new(vec![(200, call(7, "in-progress")), (200, call(7, "ringing"))]);
    let said = stdout(&server.run(&["calls", "cancel", "ID1-CA7"]));
    assert_eq!(said, "ID1-CA7 is answered and goes on; `baton calls hangup ID1-CA7` ends it\n");
    let said = stdout(&server.run(&["calls", "cancel", "ID1-CA7"]));
    assert_eq!(said, "ID1-CA7 is being canceled; it was ringing\n");
}

/// A call that failed is shown with the reason.
#[test]
fn a_refused_call_says_why() {
    let body = r#"{"sid":"ID1-CA7","status":"failed","from":"1000","to":"bob","sip_response_code":"404"}"#;
    let server = Server::new(vec![(200, body.into()), page("calls", &[body.into()], 0)]);
    let said = stdout(&server.run(&["calls", "show", "ID1-CA7"]));
    assert!(said.contains("\nStatus          failed\nSIP response    404\n"), "{said}");
    let said = stdout(&server.run(&["calls"]));
    assert!(said.contains(" failed 404 ") && said.contains(" bob "), "{said}");
}

#[test]
fn transfers_are_listed_and_shown() {
    let refer = r#"{"sid":"RF1","date_created":"2020-04-07T11:10:15.123Z","call_sid":"ID1-CA7","to":"sip:carol@c",
        "from":"sip:bob@b","call_status":"busy","refer_sip_response_code":"202","notify_sip_response_code":"486"}"#;
    let refused = r#"{"sid":"RF2","date_created":"2020-04-07T11:10:16.000Z","call_sid":"ID1-CA8","to":"sip:carol@c",
        "from":"sip:bob@b","refer_sip_response_code":"405"}"#;
    let server = Server::new(vec![page("refers", &[refer.into(), refused.into()], 0), (200, refer.into())]);
    let output = server.run(&["refers", "--status", "busy", "--call", "ID1-CA7"]);
    assert_eq!(
        server.asked().line,
        format!("GET {REFERS}.json?ReferCallStatus=busy&CallSid=ID1-CA7&PageSize=50&Page=0 HTTP/1.1")
    );
    assert_eq!(
        stdout(&output),
        "SEEN (UTC)           NEW CALL  REFER  NOTIFY  FROM       TO           SID\n\
         2020-04-07 11:10:15  busy      202    486     sip:bob@b  sip:carol@c  RF1\n\
         2020-04-07 11:10:16  -         405    -       sip:bob@b  sip:carol@c  RF2\n"
    );
    let output = server.run(&["refers", "show", "RF1"]);
    assert_eq!(server.asked().line, format!("GET {REFERS}/RF1.json HTTP/1.1"));
    assert!(stdout(&output).contains("\nREFER answered  202\nNOTIFY said     486\n"), "{}", stdout(&output));
}

/// Exit code 1, and what to do about it.
#[test]
fn refusals_say_what_to_do() {
    for (status, body, says) in [
        (401, "", "BATON_TOKEN"),
        (403, "", "another account"),
        (404, "", "no such record"),
        (404, r#"{"message":"Refer not found."}"#, "Refer not found."),
        (409, r#"{"message":"Baton only proxies this call."}"#, "only proxies"),
        (405, "", "older version"),
        (503, "", "503"),
        (200, "<html>", "another program"),
        (200, "[]", "another program"),
    ] {
        let server = Server::new(vec![(status, body.into())]);
        let output = server.run(&["calls", "show", "ID1-CA7"]);
        assert_eq!(output.status.code(), Some(1), "{status}");
        assert!(stderr(&output).contains(says), "{status}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("baton calls: "), "{}", stderr(&output));
    }
    // Bound, so that it is nobody else's, and not listening: connections are refused.
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let free = closed.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let mut command = baton();
    command.args(["refers", "--url", &format!("http://{free}"), "--account", ACCOUNT, "--token", "t"]);
    let output = command.output().expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is `baton serve` running there?"), "{}", stderr(&output));
    assert!(stderr(&output).contains("efused"), "{}", stderr(&output));
}

/// Exit code 2, and nothing is asked.
#[test]
fn wrong_usage_is_told() {
    let server = Server::new(Vec::new());
    for (args, says) in [
        (&["calls", "--status", "done"][..], "in-progress"),
        (&["calls", "--limit", "0"], "--limit"),
        (&["calls", "show"], "SID"),
        (&["calls", "place", "--from", "1"], "--document"),
        (&["calls", "--status", "busy", "show", "ID1-CA7"], "baton calls list"),
        (&["refers", "place", "ID1-CA7"], "Usage"),
        (&["refers", "--status", "busy", "show", "RF1"], "baton refers list"),
        (&["refers", "--status", "busy", "list"], "behind `list`"),
        (&["calls", "--account", "1"], "hexadecimal"),
        (&["calls", "--url", "127.0.0.1"], "http://127.0.0.1:8080"),
        (&["calls", "--url", "ftp://127.0.0.1"], "http://127.0.0.1:8080"),
    ] {
        let output = server.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?} {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
    let output = super::run(&["calls"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("BATON_ACCOUNT"), "{}", stderr(&output));
    assert!(server.asked.try_recv().is_err());
}

#[test]
fn help_has_examples() {
    for args in [
        &["calls"][..],
        &["calls", "list"],
        &["calls", "show"],
        &["calls", "place"],
        &["calls", "hangup"],
        &["calls", "cancel"],
        &["calls", "redirect"],
        &["refers"],
        &["refers", "list"],
        &["refers", "show"],
    ] {
        let output = super::run(&[args, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(stdout(&output).contains("Example"), "{args:?}");
        assert!(stdout(&output).contains("BATON_TOKEN"), "{args:?}");
    }
    let output = super::run(&["refers", "--help"]);
    assert!(stdout(&output).contains("<Refer>"), "{}", stdout(&output));
}
