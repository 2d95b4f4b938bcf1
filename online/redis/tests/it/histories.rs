//! Random histories of everything that a store does, side by side with its twin in memory.

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::cancel::Cancellation;
use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::conformance::{address, key, nonce, order, row, schema, shape, sorted, tiled, tiles};
use asof_core::online::intake::{Answer, Entry, Events, Intake, IntakeRows, SourceAddress, StreamMark};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{
    Generation, GenerationState, OnlineRow, OnlineStore, ReadSet, StoreError, Survey, ViewSlot,
};
use asof_core::row::StoredRow;
use asof_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use asof_redis::{RedisOptions, RedisStore};

use crate::harness;
use crate::servers::{Cluster, Server};

/// Names of which one is the beginning of the other, for entities, views, sources and keys.
const NAMES: [&str; 4] = ["a", "a_b", "ab", "b"];
const KEYS: [&str; 8] = ["", "a", "a_b", "a/b", "{a}", "}{", "a\0", "\u{10ffff}"];
const SECOND: i64 = 1_000_000;

/// A step of a history, with all that it needs to be done twice.
#[derive(Debug, Clone)]
enum Step {
    Open(usize, usize),
    Begin(usize),
    Serve(usize),
    GiveUp(usize),
    Drop(usize),
    Sweep,
    Write(usize, Side, i64, Vec<OnlineRow>, Option<Vec<u8>>),
    Load(usize, Side, i64, Vec<OnlineRow>, Vec<u8>),
    Accept(usize, i64, Vec<(usize, Side, Vec<OnlineRow>)>, u64),
    Due(usize, Side, i64, bool),
    BeginLayer(usize),
    /// Shows all layers of the generation that serves, or hides or drops the last one.
    Layers(usize, Option<bool>),
    Fold(usize),
    Exchange(usize),
    ForgetKept(usize),
    AddSchema(usize),
    Trim(usize, u64),
    Forget(i64),
    NoteEvents(usize, Vec<EntityKey>, bool),
    ForgetEvents(usize),
}

/// Which generation of a view.
#[derive(Debug, Clone, Copy)]
enum Side {
    Serving,
    Building,
    Kept,
    /// The last layer of the one that serves.
    Layer,
}

/// The same history in two stores. Numbers of views may differ, so each keeps its own.
struct History {
    stores: [Box<dyn OnlineStore>; 2],
    /// Of each view, by entity and name, its slots.
    views: Vec<((usize, usize), [ViewSlot; 2])>,
    clock: i64,
    number: u64,
}

fn source(name: &str) -> SourceAddress {
    SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse(name).unwrap(),
    }
}

/// Every second view is one of tiles.
fn is_tiled(view: usize) -> bool {
    view % 2 == 1
}

impl History {
    fn new(store: RedisStore) -> Self {
        Self {
            stores: [Box::new(store), Box::new(MemoryStore::new())],
            views: Vec::new(),
            clock: 1_000 * SECOND,
            number: 0,
        }
    }

    fn rows(&self, random: &mut StdRng) -> Vec<OnlineRow> {
        let count = random.random_range(1..6);
        let rows = (0..count).map(|_| {
            let k = key(KEYS.choose(random).unwrap());
            let mut time = || self.clock + random.random_range(-20..5) * SECOND;
            let (event, created) = (time(), time());
            // A retry of a row is the same row.
            let seq = random.random_range(0..3);
            row(
                &k,
                order(event, created, seq),
                event / SECOND * 7 + created / SECOND + seq as i64,
            )
        });
        let mut rows: Vec<OnlineRow> = rows.collect();
        // An event that waits is one event, however often it comes.
        rows.sort_by(|a, b| (a.key.as_bytes(), a.order).cmp(&(b.key.as_bytes(), b.order)));
        rows.dedup_by(|a, b| a.key == b.key && a.order == b.order);
        rows
    }

