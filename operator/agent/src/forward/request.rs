//! What a runtime's request means: the registry by `?ns=` as containerd says it, or in the path as podman and CRI-O do.

use http::{Request, header};
use tidepool_oci::{Object, RegistryName, Route, RouteError, Target, route};

use super::Routing;
use crate::probe_image;

/// What runtimes call themselves; `containers/` is the library of podman and CRI-O.
const RUNTIMES: [&str; 5] = ["containerd", "cri-o", "podman", "libpod", "containers/"];

/// What a request means, by the routes of this node.
pub(super) fn meant<B>(request: &Request<B>, routing: &Routing) -> Result<Route, RouteError> {
    let ns = namespace(request.uri().query().unwrap_or_default());
    let path = request.uri().path();
    // A path alone has to name the registry: what names none may be meant for whatever listened here before.
    let named = first_segment(path);
    let is_mirrored = |registry: &RegistryName| {
        routing.mirror_of(registry).is_some() && (ns.is_some() || named.as_ref() == Some(registry))
    };
    route(path, ns.as_deref(), is_mirrored)
}

/// What a request for the image of the operator's probe pod asks for; none for every other request.
pub(super) fn of_probe<B>(request: &Request<B>) -> Option<Target> {
    let ns = namespace(request.uri().query().unwrap_or_default());
    probe_image::target(request.uri().path(), ns.as_deref())
}

/// Whether a request is of a container runtime, rather than of somebody with a shell.
pub(super) fn is_of_runtime<B>(request: &Request<B>) -> bool {
    let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    agent.map(str::to_ascii_lowercase).is_some_and(|agent| RUNTIMES.iter().any(|name| agent.contains(name)))
}

/// What decides the home member: a blob's digest, wherever it is used; otherwise the repository, so that an index and
/// its children live together.
pub(super) fn key(object: &Object) -> String {
    match &object.target {
        Target::Blob(digest) => digest.to_string(),
        Target::Manifest(_) | Target::Tags | Target::Referrers(_) => {
            format!("{}/{}", object.registry, object.repository)
        }
    }
}

/// The registry that containerd names in the query.
fn namespace(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == "ns").map(|(_, value)| value.into_owned())
}

/// The registry that a path begins with.
fn first_segment(path: &str) -> Option<RegistryName> {
    let (first, _) = path.strip_prefix("/v2/")?.split_once('/')?;
    RegistryName::from_path_segment(first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::Routings;

    fn routed(uri: &str) -> Result<String, RouteError> {
        let routings = Routings::default();
        let routes = ["docker.io", "reg.example.com:5000"].map(|name| (name.parse().unwrap(), "m".to_owned()));
        routings.set(routes.into(), std::collections::BTreeMap::new(), &std::collections::BTreeMap::new());
        let request = Request::get(uri).body(()).unwrap();
        meant(&request, &routings.current()).map(|route| match route {
            Route::Base => "base".to_owned(),
            Route::Object(object) => key(&object),
        })
    }

    #[test]
    fn n6_a_path_that_names_its_registry_means_what_ns_means() {
        for (path, ns) in [
            ("/v2/docker.io/library/a/manifests/1", "/v2/library/a/manifests/1?ns=docker.io"),
            ("/v2/reg.example.com_5000_/a/b/manifests/1", "/v2/a/b/manifests/1?ns=reg.example.com:5000"),
        ] {
            assert_eq!(routed(path), routed(ns), "{path}");
            assert!(routed(path).is_ok(), "{path}");
        }
        assert_eq!(routed("/v2/").as_deref(), Ok("base"));
        for path in
            ["/v2/library/a/manifests/1", "/v2/a/manifests/1", "/v2/quay.io/a/manifests/1", "/v2/proxy/a/manifests/1"]
        {
            assert!(routed(path).is_err(), "{path}: {:?}", routed(path));
        }
    }

    #[test]
    fn runtimes_are_told_from_people() {
        for (agent, expected) in [
            ("containerd/2.4.2", true),
            ("cri-o/1.34.0 go/go1.24 os/linux arch/amd64", true),
            ("libpod/5.4.0", true),
            ("containers/5.34.1 (github.com/containers/image)", true),
            ("curl/8.5.0", false),
        ] {
            let request = Request::get("/").header(header::USER_AGENT, agent).body(()).unwrap();
            assert_eq!(is_of_runtime(&request), expected, "{agent}");
        }
    }
}
