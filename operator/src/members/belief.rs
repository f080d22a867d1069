//! What is believed of one member: good news at once, bad news when heard twice in a row.

use std::time::{Duration, Instant};

use tidepool_config::{CredentialState, ProxyState, Reach, UpstreamState};
use tidepool_plan::Answer;

/// Pause between two questions while all is in agreement.
const CALM: Duration = Duration::from_secs(30);
/// While the configuration is on its way.
const LOADING: Duration = Duration::from_secs(2);
/// While bad news has been heard once.
const DOUBT: Duration = Duration::from_secs(5);

/// What is believed of a member, and what it said last.
#[derive(Debug, Default)]
pub(super) struct Belief {
    answer: Answer,
    /// What it said last; none where it did not answer.
    last: Option<ProxyState>,
    /// When it was asked last.
    asked: Option<Instant>,
    /// Whether bad news has been heard that is not believed yet.
    doubtful: bool,
}

impl Belief {
    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Whether it is time to ask the member, which should have loaded revision `wanted`.
    pub(super) fn is_due(&self, now: Instant, wanted: Option<&str>) -> bool {
        let Some(asked) = self.asked else { return true };
        let lags = match &self.answer {
            Answer::State(state) => wanted.is_some() && state.revision.as_deref() != wanted,
            Answer::NotAsked => true,
            Answer::Silent => false,
        };
        let pause = if lags {
            LOADING
        } else if self.doubtful {
            DOUBT
        } else {
            CALM
        };
        now.duration_since(asked) >= pause
    }

    /// Takes in what the member said, or that it said nothing; whether what is believed has changed.
    pub(super) fn hear(&mut self, said: Option<ProxyState>, now: Instant) -> bool {
        let again = self.asked.is_some();
        let believed = match &said {
            None if again && self.last.is_none() => Answer::Silent,
            None => self.answer.clone(),
            // Nothing is believed yet, so nothing can be kept instead.
            Some(state) if !again && state.upstreams.iter().any(is_bad) => Answer::NotAsked,
            Some(state) => Answer::State(self.settled(state)),
        };
        self.doubtful = match (&said, &believed) {
            (None, believed) => *believed != Answer::Silent,
            (Some(state), Answer::State(settled)) => state != settled,
            (Some(_), Answer::NotAsked | Answer::Silent) => true,
        };
        (self.last, self.asked) = (said, Some(now));
        let changed = believed != self.answer;
        self.answer = believed;
        changed
    }

    /// What was said, with what was believed before in place of bad news that is heard for the first time.
    fn settled(&self, said: &ProxyState) -> ProxyState {
        let find = |state: Option<&ProxyState>, of: &UpstreamState| {
            state.and_then(|state| state.upstreams.iter().find(|it| it.registry == of.registry).cloned())
        };
        let believed = match &self.answer {
            Answer::State(state) => Some(state),
            Answer::NotAsked | Answer::Silent => None,
        };
        let settle = |now: &UpstreamState| {
            let (before, old) = (find(self.last.as_ref(), now), find(believed, now));
            let news_of = |is: fn(&UpstreamState) -> bool| is(now) && !before.as_ref().is_some_and(is);
            let (reach, credentials) = (news_of(is_away), news_of(is_refused));
            UpstreamState {
                registry: now.registry.clone(),
                reach: if reach { old.as_ref().map(|it| it.reach).unwrap_or_default() } else { now.reach },
                credentials: if credentials {
                    old.as_ref().map(|it| it.credentials).unwrap_or_default()
                } else {
                    now.credentials
                },
                message: if reach || credentials { old.and_then(|it| it.message) } else { now.message.clone() },
            }
        };
        ProxyState { upstreams: said.upstreams.iter().map(settle).collect(), ..said.clone() }
    }
}

fn is_bad(upstream: &UpstreamState) -> bool {
    is_away(upstream) || is_refused(upstream)
}

