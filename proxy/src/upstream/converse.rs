//! One request to an upstream: as whom, and again with what the registry asks for.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tidepool_config::Scope;
use tidepool_oci::RepositoryName;
use url::Url;

use super::{
    Ask, Upstream, UpstreamError,
    account::{Account, Basic, answered as in_words},
    challenge::{self, Wanted},
    token::{Token, Who},
};

type Answer = Result<reqwest::Response, UpstreamError>;

/// What a request begins with.
enum Held {
    Nothing,
    Token(Token),
    Password(HeaderValue),
}

impl Held {
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Token(token) => Some(token.header()),
            Self::Password(header) => Some(header.clone()),
        }
    }
}

impl Upstream {
    /// The request as ourselves; without credentials where there are none, or where they are refused and only lift
    /// limits: what is public goes on.
    pub(super) async fn converse(&self, ask: &Ask<'_>, answered: &AtomicBool) -> Answer {
        let Some(account) = self.account.as_ref().filter(|_| !ask.anonymously) else {
            return self.attempt(ask, None, answered).await;
        };
        if !account.is_resting() {
            match self.attempt(ask, Some(account), answered).await {
                Err(UpstreamError::CredentialsRefused) => {}
                other => return other,
            }
        }
        if account.scope() == Scope::AllImages {
            return Err(UpstreamError::CredentialsRefused);
        }
        // Whatever everybody may not read might be there for us: that is no absence.
        let answer = self.attempt(ask, None, answered).await;
        let hidden = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::GONE];
        match answer {
            Ok(answer) if hidden.contains(&answer.status()) => Err(UpstreamError::CredentialsRefused),
            Err(error) if error.is_absence() => Err(UpstreamError::CredentialsRefused),
            other => other,
        }
    }

    /// The request, and once more with what the registry asks for.
    async fn attempt(&self, ask: &Ask<'_>, account: Option<&Account>, answered: &AtomicBool) -> Answer {
        let url = self.url(ask)?;
        let who = if account.is_some() { Who::Us } else { Who::Nobody };
        let held = self.held(ask.repository, account);
        let first = self.request(ask, url.clone(), held.header(), answered).await?;
        // Some registries hide from strangers what they do not let them read.
        let hides = account.is_some()
            && self.is_own(&first)
            && matches!(held, Held::Nothing)
            && matches!(first.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        match (&held, account) {
            (Held::Password(_), Some(account)) => return self.judge(account, first).await,
            _ if first.status() != StatusCode::UNAUTHORIZED && !hides => return Ok(first),
            _ => {}
        }
        match (self.wanted(&first, ask.repository).await?, account) {
            (Some(Wanted::Bearer(challenge)), _) => {
                let refused = if let Held::Token(token) = &held { Some(token) } else { None };
                let token = self.tokens.renew(ask.repository, challenge, who, refused).await?;
                self.request(ask, url, Some(token.header()), answered).await
            }
            (Some(Wanted::Basic), Some(account)) => {
                self.log_in(ask, account, &url).await?;
                let answer = self.request(ask, url, Some(account.header()), answered).await?;
                self.judge(account, answer).await
            }
            _ => Ok(first),
        }
    }

    fn held(&self, repository: &RepositoryName, account: Option<&Account>) -> Held {
        if let Some(account) = account.filter(|account| account.basic().is_some()) {
            return Held::Password(account.header());
        }
        let who = if account.is_some() { Who::Us } else { Who::Nobody };
        self.tokens.held(repository, who).map_or(Held::Nothing, Held::Token)
    }

    /// Shows the password to a registry that takes it itself, for the first time: one of all who wait does.
    async fn log_in(&self, ask: &Ask<'_>, account: &Account, url: &Url) -> Result<(), UpstreamError> {
        let _turn = account.turn_alone().await?;
        if account.basic().is_some() {
            return Ok(());
        }
        let base = self.ping(None).await?;
        let (how, answer) = if self.is_own(&base) && base.status() == StatusCode::UNAUTHORIZED {
            (Basic::Base, self.ping(Some(account)).await?)
        } else {
            let password = Some(account.header());
            (Basic::Content, self.http.send(&Method::HEAD, url.clone(), &ask.headers, password, &|_| {}).await?)
        };
        let refused = self.is_own(&answer)
            && match how {
                Basic::Base => matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                Basic::Content => answer.status() == StatusCode::UNAUTHORIZED,
            };
        if refused {
            return Err(account.refused(&in_words("the registry", answer.status())));
        }
        account.accepted();
        account.takes_basic(how);
        Ok(())
    }

    /// What an answer to the password means: one repository may be closed to a user who is welcome.
    async fn judge(&self, account: &Account, answer: reqwest::Response) -> Answer {
        let status = answer.status();
        if !self.is_own(&answer) || !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(answer);
        }
        let _turn = account.turn_alone().await?;
        let refused = match account.basic() {
            Some(Basic::Base) => match self.ping(Some(account)).await? {
                told if self.is_own(&told) => told.status(),
                _ => return Ok(answer),
            },
            _ => status,
        };
        match refused {
            StatusCode::UNAUTHORIZED => Err(account.refused(&in_words("the registry", refused))),
            StatusCode::FORBIDDEN if account.basic() == Some(Basic::Base) => {
                Err(account.refused(&in_words("the registry", refused)))
            }
            _ => Ok(answer),
        }
    }

    /// Asks for `/v2/`.
    async fn ping(&self, account: Option<&Account>) -> Answer {
        let password = account.map(Account::header);
        self.http.send(&Method::GET, self.below_v2("")?, &HeaderMap::new(), password, &|_| {}).await
    }

    async fn request(&self, ask: &Ask<'_>, url: Url, header: Option<HeaderValue>, answered: &AtomicBool) -> Answer {
        let on_answer = |status| answered.store(status != StatusCode::UNAUTHORIZED, Ordering::Relaxed);
        self.http.send(&ask.method, url, &ask.headers, header, &on_answer).await
    }

    /// Whether the registry itself gave the answer. A host that it redirects to can ask nothing of us, for that would be
    /// our password, and does not know whether that is right.
    fn is_own(&self, answer: &reqwest::Response) -> bool {
        answer.url().origin() == self.base.origin()
    }

    /// What a refusal asks for; where it does not say, what `/v2/` does.
    async fn wanted(
        &self,
        refusal: &reqwest::Response,
        repository: &RepositoryName,
    ) -> Result<Option<Wanted>, UpstreamError> {
        if !self.is_own(refusal) {
            return Ok(None);
        }
        if let Some(found) = challenge::find(refusal.headers(), repository) {
            return Ok(Some(found));
        }
        let base = self.ping(None).await?;
        Ok(challenge::find(base.headers(), repository).filter(|_| self.is_own(&base)))
    }
}
