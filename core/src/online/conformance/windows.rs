//! Generations with tiles: what reads find is what the events of each window give, however these came.

use std::sync::Arc;

use super::layers::set_layers;
use super::sample::{address, key, order, row, schema, shape};
use crate::aggregate::tiles::{FoldedEvents, TileLayout, TiledFeature};
use crate::aggregate::{Aggregation, Function};
use crate::data_type::DataType;
use crate::definition::StoredShape;
use crate::duration::Duration;
use crate::key::EntityKey;
use crate::name::{ProjectName, SourceName};
use crate::online::intake::{Entry, Intake, IntakeRows, SourceAddress};
use crate::online::{Counts, Generation, OnlineRow, OnlineStore, StoreError, ViewSlot};
use crate::row::{StoredRow, fields_of};
use crate::time::Timestamp;
use crate::window::Window;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// The tiles of some functions of the nonce over some windows.
pub fn tiles() -> TileLayout {
    let last = |length: &str| Window::last(Duration::parse(length).unwrap(), None).unwrap();
    let windows = [last("10s"), last("1h"), last("7d"), Window::All];
    let functions = [Function::Count, Function::Sum, Function::Max, Function::LastN(2)];
    let features = windows.iter().flat_map(|window| {
        functions.map(|function| TiledFeature {
            name: format!("{function}_{window}"),
            input: 0,
            aggregation: Aggregation::new(function, DataType::Int64).unwrap(),
            window: *window,
        })
    });
    TileLayout::new(schema(), features.collect())
}

/// The shape of a view of such.
pub fn tiled(source: &str) -> StoredShape {
    StoredShape {
        tiles: Some(Arc::new(tiles())),
        ..shape(source)
    }
}

struct View<'a> {
    store: &'a dyn OnlineStore,
    slot: ViewSlot,
    generation: Generation,
}

impl<'a> View<'a> {
    fn new(store: &'a dyn OnlineStore, view: &str) -> Self {
        let slot = store.open_view(&address("windows", "string", view)).unwrap();
        let generation = store.begin_generation(slot, tiled(view), schema()).unwrap();
        store.serve(slot, generation).unwrap();
        Self {
            store,
            slot,
            generation,
        }
    }

    fn write(&self, now: i64, events: &[OnlineRow]) {
        let now = Timestamp::from_micros(now);
        self.store
            .write(self.slot, self.generation, now, events, None)
            .unwrap();
    }

    fn load(&self, now: i64, events: &[OnlineRow], progress: &[u8]) {
        let (due, pending): (Vec<OnlineRow>, Vec<OnlineRow>) = events
            .iter()
            .cloned()
            .partition(|event| event.order.due().micros() <= now);
        let mut folded = FoldedEvents::default();
        for event in &due {
            let row = StoredRow::parse(&event.bytes).unwrap();
            folded.add(&tiles(), event.key.as_bytes(), &row).unwrap();
        }
        let staged = self
            .store
            .stage_events(self.slot, self.generation, &folded, &pending, progress);
        let before = self.store.loaded(self.slot, self.generation).unwrap();
        self.store.take_in(staged.unwrap()).unwrap();
        assert_ne!(before.as_deref(), Some(progress));
        let after = self.store.loaded(self.slot, self.generation).unwrap();
        assert_eq!(after.as_deref(), Some(progress));
    }

    fn accept(&self, now: i64, number: u64, events: &[OnlineRow], note: &[u8]) -> Result<(), StoreError> {
        let rows = [IntakeRows {
            slot: self.slot,
            generation: self.generation,
            rows: events.to_vec(),
            note: Some(note.to_vec()),
        }];
        let entry = Entry {
            number,
            bytes: b"entry",
            accepted: number,
        };
        self.store.accept(
            &source(),
            Intake {
                at: Timestamp::from_micros(now),
                entry: Some(entry),
                answers: &[],
                rows: &rows,
                events: None,
                marks: &[],
                dead_letters: None,
            },
        )
    }