    fn step(&mut self, random: &mut StdRng) -> Step {
        self.clock += random.random_range(0..2) * SECOND;
        self.number += 1;
        let now = self.clock + random.random_range(-2..=0) * SECOND;
        let view = random.random_range(0..self.views.len().max(1));
        let sides = [
            Side::Serving,
            Side::Serving,
            Side::Building,
            Side::Kept,
            Side::Layer,
        ];
        let side = *sides.choose(random).unwrap();
        let rows = self.rows(random);
        let bytes = self.number.to_be_bytes().to_vec();
        let from = random.random_range(0..2);
        if self.views.len() < 3 {
            return Step::Open(
                random.random_range(0..NAMES.len()),
                random.random_range(0..NAMES.len()),
            );
        }
        match random.random_range(0..56) {
            0..=1 => Step::Open(
                random.random_range(0..NAMES.len()),
                random.random_range(0..NAMES.len()),
            ),
            2..=5 => Step::Begin(view),
            6..=8 => Step::Serve(view),
            9 => Step::GiveUp(view),
            10 => Step::Drop(view),
            11 => Step::Sweep,
            12..=18 => Step::Write(view, side, now, rows, random.random_ratio(1, 4).then_some(bytes)),
            19..=23 => Step::Load(view, side, now, rows, bytes),
            24..=31 => {
                let groups = (0..random.random_range(0..4)).map(|_| {
                    let view = random.random_range(0..self.views.len());
                    let side = if random.random_ratio(1, 4) {
                        Side::Building
                    } else {
                        Side::Serving
                    };
                    (view, side, self.rows(random))
                });
                Step::Accept(from, now, groups.collect(), self.number)
            }
            32..=34 => Step::Due(view, side, now, random.random_ratio(1, 2)),
            35 => Step::Trim(from, self.number.saturating_sub(random.random_range(0..30))),
            36 => Step::Forget(now - random.random_range(0..20) * SECOND),
            37..=38 => Step::NoteEvents(
                from,
                rows.into_iter().map(|row| row.key).collect(),
                random.random(),
            ),
            39 => Step::ForgetEvents(from),
            40..=42 => Step::BeginLayer(view),
            43..=47 => Step::Layers(
                view,
                [Some(true), Some(true), Some(false), None][random.random_range(0..4)],
            ),
            48..=51 => Step::Fold(view),
            52 => Step::Exchange(view),
            53 => Step::ForgetKept(view),
            54 => Step::AddSchema(view),
            // Rows for layers, which are seldom met else.
            _ if random.random() => Step::Write(view, Side::Layer, now, rows, None),
            _ => Step::Load(view, Side::Layer, now, rows, bytes),
        }
    }

    fn generation(&self, which: usize, view: usize, side: Side) -> Option<Generation> {
        let (_, slots) = self.views.get(view)?;
        let state = self.stores[which].view_state(slots[which]).unwrap();
        let generation = match side {
            Side::Serving => state.serving,
            Side::Building => state.building,
            Side::Kept => state.kept,
            Side::Layer => return Some(state.serving?.layers.last()?.generation),
        };
        generation.map(|state| state.generation)
    }

    /// Does a step in both; what they answer must be the same.
    fn take(&mut self, step: &Step, case: &str) {
        if let Step::Open(entity, view) = step {
            let slots = [0, 1].map(|which| {
                let address = address(NAMES[*entity], "string", NAMES[*view]);
                self.stores[which].open_view(&address).unwrap()
            });
            if !self.views.iter().any(|(known, _)| known == &(*entity, *view)) {
                self.views.push(((*entity, *view), slots));
            }
            return;
        }
        let [here, there] = [0, 1].map(|which| self.take_in_one(which, step));
        assert_eq!(here, there, "{step:?}, {case}");
        if let Step::Drop(view) = step
            && *view < self.views.len()
        {
            self.views.remove(*view);
        }
    }

