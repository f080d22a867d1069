//! The cluster that all states are measured on: nodes with Tidepool and without it, each with either runtime, behind
//! links that are slow; and one with a fast link that has the members.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidepool_tests::{
    Cluster, ClusterOptions, Containerd, ImageSpec, NodeOptions, Rate, Registry, StandIn, repository,
};

use crate::state::Renew;

/// Nodes with Tidepool and, beside each, one without that has the same runtime.
pub(crate) const PAIRS: [(usize, usize, Containerd); 2] = [(1, 3, Containerd::V2_4), (2, 4, Containerd::V1_7)];
/// The node that operator and members are on.
pub(crate) const SERVERS: usize = 5;
pub(crate) const SYSTEM: &str = "tidepool-system";
pub(crate) const AGENTS: &str = "tidepool-agents";
pub(crate) const MIRROR: &str = "reef";
pub(crate) const REGISTRY: &str = "docker.io";
/// What a link carries, so that an image takes ten seconds.
pub(crate) const LINK_MIB: u64 = 4;
/// Layers of an image; its root file system comes on top.
pub(crate) const LAYERS_MIB: [u32; 5] = [12, 10, 8, 6, 2];
/// How many members the mirror has.
pub(crate) const MEMBERS: u32 = 2;
/// Bytes of the volumes of a node, together.
pub(crate) const VOLUMES: &str = "1g";
/// How long nodes may take to pull through the mirror again once a fault is over.
const AGAIN: Duration = Duration::from_secs(150);
const MIRROR_LABEL: &str = "tidepool.dev/mirror=reef";
const AGENT_LABEL: &str = "app.kubernetes.io/component=agent";

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    images: AtomicU32,
    warm: AtomicU32,
    /// How long pulls of the plain nodes took with upstream untouched, the last of each runtime.
    usual: Mutex<Vec<(Containerd, Duration)>>,
}

/// A member's pod.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) address: String,
    pub(crate) uid: String,
}

impl Stage {
    /// Boots and installs, or gives `None` where no cluster can run.
    pub(crate) fn set() -> Result<Option<Self>> {
        let slow = |containerd| {
            let rate = Some(Rate::mib_per_second(LINK_MIB));
            NodeOptions { containerd, rate, in_memory: true, ..NodeOptions::default() }
        };
        let node_options: BTreeMap<usize, NodeOptions> = PAIRS
            .iter()
            .flat_map(|(with, plain, runtime)| [*with, *plain].map(|node| (node, slow(*runtime))))
            .collect();
        let archive = std::env::var_os("IMAGE_ARCHIVE").map(PathBuf::from).context("$IMAGE_ARCHIVE names no image")?;
        let (archives, stand_ins) = (vec![archive], vec![StandIn::docker_hub()]);
        let options = ClusterOptions { nodes: SERVERS, node_options, archives, stand_ins, ..ClusterOptions::default() };
        let Some(cluster) = Cluster::for_suite(options)? else { return Ok(None) };
        if !cluster.has_nodes() {
            println!("SKIPPED: the fault matrix needs nodes of its own, and $KUBECONFIG names another cluster");
            return Ok(None);
        }
        let stage = Self { cluster, images: AtomicU32::new(0), warm: AtomicU32::new(0), usual: Mutex::default() };
        stage.install().with_context(|| stage.cluster.diagnose())?;
        Ok(Some(stage))
    }

    fn install(&self) -> Result<()> {
        // Small, and all of it a file system of its own, so that it can be full.
        let volumes = self.volumes()?;
        self.cluster.in_node(
            SERVERS,
            &["mount", "-t", "tmpfs", "-o", &format!("size={VOLUMES},mode=755"), "tmpfs", &volumes],
        )?;
        self.cluster.in_node(SERVERS, &["sh", "-c", &format!("mkdir $(seq -f {volumes}/%g 12)")])?;
        for (with, plain, _) in PAIRS {
            for node in [with, plain] {
                self.cluster.kubectl(&["taint", "node", &format!("node{node}"), "matrix=puller:NoSchedule"])?;
            }
            self.cluster.kubectl(&["label", "node", &format!("node{plain}"), "tidepool.dev/exclude=true"])?;
        }
        let chart = repository().join("charts/tidepool").display().to_string();
        let install = ["install", "tidepool", &chart, "-n", SYSTEM, "--create-namespace"];
        self.cluster.helm(&[&install[..], &["--set", "operator.replicas=1", "--wait", "--timeout", "4m"]].concat())?;
        self.cluster.apply(&self.mirror()?.to_string())?;
        self.cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror", MIRROR, "--timeout=180s"])?;
        self.registry()?.push(&ImageSpec::new("matrix/tiny", "1"))?;
        self.settle()?;
        for (_, plain, _) in PAIRS {
            let file = self.cluster.certs_d(plain)?.join(REGISTRY);
            ensure!(!file.exists(), "node{plain} is meant to be without Tidepool and has {}", file.display());
        }
        Ok(())
    }

