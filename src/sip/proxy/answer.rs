//! Answers made here rather than passed on, and CANCEL (RFC 3261 §8.2.6, §16.10).

use crate::shard::{Outbox, Output, SendTag};
use crate::sip::flow::Flow;
use crate::sip::message::{HeaderId, Message, Method, Ready, write};
use crate::sip::proxy::context::{Context, Progress};
use crate::sip::proxy::request::reply_flow;
use crate::sip::proxy::{Cx, Proxy};
use crate::sip::transaction::ServerId;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use std::hash::Hasher;

/// What Baton can do with a request addressed to itself (C-118) or passing through.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, NOTIFY, PRACK, PUBLISH, \
     REFER, SUBSCRIBE, UPDATE";
/// The same for those whose REFERs are refused.
const ALLOW_NO_REFER: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, NOTIFY, PRACK, PUBLISH, SUBSCRIBE, UPDATE";

/// Header fields an answer needs beyond those every answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// None.
    None,
    /// The methods allowed (RFC 3261 §21.4.6); with whether REFER is.
    Allow { refers: bool },
    /// The option tags not understood (RFC 3261 §21.4.15).
    Unsupported,
    /// When to come again (RFC 3261 §21.5.4), with jitter (C-205).
    RetryAfter,
    /// What an OPTIONS asks for (C-118); with whether REFER is allowed.
    Options { refers: bool },
}

const fn allow(refers: bool) -> &'static str {
    if refers { ALLOW } else { ALLOW_NO_REFER }
}

