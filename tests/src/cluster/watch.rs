//! What happens to objects, change by change: a look every now and then misses what is soon over, on a slow machine above
//! all.

use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Cluster;

/// How long the first object may take.
const BEGIN: Duration = Duration::from_secs(60);

/// A watch of some objects that goes on until this is dropped.
#[derive(Debug)]
pub struct Watch {
    kubectl: Child,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Cluster {
    /// Watches what `kubectl get` shows with these arguments, which must be an object at least; returns when one is seen.
    pub fn watch(&self, args: &[&str]) -> Result<Watch> {
        // It ends with `nsenter`, which starts it in the cluster and knows no better.
        let get = ["--pdeathsig", "KILL", "kubectl", "get", "--watch", "--output-watch-events", "-o", "json"];
        let command = self.interactive("setpriv", &[&get[..], args].concat())?;
        let watch = Watch::start(command).with_context(|| format!("cannot watch {}", args.join(" ")))?;
        self.wait_until(BEGIN, "first object of a watch", || Ok(!watch.seen().is_empty()))?;
        Ok(watch)
    }
}

impl Watch {
    fn start(mut command: Command) -> Result<Self> {
        let mut kubectl = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let seen = Arc::default();
        let output = kubectl.stdout.take().context("a pipe is missing")?;
        let into = Arc::clone(&seen);
        // It ends with the pipe, and with what is cut at its end.
        std::thread::spawn(move || collect(output, &into));
        Ok(Self { kubectl, seen })
    }

    /// What was seen so far, in order: `{"type": "ADDED", "object": {...}}` and so on, first what was there before.
    pub fn seen(&self) -> Vec<Value> {
        lock(&self.seen).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn collect(output: ChildStdout, into: &Mutex<Vec<Value>>) {
    for event in serde_json::Deserializer::from_reader(output).into_iter() {
        let Ok(event) = event else { return };
        lock(into).push(event);
    }
}

fn lock(seen: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
