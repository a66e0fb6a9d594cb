//! One attempt: an address is found, the request is edited for it, a client transaction sends it
//! (RFC 3261 §16.6). Also the ACK to a 2xx, which is forwarded without state (§16.11).

use crate::shard::{AttemptResult, Dir, FailoverReason, Output, SendTag};
use crate::sip::flow::{Destination, Flow, ListenerId, Transport};
use crate::sip::message::uri::put_subscriber;
use crate::sip::message::{HeaderId, Message, Method, Param, Ready, Scheme, Uri, write};
use crate::sip::plan::{Target, TrunkIx};
use crate::sip::proxy::answer::hex16;
use crate::sip::proxy::context::{Branch, Context, Progress, Subject};
use crate::sip::proxy::itself::uri_transport;
use crate::sip::proxy::route::{Path, preprocess, write_record_route};
use crate::sip::proxy::token::{DialogToken, name_hash};
use crate::sip::proxy::{Cx, Proxy};
use crate::sip::resolve::{Hop, Located};
use crate::sip::time::Time;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// An ACK to a 2xx whose next hop is being resolved.
#[derive(Debug)]
pub(super) struct WaitingAck {
    message: Message,
    flow: Flow,
    since: Time,
}

/// ACKs that wait for a name; a repeated 2xx brings a lost one again.
const MAX_WAITING_ACKS: usize = 256;
/// Requests that wait for names; each answer looks at all of them.
const MAX_RESOLVING: usize = 4_096;
/// How long a request waits for DNS at most.
const DNS_PATIENCE: Duration = Duration::from_secs(10);

/// Why an attempt could not be made or came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No address, no listener, or the peer cannot be reached.
    Transport,
    /// Nothing heard in time.
    NoResponse,
    /// A final answer that routing may overcome.
    Code(u16),
}

impl Failure {
    /// What the failure counts as among the answers (C-109).
    pub(super) fn status(self) -> u16 {
        match self {
            Failure::Transport => 503,
            Failure::NoResponse => 408,
            Failure::Code(code) => code,
        }
    }

    fn label(self) -> FailoverReason {
        match self {
            Failure::Transport => FailoverReason::Transport,
            Failure::NoResponse => FailoverReason::NoResponse,
            Failure::Code(_) => FailoverReason::Code,
        }
    }
}

impl Proxy {
    /// Starts the first attempt of each group.
    pub(super) fn start(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        mut context: Box<Context>,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
    ) {
        for at in 0..context.branches.len() {
            self.next_attempt(cx, slot, &mut context, at, message, ready, path);
        }
        self.conclude(cx, slot, context);
    }