impl Proxy {
    /// Answers through the server transaction.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        request: &Message,
        flow: &Flow,
        status: u16,
        extra: Extra,
    ) {
        let bytes = self.write_answer(cx, request, flow, status, extra);
        cx.transactions.respond(cx.now, server, status, bytes, cx.fx);
    }

    /// Refuses what was handed on: there is no room for it, or nobody to take it.
    pub fn decline(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        request: &Message,
        flow: &Flow,
        status: u16,
    ) {
        let extra = if status == 503 { Extra::RetryAfter } else { Extra::None };
        self.answer(cx, server, request, flow, status, extra);
    }

    /// Answers without a transaction: what cannot be admitted or kept (C-213).
    pub(super) fn answer_stateless(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Message,
        flow: &Flow,
        status: u16,
        extra: Extra,
    ) {
        if request.method() != Method::Ack {
            let bytes = self.write_answer(cx, request, flow, status, extra);
            send_back(cx.out, request, flow, bytes);
        }
    }

    /// Answers without a transaction, with header fields of the caller's.
    pub fn answer_with(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Message,
        flow: &Flow,
        status: u16,
        headers: &[(&str, &[u8])],
    ) {
        let tag = self.to_tag(request);
        self.scratch.clear();
        write::response(&mut self.scratch, request, Some(flow.remote), status, "", Some(&tag), headers);
        let bytes = Bytes::copy_from_slice(&self.scratch);
        send_back(cx.out, request, flow, bytes);
    }

    /// Answers a request that is not sound: 400 and its kin, without a transaction.
    pub fn answer_malformed(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Message,
        flow: &Flow,
        status: u16,
        reason: &str,
    ) {
        if request.method() == Method::Ack {
            return;
        }
        let tag = self.to_tag(request);
        self.scratch.clear();
        write::response(&mut self.scratch, request, Some(flow.remote), status, reason, Some(&tag), &[]);
        let bytes = Bytes::copy_from_slice(&self.scratch);
        send_back(cx.out, request, flow, bytes);
    }

    fn write_answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Message,
        flow: &Flow,
        status: u16,
        extra: Extra,
    ) -> Bytes {
        let mut values: SmallVec<[(&str, Vec<u8>); 6]> = SmallVec::new();
        match extra {
            Extra::None => {}
            Extra::Allow { refers } => values.push(("Allow", allow(refers).into())),
            Extra::Unsupported => {
                let tags: Vec<&[u8]> = request.values(HeaderId::ProxyRequire).collect();
                values.push(("Unsupported", tags.join(&b", "[..])));
            }
            Extra::RetryAfter => {
                let base = u64::from(cx.plan.routing.retry_after.max(1));
                let jitter = cx.random() % (base / 2 + 1);
                values.push(("Retry-After", (base + jitter).to_string().into_bytes()));
            }
            Extra::Options { refers } => {
                let mut contact = Vec::new();
                self.itself.write_contact(flow.listener, &mut contact);
                values.push(("Allow", allow(refers).into()));
                values.push(("Accept", b"application/sdp, message/sipfrag".to_vec()));
                values.push(("Accept-Encoding", b"identity".to_vec()));
                values.push(("Accept-Language", b"en".to_vec()));
                if refers {
                    values.push(("Supported", b"replaces, norefersub".to_vec()));
                }
                values.push(("Contact", contact));
            }
        }
        let headers: SmallVec<[(&str, &[u8]); 6]> =
            values.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let tag = self.to_tag(request);
        self.scratch.clear();
        write::response(&mut self.scratch, request, Some(flow.remote), status, "", Some(&tag), &headers);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// The To tag of answers made here: the same for an INVITE and its CANCEL (C-083), for every
    /// retransmission of a request answered without state, and unpredictable to others.
    fn to_tag(&self, request: &Message) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.keys.local);
        hasher.write(request.header(HeaderId::CallId).unwrap_or(b""));
        hasher.write(request.header(HeaderId::From).unwrap_or(b""));
        let number = request.header(HeaderId::CSeq).unwrap_or(b"");
        hasher.write(number.split(|b| b.is_ascii_whitespace()).next().unwrap_or(b""));
        hex16(hasher.finish())
    }

    /// A CANCEL: answered at once, passed to every branch that has no final answer (C-110). One that
    /// matches nothing gets 481: our branches are random, so nobody downstream could match it either.
    pub(super) fn cancel(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
    ) {
        let found = cx.transactions.find_invite(ready);
        let status = if found.is_some() { 200 } else { 481 };
        self.answer(cx, server, message, flow, status, Extra::None);
        let Some(slot) = found.and_then(|invite| cx.transactions.server_owner(invite)) else { return };
        let Some(mut context) = self.take(slot) else { return self.returns_no_more(cx, slot, found) };
        // The slot may be another request's by now: the transaction outlives its context.
        if Some(context.server) != found {
            return self.put_back(slot, context);
        }
        context.closed = true;
        context.cancelled = true;
        self.cancel_branches(cx, &mut context, None);
        self.conclude(cx, slot, context);
    }

    /// Cancels what is still ringing; a branch that has sent nothing yet just ends.
    pub(super) fn cancel_branches(
        &mut self,
        cx: &mut Cx<'_>,
        context: &mut Context,
        reason: Option<&'static str>,
    ) {
        for branch in &mut context.branches {
            match branch.progress {
                Progress::Done => {}
                Progress::Resolving => branch.progress = Progress::Done,
                Progress::Sent | Progress::Trying | Progress::Ringing => {
                    if let Some(client) = branch.client {
                        cx.transactions.cancel_client(cx.now, client, reason, cx.fx);
                    }
                }
            }
        }
    }
}

fn send_back(out: &mut Outbox, request: &Message, flow: &Flow, bytes: Bytes) {
    let reply = request.via().map_or(*flow, |via| reply_flow(flow, &via));
    out.push(Output::Send { to: reply.into(), bytes, tag: SendTag::NONE });
}

/// 64 bits as lower-case hex.
pub(crate) fn hex16(bits: u64) -> [u8; 16] {
    let mut text = [0u8; 16];
    for (n, byte) in text.iter_mut().enumerate() {
        let nibble = (bits >> (60 - 4 * n)) & 0xf;
        *byte = b"0123456789abcdef"[nibble as usize];
    }
    text
}
