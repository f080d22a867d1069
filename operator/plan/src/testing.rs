//! What tests of this crate start from: real `validate` on small YAML.

use tidepool_api::RegistryMirror;

use crate::{Invalid, Referenced, ValidMirror, validate};

/// The smallest mirror. Its name is not the product's, so that labels that were swapped show.
pub(crate) const MINIMAL: &str = "upstreams: [{registry: docker.io}, {registry: ghcr.io}]";

/// A mirror named `reef` with this spec.
pub(crate) fn mirror(spec: &str) -> RegistryMirror {
    let mut mirror = RegistryMirror::new("reef", serde_yaml::from_str(spec).unwrap());
    mirror.metadata.uid = Some("uid-of-reef".to_owned());
    mirror.metadata.generation = Some(3);
    mirror
}

/// What `validate` makes of it when nothing else is in the cluster.
pub(crate) fn valid(spec: &str) -> ValidMirror {
    validate(&mirror(spec), &Referenced::default()).unwrap()
}

/// What `validate` has against it.
pub(crate) fn faults(spec: &str, referenced: &Referenced) -> Vec<Invalid> {
    validate(&mirror(spec), referenced).unwrap_err()
}
