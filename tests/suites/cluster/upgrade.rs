//! An upgrade from the chart before, with a mirror that the operator before had made.
//!
//! `tests/fixtures` has that chart as it was released, and the objects as that operator left them; its programs are not
//! needed, for they had stopped when the upgrade came.

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec, repository};

use crate::installed::{MIRROR, SOON, SYSTEM, asked_by_pull, await_active, cluster, helm, mirror, pull};

/// The version of that chart.
const BEFORE: &str = "0.1.0";
/// The version of this one.
const NOW: &str = env!("CARGO_PKG_VERSION");

/// What other people wrote on objects of ours: the object, its namespace, and a label or annotation with its value.
const EDITS: [(&str, &str, &str, &str); 4] = [
    ("label", "persistentvolumeclaim/mirror-reef-0", SYSTEM, "backup=nightly"),
    ("annotate", "service/mirror-reef", SYSTEM, "corp.example/owner=platform"),
    ("annotate", "registrymirror/reef", "", "corp.example/ticket=4711"),
    ("label", "namespace/tidepool-agents", "", "corp.example/team=platform"),
];

/// The chart before, whose programs find no image, and in its namespace the authority that the mirror names.
fn install_before(cluster: &Cluster) {
    let chart = repository().join(format!("tests/fixtures/chart-{BEFORE}.tgz")).display().to_string();
    cluster.helm(&["install", "tidepool", &chart, "-n", SYSTEM, "--create-namespace"]).unwrap();
    let authority = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "test-authority", "namespace": SYSTEM},
        "data": {"ca.crt": cluster.authority().unwrap()},
    });
    cluster.apply(&authority.to_string()).unwrap();
}

/// A mirror, and its objects as the operator before applied them; its member runs, for which our image has to do.
fn mirror_before(cluster: &Cluster) {
    let volume = json!({"type": "Volume", "volume": {"size": "5Gi"}});
    cluster.apply(&mirror(&volume).to_string()).unwrap();
    let uid = get(cluster, "registrymirror", MIRROR)["metadata"]["uid"].as_str().unwrap().to_owned();
    let objects = std::fs::read_to_string(repository().join(format!("tests/fixtures/objects-{BEFORE}.yaml"))).unwrap();
    let objects = objects.replace("UID", &uid).replace(&image(BEFORE), &image(NOW));
    let apply = ["apply", "--server-side", "--field-manager=tidepool-operator", "-f", "-"];
    cluster.try_kubectl_with(&apply, &objects).unwrap().ok().unwrap();
    let rollout = ["rollout", "status", "deployment/mirror-reef-0", "-n", SYSTEM, "--timeout=180s"];
    cluster.kubectl(&rollout).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
}

fn image(version: &str) -> String {
    format!("ghcr.io/tidepool-dev/tidepool:{version}")
}

/// The image of the operator, as the chart has it.
fn operator_image(cluster: &Cluster) -> Value {
    get(cluster, "deployment", "tidepool-operator")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

fn get(cluster: &Cluster, kind: &str, name: &str) -> Value {
    cluster.kubectl_json(&["get", kind, name, "-n", SYSTEM]).unwrap()
}

/// Uids of what must outlive an upgrade, and the generation of what only users write.
fn identities(cluster: &Cluster) -> Vec<Value> {
    let objects = [
        ("registrymirror", MIRROR),
        ("persistentvolumeclaim", "mirror-reef-0"),
        ("deployment", "mirror-reef-0"),
        ("service", "mirror-reef"),
        ("deployment", "tidepool-operator"),
        ("crd", "registrymirrors.tidepool.dev"),
    ];
    let uid = |(kind, name): (&str, &str)| get(cluster, kind, name)["metadata"]["uid"].clone();
    let generation = get(cluster, "registrymirror", MIRROR)["metadata"]["generation"].clone();
    objects.map(uid).into_iter().chain([generation]).collect()
}

/// Whether the API server knows a field.
fn knows(cluster: &Cluster, field: &str) -> bool {
    cluster.try_kubectl(&["explain", field]).unwrap().success
}

fn edit(cluster: &Cluster) {
    for (act, object, namespace, pair) in EDITS {
        cluster.kubectl(&[act, object, pair, "-n", namespace]).unwrap();
    }
}

fn assert_edits(cluster: &Cluster) {
    for (_, object, namespace, pair) in EDITS {
        let (key, value) = pair.split_once('=').unwrap();
        let metadata = cluster.kubectl_json(&["get", object, "-n", namespace]).unwrap()["metadata"].clone();
        let kept = ["labels", "annotations"].iter().any(|map| metadata[map][key] == value);
        assert!(kept, "{object} has lost {pair}: {metadata}");
    }
}

#[test]
fn an_upgrade_from_the_chart_before_keeps_mirrors_claims_and_what_others_wrote() {
    let Some(cluster) = cluster(2) else { return };
    install_before(&cluster);
    assert_eq!(operator_image(&cluster), image(BEFORE));
    mirror_before(&cluster);
    edit(&cluster);
    let before = identities(&cluster);
    let new_fields = ["registrymirror.spec.access", "registrymirror.spec.upstreams.credentials"];
    assert!(!new_fields.iter().any(|field| knows(&cluster, field)), "the chart before knew none of them");

    // Values of the chart before leave out what this one must know, and it says so before anything changes.
    let chart = repository().join("charts/tidepool").display().to_string();
    let refused = cluster.helm(&["upgrade", "tidepool", &chart, "-n", SYSTEM, "--reuse-values"]).unwrap_err();
    assert!(format!("{refused:#}").contains("missing properties"), "{refused:#}");

    helm(&cluster, "upgrade", &["--reset-then-reuse-values"]);
    // Nodes that have the image before would run it on: they do not ask for a tag that they have.
    assert_eq!(operator_image(&cluster), image(NOW));
    assert_ne!(NOW, BEFORE);
    assert!(new_fields.iter().all(|field| knows(&cluster, field)), "definitions gain fields");
    let ready = ["wait", "--for=condition=Ready", "registrymirror", MIRROR, "--timeout=180s"];
    cluster.kubectl(&ready).map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
    await_active(&cluster);
    assert_eq!(identities(&cluster), before, "what was there is what is there");
    assert_edits(&cluster);

    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/app", "1")).unwrap();
    let log = asked_by_pull(&cluster, "docker.io", 1, "app:1");
    assert!(!log.is_empty() && log.iter().all(|request| request.user_agent.starts_with("tidepool")), "{log:#?}");
    pull(&cluster, 2, "app:1");

    let rolled_once = || {
        let member = get(&cluster, "deployment", "mirror-reef-0");
        let template = member["spec"]["template"].to_string();
        let old = ["/etc/tidepool-ca", "tidepool.dev/config-hash"].iter().any(|part| template.contains(part));
        Ok(!old && member["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2")
    };
    cluster
        .wait_until(SOON, "member that was rolled once, without what the operator before gave it", rolled_once)
        .unwrap();
}
