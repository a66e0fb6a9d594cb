//! The Restcomm-compatible API: Calls and Refers of an account.
//!
//! `.json` or `.xml` may close any segment of a path, and the same resources stand under three
//! prefixes (Calls API, section 1), so this face reads the path itself.

mod call;
mod calls;
mod create;
mod date;
mod form;
mod modify;
mod page;
mod refers;
mod xml;

use crate::control::App;
use crate::control::auth::Account;
use crate::control::problem::{Format, Problem};
use crate::control::query::{Query, percent_decode};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use std::sync::Arc;

/// What stands in paths and in the `api_version` of records.
const API_VERSION: &str = "2012-04-24";

/// Answers a request under one of the three prefixes.
pub(in crate::control) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = match Path::parse(parts.uri.path()) {
        Ok(path) => path,
        // Nobody without credentials learns more than that they are needed (2.5).
        Err(problem) => {
            let known = app.accounts.admit(&parts.headers, None);
            return known.err().unwrap_or(problem).response(accepted(&parts.headers));
        }
    };
    let format = path.format(&parts.headers);
    let asked = Asked {
        app: &app,
        path: &path,
        headers: &parts.headers,
        method: &parts.method,
        query: parts.uri.query().unwrap_or(""),
        format,
    };
    asked.answer(body).await.unwrap_or_else(|problem| problem.response(format))
}

/// A request, taken apart.
struct Asked<'a> {
    app: &'a App,
    path: &'a Path,
    headers: &'a HeaderMap,
    method: &'a Method,
    query: &'a str,
    format: Format,
}

impl Asked<'_> {
    async fn answer(&self, body: Body) -> Result<Response<Body>, Problem> {
        const NOTHING: Problem = Problem::told(StatusCode::NOT_FOUND, "There is no such resource.");
        let segments: Vec<&str> = self.path.segments.iter().map(String::as_str).collect();
        // Credentials come first: nobody without learns what there is.
        let account = self.app.accounts.admit(self.headers, self.path.account())?;
        let ["Accounts", _, resource @ ..] = segments.as_slice() else { return Err(NOTHING) };
        match resource {
            ["Calls"] if self.is_post() => {
                let form = form::read(self.headers, body).await?;
                self.done(create::create(self, account, &form).await)
            }
            ["Calls"] if self.is_get() => self.done(calls::list(self, account).await),
            ["Calls", sid] if self.is_post() => {
                let form = form::read(self.headers, body).await?;
                self.done(modify::modify(self, account, sid, &form).await)
            }
            ["Calls", sid] if self.is_get() => self.done(calls::read(self, account, sid).await),
            ["Calls"] | ["Calls", _] => Err(Problem::get_or_post()),
            ["Calls", sid, below @ ("Notifications" | "Recordings")] => {
                self.only_get(calls::below(self, account, sid, below)).await
            }
            ["Refers"] => self.only_get(refers::list(self, account)).await,
            ["Refers", sid] => self.only_get(refers::read(self, account, sid)).await,
            _ => Err(NOTHING),
        }
    }

    async fn only_get(
        &self,
        answer: impl Future<Output = Result<String, Problem>>,
    ) -> Result<Response<Body>, Problem> {
        if !self.is_get() {
            return Err(Problem::only_get());
        }
        self.done(answer.await)
    }

    fn done(&self, answer: Result<String, Problem>) -> Result<Response<Body>, Problem> {
        Ok(self.format.response(StatusCode::OK, answer?))
    }

    fn is_get(&self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD)
    }

    fn is_post(&self) -> bool {
        *self.method == Method::POST
    }

    fn query(&self) -> Result<Query, Problem> {
        Query::parse(self.query)
    }
}

/// The part of a path behind the prefix.
#[derive(Debug, PartialEq, Eq)]
struct Path {
    segments: Vec<String>,
    suffix: Option<Format>,
}

impl Path {
    /// Splits a path that begins with one of the prefixes. A slash at the end changes nothing; the
    /// last suffix that stands in it decides the form.
    fn parse(path: &str) -> Result<Path, Problem> {
        let (_, path) = path.split_once("/2012-04-24/").unwrap_or(("", path));
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut parsed = Path { segments: Vec::new(), suffix: None };
        for segment in path.split('/') {
            let mut segment = percent_decode(segment, false)?;
            for (suffix, format) in [(".json", Format::Json), (".xml", Format::Xml)] {
                if let Some(bare) = segment.strip_suffix(suffix) {
                    segment = bare.to_owned();
                    parsed.suffix = Some(format);
                }
            }
            parsed.segments.push(segment);
        }
        Ok(parsed)
    }

    fn account(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [accounts, sid, ..] if accounts == "Accounts" => Some(sid),
            _ => None,
        }
    }

    /// The form of the answer. Refers have one only.
    fn format(&self, headers: &HeaderMap) -> Format {
        match self.segments.get(2) {
            Some(resource) if resource == "Refers" => Format::Json,
            _ => self.suffix.unwrap_or_else(|| accepted(headers)),
        }
    }
}

/// The form that Accept asks for: JSON when it says so anywhere, else XML (Calls API, 1.4).
fn accepted(headers: &HeaderMap) -> Format {
    let json = headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.as_bytes().to_ascii_lowercase().windows(4).any(|w| w == b"json"));
    if json { Format::Json } else { Format::Xml }
}

/// The path of a list as it stands in answers.
fn list_uri(prefix: &str, account: &Account, resource: &str) -> String {
    format!("{prefix}/{API_VERSION}/Accounts/{}/{resource}", account.sid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> (Vec<String>, Option<Format>) {
        let path = Path::parse(path).expect("the path is well-formed");
        (path.segments, path.suffix)
    }

    /// [restcomm-calls 1.1] [restcomm-calls 1.2] [restcomm-calls 1.3]
    #[test]
    fn suffixes_and_slashes_are_taken_off() {
        let plain = ["Accounts", "AC1", "Calls", "CA2"].map(String::from).to_vec();
        let json = Some(Format::Json);
        assert_eq!(path("/2012-04-24/Accounts/AC1/Calls/CA2"), (plain.clone(), None));
        assert_eq!(path("/api/2012-04-24/Accounts/AC1/Calls/CA2.json"), (plain.clone(), json));
        assert_eq!(path("/restcomm/2012-04-24/Accounts/AC1/Calls.json/CA2/"), (plain.clone(), json));
        assert_eq!(path("/restcomm/2012-04-24/Accounts/AC1/Calls/CA%32.xml"), (plain, Some(Format::Xml)));
        assert!(Path::parse("/2012-04-24/Accounts/%4").is_err());
    }
}
