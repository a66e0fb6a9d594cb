//! Forwarding as edits over the original bytes, written once (C-010).
//!
//! An edit replaces a range of the received message by bytes kept in a scratch buffer. Everything
//! between edits is copied as it was received. Both buffers are reused from message to message.

use super::header::Via;
use super::name::HeaderId;
use super::values::Split;
use super::view::Message;
use super::write::{put_clean, put_ip, put_number};
use std::net::IpAddr;
use std::ops::Range;

/// A list of edits for one message. Calls that concern one place keep their order: of two things
/// pushed in front, the later stands first; of two appended, the later stands last.
#[derive(Debug, Default)]
pub struct Edits {
    scratch: Vec<u8>,
    /// Sorted by place, then by rank.
    list: Vec<Edit>,
    /// Grows with each edit; its negative puts an insertion before earlier ones.
    count: i32,
}

#[derive(Clone, Debug)]
struct Edit {
    at: usize,
    end: usize,
    rank: i32,
    text: Range<usize>,
}

/// Where an insertion stands among others at the same place.
#[derive(Clone, Copy)]
enum Among {
    First,
    Last,
}

impl Edits {
    /// No edits.
    pub fn new() -> Edits {
        Edits::default()
    }

    /// Forgets all edits; the buffers stay.
    pub fn clear(&mut self) {
        self.scratch.clear();
        self.list.clear();
        self.count = 0;
    }

    /// Whether the message would be written as received.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Replaces the Request-URI.
    pub fn set_request_uri(&mut self, message: &Message, uri: &[u8]) {
        let (from, to) = message.request_uri_range();
        if from < to {
            let text = self.text(&[uri]);
            self.replace(from..to, text);
        }
    }

    /// Puts a Via line above the topmost one.
    pub fn push_via(&mut self, message: &Message, value: &[u8]) {
        let at = message.first_line(HeaderId::Via).map_or(headers_start(message), |l| l.start as usize);
        self.insert_line(at, Among::First, b"Via", value);
    }

    /// Removes exactly the first Via value: its whole line if it stands alone (C-112).
    pub fn pop_via(&mut self, message: &Message) {
        self.pop_first(message, HeaderId::Via, 1);
    }

    /// Notes the source in the topmost Via: `received`, and the value of `rport` (C-045, C-046).
    /// What the sender wrote into these two is overwritten.
    pub fn set_via_received(&mut self, message: &Message, received: Option<IpAddr>, rport: Option<u16>) {
        let Some((at, value)) = message.field(HeaderId::Via) else { return };
        let Ok(via) = Via::parse(value) else { return };
        let Some(lead) = message.offset_of(via.raw).map(|from| from.saturating_sub(at)) else { return };
        let end = at + lead + via.raw.len();
        if let Some(port) = rport {
            let from = self.scratch.len();
            self.scratch.extend_from_slice(b";rport=");
            put_number(&mut self.scratch, u32::from(port));
            let text = from..self.scratch.len();
            self.set_param(message, &via, b"rport", end, text);
        }
        if let Some(ip) = received {
            let from = self.scratch.len();
            self.scratch.extend_from_slice(b";received=");
            put_ip(&mut self.scratch, ip);
            let text = from..self.scratch.len();
            self.set_param(message, &via, b"received", end, text);
        }
    }

    /// Replaces a Via parameter where it stands, or adds it behind the value's end.
    fn set_param(&mut self, message: &Message, via: &Via<'_>, name: &[u8], end: usize, text: Range<usize>) {
        let found = via.params.iter().find(|p| p.name.eq_ignore_ascii_case(name));
        let place = found.and_then(|param| {
            let from = message.offset_of(param.name)?;
            let to = match param.value {
                Some(value) if !value.is_empty() => message.offset_of(value)? + value.len(),
                Some(_) => message.bytes().get(from..end)?.iter().position(|&b| b == b'=')? + from + 1,
                None => from + param.name.len(),
            };
            // The semicolon in front stays.
            Some(from..to)
        });
        match place {
            Some(range) => self.replace(range, text.start + 1..text.end),
            None => self.insert_text(end, Among::Last, text),
        }
    }

    /// Removes the first `n` Route values.
    pub fn pop_route(&mut self, message: &Message, n: usize) {
        self.pop_first(message, HeaderId::Route, n);
    }

