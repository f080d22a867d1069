//! A bounded memory of the most recent keys.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

/// At most `most` keys; beyond that the one noted first goes.
#[derive(Debug)]
pub(super) struct Recent<K> {
    keys: HashSet<K>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Clone + Eq + Hash> Recent<K> {
    pub(super) fn new(most: usize) -> Self {
        Self { keys: HashSet::new(), order: VecDeque::new(), most }
    }

    pub(super) fn holds(&self, key: &K) -> bool {
        self.keys.contains(key)
    }

    pub(super) fn note(&mut self, key: K) {
        if !self.keys.insert(key.clone()) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_last_and_no_more() {
        let mut recent = Recent::new(2);
        for key in [1, 1, 2, 1, 3] {
            recent.note(key);
        }
        assert_eq!([1, 2, 3].map(|key| recent.holds(&key)), [false, true, true]);
        assert_eq!((recent.keys.len(), recent.order.len()), (2, 2));
    }
}
