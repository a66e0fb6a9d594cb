//! Percent-encoding, once in and once out (C-034).

use crate::sip::message::token::{self, UNRESERVED};
use std::borrow::Cow;

/// A part of a URI, by what may stand in it unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The user part.
    User,
    /// The password.
    Password,
    /// A parameter's name or value.
    Param,
    /// A header's name or value.
    Header,
}

impl Component {
    fn allows(self, byte: u8) -> bool {
        let also: &[u8] = match self {
            Component::User => b"&=+$,;?/",
            Component::Password => b"&=+$,",
            Component::Param => b"[]/:&+$",
            Component::Header => b"[]/?:+$",
        };
        token::is(UNRESERVED, byte) || also.contains(&byte)
    }
}

/// The bytes with every `%hh` replaced by what it stands for; what is no escape stays.
///
/// The result may hold any byte, also CR, LF and NUL: it must be encoded again where it goes (C-212).
pub fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    decode_into(&mut out, bytes);
    Cow::Owned(out)
}

/// As [`decode`], behind what `out` holds.
pub fn decode_into(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(decoded(bytes).map(|(byte, _)| byte));
}

/// The decoded bytes; beside each, whether it was escaped.
pub(super) fn decoded(bytes: &[u8]) -> impl Iterator<Item = (u8, bool)> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = after;
            return Some((high << 4 | low, true));
        }
        rest = after;
        Some((first, false))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// Appends bytes, escaping what may not stand in `component` as it is.
pub fn encode_into(out: &mut Vec<u8>, component: Component, bytes: &[u8]) {
    for &byte in bytes {
        if component.allows(byte) {
            out.push(byte);
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |d: u8| DIGITS.get(usize::from(d)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-034] Decoding happens once; encoding knows its place.
    #[test]
    fn once_each_way() {
        assert_eq!(&*decode(b"%2541%zz%4"), b"%41%zz%4");
        assert_eq!(&*decode(b"null-%00-null"), b"null-\0-null");
        let encode = |c, b: &[u8]| {
            let mut out = Vec::new();
            encode_into(&mut out, c, b);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(encode(Component::User, b"a;b@c d"), "a;b%40c%20d");
        assert_eq!(encode(Component::Param, b"a;b=c"), "a%3Bb%3Dc");
        assert_eq!(encode(Component::Header, b"a&b=c?"), "a%26b%3Dc?");
        assert_eq!(encode(Component::User, b"\r\n\0"), "%0D%0A%00");
    }
}
