//! The one pass over a received message: lines, folding, header ids, limits.
//!
//! Nothing is copied and nothing is interpreted beyond what finding the body needs. Faults that do
//! not prevent indexing are remembered (the first one), so that the request can be answered.

use super::Limits;
use super::error::{ParseError, ParseErrorKind};
use super::name::HeaderId;
use super::start_line::{self, StartLine};
use super::token::{self, DIGIT, TOKEN};
use super::values::Split;
use smallvec::SmallVec;

/// Header lines kept without allocation; enough for any ordinary message.
const INLINE: usize = 32;

/// A header line by offsets: 16 bytes, so that an index of a usual message fits a few cache lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Where the name begins.
    pub start: u32,
    /// Bytes of the name.
    pub name_len: u16,
    /// The value's first byte, from `start`.
    pub value: u16,
    /// Bytes of the value, trimmed.
    pub value_len: u16,
    /// Bytes of the whole line with its line end.
    pub len: u16,
    /// Which field it is.
    pub id: HeaderId,
    /// Whether the value is continued on further lines.
    pub folded: bool,
}

/// What the pass finds out.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub start: StartLine,
    pub lines: SmallVec<[Line; INLINE]>,
    /// Per field, one more than the place of its first line in `lines`; 0 when it does not stand.
    pub first: [u16; HeaderId::COUNT],
    /// Fields that stand more than once, as a set of [`HeaderId::bit`]s.
    pub repeated: u128,
    /// Where the header lines end: the empty line, or the end of the message.
    pub head_end: u32,
    /// Where the body begins.
    pub body: u32,
    /// Where the message ends (C-013).
    pub end: u32,
    /// The first fault that still allows an answer.
    pub fault: Option<ParseError>,
}

impl Index {
    /// An index of nothing.
    pub fn new() -> Index {
        Index {
            start: StartLine::Response { status: 0, reason: (0, 0) },
            lines: SmallVec::new(),
            first: [0; HeaderId::COUNT],
            repeated: 0,
            head_end: 0,
            body: 0,
            end: 0,
            fault: None,
        }
    }

    /// The first line of a field.
    #[inline]
    pub fn first_line(&self, id: HeaderId) -> Option<&Line> {
        let place = self.first.get(id as usize)?.checked_sub(1)?;
        self.lines.get(usize::from(place))
    }
}

/// Indexes a message into `index`, a new one. `bytes` has no line ends in front.
pub(super) fn index(bytes: &[u8], limits: &Limits, index: &mut Index) -> Result<(), ParseError> {
    if bytes.is_empty() {
        return Err(ParseErrorKind::Empty.at(0));
    }
    let mut bare = None;
    let (content, first) = line_end(bytes, 0, &mut bare).ok_or(ParseErrorKind::StartLine.at(0))?;
    let (start, fault) =
        start_line::parse(bytes.get(..content).unwrap_or_default()).map_err(|kind| kind.at(0))?;
    index.start = start;
    index.fault = fault.map(|kind| kind.at(0));
    index.end = bytes.len().min(u32::MAX as usize) as u32;
    let line_limit = limits.header_line.min(usize::from(u16::MAX));
    let mut pass = Pass { bytes, limits, line_limit, bare, length: None, index };
    pass.check_start();
    pass.head(first);
    pass.finish();
    Ok(())
}

/// The end of the line that `from` stands in: where its content ends, and where the next line
/// begins. `bare` receives the place of the first CR without LF.
#[inline]
fn line_end(bytes: &[u8], from: usize, bare: &mut Option<usize>) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = at + token::first_below(0x20, bytes.get(at..)?)?;
        match bytes.get(found..)? {
            [b'\r', b'\n', ..] => return Some((found, found + 2)),
            [b'\n', ..] => return Some((found, found + 1)),
            [b'\r', ..] => {
                bare.get_or_insert(found);
            }
            _ => {}
        }
        at = found + 1;
    }
}

/// A header line, and what follows it.
struct Parts<'a> {
    /// What stands before the colon.
    name: &'a [u8],
    /// What stands behind it.
    value: &'a [u8],
    /// What stands behind the line.
    next: &'a [u8],
    folded: bool,
}

