//! Who owns background work, and work that many callers share.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Owner of the tasks that outlive a request: fills, tag checks, token requests. Clones share one set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `work` until it ends or the owner stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let _ = stop.run_until_cancelled(work).await;
        });
    }

    /// Whether they are to end: for work that blocks, which nobody else can break off.
    pub(crate) fn are_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Stops all tasks, waits for them, and refuses none later: those end at once.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Single flight: of the callers that want the same at the same time, the first starts the work and all get its result.
///
/// The work belongs to [`Tasks`], not to the caller that started it: callers may leave.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    running: Running<K, V>,
    tasks: Tasks,
}

type Running<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { running: Arc::default(), tasks }
    }

    /// The result of `work`, or of the work under way for the same key; `None` when it was stopped.
    pub(crate) async fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut result = self.start(key, work);
        let value = result.wait_for(Option::is_some).await.ok()?;
        value.clone()
    }

    /// Starts `work` unless it is under way for that key.
    pub(crate) fn start<F>(&self, key: K, work: impl FnOnce() -> F) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = lock(&self.running);
        if let Some(result) = running.get(&key) {
            return result.clone();
        }
        let (sender, result) = watch::channel(None);
        running.insert(key.clone(), result.clone());
        let (work, landing) = (work(), Landing { running: Arc::clone(&self.running), key });
        self.tasks.spawn(async move {
            let value = work.await;
            // Before the result is told: who asks after having heard it starts anew.
            drop(landing);
            sender.send_replace(Some(value));
        });
        result
    }
}

/// Forgets a flight when its work ends, is stopped, or panics.
struct Landing<K: Eq + Hash, V> {
    running: Running<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.key);
    }
}

/// Locks; what a panicking holder left is still a map of whole entries.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn callers_at_the_same_time_share_one_flight_and_later_ones_start_anew() {
        let (flights, count) = (Arc::new(Flights::new(Tasks::default())), Arc::new(AtomicU32::new(0)));
        let ask = || {
            let (flights, count) = (flights.clone(), count.clone());
            tokio::spawn(async move {
                let work = || async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    count.fetch_add(1, Ordering::Relaxed)
                };
                flights.join("key", work).await
            })
        };
        let first: Vec<_> = (0..32).map(|_| ask()).collect();
        for answer in first {
            assert_eq!(answer.await.unwrap(), Some(0));
        }
        assert_eq!(ask().await.unwrap(), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_does_not_stop_the_others() {
        let flights = Arc::new(Flights::new(Tasks::default()));
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            7
        };
        assert!(tokio::time::timeout(Duration::from_millis(1), flights.join(1, slow)).await.is_err());
        assert_eq!(flights.join(1, || async { 8 }).await, Some(7));
    }

    #[tokio::test]
    async fn stopping_the_owner_ends_every_wait() {
        let tasks = Tasks::default();
        let flights = Arc::new(Flights::<_, ()>::new(tasks.clone()));
        let waiting = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join(1, std::future::pending).await }
        });
        tokio::task::yield_now().await;
        tasks.stop().await;
        assert_eq!(waiting.await.unwrap(), None);
    }
}
