//! Views are opened, counted and dropped, each apart from the others.

use super::sample::{NOTHING, NOW, address, evolved_state, key, order, row, schema, shape};
use super::serving::{Serving, assert_no_generation};
use crate::online::{Counts, OnlineStore};
use crate::time::Timestamp;

pub(super) fn slots_are_stable_and_distinct(store: &dyn OnlineStore) {
    let open = |entity, key_type, view| store.open_view(&address(entity, key_type, view)).unwrap();
    let first = open("a", "string", "v");
    assert_eq!(open("a", "string", "v"), first, "the same address, the same slot");
    let sibling = open("a", "string", "v_b");
    assert_eq!(sibling.entity, first.entity, "views of one entity lie together");
    assert_ne!(sibling.view, first.view);
    let retyped = open("a", "int64", "v");
    assert_ne!(retyped.entity, first.entity, "other key types, another entity");
    assert_ne!(retyped.view, first.view);
    assert_ne!(open("a_b", "string", "v").entity, first.entity);
    store.drop_view(sibling).unwrap();
    let again = open("a", "string", "v_b");
    assert_ne!(again, sibling, "a number is never given twice");
    assert!(store.view_state(sibling).is_err(), "a dropped slot is unknown");
}

/// A store that counts gives a new number with every change, and keeps it while rows alone are written.
pub(super) fn changes_of_views_are_counted(store: &dyn OnlineStore) {
    let Some(mut last) = store.changes() else { return };
    let mut seen = vec![last];
    let mut changed = |what: &str| {
        let now = store.changes().expect("a store that counts goes on counting");
        assert!(!seen.contains(&now), "{what}: the number {now} was given before");
        seen.push(now);
        last = now;
    };
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    changed("a view was opened");
    let generation = store.begin_generation(slot, shape("v"), schema()).unwrap();
    changed("a generation was begun");
    let state = evolved_state(generation);
    store.write(slot, generation, NOW, &[], Some(&state)).unwrap();
    changed("a state was written");
    store.serve(slot, generation).unwrap();
    changed("a generation serves");
    let next = store.begin_generation(slot, shape("v"), schema()).unwrap();
    changed("another was begun");
    let again = store.begin_generation(slot, shape("v"), schema()).unwrap();
    changed("one was given up");
    store.serve(slot, again).unwrap();
    changed("another serves");
    assert!(store.write(slot, next, NOW, &[], None).is_err());

    let k = key("k");
    let rows = [row(&k, order(1, 1, 1), 1), row(&k, order(2_000, 1, 1), 2)];
    store.write(slot, again, NOW, &rows, None).unwrap();
    store
        .apply_due(slot, again, Timestamp::from_micros(3_000))
        .unwrap();
    store.open_view(&address("a", "string", "v")).unwrap();
    assert_eq!(store.changes(), Some(last), "the views are as they were");
    store.drop_view(slot).unwrap();
    assert_ne!(store.changes(), Some(last), "a view was dropped");
}

pub(super) fn dropping_a_view_is_scoped(store: &dyn OnlineStore) {
    let names = ["a", "a_b", "ab", "b"];
    let views: Vec<_> = names
        .iter()
        .flat_map(|entity| names.iter().map(|view| Serving::new(store, entity, view)))
        .collect();
    let keys = ["a", "a_b", "a/b"].map(key);
    for view in &views {
        for key in &keys {
            view.write(
                1_000,
                &[row(key, order(1, 1, 1), 1), row(key, order(5_000, 1, 1), 2)],
            );
        }
    }
    // View `a` of entity `a`, with another generation under way.
    let dropped = &views[0];
    let building = store
        .begin_generation(dropped.slot, shape("a"), schema())
        .unwrap();
    let rows = [row(&keys[0], order(1, 1, 1), 1)];
    store.write(dropped.slot, building, NOW, &rows, None).unwrap();
    assert_eq!(store.drop_view(dropped.slot), Ok(3));

    assert_no_generation(dropped, &keys[0]);
    assert!(store.drop_view(dropped.slot).is_err());
    assert_eq!(store.views().unwrap().len(), views.len() - 1);
    for view in &views[1..] {
        assert_eq!((view.count().keys, view.count().pending), (3, 3));
        for key in &keys {
            assert_eq!(view.read(key, 1_000), (Some(1), true));
        }
    }
    let again = Serving::new(store, "a", "a");
    assert_eq!(
        again.read(&keys[0], 9_000),
        NOTHING,
        "what was dropped does not come back"
    );
    assert_eq!(again.count(), Counts::default());
}
