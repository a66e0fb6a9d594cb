//! DNS, beside the message's way: shards ask by a queue, answers come back as orders.
//!
//! One task on the control plane's runtime asks each question once, however many shards want it,
//! and never more than a bounded number at a time. What is remembered, and for how long, is the
//! shards' own affair ([`crate::sip::resolve`]).

use super::clock::Clock;
use super::handoff::{Exchange, Order};
use crate::sip::resolve::{Answer, Naptr, Outcome, Query, QueryKind, Records, Srv};
use crate::sip::time::Time;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Said, NetError};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;

/// Questions that may wait for the task.
const QUEUE: usize = 1_024;
/// Questions asked at a time.
const AT_ONCE: usize = 256;
/// How often an answer is offered to a shard whose queue is full, and how long it waits between.
const OFFERS: u32 = 100;
const BETWEEN_OFFERS: Duration = Duration::from_millis(20);

/// How DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// Name servers; none: the system's.
    pub servers: Vec<SocketAddr>,
    /// One question to one server is given up after this.
    pub timeout: Duration,
    /// Questions before DNS counts as failing.
    pub attempts: usize,
    /// How long it is believed that a name does not exist, or that nobody knows.
    pub negative_ttl: Duration,
}

impl Default for DnsOptions {
    fn default() -> DnsOptions {
        DnsOptions {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
            attempts: 2,
            negative_ttl: Duration::from_secs(5),
        }
    }
}

/// DNS cannot be used.
#[derive(Debug, Error)]
#[error("DNS cannot be used: {0}; name servers can be given in `dns.servers`")]
pub struct DnsError(NetError);

/// A shard's way to ask.
#[derive(Clone)]
pub(crate) struct Asker {
    questions: Sender<Question>,
}

#[derive(Debug)]
struct Question {
    shard: u16,
    query: Query,
    asked: Time,
}

