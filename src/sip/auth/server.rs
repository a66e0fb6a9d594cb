//! Challenging, and checking what comes back (RFC 3261 §22.1, §22.4; RFC 7616 §3.4.6, §5).
//!
//! Nothing is remembered of a challenge: a nonce says itself when it was given, and to whom. Of a nonce
//! that was used rightly, the counts are remembered until it expires, so that no request serves twice.

use super::digest::{Algorithm, Protection, Request, ha1, response};
use super::fields::{DigestError, Fields};
use super::guesses::{Guesses, Lesson, Sender};
use super::nonce::{Heard, LIFETIME, Mint, Nonce};
use crate::sip::message::{Uri, uri};
use crate::sip::plan::{self, Credentials, Secret};
use crate::sip::time::Time;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// Nonces in use that are remembered; past it the oldest are no longer taken.
const REMEMBERED: usize = 65_536;

/// A protection space of Baton's own, with what it knows of the nonces it gave out. Each shard has its
/// own: a nonce of another shard is stale here, and so cannot be counted in two places.
pub struct Realm {
    realm: Box<str>,
    nonces: Mint,
    /// What is offered, best first.
    offered: Vec<Algorithm>,
    /// Users by the hash of their name (RFC 7616 §3.4.4).
    hashed: HashMap<Box<[u8]>, Box<str>>,
    /// Stands for a user that does not exist.
    nobody: Credentials,
    used: BTreeMap<Nonce, Window>,
    /// Nonces up to this one are forgotten and no longer taken.
    floor: Option<Nonce>,
    guesses: Guesses,
}

/// The counts seen of a nonce: the highest, and which of the 63 below it. A gap is no fault: requests
/// overtake each other, and requests are lost.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    highest: u32,
    seen: u64,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'c> {
    /// This user.
    Ok {
        /// Its name as configured.
        user: &'c str,
    },
    /// The nonce does not serve (any more, or here), whoever it is: challenge with this as `stale`.
    Stale(Heard),
    /// Unknown user, wrong password, or credentials that cannot be read: nobody is told which (C-203).
    Refused,
    /// As if [`Verdict::Refused`], but without a look: there were too many like it (T-025).
    Banned,
    /// No credentials for this realm.
    Missing,
}

impl std::fmt::Debug for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Realm")
            .field("realm", &self.realm)
            .field("used", &self.used.len())
            .finish_non_exhaustive()
    }
}

