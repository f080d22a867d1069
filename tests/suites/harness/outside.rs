//! The way in from outside, the audit log, admission, and what a pod can reach.

use std::time::Duration;

use serde_json::json;
use tidepool_tests::ImageSpec;

use crate::cluster;

#[test]
fn a_client_outside_reaches_a_pod_by_the_host_of_an_ingress() {
    let Some(cluster) = cluster() else { return };
    let serve = ImageSpec::new("library/web", "1").command("exec /bin/busybox httpd -f -p 8000 -h /etc");
    cluster.registry("docker.io").unwrap().push(&serve).unwrap();
    cluster.run_pod("web", 2, "web:1", Duration::from_secs(180)).unwrap();
    cluster.kubectl(&["label", "pod", "web", "app=web"]).unwrap();
    let issued = cluster.issue(&["web.test"]).unwrap();
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
         "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-tls"}, "type": "kubernetes.io/tls",
         "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
         "spec": {"ingressClassName": "outside", "tls": [{"hosts": ["web.test"], "secretName": "web-tls"}],
                  "rules": [{"host": "web.test", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}},
    ]});
    cluster.apply(&objects.to_string()).unwrap();
    cluster.start_ingress_controller().unwrap();
    let client = cluster.client(&["web.test"]).unwrap();
    cluster
        .wait_until(Duration::from_secs(180), "answer through the ingress", || {
            Ok(client.run(&["curl", "-sS", "https://web.test/image"])?.ok()? == "library/web:1")
        })
        .unwrap();
    let stranger = client.run(&["curl", "-sS", "https://docker.io/v2/"]).unwrap();
    assert!(!stranger.success, "a client knows no registry but the ingress: {stranger:?}");
    let podman = client.pull("web.test/a/b:1", None).unwrap();
    assert!(
        !podman.success && podman.stderr.contains("web.test"),
        "podman gets there and finds no registry: {podman:?}"
    );
}

#[test]
fn the_audit_log_tells_who_did_what() {
    let Some(cluster) = cluster() else { return };
    let act = || cluster.kubectl(&["create", "configmap", "noted"]);
    let (_, events) = cluster.audit_during(act).unwrap();
    let noted = events.iter().find(|event| event.name == "noted" && event.verb == "create").unwrap();
    assert_eq!(
        (noted.user.as_str(), noted.resource.as_str(), noted.namespace.as_str()),
        ("admin", "configmaps", "default")
    );
    assert_eq!(noted.code, 201);
    assert!(noted.is_write() && !noted.is_ours());
}

#[test]
fn a_pod_that_is_not_restricted_is_denied_where_that_is_enforced() {
    let Some(cluster) = cluster() else { return };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    cluster.apply(&namespace.to_string()).unwrap();
    let pod = r#"{apiVersion: v1, kind: Pod, metadata: {name: root, namespace: strict},
        spec: {containers: [{name: main, image: "app:1"}]}}"#;
    cluster.kubectl(&["wait", "--for=create", "serviceaccount/default", "-n", "strict", "--timeout=180s"]).unwrap();
    let denied = cluster.try_apply(pod).unwrap();
    assert!(!denied.success && denied.stderr.contains("violates PodSecurity"), "{denied:?}");
}

#[test]
fn a_command_runs_in_the_place_of_a_pod() {
    let Some(cluster) = cluster() else { return };
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/place", "1")).unwrap();
    cluster.run_pod("place", 1, "place:1", Duration::from_secs(180)).unwrap();
    let address = cluster.pod_address("default", "place").unwrap();
    let shown = cluster.try_in_pod_network("default", "place", &["ip", "-4", "address", "show", "eth0"]).unwrap();
    assert!(shown.stdout.contains(&address), "{shown:?}");
    let server = ["busybox", "nc", "-ll", "-p", "7000", "-e", "busybox", "sha256sum"];
    cluster.serve_in_pod_network("default", "place", "place-server", &server).unwrap();
    let ask = format!("printf asked | busybox nc {address} 7000");
    let answers = || Ok(cluster.try_in_node(2, &["sh", "-c", &ask])?.stdout.starts_with("c667"));
    cluster.wait_until(Duration::from_secs(180), "answer in the place of a pod", answers).unwrap();
}

#[test]
fn a_claim_that_grows_gets_what_it_asks_for() {
    let Some(cluster) = cluster() else { return };
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/grows", "1")).unwrap();
    let claim = |size: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "grows"}, "spec": {
            "storageClassName": "small", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}})
    };
    cluster.apply(&claim("1Gi").to_string()).unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "grows"}, "spec": {
        "terminationGracePeriodSeconds": 2,
        "containers": [{"name": "main", "image": "grows:1"}],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "grows"}}]}});
    cluster.apply(&pod.to_string()).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/grows", "--timeout=180s"]).unwrap();
    cluster.apply(&claim("3Gi").to_string()).unwrap();
    let has = || cluster.kubectl(&["get", "pvc", "grows", "-o", "jsonpath={.status.capacity.storage}"]).unwrap();
    assert_eq!(has(), "1Gi");
    cluster.resize_claims("default").unwrap();
    assert_eq!(has(), "3Gi");
}
