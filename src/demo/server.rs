//! The demo's server: the real one, with a configuration and a folder of its own.

use super::DemoError;
use super::http::{self, Answer};
use crate::command::scratch::Scratch;
use crate::command::server::Server as RealServer;
use crate::config::load_text;
use crate::config::schema::Store;
use crate::config::state::State;
use crate::control;
use crate::sip::plan::Plan;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "demo";
const PATIENCE: Duration = Duration::from_secs(1);

/// A running server. Fields are dropped in this order: first what takes calls, last the folder.
pub struct Server {
    /// Where SIP is served, over UDP.
    pub sip: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    real: RealServer,
    _folder: Scratch,
}

impl Server {
    /// Starts a server on ports of the kernel's choice, with a trunk and a route for each phone.
    pub fn start(phones: [SocketAddr; 3]) -> Result<Server, DemoError> {
        let text = configuration(phones);
        let loaded = load_text("the demo's configuration", &text, Path::new("")).map_err(failed)?;
        let mut config = loaded.config;
        let folder = Scratch::make().map_err(failed)?;
        let state = State::open(folder.path()).map_err(failed)?;
        config.records.store = Store::Sqlite(folder.path().join("baton.db"));
        // A configuration names ports; here the kernel is asked for free ones.
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.http.listen.value = any;
        let plan = listening_at(config.plan(state.node), any);
        let runtime = control::runtime().map_err(failed)?;
        let real = RealServer::start(&config, &state, plan, runtime).map_err(failed)?;
        let sip = *real.shards().local_addrs().first().ok_or_else(|| failed("it listens nowhere"))?;
        let plan = Arc::new(listening_at(config.plan(state.node), sip));
        real.shards().plan(&plan).map_err(failed)?;
        let http = real.http().address();
        Ok(Server { sip, http, real, _folder: folder })
    }

    /// The path of the account's Refers.
    pub fn refers(&self) -> String {
        format!("/restcomm/2012-04-24/Accounts/{ACCOUNT}/Refers")
    }

    /// The path of the account's Calls.
    pub fn calls(&self) -> String {
        format!("/restcomm/2012-04-24/Accounts/{ACCOUNT}/Calls")
    }

    /// Tells the API.
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, DemoError> {
        http::post(self.http, path, ACCOUNT, TOKEN, form)
    }

    /// Asks the API.
    pub fn get(&self, path: &str) -> Result<Answer, DemoError> {
        http::get(self.http, path, ACCOUNT, TOKEN)
    }

    /// Ends everything in order.
    pub fn stop(self) {
        self.real.stop(PATIENCE);
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
        // One shard would do; two show that a call's messages find the one that owns it.
        // The demo's application is on this machine.
        "[webhook]\nallow_private = true\n[shards]\ncount = 2\n[[account]]\nsid = \"{ACCOUNT}\"\ntoken = \"{TOKEN}\"\n\n\
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
