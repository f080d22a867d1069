//! Putting one registry's file in place.

use std::path::Path;

use tidepool_oci::RegistryName;

use super::{ASIDE, FILE, FileError, Files, NEW, disk::Attributes};
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
        let name = self.directory_of(registry);
        let directory = self.root.join(&name);
        let Some(metadata) = self.disk.look(&directory)? else { return self.place_new(&name, settings) };
        if metadata.is_symlink() {
            return Err(FileError::Link { path: directory });
        }
        let path = directory.join(FILE);
        // containerd takes an empty file for none; ours to keep all the same.
        match self.text(&path)? {
            None => {
                self.originals.forget(&self.disk, &name)?;
                let base = self.base_of_nobody(&name, Origin::Absent)?;
                self.write(&directory, Origin::Absent, &base, None, settings)
            }
            Some(text) => self.place_over(&name, &text, settings),
        }
    }

    /// Builds a new directory aside and renames it into place.
    fn place_new(&self, name: &str, settings: &Settings) -> Result<Placed, FileError> {
        let path = self.root.join(name).join(FILE);
        let base = self.base_of_nobody(name, Origin::Created)?;
        let Some(text) = rendered(&path, Origin::Created, &base, settings)? else { return Ok(Placed::default()) };
        let aside = self.root.join(format!("{NEW}{name}"));
        self.disk.make_directory(&aside)?;
        self.disk.write_aside(&aside.join(FILE), text.as_bytes(), Attributes::NEW)?;
        self.disk.sync(&aside)?;
        self.disk.rename(&aside, &self.root.join(name))?;
        self.disk.sync(&self.root)?;
        Ok(Placed { written: true, edited: false })
    }

    /// Replaces a file that exists: ours, ours with somebody's edit, or somebody's.
    fn place_over(&self, name: &str, text: &str, settings: &Settings) -> Result<Placed, FileError> {
        let directory = self.root.join(name);
        let path = directory.join(FILE);
        match ownership(text) {
            Ownership::Ours(marker) => {
                let base = self.base(name, text, &marker)?;
                self.write(&directory, marker.origin, &base, Some(text), settings)
            }
            Ownership::Foreign => self.place_over_theirs(name, text, Origin::Merged, settings),
            Ownership::Edited(marker, body) => {
                let theirs =
                    strip(body, &marker.host).map_err(|source| FileError::Merge { path: path.clone(), source })?;
                let origin = if theirs.is_empty() { marker.origin } else { Origin::Merged };
                let placed = self.place_over_theirs(name, &theirs, origin, settings)?;
                Ok(Placed { edited: true, ..placed })
            }
        }
    }

    /// Keeps somebody's text as the original and puts ours, merged, in its place.
    fn place_over_theirs(
        &self,
        name: &str,
        theirs: &str,
        origin: Origin,
        settings: &Settings,
    ) -> Result<Placed, FileError> {
        let directory = self.root.join(name);
        let path = directory.join(FILE);
        // An empty file hides nothing, so certificates beside it count.
        let base = if theirs.is_empty() { self.base_of_nobody(name, origin)? } else { theirs.to_owned() };
        if rendered(&path, origin, &base, settings)?.is_none() {
            return Ok(Placed::default());
        }
        if origin == Origin::Merged {
            let attributes = self.disk.read(&path)?.map_or(Attributes::NEW, |content| content.attributes);
            self.originals.keep(&self.disk, name, theirs.as_bytes(), attributes)?;
        }
        self.write(&directory, origin, &base, None, settings)
    }

    /// What a file of ours is made from, as it is now: the kept original, or what there is where nobody wrote one.
    fn base(&self, name: &str, text: &str, marker: &Marker) -> Result<String, FileError> {
        match marker.origin {
            Origin::Created | Origin::Absent => self.base_of_nobody(name, marker.origin),
            Origin::Merged => match self.originals.kept(&self.disk, name)? {
                Some(kept) if kept.bytes.is_empty() => self.base_of_nobody(name, Origin::Merged),
                Some(kept) => Ok(String::from_utf8_lossy(&kept.bytes).into_owned()),
                // The state directory was wiped: what is left of theirs is in the file itself.
                None => self.rescue(name, text, marker),
            },
        }
    }

    /// Takes somebody's text out of a merged file whose original is lost, and keeps it.
    fn rescue(&self, name: &str, text: &str, marker: &Marker) -> Result<String, FileError> {
        let path = self.root.join(name).join(FILE);
        let body = text.split_once('\n').map_or("", |(_, body)| body);
        let theirs = strip(body, &marker.host).map_err(|source| FileError::Merge { path: path.clone(), source })?;
        let attributes = self.disk.read(&path)?.map_or(Attributes::NEW, |content| content.attributes);
        self.originals.keep(&self.disk, name, theirs.as_bytes(), attributes)?;
        Ok(theirs)
    }

    /// Writes the file into its directory, unless it holds just that already.
    fn write(
        &self,
        directory: &Path,
        origin: Origin,
        base: &str,
        current: Option<&str>,
        settings: &Settings,
    ) -> Result<Placed, FileError> {
        let path = directory.join(FILE);
        let Some(text) = rendered(&path, origin, base, settings)? else { return Ok(Placed::default()) };
        if current == Some(text.as_str()) {
            return Ok(Placed::default());
        }
        // A mode that hides secrets in somebody's headers goes on hiding them.
        let mode = self.disk.read(&path)?.map_or(Attributes::NEW.mode, |content| content.attributes.mode);
        self.replace(directory, text.as_bytes(), Attributes { mode, ..Attributes::NEW })?;
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
