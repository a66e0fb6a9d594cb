//! TLS (placeholder until the transport is in place).

/// Certificates, keys and trust.
#[derive(Debug)]
pub struct TlsContext;
