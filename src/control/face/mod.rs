//! The interfaces that other products' users know: thin translations of one store and one engine.

pub(super) mod jambonz;
pub(super) mod rcml;
pub(super) mod restcomm;
#[cfg(test)]
mod stage;
pub(super) mod telnyx;
