//! A RegistryMirror that has passed validation, with the content of all that it names: what [`crate::plan()`] plans.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use tidepool_api::{ProxySettings, RegistryMirror, Retention};
use tidepool_config::{AnonymousPull, ByteSize, Login, MirrorEntry, Mode, NodeSelector, Scope, Tags};
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
    /// The proxy through which they are reached; none: directly.
    pub egress: Option<ValidEgress>,
    /// Who may pull at the port for clients.
    pub access: ValidAccess,
    /// How clients outside the cluster reach it; none: not at all.
    pub ingress: Option<ValidIngress>,
    /// Where images are kept.
    pub storage: ValidStorage,
    /// How many members it has, at least one.
    pub replicas: i32,
    /// Settings of its pods.
    pub proxy: ProxySettings,
    /// What is done on nodes.
    pub mode: Mode,
    /// The nodes it is for.
    pub selector: NodeSelector,
    /// Which of two mirrors of one registry serves it on a node: the higher.
    pub priority: i32,
}

/// One mirrored registry.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidUpstream {
    /// Its name.
    pub registry: RegistryName,
    /// Where it is reached, if not at its usual address.
    pub url: Option<Url>,
    /// The host name by which clients outside the cluster name it alone.
    pub host: Option<String>,
    /// Who we are to it; none: nobody.
    pub credentials: Option<ValidCredentials>,
    /// Authorities trusted besides the public ones, PEM.
    pub authorities: Option<Concealed>,
    /// The certificate that is shown to it.
    pub client: Option<ClientCertificate>,
    /// Whether any certificate is taken for its own.
    pub insecure_skip_verify: bool,
    /// The repositories that may be pulled; empty: all.
    pub repositories: Vec<RepositoryGlob>,
    /// How tags are kept; none: as members do by themselves.
    pub tags: Option<Tags>,
}

/// Who we are to a registry, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCredentials {
    /// The user and the password.
    pub login: Login,
    /// What they are for.
    pub scope: Scope,
}

/// A certificate of ours and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, with those between it and its authority.
    pub certificate: Concealed,
    /// Its private key.
    pub key: Concealed,
}

/// The proxy through which registries are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidEgress {
    /// Its address.
    pub url: Url,
    /// What is reached without it.
    pub no_proxy: Vec<String>,
    /// Its user.
    pub login: Option<Login>,
}

/// Who may pull at the port for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidAccess {
    /// What a client without a login may pull.
    pub anonymous_pull: AnonymousPull,
    /// The users, as `htpasswd -B` writes them; none: nobody can log in.
    pub users: Option<Concealed>,
}

/// How clients outside the cluster reach a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidIngress {
    /// The host, or the domain of the hosts.
    pub host: String,
    /// The host names that lead to the mirror, at least one, each once.
    pub hosts: Vec<String>,
    /// The IngressClass; none: the default one.
    pub class: Option<String>,
    /// Annotations, as the user wrote them.
    pub annotations: BTreeMap<String, String>,
    /// The Secret with the certificate of the hosts.
    pub tls_secret: Option<String>,
}

/// The content of a Secret. `Debug` leaves it out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Concealed(pub Vec<u8>);

impl fmt::Debug for Concealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Concealed")
    }
}

/// Where images are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidStorage {
    /// A claim for each member.
    Volume {
        /// What each claim asks for, by the number of its member: the spec's size, or that of a claim that cannot follow.
        /// Beyond the mirror's members: claims that former members left, and that are to outlive the mirror from now on.
        claims: BTreeMap<i32, ByteSize>,
        /// What the largest has room for: its size, or less while it grows. They are of one size but where one that was
        /// kept is smaller; were its size that of all, the others would throw content away for it.
        room: ByteSize,
        /// Their StorageClass; none: the default one.
        class: Option<String>,
        /// Whether they outlive the mirror.
        retention: Retention,
    },
    /// An emptyDir for each member.
    Ephemeral {
        /// The limit of each.
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
            priority: self.priority,
            created: self.created.clone(),
            mode: self.mode,
            selector: self.selector.clone(),
            registries: self.upstreams.iter().map(|upstream| upstream.registry.clone()).collect(),
        }
    }
}
