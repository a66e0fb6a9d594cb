//! Outgoing HTTP, for all interfaces: documents are fetched and notifications delivered here, and
//! nowhere else.
//!
//! Every exchange has one bound on its whole time, its redirects and its answer's length, and reaches
//! only destinations that [`address`] allows. Notifications of one call go through a [`Lane`], which
//! sends them one after the other; a receiver that is slow holds up its own lane, and when too many
//! wait, the newest are dropped and counted. A server that is dead takes no more than its [`share`]
//! of what all have together, and neither does an account that asks many. Nothing here can make a call wait.

mod address;
mod client;
mod connect;
mod lane;
mod share;
mod stats;
#[cfg(test)]
mod tests;

pub(super) use client::{Client, ClientOptions};
pub(super) use lane::{Lane, Notification, Retry};
pub(super) use share::Owner;
pub(super) use stats::{Outcome, Stats};

use super::WebhookLimits;
use axum::http::{HeaderName, HeaderValue, Method};
use bytes::Bytes;
use share::{Charged, Room, Turns};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// Redirects followed (rcml 1.6).
pub(super) const REDIRECTS: usize = 5;

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Out of whose share it is made.
    pub(super) owner: Owner,
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
    pub(super) fn form(owner: Owner, method: Method, url: Url, form: Vec<(String, String)>) -> Request {
        let content = Content::Form(form);
        Request { owner, method, url, content, headers: Vec::new(), redirects: REDIRECTS }
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
    fetches: Arc<Turns>,
    deliveries: Arc<Turns>,
    room: Arc<Room>,
    stats: Stats,
}

impl Webhooks {
    /// None is under way yet.
    pub(super) fn new(exchange: Box<dyn Exchange>, limits: WebhookLimits) -> Arc<Webhooks> {
        Arc::new(Webhooks {
            exchange,
            limits,
            fetches: Turns::of(limits.fetches),
            deliveries: Turns::of(limits.deliveries),
            room: Room::of(limits.waiting),
            stats: Stats::default(),
        })
    }

    /// What was done so far.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Notifications that wait or are on their way.
    pub(super) fn waiting(&self) -> usize {
        self.room.taken()
    }

    /// Documents, with hooks, and notifications that are on their way.
    pub(super) fn on_their_way(&self) -> (usize, usize) {
        (self.fetches.taken(), self.deliveries.taken())
    }

    /// Fetches a document; waiting for its turn counts, for a call waits meanwhile.
    pub(super) async fn fetch(&self, request: Request) -> Result<Answer, Failure> {
        let by = Instant::now() + self.limits.timeout;
        let charged = Charged::to(&request.owner, &request.url);
        let Ok(_turn) = timeout_at(by, self.fetches.take(&charged)).await else { return self.no_turn() };
        self.ask(request, by).await
    }

    /// Asks as often as a notification's policy says, for its answer. A call waits meanwhile: waiting for a
    /// turn counts here, too.
    pub(super) async fn persist(&self, notification: &dyn Notification) -> Result<Answer, Failure> {
        lane::attempts(self, Urgency::Awaited, notification, 0).await
    }

    async fn ask(&self, request: Request, by: Instant) -> Result<Answer, Failure> {
        let result = timeout_at(by, self.exchange.exchange(request)).await;
        let result = result.unwrap_or(Err(Failure::Timeout));
        self.stats.count(match &result {
            Ok(answer) if (200..300).contains(&answer.status) => Outcome::Done,
            Ok(_) => Outcome::Refused,
            Err(failure) => Outcome::from(*failure),
        });
        result
    }

    /// To who waited for it, that is as if the server had not answered.
    fn no_turn(&self) -> Result<Answer, Failure> {
        self.stats.count(Outcome::NoTurn);
        Err(Failure::Timeout)
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        self.fetches.known() + self.deliveries.known()
    }
}

/// Whether anybody waits for what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// A call does: its turn comes within an attempt's time, or it has failed.
    Awaited,
    /// Nobody does: its time runs from its turn on, so that a dead server costs others no attempt. Only while there
    /// is another server to ask, it waits for its turn no longer than for an answer.
    Patient,
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
