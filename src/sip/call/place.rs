//! Where an outgoing call goes: by the rules, to its own host, or to where a client has registered.

use super::Calls;
use super::arrival::{MAX_FORWARDS, mode_of, session_of};
use super::dial::{Offer, Template, Wanted};
use super::headers::given;
use super::media;
use super::news::Shown;
use super::party::{Party, Phase, Turn};
use super::timers::{Timer, TimerKey};
use crate::shard::{Output, PeerMessage};
use crate::sip::command::{Party as Called, Place, Refused};
use crate::sip::dialog::{Body, Headers, Outgoing, Way};
use crate::sip::event::{CallSid, Direction};
use crate::sip::message::{NameAddr, Scheme, Uri, uri, write};
use crate::sip::plan::{Action, Credentials, Origin, Plan, ReferMode, TrunkIx};
use crate::sip::proxy::Cx;
use crate::sip::proxy::target::{self, Candidates};
use crate::sip::registrar::Contact;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long another shard may take to say where a client is.
const LOOKUP: Duration = Duration::from_secs(4);

/// Where a call goes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To a trunk's targets, one after another.
    Trunks { candidates: Candidates, uri: Box<[u8]> },
    /// To the URI's own host.
    Uri(Box<[u8]>),
    /// To a client's contacts; by `sips:`, to those behind a secured connection.
    Client { user: Box<str>, secure: bool },
    /// Nowhere: a call of this URI fails with this code.
    Refused { code: u16, uri: Box<[u8]> },
}

/// A client that is looked for, on whose behalf, and how it will be called.
#[derive(Debug)]
pub(super) struct Locating {
    sid: CallSid,
    parent: Option<CallSid>,
    secure: bool,
    headers: Headers,
    credentials: Option<Arc<Credentials>>,
    template: Template,
    timer: TimerKey,
}

/// Contacts of a client that a call without a parent may still try.
#[derive(Debug)]
pub(super) struct Elsewhere {
    contacts: VecDeque<Contact>,
    headers: Headers,
    credentials: Option<Arc<Credentials>>,
    template: Template,
}

impl Target {
    /// Candidates by groups: those of one group are tried one after another, groups at once.
    pub(super) fn groups(candidates: &Candidates, uri: &[u8]) -> Vec<Target> {
        let count = candidates.iter().map(|c| c.group).max().map_or(0, |group| u16::from(group) + 1);
        (0..count)
            .map(|group| Target::Trunks {
                candidates: candidates.iter().filter(|c| u16::from(c.group) == group).copied().collect(),
                uri: uri.into(),
            })
            .collect()
    }

    /// The trunk it goes to, the first one of several.
    pub(super) fn trunk(&self) -> Option<TrunkIx> {
        match self {
            Target::Trunks { candidates, .. } => candidates.first().map(|c| c.trunk),
            Target::Uri(_) | Target::Client { .. } | Target::Refused { .. } => None,
        }
    }

    /// Whom it calls: a URI, or a client's name.
    fn callee(&self) -> &[u8] {
        match self {
            Target::Trunks { uri, .. } | Target::Uri(uri) | Target::Refused { uri, .. } => uri,
            Target::Client { user, .. } => user.as_bytes(),
        }
    }
}

impl Calls {
    /// Where a URI leads by the rules for this origin: the first route that takes its user (T-030), else,
    /// for orders of the control plane alone, its own host where the configuration lets it.
    pub(super) fn resolve(&self, cx: &mut Cx<'_>, origin: Origin, raw: &[u8], direct: bool) -> Vec<Target> {
        let refused = |code| vec![Target::Refused { code, uri: raw.into() }];
        let Ok(parsed) = Uri::parse(raw) else { return refused(400) };
        if parsed.scheme == Scheme::Other {
            return refused(416);
        }
        let user = uri::decode(parsed.user.unwrap_or(b""));
        let Some(route) = target::route(cx.plan, origin, &user) else {
            let own_host = direct && parsed.is_sip() && cx.plan.calls.direct_calls;
            return match own_host {
                true => vec![Target::Uri(raw.into())],
                false => refused(cx.plan.routing.no_match),
            };
        };
        match &route.action {
            Action::Trunks { .. } => {
                let rng = &mut *cx.rng;
                let mut found = target::candidates(cx.plan, &route.action, || rand_core::Rng::next_u64(rng));
                if parsed.scheme == Scheme::Sips {
                    target::keep_secure(cx.plan, &mut found);
                }
                let groups = Target::groups(&found, raw);
                if groups.is_empty() { refused(cx.plan.routing.none_usable) } else { groups }
            }
            Action::Clients => {
                let user = String::from_utf8_lossy(&user).into();
                vec![Target::Client { user, secure: parsed.scheme == Scheme::Sips }]
            }
            Action::Reject { code, .. } => refused(*code),
            // A program cannot be called from here.
            Action::Application(_) => refused(cx.plan.routing.no_match),
        }
    }

