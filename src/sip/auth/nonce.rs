//! What a nonce says: when it was made, the how manyth it was, and where its holder has heard challenges.
//! All of it is authenticated, so that nothing is remembered of a challenge (RFC 7616 §3.3, §5.5).
//!
//! A nonce serves where it was heard. So whoever fails with it has heard the challenge there, and nobody
//! can make another's address look like one that guesses by writing it on his datagrams; nor do
//! credentials that were overheard serve anywhere else.
//!
//! Who comes with it from elsewhere is challenged anew, and what he is given then serves at both: he holds
//! the former because he heard it at the one address, and the latter because he heard it at the other.
//! That lets in a client whose requests leave by one address and another in turn, as with two uplinks. What is
//! carried on so serves no longer for it: none of the places outlives the first.

use super::guesses::Sender;
use crate::sip::time::Time;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How long a nonce serves.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// Addresses that one nonce may serve at. With one more it would not go into the 64 bytes that some peers keep.
const PLACES: usize = 3;

/// Time and number, and how long ago it was first heard; then the places, and a tag.
const HEAD: usize = 18;
const PLACE: usize = 4;
const TAG: usize = 16;
const LONGEST: usize = HEAD + PLACES * PLACE + TAG;

/// A nonce by when it was made, and the how manyth it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nonce {
    pub(super) made: Time,
    pub(super) number: u64,
}

/// Where the holder of a nonce has heard challenges, the latest first; as keyed hashes, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    places: [u32; PLACES],
    /// When the first of them was.
    since: Time,
}

/// Makes nonces, and knows its own again.
pub(super) struct Mint {
    key: [u8; 32],
    given: u64,
}

impl Heard {
    /// Whether it serves there. Where it was heard last, it does so for as long as it serves at all.
    pub(super) fn serves(&self, now: Time, place: u32) -> bool {
        let [here, before @ ..] = &self.places;
        *here == place || before.contains(&place) && self.lasts(now)
    }

    /// Where somebody was long ago, others may be now.
    fn lasts(&self, now: Time) -> bool {
        now.since(self.since) <= LIFETIME
    }

    /// Here, and where it was before; the place that was left the longest ago gives way.
    fn and(self, now: Time, here: u32) -> Heard {
        match self.places {
            [first, second, _] if first != 0 && self.lasts(now) => {
                Heard { places: [here, first, second], ..self }
            }
            _ => Heard { places: [here, 0, 0], since: now },
        }
    }

    fn places(&self) -> impl Iterator<Item = u32> {
        self.places.into_iter().filter(|place| *place != 0)
    }

    /// In whole seconds, of which the last is counted as if it were over.
    fn age(&self, now: Time) -> u16 {
        let seconds = now.since(self.since).as_micros().div_ceil(1_000_000);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }
}

impl Mint {
    /// `key` are random bits that no other shard or process uses.
    pub(super) fn new(key: [u8; 32]) -> Mint {
        Mint { key, given: 0 }
    }

    /// A nonce for who sent a request and has heard others before.
    pub(super) fn give(&mut self, now: Time, sender: Sender, heard: Heard) -> String {
        self.given = self.given.wrapping_add(1);
        let heard = heard.and(now, self.place(sender));
        let mut raw = Vec::with_capacity(LONGEST);
        raw.extend_from_slice(&now.micros().to_be_bytes());
        raw.extend_from_slice(&self.given.to_be_bytes());
        raw.extend_from_slice(&heard.age(now).to_be_bytes());
        raw.extend(heard.places().flat_map(u32::to_be_bytes));
        raw.extend(self.seal(&raw));
        URL_SAFE_NO_PAD.encode(raw)
    }

    /// A nonce that came back; `None` when it was not made here.
    pub(super) fn read(&self, text: &[u8]) -> Option<(Nonce, Heard)> {
        let mut raw = [0u8; LONGEST + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut raw).ok()?;
        let (body, tag) = raw.get(..length)?.split_last_chunk::<TAG>()?;
        if !bool::from(self.seal(body).ct_eq(tag)) {
            return None;
        }
        let (made, rest) = body.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (age, rest) = rest.split_first_chunk::<2>()?;
        let made = Time::from_micros(u64::from_be_bytes(*made));
        let age = u64::from(u16::from_be_bytes(*age)) * 1_000_000;
        let since = Time::from_micros(made.micros().saturating_sub(age));
        let mut heard = Heard { places: [0; PLACES], since };
        for (place, bytes) in heard.places.iter_mut().zip(rest.as_chunks::<PLACE>().0) {
            *place = u32::from_be_bytes(*bytes);
        }
        Some((Nonce { made, number: u64::from_be_bytes(*number) }, heard))
    }

    /// What stands for an address.
    pub(super) fn place(&self, sender: Sender) -> u32 {
        let [a, b, c, d, ..] = self.seal(&sender.net());
        u32::from_be_bytes([a, b, c, d]).max(1)
    }

    /// The inner hash never leaves, so that nobody can extend it.
    fn seal(&self, body: &[u8]) -> [u8; TAG] {
        let inner = Sha256::new().chain_update(self.key).chain_update(body).finalize();
        let outer = Sha256::new().chain_update(self.key).chain_update(inner).finalize();
        outer.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn from(last: u8) -> Sender {
        Sender::Source(Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// [C-198] No two nonces are alike, nobody else can make one, and none is read that was changed.
    #[test]
    fn nonces_are_authenticated() {
        let (mut mint, other) = (Mint::new([7; 32]), Mint::new([8; 32]));
        let at = Time::from_millis(1_700_000_000_000);
        let a = mint.give(at, from(7), Heard::default());
        assert_ne!(a, mint.give(at, from(7), Heard::default()));
        assert!(mint.read(a.as_bytes()).is_some() && other.read(a.as_bytes()).is_none());
        for place in 0..a.len() {
            let mut forged = a.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(mint.read(&forged), None, "{place}");
            assert_eq!(mint.read(&a.as_bytes()[..place]), None, "{place}");
        }
        // What stands for an address is sealed in the same way, and is no nonce.
        for body in [from(7).net().as_slice(), b""] {
            let sealed = URL_SAFE_NO_PAD.encode([body, &mint.seal(body)].concat());
            assert_eq!(mint.read(sealed.as_bytes()), None);
        }
    }

    /// [C-198] It serves where it was heard, and where those were that it was given for: the last three.
    #[test]
    fn it_serves_where_it_was_heard() {
        let mut mint = Mint::new([7; 32]);
        let at = Time::from_millis(1_700_000_000_000);
        let mut heard = Heard::default();
        for last in 1..=9 {
            let text = mint.give(at, from(last), heard);
            assert!(text.len() < 64, "some peers keep no more, with what ends a string: {text}");
            let (nonce, now) = mint.read(text.as_bytes()).expect("one of its own");
            assert_eq!((nonce.made, nonce.number), (at, u64::from(last)));
            let serves: Vec<u8> = (1..=9).filter(|n| now.serves(at, mint.place(from(*n)))).collect();
            assert_eq!(serves, (last.saturating_sub(2).max(1)..=last).collect::<Vec<_>>());
            heard = now;
        }
        assert!(!heard.serves(at, mint.place(Sender::Exempt)));
    }
}
