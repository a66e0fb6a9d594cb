//! `;name=value` lists, of header fields and of URIs: read when asked, never stored.

use crate::sip::message::token::{self, LWS, PARAM_NAME, VALUE};
use crate::sip::message::values::quoted_len;
use nom::IResult;

/// A list of parameters, from its first semicolon on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

/// One parameter. Quoted values keep their quotes; [`unquote`] takes them off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name, as written.
    pub name: &'a [u8],
    /// The value, if there is a `=`.
    pub value: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    /// A list that begins with a semicolon, or is empty.
    pub fn new(bytes: &'a [u8]) -> Params<'a> {
        Params(bytes)
    }

    /// The bytes of the list, its first semicolon included.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The parameters in order; ends early at one that cannot be read.
    pub fn iter(self) -> ParamIter<'a> {
        ParamIter { rest: self.0, gap: false }
    }

    /// The first parameter of that name, in any case: `Some(None)` when it has no value.
    pub fn get(self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| p.value)
    }

    /// The value of the first parameter of that name, if it has one.
    pub fn value(self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name).flatten()
    }

    /// Whether there is a parameter of that name.
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Whether the whole list can be read.
    pub fn is_valid(self) -> bool {
        let mut iter = self.iter();
        while iter.next().is_some() {}
        iter.rest().is_empty()
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = Param<'a>;
    type IntoIter = ParamIter<'a>;

    fn into_iter(self) -> ParamIter<'a> {
        self.iter()
    }
}

/// The parameters of a list.
#[derive(Clone, Debug)]
pub struct ParamIter<'a> {
    rest: &'a [u8],
    /// Whether a semicolon without a parameter was passed over.
    gap: bool,
}

impl<'a> ParamIter<'a> {
    /// What has not been read; empty when the list was read to its end.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether a semicolon without a parameter was passed over.
    pub(super) fn has_gap(&self) -> bool {
        self.gap
    }
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = Param<'a>;

    #[inline]
    fn next(&mut self) -> Option<Param<'a>> {
        loop {
            let rest = skip(self.rest);
            let Some((b';', after)) = rest.split_first() else {
                self.rest = rest;
                return None;
            };
            let (rest, param) = param(after).ok()?;
            if !param.name.is_empty() {
                self.rest = rest;
                return Some(param);
            }
            if param.value.is_some() {
                return None;
            }
            // `;;` is no parameter, and mostly no harm.
            self.gap = true;
            self.rest = rest;
        }
    }
}

/// Without the white space in front.
#[inline]
pub(super) fn skip(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(&b) if token::is(LWS, b) => bytes.get(token::span(LWS, bytes)..).unwrap_or_default(),
        _ => bytes,
    }
}

/// One parameter behind its semicolon, with the white space around it.
#[inline]
fn param(bytes: &[u8]) -> IResult<&[u8], Param<'_>, ()> {
    let (rest, name) = token::run(PARAM_NAME)(skip(bytes))?;
    let rest = skip(rest);
    let Some((b'=', after)) = rest.split_first() else {
        return Ok((rest, Param { name, value: None }));
    };
    let (rest, value) = value(skip(after))?;
    Ok((skip(rest), Param { name, value: Some(value) }))
}

/// A quoted string with its quotes, or everything up to what ends a value.
#[inline]
fn value(bytes: &[u8]) -> IResult<&[u8], &[u8], ()> {
    if bytes.first() == Some(&b'"') {
        let (value, rest) = bytes.split_at(quoted_len(bytes).ok_or(nom::Err::Error(()))?);
        return Ok((rest, value));
    }
    token::run(VALUE)(bytes)
}

/// A quoted string's content, escapes kept; anything else as it is.
pub fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_grammar_allows() {
        let params = Params::new(b";a ; B = c;\r\n d=\"x;\\\",y\" ;;e=[::1]; f=");
        let got: Vec<_> = params.iter().map(|p| (p.name, p.value)).collect();
        assert_eq!(
            got,
            [
                (&b"a"[..], None),
                (b"B", Some(&b"c"[..])),
                (b"d", Some(b"\"x;\\\",y\"")),
                (b"e", Some(b"[::1]")),
                (b"f", Some(b"")),
            ]
        );
        assert!(params.is_valid());
        assert_eq!(params.value(b"b"), Some(&b"c"[..]));
        assert_eq!(params.get(b"A"), Some(None));
        assert_eq!(params.get(b"z"), None);
        assert_eq!(unquote(params.value(b"d").unwrap()), b"x;\\\",y");
    }

    #[test]
    fn stops_at_what_it_cannot_read() {
        for bad in [&b";a=\"open"[..], b";a,b", b"x", b";=b", b";a b", b";a=b c", b";\"", b";a=\"\\\""] {
            assert!(!Params::new(bad).is_valid(), "{bad:?}");
        }
        assert!(Params::new(b"").is_valid());
        assert!(Params::new(b" ; ").is_valid());
    }
}
