//! What a REFER or NOTIFY says, as far as a Refer is concerned.
//!
//! Reading is tolerant: the proxy has passed the message on anyway, and what a peer writes
//! oddly is still worth a record.

use crate::sip::event::{CallSid, ReferSid};
use crate::sip::message::{HeaderId, Message, NameAddr, sipfrag};
use crate::sip::plan::TrunkIx;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a URI that a record keeps at most.
const TEXT: usize = 2_048;

/// A From or To tag, as eight bytes whatever its length. Two tags that collide can only confuse the
/// call they stand in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// The tag written so; an absent one is an empty one (RFC 3261 §12.2.1.1).
    pub fn of(tag: &[u8]) -> Tag {
        let mut hasher = SipHasher13::new();
        hasher.write(tag);
        Tag(hasher.finish())
    }
}

/// The dialog a request belongs to, seen from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// The call, as the authenticated dialog token names it.
    pub call: CallSid,
    /// The sender's tag: that of From.
    pub from: Tag,
    /// The receiver's tag: that of To.
    pub to: Tag,
}

impl Dialog {
    /// The dialog of a request, or of the request that a response answers.
    pub fn of(message: &Message, call: CallSid) -> Dialog {
        let tag = |address: Option<NameAddr<'_>>| Tag::of(address.and_then(|a| a.tag()).unwrap_or_default());
        Dialog { call, from: tag(message.from().ok()), to: tag(message.to().ok()) }
    }

    /// The same dialog seen from the other side.
    pub const fn reversed(self) -> Dialog {
        Dialog { call: self.call, from: self.to, to: self.from }
    }
}

/// What a REFER says, and what it belongs to.
#[derive(Clone, Debug)]
pub struct ReferFacts {
    /// The identifier it gets, should it be a new Refer.
    pub sid: ReferSid,
    /// The dialog it was sent in, seen from the referrer.
    pub dialog: Dialog,
    /// The account of the call.
    pub account: Arc<str>,
    /// The trunk it came by, for counters; not in the message.
    pub trunk: Option<TrunkIx>,
    /// The number of its CSeq.
    pub cseq: u32,
    /// Referred-By's URI, else From's.
    pub from: String,
    /// Refer-To's URI without its header part.
    pub to: String,
}

impl ReferFacts {
    /// What a REFER says; `None` for one without a CSeq that can be read, which no proxy passes on.
    pub fn read(refer: &Message, sid: ReferSid, call: CallSid, account: Arc<str>) -> Option<ReferFacts> {
        // Several Refer-To values are for the referee to refuse; the first is shown.
        let to = refer.refer_to().ok().flatten().map(|to| without_headers(&to));
        let from = refer.referred_by().ok().flatten().or_else(|| refer.from().ok());
        let raw = |id| refer.header(id).map(text).unwrap_or_default();
        Some(ReferFacts {
            sid,
            dialog: Dialog::of(refer, call),
            account,
            trunk: None,
            cseq: refer.cseq().ok()?.number,
            from: from.map_or_else(|| raw(HeaderId::From), |from| without_headers(&from)),
            to: to.unwrap_or_else(|| raw(HeaderId::ReferTo)),
        })
    }
}

/// How the REFER itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With this response; a provisional one changes nothing.
    Response(u16),
    /// With none in time: Timer F.
    Timeout,
    /// It could not be sent.
    TransportFailure,
}

/// What a NOTIFY of the refer package says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFacts {
    /// The `id` of its Event header.
    pub id: Option<u32>,
    /// Whether Subscription-State says `terminated`.
    pub terminated: bool,
    /// How much longer the subscription lasts, where it says so.
    pub expires: Option<Duration>,
    /// The status code of its sipfrag; `None` when there is no usable status line.
    pub code: Option<u16>,
}

