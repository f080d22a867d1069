//! What upstreams said they do not have, remembered briefly.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::Source;
use crate::tasks::lock;

/// Long enough for the retries of one pull, too short for anyone who pushes and then pulls to notice.
const REMEMBER: Duration = Duration::from_secs(3);
/// Beyond it the memory is emptied: a client that asks for nonsense cannot fill ours.
const MOST: usize = 10_000;

/// A brief memory of absences, by path below the repository: what is no manifest may be a blob.
#[derive(Debug, Default)]
pub(super) struct Absent(Mutex<HashMap<String, Instant>>);

impl Absent {
    pub(super) fn knows(&self, source: &Source, path: &str) -> bool {
        lock(&self.0).get(&key(source, path)).is_some_and(|until| Instant::now() < *until)
    }

    pub(super) fn note(&self, source: &Source, path: &str) {
        let (mut map, now) = (lock(&self.0), Instant::now());
        if map.len() >= MOST {
            map.retain(|_, until| now < *until);
        }
        if map.len() < MOST {
            map.insert(key(source, path), now + REMEMBER);
        }
    }
}

/// A space can be in none of the three.
fn key(source: &Source, path: &str) -> String {
    format!("{} {} {path}", source.upstream.name(), source.repository)
}
