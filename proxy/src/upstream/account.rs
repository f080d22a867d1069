//! Who we are to an upstream, and what came of saying so (P10).
//!
//! A password that is refused is not tried again and again: registries lock accounts. It waits 30 s, then twice as long
//! each time, up to 10 min. A changed password makes another account, which starts afresh.

use std::{sync::Mutex, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode};
use tidepool_config::{CredentialState, Login, Scope};
use tidepool_oci::RegistryName;
use tokio::time::Instant;
use url::Url;

use super::{
    UpstreamError,
    turns::{Turn, Turns},
};
use crate::{
    metrics::{LoginResult, Metrics},
    tasks::lock,
};

/// Rest after the first refusal; doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(30);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// Credentials for one upstream. `Debug` shows the user only.
pub(super) struct Account {
    username: String,
    header: HeaderValue,
    scope: Scope,
    host: String,
    /// The registry is reached by HTTPS and its certificate is checked.
    secure: bool,
    turns: Turns,
    state: Mutex<State>,
    registry: RegistryName,
    metrics: Metrics,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("username", &self.username).field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    verdict: CredentialState,
    refusals: u32,
    rest_until: Option<Instant>,
    message: Option<String>,
    accepted_at: Option<Instant>,
    basic: Option<Basic>,
}

/// How a registry that takes passwords itself tells whether one is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basic {
    /// `/v2/` wants a password, so it tells.
    Base,
    /// It lets everybody in; only what is private tells.
    Content,
}

impl Account {
    pub(super) fn new(
        registry: &RegistryName,
        base: &Url,
        verified: bool,
        login: &Login,
        scope: Scope,
        metrics: Metrics,
    ) -> Option<Self> {
        let text = STANDARD.encode(format!("{}:{}", login.username, login.password));
        let mut header = HeaderValue::try_from(format!("Basic {text}")).ok()?;
        header.set_sensitive(true);
        Some(Self {
            username: login.username.clone(),
            header,
            scope,
            host: base.host_str()?.to_owned(),
            secure: verified && base.scheme() == "https",
            turns: Turns::default(),
            state: Mutex::default(),
            registry: registry.clone(),
            metrics,
        })
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// The password as a header for the registry itself.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The password as a header for a token server, if that may have it: the registry's own host may; another only where
    /// nobody on the way can have changed what the registry said, nor can read what we say.
    pub(super) fn header_for(&self, realm: &Url) -> Option<HeaderValue> {
        let own = realm.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host));
        (own || (self.secure && realm.scheme() == "https")).then(|| self.header())
    }

    /// Whether they were refused and are left alone for now.
    pub(super) fn is_resting(&self) -> bool {
        lock(&self.state).rest_until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits for leave to show them, among others where there is no doubt about them.
    pub(super) async fn turn(&self, until: Instant) -> Result<Turn<'_>, UpstreamError> {
        let turn = self.turns.take(until).await?;
        if self.is_resting() { Err(UpstreamError::CredentialsRefused) } else { Ok(turn) }
    }

    /// Goes on alone with a refusal that may be theirs: whoever waits for a turn hears first what comes of it. Also
    /// tells whether they were accepted meanwhile.
    pub(super) async fn doubt<'a>(&'a self, turn: Turn<'a>, until: Instant) -> Result<(Turn<'a>, bool), UpstreamError> {
        let since = Instant::now();
        let turn = self.turns.alone(turn, until).await?;
        if self.is_resting() {
            return Err(UpstreamError::CredentialsRefused);
        }
        Ok((turn, lock(&self.state).accepted_at.is_some_and(|at| at > since)))
    }

    /// How the registry takes passwords itself, once that is known.
    pub(super) fn basic(&self) -> Option<Basic> {
        lock(&self.state).basic
    }

    pub(super) fn takes_basic(&self, how: Basic) {
        lock(&self.state).basic = Some(how);
    }

    /// The upstream took them.
    pub(super) fn accepted(&self) {
        self.metrics.login(&self.registry, LoginResult::Accepted);
        let mut state = lock(&self.state);
        if state.verdict == CredentialState::Refused {
            tracing::info!(registry = %self.registry, "the upstream takes the credentials again");
        }
        *state = State { verdict: CredentialState::Accepted, basic: state.basic, ..State::default() };
        drop(state);
        self.confirmed();
    }

    /// It took them once more.
    pub(super) fn confirmed(&self) {
        lock(&self.state).accepted_at = Some(Instant::now());
        self.turns.widen();
    }

    /// The upstream turned them down, for good: they rest.
    pub(super) fn refused(&self, why: &str) -> UpstreamError {
        self.metrics.login(&self.registry, LoginResult::Refused);
        let mut state = lock(&self.state);
        let rest = (FIRST_REST * 2_u32.pow(state.refusals.min(5))).min(LONGEST_REST);
        state.refusals = state.refusals.saturating_add(1);
        state.rest_until = Some(Instant::now() + rest);
        // A registry that takes them itself gets them no more before one login, alone, has shown that it does again.
        (state.verdict, state.basic) = (CredentialState::Refused, None);
        self.turns.narrow();
        state.message = Some(format!("the credentials of user {} are refused: {why}", self.username));
        let rest_s = rest.as_secs();
        tracing::warn!(registry = %self.registry, username = self.username, why, rest_s, "credentials refused");
        UpstreamError::CredentialsRefused
    }

    /// Counts a login that was turned down for one repository, or came to nothing.
    pub(super) fn count(&self, error: &UpstreamError) {
        let refused = matches!(error, UpstreamError::Refused(_));
        self.metrics.login(&self.registry, if refused { LoginResult::Refused } else { LoginResult::Failed });
    }

    /// What came of them, and in words why they were refused.
    pub(super) fn verdict(&self) -> (CredentialState, Option<String>) {
        let state = lock(&self.state);
        (state.verdict, state.message.clone())
    }
}

