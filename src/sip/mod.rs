//! SIP itself, as pure functions.
//!
//! The law of this folder: no socket, clock, randomness, thread, lock or await. Bytes, [`time::Time`]
//! and entropy come in as arguments; what is to be done comes out as effects. `tests/purity.rs`
//! enforces it. The modules stand in the order in which a message meets them.

pub mod auth;
pub mod call;
pub mod command;
pub mod dialog;
pub mod event;
pub mod flow;
pub mod message;
pub mod plan;
pub mod pool;
pub mod proxy;
pub mod refer;
pub mod registrar;
pub mod resolve;
pub mod time;
pub mod timer;
pub mod transaction;
