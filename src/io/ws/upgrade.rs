//! The HTTP request by which a WebSocket begins (RFC 6455 §4.2, RFC 7118 §4.1), and its answer.
//!
//! What is refused is told why in a line of text, for whoever looks at the browser's console.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use httparse::{Error, Header, Request, Status};
use sha1::{Digest, Sha1};

/// Bytes of a request; one that is longer is refused.
const LONGEST: usize = 16 * 1_024;
/// Header lines of a request; browsers send some twenty.
const HEADERS: usize = 100;
/// RFC 6455 §1.3: what is hashed with the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// RFC 7118 §4.1
const SUBPROTOCOL: &str = "sip";

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// It is not complete.
    More,
    /// It is granted; what follows its `head` bytes are frames.
    Accepted { response: Bytes, head: usize },
    /// It is not. The connection closes after the response.
    Refused { response: Bytes },
}

/// Looks at what has come of a request. `origins` are those that may connect, in lower case; empty:
/// all may.
pub(super) fn answer(bytes: &[u8], origins: &[Box<str>]) -> Upgrade {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(head)) => match check(&request, origins) {
            Ok(response) => Upgrade::Accepted { response, head },
            Err(refusal) => refuse(refusal),
        },
        Ok(Status::Partial) if bytes.len() <= LONGEST => Upgrade::More,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => refuse(Refusal::TooLarge),
        Err(_) => refuse(Refusal::Malformed),
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    TooLarge,
    Method,
    Version,
    Host,
    Upgrade,
    Connection,
    WebSocketVersion,
    Key,
    Subprotocol,
    Origin,
}

impl Refusal {
    /// Status line, further header lines, and what is said.
    fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Refusal::Malformed => (
                "400 Bad Request",
                "",
                "this is no HTTP request: the port speaks SIP over WebSocket (RFC 7118)",
            ),
            Refusal::TooLarge => (
                "431 Request Header Fields Too Large",
                "",
                "the request has more or longer header fields than a WebSocket needs",
            ),
            Refusal::Method => ("405 Method Not Allowed", "Allow: GET\r\n", "a WebSocket begins with GET"),
            Refusal::Version => ("400 Bad Request", "", "a WebSocket needs HTTP/1.1"),
            Refusal::Host => ("400 Bad Request", "", "the request needs one Host header field"),
            Refusal::Upgrade => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\n",
                "this port speaks SIP over WebSocket (RFC 7118): the request needs \"Upgrade: websocket\"",
            ),
            Refusal::Connection => ("400 Bad Request", "", "the request needs \"Connection: Upgrade\""),
            Refusal::WebSocketVersion => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "the request needs \"Sec-WebSocket-Version: 13\"",
            ),
            Refusal::Key => {
                ("400 Bad Request", "", "the request needs a Sec-WebSocket-Key of 16 bytes in base64")
            }
            Refusal::Subprotocol => (
                "400 Bad Request",
                "",
                "the request must offer the subprotocol sip, as in new WebSocket(url, \"sip\")",
            ),
            Refusal::Origin => (
                "403 Forbidden",
                "",
                "pages of this origin may not connect: streams.origins in the configuration names those that may",
            ),
        }
    }
}

fn refuse(refusal: Refusal) -> Upgrade {
    let (status, headers, text) = refusal.text();
    let length = text.len() + 1;
    let response = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{text}\n"
    );
    Upgrade::Refused { response: response.into() }
}

/// RFC 6455 §4.2.1, in its order; then the subprotocol and the origin.
fn check(request: &Request<'_, '_>, origins: &[Box<str>]) -> Result<Bytes, Refusal> {
    let headers: &[Header<'_>] = request.headers;
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    if request.version != Some(1) {
        return Err(Refusal::Version);
    }
    let only = |name| {
        let mut values = all(headers, name);
        values.next().filter(|_| values.next().is_none())
    };
    only("Host").ok_or(Refusal::Host)?;
    let names = |name, wanted: &str| {
        all(headers, name).flat_map(elements).any(|element| element.eq_ignore_ascii_case(wanted))
    };
    if !names("Upgrade", "websocket") {
        return Err(Refusal::Upgrade);
    }
    if !names("Connection", "upgrade") {
        return Err(Refusal::Connection);
    }
    if only("Sec-WebSocket-Version") != Some("13") {
        return Err(Refusal::WebSocketVersion);
    }
    let key = only("Sec-WebSocket-Key").ok_or(Refusal::Key)?;
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Refusal::Key);
    }
    // A browser compares what it offered with what it is answered byte by byte.
    if !all(headers, "Sec-WebSocket-Protocol").flat_map(elements).any(|offered| offered == SUBPROTOCOL) {
        return Err(Refusal::Subprotocol);
    }
    // C-063. What is no browser names no origin; it could name any.
    if let Some(origin) = all(headers, "Origin").next()
        && !origins.is_empty()
        && !origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    {
        return Err(Refusal::Origin);
    }
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    let accept = STANDARD.encode(hash.finalize());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    Ok(response.into())
}

