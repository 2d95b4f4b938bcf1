//! Rows of a layer are kept apart, are found while it is shown, and become the generation's own.

use super::sample::{NOTHING, NOW, key, order, read_one, row, schema, shape, sorted};
use super::serving::{Serving, assert_no_generation};
use crate::cancel::Cancellation;
use crate::online::{
    Counts, Generation, GenerationState, Layer, OnlineRow, OnlineStore, StoreError, Survey, ViewSlot,
};
use crate::row::{RowField, RowSchema};

fn set(view: &Serving<'_>, layers: &[(Generation, bool)]) {
    set_layers(view.store, view.slot, layers);
}

/// Shows, hides or drops layers of the generation that serves.
pub(super) fn set_layers(store: &dyn OnlineStore, slot: ViewSlot, layers: &[(Generation, bool)]) {
    let layers = layers.iter().map(|(generation, is_shown)| Layer {
        generation: *generation,
        is_shown: *is_shown,
    });
    let state = GenerationState {
        layers: layers.collect(),
        ..store.view_state(slot).unwrap().serving.unwrap()
    };
    let before = store.changes();
    let write = store.write(slot, state.generation, NOW, &[], Some(&state));
    write.unwrap();
    assert!(before.is_none() || store.changes() != before, "readers are told");
}

fn state(view: &Serving<'_>) -> GenerationState {
    view.store.view_state(view.slot).unwrap().serving.unwrap()
}

fn write(view: &Serving<'_>, layer: Generation, rows: &[OnlineRow]) {
    view.store.write(view.slot, layer, NOW, rows, None).unwrap();
}

fn together(view: &Serving<'_>, layer: Generation) -> Counts {
    let survey = Survey {
        layer: Some(layer),
        ..Survey::as_stored(view.slot, view.generation)
    };
    view.store.survey(&[survey], &Cancellation::default()).unwrap()[0]
}

fn keys_and_pending(counts: Counts) -> (u64, u64) {
    (counts.keys, counts.pending)
}

pub(super) fn a_layer_is_found_while_it_is_shown(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let sibling = Serving::new(store, "a", "w");
    let [both, older, own, layered, later] = ["both", "older", "own", "layered", "later"].map(key);
    view.write(
        1_000,
        &[
            row(&both, order(5, 5, 5), 1),
            row(&older, order(9, 9, 9), 2),
            row(&own, order(5, 5, 5), 3),
            row(&later, order(2_000, 5, 6), 4),
        ],
    );
    sibling.write(1_000, &[row(&both, order(1, 1, 1), 9)]);
    let layer = store.begin_layer(view.slot, view.generation).unwrap();
    assert_eq!(layer, Generation(2), "counted with the generations");
    let unshown = Layer {
        generation: layer,
        is_shown: false,
    };
    assert_eq!(state(&view).layers, [unshown]);
    write(
        &view,
        layer,
        &[
            row(&both, order(7, 7, 7), 11),
            row(&older, order(8, 8, 8), 12),
            row(&layered, order(1, 1, 1), 14),
            // Pending: one of them in the generation, too.
            row(&later, order(2_000, 5, 6), 4),
            row(&later, order(3_000, 5, 7), 15),
        ],
    );
    store
        .load(
            view.slot,
            layer,
            &sorted(&[row(&own, order(2, 2, 2), 13)]),
            b"so far",
        )
        .unwrap();
    let loaded = |generation| store.loaded(view.slot, generation).unwrap();
    assert_eq!(loaded(layer).as_deref(), Some(&b"so far"[..]));
    assert_eq!(loaded(view.generation), None, "each has its own progress");

    // By its own number it is read alone; the generation has nothing of it yet.
    let alone = |key, at| read_one(store, view.slot, layer, key, at).unwrap();
    assert_eq!(alone(&older, 1_000), (Some(12), true));
    assert_eq!(alone(&own, 1_000), (Some(13), true));
    let before = |view: &Serving<'_>| {
        assert_eq!(view.read(&both, 1_000), (Some(1), true));
        assert_eq!(view.read(&layered, 1_000), NOTHING);
        assert_eq!(view.read(&later, 3_500), (Some(4), true));
        assert_eq!(keys_and_pending(view.count()), (3, 1));
        assert_eq!(keys_and_pending(together(view, layer)), (4, 2));
    };
    before(&view);
    let after = |view: &Serving<'_>| {
        assert_eq!(view.read(&both, 1_000), (Some(11), true));
        assert_eq!(view.read(&older, 1_000), (Some(2), true));
        assert_eq!(view.read(&own, 1_000), (Some(3), true));
        assert_eq!(view.read(&layered, 1_000), (Some(14), true));
        assert_eq!(view.read(&later, 1_999), NOTHING);
        assert_eq!(view.read(&later, 2_500), (Some(4), true));
        assert_eq!(view.read(&later, 3_500), (Some(15), true));
        assert_eq!(keys_and_pending(view.count()), (4, 2));
    };
    set(&view, &[(layer, true)]);
    after(&view);
    set(&view, &[(layer, false)]);
    before(&view);

    // What comes to the generation meanwhile stays, whether it wins or loses.
    set(&view, &[(layer, true)]);
    view.write(
        1_000,
        &[row(&both, order(6, 6, 6), 21), row(&layered, order(4, 4, 4), 22)],
    );
    assert_eq!(view.read(&both, 1_000), (Some(11), true));
    assert_eq!(view.read(&layered, 1_000), (Some(22), true));
    set(&view, &[(layer, false)]);
    assert_eq!(view.read(&both, 1_000), (Some(21), true));
    assert_eq!(view.read(&layered, 1_000), (Some(22), true));
    assert_eq!(sibling.read(&both, 1_000), (Some(9), true));

    // One that is dropped is gone.
    set(&view, &[]);
    let gone = Serving {
        generation: layer,
        ..view
    };
    let none = Err(StoreError::NoGeneration { generation: layer.0 });
    assert_eq!(read_one(store, gone.slot, gone.generation, &both, 1_000), none);
    assert_eq!(view.read(&both, 1_000), (Some(21), true));
    let unknown = GenerationState {
        layers: vec![unshown],
        ..state(&view)
    };
    assert_eq!(
        store.write(view.slot, view.generation, NOW, &[], Some(&unknown)),
        Err(StoreError::NoGeneration { generation: layer.0 }),
        "a layer is not begun by a state"
    );
    let next = store.begin_layer(view.slot, view.generation).unwrap();
    assert_eq!(next, Generation(3), "no number is given twice");
}

