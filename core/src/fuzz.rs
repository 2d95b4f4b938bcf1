//! Fuzzing by a timed loop, as any toolchain can: inputs are changed as the havoc stage of AFL changes them
//! (M. Zalewski, *Technical "whitepaper" for afl-fuzz*, section 6), and those with an outcome that was not seen before
//! are kept to be changed further.
//!
//! `ASOF_FUZZ_SECONDS` says how long each target runs, on inputs that differ each time; `ASOF_SEED` repeats a run.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "for tests: the environment scales them, and they fail by panicking"
)]

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// How long a target runs where nothing else is said, and on which inputs.
const USUAL: Duration = Duration::from_secs(20);
const USUAL_SEED: u64 = 1;
/// What one input may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// No input grows longer, in bytes, and no more are kept.
const LONGEST: usize = 1 << 16;
const MOST_KEPT: usize = 10_000;

/// Numbers at which something changes: lengths, signs, the ends of types.
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    7,
    16,
    100,
    127,
    128,
    255,
    256,
    65_535,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// Runs `target` on inputs that are made of `corpus` and `words`, until the time is over; what it gives back is an
/// input's outcome.
///
/// # Panics
///
/// If `target` does, after telling of the input; the process is aborted by an input that does not end.
pub fn run<O: Hash>(
    name: &str,
    corpus: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    words: &[&str],
    mut target: impl FnMut(&[u8]) -> O,
) {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text: String| text.parse().ok())
    };
    let time = variable("ASOF_FUZZ_SECONDS");
    // Beside other tests, the same each time; what looks for something new says how long.
    let seed: u64 = variable("ASOF_SEED").unwrap_or_else(|| time.map_or(USUAL_SEED, |_| rand::random()));
    let time = time.map_or(USUAL, Duration::from_secs);
    // Past what the test harness keeps for itself, which is lost where a process is aborted.
    let tell = |text: &str| drop(writeln!(std::io::stderr(), "fuzz {name}: {text}"));
    tell(&format!("ASOF_SEED={seed}"));

    let mut kept: Vec<Vec<u8>> = corpus.into_iter().map(Into::into).collect();
    let (given, mut seen, mut runs) = (kept.len(), HashSet::new(), 0_u64);
    let mut random = StdRng::seed_from_u64(seed);
    let current = Mutex::new((Instant::now(), Vec::new()));
    let current = || current.lock().unwrap_or_else(PoisonError::into_inner);
    let is_over = AtomicBool::new(false);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_secs(1));
                let (since, input) = &*current();
                if since.elapsed() > PATIENCE && !is_over.load(Ordering::Relaxed) {
                    tell(&format!("does not end with \"{}\"", input.escape_ascii()));
                    std::process::abort();
                }
            }
        });
        let ended = catch_unwind(AssertUnwindSafe(|| {
            while begin.elapsed() < time {
                // First what was given as it is.
                let input = match kept.get(usize::try_from(runs).unwrap_or(usize::MAX)) {
                    Some(input) if runs < given as u64 => input.clone(),
                    _ => changed(&kept, words, &mut random),
                };
                *current() = (Instant::now(), input.clone());
                let outcome = target(&input);
                runs += 1;
                let mut hasher = DefaultHasher::new();
                outcome.hash(&mut hasher);
                if seen.insert(hasher.finish()) && kept.len() < MOST_KEPT {
                    kept.push(input);
                }
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        if let Err(panic) = ended {
            tell(&format!("fails with \"{}\"", current().1.escape_ascii()));
            resume_unwind(panic);
        }
    });
    tell(&format!("{runs} inputs, {} outcomes", seen.len()));
}

/// What an error says without what it quotes and counts: what tells its kind from others.
pub fn kind_of(message: &str) -> String {
    let unquoted = message.split('"').step_by(2);
    unquoted
        .flat_map(str::chars)
        .filter(|c| !c.is_ascii_digit())
        .collect()
}

/// An input made of one that was kept.
fn changed(kept: &[Vec<u8>], words: &[&str], random: &mut StdRng) -> Vec<u8> {
    let mut input = kept.choose(random).cloned().unwrap_or_default();
    for _ in 0..1 << random.random_range(0..5) {
        change(&mut input, kept, words, random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], words: &[&str], random: &mut StdRng) {
    let from = random.random_range(0..=input.len());
    let to = (from + random.random_range(0..=16)).min(input.len());
    match random.random_range(0..10) {
        0 if from < input.len() => input[from] ^= 1 << random.random_range(0..8),
        1 if from < input.len() => input[from] = random.random(),
        2 => drop(input.drain(from..to)),
        3 => input.truncate(from),
        4 => {
            let part = input[from..to].to_vec();
            let at = random.random_range(0..=input.len());
            input.splice(at..at, part);
        }
        5 | 6 if !words.is_empty() => {
            let word = words.choose(random).copied().unwrap_or_default();
            let to = if random.random() { to } else { from };
            input.splice(from..to, word.bytes());
        }
        7 => {
            let number = NUMBERS.choose(random).copied().unwrap_or_default();
            let width = 1 << random.random_range(0..4);
            let bytes = &number.to_le_bytes()[..width];
            input.splice(from..(from + width).min(input.len()), bytes.iter().copied());
        }
        8 => {
            let number = NUMBERS.choose(random).copied().unwrap_or_default();
            input.splice(from..to, number.to_string().into_bytes());
        }
        _ => {
            let other = kept.choose(random).map_or(&[][..], Vec::as_slice);
            let (begin, end) = (
                random.random_range(0..=other.len()),
                random.random_range(0..=other.len()),
            );
            let part = other[begin.min(end)..begin.max(end)].to_vec();
            input.splice(from..to, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It finds what is hidden behind three conditions, and tells of it by the panic of the target.
    #[test]
    fn what_fails_is_found() {
        let found = catch_unwind(|| {
            run("itself", ["name = 1"], &["feature", "window"], |input| {
                let steps = ["f", "feature", "feature = ", "feature = 9223372036854775807"];
                let text = String::from_utf8_lossy(input);
                let reached = steps.iter().take_while(|step| text.contains(**step)).count();
                assert!(reached < steps.len(), "found");
                reached
            });
        });
        let panic = found.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"found"));
    }
}
