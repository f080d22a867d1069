//! What a mirror's reconcile sees: the objects it refers to and those it has, all from the caches.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, runtime::reflector::ObjectRef};
use tidepool_api::{CaKind, RegistryMirror};
use tidepool_plan::{
    ClaimFact, ClassFact, Referenced, Source,
    names::{self, MANAGED_BY, MANAGED_BY_LABEL},
    quantity,
};

use crate::{
    caches::{Caches, of_mirror},
    context::Context,
    resources::{label, name},
};

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What was seen.
pub(super) struct Observed {
    /// What the spec refers to.
    pub(super) referenced: Referenced,
    /// What is there.
    pub(super) live: Live,
}

/// Objects of a mirror, as last seen.
pub(super) struct Live {
    pub(super) secrets: Vec<Arc<Secret>>,
    pub(super) service_accounts: Vec<Arc<ServiceAccount>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    pub(super) deployments: Vec<Arc<Deployment>>,
    pub(super) ingresses: Vec<Arc<Ingress>>,
    pub(super) network_policies: Vec<Arc<NetworkPolicy>>,
    pub(super) budgets: Vec<Arc<PodDisruptionBudget>>,
}

impl Live {
    /// The members' configuration, as it is.
    pub(super) fn config(&self, mirror: &str) -> Option<&Secret> {
        let wanted = names::config(mirror);
        self.secrets.iter().map(|secret| &**secret).find(|secret| name(*secret) == wanted)
    }

    /// The claims of its members, by their numbers: also those that former members left.
    fn claims(&self, mirror: &RegistryMirror) -> BTreeMap<i32, ClaimFact> {
        let fact = |claim: &Arc<PersistentVolumeClaim>| {
            Some((names::number(name(mirror), name(&**claim))?, claim_fact(claim, mirror)?))
        };
        self.claims.iter().filter_map(fact).collect()
    }
}

pub(super) fn observe(mirror: &RegistryMirror, context: &Context) -> Observed {
    let (caches, name) = (&context.caches, name(mirror));
    let live = Live {
        secrets: of_mirror(&caches.secrets, name),
        service_accounts: of_mirror(&caches.service_accounts, name),
        services: of_mirror(&caches.services, name),
        claims: of_mirror(&caches.claims, name),
        deployments: of_mirror(&caches.deployments, name),
        ingresses: of_mirror(&caches.ingresses, name),
        network_policies: of_mirror(&caches.network_policies, name),
        budgets: of_mirror(&caches.budgets, name),
    };
    let mut referenced = references(mirror, caches, &context.defaults.namespace);
    referenced.claims = live.claims(mirror);
    Observed { referenced, live }
}

/// What a spec refers to, as far as it is there. Claims are left out: they decide whether members can be made, which
/// only the mirror's own controller does. Agents of a mirror without members pull past it.
pub(crate) fn references(mirror: &RegistryMirror, caches: &Caches, namespace: &str) -> Referenced {
    let sources = tidepool_plan::references(&mirror.spec).filter_map(|(kind, name)| {
        let source = source(kind, name, caches, namespace)?;
        Some(((kind, name.to_owned()), source))
    });
    let sources = sources.collect();
    Referenced { sources, storage_classes: classes(caches), claims: BTreeMap::new() }
}

fn source(kind: CaKind, name: &str, caches: &Caches, namespace: &str) -> Option<Source> {
    match kind {
        CaKind::ConfigMap => {
            let found = caches.config_maps.get(&ObjectRef::<ConfigMap>::new(name).within(namespace))?;
            let texts = found.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
            let binary = found.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
            Some(Source { data: texts.chain(binary).collect(), ours: is_ours(&*found) })
        }
        CaKind::Secret => {
            let found = caches.secrets.get(&ObjectRef::<Secret>::new(name).within(namespace))?;
            let data = found.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
            Some(Source { data: data.collect(), ours: is_ours(&*found) })
        }
    }
}

/// Whether the operator made it: by its label, or, should somebody have taken that away, by its owner.
fn is_ours(object: &impl Resource) -> bool {
    let (group, kind) = (RegistryMirror::group(&()), RegistryMirror::kind(&()));
    let in_group = |version: &str| version.split_once('/').is_some_and(|(it, _)| it == group);
    let mut owners = object.meta().owner_references.iter().flatten();
    label(object, MANAGED_BY_LABEL) == Some(MANAGED_BY)
        || owners.any(|owner| owner.kind == kind && in_group(&owner.api_version))
}

pub(super) fn classes(caches: &Caches) -> Vec<ClassFact> {
    let fact = |class: &k8s_openapi::api::storage::v1::StorageClass| ClassFact {
        name: name(class).to_owned(),
        default: class
            .metadata
            .annotations
            .iter()
            .flatten()
            .any(|(key, value)| key == DEFAULT_CLASS && value == "true"),
        expandable: class.allow_volume_expansion.unwrap_or_default(),
    };
    caches.classes.state().iter().map(|class| fact(class)).collect()
}

/// Whether an object goes with the mirror of this uid.
pub(super) fn is_owned(object: &impl Resource, uid: Option<&str>) -> bool {
    object.meta().owner_references.iter().flatten().any(|owner| Some(owner.uid.as_str()) == uid)
}

fn claim_fact(claim: &PersistentVolumeClaim, mirror: &RegistryMirror) -> Option<ClaimFact> {
    let spec = claim.spec.as_ref()?;
    let requested = spec.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    Some(ClaimFact {
        requested: bytes(&requested.0)?,
        capacity: capacity.and_then(|capacity| bytes(&capacity.0)),
        class: spec.storage_class_name.clone(),
        owned: is_owned(claim, mirror.metadata.uid.as_deref()),
    })
}

/// The bytes of a quantity of storage.
pub(super) fn bytes(text: &str) -> Option<u64> {
    // Exact for all sizes below 8 PiB; beyond, within a byte in 2^53.
    quantity(text).filter(|bytes| *bytes >= 0.0).map(|bytes| bytes as u64)
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_ours_is_known_by_its_label_or_its_owner() {
        let ours = |metadata: serde_json::Value| {
            let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
            is_ours(&Secret { metadata, ..Secret::default() })
        };
        let owned = |group: &str, kind: &str| {
            let owner = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "name": "reef", "uid": "1"});
            json!({"name": "mirror-reef-config", "ownerReferences": [owner]})
        };
        assert!(ours(json!({"name": "x", "labels": {MANAGED_BY_LABEL: MANAGED_BY}})));
        assert!(ours(owned("tidepool.dev", "RegistryMirror")));
        assert!(!ours(owned("cert-manager.io", "Certificate")) && !ours(owned("tidepool.dev", "MirrorNode")));
        assert!(!ours(json!({"name": "mirror-reef-config", "labels": {MANAGED_BY_LABEL: "Helm"}})));
    }
}
