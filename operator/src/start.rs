//! The program: client, caches, leading, admin server, and how they stop.

use std::{pin::pin, sync::Arc, time::Duration};

use kube::{Api, Client, api::ListParams};
use prometheus_client::registry::Registry;
use tidepool_api::{MirrorNode, RegistryMirror};
use tidepool_plan::Defaults;
use tidepool_runtime::{
    LogFilter, SignalError,
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
    events,
    lead::lead,
    leader::{Elector, Leadership, LeaseLost, gated},
    members::Members,
    metrics::Metrics,
    report::report,
    resources::Watched,
    rollouts::Rollouts,
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
    /// Another process may lead.
    #[error("this process must end")]
    Lease(#[source] LeaseLost),
    /// A task ended that should run for ever: a defect.
    #[error("a controller ended by itself")]
    Ended,
}

/// Runs the operator until SIGINT or SIGTERM.
///
/// # Errors
/// [`StartError`] when it cannot start or go on. A cluster that does not answer, and missing definitions, are waited for.
pub async fn start(args: RunArgs) -> Result<(), StartError> {
    let lifetimes = Lifetimes::new(args.authority_lifetime, args.certificate_lifetime)?;
    let stop = stop_signal()?;
    let clients = clients(&args).await.map_err(|source| StartError::Cluster(Box::new(source)))?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ready = Readiness::default();
    let admin = AdminServer::bind(args.admin).await?;
    let (mut tasks, served) = (JoinSet::new(), CancellationToken::new());
    let mut admin = tokio::spawn(admin.serve(registry, ready.clone(), axum::Router::new(), served.clone()));
    let control = control(clients, args, lifetimes, metrics, ready.clone(), &mut tasks, stop.clone());
    let result = tokio::select! {
        controlled = control => controlled,
        served = &mut admin => served.unwrap_or(Ok(())).map_err(StartError::from),
    };
    ready.set(false);
    stop.cancel();
    // Last, so that health is told while reconciles end.
    served.cancel();
    let ended = async {
        while tasks.join_next().await.is_some() {}
        let _ = admin.await;
    };
    let _ = tokio::time::timeout(STOP_WITHIN, ended).await;
    result
}

/// Waits for the definitions, fills the caches, leads.
async fn control(
    Clients { client, elector, leadership }: Clients,
    args: RunArgs,
    lifetimes: Lifetimes,
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
    let defaults = defaults(&args);
    let context = Arc::new(Context {
        recorder: events::recorder(client.clone()),
        agent_namespace: args.agent_namespace,
        probes_at_once: args.probes_at_once,
        resync: args.resync,
        backoff: Backoff::default(),
        leadership,
        rollouts: Rollouts::default(),
        trust: Trust::new(lifetimes, client.clone(), &args.namespace),
        members: Members::default(),
        client,
        caches,
        defaults,
        metrics,
    });
    // The stand-by is ready too: ready to take over.
    ready.set(true);
    let mut leading = pin!(lead(context, &triggers, elector, &stop));
    tokio::select! {
        led = &mut leading => led,
        // A watch runs until it is stopped; that one ends otherwise is a defect, better seen as a restart than not at all.
        _ = tasks.join_next() => if stop.is_cancelled() { leading.await } else { Err(StartError::Ended) },
    }
}

/// What all mirrors share.
fn defaults(args: &RunArgs) -> Defaults {
    Defaults {
        image: args.image.clone(),
        pull_policy: args.image_pull_policy.clone(),
        namespace: args.namespace.clone(),
        log_level: args.member_log.as_ref().filter(|log| **log != LogFilter::default()).map(ToString::to_string),
    }
}

/// How the cluster is spoken to, and whether that includes writing.
struct Clients {
    /// Writes only while this process leads.
    client: Client,
    /// None where the process is to be alone.
    elector: Option<Elector>,
    leadership: Leadership,
}

async fn clients(args: &RunArgs) -> Result<Clients, kube::Error> {
    let config = kube::Config::infer().await.map_err(kube::Error::InferConfig)?;
    if !args.leader_election {
        return Ok(Clients { client: Client::try_from(config)?, elector: None, leadership: Leadership::alone() });
    }
    let (leadership, place) = (Leadership::none(), (&*args.namespace, &*args.lease_name));
    let elector = Elector::new(Client::try_from(config.clone())?, place, &args.process_name, leadership.clone());
    Ok(Clients { client: gated(config, leadership.clone())?, elector: Some(elector), leadership })
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
