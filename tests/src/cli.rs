//! The commands of `tidepool-cluster`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::cluster::{Cluster, ClusterOptions};
use crate::image::{ImageSpec, product};
use crate::{demo, guard, relay, stand_in, state};

/// The cluster of `make demo`, and of a developer who needs but one.
const DEFAULT_FOLDER: &str = "/tmp/tidepool-demo";

/// Which cluster is meant.
#[derive(Debug, Args)]
pub struct Which {
    /// State folder of the cluster
    #[arg(long, env = "TIDEPOOL_CLUSTER", default_value = DEFAULT_FOLDER)]
    dir: PathBuf,
}

/// A command of `tidepool-cluster`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster and leave it up
    Up {
        /// Which cluster
        #[command(flatten)]
        which: Which,
        /// Number of nodes
        #[arg(long, default_value_t = 2)]
        nodes: usize,
        /// Image archive for every node; may be given again
        #[arg(long)]
        image: Vec<PathBuf>,
        /// Keep the cluster only until standard input ends or this process does
        #[arg(long)]
        hold: bool,
    },
    /// Show the whole chain: install Tidepool in a new cluster, pull through it, and leave it up
    Demo {
        /// Which cluster
        #[command(flatten)]
        which: Which,
        /// Tidepool's image archive
        #[arg(long)]
        image: PathBuf,
    },
    /// Take the cluster away
    Down {
        /// Which cluster
        #[command(flatten)]
        which: Which,
    },
    /// Remove what clusters left behind whose owner and guard were both killed; every start does so too
    Sweep,
    /// Run kubectl as the cluster's administrator
    Kubectl(Client),
    /// Run helm as the cluster's administrator
    Helm(Client),
    /// Run a command on a machine: cp, node1, node2 and so on
    In {
        /// Which cluster
        #[command(flatten)]
        which: Which,
        /// Machine
        machine: String,
        /// Command; a shell by default
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Switch a stand-in registry on or off, or print the requests it got
    Registry {
        /// Which cluster
        #[command(flatten)]
        which: Which,
        /// What to do
        act: RegistryAct,
        /// Its name: docker.io or ghcr.io
        name: String,
    },
    /// Make a test image and put it into a stand-in registry
    Push {
        /// Which cluster
        #[command(flatten)]
        which: Which,
        /// Image, such as docker.io/library/app:1
        image: String,
        /// Size of a layer of noise in MiB; may be given again
        #[arg(long)]
        mib: Vec<u32>,
    },
    /// Write the image of Tidepool itself: static binaries on nothing, as `ctr images import` takes it
    Image {
        /// Name and tag
        #[arg(long)]
        name: String,
        /// Archive to write
        #[arg(long)]
        out: PathBuf,
        /// Binaries
        #[arg(required = true)]
        binaries: Vec<PathBuf>,
    },
    /// Start the init of a cluster, and take the cluster away when standard input ends
    #[command(hide = true)]
    Guard {
        /// State folder
        #[arg(long)]
        dir: PathBuf,
    },
    /// Be the first process of a cluster
    #[command(hide = true)]
    Init,
    /// Pass bytes to a member, cut or stall connections as ordered
    #[command(hide = true)]
    Relay {
        /// Address to listen on
        #[arg(long)]
        listen: String,
        /// Where to pass connections
        #[arg(long)]
        to: String,
        /// File with the order of the moment
        #[arg(long)]
        orders: PathBuf,
    },
    /// Answer everything with a status
    #[command(hide = true)]
    Refuser {
        /// Address to listen on
        #[arg(long)]
        listen: String,
        /// Folder with certificate and key
        #[arg(long)]
        folder: PathBuf,
        /// The status
        #[arg(long)]
        status: hyper::StatusCode,
    },
    /// Serve the stand-in registries
    #[command(hide = true)]
    StandIn {
        /// Their folder
        #[arg(long)]
        folder: PathBuf,
    },
}

