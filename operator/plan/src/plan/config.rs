//! The members' configuration: their file and all files it names, in one Secret, so that they change together.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, path::PathBuf};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_yaml::Mapping;
use sha2::{Digest as _, Sha256};
use tidepool_config::{
    Access, Agents, ByteSize, Credentials, EgressProxy, Login, ProxyFile, Storage, Tags, Tls, Upstream,
    names::{ADMIN_PORT, AGENTS_PORT, MEMBER_PORT},
};

use crate::{
    Identity, ValidMirror, ValidStorage, ValidUpstream,
    names::{self, MEMBER_AUTHORITIES, MEMBER_CERTIFICATE, MEMBER_PRIVATE_KEY},
};

/// Where the configuration's Secret is mounted.
pub(super) const CONFIG_DIR: &str = "/etc/tidepool";
/// Field of the members' file.
const REVISION: &str = "revision";
/// Where the volume is mounted. The store is a folder in it: file systems put things of their own at the top.
pub(super) const VOLUME_DIR: &str = "/var/lib/tidepool";

/// The entries of the Secret, and a word for all of them together.
pub(crate) struct Configuration {
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
    pub(crate) revision: String,
}

/// Puts files beside the configuration and tells where a member finds them.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn put(&mut self, key: impl Into<String>, content: impl Into<Vec<u8>>) -> PathBuf {
        let key = key.into();
        let path = PathBuf::from(CONFIG_DIR).join(&key);
        self.0.insert(key, content.into());
        path
    }
}

/// What members of the mirror read.
///
/// The revision is a hash of all entries. A private key is among them, which nobody can guess: so it tells nothing about
/// the passwords, and may be shown.
pub(crate) fn configuration(
    mirror: &ValidMirror,
    identity: &Identity,
    log_level: Option<&str>,
) -> Result<Configuration, serde_yaml::Error> {
    let mut files = Files::default();
    let mut file = proxy_file(mirror, identity, &mut files);
    // Only where it is asked for: members of versions that do not know it start all the same.
    file.log_level = log_level.map(str::to_owned);
    sealed(serde_yaml::from_value(serde_yaml::to_value(file)?)?, files)
}

/// The file and the files it names, with their revision.
fn sealed(mut file: Mapping, mut files: Files) -> Result<Configuration, serde_yaml::Error> {
    let mut hash = Sha256::new_with_prefix(serde_yaml::to_string(&file)?);
    for (key, content) in &files.0 {
        hash.update(key.as_bytes());
        hash.update(content.len().to_be_bytes());
        hash.update(content);
    }
    let revision = hex(&hash.finalize()[..8]);
    file.insert(REVISION.into(), revision.as_str().into());
    files.put(names::CONFIG_KEY, serde_yaml::to_string(&file)?);
    Ok(Configuration { entries: files.0, revision })
}

fn proxy_file(mirror: &ValidMirror, identity: &Identity, files: &mut Files) -> ProxyFile {
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let agents = Agents {
        listen: any(AGENTS_PORT),
        mirror: mirror.uid.clone(),
        cert_file: files.put(MEMBER_CERTIFICATE, identity.certificate.as_str()),
        key_file: files.put(MEMBER_PRIVATE_KEY, identity.key.as_str()),
        ca_file: files.put(MEMBER_AUTHORITIES, identity.authorities.as_str()),
    };
    let users = mirror.access.users.as_ref();
    ProxyFile {
        listen: Some(any(MEMBER_PORT)),
        admin: Some(any(ADMIN_PORT)),
        revision: None,
        log_level: None,
        agents: Some(agents),
        access: Some(Access {
            anonymous_pull: mirror.access.anonymous_pull,
            users_file: users.map(|users| files.put("users", users.0.clone())),
        }),
        egress_proxy: mirror.egress.as_ref().map(|egress| EgressProxy {
            url: egress.url.clone(),
            no_proxy: egress.no_proxy.clone(),
            username: egress.login.as_ref().map(|login| login.username.clone()),
            password_file: egress.login.as_ref().map(|login| password(files, "egress", login)),
        }),
        storage: Some(Storage {
            path: Some(PathBuf::from(VOLUME_DIR).join("store")),
            limit: Some(limit(&mirror.storage)),
        }),
        upstreams: mirror.upstreams.iter().enumerate().map(|(n, valid)| upstream(n, valid, files)).collect(),
    }
}

