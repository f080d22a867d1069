//! From a RegistryMirror as the user wrote it to a [`ValidMirror`], or to everything that is wrong with it.
//!
//! The API server has checked the rules of the schema already. They are checked again: an object may be older than a
//! rule, and what follows relies on them.

mod access;
mod annotations;
mod egress;
mod ingress;
mod login;
mod nodes;
mod proxy;
mod references;
mod storage;
mod tags;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod url;

use std::{fmt, str::FromStr};

use tidepool_api::RegistryMirror;

use crate::{Identity, Referenced, ValidMirror, plan::configuration};

pub use proxy::replicas;

/// The most that a members' configuration may hold: what a Secret can, less room for certificates and metadata.
const MOST_BYTES: usize = (1 << 20) - (64 << 10);

/// One thing that is wrong. Its text is `<field>: <message>`, and the message ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// The kind of fault.
    pub reason: Reason,
    /// The exact path of the field, such as `spec.upstreams[1].url`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Kinds of faults, which are reasons of condition `Accepted` and of Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The spec contradicts itself or says what nothing can mean.
    InvalidSpec,
    /// A ConfigMap that it names is not there.
    ReferenceNotFound,
    /// A ConfigMap that it names is there, and is not what it should be.
    ReferenceInvalid,
    /// A Secret that it names is not there.
    SecretNotFound,
    /// A Secret that it names is there, and is not what it should be.
    SecretInvalid,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidSpec => "InvalidSpec",
            Self::ReferenceNotFound => "ReferenceNotFound",
            Self::ReferenceInvalid => "ReferenceInvalid",
            Self::SecretNotFound => "SecretNotFound",
            Self::SecretInvalid => "SecretInvalid",
        })
    }
}

impl Invalid {
    fn spec(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: Reason::InvalidSpec, field: field.into(), message: message.into() }
    }
}

/// Checks a mirror and what it refers to.
///
/// # Errors
/// All that is wrong, in the order of the spec; never an empty list.
pub fn validate(mirror: &RegistryMirror, referenced: &Referenced) -> Result<ValidMirror, Vec<Invalid>> {
    let (spec, mut faults) = (&mirror.spec, Vec::new());
    let name = name(mirror, &mut faults);
    let mut upstreams = upstream::upstreams(&spec.upstreams, referenced, &mut faults);
    let egress = egress::egress(spec.egress_proxy.as_ref(), referenced, &mut faults);
    let proxy = spec.proxy.clone().unwrap_or_default();
    let replicas = replicas(spec);
    proxy::check(spec, &mut faults);
    let storage = storage::storage((&name, replicas), &spec.storage, referenced, &mut faults);
    let access = access::access(spec.access.as_ref(), referenced, &mut faults);
    let ingress = ingress::ingress(spec.ingress.as_ref(), &mut upstreams, referenced, &mut faults);
    annotations::check("spec.proxy.podAnnotations", &proxy.pod_annotations, "prometheus.io/scrape", &mut faults);
    let selector = nodes::selector(spec.nodes.selector.as_ref(), &mut faults);
    let Some(storage) = storage.filter(|_| faults.is_empty()) else { return Err(faults) };
    let valid = ValidMirror {
        name,
        uid: mirror.metadata.uid.clone().unwrap_or_default(),
        created: mirror.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        upstreams,
        egress,
        access,
        ingress,
        storage,
        replicas,
        proxy,
        mode: nodes::mode(spec.nodes.mode),
        selector,
        priority: spec.nodes.priority,
    };
    fits(&valid)?;
    Ok(valid)
}

/// Whether the members' configuration, with all that the spec names, fits in one Secret.
fn fits(mirror: &ValidMirror) -> Result<(), Vec<Invalid>> {
    let entries = configuration(mirror, &Identity::default(), None).map(|made| made.entries).unwrap_or_default();
    let bytes: usize = entries.iter().map(|(key, content)| key.len() + content.len()).sum();
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let message = format!(
        "make {bytes} bytes of configuration with all certificates and users, and at most {MOST_BYTES} fit: name smaller bundles in tls.caRef, or split the mirror"
    );
    Err(vec![Invalid::spec("spec.upstreams", message)])
}

fn name(mirror: &RegistryMirror, faults: &mut Vec<Invalid>) -> String {
    let name = mirror.metadata.name.clone().unwrap_or_default();
    let sound = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if name.len() > 40 || !starts || name.ends_with('-') || !name.bytes().all(sound) {
        let message =
            "makes names of Services: use at most 40 lower-case letters, digits and '-', starting with a letter";
        faults.push(Invalid::spec("metadata.name", message));
    }
    name
}

/// A value whose type says what is wrong with its text.
fn parsed<T: FromStr<Err: fmt::Display>>(field: &str, text: &str, faults: &mut Vec<Invalid>) -> Option<T> {
    text.parse().map_err(|error| faults.push(Invalid::spec(field, format!("{error}")))).ok()
}
