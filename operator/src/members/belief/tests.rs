//! What is believed after what was said.

use super::*;

fn state(reach: Reach, credentials: CredentialState) -> ProxyState {
    let registry = "ghcr.io".parse().unwrap();
    let upstreams = vec![UpstreamState { registry, reach, credentials, message: None, health: Default::default() }];
    ProxyState { revision: Some("a".to_owned()), reload_error: None, upstreams }
}

/// What is believed after these were said, one after the other.
fn believed(said: &[Option<ProxyState>]) -> Answer {
    let mut belief = Belief::default();
    for state in said {
        belief.hear(state.as_ref(), Instant::now());
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
        // A new leader's first impression changes nothing.
        is(&[&bad], &None);
        is(&[&bad, &bad], &bad);
    }
}

#[test]
fn what_fails_now_and_then_is_told_as_failing_until_it_was_good_for_a_minute() {
    let good = state(Reach::Reachable, CredentialState::Accepted);
    for bad in [state(Reach::Unreachable, CredentialState::Accepted), state(Reach::Reachable, CredentialState::Refused)]
    {
        let (mut belief, start) = (Belief::default(), Instant::now());
        let mut hear = |said: &ProxyState, second| belief.hear(Some(said), start + Duration::from_secs(second));
        assert!(hear(&good, 0));
        assert!(!hear(&bad, 30) && hear(&bad, 35));
        let half_broken = [&good, &good, &bad, &bad, &good, &bad, &good, &good];
        let times = (40..340).step_by(5).zip(half_broken.into_iter().cycle());
        let flips = times.filter(|(second, said)| hear(said, *second)).count();
        assert_eq!(flips, 0, "{bad:?}");
        assert!(!hear(&bad, 340) && !hear(&good, 345) && !hear(&good, 400) && hear(&good, 405));
    }
}

#[test]
fn one_outage_that_shows_in_two_ways_is_told_in_one() {
    let (mut belief, start) = (Belief::default(), Instant::now());
    let kinds = [Reach::Unreachable, Reach::RateLimited];
    let said = (0..300).step_by(5).zip(kinds.into_iter().cycle());
    let flips = said.filter(|(second, reach)| {
        let said = state(*reach, CredentialState::Untried);
        belief.hear(Some(&said), start + Duration::from_secs(*second))
    });
    assert_eq!(flips.count(), 1);
}

#[test]
fn credentials_that_were_mended_are_believed_at_once() {
    let (good, bad) = (CredentialState::Accepted, CredentialState::Refused);
    let mended = ProxyState { revision: Some("b".to_owned()), ..state(Reach::Reachable, good) };
    let bad = Some(state(Reach::Reachable, bad));
    assert_eq!(believed(&[bad.clone(), bad, Some(mended.clone())]), Answer::State(mended));
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
    assert!(belief.hear(Some(&good), start));
    assert!(!due(&belief, CALM / 2, "a") && due(&belief, CALM, "a"));
    assert!(!due(&belief, LOADING / 2, "b") && due(&belief, LOADING, "b"));
    assert!(!belief.hear(None, start), "one silence changes nothing");
    assert!(!due(&belief, DOUBT / 2, "a") && due(&belief, DOUBT, "a"));
    assert!(belief.hear(None, start));
    assert!(!due(&belief, DOUBT, "b") && due(&belief, CALM, "b"), "a silent member is left in peace");
}
