//! Fields that name a dialog: Replaces (RFC 3891 §6.1), Join (RFC 3911), Target-Dialog (RFC 4538).

use super::params::{Params, skip};
use crate::sip::message::error::{ParseError, ParseErrorKind};
use crate::sip::message::token::{self, WORD};
use nom::IResult;

/// A dialog named in a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// The tag of who gets the request: the `to-tag` parameter, `local-tag` in Target-Dialog, which is
    /// written from the recipient's point of view (RFC 4538 §3).
    pub to_tag: &'a [u8],
    /// The other one: the `from-tag` parameter, `remote-tag` in Target-Dialog.
    pub from_tag: &'a [u8],
    /// Whether only an early dialog is meant (RFC 3891 §3).
    pub early_only: bool,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Replaces<'a> {
    /// Reads a Replaces or Join value.
    pub fn parse(value: &'a [u8]) -> Result<Replaces<'a>, ParseError> {
        Replaces::read(value, b"to-tag", b"from-tag").ok_or(ParseErrorKind::Replaces.at(0))
    }

    /// Reads a Target-Dialog value.
    pub fn parse_target(value: &'a [u8]) -> Result<Replaces<'a>, ParseError> {
        Replaces::read(value, b"local-tag", b"remote-tag").ok_or(ParseErrorKind::Replaces.at(0))
    }

    fn read(value: &'a [u8], to: &[u8], from: &[u8]) -> Option<Replaces<'a>> {
        let (rest, call_id) = call_id(skip(value)).ok()?;
        let params = Params::new(token::trim(rest));
        if !params.is_valid() {
            return None;
        }
        Some(Replaces {
            call_id,
            to_tag: params.value(to)?,
            from_tag: params.value(from)?,
            early_only: params.has(b"early-only"),
            params,
        })
    }
}

/// `word [ "@" word ]`.
fn call_id(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    token::run1(WORD)(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tags, whatever they are called.
    #[test]
    fn replaces() {
        let r =
            Replaces::parse(b"425928@bobster.example.org;to-tag=7743 ; from-tag=6472;early-only").unwrap();
        assert_eq!(r.call_id, b"425928@bobster.example.org");
        assert_eq!((r.to_tag, r.from_tag, r.early_only), (&b"7743"[..], &b"6472"[..], true));
        assert!(Replaces::parse(b"a;to-tag=1").is_err());
        assert!(Replaces::parse(b";to-tag=1;from-tag=2").is_err());
        let t =
            Replaces::parse_target(b"fa77as7dad8-sd98ajzz@host.example.com ;local-tag=kkaz-;remote-tag=6544")
                .unwrap();
        assert_eq!((t.to_tag, t.from_tag), (&b"kkaz-"[..], &b"6544"[..]));
    }
}
