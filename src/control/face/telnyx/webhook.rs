//! One event on its way (telnyx 3): three attempts at each URL, each with a signature of its own.

use super::payload::timestamp;
use super::sign::Signer;
use crate::control::webhook::{Content, Notification, Owner, REDIRECTS, Request};
use crate::io::Clock;
use crate::sip::time::Time;
use axum::http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Waits before the attempts at one URL (telnyx 3.4).
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];

const SIGNATURE: HeaderName = HeaderName::from_static("telnyx-signature-ed25519");
const TIMESTAMP: HeaderName = HeaderName::from_static("telnyx-timestamp");

/// An event, and where it is told.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) owner: Owner,
    pub(super) signer: Arc<Signer>,
    pub(super) event: &'static str,
    pub(super) id: String,
    pub(super) at: Time,
    pub(super) payload: Map<String, Value>,
    /// At least one.
    pub(super) targets: Vec<(Url, Method)>,
    pub(super) timeout: Duration,
}

impl Webhook {
    fn envelope(&self, attempt: usize, url: &Url) -> Value {
        json!({
            "data": {
                "record_type": "event",
                "event_type": self.event,
                "id": self.id,
                "occurred_at": timestamp(self.at),
                "payload": self.payload,
            },
            "meta": { "attempt": attempt, "delivered_to": shown(url) },
        })
    }

    /// The envelope as parameters, for those who are told by GET.
    fn form(&self, attempt: usize, url: &Url) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let mut form = vec![
            pair("record_type", "event".to_owned()),
            pair("event_type", self.event.to_owned()),
            pair("id", self.id.clone()),
            pair("occurred_at", timestamp(self.at)),
            pair("attempt", attempt.to_string()),
            pair("delivered_to", shown(url)),
        ];
        for (name, value) in &self.payload {
            match value {
                Value::Null => {}
                Value::String(text) => form.push(pair(name, text.clone())),
                other => form.push(pair(name, other.to_string())),
            }
        }
        form
    }
}

impl Notification for Webhook {
    fn pause(&self, number: usize) -> Option<Duration> {
        let place = number / PAUSES.len();
        (place < self.targets.len()).then(|| PAUSES.get(number % PAUSES.len()).copied().unwrap_or_default())
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn url(&self, number: usize) -> Option<&Url> {
        self.targets.get(number / PAUSES.len()).map(|(url, _)| url)
    }

    fn request(&self, number: usize, sent: usize) -> Option<Request> {
        let (url, method) = self.targets.get(number / PAUSES.len())?.clone();
        let (content, body) = if method == Method::GET {
            (Content::Form(self.form(sent + 1, &url)), Vec::new())
        } else {
            let body = self.envelope(sent + 1, &url).to_string().into_bytes();
            (Content::Json(body.clone().into()), body)
        };
        // Body and time are this attempt's, and so is the signature.
        let now = Clock::new().now().millis() / 1_000;
        let signature = HeaderValue::try_from(self.signer.sign(now, &body)).ok();
        let headers = signature.map(|signature| (SIGNATURE, signature));
        let headers = headers.into_iter().chain([(TIMESTAMP, HeaderValue::from(now))]).collect();
        let owner = self.owner.clone();
        Some(Request { owner, method, url, content, headers, redirects: REDIRECTS })
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.timeout)
    }
}

/// A URL without the credentials in it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}
