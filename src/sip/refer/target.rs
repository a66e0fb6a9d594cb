//! Where a Refer-To points: taken apart, judged, and brought into the one form by which policy is
//! asked and the new call is made.
//!
//! Two ways lead here: [`Target::read`] for a REFER that Baton performs itself, which believes
//! nothing; and [`outgoing`] for a Refer-To that the control plane wants sent.

use super::policy::Policy;
use super::replaces::Named;
use crate::sip::message::uri::{Place, decode, put_uri};
use crate::sip::message::{HeaderId, NameAddr, Scheme, Uri, unquote};

/// What is wrong with a target, and the response it deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read, or would not stay within its line: 400.
    Malformed,
    /// A scheme that cannot be called: 416.
    Scheme,
    /// A `method` other than INVITE: 403.
    Method,
    /// Join, while there are no conferences: 403.
    Join,
    /// A header field that must not be brought along, on a trunk that is strict: 400.
    Header,
    /// A rule of the trunk: 403.
    Denied,
}

impl Fault {
    /// The code of the response.
    pub const fn code(self) -> u16 {
        match self {
            Fault::Malformed | Fault::Header => 400,
            Fault::Scheme => 416,
            Fault::Method | Fault::Join | Fault::Denied => 403,
        }
    }
}

/// What the rules of a trunk say of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rule at this place allows it.
    Allowed(usize),
    /// The rule at this place forbids it.
    Denied(usize),
    /// No rule names it: what the routes allow.
    Routes,
}

/// A target that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The canonical URI, which is also the Request-URI of the new call.
    pub uri: Box<[u8]>,
    /// The dialog that the new call is to replace.
    pub replaces: Option<Named>,
    /// Whether the INVITE must say `Require: replaces`.
    pub require_replaces: bool,
    /// Further header fields for the INVITE, decoded.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
}

impl Target {
    /// Reads a Refer-To for role S.
    pub fn read(refer_to: &NameAddr<'_>, policy: &Policy) -> Result<Target, Fault> {
        Target::of(&refer_to.uri().map_err(|_| Fault::Malformed)?, policy)
    }

    /// Reads a URI, of a Refer-To or of an application's decision.
    pub fn of(uri: &Uri<'_>, policy: &Policy) -> Result<Target, Fault> {
        if uri.scheme == Scheme::Other {
            return Err(Fault::Scheme);
        }
        let method = uri.params.iter().find(|p| decode(p.name).eq_ignore_ascii_case(b"method"));
        if method.is_some_and(|m| *decode(m.value.unwrap_or_default()) != *b"INVITE") {
            return Err(Fault::Method);
        }
        let mut target = Target {
            uri: canonical(uri).into(),
            replaces: None,
            require_replaces: false,
            headers: Vec::new(),
        };
        // Decoding can bring forth any byte; one that ends a line has no place in any part.
        if decode(&target.uri).iter().any(|b| is_control(*b)) || Uri::parse(&target.uri).is_err() {
            return Err(Fault::Malformed);
        }
        for (name, value) in uri.header_fields() {
            target.take_header(&decode(name), &decode(value), policy)?;
        }
        Ok(target)
    }

    /// One header field of the URI: taken, dropped, or a fault (R-107, C-036).
    fn take_header(&mut self, name: &[u8], value: &[u8], policy: &Policy) -> Result<(), Fault> {
        if name.iter().chain(value).any(|b| is_control(*b)) {
            return Err(Fault::Malformed);
        }
        let id = HeaderId::from_bytes(name);
        match id {
            HeaderId::Replaces => {
                // RFC 3891 §3: at most one, and one that can be read.
                let named = Named::parse(value).ok_or(Fault::Malformed)?;
                return match self.replaces.replace(named) {
                    None => Ok(()),
                    Some(_) => Err(Fault::Malformed),
                };
            }
            HeaderId::Join => return Err(Fault::Join),
            HeaderId::Require if value.eq_ignore_ascii_case(b"replaces") => {
                self.require_replaces = true;
                return Ok(());
            }
            _ => {}
        }
        let name = std::str::from_utf8(name).ok().filter(|name| may_pass(id, name, policy));
        match name {
            Some(name) => self.headers.push((name.into(), value.into())),
            None if policy.strict_headers => return Err(Fault::Header),
            None => {}
        }
        Ok(())
    }

