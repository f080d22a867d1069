//! Bearer tokens, as Docker Hub and ghcr.io give them: each reads the repositories of its scopes, as anybody or as a user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::form_urlencoded;

/// How long a token is good, as at Docker Hub.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

struct Grant {
    repositories: Vec<String>,
    /// Whose it is; nobody's is anybody's.
    user: Option<String>,
    until: Instant,
}

/// The tokens that one registry gave out.
#[derive(Default)]
pub(super) struct Tokens {
    grants: Mutex<HashMap<String, Grant>>,
}

impl Tokens {
    /// Gives a token for the repositories that the `scope`s of a query want to pull, those that `may` be read.
    pub(super) fn issue(&self, query: &str, user: Option<&str>, may: impl Fn(&str) -> bool) -> std::io::Result<String> {
        let scopes = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
        let repositories = scopes.flat_map(|(_, scopes)| scopes.split(' ').filter_map(pulls).collect::<Vec<_>>());
        let repositories = repositories.filter(|repository| may(repository)).collect();
        let grant = Grant { repositories, user: user.map(str::to_owned), until: Instant::now() + LIFETIME };
        let token = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.retain(|_, grant| grant.until > Instant::now());
        grants.insert(token.clone(), grant);
        Ok(token)
    }

    /// Whose token an `Authorization` header holds, if it allows reading `repository`; `None` is the bare `/v2/`.
    ///
    /// The outer `None` is a refusal, the inner one an anonymous token.
    pub(super) fn allow(&self, authorization: Option<&str>, repository: Option<&str>) -> Option<Option<String>> {
        let token = authorization?.strip_prefix("Bearer ")?;
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = grants.get(token).filter(|grant| grant.until > Instant::now())?;
        let reads = repository.is_none_or(|repository| grant.repositories.iter().any(|granted| granted == repository));
        reads.then(|| grant.user.clone())
    }

    /// Ends the tokens of a user, whose password has changed.
    pub(super) fn revoke(&self, user: &str) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.retain(|_, grant| grant.user.as_deref() != Some(user));
    }
}

/// The repository of a scope `repository:<name>:<actions>` that includes `pull`.
fn pulls(scope: &str) -> Option<String> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    actions.split(',').any(|action| action == "pull").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_the_repositories_of_its_scopes_only() {
        let tokens = Tokens::default();
        let token = tokens.issue("service=s&scope=repository%3Alibrary%2Fapp%3Apull", None, |_| true).unwrap();
        let header = format!("Bearer {token}");
        assert_eq!(tokens.allow(Some(&header), Some("library/app")), Some(None));
        assert_eq!(tokens.allow(Some(&header), None), Some(None));
        assert_eq!(tokens.allow(Some(&header), Some("library/other")), None);
        assert_eq!(tokens.allow(Some("Bearer made-up"), Some("library/app")), None);
        assert_eq!(tokens.allow(None, None), None);
    }

    #[test]
    fn a_users_token_reads_what_the_user_may_until_it_is_revoked() {
        let tokens = Tokens::default();
        let scopes = "scope=repository:team/app:pull&scope=repository:other/app:pull";
        let token = tokens.issue(scopes, Some("me"), |repository| repository.starts_with("team/")).unwrap();
        let header = format!("Bearer {token}");
        assert_eq!(tokens.allow(Some(&header), Some("team/app")), Some(Some("me".to_owned())));
        assert_eq!(tokens.allow(Some(&header), Some("other/app")), None);
        tokens.revoke("me");
        assert_eq!(tokens.allow(Some(&header), Some("team/app")), None);
    }
}
