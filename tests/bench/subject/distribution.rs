//! distribution, the reference registry, as a mirror.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Launch, Programs, Subject, free_address};
use crate::table::Who;

impl Programs {
    /// Starts it; none where its program is missing.
    pub(super) fn distribution(&self, store: &Path) -> Result<Option<Subject>> {
        let Some(program) = &self.distribution else { return Ok(None) };
        let folder = store.with_extension("run");
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        let address = free_address()?;
        let config = json!({
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": store},
                "cache": {"blobdescriptor": "inmemory"},
                "delete": {"enabled": true},
            },
            "http": {"addr": address},
            "proxy": {"remoteurl": format!("http://{}", self.upstream)},
        });
        let file = folder.join("config.json");
        fs::write(&file, config.to_string()).context("cannot write a configuration")?;
        let mut command = Command::new(program);
        command.arg("serve").arg(file);
        let store = store.to_owned();
        Launch { who: Who::Distribution, command, address, store, blob_file, orphaned: "KILL" }.start(&folder).map(Some)
    }
}

fn blob_file(store: &Path, digest: &str) -> Option<PathBuf> {
    let hex = digest.trim_start_matches("sha256:");
    let file = store.join("docker/registry/v2/blobs/sha256").join(hex.get(..2)?).join(hex).join("data");
    file.exists().then_some(file)
}
