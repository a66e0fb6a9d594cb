//! Baton: a SIP signaling proxy with a REFER core.
//!
//! A message's way, and the order of the modules below:
//!
//! ```text
//!  socket            index            match             decide            write
//! io::udp  ──► sip::message ──► sip::transaction ──► sip::proxy ──► sip::message::edit ──► io::udp
//!    │                               ▲    │              │
//!    └── not this shard's call:      │    └ timers       ├─► sip::resolve   (names to addresses)
//!        io::handoff ────────────────┘                   └─► sip::refer     (REFERs observed)
//!                                                        │
//!                              record (store), control (HTTP), observe (logs) ◄── sip::event
//! ```
//!
//! `sip` and `shard` are pure: bytes, time and entropy go in, effects come out. `io` alone touches
//! sockets, the clock and threads on a message's way. `control` holds the only async runtime.

#[cfg(feature = "server")]
pub mod io;
pub mod shard;
pub mod sip;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod control;
#[cfg(feature = "server")]
pub mod observe;
#[cfg(feature = "server")]
pub mod record;

#[cfg(feature = "server")]
pub mod demo;

#[cfg(feature = "server")]
pub mod command;
