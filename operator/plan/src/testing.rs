//! What tests of this crate start from: real `validate` on small YAML.

use tidepool_api::{CaKind, RegistryMirror};

use crate::{Invalid, Referenced, Source, ValidMirror, validate};

/// The smallest mirror. Its name is not the product's, so that labels that were swapped show.
pub(crate) const MINIMAL: &str = "upstreams: [{registry: docker.io}, {registry: ghcr.io}]";

/// The certificate of an authority.
pub(crate) const PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUA0n1pNs9NMzRqsflhSVtigfdv00wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEcmVlZjAgFw0yNjExMjExMzQxNTRaGA8yMTI2MTAyODEzNDE1
NFowDzENMAsGA1UEAwwEcmVlZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGCQ
D8MlNtErgzgyfpOQ8wE2rHrCwestwRcl1Dv4f8Rhzxm3NnHoRIa1uhAKvlOJqsgX
b2Ivk8Qd00yRdDS9JvijUzBRMB0GA1UdDgQWBBS/8tlL1kx7PurSZBf36lnBCuqv
ZTAfBgNVHSMEGDAWgBS/8tlL1kx7PurSZBf36lnBCuqvZTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCtUGZ0r20eDZQ0NVHkyQk1bRlx3+DWnWXf
bXKuE2td1QIhALugdPuBKhXAYdUbhWbiAYvduriN7pf1n2w2dW3gc6Ra
-----END CERTIFICATE-----
";

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

type Named = ((CaKind, String), Source);

/// A Secret of the user with these keys.
pub(crate) fn secret(name: &str, data: &[(&str, &str)]) -> Named {
    source(CaKind::Secret, name, data)
}

/// A ConfigMap of the user with these keys.
pub(crate) fn config_map(name: &str, data: &[(&str, &str)]) -> Named {
    source(CaKind::ConfigMap, name, data)
}

fn source(kind: CaKind, name: &str, data: &[(&str, &str)]) -> Named {
    let data = data.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
    ((kind, name.to_owned()), Source { data, ours: false })
}

/// A cluster that has these.
pub(crate) fn with(sources: impl IntoIterator<Item = Named>) -> Referenced {
    Referenced { sources: sources.into_iter().collect(), ..Referenced::default() }
}
