//! Identifiers as jambonz writes them: UUIDs, made of the digits of Baton's own.

use crate::record::{call_sid_text, parse_call_sid};
use crate::sip::event::CallSid;
use sha2::{Digest, Sha256};

/// 128 bits as a UUID.
pub(super) fn uuid(bits: u128) -> String {
    let digits = format!("{bits:032x}");
    let mut text = String::with_capacity(36);
    for (place, digit) in digits.chars().enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// The bits of a UUID; of nothing else.
pub(super) fn bits(text: &str) -> Option<u128> {
    let dashed = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    if text.len() != 36 || !text.bytes().enumerate().all(dashed) {
        return None;
    }
    u128::from_str_radix(&text.replace('-', ""), 16).ok()
}

/// An account's `AC…` as a UUID.
pub(super) fn account(sid: &str) -> String {
    let digits = sid.strip_prefix("AC").and_then(|digits| u128::from_str_radix(digits, 16).ok());
    uuid(digits.unwrap_or(0))
}

/// An application has a name only; its UUID follows from that (version 8 of RFC 9562).
pub(super) fn application(name: &str) -> String {
    let digest = Sha256::digest([b"baton application ", name.as_bytes()].concat());
    let mut first = [0; 16];
    first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    let bits = u128::from_be_bytes(first);
    let bits = bits & !(0xf << 76) | 8 << 76;
    uuid(bits & !(3 << 62) | 2 << 62)
}

/// A call as it is named in a path: a UUID, which is a call of this node, or Baton's own form.
pub(super) fn call(text: &str, node: u128) -> Option<(String, CallSid)> {
    match bits(text) {
        Some(bits) => Some((call_sid_text(node, CallSid(bits)), CallSid(bits))),
        None => parse_call_sid(text).map(|(_, sid)| (text.to_owned(), sid)),
    }
}

/// Whether a path names this account, in either form.
pub(super) fn is_account(text: &str, sid: &str) -> bool {
    text == sid || text.eq_ignore_ascii_case(&account(sid))
}

/// Whether something can be an account's identifier at all.
pub(super) fn may_be_account(text: &str) -> bool {
    let own = text.strip_prefix("AC").filter(|digits| digits.len() == 32);
    bits(text).is_some() || own.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same() {
        let text = "0a11ce00-0000-0000-0000-00000000000f";
        assert_eq!(uuid(0x0a11_ce00_0000_0000_0000_0000_0000_000f), text);
        assert_eq!(bits(text).map(uuid).as_deref(), Some(text));
        for wrong in ["abc", "0a11ce0000000000000000000000000f", "0a11ce00-0000-0000-0000-00000000000g", ""] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
        let sid = "AC0000000000000000000000000000000A";
        assert!(is_account("00000000-0000-0000-0000-00000000000A", sid) && is_account(sid, sid));
        assert!(!is_account("00000000-0000-0000-0000-00000000000b", sid));
        assert!(
            may_be_account(sid) && may_be_account(text) && !may_be_account("AC1") && !may_be_account("abc")
        );
        let own = call_sid_text(7, CallSid(9));
        assert_eq!(call(&uuid(9), 7), Some((own.clone(), CallSid(9))));
        assert_eq!(call(&own, 8), Some((own, CallSid(9))));
        let (one, other) = (application("ivr"), application("ivr2"));
        assert!(one != other && bits(&one).is_some() && one.as_bytes()[14] == b'8', "{one}");
    }
}
