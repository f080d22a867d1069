//! Tests of the harness itself: what other suites take for granted.

#![allow(clippy::unwrap_used, reason = "a test program fails by it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tidepool_tests::{Cluster, ClusterOptions, Egress, ImageSpec, Request, StandIn, until};

#[path = "harness/nodes.rs"]
mod nodes;
#[path = "harness/outside.rs"]
mod outside;
#[path = "harness/private.rs"]
mod private;

/// One cluster for the tests that only use it. It goes away with this process.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let options = || {
        let private = StandIn::with_realm("private.test", "login.test").user("me", "right").private("team/");
        let stand_ins = vec![
            StandIn::docker_hub().user("payer", "paid"),
            StandIn::ghcr(),
            private,
            StandIn::basic("basic.test").user("me", "right"),
            StandIn::open("mutual.test").client_certificate(),
            StandIn::open("far.test").hidden(),
        ];
        let egress = Some(Egress::new("out.test", "traveller", "toll"));
        ClusterOptions { stand_ins, egress, ..ClusterOptions::default() }
    };
    let cluster = CLUSTER.get_or_init(|| Cluster::for_suite(options()).unwrap()).as_ref();
    if cluster.is_some_and(|cluster| !cluster.has_nodes()) {
        println!("SKIPPED: tests of the harness, since KUBECONFIG names a cluster that it did not start");
    }
    cluster.filter(|cluster| cluster.has_nodes())
}

fn served(requests: &[Request], digest: &str) -> usize {
    requests.iter().filter(|request| request.served() && request.reference() == digest).count()
}

#[test]
fn a_pod_runs_an_image_that_was_pulled_with_a_token() {
    let Some(cluster) = cluster() else { return };
    let hub = cluster.registry("docker.io").unwrap();
    let image = hub.push(&ImageSpec::new("library/first", "1").layers(&[3]).index()).unwrap();
    let start = || cluster.run_pod("first", 1, "first:1", Duration::from_secs(180));
    let ((), requests) = hub.requests_during(start).unwrap();
    for blob in image.layers.iter().chain([&image.top, &image.manifest, &image.config]) {
        assert_eq!(served(&requests, &blob.digest), 1, "{blob:?} in {requests:#?}");
    }
    assert!(requests.iter().any(Request::is_token));
    assert!(requests.iter().all(|request| request.authorized || request.status == 401 || request.is_token()));
    assert_eq!(cluster.kubectl(&["exec", "first", "--", "cat", "/etc/image"]).unwrap(), "library/first:1");
}

#[test]
fn a_registry_that_is_off_refuses_and_one_that_is_on_again_serves() {
    let Some(cluster) = cluster() else { return };
    let ghcr = cluster.registry("ghcr.io").unwrap();
    ghcr.push(&ImageSpec::new("team/switched", "1")).unwrap();
    let image = "ghcr.io/team/switched:1";
    cluster.pull(1, image).unwrap();
    ghcr.off().unwrap();
    let refused = cluster.try_pull(2, image).unwrap();
    assert!(!refused.success && refused.stderr.contains("connection refused"), "{refused:?}");
    ghcr.on().unwrap();
    cluster.pull(2, image).unwrap();
}

#[test]
fn a_removed_image_is_fetched_again_as_a_whole() {
    let Some(cluster) = cluster() else { return };
    let hub = cluster.registry("docker.io").unwrap();
    let image = hub.push(&ImageSpec::new("library/removed", "1").layers(&[1])).unwrap();
    for _ in 0..2 {
        let pull = || cluster.pull(2, "docker.io/library/removed:1");
        let ((), requests) = hub.requests_during(pull).unwrap();
        for layer in &image.layers {
            assert_eq!(served(&requests, &layer.digest), 1, "{requests:#?}");
        }
        cluster.remove_image(2, "docker.io/library/removed:1").unwrap();
    }
}

#[test]
fn pods_find_services_stand_ins_and_nothing_else() {
    let Some(cluster) = cluster() else { return };
    let hub = cluster.registry("docker.io").unwrap();
    hub.push(&ImageSpec::new("library/names", "1")).unwrap();
    cluster.run_pod("names", 2, "names:1", Duration::from_secs(180)).unwrap();
    let found = |name: &str| {
        cluster.try_kubectl(&["exec", "names", "--", "nslookup", name]).map(|output| output.success).unwrap()
    };
    assert!(found("kubernetes.default.svc.cluster.local"));
    assert!(found("registry-1.docker.io"));
    assert!(!found("example.com"));
}

#[test]
fn a_claim_is_bound_to_a_folder_that_an_ordinary_user_writes() {
    let Some(cluster) = cluster() else { return };
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/store", "1")).unwrap();
    cluster.apply(include_str!("harness/claim.yaml")).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/store", "--timeout=180s"]).unwrap();
    cluster.kubectl(&["exec", "store", "--", "sh", "-c", "echo kept > /store/file"]).unwrap();
}