    /// Where a party of an order is; `Err` when it cannot be put into a message.
    pub(super) fn locate(&self, cx: &mut Cx<'_>, party: &Called) -> Result<Vec<Target>, Refused> {
        match party {
            Called::Number(number) => {
                let raw = self.own_uri(number).ok_or(Refused::Malformed)?;
                Ok(self.resolve(cx, Origin::Api, &raw, false))
            }
            Called::Uri(raw) => {
                let parsed = Uri::parse(raw.as_bytes()).map_err(|_| Refused::Malformed)?;
                if !parsed.headers.is_empty() || parsed.scheme == Scheme::Other {
                    return Err(Refused::Malformed);
                }
                Ok(self.resolve(cx, Origin::Api, raw.as_bytes(), true))
            }
            Called::Client(user) => Ok(vec![Target::Client { user: user.as_str().into(), secure: false }]),
        }
    }

    /// A user at Baton's own host.
    pub(super) fn own_uri(&self, user: &str) -> Option<Box<[u8]>> {
        uri_at(user, self.own_host())
    }

    /// From's value for a caller who is a number, a user or a whole URI.
    pub(super) fn caller_value(&self, from: &str, name: Option<&str>) -> Result<Box<[u8]>, Refused> {
        let whole = Uri::parse(from.as_bytes()).ok().filter(|uri| uri.scheme != Scheme::Other);
        let uri = match whole {
            Some(uri) => uri.raw.into(),
            None => self.own_uri(from).ok_or(Refused::Malformed)?,
        };
        let name = name.unwrap_or("");
        if name.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(Refused::Malformed);
        }
        let mut out = Vec::new();
        write::put_name_addr(&mut out, name.as_bytes(), &uri);
        NameAddr::parse(&out).map_err(|_| Refused::Malformed)?;
        Ok(out.into())
    }

    /// What the control plane wants placed, ready to go.
    pub(super) fn prepare(&self, cx: &mut Cx<'_>, order: Place) -> Result<(Wanted, Template), Refused> {
        if order.by.is_some_and(|by| by < cx.now) {
            return Err(Refused::Late);
        }
        if self.is_full(cx.plan) {
            return Err(Refused::Full);
        }
        if self.parties.contains_key(&order.sid) {
            return Err(Refused::Busy);
        }
        let targets = self.locate(cx, &order.to)?;
        let body = order.sdp.map_or_else(|| media::nothing(cx.random()), Body::sdp);
        let template = Template {
            from: self.caller_value(&order.from, order.caller_name.as_deref())?,
            to: None,
            offer: Offer::Given(body),
            ring: order.timeout,
            max_forwards: MAX_FORWARDS,
            max_breadth: None,
            preferred: None,
            account: Some(order.account),
        };
        // One leg is one call to the control plane: of trunks called at once it gets the first.
        let target = targets.into_iter().next().unwrap_or(Target::Refused { code: 404, uri: Box::default() });
        let headers = given(&order.headers)?;
        Ok((Wanted { sid: order.sid, target, headers, credentials: order.credentials }, template))
    }

    /// Calls one party, or asks where it is first.
    pub(super) fn place(
        &mut self,
        cx: &mut Cx<'_>,
        parent: Option<CallSid>,
        wanted: Wanted,
        template: Template,
    ) {
        let sid = wanted.sid;
        let mut party = match parent {
            Some(parent) => self.child(sid, parent, cx),
            None => Party::new(sid, Direction::OutboundApi, Phase::Locating, cx.now),
        };
        party.steered = parent.is_none();
        party.trunk = wanted.target.trunk();
        party.client = match &wanted.target {
            Target::Client { user, .. } => Some(Arc::from(&**user)),
            Target::Trunks { .. } | Target::Uri(_) | Target::Refused { .. } => None,
        };
        party.account = template.account.clone();
        let full = self.is_full(cx.plan);
        self.enter(party);
        match wanted.target {
            _ if full => self.unplaced(cx, sid, wanted.target.callee(), &template, 503),
            Target::Trunks { candidates, uri } => {
                self.invite(
                    cx,
                    sid,
                    Way::Trunks(candidates),
                    &uri,
                    wanted.headers,
                    wanted.credentials,
                    template,
                );
            }
            Target::Uri(uri) => {
                self.invite(cx, sid, Way::Uri, &uri, wanted.headers, wanted.credentials, template);
            }
            Target::Refused { code, uri } => self.unplaced(cx, sid, &uri, &template, code),
            Target::Client { user, secure } => {
                let (headers, credentials) = (wanted.headers, wanted.credentials);
                self.look_up(cx, sid, parent, user, secure, headers, credentials, template);
            }
        }
    }

    fn invite(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        way: Way,
        uri: &[u8],
        headers: Headers,
        credentials: Option<Arc<Credentials>>,
        template: Template,
    ) {
        let trunk = self.party(sid).and_then(|party| party.trunk);
        let shown = Shown::calling(&template.from, uri);
        let mut to = Vec::new();
        write::put_name_addr(&mut to, b"", uri);
        let called: Box<[u8]> = to.into();
        let outgoing = Outgoing {
            way,
            uri: uri.into(),
            from: template.from.clone(),
            to: template.to.clone().unwrap_or_else(|| called.clone()),
            headers,
            body: match &template.offer {
                Offer::Given(body) => Some(body.clone()),
                Offer::TheirsToMake => None,
            },
            credentials,
            max_forwards: template.max_forwards,
            max_breadth: template.max_breadth,
            ring: template.ring,
            allow_refer: !matches!(mode_of(cx.plan, trunk), ReferMode::Reject(_)),
            session: session_of(cx.plan, trunk),
            preferred: template.preferred,
        };
        match self.legs.invite(cx, outgoing) {
            Ok(leg) => {
                self.attach(sid, leg);
                if let Some(party) = self.party_mut(sid) {
                    party.asserted = Some(called);
                }
                let first = self.phase(sid) == Phase::Locating;
                if let Some(party) = self.party_mut(sid) {
                    party.turn(Turn::Found);
                }
                if first {
                    self.announce(cx, sid, shown);
                }
            }
            Err(_) => self.unplaced(cx, sid, uri, &template, 503),
        }
    }

    /// A call that no INVITE was sent for: it is told all the same, as it was asked for.
    fn unplaced(&mut self, cx: &mut Cx<'_>, sid: CallSid, uri: &[u8], template: &Template, code: u16) {
        self.announce(cx, sid, Shown::calling(&template.from, uri));
        self.unreached(cx, sid, code, None);
    }
}

