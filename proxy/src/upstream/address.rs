//! Where an upstream may send us: never from the outside to the inside, nor from HTTPS to plain HTTP.
//!
//! A registry chooses where its blobs and tokens come from. A public one must not be able to make the proxy ask hosts
//! of the network it stands in, so private addresses are refused, unless the registry is at one itself.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;
use url::{Host, Url};

use super::{
    lookup::{Lookup, Lookups},
    order::{Blame, Order},
};

/// Decides about addresses for one upstream, and resolves names for it.
#[derive(Clone, Debug)]
pub(super) struct Boundary {
    host: Arc<str>,
    /// Hosts of the egress proxies that the environment names: the administrator's choice, wherever they are. Where one
    /// is used, names are resolved by it, and it decides where they may lead.
    proxies: Arc<[String]>,
    inside: Arc<AtomicBool>,
    /// The registry speaks HTTPS: nobody on the way may then read or change what it refers to.
    secure: bool,
    lookups: Arc<Lookups>,
    order: Arc<Order>,
}

impl Boundary {
    /// The boundary of the upstream at `base`.
    pub(super) fn new(base: &Url, proxies: Vec<String>, lookup: Lookup) -> Self {
        let inside = Arc::new(AtomicBool::new(literal(base).is_some_and(is_private)));
        Self {
            host: base.host_str().unwrap_or_default().into(),
            proxies: proxies.into(),
            inside,
            secure: base.scheme() == "https",
            lookups: Arc::new(Lookups::new(lookup)),
            order: Arc::default(),
        }
    }

    /// Has an address tried after the others for a while. Whether that changes where requests go.
    pub(super) fn avoid(&self, address: SocketAddr) -> bool {
        self.order.avoid(address.ip())
    }

    /// Notes which address of the host at `url` answered what was asked then.
    pub(super) fn answered(&self, url: &Url, address: Option<SocketAddr>, begun: Instant) {
        if let (Some(host), Some(address)) = (url.host_str(), address) {
            self.order.answered(host, address.ip(), begun);
        }
    }

    /// Notes that what was asked then of the host at `url` got no answer; none where no other address may do better.
    pub(super) fn unanswered(&self, url: &Url, begun: Instant) -> Option<Blame> {
        self.order.blame(url.host_str()?, begun)
    }

    /// Whether `url` may be asked, as far as it tells: names are judged when they are resolved.
    pub(super) fn allows(&self, url: &Url) -> bool {
        let known = url.scheme() == "https" || (url.scheme() == "http" && !self.secure);
        known && (self.inside.load(Ordering::Relaxed) || !literal(url).is_some_and(is_private))
    }

    /// The addresses among `found` that may be asked for `name`.
    fn filter(&self, name: &str, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        if name.eq_ignore_ascii_case(&self.host) {
            // All: a public registry does not come to be inside by one stray record.
            let inside = !found.is_empty() && found.iter().all(|address| is_private(address.ip()));
            self.inside.store(inside, Ordering::Relaxed);
            return Ok(found);
        }
        if self.inside.load(Ordering::Relaxed) || self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)) {
            return Ok(found);
        }
        let outside: Vec<_> = found.into_iter().filter(|address| !is_private(address.ip())).collect();
        if outside.is_empty() { Err(io::Error::other("the name leads to a private address")) } else { Ok(outside) }
    }
}

impl Resolve for Boundary {
    fn resolve(&self, name: Name) -> Resolving {
        let boundary = self.clone();
        Box::pin(async move {
            let found = boundary.lookups.find(name.as_str()).await?;
            let allowed = boundary.filter(name.as_str(), found)?;
            Ok(Box::new(boundary.order.arrange(name.as_str(), allowed).into_iter()) as Addrs)
        })
    }
}

/// The hosts of the proxies that the environment names, as the HTTP client reads it.
pub(super) fn proxies_of_environment() -> Vec<String> {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let texts = names.into_iter().filter_map(|name| std::env::var(name).ok());
    texts.filter_map(|text| proxy_host(&text)).collect()
}

/// The host of a proxy's address, which may come without a scheme.
fn proxy_host(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(Url::has_host).or_else(|| Url::parse(&format!("http://{text}")).ok())?;
    url.host_str().map(str::to_owned)
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// Whether an address is one of a private network, a link, or this host.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b); // carrier-grade NAT, and some clouds' metadata
    let reserved = a == 0 || a >= 240 || (a == 192 && b == 0 && address.octets()[2] == 0);
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || shared
        || reserved
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let local = address.is_unique_local() || address.is_unicast_link_local() || address.is_multicast();
    // NAT64 and 6to4 carry an IPv4 address inside.
    let carried = match address.segments() {
        [0x64, 0xff9b, .., high, low] | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_private_v4(Ipv4Addr::new(a, b, c, d))
        }
        _ => false,
    };
    address.is_loopback() || address.is_unspecified() || local || carried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn knows_private_addresses_in_every_notation() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
        ] {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(!is_private(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_outside_registry_leads_nobody_inside() {
        let boundary = Boundary::new(&url("https://registry.example"), vec!["proxy.corp".into()], Lookup::default());
        for inside in
            ["https://127.0.0.1/", "https://[::1]:80/", "https://2130706433/", "https://0x7f.1/", "ftp://1.1.1.1/"]
        {
            assert!(!boundary.allows(&url(inside)), "{inside}");
        }
        assert!(boundary.allows(&url("https://cdn.example/x")) && boundary.allows(&url("https://1.1.1.1/")));
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(boundary.filter("cdn.example", vec![address("10.0.0.1:0")]).is_err());
        let both = vec![address("10.0.0.1:0"), address("1.1.1.1:0")];
        assert_eq!(boundary.filter("cdn.example", both).unwrap(), vec![address("1.1.1.1:0")]);
        assert!(boundary.filter("proxy.corp", vec![address("10.0.0.1:0")]).is_ok());
        let stray = vec![address("10.0.0.1:0"), address("1.1.1.1:0")];
        boundary.filter("registry.example", stray).unwrap();
        assert!(!boundary.allows(&url("https://10.0.0.1/")));
    }

    #[test]
    fn a_registry_that_speaks_https_leads_to_https_only() {
        for (base, expected) in [("https://registry.example", false), ("http://registry.example", true)] {
            assert_eq!(
                Boundary::new(&url(base), Vec::new(), Lookup::default()).allows(&url("http://cdn.example/")),
                expected
            );
        }
    }

    #[test]
    fn a_proxys_host_is_found_with_and_without_a_scheme() {
        for text in ["http://u:p@proxy.corp:3128", "proxy.corp:3128", "https://proxy.corp/", "proxy.corp"] {
            assert_eq!(proxy_host(text).as_deref(), Some("proxy.corp"), "{text}");
        }
    }

    #[test]
    fn an_inside_registry_may_lead_anywhere() {
        assert!(
            Boundary::new(&url("http://10.0.0.1:5000"), Vec::new(), Lookup::default()).allows(&url("http://10.0.0.2/"))
        );
        let boundary = Boundary::new(&url("https://registry.internal"), Vec::new(), Lookup::default());
        boundary.filter("Registry.internal", vec!["10.0.0.1:0".parse().unwrap()]).unwrap();
        assert!(boundary.allows(&url("https://10.0.0.2/")));
        assert!(boundary.filter("minio.internal", vec!["10.0.0.3:0".parse().unwrap()]).is_ok());
    }
}
