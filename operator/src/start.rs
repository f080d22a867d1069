//! The program: client, caches, controllers, admin server, and how they stop.

use std::{sync::Arc, time::Duration};

use kube::{Api, Client, api::ListParams};
use prometheus_client::registry::Registry;
use tidepool_api::{MirrorNode, RegistryMirror};
use tidepool_plan::Defaults;
use tidepool_runtime::{
    SignalError,
    admin::{AdminError, AdminServer, Readiness},
    stop_signal,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    RunArgs,
    backoff::Backoff,
    caches,
    context::Context,
    controllers, events,
    metrics::Metrics,
    report::report,
    resources::Watched,
    triggers::Triggers,
    trust::{Lifetimes, LifetimesError, Trust},
};

/// How often a cluster without our resource definitions is asked again.
const DEFINITIONS_EVERY: Duration = Duration::from_secs(5);
/// How long tasks may take to end when the program is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Why the operator stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process cannot listen for signals.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// No cluster is configured: neither a pod's, nor a kubeconfig.
    #[error("cannot find a cluster to talk to")]
    Cluster(#[source] Box<kube::Error>),
    /// The admin server failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The arguments contradict each other.
    #[error(transparent)]
    Lifetimes(#[from] LifetimesError),
    /// A task ended that should run for ever: a defect.
    #[error("a controller ended by itself")]
    Ended,
}

/// Runs the operator until SIGINT or SIGTERM.
///
/// # Errors
/// [`StartError`] when it cannot start or go on. A cluster that does not answer, and missing definitions, are waited for.
pub async fn start(args: RunArgs) -> Result<(), StartError> {
    let trust = Trust::new(Lifetimes::new(args.authority_lifetime, args.certificate_lifetime)?);
    let stop = stop_signal()?;
    let client = Client::try_default().await.map_err(|source| StartError::Cluster(Box::new(source)))?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ready = Readiness::default();
    let admin = AdminServer::bind(args.admin).await?;
    let mut tasks = JoinSet::new();
    let mut admin = tokio::spawn(admin.serve(registry, ready.clone(), axum::Router::new(), stop.clone()));
    let control = control(client, args, trust, metrics, ready.clone(), &mut tasks, stop.clone());
    let result = tokio::select! {
        controlled = control => controlled,
        served = &mut admin => served.unwrap_or(Ok(())).map_err(StartError::from),
    };
    ready.set(false);
    stop.cancel();
    // Tasks end at their next wait. A reconcile that is cut short is done again by the next process.
    let _ = tokio::time::timeout(STOP_WITHIN, async { while tasks.join_next().await.is_some() {} }).await;
    result
}

/// Waits for the definitions, fills the caches, runs the controllers.
async fn control(
    client: Client,
    args: RunArgs,
    trust: Trust,
    metrics: Metrics,
    ready: Readiness,
    tasks: &mut JoinSet<()>,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let defined = async { tokio::join!(defined::<RegistryMirror>(&client), defined::<MirrorNode>(&client)) };
    if stop.run_until_cancelled(defined).await.is_none() {
        return Ok(());
    }
    let (caches, triggers) = caches::watch_all(&client, &args.namespace, &args.agent_namespace, tasks, &stop);
    if stop.run_until_cancelled(caches.filled()).await.is_none() {
        return Ok(());
    }
    tracing::info!(mirrors = caches.mirrors.len(), nodes = caches.nodes.len(), "caches are filled");
    let defaults = Defaults { image: args.image, pull_policy: args.image_pull_policy, namespace: args.namespace };
    let context = Arc::new(Context {
        recorder: events::recorder(client.clone()),
        agent_namespace: args.agent_namespace,
        backoff: Backoff::default(),
        client,
        caches,
        defaults,
        metrics,
        trust,
    });
    run_controllers(context, &triggers, tasks, &stop);
    ready.set(true);
    // Each task runs until it is stopped; that one ends otherwise is a defect, better seen as a restart than not at all.
    match stop.run_until_cancelled(tasks.join_next()).await {
        None => Ok(()),
        Some(_) if stop.is_cancelled() => Ok(()),
        Some(_) => Err(StartError::Ended),
    }
}

fn run_controllers(context: Arc<Context>, triggers: &Triggers, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    let until_stopped = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        async move {
            stop.run_until_cancelled(task).await;
        }
    };
    let names = triggers.queue.clone().into_stream();
    tasks.spawn(until_stopped(Box::pin(controllers::mirror::run(Arc::clone(&context), names))));
    tasks.spawn(until_stopped(Box::pin(controllers::nodes::run(context, Arc::clone(&triggers.nodes)))));
    let collecting = triggers.clone();
    tasks.spawn(until_stopped(Box::pin(async move { collecting.collect().await })));
}

/// Waits until the cluster knows a kind. Helm and GitOps tools may install us before the definitions.
async fn defined<K: Watched>(client: &Client) {
    let api = Api::<K>::all(client.clone());
    while let Err(error) = api.list_metadata(&ListParams::default().limit(1)).await {
        let missing = matches!(&error, kube::Error::Api(status) if status.code == 404);
        let kind = K::kind(&());
        if missing {
            tracing::warn!(%kind, "the cluster does not know the kind: install the definitions (crds/, or the chart with crds.enabled); waiting");
        } else {
            tracing::warn!(%kind, error = report(&error), "cannot list the kind: waiting");
        }
        tokio::time::sleep(DEFINITIONS_EVERY).await;
    }
}
