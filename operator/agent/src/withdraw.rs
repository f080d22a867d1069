//! `tidepool-agent withdraw`: takes every file back, once, for the clean-up manifest and for people on a node.

use std::time::{Duration, Instant};

use crate::{
    args::DirectoryArgs,
    files::{FileError, Files},
    last::Last,
};

/// How long an agent that is stopping may hold the directory: as long as its streams may take to end.
const WITHIN: Duration = Duration::from_secs(30);

/// Why files of ours may be left.
#[derive(Debug, thiserror::Error)]
pub enum WithdrawError {
    /// The directories cannot be worked on.
    #[error("{0}")]
    Open(String),
    /// Some files could not be taken back.
    #[error("not everything could be taken back: {0}")]
    Stuck(String),
}

/// Takes every file back; how many there were.
///
/// # Errors
/// [`WithdrawError`] with the files and what to do.
pub fn withdraw(directories: &DirectoryArgs) -> Result<usize, WithdrawError> {
    let mut files = open(directories).map_err(|error| WithdrawError::Open(why(&error)))?;
    let outcome = files.withdraw_all();
    Last::forget(&directories.state_dir);
    if outcome.stuck.is_empty() {
        return Ok(outcome.withdrawn);
    }
    Err(WithdrawError::Stuck(outcome.stuck.iter().map(FileError::message).collect::<Vec<_>>().join("; ")))
}

fn why(error: &FileError) -> String {
    match error {
        FileError::DirectoryChanged { was } => {
            format!("{error}: mount that directory, and say --registry-host-dir={}", was.display())
        }
        other => other.message(),
    }
}

fn open(directories: &DirectoryArgs) -> Result<Files, FileError> {
    let began = Instant::now();
    loop {
        match Files::open(&directories.registry_dir, &directories.state_dir) {
            Err(FileError::Locked { .. }) if began.elapsed() < WITHIN => std::thread::sleep(Duration::from_millis(500)),
            // The originals that are kept may belong to another directory.
            opened => return opened?.named(&directories.registry_host_dir.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_originals_that_belong_to_another_directory_are_not_forgotten() {
        use std::{collections::BTreeSet, fs};

        use crate::hosts_toml::Settings;

        let temp = tempfile::tempdir().unwrap();
        let (first, other, state) = (temp.path().join("first"), temp.path().join("other"), temp.path().join("state"));
        for root in [&first, &other] {
            fs::create_dir_all(root.join("docker.io")).unwrap();
            fs::write(root.join("docker.io/hosts.toml"), "# theirs\nserver = \"https://a\"\n").unwrap();
        }
        let settings = Settings { port: 909, dial_timeout: true };
        let mut files = Files::open(&first, &state).unwrap().named("/first").unwrap();
        files.reconcile(&["docker.io".parse().unwrap()].into(), &BTreeSet::new(), &settings);
        drop(files);
        let by_hand = |root: &std::path::Path, name: &str| {
            let (registry_dir, state_dir) = (root.to_owned(), state.clone());
            withdraw(&DirectoryArgs { registry_dir, registry_host_dir: name.into(), state_dir })
        };
        let error = by_hand(&other, "/other").unwrap_err().to_string();
        assert!(error.contains("--registry-host-dir=/first"), "{error}");
        assert_eq!(by_hand(&first, "/first").unwrap(), 1);
        assert_eq!(
            fs::read(first.join("docker.io/hosts.toml")).unwrap(),
            fs::read(other.join("docker.io/hosts.toml")).unwrap()
        );
    }
}
