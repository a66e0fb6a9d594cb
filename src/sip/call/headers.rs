//! Which header fields pass from one leg to the other, in one table (C-117, C-148, C-194).
//!
//! What names a dialog, its way or its transactions never passes; what says something about the call
//! does. Fields that legs write themselves (Allow, Supported, Contact, timers) are left to them.

use crate::sip::auth::realm_of;
use crate::sip::command::Refused;
use crate::sip::dialog::Headers;
use crate::sip::message::{HeaderId, Message, Method};

/// In which messages a field passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// In requests and responses.
    Both,
    /// In requests.
    Requests,
    /// In responses.
    Responses,
    /// In requests with one of these methods, and their responses.
    Of(&'static [Method]),
}

const EVENTS: &[Method] = &[Method::Subscribe, Method::Notify, Method::Refer];

/// The table. What is not in it stays.
const fn pass_of(id: HeaderId) -> Option<Pass> {
    use HeaderId as H;
    Some(match id {
        // The body.
        H::ContentEncoding | H::ContentDisposition | H::ContentLanguage | H::ContentId | H::MimeVersion => {
            Pass::Both
        }
        // Who calls, and why (C-186, C-192 to C-194).
        H::PAssertedIdentity
        | H::RemotePartyId
        | H::Privacy
        | H::Date
        | H::Diversion
        | H::HistoryInfo
        | H::UserToUser
        | H::Reason => Pass::Both,
        H::Identity | H::ReferredBy => Pass::Requests,
        // What it is about.
        H::Subject
        | H::Priority
        | H::ResourcePriority
        | H::Organization
        | H::AlertInfo
        | H::CallInfo
        | H::Geolocation
        | H::ReplyTo
        | H::AnswerMode
        | H::PChargingVector
        | H::PAccessNetworkInfo
        | H::AcceptLanguage => Pass::Both,
        H::AcceptContact | H::RejectContact | H::RequestDisposition => Pass::Requests,
        // What the answer means.
        H::ErrorInfo | H::Warning | H::RetryAfter => Pass::Responses,
        // Subscriptions and transfers inside the dialog (C-117).
        H::Event | H::SubscriptionState | H::AllowEvents | H::ReferTo | H::ReferSub => Pass::Of(EVENTS),
        H::Expires => Pass::Of(&[Method::Subscribe, Method::Notify, Method::Refer, Method::Message]),
        H::Accept => Pass::Of(&[Method::Subscribe, Method::Options]),
        _ => return None,
    })
}

/// Fields without which a refusal with this code says too little (RFC 3261 §21).
pub(super) const fn explains(id: HeaderId, code: u16) -> bool {
    use HeaderId as H;
    match id {
        H::Contact => matches!(code, 300..=399 | 485),
        H::WwwAuthenticate | H::ProxyAuthenticate => matches!(code, 401 | 407),
        H::Accept | H::AcceptEncoding => matches!(code, 406 | 415),
        H::Unsupported => code == 420,
        H::Require => code == 421,
        H::MinSe => code == 422,
        _ => false,
    }
}

/// Names outside [`HeaderId`] that pass; beside them all that begin with `X-`.
const PASSING_OTHERS: &[&str] = &[
    "Session-ID",
    "Info-Package",
    "Recv-Info",
    "Call-Reason",
    "P-Early-Media",
    "Supported-Features",
    "Feature-Caps",
];

/// Those that pass only from a party that is believed: they say who pays, or who vouches (C-191).
const BELIEVED_OTHERS: &[&str] =
    &["P-Asserted-Service", "P-Called-Party-ID", "P-Charge-Info", "Attestation-Info", "Origination-Id"];

/// What passes of a message. `trusted`: whether the party that gets it may see asserted identities
/// that are to be kept private (C-186), `believed`: whether the one that sent it may assert one (C-185).
pub(super) fn passing(message: &Message, believed: bool, trusted: bool) -> Headers {
    let method = message.method();
    let private = !trusted && (message.lists(HeaderId::Privacy, "id") || private_id(message));
    message
        .headers()
        .filter(|line| match line.id {
            HeaderId::Other => other_passes(line.name, believed),
            HeaderId::PAssertedIdentity | HeaderId::RemotePartyId => believed && !private,
            HeaderId::Identity | HeaderId::Diversion | HeaderId::HistoryInfo | HeaderId::PChargingVector
                if !believed =>
            {
                false
            }
            id if !message.is_request() && explains(id, message.status()) => true,
            id => pass_of(id).is_some_and(|pass| match pass {
                Pass::Both => true,
                Pass::Requests => message.is_request(),
                Pass::Responses => !message.is_request(),
                Pass::Of(methods) => methods.contains(&method),
            }),
        })
        .filter_map(|line| Some((std::str::from_utf8(line.name).ok()?.into(), unfolded(line.value))))
        .collect()
}

/// What a request holds to answer the challenges of those further on: everything but what is for `own`, the realm
/// of Baton.
pub(super) fn credentials(message: &Message, own: &str) -> Headers {
    let names = [HeaderId::Authorization, HeaderId::ProxyAuthorization];
    message
        .headers()
        .filter(|line| names.contains(&line.id))
        .filter(|line| realm_of(line.value).is_some_and(|realm| realm != own.as_bytes()))
        .map(|line| (line.id.as_str().into(), unfolded(line.value)))
        .collect()
}