/// Clients.
impl Calls {
    /// A client as the value of To: at the domain it registers for.
    pub(super) fn address_of_record(&self, plan: &Plan, user: &str) -> Option<Box<[u8]>> {
        let domain = plan.calls.registrar.domains.first().map_or(self.own_host(), |domain| domain);
        let mut to = Vec::new();
        write::put_name_addr(&mut to, b"", &uri_at(user, domain)?);
        Some(to.into())
    }

    fn look_up(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        parent: Option<CallSid>,
        user: Box<str>,
        secure: bool,
        headers: Headers,
        credentials: Option<Arc<Credentials>>,
        mut template: Template,
    ) {
        if template.to.is_none() {
            // RFC 3261 §8.1.1.2: To names the client; where it is now is the Request-URI's business.
            template.to = self.address_of_record(cx.plan, &user);
        }
        let ticket = self.fresh();
        let timer = self.wait(cx, LOOKUP, Timer::Asked(ticket));
        self.locating.insert(ticket, Locating { sid, parent, secure, headers, credentials, template, timer });
        // Registrations belong to the shard of their address of record (law 2).
        let home = cx.place.owner_of(user.as_bytes());
        if home == cx.place.index {
            self.lookups.push_back((ticket, user));
        } else {
            let question = PeerMessage::Locate { from: cx.place.index, ticket, user };
            cx.out.push(Output::Peer(home, Box::new(question)));
        }
    }

