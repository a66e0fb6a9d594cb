//! Timers as values: what they are called and last ([`kind`]), and who remembers them ([`wheel`]).
//!
//! A machine asks for a timer, the shard's one wheel remembers it; nothing here reads a clock.

mod kind;
mod wheel;

pub use kind::{Timer, WAITS_END};
pub use wheel::{TICK, TimerId, Wheel};
