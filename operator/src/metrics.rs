//! Metrics of the operator: what controllers do, and what is so of mirrors.

use std::time::{Duration, SystemTime};

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
    Probes,
    Absences,
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
    condition: &'static str,
    status: &'static str,
}

/// What the status of a condition may be, as kube-state-metrics writes it.
const STATUSES: [&str; 3] = ["true", "false", "unknown"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    mirror: String,
    state: &'static str,
}

/// What ends if it is not renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiring<'a> {
    /// The last authority that can sign.
    Authority,
    /// The certificate of the members of the mirror with this name.
    Member(&'a str),
    /// The first of the agents' certificates.
    Agents,
}

/// `mirror` is empty, which Prometheus takes for no label, where it is not of one mirror.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCertificate {
    kind: &'static str,
    mirror: String,
}

impl From<Expiring<'_>> for OfCertificate {
    fn from(expiring: Expiring<'_>) -> Self {
        let (kind, mirror) = match expiring {
            Expiring::Authority => ("authority", ""),
            Expiring::Member(mirror) => ("member", mirror),
            Expiring::Agents => ("agent", ""),
        };
        Self { kind, mirror: mirror.to_owned() }
    }
}

/// All metrics of the operator. Labels are bounded: by the number of mirrors, and by enums.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    reconcile: Family<Done, Histogram, fn() -> Histogram>,
    condition: Family<OfCondition, Gauge>,
    nodes: Family<OfState, Gauge>,
    expiry: Family<OfCertificate, Gauge>,
    without_certificate: Gauge,
    leader: Gauge,
}

/// Conditions a mirror may have; a fixed list, so that those of a deleted mirror can be removed.
const CONDITIONS: [&str; 9] = {
    use tidepool_api::condition::{
        ACCEPTED, CACHE_AVAILABLE, CREDENTIALS_VALID, NODES_CONFIGURED, READY, RECONCILING, STALLED, STORAGE_READY,
        UPSTREAMS_REACHABLE,
    };
    [
        READY,
        ACCEPTED,
        CACHE_AVAILABLE,
        STORAGE_READY,
        NODES_CONFIGURED,
        CREDENTIALS_VALID,
        UPSTREAMS_REACHABLE,
        RECONCILING,
        STALLED,
    ]
};

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("tidepool");
        let new: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            reconcile: Family::new_with_constructor(new),
            condition: Family::default(),
            nodes: Family::default(),
            expiry: Family::default(),
            without_certificate: Gauge::default(),
            leader: Gauge::default(),
        };
        registry.register_with_unit("reconcile", "Time of a reconcile", Unit::Seconds, metrics.reconcile.clone());
        registry.register(
            "mirror_condition",
            "Whether a condition of a mirror has this status (1) or not (0); one that is absent is false",
            metrics.condition.clone(),
        );
        registry.register("nodes", "Nodes a mirror is for, by what they report", metrics.nodes.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When what the operator issued ends, in seconds since 1970: it is renewed after two thirds of its life",
            metrics.expiry.clone(),
        );
        registry.register(
            "mirrors_without_agent_certificate",
            "Mirrors that nodes cannot pull through, because there are more than agents can be given certificates for",
            metrics.without_certificate.clone(),
        );
        registry.register("leader", "Whether this process leads (1) or stands by (0)", metrics.leader.clone());
        metrics
    }

    pub(crate) fn reconciled(&self, controller: Controller, result: Outcome, took: Duration) {
        let controller = match controller {
            Controller::Mirror => "mirror",
            Controller::Nodes => "nodes",
            Controller::Probes => "probes",
            Controller::Absences => "absences",
        };
        let result = match result {
            Outcome::Success => "success",
            Outcome::Error => "error",
        };
        self.reconcile.get_or_create(&Done { controller, result }).observe(took.as_secs_f64());
    }

    pub(crate) fn published(&self, mirror: &str, status: &RegistryMirrorStatus, nodes: Option<&Tally>) {
        for kind in CONDITIONS {
            let found = status.conditions.iter().find(|found| found.type_ == kind);
            let now = found.map_or("False", |found| found.status.as_str());
            for labels in of_condition(mirror, kind) {
                let has = labels.status.eq_ignore_ascii_case(now);
                self.condition.get_or_create(&labels).set(i64::from(has));
            }
        }
        for (state, count) in nodes.into_iter().flat_map(Tally::by_state) {
            let labels = OfState { mirror: mirror.to_owned(), state };
            self.nodes.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn expires(&self, what: Expiring<'_>, at: SystemTime) {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.expiry.get_or_create(&what.into()).set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    pub(crate) fn without_certificate(&self, mirrors: usize) {
        self.without_certificate.set(i64::try_from(mirrors).unwrap_or(i64::MAX));
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Removes what was told of a mirror that is gone.
    pub(crate) fn forget(&self, mirror: &str) {
        for kind in CONDITIONS {
            for labels in of_condition(mirror, kind) {
                self.condition.remove(&labels);
            }
        }
        self.expiry.remove(&Expiring::Member(mirror).into());
        for state in Tally::STATES {
            self.nodes.remove(&OfState { mirror: mirror.to_owned(), state });
        }
    }
}

fn of_condition(mirror: &str, condition: &'static str) -> [OfCondition; 3] {
    STATUSES.map(|status| OfCondition { mirror: mirror.to_owned(), condition, status })
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_is_told_by_its_status_until_its_mirror_is_gone() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let conditions = [condition("Ready", "True"), condition("CredentialsValid", "Unknown")];
        let status = serde_json::from_value(json!({"conditions": conditions})).unwrap();
        metrics.published("reef", &status, None);
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let told = text();
        for (kind, now) in [("Ready", "true"), ("CredentialsValid", "unknown"), ("Stalled", "false")] {
            for status in STATUSES {
                let value = u8::from(status == now);
                let line = format!(
                    "tidepool_mirror_condition{{mirror=\"reef\",condition=\"{kind}\",status=\"{status}\"}} {value}\n"
                );
                assert!(told.contains(&line), "{line}{told}");
            }
        }
        metrics.forget("reef");
        assert!(!text().contains("reef"));
    }
}
