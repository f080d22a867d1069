//! How names become addresses: by the system, or as a test says.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;

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
