//! `spec.storage`: settings of the one type that is chosen, and a size that the claim can have.

use tidepool_api::{EphemeralStorage, Storage, StorageType, VolumeStorage};
use tidepool_config::ByteSize;

use super::{Invalid, parsed};
use crate::{Referenced, ValidStorage, names};

pub(super) fn storage(
    mirror: &str,
    raw: &Storage,
    referenced: &Referenced,
    faults: &mut Vec<Invalid>,
) -> Option<ValidStorage> {
    match raw.storage_type {
        StorageType::Volume => {
            if raw.ephemeral.is_some() {
                let message = "is for type Ephemeral: set type to Ephemeral, or remove ephemeral";
                faults.push(Invalid::spec("spec.storage.ephemeral", message));
            }
            volume(mirror, &raw.volume.clone().unwrap_or_default(), referenced, faults)
        }
        StorageType::Ephemeral => {
            if raw.volume.is_some() {
                let message = "is for type Volume: set type to Volume, or remove volume";
                faults.push(Invalid::spec("spec.storage.volume", message));
            }
            let EphemeralStorage { size_limit } = raw.ephemeral.clone().unwrap_or_default();
            let limit = parsed("spec.storage.ephemeral.sizeLimit", &size_limit, faults)?;
            Some(ValidStorage::Ephemeral { limit })
        }
    }
}

fn volume(
    mirror: &str,
    raw: &VolumeStorage,
    referenced: &Referenced,
    faults: &mut Vec<Invalid>,
) -> Option<ValidStorage> {
    let wanted = parsed::<ByteSize>("spec.storage.volume.size", &raw.size, faults)?;
    let class = raw.storage_class_name.clone();
    let kept = referenced.claim.as_ref().and_then(|claim| claim.class.as_ref());
    if let (Some(kept), Some(class)) = (kept, &class)
        && kept != class
    {
        let claim = names::member(mirror, "0");
        let message = format!(
            "claim {claim} was kept and is of StorageClass {kept:?}: make the mirror anew with that class, or delete the claim"
        );
        faults.push(Invalid::spec("spec.storage.volume.storageClassName", message));
    }
    let size = match &referenced.claim {
        // A claim never shrinks, and one without a volume, or whose class cannot expand, never grows: asking would be
        // refused each time.
        Some(claim) => {
            let of = claim.class.as_deref().or(class.as_deref());
            let grows = referenced.class(of).is_some_and(|class| class.expandable);
            let grows = grows && claim.capacity.is_some();
            if wanted.0 > claim.requested && grows { wanted } else { ByteSize(claim.requested) }
        }
        None => wanted,
    };
    // While a volume grows there is room for what it was.
    let capacity = referenced.claim.as_ref().and_then(|claim| claim.capacity).unwrap_or(u64::MAX);
    Some(ValidStorage::Volume { size, room: ByteSize(size.0.min(capacity)), class, retention: raw.retention })
}