    /// Removes the last Route value (RFC 3261 §16.4: what a strict router put there).
    pub fn pop_last_route(&mut self, message: &Message) {
        let Some(line) = message.lines().iter().rev().find(|l| l.id == HeaderId::Route) else { return };
        let value = line.value(message.bytes());
        let mut last = None;
        let mut before = None;
        for part in Split::new(value) {
            before = last;
            last = Some(part);
        }
        let place = before.zip(last).and_then(|(before, last)| {
            let from = message.offset_of(before)? + before.len();
            Some(from..message.offset_of(last)? + last.len())
        });
        self.delete(place.unwrap_or(line.start as usize..line.next()));
    }

    /// Puts a Route line in front of all others.
    pub fn push_route(&mut self, message: &Message, value: &[u8]) {
        let at = message.first_line(HeaderId::Route).map_or(after_via(message), |l| l.start as usize);
        self.insert_line(at, Among::First, b"Route", value);
    }

    /// Puts a Route line behind all others.
    pub fn append_route(&mut self, message: &Message, value: &[u8]) {
        let last = message.lines().iter().rev().find(|l| l.id == HeaderId::Route);
        let at = last.map_or(after_via(message), |l| l.next());
        self.insert_line(at, Among::Last, b"Route", value);
    }

    /// Puts a Record-Route line above the first one, or behind Via.
    pub fn push_record_route(&mut self, message: &Message, value: &[u8]) {
        let first = message.first_line(HeaderId::RecordRoute);
        let at = first.map_or(after_via(message), |l| l.start as usize);
        self.insert_line(at, Among::First, b"Record-Route", value);
    }

    /// Sets Max-Forwards, whether it stood or not.
    pub fn set_max_forwards(&mut self, message: &Message, hops: u8) {
        let from = self.scratch.len();
        put_number(&mut self.scratch, u32::from(hops));
        let text = from..self.scratch.len();
        match message.first_line(HeaderId::MaxForwards) {
            Some(line) => self.replace(value_range(line), text),
            None => {
                let digits: smallvec::SmallVec<[u8; 4]> = self.scratch.get(text).unwrap_or_default().into();
                self.insert_line(after_via(message), Among::Last, b"Max-Forwards", &digits);
            }
        }
    }

    /// Replaces the value of the header line with this index.
    pub fn replace_value(&mut self, message: &Message, index: usize, value: &[u8]) {
        if let Some(line) = message.lines().get(index) {
            let text = self.text(&[value]);
            self.replace(value_range(line), text);
        }
    }

    /// Removes all lines of a field.
    pub fn remove(&mut self, message: &Message, id: HeaderId) {
        for line in message.lines().iter().filter(|l| l.id == id && id != HeaderId::Other) {
            self.delete(line.start as usize..line.next());
        }
    }

    /// Removes the header line with this index.
    pub fn remove_line(&mut self, message: &Message, index: usize) {
        if let Some(line) = message.lines().get(index) {
            self.delete(line.start as usize..line.next());
        }
    }

    /// Adds a header line: before Content-Length, or at the end of the header lines.
    pub fn insert(&mut self, message: &Message, name: &str, value: &[u8]) {
        let at = message.first_line(HeaderId::ContentLength).map_or(message.head_end(), |l| l.start as usize);
        self.insert_line(at, Among::Last, name.as_bytes(), value);
    }

    /// Sets Content-Length, whether it stood or not.
    pub fn set_content_length(&mut self, message: &Message, length: usize) {
        let from = self.scratch.len();
        put_number(&mut self.scratch, u32::try_from(length).unwrap_or(u32::MAX));
        let text = from..self.scratch.len();
        match message.first_line(HeaderId::ContentLength) {
            Some(line) => self.replace(value_range(line), text),
            None => {
                let digits: smallvec::SmallVec<[u8; 12]> = self.scratch.get(text).unwrap_or_default().into();
                self.insert_line(message.head_end(), Among::Last, b"Content-Length", &digits);
            }
        }
    }

