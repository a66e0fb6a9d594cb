//! Request line and status line (RFC 3261 §7.1, §7.2).
//!
//! A line that is clearly meant as one of the two is kept even when it is faulty, so that a request
//! can still be answered: the fault is remembered beside it.

use super::error::ParseErrorKind;
use super::method::Method;
use super::token::{self, TOKEN};
use nom::bytes::complete::{tag_no_case, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::{IResult, Parser};

/// The start line, by offsets from its first byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request { method: Method, method_len: u32, uri: (u32, u32) },
    Response { status: u16, reason: (u32, u32) },
}

/// Reads a start line (without its line end); beside it the first fault found in it.
pub(super) fn parse(line: &[u8]) -> Result<(StartLine, Option<ParseErrorKind>), ParseErrorKind> {
    if line.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/")) {
        return Ok(response(line));
    }
    request(line).ok_or(ParseErrorKind::StartLine)
}

fn request(line: &[u8]) -> Option<(StartLine, Option<ParseErrorKind>)> {
    let (rest, method) = method_and_space(line).ok()?;
    let uri_at = method.len() + 1;
    // Single spaces only, none at the end (RFC 4475 §3.1.2.7-9).
    let uri_len = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let (_, version) = rest.split_at(uri_len);
    let (uri_len, fault) = match version {
        b" SIP/2.0" if uri_len > 0 => (uri_len, None),
        _ => unusual(rest, uri_len),
    };
    let start = StartLine::Request {
        method: Method::from_bytes(method),
        method_len: method.len() as u32,
        uri: (uri_at as u32, (uri_at + uri_len) as u32),
    };
    Some((start, fault))
}

/// The URI's length and the fault in a request line that does not look as it should: the last
/// space parts URI and version.
#[cold]
fn unusual(rest: &[u8], uri_len: usize) -> (usize, Option<ParseErrorKind>) {
    let Some(space) = memchr::memrchr(b' ', rest) else {
        return (rest.len(), Some(ParseErrorKind::RequestLine));
    };
    let version = rest.get(space + 1..).unwrap_or_default();
    let fault = match version.get(..4) {
        Some(sip) if sip.eq_ignore_ascii_case(b"SIP/") => {
            if !version.eq_ignore_ascii_case(b"SIP/2.0") {
                Some(ParseErrorKind::Version)
            } else if space == 0 || space != uri_len {
                Some(ParseErrorKind::RequestLine)
            } else {
                None
            }
        }
        _ => Some(ParseErrorKind::RequestLine),
    };
    (space, fault)
}

fn method_and_space(line: &[u8]) -> IResult<&[u8], &[u8], ()> {
    let (rest, method) = token::run1(TOKEN)(line)?;
    let (rest, _) = char(' ').parse(rest)?;
    Ok((rest, method))
}

fn response(line: &[u8]) -> (StartLine, Option<ParseErrorKind>) {
    match status_line(line) {
        Ok((reason, (version, status))) => {
            let from = (line.len() - reason.len()) as u32;
            let fault = (!version.eq_ignore_ascii_case(b"SIP/2.0")).then_some(ParseErrorKind::Version);
            // C-216: a class that does not exist means nothing.
            let fault = fault.or((!(100..700).contains(&status)).then_some(ParseErrorKind::StatusLine));
            (StartLine::Response { status, reason: (from, line.len() as u32) }, fault)
        }
        Err(_) => (StartLine::Response { status: 0, reason: (0, 0) }, Some(ParseErrorKind::StatusLine)),
    }
}

/// `SIP/2.0 200 OK`: version and status; the reason phrase, possibly empty, is what remains.
pub(super) fn status_line(line: &[u8]) -> IResult<&[u8], (&[u8], u16), ()> {
    let (rest, _) = tag_no_case(&b"SIP/"[..]).parse(line)?;
    let (rest, version) = take_while1(|b: u8| b.is_ascii_digit() || b == b'.').parse(rest)?;
    let (rest, _) = char(' ').parse(rest)?;
    let (rest, digits) = take_while_m_n(3, 3, |b: u8| b.is_ascii_digit()).parse(rest)?;
    let (rest, space) = opt(char(' ')).parse(rest)?;
    if space.is_none() && !rest.is_empty() {
        return Err(nom::Err::Error(()));
    }
    let version = line.get(..4 + version.len()).unwrap_or(version);
    let status = token::number(digits).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    Ok((rest, (version, status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(line: &[u8]) -> (Method, Vec<u8>, Option<ParseErrorKind>) {
        match parse(line) {
            Ok((StartLine::Request { method, uri, .. }, fault)) => {
                (method, line[uri.0 as usize..uri.1 as usize].to_vec(), fault)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn request_lines() {
        assert_eq!(request_of(b"INVITE sip:a@b SIP/2.0"), (Method::Invite, b"sip:a@b".to_vec(), None));
        assert_eq!(request_of(b"OPTIONS sip:a sip/2.0").2, None);
        assert_eq!(request_of(b"FOO sip:a SIP/2.0").0, Method::Other);
        let bad = Some(ParseErrorKind::RequestLine);
        assert_eq!(request_of(b"INVITE  sip:a@b SIP/2.0").2, bad);
        assert_eq!(request_of(b"INVITE sip:a@b  SIP/2.0").2, bad);
        assert_eq!(request_of(b"INVITE sip:a@b SIP/2.0 ").2, bad);
        assert_eq!(request_of(b"INVITE sip:a@b; x SIP/2.0").2, bad);
        assert_eq!(request_of(b"INVITE sip:a@b").2, bad);
        assert_eq!(request_of(b"INVITE sip:a HTTP/1.1").2, bad);
    }

    /// [C-015] Another version is recognised as such.
    #[test]
    fn versions() {
        assert_eq!(request_of(b"OPTIONS sip:a SIP/7.0").2, Some(ParseErrorKind::Version));
        assert!(matches!(
            parse(b"SIP/3.0 200 OK"),
            Ok((StartLine::Response { .. }, Some(ParseErrorKind::Version)))
        ));
    }

    /// [C-019] [C-216] Any reason phrase, also none; no status outside the six classes.
    #[test]
    fn status_lines() {
        let status = |line: &[u8]| match parse(line) {
            Ok((StartLine::Response { status, reason }, fault)) => {
                (status, line[reason.0 as usize..reason.1 as usize].to_vec(), fault)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(status(b"SIP/2.0 200 OK"), (200, b"OK".to_vec(), None));
        assert_eq!(status(b"SIP/2.0 100 "), (100, vec![], None));
        assert_eq!(status(b"SIP/2.0 100"), (100, vec![], None));
        assert_eq!(status("SIP/2.0 200 = 2**3 * 5**2 но".as_bytes()).2, None);
        for bad in
            [&b"SIP/2.0 4294967301 x"[..], b"SIP/2.0 20 x", b"SIP/2.0 700 x", b"SIP/2.0 099 x", b"SIP/2.0"]
        {
            assert_eq!(status(bad).2, Some(ParseErrorKind::StatusLine), "{bad:?}");
        }
    }

    #[test]
    fn neither() {
        for line in [&b""[..], b"   ", b"\0\0\0", b"INVITE", b"<INVITE> sip:a SIP/2.0"] {
            assert!(matches!(parse(line), Err(ParseErrorKind::StartLine)), "{line:?}");
        }
    }
}
