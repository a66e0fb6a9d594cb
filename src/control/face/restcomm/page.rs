//! Paging: which part of a list is asked for, and the envelope around it (Calls API, 5.2).

use crate::control::problem::Problem;
use crate::control::query::Query;
use crate::record::Excerpt;
use axum::http::StatusCode;

/// Items on a page unless asked otherwise.
const SIZE: u64 = 50;
/// Items on a page at most.
const MAX_SIZE: u64 = 1_000;
/// Items in a list of calls unless asked otherwise.
const LIMIT: u64 = 10_000;

/// The page that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    page: u64,
    size: u64,
    limit: Option<u64>,
}

impl Paging {
    /// For a list that is cut at `Limit`.
    pub(super) fn with_limit(query: &Query) -> Result<Paging, Problem> {
        let mut paging = Paging::without_limit(query)?;
        let wrong = "Limit must be a number above 0.";
        paging.limit = Some(query.number("Limit", (1, u64::MAX), LIMIT, wrong)?);
        Ok(paging)
    }

    /// For a list that knows no `Limit`.
    pub(super) fn without_limit(query: &Query) -> Result<Paging, Problem> {
        let wrong = "Page must be a number, 0 or above.";
        let page = query.number("Page", (0, u64::MAX), 0, wrong)?;
        let wrong = "PageSize must be a number from 1 to 1000.";
        let size = query.number("PageSize", (1, MAX_SIZE), SIZE, wrong)?;
        Ok(Paging { page, size, limit: None })
    }

    /// The part of the list that the page is.
    pub(super) fn excerpt(self) -> Excerpt {
        Excerpt { offset: self.page.saturating_mul(self.size), count: self.size, limit: self.limit }
    }

    /// The envelope of the page: `total` items in the list, `items` of them here, the last of them
    /// `last`. A page behind the last is an error without words.
    pub(super) fn envelope(
        self,
        uri: String,
        total: u64,
        items: usize,
        last: Option<String>,
    ) -> Result<Envelope, Problem> {
        let Paging { page, size, limit } = self;
        let num_pages = total / size;
        if page > num_pages {
            return Err(Problem::bare(StatusCode::BAD_REQUEST));
        }
        let start = page * size;
        // Inclusive on a full page, exclusive on the last: so the samples have it.
        let end = if page < num_pages { start + size - 1 } else { start + items as u64 };
        let limit_parameter = limit.map_or(String::new(), |limit| format!("&Limit={limit}"));
        let link = |page: u64| format!("{uri}?Page={page}&PageSize={size}{limit_parameter}");
        let none = || "null".to_owned();
        let after = last.map_or(String::new(), |sid| format!("&AfterSid={sid}"));
        let next = format!("{uri}?Page={}&PageSize={size}{after}{limit_parameter}", page + 1);
        Ok(Envelope {
            page,
            num_pages,
            page_size: size,
            total,
            limit,
            start: start.to_string(),
            end: end.to_string(),
            first_page_uri: link(0),
            previous_page_uri: if page == 0 { none() } else { link(page - 1) },
            next_page_uri: if page == num_pages { none() } else { next },
            last_page_uri: link(num_pages),
            uri,
        })
    }
}

/// What stands around the items, in this order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Envelope {
    pub(super) page: u64,
    pub(super) num_pages: u64,
    pub(super) page_size: u64,
    pub(super) total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<u64>,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) uri: String,
    pub(super) first_page_uri: String,
    pub(super) previous_page_uri: String,
    pub(super) next_page_uri: String,
    pub(super) last_page_uri: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(query: &str, total: u64, items: usize) -> Result<Envelope, Problem> {
        let query = Query::parse(query).expect("it is well-formed");
        let last = (items > 0).then(|| "CAx@host".to_owned());
        Paging::with_limit(&query)?.envelope("/u".into(), total, items, last)
    }

    /// [restcomm-calls 31] [restcomm-calls 32] [restcomm-calls 33] The samples' pages.
    #[test]
    fn pages_are_counted_as_in_the_samples() {
        let three = envelope("", 3, 3).expect("it is a page");
        assert_eq!((three.num_pages, three.start.as_str(), three.end.as_str()), (0, "0", "3"));
        assert_eq!(three.previous_page_uri, "null");
        assert_eq!(three.next_page_uri, "null");
        let many = envelope("PageSize=1", 75, 1).expect("it is a page");
        assert_eq!((many.num_pages, many.end.as_str()), (75, "0"));
        assert_eq!(many.last_page_uri, "/u?Page=75&PageSize=1&Limit=10000");
        assert_eq!(many.next_page_uri, "/u?Page=1&PageSize=1&AfterSid=CAx@host&Limit=10000");
        let ten = envelope("PageSize=10&Limit=500&Page=44", 442, 2).expect("it is a page");
        assert_eq!((ten.num_pages, ten.next_page_uri.as_str()), (44, "null"));
        assert_eq!((ten.start.as_str(), ten.end.as_str()), ("440", "442"));
        assert_eq!(ten.previous_page_uri, "/u?Page=43&PageSize=10&Limit=500");
    }

    /// [restcomm-calls 34] [restcomm-calls 35] [restcomm-calls 5.2.3]
    #[test]
    fn the_last_page_may_be_empty_and_nothing_is_behind_it() {
        let last = envelope("PageSize=3&Page=2", 6, 0).expect("it is a page");
        assert_eq!((last.start.as_str(), last.end.as_str()), ("6", "6"));
        let empty = envelope("", 0, 0).expect("it is a page");
        assert_eq!((empty.num_pages, empty.start.as_str(), empty.end.as_str()), (0, "0", "0"));
        for wrong in ["PageSize=3&Page=3", "Page=-1", "Page=x", "PageSize=0", "PageSize=1001", "Limit=0"] {
            assert!(envelope(wrong, 6, 0).is_err(), "{wrong}");
        }
        assert!(envelope("Page=18446744073709551615", 6, 0).is_err());
    }
}
