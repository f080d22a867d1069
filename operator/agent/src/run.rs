//! `tidepool-agent run`: the tasks of the agent, who tells whom, and how they stop.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Node, Secret},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    runtime::watcher::{Config, Event},
};
use prometheus_client::registry::Registry;
use tidepool_config::{
    names::{MIRROR_LABEL, NODES_CONFIG_MAP},
    trust::AGENT_SECRET,
};
use tidepool_runtime::{
    SignalError,
    admin::{AdminError, AdminServer, Readiness},
    install_crypto, stop_signal,
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::RunArgs,
    controller::{Controller, Inputs, Listening, Outputs, Places},
    forward::{Forwarder, Honored, Limits, Routings},
    health::Health,
    identity,
    last::Last,
    listen::Listener,
    metrics::Metrics,
    node::NodeFacts,
    node_files::{NodeFiles, Stuck},
    report::Reporter,
    uninstall::{Verdict, verdict},
    watch::{Document, MembersView, follow},
};

/// Why the agent ends without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be told to stop.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// It cannot know the API server.
    #[error("cannot find the Kubernetes API server's address and credentials")]
    Kubernetes(#[from] Box<kube::Error>),
    /// Its admin socket cannot be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The node's file system hangs.
    #[error(transparent)]
    Files(#[from] Stuck),
    /// One of its tasks broke: a bug.
    #[error("a task of the agent broke")]
    Task(#[from] JoinError),
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// [`RunError`]; the kubelet starts it again.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    install_crypto();
    let stop = stop_signal()?;
    let client = Client::try_default().await.map_err(Box::new)?;
    let (metrics, mut registry) = (Metrics::default(), Registry::default());
    metrics.register(&mut registry);
    let admin = AdminServer::bind_unix(&args.admin_socket)?;
    let ready = Readiness::default();
    // The admin server and the listener outlive the rest: pulls under way end while files are withdrawn.
    let serving = CancellationToken::new();
    let mut servers = JoinSet::new();
    let admin = admin.serve(registry, ready.clone(), axum::Router::new(), serving.clone());
    servers.spawn(async move {
        if let Err(error) = admin.await {
            tracing::error!(%error, "no more metrics and health");
        }
    });
    let mut agent = Agent::start(&args, &client, &metrics, &ready, &serving, &mut servers, &stop);
    let files = agent.until_stopped(&stop).await?;
    agent.tasks.shutdown().await;
    let node = agent.node.borrow().clone();
    withdraw_if_uninstalled(files, &args, client, node.as_ref()).await?;
    ready.set(false);
    serving.cancel();
    while servers.join_next().await.is_some() {}
    Ok(())
}

async fn withdraw_if_uninstalled(
    mut files: NodeFiles,
    args: &RunArgs,
    client: Client,
    node: Option<&NodeFacts>,
) -> Result<(), Stuck> {
    match verdict(client.clone(), &args.namespace, &args.daemonset, &args.node_name).await {
        Verdict::Keep => Ok(()),
        Verdict::Withdraw => {
            files.withdraw_all().await?;
            Last::forget(&args.directories.state_dir);
            let runtime = node.and_then(|node| node.runtime.as_ref());
            Reporter::new(client, &args.node_name).say_stopped(runtime).await;
            // Another agent on this node may wait for them, and what it says must be the last word.
            drop(files);
            Ok(())
        }
    }
}

/// The tasks that end when the agent is told to stop.
struct Agent {
    tasks: JoinSet<()>,
    controller: JoinHandle<Result<NodeFiles, Stuck>>,
    node: watch::Receiver<Option<NodeFacts>>,
}

impl Agent {
    fn start(
        args: &RunArgs,
        client: &Client,
        metrics: &Metrics,
        ready: &Readiness,
        serving: &CancellationToken,
        servers: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Self {
        let last = Last::load(&args.directories.state_dir);
        let (routings, honored) = (Arc::new(Routings::default()), Honored::default());
        let limits = Limits::default();
        let forwarder = Arc::new(Forwarder::new(Arc::clone(&routings), limits, metrics.clone(), honored.clone()));
        if let Some(identity) = identity::load(&args.run_dir) {
            forwarder.identify(identity);
        }
        let (listening_out, listening) = watch::channel(Listening::Starting);
        let (able_out, able) = watch::channel(false);
        let (reach_out, reach) = watch::channel(BTreeMap::new());
        let (report_out, report) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let (document, members, node) = watch_cluster(args, client, &last, &mut tasks, stop);
        let (on_secret, identity) = identity::view();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &args.namespace);
        tasks.spawn(follow(secrets, by_name(AGENT_SECRET), on_secret, stop.clone()));
        tasks.spawn(identity::follow(identity, Arc::clone(&forwarder), args.run_dir.clone(), stop.clone()));
        let listener = Listener {
            port: args.port,
            forwarder: Arc::clone(&forwarder),
            drain: args.drain,
            able,
            listening: listening_out,
        };
        servers.spawn(listener.run(serving.clone()));
        tasks.spawn(be_ready(ready.clone(), listening.clone()));
        tasks.spawn(Health::new(forwarder, Arc::clone(&routings), reach_out, document.clone()).run(stop.clone()));
        tasks.spawn(Reporter::new(client.clone(), &args.node_name).run(report, document.clone(), stop.clone()));
        let files = NodeFiles::new(
            &args.directories.registry_dir,
            args.directories.registry_host_dir.display().to_string(),
            &args.directories.state_dir,
            metrics.clone(),
        );
        let state = args.directories.state_dir.clone();
        let inputs = Inputs { document, members, node: node.clone(), listening, reach, honored };
        let outputs = Outputs { routings, files, report: report_out, able: able_out, state };
        let controller = tokio::spawn(Controller::new(inputs, outputs, places(args), last).run(stop.clone()));
        Self { tasks, controller, node }
    }

    /// Waits for the controller, which ends when it is told to; hands the files back. Another task that ends ends all.
    async fn until_stopped(&mut self, stop: &CancellationToken) -> Result<NodeFiles, RunError> {
        loop {
            tokio::select! {
                ended = &mut self.controller => return Ok(ended??),
                Some(ended) = self.tasks.join_next(), if !stop.is_cancelled() => ended?,
            }
        }
    }
}

/// Ready as soon as pulls are answered: what they are answered with is a matter of the mirrors. Behind an agent that does
/// not share its port too: that one ends only once this one is ready.
async fn be_ready(ready: Readiness, mut listening: watch::Receiver<Listening>) {
    loop {
        ready.set(matches!(*listening.borrow_and_update(), Listening::Yes | Listening::Behind));
        if listening.changed().await.is_err() {
            return;
        }
    }
}

/// The document, the members and the node, as they are last known.
pub type Watched =
    (watch::Receiver<Document>, watch::Receiver<crate::forward::Members>, watch::Receiver<Option<NodeFacts>>);

/// Starts the watches that say what is to be done, from what was last known.
pub fn watch_cluster(
    args: &RunArgs,
    client: &Client,
    last: &Last,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Watched {
    let (document_out, document) = watch::channel(Document::remembered(last.document.clone()));
    let (members_out, members) = watch::channel(last.members.clone());
    let (node_out, node) = watch::channel(last.node.clone());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &args.namespace);
    let on_map = move |event| document_out.send_modify(|document| document.on(&event));
    tasks.spawn(follow(maps, by_name(NODES_CONFIG_MAP), on_map, stop.clone()));
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &args.mirror_namespace);
    let mut view = MembersView::default();
    let on_slice = move |event| {
        if let Some(known) = view.on(&event) {
            members_out.send_replace(known);
        }
    };
    tasks.spawn(follow(slices, Config::default().labels(MIRROR_LABEL), on_slice, stop.clone()));
    let nodes: Api<Node> = Api::all(client.clone());
    let on_node = move |event: Event<Node>| {
        // A Node that is gone takes this agent with it.
        if let Event::Apply(node) | Event::InitApply(node) = event {
            node_out.send_replace(Some(NodeFacts::from(&node)));
        }
    };
    tasks.spawn(follow(nodes, by_name(&args.node_name), on_node, stop.clone()));
    (document, members, node)
}

fn by_name(name: &str) -> Config {
    Config::default().fields(&format!("metadata.name={name}"))
}

fn places(args: &RunArgs) -> Places {
    Places {
        port: args.port,
        runtime_config_dir: args.runtime_config_dir.clone(),
        runtime_config_host_dir: args.runtime_config_host_dir.clone(),
        registry_dir_name: args.directories.registry_host_dir.display().to_string(),
        registries_conf: args.runtime_config_dir.join("registries.conf"),
        pull_from_mirror: args.pull_from_mirror,
    }
}
