//! Events from many threads, by every way that there is: each counts once.

use std::thread;

use asof_core::aggregate::tiles::FoldedEvents;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::conformance::{address, key, order, row, schema, tiled, tiles};
use asof_core::online::intake::{Entry, Intake, IntakeLog, IntakeRows, SourceAddress};
use asof_core::online::memory::MemoryStore;
use asof_core::online::{OnlineRow, OnlineStore};
use asof_core::row::StoredRow;
use asof_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness;
use crate::servers::Server;

const SECOND: i64 = 1_000_000;
const NOW: i64 = 100_000 * SECOND;
const WRITERS: u64 = 6;

/// What one thread does, the same in every store.
fn write(store: &dyn OnlineStore, writer: u64, seed: u64) {
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    let generation = store.view_state(slot).unwrap().serving.unwrap().generation;
    let source = SourceAddress {
        project: ProjectName::parse("p").unwrap(),
        source: SourceName::parse(&format!("s{writer}")).unwrap(),
    };
    let now = Timestamp::from_micros(NOW);
    let mut random = StdRng::seed_from_u64(seed ^ writer);
    for step in 0..25_u64 {
        let events: Vec<OnlineRow> = (0..8_u64)
            .map(|n| {
                let k = key(&random.random_range(0..3).to_string());
                let event = NOW + random.random_range(-4_000..20) * SECOND;
                row(
                    &k,
                    order(event, event, writer << 32 | step << 8 | n),
                    random.random_range(-9..9),
                )
            })
            .collect();
        match random.random_range(0..3) {
            0 => store.write(slot, generation, now, &events, None).unwrap(),
            1 if writer == 0 => {
                let (due, pending): (Vec<OnlineRow>, Vec<OnlineRow>) =
                    events.into_iter().partition(|event| event.order.due() <= now);
                let mut folded = FoldedEvents::default();
                for event in &due {
                    let parsed = StoredRow::parse(&event.bytes).unwrap();
                    folded.add(&tiles(), event.key.as_bytes(), &parsed).unwrap();
                }
                let staged = store.stage_events(slot, generation, &folded, &pending, b"on");
                store.take_in(staged.unwrap()).unwrap();
            }
            _ => {
                let intake = Intake {
                    at: now,
                    entry: Some(Entry {
                        number: step,
                        bytes: b"entry",
                        accepted: step,
                    }),
                    answers: &[],
                    rows: &[IntakeRows {
                        slot,
                        generation,
                        rows: events,
                        note: None,
                    }],
                    events: None,
                    marks: &[],
                    dead_letters: None,
                };
                store.accept(&source, intake).unwrap();
            }
        }
    }
}

fn windows(store: &dyn OnlineStore, at: i64) -> Vec<Vec<u8>> {
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    let views = [(
        slot.view,
        store.view_state(slot).unwrap().serving.unwrap().generation,
    )];
    let mut found = Vec::new();
    for k in 0..4 {
        let at = Timestamp::from_micros(at);
        let read = store.read(slot.entity, &key(&k.to_string()), &views, at, &mut |_, answer| {
            found.push(answer.windows.unwrap().body.to_vec());
            Ok(())
        });
        read.unwrap();
    }
    found
}

#[test]
fn events_of_many_writers_count_once() {
    let seed = harness::seed();
    for case in 0..harness::cases(6) {
        let seed = seed.wrapping_add(case as u64);
        let server = Server::start();
        let store = harness::open(&server.url());
        let twin = MemoryStore::new();
        for store in [&store as &dyn OnlineStore, &twin] {
            let slot = store.open_view(&address("a", "string", "v")).unwrap();
            let generation = store.begin_generation(slot, tiled("v"), schema()).unwrap();
            store.serve(slot, generation).unwrap();
        }
        let slot = store.open_view(&address("a", "string", "v")).unwrap();
        let generation = store.view_state(slot).unwrap().serving.unwrap().generation;
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, twin) = (&store, &twin);
                scope.spawn(move || write(store, writer, seed));
                write(twin, writer, seed);
            }
            // What is due is folded meanwhile.
            for merge in [OnlineStore::apply_due, IntakeLog::apply_pushed] {
                let store = &store;
                scope.spawn(move || {
                    for later in 0..40 {
                        let now = Timestamp::from_micros(NOW + later * SECOND / 4);
                        merge(store, slot, generation, now).unwrap();
                    }
                });
            }
        });
        for at in [NOW + 10 * SECOND, NOW + 30 * SECOND] {
            assert_eq!(windows(&store, at), windows(&twin, at), "seed {seed}");
        }
        let last = Timestamp::from_micros(NOW + 30 * SECOND);
        store.apply_due(slot, generation, last).unwrap();
        let at = NOW + 31 * SECOND;
        assert_eq!(windows(&store, at), windows(&twin, at), "seed {seed}");
        let counts = store.count(slot, generation).unwrap();
        assert_eq!((counts.keys, counts.pending), (3, 0), "seed {seed}");
    }
}

/// What is folded is found in the layer or in the generation, never in both or in none.
#[test]
fn a_read_finds_the_same_while_a_layer_is_folded() {
    let server = Server::start();
    let store = harness::open(&server.url());
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    let generation = store.begin_generation(slot, tiled("v"), schema()).unwrap();
    store.serve(slot, generation).unwrap();
    let now = Timestamp::from_micros(NOW);
    let keys: Vec<_> = (0..200).map(|k| key(&k.to_string())).collect();
    for turn in 0..4 {
        let events = |n: u64| -> Vec<OnlineRow> {
            let event = |k| row(k, order(NOW - 1 - n as i64, 1, n), 1);
            keys.iter().map(event).collect()
        };
        store
            .write(slot, generation, now, &events(turn * 2), None)
            .unwrap();
        let layer = store.begin_layer(slot, generation).unwrap();
        store
            .write(slot, layer, now, &events(turn * 2 + 1), None)
            .unwrap();
        let mut state = store.view_state(slot).unwrap().serving.unwrap();
        state.layers[0].is_shown = true;
        store.write(slot, generation, now, &[], Some(&state)).unwrap();
        let read = |k| {
            let mut found = Vec::new();
            let views = [(slot.view, generation)];
            let read = store.read(slot.entity, k, &views, now, &mut |_, answer| {
                found = answer.windows.unwrap().body.to_vec();
                Ok(())
            });
            read.unwrap();
            found
        };
        let expected = read(&keys[0]);
        thread::scope(|scope| {
            let folding = scope.spawn(|| store.fold(slot, generation, layer).unwrap());
            while !folding.is_finished() {
                for k in &keys {
                    assert_eq!(read(k), expected, "turn {turn}");
                }
            }
        });
        assert_eq!(read(&keys[0]), expected);
    }
}