impl Realm {
    /// A realm for these users. `key` are random bits that no other shard or process uses, `shared` are
    /// the same on all shards.
    ///
    /// Offered are the algorithms asked for, in this order (RFC 8760 §2.3), but none that some user could not
    /// answer because only another hash is stored for it: peers take the first and do not come back
    /// for the second.
    pub fn new<'c>(
        realm: &str,
        auth: &plan::Auth,
        key: [u8; 32],
        shared: [u8; 16],
        users: impl Iterator<Item = &'c Credentials> + Clone,
    ) -> Realm {
        let answered = |a: &Algorithm| users.clone().all(|user| user.secret.knows(*a));
        let mut offered: Vec<_> = auth.algorithms.iter().copied().filter(answered).collect();
        if offered.is_empty() {
            offered.extend(&auth.algorithms);
        }
        // What goes between quotes must not end them.
        let realm: String = realm.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect();
        let mut hashed = HashMap::new();
        for user in users {
            for algorithm in &offered {
                let hash = algorithm.hash(&[user.user.as_bytes(), realm.as_bytes()]);
                hashed.insert(hash.as_bytes().into(), user.user.clone());
            }
        }
        let nobody = Credentials { user: "".into(), secret: Secret::Password("stored".into()) };
        let (nonces, used, floor) = (Mint::new(key), BTreeMap::new(), None);
        let guesses = Guesses::new(shared, auth.ban);
        Realm { realm: realm.into(), nonces, offered, hashed, nobody, used, floor, guesses }
    }

    /// Takes over other users, algorithms, or another name; nonces given out stay good, and who is
    /// banned stays so.
    pub fn replan<'c>(
        &mut self,
        realm: &str,
        auth: &plan::Auth,
        users: impl Iterator<Item = &'c Credentials> + Clone,
    ) {
        self.guesses.replan(auth.ban);
        let Realm { realm, offered, hashed, .. } = Realm::new(realm, auth, [0; 32], [0; 16], users);
        (self.realm, self.offered, self.hashed) = (realm, offered, hashed);
    }

    /// What was found out since the last call: it holds on the other shards, too.
    pub fn lessons(&mut self) -> Vec<Lesson> {
        self.guesses.lessons()
    }

    /// What another shard has found out.
    pub fn learn(&mut self, now: Time, lesson: Lesson) {
        self.guesses.learn(now, lesson);
    }

    /// Nonces remembered.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether no nonce is remembered.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Forgets nonces that have expired; [`Realm::check`] does so, too.
    pub fn expire(&mut self, now: Time) {
        while let Some(oldest) = self.used.first_entry()
            && now.since(oldest.key().made) > LIFETIME
        {
            oldest.remove();
        }
    }

    /// The values of WWW-Authenticate (401) or Proxy-Authenticate (407), one header line each, best
    /// first (RFC 8760 §2.3). Not for ACK or CANCEL (C-199). `stale` is what [`Verdict::Stale`] said.
    pub fn challenge(&mut self, now: Time, sender: Sender, stale: Option<Heard>) -> Vec<Vec<u8>> {
        let nonce = self.nonces.give(now, sender, stale.unwrap_or_default());
        let stale = if stale.is_some() { ", stale=true" } else { "" };
        let value = |&algorithm: &Algorithm| {
            // Old peers are spared what they do not know.
            let userhash = if algorithm == Algorithm::Md5 { "" } else { ", userhash=true" };
            let (realm, algorithm) = (&self.realm, algorithm.token());
            format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}{userhash}"
            )
            .into_bytes()
        };
        self.offered.iter().map(value).collect()
    }

    /// Checks the values of Authorization or Proxy-Authorization. `lookup` finds a user by name.
    ///
    /// A count is used up by being found right: a second check of the same request is [`Verdict::Stale`].
    pub fn check<'v, 'c>(
        &mut self,
        now: Time,
        sender: Sender,
        values: impl Iterator<Item = &'v [u8]>,
        method: &[u8],
        request_uri: &[u8],
        lookup: impl FnOnce(&str) -> Option<&'c Credentials>,
    ) -> Verdict<'c> {
        let mut unreadable = false;
        let mut ours = None;
        for value in values {
            match Fields::parse(value) {
                Ok(fields) if fields.realm == Some(self.realm.as_bytes()) => {
                    ours = Some(fields);
                    break;
                }
                // Those for other proxies are none of ours (RFC 3261 §22.3).
                Ok(_) | Err(DigestError::OtherScheme) => {}
                Err(
                    DigestError::Malformed
                    | DigestError::Repeated
                    | DigestError::Incomplete
                    | DigestError::Unsupported
                    | DigestError::TooLong,
                ) => unreadable = true,
            }
        }
        match ours {
            Some(fields) => {
                self.verdict(now, sender, &fields, method, request_uri, lookup).unwrap_or(Verdict::Refused)
            }
            None if unreadable => Verdict::Refused,
            None => Verdict::Missing,
        }
    }

    /// `None` for everything that is refused.
    fn verdict<'c>(
        &mut self,
        now: Time,
        sender: Sender,
        fields: &Fields<'_>,
        method: &[u8],
        request_uri: &[u8],
        lookup: impl FnOnce(&str) -> Option<&'c Credentials>,
    ) -> Option<Verdict<'c>> {
        let algorithm = match fields.algorithm {
            None => Algorithm::Md5,
            Some(token) => Algorithm::from_token(token).filter(|(_, session)| !session)?.0,
        };
        if !self.offered.contains(&algorithm) {
            return None;
        }
        let (nonce, digest_uri) = (fields.nonce?, fields.uri?);
        if !same_target(digest_uri, request_uri) {
            return None;
        }
        let (protection, count) = match (fields.qop, fields.nc, fields.cnonce) {
            // RFC 3261 §22.4 item 8; such a nonce serves once.
            (None, _, _) => (Protection::Legacy, 0),
            (Some(qop), Some(nc), Some(cnonce)) if qop.eq_ignore_ascii_case(b"auth") => {
                (Protection::Auth { nc, cnonce }, counted(nc)?)
            }
            (Some(_), _, _) => return None,
        };
        // One that was made up, or heard elsewhere or on another shard, is worth no look.
        let Some((known_nonce, heard)) = self.nonces.read(nonce) else {
            return Some(Verdict::Stale(Heard::default()));
        };
        if !heard.serves(now, self.nonces.place(sender)) {
            return Some(Verdict::Stale(heard));
        }
        let given = fields.response?.to_ascii_lowercase();
        // RFC 7616 §3.4.4; the name itself otherwise.
        let username = unescaped(fields.username?);
        let name = match fields.userhash {
            Some(yes) if yes.eq_ignore_ascii_case(b"true") => {
                self.hashed.get(username.to_ascii_lowercase().as_slice()).map(|name| &**name)
            }
            _ => std::str::from_utf8(&username).ok(),
        };
        let attempt = self.guesses.attempt(sender, name.map_or(&*username, str::as_bytes), nonce, &given);
        if self.guesses.banned(now, &attempt) {
            return Some(Verdict::Banned);
        }
        // Whoever is asked for, the same is computed (C-203).
        let found = lookup(name.unwrap_or_default()).filter(|_| name.is_some());
        let known = found.unwrap_or(&self.nobody);
        let user = name.unwrap_or_default().as_bytes();
        let secret = ha1(&known.secret, algorithm, user, self.realm.as_bytes());
        let usable = secret.is_some() && found.is_some();
        let secret = secret.unwrap_or_else(|| algorithm.hash(&[]));
        let expected = response(algorithm, &secret, &Request { method, uri: digest_uri, nonce, protection });
        let equal = bool::from(expected.as_bytes().ct_eq(given.as_slice()));
        let Some(found) = found.filter(|_| equal && usable) else {
            self.guesses.failed(now, &attempt);
            return None;
        };
        // What is only repeated proves nothing.
        if !self.counts(now, known_nonce, count) {
            return Some(Verdict::Stale(Heard::default()));
        }
        self.guesses.proved(now, &attempt);
        Some(Verdict::Ok { user: &found.user })
    }

    /// Whether the nonce still serves and this count of it is new; it is used up then.
    fn counts(&mut self, now: Time, nonce: Nonce, count: u32) -> bool {
        self.expire(now);
        if now.since(nonce.made) > LIFETIME || self.floor.is_some_and(|floor| nonce <= floor) {
            return false;
        }
        let new = self.used.entry(nonce).or_default().take(count);
        if self.used.len() > REMEMBERED
            && let Some((oldest, _)) = self.used.pop_first()
        {
            self.floor = Some(oldest);
        }
        new
    }
}

impl Window {
    /// Whether a count is new; it is noted. Older than the window is not (C-198).
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest || self.seen == 0 {
            let ahead = count.saturating_sub(self.highest);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1u64.checked_shl(self.highest - count).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

/// `nc`: eight hex digits (RFC 7616 §3.4), and not zero.
fn counted(nc: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(nc).ok().filter(|d| d.len() == 8 && !d.starts_with('+'))?;
    u32::from_str_radix(digits, 16).ok().filter(|&count| count != 0)
}

/// Whether the URI that was signed is the Request-URI (C-201). Proxies on the way may have changed
/// port and parameters (RFC 3261 §16.6 steps 2 and 6: maddr, transport, lr); never user or host.
fn same_target(signed: &[u8], request_uri: &[u8]) -> bool {
    let (Ok(signed), Ok(received)) = (Uri::parse(signed), Uri::parse(request_uri)) else {
        return signed == request_uri;
    };
    let user = |uri: &Uri<'_>| uri.user.map(|user| uri::decode(user).into_owned());
    signed.same_as(&received)
        || signed.is_sip()
            && received.is_sip()
            && signed.same_host(&received)
            && user(&signed) == user(&received)
}

fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests;
