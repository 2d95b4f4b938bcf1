//! Ingestions whose entry in RocksDB's list of files was not synced, so that RocksDB removed the files and left the entry.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use asof_core::cancel::Cancellation;
use asof_core::online::conformance::{address, key, order, row, sorted};
use asof_core::online::{Generation, OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_online::read_back;

use crate::harness;

const NOW: Timestamp = Timestamp::from_micros(1_000);

/// A store that has ingested two rows, one after the other.
struct Ingested {
    directory: tempfile::TempDir,
    /// The list of files, and how long it was before the second.
    list: PathBuf,
    length: u64,
    /// What each of them brought: a file with how far the load is, and one of rows.
    files: [BTreeSet<PathBuf>; 2],
}

fn ingested() -> Ingested {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = harness::open(path).unwrap();
    let (slot, generation) = harness::serving(&store, "v");
    let load = |k: i64| {
        let before = tables(path);
        let rows = sorted(&[row(&key(&k.to_string()), order(k, k, 1), k)]);
        store.load(slot, generation, &rows, &[k as u8]).unwrap();
        assert!(!path.join("asof.ingest").exists());
        tables(path).difference(&before).cloned().collect::<BTreeSet<_>>()
    };
    let first = load(1);
    let list = path.join(fs::read_to_string(path.join("CURRENT")).unwrap().trim_end());
    let length = fs::metadata(&list).unwrap().len();
    let second = load(2);
    // The mark is moved on, and lies behind both.
    let row = row(&key("3"), order(3, 3, 1), 3);
    store.write(slot, generation, NOW, &[row], None).unwrap();
    assert!(fs::metadata(&list).unwrap().len() > length);
    drop(store);
    Ingested {
        directory,
        list,
        length,
        files: [first, second],
    }
}

fn tables(path: &Path) -> BTreeSet<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|end| end == "sst"))
        .collect()
}

impl Ingested {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a store notes that begins to ingest, of the list with this number.
    fn note(&self, number: u64) {
        let mut bytes = [number, self.length]
            .map(u64::to_be_bytes)
            .as_flattened()
            .to_vec();
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        fs::write(self.path().join("asof.ingest"), bytes).unwrap();
    }

    fn number(&self) -> u64 {
        let name = self.list.file_name().unwrap().to_str().unwrap();
        name.strip_prefix("MANIFEST-").unwrap().parse().unwrap()
    }

    fn remove(&self, of: usize) {
        self.files[of]
            .iter()
            .for_each(|file| fs::remove_file(file).unwrap());
    }

    /// Opens, and gives what there is of the rows.
    fn open(&self) -> Result<Vec<i64>, StoreError> {
        let store = harness::open(self.path())?;
        let slot = store.open_view(&address("a", "string", "v"))?;
        let mut there = Vec::new();
        for k in 1..=3 {
            let wanted = [(slot.view, Generation(1))];
            store.read(
                slot.entity,
                &key(&k.to_string()),
                &wanted,
                NOW,
                &mut |_, found| {
                    there.extend(found.winner.map(|_| k));
                    Ok(())
                },
            )?;
        }
        let reached = store
            .loaded(slot, Generation(1))?
            .map(|bytes| i64::from(bytes[0]));
        assert_eq!(reached, there.iter().copied().filter(|k| *k < 3).max());
        Ok(there)
    }

    /// Neither opening it nor reading it back is possible, and both leave the list as it is.
    fn is_refused(&self) {
        let before = fs::read(&self.list).unwrap();
        let refused = self.open().unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains(".sst"), "{refused}");
        read_back(self.path(), &Cancellation::default()).unwrap_err();
        assert_eq!(fs::read(&self.list).unwrap(), before);
    }
}

#[test]
fn an_ingestion_that_failed_is_taken_off_the_list_of_files() {
    let ingested = ingested();
    ingested.remove(1);
    ingested.note(ingested.number());
    assert_eq!(ingested.open().unwrap(), [1, 3]);
    assert!(!ingested.path().join("asof.ingest").exists());
    assert_eq!(ingested.open().unwrap(), [1, 3]);
    read_back(ingested.path(), &Cancellation::default()).unwrap();
}

#[test]
fn reading_back_takes_it_off_as_well() {
    let ingested = ingested();
    ingested.remove(1);
    ingested.note(ingested.number());
    let read = read_back(ingested.path(), &Cancellation::default()).unwrap();
    assert!(read.entries > 0);
    assert_eq!(ingested.open().unwrap(), [1, 3]);
}

#[test]
fn an_ingestion_that_succeeded_stays_whatever_was_noted() {
    let ingested = ingested();
    ingested.note(ingested.number());
    assert_eq!(ingested.open().unwrap(), [1, 2, 3]);
    assert!(!ingested.path().join("asof.ingest").exists());
}

#[test]
fn files_that_are_gone_without_a_note_are_damage() {
    let ingested = ingested();
    ingested.remove(1);
    ingested.is_refused();
}

#[test]
fn a_note_of_another_list_or_one_that_is_damaged_changes_nothing() {
    let ingested = ingested();
    ingested.remove(1);
    ingested.note(ingested.number() + 1);
    ingested.is_refused();
    fs::write(ingested.path().join("asof.ingest"), b"doubt").unwrap();
    ingested.is_refused();
}

/// RocksDB did not remove it: whoever damaged it is to hear of it.
#[test]
fn a_file_that_is_damaged_and_there_is_not_given_up() {
    for file in [0, 1] {
        let ingested = ingested();
        for path in &ingested.files[file] {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 10]).unwrap();
        }
        ingested.note(ingested.number());
        ingested.is_refused();
        assert!(ingested.path().join("asof.ingest").exists());
    }
}

#[test]
fn what_was_there_before_the_note_is_not_given_up() {
    let ingested = ingested();
    ingested.remove(0);
    ingested.note(ingested.number());
    ingested.is_refused();
}
