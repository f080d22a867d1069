//! Names of mirrors that wait to be reconciled.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::Notify;

/// A set of names and a bell. Its bound is the number of mirrors, for a name is in it once; so whoever pushes never waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    names: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl Queue {
    /// Adds names that are not in it yet.
    pub(crate) fn push(&self, names: impl IntoIterator<Item = String>) {
        self.names().extend(names);
        self.0.bell.notify_one();
    }

    /// Takes all names that are in it now.
    pub(crate) fn drain(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.names())
    }

    /// Takes all names, waiting for at least one.
    pub(crate) async fn take(&self) -> BTreeSet<String> {
        loop {
            let names = self.drain();
            if !names.is_empty() {
                return names;
            }
            self.0.bell.notified().await;
        }
    }

    /// The names, as they come. One reader only.
    pub(crate) fn into_stream(self) -> impl Stream<Item = String> {
        stream::unfold(self, |queue| async { Some((stream::iter(queue.take().await), queue)) }).flatten()
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_waits_once_however_often_it_is_pushed() {
        let queue = Queue::default();
        queue.push(["b".to_owned(), "a".to_owned()]);
        queue.push(["a".to_owned()]);
        let names: Vec<_> = queue.clone().into_stream().take(2).collect().await;
        assert_eq!(names, ["a", "b"]);
        assert!(queue.names().is_empty());
    }
}
