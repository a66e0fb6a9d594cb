//! How a leg's requests and responses are written: each from the dialog and nothing of another leg's
//! (C-148).

use super::id::hex16;
use super::leg::{Authorization, Desk, Leg};
use super::outgoing::{Body, Headers};
use super::route_set::Dialog;
use crate::sip::flow::ListenerId;
use crate::sip::message::write::{Builder, response_head};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::proxy::Cx;
use crate::sip::transaction::ClientId;
use bytes::Bytes;
use std::net::SocketAddr;

const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, PRACK, UPDATE";
const ALLOW_REFER: &[u8] =
    b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, REFER, NOTIFY, SUBSCRIBE";
const ALLOW_NOTIFY: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, NOTIFY";
const SUPPORTED: &[u8] = b"100rel, timer";
const SUPPORTED_REFER: &[u8] = b"100rel, timer, replaces, norefersub, nosub, tdialog";

/// The option tags a request may require of a leg (C-146).
pub(super) const UNDERSTOOD: [&str; 6] = ["100rel", "timer", "replaces", "norefersub", "nosub", "tdialog"];

/// A request before it is written.
pub(super) struct Parts<'a> {
    pub(super) method: &'a str,
    /// The Request-URI, before strict routing.
    pub(super) uri: &'a [u8],
    pub(super) routes: &'a [Box<[u8]>],
    /// The uri of the first route when that router is a strict one.
    pub(super) strict: Option<&'a [u8]>,
    pub(super) local_tag: u64,
    pub(super) remote_tag: &'a [u8],
    pub(super) cseq: u32,
    pub(super) max_forwards: u8,
    pub(super) headers: &'a Headers,
    pub(super) authorization: &'a Authorization,
    /// Header fields the leg adds by itself.
    pub(super) own: &'a [(&'a str, Vec<u8>)],
    pub(super) body: Option<&'a Body>,
}

impl<'a> Parts<'a> {
    /// A request inside a dialog.
    pub(super) fn within(
        dialog: &'a Dialog,
        method: &'a str,
        cseq: u32,
        none: &'a (Headers, Authorization),
    ) -> Parts<'a> {
        Parts {
            method,
            uri: &dialog.target,
            routes: &dialog.routes,
            strict: dialog.strict(),
            local_tag: dialog.local_tag,
            remote_tag: &dialog.remote_tag,
            cseq,
            max_forwards: 70,
            headers: &none.0,
            authorization: &none.1,
            own: &[],
            body: None,
        }
    }
}

/// The branch of a request: a client transaction's, or none's.
pub(super) enum Branch {
    Client(ClientId),
    Loose(u64),
}

/// Whether a request or its 2xx refreshes the target, and so names a Contact (RFC 3261 §12.2, §20.10).
const fn names_contact(method: Method) -> bool {
    matches!(
        method,
        Method::Invite
            | Method::Update
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Options
    )
}

/// Writes a request of the leg's.
pub(super) fn request(
    leg: &Leg,
    cx: &Cx<'_>,
    desk: &mut Desk,
    listener: ListenerId,
    branch: &Branch,
    parts: &Parts<'_>,
) -> Bytes {
    let method = Method::from_bytes(parts.method.as_bytes());
    let mut line = Vec::with_capacity(128);
    let mut out = std::mem::take(&mut desk.scratch);
    out.clear();
    let mut text = Builder::request(&mut out, parts.method, parts.strict.unwrap_or(parts.uri));
    desk.itself.write_via(listener, &mut line);
    match branch {
        Branch::Client(client) => cx.transactions.write_branch(*client, b"", &mut line),
        Branch::Loose(random) => {
            line.extend_from_slice(b"z9hG4bK-k");
            line.extend_from_slice(&hex16(*random));
        }
    }
    text = text.header("Via", &line).number("Max-Forwards", u32::from(parts.max_forwards));
    for route in parts.routes.iter().skip(usize::from(parts.strict.is_some())) {
        text = text.header("Route", route);
    }
    if parts.strict.is_some() {
        text = text.header("Route", &[b"<", parts.uri, b">"].concat());
    }
    put_tagged(&mut line, &leg.local, &hex16(parts.local_tag));
    text = text.header("From", &line);
    put_tagged(&mut line, &leg.remote, parts.remote_tag);
    text = text.header("To", &line);
    text = text.header("Call-ID", &leg.call_id).cseq(parts.cseq, parts.method);
    if names_contact(method) {
        put_contact(&mut line, desk, listener, leg.secure);
        text = text.header("Contact", &line);
    }
    if matches!(method, Method::Invite | Method::Update | Method::Refer) {
        let (allow, supported) = abilities(leg, method);
        text = text.header("Allow", allow).header("Supported", supported);
    }
    for (name, value) in parts.own {
        text = text.header(name, value);
    }
    for (id, value) in parts.authorization {
        text = text.header(id.as_str(), value);
    }
    for (name, value) in parts.headers {
        text = text.header(name, value);
    }
    end(text, parts.body);
    let bytes = Bytes::copy_from_slice(&out);
    desk.scratch = out;
    bytes
}

