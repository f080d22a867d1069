//! Taking files back: what was there before comes back byte for byte, what we made goes, what somebody edited stays.

use std::{collections::BTreeSet, io};

use super::{FILE, FileError, Files, GONE, Outcome, disk::Attributes};
use crate::hosts_toml::{Marker, Origin, Ownership, ownership, strip};

impl Files {
    /// Takes all files back.
    pub fn withdraw_all(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        match self.withdraw_drop_in() {
            Ok(withdrawn) => outcome.withdrawn += usize::from(withdrawn),
            Err(error) if is_never_ours(&error) => {}
            Err(error) => outcome.stuck.push(error),
        }
        self.withdraw_others(&BTreeSet::new(), &mut outcome);
        outcome
    }

    /// Takes back every file of ours in directories other than `wanted`.
    pub(super) fn withdraw_others(&self, wanted: &BTreeSet<String>, outcome: &mut Outcome) {
        let names = self.disk.list(&self.root).unwrap_or_else(|error| {
            outcome.stuck.push(error);
            Vec::new()
        });
        // Notes may be of directories that somebody removed.
        let noted = self.created.all(&self.disk).unwrap_or_default();
        let names: BTreeSet<_> = names.into_iter().chain(noted).collect();
        for name in names.iter().filter(|name| !wanted.contains(*name) && !name.starts_with('.')) {
            match self.withdraw(name) {
                Ok(withdrawn) => outcome.withdrawn += usize::from(withdrawn),
                Err(error) if is_never_ours(&error) => {}
                Err(error) => outcome.stuck.push(error),
            }
        }
        if wanted.is_empty()
            && outcome.stuck.is_empty()
            && let Err(error) = self.home.leave(&self.disk)
        {
            outcome.stuck.push(error);
        }
    }

    /// Takes back the file in one directory; whether it was ours.
    pub(super) fn withdraw(&self, name: &str) -> Result<bool, FileError> {
        let directory = self.root.join(name);
        if !self.disk.look(&directory)?.is_some_and(|metadata| metadata.is_dir()) {
            self.created.forget(&self.disk, name)?;
            return Ok(false);
        }
        let Some(content) = self.disk.read(&directory.join(FILE))? else {
            self.remove_emptied(name)?;
            self.forget(name)?;
            return Ok(false);
        };
        let Ok(text) = String::from_utf8(content.bytes) else { return Ok(false) };
        match ownership(&text) {
            // Somebody's own now: what we kept is older than that.
            Ownership::Foreign => {
                self.forget(name)?;
                return Ok(false);
            }
            Ownership::Ours(marker) => {
                let body = text.split_once('\n').map_or("", |(_, body)| body);
                self.restore(name, &marker, body, content.attributes)?;
            }
            Ownership::Edited(marker, body) => {
                self.leave_edit(name, &marker, body, content.attributes)?;
            }
        }
        self.forget(name)?;
        Ok(true)
    }

    /// Undoes a file that is as we left it.
    fn restore(&self, name: &str, marker: &Marker, body: &str, attributes: Attributes) -> Result<(), FileError> {
        if marker.origin != Origin::Merged {
            return self.remove(name, marker.origin);
        }
        match self.originals.kept(&self.disk, name)? {
            Some(kept) => self.replace(&self.root.join(name), &kept.bytes, kept.attributes),
            // The state directory was wiped: what is left of theirs is in the file itself.
            None => self.leave_edit(name, marker, body, attributes),
        }
    }

    /// Takes our table out of a file that somebody edited and leaves the rest.
    fn leave_edit(&self, name: &str, marker: &Marker, body: &str, attributes: Attributes) -> Result<(), FileError> {
        let directory = self.root.join(name);
        let theirs =
            strip(body, &marker.host).map_err(|source| FileError::Merge { path: directory.join(FILE), source })?;
        if theirs.is_empty() {
            return self.remove(name, marker.origin);
        }
        let attributes = Attributes { modified: None, ..attributes };
        self.replace(&directory, theirs.as_bytes(), attributes)
    }

    /// Removes the file, and the directory with it if we made it and nothing else is in it.
    fn remove(&self, name: &str, origin: Origin) -> Result<(), FileError> {
        let directory = self.root.join(name);
        if origin != Origin::Created || self.disk.list(&directory)?.iter().any(|other| other != FILE) {
            self.disk.remove_file(&directory.join(FILE))?;
            return self.disk.sync(&directory);
        }
        // In one step: an empty directory left by a crash would hide `_default` and look like somebody's.
        let gone = self.root.join(format!("{GONE}{name}"));
        self.disk.rename(&directory, &gone)?;
        self.disk.sync(&self.root)?;
        self.disk.remove_file(&gone.join(FILE))?;
        self.disk.remove_directory(&gone)
    }
}

/// Whether a file is one that no agent left: what it wrote it can read. Other people's files are no concern of ours.
fn is_never_ours(error: &FileError) -> bool {
    match error {
        FileError::Link { .. } | FileError::WrongKind { .. } | FileError::TooLarge { .. } => true,
        FileError::Io { act: "read" | "look at", source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    }
}
