//! Calls without the shard: phones that speak text, virtual time.

use super::*;
use crate::shard::{Counters, Outbox, Output, PeerMessage, Place};
use crate::sip::command::{Action, Command, Order};
use crate::sip::dialog::testing::{Sent, reply};
use crate::sip::event::{CallSid, CallStatus, Event};
use crate::sip::flow::{ListenerId, Transport};
use crate::sip::message::{HeaderId, Limits, Method};
use crate::sip::plan::{Origin, TrunkIx};
use crate::sip::proxy::Owned;
use crate::sip::proxy::target::{Candidate, Candidates, trunk_of};
use crate::sip::proxy::testing::{plan_with, target, trunk};
use crate::sip::refer::{Observer, Waits};
use crate::sip::resolve::{Answer, Offer, Outcome, Query, Resolver};
use crate::sip::time::Time;
use crate::sip::transaction::{Effect, Effects, Received, Transactions};
use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use std::net::SocketAddr;

/// A phone: one dialog with Baton at most.
#[derive(Clone, Debug)]
pub(super) struct Phone {
    pub(super) at: &'static str,
    pub(super) name: &'static str,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    /// From value of what it sends, tag included, and To value, tag included once known.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) branch: u32,
}

/// A description with these formats, media at the port given.
pub(super) fn sdp(name: &str, port: u16, formats: &str) -> String {
    format!(
        "v=0\r\no={name} 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n"
    )
}

impl Phone {
    pub(super) fn new(at: &'static str, name: &'static str) -> Phone {
        Phone {
            at,
            name,
            call_id: format!("call-of-{name}"),
            cseq: 0,
            local: format!("\"{name}\" <sip:{name}@phones.example>;tag={name}"),
            remote: "<sip:100@baton.example>".into(),
            branch: 0,
        }
    }

    fn headers(&self, method: &str, cseq: u32) -> String {
        format!(
            "{method} sip:100@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{name}{branch}\n\
             Max-Forwards: 70\nFrom: {from}\nTo: {to}\nCall-ID: {id}\nCSeq: {cseq} {method}\n\
             Contact: <sip:{name}@{at}>\nAllow: INVITE, ACK, BYE, CANCEL, INFO, MESSAGE, OPTIONS, UPDATE, REFER, NOTIFY\n",
            at = self.at,
            name = self.name,
            branch = self.branch,
            from = self.local,
            to = self.remote,
            id = self.call_id
        )
    }

    fn text(head: &str, headers: &str, body: &str) -> String {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        format!("{head}{headers}{kind}Content-Length: {}\n\n{body}", body.len())
    }

    /// A new request, in its dialog when there is one.
    pub(super) fn request(&mut self, method: &str, headers: &str, body: &str) -> String {
        self.cseq += 1;
        self.branch += 1;
        Phone::text(&self.headers(method, self.cseq), headers, body)
    }

    /// The ACK to the 2xx of its last INVITE.
    pub(super) fn ack(&mut self, body: &str) -> String {
        self.branch += 1;
        Phone::text(&self.headers("ACK", self.cseq), "", body)
    }

    /// The CANCEL of its INVITE.
    pub(super) fn cancel(&self, headers: &str) -> String {
        Phone::text(&self.headers("CANCEL", self.cseq), headers, "")
    }

    /// The tag of Baton's side.
    pub(super) fn tag(&self) -> String {
        self.remote.split(";tag=").nth(1).unwrap_or_default().to_owned()
    }

    /// It takes note of a response of Baton's.
    pub(super) fn heard(&mut self, response: &Sent) {
        self.remote = response.header(HeaderId::To);
    }

    /// It takes note of an INVITE of Baton's that begins a dialog.
    pub(super) fn called(&mut self, invite: &Sent) {
        self.call_id = invite.header(HeaderId::CallId);
        self.remote = invite.header(HeaderId::From);
        self.local = format!("{};tag={}", invite.header(HeaderId::To), self.name);
    }
}

/// Calls, and everything they stand on.
pub(super) struct Bench {
    pub(super) plan: Plan,
    pub(super) calls: Calls,
    pub(super) now: Time,
    place: Place,
    pub(super) transactions: Transactions,
    fx: Effects,
    resolver: Resolver,
    observer: Observer,
    rng: ChaCha12Rng,
    counters: Counters,
    out: Outbox,
    pub(super) sent: VecDeque<Sent>,
    pub(super) events: Vec<Event>,
    pub(super) peers: Vec<(u16, PeerMessage)>,
    /// Questions to DNS that are open.
    asked: Vec<Query>,
    /// What the rules say of the next INVITE.
    pub(super) route: Option<Owned>,
    /// The code with which the last one was refused before it got a leg.
    pub(super) refused: Option<u16>,
}

