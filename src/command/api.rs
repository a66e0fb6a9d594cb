//! The commands' way to a running server: its HTTP API, as anybody else uses it.

use super::{FAILED, MISUSED};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::error::Error;
use std::fmt::Write;
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Runtime;

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer; a page of a thousand calls is one megabyte.
const LONGEST: usize = 64 << 20;
/// Items on a page at most: what the API allows.
const PAGE: usize = 1_000;

/// Where the server is and who asks; the same for all commands that use it.
#[derive(Clone, Debug, Args)]
pub(super) struct Access {
    /// The server
    #[arg(
        long,
        value_name = "URL",
        env = "BATON_URL",
        default_value = "http://127.0.0.1:8080",
        global = true,
        help_heading = "Server"
    )]
    url: String,
    /// The account: AC and 32 hexadecimal digits
    #[arg(long, value_name = "SID", env = "BATON_ACCOUNT", global = true, help_heading = "Server")]
    account: Option<String>,
    /// Its token; better in the variable, where other users of the machine cannot see it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "BATON_TOKEN",
        hide_env_values = true,
        global = true,
        help_heading = "Server"
    )]
    token: Option<String>,
    /// Print what the server says, as JSON
    #[arg(long, global = true, help_heading = "Server")]
    pub(super) json: bool,
}

/// Why a command could not do what it was asked to.
#[derive(Debug, Error)]
pub(super) enum Problem {
    /// Something has to be said differently.
    #[error("{0}")]
    Usage(String),
    /// Nobody answered.
    #[error(
        "{url} does not answer ({why}): is `baton serve` running there? --url or BATON_URL names another server"
    )]
    Unreachable { url: String, why: String },
    /// The server refused, or could not.
    #[error("{0}")]
    Refused(String),
    /// What came is not what the API answers.
    #[error("{0} answers, but not as Baton does: is it another program's port?")]
    Strange(String),
    /// The operating system refused.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Problem {
    /// Says it on standard error, with the exit code that it deserves.
    pub(super) fn report(&self, command: &str) -> ExitCode {
        eprintln!("baton {command}: {self}");
        ExitCode::from(match self {
            Problem::Usage(_) => MISUSED,
            Problem::Unreachable { .. } | Problem::Refused(_) | Problem::Strange(_) | Problem::System(_) => {
                FAILED
            }
        })
    }
}

/// An account's part of a server's API.
pub(super) struct Api {
    /// As the user wrote it.
    url: String,
    base: String,
    account: String,
    authorization: HeaderValue,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Runtime,
}

