//! What events of the Secret make of the identity: the last good one stays until there is a better one.

use std::{collections::BTreeMap, error::Error as _};

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::Event;
use tidepool_config::trust::AGENT_SECRET;

use super::Identity;

/// Takes events of the Secret in.
///
/// Without the Secret the last identity stays too: whether it is still good is for members to say.
#[derive(Debug, Default)]
pub struct IdentityView {
    listed: bool,
    /// What was said last of why there is no new one.
    problem: Option<String>,
}

impl IdentityView {
    /// Takes an event in; the identity after it, where it tells of a good one.
    pub fn on(&mut self, event: &Event<Secret>) -> Option<Identity> {
        match event {
            Event::Init => self.listed = false,
            Event::InitApply(secret) | Event::Apply(secret) => {
                self.listed = true;
                return self.read(secret);
            }
            Event::InitDone if self.listed => {}
            Event::InitDone | Event::Delete(_) => {
                self.warn("there is no such Secret; look at the operator, which writes it".to_owned());
            }
        }
        None
    }

    fn read(&mut self, secret: &Secret) -> Option<Identity> {
        let data = secret.data.as_ref().into_iter().flatten();
        // What is no text is no entry of ours.
        let text = data.filter_map(|(key, value)| Some((key.clone(), String::from_utf8(value.0.clone()).ok()?)));
        match Identity::new(text.collect::<BTreeMap<_, _>>()) {
            Ok(identity) => {
                if self.problem.take().is_some() {
                    tracing::info!(secret = AGENT_SECRET, "the identity of agents is good again");
                }
                Some(identity)
            }
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                self.warn(format!("{error}{cause}"));
                None
            }
        }
    }

    /// Once for each problem.
    fn warn(&mut self, problem: String) {
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(
                secret = AGENT_SECRET,
                problem,
                "no new identity for agents; one that was good before stays in force"
            );
            self.problem = Some(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, secret};

    #[test]
    fn a_secret_that_is_damaged_or_gone_says_nothing_new() {
        let good = secret(&[&Authority::new()], &["u"]);
        let mut damaged = good.clone();
        damaged.data.as_mut().unwrap().remove("tls.key");
        let mut view = IdentityView::default();
        assert!(view.on(&Event::Init).is_none() && view.on(&Event::InitDone).is_none());
        assert!(view.problem.is_some());
        let identity = view.on(&Event::Apply(good.clone())).unwrap();
        assert!(view.problem.is_none() && identity.mirrors().map(|(uid, _)| uid).eq(["u"]));
        assert!(view.on(&Event::Apply(damaged)).is_none());
        assert_eq!(view.problem.as_deref(), Some("it has no key tls.key"));
        assert!(view.on(&Event::Delete(good)).is_none());
    }
}
