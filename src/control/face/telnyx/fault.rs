//! What a client is told when a command is not taken (telnyx 1.5, 1.8). Faults of the caller are
//! never 409, 429 or 5xx: its libraries would send the command again by themselves.

use crate::control::body::Unread;
use crate::control::problem::Format;
use axum::body::Body;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

/// One error of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    code: &'static str,
    title: &'static str,
    detail: String,
    /// A JSON pointer into the body.
    pointer: Option<String>,
    url: Option<&'static str>,
}

impl Entry {
    fn new(code: &'static str, title: &'static str, detail: impl Into<String>) -> Entry {
        Entry { code, title, detail: detail.into(), pointer: None, url: None }
    }

    fn at(self, pointer: impl Into<String>) -> Entry {
        Entry { pointer: Some(pointer.into()), ..self }
    }

    /// A field that must be there is not, or is blank.
    pub(super) fn missing(name: &str) -> Entry {
        let detail = format!("The '{name}' parameter is required and cannot be blank.");
        Entry::new("10004", "Missing required parameter", detail).at(format!("/{name}"))
    }

    /// A field of another type.
    pub(super) fn wrong_type(pointer: &str, wanted: &str) -> Entry {
        Entry::new("10026", "Wrong type", format!("A value of type {wanted} is needed here.")).at(pointer)
    }

    /// A word that is none of those that are known.
    pub(super) fn enumerated(pointer: &str, words: &[&str]) -> Entry {
        let detail = format!("The value must be one of: {}.", words.join(", "));
        Entry::new("10032", "Invalid enumerated value", detail).at(pointer)
    }

    /// A number out of its range.
    pub(super) fn range(pointer: &str, least: u64, most: u64) -> Entry {
        let detail = format!("The value must be from {least} to {most}.");
        Entry::new("10033", "Value out of range", detail).at(pointer)
    }

    /// A value that cannot be used for another reason.
    pub(super) fn unusable(pointer: &str, detail: impl Into<String>) -> Entry {
        Entry::new("10015", "Bad Request", detail).at(pointer)
    }

    fn json(self) -> Value {
        let mut entry = Map::new();
        entry.insert("code".into(), self.code.into());
        entry.insert("title".into(), self.title.into());
        entry.insert("detail".into(), self.detail.into());
        if let Some(pointer) = self.pointer {
            entry.insert("source".into(), json!({ "pointer": pointer }));
        }
        if let Some(url) = self.url {
            entry.insert("meta".into(), json!({ "url": url }));
        }
        Value::Object(entry)
    }
}

/// Why a command is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    status: StatusCode,
    errors: Vec<Entry>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Fault {
    fn new(status: StatusCode, entry: Entry) -> Fault {
        Fault { status, errors: vec![entry], header: None }
    }

    /// 422 with all that is wrong with a body.
    pub(super) fn of(errors: Vec<Entry>) -> Fault {
        Fault { status: StatusCode::UNPROCESSABLE_ENTITY, errors, header: None }
    }

    /// 401.
    pub(super) fn unauthorized() -> Fault {
        let detail =
            "The required authentication headers were either invalid or not included in the request.";
        let entry = Entry {
            url: Some("https://developers.telnyx.com/docs/overview/errors/10009"),
            ..Entry::new("10009", "Authentication failed", detail)
        };
        let header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        Fault { header, ..Fault::new(StatusCode::UNAUTHORIZED, entry) }
    }

    /// 404: no such path or command.
    pub(super) fn nothing_here() -> Fault {
        let detail = "The requested resource or URL could not be found.";
        Fault::new(StatusCode::NOT_FOUND, Entry::new("10005", "Resource not found", detail))
    }

    /// 405: the path takes these methods only.
    pub(super) fn other_method(allowed: &str) -> Fault {
        let detail = format!("This resource takes {allowed}.");
        let header = HeaderValue::try_from(allowed).ok().map(|allowed| (ALLOW, allowed));
        let entry = Entry::new("10005", "Method not allowed", detail);
        Fault { header, ..Fault::new(StatusCode::METHOD_NOT_ALLOWED, entry) }
    }

    /// 400: the body is no JSON object.
    pub(super) fn no_object() -> Fault {
        let detail = "The body must be a JSON object.";
        Fault::new(StatusCode::BAD_REQUEST, Entry::new("10015", "Bad Request", detail))
    }

    /// 413, or 408.
    pub(super) fn unread(unread: Unread) -> Fault {
        let (status, detail) = match unread {
            Unread::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too long."),
            Unread::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The body took too long."),
        };
        Fault::new(status, Entry::new("10015", "Bad Request", detail))
    }

    /// 415.
    pub(super) fn media_type() -> Fault {
        let entry = Entry::new("10014", "Unsupported media type", "Send application/json.");
        Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, entry)
    }

    /// No call of this account has this id; `name` is where the id was given.
    pub(super) fn unknown_call(name: &str) -> Fault {
        let detail = "The call_control_id provided was not valid.";
        Fault::of(vec![Entry::new("90015", "Invalid Call Control ID", detail).at(format!("/{name}"))])
    }

    /// The call has ended.
    pub(super) fn ended() -> Fault {
        let detail = "This call is no longer active and can't receive commands.";
        Fault::of(vec![Entry::new("90018", "Call has already ended", detail)])
    }

    /// The call is not answered, and has to be.
    pub(super) fn not_answered() -> Fault {
        let detail = "This call can't receive this command because it has not been answered yet.";
        Fault::of(vec![Entry::new("90034", "Call not answered yet", detail)])
    }

    /// 422 for another reason, not of one field.
    pub(super) fn unusable(detail: impl Into<String>) -> Fault {
        Fault::of(vec![Entry::new("10015", "Bad Request", detail)])
    }

    /// 503: later perhaps.
    pub(super) fn unavailable(detail: &str) -> Fault {
        let header = Some((RETRY_AFTER, HeaderValue::from_static("5")));
        let entry = Entry::new("10007", "Unexpected error", detail);
        Fault { header, ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, entry) }
    }

    /// The answer.
    pub(super) fn response(self) -> Response<Body> {
        let errors: Vec<Value> = self.errors.into_iter().map(Entry::json).collect();
        let mut response = Format::Json.response(self.status, json!({ "errors": errors }).to_string());
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
