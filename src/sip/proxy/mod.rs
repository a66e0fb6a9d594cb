//! The stateful proxy of RFC 3261 §16: it decides where a request goes and which answer goes back.
//!
//! It stands behind `transaction`, which has already absorbed retransmissions, and in front of
//! nothing: what it decides goes back through `transaction` to the wire. One [`Proxy`] belongs to one
//! shard. A request's way through this folder:
//!
//! ```text
//! request.rs   admitted? valid? in a dialog or new?  ── no ──► answer.rs (4xx, or nothing)
//!    │            route.rs  our own Route values off, dialog token read
//!    │            target.rs route, trunks, targets by priority and weight
//!    │            handed.rs what becomes a call of Baton's own ──► sip::call
//!    ▼
//! forward.rs   one attempt: address, listener, edits, client transaction
//!    ▼
//! response.rs  best answer, failover, CANCEL of the losers ──► upstream
//!                 observe.rs  what the records are told on the way
//! ```

mod answer;
pub mod context;
mod forward;
mod handed;
pub(crate) mod itself;
mod observe;
mod request;
mod response;
mod returning;
mod route;
pub mod target;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
pub mod token;

pub(crate) use answer::hex16;
pub use forward::PROXY_TIMER;
pub(crate) use forward::{hop_of, hop_to, retarget};
pub use handed::{Concern, Handed, Owned};
pub use itself::Itself;
pub(crate) use request::reply_flow;

use crate::shard::{Counters, Outbox, Place};
use crate::sip::message::Edits;
use crate::sip::plan::Plan;
use crate::sip::proxy::context::Context;
use crate::sip::proxy::returning::Waiting;
use crate::sip::proxy::token::TokenKey;
use crate::sip::refer::Observer;
use crate::sip::resolve::Resolver;
use crate::sip::time::Time;
use crate::sip::transaction::{Effects, ServerId, Transactions};
use hashbrown::HashMap;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;
use slab::Slab;
use smallvec::SmallVec;

/// The requests a shard is answering as a proxy.
#[derive(Debug)]
pub struct Proxy {
    itself: Itself,
    keys: Keys,
    entries: Slab<Entry>,
    /// Contexts with a branch that waits for DNS.
    resolving: Vec<u32>,
    /// ACKs to a 2xx that wait for DNS; bounded, a repeated 2xx brings a new one.
    waiting_acks: Vec<forward::WaitingAck>,
    /// Answered calls whose end has not been seen: only they count down when a BYE comes, which may come
    /// twice, late, or for a call of a process before. Bounded.
    up: HashMap<u64, Answers>,
    edits: Edits,
    scratch: Vec<u8>,
}

/// Who has answered a call, by hashes of their tags.
#[derive(Debug)]
struct Answers {
    /// Those whose BYE has not been seen.
    open: SmallVec<[u32; 1]>,
    /// Whether there was ever more than one: then a BYE ends the call only when none is left (C-131).
    several: bool,
}

/// The secrets a shard works with.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Authenticates dialog tokens; the same on all shards and after a restart.
    pub token: TokenKey,
    /// Makes To tags, loop hashes and stateless branches; of this process.
    pub local: [u8; 16],
}

/// What is known of a request that was forwarded.
#[derive(Debug)]
enum Entry {
    /// It is being answered.
    Active(Box<Context>),
    /// Its context is in use further up the stack.
    Busy,
    /// It waits for what another shard says of its token.
    Returning(Box<Waiting>),
    /// It has its final answer: kept while client transactions live, so that further 2xx to an
    /// INVITE find their way (C-071).
    Answered {
        /// Where they go.
        server: ServerId,
        /// Client transactions that have not ended.
        live: u16,
        /// The call that was answered, among those that are up.
        call: Option<u64>,
    },
}

/// What the proxy works with for the length of one input; everything in it is the shard's.
pub struct Cx<'a> {
    /// The moment of the input.
    pub now: Time,
    /// The configuration.
    pub plan: &'a Plan,
    /// Where this shard stands among the others.
    pub place: Place,
    /// The shard's transactions.
    pub transactions: &'a mut Transactions,
    /// What they want done.
    pub fx: &'a mut Effects,
    /// The shard's DNS cache.
    pub resolver: &'a mut Resolver,
    /// The REFERs being watched.
    pub observer: &'a mut Observer,
    /// The shard's random numbers, from the seed it was given.
    pub rng: &'a mut ChaCha12Rng,
    /// The shard's counters.
    pub counters: &'a Counters,
    /// Where questions and events go.
    pub out: &'a mut Outbox,
}

impl Cx<'_> {
    /// 64 unpredictable bits.
    pub fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// 128 bits that begin with the time, so that the store appends rows instead of scattering them,
    /// and end with the shard, so that orders find it.
    pub fn new_sid(&mut self) -> u128 {
        let random = u128::from(self.rng.next_u64());
        (u128::from(self.now.millis()) << 80) | (random << 16) | u128::from(self.place.index)
    }
}

impl Proxy {
    /// A proxy without any state.
    pub fn new(plan: &Plan, keys: Keys) -> Proxy {
        Proxy {
            itself: Itself::new(plan),
            keys,
            entries: Slab::new(),
            resolving: Vec::new(),
            waiting_acks: Vec::new(),
            up: HashMap::new(),
            edits: Edits::new(),
            scratch: Vec::with_capacity(2_048),
        }
    }

    /// Takes over a new configuration. Requests under way keep the targets they have begun.
    pub fn replan(&mut self, plan: &Plan) {
        self.itself = Itself::new(plan);
    }

    /// Requests that are not wholly forgotten; zero when the last timer has fired.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a context out for work on it; [`Proxy::put_back`] must follow.
    fn take(&mut self, slot: u32) -> Option<Box<Context>> {
        let entry = self.entries.get_mut(slot as usize)?;
        match std::mem::replace(entry, Entry::Busy) {
            Entry::Active(context) => Some(context),
            other => {
                *entry = other;
                None
            }
        }
    }

    fn put_back(&mut self, slot: u32, context: Box<Context>) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = Entry::Active(context);
        }
    }
}
