//! What a registry's file starts from when nobody wrote one for it: certificates in its directory, or `_default`.

use std::path::Path;

use super::{FILE, FileError, Files};
use crate::hosts_toml::{Ownership, certificates, ownership, rebase};

const DEFAULT: &str = "_default";

impl Files {
    /// What containerd takes from a registry's directory that has no hosts.toml, as the text of one.
    pub(super) fn base_of_directory(&self, directory: &Path) -> Result<String, FileError> {
        Ok(certificates(&self.disk.list(directory)?, ""))
    }

    /// What containerd takes from `_default` for a registry without a directory, as the text of a hosts.toml beside it:
    /// a directory of its own hides `_default`.
    pub(super) fn base_of_default(&self) -> Result<String, FileError> {
        let directory = self.root.join(DEFAULT);
        let path = directory.join(FILE);
        let folder = format!("../{DEFAULT}/");
        let text = self.text(&path)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(certificates(&self.disk.list(&directory)?, &folder));
        }
        // We never write there; a marker says that somebody copied a file of ours.
        if ownership(&text) != Ownership::Foreign {
            return Ok(String::new());
        }
        rebase(&text, &folder).map_err(|source| FileError::Merge { path, source })
    }

    /// A file as text; none when it does not exist.
    pub(super) fn text(&self, path: &Path) -> Result<Option<String>, FileError> {
        let Some(content) = self.disk.read(path)? else { return Ok(None) };
        let not_text = |error: std::string::FromUtf8Error| {
            FileError::io("read", path)(std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()))
        };
        String::from_utf8(content.bytes).map(Some).map_err(not_text)
    }
}
