//! Phones, shards and the network between them, played until nothing is left to happen.

use crate::net::{Dice, Link, Net, Parcel};
use crate::phone::{Phone, Script};
use crate::tap::{Cause, Tap};
use crate::text::Text;
use baton::shard::owner::{HashKey, owner};
use baton::shard::{Counters, Input, Outbox, Output, Place, SendTag, Shard};
use baton::sip::event::Event;
use baton::sip::flow::{ConnectionId, Destination, Flow, ListenerId, Transport};
use baton::sip::message::Limits;
use baton::sip::plan::{
    Action, Capacity, Fork, Listener, Mode, Origin, Plan, ReferMode, Route, Routing, Source, SourceTable,
    Target, Timings, Trunk, TrunkIx, UnknownSource, UserMatch,
};
use baton::sip::resolve::{Answer, Outcome, Query, Records};
use baton::sip::time::Time;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Baton's address; it listens there on UDP and TCP.
const BATON: &str = "10.9.9.9:5060";
const START: Time = Time::from_millis(1_800_000_000_000);
/// A span that no other event of a flow is meant to exceed.
pub const LONG: Duration = Duration::from_secs(90);
/// No flow lasts longer, whatever is lost.
const LONGEST: Duration = Duration::from_secs(3_600);
const SHARDS: u16 = 2;

/// How bad the network of a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing is lost: every flow must reach its goal.
    Fine,
    /// Loss up to 30 %, repetition, reordering.
    Any,
}

pub struct World {
    pub dice: Dice,
    pub phones: Vec<Phone>,
    pub weather: Weather,
    pub now: Time,
    pub tap: Tap,
    /// How several phones are called; one trunk each when at once.
    pub fork: Fork,
    /// Whether targets are names, which DNS must be asked for.
    pub named: bool,
    /// Requests of a shard that its sockets report as failed, in per mille.
    pub failing: u64,
    plan: Arc<Plan>,
    shards: Vec<Shard>,
    net: Net,
    key: HashKey,
    token_key: [u8; 16],
    /// Final events by call or Refer.
    finals: BTreeMap<String, Vec<String>>,
    pub started: usize,
    /// Whether the flow's goal was reached.
    pub reached: bool,
    trace: bool,
    outbox: Outbox,
    /// What sockets and DNS will tell which shard, and when.
    reports: Vec<(Time, usize, Input)>,
}

/// Plays a flow with many seeds, every fourth of them in fine weather; of the others, so many in a
/// hundred must reach their goal.
pub fn play(flow: &str, share: usize, one: impl Fn(&mut World)) {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    let single = number("BATON_SIM_SEED");
    let count = number("BATON_SIM_SEEDS").unwrap_or(2_000);
    let seeds = single.map_or(0..count, |seed| seed..seed + 1);
    let (mut bad, mut reached) = (0, 0);
    for seed in seeds {
        let weather = if seed % 4 == 0 { Weather::Fine } else { Weather::Any };
        let mut world = World::new(seed, weather, single.is_some());
        one(&mut world);
        let faults = world.faults();
        assert!(faults.is_empty(), "flow {flow}, BATON_SIM_SEED={seed}, {weather:?}:\n{}", faults.join("\n"));
        bad += usize::from(weather == Weather::Any);
        reached += usize::from(weather == Weather::Any && world.reached);
    }
    // Retransmission is there to get through: a network this bad costs few calls.
    assert!(bad < 100 || reached * 100 >= bad * share, "flow {flow}: {reached} of {bad} reached their goal");
}

impl World {
    fn new(seed: u64, weather: Weather, trace: bool) -> World {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let (key, token_key) = (HashKey::new(dice.bytes()), dice.bytes());
        World {
            phones: Vec::new(),
            weather,
            now: START,
            tap: Tap::default(),
            fork: Fork::Serial,
            named: false,
            failing: 0,
            plan: Arc::new(plan(Vec::new(), Fork::Serial, false)),
            shards: Vec::new(),
            net: Net::default(),
            key,
            token_key,
            finals: BTreeMap::new(),
            started: 0,
            reached: true,
            trace,
            outbox: Outbox::new(),
            reports: Vec::new(),
            dice,
        }
    }

