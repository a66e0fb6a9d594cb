//! A running server: shards, record store, HTTP. `serve` and the demo run the same one.

use crate::config::Config;
use crate::config::schema::{
    Account as ConfigAccount, Application as ConfigApplication, HttpMethod as ConfigMethod, HttpUrl,
    MissingMedia, Records, Store as StorePlace,
};
use crate::config::state::State;
use crate::control::{
    self, Account, Application, ControlConfig, Handle, HttpMethod, JambonzOptions, Readiness, Steering,
    WebhookLimits, WebhookOptions,
};
use crate::io::{self, Clock, DnsOptions, IoConfig, Running, TlsContext, TlsProfile, entropy};
use crate::record::{RecordConfig, Store};
use crate::shard::owner::HashKey;
use crate::shard::{Counters, Place, Shard};
use crate::sip::event::Event;
use crate::sip::plan::Plan;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender};

/// Everything that runs. Dropped in this order: first what takes calls, last what others run on.
#[derive(Debug)]
pub(crate) struct Server {
    shards: Running,
    http: Handle,
    store: Store,
    readiness: Readiness,
    runtime: Runtime,
}

impl Server {
    /// Starts everything in order. `plan` is the configuration's own, or one that differs from it
    /// in the listeners' addresses only.
    pub(crate) fn start(
        config: &Config,
        state: &State,
        plan: Plan,
        runtime: Runtime,
    ) -> Result<Server, Box<dyn Error>> {
        let store = Store::open(records(config, state.node))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = config.shards.threads(cores);
        let counters: Vec<_> = (0..count).map(|_| Arc::new(Counters::new(plan.trunks.len()))).collect();
        let (control, events) = control::events();
        let steering = Steer { node: plan.node, webhook_key: state.webhook_key, host: host(&plan), events };
        let shards = shards(config, state, plan, &store, control, &counters)?;
        names(config, &shards, &runtime);
        let readiness = Readiness::starting();
        let http = http(config, &store, &shards, counters, steering, &readiness);
        let http = control::serve(http, runtime.handle())?;
        readiness.ready(Readiness::STARTING);
        Ok(Server { shards, http, store, readiness, runtime })
    }

    /// The shards.
    pub(crate) fn shards(&self) -> &Running {
        &self.shards
    }

    /// The API.
    pub(crate) fn http(&self) -> &Handle {
        &self.http
    }

    /// What the control plane's tasks run on.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Ends everything in order: no part is waited for longer than `patience`. All that happened is
    /// in the records then.
    pub(crate) fn stop(self, patience: Duration) {
        self.readiness.not_ready(Readiness::DRAINING, "the process is ending");
        self.shards.shutdown(patience);
        self.http.shutdown(patience);
        self.store.close();
        self.runtime.shutdown_timeout(patience);
    }
}

fn shards(
    config: &Config,
    state: &State,
    plan: Plan,
    store: &Store,
    control: Sender<Event>,
    counters: &[Arc<Counters>],
) -> Result<Running, Box<dyn Error>> {
    let plan = Arc::new(plan);
    let profiles: Vec<TlsProfile> = config.tls_profiles.iter().map(|p| p.files.clone()).collect();
    let seed: [u8; 32] = entropy::bytes()?;
    let io = IoConfig {
        plan: Arc::clone(&plan),
        shards: u16::try_from(counters.len())?,
        key: HashKey::new(entropy::bytes()?),
        events: store.sender(),
        control: Some(control),
        sockets: config.sockets,
        streams: config.streams.clone(),
        tls: Arc::new(TlsContext::load(&profiles)?),
        metrics: counters.to_vec(),
    };
    let (shards, key) = (io.shards, io.key);
    let shard = |index: u16| {
        // Keys of a stream cipher that differ in one bit make unrelated streams.
        let mut seed = seed;
        seed[..2].iter_mut().zip(index.to_be_bytes()).for_each(|(a, b)| *a ^= b);
        let counters = Arc::clone(&counters[usize::from(index)]);
        let place = Place { index, shards, key };
        Shard::new(Arc::clone(&plan), place, seed, state.token_key, counters)
    };
    Ok(io::start(io, shard)?)
}

/// Lets the shards resolve names. Without name servers Baton runs on, and serves addresses.
fn names(config: &Config, shards: &Running, runtime: &Runtime) {
    if let Err(error) = shards.resolve_names(runtime.handle(), &dns(config)) {
        tracing::warn!(event = "dns", %error, "names cannot be resolved; targets that are addresses work");
    }
}

