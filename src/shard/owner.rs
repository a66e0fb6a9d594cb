//! Which shard a message belongs to: a function of its Call-ID alone (law 2).
//!
//! Stands between the socket and the shards, before parsing: a scan over the header lines that
//! stops at the first Call-ID. What is not a SIP message has no owner and stays where it arrived.

use siphasher::sip::SipHasher13;
use std::fmt;
use std::hash::Hasher;

/// The secret of the hash: peers choose Call-IDs, and must not choose shards by it (C-218).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// A key from 16 unpredictable bytes.
    pub const fn new(bytes: [u8; 16]) -> HashKey {
        HashKey(bytes)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// The shard that owns a message; `None` when it carries no Call-ID.
pub fn owner(message: &[u8], key: &HashKey, shards: u16) -> Option<u16> {
    call_id(message).map(|id| owner_of(id, key, shards))
}

/// The shard that owns a Call-ID; 0 when there is only one, or none.
pub fn owner_of(call_id: &[u8], key: &HashKey, shards: u16) -> u16 {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    hasher.write(call_id);
    // The high half of a product spreads the hash evenly over any number of shards.
    ((u128::from(hasher.finish()) * u128::from(shards)) >> 64) as u16
}

/// The value of the first Call-ID header, long or compact, folded or not (RFC 3261 §7.3.3, §20.8).
fn call_id(message: &[u8]) -> Option<&[u8]> {
    let mut rest = after_line(message)?;
    loop {
        match rest.first()? {
            b'C' | b'c' | b'I' | b'i' => {
                if let Some(value) = call_id_value(rest) {
                    return Some(value);
                }
            }
            b'\r' | b'\n' => return None,
            _ => {}
        }
        rest = after_line(rest)?;
    }
}

fn after_line(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'\n', bytes).and_then(|end| bytes.get(end + 1..))
}

/// The value, when the header line at the start of `line` is a Call-ID.
fn call_id_value(line: &[u8]) -> Option<&[u8]> {
    const LONG: usize = "call-id".len();
    let after_name = match line.get(..LONG) {
        Some(name) if name.eq_ignore_ascii_case(b"call-id") => line.get(LONG..)?,
        _ if matches!(line.first(), Some(b'i' | b'I')) => line.get(1..)?,
        _ => return None,
    };
    let blank = after_name.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let value = after_name.get(blank..)?.strip_prefix(b":")?;
    let start = value.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let value = value.get(start..)?;
    let value = match value.first()? {
        b'\r' | b'\n' => folded(value)?,
        _ => value,
    };
    let end = value.iter().position(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))?;
    value.get(..end).filter(|value| !value.is_empty())
}

/// What follows a line break and white space: a value begun on the next line (RFC 3261 §7.3.1).
fn folded(value: &[u8]) -> Option<&[u8]> {
    let next = after_line(value)?;
    let blank = next.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    if blank == 0 { None } else { next.get(blank..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey::new([7; 16]);

    fn message(header: &str) -> Vec<u8> {
        format!(
            "OPTIONS sip:a@b SIP/2.0\r\nCSeq: 1 OPTIONS\r\nIn-Reply-To: x\r\n{header}\r\n\
             Content-Length: 0\r\n\r\nCall-ID: body\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn all_spellings_of_a_call_id_have_one_owner() {
        for header in [
            "Call-ID: f81d@host",
            "call-id:f81d@host",
            "CALL-ID \t: \t f81d@host  ",
            "i: f81d@host",
            "I\t:f81d@host",
            "Call-ID:\r\n f81d@host",
        ] {
            let message = message(header);
            assert_eq!(call_id(&message), Some(&b"f81d@host"[..]), "{header}");
            assert_eq!(owner(&message, &KEY, 4), Some(owner_of(b"f81d@host", &KEY, 4)));
        }
    }

    #[test]
    fn what_has_no_call_id_has_no_owner() {
        for header in ["Call-Info: f81d", "Call-ID:", "Call-IDs: x", "icon: x"] {
            assert_eq!(owner(&message(header), &KEY, 4), None, "{header}");
        }
        assert_eq!(owner(b"", &KEY, 4), None);
        assert_eq!(owner(b"\r\n\r\n", &KEY, 4), None);
        assert_eq!(owner(b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: cut", &KEY, 4), None);
    }

    #[test]
    fn call_ids_spread_evenly() {
        for shards in [1_u16, 2, 3, 7] {
            let mut counts = vec![0_u32; usize::from(shards)];
            for n in 0..10_000 {
                counts[usize::from(owner_of(format!("{n}-1@127.0.0.1").as_bytes(), &KEY, shards))] += 1;
            }
            let fair = 10_000 / u32::from(shards);
            assert!(counts.iter().all(|c| c.abs_diff(fair) < fair / 5 + 1), "{counts:?}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{KEY:?}"), "HashKey(…)");
    }
}
