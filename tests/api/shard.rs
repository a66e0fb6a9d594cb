//! Shards that carry no calls: they keep the orders they get, answer them, and tell what a test says.

use crate::harness::{ACCOUNT, NODE, PATIENCE};
use baton::control::Shards;
use baton::io::{Behind, Clock};
use baton::record::call_sid_text;
use baton::sip::command::{Action, Command, Leave, Order, Place, ReferOrder, Refused};
use baton::sip::event::{
    CallChanged, CallHeaders, CallSid, CallStarted, CallStatus, Direction, EndedBy, Event, Offered,
    ReferReason, ReferRole, ReferSnapshot, ReferStatus,
};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::mpsc;

/// The INVITE of an offered call, as far as interfaces look at it.
const INVITE: &str = "INVITE sip:+1111@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
    From: \"Bob\" <sip:bob@a.example>;tag=1\r\nTo: <sip:+1111@b.example>\r\nCall-ID: id@b\r\n\
    CSeq: 1 INVITE\r\nX-Foo: 1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

#[derive(Debug)]
pub struct FakeShards {
    count: u16,
    steering: mpsc::Sender<Event>,
    store: crossbeam::channel::Sender<Event>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<Order>,
    refuse: Option<Refused>,
    silent: bool,
    ticket: u64,
}

impl Shards for FakeShards {
    fn command(&self, shard: u16, command: Box<Command>) -> Result<(), Behind> {
        if shard >= self.count {
            return Err(Behind(shard));
        }
        let mut state = self.state.lock().expect("nobody failed");
        let result = state.refuse.map_or(Ok(()), Err);
        let silent = state.silent;
        let Command { ticket, order } = *command;
        if result.is_ok() {
            // As a shard does: the call begins before its order is answered.
            if let Order::Place(place) = &order {
                self.tell(placed(place));
            }
        }
        state.orders.push_back(order);
        state.ticket = ticket.max(state.ticket);
        drop(state);
        self.changed.notify_all();
        if ticket != 0 && !silent {
            self.tell(Event::Reply { ticket, result });
        }
        Ok(())
    }

    fn count(&self) -> u16 {
        self.count
    }
}

impl FakeShards {
    pub fn new(
        count: u16,
        steering: mpsc::Sender<Event>,
        store: crossbeam::channel::Sender<Event>,
    ) -> FakeShards {
        FakeShards { count, steering, store, state: Mutex::default(), changed: Condvar::new() }
    }

    /// From now on every order is refused so, or taken again.
    pub fn refuse(&self, refused: Option<Refused>) {
        self.state.lock().expect("nobody failed").refuse = refused;
    }

    /// From now on no order is answered.
    pub fn fall_silent(&self) {
        self.state.lock().expect("nobody failed").silent = true;
    }

    /// The last order is taken after all, and those to come are answered again.
    pub fn speak_again(&self) {
        let ticket = {
            let mut state = self.state.lock().expect("nobody failed");
            state.silent = false;
            state.ticket
        };
        self.tell(Event::Reply { ticket, result: Ok(()) });
    }

    /// The next order; it has to come.
    pub fn order(&self) -> Order {
        let state = self.state.lock().expect("nobody failed");
        let wait = self.changed.wait_timeout_while(state, PATIENCE, |state| state.orders.is_empty());
        let (mut state, _) = wait.expect("nobody failed");
        state.orders.pop_front().expect("an order comes")
    }

    /// Orders that nobody has looked at.
    pub fn rest(&self) -> Vec<Order> {
        self.state.lock().expect("nobody failed").orders.drain(..).collect()
    }

    /// The next order, which places a call.
    pub fn place(&self) -> Place {
        match self.order() {
            Order::Place(place) => *place,
            other => panic!("no call is placed: {other:?}"),
        }
    }

    /// The next order, which is for this leg.
    pub fn action(&self, sid: CallSid) -> Action {
        match self.order() {
            Order::Leg(of, action) if of == sid => action,
            other => panic!("not for {sid}: {other:?}"),
        }
    }

    /// The next order, which transfers this leg.
    pub fn refer(&self, sid: CallSid) -> ReferOrder {
        match self.action(sid) {
            Action::Refer(order) => *order,
            other => panic!("no transfer: {other:?}"),
        }
    }

    /// The next order, which ends this leg; it ends so.
    pub fn hang_up(&self, sid: CallSid) -> Option<u16> {
        match self.action(sid) {
            Action::Hangup { status, .. } => {
                let end = if status.is_some() { CallStatus::Failed } else { CallStatus::Completed };
                self.end(sid, end);
                status
            }
            Action::Leave(leave) => self.left(sid, &leave),
            other => panic!("no end: {other:?}"),
        }
    }

