//! Legs, played message by message.

mod calls;
