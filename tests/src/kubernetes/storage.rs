//! The default StorageClass: folders of the nodes, offered as volumes beforehand.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::machine::Machine;

/// Claims that one node can hold. A volume is used once: nothing here empties a folder.
const VOLUMES_PER_NODE: usize = 10;

/// Makes the folders and gives the objects to apply, as one List.
pub(crate) fn objects(nodes: &[Machine]) -> Result<Value> {
    let mut items = vec![json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    })];
    for node in nodes {
        for number in 1..=VOLUMES_PER_NODE {
            let folder = node.home().join(format!("volumes/{number}"));
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            items.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": format!("{}-{number}", node.name())},
                "spec": {
                    "capacity": {"storage": "100Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "local",
                    "local": {"path": folder},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name()]}]}]}},
                },
            }));
        }
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}
