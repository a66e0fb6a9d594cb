//! Addresses as the configuration writes them: listeners, sources, targets.
//!
//! Each parser answers what is wrong and what would be right, without knowing where the text stood.

use crate::config::read::{FromToml, Value};
use crate::sip::flow::Transport;
use crate::sip::plan::Target;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// What is wrong with a text, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Follows the text in a message: `"…" has no port`.
    pub what: String,
    /// An instruction.
    pub remedy: String,
}

impl Fault {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { what: what.into(), remedy: remedy.into() }
    }
}

/// Where a listener binds: `udp:127.0.0.1:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The transport before the first colon.
    pub transport: Transport,
    /// The address.
    pub addr: SocketAddr,
}

impl FromToml for Bind {
    fn from_toml(value: &Value<'_>) -> Option<Bind> {
        read_with(value, "\"TRANSPORT:ADDRESS:PORT\" such as \"udp:127.0.0.1:5060\"", parse_bind)
    }
}

impl FromToml for SocketAddr {
    fn from_toml(value: &Value<'_>) -> Option<SocketAddr> {
        read_with(value, "\"ADDRESS:PORT\" such as \"127.0.0.1:8080\"", parse_socket_addr)
    }
}

/// A host that peers can reach, and its port when written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: Box<str>,
    /// The port.
    pub port: Option<u16>,
}

impl FromToml for HostPort {
    fn from_toml(value: &Value<'_>) -> Option<HostPort> {
        read_with(value, "\"HOST\" or \"HOST:PORT\" such as \"sip.example.com:5060\"", parse_host_port)
    }
}

/// One entry of `match.source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// The addresses.
    pub net: IpNet,
    /// The source port, when written.
    pub port: Option<u16>,
    /// The transport, when written.
    pub transport: Option<Transport>,
}

impl FromToml for SourceEntry {
    fn from_toml(value: &Value<'_>) -> Option<SourceEntry> {
        let wanted = "an address or CIDR with optional port, such as \"192.0.2.0/24\" or \"192.0.2.1:5060\"";
        let text = value.string(wanted)?;
        let entry = report(value, text, parse_source(text))?;
        let whole = entry.net.trunc();
        if whole != entry.net {
            value.context().warn(
                value.span(),
                format!("{} {text:?} has address bits beyond its prefix", value.path),
                format!("write {whole} if the whole network is meant, or the address without prefix"),
            );
        }
        Some(SourceEntry { net: whole, ..entry })
    }
}

fn read_with<T>(value: &Value<'_>, wanted: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
    let text = value.string(wanted)?;
    report(value, text, parse(text))
}

/// The result, or the fault reported at the value.
pub fn report<T>(value: &Value<'_>, text: &str, result: Result<T, Fault>) -> Option<T> {
    match result {
        Ok(parsed) => Some(parsed),
        Err(fault) => {
            value.wrong(format_args!("= {text:?} {}", fault.what), fault.remedy);
            None
        }
    }
}

fn parse_bind(text: &str) -> Result<Bind, Fault> {
    let example = "write TRANSPORT:ADDRESS:PORT such as \"udp:127.0.0.1:5060\"";
    let Some((transport, rest)) = text.split_once(':') else {
        return Err(Fault::new("has no transport", example));
    };
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        "ws" => Transport::Ws,
        "wss" => Transport::Wss,
        other => {
            return Err(Fault::new(
                format!("names the unknown transport {other:?}"),
                "use udp, tcp, tls, ws or wss, as in \"udp:127.0.0.1:5060\"",
            ));
        }
    };
    parse_socket_addr(rest).map(|addr| Bind { transport, addr })
}

fn parse_socket_addr(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let (host, port) = split_port(text);
    let Some(port) = port else {
        return Err(Fault::new("has no port", format!("write an address with a port: \"{text}:5060\"")));
    };
    parse_port(port)?;
    Err(match host {
        h if h.parse::<std::net::Ipv6Addr>().is_ok() => {
            Fault::new("is an IPv6 address without brackets", format!("write \"[{h}]:{port}\""))
        }
        h => Fault::new(
            format!("names {h:?}, which is no IP address"),
            "bind an IPv4 address, or an IPv6 address in brackets such as [::1]",
        ),
    })
}

/// Host and port text; the brackets of an IPv6 address stay.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let after_bracket = text.rfind(']').map_or(0, |b| b + 1);
    match text.get(after_bracket..).and_then(|t| t.rfind(':')) {
        Some(colon) => {
            let colon = after_bracket + colon;
            (text.get(..colon).unwrap_or(""), text.get(colon + 1..))
        }
        None => (text, None),
    }
}

fn parse_port(text: &str) -> Result<u16, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(port @ 1..=65_535) => Ok(u16::try_from(port).unwrap_or(u16::MAX)),
        _ if digits => {
            Err(Fault::new(format!("has the port {text}, out of range"), "write a port from 1 to 65535"))
        }
        _ => Err(Fault::new(format!("has {text:?} for a port"), "write a port from 1 to 65535")),
    }
}

