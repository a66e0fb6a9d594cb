//! `tel:` URIs (RFC 3966) and their place in SIP URIs (RFC 3261 §19.1.6).

use super::escape::{Component, encode_into};
use super::{Scheme, Uri, escapes_ok};
use crate::sip::message::header::Params;
use crate::sip::message::token::{self, PARAM};

/// Reads what follows `tel:`: the number becomes the user, the rest parameters (C-038).
pub(super) fn parse<'a>(raw: &'a [u8], rest: &'a [u8]) -> Option<Uri<'a>> {
    let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
    let (number, params) = rest.split_at(end);
    let (global, digits) = match number.split_first() {
        Some((b'+', digits)) => (true, digits),
        _ => (false, number),
    };
    let digit =
        |b: &u8| if global { b.is_ascii_digit() } else { b.is_ascii_hexdigit() || matches!(b, b'*' | b'#') };
    if !digits.iter().all(|b| digit(b) || is_separator(*b)) || !digits.iter().any(digit) {
        return None;
    }
    let list = Params::new(params);
    if !token::all(PARAM, params) || !escapes_ok(params) || !list.is_valid() {
        return None;
    }
    let mut uri = Uri::bare(raw, Scheme::Tel);
    uri.user = Some(number);
    uri.params = list;
    Some(uri)
}

/// Visual separators mean nothing (RFC 3966 §3).
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

/// Whether two numbers are the same when visual separators and case are left out.
pub fn same_number(a: &[u8], b: &[u8]) -> bool {
    let significant = |n: &'_ [u8]| -> smallvec::SmallVec<[u8; 32]> {
        n.iter().filter(|b| !is_separator(**b)).map(u8::to_ascii_lowercase).collect()
    };
    significant(a) == significant(b)
}

/// RFC 3966 §4: both global or both local, the numbers equal, and the same parameters in any order.
pub(super) fn same(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let number = |u: &Uri<'_>| u.user.map(<[u8]>::to_vec).unwrap_or_default();
    same_number(&number(a), &number(b)) && params_within(a, b) && params_within(b, a)
}

fn params_within(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    a.params.iter().all(|mine| match (mine.value, b.params.get(mine.name)) {
        (None, Some(None)) => true,
        (Some(x), Some(Some(y))) => {
            // `ext` and a phone-context that is a number are compared as numbers are.
            let numeric = mine.name.eq_ignore_ascii_case(b"ext") || x.first() == Some(&b'+');
            x.eq_ignore_ascii_case(y) || numeric && same_number(x, y)
        }
        _ => false,
    })
}

/// Appends the SIP URI of a telephone number at a host: the whole subscriber part, separators taken
/// out and parameters kept, as user, with `user=phone` (RFC 3261 §19.1.6; C-039).
pub fn tel_to_sip(out: &mut Vec<u8>, tel: &Uri<'_>, host: &[u8]) {
    out.extend_from_slice(b"sip:");
    let number: smallvec::SmallVec<[u8; 32]> =
        tel.user.unwrap_or_default().iter().copied().filter(|b| !is_separator(*b)).collect();
    encode_into(out, Component::User, &number);
    // In the order the standard asks for, so that equal numbers become equal user parts: `isub` and
    // `ext` first, then the others by name.
    let mut params: smallvec::SmallVec<[_; 8]> = tel.params.iter().collect();
    params.sort_by_key(|p| {
        let name = p.name.to_ascii_lowercase();
        (!matches!(&*name, b"isub" | b"ext"), name)
    });
    for param in params {
        out.push(b';');
        out.extend(param.name.iter().map(u8::to_ascii_lowercase));
        if let Some(value) = param.value {
            out.push(b'=');
            put_subscriber(out, value);
        }
    }
    out.push(b'@');
    out.extend_from_slice(host);
    out.extend_from_slice(b";user=phone");
}

/// Appends what a `tel:` URI holds, or a part of it, to a user part: as it stood, escapes included, but for
/// what a user part cannot hold (RFC 3261 §19.1.6; C-039).
pub fn put_subscriber(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'%' => out.push(byte),
            _ => encode_into(out, Component::User, &[byte]),
        }
    }
}
