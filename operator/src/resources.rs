//! The kinds the operator handles, and how each is reached.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{Resource, api::ObjectMeta, core::DeserializeGuard};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidepool_api::RegistryMirror;

/// A RegistryMirror that may not be readable: one object that this version cannot read must not stop the watch of all.
pub(crate) type AnyMirror = DeserializeGuard<RegistryMirror>;

/// A pod of an agent, of which there is one on each node: what of it is needed, and no more of its thousands of bytes.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = Pod)]
#[serde(from = "Pod")]
pub(crate) struct AgentPod {
    metadata: ObjectMeta,
    /// None where it is for no node.
    pub(crate) seen: Option<tidepool_plan::AgentPod>,
}

impl From<Pod> for AgentPod {
    fn from(pod: Pod) -> Self {
        let seen = tidepool_plan::AgentPod::of(&pod);
        let ObjectMeta { name, namespace, uid, resource_version, .. } = pod.metadata;
        Self { metadata: ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() }, seen }
    }
}

/// What every kind that is watched can do.
pub(crate) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

/// A kind within a namespace that is written.
pub(crate) trait Namespaced: Watched + Serialize + Resource<Scope = NamespaceResourceScope> {}
impl<K: Watched + Serialize + Resource<Scope = NamespaceResourceScope>> Namespaced for K {}

/// The name of an object, which every object in the cluster has.
pub(crate) fn name(object: &impl Resource) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// The value of a label.
pub(crate) fn label<'a>(object: &'a impl Resource, label: &str) -> Option<&'a str> {
    object.meta().labels.as_ref()?.get(label).map(String::as_str)
}
