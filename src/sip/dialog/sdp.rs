//! Session descriptions as lines (RFC 4566), as far as a signaling server must change them: hold, the
//! end of a hold, an answer without media, and another party's description in the place of one's own.
//!
//! Everything here is a pure function from bytes to bytes; what cannot be read gives `None`.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Streams of one description.
const MOST_STREAMS: usize = 64;
/// Codecs that everybody has, in the order of preference: PCMU, PCMA.
const COMMON: [&[u8]; 2] = [b"0", b"8"];

/// Which way a stream runs, as its sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// Out only.
    SendOnly,
    /// In only.
    RecvOnly,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    fn of(line: &[u8]) -> Option<Direction> {
        match line.strip_prefix(b"a=")? {
            b"sendrecv" => Some(Direction::SendRecv),
            b"sendonly" => Some(Direction::SendOnly),
            b"recvonly" => Some(Direction::RecvOnly),
            b"inactive" => Some(Direction::Inactive),
            _ => None,
        }
    }

    /// C-176: the party hears nothing of us any more.
    const fn held(self) -> Direction {
        match self {
            Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
            Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
        }
    }

    const fn resumed(self) -> Direction {
        match self {
            Direction::SendRecv | Direction::SendOnly => Direction::SendRecv,
            Direction::RecvOnly | Direction::Inactive => Direction::RecvOnly,
        }
    }
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream<'a> {
    /// `audio`, `video`, …
    pub kind: &'a [u8],
    /// 0: refused or removed.
    pub port: u16,
    /// `RTP/AVP`, …
    pub protocol: &'a [u8],
    /// The formats, as written.
    pub formats: &'a [u8],
    /// Its own direction, else the session's, else both ways.
    pub direction: Direction,
    /// The value of its own `c=`, else of the session's.
    pub connection: Option<&'a [u8]>,
    lines: Vec<&'a [u8]>,
}

/// A description, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    session: Vec<&'a [u8]>,
    /// The streams in order.
    pub streams: Vec<Stream<'a>>,
}

/// The value of `o=`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// User name and session id: what stays the same.
    pub identity: &'a [u8],
    /// What grows with each change.
    pub version: u64,
    /// Network type, address type and address.
    pub address: &'a [u8],
}

impl<'a> Origin<'a> {
    /// Reads the value of an `o=` line.
    pub fn parse(value: &'a [u8]) -> Option<Origin<'a>> {
        let value = value.strip_prefix(b"o=").unwrap_or(value);
        let mut spaces = value.iter().enumerate().filter(|(_, b)| **b == b' ').map(|(at, _)| at);
        let (_, second, third) = (spaces.next()?, spaces.next()?, spaces.next()?);
        let version = std::str::from_utf8(value.get(second + 1..third)?).ok()?.parse().ok()?;
        Some(Origin { identity: value.get(..second)?, version, address: value.get(third + 1..)? })
    }

    fn put(&self, version: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"o=");
        out.extend_from_slice(self.identity);
        out.push(b' ');
        out.extend_from_slice(version.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.address);
        out.extend_from_slice(b"\r\n");
    }
}

impl<'a> Description<'a> {
    /// Reads a description.
    pub fn parse(sdp: &'a [u8]) -> Option<Description<'a>> {
        let lines = sdp.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut description = Description { session: Vec::new(), streams: Vec::new() };
        for line in lines.filter(|line| !line.is_empty()) {
            if line.get(1) != Some(&b'=') {
                return None;
            }
            if let Some(media) = line.strip_prefix(b"m=") {
                if description.streams.len() >= MOST_STREAMS {
                    return None;
                }
                description.streams.push(Stream::begin(media, line)?);
            } else if let Some(stream) = description.streams.last_mut() {
                stream.lines.push(line);
            } else {
                description.session.push(line);
            }
        }
        description.origin()?;
        let direction = description.session.iter().find_map(|line| Direction::of(line));
        let connection = description.session.iter().find_map(|line| line.strip_prefix(b"c="));
        for stream in &mut description.streams {
            let own = stream.lines.iter().find_map(|line| Direction::of(line));
            stream.direction = own.or(direction).unwrap_or(Direction::SendRecv);
            stream.connection = stream.lines.iter().find_map(|line| line.strip_prefix(b"c=")).or(connection);
        }
        Some(description)
    }

    /// The value of `o=`.
    pub fn origin(&self) -> Option<Origin<'a>> {
        self.session.iter().find_map(|line| Origin::parse(line.strip_prefix(b"o=")?))
    }

