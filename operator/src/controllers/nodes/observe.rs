//! How the mirrors stand, what agents were told last, and which Nodes have no MirrorNode.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use kube::{Resource as _, core::PartialObjectMeta, runtime::reflector::Store};
use tidepool_config::{NodesDocument, names::NODES_KEY};
use tidepool_plan::{Standing, validate};

use crate::{
    caches::Caches,
    context::Context,
    controllers::mirror::observe::references,
    resources::{AnyMirror, name},
};

/// What was seen.
pub(super) struct Observed {
    /// All mirrors that are not going.
    pub(super) standings: Vec<Standing>,
    /// The document as it is, if it can be read.
    pub(super) document: Option<NodesDocument>,
    /// Nodes without a MirrorNode.
    pub(super) unreported: Vec<Arc<PartialObjectMeta<Node>>>,
}

pub(super) fn observe(context: &Context) -> Observed {
    Observed {
        standings: standings(&context.caches.mirrors, context),
        document: published_document(&context.caches),
        unreported: unreported(&context.caches),
    }
}

fn standings(mirrors: &Store<AnyMirror>, context: &Context) -> Vec<Standing> {
    let staying = mirrors.state_filter(|mirror| mirror.meta().deletion_timestamp.is_none());
    staying.iter().map(|mirror| standing(mirror, context)).collect()
}

fn standing(mirror: &AnyMirror, context: &Context) -> Standing {
    let uid = mirror.meta().uid.clone().unwrap_or_default();
    match &mirror.0 {
        Ok(mirror) => match validate(mirror, &references(mirror, &context.caches, &context.defaults.namespace)) {
            Ok(valid) => Standing::Valid(Box::new(valid)),
            Err(_) => Standing::Invalid { uid, mode: Some(mirror.spec.nodes.mode) },
        },
        Err(_) => Standing::Invalid { uid, mode: None },
    }
}

/// The document as agents have it; `None` if there is none, or none that this version can read.
pub(crate) fn published_document(caches: &Caches) -> Option<NodesDocument> {
    let map = caches.document.state().into_iter().next()?;
    let document: NodesDocument = serde_json::from_str(map.data.as_ref()?.get(NODES_KEY)?).ok()?;
    document.check_version().ok()?;
    Some(document)
}

fn unreported(caches: &Caches) -> Vec<Arc<PartialObjectMeta<Node>>> {
    let reports = caches.mirror_nodes.state();
    let reported: HashSet<_> = reports.iter().map(|report| name(&**report)).collect();
    caches.nodes.state_filter(|node| !reported.contains(name(node)) && node.metadata.deletion_timestamp.is_none())
}
