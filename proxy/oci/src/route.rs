//! Routing: which registry's repository a request means. One endpoint serves them all (design §5, "Routing").

use crate::{PathError, RegistryName, RegistryNameError, RepositoryName, RepositoryNameError, RequestPath, Target};

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/` itself.
    Base,
    /// Something in a repository of a mirrored registry.
    Object(Object),
}

/// Something in a repository of a mirrored registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// The registry, one of those mirrored.
    pub registry: RegistryName,
    /// The repository's full name there (`library/alpine`).
    pub repository: RepositoryName,
    /// What is asked for.
    pub target: Target,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path is none of the API's, or ends in no digest or tag.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The repository's name is none.
    #[error("not a repository: {0}")]
    Name(#[from] RepositoryNameError),
    /// The registry is not mirrored: no open proxy.
    #[error("registry {registry} is not mirrored here")]
    Registry {
        /// As the client wrote it, cut to a sane length.
        registry: String,
    },
    /// The request names no registry, and docker.io is not mirrored.
    #[error("the path names no registry, and docker.io is not mirrored here")]
    NoDefault,
}

/// Decides which repository a request means, at a host name that serves all registries.
///
/// In this order: `ns`, the query parameter that containerd adds; a first path segment that is a registry
/// (`/v2/ghcr.io/…`, `/v2/host_5000_/…`); the same after `proxy/`; Docker Hub, if it is mirrored. A first segment that
/// looks like a host but is not mirrored is refused rather than asked of Docker Hub, where no name has a dot.
///
/// `path` is the request's, without query; `ns` is decoded.
///
/// # Errors
/// A [`RouteError`]; nothing needs to be asked of anyone to answer it.
pub fn route(path: &str, ns: Option<&str>, is_mirrored: impl Fn(&RegistryName) -> bool) -> Result<Route, RouteError> {
    route_at(None, path, ns, is_mirrored)
}

/// As [`route`], at a host name that is one registry's alone, if `own` is that registry.
///
/// `ns` still comes first, for a client that sends it names the registry itself. Then the whole path is the repository:
/// at Docker Hub's host `/v2/ghcr.io/a/…` means Docker Hub's `ghcr.io/a`, as it would at Docker Hub.
///
/// # Errors
/// As [`route`].
pub fn route_at(
    own: Option<&RegistryName>,
    path: &str,
    ns: Option<&str>,
    is_mirrored: impl Fn(&RegistryName) -> bool,
) -> Result<Route, RouteError> {
    let (name, target) = match RequestPath::parse(path)? {
        RequestPath::Base => return Ok(Route::Base),
        RequestPath::In { name, target } => (name, target),
    };
    let (registry, repository) = match (ns, own) {
        (Some(ns), _) => {
            let registry = mirrored(ns, parse_registry(ns), &is_mirrored)?;
            let rest = prefixed(&name).filter(|(prefix, _)| *prefix == registry).map(|(_, rest)| rest);
            (registry, rest.unwrap_or(&name))
        }
        (None, Some(own)) => (own.clone(), name.as_str()),
        (None, None) => by_path(&name, &is_mirrored)?,
    };
    let repository = repository.parse::<RepositoryName>()?.qualified_for(&registry);
    Ok(Route::Object(Object { registry, repository, target }))
}

fn by_path<'a>(
    name: &'a str,
    is_mirrored: &impl Fn(&RegistryName) -> bool,
) -> Result<(RegistryName, &'a str), RouteError> {
    if let Some((registry, rest)) = prefixed(name).filter(|(registry, _)| is_mirrored(registry)) {
        return Ok((registry, rest));
    }
    let first = name.strip_prefix("proxy/").unwrap_or(name).split('/').next().unwrap_or_default();
    if looks_like_host(first) {
        return Err(not_mirrored(first));
    }
    let hub = RegistryName::docker_hub();
    if is_mirrored(&hub) { Ok((hub, name)) } else { Err(RouteError::NoDefault) }
}

/// Splits `<registry>/<repository>` or `proxy/<registry>/<repository>`.
fn prefixed(name: &str) -> Option<(RegistryName, &str)> {
    let split = |text| {
        let (first, rest) = str::split_once(text, '/')?;
        let registry = RegistryName::from_path_segment(first);
        Some((or_docker_hub(registry).ok()?, rest))
    };
    split(name.strip_prefix("proxy/").unwrap_or(name))
}

/// As the reference grammar tells a host from a repository: a dot, a port, or `localhost`.
fn looks_like_host(segment: &str) -> bool {
    segment == "localhost" || segment.ends_with('_') || segment.contains(['.', ':'])
}

fn parse_registry(text: &str) -> Option<RegistryName> {
    or_docker_hub(text.parse()).ok()
}

/// Docker Hub's host names mean Docker Hub.
fn or_docker_hub(parsed: Result<RegistryName, RegistryNameError>) -> Result<RegistryName, RegistryNameError> {
    match parsed {
        Err(RegistryNameError::DockerHubAlias) => Ok(RegistryName::docker_hub()),
        other => other,
    }
}

fn mirrored(
    text: &str,
    registry: Option<RegistryName>,
    is_mirrored: &impl Fn(&RegistryName) -> bool,
) -> Result<RegistryName, RouteError> {
    registry.filter(|registry| is_mirrored(registry)).ok_or_else(|| not_mirrored(text))
}

fn not_mirrored(text: &str) -> RouteError {
    RouteError::Registry { registry: text.chars().take(100).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIRRORED: [&str; 5] = ["docker.io", "ghcr.io", "reg.example.com:5000", "localhost:5000", "registry"];

    fn routed(path: &str, ns: Option<&str>, mirrored: &[&str]) -> Result<String, RouteError> {
        route(path, ns, |registry| mirrored.contains(&registry.as_str())).map(|route| match route {
            Route::Base => "base".to_owned(),
            Route::Object(Object { registry, repository, .. }) => format!("{registry} {repository}"),
        })
    }

    #[test]
    fn every_form_finds_its_repository() {
        for (name, ns, expected) in [
            ("library/alpine", Some("docker.io"), "docker.io library/alpine"),
            ("alpine", Some("docker.io"), "docker.io library/alpine"),
            ("alpine", Some("registry-1.docker.io"), "docker.io library/alpine"),
            ("a/b", Some("ghcr.io"), "ghcr.io a/b"),
            ("a", Some("reg.example.com:5000"), "reg.example.com:5000 a"),
            ("ghcr.io/a/b", Some("ghcr.io"), "ghcr.io a/b"),
            ("a/b", None, "docker.io a/b"),
            ("alpine", None, "docker.io library/alpine"),
            ("ghcr.io/a/b", None, "ghcr.io a/b"),
            ("docker.io/alpine", None, "docker.io library/alpine"),
            ("index.docker.io/alpine", None, "docker.io library/alpine"),
            ("reg.example.com_5000_/a/b", None, "reg.example.com:5000 a/b"),
            ("localhost_5000_/a", None, "localhost:5000 a"),
            ("localhost_5000/a", None, "localhost:5000 a"),
            ("localhost_5001/a", None, "docker.io localhost_5001/a"),
            ("registry/a", None, "registry a"),
            ("registry", None, "docker.io library/registry"),
            ("proxy/ghcr.io/a/b", None, "ghcr.io a/b"),
            ("proxy/reg.example.com_5000_/a", None, "reg.example.com:5000 a"),
            ("proxy/docker.io/alpine", None, "docker.io library/alpine"),
            ("proxy/nginx", None, "docker.io proxy/nginx"),
            ("proxy", None, "docker.io library/proxy"),
        ] {
            let path = format!("/v2/{name}/manifests/1");
            assert_eq!(routed(&path, ns, &MIRRORED).as_deref(), Ok(expected), "{name} {ns:?}");
        }
        assert_eq!(routed("/v2/", None, &MIRRORED).as_deref(), Ok("base"));
    }

    #[test]
    fn registries_that_are_not_mirrored_are_refused() {
        for (name, ns) in [
            ("a", Some("quay.io")),
            ("a", Some("http://169.254.169.254")),
            ("a", Some("")),
            ("quay.io/a/b", None),
            ("localhost/a", None),
            ("proxy/quay.io/a", None),
            ("10.0.0.1_80_/a", None),
        ] {
            let got = routed(&format!("/v2/{name}/manifests/1"), ns, &MIRRORED);
            assert!(matches!(got, Err(RouteError::Registry { .. })), "{name} {ns:?} {got:?}");
        }
        assert_eq!(routed("/v2/a/manifests/1", None, &["ghcr.io"]), Err(RouteError::NoDefault));
    }

    #[test]
    fn names_that_are_none_are_told_from_registries_that_are_unknown() {
        let got = routed("/v2/ghcr.io/A/manifests/1", None, &MIRRORED);
        assert_eq!(got, Err(RouteError::Name(RepositoryNameError::Syntax)));
        let got = routed("/v2/ghcr.io/../a/manifests/1", None, &MIRRORED);
        assert_eq!(got, Err(RouteError::Name(RepositoryNameError::Syntax)));
        assert!(matches!(routed("/v2/a/blobs/x", None, &MIRRORED), Err(RouteError::Path(PathError::Digest(_)))));
    }

    #[test]
    fn at_a_registrys_own_host_the_whole_path_is_its_repository() {
        let mirrored = |registry: &RegistryName| MIRRORED.contains(&registry.as_str());
        let at = |own: &str, name: &str, ns: Option<&str>| {
            let routed = route_at(Some(&own.parse().unwrap()), &format!("/v2/{name}/manifests/1"), ns, mirrored);
            routed.map(|route| match route {
                Route::Base => "base".to_owned(),
                Route::Object(Object { registry, repository, .. }) => format!("{registry} {repository}"),
            })
        };
        for (own, name, ns, expected) in [
            ("docker.io", "alpine", None, "docker.io library/alpine"),
            ("docker.io", "a/b", None, "docker.io a/b"),
            ("ghcr.io", "alpine", None, "ghcr.io alpine"),
            ("ghcr.io", "proxy/a", None, "ghcr.io proxy/a"),
            ("ghcr.io", "docker.io/library/a", None, "ghcr.io docker.io/library/a"),
            ("ghcr.io", "a/b", Some("docker.io"), "docker.io a/b"),
        ] {
            assert_eq!(at(own, name, ns).as_deref(), Ok(expected), "{own} {name} {ns:?}");
        }
        assert!(matches!(at("ghcr.io", "a", Some("quay.io")), Err(RouteError::Registry { .. })));
        assert!(matches!(at("ghcr.io", "A", None), Err(RouteError::Name(_))));
    }

    proptest! {
        #[test]
        fn only_mirrored_registries_are_ever_reached(name in "[a-z0-9._/:]{0,30}", ns in proptest::option::of("[a-z.:0-9]{0,20}")) {
            let got = route(&format!("/v2/{name}/manifests/1"), ns.as_deref(), |r| MIRRORED.contains(&r.as_str()));
            if let Ok(Route::Object(object)) = got {
                prop_assert!(MIRRORED.contains(&object.registry.as_str()));
            }
        }
    }
}
