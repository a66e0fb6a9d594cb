//! Fetching a document (rcml section 1).

use super::Source;
use super::document::{Verb, parse};
use super::parameters::{Form, pair};
use crate::control::engine::Engine;
use crate::control::webhook::{Answer, Failure, Owner, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use url::Url;

/// A document, and where it came from: what its relative URLs are relative to.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) base: Url,
    pub(super) verbs: Arc<[Verb]>,
}

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Where it was to come from, without credentials.
    url: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Failure(Failure),
    Status(u16),
    ContentType,
    Malformed,
    /// It was there, and could not be carried out.
    Execution,
}

impl Failed {
    /// The document there could not be carried out.
    pub(super) fn executing(url: &Url) -> Failed {
        Failed { url: shown(url), what: What::Execution }
    }

    /// What an unanswered caller is told (rcml 1.10).
    pub(super) fn sip_status(&self) -> u16 {
        match self.what {
            What::Status(404) => 404,
            _ => 500,
        }
    }

    /// What the fallback is told: which error, and where. The code is the server's status, or one that
    /// tells what was wrong with an answer of 2xx, or with none.
    pub(super) fn parameters(&self) -> Form {
        let code = match self.what {
            What::Status(status) => status,
            What::Failure(_) => 11_200,
            What::Malformed => 12_100,
            What::Execution => 12_200,
            What::ContentType => 12_300,
        };
        vec![pair("ErrorCode", code.to_string()), pair("ErrorUrl", self.url.as_str())]
    }

    fn log(&self) {
        let (url, what) = (&self.url, self.what);
        match what {
            What::Failure(failure) => {
                tracing::warn!(event = "rcml.failed", url, error = %failure, "a document cannot be had");
            }
            What::Status(status) => {
                tracing::warn!(event = "rcml.failed", url, status, "a document was refused");
            }
            What::ContentType => {
                tracing::warn!(event = "rcml.failed", url, "what was sent is no document");
            }
            What::Malformed => tracing::warn!(event = "rcml.failed", url, "a document cannot be read"),
            What::Execution => {
                tracing::warn!(event = "rcml.failed", url, "a document cannot be carried out");
            }
        }
    }
}

/// What documents came to, counted.
#[derive(Debug, Default)]
pub(in crate::control) struct Results([AtomicU64; RESULTS.len()]);

/// The results' names in metrics: a document first, then by place of what was wrong.
const RESULTS: [&str; 5] = ["done", "unreachable", "refused", "content-type", "malformed"];

impl Results {
    /// Counts with their names in metrics.
    pub(in crate::control) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(&self.0).map(|(name, count)| (name, count.load(Relaxed)))
    }

    fn count(&self, result: Result<(), What>) {
        let place = match result {
            Ok(()) | Err(What::Execution) => 0,
            Err(What::Failure(_)) => 1,
            Err(What::Status(_)) => 2,
            Err(What::ContentType) => 3,
            Err(What::Malformed) => 4,
        };
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Asks for a document, on an account's behalf.
pub(super) async fn fetch(
    engine: Arc<Engine>,
    owner: Owner,
    source: Source,
    form: Form,
) -> Result<Document, Failed> {
    let url = shown(&source.url);
    let request = Request::form(owner, source.method, source.url, form);
    let answer = engine.webhooks.fetch(request).await.map_err(What::Failure);
    let document = answer.and_then(document);
    engine.rcml.documents().count(document.as_ref().map(|_| ()).map_err(|what| *what));
    document.map_err(|what| {
        let failed = Failed { url, what };
        failed.log();
        failed
    })
}

fn document(answer: Answer) -> Result<Document, What> {
    if !(200..300).contains(&answer.status) {
        return Err(What::Status(answer.status));
    }
    let base = answer.url;
    if answer.body.is_empty() {
        return Ok(Document { base, verbs: Arc::new([]) });
    }
    let verbs = match kind(answer.content_type.as_deref().unwrap_or("")) {
        Kind::Rcml => parse(&answer.body).map_err(|error| {
            tracing::info!(event = "rcml.malformed", %error, "a document cannot be read");
            What::Malformed
        })?,
        Kind::Text => vec![Verb::Media("Say")],
        Kind::Sound => vec![Verb::Media("Play")],
        Kind::Other => return Err(What::ContentType),
    };
    Ok(Document { base, verbs: verbs.into() })
}

enum Kind {
    Rcml,
    Text,
    Sound,
    Other,
}

fn kind(content_type: &str) -> Kind {
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/xml" | "application/xml" | "text/html" => Kind::Rcml,
        xml if xml.ends_with("+xml") => Kind::Rcml,
        "text/plain" => Kind::Text,
        "audio/wav" | "audio/x-wav" | "audio/wave" => Kind::Sound,
        _ => Kind::Other,
    }
}

/// Without who asks: URLs go into logs and to other servers.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, content_type: Option<&str>, body: &str) -> Result<usize, What> {
        let answer = Answer {
            status,
            content_type: content_type.map(str::to_owned),
            body: body.to_owned().into(),
            url: Url::parse("http://a.example/x").expect("a URL"),
        };
        document(answer).map(|document| document.verbs.len())
    }

    /// [rcml 7] [rcml 1.8] [rcml 1.9]
    #[test]
    fn what_is_a_document() {
        let one = "<Response><Hangup/></Response>";
        for xml in ["text/xml", "Application/XML; charset=utf-8", "text/html", "application/x+xml"] {
            assert_eq!(read(200, Some(xml), one), Ok(1), "{xml}");
        }
        assert_eq!(read(201, Some("text/plain"), "hi"), Ok(1));
        assert_eq!(read(200, Some("audio/wav"), "RIFF"), Ok(1));
        assert_eq!(read(204, None, ""), Ok(0));
        assert_eq!(read(200, None, ""), Ok(0));
        assert_eq!(read(200, None, one), Err(What::ContentType));
        assert_eq!(read(200, Some("application/octet-stream"), one), Err(What::ContentType));
        assert_eq!(read(500, Some("text/xml"), one), Err(What::Status(500)));
        assert_eq!(read(304, None, ""), Err(What::Status(304)));
        assert_eq!(read(200, Some("text/xml"), "<Response>"), Err(What::Malformed));
    }

    /// [rcml 6] What an unanswered caller and a fallback are told.
    #[test]
    fn failures_have_codes() {
        let url = Url::parse("http://u:p@a.example/x").expect("a URL");
        let failed = |what| Failed { url: shown(&url), what };
        assert_eq!(failed(What::Status(404)).sip_status(), 404);
        assert_eq!(failed(What::Failure(Failure::Timeout)).sip_status(), 500);
        let form = failed(What::Status(503)).parameters();
        assert_eq!(form, [pair("ErrorCode", "503"), pair("ErrorUrl", "http://a.example/x")]);
        assert_eq!(Failed::executing(&url).parameters()[0].1, "12200");
    }
}
