//! The API under `/v1`: calls of an account (jambonz section 9).

mod create;
mod error;
mod read;
mod update;

use super::ids;
use crate::control::App;
use crate::control::auth::Account;
use crate::control::body;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use error::Error;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Answers a request under `/v1/Accounts`.
pub(in crate::control) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let answer = route(&app, &parts.method, parts.uri.path(), parts.uri.query(), &parts.headers, body).await;
    answer.unwrap_or_else(Error::response)
}

async fn route(
    app: &App,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Body>, Error> {
    let path = path.strip_prefix("/v1/Accounts/").unwrap_or(path);
    let mut segments = path.trim_end_matches('/').split('/');
    let named = segments.next().unwrap_or("");
    let rest: Vec<&str> = segments.collect();
    let methods = match rest.as_slice() {
        ["Calls"] => "GET, HEAD, POST",
        ["CallCount"] => "GET, HEAD",
        ["Calls", _] => "DELETE, GET, HEAD, POST, PUT",
        _ => return admit(app, headers, named).and(Err(Error::not_found())),
    };
    if !methods.split(", ").any(|allowed| allowed == method.as_str()) {
        let known = app.accounts.bearer(headers, None).ok_or(Error::Unauthorized);
        return known.map(|_| not_allowed(methods));
    }
    let account = admit(app, headers, named)?;
    match (rest.as_slice(), method) {
        (["Calls"], &Method::POST) => create::create(app, account, &object(body).await?).await,
        (["Calls"], _) => read::list(app, account, query.unwrap_or("")).await,
        (["Calls", sid], _) => {
            let named = ids::call(sid, app.engine.live.node()).ok_or(Error::bad_sid())?;
            match *method {
                Method::PUT | Method::POST => {
                    update::update(app, account, &named, &object(body).await?).await
                }
                Method::DELETE => update::delete(app, account, &named).await,
                _ => read::one(app, account, &named).await,
            }
        }
        _ => Ok(read::count(app, account)),
    }
}

/// The account that asks, which has to be the one in the path (9.1). Credentials come first, so that
/// nobody without learns which accounts there are.
fn admit<'a>(app: &'a App, headers: &HeaderMap, path: &str) -> Result<&'a Account, Error> {
    let known = app.accounts.bearer(headers, None).ok_or(Error::Unauthorized)?;
    if !ids::may_be_account(path) {
        return Err(Error::bad_sid());
    }
    if ids::is_account(path, &known.sid) {
        return Ok(known);
    }
    // Accounts may share a token.
    let meant = app.accounts.named(|sid| ids::is_account(path, sid));
    meant.and_then(|sid| app.accounts.bearer(headers, Some(sid))).ok_or(Error::forbidden())
}

/// The body, which has to be an object; none is an empty one.
async fn object(body: Body) -> Result<Map<String, Value>, Error> {
    let body = body::read(body).await.map_err(Error::unread)?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Error::bad("the body has to be a JSON object")),
    }
}

fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = Error::told(StatusCode::METHOD_NOT_ALLOWED, "another method is meant").response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::body::tests::never;

    /// [jambonz 9.3] An object that does not come is 408.
    #[tokio::test(start_paused = true)]
    async fn an_object_has_its_time() {
        let error = object(never()).await.expect_err("it never comes");
        assert_eq!(error.response().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
