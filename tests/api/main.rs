//! The HTTP API over a real socket on loopback, with a store that was filled through events.

mod access;
mod calls;
mod harness;
mod operation;
mod paging;
mod refers;
