//! The store after power losses: what was written lately is there in part, or torn, or not at all, in any combination. It
//! is never served, and filled again in the same response (P5, P11).
//!
//! A kill leaves what the kernel knows; a power loss also takes that, in no order. So each round kills the program and
//! then does to random files what a file system without `fsync` may have done.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    crashes::{Dice, Pulled, World, from_env},
    fake::Fault,
    proxy::files,
};

const ROUNDS: u64 = 20;

/// What a file may be after a power loss.
fn lose(path: &Path, dice: &mut Dice) {
    let Ok(file) = File::options().read(true).write(true).open(path) else { return };
    let len = file.metadata().unwrap().len();
    let at = dice.below(len.max(1));
    match dice.below(7) {
        // Never written back: a page, some pages, all.
        0 => zero(&file, at / 4096 * 4096, 4096.min(len)),
        1 => (0..5).for_each(|_| zero(&file, dice.below(len.max(1)) / 4096 * 4096, 4096.min(len))),
        2 => {
            file.set_len(0).unwrap();
            file.set_len(len).unwrap();
        }
        // The size was not either.
        3 => file.set_len(at).unwrap(),
        4 => file.set_len(0).unwrap(),
        // Renamed, or made, and that was not written back.
        5 => fs::remove_file(path).unwrap(),
        // Written over, in part.
        _ => file.write_all_at(&[0xa5; 64][..usize::try_from(len.min(64)).unwrap()], at.saturating_sub(64)).unwrap(),
    }
}

fn zero(file: &File, at: u64, len: u64) {
    let end = file.metadata().unwrap().len();
    file.write_all_at(&vec![0; usize::try_from(len.min(end.saturating_sub(at))).unwrap()], at).unwrap();
}

/// The rename of a blob is undone, and that of its checksums is not; or a blob on its way has another's checksums.
fn mix_up(store: &Path, dice: &mut Dice) {
    let blobs = files(&store.join("blobs"));
    let sums: Vec<_> = blobs.iter().filter(|path| path.extension().is_some_and(|end| end == "sums")).collect();
    if let Some(one) = sums.get(dice.index(sums.len().max(1))) {
        let other = sums[dice.index(sums.len())];
        match dice.below(3) {
            0 => drop(fs::remove_file(one.with_extension(""))),
            1 => drop(fs::copy(other, one)),
            _ => {
                let blob = one.with_extension("");
                let name = format!("fill-sha256-{}", blob.file_name().unwrap().display());
                let _ = fs::rename(&blob, store.join("tmp").join(&name));
                let _ = fs::copy(one, store.join("tmp").join(format!("{name}.sums")));
            }
        }
    }
}

/// Pulls some blobs, cuts the power, and loses something of each second file.
async fn power_loss(world: &Arc<World>, dice: &mut Dice) {
    world.fake.mend();
    world.fake.fault("GET", Fault::Slow(3 + dice.below(10)), 2);
    let running = world.start().await;
    let mut pulls = JoinSet::new();
    for _ in 0..6 {
        pulls.spawn(Arc::clone(world).pull(running.url().to_owned(), dice.index(world.blobs.len())));
    }
    for _ in 0..dice.below(4) {
        pulls.join_next().await;
    }
    tokio::time::sleep(Duration::from_millis(dice.below(50))).await;
    drop(running);
    pulls.join_all().await;
    for folder in ["blobs", "tmp"] {
        for path in files(&world.store().join(folder)) {
            if dice.below(2) == 0 {
                lose(&path, dice);
            }
        }
    }
    mix_up(&world.store(), dice);
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_after_a_power_loss_nothing_torn_is_served_and_everything_can_be_had() {
    let (world, mut dice) = (World::new(9).await, Dice::new(9));
    let mut damaged = 0;
    for round in 0..from_env("TIDEPOOL_CRASHES").unwrap_or(ROUNDS) {
        power_loss(&world, &mut dice).await;
        world.fake.mend();
        let running = world.start().await;
        let mut pulls = JoinSet::new();
        for blob in 0..world.blobs.len() {
            // Two at a time find the same damage.
            for _ in 0..2 {
                pulls.spawn(Arc::clone(&world).pull(running.url().to_owned(), blob));
            }
        }
        let ends = pulls.join_all().await;
        assert!(ends.iter().all(|end| *end == Pulled::Right), "round {round}: {ends:?}\n{}", world.log());
        damaged += world.log().matches("is damaged").count();
    }
    world.settles().await;
    println!("{damaged} times damage was found");
    assert!(damaged > 0, "nothing was ever damaged");
}
