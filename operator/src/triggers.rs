//! Which change in the cluster concerns which mirror.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Node, Pod, Secret},
    storage::v1::StorageClass,
};
use kube::{Resource as _, api::ObjectMeta, core::PartialObjectMeta, runtime::reflector::Store};
use tidepool_api::{CaKind, MirrorNode, RegistryMirror};
use tidepool_config::names::MIRROR_LABEL;
use tidepool_plan::{names::AUTHORITY_SECRET, references};
use tokio::sync::Notify;

use crate::{
    queue::Queue,
    resources::{AgentPod, AnyMirror, Watched, label, name},
};

/// Reports of nodes are collected this long: nodes that change together are one change of a mirror.
const COLLECT: Duration = Duration::from_secs(2);
/// What each node adds to the time between two looks at what nodes report, for they take the longer to report the more
/// there are: with a thousand nodes and more a mirror's counts are written twice a minute at most.
const SHARE: Duration = Duration::from_millis(30);
const RAREST: Duration = Duration::from_secs(30);

/// A change of one watched kind; the store has it already.
pub(crate) enum Change<'a, K> {
    /// An object is new or another.
    Applied {
        /// As it was.
        before: Option<Arc<K>>,
        /// As it is.
        now: &'a K,
    },
    /// An object is gone.
    Deleted(&'a K),
    /// All objects were listed anew; what happened meanwhile is not known.
    Relisted,
}

/// Whether two states of an object are of one spec: the API server counts specs in `generation`.
fn same(before: &ObjectMeta, now: &ObjectMeta) -> bool {
    before.uid == now.uid && before.generation == now.generation && before.deletion_timestamp == now.deletion_timestamp
}

/// The time between two looks at what this many nodes report.
fn between(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    SHARE.saturating_mul(nodes).min(RAREST)
}

/// Rings for the controllers.
#[derive(Clone)]
pub(crate) struct Triggers {
    mirrors: Store<AnyMirror>,
    /// Mirrors to reconcile.
    pub(crate) queue: Queue,
    /// Mirrors to reconcile soon.
    collected: Queue,
    /// The controller of nodes has something to do.
    pub(crate) nodes: Arc<Notify>,
    /// The controller of probes has.
    pub(crate) probes: Arc<Notify>,
    /// The controller of absences has.
    pub(crate) absences: Arc<Notify>,
}

impl Triggers {
    pub(crate) fn new(mirrors: Store<AnyMirror>) -> Self {
        Self {
            mirrors,
            queue: Queue::default(),
            collected: Queue::default(),
            nodes: Arc::default(),
            probes: Arc::default(),
            absences: Arc::default(),
        }
    }

    /// Moves what was collected to the queue, for ever: soon after a quiet time, in batches when much comes. `nodes` says
    /// how many nodes there are.
    pub(crate) async fn collect(&self, nodes: impl Fn() -> usize) {
        loop {
            let first = self.collected.take().await;
            tokio::time::sleep(COLLECT).await;
            self.queue.push(first.into_iter().chain(self.collected.drain()));
            tokio::time::sleep(between(nodes()).saturating_sub(COLLECT)).await;
        }
    }

    pub(crate) fn mirror(&self, change: &Change<'_, AnyMirror>) {
        if let Change::Applied { before: Some(before), now } = change
            && same(before.meta(), now.meta())
        {
            return; // Its status, which we write ourselves.
        }
        self.nodes.notify_one();
        match change {
            Change::Applied { now, .. } => self.queue.push([name(*now).to_owned()]),
            // Its neighbours may come out of its shadow.
            Change::Deleted(gone) => self.queue.push(self.all().into_iter().chain([name(*gone).to_owned()])),
            Change::Relisted => self.queue.push(self.all()),
        }
    }

