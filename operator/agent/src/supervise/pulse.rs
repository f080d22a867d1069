//! How the liveness probe sees that the supervisor runs: it touches a file, in memory, each second.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

const FILE: &str = "supervisor";
const EVERY: Duration = Duration::from_secs(1);
/// Older than that, the supervisor does not run.
const FRESH: Duration = Duration::from_secs(4);

/// The supervisor's side.
#[derive(Debug)]
pub(super) struct Pulse {
    file: Option<File>,
    beaten: Instant,
}

impl Pulse {
    /// Starts to touch the file in the run directory. Without one the probe judges the child alone.
    pub(super) fn start(run_dir: &Path) -> Self {
        let path = run_dir.join(FILE);
        let file = File::create(&path);
        let file = file.inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "the liveness probe will not see the supervisor");
        });
        Self { file: file.ok(), beaten: Instant::now() }
    }

    /// Touches it, when it is time.
    pub(super) fn beat(&mut self) {
        if self.beaten.elapsed() < EVERY {
            return;
        }
        self.beaten = Instant::now();
        if let Some(file) = &self.file {
            // On failure the file grows old, and the probe says so.
            let _ = file.set_modified(SystemTime::now());
        }
    }
}

/// Whether the supervisor that touches a file in this directory runs; so it does where there is no such file.
#[must_use]
pub fn is_felt(run_dir: &Path) -> bool {
    let Ok(touched) = std::fs::metadata(run_dir.join(FILE)).and_then(|file| file.modified()) else { return true };
    let age = touched.elapsed().unwrap_or_else(|ahead| ahead.duration());
    age < FRESH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_felt_until_it_no_longer_touches_its_file() {
        let run = tempfile::tempdir().unwrap();
        assert!(is_felt(run.path()), "nobody was ever there");
        let mut pulse = Pulse::start(run.path());
        assert!(is_felt(run.path()));
        let file = File::options().write(true).open(run.path().join(FILE)).unwrap();
        for wrong in [SystemTime::now() - FRESH, SystemTime::now() + Duration::from_secs(3600)] {
            file.set_modified(wrong).unwrap();
            assert!(!is_felt(run.path()));
            pulse.beaten -= EVERY;
            pulse.beat();
            assert!(is_felt(run.path()));
        }
    }
}
