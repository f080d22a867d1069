//! Tidepool's node agent: the binary that is shipped, without an API server. It starts from what it would have kept.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Launch, Programs, Subject, free_address};
use crate::table::Who;
use crate::tls::{Identities, MIRROR};

/// Nobody listens there.
const NO_API_SERVER: &str = "{apiVersion: v1, kind: Config, current-context: c, \
    clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}], \
    contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]}";

impl Programs {
    /// Starts it in front of one member; none where there is no such program.
    pub(crate) fn agent(&self, identities: &Identities) -> Result<Option<Subject>> {
        let Some(program) = &self.agent else { return Ok(None) };
        let folder = self.fresh("agent")?;
        let (state, run) = (folder.join("state"), folder.join("run"));
        for folder in [&state, &run, &folder.join("registry"), &folder.join("runtime")] {
            fs::create_dir_all(folder).context("cannot make a folder")?;
        }
        let mirror = json!({
            "name": MIRROR, "uid": MIRROR, "created": "2026-01-01T00:00:00Z", "mode": "Configure", "registries": ["docker.io"],
        });
        let last = json!({
            "document": {"version": 1, "mirrors": [mirror]},
            "members": {MIRROR: {"bench-0": identities.address}},
            "node": {"labels": {}, "runtime": {"name": "containerd", "version": "2.4.2"}},
        });
        fs::write(state.join("last.json"), last.to_string()).context("cannot write what the agent knew")?;
        fs::write(run.join("identity.json"), identities.of_agent().to_string()).context("cannot write an identity")?;
        fs::write(folder.join("kubeconfig"), NO_API_SERVER).context("cannot write a kubeconfig")?;
        let address = free_address()?;
        let mut command = Command::new("env");
        command.arg(format!("KUBECONFIG={}", folder.join("kubeconfig").display())).arg(program);
        command.args(["--log-level=warn", "run", "--node-name=bench", "--port"]).arg(address.port().to_string());
        for (flag, path) in [
            ("--registry-dir", folder.join("registry")),
            ("--runtime-config-dir", folder.join("runtime")),
            ("--admin-socket", run.join("admin.sock")),
            ("--state-dir", state),
            ("--run-dir", run),
        ] {
            command.arg(flag).arg(path);
        }
        let launch = Launch {
            who: Who::Tidepool,
            command,
            address,
            store: folder.clone(),
            blob_file: |_, _| None,
            orphaned: "TERM",
        };
        launch.start(&folder).map(Some)
    }
}
