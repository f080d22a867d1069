//! StorageClasses: folders of the nodes, offered as volumes beforehand. Claims may ask for more, and get it from who
//! plays the resizer ([`crate::Cluster::resize_claims`]).

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::machine::Machine;

/// Claims that one node can hold. A volume is used once: nothing here empties a folder.
const VOLUMES_PER_NODE: usize = 12;
/// Those of them that are small, so that a claim may want more than it got, in a class of their own.
const SMALL: usize = 2;

/// Makes the folders and gives the objects to apply, as one List.
pub(crate) fn objects(nodes: &[Machine]) -> Result<Value> {
    let mut items = vec![class("local", true), class("small", false)];
    for node in nodes {
        for number in 1..=VOLUMES_PER_NODE {
            let folder = node.home().join(format!("volumes/{number}"));
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let (class, capacity) = if number <= SMALL { ("small", "1Gi") } else { ("local", "100Gi") };
            items.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": format!("{}-{number}", node.name())},
                "spec": {
                    "capacity": {"storage": capacity},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": class,
                    "local": {"path": folder},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name()]}]}]}},
                },
            }));
        }
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

fn class(name: &str, is_default: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": is_default.to_string()},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    })
}