    /// Puts up the phones, the first at trunk alpha, the others at trunk bravo in order of priority,
    /// and Baton between them.
    pub fn between(&mut self, scripts: Vec<Script>) {
        let baton = BATON.parse().expect("an address");
        let mut targets = Vec::new();
        for (n, script) in scripts.into_iter().enumerate() {
            let user = ["alpha", "bravo", "charlie", "delta"][n];
            let addr: SocketAddr = format!("10.0.{}.{n}:5060", n.min(1)).parse().expect("an address");
            let stream = self.dice.chance(250);
            let transport = if stream { Transport::Tcp } else { Transport::Udp };
            let (there, back) = match self.weather {
                Weather::Fine => (Link::clean(&mut self.dice), Link::clean(&mut self.dice)),
                Weather::Any => (Link::any(&mut self.dice), Link::any(&mut self.dice)),
            };
            self.net.join(addr, baton, there, back);
            if n > 0 {
                targets.push((addr, transport));
            }
            self.phones.push(Phone::new(user, addr, transport, script, START));
        }
        self.tap.targets = targets.len();
        self.tap.at_once = if self.fork == Fork::Parallel { targets.len() } else { 1 };
        self.plan = Arc::new(plan(targets, self.fork, self.named));
        self.restart();
    }

    /// New shards in place of the old ones, which take all they knew with them. The key of the
    /// tokens outlives them.
    pub fn restart(&mut self) {
        self.tap.forget();
        self.reports.clear();
        self.shards = (0..SHARDS)
            .map(|index| {
                let place = Place { index, shards: SHARDS, key: self.key };
                let seed = self.dice.bytes();
                let counters = Arc::new(Counters::new(self.plan.trunks.len()));
                Shard::new(self.plan.clone(), place, seed, self.token_key, counters)
            })
            .collect();
    }

    /// Plays until nothing is left to happen.
    pub fn run(&mut self) {
        self.run_until(START + LONGEST);
        if let Some(at) = self.next() {
            self.tap.fault(format!("still busy after {LONGEST:?}: next at {at}"));
        }
    }

