//! Digest challenges to requests of a leg (C-154, C-196, C-200): the one place that calls `sip::auth`.

use super::leg::Authorization;
use crate::sip::auth::{self, Challenge, NonceCounts};
use crate::sip::message::{HeaderId, Message};
use crate::sip::plan::Credentials;

/// Challenges of one response that are read.
const MOST: usize = 16;

/// What is to be sent with an answer.
pub(super) struct Sent<'a> {
    pub(super) method: &'a str,
    /// The Request-URI, and the body.
    pub(super) uri: &'a [u8],
    pub(super) body: &'a [u8],
    /// Fresh random bits.
    pub(super) cnonce: u64,
}

/// The header fields that answer a 401 or 407; `known` are the challenges this request has met before.
/// `None` when they cannot be answered, or the answer to them was refused (C-200).
pub(super) fn answer(
    response: &Message,
    credentials: &Credentials,
    sent: &Sent<'_>,
    known: &mut Vec<Challenge>,
    counts: &mut NonceCounts,
) -> Option<Authorization> {
    let fields = [(HeaderId::WwwAuthenticate, false), (HeaderId::ProxyAuthenticate, true)];
    let mut new: Vec<Challenge> = fields
        .into_iter()
        .flat_map(|(id, proxy)| {
            response.values(id).filter_map(move |value| Challenge::parse(value, proxy).ok())
        })
        .take(MOST)
        .collect();
    if new.is_empty() || auth::refused(known, &new) {
        return None;
    }
    // The realms before still want their answers; of one realm the newest challenge counts.
    new.append(known);
    new.truncate(MOST);
    *known = new;
    auth::answer(known, credentials, sent.method.as_bytes(), sent.uri, sent.body, sent.cnonce, counts)
}
