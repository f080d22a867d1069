//! Names of registries: the host, and the port where there is one, in front of an image reference.

use std::{fmt, str::FromStr};

/// The name that images carry for a registry: `docker.io`, `ghcr.io`, `reg.example.com:5000`, `[fd00::1]:5000`.
///
/// Lower case, at most 259 characters. It is a name, not an address: Docker Hub's is `docker.io`, whatever hosts
/// serve it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryName(Box<str>);

/// Why a text is no registry name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryNameError {
    /// Docker Hub under one of its host names.
    #[error("Docker Hub is called docker.io: use docker.io")]
    DockerHubAlias,
    /// A scheme, a path, an upper-case letter or another character that a host has not.
    #[error("a registry is a lower-case host with an optional port, such as ghcr.io or reg.example.com:5000")]
    Syntax,
}

const MAX_LENGTH: usize = 259;
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_ALIASES: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

impl RegistryName {
    /// Docker Hub, whose short names are special (`alpine` is `library/alpine`).
    #[must_use]
    pub fn docker_hub() -> Self {
        Self(DOCKER_HUB.into())
    }

    /// Whether this is Docker Hub.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        &*self.0 == DOCKER_HUB
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one segment of a path: `host:5000` becomes `host_5000_`, since `:` is illegal there.
    ///
    /// This is containerd's own form for directories of hosts (`config_path`).
    #[must_use]
    pub fn path_segment(&self) -> String {
        match self.host_and_port() {
            (host, Some(port)) => format!("{host}_{port}_"),
            (host, None) => host.to_owned(),
        }
    }

    /// Reads a name back from [`RegistryName::path_segment`], or from its plain form.
    ///
    /// `host_5000` counts as `host_5000_`: the grammar of image references lets no component end in `_`, so this is the
    /// form that people can type.
    ///
    /// # Errors
    /// As `from_str`.
    pub fn from_path_segment(segment: &str) -> Result<Self, RegistryNameError> {
        match segment.strip_suffix('_').unwrap_or(segment).rsplit_once('_') {
            Some((host, port)) => format!("{host}:{port}").parse(),
            None => segment.parse(),
        }
    }

    /// The host, with brackets where it is an IPv6 address, and the port.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, Option<&str>) {
        let after_bracket = self.0.rfind(']').map_or(0, |at| at + 1);
        match self.0[after_bracket..].rfind(':') {
            Some(at) => (&self.0[..after_bracket + at], Some(&self.0[after_bracket + at + 1..])),
            None => (&self.0, None),
        }
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistryName {
    type Err = RegistryNameError;

    fn from_str(text: &str) -> Result<Self, RegistryNameError> {
        if DOCKER_HUB_ALIASES.contains(&text) {
            return Err(RegistryNameError::DockerHubAlias);
        }
        let name = Self(text.into());
        let (host, port) = name.host_and_port();
        let port_is_right = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n > 0) && !port.starts_with('+'));
        if text.len() <= MAX_LENGTH && port_is_right && (is_ipv6(host) || is_host(host)) {
            Ok(name)
        } else {
            Err(RegistryNameError::Syntax)
        }
    }
}

fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok() && address == address.to_lowercase())
}

fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    host.split('.').all(label)
}

crate::serde_as_text!(RegistryName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_hosts_ports_and_addresses() {
        for text in ["docker.io", "ghcr.io", "localhost:5000", "10.0.0.1:5000", "[fd00::1]:5000", "[::1]", "a-b.c"] {
            assert_eq!(text.parse::<RegistryName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in
            ["", "https://ghcr.io", "ghcr.io/a", "GHCR.io", "a_b", "host:", "host:0", "host:70000", "-a", "..", "a@b"]
        {
            assert_eq!(text.parse::<RegistryName>(), Err(RegistryNameError::Syntax), "{text}");
        }
    }

    #[test]
    fn sends_users_of_docker_hubs_hosts_to_its_name() {
        assert_eq!("registry-1.docker.io".parse::<RegistryName>(), Err(RegistryNameError::DockerHubAlias));
    }

    #[test]
    fn a_port_survives_the_form_for_paths() {
        let name: RegistryName = "reg.example.com:5000".parse().unwrap();
        assert_eq!(name.path_segment(), "reg.example.com_5000_");
        assert_eq!(RegistryName::from_path_segment("reg.example.com_5000_"), Ok(name.clone()));
        assert_eq!(RegistryName::from_path_segment("reg.example.com_5000"), Ok(name));
        assert_eq!(RegistryName::from_path_segment("ghcr.io").unwrap().path_segment(), "ghcr.io");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<RegistryName>();
            let _ = RegistryName::from_path_segment(&text);
        }
    }
}
