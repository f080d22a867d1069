//! `spec.storage`: settings of the one type that is chosen, and sizes that the claims can have.

use tidepool_api::{EphemeralStorage, Retention, Storage, StorageType, VolumeStorage};
use tidepool_config::ByteSize;

use super::{Invalid, parsed};
use crate::{ClaimFact, Referenced, ValidStorage, names};

/// `mirror` is the mirror's name and how many members it has.
pub(super) fn storage(
    mirror: (&str, i32),
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
    (mirror, replicas): (&str, i32),
    raw: &VolumeStorage,
    referenced: &Referenced,
    faults: &mut Vec<Invalid>,
) -> Option<ValidStorage> {
    let wanted = parsed::<ByteSize>("spec.storage.volume.size", &raw.size, faults)?;
    let class = raw.storage_class_name.clone();
    let found: Vec<_> = (0..replicas).map(|number| (number, referenced.claims.get(&number))).collect();
    for (number, claim) in &found {
        if let (Some(kept), Some(class)) = (claim.and_then(|claim| claim.class.as_ref()), &class)
            && kept != class
        {
            faults.push(other_class(&names::member(mirror, &number.to_string()), kept));
        }
    }
    let size =
        |claim: Option<&ClaimFact>| claim.map_or(wanted, |claim| asked(claim, wanted, class.as_ref(), referenced));
    // While a volume grows there is room for what it was.
    let room =
        |claim: Option<&ClaimFact>| size(claim).0.min(claim.and_then(|claim| claim.capacity).unwrap_or(u64::MAX));
    let room = ByteSize(found.iter().map(|(_, claim)| room(*claim)).max().unwrap_or(wanted.0));
    let claims = found.iter().map(|(number, claim)| (*number, size(*claim)));
    let claims = claims.chain(released(replicas, raw.retention, referenced)).collect();
    Some(ValidStorage::Volume { claims, room, class, retention: raw.retention })
}

/// Claims that former members left while they were to go with the mirror. They were not, and now they shall stay.
fn released(replicas: i32, retention: Retention, referenced: &Referenced) -> Vec<(i32, ByteSize)> {
    let left = referenced.claims.range(replicas..).filter(|(_, claim)| claim.owned && retention == Retention::Retain);
    left.map(|(number, claim)| (*number, ByteSize(claim.requested))).collect()
}

/// What a claim that is there is to ask for. It never shrinks; and without a volume, or of a class that cannot expand, it
/// never grows: asking would be refused each time.
fn asked(claim: &ClaimFact, wanted: ByteSize, class: Option<&String>, referenced: &Referenced) -> ByteSize {
    let of = claim.class.as_ref().or(class).map(String::as_str);
    let grows = referenced.class(of).is_some_and(|class| class.expandable) && claim.capacity.is_some();
    if wanted.0 > claim.requested && grows { wanted } else { ByteSize(claim.requested) }
}

fn other_class(claim: &str, kept: &str) -> Invalid {
    let message = format!(
        "claim {claim} was kept and is of StorageClass {kept:?}: make the mirror anew with that class, or delete the claim"
    );
    Invalid::spec("spec.storage.volume.storageClassName", message)
}
