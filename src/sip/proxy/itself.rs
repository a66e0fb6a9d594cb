//! Baton as it names itself: what it writes into Via and Record-Route, and how it knows its own
//! names again in Route, Request-URI and Via.

use crate::sip::flow::{ListenerId, Transport};
use crate::sip::message::{Scheme, Uri};
use crate::sip::plan::{Listener, Plan};
use std::net::SocketAddr;

/// The texts and names of all listeners, made once from the plan.
#[derive(Debug)]
pub struct Itself {
    listeners: Vec<Texts>,
    /// Lower case, without port: any port of a listener's, or none, goes with them.
    aliases: Vec<Box<[u8]>>,
}

#[derive(Debug)]
struct Texts {
    transport: Transport,
    /// Without brackets, lower case.
    host: Box<[u8]>,
    bound: Box<[u8]>,
    port: u16,
    ipv6: bool,
    /// `SIP/2.0/UDP host:port;rport;branch=`, up to where the branch begins.
    via: Box<[u8]>,
    /// `host:port;transport=tcp;lr`, what follows the scheme in Record-Route.
    record_route: Box<[u8]>,
}

impl Itself {
    /// The names of a plan's listeners and aliases.
    pub fn new(plan: &Plan) -> Itself {
        Itself {
            listeners: plan.listeners.iter().map(Texts::new).collect(),
            aliases: plan
                .aliases
                .iter()
                .map(|alias| alias.to_ascii_lowercase().into_bytes().into_boxed_slice())
                .collect(),
        }
    }

    /// Whether a URI names Baton itself (C-093): a listener's bound or advertised host or an alias,
    /// with one of our ports, written or meant.
    pub fn is(&self, uri: &Uri<'_>) -> bool {
        self.own(uri).is_some()
    }

    /// The listener that a URI of ours names; `Some(None)` where an alias names none, `None` where the URI
    /// is not ours.
    pub fn own(&self, uri: &Uri<'_>) -> Option<Option<ListenerId>> {
        if !uri.is_sip() {
            return None;
        }
        let listener = self.listener_named(uri);
        (listener.is_some() || self.is_alias(uri)).then_some(listener)
    }

    fn is_alias(&self, uri: &Uri<'_>) -> bool {
        let host = bare(uri.host);
        self.aliases.iter().any(|alias| host.eq_ignore_ascii_case(alias))
            && uri.port.is_none_or(|port| self.listeners.iter().any(|l| l.port == port))
    }

    /// The listener a URI of ours names: its transport must fit, or be left open.
    pub fn listener_named(&self, uri: &Uri<'_>) -> Option<ListenerId> {
        // Most URIs are others', which host and port tell before any parameter is read.
        let host = bare(uri.host);
        if !self.listeners.iter().any(|l| uri.port.is_none_or(|port| port == l.port) && l.has_host(host)) {
            return None;
        }
        let wanted = uri_transport(uri);
        let port = uri.port.unwrap_or_else(|| default_port(uri, wanted));
        // Without a transport parameter UDP is meant, as our own Record-Route leaves it out.
        let meant = wanted.unwrap_or(Transport::Udp);
        self.listener_at(uri.host, |l| l.transport == meant && l.port == port).or_else(|| {
            let fits = |l: &Texts| wanted.is_none_or(|t| t.param_in_uri() == l.transport.param_in_uri());
            self.listener_at(uri.host, |l| fits(l) && l.port == port)
        })
    }

    /// Whether a Via's sent-by is one of ours (C-050).
    pub fn wrote_via(&self, host: &[u8], port: Option<u16>) -> bool {
        self.listener_at(host, |l| port.unwrap_or(l.transport.default_port()) == l.port).is_some()
    }

    fn listener_at(&self, host: &[u8], fits: impl Fn(&Texts) -> bool) -> Option<ListenerId> {
        let host = bare(host);
        let at = self.listeners.iter().position(|l| fits(l) && l.has_host(host))?;
        u16::try_from(at).ok().map(ListenerId)
    }

    /// The listener to send from: the one the request came to if it fits, else the first that does.
    pub fn sender(
        &self,
        preferred: ListenerId,
        transport: Transport,
        remote: SocketAddr,
    ) -> Option<ListenerId> {
        let fits = |l: &Texts| l.transport == transport && l.ipv6 == remote.is_ipv6();
        if self.listeners.get(usize::from(preferred.0)).is_some_and(fits) {
            return Some(preferred);
        }
        let at = self.listeners.iter().position(fits)?;
        u16::try_from(at).ok().map(ListenerId)
    }