pub(super) const A: &str = "10.0.0.1:5060";
pub(super) const B: &str = "10.0.1.1:5060";
pub(super) const C: &str = "10.0.2.1:5060";

impl Bench {
    /// Trunks alpha, bravo, charlie at A, B, C; numbers that begin with 1 to 3 go there.
    pub(super) fn new() -> Bench {
        Bench::at(Place::alone())
    }

    pub(super) fn at(place: Place) -> Bench {
        let mut plan = plan_with(vec![
            trunk("alpha", vec![target("10.0.0.1", 0, 1)]),
            trunk("bravo", vec![target("10.0.1.1", 0, 1)]),
            trunk("charlie", vec![target("10.0.2.1", 0, 1)]),
        ]);
        for (ix, prefix) in ["1", "2", "3"].into_iter().enumerate() {
            plan.routes.push(crate::sip::plan::Route {
                from: vec![Origin::Api],
                user: crate::sip::plan::UserMatch::Prefix(prefix.into()),
                action: crate::sip::plan::Action::Trunks {
                    to: vec![TrunkIx(ix as u16)],
                    fork: crate::sip::plan::Fork::Serial,
                    mode: crate::sip::plan::Mode::Auto,
                },
            });
        }
        plan.calls.applications.push(crate::sip::plan::Application {
            name: "ivr".into(),
            account: Some("AC1".into()),
            decides_refers: false,
        });
        for trunk in &mut plan.trunks {
            trunk.owned.session.interval = 0;
        }
        Bench {
            calls: Calls::new(&plan, [7; 16]),
            now: Time::from_millis(1_700_000_000_000),
            place,
            transactions: Transactions::new([1; 16], plan.timings, 10_000),
            fx: Effects::new(),
            resolver: Resolver::new(Offer::new(&plan.listeners), Duration::from_secs(3_600)),
            observer: Observer::new(10, Waits::from_t1(plan.timings.t1)),
            rng: ChaCha12Rng::from_seed([place.index as u8; 32]),
            counters: Counters::new(3),
            out: Outbox::new(),
            sent: VecDeque::new(),
            events: Vec::new(),
            peers: Vec::new(),
            asked: Vec::new(),
            route: None,
            refused: None,
            plan,
        }
    }

    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Calls, &mut Cx<'_>) -> T) -> T {
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
        self.settle();
        result
    }

    fn settle(&mut self) {
        loop {
            let outputs: Vec<Output> = self.out.drain().collect();
            for output in outputs {
                match output {
                    Output::Send { to, bytes, .. } => self.note(to.remote, bytes),
                    Output::Control(event) => self.events.push(event),
                    Output::Peer(shard, message) => self.peers.push((shard, *message)),
                    Output::Resolve(query) => self.asked.push(query),
                    Output::Close(_)
                    | Output::Event(_)
                    | Output::Stranger(_)
                    | Output::Banned(_)
                    | Output::Returned { .. } => {}
                }
            }
            let Some(effect) = self.fx.pop() else { return };
            match effect {
                Effect::Send { to, bytes, .. } => self.note(to.remote, bytes),
                Effect::ClientTimedOut { id, owner } => self.with(|calls, cx| calls.timed_out(cx, id, owner)),
                Effect::ClientFailed { id, owner } => self.with(|calls, cx| calls.unsendable(cx, id, owner)),
                Effect::ClientEnded { owner, .. } => self.calls.client_ended(owner),
                Effect::ServerEnded { owner, .. } => self.calls.server_ended(owner),
                Effect::TuTimer(key) => self.with(|calls, cx| calls.timer(cx, key)),
            }
        }
    }

    fn note(&mut self, to: SocketAddr, bytes: Bytes) {
        let message = Message::parse(bytes, &Limits::default()).expect("a message");
        message.ready().expect("a sound message");
        self.sent.push_back(Sent { to, message });
    }

    /// DNS knows nothing of what it is asked.
    pub(super) fn names_are_unknown(&mut self) {
        while let Some(query) = self.asked.pop() {
            let answer = Answer { outcome: Outcome::Absent, ttl: Duration::from_secs(60) };
            self.resolver.answer(self.now, query, answer);
            self.with(|calls, cx| calls.resolved(cx));
        }
    }

    /// Lets time go by, firing what is due.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.transactions.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while self.transactions.expire(self.now, &mut self.fx) {
                self.settle();
            }
        }
        self.now = end;
        while self.transactions.expire(self.now, &mut self.fx) {
            self.settle();
        }
    }

    /// A message comes.
    pub(super) fn receive(&mut self, from: &str, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        // Bodies were measured with CRLF; heads never are.
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: from.parse().expect("an address"),
            connection: None,
        };
        let message = Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).expect("a message");
        let ready = message.ready().expect("a sound message");
        if !message.is_request() {
            let (now, transactions, fx) = (self.now, &mut self.transactions, &mut self.fx);
            if let Some((client, owner)) = transactions.receive_response(now, &message, &ready, fx) {
                self.with(|calls, cx| calls.response_in(cx, client, owner, &message, &ready));
            }
            return self.settle();
        }
        if message.method() != Method::Cancel && self.calls.owns(&message, &ready) {
            return self.with(|calls, cx| calls.request_in(cx, &message, &ready, &flow));
        }
        let (now, transactions, fx) = (self.now, &mut self.transactions, &mut self.fx);
        match transactions.receive_request(now, &message, &ready, &flow, fx) {
            Received::New(server) if message.method() == Method::Cancel => {
                let invite = self.transactions.find_invite(&ready).expect("an INVITE to cancel");
                self.with(|calls, cx| calls.cancel_in(cx, server, invite, &message, &flow));
            }
            Received::New(server) => {
                assert_eq!(message.method(), Method::Invite, "{text:?}", text = message.method());
                let to = self.route.take().expect("a route");
                let origin = trunk_of(&self.plan, &flow).map_or(Origin::Clients, Origin::Trunk);
                let (message, ready, flow) = (&message, &ready, &flow);
                let arrival =
                    Arrival { server, message, ready, flow, origin, client: None, to, returned: None };
                self.refused = self.with(|calls, cx| calls.incoming(cx, arrival)).err();
                if self.refused.is_some() {
                    // The shard would answer it.
                    self.transactions.forget_server(server, &mut self.fx);
                }
            }
            Received::Absorbed | Received::Ack2xx | Received::Full => {}
        }
        self.settle();
    }

    /// A phone sends an INVITE that goes this way.
    pub(super) fn call(&mut self, phone: &mut Phone, route: Owned, headers: &str, body: &str) {
        self.route = Some(route);
        let invite = phone.request("INVITE", headers, body);
        self.receive(phone.at, &invite);
    }

    /// A phone refers somebody to whom it talks to, naming its own dialog: it may be replaced now.
    pub(super) fn named(&mut self, phone: &Phone, baton_tag: &str) {
        let text = format!(
            "REFER sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKr\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
             Call-ID: other\r\nCSeq: 2 REFER\r\n\
             Refer-To: <sip:b@x?Replaces={}%3Bto-tag%3D{baton_tag}%3Bfrom-tag%3D{}>\r\n\r\n",
            phone.call_id.replace('@', "%40"),
            phone.name
        );
        let message = Message::parse(Bytes::from(text), &Limits::default()).expect("a message");
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: phone.at.parse().expect("an address"),
            connection: None,
        };
        let who = Who::Trunk(trunk_of(&self.plan, &flow).expect("a trunk's"));
        self.with(|calls, cx| calls.names(cx, &who, &message));
    }

    /// A phone sends a request in its dialog.
    pub(super) fn request(&mut self, phone: &mut Phone, method: &str, headers: &str, body: &str) {
        let text = phone.request(method, headers, body);
        self.receive(phone.at, &text);
    }

    /// A phone acknowledges.
    pub(super) fn ack(&mut self, phone: &mut Phone, body: &str) {
        let text = phone.ack(body);
        self.receive(phone.at, &text);
    }

    /// A phone answers a request of Baton's.
    pub(super) fn reply(&mut self, phone: &Phone, request: &Sent, status: u16, headers: &str, body: &str) {
        let contact = format!(
            "Contact: <sip:{}@{}>\nAllow: INVITE, ACK, BYE, CANCEL, INFO, MESSAGE, OPTIONS, UPDATE, REFER, NOTIFY\n{headers}",
            phone.name, phone.at
        );
        let text = reply(&request.message, status, phone.name, &contact, body);
        self.receive(phone.at, &text);
    }

    /// What left next for an address.
    pub(super) fn at_phone(&mut self, phone: &Phone) -> Sent {
        let at: SocketAddr = phone.at.parse().expect("an address");
        let here = self.sent.iter().position(|sent| sent.to == at);
        let here = here.unwrap_or_else(|| panic!("nothing for {}: {:?}", phone.name, self.waiting()));
        self.sent.remove(here).expect("a message")
    }

    /// The start lines of what is not looked at yet, by address.
    pub(super) fn waiting(&self) -> Vec<String> {
        self.sent.iter().map(|sent| format!("{} {}", sent.to, sent.start())).collect()
    }

    /// Nothing more was sent.
    pub(super) fn silent(&self) {
        assert_eq!(self.waiting(), Vec::<String>::new());
    }

    /// The next message to a phone is an INVITE that begins its dialog.
    pub(super) fn invited(&mut self, phone: &mut Phone) -> Sent {
        let invite = self.at_phone(phone);
        assert_eq!(invite.method(), Method::Invite, "{}", invite.text());
        phone.called(&invite);
        invite
    }

    /// A phone calls another by the route to its trunk, and the call is up.
    pub(super) fn connected(&mut self, caller: &mut Phone, callee: &mut Phone, trunk: u16) {
        let offer = sdp(caller.name, 4_000, "0 8");
        self.call(caller, to_trunk(trunk), "", &offer);
        let invite = self.invited(callee);
        self.reply(callee, &invite, 200, "", &sdp(callee.name, 5_000, "0 8"));
        let ok = self.at_phone(caller);
        assert_eq!(ok.start(), "200 OK");
        caller.heard(&ok);
        self.ack(caller, "");
        assert_eq!(self.at_phone(callee).method(), Method::Ack);
        self.silent();
    }

    /// A phone takes a re-INVITE of Baton's, answers it, and gets its ACK.
    pub(super) fn reinvited(&mut self, phone: &mut Phone, answer: &str) -> (Sent, Sent) {
        let invite = self.at_phone(phone);
        assert_eq!(invite.method(), Method::Invite, "{}", invite.text());
        self.reply(phone, &invite, 200, "", answer);
        let ack = self.at_phone(phone);
        assert_eq!(ack.method(), Method::Ack, "{}", ack.text());
        (invite, ack)
    }

    /// A phone gets a BYE and answers it; its Reason.
    pub(super) fn hung_up(&mut self, phone: &Phone) -> String {
        let bye = self.at_phone(phone);
        assert_eq!(bye.method(), Method::Bye, "{}", bye.text());
        self.reply(phone, &bye, 200, "", "");
        bye.header(HeaderId::Reason)
    }

    pub(super) fn order(&mut self, order: Order) -> Result<(), Refused> {
        self.with(|calls, cx| calls.command(cx, Command { ticket: 77, order }));
        let at = self.events.iter().position(|event| matches!(event, Event::Reply { ticket: 77, .. }));
        match at.map(|at| self.events.remove(at)) {
            Some(Event::Reply { result, .. }) => result,
            _ => panic!("no reply: {:?}", self.events),
        }
    }

    pub(super) fn act(&mut self, sid: CallSid, action: Action) -> Result<(), Refused> {
        self.order(Order::Leg(sid, action))
    }

    /// The calls that began, in order.
    pub(super) fn started(&self) -> Vec<CallSid> {
        let sid = |event: &Event| match event {
            Event::CallStarted(started) => Some(started.sid),
            _ => None,
        };
        self.events.iter().filter_map(sid).collect()
    }

    /// The statuses that a call went through, and its codes.
    pub(super) fn life(&self, sid: CallSid) -> Vec<(CallStatus, u16)> {
        let step = |event: &Event| match event {
            Event::CallChanged(change) if change.sid == sid => Some((change.status, change.code)),
            _ => None,
        };
        self.events.iter().filter_map(step).collect()
    }

    pub(super) fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    /// Nothing is left after the longest timer, and every call has ended, once.
    pub(super) fn end(&mut self) {
        self.pass(Duration::from_secs(300));
        assert_eq!(self.transactions.len(), 0, "transactions remain");
        assert_eq!(self.calls.legs(), 0, "legs remain");
        assert_eq!(self.calls.len(), 0, "something remains: {:?}", self.calls.parties.keys());
        assert_eq!(self.transactions.timers(), 0, "timers remain");
        assert!(self.calls.by_leg.is_empty());
        for sid in self.started() {
            let ends =
                self.events.iter().filter(|e| matches!(e, Event::Ended(ended, _) if *ended == sid)).count();
            assert_eq!(ends, 1, "{sid} ended {ends} times");
        }
    }
}

/// To a trunk's only target.
pub(super) fn to_trunk(trunk: u16) -> Owned {
    Owned::Trunks(Candidates::from_slice(&[Candidate { trunk: TrunkIx(trunk), target: 0, group: 0 }]))
}

/// To two trunks at once.
pub(super) fn to_both(one: u16, other: u16) -> Owned {
    let candidate = |trunk, group| Candidate { trunk: TrunkIx(trunk), target: 0, group };
    Owned::Trunks(Candidates::from_slice(&[candidate(one, 0), candidate(other, 1)]))
}
