//! Transactions.

mod action;
pub mod client;
pub mod invite_client;
pub mod invite_server;
pub mod server;

pub use action::{Action, Actions};
