//! The arithmetic of RFC 7616 §3.4, shared by both sides.

use crate::sip::plan::Secret;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

/// A hash algorithm for Digest (RFC 7616 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// MD5: for peers that know no other.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

impl Algorithm {
    /// All there are, best first.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];

    /// Its token in a challenge.
    pub const fn token(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm a token names, and whether it is the `-sess` variant.
    pub(super) fn from_token(token: &[u8]) -> Option<(Algorithm, bool)> {
        let at = token.len().saturating_sub(5);
        let (name, session) = match token.split_at(at) {
            (name, suffix) if suffix.eq_ignore_ascii_case(b"-sess") => (name, true),
            _ => (token, false),
        };
        Algorithm::ALL
            .into_iter()
            .find(|a| name.eq_ignore_ascii_case(a.token().as_bytes()))
            .map(|a| (a, session))
    }

    /// The hash of the parts joined by colons, in lower-case hex.
    pub(super) fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Algorithm::Md5 => hash_with::<Md5>(parts),
            Algorithm::Sha256 => hash_with::<Sha256>(parts),
            Algorithm::Sha512_256 => hash_with::<Sha512_256>(parts),
        }
    }
}

fn hash_with<D: Digest>(parts: &[&[u8]]) -> Hex {
    let mut hasher = D::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    Hex::of(&hasher.finalize())
}

/// A hash in lower-case hex; 64 digits at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hex {
    digits: [u8; 64],
    len: u8,
}

impl Hex {
    fn of(bytes: &[u8]) -> Hex {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |d: u8| DIGITS.get(usize::from(d)).copied().unwrap_or(b'0');
        let mut hex = Hex { digits: [0; 64], len: 0 };
        for (pair, &byte) in hex.digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
            hex.len += 2;
        }
        hex
    }

    /// Hex digits from the configuration, in any case; `None` when they are more than a hash has.
    fn written(text: &str) -> Option<Hex> {
        let mut hex = Hex { digits: [0; 64], len: u8::try_from(text.len()).ok()? };
        hex.digits.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        hex.digits.make_ascii_lowercase();
        Some(hex)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// H(user:realm:password) (RFC 7616 §3.4.2), or what is stored of it; `None` when it is not known for
/// this algorithm. A stored one costs as much as one that is made (C-203).
pub(super) fn ha1(secret: &Secret, algorithm: Algorithm, user: &[u8], realm: &[u8]) -> Option<Hex> {
    match secret {
        Secret::Password(password) => Some(algorithm.hash(&[user, realm, password.as_bytes()])),
        Secret::Ha1 { md5, sha256, sha512_256 } => {
            std::hint::black_box(algorithm.hash(&[user, realm, b"stored"]));
            match algorithm {
                Algorithm::Md5 => md5.as_deref(),
                Algorithm::Sha256 => sha256.as_deref(),
                Algorithm::Sha512_256 => sha512_256.as_deref(),
            }
            .and_then(Hex::written)
        }
    }
}

impl Secret {
    /// Whether a challenge with this algorithm can be answered, or checked.
    pub fn knows(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (Secret::Password(_), Algorithm::Md5 | Algorithm::Sha256 | Algorithm::Sha512_256) => true,
            (Secret::Ha1 { md5, .. }, Algorithm::Md5) => md5.is_some(),
            (Secret::Ha1 { sha256, .. }, Algorithm::Sha256) => sha256.is_some(),
            (Secret::Ha1 { sha512_256, .. }, Algorithm::Sha512_256) => sha512_256.is_some(),
        }
    }
}

/// What a response is computed from, beside HA1 (RFC 7616 §3.4.1 to §3.4.3).
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) protection: Protection<'a>,
}

/// How a request is protected.
#[derive(Clone, Copy)]
pub(super) enum Protection<'a> {
    /// As RFC 2069 had it: peers that offer no qop (RFC 3261 §22.4 item 8).
    Legacy,
    /// `auth`.
    Auth { nc: &'a [u8], cnonce: &'a [u8] },
    /// `auth-int`.
    AuthInt { nc: &'a [u8], cnonce: &'a [u8], body: &'a [u8] },
}