/// A header line as nearly all are: one line, a short name, CR LF at its end.
#[inline]
fn plain_line(rest: &[u8]) -> Option<Parts<'_>> {
    let (name, after) = rest.split_at_checked(near_colon(rest)?)?;
    let (value, end) = after.split_at_checked(token::first_below(0x20, after)?)?;
    match end {
        [b'\r', b'\n', b' ' | b'\t', ..] => None,
        [b'\r', b'\n', next @ ..] => {
            Some(Parts { name, value: value.get(1..).unwrap_or_default(), next, folded: false })
        }
        _ => None,
    }
}

/// The first colon, if it is among the first 32 bytes, as it is behind any name known here.
#[inline]
fn near_colon(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let (eights, _) = bytes.as_chunks::<8>();
    for (i, eight) in eights.iter().take(4).enumerate() {
        let word = u64::from_le_bytes(*eight) ^ (EACH * b':' as u64);
        // A byte of zeros sets the highest bit of its place, and the lowest such is exact.
        let zeros = word.wrapping_sub(EACH) & !word & (EACH << 7);
        if zeros != 0 {
            return Some(i * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    None
}

struct Pass<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    line_limit: usize,
    /// The first CR that ends no line.
    bare: Option<usize>,
    length: Option<u32>,
    index: &'a mut Index,
}

impl Pass<'_> {
    #[cold]
    fn fault(&mut self, kind: ParseErrorKind, at: usize) {
        self.index.fault.get_or_insert(kind.at(at));
    }

    fn check_start(&mut self) {
        if self.bytes.len() > self.limits.message {
            self.fault(ParseErrorKind::TooLarge, self.limits.message);
        }
        if let StartLine::Request { uri: (from, to), .. } = self.index.start
            && (to - from) as usize > self.limits.uri
        {
            self.fault(ParseErrorKind::UriTooLong, from as usize);
        }
    }

    /// All header lines, from the first one on.
    fn head(&mut self, first: usize) {
        let all = self.bytes.len();
        let mut left = self.limits.headers.min(usize::from(u16::MAX) - 1);
        let mut rest = self.bytes.get(first..).unwrap_or_default();
        let body = loop {
            match rest {
                [b'\r', b'\n', body @ ..] | [b'\n', body @ ..] => break body,
                [] => {
                    self.fault(ParseErrorKind::Unterminated, all);
                    break rest;
                }
                // What is beyond is not looked at; the first lines serve for the answer.
                _ if left == 0 => {
                    self.fault(ParseErrorKind::TooManyHeaders, all - rest.len());
                    break &[];
                }
                _ => rest = self.line(rest),
            }
            left -= 1;
        };
        self.index.head_end = (all - rest.len()) as u32;
        self.index.body = (all - body.len()) as u32;
    }

    /// Takes in the header line at the front of `rest`; answers what is behind it.
    #[inline]
    fn line<'b>(&mut self, rest: &'b [u8]) -> &'b [u8] {
        let parts = plain_line(rest).unwrap_or_else(|| self.unusual_line(rest));
        let Parts { name, value, next, folded } = parts;
        let from = self.bytes.len() - rest.len();
        let len = rest.len() - next.len();
        let mut name = name;
        let mut id = HeaderId::from_bytes(name);
        // A known name is a token; only others need a look, and those with white space behind them.
        if id == HeaderId::Other {
            name = token::trim_end(name);
            id = HeaderId::from_bytes(name);
            if name.is_empty() || !token::all(TOKEN, name) {
                self.fault(ParseErrorKind::HeaderLine, from);
                return next;
            }
        }
        if len > self.line_limit {
            self.fault(ParseErrorKind::HeaderTooLong, from);
            return next;
        }
        let left = token::trim_start(value);
        let at = (left.as_ptr() as usize).wrapping_sub(rest.as_ptr() as usize);
        let value = token::trim_end(left);
        self.note(id);
        if id == HeaderId::ContentLength {
            self.content_length(value, from + at);
        }
        self.index.lines.push(Line {
            start: from as u32,
            name_len: name.len() as u16,
            value: at as u16,
            value_len: value.len() as u16,
            len: len as u16,
            id,
            folded,
        });
        next
    }

    /// As [`plain_line`], for lines that are continued (RFC 3261 §7.3.1), end in LF alone, stand at
    /// the message's end, have a long name or none: then it is empty here.
    #[cold]
    fn unusual_line<'b>(&mut self, rest: &'b [u8]) -> Parts<'b> {
        let from = self.bytes.len() - rest.len();
        let mut folded = false;
        let mut end = line_end(self.bytes, from, &mut self.bare);
        while let Some((_, next)) = end
            && let Some(b' ' | b'\t') = self.bytes.get(next)
        {
            folded = true;
            end = line_end(self.bytes, next, &mut self.bare);
        }
        let (content, next) = end.unwrap_or((self.bytes.len(), self.bytes.len()));
        let line = rest.get(..content - from).unwrap_or_default();
        let next = rest.get(next - from..).unwrap_or_default();
        let colon = line.iter().position(|&b| b == b':');
        let (name, value) = line.split_at(colon.unwrap_or(0));
        Parts { name, value: value.get(1..).unwrap_or_default(), next, folded }
    }

    #[inline]
    fn note(&mut self, id: HeaderId) {
        let place = self.index.lines.len() as u16;
        match self.index.first.get_mut(id as usize) {
            Some(first @ 0) => *first = place + 1,
            _ => self.index.repeated |= id.bit(),
        }
    }

    #[inline(never)]
    fn content_length(&mut self, value: &[u8], at: usize) {
        match (token::number(value), self.length) {
            (None, _) => self.fault(ParseErrorKind::ContentLength, at),
            (Some(n), Some(before)) if n != before => {
                self.fault(ParseErrorKind::ContentLengthConflict, at);
            }
            (Some(n), _) => self.length = Some(n),
        }
    }

    /// What needs the whole head: list limits, and the body against Content-Length (C-013).
    fn finish(&mut self) {
        if let Some(place) = self.bare.filter(|&place| place < self.index.body as usize) {
            self.fault(ParseErrorKind::LineEnd, place);
        }
        let lists = [
            (HeaderId::Via, self.limits.vias, ParseErrorKind::TooManyVias),
            (HeaderId::Route, self.limits.routes, ParseErrorKind::TooManyRoutes),
            (HeaderId::RecordRoute, self.limits.routes, ParseErrorKind::TooManyRoutes),
        ];
        for (id, limit, kind) in lists {
            if self.index.first_line(id).is_some() && self.exceeds(id, limit) {
                self.fault(kind, 0);
            }
        }
        let body = self.bytes.len() - (self.index.body as usize).min(self.bytes.len());
        match self.length {
            Some(n) if (n as usize) < body => self.index.end = self.index.body + n,
            Some(n) if (n as usize) > body => self.fault(ParseErrorKind::BodyShort, self.bytes.len()),
            _ => {}
        }
    }

    /// Whether a list field has more values than allowed. Counted exactly only when the lines are
    /// long enough for it to be possible: no value of these fields is shorter than 7 bytes.
    fn exceeds(&self, id: HeaderId, limit: usize) -> bool {
        let lines = || self.index.lines.iter().filter(|l| l.id == id);
        let bytes: usize = lines().map(|l| usize::from(l.value_len)).sum();
        if bytes / 7 < limit && self.index.lines.len() <= limit {
            return false;
        }
        let values: usize = lines()
            .map(|l| {
                let from = l.start as usize + usize::from(l.value);
                let value = self.bytes.get(from..from + usize::from(l.value_len)).unwrap_or_default();
                Split::new(value).count().max(1)
            })
            .sum();
        values > limit
    }
}

/// The digits at the front of a value, for readers that stop there.
pub(super) fn digits(value: &[u8]) -> &[u8] {
    value.get(..token::span(DIGIT, value)).unwrap_or_default()
}
