//! The note that the intake log may have entries, which others read without opening the store.

use asof_core::name::{ProjectName, SourceName};
use asof_core::online::IntakeLog;
use asof_core::online::intake::{Entry, Intake, SourceAddress};
use asof_core::time::Timestamp;
use asof_online::{RocksStore, has_intake};

use crate::harness;

fn source(name: &str) -> SourceAddress {
    SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse(name).unwrap(),
    }
}

fn accept(store: &RocksStore, source: &SourceAddress, number: u64) {
    let entry = Entry {
        number,
        bytes: b"rows",
        accepted: number,
    };
    let intake = Intake {
        at: Timestamp::EPOCH,
        entry: Some(entry),
        answers: &[],
        rows: &[],
        events: None,
        marks: &[],
        dead_letters: None,
    };
    store.accept(source, intake).unwrap();
}

#[test]
fn dead_letters_are_entries_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let a = source("a");
    let store = harness::open(path).unwrap();
    let entry = Entry {
        number: 1,
        bytes: b"dead",
        accepted: 1,
    };
    let intake = Intake {
        at: Timestamp::EPOCH,
        entry: None,
        answers: &[],
        rows: &[],
        events: None,
        marks: &[],
        dead_letters: Some(entry),
    };
    store.accept(&a, intake).unwrap();
    assert!(has_intake(path));
    store.trim(&a, 1).unwrap();
    assert!(has_intake(path), "they are not of the source itself");
    store.trim(&a.dead_letters(), 1).unwrap();
    assert!(!has_intake(path));
}

#[test]
fn there_is_a_note_as_long_as_there_are_entries() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (a, b) = (source("a"), source("b"));
    let store = harness::open(path).unwrap();
    assert!(!has_intake(path));
    accept(&store, &a, 1);
    assert!(has_intake(path));
    accept(&store, &b, 1);
    drop(store);
    assert!(has_intake(path));
    let store = harness::open(path).unwrap();
    store.trim(&a, 1).unwrap();
    assert!(has_intake(path));
    store.trim(&b, 1).unwrap();
    assert!(!has_intake(path));
    store.trim(&b, 1).unwrap();
    accept(&store, &b, 2);
    assert!(has_intake(path));
    accept(&store, &b, 3);
    store.trim(&b, 2).unwrap();
    assert!(has_intake(path));
    store.trim(&b, 3).unwrap();
    assert!(!has_intake(path));
}
