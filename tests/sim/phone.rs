//! A phone: a small user agent with transactions and dialogs of its own (RFC 3261 §12, §13, §17).
//!
//! It follows a [`Script`] and notes in its [`Log`] what came of it. Nothing here is Baton's: where
//! the two disagree about a transaction, the simulation shows it.

use crate::net::Dice;
use crate::text::{Text, uri_of};
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

    // ── calling ──

    fn dial(&mut self, now: Time, whom: &str) {
        let id = self.fresh("call");
        let call = Call {
            id: format!("{id}@{}", self.addr.ip()),
            near: format!("<sip:{}@{}>", self.user, self.addr.ip()),
            far: format!("<sip:{whom}@10.9.9.9>"),
            near_tag: self.fresh("tag"),
            far_tag: None,
            target: format!("sip:{whom}@10.9.9.9"),
            routes: Vec::new(),
            number: 0,
            phase: Phase::Early,
            ack: None,
            ok: None,
            ok_end: Time::ZERO,
        };
        self.calls.push(call);
        let n = self.calls.len() - 1;
        self.request(now, n, "INVITE", "", "");
        if let Some(after) = self.script.cancel_after {
            self.agenda.push((now + after, Act::Cancel(n)));
        }
    }

    /// Sends a request in a call and waits for its answer.
    fn request(&mut self, now: Time, call: usize, method: &'static str, extra: &str, body: &str) {
        self.calls[call].number += 1;
        let branch = self.fresh("z9hG4bK");
        let request = self.write(call, method, self.calls[call].number, &branch, extra, body);
        self.start(now, call, method, branch, request);
    }

    fn start(&mut self, now: Time, call: usize, method: &'static str, branch: String, request: String) {
        self.out.push(request.clone());
        let repeat = Repeat { text: request.clone(), at: now + T1, interval: T1 };
        self.clients.push(Client {
            branch,
            method,
            call,
            request,
            repeat: (!self.transport.is_reliable()).then_some(repeat),
            stage: Stage::Waiting,
            end: now + GIVE_UP,
            ack: None,
            cancel: false,
            cancelled: false,
        });
    }

    fn write(&self, call: usize, method: &str, number: u32, branch: &str, extra: &str, body: &str) -> String {
        let Call { id, near, far, near_tag, far_tag, target, routes, .. } = &self.calls[call];
        let to_tag = far_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\n{routes}Max-Forwards: 70\r\n\
             From: {near};tag={near_tag}\r\nTo: {far}{to_tag}\r\nCall-ID: {id}\r\nCSeq: {number} {method}\r\n\
             Contact: {}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            self.transport.via_token(),
            self.addr,
            self.contact(),
            body.len(),
        )
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport={}>", self.user, self.addr, self.transport.param())
    }

    fn cancel(&mut self, now: Time, call: usize) {
        let invite = |c: &&mut Client| c.call == call && c.method == "INVITE" && c.stage != Stage::Done;
        let Some(client) = self.clients.iter_mut().find(invite) else { return };
        client.cancel = true;
        if client.stage == Stage::Waiting || client.cancelled {
            return;
        }
        client.cancelled = true;
        client.end = now + GIVE_UP;
        let (branch, cancel) = (client.branch.clone(), in_transaction(&client.request, "CANCEL", None));
        self.start(now, call, "CANCEL", branch, cancel);
    }

    fn hang_up(&mut self, now: Time, call: usize) {
        if self.calls[call].phase == Phase::Up {
            self.calls[call].phase = Phase::Over;
            self.calls[call].ok = None;
            self.log.hung_up += 1;
            self.request(now, call, "BYE", "", "");
        }
    }

    pub fn receive(&mut self, now: Time, text: &Text) {
        if text.is_request() {
            self.requested(now, text);
        } else {
            self.answered(now, text);
        }
    }

    fn answered(&mut self, now: Time, text: &Text) {
        let (status, branch, method) = (text.status(), text.branch(), text.method());
        let same = |c: &Client| c.branch == branch && c.method == method;
        let Some(n) = self.clients.iter().position(same) else { return };
        let client = &mut self.clients[n];
        let (call, stage) = (client.call, client.stage);
        match (method, status) {
            ("INVITE", ..200) => {
                if stage == Stage::Waiting {
                    client.stage = Stage::Proceeding;
                    client.repeat = None;
                    client.end = now + PATIENCE;
                }
                if client.cancel && stage != Stage::Done {
                    self.cancel(now, call);
                }
            }
            ("INVITE", 200..300) => {
                if client.ack.is_some() {
                    return self.faults.push(format!("{status} to INVITE after another final"));
                }
                client.repeat = None;
                if stage != Stage::Done {
                    client.stage = Stage::Done;
                    client.end = now + GIVE_UP;
                }
                self.accepted(now, call, text);
            }
            ("INVITE", _) => {
                if stage != Stage::Done {
                    client.stage = Stage::Done;
                    client.repeat = None;
                    client.end = now + GIVE_UP;
                    client.ack = Some(in_transaction(&client.request, "ACK", Some(text.get("To"))));
                    self.calls[call].phase = Phase::Over;
                    self.log.refused.push(status);
                }
                self.out.extend(self.clients[n].ack.clone());
            }
            (_, ..200) => {
                client.stage = Stage::Proceeding;
                if let Some(repeat) = &mut client.repeat {
                    repeat.interval = T2;
                }
            }
            (_, _) if stage != Stage::Done => {
                client.stage = Stage::Done;
                client.repeat = None;
                client.end = now + T4;
                self.finished(call, text);
            }
            (_, _) => {}
        }
    }

    /// A 2xx to an INVITE: of the call, again, or of another phone that was called too.
    fn accepted(&mut self, now: Time, call: usize, text: &Text) {
        let tag = text.tag("To").map(str::to_owned);
        let id = self.calls[call].id.clone();
        if let Some(known) = self.calls.iter().find(|c| c.id == id && c.far_tag == tag) {
            self.out.extend(known.ack.clone());
            return;
        }
        let mut n = call;
        if self.calls[call].far_tag.is_some() {
            // §13.2.2.4: surplus ones are acknowledged and ended.
            let Call { near, far, near_tag, .. } = &self.calls[call];
            let (near, far, near_tag) = (near.clone(), far.clone(), near_tag.clone());
            let (number, phase) = (self.calls[call].number, Phase::Early);
            let (target, routes) = (String::new(), Vec::new());
            self.calls.push(Call {
                id,
                near,
                far,
                near_tag,
                far_tag: None,
                target,
                routes,
                number,
                phase,
                ack: None,
                ok: None,
                ok_end: Time::ZERO,
            });
            n = self.calls.len() - 1;
        }
        let surplus = n != call;
        let branch = self.fresh("z9hG4bK");
        let this = &mut self.calls[n];
        this.far_tag = tag;
        this.target = text.contact().to_owned();
        this.routes = text.all("Record-Route").into_iter().rev().map(str::to_owned).collect();
        this.phase = Phase::Up;
        let number = text.cseq();
        let ack = self.write(n, "ACK", number, &branch, "", "");
        self.out.push(ack.clone());
        self.calls[n].ack = Some(ack);
        let given_up = self.clients.iter().any(|c| c.call == call && c.method == "INVITE" && c.cancel);
        if surplus || given_up {
            return self.hang_up(now, n);
        }
        self.log.answered += 1;
        self.is_up(now, n);
    }

    fn is_up(&mut self, now: Time, call: usize) {
        if let Some(after) = self.script.hang_up_after {
            self.agenda.push((now + after, Act::HangUp(call)));
        }
        if let Some(after) = self.script.refer_after {
            self.agenda.push((now + after, Act::Refer(call)));
        }
    }

    /// A final to anything but INVITE.
    fn finished(&mut self, call: usize, text: &Text) {
        match text.method() {
            "REFER" => self.log.refers.push(text.status()),
            "BYE" | "CANCEL" | "NOTIFY" => self.log.lost += usize::from(text.status() == 481),
            other => self.faults.push(format!("{} to {other}, call {call}", text.status())),
        }
    }

    fn client_ended(&mut self, now: Time, n: usize) {
        let client = &mut self.clients[n];
        let call = client.call;
        if client.stage == Stage::Proceeding && client.method == "INVITE" && !client.cancelled {
            // It has rung for long enough.
            return self.cancel(now, call);
        }
        let client = self.clients.remove(n);
        if client.stage == Stage::Done {
            return;
        }
        self.log.lost += 1;
        match client.method {
            "INVITE" => {
                self.calls[call].phase = Phase::Over;
                self.log.refused.push(0);
            }
            "REFER" => {
                self.log.refers.push(0);
                self.hang_up(now, call);
            }
            _ => {}
        }
    }

    // ── being called ──

    fn requested(&mut self, now: Time, text: &Text) {
        let (method, branch) = (text.method().to_owned(), text.branch().to_owned());
        if self.script.answer == Answer::Dead {
            return;
        }
        if method == "ACK" {
            return self.acknowledged(now, text);
        }
        let same = |s: &&Server| s.branch == branch && s.method == method;
        if let Some(server) = self.servers.iter().find(same) {
            self.out.extend(server.last.clone());
            return;
        }
        let from = text.tag("From").unwrap_or_default().to_owned();
        if !self.seen.insert((text.get("Call-ID").to_owned(), from, text.cseq(), method.clone()))
            && !self.merged
        {
            self.faults.push(format!("{method} came on a second branch"));
        }
        let call = self.calls.iter().position(|call| call.is_for(text));
        match (method.as_str(), call) {
            ("INVITE", None) => self.called(now, text),
            // §8.2.2.2: the same request on another way.
            ("INVITE", Some(call)) => self.respond_to(now, call, text, 482),
            ("CANCEL", _) => self.give_up(now, text),
            (_, None) => self.respond_to(now, usize::MAX, text, 481),
            (_, Some(call)) => self.in_dialog(now, call, &method, text),
        }
    }

    fn in_dialog(&mut self, now: Time, call: usize, method: &str, text: &Text) {
        match method {
            "BYE" => {
                if self.calls[call].phase == Phase::Up {
                    self.log.hung_up_by_peer += 1;
                }
                self.calls[call].phase = Phase::Over;
                self.calls[call].ok = None;
                self.respond_to(now, call, text, 200);
            }
            _ if self.calls[call].phase == Phase::Over => self.respond_to(now, call, text, 481),
            "REFER" => {
                self.respond_to(now, call, text, 202);
                let (status, after) = self.script.transfer;
                self.agenda.push((now, Act::Notify(call, 100)));
                self.agenda.push((now + after, Act::Notify(call, status)));
            }
            "NOTIFY" => {
                self.respond_to(now, call, text, 200);
                let code = text.body.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
                self.log.notified.push(code);
                if code >= 200 {
                    self.agenda.push((now, Act::HangUp(call)));
                }
            }
            _ => self.respond_to(now, call, text, 405),
        }
    }

    fn called(&mut self, now: Time, text: &Text) {
        let near_tag = self.fresh("tag");
        self.calls.push(Call {
            id: text.get("Call-ID").to_owned(),
            near: text.get("To").to_owned(),
            far: format!("<{}>", uri_of(text.get("From"))),
            near_tag,
            far_tag: text.tag("From").map(str::to_owned),
            target: text.contact().to_owned(),
            routes: text.all("Record-Route").into_iter().map(str::to_owned).collect(),
            number: 0,
            phase: Phase::Early,
            ack: None,
            ok: None,
            ok_end: Time::ZERO,
        });
        let call = self.calls.len() - 1;
        self.servers.push(Server {
            branch: text.branch().to_owned(),
            method: "INVITE".into(),
            call,
            request: text.clone(),
            last: None,
            repeat: None,
            done: false,
            // Should nobody ever want anything of it again.
            end: now + Duration::from_secs(600),
        });
        self.respond(now, call, 180);
        if self.script.answer != Answer::Ring {
            self.agenda.push((now + self.script.answer_after, Act::Answer(call)));
        }
    }

    fn answer(&mut self, now: Time, call: usize) {
        if self.calls[call].phase != Phase::Early {
            return;
        }
        match self.script.answer {
            Answer::Accept => self.respond(now, call, 200),
            Answer::Refuse(status) => self.respond(now, call, status),
            Answer::Ring | Answer::Dead => {}
        }
    }

    fn give_up(&mut self, now: Time, cancel: &Text) {
        let same = |s: &Server| s.branch == cancel.branch() && s.method == "INVITE";
        let Some(n) = self.servers.iter().position(same) else {
            return self.respond_to(now, usize::MAX, cancel, 481);
        };
        let (call, done) = (self.servers[n].call, self.servers[n].done);
        self.respond_to(now, call, cancel, 200);
        if !done {
            self.log.cancelled += 1;
            self.respond(now, call, 487);
        }
    }

    /// Answers a call's INVITE.
    fn respond(&mut self, now: Time, call: usize, status: u16) {
        let invite = |s: &Server| s.call == call && s.method == "INVITE" && !s.done;
        let Some(n) = self.servers.iter().position(invite) else { return };
        let tag = self.calls[call].near_tag.clone();
        let text = self.response(&self.servers[n].request, status, Some(&tag));
        self.out.push(text.clone());
        let reliable = self.transport.is_reliable();
        let server = &mut self.servers[n];
        let repeat = Repeat { text: text.clone(), at: now + T1, interval: T1 };
        match status {
            ..200 => server.last = Some(text),
            200..300 => {
                // §13.3.1.4: the 2xx is repeated by the dialog, over streams too.
                (server.last, server.done, server.end) = (None, true, now + GIVE_UP);
                self.calls[call].phase = Phase::Up;
                self.calls[call].ok = Some(repeat);
                self.calls[call].ok_end = now + GIVE_UP;
            }
            300.. => {
                (server.last, server.done, server.end) = (Some(text), true, now + GIVE_UP);
                server.repeat = (!reliable).then_some(repeat);
                self.calls[call].phase = Phase::Over;
            }
        }
    }

    /// Answers a request that is no INVITE.
    fn respond_to(&mut self, now: Time, call: usize, request: &Text, status: u16) {
        let tag = self.calls.get(call).map(|call| call.near_tag.clone());
        let text = self.response(request, status, tag.as_deref());
        self.out.push(text.clone());
        self.servers.push(Server {
            branch: request.branch().to_owned(),
            method: request.method().to_owned(),
            call,
            request: request.clone(),
            last: Some(text),
            repeat: None,
            done: true,
            end: now + GIVE_UP,
        });
    }

    fn response(&self, request: &Text, status: u16, tag: Option<&str>) -> String {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for (name, value) in &request.headers {
            match name.as_str() {
                "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => {
                    text += &format!("{name}: {value}\r\n")
                }
                "To" => {
                    let tag = tag.filter(|_| request.tag("To").is_none());
                    let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
                    text += &format!("To: {value}{tag}\r\n");
                }
                _ => {}
            }
        }
        text + &format!("Contact: {}\r\nContent-Length: 0\r\n\r\n", self.contact())
    }

    fn acknowledged(&mut self, now: Time, ack: &Text) {
        let same =
            |s: &&mut Server| s.branch == ack.branch() && s.method == "INVITE" && s.last.is_some() && s.done;
        if let Some(server) = self.servers.iter_mut().find(same) {
            if server.repeat.take().is_some() || server.end > now + T4 {
                (server.last, server.end) = (None, now + T4);
            }
            return;
        }
        let Some(call) = self.calls.iter().position(|call| call.is_for(ack)) else { return };
        if self.calls[call].ok.take().is_some() {
            self.log.answered += 1;
            self.is_up(now, call);
        }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}{}", self.user, self.made)
    }
}

impl Call {
    fn is_for(&self, text: &Text) -> bool {
        self.id == text.get("Call-ID")
            && self.far_tag.as_deref() == text.tag("From")
            && text.tag("To").is_none_or(|tag| tag == self.near_tag)
    }
}

/// The ACK to a non-2xx, or the CANCEL, of an INVITE (RFC 3261 §9.1, §17.1.1.3).
fn in_transaction(invite: &str, method: &str, to: Option<&str>) -> String {
    let invite = Text::parse(invite.as_bytes());
    let mut text = format!("{method} {} SIP/2.0\r\n", invite.uri());
    for (name, value) in &invite.headers {
        match name.as_str() {
            "CSeq" => text += &format!("CSeq: {} {method}\r\n", invite.cseq()),
            "To" => text += &format!("To: {}\r\n", to.unwrap_or(value)),
            "Contact" => {}
            _ => text += &format!("{name}: {value}\r\n"),
        }
    }
    text + "\r\n"
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
