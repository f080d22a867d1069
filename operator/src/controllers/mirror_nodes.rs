//! What controllers share that speak of nodes in their MirrorNodes.

use std::sync::Arc;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tidepool_api::MirrorNode;

use crate::{caches::Caches, context::Context, resources::name};

/// All reports, in the order of their names: who comes first is not left to chance.
pub(super) fn sorted(caches: &Caches) -> Vec<Arc<MirrorNode>> {
    let mut nodes = caches.mirror_nodes.state();
    nodes.sort_by(|a, b| name(&**a).cmp(name(&**b)));
    nodes
}

/// A condition of this type, status, reason and message; one that stays what it was keeps its time of transition.
pub(super) fn condition(node: &MirrorNode, kind: &str, status: &str, reason: &str, message: String) -> Condition {
    let conditions = node.status.iter().flat_map(|status| &status.conditions);
    let before = conditions.into_iter().find(|known| known.type_ == kind && known.status == status);
    // The API server keeps whole seconds.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: node.metadata.generation,
        last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
    }
}

/// Writes the one condition of a manager, and not over what the agent said since it was judged; whether it stands.
pub(super) async fn say(
    context: &Context,
    node: &MirrorNode,
    manager: &str,
    condition: Condition,
) -> Result<bool, kube::Error> {
    let patch = json!({
        "apiVersion": "tidepool.dev/v1alpha1",
        "kind": "MirrorNode",
        "metadata": {
            "name": name(node), "uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version,
        },
        "status": {"conditions": [condition]},
    });
    let api = Api::<MirrorNode>::all(context.client.clone());
    match api.patch_status(name(node), &PatchParams::apply(manager).force(), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(true),
        // It went, or changed: that rings again.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(source) => Err(source),
    }
}
