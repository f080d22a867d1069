//! What is watched, kept in memory: reconciles read from here and never ask the API server.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    storage::v1::StorageClass,
};
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, store, store::Writer},
        utils::Backoff,
        watcher::{self, DefaultBackoff, Event, watcher},
    },
};
use tidepool_api::MirrorNode;
use tidepool_config::{
    names::{MIRROR_LABEL, NODES_CONFIG_MAP},
    trust::AGENT_SECRET,
};
use tidepool_plan::PROBE_LABEL;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    report::report,
    resources::{AgentPod, AnyMirror, Watched, label, name},
    triggers::{Change, Triggers},
};

/// The labels of agents' pods, as the chart has them.
const AGENT_LABELS: &str = "app.kubernetes.io/name=tidepool,app.kubernetes.io/component=agent";

/// Stores of all that is watched. Each is filled before the program is ready.
pub(crate) struct Caches {
    pub(crate) mirrors: Store<AnyMirror>,
    pub(crate) mirror_nodes: Store<MirrorNode>,
    pub(crate) nodes: Store<PartialObjectMeta<Node>>,
    pub(crate) classes: Store<StorageClass>,
    /// In the operator's namespace, like all below.
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) secrets: Store<Secret>,
    pub(crate) service_accounts: Store<ServiceAccount>,
    pub(crate) services: Store<Service>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) ingresses: Store<Ingress>,
    pub(crate) network_policies: Store<NetworkPolicy>,
    pub(crate) budgets: Store<PodDisruptionBudget>,
    pub(crate) pods: Store<Pod>,
    /// Pods that probe nodes.
    pub(crate) probe_pods: Store<Pod>,
    /// The agents' pods, in their namespace.
    pub(crate) agent_pods: Store<AgentPod>,
    /// The document that agents read, in their namespace.
    pub(crate) document: Store<ConfigMap>,
    /// The agents' key and certificates, in their namespace.
    pub(crate) agent_identity: Store<Secret>,
}

/// A store and the end that fills it.
fn empty<K: Watched>() -> (Store<K>, Writer<K>) {
    store()
}

/// Starts all watches as tasks of `tasks`; each ends when `stop` is cancelled.
pub(crate) fn watch_all(
    client: &Client,
    namespace: &str,
    agent_namespace: &str,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> (Caches, Triggers) {
    let (mirrors, mirrors_in) = empty::<AnyMirror>();
    let triggers = Triggers::new(mirrors.clone());
    let mut watches = Watches { triggers: &triggers, tasks, stop };
    let all = watcher::Config::default;
    let ours = || all().labels(MIRROR_LABEL);
    let (client, here) = (|| client.clone(), namespace);
    watches.fill(Api::all(client()), all(), mirrors_in, Triggers::mirror);
    let caches = Caches {
        mirrors,
        mirror_nodes: watches.start(Api::all(client()), all(), Triggers::mirror_node),
        nodes: watches.start(Api::all(client()), all(), Triggers::node),
        classes: watches.start(Api::all(client()), all(), Triggers::classes),
        config_maps: watches.start(Api::namespaced(client(), here), all(), Triggers::config_map),
        // Releases that Helm keeps here are a megabyte each, and nobody's reference.
        secrets: watches.start(
            Api::namespaced(client(), here),
            all().fields("type!=helm.sh/release.v1"),
            Triggers::secret,
        ),
        service_accounts: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        services: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        claims: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        deployments: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        ingresses: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        network_policies: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        budgets: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        pods: watches.start(Api::namespaced(client(), here), ours(), Triggers::child),
        probe_pods: watches.start(Api::namespaced(client(), here), all().labels(PROBE_LABEL), Triggers::probe_pod),
        agent_pods: watches.start(
            Api::namespaced(client(), agent_namespace),
            all().labels(AGENT_LABELS),
            Triggers::agent_pod,
        ),
        document: watches.start(
            Api::namespaced(client(), agent_namespace),
            all().fields(&format!("metadata.name={NODES_CONFIG_MAP}")),
            Triggers::document,
        ),
        agent_identity: watches.start(
            Api::namespaced(client(), agent_namespace),
            all().fields(&format!("metadata.name={AGENT_SECRET}")),
            Triggers::agent_identity,
        ),
    };
    (caches, triggers)
}

struct Watches<'a> {
    triggers: &'a Triggers,
    tasks: &'a mut JoinSet<()>,
    stop: &'a CancellationToken,
}