fn dns(config: &Config) -> DnsOptions {
    DnsOptions {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
        attempts: config.dns.attempts,
        negative_ttl: config.dns.negative_ttl,
    }
}

/// What steering calls needs of the plan, which the shards keep.
struct Steer {
    node: u128,
    webhook_key: [u8; 32],
    host: Box<str>,
    events: Receiver<Event>,
}

/// The host by which Baton names itself: its first listener's.
fn host(plan: &Plan) -> Box<str> {
    plan.listeners.first().map_or_else(|| "localhost".into(), |listener| listener.host.clone())
}

fn steering(config: &Config, store: &Store, shards: &Running, steer: Steer) -> Steering {
    let text = |url: &Option<HttpUrl>| url.as_ref().map(|url| url.0.clone());
    let account = |a: &ConfigApplication| {
        let sid = a.account.as_ref().map(|sid| sid.value.as_str());
        config.accounts.iter().find(|account| Some(account.sid.value.0.as_str()) == sid)
    };
    let application = |a: &ConfigApplication| Application {
        account: a.account.as_ref().map(|account| account.value.as_str().into()),
        method: match a.method {
            ConfigMethod::Get => HttpMethod::Get,
            ConfigMethod::Post => HttpMethod::Post,
        },
        fallback_url: text(&a.fallback_url),
        status_callback: text(&a.status_callback),
        refer_url: text(&a.refer_url),
        status_url: text(&a.status_url),
        webhook_secret: a.webhook_secret.clone().or_else(|| account(a)?.webhook_secret.clone()),
        connection_id: a.connection_id.as_deref().map(Into::into),
        failover_url: text(&a.failover_url),
        timeout: a.webhook_timeout,
        bye_after: a.bye_after,
        ..Application::new(&a.name.value.0, a.kind.value, a.url.0.clone())
    };
    let webhook = &config.webhook;
    Steering {
        node: steer.node,
        shards: Arc::new(shards.orders()),
        events: steer.events,
        store: store.sender(),
        applications: config.applications.iter().map(application).collect(),
        webhook: WebhookOptions {
            allow_private: webhook.allow_private,
            dns: dns(config),
            limits: WebhookLimits {
                timeout: webhook.timeout,
                fetches: webhook.max_fetches,
                deliveries: webhook.max_deliveries,
                waiting: webhook.max_waiting,
                waiting_per_call: webhook.max_waiting_per_call,
            },
        },
        host: steer.host,
        media_fails: config.media.missing == MissingMedia::Fail,
        webhook_key: steer.webhook_key,
        jambonz: JambonzOptions {
            integer_event_status: config.jambonz.integer_event_status,
            ..JambonzOptions::default()
        },
    }
}

fn http(
    config: &Config,
    store: &Store,
    shards: &Running,
    counters: Vec<Arc<Counters>>,
    steer: Steer,
    readiness: &Readiness,
) -> ControlConfig {
    let account = |a: &ConfigAccount| Account {
        sid: a.sid.value.0.clone(),
        token: a.token.clone(),
        org_sid: a.org_sid.as_ref().map(|o| o.0.clone()),
        webhook_secret: a.webhook_secret.clone(),
    };
    ControlConfig {
        listen: config.http.listen.value,
        accounts: config.accounts.iter().map(account).collect(),
        reader: store.reader(),
        record_stats: store.stats(),
        shards: counters,
        io: shards.counters().to_vec(),
        trunks: config.trunks.iter().map(|t| t.name.value.0.clone()).collect(),
        tls_profiles: config.tls_profiles.iter().map(|p| p.files.name.clone()).collect(),
        readiness: readiness.clone(),
        started: Clock::new().now(),
        max_series: config.metrics.max_series,
        steering: steering(config, store, shards, steer),
    }
}

fn records(config: &Config, node: u128) -> RecordConfig {
    let Records { store: StorePlace::Sqlite(path), max_age, max_count, .. } = &config.records;
    let clock = Clock::new();
    RecordConfig {
        max_age: *max_age,
        max_count: *max_count,
        // After this no BYE is waited for any more: the longest that any trunk allows.
        max_duration: config.trunks.iter().map(|t| t.max_duration).max(),
        ..RecordConfig::new(path, node, Arc::new(move || clock.now()))
    }
}