impl Asker {
    /// Asks; `false` when too many questions wait already.
    pub(crate) fn ask(&self, now: Time, shard: u16, query: Query) -> bool {
        self.questions.try_send(Question { shard, query, asked: now }).is_ok()
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

/// Starts the task. It ends when no shard can ask any more.
pub(crate) fn start(
    runtime: &Handle,
    options: &DnsOptions,
    exchange: Arc<Exchange>,
) -> Result<Asker, DnsError> {
    // The resolver's sockets belong to the runtime it is made in.
    let _inside = runtime.enter();
    let resolver = resolver(options).map_err(DnsError)?;
    let (questions, waiting) = mpsc::channel(QUEUE);
    let task = Task {
        resolver,
        negative_ttl: options.negative_ttl,
        exchange,
        asking: HashMap::new(),
        lookups: JoinSet::new(),
    };
    runtime.spawn(task.run(waiting));
    Ok(Asker { questions })
}

/// A resolver as configured, for whoever asks DNS on the runtime it is made in.
pub(crate) fn resolver(options: &DnsOptions) -> Result<TokioResolver, NetError> {
    let mut builder = if options.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = options.servers.iter().map(|server| name_server(*server)).collect();
        let config = ResolverConfig::from_name_servers(servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    set(builder.options_mut(), options);
    builder.build()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

fn set(resolver: &mut ResolverOpts, options: &DnsOptions) {
    resolver.timeout = options.timeout;
    resolver.attempts = options.attempts;
    resolver.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    resolver.use_hosts_file = ResolveHosts::Always;
    // The shards remember; two memories would add up times to live.
    resolver.cache_size = 0;
}

struct Task {
    resolver: TokioResolver,
    negative_ttl: Duration,
    exchange: Arc<Exchange>,
    /// Who waits for what is being asked.
    asking: HashMap<Query, Vec<(u16, Time)>>,
    lookups: JoinSet<(Query, Answer)>,
}

impl Task {
    async fn run(mut self, mut waiting: Receiver<Question>) {
        loop {
            tokio::select! {
                Some(done) = self.lookups.join_next() => {
                    if let Ok((query, answer)) = done {
                        self.deliver(query, answer);
                    }
                }
                question = waiting.recv(), if self.lookups.len() < AT_ONCE => match question {
                    Some(question) => self.ask(question),
                    None => return,
                },
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let waiter = (question.shard, question.asked);
        if let Some(waiters) = self.asking.get_mut(&question.query) {
            waiters.push(waiter);
            return;
        }
        self.asking.insert(question.query.clone(), vec![waiter]);
        let (resolver, ttl) = (self.resolver.clone(), self.negative_ttl);
        self.lookups.spawn(async move {
            let answer = look_up(&resolver, &question.query, ttl).await;
            (question.query, answer)
        });
    }

    fn deliver(&mut self, query: Query, answer: Answer) {
        let now = Clock::new().now();
        for (shard, asked) in self.asking.remove(&query).unwrap_or_default() {
            let (query, answer) = (query.clone(), answer.clone());
            let order = Order::Resolved { query, answer, took: now.since(asked) };
            if let Err(order) = self.exchange.order(shard, order) {
                tokio::spawn(offer(Arc::clone(&self.exchange), shard, order));
            }
        }
    }
}

/// Offers an answer again to a shard that is behind.
async fn offer(exchange: Arc<Exchange>, shard: u16, mut order: Order) {
    for _ in 0..OFFERS {
        tokio::time::sleep(BETWEEN_OFFERS).await;
        match exchange.order(shard, order) {
            Ok(()) => return,
            Err(back) => order = back,
        }
    }
    tracing::warn!(shard, "a shard is too far behind to be told what DNS said");
}

async fn look_up(resolver: &TokioResolver, query: &Query, negative_ttl: Duration) -> Answer {
    let nothing = |outcome| Answer { outcome, ttl: negative_ttl };
    let Ok(mut name) = Name::from_ascii(&*query.name) else { return nothing(Outcome::Absent) };
    // A SIP name is whole: no search list is tried on it.
    name.set_fqdn(true);
    let said = match query.kind {
        QueryKind::Address => {
            resolver.lookup_ip(name).await.map(|found| addresses(found.as_lookup().answers()))
        }
        QueryKind::Srv => resolver.lookup(name, RecordType::SRV).await.map(|found| services(found.answers())),
        QueryKind::Naptr => {
            resolver.lookup(name, RecordType::NAPTR).await.map(|found| naptrs(found.answers()))
        }
    };
    match said {
        Ok(Some(answer)) => answer,
        Ok(None) => nothing(Outcome::Absent),
        Err(NetError::Dns(Said::NoRecordsFound(_))) => nothing(Outcome::Absent),
        Err(error) => {
            tracing::debug!(name = &*query.name, kind = ?query.kind, %error, "DNS failed");
            nothing(Outcome::Failed)
        }
    }
}

fn addresses(records: &[Record]) -> Option<Answer> {
    let list = collect(records, |data| match data {
        RData::A(a) => Some(a.0.into()),
        RData::AAAA(aaaa) => Some(aaaa.0.into()),
        _ => None,
    });
    found(list, Records::Address)
}

fn services(records: &[Record]) -> Option<Answer> {
    let list = collect(records, |data| match data {
        RData::SRV(srv) => Some(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: text(&srv.target),
        }),
        _ => None,
    });
    found(list, Records::Srv)
}

fn naptrs(records: &[Record]) -> Option<Answer> {
    let list = collect(records, |data| match data {
        RData::NAPTR(naptr) => Some(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: String::from_utf8_lossy(&naptr.flags).into(),
            service: String::from_utf8_lossy(&naptr.services).into(),
            replacement: text(&naptr.replacement),
        }),
        _ => None,
    });
    found(list, Records::Naptr)
}

/// The records that are of use, and the shortest time to live on the way to them, aliases included.
fn collect<T>(records: &[Record], pick: impl Fn(&RData) -> Option<T>) -> (Vec<T>, u32) {
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    (records.iter().filter_map(|record| pick(&record.data)).collect(), ttl)
}

fn found<T>((list, ttl): (Vec<T>, u32), records: impl FnOnce(Vec<T>) -> Records) -> Option<Answer> {
    if list.is_empty() {
        return None;
    }
    let ttl = Duration::from_secs(ttl.into());
    Some(Answer { outcome: Outcome::Found(records(list)), ttl })
}

/// A name as queries write it: lower case, without the dot at its end; `.` stays.
fn text(name: &Name) -> Box<str> {
    if name.is_root() {
        return ".".into();
    }
    let mut name = name.to_ascii().to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    name.into()
}
