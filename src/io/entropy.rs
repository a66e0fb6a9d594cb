//! Entropy from the operating system: the only place that draws any.
//!
//! Shards get a seed from here when they start and draw everything else from it.

/// The operating system could not give random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NoEntropy(getrandom::Error);

/// `N` unpredictable bytes: seeds, keys, identifiers.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoEntropy)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(bytes::<16>().ok(), bytes::<16>().ok());
    }
}