/// Writes a response of the leg's to a request of the party's. `forming`: to the request that makes the
/// dialog, an INVITE or a REFER outside any, whose Record-Route it copies (C-132).
pub(super) fn response(
    leg: &Leg,
    desk: &mut Desk,
    request: &Message,
    source: SocketAddr,
    local_tag: u64,
    status: u16,
    reason: &str,
    headers: &Headers,
    own: &[(&str, Vec<u8>)],
    body: Option<&Body>,
) -> Bytes {
    let method = request.method();
    let forming =
        matches!(method, Method::Invite | Method::Refer) && !request.to().is_ok_and(|to| to.tag().is_some());
    let mut out = std::mem::take(&mut desk.scratch);
    out.clear();
    response_head(&mut out, request, Some(source), status, reason, Some(&hex16(local_tag)));
    let mut text = Builder::resume(&mut out);
    let makes_dialog = matches!(status, 101..300);
    if forming && makes_dialog {
        for value in request.values(HeaderId::RecordRoute) {
            text = text.header("Record-Route", value);
        }
    }
    if names_contact(method) && makes_dialog {
        let mut line = Vec::with_capacity(64);
        put_contact(&mut line, desk, leg.listener(), leg.secure);
        text = text.header("Contact", &line);
    }
    let says_all = matches!(method, Method::Invite | Method::Update | Method::Options) && makes_dialog;
    if says_all || status == 405 {
        let (allow, supported) = abilities(leg, method);
        // Who refuses may know better what is allowed.
        if says_all || !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Allow")) {
            text = text.header("Allow", allow);
        }
        if says_all {
            text = text.header("Supported", supported);
        }
    }
    for (name, value) in own {
        text = text.header(name, value);
    }
    for (name, value) in headers {
        text = text.header(name, value);
    }
    end(text, body);
    let bytes = Bytes::copy_from_slice(&out);
    desk.scratch = out;
    bytes
}

fn end(text: Builder<'_>, body: Option<&Body>) {
    match body {
        Some(body) => text.body(&body.content_type, &body.bytes),
        None => text.finish(),
    }
}

/// What Baton does on this leg (C-147, R-014); who is sent a REFER may notify, whether or not it may refer.
fn abilities(leg: &Leg, method: Method) -> (&'static [u8], &'static [u8]) {
    match method {
        _ if leg.options.allow_refer => (ALLOW_REFER, SUPPORTED_REFER),
        Method::Refer => (ALLOW_NOTIFY, SUPPORTED_REFER),
        _ => (ALLOW, SUPPORTED),
    }
}

fn put_tagged(line: &mut Vec<u8>, value: &[u8], tag: &[u8]) {
    line.clear();
    line.extend_from_slice(value);
    if !tag.is_empty() {
        line.extend_from_slice(b";tag=");
        line.extend_from_slice(tag);
    }
}

/// A Contact of ours; in a secure dialog it is a `sips:` one (RFC 3261 §12.1.1, §8.1.1.8).
fn put_contact(line: &mut Vec<u8>, desk: &Desk, listener: ListenerId, secure: bool) {
    line.clear();
    desk.itself.write_contact(listener, line);
    if secure && line.starts_with(b"<sip:") {
        line.splice(0..5, b"<sips:".iter().copied());
    }
}
