//! Addresses and header fields as commands write them.

use crate::control::face::rcml::{is_reserved, refer_target, whole};
use crate::sip::command::Party;
use crate::sip::message::Scheme;
use crate::sip::message::uri::{Uri, decode};

/// Whom to call, and how they are shown: a number, or a SIP URI.
pub(super) fn party(text: &str, transport: Option<&str>) -> Option<(Party, String)> {
    let text = text.trim();
    if is_schemed(text) || text.contains('@') {
        let mut address = whole(text);
        let uri = Uri::parse(address.as_bytes()).ok().filter(|uri| uri.headers.is_empty())?;
        if uri.scheme == Scheme::Other {
            return None;
        }
        let open = uri.is_sip() && uri.params.value(b"transport").is_none();
        let shown = address.clone();
        if let Some(transport) = transport.filter(|_| open) {
            address.push_str(";transport=");
            address.push_str(&transport.to_ascii_lowercase());
        }
        return Some((Party::Uri(address), shown));
    }
    // What people put between digits is not part of a number.
    let number: String = text.chars().filter(|c| !matches!(c, ' ' | '(' | ')' | '-' | '.')).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let known = |b: u8| b.is_ascii_digit() || matches!(b, b'*' | b'#');
    let fits = !digits.is_empty() && digits.len() < 64 && digits.bytes().all(known);
    fits.then(|| (Party::Number(number.clone()), number))
}

/// Who calls: a number, a name, or a SIP URI.
pub(super) fn caller(text: &str) -> Option<String> {
    let text = text.trim();
    if is_schemed(text) || text.contains('@') {
        let address = whole(text);
        let uri = Uri::parse(address.as_bytes()).ok()?;
        return (uri.scheme != Scheme::Other && uri.headers.is_empty()).then_some(address);
    }
    let fits = text.len() < 256 && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"@".contains(&b));
    fits.then(|| text.to_owned())
}

fn is_schemed(text: &str) -> bool {
    ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// A party of an inbound call: its number, else its address without parameters.
pub(super) fn shown(uri: &str) -> String {
    let Ok(parsed) = Uri::parse(uri.as_bytes()) else { return uri.chars().take(255).collect() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = text(parsed.host);
    let host = if parsed.host_is_v6() { format!("[{host}]") } else { host };
    let Some(user) = parsed.user else { return format!("sip:{host}") };
    let plain = text(&decode(user));
    let digits = plain.strip_prefix('+').unwrap_or(&plain);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return plain;
    }
    let scheme = if parsed.scheme == Scheme::Sips { "sips" } else { "sip" };
    format!("{scheme}:{}@{host}", text(user))
}

/// Why a Refer-To cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The address is none.
    Address,
    /// An address of this kind has no place for header fields.
    Headers,
}

/// The URI for Refer-To: the address as written, and behind it, escaped, the header fields that the
/// referred party's INVITE is to carry (telnyx 2.1).
pub(super) fn refer_to(text: &str, headers: &[(String, String)]) -> Result<String, Unusable> {
    let text = text.trim();
    if text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:")) {
        let uri = Uri::parse(text.as_bytes()).map_err(|_| Unusable::Address)?;
        return match (uri.scheme, headers) {
            (Scheme::Tel, []) => Ok(text.to_owned()),
            (Scheme::Tel, _) => Err(Unusable::Headers),
            _ => Err(Unusable::Address),
        };
    }
    let mut uri = refer_target(text).map_err(|_| Unusable::Address)?.uri;
    let mut mark = if uri.contains('?') { '&' } else { '?' };
    for (name, value) in headers {
        uri.push(mark);
        escape_into(&mut uri, name);
        uri.push('=');
        escape_into(&mut uri, value);
        mark = '&';
    }
    Ok(uri)
}

/// Everything but letters, digits and marks (RFC 3261 §25.1, unreserved) is written `%XX`.
fn escape_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Whether a header field may be given, or why not.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), &'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("The name is not one that a header field can have.");
    }
    if is_reserved(name.as_bytes()) {
        return Err("This header field is reserved.");
    }
    if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err("The value does not stay within its line.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [telnyx 19] [telnyx 2.1] [telnyx 2.2] Header fields go behind those that are there, escaped.
    #[test]
    fn refer_to_carries_headers() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let headers = [pair("X-Ticket", "9/10"), pair("User-to-User", "56;encoding=hex")];
        assert_eq!(
            refer_to("sip:desk2@pbx.example.org", &headers).as_deref(),
            Ok("sip:desk2@pbx.example.org?X-Ticket=9%2F10&User-to-User=56%3Bencoding%3Dhex")
        );
        assert_eq!(refer_to("a@h?X-A=1", &headers[..1]).as_deref(), Ok("sip:a@h?X-A=1&X-Ticket=9%2F10"));
        assert_eq!(refer_to("tel:+49301", &[]).as_deref(), Ok("tel:+49301"));
        assert_eq!(refer_to("tel:+49301", &headers), Err(Unusable::Headers));
        for wrong in ["not a uri", "http://h", "sip:a@h?Call-ID=1", "sip:a@h;method=BYE", "+49301", "tel:"] {
            assert_eq!(refer_to(wrong, &[]), Err(Unusable::Address), "{wrong}");
        }
    }

    /// [telnyx 2.2] What touches the dialog, or would leave its line, is refused.
    #[test]
    fn header_fields() {
        assert_eq!(check_header("X-A", "b c"), Ok(()));
        for (name, value) in [("Call-ID", "1"), ("i", "1"), ("X A", "1"), ("", "1"), ("X-A", "1\r\nB: 2")] {
            assert!(check_header(name, value).is_err(), "{name}");
        }
    }

    /// Numbers and addresses.
    #[test]
    fn parties() {
        let read = |text: &str| party(text, None);
        assert_eq!(read("+49 (30) 1"), Some((Party::Number("+49301".into()), "+49301".into())));
        assert_eq!(read("a@h"), Some((Party::Uri("sip:a@h".into()), "sip:a@h".into())));
        assert_eq!(
            party("sip:a@h", Some("TCP")),
            Some((Party::Uri("sip:a@h;transport=tcp".into()), "sip:a@h".into()))
        );
        for wrong in ["", "maria", "http://h/", "sip:a@h?X=1", "sip:", "+"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(caller("anonymous").as_deref(), Some("anonymous"));
        assert_eq!(caller("a b"), None);
        assert_eq!(shown("sip:%2B4930@h;user=phone"), "+4930");
        assert_eq!(shown("sips:bob@a.example:5061;x=y"), "sips:bob@a.example");
    }
}
