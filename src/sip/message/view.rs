//! [`Message`]: received bytes and their index.

use super::Limits;
use super::error::{Answer, ParseError, ParseErrorKind};
use super::header::{CSeq, Event, MediaType, NameAddr, Replaces, SubscriptionState, Via, parse_cseq};
use super::index::{self, Index, Line};
use super::method::Method;
use super::name::HeaderId;
use super::ready::{self, Ready};
use super::start_line::StartLine;
use super::token;
use super::uri::Uri;
use super::values::{Split, Values};
use bytes::{Buf, Bytes};

/// A message as it was received, and where everything in it stands.
///
/// Cloning costs a reference count and a copy of the index.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    index: Index,
}

/// One header line of a message.
#[derive(Clone, Copy, Debug)]
pub struct HeaderLine<'a> {
    /// Which field it is.
    pub id: HeaderId,
    /// The name as written.
    pub name: &'a [u8],
    /// The value, trimmed; possibly continued over several lines.
    pub value: &'a [u8],
    /// The place among the header lines, for [`super::Edits::replace_value`].
    pub index: usize,
    /// Whether the value is continued over several lines.
    pub folded: bool,
}

impl Message {
    /// Indexes a received message in one pass. Line ends in front are passed over, bytes beyond
    /// Content-Length cut off (C-013).
    ///
    /// Fails only for what cannot be told to be a SIP message at all; other faults are remembered
    /// for [`Message::ready`], so that a request can be answered.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        let mut bytes = bytes;
        if let Some(b'\r' | b'\n') = bytes.first() {
            let ends = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            bytes.advance(ends);
        }
        let mut message = Message { bytes, index: Index::new() };
        index::index(&message.bytes, limits, &mut message.index)?;
        message.bytes.truncate(message.index.end as usize);
        Ok(message)
    }

    /// Reads and checks everything a proxy must look at.
    pub fn ready(&self) -> Result<Ready<'_>, ParseError> {
        ready::ready(self)
    }

    /// What a fault in this message is answered with: nothing, when it is a response or an ACK.
    pub fn answer(&self, error: ParseError) -> Answer {
        match self.index.start {
            StartLine::Response { .. } | StartLine::Request { method: Method::Ack, .. } => Answer::Drop,
            StartLine::Request { .. } => error.kind.answer(),
        }
    }

    /// The same message in bytes of its own: for keeping, as a receive buffer must not be held for
    /// the length of a call. Not indexed again.
    pub fn detached(&self) -> Message {
        Message { bytes: Bytes::copy_from_slice(&self.bytes), index: self.index.clone() }
    }

    /// The message's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, StartLine::Request { .. })
    }

    /// The method: of the request line, or of a response's CSeq.
    pub fn method(&self) -> Method {
        match self.index.start {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => Method::from_bytes(self.method_bytes()),
        }
    }

    /// The method's name: of the request line, or of a response's CSeq (empty when it has none).
    pub fn method_bytes(&self) -> &[u8] {
        match self.index.start {
            StartLine::Request { method_len, .. } => self.sub(0, method_len as usize),
            StartLine::Response { .. } => {
                self.header(HeaderId::CSeq).and_then(parse_cseq).map_or(&[], |(_, name)| name)
            }
        }
    }

    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.index.start {
            StartLine::Request { .. } => 0,
            StartLine::Response { status, .. } => status,
        }
    }

    /// The reason phrase of a response; may be empty.
    pub fn reason(&self) -> &[u8] {
        match self.index.start {
            StartLine::Request { .. } => &[],
            StartLine::Response { reason: (from, to), .. } => self.sub(from as usize, to as usize),
        }
    }

    /// The Request-URI of a request, as written.
    pub fn request_uri(&self) -> &[u8] {
        let (from, to) = self.request_uri_range();
        self.sub(from, to)
    }

    /// The header lines in order.
    pub fn headers(&self) -> impl Iterator<Item = HeaderLine<'_>> {
        self.index.lines.iter().enumerate().map(|(index, line)| HeaderLine {
            id: line.id,
            name: line.name(&self.bytes),
            value: line.value(&self.bytes),
            index,
            folded: line.folded,
        })
    }

    /// The value of a field's first line, trimmed, possibly folded.
    pub fn header(&self, id: HeaderId) -> Option<&[u8]> {
        self.field(id).map(|(_, value)| value)
    }

    /// The value of the first line with a name that is not in [`HeaderId`], in any case.
    pub fn other_header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|h| h.id == HeaderId::Other && h.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|h| h.value)
    }

    /// All values of a field, over all its lines, comma-separated ones apart (C-009).
    pub fn values(&self, id: HeaderId) -> Values<'_> {
        let lines: &[Line] = if self.has(id) { &self.index.lines } else { &[] };
        Values { bytes: &self.bytes, lines: lines.iter(), id, current: Split::new(&[]) }
    }

    /// How many values a field has over all its lines.
    pub fn count(&self, id: HeaderId) -> usize {
        self.values(id).count()
    }

    /// Whether a field stands at all.
    pub fn has(&self, id: HeaderId) -> bool {
        self.index.first_line(id).is_some()
    }

    /// Whether a list of tokens (Supported, Require, Allow, …) holds this one, in any case.
    pub fn lists(&self, id: HeaderId, name: &str) -> bool {
        self.values(id).any(|value| value.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The body; cut to Content-Length, possibly shorter (then [`Message::ready`] fails).
    pub fn body(&self) -> &[u8] {
        self.sub(self.index.body as usize, self.bytes.len())
    }
}

/// Typed fields, read when asked. `Ok(None)` says the field is not there.
impl Message {
    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, ParseError> {
        self.address(HeaderId::From, ParseErrorKind::From)?.ok_or(ParseErrorKind::FromMissing.at(0))
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, ParseError> {
        self.address(HeaderId::To, ParseErrorKind::To)?.ok_or(ParseErrorKind::ToMissing.at(0))
    }

    /// The URI of From.
    pub fn from_uri(&self) -> Result<Uri<'_>, ParseError> {
        self.from()?.uri()
    }

    /// The URI of To.
    pub fn to_uri(&self) -> Result<Uri<'_>, ParseError> {
        self.to()?.uri()
    }

    /// Call-ID, as written.
    pub fn call_id(&self) -> Option<&[u8]> {
        self.header(HeaderId::CallId)
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via<'_>, ParseError> {
        let (at, value) = self.field(HeaderId::Via).ok_or(ParseErrorKind::ViaMissing.at(0))?;
        Via::parse(value).map_err(|_| ParseErrorKind::Via.at(at))
    }

    /// All Vias, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, ParseError>> {
        self.values(HeaderId::Via).map(Via::parse)
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        let (at, value) = self.field(HeaderId::CSeq).ok_or(ParseErrorKind::CSeqMissing.at(0))?;
        let (number, name) = parse_cseq(value).ok_or(ParseErrorKind::CSeq.at(at))?;
        Ok(CSeq { number, method: Method::from_bytes(name) })
    }

    /// The Contact values; `*` is none of them ([`Message::contact_is_star`]).
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, ParseError>> {
        self.values(HeaderId::Contact).filter(|v| *v != b"*").map(|value| {
            NameAddr::parse(value).map_err(|_| ParseErrorKind::Contact.at(self.offset_of(value).unwrap_or(0)))
        })
    }

    /// Whether a Contact value is `*` (C-159).
    pub fn contact_is_star(&self) -> bool {
        self.values(HeaderId::Contact).any(|v| v == b"*")
    }

    /// The first Route value.
    pub fn top_route(&self) -> Result<Option<NameAddr<'_>>, ParseError> {
        self.routes().next().transpose()
    }

    /// The Route values in order.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, ParseError>> {
        self.route_values(HeaderId::Route)
    }

    /// The Record-Route values in order.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, ParseError>> {
        self.route_values(HeaderId::RecordRoute)
    }

    /// Refer-To.
    pub fn refer_to(&self) -> Result<Option<NameAddr<'_>>, ParseError> {
        self.address(HeaderId::ReferTo, ParseErrorKind::ReferTo)
    }

    /// Referred-By.
    pub fn referred_by(&self) -> Result<Option<NameAddr<'_>>, ParseError> {
        self.address(HeaderId::ReferredBy, ParseErrorKind::ReferredBy)
    }

    /// Replaces.
    pub fn replaces(&self) -> Result<Option<Replaces<'_>>, ParseError> {
        self.read(HeaderId::Replaces, ParseErrorKind::Replaces, Replaces::parse)
    }

    /// Target-Dialog.
    pub fn target_dialog(&self) -> Result<Option<Replaces<'_>>, ParseError> {
        self.read(HeaderId::TargetDialog, ParseErrorKind::Replaces, Replaces::parse_target)
    }

    /// Event.
    pub fn event(&self) -> Result<Option<Event<'_>>, ParseError> {
        self.read(HeaderId::Event, ParseErrorKind::Event, Event::parse)
    }

    /// Subscription-State.
    pub fn subscription_state(&self) -> Result<Option<SubscriptionState<'_>>, ParseError> {
        self.read(HeaderId::SubscriptionState, ParseErrorKind::SubscriptionState, SubscriptionState::parse)
    }

    /// Content-Type.
    pub fn content_type(&self) -> Result<Option<MediaType<'_>>, ParseError> {
        self.read(HeaderId::ContentType, ParseErrorKind::Field, MediaType::parse)
    }

    /// Expires in seconds.
    pub fn expires(&self) -> Result<Option<u32>, ParseError> {
        self.read(HeaderId::Expires, ParseErrorKind::Field, |value| {
            token::number(value).ok_or(ParseErrorKind::Field.at(0))
        })
    }

    /// Max-Breadth (RFC 5393 §5.3).
    pub fn max_breadth(&self) -> Result<Option<u32>, ParseError> {
        self.read(HeaderId::MaxBreadth, ParseErrorKind::Field, |value| {
            token::number(value).ok_or(ParseErrorKind::Field.at(0))
        })
    }

    /// Retry-After in seconds, its comment and parameters left aside.
    pub fn retry_after(&self) -> Result<Option<u32>, ParseError> {
        self.read(HeaderId::RetryAfter, ParseErrorKind::Field, |value| {
            token::number(index::digits(value)).ok_or(ParseErrorKind::Field.at(0))
        })
    }

    fn address(&self, id: HeaderId, kind: ParseErrorKind) -> Result<Option<NameAddr<'_>>, ParseError> {
        self.read(id, kind, NameAddr::parse)
    }

    /// Reads a field's first line; a fault in it gets `kind` and its place in the message.
    fn read<'a, T>(
        &'a self,
        id: HeaderId,
        kind: ParseErrorKind,
        parse: impl FnOnce(&'a [u8]) -> Result<T, ParseError>,
    ) -> Result<Option<T>, ParseError> {
        let Some((at, value)) = self.field(id) else { return Ok(None) };
        parse(value).map(Some).map_err(|e| kind.at(at + e.at as usize))
    }

    fn route_values(&self, id: HeaderId) -> impl Iterator<Item = Result<NameAddr<'_>, ParseError>> {
        self.values(id).map(|value| {
            NameAddr::parse(value).map_err(|_| ParseErrorKind::Route.at(self.offset_of(value).unwrap_or(0)))
        })
    }
}

