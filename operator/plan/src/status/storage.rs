//! Condition `StorageReady`: is the storage there, and as large as the spec says?

use tidepool_api::{StorageType, condition::STORAGE_READY};
use tidepool_config::ByteSize;

use super::{Finding, Seen};

pub(super) const NO_DEFAULT_CLASS: &str = "NoDefaultStorageClass";

/// The storage of a mirror, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageFact {
    /// There is no claim: not made yet, or none is needed.
    NoClaim,
    /// There is one.
    Claim {
        /// Whether it has a volume.
        bound: bool,
        /// Its StorageClass; `None` while it waits for a default one.
        class: Option<String>,
        /// The size it asks for, in bytes.
        requested: u64,
        /// The size it has, in bytes; `None` before it is bound.
        capacity: Option<u64>,
    },
}

pub(super) fn finding(seen: &Seen<'_>) -> Finding {
    match seen.mirror.spec.storage.storage_type {
        StorageType::Ephemeral => {
            Finding::new(STORAGE_READY, true, "Ephemeral", "content is on the pod's node and goes with the pod")
        }
        StorageType::Volume => volume(seen),
    }
}

fn volume(seen: &Seen<'_>) -> Finding {
    let StorageFact::Claim { bound, class, requested, capacity } = &seen.storage else {
        return pending("the claim was not made yet");
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
        return Finding::new(STORAGE_READY, false, "ExpansionUnsupported", message);
    }
    match capacity {
        Some(capacity) if capacity < requested => {
            let message = format!("the volume grows from {} to {}", ByteSize(*capacity), ByteSize(*requested));
            Finding::new(STORAGE_READY, false, "Resizing", message)
        }
        Some(_) | None => Finding::new(STORAGE_READY, true, "Bound", "the volume is bound"),
    }
}

fn unbound(class: Option<&str>, no_default_class: bool) -> Finding {
    match class {
        None if no_default_class => Finding::new(
            STORAGE_READY,
            false,
            NO_DEFAULT_CLASS,
            "the claim names no StorageClass and the cluster has no default one: mark a StorageClass as default, name one in a new mirror's spec.storage.volume.storageClassName, or make the mirror with storage: {type: Ephemeral}",
        ),
        None => pending("the claim waits for its StorageClass"),
        Some(class) => pending(&format!("the claim waits for a volume of StorageClass {class}")),
    }
}

fn pending(message: &str) -> Finding {
    Finding::new(STORAGE_READY, false, "Pending", message)
}
