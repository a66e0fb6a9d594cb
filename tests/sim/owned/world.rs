//! Phones, two shards, an API and the network between them, played until nothing is left to happen.

use super::agent::{Act, Agent};
use super::check::Record;
use super::plan::{self, Phone};
use super::script;
use crate::net::{Dice, Link, Net, Parcel};
use crate::text::Text;
use baton::shard::owner::{HashKey, owner};
use baton::shard::{Counters, Input, Outbox, Output, PeerMessage, Place, Shard};
use baton::sip::command::{Action, Command, Order};
use baton::sip::flow::{ConnectionId, Flow, ListenerId, Transport};
use baton::sip::plan::ReferMode;
use baton::sip::time::Time;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub const START: Time = Time::from_millis(1_800_000_000_000);
pub const SHARDS: u16 = 2;
pub const BATON: &str = "10.9.9.9:5060";
/// What is begun is begun until here;
const CALM: Duration = Duration::from_secs(60);
/// then transfers come to their end;
const SETTLED: Duration = Duration::from_secs(400);
/// and after everybody has hung up, the last timers.
const LONGEST: Duration = Duration::from_secs(2_600);

pub struct World {
    pub now: Time,
    pub dice: Dice,
    pub fine: bool,
    pub agents: Vec<Agent>,
    pub shards: Vec<Shard>,
    /// When the API is to do something.
    pub orders: Vec<Time>,
    /// What an application has decided, and when it says so.
    pub later: Vec<(Time, Order)>,
    pub record: Record,
    pub sids: u128,
    key: HashKey,
    net: Net,
    outbox: Outbox,
    peers: VecDeque<(usize, Box<PeerMessage>)>,
    trace: bool,
}

impl World {
    pub fn new(seed: u64, fine: bool, trace: bool) -> World {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let key = HashKey::new(dice.bytes());
        let baton: SocketAddr = BATON.parse().expect("an address");
        let mut net = Net::default();
        let mut agents = Vec::new();
        let mut phones = Vec::new();
        for (n, user) in ["alice", "bob", "carol", "dave", "erin"].into_iter().enumerate() {
            let addr: SocketAddr = format!("10.0.{n}.1:5060").parse().expect("an address");
            let link = |dice: &mut Dice| if fine { Link::clean(dice) } else { Link::any(dice) };
            net.join(addr, baton, link(&mut dice), link(&mut dice));
            let refer =
                [ReferMode::Terminate, ReferMode::Terminate, ReferMode::Relay][dice.below(3) as usize];
            let stream = dice.chance(250);
            let transport = if stream { Transport::Tcp } else { Transport::Udp };
            phones.push(Phone { user: user.to_owned(), addr, transport, refer });
            agents.push(Agent::new(user, addr, baton, stream, script::manners(&mut dice, fine)));
        }
        let plan = Arc::new(plan::plan(baton, &phones));
        let token_key = dice.bytes();
        let shards = (0..SHARDS)
            .map(|index| {
                let place = Place { index, shards: SHARDS, key };
                let counters = Arc::new(Counters::new(plan.trunks.len()));
                Shard::new(plan.clone(), place, dice.bytes(), token_key, counters)
            })
            .collect();
        let mut world = World {
            now: START,
            dice,
            fine,
            agents,
            shards,
            orders: Vec::new(),
            later: Vec::new(),
            record: Record::default(),
            sids: 0,
            key,
            net,
            outbox: Outbox::new(),
            peers: VecDeque::new(),
            trace,
        };
        world.write_script();
        world
    }

    /// The same with nothing to do.
    pub fn idle(seed: u64) -> World {
        let mut world = World::new(seed, true, false);
        world.agents.iter_mut().for_each(|agent| agent.agenda.clear());
        world.orders.clear();
        world
    }

    /// Plays it, and tells what went wrong.
    pub fn run(mut self) -> Vec<String> {
        self.run_until(START + CALM);
        self.agents.iter_mut().for_each(|agent| agent.calm = true);
        self.run_until(START + SETTLED);
        if self.fine {
            self.check_connections();
        }
        self.end()
    }

    /// Everybody hangs up, and nothing may be left.
    pub fn end(mut self) -> Vec<String> {
        let now = self.now;
        for agent in &mut self.agents {
            for n in agent.up() {
                agent.agenda.push((now + self.dice.millis(0, 5_000), Act::Leave(n)));
            }
        }
        // What the API called and nobody has ended.
        let alive = self.record.alive();
        self.run_until(now + Duration::from_secs(60));
        for sid in alive {
            if self.record.is_alive(sid) {
                self.order(Order::Leg(sid, Action::Hangup { status: None, reason: None }));
            }
        }
        self.run_until(now + LONGEST);
        self.check_end();
        self.record.faults
    }

