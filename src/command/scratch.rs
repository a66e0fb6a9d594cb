//! The folder of a server that runs without a configuration file: made for it, gone with it.

use crate::config::state::{StateError, make_dir};
use std::path::{Path, PathBuf};

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder of its own that only this user may enter.
    pub(crate) fn make() -> Result<Scratch, StateError> {
        let mut name = [0u8; 8];
        getrandom::fill(&mut name).map_err(StateError::Entropy)?;
        let dir = std::env::temp_dir().join(format!("baton-{:016x}", u64::from_be_bytes(name)));
        make_dir(&dir)?;
        Ok(Scratch(dir))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
