//! Replays the corpus of each target, and mutations of it that a seed decides.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::*;

/// Seeds of one target in a run of the tests: each is one input, about two seconds' worth.
fn seeds(otherwise: u64) -> std::ops::Range<u64> {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = variable("FUZZ_FIRST").unwrap_or(0);
    first..first + variable("FUZZ_RUNS").unwrap_or(otherwise)
}

/// The corpus of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    let mut corpus: Vec<_> = files.map(read).collect();
    corpus.sort();
    assert!(corpus.len() > 5, "{target} has hardly any corpus");
    corpus
}

fn replay(target: &str, runs: u64, hold: impl Fn(&[u8])) {
    let corpus = corpus(target);
    let holds = |told: &dyn Fn() -> String, input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hold(input))) {
            eprintln!("{}\nthe input: {}", told(), input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    };
    for (name, input) in &corpus {
        holds(&|| name.clone(), input);
    }
    for seed in seeds(runs) {
        let told = || format!("FUZZ_FIRST={seed} FUZZ_RUNS=1 cargo test --lib fuzz");
        holds(&told, &mutated(&corpus, &mut fastrand::Rng::with_seed(seed)));
    }
}

/// One of the corpus, changed in a few places.
fn mutated(corpus: &[(String, Vec<u8>)], random: &mut fastrand::Rng) -> Vec<u8> {
    let pick = |random: &mut fastrand::Rng| corpus[random.usize(..corpus.len())].1.clone();
    let mut input = pick(random);
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=input.len());
        let end = at + random.usize(..=(input.len() - at).min(64));
        match random.u8(..8) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => input[at..end].fill(if random.bool() { 0xff } else { 0 }),
            3 => drop(input.drain(at..end)),
            4 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            5 => input.truncate(at),
            6 => {
                let other = pick(random);
                let from = random.usize(..=other.len());
                input.splice(at..end, other[from..].iter().copied());
            }
            _ => input.insert(at, *random.choice(b"\0\x01\x7f\x80\xff\"\\{}[]:,0e-\n\x1f\x8b").unwrap()),
        }
    }
    input
}

#[test]
fn the_decoder_of_aggregates_neither_panics_nor_loses_a_byte() {
    replay("aggregate", 30_000, aggregate);
}

#[test]
fn the_decoder_of_replies_neither_panics_nor_loses_a_byte() {
    let canned = Canned::new().unwrap();
    replay("reply", 600, |data| reply(&canned, data));
}

#[test]
fn the_readers_of_the_archive_neither_panic_nor_lose_a_byte() {
    replay("line", 300, line);
}
