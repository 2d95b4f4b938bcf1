//! What is at the path that is opened.

use std::fs;
use std::process::{Command, Stdio};

use asof_core::online::{OnlineStore, StoreError};

use crate::{harness, kills};

#[test]
fn a_store_is_held_by_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let refused = harness::open(directory.path()).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "the online store at {} is in use: this process has it open already",
            directory.path().display()
        )
    );
    drop(store);
    harness::open(directory.path()).unwrap();
}

#[test]
fn a_holder_that_lives_is_named_and_one_that_died_is_not_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = kills::Child::start(directory.path());
    child.next_acknowledged().unwrap();
    let refused = harness::open(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Held { .. }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        format!(
            "the online store at {} is in use: process {} holds it; stop it, or send the request to it",
            directory.path().display(),
            child.id()
        )
    );
    child.kill();
    harness::open(directory.path()).unwrap();

    // The note of a process that is gone, beside a store that is free.
    let mut gone = Command::new("true").stdout(Stdio::null()).spawn().unwrap();
    let id = gone.id();
    gone.wait().unwrap();
    fs::write(directory.path().join("asof.holder"), id.to_string()).unwrap();
    harness::open(directory.path()).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    harness::open(directory.path()).unwrap();
    fs::write(
        directory.path().join("asof.format"),
        "asof online store, format 9\n",
    )
    .unwrap();
    let newer = StoreError::Newer {
        place: directory.path().display().to_string(),
        found: 9,
        known: 5,
    };
    assert_eq!(harness::open(directory.path()).unwrap_err(), newer);
}

#[test]
fn something_else_at_the_path_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("diary.txt"), "dear diary").unwrap();
    let refused = harness::open(&path).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "the online store is damaged at {}/asof.format: there is no such file, though the directory has \"diary.txt\": \
             give an empty directory or an online store",
            path.display()
        )
    );
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing was added");

    for (name, reason) in [
        ("diary.txt", "File exists (os error 17)"),
        ("diary.txt/store", "Not a directory (os error 20)"),
    ] {
        let place = path.join(name).display().to_string();
        let refused = harness::open(&path.join(name)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("the online store at {place} failed: {reason}")
        );
    }
}

#[test]
fn a_creation_that_was_killed_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    // What RocksDB has made when it is killed before the store's first file that counts.
    fs::write(
        directory.path().join("asof.format"),
        "asof online store, format 1\n",
    )
    .unwrap();
    fs::write(directory.path().join("MANIFEST-000001"), "torn").unwrap();
    fs::write(directory.path().join("LOCK"), "").unwrap();
    let store = harness::open(directory.path()).unwrap();
    assert_eq!(store.views().unwrap(), []);
}