/// A command with arguments of its own.
#[derive(Debug, Args)]
pub struct Client {
    #[command(flatten)]
    which: Which,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// What can be done to a stand-in registry.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RegistryAct {
    /// Listen again
    On,
    /// Refuse connections
    Off,
    /// Print the requests so far
    Log,
}

impl Command {
    /// Runs the command; the exit code is that of the command it runs, if any.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Up { which, nodes, image, hold } => up(which.dir, nodes, image, hold),
            Self::Demo { which, image } => done(demo::run(&which.dir, image)),
            Self::Down { which } => Cluster::remove(&which.dir).map(|()| ExitCode::SUCCESS),
            Self::Sweep => {
                state::sweep();
                Ok(ExitCode::SUCCESS)
            }
            Self::Kubectl(client) => pass(client.which.open()?.interactive("kubectl", &client.args)?),
            Self::Helm(client) => pass(client.which.open()?.interactive("helm", &client.args)?),
            Self::In { which, machine, command } => {
                let command = if command.is_empty() { vec!["bash".into()] } else { command };
                pass(which.open()?.interactive_on(&machine, &command)?)
            }
            Self::Registry { which, act, name } => registry(&which.open()?, act, &name),
            Self::Push { which, image, mib } => push(&which.open()?, &image, &mib),
            Self::Image { name, out, binaries } => done(product::write(&name, &out, &binaries)),
            Self::Guard { dir } => done(guard::run(&dir)),
            Self::Init => done(guard::init()),
            Self::Relay { listen, to, orders } => done(relay::run(&listen, &to, orders)),
            Self::Refuser { listen, folder, status } => done(relay::refuse(&listen, &folder, status)),
            Self::StandIn { folder } => done(stand_in::run(&folder)),
        }
    }
}

impl Which {
    fn open(&self) -> Result<Cluster> {
        Cluster::open(&self.dir)
    }
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

fn up(dir: PathBuf, nodes: usize, archives: Vec<PathBuf>, hold: bool) -> Result<ExitCode> {
    if dir.exists() {
        bail!("there is a cluster in {}: take it away with `tidepool-cluster down`", dir.display());
    }
    eprintln!("Starting Kubernetes with {nodes} nodes");
    let options = ClusterOptions { nodes, folder: Some(dir), archives, verbose: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(options)?;
    how_to_talk(cluster.folder()?);
    if hold {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("cannot wait for standard input")?;
    } else {
        cluster.leave_up()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn how_to_talk(folder: &Path) {
    let program = std::env::args().next().unwrap_or_default();
    eprintln!("\nTalk to it:");
    if folder != Path::new(DEFAULT_FOLDER) {
        eprintln!("  export TIDEPOOL_CLUSTER={}", folder.display());
    }
    for command in [
        "kubectl get pods -A",
        "push docker.io/library/app:1 --mib 10",
        "kubectl run app --image=app:1",
        "registry log docker.io",
        "in node1 crictl images",
        "down",
    ] {
        eprintln!("  {program} {command}");
    }
    eprintln!("Logs are in {}/{{cp,node1}}.", folder.display());
}

fn registry(cluster: &Cluster, act: RegistryAct, name: &str) -> Result<ExitCode> {
    let registry = cluster.registry(name)?;
    match act {
        RegistryAct::On => registry.on()?,
        RegistryAct::Off => registry.off()?,
        RegistryAct::Log => {
            for request in registry.log()? {
                println!("{}", serde_json::to_string(&request).context("cannot print a request")?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn push(cluster: &Cluster, image: &str, mib: &[u32]) -> Result<ExitCode> {
    let parts = image.split_once('/').and_then(|(registry, rest)| Some((registry, rest.rsplit_once(':')?)));
    let (registry, (repository, tag)) = parts.context("an image is named like docker.io/library/app:1")?;
    let made = cluster.registry(registry)?.push(&ImageSpec::new(repository, tag).layers(mib))?;
    println!("{}", made.top.digest);
    Ok(ExitCode::SUCCESS)
}

/// Runs a command with this process's terminal.
fn pass(mut command: std::process::Command) -> Result<ExitCode> {
    let status = command.status().context("cannot run it")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
