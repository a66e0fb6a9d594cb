//! `name-addr / addr-spec` with parameters: From, To, Contact, Route, Refer-To and their kin.

use super::params::{Params, skip};
use crate::sip::message::error::{ParseError, ParseErrorKind};
use crate::sip::message::token::{self, DISPLAY, TOKEN, URI};
use crate::sip::message::uri::Uri;
use crate::sip::message::values::quoted_len;
use nom::character::complete::char;
use nom::{IResult, Parser};

/// An address with its display name and its header parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, quotes included; empty when there is none.
    pub display: &'a [u8],
    /// The URI, without angle brackets.
    pub uri: &'a [u8],
    /// The header parameters (C-025: also those behind a URI without brackets).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value; nothing may follow it.
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, ParseError> {
        let (rest, (display, uri)) = address(skip(value)).map_err(|_| ParseErrorKind::Uri.at(0))?;
        let params = Params::new(token::trim(rest));
        if !params.is_valid() {
            return Err(ParseErrorKind::Uri.at(value.len() - rest.len()));
        }
        Ok(NameAddr { display, uri, params })
    }

    /// As [`NameAddr::parse`], and the `tag` parameter found on the way.
    pub(crate) fn parse_tagged(value: &'a [u8]) -> Option<(NameAddr<'a>, Option<&'a [u8]>)> {
        let (rest, (display, uri)) = address(skip(value)).ok()?;
        // The usual form first: a tag and nothing else.
        if let Some((b";tag=", tag)) = rest.split_at_checked(5)
            && !tag.is_empty()
            && token::all(TOKEN, tag)
        {
            return Some((NameAddr { display, uri, params: Params::new(rest) }, Some(tag)));
        }
        let params = Params::new(token::trim(rest));
        let mut tag = None;
        let mut iter = params.iter();
        for param in iter.by_ref() {
            if tag.is_none() && param.name.eq_ignore_ascii_case(b"tag") {
                tag = param.value.filter(|v| !v.is_empty());
                // A tag without a value is no tag, and no sense.
                tag?;
            }
        }
        iter.rest().is_empty().then_some((NameAddr { display, uri, params }, tag))
    }

    /// Whether a display name is one whole quoted string.
    pub(crate) fn is_quoted(display: &[u8]) -> bool {
        display.first() == Some(&b'"') && quoted_len(display) == Some(display.len())
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag")
    }

    /// The URI, taken apart.
    pub fn uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri)
    }
}

fn address(input: &[u8]) -> IResult<&[u8], (&[u8], &[u8]), ()> {
    match input.first() {
        Some(b'<') => {
            let (rest, uri) = bracketed(input)?;
            Ok((rest, (&[], uri)))
        }
        Some(b'"') => {
            let (display, rest) = input.split_at(quoted_len(input).ok_or(nom::Err::Error(()))?);
            let (rest, uri) = bracketed(skip(rest))?;
            Ok((rest, (display, uri)))
        }
        _ => {
            let (rest, display) = token::run(DISPLAY)(input)?;
            if rest.first() == Some(&b'<') {
                let (rest, uri) = bracketed(rest)?;
                return Ok((rest, (token::trim(display), uri)));
            }
            addr_spec(input)
        }
    }
}

/// `<uri>`, without white space inside the brackets (RFC 4475 §3.1.2.14). The rest of what stands
/// between them is looked at when the URI is.
#[inline]
fn bracketed(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    let (rest, _) = char('<').parse(input)?;
    let end = memchr::memchr(b'>', rest).ok_or(nom::Err::Error(()))?;
    let (uri, rest) = rest.split_at(end);
    if uri.is_empty() || token::first_below(b'!', uri).is_some() {
        return Err(nom::Err::Error(()));
    }
    Ok((rest.get(1..).unwrap_or_default(), uri))
}

/// A URI without brackets. It can hold no semicolon, comma or question mark (RFC 3261 §20): the
/// semicolon begins header parameters (C-025), the others are faults.
fn addr_spec(input: &[u8]) -> IResult<&[u8], (&[u8], &[u8]), ()> {
    let (_, uri) = token::run1(URI)(input)?;
    let end = memchr::memchr3(b';', b',', b'?', uri).unwrap_or(uri.len());
    let (uri, rest) = input.split_at(end);
    match skip(rest).first() {
        None | Some(b';') if memchr::memchr(b':', uri).is_some() => Ok((rest, (&[], uri))),
        _ => Err(nom::Err::Error(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> NameAddr<'_> {
        NameAddr::parse(value.as_bytes()).unwrap_or_else(|e| panic!("{value}: {e}"))
    }

    /// [C-018] Display names of every kind, kept as written.
    #[test]
    fn display_names() {
        assert_eq!(parse("\"A, \\\"B\\\" <x>;\" <sip:a@b>;tag=1").display, b"\"A, \\\"B\\\" <x>;\"");
        assert_eq!(parse("caller<sip:a@b>").display, b"caller");
        assert_eq!(parse("T. A. Watson <sip:a@b>").display, b"T. A. Watson");
        assert_eq!(parse("<sip:a@b>").display, b"");
        assert_eq!(parse("Анна <sip:a@b>").uri, b"sip:a@b");
        assert_eq!(parse("\"\"<sip:a@b>").display, b"\"\"");
    }

    /// [C-025] What follows a URI without brackets belongs to the header field.
    #[test]
    fn addr_specs() {
        let to = parse("sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n");
        assert_eq!(to.uri, b"sip:vivekg@chair-dnrc.example.com");
        assert_eq!(to.tag(), Some(&b"1918181833n"[..]));
        assert!(NameAddr::parse(b"sip:a@b?Route=%3Csip:c%3E").is_err());
        assert!(NameAddr::parse(b"sip:a@b,c").is_err());
        let bracketed = parse("<sip:a@b;tag=uri>;x=y");
        assert_eq!(bracketed.tag(), None);
    }

    #[test]
    fn faults() {
        for bad in [
            "",
            "<>",
            "<sip:a@b",
            "\"open <sip:a@b>",
            "Bell, Alexander <sip:a@b>",
            "sip:a@b>",
            "<sip:a@b>>",
            "< sip:a@b >",
            "<sip:a b@c>",
            "<sip:a@b\r\n >",
            "<sip:a@b> x",
            "\"x\" sip:a@b",
            "\"x\"",
            "nocolon",
            "<sip:a@b>;tag=\"x",
        ] {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(NameAddr::parse_tagged(b"<sip:a@b>;tag=").is_none());
    }
}
