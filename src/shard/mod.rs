//! A shard: everything that belongs to its calls, driven by one call per input.
//!
//! `io` gives a shard its inputs in arrival order and carries out what the [`Outbox`] holds
//! afterwards. Nothing here touches a socket, clock or lock (law 1); two shards share nothing but
//! the immutable plan (law 2). A message's way through a shard:
//!
//! ```text
//! handle ─► Message::parse ─► ready ─► proxy::request / response ─► transactions ─► Outbox
//!                   └─ unsound: 400 and its kin, or nothing
//! expire ─► transactions' timers, the proxy's, the observer's
//! ```

pub mod counters;
mod input;
mod outbox;
pub mod owner;
pub mod peer;

pub use counters::{
    AttemptResult, CallResult, ConnectionRole, Counters, Dir, DnsResult, FailoverReason, Phase, Queue,
    Rejection, RetransmissionKind, TlsResult, TransactionKind, Work,
};
pub use input::Input;
pub use outbox::{Outbox, Output, SendTag};
pub use peer::{PeerMessage, Place};

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use crate::sip::command::Refused;
use crate::sip::event::Event;
use crate::sip::flow::Flow;
use crate::sip::message::{Answer, Message, ParseError};
use crate::sip::plan::Plan;
use crate::sip::proxy::token::TokenKey;
use crate::sip::proxy::{Cx, Keys, PROXY_TIMER, Proxy};
use crate::sip::refer::{Observer, ReferHandle, Waits};
use crate::sip::resolve::{Offer, Resolver};
use crate::sip::time::Time;
use crate::sip::transaction::{Effect, Effects, Transactions};
use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// One shard's state. See the module's page.
#[derive(Debug)]
pub struct Shard {
    plan: Arc<Plan>,
    place: Place,
    counters: Arc<Counters>,
    transactions: Transactions,
    fx: Effects,
    resolver: Resolver,
    observer: Observer,
    proxy: Proxy,
    rng: ChaCha12Rng,
}

impl Shard {
    /// An empty shard. `seed` is its only source of entropy; `token_key` is the same on all shards
    /// and outlives the process.
    pub fn new(
        plan: Arc<Plan>,
        place: Place,
        seed: [u8; 32],
        token_key: [u8; 16],
        counters: Arc<Counters>,
    ) -> Shard {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut key = || {
            let mut bits = [0u8; 16];
            rng.fill_bytes(&mut bits);
            bits
        };
        let transactions = Transactions::new(key(), plan.timings, plan.capacity.transactions);
        let keys = Keys { token: TokenKey::new(token_key), local: key() };
        Shard {
            proxy: Proxy::new(&plan, keys),
            observer: Observer::new(plan.capacity.refers, Waits::from_t1(plan.timings.t1)),
            resolver: Resolver::new(Offer::new(&plan.listeners), plan.routing.stale_for),
            fx: Effects::new(),
            transactions,
            counters,
            plan,
            place,
            rng,
        }
    }

