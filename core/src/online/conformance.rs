//! What every implementation of [`OnlineStore`] must do, as tests to be run on it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test suite fails by panicking"
)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use super::{Counts, Generation, GenerationState, OnlineRow, OnlineStore, StoreError, ViewAddress, ViewSlot};
use crate::data_type::{DataType, KeyType};
use crate::definition::StoredShape;
use crate::key::{EntityKey, KeyValue, encode};
use crate::name::{EntityName, ProjectName, ViewName};
use crate::order::RowOrder;
use crate::row::{RowEncoder, RowField, RowSchema};
use crate::time::Timestamp;

/// Runs the suite: `fresh` makes an empty store, `reopen` closes a store and opens it again (a store
/// that cannot gives back the same one).
///
/// # Panics
///
/// Where the store breaks the contract.
pub fn run<S: OnlineStore>(fresh: &dyn Fn() -> S, reopen: &dyn Fn(S) -> S) {
    slots_are_stable_and_distinct(&fresh());
    newest_wins_in_every_order(&fresh());
    reads_answer_place_by_place(&fresh());
    keys_and_views_do_not_mix(&fresh());
    pending_rows_wait_until_due(&fresh());
    pending_rows_are_applied_once(&fresh());
    an_older_pending_row_never_surfaces(&fresh());
    a_clock_set_back_loses_nothing(&fresh());
    a_generation_is_built_unseen_and_takes_over(&fresh());
    a_generation_given_up_is_gone(&fresh());
    rows_and_state_are_written_together(&fresh());
    changes_of_views_are_counted(&fresh());
    dropping_a_view_is_scoped(&fresh());
    damage_is_named_where_it_is_needed(&fresh());
    reopening_keeps_everything(fresh(), reopen);
}

/// The address of a view of project `p`.
pub fn address(entity: &str, key_type: &str, view: &str) -> ViewAddress {
    ViewAddress {
        project: ProjectName::parse("p").unwrap(),
        entity: EntityName::parse(entity).unwrap(),
        key_types: vec![KeyType::parse(key_type).unwrap()],
        view: ViewName::parse(view).unwrap(),
    }
}

/// The shape of a view whose rows come from `source`.
pub fn shape(source: &str) -> StoredShape {
    StoredShape {
        rows: format!("source {source}"),
        features: vec!["nonce int64 \"nonce\"".into()],
    }
}

/// The schema of the rows that [`row`] makes: one `int64`.
pub fn schema() -> RowSchema {
    RowSchema {
        fields: vec![RowField {
            name: "nonce".into(),
            data_type: DataType::Int64,
        }],
    }
}

/// The key of one text.
pub fn key(text: &str) -> EntityKey {
    encode(&[Some(KeyValue::String(text.into()))]).unwrap()
}

/// The place `(event, created, seq)`, times in microseconds.
pub fn order(event: i64, created: i64, seq: u64) -> RowOrder {
    RowOrder {
        event_time: Timestamp::from_micros(event),
        created_time: Timestamp::from_micros(created),
        seq,
    }
}

/// A row of `key` at `order` that holds `nonce`.
pub fn row(key: &EntityKey, order: RowOrder, nonce: i64) -> OnlineRow {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![nonce]));
    let mut bytes = Vec::new();
    RowEncoder::try_new(&schema(), 0, &[column])
        .unwrap()
        .encode(0, order, false, &mut bytes);
    OnlineRow {
        key: key.clone(),
        order,
        bytes,
    }
}

/// The nonce in the body of a row that [`row`] made.
pub fn nonce(body: &[u8]) -> i64 {
    // A bitmap of one byte, then the value.
    i64::from_le_bytes(body[1..].try_into().unwrap())
}

/// The nonce of the winner, if any, and whether something is held back.
pub type Answer = (Option<i64>, bool);