pub(super) fn a_folded_layer_is_the_generations_own(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let other = Serving::new(store, "a", "w");
    let keys: Vec<_> = (0..40).map(|k| key(&format!("k{k}"))).collect();
    let at = |k: usize, event| row(&keys[k], order(event, 1, k as u64), event * 100 + k as i64);
    view.write(1_000, &(0..30).map(|k| at(k, 5)).collect::<Vec<_>>());
    other.write(1_000, &[at(0, 5)]);
    let [first, second] = [3, 7].map(|event| {
        let layer = store.begin_layer(view.slot, view.generation).unwrap();
        // Older and newer than what is there, and keys that are not there.
        let rows: Vec<_> = (20..40).map(|k| at(k, event)).collect();
        let pending = [row(&keys[0], order(2_000 + event, 1, 1), event)];
        write(&view, layer, &rows);
        write(&view, layer, &pending);
        layer
    });
    let unshown = Err(StoreError::NoGeneration { generation: first.0 });
    assert_eq!(store.fold(view.slot, view.generation, first), unshown);
    set(&view, &[(first, true), (second, true)]);
    let found = |view: &Serving<'_>| {
        let times = [1_000, 2_004, 2_008];
        let read = |key| times.map(|at| view.read(key, at));
        keys.iter().map(read).collect::<Vec<_>>()
    };
    let before = found(&view);
    assert_eq!(before[25], [(Some(725), true); 3]);
    assert_eq!(before[0], [(Some(500), true), (Some(3), true), (Some(7), true)]);
    assert_eq!(keys_and_pending(view.count()), (40, 2));

    store.fold(view.slot, view.generation, first).unwrap();
    let shown = Layer {
        generation: second,
        is_shown: true,
    };
    assert_eq!(state(&view).layers, [shown]);
    assert_eq!(found(&view), before);
    assert_eq!(keys_and_pending(view.count()), (40, 2));
    assert_eq!(store.fold(view.slot, view.generation, first), unshown);
    // What was folded stays when the other is hidden.
    set(&view, &[(second, false)]);
    assert_eq!(view.read(&keys[35], 1_000), (Some(335), true));
    assert_eq!(view.read(&keys[25], 1_000), (Some(525), true));
    assert_eq!(view.read(&keys[0], 2_008), (Some(3), true));
    set(&view, &[(second, true)]);
    assert_eq!(view.apply_due(2_004), 1, "that of the generation");
    assert_eq!(view.apply_due(2_008), 1, "that of the layer");
    assert_eq!(view.read(&keys[0], 1_000), (Some(7), true));
    store.fold(view.slot, view.generation, second).unwrap();
    assert_eq!(view.read(&keys[0], 1_000), (Some(7), true));
    assert_eq!(view.read(&keys[39], 1_000), (Some(739), true));
    assert_eq!(keys_and_pending(view.count()), (40, 0));
    assert_eq!(other.count().keys, 1);
}

