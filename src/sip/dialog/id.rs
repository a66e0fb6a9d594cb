//! The identifiers Baton chooses: tags, Call-IDs, branches of requests without a transaction.

use crate::sip::proxy::Cx;

/// Draws until a Call-ID falls on this shard (law 2); with 64 shards it takes 64 draws on average.
const MOST_DRAWS: usize = 100_000;

/// A Call-ID that belongs to this shard and says nothing of anybody (C-148).
pub(super) fn call_id(cx: &mut Cx<'_>) -> Box<[u8]> {
    let head = hex16(cx.random());
    let mut id = [0u8; 32];
    id[..16].copy_from_slice(&head);
    for _ in 0..MOST_DRAWS {
        id[16..].copy_from_slice(&hex16(cx.random()));
        if cx.place.owns(&id) {
            break;
        }
    }
    Box::from(id)
}

/// 64 bits as lower-case hex: a tag (RFC 3261 §19.3).
pub(super) fn hex16(bits: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
    }
    text
}

/// A tag of ours, read back. Case does not count in it for peers that change a token's case.
pub(super) fn tag(text: &[u8]) -> Option<u64> {
    if text.len() != 16 {
        return None;
    }
    text.iter().try_fold(0u64, |bits, &digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some((bits << 4) | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_back() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(tag(&hex16(bits)), Some(bits));
        }
        assert_eq!(tag(b"0123456789ABCDEF"), Some(0x0123_4567_89ab_cdef));
        assert_eq!(tag(b"0123456789abcdeg"), None);
        assert_eq!(tag(b""), None);
        assert_eq!(tag(&[b'0'; 17]), None);
    }
}
