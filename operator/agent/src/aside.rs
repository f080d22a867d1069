//! Replacing a file of the agent's own as a whole: whoever reads it finds what was before or what is now, also after a
//! crash. The runtime's files have more to them, in [`crate::files`].

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Writes `bytes` aside, for the agent's user alone, durably, and renames them to `name` in `directory`, which is there.
/// What fails before that leaves nothing: a full disk gets no fuller.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = directory.join(format!(".{name}"));
    let written = write_new(&aside, bytes).and_then(|()| fs::rename(&aside, directory.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&aside); // the first error says what is wrong
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that a crash left may have another mode, and be a link.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_file_is_replaced_whatever_a_crash_left_aside_and_a_failure_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(temp.path()).unwrap().count();
        symlink("/dev/null", temp.path().join(".a")).unwrap();
        for bytes in [b"one", b"two"] {
            replace(temp.path(), "a", bytes).unwrap();
            assert_eq!(fs::read(temp.path().join("a")).unwrap(), bytes);
        }
        assert_eq!(fs::metadata(temp.path().join("a")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::create_dir(temp.path().join("b")).unwrap();
        fs::write(temp.path().join("b/in the way"), "").unwrap();
        assert!(replace(temp.path(), "b", b"one").is_err());
        assert_eq!(names(), 2);
    }
}
