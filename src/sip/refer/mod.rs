//! The REFER core: what becomes of a transfer, from the REFER to its one final result.
//!
//! For proxied calls it stands beside a message's way: the proxy forwards REFER, its answer, the
//! NOTIFYs and the BYE as any in-dialog request, and tells the [`Observer`] what crossed. Nothing there
//! can delay, change or fail a message. For calls of Baton's own it is the judgement behind
//! `sip::call::transfer`, which holds the legs. What is learned leaves as
//! [`crate::sip::event::ReferSnapshot`]s.
//!
//! - [`outcome`]: the one table from status codes to the public statuses, for every role.
//! - [`state`]: the life of a Refer as one `match (state, event)`; [`waits`]: how long it waits.
//! - [`life`]: one Refer of an owned call, with its codes, deadline and snapshots.
//! - [`facts`]: what a REFER or NOTIFY says, as far as a Refer is concerned.
//! - [`policy`]: what a trunk allows and wishes.
//! - [`target`]: where a Refer-To points: read, judged, and in the form that is called.
//! - [`replaces`]: dialogs named in a Refer-To, in both directions.
//! - [`request`]: a REFER that came in, read; [`decide`]: its answer; [`rate`]: how many may come.
//! - [`notifier`] and [`subscriber`]: both sides of the subscription that a REFER makes.
//! - [`observer`]: the bounded table of REFERs under way through this shard, for proxied calls.

pub mod decide;
pub mod facts;
pub mod life;
pub mod notifier;
pub mod observer;
pub mod outcome;
pub mod policy;
pub mod rate;
pub mod replaces;
pub mod request;
pub mod returning;
pub mod rule;
pub mod state;
pub mod subscriber;
pub mod target;
pub mod waits;

pub use facts::{Dialog, Fate, NotifyFacts, ReferFacts, Tag};
pub use life::Life;
pub use notifier::Notifier;
pub use observer::{Observer, ReferEffect, ReferHandle};
pub use outcome::Outcome;
pub use policy::Policy;
pub use rate::Bucket;
pub use returning::Returns;
pub use rule::ReferRule;
pub use state::State;
pub use subscriber::Subscriber;
pub use waits::Waits;
