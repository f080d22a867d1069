//! How many files and connections this process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of open files to what the system allows this process.
///
/// Many systems begin at 1024, for the sake of programs that use `select`; each connection here is one.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let (before, most) = (limit.current, limit.maximum);
    limit.current = most;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, before, most, "cannot raise the limit of open files");
    }
}
