//! The byte classes of RFC 3261 §25.1 as one table: a byte is looked up, never compared.
//!
//! The grammars are read liberally where deployed elements are liberal and nothing is endangered by
//! it (a `#` or UTF-8 in a user part, an underscore in a host name).

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
/// Names and values of URI parameters, `%` included.
pub const PARAM: u16 = 1 << 7;
/// Names and values of URI headers, with their `=` and `&`, `%` included.
pub const HEADER: u16 = 1 << 8;
/// `word`: the halves of a Call-ID.
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
    if unreserved || utf8 || has(b"%[]/:&+$", b) {
        class |= PARAM;
    }
    if unreserved || utf8 || has(b"%[]/?:+$&=", b) {
        class |= HEADER;
    }
    if token || has(b"()<>:\\\"/[]?{}", b) {
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

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = classes(i as u8);
        i += 1;
    }
    table
};

/// Whether a byte belongs to a class (or to one of several, joined by `|`).
#[inline(always)]
pub const fn is(class: u16, byte: u8) -> bool {
    TABLE[byte as usize] & class != 0
}

/// How many bytes at the front belong to a class.
#[inline]
pub fn span(class: u16, bytes: &[u8]) -> usize {
    bytes.iter().position(|&b| !is(class, b)).unwrap_or(bytes.len())
}

/// Whether all bytes belong to a class.
#[inline]
pub fn all(class: u16, bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| is(class, b))
}

/// The bytes without the white space at both ends.
#[inline]
pub fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [first, rest @ ..] = bytes {
        if !is(LWS, *first) {
            break;
        }
        bytes = rest;
    }
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
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u32, |n, &b| {
        if !is(DIGIT, b) {
            return None;
        }
        n.checked_mul(10)?.checked_add(u32::from(b - b'0'))
    })
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
        assert!(!is(PARAM, b'"') && is(PARAM, b'['));
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
    fn trims_folding() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" \t"), b"");
    }
}
