//! Challenges: a password, or a token and where it is to be had (RFC 7235, and the distribution project's token
//! specification).

use http::{HeaderMap, header};
use tidepool_oci::RepositoryName;
use url::Url;

/// A token to be had: where, for which service, to do what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Challenge {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    pub(super) scope: String,
}

/// What a registry wants of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A token.
    Bearer(Challenge),
    /// A password.
    Basic,
}

impl Challenge {
    /// The address that gives the token, to `account` where it is not for everybody.
    pub(super) fn url(&self, account: Option<&str>) -> Url {
        let mut url = self.login_url(account);
        // Several scopes come with spaces between them, and are asked for one by one, as other clients do.
        for scope in self.scope.split_ascii_whitespace() {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        url
    }

    /// The address that gives a token for nothing in particular, as `docker login` asks for: it tells whether a password
    /// is right.
    pub(super) fn login_url(&self, account: Option<&str>) -> Url {
        let mut url = self.realm.clone();
        if let Some(service) = &self.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        if let Some(account) = account {
            url.query_pairs_mut().append_pair("account", account);
        }
        url
    }
}

/// The challenge among an answer's `WWW-Authenticate` headers, each of which may hold several; Bearer before Basic.
///
/// Without a scope of its own (public.ecr.aws has one, gcr.io's `/v2/` has none) it is for pulling `repository`.
pub(super) fn find(headers: &HeaderMap, repository: &RepositoryName) -> Option<Wanted> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<_> = values.filter_map(|value| http_auth::parse_challenges(value).ok()).flatten().collect();
    let bearer = challenges.iter().find_map(|challenge| bearer(challenge, repository)).map(Wanted::Bearer);
    let basic = || challenges.iter().any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic"));
    bearer.or_else(|| basic().then_some(Wanted::Basic))
}

fn bearer(challenge: &http_auth::ChallengeRef<'_>, repository: &RepositoryName) -> Option<Challenge> {
    if !challenge.scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameter = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped()).filter(|value| !value.is_empty())
    };
    let realm = Url::parse(&parameter("realm")?).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let scope = parameter("scope").unwrap_or_else(|| format!("repository:{repository}:pull"));
    Some(Challenge { realm, service: parameter("service"), scope })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&str]) -> Option<(String, Option<String>, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, value.parse().unwrap());
        }
        match find(&headers, &"a/b".parse().unwrap()) {
            Some(Wanted::Bearer(c)) => Some((c.realm.to_string(), c.service, c.scope)),
            Some(Wanted::Basic) | None => None,
        }
    }

    #[test]
    fn a_password_is_shown_only_where_no_token_is_wanted() {
        let wanted = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::WWW_AUTHENTICATE, value.parse().unwrap());
            find(&headers, &"a/b".parse().unwrap())
        };
        assert_eq!(wanted(r#"basic realm="https://1.dkr.ecr.eu.amazonaws.com/""#), Some(Wanted::Basic));
        assert!(matches!(wanted(r#"Basic realm="x", Bearer realm="https://r/t""#), Some(Wanted::Bearer(_))));
        assert_eq!(wanted("Negotiate"), None);
    }

    #[test]
    fn reads_what_registries_really_send() {
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let expected = |realm: &str, service: Option<&str>, scope: &str| {
            Some((realm.to_owned(), service.map(str::to_owned), scope.to_owned()))
        };
        let docker = expected("https://auth.docker.io/token", Some("registry.docker.io"), "repository:a/b:pull");
        assert_eq!(found(&[hub]), docker);
        assert_eq!(found(&[r#"Basic realm="x""#, hub]), docker);
        assert_eq!(found(&[&format!(r#"Basic realm="x", {hub}"#)]), docker);
        assert_eq!(found(&[r#"bearer REALM="https://r/",Scope="aws""#]), expected("https://r/", None, "aws"));
        assert_eq!(
            found(&[r#"Bearer realm="https://r/t",scope="repository:a/b:pull,push""#]),
            expected("https://r/t", None, "repository:a/b:pull,push")
        );
        assert_eq!(found(&[r#"Bearer realm="https://r/t""#]), expected("https://r/t", None, "repository:a/b:pull"));
    }

    #[test]
    fn what_gives_no_token_is_no_challenge() {
        for value in
            ["", "Bearer", r#"Basic realm="x""#, r#"Bearer realm="file:///etc/passwd""#, r#"Bearer realm="/t""#]
        {
            assert_eq!(found(&[value]), None, "{value}");
        }
    }
}
