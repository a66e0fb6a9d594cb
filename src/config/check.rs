//! What one table says about another: references, conflicts, and what this version cannot do yet.

use crate::config::read::{At, Context};
use crate::config::schema::{ClientSecret, Config, Destination, Listener, Name, Route, Trunk, UserPattern};
use crate::sip::auth::Algorithm;
use crate::sip::flow::Transport;
use crate::sip::plan::{Mode, ReferMode, Target};
use std::collections::HashMap;
use std::net::IpAddr;

/// Origins and destinations that are no trunks.
const CLIENTS: &str = "clients";
const API: &str = "api";

/// Reports everything that only shows when the tables are seen together.
pub fn check(config: &Config, cx: &Context) {
    references(config, cx);
    listeners(config, cx);
    http(config, cx);
    for trunk in &config.trunks {
        self::trunk(trunk, config, cx);
        secured(trunk, config, cx);
    }
    sources(config, cx);
    for route in &config.routes {
        self::route(route, config, cx);
    }
    unreachable_routes(config, cx);
    hashes(config, cx);
    unanswerable(config, cx);
    tokens(config, cx);
}

fn references(config: &Config, cx: &Context) {
    let accounts = config.trunks.iter().filter_map(|t| t.account.as_ref());
    let accounts = accounts.chain(config.applications.iter().filter_map(|a| a.account.as_ref()));
    for account in accounts.chain(config.clients.iter().filter_map(|c| c.account.as_ref())) {
        cx.refer("account", account, &[]);
    }
    for profile in config.listeners.iter().flat_map(|l| &l.tls_profiles) {
        cx.refer("tls profile", profile, &[]);
    }
    for group in &config.groups {
        for member in &group.members {
            let is = |name: &At<Name>| name.value == member.value;
            let group = config.groups.iter().any(|g| is(&g.name));
            if group && !config.trunks.iter().any(|t| is(&t.name)) {
                cx.error(
                    member.span.clone(),
                    format!("trunk_group.members names the group {:?}", &*member.value),
                    "name trunks only; a route may name several groups",
                );
            } else {
                cx.refer("trunk", member, &[]);
            }
        }
    }
    let trunks = config.trunks.iter().map(|t| &t.name);
    for name in trunks.chain(config.groups.iter().map(|g| &g.name)) {
        if [CLIENTS, API].contains(&&*name.value.0) {
            cx.error(
                name.span.clone(),
                format!("the name {:?} means something else in routes", &*name.value),
                "choose another name",
            );
        }
    }
    for route in &config.routes {
        for from in &route.from {
            cx.refer("trunk", from, &[CLIENTS, API]);
        }
        match &route.to {
            Destination::Trunks(to) => to.iter().for_each(|to| cx.refer("trunk", to, &[CLIENTS])),
            Destination::Clients => {}
            Destination::Application(name) => cx.refer("application", name, &[]),
            Destination::Reject { .. } => {}
        }
    }
}

