//! Sockets, the clock and threads: the only place on a message's way that touches them.
//!
//! [`start`] opens the listeners and runs one thread a shard. A message comes in through [`udp`] or
//! [`connection`], goes to the shard that owns its call ([`handoff`]), through the engine, and out
//! the same way. Beside the way stand [`dns`] and the queues to and from the control plane.

pub mod clock;
pub mod counters;
pub mod dns;
pub mod engine;
pub mod entropy;
pub mod listen;
pub mod tls;

mod connection;
mod driver;
mod events;
mod handoff;
mod mmsg;
mod strangers;
mod stun;
mod tcp;
mod udp;
mod ws;

pub use clock::Clock;
pub use counters::Counters;
pub use dns::{DnsError, DnsOptions};
pub use engine::Engine;
pub use listen::{ListenError, SocketOptions};
pub use tcp::StreamOptions;
pub use tls::{ClientAuth, TlsContext, TlsProfile};

use crate::shard::Input;
use crate::shard::counters::Counters as Metrics;
use crate::shard::owner::HashKey;
use crate::sip::command::Command;
use crate::sip::event::Event;
use crate::sip::plan::Plan;
use crossbeam::channel::Sender;
use driver::Driver;
use events::EventQueue;
use handoff::{Exchange, Handoff, Order};
use listen::Sockets;
use mio::{Poll, Token, Waker};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tcp::{StreamListener, Streams};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use udp::UdpEnd;

/// What [`start`] needs to know.
#[derive(Debug)]
pub struct IoConfig {
    /// The configuration; its listeners are opened.
    pub plan: Arc<Plan>,
    /// Threads, one a shard; at least 1.
    pub shards: u16,
    /// The secret by which Call-IDs are spread over shards; shards that choose Call-IDs share it.
    pub key: HashKey,
    /// Where events go to be recorded.
    pub events: Sender<Event>,
    /// Where events of the calls that Baton owns go besides, when there is a control plane.
    pub control: Option<mpsc::Sender<Event>>,
    /// How sockets are set up.
    pub sockets: SocketOptions,
    /// Bounds on stream connections.
    pub streams: StreamOptions,
    /// Certificates and trust, by the profiles that listeners name.
    pub tls: Arc<TlsContext>,
    /// By shard: the counters of its thread, shared with its engine. Missing ones are made.
    pub metrics: Vec<Arc<Metrics>>,
}

impl IoConfig {
    /// Default sockets and bounds, no TLS.
    pub fn new(plan: Arc<Plan>, shards: u16, key: HashKey, events: Sender<Event>) -> IoConfig {
        IoConfig {
            plan,
            shards,
            key,
            events,
            control: None,
            sockets: SocketOptions::default(),
            streams: StreamOptions::default(),
            tls: Arc::default(),
            metrics: Vec::new(),
        }
    }
}

/// Why the shards could not be started.
#[derive(Debug, Error)]
pub enum IoError {
    /// A listener could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A TLS listener names no profile that was loaded.
    #[error("listener \"{name}\": no TLS profile: name one of `[[tls_profile]]` in `tls_profile`")]
    NoProfile {
        /// The listener.
        name: String,
    },
    /// DNS cannot be asked.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A shard cannot be told.
    #[error(transparent)]
    Behind(#[from] Behind),
    /// The operating system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The operating system's answer.
        error: io::Error,
    },
}

impl IoError {
    fn system(what: &'static str) -> impl Fn(io::Error) -> IoError {
        move |error| IoError::System { what, error }
    }
}

/// A shard is too far behind to be told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("shard {0} does not take orders: its queue is full")]
pub struct Behind(pub u16);

/// A way to give the running shards orders, for those who do not hold them.
#[derive(Clone)]
pub struct Orders {
    exchange: Arc<Exchange>,
}

impl Orders {
    /// Gives one shard an order of the control plane.
    ///
    /// # Errors
    ///
    /// When the shard is so far behind that its queue of orders is full.
    pub fn command(&self, shard: u16, command: Box<Command>) -> Result<(), Behind> {
        self.exchange.order(shard, Order::Input(Input::Command(command))).map_err(|_| Behind(shard))
    }

    /// How many shards run.
    pub fn shards(&self) -> u16 {
        self.exchange.shards()
    }
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orders")
    }
}

/// The running shards.
pub struct Running {
    exchange: Arc<Exchange>,
    threads: Vec<JoinHandle<()>>,
    local_addrs: Vec<SocketAddr>,
    counters: Vec<Arc<Counters>>,
}