    /// Replaces the body and sets Content-Length. The body is written as it is.
    pub fn set_body(&mut self, message: &Message, body: &[u8]) {
        self.set_content_length(message, body.len());
        let from = self.scratch.len();
        self.scratch.extend_from_slice(body);
        let text = from..self.scratch.len();
        let end = message.bytes().len();
        let at = end - message.body().len();
        if at < end {
            self.replace(at..end, text);
        } else {
            self.insert_text(end, Among::Last, text);
        }
    }

    /// Appends the edited message to `out`.
    pub fn write(&self, message: &Message, out: &mut Vec<u8>) {
        let bytes = message.bytes();
        out.reserve(self.written_len(message));
        let mut at = 0;
        for edit in &self.list {
            out.extend_from_slice(bytes.get(at..edit.at).unwrap_or_default());
            out.extend_from_slice(self.scratch.get(edit.text.clone()).unwrap_or_default());
            at = at.max(edit.end);
        }
        out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }

    /// How many bytes [`Edits::write`] appends.
    pub fn written_len(&self, message: &Message) -> usize {
        let mut len = 0;
        let mut at = 0;
        for edit in &self.list {
            len += edit.at.saturating_sub(at) + edit.text.len();
            at = at.max(edit.end);
        }
        len + message.bytes().len().saturating_sub(at)
    }

    /// Removes the first `n` values of a list field.
    fn pop_first(&mut self, message: &Message, id: HeaderId, n: usize) {
        let mut left = n;
        for line in message.lines().iter().filter(|l| l.id == id) {
            if left == 0 {
                return;
            }
            let value = line.value(message.bytes());
            let mut count = 0;
            // What stands behind the values to be removed is kept from its first byte on.
            let kept = Split::new(value).find(|_| {
                count += 1;
                count > left
            });
            match kept.and_then(|kept| message.offset_of(kept)) {
                Some(from) => {
                    self.delete(line.value_start()..from);
                    return;
                }
                None => {
                    self.delete(line.start as usize..line.next());
                    left -= count;
                }
            }
        }
    }

    fn insert_line(&mut self, at: usize, among: Among, name: &[u8], value: &[u8]) {
        let from = self.scratch.len();
        put_clean(&mut self.scratch, name);
        self.scratch.extend_from_slice(b": ");
        put_clean(&mut self.scratch, value);
        self.scratch.extend_from_slice(b"\r\n");
        self.insert_text(at, among, from..self.scratch.len());
    }

    /// Keeps bytes, with CR, LF and NUL made harmless (C-212).
    fn text(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let from = self.scratch.len();
        for part in parts {
            put_clean(&mut self.scratch, part);
        }
        from..self.scratch.len()
    }

    fn insert_text(&mut self, at: usize, among: Among, text: Range<usize>) {
        self.count += 1;
        let rank = match among {
            Among::First => -self.count,
            Among::Last => self.count,
        };
        self.add(Edit { at, end: at, rank, text });
    }

    /// Replaces a range; a second replacement of the same range takes the place of the first.
    fn replace(&mut self, range: Range<usize>, text: Range<usize>) {
        if let Some(edit) =
            self.list.iter_mut().find(|e| e.at == range.start && e.end == range.end && e.at < e.end)
        {
            edit.text = text;
            return;
        }
        // Behind all insertions at its place.
        self.add(Edit { at: range.start, end: range.end, rank: i32::MAX, text });
    }

    fn delete(&mut self, range: Range<usize>) {
        self.replace(range, 0..0);
    }

    fn add(&mut self, edit: Edit) {
        let place = self.list.partition_point(|e| (e.at, e.rank) <= (edit.at, edit.rank));
        self.list.insert(place, edit);
    }
}

fn value_range(line: &super::index::Line) -> Range<usize> {
    line.value_start()..line.value_start() + usize::from(line.value_len)
}

/// Where the header lines begin.
fn headers_start(message: &Message) -> usize {
    message.lines().first().map_or(message.head_end(), |l| l.start as usize)
}

/// Behind the first run of Via lines, or at the first header line.
fn after_via(message: &Message) -> usize {
    let lines = message.lines();
    let first = lines.iter().position(|l| l.id == HeaderId::Via).unwrap_or(0);
    let run = lines.iter().skip(first).take_while(|l| l.id == HeaderId::Via);
    run.last().map_or(headers_start(message), |l| l.next())
}

#[cfg(test)]
mod tests;
