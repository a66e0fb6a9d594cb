//! Answering a challenge (RFC 3261 §22.2, §22.3; RFC 7616 §3.4; RFC 8760 §2.4).

use super::digest::{Algorithm, Hex, Protection, Request, ha1, response};
use super::fields::{DigestError, Fields};
use crate::sip::message::HeaderId;
use crate::sip::plan::Credentials;

/// A challenge that can be answered, in bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    proxy: bool,
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
    opaque: Option<Box<[u8]>>,
    algorithm: Algorithm,
    session: bool,
    /// Whether the challenge named its algorithm; the answer then does, too.
    named: bool,
    qop: Qop,
    stale: bool,
    userhash: bool,
}

/// The quality of protection chosen from those offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    Legacy,
    Auth,
    AuthInt,
}

impl Challenge {
    /// Reads one value of WWW-Authenticate, or of Proxy-Authenticate (`proxy`).
    ///
    /// Fails for everything that cannot be answered; such a challenge is passed over (RFC 8760 §2.4).
    pub fn parse(value: &[u8], proxy: bool) -> Result<Challenge, DigestError> {
        let fields = Fields::parse(value)?;
        let realm = fields.realm.ok_or(DigestError::Incomplete)?;
        let nonce = fields.nonce.ok_or(DigestError::Incomplete)?;
        // RFC 7616 §3.3: no algorithm means MD5; an unknown one, that the challenge is ignored.
        let (algorithm, session) = match fields.algorithm {
            None => (Algorithm::Md5, false),
            Some(token) => Algorithm::from_token(token).ok_or(DigestError::Unsupported)?,
        };
        let offers = |options: &[u8], name: &[u8]| {
            options.split(|&b| b == b',').any(|o| o.trim_ascii().eq_ignore_ascii_case(name))
        };
        let qop = match fields.qop {
            None => Qop::Legacy,
            Some(options) if offers(options, b"auth") => Qop::Auth,
            Some(options) if offers(options, b"auth-int") => Qop::AuthInt,
            Some(_) => return Err(DigestError::Unsupported),
        };
        // A session's HA1 needs a cnonce, which goes with qop only (RFC 7616 §3.4.2).
        if session && qop == Qop::Legacy {
            return Err(DigestError::Unsupported);
        }
        let says = |field: Option<&[u8]>| field.is_some_and(|v| v.eq_ignore_ascii_case(b"true"));
        Ok(Challenge {
            proxy,
            realm: one_line(realm),
            nonce: one_line(nonce),
            opaque: fields.opaque.map(one_line),
            algorithm,
            session,
            named: fields.algorithm.is_some(),
            qop,
            stale: says(fields.stale),
            userhash: says(fields.userhash),
        })
    }

    /// Whether only the nonce was too old: the credentials were right (RFC 7616 §3.3).
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// The realm, escapes kept.
    pub fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// The algorithm asked for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn same_space(&self, other: &Challenge) -> bool {
        self.proxy == other.proxy && self.realm == other.realm
    }

    /// The header field an answer goes into.
    fn field(&self) -> HeaderId {
        if self.proxy { HeaderId::ProxyAuthorization } else { HeaderId::Authorization }
    }

    /// HA1 for this challenge; `None` when the credentials cannot give it.
    fn ha1(&self, credentials: &Credentials, cnonce: &[u8]) -> Option<Hex> {
        let plain = ha1(&credentials.secret, self.algorithm, credentials.user.as_bytes(), &self.realm)?;
        Some(if self.session { self.algorithm.hash(&[plain.as_bytes(), &self.nonce, cnonce]) } else { plain })
    }
}

/// How often each nonce was used: `nc` must grow by one with every request (RFC 7616 §3.4). Keeps a
/// few nonces only; a leg sees one at a time for each of its proxies.
#[derive(Clone, Debug, Default)]
pub struct NonceCounts {
    used: Vec<(Box<[u8]>, u32)>,
}

impl NonceCounts {
    const KEPT: usize = 8;

