//! Writes the agents' document, and makes MirrorNodes.

use std::{sync::Arc, time::SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{api::core::v1::ConfigMap, api::core::v1::Node, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
};
use serde_json::json;
use tidepool_api::{MirrorNode, MirrorNodeSpec};
use tidepool_config::{
    NodesDocument,
    names::{NODES_CONFIG_MAP, NODES_KEY},
};
use tidepool_plan::{
    Standing,
    names::{MANAGED_BY, MANAGED_BY_LABEL, MANAGER},
};

use super::NodesError;
use crate::{apply::ensure, context::Context, resources::name, trust::agents_secret};

/// A new cluster's nodes come together; the API server need not feel it.
const CREATES_AT_ONCE: usize = 8;

/// Writes the document if it differs from the one that is there.
pub(super) async fn document(context: &Context, document: &NodesDocument) -> Result<(), NodesError> {
    let text = serde_json::to_string(document).map_err(NodesError::Document)?;
    let live = context.caches.document.state().into_iter().next();
    let same = |map: &Arc<ConfigMap>| map.data.as_ref().and_then(|data| data.get(NODES_KEY)) == Some(&text);
    if live.as_ref().is_some_and(same) {
        return Ok(());
    }
    let wanted = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NODES_CONFIG_MAP,
            "namespace": context.agent_namespace,
            "labels": {"app.kubernetes.io/name": "tidepool", MANAGED_BY_LABEL: MANAGED_BY},
        },
        "data": {NODES_KEY: text},
    });
    tracing::info!(mirrors = document.mirrors.len(), "telling agents");
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), &context.agent_namespace);
    let applied = api.patch(NODES_CONFIG_MAP, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&wanted)).await;
    applied.map_err(|source| NodesError::Apply { name: NODES_CONFIG_MAP, source: Box::new(source) })?;
    Ok(())
}

/// Gives agents a certificate for each of these mirrors, the oldest first, and takes back those of others. Returns when to do it again.
pub(super) async fn identity(context: &Context, standings: &[Standing]) -> Result<SystemTime, NodesError> {
    let mut uids: Vec<_> = standings.iter().map(|standing| standing.uid().to_owned()).collect();
    uids.retain(|uid| !uid.is_empty());
    let (wanted, due) = agents_secret(context, &uids).await?;
    let live = context.caches.agent_identity.state().into_iter().next();
    ensure(&context.client, &wanted, live.as_deref()).await.map_err(NodesError::Identity)?;
    Ok(due)
}

/// Makes a MirrorNode for each of these Nodes, to go with its Node.
pub(super) async fn mirror_nodes(
    context: &Context,
    nodes: Vec<Arc<PartialObjectMeta<Node>>>,
) -> Result<(), NodesError> {
    let api = Api::<MirrorNode>::all(context.client.clone());
    let creates = stream::iter(nodes).map(|node| create(&api, node));
    creates.buffer_unordered(CREATES_AT_ONCE).try_collect().await
}

async fn create(api: &Api<MirrorNode>, node: Arc<PartialObjectMeta<Node>>) -> Result<(), NodesError> {
    let name = name(&*node).to_owned();
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        // Blocking the deletion of a Node would need rights on Nodes that we do not want.
        block_owner_deletion: None,
    };
    let mut report = MirrorNode::new(&name, MirrorNodeSpec {});
    report.metadata = ObjectMeta { name: Some(name.clone()), owner_references: Some(vec![owner]), ..report.metadata };
    let manager = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&manager, &report).await {
        Ok(_) => Ok(()),
        // The cache is a moment behind.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(source) => Err(NodesError::Create { name, source: Box::new(source) }),
    }
}
