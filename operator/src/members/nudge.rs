//! Makes a kubelet look at a pod now: it mounts changed Secrets within two minutes, or as soon as the pod itself changes.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tidepool_plan::names::{MANAGER, REVISION};

use crate::{context::Context, report::report, resources::name};

/// Writes the revision on the pod, unless it is there: one write for each revision and pod.
pub(super) async fn nudge(context: &Context, pod: &Pod, revision: &str) {
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.and_then(|annotations| annotations.get(REVISION)).is_some_and(|it| it == revision) {
        return;
    }
    if context.leadership.check().is_err() {
        return;
    }
    // With its uid: another pod of the same name would be another pod.
    let patch = json!({"metadata": {"uid": pod.metadata.uid, "annotations": {REVISION: revision}}});
    let api = Api::<Pod>::namespaced(context.client.clone(), &context.defaults.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(name(pod), &params, &Patch::Merge(&patch)).await {
        Ok(_) => tracing::info!(pod = name(pod), revision, "nudged the kubelet: a new configuration"),
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        // Tried again with the next question; and the kubelet looks by itself, later.
        Err(error) => tracing::warn!(pod = name(pod), error = report(&error), "cannot nudge the kubelet"),
    }
}
