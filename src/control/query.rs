//! The query string: parameters, numbers and times as the Restcomm APIs write them.

use super::problem::Problem;
use crate::sip::time::Time;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The parameters of a request. Names are case-sensitive; the first of a name counts; an empty value
/// is as if absent (Calls API, 1.6, 1.7 and 5.1.2).
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string; malformed percent-encoding is an error (Calls API, 12).
    pub(super) fn parse(text: &str) -> Result<Query, Problem> {
        let mut parameters = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.push((form_decode(name)?, form_decode(value)?));
        }
        Ok(Query(parameters))
    }

    /// A parameter's value.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(n, _)| n == name)?;
        Some(first.1.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter's value without blanks around it; a blank one is as if absent.
    pub(super) fn trimmed(&self, name: &str) -> Option<&str> {
        self.value(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// All parameters, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter as a whole number from `least` to `most`.
    pub(super) fn number(
        &self,
        name: &str,
        (least, most): (u64, u64),
        default: u64,
        wrong: &'static str,
    ) -> Result<u64, Problem> {
        let Some(value) = self.value(name) else { return Ok(default) };
        let digits = value.bytes().all(|b| b.is_ascii_digit());
        match value.parse::<u64>() {
            Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
            _ => Err(Problem::bad(wrong)),
        }
    }

    /// A parameter as a moment.
    pub(super) fn moment(&self, name: &str, wrong: &'static str) -> Result<Option<Time>, Problem> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => moment(value).map(Some).ok_or(Problem::bad(wrong)),
        }
    }
}

fn form_decode(text: &str) -> Result<String, Problem> {
    percent_decode(text, true)
}

/// Decodes a part of a URI; in forms `+` is a blank.
pub(super) fn percent_decode(text: &str, form: bool) -> Result<String, Problem> {
    const WRONG: Problem = Problem::bad("The percent-encoding is malformed.");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' if form => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit().ok_or(WRONG)?, digit().ok_or(WRONG)?);
                u8::try_from(high * 16 + low).map_err(|_| WRONG)?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).map_err(|_| WRONG)
}

/// `YYYY-MM-DD` (midnight UTC) or `YYYY-MM-DDTHH:MM:SS`, with a fraction, `Z` or a numeric offset if
/// so written (Calls API, 5.1.3). Nothing else.
fn moment(text: &str) -> Option<Time> {
    let (stamp, zone) = split_zone(text)?;
    let civil: DateTime = stamp.parse().ok()?;
    let timestamp = TimeZone::fixed(zone).to_timestamp(civil).ok()?;
    // Nothing was recorded before 1970.
    Some(Time::from_micros(u64::try_from(timestamp.as_microsecond()).unwrap_or(0)))
}

/// Checks the shape and takes the zone off; the values are jiff's business.
fn split_zone(text: &str) -> Option<(&str, Offset)> {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(t, s)| match s {
                b'0' => t.is_ascii_digit(),
                mark => t == mark,
            })
    };
    if shape(text, "0000-00-00") {
        return Some((text, Offset::UTC));
    }
    let (seconds, rest) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    if !shape(seconds, "0000-00-00T00:00:00") {
        return None;
    }
    let fraction = match rest.strip_prefix('.') {
        None => 0,
        Some(digits) => {
            let digits = digits.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            digits + 1
        }
    };
    let (stamp, zone) = text.split_at_checked(seconds.len() + fraction)?;
    if zone.is_empty() || zone == "Z" {
        return Some((stamp, Offset::UTC));
    }
    // A plus that was not encoded has become a blank.
    let sign = match zone.as_bytes().first()? {
        b'+' | b' ' => 1,
        b'-' => -1,
        _ => return None,
    };
    let offset = zone.get(1..)?;
    if !shape(offset, "00:00") {
        return None;
    }
    let hours: i32 = offset.get(..2)?.parse().ok()?;
    let minutes: i32 = offset.get(3..)?.parse().ok()?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some((stamp, Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u64> {
        moment(text).map(Time::millis)
    }

    /// [restcomm-calls 5.1.3] [restcomm-refers 25]
    #[test]
    fn times_are_read_strictly() {
        let noon = 1_538_740_800_000;
        assert_eq!(millis("2018-10-05T12:00:00"), Some(noon));
        assert_eq!(millis("2018-10-05T12:00:00Z"), Some(noon));
        assert_eq!(millis("2018-10-05T12:00:00.250"), Some(noon + 250));
        assert_eq!(millis("2018-10-05T14:00:00.5+02:00"), Some(noon + 500));
        assert_eq!(millis("2018-10-05T14:00:00 02:00"), Some(noon));
        assert_eq!(millis("2018-10-05T06:30:00-05:30"), Some(noon));
        assert_eq!(millis("2018-10-05"), Some(noon - 12 * 3_600_000));
        let wrong = [
            "2018-13-01",
            "05/10/2018",
            "2018-10-05T22:45",
            "yesterday",
            "2021-3-9",
            "2021-02-30",
            "2018-10-05 12:00:00",
            "2018-10-05T24:00:00",
            "2018-10-05T12:00:00.",
            "2018-10-05T12:00:00z",
            "2018-10-05T12:00:00+2",
            "2018-10-05T12:00:00+24:00",
            "2018-10-05T12:00:00Zoo",
            "2018-10-0５",
            "",
        ];
        for text in wrong {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    /// [restcomm-calls 1.6] [restcomm-calls 1.7] [restcomm-calls 5.1.2]
    #[test]
    fn parameters_are_found_by_exact_name() {
        let query = Query::parse("To=a&To=b&From=&from=c&X=%C3%A9+%2B").expect("it is well-formed");
        assert_eq!(query.value("To"), Some("a"));
        assert_eq!(query.value("From"), None);
        assert_eq!(query.value("X"), Some("é +"));
        assert_eq!(query.value("to"), None);
        for wrong in ["a=%", "a=%4", "%zz=1", "a=%FF"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }
}
