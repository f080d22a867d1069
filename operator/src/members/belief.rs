//! What is believed of one member: good news at once, bad news when heard twice in a row. What was bad is good again when it
//! was so for a minute: what fails now and then is told as failing, and not anew each time.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tidepool_config::{CredentialState, ProxyState, Reach, UpstreamState};
use tidepool_plan::Answer;

/// Pause between two questions while all is in agreement.
const CALM: Duration = Duration::from_secs(30);
/// While the configuration is on its way.
const LOADING: Duration = Duration::from_secs(2);
/// While bad news has been heard once.
const DOUBT: Duration = Duration::from_secs(5);

/// How long what was bad must be otherwise before that is believed.
const MENDED: Duration = Duration::from_secs(60);

/// What is believed of a member, and what it said last.
#[derive(Debug, Default)]
pub(super) struct Belief {
    answer: Answer,
    /// Whether it did not answer last.
    silent: bool,
    /// When it was asked last.
    asked: Option<Instant>,
    /// Whether something has been heard that is not believed yet.
    doubtful: bool,
    /// What that is, by registry.
    news: HashMap<String, News>,
}

/// What is heard of a registry and not believed yet, and since when it is heard.
#[derive(Debug, Default)]
struct News {
    reach: Option<(Reach, Instant)>,
    credentials: Option<(CredentialState, Instant)>,
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
    pub(super) fn hear(&mut self, said: Option<&ProxyState>, now: Instant) -> bool {
        let again = self.asked.is_some();
        let believed = match said {
            None if again && self.silent => Answer::Silent,
            None => self.answer.clone(),
            Some(state) => match self.settled(state, now) {
                // Nothing is believed yet, so nothing can be kept instead.
                _ if !again && state.upstreams.iter().any(is_bad) => Answer::NotAsked,
                settled => Answer::State(settled),
            },
        };
        if said.is_none() {
            self.news.clear();
        }
        self.doubtful = match (said, &believed) {
            (None, believed) => *believed != Answer::Silent,
            (Some(state), Answer::State(settled)) => state != settled,
            (Some(_), Answer::NotAsked | Answer::Silent) => true,
        };
        (self.silent, self.asked) = (said.is_none(), Some(now));
        let changed = believed != self.answer;
        self.answer = believed;
        changed
    }

    /// What was said, with what was believed before in place of what is not believed yet.
    fn settled(&mut self, said: &ProxyState, now: Instant) -> ProxyState {
        let believed = match &self.answer {
            Answer::State(state) => Some(state),
            Answer::NotAsked | Answer::Silent => None,
        };
        // Credentials that were exchanged are others: what was said of the former says nothing of them.
        let exchanged = believed.is_some_and(|state| state.revision != said.revision);
        let news = &mut self.news;
        news.retain(|registry, _| said.upstreams.iter().any(|upstream| upstream.registry.as_str() == registry));
        let settle = |upstream: &UpstreamState| {
            let old = believed.and_then(|state| state.upstreams.iter().find(|it| it.registry == upstream.registry));
            let news = news.entry(upstream.registry.as_str().to_owned()).or_default();
            let reach = settle(&mut news.reach, old.map(|it| it.reach), upstream.reach, now, (is_away, false));
            let refused = (is_refused as fn(CredentialState) -> bool, exchanged);
            let credentials =
                settle(&mut news.credentials, old.map(|it| it.credentials), upstream.credentials, now, refused);
            let kept = (reach, credentials) != (upstream.reach, upstream.credentials);
            let message = if kept { old.and_then(|it| it.message.clone()) } else { upstream.message.clone() };
            // What changes with every pull is nobody's to act on.
            let health = tidepool_config::UpstreamHealth::default();
            UpstreamState { registry: upstream.registry.clone(), reach, credentials, message, health }
        };
        ProxyState { upstreams: said.upstreams.iter().map(settle).collect(), ..said.clone() }
    }
}

/// What is believed once this was said: it, or what was believed before. `news` is what was heard last and not believed.
fn settle<T: Copy + Default + PartialEq>(
    news: &mut Option<(T, Instant)>,
    believed: Option<T>,
    said: T,
    now: Instant,
    (is_bad, exchanged): (fn(T) -> bool, bool),
) -> T {
    let before = news.take();
    if believed == Some(said) {
        return said;
    }
    let since = before.filter(|(it, _)| *it == said).map_or(now, |(_, since)| since);
    let takes = match (believed.is_some_and(is_bad), is_bad(said)) {
        (false, false) => true,
        (false, true) => before.is_some_and(|(it, _)| is_bad(it)),
        (true, _) => exchanged || now.duration_since(since) >= MENDED,
    };
    if takes {
        return said;
    }
    *news = Some((said, since));
    believed.unwrap_or_default()
}

fn is_bad(upstream: &UpstreamState) -> bool {
    is_away(upstream.reach) || is_refused(upstream.credentials)
}

fn is_away(reach: Reach) -> bool {
    matches!(reach, Reach::Unreachable | Reach::RateLimited)
}

fn is_refused(credentials: CredentialState) -> bool {
    credentials == CredentialState::Refused
}
