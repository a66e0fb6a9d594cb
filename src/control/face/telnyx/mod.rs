//! The Telnyx-compatible interface: commands on calls, and signed events of what came of them.
//!
//! A command's way: authentication, path, body ([`fields`]), the leg it is for ([`leg`]), an order to
//! the leg's shard. What the shard's events say came of it is told by the leg's [`driver`] as
//! webhooks ([`webhook`]), signed by the node's key ([`sign`]). A command is answered when it is
//! taken, never when it is done.

mod address;
mod claim;
mod command;
mod dial;
mod driver;
mod fault;
mod fields;
mod hooks;
mod leg;
mod payload;
mod read;
mod refer;
mod sign;
#[cfg(test)]
mod tests;
mod webhook;

pub(in crate::control) use driver::offered;
pub(in crate::control) use leg::Legs;

use crate::control::App;
use crate::control::auth::Account;
use crate::control::problem::Format;
use crate::control::query::percent_decode;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use fault::Fault;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers a request under `/v2`.
pub(in crate::control) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = Asked { app: &app, headers: &parts.headers };
    match asked.answer(&parts.method, parts.uri.path(), body).await {
        Ok(data) => Format::Json.response(StatusCode::OK, json!({ "data": data }).to_string()),
        Err(fault) => fault.response(),
    }
}

/// A request, taken apart.
struct Asked<'a> {
    app: &'a App,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// Credentials come first: nobody without learns what there is (telnyx 1.6).
    async fn answer(&self, method: &Method, path: &str, body: Body) -> Result<Value, Fault> {
        let account = self.app.accounts.bearer(self.headers, None).ok_or_else(Fault::unauthorized)?;
        let path = path.strip_prefix("/v2/").ok_or_else(Fault::nothing_here)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<String> = path
            .split('/')
            .map(|s| percent_decode(s, false))
            .collect::<Result<_, _>>()
            .map_err(|_| Fault::nothing_here())?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match segments.as_slice() {
            ["public_key"] if reads => Ok(json!({ "public": self.app.engine.telnyx.public_key() })),
            ["calls"] if *method == Method::POST => dial::dial(self, account, body).await,
            ["calls", id] if reads => read::read(self, account, id),
            ["calls", id, "actions", name] => self.act(account, method, id, name, body).await,
            ["public_key"] | ["calls", _] => Err(Fault::other_method("GET, HEAD")),
            ["calls"] => Err(Fault::other_method("POST")),
            _ => Err(Fault::nothing_here()),
        }
    }

    async fn act(
        &self,
        account: &Account,
        method: &Method,
        id: &str,
        name: &str,
        body: Body,
    ) -> Result<Value, Fault> {
        let Some(verb) = command::Verb::from_name(name) else { return Err(Fault::nothing_here()) };
        if *method != verb.method() {
            return Err(Fault::other_method(verb.method().as_str()));
        }
        command::act(self, account, id, verb, body).await?;
        Ok(json!({ "result": "ok" }))
    }
}
