//! Facts of the cluster that a mirror's validity depends on, as plain data.

use std::{collections::BTreeMap, fmt};

use tidepool_api::{CaKind, RegistryMirrorSpec};
use tidepool_config::trust::AGENT_SECRET;

use crate::names::AUTHORITY_SECRET;

/// What a mirror refers to, as found in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Referenced {
    /// ConfigMaps and Secrets in the operator's namespace, by kind and name; absent: not there.
    pub sources: BTreeMap<(CaKind, String), Source>,
    /// The cluster's StorageClasses.
    pub storage_classes: Vec<ClassFact>,
    /// The mirror's claims, by the numbers of its members: also those that former members left.
    pub claims: BTreeMap<i32, ClaimFact>,
}

/// A ConfigMap or Secret. `Debug` leaves its values out.
#[derive(Clone, Default, PartialEq)]
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
    /// The size its volume has, in bytes; none before it has one.
    pub capacity: Option<u64>,
    /// Its StorageClass.
    pub class: Option<String>,
    /// Whether it goes with the mirror.
    pub owned: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("keys", &self.data.keys()).field("ours", &self.ours).finish()
    }
}

/// All ConfigMaps and Secrets whose content a spec is made of, by kind and name; some may come twice.
pub fn references(spec: &RegistryMirrorSpec) -> impl Iterator<Item = (CaKind, &str)> {
    let upstreams = spec.upstreams.iter().flat_map(|upstream| {
        let tls = upstream.tls.as_ref();
        let ca = tls.and_then(|tls| tls.ca_ref.as_ref()).map(|ca| (ca.kind, ca.name.as_str()));
        let client = tls.and_then(|tls| tls.client_cert_secret_ref.as_ref());
        let login = upstream.credentials.as_ref().map(|credentials| &credentials.secret_ref);
        ca.into_iter().chain([client, login].into_iter().flatten().map(|secret| (CaKind::Secret, secret.name.as_str())))
    });
    let egress = spec.egress_proxy.as_ref().and_then(|egress| egress.credentials_secret_ref.as_ref());
    let users = spec.access.as_ref().and_then(|access| access.users_secret_ref.as_ref());
    let shown = spec.ingress.as_ref().and_then(|ingress| ingress.tls_secret_name.as_deref());
    let names = [egress, users].into_iter().flatten().map(|secret| secret.name.as_str()).chain(shown);
    upstreams.chain(names.map(|name| (CaKind::Secret, name)))
}

impl Referenced {
    /// The ConfigMap or Secret of this name.
    #[must_use]
    pub fn source(&self, kind: CaKind, name: &str) -> Option<&Source> {
        self.sources.get(&(kind, name.to_owned()))
    }

    /// Whether an object of this name is the operator's: then it is nobody's reference. What it holds must not get out,
    /// so it does not hang on labels alone, which everybody may change who may change the object.
    #[must_use]
    pub fn is_ours(&self, kind: CaKind, name: &str) -> bool {
        let reserved = kind == CaKind::Secret && [AUTHORITY_SECRET, AGENT_SECRET].contains(&name);
        reserved || self.source(kind, name).is_some_and(|source| source.ours)
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
