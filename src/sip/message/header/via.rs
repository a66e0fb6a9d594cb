//! Via (RFC 3261 §20.42, RFC 3581 §3).

use super::params::{Params, skip};
use crate::sip::message::error::{ParseError, ParseErrorKind};
use crate::sip::message::token::{self, DIGIT, HOST, TOKEN, VALUE};
use nom::bytes::complete::tag_no_case;
use nom::character::complete::char;
use nom::{IResult, Parser};
use std::net::{IpAddr, Ipv6Addr};

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport token, as written.
    pub transport: &'a [u8],
    /// The sent-by host as written: a name or an address, IPv6 in brackets.
    pub host: &'a [u8],
    /// The sent-by port, when written.
    pub port: Option<u16>,
    /// The `branch` parameter.
    pub branch: Option<&'a [u8]>,
    /// The `received` parameter.
    pub received: Option<&'a [u8]>,
    /// The `rport` parameter: `Some(None)` when it asks to be filled (RFC 3581 §3).
    pub rport: Option<Option<u16>>,
    /// The `maddr` parameter.
    pub maddr: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
    /// The value's bytes, trimmed.
    pub raw: &'a [u8],
}

/// What a branch of RFC 3261 begins with (RFC 3261 §8.1.1.7).
pub const COOKIE: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Reads the first value of a Via line.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, ParseError> {
        Via::parse_next(value).map(|(_, via)| via)
    }

    /// Reads the first value; what follows its comma comes with it.
    pub(crate) fn parse_next(value: &'a [u8]) -> Result<(&'a [u8], Via<'a>), ParseError> {
        let value = skip(value);
        let (rest, via) = via_parm(value).map_err(|_| ParseErrorKind::Via.at(0))?;
        match rest.split_first() {
            None => Ok((rest, via)),
            Some((b',', next)) => Ok((next, via)),
            Some(_) => Err(ParseErrorKind::Via.at(value.len() - rest.len())),
        }
    }

    /// Whether the branch has the cookie, and something behind it (RFC 3261 §17.2.3).
    pub fn has_cookie(&self) -> bool {
        self.branch.is_some_and(|b| b.len() > COOKIE.len() && b.starts_with(COOKIE))
    }

    /// The sent-by host as an address; `None` for a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// The `received` parameter as an address, with or without brackets (RFC 5118 §4.5).
    pub fn received_ip(&self) -> Option<IpAddr> {
        self.received.and_then(ip)
    }
}

/// An address, IPv6 with or without brackets.
pub(crate) fn ip(host: &[u8]) -> Option<IpAddr> {
    match host {
        [b'[', inner @ .., b']'] => v6(inner).map(IpAddr::V6),
        // A name cannot end in a digit label; this keeps the usual name from being tried at all.
        [.., last] if last.is_ascii_hexdigit() || *last == b':' => {
            let text = std::str::from_utf8(host).ok()?;
            text.parse().ok().or_else(|| v6(host).map(IpAddr::V6))
        }
        _ => None,
    }
}

/// An IPv6 address. Three colons before an embedded IPv4 address are read as two: the grammar of
/// RFC 3261 makes them so, and RFC 5118 §4.10 wants them tolerated.
fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    if let Ok(address) = std::str::from_utf8(text).ok()?.parse() {
        return Some(address);
    }
    let at = text.windows(3).position(|w| w == b":::")?;
    let (front, back) = text.split_at(at);
    let back = back.get(1..)?;
    if !back.contains(&b'.') {
        return None;
    }
    let joined: smallvec::SmallVec<[u8; 64]> = front.iter().chain(back).copied().collect();
    std::str::from_utf8(&joined).ok()?.parse().ok()
}

fn via_parm(input: &[u8]) -> IResult<&[u8], Via<'_>, ()> {
    let (rest, transport) = sent_protocol(input)?;
    let spaced = skip(rest);
    if spaced.len() == rest.len() {
        return Err(nom::Err::Error(()));
    }
    let (rest, host) = host(spaced)?;
    let (rest, port) = port(skip(rest))?;
    let list = skip(rest);
    let mut via = Via {
        transport,
        host,
        port,
        branch: None,
        received: None,
        rport: None,
        maddr: None,
        params: Params::default(),
        raw: input,
    };
    let mut rest = list;
    // The usual parameters of a request, without the ceremony.
    if let Some((b";branch=", after)) = list.split_at_checked(8)
        && let (after, branch @ [_, ..]) = token::run(VALUE)(after)?
    {
        via.branch = Some(branch);
        rest = after;
    }
    if rest == b";rport" {
        via.rport = Some(None);
        rest = &[];
    }
    let mut params = Params::new(rest).iter();
    for param in params.by_ref() {
        match (param.name.len(), param.value) {
            (6, Some(value)) if param.name.eq_ignore_ascii_case(b"branch") => {
                via.branch.get_or_insert(value);
            }
            (5, value) if param.name.eq_ignore_ascii_case(b"rport") => {
                let filled = value.filter(|v| !v.is_empty());
                let port = filled.map(|v| token::number(v).and_then(|n| u16::try_from(n).ok()));
                if port == Some(None) {
                    return Err(nom::Err::Error(()));
                }
                via.rport.get_or_insert(port.flatten());
            }
            (8, Some(value)) if param.name.eq_ignore_ascii_case(b"received") => {
                via.received.get_or_insert(value);
            }
            (5, Some(value)) if param.name.eq_ignore_ascii_case(b"maddr") => {
                via.maddr.get_or_insert(value);
            }
            _ => {}
        }
    }
    // RFC 4475 §3.1.2.1: a Via with stray separators is not to be trusted.
    if params.has_gap() {
        return Err(nom::Err::Error(()));
    }
    let rest = params.rest();
    let list_len = list.len() - rest.len();
    via.params = Params::new(token::trim(list.get(..list_len).unwrap_or_default()));
    via.raw = token::trim(input.get(..input.len() - rest.len()).unwrap_or_default());
    Ok((rest, via))
}

