//! The control plane: bridge, etcd, API server, controller manager, scheduler.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::write_kubeconfig;
use crate::addresses;
use crate::certificates::{self, Authority};
use crate::machine::Machine;
use crate::stand_in::StandIn;
use crate::wait;

/// The kubeconfig of the administrator, in the control plane's folder.
pub(crate) fn kubeconfig(control_plane: &Machine) -> PathBuf {
    control_plane.home().join("kubeconfig")
}

/// Lays the bridge with the addresses of the control plane and of the stand-in registries.
pub(crate) fn lay_network(machine: &Machine, stand_ins: &[StandIn]) -> Result<()> {
    let mut script = "ip link add br0 type bridge\nip link set br0 up\n".to_owned();
    let stand_ins = stand_ins.iter().map(|stand_in| stand_in.address.as_str());
    let ours = [addresses::CONTROL_PLANE, addresses::EGRESS, addresses::INGRESS];
    for address in ours.into_iter().chain(stand_ins) {
        script.push_str(&format!("ip address add {address}/24 dev br0\n"));
    }
    machine.script(&script)?;
    Ok(())
}

/// Starts etcd and the API server; they need some seconds, in which nodes can be made.
pub(crate) fn start(machine: &Machine, nodes: usize) -> Result<()> {
    write_files(machine.home(), nodes)?;
    let home = machine.home().display().to_string();
    machine
        .daemon("etcd", &["etcd", "--data-dir", &format!("{home}/etcd"), "--unsafe-no-fsync", "--log-level=warn"])?;
    let flags = [
        "kube-apiserver".to_owned(),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--bind-address={}", addresses::CONTROL_PLANE),
        format!("--advertise-address={}", addresses::CONTROL_PLANE),
        format!("--tls-cert-file={home}/apiserver.crt"),
        format!("--tls-private-key-file={home}/apiserver.key"),
        format!("--token-auth-file={home}/tokens.csv"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".to_owned(),
        format!("--service-cluster-ip-range={}", addresses::SERVICES),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={home}/accounts.pub"),
        format!("--service-account-signing-key-file={home}/accounts.key"),
        "--allow-privileged".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--audit-policy-file={home}/audit-policy.json"),
        format!("--audit-log-path={home}/audit.log"),
        // MiB, as good as never: tests read it as one.
        "--audit-log-maxsize=10000".to_owned(),
        "--profiling=false".to_owned(),
    ];
    machine.daemon("apiserver", &flags)?;
    Ok(())
}

/// Waits for the API server and starts what works through it.
pub(crate) fn complete(machine: &Machine) -> Result<()> {
    let config = format!("--kubeconfig={}", kubeconfig(machine).display());
    let ask = ["kubectl", &config, "get", "--raw", "/readyz"];
    wait::until(Duration::from_secs(180), Duration::from_millis(200), "ready API server", || {
        machine.ok(&ask).map(|answer| answer == "ok")
    })?;
    let home = machine.home().display();
    let flags = [
        "kube-controller-manager".to_owned(),
        config.clone(),
        format!("--service-account-private-key-file={home}/accounts.key"),
        format!("--root-ca-file={home}/ca.crt"),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ];
    machine.daemon("controller-manager", &flags)?;
    machine.daemon("scheduler", &["kube-scheduler", &config, "--leader-elect=false", "--bind-address=127.0.0.1"])?;
    Ok(())
}

fn write_files(home: &Path, nodes: usize) -> Result<()> {
    let authority = Authority::new("tidepool test cluster")?;
    fs::write(home.join("ca.crt"), authority.pem()).context("cannot write the cluster's authority")?;
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let addresses = [addresses::CONTROL_PLANE, addresses::API_SERVICE, "127.0.0.1"];
    let hosts: Vec<String> = names.into_iter().chain(addresses).map(str::to_owned).collect();
    authority.write_server(home, "apiserver", &hosts)?;
    certificates::write_key_pair(home, "accounts")?;
    let mut tokens = "admin-token,admin,admin,\"system:masters\"\n".to_owned();
    for number in 1..=nodes {
        tokens.push_str(&format!("{},system:node:node{number},node{number},\"system:nodes\"\n", node_token(number)));
    }
    fs::write(home.join("tokens.csv"), tokens).context("cannot write the tokens")?;
    // Who wrote what, for tests that count writes; without bodies, which would hold Secrets.
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}],
    });
    fs::write(home.join("audit-policy.json"), policy.to_string()).context("cannot write the audit policy")?;
    write_kubeconfig(&home.join("kubeconfig"), &home.join("ca.crt"), "admin-token")
}

/// The token by which the API server knows a node's kubelet.
pub(crate) fn node_token(number: usize) -> String {
    format!("node{number}-token")
}