impl Watches<'_> {
    fn start<K: Watched>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        on: fn(&Triggers, &Change<'_, K>),
    ) -> Store<K> {
        let (store, writer) = empty();
        self.fill(api, config, writer, on);
        store
    }

    fn fill<K: Watched>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        writer: Writer<K>,
        on: fn(&Triggers, &Change<'_, K>),
    ) {
        let (triggers, stop) = (self.triggers.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let watch = keep(api, config, writer, |change| on(&triggers, &change));
            stop.run_until_cancelled(watch).await;
        });
    }
}

/// The longest pause between attempts. By two in a row at most a watch is behind an API server that came back.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Pauses between attempts to watch: kube's, but not its longest, up to a minute. There are two in a row where the version
/// that was watched is too old by then.
#[derive(Default)]
struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Shortened at random: all watches break off together.
        let longest = LONGEST_PAUSE.mul_f64(rand::random_range(0.5..=1.0));
        self.0.next().map(|pause| pause.min(longest))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Keeps a store as the cluster is, and tells each change after the store has it.
async fn keep<K: Watched>(api: Api<K>, config: watcher::Config, mut writer: Writer<K>, on: impl Fn(Change<'_, K>)) {
    let mut events = std::pin::pin!(watcher(api, config).backoff(Pauses::default()));
    while let Some(event) = events.next().await {
        let event = match event {
            // Nobody reads them, and they are half of an object's size.
            Ok(event) => event.modify(|object| object.meta_mut().managed_fields = None),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = report(&error), "watch failed, trying again");
                continue;
            }
        };
        let before = match &event {
            Event::Apply(object) => writer.as_reader().get(&ObjectRef::from_obj(object)),
            Event::Delete(_) | Event::Init | Event::InitApply(_) | Event::InitDone => None,
        };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => on(Change::Applied { before, now: object }),
            Event::Delete(object) => on(Change::Deleted(object)),
            Event::InitDone => on(Change::Relisted),
            // Told as a whole by `InitDone`.
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

impl Caches {
    /// Waits until every store has been filled once.
    pub(crate) async fn filled(&self) {
        let Self { mirrors, mirror_nodes, nodes, classes, config_maps, secrets, .. } = self;
        let Self { service_accounts, services, claims, deployments, pods, document, .. } = self;
        let Self { probe_pods, agent_pods, agent_identity, ingresses, network_policies, budgets, .. } = self;
        // An error means that the watch has been stopped: then nobody waits for us either.
        let _ = tokio::join!(
            mirrors.wait_until_ready(),
            mirror_nodes.wait_until_ready(),
            nodes.wait_until_ready(),
            classes.wait_until_ready(),
            config_maps.wait_until_ready(),
            secrets.wait_until_ready(),
            service_accounts.wait_until_ready(),
            services.wait_until_ready(),
            claims.wait_until_ready(),
            deployments.wait_until_ready(),
            ingresses.wait_until_ready(),
            network_policies.wait_until_ready(),
            budgets.wait_until_ready(),
            pods.wait_until_ready(),
            probe_pods.wait_until_ready(),
            agent_pods.wait_until_ready(),
            document.wait_until_ready(),
            agent_identity.wait_until_ready(),
        );
    }
}

/// Objects of a mirror in a store, by its label, in the order of their names: a store has none, and what is published
/// must not change with a restart.
pub(crate) fn of_mirror<K: Watched>(store: &Store<K>, mirror: &str) -> Vec<Arc<K>> {
    let mut objects = store.state_filter(|object| label(object, MIRROR_LABEL) == Some(mirror));
    objects.sort_by(|a, b| name(&**a).cmp(name(&**b)));
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_never_far_behind_an_api_server_that_came_back() {
        let mut pauses = Pauses::default();
        let all: Vec<_> = pauses.by_ref().take(20).collect();
        assert!(all[0] < Duration::from_secs(2) && all.iter().all(|pause| *pause <= LONGEST_PAUSE), "{all:?}");
        assert!(all[19] >= LONGEST_PAUSE / 2, "{all:?}");
        pauses.reset();
        assert!(pauses.next().unwrap() < Duration::from_secs(2));
    }
}
