//! How the mirrors stand, what agents were told last, and which Nodes have no MirrorNode.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{Resource as _, core::PartialObjectMeta, runtime::reflector::Store};
use tidepool_config::{NodesDocument, names::NODES_KEY};
use tidepool_plan::{Standing, Told, validate};

use crate::{
    caches::Caches,
    context::Context,
    controllers::mirror::observe::references,
    resources::{AnyMirror, name},
};

/// What was seen.
pub(super) struct Observed {
    /// All mirrors that are not going, the oldest first.
    pub(super) standings: Vec<Standing>,
    /// The document as it is.
    pub(super) published: Told,
    /// How many Nodes there are.
    pub(super) nodes: usize,
    /// Nodes without a MirrorNode.
    pub(super) unreported: Vec<Arc<PartialObjectMeta<Node>>>,
}

pub(super) fn observe(context: &Context) -> Observed {
    Observed {
        standings: standings(&context.caches.mirrors, context),
        published: published(&context.caches),
        nodes: context.caches.nodes.len(),
        unreported: unreported(&context.caches),
    }
}

fn standings(mirrors: &Store<AnyMirror>, context: &Context) -> Vec<Standing> {
    let mut staying = mirrors.state_filter(|mirror| mirror.meta().deletion_timestamp.is_none());
    staying.sort_by_cached_key(|mirror| {
        (mirror.meta().creation_timestamp.as_ref().map(|time| time.0), name(&**mirror).to_owned())
    });
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

/// The document as agents have it.
pub(crate) fn published(caches: &Caches) -> Told {
    caches.document.state().first().map_or(Told::Nothing, |map| read(map))
}

fn read(map: &ConfigMap) -> Told {
    let text = map.data.as_ref().and_then(|data| data.get(NODES_KEY));
    let document = text.and_then(|text| serde_json::from_str::<NodesDocument>(text).ok());
    document.filter(|document| document.check_version().is_ok()).map_or(Told::Unreadable, Told::Document)
}

fn unreported(caches: &Caches) -> Vec<Arc<PartialObjectMeta<Node>>> {
    let reports = caches.mirror_nodes.state();
    let reported: HashSet<_> = reports.iter().map(|report| name(&**report)).collect();
    caches.nodes.state_filter(|node| !reported.contains(name(node)) && node.metadata.deletion_timestamp.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, mirror};

    #[tokio::test]
    async fn the_oldest_mirror_comes_first() {
        let made = |name: &str, time: &str| {
            let mut mirror = mirror(name, name, &serde_json::Value::Null);
            mirror.meta_mut().creation_timestamp = serde_json::from_value(time.into()).unwrap();
            mirror
        };
        let late = "2026-02-01T00:00:00Z";
        let mirrors = vec![made("a", late), made("c", "2026-01-01T00:00:00Z"), made("b", late)];
        let (context, _server) = context(mirrors, Vec::new());
        let standings = standings(&context.caches.mirrors, &context);
        assert_eq!(standings.iter().map(Standing::uid).collect::<Vec<_>>(), ["c", "a", "b"]);
    }

    #[test]
    fn a_document_that_cannot_be_read_is_not_taken_for_none() {
        let map = |text: &str| ConfigMap {
            data: Some([(NODES_KEY.to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        assert!(matches!(read(&map(r#"{"version":1}"#)), Told::Document(_)));
        for map in [ConfigMap::default(), map(""), map("{"), map(r#"{"version":2}"#)] {
            assert!(matches!(read(&map), Told::Unreadable), "{map:?}");
        }
    }
}
