//! What a shard's thread drives: the pure half of a shard, or something simpler in tests.

use crate::shard::{Input, Outbox};
use crate::sip::time::Time;

/// A machine without I/O. The driver calls it from one thread, gives it inputs in arrival order and
/// carries out what it leaves in the outbox.
pub trait Engine: Send + 'static {
    /// Takes one input.
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox);

    /// When [`Engine::expire`] wants to be called next; `None`: not before another input.
    fn next_deadline(&mut self) -> Option<Time>;

    /// Does what is due. A call before the deadline does nothing.
    fn expire(&mut self, now: Time, out: &mut Outbox);
}

impl Engine for crate::shard::Shard {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        crate::shard::Shard::handle(self, now, input, out);
    }

    fn next_deadline(&mut self) -> Option<Time> {
        crate::shard::Shard::next_deadline(self)
    }

    fn expire(&mut self, now: Time, out: &mut Outbox) {
        crate::shard::Shard::expire(self, now, out);
    }
}
