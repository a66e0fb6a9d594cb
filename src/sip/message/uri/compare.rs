//! Equality of URIs (RFC 3261 §19.1.4; C-032, C-033).

use super::escape::decoded;
use super::{Scheme, Uri, tel};
use crate::sip::message::token::{self, UNRESERVED};

/// Parameters that matter even when only one of the two URIs has them. `lr` and `method` are added
/// to the standard's user, ttl, method and maddr only where the standard says so; `transport` is one.
const DECISIVE: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];

impl Uri<'_> {
    /// Whether both mean the same (RFC 3261 §19.1.4; for `tel:` RFC 3966 §4). Not transitive, by
    /// the standard's own rule for parameters that stand in one of them only.
    pub fn same_as(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => self.same_sip(other),
            (Scheme::Tel, Scheme::Tel) => tel::same(self, other),
            (Scheme::Other, Scheme::Other) => false,
            _ => false,
        }
    }

    fn same_sip(&self, other: &Uri<'_>) -> bool {
        same_option(self.user, other.user, same_part)
            && same_option(self.password, other.password, same_part)
            && self.same_host(other)
            && self.port == other.port
            && self.params_agree(other)
            && other.params_agree(self)
            && self.headers_within(other)
            && other.headers_within(self)
    }

    /// Hosts without regard to case; addresses by value.
    pub fn same_host(&self, other: &Uri<'_>) -> bool {
        if self.host.eq_ignore_ascii_case(other.host) {
            return self.v6 == other.v6;
        }
        self.v6 && other.v6 && self.host_ip().is_some() && self.host_ip() == other.host_ip()
    }

    /// Whether each parameter here that stands there too, or is decisive, has the same value there.
    fn params_agree(&self, other: &Uri<'_>) -> bool {
        self.params.iter().all(|mine| {
            let found = other.params.iter().find(|p| same_part_nocase(p.name, mine.name));
            match found {
                Some(theirs) => same_option(mine.value, theirs.value, same_part_nocase),
                None => !DECISIVE.iter().any(|d| same_part_nocase(mine.name, d)),
            }
        })
    }

    /// Whether each header here stands there too, equally often: all headers count.
    fn headers_within(&self, other: &Uri<'_>) -> bool {
        let count = |uri: &Uri<'_>, name: &[u8], value: &[u8]| {
            uri.header_fields().filter(|(n, v)| same_part_nocase(n, name) && same_part(v, value)).count()
        };
        self.header_fields().all(|(n, v)| count(self, n, v) == count(other, n, v))
    }
}

fn same_option(a: Option<&[u8]>, b: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b),
        _ => false,
    }
}

/// An escape equals the byte it stands for, unless that byte is reserved: `%3B` is no semicolon.
fn same_part(a: &[u8], b: &[u8]) -> bool {
    a == b || equal(a, b, |byte| byte)
}

fn same_part_nocase(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b) || equal(a, b, |byte| byte.to_ascii_lowercase())
}

fn equal(a: &[u8], b: &[u8], fold: fn(u8) -> u8) -> bool {
    let normal = move |(byte, escaped): (u8, bool)| {
        (fold(byte), escaped && !token::is(UNRESERVED, byte) && RESERVED.contains(&byte))
    };
    decoded(a).map(normal).eq(decoded(b).map(normal))
}

/// `reserved` of RFC 3261 §25.1, and the percent sign itself.
const RESERVED: &[u8] = b";/?:@&=+$,%";