    /// Goes on with a branch whose attempt failed, or whose names are resolved, from the kept request.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>, slot: u32, context: &mut Context, at: usize) {
        // A cheap clone: the bytes are shared.
        let message = context.request.clone();
        let Ok(ready) = message.ready() else { return };
        let path = preprocess(&message, &self.itself, &self.keys.token, ready.call_id);
        self.next_attempt(cx, slot, context, at, &message, &ready, &path);
    }

    /// Tries addresses and targets until one attempt is under way or none is left.
    fn next_attempt(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        context: &mut Context,
        at: usize,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
    ) {
        loop {
            let spent = context.attempts >= cx.plan.routing.max_attempts
                || cx.now.since(context.at) > cx.plan.routing.max_setup;
            if context.closed || spent {
                return self.exhausted(cx, context, at);
            }
            let Some(branch) = context.branches.get_mut(at) else { return };
            if let Some((transport, remote)) = branch.addresses.first().copied() {
                branch.addresses.remove(0);
                if self.attempt(cx, slot, context, at, message, ready, path, transport, remote) {
                    return;
                }
                continue;
            }
            if branch.progress != Progress::Resolving || context.in_dialog && branch.remote.is_some() {
                return self.exhausted(cx, context, at);
            }
            match self.locate(cx, context, at, path, message.bytes().len()) {
                Location::Found => {}
                Location::Wait if self.resolving.len() < MAX_RESOLVING => {
                    return self.wait_for_dns(cx, slot, context, at);
                }
                Location::Wait => return self.exhausted(cx, context, at),
                Location::NoMore => return self.exhausted(cx, context, at),
                Location::Failed => {}
            }
        }
    }

    /// The branch goes on with the next answer, or is given up: nobody waits for DNS for ever.
    fn wait_for_dns(&mut self, cx: &mut Cx<'_>, slot: u32, context: &mut Context, at: usize) {
        if !self.resolving.contains(&slot) {
            self.resolving.push(slot);
        }
        let Some(branch) = context.branches.get_mut(at) else { return };
        if branch.timer.is_none() {
            branch.deadline = cx.now + DNS_PATIENCE;
            branch.timer = Some(cx.transactions.set_tu_timer(cx.now, branch.deadline, timer_key(slot, at)));
        }
    }

    /// A branch has nothing left to try.
    fn exhausted(&mut self, cx: &mut Cx<'_>, context: &mut Context, at: usize) {
        if let Some(branch) = context.branches.get_mut(at)
            && branch.progress != Progress::Done
        {
            branch.progress = Progress::Done;
            if let Some(timer) = branch.timer.take() {
                cx.transactions.cancel_timer(timer);
            }
            context.best.offer(cx.plan.routing.none_usable, None, Bytes::new);
        }
    }

    /// Finds the addresses of the branch's next target (C-120).
    fn locate(
        &mut self,
        cx: &mut Cx<'_>,
        context: &mut Context,
        at: usize,
        path: &Path<'_>,
        size: usize,
    ) -> Location {
        let Some(branch) = context.branches.get_mut(at) else { return Location::NoMore };
        if context.in_dialog
            && let Some(connected) = self.connected(path)
        {
            let Some(to) = connected else { return Location::NoMore };
            branch.addresses.push(to);
            branch.remote = Some(to.1);
            return Location::Found;
        }
        let (hop, udp_max) = if context.in_dialog {
            let Some(hop) = path.next_hop().and_then(|(uri, _)| Uri::parse(uri).ok()) else {
                return Location::NoMore;
            };
            (secured(hop_of(&hop), path), DEFAULT_UDP_MAX)
        } else {
            if branch.trunk.is_none() || branch.remote.is_some() {
                let group = branch.group;
                let Some(next) = context.candidates.iter().position(|c| c.group == group) else {
                    return Location::NoMore;
                };
                let candidate = context.candidates.remove(next);
                branch.trunk = Some(candidate.trunk);
                branch.target = candidate.target;
                branch.remote = None;
            }
            let Some((trunk, target)) = branch
                .trunk
                .and_then(|ix| cx.plan.trunk(ix))
                .and_then(|t| Some((t, t.targets.get(usize::from(branch.target))?)))
            else {
                return Location::NoMore;
            };
            (hop_to(target), trunk.udp_max)
        };
        let random = rand_core::Rng::next_u64(cx.rng);
        let mut queries = Vec::new();
        let located = cx.resolver.locate(cx.now, &hop, random, &mut queries);
        for query in queries {
            cx.out.push(Output::Resolve(query));
        }
        match located {
            Located::Wait => Location::Wait,
            Located::Failed => {
                branch.trunk = None;
                if context.in_dialog { Location::NoMore } else { Location::Failed }
            }
            Located::Ready(list) => {
                for (transport, remote) in list {
                    // C-048: a large request goes over a stream where it may; UDP if that is refused.
                    let large = transport == Transport::Udp
                        && hop.transport.is_none()
                        && size + OWN_HEADERS > udp_max
                        && self.itself.speaks(Transport::Tcp);
                    if large {
                        branch.addresses.push((Transport::Tcp, remote));
                    }
                    branch.addresses.push((transport, remote));
                }
                // Marks the target as used; overwritten by the attempt.
                branch.remote = branch.addresses.first().map(|a| a.1);
                if branch.addresses.is_empty() { Location::NoMore } else { Location::Found }
            }
        }
    }

    /// Sends the request to one address. False when no listener of ours can.
    fn attempt(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        context: &mut Context,
        at: usize,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        transport: Transport,
        remote: SocketAddr,
    ) -> bool {
        let preferred = path.listener.unwrap_or(context.flow.listener);
        let Some(listener) = self.itself.sender(preferred, transport, remote) else { return false };
        let suffix = self.loop_suffix(message, ready, path);
        let Some(client) = cx.transactions.reserve_client(rand_core::Rng::next_u64(cx.rng)) else {
            return false;
        };
        let Some((trunk, target)) = context.branches.get(at).map(|b| (b.trunk, b.target)) else {
            return false;
        };
        let target = trunk.and_then(|ix| cx.plan.trunk(ix)).and_then(|t| t.targets.get(usize::from(target)));

        self.edits.clear();
        self.credit_source(message, ready, &context.flow);
        path.apply(message, &mut self.edits);
        if let Some(target) = target {
            self.scratch.clear();
            retarget(path.request_uri, target, &mut self.scratch);
            self.edits.set_request_uri(message, &self.scratch);
        }
        // A NOTIFY may be what forms the dialog of its subscription, To tag or not.
        let record_route = match message.method() {
            Method::Notify => true,
            method => ready.to_tag.is_none() && forms_dialog(method),
        };
        if record_route {
            let token = path.token.unwrap_or_else(|| dialog_token(cx, context, at, ready));
            let secure = is_sips(path.request_uri) || target.is_some_and(|t| t.secure);
            self.record_route(message, &token, &context.flow, listener, ready, secure);
        }
        self.scratch.clear();
        self.itself.write_via(listener, &mut self.scratch);
        cx.transactions.write_branch(client, &suffix, &mut self.scratch);
        self.edits.push_via(message, &self.scratch);
        self.edits.set_max_forwards(message, ready.max_forwards.map_or(70, |n| n.saturating_sub(1)));
        self.measure(message, transport);
        if context.breadth > 0 {
            self.edits.remove(message, HeaderId::MaxBreadth);
            self.edits.insert(message, "Max-Breadth", context.breadth.to_string().as_bytes());
        }
        self.scratch.clear();
        self.edits.write(message, &mut self.scratch);
        let bytes = Bytes::copy_from_slice(&self.scratch);

        cx.counters.request(Dir::Out, message.method(), transport, trunk);
        context.attempts += 1;
        context.live += 1;
        let patience = self.patience(cx, trunk, message.method());
        let more = context.branches.get(at).is_some_and(|branch| {
            !branch.addresses.is_empty() || context.candidates.iter().any(|c| c.group == branch.group)
        });
        let Some(branch) = context.branches.get_mut(at) else { return false };
        branch.client = Some(client);
        branch.remote = Some(remote);
        branch.progress = Progress::Sent;
        branch.deadline = cx.now + patience;
        if let Some(timer) = branch.timer.take() {
            cx.transactions.cancel_timer(timer);
        }
        // Timer F alone bounds a non-INVITE that nobody else could take.
        if message.method() == Method::Invite || (trunk.is_some() && more) {
            let key = timer_key(slot, at);
            branch.timer = Some(cx.transactions.set_tu_timer(cx.now, branch.deadline, key));
        }
        let domain = transport.is_secure().then(|| domain(path, target)).flatten();
        let to = Destination { listener, transport, remote, connection: None, domain };
        cx.transactions.start_client(cx.now, client, message.method(), bytes, to, slot, cx.fx);
        true
    }

    /// Where a request goes whose party has come by a connection of its own (RFC 7118 §5.4); the inner
    /// `None`: nowhere, for a `sips:` URI and a connection without TLS (C-060).
    fn connected(&self, path: &Path<'_>) -> Option<Option<(Transport, SocketAddr)>> {
        let remote = path.remote.filter(|_| path.next.is_none())?;
        let transport = self.itself.transport(path.listener?)?;
        Some((transport.is_secure() || !is_sips(path.request_uri)).then_some((transport, remote)))
    }

    /// How long an attempt may stay without any response: T-061 for trunks, Timer B or F's business
    /// for the rest, where only Timer C is ours.
    fn patience(&self, cx: &Cx<'_>, trunk: Option<TrunkIx>, method: Method) -> Duration {
        match trunk.and_then(|ix| cx.plan.trunk(ix)) {
            // A correct peer may not even say 100 to a non-INVITE before Timer E reached T2 (RFC
            // 4320 §4.1): its silence counts from there.
            Some(trunk) if method != Method::Invite => trunk.no_response_timeout + cx.plan.timings.t2,
            Some(trunk) => trunk.no_response_timeout,
            None if method == Method::Invite => cx.plan.timings.c,
            None => cx.plan.timings.t1 * 64,
        }
    }

    /// A stream needs the Content-Length that datagrams and WebSocket messages may leave out (RFC 3261
    /// §20.14).
    fn measure(&mut self, message: &Message, transport: Transport) {
        if transport.is_reliable() && message.header(HeaderId::ContentLength).is_none() {
            self.edits.set_content_length(message, message.body().len());
        }
    }

    /// `received` and `rport` of the Via below ours (C-045, C-046).
    fn credit_source(&mut self, message: &Message, ready: &Ready<'_>, flow: &Flow) {
        let (received, rport) = write::noted_source(&ready.via, flow.remote);
        if received.is_some() || rport.is_some() {
            self.edits.set_via_received(message, received, rport);
        }
    }

    fn record_route(
        &mut self,
        message: &Message,
        token: &DialogToken,
        from: &Flow,
        leaves_by: ListenerId,
        ready: &Ready<'_>,
        secure: bool,
    ) {
        // C-095: both sides by name when they differ; the side it leaves by stands on top.
        let came_to = from.listener;
        let sides: &[ListenerId] = if came_to == leaves_by { &[leaves_by] } else { &[leaves_by, came_to] };
        self.scratch.clear();
        for (n, side) in sides.iter().enumerate() {
            if n > 0 {
                self.scratch.extend_from_slice(b", ");
            }
            let key = &self.keys.token;
            let party = (*side == came_to).then_some(from);
            write_record_route(
                &self.itself,
                *side,
                party,
                secure,
                token,
                key,
                ready.call_id,
                &mut self.scratch,
            );
        }
        self.edits.push_record_route(message, &self.scratch);
    }

    /// The part of our branch that tells a loop from a spiral: a hash over everything that routing
    /// depends on (RFC 5393 §4.2.1).
    pub(super) fn loop_suffix(&self, message: &Message, ready: &Ready<'_>, path: &Path<'_>) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.keys.local);
        for part in [
            path.request_uri,
            path.next.unwrap_or(b""),
            ready.from_tag.unwrap_or(b""),
            ready.to_tag.unwrap_or(b""),
            ready.call_id,
            message.header(HeaderId::ProxyRequire).unwrap_or(b""),
        ] {
            hasher.write(part);
            hasher.write_u8(0xff);
        }
        hasher.write_u32(ready.cseq.number);
        hex16(hasher.finish())
    }

    /// RFC 3261 §16.11, C-111: by Route, without state, never answered.
    pub(super) fn ack(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
        path: &Path<'_>,
    ) {
        if path.token.is_none() || ready.max_forwards == Some(0) {
            return;
        }
        let Some(hop) = path.next_hop().and_then(|(uri, _)| Uri::parse(uri).ok()) else { return };
        let mut queries = Vec::new();
        let random = rand_core::Rng::next_u64(cx.rng);
        let located = match self.connected(path) {
            Some(Some(to)) => Located::Ready(SmallVec::from_slice(&[to])),
            Some(None) => Located::Failed,
            None => cx.resolver.locate(cx.now, &secured(hop_of(&hop), path), random, &mut queries),
        };
        for query in queries {
            cx.out.push(Output::Resolve(query));
        }
        let list = match located {
            Located::Ready(list) => list,
            Located::Wait if self.waiting_acks.len() < MAX_WAITING_ACKS => {
                self.waiting_acks.push(WaitingAck {
                    message: message.detached(),
                    flow: *flow,
                    since: cx.now,
                });
                return;
            }
            Located::Wait | Located::Failed => return,
        };
        let Some((transport, remote)) = list.first().copied() else { return };
        let preferred = path.listener.unwrap_or(flow.listener);
        let Some(listener) = self.itself.sender(preferred, transport, remote) else { return };
        self.edits.clear();
        self.credit_source(message, ready, flow);
        path.apply(message, &mut self.edits);
        self.scratch.clear();
        self.itself.write_via(listener, &mut self.scratch);
        // The same for each retransmission, and never that of a transaction of ours.
        let mut hasher = SipHasher13::new_with_key(&self.keys.local);
        hasher.write(ready.via.branch.unwrap_or(ready.call_id));
        hasher.write(ready.via.host);
        hasher.write_u32(ready.cseq.number);
        self.scratch.extend_from_slice(b"z9hG4bK-a");
        self.scratch.extend_from_slice(&hex16(hasher.finish()));
        self.edits.push_via(message, &self.scratch);
        self.measure(message, transport);
        self.edits.set_max_forwards(message, ready.max_forwards.map_or(70, |n| n.saturating_sub(1)));
        self.scratch.clear();
        self.edits.write(message, &mut self.scratch);
        let domain = transport.is_secure().then(|| domain(path, None)).flatten();
        cx.counters.request(Dir::Out, Method::Ack, transport, None);
        cx.out.push(Output::Send {
            to: Destination { listener, transport, remote, connection: None, domain },
            bytes: Bytes::copy_from_slice(&self.scratch),
            tag: SendTag::NONE,
        });
    }

    /// DNS answered: whoever waited tries again.
    pub fn resolved(&mut self, cx: &mut Cx<'_>) {
        for slot in std::mem::take(&mut self.resolving) {
            let Some(mut context) = self.take(slot) else { continue };
            for at in 0..context.branches.len() {
                if context.branches.get(at).is_some_and(|b| b.progress == Progress::Resolving) {
                    self.resume(cx, slot, &mut context, at);
                }
            }
            self.conclude(cx, slot, context);
        }
        for waiting in std::mem::take(&mut self.waiting_acks) {
            if cx.now.since(waiting.since) > DNS_PATIENCE {
                continue;
            }
            let Ok(ready) = waiting.message.ready() else { continue };
            let path = preprocess(&waiting.message, &self.itself, &self.keys.token, ready.call_id);
            self.ack(cx, &waiting.message, &ready, &waiting.flow, &path);
        }
    }

    /// An attempt came to nothing: the next address, the next target, or the end of the branch.
    pub(super) fn failed_attempt(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        context: &mut Context,
        at: usize,
        failure: Failure,
    ) {
        let Some(branch) = context.branches.get_mut(at) else { return };
        let result = match failure {
            Failure::Transport => AttemptResult::Transport,
            Failure::NoResponse => AttemptResult::NoResponse,
            Failure::Code(_) => AttemptResult::Rejected,
        };
        if branch.trunk.is_some() {
            cx.counters.attempt(branch.trunk, result);
        }
        // The timer was this attempt's; the next one, or its name, gets its own.
        if let Some(timer) = branch.timer.take() {
            cx.transactions.cancel_timer(timer);
        }
        let group = branch.group;
        let more = !branch.addresses.is_empty() || context.candidates.iter().any(|c| c.group == group);
        // C-123: who rang keeps the call.
        if branch.progress == Progress::Ringing || context.closed || !more {
            branch.progress = Progress::Done;
            return;
        }
        if branch.trunk.is_some() {
            cx.counters.failover(branch.trunk, failure.label());
        }
        branch.client = None;
        branch.progress = Progress::Resolving;
        if branch.addresses.is_empty() {
            // Also when its name was waited for: DNS is not asked again.
            branch.trunk = None;
        }
        self.resume(cx, slot, context, at);
    }
}