/// The response to a challenge, from HA1 as it is for this algorithm and session.
pub(super) fn response(algorithm: Algorithm, ha1: &Hex, request: &Request<'_>) -> Hex {
    let ha1 = ha1.as_bytes();
    let Request { method, uri, nonce, protection } = *request;
    match protection {
        Protection::Legacy => {
            let ha2 = algorithm.hash(&[method, uri]);
            algorithm.hash(&[ha1, nonce, ha2.as_bytes()])
        }
        Protection::Auth { nc, cnonce } => {
            let ha2 = algorithm.hash(&[method, uri]);
            algorithm.hash(&[ha1, nonce, nc, cnonce, b"auth", ha2.as_bytes()])
        }
        Protection::AuthInt { nc, cnonce, body } => {
            let body = algorithm.hash(&[body]);
            let ha2 = algorithm.hash(&[method, uri, body.as_bytes()]);
            algorithm.hash(&[ha1, nonce, nc, cnonce, b"auth-int", ha2.as_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(hex: &Hex) -> &str {
        std::str::from_utf8(hex.as_bytes()).unwrap()
    }

    /// [C-196] The examples of RFC 7616 §3.9.1 (MD5, SHA-256) and of RFC 2617 §3.5.
    #[test]
    fn examples_of_the_standard() {
        let password = Secret::Password("Circle of Life".into());
        let (user, realm) = (&b"Mufasa"[..], &b"http-auth@example.org"[..]);
        let request = Request {
            method: b"GET",
            uri: b"/dir/index.html",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            protection: Protection::Auth {
                nc: b"00000001",
                cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            },
        };
        let of = |a| response(a, &ha1(&password, a, user, realm).unwrap(), &request);
        assert_eq!(text(&of(Algorithm::Md5)), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            text(&of(Algorithm::Sha256)),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
        let password = Secret::Password("Circle Of Life".into());
        let (realm, nonce) = (&b"testrealm@host.com"[..], &b"dcd98b7102dd2f0e8b11d0f600bfb0c093"[..]);
        let ha1 = ha1(&password, Algorithm::Md5, user, realm).unwrap();
        assert_eq!(text(&ha1), "939e7578ed9e3c518a452acee763bce9");
        let request = Request {
            nonce,
            protection: Protection::Auth { nc: b"00000001", cnonce: b"0a4f113b" },
            ..request
        };
        assert_eq!(text(&response(Algorithm::Md5, &ha1, &request)), "6629fae49393a05397450978507c4ef1");
    }

    /// [C-196] [C-197] The example of RFC 7616 §3.9.2: SHA-512-256 with a hashed user name. The values are
    /// those of erratum 4897; the ones printed come of SHA-512 cut to 256 bits, which is another hash.
    #[test]
    fn example_with_sha_512_256() {
        let (user, realm) = ("J\u{e4}s\u{f8}n Doe".as_bytes(), &b"api@example.org"[..]);
        let name = Algorithm::Sha512_256.hash(&[user, realm]);
        assert_eq!(text(&name), "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b");
        let password = Secret::Password("Secret, or not?".into());
        let ha1 = ha1(&password, Algorithm::Sha512_256, user, realm).unwrap();
        let cnonce = b"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
        let request = Request {
            method: b"GET",
            uri: b"/doe.json",
            nonce: b"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            protection: Protection::Auth { nc: b"00000001", cnonce },
        };
        assert_eq!(
            text(&response(Algorithm::Sha512_256, &ha1, &request)),
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        );
    }

    #[test]
    fn tokens() {
        assert_eq!(Algorithm::from_token(b"md5"), Some((Algorithm::Md5, false)));
        assert_eq!(Algorithm::from_token(b"MD5-sess"), Some((Algorithm::Md5, true)));
        assert_eq!(Algorithm::from_token(b"SHA-512-256-SESS"), Some((Algorithm::Sha512_256, true)));
        assert_eq!(Algorithm::from_token(b"SHA-1"), None);
        assert_eq!(Algorithm::from_token(b""), None);
    }

    /// [C-203] A stored hash is taken in any case; one that is not stored cannot be used.
    #[test]
    fn stored_hashes() {
        let stored = |md5: &str| Secret::Ha1 { md5: Some(md5.into()), sha256: None, sha512_256: None };
        let secret = stored("939E7578ED9E3C518A452ACEE763BCE9");
        let md5 = ha1(&secret, Algorithm::Md5, b"u", b"r").unwrap();
        assert_eq!(text(&md5), "939e7578ed9e3c518a452acee763bce9");
        assert!(ha1(&secret, Algorithm::Sha256, b"u", b"r").is_none());
        let broken = stored(&"a".repeat(200));
        assert!(ha1(&broken, Algorithm::Md5, b"u", b"r").is_none());
    }
}
