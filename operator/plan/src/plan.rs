//! From a [`ValidMirror`] to the Kubernetes objects that run it.

mod config;
mod deployment;
mod pod;
#[cfg(test)]
mod tests;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, Service, ServiceAccount, ServicePort,
            ServiceSpec, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use tidepool_api::Retention;
use tidepool_config::{ByteSize, names::MEMBER_PORT};

use crate::{ValidMirror, ValidStorage, names};

pub use config::fingerprint;
pub(crate) use config::hex;

/// What the operator was started with and every mirror shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The image members run.
    pub image: String,
    /// When nodes pull it: `IfNotPresent`, `Always` or `Never`.
    pub pull_policy: String,
    /// The operator's namespace, where all objects of all mirrors are.
    pub namespace: String,
}

/// All objects of one mirror.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The members' configuration.
    pub config: Secret,
    /// The members' identity, unless the spec names one.
    pub service_account: Option<ServiceAccount>,
    /// The members' address.
    pub service: Service,
    /// The members' claims, none where storage is ephemeral.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The members.
    pub deployments: Vec<Deployment>,
}

/// Why there is no plan: a defect here rather than a user's fault.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A value of the configuration cannot be written.
    #[error("cannot write the members' configuration as YAML")]
    Config(#[source] serde_yaml::Error),
}

/// The objects of a mirror: a pure function, so the same mirror always gives the same objects.
///
/// # Errors
/// [`PlanError`], which no valid mirror is known to cause.
pub fn plan(mirror: &ValidMirror, defaults: &Defaults) -> Result<Objects, PlanError> {
    let meta = |name: String| meta(mirror, defaults, name);
    let config = config::proxy_yaml(mirror).map_err(PlanError::Config)?;
    let deployment =
        deployment::deployment(mirror, defaults, &config, meta(names::member(&mirror.name, member(mirror))));
    let own_account = mirror.proxy.service_account_name.is_none();
    Ok(Objects {
        config: config::secret(meta(names::config(&mirror.name)), config),
        service_account: own_account.then(|| account(meta(names::service(&mirror.name)))),
        service: service(mirror, meta(names::service(&mirror.name))),
        claims: claim(mirror, &meta).into_iter().collect(),
        deployments: vec![deployment],
    })
}

/// The name of the only member there is so far.
fn member(mirror: &ValidMirror) -> &'static str {
    match mirror.storage {
        ValidStorage::Volume { .. } => "0",
        ValidStorage::Ephemeral { .. } => "ephemeral",
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
    let port = ServicePort {
        name: Some(names::REGISTRY_PORT_NAME.to_owned()),
        port: i32::from(MEMBER_PORT),
        target_port: Some(IntOrString::String(names::REGISTRY_PORT_NAME.to_owned())),
        app_protocol: Some("http".to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(names::selector(&mirror.name)),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

fn claim(mirror: &ValidMirror, meta: &impl Fn(String) -> ObjectMeta) -> Option<PersistentVolumeClaim> {
    let ValidStorage::Volume { size: ByteSize(bytes), class, retention } = &mirror.storage else { return None };
    let mut metadata = meta(names::member(&mirror.name, member(mirror)));
    match retention {
        // Without an owner it outlives the mirror; by its name a new mirror finds it.
        Retention::Retain => metadata.owner_references = None,
        Retention::Delete => {}
    }
    let requests = [("storage".to_owned(), Quantity(ByteSize(*bytes).to_string()))].into();
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
        storage_class_name: class.clone(),
        ..PersistentVolumeClaimSpec::default()
    };
    Some(PersistentVolumeClaim { metadata, spec: Some(spec), status: None })
}