    pub(crate) fn child<K: Watched>(&self, change: &Change<'_, K>) {
        match change {
            Change::Applied { before, now } => {
                // Also of the mirror whose label somebody took away.
                let labels = [before.as_deref(), Some(*now)].into_iter().flatten();
                self.queue.push(labels.filter_map(|object| label(object, MIRROR_LABEL)).map(str::to_owned));
            }
            Change::Deleted(object) => self.queue.push(label(*object, MIRROR_LABEL).map(str::to_owned)),
            Change::Relisted => self.queue.push(self.all()),
        }
    }

    /// The document that agents read: what is counted on nodes follows it.
    pub(crate) fn document(&self, _: &Change<'_, ConfigMap>) {
        self.nodes.notify_one();
        self.collected.push(self.all());
    }

    /// The agents' certificates.
    pub(crate) fn agent_identity(&self, _: &Change<'_, Secret>) {
        self.nodes.notify_one();
    }

    /// The StorageClasses.
    pub(crate) fn classes(&self, _: &Change<'_, StorageClass>) {
        self.queue.push(self.all());
    }

    pub(crate) fn config_map(&self, change: &Change<'_, ConfigMap>) {
        self.reference(CaKind::ConfigMap, change);
    }

    pub(crate) fn secret(&self, change: &Change<'_, Secret>) {
        self.reference(CaKind::Secret, change);
        self.child(change);
        if let Change::Applied { now: object, .. } | Change::Deleted(object) = change
            && name(*object) == AUTHORITY_SECRET
        {
            // Everybody's certificates hang on it.
            self.nodes.notify_one();
            self.queue.push(self.all());
        }
    }

    /// A ConfigMap or Secret that mirrors may refer to.
    fn reference<K: Watched>(&self, kind: CaKind, change: &Change<'_, K>) {
        let concerned: Vec<_> = match change {
            Change::Applied { now: object, .. } | Change::Deleted(object) => self.referring(kind, name(*object)),
            Change::Relisted => self.all(),
        };
        if !concerned.is_empty() {
            self.nodes.notify_one();
            self.queue.push(concerned);
        }
    }

    pub(crate) fn node(&self, change: &Change<'_, PartialObjectMeta<Node>>) {
        if let Change::Applied { before: Some(before), now } = change
            && before.metadata.labels == now.metadata.labels
            && before.metadata.uid == now.metadata.uid
        {
            return; // A heartbeat.
        }
        self.nodes.notify_one();
        self.collected.push(self.all());
    }

    /// A probe pod.
    pub(crate) fn probe_pod(&self, _: &Change<'_, Pod>) {
        self.probes.notify_one();
    }

    /// A pod of an agent.
    pub(crate) fn agent_pod(&self, _: &Change<'_, AgentPod>) {
        self.absences.notify_one();
    }

    pub(crate) fn mirror_node(&self, change: &Change<'_, MirrorNode>) {
        self.probes.notify_one();
        self.absences.notify_one();
        match change {
            Change::Applied { before, now } => {
                let reported = |node: &MirrorNode| {
                    let mirrors = node.status.iter().flat_map(|status| &status.mirrors);
                    mirrors.map(|mirror| mirror.name.clone()).collect::<Vec<_>>()
                };
                self.collected.push(before.iter().flat_map(|node| reported(node)));
                self.collected.push(reported(now));
            }
            Change::Deleted(_) | Change::Relisted => {
                self.nodes.notify_one();
                self.collected.push(self.all());
            }
        }
    }

    fn all(&self) -> Vec<String> {
        self.mirrors.state().iter().map(|mirror| name(&**mirror).to_owned()).collect()
    }

    fn referring(&self, kind: CaKind, to: &str) -> Vec<String> {
        let refers = |mirror: &RegistryMirror| references(&mirror.spec).any(|reference| reference == (kind, to));
        let mirrors = self.mirrors.state_filter(|mirror| mirror.0.as_ref().is_ok_and(refers));
        mirrors.iter().map(|mirror| name(&**mirror).to_owned()).collect()
    }
}
