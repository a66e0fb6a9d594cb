//! `baton serve`: starts everything in order, waits for a signal, ends everything in reverse.

use super::scratch::Scratch;
use super::{FAILED, MISUSED, signal};
use crate::config::schema::Store;
use crate::config::state::State;
use crate::config::{Config, EMBEDDED, Loaded, load_file, load_text};
use crate::observe::log::Log;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

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
    match run(loaded, file.is_none()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(loaded: Loaded, embedded: bool) -> Result<(), Box<dyn Error>> {
    let mut config = loaded.config;
    // Dropped last: nothing may write into the folder after it is gone.
    let scratch = if embedded { Some(Scratch::make()?) } else { None };
    if let Some(scratch) = &scratch {
        config.records.store = Store::Sqlite(scratch.path().join("baton.db"));
    }
    let log = Log::start(&config.log)?;
    for warning in &loaded.warnings.diagnostics {
        tracing::warn!(event = "configuration", "{}", loaded.warnings.line(warning));
    }
    let state = State::open(&config.state_dir())?;
    log.node(state.node);
    let _plan = config.plan(state.node);
    announce(&config, embedded);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signal = runtime.block_on(signal::asked_to_end())?;
    tracing::info!(event = "ending", signal, "ending in order");
    Ok(())
}

fn announce(config: &Config, embedded: bool) {
    for listener in &config.listeners {
        let bind = listener.bind.value;
        tracing::info!(
            event = "listening",
            listener = &*listener.name.value.0,
            bind = format!("{}:{}", bind.transport.param(), bind.addr),
            "SIP is served"
        );
    }
    if embedded {
        print!("{}", TRY_NEXT);
    }
}

const TRY_NEXT: &str = "\
Baton runs with its embedded default.

  SIP    udp and tcp 127.0.0.1:5060    calls go to 127.0.0.1:5080; from there, to 127.0.0.1:5070
  HTTP   http://127.0.0.1:8080         account AC00000000000000000000000000000001, token change-me
  Records are in a scratch database that is removed at the end.
";
