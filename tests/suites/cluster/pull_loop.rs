//! A node that pulls over and over while a test changes things around it: how often, what failed, and the longest pull.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidepool_tests::Cluster;

/// How long a step may take to see a pull begin and end after it: more than a slow one, and more than a hung one too.
const NEXT_PULL: Duration = Duration::from_secs(200);
/// How much longer than usual a pull may take, in a step that should hold up none. Twice what finding out costs at worst.
const LONGER: Duration = Duration::from_secs(20);
/// Usual is so many times what half of the pulls of the loop take: how long that is, is the machine's and its other load's.
const USUAL: u32 = 4;
/// A loop with so many failures has shown enough.
const ENOUGH: usize = 5;

/// What a loop has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Pulls that ended well.
    pub(crate) pulls: usize,
    /// The longest of them.
    pub(crate) longest: Duration,
    /// Those that failed: which one, after how long, and what containerd said.
    pub(crate) failures: Vec<String>,
    longest_of_step: Duration,
    took: Vec<Duration>,
}

impl Seen {
    /// What half of all pulls took at most.
    fn median(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or_default()
    }
}

/// A loop under way.
#[derive(Debug)]
pub(crate) struct PullLoop<'a> {
    cluster: &'a Cluster,
    node: usize,
    image: &'a str,
    stopped: AtomicBool,
    held: AtomicBool,
    /// Taken for the time of one pull.
    pulling: Mutex<()>,
    seen: Mutex<Seen>,
}

/// Pulls `image` on a node, forgets it, and pulls again, for as long as `act` runs. A failure ends the test.
pub(crate) fn while_pulling<T>(
    cluster: &Cluster,
    node: usize,
    image: &str,
    act: impl FnOnce(&PullLoop<'_>) -> T,
) -> (T, Seen) {
    let pulls = PullLoop {
        cluster,
        node,
        image,
        stopped: AtomicBool::new(false),
        held: AtomicBool::new(false),
        pulling: Mutex::new(()),
        seen: Mutex::new(Seen::default()),
    };
    let result = std::thread::scope(|scope| {
        scope.spawn(|| pulls.run());
        // Also when `act` panics, or the scope would wait for ever.
        let _stop = Stop(&pulls.stopped);
        let result = act(&pulls);
        pulls.await_next();
        result
    });
    pulls.assert_none_failed("the end");
    (result, pulls.seen())
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl PullLoop<'_> {
    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Runs one step of a test, waits for a pull that began after it, and fails if any pull has failed so far or one of
    /// this step was held up.
    pub(crate) fn step<T>(&self, what: &str, act: impl FnOnce() -> T) -> T {
        self.slow_step(what, Duration::ZERO, act)
    }

    /// The same, where a pull may be held up for so long.
    pub(crate) fn slow_step<T>(&self, what: &str, held_up: Duration, act: impl FnOnce() -> T) -> T {
        let (started, before) = (Instant::now(), self.seen().pulls);
        lock(&self.seen).longest_of_step = Duration::ZERO;
        let result = act();
        let took = started.elapsed();
        self.await_next();
        self.assert_none_failed(what);
        let seen = self.seen();
        let (pulls, longest, most) = (seen.pulls, seen.longest_of_step, LONGER + seen.median() * USUAL + held_up);
        println!("{what}: {took:.1?}, {} pulls, the longest {longest:.1?}", pulls - before);
        assert!(longest <= most, "{what}: a pull took {longest:.1?}, more than {most:?}\n{}", self.cluster.diagnose());
        result
    }

    /// Runs `act` while no pull is under way: what ends the node's runtime ends its pulls, with and without a mirror.
    pub(crate) fn held<T>(&self, act: impl FnOnce() -> T) -> T {
        self.held.store(true, Ordering::Relaxed);
        let none = lock(&self.pulling);
        let result = act();
        drop(none);
        self.held.store(false, Ordering::Relaxed);
        result
    }

    /// Waits for a pull that began after this call to end, well or not.
    pub(crate) fn await_next(&self) {
        let ended = || {
            let seen = self.seen();
            seen.pulls + seen.failures.len()
        };
        // The first to end may have begun before.
        let wanted = ended() + 2;
        let next = || Ok(ended() >= wanted || self.seen().failures.len() >= ENOUGH);
        let what = format!("further pull of {} on node{}", self.image, self.node);
        self.cluster.wait_until(NEXT_PULL, &what, next).unwrap();
    }

    /// Fails with all that failed.
    pub(crate) fn assert_none_failed(&self, what: &str) {
        let Seen { pulls, failures, .. } = self.seen();
        let count = failures.len();
        assert!(
            failures.is_empty(),
            "{what}: of {} pulls {count} failed\n{}\n{}",
            pulls + count,
            failures.join("\n"),
            self.cluster.diagnose()
        );
    }

    fn run(&self) {
        while !self.stopped.load(Ordering::Relaxed) && self.seen().failures.len() < ENOUGH {
            if self.held.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let _pulling = lock(&self.pulling);
            self.pull();
        }
    }

    fn pull(&self) {
        let started = Instant::now();
        let pulled = self.cluster.pull(self.node, self.image);
        let took = started.elapsed();
        let forgotten = pulled.and_then(|()| self.cluster.remove_image(self.node, self.image));
        let mut seen = lock(&self.seen);
        match forgotten {
            Ok(()) => {
                seen.pulls += 1;
                seen.took.push(took);
                seen.longest = seen.longest.max(took);
                seen.longest_of_step = seen.longest_of_step.max(took);
            }
            Err(error) => {
                let number = seen.pulls + seen.failures.len() + 1;
                seen.failures.push(format!("pull {number}, after {took:.1?}: {error:#}"));
            }
        }
    }
}

/// A thread that panicked leaves what it had counted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
