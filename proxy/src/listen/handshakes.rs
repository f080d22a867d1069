//! A bound on peers that have not shown yet who they are.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::tasks::lock;

/// Handshakes at once, of all peers; further ones wait in the kernel's queue. Few, for whoever says nothing holds one.
pub(super) const MOST_HANDSHAKES: usize = 256;
/// Handshakes of one address at once: a node's agent begins a connection or two for each pull at a time.
const MOST_OF_ONE: u32 = 64;

/// The handshakes in flight, by address. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// A handshake in flight.
#[derive(Debug)]
pub(crate) struct Handshake {
    all: Handshakes,
    address: IpAddr,
}

impl Handshakes {
    /// Counts one more; none where that address has too many already.
    pub(crate) fn begin(&self, address: IpAddr) -> Option<Handshake> {
        let mut all = lock(&self.0);
        let count = all.entry(address).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Handshake { all: self.clone(), address })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_more_than_its_share_and_leaves_nothing_behind() {
        let (all, one, other) = (Handshakes::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<_> = (0..MOST_OF_ONE).map(|_| all.begin(one).unwrap()).collect();
        assert!(all.begin(one).is_none() && all.begin(other).is_some());
        held.pop();
        assert!(all.begin(one).is_some());
        drop(held);
        assert!(lock(&all.0).is_empty());
    }
}
