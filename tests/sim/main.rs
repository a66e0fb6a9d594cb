//! Shards between phones, on a network that loses, repeats and reorders, with a clock of its own.
//!
//! Every flow is played with many seeds; a seed decides the faults of the links, the pace of the
//! phones and the transports, so a failure is repeated exactly by its seed:
//!
//! ```text
//! BATON_SIM_SEEDS=20000 cargo test --test sim                   how many seeds a flow (default 2,000)
//! BATON_SIM_SEED=17 cargo test --test sim refer -- --nocapture  one seed, every message printed
//! ```
//!
//! What must hold in each of them stands in `tap.rs` (nothing is forwarded twice) and in
//! `world.rs` (every transaction ends, and nothing is left after the last timer).

mod net;
mod owned;
mod phone;
mod tap;
mod text;
mod world;

mod call;
mod cancel;
mod failover;
mod fork;
mod refer;
mod refused;
mod resolve;
mod restart;
mod unsent;
