//! Messages out of a byte stream (RFC 3261 §18.3): Content-Length frames, keep-alives between them.
//!
//! Each byte is looked at a bounded number of times, however the stream is cut (C-030, C-051); what
//! is kept never exceeds the message limit plus what one [`Framer::push`] brought.

use super::error::{ParseError, ParseErrorKind};
use super::name::HeaderId;
use super::{Limits, token};
use bytes::{Buf, Bytes, BytesMut};

/// What a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message, nothing before its start line.
    Message(Bytes),
    /// CRLF CRLF: to be answered with CRLF (RFC 5626 §3.5.1, C-055). Comes right after the
    /// [`Frame::Pong`] that its first half is taken for.
    Ping,
    /// A CRLF between messages: the answer to an own ping, or nothing (C-011).
    Pong,
}

/// Cuts one stream into frames. After an error it stays at that error (C-052): the connection is to
/// be closed, once the head that [`Framer::take_head`] gives has been answered.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limit: usize,
    /// Bytes of the buffer that hold no end of the head.
    scanned: usize,
    /// Whether the byte before the buffer ended a lone CRLF.
    half_ping: bool,
    /// Size of the message at the front, once its head is complete.
    message: Option<usize>,
    error: Option<ParseError>,
    head: Option<usize>,
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new(limits: &Limits) -> Framer {
        Framer {
            buffer: BytesMut::new(),
            limit: limits.message,
            scanned: 0,
            half_ping: false,
            message: None,
            error: None,
            head: None,
        }
    }

    /// Takes in what was read. After an error it is thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes kept: part of a message that is not complete.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` when more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "an iterator has no error that stays")]
    pub fn next(&mut self) -> Result<Option<Frame>, ParseError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.message.is_none() {
            if let Some(frame) = self.line_end() {
                return Ok(Some(frame));
            }
            match self.head_end() {
                None if self.buffer.len() > self.limit => {
                    return Err(self.fail(ParseErrorKind::TooLarge, None));
                }
                None => return Ok(None),
                Some(head) => self.message = Some(self.measure(head)?),
            }
        }
        match self.message {
            Some(size) if self.buffer.len() >= size => {
                self.message = None;
                self.scanned = 0;
                Ok(Some(Frame::Message(self.buffer.split_to(size).freeze())))
            }
            _ => Ok(None),
        }
    }

    /// After an error: the head of the message that caused it, if it is complete, so that a request
    /// can be answered (C-012). Its body is not to be expected.
    pub fn take_head(&mut self) -> Option<Bytes> {
        let head = self.head.take()?;
        let bytes = self.buffer.split_to(head.min(self.buffer.len())).freeze();
        self.buffer.clear();
        Some(bytes)
    }

    /// A line end between messages.
    fn line_end(&mut self) -> Option<Frame> {
        if self.scanned > 0 {
            return None;
        }
        let ends = match &*self.buffer {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [] | [b'\r'] => return None,
            _ => {
                self.half_ping = false;
                return None;
            }
        };
        self.buffer.advance(ends);
        self.half_ping = !self.half_ping;
        Some(if self.half_ping { Frame::Pong } else { Frame::Ping })
    }

    /// Where the head ends, the empty line included.
    fn head_end(&mut self) -> Option<usize> {
        if let [b'\r'] = *self.buffer {
            // Perhaps half a line end between messages.
            return None;
        }
        let mut at = self.scanned;
        while let Some(found) = memchr::memchr(b'\n', self.buffer.get(at..)?) {
            let next = at + found + 1;
            match self.buffer.get(next..).unwrap_or_default() {
                [b'\n', ..] => return Some(next + 1),
                [b'\r', b'\n', ..] => return Some(next + 2),
                // The line end must be seen again with what follows it.
                [] | [b'\r'] => {
                    self.scanned = next - 1;
                    return None;
                }
                _ => at = next,
            }
        }
        self.scanned = self.buffer.len();
        None
    }

    /// The size of the message whose head is complete.
    fn measure(&mut self, head: usize) -> Result<usize, ParseError> {
        if head > self.limit {
            return Err(self.fail(ParseErrorKind::TooLarge, Some(head)));
        }
        match content_length(self.buffer.get(..head).unwrap_or_default()) {
            Ok(body) if body > self.limit - head => Err(self.fail(ParseErrorKind::TooLarge, Some(head))),
            Ok(body) => Ok(head + body),
            Err(kind) => Err(self.fail(kind, Some(head))),
        }
    }

    fn fail(&mut self, kind: ParseErrorKind, head: Option<usize>) -> ParseError {
        let error = kind.at(head.unwrap_or(self.buffer.len()));
        self.error = Some(error);
        self.head = head;
        if head.is_none() {
            self.buffer = BytesMut::new();
        }
        error
    }
}

