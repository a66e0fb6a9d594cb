//! Hooks: where an application is asked and told, how often, and how it knows that it was Baton
//! (jambonz section 2).

use super::text::print;
use crate::config::Secret;
use crate::control::webhook::{
    Answer, Content, Failure, Notification, Owner, Request, Webhooks, http_method, http_url,
};
use crate::io::Clock;
use axum::http::{HeaderName, HeaderValue, Method};
use ring::hmac;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Pauses before the further attempts that a URL asks for.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(6),
];
const SIGNATURE: HeaderName = HeaderName::from_static("jambonz-signature");

/// Where something is asked or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) url: Url,
    pub(super) method: Method,
    again: Again,
}

/// Which failures are tried again, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Again {
    most: usize,
    unreachable: bool,
    silent: bool,
    refused: bool,
    broken: bool,
}

/// A hook that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is neither a string nor an object with a `url`, or its method is another one.
    Malformed,
    /// It has no host, and there is nothing that it could be relative to.
    Relative,
    /// A WebSocket (1.6).
    WebSocket,
}

impl Hook {
    /// Reads a hook: a URL, or an object (2.1). A relative one is at the host of `base` (2.2).
    pub(super) fn read(value: &Value, base: Option<&Url>) -> Result<Hook, Unusable> {
        let (text, method, user) = match value {
            Value::String(text) => (text.as_str(), Method::POST, None),
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                let method = match members.get("method").filter(|method| !method.is_null()) {
                    None => Method::POST,
                    Some(method) => method.as_str().and_then(http_method).ok_or(Unusable::Malformed)?,
                };
                let user = text("username").filter(|user| !user.is_empty());
                (
                    text("url").ok_or(Unusable::Malformed)?,
                    method,
                    user.map(|u| (u, text("password").unwrap_or(""))),
                )
            }
            _ => return Err(Unusable::Malformed),
        };
        let mut hook = Hook::at(text, method, base)?;
        if let Some((user, password)) = user {
            let _ = hook.url.set_username(user);
            let _ = hook.url.set_password(Some(password));
        }
        Ok(hook)
    }

    /// A hook at a URL that is known to be one.
    pub(super) fn to(url: Url) -> Hook {
        Hook { url, method: Method::POST, again: Again::default() }
    }

    /// A hook at a URL as text.
    pub(super) fn at(text: &str, method: Method, base: Option<&Url>) -> Result<Hook, Unusable> {
        let text = text.trim();
        let scheme = |name: &str| text.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
        if scheme("ws://") || scheme("wss://") {
            return Err(Unusable::WebSocket);
        }
        let absolute = http_url(text);
        if absolute.is_none() && (text.is_empty() || text.contains("://")) {
            return Err(Unusable::Malformed);
        }
        let joined = || base?.join("/").ok()?.join(text).ok();
        let mut url = absolute.or_else(joined).ok_or(Unusable::Relative)?;
        let again = Again::read(url.fragment().unwrap_or(""));
        url.set_fragment(None);
        Ok(Hook { url, method, again })
    }
}

impl Again {
    /// `rc=3&rp=ct,5xx` (2.8).
    fn read(fragment: &str) -> Again {
        let value = |name: &str| {
            fragment.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name)
        };
        let most = value("rc").and_then(|(_, n)| n.parse::<usize>().ok()).unwrap_or(0).min(PAUSES.len());
        let mut again = Again { most, ..Again::default() };
        for word in value("rp").map_or("ct", |(_, words)| words).split(',') {
            match word.trim() {
                "ct" => again.unreachable = true,
                "rt" => again.silent = true,
                "4xx" => again.refused = true,
                "5xx" => again.broken = true,
                "all" => {
                    (again.unreachable, again.silent, again.refused, again.broken) = (true, true, true, true)
                }
                _ => {}
            }
        }
        again
    }
}

/// What signs a hook.
pub(super) type Signs = Option<Arc<Secret>>;

/// One request of a hook, with its further attempts.
#[derive(Clone, Debug)]
pub(super) struct Post {
    owner: Owner,
    hook: Hook,
    fields: Value,
    signs: Signs,
    timeout: Duration,
}

impl Post {
    pub(super) fn new(
        owner: Owner,
        hook: Hook,
        fields: Map<String, Value>,
        signs: Signs,
        timeout: Duration,
    ) -> Post {
        Post { owner, hook, fields: Value::Object(fields), signs, timeout }
    }
}

impl Notification for Post {
    fn pause(&self, number: usize) -> Option<Duration> {
        match number.checked_sub(1) {
            None => Some(Duration::ZERO),
            Some(pause) => PAUSES.get(pause).copied().filter(|_| number <= self.hook.again.most),
        }
    }

