//! The one file of ours in a `registries.conf.d` directory (CRI-O): all registries in it, nobody else's merged.
//!
//! A table there replaces those that other files have for the same images, so a registry that another file speaks of
//! has none of ours. A broken file would keep the runtime from starting: ours is read back before it is put in place.

use std::{collections::BTreeSet, path::Path};

use tidepool_oci::RegistryName;

use super::{
    FileError, Files, Outcome,
    base::Base,
    disk::{Attributes, Disk},
};
use crate::{
    hosts_toml::{Marker, MergeError, Origin, Ownership, ownership, with_marker},
    registries_conf::{Claims, Settings, claims, mirrored, strip, text, without},
};

/// The file. Names decide who wins, and another file with our images stops us anyhow.
pub(super) const FILE: &str = "50-tidepool.conf";
/// Where it is written first; only `*.conf` is read.
pub(super) const ASIDE: &str = ".50-tidepool.conf.new";

impl Files {
    /// As [`Files::reconcile`], in a `registries.conf.d` directory; `main` is the file that is read before those in it.
    pub fn reconcile_drop_in(
        &mut self,
        place: &BTreeSet<RegistryName>,
        keep: &BTreeSet<RegistryName>,
        settings: &Settings,
        main: &Path,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        match self.drop_in(place, keep, settings, main, &mut outcome) {
            Ok(()) => {}
            Err(error) if place.is_empty() => outcome.stuck.push(error),
            Err(error) => {
                // Each is told; the cause of the first has the details.
                for registry in place {
                    let again = FileError::DropIn { path: self.root.join(FILE), reason: error.message() };
                    outcome.placed.entry(registry.clone()).or_insert(Err(again));
                }
                if let Some(first) = place.first() {
                    outcome.placed.insert(first.clone(), Err(error));
                }
            }
        }
        outcome
    }

    fn drop_in(
        &self,
        place: &BTreeSet<RegistryName>,
        keep: &BTreeSet<RegistryName>,
        settings: &Settings,
        main: &Path,
        outcome: &mut Outcome,
    ) -> Result<(), FileError> {
        let path = self.root.join(FILE);
        let file = self.read(&path)?;
        let now = file.as_ref().map(|file| mirrored(&file.text)).unwrap_or_default();
        match file.as_ref().map(|file| ownership(&file.text)) {
            Some(Ownership::Foreign) if place.is_empty() => return Ok(()),
            Some(Ownership::Foreign) => return Err(FileError::NotOurs { path }),
            Some(Ownership::Edited(marker, body)) if !(place.is_empty() && keep.is_empty()) => {
                self.leave_edited(place, &now, outcome);
                let stays = |registry: &RegistryName| place.contains(registry) || keep.contains(registry);
                let gone: BTreeSet<_> = now.into_iter().filter(|registry| !stays(registry)).collect();
                return match &file {
                    Some(file) if !gone.is_empty() => self.take_out(file, body, &marker.host, &gone, outcome),
                    _ => Ok(()),
                };
            }
            Some(Ownership::Ours(_) | Ownership::Edited(..)) | None => {}
        }
        let mut wanted: BTreeSet<_> = keep.intersection(&now).cloned().collect();
        let others = if place.is_empty() { Vec::new() } else { self.others(main)? };
        for registry in place {
            let allowed = may_have(registry, &others, settings);
            if allowed.is_ok() {
                wanted.insert(registry.clone());
            }
            outcome.placed.insert(registry.clone(), allowed);
        }
        if wanted.is_empty() {
            outcome.withdrawn += usize::from(self.withdraw_drop_in()?);
            return self.home.leave(&self.disk);
        }
        outcome.written += usize::from(self.write_drop_in(file.as_ref(), &wanted, settings)?);
        Ok(())
    }

    /// Leaves a file that somebody edited to them.
    fn leave_edited(&self, place: &BTreeSet<RegistryName>, now: &BTreeSet<RegistryName>, outcome: &mut Outcome) {
        for registry in place {
            let has = now.contains(registry);
            let edited = || FileError::Edited { path: self.root.join(FILE) };
            outcome.placed.insert(registry.clone(), if has { Ok(()) } else { Err(edited()) });
            if has {
                outcome.edited.insert(registry.clone());
            }
        }
    }

