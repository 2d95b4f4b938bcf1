//! A generation is built beside the one that serves, takes over at once, and is gone when it is given up.

use super::sample::{NOTHING, key, order, row, schema, shape};
use super::serving::{Serving, assert_no_generation};
use crate::online::{Counts, Generation, OnlineStore};

pub(super) fn a_generation_is_built_unseen_and_takes_over(store: &dyn OnlineStore) {
    let old = Serving::new(store, "a", "v");
    let sibling = Serving::new(store, "a", "v_b");
    let (k, gone) = (key("k"), key("gone"));
    old.write(
        1_000,
        &[row(&k, order(9, 9, 9), 1), row(&gone, order(9, 9, 9), 1)],
    );
    old.write(1_000, &[row(&k, order(2_000, 9, 9), 5)]);
    sibling.write(1_000, &[row(&k, order(9, 9, 9), 8)]);

    let slot = old.slot;
    let generation = store.begin_generation(slot, shape("next"), schema()).unwrap();
    let new = Serving { generation, ..old };
    let old = Serving {
        generation: Generation(1),
        ..new
    };
    assert_eq!(generation, Generation(2));
    new.write(1_000, &[row(&k, order(1, 1, 1), 2)]);
    let state = store.view_state(slot).unwrap();
    assert_eq!(state.serving.unwrap().generation, Generation(1));
    assert_eq!(state.building.unwrap().shape, shape("next"));
    assert_eq!(
        old.read(&k, 1_000),
        (Some(1), true),
        "what is being built is not seen"
    );
    assert_eq!(
        new.read(&k, 1_000),
        (Some(2), true),
        "an older row counts in its own generation"
    );
    assert_eq!(old.count().keys, 2);
    assert_eq!(new.count().keys, 1);

    store.serve(slot, generation).unwrap();
    store.serve(slot, generation).unwrap();
    let state = store.view_state(slot).unwrap();
    assert_eq!(state.serving.unwrap().generation, Generation(2));
    assert_eq!(state.building, None);
    assert_eq!(state.kept.unwrap().generation, Generation(1));
    assert_eq!(new.read(&k, 5_000), (Some(2), true));
    assert_eq!(new.read(&gone, 1_000), NOTHING);
    assert_eq!(new.apply_due(5_000), 0, "it has no pending rows of the old one");
    store.forget_kept(slot).unwrap();
    assert_no_generation(&old, &k);
    assert_eq!(sibling.read(&k, 1_000), (Some(8), true));
}

pub(super) fn a_generation_given_up_is_gone(store: &dyn OnlineStore) {
    let serving = Serving::new(store, "a", "v");
    let (slot, k) = (serving.slot, key("k"));
    serving.write(1_000, &[row(&k, order(1, 1, 1), 1)]);
    let begin = || Serving {
        store,
        slot,
        generation: store.begin_generation(slot, shape("v"), schema()).unwrap(),
    };
    let first = begin();
    first.write(
        1_000,
        &[row(&k, order(5, 5, 5), 2), row(&k, order(5_000, 5, 5), 3)],
    );
    let second = begin();
    assert_eq!(
        (first.generation, second.generation),
        (Generation(2), Generation(3))
    );
    assert_no_generation(&first, &k);
    assert_eq!(second.read(&k, 9_000), NOTHING);
    assert_eq!(second.count(), Counts::default());
    assert_eq!(serving.read(&k, 1_000), (Some(1), true));

    store.give_up(slot).unwrap();
    store.give_up(slot).unwrap();
    assert_no_generation(&second, &k);
    assert_eq!(store.view_state(slot).unwrap().building, None);
    assert_eq!(serving.read(&k, 1_000), (Some(1), true));
    assert_eq!(begin().generation, Generation(4), "no number is given twice");
}
