//! Loads: the same rules as of writes, and how far they have come.

use super::sample::{key, order, row, schema, shape, sorted};
use super::serving::{Serving, assert_no_generation};
use crate::online::{OnlineRow, OnlineStore, StoreError};

pub(super) fn loads_and_writes_compete(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let sibling = Serving::new(store, "a", "v_b");
    let [old, new, alone, other] = ["old", "new", "alone", "other"].map(key);
    view.write(
        1_000,
        &[
            row(&old, order(1, 1, 1), 1),
            row(&new, order(9, 9, 9), 2),
            row(&other, order(9, 9, 9), 3),
        ],
    );
    // One that is still to come stays so.
    view.write(1_000, &[row(&alone, order(2_000, 1, 1), 4)]);
    let rows = [
        row(&new, order(5, 5, 5), 10),
        row(&alone, order(5, 5, 5), 11),
        row(&old, order(5, 5, 5), 12),
        row(&old, order(4, 4, 4), 13),
    ];
    let load = |rows: &[OnlineRow], progress: &[u8]| {
        store
            .load(view.slot, view.generation, &sorted(rows), progress)
            .unwrap();
    };
    assert_eq!(store.loaded(view.slot, view.generation), Ok(None));
    // Twice changes nothing.
    for progress in [&b"one"[..], b"two"] {
        load(&rows, progress);
        assert_eq!(view.read(&old, 1_000), (Some(12), true));
        assert_eq!(view.read(&new, 1_000), (Some(2), true));
        assert_eq!(view.read(&alone, 1_000), (Some(11), true));
        assert_eq!(view.read(&alone, 2_000), (Some(4), true));
        assert_eq!(view.read(&other, 1_000), (Some(3), true));
        let loaded = store.loaded(view.slot, view.generation).unwrap();
        assert_eq!(loaded.as_deref(), Some(progress));
    }
    view.write(
        1_000,
        &[row(&old, order(4, 9, 9), 20), row(&alone, order(6, 0, 0), 21)],
    );
    assert_eq!(view.read(&old, 1_000), (Some(12), true));
    assert_eq!(view.read(&alone, 1_000), (Some(21), true));
    load(&[], b"");
    assert_eq!(
        store.loaded(view.slot, view.generation),
        Ok(Some(Vec::new())),
        "progress without rows"
    );
    let counts = view.count();
    assert_eq!((counts.keys, counts.pending), (4, 1));
    assert_eq!(sibling.count().keys, 0);
    assert_eq!(store.loaded(sibling.slot, sibling.generation), Ok(None));
}

pub(super) fn a_generation_is_loaded_unseen_and_goes_with_its_progress(store: &dyn OnlineStore) {
    let old = Serving::new(store, "a", "v");
    let (slot, k) = (old.slot, key("k"));
    old.write(1_000, &[row(&k, order(9, 9, 9), 1)]);
    let begin = || Serving {
        generation: store.begin_generation(slot, shape("next"), schema()).unwrap(),
        store,
        slot,
    };
    let given_up = begin();
    let rows = sorted(&[row(&k, order(1, 1, 1), 2)]);
    store.load(slot, given_up.generation, &rows, b"p").unwrap();
    assert_eq!(given_up.read(&k, 1_000), (Some(2), true));
    assert_eq!(old.read(&k, 1_000), (Some(1), true));

    let next = begin();
    assert_no_generation(&given_up, &k);
    let gone = StoreError::NoGeneration {
        generation: given_up.generation.0,
    };
    assert_eq!(
        store.load(slot, given_up.generation, &rows, b"p"),
        Err(gone.clone())
    );
    assert_eq!(store.loaded(slot, given_up.generation), Err(gone));
    assert_eq!(store.loaded(slot, next.generation), Ok(None));
    store.load(slot, next.generation, &rows, b"q").unwrap();
    store.serve(slot, next.generation).unwrap();
    assert_eq!(next.read(&k, 1_000), (Some(2), true));
    assert_eq!(store.drop_view(slot), Ok(1));
    assert_no_generation(&next, &k);
}
