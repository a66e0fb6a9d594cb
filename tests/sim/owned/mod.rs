//! Calls of Baton's own under random call control: phones place, answer, hold and transfer calls in
//! every role, the API does the same from its side, and the network loses, repeats and reorders.
//!
//! ```text
//! BATON_SIM_SEEDS=5000 cargo test --release --test sim owned           how many seeds
//! BATON_SIM_SEED=17 cargo test --test sim owned -- --nocapture         one seed, every message printed
//! ```
//!
//! In each seed: every Refer reaches one final status, every call ends once, no shard keeps anything
//! after its last timer; and in fine weather, whoever is up talks to somebody who talks back.

mod agent;
mod dialog;
mod plan;

use crate::net::{Dice, Link, Net, Parcel};
use crate::text::Text;
use agent::{Act, Agent, Manners, OnRefer};
use baton::shard::owner::{HashKey, owner};
use baton::shard::{Counters, Input, Outbox, Output, PeerMessage, Place, Shard};
use baton::sip::command::{Action, Command, Dial, DialParty, Order, Party, Place as NewCall, ReferOrder};
use baton::sip::event::{CallSid, CallStatus, Event, ReferSid, ReferStatus};
use baton::sip::flow::{Flow, ListenerId, Transport};
use baton::sip::plan::{Plan, ReferMode};
use baton::sip::time::Time;
use dialog::Phase;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const START: Time = Time::from_millis(1_800_000_000_000);
const SHARDS: u16 = 2;
const BATON: &str = "10.9.9.9:5060";
/// What is begun is begun until here;
const CALM: Duration = Duration::from_secs(60);
/// then transfers come to their end;
const SETTLED: Duration = Duration::from_secs(400);
/// and after everybody has hung up, the last timers.
const LONGEST: Duration = Duration::from_secs(3_000);
const ACCOUNT: &str = "AC00000000000000000000000000000001";

struct World {
    now: Time,
    dice: Dice,
    agents: Vec<Agent>,
    shards: Vec<Shard>,
    key: HashKey,
    net: Net,
    outbox: Outbox,
    peers: VecDeque<(usize, Box<PeerMessage>)>,
    orders: Vec<Time>,
    calls: BTreeMap<CallSid, CallStatus>,
    refers: BTreeMap<ReferSid, ReferStatus>,
    sids: u128,
    faults: Vec<String>,
    trace: bool,
}

/// [R-001] [R-056] [R-068] [R-116] [X-05] Random scripts of call control over bad networks.
#[test]
fn random_call_control() {
    play(false);
}

/// [R-052] [R-057] [R-086] The same over good networks, where survivors must talk to whom they should.
#[test]
fn random_call_control_in_fine_weather() {
    play(true);
}

