//! The parts of a real Kubernetes, each with its configuration: control plane, cluster DNS, storage, nodes.

pub(crate) mod client;
mod containerd;
pub(crate) mod control_plane;
pub(crate) mod dns;
pub(crate) mod node;
mod node_files;
pub(crate) mod node_options;
pub(crate) mod storage;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::addresses;

/// Writes a kubeconfig for the bearer of a token of the control plane.
fn write_kubeconfig(file: &Path, authority: &Path, token: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tidepool",
        "clusters": [{"name": "tidepool", "cluster": {
            "server": addresses::API_SERVER, "certificate-authority": authority}}],
        "contexts": [{"name": "tidepool", "context": {"cluster": "tidepool", "user": "user"}}],
        "users": [{"name": "user", "user": {"token": token}}],
    });
    fs::write(file, config.to_string()).with_context(|| format!("cannot write {}", file.display()))
}