impl Api {
    /// Checks what was given; nothing is sent yet.
    pub(super) fn new(access: &Access) -> Result<Api, Problem> {
        let usage = |text: &str| Problem::Usage(text.to_owned());
        let base = base(&access.url)?;
        let missing = "name the account with BATON_ACCOUNT or --account, and its token with BATON_TOKEN: \
                       both stand in the server's configuration under [[account]]";
        let (Some(account), Some(token)) = (&access.account, &access.token) else {
            return Err(usage(missing));
        };
        let digits = account.strip_prefix("AC").unwrap_or_default();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Problem::Usage(format!(
                "{account:?} is no account: it is AC and 32 hexadecimal digits (BATON_ACCOUNT or --account)"
            )));
        }
        let credentials = STANDARD.encode(format!("{account}:{token}"));
        let mut authorization = HeaderValue::try_from(format!("Basic {credentials}"))
            .map_err(|_| usage("the token cannot be sent (BATON_TOKEN or --token)"))?;
        authorization.set_sensitive(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Api {
            url: access.url.clone(),
            base,
            account: account.clone(),
            authorization,
            client: Client::builder(TokioExecutor::new()).build_http(),
            runtime,
        })
    }

    /// One resource: what the API says of it, as it says it.
    pub(super) fn read(&self, resource: &str, sid: &str) -> Result<String, Problem> {
        self.ask(Method::GET, &format!("{resource}/{}.json", encoded(sid)), None)
    }

    /// The items of a list, newest first, at most `limit` of them.
    pub(super) fn list(
        &self,
        resource: &str,
        member: &str,
        filters: &[(&str, Option<&str>)],
        limit: usize,
    ) -> Result<Vec<Value>, Problem> {
        let mut items: Vec<Value> = Vec::new();
        let size = limit.clamp(1, PAGE);
        for page in 0.. {
            let mut query = form(filters);
            let and = if query.is_empty() { "" } else { "&" };
            let _ = write!(query, "{and}PageSize={size}&Page={page}");
            let body = self.ask(Method::GET, &format!("{resource}.json?{query}"), None)?;
            let answer: Value = serde_json::from_str(&body).map_err(|_| self.strange())?;
            let found = answer.get(member).and_then(Value::as_array).ok_or_else(|| self.strange())?;
            items.extend(found.iter().cloned());
            let last = answer.get("num_pages").and_then(Value::as_u64).unwrap_or(0);
            if items.len() >= limit || page >= last || found.is_empty() {
                break;
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    /// Sends a form; what the API answers.
    pub(super) fn post(
        &self,
        resource: &str,
        sid: Option<&str>,
        fields: &[(&str, Option<&str>)],
    ) -> Result<String, Problem> {
        let path = match sid {
            Some(sid) => format!("{resource}/{}.json", encoded(sid)),
            None => format!("{resource}.json"),
        };
        self.ask(Method::POST, &path, Some(form(fields)))
    }

    /// What the answer should be, parsed.
    pub(super) fn parse(&self, body: &str) -> Result<Value, Problem> {
        serde_json::from_str(body).ok().filter(Value::is_object).ok_or_else(|| self.strange())
    }

    fn ask(&self, method: Method, path: &str, form: Option<String>) -> Result<String, Problem> {
        let uri = format!("{}/restcomm/2012-04-24/Accounts/{}/{path}", self.base, self.account);
        let uri = Uri::try_from(uri).map_err(|_| self.strange())?;
        let host = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, host)
            .header(AUTHORIZATION, self.authorization.clone());
        if form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default()));
        let request = request.body(body).map_err(|_| self.strange())?;
        let unreachable = |why: String| Problem::Unreachable { url: self.url.clone(), why };
        let exchange = async {
            let answer =
                self.client.request(request).await.map_err(|error| unreachable(innermost(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST).collect().await;
            let body = body.map_err(|error| unreachable(innermost(&*error)))?;
            Ok((head.status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        };
        let (status, body) = self.runtime.block_on(async {
            let timeout = tokio::time::timeout(PATIENCE, exchange).await;
            timeout.unwrap_or_else(|_| Err(unreachable(format!("nothing for {} s", PATIENCE.as_secs()))))
        })?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn refused(&self, status: StatusCode, body: &str) -> Problem {
        let answer: Option<Value> = serde_json::from_str(body).ok();
        let message = answer.as_ref().and_then(|answer| answer.get("message")?.as_str());
        let text = match (status, message) {
            (StatusCode::UNAUTHORIZED, _) => format!(
                "{} does not know {} with this token: check BATON_ACCOUNT (--account) and BATON_TOKEN (--token)",
                self.url, self.account
            ),
            (StatusCode::FORBIDDEN, None) => {
                "this belongs to another account (BATON_ACCOUNT or --account)".to_owned()
            }
            (StatusCode::NOT_FOUND, None) => format!("{} has no such record", self.url),
            (StatusCode::METHOD_NOT_ALLOWED, _) => {
                format!("{} cannot do that: is it an older version of Baton?", self.url)
            }
            (_, Some(message)) => printable(message),
            (_, None) => format!("{} answers {status}", self.url),
        };
        Problem::Refused(text)
    }

    fn strange(&self) -> Problem {
        Problem::Strange(self.url.clone())
    }
}

/// The URL without a slash at its end.
fn base(url: &str) -> Result<String, Problem> {
    let wrong = |what: &str| {
        Problem::Usage(format!("{url:?} {what}: write one like http://127.0.0.1:8080 (BATON_URL or --url)"))
    };
    let parsed: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
    if parsed.authority().is_none() || parsed.query().is_some() {
        return Err(wrong("is no URL of a server"));
    }
    match parsed.scheme_str() {
        Some("http") => Ok(url.trim_end_matches('/').to_owned()),
        Some("https") => Err(wrong("asks for https, which this command does not speak")),
        _ => Err(wrong("is no URL of a server")),
    }
}

/// The cause at the bottom: the libraries above it only say that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Names and values of a form, or of a query; those that are not given are left out.
fn form(fields: &[(&str, Option<&str>)]) -> String {
    let given = fields.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    given.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Text of others, with nothing in it that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        let fields = [("To", Some("sip:bob@a.example?X-A=1&b")), ("From", None), ("Url", Some("http://h/ä"))];
        assert_eq!(form(&fields), "To=sip%3Abob%40a.example%3FX-A%3D1%26b&Url=http%3A%2F%2Fh%2F%C3%A4");
        assert_eq!(form(&[("To", None)]), "");
    }

    #[test]
    fn only_a_servers_url_is_one() {
        assert_eq!(base("http://127.0.0.1:8080/").ok().as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(base("http://h/behind/proxy").ok().as_deref(), Some("http://h/behind/proxy"));
        for wrong in ["127.0.0.1:8080", "localhost", "ftp://h", "http://h?x=y", "", "http://"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_terminal_obeys_nobody() {
        assert_eq!(printable("\u{1b}[2Jbob"), "\u{fffd}[2Jbob");
    }
}