/// Places, for the modules that edit and write.
impl Message {
    fn sub(&self, from: usize, to: usize) -> &[u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The first fault met while indexing.
    pub(super) fn fault(&self) -> Option<ParseError> {
        self.index.fault
    }

    pub(super) fn repeated(&self) -> u128 {
        self.index.repeated
    }

    /// Where the last line of a field in `set` stands.
    pub(super) fn repeated_at(&self, set: u128) -> usize {
        let set = set & self.index.repeated;
        self.lines().iter().rev().find(|l| l.id.bit() & set != 0).map_or(0, |l| l.start as usize)
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.index.lines
    }

    /// The first line of a field.
    #[inline]
    pub(super) fn first_line(&self, id: HeaderId) -> Option<&Line> {
        self.index.first_line(id)
    }

    /// Place and value of a field's first line.
    #[inline]
    pub(super) fn field(&self, id: HeaderId) -> Option<(usize, &[u8])> {
        let line = self.first_line(id)?;
        Some((line.value_start(), line.value(&self.bytes)))
    }

    pub(super) fn request_uri_range(&self) -> (usize, usize) {
        match self.index.start {
            StartLine::Request { uri: (from, to), .. } => (from as usize, to as usize),
            StartLine::Response { .. } => (0, 0),
        }
    }

    /// Where the header lines end.
    pub(super) fn head_end(&self) -> usize {
        self.index.head_end as usize
    }

    /// Where a part of this message begins in it.
    pub(super) fn offset_of(&self, part: &[u8]) -> Option<usize> {
        let at = (part.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        (at + part.len() <= self.bytes.len()).then_some(at)
    }
}
