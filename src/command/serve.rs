//! `baton serve`: starts everything in order, waits for a signal, ends everything in reverse.

use super::scratch::Scratch;
use super::signal::Signals;
use super::{FAILED, MISUSED};
use crate::config::schema::{self, Records, Store as StorePlace};
use crate::config::state::State;
use crate::config::{Config, EMBEDDED, Loaded, load_file, load_text};
use crate::control::{self, Account, ControlConfig, Handle, Readiness};
use crate::io::{self, Clock, IoConfig, Running, TlsContext, TlsProfile, entropy};
use crate::observe::log::Log;
use crate::record::{RecordConfig, Store};
use crate::shard::owner::HashKey;
use crate::shard::{Counters, Shard};
use crate::sip::time::Time;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

pub(super) fn serve(file: Option<&Path>) -> ExitCode {
    let loaded = match file {
        Some(file) => load_file(file),
        None => load_text("embedded default", EMBEDDED, Path::new("")),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(report) => {
            eprint!("{report}");
            return ExitCode::from(MISUSED);
        }
    };
    let log = match Log::start(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("baton: the log cannot be started: {error}");
            return ExitCode::from(FAILED);
        }
    };
    log_panics();
    match run(loaded, file.is_none(), &log) {
        Ok(()) => {
            tracing::info!(event = "ended", "everything is written");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(event = "failed", error = chain(&*error), "Baton cannot run");
            ExitCode::from(FAILED)
        }
    }
}

fn run(loaded: Loaded, embedded: bool, log: &Log) -> Result<(), Box<dyn Error>> {
    let started = Clock::new().now();
    let runtime = control::runtime()?;
    // Before anything else runs: a signal that comes meanwhile must end it in order too.
    let signals = Signals::listen(&runtime)?;
    let mut config = loaded.config;
    // Dropped last: nothing may write into the folder after it is gone.
    let scratch = if embedded { Some(Scratch::make()?) } else { None };
    if let Some(scratch) = &scratch {
        config.records.store = StorePlace::Sqlite(scratch.path().join("baton.db"));
    }
    let state = State::open(&config.state_dir())?;
    log.node(state.node);
    for warning in &loaded.warnings.diagnostics {
        tracing::warn!(event = "configuration", "{}", loaded.warnings.line(warning));
    }
    let store = Store::open(records(&config, state.node))?;
    let counters = counters(&config);
    let shards = shards(&config, &state, &store, &counters)?;
    let readiness = Readiness::starting();
    let http = http(&config, &store, &shards, counters, &readiness, started, &runtime)?;
    readiness.ready(Readiness::STARTING);
    ready(&config, embedded);

    let signal = signals.wait(&runtime);
    tracing::info!(event = "ending", signal, "ending in order");
    readiness.not_ready(Readiness::DRAINING, "the process is ending");
    shards.shutdown(PATIENCE);
    http.shutdown(PATIENCE);
    store.close();
    runtime.shutdown_timeout(PATIENCE);
    Ok(())
}

/// What the end of the process waits for each part at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// One set for each shard.
fn counters(config: &Config) -> Vec<Arc<Counters>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = config.shards.threads(cores);
    (0..count).map(|_| Arc::new(Counters::new(config.trunks.len()))).collect()
}

fn shards(
    config: &Config,
    state: &State,
    store: &Store,
    counters: &[Arc<Counters>],
) -> Result<Running, Box<dyn Error>> {
    let plan = Arc::new(config.plan(state.node));
    let profiles: Vec<TlsProfile> = config.tls_profiles.iter().map(|p| p.files.clone()).collect();
    let seed: [u8; 32] = entropy::bytes()?;
    let io = IoConfig {
        plan: Arc::clone(&plan),
        shards: u16::try_from(counters.len())?,
        key: HashKey::new(entropy::bytes()?),
        events: store.sender(),
        sockets: config.sockets,
        streams: config.streams.clone(),
        tls: Arc::new(TlsContext::load(&profiles)?),
        metrics: counters.to_vec(),
    };
    let shard = |index: u16| {
        // Keys of a stream cipher that differ in one bit make unrelated streams.
        let mut seed = seed;
        seed[..2].iter_mut().zip(index.to_be_bytes()).for_each(|(a, b)| *a ^= b);
        let counters = Arc::clone(&counters[usize::from(index)]);
        Shard::new(Arc::clone(&plan), seed, state.token_key, counters)
    };
    Ok(io::start(io, shard)?)
}

fn http(
    config: &Config,
    store: &Store,
    shards: &Running,
    counters: Vec<Arc<Counters>>,
    readiness: &Readiness,
    started: Time,
    runtime: &Runtime,
) -> Result<Handle, Box<dyn Error>> {
    let account = |a: &schema::Account| Account {
        sid: a.sid.value.0.clone(),
        token: a.token.clone(),
        org_sid: a.org_sid.as_ref().map(|o| o.0.clone()),
    };
    let control = ControlConfig {
        listen: config.http.listen.value,
        accounts: config.accounts.iter().map(account).collect(),
        reader: store.reader(),
        record_stats: store.stats(),
        shards: counters,
        io: shards.counters().to_vec(),
        trunks: config.trunks.iter().map(|t| t.name.value.0.clone()).collect(),
        tls_profiles: config.tls_profiles.iter().map(|p| p.files.name.clone()).collect(),
        readiness: readiness.clone(),
        started,
        max_series: config.metrics.max_series,
    };
    Ok(control::serve(control, runtime.handle())?)
}

fn records(config: &Config, node: u128) -> RecordConfig {
    let Records { store: StorePlace::Sqlite(path), max_age, max_count, .. } = &config.records;
    let clock = Clock::new();
    RecordConfig {
        max_age: *max_age,
        max_count: *max_count,
        max_duration: Some(longest_call(config)),
        ..RecordConfig::new(path, node, Arc::new(move || clock.now()))
    }
}

/// After this no BYE is waited for any more: the longest that any trunk allows.
fn longest_call(config: &Config) -> Duration {
    let longest = config.trunks.iter().map(|t| t.max_duration).max();
    longest.unwrap_or(Duration::from_secs(6 * 3_600))
}

fn ready(config: &Config, embedded: bool) {
    for listener in &config.listeners {
        let bind = listener.bind.value;
        tracing::info!(
            event = "listening",
            listener = &*listener.name.value.0,
            bind = format!("{}:{}", bind.transport.param(), bind.addr),
            "SIP is served"
        );
    }
    tracing::info!(
        event = "ready",
        version = env!("CARGO_PKG_VERSION"),
        http = config.http.listen.to_string(),
        trunks = config.trunks.len(),
        routes = config.routes.len(),
        "Baton carries calls"
    );
    if embedded {
        // Nobody may be reading.
        let _ = std::io::stdout().write_all(TRY_NEXT.as_bytes());
    }
}

/// A fault in one call is one line of the log, not many of standard error (T-144).
fn log_panics() {
    std::panic::set_hook(Box::new(|fault| {
        let place = fault.location().map(ToString::to_string).unwrap_or_default();
        let what = fault.payload_as_str().unwrap_or("");
        tracing::error!(event = "fault", place, what, "a fault in Baton itself; please report it");
    }));
}

/// An error and what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

const TRY_NEXT: &str = include_str!("try_next.txt");
