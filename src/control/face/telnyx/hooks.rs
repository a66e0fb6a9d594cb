//! Where the events of a call are sent (telnyx 3.2): to its connection, unless a command said
//! otherwise, for all events or for some.

use super::fields::Fields;
use crate::control::webhook::http_method;
use crate::control::{Application, HttpMethod};
use axum::http::Method;
use std::time::Duration;
use url::Url;

/// How long an attempt may take (telnyx 3.4).
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the party that was transferred may take to hang up by itself (telnyx 2.8).
const BYE_AFTER: Duration = Duration::from_secs(1);

/// A program that takes events and gives commands.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: String,
    /// The account whose calls it steers; `None`: any.
    pub(super) account: Option<Box<str>>,
    /// How long an attempt to tell it something may take.
    pub(super) timeout: Duration,
    /// How long after a transfer the leg is ended.
    pub(super) bye_after: Duration,
    url: Url,
    method: Method,
    failover: Option<Url>,
}

impl Connection {
    /// Of an application; `None` when its URL cannot be used.
    pub(super) fn new(application: &Application) -> Option<Connection> {
        let url = |text: &str| crate::control::webhook::http_url(text);
        Some(Connection {
            id: application.connection_id.as_deref().unwrap_or(&application.name).to_owned(),
            account: application.account.clone(),
            timeout: application.timeout.unwrap_or(PATIENCE),
            bye_after: application.bye_after.unwrap_or(BYE_AFTER),
            url: url(&application.url)?,
            method: match application.method {
                HttpMethod::Get => Method::GET,
                HttpMethod::Post => Method::POST,
            },
            failover: application.failover_url.as_deref().and_then(url),
        })
    }

    /// Whether calls of this account may be made for it.
    pub(super) fn serves(&self, account: &str) -> bool {
        self.account.as_deref().is_none_or(|own| own == account)
    }
}

/// What commands said of where events go.
#[derive(Clone, Debug, Default)]
pub(super) struct Hooks {
    url: Option<(Url, Method)>,
    by_event: Vec<(String, Url)>,
    by_event_method: Option<Method>,
}

impl Hooks {
    /// What a command says.
    pub(super) fn read(fields: &mut Fields) -> Hooks {
        let url = fields.url("webhook_url");
        let method = fields.word("webhook_url_method", &["POST", "GET"]).and_then(http_method);
        let by_event = fields.urls("webhook_urls");
        let by_event_method = fields.word("webhook_urls_method", &["POST", "GET"]).and_then(http_method);
        Hooks { url: url.map(|url| (url, method.unwrap_or(Method::POST))), by_event, by_event_method }
    }

    /// A later command's word counts, as far as it goes.
    pub(super) fn merge(&mut self, later: Hooks) {
        if later.url.is_some() {
            self.url = later.url;
        }
        if !later.by_event.is_empty() {
            self.by_event = later.by_event;
            self.by_event_method = later.by_event_method;
        }
    }

    /// Where an event goes: first there, and when that fails to the others in their order.
    pub(super) fn targets(&self, event: &str, connection: &Connection) -> Vec<(Url, Method)> {
        let special = self
            .by_event
            .iter()
            .find(|(name, _)| name == event)
            .map(|(_, url)| (url.clone(), self.by_event_method.clone().unwrap_or(Method::POST)));
        let primary = special
            .or_else(|| self.url.clone())
            .unwrap_or_else(|| (connection.url.clone(), connection.method.clone()));
        let failover = connection.failover.clone().map(|url| (url, primary.1.clone()));
        std::iter::once(primary).chain(failover).collect()
    }
}