    /// C-176: whether its sender puts the other side on hold: no stream of it wants to hear anything.
    pub fn holds(&self) -> bool {
        let mut live = self.streams.iter().filter(|stream| stream.port != 0).peekable();
        live.peek().is_some() && live.all(Stream::is_held)
    }

    fn put_session(&self, origin: &Origin<'_>, version: u64, out: &mut Vec<u8>) {
        for line in &self.session {
            if line.starts_with(b"o=") {
                origin.put(version, out);
            } else {
                put_line(line, out);
            }
        }
    }

    /// Written with an origin and other directions.
    fn written(&self, origin: &Origin<'_>, version: u64, turn: fn(Direction) -> Direction) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.put_session(origin, version, &mut out);
        for stream in &self.streams {
            stream.put(&mut out, Some(turn(stream.direction)).filter(|_| stream.port != 0));
        }
        out
    }
}

impl<'a> Stream<'a> {
    fn begin(media: &'a [u8], line: &'a [u8]) -> Option<Stream<'a>> {
        let mut words = media.splitn(4, |b| *b == b' ');
        let (kind, port, protocol) = (words.next()?, words.next()?, words.next()?);
        let port = port.split(|b| *b == b'/').next()?;
        Some(Stream {
            kind,
            port: std::str::from_utf8(port).ok()?.parse().ok()?,
            protocol,
            formats: words.next()?,
            direction: Direction::SendRecv,
            connection: None,
            lines: vec![line],
        })
    }

    fn is_held(&self) -> bool {
        let null = self.connection.is_some_and(|connection| {
            connection.ends_with(b" 0.0.0.0")
                || connection.ends_with(b" ::")
                || connection.ends_with(b".invalid")
        });
        null || matches!(self.direction, Direction::SendOnly | Direction::Inactive)
    }

    /// Written with this direction, or as it was.
    fn put(&self, out: &mut Vec<u8>, direction: Option<Direction>) {
        for line in &self.lines {
            if direction.is_none() || Direction::of(line).is_none() {
                put_line(line, out);
            }
        }
        if let Some(direction) = direction {
            out.extend_from_slice(format!("a={}\r\n", direction.as_str()).as_bytes());
        }
    }

    /// Its `m=` line with port 0: removed, or refused (RFC 3264 §6, §8.2).
    fn put_refused(&self, out: &mut Vec<u8>) {
        for part in [b"m=", self.kind, b" 0 ", self.protocol, b" ", self.formats, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }

    /// The one format to keep when no media is there: one that everybody has, else the first.
    fn one_format(&self) -> Option<&'a [u8]> {
        let all = || self.formats.split(|b| *b == b' ').filter(|format| !format.is_empty());
        COMMON.iter().find_map(|common| all().find(|format| format == common)).or_else(|| all().next())
    }
}

fn put_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}

/// The description with which a party is put on hold: the last one sent to it, turned to send only, or to
/// nothing where it only received; version raised (C-172, C-176).
pub fn hold(sdp: &[u8]) -> Option<Vec<u8>> {
    let description = Description::parse(sdp)?;
    let origin = description.origin()?;
    Some(description.written(&origin, origin.version.wrapping_add(1), Direction::held))
}

/// The reverse of [`hold`].
pub fn resume(sdp: &[u8]) -> Option<Vec<u8>> {
    let description = Description::parse(sdp)?;
    let origin = description.origin()?;
    Some(description.written(&origin, origin.version.wrapping_add(1), Direction::resumed))
}

/// The same description with all streams inactive and nobody's address, as whose it was is not there any
/// more; version raised (RFC 3725 §5).
pub fn inactive(sdp: &[u8]) -> Option<Vec<u8>> {
    let description = Description::parse(sdp)?;
    let origin = description.origin()?;
    let still = description.written(&origin, origin.version.wrapping_add(1), |_| Direction::Inactive);
    let mut out = Vec::with_capacity(still.len());
    for line in still.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(match line.get(..9) {
            Some(b"c=IN IP4 ") => b"c=IN IP4 0.0.0.0\r\n",
            Some(b"c=IN IP6 ") => b"c=IN IP6 ::\r\n",
            Some(_) | None => line,
        });
    }
    Some(out)
}

/// Whether a description puts its receiver on hold (C-176).
pub fn holds(sdp: &[u8]) -> bool {
    Description::parse(sdp).is_some_and(|description| description.holds())
}

