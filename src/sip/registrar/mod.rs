//! Bindings of addresses of record (RFC 3261 §10.3), as far as they belong to this shard (law 2).
//!
//! Where it stands on a REGISTER's way (C-156): the shard of its Call-ID asks [`aor_of`] whose it is
//! and hands it to that user's shard. There [`Registrar::admit`] looks at domain, size and Require;
//! the shard authenticates with its [`Realm`](crate::sip::auth::Realm); [`Registrar::register`] checks
//! that the user may bind this address of record, changes its bindings all at once, and says what
//! the answer carries. Calls find the bindings by [`Registrar::lookup`].
//!
//! A binding is reached along the path its REGISTER came by and never anywhere else: over the same
//! connection while it lives (C-166), or at the datagram's source, which is what gets through a NAT.
//! So a client cannot make Baton call an address of its choosing by naming it in Contact.

mod binding;
mod date;

pub use date::sip_date;

use crate::sip::flow::{ConnectionId, Destination, Flow};
use crate::sip::message::uri::decode;
use crate::sip::message::{HeaderId, Message, Ready, Uri};
use crate::sip::plan::{self, Plan};
use crate::sip::time::Time;
use binding::{Binding, Refusal, Request};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::time::Duration;

/// The option tags of extensions a REGISTER may require.
const SUPPORTED: &[u8] = b"path";

/// The bindings of this shard's users.
#[derive(Debug)]
pub struct Registrar {
    /// Lower case, IPv6 without brackets.
    domains: Vec<Box<str>>,
    users: HashMap<Box<str>, Vec<Binding>>,
    /// The next expiry of each user.
    expiries: BTreeSet<(Time, Box<str>)>,
    /// Which users have bindings over which connection.
    connections: BTreeSet<(u64, Box<str>)>,
    bindings: usize,
}

/// What a REGISTER is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The final code.
    pub status: u16,
    /// The reason phrase; empty: the usual one.
    pub reason: &'static str,
    /// Header fields beyond those every answer has.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// Where a user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The Contact's URI: the Request-URI of what is sent there.
    pub uri: Bytes,
    /// Where it is sent.
    pub destination: Destination,
    /// The value of a Route field that goes with it, from Path (RFC 3327 §5.3).
    pub route: Option<Bytes>,
}

/// The user and the domain a REGISTER is about: To, without regard to parameters (RFC 3261 §10.3
/// step 5). `None` when To is no SIP URI with a user.
pub fn aor_of(message: &Message) -> Option<(Box<str>, Box<[u8]>)> {
    let to = message.to_uri().ok().filter(Uri::is_sip)?;
    let user = decode(to.user?).into_owned();
    Some((String::from_utf8(user).ok()?.into(), to.host.into()))
}

impl Registrar {
    /// No bindings yet.
    pub fn new(plan: &Plan) -> Registrar {
        Registrar {
            domains: domains(plan),
            users: HashMap::new(),
            expiries: BTreeSet::new(),
            connections: BTreeSet::new(),
            bindings: 0,
        }
    }

    /// Takes over a new configuration. Users that are gone from it lose their bindings.
    pub fn replan(&mut self, plan: &Plan) {
        self.domains = domains(plan);
        let gone: Vec<_> =
            self.users.keys().filter(|user| !plan.calls.clients.contains_key(&***user)).cloned().collect();
        for user in gone {
            self.store(&user, Vec::new());
        }
    }

    /// Bindings kept; expired ones count until [`Registrar::expire`].
    pub fn len(&self) -> usize {
        self.bindings
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.bindings == 0
    }

    /// Whether a host, IPv6 without brackets, is a domain of this registrar's.
    pub fn serves(&self, domain: &[u8]) -> bool {
        self.domains.iter().any(|served| domain.eq_ignore_ascii_case(served.as_bytes()))
    }

    /// What comes before authentication (RFC 3261 §10.3 steps 1, 2 and 5; C-156, C-169): the user a
    /// REGISTER is for, or its answer.
    pub fn admit(
        &self,
        plan: &plan::Registrar,
        message: &Message,
        ready: &Ready<'_>,
    ) -> Result<Box<str>, Answer> {
        if message.bytes().len() > plan.max_size {
            return Err(Answer::of(513));
        }
        if !ready.uri.is_some_and(|uri| uri.is_sip() && self.serves(uri.host)) {
            return Err(Answer::of(404));
        }
        let unknown: Vec<&[u8]> =
            message.values(HeaderId::Require).filter(|tag| !tag.eq_ignore_ascii_case(SUPPORTED)).collect();
        if !unknown.is_empty() {
            let headers = vec![("Unsupported", unknown.join(&b", "[..]))];
            return Err(Answer { status: 420, reason: "", headers });
        }
        match aor_of(message) {
            Some((user, domain)) if self.serves(&domain) => Ok(user),
            _ => Err(Answer::of(404)),
        }
    }

    /// What comes after authentication. `user` is who was authenticated; it may bind its own address
    /// of record only (RFC 3261 §10.3 step 4). All changes are made, or none (C-157).
    pub fn register(
        &mut self,
        now: Time,
        plan: &plan::Registrar,
        user: &str,
        message: &Message,
        ready: &Ready<'_>,
        flow: &Flow,
    ) -> Answer {
        if aor_of(message).is_none_or(|(aor, _)| *aor != *user) {
            return Answer::of(403);
        }
        let request = match Request::read(plan, message, ready) {
            Ok(request) => request,
            Err(refusal) => return refusal.answer(plan),
        };
        let mut bindings = self.users.get(user).cloned().unwrap_or_default();
        bindings.retain(|binding| binding.expires > now);
        if let Err(refusal) = request.apply(now, plan, flow, &mut bindings) {
            return refusal.answer(plan);
        }
        let answer = listing(now, &bindings, &request);
        self.store(user, bindings);
        answer
    }

