//! Processes of a node's pods, as the kernel describes them.

use std::collections::{BTreeMap, BTreeSet};

use tidepool_tests::Cluster;

/// Kinds of file systems that are the kernel's own or a container's own memory.
const KERNELS: [&str; 7] = ["proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "tmpfs"];

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    number: String,
    status: BTreeMap<String, String>,
    pub(super) mounts: Vec<Mount>,
}

/// Something that it sees at `target`.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) target: String,
    pub(super) read_only: bool,
    kind: String,
}

/// The processes of a program in the pods of all nodes, which share their numbers of processes.
pub(super) fn processes(cluster: &Cluster, program: &str) -> Vec<Process> {
    let script = r#"for process in /proc/[0-9]*; do
        line=$(tr '\0' ' ' <$process/cmdline 2>/dev/null) || continue
        case $line in *" probe "*) ;; "$0 "*) echo ${process#/proc/};; esac
        done; true"#;
    let found = cluster.in_node(1, &["sh", "-c", script, program]).unwrap();
    found.split_whitespace().map(|number| process(cluster, number)).collect()
}

fn process(cluster: &Cluster, number: &str) -> Process {
    let read = |file: &str| cluster.in_node(1, &["cat", &format!("/proc/{number}/{file}")]).unwrap();
    let status = read("status");
    let pairs = status.lines().filter_map(|line| line.split_once(':'));
    let status = pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    Process { number: number.to_owned(), status, mounts: read("mountinfo").lines().map(mount).collect() }
}

/// `36 35 98:0 /root /target rw,noatime master:1 - ext4 /dev/root rw,errors=continue`.
fn mount(line: &str) -> Mount {
    let (left, right) = line.split_once(" - ").unwrap();
    let fields: Vec<&str> = left.split(' ').collect();
    let kind = right.split(' ').next().unwrap().to_owned();
    Mount { target: fields[4].to_owned(), read_only: fields[5].split(',').any(|option| option == "ro"), kind }
}

impl Process {
    pub(super) fn status(&self, key: &str) -> &str {
        self.status.get(key).map_or("", String::as_str)
    }

    /// Real, effective, saved and file system's user.
    pub(super) fn users(&self) -> Vec<&str> {
        self.status("Uid").split_whitespace().collect()
    }

    /// What it could write, but for the kernel's own.
    pub(super) fn writable(&self) -> BTreeSet<String> {
        let own = |mount: &&Mount| ["/proc", "/dev", "/sys"].iter().any(|top| mount.target.starts_with(top));
        let kernels = |mount: &&Mount| KERNELS.contains(&mount.kind.as_str()) && own(mount);
        let writable = self.mounts.iter().filter(|mount| !mount.read_only && !kernels(mount));
        writable.map(|mount| mount.target.clone()).collect()
    }

    /// The sockets among all files it sees.
    pub(super) fn sockets(&self, cluster: &Cluster) -> String {
        let root = format!("/proc/{}/root", self.number);
        let find =
            ["find", &format!("{root}/"), "-path", &format!("{root}/proc"), "-prune", "-o", "-type", "s", "-print"];
        let found = cluster.in_node(1, &find).unwrap();
        found.trim().replace(&root, "")
    }
}
