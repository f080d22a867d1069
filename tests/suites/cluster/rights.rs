//! Rights, as the audit log shows them used: none denied, none without use; and what a stolen token of an agent may not.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidepool_tests::{AuditEvent, Cluster};

use crate::installed::{
    AGENTS, MIRROR, SOON, SYSTEM, apply_and_await, await_condition, await_revision, installed, login, mirror,
};

/// Rights that the life of the mirror below does not need, each with its reason: `account verb group/resource`, or a
/// verb for all.
const UNUSED: [(&str, &str); 3] = [
    ("operator update tidepool.dev/registrymirrors/finalizers", "asked for by admission, not by a request of its own"),
    ("* get", "of what is watched, and goes with list and watch: it tells no more than they do"),
    ("operator delete", "what is pruned depends on the spec before; here it is the Ingress alone"),
];

/// A mirror that has an object of each kind.
fn whole() -> Value {
    let mut whole = mirror(&json!({"type": "Volume", "volume": {"size": "5Gi"}}));
    whole["spec"]["ingress"] = json!({"host": "mirror.test"});
    whole["spec"]["upstreams"][1]["credentials"] = json!({"secretRef": {"name": "a-login"}});
    whole
}

#[test]
fn no_request_of_ours_is_denied_and_no_rule_is_without_use() {
    let Some(cluster) = installed(1) else { return };
    cluster.apply(&login("a-login", "me", "x").to_string()).unwrap();
    let mut mirror = whole();
    apply_and_await(&cluster, &mirror);
    cluster.kubectl(&["delete", "service", &format!("mirror-{MIRROR}"), "-n", SYSTEM]).unwrap();
    mirror["spec"]["upstreams"][1]["credentials"]["secretRef"]["name"] = json!("missing");
    cluster.apply(&mirror.to_string()).unwrap();
    await_condition(&cluster, "Accepted", "False", "SecretNotFound");
    let mut smaller = whole();
    smaller["spec"].as_object_mut().unwrap().remove("ingress");
    smaller["spec"]["upstreams"][1].as_object_mut().unwrap().remove("credentials");
    cluster.apply(&smaller.to_string()).unwrap();
    await_condition(&cluster, "Accepted", "True", "");
    await_revision(&cluster);
    let pruned = || Ok(cluster.kubectl(&["get", "ingresses", "-n", SYSTEM, "-o", "name"])?.is_empty());
    cluster.wait_until(SOON, "end of the Ingress that is not wanted any more", pruned).unwrap();
    cluster.kubectl(&["delete", "pod", "-n", AGENTS, "--all", "--wait=true", "--timeout=60s"]).unwrap();
    crate::installed::await_active(&cluster);
    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=30s"]).unwrap();
    let gone = || {
        Ok(cluster
            .kubectl(&["get", "deployments", "-n", SYSTEM, "-l", "tidepool.dev/mirror", "-o", "name"])?
            .is_empty())
    };
    cluster.wait_until(SOON, "end of the mirror", gone).unwrap();

    let events: Vec<AuditEvent> = cluster.audit().unwrap().into_iter().filter(AuditEvent::is_ours).collect();
    let denied: Vec<_> = events.iter().filter(|event| event.code == 403 || event.code == 401).collect();
    assert!(denied.is_empty(), "denied: {denied:#?}");
    let used: BTreeSet<String> = events.iter().flat_map(rights).collect();
    let unused: Vec<String> =
        granted(&cluster).into_iter().filter(|right| !used.contains(right) && !excused(right)).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:#?}\nused: {used:#?}");
}

/// `account verb group/resource namespace`; the namespace is empty for the whole cluster.
fn rights(event: &AuditEvent) -> Vec<String> {
    let account = if event.user.ends_with("agent") { "agent" } else { "operator" };
    let resource = match event.subresource.as_str() {
        "" => event.resource.clone(),
        sub => format!("{}/{sub}", event.resource),
    };
    let right = |verb: &str| format!("{account} {verb} {}/{resource} {}", event.group, event.namespace);
    // An apply of what is not there yet is a patch that needs the right to create.
    let creates = event.verb == "patch" && event.code == 201;
    std::iter::once(right(&event.verb)).chain(creates.then(|| right("create"))).collect()
}

/// Every single right that the chart's roles grant.
fn granted(cluster: &Cluster) -> BTreeSet<String> {
    let label = "app.kubernetes.io/name=tidepool";
    let roles = cluster.kubectl_json(&["get", "roles,clusterroles", "-A", "-l", label]).unwrap();
    let mut rights = BTreeSet::new();
    for role in roles["items"].as_array().unwrap() {
        let account = if role["metadata"]["name"].as_str().unwrap().contains("agent") { "agent" } else { "operator" };
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().unwrap() {
            let all = |key: &str| rule[key].as_array().cloned().unwrap_or_default();
            for (group, resource, verb) in all("apiGroups").iter().flat_map(|group| {
                let (resources, verbs) = (all("resources"), all("verbs"));
                let pairs =
                    resources.into_iter().flat_map(move |r| verbs.clone().into_iter().map(move |v| (r.clone(), v)));
                pairs.map(move |(resource, verb)| (group.clone(), resource, verb)).collect::<Vec<_>>()
            }) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                rights.insert(format!("{account} {} {}/{} {namespace}", text(&verb), text(&group), text(&resource)));
            }
        }
    }
    assert!(rights.len() > 40, "{rights:#?}");
    rights
}

fn excused(right: &str) -> bool {
    UNUSED.iter().any(|(excused, _)| match excused.strip_prefix("* ") {
        Some(verb) => right.split(' ').nth(1) == Some(verb),
        None => right.starts_with(excused),
    })
}

#[test]
fn a_token_of_an_agent_reports_for_its_own_node_alone_and_restricted_is_enforced() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &crate::installed::ephemeral());
    let pods = cluster.kubectl_json(&["get", "pods", "-n", AGENTS, "--field-selector=spec.nodeName=node1"]).unwrap();
    let (name, uid) = (pods["items"][0]["metadata"]["name"].as_str().unwrap(), &pods["items"][0]["metadata"]["uid"]);
    let bound =
        ["create", "token", "tidepool-agent", "-n", AGENTS, "--bound-object-kind=Pod", "--bound-object-name", name];
    let token = cluster.kubectl(&[&bound[..], &["--bound-object-uid", uid.as_str().unwrap()]].concat()).unwrap();
    let authority = cluster.folder().unwrap().join("cp/ca.crt").display().to_string();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let patch = |node: &str| {
        let base = "https://10.236.0.1:6443/apis/tidepool.dev/v1alpha1/mirrornodes";
        let url = format!("{base}/{node}/status?dryRun=All");
        let curl = ["curl", "-sS", "-w", "\n%{http_code}", "--cacert", &authority, "-H", &bearer, "-X", "PATCH", &url];
        let body = ["-H", "Content-Type: application/merge-patch+json", "-d", r#"{"status":{"mirrors":[]}}"#];
        cluster.in_node(1, &[&curl[..], &body].concat()).unwrap()
    };
    let own = patch("node1");
    assert!(own.ends_with("200"), "{own}");
    let other = patch("node2");
    assert!(other.ends_with("403") && other.contains("an agent may report for its own node only"), "{other}");

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": SYSTEM},
        "spec": {"containers": [{"name": "main", "image": "app:1"}]}});
    let denied = cluster.try_apply(&pod.to_string()).unwrap();
    assert!(!denied.success && denied.stderr.contains("violates PodSecurity"), "{denied:?}");
}
