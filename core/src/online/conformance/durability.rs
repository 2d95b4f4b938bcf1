//! Rows and progress are written together, and are there when the store is opened again.

use super::sample::{NOTHING, NOW, address, evolved_state, key, order, row, schema, shape};
use super::serving::Serving;
use crate::online::{Counts, Generation, GenerationState, OnlineStore, SortedRows, StoreError};

pub(super) fn rows_and_state_are_written_together(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    let state = evolved_state(view.generation);
    let rows = [row(&k, order(1, 1, 1), 1)];
    store
        .write(view.slot, view.generation, NOW, &rows, Some(&state))
        .unwrap();
    assert_eq!(store.view_state(view.slot).unwrap().serving, Some(state.clone()));
    assert_eq!(view.read(&k, 1_000), (Some(1), true));

    // Neither the rows nor the state of a write that is refused.
    let absent = GenerationState {
        generation: Generation(9),
        ..state.clone()
    };
    let rows = [row(&k, order(2, 2, 2), 2)];
    let refused = store.write(view.slot, view.generation, NOW, &rows, Some(&absent));
    assert_eq!(refused, Err(StoreError::NoGeneration { generation: 9 }));
    assert_eq!(store.view_state(view.slot).unwrap().serving, Some(state));
    assert_eq!(view.read(&k, 1_000), (Some(1), true));
}

pub(super) fn reopening_keeps_everything<S: OnlineStore>(store: S, reopen: &dyn Fn(S) -> S) {
    let (k, later) = (key("k"), key("later"));
    let (slot, generation) = {
        let view = Serving::new(&store, "a", "v");
        let dropped = Serving::new(&store, "a", "dropped");
        dropped.write(1_000, &[row(&k, order(1, 1, 1), 1)]);
        store.drop_view(dropped.slot).unwrap();
        (view.slot, view.generation)
    };
    let state = evolved_state(generation);
    let rows = [
        row(&k, order(3, 3, 3), 3),
        row(&k, order(2, 2, 2), 2),
        row(&later, order(2_000, 0, 1), 4),
    ];
    store.write(slot, generation, NOW, &rows, Some(&state)).unwrap();
    store.begin_generation(slot, shape("next"), schema()).unwrap();
    store
        .load(slot, generation, &SortedRows::default(), b"so far")
        .unwrap();
    let (views, counts) = (store.views().unwrap(), store.count(slot, generation).unwrap());
    assert_eq!(views.len(), 1);

    let store = reopen(store);
    assert_eq!(store.views().unwrap(), views);
    assert_eq!(store.view_state(slot).unwrap().serving, Some(state));
    assert_eq!(store.count(slot, generation).unwrap(), counts);
    let loaded = store.loaded(slot, generation).unwrap();
    assert_eq!(loaded.as_deref(), Some(&b"so far"[..]));
    let bytes: usize = rows
        .iter()
        .map(|row| row.key.as_bytes().len() + row.bytes.len())
        .sum();
    let lost = rows[1].key.as_bytes().len() + rows[1].bytes.len();
    assert_eq!(
        counts,
        Counts {
            keys: 1,
            pending: 1,
            bytes: (bytes - lost) as u64,
            earlier: 0,
        }
    );
    assert_eq!(store.open_view(&address("a", "string", "v")), Ok(slot));
    let view = Serving {
        store: &store,
        slot,
        generation,
    };
    assert_eq!(view.read(&k, 1_000), (Some(3), true));
    assert_eq!(view.read(&later, 1_999), NOTHING);
    assert_eq!(view.read(&later, 2_000), (Some(4), true));
    let next = store.begin_generation(slot, shape("v"), schema()).unwrap();
    assert_eq!(next, Generation(3), "the count goes on");
    let new_view = store.open_view(&address("a", "string", "dropped")).unwrap();
    assert!(
        new_view.view > slot.view + 1,
        "numbers of dropped views stay unused"
    );
}
