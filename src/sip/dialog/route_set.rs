//! A dialog's identifiers, sequence numbers, route set and remote target (RFC 3261 §12).

use super::event::Fork;
use super::offer::{Carrier, Exchange, Side, Step};
use super::outgoing::Body;
use super::sdp;
use crate::sip::message::{HeaderId, Message, NameAddr, Uri};
use bytes::Bytes;

/// Route values that are kept; the parser bounds them, too.
const MOST_ROUTES: usize = 32;

/// One dialog, early or confirmed. A leg has one for each fork while it rings, then one.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// Which fork it is.
    pub(super) fork: Fork,
    /// Baton's tag.
    pub(super) local_tag: u64,
    /// The party's tag; empty with peers of RFC 2543.
    pub(super) remote_tag: Box<[u8]>,
    /// The remote target: where requests go at last.
    pub(super) target: Box<[u8]>,
    /// The route set, next hop first, as values of Route.
    pub(super) routes: Box<[Box<[u8]>]>,
    /// The number of Baton's last request.
    pub(super) local_cseq: u32,
    /// The number of the party's last request.
    pub(super) remote_cseq: Option<u32>,
    /// Offer and answer.
    pub(super) exchange: Exchange,
    /// RSeq of the last reliable provisional response, sent or received; 0: none (RFC 3262).
    pub(super) rseq: u32,
    /// The INVITE's number, while a reliable provisional of the party's waits for the call to answer its
    /// offer.
    pub(super) prack_due: Option<u32>,
    /// The caller has ended it by BYE while it was early.
    pub(super) left: bool,
    /// Nobody rings in it any more.
    pub(super) silent: bool,
    /// The last session description of ours in it, whether it was accepted or not.
    pub(super) said: Option<Bytes>,
}

impl Dialog {
    /// The dialog of a response to our INVITE (RFC 3261 §12.1.2): its Record-Route reversed.
    pub(super) fn of_response(
        message: &Message,
        fork: Fork,
        local_tag: u64,
        cseq: u32,
        uri: &[u8],
    ) -> Dialog {
        let mut routes = routes(message);
        routes.reverse();
        Dialog {
            fork,
            local_tag,
            remote_tag: message.to().ok().and_then(|to| to.tag()).unwrap_or_default().into(),
            target: contact(message).unwrap_or(uri).into(),
            routes: routes.into(),
            local_cseq: cseq,
            remote_cseq: None,
            exchange: Exchange::default(),
            rseq: 0,
            prack_due: None,
            left: false,
            silent: false,
            said: None,
        }
    }

    /// The dialog of an INVITE that came (RFC 3261 §12.1.1): its Record-Route in order.
    pub(super) fn of_request(message: &Message, fork: Fork, local_tag: u64) -> Dialog {
        let from = message.from().ok();
        Dialog {
            fork,
            local_tag,
            remote_tag: from.and_then(|from| from.tag()).unwrap_or_default().into(),
            target: contact(message).or(from.map(|from| from.uri)).unwrap_or_default().into(),
            routes: routes(message).into(),
            local_cseq: 0,
            remote_cseq: message.cseq().ok().map(|cseq| cseq.number),
            exchange: Exchange::default(),
            rseq: 0,
            prack_due: None,
            left: false,
            silent: false,
            said: None,
        }
    }

    /// A 2xx settles what a provisional said before (RFC 3261 §13.2.2.4).
    pub(super) fn confirm(&mut self, message: &Message) {
        let mut routes = routes(message);
        routes.reverse();
        self.routes = routes.into();
        self.refresh(message);
    }

    /// A target refresh or its 2xx (C-133); the route set stays (C-134).
    pub(super) fn refresh(&mut self, message: &Message) {
        if let Some(contact) = contact(message) {
            self.target = contact.into();
        }
    }

    /// Takes a number for a request of ours (C-135).
    pub(super) fn next_cseq(&mut self) -> u32 {
        self.local_cseq = (self.local_cseq + 1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// A body as it goes out in this dialog: to the party it is one session, whoever speaks (C-172).
    pub(super) fn describe(&mut self, mut body: Body) -> Body {
        if !body.is_session() {
            return body;
        }
        let previous = self.said.as_deref();
        if let Some(continued) = previous.and_then(|previous| sdp::continued(&body.bytes, previous)) {
            body.bytes = continued.into();
        }
        self.said = Some(body.bytes.clone());
        body
    }

    /// A description travelled.
    pub(super) fn carried(&mut self, side: Side, carrier: Carrier) {
        self.exchange = self.exchange.step(Step::Carried(side, carrier));
    }

    /// A transaction is over that may have carried an offer.
    pub(super) fn refused(&mut self, carrier: Carrier) {
        self.exchange = self.exchange.step(Step::Refused(carrier));
    }

    /// The URI whose host is the next hop (RFC 3261 §12.2.1.1, §8.1.2).
    pub(super) fn next_hop(&self) -> &[u8] {
        match self.routes.first().and_then(|route| NameAddr::parse(route).ok()) {
            Some(route) => route.uri,
            None => &self.target,
        }
    }

    /// The Request-URI, and how many routes are left out in front: a strict router is addressed
    /// itself, and the target comes last (RFC 3261 §12.2.1.1).
    pub(super) fn strict(&self) -> Option<&[u8]> {
        let first = self.routes.first()?;
        let uri = NameAddr::parse(first).ok()?.uri;
        (!Uri::parse(uri).ok()?.is_loose()).then_some(uri)
    }
}

fn routes(message: &Message) -> Vec<Box<[u8]>> {
    message.values(HeaderId::RecordRoute).take(MOST_ROUTES).map(Box::from).collect()
}

/// The party's Contact. What follows `?` has no place in a Request-URI (C-035).
fn contact(message: &Message) -> Option<&[u8]> {
    let written = message.contacts().next()?.ok()?.uri;
    if memchr::memchr(b'?', written).is_none() {
        return Some(written);
    }
    let headers = Uri::parse(written).ok()?.headers.len();
    written.get(..written.len() - if headers == 0 { 0 } else { headers + 1 })
}
