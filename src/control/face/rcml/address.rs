//! Addresses that documents give: whom a Refer is to, whom a Dial calls.
//!
//! The part behind `?` holds header fields. For a Refer they are the transferee's to use and stand in
//! Refer-To as written; for a Dial, and a call placed by the API, they become fields of the INVITE.

use crate::sip::message::uri::{Component, Uri, decode, encode_into};

/// Header fields that no address may set, in full and in compact form (rcml 6.5.2).
const RESERVED: &[&str] = &[
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "max-forwards",
    "contact",
    "m",
    "route",
    "record-route",
    "content-length",
    "l",
    "content-type",
    "c",
    "authorization",
    "proxy-authorization",
    "require",
    "proxy-require",
    "supported",
    "k",
    "allow",
    "event",
    "o",
    "expires",
    "refer-to",
    "r",
    "body",
];

/// The address cannot be used as the target of a Refer (rcml 6.1.1, 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control::face) struct Unusable;

/// A Refer's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::face) struct Target {
    /// The URI for Refer-To, header part included.
    pub(in crate::control::face) uri: String,
    /// The URI without it.
    pub(super) address: String,
    /// It ended in a `?` with nothing behind (rcml 6.6).
    pub(super) bare: bool,
}

/// Reads the address of a Refer.
pub(in crate::control::face) fn refer_target(text: &str) -> Result<Target, Unusable> {
    let (address, headers) = split(text);
    let address = whole(address);
    let uri = Uri::parse(address.as_bytes()).map_err(|_| Unusable)?;
    let method = uri.params.value(b"method");
    if !uri.is_sip() || method.is_some_and(|method| !method.eq_ignore_ascii_case(b"INVITE")) {
        return Err(Unusable);
    }
    let mut written = Vec::new();
    for pair in headers.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = decode(name.as_bytes()).to_ascii_lowercase();
        if plain.is_empty() || is_reserved(&plain) || breaks(&plain) || breaks(&decode(value.as_bytes())) {
            return Err(Unusable);
        }
        written.push(if written.is_empty() { b'?' } else { b'&' });
        escaped_into(&mut written, name);
        written.push(b'=');
        escaped_into(&mut written, value);
    }
    let headers_out = String::from_utf8(written).map_err(|_| Unusable)?;
    let bare = headers.is_some_and(|headers| headers.is_empty());
    Ok(Target { uri: format!("{address}{headers_out}"), address, bare })
}

/// Whether no address may set this header field.
pub(in crate::control::face) fn is_reserved(name: &[u8]) -> bool {
    RESERVED.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Escapes what the grammar forbids in a URI's header part; what is escaped already stays as written.
fn escaped_into(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match rest {
            [b'%', high, low, beyond @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.extend_from_slice(&[b'%', *high, *low]);
                rest = beyond;
            }
            _ => {
                encode_into(out, Component::Header, &[first]);
                rest = after;
            }
        }
    }
}

/// Address and header part. A `?` may stand in a user part, too; behind an `@` it is always the mark.
pub(in crate::control::face) fn split(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    let mark = match (text.find('@'), text.find('?')) {
        (_, None) => return (text, None),
        (Some(at), Some(_)) => text.get(at..).and_then(|rest| rest.find('?')).map(|n| n + at),
        (None, mark) => mark,
    };
    // `host?X=a@b`: a name and its value stand before the @, which then belongs to the header part.
    let named = |mark: &usize| {
        text.get(*mark..).and_then(|rest| rest.split_once('@')).is_some_and(|(name, _)| name.contains('='))
    };
    let mark = mark.or_else(|| text.find('?').filter(|mark| !text.contains('@') || named(mark)));
    match mark.and_then(|mark| Some((text.get(..mark)?, text.get(mark + 1..)?))) {
        Some((address, headers)) => (address, Some(headers)),
        None => (text, None),
    }
}

/// With its scheme: `user@host` is a `sip:` address.
pub(in crate::control::face) fn whole(address: &str) -> String {
    let schemed = |scheme: &str| address.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    match schemed("sip:") || schemed("sips:") || schemed("tel:") || !address.contains('@') {
        true => address.to_owned(),
        false => format!("sip:{address}"),
    }
}

