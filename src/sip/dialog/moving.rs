//! A leg goes to another shard, as calls meet there (law 2).
//!
//! What goes is the leg itself. Transactions stay behind and end by themselves; therefore a leg with a
//! request of either side under way does not go.

use super::leg::{Leg, State};

/// A leg on its way between shards.
#[derive(Debug)]
pub struct MovedLeg {
    pub(super) leg: Box<Leg>,
}

impl MovedLeg {
    /// Its Call-ID: what arrives for it is to follow it.
    pub fn call_id(&self) -> &[u8] {
        &self.leg.call_id
    }
}

impl Leg {
    /// Whether nothing is under way on it.
    pub(super) fn can_move(&self) -> bool {
        matches!(self.state, State::Up)
            && self.requests.is_empty()
            && self.asked.is_empty()
            && self.accepted.is_empty()
            && self.bye.is_none()
            && self.acks.iter().all(|ack| ack.sent.is_some())
    }
}
