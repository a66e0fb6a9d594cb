//! Which path is whose.

use super::{App, face, health, metrics, openapi, problem::Problem};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, get};
use std::sync::Arc;

/// Bytes of a request body at most (Calls API, 12).
const BODY: usize = 64 * 1024;

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::show))
        // The Restcomm paths put `.json` into any segment; their face reads them itself.
        .route("/restcomm/2012-04-24/{*rest}", any(face::restcomm::answer))
        .route("/api/2012-04-24/{*rest}", any(face::restcomm::answer))
        .route("/2012-04-24/{*rest}", any(face::restcomm::answer))
        .route("/v2", any(face::telnyx::answer))
        .route("/v2/", any(face::telnyx::answer))
        .route("/v2/{*rest}", any(face::telnyx::answer))
        .route("/v1/Accounts/{*rest}", any(face::jambonz::rest))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(app)
}

async fn nothing_here(_: Uri) -> Response {
    Problem::told(StatusCode::NOT_FOUND, "There is nothing at this path.").into_json()
}
