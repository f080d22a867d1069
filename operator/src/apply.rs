//! How an object is written: server-side apply under one name, and only when something differs.

#[cfg(test)]
mod tests;

use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};
use tidepool_config::names::MIRROR_LABEL;
use tidepool_plan::names::{MANAGED_BY, MANAGED_BY_LABEL, MANAGER, STATUS_MANAGER};

use crate::{
    compare::covers,
    resources::{Namespaced, Watched, label, name},
};

/// Annotation with a hash of what was applied: a field that is wanted no more shows by it alone.
const APPLIED_HASH: &str = "tidepool.dev/applied-hash";

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("cannot write {kind} {name} as JSON")]
    Json { kind: String, name: String, source: serde_json::Error },
    #[error("{kind} {name} is there and is not the operator's: delete or rename it")]
    Foreign { kind: String, name: String },
    #[error("cannot apply {kind} {name}")]
    Apply { kind: String, name: String, source: Box<kube::Error> },
    #[error("cannot delete {kind} {name}")]
    Delete { kind: String, name: String, source: Box<kube::Error> },
}

/// Makes an object what is wanted, and returns it as it then is. `live` is the object as last seen.
pub(crate) async fn ensure<K: Namespaced>(client: &Client, wanted: &K, live: Option<&K>) -> Result<K, ApplyError> {
    if let Some(live) = live
        && !differs(wanted, live)?
    {
        return Ok(live.clone());
    }
    let (kind, name) = (K::kind(&()).into_owned(), name(wanted).to_owned());
    let desired = hashed(json_of(wanted)?);
    let api = Api::<K>::namespaced(client.clone(), wanted.meta().namespace.as_deref().unwrap_or_default());
    // The caches hold what has our label: they do not know whether somebody else's object has the name.
    let there = api.get_metadata_opt(&name).await;
    let there = there.map_err(|source| ApplyError::Apply {
        kind: kind.clone(),
        name: name.clone(),
        source: Box::new(source),
    })?;
    if there.is_some_and(|there| !is_ours(&there, wanted)) {
        return Err(ApplyError::Foreign { kind, name });
    }
    tracing::info!(object.kind = kind, object.name = name, "applying");
    let applied = write(&api, &name, &desired).await;
    applied.map_err(|source| ApplyError::Apply { kind, name, source: Box::new(source) })
}

/// Applies an object. Where somebody changed the key of a list's item, such as the number of a port, apply would add ours
/// beside it, and both together may be invalid: then lists are first replaced as a whole.
async fn write<K: Namespaced>(api: &Api<K>, name: &str, desired: &Value) -> Result<K, kube::Error> {
    let params = PatchParams::apply(MANAGER).force();
    let invalid = match api.patch(name, &params, &Patch::Apply(desired)).await {
        Err(kube::Error::Api(status)) if status.is_invalid() => status,
        done => return done,
    };
    let manager = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(name, &manager, &Patch::Merge(desired)).await {
        Ok(_) => api.patch(name, &params, &Patch::Apply(desired)).await,
        // It was not that: the first answer tells what is wrong.
        Err(_) => Err(kube::Error::Api(invalid)),
    }
}

/// Whether an object is another than what is wanted.
pub(crate) fn differs<K: Namespaced>(wanted: &K, live: &K) -> Result<bool, ApplyError> {
    Ok(!is_ours(live, wanted) || !covers(&hashed(json_of(wanted)?), &json_of(live)?))
}

fn json_of<K: Namespaced>(object: &K) -> Result<Value, ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), name(object).to_owned());
    serde_json::to_value(object).map_err(|source| ApplyError::Json { kind, name, source })
}

/// Whether an object that is there already was made by the operator for the same mirror: it has the labels, or, should
/// somebody have taken them away, the owner.
fn is_ours(live: &impl Resource, wanted: &impl Resource) -> bool {
    let owner = wanted.meta().owner_references.iter().flatten().next();
    let owned = owner.is_some_and(|owner| live.meta().owner_references.iter().flatten().any(|it| it.uid == owner.uid));
    owned || [MANAGED_BY_LABEL, MIRROR_LABEL].iter().all(|key| label(live, key) == label(wanted, key))
}

/// The object with the hash of itself.
fn hashed(mut object: Value) -> Value {
    let hash = tidepool_plan::fingerprint(&object.to_string());
    object["metadata"]["annotations"][APPLIED_HASH] = Value::String(hash);
    object
}

/// Deletes what was made for the mirror with uid `owner` and is wanted no more.
pub(crate) async fn prune<K: Namespaced>(
    client: &Client,
    owner: &str,
    live: &[std::sync::Arc<K>],
    keep: &[&K],
) -> Result<(), ApplyError> {
    prune_into(client, owner, live, keep, &mut Vec::new()).await
}

/// The same, and notes in `gone` the names of what goes: also of what went before something failed.
///
/// Our label alone would not do: labels can be copied. Our owner reference must be there too.
pub(crate) async fn prune_into<K: Namespaced>(
    client: &Client,
    owner: &str,
    live: &[std::sync::Arc<K>],
    keep: &[&K],
    gone: &mut Vec<String>,
) -> Result<(), ApplyError> {
    for object in live.iter().filter(|object| !keep.iter().any(|kept| name(*kept) == name(&***object))) {
        let owned = object.meta().owner_references.iter().flatten().any(|reference| reference.uid == owner);
        let going = object.meta().deletion_timestamp.is_some();
        if owned && !going && label(&**object, MANAGED_BY_LABEL) == Some(MANAGED_BY) {
            delete(client, &**object).await?;
            gone.push(name(&**object).to_owned());
        }
    }
    Ok(())
}

async fn delete<K: Namespaced>(client: &Client, object: &K) -> Result<(), ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), name(object).to_owned());
    let api = Api::<K>::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or_default());
    // The very object that was seen, not another that took its name since.
    let preconditions = Some(Preconditions { uid: object.meta().uid.clone(), resource_version: None });
    tracing::info!(object.kind = kind, object.name = name, "deleting, it is wanted no more");
    match api.delete(&name, &DeleteParams { preconditions, ..DeleteParams::background() }).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::Delete { kind, name, source: Box::new(source) }),
    }
}

/// Writes the status of a cluster-scoped object, if it is still the one with this uid.
pub(crate) async fn apply_status<K: Watched>(
    api: &Api<K>,
    object: &impl Resource<DynamicType = ()>,
    status: &impl serde::Serialize,
) -> Result<(), kube::Error> {
    let name = name(object);
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.meta().uid},
        "status": status,
    });
    api.patch_status(name, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(&patch)).await?;
    Ok(())
}