/// `SIP/2.0/UDP`, with white space around the slashes at will.
#[inline]
fn sent_protocol(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    if let Some((b"SIP/2.0/", rest)) = input.split_at_checked(8) {
        return token::run1(TOKEN)(skip(rest));
    }
    let (rest, _) = tag_no_case(&b"SIP"[..]).parse(input)?;
    let (rest, _) = char('/').parse(skip(rest))?;
    let (rest, _) = tag_no_case(&b"2.0"[..]).parse(skip(rest))?;
    let (rest, _) = char('/').parse(skip(rest))?;
    token::run1(TOKEN)(skip(rest))
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn host(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    if input.first() != Some(&b'[') {
        return token::run1(HOST)(input);
    }
    let close = memchr::memchr(b']', input).ok_or(nom::Err::Error(()))?;
    let (host, rest) = input.split_at(close + 1);
    ip(host).ok_or(nom::Err::Error(()))?;
    Ok((rest, host))
}

/// `:5060`, or nothing.
pub(super) fn port(input: &[u8]) -> IResult<&[u8], Option<u16>, ()> {
    let Some((b':', rest)) = input.split_first() else {
        return Ok((input, None));
    };
    let (rest, digits) = token::run1(DIGIT)(skip(rest))?;
    let port = token::number(digits).and_then(|n| u16::try_from(n).ok());
    Ok((rest, Some(port.ok_or(nom::Err::Error(()))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary() {
        let via = Via::parse(b"SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bKa;rport;received=1.2.3.4").unwrap();
        assert_eq!(via.transport, b"UDP");
        assert_eq!((via.host, via.port), (&b"192.0.2.1"[..], Some(5061)));
        assert_eq!(via.branch, Some(&b"z9hG4bKa"[..]));
        assert_eq!(via.rport, Some(None));
        assert_eq!(via.received_ip(), Some("1.2.3.4".parse().unwrap()));
        assert!(via.has_cookie());
    }

    /// [C-008] White space wherever the grammar has it; the second value is left alone.
    #[test]
    fn white_space_and_lists() {
        let value = b"SIP  / 2.0\r\n / TCP     spindle.example.com : 5060  ;\r\n  branch  =   z9hG4bK9  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239";
        let (rest, first) = Via::parse_next(value).unwrap();
        assert_eq!((first.transport, first.port), (&b"TCP"[..], Some(5060)));
        assert_eq!(first.branch, Some(&b"z9hG4bK9"[..]));
        assert!(first.raw.ends_with(b"z9hG4bK9"));
        let second = Via::parse(rest).unwrap();
        assert_eq!(second.host, b"192.168.255.111");
        assert_eq!(second.branch, Some(&b"z9hG4bK30239"[..]));
    }

    /// [C-004] IPv6 needs brackets as host, not in `received`.
    #[test]
    fn ipv6() {
        let via =
            Via::parse(b"SIP/2.0/UDP [2001:db8::9:1]:5060;received=2001:db8::9:255;branch=z9hG4bKx").unwrap();
        assert_eq!(via.host, b"[2001:db8::9:1]");
        assert_eq!(via.host_ip(), Some("2001:db8::9:1".parse().unwrap()));
        assert_eq!(via.received_ip(), Some("2001:db8::9:255".parse().unwrap()));
        let via = Via::parse(b"SIP/2.0/UDP [::1];received=[2001:db8::9:255]").unwrap();
        assert_eq!(via.received_ip(), Some("2001:db8::9:255".parse().unwrap()));
        assert!(Via::parse(b"SIP/2.0/UDP 2001:db8::9:1;branch=z9hG4bKx").is_err());
        assert!(Via::parse(b"SIP/2.0/UDP [2001:db8::9::1]").is_err());
    }

    #[test]
    fn faults() {
        for bad in [
            &b""[..],
            b"SIP/2.0/UDP",
            b"SIP/2.0/UDP ",
            b"SIP/2.0/ host",
            b"SIP/1.0/UDP host",
            b"SIP/2.0/UDP host:",
            b"SIP/2.0/UDP host:70000",
            b"SIP/2.0/UDP host;rport=65536",
            b"SIP/2.0/UDP host;branch=\"x",
            b"SIP/2.0/UDP host branch=x",
            b"SIP/2.0/UDP 192.0.2.15;;,;,,",
        ] {
            assert!(Via::parse(bad).is_err(), "{bad:?}");
        }
        assert!(!Via::parse(b"SIP/2.0/UDP h;branch=z9hG4bK").unwrap().has_cookie());
        assert!(!Via::parse(b"SIP/2.0/UDP h;branch=1").unwrap().has_cookie());
    }
}
