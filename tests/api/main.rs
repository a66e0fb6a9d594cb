//! The HTTP API over a real socket on loopback, with a store that was filled through events.

mod access;
mod calls;
mod create;
mod dialling;
mod documents;
mod harness;
mod hostile;
mod jambonz;
mod jambonz_calls;
mod jambonz_hooks;
mod jambonz_verbs;
mod modify;
mod operation;
mod paging;
mod receiver;
mod refers;
mod shard;
mod steering;
mod telnyx;
mod telnyx_calls;
mod telnyx_events;
mod telnyx_refer;