    /// Takes our mirrors of these registries out of a file that somebody edited; it stays marked as edited.
    fn take_out(
        &self,
        file: &Base,
        body: &str,
        host: &str,
        gone: &BTreeSet<RegistryName>,
        outcome: &mut Outcome,
    ) -> Result<(), FileError> {
        let broken = |source| FileError::Merge { path: self.root.join(FILE), source };
        let theirs = without(body, host, gone).map_err(broken)?;
        let line = file.text.strip_suffix(body).unwrap_or_default();
        self.put(format!("{line}{theirs}").as_bytes(), Attributes { modified: None, ..file.like })?;
        outcome.withdrawn += 1;
        Ok(())
    }

    /// What the other files say of registries.
    fn others(&self, main: &Path) -> Result<Vec<(String, Claims)>, FileError> {
        let names = self.disk.list(&self.root)?;
        let drop_ins = names.iter().filter(|name| name.ends_with(".conf") && *name != FILE);
        let paths = drop_ins.map(|name| self.root.join(name)).chain([main.to_owned()]);
        let read = |path: std::path::PathBuf| {
            // Links to files elsewhere on the node cannot be followed from here.
            let Some(file) = self.read(&path)? else { return Ok(None) };
            let claims = claims(&file.text).map_err(|source| FileError::Merge { path: path.clone(), source })?;
            Ok(Some((path.display().to_string(), claims)))
        };
        paths.map(read).filter_map(Result::transpose).collect()
    }

    fn write_drop_in(
        &self,
        now: Option<&Base>,
        registries: &BTreeSet<RegistryName>,
        settings: &Settings,
    ) -> Result<bool, FileError> {
        let path = self.root.join(FILE);
        let no_place = |error: crate::registries_conf::Inexpressible| FileError::DropIn {
            path: path.clone(),
            reason: error.to_string(),
        };
        let marker = Marker { origin: Origin::Created, host: settings.host() };
        let text = with_marker(&marker, &text(registries, settings).map_err(no_place)?);
        if now.is_some_and(|file| file.text == text) {
            return Ok(false);
        }
        if mirrored(&text) != *registries {
            let reason = "what would be written does not read back".to_owned();
            return Err(FileError::DropIn { path, reason });
        }
        self.home.note(&self.disk)?;
        self.put(text.as_bytes(), Attributes::NEW)?;
        Ok(true)
    }

    fn put(&self, bytes: &[u8], attributes: Attributes) -> Result<(), FileError> {
        let aside = self.root.join(ASIDE);
        self.disk.write_aside(&aside, bytes, attributes)?;
        self.disk.rename(&aside, &self.root.join(FILE))?;
        self.disk.sync(&self.root)
    }

    /// Takes the drop-in back; whether there was one of ours. What somebody put into it stays.
    pub(super) fn withdraw_drop_in(&self) -> Result<bool, FileError> {
        let path = self.root.join(FILE);
        let Some(file) = self.read(&path)? else { return Ok(false) };
        let theirs = match ownership(&file.text) {
            Ownership::Foreign => return Ok(false),
            Ownership::Ours(_) => String::new(),
            Ownership::Edited(marker, body) => strip(body, &marker.host)
                .map_err(|source: MergeError| FileError::Merge { path: path.clone(), source })?,
        };
        if theirs.is_empty() {
            self.disk.remove_file(&path)?;
            self.disk.sync(&self.root)?;
        } else {
            self.put(theirs.as_bytes(), Attributes { modified: None, ..file.like })?;
        }
        Ok(true)
    }
}

/// Whether a registry may have a table of ours.
fn may_have(registry: &RegistryName, others: &[(String, Claims)], settings: &Settings) -> Result<(), FileError> {
    for (path, claims) in others {
        if let Some(prefix) = claims.on(registry) {
            return Err(FileError::Claimed { path: path.into(), prefix: prefix.to_owned() });
        }
    }
    let inexpressible = |error: crate::registries_conf::Inexpressible| FileError::DropIn {
        path: FILE.into(),
        reason: error.to_string(),
    };
    settings.location(registry).map(drop).map_err(inexpressible)
}

/// The registries that a drop-in of ours has now.
pub(super) fn present(disk: &Disk, root: &Path) -> BTreeSet<RegistryName> {
    let content = disk.read(&root.join(FILE)).ok().flatten();
    let text = content.and_then(|content| String::from_utf8(content.bytes).ok());
    text.filter(|text| ownership(text) != Ownership::Foreign).map(|text| mirrored(&text)).unwrap_or_default()
}
