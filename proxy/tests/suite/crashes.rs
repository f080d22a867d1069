//! The store under kill -9 at any instant, of the program itself: the next process serves nothing wrong, waits for nothing,
//! goes on with what is there, and nothing piles up (P11).
//!
//! `TIDEPOOL_CRASHES=5000` runs so many instead of the suite's; `TIDEPOOL_SEED` repeats the choices of a run.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tempfile::TempDir;
use tidepool_oci::Digest;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    fake::{Fake, Fault, noise},
    program::{Running, program},
    proxy::files,
};

/// Worlds that crash side by side: most of a crash is waiting.
const WORLDS: u64 = 4;
const ROUNDS: u64 = 25;
/// Less than all blobs together, so that some are always on their way out.
const LIMIT: u64 = 12_000_000;
const MIB: usize = 1 << 20;

/// Choices that can be made again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(world: u64) -> Self {
        let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
        let seed = from_env("TIDEPOOL_SEED").unwrap_or_else(now);
        println!("TIDEPOOL_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (world + 1))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

pub(crate) fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// An upstream, a store, and the program between them.
pub(crate) struct World {
    pub(crate) fake: Fake,
    dir: TempDir,
    pub(crate) blobs: Vec<(Digest, Bytes)>,
    client: reqwest::Client,
}

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    Right,
    /// It was told that it has not got it, or not all of it.
    Broken,
}

impl World {
    pub(crate) async fn new(world: u64) -> Arc<Self> {
        tidepool_runtime::install_crypto();
        let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
        let sizes = [5 * MIB + 1, 4 * MIB, 3 * MIB + 7, 2 * MIB, MIB + 1, MIB, 70_000, 3_000, 1];
        let blobs = (world * 100..).zip(sizes).map(|(seed, size)| noise(size, seed));
        let blobs = blobs.map(|bytes| (fake.blob(bytes.clone()), bytes)).collect();
        let text = format!(
            "listen: 127.0.0.1:0\nstorage: {{path: {}, limit: {LIMIT}}}\nupstreams: [{{registry: docker.io, url: \"{}\"}}]\n",
            dir.path().join("store").display(),
            fake.url()
        );
        std::fs::write(dir.path().join("proxy.yaml"), text).unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Arc::new(Self { fake, dir, blobs, client })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// What the last process logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) async fn start(self: &Arc<Self>) -> Running {
        let config = self.dir.path().join("proxy.yaml");
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let start = move || Running::spawn(program().arg("--config").arg(config).stderr(log));
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    /// Pulls a blob; all of a whole answer is compared.
    pub(crate) async fn pull(self: Arc<Self>, url: String, blob: usize) -> Pulled {
        let (digest, bytes) = &self.blobs[blob];
        let asked = Instant::now();
        let answer = self.client.get(format!("{url}/v2/a/b/blobs/{digest}")).send().await;
        let got = match answer {
            Ok(answer) if answer.status() == 200 => {
                assert_eq!(answer.content_length(), Some(bytes.len() as u64), "blob {blob}");
                answer.bytes().await
            }
            Ok(_) => return Pulled::Broken,
            Err(error) => Err(error),
        };
        assert!(asked.elapsed() < Duration::from_secs(50), "blob {blob} blocks");
        let Ok(got) = got else { return Pulled::Broken };
        assert!(got == bytes, "blob {blob}: wrong bytes");
        Pulled::Right
    }

    /// Pulls all blobs, and waits until what is left in the store is what may be.
    pub(crate) async fn settles(self: &Arc<Self>) {
        self.fake.mend();
        let running = self.start().await;
        for blob in 0..self.blobs.len() {
            assert_eq!(Arc::clone(self).pull(running.url().to_owned(), blob).await, Pulled::Right, "blob {blob}");
        }
        let until = Instant::now() + Duration::from_secs(40);
        while let Some(what) = self.piled_up() {
            assert!(Instant::now() < until, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What should not be in the store when nothing is under way.
    fn piled_up(&self) -> Option<String> {
        let left = files(&self.store().join("tmp"));
        let has = |path: &Path| left.iter().any(|other| other == path);
        let paired = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("fill-") && has(&path.with_extension("sums")) && has(&path.with_extension(""))
        };
        let blobs = files(&self.store().join("blobs"));
        let bytes: u64 = blobs.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
        let orphans = blobs.iter().filter(|file| !file.with_extension("").exists()).count();
        if left.iter().all(paired) && bytes <= LIMIT && orphans == 0 {
            return None;
        }
        Some(format!("{left:?}, {bytes} bytes of blobs, {orphans} checksums of none"))
    }
}

/// Starts the program, pulls from it, kills it; says how the pulls ended.
async fn crash(world: &Arc<World>, dice: &mut Dice) -> Vec<Pulled> {
    world.fake.mend();
    for _ in 0..3 {
        let fault = [Fault::Slow(5 + dice.below(20)), Fault::Cut(MIB + dice.index(3 * MIB)), Fault::NoLength];
        world.fake.fault("GET", fault[dice.index(3)].clone(), 1);
    }
    let running = world.start().await;
    let mut pulls = JoinSet::new();
    for _ in 0..4 {
        pulls.spawn(Arc::clone(world).pull(running.url().to_owned(), dice.index(world.blobs.len())));
    }
    // Half of them once something has happened, however slow the machine is.
    let first = if dice.below(2) == 0 { pulls.join_next().await.map(Result::unwrap) } else { None };
    tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
    drop(running); // kill -9
    leave_behind(&world.store().join("tmp"), dice);
    first.into_iter().chain(pulls.join_all().await).collect()
}

/// What a process leaves that is killed while it writes a small file, or begins a blob that nobody asks for again: instants
/// too short to be met by chance.
fn leave_behind(tmp: &Path, dice: &mut Dice) {
    std::fs::write(tmp.join(format!("99.0-{}", dice.below(1000))), "half a tag").unwrap();
    std::fs::write(tmp.join(format!("fill-sha256-{:064x}", dice.below(1000))), "").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_killed_at_any_instant_the_next_process_serves_nothing_wrong_and_nothing_piles_up() {
    let rounds = from_env("TIDEPOOL_CRASHES").map_or(ROUNDS, |all| all.div_ceil(WORLDS));
    let mut worlds = JoinSet::new();
    for number in 0..WORLDS {
        worlds.spawn(async move {
            let (world, mut dice, mut ends) = (World::new(number).await, Dice::new(number), Vec::new());
            for _ in 0..rounds {
                ends.extend(crash(&world, &mut dice).await);
            }
            world.settles().await;
            let asked = world.fake.asked("GET");
            let resumed = asked.iter().filter(|line| line.contains("bytes=") && !line.ends_with("bytes=0-")).count();
            (ends, resumed)
        });
    }
    let (ends, resumed): (Vec<_>, Vec<_>) = worlds.join_all().await.into_iter().unzip();
    let ends = ends.concat();
    let right = ends.iter().filter(|end| **end == Pulled::Right).count();
    println!("{} pulls, {right} of them whole, {resumed:?} asked for a rest", ends.len());
    // Neither killed before anything happened nor after everything had.
    assert!(right > ends.len() / 20 && right < ends.len(), "{right} of {}", ends.len());
    assert!(resumed.iter().sum::<usize>() > 0, "nothing was gone on with");
}
