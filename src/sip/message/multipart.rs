//! Bodies of one part or several (RFC 2046 §5.1, RFC 5621; C-028, C-029).
//!
//! Nothing is rewritten: a part is a view of the body's bytes. Nesting and work are bounded.

use super::Limits;
use super::error::{ParseError, ParseErrorKind};
use super::header::{MediaType, Params, token_params, unquote};
use super::name::HeaderId;
use super::token;
use super::view::Message;

/// One part of a body, or the whole body of a message that has no parts.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its Content-Type; `text/plain` stands for none within a multipart body.
    pub content_type: Option<MediaType<'a>>,
    /// Its Content-Disposition.
    pub disposition: Option<Disposition<'a>>,
    /// Its Content-ID, without angle brackets: what a `cid:` URI names.
    pub content_id: Option<&'a [u8]>,
    /// Its content.
    pub body: &'a [u8],
    /// How deep it lies: 0 for the message's own body.
    pub depth: usize,
}

/// What a part is for (RFC 3261 §20.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition<'a> {
    /// `session`, `render`, `early-session`, …, as written.
    pub kind: &'a [u8],
    /// Whether a part that is not understood makes the message fail with 415: so it is unless
    /// `handling=optional` says otherwise.
    pub required: bool,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Disposition<'a> {
    /// Reads a Content-Disposition value.
    pub fn parse(value: &'a [u8]) -> Result<Disposition<'a>, ParseError> {
        let (kind, params) = token_params(value).ok_or(ParseErrorKind::Field.at(0))?;
        let handling = params.value(b"handling").map(unquote);
        let required = !handling.is_some_and(|h| h.eq_ignore_ascii_case(b"optional"));
        Ok(Disposition { kind, required, params })
    }
}

/// Calls `each` for the body of a message and, depth first, for every part in it. Ends early, with
/// a fault, at a multipart body that cannot be read or that is nested deeper than the limit.
pub fn visit<'a>(
    message: &'a Message,
    limits: &Limits,
    each: &mut dyn FnMut(&Part<'a>),
) -> Result<(), ParseError> {
    if message.body().is_empty() {
        return Ok(());
    }
    let mut part =
        Part { content_type: None, disposition: None, content_id: None, body: message.body(), depth: 0 };
    for header in message.headers() {
        part.take_header(header.id, header.value);
    }
    descend(&part, limits, each)
}

/// The part that a `cid:` URI names; its scheme is left out of `id` (RFC 8262).
pub fn by_content_id<'a>(message: &'a Message, limits: &Limits, id: &[u8]) -> Option<Part<'a>> {
    let mut found = None;
    let _ = visit(message, limits, &mut |part| {
        if found.is_none() && part.content_id == Some(id) {
            found = Some(*part);
        }
    });
    found
}

fn descend<'a>(part: &Part<'a>, limits: &Limits, each: &mut dyn FnMut(&Part<'a>)) -> Result<(), ParseError> {
    each(part);
    let Some(kind) = part.content_type.filter(|c| c.kind.eq_ignore_ascii_case(b"multipart")) else {
        return Ok(());
    };
    if part.depth >= limits.multipart_depth {
        return Err(ParseErrorKind::Multipart.at(0));
    }
    let boundary = kind.params.value(b"boundary").map(unquote);
    // RFC 2046 §5.1.1: one to seventy characters.
    let boundary = boundary.filter(|b| (1..=70).contains(&b.len())).ok_or(ParseErrorKind::Multipart.at(0))?;
    let mut rest = after_delimiter(part.body, boundary).ok_or(ParseErrorKind::Multipart.at(0))?;
    while let Delimited::More(content) = rest {
        let (inner, next) = split_at_delimiter(content, boundary).ok_or(ParseErrorKind::Multipart.at(0))?;
        descend(&Part::of(inner, part.depth + 1), limits, each)?;
        rest = next;
    }
    Ok(())
}

/// What follows a delimiter.
enum Delimited<'a> {
    /// Another part begins.
    More(&'a [u8]),
    /// It was the last delimiter.
    End,
}

/// What follows the first delimiter of a body; what stands before it is for nobody.
fn after_delimiter<'a>(body: &'a [u8], boundary: &[u8]) -> Option<Delimited<'a>> {
    if let Some(next) = delimiter(body, boundary) {
        return Some(next);
    }
    split_at_delimiter(body, boundary).map(|(_, next)| next)
}

/// A part's bytes up to the line end before the next delimiter, and what follows that.
fn split_at_delimiter<'a>(body: &'a [u8], boundary: &[u8]) -> Option<(&'a [u8], Delimited<'a>)> {
    for line_end in memchr::memchr_iter(b'\n', body) {
        if let Some(next) = delimiter(body.get(line_end + 1..)?, boundary) {
            let part = body.get(..line_end)?;
            return Some((part.strip_suffix(b"\r").unwrap_or(part), next));
        }
    }
    // A part may be empty: its delimiter then follows the one before at once.
    delimiter(body, boundary).map(|next| (&[][..], next))
}

/// What follows a delimiter line, if `line` begins with one.
fn delimiter<'a>(line: &'a [u8], boundary: &[u8]) -> Option<Delimited<'a>> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    if rest.starts_with(b"--") {
        return Some(Delimited::End);
    }
    let rest = rest.get(rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()..)?;
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
    rest.strip_prefix(b"\n").map(Delimited::More)
}

