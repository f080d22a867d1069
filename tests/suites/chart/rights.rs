//! Rights, as the API server grants them: what operator and agents may do, and what a stolen token of theirs may not.

use serde_json::{Value, json};
use tidepool_tests::Cluster;

use crate::rendered::{AGENTS, SYSTEM, installed};

const OPERATOR: &str = "system:serviceaccount:tidepool-system:tidepool-operator";
const AGENT: &str = "system:serviceaccount:tidepool-agents:tidepool-agent";

/// Whether `who` may do `what` (a verb, a resource and perhaps `resource/name`) in a namespace; "" is the whole cluster.
fn may(cluster: &Cluster, who: &str, namespace: &str, what: &str) -> bool {
    let mut args = vec!["auth", "can-i", "--as", who];
    args.extend(what.split(' '));
    match namespace {
        "" => args.push("--all-namespaces"),
        namespace => args.extend(["-n", namespace]),
    }
    let answer = cluster.try_kubectl(&args).unwrap();
    match answer.stdout.trim() {
        "yes" => true,
        "no" => false,
        _ => panic!("{what}: {}{}", answer.stdout, answer.stderr),
    }
}

/// Asserts rights of `who`, each a namespace with a verb and a resource.
fn assert_rights(cluster: &Cluster, who: &str, expected: bool, rights: &[(&str, &str)]) {
    let wrong: Vec<_> = rights.iter().filter(|(at, what)| may(cluster, who, at, what) != expected).collect();
    assert!(wrong.is_empty(), "{who}, expected {}: {wrong:#?}", if expected { "yes" } else { "no" });
}

#[test]
fn the_operator_may_do_its_work() {
    let Some(cluster) = installed() else { return };
    let kinds = [
        "deployments.apps",
        "services",
        "secrets",
        "serviceaccounts",
        "persistentvolumeclaims",
        "ingresses.networking.k8s.io",
        "networkpolicies.networking.k8s.io",
        "poddisruptionbudgets.policy",
    ];
    for kind in kinds {
        let rights: Vec<_> = ["list", "watch", "create", "patch", "delete"].map(|verb| format!("{verb} {kind}")).into();
        let rights: Vec<_> = rights.iter().map(|right| (SYSTEM, right.as_str())).collect();
        assert_rights(cluster, OPERATOR, true, &rights);
    }
    let rights = [
        (SYSTEM, "patch pods"),
        // Those that prove what a node's runtime honours.
        (SYSTEM, "create pods"),
        (SYSTEM, "delete pods"),
        (SYSTEM, "create leases.coordination.k8s.io"),
        (SYSTEM, "update leases.coordination.k8s.io/tidepool-operator"),
        (AGENTS, "patch configmaps/tidepool-nodes"),
        (AGENTS, "patch secrets/tidepool-agent-identity"),
        // Those of agents, which may be unable to speak for their nodes.
        (AGENTS, "list pods"),
        (AGENTS, "watch pods"),
        ("default", "create events.events.k8s.io"),
        ("", "list registrymirrors.tidepool.dev"),
        ("", "patch registrymirrors.tidepool.dev --subresource=status"),
        ("", "update registrymirrors.tidepool.dev --subresource=finalizers"),
    ];
    assert_rights(cluster, OPERATOR, true, &rights);
}

#[test]
fn the_operator_may_not_do_more() {
    let Some(cluster) = installed() else { return };
    let rights = [
        ("", "get secrets"),
        ("default", "get secrets"),
        ("kube-system", "get secrets"),
        (AGENTS, "get secrets/another"),
        (AGENTS, "list secrets"),
        (AGENTS, "delete secrets/tidepool-agent-identity"),
        (AGENTS, "delete configmaps/tidepool-nodes"),
        (AGENTS, "create pods"),
        (AGENTS, "delete pods"),
        (AGENTS, "get pods --subresource=log"),
        (SYSTEM, "create pods --subresource=exec"),
        (SYSTEM, "create serviceaccounts --subresource=token"),
        (SYSTEM, "update leases.coordination.k8s.io/another"),
        (SYSTEM, "patch roles.rbac.authorization.k8s.io"),
        // What users write is theirs.
        ("", "patch registrymirrors.tidepool.dev"),
        ("", "update registrymirrors.tidepool.dev"),
        ("", "delete registrymirrors.tidepool.dev"),
        ("", "patch nodes"),
        // Watches tell it all it needs.
        ("", "get registrymirrors.tidepool.dev"),
        ("", "get nodes"),
        (SYSTEM, "get configmaps"),
        (SYSTEM, "get pods"),
    ];
    assert_rights(cluster, OPERATOR, false, &rights);
}

#[test]
fn an_agent_may_read_what_it_is_told_and_nothing_else() {
    let Some(cluster) = installed() else { return };
    let named = |verb: &str, what: &str| format!("{verb} {what}");
    let (map, secret) =
        (named("watch", "configmaps/tidepool-nodes"), named("watch", "secrets/tidepool-agent-identity"));
    let rights = [
        (AGENTS, map.as_str()),
        (AGENTS, secret.as_str()),
        (AGENTS, "get daemonsets.apps/tidepool-agent"),
        (SYSTEM, "watch endpointslices.discovery.k8s.io"),
        ("", "patch mirrornodes.tidepool.dev --subresource=status"),
    ];
    assert_rights(cluster, AGENT, true, &rights);
    let more = [
        (SYSTEM, "get secrets"),
        (SYSTEM, "get secrets/tidepool-authority"),
        (SYSTEM, "get configmaps"),
        (AGENTS, "list secrets"),
        (AGENTS, "get secrets/another"),
        (AGENTS, "patch secrets/tidepool-agent-identity"),
        (AGENTS, "patch configmaps/tidepool-nodes"),
        ("", "list pods"),
        ("", "list registrymirrors.tidepool.dev"),
        ("", "patch mirrornodes.tidepool.dev"),
        ("", "create mirrornodes.tidepool.dev"),
        ("", "patch nodes"),
    ];
    assert_rights(cluster, AGENT, false, &more);
}

fn mirror_node(name: &str) -> Value {
    json!({"apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": name}, "spec": {}})
}

#[test]
fn an_agent_reports_for_its_own_node_alone() {
    let Some(cluster) = installed() else { return };
    for name in ["own", "other"] {
        cluster.apply(&mirror_node(name).to_string()).unwrap();
    }
    // As the agent does it: `kubectl patch` would read first what the agent may not read.
    let report = |name: &str, more: &[&str]| {
        let mut status = mirror_node(name);
        status["status"] = json!({"runtime": {"name": "containerd", "version": "2.4"}});
        let apply = ["apply", "--server-side", "--subresource=status", "--field-manager=tidepool-agent", "-f", "-"];
        cluster.try_kubectl_with(&[&apply[..], &["--as", AGENT], more].concat(), &status.to_string()).unwrap()
    };
    let node = ["--as-user-extra", "authentication.kubernetes.io/node-name=own"];
    // A policy binds some time after it was made.
    let bound = || Ok(report("other", &node).stderr.contains("an agent may report for its own node only"));
    cluster.wait_until(std::time::Duration::from_secs(180), "refusal of a report for another node", bound).unwrap();
    let own = report("own", &node);
    assert!(own.success, "{}", own.stderr);
    let nobody = report("own", &[]);
    assert!(nobody.stderr.contains("own node only"), "a token without a node reports for none: {}", nobody.stderr);
}
