//! The node's signature on webhooks (telnyx 3.3): Ed25519 over `<timestamp>|<body>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fmt;

/// Signs what is sent.
pub(super) struct Signer(Option<Ed25519KeyPair>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// From the seed that the state directory keeps.
    pub(super) fn new(seed: &[u8; 32]) -> Signer {
        // Every 32 bytes are a seed.
        Signer(Ed25519KeyPair::from_seed_unchecked(seed).ok())
    }

    /// The public key: Base64 of 32 bytes.
    pub(super) fn public(&self) -> String {
        self.0.as_ref().map(|key| STANDARD.encode(key.public_key().as_ref())).unwrap_or_default()
    }

    /// The signature of a body sent at this second, as Base64.
    pub(super) fn sign(&self, timestamp: u64, body: &[u8]) -> String {
        let signed = [timestamp.to_string().as_bytes(), b"|", body].concat();
        self.0.as_ref().map(|key| STANDARD.encode(key.sign(&signed).as_ref())).unwrap_or_default()
    }
}
