//! The proxy under test, in this process, and a client for it.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tempfile::TempDir;
use tidepool_config::{ProxyFile, ProxyState, Storage, Upstream};
use tidepool_proxy::{ConfigSource, Lookup, Server};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

/// A proxy with one upstream, called `docker.io`.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// The agents' listener, where the file names one.
    pub(crate) agents: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    dir: std::sync::Arc<TempDir>,
    pub(crate) file: ProxyFile,
    lookup: Lookup,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    client: reqwest::Client,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `Err`: the body broke off.
    pub(crate) body: Result<Bytes, String>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.body.as_ref().unwrap()
    }

    /// The code in an OCI error body.
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(self.bytes()).unwrap();
        json["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

impl Proxy {
    pub(crate) async fn of(fake: &Fake) -> Self {
        Self::with(fake, |_| {}).await
    }

    pub(crate) async fn with(fake: &Fake, change: impl FnOnce(&mut ProxyFile)) -> Self {
        Self::with_names(fake, Lookup::default(), change).await
    }

    /// One that finds upstreams' addresses by `lookup`.
    pub(crate) async fn with_names(fake: &Fake, lookup: Lookup, change: impl FnOnce(&mut ProxyFile)) -> Self {
        tidepool_runtime::install_crypto();
        let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
        let mut hub = Upstream::plain("docker.io".parse().unwrap());
        hub.url = Some(fake.url().parse().unwrap());
        let free = Some(([127, 0, 0, 1], 0).into());
        let storage = Some(Storage { path: Some(dir.path().join("store")), limit: None });
        let mut file =
            ProxyFile { listen: free, admin: free, storage, upstreams: vec![hub], ..ProxyFile::public_registries() };
        change(&mut file);
        Self::serve(file, dir, lookup).await
    }

    /// A proxy with the configuration in a file, which lies beside its store.
    pub(crate) async fn of_file(path: std::path::PathBuf) -> Self {
        tidepool_runtime::install_crypto();
        let file = ProxyFile::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let server = Server::bind(ConfigSource::file(path)).await.unwrap();
        Self::run(server, file, std::sync::Arc::new(tempfile::tempdir().unwrap()), Lookup::default())
    }

    async fn serve(file: ProxyFile, dir: std::sync::Arc<TempDir>, lookup: Lookup) -> Self {
        Self::run(Server::bind_with(&file, lookup.clone()).await.unwrap(), file, dir, lookup)
    }

    fn run(server: Server, file: ProxyFile, dir: std::sync::Arc<TempDir>, lookup: Lookup) -> Self {
        let (address, admin) = (server.local_addr().unwrap(), server.admin_addr().unwrap());
        let agents = server.agents_addr();
        let stop = CancellationToken::new();
        let running = server.run(stop.clone());
        let task = Some(tokio::spawn(running));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, agents, admin, dir, file, lookup, stop, task, client }
    }

    /// Stops the proxy and starts another on the same store.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// The same, its configuration changed.
    pub(crate) async fn restarted_with(mut self, change: impl FnOnce(&mut ProxyFile)) -> Self {
        change(&mut self.file);
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap();
        Self::serve(self.file.clone(), std::sync::Arc::clone(&self.dir), self.lookup.clone()).await
    }

    /// Tells the proxy to stop, and does not wait for it.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn store(&self) -> std::path::PathBuf {
        self.file.storage.clone().unwrap().path.unwrap()
    }

    /// How many files lie below a folder of the store, without those of checksums.
    pub(crate) fn kept(&self, folder: &str) -> usize {
        content(&self.store().join(folder)).len()
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.ask(Method::GET, path, &[]).await
    }

    pub(crate) async fn head(&self, path: &str) -> Got {
        self.ask(Method::HEAD, path, &[]).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = tokio::time::timeout(Duration::from_secs(300), request.send()).await.unwrap().unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = tokio::time::timeout(Duration::from_secs(300), response.bytes()).await.unwrap();
        Got { status, headers, body: body.map_err(|error| error.to_string()) }
    }

    /// What so many get who ask at the same time, each for its `path`.
    pub(crate) async fn herd(&self, many: usize, path: impl Fn(usize) -> String) -> Vec<Got> {
        let paths: Vec<_> = (0..many).map(path).collect();
        futures::future::join_all(paths.iter().map(|path| self.get(path))).await
    }

    /// What the admin port says at a path.
    pub(crate) async fn admin(&self, path: &str) -> String {
        self.client.get(format!("http://{}{path}", self.admin)).send().await.unwrap().text().await.unwrap()
    }

    /// A metric's value, by the start of its line.
    pub(crate) async fn metric(&self, start: &str) -> u64 {
        let text = self.metrics().await;
        let line = text.lines().find(|line| line.starts_with(start));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// All metrics.
    pub(crate) async fn metrics(&self) -> String {
        self.admin("/metrics").await
    }

    /// What it says of itself.
    pub(crate) async fn state(&self) -> ProxyState {
        serde_json::from_str(&self.admin("/state").await).unwrap()
    }

    pub(crate) async fn ready(&self) -> StatusCode {
        self.client.get(format!("http://{}/readyz", self.admin)).send().await.unwrap().status()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until something is so, for much longer than it ever takes: files are looked at every second.
pub(crate) async fn eventually(so: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(40);
    while !so().await {
        assert!(tokio::time::Instant::now() < until, "it does not come about");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The files below a folder but for those of checksums.
pub(crate) fn content(folder: &Path) -> Vec<std::path::PathBuf> {
    files(folder).into_iter().filter(|file| file.extension().is_none_or(|extension| extension != "sums")).collect()
}

pub(crate) fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}
