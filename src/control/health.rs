//! Whether the process lives, and whether the node takes calls (T-148).

use super::App;
use super::problem::Format;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why the node does not take calls; it does when there is no reason left.
///
/// Whoever has a reason gives it a name and takes it back by that name.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// The reason while the process starts; [`Readiness::ready`] takes it back.
    pub const STARTING: &'static str = "starting";
    /// The reason while the node ends its calls.
    pub const DRAINING: &'static str = "draining";

    /// Not ready: starting.
    pub fn starting() -> Readiness {
        let readiness = Readiness::default();
        readiness.not_ready(Readiness::STARTING, "listeners are not bound yet");
        readiness
    }

    /// A reason not to take calls, in words for the operator.
    pub fn not_ready(&self, reason: &'static str, detail: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reason, detail.into());
    }

    /// A reason is gone.
    pub fn ready(&self, reason: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(reason);
    }

    /// Whether a reason stands.
    pub fn stands(&self, reason: &'static str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(reason)
    }

    fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `/healthz`: the process lives.
pub(super) async fn alive() -> Response<Body> {
    Format::Json.response(StatusCode::OK, json!({ "status": "alive" }).to_string())
}

/// `/readyz`: 200 when calls are taken, else 503; what is wrong without being a reason is a warning.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    let reasons = app.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": reasons.is_empty(),
        "reasons": listed(reasons),
        "warnings": listed(warnings(&app)),
    });
    Format::Json.response(status, body.to_string())
}

fn warnings(app: &App) -> BTreeMap<&'static str, String> {
    let mut warnings = BTreeMap::new();
    if app.record_stats.failing() {
        warnings.insert("records", "records cannot be written; they are kept and tried again".into());
    }
    let lost: u64 = app.io.iter().map(|io| io.events_lost.get()).sum();
    let lost = lost + app.record_stats.dropped();
    if lost > 0 {
        warnings.insert("records_lost", format!("{lost} events or records were lost"));
    }
    warnings
}

fn listed(reasons: BTreeMap<&'static str, String>) -> Vec<Value> {
    let entry = |(reason, detail)| json!({ "reason": reason, "detail": detail });
    reasons.into_iter().map(entry).collect()
}
