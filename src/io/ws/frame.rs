//! WebSocket frames (RFC 6455 §5): what a client sends is unmasked and put together, what goes to
//! it is one whole frame a message.
//!
//! No more is kept than one message may have: a frame that announces too much is refused by its
//! head, before any of its payload is taken in.

use bytes::{Buf, Bytes, BytesMut};

/// RFC 6455 §5.5: what a control frame may carry.
const CONTROL: usize = 125;
/// Fragments of one message; nobody needs to cut a SIP message finer.
const FRAGMENTS: usize = 1_024;

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Opcode> {
        match bits {
            0x0 => Some(Opcode::Continuation),
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xa => Some(Opcode::Pong),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xa,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// What came, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A text or binary message.
    Message(Bytes),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// An answer to a ping, or nothing at all.
    Pong,
    /// The client is done, and says with which status.
    Close(Option<u16>),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The frames break RFC 6455.
    Protocol,
    /// A text message is no UTF-8.
    NotUtf8,
    /// A message is longer than one may be.
    TooLarge,
}

impl Fault {
    /// The status of the close frame (RFC 6455 §7.4.1).
    pub(super) const fn status(self) -> u16 {
        match self {
            Fault::Protocol => 1002,
            Fault::NotUtf8 => 1007,
            Fault::TooLarge => 1009,
        }
    }
}

/// Puts messages together from what a client sends. After a fault it is to be thrown away.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    limit: usize,
    /// The message whose last fragment has not come yet.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    text: bool,
    bytes: BytesMut,
    fragments: usize,
}

/// A frame's head, read and checked.
struct Head {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the head itself.
    size: usize,
    payload: usize,
}

impl Decoder {
    /// A decoder of messages up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Decoder {
        Decoder { buffer: BytesMut::new(), limit, begun: None }
    }

    /// Takes in what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether something has begun and not ended.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || self.begun.is_some()
    }

    /// The next thing that is whole; `None` when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Fault> {
        while let Some(head) = self.head()? {
            if self.buffer.len() < head.size + head.payload {
                return Ok(None);
            }
            self.buffer.advance(head.size);
            let mut payload = self.buffer.split_to(head.payload);
            unmask(&mut payload, head.mask);
            if let Some(item) = self.frame(&head, payload)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn frame(&mut self, head: &Head, payload: BytesMut) -> Result<Option<Item>, Fault> {
        match (head.opcode, self.begun.take()) {
            // §5.5: control frames may stand between the fragments of a message.
            (Opcode::Ping, begun) => {
                self.begun = begun;
                Ok(Some(Item::Ping(payload.freeze())))
            }
            (Opcode::Pong, begun) => {
                self.begun = begun;
                Ok(Some(Item::Pong))
            }
            (Opcode::Close, _) => close(&payload).map(Some),
            // §5.4
            (Opcode::Text | Opcode::Binary, Some(_)) | (Opcode::Continuation, None) => Err(Fault::Protocol),
            (opcode @ (Opcode::Text | Opcode::Binary), None) => {
                self.part(head.last, Begun { text: opcode == Opcode::Text, bytes: payload, fragments: 1 })
            }
            (Opcode::Continuation, Some(mut begun)) => {
                begun.bytes.unsplit(payload);
                begun.fragments += 1;
                self.part(head.last, begun)
            }
        }
    }

    /// A message has grown: it is whole, or waits for its next fragment.
    fn part(&mut self, last: bool, begun: Begun) -> Result<Option<Item>, Fault> {
        if !last {
            if begun.fragments >= FRAGMENTS {
                return Err(Fault::TooLarge);
            }
            self.begun = Some(begun);
            return Ok(None);
        }
        // §8.1
        if begun.text && std::str::from_utf8(&begun.bytes).is_err() {
            return Err(Fault::NotUtf8);
        }
        Ok(Some(Item::Message(begun.bytes.freeze())))
    }

    /// The head of the frame at the front (§5.2), once it is there.
    fn head(&self) -> Result<Option<Head>, Fault> {
        let &[first, second, ref rest @ ..] = &*self.buffer else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Fault::Protocol)?;
        let last = first & 0x80 != 0;
        // No extension was agreed upon that would give the reserved bits a meaning; and what a
        // client sends is masked (§5.1).
        if first & 0x70 != 0 || second & 0x80 == 0 || (opcode.is_control() && !last) {
            return Err(Fault::Protocol);
        }
        let (length, rest) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
            }
            (126 | 127, _) => return Ok(None),
            (short, rest) => (u64::from(short), rest),
        };
        let payload = usize::try_from(length).map_err(|_| Fault::TooLarge)?;
        if opcode.is_control() {
            if payload > CONTROL {
                return Err(Fault::Protocol);
            }
        } else if payload.saturating_add(self.begun.as_ref().map_or(0, |b| b.bytes.len())) > self.limit {
            return Err(Fault::TooLarge);
        }
        let [a, b, c, d, rest @ ..] = rest else { return Ok(None) };
        let size = self.buffer.len() - rest.len();
        Ok(Some(Head { last, opcode, mask: [*a, *b, *c, *d], size, payload }))
    }
}

