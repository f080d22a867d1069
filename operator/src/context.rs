//! What every controller needs.

use std::time::Duration;

use kube::{Client, runtime::events::Recorder};
use tidepool_plan::Defaults;

use crate::{
    backoff::Backoff, caches::Caches, leader::Leadership, members::Members, metrics::Metrics, rollouts::Rollouts,
    trust::Trust,
};

/// A reconcile that takes longer hangs: it is given up and tried again.
pub(crate) const RECONCILE_WITHIN: Duration = Duration::from_secs(60);

/// Shared by the controllers.
pub(crate) struct Context {
    /// Writes go here.
    pub(crate) client: Client,
    /// Reads come from here.
    pub(crate) caches: Caches,
    /// What all mirrors share.
    pub(crate) defaults: Defaults,
    /// Namespace of the document that agents read.
    pub(crate) agent_namespace: String,
    /// Writes Events.
    pub(crate) recorder: Recorder,
    /// Counts what is done.
    pub(crate) metrics: Metrics,
    /// Issues certificates.
    pub(crate) trust: Trust,
    /// Which member may be changed.
    pub(crate) rollouts: Rollouts,
    /// Whether this process may write.
    pub(crate) leadership: Leadership,
    /// What members report.
    pub(crate) members: Members,
    /// How many nodes are probed at a time; 0 for none ever.
    pub(crate) probes_at_once: usize,
    /// An object is looked at this often though nothing changed: what no watch tells is repaired then.
    pub(crate) resync: Duration,
    /// How long a failing mirror waits.
    pub(crate) backoff: Backoff,
}
