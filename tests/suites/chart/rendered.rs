//! The cluster of the suite, and the chart as Helm renders it.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidepool_tests::{Cluster, ClusterOptions, repository};

/// Namespace of operator and members.
pub(crate) const SYSTEM: &str = "tidepool-system";
/// Namespace of the agents.
pub(crate) const AGENTS: &str = "tidepool-agents";

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// The cluster of the suite; it ends with this process. `None` where none can run.
pub(crate) fn cluster() -> Option<&'static Cluster> {
    let start = || {
        let options = ClusterOptions { nodes: 1, stand_ins: Vec::new(), ..ClusterOptions::default() };
        let cluster = Cluster::for_suite(options).expect("a cluster")?;
        if !cluster.has_nodes() {
            println!("SKIPPED: installs the chart, and $KUBECONFIG names a cluster that may have one");
            return None;
        }
        // What the release's namespace should be: a pod that does not meet it is a warning, hence an error here.
        let level = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": level}});
        cluster.apply(&namespace.to_string()).unwrap();
        Some(cluster)
    };
    CLUSTER.get_or_init(start).as_ref()
}

/// The cluster with the chart installed: its objects are there, and its pods find no image.
pub(crate) fn installed() -> Option<&'static Cluster> {
    let cluster = cluster()?;
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*installed {
        cluster.helm(&["install", "tidepool", &chart(), "-n", SYSTEM]).unwrap();
        // The API server takes new definitions at once, and describes them some time later.
        let described = |kind: &str| Ok(cluster.try_kubectl(&["explain", &format!("{kind}.status")])?.success);
        for kind in ["registrymirror", "mirrornode"] {
            cluster.wait_until(Duration::from_secs(180), "description of a definition", || described(kind)).unwrap();
        }
        *installed = true;
    }
    Some(cluster)
}

/// The chart's folder.
pub(crate) fn chart() -> String {
    repository().join("charts/tidepool").display().to_string()
}

/// What Helm renders with these values, as text.
pub(crate) fn render(cluster: &Cluster, values: &Value) -> Result<String> {
    cluster.helm(&["template", "tidepool", &chart(), "-n", SYSTEM, "--set-json", &values.to_string()])
}

/// Every document of a YAML text but empty ones.
pub(crate) fn documents<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let values = serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    values.filter(|value| !value.is_null()).map(|value| serde_json::from_value(value).unwrap()).collect()
}

/// The documents of a file beside this one.
pub(crate) fn table<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let file = repository().join("tests/suites/chart").join(name);
    documents(&std::fs::read_to_string(file).unwrap())
}

/// An object of a rendered chart by `Kind/name`, or `Kind/namespace/name` where two share a name.
pub(crate) fn object<'a>(rendered: &'a [Value], which: &str) -> Option<&'a Value> {
    let name = |object: &Value| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        [format!("{kind}/{name}"), format!("{kind}/{namespace}/{name}")]
    };
    rendered.iter().find(|object| name(object).iter().any(|name| name == which))
}
