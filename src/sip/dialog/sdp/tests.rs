//! Session descriptions: what is changed, and that nothing else is.

use super::*;

const OFFER: &str = "v=0\r\no=alice 53655765 2353687637 IN IP4 192.0.2.1\r\ns=-\r\n\
    c=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 49170 RTP/AVP 97 8 101\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n\
    m=video 51372 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\na=recvonly\r\n\
    m=audio 3456 RTP/SAVP 0\r\n";

fn text(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.expect("a description")).expect("text")
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

/// [C-176] Directions and null addresses are read.
#[test]
fn parsed() {
    let description = Description::parse(OFFER.as_bytes()).expect("a description");
    assert_eq!(description.streams.len(), 3);
    assert_eq!(description.streams[0].port, 49_170);
    assert_eq!(description.streams[1].direction, Direction::RecvOnly);
    assert_eq!(description.streams[2].connection, Some(&b"IN IP4 192.0.2.1"[..]));
    assert_eq!(description.origin().map(|o| o.version), Some(2_353_687_637));
    assert!(!description.holds());
    assert!(holds(OFFER.replace("IN IP4 192.0.2.1\r\nt", "IN IP4 0.0.0.0\r\nt").as_bytes()));
    let one = "v=0\r\no=a 1 1 IN IP4 b\r\ns=-\r\na=sendonly\r\nm=audio 1 RTP/AVP 0\r\n";
    assert!(holds(one.as_bytes()));
    assert!(!holds(one.replace("sendonly", "recvonly").as_bytes()));
}

/// [C-172] [C-176] Hold turns the streams, raises the version and changes nothing else.
#[test]
fn hold_and_resume() {
    let held = text(hold(OFFER.as_bytes()));
    assert!(held.contains("o=alice 53655765 2353687638 IN IP4 192.0.2.1\r\n"));
    let directions: Vec<&str> = held
        .lines()
        .filter(|l| ["a=sendonly", "a=inactive", "a=sendrecv", "a=recvonly"].contains(l))
        .collect();
    assert_eq!(directions, ["a=sendonly", "a=inactive", "a=sendonly"]);
    let back = text(resume(held.as_bytes()));
    assert!(back.contains(" 2353687639 IN"));
    assert_eq!(lines(&back, "a=sendrecv").len(), 2);
    assert_eq!(lines(&back, "a=recvonly").len(), 1);
    assert_eq!(lines(&text(inactive(OFFER.as_bytes())), "a=inactive").len(), 3);
    assert_eq!(lines(&held, "a=rtpmap"), lines(OFFER, "a=rtpmap"));
}

/// [restcomm-calls 8.1] [C-173] One codec a stream, inactive, and one stream for each.
#[test]
fn answer_without_media() {
    let answer = text(inactive_answer(OFFER.as_bytes()));
    assert_eq!(lines(&answer, "m="), ["m=audio 9 RTP/AVP 8", "m=video 9 RTP/AVP 31", "m=audio 0 RTP/SAVP 0"]);
    assert_eq!(
        lines(&answer, "a="),
        ["a=rtpmap:8 PCMA/8000", "a=inactive", "a=rtpmap:31 H261/90000", "a=inactive"]
    );
    assert!(Description::parse(answer.as_bytes()).is_some());
    assert!(Description::parse(&inactive_offer(u64::MAX)).is_some());
}

/// [C-172] An unchanged description keeps its version, a changed one raises it; one that goes on by itself
/// is not touched.
#[test]
fn versions() {
    assert_eq!(continued(OFFER.as_bytes(), OFFER.as_bytes()), None);
    let newer = OFFER.replace("2353687637", "2353687640").replace("49170", "5000");
    assert_eq!(continued(newer.as_bytes(), OFFER.as_bytes()), None);
    let silent = OFFER.replace("49170", "5000");
    let next = text(continued(silent.as_bytes(), OFFER.as_bytes()));
    assert_eq!(lines(&next, "o="), ["o=alice 53655765 2353687638 IN IP4 192.0.2.1"]);
    let other = OFFER.replace("o=alice 53655765 2353687637", "o=bob 1 77").replace("49170", "5000");
    let next = text(continued(other.as_bytes(), OFFER.as_bytes()));
    assert_eq!(lines(&next, "o="), ["o=alice 53655765 2353687638 IN IP4 192.0.2.1"]);
    assert_eq!(lines(&next, "m=")[0], "m=audio 5000 RTP/AVP 97 8 101");
    let same = OFFER.replace("o=alice 53655765 2353687637", "o=bob 1 77");
    assert_eq!(text(continued(same.as_bytes(), OFFER.as_bytes())), OFFER);
}

/// [R-096] [C-173] The target's answer as an offer that fits the survivor's session.
#[test]
fn offer_of_an_answer() {
    let answer = "v=0\r\no=carol 9 9 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
        m=video 0 RTP/AVP 31\r\nm=audio 7000 RTP/AVP 8\r\nm=message 9 TCP/MSRP *\r\n";
    let offer = text(as_offer(answer.as_bytes(), b"", OFFER.as_bytes()));
    assert_eq!(
        lines(&offer, "m="),
        ["m=audio 7000 RTP/AVP 8", "m=video 0 RTP/AVP 31", "m=audio 0 RTP/SAVP 0", "m=message 9 TCP/MSRP *"]
    );
    assert_eq!(lines(&offer, "o="), ["o=alice 53655765 2353687638 IN IP4 192.0.2.1"]);
    let named = text(as_offer(answer.as_bytes(), b"baton 5 6 IN IP4 203.0.113.1", OFFER.as_bytes()));
    assert_eq!(lines(&named, "o="), ["o=baton 5 7 IN IP4 203.0.113.1"]);
    let reply = text(as_answer(answer.as_bytes(), OFFER.as_bytes(), None));
    assert_eq!(lines(&reply, "m=").len(), 3);
    assert_eq!(lines(&reply, "o="), ["o=carol 9 9 IN IP4 198.51.100.7"]);
}

/// Whatever comes, nothing panics and nothing is made of nonsense.
#[test]
fn garbage() {
    for sdp in ["", "v=0", "hello", "v=0\r\nm=audio", "v=0\r\no=a b c d\r\n", "m=\r\n", "=\n=", "o=   \n"] {
        assert_eq!(hold(sdp.as_bytes()), None, "{sdp:?}");
        assert_eq!(inactive_answer(sdp.as_bytes()), None);
        assert_eq!(as_offer(sdp.as_bytes(), b"", OFFER.as_bytes()), None);
        assert_eq!(as_offer(OFFER.as_bytes(), b"nonsense", sdp.as_bytes()), None);
        assert!(!holds(sdp.as_bytes()));
    }
    let many = format!("v=0\r\no=a 1 1 IN IP4 b\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(1_000));
    assert_eq!(hold(many.as_bytes()), None);
    let full = "v=0\r\no=a 1 18446744073709551615 IN IP4 b\r\nm=audio 1 RTP/AVP 0\r\n";
    assert!(hold(full.as_bytes()).is_some());
}

proptest::proptest! {
    /// Any bytes are read without harm, and what is written can be read again.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let sdp = [OFFER.as_bytes(), &bytes].concat();
        for out in [hold(&sdp), resume(&sdp), inactive_answer(&sdp), as_offer(&sdp, b"", OFFER.as_bytes())].into_iter().flatten() {
            proptest::prop_assert!(Description::parse(&out).is_some());
        }
        let _ = hold(&bytes);
    }
}