/// The status of a refusal in words.
pub(super) fn answered(who: &str, status: StatusCode) -> String {
    format!("{who} answered {status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(base: &str, verified: bool) -> Account {
        let login = Login { username: "me".into(), password: "secret".into() };
        let base = Url::parse(base).unwrap();
        let registry = "reg.example".parse().unwrap();
        Account::new(&registry, &base, verified, &login, Scope::AllImages, Metrics::default()).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(8)
    }

    #[test]
    fn another_host_gets_the_password_only_where_all_that_leads_there_is_secure() {
        let (own, own_port) = ("https://reg.example/token", "https://REG.example:5001/token");
        let (other, plain) = ("https://auth.example/token", "http://auth.example/token");
        for (base, verified, realm, expected) in [
            ("https://reg.example", true, own, true),
            ("https://reg.example", true, own_port, true),
            ("https://reg.example", true, other, true),
            ("https://reg.example", true, plain, false),
            ("https://reg.example", false, own, true),
            ("https://reg.example", false, other, false),
            ("http://reg.example", true, "http://reg.example/token", true),
            ("http://reg.example", true, other, false),
            ("http://reg.example", true, "http://reg.example.evil/token", false),
        ] {
            let given = account(base, verified).header_for(&Url::parse(realm).unwrap()).is_some();
            assert_eq!(given, expected, "{base} {verified} {realm}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p10_refused_credentials_rest_for_longer_each_time_and_are_fresh_once_accepted() {
        let account = account("https://reg.example", true);
        for rest in [30, 60, 120, 240, 480, 600, 600] {
            assert!(account.turn(soon()).await.is_ok());
            account.refused("no");
            tokio::time::advance(Duration::from_secs(rest - 1)).await;
            assert!(account.turn(soon()).await.is_err(), "{rest}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(account.verdict().0, CredentialState::Refused);
        account.accepted();
        account.refused("no");
        tokio::time::advance(FIRST_REST).await;
        assert!(account.turn(soon()).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_turn_hears_of_a_doubt_first() {
        let account = std::sync::Arc::new(account("https://reg.example", true));
        account.accepted();
        let (one, other) = (account.turn(soon()).await.unwrap(), account.turn(soon()).await.unwrap());
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let account = std::sync::Arc::clone(&account);
                tokio::spawn(async move { account.turn(soon()).await.is_ok() })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(other);
        let alone = account.doubt(one, soon()).await.unwrap();
        account.refused("no");
        drop(alone);
        for waiter in waiting {
            assert!(!waiter.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_doubt_is_gone_once_another_was_accepted_after_it_came_up() {
        let account = account("https://reg.example", true);
        account.accepted();
        let (one, other) = (account.turn(soon()).await.unwrap(), account.turn(soon()).await.unwrap());
        let doubting = account.doubt(one, soon());
        tokio::pin!(doubting);
        assert!(futures::poll!(doubting.as_mut()).is_pending());
        account.confirmed();
        drop(other);
        let (turn, cleared) = doubting.await.unwrap();
        assert!(cleared);
        assert!(!account.doubt(turn, soon()).await.unwrap().1);
    }

    #[test]
    fn a_registry_that_refused_a_password_gets_none_without_asking() {
        let account = account("https://reg.example", true);
        account.takes_basic(Basic::Base);
        account.refused("no");
        assert_eq!(account.basic(), None);
    }

    #[test]
    fn the_password_does_not_show_in_logs() {
        let account = account("https://reg.example", true);
        account.refused("no");
        let shown = format!("{account:?} {:?}", account.header());
        assert!(!shown.contains("secret") && !shown.contains(&STANDARD.encode("me:secret")), "{shown}");
    }
}
