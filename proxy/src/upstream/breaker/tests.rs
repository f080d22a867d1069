//! When an upstream is left alone, and who looks whether it is back.

use super::*;
use http::StatusCode;

const SILENT: UpstreamError = UpstreamError::Silent(SILENT_AFTER);

fn is_open(breaker: &Breaker) -> bool {
    lock(&breaker.0).open.lasts(Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_failure_opens_it_for_longer_each_time_until_a_success() {
    let breaker = Breaker::default();
    for rest in [1, 2, 4, 8, 16, 30, 30] {
        breaker.note(Some(&SILENT), false, Instant::now(), None);
        assert!(is_open(&breaker) && breaker.is_strained());
        tokio::time::advance(Duration::from_secs(rest) - Duration::from_millis(1)).await;
        assert!(is_open(&breaker), "{rest}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!is_open(&breaker), "{rest}");
    }
    breaker.note(None, true, Instant::now(), None);
    breaker.note(Some(&SILENT), false, Instant::now(), None);
    tokio::time::advance(FIRST_REST).await;
    assert!(!is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn failures_at_the_same_time_count_once() {
    let breaker = Breaker::default();
    for _ in 0..32 {
        breaker.note(Some(&SILENT), false, Instant::now(), None);
    }
    tokio::time::advance(FIRST_REST).await;
    assert!(!is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn silence_does_not_open_it_while_others_are_answered() {
    let (breaker, begun) = (Breaker::default(), Instant::now());
    tokio::time::advance(Duration::from_secs(1)).await;
    breaker.note(None, true, begun, None);
    breaker.note(Some(&SILENT), false, begun, None);
    assert!(breaker.is_strained() && !is_open(&breaker));
    tokio::time::advance(Duration::from_secs(1)).await;
    breaker.note(Some(&SILENT), false, Instant::now(), None);
    assert!(is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn trouble_that_was_answered_strains_but_does_not_open() {
    for error in [UpstreamError::Failing(StatusCode::BAD_GATEWAY), UpstreamError::Limited { retry_after: None }] {
        let breaker = Breaker::default();
        breaker.note(Some(&error), true, Instant::now(), None);
        assert!(breaker.is_strained() && !is_open(&breaker));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!breaker.is_strained());
    }
    let breaker = Breaker::default();
    breaker.note(Some(&UpstreamError::Refused(StatusCode::FORBIDDEN)), true, Instant::now(), None);
    assert!(!breaker.is_strained());
}

#[tokio::test(start_paused = true)]
async fn after_a_rest_one_tries_alone_and_the_others_go_on_once_it_knows() {
    let breaker = Breaker::default();
    breaker.note(Some(&SILENT), false, Instant::now(), None);
    tokio::time::advance(FIRST_REST).await;
    assert!(breaker.may_check().is_some());
    let _leave = breaker.may_ask().unwrap();
    for _ in 0..64 {
        assert!(breaker.may_check().is_none() && matches!(breaker.may_ask(), Err(UpstreamError::Resting)));
        assert!(breaker.may_pass().is_err());
    }
    breaker.note(Some(&SILENT), false, Instant::now(), None);
    tokio::time::advance(2 * FIRST_REST).await;
    let _leave = breaker.may_ask().unwrap();
    assert!(breaker.may_ask().is_err());
    breaker.note(None, true, Instant::now(), None);
    let _leaves = [breaker.may_ask().unwrap(), breaker.may_ask().unwrap()];
    assert!(breaker.may_check().is_some());
}

#[tokio::test(start_paused = true)]
async fn whoever_tries_alone_and_takes_long_is_followed_by_another() {
    let breaker = Breaker::default();
    breaker.note(Some(&SILENT), false, Instant::now(), None);
    tokio::time::advance(FIRST_REST).await;
    let _leave = breaker.may_ask().unwrap();
    assert!(breaker.may_ask().is_err());
    tokio::time::advance(PROBE_WITHIN).await;
    let _other = breaker.may_ask().unwrap();
    assert!(breaker.may_ask().is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_tries_alone_and_leaves_without_a_word_is_followed_by_another_at_once() {
    let breaker = Breaker::default();
    breaker.note(Some(&SILENT), false, Instant::now(), None);
    breaker.overdue();
    tokio::time::advance(FIRST_REST).await;
    let first = breaker.may_ask().unwrap();
    assert!(breaker.may_ask().is_err());
    drop(first);
    let second = breaker.may_ask().unwrap();
    assert!(breaker.may_ask().is_err() && breaker.may_pass().is_err());
    tokio::time::advance(PROBE_WITHIN).await;
    let _third = breaker.may_ask().unwrap();
    drop(second);
    assert!(breaker.may_ask().is_err(), "the third looks still");
}

#[tokio::test(start_paused = true)]
async fn after_a_strain_one_checks_alone_and_what_is_not_held_is_asked_for() {
    let breaker = Breaker::default();
    breaker.overdue();
    assert!(breaker.may_check().is_none() && breaker.may_ask().is_ok());
    tokio::time::advance(FIRST_REST).await;
    let leave = breaker.may_check().unwrap();
    assert!(breaker.may_check().is_none() && breaker.may_ask().is_ok());
    drop(leave);
    let _leave = breaker.may_check().unwrap();
    assert!(breaker.may_check().is_none());
    breaker.note(None, true, Instant::now(), None);
    let _both = [breaker.may_check().unwrap(), breaker.may_check().unwrap()];
}

#[tokio::test(start_paused = true)]
async fn silence_that_was_not_waited_for_says_nothing() {
    let breaker = Breaker::default();
    let hasty = UpstreamError::Silent(SILENT_AFTER - Duration::from_millis(1));
    breaker.note(Some(&hasty), false, Instant::now(), None);
    assert!(!breaker.is_strained() && !is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_to_a_wrong_request_says_that_the_registry_answers() {
    for status in [400, 405, 416, 451].map(|code| StatusCode::from_u16(code).unwrap()) {
        let breaker = Breaker::default();
        breaker.overdue();
        breaker.note(Some(&UpstreamError::Failing(status)), false, Instant::now(), None);
        assert!(breaker.is_strained(), "{status}, of the token server");
        breaker.note(Some(&UpstreamError::Failing(status)), true, Instant::now(), Some(FIRST_REST));
        assert!(!breaker.is_strained(), "{status}");
    }
    for status in [204, 408, 425, 429, 500].map(|code| StatusCode::from_u16(code).unwrap()) {
        let breaker = Breaker::default();
        breaker.note(Some(&UpstreamError::Failing(status)), true, Instant::now(), None);
        assert!(breaker.is_strained(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_limit_is_obeyed_for_as_long_as_it_says_whatever_else_is_answered_meanwhile() {
    for (said, obeyed) in [(90, 90), (100_000, 3600)] {
        let breaker = Breaker::default();
        let limited = UpstreamError::Limited { retry_after: Some(Duration::from_secs(said)) };
        breaker.note(Some(&limited), true, Instant::now(), None);
        breaker.note(None, true, Instant::now(), None);
        tokio::time::advance(Duration::from_secs(obeyed) - Duration::from_millis(1)).await;
        assert!(breaker.is_strained() && breaker.may_check().is_none(), "{said}");
        assert!(matches!(breaker.may_ask(), Err(UpstreamError::Limited { retry_after: Some(_) })));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(breaker.may_ask().is_ok() && breaker.may_ask().is_ok(), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_that_says_when_it_ends_is_believed_for_half_a_minute() {
    let breaker = Breaker::default();
    let trouble = UpstreamError::Failing(StatusCode::SERVICE_UNAVAILABLE);
    breaker.note(Some(&trouble), true, Instant::now(), Some(Duration::from_secs(7200)));
    tokio::time::advance(LONGEST_REST - Duration::from_millis(1)).await;
    assert!(breaker.may_ask().is_err());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(breaker.may_ask().is_ok());
}
