//! The configurations of real nodes, in `tests/runtime/`, and what is said of each.

use super::*;
use crate::node::RuntimeVersion;

/// What the verdict is, without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Expected,
    Doubtful,
    NotConfigured,
    Native,
    OtherRuntime,
}

use Kind::{Doubtful, Expected, Native, NotConfigured, OtherRuntime};

const DIRECTORY: &str = "/etc/containerd/certs.d";
const CONFIG: &str = "/etc/containerd/config.toml";

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/runtime/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn node(runtime: &str) -> NodeFacts {
    NodeFacts { runtime: RuntimeVersion::parse(runtime), ..NodeFacts::default() }
}

fn registries() -> Vec<RegistryName> {
    vec![RegistryName::docker_hub(), "ghcr.io".parse().unwrap()]
}

fn judged(node: &NodeFacts, files: &ConfigFiles, directory: &str) -> (Kind, String) {
    let place = Place { directory, config: CONFIG, port: 909 };
    let support = support(node, files, place, &registries()).unwrap();
    let kind = match support {
        Support::Expected => Expected,
        Support::Doubtful(_) => Doubtful,
        Support::NotConfigured(_) => NotConfigured,
        Support::Native(_) => Native,
        Support::OtherRuntime(_) => OtherRuntime,
    };
    (kind, support.advice().unwrap_or_default().to_owned())
}

fn of(version: &str, text: &str) -> (Kind, String) {
    let files = ConfigFiles::of(Content::Text(text.to_owned()));
    judged(&node(&format!("containerd://{version}")), &files, DIRECTORY)
}

/// Fixture, version of containerd, verdict, and what the message must say.
const NODES: [(&str, &str, Kind, &[&str]); 25] = [
    ("containerd-1.7-set", "1.7.34", Expected, &[]),
    ("containerd-1.7-set", "2.1.4", Expected, &[]),
    (
        "containerd-1.7-default",
        "1.7.34",
        NotConfigured,
        &["[plugins.\"io.containerd.grpc.v1.cri\".registry]", "restart"],
    ),
    ("containerd-2-set", "2.1.4", Expected, &[]),
    (
        "containerd-2-default",
        "2.1.4",
        NotConfigured,
        &["[plugins.\"io.containerd.cri.v1.images\".registry]", DIRECTORY],
    ),
    (
        "containerd-2-default",
        "2.4.2",
        Doubtful,
        &["list of two directories", "config_path = \"/etc/containerd/certs.d\""],
    ),
    ("containerd-2.2-default", "2.2.7", Doubtful, &["/etc/containerd/certs.d:/etc/docker/certs.d", "alone"]),
    ("v2-table-in-v3", "2.1.4", NotConfigured, &["version 3", "ignores", "io.containerd.cri.v1.images"]),
    ("v2-table-in-v3", "2.2.7", Doubtful, &["version 3", "ignores", "io.containerd.cri.v1.images"]),
    ("v2-table-in-v3", "2.4.2", Expected, &[]),
    ("v2-table-in-v4", "2.4.2", Doubtful, &["version 4", "ignores", "io.containerd.cri.v1.images"]),
    ("no-version", "1.7.34", NotConfigured, &["no version line", "version = 2"]),
    ("no-version", "2.1.4", Expected, &[]),
    ("eks-al2023", "2.1.4", Expected, &[]),
    ("eks-al2", "1.7.34", Expected, &[]),
    ("eks-al2", "2.1.4", Expected, &[]),
    ("aks", "1.7.34", Expected, &[]),
    ("kind", "1.7.34", NotConfigured, &["sets no config_path"]),
    ("kind", "2.2.0", Expected, &[]),
    ("minikube", "1.7.34", Expected, &[]),
    ("minikube", "2.2.0", Expected, &[]),
    ("gke", "1.7.34", NotConfigured, &["registry.mirrors", "hosts.toml files"]),
    ("both", "2.4.2", NotConfigured, &["does not start", "registry.mirrors"]),
    ("old-tls", "1.7.34", NotConfigured, &["does not start", "tls"]),
    ("old-tls", "2.4.2", Expected, &[]),
];

#[test]
fn n5_each_nodes_configuration_is_judged_as_containerd_reads_it() {
    for (name, version, kind, says) in NODES {
        let (got, message) = of(version, &fixture(name));
        assert_eq!(got, kind, "{name} with {version}: {message}");
        for text in says {
            assert!(message.contains(text), "{name} with {version} does not say {text:?}: {message}");
        }
    }
}