pub(super) fn the_generation_before_is_kept_and_serves_again(store: &dyn OnlineStore) {
    let old = Serving::new(store, "a", "v");
    let (slot, k) = (old.slot, key("k"));
    old.write(1_000, &[row(&k, order(1, 1, 1), 1)]);
    let layer = store.begin_layer(slot, old.generation).unwrap();
    write(&old, layer, &[row(&k, order(2, 2, 2), 2)]);
    set(&old, &[(layer, true)]);
    let begin = || store.begin_generation(slot, shape("v"), schema()).unwrap();
    let new = Serving {
        generation: begin(),
        ..old
    };
    new.write(1_000, &[row(&k, order(9, 9, 9), 9)]);
    store.serve(slot, new.generation).unwrap();
    let generations = || {
        let state = store.view_state(slot).unwrap();
        [state.serving, state.kept].map(|state| state.map(|state| state.generation))
    };
    assert_eq!(generations(), [Some(new.generation), Some(old.generation)]);
    // It takes writes, and has its layer.
    old.write(1_000, &[row(&key("later"), order(3, 3, 3), 3)]);
    assert_eq!(old.read(&k, 1_000), (Some(2), true));
    let mut state = store.view_state(slot).unwrap().kept.unwrap();
    state.progress = b"back".to_vec();
    store.exchange(slot, &[state.clone()]).unwrap();
    assert_eq!(generations(), [Some(old.generation), Some(new.generation)]);
    assert_eq!(store.view_state(slot).unwrap().serving, Some(state.clone()));
    assert_eq!(old.read(&k, 1_000), (Some(2), true));
    assert_eq!(new.read(&k, 1_000), (Some(9), true));
    state.generation = Generation(99);
    let unknown = Err(StoreError::NoGeneration { generation: 99 });
    assert_eq!(store.exchange(slot, &[state]), unknown);
    assert_eq!(generations(), [Some(old.generation), Some(new.generation)]);
    store.exchange(slot, &[]).unwrap();

    // A third one takes over: the first goes.
    let third = begin();
    store.serve(slot, third).unwrap();
    assert_eq!(generations(), [Some(third), Some(new.generation)]);
    assert_no_generation(&old, &k);
    let gone = Err(StoreError::NoGeneration { generation: layer.0 });
    assert_eq!(read_one(store, slot, layer, &k, 1_000), gone);
    store.forget_kept(slot).unwrap();
    store.forget_kept(slot).unwrap();
    assert_eq!(generations(), [Some(third), None]);
    assert_no_generation(&new, &k);
    // Where none is kept, none serves afterwards.
    store.exchange(slot, &[]).unwrap();
    assert_eq!(generations(), [None, Some(third)]);
    store.exchange(slot, &[]).unwrap();
    assert_eq!(generations(), [Some(third), None]);
}

pub(super) fn a_schema_is_known_by_one_number(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let mut wider: RowSchema = schema();
    wider.fields.push(RowField {
        name: "more".into(),
        ..wider.fields[0].clone()
    });
    let add = |schema: &RowSchema| store.add_schema(view.slot, view.generation, schema);
    assert_eq!(add(&schema()), Ok(0));
    assert_eq!(add(&wider), Ok(1));
    assert_eq!(add(&wider), Ok(1));
    assert_eq!(state(&view).schemas, [schema(), wider.clone()]);
    let none = Err(StoreError::NoGeneration { generation: 9 });
    assert_eq!(store.add_schema(view.slot, Generation(9), &wider), none);
}

pub(super) fn reopening_keeps_layers<S: OnlineStore>(store: S, reopen: &dyn Fn(S) -> S) {
    let k = key("k");
    let (slot, generation, layers) = {
        let view = Serving::new(&store, "a", "v");
        view.write(1_000, &[row(&k, order(1, 1, 1), 1)]);
        let layers = [2, 3].map(|event| {
            let layer = store.begin_layer(view.slot, view.generation).unwrap();
            write(&view, layer, &[row(&k, order(event, 1, 1), event)]);
            layer
        });
        set(&view, &[(layers[0], true), (layers[1], false)]);
        (view.slot, view.generation, layers)
    };
    let kept = store.begin_generation(slot, shape("v"), schema()).unwrap();
    store.serve(slot, kept).unwrap();
    store.exchange(slot, &[]).unwrap();
    let states = store.views().unwrap();

    let store = reopen(store);
    assert_eq!(store.views().unwrap(), states);
    let view = Serving {
        store: &store,
        slot,
        generation,
    };
    assert_eq!(view.read(&k, 1_000), (Some(2), true));
    assert_eq!(store.begin_layer(slot, generation), Ok(Generation(5)));
    store.fold(slot, generation, layers[0]).unwrap();
    assert_eq!(view.read(&k, 1_000), (Some(2), true));
    set(&view, &[(layers[1], true)]);
    assert_eq!(view.read(&k, 1_000), (Some(3), true));
}
