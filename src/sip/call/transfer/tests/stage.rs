//! A shard's calls without the shard, and four phones behind a trunk each: Alice, Bob, Carol and Dave answer
//! what comes by themselves, as their [`Manner`] says; everything that crosses is in the log.

mod counted;
mod phones;
mod seen;

use crate::shard::{Counters, Outbox, Output, PeerMessage, Place};
use crate::sip::call::{Arrival, Calls};
use crate::sip::command::{Action, Command, Decision, Dial, DialParty, Order, Party, ReferOrder};
use crate::sip::event::{CallSid, Event, ReferReason, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::message::{HeaderId, Limits, Message, Method};
use crate::sip::plan::{
    Action as RouteAction, Application, Fork, Mode, Origin, Plan, ReferMode, Route, TrunkIx, UserMatch,
};
use crate::sip::proxy::target::{candidates, route, trunk_of};
use crate::sip::proxy::testing::{listener, plan_with, target, trunk};
use crate::sip::proxy::token::TokenKey;
use crate::sip::proxy::{Cx, Owned};
use crate::sip::refer::{Observer, Policy, Waits};
use crate::sip::resolve::{Offer, Resolver};
use crate::sip::time::Time;
use crate::sip::transaction::{Effect, Effects, Received, Transactions};
use bytes::Bytes;
use hashbrown::HashMap;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::collections::VecDeque;
use std::time::Duration;

const PHONES: [(&str, &str); 5] = [
    ("alice", "10.0.0.1"),
    ("bob", "10.0.1.1"),
    ("carol", "10.0.2.1"),
    ("dave", "10.0.3.1"),
    ("alice", "10.0.0.9"),
];

/// How a phone behaves.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// The final answer to a new INVITE; `None`: it rings. A challenge is over with the first answer to it.
    pub(super) invite: Option<u16>,
    /// Header fields of that answer, when it is a refusal.
    pub(super) invite_headers: &'static str,
    /// The answer to a REFER; `None`: none. A challenge is over with the first answer to it.
    pub(super) refer: Option<u16>,
    /// Header fields of that answer.
    pub(super) refer_headers: &'static str,
    /// The answer to a NOTIFY; `None`: none. A challenge is over with the first answer to it.
    pub(super) notify: Option<u16>,
    /// The answer to a re-INVITE; 0: it waits until the phone picks up.
    pub(super) reinvite: u16,
    /// The answer to a BYE; `None`: none.
    pub(super) bye: Option<u16>,
    /// Whether it has picked up just before a CANCEL reaches it: the answer is still to come.
    pub(super) crosses: bool,
    /// Where it hears.
    pub(super) port: u16,
    /// The payload types it speaks.
    pub(super) codecs: &'static str,
    /// What its Allow lists.
    pub(super) allow: &'static str,
}

/// A dialog, seen from its phone.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) baton: String,
    pub(super) uri: String,
    pub(super) cseq: u32,
}

/// The stage.
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) calls: Calls,
    pub(super) now: Time,
    transactions: Transactions,
    fx: Effects,
    resolver: Resolver,
    observer: Observer,
    rng: ChaCha12Rng,
    counters: Counters,
    out: Outbox,
    queue: VecDeque<(String, Message)>,
    /// Requests as `name METHOD …`, responses to the phones as `name 202`.
    pub(super) log: Vec<String>,
    /// All requests that left, by name and method.
    pub(super) requests: Vec<(String, Message)>,
    /// All responses but 100 that left, by name.
    pub(super) responses: Vec<(String, Message)>,
    /// The final responses to what the phones ask inside their dialogs about the session and by OPTIONS, and to NOTIFY.
    pub(super) heard: Vec<(String, Message)>,
    /// Of those requests the ones without such: Call-ID, CSeq.
    unanswered: Vec<(String, String)>,
    pub(super) events: Vec<Event>,
    /// What was said to other shards.
    pub(super) peers: Vec<PeerMessage>,
    pub(super) place: Place,
    pub(super) manners: HashMap<&'static str, Manner>,
    /// By Call-ID.
    dialogs: HashMap<String, Dialog>,
    /// INVITEs to phones that ring.
    ringing: HashMap<&'static str, Message>,
    /// Whether callers acknowledge what they are answered.
    pub(super) acknowledging: bool,
    serial: u32,
}

