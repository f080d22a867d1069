//! Tidepool's proxy: the binary that is shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Launch, Link, Programs, Subject, free_address};
use crate::table::Who;
use crate::tls::Identities;

impl Programs {
    /// Starts it on a store, with a listener for agents if they are given.
    pub(crate) fn tidepool(&self, store: &Path, agents: Option<&Identities>) -> Result<Subject> {
        self.tidepool_at(store, agents, None)
    }

    /// The same at the end of a link.
    pub(crate) fn tidepool_at(
        &self,
        store: &Path,
        agents: Option<&Identities>,
        link: Option<&Link>,
    ) -> Result<Subject> {
        let folder = store.with_extension("run");
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        let (mut address, admin) = (free_address()?, free_address()?);
        if link.is_some() {
            address.set_ip(Link::address());
        }
        let mut config = json!({
            "listen": address,
            "admin": admin,
            "storage": {"path": store},
            "upstreams": [{"registry": "docker.io", "url": format!("http://{}", self.upstream)}],
        });
        if let Some(agents) = agents {
            config["agents"] = agents.listener(&folder)?;
        }
        // JSON is YAML.
        let file = folder.join("config.yaml");
        fs::write(&file, config.to_string()).context("cannot write a configuration")?;
        let mut command = link.map_or_else(|| Command::new("env"), Link::command);
        command.arg(&self.tidepool).arg("--config").arg(file).arg("--log-level=warn");
        let store = store.to_owned();
        Launch { who: Who::Tidepool, command, address, store, blob_file, orphaned: "KILL" }.start(&folder)
    }
}

fn blob_file(store: &Path, digest: &str) -> Option<PathBuf> {
    Some(blob_path(store, digest)).filter(|file| file.exists())
}

/// Where a store has a blob.
pub(crate) fn blob_path(store: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    store.join("blobs/sha256").join(hex.get(..2).unwrap_or_default()).join(hex)
}
