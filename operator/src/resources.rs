//! The kinds the operator handles, and how each is reached.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, core::DeserializeGuard};
use serde::{Serialize, de::DeserializeOwned};
use tidepool_api::RegistryMirror;

/// A RegistryMirror that may not be readable: one object that this version cannot read must not stop the watch of all.
pub(crate) type AnyMirror = DeserializeGuard<RegistryMirror>;

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