    /// Plays until a moment.
    pub fn run_until(&mut self, until: Time) {
        let mut steps = 0;
        while let Some(at) = self.next().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.step();
            steps += 1;
            if steps > 200_000 {
                return self.tap.fault("time does not move on".into());
            }
        }
        self.now = self.now.max(until.min(self.now + LONGEST));
    }

    pub fn after(&self, span: Duration) -> Time {
        START + span
    }

    fn next(&self) -> Option<Time> {
        let phones = self.phones.iter().filter_map(Phone::next);
        let shards = self.shards.iter().filter_map(Shard::next_deadline);
        let reports = self.reports.iter().map(|(at, ..)| *at);
        phones.chain(shards).chain(self.net.next()).chain(reports).min()
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(parcel) = self.net.arrived(now) {
            self.deliver(parcel);
        }
        while let Some(n) = self.reports.iter().position(|(at, ..)| *at <= now) {
            let (_, shard, input) = self.reports.remove(n);
            self.shards[shard].handle(now, input, &mut self.outbox);
            self.carry_out(shard, &Cause::Timer);
        }
        for n in 0..self.shards.len() {
            if self.shards[n].next_deadline().is_some_and(|at| at <= now) {
                self.shards[n].expire(now, &mut self.outbox);
                self.carry_out(n, &Cause::Timer);
            }
        }
        for n in 0..self.phones.len() {
            if self.phones[n].next().is_some_and(|at| at <= now) {
                self.phones[n].tick(now);
                self.post(n);
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        if self.trace {
            let text = String::from_utf8_lossy(&parcel.bytes);
            println!("── {} {} ► {}\n{text}", self.now.since(START).as_millis(), parcel.from, parcel.to);
        }
        let text = Text::parse(&parcel.bytes);
        if let Some(n) = self.phones.iter().position(|phone| phone.addr == parcel.to) {
            self.phones[n].receive(self.now, &text);
            return self.post(n);
        }
        let cause = self.tap.came(&text);
        let shard = owner(&parcel.bytes, &self.key, SHARDS).map_or(0, usize::from);
        let (transport, listener) = if parcel.stream { (Transport::Tcp, 1) } else { (Transport::Udp, 0) };
        let flow = Flow {
            listener: ListenerId(listener),
            transport,
            remote: parcel.from,
            connection: parcel.stream.then(|| ConnectionId::new(0, u64::from(parcel.from.port()))),
        };
        let input = Input::Message { flow, bytes: parcel.bytes };
        self.shards[shard].handle(self.now, input, &mut self.outbox);
        self.carry_out(shard, &cause);
    }

    /// Sends what a phone has to send.
    fn post(&mut self, n: usize) {
        let to: SocketAddr = BATON.parse().expect("an address");
        let (from, transport) = (self.phones[n].addr, self.phones[n].transport);
        for text in std::mem::take(&mut self.phones[n].out) {
            let parcel = Parcel { from, to, stream: transport.is_reliable(), bytes: text.into() };
            self.net.send(self.now, transport, parcel, &mut self.dice);
        }
    }

    fn carry_out(&mut self, shard: usize, cause: &Cause) {
        let from: SocketAddr = BATON.parse().expect("an address");
        let mut outbox = std::mem::take(&mut self.outbox);
        for output in outbox.drain() {
            match output {
                Output::Send { to, bytes, tag } => {
                    self.tap.left(&Text::parse(&bytes), cause);
                    if tag != SendTag::NONE && self.dice.chance(self.failing) {
                        let input = self.fault_of(&to, tag);
                        self.reports.push((self.now + self.dice.millis(0, 100), shard, input));
                        if self.dice.chance(500) {
                            continue;
                        }
                    }
                    match self.phones.iter().find(|phone| phone.addr == to.remote) {
                        Some(phone) if phone.transport == to.transport => {
                            let stream = to.transport.is_reliable();
                            let parcel = Parcel { from, to: to.remote, stream, bytes };
                            self.net.send(self.now, to.transport, parcel, &mut self.dice);
                        }
                        _ => self.tap.fault(format!("sent to {} over {:?}", to.remote, to.transport)),
                    }
                }
                Output::Event(event) | Output::Control(event) => self.note(&event),
                Output::Peer(..) => {}
                Output::Resolve(query) => self.ask(shard, query),
                Output::Close(_) | Output::Stranger(_) | Output::Banned(_) | Output::Returned { .. } => {}
            }
        }
        self.outbox = outbox;
    }

    /// What the sockets may say of a request; it has left or not.
    fn fault_of(&mut self, to: &Destination, tag: SendTag) -> Input {
        let connection = ConnectionId::new(0, 0);
        match (to.transport.is_reliable(), self.dice.below(2)) {
            (_, 0) => Input::SendFailed { tag },
            (true, _) => Input::Closed { connection, sent: vec![tag] },
            (false, _) => Input::Unreachable { remote: to.remote },
        }
    }

    /// DNS knows every phone by the last number of its address; in bad weather it may be slow, fail or say
    /// nothing.
    fn ask(&mut self, shard: usize, query: Query) {
        let number = query.name.strip_prefix("phone").and_then(|name| name.split('.').next());
        let Some(number) = number.and_then(|n| n.parse().ok()) else {
            return self.tap.fault(format!("asked DNS for {}", query.name));
        };
        let fate = if self.weather == Weather::Fine { 9 } else { self.dice.below(10) };
        let outcome = match fate {
            0 => return,
            1 | 2 => Outcome::Failed,
            _ => Outcome::Found(Records::Address(vec![[10, 0, 1, number].into()])),
        };
        let took =
            if self.weather == Weather::Fine { self.dice.millis(0, 400) } else { self.dice.millis(0, 8_000) };
        let answer = Answer { outcome, ttl: Duration::from_secs(self.dice.below(30)) };
        self.reports.push((self.now + took, shard, Input::Resolved { query, answer }));
    }

    fn note(&mut self, event: &Event) {
        let (name, status) = match event {
            Event::CallStarted(_) => {
                self.started += 1;
                return;
            }
            Event::CallChanged(change) => (format!("{}", change.sid), format!("{:?}", change.status)),
            Event::Refer(refer) => (format!("{}", refer.sid), format!("{:?}", refer.status)),
            _ => return,
        };
        if !event.is_final() {
            return;
        }
        let statuses = self.finals.entry(name.clone()).or_default();
        statuses.push(status);
        // Baton does not remember a call that is up: a BYE reports the end, though another BYE crossed
        // it, or the caller was told that nobody answered. The record keeps the first.
        let late = statuses.len() <= 3 && statuses[1..].iter().all(|status| status == "Completed");
        if statuses.len() > 1 && !(late && matches!(event, Event::CallChanged(_))) {
            let statuses = statuses.join(", ");
            self.tap.fault(format!("more than one final event of {name}: {statuses}"));
        }
    }

    /// How many final events there were.
    pub fn ended(&self) -> usize {
        self.finals.len()
    }

    /// What a flow's goal is. In fine weather it must be reached, in bad weather most of the time.
    pub fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        self.reached &= found == wanted;
        if self.weather == Weather::Fine && found != wanted {
            self.tap.fault(format!("{what}: {found:?} instead of {wanted:?}"));
        }
    }

    /// In fine weather nothing need be sent twice.
    pub fn expect_no_repeats(&mut self) {
        if self.weather == Weather::Fine && self.tap.repeats > 0 {
            let repeats = self.tap.repeats;
            self.tap.fault(format!("{repeats} messages sent again, though none was lost"));
        }
    }

    fn faults(&mut self) -> Vec<String> {
        let mut faults = std::mem::take(&mut self.tap.faults);
        for phone in &self.phones {
            faults.extend(phone.faults.iter().map(|fault| format!("{}: {fault}", phone.user)));
            if !phone.is_idle() {
                faults.push(phone.state());
            }
        }
        for shard in &self.shards {
            if shard.remains() > 0 || shard.next_deadline().is_some() {
                let next = shard.next_deadline();
                faults.push(format!("a shard keeps {} things, next deadline {next:?}", shard.remains()));
            }
        }
        faults
    }
}

