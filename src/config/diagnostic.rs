//! What is wrong with a configuration file: where, what, and what would be right.

use crate::config::read::nearest;
use std::fmt::{self, Write as _};
use std::ops::Range;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not say what was meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Bytes of the file it is about.
    pub span: Range<usize>,
    /// Whether the file can still be used.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub remedy: String,
    /// Whether it complains of something missing; after a syntax error that may be its fault.
    pub absence: bool,
}

/// Findings as they are made while a file is read.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Diagnostic>,
}

impl Findings {
    /// Adds an error.
    pub fn error(&mut self, span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(span, Severity::Error, what.into(), remedy.into(), false);
    }

    /// Adds an error about something that is not there.
    pub fn absent(&mut self, span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(span, Severity::Error, what.into(), remedy.into(), true);
    }

    /// Adds a warning.
    pub fn warn(&mut self, span: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(span, Severity::Warning, what.into(), remedy.into(), false);
    }

    fn push(&mut self, span: Range<usize>, severity: Severity, what: String, remedy: String, absence: bool) {
        self.list.push(Diagnostic { span, severity, what, remedy, absence });
    }

    /// All findings in the order of the file.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| (d.span.start, d.span.end));
        self.list.dedup();
        self.list
    }
}

/// Findings about one file, ready to be shown.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file's name as the user gave it.
    pub file: String,
    text: String,
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Findings about `text`, which is the content of `file`.
    pub fn new(file: &str, text: &str, diagnostics: Vec<Diagnostic>) -> Report {
        Report { file: file.to_owned(), text: text.to_owned(), diagnostics }
    }

    /// A finding about a file as a whole, such as that it cannot be read.
    pub fn of_file(file: &str, what: String, remedy: &str) -> Report {
        let diagnostic = Diagnostic {
            span: 0..0,
            severity: Severity::Error,
            what,
            remedy: remedy.to_owned(),
            absence: false,
        };
        Report::new(file, "", vec![diagnostic])
    }

    /// Whether anything keeps the file from being used.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many findings keep the file from being used.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before.matches('\n').count() + 1;
        (line, before.get(line_start..).unwrap_or("").chars().count() + 1)
    }

    /// One finding on one line: `FILE:LINE:COLUMN: what is wrong, what would be right`.
    pub fn line(&self, diagnostic: &Diagnostic) -> String {
        let (line, column) = self.position(diagnostic.span.start);
        let severity = match diagnostic.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        format!("{}:{line}:{column}: {severity}{}, {}", self.file, diagnostic.what, diagnostic.remedy)
    }

    /// The offending line with carets below the offending part; empty when the line is empty.
    fn excerpt(&self, diagnostic: &Diagnostic) -> String {
        let (line, column) = self.position(diagnostic.span.start);
        let Some(text) = self.text.lines().nth(line - 1).filter(|l| !l.trim().is_empty()) else {
            return String::new();
        };
        // A line may be a secret's; what stands between quotes after such a key is not repeated.
        let text = mask(text);
        let marked = self.text.get(diagnostic.span.clone()).unwrap_or("").lines().next().unwrap_or("");
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        let carets = "^".repeat(marked.chars().count().clamp(1, room));
        let number = line.to_string();
        let mut out = String::new();
        let gutter = " ".repeat(number.len());
        // Tabs are kept before the carets so that they stand below what they mean.
        let lead: String =
            text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(out, "  {number} | {text}");
        let _ = writeln!(out, "  {gutter} | {lead}{carets}");
        out
    }
}

/// Hides what follows a key that sets a secret, even where the key is misspelt, and also within an
/// inline table (T-023).
fn mask(line: &str) -> String {
    const SECRETS: [&str; 5] = ["token", "password", "ha1", "ha1_sha256", "webhook_secret"];
    let mut from = 0;
    for (at, _) in line.match_indices(['{', ',']).chain([(line.len(), "")]) {
        let part = line.get(from..at).unwrap_or("");
        let key = part.trim_start_matches([' ', '\t', '{', ',']).split(['=', ' ', '\t']).next().unwrap_or("");
        let key = key.rsplit('.').next().unwrap_or(key);
        if let Some(equals) = part.find('=').filter(|_| nearest(key, &SECRETS).is_some()) {
            return format!("{}= …", line.get(..from + equals).unwrap_or(""));
        }
        from = at;
    }
    // A URL may hold user and password.
    match line.split_once("://").and_then(|(front, rest)| Some((front, rest.split_once('@')?))) {
        Some((front, (inside, rest))) if !inside.contains(['/', '"']) => format!("{front}://…@{rest}"),
        Some(_) | None => line.to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{}", self.line(diagnostic))?;
            f.write_str(&self.excerpt(diagnostic))?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_characters_from_one() {
        let report = Report::new("f", "a\nä = 1\n", Vec::new());
        assert_eq!(report.position(0), (1, 1));
        assert_eq!(report.position(2), (2, 1));
        assert_eq!(report.position(5), (2, 3));
        assert_eq!(report.position(999), (3, 1));
    }

    #[test]
    fn carets_stand_below_what_they_mean() {
        let mut findings = Findings::default();
        findings.error(4..7, "wrong", "write 1");
        let report = Report::new("f.toml", "x = abc\n", findings.into_sorted());
        assert_eq!(report.to_string(), "f.toml:1:5: wrong, write 1\n  1 | x = abc\n    |     ^^^\n");
    }

    /// [T-023] a secret's line is not repeated.
    #[test]
    fn secrets_are_not_shown_in_excerpts() {
        for line in [
            "token = \"hidden\"\n",
            "tokne = \"hidden\"\n",
            "pasword=\"hidden\"\n",
            "auth = { user = \"u\", password = \"hidden\" }\n",
            "auth.password = \"hidden\"\n",
            "url = \"https://user:hidden@example.com/\"\n",
        ] {
            let mut findings = Findings::default();
            findings.error(8..12, "wrong", "write 1");
            let report = Report::new("f.toml", line, findings.into_sorted());
            assert!(!report.to_string().contains("hidden"), "{report}");
        }
    }
}
