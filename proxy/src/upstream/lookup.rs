//! How names become addresses: by the system, or as a test says.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};

use crate::tasks::lock;

type Found = BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// How names become addresses; the default asks the system. Clones share it.
#[derive(Clone)]
pub struct Lookup(Arc<dyn Fn(String) -> Found + Send + Sync>);

impl Lookup {
    /// One that answers as `find` does. A port of 0 stands for the port of the address that is asked for.
    pub fn new<F>(find: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(find(name))))
    }

    pub(super) fn of(&self, name: &str) -> Found {
        (self.0)(name.to_owned())
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::new(|name| async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lookup").finish_non_exhaustive()
    }
}

/// Lookups under way: all who want the same name at the same time share one. The system's ties up a thread for as long as
/// it takes, and a name server that is silent takes long.
#[derive(Default)]
pub(super) struct Lookups {
    how: Lookup,
    running: Mutex<HashMap<String, WeakShared<Running>>>,
}

type Running = BoxFuture<'static, Result<Vec<SocketAddr>, Arc<io::Error>>>;

impl Lookups {
    pub(super) fn new(how: Lookup) -> Self {
        Self { how, running: Mutex::default() }
    }

    /// The addresses of a name.
    pub(super) async fn find(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let found = self.join(name).await;
        found.map_err(|error| io::Error::new(error.kind(), error))
    }

    fn join(&self, name: &str) -> Shared<Running> {
        let mut running = lock(&self.running);
        // What has ended or was left by all is begun anew.
        let joined = running.get(name).and_then(WeakShared::upgrade).filter(|it| it.peek().is_none());
        joined.unwrap_or_else(|| {
            running.retain(|_, it| it.upgrade().is_some_and(|it| it.peek().is_none()));
            let begun = self.how.of(name).map(|found| found.map_err(Arc::new)).boxed().shared();
            running.extend(begun.downgrade().map(|weak| (name.to_owned(), weak)));
            begun
        })
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("how", &self.how).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicU16, Ordering},
        time::Duration,
    };

    #[tokio::test(start_paused = true)]
    async fn those_who_want_a_name_at_the_same_time_share_one_lookup() {
        let count = Arc::new(AtomicU16::new(1));
        let counted = Arc::clone(&count);
        let lookups = Lookups::new(Lookup::new(move |name| {
            let port = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if name == "a" { Ok(vec![([127, 0, 0, 1], port).into()]) } else { Err(io::Error::other("none")) }
            }
        }));
        let herd = futures::future::join_all((0..64).map(|_| lookups.find("a"))).await;
        assert!(herd.into_iter().all(|found| found.unwrap()[0].port() == 1));
        assert_eq!(lookups.find("a").await.unwrap()[0].port(), 2, "the next begins anew");
        assert!(lookups.find("b").await.is_err());
        assert!(tokio::time::timeout(Duration::from_millis(1), lookups.find("a")).await.is_err());
        assert_eq!(lookups.find("a").await.unwrap()[0].port(), 5, "what all have left is over");
        assert!(lock(&lookups.running).len() <= 2);
    }
}
