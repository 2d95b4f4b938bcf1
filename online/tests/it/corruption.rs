//! I18: damage is named, never served.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use asof_core::online::conformance::{address, key, order, row};
use asof_core::online::{Counts, Generation, OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_online::{Durability, Recovery, RocksOptions, RocksStore, accept_lost_writes, lost_writes};
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

/// A length in the list of files that reaches behind its end passed for the torn end of a crash.
#[test]
fn cases_that_were_found() {
    let original = tempfile::tempdir().unwrap();
    build(original.path());
    let copied = tempfile::tempdir().unwrap();
    copy(original.path(), copied.path());
    let sound = read_all(copied.path()).unwrap();
    for seed in [7_462_783_890_364_194_047] {
        if let Err(wrong) = try_one(original.path(), &sound, seed) {
            panic!("{wrong}");
        }
    }
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
    let cases = match harness::given_seed() {
        Some(_) => 1,
        None => harness::cases(500) as u64,
    };
    let verdicts: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (original, sound) = (original.path(), &sound);
                let mine = (0..cases).filter(move |case| case % WORKERS == worker);
                scope.spawn(move || {
                    mine.map(|case| try_one(original, sound, seed.wrapping_add(case)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let wrong: Vec<_> = verdicts
        .iter()
        .filter_map(|verdict| verdict.as_ref().err())
        .collect();
    assert!(wrong.is_empty(), "{} of {cases} cases: {wrong:#?}", wrong.len());
    let refused = verdicts
        .iter()
        .filter(|verdict| **verdict == Ok(Seen::Refused))
        .count();
    println!("figure: {refused} of {cases} damaged stores gave an error, the others the right answer");
    // Most of what is damaged is needed.
    assert!(
        cases < 20 || refused as u64 > cases / 5,
        "only {refused} of {cases} were noticed"
    );
}

/// RocksDB does not say in which log it found damage.
#[test]
fn a_damaged_log_is_named() {
    let original = tempfile::tempdir().unwrap();
    build(original.path());
    let logs = files(original.path())
        .into_iter()
        .filter(|file| name(file).ends_with(".log"));
    let log = logs.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let bytes = fs::read(&log).unwrap();
    for part in 1..8 {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let mut damaged = bytes.clone();
        // Not in the last record, which may pass for one that a kill cut short.
        damaged[bytes.len() * part / 16] ^= 1;
        let place = directory.path().join(name(&log));
        fs::write(&place, damaged).unwrap();
        let refused = RocksStore::open(directory.path(), &options()).unwrap_err();
        let StoreError::Damaged { place: named, .. } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(*named, place.display().to_string());
    }
}

/// RocksDB takes a list of files that was cut for the whole list, and deletes the tables behind the cut.
#[test]
fn a_list_of_files_that_was_cut_is_refused() {
    let original = tempfile::tempdir().unwrap();
    build(original.path());
    let manifest = files(original.path())
        .into_iter()
        .find(|file| name(file).starts_with("MANIFEST-"))
        .unwrap();
    let length = fs::metadata(&manifest).unwrap().len();
    for part in 1..8 {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let cut = directory.path().join(name(&manifest));
        let cut_file = fs::OpenOptions::new().write(true).open(&cut).unwrap();
        cut_file.set_len(length * part / 8).unwrap();
        let refused = read_all(directory.path()).unwrap_err();
        let StoreError::Damaged { place, .. } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(*place, cut.display().to_string());
    }
}

/// A log that lost its end looks like one whose last writes were never acknowledged, but for the mark.
#[test]
fn a_log_that_lost_its_end_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    build(directory.path());
    let logs = files(directory.path())
        .into_iter()
        .filter(|file| name(file).ends_with(".log"));
    let log = logs.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let length = fs::metadata(&log).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(length / 2)
        .unwrap();

    let refused = RocksStore::open(directory.path(), &options()).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
    assert_eq!(lost_writes(directory.path()).unwrap(), None);
    // A power cut may do this to a store that does not sync: it says so, and it stays known.
    let store = harness::open(directory.path()).unwrap();
    assert!(
        matches!(store.recovery(), Recovery::Lost(1..)),
        "{:?}",
        store.recovery()
    );
    let Recovery::Lost(changes) = store.recovery() else {
        panic!("{:?}", store.recovery())
    };
    drop(store);
    for _ in 0..2 {
        let store = RocksStore::open(directory.path(), &options()).unwrap();
        assert_eq!(store.recovery(), Recovery::Complete);
        let lost = lost_writes(directory.path()).unwrap().unwrap();
        assert_eq!(lost.changes, Some(changes));
        assert!(
            lost.found_at > Timestamp::from_micros(1_700_000_000_000_000),
            "{lost:?}"
        );
    }
    // Another loss comes to it: of which nobody can say how much it is.
    fs::remove_file(directory.path().join("asof.mark")).unwrap();
    drop(harness::open(directory.path()).unwrap());
    let lost = lost_writes(directory.path()).unwrap().unwrap();
    assert_eq!(lost.changes, None);
    fs::write(directory.path().join("asof.lost"), "damaged").unwrap();
    let lost = lost_writes(directory.path()).unwrap().unwrap();
    assert_eq!(lost.changes, None);
    accept_lost_writes(directory.path()).unwrap();
    accept_lost_writes(directory.path()).unwrap();
    drop(harness::open(directory.path()).unwrap());
    assert_eq!(lost_writes(directory.path()).unwrap(), None);
}

const WORKERS: u64 = 4;

#[derive(Debug, PartialEq)]
enum Seen {
    Refused,
    Unchanged,
}

/// Damages a copy of the store and reads all of it; the error says which case went wrong and how.
fn try_one(original: &Path, sound: &[String], seed: u64) -> Result<Seen, String> {
    let directory = tempfile::tempdir().unwrap();
    copy(original, directory.path());
    let what = damage(directory.path(), &mut StdRng::seed_from_u64(seed));
    let case = |outcome: &str| format!("ASOF_SEED={seed}: {what}: {outcome}");
    match panic::catch_unwind(|| read_all(directory.path())) {
        Ok(Ok(all)) if all == sound => Ok(Seen::Unchanged),
        Ok(Ok(_)) => Err(case("wrong answers")),
        Ok(Err(error)) if names_a_file(&error, directory.path().to_str().unwrap()) => Ok(Seen::Refused),
        Ok(Err(error)) => Err(case(&error.to_string())),
        Err(_) => Err(case("a panic")),
    }
}

/// Damage or a version, at something inside the store's directory.
fn names_a_file(error: &StoreError, directory: &str) -> bool {
    match error {
        StoreError::Damaged { place, .. } => place.contains(directory) && place.len() > directory.len() + 1,
        StoreError::Newer { place, .. } => place == directory,
        StoreError::Held { .. }
        | StoreError::Full { .. }
        | StoreError::Failed { .. }
        | StoreError::Cancelled
        | StoreError::NoGeneration { .. } => false,
    }
}
