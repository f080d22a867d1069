//! The admin port, besides metrics and health: [`state`], what there is to know; [`purge`], the one thing to do.

mod gauges;
mod purge;
mod serve;
mod state;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use tidepool_config::names::{PURGE_PATH, STATE_PATH};
use tokio::time::Instant;

use crate::{metrics::Metrics, pull::Puller, reload::Report, settings::Current, store::Store};
pub(crate) use gauges::Gauges;
pub(crate) use purge::PurgeArgs;
pub use purge::PurgeError;
pub(crate) use serve::{DRAIN_WITHIN, Port};

/// What the admin port looks at.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) begun: Instant,
    pub(crate) settings: Current,
    pub(crate) report: Report,
    pub(crate) puller: Arc<Puller>,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Metrics,
}

impl Admin {
    /// Its routes.
    pub(crate) fn router(self) -> Router {
        let admin = Arc::new(self);
        let routes = Router::new().route(STATE_PATH, get(state::state)).route(PURGE_PATH, post(purge::purge));
        routes.with_state(admin)
    }
}
