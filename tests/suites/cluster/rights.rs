//! Rights, as the audit log shows them used: none denied, none without use; and what a stolen token of an agent may not.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};
use tidepool_tests::{AuditEvent, Cluster};

use crate::installed::{
    AGENTS, MIRROR, SOON, SYSTEM, apply_and_await, await_condition, await_revision, installed, login, mirror,
};

/// Rights that no request in the life of the mirror below shows, each with its reason.
const UNUSED: [(&str, &str); 1] = [(
    "operator update tidepool.dev/registrymirrors/finalizers",
    "asked for by admission, not by a request of its own",
)];

/// What the operator makes and prunes; each kind with the spec of one that is there by itself.
fn kinds() -> [(&'static str, &'static str, Value); 8] {
    let selector = json!({"matchLabels": {"left": "over"}});
    let template =
        json!({"metadata": {"labels": {"left": "over"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let backend = json!({"service": {"name": "none", "port": {"number": 1}}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    [
        ("apps/v1", "Deployment", json!({"replicas": 0, "selector": selector, "template": template})),
        ("v1", "Service", json!({"ports": [{"port": 1}]})),
        ("v1", "Secret", Value::Null),
        ("v1", "ServiceAccount", Value::Null),
        ("v1", "PersistentVolumeClaim", claim),
        ("networking.k8s.io/v1", "Ingress", json!({"defaultBackend": backend})),
        ("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": selector})),
        ("policy/v1", "PodDisruptionBudget", json!({"maxUnavailable": 1, "selector": selector})),
    ]
}

/// Has the operator prune one object of each kind: what another version may have made for the mirror, and this does not.
fn leave_over(cluster: &Cluster) {
    let mirror = cluster.kubectl_json(&["get", "registrymirror", MIRROR]).unwrap();
    let owner = json!({"apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror", "name": MIRROR,
        "uid": mirror["metadata"]["uid"], "controller": true});
    let labels = json!({"app.kubernetes.io/managed-by": "tidepool-operator", "tidepool.dev/mirror": MIRROR});
    let metadata = json!({"name": "left-over", "namespace": SYSTEM, "labels": labels, "ownerReferences": [owner]});
    for (version, kind, spec) in kinds() {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
        if !spec.is_null() {
            object["spec"] = spec;
        }
        cluster.apply(&object.to_string()).unwrap();
    }
    let kinds = kinds().map(|(_, kind, _)| kind.to_lowercase()).join(",");
    let left =
        || cluster.kubectl(&["get", &kinds, "-n", SYSTEM, "--field-selector=metadata.name=left-over", "-o", "name"]);
    cluster.wait_until(SOON, "end of what is left over", || Ok(left()?.is_empty())).unwrap();
}

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
    leave_over(&cluster);
    cluster.kubectl(&["delete", "pod", "-n", AGENTS, "--all", "--wait=true", "--timeout=180s"]).unwrap();
    crate::installed::await_active(&cluster);
    cluster.kubectl(&["delete", "registrymirror", MIRROR, "--timeout=180s"]).unwrap();
    let gone = || {
        Ok(cluster
            .kubectl(&["get", "deployments", "-n", SYSTEM, "-l", "tidepool.dev/mirror", "-o", "name"])?
            .is_empty())
    };
    cluster.wait_until(SOON, "end of the mirror", gone).unwrap();

    let events: Vec<AuditEvent> = cluster.audit().unwrap().into_iter().filter(AuditEvent::is_ours).collect();
    let denied: Vec<_> = events.iter().filter(|event| event.code == 403 || event.code == 401).collect();
    assert!(denied.is_empty(), "denied: {denied:#?}");
    let used: BTreeSet<Right> = events.iter().flat_map(rights).collect();
    let unused: Vec<Right> = granted(&cluster)
        .into_iter()
        .filter(|right| !used.iter().any(|used| right.covers(used)))
        .filter(|right| !UNUSED.iter().any(|(unused, _)| *unused == right.to_string().trim_end()))
        .collect();
    assert!(unused.is_empty(), "granted and never used: {unused:#?}\nused: {used:#?}");
}

/// One verb on one resource, for one account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    account: &'static str,
    verb: String,
    /// `group/resource/subresource`.
    resource: String,
    /// Empty for the whole cluster.
    namespace: String,
    /// Empty for all.
    name: String,
}

impl Right {
    /// Whether this one, as granted, allows what was used.
    fn covers(&self, used: &Self) -> bool {
        let named = |right: &Self| Self { name: self.name.clone(), ..right.clone() };
        *self == named(used) && (self.name.is_empty() || self.name == used.name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, verb, resource, namespace, name } = self;
        write!(f, "{account} {verb} {resource} {namespace} {name}")
    }
}

impl fmt::Debug for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a request made use of.
fn rights(event: &AuditEvent) -> Vec<Right> {
    let resource = match event.subresource.as_str() {
        "" => event.resource.clone(),
        sub => format!("{}/{sub}", event.resource),
    };
    let right = |verb: &str| Right {
        account: if event.user.ends_with("agent") { "agent" } else { "operator" },
        verb: verb.to_owned(),
        resource: format!("{}/{resource}", event.group),
        namespace: event.namespace.clone(),
        name: event.name.clone(),
    };
    // An apply of what is not there yet is a patch that needs the right to create.
    let creates = event.verb == "patch" && event.code == 201;
    std::iter::once(right(&event.verb)).chain(creates.then(|| right("create"))).collect()
}

/// Every single right that the chart's roles grant.
fn granted(cluster: &Cluster) -> BTreeSet<Right> {
    let label = "app.kubernetes.io/name=tidepool";
    let roles = cluster.kubectl_json(&["get", "roles,clusterroles", "-A", "-l", label]).unwrap();
    let mut rights = BTreeSet::new();
    for role in roles["items"].as_array().unwrap() {
        let account = if role["metadata"]["name"].as_str().unwrap().contains("agent") { "agent" } else { "operator" };
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().unwrap() {
            rights.extend(granted_by(rule).into_iter().map(|(verb, resource, name)| Right {
                account,
                verb,
                resource,
                namespace: namespace.to_owned(),
                name,
            }));
        }
    }
    assert!(rights.len() > 40, "{rights:#?}");
    rights
}

/// Verb, resource and name of all that one rule grants.
fn granted_by(rule: &Value) -> Vec<(String, String, String)> {
    let all = |key: &str| {
        let texts = rule[key].as_array().into_iter().flatten();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let names = if rule["resourceNames"].is_null() { vec![String::new()] } else { all("resourceNames") };
    let mut granted = Vec::new();
    for group in all("apiGroups") {
        for resource in all("resources") {
            for verb in all("verbs") {
                let of = |name: &String| (verb.clone(), format!("{group}/{resource}"), name.clone());
                granted.extend(names.iter().map(of));
            }
        }
    }
    granted
}
