//! Which changes ring for whom.

use kube::{
    api::ObjectMeta,
    core::DeserializeGuard,
    runtime::{reflector::store, watcher::Event},
};
use serde_json::{Value, json};

use super::*;

/// Triggers that know two mirrors, of which `reef` refers to ConfigMap `ca`.
fn triggers() -> Triggers {
    let (mirrors, mut writer) = store::<AnyMirror>();
    writer.apply_watcher_event(&Event::Apply(mirror("reef", &json!({"tls": {"caRef": {"name": "ca"}}}))));
    writer.apply_watcher_event(&Event::Apply(mirror("public", &json!({}))));
    Triggers::new(mirrors)
}

fn mirror(name: &str, upstream: &Value) -> AnyMirror {
    let mut object = json!({
        "apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror",
        "metadata": {"name": name, "generation": 1}, "spec": {"upstreams": [upstream]},
    });
    object["spec"]["upstreams"][0]["registry"] = json!("a.io");
    DeserializeGuard(Ok(serde_json::from_value(object).unwrap()))
}

/// The names in a queue, taken.
fn names(queue: &Queue) -> Vec<String> {
    let taken = futures::FutureExt::now_or_never(queue.take());
    taken.map(|names| names.into_iter().collect()).unwrap_or_default()
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_reference_rings_for_the_mirrors_that_name_it_even_as_it_goes() {
    let triggers = triggers();
    let ca: ConfigMap = object(json!({"metadata": {"name": "ca"}}));
    triggers.config_map(&Change::Applied { before: None, now: &ca });
    assert_eq!(names(&triggers.queue), ["reef"]);
    triggers.config_map(&Change::Deleted(&ca));
    assert_eq!(names(&triggers.queue), ["reef"]);
    let other: ConfigMap = object(json!({"metadata": {"name": "other"}}));
    triggers.config_map(&Change::Applied { before: None, now: &other });
    let secret: Secret = object(json!({"metadata": {"name": "ca"}}));
    triggers.secret(&Change::Applied { before: None, now: &secret });
    assert!(names(&triggers.queue).is_empty());
}

#[test]
fn every_secret_that_a_mirror_names_rings_for_it() {
    let (mirrors, mut writer) = store::<AnyMirror>();
    let spec = json!({
        "upstreams": [
            {"registry": "a.io", "credentials": {"secretRef": {"name": "login"}}},
            {"registry": "b.io", "tls": {"clientCertSecretRef": {"name": "client"}, "caRef": {"kind": "Secret", "name": "authority"}}},
        ],
        "egressProxy": {"url": "http://a:1", "credentialsSecretRef": {"name": "egress"}},
        "access": {"usersSecretRef": {"name": "users"}},
        "ingress": {"host": "a.io", "tlsSecretName": "shown"},
    });
    let mut reef = mirror("reef", &json!({}));
    reef.0.as_mut().unwrap().spec = serde_json::from_value(spec).unwrap();
    writer.apply_watcher_event(&Event::Apply(reef));
    let triggers = Triggers::new(mirrors);
    for secret in ["login", "client", "authority", "egress", "users", "shown"] {
        let secret: Secret = object(json!({"metadata": {"name": secret}}));
        triggers.secret(&Change::Applied { before: None, now: &secret });
        assert_eq!(names(&triggers.queue), ["reef"], "{secret:?}");
        triggers.secret(&Change::Deleted(&secret));
        assert_eq!(names(&triggers.queue), ["reef"], "{secret:?}");
    }
}

#[test]
fn a_child_rings_for_its_mirror_also_when_its_label_is_taken_away() {
    let triggers = triggers();
    let labelled: Secret = object(json!({"metadata": {"name": "s", "labels": {MIRROR_LABEL: "public"}}}));
    let bare: Secret = object(json!({"metadata": {"name": "s"}}));
    triggers.child(&Change::Applied { before: Some(Arc::new(labelled)), now: &bare });
    assert_eq!(names(&triggers.queue), ["public"]);
}

#[test]
fn our_own_status_and_heartbeats_of_nodes_ring_for_nobody() {
    let triggers = triggers();
    let now = mirror("reef", &json!({}));
    triggers.mirror(&Change::Applied { before: Some(Arc::new(now.clone())), now: &now });
    let mut node: PartialObjectMeta<Node> = object(json!({"metadata": {"name": "n", "resourceVersion": "1"}}));
    let before = Some(Arc::new(node.clone()));
    node.metadata = ObjectMeta { resource_version: Some("2".to_owned()), ..node.metadata };
    triggers.node(&Change::Applied { before, now: &node });
    assert!(names(&triggers.queue).is_empty() && names(&triggers.collected).is_empty());
    triggers.node(&Change::Applied { before: None, now: &node });
    assert_eq!(names(&triggers.collected), ["public", "reef"]);
}

/// What the node of this name reports of mirror `reef`.
fn report(name: &str) -> MirrorNode {
    let mirror = json!({"name": "reef", "uid": "u", "state": "Active", "reason": "R"});
    object(json!({"apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": name}, "spec": {},
        "status": {"mirrors": [mirror]}}))
}

/// Collects in a cluster of so many nodes.
fn collecting(triggers: &Triggers, nodes: usize) -> tokio::task::JoinHandle<()> {
    let triggers = triggers.clone();
    tokio::spawn(async move { triggers.collect(|| nodes).await })
}

#[tokio::test(start_paused = true)]
async fn n8_a_thousand_nodes_that_report_for_minutes_ring_twice_a_minute_and_two_nodes_every_few_seconds() {
    for (nodes, rings) in [(1000, 3..=5), (2, 30..=60)] {
        let triggers = triggers();
        let collecting = collecting(&triggers, nodes);
        let mut rung = 0;
        for second in 0..120 {
            triggers.mirror_node(&Change::Applied { before: None, now: &report("a") });
            tokio::time::sleep(Duration::from_secs(1)).await;
            rung += names(&triggers.queue).len();
            assert!(rung > 0 || second < 3, "the first report is not kept waiting");
        }
        assert!(rings.contains(&rung), "{rung} with {nodes} nodes");
        collecting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn reports_of_nodes_are_collected_before_they_ring() {
    let triggers = triggers();
    let collecting = collecting(&triggers, 2);
    triggers.mirror_node(&Change::Applied { before: None, now: &report("a") });
    tokio::time::sleep(COLLECT / 2).await;
    triggers.mirror_node(&Change::Applied { before: None, now: &report("b") });
    assert!(names(&triggers.queue).is_empty());
    assert_eq!(triggers.queue.take().await.into_iter().collect::<Vec<_>>(), ["reef"]);
    collecting.abort();
}
