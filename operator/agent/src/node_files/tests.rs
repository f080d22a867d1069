//! Tests of two agents on one node.

use super::*;
use crate::files::Lock;

fn wish(registries: &[&str]) -> Wish {
    let place = registries.iter().map(|registry| registry.parse().unwrap()).collect();
    Wish { place, keep: BTreeSet::new(), format: Format::HostsToml(Settings { port: 909, dial_timeout: true }) }
}

struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(node.0.path().join("certs.d")).unwrap();
        node
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn agent(&self) -> NodeFiles {
        NodeFiles::new(&self.0.path().join("certs.d"), "/d".to_owned(), &self.state(), Metrics::default())
    }

    fn has(&self, registry: &str) -> bool {
        self.0.path().join("certs.d").join(registry).exists()
    }
}

fn problems(placed: &Placed) -> Vec<&'static str> {
    placed.files.values().filter_map(|file| Some(file.as_ref().err()?.reason)).collect()
}

#[tokio::test]
async fn n2_a_second_agent_writes_nothing_says_nothing_and_takes_over_as_soon_as_the_first_ends() {
    let node = Node::new();
    let (mut first, mut second) = (node.agent(), node.agent());
    first.reconcile(wish(&["docker.io"])).await.unwrap();
    let seen = second.reconcile(wish(&["docker.io", "ghcr.io"])).await.unwrap();
    assert_eq!(problems(&seen), [""; 0]);
    assert_eq!(seen.files.keys().map(RegistryName::as_str).collect::<Vec<_>>(), ["docker.io"], "what the first wrote");
    assert!(!node.has("ghcr.io"));
    let ends = async { drop(first) };
    tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(second.taken_over(), ends) }).await.unwrap();
    let placed = second.reconcile(wish(&["docker.io", "ghcr.io"])).await.unwrap();
    assert!(placed.files.len() == 2 && problems(&placed).is_empty() && node.has("ghcr.io"), "{placed:?}");
}

#[tokio::test]
async fn n2_an_agent_that_takes_over_and_cannot_write_says_so_at_once() {
    let node = Node::new();
    let mut first = node.agent();
    let mut second =
        NodeFiles::new(&node.0.path().join("certs.d"), "/other".to_owned(), &node.state(), Metrics::default());
    first.reconcile(wish(&["docker.io"])).await.unwrap();
    second.reconcile(wish(&["docker.io"])).await.unwrap();
    assert!(second.is_behind());
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), second.taken_over()).await.unwrap();
    assert_eq!(problems(&second.reconcile(wish(&["docker.io"])).await.unwrap()), ["RegistryDirChanged"]);
    assert!(!second.is_behind() && !second.is_anothers());
}

#[tokio::test]
async fn n2_an_agent_that_stays_is_named_after_two_minutes() {
    let node = Node::new();
    let _first = Lock::take(&node.state()).unwrap();
    let mut second = node.agent();
    assert_eq!(problems(&second.reconcile(wish(&["docker.io"])).await.unwrap()), [""; 0]);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(121)).await;
    tokio::time::resume();
    assert_eq!(problems(&second.reconcile(wish(&["docker.io"])).await.unwrap()), ["AnotherAgent"]);
    assert!(!node.has("docker.io"));
}

#[tokio::test]
async fn n2_a_state_directory_that_somebody_removed_is_taken_again() {
    let node = Node::new();
    let (mut first, mut second) = (node.agent(), node.agent());
    first.reconcile(wish(&["docker.io"])).await.unwrap();
    std::fs::remove_dir_all(node.state()).unwrap();
    first.reconcile(wish(&["docker.io", "ghcr.io"])).await.unwrap();
    assert!(node.has("ghcr.io"));
    second.reconcile(wish(&["quay.io"])).await.unwrap();
    assert!(!node.has("quay.io"), "two agents wrote at once");
}

#[tokio::test]
async fn n4_of_two_agents_that_stop_for_good_the_one_that_has_the_files_last_takes_them_back() {
    let node = Node::new();
    let (mut first, mut second) = (node.agent(), node.agent());
    first.reconcile(wish(&["docker.io"])).await.unwrap();
    // It was told to stop a moment before the uninstall, and lets the file stay.
    let ends = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(node.has("docker.io"));
        drop(first);
    };
    let (withdrawn, ()) = tokio::join!(second.withdraw_all(), ends);
    withdrawn.unwrap();
    assert!(!node.has("docker.io"));
}
