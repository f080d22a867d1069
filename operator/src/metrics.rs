//! Metrics of the operator: what controllers do, and what is so of mirrors.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tidepool_api::RegistryMirrorStatus;
use tidepool_plan::Tally;

/// From a reconcile that finds nothing to do to one that runs into its deadline.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0, 60.0];

/// Whose reconcile it was.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Controller {
    Mirror,
    Nodes,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Success,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCondition {
    mirror: String,
    condition: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    mirror: String,
    state: &'static str,
}

/// All metrics of the operator. Labels are bounded: by the number of mirrors, and by enums.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    reconcile: Family<Done, Histogram, fn() -> Histogram>,
    condition: Family<OfCondition, Gauge>,
    nodes: Family<OfState, Gauge>,
}

/// Conditions a mirror may have; a fixed list, so that those of a deleted mirror can be removed.
const CONDITIONS: [&str; 7] = {
    use tidepool_api::condition::{
        ACCEPTED, CACHE_AVAILABLE, NODES_CONFIGURED, READY, RECONCILING, STALLED, STORAGE_READY,
    };
    [READY, ACCEPTED, CACHE_AVAILABLE, STORAGE_READY, NODES_CONFIGURED, RECONCILING, STALLED]
};

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("tidepool");
        let new: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            reconcile: Family::new_with_constructor(new),
            condition: Family::default(),
            nodes: Family::default(),
        };
        registry.register_with_unit("reconcile", "Time of a reconcile", Unit::Seconds, metrics.reconcile.clone());
        registry.register(
            "mirror_condition",
            "Whether a condition of a mirror is true (1) or not (0)",
            metrics.condition.clone(),
        );
        registry.register("nodes", "Nodes a mirror is for, by what they report", metrics.nodes.clone());
        metrics
    }

    pub(crate) fn reconciled(&self, controller: Controller, result: Outcome, took: Duration) {
        let controller = match controller {
            Controller::Mirror => "mirror",
            Controller::Nodes => "nodes",
        };
        let result = match result {
            Outcome::Success => "success",
            Outcome::Error => "error",
        };
        self.reconcile.get_or_create(&Done { controller, result }).observe(took.as_secs_f64());
    }

    pub(crate) fn published(&self, mirror: &str, status: &RegistryMirrorStatus, nodes: Option<&Tally>) {
        for kind in CONDITIONS {
            let holds = status.conditions.iter().any(|found| found.type_ == kind && found.status == "True");
            let labels = OfCondition { mirror: mirror.to_owned(), condition: kind.to_owned() };
            self.condition.get_or_create(&labels).set(i64::from(holds));
        }
        for (state, count) in nodes.into_iter().flat_map(Tally::by_state) {
            let labels = OfState { mirror: mirror.to_owned(), state };
            self.nodes.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Removes what was told of a mirror that is gone.
    pub(crate) fn forget(&self, mirror: &str) {
        for kind in CONDITIONS {
            self.condition.remove(&OfCondition { mirror: mirror.to_owned(), condition: kind.to_owned() });
        }
        for state in Tally::STATES {
            self.nodes.remove(&OfState { mirror: mirror.to_owned(), state });
        }
    }
}