    /// The URI, taken apart; it was read before, so there always is one.
    pub fn parts(&self) -> Option<Uri<'_>> {
        Uri::parse(&self.uri).ok()
    }

    /// The value of To in the new INVITE (section 5.4): no port, transport, maddr, ttl, lr.
    pub fn to(&self) -> Box<[u8]> {
        let mut out = vec![b'<'];
        if let Some(uri) = self.parts() {
            put_uri(&mut out, &uri, Place::FromTo);
        }
        out.push(b'>');
        out.into()
    }

    /// RFC 5630 §5.1.1.3: a call that was secured stays so.
    pub fn secure(&mut self) {
        if let Some(rest) = self.uri.strip_prefix(b"sip:") {
            self.uri = [b"sips:", rest].concat().into();
        }
    }

    /// What the trunk's rules say; the first that matches decides.
    pub fn judge(&self, policy: &Policy) -> Verdict {
        let Some(uri) = self.parts() else { return Verdict::Routes };
        let user = decode(uri.user.unwrap_or_default());
        let host = String::from_utf8_lossy(uri.host);
        for (at, rule) in policy.targets.iter().enumerate() {
            let domain = rule.domain.is_empty()
                || host
                    .strip_suffix(&*rule.domain)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            if domain && user.starts_with(rule.prefix.as_bytes()) {
                return if rule.allow { Verdict::Allowed(at) } else { Verdict::Denied(at) };
            }
        }
        Verdict::Routes
    }

    /// Whether it is the same place as another URI, the survivor's own remote target.
    pub fn is_at(&self, other: &[u8]) -> bool {
        let (Some(mine), Ok(other)) = (self.parts(), Uri::parse(other)) else { return false };
        if mine.same_as(&other) {
            return true;
        }
        let other = canonical(&other);
        let Ok(other) = Uri::parse(&other) else { return false };
        let port = |uri: &Uri<'_>| uri.port.unwrap_or(if uri.scheme == Scheme::Sips { 5061 } else { 5060 });
        mine.is_sip()
            && other.is_sip()
            && mine.user == other.user
            && mine.same_host(&other)
            && port(&mine) == port(&other)
    }
}

/// Whether a header field of a Refer-To may stand in the INVITE.
fn may_pass(id: HeaderId, name: &str, policy: &Policy) -> bool {
    match id {
        HeaderId::UserToUser | HeaderId::ReferredBy => true,
        _ => !is_reserved(id, name) && policy.allow_headers.iter().any(|n| n.eq_ignore_ascii_case(name)),
    }
}

/// Fields that no list can let pass: they name the dialog, its way, the body, or who asks (C-036).
pub fn is_reserved(id: HeaderId, name: &str) -> bool {
    let by_name = name.is_empty()
        || name.eq_ignore_ascii_case("body")
        || name.get(..8).is_some_and(|n| n.eq_ignore_ascii_case("content-"))
        || name.get(..2).is_some_and(|n| n.eq_ignore_ascii_case("p-"))
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
    by_name
        || matches!(
            id,
            HeaderId::Via
                | HeaderId::From
                | HeaderId::To
                | HeaderId::CallId
                | HeaderId::CSeq
                | HeaderId::Contact
                | HeaderId::MaxForwards
                | HeaderId::MaxBreadth
                | HeaderId::ContentLength
                | HeaderId::ContentType
                | HeaderId::ContentEncoding
                | HeaderId::Route
                | HeaderId::RecordRoute
                | HeaderId::Path
                | HeaderId::ServiceRoute
                | HeaderId::Allow
                | HeaderId::Supported
                | HeaderId::Require
                | HeaderId::ProxyRequire
                | HeaderId::Authorization
                | HeaderId::ProxyAuthorization
                | HeaderId::WwwAuthenticate
                | HeaderId::ProxyAuthenticate
                | HeaderId::AuthenticationInfo
                | HeaderId::Event
                | HeaderId::Expires
                | HeaderId::ReferTo
                | HeaderId::ReferSub
                | HeaderId::TargetDialog
                | HeaderId::Identity
                | HeaderId::Privacy
                | HeaderId::RemotePartyId
                | HeaderId::SessionExpires
                | HeaderId::MinSe
                | HeaderId::RSeq
                | HeaderId::RAck
        )
}

const fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t' || byte == 0x7f
}

/// The form in which equal targets look alike: scheme and host in lower case, no escape that is none,
/// no visual separators in a number, no `method`; other parameters byte for byte.
fn canonical(uri: &Uri<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(uri.raw.len());
    match uri.scheme {
        Scheme::Tel | Scheme::Other => out.extend_from_slice(b"tel:"),
        Scheme::Sip => out.extend_from_slice(b"sip:"),
        Scheme::Sips => out.extend_from_slice(b"sips:"),
    }
    if let Some(user) = uri.user {
        put_user(&mut out, user, uri);
        if let Some(password) = uri.password {
            out.push(b':');
            out.extend_from_slice(password);
        }
        if uri.is_sip() {
            out.push(b'@');
        }
    }
    match uri.host_ip() {
        Some(std::net::IpAddr::V6(ip)) => out.extend_from_slice(format!("[{ip}]").as_bytes()),
        Some(std::net::IpAddr::V4(_)) | None => {
            out.extend(uri.host.strip_suffix(b".").unwrap_or(uri.host).iter().map(u8::to_ascii_lowercase));
        }
    }
    if let Some(port) = uri.port {
        out.extend_from_slice(format!(":{port}").as_bytes());
    }
    for param in uri.params.iter().filter(|p| !decode(p.name).eq_ignore_ascii_case(b"method")) {
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(value) = param.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

/// The user part: escapes of what needs none are undone, `%2B` among them, since whoever is asked
/// about a number decodes it; a number loses its visual separators (RFC 3966 §3).
fn put_user(out: &mut Vec<u8>, user: &[u8], uri: &Uri<'_>) {
    let mut plain = Vec::with_capacity(user.len());
    let mut rest = user;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = rest.get(..3).filter(|e| byte == b'%' && e.iter().skip(1).all(u8::is_ascii_hexdigit));
        match escape {
            Some(escape) => {
                let decoded = decode(escape);
                match decoded.first() {
                    Some(b) if b.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(b) => plain.push(*b),
                    _ => plain.extend(escape.iter().map(u8::to_ascii_uppercase)),
                }
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    let phone = uri.scheme == Scheme::Tel
        || uri.params.value(b"user").is_some_and(|v| unquote(v).eq_ignore_ascii_case(b"phone"))
        || plain.first() == Some(&b'+');
    let number = plain.iter().position(|b| *b == b';').unwrap_or(plain.len());
    let separator = |b: u8| matches!(b, b'-' | b'.' | b'(' | b')');
    let is_number = plain.iter().take(number).skip(1).all(|b| b.is_ascii_digit() || separator(*b));
    out.extend(
        plain
            .iter()
            .enumerate()
            .filter(|(at, b)| !(phone && is_number && *at < number && separator(**b)))
            .map(|(_, b)| *b),
    );
}

/// A Refer-To that the control plane wants sent: a URI, its header part kept as it is, with what no
/// URI can hold escaped. A `method`, a control character, or a header field of the dialog is refused.
pub fn outgoing(to: &str) -> Result<Box<[u8]>, Fault> {
    if to.bytes().any(is_control) {
        return Err(Fault::Malformed);
    }
    let mut out = Vec::with_capacity(to.len());
    for byte in to.strip_suffix('?').unwrap_or(to).bytes() {
        match byte {
            b' ' | b'\t' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            _ => out.push(byte),
        }
    }
    let uri = Uri::parse(&out).map_err(|_| Fault::Malformed)?;
    if uri.scheme == Scheme::Other {
        return Err(Fault::Scheme);
    }
    let method = uri.params.iter().find(|p| decode(p.name).eq_ignore_ascii_case(b"method"));
    if method.is_some_and(|m| *decode(m.value.unwrap_or_default()) != *b"INVITE") {
        return Err(Fault::Method);
    }
    for (name, value) in uri.header_fields() {
        let (name, value) = (decode(name), decode(value));
        if name.iter().chain(value.iter()).any(|b| is_control(*b)) {
            return Err(Fault::Malformed);
        }
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests;
