//! A web server of a few lines, on loopback: it keeps the requests it gets and answers by path.

use crate::harness::PATIENCE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    /// The parameters, in order: of the body, else of the query.
    pub fn form(&self) -> Vec<(String, String)> {
        let text = if self.method == "POST" { &self.body } else { &self.query };
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.form().into_iter().map(|(name, _)| name).collect()
    }

    pub fn value(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// User and password.
    pub fn credentials(&self) -> Option<String> {
        let text = self.header("authorization")?.strip_prefix("Basic ")?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    }
}

/// What a path is answered with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A document.
    Rcml(String),
    /// A status with these header lines and this body.
    Other(u16, Vec<(&'static str, String)>, String),
    /// Nothing: the connection stays open.
    Never,
    /// A header, a body of this byte without end, and how long between two pieces of it.
    Endless(u8, Duration),
    /// A header of which a little comes every now and then, without end.
    Drip,
}

#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    replies: Mutex<HashMap<String, Reply>>,
    received: Mutex<(Vec<Received>, usize)>,
    changed: Condvar,
    held: Mutex<Vec<TcpStream>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Receiver { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As it stands in a form.
    pub fn escaped(&self, path: &str) -> String {
        url::form_urlencoded::byte_serialize(self.url(path).as_bytes()).collect()
    }

    /// From now on, this path is answered with a document of these verbs.
    pub fn rcml(&self, path: &str, verbs: &str) {
        self.reply(path, Reply::Rcml(format!("<Response>{verbs}</Response>")));
    }

    /// From now on, this path is answered with this JSON.
    pub fn verbs(&self, path: &str, json: &Value) {
        let kind = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
        self.reply(path, Reply::Other(200, kind, json.to_string()));
    }

    pub fn reply(&self, path: &str, reply: Reply) {
        self.state.replies.lock().expect("nobody failed").insert(path.to_owned(), reply);
    }

    /// The next request; it has to come.
    pub fn next(&self) -> Received {
        let received = self.state.received.lock().expect("nobody failed");
        let wait =
            self.state.changed.wait_timeout_while(received, PATIENCE, |(all, seen)| all.len() == *seen);
        let (mut received, _) = wait.expect("nobody failed");
        let (all, seen) = &mut *received;
        let next = all.get(*seen).cloned().expect("a request comes");
        *seen += 1;
        next
    }

    /// The next request, which is for this path.
    pub fn expect(&self, path: &str) -> Received {
        let next = self.next();
        assert_eq!(next.path, path, "{next:?}");
        next
    }

    /// How many requests came that nobody has looked at.
    pub fn unseen(&self) -> usize {
        let received = self.state.received.lock().expect("nobody failed");
        received.0.len() - received.1
    }
}

fn serve(state: &State, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let mut stream = stream;
    while let Some(request) = read(&mut reader) {
        let reply = state.replies.lock().expect("nobody failed").get(&request.path).cloned();
        state.received.lock().expect("nobody failed").0.push(request);
        state.changed.notify_all();
        let (status, headers, body) = match reply {
            None => (200, Vec::new(), String::new()),
            Some(Reply::Rcml(body)) => (200, vec![("Content-Type", "text/xml".to_owned())], body),
            Some(Reply::Other(status, headers, body)) => (status, headers, body),
            Some(Reply::Endless(byte, pause)) => {
                let head = b"HTTP/1.1 200 x\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n";
                let size = if pause.is_zero() { 0x1000 } else { 1 };
                let chunk =
                    [format!("{size:x}\r\n").into_bytes(), vec![byte; size], b"\r\n".to_vec()].concat();
                return without_end(stream, head, &chunk, pause);
            }
            Some(Reply::Drip) => {
                return without_end(stream, b"HTTP/1.1 200 x\r\nX-Slow: ", b"s", Duration::from_millis(50));
            }
            Some(Reply::Never) => {
                state.held.lock().expect("nobody failed").push(stream);
                return;
            }
        };
        let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&body);
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Until nobody listens any more.
fn without_end(mut stream: TcpStream, first: &[u8], then: &[u8], pause: Duration) {
    let mut written = stream.write_all(first);
    while written.is_ok() {
        std::thread::sleep(pause);
        written = stream.write_all(then);
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    let mut next = |line: &mut String| {
        line.clear();
        reader.read_line(line).ok().filter(|n| *n > 0).map(|_| line.trim_end().to_owned())
    };
    let first = next(&mut line)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let text = next(&mut line)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(": ")?;
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.and_then(|(_, n)| n.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let body = String::from_utf8(body).ok()?;
    Some(Received { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}