enum Location {
    Found,
    Wait,
    Failed,
    NoMore,
}

/// Headers we add count towards the size that UDP may carry (C-048).
const OWN_HEADERS: usize = 300;
/// RFC 3261 §18.1.1, for hops that are no trunk's target.
const DEFAULT_UDP_MAX: usize = 1_300;

/// Methods after which we must stay on the path (C-094, R-018).
fn forms_dialog(method: Method) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer)
}

fn dialog_token(cx: &Cx<'_>, context: &Context, at: usize, ready: &Ready<'_>) -> DialogToken {
    let trunk_name =
        |ix: Option<TrunkIx>| ix.and_then(|ix| cx.plan.trunk(ix)).map_or(0, |t| name_hash(t.name.as_bytes()));
    let trunk_out = trunk_name(context.branches.get(at).and_then(|b| b.trunk));
    match &context.subject {
        Subject::Call(setup) => DialogToken { trunk_out, ..setup.token },
        _ => DialogToken {
            call: crate::sip::event::CallSid(0),
            started: context.at,
            trunk_in: trunk_name(context.trunk_in),
            trunk_out,
            caller_tag: name_hash(ready.from_tag.unwrap_or(b"")),
        },
    }
}

pub(crate) fn hop_of<'u>(uri: &Uri<'u>) -> Hop<'u> {
    Hop { host: uri.host, port: uri.port, transport: uri_transport(uri), secure: uri.scheme == Scheme::Sips }
}