#[test]
fn the_host_keeps_its_own_folders_and_names() {
    let Some(cluster) = cluster() else { return };
    fs::write(cluster.certs_d(1).unwrap().join("seen"), "").unwrap();
    cluster.in_node(1, &["test", "-e", "/etc/containerd/certs.d/seen"]).unwrap();
    assert!(!cluster.try_in_node(2, &["test", "-e", "/etc/containerd/certs.d/seen"]).unwrap().success);
    assert!(!Path::new("/etc/containerd/certs.d/seen").exists());
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains("registry-1.docker.io"));
}

/// A process that owns a cluster of one node.
struct Owner {
    process: Child,
    folder: PathBuf,
}

impl Owner {
    fn start(name: &str) -> Self {
        let folder = PathBuf::from(format!("/tmp/tidepool-{name}-{}", std::process::id()));
        let process = Command::new(env!("CARGO_BIN_EXE_tidepool-cluster"))
            .args(["up", "--hold", "--nodes", "1", "--dir"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let owner = Self { process, folder };
        until(Duration::from_secs(240), Duration::from_millis(100), "second cluster", || {
            Ok(owner.folder.join("state.json").exists())
        })
        .unwrap();
        owner
    }

    fn traces(&self) -> Traces {
        Traces::of(&self.folder)
    }
}

#[test]
fn nothing_is_left_when_the_owner_is_killed_and_another_cluster_does_not_notice() {
    let Some(cluster) = cluster() else { return };
    let mut owner = Owner::start("killed");
    let traces = owner.traces();
    assert!(traces.processes() > 8);
    owner.process.kill().unwrap();
    owner.process.wait().unwrap();
    eventually("end of the cluster", || !owner.folder.exists());
    traces.assert_gone();
    cluster.kubectl(&["get", "--raw", "/readyz"]).unwrap();
}

#[test]
fn what_is_left_when_the_guard_is_killed_too_is_swept() {
    let Some(_) = cluster() else { return };
    let mut owner = Owner::start("unguarded");
    let traces = owner.traces();
    let guard = find_process(&format!("guard --dir {}", owner.folder.display()));
    let killed = Command::new("kill").args(["-KILL", &guard]).status().unwrap();
    assert!(killed.success());
    owner.process.kill().unwrap();
    owner.process.wait().unwrap();
    eventually("end of the processes", || traces.processes() == 0);
    let sweep = Command::new(env!("CARGO_BIN_EXE_tidepool-cluster")).arg("sweep").status().unwrap();
    assert!(sweep.success() && !owner.folder.exists());
    traces.assert_gone();
}

#[test]
fn a_cluster_that_was_left_up_is_taken_away_by_down() {
    let Some(_) = cluster() else { return };
    let folder = PathBuf::from(format!("/tmp/tidepool-left-{}", std::process::id()));
    let run = |command: &str| {
        // Piped and read to its end: nothing of a cluster that is left up may hold the pipe open.
        let mut run = Command::new(env!("CARGO_BIN_EXE_tidepool-cluster"));
        run.args(command.split(' ')).arg("--dir").arg(&folder).output().unwrap()
    };
    assert!(run("up --nodes 1").status.success());
    let traces = Traces::of(&folder);
    assert!(traces.processes() > 8);
    assert!(run("down").status.success());
    assert!(!folder.exists());
    traces.assert_gone();
}

/// What a cluster has outside its state folder.
struct Traces {
    folder: PathBuf,
    id: String,
    namespace: PathBuf,
}

impl Traces {
    fn of(folder: &Path) -> Self {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let init: serde_json::Value = serde_json::from_str(&read("init")).unwrap();
        Self {
            folder: folder.to_path_buf(),
            id: read("id"),
            namespace: fs::read_link(format!("/proc/{}/ns/pid", init["pid"])).unwrap(),
        }
    }

    fn processes(&self) -> usize {
        let found = |entry: &fs::DirEntry| fs::read_link(entry.path().join("ns/pid"));
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter(|entry| found(entry).is_ok_and(|namespace| namespace == self.namespace)).count()
    }

    fn assert_gone(&self) {
        assert_eq!(self.processes(), 0);
        let root = PathBuf::from("/sys/fs/cgroup");
        let groups = fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path()).chain([root.clone()]);
        for group in groups.map(|group| group.join(format!("tidepool-{}", self.id))) {
            assert!(!group.exists(), "{} is left", group.display());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&*self.folder.to_string_lossy()));
    }
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    until(Duration::from_secs(120), Duration::from_millis(100), what, || Ok(done())).unwrap();
}

/// Number of the only process whose command line ends so.
fn find_process(command: &str) -> String {
    let line = |entry: &fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
    let mut entries = fs::read_dir("/proc").unwrap().flatten();
    let found = entries.find(|entry| line(entry).replace('\0', " ").trim_end().ends_with(command)).unwrap();
    found.file_name().into_string().unwrap()
}
