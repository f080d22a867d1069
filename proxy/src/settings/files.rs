//! The files that a configuration names, read at one time.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use tidepool_config::ProxyFile;

/// Larger files are no certificates, passwords or lists of users.
const LARGEST: u64 = 4 << 20;
/// How often files that change while they are read are read again.
const MOST_READS: usize = 10;
/// Pause between two such reads, longer than writing a file takes.
const SETTLE: Duration = Duration::from_millis(50);

/// Contents by path. `Debug` names the paths only: some hold passwords.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<PathBuf, Result<Vec<u8>, Arc<io::Error>>>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// A file that the configuration names cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{field}: cannot read {path}")]
pub struct FileError {
    field: &'static str,
    path: PathBuf,
    source: Arc<io::Error>,
}

/// What tells one state of a file from another: device, inode, size, and the times of change.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// The state of several files, for noticing a change without reading them. A volume that the kubelet swaps gives each
/// file another inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<(PathBuf, Stamp)>);

impl Stamps {
    /// Looks at the files. Blocks.
    pub(crate) fn take(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// The files that were looked at.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Looks at the same files again. Blocks.
    pub(crate) fn again(&self) -> Self {
        Self::take(self.0.iter().map(|(path, _)| path.clone()))
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
}

impl Files {
    /// Reads all files that `file` names. Blocks.
    pub(crate) fn read(file: &ProxyFile) -> Self {
        Self(named(file).into_iter().map(|path| (path.clone(), read(&path).map_err(Arc::new))).collect())
    }

    /// The content of the file that the key `field` names.
    pub(crate) fn get(&self, field: &'static str, path: &Path) -> Result<&[u8], FileError> {
        let failed = |source| FileError { field, path: path.to_owned(), source };
        match self.0.get(path) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(failed(Arc::clone(error))),
            None => Err(failed(Arc::new(io::ErrorKind::NotFound.into()))),
        }
    }
}

/// Reads with `read` until nothing that it depends on changed meanwhile: a swap in between never gives a mixture.
///
/// `read` returns the paths it depends on beside its result. Files that never rest are taken as they are. Blocks.
pub(crate) fn coherent<T>(mut read: impl FnMut() -> (Vec<PathBuf>, T)) -> (Stamps, T) {
    let (paths, mut result) = read();
    let mut stamps = Stamps::take(paths);
    for _ in 0..MOST_READS {
        let (paths, again) = read();
        let after = Stamps::take(paths);
        let rested = after == stamps;
        (stamps, result) = (after, again);
        if rested {
            break;
        }
        thread::sleep(SETTLE);
    }
    (stamps, result)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if meta.len() > LARGEST {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    fs::read(path)
}

/// Every file that a configuration names.
pub(crate) fn named(file: &ProxyFile) -> Vec<PathBuf> {
    let agents = file.agents.iter().flat_map(|agents| [&agents.cert_file, &agents.key_file, &agents.ca_file]);
    let users = file.access.iter().filter_map(|access| access.users_file.as_ref());
    let egress = file.egress_proxy.iter().filter_map(|egress| egress.password_file.as_ref());
    let credentials = file.upstreams.iter().filter_map(|upstream| upstream.credentials.as_ref());
    let credentials = credentials.flat_map(|it| it.password_file.iter().chain(&it.docker_config_file));
    let tls = file.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref());
    let tls = tls.flat_map(|tls| tls.ca_file.iter().chain(&tls.cert_file).chain(&tls.key_file));
    agents.chain(users).chain(egress).chain(credentials).chain(tls).cloned().collect()
}
