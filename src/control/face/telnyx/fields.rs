//! The body of a command: a JSON object whose fields are read one by one, and all that is wrong with
//! them told at once. Unknown fields mean nothing (telnyx 1.7); `null` is as if absent.

use super::fault::{Entry, Fault};
use crate::control::body;
use crate::control::webhook::http_url;
use crate::sip::plan::{Credentials, Secret};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Header fields in one list at most.
const MOST_HEADERS: usize = 64;
/// Characters of a command's id at most.
const LONGEST_ID: usize = 255;

/// What all commands take.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) client_state: Option<String>,
    pub(super) command_id: Option<String>,
}

/// The fields of a body.
#[derive(Debug)]
pub(super) struct Fields {
    map: Map<String, Value>,
    wrong: Vec<Entry>,
}

impl Fields {
    /// Reads a body. One that is not there stands for `{}` where no field is `required`.
    pub(super) async fn read(headers: &HeaderMap, body: Body, required: bool) -> Result<Fields, Fault> {
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or(""));
        let essence = content_type.map(|text| text.split(';').next().unwrap_or("").trim());
        if essence.is_some_and(|essence| !essence.eq_ignore_ascii_case("application/json")) {
            return Err(Fault::media_type());
        }
        let body = body::read(body).await.map_err(Fault::unread)?;
        let map = if body.is_empty() && !required {
            Map::new()
        } else if essence.is_none() {
            return Err(Fault::media_type());
        } else {
            serde_json::from_slice(&body).map_err(|_| Fault::no_object())?
        };
        Ok(Fields { map, wrong: Vec::new() })
    }

    /// A value that is there.
    fn value(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Something is wrong.
    pub(super) fn fault(&mut self, entry: Entry) {
        self.wrong.push(entry);
    }

    /// Says what is wrong, if anything is.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        match std::mem::take(&mut self.wrong) {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(Fault::of(wrong)),
        }
    }

    /// A text that may be there; a blank one is as if absent.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(text.clone()),
            _ => {
                self.fault(Entry::wrong_type(&format!("/{name}"), "string"));
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, name: &str) -> Option<String> {
        let before = self.wrong.len();
        let text = self.text(name);
        if text.is_none() && self.wrong.len() == before {
            self.fault(Entry::missing(name));
        }
        text
    }

    /// A text or a list of one text, which must be there.
    pub(super) fn required_one(&mut self, name: &str) -> Option<String> {
        let list = self.value(name).and_then(Value::as_array).cloned();
        let Some(list) = list else { return self.required(name) };
        match list.as_slice() {
            [Value::String(text)] if !text.trim().is_empty() => Some(text.clone()),
            [] => {
                self.fault(Entry::missing(name));
                None
            }
            [Value::String(_)] => {
                self.fault(Entry::missing(name));
                None
            }
            [_] => {
                self.fault(Entry::wrong_type(&format!("/{name}/0"), "string"));
                None
            }
            _ => {
                let detail = "Several callees at once are not supported; give one.";
                self.fault(Entry::unusable(&format!("/{name}"), detail));
                None
            }
        }
    }

    /// Seconds within a range.
    pub(super) fn seconds(&mut self, name: &str, default: u64, (least, most): (u64, u64)) -> Duration {
        let pointer = format!("/{name}");
        let seconds = match self.value(name) {
            None => Some(default),
            Some(Value::Number(number)) if number.is_f64() => {
                self.fault(Entry::wrong_type(&pointer, "integer"));
                None
            }
            Some(Value::Number(number)) => {
                let seconds = number.as_u64().filter(|seconds| (least..=most).contains(seconds));
                if seconds.is_none() {
                    self.fault(Entry::range(&pointer, least, most));
                }
                seconds
            }
            Some(_) => {
                self.fault(Entry::wrong_type(&pointer, "integer"));
                None
            }
        };
        Duration::from_secs(seconds.unwrap_or(default))
    }

    /// One of a few words.
    pub(super) fn word(&mut self, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(name)?;
        self.known(name, &text, words)
    }

    /// One of a few words, which must be there.
    pub(super) fn required_word(&mut self, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.required(name)?;
        self.known(name, &text, words)
    }

    fn known(&mut self, name: &str, text: &str, words: &[&'static str]) -> Option<&'static str> {
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            self.fault(Entry::enumerated(&format!("/{name}"), words));
        }
        found
    }

    /// An http or https URL.
    pub(super) fn url(&mut self, name: &str) -> Option<Url> {
        let text = self.text(name)?;
        let url = http_url(&text);
        if url.is_none() {
            self.fault(Entry::unusable(&format!("/{name}"), "An absolute http or https URL is needed here."));
        }
        url
    }

    /// URLs by name.
    pub(super) fn urls(&mut self, name: &str) -> Vec<(String, Url)> {
        let Some(value) = self.value(name).cloned() else { return Vec::new() };
        let Value::Object(map) = value else {
            self.fault(Entry::wrong_type(&format!("/{name}"), "object"));
            return Vec::new();
        };
        let mut urls = Vec::new();
        for (event, value) in map {
            match value.as_str().and_then(http_url) {
                Some(url) => urls.push((event, url)),
                None => self.fault(Entry::unusable(
                    &format!("/{name}/{event}"),
                    "An absolute http or https URL is needed here.",
                )),
            }
        }
        urls
    }

    /// What all commands take.
    pub(super) fn common(&mut self) -> Common {
        Common { client_state: self.state("client_state"), command_id: self.command_id() }
    }

    /// The id under which a command is executed once.
    pub(super) fn command_id(&mut self) -> Option<String> {
        let command_id = self.text("command_id");
        if command_id.as_ref().is_some_and(|id| id.chars().count() > LONGEST_ID) {
            self.fault(Entry::unusable("/command_id", "A command_id has 255 characters at most."));
        }
        command_id
    }

    /// A client state: padded Base64 (telnyx 2).
    pub(super) fn state(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        self.base64(name, text)
    }

    /// A client state that must be there.
    pub(super) fn required_state(&mut self, name: &str) -> Option<String> {
        let text = self.required(name)?;
        self.base64(name, text)
    }

    fn base64(&mut self, name: &str, text: String) -> Option<String> {
        if STANDARD.decode(&text).is_ok() {
            return Some(text);
        }
        self.fault(Entry::unusable(&format!("/{name}"), "The value must be a valid Base64 encoded string."));
        None
    }

    /// For a challenge; half of them is a fault (telnyx 2).
    pub(super) fn credentials(&mut self) -> Option<Arc<Credentials>> {
        let (user, password) = (self.text("sip_auth_username"), self.text("sip_auth_password"));
        match (user, password) {
            (Some(user), Some(password)) => {
                Some(Arc::new(Credentials { user: user.into(), secret: Secret::Password(password.into()) }))
            }
            (None, None) => None,
            (Some(_), None) => {
                self.fault(Entry::missing("sip_auth_password"));
                None
            }
            (None, Some(_)) => {
                self.fault(Entry::missing("sip_auth_username"));
                None
            }
        }
    }

    /// Header fields for a message of the call: their names may not be reserved, nor may they leave
    /// their line (telnyx 2.2).
    pub(super) fn custom_headers(&mut self) -> Vec<(String, String)> {
        let list = self.list("custom_headers");
        for (place, (name, value)) in list.iter().enumerate() {
            if let Err(detail) = super::address::check_header(name, value) {
                self.fault(Entry::unusable(&format!("/custom_headers/{place}/name"), detail));
            }
        }
        list
    }

    /// User-to-User alone (telnyx 2).
    pub(super) fn sip_headers(&mut self) -> Vec<(String, String)> {
        let list = self.list("sip_headers");
        for (place, (name, value)) in list.iter().enumerate() {
            if !name.eq_ignore_ascii_case("User-to-User") {
                self.fault(Entry::enumerated(&format!("/sip_headers/{place}/name"), &["User-to-User"]));
            } else if let Err(detail) = super::address::check_header(name, value) {
                self.fault(Entry::unusable(&format!("/sip_headers/{place}/value"), detail));
            }
        }
        list
    }

    /// A list of objects with name and value.
    fn list(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(value) = self.value(name).cloned() else { return Vec::new() };
        let Value::Array(items) = value else {
            self.fault(Entry::wrong_type(&format!("/{name}"), "array"));
            return Vec::new();
        };
        if items.len() > MOST_HEADERS {
            self.fault(Entry::unusable(&format!("/{name}"), "64 header fields at most."));
            return Vec::new();
        }
        let mut list = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let Value::Object(item) = item else {
                self.fault(Entry::wrong_type(&format!("/{name}/{place}"), "object"));
                continue;
            };
            let mut part = |key: &str| match item.get(key) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Null) | None => {
                    self.fault(Entry::missing(&format!("{name}/{place}/{key}")));
                    None
                }
                Some(_) => {
                    self.fault(Entry::wrong_type(&format!("/{name}/{place}/{key}"), "string"));
                    None
                }
            };
            if let (Some(name), Some(value)) = (part("name"), part("value")) {
                list.push((name, value));
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::body::tests::never;

    /// [telnyx 1.7] A body that does not come is 408.
    #[tokio::test(start_paused = true)]
    async fn a_body_has_its_time() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
        let fault = Fields::read(&headers, never(), true).await.expect_err("it never comes");
        assert_eq!(fault.response().status(), axum::http::StatusCode::REQUEST_TIMEOUT);
    }
}