fn parse_host(text: &str) -> Result<Box<str>, Fault> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => Ok(format!("[{ip}]").into()),
            Err(_) => Err(Fault::new(
                format!("has {text}, which is no IPv6 address"),
                "write an IPv6 address in brackets such as [2001:db8::1]",
            )),
        };
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(Fault::new("is an IPv6 address without brackets", format!("write [{text}]")));
    }
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric && text.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(Fault::new(
            format!("has {text:?}, which is no IPv4 address"),
            "write an address such as 192.0.2.1, or a host name",
        ));
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(Fault::new(
            format!("has {text:?}, which is no host name or address"),
            "write a host name, an IPv4 address, or an IPv6 address in brackets",
        ));
    }
    Ok(name.to_ascii_lowercase().into())
}

fn parse_host_port(text: &str) -> Result<HostPort, Fault> {
    let (host, port) = split_port(text);
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(Fault::new("is an IPv6 address without brackets", format!("write \"[{text}]\"")));
    }
    Ok(HostPort { host: parse_host(host)?, port: port.map(parse_port).transpose()? })
}

/// `[TRANSPORT:]ADDRESS[/LENGTH][:PORT]`, IPv6 with a port in brackets.
pub fn parse_source(text: &str) -> Result<SourceEntry, Fault> {
    let (transport, rest) = match text.split_once(':') {
        Some((word, rest)) => match Transport::from_token(word.as_bytes()) {
            Some(transport) => (Some(transport), rest),
            None => (None, text),
        },
        None => (None, text),
    };
    let entry = |net, port| SourceEntry { net, port, transport };
    if let Ok(ip) = rest.parse::<IpAddr>() {
        return Ok(entry(IpNet::from(ip), None));
    }
    if rest.contains('/') && !rest.starts_with('[') && rest.matches(':').count() != 1 {
        return parse_net(rest).map(|net| entry(net, None));
    }
    let (host, port) = split_port(rest);
    let port = port.map(parse_port).transpose()?;
    let bare = host.strip_prefix('[').map_or(host, |h| h.strip_suffix(']').unwrap_or(h));
    if bare.contains('/') {
        return parse_net(bare).map(|net| entry(net, port));
    }
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(entry(IpNet::from(ip), port)),
        Err(_) if parse_host(bare).is_ok() => Err(Fault::new(
            "is a host name, which is not available here in this version of Baton",
            "write its addresses, such as \"192.0.2.1\"",
        )),
        Err(_) => Err(Fault::new(
            "is no address or CIDR",
            "write an address such as \"192.0.2.1\", optionally with a port, or a CIDR such as \"192.0.2.0/24\"",
        )),
    }
}

fn parse_net(text: &str) -> Result<IpNet, Fault> {
    let (ip, length) = text.split_once('/').unwrap_or((text, ""));
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return Err(Fault::new(
            format!("is no CIDR: {ip:?} is no IP address"),
            "write an address and a prefix length such as \"192.0.2.0/24\"",
        ));
    };
    let most = if ip.is_ipv6() { 128 } else { 32 };
    match length.parse::<u8>().ok().and_then(|l| IpNet::new(ip, l).ok()) {
        Some(net) => Ok(net),
        None => Err(Fault::new(
            format!("is no CIDR: {length:?} is no prefix length"),
            format!("write a length from 0 to {most}, as in \"{ip}/{most}\""),
        )),
    }
}

/// A trunk's target from its URI: `sip:` or `sips:`, user, host, port, `transport`. A URI without a
/// user keeps the caller's.
pub fn parse_target(text: &str, priority: u16, weight: u16) -> Result<Target, Fault> {
    let example = "write a URI such as \"sip:192.0.2.1:5060\" or \"sip:carrier.example;transport=tcp\"";
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(Fault::new("is no URI", format!("{example}; it begins with sip: or sips:")));
    };
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "sip" => false,
        "sips" => true,
        "tel" => {
            return Err(Fault::new("is a number, which names no peer", example));
        }
        _ => {
            return Err(Fault::new(
                format!("is no SIP URI: its scheme is {scheme:?}"),
                format!("{example}; it begins with sip: or sips:"),
            ));
        }
    };
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || "<>\"{}|\\^`".contains(*c)) {
        return Err(Fault::new(format!("has {bad:?} in it, which no URI may have"), example));
    }
    if rest.contains('?') {
        return Err(Fault::new("carries headers after '?'", "leave out the '?' and what follows"));
    }
    let (user, rest) = match rest.rsplit_once('@') {
        Some(("", _)) => return Err(Fault::new("has an empty user", "write a user before '@', or no '@'")),
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let mut parts = rest.split(';');
    let (host, port) = split_port(parts.next().unwrap_or(""));
    if host.is_empty() {
        return Err(Fault::new("has no host", example));
    }
    let host = parse_host(host)?;
    let port = port.map(parse_port).transpose()?;
    let mut transport = secure.then_some(Transport::Tls);
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !name.eq_ignore_ascii_case("transport") {
            continue;
        }
        transport = Some(target_transport(value, secure)?);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Target {
        uri: text.into(),
        user: user.map(Into::into),
        host: bare.into(),
        port,
        transport,
        secure,
        priority,
        weight,
    })
}