/// Whether Privacy, whose values stand between semicolons (RFC 3323 §4.2), names `id`.
fn private_id(message: &Message) -> bool {
    message.header(HeaderId::Privacy).is_some_and(|value| {
        value.split(|b| *b == b';').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"id"))
    })
}

fn other_passes(name: &[u8], believed: bool) -> bool {
    let among = |list: &[&str]| list.iter().any(|passing| name.eq_ignore_ascii_case(passing.as_bytes()));
    name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(b"X-"))
        || among(PASSING_OTHERS)
        || believed && among(BELIEVED_OTHERS)
}

pub(super) fn unfolded(value: &[u8]) -> Box<[u8]> {
    value.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect()
}

/// What a BYE or CANCEL says about the end, and what the parties say to each other in it (C-153, C-194).
pub(super) fn reasons(message: Option<&Message>) -> Headers {
    let Some(message) = message else { return Headers::new() };
    message
        .headers()
        .filter(|line| match line.id {
            HeaderId::Reason | HeaderId::UserToUser => true,
            HeaderId::Other => other_passes(line.name, false),
            _ => false,
        })
        .filter_map(|line| Some((std::str::from_utf8(line.name).ok()?.into(), unfolded(line.value))))
        .collect()
}

/// A Reason field of our own.
pub(super) fn reason(value: &str) -> Headers {
    vec![("Reason".into(), value.as_bytes().into())]
}

/// Causes without a text of their own.
macro_rules! causes {
    ($protocol:literal: $($number:literal)*) => {
        &[$(($protocol, stringify!($number), concat!($protocol, ";cause=", $number))),*]
    };
}

/// The Reasons that a CANCEL of ours can carry: those that there are (C-153). First those that it usually has.
const CAUSES: &[&[(&str, &str, &str)]] = &[
    &[
        ("SIP", "200", "SIP;cause=200;text=\"Call completed elsewhere\""),
        ("SIP", "480", "SIP;cause=480;text=\"Temporarily Unavailable\""),
        ("SIP", "486", "SIP;cause=486;text=\"Busy Here\""),
        ("SIP", "487", "SIP;cause=487;text=\"Request Terminated\""),
        ("SIP", "600", "SIP;cause=600;text=\"Busy Everywhere\""),
        ("SIP", "603", "SIP;cause=603;text=\"Decline\""),
        ("Q.850", "16", "Q.850;cause=16;text=\"Normal call clearing\""),
        ("Q.850", "17", "Q.850;cause=17;text=\"User busy\""),
        ("Q.850", "18", "Q.850;cause=18;text=\"No user responding\""),
        ("Q.850", "19", "Q.850;cause=19;text=\"No answer from user\""),
        ("Q.850", "21", "Q.850;cause=21;text=\"Call rejected\""),
        ("Q.850", "26", "Q.850;cause=26;text=\"Non-selected user clearing\""),
        ("Q.850", "31", "Q.850;cause=31;text=\"Normal, unspecified\""),
        ("Q.850", "102", "Q.850;cause=102;text=\"Recovery on timer expiry\""),
    ],
    // ITU-T Q.850, table 1
    causes!("Q.850": 1 2 3 4 5 6 7 8 9 14 20 22 23 24 25 27 28 29 30 34 38 39 40 41 42 43 44 46 47 49 50 53 55 57
        58 62 63 65 66 69 70 79 81 82 83 84 85 86 87 88 90 91 95 96 97 98 99 100 101 103 110 111 127),
    causes!("SIP": 300 301 302 305 380 400 401 402 403 404 405 406 407 408 410 412 413 414 415 416 417 420 421 422
        423 424 425 428 429 433 436 437 438 439 440 469 470 481 482 483 484 485 488 489 491 493 494 500 501 502
        503 504 505 513 555 580 604 606 607 608),
];

/// Reason of the CANCELs to those who lost (RFC 3326 §2).
pub(super) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// The Reason to cancel others with, because of a CANCEL or BYE that came.
pub(super) fn cause(message: &Message) -> Option<&'static str> {
    let value = message.values(HeaderId::Reason).next()?;
    let mut parts = value.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let protocol = parts.next()?;
    let cause = parts.find_map(|part| part.strip_prefix(b"cause="))?;
    CAUSES
        .iter()
        .copied()
        .flatten()
        .find(|(name, number, _)| {
            protocol.eq_ignore_ascii_case(name.as_bytes()) && cause == number.as_bytes()
        })
        .map(|(_, _, text)| *text)
}

/// Header fields that the control plane gives: names must be tokens, values must stay in their line,
/// and none may touch what the legs write (C-212).
pub(super) fn given(list: &[(String, String)]) -> Result<Headers, Refused> {
    list.iter()
        .map(|(name, value)| {
            let token = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
            let clean = !value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0));
            if token && clean && !reserved(HeaderId::from_bytes(name.as_bytes())) {
                Ok((name.as_str().into(), value.as_bytes().into()))
            } else {
                Err(Refused::Malformed)
            }
        })
        .collect()
}