    fn next(&mut self, nonce: &[u8]) -> u32 {
        if let Some((_, count)) = self.used.iter_mut().find(|(known, _)| **known == *nonce) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.used.len() >= NonceCounts::KEPT {
            self.used.remove(0);
        }
        self.used.push((nonce.into(), 1));
        1
    }
}

/// What the repeated request carries: one Authorization or Proxy-Authorization for each realm that
/// challenged, for the first of its challenges that can be answered (RFC 8760 §2.4, §2.5).
///
/// `uri` is the Request-URI and `body` the body as they will be sent; `cnonce` are fresh random bits.
/// `None` says that nothing can be answered. The same challenges may be answered again in later
/// requests: `nc` counts on.
pub fn answer(
    challenges: &[Challenge],
    credentials: &Credentials,
    method: &[u8],
    uri: &[u8],
    body: &[u8],
    cnonce: u64,
    nc: &mut NonceCounts,
) -> Option<Vec<(HeaderId, Vec<u8>)>> {
    let cnonce = format!("{cnonce:016x}");
    let mut answered: Vec<&Challenge> = Vec::new();
    let mut values = Vec::new();
    for challenge in challenges {
        if answered.iter().any(|done| done.same_space(challenge)) {
            continue;
        }
        let Some(ha1) = challenge.ha1(credentials, cnonce.as_bytes()) else { continue };
        let count = format!("{:08x}", nc.next(&challenge.nonce));
        let protection = match challenge.qop {
            Qop::Legacy => Protection::Legacy,
            Qop::Auth => Protection::Auth { nc: count.as_bytes(), cnonce: cnonce.as_bytes() },
            Qop::AuthInt => Protection::AuthInt { nc: count.as_bytes(), cnonce: cnonce.as_bytes(), body },
        };
        let request = Request { method, uri, nonce: &challenge.nonce, protection };
        let response = response(challenge.algorithm, &ha1, &request);
        values.push((challenge.field(), written(challenge, credentials, uri, &request, &response)));
        answered.push(challenge);
    }
    (!values.is_empty()).then_some(values)
}

/// Whether the answer to `before` was refused: a realm that it answered challenges again and does not
/// say `stale`. The request then must not be repeated with the same credentials (C-200).
pub fn refused(before: &[Challenge], again: &[Challenge]) -> bool {
    again.iter().any(|new| !new.stale && before.iter().any(|old| old.same_space(new)))
}

/// The header value, quoted as RFC 7616 §3.4 and RFC 3261 §25.1 say: `algorithm`, `qop`, `nc` and
/// `userhash` stand bare.
fn written(
    challenge: &Challenge,
    credentials: &Credentials,
    uri: &[u8],
    request: &Request<'_>,
    response: &Hex,
) -> Vec<u8> {
    let mut out = b"Digest username=\"".to_vec();
    if challenge.userhash {
        let hash = challenge.algorithm.hash(&[credentials.user.as_bytes(), &challenge.realm]);
        out.extend_from_slice(hash.as_bytes());
    } else {
        put_escaped(&mut out, credentials.user.as_bytes());
    }
    out.push(b'"');
    put_quoted(&mut out, "realm", &challenge.realm);
    put_quoted(&mut out, "nonce", &challenge.nonce);
    put_quoted(&mut out, "uri", uri);
    put_quoted(&mut out, "response", response.as_bytes());
    if challenge.named {
        let suffix = if challenge.session { "-sess" } else { "" };
        out.extend_from_slice(format!(", algorithm={}{suffix}", challenge.algorithm.token()).as_bytes());
    }
    match request.protection {
        Protection::Legacy => {}
        Protection::Auth { nc, cnonce } => put_counted(&mut out, "auth", nc, cnonce),
        Protection::AuthInt { nc, cnonce, .. } => put_counted(&mut out, "auth-int", nc, cnonce),
    }
    if let Some(opaque) = &challenge.opaque {
        put_quoted(&mut out, "opaque", opaque);
    }
    if challenge.userhash {
        out.extend_from_slice(b", userhash=true");
    }
    out
}

