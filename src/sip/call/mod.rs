//! The back-to-back call: legs, joining, and moving between parties.

/// A call on its way from one shard to another: all its legs and what is under way between them.
#[derive(Debug)]
pub struct MovedCall {}
