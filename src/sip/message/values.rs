//! Values of list-valued fields: comma-joined, over several lines, in order (C-009).

use super::index::Line;
use super::name::HeaderId;
use super::token;

/// The values of one line, split at commas outside quoted strings and angle brackets (C-018).
/// Empty values are passed over.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    rest: &'a [u8],
}

impl<'a> Split<'a> {
    /// The values of one header value.
    pub fn new(value: &'a [u8]) -> Split<'a> {
        Split { rest: value }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = value_len(self.rest);
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let value = token::trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    }
}

/// Bytes up to the comma that ends the first value, or all.
pub(super) fn value_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr3(b',', b'"', b'<', rest) else {
            return bytes.len();
        };
        at += found;
        match bytes.get(at) {
            Some(b'"') => match quoted_len(bytes.get(at..).unwrap_or_default()) {
                Some(quoted) => at += quoted,
                None => return bytes.len(),
            },
            Some(b'<') => match memchr::memchr(b'>', bytes.get(at..).unwrap_or_default()) {
                Some(close) => at += close + 1,
                None => return bytes.len(),
            },
            _ => return at,
        }
    }
}

/// Bytes of the quoted string at the front, quotes included; `None` when it never ends.
pub(super) fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// All values of a field, over all its lines in order. Fields that are no lists give one value a
/// line, whatever commas it holds.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) lines: std::slice::Iter<'a, Line>,
    pub(super) id: HeaderId,
    pub(super) current: Split<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(value) = self.current.next() {
                return Some(value);
            }
            let line = self.lines.by_ref().find(|l| l.id == self.id)?;
            let value = line.value(self.bytes);
            if !self.id.is_list() {
                return Some(value);
            }
            self.current = Split::new(value);
        }
    }
}

impl Line {
    /// The name, as written.
    #[inline]
    pub(super) fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let from = self.start as usize;
        bytes.get(from..from + usize::from(self.name_len)).unwrap_or_default()
    }

    /// The value, trimmed, possibly folded.
    #[inline]
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let from = self.value_start();
        bytes.get(from..from + usize::from(self.value_len)).unwrap_or_default()
    }

    /// Where the value begins in the message.
    #[inline]
    pub(super) fn value_start(&self) -> usize {
        self.start as usize + usize::from(self.value)
    }

    /// Where the next line begins.
    #[inline]
    pub(super) fn next(&self) -> usize {
        self.start as usize + usize::from(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(value: &str) -> Vec<&[u8]> {
        Split::new(value.as_bytes()).collect()
    }

    /// [C-018] Commas inside quoted strings and angle brackets part nothing.
    #[test]
    fn commas() {
        assert_eq!(split("a, b ,c"), [b"a", b"b", b"c"]);
        assert_eq!(split(r#""x, \" y" <sip:a,b@c>;p="q,r" , <sip:d>"#).len(), 2);
        assert_eq!(split(", ,a,,"), [b"a"]);
        assert_eq!(split(""), Vec::<&[u8]>::new());
        assert_eq!(split("\"never, ends").len(), 1);
        assert_eq!(split("<never, ends").len(), 1);
        assert_eq!(split("\"\\").len(), 1);
    }
}