/// C-060: nothing but TLS for `sips:`; its `transport=tcp` means TLS over TCP (RFC 3261 §26.2.2).
fn target_transport(value: &str, secure: bool) -> Result<Transport, Fault> {
    let remedy = "use transport=udp, tcp or tls";
    match Transport::from_token(value.as_bytes()) {
        Some(Transport::Ws | Transport::Wss) => {
            Err(Fault::new("asks for WebSocket, by which clients come and nobody is called", remedy))
        }
        Some(Transport::Udp) if secure => {
            Err(Fault::new("asks for UDP in a sips: URI", "write sip:, or leave out transport=udp"))
        }
        Some(Transport::Tcp) if secure => Ok(Transport::Tls),
        Some(transport) => Ok(transport),
        None => Err(Fault::new(format!("names the unknown transport {value:?}"), remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_name_transport_address_and_port() {
        let bind = parse_bind("tls:[::1]:5061").unwrap();
        assert_eq!(bind.transport, Transport::Tls);
        assert_eq!(bind.addr, "[::1]:5061".parse().unwrap());
        assert_eq!(parse_bind("ws:127.0.0.1:80").unwrap().transport, Transport::Ws);
        assert_eq!(parse_bind("wss:127.0.0.1:443").unwrap().transport, Transport::Wss);
        for (wrong, what) in [
            ("127.0.0.1", "no transport"),
            ("udp:127.0.0.1", "no port"),
            ("udp:127.0.0.1:70000", "out of range"),
            ("sctp:127.0.0.1:5060", "unknown transport"),
            ("udp:localhost:5060", "no IP address"),
        ] {
            let fault = parse_bind(wrong).unwrap_err();
            assert!(fault.what.contains(what), "{wrong}: {fault:?}");
        }
    }

    /// [T-015] [T-018] addresses and prefixes, with port and transport where written.
    #[test]
    fn sources_take_prefix_port_and_transport() {
        let all = [
            ("192.0.2.1", "192.0.2.1/32", None, None),
            ("192.0.2.0/24", "192.0.2.0/24", None, None),
            ("192.0.2.0/24:5060", "192.0.2.0/24", Some(5060), None),
            ("192.0.2.1:5080", "192.0.2.1/32", Some(5080), None),
            ("tcp:192.0.2.1", "192.0.2.1/32", None, Some(Transport::Tcp)),
            ("2001:db8::1", "2001:db8::1/128", None, None),
            ("2001:db8::/32", "2001:db8::/32", None, None),
            ("[2001:db8::1]:5060", "2001:db8::1/128", Some(5060), None),
            ("[2001:db8::/32]:5060", "2001:db8::/32", Some(5060), None),
            ("udp:[2001:db8::1]:5060", "2001:db8::1/128", Some(5060), Some(Transport::Udp)),
        ];
        for (text, net, port, transport) in all {
            let entry = parse_source(text).unwrap_or_else(|f| panic!("{text}: {f:?}"));
            assert_eq!(entry, SourceEntry { net: net.parse().unwrap(), port, transport }, "{text}");
        }
        for wrong in ["192.0.2.0/33", "300.0.0.0/8", "192.0.2.1:0", "peer.example", "", "::/129", "1.2.3"] {
            assert!(parse_source(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_are_sip_uris() {
        let target = parse_target("sips:bob@[2001:DB8::1]:5071;lr", 10, 100).unwrap();
        assert_eq!((&*target.host, target.port), ("2001:db8::1", Some(5071)));
        assert_eq!((target.user.as_deref(), target.transport), (Some("bob"), Some(Transport::Tls)));
        let target = parse_target("sip:Carrier.example;transport=TCP", 1, 2).unwrap();
        assert_eq!((&*target.host, target.port, target.user), ("carrier.example", None, None));
        assert_eq!(target.transport, Some(Transport::Tcp));
        for wrong in [
            "carrier.example",
            "http://x",
            "sip:",
            "sip:@h",
            "sip:h:99999",
            "sip:a b",
            "sip:300.1.1.1",
            "sip:h;transport=carrier-pigeon",
            "sips:h;transport=udp",
            "tel:+31",
            "sip:h?x=y",
            "sip:a..b",
            "sip:2001:db8::1",
        ] {
            assert!(parse_target(wrong, 10, 100).is_err(), "{wrong}");
        }
    }

    #[test]
    fn advertised_names_may_leave_the_port_out() {
        assert_eq!(parse_host_port("SIP.example.com").unwrap().port, None);
        let v6 = parse_host_port("[::1]:5060").unwrap();
        assert_eq!((&*v6.host, v6.port), ("[::1]", Some(5060)));
        assert!(parse_host_port("::1").is_err());
        assert!(parse_host_port("exa mple").is_err());
    }
}