    fn apply_due(&self, now: i64) -> u64 {
        let now = Timestamp::from_micros(now);
        self.store.apply_due(self.slot, self.generation, now).unwrap()
    }

    fn counts(&self) -> Counts {
        self.store.count(self.slot, self.generation).unwrap()
    }

    /// Asserts that a key has, at an instant, what some events give that are due by then.
    fn check(&self, key: &EntityKey, at: i64, events: &[OnlineRow]) {
        let at = Timestamp::from_micros(at);
        let mut found = Vec::new();
        let views = [(self.slot.view, self.generation)];
        let read = self
            .store
            .read(self.slot.entity, key, &views, at, &mut |_, answer| {
                assert!(answer.winner.is_none());
                let windows = answer.windows.unwrap();
                assert!(windows.latest <= at);
                found.push(windows.body.to_vec());
                Ok(())
            });
        read.unwrap();
        let [body] = found.as_slice() else {
            panic!("{found:?}")
        };
        let outputs = tiles().outputs();
        let found = fields_of(&outputs, body).unwrap();
        for (feature, found) in tiles().features().iter().zip(found) {
            let mut partial = feature.aggregation.state().init();
            let own = events
                .iter()
                .filter(|event| event.key == *key && event.order.due() <= at);
            for event in own.filter(|event| feature.window.covers(event.order.event_time, at)) {
                let row = StoredRow::parse(&event.bytes).unwrap();
                let stored = fields_of(&schema(), row.body).unwrap()[0].unwrap();
                let state = feature.aggregation.state();
                partial.add(state.value(&DataType::Int64, stored).unwrap(), event.order);
            }
            let mut expected = Vec::new();
            let is_there = feature.aggregation.finish(&partial, &mut expected).unwrap();
            assert_eq!(
                found,
                is_there.then_some(expected.as_slice()),
                "{} at {at}",
                feature.name
            );
        }
    }
}

fn source() -> SourceAddress {
    SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse("s").unwrap(),
    }
}

/// Events of two keys, at the edges of tiles and between them, some known late.
fn events() -> Vec<OnlineRow> {
    let mut events = Vec::new();
    for number in 0..60_u64 {
        let name = if number % 3 == 0 { "a" } else { "b" };
        let event = match number % 4 {
            0 => 5 * HOUR + number as i64 * SECOND,
            1 => number as i64 * HOUR + 1,
            2 => number as i64 * HOUR,
            _ => number as i64 * HOUR - 1,
        };
        let created = if number % 5 == 0 { event + 2 * HOUR } else { event };
        events.push(row(&key(name), order(event, created, number), number as i64));
    }
    events
}

/// Instants after the first of the events, and after all of them.
const ATS: [i64; 5] = [0, 5 * HOUR + 12 * SECOND, 30 * HOUR, 59 * HOUR, 9 * 24 * HOUR];

pub(super) fn events_are_folded_however_they_come(store: &dyn OnlineStore) {
    let mut events = events();
    for (turn, view) in ["v", "w", "x"].into_iter().enumerate() {
        let view = View::new(store, view);
        let mut given: Vec<OnlineRow> = Vec::new();
        for (step, at) in ATS.into_iter().enumerate() {
            // By each way in turn: those that are due by now and some that are pending.
            for (chunk, part) in events.chunks(7).enumerate() {
                let new: Vec<OnlineRow> = part
                    .iter()
                    .filter(|event| (chunk + step) % 3 == 0 || event.order.due().micros() <= at)
                    .filter(|event| !given.contains(event))
                    .cloned()
                    .collect();
                match (chunk + turn) % 3 {
                    0 => view.write(at, &new),
                    1 => view.load(at, &new, format!("{step} {chunk}").as_bytes()),
                    _ => view
                        .accept(at, (step * 100 + chunk) as u64, &new, b"note")
                        .unwrap(),
                }
                given.extend(new);
            }
            for name in ["a", "b", "never"] {
                view.check(&key(name), at, &given);
            }
            if step % 2 == 1 {
                view.apply_due(at);
                view.check(&key("a"), at, &given);
            }
        }
        assert_eq!(given.len(), events.len());
        view.apply_due(ATS[4]);
        assert_eq!((view.counts().keys, view.counts().pending), (2, 0));
        // In another order for the next view.
        events.reverse();
        events.rotate_left(11);
    }
}

