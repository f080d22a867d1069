//! Names and labels of a mirror's objects. A mirror's name has at most 40 characters, so all of them fit in 63.

use std::collections::BTreeMap;

use tidepool_config::names::MIRROR_LABEL;

/// Field manager of what the operator applies.
pub const MANAGER: &str = "tidepool-operator";
/// Field manager of the statuses it applies.
pub const STATUS_MANAGER: &str = "tidepool-operator-status";
/// Field manager of what it says of nodes without an agent: apart, for what a manager does not say again is removed.
pub const ABSENCE_MANAGER: &str = "tidepool-operator-absence";
/// Label that tells the members of a mirror apart.
pub const MEMBER_LABEL: &str = "tidepool.dev/member";
/// Label that says who made an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`] on what the operator made.
pub const MANAGED_BY: &str = "tidepool-operator";
/// Secret with the operator's authorities. No mirror's object has its name: those start with `mirror-`.
pub const AUTHORITY_SECRET: &str = "tidepool-authority";
/// Annotation of the configuration's Secret: its revision. And of a pod, once its kubelet was nudged towards it.
pub const REVISION: &str = "tidepool.dev/config-revision";
/// Label of namespaces whose pods may read the members' metrics, with value `true`.
pub const METRICS_LABEL: &str = "tidepool.dev/metrics";
/// Key of the configuration's Secret.
pub const CONFIG_KEY: &str = "proxy.yaml";
/// Key of the configuration's Secret: the member's certificate.
pub const MEMBER_CERTIFICATE: &str = "tls.crt";
/// Key of the configuration's Secret: that certificate's private key.
pub const MEMBER_PRIVATE_KEY: &str = "tls.key";
/// Key of the configuration's Secret: the authorities whose agents members believe.
pub const MEMBER_AUTHORITIES: &str = "agents-ca.crt";
/// Name of the port for probes and metrics.
pub const ADMIN_PORT_NAME: &str = "admin";

/// The Service of mirror `mirror`; and its ServiceAccount, Ingress, NetworkPolicy and PodDisruptionBudget.
#[must_use]
pub fn service(mirror: &str) -> String {
    format!("mirror-{mirror}")
}

/// The Secret with the members' configuration.
#[must_use]
pub fn config(mirror: &str) -> String {
    format!("mirror-{mirror}-config")
}

/// The Deployment of a member, and its claim where it has one.
#[must_use]
pub fn member(mirror: &str, member: &str) -> String {
    format!("mirror-{mirror}-{member}")
}

/// The number of the member whose Deployment or claim has this name; none where it has no number, or is of another mirror.
#[must_use]
pub fn number(mirror: &str, name: &str) -> Option<i32> {
    let digits = name.strip_prefix(&member(mirror, ""))?;
    let number: i32 = digits.parse().ok()?;
    (number.to_string() == digits && number >= 0).then_some(number)
}

/// The labels of every object of a mirror.
#[must_use]
pub fn labels(mirror: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", "tidepool"),
        ("app.kubernetes.io/instance", mirror),
        ("app.kubernetes.io/component", "proxy"),
        (MANAGED_BY_LABEL, MANAGED_BY),
        (MIRROR_LABEL, mirror),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What the Service selects: the pods of all members.
#[must_use]
pub fn selector(mirror: &str) -> BTreeMap<String, String> {
    let mut labels = labels(mirror);
    labels.retain(|key, _| key == MIRROR_LABEL || key == "app.kubernetes.io/component");
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_number_is_read_from_its_own_mirrors_names_alone() {
        assert_eq!(number("reef", &member("reef", "12")), Some(12));
        for name in [
            "mirror-reef-ephemeral",
            "mirror-reef",
            "mirror-reef-",
            "mirror-reef-01",
            "mirror-reef--1",
            "mirror-reef-+1",
            "mirror-reef-1-0",
            "mirror-atoll-1",
        ] {
            assert_eq!(number("reef", name), None, "{name}");
        }
    }
}
