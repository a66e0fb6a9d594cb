//! The byte classes of RFC 3261 §25.1 as one table: a byte is looked up, never compared.
//!
//! The grammars are read liberally where deployed elements are liberal and nothing is endangered by
//! it (a `#` or UTF-8 in a user part, an underscore in a host name).

use nom::IResult;

/// `token`: method names, header names, tags, parameter names.
pub const TOKEN: u16 = 1 << 0;
/// Linear white space inside a header value. CR and LF count: after the index pass they can only be folding.
pub const LWS: u16 = 1 << 1;
/// Decimal digits.
pub const DIGIT: u16 = 1 << 2;
/// Hexadecimal digits.
pub const HEX: u16 = 1 << 3;
/// `user` of a URI, `%` of an escape included.
pub const USER: u16 = 1 << 4;
/// `password` of a URI, `%` included.
pub const PASSWORD: u16 = 1 << 5;
/// Host names and IPv4 addresses.
pub const HOST: u16 = 1 << 6;
/// Names and values of URI parameters, with their `;` and `=`, `%` included.
pub const PARAM: u16 = 1 << 7;
/// `word`, and the `@` between two: a Call-ID.
pub const WORD: u16 = 1 << 9;
/// `unreserved` of a URI: what needs no escape anywhere.
pub const UNRESERVED: u16 = 1 << 10;
/// Names of URI schemes.
pub const SCHEME: u16 = 1 << 11;
/// Value of a header parameter, if not quoted: everything that cannot end it.
pub const VALUE: u16 = 1 << 12;
/// Any URI at all: what may stand between angle brackets.
pub const URI: u16 = 1 << 13;
/// Name of a parameter, of a header or of a URI.
pub const PARAM_NAME: u16 = 1 << 14;
/// An unquoted display name: tokens and the white space between them, UTF-8 read liberally.
pub const DISPLAY: u16 = 1 << 15;

const fn has(set: &[u8], byte: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

const fn classes(b: u8) -> u16 {
    let alnum = b.is_ascii_alphanumeric();
    let utf8 = b >= 0x80;
    let token = alnum || has(b"-.!%*_+`'~", b);
    let unreserved = alnum || has(b"-_.!~*'()", b);
    let lws = has(b" \t\r\n", b);
    let mut class = 0;
    if token {
        class |= TOKEN;
    }
    if lws {
        class |= LWS;
    }
    if b.is_ascii_digit() {
        class |= DIGIT;
    }
    if b.is_ascii_hexdigit() {
        class |= HEX;
    }
    if unreserved || utf8 || has(b"%&=+$,;?/#", b) {
        class |= USER;
    }
    if unreserved || utf8 || has(b"%&=+$,", b) {
        class |= PASSWORD;
    }
    if alnum || has(b"-._", b) {
        class |= HOST;
    }
    if unreserved || utf8 || has(b"%[]/:&+$;=", b) {
        class |= PARAM;
    }
    if token || has(b"()<>:\\\"/[]?{}@", b) {
        class |= WORD;
    }
    if unreserved {
        class |= UNRESERVED;
    }
    if alnum || has(b"+-.", b) {
        class |= SCHEME;
    }
    if b > b' ' && b != 0x7f && !has(b";,\"<>", b) {
        class |= VALUE;
    }
    if b > b' ' && b != 0x7f && !has(b"<>\"", b) {
        class |= URI;
    }
    if token || has(b"[]/:&$()", b) {
        class |= PARAM_NAME;
    }
    if token || utf8 || lws {
        class |= DISPLAY;
    }
    class
}

static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = classes(i as u8);
        i += 1;
    }
    table
};

/// Whether a byte belongs to a class.
#[inline(always)]
pub fn is(class: u16, byte: u8) -> bool {
    TABLE[byte as usize] & class != 0
}

/// How many bytes at the front belong to a class. Four at a time: this is where parsing spends its
/// time.
#[inline]
pub fn span(class: u16, bytes: &[u8]) -> usize {
    let (fours, _) = bytes.as_chunks::<4>();
    let mut len = 0;
    for four in fours {
        if !four_are(class, four) {
            break;
        }
        len += 4;
    }
    while let Some(&b) = bytes.get(len)
        && is(class, b)
    {
        len += 1;
    }
    len
}

/// Whether all bytes belong to a class, which is a single one.
#[inline]
pub fn all(class: u16, bytes: &[u8]) -> bool {
    let (fours, rest) = bytes.as_chunks::<4>();
    fours.iter().all(|four| four_are(class, four)) && rest.iter().all(|&b| is(class, b))
}

#[inline(always)]
fn four_are(class: u16, four: &[u8; 4]) -> bool {
    let &[a, b, c, d] = four;
    TABLE[a as usize] & TABLE[b as usize] & TABLE[c as usize] & TABLE[d as usize] & class != 0
}

