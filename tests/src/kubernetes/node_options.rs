//! How a node differs from an ordinary one: its runtime, its registry configuration, its link.

/// What kind of node to make.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// The runtime's version.
    pub containerd: Containerd,
    /// What `config.toml` has in place of its registry table, header and all; empty for nothing.
    pub registry_config: Option<String>,
    /// How much the node receives at most; without one as much as the machine carries.
    pub rate: Option<Rate>,
    /// Whether what the runtime keeps is in memory: pulls are then timed without the machine's disk, which runtimes sync.
    pub in_memory: bool,
}

/// A version of containerd that nodes may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Containerd {
    /// The one that ordinary nodes have.
    #[default]
    V2_4,
    /// The last of the first major version.
    V1_7,
}

impl Containerd {
    /// The folder beside the other peers in which the programs of this version lie, if not among them.
    pub(crate) fn folder(self) -> Option<&'static str> {
        match self {
            Self::V2_4 => None,
            Self::V1_7 => Some("containerd17"),
        }
    }
}

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

/// What a link may send at once: more than the largest packet that virtual links hand over.
const BURST: &str = "256kb";
/// How long a packet may wait for its turn before it is dropped.
const QUEUE: &str = "50ms";

impl Rate {
    /// So many bytes a second.
    pub fn bytes_per_second(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many MiB a second.
    pub fn mib_per_second(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The command that lets a network interface send no more than this.
    pub(crate) fn limit(self, interface: &str) -> String {
        // `bps` is bytes a second here.
        format!("tc qdisc replace dev {interface} root tbf rate {}bps burst {BURST} latency {QUEUE}\n", self.0)
    }
}
