//! The pod of a member. It meets Pod Security Standard `restricted`.

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapProjection, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction, KeyToPath,
        PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, Probe, ProjectedVolumeSource,
        ResourceRequirements, SeccompProfile, SecretProjection, SecretVolumeSource, SecurityContext, Volume,
        VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use tidepool_api::CaKind;
use tidepool_config::names::{ADMIN_PORT, MEMBER_PORT};

use super::{
    Defaults,
    config::{CA_DIR, CONFIG_DIR, VOLUME_DIR, ca_path},
    member,
};
use crate::{ValidMirror, ValidStorage, ValidUpstream, names};

/// User and group of members; "nobody" in images without users.
const USER: i64 = 65532;
/// Longer than members drain, so that a pull in flight ends.
const GRACE_SECONDS: i64 = 75;

pub(super) fn pod_spec(mirror: &ValidMirror, defaults: &Defaults) -> PodSpec {
    let settings = mirror.proxy.clone();
    let account = settings.service_account_name.clone().unwrap_or_else(|| names::service(&mirror.name));
    PodSpec {
        containers: vec![container(mirror, defaults)],
        volumes: Some(volumes(mirror)),
        service_account_name: Some(account),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Else each start of a pod walks the whole store.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        node_selector: Some(settings.node_selector).filter(|labels| !labels.is_empty()),
        tolerations: Some(settings.tolerations).filter(|list| !list.is_empty()),
        topology_spread_constraints: Some(settings.topology_spread_constraints).filter(|list| !list.is_empty()),
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
        ports: Some(vec![port(names::REGISTRY_PORT_NAME, MEMBER_PORT), port(names::ADMIN_PORT_NAME, ADMIN_PORT)]),
        // Ready soon after it listens; not ready soon after it does not.
        readiness_probe: Some(probe("/readyz", 2, 3)),
        // A busy disk is no reason to kill it: a minute of silence is.
        liveness_probe: Some(probe("/livez", 10, 6)),
        resources: Some(mirror.proxy.resources.clone().unwrap_or_else(default_resources)),
        volume_mounts: Some(mounts(mirror)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
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
    let list = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), Quantity((*value).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: list(&[("cpu", "100m"), ("memory", "64Mi")]),
        limits: list(&[("memory", "512Mi")]),
        claims: None,
    }
}

fn mounts(mirror: &ValidMirror) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount("config", CONFIG_DIR, true), mount("store", VOLUME_DIR, false)];
    if mirror.upstreams.iter().any(|upstream| upstream.ca.is_some()) {
        mounts.push(mount("ca", CA_DIR, true));
    }
    mounts
}

fn volumes(mirror: &ValidMirror) -> Vec<Volume> {
    let config = SecretVolumeSource { secret_name: Some(names::config(&mirror.name)), ..Default::default() };
    let config = Volume { name: "config".to_owned(), secret: Some(config), ..Volume::default() };
    let store = Volume { name: "store".to_owned(), ..store(mirror) };
    let sources: Vec<_> = mirror.upstreams.iter().filter_map(ca_source).collect();
    let ca = (!sources.is_empty()).then(|| Volume {
        name: "ca".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), ..ProjectedVolumeSource::default() }),
        ..Volume::default()
    });
    [config, store].into_iter().chain(ca).collect()
}

fn store(mirror: &ValidMirror) -> Volume {
    match &mirror.storage {
        ValidStorage::Volume { .. } => {
            let claim_name = names::member(&mirror.name, member(mirror));
            let claim = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
            Volume { persistent_volume_claim: Some(claim), ..Volume::default() }
        }
        ValidStorage::Ephemeral { limit } => {
            let size_limit = Some(Quantity(limit.to_string()));
            Volume { empty_dir: Some(EmptyDirVolumeSource { size_limit, medium: None }), ..Volume::default() }
        }
    }
}

/// The one key that holds the certificates, under the folder of the registry.
fn ca_source(upstream: &ValidUpstream) -> Option<VolumeProjection> {
    let reference = &upstream.ca.as_ref()?.reference;
    let items = Some(vec![KeyToPath { key: reference.key.clone(), path: ca_path(upstream), mode: None }]);
    let name = reference.name.clone();
    Some(match reference.kind {
        CaKind::ConfigMap => VolumeProjection {
            config_map: Some(ConfigMapProjection { name, items, optional: None }),
            ..VolumeProjection::default()
        },
        CaKind::Secret => VolumeProjection {
            secret: Some(SecretProjection { name, items, optional: None }),
            ..VolumeProjection::default()
        },
    })
}
