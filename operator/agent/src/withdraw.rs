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
    let mut files = open(directories).map_err(|error| WithdrawError::Open(error.message()))?;
    let outcome = files.withdraw_all();
    Last::forget(&directories.state_dir);
    if outcome.stuck.is_empty() {
        return Ok(outcome.withdrawn);
    }
    Err(WithdrawError::Stuck(outcome.stuck.iter().map(FileError::message).collect::<Vec<_>>().join("; ")))
}

fn open(directories: &DirectoryArgs) -> Result<Files, FileError> {
    let began = Instant::now();
    loop {
        match Files::open(&directories.registry_dir, &directories.state_dir) {
            Err(FileError::Locked { .. }) if began.elapsed() < WITHIN => std::thread::sleep(Duration::from_millis(500)),
            opened => return opened,
        }
    }
}