pub(super) fn a_pending_event_is_folded_once(store: &dyn OnlineStore) {
    let view = View::new(store, "v");
    let late = row(&key("a"), order(10, 2_000, 1), 7);
    let events = [late, row(&key("a"), order(20, 20, 2), 8)];
    view.write(1_000, &events[..1]);
    view.load(1_000, &events[1..], b"some");
    assert_eq!((view.counts().keys, view.counts().pending), (1, 1));
    for at in [1_000, 1_999, 2_000] {
        view.check(&key("a"), at, &events);
    }
    assert_eq!(view.apply_due(1_999), 0);
    assert_eq!(view.apply_due(2_000), 1);
    assert_eq!(view.apply_due(9_000), 0);
    view.check(&key("a"), 3_000, &events);
    assert_eq!((view.counts().keys, view.counts().pending), (1, 0));
}

pub(super) fn events_of_a_layer_are_added_while_it_is_shown(store: &dyn OnlineStore) {
    let view = View::new(store, "v");
    let all = events();
    let (own, rest) = all.split_at(20);
    let (first, second) = rest.split_at(20);
    let a = key("a");
    let check = |events: &[OnlineRow]| ATS[2..].iter().for_each(|at| view.check(&a, *at, events));
    view.write(ATS[2], own);
    let begin = || View {
        generation: store.begin_layer(view.slot, view.generation).unwrap(),
        ..view
    };
    let layers = [begin(), begin()];
    layers[0].load(ATS[2], first, b"some");
    layers[1].load(ATS[2], second, b"others");
    let pending = |of: &[OnlineRow]| {
        of.iter()
            .filter(|event| event.order.due().micros() > ATS[2])
            .count() as u64
    };
    let numbers = [layers[0].generation, layers[1].generation];
    let set = |shown: [bool; 2]| {
        set_layers(
            store,
            view.slot,
            &[(numbers[0], shown[0]), (numbers[1], shown[1])],
        );
    };
    check(own);
    set([true, false]);
    check(&[own, first].concat());
    set([true, true]);
    check(&all);
    assert_eq!((view.counts().keys, view.counts().pending), (2, pending(&all)));
    set([false, true]);
    check(&[own, second].concat());
    set([true, true]);
    store.fold(view.slot, view.generation, numbers[0]).unwrap();
    check(&all);
    assert_eq!((view.counts().keys, view.counts().pending), (2, pending(&all)));
    let later = row(&a, order(1, 1, 999), 999);
    view.write(ATS[2], std::slice::from_ref(&later));
    let with_it = [all.as_slice(), std::slice::from_ref(&later)].concat();
    check(&with_it);
    assert_eq!(view.apply_due(ATS[4]), pending(&all), "of both");
    view.check(&a, ATS[4], &with_it);
    store.fold(view.slot, view.generation, numbers[1]).unwrap();
    view.check(&a, ATS[4], &with_it);
    assert_eq!((view.counts().keys, view.counts().pending), (2, 0));
}

pub(super) fn what_is_staged_is_seen_with_its_progress_only(store: &dyn OnlineStore) {
    let view = View::new(store, "v");
    let events = [
        row(&key("a"), order(1, 1, 1), 1),
        row(&key("a"), order(9_000, 9_000, 2), 2),
    ];
    let mut folded = FoldedEvents::default();
    let first = StoredRow::parse(&events[0].bytes).unwrap();
    folded.add(&tiles(), events[0].key.as_bytes(), &first).unwrap();
    let staged = |progress| {
        let staged = store.stage_events(view.slot, view.generation, &folded, &events[1..], progress);
        staged.unwrap()
    };
    drop(staged(b"dropped"));
    view.check(&key("a"), 10_000, &[]);
    assert_eq!(store.loaded(view.slot, view.generation).unwrap(), None);
    assert_eq!(view.counts().pending, 0);
    store.take_in(staged(b"taken in")).unwrap();
    view.check(&key("a"), 10_000, &events);
    assert_eq!(
        store.loaded(view.slot, view.generation).unwrap().as_deref(),
        Some(b"taken in".as_slice())
    );
}

