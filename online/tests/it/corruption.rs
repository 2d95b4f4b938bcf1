//! I18: damage is named, never served.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use asof_core::online::conformance::{address, key, order, row};
use asof_core::online::{Counts, Generation, OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_online::{Durability, RocksOptions, RocksStore};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;

const KEYS: i64 = 120;
const VIEWS: [&str; 2] = ["v", "w"];
const NOW: Timestamp = Timestamp::from_micros(1_000);

/// The durability under which also a log that lost its end is an error.
fn options() -> RocksOptions {
    RocksOptions {
        durability: Durability::Sync,
        ..harness::options()
    }
}

/// Rows in tables, in the log, and rows and pending rows over each other.
fn build(path: &Path) {
    for round in 0..4 {
        // Opening writes what is in the log into tables.
        let store = RocksStore::open(path, &options()).unwrap();
        for view in VIEWS {
            if round == 0 {
                harness::serving(&store, view);
            }
            let slot = store.open_view(&address("a", "string", view)).unwrap();
            for chunk in 0..4 {
                let rows: Vec<_> = (0..KEYS / 4)
                    .map(|k| k * 4 + chunk)
                    .flat_map(|k| {
                        let key = key(&k.to_string());
                        [
                            row(&key, order(round, k, 1), round * 1_000 + k),
                            row(&key, order(2_000, round, 1), k),
                        ]
                    })
                    .collect();
                store.write(slot, Generation(1), NOW, &rows, None).unwrap();
            }
        }
    }
}

/// Reads all there is: an error, or what a sound store gives.
fn read_all(path: &Path) -> Result<Vec<String>, StoreError> {
    let store = RocksStore::open(path, &options())?;
    let mut all = vec![format!("{:?}", store.views()?)];
    for view in VIEWS {
        let slot = store.open_view(&address("a", "string", view))?;
        let wanted = [(slot.view, Generation(1))];
        for k in 0..KEYS {
            for at in [NOW, Timestamp::from_micros(2_000)] {
                store.read(slot.entity, &key(&k.to_string()), &wanted, at, &mut |_, found| {
                    all.push(format!("{found:?}"));
                    Ok(())
                })?;
            }
        }
        let counts: Counts = store.count(slot, Generation(1))?;
        all.push(format!("{counts:?}"));
        all.push(store.apply_due(slot, Generation(1), Timestamp::MAX)?.to_string());
    }
    Ok(all)
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // RocksDB's own log of messages and the lock hold nothing of the store.
    files.retain(|file| !matches!(name(file), "LOG" | "LOCK") && !name(file).starts_with("LOG.old"));
    files.sort();
    files
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Does one damage and says what it was.
fn damage(path: &Path, random: &mut StdRng) -> String {
    let files = files(path);
    let file = &files[random.random_range(0..files.len())];
    let mut bytes = fs::read(file).unwrap();
    let at = random.random_range(0..bytes.len().max(1));
    let case = match random.random_range(0..10) {
        0 => {
            fs::remove_file(file).unwrap();
            return format!("removed {}", name(file));
        }
        1 => {
            let foreign = [
                "000999.sst",
                "000999.log",
                "MANIFEST-000999",
                "OPTIONS-000999",
                "notes.txt",
            ];
            let foreign = foreign[random.random_range(0..foreign.len())];
            let content: Vec<u8> = (0..random.random_range(0..500))
                .map(|_| random.random())
                .collect();
            fs::write(path.join(foreign), content).unwrap();
            return format!("added {foreign}");
        }
        2 | 3 => {
            bytes.truncate(at);
            format!("cut {} to {at}", name(file))
        }
        _ if bytes.is_empty() => return format!("left the empty {}", name(file)),
        _ => {
            let bit = random.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("flipped bit {bit} of byte {at} of {}", name(file))
        }
    };
    fs::write(file, bytes).unwrap();
    case
}

#[test]
fn damage_is_an_error_that_names_a_file_or_changes_nothing() {
    let seed = harness::seed();
    let original = tempfile::tempdir().unwrap();
    build(original.path());
    let sound = {
        let copied = tempfile::tempdir().unwrap();
        copy(original.path(), copied.path());
        read_all(copied.path()).unwrap()
    };
    let (mut refused, mut wrong) = (0, Vec::new());
    let cases = harness::scale("ASOF_CASES", 500);
    for case in 0..cases as u64 {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(case));
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let what = damage(directory.path(), &mut random);
        let place = directory.path().to_str().unwrap().to_owned();
        match panic::catch_unwind(|| read_all(directory.path())) {
            Ok(Ok(all)) if all == sound => {}
            Ok(Ok(_)) => wrong.push(format!(
                "ASOF_SEED={}: {what}: wrong answers",
                seed.wrapping_add(case)
            )),
            Ok(Err(error)) => {
                refused += 1;
                if !names_a_file(&error, &place) {
                    wrong.push(format!("ASOF_SEED={}: {what}: {error}", seed.wrapping_add(case)));
                }
            }
            Err(_) => wrong.push(format!("ASOF_SEED={}: {what}: a panic", seed.wrapping_add(case))),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        refused > cases / 5,
        "only {refused} of {cases} were noticed at all"
    );
}

/// Damage or a version, at something inside the store's directory.
fn names_a_file(error: &StoreError, directory: &str) -> bool {
    match error {
        StoreError::Damaged { place, .. } => place.contains(directory) && place.len() > directory.len() + 1,
        StoreError::Newer { place, .. } => place == directory,
        StoreError::Held { .. }
        | StoreError::Full { .. }
        | StoreError::Failed { .. }
        | StoreError::NoGeneration { .. } => false,
    }
}