/// Fields that belong to the dialog, its way, its transactions or its framing.
const fn reserved(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::Via
            | HeaderId::From
            | HeaderId::To
            | HeaderId::CallId
            | HeaderId::CSeq
            | HeaderId::Contact
            | HeaderId::MaxForwards
            | HeaderId::ContentLength
            | HeaderId::ContentType
            | HeaderId::Route
            | HeaderId::RecordRoute
            | HeaderId::Authorization
            | HeaderId::ProxyAuthorization
            | HeaderId::SessionExpires
            | HeaderId::MinSe
            | HeaderId::RSeq
            | HeaderId::RAck
            | HeaderId::Allow
            | HeaderId::Supported
            | HeaderId::Require
    )
}

/// What interfaces show of a message.
pub(super) fn shown(message: &Message) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    message
        .headers()
        .filter(|line| match line.id {
            HeaderId::Diversion | HeaderId::HistoryInfo | HeaderId::UserToUser => true,
            HeaderId::Other => line.name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(b"X-")),
            _ => false,
        })
        .take(MAX_SHOWN)
        .map(|line| (text(line.name), text(&unfolded(line.value))))
        .collect()
}

/// The same, with the name of the program that sent it.
pub(super) fn shown_with_agent(message: &Message) -> Vec<(String, String)> {
    let mut list = shown(message);
    if let Some(agent) = message.header(HeaderId::UserAgent) {
        let agent = String::from_utf8_lossy(&unfolded(agent)).into_owned();
        list.push(("User-Agent".to_owned(), agent));
    }
    list
}

/// Fields shown of one message.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Limits;
    use bytes::Bytes;

    fn message(fields: &str) -> Message {
        let text = format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n\
             Call-ID: secret\r\nCSeq: 1 INVITE\r\nContact: <sip:a@a>\r\nSupported: 100rel\r\n{fields}\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).expect("a message")
    }

    fn names(headers: &Headers) -> Vec<&str> {
        headers.iter().map(|(name, _)| &**name).collect()
    }

    /// [C-185] [C-191] What says who pays and who vouches passes only from who is believed.
    #[test]
    fn attestation_is_for_the_believed() {
        let text = "P-Charge-Info: <sip:x@y>\r\nAttestation-Info: A\r\nOrigination-Id: 1\r\nIdentity: abc\r\n\
                    Diversion: <sip:d@x>\r\nP-Early-Media: gated\r\n";
        assert_eq!(names(&passing(&message(text), false, true)), ["P-Early-Media"]);
        assert_eq!(passing(&message(text), true, true).len(), 6);
    }

    /// [C-148] [C-194] What describes the call passes, what names the dialog does not.
    #[test]
    fn the_table() {
        let got = passing(
            &message(
                "X-Mine: 1\r\nUser-to-User: 56;encoding=hex\r\nDiversion: <sip:d@x>\r\nRAck: 1 2 INVITE\r\nReplaces: a;to-tag=b;from-tag=c\r\nRoute: <sip:r;lr>\r\nEvent: refer\r\n",
            ),
            true,
            true,
        );
        assert_eq!(names(&got), ["X-Mine", "User-to-User", "Diversion"]);
    }

    /// [C-185] [C-186] An identity passes only from who may assert it, and to who may see it.
    #[test]
    fn identities() {
        let text = "P-Asserted-Identity: <sip:a@x>\r\nPrivacy: header;id\r\n";
        assert_eq!(names(&passing(&message(text), true, true)), ["P-Asserted-Identity", "Privacy"]);
        assert_eq!(names(&passing(&message(text), false, true)), ["Privacy"]);
        assert_eq!(names(&passing(&message(text), true, false)), ["Privacy"]);
    }

    /// [C-153] Reasons that a CANCEL can carry on.
    #[test]
    fn causes() {
        let of = |value: &str| cause(&message(&format!("Reason: {value}\r\n")));
        assert_eq!(of("SIP ;cause=200 ;text=\"x\""), Some(ELSEWHERE));
        assert_eq!(of("Q.850;cause=17"), Some("Q.850;cause=17;text=\"User busy\""));
        assert_eq!(of("Q.850;cause=34;text=\"No circuit\""), Some("Q.850;cause=34"));
        assert_eq!(of("SIP;cause=408"), Some("SIP;cause=408"));
        assert_eq!(of("X;cause=17"), None);
        assert_eq!(of("Q.850;cause=999"), None);
    }

    /// [C-212] What control gives cannot touch the dialog nor leave its line.
    #[test]
    fn given_fields() {
        let one = |name: &str, value: &str| given(&[(name.to_owned(), value.to_owned())]);
        assert!(one("X-A", "b").is_ok());
        for (name, value) in [("Via", "x"), ("X A", "b"), ("X-A", "b\r\nVia: x"), ("", "b"), ("f", "x")] {
            assert_eq!(one(name, value), Err(Refused::Malformed), "{name}");
        }
    }
}
