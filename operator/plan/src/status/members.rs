//! What members report of themselves: the configuration they have loaded, and how registries behave towards them.
//!
//! Conditions `CredentialsValid` and `UpstreamsReachable` are made of it. While a member has not been asked, as after a
//! take-over, they stay as they are: a new leader writes nothing.

use tidepool_api::{
    RegistryMirror, RegistryMirrorStatus, Upstream,
    condition::{CREDENTIALS_VALID, RECONCILING, UPSTREAMS_REACHABLE},
};
use tidepool_config::{CredentialState, ProxyState, Reach, UpstreamState};

use super::{Finding, Holds, LOADING, Seen, Verdict};

/// What the ready members of a mirror report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// The revision of the configuration that they should have loaded; none before there is one.
    pub wanted: Option<String>,
    /// Each ready member, in the order of their names.
    pub members: Vec<Report>,
}

/// What one member reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of its pod.
    pub pod: String,
    /// What came of asking it.
    pub answer: Answer,
}

/// What came of asking a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// It has not been asked yet.
    #[default]
    NotAsked,
    /// It does not answer.
    Silent,
    /// This.
    State(ProxyState),
}

impl Reports {
    fn states(&self) -> impl Iterator<Item = (&str, &ProxyState)> {
        self.members.iter().filter_map(|member| match &member.answer {
            Answer::State(state) => Some((member.pod.as_str(), state)),
            Answer::NotAsked | Answer::Silent => None,
        })
    }

    fn is_incomplete(&self) -> bool {
        self.members.iter().any(|member| member.answer == Answer::NotAsked)
    }

    /// What members say of one registry.
    fn of(&self, registry: &str) -> Vec<&UpstreamState> {
        let states = self.states().flat_map(|(_, state)| &state.upstreams);
        states.filter(|upstream| upstream.registry.as_str() == registry).collect()
    }

    /// The first that says `is` of one registry.
    fn first(&self, registry: &str, is: impl Fn(&UpstreamState) -> bool) -> Option<&UpstreamState> {
        self.of(registry).into_iter().find(|upstream| is(upstream))
    }
}

/// The revision that all ready members have loaded.
pub(super) fn revision(reports: &Reports, previous: &RegistryMirrorStatus) -> Option<String> {
    if reports.is_incomplete() {
        return previous.members.as_ref().and_then(|members| members.revision.clone());
    }
    let mut revisions = reports.members.iter().map(|member| match &member.answer {
        Answer::State(state) => state.revision.as_ref(),
        Answer::NotAsked | Answer::Silent => None,
    });
    let first = revisions.next()??;
    revisions.all(|other| other == Some(first)).then(|| first.clone())
}

/// Why the present configuration is not in use everywhere yet. A silent member is left out: that nobody can ask it is
/// told by other conditions, and must not hold up what waits for this one.
pub(super) fn loading(reports: &Reports, previous: &RegistryMirrorStatus) -> Option<String> {
    let wanted = reports.wanted.as_ref()?;
    if reports.is_incomplete() {
        let before = previous.conditions.iter().find(|it| it.type_ == RECONCILING && it.reason == LOADING)?;
        return Some(before.message.clone());
    }
    let (pod, state) = reports.states().find(|(_, state)| state.revision.as_ref() != Some(wanted))?;
    Some(match &state.reload_error {
        Some(error) => format!("member {pod} cannot use configuration {wanted}: {error}"),
        None => format!("member {pod} has not loaded configuration {wanted} yet"),
    })
}

/// Condition `CredentialsValid`.
pub(super) fn credentials(seen: &Seen<'_>, previous: &RegistryMirrorStatus) -> Finding {
    if let Some(finding) = not_in_use(CREDENTIALS_VALID, seen, previous) {
        return finding;
    }
    let named = named_secrets(seen.mirror);
    if named.is_empty() {
        return Finding::new(CREDENTIALS_VALID, true, "Unused", "no upstream has credentials");
    }
    let reports = &seen.reports;
    let found = |registry: &str, state| reports.first(registry, |it| it.credentials == state);
    let refused: Vec<_> = named.iter().filter(|it| found(it.0, CredentialState::Refused).is_some()).collect();
    if let Some((first, _)) = refused.first() {
        let text = |it: &&(&str, &str)| format!("{} refuses the login in Secret {}", it.0, it.1);
        let head = refused.iter().map(text).collect::<Vec<_>>().join("; ");
        let finding = Finding::new(CREDENTIALS_VALID, false, "Unauthorized", "");
        let detail = found(first, CredentialState::Refused);
        return steady(finding, &head, detail, "put one there that it takes", previous);
    }
    if let Some(finding) = unasked(CREDENTIALS_VALID, reports, previous) {
        return finding;
    }
    let Some((registry, _)) = named.iter().find(|it| found(it.0, CredentialState::Accepted).is_none()) else {
        return Finding::new(CREDENTIALS_VALID, true, "Accepted", "the registries take the credentials");
    };
    let message = format!("the credentials for {registry} were not needed yet");
    Finding { holds: Holds::Unknown, ..Finding::new(CREDENTIALS_VALID, false, "Untried", message) }
}

