//! Condition `CacheAvailable`: does a member serve?

use tidepool_api::condition::CACHE_AVAILABLE;

use super::Finding;

/// A Deployment of one member or, without volumes, of all; and what its pods say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberFact {
    /// The name of its Deployment.
    pub name: String,
    /// Pods there should be.
    pub desired: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Whether all pods are of the present template, and were ready for long enough that agents know.
    pub rolled_out: bool,
    /// Whether pods of the present template are still being made.
    pub starting: bool,
    /// Whether it is planned no more, and serves until one of the others does.
    pub former: bool,
    /// The image of the present template.
    pub image: Option<String>,
    /// Why the scheduler finds no node, in its words.
    pub unschedulable: Option<String>,
    /// Why the API server lets no pod be made, in its words.
    pub refused: Option<String>,
    /// Why a container does not start or keep running, such as `ImagePullBackOff: ...`.
    pub trouble: Option<String>,
}

pub(super) fn finding(members: &[MemberFact]) -> Finding {
    let serving: i32 = members.iter().map(|member| member.ready).sum();
    if serving == 0 {
        let (reason, message) = cause(members);
        return Finding::new(CACHE_AVAILABLE, false, reason, message);
    }
    let (desired, ready) = counts(members);
    let mut count = format!("{ready} of {desired} members ready");
    if let Some(former) = former(members) {
        count = format!("{count}, and of former ones {former}");
    }
    let missing: Vec<_> = members.iter().filter(|member| member.ready < member.desired).map(missing).collect();
    if missing.is_empty() {
        return Finding::new(CACHE_AVAILABLE, true, "MemberReady", count);
    }
    let message = format!("{count}, which serve meanwhile; missing {}", missing.join("; "));
    Finding::new(CACHE_AVAILABLE, true, "MembersMissing", message)
}

/// How many pods there should be, and how many of those are ready: former members are none of them.
pub(super) fn counts(members: &[MemberFact]) -> (i32, i32) {
    let planned = || members.iter().filter(|member| !member.former);
    (planned().map(|member| member.desired).sum(), planned().map(|member| member.ready).sum())
}

/// The names of former members that serve still.
pub(super) fn former(members: &[MemberFact]) -> Option<String> {
    let names: Vec<_> = members.iter().filter(|member| member.former).map(|member| member.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The version that the members' images are of, if it is one.
pub(super) fn common_version(members: &[MemberFact]) -> Option<String> {
    let mut versions = members.iter().filter(|member| !member.former).map(|member| version(member.image.as_deref()?));
    let first = versions.next()??;
    versions.all(|version| version.as_ref() == Some(&first)).then_some(first)
}

/// Which member is missing, and why.
fn missing(member: &MemberFact) -> String {
    let (_, why) = cause(std::slice::from_ref(member));
    format!("{}: {why}", member.name)
}

/// Why no member is ready.
fn cause(members: &[MemberFact]) -> (&'static str, String) {
    if members.is_empty() {
        return ("NoReadyMember", "no member was made yet".to_owned());
    }
    if let Some((reason, _, message)) = hindrance(members) {
        return (reason, message);
    }
    if members.iter().any(|member| member.starting) {
        return ("RollingOut", "the member starts".to_owned());
    }
    ("NoReadyMember", "the member's pod is not ready: wait, or see its events and log".to_owned())
}

/// What keeps a pod from running, and whose it is: news even while others, perhaps of the template before, serve.
pub(super) fn hindrance(members: &[MemberFact]) -> Option<(&'static str, &str, String)> {
    let first = |of: fn(&MemberFact) -> Option<&String>| {
        members.iter().find_map(|member| Some((member.name.as_str(), of(member)?)))
    };
    if let Some((name, why)) = first(|member| member.unschedulable.as_ref()) {
        let remedy = "make room, or change spec.proxy (resources, nodeSelector, tolerations)";
        return Some(("Unschedulable", name, format!("the member's pod finds no node: {why}: {remedy}")));
    }
    if let Some((name, why)) = first(|member| member.refused.as_ref()) {
        return Some(("NoReadyMember", name, format!("the member's pod cannot be made: {why}")));
    }
    let (name, why) = first(|member| member.trouble.as_ref())?;
    Some(("NoReadyMember", name, format!("the member's pod does not run: {why}: see its events and log")))
}

/// The tag of an image, or the start of its digest.
fn version(image: &str) -> Option<String> {
    if let Some((_, digest)) = image.split_once('@') {
        return Some(digest.chars().take(19).collect());
    }
    let (_, name) = image.rsplit_once('/').unwrap_or(("", image));
    name.split_once(':').map(|(_, tag)| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_tag_or_the_start_of_a_digest() {
        assert_eq!(version("reg:5000/a/tidepool:0.1.0").as_deref(), Some("0.1.0"));
        assert_eq!(version("reg:5000/a/tidepool"), None);
        assert_eq!(version("a/b:1@sha256:0123456789abcdef").as_deref(), Some("sha256:0123456789ab"));
    }
}
