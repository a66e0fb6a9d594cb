//! Event and Subscription-State (RFC 6665 §8.2), and other fields of one token with parameters.

use super::params::{Params, skip};
use crate::sip::message::error::{ParseError, ParseErrorKind};
use crate::sip::message::token::{self, TOKEN};
use nom::IResult;

/// An event package and the subscription's id within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The package with its templates, as written; compared without regard to case.
    pub package: &'a [u8],
    /// The `id` parameter; for REFER the CSeq number of the REFER (RFC 3515 §2.4.6).
    pub id: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// Reads an Event value.
    pub fn parse(value: &'a [u8]) -> Result<Event<'a>, ParseError> {
        let (package, params) = token_params(value).ok_or(ParseErrorKind::Event.at(0))?;
        Ok(Event { package, id: params.value(b"id"), params })
    }

    /// Whether it is this package.
    pub fn is(&self, package: &str) -> bool {
        self.package.eq_ignore_ascii_case(package.as_bytes())
    }
}

/// How a subscription stands, as NOTIFY says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or an extension, as written.
    pub state: &'a [u8],
    /// The `reason` parameter.
    pub reason: Option<&'a [u8]>,
    /// The `expires` parameter in seconds; what is no number counts as absent (C-021).
    pub expires: Option<u32>,
    /// The `retry-after` parameter in seconds.
    pub retry_after: Option<u32>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> SubscriptionState<'a> {
    /// Reads a Subscription-State value.
    pub fn parse(value: &'a [u8]) -> Result<SubscriptionState<'a>, ParseError> {
        let (state, params) = token_params(value).ok_or(ParseErrorKind::SubscriptionState.at(0))?;
        Ok(SubscriptionState {
            state,
            reason: params.value(b"reason"),
            expires: params.value(b"expires").and_then(token::number),
            retry_after: params.value(b"retry-after").and_then(token::number),
            params,
        })
    }

    /// Whether the subscription is over.
    pub fn is_terminated(&self) -> bool {
        self.state.eq_ignore_ascii_case(b"terminated")
    }
}

/// A media type, such as `message/sipfrag;version=2.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// The type.
    pub kind: &'a [u8],
    /// The subtype.
    pub subtype: &'a [u8],
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads a Content-Type value.
    pub fn parse(value: &'a [u8]) -> Result<MediaType<'a>, ParseError> {
        media_type(skip(value)).ok_or(ParseErrorKind::Field.at(0))
    }

    /// Whether it is this type and subtype, parameters aside.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }
}

fn media_type(value: &[u8]) -> Option<MediaType<'_>> {
    let (rest, kind) = token1(value).ok()?;
    let (b'/', rest) = skip(rest).split_first()? else { return None };
    let (rest, subtype) = token1(skip(rest)).ok()?;
    let params = Params::new(token::trim(rest));
    params.is_valid().then_some(MediaType { kind, subtype, params })
}

/// `token *(;param)`, all of `value`.
pub(crate) fn token_params(value: &[u8]) -> Option<(&[u8], Params<'_>)> {
    let (rest, name) = token1(skip(value)).ok()?;
    let params = Params::new(token::trim(rest));
    params.is_valid().then_some((name, params))
}

fn token1(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    token::run1(TOKEN)(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let e = Event::parse(b"refer;id=93809824").unwrap();
        assert!(e.is("REFER"));
        assert_eq!(e.id, Some(&b"93809824"[..]));
        assert_eq!(Event::parse(b"dialog.winfo").unwrap().package, b"dialog.winfo");
        assert!(Event::parse(b"").is_err());
        assert!(Event::parse(b"refer id=1").is_err());
    }

    #[test]
    fn states() {
        let s = SubscriptionState::parse(b"terminated ; reason=noresource;retry-after=7").unwrap();
        assert!(s.is_terminated());
        assert_eq!((s.reason, s.retry_after), (Some(&b"noresource"[..]), Some(7)));
        let s = SubscriptionState::parse(b"active;expires=99999999999").unwrap();
        assert_eq!((s.is_terminated(), s.expires), (false, None));
    }

    #[test]
    fn media_types() {
        assert!(MediaType::parse(b"message/sipfrag;version=2.0").unwrap().is("Message", "SIPFRAG"));
        assert_eq!(
            MediaType::parse(b"multipart/mixed ; boundary=\"a b\"").unwrap().params.value(b"boundary"),
            Some(&b"\"a b\""[..])
        );
        assert!(MediaType::parse(b"application").is_err());
    }
}
