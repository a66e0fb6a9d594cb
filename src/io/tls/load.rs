//! Profiles from files.

use super::verify::Unverified;
use super::{ClientAuth, Profile, TlsProfile};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// A TLS profile that cannot be used.
#[derive(Debug, Error)]
#[error("tls_profile \"{profile}\": {}: {problem}", file.display())]
pub struct TlsError {
    /// The profile.
    pub profile: Box<str>,
    /// The file at fault.
    pub file: PathBuf,
    /// What is wrong, and what would be right.
    pub problem: TlsProblem,
}

/// What is wrong with a profile's file.
#[derive(Debug, Error)]
pub enum TlsProblem {
    /// It is no PEM file, or cannot be read.
    #[error("{0}")]
    Pem(pem::Error),
    /// It holds no certificate.
    #[error("no certificate in this file: a PEM block \"CERTIFICATE\" is needed")]
    NoCertificate,
    /// Client certificates are asked for, and nobody is trusted to sign them.
    #[error("client certificates are asked for, but no `ca` says who may sign them")]
    NoAuthorities,
    /// Certificate and key do not fit, or something else the TLS library refuses.
    #[error("{0}")]
    Refused(rustls::Error),
    /// The authorities cannot be used.
    #[error("{0}")]
    Verifier(rustls::server::VerifierBuilderError),
}

pub(super) fn load(place: usize, profile: &TlsProfile) -> Result<Profile, TlsError> {
    Loader { profile }.load(place)
}

struct Loader<'a> {
    profile: &'a TlsProfile,
}

impl Loader<'_> {
    fn load(&self, place: usize) -> Result<Profile, TlsError> {
        let chain = self.certificates(&self.profile.certificate)?;
        let certificate = chain
            .first()
            .cloned()
            .ok_or_else(|| self.error(&self.profile.certificate, TlsProblem::NoCertificate))?;
        let roots = self.roots()?;
        Ok(Profile {
            place,
            certificate,
            server: Arc::new(self.server(chain.clone(), Arc::clone(&roots))?),
            client: Arc::new(self.client(chain, roots)?),
        })
    }

    fn server(
        &self,
        chain: Vec<CertificateDer<'static>>,
        roots: Arc<RootCertStore>,
    ) -> Result<ServerConfig, TlsError> {
        let key_file = &self.profile.key;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| self.error(key_file, TlsProblem::Refused(error)))?;
        let config = match self.profile.client_auth {
            ClientAuth::None => config.with_no_client_auth(),
            auth @ (ClientAuth::Request | ClientAuth::Require) => {
                let Some(ca) = &self.profile.ca else {
                    return Err(self.error(&self.profile.certificate, TlsProblem::NoAuthorities));
                };
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let builder = match auth {
                    ClientAuth::Request => builder.allow_unauthenticated(),
                    ClientAuth::None | ClientAuth::Require => builder,
                };
                let verifier = builder.build().map_err(|e| self.error(ca, TlsProblem::Verifier(e)))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        config
            .with_single_cert(chain, self.key()?)
            .map_err(|error| self.error(key_file, TlsProblem::Refused(error)))
    }

    fn client(
        &self,
        chain: Vec<CertificateDer<'static>>,
        roots: Arc<RootCertStore>,
    ) -> Result<ClientConfig, TlsError> {
        let key_file = &self.profile.key;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| self.error(key_file, TlsProblem::Refused(error)))?;
        let config = if !self.profile.verify_servers || roots.is_empty() {
            // Without any authority nothing is trusted, unless checking is switched off.
            config.dangerous().with_custom_certificate_verifier(Arc::new(Unverified::new(
                provider(),
                !self.profile.verify_servers,
            )))
        } else {
            let ca = self.profile.ca.as_ref().unwrap_or(&self.profile.certificate);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|e| self.error(ca, TlsProblem::Verifier(e)))?;
            config.with_webpki_verifier(verifier)
        };
        config
            .with_client_auth_cert(chain, self.key()?)
            .map_err(|error| self.error(key_file, TlsProblem::Refused(error)))
    }

    /// The authorities of `ca`.
    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.profile.ca {
            for certificate in self.certificates(ca)? {
                roots.add(certificate).map_err(|e| self.error(ca, TlsProblem::Refused(e)))?;
            }
            if roots.is_empty() {
                return Err(self.error(ca, TlsProblem::NoCertificate));
            }
        }
        Ok(Arc::new(roots))
    }

    fn certificates(&self, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| self.error(file, TlsProblem::Pem(error)))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let file = &self.profile.key;
        PrivateKeyDer::from_pem_file(file).map_err(|error| self.error(file, TlsProblem::Pem(error)))
    }

    fn error(&self, file: &Path, problem: TlsProblem) -> TlsError {
        TlsError { profile: self.profile.name.clone(), file: file.to_owned(), problem }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
