//! TLS: certificates and trust by profile, and the layer of one connection.
//!
//! One provider (ring), TLS 1.2 and 1.3 (C-057). A listener names its profiles; the client's SNI
//! chooses among them, and the first is the default. Towards servers, the name that the SIP
//! transaction wanted must stand in the certificate's subjectAltName (RFC 5922 §7.1, §7.2).

mod load;
mod session;
mod verify;

pub use load::{TlsError, TlsProblem};
pub(crate) use session::Session;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ServerConfig};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A certificate with its key, and whom to trust: one `[[tls_profile]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProfile {
    /// The name that listeners use.
    pub name: Box<str>,
    /// PEM file: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// PEM file of the authorities that peers' certificates must come from; `None`: nobody is
    /// trusted.
    pub ca: Option<PathBuf>,
    /// Whether clients must show a certificate (C-058).
    pub client_auth: ClientAuth,
    /// Whether servers' certificates are checked. Only tests and closed networks switch it off.
    pub verify_servers: bool,
}

/// What is asked of clients that connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate.
    #[default]
    None,
    /// A certificate is checked when one is shown.
    Request,
    /// A certificate from one of the profile's authorities.
    Require,
}

/// All profiles, loaded. Replaced as a whole; connections keep what they began with (C-059).
#[derive(Default)]
pub struct TlsContext {
    profiles: HashMap<Box<str>, Profile>,
}

pub(crate) struct Profile {
    /// Its place in the configuration, for counters.
    pub(crate) place: usize,
    certificate: CertificateDer<'static>,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl TlsContext {
    /// Reads all files and checks that they fit together.
    ///
    /// # Errors
    ///
    /// The first profile that cannot be used, with the file and what would help.
    pub fn load(profiles: &[TlsProfile]) -> Result<TlsContext, TlsError> {
        let profiles = profiles
            .iter()
            .enumerate()
            .map(|(place, profile)| Ok((profile.name.clone(), load::load(place, profile)?)))
            .collect::<Result<_, TlsError>>()?;
        Ok(TlsContext { profiles })
    }

    /// Whether a profile of this name was loaded.
    pub fn contains(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    /// The profile for a client that wants `server_name`: the first whose certificate bears it,
    /// else the first.
    pub(crate) fn choose(&self, names: &[Box<str>], server_name: Option<&str>) -> Option<&Profile> {
        let mut profiles = names.iter().filter_map(|name| self.profiles.get(name));
        let first = self.first(names);
        match server_name.and_then(|name| ServerName::try_from(name).ok()) {
            None => first,
            Some(name) => profiles.find(|profile| profile.bears(&name)).or(first),
        }
    }

    /// The default among a listener's profiles.
    pub(crate) fn first(&self, names: &[Box<str>]) -> Option<&Profile> {
        names.iter().find_map(|name| self.profiles.get(name))
    }
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: keys never reach a log (C-217).
        f.debug_set().entries(self.profiles.keys()).finish()
    }
}

impl Profile {
    fn bears(&self, name: &ServerName<'_>) -> bool {
        ParsedCertificate::try_from(&self.certificate)
            .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
    }
}

/// What a server's certificate must name: the SIP domain, else the address.
pub(crate) fn server_name(domain: Option<&str>, address: IpAddr) -> Option<ServerName<'static>> {
    match domain {
        None => Some(ServerName::from(address)),
        Some(domain) => {
            let bare = domain.trim_start_matches('[').trim_end_matches(']');
            ServerName::try_from(bare.to_owned()).ok()
        }
    }
}