    /// A listener's transport.
    pub fn transport(&self, listener: ListenerId) -> Option<Transport> {
        self.listeners.get(usize::from(listener.0)).map(|l| l.transport)
    }

    /// Whether any listener has this transport.
    pub fn speaks(&self, transport: Transport) -> bool {
        self.listeners.iter().any(|l| l.transport == transport)
    }

    /// Appends a Via value up to where the branch begins.
    pub fn write_via(&self, listener: ListenerId, out: &mut Vec<u8>) {
        if let Some(texts) = self.listeners.get(usize::from(listener.0)) {
            out.extend_from_slice(&texts.via);
        }
    }

    /// Appends a Record-Route value up to where its token parameter begins (C-094, C-096).
    pub fn write_record_route(&self, listener: ListenerId, secure: bool, out: &mut Vec<u8>) {
        if let Some(texts) = self.listeners.get(usize::from(listener.0)) {
            out.extend_from_slice(if secure { b"<sips:" } else { b"<sip:" });
            out.extend_from_slice(&texts.record_route);
        }
    }

    /// Appends host, port and transport by which others reach Baton as they reach this listener, or, for
    /// `sips:`, by the first secured one there is, if any.
    pub fn write_address(&self, listener: ListenerId, secure: bool, out: &mut Vec<u8>) {
        let fits = |l: &&Texts| !secure || l.transport.is_secure();
        let found = self.listeners.get(usize::from(listener.0)).filter(fits);
        if let Some(texts) = found.or_else(|| self.listeners.iter().find(fits)) {
            out.extend_from_slice(texts.record_route.strip_suffix(b";lr").unwrap_or(&texts.record_route));
        }
    }

    /// Appends a Contact URI in angle brackets, for answers of our own.
    pub fn write_contact(&self, listener: ListenerId, out: &mut Vec<u8>) {
        if let Some(texts) = self.listeners.get(usize::from(listener.0)) {
            out.extend_from_slice(b"<sip:");
            let end = texts.record_route.len() - b";lr".len();
            out.extend_from_slice(&texts.record_route[..end]);
            out.push(b'>');
        }
    }
}

impl Texts {
    /// Whether it is bound to or known by a host, given without brackets.
    fn has_host(&self, host: &[u8]) -> bool {
        host.eq_ignore_ascii_case(&self.host) || host.eq_ignore_ascii_case(&self.bound)
    }

    fn new(listener: &Listener) -> Texts {
        let sent_by = listener.sent_by();
        // Symmetric response routing is asked for over UDP only (RFC 3581 §3, C-046).
        let rport = if listener.transport.is_reliable() { "" } else { ";rport" };
        let transport = match listener.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.param_in_uri()),
        };
        // The port is always written: without one the peer would have to ask DNS (RFC 3263 §4.2).
        let authority = format!("{}:{}", listener.host, listener.port);
        Texts {
            transport: listener.transport,
            host: bare(listener.host.as_bytes()).to_ascii_lowercase().into(),
            bound: listener.bind.ip().to_string().into_bytes().into(),
            port: listener.port,
            ipv6: listener.bind.is_ipv6(),
            via: format!("SIP/2.0/{} {sent_by}{rport};branch=", listener.transport.via_token())
                .into_bytes()
                .into(),
            record_route: format!("{authority}{transport};lr").into_bytes().into(),
        }
    }
}

/// The transport a URI asks for: its parameter, else TLS for `sips:`, else none. `transport=tls` on
/// a `sip:` URI is a choice of transport only (C-061).
pub fn uri_transport(uri: &Uri<'_>) -> Option<Transport> {
    let named = uri.transport().and_then(Transport::from_token);
    match (uri.scheme, named) {
        (Scheme::Sips, None | Some(Transport::Tcp)) => Some(Transport::Tls),
        (_, named) => named,
    }
}

fn default_port(uri: &Uri<'_>, transport: Option<Transport>) -> u16 {
    match (uri.scheme, transport) {
        (Scheme::Sips, _) => Transport::Tls.default_port(),
        (_, Some(transport)) => transport.default_port(),
        (_, None) => Transport::Udp.default_port(),
    }
}

fn bare(host: &[u8]) -> &[u8] {
    host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host)
}