/// Header fields for an INVITE from the part behind `?`: decoded, `X-` put before names without it
/// (Calls API, 6.1.2). `None` when one would not stay within its line.
pub(in crate::control::face) fn invite_headers(part: &str) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (name, value) in part.split('&').filter_map(|pair| pair.split_once('=')) {
        headers.push(invite_header(&plain(name)?, &plain(value)?)?);
    }
    Some(headers)
}

/// One header field for an INVITE, from a name and a value that are decoded.
pub(in crate::control::face) fn invite_header(name: &str, value: &str) -> Option<(String, String)> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    let fits = !name.is_empty() && name.bytes().all(token) && !breaks(value.as_bytes());
    let own = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    fits.then(|| (if own { name.to_owned() } else { format!("X-{name}") }, value.to_owned()))
}

fn plain(text: &str) -> Option<String> {
    String::from_utf8(decode(text.as_bytes()).into_owned()).ok()
}

/// Whether this would not stay within its line.
fn breaks(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| b.is_ascii_control() && *b != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Option<String> {
        refer_target(text).ok().map(|target| target.uri)
    }

    /// [rcml 16] [rcml 17] [rcml 19] [rcml 6.1.2] [rcml 6.1.4] [R-073] What is allowed stands as written.
    #[test]
    fn refer_to_is_what_the_author_wrote() {
        for same in [
            "sip:x@y",
            "sips:x@y:5061;transport=tcp;foo=%41?myCustomHeader=value",
            "sip:y?Replaces=a%40b%3Bto-tag%3D1&X-T=9&User-to-User=56%3Bencoding%3Dhex",
            "sip:x@y;method=INVITE",
            "SIP:a?b@y",
        ] {
            assert_eq!(uri(same).as_deref(), Some(same), "{same}");
        }
        assert_eq!(uri(" x@y ").as_deref(), Some("sip:x@y"));
        assert_eq!(uri("sip:x@y?A=b c;d@e&B").as_deref(), Some("sip:x@y?A=b%20c%3Bd%40e&B="));
        let bare = refer_target("sip:x@y?").expect("it is an address");
        assert_eq!((bare.uri.as_str(), bare.bare), ("sip:x@y", true));
        let headed = refer_target("sip:x@y?A=1").expect("it is an address");
        assert_eq!((headed.address.as_str(), headed.bare), ("sip:x@y", false));
    }

    /// [rcml 18] [rcml 6.5.2] [rcml 6.5.4] [R-107] [C-212] Reserved names in any dress, broken lines, other methods.
    #[test]
    fn reserved_headers_fail() {
        for wrong in [
            "sip:x@y?Call-ID=1",
            "sip:x@y?A=1&call-id=1",
            "sip:x@y?i=1",
            "sip:x@y?Route=%3Csip:z%3E",
            "sip:x@y?F%72om=1",
            "sip:x@y?body=x",
            "sip:x@y?A=1%0d%0aB:2",
            "sip:x@y?A%0a=1",
            "sip:x@y?=1",
            "sip:x@y;method=BYE",
            "tel:+49",
            "+4930100",
            "sip:",
            "",
            "http://x@y",
            "sip:x@y:port",
            "sip:x@y>;a",
        ] {
            assert_eq!(refer_target(wrong), Err(Unusable), "{wrong}");
        }
        for name in RESERVED {
            assert_eq!(uri(&format!("sip:x@y?{}=1", name.to_ascii_uppercase())), None);
        }
    }

    /// [restcomm-calls 15] [restcomm-calls 6.1.2] [C-212] Names get their `X-`; broken lines are refused.
    #[test]
    fn headers_for_an_invite() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            invite_headers("X-A=1&x-b=%202&Foo=1=2&none"),
            Some(vec![pair("X-A", "1"), pair("x-b", " 2"), pair("X-Foo", "1=2")])
        );
        for wrong in ["A=%0d%0aB: 1", "A%0a=1", "A%3A=1", "=1", "A=%ff"] {
            assert_eq!(invite_headers(wrong), None, "{wrong}");
        }
        assert_eq!(split("client:alice?X-A=a@b"), ("client:alice", Some("X-A=a@b")));
        assert_eq!(whole("a@b"), "sip:a@b");
    }
}