fn play(fine: bool) {
    if let Some(seed) = std::env::var("BATON_SIM_SEED").ok().and_then(|s| s.parse().ok()) {
        let faults = World::new(seed, fine, true).run();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        return;
    }
    let seeds: u64 = std::env::var("BATON_SIM_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(300);
    for seed in 0..seeds / 2 {
        let faults = World::new(seed, fine, false).run();
        assert!(faults.is_empty(), "BATON_SIM_SEED={seed} (fine: {fine}):\n{}", faults.join("\n"));
    }
}

impl World {
    fn new(seed: u64, fine: bool, trace: bool) -> World {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let key = HashKey::new(dice.bytes());
        let baton: SocketAddr = BATON.parse().expect("an address");
        let mut net = Net::default();
        let mut agents = Vec::new();
        let mut phones = Vec::new();
        for (n, user) in ["alice", "bob", "carol", "dave", "erin"].into_iter().enumerate() {
            let addr: SocketAddr = format!("10.0.{n}.1:5060").parse().expect("an address");
            let (there, back) = if fine {
                (Link::clean(&mut dice), Link::clean(&mut dice))
            } else {
                (Link::any(&mut dice), Link::any(&mut dice))
            };
            net.join(addr, baton, there, back);
            let refer =
                [ReferMode::Terminate, ReferMode::Terminate, ReferMode::Relay][dice.below(3) as usize];
            phones.push((user.to_owned(), addr, refer));
            agents.push(Agent::new(user, addr, baton, manners(&mut dice, fine)));
        }
        let plan: Arc<Plan> = Arc::new(plan::plan(baton, &phones));
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
            agents,
            shards,
            key,
            net,
            outbox: Outbox::new(),
            peers: VecDeque::new(),
            orders: Vec::new(),
            calls: BTreeMap::new(),
            refers: BTreeMap::new(),
            sids: 0,
            faults: Vec::new(),
            trace,
            dice,
        };
        world.write_script();
        world
    }

    /// What everybody will do, and when.
    fn write_script(&mut self) {
        for n in 0..self.agents.len() {
            for _ in 0..self.dice.below(3) {
                let whom = self.anybody(n);
                let at = START + self.dice.millis(0, 20_000);
                self.agents[n].agenda.push((at, Act::Dial { whom, replaces: None, reports: None }));
            }
            for _ in 0..self.dice.below(6) {
                let at = START + self.dice.millis(3_000, 58_000);
                let (call, other) = (self.dice.below(3) as usize, self.dice.below(3) as usize);
                let act = match self.dice.below(6) {
                    0 => Act::HangUp(call),
                    1 => Act::Hold(call, true),
                    2 => Act::Hold(call, false),
                    3 => Act::Cancel(call),
                    4 => Act::Attended(call, other),
                    _ => Act::Refer(call, self.anybody(n)),
                };
                self.agents[n].agenda.push((at, act));
            }
        }
        for _ in 0..self.dice.below(6) {
            self.orders.push(START + self.dice.millis(0, 58_000));
        }
    }

    fn anybody(&mut self, but: usize) -> String {
        let others = self.agents.len() as u64 - 1;
        let n = self.dice.below(others) as usize;
        self.agents[if n >= but { n + 1 } else { n }].user.clone()
    }

    fn run(mut self) -> Vec<String> {
        let fine = self.net.is_clean();
        self.run_until(START + CALM);
        self.agents.iter_mut().for_each(|agent| agent.calm = true);
        self.run_until(START + SETTLED);
        if fine {
            self.check_connections();
        }
        let now = self.now;
        for agent in &mut self.agents {
            for n in agent.up() {
                agent.agenda.push((now + self.dice.millis(0, 5_000), Act::HangUp(n)));
            }
        }
        // What the API called and nobody has ended.
        let alive: Vec<CallSid> =
            self.calls.iter().filter(|(_, s)| !s.is_final()).map(|(sid, _)| *sid).collect();
        self.run_until(now + Duration::from_secs(60));
        for sid in alive {
            if self.calls.get(&sid).is_some_and(|s| !s.is_final()) {
                self.order(sid.shard(), Order::Leg(sid, Action::Hangup { status: None, reason: None }));
            }
        }
        self.run_until(START + LONGEST);
        self.check_end();
        self.faults
    }

    fn run_until(&mut self, until: Time) {
        let mut steps = 0;
        while let Some(at) = self.next().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.step();
            steps += 1;
            if steps > 300_000 {
                self.faults.push("time does not move on".into());
                return;
            }
        }
        self.now = self.now.max(until);
    }

    fn next(&self) -> Option<Time> {
        let agents = self.agents.iter().filter_map(Agent::next);
        let shards = self.shards.iter().filter_map(Shard::next_deadline);
        agents.chain(shards).chain(self.net.next()).chain(self.orders.iter().copied()).min()
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
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: parcel.from,
            connection: None,
        };
        self.give(shard, Input::Message { flow, bytes: parcel.bytes });
    }

    fn give(&mut self, shard: usize, input: Input) {
        self.shards[shard].handle(self.now, input, &mut self.outbox);
        self.carry_out();
    }

    fn post(&mut self, n: usize) {
        let (from, to) = (self.agents[n].addr, self.agents[n].baton);
        for text in std::mem::take(&mut self.agents[n].out) {
            let parcel = Parcel { from, to, stream: false, bytes: text.into() };
            self.net.send(self.now, Transport::Udp, parcel, &mut self.dice);
        }
    }

    fn carry_out(&mut self) {
        let from: SocketAddr = BATON.parse().expect("an address");
        let outputs: Vec<Output> = self.outbox.drain().collect();
        for output in outputs {
            match output {
                Output::Send { to, bytes, .. } => {
                    let parcel = Parcel { from, to: to.remote, stream: false, bytes };
                    if !self.agents.iter().any(|agent| agent.addr == to.remote) {
                        self.faults.push(format!("sent to {}", to.remote));
                    }
                    self.net.send(self.now, to.transport, parcel, &mut self.dice);
                }
                Output::Event(event) | Output::Control(event) => self.note(event),
                Output::Peer(shard, message) => self.peers.push_back((usize::from(shard), message)),
                Output::Resolve(query) => self.faults.push(format!("asked DNS for {}", query.name)),
                Output::Close(_) => {}
            }
        }
        while let Some((shard, message)) = self.peers.pop_front() {
            self.give(shard, Input::Peer(message));
        }
    }

    fn note(&mut self, event: Event) {
        if self.trace {
            println!("── {} {event:?}\n", self.now.since(START).as_millis());
        }
        match event {
            Event::CallStarted(started) => {
                let twice = self.calls.insert(started.sid, CallStatus::Queued).is_some();
                self.faults.extend(twice.then(|| format!("{} began twice", started.sid)));
            }
            Event::CallChanged(change) => {
                let Some(status) = self.calls.get_mut(&change.sid) else {
                    return self.faults.push(format!("{} changed and never began", change.sid));
                };
                if status.is_final() {
                    self.faults.push(format!("{} is {status:?} and became {:?}", change.sid, change.status));
                }
                *status = change.status;
            }
            Event::Refer(refer) => {
                let old = self.refers.insert(refer.sid, refer.status);
                if let Some(old) = old.filter(|&old| old != ReferStatus::InProgress && old != refer.status) {
                    self.faults.push(format!("{} was {old:?} and became {:?}", refer.sid, refer.status));
                }
            }
            _ => {}
        }
    }

    fn sid(&mut self, shard: u16) -> u128 {
        self.sids += 1;
        (self.sids << 16) | u128::from(shard)
    }

    fn order(&mut self, shard: u16, order: Order) {
        let command = Box::new(Command { ticket: 1, order });
        self.give(usize::from(shard), Input::Command(command));
    }

    /// The API does something to somebody.
    fn random_order(&mut self) {
        let alive: Vec<CallSid> =
            self.calls.iter().filter(|(_, s)| !s.is_final()).map(|(sid, _)| *sid).collect();
        let whom = self.anybody(self.agents.len() - 1);
        if alive.is_empty() || self.dice.chance(300) {
            let shard = self.dice.below(u64::from(SHARDS)) as u16;
            let sid = CallSid(self.sid(shard));
            let place = NewCall {
                sid,
                account: ACCOUNT.into(),
                from: "+31123".into(),
                caller_name: None,
                to: Party::Number(whom),
                headers: vec![("X-Baton-Test".into(), "1".into())],
                credentials: None,
                timeout: Duration::from_secs(30),
                sdp: None,
            };
            return self.order(shard, Order::Place(Box::new(place)));
        }
        let sid = alive[self.dice.below(alive.len() as u64) as usize];
        let other = alive[self.dice.below(alive.len() as u64) as usize];
        // Who is parked by the API talks to nobody: then nothing can be said of who talks to whom.
        let fine = self.net.is_clean();
        let action = match self.dice.below(8) {
            2 | 4 if fine => Action::Resume,
            0 => Action::Hangup { status: None, reason: None },
            1 => Action::Cancel,
            2 => Action::Hold,
            3 => Action::Resume,
            4 => Action::Part,
            5 if sid != other => Action::Join(other),
            6 => {
                let party = DialParty {
                    sid: CallSid(self.sid(sid.shard())),
                    to: Party::Number(whom),
                    headers: Vec::new(),
                    credentials: None,
                };
                Action::Dial(Box::new(Dial {
                    parties: vec![party],
                    from: None,
                    timeout: Duration::from_secs(20),
                    time_limit: None,
                    join: true,
                }))
            }
            _ => Action::Refer(Box::new(ReferOrder {
                sid: ReferSid(self.sid(sid.shard())),
                to: format!("sip:{whom}@{BATON}"),
                referred_by: None,
                replaces: None,
                headers: Vec::new(),
                credentials: None,
                no_subscription: false,
                bye_after: self.dice.chance(500).then(|| Duration::from_secs(1)),
                force: self.dice.chance(500),
                hold: !fine && self.dice.chance(300),
            })),
        };
        self.order(sid.shard(), Order::Leg(sid, action));
    }

    /// Whoever sends his media somewhere is heard by somebody who sends it back, unless he is parked.
    fn check_connections(&mut self) {
        let baton: SocketAddr = BATON.parse().expect("an address");
        for (n, agent) in self.agents.iter().enumerate() {
            for at in agent.up() {
                let Some((ip, direction)) = &agent.dialogs[at].media else { continue };
                if direction == "inactive" || *ip == baton.ip() || ip.is_unspecified() {
                    continue;
                }
                let mine = agent.addr.ip();
                let back = self.agents.iter().filter(|other| other.addr.ip() == *ip).any(|other| {
                    other
                        .up()
                        .iter()
                        .any(|&d| other.dialogs[d].media.as_ref().is_some_and(|(ip, _)| *ip == mine))
                });
                if !back {
                    self.faults.push(format!(
                        "{} (dialog {at}) talks to {ip}, who does not talk back",
                        self.agents[n].user
                    ));
                }
            }
        }
    }

    fn check_end(&mut self) {
        for (sid, status) in &self.calls {
            if !status.is_final() {
                self.faults.push(format!("{sid} is still {status:?}"));
            }
        }
        for (sid, status) in &self.refers {
            if *status == ReferStatus::InProgress {
                self.faults.push(format!("{sid} has no result"));
            }
        }
        for (n, shard) in self.shards.iter().enumerate() {
            if shard.remains() > 0 || shard.next_deadline().is_some() {
                let next = shard.next_deadline().map(|at| at.since(START));
                self.faults.push(format!("shard {n} keeps {} things, next at {next:?}", shard.remains()));
            }
        }
        for agent in &self.agents {
            for (n, dialog) in agent.dialogs.iter().enumerate() {
                if dialog.phase == Phase::Up {
                    self.faults.push(format!("{}: dialog {n} is still up", agent.user));
                }
            }
        }
    }
}

fn manners(dice: &mut Dice, fine: bool) -> Manners {
    let refer = match dice.below(if fine { 2 } else { 7 }) {
        0..=1 => OnRefer::Perform,
        2 => OnRefer::Refuse(405),
        3 => OnRefer::Refuse(603),
        4 => OnRefer::Silent,
        5 => OnRefer::HangUp,
        _ => OnRefer::Eager,
    };
    let answer = [200, 200, 200, 200, 486, 404, 603, 0][dice.below(8) as usize];
    Manners { ring: dice.millis(0, 6_000), answer, refer, stubborn: if fine { 0 } else { dice.below(100) } }
}
