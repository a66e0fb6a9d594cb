//! Where a leg's requests inside its dialog go: by the route set, else to the remote target (RFC 3261
//! §12.2.1.1, RFC 3263), except to a party that only its own connection reaches.

use super::leg::{Desk, Leg};
use super::route_set::Dialog;
use crate::shard::Output;
use crate::sip::flow::{Destination, Transport};
use crate::sip::message::Uri;
use crate::sip::proxy::{Cx, hop_of};
use crate::sip::resolve::{Hop, Located};
use smallvec::SmallVec;
use std::sync::Arc;

/// Places to try, in order.
pub(super) type Places = SmallVec<[Destination; 1]>;

/// What is known of the next hop.
pub(super) enum Next {
    /// Where it is.
    Found(Places),
    /// DNS is being asked.
    Wait,
    /// Nowhere.
    Nowhere,
}

/// Bytes beyond which a datagram is not tried first where a stream may serve (C-048).
pub(super) const UDP_MAX: usize = 1_300;

/// The next hop of a request of `size` bytes or so.
pub(super) fn next_hop(leg: &Leg, dialog: &Dialog, cx: &mut Cx<'_>, desk: &Desk, size: usize) -> Next {
    let known = || Next::Found(SmallVec::from_elem(leg.flow.clone(), 1));
    if leg.pinned && dialog.routes.is_empty() {
        return known();
    }
    let Ok(uri) = Uri::parse(dialog.next_hop()) else { return known() };
    // A browser's Contact names nothing (RFC 7118 §5.2): its connection is the only way.
    let named = uri.is_sip() && !uri.host.to_ascii_lowercase().ends_with(b".invalid");
    if !named {
        return known();
    }
    let mut hop = hop_of(&uri);
    if leg.secure {
        hop.secure = true;
    }
    match locate(cx, desk, &hop, size, UDP_MAX, leg) {
        // A Contact that leads nowhere: where it was heard is better than not at all.
        Next::Nowhere if dialog.routes.is_empty() => known(),
        next => next,
    }
}

/// The places of a hop, the transport and listener chosen for each (C-043, C-048).
pub(super) fn locate(
    cx: &mut Cx<'_>,
    desk: &Desk,
    hop: &Hop<'_>,
    size: usize,
    udp_max: usize,
    leg: &Leg,
) -> Next {
    let random = cx.random();
    let mut queries = Vec::new();
    let located = cx.resolver.locate(cx.now, hop, random, &mut queries);
    for query in queries {
        cx.out.push(Output::Resolve(query));
    }
    let list = match located {
        Located::Wait => return Next::Wait,
        Located::Failed => return Next::Nowhere,
        Located::Ready(list) => list,
    };
    let mut places = Places::new();
    for (transport, remote) in list {
        let large = transport == Transport::Udp
            && hop.transport.is_none()
            && size > udp_max
            && desk.itself.speaks(Transport::Tcp);
        let choices = [Some(Transport::Tcp).filter(|_| large), Some(transport)];
        for transport in choices.into_iter().flatten() {
            let Some(listener) = desk.itself.sender(leg.listener(), transport, remote) else { continue };
            let same = leg.flow.transport == transport && leg.flow.remote == remote;
            places.push(Destination {
                listener,
                transport,
                remote,
                connection: leg.flow.connection.filter(|_| same),
                domain: transport
                    .is_secure()
                    .then(|| std::str::from_utf8(hop.host).ok().map(Arc::from))
                    .flatten(),
            });
        }
    }
    if places.is_empty() { Next::Nowhere } else { Next::Found(places) }
}
