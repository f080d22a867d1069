//! Whether a silent child lacks nothing but a processor. On a node that is overloaded its threads wait in the queue for
//! seconds, and to kill it then would cut the streams that it serves and make the load worse. One that is stopped or
//! stuck does not wait for a processor, and one that runs in circles uses it up.

use std::{fs, path::PathBuf, time::Duration};

/// Whoever had so much processor time since it fell silent had its chance.
const CHANCE: Duration = Duration::from_secs(1);
/// The unit of processor time in `/proc`: 100 a second on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// Looks at a child while it is silent.
#[derive(Debug)]
pub(super) struct Hunger {
    threads: PathBuf,
    /// The processor time that it had used when it fell silent.
    before: Option<Duration>,
}

impl Hunger {
    pub(super) fn of(id: i32) -> Self {
        Self { threads: format!("/proc/{id}/task").into(), before: None }
    }

    /// It said something.
    pub(super) fn is_stilled(&mut self) {
        self.before = None;
    }

    /// Whether it would run if it could. Where that is not to be known it is no excuse.
    pub(super) fn is_felt(&mut self) -> bool {
        let Ok(threads) = fs::read_dir(&self.threads) else { return false };
        let stat = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        let (mut waits, mut used) = (false, Duration::ZERO);
        for thread in stat.filter_map(|stat| Thread::parse(&stat)) {
            waits |= thread.runs;
            used += thread.used;
        }
        let before = *self.before.get_or_insert(used);
        waits && used.saturating_sub(before) < CHANCE
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Thread {
    /// Whether it runs, or waits to.
    runs: bool,
    /// Its processor time.
    used: Duration,
}

impl Thread {
    /// From `/proc/<process>/task/<thread>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        // The name is in brackets, and may have anything in it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let runs = fields.next()? == "R";
        let mut ticks = fields.skip(10).map(|field| field.parse::<u32>().ok());
        Some(Self { runs, used: TICK * ticks.next()?? + TICK * ticks.next()?? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{
        process::{Child, Command},
        thread::sleep,
        time::Instant,
    };

    #[test]
    fn a_thread_is_read_whatever_its_name() {
        let stat = "12 (a) R (b) S 1 12 12 0 -1 4194304 900 0 0 0 250 30 0 0 20 0 3 0 81 1 2 3";
        assert_eq!(Thread::parse(stat), Some(Thread { runs: false, used: Duration::from_millis(2800) }));
        assert_eq!(Thread::parse("12 (a) R 1"), None);
        assert_eq!(Thread::parse(""), None);
    }

    /// A process that is ended with the test.
    struct Process(Child);

    impl Process {
        fn start(script: &str) -> (Self, Hunger) {
            let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let hunger = Hunger::of(child.id().cast_signed());
            (Self(child), hunger)
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn await_felt(hunger: &mut Hunger, felt: bool) {
        let began = Instant::now();
        while hunger.is_felt() != felt {
            assert!(began.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn n6_one_that_runs_in_circles_has_its_chance_and_no_more() {
        let (_process, mut hunger) = Process::start("while :; do :; done");
        await_felt(&mut hunger, true);
        await_felt(&mut hunger, false);
        assert!(!hunger.is_felt());
        hunger.is_stilled();
        await_felt(&mut hunger, true);
    }

    #[test]
    fn n6_one_that_is_stopped_or_waits_for_something_else_needs_no_processor() {
        let (_process, mut hunger) = Process::start("kill -s STOP $$");
        await_felt(&mut hunger, false);
        assert!(!hunger.is_felt());
        let (_process, mut hunger) = Process::start("exec sleep 600");
        await_felt(&mut hunger, false);
        assert!(!hunger.is_felt());
        assert!(!Hunger::of(i32::MAX).is_felt(), "nobody is there");
    }
}
