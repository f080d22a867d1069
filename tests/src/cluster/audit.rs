//! The API server's audit log: who did what.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Cluster;

/// The prefixes of our service accounts' names.
const OURS: [&str; 2] = ["system:serviceaccount:tidepool-system:tidepool-", "system:serviceaccount:tidepool-agents:"];

/// One request that the API server answered. A watch is there twice: at its start and at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditEvent {
    /// When it came: `2026-01-02T03:04:05.678901Z`.
    pub time: String,
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` and so on.
    pub verb: String,
    /// API group; empty for the core one.
    pub group: String,
    /// Resource in plural.
    pub resource: String,
    /// `status` and the like; empty for the resource itself.
    pub subresource: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name; empty for lists and generated names.
    pub name: String,
    /// The status of the answer.
    pub code: u16,
}

impl AuditEvent {
    /// Whether one of Tidepool's own service accounts asked.
    pub fn is_ours(&self) -> bool {
        OURS.iter().any(|prefix| self.user.starts_with(prefix))
    }

    /// Whether it wants to change something.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    /// Whether it holds or renews a lease of leader election.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases"
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    request_received_timestamp: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Cluster {
    /// Every request for a resource so far.
    pub fn audit(&self) -> Result<Vec<AuditEvent>> {
        events(&self.audit_log()?)
    }

    /// The lines of the log that are whole.
    fn audit_log(&self) -> Result<String> {
        let log = self.folder()?.join("cp/audit.log");
        let mut text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        // What follows the last newline is still being written.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        Ok(text)
    }

    /// The requests for resources that came while a piece of the test ran.
    pub fn audit_during<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<(T, Vec<AuditEvent>)> {
        let before = self.audit_log()?.len();
        let result = act()?;
        Ok((result, events(&self.audit_log()?[before..])?))
    }
}

fn events(lines: &str) -> Result<Vec<AuditEvent>> {
    let events: Result<Vec<AuditEvent>> = lines.lines().map(event).collect();
    Ok(events?.into_iter().filter(|event| !event.resource.is_empty()).collect())
}

fn event(line: &str) -> Result<AuditEvent> {
    let line: Line = serde_json::from_str(line).context("cannot parse a line of the audit log")?;
    let Object { api_group: group, resource, subresource, namespace, name } = line.object_ref;
    let (time, user, verb) = (line.request_received_timestamp, line.user.username, line.verb);
    Ok(AuditEvent { time, user, verb, group, resource, subresource, namespace, name, code: line.response_status.code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_known_for_ours() {
        let line = r#"{"kind":"Event","stage":"ResponseComplete","verb":"patch","requestReceivedTimestamp":"t",
            "user":{"username":"system:serviceaccount:tidepool-system:tidepool-operator","uid":"u"},
            "objectRef":{"resource":"registrymirrors","name":"reef","apiGroup":"tidepool.dev","subresource":"status"},
            "responseStatus":{"metadata":{},"code":200}}"#;
        let event = event(&line.replace('\n', "")).unwrap();
        assert_eq!(
            (event.resource.as_str(), event.subresource.as_str(), event.code),
            ("registrymirrors", "status", 200)
        );
        assert!(event.is_ours() && event.is_write() && !event.is_lease());
    }
}
