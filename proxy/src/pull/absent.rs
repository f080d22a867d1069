//! What upstreams said they do not have, remembered briefly.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::Source;
use crate::tasks::lock;

/// Long enough for the retries of one pull, too short for anyone who pushes and then pulls to notice.
const REMEMBER: Duration = Duration::from_secs(3);
/// Beyond it the memory is emptied: a client that asks for nonsense cannot fill ours.
const MOST: usize = 10_000;

/// A brief memory of absences.
#[derive(Debug, Default)]
pub(super) struct Absent(Mutex<HashMap<String, Instant>>);

impl Absent {
    pub(super) fn knows(&self, source: &Source, reference: &str) -> bool {
        lock(&self.0).get(&key(source, reference)).is_some_and(|until| Instant::now() < *until)
    }

    pub(super) fn note(&self, source: &Source, reference: &str) {
        let (mut map, now) = (lock(&self.0), Instant::now());
        if map.len() >= MOST {
            map.retain(|_, until| now < *until);
        }
        if map.len() < MOST {
            map.insert(key(source, reference), now + REMEMBER);
        }
    }
}

/// A space can be in none of the three.
fn key(source: &Source, reference: &str) -> String {
    format!("{} {} {reference}", source.upstream.name(), source.repository)
}
