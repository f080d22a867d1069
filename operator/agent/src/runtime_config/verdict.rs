//! What containerd's configuration says of the agent's directory, with what to change where it is not read.

use toml_edit::Item;

use super::{
    ConfigFiles, Place, Support,
    layers::{Layers, Unclear},
};
use crate::node::RuntimeVersion;

/// containerd's own value of `max_concurrent_downloads`, with which it leaves pulls to its transfer service.
const DOWNLOADS: i64 = 3;

pub(super) fn of(runtime: &RuntimeVersion, files: &ConfigFiles, place: Place<'_>) -> Support {
    match Layers::of(files, place.config, runtime.release().unwrap_or((2, 0))) {
        Ok(layers) => Case { runtime, files, place, layers }.verdict(),
        Err(Unclear::Absent) => absent(place),
        Err(Unclear::Unreadable { path, why }) => Support::Doubtful(format!(
            "{path} cannot be read ({why}), so nobody knows whether containerd reads {}; mend it, or set agent.runtimeConfigDir to where containerd's configuration is",
            place.directory
        )),
    }
}

fn absent(place: Place<'_>) -> Support {
    let Place { config, directory, .. } = place;
    Support::Doubtful(format!(
        "there is no {config}; where containerd runs with another file, set agent.runtimeConfigDir to its directory; where with none, make this one:\nversion = 2\n{}\nand restart containerd",
        snippet("io.containerd.grpc.v1.cri", directory)
    ))
}

fn snippet(table: &str, directory: &str) -> String {
    format!("[plugins.\"{table}\".registry]\n  config_path = \"{directory}\"")
}

/// A configuration that can be read, on a node.
struct Case<'a> {
    runtime: &'a RuntimeVersion,
    files: &'a ConfigFiles,
    place: Place<'a>,
    layers: Layers,
}

impl Case<'_> {
    fn verdict(&self) -> Support {
        let config_path = self.layers.get(&["registry", "config_path"]).and_then(Item::as_str).unwrap_or_default();
        let mirrors = self.has(&["registry", "mirrors"]);
        match (config_path, mirrors) {
            ("", true) => self.only_mirrors(),
            ("", false) => self.unset(),
            (path, true) => self.both(path, "registry.mirrors"),
            (path, false) if self.has_old_tls() => self.both(path, "registry.configs with tls"),
            (path, false) => self.set(path),
        }
    }

    /// Whether a table of the plugin has anything in it.
    fn has(&self, keys: &[&str]) -> bool {
        let table = self.layers.get(keys).and_then(Item::as_table_like);
        table.is_some_and(|table| !table.is_empty())
    }

    /// TLS by `registry.configs`, which 1.x does not take beside `config_path`.
    fn has_old_tls(&self) -> bool {
        let configs = self.layers.get(&["registry", "configs"]).and_then(Item::as_table_like);
        let tls = |item: &Item| item.as_table_like().is_some_and(|table| table.contains_key("tls"));
        self.runtime.release() < Some((2, 0)) && configs.is_some_and(|table| table.iter().any(|(_, item)| tls(item)))
    }

    fn both(&self, config_path: &str, other: &str) -> Support {
        let Place { config, .. } = self.place;
        Support::NotConfigured(format!(
            "{config} has config_path = \"{config_path}\" and {other}, with which containerd's CRI plugin does not start: move these to hosts.toml files under {config_path}, take them out and restart containerd"
        ))
    }

    fn only_mirrors(&self) -> Support {
        let Place { config, directory, .. } = self.place;
        Support::NotConfigured(format!(
            "{config} has registry.mirrors, beside which containerd allows no config_path: move them to hosts.toml files under {directory}, replace them by\n{}\nand restart containerd",
            snippet(self.layers.table(), directory)
        ))
    }

    /// `config_path` is set nowhere that containerd looks.
    fn unset(&self) -> Support {
        let Place { config, directory, .. } = self.place;
        let table = snippet(self.layers.table(), directory);
        let add = if self.layers.version() == 1 { format!("version = 2\n{table}") } else { table };
        let why = match self.layers.misplaced() {
            Some(version) => format!(
                "{config} has [plugins.\"io.containerd.grpc.v1.cri\".registry] in a file with {version}, where containerd ignores it"
            ),
            None => format!("{config} sets no config_path"),
        };
        let remedy = format!("write into {config}\n{add}\nand restart containerd");
        if let Some(unseen) = self.files.unseen.first() {
            return Support::Doubtful(format!(
                "{why}; unless {unseen}, which it imports and the agent cannot see, does, {remedy}"
            ));
        }
        if !self.runtime.has_default_registry_dir() {
            return Support::NotConfigured(format!("{why}, so containerd reads no hosts.toml; {remedy}"));
        }
        if self.pulls_itself() && directory.trim_end_matches('/') == "/etc/containerd/certs.d" {
            return Support::Expected;
        }
        Support::Doubtful(format!(
            "{why}, and what containerd 2.2 and later take instead, a list of two directories, its transfer service does not read; {remedy}"
        ))
    }

    fn set(&self, config_path: &str) -> Support {
        let Place { config, directory, .. } = self.place;
        let is_ours = |part: &str| part.trim_end_matches('/') == directory.trim_end_matches('/');
        if is_ours(config_path) {
            return Support::Expected;
        }
        if !config_path.split(':').any(is_ours) {
            return Support::NotConfigured(format!(
                "config_path in {config} is {config_path}, and the agent writes to {directory}: set agent.registryDir to the former, or config_path to the latter and restart containerd"
            ));
        }
        // Pulls of the CRI plugin's own split the list; the transfer service takes it for one directory.
        if self.runtime.release() < Some((2, 1)) || self.pulls_itself() {
            return Support::Expected;
        }
        Support::Doubtful(format!(
            "config_path in {config} is the list {config_path}, which containerd's transfer service takes for one directory and so reads nothing; set it to {directory} alone and restart containerd (or set discard_unpacked_layers = true, with which the CRI plugin pulls by itself)"
        ))
    }

    /// Whether the CRI plugin pulls by itself rather than by the transfer service, which 2.1 brought: it is told to, or
    /// uses an option that the transfer service has not (`CheckLocalImagePullConfigs`).
    fn pulls_itself(&self) -> bool {
        if self.runtime.release() < Some((2, 1)) {
            return true;
        }
        let of = |key: &str| self.layers.get(&[key]).or_else(|| self.layers.get(&["containerd", key]));
        let flag = |key: &str| of(key).and_then(Item::as_bool);
        let downloads = of("max_concurrent_downloads").and_then(Item::as_integer);
        ["use_local_image_pull", "discard_unpacked_layers", "image_pull_with_sync_fs"]
            .iter()
            .any(|key| flag(key) == Some(true))
            || flag("disable_snapshot_annotations") == Some(false)
            || downloads.is_some_and(|downloads| downloads != DOWNLOADS)
            || self.has(&["registry", "configs"])
            || self.has(&["registry", "auths"])
    }
}