    fn take_in_one(&self, which: usize, step: &Step) -> Result<u64, StoreError> {
        let store = &self.stores[which];
        let slot = |view: &usize| self.views.get(*view).map(|(_, slots)| slots[which]);
        let place = |view: &usize, side: &Side| Some((slot(view)?, self.generation(which, *view, *side)?));
        let layout = |view: &usize| is_tiled(self.views[*view].0.1);
        let micros = Timestamp::from_micros;
        match step {
            Step::Open(..) => Ok(0),
            Step::Begin(view) => {
                let shape = if layout(view) { tiled("s") } else { shape("s") };
                let begun = store.begin_generation(slot(view).unwrap(), shape, schema())?;
                Ok(u64::from(begun.0))
            }
            Step::Serve(view) => match place(view, &Side::Building) {
                Some((slot, generation)) => store.serve(slot, generation).map(|()| 1),
                None => Ok(0),
            },
            Step::GiveUp(view) => store.give_up(slot(view).unwrap()).map(|()| 0),
            Step::Drop(view) => store.drop_view(slot(view).unwrap()),
            Step::Sweep => store.remove_given_up().map(|()| 0),
            Step::Write(view, side, now, rows, progress) => {
                let Some((slot, generation)) = place(view, side) else {
                    return Ok(0);
                };
                let progress = progress.as_ref().filter(|_| !matches!(side, Side::Layer));
                let state = progress.map(|progress| {
                    let state = store.view_state(slot).unwrap();
                    let mut state = state.generation(generation).unwrap().clone();
                    state.progress.clone_from(progress);
                    state.as_of = Some(micros(*now));
                    state
                });
                store.write(slot, generation, micros(*now), rows, state.as_ref())?;
                Ok(1)
            }
            Step::Load(view, side, now, rows, progress) => {
                let Some((slot, generation)) = place(view, side) else {
                    return Ok(0);
                };
                let (due, pending): (Vec<OnlineRow>, Vec<OnlineRow>) = rows
                    .iter()
                    .cloned()
                    .partition(|row| row.order.due() <= micros(*now));
                if !layout(view) {
                    store.load(slot, generation, &sorted(&due), progress)?;
                    return Ok(1);
                }
                let mut folded = FoldedEvents::default();
                for event in &due {
                    let parsed = StoredRow::parse(&event.bytes).unwrap();
                    folded.add(&tiles(), event.key.as_bytes(), &parsed).unwrap();
                }
                let staged = store.stage_events(slot, generation, &folded, &pending, progress)?;
                store.take_in(staged)?;
                Ok(2)
            }
            Step::Accept(from, now, groups, number) => {
                let rows: Vec<IntakeRows> = groups
                    .iter()
                    .filter_map(|(view, side, rows)| {
                        let (slot, generation) = place(view, side)?;
                        Some(IntakeRows {
                            slot,
                            generation,
                            rows: rows.clone(),
                            note: Some(number.to_be_bytes().to_vec()),
                        })
                    })
                    .collect();
                let text = number.to_string();
                let ids = [key(KEYS[*number as usize % KEYS.len()])];
                let intake = Intake {
                    at: micros(*now),
                    entry: (number % 5 != 0).then_some(Entry {
                        number: *number,
                        bytes: text.as_bytes(),
                        accepted: *number,
                    }),
                    answers: &[Answer {
                        id: (number % 9).to_string(),
                        bytes: text.clone().into_bytes(),
                    }],
                    rows: &rows,
                    events: (number % 3 == 0).then_some(Events {
                        ids: &ids,
                        indexed: text.as_bytes(),
                    }),
                    marks: &[StreamMark {
                        lane: NAMES[*number as usize % NAMES.len()].into(),
                        bytes: text.clone().into_bytes(),
                    }],
                    dead_letters: (number % 4 == 0).then_some(Entry {
                        number: *number,
                        bytes: b"dead",
                        accepted: *number,
                    }),
                };
                store.accept(&source(NAMES[*from]), intake)?;
                Ok(rows.len() as u64)
            }
            Step::Due(view, side, now, pushed) => {
                let Some((slot, generation)) = place(view, side) else {
                    return Ok(0);
                };
                match pushed {
                    true => store.apply_pushed(slot, generation, micros(*now)),
                    false => store.apply_due(slot, generation, micros(*now)),
                }
            }
            Step::BeginLayer(view) => match place(view, &Side::Serving) {
                Some((slot, generation)) => Ok(u64::from(store.begin_layer(slot, generation)?.0)),
                None => Ok(0),
            },
            Step::Layers(view, change) => {
                let Some((slot, generation)) = place(view, &Side::Serving) else {
                    return Ok(0);
                };
                let mut state = store.view_state(slot).unwrap().serving.unwrap();
                match change {
                    Some(true) => state.layers.iter_mut().for_each(|layer| layer.is_shown = true),
                    Some(false) => state
                        .layers
                        .iter_mut()
                        .for_each(|layer| layer.is_shown = layer.generation.0 % 2 == 0),
                    None => drop(state.layers.pop()),
                }
                store
                    .write(slot, generation, micros(0), &[], Some(&state))
                    .map(|()| 1)
            }
            Step::Fold(view) => {
                let Some((slot, generation)) = place(view, &Side::Serving) else {
                    return Ok(0);
                };
                let state = store.view_state(slot).unwrap().serving.unwrap();
                match state.layers.first() {
                    Some(layer) => store.fold(slot, generation, layer.generation).map(|()| 1),
                    None => Ok(0),
                }
            }
            Step::Exchange(view) => store.exchange(slot(view).unwrap(), &[]).map(|()| 0),
            Step::ForgetKept(view) => store.forget_kept(slot(view).unwrap()).map(|()| 0),
            Step::AddSchema(view) => match place(view, &Side::Serving) {
                Some((slot, generation)) => store.add_schema(slot, generation, &schema()).map(u64::from),
                None => Ok(0),
            },
            Step::Trim(from, through) => store.trim(&source(NAMES[*from]), *through).map(|()| 0),
            Step::Forget(before) => store.forget_answers(micros(*before)),
            Step::NoteEvents(from, ids, indexed) => {
                let indexed = indexed.then_some(&b"noted"[..]);
                store.note_events(&source(NAMES[*from]), ids, indexed).map(|()| 0)
            }
            Step::ForgetEvents(from) => store.forget_events(&source(NAMES[*from])).map(|()| 0),
        }
    }