/// The values of a header field that are text.
fn all<'h>(headers: &'h [Header<'h>], name: &'static str) -> impl Iterator<Item = &'h str> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .map(str::trim)
}

fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 7118 §4.2.
    const REQUEST: &str = "GET / HTTP/1.1\r\n\
                           Host: sip-ws.example.com\r\n\
                           Upgrade: websocket\r\n\
                           Connection: keep-alive, Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           Origin: http://www.example.com\r\n\
                           Sec-WebSocket-Protocol: chat, sip\r\n\
                           Sec-WebSocket-Version: 13\r\n\r\n";

    fn refused(request: &str, origins: &[Box<str>]) -> String {
        match answer(request.as_bytes(), origins) {
            Upgrade::Refused { response } => String::from_utf8(response.to_vec()).unwrap(),
            other => panic!("{request}: {other:?}"),
        }
    }

    /// [C-062] The example of RFC 7118 §4.2, with the hash of RFC 6455 §1.3.
    #[test]
    fn the_example_is_granted() {
        let frames = [REQUEST.as_bytes(), b"\x81\x80"].concat();
        let Upgrade::Accepted { response, head } = answer(&frames, &[]) else { panic!("refused") };
        assert_eq!(head, REQUEST.len());
        let response = std::str::from_utf8(&response).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        assert!(
            response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{response}"
        );
        assert!(response.contains("\r\nSec-WebSocket-Protocol: sip\r\n"), "{response}");
        for cut in [0, 1, 20, REQUEST.len() - 1] {
            assert_eq!(answer(&REQUEST.as_bytes()[..cut], &[]), Upgrade::More);
        }
    }

    /// [C-062] What is missing is named.
    #[test]
    fn each_demand_is_checked() {
        for (from, to, status, says) in [
            ("GET", "POST", "405", "GET"),
            ("HTTP/1.1", "HTTP/1.0", "400", "HTTP/1.1"),
            ("Host:", "Hose:", "400", "Host"),
            ("Upgrade: websocket", "Upgrade: h2c", "426", "Upgrade: websocket"),
            ("keep-alive, Upgrade", "keep-alive", "400", "Connection: Upgrade"),
            ("Version: 13", "Version: 8", "426", "Sec-WebSocket-Version: 13"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", "400", "Sec-WebSocket-Key"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "!", "400", "Sec-WebSocket-Key"),
            ("chat, sip", "chat, sip2", "400", "subprotocol sip"),
            ("Sec-WebSocket-Protocol: chat, sip\r\n", "", "400", "subprotocol sip"),
            ("GET / HTTP/1.1", "OPTIONS sip:a@b SIP/2.0", "400", "no HTTP request"),
        ] {
            let response = refused(&REQUEST.replace(from, to), &[]);
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{from} {to}: {response}");
            assert!(response.contains(says), "{from} {to}: {response}");
        }
        let long = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(20_000));
        assert!(refused(&long, &[]).starts_with("HTTP/1.1 431 "));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert!(refused(&many, &[]).starts_with("HTTP/1.1 431 "));
    }

    /// [C-063] The configuration says whose pages may connect.
    #[test]
    fn origins_are_checked() {
        let only = |origin: &str| vec![Box::from(origin)];
        assert!(refused(REQUEST, &only("https://www.example.com")).starts_with("HTTP/1.1 403 "));
        for origins in [only("http://www.example.com"), Vec::new()] {
            assert!(matches!(answer(REQUEST.as_bytes(), &origins), Upgrade::Accepted { .. }));
        }
        let phone = REQUEST.replace("Origin: http://www.example.com\r\n", "");
        let origins = only("https://www.example.com");
        assert!(matches!(answer(phone.as_bytes(), &origins), Upgrade::Accepted { .. }));
    }
}