/// Opens the plan's listeners and starts one thread for each engine that `engine` makes, by shard.
///
/// # Errors
///
/// When a listener cannot be opened or the operating system refuses a thread or a poll. Nothing runs
/// then.
pub fn start<E: Engine>(config: IoConfig, mut engine: impl FnMut(u16) -> E) -> Result<Running, IoError> {
    let shards = config.shards.max(1);
    let mut polls = Vec::new();
    let mut wakers = Vec::new();
    for _ in 0..shards {
        let poll = Poll::new().map_err(IoError::system("opening a poll"))?;
        let waker = Waker::new(poll.registry(), driver::WAKER);
        wakers.push(waker.map_err(IoError::system("opening a waker"))?);
        polls.push(poll);
    }
    let mut udp: Vec<Vec<Option<UdpEnd>>> = (0..shards).map(|_| Vec::new()).collect();
    let mut streams: Vec<Vec<Option<StreamListener>>> = (0..shards).map(|_| Vec::new()).collect();
    let mut local_addrs = Vec::new();
    for (token, listener) in (1..).map(Token).zip(&config.plan.listeners) {
        let opened = listen::open(listener, shards, config.sockets)?;
        local_addrs.push(opened.local);
        match opened.sockets {
            Sockets::Udp(sockets) => {
                for ((socket, ends), poll) in sockets.into_iter().zip(&mut udp).zip(&polls) {
                    let end = UdpEnd::new(socket, token, poll.registry());
                    ends.push(Some(end.map_err(IoError::system("watching a socket"))?));
                }
                streams.iter_mut().for_each(|listeners| listeners.push(None));
            }
            Sockets::Stream(sockets) => {
                let profiles: Arc<[Box<str>]> = listener.tls_profiles.clone().into();
                if listener.transport.is_secure() && config.tls.first(&profiles).is_none() {
                    return Err(IoError::NoProfile { name: listener.name.to_string() });
                }
                for ((socket, listeners), poll) in sockets.into_iter().zip(&mut streams).zip(&polls) {
                    let end = StreamListener::new(
                        socket,
                        opened.transport,
                        opened.local,
                        Arc::clone(&profiles),
                        token,
                        poll.registry(),
                    );
                    listeners.push(Some(end.map_err(IoError::system("watching a socket"))?));
                }
                udp.iter_mut().for_each(|ends| ends.push(None));
            }
        }
    }
    let exchange = Arc::new(Exchange::new(wakers));
    let counters: Vec<Arc<Counters>> = (0..shards).map(|_| Arc::default()).collect();
    let mut running = Running {
        exchange: Arc::clone(&exchange),
        threads: Vec::new(),
        local_addrs,
        counters: counters.clone(),
    };
    let parts = (0..shards).zip(polls).zip(udp).zip(streams).zip(counters);
    for ((((index, poll), udp), listeners), counters) in parts {
        let room = config.plan.capacity.events;
        let metrics = config.metrics.get(usize::from(index)).cloned();
        let metrics = metrics.unwrap_or_else(|| Arc::new(Metrics::new(0)));
        let streams = Streams::new(
            index,
            listeners,
            Arc::clone(&config.tls),
            config.streams.clone(),
            config.plan.limits,
            config.sockets.dscp,
            Arc::clone(&counters),
            Arc::clone(&metrics),
        );
        let driver = Driver {
            index,
            shards,
            key: config.key,
            engine: engine(index),
            clock: Clock::new(),
            poll,
            udp,
            streams,
            t1: config.plan.timings.t1,
            handoff: Handoff::new(index, Arc::clone(&exchange), Arc::clone(&counters)),
            events: EventQueue::new(
                config.events.clone(),
                config.control.clone(),
                room,
                Arc::clone(&counters),
            ),
            counters,
            metrics,
        };
        let thread = Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                if let Err(error) = mmsg::wait_for_bursts() {
                    tracing::debug!(shard = index, %error, "the scheduler's policy stays as it is");
                }
                driver.run();
            })
            .map_err(IoError::system("starting a shard's thread"))?;
        running.threads.push(thread);
    }
    Ok(running)
}

impl Running {
    /// The real addresses of the listeners, in the plan's order: port 0 is replaced by the port the
    /// kernel chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// The I/O counters, by shard.
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// How many shards run.
    pub fn shards(&self) -> u16 {
        self.exchange.shards()
    }

    /// Gives one shard an input from outside a message's way.
    ///
    /// # Errors
    ///
    /// When the shard is so far behind that its queue of orders is full.
    pub fn input(&self, shard: u16, input: Input) -> Result<(), Behind> {
        self.exchange.order(shard, Order::Input(input)).map_err(|_| Behind(shard))
    }

    /// A way to give orders that outlives a borrow.
    pub fn orders(&self) -> Orders {
        Orders { exchange: Arc::clone(&self.exchange) }
    }

    /// Gives all shards a new plan. Its listeners must be those of the old one.
    ///
    /// # Errors
    ///
    /// The first shard that could not be told; those before it have the new plan.
    pub fn plan(&self, plan: &Arc<Plan>) -> Result<(), Behind> {
        (0..self.shards()).try_for_each(|shard| self.input(shard, Input::Plan(Arc::clone(plan))))
    }

    /// Lets the shards resolve names by DNS, asked by a task on this runtime; until then every name
    /// fails at once.
    ///
    /// # Errors
    ///
    /// When the system's name servers are not known, or the shards are not to be reached.
    pub fn resolve_names(&self, runtime: &Handle, options: &DnsOptions) -> Result<(), IoError> {
        let asker = dns::start(runtime, options, Arc::clone(&self.exchange))?;
        for shard in 0..self.shards() {
            self.exchange
                .order(shard, Order::Dns(asker.clone()))
                .map_err(|_| IoError::Behind(Behind(shard)))?;
        }
        Ok(())
    }

    /// Gives all shards new certificates and keys; connections that exist keep theirs (C-059).
    ///
    /// # Errors
    ///
    /// The first shard that could not be told.
    pub fn tls(&self, tls: &Arc<TlsContext>) -> Result<(), Behind> {
        (0..self.shards()).try_for_each(|shard| {
            self.exchange.order(shard, Order::Tls(Arc::clone(tls))).map_err(|_| Behind(shard))
        })
    }

    /// Lets the shards send what is queued, at most for `patience`, and waits for their threads.
    pub fn shutdown(mut self, patience: Duration) {
        self.stop(patience);
    }

    fn stop(&mut self, patience: Duration) {
        let by = Clock::new().now() + patience;
        for shard in 0..self.shards() {
            while self.exchange.order(shard, Order::Stop(by)).is_err()
                && self.threads.get(usize::from(shard)).is_some_and(|t| !t.is_finished())
            {
                std::thread::yield_now();
            }
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard's thread ended by a fault");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop(Duration::ZERO);
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("local_addrs", &self.local_addrs).finish_non_exhaustive()
    }
}
