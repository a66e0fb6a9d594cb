//! Route pre-processing and Record-Route: how a request finds its way through us, and how the later
//! ones of its dialog do (RFC 3261 §16.4, §16.6 steps 4 and 6, §16.12; RFC 5658).

use crate::sip::flow::{Flow, ListenerId};
use crate::sip::message::{Edits, HeaderId, Message, NameAddr, Uri};
use crate::sip::proxy::itself::Itself;
use crate::sip::proxy::token::{DialogToken, TokenKey, read_remote, write_remote};
use std::net::SocketAddr;

/// A request's route after pre-processing (RFC 3261 §16.4).
#[derive(Debug)]
pub struct Path<'m> {
    /// The Request-URI to act on: as received, or restored from the last Route when a strict router
    /// had put our Record-Route there.
    pub request_uri: &'m [u8],
    /// Whether it was restored.
    pub restored: bool,
    /// How many Route values of ours stood on top; they leave the message.
    pub popped: usize,
    /// What our Record-Route said about the dialog, if the tag on it is right.
    pub token: Option<DialogToken>,
    /// The listener the last of our own values names: the side the request leaves by (RFC 5658 §4).
    pub listener: Option<ListenerId>,
    /// The address of the connection on that side, where the party can be reached by no other way:
    /// its URI is not to be resolved (RFC 7118 §5.4).
    pub remote: Option<SocketAddr>,
    /// The first Route value that is not ours.
    pub next: Option<&'m [u8]>,
}

/// Takes our own values off a request's route, in thought: the message is not changed.
pub fn preprocess<'m>(message: &'m Message, itself: &Itself, key: &TokenKey, call_id: &[u8]) -> Path<'m> {
    let mut path = Path {
        request_uri: message.request_uri(),
        restored: false,
        popped: 0,
        token: None,
        listener: None,
        remote: None,
        next: None,
    };
    let total =
        if message.header(HeaderId::Route).is_some() { message.values(HeaderId::Route).count() } else { 0 };
    let mut last = total;
    // RFC 3261 §16.4: a Request-URI that we placed in a Record-Route came through a strict router.
    if let Ok(uri) = Uri::parse(path.request_uri)
        && let Some(listener) = itself.own(&uri)
        && uri.is_loose()
        && let Some(token) = token_of(&uri, key, call_id)
        && let Some(value) = message.values(HeaderId::Route).last()
        && let Ok(target) = NameAddr::parse(value)
    {
        path.token = Some(token);
        path.listener = listener;
        path.remote = remote_of(&uri, key, call_id);
        path.request_uri = target.uri;
        path.restored = true;
        last -= 1;
    }
    for value in message.values(HeaderId::Route).take(last) {
        let uri = NameAddr::parse(value).and_then(|name_addr| Uri::parse(name_addr.uri)).ok();
        let Some((uri, listener)) = uri.and_then(|uri| Some((uri, itself.own(&uri)?))) else {
            path.next = Some(value);
            break;
        };
        path.popped += 1;
        path.token = path.token.or_else(|| token_of(&uri, key, call_id));
        path.listener = listener.or(path.listener);
        path.remote = remote_of(&uri, key, call_id);
    }
    path
}

fn token_of(uri: &Uri<'_>, key: &TokenKey, call_id: &[u8]) -> Option<DialogToken> {
    DialogToken::read(uri.params.value(b"b")?, key, call_id)
}

fn remote_of(uri: &Uri<'_>, key: &TokenKey, call_id: &[u8]) -> Option<SocketAddr> {
    read_remote(uri.params.value(b"f")?, key, call_id)
}

impl<'m> Path<'m> {
    /// The URI of the next hop, and whether that hop is a strict router (RFC 3261 §16.6 step 6).
    pub fn next_hop(&self) -> Option<(&'m [u8], bool)> {
        match self.next {
            None => Some((self.request_uri, false)),
            Some(value) => {
                let hop = NameAddr::parse(value).ok()?.uri;
                let strict = !Uri::parse(hop).ok()?.is_loose();
                Some((hop, strict))
            }
        }
    }

    /// Writes what pre-processing decided into the edits, and the strict-router exchange of
    /// Request-URI and first Route where the next hop needs it (C-092, C-099).
    pub fn apply(&self, message: &Message, edits: &mut Edits) {
        if self.popped > 0 {
            edits.pop_route(message, self.popped);
        }
        if self.restored {
            edits.pop_last_route(message);
            edits.set_request_uri(message, self.request_uri);
        }
        if let Some((hop, true)) = self.next_hop() {
            edits.pop_route(message, self.popped + 1);
            let mut value = Vec::with_capacity(self.request_uri.len() + 2);
            value.push(b'<');
            value.extend_from_slice(self.request_uri);
            value.push(b'>');
            edits.append_route(message, &value);
            edits.set_request_uri(message, hop);
        }
    }
}

/// Appends one Record-Route value of ours. With the flow of a party that comes by WebSocket it says
/// which connection leads back to it.
pub fn write_record_route(
    itself: &Itself,
    listener: ListenerId,
    party: Option<&Flow>,
    secure: bool,
    token: &DialogToken,
    key: &TokenKey,
    call_id: &[u8],
    out: &mut Vec<u8>,
) {
    itself.write_record_route(listener, secure, out);
    out.extend_from_slice(b";b=");
    token.write(key, call_id, out);
    if let Some(flow) = party.filter(|flow| flow.transport.is_websocket()) {
        out.extend_from_slice(b";f=");
        write_remote(flow.remote, key, call_id, out);
    }
    out.push(b'>');
}
