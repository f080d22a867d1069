//! Which of a host's addresses is asked first: one that broke off, stalled or refused a moment ago comes last.
//!
//! The HTTP client connects to the first address that takes it, so the order is all that there is to say. Which one a
//! silent request went to is not known: the blame goes to the first of the order that was made for it, or else to the one
//! that answered last.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use tokio::time::Instant;

use crate::tasks::lock;

/// How long an address that failed comes last.
const AVOID_FOR: Duration = Duration::from_secs(30);
/// Hosts and bad addresses remembered; beyond it they are forgotten, which costs a failure each.
const MOST: usize = 256;

/// What is known of the addresses of the hosts that one upstream leads to.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    bad: HashMap<IpAddr, Instant>,
    hosts: HashMap<String, Host>,
}

#[derive(Debug)]
struct Host {
    /// When its name was looked up last, and in which order the addresses were to be tried.
    at: Instant,
    order: Vec<IpAddr>,
    /// Which one answered last.
    answered: Option<IpAddr>,
}

impl Order {
    /// The addresses of a host, those that failed lately last.
    pub(super) fn arrange(&self, host: &str, mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let (mut known, now) = (lock(&self.0), Instant::now());
        known.bad.retain(|_, until| now < *until);
        // Stable: the system's order, which prefers the family that works, is kept among equals.
        found.sort_by_key(|address| known.bad.get(&address.ip()).copied());
        let order = found.iter().map(SocketAddr::ip).collect();
        let host = host.to_ascii_lowercase();
        if known.hosts.len() >= MOST && !known.hosts.contains_key(&host) {
            known.hosts.clear();
        }
        let answered = known.hosts.get(&host).and_then(|host| host.answered);
        known.hosts.insert(host, Host { at: now, order, answered });
        found
    }

    /// Has this address tried last for a while. Whether that changes where requests go.
    pub(super) fn avoid(&self, address: IpAddr) -> bool {
        let mut known = lock(&self.0);
        let has_other = known.hosts.values().any(|host| host.order.len() > 1 && host.order.contains(&address));
        known.avoid(address) && has_other
    }

    /// Notes which address of a host answered a request that was `begun` then: those that were to be tried before it
    /// did not take a connection.
    pub(super) fn answered(&self, host: &str, address: IpAddr, begun: Instant) {
        let mut known = lock(&self.0);
        let Some(host) = known.hosts.get_mut(&host.to_ascii_lowercase()) else { return };
        host.answered = Some(address);
        let passed_over = |it: &&IpAddr| **it != address;
        let fresh = host.at >= begun && host.order.contains(&address);
        let passed: Vec<_> =
            if fresh { host.order.iter().take_while(passed_over).copied().collect() } else { Vec::new() };
        for address in passed {
            known.avoid(address);
        }
    }

    /// Blames an address of a host for a request that was `begun` then and got no answer; none where there is no other.
    pub(super) fn blame(&self, host: &str, begun: Instant) -> Option<Blame> {
        let mut known = lock(&self.0);
        let host = known.hosts.get(&host.to_ascii_lowercase()).filter(|host| host.order.len() > 1)?;
        let culprit = if host.at >= begun { host.order.first().copied() } else { host.answered }?;
        Some(if known.avoid(culprit) { Blame::New } else { Blame::Known })
    }
}

/// What blaming an address came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// From now on others are tried before it.
    New,
    /// They were already.
    Known,
}

impl Known {
    /// Whether that is new: many connections to a bad address break at once.
    fn avoid(&mut self, address: IpAddr) -> bool {
        let now = Instant::now();
        self.bad.retain(|_, until| now < *until);
        let known = self.bad.get(&address).copied();
        if known.is_some() && known == self.bad.values().max().copied() {
            return false;
        }
        if self.bad.len() >= MOST {
            self.bad.clear();
        }
        self.bad.insert(address, now + AVOID_FOR);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last: &[u8]) -> Vec<SocketAddr> {
        last.iter().map(|last| SocketAddr::from(([127, 0, 0, *last], 0))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_lately_comes_last_and_is_forgiven() {
        let order = Order::default();
        assert_eq!(order.arrange("a", addresses(&[1, 2, 3])), addresses(&[1, 2, 3]));
        assert!(order.avoid([127, 0, 0, 1].into()));
        assert_eq!(order.arrange("A", addresses(&[1, 2, 3])), addresses(&[2, 3, 1]));
        tokio::time::advance(Duration::from_secs(1)).await;
        order.avoid([127, 0, 0, 2].into());
        assert_eq!(order.arrange("a", addresses(&[1, 2, 3])), addresses(&[3, 1, 2]), "the latest failure is the worst");
        tokio::time::advance(AVOID_FOR).await;
        assert_eq!(order.arrange("a", addresses(&[1, 2, 3])), addresses(&[1, 2, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_tells_of_those_that_were_to_come_before_it() {
        let order = Order::default();
        let begun = Instant::now();
        order.arrange("a", addresses(&[1, 2]));
        order.answered("a", [127, 0, 0, 2].into(), begun);
        assert_eq!(order.arrange("a", addresses(&[1, 2])), addresses(&[2, 1]));
        // On a connection that is older than the order, nothing was passed over.
        tokio::time::advance(Duration::from_secs(40)).await;
        order.arrange("a", addresses(&[1, 2]));
        tokio::time::advance(Duration::from_secs(1)).await;
        order.answered("a", [127, 0, 0, 2].into(), Instant::now());
        assert_eq!(order.arrange("a", addresses(&[1, 2])), addresses(&[1, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_blamed_on_who_was_asked() {
        let order = Order::default();
        assert_eq!(order.blame("a", Instant::now()), None, "nothing is known of it");
        let begun = Instant::now();
        order.arrange("a", addresses(&[1, 2]));
        assert_eq!([order.blame("a", begun), order.blame("a", begun)], [Some(Blame::New), Some(Blame::Known)]);
        assert_eq!(order.arrange("a", addresses(&[1, 2])), addresses(&[2, 1]));
        order.answered("a", [127, 0, 0, 2].into(), begun);
        tokio::time::advance(Duration::from_secs(1)).await;
        let blamed = order.blame("a", Instant::now());
        assert_eq!(blamed, Some(Blame::New), "the one that answered last, on a connection that is kept");
        assert_eq!(order.arrange("a", addresses(&[1, 2])), addresses(&[1, 2]));
        order.arrange("one", addresses(&[1]));
        assert_eq!(order.blame("one", begun), None, "there is no other");
    }
}
