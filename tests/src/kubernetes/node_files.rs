//! The files of a node: mounts that make well-known paths its own, containerd, CNI and kubelet configuration.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::containerd;
use super::node::Surroundings;
use crate::addresses;
use crate::machine::Machine;

/// Settings that kubelet sets for the whole machine; on a node they are files of its own.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Folders of a node that lie in its home on the host, where tests see them: `<home>/etc/containerd` and so on.
const OWN_FOLDERS: [&str; 5] =
    ["/etc/containerd", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/lib/tidepool"];

/// Writes the files that the mounts and daemons of a node need.
pub(crate) fn write(node: &Machine, number: usize, around: &Surroundings<'_>) -> Result<()> {
    let home = node.home();
    let mut files = vec![
        ("etc/containerd/config.toml".to_owned(), containerd::config(node, around.options_of(number), around.tools)),
        ("cni/10-bridge.conflist".to_owned(), network(number).to_string()),
        ("names".to_owned(), format!("127.0.0.1 localhost {}\n{}", node.name(), around.hosts)),
        ("resolver".to_owned(), format!("nameserver {}\noptions timeout:1 attempts:2\n", addresses::CONTROL_PLANE)),
        ("authority.crt".to_owned(), around.authority.to_owned()),
        (
            "crictl.yaml".to_owned(),
            "runtime-endpoint: unix:///run/containerd/containerd.sock\ntimeout: 120\n".to_owned(),
        ),
    ];
    files.extend(SYSCTLS.map(|(name, value)| (format!("sysctl/{name}"), value.to_owned())));
    fs::create_dir_all(home.join("etc/containerd/certs.d")).context("cannot make the folder of registry mirrors")?;
    for (name, text) in files {
        let file = home.join(name);
        fs::create_dir_all(file.parent().unwrap_or(home))
            .with_context(|| format!("no folder for {}", file.display()))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The script that makes `/etc`, `/run`, `/var/lib` and `/var/log` the node's own and leaves the host's untouched.
pub(crate) fn mounts(node: &Machine, in_memory: bool) -> String {
    let home = node.home().display();
    let mut script = format!(
        "mount --make-rshared /\n\
         mount -t tmpfs -o mode=755 tmpfs /run\n\
         mkdir -p /run/containerd /run/lock /run/netns\n\
         over() {{\n\
           mkdir -p {home}/over$1/upper {home}/over$1/work\n\
           mount -t overlay -o lowerdir=$1,upperdir={home}/over$1/upper,workdir={home}/over$1/work overlay $1\n\
         }}\n\
         over /etc\nover /var/lib\nover /var/log\n\
         cat /etc/ssl/certs/ca-certificates.crt {home}/authority.crt > {home}/authorities.crt 2>/dev/null || :\n\
         mkdir -p /etc/ssl/certs\n\
         put() {{ rm -f $2; cp {home}/$1 $2; }}\n\
         put authorities.crt /etc/ssl/certs/ca-certificates.crt\n\
         put names /etc/hosts\nput resolver /etc/resolv.conf\nput crictl.yaml /etc/crictl.yaml\n"
    );
    for folder in OWN_FOLDERS {
        script.push_str(&format!("mkdir -p {home}{folder} {folder}\nmount --bind {home}{folder} {folder}\n"));
    }
    if in_memory {
        script.push_str("mount -t tmpfs -o mode=711 tmpfs /var/lib/containerd\n");
    }
    for (name, _) in SYSCTLS {
        script.push_str(&format!("mount --bind {home}/sysctl/{name} /proc/sys/{name}\n"));
    }
    script
}

/// Pods on a bridge of their node, reached from other nodes by plain routes.
fn network(number: usize) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": addresses::pods_of(number)}]],
                      "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// kubelet's configuration; what differs from the defaults is for small machines and quick tests.
pub(crate) fn kubelet(node: &Machine, number: usize, around: &Surroundings<'_>) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": addresses::node(number),
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}/{}", around.control_group, node.name()),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": [addresses::CONTROL_PLANE],
        "healthzBindAddress": "127.0.0.1",
        "nodeStatusUpdateFrequency": "2s",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "registryPullQPS": 0,
        "serializeImagePulls": false,
        "volumePluginDir": node.home().join("volume-plugins"),
    })
}
