//! The REFER core: what becomes of a transfer, from the REFER to its one final result.
//!
//! It stands beside a message's way: the proxy forwards REFER, its answer, the NOTIFYs and the BYE
//! as any in-dialog request, and tells the [`Observer`] what crossed. Nothing here can delay, change
//! or fail a message. What is learned leaves as [`crate::sip::event::ReferSnapshot`]s.
//!
//! - [`outcome`]: the one table from status codes to the public statuses, for every role.
//! - [`state`]: the life of a Refer as one `match (state, event)`.
//! - [`facts`]: what a REFER or NOTIFY says, as far as a Refer is concerned.
//! - [`policy`]: what a trunk allows and wishes.
//! - [`observer`]: the bounded table of REFERs under way through this shard, for the relay role.

pub mod facts;
pub mod observer;
pub mod outcome;
pub mod policy;
pub mod state;

pub use facts::{Dialog, Fate, NotifyFacts, ReferFacts, Tag};
pub use observer::{Observer, ReferEffect, ReferHandle, Waits};
pub use outcome::Outcome;
pub use policy::Policy;
pub use state::State;
