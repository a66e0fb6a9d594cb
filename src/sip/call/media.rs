//! Session descriptions as the call layer needs them: thin words over [`crate::sip::dialog::sdp`], for
//! bodies that may also be something it cannot read, and the questions of RFC 3725.

use crate::sip::dialog::Body;
use crate::sip::dialog::sdp::{self, Description, Direction, Stream};
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// An offer without media, for calls that are to be joined later (rcml 8.1).
pub(super) fn nothing(seed: u64) -> Body {
    Body::sdp(sdp::inactive_offer(seed))
}

/// An answer without media.
pub(super) fn refuse_media(offer: &Body) -> Option<Body> {
    sdp::inactive_answer(&offer.bytes).map(Body::sdp)
}

/// The same, inactive.
pub(super) fn inactive(told: &Body) -> Option<Body> {
    sdp::inactive(&told.bytes).map(Body::sdp)
}

/// The same, on hold.
pub(super) fn held(told: &Body) -> Option<Body> {
    sdp::hold(&told.bytes).map(Body::sdp)
}

/// The same, no longer on hold.
pub(super) fn resumed(told: &Body) -> Option<Body> {
    sdp::resume(&told.bytes).map(Body::sdp)
}

/// What one party said as an offer to another, in the session that `told` belongs to. What
/// cannot be read goes as it is.
pub(super) fn as_offer(said: &Body, told: Option<&Body>) -> Body {
    told.and_then(|told| sdp::as_offer(&said.bytes, b"", &told.bytes)).map_or_else(|| said.clone(), Body::sdp)
}

/// What one party said as the answer to another's offer; `None` when they have no codec in common
///
pub(super) fn as_answer(said: &Body, offer: &Body, told: Option<&Body>) -> Option<Body> {
    let previous = told.map(|told| &*told.bytes);
    let Some(answer) = sdp::as_answer(&said.bytes, &offer.bytes, previous) else { return Some(said.clone()) };
    speak_alike(said, offer).then(|| Body::sdp(answer))
}

/// Whether a description may be shown to another party: not one that belongs to a check of
/// addresses or to keys between two.
pub(super) fn reusable(said: &Body) -> bool {
    let lines = || said.bytes.split(|b| matches!(b, b'\n' | b'\r'));
    let bound = |line: &[u8]| {
        [&b"a=ice-"[..], b"a=candidate:", b"a=fingerprint:", b"a=crypto:", b"a=key-mgmt:"]
            .iter()
            .any(|begin| line.starts_with(begin))
    };
    Description::parse(&said.bytes).is_some_and(|description| {
        description.streams.iter().all(|s| s.port == 0 || matches!(s.protocol, b"RTP/AVP" | b"RTP/AVPF"))
            && description.streams.iter().any(|stream| stream.port != 0 && !is_null(stream))
    }) && !lines().any(bound)
}

/// The offer that is current for a party: the last it made itself, when its media has not moved
/// since; else its last answer with the hold of others undone, when that answer left out nothing that it
/// was offered. `None`: it must be asked.
pub(super) fn current(made: Option<&Body>, last: Option<&Body>, told: Option<&Body>) -> Option<Body> {
    let last = last?;
    if let Some(made) = made.filter(|made| reusable(made))
        && same_places(made, last)
    {
        return Some(made.clone());
    }
    let whole = told.is_some_and(|told| codecs(last).len() >= codecs(told).len());
    (whole && reusable(last)).then(|| unheld(last))
}

/// A party's answer as an offer: what it left out because others held it, it can do again.
fn unheld(last: &Body) -> Body {
    let mut out = Vec::with_capacity(last.bytes.len());
    for line in last.bytes.split_inclusive(|b| *b == b'\n') {
        match line.trim_ascii_end() {
            b"a=recvonly" | b"a=inactive" => out.extend_from_slice(b"a=sendrecv\r\n"),
            _ => out.extend_from_slice(line),
        }
    }
    Body::sdp(out)
}

fn same_places(a: &Body, b: &Body) -> bool {
    let (Some(a), Some(b)) = (Description::parse(&a.bytes), Description::parse(&b.bytes)) else {
        return false;
    };
    let place = |s: &Stream<'_>| (s.port, s.connection.map(<[u8]>::to_vec));
    let live = |d: &Description<'_>| d.streams.iter().filter(|s| s.port != 0).map(place).collect::<Vec<_>>();
    let (a, b) = (live(&a), live(&b));
    // An answer may have refused streams that were offered.
    b.iter().all(|place| a.contains(place)) && !b.is_empty()
}

/// Whether what a party was told about the other still fits what the other says now: where its media is,
/// which way it runs, and what it speaks.
pub(super) fn agrees(told: &Body, said: &Body) -> bool {
    let (Some(before), Some(now)) = (Description::parse(&told.bytes), Description::parse(&said.bytes)) else {
        return true;
    };
    let live = |stream: &&Stream<'_>| stream.port != 0;
    now.streams.iter().filter(live).all(|now| {
        before.streams.iter().any(|before| {
            before.kind == now.kind
                && before.port == now.port
                && before.connection == now.connection
                && before.direction == now.direction
        })
    }) && codecs(said).is_subset(&codecs(told))
}

/// Whether two descriptions share a codec; those that cannot be read are given the benefit of
/// the doubt.
pub(super) fn speak_alike(a: &Body, b: &Body) -> bool {
    let (a, b) = (codecs(a), codecs(b));
    a.is_empty() && b.is_empty() || !a.is_disjoint(&b)
}

/// Whether any stream of a description is there at all.
pub(super) fn has_media(said: &Body) -> bool {
    Description::parse(&said.bytes).is_none_or(|description| description.streams.iter().any(|s| s.port != 0))
}

