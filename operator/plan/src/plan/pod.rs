//! The pod of a member. It meets Pod Security Standard `restricted`.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction, PersistentVolumeClaimVolumeSource,
        PodSecurityContext, PodSpec, Probe, ResourceRequirements, SecretVolumeSource, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use tidepool_config::names::{ADMIN_PORT, AGENTS_PORT, AGENTS_PORT_NAME, MEMBER_PORT, MEMBER_PORT_NAME};

use super::{
    Defaults,
    config::{CONFIG_DIR, VOLUME_DIR},
    spread::spread,
};
use crate::{ValidMirror, ValidStorage, names, quantity::quantities, restricted};

/// Longer than members drain, so that a pull in flight ends.
const GRACE_SECONDS: i64 = 75;

pub(super) fn pod_spec(mirror: &ValidMirror, member: &str, defaults: &Defaults) -> PodSpec {
    let settings = mirror.proxy.clone();
    let account = settings.service_account_name.clone().unwrap_or_else(|| names::service(&mirror.name));
    PodSpec {
        containers: vec![container(mirror, defaults)],
        volumes: Some(volumes(mirror, member)),
        service_account_name: Some(account),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            fs_group: Some(restricted::USER),
            // Else each start of a pod walks the whole store.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..restricted::pod()
        }),
        node_selector: Some(settings.node_selector).filter(|labels| !labels.is_empty()),
        tolerations: Some(settings.tolerations).filter(|list| !list.is_empty()),
        topology_spread_constraints: Some(spread(mirror)),
        priority_class_name: settings.priority_class_name,
        ..PodSpec::default()
    }
}

fn container(mirror: &ValidMirror, defaults: &Defaults) -> Container {
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "proxy".to_owned(),
        image: Some(defaults.image.clone()),
        image_pull_policy: Some(defaults.pull_policy.clone()),
        command: Some(vec!["/tidepool-proxy".to_owned()]),
        args: Some(vec!["--config".to_owned(), format!("{CONFIG_DIR}/{}", names::CONFIG_KEY)]),
        ports: Some(vec![
            port(MEMBER_PORT_NAME, MEMBER_PORT),
            port(AGENTS_PORT_NAME, AGENTS_PORT),
            port(names::ADMIN_PORT_NAME, ADMIN_PORT),
        ]),
        // Ready soon after it listens; not ready soon after it does not.
        readiness_probe: Some(probe("/readyz", 2, 3)),
        // A busy disk is no reason to kill it: a minute of silence is.
        liveness_probe: Some(probe("/livez", 10, 6)),
        resources: Some(mirror.proxy.resources.clone().unwrap_or_else(default_resources)),
        volume_mounts: Some(mounts()),
        security_context: Some(restricted::container()),
        ..Container::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(names::ADMIN_PORT_NAME.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// Modest requests, so that a small cluster takes it; a limit on memory, which members hold flat; none on CPU.
fn default_resources() -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "100m"), ("memory", "64Mi")])),
        limits: Some(quantities(&[("memory", "512Mi")])),
        claims: None,
    }
}

fn mounts() -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    vec![mount("config", CONFIG_DIR, true), mount("store", VOLUME_DIR, false)]
}

fn volumes(mirror: &ValidMirror, member: &str) -> Vec<Volume> {
    let config = SecretVolumeSource {
        secret_name: Some(names::config(&mirror.name)),
        // For the pod's group alone.
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    let config = Volume { name: "config".to_owned(), secret: Some(config), ..Volume::default() };
    vec![config, Volume { name: "store".to_owned(), ..store(mirror, member) }]
}

fn store(mirror: &ValidMirror, member: &str) -> Volume {
    match &mirror.storage {
        ValidStorage::Volume { .. } => {
            let claim_name = names::member(&mirror.name, member);
            let claim = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
            Volume { persistent_volume_claim: Some(claim), ..Volume::default() }
        }
        ValidStorage::Ephemeral { limit } => {
            let size_limit = Some(Quantity(limit.to_string()));
            Volume { empty_dir: Some(EmptyDirVolumeSource { size_limit, medium: None }), ..Volume::default() }
        }
    }
}
