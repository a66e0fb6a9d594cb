//! A request arrives: whether it is admitted, whether it is sound, and what is to become of it
//! (RFC 3261 §16.3 to §16.5).

use crate::shard::{Output, Rejection};
use crate::sip::event::Cause;
use crate::sip::flow::{Flow, Transport};
use crate::sip::message::{HeaderId, Message, Method, Ready, Scheme, Uri, Via, uri};
use crate::sip::plan::{Action, Origin, Plan, ReferMode, TrunkIx, UnknownSource};
use crate::sip::proxy::answer::Extra;
use crate::sip::proxy::context::{Best, Branch, Context};
use crate::sip::proxy::handed::{Concern, Decided, Handed, Owned, owns, trunk_of_origin};
use crate::sip::proxy::observe::saw_refer_denied_outside;
use crate::sip::proxy::route::{Path, preprocess};
use crate::sip::proxy::target;
use crate::sip::proxy::token::DialogToken;
use crate::sip::proxy::{Cx, Entry, Proxy};
use crate::sip::refer::ReferRule;
use crate::sip::refer::policy::OutOfDialog;
use crate::sip::transaction::{Received, ServerId};
use smallvec::SmallVec;
use std::net::IpAddr;

impl Proxy {
    /// Handles one well-formed request; `client` is its sender, where that has proved to be one.
    /// Answers what of it concerns the calls of Baton's own.
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
        client: Option<&str>,
    ) -> Option<Concern> {
        let trunk_in = target::trunk_of(cx.plan, flow);
        let origin = match trunk_in {
            Some(trunk) => Some(Origin::Trunk(trunk)),
            None => client.map(|_| Origin::Clients),
        };
        let path = preprocess(message, &self.itself, &self.keys.token, ready.call_id);
        cx.counters.request(crate::shard::Dir::In, message.method(), flow.transport, trunk_in);
        // C-210, C-211: only a known source, or a party of a dialog we carry, gets any further.
        let party = path.token.is_some_and(|token| self.is_party(cx.plan, &token, flow));
        if origin.is_none() && !party {
            self.refuse_unknown(cx, message, ready, flow);
            return None;
        }
        match cx.transactions.receive_request(cx.now, message, ready, &reply_flow(flow, &ready.via), cx.fx) {
            Received::Absorbed => {}
            Received::Full => self.answer_stateless(cx, message, flow, 503, Extra::RetryAfter),
            Received::Ack2xx => self.ack(cx, message, ready, flow, &path),
            Received::New(server) if message.method() == Method::Cancel => {
                self.cancel(cx, server, message, ready, flow);
            }
            Received::New(server) => match self.validate(message, ready, &path) {
                Ok(()) if self.comes_back(message, ready, &path, origin) => {
                    return self.return_call(cx, server, message, ready, &path, flow, origin, client);
                }
                Ok(()) => return self.dispatch(cx, server, message, ready, flow, path, origin, None),
                Err(refusal) => self.refuse(cx, server, message, flow, trunk_in, refusal),
            },
        }
        None
    }

    /// Whether a flow may speak for a trunk of the dialog: a token alone is no pass, every hop has
    /// seen it. A trunk's targets count as its sources; a target known by name can be any address.
    fn is_party(&self, plan: &Plan, token: &DialogToken, flow: &Flow) -> bool {
        [token.trunk_in, token.trunk_out]
            .into_iter()
            .filter_map(|hash| plan.trunk(self.trunk_named(plan, hash)?))
            .flat_map(|trunk| &trunk.targets)
            .any(|target| target.host.parse::<IpAddr>().map_or(true, |ip| ip == flow.remote.ip()))
    }

    /// T-016. An ACK is never answered.
    fn refuse_unknown(&mut self, cx: &mut Cx<'_>, message: &Message, _: &Ready<'_>, flow: &Flow) {
        cx.counters.rejected(None, Rejection::Acl);
        cx.out.push(Output::Stranger(*flow));
        let answer = match cx.plan.unknown_source {
            UnknownSource::DropUdp => flow.transport != Transport::Udp,
            UnknownSource::Reject => true,
            UnknownSource::Drop => false,
        };
        if answer && message.method() != Method::Ack {
            self.answer_stateless(cx, message, flow, 403, Extra::None);
        }
    }

    /// RFC 3261 §16.3, in its order (C-089); syntax was checked before.
    fn validate(&self, message: &Message, ready: &Ready<'_>, path: &Path<'_>) -> Result<(), Refusal> {
        // Step 2: a scheme we cannot route by (C-040), unless a Route tells the way.
        let uri = match Uri::parse(path.request_uri) {
            Ok(uri) => uri,
            Err(_) if path.next.is_some() => return Ok(()),
            Err(_) => return Err(Refusal::Malformed),
        };
        if uri.scheme == Scheme::Other && path.next.is_none() {
            return Err(Refusal::Scheme);
        }
        // Step 3; an OPTIONS at zero may be answered as its final recipient (C-090).
        let for_us = message.method() == Method::Options
            && ready.to_tag.is_none()
            && uri.user.is_none()
            && path.next.is_none()
            && self.itself.is(&uri);
        if ready.max_forwards == Some(0) && !for_us {
            return Err(Refusal::MaxForwards);
        }
        // Step 4 (C-114): a Via of ours with the hash this request would get again.
        if self.loops(message, ready, path) {
            return Err(Refusal::Loop);
        }
        // Step 5 (C-091): no option needs a proxy's help here.
        if message.header(HeaderId::ProxyRequire).is_some() {
            return Err(Refusal::ProxyRequire);
        }
        Ok(())
    }

    fn loops(&self, message: &Message, ready: &Ready<'_>, path: &Path<'_>) -> bool {
        let ours = |via: &Via<'_>| self.itself.wrote_via(via.host, via.port);
        let single = message.count(HeaderId::Via) == 1 && !ours(&ready.via);
        if single || !message.vias().flatten().any(|via| ours(&via)) {
            return false;
        }
        let suffix = self.loop_suffix(message, ready, path);
        message.vias().flatten().filter(|via| ours(via)).any(|via| {
            via.branch
                .is_some_and(|branch| crate::sip::transaction::branch_suffix(branch) == Some(&suffix[..]))
        })
    }

    pub(super) fn dispatch(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
        path: Path<'_>,
        origin: Option<Origin>,
        cause: Option<Cause>,
    ) -> Option<Concern> {
        let trunk_in = trunk_of_origin(origin);
        let decided = if ready.to_tag.is_some() {
            self.in_dialog(cx, message, ready, &path).map(Decided::Forward)
        } else {
            self.initial(cx, message, &path, origin)
        };
        match decided {
            Ok(Decided::Forward(way)) => {
                self.begin(cx, server, message, ready, flow, path, trunk_in, Way { cause, ..way });
                return trunk_in.filter(|_| message.method() == Method::Refer).map(Concern::Referred);
            }
            Ok(Decided::Own { origin, to }) => {
                return Some(Concern::Begins(Handed { server, origin, to, restored: None }));
            }
            Err(refusal) => {
                if let Some(denied) = refusal.of_refer() {
                    match &path.token {
                        Some(token) => self.saw_refer_denied(cx, message, ready, token, denied),
                        None => saw_refer_denied_outside(cx, trunk_in),
                    }
                }
                self.refuse(cx, server, message, flow, trunk_in, refusal);
            }
        }
        None
    }

    /// T-037, C-097: a request within a dialog goes by its route set and by nothing else.
    fn in_dialog(
        &self,
        cx: &Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
    ) -> Result<Way, Refusal> {
        // C-137: without our token the dialog is none that we carry.
        let Some(token) = path.token else { return Err(Refusal::NoDialog) };
        let mut counted = None;
        if message.method() == Method::Refer {
            let sender = self.sender(cx.plan, &token, ready);
            if let Some(ReferMode::Reject(code)) = sender.and_then(|ix| cx.plan.trunk(ix)).map(|t| t.refer) {
                return Err(Refusal::Refer(code));
            }
            counted = rated(cx, sender, message)?;
        }
        let candidates = target::Candidates::new();
        Ok(Way { candidates, groups: 1, in_dialog: true, cause: None, counted })
    }

    /// A request that begins something new goes by the rules.
    fn initial(
        &self,
        cx: &mut Cx<'_>,
        message: &Message,
        path: &Path<'_>,
        origin: Option<Origin>,
    ) -> Result<Decided, Refusal> {
        let uri = Uri::parse(path.request_uri).map_err(|_| Refusal::Malformed)?;
        let user = uri.user;
        let invite = message.method() == Method::Invite;
        if let Some(origin) = origin.filter(|_| invite && message.has(HeaderId::Replaces))
            && self.itself.is(&uri)
        {
            // Sent to a Contact of ours: who is to be replaced is a leg of ours.
            return Ok(Decided::Own { origin, to: Owned::Replaces });
        }
        let mut counted = None;
        if message.method() == Method::Refer
            && let Some(origin) = origin
        {
            let trunk = trunk_of_origin(Some(origin)).and_then(|ix| cx.plan.trunk(ix));
            let (mode, outside) =
                trunk.map_or_else(Default::default, |trunk| (trunk.refer, trunk.owned.policy.out_of_dialog));
            let named = outside == OutOfDialog::TargetDialog
                && message.has(HeaderId::TargetDialog)
                && self.itself.is(&uri);
            match (mode, outside) {
                (ReferMode::Reject(code), _) => return Err(Refusal::Refer(code)),
                //
                (ReferMode::Terminate, _) if named => {
                    return Ok(Decided::Own { origin, to: Owned::TargetDialog });
                }
                (ReferMode::Relay, OutOfDialog::Relay) => {
                    counted = rated(cx, trunk_of_origin(Some(origin)), message)?;
                }
                // who is in no call has nobody to move, and what Baton performs itself belongs to a
                // dialog of its own.
                (ReferMode::Relay | ReferMode::Terminate, _) => return Err(Refusal::Refer(403)),
            }
        }
        if user.is_none() && self.itself.is(&uri) {
            let refers = takes_refers(cx.plan, origin);
            return Err(match message.method() {
                Method::Options => Refusal::Options { refers },
                _ => Refusal::Method { refers },
            });
        }
        match message.method() {
            // Only within a dialog (RFC 3261 §12.2.2, RFC 3262 §3, RFC 3311 §5.2).
            Method::Bye | Method::Prack | Method::Update => return Err(Refusal::NoDialog),
            Method::Register => return Err(Refusal::Method { refers: takes_refers(cx.plan, origin) }),
            _ => {}
        }
        // Toll control: a preloaded route to elsewhere would let a trunk reach what the rules deny it.
        if path.next.is_some() {
            return Err(Refusal::Preloaded);
        }
        let Some(origin) = origin else { return Err(Refusal::Unknown) };
        let user = uri::decode(user.unwrap_or(b""));
        let route = target::route(cx.plan, origin, &user).ok_or(Refusal::NoRoute)?;
        match route.action {
            Action::Reject { code, .. } => return Err(Refusal::Rule(code)),
            // There is a program, or a phone behind its own connection: both need an owned call.
            Action::Application(_) | Action::Clients if !invite => {
                return Err(Refusal::Method { refers: takes_refers(cx.plan, Some(origin)) });
            }
            Action::Application(ix) => return Ok(Decided::Own { origin, to: Owned::Application(ix) }),
            Action::Clients => {
                let user = String::from_utf8_lossy(&user).into_owned();
                return Ok(Decided::Own { origin, to: Owned::Client(user.into()) });
            }
            Action::Trunks { .. } => {}
        }
        let rng = &mut *cx.rng;
        let mut candidates = target::candidates(cx.plan, &route.action, || rand_core::Rng::next_u64(rng));
        if uri.scheme == Scheme::Sips {
            target::keep_secure(cx.plan, &mut candidates);
        }
        let groups = candidates.iter().map(|c| c.group).max().map_or(0, |g| usize::from(g) + 1);
        if groups == 0 {
            return Err(Refusal::NoneUsable);
        }
        if invite && owns(cx.plan, &route.action, origin, &candidates) {
            return Ok(Decided::Own { origin, to: Owned::Trunks(candidates) });
        }
        Ok(Decided::Forward(Way { candidates, groups, in_dialog: false, cause: None, counted }))
    }

    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
        path: Path<'_>,
        trunk_in: Option<TrunkIx>,
        way: Way,
    ) {
        let breadth = if way.groups > 1 {
            // C-116: 60 unless it says; shared among the branches.
            let total = message.max_breadth().ok().flatten().unwrap_or(60);
            let share = total / u32::try_from(way.groups).unwrap_or(u32::MAX).max(1);
            if share == 0 {
                return self.refuse(cx, server, message, flow, trunk_in, Refusal::Breadth);
            }
            share
        } else {
            0
        };
        let subject = self.subject(cx, message, ready, &path, trunk_in, &way);
        let turned = match message.method() {
            Method::Refer if way.in_dialog => self.turned(cx, message, ready, &path, flow, &subject),
            _ => None,
        };
        let again = turned.as_ref().and_then(|message| Some((message, message.ready().ok()?)));
        let (message, ready, path) = match &again {
            Some((message, ready)) => {
                (*message, ready, preprocess(message, &self.itself, &self.keys.token, ready.call_id))
            }
            None => (message, ready, path),
        };
        let context = Box::new(Context {
            server,
            request: message.detached(),
            flow: *flow,
            at: cx.now,
            in_dialog: way.in_dialog,
            closed: false,
            cancelled: false,
            attempts: 0,
            live: 0,
            candidates: way.candidates,
            branches: (0..way.groups)
                .map(|g| Branch::new(u8::try_from(g).unwrap_or(u8::MAX)))
                .collect::<SmallVec<_>>(),
            best: Best::default(),
            breadth,
            trunk_in,
            counted: way.counted,
            subject,
        });
        let slot = self.entries.insert(Entry::Busy) as u32;
        cx.transactions.set_server_owner(server, slot);
        self.start(cx, slot, context, message, ready, &path);
    }

    pub(super) fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        flow: &Flow,
        trunk_in: Option<TrunkIx>,
        refusal: Refusal,
    ) {
        if let Some(reason) = refusal.counted() {
            cx.counters.rejected(trunk_in, reason);
        }
        let (status, extra) = refusal.answer(cx.plan);
        self.answer(cx, server, message, flow, status, extra);
    }

    /// The trunk with this name hash, if the configuration still has it.
    pub(super) fn trunk_named(&self, plan: &Plan, hash: u32) -> Option<TrunkIx> {
        let at = plan.trunks.iter().position(|t| super::token::name_hash(t.name.as_bytes()) == hash)?;
        u16::try_from(at).ok().map(TrunkIx)
    }
}

