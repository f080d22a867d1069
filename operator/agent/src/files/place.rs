//! Putting one registry's file in place.

use std::path::Path;

use tidepool_oci::RegistryName;

use super::{ASIDE, FILE, FileError, Files, NEW, base::Base, directory_of, disk::Attributes};
use crate::hosts_toml::{Marker, Merged, Origin, Ownership, Settings, merge, ownership, strip, with_marker};

/// What placing a file did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Placed {
    pub(super) written: bool,
    /// Somebody had edited the file.
    pub(super) edited: bool,
}

impl Files {
    /// Makes the registry's file name our host first, whatever is there now.
    pub(super) fn place(&self, registry: &RegistryName, settings: &Settings) -> Result<Placed, FileError> {
        let name = directory_of(&self.root, registry);
        let directory = self.root.join(&name);
        let Some(metadata) = self.disk.look(&directory)? else { return self.place_new(&name, settings) };
        // Who shares a directory by a link has one file for two registries: ours would come and go for both.
        if metadata.is_symlink() {
            return Err(FileError::Link { path: directory });
        }
        if !metadata.is_dir() {
            return Err(FileError::WrongKind { path: directory, wanted: "directory" });
        }
        match self.read(&directory.join(FILE))? {
            None => {
                self.originals.forget(&self.disk, &name)?;
                let ours = self.created.has(&self.disk, &name)?;
                let origin = if ours { Origin::Created } else { Origin::Absent };
                let base = self.base_of_nobody(&name, origin)?;
                self.write(&directory, origin, &base, None, settings)
            }
            Some(file) => self.place_over(&name, &file, settings),
        }
    }

    /// Builds a new directory aside and renames it into place.
    fn place_new(&self, name: &str, settings: &Settings) -> Result<Placed, FileError> {
        let path = self.root.join(name).join(FILE);
        let base = self.base_of_nobody(name, Origin::Created)?;
        let Some(text) = rendered(&path, Origin::Created, &base.text, settings)? else { return Ok(Placed::default()) };
        let aside = self.root.join(format!("{NEW}{name}"));
        self.disk.make_directory(&aside)?;
        let attributes = Attributes { modified: None, ..base.like };
        if let Err(error) = self.disk.write_aside(&aside.join(FILE), text.as_bytes(), attributes) {
            // The first error says what is wrong; what stays is harmless, and the next agent removes it.
            let _ = self.disk.remove_directory(&aside);
            return Err(error);
        }
        self.disk.sync(&aside)?;
        self.created.note(&self.disk, name);
        self.disk.rename(&aside, &self.root.join(name))?;
        self.disk.sync(&self.root)?;
        Ok(Placed { written: true, edited: false })
    }

    /// Replaces a file that exists: ours, ours with somebody's edit, or somebody's.
    fn place_over(&self, name: &str, file: &Base, settings: &Settings) -> Result<Placed, FileError> {
        let directory = self.root.join(name);
        let path = directory.join(FILE);
        match ownership(&file.text) {
            Ownership::Ours(marker) => {
                if marker.origin == Origin::Created {
                    self.created.note(&self.disk, name);
                }
                let base = self.base(name, file, &marker)?;
                self.write(&directory, marker.origin, &base, Some(file), settings)
            }
            Ownership::Foreign => self.place_over_theirs(name, &file.text, file.like, Origin::Merged, settings),
            Ownership::Edited(marker, body) => {
                let theirs =
                    strip(body, &marker.host).map_err(|source| FileError::Merge { path: path.clone(), source })?;
                let origin = if theirs.is_empty() { marker.origin } else { Origin::Merged };
                let placed = self.place_over_theirs(name, &theirs, file.like, origin, settings)?;
                Ok(Placed { edited: true, ..placed })
            }
        }
    }

