//! Facts of the cluster that a mirror's validity depends on, as plain data.

use std::collections::BTreeMap;

use tidepool_api::{CaKind, CaRef};

/// What a mirror refers to, as found in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Referenced {
    /// ConfigMaps and Secrets in the operator's namespace, by kind and name; absent: not there.
    pub sources: BTreeMap<(CaKind, String), Source>,
    /// The cluster's StorageClasses.
    pub storage_classes: Vec<ClassFact>,
    /// The mirror's claim, if it exists.
    pub claim: Option<ClaimFact>,
}

/// A ConfigMap or Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Values by key, as bytes.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Whether the operator made it. Such an object is never taken as a user's reference.
    pub ours: bool,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassFact {
    /// Its name.
    pub name: String,
    /// Whether claims without a class get it.
    pub default: bool,
    /// Whether its volumes can grow.
    pub expandable: bool,
}

/// A claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimFact {
    /// The size it asks for, in bytes.
    pub requested: u64,
    /// Its StorageClass.
    pub class: Option<String>,
}

impl Referenced {
    /// The object a reference names.
    #[must_use]
    pub fn source(&self, reference: &CaRef) -> Option<&Source> {
        self.sources.get(&(reference.kind, reference.name.clone()))
    }

    /// The named class, or the default one.
    #[must_use]
    pub fn class(&self, name: Option<&str>) -> Option<&ClassFact> {
        self.storage_classes.iter().find(|class| match name {
            Some(name) => class.name == name,
            None => class.default,
        })
    }
}
