//! The Events that go with a change of conditions: on transition only, so that they can be read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidepool_api::{RegistryMirrorStatus, condition};

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// Why, in one word of a closed set.
    pub reason: String,
    /// What is so and what to do.
    pub note: String,
}

/// What to tell when a mirror's status changes from `before` to `after`.
#[must_use]
pub fn notices(before: Option<&RegistryMirrorStatus>, after: &RegistryMirrorStatus) -> Vec<Notice> {
    let changes = after.conditions.iter().filter_map(|condition| notice(find(before, &condition.type_), condition));
    changes.chain(kept_claims(before, after)).collect()
}

/// What to tell of claims that went with their members, as `retention: Delete` has it.
#[must_use]
pub fn deleted_claims(names: &[String]) -> Option<Notice> {
    let note = format!("deleted with their members, as spec.storage.volume.retention says: {}", names.join(", "));
    (!names.is_empty()).then(|| Notice { warning: false, reason: "ClaimsDeleted".to_owned(), note })
}

/// Claims cost money and hold content: those that nobody uses any more are named once.
fn kept_claims(before: Option<&RegistryMirrorStatus>, after: &RegistryMirrorStatus) -> Option<Notice> {
    let kept = |status: &RegistryMirrorStatus| status.members.clone().unwrap_or_default().kept_claims;
    let before = before.map(kept).unwrap_or_default();
    let fresh: Vec<_> = kept(after).into_iter().filter(|claim| !before.contains(claim)).collect();
    let note = format!(
        "claims of former members are kept with what they hold: {}: raise spec.proxy.replicas to use them again, or delete them",
        fresh.join(", ")
    );
    (!fresh.is_empty()).then(|| Notice { warning: false, reason: "ClaimsKept".to_owned(), note })
}

fn find<'a>(status: Option<&'a RegistryMirrorStatus>, kind: &str) -> Option<&'a Condition> {
    status?.conditions.iter().find(|condition| condition.type_ == kind)
}

fn notice(before: Option<&Condition>, after: &Condition) -> Option<Notice> {
    let was = |status: &str| before.is_some_and(|condition| condition.status == status);
    let fresh = before.is_none_or(|condition| condition.status != after.status || condition.reason != after.reason);
    let other_text = before.is_none_or(|condition| condition.message != after.message);
    let holds = after.status == "True";
    let warning = match after.type_.as_str() {
        // Another fault is news even where the reason is the same.
        condition::ACCEPTED => {
            (!holds && (fresh || other_text)).then_some(true).or((holds && was("False")).then_some(false))
        }
        condition::READY => (holds && fresh).then_some(false),
        // Members that start, or a claim that waits, are no news.
        condition::CACHE_AVAILABLE => {
            (!holds && fresh && (was("True") || after.reason == "Unschedulable")).then_some(true)
        }
        condition::STORAGE_READY => {
            (!holds && fresh && matches!(after.reason.as_str(), "NoDefaultStorageClass" | "ExpansionUnsupported"))
                .then_some(true)
        }
        condition::NODES_CONFIGURED => {
            (!holds && fresh && matches!(after.reason.as_str(), "Shadowed" | "Unsupported")).then_some(true)
        }
        condition::RECONCILING => {
            (fresh && matches!(after.reason.as_str(), "ApplyFailed" | "RolloutFailed")).then_some(true)
        }
        // Not when they were only not tried for a while.
        condition::CREDENTIALS_VALID | condition::UPSTREAMS_REACHABLE => {
            (after.status == "False" && fresh).then_some(true).or((holds && was("False")).then_some(false))
        }
        _ => None,
    }?;
    Some(Notice { warning, reason: reason(after), note: after.message.clone() })
}

/// The reason, which must be plain without its condition beside it.
fn reason(of: &Condition) -> String {
    match (of.type_.as_str(), of.reason.as_str()) {
        (condition::CREDENTIALS_VALID, "Unauthorized") => "CredentialsRefused".to_owned(),
        (condition::CREDENTIALS_VALID, reason) => format!("Credentials{reason}"),
        (condition::UPSTREAMS_REACHABLE, reason) => format!("Upstream{reason}"),
        (_, reason) => reason.to_owned(),
    }
}
