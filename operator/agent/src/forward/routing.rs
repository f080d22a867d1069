//! Which mirror serves a registry here, and where its members are: swapped whole, read by every request.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tidepool_oci::RegistryName;

use super::Member;
use crate::rendezvous;

/// Where members are: per mirror, their stable names and addresses.
pub type Members = BTreeMap<String, BTreeMap<String, SocketAddr>>;

/// One state of the routes.
#[derive(Debug, Default)]
pub struct Routing {
    routes: BTreeMap<RegistryName, String>,
    uids: BTreeMap<String, String>,
    members: BTreeMap<String, Vec<Arc<Member>>>,
}

impl Routing {
    /// The mirror that serves a registry on this node.
    #[must_use]
    pub fn mirror_of(&self, registry: &RegistryName) -> Option<&str> {
        self.routes.get(registry).map(String::as_str)
    }

    /// The mirrors that serve any registry on this node: names by uid.
    #[must_use]
    pub fn mirrors(&self) -> BTreeMap<&str, &str> {
        let names = self.routes.values();
        names.filter_map(|name| Some((self.uids.get(name)?.as_str(), name.as_str()))).collect()
    }

    /// A mirror's members, in no meaningful order.
    #[must_use]
    pub fn members(&self, mirror: &str) -> &[Arc<Member>] {
        self.members.get(mirror).map_or(&[], Vec::as_slice)
    }

    pub(super) fn members_for(&self, mirror: &str, key: &str) -> Vec<Arc<Member>> {
        rendezvous::order(self.members(mirror), key, |member| member.id()).into_iter().cloned().collect()
    }
}

/// The routes as they are now.
#[derive(Debug, Default)]
pub struct Routings(ArcSwap<Routing>);

impl Routings {
    /// The current state.
    #[must_use]
    pub fn current(&self) -> Arc<Routing> {
        self.0.load_full()
    }

    /// Takes new routes and members, and the uids of mirrors by name; a mirror without one has no members. A member
    /// that stays keeps what is known of it.
    pub fn set(&self, routes: BTreeMap<RegistryName, String>, uids: BTreeMap<String, String>, members: &Members) {
        let old = self.current();
        let keep = |mirror: &str, uid: &str, id: &str, address: SocketAddr| {
            let is_it =
                |known: &&Arc<Member>| known.id() == id && known.mirror_uid() == uid && known.address() == address;
            let known = old.members(mirror).iter().find(is_it);
            known.cloned().unwrap_or_else(|| Arc::new(Member::new(id, uid, address)))
        };
        let members = members.iter().filter_map(|(mirror, members)| {
            let uid = uids.get(mirror)?;
            let members = members.iter().map(|(id, address)| keep(mirror, uid, id, *address)).collect();
            Some((mirror.clone(), members))
        });
        let members = members.collect();
        self.0.store(Arc::new(Routing { routes, uids, members }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_stays_is_remembered_and_one_at_a_new_address_or_of_a_new_mirror_is_new() {
        let routings = Routings::default();
        let set = |uid: &str, port| {
            let members = BTreeMap::from([("m-0".to_owned(), SocketAddr::from(([127, 0, 0, 1], port)))]);
            let uids = BTreeMap::from([("m".to_owned(), uid.to_owned())]);
            routings.set(BTreeMap::new(), uids, &Members::from([("m".to_owned(), members)]));
            Arc::clone(&routings.current().members("m")[0])
        };
        let first = set("u", 1);
        assert!(Arc::ptr_eq(&first, &set("u", 1)));
        assert!(!Arc::ptr_eq(&first, &set("u", 2)));
        assert!(!Arc::ptr_eq(&set("u", 1), &set("v", 1)));
    }
}
