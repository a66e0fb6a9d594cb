//! The dialog token: what later requests of a call must carry for us (law 6).
//!
//! It travels as the `b` parameter of our Record-Route and comes back in Route. A shard that has
//! never heard of the call, after a restart or on another node, can route and account for its
//! requests from the token alone. A SipHash-2-4 tag over the token and the Call-ID, under a key that
//! outlives the process, keeps peers from making tokens up or moving them to other dialogs.

use crate::sip::event::CallSid;
use crate::sip::time::Time;
use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

const VERSION: u8 = 1;
const BODY: usize = 1 + 16 + 6 + 4 + 4 + 4;
const TAG: usize = 8;
const RAW: usize = BODY + TAG;

/// Base64 with the unreserved characters of a URI, less `q`: there are peers that look for "CSeq" anywhere in a
/// message, and a token of the usual alphabet spells it once in some ten thousand calls.
pub(crate) const TEXT: GeneralPurpose = GeneralPurpose::new(
    &match Alphabet::new("ABCDEFGHIJKLMNOP-RSTUVWXYZabcdefghijklmnop_rstuvwxyz0123456789.~") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 different characters"),
    },
    NO_PAD,
);

/// Length of a token as written: without padding.
pub const TOKEN_LEN: usize = RAW.div_ceil(3) * 4 - (3 - RAW % 3) % 3;

/// What a token says about its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogToken {
    /// The call; zero when the dialog is not one of a recorded call.
    pub call: CallSid,
    /// When the dialog-forming request came, in whole milliseconds.
    pub started: Time,
    /// [`name_hash`] of the trunk it came from.
    pub trunk_in: u32,
    /// [`name_hash`] of the trunk it went to.
    pub trunk_out: u32,
    /// [`name_hash`] of the caller's From tag: tells the direction of later requests.
    pub caller_tag: u32,
}

impl DialogToken {
    /// Whether a request with this From tag comes from the party that began the dialog.
    pub fn from_caller(&self, from_tag: Option<&[u8]>) -> bool {
        from_tag.is_some_and(|tag| name_hash(tag) == self.caller_tag)
    }

    /// Appends the token, [`TOKEN_LEN`] characters.
    pub fn write(&self, key: &TokenKey, call_id: &[u8], out: &mut Vec<u8>) {
        let mut raw = [0u8; RAW];
        raw[0] = VERSION;
        raw[1..17].copy_from_slice(&self.call.0.to_be_bytes());
        raw[17..23].copy_from_slice(&self.started.millis().to_be_bytes()[2..]);
        raw[23..27].copy_from_slice(&self.trunk_in.to_be_bytes());
        raw[27..31].copy_from_slice(&self.trunk_out.to_be_bytes());
        raw[31..35].copy_from_slice(&self.caller_tag.to_be_bytes());
        let tag = key.tag(&raw[..BODY], call_id);
        raw[BODY..].copy_from_slice(&tag);
        let mut text = [0u8; TOKEN_LEN];
        let written = TEXT.encode_slice(raw, &mut text).unwrap_or(0);
        out.extend_from_slice(&text[..written]);
    }

    /// Reads a token that came back in a Route; `None` when it is not ours or not for this Call-ID.
    pub fn read(text: &[u8], key: &TokenKey, call_id: &[u8]) -> Option<DialogToken> {
        if text.len() != TOKEN_LEN {
            return None;
        }
        // The decoder wants room for whole groups of three.
        let mut raw = [0u8; RAW + 2];
        let len = TEXT.decode_slice(text, &mut raw).ok()?;
        if len != RAW || raw[0] != VERSION {
            return None;
        }
        let (body, tag) = (&raw[..BODY], &raw[BODY..RAW]);
        if !bool::from(key.tag(body, call_id).ct_eq(tag)) {
            return None;
        }
        let mut millis = [0u8; 8];
        millis[2..].copy_from_slice(&body[17..23]);
        Some(DialogToken {
            call: CallSid(u128::from_be_bytes(body[1..17].try_into().ok()?)),
            started: Time::from_millis(u64::from_be_bytes(millis)),
            trunk_in: u32::from_be_bytes(body[23..27].try_into().ok()?),
            trunk_out: u32::from_be_bytes(body[27..31].try_into().ok()?),
            caller_tag: u32::from_be_bytes(body[31..35].try_into().ok()?),
        })
    }
}

/// The longest a [`write_remote`] makes: an IPv6 address, a port and the tag, in base64.
const REMOTE_LEN: usize = (16 + 2 + TAG).div_ceil(3) * 4;

/// Appends the address of a party that can only be reached by the connection it has opened (RFC 7118
/// §5.4 has such parties name a host that does not exist). It travels like the token beside it.
pub fn write_remote(remote: SocketAddr, key: &TokenKey, call_id: &[u8], out: &mut Vec<u8>) {
    let mut raw = Vec::with_capacity(16 + 2 + TAG);
    match remote.ip() {
        IpAddr::V4(v4) => raw.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => raw.extend_from_slice(&v6.octets()),
    }
    raw.extend_from_slice(&remote.port().to_be_bytes());
    let tag = key.tag(&raw, call_id);
    raw.extend_from_slice(&tag);
    let mut text = [0u8; REMOTE_LEN];
    let written = TEXT.encode_slice(raw, &mut text).unwrap_or(0);
    out.extend_from_slice(text.get(..written).unwrap_or_default());
}

