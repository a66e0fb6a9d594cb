//! The log: one event a line on standard error, as text or JSON (T-144).
//!
//! A thread that logs only hands the event over: a reader of standard error that is stuck delays
//! nobody (T-069). The log's own thread formats, holds repeated warnings back, and writes.
//!
//! Fields with a meaning: `event` names the kind of event, `trunk` and `call_id` say whose it is.
//! `message` is text written in the source; what comes from the network belongs into fields.

mod format;
mod repeat;

use crate::config::schema::{Log as LogConfig, LogFormat, LogLevel};
use crate::io::Clock;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use format::Formatter;
use repeat::{Repeats, Verdict};
use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Events that wait to be written; past it they are counted and lost.
const QUEUE: usize = 10_000;

/// How long the end of the process waits for a reader of standard error.
const PATIENCE: Duration = Duration::from_secs(2);

/// One event, taken out of the hands of the thread that logged it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Microseconds since the Unix epoch.
    at: i64,
    level: Level,
    /// Where in the source it was logged.
    target: &'static str,
    event: Option<String>,
    message: String,
    fields: Vec<(&'static str, String)>,
}

enum Order {
    Write(Entry),
    Node(u128),
    Stop(Sender<()>),
}

/// The running log. Dropping it writes what is left.
#[derive(Debug)]
pub struct Log {
    orders: Sender<Order>,
}

impl Log {
    /// Starts the log's thread and makes it the process's log. Only the first log of a process
    /// receives events.
    pub fn start(config: &LogConfig) -> std::io::Result<Log> {
        let (orders, queue) = bounded(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            queue,
            lost: Arc::clone(&lost),
            format: Formatter::new(config.format == LogFormat::Json),
            repeats: Repeats::new(config.repeat),
            tick: config.repeat.max(Duration::from_millis(100)),
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        let level = level(config.level);
        // Libraries speak up only when something is wrong, whatever Baton itself is asked for.
        let targets = Targets::new().with_target("baton", level).with_default(level.min(LevelFilter::WARN));
        let layer = Capture { orders: orders.clone(), lost };
        let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
        Ok(Log { orders })
    }

    /// Every line from here on names this node.
    pub fn node(&self, node: u128) {
        let _ = self.orders.send_timeout(Order::Node(node), PATIENCE);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, wait) = bounded(1);
        if self.orders.send_timeout(Order::Stop(done), PATIENCE).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

/// Microseconds since the Unix epoch.
fn now() -> i64 {
    i64::try_from(Clock::new().now().micros()).unwrap_or(i64::MAX)
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// The part that runs on the logging thread.
struct Capture {
    orders: Sender<Order>,
    lost: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry {
            at: now(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            event: None,
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut entry);
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Write(entry)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }
}

impl Entry {
    fn put(&mut self, name: &'static str, value: String) {
        match name {
            "message" => self.message = value,
            "event" => self.event = Some(value),
            _ => self.fields.push((name, value)),
        }
    }
}

/// The part that runs on the log's own thread.
struct Writer {
    queue: Receiver<Order>,
    lost: Arc<AtomicU64>,
    format: Formatter,
    repeats: Repeats,
    tick: Duration,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.queue.recv_timeout(self.tick) {
                Ok(Order::Write(entry)) => self.entry(entry),
                Ok(Order::Node(node)) => self.format.node(node),
                Ok(Order::Stop(done)) => {
                    self.held_back(i64::MAX);
                    self.lost();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.held_back(now());
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn entry(&mut self, entry: Entry) {
        self.held_back(entry.at);
        self.lost();
        match self.repeats.see(&entry) {
            Verdict::Write => self.write(&entry, 0),
            Verdict::HoldBack => {}
        }
    }

    /// Says how often warnings were repeated whose time of silence is over (T-146).
    fn held_back(&mut self, until: i64) {
        for (mut entry, count) in self.repeats.over(until) {
            // The line stands among those of the present, not of the time of the warning.
            entry.at = until.min(now());
            self.write(&entry, count);
        }
    }

    fn lost(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let entry = Entry {
                at: now(),
                level: Level::WARN,
                target: module_path!(),
                event: Some("log_lost".to_owned()),
                message: "the log could not keep up; events were lost".to_owned(),
                fields: vec![("count", lost.to_string())],
            };
            self.write(&entry, 0);
        }
    }

    fn write(&mut self, entry: &Entry, suppressed: u64) {
        let line = self.format.line(entry, suppressed);
        // There is nowhere to say that standard error cannot be written.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}
