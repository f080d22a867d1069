//! A registry directory that cannot be written, for real: in a mount namespace, which the agent shares.

use super::*;

const NAMESPACE: [&str; 2] = ["--map-root-user", "--mount"];

/// The agent looks at its files every 30 s.
const RESYNC: Duration = Duration::from_secs(45);

#[test]
fn n2_a_read_only_and_a_full_directory_are_reported_and_heal_when_the_trouble_ends() {
    let possible = Command::new("unshare").args(NAMESPACE).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        writeln!(std::io::stderr(), "SKIPPED: an agent with a read-only directory needs unshare").unwrap();
        return;
    }
    let mut command = Command::new("unshare");
    command.args(NAMESPACE).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "trouble::the_trouble", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The mirror's state, reason and message.
fn mirror(node: &Node) -> [String; 3] {
    let mirror = &node.cluster.status()["mirrors"][0];
    ["state", "reason", "message"].map(|key| mirror[key].as_str().unwrap_or_default().to_owned())
}

fn says(node: &Node, state: &str, reason: &str) -> bool {
    mirror(node)[..2] == [state, reason]
}

fn sh(script: &str, path: &Path) {
    assert!(Command::new("sh").args(["-euc", script, "sh"]).arg(path).status().unwrap().success(), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a namespace of its own, in which the test above starts it"]
async fn the_trouble() {
    let mut node = Node::without_agent().await;
    node.cluster.change(|objects| objects.secret = Some(entries(&[&node.authority], &["u"])));
    let registry = node.path("registry");
    sh(
        "mount -t tmpfs -o size=64k,nr_inodes=64 tmpfs \"$1\"; mkdir \"$1/ghcr.io\"; mount -o remount,ro \"$1\"",
        &registry,
    );
    node.start_agent();
    node.until("named", |node| says(node, "Unsupported", "ReadOnlyFileSystem")).await;
    let [_, _, message] = mirror(&node);
    assert!(message.contains("agent.registryDir") && message.contains("tidepool.dev/exclude"), "{message}");
    assert_eq!(node.cluster.condition("Ready").0, "False");
    assert!(!node.has_files() && node.pull().await.contains("member GET /v2/"));
    sh("mount -o remount,rw \"$1\"", &registry);
    node.within(RESYNC, "healed", |node| node.has_files() && says(node, "Active", "Serving")).await;
    assert!(is(&node.cluster, "Ready", "True", "Configured"));
    full(&node, &registry).await;
}

async fn full(node: &Node, registry: &Path) {
    let filler = registry.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    assert!((0..1024).any(|_| file.write_all(&[0; 512]).is_err()), "this disk is not small");
    let change = |registries: &[&str]| node.cluster.change(|objects| objects.document = document_of(registries));
    change(&["docker.io", "ghcr.io", "quay.io"]);
    node.until("named", |node| says(node, "Pending", "DiskFull")).await;
    assert!(mirror(node)[2].contains("df -i"), "{:?}", mirror(node));
    assert!(node.has_files() && !registry.join("quay.io").exists());
    drop(file);
    fs::remove_file(filler).unwrap();
    // Any event will do, so that the test need not wait for the next look.
    node.cluster.change(|objects| objects.labels = json!({"a": "b"}));
    node.within(RESYNC, "healed", |node| {
        registry.join("quay.io/hosts.toml").exists() && says(node, "Active", "Serving")
    })
    .await;
}
