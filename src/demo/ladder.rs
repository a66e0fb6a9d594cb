//! The ladder diagram: one line a message, one column a party, time on the left.

use crate::sip::message::{Message, Method, Uri, sipfrag};
use crate::sip::time::Time;
use std::fmt::Write;
use std::ops::Range;

/// The parties, in the order of their columns.
pub const PARTIES: [&str; 4] = ["Alice", "Baton", "Bob", "Carol"];
/// Baton's column.
pub const BATON: usize = 1;

/// Characters from one column to the next.
const WIDTH: usize = 22;
/// Where the first column stands.
const MARGIN: usize = 14;

/// A message that crossed the wire between two parties.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// When the phone sent or received it.
    pub at: Time,
    /// The sender's column.
    pub from: usize,
    /// The receiver's column.
    pub to: usize,
    /// The message.
    pub message: Message,
}

/// Draws the crossings in the order given; `colour` for terminals only.
pub fn draw(crossings: &[Crossing], colour: bool) -> String {
    let mut out = String::new();
    let begin = crossings.first().map_or(Time::ZERO, |first| first.at);
    let mut names = vec![' '; MARGIN + WIDTH * (PARTIES.len() - 1) + 4];
    for (column, name) in PARTIES.iter().enumerate() {
        put(&mut names, (MARGIN + WIDTH * column).saturating_sub(name.len() / 2), name);
    }
    line(&mut out, &names);
    line(&mut out, &lifelines());
    for crossing in crossings {
        let after = crossing.at.since(begin).as_micros();
        let time = format!("{:>6}.{} ms", after / 1_000, after % 1_000 / 100);
        let (row, span) = arrow(crossing);
        let text = |range: Range<usize>| row.get(range).unwrap_or_default().iter().collect::<String>();
        let (on, off) = match (colour, crossing.message.method()) {
            (false, _) => ("", ""),
            (true, Method::Refer | Method::Notify) => ("\x1b[1;33m", "\x1b[0m"),
            (true, _) if crossing.message.is_request() => ("\x1b[36m", "\x1b[0m"),
            (true, _) => ("\x1b[32m", "\x1b[0m"),
        };
        let before = text(time.len()..span.start);
        let (arrow, behind) = (text(span.clone()), text(span.end..row.len()));
        let _ = writeln!(out, "{time}{before}{on}{arrow}{off}{behind}");
    }
    line(&mut out, &lifelines());
    out
}

fn lifelines() -> Vec<char> {
    let mut row = vec![' '; MARGIN + WIDTH * (PARTIES.len() - 1) + 1];
    for column in 0..PARTIES.len() {
        put(&mut row, MARGIN + WIDTH * column, "│");
    }
    row
}

/// The row of a crossing, and where in it the arrow stands.
fn arrow(crossing: &Crossing) -> (Vec<char>, Range<usize>) {
    let mut row = lifelines();
    let (left, right) = (crossing.from.min(crossing.to), crossing.from.max(crossing.to));
    let (start, end) = (MARGIN + WIDTH * left + 1, MARGIN + WIDTH * right);
    for (at, place) in row.iter_mut().enumerate().take(end).skip(start) {
        *place = if (at - MARGIN).is_multiple_of(WIDTH) { '┼' } else { '─' };
    }
    if crossing.from < crossing.to {
        put(&mut row, end - 1, "►");
    } else {
        put(&mut row, start, "◄");
    }
    let label = format!(" {} ", label(&crossing.message));
    // Next to Baton, where the eye looks for what it received and sent.
    let middle =
        if crossing.to.max(crossing.from) > BATON + 1 { start + WIDTH / 2 } else { (start + end) / 2 };
    put(&mut row, middle.saturating_sub(label.chars().count() / 2), &label);
    (row, start..end)
}

/// A message in a few words.
pub fn label(message: &Message) -> String {
    let method = String::from_utf8_lossy(message.method_bytes());
    if !message.is_request() {
        return format!("{} ({method})", message.status());
    }
    let user = |uri: Option<Uri<'_>>| {
        uri.and_then(|uri| uri.user)
            .map(|user| String::from_utf8_lossy(user).into_owned())
            .unwrap_or_default()
    };
    match message.method() {
        Method::Invite => format!("{method} {}", user(message.to_uri().ok())),
        Method::Refer => {
            let target = message.refer_to().ok().flatten().and_then(|to| to.uri().ok());
            format!("{method} to {}", user(target))
        }
        Method::Notify => match sipfrag::parse(message.body()) {
            Some((code, _)) => format!("{method} {code}"),
            None => method.into_owned(),
        },
        _ => method.into_owned(),
    }
}

fn put(row: &mut [char], at: usize, text: &str) {
    for (place, c) in row.iter_mut().skip(at).zip(text.chars()) {
        *place = c;
    }
}

fn line(out: &mut String, row: &[char]) {
    let row: String = row.iter().collect();
    let _ = writeln!(out, "{}", row.trim_end());
}