/// Trunk alpha at 10.0.0.0/24 may call trunk bravo, which has these targets in this order.
fn plan(targets: Vec<(SocketAddr, Transport)>, fork: Fork, named: bool) -> Plan {
    let listener = |transport| Listener {
        name: "lan".into(),
        transport,
        bind: BATON.parse().expect("an address"),
        host: "10.9.9.9".into(),
        port: 5060,
        tls_profiles: Vec::new(),
    };
    let trunk = |name: &str, targets| Trunk {
        name: name.into(),
        targets,
        account: Some("AC00000000000000000000000000000001".into()),
        refer: ReferMode::Relay,
        no_response_timeout: Duration::from_secs(3),
        ring_timeout: Duration::from_secs(180),
        udp_max: 1_300,
        max_duration: Duration::from_secs(14_400),
        owned: Default::default(),
    };
    let target = |(n, (addr, transport)): (usize, (SocketAddr, Transport))| Target {
        uri: format!("sip:{addr};transport={}", transport.param()).into(),
        user: None,
        host: if named { format!("phone{}.example", n + 1).into() } else { addr.ip().to_string().into() },
        port: Some(addr.port()),
        transport: Some(transport),
        secure: false,
        priority: n as u16,
        weight: 1,
    };
    let mut sources = SourceTable::default();
    for n in 0..2 {
        let net = format!("10.0.{n}.0/24").parse().expect("a network");
        sources.insert(net, Source { port: None, transport: None, trunk: TrunkIx(n) }).expect("distinct");
    }
    let targets = targets.into_iter().enumerate().map(target);
    let mut trunks = vec![trunk("alpha", Vec::new())];
    match fork {
        Fork::Serial => trunks.push(trunk("bravo", targets.collect())),
        // Those of one trunk are tried one after another.
        Fork::Parallel => {
            trunks.extend(targets.zip(["bravo", "charlie", "delta"]).map(|(t, name)| trunk(name, vec![t])));
        }
    }
    let to = (1..trunks.len() as u16).map(TrunkIx).collect();
    Plan {
        node: 1,
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        aliases: Vec::new(),
        trunks,
        sources,
        routes: vec![Route {
            from: vec![Origin::Trunk(TrunkIx(0))],
            user: UserMatch::Any,
            action: Action::Trunks { to, fork, mode: Mode::Auto },
        }],
        timings: Timings::default(),
        limits: Limits::default(),
        capacity: Capacity::default(),
        routing: Routing::default(),
        record_proxied: true,
        unknown_source: UnknownSource::DropUdp,
        calls: Default::default(),
    }
}
