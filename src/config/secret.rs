//! Text that is never printed.

use crate::config::read::{FromToml, Value};
use std::fmt;

/// A token, password or key: no log, answer or error shows it (T-023).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text, for comparing and signing only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl FromToml for Secret {
    fn from_toml(value: &Value<'_>) -> Option<Secret> {
        let text = value.string("a string in quotes")?;
        if text.is_empty() {
            value.wrong("is empty", "write a secret that is hard to guess");
            return None;
        }
        Some(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [T-023]
    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", Secret::new("hidden")), "Secret(…)");
    }
}