    /// Where a user is: the highest `q` first, then who registered last.
    pub fn lookup(&self, now: Time, user: &str) -> Vec<Contact> {
        let mut bindings: Vec<_> =
            self.users.get(user).into_iter().flatten().filter(|binding| binding.expires > now).collect();
        bindings.sort_by_key(|binding| std::cmp::Reverse((binding.q, binding.updated)));
        bindings.into_iter().map(Binding::contact).collect()
    }

    /// A connection has ended, and with it the bindings that were made over it: nobody can be reached
    /// along it any more. How many they were.
    pub fn closed(&mut self, connection: ConnectionId) -> usize {
        let over = (connection.0, Box::from(""));
        let users: Vec<_> = self
            .connections
            .range(over..)
            .take_while(|(c, _)| *c == connection.0)
            .map(|(_, u)| u.clone())
            .collect();
        let before = self.bindings;
        for user in users {
            let mut bindings = self.users.get(&user).cloned().unwrap_or_default();
            bindings.retain(|binding| binding.destination.connection != Some(connection));
            self.store(&user, bindings);
        }
        before - self.bindings
    }

    /// When [`Registrar::expire`] has something to do next.
    pub fn deadline(&self) -> Option<Time> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Forgets the bindings that have expired. How many they were.
    pub fn expire(&mut self, now: Time) -> usize {
        let before = self.bindings;
        while let Some((at, user)) = self.expiries.first()
            && *at <= now
        {
            let user = user.clone();
            let mut bindings = self.users.get(&user).cloned().unwrap_or_default();
            bindings.retain(|binding| binding.expires > now);
            self.store(&user, bindings);
        }
        before - self.bindings
    }

    /// The one place where bindings change, so that what is kept beside them fits.
    fn store(&mut self, user: &str, bindings: Vec<Binding>) {
        if let Some(old) = self.users.remove(user) {
            self.bindings -= old.len();
            for binding in &old {
                if let Some(connection) = binding.destination.connection {
                    self.connections.remove(&(connection.0, user.into()));
                }
            }
            if let Some(next) = next_expiry(&old) {
                self.expiries.remove(&(next, user.into()));
            }
        }
        let Some(next) = next_expiry(&bindings) else { return };
        self.expiries.insert((next, user.into()));
        for binding in &bindings {
            if let Some(connection) = binding.destination.connection {
                self.connections.insert((connection.0, user.into()));
            }
        }
        self.bindings += bindings.len();
        self.users.insert(user.into(), bindings);
    }
}

impl Answer {
    fn of(status: u16) -> Answer {
        Answer { status, reason: "", headers: Vec::new() }
    }

    /// Its header fields, as they are written.
    pub fn fields(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (*name, value.as_slice())).collect()
    }
}

impl Refusal {
    fn answer(self, plan: &plan::Registrar) -> Answer {
        match self {
            Refusal::Contact => Answer { reason: "Bad Contact", ..Answer::of(400) },
            Refusal::Path => Answer { reason: "Bad Path", ..Answer::of(400) },
            Refusal::TooBrief => Answer {
                headers: vec![("Min-Expires", plan.min_expires.to_string().into_bytes())],
                ..Answer::of(423)
            },
            Refusal::OutOfOrder => Answer { reason: "CSeq Out Of Order", ..Answer::of(500) },
            Refusal::TooMany => Answer { reason: "Too Many Contacts", ..Answer::of(403) },
        }
    }
}

/// The 200 with all there is (RFC 3261 §10.3 step 8, C-161).
fn listing(now: Time, bindings: &[Binding], request: &Request<'_>) -> Answer {
    let mut headers: Vec<_> = bindings.iter().map(|binding| ("Contact", binding.written(now))).collect();
    headers.push(("Date", sip_date(now).into_bytes()));
    // RFC 3327 §5.3: the client may see what was stored.
    if let Some(path) = request.path() {
        headers.push(("Path", path.to_vec()));
    }
    headers.push(("Supported", SUPPORTED.to_vec()));
    Answer { headers, ..Answer::of(200) }
}

fn next_expiry(bindings: &[Binding]) -> Option<Time> {
    bindings.iter().map(|binding| binding.expires).min()
}

/// The domains of the configuration; without any, every name and address of Baton's own.
fn domains(plan: &Plan) -> Vec<Box<str>> {
    let configured = &plan.calls.registrar.domains;
    if !configured.is_empty() {
        return configured.iter().map(|domain| bare(domain)).collect();
    }
    let own = plan.listeners.iter().flat_map(|l| [bare(&l.host), l.bind.ip().to_string().into()]);
    let mut names: Vec<Box<str>> = own.chain(plan.aliases.iter().map(|alias| bare(alias))).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn bare(host: &str) -> Box<str> {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase().into()
}

/// Whole seconds left, at least one.
fn seconds_left(now: Time, expires: Time) -> u64 {
    expires.since(now).saturating_add(Duration::from_millis(999)).as_secs().max(1)
}

#[cfg(test)]
mod tests;
