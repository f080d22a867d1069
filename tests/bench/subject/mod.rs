//! What is measured: a process of its own on a free port of loopback, with a store of its own.

mod agent;
mod distribution;
mod link;
mod nginx;
mod tidepool;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use link::Link;
pub(crate) use nginx::Nginx;
pub(crate) use tidepool::blob_path;

use crate::pull::{Reading, pull};
use crate::table::Who;
use crate::usage::Family;

/// How long a subject may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(3);

/// Where the programs are, and what they mirror.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) tidepool: PathBuf,
    pub(crate) agent: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) distribution: Option<PathBuf>,
    pub(crate) upstream: SocketAddr,
    /// The upstream's content as files, for servers of plain files.
    pub(crate) tree: PathBuf,
    /// Where subjects have their stores.
    pub(crate) folder: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) who: Who,
    pub(crate) address: SocketAddr,
    pub(crate) family: Family,
    /// From its start to its first answer.
    pub(crate) ready_after: Duration,
    process: Running,
    store: PathBuf,
    blob_file: fn(&Path, &str) -> Option<PathBuf>,
}

/// A process that ends with its owner.
#[derive(Debug)]
struct Running(Child);

/// What it takes to start one.
struct Launch {
    who: Who,
    command: Command,
    address: SocketAddr,
    store: PathBuf,
    blob_file: fn(&Path, &str) -> Option<PathBuf>,
    /// What the kernel sends it should this process be killed.
    orphaned: &'static str,
}

impl Programs {
    /// An empty store, wherever one may have been.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let store = self.folder.join(name);
        if store.exists() {
            fs::remove_dir_all(&store).context("cannot remove a store")?;
        }
        fs::create_dir_all(&store).context("cannot make a store")?;
        Ok(store)
    }

    /// Starts a mirror by its name; none where its program is missing.
    pub(crate) fn mirror(&self, who: Who, store: &Path) -> Result<Option<Subject>> {
        match who {
            Who::Tidepool => self.tidepool(store, None).map(Some),
            Who::NginxCache => self.nginx(Nginx::Cache, store),
            Who::Distribution => self.distribution(store),
            _ => bail!("{who:?} is no mirror"),
        }
    }
}

impl Launch {
    fn start(self, folder: &Path) -> Result<Subject> {
        let name = self.who.name();
        let log = File::create(folder.join("log")).context("cannot make a log")?;
        let mut command = Command::new("setpriv");
        command.arg(format!("--pdeathsig={}", self.orphaned)).arg(self.command.get_program());
        command
            .args(self.command.get_args())
            .env_clear()
            .env("HOME", folder)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("OTEL_TRACES_EXPORTER", "none");
        let again = log.try_clone().context("cannot share a log")?;
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(again).spawn();
        let mut process = Running(child.with_context(|| format!("cannot start {name}"))?);
        let ready = process.until_it_answers(self.address);
        if let Err(error) = ready {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(error.context(format!("{name} says: {log}")));
        }
        let ready_after = started.elapsed();
        let family = Family::of(process.0.id());
        let (who, address, store, blob_file) = (self.who, self.address, self.store, self.blob_file);
        Ok(Subject { who, address, family, ready_after, process, store, blob_file })
    }
}

impl Subject {
    /// Where it keeps a blob; none while it does not.
    pub(crate) fn kept(&self, digest: &str) -> Option<PathBuf> {
        (self.blob_file)(&self.store, digest)
    }

    /// Waits until a blob is kept, and says when it was.
    pub(crate) fn until_kept(&self, digest: &str, within: Duration) -> Result<Instant> {
        let deadline = Instant::now() + within;
        while self.kept(digest).is_none() {
            if Instant::now() > deadline {
                bail!("{} does not keep {digest}", self.who.name());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Instant::now())
    }

    /// Has it keep a blob, and checks the bytes it gives away, those of the fill and those that are kept.
    pub(crate) fn warm(&self, path: &str, digest: &str) -> Result<()> {
        for _ in 0..2 {
            let got = pull(self.address, path, Reading::Hash, Duration::from_secs(120));
            let verdict = got.verdict(digest);
            anyhow::ensure!(verdict == "right", "{} answers {path}: {verdict}: {got:?}", self.who.name());
            if self.who == Who::Tidepool {
                self.until_kept(digest, Duration::from_secs(60))?;
            }
        }
        Ok(())
    }

    /// Stops it; what it keeps stays.
    pub(crate) fn stop(self) -> PathBuf {
        drop(self.process);
        self.store
    }
}

impl Running {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }

    fn until_it_answers(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let got = pull(address, "/v2/", Reading::Hash, Duration::from_secs(5));
            if matches!(got.status, 200 | 301 | 403 | 404) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                bail!("it ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("it does not answer: {got:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(pid) = self.pid() else { return };
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + STOP;
        // Looked at without being waited for, so that its number stays its own.
        while Instant::now() < deadline && !has_ended(self.0.id()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = kill_process(pid, Signal::KILL);
        let _ = self.0.wait();
    }
}

fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

/// A port that was free just now.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no free port")
}