    /// Where a client is, best first; nowhere when empty.
    pub fn bindings(&mut self, cx: &mut Cx<'_>, ticket: u64, contacts: Vec<Contact>) {
        let Some(found) = self.locating.remove(&ticket) else { return };
        self.timers.cancel(cx, found.timer);
        // It may have been called off meanwhile.
        if self.phase(found.sid) != Phase::Locating {
            return;
        }
        // C-060, R-111
        let reached = |contact: &Contact| !found.secure || contact.destination.transport.is_secure();
        let mut contacts: VecDeque<Contact> = contacts.into_iter().filter(reached).collect();
        let Some(contact) = contacts.pop_front() else {
            let client = self.party(found.sid).and_then(|party| party.client.clone()).unwrap_or_default();
            return self.unplaced(cx, found.sid, client.as_bytes(), &found.template, 480);
        };
        let Locating { sid, parent, headers, credentials, template, .. } = found;
        match parent {
            // For another party all of them ring at once (RFC 3261 §16.6).
            Some(parent) => {
                let of = self.party(sid).and_then(|party| party.client.clone());
                let mut called = vec![(sid, contact)];
                for contact in contacts {
                    if self.is_full(cx.plan) {
                        break;
                    }
                    let mut party = self.child(CallSid(cx.new_sid()), parent, cx);
                    party.client = of.clone();
                    party.account = template.account.clone();
                    called.push((party.sid, contact));
                    self.enter(party);
                }
                // All of them before the first is called: one that fails at once is not the last.
                if let Some(dialing) = self.dials.get_mut(&parent) {
                    dialing.children.extend(called.iter().skip(1).map(|(sid, _)| *sid));
                }
                for (sid, contact) in called {
                    let way = Way::Flow(contact.destination, contact.route);
                    self.invite(
                        cx,
                        sid,
                        way,
                        &contact.uri,
                        headers.clone(),
                        credentials.clone(),
                        template.clone(),
                    );
                }
            }
            None => {
                if !contacts.is_empty()
                    && let Some(party) = self.party_mut(sid)
                {
                    let (headers, credentials, template) =
                        (headers.clone(), credentials.clone(), template.clone());
                    party.elsewhere = Some(Box::new(Elsewhere { contacts, headers, credentials, template }));
                }
                let way = Way::Flow(contact.destination, contact.route);
                self.invite(cx, sid, way, &contact.uri, headers, credentials, template);
            }
        }
    }

    /// A call did not reach its party: whether another contact is tried. A party that declined has
    /// declined everywhere.
    pub(super) fn elsewhere(&mut self, cx: &mut Cx<'_>, sid: CallSid, status: u16) -> bool {
        let Some(party) = self.party_mut(sid) else { return false };
        let Some(mut elsewhere) = party.elsewhere.take() else { return false };
        if matches!(status, 486 | 487 | 600..=699) {
            return false;
        }
        let Some(contact) = elsewhere.contacts.pop_front() else { return false };
        let (headers, credentials) = (elsewhere.headers.clone(), elsewhere.credentials.clone());
        let template = elsewhere.template.clone();
        party.elsewhere = Some(elsewhere);
        let way = Way::Flow(contact.destination, contact.route);
        self.invite(cx, sid, way, &contact.uri, headers, credentials, template);
        true
    }

    /// Another shard has not answered in time.
    pub(super) fn unanswered(&mut self, cx: &mut Cx<'_>, ticket: u64) {
        if self.locating.contains_key(&ticket) {
            self.bindings(cx, ticket, Vec::new());
        } else {
            self.claimed(cx, ticket, Err(481), false);
        }
    }

    /// The host that Baton calls itself by.
    pub(super) fn own_host(&self) -> &str {
        &self.host
    }
}

/// A user at a host, if both can stand in a URI.
fn uri_at(user: &str, host: &str) -> Option<Box<[u8]>> {
    if user.is_empty() || user.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return None;
    }
    let mut out = b"sip:".to_vec();
    uri::encode_into(&mut out, uri::Component::User, user.as_bytes());
    out.push(b'@');
    out.extend_from_slice(host.as_bytes());
    Uri::parse(&out).ok()?;
    Some(out.into())
}

/// The advertised host of the first listener.
pub(super) fn host_of(plan: &Plan) -> Box<str> {
    plan.listeners.first().map_or("localhost".into(), |listener| listener.host.clone())
}
