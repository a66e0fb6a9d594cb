//! `[[listener]]` and `[[tls_profile]]`.

use super::{Name, named};
use crate::config::endpoint::{Bind, HostPort};
use crate::config::read::{At, ExistingFile, FromToml, Reader, Value};
use std::path::PathBuf;

/// `[[listener]]`: a socket for SIP.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: At<Name>,
    /// Transport, address and port.
    pub bind: At<Bind>,
    /// The host and port peers are told (T-088).
    pub advertise: Option<HostPort>,
    /// Profiles for `tls`; the first is the default, others are chosen by SNI.
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

/// Whether a server asks its clients for certificates (T-104).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// Asked for, checked when given.
    Request,
    /// Without a valid one the handshake fails.
    Require,
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
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// PEM file with the trust anchors for peers' certificates; absent: none is trusted.
    pub ca: Option<PathBuf>,
    /// As server: whether clients need certificates.
    pub client_auth: ClientAuth,
    /// As client: whether the server's certificate is checked (T-103).
    pub verify: bool,
}

impl Profile {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Profile> {
        let name = named(&mut table, "tls profile", "\"default\"");
        let cert = table.need::<ExistingFile>("cert", "\"cert.pem\"");
        let key = table.need::<ExistingFile>("key", "\"key.pem\"");
        let no_ca = table.value("ca").is_none();
        let ca = table.take::<ExistingFile>("ca");
        let client_auth = table.or("client_auth", ClientAuth::default());
        let verify = table.or("verify", true);
        table.later(&["min_version", "ciphers", "groups", "crl"]);
        if client_auth != ClientAuth::None && no_ca {
            table.context().absent(
                table.span(),
                "tls_profile asks for client certificates but trusts no issuer of them",
                "add ca = \"FILE\" with the issuers' certificates",
            );
        }
        table.finish();
        Some(Profile {
            name: name?,
            cert: cert?.0,
            key: key?.0,
            ca: ca.map(|file| file.0),
            client_auth,
            verify,
        })
    }
}
