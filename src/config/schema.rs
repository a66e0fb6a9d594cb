//! The tables of the configuration file: what may stand in them, and what holds when it does not.
//!
//! Reading goes on after an error. What one table says about another is checked afterwards, in
//! [`crate::config::check`].

mod account;
mod application;
mod auth;
mod client;
mod refer;
mod route;
mod service;
mod transport;
mod trunk;
mod tuning;

pub use account::{Account, OrgSid, Sid};
pub use application::{Application, ApplicationKind, HttpMethod, HttpUrl, Jambonz, Media, MissingMedia};
pub use auth::Auth;
pub use client::{Client, ClientSecret, Registrar, User};
pub use refer::{AuthUser, TrunkAuth};
pub use route::{Destination, Route, UserPattern};
pub use service::{Dns, Http, Log, LogFormat, LogLevel, Metrics, Records, Shards, State, Store, Webhook};
pub use transport::{Listener, Profile};
pub use trunk::{Group, Trunk};
pub use tuning::{Acl, Calls};

use crate::config::read::{At, Context, FromToml, Reader, Value};
use crate::io::{SocketOptions, StreamOptions};
use crate::sip::message::Limits;
use crate::sip::plan::{Capacity, Routing, Timings};
use toml::de::DeTable;

/// The whole configuration, each value with its default filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[http]`
    pub http: Http,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[shards]`
    pub shards: Shards,
    /// `[sockets]`
    pub sockets: SocketOptions,
    /// `[streams]`
    pub streams: StreamOptions,
    /// `[records]`
    pub records: Records,
    /// `[state]`
    pub state: State,
    /// `[[account]]`
    pub accounts: Vec<Account>,
    /// `[[listener]]`
    pub listeners: Vec<Listener>,
    /// `[[tls_profile]]`
    pub tls_profiles: Vec<Profile>,
    /// `[[trunk]]`
    pub trunks: Vec<Trunk>,
    /// `[[trunk_group]]`
    pub groups: Vec<Group>,
    /// `[[route]]`
    pub routes: Vec<Route>,
    /// `[routing]`
    pub routing: Routing,
    /// `[routing] aliases`: other names of Baton in Request-URIs and Routes (C-093).
    pub aliases: Vec<Box<str>>,
    /// `[acl]`
    pub acl: Acl,
    /// `[auth]`
    pub auth: Auth,
    /// `[limits]`: what a message may contain.
    pub limits: Limits,
    /// `[limits]`: what a shard keeps.
    pub capacity: Capacity,
    /// `[timers]`
    pub timings: Timings,
    /// Bounds of calls that Baton owns.
    pub calls: Calls,
    /// `[log]`
    pub log: Log,
    /// `[webhook]`
    pub webhook: Webhook,
    /// `[dns]`
    pub dns: Dns,
    /// `[[application]]`
    pub applications: Vec<Application>,
    /// `[[client]]`
    pub clients: Vec<Client>,
    /// `[registrar]`
    pub registrar: Registrar,
    /// `[media]`
    pub media: Media,
    /// `[jambonz]`
    pub jambonz: Jambonz,
}

/// Tables that Baton's interface names and this version does not have.
const LATER: &[&str] = &[
    "registration",
    "number_plan",
    "header_rule",
    "route_table",
    "limit",
    "overload",
    "drain",
    "token",
    "tls",
    "probe",
    "stir",
    "trace",
    "hep",
    "cdr",
    "upgrade",
    "cluster",
];

impl Config {
    /// Reads all tables; what is wrong is reported to `cx`.
    pub fn read(cx: &Context, root: &DeTable<'_>) -> Config {
        let mut root = Reader::new(cx, Some(root), "", 0..0);
        root.later(LATER);
        if root.tables("listener").is_empty() {
            cx.absent(
                0..0,
                "there is no [[listener]]",
                "add one with name = \"lan\" and bind = \"udp:127.0.0.1:5060\"",
            );
        }
        let (limits, capacity, legs) = tuning::read_limits(root.table("limits"));
        let (routing, aliases) = tuning::read_routing(root.table("routing"));
        let (timings, target_ring) = tuning::read_timings(root.table("timers"));
        let config = Config {
            http: Http::read(root.table("http")),
            metrics: Metrics::read(root.table("metrics")),
            shards: Shards::read(root.table("shards")),
            streams: transport::read_streams(root.table("streams")),
            sockets: service::read_sockets(root.table("sockets")),
            records: Records::read(root.table("records")),
            state: State::read(root.table("state")),
            accounts: each(&mut root, "account", Account::read),
            listeners: each(&mut root, "listener", Listener::read),
            tls_profiles: each(&mut root, "tls_profile", Profile::read),
            trunks: each(&mut root, "trunk", Trunk::read),
            groups: each(&mut root, "trunk_group", Group::read),
            routes: each(&mut root, "route", Route::read),
            routing,
            aliases,
            acl: Acl::read(root.table("acl")),
            auth: Auth::read(root.table("auth")),
            limits,
            capacity,
            timings,
            calls: Calls { target_ring, legs },
            log: Log::read(root.table("log")),
            webhook: Webhook::read(root.table("webhook")),
            dns: Dns::read(root.table("dns")),
            applications: each(&mut root, "application", Application::read),
            clients: each(&mut root, "client", Client::read),
            registrar: Registrar::read(root.table("registrar")),
            media: Media::read(root.table("media")),
            jambonz: Jambonz::read(root.table("jambonz")),
        };
        root.finish();
        config
    }
}

/// Reads every table of an array. One that is wrong is left out, but has declared its name by then,
/// so that references to it are not reported as well.
fn each<'a, T>(root: &mut Reader<'a>, key: &'static str, read: fn(Reader<'a>) -> Option<T>) -> Vec<T> {
    root.tables(key).into_iter().filter_map(read).collect()
}

/// A name that other tables refer to, and metrics use as a label (T-001).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub Box<str>);

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromToml for Name {
    fn from_toml(value: &Value<'_>) -> Option<Name> {
        let text = value.string("a name in quotes")?;
        let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let right = text.len() <= 63
            && text.bytes().next().is_some_and(first)
            && text.bytes().all(|b| first(b) || b == b'_' || b == b'-');
        if !right {
            value.wrong(
                format_args!("= {text:?} is no name"),
                "use 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or digit",
            );
            return None;
        }
        Some(Name(text.into()))
    }
}

/// A table's `name`, declared for references to it.
fn named(table: &mut Reader<'_>, kind: &'static str, example: &str) -> Option<At<Name>> {
    let name = table.need::<At<Name>>("name", example)?;
    table.context().declare(kind, &name);
    Some(name)
}
