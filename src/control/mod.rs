//! The control plane: HTTP for people and programs, beside the message's way and never on it.
//!
//! It has the only async runtime. What it knows of calls it reads from the record store and from the
//! shards' counters; nothing here can make a shard wait. Every wait and buffer has a bound: a slow
//! or hostile client costs one of a limited number of connections, and only for a while.
//!
//! A request's way: [`server`] (connection, header) → [`router`] → [`face`] (authentication, path,
//! query) → [`records`] (a bounded number of readers) → the answer. Who wants something done with a
//! call goes on to [`engine`]: an order to the call's shard ([`orders`]), and what the shards' events
//! say came of it ([`live`]). Programs that steer calls are asked through [`webhook`].

mod auth;
mod body;
mod engine;
mod face;
mod health;
mod live;
mod metrics;
mod openapi;
mod orders;
mod problem;
mod query;
mod records;
mod refer;
mod reins;
mod router;
mod server;
mod steering;
mod wait;
mod webhook;

pub use auth::Account;
pub use health::Readiness;
pub use orders::Shards;
pub use steering::{
    Application, ApplicationKind, HttpMethod, JambonzOptions, Steering, WebhookLimits, WebhookOptions, events,
};

use crate::io;
use crate::record::{Reader, Stats};
use crate::shard::Counters;
use crate::sip::event::Event;
use crate::sip::time::Time;
use records::Records;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle as RuntimeHandle, Runtime};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

/// Worker threads of the control plane's runtime.
const WORKERS: usize = 2;
/// Threads for blocking reads at most.
const BLOCKING: usize = 8;

/// What the control plane serves, and from what.
#[derive(Debug)]
pub struct ControlConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may use the API.
    pub accounts: Vec<Account>,
    /// The records.
    pub reader: Reader,
    /// What the store counted.
    pub record_stats: Arc<Stats>,
    /// What the shards counted, in the order of the shards.
    pub shards: Vec<Arc<Counters>>,
    /// What the shards' I/O counted, in the same order.
    pub io: Vec<Arc<io::Counters>>,
    /// Names of the trunks in the order of the plan, for metrics.
    pub trunks: Vec<Box<str>>,
    /// Names of the TLS profiles in the order of the configuration, for metrics.
    pub tls_profiles: Vec<Box<str>>,
    /// Whether the node takes calls.
    pub readiness: Readiness,
    /// When the process began, for metrics.
    pub started: Time,
    /// Series a metric family shows at most (T-133).
    pub max_series: usize,
    /// How calls are steered.
    pub steering: Steering,
}

/// Why the control plane cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The operating system gave no threads.
    #[error("the control plane's threads cannot be started")]
    Runtime(#[source] std::io::Error),
    /// The address is taken or not ours.
    #[error("HTTP cannot be served on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Makes the runtime of the control plane, for what else runs as its tasks (DNS among them).
pub fn runtime() -> Result<Runtime, ControlError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("baton-control")
        .enable_all()
        .build()
        .map_err(ControlError::Runtime)
}

/// Binds and starts to serve on `runtime`.
pub fn serve(config: ControlConfig, runtime: &RuntimeHandle) -> Result<Handle, ControlError> {
    let address = config.listen;
    let bind = |source| ControlError::Bind { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(bind)?
    };
    let (stop, stopping) = watch::channel(false);
    let (app, events) = {
        let _inside = runtime.enter();
        App::new(config)
    };
    let engine = Arc::clone(&app.engine);
    let taking = runtime.spawn(engine::run(engine, events));
    let router = router::router(Arc::new(app));
    let serving = runtime.spawn(server::run(listener, router, stopping));
    tracing::info!(event = "http.listening", %address, "HTTP is served");
    Ok(Handle { address, stop, serving: Some(serving), taking, runtime: runtime.clone() })
}

/// The running HTTP server; it stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<tokio::task::JoinHandle<()>>,
    /// Takes the shards' events.
    taking: tokio::task::JoinHandle<()>,
    runtime: RuntimeHandle,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests in progress end for `patience` at most, and stops.
    /// Not to be called on the runtime's own threads.
    pub fn shutdown(mut self, patience: Duration) {
        let _ = self.stop.send(true);
        if let Some(serving) = self.serving.take() {
            self.runtime.block_on(async move {
                let abort = serving.abort_handle();
                if tokio::time::timeout(patience, serving).await.is_err() {
                    abort.abort();
                }
            });
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
        self.taking.abort();
    }
}

/// What the handlers share.
#[derive(Debug)]
struct App {
    accounts: auth::Accounts,
    engine: Arc<engine::Engine>,
    records: Records,
    metrics: metrics::Metrics,
    readiness: Readiness,
    record_stats: Arc<Stats>,
    io: Vec<Arc<io::Counters>>,
}

impl App {
    /// To be called on the runtime; the events are to be taken.
    fn new(config: ControlConfig) -> (App, Receiver<Event>) {
        let (engine, events) = engine::Engine::new(config.steering);
        let app = App {
            accounts: auth::Accounts::new(config.accounts),
            records: Records::new(config.reader),
            metrics: metrics::Metrics::new(metrics::Sources {
                shards: config.shards,
                io: config.io.clone(),
                records: config.record_stats.clone(),
                trunks: config.trunks,
                tls_profiles: config.tls_profiles,
                readiness: config.readiness.clone(),
                started: config.started,
                max_series: config.max_series,
                engine: Arc::clone(&engine),
            }),
            engine,
            readiness: config.readiness,
            record_stats: config.record_stats,
            io: config.io,
        };
        (app, events)
    }
}
