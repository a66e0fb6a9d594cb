//! What a client is told when something is wrong: `{"msg": …}`, or a plain text where the API says so.

use super::json;
use crate::control::body::Unread;
use crate::control::orders::NotTaken;
use crate::control::problem::Problem;
use crate::sip::command::Refused;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use std::borrow::Cow;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) enum Error {
    /// 401: no token, or none that is known.
    Unauthorized,
    /// A status and a plain text.
    Text(StatusCode, &'static str),
    /// A status and a message.
    Told(StatusCode, Cow<'static, str>),
    /// What reading the records came to.
    Records(Problem),
}

impl Error {
    pub(super) fn told(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Error {
        Error::Told(status, message.into())
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Error {
        Error::told(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn bad_sid() -> Error {
        Error::bad("Bad request")
    }

    pub(super) fn forbidden() -> Error {
        Error::told(StatusCode::FORBIDDEN, "insufficient permissions")
    }

    pub(super) fn not_found() -> Error {
        Error::Text(StatusCode::NOT_FOUND, "Not Found")
    }

    pub(super) fn unread(unread: Unread) -> Error {
        match unread {
            Unread::TooLong => Error::told(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
            Unread::TooSlow => Error::told(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        }
    }

    pub(super) fn gone() -> Error {
        Error::told(StatusCode::UNPROCESSABLE_ENTITY, "call session is gone, no further action can be taken")
    }

    pub(super) fn state() -> Error {
        const MESSAGE: &str = "current call state is incompatible with requested action";
        Error::told(StatusCode::UNPROCESSABLE_ENTITY, MESSAGE)
    }

    pub(super) fn unavailable() -> Error {
        Error::told(StatusCode::SERVICE_UNAVAILABLE, "this node can take no calls or orders now")
    }

    pub(super) fn response(self) -> Response<Body> {
        match self {
            Error::Unauthorized => {
                let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
            Error::Text(status, words) => text(status, words),
            Error::Told(status, message) => {
                let mut response = json(status, &json!({ "msg": message }));
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                }
                response
            }
            Error::Records(problem) => {
                let status = problem.into_json().status();
                Error::told(status, "the records cannot be read now").response()
            }
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        Error::Records(problem)
    }
}

impl From<NotTaken> for Error {
    fn from(error: NotTaken) -> Error {
        match error {
            NotTaken::Refused(Refused::Ended | Refused::Unknown) => Error::gone(),
            NotTaken::Refused(Refused::Malformed) => Error::bad("it cannot be put into a SIP message"),
            NotTaken::Refused(Refused::NotAnswered | Refused::Answered | Refused::Busy) => Error::state(),
            NotTaken::Refused(Refused::Full | Refused::Late) | NotTaken::Behind | NotTaken::Silent => {
                Error::unavailable()
            }
        }
    }
}

fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
