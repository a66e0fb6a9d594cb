//! The state directory: what must outlast a restart and is not the operator's to write.
//!
//! Each file is made once, from entropy, with mode 0600, and read ever after: the node's identifier,
//! the key that authenticates what Baton writes into messages for itself (law 6), and the key that
//! signs webhooks.

use crate::config::schema::{Config, Store};
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What was found or made in the state directory.
pub struct State {
    /// The node's 128 bits, the `ID…` half of call identifiers.
    pub node: u128,
    /// Authenticates what Baton writes into Record-Route and Via for itself.
    pub token_key: [u8; 16],
    /// Signs webhooks.
    pub webhook_key: [u8; 32],
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("node", &format_args!("{:032x}", self.node)).finish_non_exhaustive()
    }
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder cannot be read or made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} should hold {digits} hexadecimal digits; restore it, or remove it to have a new one made", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// How many digits it should have.
        digits: usize,
    },
    /// The system gives no entropy.
    #[error("no entropy from the system: {0}")]
    Entropy(getrandom::Error),
}

impl Config {
    /// The state directory: as configured, else beside the store.
    pub fn state_dir(&self) -> PathBuf {
        match (&self.state.dir, &self.records.store) {
            (Some(dir), _) => dir.clone(),
            (None, Store::Sqlite(file)) => match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            },
        }
    }
}

impl State {
    /// Reads the state in `dir`, making what is not there yet.
    pub fn open(dir: &Path) -> Result<State, StateError> {
        make_dir(dir)?;
        Ok(State {
            node: u128::from_be_bytes(secret(&dir.join("node-id"))?),
            token_key: secret(&dir.join("token.key"))?,
            webhook_key: secret(&dir.join("webhook.key"))?,
        })
    }
}

/// Makes a folder, and those above it, that only its owner may enter; one that exists is left as it is.
pub fn make_dir(dir: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| StateError::Io { path: dir.to_owned(), source })
}

/// `N` bytes kept as hexadecimal digits in `path`, drawn when the file is not there.
fn secret<const N: usize>(path: &Path) -> Result<[u8; N], StateError> {
    let fail = |source| StateError::Io { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => {
            let bytes = decode::<N>(text.trim());
            let bytes = bytes.ok_or(StateError::Malformed { path: path.to_owned(), digits: 2 * N })?;
            // A copy or an unpacked archive may have widened it.
            let meta = fs::metadata(path).map_err(fail)?;
            if meta.permissions().mode() & 0o077 != 0 {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
            }
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0u8; N];
            getrandom::fill(&mut bytes).map_err(StateError::Entropy)?;
            write_new(path, &bytes).map_err(fail)?;
            // Another process may have been first; what stands there is what holds.
            let text = fs::read_to_string(path).map_err(fail)?;
            decode::<N>(text.trim()).ok_or(StateError::Malformed { path: path.to_owned(), digits: 2 * N })
        }
        Err(error) => Err(fail(error)),
    }
}

/// Writes beside the file and links it into place: a crash leaves the whole file or none.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    file.write_all(format!("{digits}\n").as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("baton-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn state_is_made_once_and_private() {
        let dir = folder("once");
        let first = State::open(&dir).unwrap();
        let second = State::open(&dir).unwrap();
        assert_eq!(first.node, second.node);
        assert_eq!(first.token_key, second.token_key);
        assert_eq!(first.webhook_key, second.webhook_key);
        assert_ne!(first.token_key, first.webhook_key[..16]);
        for name in ["node-id", "token.key", "webhook.key"] {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = folder("damaged");
        State::open(&dir).unwrap();
        fs::write(dir.join("token.key"), "not hexadecimal").unwrap();
        assert!(matches!(State::open(&dir), Err(StateError::Malformed { digits: 32, .. })));
        fs::remove_dir_all(&dir).unwrap();
    }

    /// [T-023]
    #[test]
    fn keys_are_not_shown() {
        let state = State { node: 7, token_key: [0xab; 16], webhook_key: [0xcd; 32] };
        let shown = format!("{state:?}");
        assert!(shown.contains("00000007") && !shown.contains("ab") && !shown.contains("171"));
    }
}
