//! The demo's server: the real one, with a configuration and a folder of its own.

use super::DemoError;
use super::http;
use crate::command::scratch::Scratch;
use crate::config::Secret;
use crate::config::load_text;
use crate::config::state::State;
use crate::control::{self, Account, ControlConfig, Readiness};
use crate::io::{Clock, IoConfig, Running, SocketOptions, StreamOptions, TlsContext, entropy};
use crate::record::{RecordConfig, Store};
use crate::shard::owner::HashKey;
use crate::shard::{Counters, Shard};
use crate::sip::plan::Plan;
use serde_json::Value;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "demo";
/// One shard would do; two show that a call's messages find the one that owns it.
const SHARDS: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(1);

/// A running server. Fields are dropped in this order: first what takes calls, last the folder.
pub struct Server {
    /// Where SIP is served, over UDP.
    pub sip: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    running: Running,
    control: control::Handle,
    runtime: tokio::runtime::Runtime,
    store: Store,
    _folder: Scratch,
}

impl Server {
    /// Starts a server on ports of the kernel's choice, with a trunk and a route for each phone.
    pub fn start(phones: [SocketAddr; 3]) -> Result<Server, DemoError> {
        let text = configuration(phones);
        let config = load_text("the demo's configuration", &text, Path::new("")).map_err(failed)?.config;
        let folder = Scratch::make().map_err(failed)?;
        let state = State::open(folder.path()).map_err(failed)?;
        let clock = Clock::new();
        let records =
            RecordConfig::new(folder.path().join("baton.db"), state.node, Arc::new(move || clock.now()));
        let store = Store::open(records).map_err(failed)?;

        // A configuration names ports; here the kernel is asked for free ones.
        let plan = listening_at(config.plan(state.node), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let counters: Vec<_> = (0..SHARDS).map(|_| Arc::new(Counters::new(plan.trunks.len()))).collect();
        let trunks = plan.trunks.iter().map(|trunk| trunk.name.clone()).collect();
        let plan = Arc::new(plan);
        let seed: [u8; 32] = entropy::bytes().map_err(failed)?;
        let io = IoConfig {
            plan: Arc::clone(&plan),
            shards: SHARDS,
            key: HashKey::new(entropy::bytes().map_err(failed)?),
            events: store.sender(),
            sockets: SocketOptions::default(),
            streams: StreamOptions::default(),
            tls: Arc::new(TlsContext::load(&[]).map_err(failed)?),
            metrics: counters.clone(),
        };
        let running = crate::io::start(io, |shard| {
            let mut seed = seed;
            seed[0] ^= shard as u8;
            let counters = Arc::clone(&counters[usize::from(shard)]);
            Shard::new(Arc::clone(&plan), seed, state.token_key, counters)
        })
        .map_err(failed)?;
        let sip = *running.local_addrs().first().ok_or_else(|| failed("it listens nowhere"))?;
        running.plan(&Arc::new(listening_at(config.plan(state.node), sip))).map_err(failed)?;

        let runtime = control::runtime().map_err(failed)?;
        let control = ControlConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            accounts: vec![Account { sid: ACCOUNT.into(), token: Secret::new(TOKEN), org_sid: None }],
            reader: store.reader(),
            record_stats: store.stats(),
            shards: counters,
            io: running.counters().to_vec(),
            trunks,
            tls_profiles: Vec::new(),
            readiness: Readiness::default(),
            started: clock.now(),
            max_series: 100,
        };
        let control = control::serve(control, runtime.handle()).map_err(failed)?;
        let http = control.address();
        Ok(Server { sip, http, running, control, runtime, store, _folder: folder })
    }

    /// The path of the account's Refers.
    pub fn refers(&self) -> String {
        format!("/restcomm/2012-04-24/Accounts/{ACCOUNT}/Refers")
    }

    /// Asks the API.
    pub fn get(&self, path: &str) -> Result<Value, DemoError> {
        http::get(self.http, path, ACCOUNT, TOKEN)
    }

    /// Ends everything in order.
    pub fn stop(self) {
        self.control.shutdown(PATIENCE);
        self.running.shutdown(PATIENCE);
        self.store.close();
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

/// The plan with another address of its only listener.
fn listening_at(mut plan: Plan, address: SocketAddr) -> Plan {
    for listener in &mut plan.listeners {
        listener.bind = address;
        listener.port = address.port();
    }
    plan
}

fn failed(error: impl Display) -> DemoError {
    DemoError::Server(error.to_string())
}

fn configuration(phones: [SocketAddr; 3]) -> String {
    let mut text = format!(
        "[[account]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
         [[listener]]\nname = \"demo\"\nbind = \"udp:127.0.0.1:5060\"\n"
    );
    for (name, address) in ["alice", "bob", "carol"].into_iter().zip(phones) {
        text.push_str(&format!(
            "\n[[trunk]]\nname = \"{name}\"\ntargets = [\"sip:{address}\"]\n\
             match = {{ source = [\"{address}\"] }}\naccount = \"{ACCOUNT}\"\n\n\
             [[route]]\nuser = \"{name}\"\nto = [\"{name}\"]\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The demo's configuration is one that `baton check` would pass.
    #[test]
    fn the_configuration_is_sound() {
        let phones = [5070, 5080, 5090].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let loaded = load_text("demo", &configuration(phones), Path::new(""));
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.diagnostics.is_empty(), "{}", loaded.warnings);
    }
}
