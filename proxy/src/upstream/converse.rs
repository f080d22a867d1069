//! One request to an upstream: as whom, and again with what the registry asks for.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustls::AlertDescription;
use tidepool_config::Scope;
use tidepool_oci::RepositoryName;
use url::Url;

use super::{
    Ask, Upstream, UpstreamError,
    account::{Account, Basic, answered as in_words},
    challenge::{self, Wanted},
    course::Course,
    token::{Token, Who},
    turns::Turn,
};

type Answer = Result<reqwest::Response, UpstreamError>;

impl Upstream {
    /// The request as ourselves; without credentials where there are none, or where they are refused and only lift
    /// limits: what is public goes on.
    pub(super) async fn converse(&self, ask: &Ask<'_>, course: &Course) -> Answer {
        if ask.anonymously {
            return self.attempt(ask, Who::Nobody, course).await;
        }
        let Some(account) = &self.account else { return self.attempt(ask, Who::Us, course).await };
        if !account.is_resting() {
            match self.attempt(ask, Who::Us, course).await {
                Err(UpstreamError::CredentialsRefused) => {}
                other => return other,
            }
        }
        if account.scope() == Scope::AllImages {
            return Err(UpstreamError::CredentialsRefused);
        }
        // Whatever everybody may not read might be there for us: that is no absence.
        let answer = self.attempt(ask, Who::Nobody, course).await;
        let hidden = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::GONE];
        match answer {
            Ok(answer) if hidden.contains(&answer.status()) => Err(UpstreamError::CredentialsRefused),
            Err(error) if error.is_absence() => Err(UpstreamError::CredentialsRefused),
            other => other,
        }
    }

    /// The request, and once more with what the registry asks for.
    async fn attempt(&self, ask: &Ask<'_>, who: Who, course: &Course) -> Answer {
        course.go_as(who);
        let url = self.url(ask)?;
        let account = self.account.as_deref().filter(|_| who == Who::Us);
        if let Some(account) = account.filter(|account| account.basic().is_some()) {
            return self.with_password(ask, account, url, course).await;
        }
        let held = self.tokens.held(ask.repository, who);
        let first = self.request(ask, who, url.clone(), held.as_ref().map(Token::header), course).await?;
        // Some registries hide from strangers what they do not let them read.
        let hides = account.is_some()
            && held.is_none()
            && self.is_own(&first)
            && matches!(first.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        if first.status() != StatusCode::UNAUTHORIZED && !hides {
            return Ok(first);
        }
        match (self.wanted(&first, ask.repository, who).await?, account) {
            (Some(Wanted::Bearer(challenge)), _) => {
                let token = self.tokens.renew(ask.repository, challenge, who, held.as_ref(), ask.until).await?;
                self.request(ask, who, url, Some(token.header()), course).await
            }
            (Some(Wanted::Basic), Some(account)) => {
                if let Some(trouble) = self.log_in(ask, account, &url).await? {
                    return Ok(trouble);
                }
                self.with_password(ask, account, url, course).await
            }
            _ => Ok(first),
        }
    }

    /// Shows the password to a registry that takes it itself, for the first time: one of all who wait does. An answer is
    /// trouble, which leaves open whether it is right.
    async fn log_in(
        &self,
        ask: &Ask<'_>,
        account: &Account,
        url: &Url,
    ) -> Result<Option<reqwest::Response>, UpstreamError> {
        let turn = account.turn(ask.until).await?;
        if account.basic().is_some() {
            return Ok(None);
        }
        let (how, answer) = turn.within(ask.until, self.first_login(ask, account, url)).await?;
        let refused = self.is_own(&answer)
            && match how {
                Basic::Base => matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                Basic::Content => answer.status() == StatusCode::UNAUTHORIZED,
            };
        if refused {
            return Err(account.refused(&in_words("the registry", answer.status())));
        }
        if self.is_own(&answer) && is_trouble(answer.status()) {
            return Ok(Some(answer));
        }
        account.accepted();
        account.takes_basic(how);
        Ok(None)
    }

    async fn first_login(
        &self,
        ask: &Ask<'_>,
        account: &Account,
        url: &Url,
    ) -> Result<(Basic, reqwest::Response), UpstreamError> {
        let base = self.ping(Who::Us, None).await?;
        if self.is_own(&base) && base.status() == StatusCode::UNAUTHORIZED {
            return Ok((Basic::Base, self.ping(Who::Us, Some(account.header())).await?));
        }
        let password = Some(account.header());
        let answer = self.http.send(&Method::HEAD, url.clone(), &ask.headers, password, &Course::default()).await?;
        Ok((Basic::Content, answer))
    }

    /// The request, to a registry that takes passwords itself.
    async fn with_password(&self, ask: &Ask<'_>, account: &Account, url: Url, course: &Course) -> Answer {
        let turn = account.turn(ask.until).await?;
        let asked = self.request(ask, Who::Us, url, Some(account.header()), course);
        let (turn, answer) = turn.lent(ask.until, asked).await?;
        let status = answer.status();
        if self.is_own(&answer) && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let turn = match turn {
                Some(turn) => turn,
                None => account.turn(ask.until).await?,
            };
            return self.judge(ask, account, turn, answer).await;
        }
        // Where it redirected, it took the password. Trouble tells nothing.
        if !self.is_own(&answer) || status.is_success() || status == StatusCode::NOT_FOUND {
            account.confirmed();
        }
        Ok(answer)
    }

    /// What a refusal means: one repository may be closed to a user who is welcome.
    async fn judge(&self, ask: &Ask<'_>, account: &Account, turn: Turn<'_>, refusal: reqwest::Response) -> Answer {
        let (turn, accepted_meanwhile) = account.doubt(turn, ask.until).await?;
        let told = match account.basic() {
            _ if accepted_meanwhile => return Ok(refusal),
            Some(Basic::Base) => {
                let answer = turn.within(ask.until, self.ping(Who::Us, Some(account.header()))).await?;
                let status = answer.status();
                if is_trouble(status) {
                    return Ok(answer); // trouble, which leaves open what the refusal means
                }
                if self.is_own(&answer) { status } else { StatusCode::OK }
            }
            _ if refusal.status() == StatusCode::FORBIDDEN => StatusCode::OK,
            _ => refusal.status(),
        };
        match told {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(account.refused(&in_words("the registry", told))),
            _ => {
                account.confirmed();
                Ok(refusal)
            }
        }
    }

    /// Asks for `/v2/`.
    async fn ping(&self, who: Who, password: Option<HeaderValue>) -> Answer {
        self.http.of(who).send(&Method::GET, self.below_v2("")?, &HeaderMap::new(), password, &Course::default()).await
    }

    async fn request(&self, ask: &Ask<'_>, who: Who, url: Url, header: Option<HeaderValue>, course: &Course) -> Answer {
        self.http.of(who).send(&ask.method, url, &ask.headers, header, course).await
    }

    /// What went wrong for a stranger: where we have a certificate, whoever has none may be turned away before HTTP begins,
    /// or with 400, as nginx does.
    pub(super) fn heard_by_stranger(&self, error: UpstreamError) -> UpstreamError {
        let refused = match &error {
            UpstreamError::Unreachable(cause) => is_alert(cause),
            UpstreamError::Failing(status) => *status == StatusCode::BAD_REQUEST,
            _ => false,
        };
        if refused && self.has_identity() { UpstreamError::Refused(StatusCode::UNAUTHORIZED) } else { error }
    }

    /// Whether the registry itself gave the answer. A host that it redirects to can ask nothing of us, for that would be
    /// our password, and does not know whether that is right.
    pub(super) fn is_own(&self, answer: &reqwest::Response) -> bool {
        answer.url().origin() == self.base.origin()
    }

    /// What a refusal asks for; where it does not say, what `/v2/` does.
    async fn wanted(
        &self,
        refusal: &reqwest::Response,
        repository: &RepositoryName,
        who: Who,
    ) -> Result<Option<Wanted>, UpstreamError> {
        if !self.is_own(refusal) {
            return Ok(None);
        }
        if let Some(found) = challenge::find(refusal.headers(), repository) {
            return Ok(Some(found));
        }
        let base = self.ping(who, None).await?;
        Ok(challenge::find(base.headers(), repository).filter(|_| self.is_own(&base)))
    }
}

/// Whether an answer tells of the registry's own trouble, and nothing of a password.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// Whether the other side ended the handshake with a word that our certificate, or its absence, was not right.
fn is_alert(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // An I/O error hides the error within from `source`.
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = within.and_then(|it| it.downcast_ref()).or_else(|| error.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return matches!(
                alert,
                AlertDescription::CertificateRequired
                    | AlertDescription::BadCertificate
                    | AlertDescription::NoCertificate
                    | AlertDescription::AccessDenied
                    | AlertDescription::HandshakeFailure
            );
        }
        cause = error.source();
    }
    false
}
