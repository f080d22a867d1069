//! The agents of simulated nodes: their watches and reporters, in this process, each with a client and a token of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use serde_json::{Value, json};
use tidepool_agent::args::{Cli, Command, RunArgs};
use tidepool_agent::forward::Members;
use tidepool_agent::honored::Evidence;
use tidepool_agent::last::Last;
use tidepool_agent::node::NodeFacts;
use tidepool_agent::report::{Report, Reporter};
use tidepool_agent::run::{Watched, watch_cluster};
use tidepool_agent::runtime_config::Support;
use tidepool_agent::states::{Reach, Seen, Trouble};
use tidepool_agent::wanted::{Role, Wanted, wanted};
use tidepool_agent::watch::Document;
use tidepool_tests::Cluster;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::installed::AGENTS;

/// How many agents start at the same time.
const STARTING: usize = 16;

/// Where the API server is.
#[derive(Clone)]
struct Server {
    url: &'static str,
    authority: String,
}

impl Server {
    async fn client(&self, token: &str) -> anyhow::Result<kube::Client> {
        let kubeconfig = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority": self.authority}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }
}

/// Agents that run.
pub(super) struct Fleet {
    runtime: tokio::runtime::Runtime,
    stop: CancellationToken,
}

impl Fleet {
    /// Starts an agent for each of these nodes; each reads its MirrorNode again this often.
    pub(super) fn start(cluster: &Cluster, nodes: usize, reread: Duration) -> anyhow::Result<Self> {
        tidepool_runtime::install_crypto();
        let (url, authority) = cluster.api_server()?;
        let (server, runtime, stop) = (Server { url, authority }, cluster.runtime()?, CancellationToken::new());
        let started = runtime.spawn(start_all(server, nodes, reread, stop.clone()));
        runtime.block_on(started)??;
        Ok(Self { runtime, stop })
    }

    /// Ends them.
    pub(super) fn stop(self) {
        self.stop.cancel();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

async fn start_all(server: Server, nodes: usize, reread: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let administrator = server.client("admin-token").await?;
    let (mut starting, slots) = (JoinSet::new(), Arc::new(Semaphore::new(STARTING)));
    for number in 0..nodes {
        let (server, administrator, stop) = (server.clone(), administrator.clone(), stop.clone());
        let slots = Arc::clone(&slots);
        starting.spawn(async move {
            let _slot = slots.acquire().await?;
            let name = format!("simulated-{number}");
            let client = server.client(&token(&administrator, &name).await?).await?;
            tokio::spawn(agent(client, name, reread, stop));
            anyhow::Ok(())
        });
    }
    while let Some(started) = starting.join_next().await {
        started??;
    }
    Ok(())
}

/// A token of the agents' ServiceAccount for that node, as the kubelet gives one to the agent's pod.
async fn token(administrator: &kube::Client, node: &str) -> anyhow::Result<String> {
    let get = http::Request::get(format!("/api/v1/nodes/{node}")).body(Vec::new())?;
    let found: Value = administrator.request(get).await?;
    let object = json!({"kind": "Node", "apiVersion": "v1", "name": node, "uid": found["metadata"]["uid"]});
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 3600, "boundObjectRef": object},
    });
    let path = format!("/api/v1/namespaces/{AGENTS}/serviceaccounts/tidepool-agent/token");
    let post = http::Request::post(path).header("content-type", "application/json").body(request.to_string().into())?;
    let answer: Value = administrator.request(post).await?;
    Ok(answer["status"]["token"].as_str().unwrap_or_default().to_owned())
}

/// One agent: what it watches, what it concludes, what it reports. Only the listener and the files are left out, and with
/// them the question whether members answer: one that is ready does.
async fn agent(client: kube::Client, name: String, reread: Duration, stop: CancellationToken) {
    let (reports_out, reports) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let watched = watch_cluster(&run_args(&name), &client, &Last::default(), &mut tasks, &stop);
    let reporter = Reporter::new(client, &name).rereading_every(reread);
    tasks.spawn(reporter.run(reports, watched.0.clone(), stop.clone()));
    stop.run_until_cancelled(conclude(watched, reports_out)).await;
    while tasks.join_next().await.is_some() {}
}

fn run_args(name: &str) -> RunArgs {
    match Cli::parse_from(["tidepool-agent", "run", "--node-name", name]).command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

async fn conclude((mut document, mut members, mut node): Watched, reports: watch::Sender<Option<Report>>) {
    loop {
        let report =
            report(&document.borrow_and_update(), &members.borrow_and_update(), node.borrow_and_update().as_ref());
        if let Some(report) = report {
            reports.send_if_modified(|known| {
                let changed = known.as_ref() != Some(&report);
                *known = Some(report);
                changed
            });
        }
        let changed = tokio::select! {
            changed = document.changed() => changed,
            changed = members.changed() => changed,
            changed = node.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn report(document: &Document, members: &Members, node: Option<&NodeFacts>) -> Option<Report> {
    let (known, node) = (document.last.as_ref()?, node?);
    let wanted = wanted(known, node);
    let up = |mirror: &str| members.get(mirror).is_some_and(|members| !members.is_empty());
    let reach = |uid: &str, mirror: &str| {
        let down = Reach::Down { why: Trouble::NoMember, long: false };
        (uid.to_owned(), if up(mirror) { Reach::Up } else { down })
    };
    let reach: BTreeMap<_, _> = wanted.mirrors.iter().map(|part| reach(&part.uid, &part.mirror)).collect();
    let seen = Seen {
        support: Some(Support::Expected),
        honored: Some(Evidence::Pull),
        reach,
        files: files(&wanted, up),
        ..Seen::default()
    };
    Some(Report::new(&wanted, &seen, document.problem.as_ref(), node.runtime.as_ref()))
}

/// The files that an agent would have written: those of mirrors with a member.
fn files(
    wanted: &Wanted,
    up: impl Fn(&str) -> bool,
) -> BTreeMap<tidepool_oci::RegistryName, Result<(), tidepool_agent::states::FileProblem>> {
    let mut files = BTreeMap::new();
    for part in wanted.mirrors.iter().filter(|part| up(&part.mirror)) {
        if let Role::Serves { registries, .. } = &part.role {
            files.extend(registries.iter().map(|registry| (registry.clone(), Ok(()))));
        }
    }
    files
}
