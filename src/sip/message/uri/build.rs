//! URIs written into messages, and requests described by URIs (RFC 3261 §19.1.1, §19.1.5).

use super::escape::{Component, decode, encode_into};
use super::{ParseError, ParseErrorKind, Scheme, Uri};
use crate::sip::message::name::HeaderId;
use crate::sip::message::write::put_clean;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Where a URI is to stand: the columns of RFC 3261 Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Request-URI.
    RequestUri,
    /// To and From.
    FromTo,
    /// Contact of REGISTER and of redirections.
    Binding,
    /// Contact within a dialog, Route and Record-Route.
    Dialog,
    /// Outside a message: a web page, a Refer-To.
    External,
}

impl Place {
    /// Whether a parameter may stand here (C-035).
    fn allows_param(self, name: &[u8]) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match self {
            Place::External => true,
            Place::RequestUri => !is("method"),
            Place::Binding => !is("method") && !is("lr"),
            Place::Dialog => !is("method") && !is("ttl"),
            Place::FromTo => !["method", "maddr", "ttl", "transport", "lr"].into_iter().any(is),
        }
    }
}

/// Appends a URI, without what must not stand at that place (C-035). What is no SIP URI is written
/// as it is.
pub fn put_uri(out: &mut Vec<u8>, uri: &Uri<'_>, place: Place) {
    let scheme = match uri.scheme {
        Scheme::Sip => "sip:",
        Scheme::Sips => "sips:",
        Scheme::Tel | Scheme::Other => return put_clean(out, uri.raw),
    };
    out.extend_from_slice(scheme.as_bytes());
    if let Some(user) = uri.user {
        put_clean(out, user);
        if let Some(password) = uri.password {
            out.push(b':');
            put_clean(out, password);
        }
        out.push(b'@');
    }
    put_host(out, uri);
    if let Some(port) = uri.port.filter(|_| place != Place::FromTo) {
        out.push(b':');
        crate::sip::message::write::put_number(out, u32::from(port));
    }
    for param in uri.params.iter().filter(|p| place.allows_param(&decode(p.name))) {
        out.push(b';');
        put_clean(out, param.name);
        if let Some(value) = param.value {
            out.push(b'=');
            put_clean(out, value);
        }
    }
    if !uri.headers.is_empty() && matches!(place, Place::Binding | Place::External) {
        out.push(b'?');
        put_clean(out, uri.headers);
    }
}

fn put_host(out: &mut Vec<u8>, uri: &Uri<'_>) {
    if uri.host_is_v6() {
        out.push(b'[');
        put_clean(out, uri.host);
        out.push(b']');
    } else {
        put_clean(out, uri.host);
    }
}

/// Appends `?name=value` or `&name=value` to a URI that is being written, escaped (C-034).
pub fn put_uri_header(out: &mut Vec<u8>, first: bool, name: &str, value: &[u8]) {
    out.push(if first { b'?' } else { b'&' });
    encode_into(out, Component::Header, name.as_bytes());
    out.push(b'=');
    encode_into(out, Component::Header, value);
}

/// Header fields that a URI may bring into a request built from it (C-036). Everything else in a URI
/// is passed over: above all what names the dialog, its way, or who asks.
const BROUGHT: &[HeaderId] = &[
    HeaderId::Replaces,
    HeaderId::Join,
    HeaderId::TargetDialog,
    HeaderId::Require,
    HeaderId::Supported,
    HeaderId::AcceptContact,
    HeaderId::RejectContact,
    HeaderId::RequestDisposition,
    HeaderId::Subject,
    HeaderId::Priority,
    HeaderId::InReplyTo,
    HeaderId::UserToUser,
];

/// What a URI brings into a request: fields with decoded values.
pub type Brought<'a> = SmallVec<[(HeaderId, Cow<'a, [u8]>); 4]>;

impl<'a> Uri<'a> {
    /// The header fields that a request built from this URI takes from it, decoded once (C-034,
    /// C-036). A value that would not stay within its line makes the URI unfit (C-037).
    pub fn brought_headers(&self) -> Result<Brought<'a>, ParseError> {
        let mut brought = Brought::new();
        for (name, value) in self.header_fields() {
            let id = HeaderId::from_bytes(&decode(name));
            if !BROUGHT.contains(&id) {
                continue;
            }
            let value = decode(value);
            if memchr::memchr3(b'\r', b'\n', 0, &value).is_some() {
                return Err(ParseErrorKind::Uri.at(self.raw.len() - self.headers.len()));
            }
            brought.push((id, value));
        }
        Ok(brought)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(uri: &str, place: Place) -> String {
        let mut out = Vec::new();
        put_uri(&mut out, &Uri::parse(uri.as_bytes()).unwrap(), place);
        String::from_utf8(out).unwrap()
    }

    /// [C-035] Table 1 of RFC 3261.
    #[test]
    fn components_by_place() {
        let full = "sip:u:p@h:5070;user=phone;method=BYE;maddr=m;ttl=1;transport=tcp;lr;x=y?a=b";
        let at = |place| written(full, place);
        assert_eq!(at(Place::External), full);
        assert_eq!(at(Place::RequestUri), "sip:u:p@h:5070;user=phone;maddr=m;ttl=1;transport=tcp;lr;x=y");
        assert_eq!(at(Place::FromTo), "sip:u:p@h;user=phone;x=y");
        assert_eq!(at(Place::Binding), "sip:u:p@h:5070;user=phone;maddr=m;ttl=1;transport=tcp;x=y?a=b");
        assert_eq!(at(Place::Dialog), "sip:u:p@h:5070;user=phone;maddr=m;transport=tcp;lr;x=y");
        assert_eq!(written("sips:[2001:db8::1]:5061", Place::Dialog), "sips:[2001:db8::1]:5061");
        assert_eq!(written("tel:+1-2;ext=3", Place::FromTo), "tel:+1-2;ext=3");
        assert_eq!(written("sip:h;m%65thod=BYE", Place::RequestUri), "sip:h");
    }

    /// [C-036] [C-037] Only what may be brought, and nothing that breaks its line.
    #[test]
    fn headers_brought_along() {
        let uri = Uri::parse(b"sip:c@d?Replaces=a%40b%3Bto-tag%3D1&From=x&Route=%3Csip:e%3E&Call-ID=1&subject=a%2525&Authorization=z").unwrap();
        let brought = uri.brought_headers().unwrap();
        let got: Vec<_> = brought.iter().map(|(id, value)| (*id, &**value)).collect();
        assert_eq!(got, [(HeaderId::Replaces, &b"a@b;to-tag=1"[..]), (HeaderId::Subject, b"a%25")]);
        let split = Uri::parse(b"sip:c@d?Subject=a%0D%0ARoute:%20x").unwrap();
        assert!(split.brought_headers().is_err());
        let mut out = b"sip:c@d".to_vec();
        put_uri_header(&mut out, true, "Replaces", b"a@b;to-tag=1");
        put_uri_header(&mut out, false, "Subject", b"x&y\r\n");
        assert_eq!(out, b"sip:c@d?Replaces=a%40b%3Bto-tag%3D1&Subject=x%26y%0D%0A");
    }
}
