//! Single values: strings, numbers, durations, and what is said when they are wrong.

use super::{At, Context};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// A value in the file and its name for messages.
#[derive(Debug)]
pub struct Value<'a> {
    pub(super) cx: &'a Context,
    /// `trunk.udp_max`.
    pub path: String,
    /// The value as parsed.
    pub raw: &'a Spanned<DeValue<'a>>,
}

/// What can be read from a TOML value. `None` means that it was wrong and has been reported.
pub trait FromToml: Sized {
    /// Reads a value.
    fn from_toml(value: &Value<'_>) -> Option<Self>;
}

impl<'a> Value<'a> {
    /// What all values of the file share.
    pub fn context(&self) -> &'a Context {
        self.cx
    }

    /// Where it stands.
    pub fn span(&self) -> Range<usize> {
        self.raw.span()
    }

    /// Reports that the value is not right, whatever it is.
    pub fn wrong(&self, what: impl std::fmt::Display, remedy: impl Into<String>) {
        self.cx.error(self.span(), format!("{} {what}", self.path), remedy);
    }

    /// Reports a value of another type than the one wanted.
    pub fn wrong_type(&self, found: &DeValue<'_>, wanted: &str) {
        let article = match found {
            DeValue::Integer(_) | DeValue::Array(_) => "an",
            _ => "a",
        };
        self.wrong(format_args!("is {article} {}", found.type_str()), format!("write {wanted}"));
    }

    /// The string it is; `wanted` says what should stand here.
    pub fn string(&self, wanted: &str) -> Option<&'a str> {
        match self.raw.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            other => {
                self.wrong_type(other, wanted);
                None
            }
        }
    }

    /// An integer within bounds.
    pub fn int(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (bounds.start(), bounds.end());
        let DeValue::Integer(digits) = self.raw.get_ref() else {
            self.wrong_type(self.raw.get_ref(), &format!("an integer from {low} to {high}"));
            return None;
        };
        match i128::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(n) if n >= i128::from(*low) && n <= i128::from(*high) => u64::try_from(n).ok(),
            _ => {
                self.wrong(
                    format_args!("= {digits} is out of range"),
                    format!("write an integer from {low} to {high}"),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let wanted = one_of(&names);
        let text = self.string(&wanted)?;
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let remedy = match super::nearest(text, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("write {wanted}"),
            };
            self.wrong(format_args!("= {text:?} is not known"), remedy);
        }
        found
    }

    /// Whether it is `[]`.
    pub fn is_empty_array(&self) -> bool {
        matches!(self.raw.get_ref(), DeValue::Array(items) if items.is_empty())
    }

    /// Its elements, if it is an array; a single value counts as an array of one.
    pub fn elements(&self) -> Vec<Value<'a>> {
        let raw: &'a Spanned<DeValue<'a>> = self.raw;
        match raw.get_ref() {
            DeValue::Array(items) => {
                items.iter().map(|raw| Value { cx: self.cx, path: self.path.clone(), raw }).collect()
            }
            _ => vec![Value { cx: self.cx, path: self.path.clone(), raw }],
        }
    }
}

/// `"a", "b" or "c"`.
pub fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("\"{n}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

impl FromToml for String {
    fn from_toml(value: &Value<'_>) -> Option<String> {
        value.string("a string in quotes").map(str::to_owned)
    }
}

impl FromToml for bool {
    fn from_toml(value: &Value<'_>) -> Option<bool> {
        match value.raw.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            other => {
                value.wrong_type(other, "true or false");
                None
            }
        }
    }
}

impl<T: FromToml> FromToml for At<T> {
    fn from_toml(value: &Value<'_>) -> Option<At<T>> {
        Some(At { value: T::from_toml(value)?, span: value.span() })
    }
}

/// Elements that are wrong are reported and left out.
impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(value: &Value<'_>) -> Option<Vec<T>> {
        match value.raw.get_ref() {
            DeValue::Array(_) => Some(value.elements().iter().filter_map(|e| T::from_toml(e)).collect()),
            other => {
                value.wrong_type(other, "an array: [ … ]");
                None
            }
        }
    }
}

impl FromToml for Duration {
    fn from_toml(value: &Value<'_>) -> Option<Duration> {
        const WANTED: &str = "a number with a unit ms, s, m, h or d, such as \"3s\" or \"90d\"";
        let text = value.string(WANTED)?;
        let parsed = parse_duration(text);
        if parsed.is_none() {
            value.wrong(format_args!("= {text:?} is no duration"), format!("write {WANTED}"));
        }
        parsed
    }
}

/// `500ms`, `3s`, `1.5h`, `1h30m`: numbers with units, added up.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after.trim_start();
    }
    // Nothing here is measured more finely, and 0.3 × 0.001 must not show as 299.999 µs.
    Some(Duration::from_micros(u64::try_from((total.as_nanos() + 500) / 1_000).ok()?))
}

/// A file that is to be read, made absolute by the configuration's folder; it must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingFile(pub PathBuf);

impl FromToml for ExistingFile {
    fn from_toml(value: &Value<'_>) -> Option<ExistingFile> {
        let text = value.string("the name of a file")?;
        let path = value.cx.folder.join(text);
        match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(meta) if meta.is_file() => Some(ExistingFile(path)),
            Ok(_) => {
                value.wrong(format_args!("= {text:?} is not a file"), "name a readable file");
                None
            }
            Err(error) => {
                let why = match error.kind() {
                    std::io::ErrorKind::NotFound => "does not exist".to_owned(),
                    std::io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
                    _ => format!("cannot be read ({error})"),
                };
                value.wrong(
                    format_args!("names {text:?}, which {why}"),
                    format!("create {} or correct the name", path.display()),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_units() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("3s"), Some(Duration::from_secs(3)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("90d"), Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1_500)));
        for wrong in ["", "3", "s", "3 parsecs", "-1s", "1..5s", "99999999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn choices_read_as_a_sentence() {
        assert_eq!(one_of(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        assert_eq!(one_of(&["a"]), "\"a\"");
    }
}
