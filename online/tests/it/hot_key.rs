//! A key that is written all the time: neither its writes nor its reads have more to do with each row.

use asof_core::key::EntityKey;
use asof_core::online::conformance::{self, key, order, row, schema, tiled};
use asof_core::online::{Generation, OnlineRow, OnlineStore, ViewSlot};
use asof_core::time::Timestamp;
use asof_online::RocksStore;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

use crate::harness;

const WRITES: i64 = 500;
/// Merges that lie on each other in memory, and what is below them.
const MOST: u64 = 34;

/// Merges that a read of the key has to do.
fn merges_of_a_read(store: &RocksStore, slot: ViewSlot, generation: Generation, key: &EntityKey) -> u64 {
    let mut context = PerfContext::default();
    set_perf_stats(PerfStatsLevel::EnableCount);
    context.reset();
    let now = Timestamp::from_micros(WRITES);
    let views = [(slot.view, generation)];
    store
        .read(slot.entity, key, &views, now, &mut |_, _| Ok(()))
        .unwrap();
    set_perf_stats(PerfStatsLevel::Disable);
    context.metric(PerfMetric::InternalMergeCount)
}

fn at(micros: i64, key: &EntityKey) -> OnlineRow {
    row(key, order(micros, micros, 0), micros)
}

fn write(store: &RocksStore, slot: ViewSlot, generation: Generation, rows: &[OnlineRow]) {
    let now = Timestamp::from_micros(WRITES);
    store.write(slot, generation, now, rows, None).unwrap();
}

/// A store that has a first row of the key in a file of which nothing is cached.
fn reopened(
    directory: &std::path::Path,
    begin: impl Fn(&RocksStore) -> (ViewSlot, Generation),
) -> (RocksStore, ViewSlot, Generation) {
    let store = harness::open(directory).unwrap();
    let (slot, generation) = begin(&store);
    write(&store, slot, generation, &[at(0, &key("hot"))]);
    drop(store);
    (harness::open(directory).unwrap(), slot, generation)
}

#[test]
fn rows_of_a_hot_key_do_not_pile_up() {
    let directory = tempfile::tempdir().unwrap();
    let (store, slot, generation) = reopened(directory.path(), |store| harness::serving(store, "v"));
    let hot = key("hot");
    for micros in 1..=WRITES {
        write(&store, slot, generation, &[at(micros, &hot)]);
    }
    let merges = merges_of_a_read(&store, slot, generation, &hot);
    assert!(merges <= MOST, "{merges}");
    let (found, _) = conformance::read_one(&store, slot, generation, &hot, WRITES).unwrap();
    assert_eq!(found, Some(WRITES));
}

#[test]
fn tiles_of_a_hot_key_do_not_pile_up() {
    let directory = tempfile::tempdir().unwrap();
    let (store, slot, generation) = reopened(directory.path(), |store| {
        let slot = store
            .open_view(&conformance::address("a", "string", "v"))
            .unwrap();
        let generation = store.begin_generation(slot, tiled("v"), schema()).unwrap();
        store.serve(slot, generation).unwrap();
        (slot, generation)
    });
    let hot = key("hot");
    for micros in 1..=WRITES {
        write(&store, slot, generation, &[at(micros, &hot)]);
    }
    // A chunk for each of the layout's sizes.
    let chunks = 4;
    let merges = merges_of_a_read(&store, slot, generation, &hot);
    assert!(merges <= chunks * MOST, "{merges}");
}

#[test]
fn a_write_merges_once_whatever_it_brings_of_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (slot, generation) = harness::serving(&store, "v");
    let hot = key("hot");
    // The newest stands in the middle.
    let rows: Vec<_> = (1..=WRITES)
        .map(|micros| at((micros * 7) % (WRITES + 1), &hot))
        .collect();
    write(&store, slot, generation, &rows);
    let merges = merges_of_a_read(&store, slot, generation, &hot);
    assert!(merges <= 1, "{merges}");
    let (found, _) = conformance::read_one(&store, slot, generation, &hot, WRITES).unwrap();
    assert_eq!(found, Some(WRITES));
}