/// What a read of one key in one view finds.
pub fn read_one(
    store: &dyn OnlineStore,
    slot: ViewSlot,
    generation: Generation,
    key: &EntityKey,
    at: i64,
) -> Result<Answer, StoreError> {
    let mut answers = Vec::new();
    let at = Timestamp::from_micros(at);
    store.read(
        slot.entity,
        key,
        &[(slot.view, generation)],
        at,
        &mut |_, found| {
            answers.push((found.winner.map(|row| nonce(row.body)), found.held_back));
            Ok(())
        },
    )?;
    assert_eq!(answers.len(), 1, "one visit for one view");
    Ok(answers[0])
}

const NOW: Timestamp = Timestamp::from_micros(1_000);
const NOTHING: Answer = (None, false);

/// A view with a first generation, which serves.
struct Serving<'a> {
    store: &'a dyn OnlineStore,
    slot: ViewSlot,
    generation: Generation,
}

impl<'a> Serving<'a> {
    fn new(store: &'a dyn OnlineStore, entity: &str, view: &str) -> Self {
        let slot = store.open_view(&address(entity, "string", view)).unwrap();
        let generation = store.begin_generation(slot, shape(view), schema()).unwrap();
        store.serve(slot, generation).unwrap();
        Self {
            store,
            slot,
            generation,
        }
    }

    fn write(&self, now: i64, rows: &[OnlineRow]) {
        let now = Timestamp::from_micros(now);
        self.store
            .write(self.slot, self.generation, now, rows, None)
            .unwrap();
    }

    fn read(&self, key: &EntityKey, at: i64) -> Answer {
        read_one(self.store, self.slot, self.generation, key, at).unwrap()
    }

    fn apply_due(&self, now: i64) -> u64 {
        self.store
            .apply_due(self.slot, self.generation, Timestamp::from_micros(now))
            .unwrap()
    }

    fn count(&self) -> Counts {
        self.store.count(self.slot, self.generation).unwrap()
    }
}

