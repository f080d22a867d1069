//! The end of all that a change makes operators and agents write, before a test says that something makes them write nothing.

use std::time::{Duration, Instant};

use tidepool_tests::{AuditEvent, Cluster, until};

use crate::installed::SOON;

/// Nobody tells later of what is so already: a node that has said much says the next thing half a minute later, members
/// are asked as seldom, and what they say is collected for two seconds.
const QUIET: Duration = Duration::from_secs(40);
/// Between two looks at what was asked of the API server.
const LOOK: Duration = Duration::from_secs(2);

/// Waits until every node is known to pull through its agent: no probe pod comes after that.
pub(crate) fn await_proven(cluster: &Cluster) {
    let limit = format!("--timeout={}s", SOON.as_secs());
    let proven = cluster.kubectl(&["wait", "--for=condition=Honored", "mirrornodes", "--all", &limit]);
    proven.map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
}

/// Waits until neither operators nor agents have anything left to write but leases.
pub(crate) fn await_quiet(cluster: &Cluster) {
    let mut since = Instant::now();
    let quiet = || {
        let ((), events) = cluster.audit_during(|| {
            std::thread::sleep(LOOK);
            Ok(())
        })?;
        if events.iter().any(|event| event.is_ours() && event.is_write() && !event.is_lease()) {
            since = Instant::now();
        }
        Ok(since.elapsed() > QUIET)
    };
    let ended = until(SOON, Duration::ZERO, "end of all that is to be written", quiet);
    ended.map_err(|error| format!("{error:#}\n{}", cluster.diagnose())).unwrap();
}

/// What operators wrote beside leases, and beside an Event that may tell of the take-over.
pub(crate) fn writes(events: &[AuditEvent]) -> Vec<&AuditEvent> {
    let of_operators = |event: &&AuditEvent| event.user.ends_with(":tidepool-operator") && event.is_write();
    events.iter().filter(of_operators).filter(|event| !event.is_lease() && event.resource != "events").collect()
}