fn password(files: &mut Files, whose: &str, login: &Login) -> PathBuf {
    files.put(format!("{whose}-password"), login.password.as_str())
}

/// Nine tenths of the space: file systems keep some for themselves, and an emptyDir that is full costs the pod.
fn limit(storage: &ValidStorage) -> ByteSize {
    let (ValidStorage::Volume { room, .. } | ValidStorage::Ephemeral { limit: room }) = storage;
    ByteSize(room.0 / 10 * 9)
}

fn upstream(n: usize, valid: &ValidUpstream, files: &mut Files) -> Upstream {
    let credentials = valid.credentials.as_ref().map(|credentials| Credentials {
        username: Some(credentials.login.username.clone()),
        password_file: Some(password(files, &format!("upstream-{n}"), &credentials.login)),
        docker_config_file: None,
        scope: credentials.scope,
    });
    let mut put = |part: &str, content: &crate::Concealed| files.put(format!("upstream-{n}-{part}"), content.0.clone());
    let tls = Tls {
        ca_file: valid.authorities.as_ref().map(|text| put("ca.crt", text)),
        cert_file: valid.client.as_ref().map(|client| put("client.crt", &client.certificate)),
        key_file: valid.client.as_ref().map(|client| put("client.key", &client.key)),
        insecure_skip_verify: valid.insecure_skip_verify,
    };
    Upstream {
        registry: valid.registry.clone(),
        url: valid.url.clone(),
        host: valid.host.clone(),
        credentials,
        tls: (tls != Tls::default()).then_some(tls),
        repositories: valid.repositories.iter().map(ToString::to_string).collect(),
        // Only what differs: members of versions that know no tags start all the same.
        tags: valid.tags.clone().filter(|tags| *tags != Tags::default()),
    }
}

/// The Secret that holds it.
pub(super) fn secret(mut metadata: ObjectMeta, Configuration { entries, revision }: Configuration) -> Secret {
    metadata.annotations = Some([(names::REVISION.to_owned(), revision)].into());
    // `data`, not `stringData`: the latter is not there when the object is read back.
    let data = entries.into_iter().map(|(key, content)| (key, ByteString(content))).collect();
    Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

/// The configuration that is there, as it is but for the members' identity: certificates end, whether or not the spec
/// can be used just now. `None` where they are those already, or it has none, or it cannot be read.
#[must_use]
pub fn renewed(live: &Secret, identity: &Identity) -> Option<Secret> {
    let mut entries: BTreeMap<_, _> =
        live.data.iter().flatten().map(|(key, content)| (key.clone(), content.0.clone())).collect();
    // Not as a `ProxyFile`: another version, which may have written it, knows other fields.
    let text = entries.remove(names::CONFIG_KEY)?;
    let mut file: Mapping = serde_yaml::from_slice(&text).ok()?;
    let knows_revision = file.shift_remove(REVISION).is_some();
    // Members of versions that know neither would start with neither.
    entries.get(MEMBER_CERTIFICATE)?;
    let mut files = Files(entries.clone());
    for (key, text) in [
        (MEMBER_CERTIFICATE, &identity.certificate),
        (MEMBER_PRIVATE_KEY, &identity.key),
        (MEMBER_AUTHORITIES, &identity.authorities),
    ] {
        files.put(key, text.as_str());
    }
    if files.0 == entries {
        return None;
    }
    let ObjectMeta { name, namespace, labels, owner_references, .. } = live.metadata.clone();
    let metadata = ObjectMeta { name, namespace, labels, owner_references, ..ObjectMeta::default() };
    let mut configuration = sealed(file, files).ok()?;
    if !knows_revision {
        configuration.entries.insert(names::CONFIG_KEY.to_owned(), text);
    }
    Some(secret(metadata, configuration))
}

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
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