/// Registries with credentials, each with the name of the Secret.
fn named_secrets<'a>(mirror: &'a RegistryMirror) -> Vec<(&'a str, &'a str)> {
    let named = |upstream: &'a Upstream| {
        Some((upstream.registry.as_str(), upstream.credentials.as_ref()?.secret_ref.name.as_str()))
    };
    mirror.spec.upstreams.iter().filter_map(named).collect()
}

/// Condition `UpstreamsReachable`.
pub(super) fn reachable(seen: &Seen<'_>, previous: &RegistryMirrorStatus) -> Finding {
    if let Some(finding) = not_in_use(UPSTREAMS_REACHABLE, seen, previous) {
        return finding;
    }
    let (reports, upstreams) = (&seen.reports, &seen.mirror.spec.upstreams);
    for (reach, reason, does, remedy) in [
        (Reach::Unreachable, "Unreachable", "cannot be reached", "see its state, the network and spec.egressProxy"),
        (Reach::RateLimited, "RateLimited", "limits us", "wait, or set upstreams[].credentials"),
    ] {
        let bad = |registry: &str| reports.first(registry, |it| it.reach == reach);
        let names: Vec<_> = upstreams.iter().map(|it| it.registry.as_str()).filter(|it| bad(it).is_some()).collect();
        if let Some(first) = names.first() {
            let remedy = format!("what is kept is served meanwhile; {remedy}");
            let finding = Finding::new(UPSTREAMS_REACHABLE, false, reason, "");
            return steady(finding, &format!("{} {does}", names.join(", ")), bad(first), &remedy, previous);
        }
    }
    if let Some(finding) = unasked(UPSTREAMS_REACHABLE, reports, previous) {
        return finding;
    }
    let answers = upstreams.iter().any(|it| reports.first(&it.registry, |it| it.reach == Reach::Reachable).is_some());
    if answers {
        return Finding::new(UPSTREAMS_REACHABLE, true, "Reachable", "the registries that were asked answer");
    }
    let message = "no registry was asked yet";
    Finding { holds: Holds::Unknown, ..Finding::new(UPSTREAMS_REACHABLE, false, "Untried", message) }
}

/// What is said while the spec cannot be used: what was said of the one before, which members go by still.
fn not_in_use(kind: &'static str, seen: &Seen<'_>, previous: &RegistryMirrorStatus) -> Option<Finding> {
    let none = || Finding {
        holds: Holds::Unknown,
        ..Finding::new(kind, false, "Untried", "no spec of the mirror has been in use yet")
    };
    match seen.verdict {
        Verdict::Valid(_) => None,
        Verdict::Invalid(_) => Some(said_before(kind, previous).unwrap_or_else(none)),
    }
}

fn said_before(kind: &'static str, previous: &RegistryMirrorStatus) -> Option<Finding> {
    let before = previous.conditions.iter().find(|condition| condition.type_ == kind)?;
    let holds = Holds::read(&before.status);
    Some(Finding { kind, holds, reason: before.reason.clone(), message: before.message.clone() })
}

/// What is said where members did not say it: what was said before, or that none of them answers.
fn unasked(kind: &'static str, reports: &Reports, previous: &RegistryMirrorStatus) -> Option<Finding> {
    if reports.is_incomplete()
        && let Some(before) = said_before(kind, previous)
    {
        return Some(before);
    }
    if reports.states().next().is_some() {
        return None;
    }
    let (reason, message) = if reports.is_incomplete() {
        ("Untried", "the members were not asked yet")
    } else if reports.members.is_empty() {
        ("MembersUnreachable", "no member is ready")
    } else {
        ("MembersUnreachable", "the ready members do not answer the operator: let its pods reach their port 8080")
    };
    Some(Finding { holds: Holds::Unknown, ..Finding::new(kind, false, reason, message) })
}

/// The finding with `head`, what a member says in detail, and `remedy`. Details differ from failure to failure; while the
/// rest is the same the message stays as it was, so that an outage is written once.
fn steady(
    finding: Finding,
    head: &str,
    detail: Option<&UpstreamState>,
    remedy: &str,
    previous: &RegistryMirrorStatus,
) -> Finding {
    let before = previous
        .conditions
        .iter()
        .find(|it| it.type_ == finding.kind && it.status == finding.holds.word() && it.reason == finding.reason);
    let same = before.filter(|it| it.message.strip_prefix(head).is_some_and(|rest| rest.starts_with([':', ' '])));
    let message = same.map_or_else(
        || match detail.and_then(|upstream| upstream.message.as_ref()) {
            Some(detail) => format!("{head} ({detail}): {remedy}"),
            None => format!("{head}: {remedy}"),
        },
        |before| before.message.clone(),
    );
    Finding { message, ..finding }
}