    /// Asserts that both have the same, however it is asked for.
    fn agree(&self, random: &mut StdRng, case: &str) {
        let at = self.clock + random.random_range(-3..6) * SECOND;
        let [here, there] = [0, 1].map(|which| self.all(which, at));
        assert_eq!(here, there, "at {at}, {case}");
    }

    fn all(&self, which: usize, at: i64) -> Vec<String> {
        let store = &self.stores[which];
        let keys: Vec<EntityKey> = KEYS.iter().map(|text| key(text)).chain([key("never")]).collect();
        let mut all = Vec::new();
        let names = |(entity, view): (usize, usize)| (NAMES[entity], NAMES[view]);
        for (name, slots) in &self.views {
            let slot = slots[which];
            let state = store.view_state(slot).unwrap();
            for generation in state.generations() {
                let number = generation.generation;
                let survey = Survey::as_stored(slot, number);
                let layer = generation.layers.last().map(|layer| layer.generation);
                let with = Survey { layer, ..survey };
                let counts = [survey, with]
                    .map(|survey| store.survey(&[survey], &Cancellation::default()).unwrap()[0]);
                let counts = counts.map(|counts| (counts.keys, counts.pending));
                let loaded = store.loaded(slot, number).unwrap();
                let noted = store.noted(slot, number).unwrap();
                all.push(format!(
                    "{:?} {generation:?} {counts:?} {loaded:?} {noted:?}",
                    names(*name)
                ));
            }
            // All views of the entity together, some twice.
            let same = self.views.iter().filter(|(other, _)| other.0 == name.0);
            let mut set: Vec<(u32, Generation)> = same
                .filter_map(|(_, slots)| {
                    let state = store.view_state(slots[which]).unwrap();
                    Some((slots[which].view, state.serving?.generation))
                })
                .collect();
            // And generations beside it, and layers by their own numbers.
            let numbers = state.generations().flat_map(GenerationState::numbers);
            set.extend(numbers.map(|number| (slot.view, number)));
            set.extend(set.first().copied());
            let set = ReadSet::new(slot.entity, set);
            let mut reader = store.reader(&set, Timestamp::from_micros(at)).unwrap();
            let told: Vec<Vec<u8>> = keys.iter().take(4).map(|key| key.as_bytes().to_vec()).collect();
            reader.prefetch(&told).unwrap();
            for key in keys.iter().rev().chain(keys.iter().take(2)) {
                let mut found = Vec::new();
                reader
                    .read(key.as_bytes(), &mut |place, answer| {
                        let winner = answer.winner.map(|row| (row.order, nonce(row.body)));
                        let windows = answer
                            .windows
                            .map(|windows| (windows.latest, windows.body.to_vec()));
                        found.push((place, format!("{winner:?} {} {windows:?}", answer.held_back)));
                        Ok(())
                    })
                    .unwrap();
                found.sort();
                all.push(format!("{:?} {found:?}", names(*name)));
            }
        }
        for name in NAMES {
            for of in [source(name), source(name).dead_letters()] {
                all.push(format!(
                    "{name} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                    store.entries(&of, 20),
                    store.entries(&of, usize::MAX),
                    store.last_entry(&of),
                    store.waiting(&of),
                    store.accepted(&of),
                    store.marks(&of),
                    store.known_events(&of, &keys),
                    store.indexed_events(&of),
                ));
                all.extend((0..9).map(|id| format!("{:?}", store.answered(&of, &id.to_string()))));
            }
        }
        all.push(format!("{:?}", store.waiting_sources()));
        all
    }
}

fn histories(url: &str, cases: usize, steps: usize) {
    let seed = harness::seed();
    for case in 0..cases {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(case as u64));
        let case = format!("case {case}, seed {seed}");
        // One namespace is the beginning of the other.
        let other = harness::fresh(url);
        let options = RedisOptions {
            namespace: format!("{}_b", other.options().namespace),
            ..harness::options(url)
        };
        let mut history = History::new(RedisStore::open(&options).unwrap());
        for step in 0..steps {
            let taken = history.step(&mut random);
            history.take(&taken, &case);
            if step % 10 == 9 {
                history.agree(&mut random, &case);
            }
            if random.random_ratio(1, 40) {
                // Closed before it is opened again.
                history.stores[0] = Box::new(MemoryStore::new());
                history.stores[0] = Box::new(RedisStore::open(&options).unwrap());
            }
        }
        history.agree(&mut random, &case);
        assert!(other.views().unwrap().is_empty(), "{case}");
    }
}

#[test]
fn one_server_does_what_the_twin_does() {
    let server = Server::start();
    histories(&server.url(), harness::cases(12), 120);
}

#[test]
fn a_cluster_does_what_the_twin_does() {
    let cluster = Cluster::start();
    histories(&cluster.url(), harness::cases(3), 120);
}