    /// Keeps somebody's text as the original and puts ours, merged, in its place.
    fn place_over_theirs(
        &self,
        name: &str,
        theirs: &str,
        like: Attributes,
        origin: Origin,
        settings: &Settings,
    ) -> Result<Placed, FileError> {
        let directory = self.root.join(name);
        // An empty file hides nothing, so certificates beside it count.
        let base = if theirs.is_empty() {
            Base { like, ..self.base_of_nobody(name, origin)? }
        } else {
            Base { text: theirs.to_owned(), like }
        };
        if rendered(&directory.join(FILE), origin, &base.text, settings)?.is_none() {
            return Ok(Placed::default());
        }
        if origin == Origin::Merged {
            self.originals.keep(&self.disk, name, theirs.as_bytes(), like)?;
        }
        self.write(&directory, origin, &base, None, settings)
    }

    /// What a file of ours is made from, as it is now: the kept original, or what there is where nobody wrote one.
    fn base(&self, name: &str, file: &Base, marker: &Marker) -> Result<Base, FileError> {
        match marker.origin {
            Origin::Created | Origin::Absent => self.base_of_nobody(name, marker.origin),
            Origin::Merged => match self.originals.kept(&self.disk, name)? {
                Some(kept) if kept.bytes.is_empty() => {
                    Ok(Base { like: kept.attributes, ..self.base_of_nobody(name, Origin::Merged)? })
                }
                Some(kept) => Base::of(&self.root.join(name).join(FILE), kept),
                // The state directory was wiped: what is left of theirs is in the file itself.
                None => self.rescue(name, file, marker),
            },
        }
    }

    /// Takes somebody's text out of a merged file whose original is lost, and keeps it.
    fn rescue(&self, name: &str, file: &Base, marker: &Marker) -> Result<Base, FileError> {
        let path = self.root.join(name).join(FILE);
        let body = file.text.split_once('\n').map_or("", |(_, body)| body);
        let theirs = strip(body, &marker.host).map_err(|source| FileError::Merge { path: path.clone(), source })?;
        self.originals.keep(&self.disk, name, theirs.as_bytes(), file.like)?;
        Ok(Base { text: theirs, like: file.like })
    }

    /// Writes the file into its directory, unless it is just so already.
    fn write(
        &self,
        directory: &Path,
        origin: Origin,
        base: &Base,
        current: Option<&Base>,
        settings: &Settings,
    ) -> Result<Placed, FileError> {
        let path = directory.join(FILE);
        let Some(text) = rendered(&path, origin, &base.text, settings)? else {
            // What it is made from names our host of itself by now: a file of ours from before that goes.
            let name = directory.file_name().and_then(|name| name.to_str()).filter(|_| current.is_some());
            let written = name.map_or(Ok(false), |name| self.withdraw(name))?;
            return Ok(Placed { written, edited: false });
        };
        // A mode that hides secrets in somebody's headers goes on hiding them.
        let mode = current.map_or(base.like.mode, |file| file.like.mode & base.like.mode);
        if current.is_some_and(|file| file.text == text && file.like.mode == mode) {
            return Ok(Placed::default());
        }
        self.replace(directory, text.as_bytes(), Attributes { mode, modified: None, ..base.like })?;
        Ok(Placed { written: true, edited: false })
    }

    /// Replaces a directory's hosts.toml: aside, durable, renamed.
    pub(super) fn replace(&self, directory: &Path, bytes: &[u8], attributes: Attributes) -> Result<(), FileError> {
        let aside = directory.join(ASIDE);
        self.disk.write_aside(&aside, bytes, attributes)?;
        self.disk.rename(&aside, &directory.join(FILE))?;
        self.disk.sync(directory)
    }
}

/// The file's whole text; none where `base` names our host of itself.
fn rendered(path: &Path, origin: Origin, base: &str, settings: &Settings) -> Result<Option<String>, FileError> {
    match merge(base, settings) {
        Ok(Merged::Text(text)) => Ok(Some(with_marker(&Marker { origin, host: settings.host() }, &text))),
        Ok(Merged::HasIt) => Ok(None),
        Err(source) => Err(FileError::Merge { path: path.to_owned(), source }),
    }
}
