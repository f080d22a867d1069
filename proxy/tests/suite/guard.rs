//! What a fake registry wants of who asks: a password, or a token; and what it lets everybody read.

use std::collections::HashSet;

use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// How a registry takes a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Itself, as ECR does.
    Basic,
    /// At a token server, as most do.
    Bearer,
}

/// Who may read what.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) kind: Kind,
    /// The right `Authorization`.
    pub(crate) login: String,
    pub(crate) public: HashSet<String>,
    pub(crate) realm: String,
    /// Requests that came with a password.
    pub(crate) shown: Vec<String>,
}

/// The header of a login.
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

impl Guard {
    /// Notes a request that comes with a password.
    pub(crate) fn note(&mut self, line: &str, authorization: Option<&str>) {
        if authorization.is_some_and(|it| it.starts_with("Basic ")) {
            self.shown.push(line.trim().to_owned());
        }
    }

    /// The answer to who may not, or the token for who asks for one; none to who may go on.
    pub(crate) fn answer(&self, path: &str, authorization: Option<&str>) -> Option<Response> {
        let password = authorization.filter(|it| it.starts_with("Basic "));
        if path == "/token" {
            return Some(match password {
                Some(it) if it == self.login => grant("ours"),
                Some(_) => refusal(None),
                None => grant("anybodys"),
            });
        }
        let repository = path.trim_start_matches("/v2/");
        let repository =
            ["/manifests/", "/blobs/", "/tags/"].iter().fold(repository, |it, end| it.split(end).next().unwrap());
        let public = self.public.contains(repository);
        let (allowed, challenge) = match self.kind {
            Kind::Basic => {
                let allowed = authorization == Some(self.login.as_str()) || (authorization.is_none() && public);
                (allowed, r#"Basic realm="fake""#.to_owned())
            }
            Kind::Bearer => {
                let allowed =
                    authorization == Some("Bearer ours") || (authorization == Some("Bearer anybodys") && public);
                let scope = format!("repository:{repository}:pull");
                (allowed, format!(r#"Bearer realm="{}/token",service="fake",scope="{scope}""#, self.realm))
            }
        };
        (!allowed).then(|| refusal(Some(&challenge)))
    }
}

fn grant(token: &str) -> Response {
    Response::new(Body::from(format!(r#"{{"token":"{token}","expires_in":300}}"#)))
}

fn refusal(challenge: Option<&str>) -> Response {
    let response = Response::builder().status(401);
    let response = match challenge {
        Some(challenge) => response.header("www-authenticate", challenge),
        None => response,
    };
    response.body(Body::empty()).unwrap()
}
