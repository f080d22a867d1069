//! What a registry's file starts from when nobody wrote one for it.

use std::path::Path;

use super::{
    FILE, FileError, Files,
    disk::{Attributes, Content},
};
use crate::hosts_toml::{MergeError, Origin, Ownership, is_certificate, names_certificates, ownership};

const DEFAULT: &str = "_default";

/// A text that our host is put into, and the attributes of the file that it is from.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) text: String,
    pub(super) like: Attributes,
}

impl Base {
    const NOTHING: Self = Self { text: String::new(), like: Attributes::NEW };

    /// What a file holds.
    pub(super) fn of(path: &Path, content: Content) -> Result<Self, FileError> {
        let not_text = |_| FileError::Merge { path: path.to_owned(), source: MergeError::NotUtf8 };
        let text = String::from_utf8(content.bytes).map_err(not_text)?;
        Ok(Self { text, like: content.attributes })
    }
}

impl Files {
    /// The text that a file of ours starts from where there is no hosts.toml: that of `_default`, which a directory of
    /// our making hides, else nothing.
    ///
    /// # Errors
    /// [`FileError::Certificates`] where a file of ours would take certificates from the runtime.
    pub(super) fn base_of_nobody(&self, name: &str, origin: Origin) -> Result<Base, FileError> {
        self.check_no_certificates(&self.root.join(name))?;
        match origin {
            Origin::Created => self.base_of_default(),
            Origin::Absent | Origin::Merged => Ok(Base::NOTHING),
        }
    }

    fn base_of_default(&self) -> Result<Base, FileError> {
        let directory = self.root.join(DEFAULT);
        let path = directory.join(FILE);
        let base = self.read(&path)?.unwrap_or(Base::NOTHING);
        if base.text.is_empty() {
            self.check_no_certificates(&directory)?;
            return Ok(base);
        }
        // We never write there; a marker says that somebody copied a file of ours.
        if ownership(&base.text) != Ownership::Foreign {
            return Ok(Base::NOTHING);
        }
        match names_certificates(&base.text) {
            // The owner is that of their file; a new one can be the agent's, whose runtime reads all.
            Ok(false) => Ok(Base { like: Attributes { owner: None, ..base.like }, ..base }),
            Ok(true) => Err(FileError::Certificates { directory }),
            Err(source) => Err(FileError::Merge { path, source }),
        }
    }

    fn check_no_certificates(&self, directory: &Path) -> Result<(), FileError> {
        let found = self.disk.list(directory)?.iter().any(|file| is_certificate(file));
        if found { Err(FileError::Certificates { directory: directory.to_owned() }) } else { Ok(()) }
    }

    /// A file as text; none when it does not exist.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Base>, FileError> {
        self.disk.read(path)?.map(|content| Base::of(path, content)).transpose()
    }
}
