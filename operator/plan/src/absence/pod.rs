//! What an agent's pod tells: whether the agent is there, and if not why and what to do.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use crate::probe::PULL_FAILED;

/// What is kept of an agent's pod, of which there may be thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// The node it is for.
    pub node: String,
    /// Whether it is going.
    pub ending: bool,
    /// Why the agent is not there; none where its pod is ready.
    pub absent: Option<Absent>,
}

/// Why an agent is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// In a word.
    pub(super) why: Why,
    /// What the cluster says of it. It has other words each time, of the same thing.
    pub(super) says: String,
}

/// Kinds of it; of two pods of a node the greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    NoPod,
    NotReady,
    Starting,
    Unscheduled,
    Crashing,
    ImageNotPulled,
    /// What else is known of its pods is old then.
    KubeletAway,
}

impl Why {
    /// Whether the agent itself may be alive, and has not begun anew when it is back.
    pub(super) fn goes_on(self) -> bool {
        matches!(self, Self::NotReady | Self::KubeletAway)
    }

    /// What is wrong and what to do; the same for as long as it is.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::NoPod => {
                "no agent's pod is on this node: agent.nodeSelector, agent.affinity or agent.tolerations leave it out, or DaemonSet tidepool-agent cannot make it (kubectl describe); if that is meant, label the node tidepool.dev/exclude=true or leave it out in spec.nodes.selector, and no mirror counts it"
            }
            Self::KubeletAway => {
                "the kubelet of this node does not answer, so whether its agent runs is not known: see the Node (kubectl describe)"
            }
            Self::NotReady => "the agent's pod is not ready: see its events (kubectl describe) and its log",
            Self::Starting => "the agent's pod does not start: see its events (kubectl describe)",
            Self::Unscheduled => {
                "the agent's pod is not scheduled: make room on this node, or give it a higher agent.priorityClassName"
            }
            Self::Crashing => "the agent ends again and again: see the log of its pod (kubectl logs --previous)",
            Self::ImageNotPulled => {
                "the image of the agent's pod cannot be pulled: mend image.repository, image.tag or imagePullSecrets, or this node's way to that registry"
            }
        }
    }
}

impl AgentPod {
    /// Reads it; none if it is for no node.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.clone().unwrap_or_default();
        let absent = (!is(&status, "Ready", "True")).then(|| absent(&status));
        Some(Self { node: node(pod)?, ending: pod.metadata.deletion_timestamp.is_some(), absent })
    }
}

/// The node of a pod; before it is scheduled, the one that its DaemonSet made it for.
fn node(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = &spec.node_name {
        return Some(node.clone());
    }
    let required = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &required.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields.filter(|field| field.key == "metadata.name").find_map(|field| field.values.as_ref()?.first().cloned())
}

fn is(status: &PodStatus, kind: &str, value: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == value)
}

fn absent(status: &PodStatus) -> Absent {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let failing = containers.iter().find(|container| !container.ready);
    let (why, says) = match failing {
        _ if is(status, "PodScheduled", "False") => (Why::Unscheduled, unscheduled(status)),
        // Evicted, say: its DaemonSet makes another.
        None if containers.is_empty() => (Why::Starting, words([status.reason.as_deref(), status.message.as_deref()])),
        // The kubelet said last that all is well, and somebody else that the pod is not ready.
        None => (Why::KubeletAway, String::new()),
        Some(container) => of_container(container),
    };
    Absent { why, says }
}

fn unscheduled(status: &PodStatus) -> String {
    let conditions = status.conditions.iter().flatten();
    let found = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled");
    found.and_then(|condition| condition.message.clone()).unwrap_or_default()
}

fn of_container(container: &ContainerStatus) -> (Why, String) {
    let ended = || container.last_state.as_ref().map(ended).unwrap_or_default();
    match container.state.as_ref() {
        Some(ContainerState { waiting: Some(waiting), .. }) => {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            if reason == "CrashLoopBackOff" {
                return (Why::Crashing, ended());
            }
            let why = if PULL_FAILED.contains(&reason) { Why::ImageNotPulled } else { Why::Starting };
            (why, words([waiting.reason.as_deref(), waiting.message.as_deref()]))
        }
        Some(state @ ContainerState { terminated: Some(_), .. }) => (Why::Crashing, self::ended(state)),
        // That it was started anew may be months ago.
        Some(_) => (Why::NotReady, String::new()),
        None => (Why::Starting, String::new()),
    }
}

/// How a container ended.
fn ended(state: &ContainerState) -> String {
    let Some(ended) = &state.terminated else { return String::new() };
    let code = format!("exit code {}", ended.exit_code);
    words([ended.reason.as_deref(), Some(&code), ended.message.as_deref()])
}

fn words<const N: usize>(words: [Option<&str>; N]) -> String {
    words.into_iter().flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ")
}
