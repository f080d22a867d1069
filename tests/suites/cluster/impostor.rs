//! A recycled pod address: agents are told of a member where somebody else listens.

use serde_json::json;
use tidepool_tests::{Cluster, Image, ImageSpec};

use crate::installed::{MIRROR, SOON, SYSTEM, apply_and_await, ephemeral, installed, members, pull};

/// Starts a pod on node2 that listens where members do, with TLS of its own or plainly, and logs all that it is told.
fn start_impostor(cluster: &Cluster, name: &str, script: &str) -> String {
    cluster.run_pod(name, 2, "impostor:1", SOON).unwrap();
    cluster.serve_in_pod_network("default", name, name, &["sh", "-c", script]).unwrap();
    cluster.pod_address("default", name).unwrap()
}

/// What an impostor heard.
fn heard(cluster: &Cluster, name: &str) -> Vec<u8> {
    std::fs::read(cluster.folder().unwrap().join(format!("node2/{name}.log"))).unwrap()
}

/// Tells agents of members at these addresses, beside the real one.
fn publish(cluster: &Cluster, addresses: &[&str]) {
    let endpoints: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| {
            json!({"addresses": [address], "conditions": {"ready": true},
                   "targetRef": {"kind": "Pod", "namespace": SYSTEM, "name": format!("mirror-{MIRROR}-{}-x", index + 1)}})
        })
        .collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "recycled", "namespace": SYSTEM, "labels": {
            "tidepool.dev/mirror": MIRROR, "endpointslice.kubernetes.io/managed-by": "test"}},
        "ports": [{"name": "registry", "port": 5000}, {"name": "agents", "port": 5443}],
        "endpoints": endpoints,
    });
    cluster.apply(&slice.to_string()).unwrap();
}

fn push(cluster: &Cluster, number: usize) -> Image {
    let spec = ImageSpec::new(&format!("library/app{number}"), "1").layers(&[1, 1]);
    cluster.registry("docker.io").unwrap().push(&spec).unwrap()
}

#[test]
fn an_impostor_on_a_members_address_learns_no_request_and_no_pull_fails() {
    let Some(cluster) = installed(2) else { return };
    apply_and_await(&cluster, &ephemeral());
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/impostor", "1")).unwrap();
    let uid = cluster.kubectl(&["get", "registrymirror", MIRROR, "-o", "jsonpath={.metadata.uid}"]).unwrap();
    let issued = cluster.issue(&[&format!("member.{uid}.tidepool.internal")]).unwrap();
    let folder = cluster.folder().unwrap();
    std::fs::write(folder.join("impostor.pem"), issued.certificate + &issued.key).unwrap();
    let pem = folder.join("impostor.pem").display().to_string();
    // It ends with its standard input, and tells on its output what it reads.
    let with_tls = format!("sleep infinity | openssl s_server -accept 5443 -Verify 1 -cert {pem} -key {pem}");
    // Sends back what it reads, and keeps it.
    let plainly = format!("busybox nc -ll -p 5443 -e tee -a {}/node2/plain.log", folder.display());
    let tls = start_impostor(&cluster, "with-tls", &with_tls);
    let plain = start_impostor(&cluster, "plain", &plainly);
    let real = members(&cluster, MIRROR)[0].address.clone();
    assert!(![&tls, &plain].contains(&&real));

    publish(&cluster, &[&tls, &plain]);
    // The agent has met the one's certificate, and the other's answer, which is no TLS.
    let connected = || {
        // Also where it was believed, which is then what the test fails by.
        let told = String::from_utf8_lossy(&heard(&cluster, "with-tls")).into_owned();
        let met = told.contains("alert") || told.contains("CIPHER") || told.contains("/v2/");
        Ok(met && !heard(&cluster, "plain").is_empty())
    };
    let mut number = 0;
    let tried = cluster.wait_until(SOON, "agents that try the new addresses", || {
        number += 1;
        push(&cluster, number);
        pull(&cluster, 1, &format!("app{number}:1"));
        connected()
    });
    tried.unwrap();
    for number in number + 1..number + 6 {
        let image = push(&cluster, number);
        pull(&cluster, 1, &format!("app{number}:1"));
        for name in ["with-tls", "plain"] {
            let heard = String::from_utf8_lossy(&heard(&cluster, name)).into_owned();
            let words = ["/v2/", "GET ", "HEAD ", "library/app", &image.layers[0].digest];
            let told: Vec<_> = words.iter().filter(|word| heard.contains(**word)).collect();
            assert!(told.is_empty(), "{name} was told {told:?}: {heard}");
        }
    }
}