/// Whether its receiver is to send nothing at all.
pub(super) fn is_silent(told: &Body) -> bool {
    let still = |s: &Stream<'_>| s.port == 0 || s.direction == Direction::Inactive;
    Description::parse(&told.bytes).is_some_and(|description| description.streams.iter().all(still))
}

fn is_null(stream: &Stream<'_>) -> bool {
    stream.connection.is_some_and(|connection| connection.ends_with(b" 0.0.0.0"))
        && stream.direction != Direction::Inactive
}

/// Payload types that have a meaning of their own (RFC 3551 §6).
const STATIC: &[(&[u8], &[u8])] = &[
    (b"0", b"pcmu/8000"),
    (b"3", b"gsm/8000"),
    (b"8", b"pcma/8000"),
    (b"9", b"g722/8000"),
    (b"18", b"g729/8000"),
];

/// Formats of one stream that are looked at; nobody speaks more.
const MOST_FORMATS: usize = 64;

/// The codecs of the streams that are there, as `kind name/rate` in lower case, without those that carry
/// no speech.
fn codecs(said: &Body) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let Some(description) = Description::parse(&said.bytes) else { return found };
    let maps = rtpmaps(said);
    for (at, stream) in description.streams.iter().enumerate().filter(|(_, stream)| stream.port != 0) {
        let formats = stream.formats.split(|b| *b == b' ').filter(|format| !format.is_empty());
        for format in formats.take(MOST_FORMATS) {
            let mapped = maps.get(&(at, format)).map(|codec| {
                // The number of channels is 1 unless it says so.
                codec.strip_suffix(b"/1").unwrap_or(codec).to_ascii_lowercase()
            });
            let fixed = || STATIC.iter().find(|(number, _)| *number == format).map(|(_, name)| name.to_vec());
            let name = mapped.or_else(fixed).unwrap_or_else(|| format.to_vec());
            if !name.starts_with(b"telephone-event/") && !name.starts_with(b"cn/") {
                found.insert([stream.kind, b" ", &name].concat());
            }
        }
    }
    found
}

/// The `rtpmap` attributes: of a stream and payload type, the codec.
fn rtpmaps(said: &Body) -> HashMap<(usize, &[u8]), &[u8]> {
    let mut streams = 0_usize;
    let mut found = HashMap::new();
    for line in said.bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end) {
        if line.starts_with(b"m=") {
            streams += 1;
        } else if let Some(map) = line.strip_prefix(b"a=rtpmap:")
            && let (Some(stream), Some(space)) = (streams.checked_sub(1), memchr::memchr(b' ', map))
        {
            let (number, codec) = map.split_at(space);
            found.entry((stream, number)).or_insert(codec.trim_ascii());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(port: u16, formats: &str, direction: &str) -> Body {
        Body::sdp(format!(
            "v=0\r\no=x 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n\
             a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
        ))
    }

    /// Keys, address checks and narrowed lists make a description useless to others.
    #[test]
    fn what_may_be_reused() {
        let plain = sdp(4000, "0 8 101", "sendrecv");
        assert!(reusable(&plain));
        for line in [
            "a=ice-ufrag:x",
            "a=fingerprint:sha-256 AA",
            "a=crypto:1 x y",
            "a=candidate:1 1 udp 1 a 1 typ host",
        ] {
            let bound = Body::sdp([&plain.bytes[..], line.as_bytes(), b"\r\n"].concat());
            assert!(!reusable(&bound), "{line}");
        }
        // Its own offer serves as long as its media stays where it was.
        let answer = sdp(4000, "0", "recvonly");
        assert_eq!(current(Some(&plain), Some(&answer), None), Some(plain.clone()));
        assert_eq!(current(Some(&plain), Some(&sdp(4002, "0", "recvonly")), Some(&plain)), None);
        // One that only ever answered: its answer, hold undone, unless it left something out.
        assert_eq!(
            current(None, Some(&answer), Some(&sdp(5000, "0", "sendonly"))),
            Some(sdp(4000, "0", "sendrecv"))
        );
        assert_eq!(current(None, Some(&answer), Some(&plain)), None);
    }

    /// Whether a side was told the truth about the other.
    #[test]
    fn agreement() {
        let told = sdp(4000, "0 8 101", "sendrecv");
        assert!(agrees(&told, &sdp(4000, "0 101", "sendrecv")));
        assert!(!agrees(&told, &sdp(4002, "0", "sendrecv")));
        assert!(!agrees(&told, &sdp(4000, "0", "recvonly")));
        assert!(!agrees(&told, &sdp(4000, "18", "sendrecv")));
    }

    /// [C-030] [C-219] A list without end costs no more than one with an end.
    #[test]
    fn formats_are_bounded() {
        let endless = sdp(4000, &"0 8 ".repeat(8_000), "sendrecv");
        assert!(agrees(&endless, &endless));
        let many: String = (0..9_000).map(|n| format!("{n} ")).collect();
        assert_eq!(codecs(&sdp(4000, &many, "sendrecv")).len(), MOST_FORMATS);
    }

    /// A common codec, by name where the number says nothing; events alone are none.
    #[test]
    fn common_codecs() {
        assert!(speak_alike(&sdp(1, "0 101", "sendrecv"), &sdp(2, "8 0 101", "sendrecv")));
        assert!(!speak_alike(&sdp(1, "0 101", "sendrecv"), &sdp(2, "8 101", "sendrecv")));
        assert!(as_answer(&sdp(1, "0", "sendrecv"), &sdp(2, "96", "sendrecv"), None).is_none());
        assert!(!has_media(&sdp(0, "0", "inactive")));
    }
}
