//! Whether the node's runtime reads hosts.toml files at all, from its configuration (design N5). Pure; the
//! configuration itself is never written: `mirrors` beside `config_path` would take the node's runtime down.

use toml_edit::{DocumentMut, Item};

use crate::{node::RuntimeVersion, registries_conf};

/// What the runtime's configuration says about our files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It reads them, as far as can be told.
    Expected,
    /// It may not; the message says why and what makes it sure.
    Doubtful(String),
    /// It does not; the message says what to add.
    NotConfigured(String),
    /// The runtime has no hosts.toml.
    OtherRuntime(String),
}

const V2: &str = "io.containerd.grpc.v1.cri";
const V3: &str = "io.containerd.cri.v1.images";

/// Reads the text of containerd's config.toml, none where there is no file, and tells whether files in `directory` are
/// read. `path` is how people know the file.
#[must_use]
pub fn support(runtime: &RuntimeVersion, config: Option<&str>, directory: &str, path: &str) -> Support {
    if let Some(other) = registries_conf::support(runtime, directory) {
        return other;
    }
    if !runtime.is_containerd() {
        let name = &runtime.name;
        return Support::OtherRuntime(format!(
            "the node's runtime is {name}, which does not read hosts.toml; exclude the node with label tidepool.dev/exclude=true"
        ));
    }
    // No file, or one that we cannot read: containerd may run with another one. Only a pull can tell.
    let Some(document) = config.and_then(|text| text.parse::<DocumentMut>().ok()) else { return Support::Expected };
    let is_v3 = document.get("version").and_then(Item::as_integer) == Some(3);
    let plugin = if is_v3 { V3 } else { V2 };
    let registry = document.get("plugins").and_then(|plugins| plugins.get(plugin)).and_then(|cri| cri.get("registry"));
    let config_path =
        registry.and_then(|registry| registry.get("config_path")).and_then(Item::as_str).unwrap_or_default();
    let snippet = format!("[plugins.\"{plugin}\".registry]\n  config_path = \"{directory}\"");
    if !config_path.is_empty() {
        return of_config_path(runtime, config_path, directory, path);
    }
    let has_mirrors = registry.and_then(|registry| registry.get("mirrors")).and_then(Item::as_table_like);
    if has_mirrors.is_some_and(|mirrors| !mirrors.is_empty()) {
        return Support::NotConfigured(format!(
            "{path} has registry.mirrors, beside which containerd allows no config_path: move them to hosts.toml files under {directory}, replace them by\n{snippet}\nand restart containerd"
        ));
    }
    let add = format!("add to {path}\n{snippet}\nand restart containerd");
    if document.get("imports").is_some() {
        return Support::Doubtful(format!("{path} sets no config_path itself; unless a file it imports does, {add}"));
    }
    if runtime.has_default_registry_dir() {
        let why = "containerd 2.2 and later have a default, which most of their pulls do not honour";
        return Support::Doubtful(format!("{path} sets no config_path ({why}); to be sure, {add}"));
    }
    Support::NotConfigured(format!("{path} sets no config_path, so containerd reads no hosts.toml; {add}"))
}

fn of_config_path(runtime: &RuntimeVersion, config_path: &str, directory: &str, path: &str) -> Support {
    let is_ours = |part: &str| part.trim_end_matches('/') == directory.trim_end_matches('/');
    if is_ours(config_path) {
        return Support::Expected;
    }
    if !config_path.split(':').any(is_ours) {
        return Support::NotConfigured(format!(
            "config_path in {path} is {config_path}, and the agent writes to {directory}; set it to {directory}, or agent.registryDir to the other"
        ));
    }
    // Local pulls, as in containerd 1.x and 2.0, split the list; the transfer service takes it for one directory.
    if runtime.version.starts_with("1.") || runtime.version.starts_with("2.0.") {
        return Support::Expected;
    }
    Support::Doubtful(format!(
        "config_path in {path} is the list {config_path}, which most pulls of containerd 2.1 and later do not honour; to be sure, set it to {directory}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str, config: &str) -> Support {
        let runtime = RuntimeVersion::parse(&format!("containerd://{version}")).unwrap();
        support(&runtime, Some(config), "/etc/containerd/certs.d", "/etc/containerd/config.toml")
    }

    const V3_SET: &str =
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n";
    const V2_SET: &str =
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d/\"\n";

    #[test]
    fn config_path_is_found_in_the_table_of_the_files_version() {
        assert_eq!(of("2.4.2", V3_SET), Support::Expected);
        assert_eq!(of("1.7.34", V2_SET), Support::Expected);
        let v2_table_in_v3 = V2_SET.replace("version = 2", "version = 3");
        assert!(matches!(of("2.0.7", &v2_table_in_v3), Support::NotConfigured(_)));
    }

    #[test]
    fn without_config_path_the_message_names_the_file_and_what_to_add() {
        let Support::NotConfigured(message) = of("1.7.34", "version = 2\n") else { panic!() };
        assert!(
            message.contains("/etc/containerd/config.toml")
                && message.contains("[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path ="),
            "{message}"
        );
        assert!(matches!(of("2.4.2", "version = 3\n"), Support::Doubtful(_)));
        assert!(matches!(of("1.7.34", "version = 2\nimports = [\"/a/*.toml\"]\n"), Support::Doubtful(_)));
    }

    #[test]
    fn mirrors_are_named_since_config_path_beside_them_would_stop_the_runtime() {
        let mirrors = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m\"]\n";
        let Support::NotConfigured(message) = of("2.4.2", mirrors) else { panic!() };
        assert!(message.contains("registry.mirrors"), "{message}");
    }

    #[test]
    fn a_list_of_directories_is_split_by_some_versions_only() {
        let list = V3_SET.replace("certs.d'", "certs.d:/etc/docker/certs.d'");
        assert!(matches!(of("2.4.2", &list), Support::Doubtful(_)));
        assert_eq!(of("2.0.7", &list), Support::Expected);
        assert!(matches!(of("2.4.2", &V3_SET.replace("certs.d'", "other'")), Support::NotConfigured(_)));
    }

    #[test]
    fn other_runtimes_are_told_and_an_unreadable_file_proves_nothing() {
        let crio = RuntimeVersion::parse("cri-o://1.36.0").unwrap();
        assert!(matches!(support(&crio, None, "/d", "/c"), Support::OtherRuntime(_)));
        assert_eq!(of("1.7.34", "version = "), Support::Expected);
    }
}