fn listeners(config: &Config, cx: &Context) {
    let mut bound: HashMap<_, &Listener> = HashMap::new();
    for listener in &config.listeners {
        // TCP and TLS share the port space of one protocol.
        let stream = listener.bind.transport.is_reliable();
        if let Some(other) = bound.insert((stream, listener.bind.addr), listener) {
            cx.error(
                listener.bind.span.clone(),
                format!(
                    "the listeners {:?} and {:?} bind the same address and port",
                    &*other.name.value, &*listener.name.value
                ),
                "give one of them another port",
            );
        }
        if listener.bind.addr.port() == 0 {
            cx.error(
                listener.bind.span.clone(),
                "listener.bind has the port 0",
                "write a port from 1 to 65535",
            );
        }
        if listener.bind.addr.ip().is_unspecified() && listener.advertise.is_none() {
            cx.absent(
                listener.bind.span.clone(),
                format!(
                    "the listener {:?} binds every address, so peers cannot be told which",
                    &*listener.name.value
                ),
                "add advertise = \"HOST\" with the address they reach it at, or bind that address alone",
            );
        }
        match (listener.bind.transport.is_secure(), listener.tls_profiles.first()) {
            (true, None) => cx.absent(
                listener.bind.span.clone(),
                format!("the listener {:?} speaks TLS without a certificate", &*listener.name.value),
                "add tls_profile = \"NAME\" and a [[tls_profile]] of that name",
            ),
            (false, Some(profile)) => cx.error(
                profile.span.clone(),
                format!(
                    "the listener {:?} has a tls_profile but binds {}",
                    &*listener.name.value,
                    listener.bind.transport.param()
                ),
                "bind tls:… or wss:…, or remove tls_profile",
            ),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

fn http(config: &Config, cx: &Context) {
    let listen = &config.http.listen;
    // T-149: the API is closed to those without a token, but there must be someone with one.
    if !listen.ip().is_loopback() && config.accounts.is_empty() {
        cx.absent(
            listen.span.clone(),
            format!(
                "http.listen = \"{}\" can be reached by others, and no account protects it",
                listen.value
            ),
            "add an [[account]], or listen on 127.0.0.1",
        );
    }
    for listener in &config.listeners {
        if listener.bind.transport.is_reliable() && listener.bind.addr == listen.value {
            cx.error(
                listener.bind.span.clone(),
                format!("the listener {:?} binds the address and port of http.listen", &*listener.name.value),
                "give one of them another port",
            );
        }
    }
}

fn trunk(trunk: &Trunk, config: &Config, cx: &Context) {
    for target in &trunk.targets {
        reachable(target, trunk, config, cx);
    }
}

/// A target needs a listener to send from (C-043).
fn reachable(target: &At<Target>, trunk: &Trunk, config: &Config, cx: &Context) {
    if config.listeners.is_empty() {
        return;
    }
    let with_transport = |l: &&Listener| target.transport.is_none_or(|t| l.bind.transport == t);
    let mut candidates = config.listeners.iter().filter(with_transport).peekable();
    if candidates.peek().is_none() {
        let transport = target.transport.map_or("", Transport::param);
        cx.absent(
            target.span.clone(),
            format!("the trunk {:?} needs {transport}, and no listener has it", &*trunk.name.value),
            format!("add a [[listener]] with bind = \"{transport}:ADDRESS:PORT\""),
        );
        return;
    }
    let Ok(ip) = target.host.parse::<IpAddr>() else { return };
    if !candidates.any(|l| l.bind.addr.is_ipv6() == ip.is_ipv6()) {
        let (family, example) = if ip.is_ipv6() { ("IPv6", "[::1]") } else { ("IPv4", "127.0.0.1") };
        cx.absent(
            target.span.clone(),
            format!("the trunk {:?} has an {family} address, and no listener for it", &*trunk.name.value),
            format!("add a [[listener]] with an {family} address such as {example}"),
        );
    }
}

/// T-017: two trunks must not claim the same source.
fn sources(config: &Config, cx: &Context) {
    let mut owners: HashMap<_, &Trunk> = HashMap::new();
    for trunk in &config.trunks {
        for source in &trunk.sources {
            let key = (source.net, source.port, source.transport);
            let owner = *owners.entry(key).or_insert(trunk);
            if owner.name != trunk.name {
                cx.error(
                    source.span.clone(),
                    format!(
                        "the trunks {:?} and {:?} have the same source {}{}",
                        &*owner.name.value,
                        &*trunk.name.value,
                        source.net,
                        source.port.map_or_else(String::new, |p| format!(" port {p}")),
                    ),
                    "add a port or transport to tell them apart, or make them one trunk",
                );
            }
        }
    }
}

fn route(route: &Route, config: &Config, cx: &Context) {
    let mode = &route.mode;
    match &route.to {
        Destination::Application(_) => never_proxied(mode, "to an application", cx),
        Destination::Clients => never_proxied(mode, "to clients", cx),
        Destination::Trunks(_) => {
            if route.from.iter().any(|from| &*from.value.0 == CLIENTS) {
                never_proxied(mode, "of clients", cx);
            }
            if let Some(trunk) = terminating(route, config).filter(|_| mode.value == Mode::Proxy) {
                cx.error(
                    mode.span.clone(),
                    format!(
                        "route.mode = \"proxy\" contradicts refer.mode = \"terminate\" of the trunk {trunk:?}"
                    ),
                    "write mode = \"auto\", or refer = { mode = \"relay\" } for that trunk",
                );
            }
        }
        Destination::Reject { .. } => {}
    }
    let clients = route.to == Destination::Clients || route.from.iter().any(|from| &*from.value.0 == CLIENTS);
    if clients && !cx.declares("client") {
        cx.warn(
            route.span.clone(),
            "this route is about clients, and nobody may register",
            "add a [[client]] with user and password",
        );
    }
    for from in &route.from {
        let trunk = config.trunks.iter().find(|t| *t.name.value == *from.value);
        if trunk.is_some_and(|t| t.sources.is_empty()) {
            cx.warn(
                from.span.clone(),
                format!("no request can come from the trunk {:?}, which has no source", &*from.value),
                "add match = { source = [\"ADDRESS\"] } to it",
            );
        }
    }
}

/// C-060: calls to `sips:` addresses go to `sips:` targets alone. Who has TLS for a trunk may think that it takes them.
fn secured(trunk: &Trunk, config: &Config, cx: &Context) {
    let is_called = |route: &Route| match &route.to {
        Destination::Trunks(to) => to.iter().any(|name| names(name, trunk, config)),
        Destination::Application(_) | Destination::Clients | Destination::Reject { .. } => false,
    };
    let by_tls = |target: &&At<Target>| target.value.transport == Some(Transport::Tls);
    let Some(target) = trunk.targets.iter().find(by_tls) else { return };
    if config.routes.iter().any(is_called) && !trunk.targets.iter().any(|target| target.value.secure) {
        let Target { host, port, user, .. } = &target.value;
        let user = user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        cx.warn(
            target.span.clone(),
            format!(
                "calls to sips: addresses find no target in the trunk {:?}, and are answered 503: transport=tls in a \
                 sip: address is a choice of transport only",
                &*trunk.name.value
            ),
            format!("write \"sips:{user}{host}{port}\", which takes all calls, unless the peer knows no sips:"),
        );
    }
}

/// Whether a name in a route means this trunk: its own, or that of a group it is in.
fn names(name: &At<Name>, trunk: &Trunk, config: &Config) -> bool {
    let is = |member: &At<Name>| *member.value == *trunk.name.value;
    is(name) || config.groups.iter().any(|g| *g.name.value == *name.value && g.members.iter().any(is))
}

/// Such calls are Baton's own whatever is written.
fn never_proxied(mode: &At<Mode>, whose: &str, cx: &Context) {
    if mode.value == Mode::Proxy {
        cx.error(
            mode.span.clone(),
            format!("route.mode = \"proxy\" cannot be for calls {whose}, which Baton owns"),
            "remove mode",
        );
    }
}

/// A trunk on either side of a route that wants REFERs performed.
fn terminating<'c>(route: &Route, config: &'c Config) -> Option<&'c str> {
    let to: &[At<Name>] = match &route.to {
        Destination::Trunks(to) => to,
        Destination::Application(_) | Destination::Clients | Destination::Reject { .. } => &[],
    };
    let named = |trunk: &Trunk| {
        // Without `from` its own calls come here, too.
        let comes = route.from.is_empty() && !trunk.sources.is_empty();
        comes || route.from.iter().chain(to).any(|name| names(name, trunk, config))
    };
    config.trunks.iter().find(|t| t.refer.value == ReferMode::Terminate && named(t)).map(|t| &*t.name.value.0)
}

fn unreachable_routes(config: &Config, cx: &Context) {
    let open = config.routes.iter().position(|r| r.from.is_empty() && r.user == UserPattern::Any);
    let Some(open) = open else { return };
    for route in config.routes.iter().skip(open + 1) {
        cx.warn(
            route.span.clone(),
            "this route is never reached: one before it takes every request",
            "move it up, or give that one a from or user",
        );
    }
}

/// A hash goes with one realm: whoever made it must know which.
fn hashes(config: &Config, cx: &Context) {
    if config.registrar.realm.is_some() || !config.registrar.domains.is_empty() {
        return;
    }
    let hashed = |secret: &ClientSecret| matches!(secret, ClientSecret::Ha1 { .. });
    for client in config.clients.iter().filter(|client| hashed(&client.secret)) {
        cx.warn(
            client.user.span.clone(),
            format!(
                "the hash of the client {:?} holds for the realm {:?} only",
                client.user.value.0,
                config.realm()
            ),
            "write registrar.realm, so that it stays what it is",
        );
    }
}

/// Who has no hash for anything that is offered can never register.
fn unanswerable(config: &Config, cx: &Context) {
    let offered = &config.auth.algorithms;
    for client in &config.clients {
        let secret = client.secret.for_plan();
        if offered.is_empty() || offered.iter().any(|&algorithm| secret.knows(algorithm)) {
            continue;
        }
        let known = Algorithm::ALL.into_iter().filter(|&a| secret.knows(a)).map(Algorithm::token);
        let known: Vec<_> = known.collect();
        cx.error(
            client.user.span.clone(),
            format!(
                "the client {:?} has a hash for {} only, which auth.algorithms does not offer",
                client.user.value.0,
                known.join(" and ")
            ),
            "add one of those to auth.algorithms, or give the client a hash for one that it names",
        );
    }
}

/// A Bearer token alone names an account (telnyx 3): two with the same cannot be told apart by it.
fn tokens(config: &Config, cx: &Context) {
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for account in &config.accounts {
        let owner = *owners.entry(account.token.expose()).or_insert(&account.sid.value.0);
        if owner != account.sid.value.0 {
            cx.warn(
                account.sid.span.clone(),
                format!(
                    "the accounts {owner:?} and {:?} have the same token: where it stands alone, it means the first",
                    account.sid.value.0
                ),
                "give each a token of its own",
            );
        }
    }
}
