//! Which repositories content came from that needed credentials: elsewhere it is not known to be.
//!
//! Content is kept once, by its digest, whoever it came from. Without this, who knows the digest of a closed image could
//! have it as a part of any repository that is open.

use std::{
    fs, io,
    sync::{Arc, atomic::Ordering},
};

use tidepool_oci::Digest;

use super::{Store, blocking};

impl Store {
    /// The repositories that content is known to be in, one a line; none where it needed no credentials.
    pub(crate) async fn origins(self: &Arc<Self>, digest: &Digest) -> io::Result<Option<String>> {
        if !self.has_origins.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let path = self.layout.origins(digest);
        blocking(move || match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Notes that content which needs credentials somewhere is in `repository`, a line.
    pub(crate) async fn add_origin(self: &Arc<Self>, digest: &Digest, repository: String) -> io::Result<()> {
        let (store, path) = (Arc::clone(self), self.layout.origins(digest));
        self.has_origins.store(true, Ordering::Relaxed);
        blocking(move || {
            let before = match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                read => read?,
            };
            if before.lines().any(|line| line == repository) {
                return Ok(());
            }
            let scratch = store.scratches.create()?;
            io::Write::write_all(&mut scratch.file().as_ref(), format!("{before}{repository}\n").as_bytes())?;
            scratch.publish(&path)
        })
        .await
    }
}
