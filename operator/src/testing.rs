//! What tests of whole reconciles need: a context whose caches hold what the test says, and an API server to play.

use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client,
    client::Body,
    core::DeserializeGuard,
    runtime::{
        reflector::{Store, store},
        watcher::Event,
    },
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tidepool_plan::Defaults;
use tower_test::mock::{self, Handle};

use crate::{
    backoff::Backoff,
    caches::Caches,
    context::Context,
    events,
    leader::Leadership,
    members::Members,
    metrics::Metrics,
    resources::{AnyMirror, Watched},
    rollouts::Rollouts,
    trust::{Lifetimes, Trust},
};

/// The end of the API server.
pub(crate) type Server = Handle<Request<Body>, Response<Body>>;

/// A context whose caches hold these mirrors, and these Secrets of the operator's namespace `deep`.
pub(crate) fn context(mirrors: Vec<AnyMirror>, secrets: Vec<Secret>) -> (Context, Server) {
    let (service, server) = mock::pair();
    let client = Client::new(service, "deep");
    let lifetime = |text: &str| text.parse().expect("a lifetime");
    let lifetimes = Lifetimes::new(lifetime("365d"), lifetime("30d")).expect("lifetimes");
    let defaults = Defaults {
        image: "img".to_owned(),
        pull_policy: "Always".to_owned(),
        namespace: "deep".to_owned(),
        log_level: None,
    };
    let context = Context {
        recorder: events::recorder(client.clone()),
        agent_namespace: "agents".to_owned(),
        probes_at_once: 5,
        resync: Duration::from_secs(600),
        backoff: Backoff::default(),
        leadership: Leadership::alone(),
        rollouts: Rollouts::default(),
        trust: Trust::new(lifetimes, client.clone(), "deep"),
        members: Members::default(),
        client,
        caches: caches(mirrors, secrets),
        defaults,
        metrics: Metrics::register(&mut Registry::default()),
    };
    (context, server)
}

fn caches(mirrors: Vec<AnyMirror>, secrets: Vec<Secret>) -> Caches {
    Caches {
        mirrors: filled(mirrors),
        mirror_nodes: filled(Vec::new()),
        nodes: filled(Vec::new()),
        classes: filled(Vec::new()),
        config_maps: filled(Vec::new()),
        secrets: filled(secrets),
        service_accounts: filled(Vec::new()),
        services: filled(Vec::new()),
        claims: filled(Vec::new()),
        deployments: filled(Vec::new()),
        ingresses: filled(Vec::new()),
        network_policies: filled(Vec::new()),
        budgets: filled(Vec::new()),
        pods: filled(Vec::new()),
        probe_pods: filled(Vec::new()),
        agent_pods: filled(Vec::new()),
        document: filled(Vec::new()),
        agent_identity: filled(Vec::new()),
    }
}

/// A store with these objects.
pub(crate) fn filled<K: Watched>(objects: Vec<K>) -> Store<K> {
    let (store, mut writer) = store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(object));
    }
    store
}

/// A mirror as the API server tells it; one whose spec makes no sense to this version is kept unread.
pub(crate) fn mirror(name: &str, uid: &str, spec: &Value) -> AnyMirror {
    let object = json!({
        "apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror",
        "metadata": {"name": name, "uid": uid, "generation": 1}, "spec": spec,
    });
    serde_json::from_value::<DeserializeGuard<_>>(object).expect("metadata")
}
