//! The public registries whose addresses are built in.

use tidepool_oci::RegistryName;
use url::Url;

/// Public registries and the address of each: what a proxy without a configuration file serves.
///
/// A name that is not here is reached at `https://<name>`.
pub const PUBLIC_REGISTRIES: [(&str, &str); 7] = [
    // The one registry whose name is not its host.
    ("docker.io", "https://registry-1.docker.io"),
    ("ghcr.io", "https://ghcr.io"),
    ("quay.io", "https://quay.io"),
    ("registry.k8s.io", "https://registry.k8s.io"),
    ("gcr.io", "https://gcr.io"),
    ("mcr.microsoft.com", "https://mcr.microsoft.com"),
    ("public.ecr.aws", "https://public.ecr.aws"),
];

/// Where `registry` is reached when nobody says otherwise.
///
/// # Errors
/// When the name makes no URL, which no [`RegistryName`] is known to do.
pub fn default_url(registry: &RegistryName) -> Result<Url, url::ParseError> {
    let known = PUBLIC_REGISTRIES.iter().find(|(name, _)| *name == registry.as_str());
    match known {
        Some((_, url)) => Url::parse(url),
        None => Url::parse(&format!("https://{registry}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_name_and_address_is_well_formed() {
        for (name, url) in PUBLIC_REGISTRIES {
            let registry: RegistryName = name.parse().unwrap();
            assert_eq!(default_url(&registry).unwrap(), Url::parse(url).unwrap());
        }
    }

    #[test]
    fn other_registries_are_their_own_address() {
        let url = default_url(&"reg.example.com:5000".parse().unwrap()).unwrap();
        assert_eq!(url.as_str(), "https://reg.example.com:5000/");
    }
}
