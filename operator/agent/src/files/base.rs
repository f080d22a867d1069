//! What a registry's file starts from when nobody wrote one for it.

use std::path::Path;

use super::{FILE, FileError, Files};
use crate::hosts_toml::{Origin, Ownership, is_certificate, names_certificates, ownership};

const DEFAULT: &str = "_default";

impl Files {
    /// The text that a file of ours starts from where there is no hosts.toml: that of `_default`, which a directory of
    /// our making hides, else nothing.
    ///
    /// # Errors
    /// [`FileError::Certificates`] where a file of ours would take certificates from the runtime.
    pub(super) fn base_of_nobody(&self, name: &str, origin: Origin) -> Result<String, FileError> {
        self.check_no_certificates(&self.root.join(name))?;
        match origin {
            Origin::Created => self.base_of_default(),
            Origin::Absent | Origin::Merged => Ok(String::new()),
        }
    }

    fn base_of_default(&self) -> Result<String, FileError> {
        let directory = self.root.join(DEFAULT);
        let path = directory.join(FILE);
        let text = self.text(&path)?.unwrap_or_default();
        if text.is_empty() {
            self.check_no_certificates(&directory)?;
            return Ok(text);
        }
        // We never write there; a marker says that somebody copied a file of ours.
        if ownership(&text) != Ownership::Foreign {
            return Ok(String::new());
        }
        match names_certificates(&text) {
            Ok(false) => Ok(text),
            Ok(true) => Err(FileError::Certificates { directory }),
            Err(source) => Err(FileError::Merge { path, source }),
        }
    }

    fn check_no_certificates(&self, directory: &Path) -> Result<(), FileError> {
        let found = self.disk.list(directory)?.iter().any(|file| is_certificate(file));
        if found { Err(FileError::Certificates { directory: directory.to_owned() }) } else { Ok(()) }
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
