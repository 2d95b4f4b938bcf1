//! Rows that expired long ago give their room back, and nothing else does.

use asof_core::cancel::Cancellation;
use asof_core::online::conformance::{key, order, read_one, row, schema, shape, sorted};
use asof_core::online::{Counts, Generation, OnlineStore, Survey, ViewSlot};
use asof_core::time::Timestamp;

use crate::harness;

const NOW: Timestamp = Timestamp::from_micros(1_000);

fn reclaim_before(store: &dyn OnlineStore, slot: ViewSlot, before: i64) {
    let mut state = store.view_state(slot).unwrap().serving.unwrap();
    state.reclaimed = Some(Timestamp::from_micros(before));
    store
        .write(slot, state.generation, NOW, &[], Some(&state))
        .unwrap();
}

#[test]
fn only_what_expired_long_ago_is_reclaimed() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (expiring, generation) = harness::serving(&store, "v");
    let (lasting, of_lasting) = harness::serving(&store, "w");
    let [older, before, at, updated, loaded, pending] =
        ["older", "before", "at", "updated", "loaded", "pending"].map(key);
    for (slot, generation) in [(expiring, generation), (lasting, of_lasting)] {
        let rows = [
            row(&older, order(1, 1, 1), 1),
            row(&older, order(5, 5, 1), 5),
            row(&before, order(499, 900, 1), 499),
            row(&at, order(500, 500, 1), 500),
            row(&updated, order(2, 2, 1), 2),
            row(&pending, order(3, 2_000, 1), 3),
        ];
        store.write(slot, generation, NOW, &rows, None).unwrap();
        let rows = sorted(&[
            row(&loaded, order(7, 7, 1), 7),
            row(&updated, order(600, 1, 1), 600),
        ]);
        store.load(slot, generation, &rows, b"so far").unwrap();
    }
    // A generation that is being built has no instant of its own yet.
    let building = store.begin_generation(expiring, shape("next"), schema()).unwrap();
    let rows = [row(&older, order(1, 1, 1), 1)];
    store.write(expiring, building, NOW, &rows, None).unwrap();

    store.reclaim().unwrap();
    let counts = |store: &dyn OnlineStore, slot, generation: Generation| {
        let survey = Survey {
            from: Timestamp::from_micros(500),
            ..Survey::as_stored(slot, generation)
        };
        let Counts {
            keys,
            pending,
            earlier,
            ..
        } = store.survey(&[survey], &Cancellation::default()).unwrap()[0];
        (keys, pending, earlier)
    };
    assert_eq!(
        counts(&store, expiring, generation),
        (5, 1, 3),
        "without an instant"
    );

    reclaim_before(&store, expiring, 500);
    let check = |store: &dyn OnlineStore| {
        assert_eq!(counts(store, expiring, generation), (2, 1, 0));
        assert_eq!(counts(store, lasting, of_lasting), (5, 1, 3));
        assert_eq!(counts(store, expiring, building), (1, 0, 1));
        let read = |key, at| read_one(store, expiring, generation, key, at).unwrap();
        for gone in [&older, &before, &loaded] {
            assert_eq!(read(gone, 1_000), (None, false));
        }
        assert_eq!(read(&at, 1_000), (Some(500), true));
        assert_eq!(read(&updated, 1_000), (Some(600), true));
        assert_eq!(read(&pending, 1_000), (None, true));
        assert_eq!(read(&pending, 2_000), (Some(3), true));
        let loaded = store.loaded(expiring, generation).unwrap();
        assert_eq!(loaded.as_deref(), Some(&b"so far"[..]));
    };
    store.reclaim().unwrap();
    check(&store);
    drop(store);
    let store = harness::open(directory.path()).unwrap();
    // What is written later is reclaimed by the instant that was kept.
    store
        .write(expiring, generation, NOW, &[row(&older, order(9, 9, 9), 9)], None)
        .unwrap();
    store.reclaim().unwrap();
    check(&store);
}

/// What was read is kept, and it does not come back after what it was is gone.
#[test]
fn a_key_that_is_cached_is_read_as_it_was_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let (slot, generation) = harness::serving(&store, "v");
    let k = key("k");
    store
        .write(slot, generation, NOW, &[row(&k, order(1, 1, 1), 1)], None)
        .unwrap();
    reclaim_before(&store, slot, 500);
    assert_eq!(
        read_one(&store, slot, generation, &k, 1_000).unwrap(),
        (Some(1), true)
    );
    store.reclaim().unwrap();
    let answer = read_one(&store, slot, generation, &k, 1_000).unwrap();
    assert!([(Some(1), true), (None, false)].contains(&answer), "{answer:?}");
    store
        .write(slot, generation, NOW, &[row(&k, order(600, 1, 1), 2)], None)
        .unwrap();
    assert_eq!(
        read_one(&store, slot, generation, &k, 1_000).unwrap(),
        (Some(2), true)
    );
}
