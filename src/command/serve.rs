//! `baton serve`: starts everything in order, waits for a signal, ends everything in reverse.

use super::scratch::Scratch;
use super::server::Server;
use super::signal::Signals;
use super::{FAILED, MISUSED};
use crate::config::schema::Store as StorePlace;
use crate::config::state::State;
use crate::config::{Config, EMBEDDED, Loaded, load_file, load_text};
use crate::control;
use crate::observe::log::Log;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

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
    let plan = config.plan(state.node);
    let server = Server::start(&config, &state, plan, runtime)?;
    ready(&config, embedded);

    let signal = signals.wait(server.runtime());
    tracing::info!(event = "ending", signal, "ending in order");
    server.stop(PATIENCE);
    Ok(())
}

/// What the end of the process waits for each part at most.
const PATIENCE: Duration = Duration::from_secs(5);

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
