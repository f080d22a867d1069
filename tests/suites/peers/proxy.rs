//! The proxy as it runs alone, in this process, on a free port.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tempfile::TempDir;
use tidepool_config::ProxyFile;
use tidepool_proxy::Server;
use tokio_util::sync::CancellationToken;

use crate::distribution::{Distribution, Gone};

pub(crate) struct Proxy {
    address: SocketAddr,
    store: Option<TempDir>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy that takes `upstream` for Docker Hub, and mirrors it under its own name too.
    pub(crate) fn start(upstream: &Distribution) -> Self {
        Self::on(upstream.port(), tempfile::tempdir().unwrap())
    }

    /// Stops it, and starts another on the same store.
    pub(crate) fn restart(mut self, upstream: &Gone) -> Self {
        let store = self.store.take().unwrap();
        drop(self);
        Self::on(upstream.port, store)
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    fn on(port: u16, store: TempDir) -> Self {
        tidepool_runtime::install_crypto();
        let text = format!(
            "listen: 127.0.0.1:0\nstorage: {{path: {}}}\nupstreams:\n- {{registry: docker.io, url: \"http://127.0.0.1:{port}\"}}\n- {{registry: \"localhost:{port}\", url: \"http://127.0.0.1:{port}\"}}\n",
            store.path().display()
        );
        let file = ProxyFile::parse(&text).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::bind(&file)).unwrap();
        let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || runtime.block_on(server.run(stopped)).unwrap());
        Self { address, store: Some(store), stop, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
