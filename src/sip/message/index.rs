//! The one pass over a received message: lines, folding, header ids, limits.
//!
//! Nothing is copied and nothing is interpreted beyond what finding the body needs. Faults that do
//! not prevent indexing are remembered (the first one), so that the request can be answered.

use super::Limits;
use super::error::{ParseError, ParseErrorKind};
use super::name::HeaderId;
use super::start_line::{self, StartLine};
use super::token::{self, DIGIT, LWS, TOKEN};
use super::values::Split;
use smallvec::SmallVec;

/// Header lines kept without allocation; enough for any ordinary message.
const INLINE: usize = 36;

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
    /// Fields that stand at least once, as a set of [`HeaderId::bit`]s.
    pub present: u128,
    /// Fields that stand more than once.
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

/// The end of the line that begins at `from`: where its content ends, and where the next line
/// begins. `bare` receives the place of a CR without LF.
#[inline]
fn line_end(bytes: &[u8], from: usize, bare: &mut Option<usize>) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        let found = at + memchr::memchr2(b'\r', b'\n', rest)?;
        match bytes.get(found) {
            Some(b'\n') => return Some((found, found + 1)),
            _ if bytes.get(found + 1) == Some(&b'\n') => return Some((found, found + 2)),
            _ => {
                bare.get_or_insert(found);
                at = found + 1;
            }
        }
    }
}

/// Indexes a message. `bytes` has no line ends in front.
pub(super) fn index(bytes: &[u8], limits: &Limits) -> Result<Index, ParseError> {
    if bytes.is_empty() {
        return Err(ParseErrorKind::Empty.at(0));
    }
    let mut bare = None;
    let (content, mut at) = line_end(bytes, 0, &mut bare).ok_or(ParseErrorKind::StartLine.at(0))?;
    let first = bytes.get(..content).unwrap_or_default();
    let (start, start_fault) = start_line::parse(first).map_err(|kind| kind.at(0))?;
    let mut pass = Pass {
        bytes,
        limits,
        length: None,
        index: Index {
            start,
            lines: SmallVec::new(),
            present: 0,
            repeated: 0,
            head_end: 0,
            body: 0,
            end: bytes.len().min(u32::MAX as usize) as u32,
            fault: start_fault.map(|kind| kind.at(0)),
        },
    };
    pass.check_start();
    let (head_end, body) = loop {
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => break (at, at + 2),
            Some([b'\n', ..]) => break (at, at + 1),
            Some([_, ..]) => {}
            Some([]) | None => {
                pass.fault(ParseErrorKind::Unterminated, bytes.len());
                break (bytes.len(), bytes.len());
            }
        }
        if pass.index.lines.len() >= limits.headers {
            // The rest is not looked at; the first lines serve for the answer.
            pass.fault(ParseErrorKind::TooManyHeaders, at);
            break (at, bytes.len());
        }
        at = pass.line(at, &mut bare);
    };
    if let Some(place) = bare {
        pass.fault(ParseErrorKind::LineEnd, place);
    }
    pass.index.head_end = head_end as u32;
    pass.index.body = body as u32;
    pass.finish();
    Ok(pass.index)
}

struct Pass<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    length: Option<u32>,
    index: Index,
}

impl Pass<'_> {
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

    /// Takes in the header line at `from`; answers where the next one begins.
    #[inline]
    fn line(&mut self, from: usize, bare: &mut Option<usize>) -> usize {
        let bytes = self.bytes;
        let mut folded = false;
        let (content, next) = {
            let mut end = line_end(bytes, from, bare);
            while let Some((_, next)) = end
                && matches!(bytes.get(next), Some(b' ' | b'\t'))
            {
                folded = true;
                end = line_end(bytes, next, bare);
            }
            end.unwrap_or((bytes.len(), bytes.len()))
        };
        if next - from > self.limits.header_line.min(usize::from(u16::MAX)) {
            self.fault(ParseErrorKind::HeaderTooLong, from);
            return next;
        }
        let line = bytes.get(from..content).unwrap_or_default();
        let name_len = token::span(TOKEN, line);
        let mut colon = name_len;
        while let Some(b' ' | b'\t') = line.get(colon) {
            colon += 1;
        }
        if name_len == 0 || line.get(colon) != Some(&b':') {
            self.fault(ParseErrorKind::HeaderLine, from);
            return next;
        }
        let (name, _) = line.split_at(name_len);
        let (_, value) = line.split_at(colon + 1);
        let lead = token::span(LWS, value);
        let value = token::trim(value);
        let id = HeaderId::from_bytes(name);
        let bit = id.bit();
        self.index.repeated |= self.index.present & bit;
        self.index.present |= bit;
        let at = colon + 1 + lead;
        if id == HeaderId::ContentLength {
            self.content_length(value, from + at);
        }
        self.index.lines.push(Line {
            start: from as u32,
            name_len: name_len as u16,
            value: at as u16,
            value_len: value.len() as u16,
            len: (next - from) as u16,
            id,
            folded,
        });
        next
    }

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
        let lists = [
            (HeaderId::Via, self.limits.vias, ParseErrorKind::TooManyVias),
            (HeaderId::Route, self.limits.routes, ParseErrorKind::TooManyRoutes),
            (HeaderId::RecordRoute, self.limits.routes, ParseErrorKind::TooManyRoutes),
        ];
        for (id, limit, kind) in lists {
            if self.index.present & id.bit() != 0 && self.exceeds(id, limit) {
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
