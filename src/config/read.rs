//! A typed reader over TOML tables that goes on after an error, so that one run names them all.
//!
//! A [`Reader`] walks one table. It remembers the keys it was asked for: those are the keys the
//! table may have, and any other is reported when the reader is [finished](Reader::finish).

mod value;

pub use value::{ExistingFile, FromToml, Value};

use crate::config::diagnostic::Findings;
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all readers of one file share.
#[derive(Debug)]
pub struct Context {
    /// What was found wrong so far.
    pub findings: RefCell<Findings>,
    /// Every `table.key` that was asked for: the schema, as the code knows it.
    pub asked: RefCell<BTreeSet<String>>,
    declared: RefCell<BTreeMap<(&'static str, String), Range<usize>>>,
    /// Where relative names of files to be read start: the folder of the configuration file.
    pub folder: PathBuf,
}

impl Context {
    /// For a file in `folder`.
    pub fn new(folder: &Path) -> Context {
        Context {
            findings: RefCell::default(),
            asked: RefCell::default(),
            declared: RefCell::default(),
            folder: folder.to_owned(),
        }
    }

    /// Adds an error.
    pub fn error(&self, span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.borrow_mut().error(span, what, remedy);
    }

    /// Adds an error about something that is not there.
    pub fn absent(&self, span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.borrow_mut().absent(span, what, remedy);
    }

    /// Notes that something of a kind has this name, even if the rest of its table is wrong; a
    /// second one of the same name is an error.
    pub fn declare(&self, kind: &'static str, name: &At<impl AsRef<str>>) {
        let text = name.value.as_ref();
        let mut declared = self.declared.borrow_mut();
        match declared.entry((kind, text.to_owned())) {
            Entry::Vacant(free) => {
                free.insert(name.span.clone());
            }
            Entry::Occupied(_) => self.error(
                name.span.clone(),
                format!("the {kind} {text:?} is there twice"),
                "give each a name of its own, or remove one",
            ),
        }
    }

    /// Reports a reference to something that no table declares.
    pub fn refer(&self, kind: &'static str, name: &At<impl AsRef<str>>, extra: &[&str]) {
        let text = name.value.as_ref();
        let declared = self.declared.borrow();
        if extra.contains(&text) || declared.contains_key(&(kind, text.to_owned())) {
            return;
        }
        let names = declared.keys().filter(|(k, _)| *k == kind).map(|(_, n)| n.as_str());
        let names: Vec<&str> = names.chain(extra.iter().copied()).collect();
        let remedy = match nearest(text, &names) {
            Some(near) => format!("did you mean {near:?}?"),
            None if names.len() == extra.len() => {
                format!("add a table [[{}]] for it", kind.replace(' ', "_"))
            }
            None if names.len() > 20 => format!("name one of the {} there are", names.len()),
            None => format!("name one of {}", names.join(", ")),
        };
        self.absent(name.span.clone(), format!("there is no {kind} {text:?}"), remedy);
    }

    /// Whether anything of this kind has a name, even if the rest of its table is wrong.
    pub fn declares(&self, kind: &'static str) -> bool {
        self.declared.borrow().keys().any(|(k, _)| *k == kind)
    }

    /// Adds a warning.
    pub fn warn(&self, span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.borrow_mut().warn(span, what, remedy);
    }
}

/// A value and where it stands in the file, for those that other tables refer to.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// Two configurations are the same if they say the same, wherever it stands.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &At<T>) -> bool {
        self.value == other.value
    }
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Reads one table.
#[derive(Debug)]
pub struct Reader<'a> {
    cx: &'a Context,
    table: Option<&'a DeTable<'a>>,
    /// `trunk`, `trunk.refer`: how the table is called in messages.
    path: String,
    span: Range<usize>,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// A reader of `table`, which stands at `span` and is called `path`. Without a table every key is
    /// absent: defaults come out.
    pub fn new(
        cx: &'a Context,
        table: Option<&'a DeTable<'a>>,
        path: &str,
        span: Range<usize>,
    ) -> Reader<'a> {
        Reader { cx, table, path: path.to_owned(), span, known: Vec::new(), later: Vec::new() }
    }

    /// What all readers of the file share.
    pub fn context(&self) -> &'a Context {
        self.cx
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The table's name for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A key's value as it stands, if it is there.
    pub fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let path = self.full(key);
        self.cx.asked.borrow_mut().insert(path.clone());
        let value: &'a Spanned<DeValue<'a>> = self.table?.get(key)?;
        Some(Value { cx: self.cx, path, raw: value })
    }

    /// A key that may be absent. `None` also when it is wrong, which is then reported.
    pub fn take<T: FromToml>(&mut self, key: &'static str) -> Option<T> {
        T::from_toml(&self.value(key)?)
    }

    /// A key with a default.
    pub fn or<T: FromToml>(&mut self, key: &'static str, default: T) -> T {
        self.take(key).unwrap_or(default)
    }

    /// A key that must be there; `example` is what could be written.
    pub fn need<T: FromToml>(&mut self, key: &'static str, example: &str) -> Option<T> {
        let Some(value) = self.value(key) else {
            let what = match self.path.as_str() {
                "" => format!("{key} is missing"),
                path => format!("{path} has no {key}"),
            };
            self.cx.absent(self.span(), what, format!("add {key} = {example}"));
            return None;
        };
        T::from_toml(&value)
    }

    /// An integer within bounds.
    pub fn int(&mut self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.value(key)?.int(bounds)
    }

    /// A table inside this one; one that is absent reads as empty.
    pub fn table(&mut self, key: &'static str) -> Reader<'a> {
        let span = self.span();
        let path = self.full(key);
        match self.value(key) {
            None => Reader::new(self.cx, None, &path, span),
            Some(value) => match value.raw.get_ref() {
                DeValue::Table(table) => Reader::new(self.cx, Some(table), &path, value.span()),
                other => {
                    value.wrong_type(other, &format!("a table: [{path}] or {key} = {{ … }}"));
                    Reader::new(self.cx, None, &path, span)
                }
            },
        }
    }

    /// The tables of an array of tables, such as all `[[trunk]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Reader<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let path = self.full(key);
        match value.raw.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| match item.get_ref() {
                    DeValue::Table(table) => Some(Reader::new(self.cx, Some(table), &path, item.span())),
                    other => {
                        let item = Value { cx: self.cx, path: path.clone(), raw: item };
                        item.wrong_type(other, &format!("[[{path}]] tables"));
                        None
                    }
                })
                .collect(),
            other => {
                value.wrong_type(other, &format!("[[{path}]] with two brackets"));
                Vec::new()
            }
        }
    }

    /// Keys that Baton's interface names but this version does not have: neither ignored nor unknown.
    pub fn later(&mut self, keys: &[&'static str]) {
        self.later.extend_from_slice(keys);
    }

    /// Reports every key that was not asked for.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let full = self.full(name);
            if self.later.contains(&name) {
                self.cx.error(
                    key.span(),
                    format!("{full} is not available in this version of Baton"),
                    "remove it",
                );
                continue;
            }
            let remedy = match nearest(name, &self.known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            self.cx.error(key.span(), format!("unknown key {full}"), remedy);
        }
    }
}

/// The known word a misspelt one was probably meant to be.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (distance(&word.to_lowercase(), k), *k))
        .filter(|(d, k)| *d <= (k.len().max(word.len()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Edits between two words; neighbours exchanged count as one (restricted Damerau–Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(nearest("lsiten", &["listen", "count"]), Some("listen"));
        assert_eq!(nearest("targts", &["targets", "match"]), Some("targets"));
        assert_eq!(nearest("colour", &["targets", "match"]), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
