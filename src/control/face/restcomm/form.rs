//! Form bodies, and the URLs in them.

use crate::control::body::{self, Unread};
use crate::control::face::rcml::Source;
use crate::control::problem::Problem;
use crate::control::query::Query;
use crate::control::webhook::{http_method, http_url};
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};

/// Reads a form body (Calls API, 1.6).
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Query, Problem> {
    const OTHER: Problem =
        Problem::told(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send application/x-www-form-urlencoded.");
    const TOO_LONG: Problem = Problem::told(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long.");
    const TOO_SLOW: Problem = Problem::told(StatusCode::REQUEST_TIMEOUT, "The body took too long.");
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        let essence = content_type.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_owned();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OTHER);
        }
    }
    let body = body::read(body).await.map_err(|unread| match unread {
        Unread::TooLong => TOO_LONG,
        Unread::TooSlow => TOO_SLOW,
    })?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::bad("The body is not UTF-8."))?;
    Query::parse(text)
}

/// The names of a URL's parameters, and what is told when they are wrong.
pub(super) struct Url {
    url: &'static str,
    wrong_url: &'static str,
    method: &'static str,
    wrong_method: &'static str,
}

impl Url {
    pub(super) const MAIN: Url = Url {
        url: "Url",
        wrong_url: "Url must be an absolute http or https URL.",
        method: "Method",
        wrong_method: "Method must be GET or POST.",
    };
    pub(super) const FALLBACK: Url = Url {
        url: "FallbackUrl",
        wrong_url: "FallbackUrl must be an absolute http or https URL.",
        method: "FallbackMethod",
        wrong_method: "FallbackMethod must be GET or POST.",
    };
    pub(super) const CALLBACK: Url = Url {
        url: "StatusCallback",
        wrong_url: "StatusCallback must be an absolute http or https URL.",
        method: "StatusCallbackMethod",
        wrong_method: "StatusCallbackMethod must be GET or POST.",
    };
}

/// A URL and its method. The method is checked also where it stands alone.
pub(super) fn source(form: &Query, names: &Url) -> Result<Option<Source>, Problem> {
    let url = match form.trimmed(names.url) {
        Some(text) => Some(http_url(text).ok_or(Problem::bad(names.wrong_url))?),
        None => None,
    };
    let method = match form.trimmed(names.method) {
        Some(text) => http_method(text).ok_or(Problem::bad(names.wrong_method))?,
        None => Method::POST,
    };
    Ok(url.map(|url| Source { url, method }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::body::tests::never;

    /// [restcomm-calls 12] A form that does not come is 408.
    #[tokio::test(start_paused = true)]
    async fn a_form_has_its_time() {
        let problem = read(&HeaderMap::new(), never()).await.expect_err("it never comes");
        assert_eq!(problem.into_json().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
