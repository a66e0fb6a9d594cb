//! What a caller is told when none of those who were called for it answers (RFC 3261 §16.7 steps 6 and 7).

use super::headers::explains;
use super::party::Party;
use crate::sip::dialog::Headers;
use crate::sip::message::HeaderId;
use crate::sip::proxy::Cx;
use crate::sip::proxy::context::rank;

/// The best final answer so far.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its code.
    pub(super) code: u16,
    /// What the caller may see of it.
    pub(super) headers: Headers,
    /// Whether somebody gave it: else Baton found out by itself.
    pub(super) heard: bool,
}

impl Refusal {
    /// A party does not come; an answer to a challenge of its own trunk would have to come from Baton, so the
    /// caller is not asked for one: he is not let in (RFC 3261 §21.4.4).
    pub(super) fn new(
        cx: &Cx<'_>,
        party: Option<&Party>,
        code: u16,
        headers: Headers,
        heard: bool,
    ) -> Refusal {
        let trunk = party.and_then(|party| party.trunk).and_then(|ix| cx.plan.trunk(ix));
        let ours = challenges(code) && trunk.is_some_and(|trunk| trunk.owned.credentials.is_some());
        match ours {
            true => Refusal { code: 403, headers: without(headers, code), heard },
            false => Refusal { code, headers, heard },
        }
    }

    /// Of two, the better one; of two challenges both (C-103, C-104).
    pub(super) fn or(mut self, mut other: Refusal) -> Refusal {
        if challenges(self.code) && challenges(other.code) {
            other.headers.retain(|(name, _)| explains(HeaderId::from_bytes(name.as_bytes()), other.code));
            self.headers.append(&mut other.headers);
            return self;
        }
        if rank(other.code) < rank(self.code) { other } else { self }
    }

    /// As the caller hears it. That somebody is out of service says nothing about Baton (C-205).
    pub(super) fn told(mut self, cx: &mut Cx<'_>) -> (u16, Headers) {
        if self.code != 503 {
            return (self.code, self.headers);
        }
        let after = |(name, _): &(Box<str>, Box<[u8]>)| name.eq_ignore_ascii_case("Retry-After");
        self.headers.retain(|field| !after(field));
        if self.heard {
            return (500, self.headers);
        }
        let base = u64::from(cx.plan.routing.retry_after.max(1));
        let seconds = base + cx.random() % (base / 2 + 1);
        self.headers.push(("Retry-After".into(), seconds.to_string().into_bytes().into()));
        (503, self.headers)
    }
}

/// Everything but what belongs to this code.
fn without(mut headers: Headers, code: u16) -> Headers {
    headers.retain(|(name, _)| !explains(HeaderId::from_bytes(name.as_bytes()), code));
    headers
}

const fn challenges(code: u16) -> bool {
    matches!(code, 401 | 407)
}
