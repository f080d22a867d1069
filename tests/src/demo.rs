//! `make demo`: the whole chain on a real cluster, told step by step.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::cluster::{Cluster, ClusterOptions};
use crate::image::ImageSpec;
use crate::stand_in::Request;
use crate::tools::repository;

const SYSTEM: &str = "tidepool-system";
/// How long one wait may take before the demo gives up.
const WITHIN: Duration = Duration::from_secs(150);

/// Boots a cluster in `folder` with the image archive on every node, shows the chain, and leaves the cluster up.
pub(crate) fn run(folder: &Path, archive: PathBuf) -> Result<()> {
    ensure!(!folder.exists(), "there is a cluster in {}: `make demo-down` takes it away", folder.display());
    step("Booting Kubernetes 1.36 with two nodes, beside a registry that the nodes know as Docker Hub");
    let folder = Some(folder.to_path_buf());
    let options =
        ClusterOptions { nodes: 2, folder, archives: vec![archive], verbose: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(options)?;
    install(&cluster)?;
    mirror(&cluster)?;
    pulls(&cluster)?;
    outage(&cluster)?;
    let folder = cluster.leave_up()?;
    step("The cluster stays up");
    println!("  make kubectl ARGS=\"get pods -A\"      talk to it; Docker Hub is on again");
    println!("  make demo-down                       take all of it away");
    println!("  logs are in {}", folder.display());
    Ok(())
}

fn install(cluster: &Cluster) -> Result<()> {
    step("Installing the chart with Helm");
    let chart = repository().join("charts/tidepool");
    let chart = chart.display().to_string();
    let install = ["install", "tidepool", &chart, "-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "3m"];
    say(&format!("helm {}", install.join(" ")));
    cluster.helm(&install)?;
    // The stand-in's certificate is of an authority that nobody else knows.
    let authority = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "docker-hub-authority", "namespace": SYSTEM},
        "data": {"ca.crt": cluster.authority()?},
    });
    cluster.apply(&authority.to_string())?;
    Ok(())
}

fn mirror(cluster: &Cluster) -> Result<()> {
    step("Applying examples/public.yaml, with the test authority for Docker Hub");
    cluster.kubectl(&["apply", "-f", &repository().join("examples/public.yaml").display().to_string()])?;
    let tls = json!({"caRef": {"kind": "ConfigMap", "name": "docker-hub-authority", "key": "ca.crt"}});
    let patch = json!([{"op": "test", "path": "/spec/upstreams/0/registry", "value": "docker.io"},
                       {"op": "add", "path": "/spec/upstreams/0/tls", "value": tls}]);
    cluster.kubectl(&["patch", "registrymirror", "public", "--type=json", "-p", &patch.to_string()])?;
    say("kubectl wait --for=condition=Ready registrymirror/public");
    cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror/public", "--timeout=110s"])?;
    // What the table below shows is gathered from the nodes' own reports, some seconds later; nobody has pulled yet, so a
    // short-lived pod on each node proves that its runtime uses the agent.
    cluster.wait_until(WITHIN, "both nodes in the mirror's status, proven", || {
        let summary = "jsonpath={.status.nodes.summary}";
        let honored = "jsonpath={.items[*].status.conditions[?(@.type==\"Honored\")].status}";
        let counted = cluster.kubectl(&["get", "registrymirror", "public", "-o", summary])? == "2/2";
        Ok(counted && cluster.kubectl(&["get", "mirrornodes", "-o", honored])? == "True True")
    })?;
    show(cluster, &["get", "registrymirrors,mirrornodes"])
}

fn pulls(cluster: &Cluster) -> Result<()> {
    let hub = cluster.registry("docker.io")?;
    hub.push(&ImageSpec::new("library/app", "1").layers(&[64, 32]).index())?;
    for (pod, node, title) in [
        ("first", 1, "A pod on node1: the first pull through the mirror, a miss"),
        ("second", 2, "The same image on node2: a hit"),
    ] {
        step(title);
        let ((), log) = hub.requests_during(|| run_pod(cluster, pod, node))?;
        say(&format!("asked of Docker Hub: {}", told(&log)));
    }
    Ok(())
}

fn outage(cluster: &Cluster) -> Result<()> {
    step("Docker Hub is switched off, node1 forgets the image, and a pod starts there from the cache");
    let hub = cluster.registry("docker.io")?;
    cluster.kubectl(&["delete", "pod", "first", "--wait=true", "--timeout=60s"])?;
    cluster.remove_image(1, "docker.io/library/app:1")?;
    hub.off()?;
    let ((), log) = hub.requests_during(|| run_pod(cluster, "third", 1))?;
    say(&format!("asked of Docker Hub: {}", told(&log)));
    hub.on()?;
    show(cluster, &["get", "pods", "-o", "wide"])?;
    show(cluster, &["get", "registrymirrors,mirrornodes"])
}

fn run_pod(cluster: &Cluster, pod: &str, node: usize) -> Result<()> {
    let started = Instant::now();
    cluster.run_pod(pod, node, "app:1", WITHIN).with_context(|| format!("pod {pod} does not start"))?;
    say(&format!("pod {pod} runs on node{node} after {:.1} s", started.elapsed().as_secs_f32()));
    Ok(())
}

/// The requests of one pull in a line.
fn told(log: &[Request]) -> String {
    let count = |what: fn(&Request) -> bool| log.iter().filter(|request| what(request)).count();
    let bytes: u64 = log.iter().filter(|request| request.served()).map(|request| request.bytes).sum();
    format!(
        "{} tag checks, {} manifests and {} blobs, {:.1} MiB",
        count(|request| request.is_manifest() && request.method == "HEAD" && request.status == 200),
        count(|request| request.is_manifest() && request.served()),
        count(|request| request.is_blob() && request.served()),
        bytes as f64 / f64::from(1 << 20)
    )
}

fn step(text: &str) {
    println!("\n\x1b[1m==> {text}\x1b[0m");
}

fn say(text: &str) {
    println!("  {text}");
}

fn show(cluster: &Cluster, args: &[&str]) -> Result<()> {
    println!("\n$ kubectl {}\n{}", args.join(" "), cluster.kubectl(args)?);
    Ok(())
}
