//! `[auth]`: how Baton challenges those who must prove who they are.

use crate::config::read::{At, FromToml, Reader, Value};
use crate::sip::auth::Algorithm;
use crate::sip::plan;

/// `[auth]` (C-196, T-021).
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// What is offered, best first; each once, and at least one.
    pub algorithms: Vec<Algorithm>,
}

impl Default for Auth {
    fn default() -> Auth {
        Auth { algorithms: plan::Auth::default().algorithms }
    }
}

impl FromToml for Algorithm {
    fn from_toml(value: &Value<'_>) -> Option<Algorithm> {
        value.word(&Algorithm::ALL.map(|algorithm| (algorithm.token(), algorithm)))
    }
}

impl Auth {
    pub(super) fn read(mut table: Reader<'_>) -> Auth {
        let auth = Auth { algorithms: read_algorithms(&mut table).unwrap_or(Auth::default().algorithms) };
        table.later(&["nonce_ttl"]);
        table.finish();
        auth
    }
}

fn read_algorithms(table: &mut Reader<'_>) -> Option<Vec<Algorithm>> {
    let value = table.value("algorithms")?;
    let named = Vec::<At<Algorithm>>::from_toml(&value)?;
    if value.is_empty_array() {
        value.wrong("is empty, so nobody could register", "name at least one, or leave the key out");
    }
    let mut algorithms = Vec::new();
    for At { value: algorithm, span } in named {
        if algorithms.contains(&algorithm) {
            // RFC 8760 §2.3: one challenge for each.
            table.context().error(
                span,
                format!("auth.algorithms names {:?} twice", algorithm.token()),
                "keep the first",
            );
        } else {
            algorithms.push(algorithm);
        }
    }
    Some(algorithms)
}
