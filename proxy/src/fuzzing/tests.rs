//! Every door for a moment: seeds, what a few changes make of them, and noise.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

/// Inputs for each door.
const ROUNDS: u32 = 3000;
/// The longest that one of them may take, on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(2);

/// A change to an input: where, how much, and with what.
type Change = (u8, prop::sample::Index, usize, u8);

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    std::fs::read_dir(&folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn changed(mut data: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for (kind, index, length, byte) in changes {
        let at = index.index(data.len() + 1);
        let end = (at + length).min(data.len());
        match kind % 5 {
            0 => data.truncate(at),
            1 => data.insert(at, *byte),
            2 => drop(data.drain(at..end)),
            3 => data.iter_mut().skip(at).take(1).for_each(|it| *it ^= byte),
            _ => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
        }
    }
    data
}

fn run(target: &str, door: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(seeds.len() >= 3, "{target} has no seeds");
    seeds.iter().for_each(|seed| door(seed));
    let change = (any::<u8>(), any::<prop::sample::Index>(), 0..20_usize, any::<u8>());
    let mutated = (prop::sample::select(seeds), vec(change, 1..6)).prop_map(|(seed, changes)| changed(seed, &changes));
    let input = prop_oneof![8 => mutated, 1 => vec(any::<u8>(), 0..200)];
    let mut runner = TestRunner::new(Config { cases: ROUNDS, failure_persistence: None, ..Config::default() });
    let result = runner.run(&input, |data| {
        let begun = Instant::now();
        let held = catch_unwind(AssertUnwindSafe(|| door(&data)));
        prop_assert!(held.is_ok(), "{:?}", String::from_utf8_lossy(&data));
        prop_assert!(begun.elapsed() < LONGEST, "it took {:?}", begun.elapsed());
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_path_never_leaves_the_repositories_that_are_mirrored() {
    run("path", super::path);
}

#[test]
fn p7_ranges_lie_within_the_blob_and_are_no_more_than_it() {
    run("range", super::range);
}

#[test]
fn a_challenge_names_a_web_address_or_nothing() {
    run("challenge", super::challenge);
}

#[test]
fn a_manifest_of_any_bytes_is_read_or_not() {
    run("manifest", super::manifest);
}

#[test]
fn p5_checksums_of_any_bytes_are_whole_or_none() {
    run("sums", super::sums);
}

#[test]
fn hosts_digests_and_traces_are_what_they_seem_or_nothing() {
    run("words", super::words);
}
