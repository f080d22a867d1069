//! Checking passwords: bcrypt, which is slow on purpose, as seldom as can be.
//!
//! What a check found is remembered by a keyed hash of user, password and the user's entry in the list: a changed entry
//! is another key, so nothing outlives a change of the list, and no password can be read from memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{hmac, rand::SystemRandom};
use tidepool_config::Login;
use tokio::{sync::Semaphore, time::Instant};

use super::recent::Recent;
use crate::{
    error::ApiError,
    metrics::Metrics,
    tasks::{Flights, Tasks, lock},
};

/// Checks at once: each is a core for about a tenth of a second.
const MOST_CHECKS: usize = 2;
/// Checks that run or wait; more are turned away, for the last would wait longer than a client does.
const MOST_WAITING: usize = 64;
/// How long a check may wait for its turn, within the deadline of an answer (P1).
const STARTED_WITHIN: Duration = Duration::from_secs(5);
/// Logins remembered as right; only right ones are among them, so nobody can push out another's by guessing.
const MOST_RIGHT: usize = 4096;
/// Logins remembered as wrong: clients that try again and again with what they have.
const MOST_WRONG: usize = 1024;
/// A hash that no password has, but for the cost in front of it.
const NOBODY: &str = ".....................................................";

type Key = [u8; 32];

/// Checks logins against a list of users.
pub(crate) struct Logins {
    secret: hmac::Key,
    right: Arc<Mutex<Recent<Key>>>,
    wrong: Arc<Mutex<Recent<Key>>>,
    flights: Flights<Key, Option<bool>>,
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
    metrics: Metrics,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

impl Logins {
    pub(crate) fn new(metrics: Metrics, tasks: &Tasks) -> Result<Self, NoRandomness> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandomness)?;
        Ok(Self {
            secret,
            right: Arc::new(Mutex::new(Recent::new(MOST_RIGHT))),
            wrong: Arc::new(Mutex::new(Recent::new(MOST_WRONG))),
            flights: Flights::new(tasks.clone()),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            running: Arc::new(Semaphore::new(MOST_CHECKS)),
            metrics,
        })
    }

    /// Whether `login` is that of a user; of a user that does not exist it takes as long to say no.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when too many passwords are being checked.
    pub(crate) async fn check(&self, users: &BTreeMap<String, String>, login: &Login) -> Result<bool, ApiError> {
        let known = users.get(&login.username);
        let hash = known.cloned().unwrap_or_else(|| nobody(users));
        let key = self.key(login, &hash);
        // Unknown users are never among the right: no password has their hash.
        if lock(&self.right).holds(&key) {
            return Ok(true);
        }
        if lock(&self.wrong).holds(&key) {
            return Ok(false);
        }
        let is_known = known.is_some();
        let checked = self.flights.join(key, || self.checked(key, is_known, login.password.clone(), hash));
        checked.await.flatten().ok_or(ApiError::Busy)
    }

    /// Checks a password and remembers what came of it; `None` when too many wait.
    fn checked(
        &self,
        key: Key,
        is_known: bool,
        password: String,
        hash: String,
    ) -> impl Future<Output = Option<bool>> + Send + 'static {
        let (right, wrong, metrics) = (Arc::clone(&self.right), Arc::clone(&self.wrong), self.metrics.clone());
        let (waiting, running) = (Arc::clone(&self.waiting), Arc::clone(&self.running));
        async move {
            let _place = waiting.try_acquire().ok()?;
            let _slot = tokio::time::timeout(STARTED_WITHIN, running.acquire()).await.ok()?.ok()?;
            metrics.password_check();
            let begun = Instant::now();
            let matches = tokio::task::spawn_blocking(move || matches(&password, &hash)).await.ok()?;
            if matches && is_known {
                lock(&right).note(key);
                return Some(true);
            }
            lock(&wrong).note(key);
            // Guessing costs the guesser time, and us half of what it could.
            tokio::time::sleep(begun.elapsed()).await;
            Some(false)
        }
    }

    fn key(&self, login: &Login, hash: &str) -> Key {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in [&login.username, hash, &login.password] {
            // Each with its length, so that no two logins run together into one text.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = Key::default();
        key.copy_from_slice(context.sign().as_ref());
        key
    }
}

