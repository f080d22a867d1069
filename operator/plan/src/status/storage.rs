//! Condition `StorageReady`: is the storage of all members there, and as large as the spec says?

use tidepool_api::{StorageType, condition::STORAGE_READY};
use tidepool_config::ByteSize;

use super::{Finding, Seen};

pub(super) const NO_DEFAULT_CLASS: &str = "NoDefaultStorageClass";

/// The claims of a mirror, as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageFact {
    /// Those of its members, in the order of their numbers.
    pub claims: Vec<ClaimState>,
    /// The names of those that former members left, in the same order.
    pub kept: Vec<String>,
}

/// A claim of a member, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimState {
    /// Its name.
    pub name: String,
    /// What is so of it; `None`: it was not made yet.
    pub found: Option<ClaimFound>,
}

/// What is so of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimFound {
    /// Whether it has a volume.
    pub bound: bool,
    /// Its StorageClass; `None` while it waits for a default one.
    pub class: Option<String>,
    /// The size it asks for, in bytes.
    pub requested: u64,
    /// The size it has, in bytes; `None` before it is bound.
    pub capacity: Option<u64>,
}

/// What is said of one claim, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    NoDefaultStorageClass,
    Pending,
    ExpansionUnsupported,
    Resizing,
    Bound,
}

impl State {
    fn reason(self) -> &'static str {
        match self {
            Self::NoDefaultStorageClass => NO_DEFAULT_CLASS,
            Self::Pending => "Pending",
            Self::ExpansionUnsupported => "ExpansionUnsupported",
            Self::Resizing => "Resizing",
            Self::Bound => "Bound",
        }
    }
}

pub(super) fn finding(seen: &Seen<'_>) -> Finding {
    match seen.mirror.spec.storage.storage_type {
        StorageType::Ephemeral => {
            Finding::new(STORAGE_READY, true, "Ephemeral", "content is on the pods' nodes and goes with the pods")
        }
        StorageType::Volume => volumes(seen),
    }
}

/// The worst that is so of any claim, and whose it is where there are several.
fn volumes(seen: &Seen<'_>) -> Finding {
    let (claims, kept) = (&seen.storage.claims, &seen.storage.kept);
    let states = claims.iter().map(|claim| (state(claim, seen), claim));
    let worst = states.min_by_key(|((state, _), _)| *state);
    let (state, message) = match (worst, claims.len()) {
        (None, _) => (State::Pending, "the claim was not made yet".to_owned()),
        (Some(((state, message), _)), 1) => (state, message),
        (Some(((State::Bound, _), _)), all) => (State::Bound, format!("all {all} volumes are bound")),
        (Some(((state, message), claim)), _) => (state, format!("{}: {message}", claim.name)),
    };
    let message =
        if kept.is_empty() { message } else { format!("{message}; kept of former members: {}", kept.join(", ")) };
    Finding::new(STORAGE_READY, state == State::Bound, state.reason(), message)
}

fn state(claim: &ClaimState, seen: &Seen<'_>) -> (State, String) {
    let Some(ClaimFound { bound, class, requested, capacity }) = &claim.found else {
        return (State::Pending, "the claim was not made yet".to_owned());
    };
    if !bound {
        return unbound(class.as_deref(), seen.no_default_class);
    }
    let spec = seen.mirror.spec.storage.volume.clone().unwrap_or_default();
    let wanted = spec.size.parse().map_or(*requested, |ByteSize(bytes)| bytes);
    if wanted > *requested {
        let message = format!(
            "the claim stays at {}: StorageClass {} does not let volumes grow: enable allowVolumeExpansion there, or make a second mirror",
            ByteSize(*requested),
            class.as_deref().unwrap_or("of the claim"),
        );
        return (State::ExpansionUnsupported, message);
    }
    match capacity {
        Some(capacity) if capacity < requested => {
            let message = format!("the volume grows from {} to {}", ByteSize(*capacity), ByteSize(*requested));
            (State::Resizing, message)
        }
        Some(_) | None => (State::Bound, "the volume is bound".to_owned()),
    }
}

fn unbound(class: Option<&str>, no_default_class: bool) -> (State, String) {
    match class {
        None if no_default_class => (
            State::NoDefaultStorageClass,
            "the claim names no StorageClass and the cluster has no default one: mark a StorageClass as default, name one in a new mirror's spec.storage.volume.storageClassName, or make the mirror with storage: {type: Ephemeral}".to_owned(),
        ),
        None => (State::Pending, "the claim waits for its StorageClass".to_owned()),
        Some(class) => (State::Pending, format!("the claim waits for a volume of StorageClass {class}")),
    }
}
