//! What a probe pod's status tells.

use k8s_openapi::api::core::v1::{ContainerState, Pod};

/// What became of a probe pod so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Waiting,
    /// Its image was pulled: from the agent, for it is nowhere else.
    Pulled,
    /// Its image could not be pulled: what the runtime says.
    PullFailed(String),
    /// The node does not run it, for other reasons.
    Refused(String),
}

/// The kubelet's words for a pull that failed.
pub(crate) const PULL_FAILED: [&str; 5] =
    ["ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed", "ImageInspectError"];

impl Outcome {
    /// Reads it.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let Some(status) = &pod.status else { return Self::Waiting };
        let container = status.container_statuses.iter().flatten().next();
        if status.phase.as_deref() == Some("Succeeded")
            || container.is_some_and(|container| !container.image_id.is_empty())
        {
            return Self::Pulled;
        }
        match container.and_then(|container| container.state.as_ref()) {
            Some(ContainerState { terminated: Some(_), .. } | ContainerState { running: Some(_), .. }) => {
                return Self::Pulled;
            }
            Some(ContainerState { waiting: Some(waiting), .. }) => {
                let reason = waiting.reason.as_deref().unwrap_or_default();
                if PULL_FAILED.contains(&reason) {
                    return Self::PullFailed(waiting.message.clone().unwrap_or_else(|| reason.to_owned()));
                }
                // What comes after the pull did not work.
                if reason.starts_with("CreateContainer") || reason == "RunContainerError" {
                    return Self::Pulled;
                }
            }
            Some(ContainerState { .. }) | None => {}
        }
        if status.phase.as_deref() == Some("Failed") {
            let words = [status.reason.as_deref(), status.message.as_deref()];
            return Self::Refused(words.into_iter().flatten().collect::<Vec<_>>().join(": "));
        }
        Self::Waiting
    }
}