#[test]
fn n5_a_message_that_wants_something_done_fits_and_names_the_file() {
    for (name, version, kind, _) in NODES {
        let (_, message) = of(version, &fixture(name));
        assert!(message.chars().count() < 1024, "{name}: {message}");
        assert_eq!(kind != Expected, message.contains(CONFIG), "{name} with {version}: {message}");
    }
}

#[test]
fn n5_a_list_of_directories_is_read_where_the_cri_plugin_pulls_by_itself() {
    let list = fixture("containerd-2.2-default");
    for (change, to) in [
        ("discard_unpacked_layers = false", "discard_unpacked_layers = true"),
        ("disable_snapshot_annotations = true", "disable_snapshot_annotations = false"),
        ("max_concurrent_downloads = 3", "max_concurrent_downloads = 10"),
        ("image_pull_with_sync_fs = false", "image_pull_with_sync_fs = true"),
        ("snapshotter = 'overlayfs'", "snapshotter = 'overlayfs'\nuse_local_image_pull = true"),
    ] {
        let changed = list.replace(change, to);
        assert_ne!(changed, list, "{change}");
        assert_eq!(of("2.4.2", &changed).0, Expected, "{to}");
    }
    assert_eq!(of("2.0.7", &list).0, Expected, "before the transfer service");
    let discards_not = fixture("eks-al2023").replace("layers = true", "layers = false");
    assert_eq!(of("2.1.4", &discards_not).0, Doubtful, "users of other peers' mirrors set this");
}

#[test]
fn n5_containerd_2_brings_older_tables_up_and_over_its_own() {
    let images = "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n";
    let cri = |path: &str| format!("[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '{path}'\n");
    let judge = |release: &str, version: u8, text: &str| of(release, &format!("version = {version}\n{text}")).0;
    assert_eq!(judge("2.1.4", 2, images), Expected, "the present table in an older file");
    let both = images.to_owned() + &cri("/opt/certs.d");
    for (release, version, kind) in
        [("2.1.4", 2, NotConfigured), ("2.1.4", 3, Expected), ("2.4.2", 3, NotConfigured), ("2.4.2", 4, Expected)]
    {
        assert_eq!(judge(release, version, &both), kind, "{release}, a file of version {version}");
    }
}

#[test]
fn n5_another_directory_than_the_agents_is_named() {
    let other = fixture("containerd-2-set").replace(DIRECTORY, "/opt/certs.d");
    let (kind, message) = of("2.4.2", &other);
    assert!(kind == NotConfigured && message.contains("agent.registryDir") && message.contains("/opt/certs.d"));
}

fn importing(main: &str, drop_ins: &[&str]) -> ConfigFiles {
    let imported = drop_ins.iter().map(|name| (format!("/etc/containerd/conf.d/{name}.toml"), fixture(name)));
    let imported = imported.map(|(path, text)| (path, Content::Text(text))).collect();
    ConfigFiles { main: Content::Text(fixture(main)), imported, unseen: Vec::new() }
}

#[test]
fn n5_imports_replace_tables_in_1_x_and_are_merged_in_2_x() {
    let judge =
        |version: &str, files: &ConfigFiles| judged(&node(&format!("containerd://{version}")), files, DIRECTORY).0;
    let adds = importing("containerd-1.7-default", &["drop-in"]);
    assert_eq!((judge("1.7.34", &adds), judge("2.1.4", &adds)), (Expected, Expected));
    let about_else = importing("containerd-1.7-set", &["drop-in-other"]);
    assert_eq!(judge("1.7.34", &about_else), NotConfigured, "the drop-in's table is the whole plugin's in 1.x");
    assert_eq!(judge("2.1.4", &about_else), Expected);
    let older_than_main = importing("containerd-2-default", &["drop-in"]);
    assert_eq!(judge("2.1.4", &older_than_main), Expected, "an older drop-in is brought up to the main file's version");
}

#[test]
fn n5_what_cannot_be_read_proves_nothing_and_says_so() {
    let judge = |files: &ConfigFiles| judged(&node("containerd://1.7.34"), files, DIRECTORY);
    let absent = judge(&ConfigFiles::of(Content::Absent));
    assert!(absent.0 == Doubtful && absent.1.contains("agent.runtimeConfigDir"), "{absent:?}");
    let unreadable = judge(&ConfigFiles::of(Content::Unreadable("permission denied".to_owned())));
    assert!(unreadable.0 == Doubtful && unreadable.1.contains("permission denied"), "{unreadable:?}");
    let invalid = of("1.7.34", "version = ");
    assert!(invalid.0 == Doubtful && invalid.1.contains(CONFIG), "{invalid:?}");
    let elsewhere = ConfigFiles { unseen: vec!["/opt/x.toml".to_owned()], ..importing("containerd-1.7-default", &[]) };
    let elsewhere = judge(&elsewhere);
    assert!(elsewhere.0 == Doubtful && elsewhere.1.contains("/opt/x.toml"), "{elsewhere:?}");
    let mut damaged = importing("containerd-1.7-set", &["drop-in"]);
    damaged.imported[0].1 = Content::Text("[".to_owned());
    assert!(judge(&damaged).1.contains("conf.d/drop-in.toml"));
}

