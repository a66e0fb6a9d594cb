//! Records as people read them: a table of many, lines of one.

use super::api::printable;
use serde_json::Value;

/// Columns: a heading, and what of a record stands below it.
pub(super) type Columns = [(&'static str, fn(&Value) -> String)];

/// A table with a line of headings. Without records it is a line that says so.
pub(super) fn table(columns: &Columns, records: &[Value], none: &str) -> String {
    if records.is_empty() {
        return format!("{none}\n");
    }
    let mut rows: Vec<Vec<String>> = vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()];
    rows.extend(records.iter().map(|record| columns.iter().map(|(_, show)| show(record)).collect()));
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|t| t.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// One record: a line for each member that it has, in this order.
pub(super) fn lines(members: &[(&str, &str)], record: &Value) -> String {
    let width = members.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 2;
    members
        .iter()
        .filter_map(|(label, member)| Some((label, shown(record.get(*member)?))))
        .map(|(label, text)| format!("{label:<width$}{text}\n"))
        .collect()
}

/// A member of a record; `-` when it has none.
pub(super) fn member(record: &Value, name: &str) -> String {
    record.get(name).map_or_else(|| "-".to_owned(), shown)
}

/// A moment to the second: `2020-04-07 11:10:15`.
pub(super) fn moment(record: &Value, name: &str) -> String {
    let text = member(record, name);
    text.split('.').next().unwrap_or_default().replacen('T', " ", 1)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}