    /// Plays until a moment.
    pub fn run_until(&mut self, until: Time) {
        let mut steps = 0;
        while let Some(at) = self.next().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.step();
            steps += 1;
            if steps > 300_000 {
                return self.record.fault("time does not move on".into());
            }
        }
        self.now = self.now.max(until);
    }

    fn next(&self) -> Option<Time> {
        let agents = self.agents.iter().filter_map(Agent::next);
        let shards = self.shards.iter().filter_map(Shard::next_deadline);
        let others = self.net.next().into_iter().chain(self.record.next());
        let orders = self.orders.iter().copied().chain(self.later.iter().map(|(at, _)| *at));
        agents.chain(shards).chain(others).chain(orders).min()
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(parcel) = self.net.arrived(now) {
            self.deliver(parcel);
        }
        for n in 0..self.shards.len() {
            if self.shards[n].next_deadline().is_some_and(|at| at <= now) {
                self.shards[n].expire(now, &mut self.outbox);
                self.carry_out();
            }
        }
        for n in 0..self.agents.len() {
            if self.agents[n].next().is_some_and(|at| at <= now) {
                self.agents[n].tick(now, &mut self.dice);
                self.post(n);
            }
        }
        while let Some(at) = self.orders.iter().position(|&at| at <= now) {
            self.orders.remove(at);
            self.random_order();
        }
        while let Some(at) = self.later.iter().position(|(at, _)| *at <= now) {
            let (_, order) = self.later.remove(at);
            self.order(order);
        }
        self.check_promises();
    }

    fn deliver(&mut self, parcel: Parcel) {
        if self.trace {
            let text = String::from_utf8_lossy(&parcel.bytes);
            println!("── {} {} ► {}\n{text}", self.now.since(START).as_millis(), parcel.from, parcel.to);
        }
        if let Some(n) = self.agents.iter().position(|agent| agent.addr == parcel.to) {
            let text = Text::parse(&parcel.bytes);
            self.agents[n].receive(self.now, &text, &mut self.dice);
            return self.post(n);
        }
        let shard = owner(&parcel.bytes, &self.key, SHARDS).map_or(0, usize::from);
        let (transport, listener) = if parcel.stream { (Transport::Tcp, 1) } else { (Transport::Udp, 0) };
        let connection = self.agents.iter().position(|agent| agent.addr == parcel.from);
        let flow = Flow {
            listener: ListenerId(listener),
            transport,
            remote: parcel.from,
            connection: connection.filter(|_| parcel.stream).map(|n| ConnectionId::new(0, n as u64)),
        };
        self.give(shard, Input::Message { flow, bytes: parcel.bytes });
    }

    fn give(&mut self, shard: usize, input: Input) {
        self.shards[shard].handle(self.now, input, &mut self.outbox);
        self.carry_out();
    }

    fn post(&mut self, n: usize) {
        let agent = &mut self.agents[n];
        let transport = if agent.stream { Transport::Tcp } else { Transport::Udp };
        for text in std::mem::take(&mut agent.out) {
            let parcel =
                Parcel { from: agent.addr, to: agent.baton, stream: agent.stream, bytes: text.into() };
            self.net.send(self.now, transport, parcel, &mut self.dice);
        }
        for promise in std::mem::take(&mut agent.promises) {
            self.record.promised(self.now, n, promise);
        }
    }

    fn carry_out(&mut self) {
        let from: SocketAddr = BATON.parse().expect("an address");
        let mut outbox = std::mem::take(&mut self.outbox);
        for output in outbox.drain() {
            match output {
                Output::Send { to, bytes, .. } => {
                    let stream = to.transport.is_reliable();
                    if !self.agents.iter().any(|agent| agent.addr == to.remote && agent.stream == stream) {
                        self.record.fault(format!("sent to {} over {:?}", to.remote, to.transport));
                    }
                    let parcel = Parcel { from, to: to.remote, stream, bytes };
                    self.net.send(self.now, to.transport, parcel, &mut self.dice);
                }
                Output::Event(event) | Output::Control(event) => {
                    if self.trace {
                        println!("── {} {event:?}\n", self.now.since(START).as_millis());
                    }
                    self.note(event);
                }
                Output::Peer(shard, message) => self.peers.push_back((usize::from(shard), message)),
                Output::Resolve(query) => self.record.fault(format!("asked DNS for {}", query.name)),
                Output::Close(_) | Output::Stranger(_) | Output::Banned(_) | Output::Returned { .. } => {}
            }
        }
        self.outbox = outbox;
        while let Some((shard, message)) = self.peers.pop_front() {
            self.give(shard, Input::Peer(message));
        }
    }

    pub fn sid(&mut self, shard: u16) -> u128 {
        self.sids += 1;
        (self.sids << 16) | u128::from(shard)
    }

    /// The API orders something.
    pub fn order(&mut self, order: Order) {
        if self.trace {
            println!("── {} {order:?}\n", self.now.since(START).as_millis());
        }
        let ticket = self.record.ordered(self.now, &order);
        let about = match &order {
            Order::Place(place) => place.sid,
            Order::Leg(sid, _) | Order::CancelRefer(_, sid) | Order::DecideRefer(_, sid, _) => *sid,
        };
        self.give(usize::from(about.shard()), Input::Command(Box::new(Command { ticket, order })));
    }
}
