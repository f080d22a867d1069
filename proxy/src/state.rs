//! `/state` on the admin port: what the operator, and people, want to know of this proxy.

use axum::{Json, Router, extract::State, routing::get};
use tidepool_config::{ProxyState, names::STATE_PATH};

use crate::{reload::Report, settings::Current};

/// The route of the proxy's state.
pub(crate) fn router(settings: Current, report: Report) -> Router {
    Router::new().route(STATE_PATH, get(state)).with_state((settings, report))
}

async fn state(State((settings, report)): State<(Current, Report)>) -> Json<ProxyState> {
    Json(report.state(&settings.load()))
}