    fn mirror(&self) -> Result<Value> {
        let authority = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "test-authority", "namespace": SYSTEM},
            "data": {"ca.crt": self.cluster.authority()?},
        });
        let tls = json!({"caRef": {"kind": "ConfigMap", "name": "test-authority", "key": "ca.crt"}});
        let mirror = json!({
            "apiVersion": "tidepool.dev/v1alpha1", "kind": "RegistryMirror", "metadata": {"name": MIRROR},
            "spec": {"upstreams": [{"registry": REGISTRY, "tls": tls}],
                     "storage": {"type": "Volume", "volume": {"size": "448Mi"}},
                     "proxy": {"replicas": MEMBERS}},
        });
        Ok(json!({"apiVersion": "v1", "kind": "List", "items": [authority, mirror]}))
    }

    pub(crate) fn registry(&self) -> Result<Registry<'_>> {
        self.cluster.registry(REGISTRY)
    }

    /// The folder of the members' volumes.
    pub(crate) fn volumes(&self) -> Result<String> {
        Ok(self.cluster.folder()?.join(format!("node{SERVERS}/volumes")).display().to_string())
    }

    /// A new image that nobody has pulled yet, by its name for pulls.
    pub(crate) fn fresh(&self) -> Result<String> {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        self.push(&format!("matrix/cold{number}"))
    }

    /// An image that the mirror keeps, by its name for pulls.
    pub(crate) fn warm(&self) -> Result<String> {
        let name = format!("matrix/warm{}", self.warm.load(Ordering::Relaxed));
        let image = format!("{REGISTRY}/{name}:1");
        if !self.brought_through(SERVERS, &image)? {
            self.push(&name)?;
            let kept = || self.brought_through(SERVERS, &image);
            self.cluster.wait_until(AGAIN, "pull through the mirror by the servers' node", kept)?;
        }
        Ok(image)
    }

    /// What a pull of a plain node takes when upstream is as it should be; what the link carries before there was one.
    pub(crate) fn usual(&self, runtime: Containerd) -> Duration {
        let noted = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        let last = noted.iter().rev().find(|(of, _)| *of == runtime).map(|(_, took)| *took);
        last.unwrap_or(Duration::from_secs(u64::from(LAYERS_MIB.iter().sum::<u32>()) / LINK_MIB + 2))
    }

    pub(crate) fn note_usual(&self, runtime: Containerd, took: Duration) {
        self.usual.lock().unwrap_or_else(PoisonError::into_inner).push((runtime, took));
    }

    /// Has the next warm image be another: of this one nodes may hold parts.
    pub(crate) fn spoil_warm(&self) {
        self.warm.fetch_add(1, Ordering::Relaxed);
    }

    fn push(&self, name: &str) -> Result<String> {
        self.registry()?.push(&ImageSpec::new(name, "1").layers(&LAYERS_MIB))?;
        Ok(format!("{REGISTRY}/{name}:1"))
    }

    /// The members that run.
    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let pods = self.cluster.kubectl_json(&["get", "pods", "-n", SYSTEM, "-l", MIRROR_LABEL])?;
        let member = |pod: &Value| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some(Member { address: text(&pod["status"]["podIP"])?, uid: text(&pod["metadata"]["uid"])? })
        };
        let members: Vec<Member> = pods["items"].as_array().into_iter().flatten().filter_map(member).collect();
        ensure!(!members.is_empty(), "there is no member");
        Ok(members)
    }

    /// Makes pods anew, and waits until all nodes with Tidepool pull through the mirror.
    pub(crate) fn recover(&self, renew: Renew) -> Result<()> {
        self.await_api()?;
        match renew {
            Renew::Nobody => {}
            Renew::Members => self.renew(SYSTEM, MIRROR_LABEL)?,
            Renew::Agents => self.renew(AGENTS, AGENT_LABEL)?,
        }
        self.settle()
    }

    pub(crate) fn await_api(&self) -> Result<()> {
        let ready = || Ok(self.cluster.try_kubectl(&["get", "--raw", "/readyz"])?.success);
        self.cluster.wait_until(AGAIN, "API server", ready)
    }

    /// After a state that left something behind: everything of ours is made anew.
    pub(crate) fn recover_from_anything(&self) -> Result<()> {
        self.renew(AGENTS, AGENT_LABEL)?;
        self.recover(Renew::Members)
    }

    pub(crate) fn renew(&self, namespace: &str, label: &str) -> Result<()> {
        let grace = "--grace-period=1";
        self.cluster.kubectl(&[
            "delete",
            "pod",
            "-n",
            namespace,
            "-l",
            label,
            "--wait=true",
            "--timeout=180s",
            grace,
        ])?;
        Ok(())
    }

    /// Makes the members anew.
    pub(crate) fn renew_members(&self) -> Result<()> {
        self.renew(SYSTEM, MIRROR_LABEL)
    }

    /// Waits until all nodes with Tidepool pull through the mirror.
    pub(crate) fn settle(&self) -> Result<()> {
        for node in PAIRS.map(|(with, ..)| with).into_iter().chain([SERVERS]) {
            let what = format!("pull through the mirror by node{node}");
            self.cluster.wait_until(AGAIN, &what, || self.pulls_through(node))?;
        }
        Ok(())
    }

    fn pulls_through(&self, node: usize) -> Result<bool> {
        self.brought_through(node, "docker.io/matrix/tiny:1")
    }

    /// Pulls an image that the node has not, and removes it; says whether all of it came through the mirror.
    fn brought_through(&self, node: usize, image: &str) -> Result<bool> {
        self.cluster.try_in_node(node, &["crictl", "rmi", image])?;
        let before = self.registry()?.log()?.len();
        let pulled = self.cluster.try_pull_within(node, image, Duration::from_secs(30))?.success;
        let client = self.cluster.node_address(node);
        let direct = self.registry()?.log()?.split_off(before).iter().any(|request| request.client == client);
        self.cluster.try_in_node(node, &["crictl", "rmi", image])?;
        Ok(pulled && !direct)
    }
}
