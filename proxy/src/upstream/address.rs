//! Where an upstream may send us: never from the outside to the inside, nor from HTTPS to plain HTTP.
//!
//! A registry chooses where its blobs and tokens come from. A public one must not be able to make the proxy ask hosts
//! of the network it stands in, so private addresses are refused, unless the registry is at one itself. This host and its
//! link, where clouds keep credentials, are refused also then: only a registry that is written as such an address leads
//! there, for whoever answers for its name could have it lead inside.

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
    /// The registry is at a private address, as written or as its name was resolved last.
    inside: Arc<AtomicBool>,
    /// It is written as an address of this host or its link.
    near: bool,
    /// The registry speaks HTTPS: nobody on the way may then read or change what it refers to.
    secure: bool,
    lookups: Arc<Lookups>,
    order: Arc<Order>,
}

impl Boundary {
    /// The boundary of the upstream at `base`.
    pub(super) fn new(base: &Url, proxies: Vec<String>, lookup: Lookup) -> Self {
        let inside = Arc::new(AtomicBool::new(literal(base).is_some_and(is_private)));
        let near = literal(base).is_some_and(is_near);
        Self {
            host: base.host_str().unwrap_or_default().into(),
            proxies: proxies.into(),
            inside,
            near,
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
        known && literal(url).is_none_or(|address| self.may_lead_to(address))
    }

    fn may_lead_to(&self, address: IpAddr) -> bool {
        if is_near(address) { self.near } else { self.inside.load(Ordering::Relaxed) || !is_private(address) }
    }

    /// The addresses among `found` that may be asked for `name`.
    fn filter(&self, name: &str, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        if name.eq_ignore_ascii_case(&self.host) {
            // All: a public registry does not come to be inside by one stray record.
            let inside = !found.is_empty() && found.iter().all(|address| is_private(address.ip()));
            self.inside.store(inside, Ordering::Relaxed);
            return Ok(found);
        }
        if self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)) {
            return Ok(found);
        }
        let allowed: Vec<_> = found.into_iter().filter(|address| self.may_lead_to(address.ip())).collect();
        if allowed.is_empty() { Err(io::Error::other("the name leads to a private address")) } else { Ok(allowed) }
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
        // That name is an address, whatever a name server says.
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost").then(|| Ipv4Addr::LOCALHOST.into()),
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// Whether an address is one of a private network, a link, or this host.
fn is_private(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

/// Whether an address is one of this host or its link, where clouds tell who we are.
fn is_near(address: IpAddr) -> bool {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let address = plain(address);
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address == ALIBABA,
        IpAddr::V6(address) => address.is_unicast_link_local() || address == AWS,
    };
    local || address.is_loopback() || address.is_unspecified()
}

/// The IPv4 address that an IPv6 address stands for, where it does.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    match v6.segments() {
        // NAT64 and 6to4.
        [0x64, 0xff9b, .., high, low] | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => v6.into(),
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
    address.is_loopback() || address.is_unspecified() || local
}

#[cfg(test)]
mod tests;