/// Where answers to a request go: without `rport`, to the port its Via names (RFC 3261 §18.2.2,
/// RFC 3581 §4). On streams that port counts only once the connection is lost.
pub(crate) fn reply_flow(flow: &Flow, via: &Via<'_>) -> Flow {
    let mut reply = *flow;
    if flow.transport.is_reliable() || via.rport.is_none() {
        reply.remote.set_port(via.port.unwrap_or(flow.transport.default_port()));
    }
    reply
}

/// What the rules or the route set decided.
pub(super) struct Way {
    pub(super) candidates: target::Candidates,
    pub(super) groups: usize,
    pub(super) in_dialog: bool,
    /// The transfer by whose Refer-To it has come back.
    pub(super) cause: Option<Cause>,
    /// The trunk in whose rate of REFERs it is counted.
    pub(super) counted: Option<TrunkIx>,
}

/// Why a request is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    Scheme,
    MaxForwards,
    Loop,
    ProxyRequire,
    NoDialog,
    Refer(u16),
    /// A REFER more than `max_rate` allows.
    ReferRate,
    /// An OPTIONS for Baton itself; with whether it takes REFERs of the sender's.
    Options {
        refers: bool,
    },
    /// Nothing that Baton itself does; likewise.
    Method {
        refers: bool,
    },
    Return,
    Preloaded,
    Unknown,
    NoRoute,
    Rule(u16),
    NoneUsable,
    Breadth,
}

