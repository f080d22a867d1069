//! Tests of files on a real file system.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use super::*;

mod cases;
mod crashes;
mod drop_in;
mod hindered;
mod kills;
mod placed;
mod trouble;

const SETTINGS: Settings = Settings { port: 909, dial_timeout: true };
const THEIRS: &str = "server = \"https://ghcr.io\"\n\n# mirror of the company\n[host.\"https://m.example\"]\n";

/// What is on disk: path to content and mode; directories end in `/`.
type Tree = BTreeMap<PathBuf, (Vec<u8>, u32)>;

struct Node {
    temp: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { temp: tempfile::tempdir().unwrap() };
        fs::create_dir(node.root()).unwrap();
        node
    }

    /// Somebody else's ghcr.io, certificates of a private registry, and an empty directory.
    fn lived_in() -> Self {
        let node = Self::new();
        node.put("ghcr.io/hosts.toml", THEIRS);
        fs::set_permissions(node.root().join("ghcr.io/hosts.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        node.put("reg.example:5000/ca.crt", "pem");
        fs::create_dir(node.root().join("quay.io")).unwrap();
        node.put("other.io/hosts.toml", "# not ours to touch\n");
        node
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("certs.d")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Waits for the lock: a process that another test starts at this moment has it, too, between its fork and its exec.
    fn open(&self) -> Files {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match Files::open(&self.root(), &self.temp.path().join("state")) {
                Err(FileError::Locked { .. }) if Instant::now() < until => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    fn place(&self, registries: &[&str]) -> Outcome {
        self.open().reconcile(&set(registries), &BTreeSet::new(), &SETTINGS)
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
                let bytes = if metadata.is_dir() { b"/".to_vec() } else { fs::read(&path).unwrap() };
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                tree.insert(path, (bytes, metadata.permissions().mode()));
            }
        }
        tree
    }
}

fn set(registries: &[&str]) -> BTreeSet<RegistryName> {
    registries.iter().map(|registry| registry.parse().unwrap()).collect()
}

const ALL: [&str; 5] = ["docker.io", "ghcr.io", "quay.io", "reg.example:5000", "new.example:5000"];