pub(super) fn notes_are_written_with_their_rows(store: &dyn OnlineStore) {
    let view = View::new(store, "v");
    let noted = || store.noted(view.slot, view.generation);
    let events = [1, 2].map(|seq| row(&key("a"), order(1, 1, seq), 1));
    assert_eq!(noted().unwrap(), None);
    for (event, note) in events.iter().zip([b"first".as_slice(), b"second"]) {
        view.accept(1_000, 1, std::slice::from_ref(event), note).unwrap();
        assert_eq!(noted().unwrap().as_deref(), Some(note));
    }
    view.check(&key("a"), 1_000, &events);
    let next = store.begin_generation(view.slot, tiled("v"), schema()).unwrap();
    assert_eq!(store.noted(view.slot, next).unwrap(), None);
    store.serve(view.slot, next).unwrap();
    assert_eq!(
        noted().unwrap().as_deref(),
        Some(b"second".as_slice()),
        "it is kept"
    );
    store.forget_kept(view.slot).unwrap();
    assert!(matches!(noted(), Err(StoreError::NoGeneration { .. })));
    let refused = view.accept(1_000, 2, &events[..1], b"third");
    assert!(matches!(refused, Err(StoreError::NoGeneration { .. })));
}

pub(super) fn reopening_keeps_tiles<S: OnlineStore>(store: S, reopen: &dyn Fn(S) -> S) {
    let events = events();
    let (slot, generation) = {
        let view = View::new(&store, "v");
        view.write(ATS[2], &events[..20]);
        view.load(ATS[2], &events[20..40], b"some");
        view.accept(ATS[2], 1, &events[40..], b"note").unwrap();
        (view.slot, view.generation)
    };
    let odd = StoredShape {
        tiles: Some(Arc::new(odd_tiles())),
        ..shape("odd")
    };
    let other = store.open_view(&address("windows", "string", "odd")).unwrap();
    store.begin_generation(other, odd.clone(), schema()).unwrap();
    let store = reopen(store);
    assert_eq!(store.view_state(other).unwrap().building.unwrap().shape, odd);
    let view = View {
        store: &store,
        slot,
        generation,
    };
    let state = store.view_state(slot).unwrap().serving.unwrap();
    assert_eq!(state.shape, tiled("v"));
    assert_eq!(state.answers(), [tiles().outputs()]);
    assert_eq!(
        store.noted(slot, generation).unwrap().as_deref(),
        Some(b"note".as_slice())
    );
    for at in &ATS[2..] {
        view.check(&key("a"), *at, &events);
        view.check(&key("b"), *at, &events);
        view.apply_due(*at);
    }
    view.check(&key("b"), ATS[4], &events);
}

/// Tiles of every function and of windows of every kind.
fn odd_tiles() -> TileLayout {
    let windows = [
        Window::All,
        Window::last(Duration::parse("1us").unwrap(), None).unwrap(),
        Window::last(
            Duration::parse("30d").unwrap(),
            Some(Duration::parse("7s").unwrap()),
        )
        .unwrap(),
    ];
    let functions = Function::WORDS.map(|word| Function::from_word(word, 3).unwrap());
    let feature = |(place, function): (usize, Function)| TiledFeature {
        name: format!("odd {function}"),
        input: 0,
        aggregation: Aggregation::new(function, DataType::Int64).unwrap(),
        window: windows[place % windows.len()],
    };
    TileLayout::new(schema(), functions.into_iter().enumerate().map(feature).collect())
}