impl Refusal {
    /// The one table of local answers.
    fn answer(self, plan: &Plan) -> (u16, Extra) {
        match self {
            Refusal::Malformed => (400, Extra::None),
            Refusal::Scheme => (416, Extra::None),
            Refusal::MaxForwards => (483, Extra::None),
            Refusal::Loop => (482, Extra::None),
            Refusal::ProxyRequire => (420, Extra::Unsupported),
            Refusal::NoDialog => (481, Extra::None),
            Refusal::Refer(405) => (405, Extra::Allow { refers: false }),
            Refusal::Refer(503) | Refusal::ReferRate => (503, Extra::RetryAfter),
            Refusal::Refer(code) => (code, Extra::None),
            Refusal::Options { refers } => (200, Extra::Options { refers }),
            Refusal::Method { refers } => (405, Extra::Allow { refers }),
            Refusal::Preloaded | Refusal::Unknown | Refusal::Return => (403, Extra::None),
            Refusal::NoRoute => (plan.routing.no_match, Extra::None),
            Refusal::Rule(code) => (code, Extra::None),
            Refusal::NoneUsable => (plan.routing.none_usable, Extra::RetryAfter),
            Refusal::Breadth => (440, Extra::None),
        }
    }

    /// What a REFER was refused with, and by which rule.
    fn of_refer(self) -> Option<(u16, ReferRule)> {
        match self {
            Refusal::Refer(code) => Some((code, ReferRule::Mode)),
            Refusal::ReferRate => Some((503, ReferRule::MaxRate)),
            _ => None,
        }
    }

