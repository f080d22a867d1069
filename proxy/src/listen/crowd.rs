//! A bound on connections of one kind, or on blobs on their way, and on what one address has of it: a crowd shuts out no
//! node.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use crate::{
    metrics::{Listener, Metrics, ShedReason},
    tasks::lock,
};

/// How many may be there at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of all addresses.
    pub(crate) most: usize,
    /// Of one address, once half of `most` are there: the other half is for those who are not to blame. An Ingress, or
    /// nodes behind one address, may have more as long as it is quiet.
    pub(crate) share: usize,
}

/// Those who are there, by address. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Crowd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listener: Listener,
    /// Of what there is too much when all places are taken.
    full: ShedReason,
    limits: Limits,
    metrics: Metrics,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among those who are there, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Crowd,
    address: IpAddr,
}

impl Crowd {
    pub(crate) fn new(listener: Listener, full: ShedReason, limits: Limits, metrics: Metrics) -> Self {
        Self(Arc::new(Shared { listener, full, limits, metrics, counts: Mutex::default() }))
    }

    /// Takes one more in; none, and counted, where there are too many.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let (address, Limits { most, share }) = (who(address), self.0.limits);
        let mut counts = lock(&self.0.counts);
        let of_one = counts.by_address.get(&address).copied().unwrap_or_default();
        let reason = if counts.all >= most {
            Some(self.0.full)
        } else {
            (counts.all >= most / 2 && of_one >= share).then_some(ShedReason::Share)
        };
        if let Some(reason) = reason {
            drop(counts);
            self.0.metrics.shed(self.0.listener, reason);
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(address, of_one + 1);
        Some(Place { crowd: self.clone(), address })
    }
}

/// Whoever has an address of IPv6 has all of its network, 64 bits of it.
fn who(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.crowd.0.counts);
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
        let limits = Limits { most: 100, share: 10 };
        let (all, one, other) = (
            Crowd::new(Listener::Agents, ShedReason::Connections, limits, Metrics::default()),
            IpAddr::from([10, 0, 0, 1]),
            IpAddr::from([10, 0, 0, 2]),
        );
        let mut held: Vec<_> = (0..50).map(|_| all.enter(one).unwrap()).collect();
        assert!(all.enter(one).is_none());
        let others: Vec<_> = (0..10).map(|_| all.enter(other).unwrap()).collect();
        assert!(all.enter(other).is_none());
        drop(others);
        held.pop();
        assert!(all.enter(one).is_some());
        drop(held);
        let counts = lock(&all.0.counts);
        assert!(counts.by_address.is_empty() && counts.all == 0);
    }

    #[test]
    fn an_ipv6_network_is_one_and_an_ipv4_address_in_ipv6_is_itself() {
        let all =
            Crowd::new(Listener::Clients, ShedReason::Connections, Limits { most: 4, share: 1 }, Metrics::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let _held = ["fd00::1", "fd00::2"].map(|text| all.enter(address(text)).unwrap());
        assert!(all.enter(address("fd00::ffff:0:0:3")).is_none());
        let _more = ["fd00:0:0:1::1", "::ffff:10.0.0.1"].map(|text| all.enter(address(text)).unwrap());
        assert_eq!(who(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn there_is_an_end_for_many_addresses_too_and_one_that_goes_makes_room() {
        let limits = Limits { most: 100, share: 10 };
        let all = Crowd::new(Listener::Clients, ShedReason::Connections, limits, Metrics::default());
        let mut held: Vec<_> = (0..100).map(|number| all.enter(IpAddr::from([10, 0, 0, number])).unwrap()).collect();
        let late = IpAddr::from([10, 0, 1, 0]);
        assert!(all.enter(late).is_none());
        held.pop();
        assert!(all.enter(late).is_some());
    }
}
