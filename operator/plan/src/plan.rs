//! From a [`ValidMirror`] to the Kubernetes objects that run it.

mod config;
mod deployment;
mod guard;
mod ingress;
mod pod;
mod spread;
#[cfg(test)]
mod tests;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{
            ClientIPConfig, PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, Service, ServiceAccount,
            ServicePort, ServiceSpec, SessionAffinityConfig, VolumeResourceRequirements,
        },
        networking::v1::{Ingress, NetworkPolicy},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use tidepool_api::Retention;
use tidepool_config::{
    ByteSize,
    names::{AGENTS_PORT, AGENTS_PORT_NAME, MEMBER_PORT, MEMBER_PORT_NAME},
};

use crate::{Identity, ValidMirror, ValidStorage, names};

pub(crate) use config::configuration;
pub use config::{fingerprint, renewed};

/// How long a client stays with a member after its last connection.
const AFFINITY_SECONDS: i32 = 3600;

/// What the operator was started with and every mirror shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The image members run.
    pub image: String,
    /// When nodes pull it: `IfNotPresent`, `Always` or `Never`.
    pub pull_policy: String,
    /// The operator's namespace, where all objects of all mirrors are.
    pub namespace: String,
    /// Which events members log; none for what they log by themselves.
    pub log_level: Option<String>,
}

/// All objects of one mirror.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The members' configuration, with all files it names.
    pub config: Secret,
    /// Who reaches which port of the members.
    pub network_policy: NetworkPolicy,
    /// How many members may be away at once.
    pub budget: PodDisruptionBudget,
    /// The members' account, unless the spec names one.
    pub service_account: Option<ServiceAccount>,
    /// The members' address.
    pub service: Service,
    /// The members' claims, none where storage is ephemeral.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The members.
    pub deployments: Vec<Deployment>,
    /// How clients outside the cluster reach the members, if they may.
    pub ingress: Option<Ingress>,
}

/// Why there is no plan: a defect here rather than a user's fault.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A value of the configuration cannot be written.
    #[error("cannot write the members' configuration as YAML")]
    Config(#[source] serde_yaml::Error),
}

/// The objects of a mirror whose members are known by `identity`: a pure function, so the same mirror always gives the
/// same objects.
///
/// # Errors
/// [`PlanError`], which no valid mirror is known to cause.
pub fn plan(mirror: &ValidMirror, identity: &Identity, defaults: &Defaults) -> Result<Objects, PlanError> {
    let meta = |name: String| meta(mirror, defaults, name);
    let shared = || meta(names::service(&mirror.name));
    let configuration = configuration(mirror, identity, defaults.log_level.as_deref()).map_err(PlanError::Config)?;
    let own_account = mirror.proxy.service_account_name.is_none();
    let deployment =
        |member: &String| deployment::deployment(mirror, member, defaults, meta(names::member(&mirror.name, member)));
    Ok(Objects {
        config: config::secret(meta(names::config(&mirror.name)), configuration),
        network_policy: guard::network_policy(&mirror.name, shared()),
        budget: guard::budget(&mirror.name, shared()),
        service_account: own_account.then(|| account(shared())),
        service: service(mirror, shared()),
        claims: claims(mirror, &meta),
        deployments: members(mirror).iter().map(deployment).collect(),
        ingress: mirror.ingress.as_ref().map(|valid| ingress::ingress(&mirror.name, valid, shared())),
    })
}

/// What tells the mirror's Deployments apart. Each volume has one of its own, for its content stays with it; what has no
/// volume is all the same.
fn members(mirror: &ValidMirror) -> Vec<String> {
    match &mirror.storage {
        ValidStorage::Volume { .. } => (0..mirror.replicas).map(|number| number.to_string()).collect(),
        ValidStorage::Ephemeral { .. } => vec!["ephemeral".to_owned()],
    }
}

fn meta(mirror: &ValidMirror, defaults: &Defaults, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(defaults.namespace.clone()),
        labels: Some(names::labels(&mirror.name)),
        owner_references: Some(vec![mirror.owner()]),
        ..ObjectMeta::default()
    }
}

fn account(metadata: ObjectMeta) -> ServiceAccount {
    ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() }
}

fn service(mirror: &ValidMirror, metadata: ObjectMeta) -> Service {
    let port = |name: &str, port: u16, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::String(name.to_owned())),
        app_protocol: Some(protocol.to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let ports = vec![port(MEMBER_PORT_NAME, MEMBER_PORT, "http"), port(AGENTS_PORT_NAME, AGENTS_PORT, "https")];
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(names::selector(&mirror.name)),
        ports: Some(ports),
        // A client that stays with one member is sent no index by one and to another for the image in it, and what it
        // pulls again is there. (Agents know the members themselves.)
        session_affinity: (mirror.replicas > 1).then(|| "ClientIP".to_owned()),
        // The API server would set it too, and keep it when the other goes, which it then refuses.
        session_affinity_config: (mirror.replicas > 1).then_some(SessionAffinityConfig {
            client_ip: Some(ClientIPConfig { timeout_seconds: Some(AFFINITY_SECONDS) }),
        }),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

fn claims(mirror: &ValidMirror, meta: &impl Fn(String) -> ObjectMeta) -> Vec<PersistentVolumeClaim> {
    let ValidStorage::Volume { claims, class, retention, .. } = &mirror.storage else { return Vec::new() };
    let claim = |(number, size): (&i32, &ByteSize)| {
        let metadata = meta(names::member(&mirror.name, &number.to_string()));
        PersistentVolumeClaim {
            metadata: owned(metadata, *retention),
            spec: Some(claim(*size, class.as_ref())),
            status: None,
        }
    };
    claims.iter().map(claim).collect()
}

/// Without an owner a claim outlives the mirror; by its name a new mirror finds it.
fn owned(metadata: ObjectMeta, retention: Retention) -> ObjectMeta {
    match retention {
        Retention::Retain => ObjectMeta { owner_references: None, ..metadata },
        Retention::Delete => metadata,
    }
}

fn claim(size: ByteSize, class: Option<&String>) -> PersistentVolumeClaimSpec {
    let requests = [("storage".to_owned(), Quantity(size.to_string()))].into();
    PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
        storage_class_name: class.cloned(),
        ..PersistentVolumeClaimSpec::default()
    }
}
