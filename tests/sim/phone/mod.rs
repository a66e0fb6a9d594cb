//! A phone: a small user agent with transactions and dialogs of its own (RFC 3261 §12, §13, §17).
//!
//! It follows a [`Script`] and notes in its [`Log`] what came of it. Nothing here is Baton's: where
//! the two disagree about a transaction, the simulation shows it.

mod callee;
mod caller;

use crate::net::Dice;
use crate::text::Text;
use baton::sip::flow::Transport;
use baton::sip::time::Time;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const T4: Duration = Duration::from_secs(5);
const GIVE_UP: Duration = Duration::from_secs(32);
/// How long a caller lets it ring.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a called phone does in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    #[default]
    Accept,
    Refuse(u16),
    /// It rings for ever.
    Ring,
    /// It does not say a word.
    Dead,
}

/// What a phone does of its own accord; spans count from the event they follow.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Calls to place: when, and whom.
    pub dials: Vec<(Duration, &'static str)>,
    /// The caller gives up so long after dialling.
    pub cancel_after: Option<Duration>,
    /// The callee answers so, after ringing so long.
    pub answer: Answer,
    pub answer_after: Duration,
    /// It hangs up so long after the call is up.
    pub hang_up_after: Option<Duration>,
    /// It sends a REFER so long after the call is up, and hangs up when that is reported done.
    pub refer_after: Option<Duration>,
    /// A transfer it performs is reported with this code, so long after the REFER.
    pub transfer: (u16, Duration),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls it placed that were answered; calls it answered that were acknowledged.
    pub answered: usize,
    /// Finals of calls it placed that failed; 0 for none.
    pub refused: Vec<u16>,
    /// Calls that ended after they were up, by whom.
    pub hung_up: usize,
    pub hung_up_by_peer: usize,
    /// Calls it let ring that were cancelled.
    pub cancelled: usize,
    /// Finals of its REFERs; 0 for none.
    pub refers: Vec<u16>,
    /// Codes that NOTIFYs brought.
    pub notified: Vec<u16>,
    /// Requests that were answered 481 or not at all.
    pub lost: usize,
}

#[derive(Debug)]
pub struct Phone {
    pub user: &'static str,
    pub addr: SocketAddr,
    pub transport: Transport,
    pub script: Script,
    pub log: Log,
    pub faults: Vec<String>,
    /// Messages to be sent to Baton.
    pub out: Vec<String>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    calls: Vec<Call>,
    agenda: Vec<(Time, Act)>,
    seen: BTreeSet<(String, String, u32, String)>,
    /// Baton may be restarted: then a request that comes on a second branch is no fault.
    pub merged: bool,
    made: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Dial(&'static str),
    Cancel(usize),
    Answer(usize),
    HangUp(usize),
    Refer(usize),
    Notify(usize, u16),
}

/// Something that is sent again until it is answered.
#[derive(Clone, Debug)]
struct Repeat {
    text: String,
    at: Time,
    interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Proceeding,
    Done,
}

#[derive(Debug)]
struct Client {
    branch: String,
    method: &'static str,
    call: usize,
    request: String,
    repeat: Option<Repeat>,
    stage: Stage,
    end: Time,
    ack: Option<String>,
    cancel: bool,
    cancelled: bool,
}

#[derive(Debug)]
struct Server {
    branch: String,
    method: String,
    call: usize,
    request: Text,
    /// What a repeated request gets.
    last: Option<String>,
    repeat: Option<Repeat>,
    /// A final was sent; an INVITE's non-2xx waits for its ACK.
    done: bool,
    end: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Early,
    Up,
    Over,
}

#[derive(Debug)]
struct Call {
    id: String,
    /// From and To as this side writes them in requests of its own, the tags left out.
    near: String,
    far: String,
    near_tag: String,
    far_tag: Option<String>,
    target: String,
    routes: Vec<String>,
    number: u32,
    phase: Phase,
    /// The ACK to the 2xx.
    ack: Option<String>,
    /// The 2xx until the ACK, and when it is given up.
    ok: Option<Repeat>,
    ok_end: Time,
}

impl Phone {
    pub fn new(
        user: &'static str,
        addr: SocketAddr,
        transport: Transport,
        script: Script,
        start: Time,
    ) -> Phone {
        let agenda = script.dials.iter().map(|&(after, whom)| (start + after, Act::Dial(whom))).collect();
        Phone {
            user,
            addr,
            transport,
            script,
            log: Log::default(),
            faults: Vec::new(),
            out: Vec::new(),
            clients: Vec::new(),
            servers: Vec::new(),
            calls: Vec::new(),
            agenda,
            seen: BTreeSet::new(),
            merged: false,
            made: 0,
        }
    }