    fn counted(self) -> Option<Rejection> {
        match self {
            Refusal::Options { .. } => None,
            Refusal::Malformed | Refusal::Method { .. } => Some(Rejection::Policy),
            Refusal::Scheme => Some(Rejection::Scheme),
            Refusal::MaxForwards => Some(Rejection::MaxForwards),
            Refusal::Loop => Some(Rejection::Loop),
            Refusal::ProxyRequire => Some(Rejection::Extension),
            Refusal::NoDialog
            | Refusal::Refer(_)
            | Refusal::ReferRate
            | Refusal::Preloaded
            | Refusal::Return
            | Refusal::Rule(_) => Some(Rejection::Policy),
            Refusal::Unknown => Some(Rejection::Acl),
            Refusal::NoRoute => Some(Rejection::NoRoute),
            Refusal::NoneUsable => Some(Rejection::NoneUsable),
            Refusal::Breadth => Some(Rejection::Breadth),
        }
    }
}

/// what a trunk or a client is refused is not what it is told to be possible.
fn takes_refers(plan: &Plan, origin: Option<Origin>) -> bool {
    let mode = match origin {
        Some(Origin::Clients) => Some(plan.calls.registrar.refer),
        _ => trunk_of_origin(origin).and_then(|ix| plan.trunk(ix)).map(|trunk| trunk.refer),
    };
    !matches!(mode, Some(ReferMode::Reject(_)))
}

/// whether a trunk sends more REFERs than it may; in whose rate this one is counted if not.
fn rated(cx: &Cx<'_>, trunk: Option<TrunkIx>, message: &Message) -> Result<Option<TrunkIx>, Refusal> {
    let Some(sender) = trunk.and_then(|ix| cx.plan.trunk(ix)) else { return Ok(None) };
    match sender.refer_comes(cx.now, message) {
        Ok(counted) => Ok(trunk.filter(|_| counted)),
        Err(_) => Err(Refusal::ReferRate),
    }
}
