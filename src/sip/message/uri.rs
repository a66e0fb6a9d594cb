//! `sip:`, `sips:` and `tel:` URIs (RFC 3261 §19.1, RFC 3966), taken apart in place.

mod build;
mod compare;
mod escape;
mod tel;

pub use build::{Brought, Place, put_uri, put_uri_header};
pub use escape::{Component, decode, decode_into, encode_into};
pub use tel::{put_subscriber, same_number, tel_to_sip};

use super::error::{ParseError, ParseErrorKind};
use super::header::{Params, ip};
use super::token::{self, DIGIT, HOST, PARAM, PASSWORD, SCHEME, USER};
use nom::character::complete::char;
use nom::{IResult, Parser};
use std::net::IpAddr;

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other; the proxy cannot route by it (C-040).
    Other,
}

/// A URI, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The user part of a SIP URI, escapes kept; the number of a `tel:` URI.
    pub user: Option<&'a [u8]>,
    /// The password of a SIP URI.
    pub password: Option<&'a [u8]>,
    /// The host of a SIP URI; an IPv6 address without its brackets ([`Uri::host_is_v6`] tells).
    pub host: &'a [u8],
    /// The port, when written (C-033).
    pub port: Option<u16>,
    /// The URI parameters.
    pub params: Params<'a>,
    /// The URI headers, behind `?`.
    pub headers: &'a [u8],
    /// The whole URI as written.
    pub raw: &'a [u8],
    v6: bool,
}

impl<'a> Uri<'a> {
    /// Reads a whole URI.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        match split_scheme(raw) {
            Ok((rest, scheme)) => Uri::after_scheme(raw, rest, scheme),
            Err(_) => Err(ParseErrorKind::Uri.at(0)),
        }
    }

    fn after_scheme(raw: &'a [u8], rest: &'a [u8], scheme: Scheme) -> Result<Uri<'a>, ParseError> {
        let uri = match scheme {
            Scheme::Sip | Scheme::Sips => sip_uri(raw, rest, scheme),
            Scheme::Tel => tel::parse(raw, rest),
            Scheme::Other if !rest.is_empty() && token::all(token::URI, rest) => Some(Uri::bare(raw, scheme)),
            Scheme::Other => None,
        };
        uri.ok_or(ParseErrorKind::Uri.at(raw.len() - rest.len()))
    }

    fn bare(raw: &'a [u8], scheme: Scheme) -> Uri<'a> {
        Uri {
            scheme,
            user: None,
            password: None,
            host: &[],
            port: None,
            params: Params::default(),
            headers: &[],
            raw,
            v6: false,
        }
    }

    /// Whether the host is an IPv6 address, written in brackets.
    pub fn host_is_v6(&self) -> bool {
        self.v6
    }

    /// The host as an address; `None` for a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// Whether the scheme is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.params.value(b"transport")
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value(b"maddr")
    }

    /// Whether the URI names a loose router (RFC 3261 §19.1.1).
    pub fn is_loose(&self) -> bool {
        self.params.has(b"lr")
    }

    /// The URI headers as name and value, escapes kept.
    pub fn header_fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.headers.split(|&b| b == b'&').filter(|h| !h.is_empty()).map(|h| match memchr::memchr(b'=', h) {
            Some(eq) => (h.get(..eq).unwrap_or(h), h.get(eq + 1..).unwrap_or_default()),
            None => (h, &[][..]),
        })
    }
}

/// The scheme and its colon.
#[inline]
fn split_scheme(raw: &[u8]) -> IResult<&[u8], Scheme, ()> {
    if let Some((b"sip:", rest)) = raw.split_at_checked(4) {
        return Ok((rest, Scheme::Sip));
    }
    let (rest, name) = token::run1(SCHEME)(raw)?;
    let (rest, _) = char(':').parse(rest)?;
    let scheme = if name.eq_ignore_ascii_case(b"sip") {
        Scheme::Sip
    } else if name.eq_ignore_ascii_case(b"sips") {
        Scheme::Sips
    } else if name.eq_ignore_ascii_case(b"tel") {
        Scheme::Tel
    } else if name.first().is_some_and(u8::is_ascii_alphabetic) {
        Scheme::Other
    } else {
        return Err(nom::Err::Error(()));
    };
    Ok((rest, scheme))
}

fn sip_uri<'a>(raw: &'a [u8], rest: &'a [u8], scheme: Scheme) -> Option<Uri<'a>> {
    let mut uri = Uri::bare(raw, scheme);
    let rest = match userinfo(rest)? {
        None => rest,
        Some((user, password, rest)) => {
            uri.user = Some(user);
            uri.password = password;
            rest
        }
    };
    let rest = match rest.first() {
        Some(b'[') => {
            let close = memchr::memchr(b']', rest)?;
            let (host, rest) = rest.split_at(close + 1);
            ip(host)?;
            uri.v6 = true;
            uri.host = host.get(1..close)?;
            rest
        }
        _ => {
            let (host, rest) = rest.split_at(token::span(HOST, rest));
            if host.is_empty() {
                return None;
            }
            uri.host = host;
            rest
        }
    };
    let rest = match rest.split_first() {
        Some((b':', rest)) => {
            let (digits, rest) = rest.split_at(token::span(DIGIT, rest));
            uri.port = Some(token::number(digits).and_then(|n| u16::try_from(n).ok())?);
            rest
        }
        _ => rest,
    };
    tail(&mut uri, rest).then_some(uri)
}

/// User, password, and what follows their `@`: `Some(None)` when there is no userinfo.
type Userinfo<'a> = Option<(&'a [u8], Option<&'a [u8]>, &'a [u8])>;

/// Nothing but userinfo can hold an `@` (RFC 3261 §25.1), and it may hold `;` and `?`.
#[inline]
fn userinfo(rest: &[u8]) -> Option<Userinfo<'_>> {
    let (user, after) = rest.split_at(token::span(USER, rest));
    let (password, after) = match after {
        [] => return Some(None),
        [b'@', after @ ..] => (None, after),
        _ => {
            let Some(at) = memchr::memchr(b'@', after) else { return Some(None) };
            let (password, after) = after.split_at(at);
            let Some((b':', password)) = password.split_first() else { return None };
            if !token::all(PASSWORD, password) || !escapes_ok(password) {
                return None;
            }
            (Some(password), after.get(1..).unwrap_or_default())
        }
    };
    if user.is_empty() || user.contains(&b'%') && !escapes_ok(user) {
        return None;
    }
    Some(Some((user, password, after)))
}

/// `;params?headers`, or nothing. A `%` that begins no escape stands for itself here: whoever
/// decodes finds it so.
fn tail<'a>(uri: &mut Uri<'a>, rest: &'a [u8]) -> bool {
    if rest.is_empty() {
        return true;
    }
    let (params, headers) = rest.split_at(token::span(PARAM, rest));
    if !matches!(params.first(), None | Some(b';')) {
        return false;
    }
    uri.params = Params::new(params);
    match headers.split_first() {
        None => true,
        Some((b'?', headers)) => {
            uri.headers = headers;
            // Read closely by whoever uses them; here they must not break out of their place.
            token::first_below(b'!', headers).is_none()
                && memchr::memchr3(b'<', b'>', b'"', headers).is_none()
        }
        Some(_) => false,
    }
}

/// Whether each `%` is followed by two hexadecimal digits (C-034).
fn escapes_ok(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..at + 3) {
            Some(pair) if token::all(token::HEX, pair) => {}
            _ => return false,
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests;