    /// The next order, which ends this leg in a way of its own; it ends so.
    pub fn leave(&self, sid: CallSid) -> Leave {
        match self.action(sid) {
            Action::Leave(leave) => {
                self.left(sid, &leave);
                *leave
            }
            other => panic!("no end: {other:?}"),
        }
    }

    fn left(&self, sid: CallSid, leave: &Leave) -> Option<u16> {
        let (status, code) = match leave.status {
            Some(code @ (486 | 600 | 603)) => (CallStatus::Busy, code),
            Some(code) => (CallStatus::Failed, code),
            None => (CallStatus::Completed, 0),
        };
        self.end_by(sid, status, code, EndedBy::Control);
        leave.status
    }

    /// The ticket of the last order that was given under one.
    pub fn ticket(&self) -> u64 {
        self.state.lock().expect("nobody failed").ticket
    }

    /// Tells the store and the control plane, as io does.
    pub fn tell(&self, event: Event) {
        if event.is_recorded() {
            self.store.send(event.clone()).expect("the store takes events");
        }
        self.steering.try_send(event).expect("the control plane takes events");
    }

    pub fn change(&self, sid: CallSid, status: CallStatus) {
        self.change_by(sid, status, 0);
    }

    pub fn change_by(&self, sid: CallSid, status: CallStatus, code: u16) {
        let now = Clock::new().now();
        let change = CallChanged { sid, account: ACCOUNT.into(), started: now, at: now, status, code };
        self.tell(Event::CallChanged(change));
    }

    pub fn end(&self, sid: CallSid, status: CallStatus) {
        self.end_by(sid, status, 0, EndedBy::Peer);
    }

    /// It ends with this final code, by whom.
    pub fn end_by(&self, sid: CallSid, status: CallStatus, code: u16, by: EndedBy) {
        self.change_by(sid, status, code);
        self.tell(Event::Ended(sid, by));
    }

    /// A call comes in and waits for the first application.
    pub fn offer(&self, sid: CallSid, headers: &[(&str, &str)]) {
        self.tell(Event::CallStarted(Arc::new(started(sid, Direction::Inbound, None))));
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = headers.iter().map(pair).collect();
        self.tell(Event::Headers(Box::new(CallHeaders { sid, headers, call_id: "x".into(), code: 0 })));
        self.tell(Event::Offered(Box::new(Offered {
            sid,
            account: ACCOUNT.into(),
            application: 0,
            trunk: None,
            from_uri: "sip:bob@a.example".into(),
            to_uri: "sip:+1111@b.example".into(),
            sdp: None,
            invite: INVITE.into(),
            source: ([192, 0, 2, 10], 5060).into(),
        })));
    }

    /// A leg that was dialled for another begins.
    pub fn dialled(&self, sid: CallSid, parent: CallSid) {
        self.tell(Event::CallStarted(Arc::new(started(sid, Direction::OutboundDial, Some(parent)))));
    }

    /// What became of a transfer.
    pub fn referred(&self, order: &ReferOrder, call: CallSid, seq: u32, what: Referred) {
        let now = Clock::new().now();
        let Referred { refer_code, notify_code, status } = what;
        self.tell(Event::Refer(Box::new(ReferSnapshot {
            sid: order.sid,
            call,
            account: ACCOUNT.into(),
            role: ReferRole::Transferor,
            created: now,
            at: now,
            seq,
            from: "sip:a@b".into(),
            to: order.to.split('?').next().unwrap_or("").to_owned(),
            refer_code,
            notify_code,
            status,
            reason: (status == ReferStatus::Failed).then_some(ReferReason::TargetRejected),
            rule: None,
            moved: None,
            target: None,
        })));
    }
}

/// What is known of a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Referred {
    pub refer_code: Option<u16>,
    pub notify_code: Option<u16>,
    pub status: ReferStatus,
}

/// The public identifier of a call.
pub fn public(sid: CallSid) -> String {
    call_sid_text(NODE, sid)
}

fn placed(place: &Place) -> Event {
    let started = CallStarted {
        from: place.from.clone(),
        account: place.account.clone(),
        ..started(place.sid, Direction::OutboundApi, None)
    };
    Event::CallStarted(Arc::new(started))
}

fn started(sid: CallSid, direction: Direction, parent: Option<CallSid>) -> CallStarted {
    CallStarted {
        sid,
        account: ACCOUNT.into(),
        at: Clock::new().now(),
        from: "bob".into(),
        to: "+1111".into(),
        caller_name: None,
        forwarded_from: None,
        direction,
        call_id: "id@b".into(),
        parent,
        cause: None,
    }
}