impl NotifyFacts {
    /// What a NOTIFY says; `None` when it is of another package, or its `id` is no CSeq number.
    pub fn read(notify: &Message) -> Option<NotifyFacts> {
        let event = notify.event().ok().flatten().filter(|event| event.is("refer"))?;
        let id = match event.id {
            Some(id) => Some(std::str::from_utf8(id).ok()?.parse().ok()?),
            None => None,
        };
        let state = notify.subscription_state().ok().flatten();
        Some(NotifyFacts {
            id,
            terminated: state.is_some_and(|state| state.is_terminated()),
            expires: state.and_then(|state| state.expires).map(|s| Duration::from_secs(s.into())),
            // Whatever Content-Type claims: what begins with a status line is one.
            code: sipfrag::parse(notify.body()).map(|(code, _)| code),
        })
    }
}

/// A URI without its header part, as text.
fn without_headers(address: &NameAddr<'_>) -> String {
    let headers = address.uri().map_or(0, |uri| uri.headers.len());
    let end = address.uri.len().saturating_sub(headers);
    let uri = address.uri.get(..end).unwrap_or(address.uri);
    text(uri.strip_suffix(b"?").unwrap_or(uri))
}

/// Bytes as text for a record: bounded, one line, and valid whatever the network sent.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..TEXT).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Limits;
    use bytes::Bytes;

    fn message(head: &str, body: &str) -> Message {
        let text = format!(
            "{head}Via: SIP/2.0/UDP 192.0.2.101;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             Call-ID: 2xTb9vxSit55XU7p8@atlanta.example.com\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text.into_bytes()), &Limits::default()).expect("a message")
    }

    fn refer(fields: &str) -> ReferFacts {
        let refer = message(
            &format!(
                "REFER sip:bob@192.0.2.7 SIP/2.0\r\nFrom: Alice <sip:alice@atlanta.example.com>;tag=a1\r\n\
                 To: <sip:bob@biloxi.example.com>;tag=b1\r\nCSeq: 31863 REFER\r\n{fields}"
            ),
            "",
        );
        ReferFacts::read(&refer, ReferSid(1), CallSid(7), Arc::from("AC1")).expect("facts")
    }

    fn notify(fields: &str, body: &str) -> Option<NotifyFacts> {
        NotifyFacts::read(&message(
            &format!(
                "NOTIFY sip:alice@192.0.2.101 SIP/2.0\r\nFrom: <sip:bob@biloxi.example.com>;tag=b1\r\n\
                 To: <sip:alice@atlanta.example.com>;tag=a1\r\nCSeq: 7 NOTIFY\r\n{fields}"
            ),
            body,
        ))
    }

    /// Long and compact names, brackets or none, display names and parameters.
    #[test]
    fn refer_to_in_every_form() {
        for field in [
            "Refer-To: <sip:carol@chicago.example.com>",
            "r: <sip:carol@chicago.example.com>",
            "R: sip:carol@chicago.example.com",
            "refer-to:  \"Carol, C.\" <sip:carol@chicago.example.com>;x=y",
            "Refer-To: Carol <sip:carol@chicago.example.com>",
        ] {
            assert_eq!(refer(&format!("{field}\r\n")).to, "sip:carol@chicago.example.com", "{field}");
        }
    }

    /// [R-005] [restcomm-refers 6] `;` in brackets is the URI's, without brackets the header's; what
    /// follows `?` is not part of the record.
    #[test]
    fn refer_to_and_its_parts() {
        let cases = [
            ("<sip:c@x;transport=tls>;p", "sip:c@x;transport=tls"),
            ("sip:c@x;transport=tls", "sip:c@x"),
            ("<sip:c@x?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>", "sip:c@x"),
            ("<sip:c@x;method=INVITE?Replaces=a&Require=replaces>", "sip:c@x;method=INVITE"),
            ("<sip:c@x?>", "sip:c@x"),
            ("<sip:who?me@x>", "sip:who?me@x"),
            ("<tel:+15551234;ext=7>", "tel:+15551234;ext=7"),
            ("<sips:c@[2001:db8::1]:5061>", "sips:c@[2001:db8::1]:5061"),
        ];
        for (value, to) in cases {
            assert_eq!(refer(&format!("Refer-To: {value}\r\n")).to, to, "{value}");
        }
    }

    /// [R-004] [restcomm-refers 2.6] From is Referred-By, long or compact, else From.
    #[test]
    fn who_refers() {
        let to = "Refer-To: <sip:c@x>\r\n";
        assert_eq!(refer(to).from, "sip:alice@atlanta.example.com");
        for name in ["Referred-By", "b"] {
            let facts = refer(&format!("{to}{name}: \"A\" <sip:boss@x>;cid=\"1@x\"\r\n"));
            assert_eq!(facts.from, "sip:boss@x");
        }
        // One that cannot be read is as good as none.
        assert_eq!(refer(&format!("{to}Referred-By: <\r\n")).from, "sip:alice@atlanta.example.com");
    }

    /// A REFER without a target that can be read still has facts; its referee will refuse it.
    #[test]
    fn odd_targets() {
        assert_eq!(refer("").to, "");
        assert_eq!(refer("Refer-To: <<x\r\n").to, "<<x");
        let long = format!("Refer-To: <sip:{}@x>\r\n", "a".repeat(9_000));
        assert!(refer(&long).to.len() <= TEXT);
    }

    /// The dialog is the two tags, the sender's first; a NOTIFY has them the other way round.
    #[test]
    fn both_sides_of_a_dialog() {
        let facts = refer("Refer-To: <sip:c@x>\r\n");
        assert_eq!(facts.dialog, Dialog { call: CallSid(7), from: Tag::of(b"a1"), to: Tag::of(b"b1") });
        assert_eq!(facts.cseq, 31863);
        assert_eq!(facts.dialog.reversed().reversed(), facts.dialog);
        assert_ne!(facts.dialog.reversed(), facts.dialog);
    }

    /// Event and `o`, with and without id.
    #[test]
    fn events() {
        for (field, id) in [
            ("Event: refer", None),
            ("o: refer;id=31863", Some(31863)),
            ("O: REFER ; id=31863;x", Some(31863)),
        ] {
            let facts = notify(&format!("{field}\r\n"), "").expect(field);
            assert_eq!(facts.id, id);
        }
        for field in ["Event: dialog", "Event: refer;id=x", "Event: refer;id=99999999999", "Event:", ""] {
            let fields = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
            assert_eq!(notify(&fields, "SIP/2.0 200 OK\r\n"), None, "{field}");
        }
    }

    /// What Subscription-State says, and nothing where it says nothing.
    #[test]
    fn subscription_states() {
        let read = |state: &str| notify(&format!("Event: refer\r\n{state}"), "").expect("facts");
        let active = read("Subscription-State: active;expires=60\r\n");
        assert_eq!((active.terminated, active.expires), (false, Some(Duration::from_secs(60))));
        let over = read("subscription-state: Terminated;reason=noresource\r\n");
        assert_eq!((over.terminated, over.expires), (true, None));
        assert_eq!(read(""), NotifyFacts::default());
        assert_eq!(read("Subscription-State: ;;\r\n"), NotifyFacts::default());
    }

    /// Bodies of every kind: the first line decides, and only when it is a status line.
    #[test]
    fn bodies() {
        let code = |body: &str| notify("Event: refer\r\n", body).expect("facts").code;
        assert_eq!(code("SIP/2.0 200 OK\r\n"), Some(200));
        assert_eq!(code("SIP/2.0 180 Ringing\r\nTo: <sip:c@x>\r\n\r\n"), Some(180));
        assert_eq!(code("SIP/2.0 486"), Some(486));
        assert_eq!(code("SIP/2.0 603 \n"), Some(603));
        for odd in ["", "\r\n", "200 OK", "INVITE sip:c@x SIP/2.0\r\n", "SIP/2.0 999 Huh", "\u{0}\u{1}"] {
            assert_eq!(code(odd), None, "{odd:?}");
        }
    }
}