/// §5.3
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// §5.5.1, §7.4
fn close(payload: &[u8]) -> Result<Item, Fault> {
    match payload {
        [] => Ok(Item::Close(None)),
        [_] => Err(Fault::Protocol),
        [a, b, reason @ ..] => {
            let status = u16::from_be_bytes([*a, *b]);
            let meant = matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !meant || std::str::from_utf8(reason).is_err() {
                return Err(Fault::Protocol);
            }
            Ok(Item::Close(Some(status)))
        }
    }
}

/// One whole frame, as a server writes it: not masked, not cut.
pub(super) fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.extend_from_slice(&[0x80 | opcode.bits()]);
    match payload.len() {
        short @ 0..=125 => out.extend_from_slice(&[short as u8]),
        medium @ 126..=0xffff => {
            out.extend_from_slice(&[126]);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.extend_from_slice(&[127]);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A frame as a client writes it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            n @ 0..=125 => out.push(0x80 | n as u8),
            n @ 126..=0xffff => {
                out.push(0xfe);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(0xff);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    fn all(decoder: &mut Decoder) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        while let Some(item) = decoder.next()? {
            items.push(item);
        }
        Ok(items)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Item>, Fault> {
        let mut decoder = Decoder::new(1_000);
        decoder.push(bytes);
        all(&mut decoder)
    }

    /// [C-062] One message each, whatever its fragments, what stands between them, and where the
    /// stream is cut.
    #[test]
    fn fragments_become_one_message() {
        let stream = [
            masked(0x01, b"OPTIONS sip:a "),
            masked(0x89, b"are you there"),
            masked(0x00, b"SIP/2.0\r\n"),
            masked(0x8a, b""),
            masked(0x80, b"\r\n"),
            masked(0x82, &[0xff; 300]),
            masked(0x88, &[0x03, 0xe8, b'x']),
        ]
        .concat();
        let expected = [
            Item::Ping(Bytes::from_static(b"are you there")),
            Item::Pong,
            Item::Message(Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\n\r\n")),
            Item::Message(Bytes::from_static(&[0xff; 300])),
            Item::Close(Some(1000)),
        ];
        for size in [1, 2, 3, 7, 50, stream.len()] {
            let mut decoder = Decoder::new(1_000);
            let mut items = Vec::new();
            for part in stream.chunks(size) {
                decoder.push(part);
                items.extend(all(&mut decoder).unwrap());
            }
            assert_eq!(items, expected, "in parts of {size}");
            assert!(!decoder.is_partial());
        }
    }

    #[test]
    fn what_has_begun_is_partial() {
        let mut decoder = Decoder::new(1_000);
        decoder.push(&masked(0x01, b"OPT"));
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.is_partial(), "a fragment waits for the next");
        let whole = masked(0x80, b"IONS");
        decoder.push(&whole[..3]);
        assert_eq!(decoder.next(), Ok(None));
        decoder.push(&whole[3..]);
        assert_eq!(decoder.next(), Ok(Some(Item::Message(Bytes::from_static(b"OPTIONS")))));
        assert!(!decoder.is_partial());
    }

    #[test]
    fn frames_that_break_the_rules_are_refused() {
        let unmasked: &[u8] = &[0x81, 0x01, b'x'];
        let long_ping = masked(0x89, &[0; 126]);
        let twice = [masked(0x01, b"a"), masked(0x01, b"b")].concat();
        for (what, bytes, fault) in [
            ("not masked", unmasked, Fault::Protocol),
            ("a reserved bit", &masked(0xc1, b"x")[..], Fault::Protocol),
            ("a reserved opcode", &masked(0x83, b"x"), Fault::Protocol),
            ("a ping in fragments", &masked(0x09, b"x"), Fault::Protocol),
            ("a long ping", &long_ping, Fault::Protocol),
            ("nothing to continue", &masked(0x80, b"x"), Fault::Protocol),
            ("a message within a message", &twice, Fault::Protocol),
            ("half a status", &masked(0x88, b"x"), Fault::Protocol),
            ("a status that is never sent", &masked(0x88, &1005_u16.to_be_bytes()), Fault::Protocol),
            ("no UTF-8", &masked(0x81, &[0xff]), Fault::NotUtf8),
        ] {
            assert_eq!(decode(bytes), Err(fault), "{what}");
        }
    }

    /// [C-218] A length is believed by nobody.
    #[test]
    fn a_message_too_long_is_refused_by_its_head() {
        let head = |n: u64| [&[0x82, 0xff][..], &n.to_be_bytes()].concat();
        assert_eq!(decode(&head(1_000)), Ok(Vec::new()));
        for n in [1_001, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(decode(&head(n)), Err(Fault::TooLarge));
        }
        let halves = [masked(0x02, &[0; 600]), masked(0x80, &[0; 600])].concat();
        assert_eq!(decode(&halves), Err(Fault::TooLarge));
        let empty: Vec<u8> = (0..2_000).flat_map(|n| masked(u8::from(n == 0), b"")).collect();
        assert_eq!(decode(&empty), Err(Fault::TooLarge));
    }

    #[test]
    fn frames_are_written_with_the_shortest_length() {
        assert_eq!(&frame(Opcode::Text, b"hi")[..], [0x81, 2, b'h', b'i']);
        assert_eq!(frame(Opcode::Binary, &[0; 126])[..4], [0x82, 126, 0, 126]);
        assert_eq!(frame(Opcode::Binary, &[0; 65_536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(&frame(Opcode::Close, &1009_u16.to_be_bytes())[..], [0x88, 2, 3, 0xf1]);
    }
}
