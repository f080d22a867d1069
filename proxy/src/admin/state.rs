//! `/state`: what the operator, and people, want to know of this proxy.

use std::{cmp::Reverse, sync::Arc};

use axum::{Json, extract::State};
use tidepool_config::{FillReport, ListenerReport, ProxyReport, StoreReport};

use super::Admin;
use crate::{metrics::Listener, pull::InFlight};

/// How many fills are listed.
const MOST_LISTED: usize = 50;

pub(super) async fn state(State(admin): State<Arc<Admin>>) -> Json<ProxyReport> {
    let mut fills = admin.puller.fills_in_flight();
    let fills_in_flight = fills.len();
    fills.sort_by_key(|fill| Reverse(fill.size.unwrap_or_default().saturating_sub(fill.present)));
    fills.truncate(MOST_LISTED);
    Json(ProxyReport {
        state: admin.report.state(&admin.settings.load()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: admin.begun.elapsed().as_secs(),
        store: store(&admin),
        listeners: [Listener::Clients, Listener::Agents].map(|listener| load(&admin, listener)).into(),
        fills_in_flight,
        fills: fills.into_iter().map(fill).collect(),
    })
}

fn store(admin: &Admin) -> StoreReport {
    let meters = admin.metrics.store();
    StoreReport { bytes: meters.bytes.get(), limit: admin.store.limit(), damaged: meters.damaged.get() }
}

fn load(admin: &Admin, listener: Listener) -> ListenerReport {
    let (connections, requests) = admin.metrics.load(listener);
    let count = |gauge: i64| u64::try_from(gauge).unwrap_or_default();
    let (connections, requests_in_flight) = (count(connections), count(requests));
    ListenerReport { name: listener.as_str().to_owned(), connections, requests_in_flight }
}

fn fill(InFlight { digest, registry, size, present, connections, readers }: InFlight) -> FillReport {
    FillReport { digest: digest.to_string(), registry, size, present, connections, readers }
}