/// The Content-Length of a head; an error when there is none, or none that can be relied on.
fn content_length(head: &[u8]) -> Result<usize, ParseErrorKind> {
    let mut found = None;
    let mut at = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    while let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
        let mut end = line_len(rest);
        while let Some(b' ' | b'\t') = rest.get(end) {
            end += line_len(rest.get(end..).unwrap_or_default());
        }
        at += end;
        // Only names that begin with its letter or its compact form are looked at closely.
        let Some(b'c' | b'C' | b'l' | b'L') = rest.first() else { continue };
        let line = rest.get(..end).unwrap_or_default();
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        if HeaderId::from_bytes(token::trim(name)) != HeaderId::ContentLength {
            continue;
        }
        let length = token::number(token::trim(value.get(1..).unwrap_or_default()))
            .ok_or(ParseErrorKind::ContentLength)? as usize;
        if found.is_some_and(|before| before != length) {
            return Err(ParseErrorKind::ContentLengthConflict);
        }
        found = Some(length);
    }
    found.ok_or(ParseErrorKind::ContentLengthMissing)
}

fn line_len(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nl : 3\r\nX: y\r\n\r\nabc";
    const B: &[u8] = b"SIP/2.0 200 OK\r\nCONTENT-length:\r\n 0\r\n\r\n";

    fn frames(framer: &mut Framer) -> Vec<Frame> {
        std::iter::from_fn(|| framer.next().unwrap()).collect()
    }

    /// [C-051] [C-055] [C-011] The same frames wherever the stream is cut.
    #[test]
    fn any_boundary() {
        let stream = [b"\r\n\r\n", A, B, b"\r\n", A].concat();
        let message = |bytes: &[u8]| Frame::Message(Bytes::copy_from_slice(bytes));
        let expected = [Frame::Pong, Frame::Ping, message(A), message(B), Frame::Pong, message(A)];
        for size in 1..=stream.len() {
            let mut framer = Framer::new(&Limits::default());
            let mut got = Vec::new();
            for part in stream.chunks(size) {
                framer.push(part);
                got.extend(frames(&mut framer));
            }
            assert_eq!(got, expected, "cut at every {size}");
            assert_eq!(framer.buffered(), 0);
        }
    }

    /// [C-012] [C-052] No Content-Length: an error that stays, and a head to answer.
    #[test]
    fn faults_stay() {
        for (head, kind) in [
            (&b"OPTIONS sip:a SIP/2.0\r\nX: y\r\n\r\n"[..], ParseErrorKind::ContentLengthMissing),
            (b"OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n", ParseErrorKind::ContentLength),
            (
                b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n",
                ParseErrorKind::ContentLengthConflict,
            ),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 99999999\r\n\r\n", ParseErrorKind::TooLarge),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 99999999999\r\n\r\n", ParseErrorKind::ContentLength),
        ] {
            let mut framer = Framer::new(&Limits::default());
            framer.push(head);
            framer.push(A);
            assert_eq!(framer.next().unwrap_err().kind, kind);
            framer.push(A);
            assert_eq!(framer.next().unwrap_err().kind, kind);
            assert_eq!(framer.take_head().as_deref(), Some(head));
            assert_eq!(framer.take_head(), None);
            assert_eq!(framer.buffered(), 0);
        }
    }

    /// [C-026] [C-031] What never ends is not kept.
    #[test]
    fn bounded() {
        let mut framer = Framer::new(&Limits { message: 1_000, ..Limits::default() });
        for _ in 0..10 {
            framer.push(&[b'a'; 300]);
            if framer.next().is_err() {
                break;
            }
        }
        assert_eq!(framer.next().unwrap_err().kind, ParseErrorKind::TooLarge);
        assert_eq!((framer.buffered(), framer.take_head()), (0, None));
    }
}
