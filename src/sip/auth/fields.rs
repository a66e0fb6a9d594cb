//! The directives of a `Digest` challenge or of `Digest` credentials, found in place.

use crate::sip::message::Split;

/// Why a value of an authentication field cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestError {
    /// Another scheme, such as Bearer.
    OtherScheme,
    /// It does not follow the grammar.
    Malformed,
    /// A directive stands twice.
    Repeated,
    /// A directive that must be there is not.
    Incomplete,
    /// An algorithm or a quality of protection that is not known.
    Unsupported,
    /// Longer than anything reasonable.
    TooLong,
}

/// Bytes of a value that is looked at; real ones have some 300.
const LONGEST: usize = 4_096;

/// The directives that are known; others are passed over (RFC 7616 §3.3). Quoted ones stand without
/// their quotes, escapes kept: that is what is hashed (RFC 7616 §3.4.1, `unq`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) username: Option<&'a [u8]>,
    pub(super) realm: Option<&'a [u8]>,
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) uri: Option<&'a [u8]>,
    pub(super) response: Option<&'a [u8]>,
    pub(super) algorithm: Option<&'a [u8]>,
    pub(super) cnonce: Option<&'a [u8]>,
    pub(super) opaque: Option<&'a [u8]>,
    pub(super) qop: Option<&'a [u8]>,
    pub(super) nc: Option<&'a [u8]>,
    pub(super) stale: Option<&'a [u8]>,
    pub(super) userhash: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Reads one header value.
    pub(super) fn parse(value: &'a [u8]) -> Result<Fields<'a>, DigestError> {
        if value.len() > LONGEST {
            return Err(DigestError::TooLong);
        }
        let value = value.trim_ascii();
        let (scheme, rest) = value.split_at_checked(6).ok_or(DigestError::OtherScheme)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") || !rest.first().is_some_and(u8::is_ascii_whitespace) {
            return Err(DigestError::OtherScheme);
        }
        let mut fields = Fields::default();
        for directive in Split::new(rest) {
            let equals = memchr::memchr(b'=', directive).ok_or(DigestError::Malformed)?;
            let (name, rest) = directive.split_at(equals);
            let value = unquoted(rest.get(1..).unwrap_or_default().trim_ascii())?;
            let Some(place) = fields.place(name.trim_ascii()) else { continue };
            if place.replace(value).is_some() {
                return Err(DigestError::Repeated);
            }
        }
        Ok(fields)
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut Option<&'a [u8]>> {
        let places: [(&[u8], &mut Option<&'a [u8]>); 12] = [
            (b"username", &mut self.username),
            (b"realm", &mut self.realm),
            (b"nonce", &mut self.nonce),
            (b"uri", &mut self.uri),
            (b"response", &mut self.response),
            (b"algorithm", &mut self.algorithm),
            (b"cnonce", &mut self.cnonce),
            (b"opaque", &mut self.opaque),
            (b"qop", &mut self.qop),
            (b"nc", &mut self.nc),
            (b"stale", &mut self.stale),
            (b"userhash", &mut self.userhash),
        ];
        places.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, place)| place)
    }
}

/// A token as it is, a quoted string without its quotes. Deployed elements quote what the grammar
/// does not, and the other way round; both are read.
fn unquoted(value: &[u8]) -> Result<&[u8], DigestError> {
    match value {
        [b'"', inner @ .., b'"'] if closes(inner) => Ok(inner),
        [] | [b'"', ..] => Err(DigestError::Malformed),
        token if token.iter().any(|b| b.is_ascii_whitespace() || *b == b'"') => Err(DigestError::Malformed),
        token => Ok(token),
    }
}

/// Whether what stands between two quotes is one quoted string: no bare quote, no open escape.
fn closes(inner: &[u8]) -> bool {
    let mut escaped = false;
    for &byte in inner {
        match byte {
            b'\\' => escaped = !escaped,
            b'"' if !escaped => return false,
            _ => escaped = false,
        }
    }
    !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-197] Quotes, white space and order do not matter; commas within quotes part nothing.
    #[test]
    fn directives_are_found() {
        let fields = Fields::parse(
            b"digest  realm = \"a, \\\"b\\\"\" ,\r\n nonce=\"x=y==\",algorithm=\"MD5\", Qop=auth,x-more=\"1\"",
        )
        .unwrap();
        assert_eq!(fields.realm, Some(&b"a, \\\"b\\\""[..]));
        assert_eq!(fields.nonce, Some(&b"x=y=="[..]));
        assert_eq!(fields.algorithm, Some(&b"MD5"[..]));
        assert_eq!(fields.qop, Some(&b"auth"[..]));
        assert_eq!(Fields::parse(b"Digest opaque=\"\"").unwrap().opaque, Some(&b""[..]));
    }

    #[test]
    fn faults_are_told_apart() {
        use DigestError::{Malformed, OtherScheme, Repeated, TooLong};
        let long = [b"Digest realm=\"".as_slice(), &[b'a'; 5_000], b"\""].concat();
        for (value, error) in [
            (&b"Bearer abc"[..], OtherScheme),
            (b"", OtherScheme),
            (b"Digest", OtherScheme),
            (b"Digestrealm=\"a\"", OtherScheme),
            (b"Digest realm", Malformed),
            (b"Digest realm=", Malformed),
            (b"Digest realm=\"open", Malformed),
            (b"Digest realm=\"open\\\"", Malformed),
            (b"Digest realm=\"a\"b\"", Malformed),
            (b"Digest realm=\"a\", realm=\"b\"", Repeated),
            (&long, TooLong),
        ] {
            assert_eq!(Fields::parse(value).unwrap_err(), error, "{}", String::from_utf8_lossy(value));
        }
    }
}
