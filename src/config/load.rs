//! From a file to a configuration, or to a list of everything that is wrong with it.

use crate::config::check::check;
use crate::config::diagnostic::{Diagnostic, Report, Severity};
use crate::config::read::Context;
use crate::config::schema::Config;
use std::path::Path;
use toml::de::DeTable;

/// The configuration `baton` runs with when it is given none.
pub const EMBEDDED: &str = include_str!("default.toml");

/// A configuration that can be used, and what it probably does not mean.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings only.
    pub warnings: Report,
}

/// Reads a file. The error names everything that is wrong with it.
pub fn load_file(path: &Path) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        Report::of_file(&name, format!("cannot be read ({error})"), "name a readable TOML file")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let diagnostic = syntax(valid..valid + 1, "the file is not UTF-8 text here", "save it as UTF-8");
        Report::new(&name, &text, vec![diagnostic])
    })?;
    load_text(&name, &text, path.parent().unwrap_or(Path::new("")))
}

/// Reads a configuration from `text`; `name` is what the report calls it, and `folder` is where
/// relative names of files to be read start.
pub fn load_text(name: &str, text: &str, folder: &Path) -> Result<Loaded, Report> {
    let cx = Context::new(folder);
    let (config, report) = read(&cx, name, text);
    if report.has_errors() { Err(report) } else { Ok(Loaded { config, warnings: report }) }
}

/// Reads as much as can be understood, and reports the rest.
pub(crate) fn read(cx: &Context, name: &str, text: &str) -> (Config, Report) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let config = Config::read(cx, root.get_ref());
    check(&config, cx);
    let mut found = cx.findings.take().into_sorted();
    if !errors.is_empty() {
        let syntax_errors: Vec<Diagnostic> = errors.iter().map(|e| explain(e, text)).collect();
        // What could not be parsed is missing further on, and half of a line is no use: only what
        // is certain to be wrong by itself is reported beside a syntax error.
        let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count();
        let broken: Vec<usize> = syntax_errors.iter().map(|d| line(d.span.start)).collect();
        found.retain(|d| !d.absence && !broken.contains(&line(d.span.start)));
        // The parser may complain several times of one line; the first complaint is the cause.
        let mut seen = Vec::new();
        for (diagnostic, line) in syntax_errors.into_iter().zip(broken) {
            if !seen.contains(&line) {
                seen.push(line);
                found.push(diagnostic);
            }
        }
        found.sort_by_key(|d| (d.span.start, d.span.end));
    }
    (config, Report::new(name, text, found))
}

fn explain(error: &toml::de::Error, text: &str) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let end = text.len();
    let span = span.start.min(end)..span.end.min(end);
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let remedy = match (what, expected) {
        (what, _) if what.contains("must be quoted") => "write the text in double quotes".to_owned(),
        (what, _) if what.contains("duplicate") => "keep one of them".to_owned(),
        (_, Some(expected)) => format!("write {expected}"),
        _ => "write KEY = VALUE, [TABLE] or [[TABLE]]; text stands in double quotes".to_owned(),
    };
    syntax(span, &format!("the TOML cannot be understood: {what}"), &remedy)
}

fn syntax(span: std::ops::Range<usize>, what: &str, remedy: &str) -> Diagnostic {
    Diagnostic {
        span,
        severity: Severity::Error,
        what: what.to_owned(),
        remedy: remedy.to_owned(),
        absence: false,
    }
}
