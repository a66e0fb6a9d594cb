//! CSeq (RFC 3261 §20.16).

use super::params::skip;
use crate::sip::message::method::Method;
use crate::sip::message::token::{self, TOKEN};
use nom::IResult;

/// A sequence number and the method it counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// Any 32-bit value is accepted (C-020).
    pub number: u32,
    /// The method; [`Method::Other`] when it is none of the known ones.
    pub method: Method,
}

/// Number and method name of a CSeq value.
pub(crate) fn parse(value: &[u8]) -> Option<(u32, &[u8])> {
    let (rest, (number, method)) = cseq(value).ok()?;
    rest.is_empty().then_some((number, method))
}

#[inline]
fn cseq(input: &[u8]) -> IResult<&[u8], (u32, &[u8]), ()> {
    let digits = input.iter().position(|b| !b.is_ascii_digit()).unwrap_or(input.len());
    let (digits, rest) = input.split_at(digits);
    let number = token::number(digits).ok_or(nom::Err::Error(()))?;
    let spaced = skip(rest);
    if spaced.len() == rest.len() {
        return Err(nom::Err::Error(()));
    }
    let (rest, method) = token::run1(TOKEN)(spaced)?;
    Ok((skip(rest), (number, method)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-020] [C-021] All 32-bit numbers, nothing beyond.
    #[test]
    fn numbers() {
        assert_eq!(parse(b"4294967295 INVITE"), Some((u32::MAX, &b"INVITE"[..])));
        assert_eq!(parse(b"0009\r\n  INVITE"), Some((9, &b"INVITE"[..])));
        for bad in [
            &b"36893488147419103232 REGISTER"[..],
            b"4294967296 A",
            b"1",
            b"1 ",
            b"INVITE 1",
            b"1 A B",
            b"-1 A",
            b"",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
