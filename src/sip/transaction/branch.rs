//! The branch of a request we send: it says where its client transaction lies.
//!
//! `z9hG4bK`, the slot as 8 hex digits, 64 secret bits as 16 more, and what the user adds behind a
//! dot. A response is matched without any search, and one whose sender has not seen the request
//! cannot be matched at all (C-072, C-074).

use crate::sip::message::header::COOKIE;

/// Hex digits of slot and secret.
const DIGITS: usize = 24;

/// Writes a branch.
pub(super) fn write(slot: u32, secret: u64, suffix: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(COOKIE);
    put_hex(u64::from(slot), 8, out);
    put_hex(secret, 16, out);
    if !suffix.is_empty() {
        out.push(b'.');
        out.extend_from_slice(suffix);
    }
}

/// Slot and secret of a branch that has our form.
pub(super) fn read(branch: &[u8]) -> Option<(u32, u64)> {
    let digits = branch.strip_prefix(COOKIE)?.get(..DIGITS)?;
    let (slot, secret) = digits.split_at(8);
    Some((u32::try_from(hex(slot)?).ok()?, hex(secret)?))
}

/// What the user added to a branch that has our form.
pub fn branch_suffix(branch: &[u8]) -> Option<&[u8]> {
    read(branch)?;
    branch.get(COOKIE.len() + DIGITS..)?.strip_prefix(b".")
}

fn put_hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    for place in (0..digits).rev() {
        let nibble = (value >> (4 * place)) as u8 & 0xf;
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
}

/// Lower case as we write it, upper case for peers that change a token's case.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, &digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some((value << 4) | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// [C-044] Ours begin with the cookie; others' are not mistaken for ours.
    #[test]
    fn form() {
        let mut out = Vec::new();
        write(0x12, 0xab, b"loop", &mut out);
        assert_eq!(out, b"z9hG4bK0000001200000000000000ab.loop");
        assert_eq!(branch_suffix(&out), Some(&b"loop"[..]));
        for other in [
            &b""[..],
            b"z9hG4bK",
            b"z9hG4bK0000001200000000000000a",
            b"z9hG4bK0000001200000000000000ag",
            b"z9hG4bx0000001200000000000000ab",
            b"0000001200000000000000ab",
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
        assert_eq!(branch_suffix(b"z9hG4bK0000001200000000000000abx"), None);
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(slot: u32, secret: u64, suffix in "[0-9a-f]{0,16}") {
            let mut out = Vec::new();
            write(slot, secret, suffix.as_bytes(), &mut out);
            prop_assert_eq!(read(&out), Some((slot, secret)));
            prop_assert_eq!(branch_suffix(&out).unwrap_or_default(), suffix.as_bytes());
        }
    }
}
