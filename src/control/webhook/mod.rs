//! Outgoing HTTP, for all interfaces: documents are fetched and notifications delivered here, and
//! nowhere else.
//!
//! Every exchange has one bound on its whole time, its redirects and its answer's length, and reaches
//! only destinations that [`address`] allows. Notifications of one call go through a [`Lane`], which
//! sends them one after the other; a receiver that is slow holds up its own lane, and when too many
//! wait, the newest are dropped and counted. Nothing here can make a call wait.

mod address;
mod client;
mod connect;
mod lane;
mod stats;
#[cfg(test)]
mod tests;

pub(super) use client::{Client, ClientOptions};
pub(super) use lane::{Lane, Notification, Retry};
pub(super) use stats::{Outcome, Stats};

use super::WebhookLimits;
use axum::http::{HeaderName, HeaderValue, Method};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;

/// Redirects followed (rcml 1.6).
pub(super) const REDIRECTS: usize = 5;

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// GET: a form goes into the query; else it is the body.
    pub(super) method: Method,
    /// Where; a user in it becomes Basic credentials.
    pub(super) url: Url,
    /// What it tells.
    pub(super) content: Content,
    /// Further header fields, signatures among them.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Redirects that are followed; with 0, one is an answer like any other.
    pub(super) redirects: usize,
}

/// What a request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Names and values, in order.
    Form(Vec<(String, String)>),
    /// A JSON text; a GET has no place for it.
    Json(Bytes),
}

impl Request {
    /// A request with a form.
    pub(super) fn form(method: Method, url: Url, form: Vec<(String, String)>) -> Request {
        Request { method, url, content: Content::Form(form), headers: Vec::new(), redirects: REDIRECTS }
    }
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// Content-Type as written.
    pub(super) content_type: Option<String>,
    /// The body.
    pub(super) body: Bytes,
    /// Where it came from: behind all redirects.
    pub(super) url: Url,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The whole exchange took too long.
    #[error("no answer in time")]
    Timeout,
    /// The destination is inside, and may not be reached.
    #[error("the destination is a private address, and webhook.allow_private is off")]
    Private,
    /// Nobody there, a broken connection, or something that is not HTTP.
    #[error("the server cannot be reached")]
    Unreachable,
    /// More redirects than are followed, or one that leads nowhere.
    #[error("redirected in vain")]
    Redirected,
    /// The answer is longer than is read.
    #[error("the answer is too long")]
    TooLong,
}

/// A future without a name.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whoever carries out one exchange: the client, or a test's own.
pub(super) trait Exchange: Send + Sync + fmt::Debug {
    /// Asks, follows redirects, and reads the answer.
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>>;
}

/// All outgoing HTTP.
#[derive(Debug)]
pub(super) struct Webhooks {
    exchange: Box<dyn Exchange>,
    limits: WebhookLimits,
    fetches: Semaphore,
    deliveries: Semaphore,
    stats: Stats,
}

impl Webhooks {
    /// None is under way yet.
    pub(super) fn new(exchange: Box<dyn Exchange>, limits: WebhookLimits) -> Arc<Webhooks> {
        Arc::new(Webhooks {
            exchange,
            limits,
            fetches: Semaphore::new(limits.fetches),
            deliveries: Semaphore::new(limits.deliveries),
            stats: Stats::default(),
        })
    }

    /// What was done so far.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Fetches a document; waiting for its turn counts, for a call waits meanwhile.
    pub(super) async fn fetch(&self, request: Request) -> Result<Answer, Failure> {
        let exchange = async {
            let _turn = self.fetches.acquire().await.map_err(|_| Failure::Unreachable)?;
            self.exchange.exchange(request).await
        };
        self.within(self.limits.timeout, exchange).await
    }

    /// Asks as often as a notification's policy says, for its answer.
    pub(super) async fn persist(&self, notification: &dyn Notification) -> Result<Answer, Failure> {
        lane::attempts(self, &self.fetches, notification).await
    }

    async fn within(
        &self,
        timeout: Duration,
        exchange: impl Future<Output = Result<Answer, Failure>>,
    ) -> Result<Answer, Failure> {
        let result = tokio::time::timeout(timeout, exchange).await;
        let result = result.unwrap_or(Err(Failure::Timeout));
        self.stats.count(match &result {
            Ok(answer) if (200..300).contains(&answer.status) => Outcome::Done,
            Ok(_) => Outcome::Refused,
            Err(failure) => Outcome::from(*failure),
        });
        result
    }
}

/// A URL that can be asked: absolute, `http` or `https`, with a host.
pub(super) fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    // The parser is as lenient as a browser; a host that was left out is a mistake of the author's.
    let named = !text.trim().splitn(3, '/').nth(2).is_some_and(|host| host.starts_with('/'));
    (named && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// The method that a parameter or attribute names, in any case.
pub(super) fn http_method(text: &str) -> Option<Method> {
    match text.trim() {
        get if get.eq_ignore_ascii_case("GET") => Some(Method::GET),
        post if post.eq_ignore_ascii_case("POST") => Some(Method::POST),
        _ => None,
    }
}
