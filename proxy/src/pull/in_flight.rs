//! The fills in flight, for who looks from outside.

use std::sync::atomic::Ordering;

use tidepool_oci::{Digest, RegistryName};

use super::{Puller, fill::Fill};
use crate::tasks::lock;

/// How far a fill is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) digest: Digest,
    /// Of which registry it is asked.
    pub(crate) registry: RegistryName,
    /// Bytes it will have, once known.
    pub(crate) size: Option<u64>,
    /// Bytes that are there.
    pub(crate) present: u64,
    /// Its connections to the upstream.
    pub(crate) connections: usize,
    /// Who read it.
    pub(crate) readers: usize,
}

impl InFlight {
    fn of(fill: &Fill) -> Self {
        let (size, present) = fill.look(|progress| (progress.size, progress.present.bytes()));
        Self {
            digest: fill.digest.clone(),
            registry: fill.source.upstream.name().clone(),
            size,
            present,
            connections: fill.lines.load(Ordering::Relaxed),
            readers: fill.readers(),
        }
    }
}

impl Puller {
    /// The fills in flight, in no order; no more than there can be at once.
    pub(crate) fn fills_in_flight(&self) -> Vec<InFlight> {
        let fills: Vec<_> = lock(&self.fills).values().cloned().collect();
        fills.iter().map(|fill| InFlight::of(fill)).collect()
    }
}
