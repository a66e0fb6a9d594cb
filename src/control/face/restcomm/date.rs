//! Dates as the Restcomm APIs write them, in UTC.

use crate::sip::time::Time;
use jiff::Timestamp;

/// `Tue, 7 Apr 2020 11:10:15 +0000`: the day of the month is not padded.
pub(super) fn rfc2822(time: Time) -> String {
    timestamp(time).strftime("%a, %-d %b %Y %H:%M:%S +0000").to_string()
}

/// `2020-04-07T11:10:15.000Z`, cut to the millisecond.
pub(super) fn iso8601(time: Time) -> String {
    let millis = time.millis() % 1_000;
    format!("{}.{millis:03}Z", timestamp(time).strftime("%Y-%m-%dT%H:%M:%S"))
}

fn timestamp(time: Time) -> Timestamp {
    i64::try_from(time.micros())
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [restcomm-calls 4.1] [restcomm-refers 4]
    #[test]
    fn dates_have_the_documented_forms() {
        let time = Time::from_micros(1_586_257_815_999_999);
        assert_eq!(rfc2822(time), "Tue, 7 Apr 2020 11:10:15 +0000");
        assert_eq!(iso8601(time), "2020-04-07T11:10:15.999Z");
        assert_eq!(iso8601(Time::ZERO), "1970-01-01T00:00:00.000Z");
        assert!(iso8601(Time::from_micros(u64::MAX)).starts_with("9999-"));
    }
}
