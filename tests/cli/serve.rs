//! `baton serve`: starting, signals, and what stays behind.

use super::port::free_port;
use super::{Folder, baton, project};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A running server, with its log read line by line.
struct Server {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Server {
    fn start(args: &[&str]) -> Server {
        let mut command = baton();
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let log = BufReader::new(child.stderr.take().expect("its standard error"));
        Server { child, log, seen: String::new() }
    }

    /// Reads the log up to a line that holds `word`.
    fn wait_for(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let n = self.log.read_line(&mut line).expect("the log");
            assert!(n > 0, "the log ended before {word:?}:\n{}", self.seen);
            self.seen.push_str(&line);
            if line.contains(word) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(done.expect("kill runs").success());
    }

    fn end(mut self) -> (ExitStatus, String, String) {
        let status = self.child.wait().expect("an exit");
        let mut out = String::new();
        let _ = self.child.stdout.take().expect("its output").read_to_string(&mut out);
        let _ = self.log.read_to_string(&mut self.seen);
        (status, out, std::mem::take(&mut self.seen))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// A configuration, its port for SIP over UDP and TCP, and the one for HTTP.
fn config(folder: &Folder, extra: &str) -> (String, u16, u16) {
    let (sip, http) = (free_port(), free_port());
    let store = folder.0.join("state/baton.db");
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:{http}\"\n[shards]\ncount = 1\n\
         [records]\nstore = \"sqlite:{}\"\n{extra}\n\
         [[listener]]\nname = \"udp\"\nbind = \"udp:127.0.0.1:{sip}\"\n\
         [[listener]]\nname = \"tcp\"\nbind = \"tcp:127.0.0.1:{sip}\"\n",
        store.display()
    );
    let path = folder.write("baton.toml", &text);
    (path.to_str().expect("a name").to_owned(), sip, http)
}

/// [T-016] [T-145] A peer that is in no trunk hears nothing; the log says so, and is not flooded.
#[test]
fn whoever_is_not_listened_to_is_told_of() {
    const REQUESTS: usize = 50;
    let folder = Folder::new("strangers");
    let (file, sip, _) = config(&folder, "");
    let mut server = Server::start(&["serve", "--config", &file]);
    server.wait_for(" ready ");
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let source = stranger.local_addr().expect("an address").to_string();
    for n in 0..REQUESTS {
        let text = format!(
            "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        stranger.send_to(text.as_bytes(), ("127.0.0.1", sip)).expect("it is sent");
    }
    let line = server.wait_for("acl.unknown");
    assert!(line.contains(&format!("source={source}")) && line.contains("others=0"), "{line}");
    server.signal("TERM");
    let (_, _, log) = server.end();
    assert!(log.matches("acl.unknown").count() < REQUESTS / 2, "{log}");
}

/// SIGHUP does not kill it; SIGTERM ends it in order with exit code 0.
#[test]
fn signals_end_it_in_order() {
    for ending in ["TERM", "INT"] {
        let folder = Folder::new(&format!("signals-{ending}"));
        let (file, ..) = config(&folder, "");
        let mut server = Server::start(&["serve", "--config", &file]);
        server.wait_for(" ready ");
        server.signal("HUP");
        server.wait_for("reload_unavailable");
        server.signal(ending);
        let (status, _, log) = server.end();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains(&format!("signal=SIG{ending}")), "{log}");
        assert!(log.contains(" ended "), "{log}");
    }
}

/// [T-148] HTTP answers once the server is ready, and the API asks for the account's token.
#[test]
fn http_is_served_when_it_is_ready() {
    let folder = Folder::new("http");
    let account = "[[account]]\nsid = \"AC00000000000000000000000000000001\"\ntoken = \"t\"";
    let (file, _, http) = config(&folder, account);
    let mut server = Server::start(&["serve", "--config", &file]);
    server.wait_for(" ready ");
    assert_eq!(status(http, "/healthz"), 200);
    assert_eq!(status(http, "/readyz"), 200);
    let calls = "/restcomm/2012-04-24/Accounts/AC00000000000000000000000000000001/Calls.json";
    assert_eq!(status(http, calls), 401);
    server.signal("TERM");
    assert_eq!(server.end().0.code(), Some(0));
}

/// The status code that a GET is answered with.
fn status(port: u16, path: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code")
}

/// Node id and keys are made with mode 0600 beside the store, and stay the same.
#[test]
fn state_outlasts_a_restart() {
    let folder = Folder::new("state");
    let (file, ..) = config(&folder, "");
    let read = || {
        ["node-id", "token.key", "webhook.key"].map(|name| {
            let path = folder.0.join("state").join(name);
            let mode = std::fs::metadata(&path).expect("a state file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            std::fs::read_to_string(path).expect("a text")
        })
    };
    let mut kept = None;
    for _ in 0..2 {
        let mut server = Server::start(&["--config", &file]);
        server.wait_for(" ready ");
        server.signal("TERM");
        assert_eq!(server.end().0.code(), Some(0));
        let state = read();
        assert_eq!(*kept.get_or_insert_with(|| state.clone()), state);
    }
}

/// [T-144] as JSON each line has time, level, node and event.
#[test]
fn the_log_can_be_json() {
    let folder = Folder::new("json");
    let (file, ..) = config(&folder, "[log]\nformat = \"json\"");
    let mut server = Server::start(&["serve", "--config", &file]);
    server.wait_for("\"event\":\"ready\"");
    server.signal("TERM");
    let (status, _, log) = server.end();
    assert_eq!(status.code(), Some(0));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        for key in ["time", "level", "event", "message", "node"] {
            assert!(line.get(key).is_some(), "{key} in {line}");
        }
    }
}

/// A port that is taken is a failure while running, and says which.
#[test]
fn a_taken_port_exits_1() {
    let folder = Folder::new("taken");
    let (file, sip, _) = config(&folder, "");
    let _taken = UdpSocket::bind(("127.0.0.1", sip)).expect("the port");
    let (status, _, log) = Server::start(&["serve", "--config", &file]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&sip.to_string()), "{log}");
}

#[test]
fn a_broken_file_exits_2_before_anything_is_made() {
    let folder = Folder::new("broken");
    let file = folder.write("b.toml", "[state]\ndir = 5\n");
    let (status, _, log) = Server::start(&["serve", "--config", file.to_str().expect("a name")]).end();
    assert_eq!(status.code(), Some(2));
    assert!(log.contains("b.toml:2:7: state.dir is an integer"), "{log}");
}

/// A reader of standard error that never reads does not keep the server from ending.
#[test]
fn a_stuck_log_reader_does_not_hold_the_end_up() {
    let folder = Folder::new("stuck");
    let (file, ..) = config(&folder, "[log]\nlevel = \"trace\"");
    let mut server = Server::start(&["serve", "--config", &file]);
    server.wait_for(" ready ");
    server.signal("TERM");
    let mut waited = Duration::ZERO;
    while server.child.try_wait().expect("a status").is_none() {
        assert!(waited < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
        waited += Duration::from_millis(20);
    }
    assert!(project("config").is_dir());
}
