//! A RegistryMirror that has passed validation: the sole input of [`crate::plan()`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use tidepool_api::{CaRef, ProxySettings, RegistryMirror, Retention};
use tidepool_config::{ByteSize, MirrorEntry, Mode, NodeSelector};
use tidepool_oci::{RegistryName, RepositoryGlob};
use url::Url;

/// A mirror whose every part means something.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidMirror {
    /// Its name, at most 40 characters of a DNS label.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The mirrored registries, at least one, each once.
    pub upstreams: Vec<ValidUpstream>,
    /// Where images are kept.
    pub storage: ValidStorage,
    /// Settings of its pods.
    pub proxy: ProxySettings,
    /// What is done on nodes.
    pub mode: Mode,
    /// The nodes it is for.
    pub selector: NodeSelector,
}

/// One mirrored registry.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidUpstream {
    /// Its name.
    pub registry: RegistryName,
    /// Where it is reached, if not at its usual address.
    pub url: Option<Url>,
    /// Authorities trusted besides the public ones.
    pub ca: Option<Ca>,
    /// The repositories that may be pulled; empty: all.
    pub repositories: Vec<RepositoryGlob>,
}

/// Certificates of authorities that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ca {
    /// Where they are.
    pub reference: CaRef,
    /// Hash of the PEM text: another text, other pods.
    pub fingerprint: String,
}

/// Where images are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidStorage {
    /// A claim.
    Volume {
        /// What the claim asks for: the spec's size, or that of a claim that cannot follow.
        size: ByteSize,
        /// Its StorageClass; none: the default one.
        class: Option<String>,
        /// Whether it outlives the mirror.
        retention: Retention,
    },
    /// An emptyDir.
    Ephemeral {
        /// Its limit.
        limit: ByteSize,
    },
}

impl ValidMirror {
    /// The reference that makes Kubernetes delete an object with its mirror.
    #[must_use]
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: RegistryMirror::api_version(&()).into_owned(),
            kind: RegistryMirror::kind(&()).into_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// The mirror as agents see it.
    #[must_use]
    pub fn entry(&self) -> MirrorEntry {
        MirrorEntry {
            name: self.name.clone(),
            uid: self.uid.clone(),
            priority: 0,
            created: self.created.clone(),
            mode: self.mode,
            selector: self.selector.clone(),
            registries: self.upstreams.iter().map(|upstream| upstream.registry.clone()).collect(),
        }
    }
}