    /// Takes one input; what it leads to is in `out` afterwards.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Message { flow, bytes } => self.message(now, flow, bytes, out),
            Input::SendFailed { tag } => self.transactions.send_failed(now, tag, &mut self.fx),
            Input::Unreachable { remote } => {
                self.transactions.unreachable(now, remote, &mut self.fx);
            }
            Input::Closed { connection: _, sent } => {
                for tag in sent {
                    self.transactions.connection_lost(now, tag, &mut self.fx);
                }
            }
            Input::Resolved { query, answer } => {
                self.resolver.answer(now, query, answer);
                self.with_proxy(now, out, |proxy, cx| proxy.resolved(cx));
            }
            Input::Plan(plan) => {
                self.proxy.replan(&plan);
                self.resolver.configure(Offer::new(&plan.listeners), plan.routing.stale_for);
                self.observer.configure(plan.capacity.refers, Waits::from_t1(plan.timings.t1));
                self.transactions.configure(plan.timings, plan.capacity.transactions);
                self.plan = plan;
            }
            Input::Command(command) => {
                let result = Err(Refused::Unknown);
                out.push(Output::Control(Event::Reply { ticket: command.ticket, result }));
            }
            Input::Peer(_) => {}
        }
        self.settle(now, out);
        self.show();
    }

    /// Fires every timer that is due.
    pub fn expire(&mut self, now: Time, out: &mut Outbox) {
        while self.transactions.expire(now, &mut self.fx) {
            self.settle(now, out);
        }
        self.show();
    }

    /// When [`Shard::expire`] must be called next, at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.transactions.next_deadline()
    }

    /// Everything that is kept beyond one input: zero when the last timer has fired.
    pub fn remains(&self) -> usize {
        self.transactions.len() + self.proxy.len() + self.observer.len()
    }

    fn message(&mut self, now: Time, flow: Flow, bytes: Bytes, out: &mut Outbox) {
        self.counters.message();
        self.counters.bytes(Dir::In, bytes.len());
        let message = match Message::parse(bytes, &self.plan.limits) {
            Ok(message) => message,
            Err(error) => return self.counters.malformed(flow.transport, error.kind),
        };
        match message.ready() {
            Ok(ready) if message.is_request() => {
                self.with_proxy(now, out, |proxy, cx| {
                    if let Some(handed) = proxy.request(cx, &message, &ready, &flow, false) {
                        proxy.decline(cx, &handed, &message, &flow, 503);
                    }
                });
            }
            Ok(ready) => self.with_proxy(now, out, |proxy, cx| proxy.response(cx, &message, &ready)),
            Err(error) => self.unsound(now, &flow, &message, error, out),
        }
    }

    /// A message that cannot be worked with: answered where that can help, and only to known
    /// sources (C-213).
    fn unsound(&mut self, now: Time, flow: &Flow, message: &Message, error: ParseError, out: &mut Outbox) {
        self.counters.malformed(flow.transport, error.kind);
        if !message.is_request() {
            return;
        }
        match error.kind.answer() {
            Answer::Drop => {}
            Answer::Status(status, reason) => self.with_proxy(now, out, |proxy, cx| {
                if cx.plan.sources.find(flow).is_some() {
                    proxy.answer_malformed(cx, message, flow, status, reason);
                }
            }),
        }
    }

    /// Carries out what the transactions ask for, until nothing is left.
    fn settle(&mut self, now: Time, out: &mut Outbox) {
        while let Some(effect) = self.fx.pop() {
            match effect {
                Effect::Send { to, bytes, tag } => {
                    self.counters.bytes(Dir::Out, bytes.len());
                    out.push(Output::Send { to, bytes, tag });
                }
                Effect::ClientTimedOut { id, owner } => {
                    self.with_proxy(now, out, |proxy, cx| proxy.timed_out(cx, id, owner));
                }
                Effect::ClientFailed { id, owner } => {
                    self.with_proxy(now, out, |proxy, cx| proxy.unsendable(cx, id, owner));
                }
                Effect::ClientEnded { owner, .. } => self.proxy.client_ended(owner),
                Effect::ServerEnded { .. } => {}
                Effect::TuTimer(key) if key & PROXY_TIMER != 0 => {
                    self.with_proxy(now, out, |proxy, cx| proxy.timer(cx, key));
                }
                Effect::TuTimer(key) => self.with_proxy(now, out, |_, cx| {
                    cx.refer_expired(ReferHandle::from_bits(key));
                }),
            }
        }
    }

    fn with_proxy(&mut self, now: Time, out: &mut Outbox, work: impl FnOnce(&mut Proxy, &mut Cx<'_>)) {
        let mut cx = Cx {
            now,
            plan: &self.plan,
            place: self.place,
            transactions: &mut self.transactions,
            fx: &mut self.fx,
            resolver: &mut self.resolver,
            observer: &mut self.observer,
            rng: &mut self.rng,
            counters: &self.counters,
            out,
        };
        work(&mut self.proxy, &mut cx);
    }

    /// Shows the sizes of the tables.
    fn show(&mut self) {
        self.transactions.show(&self.counters);
    }
}