/// An answer without media: one codec for each stream, inactive. Streams that need keys are refused, as
/// there is nobody to hold them.
pub fn inactive_answer(offer: &[u8]) -> Option<Vec<u8>> {
    let offered = Description::parse(offer)?;
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(offer);
    let mut out = begin(hasher.finish());
    for stream in &offered.streams {
        let plain = matches!(stream.protocol, b"RTP/AVP" | b"RTP/AVPF");
        let Some(format) = stream.one_format().filter(|_| plain && stream.port != 0) else {
            stream.put_refused(&mut out);
            continue;
        };
        for part in [b"m=", stream.kind, b" 9 ", stream.protocol, b" ", format, b"\r\n"] {
            out.extend_from_slice(part);
        }
        for line in &stream.lines {
            let about = |name: &[u8]| {
                let rest = line.strip_prefix(b"a=").and_then(|line| line.strip_prefix(name));
                rest.and_then(|rest| rest.strip_prefix(format)).is_some_and(|rest| rest.starts_with(b" "))
            };
            if about(b"rtpmap:") || about(b"fmtp:") {
                put_line(line, &mut out);
            }
        }
        out.extend_from_slice(b"a=inactive\r\n");
    }
    Some(out)
}

/// An offer without media, for calls that are to be joined later; `seed` makes its origin unique.
pub fn inactive_offer(seed: u64) -> Vec<u8> {
    let mut out = begin(seed);
    out.extend_from_slice(
        b"m=audio 9 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
          a=rtpmap:101 telephone-event/8000\r\na=inactive\r\n",
    );
    out
}

fn begin(seed: u64) -> Vec<u8> {
    // Session id and version are numbers that fit a signed 64-bit one with room to grow.
    let id = seed >> 2;
    format!("v=0\r\no=baton {id} 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n").into_bytes()
}

/// A description that follows another in one dialog, whoever it comes from: its origin goes on, and the
/// version grows when anything else differs (C-172). `None`: it goes as it is, for it does so already, or
/// because one of the two cannot be read.
pub fn continued(sdp: &[u8], previous: &[u8]) -> Option<Vec<u8>> {
    if sdp == previous {
        return None;
    }
    let (next, last) = (Description::parse(sdp)?, Description::parse(previous)?);
    let (own, origin) = (next.origin()?, last.origin()?);
    if own.identity == origin.identity && own.address == origin.address && own.version > origin.version {
        return None;
    }
    let write = |version| {
        let mut out = Vec::with_capacity(sdp.len() + 32);
        next.put_session(&origin, version, &mut out);
        for stream in &next.streams {
            stream.put(&mut out, None);
        }
        out
    };
    let same = write(origin.version);
    Some(if same == previous { same } else { write(origin.version.wrapping_add(1)) })
}

/// A target's answer as an offer to the survivor (R-096): `own_origin` is the value of the `o=` the
/// survivor knows (empty: that of `previous`), its version grows; streams keep the number and order of
/// `previous`, surplus ones with port 0, new ones behind (C-173).
pub fn as_offer(answer: &[u8], own_origin: &[u8], previous: &[u8]) -> Option<Vec<u8>> {
    let (next, last) = (Description::parse(answer)?, Description::parse(previous)?);
    let origin = Origin::parse(own_origin).or_else(|| last.origin())?;
    let mut out = Vec::with_capacity(answer.len() + 64);
    next.put_session(&origin, origin.version.wrapping_add(1), &mut out);
    let rest = put_aligned(&next, &last, &mut out);
    for stream in rest {
        stream.put(&mut out, None);
    }
    Some(out)
}

/// Another party's description as the answer to an offer: one stream for each that was offered, in their
/// order (C-173); `previous` is what was sent to this party last, whose origin goes on (C-172).
pub fn as_answer(sdp: &[u8], offer: &[u8], previous: Option<&[u8]>) -> Option<Vec<u8>> {
    let (next, offered) = (Description::parse(sdp)?, Description::parse(offer)?);
    let last = previous.and_then(Description::parse);
    let (origin, grown) = match last.as_ref().and_then(Description::origin) {
        Some(origin) => (origin, 1),
        None => (next.origin()?, 0),
    };
    let mut out = Vec::with_capacity(sdp.len() + 64);
    next.put_session(&origin, origin.version.wrapping_add(grown), &mut out);
    put_aligned(&next, &offered, &mut out);
    Some(out)
}

/// Writes the streams of `next` in the places of `like`, by kind; answers those without a place.
fn put_aligned<'s, 'a>(
    next: &'s Description<'a>,
    like: &Description<'_>,
    out: &mut Vec<u8>,
) -> Vec<&'s Stream<'a>> {
    let mut left: Vec<&Stream<'a>> = next.streams.iter().filter(|stream| stream.port != 0).collect();
    for place in &like.streams {
        match left.iter().position(|stream| stream.kind == place.kind) {
            Some(at) => left.remove(at).put(out, None),
            None => place.put_refused(out),
        }
    }
    left
}

#[cfg(test)]
mod tests;