/// Whether a password has that hash. Slow, and blocks.
fn matches(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or_else(|error| {
        tracing::warn!(%error, "a user's bcrypt hash cannot be used");
        false
    })
}

/// A hash as costly as the users' that no password has.
fn nobody(users: &BTreeMap<String, String>) -> String {
    // `$2y$10$...`: the two digits are the cost, by which others than the dearest may still be told from nobody.
    let cost = users.values().filter_map(|hash| hash.get(4..6)).max().unwrap_or("10");
    format!("$2y${cost}${NOBODY}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `htpasswd -B -C 4` makes it.
    fn list(users: &[(&str, &str)]) -> BTreeMap<String, String> {
        users.iter().map(|(user, password)| ((*user).to_owned(), bcrypt::hash(password, 4).unwrap())).collect()
    }

    fn login(username: &str, password: &str) -> Login {
        Login { username: username.to_owned(), password: password.to_owned() }
    }

    fn logins() -> (Arc<Logins>, Metrics) {
        let metrics = Metrics::default();
        (Arc::new(Logins::new(metrics.clone(), &Tasks::default()).unwrap()), metrics)
    }

    #[tokio::test]
    async fn right_and_wrong_logins_are_each_hashed_once() {
        let (logins, metrics) = logins();
        let users = list(&[("alice", "secret"), ("bob", "other")]);
        for (user, password, expected) in [
            ("alice", "secret", true),
            ("alice", "other", false),
            ("alice", "", false),
            ("carol", "secret", false),
            ("", "secret", false),
        ] {
            for _ in 0..3 {
                assert_eq!(logins.check(&users, &login(user, password)).await.unwrap(), expected, "{user} {password}");
            }
        }
        assert_eq!(metrics.password_checks(), 5);
    }

    #[tokio::test]
    async fn a_changed_entry_is_checked_anew_and_an_unchanged_one_is_not() {
        let (logins, metrics) = logins();
        let mut users = list(&[("alice", "secret"), ("bob", "other")]);
        assert!(logins.check(&users, &login("alice", "secret")).await.unwrap());
        assert!(logins.check(&users, &login("bob", "other")).await.unwrap());
        assert!(!logins.check(&users, &login("bob", "new")).await.unwrap());
        users.extend(list(&[("bob", "new")]));
        assert!(!logins.check(&users, &login("bob", "other")).await.unwrap());
        assert!(logins.check(&users, &login("bob", "new")).await.unwrap());
        assert_eq!(metrics.password_checks(), 5);
        users.remove("alice");
        assert!(!logins.check(&users, &login("alice", "secret")).await.unwrap());
        assert!(logins.check(&users, &login("bob", "new")).await.unwrap());
        assert_eq!(metrics.password_checks(), 6);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_with_one_login_costs_one_check_and_a_crowd_of_guesses_is_turned_away() {
        let (logins, metrics) = logins();
        let users = list(&[("alice", "secret")]);
        let crowd = |password: fn(usize) -> String| {
            (0..1000).map(password).map(|password| {
                let (logins, users) = (Arc::clone(&logins), users.clone());
                tokio::spawn(async move { logins.check(&users, &login("alice", &password)).await })
            })
        };
        for one in crowd(|_| "secret".to_owned()).collect::<Vec<_>>() {
            assert!(one.await.unwrap().unwrap());
        }
        assert_eq!(metrics.password_checks(), 1);
        let answers = futures::future::join_all(crowd(|n| n.to_string())).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().any(Result::is_err));
        assert!(!answers.iter().any(|answer| matches!(answer, Ok(true))));
        assert!(logins.check(&users, &login("alice", "secret")).await.unwrap(), "who is known is not held up");
    }

    #[test]
    fn nobody_is_as_costly_as_the_dearest_user_and_has_no_password() {
        let users = list(&[("alice", "secret")]);
        assert!(nobody(&users).starts_with("$2y$04$"));
        assert!(bcrypt::verify("", &nobody(&users)).is_ok_and(|matches| !matches));
    }
}
