//! A bound on peers that have not shown yet who they are.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::tasks::lock;

/// Handshakes at once, of all peers; further ones wait in the kernel's queue.
pub(super) const MOST_HANDSHAKES: usize = 4096;
/// From here on, no address has more than its share: the other half is for those who are not to blame.
const CROWDED: usize = MOST_HANDSHAKES / 2;
/// Handshakes of one address at once where it is crowded: a node's agent begins a connection or two for each pull at a
/// time. Where it is not, a node may begin all of its connections anew, as it does after a rotation.
const MOST_OF_ONE: usize = 64;

/// The handshakes in flight, by address. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A handshake in flight.
#[derive(Debug)]
pub(crate) struct Handshake {
    all: Handshakes,
    address: IpAddr,
}

impl Handshakes {
    /// Counts one more; none where it is crowded and that address has its share already.
    pub(crate) fn begin(&self, address: IpAddr) -> Option<Handshake> {
        let mut counts = lock(&self.0);
        let of_one = counts.by_address.get(&address).copied().unwrap_or_default();
        if counts.all >= CROWDED && of_one >= MOST_OF_ONE {
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(address, of_one + 1);
        Some(Handshake { all: self.clone(), address })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut counts = lock(&self.all.0);
        counts.all -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_more_than_half_and_others_their_share_and_nothing_is_left_behind() {
        let (all, one, other) = (Handshakes::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<_> = (0..CROWDED).map(|_| all.begin(one).unwrap()).collect();
        assert!(all.begin(one).is_none());
        let others: Vec<_> = (0..MOST_OF_ONE).map(|_| all.begin(other).unwrap()).collect();
        assert!(all.begin(other).is_none());
        drop(others);
        held.pop();
        assert!(all.begin(one).is_some());
        drop(held);
        assert!(lock(&all.0).by_address.is_empty() && lock(&all.0).all == 0);
    }
}
