//! From a configuration to the snapshot that messages are routed by.

use crate::config::read::At;
use crate::config::schema::{
    Application, ApplicationKind, Client, Config, Destination, Listener, Name, Route, Trunk, UserPattern,
};
use crate::sip::plan::{
    Action, Application as PlanApplication, Auth, CallPlan, Client as PlanClient, Credentials,
    Listener as PlanListener, Origin, OwnedTrunk, Plan, Registrar, Route as PlanRoute, Routing, Secret,
    Source, SourceTable, Trunk as PlanTrunk, TrunkIx, UserMatch,
};
use std::sync::Arc;
use std::time::Duration;

impl Config {
    /// The snapshot for this node. The configuration has been checked: what does not resolve here
    /// cannot be there, and is left out.
    pub fn plan(&self, node: u128) -> Plan {
        let mut sources = SourceTable::default();
        for (trunk, ix) in self.trunks.iter().zip(0u16..) {
            for source in &trunk.sources {
                let entry = Source { port: source.port, transport: source.transport, trunk: TrunkIx(ix) };
                // A source that is there already belongs to this trunk (T-017 is checked).
                let _ = sources.insert(source.net, entry);
            }
        }
        Plan {
            node,
            listeners: self.listeners.iter().map(listener).collect(),
            aliases: self.names(),
            trunks: self.trunks.iter().map(trunk).collect(),
            sources,
            routes: self.routes.iter().filter_map(|r| self.route(r)).collect(),
            timings: self.timings,
            limits: self.limits,
            capacity: self.capacity,
            routing: Routing { stale_for: self.dns.stale_for, ..self.routing.clone() },
            record_proxied: self.records.proxied,
            unknown_source: self.acl.unknown,
            calls: self.calls(),
        }
    }

    fn calls(&self) -> CallPlan {
        CallPlan {
            applications: self.applications.iter().map(application).collect(),
            clients: self.clients.iter().map(client).collect(),
            registrar: self.registrar(),
            auth: Auth {
                algorithms: self.auth.algorithms.clone(),
                ban: self.acl.ban,
                never_ban: self.acl.never_ban.clone(),
            },
            direct_calls: self.http.direct_calls,
            ring_time: self.calls.target_ring,
            capacity: self.calls.legs,
        }
    }

    fn registrar(&self) -> Registrar {
        let own = &self.registrar;
        let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
        Registrar {
            domains: own.domains.iter().map(|d| d.to_ascii_lowercase().into()).collect(),
            realm: self.realm(),
            min_expires: seconds(own.min_expires),
            max_expires: seconds(own.max_expires),
            default_expires: seconds(own.default_expires),
            max_bindings: own.max_contacts,
            max_size: own.max_size,
            refer: own.refer,
            returns: own.returns,
        }
    }

    /// The digest realm: as set, else the first domain, else the first listener's host.
    pub fn realm(&self) -> Box<str> {
        let own = &self.registrar;
        let first = || self.listeners.first().map(|l| listener(l).host);
        let realm = own.realm.clone().or_else(|| own.domains.first().cloned()).or_else(first);
        realm.unwrap_or(Registrar::default().realm)
    }

    fn names(&self) -> Vec<Box<str>> {
        let domains = self.registrar.domains.iter().map(|d| d.to_ascii_lowercase().into());
        self.aliases.iter().cloned().chain(domains).collect()
    }

    fn route(&self, route: &Route) -> Option<PlanRoute> {
        let action = match &route.to {
            Destination::Trunks(to) => {
                let to = to.iter().flat_map(|n| self.expand(n)).collect();
                Action::Trunks { to, fork: route.fork, mode: route.mode.value }
            }
            Destination::Clients => Action::Clients,
            Destination::Reject { code, reason } => Action::Reject { code: *code, reason: reason.clone() },
            Destination::Application(name) => {
                let ix = self.applications.iter().position(|a| *a.name.value == *name.value)?;
                Action::Application(u16::try_from(ix).ok()?)
            }
        };
        let user = match &route.user {
            UserPattern::Any => UserMatch::Any,
            UserPattern::Exact(user) => UserMatch::Exact(user.clone()),
            UserPattern::Prefix(prefix) => UserMatch::Prefix(prefix.clone()),
            UserPattern::Regex(regex) => UserMatch::Regex(regex::bytes::Regex::new(regex).ok()?),
        };
        let from = route
            .from
            .iter()
            .flat_map(|name| match &*name.value.0 {
                "clients" => vec![Origin::Clients],
                "api" => vec![Origin::Api],
                _ => self.expand(name).into_iter().map(Origin::Trunk).collect(),
            })
            .collect();
        Some(PlanRoute { from, user, action })
    }

    /// A trunk's index, or those of a group's members in order (T-011).
    fn expand(&self, name: &At<Name>) -> Vec<TrunkIx> {
        let index = |name: &Name| {
            self.trunks.iter().zip(0u16..).find(|(t, _)| t.name.value == *name).map(|(_, ix)| TrunkIx(ix))
        };
        match self.groups.iter().find(|g| g.name.value == name.value) {
            Some(group) => group.members.iter().filter_map(|m| index(&m.value)).collect(),
            None => index(&name.value).into_iter().collect(),
        }
    }
}

fn listener(listener: &Listener) -> PlanListener {
    let bind = listener.bind.value;
    let bound = match bind.addr.ip() {
        std::net::IpAddr::V6(v6) => format!("[{v6}]").into(),
        v4 => v4.to_string().into(),
    };
    let (host, port) = match &listener.advertise {
        Some(public) => (public.host.clone(), public.port.unwrap_or(bind.addr.port())),
        None => (bound, bind.addr.port()),
    };
    PlanListener {
        name: listener.name.value.0.clone(),
        transport: bind.transport,
        bind: bind.addr,
        host,
        port,
        tls_profiles: listener.tls_profiles.iter().map(|p| p.value.0.clone()).collect(),
    }
}

fn trunk(trunk: &Trunk) -> PlanTrunk {
    let mut targets: Vec<_> = trunk.targets.iter().map(|t| t.value.clone()).collect();
    targets.sort_by_key(|t| t.priority);
    PlanTrunk {
        name: trunk.name.value.0.clone(),
        targets,
        account: trunk.account.as_ref().map(|a| Arc::from(a.value.as_str())),
        refer: trunk.refer.value,
        no_response_timeout: trunk.no_response_timeout,
        ring_timeout: trunk.ring_timeout,
        udp_max: trunk.udp_max,
        max_duration: trunk.max_duration,
        owned: OwnedTrunk {
            credentials: trunk.auth.as_ref().map(|auth| {
                let secret = Secret::Password(auth.password.expose().into());
                Arc::new(Credentials { user: auth.user.0.as_str().into(), secret })
            }),
            policy: trunk.policy.clone(),
            referred: Arc::default(),
            session: trunk.session,
        },
    }
}

fn application(application: &Application) -> PlanApplication {
    PlanApplication {
        name: application.name.value.0.clone(),
        account: application.account.as_ref().map(|a| Arc::from(a.value.as_str())),
        // A dial of a jambonz application may have a hook for them; without one they are refused.
        decides_refers: application.refer_url.is_some() || application.kind.value == ApplicationKind::Jambonz,
    }
}

fn client(client: &Client) -> (Box<str>, PlanClient) {
    let user: Box<str> = client.user.value.0.as_str().into();
    let credentials = Arc::new(Credentials { user: user.clone(), secret: client.secret.for_plan() });
    (user, PlanClient { credentials, account: client.account.as_ref().map(|a| Arc::from(a.value.as_str())) })
}
