//! A shard: everything that belongs to its calls, driven by one call per input.
//!
//! `io` gives a shard its inputs in arrival order and carries out what the [`Outbox`] holds
//! afterwards. Nothing here touches a socket, clock or lock (law 1); two shards share nothing but
//! the immutable plan (law 2). A message's way through a shard:
//!
//! ```text
//! handle ─► arrive ─► Message::parse ─► ready ─┬─► proxy ──────────────┬─► transactions ─► Outbox
//!             │                                ├─► calls, their legs ──┤
//!             └─ unsound: 400, or nothing      └─► register, client ───┘
//! expire ─► transactions' timers, the proxy's, the calls', the observer's, bindings
//! ```

mod arrive;
pub mod counters;
mod input;
mod outbox;
pub mod owner;
pub mod peer;
mod register;

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

use crate::sip::auth::Realm;
use crate::sip::call::Calls;
use crate::sip::dialog::{OWNED_TIMER, OWNER};
use crate::sip::plan::{Credentials, Plan};
use crate::sip::proxy::token::TokenKey;
use crate::sip::proxy::{Cx, Keys, PROXY_TIMER, Proxy};
use crate::sip::refer::{Observer, ReferHandle, Waits};
use crate::sip::registrar::Registrar;
use crate::sip::resolve::{Offer, Resolver};
use crate::sip::time::Time;
use crate::sip::transaction::{Effect, Effects, NONE, Transactions};
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
    calls: Calls,
    registrar: Registrar,
    /// Where clients prove who they are.
    realm: Realm,
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
        let calls = Calls::new(&plan, key());
        let mut nonces = [0u8; 32];
        rng.fill_bytes(&mut nonces);
        Shard {
            realm: Realm::new(
                &plan.calls.registrar.realm,
                &plan.calls.auth,
                nonces,
                keys.token.derived(b"\0baton guesses key"),
                users(&plan),
            ),
            registrar: Registrar::new(&plan),
            calls,
            observer: Observer::new(plan.capacity.refers, Waits::from_t1(plan.timings.t1))
                .returning(&keys.token),
            proxy: Proxy::new(&plan, keys),
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
            Input::Message { flow, bytes } => self.arrived(now, flow, bytes, out),
            Input::SendFailed { tag } => self.transactions.send_failed(now, tag, &mut self.fx),
            Input::Unreachable { remote } => {
                self.transactions.unreachable(now, remote, &mut self.fx);
            }
            Input::Closed { connection, sent } => {
                for tag in sent {
                    self.transactions.connection_lost(now, tag, &mut self.fx);
                }
                self.registrar.closed(connection);
                self.with_calls(now, out, |calls, cx| calls.closed(cx, connection));
            }
            Input::Resolved { query, answer } => {
                self.resolver.answer(now, query, answer);
                self.with_proxy(now, out, |proxy, cx| proxy.resolved(cx));
                self.with_calls(now, out, |calls, cx| calls.resolved(cx));
            }
            Input::Plan(plan) => {
                self.proxy.replan(&plan);
                self.calls.replan(&plan);
                self.registrar.replan(&plan);
                self.realm.replan(&plan.calls.registrar.realm, &plan.calls.auth, users(&plan));
                self.resolver.configure(Offer::new(&plan.listeners), plan.routing.stale_for);
                self.observer.configure(plan.capacity.refers, Waits::from_t1(plan.timings.t1));
                self.transactions.configure(plan.timings, plan.capacity.transactions);
                self.plan = plan;
            }
            Input::Command(command) => {
                self.with_calls(now, out, |calls, cx| calls.command(cx, *command));
            }
            Input::Peer(message) => self.peer(now, *message, out),
        }
        self.settle(now, out);
        self.show();
    }

    /// Fires every timer that is due.
    pub fn expire(&mut self, now: Time, out: &mut Outbox) {
        while self.transactions.expire(now, &mut self.fx) {
            self.settle(now, out);
        }
        self.registrar.expire(now);
        self.show();
    }

    /// Another shard says something.
    fn peer(&mut self, now: Time, message: PeerMessage, out: &mut Outbox) {
        match message {
            PeerMessage::Sip { flow, bytes } => self.arrived(now, flow, bytes, out),
            PeerMessage::Locate { from, ticket, user } => {
                let contacts = self.registrar.lookup(now, &user);
                out.push(Output::Peer(from, Box::new(PeerMessage::Bindings { ticket, contacts })));
            }
            PeerMessage::Bindings { ticket, contacts } => {
                self.with_calls(now, out, |calls, cx| calls.bindings(cx, ticket, contacts));
            }
            PeerMessage::Command(command) => {
                self.with_calls(now, out, |calls, cx| calls.command(cx, *command));
            }
            PeerMessage::Returns { from, ticket, refer, caller } => {
                let worth = self.observer.returns.spend(now, refer, caller);
                let answer = PeerMessage::Worth { ticket, refer, caller, worth };
                out.push(Output::Peer(from, Box::new(answer)));
            }
            PeerMessage::Worth { ticket, refer, caller, worth } => {
                self.returned(now, ticket, (refer, caller), worth, out);
            }
            PeerMessage::Lesson(lesson) => self.realm.learn(now, lesson),
            PeerMessage::Claim { .. }
            | PeerMessage::Moved { .. }
            | PeerMessage::Answer { .. }
            | PeerMessage::Picks(_)
            | PeerMessage::Rings { .. }
            | PeerMessage::Unwanted { .. }
            | PeerMessage::Named { .. }
            | PeerMessage::Forget { .. } => {
                self.with_calls(now, out, |calls, cx| calls.peer(cx, message));
            }
        }
    }

    /// When [`Shard::expire`] must be called next, at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.transactions.next_deadline().into_iter().chain(self.registrar.deadline()).min()
    }

    /// Everything that is kept beyond one input: zero when the last timer has fired.
    pub fn remains(&self) -> usize {
        self.transactions.len() + self.proxy.len() + self.observer.len() + self.calls.len()
    }

    /// Carries out what the transactions ask for, until nothing is left.
    fn settle(&mut self, now: Time, out: &mut Outbox) {
        while let Some(effect) = self.fx.pop() {
            match effect {
                Effect::Send { to, bytes, tag } => {
                    self.counters.bytes(Dir::Out, bytes.len());
                    out.push(Output::Send { to, bytes, tag });
                }
                Effect::ClientTimedOut { id, owner } if is_owned(owner) => {
                    self.with_calls(now, out, |calls, cx| calls.timed_out(cx, id, owner));
                }
                Effect::ClientFailed { id, owner } if is_owned(owner) => {
                    self.with_calls(now, out, |calls, cx| calls.unsendable(cx, id, owner));
                }
                Effect::ClientEnded { owner, .. } if is_owned(owner) => self.calls.client_ended(owner),
                Effect::ServerEnded { owner, .. } if is_owned(owner) => self.calls.server_ended(owner),
                Effect::TuTimer(key) if key & (PROXY_TIMER | OWNED_TIMER) == OWNED_TIMER => {
                    self.with_calls(now, out, |calls, cx| calls.timer(cx, key));
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

    /// Works with the calls, and on what comes of it within this shard.
    fn with_calls(&mut self, now: Time, out: &mut Outbox, work: impl FnOnce(&mut Calls, &mut Cx<'_>)) {
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
        work(&mut self.calls, &mut cx);
        self.calls.settle(&mut cx);
        while let Some((ticket, user)) = self.calls.next_lookup() {
            let contacts = self.registrar.lookup(now, &user);
            self.calls.bindings(&mut cx, ticket, contacts);
            self.calls.settle(&mut cx);
        }
    }

    /// Shows the sizes of the tables.
    fn show(&mut self) {
        self.transactions.show(&self.counters);
    }
}

/// Whether a transaction's owner is a leg of ours rather than the proxy.
fn is_owned(owner: u32) -> bool {
    owner & OWNER != 0 && owner != NONE
}

fn users(plan: &Plan) -> impl Iterator<Item = &Credentials> + Clone {
    plan.calls.clients.values().map(|client| &*client.credentials)
}