/// The bytes at the front that belong to a class, as a nom parser; possibly none.
#[inline(always)]
pub fn run<'a>(class: u16) -> impl Fn(&'a [u8]) -> IResult<&'a [u8], &'a [u8], ()> {
    move |input| {
        let (front, rest) = input.split_at(span(class, input));
        Ok((rest, front))
    }
}

/// As [`run`], at least one byte.
#[inline(always)]
pub fn run1<'a>(class: u16) -> impl Fn(&'a [u8]) -> IResult<&'a [u8], &'a [u8], ()> {
    move |input| match span(class, input) {
        0 => Err(nom::Err::Error(())),
        len => {
            let (front, rest) = input.split_at(len);
            Ok((rest, front))
        }
    }
}

/// The first byte below a limit of at most 0x80, sixteen at a time. With 0x20 it finds line ends in a
/// head and little else, with 0x21 white space and controls.
#[inline]
pub fn first_below(limit: u8, bytes: &[u8]) -> Option<usize> {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let mut at = 0;
    for chunk in chunks {
        if let Some(place) = below_in(limit, chunk) {
            return Some(at + place);
        }
        at += 16;
    }
    match bytes.last_chunk::<16>() {
        // What it repeats has been seen to hold none.
        Some(last) if !rest.is_empty() => below_in(limit, last).map(|place| bytes.len() - 16 + place),
        _ => rest.iter().position(|&b| b < limit).map(|place| at + place),
    }
}

#[inline(always)]
fn below_in(limit: u8, chunk: &[u8; 16]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH << 7;
    let limits = EACH * u64::from(limit);
    let both = u128::from_le_bytes(*chunk);
    let (low, high) = (both as u64, (both >> 64) as u64);
    let (l, h) = (low.wrapping_sub(limits), high.wrapping_sub(limits));
    // No byte borrowed and none above 0x7f: none is below.
    if (l | h | low | high) & TOP == 0 {
        return None;
    }
    // The lowest byte that borrowed of itself is exact.
    let (l, h) = (l & !low & TOP, h & !high & TOP);
    if l != 0 {
        return Some(l.trailing_zeros() as usize / 8);
    }
    (h != 0).then(|| 8 + h.trailing_zeros() as usize / 8)
}

/// The bytes without the white space at both ends.
#[inline]
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// The bytes without the white space in front.
#[inline]
pub fn trim_start(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [first, rest @ ..] = bytes {
        if !is(LWS, *first) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// The bytes without the white space at their end.
#[inline]
pub fn trim_end(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [rest @ .., last] = bytes {
        if !is(LWS, *last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// A decimal number without sign, all of `bytes`; `None` when it is none or too large (C-021).
#[inline]
pub fn number(bytes: &[u8]) -> Option<u32> {
    match bytes.len() {
        0 => None,
        // Nine digits cannot overflow.
        1..=9 => bytes.iter().try_fold(0, |n: u32, &b| {
            let digit = b.wrapping_sub(b'0');
            (digit < 10).then(|| n.wrapping_mul(10).wrapping_add(u32::from(digit)))
        }),
        _ => bytes.iter().try_fold(0, |n: u32, &b| {
            let digit = u32::from(b.wrapping_sub(b'0'));
            n.checked_mul(10)?.checked_add((digit < 10).then_some(digit)?)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_grammar() {
        assert!(all(TOKEN, b"-.!%*_+`'~azAZ09"));
        for b in b"@(),;:<>\\\"/[]?={} \t\r\n\0\x7f" {
            assert!(!is(TOKEN, *b), "{b}");
        }
        assert!(!is(PARAM, b'"') && is(PARAM, b'[') && is(PARAM, b';'));
        assert_eq!(span(DIGIT, b"123a4"), 3);
    }

    /// [C-021] A number that does not fit is no number.
    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b"36893488147419103232"), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(b"0000000000000000000000000000000001"), Some(1));
    }

    #[test]
    fn first_below_is_exact() {
        for len in 0..70 {
            let mut bytes = vec![b'~'; len];
            assert_eq!(first_below(0x20, &bytes), None);
            for place in 0..len {
                for (byte, found) in [(0x1f, true), (0, true), (0x20, false), (0x80, false), (0xff, false)] {
                    bytes[place] = byte;
                    assert_eq!(first_below(0x20, &bytes), found.then_some(place));
                    // What stands behind does not matter.
                    bytes[len - 1] = 0;
                    assert_eq!(first_below(0x20, &bytes), Some(if found { place } else { len - 1 }));
                    bytes[len - 1] = b'~';
                }
                bytes[place] = b'~';
            }
        }
    }

    #[test]
    fn trims_folding() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" \t"), b"");
    }
}
