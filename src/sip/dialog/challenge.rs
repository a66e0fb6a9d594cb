//! Digest challenges to requests of a leg (C-154, C-200): the one place that calls `sip::auth`.

use super::leg::Authorization;
use crate::sip::message::Message;
use crate::sip::plan::Credentials;

/// What is remembered of nonces: how often each was used.
#[derive(Debug, Default)]
pub(super) struct Nonces;

/// The header fields that answer the challenges of a 401 or 407; `None` when they cannot be answered.
pub(super) fn answer(
    _response: &Message,
    _credentials: &Credentials,
    _method: &str,
    _uri: &[u8],
    _body: &[u8],
    _cnonce: u64,
    _nonces: &mut Nonces,
) -> Option<Authorization> {
    None
}

/// Whether a challenge says that only the nonce had grown old (RFC 7616 §3.3).
pub(super) fn is_stale(_response: &Message) -> bool {
    false
}
