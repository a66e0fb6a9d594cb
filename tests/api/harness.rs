//! A server with two accounts, a client of a few lines, and events to fill the store with.

use crate::shard::FakeShards;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton::config::Secret;
use baton::control::{
    Account, Application, ControlConfig, Handle, JambonzOptions, Readiness, Steering, WebhookLimits,
    WebhookOptions, events, runtime, serve,
};
use baton::io;
use baton::record::{RecordConfig, Store, call_sid_text};
use baton::shard::Counters;
use baton::sip::event::{
    CallChanged, CallSid, CallStarted, CallStatus, Direction, Event, ReferReason, ReferRole, ReferSid,
    ReferSnapshot, ReferStatus,
};
use baton::sip::time::Time;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

pub const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub const OTHER: &str = "AC00000000000000000000000000000002";
pub const ORGANISATION: &str = "OR000000000000000000000000000000aa";
pub const TOKEN: &str = "change-me";
pub const OTHER_TOKEN: &str = "change-me-too";
/// Signs what is sent for an account's calls.
pub const ACCOUNT_SECRET: &str = "account secret";
/// The seed of the key that signs webhooks.
pub const WEBHOOK_KEY: [u8; 32] = [7; 32];
pub const NODE: u128 = 0x0a11_ce00_0000_0000_0000_0000_0000_0001;

/// How long what has to come is waited for, by tests and by the server: only what fails takes so long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// When who does not answer has fallen silent, where a test is about that: short, and yet others answer in it.
pub const SILENCE: Duration = Duration::from_secs(5);

/// 10:00:00 UTC on 7 April 2020.
const MORNING: u64 = 1_586_253_600_000;

/// That many milliseconds after ten o'clock.
pub fn at(millis: u64) -> Time {
    Time::from_millis(MORNING + millis)
}

/// Who is silent for so long does not answer, and transfers are decided on as early as ever if that is soon.
pub fn impatient(silence: Duration) -> impl FnOnce(&mut Steering) {
    move |steering| {
        steering.webhook.limits.timeout = silence;
        steering.jambonz.timeout = silence;
        if silence < PATIENCE {
            steering.jambonz.decision = JambonzOptions::default().decision;
        }
    }
}

pub struct Server {
    handle: Option<Handle>,
    _runtime: tokio::runtime::Runtime,
    store: Option<Store>,
    folder: PathBuf,
    pub counters: Vec<Arc<Counters>>,
    pub io: Vec<Arc<io::Counters>>,
    pub readiness: Readiness,
    pub shards: Arc<FakeShards>,
}

impl Server {
    pub fn start() -> Server {
        Server::steering(Vec::new(), true)
    }

    /// With these applications; webhooks may or may not reach this machine.
    pub fn steering(applications: Vec<Application>, allow_private: bool) -> Server {
        Server::adjusted(applications, |steering| steering.webhook.allow_private = allow_private)
    }

    /// With these applications, steered a little differently.
    pub fn adjusted(applications: Vec<Application>, adjust: impl FnOnce(&mut Steering)) -> Server {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("baton-api-{}-{number}", std::process::id()));
        // Of a process of the same number, which was killed.
        let _ = std::fs::remove_dir_all(&folder);
        Server::over(folder, applications, adjust)
    }

    /// Another process over the same records.
    pub fn restarted(mut self) -> Server {
        drop(self.handle.take());
        drop(self.store.take());
        // What is left of the first one must not take them away.
        let folder = std::mem::take(&mut self.folder);
        Server::over(folder, Vec::new(), |_| {})
    }

    fn over(folder: PathBuf, applications: Vec<Application>, adjust: impl FnOnce(&mut Steering)) -> Server {
        let clock: baton::record::Clock = Arc::new(|| at(3_600_000));
        let store =
            Store::open(RecordConfig::new(folder.join("baton.db"), NODE, clock)).expect("the store opens");
        let counters = vec![Arc::new(Counters::new(2)), Arc::new(Counters::new(2))];
        let io = vec![Arc::new(io::Counters::default()), Arc::new(io::Counters::default())];
        let readiness = Readiness::starting();
        let account = |sid: &str, org_sid: Option<&str>| Account {
            sid: sid.into(),
            token: Secret::new(token_of(sid)),
            org_sid: org_sid.map(String::from),
            webhook_secret: Some(Secret::new(ACCOUNT_SECRET)),
        };
        let runtime = runtime().expect("the runtime starts");
        let (sender, steered) = events();
        let shards = Arc::new(FakeShards::new(2, sender, store.sender()));
        let mut steering = Steering {
            node: NODE,
            shards: shards.clone(),
            events: steered,
            store: store.sender(),
            applications,
            webhook: WebhookOptions {
                allow_private: true,
                limits: WebhookLimits { timeout: PATIENCE, ..WebhookLimits::default() },
                ..WebhookOptions::default()
            },
            host: "baton.example.net".into(),
            media_fails: false,
            webhook_key: WEBHOOK_KEY,
            jambonz: JambonzOptions { timeout: PATIENCE, decision: PATIENCE, integer_event_status: false },
        };
        adjust(&mut steering);
        let config = ControlConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            accounts: vec![account(ACCOUNT, Some(ORGANISATION)), account(OTHER, None)],
            reader: store.reader(),
            record_stats: store.stats(),
            shards: counters.clone(),
            io: io.clone(),
            trunks: vec!["alpha".into(), "bravo".into()],
            tls_profiles: vec!["default".into()],
            readiness: readiness.clone(),
            started: at(0),
            max_series: 10_000,
            steering,
        };
        let handle = serve(config, runtime.handle()).expect("the server starts");
        Server {
            handle: Some(handle),
            _runtime: runtime,
            store: Some(store),
            folder,
            counters,
            io,
            readiness,
            shards,
        }
    }

    pub fn send(&self, events: impl IntoIterator<Item = Event>) {
        let sender = self.store.as_ref().expect("it is open").sender();
        for event in events {
            sender.send(event).expect("the store takes events");
        }
    }

    pub fn connect(&self) -> TcpStream {
        let address = self.handle.as_ref().expect("it is running").address();
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream
    }

    /// Sends a request with these header lines and reads the answer.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).expect("the server reads");
        Answer::read(stream)
    }

    /// POST of a form with the credentials of the first account.
    pub fn post(&self, resource: &str, form: &str) -> Answer {
        self.post_as("application/x-www-form-urlencoded", resource, form)
    }

    /// POST of a body of some kind with the credentials of the first account.
    pub fn post_as(&self, content_type: &str, resource: &str, body: &str) -> Answer {
        let (credentials, path) = (basic(ACCOUNT, TOKEN), path(resource));
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: {credentials}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).expect("the server reads");
        Answer::read(stream)
    }

    /// A request with a body and these header lines.
    pub fn send_body(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let length = body.len().to_string();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers.iter().chain(&[("Content-Length", length.as_str())]) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).expect("the server reads");
        Answer::read(stream)
    }

    /// A metric's value, by its name and labels.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{series} is not in {text}"))
    }

    /// GET with the credentials of an account and these further header lines.
    pub fn get_as(&self, account: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let credentials = basic(account, token_of(account));
        let mut all = vec![("Authorization", credentials.as_str())];
        all.extend_from_slice(headers);
        self.request("GET", path, &all)
    }

    /// GET with the credentials of the first account.
    pub fn get(&self, path: &str) -> Answer {
        self.get_as(ACCOUNT, path, &[])
    }

    /// GET of a resource of the first account, which has to be there.
    pub fn json(&self, resource: &str) -> Value {
        let answer = self.get(&path(resource));
        assert_eq!(answer.status, 200, "{resource}: {}", answer.body);
        answer.json()
    }

    /// The sids of a list.
    pub fn sids(&self, resource: &str) -> Vec<String> {
        let list = self.json(resource);
        let items = list.get("calls").or(list.get("refers")).and_then(Value::as_array);
        let items = items.expect("it is a list");
        items.iter().map(|i| i["sid"].as_str().expect("a sid").to_owned()).collect()
    }

    pub fn shutdown(&mut self) {
        self.handle.take().expect("it is running").shutdown(Duration::from_secs(10));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.take());
        drop(self.store.take());
        if !self.folder.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Asks until it is so.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let clock = io::Clock::new();
    let begin = clock.now();
    while !so() {
        assert!(clock.now().since(begin) < PATIENCE, "not so after {PATIENCE:?}: {what}");
    }
}

