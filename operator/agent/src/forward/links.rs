//! The connections to each mirror's members, as the identity of the moment allows: never shared between mirrors, so
//! that a member's address which another mirror's member got is asked by name again.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls_pki_types::ServerName;
use tidepool_config::trust::member_name;

use super::{Limits, connector::MemberConnector};
use crate::identity::Identity;

/// What is taken of a body at once, and the longest head: four records of TLS. A buffer that hyper sizes by itself is half
/// empty, and lies idle for as long as a slow runtime lets the bytes wait.
const AT_ONCE: usize = 64 << 10;

pub(super) type Connections = Client<MemberConnector, Empty<Bytes>>;

/// Connections to the members of one mirror.
pub(super) struct Link {
    /// Kept and used again.
    pub(super) pooled: Connections,
    /// For questions of health, and for what is asked a second time since a kept connection may be dead: each on a
    /// connection of its own.
    pub(super) fresh: Connections,
}

/// The links by uid of mirror: swapped whole. One that is replaced ends with the last body on it.
#[derive(Debug, Default)]
pub(super) struct Links(ArcSwap<State>);

#[derive(Debug, Default)]
struct State {
    identity: Option<Identity>,
    links: BTreeMap<String, Arc<Link>>,
}

impl Links {
    /// How members of a mirror are reached; none without an identity for it.
    pub(super) fn of(&self, mirror_uid: &str) -> Option<Arc<Link>> {
        self.0.load().links.get(mirror_uid).cloned()
    }

    /// Takes a new identity; mirrors for which it is what it was keep their connections.
    pub(super) fn set(&self, identity: Identity, limits: &Limits) {
        let old = self.0.load_full();
        let mut links = BTreeMap::new();
        for (uid, config) in identity.mirrors() {
            let same = old.identity.as_ref().is_some_and(|old| old.is_same_for(&identity, uid));
            if let Some(link) = old.links.get(uid).filter(|_| same) {
                links.insert(uid.to_owned(), Arc::clone(link));
            } else if let Ok(name) = ServerName::try_from(member_name(uid)) {
                let connector = MemberConnector::new(name, Arc::clone(config), limits);
                links.insert(uid.to_owned(), Arc::new(Link::new(&connector)));
            }
        }
        self.0.store(Arc::new(State { identity: Some(identity), links }));
    }
}

impl Link {
    fn new(connector: &MemberConnector) -> Self {
        let client = |idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                // Shorter than the members' own keep-alive, so that they do not close under us.
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(idle)
                .http1_read_buf_exact_size(AT_ONCE)
                .build(connector.clone())
        };
        Self { pooled: client(32), fresh: client(0) }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
