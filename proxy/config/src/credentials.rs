//! Credentials in files: a Docker client's configuration, and lists of users.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tidepool_oci::RegistryName;
use url::Url;

/// A user and a password. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why a Docker client's configuration gives no login for a registry. No text repeats what the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerConfigError {
    /// Not the JSON that `docker login` writes.
    #[error("is no Docker configuration: {{\"auths\": {{...}}}} is expected")]
    Syntax,
    /// No entry for the registry.
    #[error("has no entry for the registry in \"auths\"")]
    NoEntry,
    /// `auth` is no base64 of `user:password`.
    #[error("has an \"auth\" that is no base64 of user:password")]
    Auth,
    /// The entry has no password.
    #[error("has an entry without username and password; identity tokens and credential helpers cannot be used")]
    NoPassword,
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// The login that a Docker client's configuration (`.dockerconfigjson`, `config.json`) has for `registry`.
///
/// Keys may be a name or an address; Docker Hub's is `https://index.docker.io/v1/`.
///
/// # Errors
/// A [`DockerConfigError`].
pub fn docker_login(text: &[u8], registry: &RegistryName) -> Result<Login, DockerConfigError> {
    let config: DockerConfig = serde_json::from_slice(text).map_err(|_| DockerConfigError::Syntax)?;
    let mut entries = config.auths.iter();
    let (_, entry) = entries.find(|(key, _)| names(key, registry)).ok_or(DockerConfigError::NoEntry)?;
    let login = match (&entry.username, &entry.password, &entry.auth) {
        (Some(username), Some(password), _) => Login { username: username.clone(), password: password.clone() },
        (_, _, Some(auth)) if !auth.is_empty() => decoded(auth).ok_or(DockerConfigError::Auth)?,
        _ => return Err(DockerConfigError::NoPassword),
    };
    if login.username.is_empty() || login.password.is_empty() {
        return Err(DockerConfigError::NoPassword);
    }
    Ok(login)
}

/// Whether a key of `auths` means the registry.
fn names(key: &str, registry: &RegistryName) -> bool {
    let address = if key.contains("://") { Url::parse(key) } else { Url::parse(&format!("https://{key}")) };
    let Ok(address) = address else { return false };
    let host = match (address.host_str(), address.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return false,
    };
    let hub = ["index.docker.io", "registry-1.docker.io", "docker.io"].contains(&host.as_str());
    host == registry.as_str() || (registry.is_docker_hub() && hub)
}

fn decoded(auth: &str) -> Option<Login> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Login { username: username.to_owned(), password: password.to_owned() })
}

/// Why a text is no list of users. No text repeats a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// Not UTF-8.
    #[error("is no text")]
    Encoding,
    /// A line that is not `user:hash`.
    #[error("line {line} is not user:hash: make it with `htpasswd -nB <user>`")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// A hash other than bcrypt.
    #[error("line {line} has no bcrypt hash ($2y$...): make it with `htpasswd -nB <user>`")]
    Hash {
        /// Its number, from 1.
        line: usize,
    },
    /// One user twice.
    #[error("line {line} names a user that is named before")]
    Twice {
        /// Its number, from 1.
        line: usize,
    },
    /// No user at all.
    #[error("names no user: add one with `htpasswd -nB <user>`")]
    Empty,
}

/// The users of an htpasswd text and the bcrypt hashes of their passwords; empty lines and `#` comments are left out.
///
/// # Errors
/// A [`UsersError`] that names the line.
pub fn users(text: &[u8]) -> Result<BTreeMap<String, String>, UsersError> {
    let text = std::str::from_utf8(text).map_err(|_| UsersError::Encoding)?;
    let mut users = BTreeMap::new();
    for (line, text) in text.lines().enumerate().map(|(index, text)| (index + 1, text.trim())) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let entry = text.split_once(':').filter(|(user, hash)| !user.is_empty() && !hash.is_empty());
        let (user, hash) = entry.ok_or(UsersError::Line { line })?;
        if !is_bcrypt(hash) {
            return Err(UsersError::Hash { line });
        }
        if users.insert(user.to_owned(), hash.to_owned()).is_some() {
            return Err(UsersError::Twice { line });
        }
    }
    if users.is_empty() { Err(UsersError::Empty) } else { Ok(users) }
}

/// `$2a$`, `$2b$`, `$2x$` or `$2y$`, two digits of cost, 53 characters of salt and hash.
fn is_bcrypt(hash: &str) -> bool {
    let rest = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|start| hash.strip_prefix(start));
    let Some((cost, salted)) = rest.and_then(|rest| rest.split_once('$')) else { return false };
    // Above 16 a single check takes seconds: more a weapon than a lock.
    let sound_cost = cost.len() == 2 && cost.parse::<u32>().is_ok_and(|cost| (4..=16).contains(&cost));
    let character = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    sound_cost && salted.len() == 53 && salted.bytes().all(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, registry: &str) -> Result<(String, String), DockerConfigError> {
        docker_login(text.as_bytes(), &registry.parse().unwrap()).map(|login| (login.username, login.password))
    }

    #[test]
    fn an_entry_is_found_by_name_and_by_address() {
        let ok = Ok(("u".to_owned(), "p:w".to_owned()));
        for key in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "index.docker.io"] {
            assert_eq!(login(&format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnc="}}}}}}"#), "docker.io"), ok, "{key}");
        }
        for key in ["reg.example.com:5000", "https://reg.example.com:5000", "https://reg.example.com:5000/v2/"] {
            let text = format!(r#"{{"auths":{{"ghcr.io":{{}},"{key}":{{"username":"u","password":"p:w"}}}}}}"#);
            assert_eq!(login(&text, "reg.example.com:5000"), ok, "{key}");
        }
    }

    #[test]
    fn what_gives_no_login_says_why_and_nothing_else() {
        let entry = |entry: &str| login(&format!(r#"{{"auths":{{"ghcr.io":{entry}}}}}"#), "ghcr.io").unwrap_err();
        assert_eq!(login("secret", "ghcr.io"), Err(DockerConfigError::Syntax));
        assert_eq!(login(r#"{"auths":{"quay.io":{"auth":"dTpw"}}}"#, "ghcr.io"), Err(DockerConfigError::NoEntry));
        assert_eq!(entry(r#"{"auth":"!"}"#), DockerConfigError::Auth);
        assert_eq!(entry("{}"), DockerConfigError::NoPassword);
        assert_eq!(entry(r#"{"identitytoken":"x","auth":""}"#), DockerConfigError::NoPassword);
    }

    #[test]
    fn a_password_shows_in_no_log() {
        let login = Login { username: "u".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{login:?}").contains("secret"));
    }

    #[test]
    fn users_are_read_and_wrong_lines_named() {
        let hash = format!("$2y$05${}", "a".repeat(53));
        let list = users(format!("# ours\n\nalice:{hash}\nbob:{hash}\n").as_bytes()).unwrap();
        assert_eq!(list.keys().collect::<Vec<_>>(), ["alice", "bob"]);
        assert_eq!(users(b"# none\n"), Err(UsersError::Empty));
        assert_eq!(users(format!("a:{hash}\nb\n").as_bytes()), Err(UsersError::Line { line: 2 }));
        assert_eq!(users(b"a:$apr1$x$y\n"), Err(UsersError::Hash { line: 1 }));
        assert_eq!(users(format!("a:{hash}\na:{hash}\n").as_bytes()), Err(UsersError::Twice { line: 2 }));
        assert_eq!(users(b"a:$2y$31$x"), Err(UsersError::Hash { line: 1 }));
    }
}
