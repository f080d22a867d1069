//! What token servers answer, and how long it is believed.

use super::*;

fn granted(json: &str) -> Option<(String, u64, u64)> {
    let now = Instant::now();
    let token = serde_json::from_str::<Grant>(json).unwrap().token(now)?;
    let seconds = |at: Instant| (at - now).as_secs();
    Some((token.header.to_str().unwrap().to_owned(), seconds(token.renew_at), seconds(token.ends_at)))
}

#[test]
fn takes_a_token_under_either_name_and_sixty_seconds_where_no_lifetime_is_named() {
    assert_eq!(granted(r#"{"token":"a"}"#), Some(("Bearer a".into(), 48, 60)));
    assert_eq!(granted(r#"{"access_token":"b","expires_in":300}"#), Some(("Bearer b".into(), 240, 300)));
    assert_eq!(granted(r#"{"token":"a","expires_in":18446744073709551615}"#).unwrap().2, 86400);
    assert_eq!(granted(r#"{"token":"a","expires_in":5}"#).unwrap().2, 60, "what ends sooner is refused once");
}

#[test]
fn p10_a_token_that_a_realm_made_a_while_ago_ends_sooner() {
    let ends = |made: SystemTime, life: u64| {
        let made = jiff::Timestamp::try_from(made).unwrap();
        granted(&format!(r#"{{"token":"a","expires_in":{life},"issued_at":"{made}"}}"#)).unwrap().2
    };
    let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    assert!((238..=240).contains(&ends(now - minute, 300)));
    assert_eq!((ends(now + minute, 300), ends(now - 10 * minute, 300)), (300, 300), "a clock is wrong");
    assert_eq!(granted(r#"{"token":"a","expires_in":300,"issued_at":"soon"}"#).unwrap().2, 300);
}

#[tokio::test(start_paused = true)]
async fn ended_tokens_are_dropped_and_the_others_are_bounded() {
    let mut known = Known::default();
    let mut keep = |n: usize| {
        let realm = Url::parse("https://auth.example/token").unwrap();
        let challenge = Challenge { realm, service: None, scope: n.to_string() };
        let grant = serde_json::from_str::<Grant>(r#"{"token":"a"}"#).unwrap();
        known.keep((challenge, Who::Nobody), grant.token(Instant::now()).unwrap());
        known.tokens.len()
    };
    assert_eq!((0..MOST_TOKENS).map(&mut keep).max(), Some(MOST_TOKENS));
    assert_eq!(keep(MOST_TOKENS), 1);
    tokio::time::advance(DEFAULT_LIFETIME).await;
    assert_eq!(keep(0), 1);
}

#[tokio::test]
async fn p10_a_token_is_renewed_early_by_one_request_and_nobody_waits_for_it() {
    let realm = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/token", realm.local_addr().unwrap())).unwrap();
    tidepool_runtime::install_crypto();
    let tokens = Tokens::new(Http::to(&url, crate::upstream::Lookup::default()), None, Tasks::default());
    let repository: RepositoryName = "a/b".parse().unwrap();
    let challenge = Challenge { realm: url, service: None, scope: "x".into() };
    let mut token = serde_json::from_str::<Grant>(r#"{"token":"old"}"#).unwrap().token(Instant::now()).unwrap();
    token.renew_at = Instant::now();
    lock(&tokens.known).challenges.insert(repository.clone(), challenge.clone());
    lock(&tokens.known).keep((challenge, Who::Us), token);
    for _ in 0..64 {
        assert_eq!(tokens.held(&repository, Who::Us).unwrap().header(), "Bearer old");
    }
    let asked = |within| tokio::time::timeout(within, realm.accept());
    asked(Duration::from_secs(30)).await.expect("it is asked").unwrap();
    assert!(asked(Duration::from_millis(300)).await.is_err(), "one request is under way");
    assert!(tokens.held(&repository, Who::Us).is_some());
}

#[test]
fn a_token_that_fits_no_header_is_none() {
    let of = |len: usize| granted(&format!(r#"{{"token":"{}"}}"#, "a".repeat(len)));
    assert!(of(LARGEST_TOKEN).is_some() && of(LARGEST_TOKEN + 1).is_none());
}

#[test]
fn an_answer_without_a_usable_token_is_none() {
    for json in ["{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#] {
        assert_eq!(granted(json), None, "{json}");
    }
}

#[test]
fn a_token_does_not_show_in_logs() {
    let token = serde_json::from_str::<Grant>(r#"{"token":"secret"}"#).unwrap().token(Instant::now()).unwrap();
    assert!(!format!("{token:?} {:?}", token.header()).contains("secret"));
}
