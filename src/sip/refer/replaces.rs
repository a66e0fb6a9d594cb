//! Dialogs named in a Refer-To: the Replaces value of RFC 3891, escaped into a URI's header part and
//! read out of it, and Target-Dialog (RFC 4538).

use crate::sip::message::{Message, ParseError, Replaces};

/// A dialog as a REFER names it to Baton, whose own tag there is the `to-tag` (Replaces) or the
/// `local-tag` (Target-Dialog).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its Call-ID.
    pub call_id: Box<[u8]>,
    /// The tag of the party that the request is to reach.
    pub to_tag: Box<[u8]>,
    /// The other tag.
    pub from_tag: Box<[u8]>,
    /// Whether only an early dialog is meant (RFC 3891 §3).
    pub early_only: bool,
}

impl Named {
    /// Reads a Replaces value that was decoded once already.
    pub fn parse(value: &[u8]) -> Option<Named> {
        Replaces::parse(value).ok().map(Named::own)
    }

    /// The dialog a request's Target-Dialog names; `Err` when it cannot be read.
    pub fn target_dialog(request: &Message) -> Result<Option<Named>, ParseError> {
        Ok(request.target_dialog()?.map(Named::own))
    }

    fn own(named: Replaces<'_>) -> Named {
        Named {
            call_id: named.call_id.into(),
            to_tag: named.to_tag.into(),
            from_tag: named.from_tag.into(),
            early_only: named.early_only,
        }
    }

    /// The Replaces value, as a header field of an INVITE has it.
    pub fn value(&self) -> Vec<u8> {
        let mut out = self.call_id.to_vec();
        out.extend_from_slice(b";to-tag=");
        out.extend_from_slice(&self.to_tag);
        out.extend_from_slice(b";from-tag=");
        out.extend_from_slice(&self.from_tag);
        if self.early_only {
            out.extend_from_slice(b";early-only");
        }
        out
    }

    /// Appends `?Replaces=…` (or `&Replaces=…`) to a URI that is being written.
    pub fn put_into_uri(&self, out: &mut Vec<u8>) {
        out.push(if out.contains(&b'?') { b'&' } else { b'?' });
        out.extend_from_slice(b"Replaces=");
        escape(out, &self.value());
    }
}

/// Percent-encodes everything but `unreserved` (RFC 3261 §25.1). The grammar of a header part lets
/// some more stand, among them `+` and `/`; readers that take a plus for a space exist.
pub fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |d: u8| DIGITS.get(usize::from(d)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Uri;
    use crate::sip::message::uri::decode;

    fn named(call_id: &[u8]) -> Named {
        Named {
            call_id: call_id.into(),
            to_tag: b"T".as_slice().into(),
            from_tag: b"F".as_slice().into(),
            early_only: false,
        }
    }

    /// The value of section 5.1, byte for byte.
    #[test]
    fn written_as_the_examples_do() {
        let mut out = b"sip:carol@192.0.2.7:5070;transport=tcp".to_vec();
        named(b"callid").put_into_uri(&mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "sip:carol@192.0.2.7:5070;transport=tcp?Replaces=callid%3Bto-tag%3DT%3Bfrom-tag%3DF"
        );
        let mut second = b"sip:c@x?Require=replaces".to_vec();
        named(b"a").put_into_uri(&mut second);
        assert!(second.starts_with(b"sip:c@x?Require=replaces&Replaces=a%3B"));
    }

    /// Whatever a Call-ID holds comes back whole after one decoding.
    #[test]
    fn there_and_back() {
        for call_id in [
            &b"425928@bobster.example.org"[..],
            b"a+b/c=d@[2001:db8::1]",
            b"100%25@x",
            b"\"q\"@<h>",
            b"(){}?:*!~'`",
        ] {
            let wanted = named(call_id);
            let mut uri = b"sip:c@x".to_vec();
            wanted.put_into_uri(&mut uri);
            let uri = Uri::parse(&uri).expect("a URI");
            let (name, value) = uri.header_fields().next().expect("a header");
            assert_eq!(name, b"Replaces");
            for byte in [b'@', b';', b'=', b'+', b'"', b'/', b' '] {
                assert!(!value.contains(&byte), "{} is not escaped", char::from(byte));
            }
            let decoded = decode(value);
            assert_eq!(&*decoded, wanted.value());
            if call_id.iter().all(|b| b.is_ascii_graphic() && *b != b'=') {
                assert_eq!(Named::parse(&decoded), Some(wanted));
            }
        }
    }

    /// Read after one decoding; parameters in any order, early-only noticed.
    #[test]
    fn read() {
        let value = decode(b"12345%40192.168.118.3%3Bfrom-tag%3D5FFE-3994%3Bto-tag%3D12345%3Bearly-only");
        let named = Named::parse(&value).expect("a dialog");
        assert_eq!(&*named.call_id, b"12345@192.168.118.3");
        assert_eq!(
            (&*named.to_tag, &*named.from_tag, named.early_only),
            (&b"12345"[..], &b"5FFE-3994"[..], true)
        );
        for bad in [
            &b""[..],
            b"a",
            b"a;to-tag=1",
            b"a;from-tag=1",
            b"a b;to-tag=1;from-tag=2",
            b"a%40b%3Bto-tag%3D1",
        ] {
            assert_eq!(Named::parse(bad), None, "{bad:?}");
        }
    }
}