/// A `sips:` request goes by TLS whatever its Route says (C-060).
fn secured<'u>(mut hop: Hop<'u>, path: &Path<'_>) -> Hop<'u> {
    if is_sips(path.request_uri) {
        hop.secure = true;
        if matches!(hop.transport, None | Some(Transport::Tcp)) {
            hop.transport = Some(Transport::Tls);
        }
    }
    hop
}

fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

pub(crate) fn hop_to(target: &Target) -> Hop<'_> {
    Hop {
        host: target.host.as_bytes(),
        port: target.port,
        transport: target.transport,
        secure: target.secure,
    }
}

fn domain(path: &Path<'_>, target: Option<&Target>) -> Option<Arc<str>> {
    if let Some(target) = target {
        return Some(Arc::from(&*target.host));
    }
    let (uri, _) = path.next_hop()?;
    let host = Uri::parse(uri).ok()?.host;
    std::str::from_utf8(host).ok().map(Arc::from)
}

/// The Request-URI for a trunk's target: the target's host, port and parameters, the caller's user
/// unless the target has one of its own; URI parameters that say where to send it are not kept.
pub(crate) fn retarget(request_uri: &[u8], target: &Target, out: &mut Vec<u8>) {
    let parsed = Uri::parse(request_uri).ok();
    out.extend_from_slice(if target.secure { b"sips:" } else { b"sip:" });
    let tel = parsed.as_ref().is_some_and(|uri| uri.scheme == Scheme::Tel);
    if let Some(user) = &target.user {
        out.extend_from_slice(user.as_bytes());
        out.push(b'@');
    } else if tel {
        // C-039: the whole telephone-subscriber becomes the user part.
        put_subscriber(out, request_uri.get(4..).unwrap_or(b""));
        out.push(b'@');
    } else if let Some(user) = parsed.as_ref().and_then(|uri| uri.user) {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    let v6 = target.host.contains(':');
    if v6 {
        out.push(b'[');
    }
    out.extend_from_slice(target.host.as_bytes());
    if v6 {
        out.push(b']');
    }
    if let Some(port) = target.port {
        out.push(b':');
        out.extend_from_slice(port.to_string().as_bytes());
    }
    if let Some(transport) = target.transport.filter(|t| *t != Transport::Udp && !target.secure) {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(transport.param().as_bytes());
    }
    if tel {
        out.extend_from_slice(b";user=phone");
    } else if let Some(uri) = parsed {
        for Param { name, value } in uri.params {
            let places = [&b"transport"[..], b"maddr", b"ttl", b"method", b"lr"];
            if places.iter().any(|place| name.eq_ignore_ascii_case(place)) {
                continue;
            }
            out.push(b';');
            out.extend_from_slice(name);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
}

/// The top bit tells the proxy's timers from the observer's in the shard's wheel.
pub const PROXY_TIMER: u64 = 1 << 63;

/// The proxy's own timers in the shard's wheel: which context, which branch.
pub(super) fn timer_key(slot: u32, branch: usize) -> u64 {
    PROXY_TIMER | (u64::from(slot) << 8) | (branch as u64 & 0xff)
}

/// When a branch that rings is given up: Timer C, or the trunk's ring time if that is sooner (C-107).
pub(super) fn ring_deadline(cx: &Cx<'_>, branch: &Branch) -> Time {
    let ring = branch.trunk.and_then(|ix| cx.plan.trunk(ix)).map(|t| t.ring_timeout);
    cx.now + ring.map_or(cx.plan.timings.c, |r| r.min(cx.plan.timings.c))
}
