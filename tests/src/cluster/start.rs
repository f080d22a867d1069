//! Starting a cluster, step by step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::{ClusterOptions, Local};
use crate::certificates::Authority;
use crate::guard::Guard;
use crate::kubernetes::node::{self, Surroundings};
use crate::kubernetes::node_options::NodeOptions;
use crate::kubernetes::{control_plane, dns, storage};
use crate::machine::{COMMAND_WITHIN, Machine};
use crate::stand_in::{self, Egress, StandIn};
use crate::state::{self, State};
use crate::tools::Tools;
use crate::{addresses, cgroups, image};

/// The folder of the stand-ins within the state folder.
pub(super) const REGISTRIES: &str = "registries";
/// The certificate of their authority within that.
pub(super) const AUTHORITY: &str = "ca.crt";
/// Its private key, for certificates that tests ask for later.
pub(super) const AUTHORITY_KEY: &str = "ca.key";
/// Its common name.
pub(super) const AUTHORITY_NAME: &str = "tidepool test registries";

/// Says steps with the time since the start.
struct Progress {
    started: Instant,
    verbose: bool,
}

impl Progress {
    fn say(&self, step: &str) {
        if self.verbose {
            eprintln!("  [{:4.1} s] {step}", self.started.elapsed().as_secs_f32());
        }
    }
}

pub(super) fn start(options: ClusterOptions) -> Result<Local> {
    let ClusterOptions { nodes, node_options, mut stand_ins, egress, folder, archives, verbose } = options;
    ensure!((1..=addresses::MAX_NODES).contains(&nodes), "a cluster has 1 to {} nodes", addresses::MAX_NODES);
    let known = node_options.keys().all(|number| (1..=nodes).contains(number));
    ensure!(known, "options for a node that the cluster does not have: {node_options:?}");
    let tools = Tools::find()?;
    let progress = Progress { started: Instant::now(), verbose };
    state::sweep();
    let folder = State::make_folder(folder)?;
    StandIn::place(&mut stand_ins);
    progress.say(&format!("namespaces and state folder {}", folder.display()));
    let (guard, init) = match Guard::start(&folder) {
        Ok(started) => started,
        Err(error) => {
            // No guard lives that would do it.
            fs::remove_dir_all(&folder).context("cannot remove the state folder")?;
            return Err(error);
        }
    };
    // From here on the guard takes everything away should a step fail.
    let control_plane = Machine::of_init(init, folder.join("cp"), &tools)?;
    let (stands, egress) = (stand_ins.as_slice(), egress.as_ref());
    let (archives, options) = (archives.as_slice(), &node_options);
    let plan = Plan { folder: &folder, tools: &tools, stand_ins: stands, egress, archives, nodes, options };
    let nodes = plan.boot(&control_plane, &progress)?;
    let state = State { control_plane, nodes, stand_ins };
    state.write(&folder)?;
    progress.say("cluster is up");
    Ok(Local { folder, state, owner: Some(guard) })
}

/// What a cluster will be made of.
struct Plan<'a> {
    folder: &'a Path,
    tools: &'a Tools,
    stand_ins: &'a [StandIn],
    egress: Option<&'a Egress>,
    archives: &'a [PathBuf],
    nodes: usize,
    options: &'a BTreeMap<usize, NodeOptions>,
}