/// The token of an account.
pub fn token_of(account: &str) -> &'static str {
    if account == OTHER { OTHER_TOKEN } else { TOKEN }
}

/// A resource of the first account.
pub fn path(resource: &str) -> String {
    format!("/restcomm/2012-04-24/Accounts/{ACCOUNT}/{resource}")
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn read(mut stream: impl Read) -> Answer {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).expect("the server answers");
        let text = String::from_utf8(text).expect("the answer is UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("the header ends");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        Answer {
            status: status.and_then(|s| s.parse().ok()).expect("a status"),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.body);
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().expect("a message").to_owned()
    }
}

/// The public sid of a call.
pub fn call_sid(n: u128) -> String {
    call_sid_text(NODE, CallSid(n))
}

/// The public sid of a Refer.
pub fn refer_sid(n: u128) -> String {
    ReferSid(n).to_string()
}

/// What a call is, before anything happened to it.
pub fn start(n: u128, millis: u64) -> CallStarted {
    CallStarted {
        sid: CallSid(n),
        account: ACCOUNT.into(),
        at: at(millis),
        from: "+4930100200".into(),
        to: "maria".into(),
        caller_name: None,
        forwarded_from: None,
        direction: Direction::Inbound,
        call_id: format!("{n}@127.0.0.1"),
        parent: None,
        cause: None,
    }
}

pub fn started(start: CallStarted) -> Event {
    Event::CallStarted(Arc::new(start))
}

pub fn changed(start: &CallStarted, millis: u64, status: CallStatus) -> Event {
    Event::CallChanged(CallChanged {
        sid: start.sid,
        account: start.account.clone(),
        started: start.at,
        at: at(millis),
        status,
        code: 0,
    })
}

/// A call that was answered at once and ended.
pub fn completed(start: CallStarted, millis: u64, end: u64) -> [Event; 3] {
    let answered = changed(&start, millis, CallStatus::InProgress);
    let ended = changed(&start, end, CallStatus::Completed);
    [started(start), answered, ended]
}

/// A Refer of the first account.
pub fn refer(n: u128, status: ReferStatus, refer_code: u16, notify_code: Option<u16>) -> ReferSnapshot {
    ReferSnapshot {
        sid: ReferSid(n),
        call: CallSid(1),
        account: ACCOUNT.into(),
        role: ReferRole::Relay,
        created: at(u64::try_from(n).unwrap_or(0) * 1_000),
        at: at(60_000),
        seq: 1,
        from: "sip:+4930100200@baton.example.net".into(),
        to: "sip:desk2@pbx.example.org".into(),
        refer_code: Some(refer_code),
        notify_code,
        status,
        reason: (status == ReferStatus::Failed).then_some(ReferReason::TargetRejected),
        rule: None,
        moved: None,
        target: None,
    }
}

pub fn referred(refer: ReferSnapshot) -> Event {
    Event::Refer(Box::new(refer))
}
