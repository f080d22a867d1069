//! Clients outside the cluster: podman through a real ingress controller with TLS.

use serde_json::json;
use tidepool_tests::{Client, Cluster, ImageSpec};

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, await_revision, ephemeral, installed, members, pull};
use crate::trust::users;

const HOST: &str = "mirror.test";
const HOSTS: [&str; 3] = [HOST, "docker-io.mirror.test", "ghcr-io.mirror.test"];
/// More than any buffer on the way.
const LARGE_MIB: u32 = 224;

/// The most memory that a member has had, in MiB.
fn peak_of_members(cluster: &Cluster) -> u64 {
    let script = "for pid in $(pgrep -x tidepool-proxy); do cat /proc/$pid/status; done";
    let text: String =
        (1..=cluster.node_count().unwrap()).map(|n| cluster.in_node(n, &["sh", "-c", script]).unwrap()).collect();
    let peaks = text.lines().filter_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak = peaks.max();
    let kib: u64 = peak.expect("a member runs");
    kib / 1024
}

/// Bytes that this machine's kernel may hold of a connection, 6 MiB by default: what it has is what namespaces of pods begin
/// with.
fn buffer() -> u64 {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
    sizes.split_whitespace().next_back().unwrap().parse().unwrap()
}

fn await_pull(cluster: &Cluster, client: &Client, image: &str, login: Option<&str>) {
    let mut last = String::new();
    let pulled = || {
        let output = client.pull(image, login)?;
        last = output.stderr;
        Ok(output.success)
    };
    let pulled = cluster.wait_until(SOON, &format!("pull of {image} by podman"), pulled);
    pulled.unwrap_or_else(|error| panic!("{last}\n{error:#}"));
}

#[test]
fn podman_pulls_by_path_as_a_user_and_by_a_host_for_each_upstream() {
    let Some(cluster) = installed(1) else { return };
    cluster.start_ingress_controller().unwrap();
    let client = cluster.client(&HOSTS).unwrap();
    let issued = cluster.issue(&[HOST, "*.mirror.test"]).unwrap();
    let certificate = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "mirror-tls", "namespace": SYSTEM},
        "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key},
    });
    cluster.apply(&certificate.to_string()).unwrap();
    cluster.apply(&users("mirror-users").to_string()).unwrap();
    let (hub, ghcr) = (cluster.registry("docker.io").unwrap(), cluster.registry("ghcr.io").unwrap());
    ghcr.push(&ImageSpec::new("a/b", "1").layers(&[1]).index()).unwrap();
    hub.push(&ImageSpec::new("library/app", "1").layers(&[1])).unwrap();
    let large = hub.push(&ImageSpec::new("library/large", "1").layers(&[LARGE_MIB])).unwrap();
    let mut mirror = ephemeral();
    mirror["spec"]["ingress"] = json!({"host": HOST, "className": "skipper", "tlsSecretName": "mirror-tls"});
    apply_and_await(&cluster, &mirror);

    by_path(&cluster, &client);
    let (pulled, log) = hub.requests_during(|| client.pull("mirror.test/large:1", None)).unwrap();
    assert!(pulled.success, "{pulled:?}");
    let layer = log.iter().filter(|request| request.served() && request.reference() == large.layers[1].digest);
    // By one connection or several, where the upstream is slow: it is the bytes that come once, and a closed one's twice
    // that were on their way.
    let (sent, closed) =
        layer.fold((0, 0), |(sent, closed), request| (sent + request.bytes, closed + u64::from(!request.complete)));
    let most = u64::from(LARGE_MIB) * (105 << 20) / 100 + closed * buffer();
    assert!(sent <= most, "the large layer is had once, not {sent} bytes where {most} are fine: {log:#?}");
    let peak = peak_of_members(&cluster);
    assert!(peak < 100, "a member needs {peak} MiB for a layer of {LARGE_MIB} MiB");

    mirror["spec"]["access"] = json!({"anonymousPull": "None", "usersSecretRef": {"name": "mirror-users"}});
    cluster.apply(&mirror.to_string()).unwrap();
    await_revision(&cluster);
    as_user(&cluster, &client);

    mirror["spec"]["access"] = json!({"anonymousPull": "PublicImages"});
    mirror["spec"]["ingress"]["routing"] = json!("HostPerUpstream");
    cluster.apply(&mirror.to_string()).unwrap();
    await_revision(&cluster);
    await_pull(&cluster, &client, "ghcr-io.mirror.test/a/b:1", None);
    await_pull(&cluster, &client, "docker-io.mirror.test/library/app:1", None);
    await_pull(&cluster, &client, "docker-io.mirror.test/app:1", None);
    let other = client.pull("ghcr-io.mirror.test/library/app:1", None).unwrap();
    assert!(!other.success, "a host is one upstream's alone: {other:?}");
    assert_eq!(members(&cluster, MIRROR).iter().map(|member| member.restarts).sum::<u64>(), 0);
}

fn by_path(cluster: &Cluster, client: &Client) {
    await_pull(cluster, client, "mirror.test/ghcr.io/a/b:1", None);
    await_pull(cluster, client, "mirror.test/app:1", None);
    await_pull(cluster, client, "mirror.test/docker.io/library/app:1", None);
    let address = ["get", "registrymirror", MIRROR, "-o", "jsonpath={.status.address.ingress}"];
    assert_eq!(cluster.kubectl(&address).unwrap(), HOST);
    let other = client.pull("mirror.test/quay.io/a/b:1", None).unwrap();
    assert!(!other.success, "a registry that is not listed is refused: {other:?}");
}

fn as_user(cluster: &Cluster, client: &Client) {
    await_pull(cluster, client, "mirror.test/ghcr.io/a/b:1", Some("build:change-me"));
    let refused = [None, Some("build:guess")].map(|login| client.pull("mirror.test/ghcr.io/a/b:1", login).unwrap());
    for output in refused {
        assert!(
            !output.success && output.stderr.contains("authentication required")
                || output.stderr.contains("unauthorized")
                || output.stderr.contains("invalid username/password"),
            "{output:?}"
        );
    }
    let challenge = client.run(&["curl", "-sSi", "https://mirror.test/v2/"]).unwrap().stdout.to_lowercase();
    assert!(
        challenge.contains("401") && challenge.contains("www-authenticate: basic realm=\"tidepool\""),
        "{challenge}"
    );
    // Nodes are not asked.
    pull(cluster, 1, "ghcr.io/a/b:1");
}
