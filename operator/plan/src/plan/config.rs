//! The members' configuration file, and what makes them restart.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use sha2::{Digest as _, Sha256};
use tidepool_config::{
    ByteSize, ProxyFile, Storage, Tls, Upstream,
    names::{ADMIN_PORT, MEMBER_PORT},
};

use crate::{ValidMirror, ValidStorage, ValidUpstream, names};

/// Where the configuration's Secret is mounted.
pub(super) const CONFIG_DIR: &str = "/etc/tidepool";
/// Where certificates of authorities are mounted, in a folder for each registry.
pub(super) const CA_DIR: &str = "/etc/tidepool-ca";
/// Where the volume is mounted. The store is a folder in it: file systems put things of their own at the top.
pub(super) const VOLUME_DIR: &str = "/var/lib/tidepool";

/// The file's text.
pub(super) fn proxy_yaml(mirror: &ValidMirror) -> Result<String, serde_yaml::Error> {
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let file = ProxyFile {
        listen: Some(any(MEMBER_PORT)),
        admin: Some(any(ADMIN_PORT)),
        revision: None,
        agents: None,
        access: None,
        egress_proxy: None,
        storage: Some(Storage {
            path: Some(PathBuf::from(VOLUME_DIR).join("store")),
            limit: Some(limit(&mirror.storage)),
        }),
        upstreams: mirror.upstreams.iter().map(upstream).collect(),
    };
    file.to_yaml()
}

/// Nine tenths of the space: file systems keep some for themselves, and an emptyDir that is full costs the pod.
fn limit(storage: &ValidStorage) -> ByteSize {
    let (ValidStorage::Volume { size, .. } | ValidStorage::Ephemeral { limit: size }) = storage;
    ByteSize(size.0 / 10 * 9)
}

fn upstream(valid: &ValidUpstream) -> Upstream {
    let ca_file = |_: &crate::Ca| PathBuf::from(CA_DIR).join(ca_path(valid));
    Upstream {
        registry: valid.registry.clone(),
        url: valid.url.clone(),
        host: None,
        credentials: None,
        tls: valid.ca.as_ref().map(|ca| Tls { ca_file: Some(ca_file(ca)), ..Tls::default() }),
        repositories: valid.repositories.iter().map(ToString::to_string).collect(),
    }
}

/// The place of an upstream's certificates within [`CA_DIR`].
pub(super) fn ca_path(upstream: &ValidUpstream) -> String {
    format!("{}/ca.crt", upstream.registry.path_segment())
}

/// The Secret that holds the file.
pub(super) fn secret(metadata: ObjectMeta, yaml: String) -> Secret {
    // `data`, not `stringData`: the latter is not there when the object is read back.
    let data = [(names::CONFIG_KEY.to_owned(), ByteString(yaml.into_bytes()))].into();
    Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

/// A hash of all that members read when they start: the file, and the certificates it names.
pub(super) fn hash(mirror: &ValidMirror, yaml: &str) -> String {
    let mut hash = Sha256::new_with_prefix(yaml);
    for ca in mirror.upstreams.iter().filter_map(|upstream| upstream.ca.as_ref()) {
        hash.update(&ca.fingerprint);
    }
    hex(&hash.finalize()[..8])
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A short hash of a text, for annotations that tell one version of an object from another.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    hex(&Sha256::digest(text)[..8])
}