fn slots_are_stable_and_distinct(store: &dyn OnlineStore) {
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

fn permutations(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(length - 1);
    let insert = |at: usize, order: &Vec<usize>| {
        let mut order = order.clone();
        order.insert(at, length - 1);
        order
    };
    (0..length)
        .flat_map(|at| shorter.iter().map(move |order| insert(at, order)))
        .collect()
}

fn newest_wins_in_every_order(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    // Ascending: each is beaten by the next, the last three by one field each.
    let orders = [
        order(-7, 900, 90),
        order(5, 6, 90),
        order(5, 7, 1),
        order(5, 7, 2),
    ];
    for (case, permutation) in permutations(orders.len()).into_iter().enumerate() {
        let key = key(&format!("k{case}"));
        for (written, place) in permutation.iter().enumerate() {
            let row = row(&key, orders[*place], *place as i64);
            view.write(1_000, std::slice::from_ref(&row));
            view.write(1_000, &[row]);
            let best = permutation[..=written].iter().max().unwrap();
            assert_eq!(
                view.read(&key, 1_000),
                (Some(*best as i64), true),
                "{permutation:?}"
            );
        }
    }
    // The same within one write, twice over.
    let key = key("batch");
    let rows: Vec<_> = [2, 3, 0, 1, 3, 2]
        .map(|place: usize| row(&key, orders[place], place as i64))
        .into();
    view.write(1_000, &rows);
    assert_eq!(view.read(&key, 1_000), (Some(3), true));
    assert_eq!(view.count().keys, 25);
}

fn reads_answer_place_by_place(store: &dyn OnlineStore) {
    let views: Vec<_> = (0..12)
        .map(|view| Serving::new(store, "a", &format!("v{view}")))
        .collect();
    let key = key("k");
    // The odd views have the key.
    for (nonce, view) in views.iter().enumerate().filter(|(view, _)| view % 2 == 1) {
        view.write(1_000, &[row(&key, order(1, 1, 1), nonce as i64)]);
    }
    let read = |places: &[usize], key: &EntityKey| {
        let wanted: Vec<_> = places
            .iter()
            .map(|place| (views[*place].slot.view, views[*place].generation))
            .collect();
        let mut answers = vec![None; places.len()];
        store
            .read(views[0].slot.entity, key, &wanted, NOW, &mut |place, found| {
                assert_eq!(answers[place], None, "one visit for each place");
                answers[place] = Some(found.winner.map(|row| nonce(row.body)));
                Ok(())
            })
            .unwrap();
        answers.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    // Unsorted, missing and twice.
    let expect = [Some(11), None, Some(3), Some(3), None, Some(1)];
    assert_eq!(read(&[11, 0, 3, 3, 10, 1], &key), expect);
    assert_eq!(read(&[], &key), []);
    assert_eq!(read(&[1, 3], &super::conformance::key("absent")), [None, None]);

    let mut visits = 0;
    let wanted = [
        (views[1].slot.view, views[1].generation),
        (views[3].slot.view, views[3].generation),
    ];
    let stop = StoreError::NoGeneration { generation: 77 };
    let ended = store.read(views[0].slot.entity, &key, &wanted, NOW, &mut |_, _| {
        visits += 1;
        Err(stop.clone())
    });
    assert_eq!(
        (ended, visits),
        (Err(stop), 1),
        "an error of the caller's ends the read"
    );
}

fn keys_and_views_do_not_mix(store: &dyn OnlineStore) {
    let names = ["a", "a_b", "a_b_c", "b"];
    let texts = ["", "a", "a_b", "a/b", "a\0", "a\0b", "ab", "\u{10ffff}"];
    let views: Vec<_> = names
        .iter()
        .flat_map(|entity| names.iter().map(|view| Serving::new(store, entity, view)))
        .collect();
    for (v, view) in views.iter().enumerate() {
        for (k, text) in texts.iter().enumerate() {
            view.write(1_000, &[row(&key(text), order(1, 1, 1), (v * 100 + k) as i64)]);
        }
    }
    for (v, view) in views.iter().enumerate() {
        for (k, text) in texts.iter().enumerate() {
            let expect = (Some((v * 100 + k) as i64), true);
            assert_eq!(view.read(&key(text), 1_000), expect, "{text:?} in view {v}");
        }
        assert_eq!(view.read(&key("a_"), 1_000), NOTHING);
        assert_eq!(view.count().keys, texts.len() as u64);
    }
}

fn pending_rows_wait_until_due(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    // Due by event time, by created time, and at the instant of the write.
    view.write(100, &[row(&k, order(200, 150, 1), 1)]);
    assert_eq!(view.read(&k, 199), NOTHING, "it has not happened");
    assert_eq!(view.read(&k, 200), (Some(1), true), "due to the microsecond");

    let k = key("created");
    view.write(100, &[row(&k, order(50, 300, 1), 2)]);
    assert_eq!(view.read(&k, 49), NOTHING);
    assert_eq!(
        view.read(&k, 50),
        (None, true),
        "it has happened, but was not known"
    );
    assert_eq!(view.read(&k, 299), (None, true));
    assert_eq!(view.read(&k, 300), (Some(2), true));

    let k = key("exact");
    view.write(100, &[row(&k, order(100, 100, 1), 3)]);
    assert_eq!(
        view.count().pending,
        2,
        "a row that is due at the write is not pending"
    );
    assert_eq!(view.read(&k, 100), (Some(3), true));

    // Several for one key, over a row that is there.
    let k = key("several");
    let orders = [
        order(10, 10, 1),
        order(110, 400, 1),
        order(120, 300, 1),
        order(500, 130, 1),
    ];
    let rows: Vec<_> = orders
        .iter()
        .zip(1..)
        .map(|(order, nonce)| row(&k, *order, nonce))
        .collect();
    view.write(100, &rows);
    for (at, expect) in [(100, 1), (299, 1), (300, 3), (400, 3), (499, 3), (500, 4)] {
        assert_eq!(view.read(&k, at), (Some(expect), true), "at {at}");
    }
    assert_eq!(view.count().pending, 5);
}

fn pending_rows_are_applied_once(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let other = Serving::new(store, "a", "v_b");
    let keys: Vec<_> = (0..3_000).map(|k| key(&format!("k{k}"))).collect();
    for (due, key) in (1_001..).zip(&keys) {
        view.write(1_000, &[row(key, order(due, 0, 1), due)]);
    }
    other.write(1_000, &[row(&keys[0], order(1_001, 0, 1), 7)]);
    let k = &keys[0];
    view.write(
        1_000,
        &[
            row(k, order(1_001, 0, 1), 1_001),
            row(k, order(9_999, 0, 1), 9_999),
        ],
    );
    assert_eq!(
        view.count(),
        Counts {
            keys: 0,
            pending: 3_001,
            ..view.count()
        }
    );

    assert_eq!(view.apply_due(1_000), 0);
    assert_eq!(view.apply_due(3_500), 2_500);
    assert_eq!(view.apply_due(3_500), 0, "applying twice changes nothing");
    assert_eq!(
        view.apply_due(2_000),
        0,
        "nor does applying as of an earlier instant"
    );
    assert_eq!((view.count().keys, view.count().pending), (2_500, 501));
    assert_eq!(view.read(k, 3_500), (Some(1_001), true));
    assert_eq!(view.read(&keys[2_499], 3_500), (Some(3_500), true));
    assert_eq!(view.read(&keys[2_500], 3_500), NOTHING);
    assert_eq!(view.read(k, 9_999), (Some(9_999), true));
    assert_eq!(other.count().pending, 1, "another view's rows stay");

    view.write(1_000, &[row(k, order(1_001, 0, 1), 1_001)]);
    assert_eq!(
        view.read(k, 5_000),
        (Some(1_001), true),
        "a retry changes nothing"
    );
    assert_eq!(view.apply_due(i64::MAX), 502);
    assert_eq!((view.count().keys, view.count().pending), (3_000, 0));
    assert_eq!(view.read(k, 9_999), (Some(9_999), true));
}

fn an_older_pending_row_never_surfaces(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    // Known late, of an older event than the row that is there.
    view.write(
        100,
        &[row(&k, order(50, 200, 9), 1), row(&k, order(90, 90, 1), 2)],
    );
    for at in [100, 199, 200, 201] {
        assert_eq!(view.read(&k, at), (Some(2), true), "at {at}");
    }
    assert_eq!(view.apply_due(200), 1, "it is merged, and loses");
    assert_eq!(view.read(&k, 200), (Some(2), true));
}

fn a_clock_set_back_loses_nothing(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    let k = key("k");
    view.write(
        100,
        &[row(&k, order(100, 100, 1), 1), row(&k, order(150, 150, 1), 2)],
    );
    for (at, expect) in [(100, 1), (150, 2), (100, 1), (200, 2), (120, 1)] {
        assert_eq!(view.read(&k, at), (Some(expect), true), "at {at}");
    }
    assert_eq!(view.apply_due(150), 1);
    // The store was told that 150 has passed.
    assert_eq!(
        view.read(&k, 99),
        (Some(2), true),
        "a row that was visible stays visible"
    );
    view.write(
        50,
        &[row(&k, order(60, 60, 1), 3), row(&k, order(160, 160, 1), 4)],
    );
    assert_eq!(view.read(&k, 70), (Some(2), true));
    assert_eq!(view.read(&k, 160), (Some(4), true));
    assert_eq!(view.apply_due(160), 2);
    assert_eq!(view.read(&k, 50), (Some(4), true));
}

fn a_generation_is_built_unseen_and_takes_over(store: &dyn OnlineStore) {
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
    assert_eq!(new.read(&k, 5_000), (Some(2), true));
    assert_eq!(new.read(&gone, 1_000), NOTHING);
    assert_eq!(new.apply_due(5_000), 0, "pending rows of the old one are gone");
    assert_no_generation(&old, &k);
    assert_eq!(sibling.read(&k, 1_000), (Some(8), true));
}

fn a_generation_given_up_is_gone(store: &dyn OnlineStore) {
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
}

/// A generation that is gone is an error to whoever still knows it, and never "nothing there".
fn assert_no_generation(gone: &Serving<'_>, key: &EntityKey) {
    let Serving {
        store,
        slot,
        generation,
    } = *gone;
    let error = StoreError::NoGeneration {
        generation: generation.0,
    };
    assert_eq!(read_one(store, slot, generation, key, 1_000), Err(error.clone()));
    assert_eq!(store.write(slot, generation, NOW, &[], None), Err(error.clone()));
    assert_eq!(store.apply_due(slot, generation, NOW), Err(error.clone()));
    assert_eq!(store.count(slot, generation), Err(error.clone()));
    assert_eq!(store.serve(slot, generation), Err(error));
}

fn rows_and_state_are_written_together(store: &dyn OnlineStore) {
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

/// A store that counts gives a new number with every change, and keeps it while rows alone are written.
fn changes_of_views_are_counted(store: &dyn OnlineStore) {
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

/// A state in which every field differs from that of a generation that was just begun.
fn evolved_state(generation: Generation) -> GenerationState {
    let mut wider = schema();
    wider.fields.push(RowField {
        name: "odd \"name\"".into(),
        data_type: DataType::parse("list<struct<\"a b\": decimal(10,2), c: map<string,embedding(3)>>>")
            .unwrap(),
    });
    GenerationState {
        generation,
        shape: StoredShape {
            rows: "source v\nsql Some(\"select \\u{1} from 'ü'\")".into(),
            features: vec![String::new(), "x".into()],
        },
        schemas: vec![schema(), wider],
        as_of: Some(Timestamp::from_micros(-5)),
        progress: (0..=255).collect(),
    }
}

fn dropping_a_view_is_scoped(store: &dyn OnlineStore) {
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

fn damage_is_named_where_it_is_needed(store: &dyn OnlineStore) {
    let sound = Serving::new(store, "a", "sound");
    let damaged = Serving::new(store, "a", "v");
    let k = key("k");
    sound.write(1_000, &[row(&k, order(1, 1, 1), 1)]);
    let mut flipped = row(&k, order(1, 1, 1), 1);
    *flipped.bytes.last_mut().unwrap() ^= 1;
    damaged.write(1_000, &[flipped]);
    let refused = read_one(store, damaged.slot, damaged.generation, &k, 1_000);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    let refused = store.count(damaged.slot, damaged.generation);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    assert_eq!(damaged.read(&key("other"), 1_000), NOTHING);
    assert_eq!(
        sound.read(&k, 1_000),
        (Some(1), true),
        "the same key of another view"
    );

    // Bytes that are not a row at all lose to any row.
    let short = OnlineRow {
        bytes: vec![0xff; 5],
        ..row(&k, order(1, 1, 1), 1)
    };
    sound.write(1_000, &[short]);
    assert_eq!(sound.read(&k, 1_000), (Some(1), true));
}

fn reopening_keeps_everything<S: OnlineStore>(store: S, reopen: &dyn Fn(S) -> S) {
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
    let (views, counts) = (store.views().unwrap(), store.count(slot, generation).unwrap());
    assert_eq!(views.len(), 1);

    let store = reopen(store);
    assert_eq!(store.views().unwrap(), views);
    assert_eq!(store.view_state(slot).unwrap().serving, Some(state));
    assert_eq!(store.count(slot, generation).unwrap(), counts);
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
            bytes: (bytes - lost) as u64
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