impl Plan<'_> {
    /// Starts the API server, prepares the nodes while it starts, and lets them join.
    fn boot(&self, control_plane: &Machine, progress: &Progress) -> Result<Vec<Machine>> {
        control_plane::lay_network(control_plane, self.stand_ins)?;
        progress.say("starting etcd and the API server");
        control_plane::start(control_plane, self.nodes)?;
        let authority = self.start_registries(control_plane)?;
        let names: Vec<String> = (1..=self.nodes).map(|number| format!("node{number}")).collect();
        let control_group = State::control_group(self.folder)?;
        let hosts = dns::hosts_file(self.stand_ins, self.egress);
        cgroups::create(&control_group, &names)?;
        let around = Surroundings {
            control_plane,
            control_group: &control_group,
            hosts: &hosts,
            authority: authority.pem(),
            tools: self.tools.folder(),
            nodes: self.nodes,
            options: self.options,
        };
        progress.say(&format!("starting containerd on {}", names.join(", ")));
        let nodes = self.prepare_nodes(&names, &around)?;
        control_plane::complete(control_plane)?;
        progress.say("API server is ready; starting kubelets");
        dns::start(control_plane, &hosts)?;
        for (number, node) in (1..).zip(&nodes) {
            node::join(node, number, &around)?;
        }
        apply_storage(control_plane, &nodes)?;
        stand_in::await_ready(control_plane, self.stand_ins)?;
        await_nodes(control_plane, &names)?;
        Ok(nodes)
    }

    fn start_registries(&self, control_plane: &Machine) -> Result<Authority> {
        let folder = self.folder.join(REGISTRIES);
        let authority = Authority::new(AUTHORITY_NAME)?;
        stand_in::start(control_plane, &folder, self.stand_ins, self.egress, &authority)?;
        fs::write(folder.join(AUTHORITY_KEY), authority.key_pem()).context("cannot keep the registries' authority")?;
        Ok(authority)
    }

    /// Makes all nodes up to a running containerd, side by side.
    fn prepare_nodes(&self, names: &[String], around: &Surroundings<'_>) -> Result<Vec<Machine>> {
        let pause = self.folder.join("pause.tar");
        image::write_pause(&self.folder.join("pause"), &pause)?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..)
                .zip(names)
                .map(|(number, name)| {
                    let pause = &pause;
                    scope.spawn(move || self.prepare_node(number, name, around, pause))
                })
                .collect();
            let prepared = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
            prepared.collect()
        })
    }

    fn prepare_node(&self, number: usize, name: &str, around: &Surroundings<'_>, pause: &Path) -> Result<Machine> {
        let machine = around.control_plane.beside(name, self.folder.join(name))?;
        let programs = around.options_of(number).containerd.folder();
        let machine = programs.map_or(machine.clone(), |folder| machine.preferring(folder));
        node::connect(&machine, number, around)?;
        node::start_runtime(&machine, number, around, pause)?;
        for archive in self.archives {
            node::import(&machine, archive)?;
        }
        Ok(machine)
    }
}

fn apply_storage(control_plane: &Machine, nodes: &[Machine]) -> Result<()> {
    let config = format!("--kubeconfig={}", control_plane::kubeconfig(control_plane).display());
    let objects = storage::objects(nodes)?.to_string();
    let apply = ["kubectl", &config, "create", "-f", "-"];
    control_plane.run(&apply, &objects, COMMAND_WITHIN)?.ok().context("cannot offer volumes")?;
    Ok(())
}

/// Waits until the nodes are ready and the first pod can be made, which needs the namespace's service account.
fn await_nodes(control_plane: &Machine, names: &[String]) -> Result<()> {
    let config = format!("--kubeconfig={}", control_plane::kubeconfig(control_plane).display());
    let nodes: Vec<String> = names.iter().map(|name| format!("node/{name}")).collect();
    let wait = |condition: &str, objects: &[String]| -> Result<()> {
        let mut command: Vec<&str> = vec!["kubectl", &config, "wait", condition, "--timeout=180s"];
        command.extend(objects.iter().map(String::as_str));
        let output = control_plane.run(&command, "", Duration::from_secs(200))?;
        output
            .ok()
            .with_context(|| format!("nodes are not ready; see the logs in {}", control_plane.home().display()))?;
        Ok(())
    };
    // One by one: kubectl takes several that are missing for an error at once.
    nodes.iter().try_for_each(|node| wait("--for=create", std::slice::from_ref(node)))?;
    wait("--for=condition=Ready", &nodes)?;
    wait("--for=create", &["serviceaccount/default".to_owned()])
}
