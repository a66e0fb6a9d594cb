//! What a client is told when a request is not answered as asked: `{"message": …}` or its XML form,
//! or an empty body where the API says so. Never anything internal.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use quick_xml::escape::escape;

/// A form in which a resource is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/json`.
    Json,
    /// `application/xml`.
    Xml,
}

impl Format {
    /// The content type.
    pub(super) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Json => "application/json",
            Format::Xml => "application/xml",
        })
    }

    /// An answer in this form.
    pub(super) fn response(self, status: StatusCode, body: String) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, self.content_type());
        response
    }
}

/// An answer that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    message: Option<&'static str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A status without a body.
    pub(super) const fn bare(status: StatusCode) -> Problem {
        Problem { status, message: None, header: None }
    }

    /// A status and a sentence.
    pub(super) const fn told(status: StatusCode, message: &'static str) -> Problem {
        Problem { status, message: Some(message), header: None }
    }

    /// 400 and a sentence.
    pub(super) const fn bad(message: &'static str) -> Problem {
        Problem::told(StatusCode::BAD_REQUEST, message)
    }

    /// 401: who are you?
    pub(super) const fn unauthorized() -> Problem {
        let header = (WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Restcomm realm\""));
        Problem { status: StatusCode::UNAUTHORIZED, message: None, header: Some(header) }
    }

    /// 405: the resource can only be read.
    pub(super) const fn only_get() -> Problem {
        Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: Some("This resource can only be read."),
            header: Some((ALLOW, HeaderValue::from_static("GET, HEAD"))),
        }
    }

    /// 405: the resource can be read and posted to.
    pub(super) const fn get_or_post() -> Problem {
        Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: Some("This resource takes GET, HEAD and POST."),
            header: Some((ALLOW, HeaderValue::from_static("GET, HEAD, POST"))),
        }
    }

    /// 503: the node takes no calls, or no orders, now.
    pub(super) const fn unavailable(message: &'static str) -> Problem {
        Problem {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: Some(message),
            header: Some((RETRY_AFTER, HeaderValue::from_static("5"))),
        }
    }

    /// 503: later perhaps.
    pub(super) const fn busy() -> Problem {
        Problem {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: Some("Reading the records took too long; ask for less, or later."),
            header: Some((RETRY_AFTER, HeaderValue::from_static("5"))),
        }
    }

    /// 500: our fault; the log has the rest.
    pub(super) const fn internal() -> Problem {
        Problem::told(StatusCode::INTERNAL_SERVER_ERROR, "The request could not be answered.")
    }

    /// The answer in the form the client wants.
    pub(super) fn response(self, format: Format) -> Response<Body> {
        let mut response = match (self.message, format) {
            (None, _) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = self.status;
                response
            }
            (Some(message), Format::Json) => {
                format.response(self.status, serde_json::json!({ "message": message }).to_string())
            }
            (Some(message), Format::Xml) => {
                let message = escape(message);
                let body = format!("<RestcommResponse><Message>{message}</Message></RestcommResponse>");
                format.response(self.status, body)
            }
        };
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// The answer in JSON.
    pub(super) fn into_json(self) -> Response<Body> {
        self.response(Format::Json)
    }
}