fn is_away(upstream: &UpstreamState) -> bool {
    matches!(upstream.reach, Reach::Unreachable | Reach::RateLimited)
}

fn is_refused(upstream: &UpstreamState) -> bool {
    upstream.credentials == CredentialState::Refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(reach: Reach, credentials: CredentialState) -> ProxyState {
        let registry = "ghcr.io".parse().unwrap();
        let upstreams = vec![UpstreamState { registry, reach, credentials, message: None }];
        ProxyState { revision: Some("a".to_owned()), reload_error: None, upstreams }
    }

    /// What is believed after these were said, one after the other.
    fn believed(said: &[Option<ProxyState>]) -> Answer {
        let mut belief = Belief::default();
        for state in said {
            belief.hear(state.clone(), Instant::now());
        }
        belief.answer
    }

    #[test]
    fn good_news_is_believed_at_once_and_bad_news_when_heard_twice() {
        let good = state(Reach::Reachable, CredentialState::Accepted);
        for bad in [
            state(Reach::Unreachable, CredentialState::Accepted),
            state(Reach::RateLimited, CredentialState::Accepted),
            state(Reach::Reachable, CredentialState::Refused),
        ] {
            let (good, bad) = (Some(good.clone()), Some(bad));
            let is = |said: &[&Option<ProxyState>], wanted: &Option<ProxyState>| {
                let said: Vec<_> = said.iter().map(|it| (*it).clone()).collect();
                assert_eq!(believed(&said), wanted.clone().map_or(Answer::NotAsked, Answer::State), "{said:?}");
            };
            is(&[&good, &bad], &good);
            is(&[&good, &bad, &bad], &bad);
            is(&[&good, &bad, &good, &bad], &good);
            is(&[&good, &bad, &bad, &good], &good);
            // A new leader's first impression changes nothing.
            is(&[&bad], &None);
            is(&[&bad, &bad], &bad);
        }
    }

    #[test]
    fn silence_is_believed_when_heard_twice() {
        let good = state(Reach::Reachable, CredentialState::Accepted);
        let (said, is) = (|| Some(good.clone()), Answer::State(good.clone()));
        assert_eq!(believed(&[None]), Answer::NotAsked);
        assert_eq!(believed(&[None, None]), Answer::Silent);
        assert_eq!(believed(&[said(), None]), is);
        assert_eq!(believed(&[said(), None, None]), Answer::Silent);
        assert_eq!(believed(&[None, None, said()]), is);
    }

    #[test]
    fn another_revision_is_believed_at_once_also_beside_bad_news() {
        let (good, mut bad) =
            (state(Reach::Reachable, CredentialState::Accepted), state(Reach::Unreachable, CredentialState::Refused));
        bad.revision = Some("b".to_owned());
        let Answer::State(now) = believed(&[Some(good.clone()), Some(bad)]) else { panic!("no state") };
        assert_eq!((now.revision.as_deref(), &now.upstreams), (Some("b"), &good.upstreams));
    }

    #[test]
    fn a_member_is_asked_more_often_while_it_lags_or_is_in_doubt() {
        let (start, good) = (Instant::now(), state(Reach::Reachable, CredentialState::Accepted));
        let due = |belief: &Belief, after: Duration, wanted: &str| belief.is_due(start + after, Some(wanted));
        let mut belief = Belief::default();
        assert!(due(&belief, Duration::ZERO, "a"));
        assert!(belief.hear(Some(good.clone()), start));
        assert!(!due(&belief, CALM / 2, "a") && due(&belief, CALM, "a"));
        assert!(!due(&belief, LOADING / 2, "b") && due(&belief, LOADING, "b"));
        assert!(!belief.hear(None, start), "one silence changes nothing");
        assert!(!due(&belief, DOUBT / 2, "a") && due(&belief, DOUBT, "a"));
        assert!(belief.hear(None, start));
        assert!(!due(&belief, DOUBT, "b") && due(&belief, CALM, "b"), "a silent member is left in peace");
    }
}
