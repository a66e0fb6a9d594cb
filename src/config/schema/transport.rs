//! `[[listener]]` and `[[tls_profile]]`.

use super::service::at_least;
use super::{Name, named};
use crate::config::endpoint::{Bind, HostPort};
use crate::config::read::{At, ExistingFile, FromToml, Reader, Value};
use crate::io::{ClientAuth, StreamOptions, TlsContext, TlsProfile};
use std::time::Duration;

/// `[[listener]]`: a socket for SIP.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: At<Name>,
    /// Transport, address and port.
    pub bind: At<Bind>,
    /// The host and port peers are told (T-088).
    pub advertise: Option<HostPort>,
    /// Profiles for `tls` and `wss`; the first is the default, others are chosen by SNI.
    pub tls_profiles: Vec<At<Name>>,
}

impl Listener {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Listener> {
        let name = named(&mut table, "listener", "\"lan\"");
        let bind = table.need("bind", "\"udp:127.0.0.1:5060\"");
        let advertise = table.take("advertise");
        let tls_profiles = table.take::<OneOrMore>("tls_profile").map_or_else(Vec::new, |o| o.0);
        table.later(&["allow", "deny", "stream", "keepalive", "tls", "max_connections"]);
        table.finish();
        Some(Listener { name: name?, bind: bind?, advertise, tls_profiles })
    }
}

/// A name, or a list of names.
struct OneOrMore(Vec<At<Name>>);

impl FromToml for OneOrMore {
    fn from_toml(value: &Value<'_>) -> Option<OneOrMore> {
        Some(OneOrMore(value.elements().iter().filter_map(FromToml::from_toml).collect()))
    }
}

impl FromToml for ClientAuth {
    fn from_toml(value: &Value<'_>) -> Option<ClientAuth> {
        value.word(&[
            ("none", ClientAuth::None),
            ("request", ClientAuth::Request),
            ("require", ClientAuth::Require),
        ])
    }
}

/// `[[tls_profile]]`: certificates and what is asked of peers. Files are named relative to the
/// configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: At<Name>,
    /// What it says; the files could be used when the configuration was read.
    pub files: TlsProfile,
}

impl Profile {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Profile> {
        let name = named(&mut table, "tls profile", "\"default\"");
        let cert = table.need::<At<ExistingFile>>("cert", "\"cert.pem\"");
        let key = table.need::<At<ExistingFile>>("key", "\"key.pem\"");
        let no_ca = table.value("ca").is_none();
        let ca = table.take::<At<ExistingFile>>("ca");
        let client_auth = table.or("client_auth", ClientAuth::default());
        let verify_servers = table.or("verify", true);
        table.later(&["min_version", "ciphers", "groups", "crl"]);
        let cx = table.context();
        if client_auth != ClientAuth::None && no_ca {
            cx.absent(
                table.span(),
                "tls_profile asks for client certificates but trusts no issuer of them",
                "add ca = \"FILE\" with the issuers' certificates",
            );
        }
        if !verify_servers {
            // T-103: said at each start.
            cx.warn(
                table.value("verify").map_or(table.span(), |v| v.span()),
                "tls_profile.verify = false: anybody can pass for a server",
                "name its issuer with ca = \"FILE\" instead",
            );
        }
        table.finish();
        let (name, cert, key) = (name?, cert?, key?);
        let files = TlsProfile {
            name: name.value.0.clone(),
            certificate: cert.value.0,
            key: key.value.0,
            ca: ca.as_ref().map(|file| file.value.0.clone()),
            client_auth,
            verify_servers,
        };
        if no_ca && client_auth != ClientAuth::None {
            return None;
        }
        if let Err(error) = TlsContext::load(std::slice::from_ref(&files)) {
            let span = match &ca {
                Some(ca) if ca.value.0 == error.file => ca.span.clone(),
                _ if files.certificate == error.file => cert.span,
                _ => key.span,
            };
            cx.error(
                span,
                format!("tls_profile cannot use {}: {}", error.file.display(), error.problem),
                "name PEM files with a certificate chain and the private key that belongs to it",
            );
            return None;
        }
        Some(Profile { name, files })
    }
}

/// Web origins as browsers write them: scheme, host, and port unless it is the scheme's own.
struct Origins(Vec<Box<str>>);

impl FromToml for Origins {
    fn from_toml(value: &Value<'_>) -> Option<Origins> {
        let origin = |value: &Value<'_>| {
            let text = value.string("an origin such as \"https://phone.example.com\"")?;
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            if rest.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', '*', ' '])) {
                value.wrong(
                    format_args!("= {text:?} is no web origin"),
                    "write scheme and host, and the port if it is not the usual one: \"https://phone.example.com\"",
                );
                return None;
            }
            Some(text.into())
        };
        Some(Origins(value.elements().iter().filter_map(origin).collect()))
    }
}

/// Reads `[streams]`: bounds on TCP, TLS and WebSocket connections.
pub(super) fn read_streams(mut table: Reader<'_>) -> StreamOptions {
    let d = StreamOptions::default();
    let mut time = |key, default| at_least(&mut table, key, Duration::from_millis(10)).unwrap_or(default);
    let connect = time("connect_timeout", d.connect);
    let handshake = time("handshake_timeout", d.handshake);
    let partial = time("message_timeout", d.partial);
    let stall = time("stall_timeout", d.stall);
    let idle = time("idle", d.idle);
    let pong = time("pong_timeout", d.pong);
    let ping = at_least(&mut table, "ping", Duration::from_secs(1)).or(d.ping);
    let websocket_ping = at_least(&mut table, "websocket_ping", Duration::from_secs(1)).or(d.websocket_ping);
    let origins = table.take::<Origins>("origins").map_or(d.origins, |origins| origins.0);
    let connections = table.int("max_connections", 1..=10_000_000).and_then(|n| usize::try_from(n).ok());
    let write_queue = table.int("write_queue", 65_536..=1_073_741_824).and_then(|n| usize::try_from(n).ok());
    table.finish();
    StreamOptions {
        connect,
        handshake,
        partial,
        stall,
        idle,
        ping,
        pong,
        websocket_ping,
        origins,
        connections: connections.unwrap_or(d.connections),
        write_queue: write_queue.unwrap_or(d.write_queue),
    }
}