/// What a REFER ended as: status, reason, code of its answer, last code reported.
pub(super) type Ended = (ReferStatus, Option<ReferReason>, Option<u16>, Option<u16>);

impl Stage {
    /// Alice's trunk treats REFER so; numbers beginning with 2 go to Bob, with 3 to Carol.
    pub(super) fn new(mode: ReferMode) -> Stage {
        Stage::with_policy(mode, Policy::default())
    }

    pub(super) fn with_policy(mode: ReferMode, policy: Policy) -> Stage {
        let mut plan = plan_with(vec![
            trunk("alpha", vec![target("10.0.0.1", 0, 1)]),
            trunk("bravo", vec![target("10.0.1.1", 0, 1)]),
            trunk("charlie", vec![target("10.0.2.1", 0, 1)]),
            trunk("delta", vec![target("10.0.3.1", 0, 1)]),
        ]);
        plan.listeners.push(listener(Transport::Tls, "127.0.0.1:5061"));
        for trunk in &mut plan.trunks {
            trunk.refer = mode;
            trunk.owned.policy = policy.clone();
            trunk.owned.session = crate::sip::plan::SessionTimer { interval: 0, min: 90 };
        }
        let to = |n| RouteAction::Trunks { to: vec![TrunkIx(n)], fork: Fork::Serial, mode: Mode::B2bua };
        let by_prefix = |prefix: &str, n| Route {
            from: vec![Origin::Trunk(TrunkIx(0)), Origin::Trunk(TrunkIx(1))],
            user: UserMatch::Prefix(prefix.into()),
            action: to(n),
        };
        plan.routes = vec![by_prefix("2", 1), by_prefix("3", 2), by_prefix("+", 2)];
        let manner = Manner {
            invite: Some(200),
            invite_headers: "",
            refer: Some(202),
            refer_headers: "",
            notify: Some(200),
            reinvite: 200,
            bye: Some(200),
            crosses: false,
            port: 4000,
            codecs: "0 8",
            allow: "Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY, OPTIONS\nSupported: replaces\n",
        };
        Stage {
            calls: Calls::new(&plan, [7; 16]),
            now: Time::from_millis(1_700_000_000_000),
            transactions: Transactions::new([1; 16], plan.timings, 10_000),
            fx: Effects::new(),
            resolver: Resolver::new(Offer::new(&plan.listeners), Duration::from_secs(3_600)),
            observer: Observer::new(10, Waits::from_t1(plan.timings.t1)).returning(&TokenKey::new([3; 16])),
            rng: ChaCha12Rng::from_seed([9; 32]),
            counters: Counters::new(4),
            out: Outbox::new(),
            queue: VecDeque::new(),
            log: Vec::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            heard: Vec::new(),
            unanswered: Vec::new(),
            events: Vec::new(),
            peers: Vec::new(),
            place: Place::alone(),
            manners: PHONES.iter().map(|(name, _)| (*name, manner.clone())).collect(),
            dialogs: HashMap::new(),
            ringing: HashMap::new(),
            acknowledging: true,
            serial: 0,
            plan,
        }
    }

    pub(super) fn manner(&mut self, name: &str) -> &mut Manner {
        self.manners.get_mut(name).expect("a phone")
    }

