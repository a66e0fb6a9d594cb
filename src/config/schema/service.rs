//! Tables about the process: HTTP, shards, records, state, logs, DNS, webhooks.

use crate::config::read::{At, FromToml, Reader, Value};
use crate::io::SocketOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[http]`: REST, metrics and health.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where to listen.
    pub listen: At<SocketAddr>,
    /// Whether a call to a `sip:` address that no route takes goes to the address's own host.
    pub direct_calls: bool,
}

impl Default for Http {
    fn default() -> Http {
        let listen = At { value: SocketAddr::from(([127, 0, 0, 1], 8080)), span: 0..0 };
        Http { listen, direct_calls: true }
    }
}

impl Http {
    pub(super) fn read(mut table: Reader<'_>) -> Http {
        let default = Http::default();
        let http = Http {
            listen: table.or("listen", default.listen),
            direct_calls: table.or("direct_calls", default.direct_calls),
        };
        table.later(&["tls_profile"]);
        table.finish();
        http
    }
}

/// `[metrics]`: what `/metrics` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Series a family shows at most; the rest are folded into `other` (T-133).
    pub max_series: usize,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics { max_series: 10_000 }
    }
}

impl Metrics {
    pub(super) fn read(mut table: Reader<'_>) -> Metrics {
        let most = table.int("max_series", 16..=1_000_000).and_then(|n| usize::try_from(n).ok());
        table.later(&["per_peer"]);
        table.finish();
        most.map_or_else(Metrics::default, |max_series| Metrics { max_series })
    }
}

/// `[shards]`: threads on the message path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shards {
    /// How many; 0 for one a core.
    pub count: usize,
}

impl Shards {
    pub(super) fn read(mut table: Reader<'_>) -> Shards {
        let count = table.int("count", 0..=256).unwrap_or(0);
        table.finish();
        Shards { count: usize::try_from(count).unwrap_or(0) }
    }
}

impl Shards {
    /// Threads to run where the machine offers `cores`.
    pub fn threads(&self, cores: usize) -> u16 {
        let count = if self.count == 0 { cores } else { self.count };
        u16::try_from(count.clamp(1, 256)).unwrap_or(256)
    }
}

/// Reads `[sockets]`: how datagram sockets are set up.
pub(super) fn read_sockets(mut table: Reader<'_>) -> SocketOptions {
    let default = SocketOptions::default();
    let buffer = table.int("buffer", 65_536..=1_073_741_824).and_then(|n| usize::try_from(n).ok());
    let dscp = table.int("dscp", 0..=63).and_then(|n| u8::try_from(n).ok());
    table.finish();
    SocketOptions { buffer: buffer.unwrap_or(default.buffer), dscp: dscp.or(default.dscp) }
}

/// Where records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// An embedded database in this file.
    Sqlite(PathBuf),
}

impl FromToml for Store {
    fn from_toml(value: &Value<'_>) -> Option<Store> {
        let wanted = "\"sqlite:FILE\" such as \"sqlite:data/baton.db\"";
        let text = value.string(wanted)?;
        match text.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Some(Store::Sqlite(PathBuf::from(file))),
            Some(("postgres" | "postgresql", _)) => {
                value.wrong(
                    "names PostgreSQL, which is not available in this version of Baton",
                    format!("write {wanted}"),
                );
                None
            }
            _ => {
                value.wrong(format_args!("= {text:?} names no store"), format!("write {wanted}"));
                None
            }
        }
    }
}

/// `[records]`: Call and Refer records.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// Where they are kept. A relative file name starts at the working directory.
    pub store: Store,
    /// Whether calls that Baton only proxies, and the REFERs in them, are recorded.
    pub proxied: bool,
    /// Records of calls that ended longer ago go.
    pub max_age: Option<Duration>,
    /// More records than this: the oldest ended go first.
    pub max_count: Option<u64>,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            store: Store::Sqlite(PathBuf::from("data/baton.db")),
            proxied: true,
            max_age: None,
            max_count: None,
        }
    }
}

impl Records {
    pub(super) fn read(mut table: Reader<'_>) -> Records {
        let default = Records::default();
        let records = Records {
            store: table.or("store", default.store),
            proxied: table.or("proxied", default.proxied),
            max_age: at_least(&mut table, "max_age", Duration::from_secs(1)),
            max_count: table.int("max_count", 1..=1_000_000_000_000),
        };
        table.finish();
        records
    }
}

/// `[state]`: what must outlast a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The folder; absent: beside the store. A relative name starts at the working directory.
    pub dir: Option<PathBuf>,
}

impl State {
    pub(super) fn read(mut table: Reader<'_>) -> State {
        let state = State { dir: table.take::<String>("dir").map(PathBuf::from) };
        table.finish();
        state
    }
}

/// `[webhook]`: what Baton fetches and whom it notifies by HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Whether webhooks may reach loopback and private addresses.
    pub allow_private: bool,
    /// A whole exchange, redirects included, is given up after this.
    pub timeout: Duration,
    /// Documents fetched at once; others wait, and their time runs.
    pub max_fetches: usize,
    /// Notifications on their way at once.
    pub max_deliveries: usize,
    /// Notifications that may wait altogether; further ones are dropped and counted.
    pub max_waiting: usize,
    /// Notifications of one call that may wait.
    pub max_waiting_per_call: usize,
}

impl Default for Webhook {
    fn default() -> Webhook {
        Webhook {
            allow_private: false,
            timeout: Duration::from_secs(6),
            max_fetches: 1_024,
            max_deliveries: 1_024,
            max_waiting: 16_384,
            max_waiting_per_call: 64,
        }
    }
}

impl Webhook {
    pub(super) fn read(mut table: Reader<'_>) -> Webhook {
        let d = Webhook::default();
        let mut most = |key, default| {
            table.int(key, 1..=1_000_000).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
        };
        let max_fetches = most("max_fetches", d.max_fetches);
        let max_deliveries = most("max_deliveries", d.max_deliveries);
        let max_waiting = most("max_waiting", d.max_waiting);
        let max_waiting_per_call = most("max_waiting_per_call", d.max_waiting_per_call);
        let webhook = Webhook {
            allow_private: table.or("allow_private", d.allow_private),
            timeout: at_least(&mut table, "timeout", Duration::from_millis(100)).unwrap_or(d.timeout),
            max_fetches,
            max_deliveries,
            max_waiting,
            max_waiting_per_call,
        };
        table.finish();
        webhook
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important kind of event that is still logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that an operator must mend.
    Error,
    /// Something is not as it should be.
    Warn,
    /// At most one line a call.
    #[default]
    Info,
    /// How things are decided.
    Debug,
    /// Every message.
    Trace,
}

/// `[log]`: events on standard error (T-144).
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least important kind shown.
    pub level: LogLevel,
    /// An identical warning is shown once in this time (T-146).
    pub repeat: Duration,
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::default(), level: LogLevel::default(), repeat: Duration::from_secs(10) }
    }
}

impl FromToml for LogFormat {
    fn from_toml(value: &Value<'_>) -> Option<LogFormat> {
        value.word(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
    }
}

impl FromToml for LogLevel {
    fn from_toml(value: &Value<'_>) -> Option<LogLevel> {
        value.word(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ])
    }
}

impl Log {
    pub(super) fn read(mut table: Reader<'_>) -> Log {
        let default = Log::default();
        let log = Log {
            format: table.or("format", default.format),
            level: table.or("level", default.level),
            repeat: table.or("repeat", default.repeat),
        };
        table.finish();
        log
    }
}

/// `[dns]`: the resolver, never waited for on a message's way (T-068).
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Name servers to ask; none: the system's.
    pub servers: Vec<SocketAddr>,
    /// One question to one server is given up after this.
    pub timeout: Duration,
    /// Questions before DNS counts as failing.
    pub attempts: usize,
    /// How long a good answer serves after its time while DNS fails.
    pub stale_for: Duration,
    /// How long it is believed that a name does not exist.
    pub negative_ttl: Duration,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
            attempts: 2,
            stale_for: Duration::from_secs(3_600),
            negative_ttl: Duration::from_secs(5),
        }
    }
}

impl Dns {
    pub(super) fn read(mut table: Reader<'_>) -> Dns {
        let default = Dns::default();
        let dns = Dns {
            servers: table.or("servers", default.servers),
            timeout: at_least(&mut table, "timeout", Duration::from_millis(1)).unwrap_or(default.timeout),
            attempts: table
                .int("attempts", 1..=10)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(default.attempts),
            stale_for: table.or("stale_for", default.stale_for),
            negative_ttl: table.or("negative_ttl", default.negative_ttl),
        };
        table.finish();
        dns
    }
}

/// A duration that must not be shorter than `least`.
pub(super) fn at_least(table: &mut Reader<'_>, key: &'static str, least: Duration) -> Option<Duration> {
    let at = table.take::<At<Duration>>(key)?;
    if at.value >= least {
        return Some(at.value);
    }
    table.context().error(
        at.span.clone(),
        format!("{}.{key} = {:?} is too short", table.path(), at.value),
        format!("write {least:?} or more"),
    );
    None
}