    fn is_tried_again(&self, result: &Result<Answer, Failure>) -> bool {
        let again = self.hook.again;
        match result {
            Ok(answer) => match answer.status {
                400..=499 => again.refused,
                500..=599 => again.broken,
                _ => false,
            },
            Err(Failure::Timeout) => again.silent,
            Err(Failure::Unreachable | Failure::Private) => again.unreachable,
            Err(Failure::Redirected | Failure::TooLong) => false,
        }
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn url(&self, _: usize) -> Option<&Url> {
        Some(&self.hook.url)
    }

    fn request(&self, _: usize, _: usize) -> Option<Request> {
        let (method, url) = (self.hook.method.clone(), self.hook.url.clone());
        let owner = self.owner.clone();
        if method == Method::GET {
            // The vendor's sends nothing at all (2.3).
            let request = Request::form(owner, method, url, scalars(&self.fields));
            return Some(Request { redirects: 0, ..request });
        }
        let body = print(&self.fields);
        let mut headers = Vec::new();
        if let Some(secret) = &self.signs
            && let Ok(value) =
                HeaderValue::try_from(signature(secret, Clock::new().now().millis() / 1_000, &body))
        {
            headers.push((SIGNATURE, value));
        }
        Some(Request { owner, method, url, content: Content::Json(body.into()), headers, redirects: 0 })
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.timeout)
    }
}

/// What can stand in a query.
fn scalars(fields: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(print(value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let members = fields.as_object().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// The value of Jambonz-Signature (2.5).
fn signature(secret: &Secret, seconds: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mac = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Why a hook gave no answer that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failed {
    /// It was answered so.
    #[error("the answer was {0}")]
    Status(u16),
    /// It was not answered.
    #[error("{0}")]
    Failure(Failure),
    /// What it was answered with is not JSON.
    #[error("the answer is not JSON")]
    Malformed,
}

/// Asks a hook: what it answers, when that is JSON (2.6).
pub(super) async fn ask(webhooks: Arc<Webhooks>, post: Post) -> Result<Option<Value>, Failed> {
    let host = post.hook.url.host_str().unwrap_or("").to_owned();
    let result = webhooks.persist(&post).await.map_err(Failed::Failure).and_then(|answer| read(&answer));
    if let Err(error) = &result {
        tracing::warn!(event = "jambonz.hook", host, %error, "a hook failed");
    }
    result
}

fn read(answer: &Answer) -> Result<Option<Value>, Failed> {
    if !matches!(answer.status, 200 | 202 | 204) {
        return Err(Failed::Status(answer.status));
    }
    let json = answer.content_type.as_deref().unwrap_or("").to_ascii_lowercase().contains("application/json");
    if !json || answer.body.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&answer.body).map(Some).map_err(|_| Failed::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn url(value: Value) -> Result<String, Unusable> {
        let base = Url::parse("http://u:p@h:1/a/b?c#rc=1").expect("a URL");
        Hook::read(&value, Some(&base)).map(|hook| format!("{} {}", hook.method, hook.url))
    }

    /// [jambonz 2.1] [jambonz 2.2] [jambonz 24] [jambonz 25]
    #[test]
    fn hooks_in_all_forms() {
        for (value, expected) in [
            (json!("/action?x=1"), "POST http://u:p@h:1/action?x=1"),
            (json!("action"), "POST http://u:p@h:1/action"),
            (json!("https://other/x#rc=2"), "POST https://other/x"),
            (json!({"url": "/x", "method": "get"}), "GET http://u:p@h:1/x"),
            (
                json!({"url": "http://z/x", "method": "GET", "username": "a b", "password": "c:d"}),
                "GET http://a%20b:c%3Ad@z/x",
            ),
        ] {
            assert_eq!(url(value).as_deref(), Ok(expected));
        }
        for wrong in
            [json!(1), json!({}), json!({"url": "/x", "method": "PUT"}), json!(""), json!("ftp://h/x")]
        {
            assert_eq!(url(wrong.clone()), Err(Unusable::Malformed), "{wrong}");
        }
        assert_eq!(url(json!("wss://h/x")), Err(Unusable::WebSocket));
        assert_eq!(Hook::read(&json!("/x"), None), Err(Unusable::Relative));
    }

    /// [jambonz 2.8] [jambonz 28]
    #[test]
    fn retries_stand_in_the_fragment() {
        let again = |text| Again::read(text);
        let unreachable = Again { unreachable: true, ..Again::default() };
        assert_eq!(again(""), unreachable);
        assert_eq!(again("rc=9"), Again { most: 5, ..unreachable });
        assert_eq!(again("rc=2&rp=5xx"), Again { most: 2, broken: true, ..Again::default() });
        let all = Again { most: 1, unreachable: true, silent: true, refused: true, broken: true };
        assert_eq!((again("rp=all&rc=1"), again("rc=1&rp=ct,rt,4xx,5xx")), (all, all));
        let hook = Hook::at("http://h/x#rc=2&rp=5xx", Method::POST, None).expect("a hook");
        let post = Post::new(Owner::default(), hook, Map::new(), None, Duration::from_secs(1));
        let pauses: Vec<_> = (0..4).map(|n| post.pause(n).map(|pause| pause.as_millis())).collect();
        assert_eq!(pauses, [Some(0), Some(500), Some(1_000), None]);
        assert!(!post.is_tried_again(&Err(Failure::Unreachable)));
    }

    /// [jambonz 2.5] A value made by another implementation of HMAC-SHA256.
    #[test]
    fn signatures() {
        let signed = signature(&Secret::new("s3cret"), 1_700_000_000, "{\"a\":1}");
        let expected = "t=1700000000,v1=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";
        assert_eq!(signed, expected);
    }
}