#[test]
fn n5_k3s_and_rke2_are_known_by_their_versions_and_told_where_they_look() {
    let k3s = NodeFacts { kubelet: "v1.34.1+k3s1".to_owned(), ..node("containerd://2.1.4-k3s2") };
    let rke2 = NodeFacts { kubelet: "v1.34.1+rke2r1".to_owned(), ..node("containerd://2.1.4-k3s2") };
    for (node, name, data) in [(&k3s, "k3s", "/var/lib/rancher/k3s"), (&rke2, "rke2", "/var/lib/rancher/rke2")] {
        let files = ConfigFiles::of(Content::Text(fixture(name)));
        let folder = format!("{data}/agent/etc/containerd");
        let (kind, message) = judged(node, &ConfigFiles::of(Content::Absent), DIRECTORY);
        assert_eq!(kind, NotConfigured);
        assert!(message.contains(&format!("agent.registryDir={folder}/certs.d")), "{message}");
        assert!(message.contains(&format!("agent.runtimeConfigDir={folder} ")), "{message}");
        assert_eq!(judged(node, &files, &format!("{folder}/certs.d")).0, Expected, "{name}");
    }
}

#[test]
fn n5_systems_with_a_configuration_of_their_own_get_their_snippet() {
    let files = ConfigFiles::of(Content::Absent);
    let talos = NodeFacts { os_image: "Talos (v1.11.2)".to_owned(), ..node("containerd://2.1.4") };
    let (kind, message) = judged(&talos, &files, DIRECTORY);
    assert_eq!(kind, Native);
    assert!(message.contains("  ghcr.io: {endpoints: [\"http://127.0.0.1:909\"]},\n"), "{message}");
    let os_image = "Bottlerocket OS 1.48.0 (aws-k8s-1.33)".to_owned();
    let (kind, message) = judged(&NodeFacts { os_image, ..node("containerd://2.0.6+bottlerocket") }, &files, DIRECTORY);
    assert_eq!(kind, Native);
    let table =
        "[[settings.container-registry.mirrors]]\nregistry = \"docker.io\"\nendpoint = [\"http://127.0.0.1:909\"]\n";
    assert!(message.contains(table), "{message}");
    let gke = NodeFacts { kubelet: "v1.34.1-gke.2980000".to_owned(), ..node("containerd://1.7.27") };
    let (kind, message) = judged(&gke, &ConfigFiles::of(Content::Text(fixture("gke"))), DIRECTORY);
    assert_eq!(kind, NotConfigured);
    assert!(message.contains("registryHosts:\n- server: https://docker.io\n"), "{message}");
    assert_eq!(judged(&gke, &ConfigFiles::of(Content::Text(fixture("aks"))), DIRECTORY).0, Expected, "certs.d is on");
}

#[test]
fn n5_a_snippet_of_many_registries_still_fits_a_message() {
    let talos = NodeFacts { os_image: "Talos (v1.11.2)".to_owned(), ..node("containerd://2.1.4") };
    let os_image = "Bottlerocket OS".to_owned();
    for node in [talos, NodeFacts { os_image, ..node("containerd://2.1.4") }] {
        let many: Vec<RegistryName> = (0..40).map(|n| format!("registry-{n}.example.com").parse().unwrap()).collect();
        let place = Place { directory: DIRECTORY, config: CONFIG, port: 909 };
        let support = support(&node, &ConfigFiles::of(Content::Absent), place, &many).unwrap();
        let message = support.advice().unwrap();
        assert!(message.len() < 1024 && message.contains("and 34 more"), "{message}");
    }
}

#[test]
fn n5_other_runtimes_are_told_and_an_unknown_one_is_waited_for() {
    let files = ConfigFiles::of(Content::Absent);
    assert_eq!(judged(&node("cri-o://1.36.0"), &files, DIRECTORY).0, OtherRuntime);
    let place = Place { directory: DIRECTORY, config: CONFIG, port: 909 };
    assert_eq!(support(&NodeFacts::default(), &files, place, &[]), None);
}