    /// Works with the calls, then lets everything happen that follows at once.
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Calls, &mut Cx<'_>) -> T) -> T {
        let result = self.quietly(work);
        self.run();
        result
    }

    fn quietly<T>(&mut self, work: impl FnOnce(&mut Calls, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: self.now,
            plan: &self.plan,
            place: self.place,
            transactions: &mut self.transactions,
            fx: &mut self.fx,
            resolver: &mut self.resolver,
            observer: &mut self.observer,
            rng: &mut self.rng,
            counters: &self.counters,
            out: &mut self.out,
        };
        let result = work(&mut self.calls, &mut cx);
        self.calls.settle(&mut cx);
        self.effects();
        result
    }

    fn effects(&mut self) {
        loop {
            let outputs: Vec<Output> = self.out.drain().collect();
            for output in outputs {
                match output {
                    Output::Send { to, bytes, .. } => self.note(to.remote.to_string(), bytes),
                    Output::Control(event) => self.events.push(event),
                    Output::Peer(_, message) => self.peers.push(*message),
                    Output::Resolve(_)
                    | Output::Close(_)
                    | Output::Event(_)
                    | Output::Stranger(_)
                    | Output::Banned(_)
                    | Output::Returned { .. } => {}
                }
            }
            let Some(effect) = self.fx.pop() else { return };
            match effect {
                Effect::Send { to, bytes, .. } => self.note(to.remote.to_string(), bytes),
                Effect::ClientTimedOut { id, owner } => {
                    self.quietly(|calls, cx| calls.timed_out(cx, id, owner))
                }
                Effect::ClientFailed { id, owner } => {
                    self.quietly(|calls, cx| calls.unsendable(cx, id, owner))
                }
                Effect::ClientEnded { owner, .. } => self.calls.client_ended(owner),
                Effect::ServerEnded { owner, .. } => self.calls.server_ended(owner),
                Effect::TuTimer(key) => self.quietly(|calls, cx| calls.timer(cx, key)),
            }
        }
    }

    fn note(&mut self, to: String, bytes: Bytes) {
        let message = Message::parse(bytes, &Limits::default()).expect("a message");
        message.ready().expect("a sound message");
        self.queue.push_back((to, message));
    }

    /// The phones do what they do until nothing is left to do.
    fn run(&mut self) {
        while let Some((to, message)) = self.queue.pop_front() {
            self.arrives(&to, &message);
        }
    }

    /// Alice calls a number or a URI, or a second time: her dialog's name is given.
    pub(super) fn calls(&mut self, name: &str, number: &str) -> CallSid {
        self.calls_from(name, "10.0.0.1:5060", number)
    }

    /// The phone at this address calls.
    pub(super) fn calls_from(&mut self, name: &str, address: &str, number: &str) -> CallSid {
        self.calls_with(name, address, number, "")
    }

    /// The same, with further header fields.
    pub(super) fn calls_with(&mut self, name: &str, address: &str, number: &str, extra: &str) -> CallSid {
        self.serial += 1;
        let call_id = format!("call-{}-of-{name}", self.serial);
        let dialog = Dialog {
            name: name.into(),
            address: address.into(),
            call_id: call_id.clone(),
            tag: format!("{name}-tag"),
            baton: String::new(),
            uri: if number.contains(':') { number.into() } else { format!("sip:{number}@127.0.0.1") },
            cseq: 1,
        };
        self.dialogs.insert(call_id.clone(), dialog);
        let known: Vec<CallSid> = self.sids();
        let phone =
            PHONES.iter().find(|(_, ip)| address.starts_with(ip)).map_or("alice", |(phone, _)| *phone);
        let headers = format!("Contact: <sip:{name}@{address}>\n{}{extra}", self.manners[phone].allow);
        let invite = self.text_of(&call_id, "INVITE", 1, &headers, &self.sdp(phone));
        self.receive(&call_id, &invite);
        self.run();
        self.sids().into_iter().find(|sid| !known.contains(sid)).expect("a call")
    }

    fn sids(&self) -> Vec<CallSid> {
        self.events
            .iter()
            .filter_map(|e| if let Event::CallStarted(c) = e { Some(c.sid) } else { None })
            .collect()
    }

    /// Alice talks to Bob: the sid of Alice's leg, and of Bob's.
    pub(super) fn talking() -> (Stage, CallSid, CallSid) {
        Stage::talking_with(ReferMode::Terminate, Policy::default())
    }

    pub(super) fn talking_with(mode: ReferMode, policy: Policy) -> (Stage, CallSid, CallSid) {
        let mut stage = Stage::with_policy(mode, policy);
        let alice = stage.calls("alice", "200");
        let bob = stage.other(alice);
        stage.log.clear();
        stage.requests.clear();
        (stage, alice, bob)
    }

    /// Alice has called a program, which has called Bob for her and decides about their REFERs.
    pub(super) fn steered(mode: ReferMode) -> (Stage, CallSid, CallSid) {
        let mut stage = Stage::new(mode);
        let program = Application { name: "ivr".into(), account: None, decides_refers: true };
        stage.plan.calls.applications.push(program);
        let to_program = Route {
            from: Vec::new(),
            user: UserMatch::Exact("500".into()),
            action: RouteAction::Application(0),
        };
        let to_bob = Route {
            from: vec![Origin::Api],
            user: UserMatch::Any,
            action: RouteAction::Trunks { to: vec![TrunkIx(1)], fork: Fork::Serial, mode: Mode::B2bua },
        };
        stage.plan.routes.splice(0..0, [to_program, to_bob]);
        let alice = stage.calls("alice", "500");
        let bob = CallSid(4711 << 16);
        let party =
            DialParty { sid: bob, to: Party::Number("200".into()), headers: Vec::new(), credentials: None };
        let dial = Dial {
            parties: vec![party],
            from: None,
            timeout: Duration::from_secs(30),
            time_limit: None,
            join: true,
        };
        stage.order(Order::Leg(alice, Action::Dial(Box::new(dial)))).expect("taken");
        stage.pass_s(1);
        assert!(stage.together(alice, bob), "{:#?}", stage.log);
        stage.log.clear();
        stage.requests.clear();
        (stage, alice, bob)
    }

    /// The program says what becomes of the REFER that it was asked about.
    pub(super) fn decides(&mut self, decision: Decision) -> Result<(), crate::sip::command::Refused> {
        let asked =
            |e: &Event| if let Event::ReferAsked(asked) = e { Some((asked.sid, asked.call)) } else { None };
        let (sid, call) = self.events.iter().rev().find_map(asked).expect("it is asked");
        self.order(Order::DecideRefer(sid, call, decision))
    }

    /// Whom a leg talks to.
    pub(super) fn other(&self, sid: CallSid) -> CallSid {
        let joined = |e: &Event| match e {
            Event::Joined(a, b) if *a == sid => Some(*b),
            Event::Joined(a, b) if *b == sid => Some(*a),
            _ => None,
        };
        self.events.iter().rev().find_map(joined).expect("it talks to somebody")
    }

    /// Whether two legs talk to each other at the end of all that was told.
    pub(super) fn together(&self, a: CallSid, b: CallSid) -> bool {
        let mut joined = false;
        for event in &self.events {
            match event {
                Event::Joined(x, y) if (*x, *y) == (a, b) || (*x, *y) == (b, a) => joined = true,
                Event::Parted(x, y) if (*x, *y) == (a, b) || (*x, *y) == (b, a) => joined = false,
                Event::Ended(x, _) if *x == a || *x == b => joined = false,
                _ => {}
            }
        }
        joined
    }

    /// The leg of a phone's latest dialog that the records know.
    pub(super) fn leg(&self, call_id: &str) -> CallSid {
        let found = self.events.iter().find_map(|e| match e {
            Event::CallStarted(c) if c.call_id == call_id => Some(c.sid),
            _ => None,
        });
        found.expect("a leg")
    }

    /// Whether a phone has a dialog of that name that Baton has answered.
    pub(super) fn has(&self, name: &str) -> bool {
        self.dialogs.values().any(|dialog| dialog.name == name) && !self.dialog(name).baton.is_empty()
    }

    /// Whether a phone rings.
    pub(super) fn rings(&self, phone: &str) -> bool {
        self.ringing.contains_key(phone)
    }

    /// The latest dialog of that name.
    pub(super) fn dialog(&self, name: &str) -> Dialog {
        self.dialogs
            .values()
            .filter(|d| d.name == name)
            .max_by_key(|d| d.tag.clone())
            .expect("a dialog")
            .clone()
    }

    /// A request of a phone's in its dialog.
    pub(super) fn request(&mut self, name: &str, method: &str, headers: &str, body: &str) {
        let call_id = self.dialog(name).call_id;
        self.request_in(&call_id, method, headers, body);
    }

    /// The same, where it has several.
    pub(super) fn request_in(&mut self, call_id: &str, method: &str, headers: &str, body: &str) {
        let dialog = self.dialogs.get_mut(call_id).expect("a dialog");
        dialog.cseq += 1;
        let cseq = dialog.cseq;
        let text = self.text_of(call_id, method, cseq, headers, body);
        self.receive(call_id, &text);
        self.run();
    }

    /// A phone's dialog is spoken from another address.
    pub(super) fn moves(&mut self, name: &str, address: &str) {
        let call_id = self.dialog(name).call_id;
        self.dialogs.get_mut(&call_id).expect("a dialog").address = address.into();
    }

    /// A phone gives its unanswered INVITE up.
    pub(super) fn cancels(&mut self, name: &str) {
        let dialog = self.dialog(name);
        let text = format!(
            "CANCEL {} SIP/2.0\nVia: SIP/2.0/UDP {};branch=z9hG4bKINVITE1{}\nMax-Forwards: 70\n\
             From: <sip:{}@example.com>;tag={}\nTo: <sip:baton@example.com>\nCall-ID: {}\nCSeq: 1 CANCEL\n{}",
            dialog.uri,
            dialog.address,
            dialog.call_id,
            dialog.name,
            dialog.tag,
            dialog.call_id,
            ending("")
        );
        self.receive(&dialog.call_id, &text);
        self.run();
    }

    /// A phone refers its party to this.
    pub(super) fn refers(&mut self, name: &str, to: &str) {
        self.request(name, "REFER", &format!("Refer-To: {to}\nReferred-By: <sip:{name}@example.com>\n"), "");
    }

    /// A phone reports about a REFER that it has got.
    pub(super) fn notifies(&mut self, name: &str, code: u16, state: &str) {
        self.request(
            name,
            "NOTIFY",
            &format!(
                "Event: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\n"
            ),
            &format!("SIP/2.0 {code} Whatever\n"),
        );
    }

    fn text_of(&self, call_id: &str, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        let dialog = self.dialogs.get(call_id).expect("a dialog");
        let baton = if dialog.baton.is_empty() { String::new() } else { format!(";tag={}", dialog.baton) };
        let kind = if headers.contains("Content-Type") || body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\n"
        };
        let hops = if headers.contains("Max-Forwards") { "" } else { "Max-Forwards: 70\n" };
        format!(
            "{method} {} SIP/2.0\nVia: SIP/2.0/UDP {};branch=z9hG4bK{method}{cseq}{call_id}\n{hops}\
             From: <sip:{}@example.com>;tag={}\nTo: <sip:baton@example.com>{baton}\nCall-ID: {call_id}\n\
             CSeq: {cseq} {method}\n{headers}{kind}{}",
            dialog.uri,
            dialog.address,
            dialog.name,
            dialog.tag,
            ending(body)
        )
    }

    fn receive(&mut self, call_id: &str, text: &str) {
        let address = self.dialogs.get(call_id).expect("a dialog").address.clone();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: address.parse().expect("an address"),
            connection: None,
        };
        let message = parsed(text);
        let ready = message.ready().expect("a sound message");
        if message.method() != Method::Cancel && self.calls.owns(&message, &ready) {
            let heard = PHONES.iter().any(|(_, ip)| address.starts_with(ip));
            if matches!(message.method(), Method::Invite | Method::Update | Method::Options | Method::Notify)
                && heard
            {
                self.unanswered.push((call_id.to_owned(), self::text(&message, HeaderId::CSeq)));
            }
            return self.quietly(|calls, cx| calls.request_in(cx, &message, &ready, &flow));
        }
        let received = self.transactions.receive_request(self.now, &message, &ready, &flow, &mut self.fx);
        match received {
            Received::New(server) if message.method() == Method::Cancel => {
                let invite = self.transactions.find_invite(&ready).expect("an INVITE to cancel");
                self.quietly(|calls, cx| calls.cancel_in(cx, server, invite, &message, &flow));
            }
            Received::New(server) if message.method() == Method::Invite && ready.to_tag.is_none() => {
                let origin = Origin::Trunk(trunk_of(&self.plan, &flow).expect("a trunk"));
                let user = ready.uri.and_then(|uri| uri.user).unwrap_or_default();
                let action = route(&self.plan, origin, user).expect("a route").action.clone();
                let to = match action {
                    RouteAction::Application(ix) => Owned::Application(ix),
                    _ => Owned::Trunks(candidates(&self.plan, &action, || 0)),
                };
                self.quietly(|calls, cx| {
                    let arrival = Arrival {
                        server,
                        message: &message,
                        ready: &ready,
                        flow: &flow,
                        origin,
                        client: None,
                        to,
                        returned: None,
                    };
                    calls.incoming(cx, arrival).expect("it is taken");
                });
            }
            Received::New(_) | Received::Absorbed | Received::Ack2xx | Received::Full => self.effects(),
        }
    }

    /// An order of the control plane.
    pub(super) fn order(&mut self, order: Order) -> Result<(), crate::sip::command::Refused> {
        self.with(|calls, cx| calls.command(cx, Command { ticket: 1, order }));
        let reply = |e: &Event| if let Event::Reply { result, .. } = e { Some(*result) } else { None };
        self.events.iter().rev().find_map(reply).expect("a reply")
    }

    /// The control plane has a leg's party referred.
    pub(super) fn refer(
        &mut self,
        at: CallSid,
        change: impl FnOnce(&mut ReferOrder),
    ) -> Result<(), crate::sip::command::Refused> {
        let mut order = ReferOrder {
            sid: ReferSid(77),
            to: "sip:300@example.com".into(),
            referred_by: None,
            replaces: None,
            headers: Vec::new(),
            credentials: None,
            no_subscription: false,
            bye_after: Some(Duration::ZERO),
            force: false,
            hold: false,
        };
        change(&mut order);
        self.order(Order::Leg(at, Action::Refer(Box::new(order))))
    }

    /// Lets time go by, firing what is due.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.transactions.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while self.transactions.expire(self.now, &mut self.fx) {
                self.effects();
                self.run();
            }
        }
        self.now = end;
    }

    pub(super) fn pass_s(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }
}

pub(super) fn text(message: &Message, id: HeaderId) -> String {
    message.header(id).map_or(String::new(), |value| String::from_utf8_lossy(value).into_owned())
}

fn contact(message: &Message) -> String {
    let contact = message.contacts().next().expect("a Contact").expect("a sound one");
    String::from_utf8_lossy(contact.uri).into_owned()
}

fn tag_of(value: &str) -> String {
    value.split(";tag=").nth(1).unwrap_or("").to_string()
}

fn parsed(text: &str) -> Message {
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).expect("a message")
}

fn ending(body: &str) -> String {
    let length = body.replace("\r\n", "\n").replace('\n', "\r\n").len();
    format!("Content-Length: {length}\n\n{body}")
}