fn put_counted(out: &mut Vec<u8>, qop: &str, nc: &[u8], cnonce: &[u8]) {
    out.extend_from_slice(b", qop=");
    out.extend_from_slice(qop.as_bytes());
    put_quoted(out, "cnonce", cnonce);
    out.extend_from_slice(b", nc=");
    out.extend_from_slice(nc);
}

/// Appends a directive whose value is escaped already.
fn put_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b", ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    out.extend_from_slice(value);
    out.push(b'"');
}

fn put_escaped(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// Without the line ends that folding leaves: what is hashed is what is sent (C-212).
fn one_line(value: &[u8]) -> Box<[u8]> {
    value.iter().map(|&b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::plan::Secret;

    fn bob() -> Credentials {
        Credentials { user: "bob".into(), secret: Secret::Password("zanzibar".into()) }
    }

    fn answered(challenges: &[&str], credentials: &Credentials) -> Option<Vec<(HeaderId, String)>> {
        let challenges: Vec<_> =
            challenges.iter().filter_map(|c| Challenge::parse(c.as_bytes(), false).ok()).collect();
        let values = answer(
            &challenges,
            credentials,
            b"INVITE",
            b"sip:bob@biloxi.com",
            b"body",
            7,
            &mut NonceCounts::default(),
        )?;
        Some(values.into_iter().map(|(id, v)| (id, String::from_utf8(v).unwrap())).collect())
    }

    /// [C-196] The first challenge of a realm that is understood is the one answered.
    #[test]
    fn the_first_supported_one() {
        let got = answered(
            &[
                "Digest realm=\"r\", nonce=\"1\", algorithm=SHA-1, qop=\"auth\"",
                "Bearer realm=\"r\"",
                "Digest realm=\"r\", nonce=\"2\", algorithm=SHA-512-256, qop=\"auth\"",
                "Digest realm=\"r\", nonce=\"3\", algorithm=MD5, qop=\"auth\"",
            ],
            &bob(),
        )
        .unwrap();
        assert_eq!(got.len(), 1);
        assert!(got[0].1.contains("nonce=\"2\"") && got[0].1.contains("algorithm=SHA-512-256"));
        // What is known as a hash only decides, too.
        let stored = Credentials {
            user: "bob".into(),
            secret: Secret::Ha1 { md5: Some("0".repeat(32).into()), sha256: None, sha512_256: None },
        };
        let got = answered(
            &["Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256", "Digest realm=\"r\", nonce=\"3\""],
            &stored,
        )
        .unwrap();
        assert!(got[0].1.contains("nonce=\"3\"") && !got[0].1.contains("algorithm"));
        assert_eq!(answered(&["Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256"], &stored), None);
    }

    /// [C-197] What the grammar quotes is quoted, what it does not is not; opaque comes back.
    #[test]
    fn quoting() {
        let got = answered(
            &["Digest realm=\"biloxi.com\", qop=\"auth-int,auth\", nonce=\"n\", opaque=\"o\", algorithm=md5"],
            &bob(),
        )
        .unwrap();
        let (id, value) = &got[0];
        assert_eq!(*id, HeaderId::Authorization);
        let (front, rest) = value.split_once("response=\"").unwrap();
        assert_eq!(
            front,
            "Digest username=\"bob\", realm=\"biloxi.com\", nonce=\"n\", uri=\"sip:bob@biloxi.com\", "
        );
        let (response, rest) = rest.split_once('"').unwrap();
        assert_eq!(response.len(), 32);
        assert_eq!(rest, ", algorithm=MD5, qop=auth, cnonce=\"0000000000000007\", nc=00000001, opaque=\"o\"");
    }

    /// [C-197] A peer that takes hashed user names never sees the name.
    #[test]
    fn userhash() {
        let challenge = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256, userhash=true";
        let value = answered(&[challenge], &bob()).unwrap().remove(0).1;
        assert!(!value.contains("bob\"") && value.ends_with(", userhash=true"), "{value}");
    }

    /// [C-197] The body counts only where nothing less is offered; without qop the old form is used.
    #[test]
    fn qualities_of_protection() {
        let value = |c: &str| answered(&[c], &bob()).unwrap().remove(0).1;
        assert!(value("Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"").contains("qop=auth-int, cnonce="));
        assert!(!value("Digest realm=\"r\", nonce=\"n\"").contains("nc="));
        let unknown = Challenge::parse(b"Digest realm=\"r\", nonce=\"n\", qop=\"x\"", true);
        assert_eq!(unknown, Err(DigestError::Unsupported));
        assert_eq!(Challenge::parse(b"Digest realm=\"r\"", true), Err(DigestError::Incomplete));
    }

    /// [C-200] Challenges of several realms are answered at once, each in its own field, and counted.
    #[test]
    fn several_realms() {
        let parse = |value: &[u8], proxy| Challenge::parse(value, proxy).unwrap();
        let challenges = [
            parse(b"Digest realm=\"a\", nonce=\"1\", qop=\"auth\"", true),
            parse(b"Digest realm=\"b\", nonce=\"2\", qop=\"auth\"", true),
            parse(b"Digest realm=\"a\", nonce=\"3\", qop=\"auth\"", false),
        ];
        let mut counts = NonceCounts::default();
        let mut ask = || answer(&challenges, &bob(), b"BYE", b"sip:x@y", b"", 1, &mut counts).unwrap();
        let ids: Vec<_> = ask().iter().map(|(id, _)| *id).collect();
        use HeaderId::{Authorization, ProxyAuthorization};
        assert_eq!(ids, [ProxyAuthorization, ProxyAuthorization, Authorization]);
        assert!(ask().iter().all(|(_, v)| String::from_utf8_lossy(v).contains("nc=00000002")));
    }

    /// [C-200] A second challenge ends it, unless it says that only the nonce was too old.
    #[test]
    fn a_second_challenge() {
        let parse = |value: &[u8]| [Challenge::parse(value, false).unwrap()];
        let first = parse(b"Digest realm=\"a\", nonce=\"1\"");
        assert!(refused(&first, &parse(b"Digest realm=\"a\", nonce=\"2\"")));
        assert!(!refused(&first, &parse(b"Digest realm=\"a\", nonce=\"2\", stale=TRUE")));
        assert!(!refused(&first, &parse(b"Digest realm=\"b\", nonce=\"2\"")));
        assert!(!refused(&[], &first));
    }

    /// [C-212] Nothing in a challenge or a user name leaves its quotes or its line.
    #[test]
    fn nothing_escapes() {
        let challenge = Challenge::parse(b"Digest realm=\"a\r\n b\", nonce=\"1\\\"2\"", false).unwrap();
        let user = Credentials { user: "b\"o\\b".into(), secret: Secret::Password("p".into()) };
        let values =
            answer(&[challenge], &user, b"BYE", b"sip:x@y", b"", 1, &mut NonceCounts::default()).unwrap();
        let value = String::from_utf8(values[0].1.clone()).unwrap();
        assert!(value.starts_with(r#"Digest username="b\"o\\b", realm="a   b", nonce="1\"2""#), "{value}");
    }

    /// The nonces remembered are bounded.
    #[test]
    fn counts_are_bounded() {
        let mut counts = NonceCounts::default();
        for i in 0..100u32 {
            assert_eq!(counts.next(&i.to_be_bytes()), 1);
        }
        assert_eq!(counts.used.len(), NonceCounts::KEPT);
        assert_eq!(counts.next(&99u32.to_be_bytes()), 2);
    }

    /// [C-202] Debug output of what holds secrets shows none.
    #[test]
    fn secrets_stay_hidden() {
        assert!(!format!("{:?}", bob()).contains("zanzibar"));
    }
}
