use std::cell::RefCell;

use asof_core::online::conformance::{self, key, order, read_one, row};
use asof_core::online::{Generation, OnlineStore};
use asof_core::time::Timestamp;
use asof_online::{Durability, RocksOptions, RocksStore};

use crate::harness;

fn conforms(options: &RocksOptions) {
    let directories = RefCell::new(Vec::new());
    let fresh = || {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(directory.path(), options).unwrap();
        directories.borrow_mut().push(directory);
        store
    };
    let reopen = |store: RocksStore| {
        let path = store.path().to_owned();
        drop(store);
        RocksStore::open(&path, options).unwrap()
    };
    conformance::run(&fresh, &reopen);
}

#[test]
fn the_store_conforms() {
    conforms(&harness::options());
}

#[test]
fn the_store_conforms_when_it_syncs() {
    conforms(&RocksOptions {
        durability: Durability::Sync,
        ..harness::options()
    });
}

/// A generation that is given up while its rows are more than one removal step.
#[test]
fn many_rows_are_removed_with_their_generation() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (slot, generation) = harness::serving(&store, "v");
    let now = Timestamp::from_micros(10);
    let rows: Vec<_> = (0..25_000)
        .map(|k| {
            row(
                &key(&k.to_string()),
                order(if k % 5 == 0 { 20 } else { 1 }, 1, 1),
                k,
            )
        })
        .collect();
    for rows in rows.chunks(1_000) {
        store.write(slot, generation, now, rows, None).unwrap();
    }
    assert_eq!(store.count(slot, generation).unwrap().keys, 20_000);
    assert_eq!(store.count(slot, generation).unwrap().pending, 5_000);
    assert_eq!(store.drop_view(slot).unwrap(), 20_000);

    let (slot, generation) = harness::serving(&store, "v");
    assert_eq!(generation, Generation(1));
    assert_eq!(store.apply_due(slot, generation, Timestamp::MAX).unwrap(), 0);
    assert_eq!(
        read_one(&store, slot, generation, &key("1"), 100).unwrap(),
        (None, false)
    );
}
