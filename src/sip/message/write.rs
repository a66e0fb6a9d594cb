//! Messages of our own: responses, the ACK and CANCEL of a transaction, and requests by builder.
//!
//! What is taken from a message is unfolded, and no CR, LF or NUL gets through (C-212).

use super::header::{NameAddr, Via, parse_cseq};
use super::name::HeaderId;
use super::reason::default_reason;
use super::view::Message;
use std::net::{IpAddr, SocketAddr};

/// Appends a response to `request`, which need not pass [`Message::ready`]: what it lacks, the
/// response lacks too.
///
/// `reason` empty means the usual phrase. `source` is where the request came from: the topmost Via
/// is given `received` and `rport` by it (C-045, C-046). `to_tag` is added to a To without tag,
/// except in a 100 (RFC 3261 §8.2.6).
pub fn response(
    out: &mut Vec<u8>,
    request: &Message,
    source: Option<SocketAddr>,
    status: u16,
    reason: &str,
    to_tag: Option<&[u8]>,
    extra: &[(&str, &[u8])],
) {
    response_head(out, request, source, status, reason, to_tag);
    for (name, value) in extra {
        put_header(out, name, value);
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// The part of [`response`] that every response has: status line, Via, From, To, Call-ID, CSeq. What
/// the response says of its own follows by [`Builder::resume`].
pub fn response_head(
    out: &mut Vec<u8>,
    request: &Message,
    source: Option<SocketAddr>,
    status: u16,
    reason: &str,
    to_tag: Option<&[u8]>,
) {
    out.extend_from_slice(b"SIP/2.0 ");
    put_number(out, u32::from(status));
    out.push(b' ');
    put_clean(out, if reason.is_empty() { default_reason(status) } else { reason }.as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut first = true;
    for value in request.lines().iter().filter(|l| l.id == HeaderId::Via).map(|l| l.value(request.bytes())) {
        out.extend_from_slice(b"Via: ");
        match source.filter(|_| first) {
            Some(source) => put_via(out, value, source),
            None => put_received_value(out, value),
        }
        out.extend_from_slice(b"\r\n");
        first = false;
    }
    put_copy(out, "From", request.header(HeaderId::From));
    if let Some(to) = request.header(HeaderId::To) {
        out.extend_from_slice(b"To: ");
        put_received_value(out, to);
        if let Some(tag) = to_tag.filter(|_| status != 100 && !has_tag(to)) {
            out.extend_from_slice(b";tag=");
            put_clean(out, tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    put_copy(out, "Call-ID", request.header(HeaderId::CallId));
    put_copy(out, "CSeq", request.header(HeaderId::CSeq));
    if status == 100 {
        put_copy(out, "Timestamp", request.header(HeaderId::Timestamp));
    }
}

fn has_tag(to: &[u8]) -> bool {
    memchr::memchr(b';', to).is_some() && NameAddr::parse(to).is_ok_and(|to| to.params.has(b"tag"))
}

/// A Via line with the source noted in its first value.
fn put_via(out: &mut Vec<u8>, value: &[u8], source: SocketAddr) {
    let Ok((rest, via)) = Via::parse_next(value) else {
        return put_received_value(out, value);
    };
    let (received, rport) = noted_source(&via, source);
    out.extend_from_slice(b"SIP/2.0/");
    put_received_value(out, via.transport);
    out.push(b' ');
    put_received_value(out, via.host);
    if let Some(port) = via.port {
        out.push(b':');
        put_number(out, u32::from(port));
    }
    for param in via.params {
        let overwritten = rport.is_some() && param.name.eq_ignore_ascii_case(b"rport")
            || received.is_some() && param.name.eq_ignore_ascii_case(b"received");
        if !overwritten {
            out.push(b';');
            put_received_value(out, param.name);
            if let Some(value) = param.value {
                out.push(b'=');
                put_received_value(out, value);
            }
        }
    }
    if let Some(port) = rport {
        out.extend_from_slice(b";rport=");
        put_number(out, u32::from(port));
    }
    if let Some(ip) = received {
        out.extend_from_slice(b";received=");
        put_ip(out, ip);
    }
    let rest = super::token::trim(rest);
    if !rest.is_empty() {
        out.extend_from_slice(b", ");
        put_received_value(out, rest);
    }
}

/// What the topmost Via of a request from `source` must say: `received` when the sender wrote
/// another address or a name, or asked for `rport` (RFC 3261 §18.2.1, RFC 3581 §4).
pub fn noted_source(via: &Via<'_>, source: SocketAddr) -> (Option<IpAddr>, Option<u16>) {
    let ip = source.ip().to_canonical();
    let asked = via.rport.is_some();
    let received = asked || via.host_ip().map(|host| host.to_canonical()) != Some(ip);
    (received.then_some(ip), asked.then_some(source.port()))
}

/// Appends the ACK to a final response other than 2xx, in the INVITE's transaction (RFC 3261
/// §17.1.1.3, C-079). `invite` is the request as it was sent.
pub fn ack_non2xx(out: &mut Vec<u8>, invite: &Message, response: &Message) {
    let to = response.header(HeaderId::To).or(invite.header(HeaderId::To));
    in_transaction(out, invite, "ACK", to);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Appends the CANCEL of an INVITE (RFC 3261 §9.1, C-085). `invite` is the request as it was sent;
/// `reason` the value of a Reason field (C-106).
pub fn cancel(out: &mut Vec<u8>, invite: &Message, reason: Option<&str>) {
    in_transaction(out, invite, "CANCEL", invite.header(HeaderId::To));
    if let Some(reason) = reason {
        put_header(out, "Reason", reason.as_bytes());
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// The head of a request in an INVITE's client transaction.
fn in_transaction(out: &mut Vec<u8>, invite: &Message, method: &str, to: Option<&[u8]>) {
    put_clean(out, method.as_bytes());
    out.push(b' ');
    put_received_value(out, invite.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    put_copy(out, "Via", invite.values(HeaderId::Via).next());
    out.extend_from_slice(b"Max-Forwards: 70\r\n");
    for line in invite.lines().iter().filter(|l| l.id == HeaderId::Route) {
        put_copy(out, "Route", Some(line.value(invite.bytes())));
    }
    put_copy(out, "From", invite.header(HeaderId::From));
    put_copy(out, "To", to);
    put_copy(out, "Call-ID", invite.header(HeaderId::CallId));
    if let Some((number, _)) = invite.header(HeaderId::CSeq).and_then(parse_cseq) {
        out.extend_from_slice(b"CSeq: ");
        put_number(out, number);
        out.push(b' ');
        put_clean(out, method.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes one message of our own, line by line. End it with [`Builder::finish`] or [`Builder::body`].
#[derive(Debug)]
pub struct Builder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Builder<'a> {
    /// Begins a request.
    pub fn request(out: &'a mut Vec<u8>, method: &str, uri: &[u8]) -> Builder<'a> {
        put_clean(out, method.as_bytes());
        out.push(b' ');
        put_clean(out, uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        Builder { out }
    }

    /// Begins a response that answers no message at hand. An empty `reason` means the usual phrase.
    pub fn response(out: &'a mut Vec<u8>, status: u16, reason: &str) -> Builder<'a> {
        out.extend_from_slice(b"SIP/2.0 ");
        put_number(out, u32::from(status));
        out.push(b' ');
        put_clean(out, if reason.is_empty() { default_reason(status) } else { reason }.as_bytes());
        out.extend_from_slice(b"\r\n");
        Builder { out }
    }

    /// Goes on behind header lines that were written before.
    pub fn resume(out: &'a mut Vec<u8>) -> Builder<'a> {
        Builder { out }
    }

    /// Adds a header line.
    pub fn header(self, name: &str, value: &[u8]) -> Builder<'a> {
        put_header(self.out, name, value);
        self
    }

    /// Adds a header line with a number.
    pub fn number(self, name: &str, value: u32) -> Builder<'a> {
        put_clean(self.out, name.as_bytes());
        self.out.extend_from_slice(b": ");
        put_number(self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds CSeq.
    pub fn cseq(self, number: u32, method: &str) -> Builder<'a> {
        self.out.extend_from_slice(b"CSeq: ");
        put_number(self.out, number);
        self.out.push(b' ');
        put_clean(self.out, method.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Ends the message without a body.
    pub fn finish(self) {
        self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    /// Ends the message with a body.
    pub fn body(self, content_type: &str, body: &[u8]) {
        put_header(self.out, "Content-Type", content_type.as_bytes());
        self.out.extend_from_slice(b"Content-Length: ");
        put_number(self.out, u32::try_from(body.len()).unwrap_or(u32::MAX));
        self.out.extend_from_slice(b"\r\n\r\n");
        self.out.extend_from_slice(body);
    }
}

/// Appends an address as all fields take it: always in angle brackets (C-024), the display name
/// quoted unless it is quoted already.
pub fn put_name_addr(out: &mut Vec<u8>, display: &[u8], uri: &[u8]) {
    if NameAddr::is_quoted(display) {
        put_clean(out, display);
        out.push(b' ');
    } else if !display.is_empty() {
        out.push(b'"');
        for part in display.split_inclusive(|b| matches!(b, b'"' | b'\\')) {
            match part.split_last() {
                Some((escaped @ (b'"' | b'\\'), before)) => {
                    put_clean(out, before);
                    out.extend_from_slice(&[b'\\', *escaped]);
                }
                _ => put_clean(out, part),
            }
        }
        out.extend_from_slice(b"\" ");
    }
    out.push(b'<');
    // Brackets and quotes have no place in a URI; here they would end it.
    put_clean(out, uri.split(|b| matches!(b, b'<' | b'>' | b'"')).next().unwrap_or_default());
    out.push(b'>');
}

/// Appends a header line.
pub fn put_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put_clean(out, name.as_bytes());
    out.extend_from_slice(b": ");
    put_clean(out, value);
    out.extend_from_slice(b"\r\n");
}

fn put_copy(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        put_received_value(out, value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a value of a received message: unfolded, otherwise as it was. A NUL stays, since a quoted
/// string may hold one (RFC 4475 §3.1.1.2).
fn put_received_value(out: &mut Vec<u8>, bytes: &[u8]) {
    if memchr::memchr2(b'\r', b'\n', bytes).is_none() {
        out.extend_from_slice(bytes);
        return;
    }
    out.extend(bytes.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
}

/// Appends bytes with each CR, LF and NUL made a space: whatever they are, they stay within their
/// line (C-212).
pub(super) fn put_clean(out: &mut Vec<u8>, bytes: &[u8]) {
    if memchr::memchr3(b'\r', b'\n', 0, bytes).is_none() {
        out.extend_from_slice(bytes);
        return;
    }
    out.extend(bytes.iter().map(|&b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
}

/// Appends a decimal number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u32) {
    let mut digits = [0u8; 10];
    let mut left = number;
    let mut len = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
        len += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - len..).unwrap_or_default());
}

/// Appends an address, IPv6 without brackets.
pub(super) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            for (i, octet) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                put_number(out, u32::from(octet));
            }
        }
        IpAddr::V6(v6) => {
            use std::io::Write;
            // Writing into a Vec cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

#[cfg(test)]
mod tests;
