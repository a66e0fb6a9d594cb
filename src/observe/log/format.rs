//! A log line as text or JSON, with nothing in it that could pass for something else (T-147).

use super::Entry;
use std::fmt::Write as _;

/// Characters of one value at most; a message is not the place for more.
const LONGEST: usize = 1_024;

/// Writes lines.
#[derive(Debug)]
pub(super) struct Formatter {
    json: bool,
    node: Option<String>,
    line: String,
}

impl Formatter {
    pub(super) fn new(json: bool) -> Formatter {
        Formatter { json, node: None, line: String::new() }
    }

    pub(super) fn node(&mut self, node: u128) {
        self.node = Some(format!("{node:032x}"));
    }

    /// The whole line, its end included.
    pub(super) fn line(&mut self, entry: &Entry, suppressed: u64) -> &str {
        self.line.clear();
        if self.json {
            self.json(entry, suppressed);
        } else {
            self.text(entry, suppressed);
        }
        self.line.push('\n');
        &self.line
    }

    /// `TIME LEVEL EVENT key=value … node=…: message`
    fn text(&mut self, entry: &Entry, suppressed: u64) {
        let line = &mut self.line;
        let _ = write!(line, "{} {:<5} ", time(entry.at), entry.level.as_str());
        text_value(line, event(entry));
        let suppressed = suppressed_field(suppressed);
        for (name, value) in entry
            .fields
            .iter()
            .map(|(n, v)| (*n, v.as_str()))
            .chain(suppressed.as_ref().map(|s| ("suppressed", s.as_str())))
        {
            let _ = write!(line, " {name}=");
            text_value(line, value);
        }
        if let Some(node) = &self.node {
            // Eight digits tell nodes apart for people; JSON has them all.
            let _ = write!(line, " node={}", node.get(..8).unwrap_or(node));
        }
        line.push_str(": ");
        entry.message.chars().take(LONGEST).for_each(|c| plain(line, c));
    }

    fn json(&mut self, entry: &Entry, suppressed: u64) {
        let line = &mut self.line;
        let _ = write!(
            line,
            "{{\"time\":\"{}\",\"level\":\"{}\"",
            time(entry.at),
            entry.level.as_str().to_ascii_lowercase()
        );
        let suppressed = suppressed_field(suppressed);
        let head = [("node", self.node.as_deref()), ("event", Some(event(entry)))];
        let head = head.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let fields = entry.fields.iter().map(|(name, value)| (*name, value.as_str()));
        let tail = suppressed.as_ref().map(|s| ("suppressed", s.as_str()));
        for (name, value) in head.chain(fields).chain(tail).chain([("message", entry.message.as_str())]) {
            line.push(',');
            json_string(line, name);
            line.push(':');
            json_string(line, value);
        }
        line.push('}');
    }
}

fn suppressed_field(suppressed: u64) -> Option<String> {
    (suppressed > 0).then(|| suppressed.to_string())
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| "-".to_owned(), |t| format!("{t:.6}"))
}

/// The event's name; one without is called after the module it comes from.
fn event(entry: &Entry) -> &str {
    match &entry.event {
        Some(name) => name,
        None => entry.target.rsplit("::").next().unwrap_or(entry.target),
    }
}

/// Whether a character could end a line, move the cursor, or make text read otherwise than it is.
fn dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A value that reads as one word: in quotes where it would not.
fn text_value(line: &mut String, value: &str) {
    let bare = !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !"\"=\\".contains(c));
    if !bare {
        line.push('"');
    }
    for c in value.chars().take(LONGEST) {
        match c {
            '"' => line.push_str("\\\""),
            c => plain(line, c),
        }
    }
    if value.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    if !bare {
        line.push('"');
    }
}

fn plain(line: &mut String, c: char) {
    match c {
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        c if dangerous(c) => {
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        }
        c => line.push(c),
    }
}

fn json_string(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars().take(LONGEST) {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if dangerous(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            c => line.push(c),
        }
    }
    if value.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn entry(fields: Vec<(&'static str, String)>, message: &str) -> Entry {
        Entry {
            at: 1_700_000_000_123_456,
            level: Level::WARN,
            target: "baton::io::udp",
            event: None,
            message: message.to_owned(),
            fields,
        }
    }

    /// [T-144] time, level, node, event, trunk and call id on one line.
    #[test]
    fn a_line_has_all_that_is_known() {
        let mut text = Formatter::new(false);
        text.node(0xabcd_ef01 << 96);
        let mut warning = entry(
            vec![("trunk", "alpha".to_owned()), ("call_id", "a b".to_owned())],
            "no answer from the peer",
        );
        warning.event = Some("peer_down".to_owned());
        assert_eq!(
            text.line(&warning, 3),
            "2023-11-14T22:13:20.123456Z WARN  peer_down trunk=alpha call_id=\"a b\" suppressed=3 \
             node=abcdef01: no answer from the peer\n"
        );
        let mut json = Formatter::new(true);
        json.node(1);
        let parsed: serde_json::Value = serde_json::from_str(json.line(&warning, 0)).unwrap();
        assert_eq!(parsed["level"], "warn");
        assert_eq!(parsed["event"], "peer_down");
        assert_eq!(parsed["node"], "00000000000000000000000000000001");
        assert_eq!(parsed["trunk"], "alpha");
        assert_eq!(parsed["call_id"], "a b");
        assert_eq!(parsed["time"], "2023-11-14T22:13:20.123456Z");
    }

    /// [T-147] no value forges a line, a field, or a terminal command.
    #[test]
    fn network_text_is_escaped() {
        let evil = "x\r\n2023 ERROR fake trunk=beta\u{1b}[2J\u{9b}31m\u{202e}\\\"\u{7f}";
        for message in [evil, "fine"] {
            let evil = entry(vec![("user", evil.to_owned())], message);
            for json in [false, true] {
                let mut format = Formatter::new(json);
                let line = format.line(&evil, 0);
                assert_eq!(line.matches('\n').count(), 1, "{line}");
                assert!(line.trim_end_matches('\n').chars().all(|c| !dangerous(c)), "{line:?}");
                assert!(!json || serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
            }
        }
        let mut format = Formatter::new(false);
        let line = format.line(&entry(vec![("user", "a\" trunk=\"b".to_owned())], "m"), 0).to_owned();
        assert!(line.contains("user=\"a\\\" trunk=\\\"b\""), "{line}");
    }

    #[test]
    fn values_have_an_end() {
        let mut format = Formatter::new(false);
        let line = format.line(&entry(vec![("user", "a".repeat(100_000))], &"b".repeat(100_000)), 0);
        assert!(line.len() < 2_200);
    }
}