/// Reads what [`write_remote`] wrote; `None` when it is not ours or not for this Call-ID.
pub fn read_remote(text: &[u8], key: &TokenKey, call_id: &[u8]) -> Option<SocketAddr> {
    if text.len() > REMOTE_LEN {
        return None;
    }
    let mut raw = [0u8; REMOTE_LEN];
    let len = TEXT.decode_slice(text, &mut raw).ok()?;
    let (body, tag) = raw.get(..len)?.split_at_checked(len.checked_sub(TAG)?)?;
    let (address, port) = body.split_last_chunk::<2>()?;
    let ip = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    let ours = bool::from(key.tag(body, call_id).ct_eq(tag));
    ours.then(|| SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// The key that authenticates tokens; from the state directory, so that it outlives the process.
#[derive(Clone, Copy)]
pub struct TokenKey([u8; 16]);

impl TokenKey {
    /// A key from 128 secret bits.
    pub const fn new(bits: [u8; 16]) -> TokenKey {
        TokenKey(bits)
    }

    /// A key for something else: what is signed under one means nothing under the other. The tags of this one
    /// are over texts that peers choose parts of, none of which begins with a NUL.
    pub(crate) fn derived(&self, what: &[u8]) -> [u8; 16] {
        let half = |n: u8| self.tag(what, &[0, n]);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half(1));
        key[8..].copy_from_slice(&half(2));
        key
    }

    fn tag(&self, body: &[u8], call_id: &[u8]) -> [u8; TAG] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(body);
        hasher.write(call_id);
        hasher.finish().to_be_bytes()
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// A short stable name for a trunk or tag inside tokens: FNV-1a. Not a secret and not a key of any
/// table, so it need not resist attack; it must be the same on every node and in every version.
pub fn name_hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> DialogToken {
        DialogToken {
            call: CallSid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            started: Time::from_millis(1_700_000_000_123),
            trunk_in: name_hash(b"alpha"),
            trunk_out: name_hash(b"bravo"),
            caller_tag: name_hash(b"tag-of-alice"),
        }
    }

    /// [C-097] Another process with the same key reads what this one wrote.
    #[test]
    fn a_token_survives_the_process() {
        let mut text = Vec::new();
        token().write(&TokenKey::new([7; 16]), b"call-1@host", &mut text);
        assert_eq!(text.len(), TOKEN_LEN);
        assert_eq!(DialogToken::read(&text, &TokenKey::new([7; 16]), b"call-1@host"), Some(token()));
    }

    #[test]
    fn a_token_is_worthless_elsewhere() {
        let key = TokenKey::new([7; 16]);
        let mut text = Vec::new();
        token().write(&key, b"call-1@host", &mut text);
        assert_eq!(DialogToken::read(&text, &key, b"call-2@host"), None);
        assert_eq!(DialogToken::read(&text, &TokenKey::new([8; 16]), b"call-1@host"), None);
        assert_eq!(DialogToken::read(&text[1..], &key, b"call-1@host"), None);
        for at in 0..text.len() {
            let mut bent = text.clone();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(DialogToken::read(&bent, &key, b"call-1@host"), None, "byte {at}");
        }
    }

    /// [C-062] The address of a party behind a connection comes back as it went, or not at all.
    #[test]
    fn a_remote_address_survives_and_cannot_be_made_up() {
        let key = TokenKey::new([7; 16]);
        for remote in ["192.0.2.1:49152", "[2001:db8::1]:443"] {
            let remote: SocketAddr = remote.parse().unwrap();
            let mut text = Vec::new();
            write_remote(remote, &key, b"call-1@host", &mut text);
            assert_eq!(read_remote(&text, &key, b"call-1@host"), Some(remote));
            assert_eq!(read_remote(&text, &key, b"call-2@host"), None);
            for at in 0..text.len() {
                let mut bent = text.clone();
                bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(read_remote(&bent, &key, b"call-1@host"), None, "byte {at}");
                assert_eq!(read_remote(&text[..at], &key, b"call-1@host"), None);
            }
        }
        assert_eq!(read_remote(&[b'A'; 500], &key, b"call-1@host"), None);
    }

    /// A peer that finds "CSeq" by searching the whole message finds the header, not a token.
    #[test]
    fn no_token_spells_cseq() {
        for n in 0..20_000u128 {
            let mut text = Vec::new();
            let token = DialogToken { call: CallSid(n.wrapping_mul(u128::MAX / 20_011)), ..token() };
            token.write(&TokenKey::new([7; 16]), b"call-1@host", &mut text);
            assert!(!text.iter().any(|c| c.eq_ignore_ascii_case(&b'q')));
        }
    }

    #[test]
    fn the_caller_is_known_by_its_tag() {
        assert!(token().from_caller(Some(b"tag-of-alice")));
        assert!(!token().from_caller(Some(b"tag-of-bob")));
        assert!(!token().from_caller(None));
    }
}
