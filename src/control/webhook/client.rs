//! One exchange: the request, its redirects, and the answer read up to its bound.

use super::connect::{Allowed, ConnectError, Connector, any, outside};
use super::{Answer, Boxed, Content, Exchange, Failure, Request};
use crate::control::query::percent_decode;
use crate::io::DnsOptions;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, USER_AGENT};
use axum::http::{self, HeaderValue, Method, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::{self, Client as Pool};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::time::Duration;
use url::{Url, form_urlencoded};

/// Bytes of an answer read (rcml 1.12).
const LONGEST: usize = 1024 * 1024;
/// How long an idle connection is kept, and how many to one server.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 8;

/// What the client is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct ClientOptions {
    /// Whether loopback, private and link-local addresses may be reached.
    pub(in crate::control) allow_private: bool,
    /// How names are resolved.
    pub(in crate::control) dns: DnsOptions,
}

/// The HTTP client.
#[derive(Debug)]
pub(in crate::control) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
}

impl Client {
    /// To be made on the runtime it is used on.
    pub(in crate::control) fn new(options: &ClientOptions) -> Client {
        Client::reaching(&options.dns, if options.allow_private { any } else { outside })
    }

    /// One that reaches these addresses only.
    pub(super) fn reaching(dns: &DnsOptions, allowed: Allowed) -> Client {
        let connector = Connector::new(dns, allowed);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Client { pool }
    }

    async fn follow(&self, request: Request) -> Result<Answer, Failure> {
        let Request { owner: _, method, url, content, headers, redirects } = request;
        let (content_type, body) = match content {
            Content::Form(form) => (FORM, encoded(&form).into()),
            Content::Json(body) => (JSON, body),
        };
        let mut turn = Turn { method, url, content_type, body, headers };
        if turn.method == Method::GET {
            let form = std::mem::take(&mut turn.body);
            if turn.content_type == FORM {
                add_query(&mut turn.url, &String::from_utf8_lossy(&form));
            }
        }
        for followed in 0..=redirects {
            let response = self.pool.request(turn.request()?).await.map_err(|e| failure(&e))?;
            match redirect(&response, &turn.url) {
                Some(_) if followed == redirects && redirects == 0 => return read(response, turn.url).await,
                None => return read(response, turn.url).await,
                Some(url) => turn.go(response.status().as_u16(), url?),
            }
        }
        Err(Failure::Redirected)
    }
}

impl Exchange for Client {
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>> {
        Box::pin(self.follow(request))
    }
}

/// One request of an exchange.
struct Turn {
    method: Method,
    url: Url,
    content_type: HeaderValue,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Turn {
    fn go(&mut self, status: u16, url: Url) {
        self.url = url;
        if status == 303 {
            self.method = Method::GET;
            self.body = Bytes::new();
        }
    }

    fn request(&self) -> Result<http::Request<Full<Bytes>>, Failure> {
        const AGENT: &str = concat!("Baton/", env!("CARGO_PKG_VERSION"));
        let mut bare = self.url.clone();
        // Who asks goes into a header field, not into the request line (rcml 1.5).
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        bare.set_fragment(None);
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(bare.as_str())
            .header(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(credentials) = credentials(&self.url) {
            request = request.header(AUTHORIZATION, credentials);
        }
        if self.method != Method::GET {
            request = request.header(CONTENT_TYPE, self.content_type.clone());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body.clone())).map_err(|_| Failure::Unreachable)
    }
}

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Names and values as forms are written: `+` for a blank, `%XX` for all but letters, digits and `-_.*`.
fn encoded(form: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

/// Behind what the URL's query holds already.
fn add_query(url: &mut Url, form: &str) {
    if form.is_empty() {
        return;
    }
    let query = match url.query().filter(|query| !query.is_empty()) {
        Some(own) => format!("{own}&{form}"),
        None => form.to_owned(),
    };
    url.set_query(Some(&query));
}

fn credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| percent_decode(text, false).ok();
    let (user, password) = (decode(url.username())?, decode(url.password().unwrap_or(""))?);
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where the answer sends us, if it does.
fn redirect<B>(response: &Response<B>, from: &Url) -> Option<Result<Url, Failure>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307) {
        return None;
    }
    let target = text(response, &LOCATION).and_then(|location| from.join(&location).ok());
    let target = target.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    Some(target.ok_or(Failure::Redirected))
}

fn text<B>(response: &Response<B>, name: &HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

async fn read<B>(response: Response<B>, url: Url) -> Result<Answer, Failure>
where
    B: http_body_util::BodyExt,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (status, content_type) = (response.status().as_u16(), text(&response, &CONTENT_TYPE));
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Failure::TooLong,
        false => Failure::Unreachable,
    })?;
    Ok(Answer { status, content_type, body: body.to_bytes(), url })
}

fn failure(error: &legacy::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(ConnectError::Private) = error.downcast_ref() {
            return Failure::Private;
        }
        cause = error.source();
    }
    Failure::Unreachable
}
