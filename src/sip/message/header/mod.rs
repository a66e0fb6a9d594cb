//! Typed header fields: grammars over one value each, read when first asked for.
//!
//! All borrow from the message; none allocates.

mod cseq;
mod dialog;
mod event;
mod name_addr;
mod params;
mod via;

pub use cseq::CSeq;
pub use dialog::Replaces;
pub use event::{Event, MediaType, SubscriptionState};
pub use name_addr::NameAddr;
pub use params::{Param, ParamIter, Params, unquote};
pub use via::{COOKIE, Via};

pub(crate) use cseq::parse as parse_cseq;
pub(crate) use event::token_params;
pub(crate) use via::ip;