    /// Whether it has nothing more to do, wait for or remember.
    pub fn is_idle(&self) -> bool {
        self.next().is_none() && self.calls.iter().all(|call| call.phase == Phase::Over)
    }

    /// What it still has.
    pub fn state(&self) -> String {
        let phases: Vec<Phase> = self.calls.iter().map(|call| call.phase).collect();
        format!("{}: {:?} {:?} {phases:?}", self.user, self.clients, self.servers)
    }

    /// When it wants to do something next.
    pub fn next(&self) -> Option<Time> {
        let clients = self.clients.iter().flat_map(|c| [Some(c.end), c.repeat.as_ref().map(|r| r.at)]);
        let servers = self.servers.iter().flat_map(|s| [Some(s.end), s.repeat.as_ref().map(|r| r.at)]);
        let oks = self.calls.iter().flat_map(|c| c.ok.as_ref().map(|r| [Some(r.at), Some(c.ok_end)]));
        let agenda = self.agenda.iter().map(|(at, _)| Some(*at));
        clients.chain(servers).chain(oks.flatten()).chain(agenda).flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        while let Some(at) = self.agenda.iter().position(|(at, _)| *at <= now) {
            let (_, act) = self.agenda.remove(at);
            self.act(now, act);
        }
        let Phone { clients, servers, calls, out, .. } = self;
        let repeats = clients.iter_mut().map(|c| (&mut c.repeat, c.method == "INVITE"));
        let repeats = repeats.chain(servers.iter_mut().map(|s| (&mut s.repeat, false)));
        for (repeat, unbounded) in repeats.chain(calls.iter_mut().map(|c| (&mut c.ok, false))) {
            if let Some(repeat) = repeat.as_mut().filter(|repeat| repeat.at <= now) {
                out.push(repeat.text.clone());
                repeat.interval = if unbounded { repeat.interval * 2 } else { (repeat.interval * 2).min(T2) };
                repeat.at = now + repeat.interval;
            }
        }
        for n in 0..self.calls.len() {
            if self.calls[n].ok.is_some() && self.calls[n].ok_end <= now {
                // §13.3.1.4: no ACK came.
                self.calls[n].ok = None;
                self.hang_up(now, n);
            }
        }
        while let Some(n) = self.clients.iter().position(|client| client.end <= now) {
            self.client_ended(now, n);
        }
        for server in self.servers.iter().filter(|s| s.end <= now && s.method == "INVITE" && !s.done) {
            // It has rung for ten minutes: no CANCEL got through.
            self.calls[server.call].phase = Phase::Over;
        }
        self.servers.retain(|server| server.end > now);
    }

    fn act(&mut self, now: Time, act: Act) {
        match act {
            Act::Dial(whom) => self.dial(now, whom),
            Act::Cancel(call) => self.cancel(now, call),
            Act::Answer(call) => self.answer(now, call),
            Act::HangUp(call) => self.hang_up(now, call),
            Act::Refer(call) if self.calls[call].phase == Phase::Up => {
                let extra = "Refer-To: <sip:carol@10.0.9.9>\r\nReferred-By: <sip:someone@10.0.9.9>\r\n";
                self.request(now, call, "REFER", extra, "");
            }
            Act::Notify(call, status) if self.calls[call].phase == Phase::Up => {
                let state = if status < 200 { "active;expires=60" } else { "terminated;reason=noresource" };
                let extra = format!(
                    "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
                );
                self.request(now, call, "NOTIFY", &extra, &format!("SIP/2.0 {status} Whatever\r\n"));
            }
            Act::Refer(_) | Act::Notify(..) => {}
        }
    }

    pub fn receive(&mut self, now: Time, text: &Text) {
        if text.is_request() {
            self.requested(now, text);
        } else {
            self.answered(now, text);
        }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}{}", self.user, self.made)
    }
}

impl Script {
    /// A caller that dials once, soon.
    pub fn caller(dice: &mut Dice) -> Script {
        Script { dials: vec![(dice.millis(0, 500), "bravo")], ..Script::callee(dice) }
    }

    /// A phone that answers after a while.
    pub fn callee(dice: &mut Dice) -> Script {
        Script {
            answer_after: dice.millis(0, 4_000),
            transfer: (200, dice.millis(0, 5_000)),
            ..Script::default()
        }
    }
}
