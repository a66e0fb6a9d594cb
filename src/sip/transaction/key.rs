//! How a request finds its server transaction (RFC 3261 §17.2.3).
//!
//! Only a keyed 128-bit hash of what must match is kept. Peers choose what goes into it, so the key
//! is secret: nobody can make two requests meet, or fill one bucket of the table.

use crate::sip::message::{Message, Method, Ready};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// The name of a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerKey([u64; 2]);

impl ServerKey {
    /// The bits a table places it by.
    pub(super) const fn hash(self) -> u64 {
        self.0[0]
    }
}

/// Makes keys; one per shard.
#[derive(Debug)]
pub(super) struct Keyring(SipHasher13);

impl Keyring {
    pub(super) fn new(secret: &[u8; 16]) -> Keyring {
        Keyring(SipHasher13::new_with_key(secret))
    }

    /// The transaction a request belongs to; an ACK belongs to its INVITE's.
    pub(super) fn of(&self, message: &Message, ready: &Ready<'_>) -> ServerKey {
        match message.method() {
            Method::Invite | Method::Ack => self.make(ready, b"INVITE"),
            _ => self.make(ready, message.method_bytes()),
        }
    }

    /// The INVITE transaction that a CANCEL is for (§9.2: as if its method were INVITE).
    pub(super) fn of_invite(&self, cancel: &Ready<'_>) -> ServerKey {
        self.make(cancel, b"INVITE")
    }

    fn make(&self, ready: &Ready<'_>, method: &[u8]) -> ServerKey {
        let mut hasher = Fields(self.0);
        let via = &ready.via;
        if via.has_cookie() {
            hasher.field(via.branch.unwrap_or_default());
        } else {
            // RFC 2543: the fields that a retransmission has in common. An ACK carries the To tag of
            // our response, so To says nothing about the INVITE's transaction.
            hasher.field(b"");
            hasher.field(via.branch.unwrap_or_default());
            hasher.field(ready.uri.map_or(&b""[..], |uri| uri.raw));
            hasher.field(ready.from_tag.unwrap_or_default());
            hasher.field(ready.call_id);
            hasher.0.write_u32(ready.cseq.number);
            if method != b"INVITE" {
                hasher.field(ready.to_tag.unwrap_or_default());
            }
        }
        hasher.field(method);
        hasher.lower_case(via.host);
        hasher.0.write_u32(via.port.map_or(u32::MAX, u32::from));
        let hash = hasher.0.finish128();
        ServerKey([hash.h1, hash.h2])
    }
}

struct Fields(SipHasher13);

impl Fields {
    /// A field and its length: no two lists of fields run together.
    fn field(&mut self, bytes: &[u8]) {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
    }

    fn lower_case(&mut self, host: &[u8]) {
        self.0.write_usize(host.len());
        for chunk in host.chunks(16) {
            let mut lower = [0u8; 16];
            for (to, from) in lower.iter_mut().zip(chunk) {
                *to = from.to_ascii_lowercase();
            }
            self.0.write(&lower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Limits;
    use bytes::Bytes;

    fn request(method: &str, via: &str, to: &str, cseq: u32) -> Message {
        let text = format!(
            "{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@x>;tag=1\r\nTo: {to}\r\n\
             Call-ID: c\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    fn key(message: &Message) -> ServerKey {
        Keyring::new(&[7; 16]).of(message, &message.ready().unwrap())
    }

    const TO: &str = "<sip:b@x>";

    /// [C-073] Branch, sent-by and method, and nothing else, when the cookie is there.
    #[test]
    fn with_the_cookie() {
        let invite = key(&request("INVITE", "h.example:5060;branch=z9hG4bKa", TO, 1));
        let same = key(&request("INVITE", "H.Example:5060;rport;branch=z9hG4bKa", "<sip:b@x>;tag=9", 2));
        assert_eq!(invite, same);
        assert_eq!(invite, key(&request("ACK", "h.example:5060;branch=z9hG4bKa", TO, 1)));
        for other in [
            request("CANCEL", "h.example:5060;branch=z9hG4bKa", TO, 1),
            request("INVITE", "h.example:5060;branch=z9hG4bKA", TO, 1),
            request("INVITE", "h.example:5061;branch=z9hG4bKa", TO, 1),
            request("INVITE", "h.example;branch=z9hG4bKa", TO, 1),
            request("INVITE", "g.example:5060;branch=z9hG4bKa", TO, 1),
            request("FOO", "h.example:5060;branch=z9hG4bKa", TO, 1),
            request("BAR", "h.example:5060;branch=z9hG4bKa", TO, 1),
        ] {
            assert_ne!(invite, key(&other));
        }
        assert_ne!(
            key(&request("FOO", "h;branch=z9hG4bKa", TO, 1)),
            key(&request("BAR", "h;branch=z9hG4bKa", TO, 1))
        );
    }

    /// [C-073] The rules of RFC 2543 without it: Request-URI, tags, Call-ID, CSeq number and Via.
    #[test]
    fn without_the_cookie() {
        let invite = key(&request("INVITE", "h;branch=1", TO, 1));
        assert_eq!(invite, key(&request("ACK", "h;branch=1", "<sip:b@x>;tag=ours", 1)));
        assert_ne!(invite, key(&request("INVITE", "h;branch=1", TO, 2)));
        assert_ne!(invite, key(&request("INVITE", "h;branch=2", TO, 1)));
        let bye = key(&request("BYE", "h", "<sip:b@x>;tag=1", 3));
        assert_eq!(bye, key(&request("BYE", "h", "<sip:b@x>;tag=1", 3)));
        assert_ne!(bye, key(&request("BYE", "h", "<sip:b@x>;tag=2", 3)));
    }

    /// [C-083] A CANCEL names its INVITE's transaction.
    #[test]
    fn cancel_finds_the_invite() {
        for via in ["h:5060;branch=z9hG4bKa", "h:5060"] {
            let ring = Keyring::new(&[7; 16]);
            let cancel = request("CANCEL", via, TO, 1);
            assert_eq!(ring.of_invite(&cancel.ready().unwrap()), key(&request("INVITE", via, TO, 1)));
        }
    }
}