impl<'a> Part<'a> {
    /// A part's bytes: header lines, an empty line, content.
    fn of(bytes: &'a [u8], depth: usize) -> Part<'a> {
        let mut part = Part { content_type: None, disposition: None, content_id: None, body: &[], depth };
        let mut rest = bytes;
        loop {
            if let Some(body) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
                part.body = body;
                return part;
            }
            let mut end = line_len(rest);
            while let Some(b' ' | b'\t') = rest.get(end) {
                end += line_len(rest.get(end..).unwrap_or_default());
            }
            let (line, next) = rest.split_at(end);
            let Some(colon) = memchr::memchr(b':', line) else {
                // No header line: content without a head.
                part.body = rest;
                return part;
            };
            let (name, value) = line.split_at(colon);
            part.take_header(
                HeaderId::from_bytes(token::trim(name)),
                token::trim(value.get(1..).unwrap_or_default()),
            );
            rest = next;
        }
    }

    /// Takes in what describes the content; a field that cannot be read is as if it were not there.
    fn take_header(&mut self, id: HeaderId, value: &'a [u8]) {
        match id {
            HeaderId::ContentType => self.content_type = MediaType::parse(value).ok(),
            HeaderId::ContentDisposition => self.disposition = Disposition::parse(value).ok(),
            HeaderId::ContentId => {
                let id = value.strip_prefix(b"<").and_then(|v| v.strip_suffix(b">")).unwrap_or(value);
                self.content_id = Some(id);
            }
            _ => {}
        }
    }
}

fn line_len(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(head: &str, body: &str) -> Message {
        let text = format!("INVITE sip:a SIP/2.0\r\n{head}\r\n\r\n{body}");
        Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).unwrap()
    }

    fn bodies(message: &Message, limits: &Limits) -> Result<Vec<(usize, Vec<u8>)>, ParseErrorKind> {
        let mut all = Vec::new();
        visit(message, limits, &mut |part| all.push((part.depth, part.body.to_vec()))).map_err(|e| e.kind)?;
        Ok(all)
    }

    const NESTED: &str = "for nobody\r\n--a b\r\nContent-Type: application/sdp\r\n\
        Content-Disposition: session;handling=required\r\n\r\nv=0\r\n--a bc\r\n--a b \r\n\
        content-type:\r\n multipart/alternative;boundary=x\r\n\r\n--x\r\n\r\nin ner\r\n--x--\r\n\
        --a b\r\nContent-ID: <z@y>\r\nContent-Disposition: render;handling=optional\r\n\r\n\r\n--a b--\r\nfor nobody";

    /// [C-028] Parts, and parts of parts, byte for byte.
    #[test]
    fn parts() {
        let m = message("c: multipart/mixed;boundary=\"a b\"", NESTED);
        let all = bodies(&m, &Limits::default()).unwrap();
        assert_eq!(all.iter().map(|p| p.0).collect::<Vec<_>>(), [0, 1, 1, 2, 1]);
        let contents: Vec<_> = all.iter().map(|p| String::from_utf8_lossy(&p.1).into_owned()).collect();
        assert_eq!(contents[0], NESTED);
        assert_eq!(contents[1], "v=0\r\n--a bc");
        assert_eq!((&*contents[3], &*contents[4]), ("in ner", ""));
        let mut dispositions = Vec::new();
        visit(&m, &Limits::default(), &mut |p| {
            dispositions.extend(p.disposition.map(|d| (d.kind.to_vec(), d.required)))
        })
        .unwrap();
        assert_eq!(dispositions, [(b"session".to_vec(), true), (b"render".to_vec(), false)]);
    }

    /// [C-029] A `cid:` reference finds a part, and a body that is no part.
    #[test]
    fn content_ids() {
        let m = message("c: multipart/mixed;boundary=\"a b\"", NESTED);
        assert_eq!(by_content_id(&m, &Limits::default(), b"z@y").unwrap().depth, 1);
        assert!(by_content_id(&m, &Limits::default(), b"q").is_none());
        let m = message("Content-ID: <one@b>\r\nc: text/plain", "hello");
        assert_eq!(by_content_id(&m, &Limits::default(), b"one@b").unwrap().body, b"hello");
    }

    /// [C-026] [C-031] Bounded in depth, and total.
    #[test]
    fn bounds() {
        let deep: String =
            (0..10).map(|i| format!("--b{i}\r\nc: multipart/x;boundary=b{}\r\n\r\n", i + 1)).collect();
        let m = message("c: multipart/x;boundary=b0", &deep);
        assert_eq!(bodies(&m, &Limits::default()), Err(ParseErrorKind::Multipart));
        for (head, body) in [
            ("c: multipart/x", "--a\r\n"),
            ("c: multipart/x;boundary=\"\"", "--\r\n\r\n----"),
            ("c: multipart/x;boundary=a", "no delimiter"),
            ("c: multipart/x;boundary=a", "--a\r\nnever ends"),
        ] {
            assert_eq!(
                bodies(&message(head, body), &Limits::default()),
                Err(ParseErrorKind::Multipart),
                "{head}"
            );
        }
        assert_eq!(
            bodies(&message("c: multipart/x;boundary=a", "--a--"), &Limits::default()).unwrap().len(),
            1
        );
        assert_eq!(
            bodies(&message("c: multipart/x;boundary=a", "--a\r\n--a--"), &Limits::default()).unwrap().len(),
            2
        );
        assert_eq!(bodies(&message("X: y", ""), &Limits::default()).unwrap().len(), 0);
    }
}
