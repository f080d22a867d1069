//! Anonymous Bearer tokens, as Docker Hub and ghcr.io give them: each reads the repositories of its scopes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::form_urlencoded;

/// How long a token is good, as at Docker Hub.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

struct Grant {
    repositories: Vec<String>,
    until: Instant,
}

/// The tokens that one registry gave out.
#[derive(Default)]
pub(super) struct Tokens {
    grants: Mutex<HashMap<String, Grant>>,
}

impl Tokens {
    /// Gives a token for the repositories that the `scope`s of a query want to pull.
    pub(super) fn issue(&self, query: &str) -> std::io::Result<String> {
        let scopes = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
        let repositories = scopes.flat_map(|(_, scopes)| scopes.split(' ').filter_map(pulls).collect::<Vec<_>>());
        let grant = Grant { repositories: repositories.collect(), until: Instant::now() + LIFETIME };
        let token = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.retain(|_, grant| grant.until > Instant::now());
        grants.insert(token.clone(), grant);
        Ok(token)
    }

    /// Whether an `Authorization` header allows reading `repository`; `None` is the bare `/v2/`.
    pub(super) fn allow(&self, authorization: Option<&str>, repository: Option<&str>) -> bool {
        let Some(token) = authorization.and_then(|header| header.strip_prefix("Bearer ")) else { return false };
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(grant) = grants.get(token).filter(|grant| grant.until > Instant::now()) else { return false };
        repository.is_none_or(|repository| grant.repositories.iter().any(|granted| granted == repository))
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
        let token = tokens.issue("service=s&scope=repository%3Alibrary%2Fapp%3Apull").unwrap();
        let header = format!("Bearer {token}");
        assert!(tokens.allow(Some(&header), Some("library/app")));
        assert!(tokens.allow(Some(&header), None));
        assert!(!tokens.allow(Some(&header), Some("library/other")));
        assert!(!tokens.allow(Some("Bearer made-up"), Some("library/app")));
        assert!(!tokens.allow(None, None));
    }
}
